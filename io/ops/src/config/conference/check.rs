//! What is wrong with a conference server: contradictions between what its rooms are to do.

use super::{ConferenceKms, ConferenceSection, FloorAlgorithm, RoomPolicy, RoomSection, Unsealed};
use crate::config::Spanned;
use crate::config::address::Proto;
use crate::config::check::{Checked, check_tls, must_be_a_file};
use crate::config::gateway::GatewayRole;
use crate::config::kms::within;
use crate::config::model::Config;
use crate::config::{Complaint, control};
use std::collections::BTreeSet;

/// The first thing that would keep a conference server from working.
pub(in crate::config) fn check(config: &Config, name: &str, section: &Spanned<ConferenceSection>) -> Checked {
    let server = section.as_ref();
    check_sockets(name, server)?;
    control::check_controller(config, "conference", name, &server.control)?;
    let control = server.control.as_ref();
    for gateway in &control.gateways {
        if config.gateway.get(gateway).is_some_and(|g| g.as_ref().role != GatewayRole::Mrfp) {
            let message = format!("gateway `{gateway}` is no MRFP, which a conference needs");
            return Err(Complaint::new(server.control.span(), message)
                .help(format!("write role = \"mrfp\" in [gateway.{gateway}]")));
        }
    }
    if let Some((_, at)) = control.pass_through_transport.first_key_value() {
        return Err(Complaint::new(at.span(), "nothing passes through an MRFP: this is for borders"));
    }
    if server.room.is_empty() && server.factory.is_empty() {
        let message = format!("conference `{name}` has neither a room nor a factory");
        return Err(Complaint::new(section.span(), message)
            .help(format!("add [[conference.{name}.room]], or factory = [\"sip:…\"]")));
    }
    if let Some(kms) = &server.kms {
        check_kms(kms.as_ref())?;
    }
    let mut uris = BTreeSet::new();
    for factory in &server.factory {
        check_uri(factory)?;
        once(&mut uris, factory)?;
    }
    match &server.ad_hoc {
        Some(at) if server.factory.is_empty() => {
            return Err(Complaint::new(at.span(), "no factory would make such a room")
                .help("add factory = [\"sip:…\"]"));
        }
        Some(settings) => {
            let room = settings.as_ref();
            let fixed = [room.uri.as_ref(), room.owners.first(), room.members.first(), room.call.first()];
            if let Some(fixed) = fixed.into_iter().flatten().next() {
                return Err(Complaint::new(
                    fixed.span(),
                    "whoever calls the factory owns the room, and invites",
                ));
            }
            check_settings(server, settings)?;
        }
        None => {}
    }
    for room in &server.room {
        let Some(uri) = &room.as_ref().uri else {
            return Err(Complaint::new(room.span(), "a room needs `uri`"));
        };
        check_uri(uri)?;
        once(&mut uris, uri)?;
        check_people(room.as_ref())?;
        check_settings(server, room)?;
    }
    let (limits, at) = (server.limits.as_ref(), server.limits.span());
    if limits.rooms < server.room.len().max(1) {
        return Err(Complaint::new(
            at,
            format!("`rooms` is less than the {} in the file", server.room.len()),
        ));
    }
    if limits.members == 0 {
        return Err(Complaint::new(at, "nobody could enter: `members` is 0"));
    }
    if (1..90).contains(&limits.session) {
        return Err(Complaint::new(at, "`session` is 0 or at least 90 seconds (RFC 4028 §4)"));
    }
    Ok(())
}

fn once<'a>(seen: &mut BTreeSet<&'a str>, uri: &'a Spanned<String>) -> Checked {
    match seen.insert(uri.as_ref().as_str()) {
        true => Ok(()),
        false => Err(Complaint::new(uri.span(), format!("{} is there twice", uri.as_ref()))),
    }
}

/// Only what needs no parser of URIs: `carnet check` reads them as a whole.
fn check_uri(uri: &Spanned<String>) -> Checked {
    let text = uri.as_ref();
    let rest = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"));
    match rest.and_then(|rest| rest.split_once('@')) {
        Some((user, host)) if !user.is_empty() && !host.is_empty() => Ok(()),
        _ => Err(Complaint::new(uri.span(), format!("`{text}` is not like sip:staff@conf.example"))),
    }
}

