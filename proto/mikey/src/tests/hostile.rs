//! What a stranger, a thief or a careless peer may send, and what must come of it.

use super::exchanges::World;
use crate::exchange::{ResolveRequest, SdpIdsSeen, TicketRequest};
use crate::payload::{Flags, Payload};
use crate::prf::Purpose;
use crate::registry::extension;
use crate::*;
use std::time::{Duration, SystemTime};

fn world() -> World {
    World::new(Profile::default())
}

/// Reads a message, changes it, writes it again; its MAC is then wrong.
fn changed(octets: &[u8], change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::parse(octets, &Limits::default()).unwrap();
    change(&mut message);
    message.print()
}

#[test]
fn every_octet_of_every_message_is_covered() {
    let mut w = world();
    let (pending, request) = w.request();
    let flip = |octets: &[u8], at: usize| {
        let mut o = octets.to_vec();
        o[at] ^= 1;
        o
    };
    for at in 0..request.len() {
        // The V flag is ignored on receipt but covered all the same.
        let bad = TicketRequest::parse(&w.profile, w.wall, &flip(&request, at))
            .and_then(|r| r.verify(&w.alice_psk, &w.alice, &w.kms));
        assert!(bad.is_err(), "octet {at} of REQUEST_INIT");
    }
    let granted = w.grant(&request);
    for at in 0..granted.len() {
        let (again, _) = World::new(Profile::default()).request();
        assert!(again.response(&flip(&granted, at), w.wall).is_err(), "octet {at} of REQUEST_RESP");
    }
    let ticket = pending.response(&granted, w.wall).unwrap();
    let (offered, offer) = ticket.offer(&w.profile, w.wall, &mut w.rng);
    for at in 0..offer.len() {
        assert!(w.receive(&flip(&offer, at)).is_err(), "octet {at} of TRANSFER_INIT");
    }
    let (_, answer) = w.receive(&offer).unwrap();
    for at in 0..answer.len() {
        assert!(offered.answer(&flip(&answer, at), w.wall).is_err(), "octet {at} of TRANSFER_RESP");
    }
    assert!(offered.answer(&answer, w.wall).is_ok());
}

#[test]
fn every_octet_of_the_resolve_exchange_is_covered() {
    let mut w = world();
    let (_, offer) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    let received = Received::parse(&w.profile, w.wall, &offer).unwrap();
    let resolve = |w: &mut World| {
        w.rng = carnet_wire::SeededRandom::new(99);
        received.resolve_init(w.wall, &mut w.rng, &w.bob, b"bob", &w.bob_psk, &w.kms)
    };
    let (_, question) = resolve(&mut w);
    for at in 0..question.len() {
        let mut bad = question.clone();
        bad[at] ^= 0x10;
        assert!(w.resolve(&bad).is_err(), "octet {at} of RESOLVE_INIT");
    }
    let answer = w.resolve(&question).unwrap();
    for at in 0..answer.len() {
        let mut bad = answer.clone();
        bad[at] ^= 0x10;
        let (pending, _) = resolve(&mut w);
        let got = pending.response(&received, &bad, w.wall, &mut w.rng);
        assert!(got.is_err(), "octet {at} of RESOLVE_RESP");
    }
}

#[test]
fn wrong_keys_do_not_verify() {
    let mut w = world();
    let (pending, request) = w.request();
    let parsed = TicketRequest::parse(&w.profile, w.wall, &request).unwrap();
    let wrong = parsed.verify(&w.bob_psk, &w.alice, &w.kms).err().unwrap();
    assert_eq!((wrong.mikey_error(), wrong.fault()), (Some(0), Fault::Peer));
    // The identity goes into the MAC even though it is also a payload.
    let parsed = TicketRequest::parse(&w.profile, w.wall, &request).unwrap();
    assert!(parsed.verify(&w.alice_psk, &w.bob, &w.kms).is_err());
    // A KMS that does not know alice's key cannot answer her.
    w.alice_psk = Psk::new(&[9; 32]).unwrap();
    let (other, forged) = w.request();
    drop(other);
    let answer = w.grant(&forged);
    assert!(matches!(pending.response(&answer, w.wall), Err(Error::Rule(_) | Error::Authentication(_))));
    // A ticket sealed with another key does not open.
    let (_, offer) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    w.tpk = Tpk::new(&[8; 32]).unwrap();
    assert!(matches!(w.receive(&offer), Err(Error::Authentication(_))));
}

