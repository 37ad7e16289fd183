//! Contexts that outlive the process: written down, taken up by another one, registered again as after a
//! warm boot (RFC 3525 §7.2.8, §11.5).

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::time::Duration;

use carnet_gateway::media::{self, Cause, Command, Engine, Gate, Reason, Refusal, Role};
use carnet_gateway::{Event, Unreadable};
use carnet_h248::{ContextId, MId};
use rig::Rig;

const PEERS: [&str; 2] = ["198.51.100.7", "198.51.100.9"];

fn alg() -> MId {
    MId::domain("alg1.access.example")
}

fn before() -> Rig {
    let mut rig = Rig::with(alg(), |config| config.survives = true);
    assert_eq!(changes(&mut rig), []);
    rig
}

/// Another process, with other random numbers.
fn after(rig: &Rig) -> Rig {
    let mut next = Rig::idle(alg(), 2, |config| config.survives = true);
    next.gateway.number_from(rig.gateway.numbers());
    next
}

fn changes(rig: &mut Rig) -> Vec<(u32, Option<String>)> {
    let now = rig.now;
    std::iter::from_fn(|| rig.gateway.poll_changed(now)).collect()
}

fn side(interface: &str, setup: &str, peer: &str) -> String {
    format!(
        "Add = ip/1/{interface}/$ {{ Media {{ Stream = 1 {{ \
         LocalControl {{ Mode = SendReceive, ipdc/realm = \"access network\", gm/saf = ON, ds/dscp = 1A }}, \
         Local {{\nv=0\nc=IN IP4 $\nm=- $ TCP/TLS -\na=setup:{setup}\n}}, \
         Remote {{\nv=0\nc=IN IP4 {peer}\nm=- 2855 TCP/TLS -\n}}\n }} }}, \
         Events = 77 {{ g/cause, tcpbcc/BNCChange {{ Type = REL }}, hangterm/thb {{ timerx = 60 }} }} }}"
    )
}

/// A call whose octets pass the kernel; its context and its terminations.
fn call(rig: &mut Rig) -> (u32, [String; 2]) {
    let sides = [side("a", "passive", PEERS[0]), side("b", "active", PEERS[1])].join(", ");
    let reply = rig.ask(&format!("Context = $ {{ Priority = 7, {sides} }}"));
    let number = |text: &str, before: &str| -> Vec<String> {
        let rest = text.split(before).skip(1);
        rest.map(|t| t.split([' ', '}', ',']).next().unwrap().to_owned()).collect()
    };
    let context = number(&reply, "Context = ")[0].parse().unwrap();
    let [one, two] = number(&reply, "Add = ").try_into().unwrap_or_else(|_| panic!("{reply}"));
    (context, [one, two])
}

/// The engine says that the kernel has the pair on these ports.
fn carried(rig: &mut Rig, ports: [u16; 2]) {
    for port in ports {
        let pinhole = rig.engine.pinhole(port);
        rig.media(media::Event::Engine { pinhole, engine: Engine::Kernel, reason: Reason::Passes });
    }
}

fn connected(rig: &mut Rig, ports: [u16; 2]) {
    for (port, peer) in ports.into_iter().zip(PEERS) {
        let (pinhole, peer) = (rig.engine.pinhole(port), format!("{peer}:2855").parse().unwrap());
        rig.media(media::Event::Established { pinhole, peer });
    }
}

const PORTS: [u16; 2] = [30_000, 30_002];

/// A call that is carried and connected, and its text.
fn standing(rig: &mut Rig) -> (u32, [String; 2], String) {
    let (context, names) = call(rig);
    carried(rig, PORTS);
    connected(rig, PORTS);
    let mut all = changes(rig);
    assert_eq!(all.len(), 1, "{all:?}");
    let (id, text) = all.remove(0);
    assert_eq!(id, context);
    (context, names, text.unwrap())
}

fn told(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|e| matches!(e, Event::Resumed { .. } | Event::NotResumed { .. })).collect()
}

fn register(rig: &mut Rig) {
    rig.gateway.start_again(rig.now, Some(alg()));
    rig.settle();
    rig.gateway.handle_timeout(rig.now);
    rig.settle();
}

