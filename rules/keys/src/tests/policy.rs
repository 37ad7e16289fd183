//! What a ticket may be wished to be.

use super::*;
use carnet_mikey::payload::{Flags, Payload, TicketPolicy};
use carnet_mikey::prf::Purpose;
use carnet_mikey::registry::{role, time_role};
use carnet_mikey::{AuthKey, Message, Timestamp};

/// The outcome of a request by alice whose wish was changed by `edit` before it got its MAC, and the
/// flags of the ticket or the MIKEY error number she reads in the answer.
fn wish(edit: impl Fn(&mut TicketPolicy)) -> (Outcome, Result<String, u8>) {
    let mut w = world();
    let profile = w.profile.clone();
    let (pending, octets) = w.request("alice", "sip:bob@x.example");
    let mut message = Message::parse(&octets, &profile.limits).unwrap();
    for payload in &mut message.payloads {
        if let Payload::Tp(policy) = payload {
            edit(policy);
        }
    }
    let mac_len = message.verification().unwrap().mac.len();
    let rand_i = message.rand(role::INITIATOR).unwrap().to_vec();
    let csb_id = message.header.csb_id;
    let mut octets = message.print();
    octets.truncate(octets.len() - mac_len);
    let purpose = Purpose::Message { csb_id, response: false, rand_i: &rand_i, rand_r: &[] };
    let key = AuthKey::derive(profile.suite, psk("alice").expose(), purpose);
    let mac = key.mac(&[&octets, b"sip:alice@x.example", b"sip:kms.x.example"]);
    octets.extend_from_slice(&mac);
    let outcome = w.ask(&octets);
    // The answer's MAC covers the request as we changed it, so it is read without `pending`.
    drop(pending);
    let answer = Message::parse(&outcome.reply, &profile.limits).unwrap();
    let read = match answer.error() {
        Some(number) => Err(number),
        None => Ok(answer.ticket().unwrap().policy.flags.letters()),
    };
    (outcome, read)
}

fn rekey(policy: &mut TicketPolicy, time: Timestamp) {
    policy.data.insert(0, Payload::Tr { role: time_role::REKEY, time });
}

#[test]
fn a_wish_that_contradicts_itself_is_invalid() {
    // Unchanged, it is granted: the request is made rightly.
    assert_eq!(wish(|_| {}).1, Ok("DEFGHINO".into()));
    let without = |flags: Flags| move |p: &mut TicketPolicy| p.flags = p.flags.without(flags);
    type Edit = Box<dyn Fn(&mut TicketPolicy)>;
    let broken: [(&str, Edit); 7] = [
        ("needs flag L", Box::new(without(Flags::D))),
        ("G needs F", Box::new(without(Flags::F))),
        ("one of G and H", Box::new(without(Flags::G.with(Flags::H)))),
        ("I needs E", Box::new(without(Flags::E))),
        ("M needs F", Box::new(|p| p.flags = p.flags.without(Flags::F.with(Flags::G)).with(Flags::M))),
        ("the PRF of the wanted ticket", Box::new(|p| p.prf = 0)),
        ("NTP-UTC-32", Box::new(|p| rekey(p, Timestamp::NtpUtc(3600 << 32)))),
    ];
    for (why, edit) in broken {
        let (outcome, read) = wish(edit);
        assert_eq!(read, Err(15), "{why}");
        assert!(refused(&outcome).1.contains(why), "{why}: {outcome:?}");
        assert!(outcome.audit.is_none());
    }
}

#[test]
fn a_wish_that_makes_sense_is_granted_as_near_as_may_be() {
    // K is of no meaning in a wish, and more flags than we grant are taken out, with K to say so.
    let (_, read) = wish(|p| p.flags = p.flags.with(Flags::K));
    assert_eq!(read, Ok("DEFGHINO".into()));
    let (_, read) = wish(|p| p.flags = p.flags.with(Flags::J).with(Flags::M));
    assert_eq!(read, Ok("DEFGHIKNO".into()));
    let (outcome, read) = wish(|p| rekey(p, Timestamp::NtpUtc32(3600)));
    assert!(read.is_ok());
    let limits = carnet_mikey::Limits::default();
    let answer = Message::parse(&outcome.reply, &limits).unwrap();
    assert_eq!(answer.ticket().unwrap().policy.rekey(), Some(Timestamp::NtpUtc32(3600)));
}
