//! Answers that somebody with the right keys made, and that must not be taken all the same.

use super::*;
use crate::tests::exchanges::World;

/// An answer without key forking, changed, with a MAC that is right for what it became.
fn answered(change: impl FnOnce(&mut Message)) -> Result<Keyed, Error> {
    let mut w = World::new(Profile { forking: false, ..Profile::default() });
    let (offered, offer) = w.ticket().offer(&w.profile, w.wall, &mut w.rng);
    let (_, answer) = w.receive(&offer)?;
    let mut message = Message::parse(&answer, &w.profile.limits)?;
    change(&mut message);
    let rand_r = message.rand(role::RESPONDER).unwrap_or_default().to_vec();
    let purpose = Purpose::Message {
        csb_id: offered.csb_id(),
        response: true,
        rand_i: &offered.rand_i,
        rand_r: &rand_r,
    };
    let keys = MessageKeys::derive(offered.suite, offered.mpki.expose(), purpose);
    let octets = message.print();
    let (covered, _) = octets.split_at(octets.len() - offered.suite.mac_len());
    let mac = keys.mac(&[covered, &offered.octets]);
    offered.answer(&[covered, &mac].concat(), w.wall)
}

fn choose(message: &mut Message, number: u8) {
    if let CsIdMap::Generic(sessions) = &mut message.header.map {
        sessions[0].policies = vec![number];
    }
}

fn write_down(message: &mut Message, number: u8, protocol: u8) {
    let sp = SecurityPolicy { number, protocol, parameters: Vec::new() };
    let at = message.payloads.len() - 1;
    message.payloads.insert(at, Payload::Sp(sp));
}

/// RFC 6043 §4.2.2.4.
#[test]
fn a_policy_of_the_responder_is_checked() {
    assert!(answered(|_| {}).is_ok());
    let tls = Profile::default().protocol;
    assert!(
        answered(|m| {
            choose(m, 7);
            write_down(m, 7, tls);
        })
        .is_ok()
    );
    assert!(matches!(answered(|m| choose(m, 7)), Err(Error::Rule(_))));
    let srtp = answered(|m| {
        choose(m, 7);
        write_down(m, 7, 0);
    });
    assert!(matches!(srtp, Err(Error::Unsupported { feature: Feature::Protocol(0), .. })));
}

/// RFC 6043 §12.1: alone, RANDRi may be shorter than the longest key; with RANDRr it may not.
#[test]
fn random_numbers_are_long_enough_together() {
    let tgk = |octets: usize| vec![KeyData::with_spi(crate::registry::key_type::TGK, &vec![1; octets], &[1])];
    let outcome = |i: usize, r: usize, kms: usize, key: usize| {
        strength::transfer(&[32], &tgk(key), &vec![0; i], &vec![0; r], Some(&vec![0; kms])).is_ok()
    };
    assert!(outcome(16, 16, 32, 32) && outcome(32, 0, 32, 16) && outcome(32, 32, 64, 64));
    assert!(!outcome(16, 15, 32, 32) && !outcome(16, 16, 31, 32) && !outcome(16, 16, 64, 64));
}
