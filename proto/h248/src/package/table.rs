//! The table: one row an item, as `kind name number value confidence`.

use super::Confidence::{Provisional, Recalled, Standard, Vendor};
use super::Kind::{ContextProperty, Event, Secret, Signal, Statistic, StreamProperty, TerminationProperty};
use super::ValueType::{self, Boolean, Double, Integer, None as Nothing, Octets, Text, Word};
use super::{Confidence, Item, Kind, Package, Parameter};

/// Causes (RFC 3525 §E.1.2.1).
const CAUSE: &[(&str, u32)] = &[("NR", 1), ("UR", 2), ("FT", 3), ("FP", 4), ("IW", 5), ("UN", 6)];

/// What became of a bearer (as in the generic bearer connection package of Q.1950).
const BEARER: &[(&str, u32)] = &[("EST", 1), ("REL", 4)];

const fn item(kind: Kind, name: &'static str, id: u16, value: ValueType, confidence: Confidence) -> Item {
    Item { name, id: Some(id), kind, value, confidence, parameters: &[] }
}

const fn with(
    kind: Kind,
    name: &'static str,
    id: u16,
    confidence: Confidence,
    parameters: &'static [Parameter],
) -> Item {
    Item { name, id: Some(id), kind, value: Nothing, confidence, parameters }
}

const fn par(name: &'static str, id: u16, value: ValueType) -> Parameter {
    Parameter { name, id: Some(id), value }
}

