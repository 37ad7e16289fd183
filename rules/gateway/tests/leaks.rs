//! Whatever a controller does, subtracting everything leaves nothing behind.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::time::Duration;

use carnet_gateway::media::{Cause, Event, TlsFailure};
use proptest::prelude::*;
use rig::Rig;

/// One thing that happens. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Act {
    Add {
        context: Option<usize>,
        terminations: usize,
        realm: &'static str,
        local: &'static str,
        heartbeat: bool,
    },
    Modify {
        context: usize,
        wildcard: bool,
        local: bool,
    },
    Subtract {
        context: usize,
        termination: usize,
    },
    SubtractAll {
        context: usize,
    },
    Audit,
    Move {
        from: usize,
        to: Option<usize>,
        wildcard: bool,
        stream: bool,
    },
    Stream {
        context: usize,
        realm: &'static str,
        local: &'static str,
    },
    Topology {
        context: usize,
        how: &'static str,
    },
    Start,
    Bad {
        context: usize,
    },
    Report {
        hole: usize,
        what: Report,
    },
    Tls {
        context: usize,
        signal: &'static str,
    },
    Answer,
    Hurry(bool),
    Wait(u64),
    Ports(Option<usize>),
}

#[derive(Debug, Clone, Copy)]
enum Report {
    Up,
    Down,
    Sealed,
    Unsealed,
}

fn act() -> impl Strategy<Value = Act> {
    let realm = prop_oneof![4 => Just("core"), 1 => Just("moon"), 1 => Just("bare")];
    let local = prop_oneof![4 => Just(LOCAL), 2 => Just(EDGE), 1 => Just(AWARE_EDGE), 1 => Just(AWARE)];
    let report =
        prop_oneof![Just(Report::Up), Just(Report::Down), Just(Report::Sealed), Just(Report::Unsealed)];
    prop_oneof![
        4 => (proptest::option::of(0..4usize), 1..4usize, realm, local, any::<bool>()).prop_map(
            |(context, terminations, realm, local, heartbeat)| {
                Act::Add { context, terminations, realm, local, heartbeat }
            }
        ),
        2 => (0..4usize, prop_oneof![Just("tlsbsc/EstBNC"), Just("tlsbsc/RelBNC"), Just("tcpbcc/EstBNC")])
            .prop_map(|(context, signal)| Act::Tls { context, signal }),
        2 => (0..4usize, any::<bool>(), any::<bool>())
            .prop_map(|(context, wildcard, local)| Act::Modify { context, wildcard, local }),
        2 => (0..4usize, 0..3usize).prop_map(|(context, termination)| Act::Subtract { context, termination }),
        1 => (0..4usize).prop_map(|context| Act::SubtractAll { context }),
        1 => Just(Act::Audit),
        3 => (0..4usize, proptest::option::of(0..4usize), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, wildcard, stream)| Act::Move { from, to, wildcard, stream }),
        3 => (0..4usize, prop_oneof![Just("core"), Just("access"), Just("moon"), Just("bare")],
                prop_oneof![Just(LOCAL), Just(GROUPS), Just("Local { }, Remote { }"), Just(EDGE), Just(AWARE),
                    Just(AWARE_EDGE), Just(PEER)])
            .prop_map(|(context, realm, local)| Act::Stream { context, realm, local }),
        1 => (0..4usize, prop_oneof![Just("Isolate"), Just("Oneway"), Just("Bothway"), Just("OnewayBoth")])
            .prop_map(|(context, how)| Act::Topology { context, how }),
        1 => Just(Act::Start),
        1 => (0..4usize).prop_map(|context| Act::Bad { context }),
        2 => (0..8usize, report).prop_map(|(hole, what)| Act::Report { hole, what }),
        4 => Just(Act::Answer),
        1 => any::<bool>().prop_map(Act::Hurry),
        1 => (0..20u64).prop_map(Act::Wait),
        1 => proptest::option::of(0..5usize).prop_map(Act::Ports),
    ]
}

/// What the controller has learned from replies.
#[derive(Default)]
struct Known {
    contexts: Vec<(String, Vec<String>)>,
}

