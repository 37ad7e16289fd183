//! Whatever a controller does with conferences, subtracting everything leaves nothing behind, and the
//! media engine is told what it needs in the order in which it needs it.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::collections::{BTreeMap, BTreeSet};

use carnet_gateway::Function;
use carnet_gateway::media::{self, Command, ConferenceEvent, Medium};
use carnet_h248::MId;
use proptest::prelude::*;
use rig::Rig;

#[derive(Debug, Clone)]
enum Act {
    /// In a new context, or in one that there is; the second member in one transaction is wrong perhaps.
    Add {
        context: Option<usize>,
        user: u16,
        floors: bool,
        sealed: bool,
        chair: u16,
        wrong: bool,
    },
    Modify {
        context: usize,
        termination: usize,
        what: &'static str,
    },
    Set {
        context: usize,
        what: &'static str,
    },
    Subtract {
        context: usize,
        termination: usize,
    },
    SubtractAll {
        context: usize,
    },
    Happens {
        context: usize,
        user: u16,
        floor: bool,
    },
    Start,
    Answer,
    Slow(bool),
    Ports(Option<usize>),
}

fn act() -> impl Strategy<Value = Act> {
    let context = || 0..4usize;
    prop_oneof![
        6 => (proptest::option::of(context()), 1..5u16, any::<bool>(), any::<bool>(), 0..3u16, any::<bool>())
            .prop_map(|(context, user, floors, sealed, chair, wrong)| Act::Add {
                context, user, floors, sealed, chair, wrong: wrong && user > 3
            }),
        3 => (context(), 0..3usize, prop_oneof![
                Just("LocalControl { Mode = SendReceive, crnroom/speak = OFF }"),
                Just("LocalControl { Mode = Inactive, crnroom/user = 2 }"),
                Just("LocalControl { fcp/chair = 1 }"),
                Just("LocalControl { crntls/psk = 00 }"),
                Just("Local { }, Remote { }"),
            ]).prop_map(|(context, termination, what)| Act::Modify { context, termination, what }),
        2 => (context(), prop_oneof![
                Just("crnroom/nicknames = ON"),
                Just("fcp/floors = [ \"1:fcfs:1:0\" ]"),
                Just("crnroom/moderated = 9"),
                Just("fcp/state = \"x\""),
            ]).prop_map(|(context, what)| Act::Set { context, what }),
        2 => (context(), 0..3usize).prop_map(|(context, termination)| Act::Subtract { context, termination }),
        1 => context().prop_map(|context| Act::SubtractAll { context }),
        2 => (context(), 1..5u16, any::<bool>())
            .prop_map(|(context, user, floor)| Act::Happens { context, user, floor }),
        1 => Just(Act::Start),
        4 => Just(Act::Answer),
        1 => any::<bool>().prop_map(Act::Slow),
        1 => proptest::option::of(0..5usize).prop_map(Act::Ports),
    ]
}

const ROOM: &str = "ContextAttr { crnroom/uri = \"sip:r@x\", fcp/confid = 1, \
                    fcp/floors = [ \"1:chair:1:0\", \"2:fcfs:1:0\" ] },";

fn termination(user: u16, floors: bool, sealed: bool, chair: u16, wrong: bool) -> String {
    let keys = ", crntls/psk = 000102030405060708090A0B0C0D0E0F, crntls/pskid = \"eA\"";
    let (tls, scheme, keys) = if sealed { ("TLS/", "msrps", keys) } else { ("", "msrp", "") };
    let (media, protocol) = if floors { ("application", "BFCP") } else { ("message", "MSRP") };
    let path = if floors { String::new() } else { format!("a=path:{scheme}://$:$/s;tcp\n") };
    let chair = if floors { format!(", fcp/chair = {chair}") } else { String::new() };
    let address = if wrong { "192.0.2.77" } else { "$" };
    format!(
        "Add = $ {{ Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive, \
         crnroom/user = {user}{keys}{chair} }}, Local {{\nv=0\nc=IN IP4 {address}\nm={media} $ TCP/{tls}{protocol} *\n\
         {path}a=setup:passive\n}} }} }}, Events = 1 {{ crnroom/*, fcp/* }} }}"
    )
}

/// Contexts and terminations that the controller has learned of.
#[derive(Default)]
struct Known(Vec<(String, Vec<String>)>);

