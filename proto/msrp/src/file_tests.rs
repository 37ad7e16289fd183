//! The examples of RFC 5547, names that attack, and what a receiver checks.

use super::*;
use proptest::prelude::*;

/// RFC 5547 §6, figure 2, the selector on one line as the note under it says.
const SELECTOR: &str = "name:\"My cool picture.jpg\" type:image/jpeg size:32349 \
    hash:sha-1:72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E";

#[test]
fn the_example() {
    let attributes = [
        ("sendonly", ""),
        ("accept-types", "message/cpim"),
        ("file-selector", SELECTOR),
        ("file-transfer-id", "vBnG916bdberum2fFEABR1FR3ExZMUrd"),
        ("file-disposition", "attachment"),
        ("file-date", "creation:\"Mon, 15 May 2006 15:01:31 +0300\""),
        ("file-icon", "cid:id2@alicepc.example.com"),
        ("file-range", "1-32349"),
    ];
    let d = Description::read(attributes).unwrap();
    let s = d.selector.as_ref().unwrap();
    assert_eq!(
        (s.name(), s.media_type(), s.size()),
        (Some("My cool picture.jpg"), Some("image/jpeg"), Some(32349))
    );
    assert_eq!(s.hash().unwrap().to_string(), "72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E");
    assert_eq!(d.range, Some(Range { start: 1, end: Some(32349) }));
    assert_eq!(d.message_size(), Some(32349));
    let written: Vec<_> = d.attributes();
    let expected: Vec<_> = attributes[2..].iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
    assert_eq!(written, expected);
    assert!(!d.is_new_after(&d.answer()));
    assert_eq!(d.answer().transfer_id, d.transfer_id);
    assert!(Description { transfer_id: Some("other".into()), ..d.clone() }.is_new_after(&d));
}

// RFC 5547 §8.3.1: pulling a file by hash, by size and type.
#[test]
fn selecting() {
    let hash = Hash([7; 20]);
    let s = Selector::parse(&format!("hash:sha-1:{hash}")).unwrap();
    assert!(s.selects("a", "text/plain", 1, Some(hash)));
    assert!(!s.selects("a", "text/plain", 1, None));
    let s = Selector::parse("type:image/jpeg;p=\"x y\" size:4092").unwrap();
    assert!(s.selects("b", "IMAGE/JPEG", 4092, None));
    assert!(!s.selects("b", "image/png", 4092, None) && !s.selects("b", "image/jpeg", 4093, None));
}

#[test]
fn what_is_not_known_is_left_out() {
    let s = Selector::new(None, None, Some(7), None).unwrap();
    assert_eq!((s.to_string().as_str(), s.name(), s.size()), ("size:7", None, Some(7)));
    assert!(Selector::new(None, None, None, None).is_err());
    assert!(Selector::new(None, Some("no type"), None, None).is_err());
    let odd = Selector::new(Some("a\"b%\r\n/c"), None, None, None).unwrap();
    assert_eq!(odd.to_string(), "name:\"a%22b%25%0D%0A%2Fc\"");
    assert_eq!(odd.name(), Some("a\"b%\r\n/c"));
}

#[test]
fn extensions_are_passed_over() {
    let text = "colour:\"deep blue\" hash:sha-256:AA:BB name:\"a\"";
    let s = Selector::parse(text).unwrap();
    assert_eq!((s.name(), s.hash()), (Some("a"), None));
    assert_eq!(s.to_string(), text);
    assert_eq!(Description::read([("file-selector", "")]).unwrap().selector, None);
}

#[test]
fn refused() {
    for bad in [
        "",
        " ",
        "name:a",
        "name:\"a",
        "name:\"\"",
        "name:\"a%2\"",
        "name:\"a%zz\"",
        "size:",
        "size:x",
        "type:image",
        "type:/x",
        "hash:sha-1:72:24",
        "size:1  size:2",
        "size:1 ",
        "name:\"a\"x",
    ] {
        assert!(Selector::parse(bad).is_err(), "{bad}");
    }
    for bad in ["", "0-1", "2-1", "1-", "-5", "1-5x", "*-5"] {
        assert!(Range::parse(bad).is_err(), "{bad}");
    }
    let error = Description::read([("file-range", "0-1")]).unwrap_err();
    assert_eq!(error.0, "file-range");
}

#[test]
fn resuming() {
    let range = Range::rest(1000, Some(32349));
    assert_eq!((range.to_string(), range.len(None)), ("1001-32349".into(), Some(31349)));
    assert_eq!(Range::rest(5, None).to_string(), "6-*");
    assert_eq!(Range { start: 6, end: None }.len(Some(10)), Some(5));
    assert_eq!(Range { start: 6, end: None }.len(None), None);
    assert_eq!(Range::rest(10, Some(10)).len(Some(10)), Some(0));
}

#[test]
fn the_hash_is_checked() {
    // FIPS 180: SHA-1 of "abc".
    let hash = Hash::parse(b"A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D").unwrap();
    let verdict = |parts: &[(u64, &[u8])]| {
        let mut v = Verifier::default();
        parts.iter().for_each(|(at, data)| v.update(*at, data));
        v.finish(Some(3), Some(hash))
    };
    assert_eq!(verdict(&[(0, b"ab"), (2, b"c")]), Verdict::Whole);
    assert_eq!(verdict(&[(0, b"abd")]), Verdict::WrongHash);
    assert_eq!(verdict(&[(0, b"ab")]), Verdict::WrongSize);
    assert_eq!(verdict(&[(2, b"c"), (0, b"ab")]), Verdict::ReadAgain);
}

#[test]
fn names_are_made_safe() {
    for (name, safe) in [
        ("picture.jpg", "picture.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\system32\\x.dll", "x.dll"),
        ("..", "file"),
        ("", "file"),
        (".bashrc", "bashrc"),
        ("a\0b\nc", "a_b_c"),
        ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
        ("naïve résumé.txt", "naïve résumé.txt"),
    ] {
        assert_eq!(local_name(name), safe);
    }
    let long = format!("{}.tar.gz", "é".repeat(300));
    let safe = local_name(&long);
    assert!(safe.len() <= 200 && safe.ends_with(".gz"), "{safe}");
}

proptest! {
    #[test]
    fn a_name_comes_back(name in "[^\u{0}]{1,40}") {
        let s = Selector::new(Some(&name), Some("a/b"), Some(1), None).unwrap();
        prop_assert_eq!(s.name(), Some(name.as_str()));
        prop_assert_eq!(Selector::parse(&s.to_string()).unwrap(), s);
    }

    #[test]
    fn safe_names_stay_inside(name in any::<String>()) {
        let safe = local_name(&name);
        prop_assert!(!safe.is_empty() && safe.len() <= 200 && !safe.contains(['/', '\\', '\0']) && !safe.starts_with('.'));
    }

    #[test]
    fn total(text in "[ -~é]{0,60}") {
        let _ = Selector::parse(&text);
        let _ = Range::parse(&text);
    }
}
