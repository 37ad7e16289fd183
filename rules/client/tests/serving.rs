//! What a called side owes whoever asks (RFC 3261 §8.2, §12.2.2, §14.2): the right status, and the
//! header without which that status does not help.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod net;

use std::time::Duration;

use carnet_client::{Ending, Event, Refusal};
use carnet_sip::{Limits, Message};
use net::{Net, address, mend, replacing};

fn parse(data: &[u8]) -> Message {
    Message::parse(data.to_vec().into(), &Limits::default()).unwrap()
}

/// The last message that `at` got and whose first line starts with `start`.
fn got(net: &Net, at: usize, start: &str) -> Message {
    let fits = |data: &&bytes::Bytes| data.starts_with(start.as_bytes());
    let found = net.nodes[at].received.iter().rev().find(fits);
    parse(found.unwrap_or_else(|| panic!("no {start} among {:?}", net.nodes[at].received)))
}

/// One whose requests are made by hand, in a dialog of two clients.
struct Hand {
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
    /// Who gets the requests, and whose address they come from.
    at: usize,
    peer: u8,
}

impl Hand {
    /// In the place of the caller, once the called side has answered.
    fn of_caller(net: &Net) -> Self {
        let response = got(net, 0, "SIP/2.0");
        let (from, to) = (response.from().unwrap().to_string(), response.to().unwrap().to_string());
        Self { from, to, call_id: response.call_id().unwrap().to_owned(), cseq: 100, at: 1, peer: 1 }
    }

    /// In the place of the called side.
    fn of_called(net: &Net) -> Self {
        let caller = Self::of_caller(net);
        Self { from: caller.to, to: caller.from, at: 0, peer: 2, ..caller }
    }

    /// Sends a request and returns its answers, 100 left out.
    fn ask(&mut self, net: &mut Net, method: &str, lines: &str, body: &str) -> Vec<Message> {
        self.cseq += 1;
        self.ask_as(net, method, self.cseq, &format!("z9hG4bK{}{}", self.cseq, self.at), lines, body)
    }

    fn ask_as(
        &mut self,
        net: &mut Net,
        method: &str,
        cseq: u32,
        branch: &str,
        lines: &str,
        body: &str,
    ) -> Vec<Message> {
        let Self { from, to, call_id, at, peer, .. } = self;
        let request = format!(
            "{method} sip:x@{} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nMax-Forwards: 70\r\nFrom: {from}\r\n\
             To: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:x@{}>\r\n{lines}\
             Content-Length: {}\r\n\r\n{body}",
            net.nodes[*at].address,
            address(*peer),
            address(*peer),
            body.len(),
        );
        let hop = carnet_sip::Hop::new(carnet_sip::Transport::Udp, address(*peer));
        let input = carnet_sip::Input { hop, data: request.into() };
        net.nodes[*at].client.handle_sip(net.now, net.wall, input);
        let mut answers = Vec::new();
        while let Some(transmit) = net.nodes[*at].client.poll_transmit() {
            let message = parse(&transmit.data);
            if message.cseq().is_ok_and(|c| c.number == cseq) && message.status().is_some_and(|s| s > 100) {
                answers.push(message);
            }
        }
        answers
    }

    fn one(&mut self, net: &mut Net, method: &str, lines: &str, body: &str) -> Message {
        let mut answers = self.ask(net, method, lines, body);
        assert_eq!(answers.len(), 1, "{method} {lines}");
        answers.remove(0)
    }
}

const SDP: &str = "Content-Type: application/sdp\r\n";

/// The body of the first INVITE.
fn offer(net: &Net) -> String {
    String::from_utf8(got(net, 1, "INVITE").body().to_vec()).unwrap()
}

/// The body of the answer Alice got last.
fn answer(net: &Net) -> String {
    let fits = |data: &&bytes::Bytes| data.starts_with(b"SIP/2.0") && !parse(data).body().is_empty();
    let found = net.nodes[0].received.iter().rev().find(fits).unwrap();
    String::from_utf8(parse(found).body().to_vec()).unwrap()
}

fn up() -> Net {
    let mut net = Net::pair();
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    net.nodes.iter_mut().for_each(|node| node.events.clear());
    net
}

/// A call that rings, with a 183 that carries Bob's answer reliably if `reliable`.
fn early(reliable: bool) -> Net {
    // The same seeds make the same keys: what Bob answers there is right here.
    let body = answer(&up());
    let mut net = Net::pair();
    net.tap = Some(Box::new(move |_, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        if !text.starts_with("SIP/2.0 180") {
            return vec![(to, data.clone())];
        }
        let require = if reliable { "Require: 100rel\r\nRSeq: 7\r\n" } else { "" };
        let head = text.trim_end().replace("SIP/2.0 180 Ringing", "SIP/2.0 183 Session Progress");
        vec![(to, mend(&format!("{head}\r\n{require}{SDP}\r\n{body}")).into())]
    }));
    net.call(0, "sip:bob@example.com");
    net
}

