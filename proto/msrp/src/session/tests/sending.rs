//! What a session sends, and what it makes of the answers (RFC 4975 §7.1, §10).

use super::*;
use crate::Error;
use carnet_wire::Random;
use std::time::Duration;

fn ok_to(out: &str, status: &str) -> String {
    let tid = out.split(' ').nth(1).unwrap();
    wire(&format!("MSRP {tid} {status}\nTo-Path: {ALICE}\nFrom-Path: {BOB}\n-------{tid}$\n"))
}

#[test]
fn a_line_of_chat() {
    let mut p = Pair::new(7);
    let (message, body) = text("Hi, I'm Alice!\r\n");
    let key = p.a.send_whole(Outgoing { success_report: true, ..message }, body).unwrap();
    p.settle();
    let mut sink = Sink::default();
    let rest = sink.take(events(&mut p.b));
    assert!(matches!(&rest[..], [Event::Begun { content_type, size: Some(16), from, .. }]
        if content_type == "text/plain" && from.as_str() == ALICE));
    assert!(sink.complete && sink.body == b"Hi, I'm Alice!\r\n");
    let reports = events(&mut p.a);
    assert_eq!(reports[..2], [Event::Sent { key }, Event::Delivered { key }]);
    assert!(matches!(&reports[2..], [Event::Report { key: k, range: Some(r), status: Status::OK }]
        if *k == key && r.to_string() == "1-16/16"));
}

#[test]
fn the_frame_as_written() {
    let (mut s, now) = (alice(), Instant::now());
    let message = Outgoing {
        message_id: Some("12339sdqwer".into()),
        success_report: true,
        failure_report: FailureReport::Partial,
        headers: vec![("Content-Disposition".into(), "inline".into())],
        ..Outgoing::new("text/plain", Size::Unknown)
    };
    s.send_whole(message, Bytes::from_static(b"abc")).unwrap();
    let out = output(&mut s, now);
    let tid = out.split(' ').nth(1).unwrap();
    let expected = format!(
        "MSRP {tid} SEND\nTo-Path: {BOB}\nFrom-Path: {ALICE}\nMessage-ID: 12339sdqwer\nSuccess-Report: yes\n\
         Failure-Report: partial\nByte-Range: 1-3/3\nContent-Disposition: inline\nContent-Type: text/plain\n\nabc\n-------{tid}$\n"
    );
    assert_eq!(out, wire(&expected));
}

// RFC 4975 §7.1.1: a longer chunk must be interruptible, so its range does not say where it ends.
#[test]
fn ranges_of_long_and_short_messages() {
    for (size, range) in [(0, "1-0/0"), (2048, "1-2048/2048"), (2049, "1-*/2049")] {
        let (mut s, now) = (alice(), Instant::now());
        s.send_whole(Outgoing::new("a/b", Size::Unknown), Bytes::from(vec![b'x'; size])).unwrap();
        assert!(output(&mut s, now).contains(&format!("\r\nByte-Range: {range}\r\n")), "{size}");
    }
    let (mut s, now) = (alice(), Instant::now());
    let key = s.send(Outgoing::new("a/b", Size::Unknown)).unwrap();
    s.supply(key, Bytes::from_static(b"abc"), false).unwrap();
    assert!(output(&mut s, now).contains("\r\nByte-Range: 1-*/*\r\n"));
    s.supply(key, Bytes::new(), true).unwrap();
    assert!(output(&mut s, now).ends_with("$\r\n"));
}

#[test]
fn a_request_without_an_answer_fails_after_thirty_seconds() {
    let (mut s, now) = (alice(), Instant::now());
    let (message, body) = text("hello");
    let key = s.send_whole(message, body).unwrap();
    assert_eq!(s.poll_timeout(), None);
    output(&mut s, now);
    let due = now + Duration::from_secs(30);
    assert_eq!(s.poll_timeout(), Some(due));
    s.handle_timeout(due - Duration::from_millis(1));
    assert_eq!(events(&mut s), [Event::Sent { key }]);
    s.handle_timeout(due);
    assert_eq!(events(&mut s), [Event::Failed { key, reason: FailureReason::TimedOut }]);
    assert_eq!(s.poll_timeout(), None);
}

