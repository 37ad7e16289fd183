//! Controllers of the other make that hand the gateway on, die, come back or have nothing to say.

use crate::controlled::{Scene, add_pair, bob_listens, call_bob, talk};
use crate::lab::Lab;
use crate::peer::{Peer, Wire, each};
use std::time::{Duration, Instant};

const TCP: Wire = Wire::new("tcp", "compact", 2);
const UDP: Wire = Wire::new("udp", "compact", 3);
/// As long as a lost controller may take to be noticed by an unanswered request (T-MAX) and more.
const LOSS: Duration = Duration::from_secs(60);

/// Two controllers and a gateway that has registered with the first.
fn two(wire: Wire) -> Option<(Scene, Peer, Peer)> {
    let mut scene = Scene::new(wire, &["mgc1", "mgc2"])?;
    let mut first = scene.controller(0, "mgc1");
    let second = scene.controller(1, "mgc2");
    scene.start_gateway();
    first.hears(&scene.lab, "asked", "MT=RS");
    Some((scene, first, second))
}

/// The new controller finds the context, carries its call through and ends it.
fn takes_over(lab: &mut Lab, controller: &mut Peer, pair: &crate::controlled::Pair) {
    // The other stack takes the end of an old connection for that of a new one; the gateway tries again.
    let there = controller.ask_until_answered(lab, "C=*{AV=*{AT{}}}");
    assert_eq!(each(&there, "AV="), [&pair.access, &pair.core], "{there}");
    let listener = bob_listens(lab);
    call_bob(lab, controller, pair, listener.local_addr().unwrap());
    let (bob, alice) = talk(lab, pair.to_alice, listener, b"still there?", b"and still ours");
    assert!(bob == b"still there?" && alice == b"and still ours");
    let ended = controller.ask(lab, &format!("C={}{{S={},S={}}}", pair.context, pair.access, pair.core));
    assert!(ended.contains("nt/or=12") && ended.contains("nt/os=14"), "{ended}");
}

/// RFC 3525 §11.4: state is kept, and the controller that let go has no say any more.
fn hand_off(wire: Wire) {
    let Some((mut scene, mut first, mut second)) = two(wire) else { return };
    let pair = add_pair(&mut scene.lab, &mut first, 3600);
    let moved = first.ask(&mut scene.lab, "C=-{SC=ROOT{SV{MT=HO,RE=\"903 MGC Directed Change\",MG=<mgc2>}}}");
    assert_eq!(moved.to_ascii_lowercase(), "c=-{sc=root}");
    let registered = second.hears(&scene.lab, "asked", "MT=HO");
    assert!(registered.contains("903"), "{registered}");
    takes_over(&mut scene.lab, &mut second, &pair);
    let refused = first.ask(&mut scene.lab, "C=*{S=*}");
    assert!(refused.contains("ER=504"), "{refused}");
    scene.end_gateway();
    second.hears(&scene.lab, "asked", "MT=FO");
    scene.look(20);
}

#[test]
fn one_controller_hands_the_gateway_to_another() {
    hand_off(UDP);
    hand_off(TCP);
    hand_off(Wire::new("udp", "ber", 1));
}

/// The first controller is killed with a context up; the second gets the gateway with the context.
/// How long that took.
fn death(wire: Wire, heartbeats: bool) -> Option<Duration> {
    let (mut scene, mut first, mut second) = two(wire)?;
    let pair = add_pair(&mut scene.lab, &mut first, 2);
    if heartbeats {
        first.ask(&mut scene.lab, "C=-{AV=ROOT{AT{}}}");
    }
    scene.lab.process(first.process).signal("KILL");
    let died = Instant::now();
    let registered = second.hears_within(&scene.lab, "asked", "MT=FL", LOSS);
    let Some(registered) = registered else {
        scene.lab.show();
        panic!("{wire:?}: nobody took the gateway over");
    };
    let took = died.elapsed();
    assert!(registered.contains("909"), "{registered}");
    takes_over(&mut scene.lab, &mut second, &pair);
    Some(took)
}

#[test]
fn a_dead_controller_is_replaced() {
    for (wire, heartbeats, limit) in [(UDP, true, 20), (UDP, false, 45), (TCP, true, 20), (TCP, false, 45)] {
        let Some(took) = death(wire, heartbeats) else { return };
        eprintln!("{wire:?}, heartbeats {heartbeats}: the second had the gateway after {took:?}");
        assert!(took < Duration::from_secs(limit), "{wire:?}, heartbeats {heartbeats}: {took:?}");
    }
}

/// RFC 3525 §11.5: a controller that comes back hears Disconnected and finds what it had.
#[test]
fn a_dead_controller_comes_back() {
    for wire in [UDP, TCP] {
        let Some(mut scene) = Scene::new(wire, &["mgc1"]) else { return };
        let mut before = scene.controller(0, "mgc1");
        scene.start_gateway();
        before.hears(&scene.lab, "asked", "MT=RS");
        let pair = add_pair(&mut scene.lab, &mut before, 2);
        before.ask(&mut scene.lab, "C=-{AV=ROOT{AT{}}}");
        scene.lab.process(before.process).signal("KILL");
        scene.lab.process(before.process).wait(Duration::from_secs(5));
        let mut after = scene.controller(0, "mgc1");
        let registered = after.hears_within(&scene.lab, "asked", "MT=DC", LOSS).expect("it registers");
        assert!(registered.contains("900"), "{registered}");
        takes_over(&mut scene.lab, &mut after, &pair);
        scene.end_gateway();
        scene.look(10);
    }
}

/// A controller that has never sent a heartbeat is not left because nobody calls: it is asked, twice as late each
/// time, and answers.
#[test]
fn a_controller_may_have_nothing_to_say() {
    let Some((scene, mut first, second)) = two(UDP) else { return };
    // It was heard a little after it was sent.
    let registered =
        Instant::now().checked_sub(Duration::from_secs(2)).expect("the clock has run for a while");
    for seconds in [10, 20] {
        let again = first.hears_within(&scene.lab, "asked", "MT=DC", Duration::from_secs(seconds + 15));
        assert!(again.is_some_and(|said| said.contains("900")));
        assert!(registered.elapsed() >= Duration::from_secs(seconds), "{:?}", registered.elapsed());
    }
    assert!(!second.output(&scene.lab).contains("asked"), "{}", second.output(&scene.lab));
}

/// A gateway that is to end waits for its calls, and says so.
#[test]
fn a_gateway_ends_when_its_calls_have_ended() {
    let Some(mut scene) = Scene::new(UDP, &["mgc1"]) else { return };
    let mut mgc = scene.controller(0, "mgc1");
    scene.start_gateway();
    mgc.hears(&scene.lab, "asked", "MT=RS");
    let pair = add_pair(&mut scene.lab, &mut mgc, 3600);
    scene.signal_gateway("TERM");
    let leaving = mgc.hears(&scene.lab, "asked", "MT=GR");
    assert!(leaving.contains("905") && leaving.contains("DL="), "{leaving}");
    let ended = mgc.ask(&mut scene.lab, &format!("C={}{{W-S=*{{AT{{}}}}}}", pair.context));
    assert!(!ended.contains("ER="), "{ended}");
    mgc.hears(&scene.lab, "asked", "MT=FO");
    scene.end_gateway();
    scene.look(8);
}