impl Known {
    fn learn(&mut self, reply: &str) {
        for action in reply.split("Context = ").skip(1) {
            let context = action.split(' ').next().unwrap().to_owned();
            let ids = action.split("Add = ").skip(1);
            let ids: Vec<String> = ids.map(|t| t.split([' ', ',', '}']).next().unwrap().to_owned()).collect();
            if context == "$" || ids.is_empty() {
                continue;
            }
            match self.0.iter_mut().find(|(known, _)| *known == context) {
                Some((_, known)) => known.extend(ids),
                None => self.0.push((context, ids)),
            }
        }
    }

    fn context(&self, index: usize) -> String {
        self.0.get(index).map_or_else(|| "77".to_owned(), |(context, _)| context.clone())
    }

    fn termination(&self, context: usize, index: usize) -> String {
        let ids = self.0.get(context).map(|(_, ids)| ids.as_slice()).unwrap_or_default();
        ids.get(index).cloned().unwrap_or_else(|| "ip/1/1/77".to_owned())
    }
}

/// What every engine may rely on.
fn check(commands: &[Command]) {
    let mut begun = BTreeSet::new();
    let mut seats: BTreeMap<(u32, u16, bool), u64> = BTreeMap::new();
    for command in commands {
        match command {
            Command::Conference { group, settings: Some(_) } => {
                begun.insert(*group);
            }
            Command::Conference { group, settings: None } => assert!(begun.remove(group), "it was there"),
            Command::Configure { pinhole, settings } => {
                assert!(begun.contains(&pinhole.group), "the conference comes before its members");
                seats.retain(|_, number| *number != pinhole.number);
                let Some(endpoint) = &settings.endpoint else { continue };
                let floors = matches!(endpoint.medium, Medium::Bfcp { .. });
                let seat = (pinhole.group, endpoint.user, floors);
                assert_eq!(seats.insert(seat, pinhole.number), None, "a member has one stream of a kind");
            }
            Command::Release { pinhole } => seats.retain(|_, number| *number != pinhole.number),
            Command::Join { .. } | Command::Part { .. } | Command::Regroup { .. } => {
                panic!("nothing is joined in a conference: {command:?}")
            }
            _ => {}
        }
    }
}

fn run(acts: Vec<Act>) {
    let mut rig = Rig::with(MId::domain("mrfc1.core.example"), |config| {
        config.function = Function::Conference;
        config.protected = true;
        config.limits.terminations = 5;
        config.limits.contexts = 6;
    });
    let mut known = Known::default();
    for act in acts {
        let reply = match act {
            Act::Add { context, user, floors, sealed, chair, wrong } => {
                let first = termination(user, floors, sealed, chair, false);
                let second = termination(user, !floors, sealed, chair, wrong);
                match context {
                    Some(index) => rig.ask(&format!("Context = {} {{ {first} }}", known.context(index))),
                    None => rig.ask(&format!("Context = $ {{ {ROOM} {first}, {second} }}")),
                }
            }
            Act::Modify { context, termination, what } => rig.ask(&format!(
                "Context = {} {{ Modify = {} {{ Media {{ Stream = 1 {{ {what} }} }} }} }}",
                known.context(context),
                known.termination(context, termination)
            )),
            Act::Set { context, what } => {
                rig.ask(&format!("Context = {} {{ ContextAttr {{ {what} }} }}", known.context(context)))
            }
            Act::Subtract { context, termination } => rig.ask(&format!(
                "Context = {} {{ Subtract = {} }}",
                known.context(context),
                known.termination(context, termination)
            )),
            Act::SubtractAll { context } => rig
                .ask(&format!("Context = {} {{ W-Subtract = * {{ Audit {{ }} }} }}", known.context(context))),
            Act::Happens { context, user, floor } => {
                let group = known.context(context).parse().unwrap();
                let event = if floor {
                    ConferenceEvent::Floor {
                        floor: user,
                        holders: vec![user],
                        queue: Vec::new(),
                        state: "x".into(),
                    }
                } else {
                    ConferenceEvent::Stalled { user, on: true }
                };
                rig.media(media::Event::Conference { group, event });
                String::new()
            }
            Act::Start => {
                rig.gateway.start(rig.now, 901);
                rig.wait(std::time::Duration::from_secs(1));
                String::new()
            }
            Act::Answer if rig.engine.answers.is_empty() => String::new(),
            Act::Answer => {
                let replies = rig.answer();
                replies.into_iter().map(|reply| rig.show(reply)).collect()
            }
            Act::Slow(slow) => {
                rig.engine.slow = slow;
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
    check(&rig.engine.commands);
    rig.assert_empty();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks(acts in proptest::collection::vec(act(), 0..40)) {
        run(acts);
    }
}
