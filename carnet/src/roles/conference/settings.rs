//! What the file says of a conference server, as the focus wants it. Whoever checks a file without starting
//! it goes the same way.

use crate::kms::client::{ServerTrust, check_url};
use crate::roles::control;
use crate::ue::kms::KmsLink;
use carnet_conference::{
    Algorithm, Config, Devices, Factory, Floor, Gateway, Limits, Member, Policy, Prefix, Room, Timers,
    Unsealed, Who,
};
use carnet_h248::MId;
use carnet_h248::association::Transport as Association;
use carnet_mikey::{Identity, Psk};
use carnet_ops::config::{
    self, ConferenceKms, ConferenceSection, Config as Whole, ControlProto, GatewayRole, Proto, RoomPolicy,
    RoomSection,
};
use carnet_seal::KeyAccount;
use carnet_sip::{Destination, SentBy, SessionTimers, Transport, Uri, host_of};
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// Sealed offers that are remembered against replay.
const REPLAY_ENTRIES: usize = 100_000;

/// What is wrong, and the names in the file that lead to it from the server's table.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Wrong {
    pub path: Vec<String>,
    pub what: String,
}

type Made<T> = Result<T, Wrong>;

fn wrong(path: &[&str], what: impl Into<String>) -> Wrong {
    Wrong { path: path.iter().map(|name| (*name).to_owned()).collect(), what: what.into() }
}

/// What would keep the server from starting, short of its sockets and its store.
pub fn check(name: &str, whole: &Whole, section: &ConferenceSection) -> Made<()> {
    configure(name, whole, section)?;
    section.kms.as_ref().map_or(Ok(()), |kms| kms_link(kms.as_ref()).map(drop))
}

/// The whole configuration of the focus.
pub(super) fn configure(name: &str, whole: &Whole, section: &ConferenceSection) -> Made<Config> {
    let domain = section.domain.as_ref();
    Uri::parse(&format!("sip:user@{domain}"))
        .map_err(|_| wrong(&["domain"], format!("`{domain}` is not a domain")))?;
    let contact = match &section.contact {
        Some(contact) => uri(contact.as_ref(), &["contact"])?,
        None => contact_of(section)?,
    };
    let mut rooms = Vec::new();
    for (index, room) in section.room.iter().enumerate() {
        let (index, room) = (index.to_string(), room.as_ref());
        let given = room.uri.as_ref().ok_or_else(|| wrong(&["room", &index], "a room needs `uri`"))?;
        let uri = conference_uri(domain, given.as_ref(), &["room", &index, "uri"])?;
        rooms.push(Room { uri, policy: policy(room, &["room", &index])? });
    }
    let mut factories = Vec::new();
    for (index, given) in section.factory.iter().enumerate() {
        let uri = conference_uri(domain, given.as_ref(), &["factory", &index.to_string()])?;
        let rooms = Uri::sip(Some("room-"), uri.host(), None);
        let rooms = rooms.map_err(|e| wrong(&["domain"], e.to_string()))?;
        let policy = match &section.ad_hoc {
            Some(room) => policy(room.as_ref(), &["ad-hoc"])?,
            None => policy(&RoomSection::default(), &["ad-hoc"])?,
        };
        factories.push(Factory { uri, rooms, policy });
    }
    let locals = locals(section);
    let proxy = match &section.next_hop {
        Some(hop) => Some(Destination::Uri(uri(hop.as_ref(), &["next-hop"])?).leaving(&locals)),
        None => None,
    };
    let control = section.control.as_ref();
    let limits = section.limits.as_ref();
    let seconds = |n: u32| Duration::from_secs(n.into());
    let sip = carnet_sip::Config {
        software: Some(concat!("carnet/", env!("CARGO_PKG_VERSION")).into()),
        sent_by: locals.iter().map(sent_by).collect(),
        transports: transports(section),
        ..carnet_sip::Config::default()
    };
    Ok(Config {
        name: name.to_owned(),
        contact: Some(contact),
        rooms,
        factories,
        keys: section.kms.as_ref().map(|kms| account(section, kms.as_ref())).transpose()?,
        own_tickets: section.kms.as_ref().is_some_and(|kms| kms.as_ref().issue),
        gateways: gateways(whole, section),
        profiles: vec![crate::roles::gateway::profile(GatewayRole::Mrfp)],
        proxy,
        routes: Vec::new(),
        digest: None,
        trust_asserted: section.trust_asserted,
        session_timers: session_timers(limits.session),
        timers: Timers {
            call_back: seconds(limits.call_back),
            gateway_audit: (control.audit > 0).then(|| seconds(control.audit)),
            gateway_grace: seconds(control.grace),
            ..Timers::default()
        },
        limits: Limits {
            rooms: limits.rooms,
            legs: limits.members,
            calling: limits.calling.max(1),
            subscriptions: limits.members,
            ..Limits::default()
        },
        sip,
    })
}

