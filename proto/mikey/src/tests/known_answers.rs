//! Answers that were not computed by this code: the PRF and KEMAC values were worked out twice
//! elsewhere from the definitions, the keystreams are those of RFC 3711 and RFC 6188, the messages
//! those of RFC 4567 §5.1 and of GStreamer's tests.

use crate::payload::{Flags, KeyData, Payload, TicketPolicy, parse_keys, print_keys};
use crate::prf::{Constant, Prf, Purpose, label};
use crate::registry::{data_type, key_type};
use crate::writer::Writer;
use crate::*;
use carnet_wire::hex;

fn octets(text: &str) -> Vec<u8> {
    hex::decode(text.as_bytes()).unwrap()
}

fn counting(from: u8, len: u8) -> Vec<u8> {
    (from..from + len).collect()
}

#[test]
fn prf() {
    let rand = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";
    let cases: &[(Prf, u8, String, usize, &str)] = &[
        (Prf::Mikey1, 16, format!("2ad01c6401cafef00d{rand}"), 16, "b6135044e4e7de8ef7e75a5f68de6a91"),
        (
            Prf::Mikey1,
            32,
            format!("2ad01c6402cafef00d{rand}"),
            32,
            "e11d9d6682730870e9d875acab9142d8b4255463ef5227eb6cdb5ff2e1377d91",
        ),
        (
            Prf::Mikey1,
            40,
            format!("2ad01c6401cafef00d{rand}"),
            32,
            "bc6aa30d542b193103b15880ec94b2d289a82436b59de5ef2b2bb43953c1b92c",
        ),
        (
            Prf::Mikey1,
            16,
            format!("2d22ac75ffcafef00d{rand}"),
            20,
            "633d4c75cb1e9c5352367a5fff5dd0121f3ea3fa",
        ),
        (
            Prf::HmacSha256,
            32,
            format!("150533e1ffcafef00d{rand}"),
            32,
            "31283ca9dc5028142275e8989054b304b8f693cd122df309fa3a318ad167b822",
        ),
    ];
    for (prf, len, label, out, expected) in cases {
        let got = prf.derive(&counting(0, *len), &octets(label), *out);
        assert_eq!(hex::encode(&got), *expected, "{label}");
    }
}