#[test]
fn a_stolen_ticket_cannot_be_sent_by_a_thief() {
    let mut w = world();
    let first = w.ticket();
    let (_, offer) = first.offer(&w.profile, w.wall, &mut w.rng);
    // The thief has the ticket and, as another responder, MPKi; but not MPKr. Initiator Data of
    // one offer does not fit another.
    let (_, other) = first.offer(&w.profile, w.wall, &mut w.rng);
    let stolen = Message::parse(&offer, &Limits::default()).unwrap().ticket().unwrap().initiator_data.clone();
    let forged = changed(&other, |m| {
        for p in &mut m.payloads {
            if let Payload::Ticket(t) = p {
                t.initiator_data.clone_from(&stolen);
            }
        }
    });
    assert_eq!(
        w.receive(&forged).err(),
        Some(Error::Authentication("the offer is not the one its owner made"))
    );
}

#[test]
fn forks_get_keys_of_their_own() {
    let mut w = world();
    let (offered, offer) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    let (one, answer_one) = w.receive(&offer).unwrap();
    let (two, answer_two) = w.receive(&offer).unwrap();
    assert!(one.tek != two.tek);
    assert!(offered.answer(&answer_one, w.wall).unwrap().tek == one.tek);
    assert!(offered.answer(&answer_two, w.wall).unwrap().tek == two.tek);
}

#[test]
fn times_that_are_not_now() {
    let mut w = world();
    let (_, request) = w.request();
    for wall in [w.wall + Duration::from_secs(301), w.wall - Duration::from_secs(301)] {
        let late = TicketRequest::parse(&w.profile, wall, &request).err().unwrap();
        assert_eq!((late.clone(), late.mikey_error()), (Error::Skew(301), Some(1)));
    }
    // A ticket used after its life, in a fresh offer.
    let ticket = w.ticket();
    w.wall += w.profile.lifetime + Duration::from_secs(2);
    let (_, offer) = ticket.offer(&w.profile, w.wall, &mut w.rng);
    assert_eq!(w.receive(&offer).err(), Some(Error::Validity("any more")));
    assert_eq!(ticket.check_validity(w.wall), Err(Error::Validity("any more")));
}

#[test]
fn replays() {
    let mut w = world();
    let (_, request) = w.request();
    let parsed = TicketRequest::parse(&w.profile, w.wall, &request).unwrap();
    let mut cache = ReplayCache::new(w.profile.skew, 1);
    // Not remembered until it is proven.
    assert!(parsed.check_replay(&mut cache, w.wall).is_ok());
    assert!(parsed.check_replay(&mut cache, w.wall).is_ok());
    cache.remember(parsed.digest(), w.wall);
    assert_eq!(parsed.check_replay(&mut cache, w.wall), Err(Error::Replay));
    // Full: the new one is refused, the old one not forgotten.
    let (_, second) = w.request();
    let second = TicketRequest::parse(&w.profile, w.wall, &second).unwrap();
    let full = second.check_replay(&mut cache, w.wall).unwrap_err();
    assert_eq!((full.fault(), full.sip().0), (Fault::Ours, 503));
    // A message from a clock that is a skew ahead is acceptable for two skews, and remembered as long.
    let later = w.wall + Duration::from_secs(600);
    assert_eq!(parsed.check_replay(&mut cache, later), Err(Error::Replay));
    assert!(second.check_replay(&mut cache, later + Duration::from_nanos(1)).is_ok());
    assert!(cache.is_empty());
    // After a restart, what is older than it is refused.
    let mut restarted = ReplayCache::restarted(w.profile.skew, 10, w.wall + Duration::from_secs(1));
    assert_eq!(second.check_replay(&mut restarted, w.wall), Err(Error::Replay));
    // Of the moment of the restart itself, with nanoseconds that NTP cannot say, it is not older.
    w.wall += Duration::from_nanos(123_456_789);
    let (_, third) = w.request();
    let third = TicketRequest::parse(&w.profile, w.wall, &third).unwrap();
    let mut restarted = ReplayCache::restarted(w.profile.skew, 10, w.wall);
    assert_eq!(third.check_replay(&mut restarted, w.wall), Ok(()));
}

