//! Calls that must not come about, each with its reason on both sides.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod net;

use std::time::Duration;

use bytes::Bytes;
use carnet_client::{Ending, Event, FetchError, FetchPurpose, Half, KeyRefusal, Purpose, Refusal, TlsRole};
use net::{Kms, Net, Person, address, mend, replacing, uri, without};

fn refusal(net: &mut Net, at: usize) -> Refusal {
    match net.ending(at) {
        Ending::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The offer is changed on the way: who gets it refuses with `expected`, and the caller hears 488.
fn spoiled_offer(edit: impl Fn(&str) -> String + 'static, expected: &Refusal) {
    let mut net = Net::pair();
    net.tap = Some(replacing("INVITE", edit));
    net.call(0, "sip:bob@example.com");
    assert_eq!(net.refused(1), *expected);
    let Refusal::Rejected { status, .. } = refusal(&mut net, 0) else { panic!("not rejected") };
    assert_eq!(status, expected.sip().0);
    assert!(net.try_event(1, |event| matches!(event, Event::Incoming { .. })).is_none(), "it never rang");
    assert_eq!(net.nodes[0].client.calls() + net.nodes[1].client.calls(), 0);
}

/// The answer is changed on the way: the caller acknowledges it and ends the call with a reason.
fn spoiled_answer(edit: impl Fn(&str) -> String + 'static, fits: impl Fn(&Refusal) -> bool) {
    let mut net = Net::pair();
    net.call(0, "sip:bob@example.com");
    net.tap = Some(replacing("SIP/2.0 200", edit));
    net.accept(1);
    let found = refusal(&mut net, 0);
    assert!(fits(&found), "{found:?}");
    assert!(
        net.try_event(0, |event| matches!(event, Event::Media { .. })).is_none(),
        "no connection is made"
    );
    let bye = net.nodes[1].received.iter().find(|data| data.starts_with(b"BYE")).unwrap();
    assert!(String::from_utf8_lossy(bye).contains("\r\nReason: SIP;cause="), "{bye:?}");
    assert!(matches!(net.ending(1), Ending::Broken { text: Some(_), .. }));
}

/// Changes one character of the base64 at `place` from its end or, negative, its start.
fn nudge(text: &str, from_start: usize) -> String {
    let start = text.find("a=key-mgmt:mikey ").unwrap() + "a=key-mgmt:mikey ".len();
    let at = start + from_start;
    let old = &text[at..=at];
    let new = if old == "A" { "B" } else { "A" };
    format!("{}{new}{}", &text[..at], &text[at + 1..])
}

#[test]
fn an_offer_without_keys() {
    spoiled_offer(|text| without(text, "a=key-mgmt"), &Refusal::Keys(KeyRefusal::Unsealed(Half::Offer)));
}

#[test]
fn an_offer_turned_into_one_in_clear() {
    let clear = |text: &str| {
        without(text, "a=key-mgmt").replace("TCP/TLS/MSRP", "TCP/MSRP").replace("msrps://", "msrp://")
    };
    spoiled_offer(clear, &Refusal::Keys(KeyRefusal::Unsealed(Half::Offer)));
}

#[test]
fn an_answer_without_keys() {
    spoiled_answer(
        |text| without(text, "a=key-mgmt"),
        |refusal| *refusal == Refusal::Keys(KeyRefusal::Unsealed(Half::Answer)),
    );
}

#[test]
fn an_answer_over_another_transport() {
    spoiled_answer(
        |text| without(text, "a=key-mgmt").replace("TCP/TLS/MSRP", "TCP/MSRP").replace("msrps://", "msrp://"),
        |refusal| matches!(refusal, Refusal::TransportChanged { answered, .. } if answered == "TCP/MSRP"),
    );
}

#[test]
fn an_answer_that_declines_the_line() {
    spoiled_answer(
        |text| {
            let line = text.lines().find(|line| line.starts_with("m=")).unwrap().to_owned();
            text.replace(&line, "m=message 0 TCP/TLS/MSRP *")
        },
        |refusal| *refusal == Refusal::Declined,
    );
}

#[test]
fn an_answer_with_altered_keys() {
    for place in [20, 60, 120] {
        spoiled_answer(
            move |text| nudge(text, place),
            |refusal| {
                matches!(
                    refusal,
                    Refusal::Keys(KeyRefusal::Altered(Half::Answer))
                        | Refusal::Keys(KeyRefusal::UnsupportedKeys(_))
                        | Refusal::Keys(KeyRefusal::WrongResponder(_))
                )
            },
        );
    }
}

#[test]
fn an_offer_with_altered_keys_never_rings() {
    // Wherever it is changed: in header, times, identities, policy, ticket or MAC.
    for place in (0..700).step_by(7) {
        let mut net = Net::pair();
        net.tap = Some(replacing("INVITE", move |text| {
            let end = text
                .find("a=key-mgmt:mikey ")
                .map_or(0, |at| text[at..].find("\r\n").unwrap_or(0) - "a=key-mgmt:mikey ".len());
            nudge(text, place % (end - 2))
        }));
        net.call(0, "sip:bob@example.com");
        // Where it is a time that was altered, the key server is asked twice.
        net.pass(Duration::from_secs(2));
        let found = net.refused(1);
        assert_eq!(found.sip().0, 488, "place {place}: {found:?}");
        assert!(matches!(refusal(&mut net, 0), Refusal::Rejected { status: 488, .. }));
    }
}

#[test]
fn a_list_of_protocols_that_was_longer_once() {
    // RFC 4567 §7.3: the offer had two, and one was taken away, or one was put in.
    let longer =
        |text: &str| text.replace("a=key-mgmt:mikey ", "a=key-mgmt:better AAAA\r\na=key-mgmt:mikey ");
    spoiled_offer(longer, &Refusal::Keys(KeyRefusal::ListAltered));
}

#[test]
fn a_ticket_for_somebody_else() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |_| {});
    // Carol's phone is where Bob's was.
    net.add(&Person { name: "carol", last: 2, proxy: 1 }, |_| {});
    net.call(0, "sip:bob@example.com");
    assert_eq!(net.refused(1), Refusal::Keys(KeyRefusal::WrongCallee));
    assert_eq!(net.kms[0].asked, [FetchPurpose::Ticket], "the key server is not bothered with it");
}

