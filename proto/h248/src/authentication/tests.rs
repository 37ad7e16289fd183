//! The check values were computed with Python's `hmac`, over octets put together by hand.

use super::*;
use crate::text::{self, Form};

const HEADER: IpHeader =
    IpHeader { source: Ipv4Addr::new(192, 0, 2, 1), destination: Ipv4Addr::new(192, 0, 2, 2), port: 2944 };
/// The transactions that the check values are over, line ends included.
const TRANSACTION: &str =
    "Transaction = 1401 {\n  Context = - {\n    AuditValue = ROOT { Audit { } }\n  }\n}\n";
/// The same in BER.
const BINARY: &str = "a02380020579a11d301b800100a3163014a012a510a00ca0008108ffffffffffffffffa100";

fn key(length: u8) -> Key {
    Key::new(&(0..length).collect::<Vec<_>>()).unwrap()
}

fn with(algorithm: Algorithm, length: u8, required: bool) -> Authentication {
    let association = SecurityAssociation { algorithm, key: key(length), peer: None };
    Authentication::new(BTreeMap::from([(1, association)]), required, true, 42)
}

fn check(authentication: &mut Authentication, header: IpHeader, octets: &[u8]) -> Result<(), Refusal> {
    let limits = Limits::default();
    let message = encoding::parse(octets, &limits).unwrap();
    authentication.check(Instant::now(), Some(header), octets, &limits, &message)
}

fn signed(value: &str) -> Vec<u8> {
    // The white space before the first transaction is not among what is covered.
    format!("Authentication = 0x00000001:0x0000002A:0x{value}\nMEGACO/3 [192.0.2.1]:2944 \n\n{TRANSACTION}")
        .into_bytes()
}

#[test]
fn check_values_are_those_of_another_implementation() {
    let table = [
        (Algorithm::HmacMd5_96, 16, "E883652B5EE5328D7E603D41"),
        (Algorithm::HmacSha1_96, 20, "D55828E10962FA943EBAB274"),
        (Algorithm::HmacSha1_96, 20, "E11F4C97430F6D87BCC0EDD7"), // digits of the header in lower case
        (Algorithm::HmacSha256_128, 20, "41FBC7B03EFD20D5FAABBF491B8188CF"),
    ];
    for (algorithm, length, value) in table {
        assert_eq!(check(&mut with(algorithm, length, true), HEADER, &signed(value)), Ok(()), "{value}");
        for wrong in [
            IpHeader { source: [192, 0, 2, 9].into(), ..HEADER },
            IpHeader { destination: [192, 0, 2, 9].into(), ..HEADER },
            IpHeader { port: 2945, ..HEADER },
        ] {
            let refused = check(&mut with(algorithm, length, true), wrong, &signed(value));
            assert_eq!(refused, Err(Refusal::Wrong));
        }
        let altered = String::from_utf8(signed(value)).unwrap().replace("1401", "1402");
        assert_eq!(
            check(&mut with(algorithm, length, true), HEADER, altered.as_bytes()),
            Err(Refusal::Wrong)
        );
        let other_key = check(&mut with(algorithm, length + 1, true), HEADER, &signed(value));
        assert_eq!(other_key, Err(Refusal::Wrong));
    }
}

#[test]
fn binary_covers_the_contents_of_the_body() {
    let octets = text::parse(&signed("D55828E10962FA943EBAB274"), &Limits::default()).unwrap();
    let mut message = Message { auth: None, ..octets };
    let written = with(Algorithm::HmacSha1_96, 20, true);
    let mut written = Authentication { sequence: 42, ..written };
    let octets = written.print(Encoding::Binary, HEADER, None, &mut message).unwrap();
    let limits = Limits::default();
    let body = encoding::body(&octets, &limits).unwrap();
    assert_eq!(carnet_wire::hex::encode(body), BINARY);
    assert_eq!(carnet_wire::hex::encode(&message.auth.unwrap().data), VALUE);
    assert_eq!(check(&mut with(Algorithm::HmacSha1_96, 20, true), HEADER, &octets), Ok(()));
    // Lengths may be indefinite: the contents are the same.
    let long = [&[0x30, 0x80][..], &octets[2..], &[0, 0]].concat();
    assert_eq!(check(&mut with(Algorithm::HmacSha1_96, 20, true), HEADER, &long), Ok(()));
}