#[test]
fn bidding_down_is_seen() {
    let mut w = world();
    let (_, offer) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    let with_ids = |ids: Option<&[u8]>| {
        changed(&offer, |m| {
            m.payloads.retain(|p| !matches!(p, Payload::GeneralExt { .. }));
            let ext = ids.map(|d| Payload::GeneralExt { ext_type: extension::SDP_IDS, data: d.to_vec() });
            m.payloads.splice(1..1, ext);
        })
    };
    let parse = |w: &World, octets: &[u8]| Received::parse(&w.profile, w.wall, octets).map(|r| r.sdp_ids());
    assert_eq!(parse(&w, &offer), Ok(SdpIdsSeen::Match));
    assert_eq!(parse(&w, &with_ids(Some(b"mikey"))), Ok(SdpIdsSeen::Match));
    assert_eq!(parse(&w, &with_ids(Some(b"other;mikey"))), Err(Error::BiddingDown));
    assert_eq!(parse(&w, &with_ids(None)), Ok(SdpIdsSeen::Absent));
    w.profile.check_sdp_ids = SdpIds::Required;
    assert_eq!(parse(&w, &with_ids(None)), Err(Error::BiddingDown));
}

#[test]
fn what_can_be_refused_without_the_kms_is() {
    let mut w = world();
    let (_, offer) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    let ticket = |m: &mut Message, f: &dyn Fn(&mut crate::payload::Ticket)| {
        m.payloads.iter_mut().for_each(|p| {
            if let Payload::Ticket(t) = p {
                f(t);
            }
        });
    };
    let flags = |on: Flags, off: Flags| {
        move |t: &mut crate::payload::Ticket| t.policy.flags = t.policy.flags.with(on).without(off)
    };
    let none = Flags::default();
    type Change<'a> = Box<dyn Fn(&mut Message) + 'a>;
    let session = |m: &mut Message, f: &dyn Fn(&mut CryptoSession)| {
        if let CsIdMap::Generic(s) = &mut m.header.map {
            f(&mut s[0]);
        }
    };
    let cases: Vec<(Change<'_>, u8)> = vec![
        (Box::new(|m| ticket(m, &|t| t.policy.ticket_type = 2)), 14),
        (Box::new(|m| ticket(m, &|t| t.policy.ticket_type = 77)), 14),
        (Box::new(|m| ticket(m, &|t| t.policy.version = 2)), 14),
        (Box::new(|m| ticket(m, &|t| t.policy.prf = 0)), 15),
        (Box::new(|m| ticket(m, &flags(none, Flags::D))), 15),
        (Box::new(|m| ticket(m, &flags(none, Flags::E))), 15),
        (Box::new(|m| ticket(m, &flags(none, Flags::F))), 15),
        (Box::new(|m| ticket(m, &flags(none, Flags::G.with(Flags::H)))), 15),
        (
            Box::new(|m| {
                ticket(m, &|t| t.policy.data.retain(|p| !matches!(p, Payload::Idr { role: 2, .. })));
            }),
            15,
        ),
        (Box::new(|m| ticket(m, &|t| t.initiator_data.clear())), 12),
        (Box::new(|m| session(m, &|s| s.protocol = 0)), 9),
        (Box::new(|m| session(m, &|s| s.protocol = 1)), 9),
        (Box::new(|m| m.header.map = CsIdMap::Generic(Vec::new())), 12),
        (Box::new(|m| m.header.map = CsIdMap::Empty(1)), 12),
        (Box::new(|m| m.header.prf = 0), 2),
        (Box::new(|m| m.header.prf = 9), 2),
        (Box::new(|m| m.header.data_type = 15), 13),
        (Box::new(|m| m.header.data_type = 99), 11),
        (Box::new(|m| m.payloads.retain(|p| !matches!(p, Payload::T(_)))), 12),
        (Box::new(|m| m.payloads.retain(|p| !matches!(p, Payload::Randr { .. }))), 12),
        (Box::new(|m| m.payloads.retain(|p| !matches!(p, Payload::V(_)))), 12),
        (
            Box::new(|m| {
                m.payloads[2] = Payload::Idr { role: 1, id: Identity::byte_string(b"sip:mallory@x") }
            }),
            7,
        ),
    ];
    for (i, (change, expected)) in cases.iter().enumerate() {
        let bad = changed(&offer, |m| change(m));
        let error = Received::parse(&w.profile, w.wall, &bad).err().unwrap_or_else(|| panic!("case {i}"));
        assert_eq!(error.mikey_error(), Some(*expected), "case {i}: {error}");
        assert!(matches!(error.sip().0, 488), "case {i}");
    }
    // Another vendor's number for TLS is accepted unless that is switched off.
    let other = changed(&offer, |m| session(m, &|s| s.protocol = 17));
    assert!(Received::parse(&w.profile, w.wall, &other).is_ok());
    w.profile.accept_other_protocol = false;
    assert!(Received::parse(&w.profile, w.wall, &other).is_err());
}

