//! What the demonstration saw, judged: every claim is a [`Check`] that can fail.

use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// One gateway on the path, as it was told and as it saw the media.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hop {
    /// Gateway name.
    pub gateway: String,
    /// `IMS-AGW` or `TrGW`.
    pub role: &'static str,
    /// The border that controls it.
    pub controller: String,
    /// The m-lines of every Local and Remote descriptor H.248 gave it.
    pub told: Vec<String>,
    /// Whether any H.248 message to it held a fingerprint, a key or a TLS signal.
    pub told_tls: bool,
    /// TCP payload from alice's side, octets.
    pub from_alice: u64,
    /// TCP payload from bob's side, octets.
    pub from_bob: u64,
    /// Randoms of the TLS ClientHellos it saw pass, hex, one a session, in order.
    pub client_randoms: Vec<String>,
    /// TLS records from alice's side.
    pub records_from_alice: u64,
    /// TLS records from bob's side.
    pub records_from_bob: u64,
    /// Octets that passed outside TLS records.
    pub in_clear: u64,
    /// Contexts left after the call.
    pub contexts_left: usize,
    /// Ports still taken after the call.
    pub ports_left: usize,
}

/// The file that was sent.
#[derive(Debug, Clone, Default)]
pub struct Transfer {
    /// Octets.
    pub size: u64,
    /// SHA-256 as sent, hex.
    pub sent: String,
    /// SHA-256 as received, hex.
    pub received: String,
    /// From first to last octet.
    pub took: Duration,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The gateways in order from alice to bob.
    pub hops: Vec<Hop>,
    /// One line how alice's client says the session is sealed.
    pub seal_alice: String,
    /// The same for bob.
    pub seal_bob: String,
    /// The ClientHello randoms the TLS clients themselves used, hex, one a session, in order.
    pub client_randoms: Vec<String>,
    /// Texts sent and received: (from, sent, received).
    pub messages: Vec<(String, String, Option<String>)>,
    /// The file.
    pub file: Transfer,
    /// From the start of the first role to both clients registered.
    pub started: Duration,
    /// SIP and H.248 messages searched for the texts that were sent.
    pub searched: usize,
    /// How many of them held one.
    pub text_found: usize,
    /// What the key management service said to a border that has an account of its own and asked
    /// it to open the ticket it had forwarded; `None` if the border was given the key.
    pub border_refused: Option<String>,
}

/// A claim, and whether it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The claim.
    pub name: &'static str,
    /// Whether it held.
    pub held: bool,
    /// What was seen.
    pub seen: String,
}

impl Evidence {
    /// Judges the evidence; the order is the order of the story.
    pub fn checks(&self) -> Vec<Check> {
        let check = |name, held, seen: String| Check { name, held, seen };
        let all = |f: &dyn Fn(&Hop) -> bool| !self.hops.is_empty() && self.hops.iter().all(f);
        let first = self.hops.first().cloned().unwrap_or_default();
        let delivered = self.messages.iter().filter(|(_, sent, got)| got.as_ref() == Some(sent)).count();
        vec![
            check("four gateways were on the path", self.hops.len() == 4, format!("{}", self.hops.len())),
            check(
                "both clients say the session is sealed end to end",
                [&self.seal_alice, &self.seal_bob].iter().all(|s| s.starts_with("sealed end to end")),
                format!("alice: {} / bob: {}", self.seal_alice, self.seal_bob),
            ),
            check(
                "every message arrived as it was sent",
                delivered == self.messages.len() && delivered >= 2,
                format!("{delivered} of {}", self.messages.len()),
            ),
            check(
                "the file arrived whole",
                self.file.size > 0 && self.file.sent == self.file.received,
                format!("{} octets, sha-256 {}", self.file.size, self.file.received),
            ),
            check(
                "H.248 told every gateway a transport and nothing else",
                all(&|h| {
                    !h.told_tls
                        && !h.told.is_empty()
                        && h.told.iter().all(|m| {
                            m.starts_with("- ") && (m.ends_with(" TCP/TLS -") || m.ends_with(" TCP -"))
                        })
                }),
                first.told.first().cloned().unwrap_or_default(),
            ),
            check(
                "the clients' own TLS sessions passed every gateway: the same client randoms",
                !self.client_randoms.is_empty()
                    && !self.client_randoms.iter().any(String::is_empty)
                    && all(&|h| h.client_randoms == self.client_randoms),
                self.client_randoms.join(", "),
            ),
            check(
                "every gateway saw the same number of TLS records",
                first.records_from_alice > 0
                    && all(&|h| {
                        (h.records_from_alice, h.records_from_bob)
                            == (first.records_from_alice, first.records_from_bob)
                    }),
                format!("{} from alice, {} from bob", first.records_from_alice, first.records_from_bob),
            ),
            check(
                "every gateway passed the same octets",
                all(&|h| (h.from_alice, h.from_bob) == (first.from_alice, first.from_bob))
                    && first.from_alice > self.file.size,
                format!("{} from alice, {} from bob", first.from_alice, first.from_bob),
            ),
            check("no octet passed outside a TLS record", all(&|h| h.in_clear == 0), String::new()),
            check(
                "no signalling message held a sent text",
                self.searched > 0 && self.text_found == 0,
                format!("{} SIP and H.248 messages searched", self.searched),
            ),
            check(
                "a border that asks the KMS to open the ticket it forwarded is refused",
                self.border_refused.is_some(),
                self.border_refused.clone().unwrap_or_default(),
            ),
            check(
                "after the call no gateway held a context or a port",
                all(&|h| h.contexts_left == 0 && h.ports_left == 0),
                String::new(),
            ),
        ]
    }

