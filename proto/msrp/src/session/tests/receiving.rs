//! What a session makes of requests (RFC 4975 §7.2, §7.3).

use super::*;
use crate::composing::State;
use crate::{Error, Limits};

const MESSAGE: &str = "Message-ID: m1\nContent-Type: text/plain\n";

// RFC 4975 §11.1
#[test]
fn the_frames_of_the_basic_session() {
    let mut s = bob();
    let headers = "Message-ID: 12339sdqwer\nByte-Range: 1-16/16\nContent-Type: text/plain\n";
    let send = to_bob("d93kswow", headers, Some("Hi, I'm Alice!\r\n"), '$');
    assert_eq!(answer(&mut s, &send), response("d93kswow", "200 OK"));
    let mut sink = Sink::default();
    let rest = sink.take(events(&mut s));
    assert!(
        matches!(&rest[..], [Event::Begun { message_id, size: Some(16), .. }] if message_id == "12339sdqwer")
    );
    assert!(sink.complete);
    assert_eq!(sink.body, b"Hi, I'm Alice!\r\n");
}

// RFC 4975 §11.6: success report asked for, failure report not, so no response but a REPORT.
#[test]
fn the_frames_of_the_positive_report() {
    let mut s = bob();
    let headers = "Message-ID: 12339sdqwer\nByte-Range: 1-4/4\nSuccess-Report: yes\nFailure-Report: no\nContent-Type: text/html\n";
    let out = answer(&mut s, &to_bob("d93kswow", headers, Some("<p/>"), '$'));
    let (start, rest) = out.split_once("\r\n").unwrap();
    assert!(start.starts_with("MSRP ") && start.ends_with(" REPORT"));
    let tid = start.split(' ').nth(1).unwrap();
    let expected = format!(
        "To-Path: {ALICE}\nFrom-Path: {BOB}\nMessage-ID: 12339sdqwer\nByte-Range: 1-4/4\nStatus: 000 200 OK\n-------{tid}$\n"
    );
    assert_eq!(rest, wire(&expected));
}

#[test]
fn each_wrong_request_gets_its_status() {
    let plain = to_bob("aaaa1111", MESSAGE, Some("x"), '$');
    for (from, to, status) in [
        ("9di4eae923wzd", "other", "481 No Such Session"),
        (
            "msrp://bob.example.com:8888/9di4eae923wzd;tcp",
            "msrp://r:1/q;tcp msrp://bob.example.com:8888/9di4eae923wzd;tcp",
            "481 No Such Session",
        ),
        (" SEND", " NICKNAME", "501 Unknown Method"),
        ("Message-ID: m1\r\n", "", "400 Bad Request"),
        ("Content-Type: text/plain\r\n", "", "400 Bad Request"),
        ("text/plain", "application/x-unheard", "415 Unsupported Media Type"),
        ("Message-ID", "Byte-Range: 2-1/1\r\nMessage-ID", "400 Bad Request"),
        ("Message-ID", "Byte-Range: 1-*/2\r\nByte-Range: x\r\nMessage-ID", "400 Bad Request"),
        ("Message-ID", "Failure-Report: maybe\r\nMessage-ID", "400 Bad Request"),
        ("Message-ID", "Success-Report: perhaps\r\nMessage-ID", "400 Bad Request"),
        ("Message-ID", "Byte-Range: 1-*/101\r\nMessage-ID", "413 Stop Sending"),
        ("Message-ID", "Byte-Range: 200-*/*\r\nMessage-ID", "413 Stop Sending"),
        ("\r\nx\r\n", &format!("\r\n{}\r\n", "x".repeat(101)), "413 Stop Sending"),
        ("Message-ID", "Byte-Range: 1-0/0\r\nMessage-ID", "400 Bad Request"),
    ] {
        let mut config = config(BOB, ALICE);
        config.max_size = Some(100);
        config.accept_types = vec!["text/*".into(), "message/cpim".into()];
        let mut s = session(config, 3);
        let input = plain.replacen(from, to, 1);
        assert_ne!(input, plain);
        let out = answer(&mut s, &input);
        assert!(out.starts_with(&format!("MSRP aaaa1111 {status}\r\n")), "{to}: {out}");
        assert!(!events(&mut s).iter().any(|e| matches!(e, Event::Complete { .. })));
        // The session goes on.
        let next = to_bob("bbbb1111", "Message-ID: m2\nContent-Type: text/plain\n", Some("y"), '$');
        assert_eq!(answer(&mut s, &next), response("bbbb1111", "200 OK"));
        // And what Failure-Report forbids is not sent.
        let quiet = input.replacen("From-Path", "X-Path", 0).replacen(
            "\r\nMessage-ID",
            "\r\nFailure-Report: no\r\nMessage-ID",
            1,
        );
        if quiet != input && !input.contains("maybe") {
            assert_eq!(answer(&mut s, &quiet.replace("m1", "m3")), "");
        }
    }
}

