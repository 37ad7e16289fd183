//! The service against callers and called parties that behave, and against those that do not.

mod policy;
mod settings;

use crate::*;
use carnet_mikey::{
    Error as Mikey, GrantedTicket, Identity, Keyed, Offered, PendingRequest, Profile, Psk, Received, Tpk,
    request_init,
};
use carnet_wire::{Random, SeededRandom};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct World {
    kms: Kms,
    profile: Profile,
    rng: SeededRandom,
    wall: SystemTime,
    now: Instant,
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn id(text: &str) -> Identity {
    Identity::from_uri(text).unwrap()
}

fn psk(name: &str) -> Psk {
    let mut octets = [7; 32];
    octets.iter_mut().zip(name.bytes()).for_each(|(o, b)| *o = b);
    Psk::new(&octets).unwrap()
}

fn user(name: &str) -> User {
    User {
        name: name.into(),
        identities: vec![Pattern::parse(&format!("sip:{name}@x.example")).unwrap()],
        psk: psk(name),
        revoked: false,
        tickets_not_before: None,
    }
}

fn world() -> World {
    world_with(Config::new(id("sip:kms.x.example")))
}

fn world_with(config: Config) -> World {
    let mut rng = SeededRandom::new(5);
    let wall = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let mut directory = Directory::default();
    for name in ["alice", "bob", "carol"] {
        directory.put_user(user(name)).unwrap();
    }
    let seed = rng.u64();
    let mut kms = Kms::new(
        config,
        directory,
        Rules::default(),
        KeyRing::default(),
        Box::new(SeededRandom::new(seed)),
        wall,
    );
    let key = kms.key_due(wall).unwrap();
    kms.install_key(key);
    assert!(kms.key_due(wall).is_none());
    World { kms, profile: Profile::default(), rng, wall, now: Instant::now() }
}

impl World {
    fn ask(&mut self, octets: &[u8]) -> Outcome {
        self.kms.handle(self.wall, self.now, HERE, octets)
    }

    fn request(&mut self, from: &str, to: &str) -> (PendingRequest, Vec<u8>) {
        let kms = self.kms.config().identity.clone();
        self.request_as(from, &psk(from), &id(&format!("sip:{from}@x.example")), &id(to), &kms)
    }

    fn request_as(
        &mut self,
        name: &str,
        psk: &Psk,
        me: &Identity,
        to: &Identity,
        kms: &Identity,
    ) -> (PendingRequest, Vec<u8>) {
        request_init(&self.profile, self.wall, &mut self.rng, me, name.as_bytes(), psk, kms, to)
    }

    fn ticket(&mut self, from: &str, to: &str) -> GrantedTicket {
        let (pending, octets) = self.request(from, to);
        let outcome = self.ask(&octets);
        assert_eq!((outcome.status, &outcome.refusal), (200, &None));
        assert_eq!(outcome.audit.unwrap().deed, Deed::Issued);
        pending.response(&outcome.reply, self.wall).unwrap()
    }

    fn offer(&mut self, ticket: &GrantedTicket) -> (Offered, Vec<u8>) {
        ticket.offer(&self.profile, self.wall, &mut self.rng)
    }

    /// `name` receives an offer and answers as `me`.
    fn receive(&mut self, name: &str, me: &str, offer: &[u8]) -> (Outcome, Result<(Keyed, Vec<u8>), Mikey>) {
        let received = Received::parse(&self.profile, self.wall, offer).unwrap();
        let kms = self.kms.config().identity.clone();
        let (pending, octets) =
            received.resolve_init(self.wall, &mut self.rng, &id(me), name.as_bytes(), &psk(name), &kms);
        let outcome = self.ask(&octets);
        let keyed = pending.response(&received, &outcome.reply, self.wall, &mut self.rng);
        (outcome, keyed)
    }
}

fn refused(outcome: &Outcome) -> (u16, String) {
    (outcome.status, outcome.refusal.as_ref().map(|r| r.reason.clone()).unwrap_or_default())
}

#[test]
fn a_call_gets_its_key_and_leaves_a_trail() {
    let mut w = world();
    let (pending, octets) = w.request("alice", "sip:bob@x.example");
    let issued = w.ask(&octets);
    let ticket = pending.response(&issued.reply, w.wall).unwrap();
    let (offered, offer) = w.offer(&ticket);
    let (resolved, keyed) = w.receive("bob", "sip:bob@x.example", &offer);
    let (bob, answer) = keyed.unwrap();
    let alice = offered.answer(&answer, w.wall).unwrap();
    assert!(alice.tek == bob.tek);
    assert_eq!(bob.peer, id("sip:alice@x.example"));
    let (issued, resolved) = (issued.audit.unwrap(), resolved.audit.unwrap());
    assert_eq!(issued.ticket, resolved.ticket);
    assert_eq!((issued.user.as_str(), resolved.user.as_str()), ("alice", "bob"));
    assert_eq!((issued.deed, resolved.deed), (Deed::Issued, Deed::Resolved));
    assert_eq!(issued.responders, [id("sip:bob@x.example")]);
    // Nothing had to be changed.
    assert_eq!(ticket.ticket().policy.flags.letters(), "DEFGHINO");
}

#[test]
fn strangers_and_liars_are_refused_alike() {
    let mut w = world();
    let (kms, bob) = (w.kms.config().identity.clone(), id("sip:bob@x.example"));
    let (pending, octets) = w.request_as("zoe", &psk("zoe"), &id("sip:zoe@x.example"), &bob, &kms);
    let unknown = w.ask(&octets);
    let (pending2, octets) = w.request_as("alice", &psk("eve"), &id("sip:alice@x.example"), &bob, &kms);
    let wrong = w.ask(&octets);
    assert_eq!(refused(&unknown), (401, "no user `zoe`".into()));
    assert_eq!(wrong.status, 401);
    assert!(refused(&wrong).1.contains("user `alice`"), "{wrong:?}");
    // To the outside both are the same.
    let told = |p: PendingRequest, o: &Outcome| p.response(&o.reply, w.wall).err().unwrap();
    let expected = Mikey::Refused { number: 0, authenticated: false };
    assert_eq!((told(pending, &unknown), told(pending2, &wrong)), (expected.clone(), expected));
    assert!(unknown.audit.is_none() && wrong.audit.is_none());
}

#[test]
fn names_that_are_not_ones_own() {
    let mut w = world();
    let (kms, bob) = (w.kms.config().identity.clone(), id("sip:bob@x.example"));
    let (pending, octets) = w.request_as("alice", &psk("alice"), &id("sip:carol@x.example"), &bob, &kms);
    let outcome = w.ask(&octets);
    assert_eq!(refused(&outcome), (403, "user `alice` is not sip:carol@x.example".into()));
    assert_eq!(
        pending.response(&outcome.reply, w.wall).err(),
        Some(Mikey::Refused { number: 7, authenticated: true })
    );
    // A request to another KMS.
    let other = id("sip:kms.elsewhere.example");
    let (_, octets) = w.request_as("alice", &psk("alice"), &id("sip:alice@x.example"), &bob, &other);
    assert!(refused(&w.ask(&octets)).1.contains("another KMS"));
}

#[test]
fn rules_decide_and_the_first_that_fits_wins() {
    let mut w = world();
    let p = |t: &str| Pattern::parse(t).unwrap();
    let staff = id("sip:staff@x.example");
    w.kms
        .directory_mut()
        .put_group(Group { identity: staff.clone(), members: vec![p("sip:alice@x.example")] })
        .unwrap();
    let rules = vec![
        Rule { from: p("sip:alice@x.example"), to: p("sip:carol@x.example"), allow: false },
        Rule { from: p("sip:staff@x.example"), to: p("*"), allow: true },
    ];
    w.kms.set_rules(Rules::new(rules, false).unwrap());
    let try_call = |w: &mut World, from: &str, to: &str| {
        let (_, octets) = w.request(from, to);
        w.ask(&octets)
    };
    assert_eq!(try_call(&mut w, "alice", "sip:bob@x.example").status, 200);
    assert!(try_call(&mut w, "alice", "sip:bob@x.example").refusal.is_none());
    assert_eq!(
        refused(&try_call(&mut w, "alice", "sip:carol@x.example")),
        (403, "sip:alice@x.example may not call sip:carol@x.example".into())
    );
    assert_eq!(try_call(&mut w, "bob", "sip:alice@x.example").status, 403);
    assert_eq!(
        refused(&try_call(&mut w, "alice", "sip:nobody@x.example")),
        (403, "sip:alice@x.example calls unknown sip:nobody@x.example".into())
    );
}

#[test]
fn a_rule_made_after_the_ticket_still_holds() {
    let mut w = world();
    let ticket = w.ticket("alice", "sip:bob@x.example");
    let (_, offer) = w.offer(&ticket);
    w.kms.set_rules(Rules::new(Vec::new(), false).unwrap());
    let (outcome, keyed) = w.receive("bob", "sip:bob@x.example", &offer);
    assert_eq!(outcome.status, 403);
    assert_eq!(keyed.err(), Some(Mikey::Refused { number: 7, authenticated: true }));
}

#[test]
fn only_the_called_one_opens_the_ticket() {
    let mut w = world();
    let ticket = w.ticket("alice", "sip:bob@x.example");
    let (_, offer) = w.offer(&ticket);
    let (outcome, keyed) = w.receive("carol", "sip:carol@x.example", &offer);
    assert!(refused(&outcome).1.contains("to somebody else"), "{outcome:?}");
    assert!(matches!(keyed.err(), Some(Mikey::Refused { number: 7, .. })));
    let (outcome, _) = w.receive("carol", "sip:bob@x.example", &offer);
    assert_eq!(refused(&outcome), (403, "user `carol` is not sip:bob@x.example".into()));
}

#[test]
fn a_focus_answers_for_its_factory() {
    let mut w = world();
    let p = |t: &str| Pattern::parse(t).unwrap();
    let mut focus = user("focus");
    focus.identities = vec![p("sip:focus@x.example"), p("sip:conf-*@x.example")];
    w.kms.directory_mut().put_user(focus).unwrap();
    let factory = Group { identity: id("sip:factory@x.example"), members: vec![p("sip:conf-*@x.example")] };
    w.kms.directory_mut().put_group(factory).unwrap();
    let ticket = w.ticket("alice", "sip:factory@x.example");
    let (offered, offer) = w.offer(&ticket);
    let (_, keyed) = w.receive("focus", "sip:conf-17@x.example", &offer);
    let (focus, answer) = keyed.unwrap();
    let alice = offered.answer(&answer, w.wall).unwrap();
    assert!(alice.tek == focus.tek);
    assert_eq!(alice.peer, id("sip:conf-17@x.example"));
}

#[test]
fn a_ticket_made_by_its_owner_needs_permission() {
    for accept in [false, true] {
        let mut config = Config::new(id("sip:kms.x.example"));
        config.accept_self_issued = accept;
        let mut w = world_with(config);
        let tpk = Tpk::new(psk("alice").expose()).unwrap();
        let (alice, bob) = (id("sip:alice@x.example"), id("sip:bob@x.example"));
        let kms = w.kms.config().identity.clone();
        let ticket =
            GrantedTicket::make(&w.profile, w.wall, &mut w.rng, &alice, b"alice", &tpk, &kms, &bob).unwrap();
        let (offered, offer) = w.offer(&ticket);
        let (outcome, keyed) = w.receive("bob", "sip:bob@x.example", &offer);
        match keyed {
            Ok((bob, answer)) => {
                assert!(accept);
                assert!(offered.answer(&answer, w.wall).unwrap().tek == bob.tek);
            }
            Err(_) => assert!(!accept, "{outcome:?}"),
        }
        // In another's name it never opens.
        let carol = id("sip:carol@x.example");
        let forged =
            GrantedTicket::make(&w.profile, w.wall, &mut w.rng, &carol, b"alice", &tpk, &kms, &bob).unwrap();
        let (_, offer) = w.offer(&forged);
        assert!(w.receive("bob", "sip:bob@x.example", &offer).1.is_err());
    }
}

#[test]
fn revocation() {
    let mut w = world();
    let ticket = w.ticket("alice", "sip:bob@x.example");
    let (_, offer) = w.offer(&ticket);
    let opens = |w: &mut World, offer: &[u8]| refused(&w.receive("bob", "sip:bob@x.example", offer).0);
    assert_eq!(opens(&mut w, &offer).0, 200);
    // The caller's tickets from before a time.
    w.kms.directory_mut().user_mut("alice").unwrap().tickets_not_before =
        Some(w.wall + Duration::from_secs(1));
    assert!(opens(&mut w, &offer).1.contains("before a revocation"));
    w.kms.directory_mut().user_mut("alice").unwrap().tickets_not_before = None;
    // The caller.
    w.kms.directory_mut().user_mut("alice").unwrap().revoked = true;
    assert!(opens(&mut w, &offer).1.contains("who is revoked"));
    let (_, octets) = w.request("alice", "sip:bob@x.example");
    assert_eq!(refused(&w.ask(&octets)), (403, "user `alice` is revoked".into()));
    w.kms.directory_mut().user_mut("alice").unwrap().revoked = false;
    // The called one.
    w.kms.directory_mut().user_mut("bob").unwrap().revoked = true;
    assert!(opens(&mut w, &offer).1.contains("user `bob` is revoked"));
    w.kms.directory_mut().user_mut("bob").unwrap().revoked = false;
    // This ticket and no other one, until it expires.
    let other = w.ticket("alice", "sip:bob@x.example");
    let (_, of_other) = w.offer(&other);
    let name = w.receive("bob", "sip:bob@x.example", &offer).0.audit.unwrap();
    let until = w.kms.revoked_until(name.expires, w.wall);
    assert_eq!(until, w.wall + w.profile.lifetime + w.profile.skew);
    w.kms.revoked_mut().put(name.ticket, until);
    let (outcome, keyed) = w.receive("bob", "sip:bob@x.example", &offer);
    assert_eq!(refused(&outcome), (403, "the ticket from sip:alice@x.example is revoked".into()));
    assert!(matches!(outcome.refusal.unwrap().error, Mikey::Validity(_)));
    // RFC 6043 §5.4: what bob is told is authenticated.
    assert!(matches!(keyed, Err(Mikey::Refused { .. })), "{:?}", keyed.err());
    assert_eq!(opens(&mut w, &of_other).0, 200);
    assert!(w.kms.is_revoked(&name));
    assert_eq!(w.kms.revoked_mut().expire(until + Duration::from_secs(1)), [name.ticket]);
    assert_eq!(opens(&mut w, &offer).0, 200);
    // All tickets.
    assert_eq!(opens(&mut w, &offer).0, 200);
    w.kms.revoke_tickets_before(w.wall + Duration::from_secs(1));
    assert!(opens(&mut w, &offer).1.contains("before a revocation"));
}

#[test]
fn keys_rotate_and_old_tickets_open_until_they_expire() {
    let mut w = world();
    let first = w.ticket("alice", "sip:bob@x.example");
    let (_, offer) = w.offer(&first);
    w.wall += Duration::from_secs(100);
    let key = w.kms.make_key(w.wall);
    w.kms.install_key(key);
    let second = w.ticket("alice", "sip:bob@x.example");
    assert!(w.kms.expire_keys(w.wall).is_empty());
    for offer in [&offer, &w.offer(&second).1] {
        assert_eq!(w.receive("bob", "sip:bob@x.example", offer).0.status, 200);
    }
    let names: Vec<String> = w.kms.ring().keys().iter().map(|k| k.id.clone()).collect();
    assert_eq!(names.len(), 2);
    // A day later the first key has no ticket left to open.
    w.wall += w.profile.lifetime + Duration::from_secs(301);
    assert_eq!(w.kms.expire_keys(w.wall), names[..1]);
    assert!(w.kms.key_due(w.wall).is_some());
}

#[test]
fn replays_and_old_messages() {
    let mut w = world();
    let (_, octets) = w.request("alice", "sip:bob@x.example");
    assert!(w.ask(&octets).refusal.is_none());
    let again = w.ask(&octets);
    assert_eq!(again.refusal.as_ref().unwrap().error, Mikey::Replay);
    assert!(again.audit.is_none());
    w.wall += Duration::from_secs(400);
    assert_eq!(w.ask(&octets).refusal.unwrap().error, Mikey::Skew(400));
    // A message that failed is not remembered: its sender was not proven.
    let kms = w.kms.config().identity.clone();
    let (_, bad) =
        w.request_as("alice", &psk("eve"), &id("sip:alice@x.example"), &id("sip:bob@x.example"), &kms);
    assert_eq!((w.ask(&bad).status, w.ask(&bad).status), (401, 401));
}

#[test]
fn an_expired_ticket_and_one_of_another_service() {
    let mut w = world();
    let ticket = w.ticket("alice", "sip:bob@x.example");
    let (_, offer) = w.offer(&ticket);
    let received = Received::parse(&w.profile, w.wall, &offer).unwrap();
    let kms = w.kms.config().identity.clone();
    w.wall += w.profile.lifetime + Duration::from_secs(2);
    let (_, octets) =
        received.resolve_init(w.wall, &mut w.rng, &id("sip:bob@x.example"), b"bob", &psk("bob"), &kms);
    let outcome = w.ask(&octets);
    assert_eq!(outcome.refusal.unwrap().error, Mikey::Validity("any more"));
    // The same users at a service with other ticket keys.
    let mut other = world();
    other.kms.install_key({
        let mut rng = SeededRandom::new(77);
        KeyRing::make(other.wall + Duration::from_secs(1), &mut rng)
    });
    let ticket = other.ticket("alice", "sip:bob@x.example");
    let (_, offer) = other.offer(&ticket);
    let (outcome, keyed) = world().receive("bob", "sip:bob@x.example", &offer);
    assert!(refused(&outcome).1.contains("no ticket key"), "{outcome:?}");
    assert!(matches!(keyed.err(), Some(Mikey::Refused { number: 0, authenticated: true })));
    // A service with another name.
    let mut elsewhere = world_with(Config::new(id("sip:kms.y.example")));
    let ticket = elsewhere.ticket("alice", "sip:bob@x.example");
    let (_, offer) = elsewhere.offer(&ticket);
    let (outcome, _) = world().receive("bob", "sip:bob@x.example", &offer);
    assert!(refused(&outcome).1.contains("another KMS, sip:kms.y.example"), "{outcome:?}");
}

#[test]
fn wishes_are_granted_within_bounds() {
    let mut w = world();
    let flags_and_end = |w: &mut World, lifetime: u64| {
        w.profile.lifetime = Duration::from_secs(lifetime);
        let ticket = w.ticket("alice", "sip:bob@x.example");
        let policy = &ticket.ticket().policy;
        let end = policy.valid_to().unwrap().to_wall().unwrap();
        (policy.flags.letters(), end.duration_since(w.wall).unwrap().as_secs())
    };
    assert_eq!(flags_and_end(&mut w, 600), ("DEFGHINO".into(), 600));
    // A week is cut to a day, and that is said.
    assert_eq!(flags_and_end(&mut w, 7 * 86400), ("DEFGHIKNO".into(), 86400));
}

#[test]
fn noise_is_answered_with_little() {
    let mut w = world();
    for octets in [&b""[..], b"\x01", b"\x01\x0b", &[0xff; 100], b"GET / HTTP/1.1\r\n\r\n"] {
        let outcome = w.ask(octets);
        assert_eq!((outcome.reply.len(), outcome.audit.is_none()), (0, true));
        assert!(outcome.status == 400 || outcome.status == 200);
    }
    // An Error message gets no answer, another message an Error message.
    let (_, mut octets) = w.request("alice", "sip:bob@x.example");
    octets[1] = 6;
    assert!(w.ask(&octets).reply.is_empty());
    octets[1] = 13;
    let outcome = w.ask(&octets);
    assert_eq!(outcome.reply.get(1), Some(&6));
}

#[test]
fn a_source_that_asks_too_often_waits_and_is_not_logged_for_ever() {
    let mut config = Config::new(id("sip:kms.x.example"));
    config.requests = Rate { burst: 10, per_second: 1.0 };
    config.log_lines = Rate { burst: 3, per_second: 0.1 };
    let mut w = world_with(config);
    let outcomes: Vec<Outcome> = (0..20).map(|_| w.ask(b"noise")).collect();
    assert_eq!(outcomes.iter().filter(|o| o.status == 429).count(), 10);
    assert_eq!(outcomes.iter().filter(|o| o.refusal.as_ref().unwrap().log).count(), 3);
    let other: IpAddr = "192.0.2.9".parse().unwrap();
    assert_ne!(w.kms.handle(w.wall, w.now, other, b"noise").status, 429);
    w.now += Duration::from_secs(1);
    assert_ne!(w.ask(b"noise").status, 429);
}

#[test]
fn names_and_identities_are_checked() {
    let mut d = Directory::default();
    d.put_user(user("alice")).unwrap();
    let mut twin = user("alice2");
    twin.identities = user("alice").identities;
    assert!(matches!(d.put_user(twin), Err(Error::Taken { .. })));
    for name in ["", "a b", "a\n", &"x".repeat(256)] {
        let bad = User { name: name.into(), ..user("x") };
        assert!(matches!(d.put_user(bad), Err(Error::Name(..))), "{name}");
    }
    // Replacing frees what is no longer claimed.
    let mut moved = user("alice");
    moved.identities = vec![Pattern::parse("sip:al@x.example").unwrap()];
    d.put_user(moved).unwrap();
    assert!(d.owner(&id("sip:alice@x.example")).is_none());
    assert!(d.remove_user("alice") && !d.remove_user("alice"));
    assert!(d.owner(&id("sip:al@x.example")).is_none());
    // Several at once, all or none.
    let together = |d: &Directory, users: &[User]| d.check_new(users).err();
    let p = |t: &str| Pattern::parse(t).unwrap();
    assert_eq!(together(&d, &[user("carol"), user("dave")]), None);
    assert_eq!(together(&d, &[user("carol"), user("carol")]), Some(Error::Exists("carol".into())));
    let twin = User { identities: user("carol").identities, ..user("dave") };
    assert_eq!(together(&d, &[user("carol"), twin]), Some(Error::Twice("sip:carol@x.example".into())));
    d.put_user(user("bob")).unwrap();
    assert_eq!(together(&d, &[user("bob")]), Some(Error::Exists("bob".into())));
    let group = |text: &str| Group { identity: id(text), members: vec![p("*")] };
    assert!(matches!(d.check_group(&group("sip:bob@x.example")), Err(Error::Taken { .. })));
    d.check_group(&group("sip:desk@x.example")).unwrap();
    d.put_group(group("sip:desk@x.example")).unwrap();
    let desk = User { identities: vec![p("sip:desk@x.example")], ..user("eve") };
    assert!(matches!(together(&d, &[desk]), Some(Error::Taken { .. })));
    for bad in ["", "bob", "http:*", "sip:*@*", "*@x"] {
        assert!(Pattern::parse(bad).is_err(), "{bad}");
    }
    let wide = Pattern::parse("sip:conf-*@X.example").unwrap();
    assert!(wide.matches(&id("sip:conf-1@x.example")) && !wide.matches(&id("sip:con@x.example")));
    assert_eq!(wide.to_string(), "sip:conf-*@x.example");
}
