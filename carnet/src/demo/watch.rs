//! Collects what the roles show while the demonstration runs.

use super::network::{Addresses, GATEWAYS};
use super::proof::Hop;
use crate::roles::{Observer, Seen, printed};
use carnet_gateway::media::{Event, Pinhole};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages kept for the search at the end; the demonstration has some hundred.
const MOST_MESSAGES: usize = 10_000;

/// What has been seen so far. Clones share it.
#[derive(Clone)]
pub struct Watch(Arc<Mutex<State>>);

struct State {
    addresses: Addresses,
    hops: Vec<Hop>,
    /// Whether a pinhole faces alice, by gateway and name.
    facing_alice: HashMap<(usize, Pinhole), bool>,
    /// SIP and H.248 messages as they passed.
    messages: Vec<Vec<u8>>,
    /// The value of the first `a=key-mgmt` that an interconnect border forwarded.
    key_mgmt: Option<String>,
    registered: usize,
}

impl Watch {
    /// Nothing seen yet.
    pub fn new(addresses: Addresses) -> Self {
        let hops = GATEWAYS.iter().map(|site| Hop {
            gateway: site.gateway.to_owned(),
            role: site.role,
            controller: site.border.to_owned(),
            ..Hop::default()
        });
        Self(Arc::new(Mutex::new(State {
            addresses,
            hops: hops.collect(),
            facing_alice: HashMap::new(),
            messages: Vec::new(),
            key_mgmt: None,
            registered: 0,
        })))
    }

    /// For the roles.
    pub fn observer(&self) -> Observer {
        let this = self.clone();
        Arc::new(move |seen| this.state().see(&seen))
    }

    /// The gateways as seen so far, from alice to bob.
    pub fn hops(&self) -> Vec<Hop> {
        self.state().hops.clone()
    }

    /// How many gateways have registered.
    pub fn gateways_up(&self) -> usize {
        self.state().registered
    }

    /// Whether no gateway holds anything.
    pub fn all_released(&self) -> bool {
        self.state().hops.iter().all(|hop| hop.contexts_left == 0 && hop.ports_left == 0)
    }

    /// How many messages were seen, and how many of them hold one of these texts.
    pub fn search(&self, texts: &[&str]) -> (usize, usize) {
        let state = self.state();
        let holds = |m: &&Vec<u8>| {
            texts.iter().any(|text| m.windows(text.len()).any(|window| window == text.as_bytes()))
        };
        (state.messages.len(), state.messages.iter().filter(holds).count())
    }

    /// The key management attribute of the first offer that an interconnect border forwarded.
    pub fn forwarded_key_mgmt(&self) -> Option<String> {
        self.state().key_mgmt.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see(&mut self, seen: &Seen<'_>) {
        match seen {
            Seen::Sip { border, octets, sent, .. } => {
                self.keep(octets.to_vec());
                if *sent && *border == "interconnect-a" && self.key_mgmt.is_none() {
                    let text = String::from_utf8_lossy(octets);
                    let value = text.lines().find_map(|line| line.strip_prefix("a=key-mgmt:"));
                    self.key_mgmt = value.map(|v| v.trim_end().to_owned());
                }
            }
            Seen::Command { gateway, message } => {
                let text = printed(message);
                if let Some(hop) = self.hop(gateway) {
                    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("m="));
                    for line in lines {
                        if !hop.told.iter().any(|told| told == line) {
                            hop.told.push(line.to_owned());
                        }
                    }
                    let lower = text.to_ascii_lowercase();
                    hop.told_tls |= ["fingerprint", "psk", "tlsbsc", "crntls", "key-mgmt"]
                        .iter()
                        .any(|w| lower.contains(w));
                }
                self.keep(text.into_bytes());
            }
            Seen::Border { event: carnet_border::Event::GatewayUp { .. }, .. } => self.registered += 1,
            Seen::Media { gateway, event } => self.media(gateway, event),
            Seen::Holds { gateway, contexts, .. } => {
                if let Some(hop) = self.hop(gateway) {
                    hop.contexts_left = *contexts;
                }
            }
            Seen::Border { .. }
            | Seen::Control { .. }
            | Seen::Ng { .. }
            | Seen::Conference { .. }
            | Seen::Steering { .. }
            | Seen::Kms { .. }
            | Seen::Gateway { .. }
            | Seen::Counted { .. }
            | Seen::Finished { .. } => {}
        }
    }

