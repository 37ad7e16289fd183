//! The profiles this project speaks.
//!
//! Iq is as TS 29.334 has it where that could be read: version 2 of the protocol or higher (§2), text
//! and binary (table 5.9.1), no segments over UDP (table 5.12.2), ten transactions in a message (table
//! 5.10.1), `W-` for Subtract (table 5.10.6), packages (tables 5.14.1.1 and 5.14.2.1). TCP is not in its
//! table of transports and is taken as well (RFC 3525 §D.2); so is version 1. The tables of Ix and Mp
//! could not be read: they are taken to be those of Iq.

use super::{Carrier, Definition, Monitoring, Package, Presence, Writing};
use crate::model::Verb;

/// The access edge: IMS-ALG and IMS-AGW (TS 29.334).
pub const IQ: Definition = Definition {
    name: "carnet_iq",
    version: 1,
    protocol: 1..=3,
    writings: &[Writing::Text, Writing::Binary],
    carriers: &[Carrier::Sctp, Carrier::Udp, Carrier::Tcp],
    segmentation: false,
    transactions: 10,
    commands: &[
        Verb::Add,
        Verb::Modify,
        Verb::Move,
        Verb::Subtract,
        Verb::AuditValue,
        Verb::AuditCapability,
        Verb::Notify,
        Verb::ServiceChange,
    ],
    wildcard_responses: &[Verb::Subtract],
    terminations: 2,
    streams: None,
    packages: &[
        must("ipnapt", 1),
        must("g", 1),
        must("root", 2),
        must("gm", 2),
        must("tman", 1),
        must("ipdc", 1),
        must("hangterm", 1),
        must("ds", 2),
        must("rtcph", 1),
        may("it", 1),
        may("ocp", 1),
        may("chp", 1),
        may("ipra", 1),
        may("adid", 1),
        may("nt", 1),
        may("adr", 1),
        may("tcpbcc", 1),
        may("tlsbsc", 1),
        may("seplink", 1),
    ],
    monitoring: &[Monitoring::InactivityTimer, Monitoring::EmptyAudit],
};

/// The network edge: IBCF and TrGW (TS 29.238).
pub const IX: Definition = Definition { name: "carnet_ix", ..IQ };

/// The conference server: MRFC and MRFP (TS 29.333). Floor control sets properties of contexts, which
/// needs version 3 (TS 23.333 §8); participants are terminations, so a context holds more than two.
pub const MP: Definition = Definition {
    name: "carnet_mp",
    protocol: 3..=3,
    // Whoever is in a conference stays in it.
    commands: &[
        Verb::Add,
        Verb::Modify,
        Verb::Subtract,
        Verb::AuditValue,
        Verb::AuditCapability,
        Verb::Notify,
        Verb::ServiceChange,
    ],
    terminations: 3,
    packages: &[
        must("g", 1),
        must("root", 2),
        must("ipdc", 1),
        must("hangterm", 1),
        may("gm", 2),
        may("tman", 1),
        may("ds", 2),
        may("it", 1),
        may("ocp", 1),
        may("chp", 1),
        may("adid", 1),
        may("nt", 1),
        may("tcpbcc", 1),
        may("tlsbsc", 1),
        may("fcp", 2),
        may("crntls", 1),
        may("crnroom", 1),
    ],
    ..IQ
};

const fn must(name: &'static str, version: u16) -> Package {
    Package { name, version, presence: Presence::Mandatory }
}

const fn may(name: &'static str, version: u16) -> Package {
    Package { name, version, presence: Presence::Optional }
}
