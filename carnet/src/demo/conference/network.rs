//! Three operators, the conference server of the first of them, and twenty members.
//!
//! ```text
//!  members of A ── border A ─────────────────┐
//!  members of B ── border B ── interconnect B ── interconnect A ── conference server (MRFC) ⇄ media server (MRFP)
//!  members of C ── border C ── interconnect C ──┘
//! ```

use crate::demo::network::{Addresses, SIP};
use std::fmt::Write as _;

/// An operator: its name, and its access and core networks.
pub struct Operator {
    pub name: &'static str,
    pub access: u8,
    pub core: u8,
}

pub const OPERATORS: [Operator; 3] = [
    Operator { name: "a", access: 1, core: 2 },
    Operator { name: "b", access: 5, core: 4 },
    Operator { name: "c", access: 7, core: 6 },
];

/// The network between operators.
const PEERS: u8 = 3;
/// Host numbers of the conference server and its media server in the core of A.
const MRFC: u8 = 7;
const MRFP: u8 = 8;

/// Who takes part, by operator in turn; the first of A is chair.
pub const MEMBERS: [&str; 20] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "karl", "laura",
    "mallory", "nina", "oscar", "peggy", "quentin", "rupert", "sybil", "trent",
];

/// The operator of a member, by its place in the list.
pub fn operator(member: usize) -> &'static Operator {
    &OPERATORS[member % OPERATORS.len()]
}

/// The member's URI.
pub fn uri(member: usize) -> String {
    format!("sip:{}@{}.example", MEMBERS[member], operator(member).name)
}

/// The conference.
pub const ROOM: &str = "sip:harbour@conf.example";
pub const SUBJECT: &str = "Who unloads first";
/// The account of the conference server with the key server.
pub const ACCOUNT: &str = "sip:mrfc@conf.example";
/// The floor whose holder alone may speak.
pub const FLOOR: u16 = 1;
/// The media server.
pub const MEDIA: &str = "mrfp";
/// Seconds after which a member that reads nothing is released, and octets that may wait for one that reads
/// slowly: more than the file has, lest a slow machine costs members.
pub const STALL: (u32, u64) = (4, 1 << 30);

/// The gateways on the way of members, two an operator.
pub fn gateways() -> impl Iterator<Item = String> {
    OPERATORS.iter().flat_map(|o| [format!("agw-{}", o.name), format!("trgw-{}", o.name)])
}

/// Where a member registers.
pub fn proxy(addresses: Addresses, member: usize) -> String {
    format!("sip:{}:{SIP};transport=tcp", addresses.at(operator(member).access, 1))
}

/// The configuration of all roles.
pub fn configuration(addresses: Addresses) -> String {
    let mut out = String::from("# Three operators and a conference server in one process.\n");
    for (index, operator) in OPERATORS.iter().enumerate() {
        let index = u8::try_from(index).unwrap_or_default();
        of_operator(&mut out, addresses, operator, 1 + 2 * index);
    }
    let core_a = OPERATORS[0].core;
    let (mrfc, next) = (addresses.at(core_a, MRFC), addresses.at(core_a, 3));
    let _ = writeln!(
        out,
        "\n[conference.conf]\ndomain = \"conf.example\"\ntrust-asserted = true\n\
         listen = [\"udp:{mrfc}:{SIP}\", \"tcp:{mrfc}:{SIP}\"]\n\
         next-hop = \"sip:{next}:{SIP};transport=tcp\"\ncontrol = {{ gateways = [\"{MEDIA}\"] }}\n\
         [conference.conf.kms]\nurl = \"https://{}\"\nidentity = \"sip:kms.example\"\naccount = \"{ACCOUNT}\"\n\
         key-file = \"mrfc.psk\"\nca-file = \"kms.pem\"\n\
         [[conference.conf.room]]\nuri = \"{ROOM}\"\nsubject = \"{SUBJECT}\"\nowners = [\"{}\"]\n\
         moderated = {FLOOR}\nfloor = [{{ id = {FLOOR}, algorithm = \"chair\", chair = \"{}\" }}]\n\
         stall-seconds = {}\nstall-octets = {}\nnotices = false\n\
         [gateway.{MEDIA}]\nrole = \"mrfp\"\ncontrollers = [\"local:conf\"]\n\
         [gateway.{MEDIA}.realm.core]\nv4 = \"{}\"\nports = \"30000-30999\"",
        addresses.kms(),
        uri(0),
        uri(0),
        STALL.0,
        STALL.1,
        addresses.at(core_a, MRFP),
    );
    let _ = writeln!(
        out,
        "\n[kms]\nname = \"kms.example\"\nlisten = \"{}\"\ndata = \"kms\"\nrate = 10000\n\
         tls = {{ certificate = \"kms.pem\", key = \"kms.key\" }}",
        addresses.kms()
    );
    out
}

