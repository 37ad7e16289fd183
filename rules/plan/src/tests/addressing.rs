//! Gateway control §2.5, TS 23.334 table 5.19.1-1: CEMA, sessmatch, plain.

use super::*;

const CEMA: &str =
    "m=message 2855 TCP/MSRP *\r\na=setup:actpass\r\na=path:msrp://a.example:2855/s1;tcp\r\na=msrp-cema\r\n";
const NONE: &str = "m=message 2855 TCP/MSRP *\r\na=setup:actpass\r\na=path:msrp://a.example:2855/s1;tcp\r\n";
const ANSWER: &str = "m=message 9 TCP/MSRP *\r\na=setup:active\r\na=path:msrp://b.example:9/s2;tcp\r\n";

fn networks(offerer: Addressing, answerer: Addressing) -> Facts {
    let mut facts = terminals();
    facts.offerer.addressing = offerer;
    facts.answerer.addressing = answerer;
    facts
}

/// Who is there, and whether the path is kept, readdressed or rewritten.
#[test]
fn the_table() {
    use Addressing::*;
    let kept = "a=path:msrp://a.example:2855/s1;tcp";
    let ours = "a=path:msrp://203.0.113.9:40000/s1;tcp";
    let table = [
        (CEMA, Auto, Auto, "plain", kept, true),
        (CEMA, Auto, Cema, "plain", kept, true),
        (CEMA, Plain, Cema, "plain", kept, true),
        (CEMA, Sessmatch, Auto, "plain", kept, true),
        (CEMA, Auto, Plain, "aware", ours, false),
        (CEMA, Auto, Sessmatch, "aware", ours, false),
        (NONE, Sessmatch, Sessmatch, "plain", ours, false),
        (NONE, Sessmatch, Plain, "aware", ours, false),
        (NONE, Sessmatch, Auto, "aware", ours, false),
        (NONE, Plain, Sessmatch, "aware", ours, false),
        (NONE, Auto, Auto, "aware", ours, false),
        (NONE, Plain, Plain, "aware", ours, false),
        // A CEMA client that has fallen back.
        (NONE, Cema, Cema, "aware", ours, false),
    ];
    for (offer, from, to, name, path, cema) in table {
        let facts = networks(from, to);
        let (line, seen, settled) = exchange(offer, ANSWER, &facts);
        let case = format!("{from:?} {to:?} {cema}");
        assert_eq!(line.decision.name(), name, "{case}");
        assert!(seen.contains(path), "{case}: {seen}");
        assert_eq!(seen.contains("a=msrp-cema"), cema, "{case}");
        let (settled, back) = settled.unwrap();
        let theirs = path == kept;
        assert_eq!(back.contains("a=path:msrp://b.example:9/s2;tcp"), theirs, "{case}: {back}");
        assert_eq!(back.contains("a=path:msrp://203.0.113.9:40000/s2;tcp"), !theirs, "{case}: {back}");
        let aware = name == "aware";
        for (leg, said) in [
            (&settled.legs.offerer, "msrp://a.example:2855/s1;tcp"),
            (&settled.legs.answerer, "msrp://b.example:9/s2;tcp"),
        ] {
            assert_eq!(leg.aware, aware);
            assert_eq!(leg.path.as_deref(), aware.then_some(said));
            assert_eq!(leg.transport, if aware { Transport::TcpMsrp } else { Transport::Tcp });
        }
    }
}

/// §2.5: a middlebox that takes part in MSRP never forwards the attribute, in either direction.
#[test]
fn an_answer_through_an_aware_gateway_has_no_cema() {
    let facts = networks(Addressing::Auto, Addressing::Plain);
    let (_, _, settled) = exchange(CEMA, &format!("{ANSWER}a=msrp-cema\r\n"), &facts);
    assert!(!settled.unwrap().1.contains("cema"));
}

/// §2.5: missing in the answer only: it goes on, and the offerer falls back with a new offer.
#[test]
fn a_cema_offer_with_a_plain_answer_falls_back() {
    let (line, seen, settled) = exchange(CEMA, ANSWER, &terminals());
    assert_eq!(line.decision, Decision::Plain);
    assert!(seen.contains("a=msrp-cema"));
    assert_eq!(settled.unwrap().1, ANSWER.replace("message 9", "message 40000"));
    // RFC 6714 §4.2: the new offer lacks it.
    assert_eq!(planned(NONE, &Policy::default(), &terminals()).decision, Decision::Aware);
    // The same with TLS end to end goes on, and the offer after it is refused.
    let tls = |text: &str| text.replace("TCP/MSRP", "TCP/TLS/MSRP");
    let (line, _, settled) = exchange(&tls(CEMA), &tls(ANSWER), &terminals());
    assert_eq!(line.decision, Decision::EndToEnd);
    assert!(settled.is_ok());
    assert_eq!(status(&planned(&tls(NONE), &Policy::default(), &terminals())), Some(488));
}