#[test]
fn errors_are_understood_and_never_answered() {
    let mut w = world();
    let (pending, request) = w.request();
    let parsed = TicketRequest::parse(&w.profile, w.wall, &request).unwrap();
    let refusal = parsed.refuse(&Error::Identity("no such user"), w.wall).unwrap();
    let refused = pending.response(&refusal, w.wall).err().unwrap();
    assert_eq!(refused, Error::Refused { number: 7, authenticated: false });
    assert_eq!(refused.mikey_error(), None);
    assert!(parsed.refuse(&refused, w.wall).is_none());
    // For another request, it is none of ours.
    let (other, _) = w.request();
    assert!(matches!(other.response(&refusal, w.wall), Err(Error::Rule(_))));
    assert!(matches!(Received::parse(&w.profile, w.wall, &refusal), Err(Error::Refused { .. })));
    // Once the request is proven, so is the refusal; until a bit of it changes.
    let (pending, request) = w.request();
    let parsed = TicketRequest::parse(&w.profile, w.wall, &request).unwrap();
    let verified = parsed.verify(&w.alice_psk, &w.alice, &w.kms).unwrap();
    let refusal = verified.refuse(&Error::Identity("not for you"), w.wall).unwrap();
    let refused = pending.response(&refusal, w.wall).err().unwrap();
    assert_eq!(refused, Error::Refused { number: 7, authenticated: true });
    let (_, offer) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    let received = Received::parse(&w.profile, w.wall, &offer).unwrap();
    let (pending, question) = received.resolve_init(w.wall, &mut w.rng, &w.bob, b"bob", &w.bob_psk, &w.kms);
    let verified = ResolveRequest::parse(&w.profile, w.wall, &question).unwrap();
    let verified = verified.verify(&w.bob_psk, &w.bob, &w.kms).unwrap();
    let mut refusal = verified.refuse(&Error::Validity("any more"), w.wall).unwrap();
    *refusal.last_mut().unwrap() ^= 1;
    let refused = pending.response(&received, &refusal, w.wall, &mut w.rng).err().unwrap();
    assert_eq!(refused, Error::Refused { number: 15, authenticated: false });
}