#[test]
fn extensions_that_are_not_here_are_named() {
    let mut net = up();
    let mut alice = Hand::of_caller(&net);
    for method in ["INVITE", "UPDATE", "OPTIONS", "BYE"] {
        let answer = alice.one(&mut net, method, "Require: foo, timer, bar\r\n", "");
        assert_eq!(answer.status(), Some(420), "{method}");
        assert_eq!(answer.header("Unsupported").as_deref(), Some("foo, bar"));
    }
    assert_eq!(net.nodes[1].client.calls(), 1);
    // The first INVITE too: nobody is disturbed.
    let mut net = Net::pair();
    net.tap = Some(replacing("INVITE", |text| {
        text.replacen("\r\nSupported:", "\r\nRequire: foo\r\nSupported:", 1)
    }));
    net.call(0, "sip:bob@example.com");
    assert_eq!(got(&net, 0, "SIP/2.0 4").status(), Some(420));
    assert!(net.try_event(1, |event| matches!(event, Event::Incoming { .. })).is_none());
}

#[test]
fn a_session_interval_that_is_too_short() {
    let mut net = up();
    let mut alice = Hand::of_caller(&net);
    let lines = "Supported: timer\r\nSession-Expires: 30\r\n";
    for method in ["INVITE", "UPDATE"] {
        let answer = alice.one(&mut net, method, lines, "");
        assert_eq!(
            (answer.status(), answer.header("Min-SE").as_deref()),
            (Some(422), Some("90")),
            "{method}"
        );
        assert!(!answer.has("Warning"), "nothing is wrong with the description");
    }
    // The first INVITE is refused before it rings, and the caller asks again with more.
    let mut net = Net::new();
    net.add(&net::Person { name: "alice", last: 1, proxy: 2 }, |config| config.session_timers.interval = 200);
    net.add(&net::Person { name: "bob", last: 2, proxy: 1 }, |config| config.session_timers.least = 300);
    net.call(0, "sip:bob@example.com");
    assert_eq!(got(&net, 0, "SIP/2.0 422").header("Min-SE").as_deref(), Some("300"));
    assert!(got(&net, 1, "INVITE").header("Session-Expires").unwrap().starts_with("300"));
    net.accept(1);
    net.media(0);
}

#[test]
fn a_method_that_is_not_here_is_answered_with_those_that_are() {
    let mut net = up();
    let mut alice = Hand::of_caller(&net);
    for method in ["INFO", "MESSAGE", "REFER"] {
        let answer = alice.one(&mut net, method, "", "");
        assert_eq!(answer.status(), Some(405));
        assert_eq!(
            answer.header("Allow").as_deref(),
            Some("INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS, NOTIFY")
        );
    }
    let able = alice.one(&mut net, "OPTIONS", "", "");
    assert_eq!((able.status(), able.header("Accept").as_deref()), (Some(200), Some("application/sdp")));
}

#[test]
fn a_body_that_is_no_session_description() {
    let mut net = up();
    let mut alice = Hand::of_caller(&net);
    for method in ["INVITE", "UPDATE"] {
        let answer = alice.one(&mut net, method, "Content-Type: text/plain\r\n", "hello");
        assert_eq!(answer.status(), Some(415), "{method}");
        assert_eq!(answer.header("Accept").as_deref(), Some("application/sdp"));
    }
    let body = offer(&net);
    let answer = alice.one(&mut net, "UPDATE", &format!("{SDP}Content-Encoding: gzip\r\n"), &body);
    assert_eq!((answer.status(), answer.header("Accept-Encoding").as_deref()), (Some(415), Some("identity")));
    // RFC 3261 §20.11: what may be passed over is.
    let lines = "Content-Type: text/plain\r\nContent-Disposition: icon;handling=optional\r\n";
    assert_eq!(alice.one(&mut net, "UPDATE", lines, "hello").status(), Some(200));
}