/// §2.5: aware mode and end-to-end TLS exclude each other.
#[test]
fn sealed_lines_are_never_rewritten() {
    use Addressing::*;
    let (cema, none) = (CEMA.replace("TCP/", "TCP/TLS/"), NONE.replace("TCP/", "TCP/TLS/"));
    let excluded = "the answerer's network needs MSRP paths rewritten, and end-to-end TLS excludes that";
    let needs = "end-to-end TLS through a gateway needs a=msrp-cema in the offer";
    let table = [
        (&cema, Auto, Auto, None),
        (&cema, Plain, Cema, None),
        (&cema, Auto, Plain, Some(excluded)),
        (&cema, Auto, Sessmatch, Some(excluded)),
        (&none, Auto, Auto, Some(needs)),
        (&none, Sessmatch, Auto, Some(needs)),
        (&none, Plain, Sessmatch, Some(needs)),
        (&none, Sessmatch, Sessmatch, None),
    ];
    for (offer, from, to, refused) in table {
        let line = planned(offer, &Policy::default(), &networks(from, to));
        assert_eq!(status(&line), refused.map(|_| 488), "{line}");
        if let Some(reason) = refused {
            let Decision::Refuse(refusal) = line.decision else { panic!("{line}") };
            assert_eq!((refusal.warning, refusal.reason), (399, reason));
        }
    }
    // The operator's switch for networks with sessmatch.
    let open = Policy { forward_without_cema: true, ..Policy::default() };
    let line = planned(&none, &open, &terminals());
    assert_eq!(line.decision, Decision::EndToEnd);
    assert!(line.edits.iter().any(|e| e.change == Change::PathAddress));
    assert!(line.legs.unwrap().answerer.path.is_none());
}

/// Without a gateway that can, or against the operator's will, nothing is rewritten.
#[test]
fn no_gateway_that_rewrites() {
    let off = Policy { aware: false, ..Policy::default() };
    assert_eq!(status(&planned(NONE, &off, &terminals())), Some(488));
    let mut facts = terminals();
    facts.gateway.aware = false;
    assert_eq!(status(&planned(NONE, &Policy::default(), &facts)), Some(488));
    assert_eq!(planned(CEMA, &off, &facts).decision, Decision::Plain);
}

/// Nothing can be rewritten where there is no path.
#[test]
fn paths_that_are_not_there() {
    let offer = "m=message 2855 TCP/MSRP *\r\n";
    assert_eq!(status(&planned(offer, &Policy::default(), &terminals())), Some(488));
    let (_, _, settled) = exchange(NONE, "m=message 9 TCP/MSRP *\r\n", &terminals());
    assert_eq!(settled.unwrap_err().reason, "the answer has no a=path");
    for odd in ["nonsense", "msrp://no-session", "http://h:1/s;tcp", "msrp://h:1/s;tcp nonsense"] {
        let offer = NONE.replace("msrp://a.example:2855/s1;tcp", odd);
        let line = planned(&offer, &Policy::default(), &terminals());
        assert_eq!(
            (status(&line), line.reason),
            (Some(488), "the offer's a=path is not one of MSRP"),
            "{odd}"
        );
        let (_, _, settled) = exchange(NONE, &ANSWER.replace("msrp://b.example:9/s2;tcp", odd), &terminals());
        assert_eq!(settled.unwrap_err().reason, "the answer's a=path is not one of MSRP");
        // Where nobody rewrites it, it is nobody's business.
        let cema = CEMA.replace("msrp://a.example:2855/s1;tcp", odd);
        assert_eq!(planned(&cema, &Policy::default(), &terminals()).decision, Decision::Plain);
    }
}

/// RFC 4975 §6: what becomes of odd paths.
#[test]
fn odd_paths() {
    let six = "[2001:db8::1]:7";
    let table = [
        (
            "msrp://alice@h:1/s;tcp",
            six,
            "a=path:msrp://alice@[2001:db8::1]:7/s;tcp",
            "a=path:msrp://[2001:db8::1]:7/s;tcp",
        ),
        (
            "msrps://r:1/x;tcp msrp://h:2/s;tcp;k=v",
            "192.0.2.9:7",
            "a=path:msrps://192.0.2.9:7/x;tcp msrp://h:2/s;tcp;k=v",
            "a=path:msrp://192.0.2.9:7/s;tcp",
        ),
        ("nonsense", "192.0.2.9:7", "a=path:nonsense", "a=path:nonsense"),
        ("msrp://no-session", "192.0.2.9:7", "a=path:msrp://no-session", "a=path:msrp://no-session"),
    ];
    for (path, address, readdressed, own) in table {
        for (change, expected) in
            [(Change::PathAddress, readdressed), (Change::PathOwn { secure: false }, own)]
        {
            let mut doc = document(&format!("m=message 1 TCP/MSRP *\r\na=path:{path}\r\n"));
            let edit = Edit { line: Some(0), change, reason: "" };
            let given = |_| Given { address: Some(address.parse().unwrap()), fingerprint: None };
            apply([&edit], &mut doc, given, None).unwrap();
            let text = String::from_utf8(doc.to_bytes().to_vec()).unwrap();
            assert!(text.contains(&format!("{expected}\r\n")), "{text}");
        }
    }
}