fn session_timers(interval: u32) -> SessionTimers {
    SessionTimers { interval, ..SessionTimers::default() }
}

/// The sockets, for requests that are not sent over a connection that is there.
pub(super) fn locals(section: &ConferenceSection) -> Vec<(Transport, SocketAddr)> {
    let listen = section.listen.as_ref().iter();
    let named = listen.filter(|bind| !bind.address.ip().is_unspecified());
    named.map(|bind| (crate::roles::sip_transport(bind.proto), bind.address)).collect()
}

fn sent_by((transport, address): &(Transport, SocketAddr)) -> SentBy {
    let (transport, host) = (*transport, host_of(address.ip()));
    SentBy { transport, local: None, host, port: Some(address.port()) }
}

fn transports(section: &ConferenceSection) -> Vec<Transport> {
    let of = |proto| section.listen.as_ref().iter().any(|bind| bind.proto == proto);
    let mut list = Vec::new();
    list.extend(of(Proto::Udp).then_some(Transport::Udp));
    list.extend(of(Proto::Tcp).then_some(Transport::Tcp));
    list.extend(section.tls.is_some().then_some(Transport::Tls));
    list
}

fn contact_of(section: &ConferenceSection) -> Made<Uri> {
    let first = section.listen.as_ref().first().ok_or_else(|| wrong(&["listen"], "no socket"))?;
    let text = match first.proto {
        Proto::Udp => format!("sip:{}", first.address),
        proto => format!("sip:{};transport={proto}", first.address),
    };
    uri(&text, &["listen"])
}

fn uri(text: &str, path: &[&str]) -> Made<Uri> {
    Uri::parse(text).map_err(|e| wrong(path, format!("`{text}` is not a SIP URI: {e}")))
}

/// The URI of a room or factory, which the network has to bring here.
fn conference_uri(domain: &str, text: &str, path: &[&str]) -> Made<Uri> {
    let read = uri(text, path)?;
    Identity::from_uri(text).map_err(|e| wrong(path, format!("`{text}` cannot have keys: {e}")))?;
    if !read.host().eq_ignore_ascii_case(domain) {
        return Err(wrong(path, format!("`{text}` is not in the domain {domain} of this server")));
    }
    Ok(read)
}

/// A user's name as keys and lists have it.
fn canonical(text: &str, path: &[&str]) -> Made<String> {
    let identity = Identity::from_uri(text).map_err(|e| wrong(path, format!("`{text}`: {e}")))?;
    Ok(identity.text().into_owned())
}