#[test]
fn only_what_the_kernel_carries_is_written_down() {
    let mut rig = before();
    let (context, [one, _]) = call(&mut rig);
    assert_eq!(changes(&mut rig), [], "nobody said yet what moves it");
    let pinhole = rig.engine.pinhole(PORTS[0]);
    rig.media(media::Event::Engine { pinhole, engine: Engine::Kernel, reason: Reason::Passes });
    assert_eq!(changes(&mut rig), [], "one side of two");
    carried(&mut rig, PORTS);
    assert!(matches!(changes(&mut rig).as_slice(), [(id, Some(_))] if *id == context));
    // What is said of it is written down anew, and only then.
    assert!(rig.gateway.is_survivable());
    rig.ask(&format!("Context = {context} {{ AuditValue = {one} {{ Audit {{ Media }} }} }}"));
    rig.ask(&format!("Context = {context} {{ Modify = {one} {{ Events = 78 {{ g/cause }} }} }}"));
    let now = changes(&mut rig);
    assert!(matches!(now.as_slice(), [(_, Some(text))] if text.contains("78")), "{now:?}");
    // The caller came from elsewhere.
    rig.media(media::Event::Engine { pinhole, engine: Engine::Relay, reason: Reason::Elsewhere });
    assert_eq!(changes(&mut rig), [(context, None)]);
    assert!(!rig.gateway.is_survivable());
    carried(&mut rig, PORTS);
    assert_eq!(changes(&mut rig).len(), 1);
    rig.ask(&format!("Context = {context} {{ Subtract = * {{ Audit {{ }} }} }}"));
    assert_eq!(changes(&mut rig), [(context, None)]);
    rig.assert_empty();
}

#[test]
fn a_gateway_that_keeps_nothing_writes_nothing_down() {
    let mut rig = Rig::alg();
    call(&mut rig);
    carried(&mut rig, PORTS);
    assert_eq!(changes(&mut rig), []);
}

#[test]
fn a_context_is_taken_up_with_everything_that_was_said() {
    let mut rig = before();
    let (context, [one, two], text) = standing(&mut rig);
    let audit = format!(
        "Context = {context} {{ ContextAudit {{ Topology, Priority }}, AuditValue = {one} {{ Audit {{ Media, Events }} }}, \
         AuditValue = {two} {{ Audit {{ Media, Events }} }} }}"
    );
    // But for the number of the transaction.
    let body = |reply: String| reply.split_once(' ').unwrap().1.to_owned();
    let said = body(rig.ask(&audit));
    let settings = PORTS.map(|port| rig.engine.settings(port).clone());

    let mut next = after(&rig);
    assert_eq!(next.gateway.restore(next.now, &text), Ok(context));
    // Nobody hears of the gateway before its contexts are there.
    next.engine.slow = true;
    register(&mut next);
    assert!(!next.gateway.registration().is_registered());
    assert!(next.announced.is_empty());
    next.engine.slow = false;
    next.settle();
    next.gateway.handle_timeout(next.now);
    next.settle();
    assert!(next.gateway.registration().is_registered());
    let [announced] = next.announced.as_slice() else { panic!("{:?}", next.announced) };
    assert!(announced.contains("902") && announced.contains("Restart"), "{announced}");
    assert_eq!(told(&next.events()), [&Event::Resumed { context: ContextId::Id(context) }]);

    assert_eq!(body(next.ask(&audit)), said);
    assert_eq!(PORTS.map(|port| next.engine.settings(port).clone()), settings);
    assert_eq!(settings[0].role, Role::Passive);
    assert_eq!(settings[0].gate, Gate::SendReceive);
    let far = next.engine.holes.get(&next.engine.pinhole(PORTS[0])).unwrap().far;
    assert_eq!(far, Some(next.engine.pinhole(PORTS[1])));
    assert!(!next.engine.commands.iter().any(|c| matches!(c, Command::Reserve { .. })));

    // What follows is as if nothing had been.
    connected(&mut next, PORTS);
    assert!(next.told.is_empty(), "{:?}", next.told);
    next.wait(Duration::from_secs(60));
    assert_eq!(next.told.len(), 2, "heartbeats: {:?}", next.told);
    let reply = next.ask(&format!("Context = {context} {{ Subtract = {one}, Subtract = {two} }}"));
    assert!(reply.contains("nt/or = 51200"), "{reply}");
    next.assert_empty();
    assert_eq!(changes(&mut next), [(context, None)]);
}

