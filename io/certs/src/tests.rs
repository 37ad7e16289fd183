//! Signed requests to a service that believes one authority.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use crate::{Authorities, EnvelopeFor, Error, Signature};
use carnet_keys::{Config, Directory, KeyRing, Kms, Outcome, Pattern, Rules, User};
use carnet_mikey::exchange::public_key::{Credentials, Envelope, request_init_signed};
use carnet_mikey::{Error as Mikey, Identity, Profile, Psk, Received, Tek};
use carnet_wire::{Random, SeededRandom};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::encrypt::Encrypter;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Made {
    certificate: X509,
    key: PKey<Private>,
}

impl Made {
    /// A certificate for `uri`, from a day before now until `days` after, issued by `by` or itself.
    fn new(name: &str, uri: Option<&str>, days: i64, bits: u32, by: Option<&Self>) -> Self {
        let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut x = X509::builder().unwrap();
        x.set_version(2).unwrap();
        x.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
        x.set_subject_name(&subject).unwrap();
        x.set_issuer_name(by.map_or(&*subject, |by| by.certificate.subject_name())).unwrap();
        x.set_pubkey(&key).unwrap();
        let at = |days: i64| {
            let seconds = seconds(SystemTime::now()) + days * 86_400;
            Asn1Time::from_unix(seconds).unwrap()
        };
        x.set_not_before(&at(-1)).unwrap();
        x.set_not_after(&at(days)).unwrap();
        match uri {
            Some(uri) => {
                let names =
                    SubjectAlternativeName::new().uri(uri).build(&x.x509v3_context(None, None)).unwrap();
                x.append_extension(names).unwrap();
            }
            None => x.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap(),
        }
        x.sign(by.map_or(&key, |by| &by.key), MessageDigest::sha256()).unwrap();
        Self { certificate: x.build(), key }
    }

    fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    fn signature(&self, pss: bool) -> Signature {
        Signature::from_pem(&self.pem(), &self.key_pem(), pss).unwrap()
    }
}

