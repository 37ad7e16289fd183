//! Every setting of the service has an effect.

use super::*;
use carnet_mikey::registry::{data_type, id_type, ticket_type};
use carnet_mikey::{Feature, Suite};

fn config() -> Config {
    Config::new(id("sip:kms.x.example"))
}

fn written(text: &str) -> Identity {
    Identity { id_type: id_type::URI, data: text.as_bytes().to_vec() }
}

#[test]
fn strangers_get_calls_only_where_they_may() {
    for issue_to_strangers in [false, true] {
        let mut w = world_with(Config { issue_to_strangers, ..config() });
        let (_, octets) = w.request("alice", "sip:zoe@elsewhere.example");
        let outcome = w.ask(&octets);
        assert_eq!(outcome.refusal.is_none(), issue_to_strangers, "{outcome:?}");
        assert_eq!(outcome.status, if issue_to_strangers { 200 } else { 403 });
    }
}

#[test]
fn identities_in_another_form() {
    for identities in [Identities::Exact, Identities::Canonical] {
        let mut w = world_with(Config { identities, ..config() });
        let (alice, bob) = (written("sips:alice@X.EXAMPLE:5061"), written("sip:bob@x.example;transport=tcp"));
        let kms = written("sip:KMS.x.example");
        let (pending, octets) = w.request_as("alice", &psk("alice"), &alice, &bob, &kms);
        let outcome = w.ask(&octets);
        if identities == Identities::Exact {
            assert_eq!(outcome.status, 200, "{outcome:?}");
            assert!(refused(&outcome).1.contains("another KMS"), "{outcome:?}");
            continue;
        }
        // What was written is granted as it was written; the trail has what it means.
        let audit = outcome.audit.unwrap();
        assert_eq!(
            (audit.initiator, audit.responders),
            (id("sip:alice@x.example"), vec![id("sip:bob@x.example")])
        );
        let ticket = pending.response(&outcome.reply, w.wall).unwrap();
        assert_eq!(ticket.ticket().policy.initiator(), Some(&alice));
        let (offered, offer) = w.offer(&ticket);
        let received = Received::parse(&w.profile, w.wall, &offer).unwrap();
        let me = written("sip:bob@x.example:5060");
        let (pending, octets) = received.resolve_init(w.wall, &mut w.rng, &me, b"bob", &psk("bob"), &kms);
        let outcome = w.ask(&octets);
        assert_eq!(outcome.audit.as_ref().unwrap().responders, [id("sip:bob@x.example")]);
        let (bob, answer) = pending.response(&received, &outcome.reply, w.wall, &mut w.rng).unwrap();
        assert!(offered.answer(&answer, w.wall).unwrap().tek == bob.tek);
        // Somebody else's name stays somebody else's, however it is written.
        let carol = written("sip:CAROL@x.example");
        let (_, octets) = w.request_as("alice", &psk("alice"), &carol, &id("sip:bob@x.example"), &kms);
        assert_eq!(w.ask(&octets).status, 403);
    }
}

#[test]
fn tickets_of_3gpp() {
    for accept in [false, true] {
        let mut config = config();
        config.profile.accept_3gpp_ticket = accept;
        let mut w = world_with(config);
        w.profile.ticket_type = ticket_type::BASE_3GPP;
        let (pending, octets) = w.request("alice", "sip:bob@x.example");
        let outcome = w.ask(&octets);
        if !accept {
            let error = outcome.refusal.unwrap().error;
            assert_eq!(error, Mikey::Unsupported { feature: Feature::Ticket(2), at: 0 });
            assert_eq!(error.mikey_error(), Some(14));
            continue;
        }
        let ticket = pending.response(&outcome.reply, w.wall).unwrap();
        assert_eq!(ticket.ticket().policy.ticket_type, ticket_type::BASE_3GPP);
        // The type is all that is different: flag K is not set.
        assert_eq!(ticket.ticket().policy.flags.letters(), "DEFGHINO");
        let (_, offer) = w.offer(&ticket);
        assert!(w.receive("bob", "sip:bob@x.example", &offer).1.is_ok());
    }
}

