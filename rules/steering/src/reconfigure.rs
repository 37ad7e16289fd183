//! Other settings for a steering that runs.
//!
//! Calls go on, with their contexts, dialogs and ends; what is decided from now on goes by the new settings. An interface that
//! is gone, or that leads to another realm than before, stays for the calls that are there, and no request can name it any
//! more. Left out: the names of both, and what is between them.

use crate::core::Core;
use crate::{Config, Interface, Steering};
use std::collections::BTreeSet;
use std::time::Instant;

/// Where interfaces are in the configuration that calls know by their places.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// That of requests without `direction`.
    usual: usize,
    /// Not named any more.
    closed: BTreeSet<usize>,
}

impl Core {
    /// The place of an interface that requests can name.
    pub(crate) fn interface(&self, name: &str) -> Option<usize> {
        self.interfaces().find(|(_, interface)| interface.name == name).map(|(place, _)| place)
    }

    /// Those that requests can name.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = (usize, &Interface)> {
        let all = self.config.interfaces.iter().enumerate();
        all.filter(|(place, _)| !self.places.closed.contains(place))
    }

    /// The place of the one that requests without `direction` mean.
    pub(crate) fn usual_interface(&self) -> usize {
        self.places.usual
    }
}

impl Steering {
    /// Goes on with `config`.
    ///
    /// # Errors
    /// What a steering cannot change while it runs; nothing has changed then.
    pub fn reconfigure(&mut self, now: Instant, mut config: Config) -> Result<(), &'static str> {
        let Core { config: own, places, .. } = &mut self.core;
        if own.name != config.name || own.gateway != config.gateway || own.transport != config.transport {
            return Err("its name, or its gateway");
        }
        let Some(first) = config.interfaces.first().map(|interface| interface.name.clone()) else {
            return Err("the last of its interfaces");
        };
        let mut new = std::mem::take(&mut config.interfaces);
        let mut all: Vec<Interface> = Vec::new();
        for (place, old) in own.interfaces.iter().enumerate() {
            // What was closed before does not come back: another one may have its name.
            let open = !places.closed.contains(&place);
            let same = |new: &Interface| open && new.name == old.name && new.realm == old.realm;
            match new.iter().position(same) {
                Some(at) => all.push(new.remove(at)),
                None => {
                    places.closed.insert(place);
                    all.push(old.clone());
                }
            }
        }
        all.extend(new);
        // Places at the end that no call can know are given again.
        let known =
            self.calls.values().flat_map(crate::call::Call::interfaces).max().map_or(0, |most| most + 1);
        while all.len() > known && places.closed.remove(&(all.len() - 1)) {
            all.pop();
        }
        self.core.now = now;
        self.core.config = Config { interfaces: all, ..config };
        self.core.places.usual = self.core.interface(&first).unwrap_or_default();
        Ok(())
    }
}