#[test]
fn a_ticket_for_somebody_else_that_claims_to_be_for_us() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |_| {});
    // Carol says that Bob's name is hers too; the key server knows better.
    net.add(&Person { name: "carol", last: 2, proxy: 1 }, |config| {
        config.keys.as_mut().unwrap().also_me = vec!["sip:bob@example.com".into()];
    });
    net.call(0, "sip:bob@example.com");
    assert!(matches!(net.refused(1), Refusal::Keys(KeyRefusal::KmsRefused(FetchPurpose::Resolve, Some(_)))));
}

#[test]
fn an_offer_that_is_sent_twice() {
    let mut net = Net::pair();
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    let text = String::from_utf8(net.nodes[1].received[0].to_vec()).unwrap();
    // The same sealed offer in a call of its own.
    let again = text
        .replace("branch=z9hG4bK", "branch=z9hG4bKagain")
        .replace("\r\nCall-ID: ", "\r\nCall-ID: again")
        .replace("tag=", "tag=again");
    let hop = carnet_sip::Hop::new(carnet_sip::Transport::Udp, address(1));
    let data = Bytes::from(mend(&again));
    net.nodes[1].client.handle_sip(net.now, net.wall, carnet_sip::Input { hop, data });
    net.settle();
    assert_eq!(net.refused(1), Refusal::Keys(KeyRefusal::Replayed));
}

