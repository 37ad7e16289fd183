//! What the request and the configuration say, as what a plan is made from.
//!
//! A request knows better than the configuration; what it said of an end stays until it says otherwise.

use crate::core::Core;
use crate::dialog::{Dialog, End};
use crate::fault::{Fault, Reply};
use crate::tags::Names;
use crate::{Config, Interface};
use carnet_ng::options::{AddressFamily, Msrp, SideOptions};
use carnet_ng::{Options, Request, Value};
use carnet_plan::{
    Abilities, Addressing, Both, Facts, Family, Known, Leg, Party, Peer, Registered, Side, TlsRole,
};
use carnet_sdp::Document;
use std::net::{IpAddr, SocketAddr};

/// The description of a request.
pub(crate) fn read(request: &Request, config: &Config) -> Result<Document, Fault> {
    let sdp = request.sdp.clone().ok_or_else(|| Fault::new(400, "there is no session description"))?;
    Document::parse(sdp, &config.limits.sdp)
        .map_err(|error| Fault::new(488, format!("the session description cannot be read: {error}")))
}

/// The position of an interface, by its name in a request.
fn interface(core: &Core, name: &str) -> Result<usize, Fault> {
    core.interface(name).ok_or_else(|| {
        let names: Vec<_> = core.interfaces().map(|(_, i)| i.name.as_str()).collect();
        Fault::new(500, format!("there is no interface {name:?}, only {}", names.join(", ")))
    })
}

/// Where the lines that are ours wait, as their description says.
fn addresses(document: &Document) -> impl Iterator<Item = IpAddr> {
    document.media().filter(carnet_plan::is_tcp).filter_map(|m| m.address()).map(|address| address.ip())
}