#[test]
fn labels_and_what_comes_of_them() {
    let (r10, r20, r30) = (counting(0x10, 16), counting(0x20, 16), counting(0x30, 32));
    let message =
        |response, rand_i, rand_r| Purpose::Message { csb_id: 0xcafe_f00d, response, rand_i, rand_r };
    let traffic = Purpose::Traffic { cs_id: 1, rand_i: &r10, rand_r: &r20 };
    let fork = Purpose::Fork { id_data: b"sip:carol@example.net", rand_kms: &r30 };
    let cases: &[(Constant, Purpose<'_>, &str, usize, &str)] = &[
        (
            Constant::Auth,
            message(false, &r10, &[]),
            "2d22ac75ffcafef00d0110101112131415161718191a1b1c1d1e1f00",
            32,
            "4213e06205768f61da1342fb420613f91d8e81f22e3ab89e1b37e6e59fbc9605",
        ),
        (
            Constant::Salt,
            message(true, &[], &r20),
            "29b88916ffcafef00d020010202122232425262728292a2b2c2d2e2f",
            14,
            "15fc0839509debb96c18794fe672",
        ),
        (
            Constant::Tek,
            traffic,
            "2ad01c6401ffffffff0310101112131415161718191a1b1c1d1e1f10202122232425262728292a2b2c2d2e2f",
            32,
            "0324660aab808a848937c0df89405fde36dea3e49bbc107db3332eb951bfe63e",
        ),
        (
            Constant::ForkedTgk,
            fork,
            "1512b54affffffffff0000157369703a6361726f6c406578616d706c652e6e657420303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
            32,
            "4c437775ae9dd9121f7410130bf2dcd7bb5a6179697d094afa2cd78abd43b0ab",
        ),
        (
            Constant::Mpki,
            Purpose::ProtectionKeys { rand: &r30 },
            "220e99a2ffffffffff0620303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
            32,
            "89e44cf8656c0bc597188612e39bfee69119be01ade620b0016987893d75c726",
        ),
        (
            Constant::Auth,
            Purpose::Ticket { rand: &r30 },
            "2d22ac75ffffffffff0520303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
            32,
            "66a595a9d913d7374b20de1520b7acc865beade5a2d9f6cf8ffcd17e7c317be5",
        ),
        (
            Constant::Auth,
            Purpose::InitiatorData,
            "2d22ac75ffffffffff04",
            32,
            "505e8d09b459240ebc3b42d5c8661f87dfeaa57c7cc6f56f294daec40afacc5c",
        ),
    ];
    for (constant, purpose, expected_label, len, expected) in cases {
        let label = label(*constant, *purpose);
        assert_eq!(hex::encode(&label), *expected_label);
        let got = Prf::HmacSha256.derive(&counting(0, 32), &label, *len);
        assert_eq!(hex::encode(&got), *expected);
    }
}

#[test]
fn kemac() {
    let keys =
        protect::MessageKeys::for_test(Suite::Bits256, 0xcafe_f00d, &counting(0x40, 32), &counting(0x60, 14));
    let key = || KeyData::with_spi(key_type::MPK, &counting(0, 16), &[0, 0, 0, 1]);
    let plain = print_keys(&[key()]);
    assert_eq!(hex::encode(&plain), "00610010000102030405060708090a0b0c0d0e0f0400000001");
    let time = Timestamp::NtpUtc32(0xe900_0000);
    let kemac = keys.seal(time, &[key()]);
    assert_eq!(hex::encode(&kemac.encr_data), "87640a75a7235b33b3143e80f182c22470149fec52d50b3480");
    let again = parse_keys(&keys.open(time, &kemac).unwrap(), &Limits::default()).unwrap();
    assert_eq!(again[0].key.as_slice(), counting(0, 16));
    assert_eq!(again[0].spi(), [0, 0, 0, 1]);
}

#[test]
fn keystreams_of_srtp() {
    // The IV of both RFCs is F0F1..FCFD0000; with CSB ID and time zero it is the salt.
    let salt = counting(0xF0, 14);
    let cases = [
        (Suite::Bits128, "2B7E151628AED2A6ABF7158809CF4F3C", "e03ead0935c95e80e166b16dd92b4eb4"),
        (
            Suite::Bits256,
            "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
            "92bdd28a93c3f52511c677d08b5515a4",
        ),
    ];
    for (suite, key, expected) in cases {
        let keys = protect::MessageKeys::for_test(suite, 0, &octets(key), &salt);
        let zero = payload::Kemac {
            encr_alg: suite.encr_alg(),
            encr_data: vec![0; 16],
            mac_alg: 0,
            mac: Vec::new(),
        };
        let stream = keys.open(Timestamp::Counter(0), &zero).unwrap();
        assert_eq!(hex::encode(&stream), expected);
    }
}

#[test]
fn policy_header() {
    use Flags as F;
    let flags = [F::E, F::F, F::G, F::H, F::I, F::N, F::O].into_iter().fold(F::D, F::with);
    let policy = TicketPolicy { ticket_type: 1, subtype: 1, version: 1, prf: 1, flags, data: Vec::new() };
    let mut w = Writer::default();
    policy.print(&mut w);
    assert_eq!(hex::encode(&w.0), "0001010103f860000100");
    assert_eq!(flags.letters(), "DEFGHINO");
    assert_eq!(Profile::default().flags(), flags);
}

/// RFC 4567 §5.1.
const OFFER: &str = "mikey AQAFgM0XflABAAAAAAAAAAAAAAsAyONQ6gAAAAAGEEoo2pee4hp2UaDX8ZE22YwKAAAPZG9uYWxkQGR1Y2suY29tAQAAAAAAAQAk0JKpgaVkDaawi9whVBtBt0KZ14ymNuu62+Nv3ozPLygwK/GbAV9iemnGUIZ19fWQUOSrzKTAv9zV";

#[test]
fn offer_of_rfc_4567() {
    let octets = key_mgmt::parse(OFFER).unwrap();
    assert_eq!(octets.len(), 132);
    let message = Message::parse(&octets, &Limits::default()).unwrap();
    assert_eq!(message.print(), octets);
    assert_eq!(key_mgmt::print(&message.print()), OFFER);
    let h = &message.header;
    assert_eq!((h.data_type, h.v, h.prf, h.csb_id), (0, true, 0, 0xcd17_7e50));
    assert_eq!(h.map, CsIdMap::Srtp(vec![SrtpSession { policy: 0, ssrc: 0, roc: 0 }]));
    let [Payload::T(t), Payload::Rand(rand), Payload::Id(id), Payload::Sp(sp), Payload::Kemac(k)] =
        message.payloads.as_slice()
    else {
        panic!("{:?}", message.payloads)
    };
    assert_eq!(*t, Timestamp::NtpUtc(0xc8e3_50ea_0000_0000));
    assert_eq!(hex::encode(rand), "4a28da979ee21a7651a0d7f19136d98c");
    assert_eq!((id.id_type, id.text()), (0, "donald@duck.com".into()));
    assert_eq!((sp.number, sp.protocol, sp.parameters.len()), (0, 0, 0));
    assert_eq!((k.encr_alg, k.encr_data.len(), k.mac_alg), (1, 36, 1));
    assert_eq!(hex::encode(&k.mac), "5f627a69c6508675f5f59050e4abcca4c0bfdcd5");
}

#[test]
fn answer_of_rfc_4567() {
    let octets = octets(concat!(
        "01010500cd177e500100000000000000000000",
        "0600c8e350ea00000000",
        "090000106d69636b6579406d6f7573652e636f6d",
        "00019fc1dd184e413035c522e18481afbad80818e5c7"
    ));
    assert_eq!(octets.len(), 71);
    let message = Message::parse(&octets, &Limits::default()).unwrap();
    assert_eq!(message.print(), octets);
    assert_eq!(message.header.data_type, 1);
    assert!(matches!(message.payloads.as_slice(), [Payload::T(_), Payload::Id(_), Payload::V(_)]));
    // A message of the base protocol is no answer to a ticket transfer.
    let got = Received::parse(&Profile::default(), std::time::SystemTime::UNIX_EPOCH, &octets).err();
    assert_eq!(got.and_then(|e| e.mikey_error()), Some(13));
}

#[test]
fn headers_of_gstreamer() {
    let mut header =
        Header { data_type: 0, v: false, prf: 0, csb_id: 0x1234_5678, map: CsIdMap::Srtp(Vec::new()) };
    let print = |h: &Header| Message { header: h.clone(), payloads: Vec::new() }.print();
    assert_eq!(hex::encode(&print(&header)), "01000000123456780000");
    header.map = CsIdMap::Srtp(vec![
        SrtpSession { policy: 1, ssrc: 0x1234_5678, roc: 0 },
        SrtpSession { policy: 2, ssrc: 0x2345_6789, roc: 1 },
    ]);
    assert_eq!(hex::encode(&print(&header)), "01000000123456780200011234567800000000022345678900000001");
}

#[test]
fn a_transfer_is_laid_out_as_specified() {
    let mut w = super::exchanges::World::new(Profile::default());
    let (_, octets) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    let text = hex::encode(&octets);
    assert!(text.starts_with("010e0581"), "{text}");
    // One crypto session: CS 1, protocol 241, one policy, number 1, no session data, SPI of four.
    assert_eq!(&text[16..34], "010201f10101000004");
    let message = Message::parse(&octets, &Limits::default()).unwrap();
    assert_eq!(message.header.data_type, data_type::TRANSFER_INIT);
    let types: Vec<u8> = message.payloads.iter().map(Payload::type_number).collect();
    assert_eq!(types, [5, 15, 14, 14, 10, 21, 17, 9]);
    assert!(text.contains("1101000" /* next 17, type 1 */), "{text}");
    assert!((398..=640).contains(&octets.len()), "{}", octets.len());
}