#[test]
fn the_same_request_by_another_way() {
    let mut net = Net::pair();
    net.tap = Some(Box::new(|_, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        if !text.starts_with("INVITE") {
            return vec![(to, data.clone())];
        }
        let other = text.replacen("branch=z9hG4bK", "branch=z9hG4bKother", 1);
        vec![(to, data.clone()), (to, other.into())]
    }));
    net.call(0, "sip:bob@example.com");
    net.incoming(1);
    assert!(net.try_event(1, |event| matches!(event, Event::Incoming { .. })).is_none(), "it rings once");
    assert_eq!(net.nodes[1].client.calls(), 1);

    let mut net = Net::pair();
    let mut stranger = Hand {
        from: "<sip:x@example.com>;tag=1".into(),
        to: "<sip:bob@example.com>".into(),
        call_id: "merged".into(),
        cseq: 1,
        at: 1,
        peer: 1,
    };
    let mut ask = |cseq, branch| stranger.ask_as(&mut net, "OPTIONS", cseq, branch, "", "")[0].status();
    assert_eq!(ask(1, "z9hG4bKa"), Some(200));
    assert_eq!(ask(1, "z9hG4bKb"), Some(482), "RFC 3261 §8.2.2.2");
    assert_eq!(ask(2, "z9hG4bKc"), Some(200), "another request");
}

#[test]
fn requests_in_each_others_way() {
    let mut net = up();
    let mut alice = Hand::of_caller(&net);
    assert_eq!(alice.one(&mut net, "INVITE", "", "").status(), Some(200));
    // No ACK yet: RFC 3261 §14.2.
    let answer = alice.one(&mut net, "INVITE", "", "");
    let wait: u32 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!(answer.status() == Some(500) && wait <= 10, "{wait}");
    // An old CSeq does not get better by waiting.
    let old = alice.ask_as(&mut net, "UPDATE", 50, "z9hG4bKold", "", "").remove(0);
    assert_eq!((old.status(), old.has("Retry-After")), (Some(500), false));
}

#[test]
fn an_update_while_it_rings_is_answered_by_the_called_side() {
    let mut net = Net::pair();
    net.call(0, "sip:bob@example.com");
    let mut alice = Hand::of_caller(&net);
    let plain = alice.one(&mut net, "UPDATE", "", "");
    assert!(plain.status() == Some(200) && plain.has("Contact") && !plain.has("Session-Expires"));
    // RFC 3311 §5.2: the offer of the INVITE has no answer yet.
    let body = offer(&net);
    let crossing = alice.one(&mut net, "UPDATE", SDP, &body);
    assert_eq!((crossing.status(), crossing.has("Retry-After")), (Some(500), true));
    assert_eq!(alice.one(&mut net, "INFO", "", "").status(), Some(405));
    assert_eq!(alice.one(&mut net, "OPTIONS", "", "").status(), Some(200));
    assert_eq!(alice.one(&mut net, "INVITE", SDP, &body).status(), Some(500));
    // The call is as it was.
    net.accept(1);
    assert!(net.media(0).seal.unwrap().tek == net.media(1).seal.unwrap().tek);
}

#[test]
fn an_update_in_an_early_dialog_is_answered_by_the_caller() {
    let mut net = early(true);
    let mut bob = Hand::of_called(&net);
    assert_eq!(bob.one(&mut net, "UPDATE", "", "").status(), Some(200));
    assert_eq!(bob.one(&mut net, "INFO", "", "").status(), Some(405));
    assert_eq!(bob.one(&mut net, "INVITE", "", "").status(), Some(491));
    assert_eq!(bob.one(&mut net, "BYE", "", "").status(), Some(481));
    // A tag that none of our branches has.
    let mut stranger = Hand::of_called(&net);
    stranger.from = "<sip:bob@example.com>;tag=other".into();
    stranger.cseq += 100;
    assert_eq!(stranger.one(&mut net, "UPDATE", "", "").status(), Some(481));
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());

    // After a reliable answer another offer may come (RFC 3311 §5.1), and is held to its keys.
    let again = answer(&net).replace("a=setup:active", "a=setup:actpass");
    let taken = bob.one(&mut net, "UPDATE", SDP, &again);
    assert_eq!(taken.status(), Some(200));
    assert!(String::from_utf8_lossy(taken.body()).contains("a=setup:passive\r\n"));
    let unsealed = net::without(&again, "a=key-mgmt");
    assert_eq!(bob.one(&mut net, "UPDATE", SDP, &unsealed).status(), Some(488));

    // Before a reliable answer our own offer is in the way.
    let mut net = early(false);
    let body = offer(&net);
    let crossing = Hand::of_called(&net).one(&mut net, "UPDATE", SDP, &body);
    assert_eq!((crossing.status(), crossing.has("Retry-After")), (Some(491), false));
}

#[test]
fn an_answer_to_a_later_offer_never_leaves_it_open_who_connects() {
    let mut net = up();
    let mut bob = Hand::of_called(&net);
    // Bob offers again what he answered with, and leaves the choice to Alice, who waits.
    let open = answer(&net).replace("a=setup:active", "a=setup:actpass");
    let again = bob.one(&mut net, "UPDATE", SDP, &open);
    let body = String::from_utf8(again.body().to_vec()).unwrap();
    assert!(again.status() == Some(200) && body.contains("a=setup:passive\r\n"), "{body}");
}