const VALUE: &str = "d346986a0fc74b0cdcf45c07";

#[test]
fn what_we_write_is_what_another_would_write() {
    let mut message = text::parse(&signed("D55828E10962FA943EBAB274"), &Limits::default()).unwrap();
    for (algorithm, form) in [
        (Algorithm::HmacMd5_96, Form::Long),
        (Algorithm::HmacSha1_96, Form::Short),
        (Algorithm::HmacSha256_128, Form::Long),
    ] {
        let mut sender = with(algorithm, 20, false);
        let mut receiver = with(algorithm, 20, true);
        for number in 42..45 {
            let octets = sender.print(Encoding::Text(form), HEADER, None, &mut message).unwrap();
            let header = message.auth.clone().unwrap();
            assert_eq!((header.spi, header.sequence, header.data.len()), (1, number, algorithm.length()));
            assert_eq!(check(&mut receiver, HEADER, &octets), Ok(()));
        }
    }
}

#[test]
fn what_was_there_is_not_taken_again() {
    let mut sender = with(Algorithm::HmacSha256_128, 32, true);
    let mut receiver = with(Algorithm::HmacSha256_128, 32, true);
    let mut message = text::parse(&signed("00000000000000000000000000000000"), &Limits::default()).unwrap();
    let first = sender.print(Encoding::Text(Form::Long), HEADER, None, &mut message).unwrap();
    let second = sender.print(Encoding::Text(Form::Long), HEADER, None, &mut message).unwrap();
    assert_eq!(check(&mut receiver, HEADER, &second), Ok(()));
    assert_eq!(check(&mut receiver, HEADER, &first), Ok(()), "datagrams may overtake");
    assert_eq!(check(&mut receiver, HEADER, &first), Err(Refusal::Replayed(42)));
    // Another number does not help: it is covered too.
    let renumbered = String::from_utf8(first.clone()).unwrap().replace("0000002A", "00000050");
    assert_eq!(check(&mut receiver, HEADER, renumbered.as_bytes()), Err(Refusal::Wrong));
    // A sender that was silent for long may have started again.
    let limits = Limits::default();
    let later = Instant::now() + SILENCE + Duration::from_secs(1);
    let parsed = encoding::parse(&first, &limits).unwrap();
    assert_eq!(receiver.check(later, Some(HEADER), &first, &limits, &parsed), Ok(()));
}

#[test]
fn a_key_speaks_for_whom_it_belongs_to() {
    let of = |spi: u32, name: &str, length| {
        let peer = Some(MId::domain(name.to_owned()));
        (spi, SecurityAssociation { algorithm: Algorithm::HmacSha1_96, key: key(length), peer })
    };
    let keys = || BTreeMap::from([of(1, "a", 20), of(2, "b", 21)]);
    let mut sender = Authentication::new(keys(), true, true, 1);
    let mut receiver = Authentication::new(keys(), true, true, 1);
    let parse = |name: &str| {
        let octets = format!("MEGACO/3 <{name}> {TRANSACTION}");
        text::parse(octets.as_bytes(), &Limits::default()).unwrap()
    };
    let print = |sender: &mut Authentication, key: &str, name: &str| {
        let to = MId::domain(key.to_owned());
        sender.print(Encoding::Text(Form::Long), HEADER, Some(&to), &mut parse(name)).unwrap()
    };
    let own = print(&mut sender, "b", "b");
    assert_eq!(check(&mut receiver, HEADER, &own), Ok(()));
    let foreign = print(&mut sender, "b", "a");
    assert_eq!(check(&mut receiver, HEADER, &foreign), Err(Refusal::NotTheirs));
    // What goes back goes with the key that came from there.
    let back = IpHeader { source: HEADER.destination, destination: HEADER.source, port: 4000 };
    let mut answer = parse("mgc");
    receiver.print(Encoding::Text(Form::Long), back, None, &mut answer).unwrap();
    assert_eq!(answer.auth.unwrap().spi, 2);
}