#[test]
fn without_responses_there_is_no_timer() {
    for failure_report in [FailureReport::No, FailureReport::Partial] {
        let (mut s, now) = (alice(), Instant::now());
        let (message, body) = text("hello");
        let key = s.send_whole(Outgoing { failure_report, ..message }, body).unwrap();
        let out = output(&mut s, now);
        assert_eq!((s.poll_timeout(), events(&mut s)), (None, vec![Event::Sent { key }]));
        let error = ok_to(&out, "403 Forbidden");
        s.handle_input(now, error.as_bytes());
        let failed = vec![Event::Failed { key, reason: FailureReason::Response(Status::FORBIDDEN) }];
        assert_eq!(events(&mut s), if failure_report == FailureReport::Partial { failed } else { vec![] });
    }
}

#[test]
fn answers_that_say_no() {
    for (status, reason) in [
        ("413 Stop", FailureReason::Response(Status::STOP)),
        ("400", FailureReason::Response(Status::BAD_REQUEST)),
        ("423", FailureReason::Response(Status::OUT_OF_BOUNDS)),
        ("408", FailureReason::TimedOut),
        ("999 What", FailureReason::Response(Status(999))),
    ] {
        let (mut s, now) = (alice(), Instant::now());
        let (message, body) = text("hello");
        let key = s.send_whole(message, body).unwrap();
        let out = output(&mut s, now);
        let response = ok_to(&out, status);
        s.handle_input(now, response.as_bytes());
        assert_eq!(events(&mut s), [Event::Sent { key }, Event::Failed { key, reason }]);
        // A second response to the same request says nothing.
        s.handle_input(now, response.as_bytes());
        assert_eq!((events(&mut s), s.poll_timeout()), (vec![], None));
    }
}

// RFC 4975 §10.8, §10.10: there is nothing to go on with.
#[test]
fn answers_that_end_the_session() {
    for status in [Status::NO_SESSION, Status::BOUND_ELSEWHERE] {
        let (mut s, now) = (alice(), Instant::now());
        let (message, body) = text("hello");
        let key = s.send_whole(message, body).unwrap();
        let out = output(&mut s, now);
        s.handle_input(now, ok_to(&out, &status.to_string()).as_bytes());
        let failed = Event::Failed { key, reason: FailureReason::Response(status) };
        let closed = Event::Closed { error: Some(Error::Lost(status)) };
        assert_eq!(events(&mut s), [Event::Sent { key }, failed, closed]);
        assert!(s.is_closed());
        // Also to a sign of life.
        let mut s = alice();
        s.keep_alive(now);
        let out = output(&mut s, now);
        s.handle_input(now, ok_to(&out, &status.to_string()).as_bytes());
        assert_eq!(
            events(&mut s),
            [Event::KeptAlive { status }, Event::Closed { error: Some(Error::Lost(status)) }]
        );
    }
}

// RFC 4975 §10.6
#[test]
fn a_type_that_was_refused_is_not_sent_again() {
    let (mut s, now) = (alice(), Instant::now());
    let (message, body) = text("hello");
    s.send_whole(message.clone(), body.clone()).unwrap();
    let out = output(&mut s, now);
    s.handle_input(now, ok_to(&out, "415").as_bytes());
    let again = s.send_whole(Outgoing { content_type: "Text/Plain; x=y".into(), ..message }, body);
    assert_eq!(again, Err(Error::TypeNotAccepted("Text/Plain".into())));
    assert!(s.send(Outgoing::new("text/html", Size::Known(1))).is_ok());
}

#[test]
fn what_the_description_of_the_peer_forbids() {
    let mut config = config(ALICE, BOB);
    config.peer_accept_types = vec!["message/cpim".into()];
    config.peer_max_size = Some(10);
    let mut s = session(config, 1);
    assert!(matches!(s.send(Outgoing::new("text/plain", Size::Known(1))), Err(Error::TypeNotAccepted(_))));
    let too_large = s.send(Outgoing::new("message/cpim", Size::Known(11)));
    assert_eq!(too_large, Err(Error::TooLargeForPeer { max: 10 }));
    assert!(s.send(Outgoing::new("message/cpim", Size::Known(10))).is_ok());
    // Of unknown size, it stops when it shows.
    let key = s.send(Outgoing::new("message/cpim", Size::Unknown)).unwrap();
    assert!(s.supply(key, Bytes::from_static(b"0123456789a"), false).is_err());
}

