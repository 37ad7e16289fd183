//! Collects what the roles show while the conference runs.

use super::network::{self, MEDIA, ROOM};
use crate::roles::{Observer, Seen, printed};
use carnet_conference::Event as Happened;
use carnet_gateway::media::Event;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages kept for the search at the end; the conference has some thousand.
const MOST_MESSAGES: usize = 50_000;

/// A gateway on the way of members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hop {
    /// TLS records that passed.
    pub records: u64,
    /// Octets that passed outside TLS records, or unseen.
    pub in_clear: u64,
    /// Whether H.248 told it anything but a transport.
    pub told_more: bool,
    /// Streams that passed.
    pub streams: usize,
    /// Contexts and ports it holds.
    pub contexts: usize,
    pub ports: usize,
}

/// What has been seen so far. Clones share it.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    hops: BTreeMap<String, Hop>,
    registered: usize,
    /// SIP and H.248 messages as they passed.
    messages: Vec<Vec<u8>>,
    /// By version and suite: the media server's TLS associations.
    sealed: BTreeMap<String, usize>,
    /// What the conference server said happened in the room.
    happened: Vec<Happened>,
}

impl Watch {
    /// Nothing seen yet.
    pub fn new() -> Self {
        let this = Self::default();
        this.state().hops = network::gateways().map(|name| (name, Hop::default())).collect();
        this
    }

    /// For the roles.
    pub fn observer(&self) -> Observer {
        let this = self.clone();
        Arc::new(move |seen| this.state().see(&seen))
    }

    /// The gateways on the way, by name.
    pub fn hops(&self) -> BTreeMap<String, Hop> {
        self.state().hops.clone()
    }

    /// How many gateways have registered.
    pub fn gateways_up(&self) -> usize {
        self.state().registered
    }

    /// Whether no gateway holds anything.
    pub fn all_released(&self) -> bool {
        self.state().hops.values().all(|hop| hop.contexts == 0 && hop.ports == 0)
    }

    /// How many messages were seen, and how many of them hold one of these texts.
    pub fn search(&self, texts: &[String]) -> (usize, usize) {
        let state = self.state();
        let holds = |m: &&Vec<u8>| {
            texts.iter().any(|text| m.windows(text.len()).any(|window| window == text.as_bytes()))
        };
        (state.messages.len(), state.messages.iter().filter(holds).count())
    }

    /// The media server's TLS associations, by version and suite.
    pub fn sealed(&self) -> BTreeMap<String, usize> {
        self.state().sealed.clone()
    }

    /// Why a member is not there any more, as the conference server says it.
    pub fn left(&self, who: &str) -> Option<String> {
        self.state().happened.iter().rev().find_map(|event| match event {
            Happened::Left { member, reason, .. } if member == who => Some(reason.to_string()),
            _ => None,
        })
    }

    /// Who has held the floor, in order; nobody is left out.
    pub fn holders(&self) -> Vec<String> {
        let mut list: Vec<String> = Vec::new();
        for event in &self.state().happened {
            let Happened::Floor { holders, .. } = event else { continue };
            let Some(holder) = holders.first() else { continue };
            if list.last() != Some(holder) {
                list.push(holder.clone());
            }
        }
        list
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see(&mut self, seen: &Seen<'_>) {
        match seen {
            Seen::Sip { octets, .. } => self.keep(octets.to_vec()),
            Seen::Command { gateway, message } => {
                let text = printed(message);
                if let Some(hop) = self.hops.get_mut(*gateway) {
                    let lower = text.to_ascii_lowercase();
                    let words =
                        ["fingerprint", "psk", "tlsbsc", "crntls", "crnroom", "key-mgmt", "msrp", "bfcp"];
                    hop.told_more |= words.iter().any(|word| lower.contains(word));
                }
                self.keep(text.into_bytes());
            }
            Seen::Border { event: carnet_border::Event::GatewayUp { .. }, .. }
            | Seen::Conference { event: Happened::GatewayUp { .. }, .. } => self.registered += 1,
            Seen::Conference { event, .. } if event.room() == Some(ROOM) => {
                self.happened.push((*event).clone());
            }
            Seen::Media { gateway, event } => self.media(gateway, event),
            Seen::Holds { gateway, contexts, .. } => {
                if let Some(hop) = self.hops.get_mut(*gateway) {
                    hop.contexts = *contexts;
                }
            }
            Seen::Border { .. }
            | Seen::Conference { .. }
            | Seen::Steering { .. }
            | Seen::Control { .. }
            | Seen::Ng { .. }
            | Seen::Kms { .. }
            | Seen::Gateway { .. }
            | Seen::Counted { .. }
            | Seen::Finished { .. } => {}
        }
    }

    fn media(&mut self, gateway: &str, event: &Event) {
        if let Event::Sealed { version, suite, .. } = event
            && gateway == MEDIA
        {
            *self.sealed.entry(format!("{version} {suite}")).or_default() += 1;
        }
        let Some(hop) = self.hops.get_mut(gateway) else { return };
        match event {
            Event::Bound { .. } => hop.ports += 1,
            Event::Released { statistics, .. } => {
                hop.ports -= 1;
                let witness = statistics.witness.as_deref();
                hop.streams += usize::from(statistics.octets_received > 0);
                hop.records += witness.map_or(0, |w| w.records);
                // What was not looked at is not known to have been in records.
                hop.in_clear += witness.map_or(statistics.octets_received, |w| w.outside + w.unobserved);
            }
            _ => {}
        }
    }

    fn keep(&mut self, message: Vec<u8>) {
        if self.messages.len() < MOST_MESSAGES {
            self.messages.push(message);
        }
    }
}