/// The borders and gateways of one operator, whose host number in the network between operators is `host`.
fn of_operator(out: &mut String, addresses: Addresses, operator: &Operator, host: u8) {
    let Operator { name, access, core } = operator;
    let borders = [
        ("border", "ims-alg", "agw", [("access", *access, 1), ("core", *core, 1)]),
        ("interconnect", "ibcf", "trgw", [("core", *core, 3), ("peers", PEERS, host)]),
    ];
    for (border, role, gateway, networks) in borders {
        let _ = writeln!(out, "\n[border.{border}-{name}]\nrole = \"{role}\"\ndomain = \"{name}.example\"");
        let _ = writeln!(out, "control = {{ gateways = [\"{gateway}-{name}\"] }}");
        if role == "ims-alg" {
            let _ = writeln!(out, "registrar = {{ mode = \"built-in\", users = \"users-{name}.toml\" }}");
        }
        for (network, number, host) in networks {
            let ip = addresses.at(number, host);
            let _ = writeln!(out, "[border.{border}-{name}.network.{network}]");
            let _ = writeln!(out, "listen = [\"udp:{ip}:{SIP}\", \"tcp:{ip}:{SIP}\"]");
            if network == "access" {
                out.push_str("subscribers = true\n");
            }
        }
        let _ = writeln!(
            out,
            "[gateway.{gateway}-{name}]\nrole = \"{}\"",
            if role == "ibcf" { "trgw" } else { "ims-agw" }
        );
        let _ = writeln!(out, "controllers = [\"local:{border}-{name}\"]\nwitness = \"full\"");
        for (realm, number, host) in networks {
            let _ = writeln!(out, "[gateway.{gateway}-{name}.realm.{realm}]");
            let _ = writeln!(out, "v4 = \"{}\"\nports = \"30000-30999\"", addresses.at(number, host + 1));
        }
    }
    let mut route = |border: &str, domain: &str, network: &str, (number, host): (u8, u8)| {
        let ip = addresses.at(number, host);
        let _ = writeln!(
            out,
            "\n[[border.{border}-{name}.route]]\ndomain = \"{domain}\"\nnetwork = \"{network}\"\n\
             next-hop = \"sip:{ip}:{SIP};transport=tcp\""
        );
    };
    if *name == "a" {
        route("border", "conf.example", "core", (*core, MRFC));
        route("interconnect", "conf.example", "core", (*core, MRFC));
    }
    route("border", "*", "core", (*core, 3));
    route("interconnect", &format!("{name}.example"), "core", (*core, 1));
    if *name == "a" {
        route("interconnect", "b.example", "peers", (PEERS, 3));
        route("interconnect", "c.example", "peers", (PEERS, 5));
    } else {
        route("interconnect", "*", "peers", (PEERS, 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_would_run() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["users-a.toml", "users-b.toml", "users-c.toml", "kms.pem", "kms.key", "mrfc.psk"] {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let (addresses, _claim) = Addresses::free().unwrap();
        let text = configuration(addresses);
        let config = carnet_ops::config::parse("demo", text, directory.path()).unwrap();
        assert_eq!((config.border.len(), config.gateway.len(), config.conference.len()), (6, 7, 1));
        assert_eq!(gateways().count(), 6);
        let of = |name: &str| (0..MEMBERS.len()).filter(|member| operator(*member).name == name).count();
        assert_eq!([of("a"), of("b"), of("c")], [7, 7, 6]);
    }
}