#[test]
fn small_keys() {
    for accept in [false, true] {
        let mut config = config();
        config.profile.accept_128 = accept;
        let mut w = world_with(config);
        w.profile.suite = Suite::Bits128;
        w.profile.accept_128 = true;
        let (_, octets) = w.request("alice", "sip:bob@x.example");
        let outcome = w.ask(&octets);
        assert_eq!(outcome.refusal.is_none(), accept, "{outcome:?}");
        if let Some(refusal) = outcome.refusal {
            assert_eq!(refusal.error.mikey_error(), Some(2));
        }
    }
}

#[test]
fn times() {
    let mut config = config();
    config.profile.skew = Duration::from_secs(5);
    config.profile.lifetime = Duration::from_secs(60);
    config.rotation = Duration::from_secs(100);
    let mut w = world_with(config);
    let ticket = w.ticket("alice", "sip:bob@x.example");
    let end = ticket.ticket().policy.valid_to().unwrap().to_wall().unwrap();
    assert_eq!(end, w.wall + Duration::from_secs(60));
    let (_, octets) = w.request("alice", "sip:bob@x.example");
    w.wall += Duration::from_secs(6);
    assert_eq!(w.ask(&octets).refusal.unwrap().error, Mikey::Skew(6));
    assert!(w.kms.key_due(w.wall).is_none());
    w.wall += Duration::from_secs(95);
    assert!(w.kms.key_due(w.wall).is_some());
}

#[test]
fn the_replay_cache_holds_what_one_processor_answers() {
    // Requests a second over HTTP, as docs/performance.md has them.
    let answered = 22_900;
    let config = config();
    // A message is forgotten when the second it bears is older than the skew.
    let remembered = config.profile.skew.as_secs() + 2;
    assert!(config.replay_capacity as u64 >= answered * remembered);
}

#[test]
fn a_full_replay_cache_grants_nothing() {
    let mut w = world_with(Config { replay_capacity: 2, ..config() });
    for _ in 0..2 {
        w.ticket("alice", "sip:bob@x.example");
    }
    let (_, octets) = w.request("alice", "sip:bob@x.example");
    let outcome = w.ask(&octets);
    assert_eq!(refused(&outcome), (503, "out of room: the replay cache".into()));
    assert!(outcome.audit.is_none());
    // It is not remembered either: when there is room again, the same message is good.
    w.wall += Duration::from_secs(299);
    assert_eq!(w.ask(&octets).status, 503);
    w.wall += Duration::from_secs(3);
    let (_, octets) = w.request("alice", "sip:bob@x.example");
    assert!(w.ask(&octets).refusal.is_none());
}

#[test]
fn signed_requests_without_a_key_to_open_them() {
    let mut w = world();
    let (_, mut octets) = w.request("alice", "sip:bob@x.example");
    // REQUEST_INIT_PK, with SIGN where V is: an envelope and a signature, both nonsense.
    octets[1] = data_type::REQUEST_INIT_PK;
    let limits = w.profile.limits;
    let mut message = carnet_mikey::Message::parse(&octets, &limits).unwrap();
    use carnet_mikey::payload::{Payload, Pke, Sign};
    message.payloads.pop();
    message.payloads.push(Payload::Pke(Pke { cache: 0, data: vec![1; 256] }));
    message.payloads.push(Payload::Sign(Sign { sign_type: 0, signature: vec![2; 256] }));
    for kind in [data_type::REQUEST_INIT_PK, data_type::RESOLVE_INIT_PK] {
        message.header.data_type = kind;
        if kind == data_type::RESOLVE_INIT_PK {
            let ticket = w.ticket("alice", "sip:bob@x.example");
            message.payloads.insert(1, Payload::Ticket(ticket.ticket().clone()));
            message.payloads.insert(1, Payload::Randr { role: 2, rand: vec![3; 32] });
        }
        let outcome = w.ask(&message.print());
        assert_eq!(outcome.status, 200);
        let answer = carnet_mikey::Message::parse(&outcome.reply, &limits).unwrap();
        assert_eq!((answer.header.data_type, answer.error()), (data_type::ERROR, Some(13)));
        assert!(outcome.refusal.unwrap().reason.contains("DataType"));
    }
}
