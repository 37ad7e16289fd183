//! The examples of RFC 3862, heads in pieces, and bad input.

use super::*;
use proptest::prelude::*;

/// RFC 3862 §5.1, with its line ends.
const EXAMPLE: &str = "From: MR SANDERS <im:piglet@100akerwood.com>\r\n\
    To: Depressed Donkey <im:eeyore@100akerwood.com>\r\n\
    DateTime: 2000-12-13T13:40:00-08:00\r\n\
    Subject: the weather will be fine today\r\n\
    Subject:;lang=fr beau temps prevu pour aujourd'hui\r\n\
    NS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\n\
    Require: MyFeatures.VitalMessageOption\r\n\
    MyFeatures.VitalMessageOption: Confirmation-requested\r\n\
    MyFeatures.WackyMessageOption: Use-silly-font\r\n\
    \r\n\
    Content-type: text/xml; charset=utf-8\r\n\
    Content-ID: <1234567890@foo.com>\r\n\
    \r\n\
    <body>\r\nHere is the text of my message.\r\n</body>\r\n";

fn parse(text: &[u8]) -> Result<Option<(Head, usize)>, ParseError> {
    Head::parse(text, &Limits::default())
}

#[test]
fn the_example() {
    let (head, content) = parse(EXAMPLE.as_bytes()).unwrap().unwrap();
    assert!(EXAMPLE[content..].starts_with("<body>"));
    let from = head.from().unwrap();
    assert_eq!((from.name.as_str(), from.uri.as_str()), ("MR SANDERS", "im:piglet@100akerwood.com"));
    assert_eq!(head.to()[0].name, "Depressed Donkey");
    assert_eq!(head.headers[4].parameters(), ";lang=fr");
    assert_eq!(head.headers[4].value(), "beau temps prevu pour aujourd'hui");
    assert_eq!(head.content_type(), "text/xml; charset=utf-8");
    let space = "mid:MessageFeatures@id.foo.com";
    assert_eq!(head.get_in(space, "WackyMessageOption"), Some("Use-silly-font"));
    assert_eq!(head.get_in("mid:other", "WackyMessageOption"), None);
    assert_eq!(head.missing(&[]), ["MyFeatures.VitalMessageOption"]);
    assert!(head.missing(&["MyFeatures.VitalMessageOption"]).is_empty());
    // Names are case-sensitive.
    assert_eq!(head.get("from"), None);
    let mut out = Vec::new();
    head.write(&mut out);
    out.extend_from_slice(&EXAMPLE.as_bytes()[content..]);
    assert_eq!(out, EXAMPLE.as_bytes());
}

// RFC 3862 §3.4: the prefix does not matter, the namespace does; a default one can be declared.
#[test]
fn namespaces() {
    let space = "http://id.acme.widgets/wily-headers/";
    for text in [
        "NS: acme <http://id.acme.widgets/wily-headers/>\r\nacme.runner-trap: set\r\n\r\n\r\n",
        "NS: widget <http://id.acme.widgets/wily-headers/>\r\nwidget.runner-trap: set\r\n\r\n\r\n",
        "NS: <http://id.acme.widgets/wily-headers/>\r\nrunner-trap: set\r\n\r\n\r\n",
    ] {
        let (head, _) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(head.get_in(space, "runner-trap"), Some("set"), "{text}");
    }
    // A declaration must come before its use.
    let late = "acme.runner-trap: set\r\nNS: acme <http://id.acme.widgets/wily-headers/>\r\n\r\n\r\n";
    assert_eq!(parse(late.as_bytes()).unwrap().unwrap().0.get_in(space, "runner-trap"), None);
}

#[test]
fn a_head_in_pieces() {
    let end = EXAMPLE.find("<body>").unwrap();
    for cut in 0..end {
        assert_eq!(parse(&EXAMPLE.as_bytes()[..cut]).unwrap(), None, "{cut}");
    }
    assert!(parse(&EXAMPLE.as_bytes()[..end]).unwrap().is_some());
}

#[test]
fn folded_headers_of_the_content() {
    let text = "To: <a:b>\r\n\r\nContent-Type: text/plain;\r\n charset=utf-8\r\nX: y\r\n\r\nhi";
    let (head, at) = parse(text.as_bytes()).unwrap().unwrap();
    assert_eq!(head.content.len(), 2);
    assert_eq!(head.content_type(), "text/plain;\r\n charset=utf-8");
    let mut out = Vec::new();
    head.write(&mut out);
    assert_eq!(out, &text.as_bytes()[..at]);
}

#[test]
fn refused() {
    for (text, at) in [
        (&b"From:<im:a@b>\r\n"[..], 5),
        (b"From <im:a@b>\r\n", 4),
        (b" From: x\r\n", 0),
        (b"From: a\tb\r\n", 7),
        (b"From: x\n", 7),
        (b"From: \xff\r\n", 6),
        (b"Subject:;lang=\"fr x\r\n", 19),
        (b"\r\n folded: x\r\n", 2),
        (b"\r\nno colon\r\n", 4),
    ] {
        assert_eq!(parse(text).unwrap_err().at, at, "{}", text.escape_ascii());
    }
    let small = Limits { head: 20, headers: 2, ..Limits::default() };
    assert!(Head::parse(&[b'a'; 30], &small).is_err());
    assert!(Head::parse(b"A: 1\r\nB: 2\r\nC: 3\r\n", &small).is_err());
}

#[test]
fn what_we_write_can_be_read() {
    let from = Address { name: "A \"B\"\r\nEvil: x".into(), uri: "sip:a@b".into() };
    let mut head = Head::new(&from, &Address::of("sip:c@d"), "text/plain").unwrap();
    head.push("Subject", "a\\b\r\n\u{1}c").unwrap();
    assert!(ContentHeader::new("X", "a\r\nb").is_err());
    let mut out = Vec::new();
    head.write(&mut out);
    let (again, _) = parse(&out).unwrap().unwrap();
    assert_eq!(again, head);
    assert_eq!(again.headers.len(), 3);
    assert_eq!(unescape(again.get("Subject").unwrap()), "a\\b\r\n\u{1}c");
    assert_eq!(again.from().unwrap().name, "A 'B'\r\nEvil: x");
}

#[test]
fn escapes() {
    assert_eq!(unescape(r"a\\b\t\u0041\q\u12"), "a\\b\tAqu12");
    assert_eq!(unescape("end\\"), "end");
}

proptest! {
    #[test]
    fn prints_as_it_came(
        headers in proptest::collection::vec("[A-Z][a-zA-Z.-]{0,8}:(;lang=[a-z]{2})? [ -~]{0,20}", 0..6),
        content in proptest::collection::vec("[A-Z][a-zA-Z-]{0,8}:[ -~]{0,20}(\r\n [ -~]{0,9})?", 0..4),
    ) {
        let text = format!("{}\r\n{}\r\n", headers.iter().map(|h| format!("{h}\r\n")).collect::<String>(),
            content.iter().map(|h| format!("{h}\r\n")).collect::<String>());
        let (head, end) = parse(text.as_bytes()).unwrap().unwrap();
        let mut out = Vec::new();
        head.write(&mut out);
        prop_assert_eq!(String::from_utf8(out).unwrap(), text.clone());
        prop_assert_eq!(end, text.len());
    }

    #[test]
    fn escaping_is_undone(text in any::<String>()) {
        prop_assert_eq!(unescape(&escape(&text)), text.clone());
        prop_assert!(Header::new("Subject", &text).is_ok());
    }

    #[test]
    fn total(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = parse(&octets);
    }
}