    /// Whether every check held.
    pub fn sealed(&self) -> bool {
        self.checks().iter().all(|check| check.held)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let hop = |h: &Hop| {
            json!({
                "gateway": h.gateway, "role": h.role, "controller": h.controller,
                "told": h.told, "told_tls": h.told_tls,
                "octets": {"from_alice": h.from_alice, "from_bob": h.from_bob},
                "tls": {
                    "client_randoms": h.client_randoms, "in_clear": h.in_clear,
                    "records": {"from_alice": h.records_from_alice, "from_bob": h.records_from_bob},
                },
                "left": {"contexts": h.contexts_left, "ports": h.ports_left},
            })
        };
        let message = |(from, sent, received): &(String, String, Option<String>)| json!({"from": from, "text": sent, "delivered": received.as_ref() == Some(sent)});
        let check = |c: &Check| json!({"name": c.name, "held": c.held, "seen": c.seen});
        json!({
            "sealed": self.sealed(),
            "hops": self.hops.len(),
            "hop": self.hops.iter().map(hop).collect::<Vec<_>>(),
            "seal": {"alice": self.seal_alice, "bob": self.seal_bob, "client_randoms": self.client_randoms},
            "messages": self.messages.iter().map(message).collect::<Vec<_>>(),
            "file": {
                "size": self.file.size, "sha256": self.file.received,
                "intact": self.file.size > 0 && self.file.sent == self.file.received,
                "seconds": self.file.took.as_secs_f64(),
            },
            "started_seconds": self.started.as_secs_f64(),
            "checks": self.checks().iter().map(check).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nAt each gateway, from alice to bob")?;
        for (index, h) in self.hops.iter().enumerate() {
            writeln!(out, "  {}. {:<8} {} controlled by {}", index + 1, h.role, h.gateway, h.controller)?;
            let told = h.told.first().map_or("nothing", String::as_str);
            let keys = if h.told_tls { "and TLS data" } else { "no key, no fingerprint, no TLS signal" };
            writeln!(out, "     H.248 told it   m={told}   {keys}")?;
            writeln!(
                out,
                "     octets          {:>12} from alice  {:>12} from bob",
                h.from_alice, h.from_bob
            )?;
            writeln!(
                out,
                "     TLS records     {:>12} from alice  {:>12} from bob   {} octets in clear",
                h.records_from_alice, h.records_from_bob, h.in_clear
            )?;
            for random in &h.client_randoms {
                writeln!(out, "     client random   {random}")?;
            }
        }
        writeln!(out, "\nChecks")?;
        for Check { name, held, seen } in self.checks() {
            let mark = if held { "ok  " } else { "FAIL" };
            let seen = if seen.is_empty() { String::new() } else { format!(" ({seen})") };
            writeln!(out, "  {mark} {name}{seen}")?;
        }
        let verdict = if self.sealed() { "sealed end to end" } else { "NOT PROVEN" };
        writeln!(
            out,
            "\n{verdict}: {} of {} checks held",
            self.checks().iter().filter(|c| c.held).count(),
            self.checks().len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Evidence {
        let hop = Hop {
            told: vec!["- $ TCP/TLS -".into()],
            from_alice: 2000,
            from_bob: 100,
            client_randoms: vec!["ab".into()],
            records_from_alice: 9,
            records_from_bob: 3,
            ..Hop::default()
        };
        let seal = "sealed end to end · TLS 1.3".to_owned();
        Evidence {
            hops: vec![hop; 4],
            seal_alice: seal.clone(),
            seal_bob: seal,
            client_randoms: vec!["ab".into()],
            border_refused: Some("no".into()),
            messages: vec![
                ("a".into(), "x".into(), Some("x".into())),
                ("b".into(), "y".into(), Some("y".into())),
            ],
            file: Transfer { size: 1000, sent: "h".into(), received: "h".into(), ..Transfer::default() },
            searched: 10,
            ..Evidence::default()
        }
    }

    #[test]
    fn good_evidence_is_accepted() {
        assert!(good().sealed(), "{:?}", good().checks());
    }

    /// Each way in which the claim could be false makes exactly one check fail.
    #[test]
    fn every_check_can_fail() {
        type Spoil = fn(&mut Evidence);
        let spoilers: [(&str, Spoil); 14] = [
            ("four gateways", |e| drop(e.hops.pop())),
            ("both clients", |e| e.seal_bob = "clear".into()),
            ("every message", |e| e.messages[1].2 = None),
            ("the file", |e| e.file.received = "g".into()),
            ("H.248 told", |e| e.hops[2].told_tls = true),
            ("H.248 told", |e| e.hops[2].told.push("message 9 TCP/TLS/MSRP *".into())),
            ("the clients' own TLS", |e| e.hops[3].client_randoms = vec!["cd".into()]),
            ("every gateway saw", |e| e.hops[1].records_from_bob += 1),
            ("every gateway passed", |e| e.hops[1].from_alice -= 1),
            ("no octet passed", |e| e.hops[0].in_clear = 1),
            ("a border that asks", |e| e.border_refused = None),
            ("no signalling message", |e| e.text_found = 1),
            ("after the call", |e| e.hops[0].contexts_left = 1),
            ("after the call", |e| e.hops[0].ports_left = 1),
        ];
        for (name, spoil) in spoilers {
            let mut evidence = good();
            spoil(&mut evidence);
            let failed: Vec<_> = evidence.checks().into_iter().filter(|c| !c.held).collect();
            assert_eq!(failed.len(), 1, "{name}: {failed:?}");
            assert!(failed[0].name.starts_with(name), "{failed:?}");
            assert!(!evidence.sealed() && evidence.json()["sealed"] == false);
        }
    }
}