#[test]
fn an_offer_that_was_kept_too_long() {
    let mut net = Net::pair();
    let kept = std::rc::Rc::new(std::cell::RefCell::new(None));
    let keep = kept.clone();
    net.tap = Some(Box::new(move |_, to, data| {
        if data.starts_with(b"INVITE") {
            keep.borrow_mut().get_or_insert_with(|| data.clone());
            return Vec::new();
        }
        vec![(to, data.clone())]
    }));
    net.call(0, "sip:bob@example.com");
    let data = kept.borrow_mut().take().unwrap();
    for (wait, expected) in
        [(301, Refusal::Keys(KeyRefusal::Clock)), (25 * 3600, Refusal::Keys(KeyRefusal::Clock))]
    {
        net.wall += Duration::from_secs(wait);
        let text = String::from_utf8(data.to_vec()).unwrap();
        let text = text
            .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{wait}"))
            .replace("\r\nCall-ID: ", &format!("\r\nCall-ID: {wait}"));
        let hop = carnet_sip::Hop::new(carnet_sip::Transport::Udp, address(1));
        net.nodes[1].client.handle_sip(net.now, net.wall, carnet_sip::Input { hop, data: text.into() });
        net.settle();
        assert_eq!(net.refused(1), expected);
    }
}

#[test]
fn a_ticket_whose_time_is_over() {
    let mut net = Net::pair();
    // Alice's key server gives tickets for a minute; her clock is four minutes behind.
    net.kms[0].lifetime = Some(Duration::from_secs(60));
    net.nodes[0].skew = Duration::from_secs(240);
    net.call(0, "sip:bob@example.com");
    assert_eq!(net.refused(1), Refusal::Keys(KeyRefusal::Expired));
}

#[test]
fn a_ticket_of_another_key_server() {
    let mut net = Net::new();
    net.kms.push(Kms::new("sip:kms.elsewhere"));
    let alice = net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| {
        config.keys.as_mut().unwrap().kms = "sip:kms.elsewhere".into();
    });
    net.nodes[alice].kms = 1;
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    net.call(0, "sip:bob@example.com");
    assert_eq!(net.refused(1), Refusal::Keys(KeyRefusal::ForeignKms("sip:kms.elsewhere".into())));
}

#[test]
fn a_key_server_that_is_down_for_the_caller() {
    for (failure, expected) in [
        (FetchError::Unreachable, Refusal::Keys(KeyRefusal::KmsUnreachable(FetchPurpose::Ticket))),
        (FetchError::Status(503), Refusal::Keys(KeyRefusal::KmsUnreachable(FetchPurpose::Ticket))),
        (FetchError::Status(403), Refusal::Keys(KeyRefusal::KmsRefused(FetchPurpose::Ticket, None))),
    ] {
        let mut net = Net::pair();
        net.kms[0].ticket = Some(failure);
        net.call(0, "sip:bob@example.com");
        assert_eq!(refusal(&mut net, 0), expected);
        assert!(net.nodes[1].received.is_empty(), "nothing was sent");
    }
}

#[test]
fn a_key_server_that_is_down_for_the_called_side() {
    for (failure, expected, status) in [
        (FetchError::Unreachable, Refusal::Keys(KeyRefusal::KmsUnreachable(FetchPurpose::Resolve)), 503),
        (FetchError::TimedOut, Refusal::Keys(KeyRefusal::KmsTimeout(FetchPurpose::Resolve)), 504),
    ] {
        let mut net = Net::pair();
        net.kms[0].resolve = Some(failure);
        net.call(0, "sip:bob@example.com");
        assert_eq!(net.refused(1), expected);
        let Refusal::Rejected { status: heard, text } = refusal(&mut net, 0) else { panic!("not rejected") };
        assert_eq!(heard, status);
        assert!(text.starts_with("Key server"), "{text}");
    }
}

/// A key server that starts `after` the call is made, for questions of one kind.
fn starting(purpose: FetchPurpose, after: Duration) -> Net {
    let mut net = Net::pair();
    let skew = net.kms[0].profile.skew;
    let cache = carnet_mikey::ReplayCache::restarted(skew, 100, net.wall + after);
    net.kms[0].started = Some((purpose, cache));
    net.call(0, "sip:bob@example.com");
    net
}