impl Known {
    fn learn(&mut self, reply: &str) {
        for action in reply.split("Context = ").skip(1) {
            let context = action.split(' ').next().unwrap().to_owned();
            let added = action.split("Add = ").skip(1);
            let ids: Vec<String> =
                added.map(|t| t.split([' ', ',', '}']).next().unwrap().to_owned()).collect();
            if context == "$" || ids.is_empty() {
                continue;
            }
            match self.contexts.iter_mut().find(|(known, _)| *known == context) {
                Some((_, known)) => known.extend(ids),
                None => self.contexts.push((context, ids)),
            }
        }
    }

    fn context(&self, index: usize) -> String {
        self.contexts.get(index).map_or_else(|| "77".to_owned(), |(context, _)| context.clone())
    }

    fn termination(&self, context: usize, index: usize) -> String {
        let ids = self.contexts.get(context).map(|(_, ids)| ids.as_slice()).unwrap_or_default();
        ids.get(index).cloned().unwrap_or_else(|| "ip/1/a/77".to_owned())
    }
}

const GROUPS: &str =
    "Local {\nv=0\nm=audio $ RTP/AVP 0\nv=0\nc=IN IP6 $\nm=- $ TCP -\nv=0\nc=IN IP4 $\nm=- $ TCP -\n}\n";
const EDGE: &str = "Local {\nv=0\nc=IN IP4 $\nm=- $ TCP/TLS -\na=fingerprint:SHA-256 $\n}\n";
const AWARE_EDGE: &str = "Local {\nv=0\nc=IN IP4 $\nm=- $ TCP/TLS/MSRP -\na=fingerprint:SHA-256 $\n}\n";
const AWARE: &str = "Local {\nv=0\nc=IN IP4 $\nm=- $ TCP/MSRP -\n}\n";
const PEER: &str = "Remote {\nv=0\nc=IN IP4 192.0.2.1\nm=- 9 TCP/TLS/MSRP -\na=path:msrps://a.example/s;tcp\n\
                    a=fingerprint:SHA-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:\
                    7D:46:3F:54:42:CD:54:F1\n}\n";
const LOCAL: &str = "Local {\nv=0\nc=IN IP4 $\nm=- $ TCP/TLS -\na=setup:passive\n}\n";

