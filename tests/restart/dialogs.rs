//! Dialogs without a call over a start: SUBSCRIBE and REFER, their NOTIFYs, and their end.

use crate::stage::Stage;
use crate::terminal::{Dialog, Over, Terminal, header};
use std::time::Duration;

/// alice has subscribed to bob, as each of them sees it.
fn subscribed(alice: &mut Terminal, bob: &mut Terminal, (method, expires): (&str, u32)) -> (Dialog, Dialog) {
    let begun = alice.begins(&format!("{method}-{expires}"), "bob");
    let more = match method {
        "REFER" => "Refer-To: <sip:carol@a.example>\r\n".to_owned(),
        _ => format!("Event: presence\r\nExpires: {expires}\r\n"),
    };
    let request = alice.request(method, 1, &begun, &more, "");
    alice.say(&request);
    let there = bob.take(method);
    bob.say(&bob.answer(&there, "202 Accepted", &format!("Expires: {expires}\r\n"), ""));
    let ok = alice.take("SIP/2.0 202");
    (alice.called(&begun, &ok), bob.asked(&there))
}

/// bob notifies alice, who answers.
fn notify(bob: &mut Terminal, alice: &mut Terminal, dialog: &Dialog, cseq: u32, state: &str) -> String {
    let more = format!("Event: presence\r\nSubscription-State: {state}\r\n");
    let request = bob.request("NOTIFY", cseq, dialog, &more, "");
    bob.say(&request);
    let there = alice.take("NOTIFY");
    alice.say(&alice.answer(&there, "200 OK", "", ""));
    bob.take("SIP/2.0 200");
    there
}

/// Everything goes on after a start, until the subscriber does not want it any more.
fn go_on(method: &str, over: Over, signal: &str) {
    let mut stage = Stage::new();
    let mut alice = Terminal::new(&stage, "alice", over, false);
    let mut bob = Terminal::new(&stage, "bob", Over::Udp, false);
    alice.register(1);
    bob.register(1);
    let (of_alice, of_bob) = subscribed(&mut alice, &mut bob, (method, 600));
    notify(&mut bob, &mut alice, &of_bob, 1, "active;expires=600");
    stage.start_again(signal);
    stage.wait_for("state-restored");
    assert!(stage.output("err").contains("subscriptions=1"), "{}", stage.output("err"));
    if over != Over::Udp {
        // It has not come back: it listens where its Contact says.
        alice.is_cut();
        let more = "Event: presence\r\nSubscription-State: active;expires=600\r\n";
        let request = bob.request("NOTIFY", 2, &of_bob, more, "");
        bob.say(&request);
        alice.is_connected_to();
        let there = alice.take("NOTIFY");
        alice.say(&alice.answer(&there, "200 OK", "", ""));
        bob.take("SIP/2.0 200");
        // And now it comes by itself.
        alice.connect();
        alice.register(10);
    }
    let there = notify(&mut bob, &mut alice, &of_bob, 3, "active;expires=600");
    assert_eq!(header(&there, "CSeq"), "3 NOTIFY");
    assert_eq!(header(&there, "To"), of_alice.local);
    // Once more, and the end.
    stage.start_again(signal);
    if over != Over::Udp {
        alice.is_cut();
        alice.connect();
    }
    let stop = alice.request("SUBSCRIBE", 5, &of_alice, "Event: presence\r\nExpires: 0\r\n", "");
    alice.say(&stop);
    let there = bob.take("SUBSCRIBE");
    bob.say(&bob.answer(&there, "200 OK", "Expires: 0\r\n", ""));
    alice.take("SIP/2.0 200");
    // By the connection by which it has just spoken, without a registration.
    notify(&mut bob, &mut alice, &of_bob, 6, "terminated;reason=timeout");
}

#[test]
fn a_subscription_goes_on_when_its_border_is_killed() {
    go_on("SUBSCRIBE", Over::Udp, "KILL");
}

#[test]
fn a_referral_goes_on_when_its_border_hands_over() {
    go_on("REFER", Over::Udp, "TERM");
}

#[test]
fn a_subscriber_on_a_connection_is_found_again() {
    go_on("SUBSCRIBE", Over::Tcp, "KILL");
    go_on("SUBSCRIBE", Over::Tls, "TERM");
}

/// A notifier knows a request that comes again by its transaction (RFC 3261 §17.2.3); what comes by another branch it
/// may refuse as one that came by two ways (§8.2.2.2). alice repeats what she has heard no answer to.
#[test]
fn what_is_repeated_across_a_start_is_the_same_request() {
    for (method, signal) in [("SUBSCRIBE", "KILL"), ("REFER", "TERM")] {
        let mut stage = Stage::new();
        let mut alice = Terminal::new(&stage, "alice", Over::Udp, false);
        let mut bob = Terminal::new(&stage, "bob", Over::Udp, false);
        alice.register(1);
        bob.register(1);
        let begun = alice.begins(&format!("again-{method}"), "bob");
        let more = "Event: presence\r\nExpires: 600\r\nRefer-To: <sip:carol@a.example>\r\n";
        let request = alice.request(method, 1, &begun, more, "");
        alice.say(&request);
        let there = bob.take(method);
        stage.end(signal);
        // What the process before has repeated itself.
        while bob.take_within(method, Duration::from_millis(200)).is_ok() {}
        stage.start();
        stage.wait_for("gateway-up");
        alice.say(&request);
        let again = bob.take(method);
        assert_eq!(again, there, "{method}");
        bob.say(&bob.answer(&again, "202 Accepted", "Expires: 600\r\n", ""));
        let ok = alice.take("SIP/2.0 202");
        let (of_alice, of_bob) = (alice.called(&begun, &ok), bob.asked(&there));
        notify(&mut bob, &mut alice, &of_bob, 1, "active;expires=600");
        let stop = alice.request("SUBSCRIBE", 5, &of_alice, "Event: presence\r\nExpires: 0\r\n", "");
        alice.say(&stop);
        let there = bob.take("SUBSCRIBE");
        bob.say(&bob.answer(&there, "200 OK", "Expires: 0\r\n", ""));
        alice.take("SIP/2.0 200");
        notify(&mut bob, &mut alice, &of_bob, 6, "terminated;reason=timeout");
    }
}

/// Time goes on while nobody is there.
#[test]
fn a_subscription_runs_out_as_it_would_have() {
    let mut stage = Stage::new();
    let mut alice = Terminal::new(&stage, "alice", Over::Udp, false);
    let mut bob = Terminal::new(&stage, "bob", Over::Udp, false);
    alice.register(1);
    bob.register(1);
    let (_, of_bob) = subscribed(&mut alice, &mut bob, ("SUBSCRIBE", 1));
    notify(&mut bob, &mut alice, &of_bob, 1, "active;expires=1");
    stage.start_again("KILL");
    // So long does a border wait for what may still be on its way.
    std::thread::sleep(Duration::from_secs(42));
    let request = bob.request("NOTIFY", 2, &of_bob, "Subscription-State: active\r\n", "");
    bob.say(&request);
    bob.take("SIP/2.0 481");
    stage.start_again("KILL");
    assert!(stage.output("err").contains("subscriptions=0"), "{}", stage.output("err"));
}
