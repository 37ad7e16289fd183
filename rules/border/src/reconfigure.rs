//! Other settings for a border that runs.
//!
//! Calls keep their gateways, contexts, contacts and deadlines; what is decided from now on, a further offer inside a
//! call included, follows the new settings. Left out, because calls are built on it: which networks there are, their
//! sockets, contacts, realms and IP versions, and who answers REGISTER.

use crate::border::Border;
use crate::config::{Config, Network, Registration};
use crate::event::Event;
use crate::registrar::aor_key;
use std::collections::HashSet;
use std::time::Instant;

impl Border {
    /// Goes on with `config`. A gateway that is not named any more gets no further contexts and keeps those it has; a
    /// user who is not named any more is not registered any more.
    ///
    /// # Errors
    /// What a border cannot change while it runs; nothing has changed then.
    pub fn reconfigure(&mut self, now: Instant, config: Config) -> Result<(), &'static str> {
        let own = &self.core.config;
        if own.name != config.name {
            return Err("its name");
        }
        let pairs = own.networks.iter().zip(&config.networks);
        if own.networks.len() != config.networks.len() || !pairs.clone().all(|(a, b)| stands(a, b)) {
            return Err("a network, or its sockets, contact, realm or IP version");
        }
        if !same_registrar(&own.registration, &config.registration) {
            return Err("who answers REGISTER");
        }
        if own.rtpengine.is_some() != config.rtpengine.is_some() {
            return Err("the rtpengine");
        }
        self.core.now = now;
        if let Registration::Local { users, .. } = &config.registration {
            let named: HashSet<String> = users.iter().map(|user| aor_key(&user.aor)).collect();
            for gone in self.core.registrar.keep(|aor| named.contains(aor)) {
                let (aor, contact) = (gone.aor.to_string(), gone.contact.to_string());
                self.core.events.push_back(Event::Unregistered { aor, contact });
            }
        }
        self.core.gateways.reconfigure(&config, &mut self.core.random, now);
        let (sip, rtpengine) = (self.core.config.sip.clone(), self.core.config.rtpengine);
        self.core.config = Config { sip, rtpengine, ..config };
        self.redirect();
        Ok(())
    }
}

/// Whether dialogs of one network can go on in the other.
fn stands(a: &Network, b: &Network) -> bool {
    a.name == b.name
        && a.listen == b.listen
        && a.contact.to_string() == b.contact.to_string()
        && a.access == b.access
        && a.realm == b.realm
        && a.family == b.family
}

fn same_registrar(a: &Registration, b: &Registration) -> bool {
    match (a, b) {
        (Registration::None, Registration::None) => true,
        (Registration::Local { realm: a, .. }, Registration::Local { realm: b, .. }) => a == b,
        (Registration::Forward { network: a, .. }, Registration::Forward { network: b, .. }) => a == b,
        _ => false,
    }
}
