//! A gateway's interfaces, as far as they show in the names of terminations.
//!
//! TS 23.334 §5.1: the names of terminations on one interface have something in common, so that one
//! ServiceChange can speak for all of them: `ip/1/access/*`. Which realm an interface leads to is
//! learnt from the terminations that were added there.

use carnet_h248::TerminationId;
use std::collections::{BTreeMap, BTreeSet};

/// Interfaces of one realm that are remembered, and patterns that are out of service.
const MOST: usize = 64;

/// What is known of the interfaces of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    /// By realm, a name on each interface with its last component replaced: `ip/1/access/0`.
    samples: BTreeMap<String, BTreeSet<TerminationId>>,
    down: Vec<TerminationId>,
}

impl Interfaces {
    /// A termination in that realm got that name.
    pub(crate) fn learn(&mut self, realm: &str, termination: &TerminationId) {
        let Some((interface, _)) = termination.as_str().rsplit_once('/') else { return };
        let sample = TerminationId::new(format!("{interface}/0"));
        if !self.samples.contains_key(realm) {
            if self.samples.len() >= MOST {
                return;
            }
            self.samples.insert(realm.to_owned(), BTreeSet::new());
        }
        if let Some(samples) = self.samples.get_mut(realm).filter(|s| s.len() < MOST) {
            samples.insert(sample);
        }
    }

    /// Terminations are out of service, or going.
    pub(crate) fn gone(&mut self, pattern: &TerminationId) {
        // One termination is no interface.
        if pattern.has_all() && self.down.len() < MOST && !self.down.contains(pattern) {
            self.down.push(pattern.clone());
        }
    }

    /// Terminations are in service again.
    pub(crate) fn back(&mut self, pattern: &TerminationId) {
        self.down.retain(|down| !pattern.matches(down));
    }

    /// What is out of service.
    pub(crate) fn down(&self) -> &[TerminationId] {
        &self.down
    }

    /// Whether every interface to that realm is out of service. Of a realm that was never used nothing
    /// is known, unless everything is down.
    pub(crate) fn is_down(&self, realm: &str) -> bool {
        if self.down.is_empty() {
            return false;
        }
        let is_down = |sample: &TerminationId| self.down.iter().any(|d| d.matches(sample));
        match self.samples.get(realm) {
            Some(samples) => samples.iter().all(is_down),
            None => self.down.iter().any(|d| d.as_str() == "*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_down_with_its_last_interface() {
        let mut interfaces = Interfaces::default();
        for (realm, name) in [("access", "ip/1/a1/17"), ("access", "ip/1/a2/18"), ("core", "ip/1/c/19")] {
            interfaces.learn(realm, &TerminationId::new(name));
        }
        interfaces.gone(&"ip/1/a1/*".into());
        assert!(!interfaces.is_down("access") && !interfaces.is_down("core"));
        interfaces.gone(&"ip/1/a2/18".into());
        assert!(!interfaces.is_down("access"), "one termination is no interface");
        interfaces.gone(&"ip/1/A2/*".into());
        assert!(interfaces.is_down("access") && !interfaces.is_down("core"));
        interfaces.back(&"ip/1/a1/*".into());
        assert!(!interfaces.is_down("access"));
        assert_eq!(interfaces.down(), [TerminationId::new("ip/1/a2/*")]);
        interfaces.gone(&"*".into());
        assert!(["access", "core", "other"].iter().all(|realm| interfaces.is_down(realm)));
        interfaces.back(&"*".into());
        assert!(interfaces.down().is_empty() && !interfaces.is_down("access"));
    }
}