#[test]
fn a_ticket_for_somebody_else_is_not_taken() {
    let mut w = world();
    for what in 0..4 {
        let (pending, request) = w.request();
        let request = TicketRequest::parse(&w.profile, w.wall, &request).unwrap();
        let verified = request.verify(&w.alice_psk, &w.alice, &w.kms).unwrap();
        let mallory = Identity::from_uri("sip:mallory@x.example").unwrap();
        let other = Identity::from_uri("sip:kms2.example").unwrap();
        let (kms, owner, callee) = match what {
            0 => (&other, &w.alice, &w.bob),
            1 => (&w.kms, &mallory, &w.bob),
            2 => (&w.kms, &w.alice, &mallory),
            _ => (&w.kms, &w.alice, &w.bob),
        };
        let mut policy = w.profile.policy(w.wall, kms, owner, &[callee]);
        if what == 3 {
            policy.flags = policy.flags.without(Flags::I);
        }
        let answer = verified.grant(policy, &w.tpk, b"tpk-1", w.wall, &mut w.rng).unwrap().octets;
        let error = pending.response(&answer, w.wall).err().unwrap();
        assert!(matches!(error, Error::Identity(_) | Error::Policy(_)), "{what}: {error}");
    }
}

#[test]
fn the_kms_says_when_it_changed_what_was_asked() {
    let mut w = world();
    let mut granted_flags = |lifetime: Duration| {
        let (_, request) = w.request();
        let request = TicketRequest::parse(&w.profile, w.wall, &request).unwrap();
        let verified = request.verify(&w.alice_psk, &w.alice, &w.kms).unwrap();
        let profile = Profile { lifetime, ..w.profile.clone() };
        let policy = profile.policy(w.wall, &w.kms, &w.alice, &[&w.bob]);
        let issued = verified.grant(policy, &w.tpk, b"tpk-1", w.wall, &mut w.rng).unwrap();
        let message = Message::parse(&issued.octets, &Limits::default()).unwrap();
        message.ticket().unwrap().policy.flags
    };
    assert!(!granted_flags(Profile::default().lifetime).has(Flags::K));
    assert!(granted_flags(Duration::from_secs(60)).has(Flags::K));
}

#[test]
fn a_focus_makes_its_own_ticket() {
    let mut w = world();
    let ticket =
        GrantedTicket::make(&w.profile, w.wall, &mut w.rng, &w.alice, b"tpk-1", &w.tpk, &w.kms, &w.bob)
            .unwrap();
    assert_eq!(ticket.ticket().policy.flags.letters(), "EFGHILNO");
    let (offered, offer) = ticket.offer(&w.profile, w.wall, &mut w.rng);
    let (bob, answer) = w.receive(&offer).unwrap();
    assert!(offered.answer(&answer, w.wall).unwrap().tek == bob.tek);
}

#[test]
fn a_responder_that_has_the_key_resolves_by_itself() {
    let mut w = World::new(Profile { forking: false, must_resolve: false, ..Profile::default() });
    let make = |w: &mut World, profile: &Profile| {
        GrantedTicket::make(profile, w.wall, &mut w.rng, &w.alice, b"t", &w.tpk, &w.kms, &w.bob).unwrap()
    };
    let profile = w.profile.clone();
    let (offered, offer) = make(&mut w, &profile).offer(&profile, w.wall, &mut w.rng);
    let received = Received::parse(&profile, w.wall, &offer).unwrap();
    let (bob, answer) = received.resolve_locally(&w.tpk, &w.bob, w.wall, &mut w.rng).unwrap();
    assert!(offered.answer(&answer, w.wall).unwrap().tek == bob.tek);
    // Not somebody else, not with another key, and not where the KMS must be asked.
    assert!(matches!(
        received.resolve_locally(&w.tpk, &w.alice, w.wall, &mut w.rng),
        Err(Error::Identity(_))
    ));
    let other = Tpk::new(&[1; 32]).unwrap();
    assert!(matches!(
        received.resolve_locally(&other, &w.bob, w.wall, &mut w.rng),
        Err(Error::Authentication(_))
    ));
    let (_, offer) = make(&mut w, &Profile::default()).offer(&profile, w.wall, &mut w.rng);
    let received = Received::parse(&profile, w.wall, &offer).unwrap();
    assert!(matches!(received.resolve_locally(&w.tpk, &w.bob, w.wall, &mut w.rng), Err(Error::Policy(_))));
}