#[test]
fn lines_cannot_be_smuggled_in() {
    let mut s = alice();
    for content_type in ["text/plain\r\nEvil: yes", "text/plain\n", "a\u{0}b"] {
        assert!(matches!(s.send(Outgoing::new(content_type, Size::Known(1))), Err(Error::CannotSend(_))));
    }
    let evil = ("X".to_owned(), "a\r\n\r\nbody".to_owned());
    assert!(s.send(Outgoing { headers: vec![evil], ..Outgoing::new("a/b", Size::Known(1)) }).is_err());
    let name = ("X: y\r\nZ".to_owned(), "a".to_owned());
    assert!(s.send(Outgoing { headers: vec![name], ..Outgoing::new("a/b", Size::Known(1)) }).is_err());
    let id = Some("a\r\nb".to_owned());
    assert!(s.send(Outgoing { message_id: id, ..Outgoing::new("a/b", Size::Known(1)) }).is_err());
    assert!(!s.has_transmit());
}

#[test]
fn a_413_interrupts_the_chunk() {
    let (mut s, now) = (alice(), Instant::now());
    let key = s.send(Outgoing::new("a/b", Size::Known(1 << 20))).unwrap();
    s.supply(key, Bytes::from(vec![b'x'; 60_000]), false).unwrap();
    let mut out = Vec::new();
    s.poll_transmit(now, &mut out, 10_000);
    let head = String::from_utf8(out).unwrap();
    s.handle_input(now, ok_to(&head, "413 Enough").as_bytes());
    let tid = head.split(' ').nth(1).unwrap();
    assert_eq!(output(&mut s, now), format!("\r\n-------{tid}#\r\n"));
    let last = events(&mut s).pop();
    assert_eq!(last, Some(Event::Failed { key, reason: FailureReason::Response(Status::STOP) }));
    assert_eq!(s.supply(key, Bytes::new(), true), Err(Error::NoSuchMessage));
    assert!(!s.has_transmit() && s.held_octets() == 0 && s.poll_timeout().is_none());
}

#[test]
fn giving_up_before_during_and_between_chunks() {
    let now = Instant::now();
    // Before anything was written, nobody needs to know.
    let mut s = alice();
    let (message, body) = text("x");
    let key = s.send_whole(message, body).unwrap();
    s.abort(key);
    assert_eq!(
        (output(&mut s, now), events(&mut s)),
        (String::new(), vec![Event::Failed { key, reason: FailureReason::Withdrawn }])
    );
    // Between chunks, an empty one says it.
    let mut p = Pair::new(1 << 16);
    let key = p.a.send(Outgoing::new("a/b", Size::Unknown)).unwrap();
    p.a.supply(key, Bytes::from(vec![b'x'; 5000]), false).unwrap();
    p.settle();
    let (message, body) = text("interrupts");
    p.a.send_whole(message, body).unwrap();
    p.settle();
    p.a.abort(key);
    p.settle();
    let ends: Vec<_> = events(&mut p.b).into_iter().filter(|e| matches!(e, Event::Aborted { .. })).collect();
    assert!(matches!(&ends[..], [Event::Aborted { reason: AbortReason::Sender, .. }]));
    assert!(!p.a.has_transmit() && p.a.poll_timeout().is_none());
}