fn policy(room: &RoomSection, path: &[&str]) -> Made<Policy> {
    let at = |key: &str, index: usize| -> Vec<String> {
        let own = path.iter().map(|name| (*name).to_owned());
        own.chain([key.to_owned(), index.to_string()]).collect()
    };
    let person = |key: &str, index: usize, text: &str| {
        let path = at(key, index);
        canonical(text, &path.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut owners = Vec::new();
    for (index, owner) in room.owners.iter().enumerate() {
        owners.push(person("owners", index, owner.as_ref())?);
    }
    let mut members: Vec<Member> = Vec::new();
    for (index, member) in room.members.iter().enumerate() {
        members.push(Member { uri: person("members", index, member.as_ref())?, call: false });
    }
    for (index, member) in room.call.iter().enumerate() {
        let uri = person("call", index, member.as_ref())?;
        match members.iter_mut().find(|known| known.uri == uri) {
            Some(known) => known.call = true,
            None => members.push(Member { uri, call: true }),
        }
    }
    let mut reserved = Vec::new();
    for (nickname, owner) in &room.reserved {
        let path = [path, &["reserved", nickname]].concat();
        reserved.push((nickname.clone(), canonical(owner.as_ref(), &path)?));
    }
    let moderated = room.moderated.as_ref().map_or(0, |floor| *floor.as_ref());
    let mut floors = Vec::new();
    for (index, floor) in room.floor.iter().enumerate() {
        let floor = floor.as_ref();
        let id = *floor.id.as_ref();
        let chair = floor.chair.as_ref().map(|chair| person("floor", index, chair.as_ref())).transpose()?;
        floors.push(Floor {
            id,
            algorithm: match floor.algorithm {
                config::FloorAlgorithm::Fcfs => Algorithm::FirstComeFirstServed,
                config::FloorAlgorithm::Chair => Algorithm::Chair,
                config::FloorAlgorithm::Rotation => Algorithm::Rotation,
            },
            holders: *floor.holders.as_ref(),
            seconds: floor.seconds,
            messages: floor.messages || id == moderated,
            chair,
        });
    }
    Ok(Policy {
        subject: room.subject.clone(),
        owners,
        open: room.policy == RoomPolicy::Open,
        members,
        unsealed: match room.unsealed {
            config::Unsealed::Refuse => Unsealed::Refuse,
            config::Unsealed::Admit => Unsealed::Admit,
        },
        invite: who(room.invite),
        kick: who(room.kick),
        watch: who(room.watch),
        floors,
        moderated,
        floor_requests: *room.max_requests.as_ref(),
        nicknames: room.nicknames,
        reserved,
        private: room.private_messages,
        history_count: room.history.messages,
        history_seconds: room.history.seconds,
        max_message: *room.max_message.as_ref(),
        stall_seconds: *room.stall_seconds.as_ref(),
        stall_octets: *room.stall_octets.as_ref(),
        notices: room.notices,
        devices: match room.devices {
            config::Devices::Several => Devices::Several,
            config::Devices::Replace => Devices::Replace,
        },
        ends_with_owner: room.ends_with_owner,
        capacity: *room.max_members.as_ref(),
    })
}

fn who(who: config::Who) -> Who {
    match who {
        config::Who::Owners => Who::Owners,
        config::Who::Members => Who::Members,
        config::Who::Anyone => Who::Anyone,
    }
}

fn gateways(whole: &Whole, section: &ConferenceSection) -> Vec<Gateway> {
    let control = section.control.as_ref();
    let datagrams = control.listen.iter().any(|bind| bind.as_ref().proto == ControlProto::Udp);
    let one = |gateway: &String| {
        let transport = match (whole.gateway.contains_key(gateway), datagrams) {
            (true, _) => Association::Channel,
            (false, true) => Association::Datagram,
            (false, false) => Association::Reliable,
        };
        let mid = MId::domain(gateway.clone());
        let mut settings = Gateway::new(gateway.as_str(), mid, transport, &section.realm);
        let peers = control.peers.get(gateway).map(|peers| peers.as_ref().as_slice()).unwrap_or_default();
        settings.peers = peers.iter().map(|p| Prefix { ip: p.ip, bits: p.bits }).collect();
        settings.profiles = control.profiles.get(gateway).map(|named| crate::roles::profiles(named.as_ref()));
        settings.weight = control.weights.get(gateway).map_or(1, |weight| *weight.as_ref());
        settings.association = control::association(
            transport,
            control.encoding,
            control.authentication.is_some(),
            control.datagram.as_ref().map(|octets| *octets.as_ref()),
            control.segments,
        );
        settings
    };
    control.gateways.iter().map(one).collect()
}

/// Who we are for the key server: our account, and every room and factory.
///
/// # Errors
/// What is wrong with which key; no key is ever part of it.
pub fn account(section: &ConferenceSection, kms: &ConferenceKms) -> Made<KeyAccount> {
    let name = kms.account.as_ref();
    Identity::from_uri(name).map_err(|e| wrong(&["kms", "account"], format!("`{name}`: {e}")))?;
    let url = kms.url.as_ref();
    let place = check_url(url).map_err(|e| wrong(&["kms", "url"], e.to_string()))?;
    let path = kms.key_file.as_ref();
    let bad = |what: String| wrong(&["kms", "key-file"], format!("{}: {what}", path.display()));
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?);
    let octets = carnet_wire::hex::decode(text.trim().as_bytes());
    let octets = Zeroizing::new(octets.map_err(|_| bad("not hexadecimal digits".into()))?);
    let uris =
        section.factory.iter().chain(section.room.iter().filter_map(|room| room.as_ref().uri.as_ref()));
    let identity = match &kms.identity {
        Some(identity) => identity.as_ref().clone(),
        None => format!("sip:{}", place.host()),
    };
    Identity::from_uri(&identity).map_err(|e| wrong(&["kms", "identity"], format!("`{identity}`: {e}")))?;
    Ok(KeyAccount {
        profile: carnet_mikey::Profile::default(),
        kms: identity,
        also_me: uris.map(|uri| uri.as_ref().clone()).collect(),
        psk_id: name.clone().into_bytes(),
        psk: Psk::new(&octets).map_err(|e| bad(e.to_string()))?,
        replay_entries: REPLAY_ENTRIES,
    })
}

/// The way to the key server.
///
/// # Errors
/// What is wrong with which key.
pub fn kms_link(kms: &ConferenceKms) -> Made<KmsLink> {
    let link = KmsLink::to(kms.url.as_ref(), &kms.request_path, &kms.resolve_path, kms_trust(kms)?);
    link.map_err(|e| {
        let key = if kms.ca_file.is_some() { "ca-file" } else { "url" };
        wrong(&["kms", key], e)
    })
}

/// Who vouches for the key server.
///
/// # Errors
/// What is wrong with which key.
pub fn kms_trust(kms: &ConferenceKms) -> Made<ServerTrust> {
    Ok(match (&kms.fingerprint, &kms.ca_file) {
        (Some(text), _) => {
            let parsed = text.as_ref().parse();
            let parsed =
                parsed.map_err(|e: carnet_tls::Error| wrong(&["kms", "fingerprint"], e.to_string()))?;
            ServerTrust::Pinned(parsed)
        }
        (None, Some(path)) => ServerTrust::File(path.as_ref().clone()),
        (None, None) => ServerTrust::System,
    })
}