#[test]
fn a_key_server_that_was_asked_while_it_started_is_asked_once_more() {
    use FetchPurpose::{Resolve, Ticket};
    for (purpose, before, after) in [
        (Ticket, vec![Ticket], vec![Ticket, Ticket, Resolve]),
        (Resolve, vec![Ticket, Resolve], vec![Ticket, Resolve, Resolve]),
    ] {
        let mut net = starting(purpose, Duration::from_millis(600));
        assert_eq!(net.kms[0].asked, before);
        net.pass(Duration::from_millis(900));
        assert_eq!(net.kms[0].asked, before, "not sooner than after a second");
        net.pass(Duration::from_millis(200));
        assert_eq!(net.kms[0].asked, after);
        net.accept(1);
        let (alice, bob) = (net.media(0).seal.unwrap(), net.media(1).seal.unwrap());
        assert!(alice.tek == bob.tek);
    }
}

#[test]
fn a_key_server_with_another_clock_is_asked_twice_and_no_more() {
    for purpose in [FetchPurpose::Ticket, FetchPurpose::Resolve] {
        let mut net = starting(purpose, Duration::from_secs(60));
        net.pass(Duration::from_secs(10));
        assert_eq!(net.kms[0].asked.iter().filter(|asked| **asked == purpose).count(), 2);
        match purpose {
            FetchPurpose::Ticket => {
                assert_eq!(refusal(&mut net, 0), Refusal::Keys(KeyRefusal::KmsClock(purpose)));
            }
            FetchPurpose::Resolve => assert_eq!(net.refused(1), Refusal::Keys(KeyRefusal::KmsClock(purpose))),
        }
    }
}

#[test]
fn a_call_that_is_given_up_asks_no_more() {
    for purpose in [FetchPurpose::Ticket, FetchPurpose::Resolve] {
        let mut net = starting(purpose, Duration::from_millis(600));
        let (asked, call) = (net.kms[0].asked.clone(), net.nodes[0].client.calls());
        assert_eq!(call, 1);
        let (now, wall) = (net.now, net.wall);
        net.nodes[0].client.hang_up(now, wall, carnet_client::CallId(1));
        net.pass(Duration::from_secs(10));
        assert_eq!(net.kms[0].asked, asked);
        assert!(matches!(net.ending(0), carnet_client::Ending::Local));
        assert_eq!(net.nodes[0].client.calls() + net.nodes[1].client.calls(), 0);
    }
}

#[test]
fn a_key_server_that_has_another_key_for_us() {
    let mut net = Net::pair();
    net.kms[0].forgetful = true;
    net.call(0, "sip:bob@example.com");
    assert_eq!(refusal(&mut net, 0), Refusal::Keys(KeyRefusal::KmsKey(FetchPurpose::Ticket)));
    assert_eq!(net.kms[0].asked.len(), 1, "asking again helps nothing");
}

#[test]
fn a_key_server_that_says_nothing() {
    let mut net = Net::pair();
    net.kms[0].silent = true;
    net.call(0, "sip:bob@example.com");
    net.pass(Duration::from_secs(6));
    assert_eq!(refusal(&mut net, 0), Refusal::Keys(KeyRefusal::KmsTimeout(FetchPurpose::Ticket)));
    let mut net = Net::pair();
    net.tap = Some(Box::new(|_, to, data| vec![(to, data.clone())]));
    net.kms[0].deaf_to_resolve = true;
    net.call(0, "sip:bob@example.com");
    net.pass(Duration::from_secs(6));
    assert_eq!(net.refused(1), Refusal::Keys(KeyRefusal::KmsTimeout(FetchPurpose::Resolve)));
    assert!(matches!(refusal(&mut net, 0), Refusal::Rejected { status: 504, .. }));
}

#[test]
fn an_answer_of_the_key_server_that_was_altered() {
    let mut net = Net::pair();
    net.kms[0].spoil = true;
    net.call(0, "sip:bob@example.com");
    assert_eq!(refusal(&mut net, 0), Refusal::Keys(KeyRefusal::KmsAltered(FetchPurpose::Ticket)));
}

#[test]
fn a_caller_without_an_account_does_not_fall_back_to_clear() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| config.keys = None);
    let local = net::media_address(0, 0);
    let bob = uri("sip:bob@example.com");
    let result = net.nodes[0].client.call(net.now, net.wall, bob, Purpose::Chat, local);
    assert_eq!(result.unwrap_err(), Refusal::Keys(KeyRefusal::Unsealed(Half::Offer)));
}

