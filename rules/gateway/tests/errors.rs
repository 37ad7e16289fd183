//! Every error code of H.248.8 that a gateway of this kind can answer with is raised here once; the
//! others are listed with the reason why they cannot come from it, or with where they are raised.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use carnet_h248::MId;
use rig::{Rig, read};

/// What a controller sends to a gateway that has one context `C` with terminations `A` and `B`, and
/// another one `D` with termination `E`. `|` ends a line.
const RAISED: &[(u16, &str)] = &[
    (410, "Context = C { Subtract = ROOT }"),
    (411, "Context = 77 { Subtract = A }"),
    (412, "(no more contexts)"),
    (421, "Context = - { Add = $ }"),
    (430, "Context = C { Modify = ip/1/x/9 }"),
    (431, "Context = C { Subtract = ip/9/*/* }"),
    (433, "Context = C { Add = A }"),
    (434, "Context = C { Add = $ }"),
    (435, "Context = D { Modify = A }"),
    (440, "Context = C { Modify = A { Events = 1 { al/of } } }"),
    (441, "Context = C { Modify = A { Media { Stream = 2 { Remote {|m=- 9 TCP -|}| } } } }"),
    (443, "Context = C { Notify = A { ObservedEvents = 1 { g/cause } } }"),
    (444, "Context = C { Modify = A { DigitMap = dial } }"),
    (445, "Context = C { Modify = A { Media { Stream = 1 { LocalControl { gm/colour = 1 } } } } }"),
    (446, "Context = C { Modify = A { Signals { tcpbcc/EstBNC { colour = 1 } } } }"),
    (447, "Context = - { Modify = ROOT { Signals { ipnapt/latch } } }"),
    (449, "Context = C { Modify = A { Media { Stream = 1 { LocalControl { ds/dscp = 7F } } } } }"),
    (451, "Context = C { Modify = A { Events = 1 { g/colour } } }"),
    (452, "Context = C { Modify = A { Signals { ipnapt/colour } } }"),
    (453, "Context = C { Modify = A { Statistics { nt/colour } } }"),
    (454, "Context = C { Modify = A { Signals { ipnapt/latch { napt = PERHAPS } } } }"),
    (455, "Context = C { Modify = A { Media { TerminationState { ipdc/realm = a } } } }"),
    (457, "Context = C { Modify = A { Events = 1 { hangterm/thb } } }"),
    (472, "Context = C { Modify = A { Media { Stream = 1 { LocalControl { tman/pol = ON } } } } }"),
    (
        473,
        "Context = C { Modify = A { Media { Stream = 1 { Remote {|c=IN IP6 2001:db8::1|m=- 9 TCP -|}| } } } }",
    ),
    (474, "Context = C { Modify = A { Media { Stream = 1 { Remote {|c=IN IP4 nobody|m=- 9 TCP -|}| } } } }"),
    (501, "Context = C { Modify = A { Media { TerminationState { ServiceStates = Test } } } }"),
    (503, "(taken out of service)"),
    (504, "Context = C { Modify = A { Media { Stream = 1 { LocalControl { crntls/psk = 00 } } } } }"),
    (510, "(no more ports)"),
    (511, "(nothing more can wait)"),
    (512, "Context = C { Modify = A { Events = 1 { it/ito { mit = 5 } } } }"),
    (513, "Context = C { Modify = A { Signals { ipnapt/latch { SignalType = OnOff } } } }"),
    (515, "Context = $ { Add = $ { Media { Stream = 1 { Local {|m=audio $ RTP/AVP 0|}| } } } }"),
    (517, "Context = C { Modify = A { Media { Stream = 1 { LocalControl { Mode = Loopback } } } } }"),
    (522, "Context = C { Topology { A, B, OnewayBoth } }"),
    (532, "Context = C { AuditValue = A { Audit { Events = 5 { g/cause } } } }"),
    (533, "(a long answer)"),
    (534, "Context = - { Modify = ROOT { Media { TerminationState { root/maxNumberOfContexts = 3 } } } }"),
];

/// Raised before a request gets to what is tested here, and where that is tested.
const ELSEWHERE: &[(u16, &str)] = &[
    // The codec: proto/h248/src/text/tests.rs and binary/tests.rs.
    (400, "syntax of a message"),
    (403, "syntax of a transaction"),
    (406, "version"),
    (413, "too many transactions in a message"),
    (422, "syntax of an action"),
    (442, "syntax of a command"),
    (448, "a descriptor twice"),
    (456, "a property twice"),
    // proto/h248/src/authentication.rs and the sockets that use it.
    (402, "a message without authentication"),
    // proto/h248/src/registration.
    (505, "a request before the reply to ServiceChange"),
    // A conference: tests/conference.rs.
    (479, "a second chair of a floor"),
    // proto/h248/src/association: the limit of Pending.
    (506, "too many TransactionPending"),
];

