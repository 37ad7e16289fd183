//! Where a request outside a dialog goes.
//!
//! RFC 3261 §16.4 to §16.6, RFC 3327 (Path), RFC 3608 (Service-Route), RFC 3455-style use of
//! both as in TS 24.229 §5.2.

use crate::config::{Config, Network, Registration};
use crate::core::Core;
use crate::flow;
use crate::forward::Remote;
use crate::registrar::Binding;
use crate::session::{End, Fault};
use carnet_sip::{Hop, Message, NameAddr, Uri};

/// The way to the next element.
#[derive(Debug)]
pub(crate) struct Onward {
    pub(crate) remote: Remote,
    /// The flow of a registered terminal.
    pub(crate) hop: Option<Hop>,
    /// The next hop, where neither a Route nor the Request-URI says it.
    pub(crate) next: Option<Uri>,
    pub(crate) end: End,
    /// Preference among several ways, in thousandths.
    pub(crate) q: u16,
}

/// The network a message came from: by our address it was sent to, else by its source.
pub(crate) fn network_of(config: &Config, hop: &Hop) -> Option<usize> {
    let source = hop.remote.ip();
    let admits = |n: &Network| n.peers.is_empty() || n.peers.iter().any(|p| p.contains(source));
    let listens =
        |n: &Network| hop.local.is_some_and(|local| n.listen.iter().any(|(_, address)| *address == local));
    let by_address = config.networks.iter().position(|n| listens(n) && admits(n));
    let anywhere = |n: &Network| n.listen.is_empty() || hop.local.is_none();
    by_address
        .or_else(|| {
            config.networks.iter().position(|n| {
                anywhere(n) && !n.peers.is_empty() && n.peers.iter().any(|p| p.contains(source))
            })
        })
        .or_else(|| config.networks.iter().position(|n| anywhere(n) && n.peers.is_empty()))
}

/// Finds the ways for a request: several if it is for a user with several terminals. `caller` is
/// the sender's binding, if it is a registered terminal.
pub(crate) fn route(core: &Core, message: &Message, caller: Option<&Binding>) -> Result<Vec<Onward>, Fault> {
    let malformed = |e: carnet_sip::Error| Fault::new(400, e.to_string());
    let target = message.request_uri().cloned().ok_or_else(|| Fault::new(400, "no Request-URI"))?;
    let mut routes = message.routes().map_err(malformed)?;
    let mut by_path = None;
    while let Some(first) = routes.first().filter(|r| core.is_own(r.uri())) {
        if let Some(token) = first.uri().user() {
            // RFC 5626 §5.3.1: 430 where the terminal's flow is gone.
            let flow = core.registrar.by_path(token).ok_or_else(|| Fault::new(430, "that flow is gone"))?;
            by_path = Some(flow);
        }
        routes.remove(0);
    }
    if let Some(binding) = by_path {
        let gone = |_| Fault::new(430, "that flow is gone");
        return Ok(vec![to_terminal(core, binding, target).map_err(gone)?]);
    }
    if let Some(caller) = caller
        && let Registration::Forward { network, .. } = &core.config.registration
    {
        // The registrar said which way calls of this user go (RFC 3608 §5).
        let remote = Remote { target: Some(target), routes: caller.service_route.clone(), cseq: 0 };
        let registrar = network_named(&core.config, network)?;
        return match remote.routes.is_empty() {
            true => Ok(vec![by_domain(&core.config, remote)?]),
            false => Ok(vec![Onward { remote, hop: None, next: None, end: core_end(registrar), q: 1000 }]),
        };
    }
    let found = core.registrar.lookup(&target);
    // Who calls oneself wants one's other terminals.
    let own = |b: &&Binding| caller.is_some_and(|c| c.contact.equivalent(&b.contact));
    let others = found.len() > 1 && !found.iter().all(|b| own(&b));
    let called = found.iter().filter(|b| !(others && own(b)));
    let ways: Vec<_> = called.map(|b| to_terminal(core, b, b.contact.clone())).collect();
    // One that is not there is not in the way of the others.
    if ways.iter().any(Result::is_ok) {
        return Ok(ways.into_iter().flatten().collect());
    }
    if let Some(fault) = ways.into_iter().find_map(Result::err) {
        return Err(fault);
    }
    if let Registration::Local { realm, users, .. } = &core.config.registration
        && target.host().eq_ignore_ascii_case(realm)
    {
        let known = users.iter().any(|u| crate::registrar::same_aor(&u.aor, &target));
        return Err(if known {
            Fault::new(480, "the user is not registered")
        } else {
            Fault::new(404, "no such user")
        });
    }
    let routes = routes.iter().map(NameAddr::to_string).collect();
    Ok(vec![by_domain(&core.config, Remote { target: Some(target), routes, cseq: 0 })?])
}