/// All packages we know items of, or must be able to name.
pub const PACKAGES: &[Package] = &[
    // RFC 3525 §E.1; Meth PI and RID are of version 2.
    Package {
        name: "g",
        id: 0x0001,
        version: 2,
        extends: None,
        items: &[
            with(
                Event,
                "cause",
                1,
                Standard,
                &[par("Generalcause", 1, Word(CAUSE)), par("Failurecause", 2, Text)],
            ),
            with(
                Event,
                "sc",
                2,
                Standard,
                &[
                    par("SigID", 1, Text),
                    par("Meth", 2, Word(&[("TO", 1), ("EV", 2), ("SD", 3), ("NC", 4), ("PI", 5)])),
                    par("SLID", 3, Integer),
                    par("RID", 4, Integer),
                ],
            ),
        ],
    },
    // RFC 3525 §E.2; the pending limits are of version 2, with the numbers that Erlang's megaco has.
    Package {
        name: "root",
        id: 0x0002,
        version: 2,
        extends: None,
        items: &[
            item(TerminationProperty, "maxNumberOfContexts", 1, Double, Standard),
            item(TerminationProperty, "maxTerminationsPerContext", 2, Integer, Standard),
            item(TerminationProperty, "normalMGExecutionTime", 3, Integer, Standard),
            item(TerminationProperty, "normalMGCExecutionTime", 4, Integer, Standard),
            item(TerminationProperty, "MGProvisionalResponseTimerValue", 5, Integer, Standard),
            item(TerminationProperty, "MGCProvisionalResponseTimerValue", 6, Integer, Standard),
            item(TerminationProperty, "MGCOriginatedPendingLimit", 7, Integer, Vendor),
            item(TerminationProperty, "MGOriginatedPendingLimit", 8, Integer, Vendor),
        ],
    },
    // RFC 3525 §E.11.
    Package {
        name: "nt",
        id: 0x000b,
        version: 1,
        extends: None,
        items: &[
            item(StreamProperty, "jit", 7, Integer, Standard),
            with(Event, "netfail", 5, Standard, &[par("cs", 1, Text)]),
            with(Event, "qualert", 6, Standard, &[par("th", 1, Integer)]),
            item(Statistic, "dur", 1, Double, Standard),
            item(Statistic, "os", 2, Double, Standard),
            item(Statistic, "or", 3, Double, Standard),
        ],
    },
    // RFC 3525 §E.12.
    Package {
        name: "rtp",
        id: 0x000c,
        version: 2,
        extends: Some("nt"),
        items: &[
            with(Event, "pltrans", 1, Standard, &[par("rtppltype", 1, Text)]),
            item(Statistic, "ps", 4, Double, Standard),
            item(Statistic, "pr", 5, Double, Standard),
            item(Statistic, "pl", 6, Double, Standard),
            item(Statistic, "jit", 7, Double, Standard),
            item(Statistic, "delay", 8, Double, Standard),
        ],
    },
    // H.248.10.
    Package {
        name: "chp",
        id: 0x0029,
        version: 1,
        extends: None,
        items: &[with(Event, "MGCon", 1, Standard, &[par("reduction", 1, Integer)])],
    },
    // H.248.14. `mit` counts in 10 ms.
    Package {
        name: "it",
        id: 0x0045,
        version: 1,
        extends: None,
        items: &[with(Event, "ito", 1, Standard, &[par("mit", 1, Integer)])],
    },
    // H.248.11.
    Package {
        name: "ocp",
        id: 0x0051,
        version: 1,
        extends: None,
        items: &[item(Event, "mg_overload", 1, Nothing, Recalled)],
    },
    // H.248.52. `dscp` is hexadecimal without prefix.
    Package {
        name: "ds",
        id: 0x008b,
        version: 2,
        extends: None,
        items: &[
            item(StreamProperty, "dscp", 1, Octets, Standard),
            item(StreamProperty, "tc", 2, Boolean, Recalled),
        ],
    },
    // H.248.57. Nothing of it matters to TCP; the profiles want it named.
    Package {
        name: "rtcph",
        id: 0x00b5,
        version: 1,
        extends: None,
        items: &[item(StreamProperty, "rsb", 1, Boolean, Recalled)],
    },
    // H.248.43. Names as dissectors have them, numbers recalled.
    Package {
        name: "gm",
        id: 0x008c,
        version: 2,
        extends: Some("rtcph"),
        items: &[
            item(StreamProperty, "saf", 1, Boolean, Standard),
            item(StreamProperty, "sam", 2, Text, Standard),
            item(StreamProperty, "spf", 3, Boolean, Standard),
            item(StreamProperty, "spr", 4, Text, Standard),
            item(StreamProperty, "esas", 5, Boolean, Standard),
            item(StreamProperty, "lsa", 6, Text, Standard),
            item(StreamProperty, "esps", 7, Boolean, Standard),
            item(StreamProperty, "lsp", 8, Integer, Standard),
            item(StreamProperty, "rsb", 9, Boolean, Standard),
        ],
    },
    // H.248.53. Numbers recalled with little trust. Rates in octets a second, `mbs` in octets.
    Package {
        name: "tman",
        id: 0x008d,
        version: 2,
        extends: None,
        items: &[
            item(StreamProperty, "sdr", 1, Integer, Standard),
            item(StreamProperty, "mbs", 2, Integer, Standard),
            item(StreamProperty, "pdr", 3, Integer, Standard),
            item(StreamProperty, "dvt", 4, Integer, Standard),
            item(StreamProperty, "pol", 5, Boolean, Standard),
        ],
    },
    // H.248.36. `timerx` in seconds, 0 is off.
    Package {
        name: "hangterm",
        id: 0x0098,
        version: 1,
        extends: None,
        items: &[with(Event, "thb", 1, Standard, &[par("timerx", 1, Integer)])],
    },
    // H.248.37. Meaning from vendors, names and numbers recalled.
    Package {
        name: "ipnapt",
        id: 0x0099,
        version: 1,
        extends: None,
        items: &[with(
            Signal,
            "latch",
            1,
            Recalled,
            &[par("napt", 1, Word(&[("OFF", 0), ("LATCH", 1), ("RELATCH", 2)]))],
        )],
    },
    // H.248.37.
    Package {
        name: "adr",
        id: 0x00ac,
        version: 1,
        extends: Some("ipnapt"),
        items: &[with(Event, "rsac", 1, Vendor, &[par("nrsa", 1, Text), par("nrsp", 2, Integer)])],
    },
    // H.248.40. `dt` in seconds.
    Package {
        name: "adid",
        id: 0x009c,
        version: 1,
        extends: None,
        items: &[with(
            Event,
            "ipstop",
            1,
            Recalled,
            &[par("dt", 1, Integer), par("dir", 2, Word(&[("IN", 1), ("OUT", 2), ("BOTH", 3)]))],
        )],
    },
    // H.248.41.
    Package {
        name: "ipdc",
        id: 0x009d,
        version: 2,
        extends: None,
        items: &[item(StreamProperty, "realm", 1, Text, Standard)],
    },
    // H.248.41. The available realms as a list, and the event that they changed with those that came
    // and those that went; what there is comes from TS 29.334, the names are our choice.
    Package {
        name: "ipra",
        id: 0x00e0,
        version: 1,
        extends: Some("ipdc"),
        items: &[
            item(TerminationProperty, "ar", 2, Text, Provisional),
            with(Event, "arc", 1, Provisional, &[par("nar", 1, Text), par("nur", 2, Text)]),
        ],
    },
    // H.248.1 version 3. How many of a regulated event's notifications are sent: `once`, or a number of
    // percent. The meaning is from vendors, the name is our choice.
    Package {
        name: "nb",
        id: 0x009a,
        version: 1,
        extends: None,
        items: &[item(TerminationProperty, "rate", 1, Text, Provisional)],
    },
    // H.248.1 version 3. Timers in ms, sizes in octets.
    Package {
        name: "seg",
        id: 0x00a3,
        version: 1,
        extends: None,
        items: &[
            item(TerminationProperty, "MGSegmentationTimerValue", 1, Integer, Recalled),
            item(TerminationProperty, "MGCSegmentationTimerValue", 2, Integer, Recalled),
            item(TerminationProperty, "MGMaxPDUSize", 3, Integer, Recalled),
            item(TerminationProperty, "MGCMaxPDUSize", 4, Integer, Recalled),
        ],
    },
    // H.248.89. Items modelled on Q.1950; none could be read.
    Package {
        name: "tcpbcc",
        id: 0x0115,
        version: 1,
        extends: None,
        items: &[
            item(Signal, "EstBNC", 1, Nothing, Provisional),
            with(Signal, "RelBNC", 3, Provisional, &[par("Generalcause", 1, Word(CAUSE))]),
            with(
                Event,
                "BNCChange",
                1,
                Provisional,
                &[
                    par("Type", 1, Word(BEARER)),
                    par("Generalcause", 2, Word(CAUSE)),
                    par("Failurecause", 3, Text),
                ],
            ),
        ],
    },
    // H.248.90. As `tcpbcc`.
    Package {
        name: "tlsbsc",
        id: 0x0117,
        version: 1,
        extends: None,
        items: &[
            item(Signal, "EstBNC", 1, Nothing, Provisional),
            with(Signal, "RelBNC", 3, Provisional, &[par("Generalcause", 1, Word(CAUSE))]),
            with(
                Event,
                "BNCChange",
                1,
                Provisional,
                &[
                    par("Type", 1, Word(BEARER)),
                    par("Generalcause", 2, Word(CAUSE)),
                    par("Failurecause", 3, Text),
                ],
            ),
        ],
    },
    // H.248.92. Its items are not known.
    Package { name: "seplink", id: 0x011b, version: 1, extends: None, items: &[] },
    // H.248.19, floor control. What a conference needs is in TS 23.333 §8.44 to §8.46; none of the items
    // could be read, so their names, numbers and forms are our choice. A floor is
    // `ID:ALGORITHM:HOLDERS:SECONDS[:LABEL]`.
    Package {
        name: "fcp",
        id: 0x006e,
        version: 2,
        extends: None,
        items: &[
            item(ContextProperty, "confid", 1, Double, Provisional),
            item(ContextProperty, "floors", 2, Text, Provisional),
            item(ContextProperty, "maxrequests", 3, Integer, Provisional),
            item(ContextProperty, "state", 4, Text, Provisional),
            item(StreamProperty, "chair", 5, Integer, Provisional),
            with(
                Signal,
                "decide",
                1,
                Provisional,
                &[par("floor", 1, Integer), par("decision", 2, Word(&[("grant", 1), ("refuse", 2)]))],
            ),
            with(
                Event,
                "floor",
                1,
                Provisional,
                &[
                    par("floor", 1, Integer),
                    par("holders", 2, Integer),
                    par("queue", 3, Integer),
                    par("state", 4, Text),
                ],
            ),
        ],
    },
    // Private: the Pre-Shared Key of the conference server. The registered form is not known.
    Package {
        name: "crntls",
        id: 0x9001,
        version: 1,
        extends: None,
        items: &[
            item(Secret, "psk", 1, Octets, Provisional),
            item(StreamProperty, "pskid", 2, Text, Provisional),
        ],
    },
    // Private: nothing in it. A gateway that has it starts again with contexts that it had (Restart 902): media
    // goes on while it is away.
    Package { name: "crnkeep", id: 0x9003, version: 1, extends: None, items: &[] },
    // Private: rooms of the conference server. What a member is called and may do is a property of its
    // streams, what holds for everybody one of the context.
    Package {
        name: "crnroom",
        id: 0x9002,
        version: 1,
        extends: None,
        items: &[
            item(StreamProperty, "user", 1, Integer, Provisional),
            item(StreamProperty, "member", 2, Text, Provisional),
            item(StreamProperty, "nick", 3, Text, Provisional),
            item(StreamProperty, "speak", 4, Boolean, Provisional),
            item(StreamProperty, "history", 5, Boolean, Provisional),
            item(StreamProperty, "maxsize", 6, Double, Provisional),
            item(StreamProperty, "types", 7, Text, Provisional),
            item(StreamProperty, "tls", 8, Word(&[("client", 1), ("server", 2)]), Provisional),
            item(ContextProperty, "uri", 16, Text, Provisional),
            item(ContextProperty, "subject", 17, Text, Provisional),
            item(ContextProperty, "nicknames", 18, Boolean, Provisional),
            item(ContextProperty, "private", 19, Boolean, Provisional),
            item(ContextProperty, "moderated", 20, Integer, Provisional),
            item(ContextProperty, "historycount", 21, Integer, Provisional),
            item(ContextProperty, "historysecs", 22, Integer, Provisional),
            item(ContextProperty, "maxmessage", 23, Double, Provisional),
            item(ContextProperty, "stallsecs", 24, Integer, Provisional),
            item(ContextProperty, "stalloctets", 25, Double, Provisional),
            item(ContextProperty, "reserved", 26, Text, Provisional),
            item(ContextProperty, "notices", 27, Boolean, Provisional),
            with(Event, "nickname", 1, Provisional, &[par("user", 1, Integer), par("nick", 2, Text)]),
            with(Event, "released", 2, Provisional, &[par("user", 1, Integer), par("reason", 2, Text)]),
            with(Event, "stalled", 3, Provisional, &[par("user", 1, Integer), par("on", 2, Boolean)]),
            with(Event, "sealed", 4, Provisional, &[par("version", 1, Text), par("suite", 2, Text)]),
        ],
    },
];