#[test]
fn clear_needs_the_leave_of_both() {
    for (caller, called) in [(true, true), (true, false)] {
        let mut net = Net::new();
        net.add(&Person { name: "alice", last: 1, proxy: 2 }, |config| {
            config.keys = None;
            config.allow_clear = caller;
        });
        net.add(&Person { name: "bob", last: 2, proxy: 1 }, |config| config.allow_clear = called);
        net.call(0, "sip:bob@example.com");
        if called {
            net.accept(1);
            assert!(net.media(0).seal.is_none() && net.media(1).seal.is_none());
        } else {
            assert_eq!(net.refused(1), Refusal::Keys(KeyRefusal::Unsealed(Half::Offer)));
        }
    }
}

#[test]
fn a_sealed_offer_stays_sealed_even_where_clear_is_allowed() {
    let mut net = Net::new();
    for (name, last) in [("alice", 1), ("bob", 2)] {
        net.add(&Person { name, last, proxy: 3 - last }, |config| config.allow_clear = true);
    }
    net.call(0, "sip:bob@example.com");
    net.tap = Some(replacing("SIP/2.0 200", |text| without(text, "a=key-mgmt")));
    net.accept(1);
    assert_eq!(refusal(&mut net, 0), Refusal::Keys(KeyRefusal::Unsealed(Half::Answer)));
}

#[test]
fn descriptions_that_make_no_sense() {
    let cases: [(&str, &str, u16); 4] = [
        ("a=path:msrps://", "a=path:msrp://", 400),
        ("m=message", "m=audio", 488),
        ("v=0", "v=7", 400),
        ("c=IN IP4 10.0.0.1\r\n", "", 400),
    ];
    for (from, to, status) in cases {
        let mut net = Net::pair();
        net.tap = Some(replacing("INVITE", move |text| text.replace(from, to)));
        net.call(0, "sip:bob@example.com");
        let found = net.refused(1);
        assert_eq!(found.sip().0, status, "{from} {found:?}");
    }
}

#[test]
fn a_setup_of_holdconn_counts_as_none() {
    // RFC 6135 §4.2.1; RFC 4975 §5.4: then who offers connects.
    let mut net = Net::pair();
    net.tap = Some(replacing("INVITE", |text| text.replace("a=setup:actpass", "a=setup:holdconn")));
    net.call(0, "sip:bob@example.com");
    net.accept(1);
    assert_eq!(net.media(1).tcp, carnet_client::TcpRole::Passive);
}

#[test]
fn a_branch_with_bad_keys_does_not_spoil_the_one_with_good_ones() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 9 }, |_| {});
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |_| {});
    net.add(&Person { name: "bob", last: 3, proxy: 1 }, |_| {});
    net.tap = Some(Box::new(|from, to, data| {
        let text = String::from_utf8(data.to_vec()).unwrap();
        match () {
            () if to == address(9) => vec![(address(2), data.clone()), (address(3), data.clone())],
            // A 183 with an answer that is not what it should be, made of the 180 of one phone.
            () if from == address(2) && text.starts_with("SIP/2.0 180") => {
                let head = text.trim_end().replace("SIP/2.0 180 Ringing", "SIP/2.0 183 Session Progress");
                let sdp = "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n\
                           m=message 9 TCP/TLS/MSRP *\r\na=setup:active\r\na=path:msrps://10.0.0.2:9/x;tcp\r\n";
                vec![(to, mend(&format!("{head}\r\nContent-Type: application/sdp\r\n\r\n{sdp}")).into())]
            }
            () => vec![(to, data.clone())],
        }
    }));
    net.call(0, "sip:bob@example.com");
    assert!(net.try_event(0, |event| matches!(event, Event::Ended { .. })).is_none());
    net.accept(2);
    assert!(net.media(0).seal.unwrap().tek == net.media(2).seal.unwrap().tek);
}

#[test]
fn calls_beyond_the_limit_are_busy() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |_| {});
    net.add(&Person { name: "bob", last: 2, proxy: 1 }, |config| config.limits.calls = 1);
    net.call(0, "sip:bob@example.com");
    net.call(0, "sip:bob@example.com");
    assert_eq!(net.refused(1), Refusal::Busy);
    assert!(matches!(refusal(&mut net, 0), Refusal::Rejected { status: 486, .. }));
}