fn to_terminal(core: &Core, binding: &Binding, target: Uri) -> Result<Onward, Fault> {
    // Paths between us and the terminal are followed; our own is not among them.
    let remote = Remote { target: Some(target), routes: binding.path.clone(), cseq: 0 };
    if core.config.networks.get(binding.network).is_none() {
        return Err(Fault::new(500, "the network of a binding is gone"));
    }
    let hop = flow::of_binding(binding).hop()?;
    Ok(Onward { remote, hop, next: None, end: End::of(binding), q: binding.q })
}

fn by_domain(config: &Config, remote: Remote) -> Result<Onward, Fault> {
    let host = remote.target.as_ref().map(Uri::host).unwrap_or_default();
    // `tel:` and `urn:service:sos` name no domain: a route names how they begin (RFC 3966,
    // RFC 5031: `urn:service:sos` is for `urn:service:sos.police` too).
    let hostless = remote.target.as_ref().filter(|t| t.host().is_empty());
    let begins = |target: &Uri, start: &str| {
        let (head, tail) = (target.as_str().get(..start.len()), target.as_str().get(start.len()..));
        let whole = start.ends_with(':') || tail.is_some_and(|t| t.is_empty() || t.starts_with(['.', ';']));
        start.contains(':') && whole && head.is_some_and(|h| h.eq_ignore_ascii_case(start))
    };
    let fits = |domain: &str| match domain.strip_prefix('.') {
        _ if hostless.is_some() => hostless.is_some_and(|target| begins(target, domain)),
        Some(parent) => {
            let at = host.len().checked_sub(parent.len());
            at.and_then(|at| host.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(parent))
                && at.and_then(|at| host.get(..at)).is_some_and(|head| head.ends_with('.'))
        }
        None => domain.eq_ignore_ascii_case(host),
    };
    let exact = config.routes.iter().find(|r| fits(&r.domain));
    let route = exact.or_else(|| config.routes.iter().find(|r| r.domain == "*"));
    let route = route.ok_or_else(|| Fault::new(404, "no route to this domain"))?;
    let network = network_named(config, &route.network)?;
    if hostless.is_some() && route.hop.is_none() && remote.routes.is_empty() {
        return Err(Fault::new(404, "no next hop for an address without a domain"));
    }
    Ok(Onward { remote, hop: None, next: route.hop.clone(), end: core_end(network), q: 1000 })
}

fn core_end(network: usize) -> End {
    End { network, ..End::default() }
}

pub(crate) fn network_named(config: &Config, name: &str) -> Result<usize, Fault> {
    let at = config.networks.iter().position(|n| n.name == name);
    at.ok_or_else(|| Fault::new(500, "a route names no network"))
}

/// Whether a URI names this border.
pub(crate) fn is_own(config: &Config, uri: &Uri) -> bool {
    config.networks.iter().any(|network| is_named(&network.contact, uri))
}

/// Whether a URI leads to where a Contact of ours does.
pub(crate) fn is_named(contact: &Uri, uri: &Uri) -> bool {
    let port = |u: &Uri| u.port().unwrap_or(5060);
    contact.host().eq_ignore_ascii_case(uri.host()) && port(contact) == port(uri)
}

/// Our Contact or Path in a network, with `token` as its user part.
pub(crate) fn own_uri(network: &Network, token: &str) -> Result<Uri, Fault> {
    let base = &network.contact;
    let port = base.port().map(|p| format!(":{p}")).unwrap_or_default();
    let params: String = base
        .params()
        .map(|(name, value)| value.map_or_else(|| format!(";{name}"), |v| format!(";{name}={v}")))
        .collect();
    let text = format!("{}:{token}@{}{port}{params}", base.scheme_str(), base.host());
    Uri::parse(&text).map_err(|e| Fault::new(500, e.to_string()))
}
