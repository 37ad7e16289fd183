//! What the conference showed, judged: every claim is a [`Check`] that can fail.

use super::network::MEMBERS;
use super::watch::Hop;
use crate::demo::proof::Check;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

/// A member at the end.
#[derive(Debug, Clone, Default)]
pub struct Seat {
    pub name: String,
    pub uri: String,
    /// How its client says its lines are sealed.
    pub seals: Vec<String>,
    /// The names of the keys, which differ as the keys do.
    pub keys: Vec<String>,
    /// How many members its roster showed with a seal, when everybody was there.
    pub roster_sealed: usize,
    /// Texts it heard, in order.
    pub heard: Vec<String>,
    /// SHA-256 of the file it got, hexadecimal.
    pub file: Option<String>,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub seats: Vec<Seat>,
    /// The gateways on the way, by name.
    pub hops: BTreeMap<String, Hop>,
    /// The media server's TLS associations, by version and suite.
    pub associations: BTreeMap<String, usize>,
    /// Whether the conference server says that the room is sealed, when everybody was there.
    pub room_sealed: bool,
    /// What was said to the room, in order.
    pub said: Vec<String>,
    /// What a member without the floor was answered.
    pub silenced: Option<String>,
    /// Who was given the floor, in order, and who had it as the conference server says.
    pub granted: Vec<String>,
    pub held: Vec<String>,
    /// SHA-256 of the file as it was sent, and its octets.
    pub file: (String, u64),
    /// The member that read nothing, and why it was released.
    pub stalled: (String, Option<String>),
    /// The member that vanished, and why it is not there any more.
    pub vanished: (String, Option<String>),
    /// From the start of the first role to the last member in the room.
    pub started: Duration,
    /// SIP and H.248 messages searched for what was said, and how many of them held it.
    pub searched: usize,
    pub text_found: usize,
}