fn check_sockets(name: &str, server: &ConferenceSection) -> Checked {
    let listen = server.listen.as_ref();
    if listen.is_empty() {
        return Err(Complaint::new(server.listen.span(), format!("conference `{name}` listens nowhere")));
    }
    if server.contact.is_none() && listen.iter().any(|bind| bind.address.ip().is_unspecified()) {
        return Err(Complaint::new(server.listen.span(), "others cannot answer to this address")
            .help("name the address of this host, or set `contact`"));
    }
    if server.tls.is_none() && listen.iter().any(|bind| bind.proto == Proto::Tls) {
        return Err(Complaint::new(server.listen.span(), "a `tls:` socket needs a certificate")
            .help(format!("add [conference.{name}.tls] with certificate and key")));
    }
    server.tls.as_ref().map_or(Ok(()), check_tls)
}

fn check_kms(kms: &ConferenceKms) -> Checked {
    must_be_a_file(&kms.key_file)?;
    if let Some((ca, _)) = kms.ca_file.as_ref().zip(kms.fingerprint.as_ref()) {
        return Err(Complaint::new(ca.span(), "an authority or a fingerprint, not both"));
    }
    kms.ca_file.as_ref().map_or(Ok(()), must_be_a_file)
}

fn check_people(room: &RoomSection) -> Checked {
    for person in room.owners.iter().chain(&room.members).chain(&room.call).chain(room.reserved.values()) {
        let uri = person.as_ref();
        if !uri.starts_with("tel:") {
            check_uri(person)?;
        }
    }
    let known = |uri: &str| room.owners.iter().chain(&room.members).any(|person| person.as_ref() == uri);
    if room.policy == RoomPolicy::Members {
        if room.owners.is_empty() && room.members.is_empty() {
            let at = room.uri.as_ref().map_or(0..0, Spanned::span);
            return Err(Complaint::new(at, "nobody may enter this room: it has neither owners nor members"));
        }
        let named = room.floor.iter().filter_map(|floor| floor.as_ref().chair.as_ref());
        for (person, what) in room
            .call
            .iter()
            .map(|person| (person, "is to be called"))
            .chain(named.map(|chair| (chair, "is to be chair")))
            .chain(room.reserved.values().map(|person| (person, "has a nickname")))
        {
            if !known(person.as_ref()) {
                let message = format!("{} {what}, and may not enter the room", person.as_ref());
                return Err(Complaint::new(person.span(), message).help("add it to `members`"));
            }
        }
    } else if let Some(member) = room.members.first() {
        return Err(Complaint::new(member.span(), "a room that is open needs no list of members")
            .help("write policy = \"members\", or leave `members` out"));
    }
    Ok(())
}

fn check_settings(server: &ConferenceSection, section: &Spanned<RoomSection>) -> Checked {
    let room = section.as_ref();
    if room.unsealed == Unsealed::Refuse && server.kms.is_none() {
        let at = room.uri.as_ref().map_or_else(|| section.span(), Spanned::span);
        return Err(Complaint::new(
            at,
            "nobody could enter: a sealed room needs keys, and there is no `kms`",
        )
        .help("add [conference.NAME.kms], or unsealed = \"admit\""));
    }
    let mut ids = BTreeSet::new();
    for floor in &room.floor {
        let (at, floor) = (floor.span(), floor.as_ref());
        let id = *floor.id.as_ref();
        if id == 0 {
            return Err(Complaint::new(floor.id.span(), "a floor's `id` is 1 to 65535"));
        }
        if !ids.insert(id) {
            return Err(Complaint::new(floor.id.span(), format!("there are two floors {id}")));
        }
        if floor.algorithm == FloorAlgorithm::Chair && floor.chair.is_none() {
            return Err(Complaint::new(at, format!("floor {id} is given by a chair, and has none"))
                .help("name the chair, or write algorithm = \"fcfs\""));
        }
        if floor.algorithm == FloorAlgorithm::Rotation && *floor.holders.as_ref() != 1 {
            return Err(Complaint::new(floor.holders.span(), "a floor that rotates has one holder"));
        }
        if let Some(chair) = floor.chair.as_ref().filter(|chair| !chair.as_ref().starts_with("tel:")) {
            check_uri(chair)?;
        }
    }
    if let Some(moderated) = room.moderated.as_ref().filter(|floor| !ids.contains(floor.as_ref())) {
        let message = format!("there is no floor {} whose holders could speak", moderated.as_ref());
        return Err(Complaint::new(moderated.span(), message).help("add it to `floor`"));
    }
    if let (false, Some((_, at))) = (room.nicknames, room.reserved.first_key_value()) {
        return Err(Complaint::new(at.span(), "nicknames are off in this room: none can be reserved"));
    }
    within("max-members", &room.max_members, 1..=100_000)?;
    within("max-message", &room.max_message, 1..=1 << 40)?;
    within("stall-seconds", &room.stall_seconds, 1..=3_600)?;
    within("stall-octets", &room.stall_octets, 1 << 10..=1 << 30)?;
    within("max-requests", &room.max_requests, 1..=10_000)
}