#[test]
fn ringing_that_nobody_acknowledges() {
    let mut net = Net::pair();
    net.tap = Some(Box::new(|_, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        match () {
            () if text.starts_with("INVITE") => {
                let text = text.replacen("\r\nSupported:", "\r\nRequire: 100rel\r\nSupported:", 1);
                vec![(to, text.into())]
            }
            () if text.starts_with("PRACK") => Vec::new(),
            () => vec![(to, data.clone())],
        }
    }));
    net.call(0, "sip:bob@example.com");
    net.pass(Duration::from_secs(40));
    // RFC 3262 §3: a 5xx.
    assert_eq!(got(&net, 0, "SIP/2.0 5").status(), Some(504));
    assert_eq!(net.ending(1), Ending::Refused(Refusal::Unreliable));
}

#[test]
fn a_prack_that_comes_after_the_2xx() {
    let mut net = Net::pair();
    net.tap = Some(Box::new(|_, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        match () {
            () if text.starts_with("INVITE") => {
                let text = text.replacen("\r\nSupported:", "\r\nRequire: 100rel\r\nSupported:", 1);
                vec![(to, text.into())]
            }
            () if text.starts_with("PRACK") => Vec::new(),
            () => vec![(to, data.clone())],
        }
    }));
    net.call(0, "sip:bob@example.com");
    let rseq = got(&net, 0, "SIP/2.0 180").rseq().unwrap();
    let invite = got(&net, 1, "INVITE").cseq().unwrap().number;
    net.accept(1);
    // RFC 3262 §3: it is still owed its 200.
    let mut alice = Hand::of_caller(&net);
    let rack = format!("RAck: {rseq} {invite} INVITE\r\n");
    assert_eq!(alice.one(&mut net, "PRACK", &rack, "").status(), Some(200));
    assert_eq!(alice.one(&mut net, "PRACK", &rack, "").status(), Some(481), "once");
}

/// Alice behind a proxy that asks for a password with `methods`; how often it asked.
fn guarded(methods: &'static [&'static str]) -> (Net, std::rc::Rc<std::cell::Cell<usize>>) {
    let mut net = Net::new();
    let password = || carnet_sip::Password::new(b"secret".to_vec());
    let digest = carnet_sip::DigestClient::new("alice", password()).unwrap();
    net.add(&net::Person { name: "alice", last: 1, proxy: 2 }, |config| config.digest = Some(digest));
    net.add(&net::Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    let (now, mut rng) = (net.now, carnet_wire::SeededRandom::new(5));
    let settings = carnet_sip::DigestSettings::new("example.com");
    let mut server = carnet_sip::DigestServer::new(settings, now, &mut rng);
    let asked = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = asked.clone();
    net.tap = Some(Box::new(move |from, to, data| {
        let guarded = methods.iter().any(|method| data.starts_with(method.as_bytes()));
        if from != address(1) || !guarded {
            return vec![(to, data.clone())];
        }
        let request = parse(data);
        let secret = password();
        match server.verify(now, &request, |user| (user == "alice").then_some(&secret)) {
            carnet_sip::Verdict::Accepted { .. } => vec![(to, data.clone())],
            _ => {
                count.set(count.get() + 1);
                let refusal = server.refusal(now, &request, false, &mut rng).unwrap();
                vec![(from, refusal.to_bytes())]
            }
        }
    }));
    (net, asked)
}

#[test]
fn a_bye_that_is_challenged_goes_again() {
    let (mut net, asked) = guarded(&["BYE"]);
    let call = net.call(0, "sip:bob@example.com");
    net.accept(1);
    net.nodes[0].client.hang_up(net.now, net.wall, call);
    net.settle();
    assert_eq!(asked.get(), 1);
    assert_eq!(net.ending(1), Ending::Peer(None));
    net.pass(Duration::from_secs(40));
    assert!(net.nodes.iter().all(|node| node.client.is_idle()));
}

#[test]
fn a_refresh_that_is_challenged_goes_again() {
    let (mut net, asked) = guarded(&["UPDATE"]);
    let call = net.call(0, "sip:bob@example.com");
    net.accept(1);
    net.nodes[0].client.refresh(net.now, call);
    net.pass(Duration::from_secs(1));
    assert_eq!(asked.get(), 1);
    assert!(got(&net, 1, "UPDATE").has("Authorization") || got(&net, 1, "UPDATE").has("Proxy-Authorization"));
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
}