impl Evidence {
    /// Those who stayed to the end.
    fn stayed(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|seat| seat.name != self.stalled.0 && seat.name != self.vanished.0)
    }

    /// Judges the evidence; the order is the order of the story.
    pub fn checks(&self) -> Vec<Check> {
        let check = |name, held, seen: String| Check { name, held, seen };
        let lines: usize = self.seats.iter().map(|seat| seat.seals.len()).sum();
        let sealed =
            |seat: &Seat| seat.seals.len() == 2 && seat.seals.iter().all(|seal| seal.starts_with("sealed"));
        let keys: BTreeSet<&String> = self.seats.iter().flat_map(|seat| &seat.keys).collect();
        let associations: usize = self.associations.values().sum();
        let whole = |seat: &&Seat| {
            // Nobody hears himself.
            let own = format!("{}: ", seat.name);
            let others = self.said.iter().filter(|text| !text.starts_with(&own));
            seat.heard.iter().eq(others)
        };
        let (stayed, heard) = (self.stayed().count(), self.stayed().filter(whole).count());
        let got = |seat: &&Seat| seat.file.as_ref() == Some(&self.file.0);
        let with_file = self.stayed().filter(got).count();
        let all = |f: &dyn Fn(&Hop) -> bool| self.hops.len() == 6 && self.hops.values().all(f);
        let records: u64 = self.hops.values().map(|hop| hop.records).sum();
        vec![
            check(
                "twenty members from three operators entered",
                self.seats.len() == MEMBERS.len(),
                format!("{}", self.seats.len()),
            ),
            check(
                "every client says that both its lines are sealed end to end",
                self.seats.iter().all(sealed) && !self.seats.is_empty(),
                format!("{lines} lines"),
            ),
            check(
                "the media server ended as many TLS associations, each with a key of its own",
                associations >= lines
                    && keys.len() == lines
                    && lines > 0
                    && self.associations.keys().all(|with| with.starts_with("TLS")),
                self.associations
                    .iter()
                    .map(|(with, n)| format!("{n} {with}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            check("the conference server says that the room is sealed", self.room_sealed, String::new()),
            check(
                "every member's roster shows every member sealed",
                self.seats.iter().all(|seat| seat.roster_sealed == MEMBERS.len()),
                format!("{}", self.seats.iter().map(|seat| seat.roster_sealed).min().unwrap_or_default()),
            ),
            check(
                "a member without the floor is not heard",
                self.silenced.is_some(),
                self.silenced.clone().unwrap_or_else(|| "it was".into()),
            ),
            check(
                "the floor went round as the chair gave it",
                self.granted.len() >= 3 && self.held == self.granted,
                self.held.join(", "),
            ),
            check(
                "everybody who stayed heard everything once, in order",
                stayed == MEMBERS.len() - 2 && heard == stayed && !self.said.is_empty(),
                format!("{heard} of {stayed}, {} texts", self.said.len()),
            ),
            check(
                "the file came whole to everybody who stayed",
                // Its sender has it.
                self.file.1 > 0 && with_file + 1 == stayed,
                format!("{with_file} of {}, {} octets", stayed.saturating_sub(1), self.file.1),
            ),
            check(
                "the member that read nothing was released, and nobody waited for it",
                self.stalled.1.as_ref().is_some_and(|why| why.contains("released")),
                self.stalled.1.clone().unwrap_or_default(),
            ),
            check(
                "the member that vanished was missed, and the floor it had went on",
                self.vanished.1.is_some(),
                self.vanished.1.clone().unwrap_or_default(),
            ),
            check(
                "H.248 told no gateway on the way more than a transport",
                all(&|hop| !hop.told_more),
                String::new(),
            ),
            check(
                "no octet passed a gateway outside TLS",
                all(&|hop| hop.in_clear == 0 && hop.records > 0),
                format!("{records} records"),
            ),
            check(
                "no signalling message held what was said",
                self.text_found == 0 && self.searched > 100,
                format!("{} messages searched", self.searched),
            ),
            check(
                "after the conference no gateway on the way holds anything",
                all(&|hop| hop.contexts == 0 && hop.ports == 0),
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
        let seat = |seat: &Seat| {
            json!({
                "member": seat.uri, "seals": seat.seals, "roster_sealed": seat.roster_sealed,
                "heard": seat.heard.len(), "file": seat.file,
            })
        };
        let hop = |(name, hop): (&String, &Hop)| {
            json!({
                "gateway": name, "streams": hop.streams, "records": hop.records, "in_clear": hop.in_clear,
                "contexts_left": hop.contexts, "ports_left": hop.ports,
            })
        };
        let check = |c: &Check| json!({"name": c.name, "held": c.held, "seen": c.seen});
        json!({
            "sealed": self.sealed(),
            "members": self.seats.iter().map(seat).collect::<Vec<_>>(),
            "gateways": self.hops.iter().map(hop).collect::<Vec<_>>(),
            "tls": self.associations,
            "said": self.said.len(),
            "floor": self.held,
            "stalled": {"member": self.stalled.0, "left": self.stalled.1},
            "vanished": {"member": self.vanished.0, "left": self.vanished.1},
            "file": {"sha256": self.file.0, "size": self.file.1},
            "started_seconds": self.started.as_secs_f64(),
            "checks": self.checks().iter().map(check).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nAt each gateway on the way")?;
        for (name, hop) in &self.hops {
            writeln!(
                out,
                "  {name:<7} {:>3} streams  {:>7} TLS records  {} octets in clear",
                hop.streams, hop.records, hop.in_clear
            )?;
        }
        writeln!(out, "\nAt the media server")?;
        for (with, count) in &self.associations {
            writeln!(out, "  {count} legs with {with}")?;
        }
        writeln!(out, "\nChecks")?;
        for Check { name, held, seen } in self.checks() {
            let mark = if held { "ok  " } else { "FAIL" };
            let seen = if seen.is_empty() { String::new() } else { format!(" ({seen})") };
            writeln!(out, "  {mark} {name}{seen}")?;
        }
        let (checks, verdict) =
            (self.checks(), if self.sealed() { "sealed on every leg" } else { "NOT PROVEN" });
        let held = checks.iter().filter(|check| check.held).count();
        writeln!(out, "\n{verdict}: {held} of {} checks held", checks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Evidence {
        let seal = "sealed end to end · TLS 1.3".to_owned();
        let said: Vec<String> = ["alice: one", "bob: two"].map(str::to_owned).to_vec();
        let seats = MEMBERS.iter().enumerate().map(|(index, name)| Seat {
            name: (*name).to_owned(),
            uri: format!("sip:{name}@a.example"),
            seals: vec![seal.clone(); 2],
            keys: vec![format!("{name}-1"), format!("{name}-2")],
            roster_sealed: 20,
            heard: said.iter().filter(|text| !text.starts_with(&format!("{name}: "))).cloned().collect(),
            file: (index != 0).then(|| "h".to_owned()),
        });
        let hop = Hop { records: 10, streams: 4, ..Hop::default() };
        Evidence {
            seats: seats.collect(),
            hops: super::super::network::gateways().map(|name| (name, hop.clone())).collect(),
            associations: [("TLSv1.3 TLS_AES_128_GCM_SHA256".to_owned(), 40)].into(),
            room_sealed: true,
            said,
            silenced: Some("403".into()),
            granted: vec!["a".into(), "b".into(), "c".into()],
            held: vec!["a".into(), "b".into(), "c".into()],
            file: ("h".into(), 9),
            stalled: ("karl".into(), Some("released: slow".into())),
            vanished: ("ivan".into(), Some("the connection was lost".into())),
            searched: 1_000,
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
        let spoilers: [(&str, Spoil); 19] = [
            ("every client", |e| e.seats[3].seals[1] = "in clear".into()),
            ("the media server ended", |e| e.seats[3].keys[1] = e.seats[2].keys[1].clone()),
            ("the media server ended", |e| e.associations.clear()),
            ("the conference server", |e| e.room_sealed = false),
            ("every member's roster", |e| e.seats[2].roster_sealed = 19),
            ("a member without", |e| e.silenced = None),
            ("the floor went", |e| e.held.swap(0, 1)),
            ("everybody who stayed", |e| drop(e.seats[4].heard.pop())),
            ("everybody who stayed", |e| e.seats[4].heard.swap(0, 1)),
            ("everybody who stayed", |e| e.seats[4].heard.push("alice: one".into())),
            ("the file", |e| e.seats[4].file = None),
            ("the file", |e| e.seats[4].file = Some("g".into())),
            ("the member that read nothing", |e| e.stalled.1 = None),
            ("the member that vanished", |e| e.vanished.1 = None),
            ("H.248 told", |e| e.hops.get_mut("agw-b").unwrap().told_more = true),
            ("no octet", |e| e.hops.get_mut("trgw-c").unwrap().in_clear = 1),
            ("no octet", |e| e.hops.get_mut("trgw-c").unwrap().records = 0),
            ("no signalling", |e| e.text_found = 1),
            ("after the conference", |e| e.hops.get_mut("agw-a").unwrap().ports = 1),
        ];
        for (name, spoil) in spoilers {
            let mut evidence = good();
            spoil(&mut evidence);
            let failed: Vec<_> = evidence.checks().into_iter().filter(|c| !c.held).collect();
            assert_eq!(failed.len(), 1, "{name}: {failed:?}");
            assert!(failed[0].name.starts_with(name), "{name}: {failed:?}");
            assert!(!evidence.sealed() && evidence.json()["sealed"] == false);
        }
    }
}
