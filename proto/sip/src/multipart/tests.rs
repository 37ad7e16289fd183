use super::*;
use proptest::prelude::*;

const LIMITS: MultipartLimits = MultipartLimits { parts: 32, depth: 4 };

fn read(body: &str, content_type: &str) -> Result<Vec<Part>, Error> {
    parts(body.as_bytes(), content_type, &LIMITS)
}

fn types(body: &str, content_type: &str) -> Vec<String> {
    read(body, content_type).unwrap().iter().map(|p| p.media_type().to_owned()).collect()
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";

/// As an emergency call has it (RFC 6442): a description and a location.
fn located() -> String {
    format!(
        "preamble\r\n--b1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}\r\n\
         --b1 \t\r\nContent-Type: application/pidf+xml\r\nContent-ID: <loc@a>\r\n\r\n<presence/>\r\n--b1--\r\nepilogue",
        SDP.len()
    )
}

#[test]
fn a_part_is_found_and_replaced_and_nothing_else_is() {
    let body = located();
    let found = read(&body, "multipart/mixed; boundary=\"b1\"").unwrap();
    assert_eq!(
        found.iter().map(Part::media_type).collect::<Vec<_>>(),
        ["application/sdp", "application/pidf+xml"]
    );
    assert_eq!(&body[found[0].range()], SDP);
    assert_eq!(&body[found[1].range()], "<presence/>");
    assert_eq!(found[0].replace(body.as_bytes(), SDP.as_bytes()), body.as_bytes());
    let longer =
        format!("{SDP}a=more-than-a-hundred-octets-in-all-so-that-the-length-has-a-digit-more:123456\r\n");
    let expected = body
        .replace(SDP, &longer)
        .replace(&format!("Content-Length: {}", SDP.len()), &format!("Content-Length: {}", longer.len()));
    assert!(SDP.len() < 100 && longer.len() >= 100);
    assert_eq!(found[0].replace(body.as_bytes(), longer.as_bytes()), expected.as_bytes());
}

#[test]
fn parts_in_parts_and_their_lengths() {
    let inner =
        "--in\r\nContent-Length: 9\r\nc: application/sdp\r\n\r\n123456789\r\n--in\r\n\r\nplain\r\n--in--";
    let body = format!(
        "--out\r\nContent-Type: multipart/alternative;boundary=in\r\nContent-Length: {}\r\n\r\n{inner}\r\n--out--",
        inner.len()
    );
    assert_eq!(types(&body, "multipart/related;boundary=out"), ["application/sdp", "text/plain"]);
    let found = read(&body, "multipart/related;boundary=out").unwrap();
    let grown = String::from_utf8(found[0].replace(body.as_bytes(), b"0123456789").to_vec()).unwrap();
    // One octet of content, one digit of the inner length.
    assert!(grown.contains("Content-Length: 10\r\nc: application/sdp\r\n\r\n0123456789\r\n--in"), "{grown}");
    assert!(grown.contains(&format!("Content-Length: {}", inner.len() + 2)), "{grown}");
    assert_eq!(read(&grown, "multipart/related;boundary=out").unwrap().len(), 2, "still what it says it is");
}

#[test]
fn what_a_part_says_of_itself() {
    let one = |headers: &str| {
        let body = format!("--b\r\n{headers}\r\nx\r\n--b--");
        read(&body, "multipart/mixed;boundary=b").map(|p| p[0].clone())
    };
    assert_eq!(one("").unwrap().media_type(), "text/plain");
    let part = one(
        "CONTENT-TYPE: Application/SDP;charset=x\r\nContent-Disposition: Early-Session;handling=optional\r\n",
    )
    .unwrap();
    assert_eq!((part.media_type(), part.disposition()), ("application/sdp", Some("early-session")));
    assert!(!part.is_encoded() && !part.is_signed());
    assert_eq!(one("Content-Type:\r\n application/sdp\r\n").unwrap().media_type(), "application/sdp");
    for encoded in ["Content-Transfer-Encoding: base64", "Content-Encoding: gzip", "e: deflate"] {
        assert!(one(&format!("{encoded}\r\n")).unwrap().is_encoded(), "{encoded}");
    }
    for plain in ["Content-Transfer-Encoding: Binary", "Content-Encoding: identity"] {
        assert!(!one(&format!("{plain}\r\n")).unwrap().is_encoded(), "{plain}");
    }
    for bad in [
        "Content-Type: application/sdp\r\nc: text/plain\r\n",
        "Content-Type: application\r\n",
        "no colon\r\n",
        "Content-Length: 2\r\n",
        "Content-Length: x\r\n",
        "Content-Type: text/plain\nContent-Type: application/sdp\r\n",
        "X: a\rContent-Type: application/sdp\r\n",
    ] {
        assert!(one(bad).is_err(), "{bad:?}");
    }
    let signed = "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\nContent-Type: application/pkcs7-signature\r\n\r\n.\r\n--b--";
    assert!(read(signed, "multipart/signed;boundary=b").unwrap()[0].is_signed());
}

/// Bodies that readers would cut differently.
#[test]
fn hostile_boundaries() {
    let good = located();
    assert!(read(&good, "multipart/mixed;boundary=b1").is_ok());
    for (what, body) in [
        ("no last boundary", good.replace("--b1--", "")),
        ("LF alone before a boundary", good.replace("\r\n--b1 \t", "\n--b1 \t")),
        ("CR alone before a boundary", good.replace("\r\n--b1 \t", "\r--b1 \t")),
        ("LF alone behind a boundary", good.replace("--b1 \t\r\n", "--b1 \t\n")),
        ("the boundary begins a longer line", good.replace("<presence/>", "<x>\r\n--b1x\r\n</x>")),
        ("a boundary inside the description", good.replace("s=-\r\n", "s=-\n--b1\r\n\r\n")),
        (
            "one more part behind the last",
            format!("{good}\r\n--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b1--"),
        ),
        ("nothing between two", "--b1\r\n--b1--".into()),
        ("no part", "--b1--".into()),
        ("a part without an empty line", "--b1\r\nContent-Type: application/sdp\r\n\r\n--b1--".into()),
        ("empty", String::new()),
    ] {
        assert!(matches!(read(&body, "multipart/mixed;boundary=b1"), Err(Error::Malformed { .. })), "{what}");
    }
    for content_type in [
        "multipart/mixed",
        "multipart/mixed;boundary=",
        "multipart/mixed;boundary=b1;boundary=b2",
        "multipart/mixed;boundary=\"b1 \"",
        "multipart/mixed;boundary=\"b1\\\r\n\"",
        "multipart;boundary=b1",
    ] {
        assert!(read(&good, content_type).is_err(), "{content_type}");
    }
    let long = "b".repeat(71);
    assert!(read(&good.replace("b1", &long), &format!("multipart/mixed;boundary={long}")).is_err());
    // A boundary in the middle of a line is none.
    assert_eq!(types(&good.replace("<presence/>", "a --b1"), "multipart/mixed;boundary=b1").len(), 2);
}

#[test]
fn bounds() {
    let many = |n: usize| format!("{}--b--", "--b\r\n\r\nx\r\n".repeat(n));
    assert_eq!(types(&many(32), "multipart/mixed;boundary=b").len(), 32);
    assert!(matches!(read(&many(33), "multipart/mixed;boundary=b"), Err(Error::TooLarge { .. })));
    let mut deep = "x".to_owned();
    let mut kind = "text/plain".to_owned();
    for level in 0..5 {
        if level == 4 {
            assert_eq!(types(&deep, &kind).len(), 1);
        }
        deep = format!("--l{level}\r\nContent-Type: {kind}\r\n\r\n{deep}\r\n--l{level}--");
        kind = format!("multipart/mixed;boundary=l{level}");
    }
    assert!(matches!(read(&deep, &kind), Err(Error::TooLarge { .. })));
}

proptest! {
    /// Whatever comes, a part put back as it is changes no octet, and another content leaves the
    /// other parts as they are.
    #[test]
    fn replacing_touches_one_part(
        contents in prop::collection::vec("[a-z=\r\n -]{0,40}", 1..5),
        lengths in prop::collection::vec(any::<bool>(), 5),
        which in 0usize..5,
        new in "[a-z0-9\r\n]{0,120}",
    ) {
        let mut body = String::from("pre");
        for (content, length) in contents.iter().zip(&lengths) {
            let length = if *length { format!("Content-Length: {}\r\n", content.len()) } else { String::new() };
            body.push_str(&format!("\r\n--XyZ\r\nX-A: b\r\n{length}\r\n{content}"));
        }
        body.push_str("\r\n--XyZ--\r\npost");
        let found = read(&body, "multipart/mixed;boundary=XyZ").unwrap();
        prop_assert_eq!(found.len(), contents.len());
        let which = which % found.len();
        prop_assert_eq!(&found[which].replace(body.as_bytes(), body[found[which].range()].as_bytes()), body.as_bytes());
        let edited = String::from_utf8(found[which].replace(body.as_bytes(), new.as_bytes()).to_vec()).unwrap();
        let again = read(&edited, "multipart/mixed;boundary=XyZ").unwrap();
        for (n, part) in again.iter().enumerate() {
            let expected = if n == which { &new } else { &contents[n] };
            prop_assert_eq!(&edited[part.range()], expected.as_str());
        }
    }

    #[test]
    fn any_octets(body in prop::collection::vec(prop::sample::select(&b"-b\r\n \tc:/;="[..]), 0..80)) {
        if let Ok(found) = parts(&body, "multipart/mixed;boundary=b", &LIMITS) {
            for part in &found {
                prop_assert_eq!(&part.replace(&body, &body[part.range()])[..], &body[..]);
            }
        }
    }
}
