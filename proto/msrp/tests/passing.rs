//! Frames that are passed on with other paths: what changes, what does not, and what never passes.

#![allow(clippy::unwrap_used)]

use carnet_msrp::rewrite::{Parts, Rewriter, Side, own_uri};
use carnet_msrp::{Continuation, Decoder, Error, Frames, Limits, Part, Piece, Status, Uri, parse_path};
use proptest::prelude::*;

const ALICE: &str = "msrps://10.0.0.5:49154/a1ice;tcp";
/// Behind a relay of his own.
const BOB: &str = "msrp://relay.example.net:9000/tok3n;tcp msrp://[2001:db8::7]:7777/b0b;tcp;x=y";

fn sides() -> (Side, Side) {
    let (alice, bob) = (parse_path(ALICE.as_bytes()).unwrap(), parse_path(BOB.as_bytes()).unwrap());
    let near = Side::new(true, "198.51.100.1:20000".parse().unwrap(), &alice, &bob).unwrap();
    let far = Side::new(false, "[2001:db8::1]:30000".parse().unwrap(), &bob, &alice).unwrap();
    (near, far)
}

fn rewriter() -> Rewriter {
    let (near, far) = sides();
    Rewriter::new(&near, &far, &Limits::default())
}

fn pass(input: &str) -> Result<String, Error> {
    let mut out = Vec::new();
    rewriter().pass(input.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
}

#[test]
fn a_gateway_is_called_after_the_far_peer() {
    let (near, far) = sides();
    assert_eq!(near.own.as_str(), "msrps://198.51.100.1:20000/b0b;tcp");
    assert_eq!(far.own.as_str(), "msrp://[2001:db8::1]:30000/a1ice;tcp");
    let nameless = parse_path(b"msrp://a.example:1;tcp").unwrap();
    assert!(own_uri(false, "192.0.2.1:1".parse().unwrap(), &nameless).is_err());
    assert!(own_uri(false, "192.0.2.1:1".parse().unwrap(), &[]).is_err());
}

#[test]
fn requests_leave_with_the_whole_path_and_responses_with_its_first() {
    let (near, far) = sides();
    let frame = |to: &str, from: &str| {
        [
            format!(
                "MSRP d93kswow SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 12339sdqwer\r\n"
            ),
            "Byte-Range: 1-16/16\r\nX-Odd:\t  as it came \r\nContent-Type: text/plain\r\n\r\n".into(),
            "Hi, I'm Alice!\r\n\r\n-------d93kswow$\r\n".into(),
            format!("MSRP 4321abcd REPORT\r\nTO-PATH:{to}\r\nfrom-path:   {from}\r\nStatus: 000 200 OK\r\n"),
            "-------4321abcd$\r\n".into(),
        ]
        .concat()
    };
    let sent = frame(near.own.as_str(), ALICE);
    assert_eq!(pass(&sent).unwrap(), frame(BOB, far.own.as_str()));
    let response = |to: &str, from: &str| {
        format!("MSRP d93kswow 200 OK\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n-------d93kswow$\r\n")
    };
    let first = BOB.split(' ').next().unwrap();
    assert_eq!(
        pass(&response(near.own.as_str(), ALICE)).unwrap(),
        response(first, far.own.as_str()),
        "RFC 4975 §7.2: a response goes back one hop"
    );
}

#[test]
fn our_uri_is_ours_in_any_spelling_and_nothing_else_is() {
    let send = |to: &str| {
        pass(&format!("MSRP abcd SEND\r\nTo-Path: {to}\r\nFrom-Path: {ALICE}\r\n-------abcd$\r\n"))
    };
    // RFC 4975 §6.1
    for ours in ["MSRPS://198.51.100.1:20000/b0b;TCP", "msrps://x@198.51.100.1:20000/b0b;tcp;p=1"] {
        assert!(send(ours).unwrap().contains(&format!("To-Path: {BOB}\r\n")), "{ours}");
    }
    for other in [
        "msrp://198.51.100.1:20000/b0b;tcp",
        "msrps://198.51.100.1:20000/B0B;tcp",
        "msrps://198.51.100.1:20001/b0b;tcp",
        "msrps://198.51.100.1:20000/b0b;tcp msrp://elsewhere.example:1/x;tcp",
        "nonsense",
    ] {
        let error = send(other).unwrap_err();
        assert_eq!(error, Error::NotForUs { at: 0 }, "{other}");
        assert_eq!(error.answer(), Some(Status::NO_SESSION));
    }
}

#[test]
fn nothing_passes_after_an_error() {
    let (near, _) = sides();
    let good = format!("MSRP abcd SEND\r\nTo-Path: {}\r\nFrom-Path: {ALICE}\r\n-------abcd$\r\n", near.own);
    for bad in [
        "GET / HTTP/1.1\r\n".to_owned(),
        "MSRP a SEND\r\n".into(),
        "MSRP abcd send\r\n".into(),
        "MSRP abcd SEND \r\n".into(),
        "MSRP abcd 20 OK\r\n".into(),
        format!("MSRP abcd SEND\r\nFrom-Path: {ALICE}\r\nTo-Path: {}\r\n", near.own),
        format!("MSRP abcd SEND\r\nTo-Path: {0}\r\nTo-Path: {0}\r\n", near.own),
        format!("MSRP abcd SEND\r\nTo-Path: {0}\r\nFrom-Path: {ALICE}\r\nTo-Path: {0}\r\n", near.own),
        format!("MSRP abcd SEND\r\nTo-Path: {}\r\n\r\n", near.own),
        format!("MSRP abcd SEND\r\nTo-Path: {}\n", near.own),
        format!("MSRP abcd SEND\r\nTo-Path: {}\rX: y\r\n", near.own),
        format!("MSRP abcd SEND\r\nTo-Path: {}\r\nFrom-Path: {ALICE}\r\n-------abce$\r\n", near.own),
        format!("MSRP abcd SEND\r\nTo-Path: {}\r\nFrom-Path: {ALICE}\r\n: x\r\n", near.own),
    ] {
        let mut rewriter = rewriter();
        let mut out = Vec::new();
        let stream = format!("{good}{bad}{good}");
        let error = rewriter.pass(stream.as_bytes(), &mut out).unwrap_err();
        assert_eq!(rewriter.pass(good.as_bytes(), &mut out), Err(error), "{bad}");
        assert_eq!(out.iter().filter(|b| **b == b'$').count(), 1, "{bad}");
    }
}

#[test]
fn a_head_is_bounded() {
    let limits = Limits { head: 200, headers: 4, ..Limits::default() };
    for endless in [
        "MSRP abcd SEND\r\nTo-Path: msrp://".to_owned() + &"x".repeat(400),
        "MSRP ".to_owned() + &"x".repeat(400),
    ] {
        for step in [1, 7, 400] {
            let mut frames = Frames::new(&limits);
            let mut fed = 0;
            let error = endless.as_bytes().chunks(step).find_map(|piece| {
                fed += piece.len();
                frames.next(piece).err()
            });
            assert!(matches!(error, Some(Error::TooLarge { what: "head", .. })), "{error:?}");
            assert!(step == 400 || fed <= 210);
        }
    }
    let many = format!("MSRP abcd SEND\r\nTo-Path: x\r\nFrom-Path: x\r\n{}", "A: b\r\n".repeat(5));
    let error = Frames::new(&limits).next(many.as_bytes()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "header fields", .. }), "{error:?}");
}