#[test]
fn without_a_header_only_where_it_is_not_required() {
    let plain = format!("MEGACO/3 [192.0.2.1]:2944 {TRANSACTION}");
    let mut strict = with(Algorithm::HmacSha1_96, 20, true);
    assert_eq!(check(&mut strict, HEADER, plain.as_bytes()), Err(Refusal::Missing));
    assert_eq!(Refusal::Missing.code(), 402);
    let mut lenient = with(Algorithm::HmacSha1_96, 20, false);
    assert_eq!(check(&mut lenient, HEADER, plain.as_bytes()), Ok(()));
    // But a wrong one never passes.
    let wrong = signed("000102030405060708090A0B");
    assert_eq!(check(&mut lenient, HEADER, &wrong), Err(Refusal::Wrong));
    let unknown = String::from_utf8(wrong).unwrap().replace("0x00000001:", "0x00000007:");
    assert_eq!(check(&mut lenient, HEADER, unknown.as_bytes()), Err(Refusal::UnknownIndex(7)));
    // RFC 3525 §10.2: there is none over IPv6.
    let limits = Limits::default();
    let message = encoding::parse(plain.as_bytes(), &limits).unwrap();
    let over_v6 = strict.check(Instant::now(), None, plain.as_bytes(), &limits, &message);
    assert_eq!(over_v6, Err(Refusal::Missing));
}

#[test]
fn keys_are_not_shown_and_not_short() {
    assert!(Key::new(&[7; 15]).is_none() && Key::new(&[7; 65]).is_none());
    let shown = format!("{:?}", with(Algorithm::HmacSha1_96, 20, true));
    assert!(!shown.contains("19") && shown.contains("Key"), "{shown}");
}

#[test]
fn senders_are_bounded() {
    let mut receiver = with(Algorithm::HmacSha1_96, 20, true);
    let mut sender = with(Algorithm::HmacSha1_96, 20, true);
    let mut message = text::parse(&signed("000102030405060708090A0B"), &Limits::default()).unwrap();
    for n in 0..u32::try_from(SENDERS).unwrap() + 10 {
        let header = IpHeader { source: Ipv4Addr::from(0x0a00_0000 + n), ..HEADER };
        let octets = sender.print(Encoding::Text(Form::Short), header, None, &mut message).unwrap();
        assert_eq!(check(&mut receiver, header, &octets), Ok(()));
    }
    assert_eq!(receiver.senders.len(), SENDERS);
}

#[test]
fn no_octets_panic() {
    let text = signed("D55828E10962FA943EBAB274");
    let mut message = text::parse(&text, &Limits::default()).unwrap();
    let binary = with(Algorithm::HmacSha1_96, 20, true).print(Encoding::Binary, HEADER, None, &mut message);
    let limits = Limits::default();
    for whole in [text, binary.unwrap()] {
        for end in 0..whole.len() {
            let mut part = whole.clone();
            let _ = encoding::body(&part[..end], &limits);
            part[end] ^= 0x55;
            let _ = encoding::body(&part, &limits);
            if let Ok(message) = encoding::parse(&part, &limits) {
                let mut receiver = with(Algorithm::HmacSha1_96, 20, true);
                let checked = receiver.check(Instant::now(), Some(HEADER), &part, &limits, &message);
                // The sender's name and the version are not covered; all else is, or names the key.
                let outside = message.auth.is_some() && checked.is_ok();
                let unaltered = encoding::body(&part, &limits) == encoding::body(&whole, &limits);
                assert!(!outside || unaltered, "octet {end}");
            }
        }
    }
}