#[test]
fn limits_hold() {
    let mut w = world();
    let (_, request) = w.request();
    let parse = |limits: Limits| Message::parse(&request, &limits).err();
    let d = Limits::default();
    assert_eq!(parse(d), None);
    assert!(matches!(parse(Limits { message: 100, ..d }), Some(Error::Limit { what: "octets", at: 100 })));
    assert!(matches!(parse(Limits { payloads: 7, ..d }), Some(Error::Limit { what: "payloads", .. })));
    let (_, offer) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    let none = Limits { crypto_sessions: 0, ..d };
    assert!(matches!(Message::parse(&offer, &none), Err(Error::Limit { what: "crypto sessions", .. })));
    // A policy in a policy.
    let mut message = Message::parse(&request, &d).unwrap();
    let inner = message.policy().unwrap().clone();
    for p in &mut message.payloads {
        if let Payload::Tp(policy) = p {
            policy.data.push(Payload::Tp(inner.clone()));
        }
    }
    let nested = Message::parse(&message.print(), &d);
    assert!(matches!(nested, Err(Error::Limit { what: "levels of nesting", .. })), "{nested:?}");
    // A group of 128-bit algorithms is for those who ask for it.
    let mut small = World::new(Profile::interop_128());
    let (_, request) = small.request();
    let error = TicketRequest::parse(&w.profile, w.wall, &request).err().unwrap();
    assert_eq!(error.mikey_error(), Some(2));
    let _ = ResolveRequest::parse(&w.profile, SystemTime::UNIX_EPOCH, &request).err().unwrap();
}

#[test]
fn keys_have_a_length() {
    assert!(Psk::new(&[0; 15]).is_err() && Psk::new(&[0; 65]).is_err() && Psk::new(&[0; 16]).is_ok());
    assert!(Tek::new(&[1; 32]).unwrap() == Tek::new(&[1; 32]).unwrap());
    assert!(Tek::new(&[1; 32]).unwrap() != Tek::new(&[2; 32]).unwrap());
    assert!(Tek::new(&[1; 32]).unwrap() != Tek::new(&[1; 16]).unwrap());
}

/// RFC 6043 §12.1: keys have 128 bits or more. One of no octets would make all derived keys known.
#[test]
fn short_keys_are_refused() {
    use crate::payload::{KeyData, parse_keys, print_keys};
    use crate::registry::key_type;
    for octets in [0, 15, 16] {
        let printed = print_keys(&[KeyData::with_spi(key_type::TGK, &vec![7; octets], &[0, 0, 0, 1])]);
        assert_eq!(parse_keys(&printed, &Limits::default()).is_ok(), octets >= 16, "{octets} octets");
    }
}

/// RFC 6043 §12.1: random numbers are as long as the keys they go with, also when the MAC is right.
#[test]
fn short_random_numbers_are_refused() {
    let mut w = world();
    let (_, request) = w.request();
    for octets in [32, 31, 0] {
        let mut message = Message::parse(&request, &Limits::default()).unwrap();
        let mut rand_i = Vec::new();
        for payload in &mut message.payloads {
            if let Payload::Randr { rand, .. } = payload {
                rand.truncate(octets);
                rand_i.clone_from(rand);
            }
        }
        let purpose =
            Purpose::Message { csb_id: message.header.csb_id, response: false, rand_i: &rand_i, rand_r: &[] };
        let keys = MessageKeys::derive(Suite::Bits256, w.alice_psk.expose(), purpose);
        let unsigned = message.print();
        let (covered, _) = unsigned.split_at(unsigned.len() - 32);
        let mac = keys.mac(&[covered, &w.alice.data, &w.kms.data]);
        let signed = [covered, &mac].concat();
        let outcome = TicketRequest::parse(&w.profile, w.wall, &signed)
            .and_then(|r| r.verify(&w.alice_psk, &w.alice, &w.kms).map(|_| ()));
        match octets {
            32 => assert_eq!(outcome, Ok(())),
            _ => assert!(matches!(outcome, Err(Error::Key(_))), "{octets}: {outcome:?}"),
        }
    }
}