/// A frame whose body is made of what an end line is made of.
fn frame() -> impl Strategy<Value = String> {
    let end_like = prop_oneof![
        Just("\r\n-------abcd9".to_owned()),
        Just("\r\n-------abcd".to_owned()),
        Just("\r\n-------abcd$".to_owned()),
        Just("\r\n-------abcd+\r".to_owned()),
        Just("\r\n-------other$\r\n".to_owned()),
        Just("\r\n------".to_owned()),
        Just("\r".to_owned()),
        "[a-z\r\n-]{0,12}",
    ];
    let body = proptest::collection::vec(end_like, 0..5).prop_map(|parts| parts.concat());
    (body, "[$+#]", 0..4).prop_map(|(body, flag, kind)| {
        let (near, _) = sides();
        let start = if kind == 3 { "200 OK" } else { "SEND" };
        let head = format!("MSRP abcd {start}\r\nTo-Path: {}\r\nFrom-Path: {ALICE}\r\n", near.own);
        match kind {
            0 | 1 => {
                // What would end the frame ends it there: a body cannot hold its own end line.
                let ends = |b: &str| {
                    ["$", "+", "#"]
                        .iter()
                        .any(|f| format!("{b}\r\n").contains(&format!("\r\n-------abcd{f}\r\n")))
                };
                let body = if ends(&body) { body.replace("abcd", "abc.") } else { body };
                format!("{head}Content-Type: text/plain\r\n\r\n{body}\r\n-------abcd{flag}\r\n")
            }
            // A blank line and no body, as some write it.
            2 => format!("{head}\r\n-------abcd{flag}\r\n"),
            _ => format!("{head}-------abcd{flag}\r\n"),
        }
    })
}

