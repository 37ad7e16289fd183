//! Parse then print is the identity, and no input makes a parser fail otherwise than by an error.

use crate::payload::*;
use crate::registry::mac_alg;
use crate::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..max)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        any::<u64>().prop_map(Timestamp::NtpUtc),
        any::<u64>().prop_map(Timestamp::Ntp),
        any::<u32>().prop_map(Timestamp::Counter),
        any::<u32>().prop_map(Timestamp::NtpUtc32),
    ]
}

fn identity() -> impl Strategy<Value = Identity> {
    (any::<u8>(), octets(40)).prop_map(|(id_type, data)| Identity { id_type, data })
}

fn mac() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (0u8..3).prop_flat_map(|alg| {
        let len = mac_alg::len(alg).unwrap();
        (Just(alg), vec(any::<u8>(), len..=len))
    })
}

fn validity() -> impl Strategy<Value = KeyValidity> {
    prop_oneof![
        Just(KeyValidity::None),
        octets(255).prop_map(KeyValidity::Spi),
        (octets(20), octets(20)).prop_map(|(from, to)| KeyValidity::Interval { from, to }),
    ]
}

fn plain_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        (any::<u8>(), octets(80), mac()).prop_map(|(encr_alg, encr_data, (mac_alg, mac))| {
            Payload::Kemac(Kemac { encr_alg, encr_data, mac_alg, mac })
        }),
        (0u8..4, octets(300)).prop_map(|(cache, data)| Payload::Pke(Pke { cache, data })),
        (prop_oneof![Just((0u8, 192usize)), Just((1, 96)), Just((2, 128))], 0u8..16, validity())
            .prop_flat_map(|((group, len), reserved, validity)| {
                vec(any::<u8>(), len..=len).prop_map(move |value| {
                    Payload::Dh(Dh { group, value, reserved, validity: validity.clone() })
                })
            }),
        timestamp().prop_map(Payload::T),
        identity().prop_map(Payload::Id),
        (any::<u8>(), octets(60)).prop_map(|(cert_type, data)| Payload::Cert { cert_type, data }),
        vec(any::<u8>(), 32..=32).prop_map(|value| Payload::CertHash { hash: 2, value }),
        mac().prop_map(|(auth_alg, mac)| Payload::V(Verification { auth_alg, mac })),
        (any::<u8>(), any::<u8>(), octets(30)).prop_map(|(number, protocol, parameters)| {
            Payload::Sp(SecurityPolicy { number, protocol, parameters })
        }),
        octets(255).prop_map(Payload::Rand),
        (any::<u8>(), any::<u16>()).prop_map(|(number, reserved)| Payload::Err { number, reserved }),
        (any::<u8>(), timestamp()).prop_map(|(role, time)| Payload::Tr { role, time }),
        (any::<u8>(), identity()).prop_map(|(role, id)| Payload::Idr { role, id }),
        (any::<u8>(), octets(255)).prop_map(|(role, rand)| Payload::Randr { role, rand }),
        (any::<u8>(), octets(50)).prop_map(|(ext_type, data)| Payload::GeneralExt { ext_type, data }),
    ]
}

fn policy() -> impl Strategy<Value = TicketPolicy> {
    (any::<[u8; 4]>(), 0u8..128, any::<[bool; 12]>(), vec(plain_payload(), 0..5)).prop_map(
        |([hi, lo, subtype, version], prf, bits, data)| {
            use Flags as F;
            let letters = [F::D, F::E, F::F, F::G, F::H, F::I, F::J, F::K, F::L, F::M, F::N, F::O];
            let set = letters.into_iter().zip(bits).filter(|(_, on)| *on);
            let flags = set.fold(F::default(), |all, (f, _)| all.with(f));
            TicketPolicy { ticket_type: u16::from_be_bytes([hi, lo]), subtype, version, prf, flags, data }
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        8 => plain_payload(),
        1 => policy().prop_map(Payload::Tp),
        1 => (policy(), octets(100), octets(100)).prop_map(|(policy, ticket_data, initiator_data)| {
            Payload::Ticket(Ticket { policy, ticket_data, initiator_data })
        }),
    ]
}

fn map() -> impl Strategy<Value = CsIdMap> {
    let srtp = (any::<u8>(), any::<u32>(), any::<u32>()).prop_map(|(policy, ssrc, roc)| SrtpSession {
        policy,
        ssrc,
        roc,
    });
    let generic = (any::<u8>(), any::<u8>(), any::<bool>(), octets(128), octets(20), octets(256)).prop_map(
        |(cs_id, protocol, s, policies, session_data, spi)| CryptoSession {
            cs_id,
            protocol,
            s,
            policies,
            session_data,
            spi,
        },
    );
    prop_oneof![
        vec(srtp, 0..5).prop_map(CsIdMap::Srtp),
        (0u8..=16).prop_map(CsIdMap::Empty),
        vec(generic, 0..4).prop_map(CsIdMap::Generic),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let signature =
        proptest::option::of((0u8..16, octets(300)).prop_map(|(t, s)| Sign { sign_type: t, signature: s }));
    (any::<u8>(), any::<bool>(), 0u8..128, any::<u32>(), map(), vec(payload(), 0..8), signature).prop_map(
        |(data_type, v, prf, csb_id, map, mut payloads, signature)| {
            payloads.extend(signature.map(Payload::Sign));
            Message { header: Header { data_type, v, prf, csb_id, map }, payloads }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_parsed(message in message()) {
        let octets = message.print();
        prop_assert_eq!(Message::parse(&octets, &Limits::default()), Ok(message));
    }

    #[test]
    fn what_is_parsed_is_printed(message in message(), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let mut octets = message.print();
        let at = at.index(octets.len());
        octets[at] = octet;
        if let Ok(message) = Message::parse(&octets, &Limits::default()) {
            prop_assert_eq!(message.print(), octets);
        }
    }

    #[test]
    fn every_prefix_is_an_error_within_it(message in message()) {
        let octets = message.print();
        for len in 0..octets.len() {
            match Message::parse(&octets[..len], &Limits::default()) {
                Ok(m) => prop_assert_eq!(m.print(), &octets[..len]),
                Err(e) => prop_assert!(e.offset().unwrap() <= len),
            }
        }
    }

    #[test]
    fn noise_is_no_panic(octets in octets(400)) {
        let limits = Limits::default();
        if let Ok(message) = Message::parse(&octets, &limits) {
            prop_assert_eq!(message.print(), octets.clone());
        }
        if let Ok(keys) = parse_keys(&octets, &limits) {
            let printed = print_keys(&keys);
            prop_assert_eq!(printed.as_slice(), octets.as_slice());
        }
        let _ = key_mgmt::parse(&String::from_utf8_lossy(&octets));
        let _ = Identity::from_uri(&String::from_utf8_lossy(&octets));
    }

    #[test]
    fn a_canonical_identity_is_its_own(text in "(sips?|tel|SIP):[a-zA-Z0-9%+@.:;=-]{0,30}") {
        if let Ok(id) = Identity::from_uri(&text) {
            prop_assert_eq!(Identity::from_uri(&id.text()), Ok(id));
        }
    }
}
