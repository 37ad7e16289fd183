//! The public-key variants of the KMS's exchanges: REQUEST_INIT_PK and RESOLVE_INIT_PK (RFC 6043
//! §4.2.1.3, §4.2.3.3).
//!
//! The sender signs, and sends a fresh key in an envelope that only the KMS can open. That key
//! takes the place of the pre-shared key in what the KMS answers. No public-key algorithm is here:
//! signing, checking, sealing and opening are done by whoever implements [`Signer`], [`Verifier`],
//! [`Envelope`] and [`Opener`]. The KMS's side is [`Asked::verify_signed`](super::Asked::verify_signed).

use super::common::{fresh_rand, idr, kms_header};
use super::request::{PendingRequest, wanted_policy};
use super::resolve::PendingResolve;
use super::{Received, service::Subject};
use crate::key::EnvelopeKey;
use crate::payload::{Payload, Pke, Sign, Ticket, TicketPolicy};
use crate::prf::Purpose;
use crate::registry::{cert_type, role};
use crate::{AuthKey, Error, Header, Identity, Message, MessageKeys, Profile, Suite, Timestamp};
use carnet_wire::Random;
use std::time::SystemTime;

/// Makes signatures with a party's private key.
pub trait Signer {
    /// S type: 0 RSA PKCS#1 v1.5, 1 RSA PSS, 2 ECCSI.
    fn sign_type(&self) -> u8;
    /// Octets of every signature it makes, at most 4095.
    fn signature_len(&self) -> usize;
    /// Signs `octets`.
    fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, Error>;
    /// X.509 certificates for CERT payloads, own one first, each certified by the next; DER.
    fn certificates(&self) -> &[Vec<u8>];
}

/// Checks signatures with a party's public key.
pub trait Verifier {
    /// Whether `signature` of kind `sign_type` over `octets` is right.
    fn verify(&self, sign_type: u8, octets: &[u8], signature: &[u8]) -> Result<(), Error>;
}

/// Encrypts an envelope key with the public key of the KMS.
pub trait Envelope {
    /// The envelope key, encrypted; at most 16383 octets.
    fn seal(&self, env_key: &[u8]) -> Result<Vec<u8>, Error>;
}

/// Decrypts envelope keys with the private key of the KMS.
pub trait Opener {
    /// The envelope key. What does not open is an [`Error::Authentication`], whatever is wrong
    /// with it.
    fn open(&self, sealed: &[u8]) -> Result<EnvelopeKey, Error>;
}

/// What a party needs to ask with a signature.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Its own private key and certificates.
    pub signer: &'a dyn Signer,
    /// The public key of the KMS.
    pub envelope: &'a dyn Envelope,
}

/// Asks `kms` for a ticket from `me` to `callee`, with a signature. Gives what to keep and what to
/// send: REQUEST_INIT_PK.
pub fn request_init_signed(
    profile: &Profile,
    wall: SystemTime,
    rng: &mut dyn Random,
    me: &Identity,
    credentials: Credentials<'_>,
    kms: &Identity,
    callee: &Identity,
) -> Result<(PendingRequest, Vec<u8>), Error> {
    let wanted = Payload::Tp(wanted_policy(profile, wall, rng, kms, me, callee));
    let asked = ask::<TicketPolicy>(profile.suite, wall, rng, me, credentials, kms, wanted)?;
    let pending = PendingRequest {
        profile: profile.clone(),
        header: asked.header,
        octets: asked.octets.clone(),
        init_key: asked.init_key,
        keys: asked.keys,
        me: me.clone(),
        kms: kms.clone(),
        callee: callee.clone(),
    };
    Ok((pending, asked.octets))
}

impl Received {
    /// Asks `kms` for the keys of the ticket, as `me`, with a signature. Gives what to keep and
    /// what to send: RESOLVE_INIT_PK.
    pub fn resolve_init_signed(
        &self,
        wall: SystemTime,
        rng: &mut dyn Random,
        me: &Identity,
        credentials: Credentials<'_>,
        kms: &Identity,
    ) -> Result<(PendingResolve, Vec<u8>), Error> {
        // Octet for octet, Initiator Data included.
        let ticket = Payload::Ticket(self.ticket.clone());
        let asked = ask::<Ticket>(self.suite, wall, rng, me, credentials, kms, ticket)?;
        let pending = PendingResolve {
            header: asked.header,
            octets: asked.octets.clone(),
            init_key: asked.init_key,
            keys: asked.keys,
            me: me.clone(),
            kms: kms.clone(),
        };
        Ok((pending, asked.octets))
    }
}

/// A signed request and the keys of what follows.
struct Signed {
    header: Header,
    octets: Vec<u8>,
    init_key: AuthKey,
    keys: MessageKeys,
}

fn ask<S: Subject>(
    suite: Suite,
    wall: SystemTime,
    rng: &mut dyn Random,
    me: &Identity,
    credentials: Credentials<'_>,
    kms: &Identity,
    subject: Payload,
) -> Result<Signed, Error> {
    let [_, data_type] = S::DATA_TYPES;
    let Credentials { signer, envelope } = credentials;
    let header = kms_header(data_type, suite, rng.u32(), true);
    let env_key = EnvelopeKey::generate(rng, suite.key_len());
    let rand = fresh_rand(rng, env_key.expose().len());
    let mut payloads = vec![
        Payload::T(Timestamp::from_wall(wall)),
        Payload::Randr { role: S::PARTY, rand: rand.clone() },
        idr(S::PARTY, me),
    ];
    let certificate = |der: &Vec<u8>| Payload::Cert { cert_type: cert_type::X509, data: der.clone() };
    payloads.extend(signer.certificates().iter().map(certificate));
    payloads.push(idr(role::KMS, kms));
    payloads.push(subject);
    payloads.push(Payload::Pke(Pke { cache: 0, data: envelope.seal(env_key.expose())? }));
    let empty = vec![0; signer.signature_len()];
    payloads.push(Payload::Sign(Sign { sign_type: signer.sign_type(), signature: empty }));
    let mut octets = Message { header: header.clone(), payloads }.print();
    octets.truncate(octets.len().saturating_sub(signer.signature_len()));
    let signature = signer.sign(&signed_octets(&octets, me, kms))?;
    if signature.len() != signer.signature_len() {
        return Err(Error::Key("the signature has another length than was said"));
    }
    octets.extend_from_slice(&signature);
    let (rand_i, rand_r): (&[u8], &[u8]) =
        if S::PARTY == role::RESPONDER { (&[], &rand) } else { (&rand, &[]) };
    let purpose = |response| Purpose::Message { csb_id: header.csb_id, response, rand_i, rand_r };
    Ok(Signed {
        init_key: AuthKey::derive(suite, env_key.expose(), purpose(false)),
        keys: MessageKeys::derive(suite, env_key.expose(), purpose(true)),
        header,
        octets,
    })
}

/// RFC 6043 §5.5: the message without the signature, then the identities.
pub(super) fn signed_octets(octets: &[u8], party: &Identity, kms: &Identity) -> Vec<u8> {
    [octets, &party.data, &kms.data].concat()
}