#[test]
fn parts_are_what_would_be_copied_and_long_bodies_are_not() {
    let (near, _) = sides();
    let body = |n: usize| {
        let octet = |at: usize| if at % 97 < 9 { b"\r\n-------"[at % 97] } else { b'a' + (at % 23) as u8 };
        (0..n).map(octet).collect::<Vec<u8>>()
    };
    let mut stream = Vec::new();
    for octets in [1, 0, 1_023, 1_024, 20_000, 3, 2_000] {
        let head = format!("MSRP abcd{octets} SEND\r\nTo-Path: {}\r\nFrom-Path: {ALICE}\r\n", near.own);
        stream.extend_from_slice(head.as_bytes());
        stream.extend_from_slice(b"Content-Type: text/plain\r\n\r\n");
        stream.extend_from_slice(&body(octets));
        stream.extend_from_slice(format!("\r\n-------abcd{octets}$\r\n").as_bytes());
    }
    let mut whole = Vec::new();
    rewriter().pass(&stream, &mut whole).unwrap();
    let mut lent = 0;
    for step in (1..200).chain([1_000, 1_023, 1_024, 1_025, 4_096, stream.len()]) {
        let (mut rewriter, mut parts, mut out) = (rewriter(), Parts::default(), Vec::new());
        for input in stream.chunks(step) {
            rewriter.pass_in_parts(input, &mut parts).unwrap();
            let before = out.len();
            for part in parts.iter(input) {
                assert!(!part.is_empty());
                out.extend_from_slice(part);
                if input.as_ptr_range().contains(&part.as_ptr()) {
                    lent += part.len();
                }
            }
            assert_eq!(parts.octets(), out.len() - before);
        }
        assert!(out == whole, "in steps of {step}");
    }
    assert!(lent > 3 * 20_000, "{lent} octets were not copied");
    let (mut rewriter, mut parts) = (rewriter(), Parts::default());
    let (good, bad) = (&stream[..500], b"HTTP/1.1 200 OK\r\n");
    rewriter.pass_in_parts(good, &mut parts).unwrap();
    assert!(rewriter.pass_in_parts(&[&stream[500..], bad].concat(), &mut parts).is_err());
    assert!(rewriter.pass_in_parts(good, &mut parts).is_err());
    assert_eq!(parts.octets(), 0, "nothing passes any more");
}