    fn media(&mut self, gateway: &str, event: &Event) {
        let Some(index) = GATEWAYS.iter().position(|site| site.gateway == gateway) else { return };
        let site = &GATEWAYS[index];
        let towards_alice = self.addresses.at(site.towards_alice.1, site.host);
        match event {
            Event::Bound { pinhole, local, .. } => {
                self.facing_alice.insert((index, *pinhole), local.ip() == towards_alice);
                self.hops[index].ports_left += 1;
            }
            Event::Released { pinhole, statistics } => {
                let facing_alice = self.facing_alice.remove(&(index, *pinhole)).unwrap_or_default();
                let hop = &mut self.hops[index];
                hop.ports_left -= 1;
                let witness = statistics.witness.as_deref();
                let records = witness.map_or(0, |w| w.records);
                // What was not looked at is not known to have been in records.
                hop.in_clear += witness.map_or(statistics.octets_received, |w| w.outside + w.unobserved);
                if facing_alice {
                    hop.from_alice += statistics.octets_received;
                    hop.records_from_alice += records;
                } else {
                    hop.from_bob += statistics.octets_received;
                    hop.records_from_bob += records;
                }
                if let Some(random) = witness.and_then(|w| w.client_hello_random) {
                    hop.client_randoms.push(carnet_wire::hex::encode(&random));
                }
            }
            _ => {}
        }
    }

    fn hop(&mut self, gateway: &str) -> Option<&mut Hop> {
        self.hops.iter_mut().find(|hop| hop.gateway == gateway)
    }

    fn keep(&mut self, message: Vec<u8>) {
        if self.messages.len() < MOST_MESSAGES {
            self.messages.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_gateway::media::Statistics;
    use carnet_gateway::witness::Seen as Witnessed;
    use std::time::Duration;

    fn watch() -> (Watch, Addresses) {
        let (addresses, _claim) = Addresses::free().unwrap();
        (Watch::new(addresses), addresses)
    }

    fn command(watch: &Watch, line: &str) {
        let text = format!(
            "MEGACO/3 <border-a> Transaction = 1 {{ Context = $ {{ Add = $ {{ Media {{ Stream = 1 {{ Local {{\r\n\
             v=0\r\nc=IN IP4 $\r\nm=- $ TCP/TLS -\r\n{line}}} }} }} }} }} }}"
        );
        let message =
            carnet_h248::text::parse(text.as_bytes(), &carnet_h248::text::Limits::default()).unwrap();
        (watch.observer())(Seen::Command { gateway: "trgw-a", message: &message });
    }

    #[test]
    fn what_a_gateway_is_told_is_seen() {
        let (watch, _) = watch();
        command(&watch, "");
        let hop = &watch.hops()[1];
        assert_eq!((hop.told.as_slice(), hop.told_tls), (["- $ TCP/TLS -".to_owned()].as_slice(), false));
        command(&watch, "a=fingerprint:SHA-256 AB\r\n");
        assert!(watch.hops()[1].told_tls);
    }

    #[test]
    fn what_passes_a_gateway_is_seen() {
        let (watch, addresses) = watch();
        let see = |event: &Event| (watch.observer())(Seen::Media { gateway: "agw-a", event });
        let pinhole = Pinhole { group: 1, number: 1 };
        let local = (addresses.at(1, 2), 30_000).into();
        see(&Event::Bound { pinhole, local, fingerprint: None });
        assert!(!watch.all_released());
        let witness = Witnessed {
            records: 3,
            outside: 5,
            unobserved: 7,
            client_hello_random: Some([1; 32]),
            ..Witnessed::default()
        };
        let statistics = Statistics {
            octets_received: 100,
            octets_sent: 0,
            duration: Duration::ZERO,
            witness: Some(Box::new(witness)),
        };
        see(&Event::Released { pinhole, statistics });
        let hop = &watch.hops()[0];
        assert_eq!((hop.from_alice, hop.records_from_alice, hop.from_bob), (100, 3, 0));
        assert_eq!(hop.in_clear, 12);
        assert_eq!(hop.client_randoms, ["01".repeat(32)]);
        assert!(watch.all_released());
        (watch.observer())(Seen::Holds { gateway: "agw-a", contexts: 1, idle: false });
        assert!(!watch.all_released());
    }

    #[test]
    fn an_octet_that_nobody_looked_at_is_not_known_to_be_sealed() {
        let (watch, addresses) = watch();
        let see = |event: &Event| (watch.observer())(Seen::Media { gateway: "agw-b", event });
        let pinhole = Pinhole { group: 1, number: 1 };
        see(&Event::Bound { pinhole, local: (addresses.at(5, 6), 30_000).into(), fingerprint: None });
        let statistics =
            Statistics { octets_received: 9, octets_sent: 0, duration: Duration::ZERO, witness: None };
        see(&Event::Released { pinhole, statistics });
        let hop = &watch.hops()[3];
        assert_eq!((hop.in_clear, hop.from_bob), (9, 9));
    }

    #[test]
    fn a_text_in_a_signalling_message_is_found() {
        let (watch, _) = watch();
        for (border, text) in
            [("border-a", "MESSAGE the secret"), ("interconnect-a", "a=key-mgmt:mikey AAAA\r\n")]
        {
            let hop = carnet_sip::Hop::new(carnet_sip::Transport::Udp, ([127, 0, 0, 1], 5060).into());
            (watch.observer())(Seen::Sip { border, octets: text.as_bytes(), sent: true, hop: &hop });
        }
        assert_eq!(watch.search(&["the secret", "another"]), (2, 1));
        assert_eq!(watch.forwarded_key_mgmt().as_deref(), Some("mikey AAAA"));
    }
}