// RFC 4975 §7.1.4, §7.2
#[test]
fn failure_report_decides_what_is_answered() {
    for (value, ok, bad) in
        [("yes", true, true), ("YES", true, true), ("partial", false, true), ("no", false, false)]
    {
        let mut s = bob();
        let headers = format!("Failure-Report: {value}\nMessage-ID: m1\nContent-Type: text/plain\n");
        assert_eq!(!answer(&mut s, &to_bob("aaaa1111", &headers, Some("x"), '$')).is_empty(), ok, "{value}");
        let wrong = to_bob("aaaa1111", &headers, Some("x"), '$').replacen("9di4", "xxxx", 1);
        assert_eq!(!answer(&mut s, &wrong).is_empty(), bad, "{value}");
    }
}

// RFC 4975 §7.2: a response to SEND goes one hop back, others all the way.
#[test]
fn responses_go_the_way_back() {
    let mut s = bob();
    let relayed = to_bob("aaaa1111", MESSAGE, Some("x"), '$').replacen(
        "From-Path: ",
        "From-Path: msrp://relay:9/r;tcp ",
        1,
    );
    assert!(answer(&mut s, &relayed).contains("To-Path: msrp://relay:9/r;tcp\r\n"));
    let all = format!("To-Path: msrp://relay:9/r;tcp {ALICE}\r\n");
    assert!(answer(&mut s, &relayed.replacen(" SEND", " NICKNAME", 1)).contains(&all));
}

#[test]
fn reports_are_never_answered() {
    let mut s = bob();
    let report =
        to_bob("aaaa1111", "Message-ID: m1\nStatus: 000 200 OK\n", None, '$').replacen(" SEND", " REPORT", 1);
    for input in [
        report.clone(),
        report.replacen("9di4", "xxxx", 1),
        report.replace("000 200", "junk"),
        report.replace("Status", "X"),
    ] {
        assert_eq!(answer(&mut s, &input), "");
    }
    assert_eq!(events(&mut s), []);
}

#[test]
fn a_request_without_paths_cannot_be_answered_but_is_read_over() {
    let mut s = bob();
    assert_eq!(answer(&mut s, "MSRP aaaa1111 SEND\r\nX: y\r\n\r\nbody\r\n-------aaaa1111$\r\n"), "");
    assert_eq!(answer(&mut s, &to_bob("bbbb1111", MESSAGE, Some("x"), '$')), response("bbbb1111", "200 OK"));
}

#[test]
fn keep_alives_are_answered() {
    let mut s = bob();
    let out = answer(&mut s, &to_bob("aaaa1111", "Message-ID: m1\nByte-Range: 1-0/0\n", None, '$'));
    assert_eq!(out, response("aaaa1111", "200 OK"));
    // As other stacks send it: without a Message-ID, or with a blank line.
    assert_eq!(
        answer(&mut s, &to_bob("aaaa1112", "Byte-Range: 1-0/0\n", None, '$')),
        response("aaaa1112", "200 OK")
    );
    assert_eq!(
        answer(&mut s, &to_bob("aaaa1113", "Byte-Range: 1-0/0\n\n", None, '$')),
        response("aaaa1113", "200 OK")
    );
    assert_eq!(events(&mut s), []);
}

#[test]
fn a_message_of_no_octets() {
    let mut s = bob();
    let headers = "Message-ID: m1\nByte-Range: 1-0/0\nContent-Type: text/plain\n";
    assert_eq!(answer(&mut s, &to_bob("aaaa1111", headers, Some(""), '$')), response("aaaa1111", "200 OK"));
    assert!(matches!(
        &events(&mut s)[..],
        [Event::Begun { size: Some(0), .. }, Event::Complete { size: 0, .. }]
    ));
}

fn chunk(n: u32, range: &str, body: &str, flag: char) -> String {
    let headers = format!("Message-ID: m1\nByte-Range: {range}\nContent-Type: text/plain\n");
    to_bob(&format!("chunk{n}"), &headers, Some(body), flag)
}