fn seconds(wall: SystemTime) -> i64 {
    wall.duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn id(text: &str) -> Identity {
    Identity::from_uri(text).unwrap()
}

struct World {
    kms: Kms,
    rng: SeededRandom,
    profile: Profile,
    wall: SystemTime,
    root: Made,
    own: Made,
}

fn world() -> World {
    let root = Made::new("root", None, 30, 2048, None);
    let own = Made::new("kms", Some("sip:kms.example"), 30, 2048, Some(&root));
    let mut rng = SeededRandom::new(3);
    let mut directory = Directory::default();
    for name in ["alice", "bob"] {
        directory
            .put_user(User {
                name: name.into(),
                identities: vec![Pattern::parse(&format!("sip:{name}@x.example")).unwrap()],
                psk: Psk::generate(&mut rng),
                revoked: false,
                tickets_not_before: None,
            })
            .unwrap();
    }
    let wall = SystemTime::now();
    let seed = rng.u64();
    let random = Box::new(SeededRandom::new(seed));
    let config = Config::new(id("sip:kms.example"));
    let mut kms = Kms::new(config, directory, Rules::default(), KeyRing::default(), random, wall);
    let key = kms.make_key(wall);
    kms.install_key(key);
    let authorities = Authorities::from_pem(&own.pem(), &own.key_pem(), &root.pem()).unwrap();
    kms.serve_signed(Box::new(authorities));
    World { kms, rng, profile: Profile::default(), wall, root, own }
}

impl World {
    fn ask(&mut self, octets: &[u8]) -> Outcome {
        self.kms.handle(self.wall, Instant::now(), IpAddr::V4(Ipv4Addr::LOCALHOST), octets)
    }

    fn request(&mut self, signer: &Signature, envelope: &dyn Envelope, me: &str) -> (Outcome, Option<Mikey>) {
        let credentials = Credentials { signer, envelope };
        let (me, kms, bob) = (id(me), id("sip:kms.example"), id("sip:bob@x.example"));
        let (pending, octets) =
            request_init_signed(&self.profile, self.wall, &mut self.rng, &me, credentials, &kms, &bob)
                .unwrap();
        let outcome = self.ask(&octets);
        let error = pending.response(&outcome.reply, self.wall).err();
        (outcome, error)
    }

    /// A whole call whose two ends only sign.
    fn call(&mut self, pss: bool) -> (Tek, Tek) {
        let alice = Made::new("alice", Some("sip:alice@x.example"), 30, 2048, Some(&self.root));
        let bob = Made::new("bob", Some("sip:bob@X.example"), 30, 2048, Some(&self.root));
        let envelope = EnvelopeFor::from_pem(&self.own.pem()).unwrap();
        let (me, kms, callee) = (id("sip:alice@x.example"), id("sip:kms.example"), id("sip:bob@x.example"));
        let signer = alice.signature(pss);
        let credentials = Credentials { signer: &signer, envelope: &envelope };
        let (pending, octets) =
            request_init_signed(&self.profile, self.wall, &mut self.rng, &me, credentials, &kms, &callee)
                .unwrap();
        let issued = self.ask(&octets);
        assert_eq!(issued.audit.as_ref().unwrap().user, "alice", "{issued:?}");
        // Nor is a signed message taken twice.
        assert_eq!(self.ask(&octets).refusal.unwrap().error, Mikey::Replay);
        let ticket = pending.response(&issued.reply, self.wall).unwrap();
        let (offered, offer) = ticket.offer(&self.profile, self.wall, &mut self.rng);
        let received = Received::parse(&self.profile, self.wall, &offer).unwrap();
        let signer = bob.signature(pss);
        let credentials = Credentials { signer: &signer, envelope: &envelope };
        let (pending, octets) =
            received.resolve_init_signed(self.wall, &mut self.rng, &callee, credentials, &kms).unwrap();
        let resolved = self.ask(&octets);
        assert_eq!(resolved.audit.as_ref().unwrap().user, "bob", "{resolved:?}");
        let (bob, answer) = pending.response(&received, &resolved.reply, self.wall, &mut self.rng).unwrap();
        (offered.answer(&answer, self.wall).unwrap().tek, bob.tek)
    }
}

#[test]
fn a_call_between_two_who_sign() {
    let mut w = world();
    for pss in [false, true] {
        let (alice, bob) = w.call(pss);
        assert!(alice == bob);
    }
    w.profile = Profile { tek_len: 16, ..Profile::interop_128() };
    let outcome = {
        let alice = Made::new("alice", Some("sip:alice@x.example"), 30, 2048, Some(&w.root));
        let envelope = EnvelopeFor::from_pem(&w.own.pem()).unwrap();
        w.request(&alice.signature(false), &envelope, "sip:alice@x.example").0
    };
    assert!(outcome.refusal.is_some(), "128-bit algorithms were not allowed");
}

#[test]
fn a_certificate_must_be_vouched_for_and_ones_own() {
    let mut w = world();
    let envelope = EnvelopeFor::from_pem(&w.own.pem()).unwrap();
    let other = Made::new("other root", None, 30, 2048, None);
    let alice = "sip:alice@x.example";
    let wanted = |number, authenticated| Some(Mikey::Refused { number, authenticated });
    let cases = [
        (Made::new("a", Some(alice), 30, 2048, Some(&other)), wanted(8, false), "no known authority"),
        (Made::new("a", Some(alice), 30, 2048, None), wanted(8, false), "no known authority"),
        (Made::new("a", Some(alice), 30, 1024, Some(&w.root)), None, ""),
        (
            Made::new("a", Some("sip:bob@x.example"), 30, 2048, Some(&w.root)),
            wanted(0, false),
            "is not of sip:alice",
        ),
        (Made::new("a", Some(alice), 30, 2048, Some(&w.root)), None, ""),
    ];
    for (made, error, reason) in cases {
        let Ok(signer) = Signature::from_pem(&made.pem(), &made.key_pem(), false) else {
            assert_eq!(made.key.bits(), 1024);
            continue;
        };
        let (outcome, told) = w.request(&signer, &envelope, alice);
        assert_eq!(told, error, "{outcome:?}");
        if error.is_some() {
            assert!(outcome.refusal.as_ref().unwrap().reason.contains(reason), "{outcome:?}");
            assert!(outcome.audit.is_none());
        }
    }
    // A certificate of somebody who is no user, and one that has expired.
    let zoe = Made::new("zoe", Some("sip:zoe@x.example"), 30, 2048, Some(&w.root));
    let (outcome, told) = w.request(&zoe.signature(false), &envelope, "sip:zoe@x.example");
    assert_eq!((outcome.status, told), (401, wanted(0, false)));
    let old = Made::new("alice", Some(alice), 1, 2048, Some(&w.root));
    w.wall += Duration::from_secs(2 * 86_400);
    let (_, told) = w.request(&old.signature(false), &envelope, alice);
    assert_eq!(told, wanted(8, false));
}

#[test]
fn what_was_changed_or_sealed_for_another_does_not_pass() {
    let mut w = world();
    let alice = Made::new("alice", Some("sip:alice@x.example"), 30, 2048, Some(&w.root));
    let signer = alice.signature(false);
    let (me, kms, bob) = (id("sip:alice@x.example"), id("sip:kms.example"), id("sip:bob@x.example"));
    let envelope = EnvelopeFor::from_pem(&w.own.pem()).unwrap();
    let credentials = Credentials { signer: &signer, envelope: &envelope };
    let (_, octets) =
        request_init_signed(&w.profile, w.wall, &mut w.rng, &me, credentials, &kms, &bob).unwrap();
    for at in [octets.len() - 1, octets.len() - 300, 25] {
        let mut bad = octets.clone();
        bad[at] ^= 1;
        let outcome = w.ask(&bad);
        assert!(outcome.refusal.is_some() && outcome.audit.is_none(), "octet {at}");
    }
    // Signed rightly, but the envelope is for somebody else.
    let wrong = EnvelopeFor::from_pem(&alice.pem()).unwrap();
    let (outcome, told) = w.request(&signer, &wrong, "sip:alice@x.example");
    assert!(outcome.refusal.as_ref().unwrap().reason.contains("envelope does not open"), "{outcome:?}");
    assert_eq!(told, Some(Mikey::Refused { number: 0, authenticated: false }));
    // The padding that RFC 3830 makes mandatory opens too.
    let (outcome, told) = w.request(&signer, &Old(&w.own.key.clone()), "sip:alice@x.example");
    assert_eq!((told, outcome.status), (None, 200));
}

/// Seals with PKCS#1 v1.5.
struct Old<'a>(&'a PKey<Private>);