#[test]
fn what_is_written_of_a_context_that_was_taken_up_is_the_same() {
    let mut rig = before();
    let (_, _, text) = standing(&mut rig);
    let mut next = after(&rig);
    next.gateway.restore(next.now, &text).unwrap();
    next.settle();
    carried(&mut next, PORTS);
    connected(&mut next, PORTS);
    let again = changes(&mut next);
    assert!(matches!(again.as_slice(), [(_, Some(again))] if *again == text), "{again:?}\n{text}");
}

#[test]
fn no_name_is_used_twice() {
    let mut rig = before();
    let (_, [_, two], text) = standing(&mut rig);
    let number = |name: &str| -> u64 { name.rsplit('/').next().unwrap().parse().unwrap() };
    let (other, _) = call(&mut rig);
    let mut next = after(&rig);
    let context = next.gateway.restore(next.now, &text).unwrap();
    assert!(matches!(next.gateway.restore(next.now, &text), Err(Unreadable::Taken(_))));
    next.engine.ports = Some(9);
    register(&mut next);
    let (new, [first, _]) = {
        let sides = [side("a", "passive", PEERS[0]), side("b", "active", PEERS[1])].join(", ");
        let reply = next.ask(&format!("Context = $ {{ {sides} }}"));
        let id: u32 = reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let names: Vec<_> =
            reply.split("Add = ").skip(1).map(|t| t.split([' ', '}']).next().unwrap()).collect();
        (id, [names[0].to_owned(), names[1].to_owned()])
    };
    assert!(new != context && new != other && new == other + 1);
    assert!(number(&first) > number(&two) + 2);
}

#[test]
fn time_goes_on_from_the_beginning() {
    let mut rig = before();
    let (context, [one, _]) = call(&mut rig);
    // Longer than what the engine counts since then.
    rig.wait(Duration::from_secs(1_000));
    carried(&mut rig, PORTS);
    let text = changes(&mut rig).remove(0).1.unwrap();
    let mut next = after(&rig);
    // The clock of the rig begins where that of the other began, so a context is as old as it was.
    next.wait(Duration::from_secs(1_010));
    next.gateway.restore(next.now, &text).unwrap();
    next.settle();
    register(&mut next);
    next.wait(Duration::from_secs(5));
    let reply =
        next.ask(&format!("Context = {context} {{ AuditValue = {one} {{ Audit {{ Statistics }} }} }}"));
    assert!(reply.contains("nt/dur = 1015000"), "{reply}");
}

#[test]
fn a_context_whose_address_is_gone_is_not_there() {
    let mut rig = before();
    let (context, _, text) = standing(&mut rig);
    // One is had again, the other is not: either may be answered first.
    for first in [0, 1] {
        let mut next = after(&rig);
        next.engine.slow = true;
        next.gateway.restore(next.now, &text).unwrap();
        register(&mut next);
        let gone = next.engine.pinhole(PORTS[first]);
        let at = next.engine.answers.iter().position(|a| a.pinhole() == Some(gone)).unwrap();
        next.engine.answers[at] = media::Event::Refused { pinhole: gone, reason: Refusal::System };
        next.engine.holes.remove(&gone);
        next.engine.slow = false;
        next.settle();
        next.gateway.handle_timeout(next.now);
        next.settle();
        let events = next.events();
        assert!(matches!(told(&events).as_slice(), [Event::NotResumed { .. }]), "{events:?}");
        assert!(next.gateway.registration().is_registered(), "the others do not wait for it");
        next.assert_empty();
        assert_eq!(changes(&mut next), [(context, None)]);
        assert_eq!(next.code(&format!("Context = {context} {{ AuditValue = * {{ Audit {{ }} }} }}")), 411);
    }
}

