//! Handshakes of this process, counted by where they were made and what came of them.
//!
//! A handshake costs a thousand times what counting it does, so one lock is no matter.

use crate::Error;
use crate::report::{Report, Version};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What a count is kept by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handshake {
    /// What the context is for, as [`counted_at`](crate::CertificateContext::counted_at) said it.
    pub place: &'static str,
    /// We were the client.
    pub client: bool,
    /// What was agreed on, if it came about: version and cipher suite.
    pub agreed: Option<(Version, String)>,
}

/// Combinations that are told apart; there are as many as versions and suites allow, at each place.
const MOST: usize = 1_000;

static COUNTS: Mutex<BTreeMap<Handshake, u64>> = Mutex::new(BTreeMap::new());

/// All handshakes of contexts that said what they are for, since the start of the process.
pub fn handshakes() -> Vec<(Handshake, u64)> {
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    counts.iter().map(|(handshake, count)| (handshake.clone(), *count)).collect()
}

/// Counts one, if the context said what it is for.
pub(crate) fn count<S>(place: Option<&'static str>, client: bool, outcome: &Result<(S, Report), Error>) {
    let Some(place) = place else { return };
    let agreed = outcome.as_ref().ok().map(|(_, report)| (report.version, report.cipher.clone()));
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = Handshake { place, client, agreed };
    if counts.len() < MOST || counts.contains_key(&key) {
        *counts.entry(key).or_default() += 1;
    }
}