impl Envelope for Old<'_> {
    fn seal(&self, env_key: &[u8]) -> Result<Vec<u8>, Mikey> {
        let mut encrypter = Encrypter::new(self.0).unwrap();
        encrypter.set_rsa_padding(Padding::PKCS1).unwrap();
        let mut sealed = vec![0; encrypter.encrypt_len(env_key).unwrap()];
        let len = encrypter.encrypt(env_key, &mut sealed).unwrap();
        sealed.truncate(len);
        Ok(sealed)
    }
}

#[test]
fn files_that_do_not_fit() {
    let (a, b) = (Made::new("a", None, 1, 2048, None), Made::new("b", None, 1, 2048, None));
    let short = Made::new("c", None, 1, 1024, None);
    let load =
        |c: &Made, k: &Made, ca: &[u8]| Authorities::from_pem(&c.pem(), &k.key_pem(), ca).err().unwrap();
    assert!(matches!(load(&a, &b, &a.pem()), Error::Mismatch));
    assert!(matches!(load(&a, &a, b""), Error::Empty));
    assert!(matches!(load(&short, &short, &a.pem()), Error::Key));
    assert!(matches!(Authorities::from_pem(b"x", b"y", b"z"), Err(Error::Unreadable("the certificate", _))));
    assert!(matches!(EnvelopeFor::from_pem(&short.pem()), Err(Error::Key)));
}