/// Cannot come from a gateway that relays TCP.
const NEVER: &[(u16, &str)] = &[
    (401, "what is against the protocol has codes of its own"),
    (432, "names of terminations do not run out before ports (510) or contexts (412) do"),
    (450, "its meaning is that of 445, which is the one in use"),
    (458, "only the answer to a Notify"),
    (459, "no metering"),
    (460, "every statistic that there is can be kept on a stream"),
    (461, "only the answer to a registration"),
    (471, "no multiplex: its descriptor is error 444"),
    (475, "no playout"),
    (476, "no playout"),
    (477, "no playout"),
    (478, "no resource rules"),
    (480, "no recordings"),
    (481, "no filter groups"),
    (482, "no filter groups"),
    (483, "no speech sessions"),
    (484, "no speech sessions"),
    (485, "no measurement blocks"),
    (486, "no measurement blocks"),
    (487, "no measurement blocks"),
    (488, "streams are linked as a=setup says; the package that says it otherwise is error 501"),
    (489, "no aggregates"),
    (500, "only if the gateway contradicts itself"),
    (502, "it takes requests only when it is ready"),
    (507, "it takes requests on every transport that it listens on"),
    (514, "no announcements"),
    (518, "no event buffer"),
    (519, "no digit maps"),
    (520, "no digit maps"),
    (521, "a change of service takes no time"),
    (526, "bandwidth is limited, not reserved"),
    (529, "hardware is not looked at"),
    (530, "of a connection events tell"),
    (531, "of a connection events tell"),
    (540, "no hooks"),
    (541, "no spare bits"),
    (542, "what ROOT cannot do is error 410 (RFC 3525 §6.2.5), and terminations can do all"),
    (543, "time stamps are understood"),
    (581, "an action on what does not exist is 411 or 430"),
];

fn add() -> &'static str {
    "Add = ip/1/a/$ { Media { Stream = 1 { LocalControl { Mode = SendReceive }, \
     Local {\nv=0\nc=IN IP4 $\nm=- $ TCP -\n}\n } } }"
}

/// The gateway of the table; what its letters stand for.
fn prepared(adjust: impl Fn(&mut carnet_gateway::Limits)) -> (Rig, Vec<(&'static str, String)>) {
    let mut rig = Rig::with(MId::domain("alg1.access.example"), |config| adjust(&mut config.limits));
    let reply = rig.ask(&format!("Context = $ {{ {}, {} }}, Context = $ {{ {} }}", add(), add(), add()));
    let contexts: Vec<&str> =
        reply.split("Context = ").skip(1).map(|c| c.split(' ').next().unwrap()).collect();
    let names: Vec<&str> =
        reply.split("Add = ").skip(1).map(|t| t.split([' ', ',', '}']).next().unwrap()).collect();
    let letters = [
        ("= C ", format!("= {} ", contexts[0])),
        ("= D ", format!("= {} ", contexts[1])),
        ("= A ", format!("= {} ", names[0])),
        (" A, B,", format!(" {}, {},", names[0], names[1])),
    ];
    (rig, letters.to_vec())
}

#[test]
fn every_code_that_can_be_is_raised() {
    for (code, actions) in RAISED.iter().filter(|(_, actions)| !actions.starts_with('(')) {
        let (mut rig, letters) = prepared(|_| {});
        let mut actions = actions.replace('|', "\n");
        for (letter, name) in letters {
            actions = actions.replace(letter, &name);
        }
        let before = rig.ask("Context = * { AuditValue = * { Audit { Media, Events, Signals } } }");
        assert_eq!(rig.code(&actions), *code, "{actions}");
        // And nothing has changed.
        let after = rig.ask("Context = * { AuditValue = * { Audit { Media, Events, Signals } } }");
        let said = |reply: &str| reply.split_once(' ').unwrap().1.to_owned();
        assert_eq!(said(&before), said(&after), "{actions}");
        rig.ask("Context = * { W-Subtract = * { Audit { } } }");
        rig.assert_empty();
    }
}

#[test]
fn what_runs_out_has_its_code() {
    let new = format!("Context = $ {{ {} }}", add());
    let (mut rig, _) = prepared(|limits| (limits.contexts, limits.reserve) = (2, 0));
    assert_eq!(rig.code(&new), 412);
    let (mut rig, _) = prepared(|_| {});
    rig.engine.ports = Some(3);
    assert_eq!(rig.code(&new), 510);
    let (mut rig, _) = prepared(|limits| limits.transactions = 1);
    rig.engine.slow = true;
    assert_eq!(rig.ask(&new), "");
    assert_eq!(rig.code(&new), 511);
    let (mut rig, _) = prepared(|limits| limits.audited = 2);
    assert_eq!(rig.code("Context = * { AuditValue = * { Audit { Media } } }"), 533);
    let (mut rig, _) = prepared(|_| {});
    let services = "Services { Method = Forced, Reason = \"905 Termination taken out of service\" }";
    assert_eq!(rig.code(&format!("Context = - {{ ServiceChange = ROOT {{ {services} }} }}")), 0);
    assert_eq!(rig.code(&new), 503);
}

/// What comes from somebody who does not control the gateway.
#[test]
fn a_stranger_hears_504() {
    let (mut rig, _) = prepared(|_| {});
    let text = "MEGACO/3 <evil.example> Transaction = 1 { Context = * { Subtract = * } }";
    let refusal = rig.gateway.handle_message(rig.now, read(text)).unwrap();
    assert!(rig::write(&refusal).contains("504"));
    assert_eq!(rig.gateway.contexts(), 2);
}

/// The registered codes (IANA, H.248.8), each in one of the tables and in one only.
#[test]
fn no_code_is_forgotten() {
    let ranges = [400..=403, 406..=406, 410..=413, 421..=422, 430..=435, 440..=461, 471..=489];
    let more = [500..=507, 510..=515, 517..=522, 526..=526, 529..=534, 540..=543, 581..=581];
    let registered: Vec<u16> = ranges.into_iter().chain(more).flatten().collect();
    let mut listed: Vec<u16> = [RAISED, ELSEWHERE, NEVER].concat().iter().map(|(code, _)| *code).collect();
    listed.sort_unstable();
    assert_eq!(listed, registered);
}