// RFC 4975 §7.3.1: any order, overlaps, the later chunk wins, `$` tells the size.
#[test]
fn chunks_in_any_order() {
    let mut s = bob();
    let mut sink = Sink::default();
    let chunks =
        [chunk(1, "9-*/*", "ij", '$'), chunk(2, "1-4/10", "xxxx", '+'), chunk(3, "5-8/10", "efgh", '+')];
    for (i, c) in chunks.iter().enumerate() {
        assert!(answer(&mut s, c).contains(" 200 OK"));
        sink.take(events(&mut s));
        assert_eq!(sink.complete, i == 2);
    }
    assert_eq!(sink.body, b"xxxxefghij");

    let mut s = bob();
    let mut sink = Sink::default();
    for c in [chunk(1, "1-6/10", "abcdXX", '+'), chunk(2, "5-*/10", "efghij", '$')] {
        answer(&mut s, &c);
        sink.take(events(&mut s));
    }
    assert!(sink.complete && sink.body == b"abcdefghij");
}

#[test]
fn chunks_that_contradict() {
    for (first, second, status) in [
        (chunk(1, "1-2/10", "ab", '+'), chunk(2, "3-4/11", "cd", '+'), "400"),
        (chunk(1, "1-2/10", "ab", '+'), chunk(2, "9-10/10", "ijk", '$'), "400"),
        (chunk(1, "5-6/*", "ab", '+'), chunk(2, "1-4/*", "abcd", '$'), "400"),
        (chunk(1, "1-2/10", "ab", '+'), chunk(2, "3-4/10", "cdefghijklmn", '+'), "400"),
        // A chunk that does not repeat the total is held to it all the same.
        (chunk(1, "1-2/10", "ab", '+'), chunk(2, "9-12/*", "ijkl", '+'), "400"),
        (chunk(1, "1-6/*", "abcdef", '+'), chunk(2, "1-2/4", "ab", '+'), "400"),
    ] {
        let mut s = bob();
        answer(&mut s, &first);
        assert!(answer(&mut s, &second).starts_with(&format!("MSRP chunk2 {status}")), "{second}");
        assert!(!events(&mut s).iter().any(|e| matches!(e, Event::Complete { .. })));
    }
}

#[test]
fn what_is_incomplete_is_bounded() {
    let mut config = config(BOB, ALICE);
    config.limits = Limits { arrivals: 2, ranges: 3, ..Limits::default() };
    let mut s = session(config, 4);
    for i in 0..3 {
        assert!(answer(&mut s, &chunk(i, &format!("{}-*/100", 1 + i * 4), "a", '+')).contains(" 200 OK"));
    }
    assert!(answer(&mut s, &chunk(9, "41-*/100", "a", '+')).contains(" 413 "));
    let last = events(&mut s).pop();
    assert!(matches!(last, Some(Event::Aborted { reason: AbortReason::Refused(Status::STOP), .. })));
    for (id, status) in [("n1", "200"), ("n2", "200"), ("n3", "413")] {
        let headers = format!("Message-ID: {id}\nByte-Range: 1-*/100\nContent-Type: text/plain\n");
        assert!(
            answer(&mut s, &to_bob("aaaa1111", &headers, Some("x"), '+')).contains(&format!(" {status} "))
        );
    }
}

#[test]
fn the_sender_gives_up() {
    let mut s = bob();
    assert_eq!(answer(&mut s, &chunk(1, "1-*/10", "abc", '#')), response("chunk1", "200 OK"));
    assert!(matches!(events(&mut s)[2], Event::Aborted { reason: AbortReason::Sender, .. }));
    // Its identifier is free again.
    answer(&mut s, &chunk(2, "1-2/2", "ab", '$'));
    assert!(matches!(events(&mut s)[2], Event::Complete { size: 2, .. }));
}