#[test]
fn reports_of_failure_and_others() {
    let (mut s, now) = (alice(), Instant::now());
    let send = |s: &mut Session| {
        let (message, body) = text("hello");
        let id = Some("m7".to_owned());
        let key = s.send_whole(Outgoing { success_report: true, message_id: id, ..message }, body).unwrap();
        let out = output(s, now);
        s.handle_input(now, ok_to(&out, "200 OK").as_bytes());
        assert_eq!(events(s), [Event::Sent { key }, Event::Delivered { key }]);
        key
    };
    let report = |id: &str, status: &str| {
        wire(&format!(
            "MSRP rrrr1 REPORT\nTo-Path: {ALICE}\nFrom-Path: {BOB}\nMessage-ID: {id}\nByte-Range: 1-5/5\nStatus: {status}\n-------rrrr1$\n"
        ))
    };
    let key = send(&mut s);
    s.handle_input(now, report("unknown", "000 200 OK").as_bytes());
    assert_eq!(events(&mut s), []);
    s.handle_input(now, report("m7", "777 200 OK").as_bytes());
    assert!(matches!(events(&mut s)[..], [Event::Report { .. }]));
    s.handle_input(now, report("m7", "000 200").as_bytes());
    assert!(matches!(events(&mut s)[..], [Event::Report { status: Status::OK, .. }]));
    // The whole was reported: a further report has nothing to refer to.
    s.handle_input(now, report("m7", "000 200").as_bytes());
    assert_eq!(events(&mut s), []);
    let other = send(&mut s);
    assert_ne!(key, other);
    s.handle_input(now, report("m7", "000 403 No").as_bytes());
    let reason = FailureReason::Report(Status::FORBIDDEN);
    assert_eq!(events(&mut s), [Event::Failed { key: other, reason }]);
    // RFC 4975 §7.3.2: octets that did not get through fail the session.
    let last = send(&mut s);
    s.handle_input(now, report("m7", "000 408 Slow").as_bytes());
    let lost = Event::Closed { error: Some(Error::Lost(Status::TIMEOUT)) };
    assert_eq!(events(&mut s), [Event::Failed { key: last, reason: FailureReason::TimedOut }, lost]);
    assert_eq!(output(&mut s, now), "");
}

#[test]
fn keep_alives() {
    let mut p = Pair::new(1000);
    p.a.keep_alive(p.now);
    p.a.keep_alive(p.now);
    p.settle();
    assert_eq!(events(&mut p.a), [Event::KeptAlive { status: Status::OK }]);
    assert_eq!(events(&mut p.b), []);
    p.a.keep_alive(p.now);
    let mut lost = Vec::new();
    p.a.poll_transmit(p.now, &mut lost, 1000);
    assert!(lost.ends_with(b"$\r\n") && !String::from_utf8_lossy(&lost).contains("Content-Type"));
    p.a.handle_timeout(p.now + Duration::from_secs(30));
    assert_eq!(events(&mut p.a), [Event::KeptAlive { status: Status::TIMEOUT }]);
}

#[test]
fn the_connection_ends() {
    let (mut s, now) = (alice(), Instant::now());
    let (message, body) = text("hello");
    let sent = s.send_whole(message, body).unwrap();
    output(&mut s, now);
    let waiting = s.send(Outgoing::new("a/b", Size::Known(9))).unwrap();
    s.handle_closed(now);
    let lost = |key| Event::Failed { key, reason: FailureReason::ConnectionLost };
    let want = Event::WantBody { key: waiting, max: 9 };
    assert_eq!(
        events(&mut s),
        [Event::Sent { key: sent }, want, lost(sent), lost(waiting), Event::Closed { error: None }]
    );
    assert_eq!(s.send(Outgoing::new("a/b", Size::Known(9))), Err(Error::Closed));
    assert_eq!((s.poll_timeout(), s.has_transmit()), (None, false));
}

#[test]
fn wrong_sizes() {
    let mut s = alice();
    let key = s.send(Outgoing::new("a/b", Size::Known(4))).unwrap();
    assert!(matches!(s.supply(key, Bytes::from_static(b"abc"), true), Err(Error::CannotSend(_))));
    assert_eq!(events(&mut s).last(), Some(&Event::Failed { key, reason: FailureReason::WrongSize }));
    let key = s.send(Outgoing::new("a/b", Size::Known(4))).unwrap();
    assert!(s.supply(key, Bytes::from_static(b"abcde"), false).is_err());
    let key = s.send(Outgoing::new("a/b", Size::Unknown)).unwrap();
    assert!(matches!(s.supply(key, Bytes::from(vec![0; 1 << 20]), false), Err(Error::CannotSend(_))));
    // That much was never asked for, but the message can go on.
    s.supply(key, Bytes::new(), true).unwrap();
}