#[test]
fn a_connection_that_ended_meanwhile_is_told() {
    let mut rig = before();
    let (_, _, text) = standing(&mut rig);
    let mut next = after(&rig);
    next.gateway.restore(next.now, &text).unwrap();
    register(&mut next);
    carried(&mut next, PORTS);
    next.wait(Duration::from_secs(9));
    assert!(next.told.is_empty(), "{:?}", next.told);
    next.wait(Duration::from_secs(2));
    assert_eq!(next.told.len(), 2, "{:?}", next.told);
    assert!(next.told[0].contains("g/cause"), "{:?}", next.told);
    assert_eq!(next.gateway.contexts(), 1, "it is the controller that ends it");
    let ended = next.events().iter().filter(|e| matches!(e, Event::Disconnected { .. })).count();
    assert_eq!(ended, 2);
    // A context that never had a connection goes on waiting.
    let mut rig = before();
    call(&mut rig);
    carried(&mut rig, PORTS);
    let text = changes(&mut rig).remove(0).1.unwrap();
    let mut next = after(&rig);
    next.gateway.restore(next.now, &text).unwrap();
    register(&mut next);
    next.wait(Duration::from_secs(30));
    assert!(next.told.is_empty(), "{:?}", next.told);
    let pinhole = next.engine.pinhole(PORTS[0]);
    next.media(media::Event::Closed { pinhole, cause: Cause::Reset });
    assert_eq!(next.told.len(), 1, "{:?}", next.told);
}

#[test]
fn a_connection_that_broke_with_the_process_is_told_as_lost() {
    let mut rig = before();
    let (context, _, text) = standing(&mut rig);
    let mut next = after(&rig);
    next.gateway.restore(next.now, &text).unwrap();
    register(&mut next);
    let pinhole = next.engine.pinhole(PORTS[0]);
    // The host forwards no more.
    next.media(media::Event::Engine { pinhole, engine: Engine::Relay, reason: Reason::Host });
    let last = next.announced.last().unwrap();
    assert!(last.contains("915") && last.contains(&context.to_string()), "{last}");
    assert_eq!(changes(&mut next), [(context, None)]);
    next.wait(Duration::from_secs(20));
    assert_eq!(next.told.len(), 0, "once is enough: {:?}", next.told);
}

#[test]
fn the_controller_that_had_the_calls_is_asked_first() {
    let mut rig = before();
    let (_, _, text) = standing(&mut rig);
    let mut next = Rig::idle(MId::domain("alg9.access.example"), 3, |config| config.survives = true);
    next.gateway.restore(next.now, &text).unwrap();
    register(&mut next);
    // The list has alg9 and alg2; alg1, which had the calls, is asked first all the same.
    let first = next.announced.remove(0);
    assert!(first.contains("902"), "{first}");
    assert_eq!(next.gateway.registration().controller(), Some(&alg()));
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    let mut rig = before();
    let (_, _, text) = standing(&mut rig);
    let mut next = after(&rig);
    let mut refused = |text: &str| {
        let now = next.now;
        next.gateway.restore(now, text).expect_err(text)
    };
    assert_eq!(refused(""), Unreadable::Form);
    assert_eq!(refused(&text.replace("context 1\n", "context 2\n")), Unreadable::Form);
    for (from, to) in [
        ("stream ip", "river ip"),
        (" 1 1 access", " x 1 access"),
        ("\n\n", "\n"),
        ("C=", "C=$"),
        ("=ip/", "=ip/*"),
        ("203.0.113.10", "$"),
        ("stream ", "stream ip/9/9/9 1 1\nstream "),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text, "{from}");
        assert!(matches!(refused(&broken), Unreadable::Syntax(_)), "{from}");
    }
    for end in 0..text.len() {
        if let Ok(context) = next.gateway.restore(next.now, &text[..end]) {
            panic!("{context} of {}", &text[..end]);
        }
    }
    assert_eq!(next.gateway.contexts(), 0);
    assert!(next.gateway.is_idle());
    assert_eq!(next.gateway.poll_command(), None);
}