// RFC 4975 §10.5: in the middle of a chunk, and for each further one.
#[test]
fn we_refuse_the_rest() {
    let (mut s, now) = (bob(), Instant::now());
    let input = chunk(1, "1-*/100", "abcdef", '+');
    let cut = input.find("def").unwrap();
    s.handle_input(now, &input.as_bytes()[..cut]);
    let Event::Begun { arrival, .. } = events(&mut s).remove(0) else { panic!() };
    s.refuse(arrival, Status::STOP);
    assert_eq!(output(&mut s, now), response("chunk1", "413 Stop Sending"));
    s.handle_input(now, &input.as_bytes()[cut..]);
    assert_eq!(output(&mut s, now), "");
    assert_eq!(events(&mut s), [Event::Aborted { arrival, reason: AbortReason::Refused(Status::STOP) }]);
    assert_eq!(answer(&mut s, &chunk(2, "7-*/100", "ghi", '+')), response("chunk2", "413 Stop Sending"));
    assert_eq!(events(&mut s), []);
}

#[test]
fn a_paused_message_stops_the_stream() {
    let (mut s, now) = (bob(), Instant::now());
    let input = chunk(1, "1-*/6", "abcdef", '$');
    let cut = input.find("abc").unwrap() + 1;
    assert_eq!(s.handle_input(now, &input.as_bytes()[..cut]), cut);
    let Event::Begun { arrival, .. } = events(&mut s).remove(0) else { panic!() };
    s.pause(arrival);
    assert_eq!(s.handle_input(now, &input.as_bytes()[cut..]), 0);
    s.resume(arrival);
    assert_eq!(s.handle_input(now, &input.as_bytes()[cut..]), input.len() - cut);
    assert!(matches!(events(&mut s).last(), Some(Event::Complete { .. })));
}

#[test]
fn nobody_polls_so_nothing_is_read() {
    let mut config = config(BOB, ALICE);
    config.limits = Limits { event_octets: 1000, control_octets: 300, ..Limits::default() };
    let (mut s, now) = (session(config, 5), Instant::now());
    let big = chunk(1, "1-*/*", &"z".repeat(5000), '$');
    let mut used = s.handle_input(now, big.as_bytes());
    assert!(used < 2000 && s.held_octets() <= 1000, "{used}");
    let mut got = 0;
    while used < big.len() {
        got += events(&mut s).iter().map(Event::octets).sum::<usize>();
        used += s.handle_input(now, &big.as_bytes()[used..]);
    }
    got += events(&mut s).iter().map(Event::octets).sum::<usize>();
    assert_eq!(got, 5000);
    // One that asks and does not read its answers stops itself.
    let ping = to_bob("aaaa1111", "Byte-Range: 1-0/0\n", None, '$');
    let taken: usize = (0..100).map(|_| s.handle_input(now, ping.as_bytes())).sum();
    assert!(taken < 4 * ping.len() && s.held_octets() < 600);
    assert!(!output(&mut s, now).is_empty());
    assert_eq!(s.handle_input(now, ping.as_bytes()), ping.len());
}

#[test]
fn is_typing() {
    let mut s = bob();
    let document = crate::composing::Composing::new(State::Active).to_xml();
    let headers = "Message-ID: c1\nContent-Type: application/im-iscomposing+xml\n";
    assert_eq!(
        answer(&mut s, &to_bob("aaaa1111", headers, Some(&document), '$')),
        response("aaaa1111", "200 OK")
    );
    assert!(matches!(&events(&mut s)[..], [Event::Composing { from, composing }]
        if from.as_str() == ALICE && composing.state == State::Active));
    assert!(answer(&mut s, &to_bob("aaaa1111", headers, Some("<junk"), '$')).contains(" 400 "));
    assert!(answer(&mut s, &to_bob("aaaa1111", headers, Some(&" ".repeat(5000)), '$')).contains(" 413 "));
}

#[test]
fn progress_and_late_failure_are_reported() {
    let (mut s, now) = (bob(), Instant::now());
    let first = chunk(1, "1-*/100", "abcdef", '+').replace("Message-ID", "Success-Report: yes\r\nMessage-ID");
    answer(&mut s, &first);
    let Event::Begun { arrival, .. } = events(&mut s).remove(0) else { panic!() };
    s.report_progress(arrival);
    assert!(output(&mut s, now).contains("Byte-Range: 1-6/100\r\nStatus: 000 200 OK\r\n"));
    s.report_failure(arrival, Status::FORBIDDEN);
    assert!(output(&mut s, now).contains("Byte-Range: 1-6/100\r\nStatus: 000 403 Forbidden\r\n"));
    assert_eq!(
        events(&mut s).last(),
        Some(&Event::Aborted { arrival, reason: AbortReason::Refused(Status::FORBIDDEN) })
    );
}