#[test]
fn the_queue_is_bounded() {
    let mut config = config(ALICE, BOB);
    config.limits.messages = 3;
    let mut s = session(config, 1);
    for _ in 0..3 {
        s.send(Outgoing::new("a/b", Size::Known(1))).unwrap();
    }
    assert_eq!(s.send(Outgoing::new("a/b", Size::Known(1))), Err(Error::Full));
}

/// Gives the octets it was made with, then those of a seeded generator.
struct Scripted(Vec<u8>, SeededRandom);

impl Random for Scripted {
    fn fill(&mut self, buffer: &mut [u8]) {
        let n = buffer.len().min(self.0.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0.drain(..n);
        self.1.fill(&mut buffer[n..]);
    }
}

// RFC 4975 §7.1: the end line is never in the body. The generator is made to give identifiers that
// the body holds already.
#[test]
fn a_body_that_holds_our_transaction_identifier() {
    let zeros = "a".repeat(16);
    let fence = format!("-------{zeros}");
    for body in [
        format!("short \r\n{fence}$\r\n"),
        format!("{}\r\n{fence}$\r\n{}", "x".repeat(3000), "y".repeat(3000)),
        format!("{}{fence}{fence}+\r\n", "x".repeat(5000)),
        fence.repeat(500),
    ] {
        for step in [1, 50, 4096] {
            let mut p = Pair::new(step);
            // Message-ID first, then ever the same identifier, a few times.
            p.a = Session::new(config(ALICE, BOB), Box::new(Scripted(vec![0; 16 * 4], SeededRandom::new(1))));
            let key = p.a.send(Outgoing::new("a/b", Size::Known(body.len() as u64))).unwrap();
            // In small parts, so that the identifier is cut between them.
            for part in body.as_bytes().chunks(11) {
                p.a.supply(key, Bytes::copy_from_slice(part), false).unwrap();
            }
            let (mut sink, mut told) = (Sink::default(), events(&mut p.a));
            while p.turn() {
                sink.take(events(&mut p.b));
                told.extend(events(&mut p.a));
            }
            assert!(sink.complete && sink.body == body.as_bytes(), "step {step}");
            assert!(told.contains(&Event::Delivered { key }));
        }
    }
}

#[test]
fn the_refusal_of_a_wrapper_is_not_one_of_all_that_is_wrapped() {
    let (mut a, now) = (alice(), Instant::now());
    for (content_type, goes_on) in
        [("message/cpim", true), ("Multipart/Mixed; boundary=x", true), ("image/png", false)]
    {
        let key = a.send_whole(Outgoing::new(content_type, Size::Unknown), Bytes::from_static(b"x")).unwrap();
        let text = output(&mut a, now);
        let tid = text.split(' ').nth(1).unwrap();
        let response = wire(&format!(
            "MSRP {tid} 415 Unsupported Media Type\nTo-Path: {ALICE}\nFrom-Path: {BOB}\n-------{tid}$\n"
        ));
        a.handle_input(now, response.as_bytes());
        let reason = FailureReason::Response(Status::UNSUPPORTED_TYPE);
        assert!(events(&mut a).contains(&Event::Failed { key, reason }));
        let again = a.send_whole(Outgoing::new(content_type, Size::Unknown), Bytes::from_static(b"y"));
        assert_eq!(again.is_ok(), goes_on, "{content_type}");
        output(&mut a, now);
    }
}

#[test]
fn a_message_whose_body_is_late_lets_long_ones_through() {
    let mut p = Pair::new(1000);
    let late = p.a.send(Outgoing::new("text/plain", Size::Known(10_000))).unwrap();
    p.a.supply(late, Bytes::from(vec![b'l'; 3000]), false).unwrap();
    p.settle();
    let long = p.a.send_whole(Outgoing::new("text/plain", Size::Unknown), vec![b'x'; 9000].into()).unwrap();
    p.settle();
    let told = events(&mut p.a);
    assert!(told.contains(&Event::Delivered { key: long }), "{told:?}");
    p.a.supply(late, Bytes::from(vec![b'l'; 7000]), true).unwrap();
    p.settle();
    assert!(events(&mut p.a).contains(&Event::Delivered { key: late }));
}
