//! Round trips, views, edits, bad input.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

const OFFER: &str = "v=0\r\n\
o=alice 2890844526 2890844526 IN IP4 198.51.100.20\r\n\
s= \r\n\
c=IN IP4 198.51.100.20\r\n\
t=0 0\r\n\
a=key-mgmt:mikey AQUFgwdV\r\n\
m=message 7654 TCP/TLS/MSRP *\r\n\
i=chat\r\n\
a=accept-types:message/cpim text/plain\r\n\
a=path:msrps://198.51.100.20:7654/jshA7weztas;tcp\r\n\
a=setup:actpass\r\n\
a=msrp-cema\r\n\
a=x-unknown:  spaced   out \r\n\
m=audio 49170/2  RTP/AVP 0 96\r\n\
c=IN IP6 2001:db8::7\r\n\
a=fingerprint:SHA-256 AB:CD\r\n\
m=application 0 TCP/TLS/BFCP *\r\n";

fn parse(text: &str) -> Document {
    Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

fn refuse(text: &str) -> Error {
    Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap_err()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The lines of `after` that are not in `before`.
fn changed(before: &str, after: &Document) -> Vec<String> {
    let after = String::from_utf8(after.to_bytes().to_vec()).unwrap();
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    after.split_inclusive('\n').filter(|l| !old.contains(l)).map(|l| l.trim_end().to_owned()).collect()
}

#[test]
fn views_read_what_is_there() {
    let doc = parse(OFFER);
    let origin = doc.origin().unwrap();
    assert_eq!((origin.username, origin.session_id, origin.version), ("alice", "2890844526", "2890844526"));
    assert_eq!(origin.host.ip(), Some(ip("198.51.100.20")));
    let m = doc.media_at(0).unwrap();
    assert_eq!(
        (m.media(), m.port(), m.proto(), m.formats()),
        ("message", Some(7654), "TCP/TLS/MSRP", &["*".to_owned()][..])
    );
    assert_eq!(m.address(), Some(addr("198.51.100.20:7654")));
    assert_eq!(m.setup(), Some(Setup::ActPass));
    assert_eq!(m.path(), Some("msrps://198.51.100.20:7654/jshA7weztas;tcp"));
    assert!(m.msrp_cema());
    assert_eq!(m.key_mgmt(), [KeyMgmt { protocol: "mikey", data: "AQUFgwdV" }], "from the session");
    assert_eq!(m.accept_types().collect::<Vec<_>>(), ["message/cpim", "text/plain"]);
    assert_eq!(m.class(), Class::E2eTls);
    let audio = doc.media_at(1).unwrap();
    assert_eq!((audio.port(), audio.line().count, audio.class()), (Some(49170), 2, Class::Plain));
    assert_eq!(audio.address(), Some(addr("[2001:db8::7]:49170")));
    assert_eq!(audio.fingerprint(), Some(Fingerprint { hash: "SHA-256", value: "AB:CD" }));
    assert_eq!(doc.media_at(2).unwrap().class(), Class::Rejected);
    assert_eq!(doc.media().len(), 3);
    assert_eq!(doc.endings(), Endings { crlf: 17, lf: 0 });
}

#[test]
fn e2ae_is_not_end_to_end() {
    let with =
        |a: &str| parse(&format!("v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nm=message 9 TCP/TLS/MSRP *\n{a}"));
    assert_eq!(with("a=3ge2ae:requested\n").media_at(0).unwrap().class(), Class::Other);
    assert_eq!(with("a=3ge2ae:applied\n").media_at(0).unwrap().class(), Class::E2eTls);
    // Whatever the case, twice, with another value or none.
    for (lines, meant) in [
        ("a=3ge2ae:Requested\n", E2ae::Requested),
        ("a=3ge2ae:applied\na=3ge2ae:requested\n", E2ae::Requested),
        ("a=3ge2ae:demanded\n", E2ae::Other),
        ("a=3ge2ae\n", E2ae::Other),
    ] {
        let document = with(lines);
        let line = document.media_at(0).unwrap();
        assert_eq!((line.e2ae(), line.class()), (Some(meant), Class::Other), "{lines}");
    }
    // For the whole session.
    let session = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\na=3ge2ae:requested\nm=message 9 TCP/TLS/MSRP *\n";
    let document = parse(&format!("{session}a=3ge2ae:applied\n"));
    let line = document.media_at(0).unwrap();
    assert_eq!((line.e2ae(), line.class()), (Some(E2ae::Requested), Class::Other));
    assert_eq!(with("").endings(), Endings { crlf: 0, lf: 4 });
}

#[test]
fn relocation_touches_only_address_lines() {
    let mut doc = parse(OFFER);
    doc.relocate(&[(0, addr("203.0.113.10:30000"))]).unwrap();
    assert_eq!(changed(OFFER, &doc), ["c=IN IP4 203.0.113.10", "m=message 30000 TCP/TLS/MSRP *"]);
    assert_eq!(doc.connection().unwrap().host.ip(), Some(ip("203.0.113.10")), "all inheritors move");
    doc.set_origin_address(ip("2001:db8::1"));
    assert_eq!(changed(OFFER, &doc)[0], "o=alice 2890844526 2890844526 IN IP6 2001:db8::1");
}

#[test]
fn relocation_of_one_of_two_inheritors_inserts_a_line_of_its_own() {
    let text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message 1 TCP/TLS/MSRP *\r\ni=x\r\na=setup:active\r\nm=audio 2 RTP/AVP 0\r\n";
    let mut doc = parse(text);
    doc.relocate(&[(0, addr("203.0.113.10:30000"))]).unwrap();
    let out = String::from_utf8(doc.to_bytes().to_vec()).unwrap();
    assert!(
        out.contains("\r\nm=message 30000 TCP/TLS/MSRP *\r\ni=x\r\nc=IN IP4 203.0.113.10\r\na=setup"),
        "{out}"
    );
    assert_eq!(doc.media_at(1).unwrap().address(), Some(addr("192.0.2.1:2")));
    let mut both = parse(text);
    both.relocate(&[(0, addr("203.0.113.10:30000")), (1, addr("203.0.113.11:30002"))]).unwrap();
    let out = String::from_utf8(both.to_bytes().to_vec()).unwrap();
    assert_eq!(out.matches("192.0.2.1").count(), 1, "only o= keeps the old address\n{out}");
    assert_eq!(both.media_at(0).unwrap().address(), Some(addr("203.0.113.10:30000")));
    assert_eq!(both.media_at(1).unwrap().address(), Some(addr("203.0.113.11:30002")));
}

#[test]
fn edits_without_a_final_line_end_keep_it_that_way() {
    let mut doc = parse("v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nm=message 1 TCP/TLS/MSRP *");
    doc.set_connection(0, ip("2001:db8::1")).unwrap();
    doc.insert_attribute(0, "setup", Some(b"active")).unwrap();
    let out = String::from_utf8(doc.to_bytes().to_vec()).unwrap();
    assert!(out.ends_with("MSRP *\r\nc=IN IP6 2001:db8::1\r\na=setup:active"), "{out:?}");
    doc.remove_attribute(0, "setup").unwrap();
    assert!(String::from_utf8(doc.to_bytes().to_vec()).unwrap().ends_with("c=IN IP6 2001:db8::1"));
}

#[test]
fn nothing_can_be_smuggled_in() {
    let mut doc = parse(OFFER);
    for value in ["x\r\na=evil", "x\ny", "x\ry", "x\0y"] {
        assert!(matches!(doc.set_attribute(0, "path", Some(value.as_bytes())), Err(Error::Unwritable(_))));
    }
    for name in ["a b", "", "x:y", "x\r\nb", "é"] {
        assert!(doc.insert_attribute(0, name, None).is_err(), "{name:?}");
    }
    assert_eq!(doc.to_bytes(), OFFER.as_bytes());
    let build = |m: MediaBuilder| SessionBuilder::new(1, 1, ip("192.0.2.1")).media(m).build();
    assert!(build(MediaBuilder::new("message\r\na=x", 1, "TCP/MSRP", "*")).is_err());
    assert!(build(MediaBuilder::new("message", 1, "TCP/MSRP", "* *")).is_err());
    assert!(build(MediaBuilder::new("message", 1, "TCP/MSRP", "*").attribute("path", "a\nb")).is_err());
    assert!(SessionBuilder::new(1, 1, ip("192.0.2.1")).username("a b").build().is_err());
}

#[test]
fn builder_makes_an_offer_and_a_refusal() {
    let offer = SessionBuilder::new(7, 8, ip("192.0.2.1"))
        .username("alice")
        .attribute("key-mgmt", "mikey AAAA")
        .media(
            MediaBuilder::new("message", 2855, "TCP/TLS/MSRP", "*")
                .setup(Setup::ActPass)
                .flag("msrp-cema")
                .connection(ip("2001:db8::5")),
        )
        .build()
        .unwrap();
    let m = offer.media_at(0).unwrap();
    assert_eq!(m.address(), Some(addr("[2001:db8::5]:2855")));
    assert!(m.msrp_cema() && m.setup() == Some(Setup::ActPass) && m.key_mgmt().len() == 1);
    let refusal =
        SessionBuilder::new(1, 1, ip("192.0.2.2")).media(MediaBuilder::rejecting(&m)).build().unwrap();
    assert_eq!(refusal.media_at(0).unwrap().class(), Class::Rejected);
    assert!(sdp_types::Session::parse(&offer.to_bytes()).is_ok());
    let mut next = offer.clone();
    next.increment_version();
    assert_eq!(next.origin().unwrap().version, "9");
}

#[test]
fn user_name_version_and_session_name_are_written_over() {
    let line = MediaBuilder::new("message", 2855, "TCP/MSRP", "*");
    let offer = SessionBuilder::new(7, 8, ip("192.0.2.1")).media(line).build().unwrap();
    let mut other = offer.clone();
    other.set_origin_username("bob");
    other.set_origin_version(u64::MAX);
    other.set_session_name(b"a talk");
    let text = String::from_utf8(other.to_bytes().to_vec()).unwrap();
    assert!(text.contains("o=bob 7 18446744073709551615 IN IP4 192.0.2.1\r\ns=a talk\r\n"), "{text}");
    assert_eq!(other.session_name(), Some(&b"a talk"[..]));
    // What would be more than the one field is not written.
    for bad in ["", "a b", "a\r\nb=AS:1"] {
        other.set_origin_username(bad);
    }
    other.set_session_name(b"x\r\na=evil");
    assert_eq!(String::from_utf8(other.to_bytes().to_vec()).unwrap(), text);
}

#[test]
fn the_tls_role_from_the_key_exchange_is_announced_by_a_line_and_one_word() {
    let said = |line: MediaBuilder| {
        let document = SessionBuilder::new(1, 1, ip("192.0.2.1")).media(line).build().unwrap();
        document.media_at(0).unwrap().tls_role_by_mikey()
    };
    let line = || MediaBuilder::new("message", 9, "TCP/TLS/MSRP", "*");
    assert!(said(line().tls_role_by_mikey()));
    assert!(said(line().attribute(TLS_ROLE, "MIKEY")));
    assert!(!said(line()));
    assert!(!said(line().flag(TLS_ROLE)));
    assert!(!said(line().attribute(TLS_ROLE, "mikey other")));
    // It is a statement about one line: one of the session says nothing.
    let session = SessionBuilder::new(1, 1, ip("192.0.2.1")).attribute(TLS_ROLE, "mikey").media(line());
    assert!(!session.build().unwrap().media_at(0).unwrap().tls_role_by_mikey());
}

#[test]
fn malformed_input_is_refused_where_it_is_wrong() {
    let cases: &[(&str, usize)] = &[
        ("", 0),
        ("v=1\r\n", 2),
        ("o=- 1 1 IN IP4 h\r\nv=0\r\n", 0),
        ("v=0\r\ns=-\r\n", 5),
        ("v=0\r\no=- 1 1 IN IP4\r\n", 19),
        ("v=0\r\no=- 1 1 IN IP4  h more\r\n", 23),
        ("v=0\r\no=- 1 1 IN IP4 h\r\nm=audio x RTP/AVP 0\r\n", 31),
        ("v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 65536 RTP/AVP 0\r\n", 31),
        ("v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 1 RTP/AVP\r\n", 40),
        ("v=0\r\no=- 1 1 IN IP4 h\r\n\r\na=x\r\n", 23),
        ("v=0\r\no=- 1 1 IN IP4 h\r\n =x\r\n", 23),
        ("v=0\r\no=- 1 1 IN IP4 h\r\nab\r\n", 24),
        ("v=0\r\no=- 1 1 IN IP4 h\r\na=x\ry\r\n", 26),
    ];
    for (text, at) in cases {
        let error = refuse(text);
        assert_eq!(error.at(), *at, "{text:?}: {error}");
    }
    let many = format!("v=0\no=- 1 1 IN IP4 h\n{}", "m=audio 1 RTP/AVP 0\n".repeat(65));
    assert!(matches!(refuse(&many), Error::Limit { what: "media lines", max: 64, .. }));
    assert!(matches!(refuse(&"v=0\n".repeat(2001)), Error::Limit { what: "lines", .. }));
    assert!(matches!(refuse(&"v".repeat(65537)), Error::Limit { what: "octets", .. }));
}

#[test]
fn h248_fragments_have_dollars() {
    let text = Bytes::from_static(b"v=0\nc=IN IP4 $\nm=- $ TCP/TLS -\na=setup:passive\n");
    let mut doc = Document::parse_fragment(text, &Limits::default()).unwrap();
    let m = doc.media_at(0).unwrap();
    assert_eq!((m.port(), m.media(), m.proto()), (None, "-", "TCP/TLS"));
    assert_eq!(m.connection().unwrap().host, Host::Name("$".into()));
    doc.relocate(&[(0, addr("203.0.113.1:30000"))]).unwrap();
    assert_eq!(doc.to_bytes(), &b"v=0\nc=IN IP4 203.0.113.1\nm=- 30000 TCP/TLS -\na=setup:passive\n"[..]);
}

#[test]
fn a_file_that_is_refused_is_named() {
    let text = Bytes::from_static(
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=message 7654 TCP/MSRP *\r\na=sendonly\r\n\
          a=file-selector:name:\"a b\" size:7\r\na=file-transfer-id:vBnG\r\na=file-range:1-7\r\n",
    );
    let offer = Document::parse(text, &Limits::default()).unwrap();
    let refusal = MediaBuilder::rejecting(&offer.media_at(0).unwrap());
    let answer = SessionBuilder::new(1, 1, [192, 0, 2, 2].into()).media(refusal).build().unwrap();
    let answer = String::from_utf8(answer.to_bytes().to_vec()).unwrap();
    let line = "m=message 0 TCP/MSRP *\r\na=file-selector:name:\"a b\" size:7\r\na=file-transfer-id:vBnG\r\n";
    assert!(answer.ends_with(line), "{answer}");
}

#[test]
fn the_direction_of_the_line_goes_before_that_of_the_session() {
    for (session, line, expected) in [
        ("", "", Direction::SendRecv),
        ("a=recvonly\r\n", "", Direction::RecvOnly),
        ("a=recvonly\r\n", "a=sendonly\r\n", Direction::SendOnly),
        ("a=inactive\r\n", "a=sendrecv\r\n", Direction::SendRecv),
    ] {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{session}m=message 7654 TCP/MSRP *\r\n{line}"
        );
        let document = Document::parse(Bytes::from(text), &Limits::default()).unwrap();
        assert_eq!(document.media_at(0).unwrap().direction(), expected, "{session}{line}");
    }
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>().prop_filter("line end", |b| !matches!(b, b'\r' | b'\n' | 0)), 0..40)
}