// RFC 4975 §7.2 has the answer at once; what is kept is known a moment later.
#[test]
fn the_last_answer_waits_for_the_application() {
    let concluding = || session(Config { conclude: true, ..config(BOB, ALICE) }, 2);
    let asking = |text: &str| text.replace("Message-ID", "Success-Report: yes\r\nMessage-ID");
    for (status, answered) in [(Status::OK, "200 OK"), (Status::STOP, "413 Stop Sending")] {
        let (mut s, now) = (concluding(), Instant::now());
        assert!(answer(&mut s, &asking(&chunk(1, "1-*/6", "abc", '+'))).contains(" 200 OK"));
        assert_eq!(answer(&mut s, &asking(&chunk(2, "4-*/6", "def", '$'))), "");
        let Some(Event::Complete { arrival, size: 6 }) = events(&mut s).pop() else { panic!() };
        s.conclude(arrival, status);
        let out = output(&mut s, now);
        assert!(out.contains(&format!(" {answered}\r\n")), "{out}");
        // Only what is kept is reported as received.
        assert_eq!(out.contains("REPORT"), status.is_ok(), "{out}");
        s.conclude(arrival, Status::OK);
        assert_eq!(output(&mut s, now), "", "an answer is given once");
    }
    // As many wait for it as may be incomplete; then the peer waits, and none of its messages is refused.
    let (mut s, now) = (concluding(), Instant::now());
    let limit = s.config().limits.arrivals;
    let (mut input, mut taken) = (Vec::new(), 0);
    for id in 1..=u32::try_from(3 * limit).unwrap() {
        let whole = chunk(id, "1-3/3", "abc", '$').replace("Message-ID: ", &format!("Message-ID: n{id}"));
        input.extend_from_slice(whole.as_bytes());
    }
    while !input.is_empty() {
        let used = s.handle_input(now, &input);
        input.drain(..used);
        let complete: Vec<_> = events(&mut s)
            .into_iter()
            .filter_map(|event| match event {
                Event::Complete { arrival, .. } => Some(arrival),
                _ => None,
            })
            .collect();
        assert!((1..=limit).contains(&complete.len()));
        assert_eq!(s.handle_input(now, &input), 0, "none is taken before one is concluded");
        taken += complete.len();
        complete.into_iter().for_each(|arrival| s.conclude(arrival, Status::OK));
        assert!(!output(&mut s, now).contains(" 413 "));
    }
    assert_eq!(taken, 3 * limit);
}

#[test]
fn the_stream_stops_being_msrp() {
    let (mut s, now) = (bob(), Instant::now());
    answer(&mut s, &chunk(1, "1-*/100", "abc", '+'));
    events(&mut s);
    let junk = b"HTTP/1.1 400\r\n";
    assert_eq!(s.handle_input(now, junk), junk.len());
    let end = events(&mut s);
    assert!(matches!(&end[..], [Event::Aborted { reason: AbortReason::ConnectionLost, .. },
        Event::Closed { error: Some(Error::Malformed(e)) }] if e.at > 0));
    assert!(s.is_closed());
    s.handle_closed(now);
    assert_eq!(events(&mut s), []);
    assert_eq!(s.handle_input(now, b"more"), 4);
}

#[test]
fn a_refusal_says_why_and_the_message_may_come_again() {
    let (mut b, now) = (bob(), Instant::now());
    let head = "Message-ID: m1\nByte-Range: 1-*/*\nContent-Type: text/plain\n";
    let whole = to_bob("d93kswow", head, Some("Hello, Bob"), '$');
    let cut = whole.len() - 20;
    b.handle_input(now, &whole.as_bytes()[..cut]);
    let Some(Event::Begun { arrival, .. }) = events(&mut b).into_iter().next() else { panic!("not begun") };
    b.refuse_because(arrival, Status::FORBIDDEN, "you do not have the floor");
    assert!(output(&mut b, now).starts_with("MSRP d93kswow 403 you do not have the floor\r\n"));
    b.handle_input(now, &whole.as_bytes()[cut..]);
    assert_eq!(output(&mut b, now), "", "an answer is given once");
    events(&mut b);
    // The refused message is over with its last chunk; the same again is judged anew.
    let again = whole.replace("d93kswow", "op2nc9ax");
    b.handle_input(now, again.as_bytes());
    assert!(matches!(events(&mut b).first(), Some(Event::Begun { .. })));
    assert!(output(&mut b, now).starts_with("MSRP op2nc9ax 200 OK\r\n"));
}
