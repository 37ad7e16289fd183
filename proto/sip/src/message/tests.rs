use super::*;
use crate::{Error, NameAddr, Scheme};
use proptest::prelude::*;

fn parse(text: impl Into<Bytes>) -> Result<Message, Error> {
    Message::parse(text.into(), &Limits::default())
}

const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    v: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/TCP b;branch=z9hG4bK2\r\n\
    Via:SIP/2.0/UDP c;branch=z9hG4bK3\r\n\
    From: \"A, B\" <sip:alice@example.com>;tag=1\r\n\
    t  : <sip:bob@example.com>\r\n\
    Call-ID: x@y\r\n\
    CSeq: 7 INVITE\r\n\
    Subject: caf\u{e9}\r\n\
    X-Odd:   two  \r\n\tlines\t\r\n\
    Contact: <sip:alice@192.0.2.1>\r\n\
    Content-Length: 4\r\n\r\nbody";

/// The lines of a message, as a person would compare them.
fn lines_of(message: &Message) -> Vec<String> {
    String::from_utf8_lossy(&message.to_bytes()).split("\r\n").map(str::to_owned).collect()
}

/// What an edit took away and what it put there.
fn difference(edit: impl FnOnce(&mut Message)) -> (Vec<String>, Vec<String>) {
    let mut message = parse(INVITE).unwrap();
    let before = lines_of(&message);
    edit(&mut message);
    let after = lines_of(&message);
    parse(message.to_bytes()).expect("an edited message parses");
    let only = |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect();
    (only(&before, &after), only(&after, &before))
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn reads() {
    let m = parse(INVITE).unwrap();
    assert_eq!(m.to_bytes(), INVITE.as_bytes());
    let vias: Vec<_> = m.vias().unwrap().iter().map(|v| v.host().to_owned()).collect();
    assert_eq!(vias, ["a", "b", "c"]);
    assert_eq!(m.from().unwrap().display(), Some("A, B"));
    assert_eq!(m.header("x-odd").as_deref(), Some("two lines"));
    assert_eq!(m.header_octets("X-Odd"), Some(&b"two  \r\n\tlines"[..]));
    assert_eq!(m.headers().nth(3).unwrap().0, "t");
    assert!(m.has("T") && m.has("to") && !m.has("Too"));
    assert_eq!(m.body(), "body");
    assert_eq!(m.method(), "INVITE");
}

#[test]
fn an_edit_touches_its_own_line() {
    let s = |text: &str| vec![text.to_owned()];
    assert_eq!(
        difference(|m| m.set_request_uri("tel:+1".parse().unwrap()).unwrap()),
        (s("INVITE sip:bob@example.com SIP/2.0"), s("INVITE tel:+1 SIP/2.0"))
    );
    assert_eq!(
        difference(|m| m.set_header("To", "<sip:c@d>;tag=2").unwrap()),
        (s("t  : <sip:bob@example.com>"), s("t  : <sip:c@d>;tag=2"))
    );
    assert_eq!(
        difference(|m| m.push_front("Via", "SIP/2.0/UDP z").unwrap()),
        (none(), s("Via: SIP/2.0/UDP z"))
    );
    assert_eq!(difference(|m| m.push_back("X-New", "1").unwrap()), (none(), s("X-New: 1")));
    assert_eq!(
        difference(|m| assert_eq!(m.remove_first("Via").as_deref(), Some("SIP/2.0/UDP a;branch=z9hG4bK1"))),
        (
            s("v: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/TCP b;branch=z9hG4bK2"),
            s("v: SIP/2.0/TCP b;branch=z9hG4bK2")
        )
    );
    assert_eq!(
        difference(|m| m.set_first("Via", "SIP/2.0/UDP q").unwrap()),
        (
            s("v: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/TCP b;branch=z9hG4bK2"),
            s("v: SIP/2.0/UDP q, SIP/2.0/TCP b;branch=z9hG4bK2")
        )
    );
    assert_eq!(difference(|m| assert_eq!(m.remove_all("Subject"), 1)).0, s("Subject: caf\u{e9}"));
    assert_eq!(
        difference(|m| m.set_body("longer", Some("text/plain")).unwrap()),
        (
            vec!["Content-Length: 4".into(), "body".into()],
            vec!["Content-Type: text/plain".into(), "Content-Length: 6".into(), "longer".into()]
        )
    );
}

#[test]
fn order_of_what_is_added() {
    let mut m = parse(INVITE).unwrap();
    m.push_front("Via", "SIP/2.0/UDP z;branch=z9hG4bK0").unwrap();
    m.push_back("Via", "SIP/2.0/UDP y;branch=z9hG4bK4").unwrap();
    m.push_front("Route", "<sip:r1;lr>").unwrap();
    m.push_back("Route", "<sip:r2;lr>").unwrap();
    let m = parse(m.to_bytes()).unwrap();
    let vias: Vec<_> = m.vias().unwrap().iter().map(|v| v.host().to_owned()).collect();
    assert_eq!(vias, ["z", "a", "b", "c", "y"]);
    assert_eq!(m.routes().unwrap().iter().map(|r| r.uri().host()).collect::<Vec<_>>(), ["r1", "r2"]);
    assert_eq!(m.headers().last().unwrap().0, "Content-Length");
}

#[test]
fn nothing_is_smuggled() {
    let mut m = parse(INVITE).unwrap();
    for bad in ["a\r\nEvil: 1", "a\nEvil: 1", "a\rEvil: 1", "a\0", "\r\n x"] {
        assert!(m.set_header("Subject", bad).is_err());
        assert!(m.push_front("Subject", bad).is_err());
        assert!(m.push_back("Subject", bad).is_err());
        assert!(m.set_first("Via", bad).is_err());
        assert!(m.set_body("", Some(bad)).is_err());
        assert!(m.push_back(bad, "x").is_err());
        assert!(Message::response(&m, 200, bad).is_err());
        assert!(bad.parse::<crate::Uri>().is_err() && NameAddr::parse(bad).is_err());
        let name = NameAddr::new("sip:a".parse().unwrap());
        assert!(name.clone().with_display(bad).is_err() && name.clone().with_tag(bad).is_err());
        assert!(name.uri().with_param("x", Some(bad)).is_err());
        assert!(crate::Via::new("UDP", bad, None, "b").is_err());
    }
    for bad in ["", "a b", "a:", "\u{e9}"] {
        assert!(m.push_back(bad, "x").is_err());
    }
    assert!(Message::response(&m, 99, "").is_err() && Message::response(&m, 700, "").is_err());
    let name = NameAddr::new("sip:a".parse().unwrap());
    assert!(name.clone().with_tag("1;lr").is_err() && name.with_param("x", Some("\"a\" b\"")).is_err());
    assert_eq!(m.to_bytes(), INVITE.as_bytes(), "what failed left no trace");
}

/// As old telephones write them. What is acted on has to be UTF-8.
#[test]
fn display_names_in_latin_1() {
    let latin = |text: &str| {
        let mut octets = text.as_bytes().to_vec();
        octets.iter_mut().filter(|b| **b == 0x7f).for_each(|b| *b = 0xfc);
        octets
    };
    let octets = latin(&INVITE.replace("A, B", "A, \x7f").replace("t  : <", "t  : M\x7fller <"));
    let m = parse(octets.clone()).unwrap();
    assert_eq!(m.to_bytes(), octets);
    assert_eq!((m.from_tag().as_deref(), m.to_tag()), (Some("1"), None));
    assert_eq!(m.from().unwrap().display(), Some("A, \u{fffd}"));
    assert_eq!(m.to().unwrap().uri().user(), Some("bob"));
    for (from, to) in
        [("sip:alice@e", "sip:a\x7f@e"), (";tag=1", ";tag=\x7f"), ("t  : <sip:bob", "t  : <sip:\x7f")]
    {
        assert!(parse(latin(&INVITE.replace(from, to))).is_err(), "{from}");
    }
}

#[test]
fn octets_that_are_not_utf8_stay_where_they_are() {
    let mut octets = INVITE.replace("caf\u{e9}", "??").into_bytes();
    let at = octets.windows(2).position(|w| w == b"??").unwrap();
    octets[at] = 0xff;
    let m = parse(octets.clone()).unwrap();
    assert_eq!((m.header("Subject"), m.header_octets("Subject")), (None, Some(&b"\xff?"[..])));
    assert_eq!((m.headers().count(), m.body().len()), (10, 4));
    let mut edited = m.clone();
    edited.set_header("X-Odd", "1").unwrap();
    assert!(edited.to_bytes().windows(11).any(|w| w == b"Subject: \xff?"));
    assert_eq!(m.to_bytes(), octets);
    // In a header we act on, it is a fault.
    let octets = INVITE.replace("x@y", "\u{1}");
    assert!(parse(octets).is_err());
}

#[test]
fn where_the_body_ends() {
    let without = INVITE.replace("Content-Length: 4\r\n", "");
    assert_eq!(parse(without).unwrap().body(), "body");
    let short = INVITE.replace("Length: 4", "Length: 3");
    let m = parse(short.clone()).unwrap();
    assert_eq!((m.body().as_ref(), m.to_bytes().len()), (&b"bod"[..], short.len() - 1));
    for bad in ["5", "-1", "+4", "4 4", "0x4", "", "4\r\nl: 3", "99999999999999999999999"] {
        assert!(parse(INVITE.replace("Length: 4", &format!("Length: {bad}"))).is_err(), "{bad}");
    }
    let same = INVITE.replace("Length: 4", "Length: 4\r\nl: 4");
    assert!(parse(same).is_err(), "twice is not once, even if both agree");
}

#[test]
fn lines_nobody_may_read_differently() {
    for (from, to) in [
        ("Subject: ", "Subject: a\nEvil: "),
        ("Subject: ", "Subject: a\rEvil: "),
        ("Subject: ", "Subject: \0"),
        ("Subject: ", "Subject "),
        ("Subject: ", "Sub ject: "),
        ("Subject: ", ": "),
        ("Subject: ", "Sub\u{e9}ject: "),
        ("INVITE sip", "INV\u{e9}TE sip"),
        ("\r\n\r\nbody", "\r\n"),
        ("CSeq: 7 INVITE", "CSeq: 7 ACK"),
        ("CSeq: 7 INVITE", "CSeq: 2147483648 INVITE"),
        ("CSeq: 7 INVITE", "CSeq: -7 INVITE"),
        ("Call-ID: x@y", "Call-ID: x y"),
        ("Call-ID: x@y", "Call-ID: x\r\ni: y"),
        ("Contact: <", "Contact: <sip:x>;;q=1, <"),
        ("SIP/2.0\r\nv", "SIP/2.0 \r\nv"),
        ("INVITE sip", "INVITE  sip"),
        ("INVITE sip", " INVITE sip"),
        ("INVITE sip", "INVITE\tsip"),
        (" SIP/2.0\r\nv", "\tSIP/2.0\r\nv"),
    ] {
        let text = INVITE.replacen(from, to, 1);
        assert_ne!(text, INVITE, "{from}");
        assert!(parse(text).is_err(), "{to:?}");
    }
}

#[test]
fn a_fault_lies_where_it_is_said_to() {
    // What is changed, and where the octets behind the place start.
    for (from, to, place) in [
        ("INVITE sip", "INVITE\tsip", "\tsip:bob"),
        ("com SIP/2.0\r\nv", "com\tSIP/2.0\r\nv", "\tSIP/2.0\r\nv"),
        ("com SIP/2.0\r\nv", "com SIP/3.0\r\nv", "SIP/3.0"),
        ("com SIP/2.0\r\nv", "com?a=b SIP/2.0\r\nv", "?a=b"),
        ("CSeq: 7 INVITE", "CSeq: 7  ACK", "ACK\r\n"),
        ("Call-ID: x@y", "Call-ID: x y", " y\r\n"),
        ("Call-ID: x@y", "Call-ID: ", "\r\nCSeq"),
        ("Subject: ", "cseq: 8 INVITE\r\nSubject: ", "cseq: 8"),
        ("CSeq: 7 INVITE\r\n", "", "\r\n\r\nbody"),
        ("Content-Length: 4", "Content-Length: 4\r\nl: 3", "l: 3"),
        ("Content-Length: 4", "Content-Length: x", "x\r\n"),
        ("<sip:alice@192.0.2.1>", "<sip:alice@192.0.2.1>;;q", ";q\r\n"),
        ("<sip:alice@192.0.2.1>", "<sip:a@b>,  \r\n\t<sip:alice@192.0.2.1>;;q", ";q\r\n"),
        (">;tag=1", ">\r\n \t;;tag=1", ";tag=1"),
    ] {
        let text = INVITE.replacen(from, to, 1);
        for lead in ["", "\r\n"] {
            let scanned = scan(format!("{lead}{text}").into(), &Limits::default()).unwrap();
            assert!(scanned.fault.is_some(), "{to:?}");
            let skip = if place.starts_with("\r\n\r\n") { 2 } else { 0 };
            let at = lead.len() + text.find(place).unwrap() + skip;
            assert_eq!(scanned.at, at, "{to:?}: {:?} at {:?}", scanned.fault, &text[scanned.at..]);
        }
    }
    let sound = scan(INVITE.into(), &Limits::default()).unwrap();
    assert_eq!((sound.fault, sound.at), (None, 0));
}

#[test]
fn limits_hold() {
    let limits = Limits { message: 600, head: 500, lines: 12, values: 4 };
    let with =
        |extra: &str| Message::parse(INVITE.replace("Subject", &format!("{extra}Subject")).into(), &limits);
    assert!(with("").is_ok());
    assert!(with("A: 1\r\n").is_ok());
    assert!(matches!(with("A: 1\r\nB: 1\r\nC: 1\r\n"), Err(Error::TooLarge { what: "header lines", .. })));
    assert!(matches!(with(&format!("A: {}\r\n", "x".repeat(400))), Err(Error::TooLarge { .. })));
    let route = "Route: <sip:a>, <sip:b>, <sip:c>, <sip:d>, <sip:e>\r\n";
    assert!(matches!(with(route), Err(Error::TooLarge { what: "values in a list header", .. })));
}

#[test]
fn responses() {
    let request =
        parse(INVITE.replace("\r\nX-Odd", "\r\nRecord-Route: <sip:p;lr>\r\nTimestamp: 5\r\nX-Odd")).unwrap();
    let ok = Message::response(&request, 200, "").unwrap();
    let text = String::from_utf8(ok.to_bytes().to_vec()).unwrap();
    assert_eq!(
        text,
        "SIP/2.0 200 OK\r\n\
         v: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/TCP b;branch=z9hG4bK2\r\n\
         Via: SIP/2.0/UDP c;branch=z9hG4bK3\r\n\
         Record-Route: <sip:p;lr>\r\n\
         From: \"A, B\" <sip:alice@example.com>;tag=1\r\n\
         t: <sip:bob@example.com>\r\n\
         Call-ID: x@y\r\n\
         CSeq: 7 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!((ok.reason().as_ref(), ok.method()), ("OK", &Method::Invite));
    assert!(!Message::response(&request, 404, "Gone fishing").unwrap().has("Record-Route"));
    assert!(Message::response(&request, 100, "").unwrap().has("Timestamp"));
    let mut late = ok.clone();
    assert!(late.set_request_uri("sip:a".parse().unwrap()).is_err());
    for (line, good) in [
        ("SIP/2.0 200 OK", true),
        ("sip/2.0 200 ", true),
        ("SIP/2.0 200", true),
        ("SIP/2.0  200 OK", false),
        ("SIP/2.0 2000 OK", false),
        ("SIP/2.0 099 OK", false),
        ("SIP/2.0 700 OK", false),
        ("SIP/2.0 20x OK", false),
        ("SIP/2.1 200 OK", false),
    ] {
        assert_eq!(parse(text.replace("SIP/2.0 200 OK", line)).is_ok(), good, "{line}");
    }
}

/// RFC 3261 §19.1.4.
#[test]
fn uris_that_are_the_same() {
    let same = |a: &str, b: &str| {
        let (a, b): (crate::Uri, crate::Uri) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(a.equivalent(&b), b.equivalent(&a));
        a.equivalent(&b)
    };
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("urn:service:sos", "URN:service:SOS"),
    ] {
        assert!(same(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:a@b", "sips:a@b"),
        ("sip:b", "sip:a@b"),
        ("tel:123;phone-context=a.example", "tel:123"),
    ] {
        assert!(!same(a, b), "{a} {b}");
    }
}

#[test]
fn uris_taken_apart() {
    let uri: crate::Uri = "sips:a:b;c@[2001:db8::1]:5061;lr;x=%41?Subject=1".parse().unwrap();
    assert_eq!((uri.scheme(), uri.user(), uri.port()), (Scheme::Sips, Some("a:b;c"), Some(5061)));
    assert_eq!(
        (uri.host(), uri.param("X"), uri.headers()),
        ("[2001:db8::1]", Some("%41"), Some("Subject=1"))
    );
    assert!(uri.is_loose());
    assert_eq!(uri.without_param("lr").to_string(), "sips:a:b;c@[2001:db8::1]:5061;x=%41?Subject=1");
    assert_eq!(
        uri.without_headers().with_param("x", None).unwrap().to_string(),
        "sips:a:b;c@[2001:db8::1]:5061;lr;x"
    );
    let odd: crate::Uri = "gopher://a/b@c".parse().unwrap();
    assert_eq!((odd.scheme(), odd.scheme_str(), odd.host(), odd.user()), (Scheme::Other, "gopher", "", None));
    let built = crate::Uri::sip(Some("a b"), "2001:db8::1", Some(5070)).unwrap();
    assert_eq!(built.as_str(), "sip:a%20b@[2001:db8::1]:5070");
    let tel: crate::Uri = "tel:+1-201;phone-context=x".parse().unwrap();
    assert_eq!((tel.user(), tel.param("phone-context")), (Some("+1-201"), Some("x")));
    for bad in [
        "",
        "sip",
        "sip:",
        ":a",
        "1sip:a",
        "sip:@a",
        "sip:a@",
        "sip:a b",
        "sip:a@b@c",
        "sip:a:99999",
        "sip:a:",
        "sip:a:x",
        "sip:[::1",
        "sip:[x]",
        "sip:a%4@b",
        "sip:a%zz@b",
        "sip:a>b",
        "sip:a?",
        "sip:a,b",
        "tel:",
        "tel:;x",
        "sip:2001:db8::10",
    ] {
        assert!(bad.parse::<crate::Uri>().is_err(), "{bad}");
    }
}

#[test]
fn addresses() {
    for (text, display, uri, tag) in [
        ("<sip:a@b>", None, "sip:a@b", None),
        ("sip:a@b;tag=1", None, "sip:a@b", Some("1")),
        ("A B <sip:a@b;x=1>;y;TAG = 2", Some("A B"), "sip:a@b;x=1", Some("2")),
        ("\"\\\"<x>\\\\\" <tel:1>", Some("\"<x>\\"), "tel:1", None),
        ("\"\"<sip:a>", Some(""), "sip:a", None),
    ] {
        let a = NameAddr::parse(text).expect(text);
        assert_eq!((a.display(), a.uri().as_str(), a.tag()), (display, uri, tag));
        assert_eq!(a.to_string(), text, "as it came");
        let tagged = a.with_tag("9").unwrap();
        assert_eq!(NameAddr::parse(&tagged.to_string()).unwrap().tag(), Some("9"));
    }
    for bad in [
        "",
        "<>",
        "<sip:a",
        "sip:a>",
        "a, b <sip:a>",
        "\"a <sip:a>",
        "sip:a?b=c",
        "\"a\" b <sip:a>",
        "<sip:a>x",
        "<sip:a>;",
        "<sip:a>;=1",
    ] {
        assert!(NameAddr::parse(bad).is_err(), "{bad}");
    }
}

fn value() -> impl Strategy<Value = String> {
    "[ -~\u{e0}-\u{ff}]{0,40}"
}

fn extra_lines() -> impl Strategy<Value = Vec<u8>> {
    let fold = prop_oneof![Just(""), Just("\r\n "), Just(" \r\n\t")];
    let line = ("[A-Za-z][A-Za-z-]{2,14}", "[ \t]{0,2}", value(), fold, value());
    prop::collection::vec(line, 0..8).prop_map(|lines| {
        let mut out = String::new();
        for (name, space, a, fold, b) in lines {
            out.push_str(&format!("X{name}{space}:{space}{a}{fold}{b}\r\n"));
        }
        out.into_bytes()
    })
}

proptest! {
    #[test]
    fn what_parses_prints_as_it_came(extra in extra_lines(), body in prop::collection::vec(any::<u8>(), 0..60)) {
        let (head, _) = INVITE.split_once("Content-Length").unwrap();
        let mut octets = head.as_bytes().to_vec();
        octets.extend_from_slice(&extra);
        octets.extend_from_slice(format!("l: {}\r\n\r\n", body.len()).as_bytes());
        octets.extend_from_slice(&body);
        let mut m = parse(octets.clone()).unwrap();
        prop_assert_eq!(m.to_bytes(), &octets);
        prop_assert_eq!(m.body(), &body);
        // Printed by way of the index, it is the same.
        m.push_back("Added", "1").unwrap();
        m.remove_all("Added");
        prop_assert_eq!(m.to_bytes(), octets);
    }

    #[test]
    fn anything_at_all(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(octets.into(), &Limits::default());
    }

    #[test]
    fn a_message_with_octets_changed(changes in prop::collection::vec((0..INVITE.len(), any::<u8>()), 1..6)) {
        let mut octets = INVITE.as_bytes().to_vec();
        for (at, b) in changes {
            octets[at] = b;
        }
        match scan(octets.clone().into(), &Limits::default()) {
            Ok(scanned) => {
                let printed = scanned.message.to_bytes();
                prop_assert!(octets.starts_with(&printed) || octets.starts_with(b"\r\n"));
                if scanned.fault.is_none() {
                    let mut edited = scanned.message;
                    edited.set_header("X-A", "1").unwrap();
                    edited.remove_first("Via");
                    edited.set_first("Via", "SIP/2.0/UDP h;branch=z9hG4bKq").unwrap();
                    prop_assert!(parse(edited.to_bytes()).is_ok());
                }
            }
            Err(e) => prop_assert!(e.offset().is_none_or(|at| at <= octets.len())),
        }
    }

    #[test]
    fn values_set_are_values_read(name in "[A-Za-z][A-Za-z0-9-]{1,10}", v in value()) {
        let mut m = parse(INVITE).unwrap();
        // No header of the message is called so.
        let name = format!("X-Set-{name}");
        m.push_back(&name, &v).unwrap();
        let again = parse(m.to_bytes()).unwrap();
        let read = again.header(&name);
        prop_assert_eq!(read.as_deref(), Some(v.trim_matches([' ', '\t'])));
    }

    #[test]
    fn uris_print_as_they_came(text in "(sip|sips|tel|x-y):[ -~]{0,30}") {
        if let Ok(uri) = text.parse::<crate::Uri>() {
            prop_assert_eq!(uri.to_string(), text.clone());
            prop_assert!(uri.equivalent(&uri.clone()));
            if let Ok(more) = uri.with_param("zz", Some("1")) {
                prop_assert_eq!(more.param("zz"), Some("1"));
                prop_assert_eq!(more.host(), uri.host());
                prop_assert_eq!(more.user(), uri.user());
            }
        }
    }

    #[test]
    fn addresses_print_as_they_came(text in "[ -~]{0,12}<sip:[a-z@:;=.0-9]{1,16}>[ -~]{0,12}") {
        if let Ok(address) = NameAddr::parse(&text) {
            prop_assert_eq!(address.to_string(), text);
        }
    }
}