prop_compose! {
    fn any_line()(kind in "[a-ln-z]", value in any_value(), crlf in any::<bool>()) -> Vec<u8> {
        let mut line = kind.into_bytes();
        line.push(b'=');
        line.extend(value);
        line.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
        line
    }
}

prop_compose! {
    fn any_document()(session in prop::collection::vec(any_line(), 0..8), media in prop::collection::vec(
        (0u16.., "[!-~]{1,8}", prop::collection::vec(any_line(), 0..5)), 0..4)) -> Vec<u8> {
        let mut out = b"v=0\r\no=- 1 1 IN IP4 h\r\n".to_vec();
        out.extend(session.concat());
        for (port, proto, lines) in media {
            out.extend(format!("m=message {port}  {proto} *\r\n").into_bytes());
            out.extend(lines.concat());
        }
        out
    }
}

proptest! {
    #[test]
    fn unedited_prints_octet_for_octet(octets in any_document()) {
        let doc = Document::parse(octets.clone().into(), &Limits::default()).unwrap();
        prop_assert_eq!(doc.to_bytes(), octets);
    }

    #[test]
    fn parser_is_total(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(doc) = Document::parse_fragment(octets.clone().into(), &Limits::default()) {
            prop_assert_eq!(doc.to_bytes(), octets);
            for m in doc.media() {
                let _ = (m.class(), m.key_mgmt(), m.address(), m.fingerprint());
            }
        }
    }

    #[test]
    fn an_edit_leaves_all_other_lines(octets in any_document(), port in 0u16.., index in 0usize..4) {
        let mut doc = Document::parse(octets.clone().into(), &Limits::default()).unwrap();
        if doc.set_port(index, port).is_ok() {
            let after = doc.to_bytes();
            let (old, new): (Vec<_>, Vec<_>) = (
                octets.split(|b| *b == b'\n').collect(), after.split(|b| *b == b'\n').collect());
            prop_assert_eq!(old.len(), new.len());
            prop_assert!(old.iter().zip(&new).filter(|(a, b)| a != b).count() <= 1);
            prop_assert_eq!(doc.media_at(index).unwrap().port(), Some(port));
            prop_assert!(Document::parse(after, &Limits::default()).is_ok());
        }
    }

    /// What we build, an independent parser reads the same.
    #[test]
    fn an_independent_parser_agrees(port in 0u16.., value in "[ -~]{0,30}") {
        let doc = SessionBuilder::new(1, 2, ip("192.0.2.1"))
            .media(MediaBuilder::new("message", port, "TCP/TLS/MSRP", "*").attribute("x", &value))
            .build().unwrap();
        let other = sdp_types::Session::parse(&doc.to_bytes()).unwrap();
        prop_assert_eq!(other.medias[0].port, port);
        prop_assert_eq!(&other.medias[0].proto, "TCP/TLS/MSRP");
        prop_assert_eq!(other.medias[0].attributes[0].value.as_deref().unwrap_or(""), &value);
        let ours = doc.media_at(0).unwrap();
        prop_assert_eq!(ours.attribute("x").unwrap().value, Some(value.as_bytes()));
    }
}

