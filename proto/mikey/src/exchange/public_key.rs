//! The public-key variants of the KMS's exchanges: REQUEST_INIT_PK and RESOLVE_INIT_PK (RFC 6043
//! §4.2.1.3, §4.2.3.3).
//!
//! Signing, verifying and the envelope are done by whoever implements [`Signer`], [`Verifier`] and
//! [`Envelope`]; no public-key algorithm is here, and Carnet's own KMS does not serve these variants.

use super::common::{fresh_rand, idr, kms_header};
use super::request::wanted_policy;
use crate::payload::{Payload, Pke, Sign, Ticket};
use crate::registry::{data_type, role};
use crate::{Error, Identity, Message, Profile, Timestamp};
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
    /// Certificates for CERT payloads, own one first, each certified by the next; DER.
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

/// What a party signs for: a wanted ticket, or one to be resolved.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// REQUEST_INIT_PK: a ticket to this callee.
    Request(&'a Identity),
    /// RESOLVE_INIT_PK: this ticket.
    Resolve(&'a Ticket),
}

/// Makes REQUEST_INIT_PK or RESOLVE_INIT_PK from `me` to `kms`.
#[allow(clippy::too_many_arguments, reason = "the exchange has this many inputs")]
pub fn init(
    profile: &Profile,
    wall: SystemTime,
    rng: &mut dyn Random,
    me: &Identity,
    kms: &Identity,
    subject: Subject<'_>,
    env_key: &[u8],
    signer: &dyn Signer,
    envelope: &dyn Envelope,
) -> Result<Vec<u8>, Error> {
    let (data_type, party) = match subject {
        Subject::Request(_) => (data_type::REQUEST_INIT_PK, role::INITIATOR),
        Subject::Resolve(_) => (data_type::RESOLVE_INIT_PK, role::RESPONDER),
    };
    let header = kms_header(data_type, profile.suite, rng.u32(), true);
    let rand = fresh_rand(rng, env_key.len().min(255));
    let mut payloads =
        vec![Payload::T(Timestamp::from_wall(wall)), Payload::Randr { role: party, rand }, idr(party, me)];
    payloads
        .extend(signer.certificates().iter().map(|der| Payload::Cert { cert_type: 0, data: der.clone() }));
    payloads.push(idr(role::KMS, kms));
    payloads.push(match subject {
        Subject::Request(callee) => Payload::Tp(wanted_policy(profile, wall, rng, kms, me, callee)),
        Subject::Resolve(ticket) => Payload::Ticket(ticket.clone()),
    });
    payloads.push(Payload::Pke(Pke { cache: 0, data: envelope.seal(env_key)? }));
    let empty = vec![0; signer.signature_len()];
    payloads.push(Payload::Sign(Sign { sign_type: signer.sign_type(), signature: empty }));
    let mut octets = Message { header, payloads }.print();
    octets.truncate(octets.len().saturating_sub(signer.signature_len()));
    let signature = signer.sign(&covered(&octets, me, kms))?;
    if signature.len() != signer.signature_len() {
        return Err(Error::Key("the signature has another length than was said"));
    }
    octets.extend_from_slice(&signature);
    Ok(octets)
}

/// Checks the signature of a REQUEST_INIT_PK or RESOLVE_INIT_PK from `party` to `kms`.
pub fn verify(
    message: &Message,
    octets: &[u8],
    party: &Identity,
    kms: &Identity,
    verifier: &dyn Verifier,
) -> Result<(), Error> {
    let Some(Payload::Sign(sign)) = message.payloads.last() else { return Err(Error::Missing("SIGN")) };
    let end = octets.len().saturating_sub(sign.signature.len());
    let signed = covered(octets.get(..end).unwrap_or_default(), party, kms);
    verifier.verify(sign.sign_type, &signed, &sign.signature)
}

/// RFC 6043 §5.5: the message without the signature, then the identities.
fn covered(octets: &[u8], party: &Identity, kms: &Identity) -> Vec<u8> {
    [octets, &party.data, &kms.data].concat()
}