#[test]
fn a_declined_call_says_so() {
    let mut net = Net::pair();
    net.call(0, "sip:bob@example.com");
    let call = net.incoming(1);
    net.nodes[1].client.decline(net.now, call);
    net.settle();
    assert!(matches!(refusal(&mut net, 0), Refusal::Rejected { status: 603, .. }));
    assert_eq!(net.ending(1), Ending::Local);
}

#[test]
fn nobody_answers() {
    let mut net = Net::pair();
    net.call(0, "sip:bob@example.com");
    net.pass(Duration::from_secs(200));
    assert!(matches!(refusal(&mut net, 0), Refusal::Rejected { status: 480, .. }));
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 77 }, |_| {});
    net.call(0, "sip:bob@example.com");
    net.pass(Duration::from_secs(40));
    assert_eq!(refusal(&mut net, 0), Refusal::Unanswered);
}

/// Alice and a group that she is in herself: its calls are for her too, and its tickets open for her.
fn alice_in_a_group() -> Net {
    let mut net = Net::new();
    let group = "sip:team@example.com";
    net.add(&Person { name: "alice", last: 1, proxy: 1 }, |config| {
        config.keys.as_mut().unwrap().also_me = vec![group.into()];
    });
    let (_, names) = net.kms[0].users.get_mut(b"alice".as_slice()).unwrap();
    names.push(carnet_mikey::Identity::from_uri(group).unwrap());
    net
}

// RFC 9257 §4.1: both ends have the same key, so a session that is led back to where it came from would
// open. Alice's first hop is Alice.
#[test]
fn an_offer_of_our_own_that_is_sent_back_to_us() {
    let mut net = alice_in_a_group();
    net.call(0, "sip:team@example.com");
    assert_eq!(net.refused(0), Refusal::Keys(KeyRefusal::Reflected));
    assert!(matches!(refusal(&mut net, 0), Refusal::Rejected { status: 488, .. }));
    assert_eq!(net.kms[0].asked, [FetchPurpose::Ticket], "the key server is not bothered with it");
}

#[test]
fn two_offers_that_are_each_sent_back_in_the_place_of_the_other() {
    let mut net = alice_in_a_group();
    // What goes out first is kept, and comes as the second call does; the second as the first.
    let kept = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let keep = kept.clone();
    net.tap = Some(Box::new(move |_, to, data| {
        if data.starts_with(b"INVITE") {
            keep.borrow_mut().push(String::from_utf8(data.to_vec()).unwrap());
            return Vec::new();
        }
        vec![(to, data.clone())]
    }));
    net.call(0, "sip:team@example.com");
    net.call(0, "sip:team@example.com");
    let texts = kept.borrow().clone();
    assert_eq!(texts.len(), 2);
    for text in texts.iter().rev() {
        let other = text
            .replace("branch=z9hG4bK", "branch=z9hG4bKother")
            .replace("\r\nCall-ID: ", "\r\nCall-ID: other")
            .replace("tag=", "tag=other");
        let hop = carnet_sip::Hop::new(carnet_sip::Transport::Udp, address(1));
        let data = Bytes::from(mend(&other));
        net.nodes[0].client.handle_sip(net.now, net.wall, carnet_sip::Input { hop, data });
        net.settle();
        assert_eq!(net.refused(0), Refusal::Keys(KeyRefusal::Reflected));
    }
}

#[test]
fn another_device_of_the_same_user_is_no_reflection() {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 2 }, |_| {});
    net.add(&Person { name: "alice", last: 2, proxy: 1 }, |_| {});
    net.call(0, "sip:alice@example.com");
    net.accept(1);
    let (desk, pocket) = (net.media(0), net.media(1));
    assert!(desk.seal.unwrap().tek == pocket.seal.unwrap().tek);
    // Both are called alice; who made the offer is the TLS client.
    assert_eq!((desk.tls, pocket.tls), (TlsRole::Client, TlsRole::Server));
}
