//! Terminals on connections whose border starts again: the connection breaks, and requests find them all the same, or
//! are told at once that they cannot.

use crate::stage::Stage;
use crate::terminal::{Dialog, Over, Terminal, contact, header, sdp};
use std::time::{Duration, Instant};

/// alice has called bob, as each of them sees it.
pub fn call(alice: &mut Terminal, bob: &mut Terminal, call_id: &str) -> (Dialog, Dialog) {
    let begun = alice.begins(call_id, "bob");
    let invite = alice.request("INVITE", 1, &begun, "", &sdp(20000, "actpass"));
    alice.say(&invite);
    let there = bob.take("INVITE");
    bob.say(&bob.answer(&there, "200 OK", "", &sdp(20001, "passive")));
    let ok = alice.take("SIP/2.0 200");
    let of_alice = alice.called(&begun, &ok);
    let ack = alice.request("ACK", 1, &of_alice, "", "");
    alice.say(&ack);
    bob.take("ACK");
    (of_alice, bob.asked(&there))
}

/// A request goes through, and is answered 200.
pub fn through(from: &mut Terminal, to: &mut Terminal, dialog: &Dialog, method: &str, cseq: u32) {
    let request = from.request(method, cseq, dialog, "", "");
    from.say(&request);
    let there = to.take(method);
    assert_eq!(header(&there, "CSeq"), format!("{cseq} {method}"));
    to.say(&to.answer(&there, "200 OK", "", ""));
    from.take("SIP/2.0 200");
}

/// One end comes back and registers, the other one says nothing; the call goes on and ends all the same.
fn is_called_where_it_listens(over: Over, signal: &str) {
    let mut stage = Stage::new();
    let mut alice = Terminal::new(&stage, "alice", over, false);
    let mut bob = Terminal::new(&stage, "bob", over, false);
    alice.register(1);
    bob.register(1);
    let (of_alice, of_bob) = call(&mut alice, &mut bob, "listens");
    stage.start_again(signal);
    alice.is_cut();
    bob.is_cut();
    // It may speak in the call before it registers.
    alice.connect();
    let update = alice.request("UPDATE", 2, &of_alice, "", "");
    alice.say(&update);
    bob.is_connected_to();
    let there = bob.take("UPDATE");
    bob.say(&bob.answer(&there, "200 OK", "", ""));
    alice.take("SIP/2.0 200");
    // And is found where it spoke from, by who speaks on the connection that was made to it.
    through(&mut bob, &mut alice, &of_bob, "INFO", 1);
    through(&mut bob, &mut alice, &of_bob, "BYE", 2);
    stage.assert_clean();
    // The next call goes by the same connection, or one that is made.
    alice.register(10);
    bob.connect();
    bob.register(10);
    let (of_alice, _) = call(&mut alice, &mut bob, "next");
    through(&mut alice, &mut bob, &of_alice, "BYE", 2);
    stage.assert_clean();
}

#[test]
fn over_tcp_a_terminal_is_called_where_it_listens() {
    is_called_where_it_listens(Over::Tcp, "KILL");
    is_called_where_it_listens(Over::Tcp, "TERM");
}

#[test]
fn over_tls_a_terminal_is_called_where_it_listens() {
    is_called_where_it_listens(Over::Tls, "KILL");
    is_called_where_it_listens(Over::Tls, "TERM");
}

/// Behind a NAT nobody can be connected to: who asks is told at once, the call stands, and goes on once the terminal is
/// back.
fn is_awaited_behind_a_nat(over: Over, signal: &str) {
    let mut stage = Stage::new();
    let mut alice = Terminal::new(&stage, "alice", over, true);
    let mut bob = Terminal::new(&stage, "bob", over, true);
    alice.register(1);
    bob.register(1);
    let (of_alice, of_bob) = call(&mut alice, &mut bob, "nat");
    stage.start_again(signal);
    alice.is_cut();
    bob.is_cut();
    alice.connect();
    alice.register(10);
    let asked = Instant::now();
    let again = alice.request("INVITE", 2, &of_alice, "", &sdp(20002, "actpass"));
    alice.say(&again);
    let refused = alice.take("SIP/2.0 480");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(header(&refused, "Warning").contains("connection of the far end is gone"), "{refused}");
    alice.acknowledge(&again, &refused);
    // So is who calls it anew.
    let other = alice.begins("another", "bob");
    let invite = alice.request("INVITE", 1, &other, "", &sdp(20004, "actpass"));
    alice.say(&invite);
    let refused = alice.take("SIP/2.0 480");
    alice.acknowledge(&invite, &refused);
    // Then it is back, and nothing was lost.
    bob.connect();
    bob.register(10);
    let again = alice.request("INVITE", 3, &of_alice, "", &sdp(20002, "actpass"));
    alice.say(&again);
    let there = bob.take("INVITE");
    bob.say(&bob.answer(&there, "200 OK", "", &sdp(20001, "passive")));
    let ok = alice.take("SIP/2.0 200");
    let of_alice = Dialog { target: contact(&ok), ..of_alice };
    let ack = alice.request("ACK", 3, &of_alice, "", "");
    alice.say(&ack);
    bob.take("ACK");
    through(&mut bob, &mut alice, &of_bob, "BYE", 1);
    stage.assert_clean();
}

#[test]
fn over_tcp_a_terminal_behind_a_nat_is_awaited() {
    is_awaited_behind_a_nat(Over::Tcp, "TERM");
}

#[test]
fn over_tls_a_terminal_behind_a_nat_is_awaited() {
    is_awaited_behind_a_nat(Over::Tls, "KILL");
}

/// Nobody starts again: the connection of a terminal breaks in the middle of a call, and it comes by another one.
#[test]
fn a_connection_that_breaks_ends_no_call() {
    for nat in [false, true] {
        let stage = Stage::new();
        let mut alice = Terminal::new(&stage, "alice", Over::Tcp, false);
        let mut bob = Terminal::new(&stage, "bob", Over::Tcp, nat);
        alice.register(1);
        bob.register(1);
        let (of_alice, _) = call(&mut alice, &mut bob, "breaks");
        bob.connect();
        stage.wait_for("unregistered");
        bob.register(10);
        through(&mut alice, &mut bob, &of_alice, "BYE", 2);
        stage.assert_clean();
    }
}

/// A set-up dies with the process: the caller hears it where its Via says (RFC 3261 §18.2.2), the callee where it listens.
#[test]
fn a_set_up_over_connections_is_ended_towards_both() {
    for over in [Over::Tcp, Over::Tls] {
        let mut stage = Stage::new();
        let mut alice = Terminal::new(&stage, "alice", over, false);
        let mut bob = Terminal::new(&stage, "bob", over, false);
        alice.register(1);
        bob.register(1);
        let begun = alice.begins("dies", "bob");
        let invite = alice.request("INVITE", 1, &begun, "", &sdp(20000, "actpass"));
        alice.say(&invite);
        let there = bob.take("INVITE");
        bob.say(&bob.answer(&there, "180 Ringing", "", ""));
        alice.take("SIP/2.0 180");
        stage.end("KILL");
        stage.start();
        stage.wait_for("setup-abandoned");
        bob.is_connected_to();
        let cancel = bob.take("CANCEL");
        assert_eq!(header(&cancel, "CSeq"), "1 CANCEL");
        alice.is_connected_to();
        let refusal = alice.take("SIP/2.0 503");
        assert_eq!(header(&refusal, "CSeq"), "1 INVITE");
        stage.wait_for("gateway-up");
        stage.assert_clean();
    }
}