fn run(acts: Vec<Act>) {
    let mut rig = Rig::alg();
    let mut known = Known::default();
    for act in acts {
        let reply = match act {
            Act::Add { context, terminations, realm, local, heartbeat } => {
                let events = if heartbeat { ", Events = 1 { hangterm/thb { timerx = 5 } }" } else { "" };
                let one = format!(
                    "Add = ip/1/a/$ {{ Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive, \
                     ipdc/realm = {realm} }}, {local} }} }} {events} }}"
                );
                let context = context.map_or_else(|| "$".to_owned(), |index| known.context(index));
                let adds = vec![one; terminations].join(", ");
                rig.ask(&format!("Context = {context} {{ {adds} }}"))
            }
            Act::Modify { context, wildcard, local } => {
                let id = if wildcard { "*".to_owned() } else { known.termination(context, 0) };
                let local = if local { format!(", {LOCAL}") } else { String::new() };
                let media = format!("Media {{ Stream = 2 {{ LocalControl {{ Mode = SendOnly }} {local} }} }}");
                rig.ask(&format!("Context = {} {{ Modify = {id} {{ {media} }} }}", known.context(context)))
            }
            Act::Subtract { context, termination } => {
                let (home, id) = (known.context(context), known.termination(context, termination));
                rig.ask(&format!("Context = {home} {{ Subtract = {id} }}"))
            }
            Act::SubtractAll { context } => {
                rig.ask(&format!("Context = {} {{ W-Subtract = * {{ Audit {{ }} }} }}", known.context(context)))
            }
            Act::Move { from, to, wildcard, stream } => {
                let id = if wildcard { "ip/1/*/*".to_owned() } else { known.termination(from, 0) };
                let to = to.map_or_else(|| "$".to_owned(), |index| known.context(index));
                let media = format!("{{ Media {{ Stream = 2 {{ {LOCAL} }} }}, Audit {{ Statistics }} }}");
                let media = if stream { media } else { String::new() };
                rig.ask(&format!("Context = {to} {{ Move = {id} {media}, Modify = * }}"))
            }
            Act::Stream { context, realm, local } => {
                let (home, id) = (known.context(context), known.termination(context, 0));
                let control = format!("LocalControl {{ Mode = SendReceive, ipdc/realm = {realm} }}");
                let media = format!("Media {{ Stream = 1 {{ {control}, {local} }} }}");
                rig.ask(&format!("Context = {home} {{ Modify = {id} {{ {media} }} }}"))
            }
            Act::Topology { context, how } => {
                let (home, id) = (known.context(context), known.termination(context, 0));
                let add = format!("Add = $ {{ Media {{ Stream = 1 {{ {LOCAL} }} }} }}");
                rig.ask(&format!("Context = {home} {{ Topology {{ {id}, $, {how} }}, {add} }}"))
            }
            Act::Start => {
                rig.gateway.start(rig.now, 901);
                rig.wait(std::time::Duration::from_secs(1));
                String::new()
            }
            Act::Audit => rig.ask("Context = * { AuditValue = * { Audit { Statistics, Media } } }"),
            Act::Bad { context } => rig.ask(&format!(
                "Context = {} {{ Add = ip/1/a/$ {{ Media {{ Stream = 1 {{ {LOCAL} }} }} }}, Move = ip/1/a/1 }}",
                known.context(context)
            )),
            Act::Tls { context, signal } => {
                let (home, id) = (known.context(context), known.termination(context, 0));
                rig.ask(&format!("Context = {home} {{ Modify = {id} {{ Signals {{ {signal} }} }} }}"))
            }
            Act::Report { hole, what } => {
                if let Some(pinhole) = rig.engine.holes.keys().nth(hole).copied() {
                    let peer = "192.0.2.1:5".parse().unwrap();
                    rig.media(match what {
                        Report::Up => Event::Established { pinhole, peer },
                        Report::Down => Event::Closed { pinhole, cause: Cause::Reset },
                        Report::Sealed => {
                            Event::Sealed { pinhole, version: "TLSv1.3".into(), suite: "x".into() }
                        }
                        Report::Unsealed => {
                            Event::Closed { pinhole, cause: Cause::Tls(TlsFailure::Fingerprint) }
                        }
                    });
                }
                String::new()
            }
            Act::Answer => {
                if rig.engine.answers.is_empty() {
                    String::new()
                } else {
                    let replies = rig.answer();
                    replies.into_iter().map(|reply| rig.show(reply)).collect()
                }
            }
            Act::Hurry(slow) => {
                rig.engine.slow = slow;
                String::new()
            }
            Act::Wait(seconds) => {
                rig.wait(Duration::from_secs(seconds));
                String::new()
            }
            Act::Ports(most) => {
                rig.engine.ports = most;
                String::new()
            }
        };
        known.learn(&reply);
    }
    rig.engine.slow = false;
    rig.settle();
    rig.ask("Context = * { W-Subtract = * { Audit { } } }");
    rig.assert_empty();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks(acts in proptest::collection::vec(act(), 0..40)) {
        run(acts);
    }
}

/// A heartbeat asks whether the controller still wants a termination that it was told of. One that came
/// before the reply would be answered with error 430, and half the context subtracted.
#[test]
fn a_context_in_the_making_has_no_heartbeat() {
    let mut rig = Rig::alg();
    rig.engine.slow = true;
    let media =
        "Media { Stream = 1 { LocalControl { Mode = Inactive }, Local { v=0\nc=IN IP4 $\nm=- $ TCP -\n } } }";
    let add = format!("Add = $ {{ {media}, Events = 1 {{ hangterm/thb {{ timerx = 5 }} }} }}");
    assert_eq!(rig.ask(&format!("Context = $ {{ {add}, {add} }}")), "");
    rig.answer();
    rig.wait(Duration::from_secs(12));
    assert!(rig.told.is_empty(), "{:?}", rig.told);
    let replies = rig.answer();
    assert_eq!(replies.len(), 1);
    rig.wait(Duration::from_secs(6));
    assert_eq!(rig.told.len(), 2, "{:?}", rig.told);
}