#[test]
fn an_independent_parser_reads_the_offer_the_same() {
    // The oracle takes one space between fields, as the grammar says.
    let other = sdp_types::Session::parse(OFFER.replace("  RTP", " RTP").as_bytes()).unwrap();
    let doc = parse(OFFER);
    for (ours, theirs) in doc.media().zip(&other.medias) {
        assert_eq!((ours.media(), ours.proto()), (&*theirs.media, &*theirs.proto));
        assert_eq!((ours.port(), ours.attributes().count()), (Some(theirs.port), theirs.attributes.len()));
    }
    assert_eq!(other.medias.len(), doc.media().len());
}

#[test]
fn a_transport_is_changed_in_its_place() {
    let mut doc = parse(OFFER);
    doc.set_proto(0, "TCP/MSRP").unwrap();
    doc.set_proto(1, "RTP/SAVP").unwrap();
    doc.set_port(0, 9).unwrap();
    assert_eq!(changed(OFFER, &doc), ["m=message 9 TCP/MSRP *", "m=audio 49170/2  RTP/SAVP 0 96"]);
    assert_eq!(doc.media_at(0).unwrap().proto(), "TCP/MSRP");
    for bad in ["", "TCP /MSRP", "TCP\r\na=x", "\u{e4}"] {
        assert!(doc.set_proto(0, bad).is_err(), "{bad:?}");
    }
    assert!(doc.set_proto(7, "TCP").is_err());
    assert_eq!(doc.media_at(0).unwrap().proto(), "TCP/MSRP");
}