proptest! {
    #[test]
    fn any_split_gives_the_same(frames in proptest::collection::vec(frame(), 1..5), cuts in proptest::collection::vec(1usize..40, 1..60)) {
        let stream = frames.concat();
        let (near, far) = sides();
        let first = BOB.split(' ').next().unwrap();
        let expected = stream
            .replace(&format!("200 OK\r\nTo-Path: {}", near.own), &format!("200 OK\r\nTo-Path: {first}"))
            .replace(&format!("To-Path: {}", near.own), &format!("To-Path: {BOB}"))
            .replace(&format!("From-Path: {ALICE}"), &format!("From-Path: {}", far.own));
        let whole = pass(&stream).unwrap();
        prop_assert_eq!(&whole, &expected);
        let (mut rewriter, mut out, mut rest) = (rewriter(), Vec::new(), stream.as_bytes());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            rewriter.pass(now, &mut out).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(rewriter.is_between_frames());
        prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// The other reader of this crate finds the same frames.
    #[test]
    fn frames_are_those_of_the_decoder(frames in proptest::collection::vec(frame(), 1..5), step in 1usize..50) {
        let stream = frames.concat();
        let mut raw = Frames::new(&Limits::default());
        let mut seen = Vec::new();
        for piece in stream.as_bytes().chunks(step) {
            let mut rest = piece;
            loop {
                let (used, part) = raw.next(rest).unwrap();
                match part {
                    None => break,
                    Some(Part::Head(head)) => seen.push((Some(head.parse().unwrap()), Vec::new(), None)),
                    Some(Part::Body(octets)) => seen.last_mut().unwrap().1.extend_from_slice(octets),
                    Some(Part::End(end)) => seen.last_mut().unwrap().2 = Some(end.flag()),
                }
                rest = &rest[used..];
            }
        }
        let mut decoder = Decoder::new(Limits::default());
        let mut decoded: Vec<(_, Vec<u8>, Option<Continuation>)> = Vec::new();
        let mut rest = stream.as_bytes();
        loop {
            let (used, piece) = decoder.decode(rest).unwrap();
            match piece {
                None => break,
                Some(Piece::Head(head)) => decoded.push((Some(head), Vec::new(), None)),
                Some(Piece::Body(octets)) => decoded.last_mut().unwrap().1.extend_from_slice(octets),
                Some(Piece::End(flag)) => decoded.last_mut().unwrap().2 = Some(flag),
            }
            rest = &rest[used..];
        }
        prop_assert_eq!(seen, decoded);
    }

    #[test]
    fn total(octets in proptest::collection::vec(any::<u8>(), 0..200), noise in "[MSRP abcdENTo\r\nPth:$+#-]{0,80}") {
        let _ = rewriter().pass(&octets, &mut Vec::new());
        let _ = rewriter().pass(format!("MSRP {noise}").as_bytes(), &mut Vec::new());
    }
}

#[test]
fn a_head_can_be_asked_for_its_fields() {
    let text = b"MSRP abcd SEND\r\nTo-Path: x\r\nFrom-Path:  y\r\nByte-range:  1-5/5 \r\nFailure-Report:no\r\n-------abcd+\r\n";
    let mut frames = Frames::new(&Limits::default());
    let (_, Some(Part::Head(head))) = frames.next(text).unwrap() else { panic!("no head") };
    assert_eq!((head.to_path(), head.from_path()), (&b"x"[..], &b"y"[..]));
    assert_eq!(head.get("Byte-Range"), Some(&b"1-5/5"[..]));
    assert_eq!(&head.fields()[head.place("Byte-Range").unwrap()], b"1-5/5");
    assert_eq!(head.get("failure-report"), Some(&b"no"[..]));
    assert_eq!(head.get("Failure"), None);
    assert_eq!(head.get("Message-ID"), None);
    let [range, wish, name] = head.noted();
    assert_eq!(head.fields().get(range.unwrap()), Some(&b"1-5/5"[..]));
    assert_eq!(head.fields().get(wish.unwrap()), Some(&b"no"[..]));
    assert_eq!(name, None);
    let _ = Uri::parse(head.to_path());
}

/// Paths are known again only where they are the same octets in the same kind of frame; what is read is the same
/// whatever came before, and however it was cut.
#[test]
fn paths_that_are_known_are_read_the_same() {
    let long = "x".repeat(2_000);
    let heads = [
        ("tid1 SEND", "To-Path: a b\r\nFrom-Path: c\r\n", "a b", "c", false),
        ("tid22222 SEND", "To-Path: a b\r\nFrom-Path: c\r\n", "a b", "c", true),
        // The other kind has its own.
        ("tid3 200 OK", "To-Path: a b\r\nFrom-Path: c\r\n", "a b", "c", false),
        ("tid4 200", "To-Path: a b\r\nFrom-Path: c\r\n", "a b", "c", true),
        ("tid5 REPORT", "To-Path: a b\r\nFrom-Path: c\r\n", "a b", "c", true),
        ("tid6 SEND", "To-Path: a b\r\nFrom-Path: cc\r\n", "a b", "cc", false),
        ("tid7 SEND", "To-Path: a b\r\nFrom-Path: c\r\n", "a b", "c", false),
        ("tid8 SEND", "to-path:  a b\r\nFrom-Path:c\r\n", "a b", "c", false),
        ("tid9 SEND", "to-path:  a b\r\nFrom-Path:c\r\n", "a b", "c", true),
    ];
    let frame = |start: &str, paths: &str| {
        let tid = start.split(' ').next().unwrap();
        format!("MSRP {start}\r\n{paths}Message-ID: {tid}\r\n-------{tid}$\r\n")
    };
    for whole in [true, false] {
        let mut frames = Frames::new(&Limits::default());
        for (start, paths, to, from, same) in &heads {
            let text = frame(start, paths);
            // What comes in pieces may be read as if it were new.
            let cuts = if whole { vec![text.len()] } else { vec![30, text.len()] };
            let (mut at, mut seen) = (0, false);
            for cut in cuts {
                let mut rest = &text.as_bytes()[at..cut];
                at = cut;
                loop {
                    let (used, part) = frames.next(rest).unwrap();
                    match part {
                        None => break,
                        Some(Part::Head(head)) => {
                            assert_eq!((head.to_path(), head.from_path()), (to.as_bytes(), from.as_bytes()));
                            assert!(
                                head.has_same_paths() == *same || !whole && !head.has_same_paths(),
                                "{start}"
                            );
                            let tid = start.split(' ').next().unwrap();
                            assert_eq!(head.fields(), format!("Message-ID: {tid}\r\n").as_bytes());
                            assert_eq!(head.get("Message-ID"), Some(tid.as_bytes()));
                            seen = true;
                        }
                        Some(_) => {}
                    }
                    rest = &rest[used..];
                }
            }
            assert!(seen, "{start}");
        }
        // A second To-Path is none that may be, known or not, and paths that are too long are not kept.
        let paths = format!("To-Path: {long}\r\nFrom-Path: c\r\n");
        for _ in 0..2 {
            let text = frame("tidA SEND", &paths);
            let (_, Some(Part::Head(head))) = frames.next(text.as_bytes()).unwrap() else {
                panic!("no head")
            };
            assert!(!head.has_same_paths());
            let (_, Some(Part::End(_))) = frames.next(&[]).unwrap() else { panic!("no end") };
        }
        let text = frame("tidB SEND", "To-Path: a\r\nFrom-Path: c\r\nTo-Path: a\r\n");
        assert!(frames.next(text.as_bytes()).is_err());
    }
    // Known paths count as the lines and octets that they are.
    let limits = Limits { headers: 2, head: 80, ..Limits::default() };
    let mut frames = Frames::new(&limits);
    let text = frame("tid1 SEND", "To-Path: a\r\nFrom-Path: c\r\n").replace("Message-ID: tid1\r\n", "");
    for _ in 0..2 {
        assert!(matches!(frames.next(text.as_bytes()), Ok((_, Some(Part::Head(_))))));
        assert!(matches!(frames.next(&[]), Ok((_, Some(Part::End(_))))));
    }
    assert!(frames.next(frame("tid1 SEND", "To-Path: a\r\nFrom-Path: c\r\n").as_bytes()).is_err());
}
