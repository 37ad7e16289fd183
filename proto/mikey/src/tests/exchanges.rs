//! The three exchanges from end to end, and everything that must make them fail.

use crate::exchange::{ResolveRequest, TicketRequest};
use crate::payload::Payload;
use crate::*;
use carnet_wire::SeededRandom;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) struct World {
    pub profile: Profile,
    pub rng: SeededRandom,
    pub wall: SystemTime,
    pub alice: Identity,
    pub bob: Identity,
    pub kms: Identity,
    pub alice_psk: Psk,
    pub bob_psk: Psk,
    pub tpk: Tpk,
}

impl World {
    pub fn new(profile: Profile) -> Self {
        let mut rng = SeededRandom::new(7);
        let id = |s| Identity::from_uri(s).unwrap();
        Self {
            profile,
            alice_psk: Psk::generate(&mut rng),
            bob_psk: Psk::generate(&mut rng),
            tpk: Tpk::generate(&mut rng),
            rng,
            wall: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            alice: id("sip:alice@a.example"),
            bob: id("sip:bob@b.example"),
            kms: id("sip:kms.example"),
        }
    }

    pub fn request(&mut self) -> (PendingRequest, Vec<u8>) {
        request_init(
            &self.profile,
            self.wall,
            &mut self.rng,
            &self.alice,
            b"alice",
            &self.alice_psk,
            &self.kms,
            &self.bob,
        )
    }

    /// What a KMS that grants everything answers.
    pub fn grant(&mut self, octets: &[u8]) -> Vec<u8> {
        let request = TicketRequest::parse(&self.profile, self.wall, octets).unwrap();
        assert_eq!(request.psk_id().unwrap().data, b"alice");
        let verified = request.verify(&self.alice_psk, &self.alice, &self.kms).unwrap();
        let mut policy = verified.policy().unwrap().clone();
        policy.data.retain(|p| !matches!(p, Payload::Kemac(_)));
        verified.grant(policy, &self.tpk, b"tpk-1", self.wall, &mut self.rng).unwrap().octets
    }

    pub fn ticket(&mut self) -> GrantedTicket {
        let (pending, octets) = self.request();
        let answer = self.grant(&octets);
        pending.response(&answer, self.wall).unwrap()
    }

    pub fn resolve(&mut self, octets: &[u8]) -> Result<Vec<u8>, Error> {
        let request = ResolveRequest::parse(&self.profile, self.wall, octets)?;
        let verified = request.verify(&self.bob_psk, &self.bob, &self.kms)?;
        if verified.tpk_id()?.is_none_or(|id| id.data != b"tpk-1") {
            return Err(Error::Authentication("no such key"));
        }
        let opened = verified.open(&self.profile, &self.tpk, self.wall)?;
        Ok(verified.answer(&opened, &self.bob, self.wall, &mut self.rng)?.octets)
    }

    pub fn receive(&mut self, offer: &[u8]) -> Result<(Keyed, Vec<u8>), Error> {
        let received = Received::parse(&self.profile, self.wall, offer)?;
        let (pending, octets) =
            received.resolve_init(self.wall, &mut self.rng, &self.bob, b"bob", &self.bob_psk, &self.kms);
        let answer = self.resolve(&octets)?;
        pending.response(&received, &answer, self.wall, &mut self.rng)
    }
}

fn profiles() -> Vec<Profile> {
    let plain = |p: Profile| Profile { forking: false, ..p };
    vec![Profile::default(), plain(Profile::default()), Profile::interop_128(), plain(Profile::interop_128())]
}

#[test]
fn both_ends_come_to_the_same_key() {
    for profile in profiles() {
        let mut w = World::new(profile);
        let ticket = w.ticket();
        let (offered, offer) = ticket.offer(&w.profile, w.wall, &mut w.rng);
        let (bob, answer) = w.receive(&offer).unwrap();
        let alice = offered.answer(&answer, w.wall).unwrap();
        assert!(alice.tek == bob.tek);
        assert_eq!(alice.tek.expose().len(), w.profile.tek_len);
        assert_eq!(alice.psk_identity, bob.psk_identity);
        assert_eq!(alice.psk_identity, format!("mikey-ticket:{:08x}:01", offered.csb_id()));
        assert_eq!((alice.peer, bob.peer), (w.bob.clone(), w.alice.clone()));
    }
}