#[test]
fn bandwidth_and_the_agreed_tls_role() {
    let with = |media: &str| {
        parse(&format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nb=AS:64\r\nt=0 0\r\nm=message 1 TCP *\r\n{media}"
        ))
    };
    let bandwidth = |media: &str| with(media).media_at(0).unwrap().bandwidth();
    assert_eq!(bandwidth(""), Some(64_000));
    assert_eq!(bandwidth("b=AS:100\r\n"), Some(100_000));
    assert_eq!(bandwidth("b=AS:100\r\nb=TIAS:90000\r\n"), Some(90_000));
    assert_eq!(bandwidth("b=RR:100\r\nb=AS:many\r\n"), Some(64_000));
    assert_eq!(bandwidth("b=AS:18446744073709551615\r\n"), Some(u64::MAX));
    assert!(with("a=x-carnet-tlsrole:mikey\r\n").media_at(0).unwrap().tls_role_by_mikey());
    for other in ["", "a=x-carnet-tlsrole\r\n", "a=x-carnet-tlsrole:setup\r\n"] {
        assert!(!with(other).media_at(0).unwrap().tls_role_by_mikey(), "{other}");
    }
}

/// RTP lines go to somebody else and come back with other addresses.
#[test]
fn some_media_lines_are_taken_from_another_description() {
    let whole = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=message 2855 TCP/MSRP *\r\na=setup:active\r\nm=audio 7000 RTP/AVP 0\r\na=sendrecv\r\n";
    let doc = parse(whole);
    let part = doc.only(&[1, 7]);
    assert_eq!(part.media().len(), 1);
    assert!(
        String::from_utf8_lossy(&part.to_bytes())
            .ends_with("t=0 0\r\nm=audio 7000 RTP/AVP 0\r\na=sendrecv\r\n")
    );
    // As it comes back: the address in the session section, and no end of the last line.
    let other = parse(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nt=0 0\r\n\
        m=audio 30000 RTP/AVP 0\r\na=rtcp:30001",
    );
    let mut taken = doc.clone();
    taken.take_media(1, &other, 0).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&taken.to_bytes()),
        whole.replace(
            "m=audio 7000 RTP/AVP 0\r\na=sendrecv",
            "m=audio 30000 RTP/AVP 0\r\nc=IN IP4 203.0.113.5\r\na=rtcp:30001"
        )
    );
    assert_eq!(taken.media_at(1).unwrap().port(), Some(30000));
    assert!(taken.take_media(1, &other, 1).is_err() && taken.take_media(2, &other, 0).is_err());
}