fn family_of(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// The two ends when an offer has come.
pub(crate) fn of_offer(
    core: &Core,
    (before, offerer): (Option<&Both<End>>, Side),
    names: Names<'_>,
    options: &Options,
    document: &Document,
    warnings: &mut Vec<String>,
) -> Result<Both<End>, Fault> {
    let config = &core.config;
    let usual = || {
        let end = || End { interface: core.usual_interface(), ..End::default() };
        Both { caller: end(), callee: end() }
    };
    let mut ends = before.cloned().unwrap_or_else(usual);
    let answerer = offerer.other();
    for (side, name) in [(offerer, &options.direction.0), (answerer, &options.direction.1)] {
        let end = ends.of_mut(side);
        if let Some(name) = name {
            let wanted = interface(core, name)?;
            if wanted != end.interface {
                *end = End { interface: wanted, family: None, ..std::mem::take(end) };
            }
        }
        let known = config.interfaces.get(end.interface);
        let known = known.ok_or_else(|| Fault::new(500, "there is no interface"))?;
        if before.is_none() {
            end.behind_nat = known.behind_nat;
        }
    }
    ends.of_mut(offerer).tag.get_or_insert_with(|| names.from.to_owned());
    if let Some(to) = names.to.filter(|_| before.is_some()) {
        ends.of_mut(answerer).tag.get_or_insert_with(|| to.to_owned());
    } else if let Some(to) = names.to {
        // A re-offer of a call that is not known (any more).
        ends.of_mut(answerer).tag = Some(to.to_owned());
    }
    speaks(ends.of_mut(offerer), options, document)?;
    if before.is_none() {
        let end = ends.of_mut(offerer);
        let families =
            config.interfaces.get(end.interface).map(|i| i.families.as_slice()).unwrap_or_default();
        end.family = addresses(document).next().map(family_of).filter(|family| families.contains(family));
    }
    hears(config, ends.of_mut(answerer), options)?;
    told(config, ends.of_mut(offerer), &options.offerer, "offerer", warnings);
    told(config, ends.of_mut(answerer), &options.answerer, "answerer", warnings);
    if let Some(tos) = options.tos {
        ends.caller.dscp = Some(tos >> 2);
        ends.callee.dscp = Some(tos >> 2);
    }
    Ok(ends)
}

/// The two ends when an answer has come.
pub(crate) fn of_answer(
    core: &Core,
    before: &Both<End>,
    answerer: Side,
    tag: &str,
    options: &Options,
    document: &Document,
) -> Result<Both<End>, Fault> {
    let mut ends = before.clone();
    let end = ends.of_mut(answerer);
    if !end.is(tag) {
        let former = end.tag.replace(tag.to_owned());
        end.former.retain(|other| other != tag);
        end.former.extend(former);
        let most = core.config.limits.dialogs;
        end.former.drain(..end.former.len().saturating_sub(most));
    }
    speaks(end, options, document)?;
    if let Some(ip) = options.media_address {
        ends.of_mut(answerer.other()).media_address = Some(ip);
    }
    Ok(ends)
}

/// What a request says of the one whose description it has.
fn speaks(end: &mut End, options: &Options, document: &Document) -> Result<(), Fault> {
    if let Some(source) = options.received_from {
        end.source = Some(source);
    }
    match options.trust_address {
        Some(true) => end.behind_nat = false,
        Some(false) => {
            let source = options.received_from.or(end.source);
            let source = source.ok_or_else(|| {
                Fault::new(400, "the source address is to be used, and no received-from says which it is")
            })?;
            // Who is where he says he is can be connected to.
            let mut said = addresses(document).peekable();
            if said.peek().is_some() {
                end.behind_nat = said.any(|ip| ip != source);
            }
        }
        None => {}
    }
    end.strict |= options.strict_source;
    if let Some(label) = &options.label {
        end.label = Some(label.clone());
    }
    Ok(())
}

/// What a request says of the one that gets the description.
fn hears(config: &Config, end: &mut End, options: &Options) -> Result<(), Fault> {
    if let Some(family) = options.family {
        let (family, name) = match family {
            AddressFamily::Ip4 => (Family::V4, "IP4"),
            AddressFamily::Ip6 => (Family::V6, "IP6"),
        };
        let interface = config.interfaces.get(end.interface);
        if let Some(interface) = interface.filter(|i| i.family != family && !i.families.contains(&family)) {
            return Err(Fault::new(500, format!("the interface {:?} has no {name}", interface.name)));
        }
        end.family = Some(family);
    }
    if let Some(ip) = options.media_address {
        end.media_address = Some(ip);
    }
    Ok(())
}

/// What a request says where it knows better than the configuration.
fn told(config: &Config, end: &mut End, options: &SideOptions, who: &str, warnings: &mut Vec<String>) {
    if let Some(nat) = options.nat {
        end.behind_nat = nat;
    }
    if let Some(e2ae) = options.e2ae {
        end.e2ae = Some(e2ae);
        let may = |i: &Interface| i.access && i.e2ae;
        if let Some(interface) = config.interfaces.get(end.interface).filter(|i| e2ae && !may(i)) {
            warnings.push(format!("{who}-e2ae: no TLS ends at the interface {:?}", interface.name));
        }
    }
    if let Some(msrp) = options.msrp {
        end.msrp = Some(match msrp {
            Msrp::Cema => Addressing::Cema,
            Msrp::Sessmatch => Addressing::Sessmatch,
            Msrp::Plain => Addressing::Plain,
        });
    }
}

/// What a plan is made from.
pub(crate) fn facts(core: &Core, ends: &Both<End>, offerer: Side, dialog: Option<&Dialog>) -> Facts {
    Facts {
        offerer: party(core, ends.of(offerer), dialog.map(|d| (d, offerer))),
        answerer: party(core, ends.of(offerer.other()), dialog.map(|d| (d, offerer.other()))),
        // Whether it can rewrite MSRP shows when it is asked to: no package says so.
        gateway: Abilities { tls: core.gateway.supports("tlsbsc"), aware: true },
    }
}

fn party(core: &Core, end: &End, of: Option<(&Dialog, Side)>) -> Party {
    let Some(interface) = core.config.interfaces.get(end.interface) else { return Party::default() };
    let edge = of.map(|(dialog, side)| {
        let streams = dialog.streams.iter().enumerate();
        let role = streams.filter_map(|(index, stream)| {
            let client = stream.agreed.as_ref()?.tls_client(side)?;
            Some((index, if client { TlsRole::Client } else { TlsRole::Server }))
        });
        role.collect()
    });
    let registered = end.e2ae == Some(true);
    Party {
        behind_nat: end.behind_nat,
        access: interface.access,
        e2ae: interface.access && interface.e2ae && end.e2ae != Some(false),
        hide_origin: false,
        registered: Registered { msrp: registered, bfcp: registered },
        addressing: end.msrp.unwrap_or(interface.msrp),
        edge: edge.unwrap_or_default(),
    }
}

/// The peer as the gateway is to know it.
pub(crate) fn peer(core: &Core, end: &End, leg: &Leg, said: (Option<SocketAddr>, Option<u64>)) -> Peer {
    let filtered = core.config.interfaces.get(end.interface).is_some_and(|i| i.source_filter);
    let known = Known { behind_nat: end.behind_nat, source: end.source, filtered: filtered || end.strict };
    Peer::new(leg, known, said)
}

/// Tells what of the request means nothing here, and what else is to be known.
pub(crate) fn tell(reply: &mut Reply, options: &Options, mut warnings: Vec<String>) {
    let list = |words: &[String]| Value::texts(words.iter().map(String::as_str));
    if !options.inapplicable.is_empty() {
        warnings.push(format!("without meaning for TCP media: {}", options.inapplicable.join(", ")));
        reply.put("inapplicable", list(&options.inapplicable));
    }
    if !options.unknown.is_empty() {
        warnings.push(format!("not known: {}", options.unknown.join(", ")));
        reply.put("unknown", list(&options.unknown));
    }
    if !warnings.is_empty() {
        reply.put("warning", Value::text(&warnings.join("; ")));
    }
}
