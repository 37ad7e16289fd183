//! The keys that the KMS delivers, in their order, and what is derived from them.

use crate::payload::{Flags, KeyData};
use crate::prf::{Constant, Prf, Purpose, label};
use crate::registry::key_type;
use crate::{Error, Mpk, Tek};

/// MPKi, MPKr when keys are forked, and the session keys (RFC 6043 §4.2.1.5, §4.2.3.5).
pub(crate) struct KeySet {
    pub mpki: Mpk,
    /// MPKr at the initiator, MPKr' at the responder.
    pub mpkr: Option<Mpk>,
    pub session: Vec<KeyData>,
}

impl KeySet {
    pub fn new(keys: Vec<KeyData>, forking: bool) -> Result<Self, Error> {
        let mut keys = keys.into_iter();
        let mut mpk = || match keys.next() {
            Some(k) if k.key_type == key_type::MPK => Mpk::new(&k.key),
            _ => Err(Error::Rule("a KEMAC from the KMS begins with its MPKs")),
        };
        let mpki = mpk()?;
        let mpkr = if forking { Some(mpk()?) } else { None };
        let session: Vec<_> = keys.collect();
        if session.iter().any(|k| k.key_type >= key_type::MPK) {
            return Err(Error::Rule("a KEMAC from the KMS has one MPK, or two when keys are forked"));
        }
        Ok(Self { mpki, mpkr, session })
    }
}

/// The session key that `spi` names, or the first when it names none.
pub(crate) fn select<'a>(keys: &'a [KeyData], spi: &[u8]) -> Result<&'a KeyData, Error> {
    let found = if spi.is_empty() { keys.first() } else { keys.iter().find(|k| k.spi() == spi) };
    found.ok_or(Error::Rule("the SPI of the crypto session names no key of the ticket"))
}

/// Forks MPKr (RFC 6043 §5.1.1).
pub(crate) fn fork_mpkr(prf: Prf, mpkr: &Mpk, id_data: &[u8], rand_kms: &[u8]) -> Mpk {
    let label = label(Constant::ForkedMpkr, Purpose::Fork { id_data, rand_kms });
    Mpk::from_zeroizing(prf.derive(mpkr.expose(), &label, mpkr.expose().len()))
}

/// Forks a TGK; TEK and GTGK stay as they are (RFC 6043 §5.1.1).
pub(crate) fn fork_session(prf: Prf, key: &KeyData, id_data: &[u8], rand_kms: &[u8]) -> KeyData {
    let mut forked = key.duplicate();
    if key.is(key_type::TGK) {
        let label = label(Constant::ForkedTgk, Purpose::Fork { id_data, rand_kms });
        forked.key = prf.derive(&key.key, &label, key.key.len());
    }
    forked
}

/// The TEK of a crypto session (RFC 6043 §5.1.3). A key that already is a TEK is taken as it is.
pub(crate) fn traffic_key(
    prf: Prf,
    key: &KeyData,
    flags: Flags,
    cs_id: u8,
    rand_i: &[u8],
    rand_r: &[u8],
    len: usize,
) -> Result<Tek, Error> {
    if key.is(key_type::TEK) {
        return Tek::new(&key.key);
    }
    let rand_i = if flags.has(Flags::H) { rand_i } else { &[] };
    let rand_r = if flags.has(Flags::G) { rand_r } else { &[] };
    Tek::new(&prf.derive(&key.key, &label(Constant::Tek, Purpose::Traffic { cs_id, rand_i, rand_r }), len))
}
