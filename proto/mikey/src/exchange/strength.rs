//! How long random numbers and keys must be (RFC 6043 §12.1).
//!
//! That every key has 128 bits is checked where keys are read. Here: random numbers against the keys
//! they go with, and session keys against the algorithms.

use super::keyset::KeySet;
use crate::payload::KeyData;
use crate::registry::key_type;
use crate::{Error, Suite};

/// RANDRi and RANDRr together are at least as long as the longest of these keys.
pub(crate) fn randoms(rand_i: &[u8], rand_r: &[u8], longest: usize) -> Result<(), Error> {
    if rand_i.len() + rand_r.len() < longest {
        return Err(Error::Key("the random numbers together are shorter than the key they go with"));
    }
    Ok(())
}

/// The random numbers of a transfer against its keys.
pub(crate) fn transfer(
    mpks: &[usize],
    session: &[KeyData],
    rand_i: &[u8],
    rand_r: &[u8],
    rand_kms: Option<&[u8]>,
) -> Result<(), Error> {
    let derived = |k: &&KeyData| k.is(key_type::TGK) || k.is(key_type::GTGK);
    let mpk = mpks.iter().copied().max().unwrap_or(0);
    let longest = session.iter().filter(derived).map(|k| k.key.len()).fold(mpk, usize::max);
    randoms(rand_i, rand_r, longest)?;
    let Some(rand_kms) = rand_kms else { return Ok(()) };
    let forked = session.iter().filter(|k| k.is(key_type::TGK)).map(|k| k.key.len()).fold(mpk, usize::max);
    if rand_kms.len() < forked {
        return Err(Error::Key("RANDRkms is shorter than a key that is forked with it"));
    }
    Ok(())
}

/// Session keys of more than 128 bits do not go with algorithms of 128 bits.
pub(crate) fn session_keys(suite: Suite, keys: &KeySet) -> Result<(), Error> {
    let long = |k: &KeyData| k.key.len() > 16;
    if suite == Suite::Bits128 && keys.session.iter().any(long) {
        return Err(Error::Key("a session key of more than 128 bits with algorithms of 128 bits"));
    }
    Ok(())
}
