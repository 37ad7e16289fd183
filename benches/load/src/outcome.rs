//! What a benchmark says of one goal: a line of JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A line that a benchmark writes with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// It was measured.
    Outcome(Outcome),
    /// It was not.
    Absent(Absent),
}

/// Carnet beside a peer. Less is better in every figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The goal it is about: `A1`. Empty for what is only told.
    pub goal: String,
    /// What was measured, with the variant of Carnet: `200-octet echo, added CPU, kernel engine`.
    pub what: String,
    /// Unit of both values: `us`, `s/GB`, `KiB`.
    pub unit: String,
    /// Whom Carnet is beside: `haproxy`.
    pub peer: String,
    /// The median of the peer's rounds.
    pub peer_value: f64,
    /// The median of Carnet's rounds.
    pub carnet_value: f64,
    /// The median of the rounds' own ratios, Carnet to peer.
    pub ratio: f64,
    /// The least of them.
    pub least: f64,
    /// The greatest of them.
    pub most: f64,
    /// How many rounds have a ratio.
    pub rounds: usize,
    /// What the ratio is to be at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<f64>,
    /// What Carnet's own value is to be at most, in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

/// What could not be measured, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// The goal it would have been about.
    pub goal: String,
    /// What would have been measured.
    pub what: String,
    /// Why it was not.
    pub absent: String,
}

impl Line {
    /// Pairs the rounds of both. A round without a ratio (a value that is no number, a peer's that is not above
    /// zero, which noise can make of a difference) is left out and not counted.
    #[must_use]
    pub fn compare(
        goal: &str,
        what: &str,
        unit: &str,
        (peer, peers): (&str, &[f64]),
        carnet: &[f64],
        wanted: Option<f64>,
    ) -> Self {
        let pairs: Vec<(f64, f64)> = (peers.iter().copied().zip(carnet.iter().copied()))
            .filter(|(peer, ours)| peer.is_finite() && *peer > 0.0 && ours.is_finite())
            .collect();
        let mut ratios: Vec<f64> = pairs.iter().map(|(peer, ours)| ours / peer).collect();
        ratios.sort_by(f64::total_cmp);
        let (Some(&least), Some(&most)) = (ratios.first(), ratios.last()) else {
            return Self::absent(goal, what, &format!("no round beside {peer} gave a ratio"));
        };
        Self::Outcome(Outcome {
            goal: goal.to_owned(),
            what: what.to_owned(),
            unit: unit.to_owned(),
            peer: peer.to_owned(),
            peer_value: median(pairs.iter().map(|pair| pair.0).collect()),
            carnet_value: median(pairs.iter().map(|pair| pair.1).collect()),
            ratio: median(ratios.clone()),
            least,
            most,
            rounds: ratios.len(),
            wanted,
            at_most: None,
        })
    }

    /// With a bound for Carnet's own value too.
    #[must_use]
    pub fn at_most(mut self, bound: f64) -> Self {
        if let Self::Outcome(outcome) = &mut self {
            outcome.at_most = Some(bound);
        }
        self
    }

    /// Says that something was not measured.
    #[must_use]
    pub fn absent(goal: &str, what: &str, why: &str) -> Self {
        Self::Absent(Absent { goal: goal.to_owned(), what: what.to_owned(), absent: why.to_owned() })
    }

    /// The goal that it is about.
    #[must_use]
    pub fn goal(&self) -> &str {
        match self {
            Self::Outcome(outcome) => &outcome.goal,
            Self::Absent(absent) => &absent.goal,
        }
    }

    /// For people, on one line.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Absent(Absent { goal, what, absent }) => format!("{goal:2} {what}: {absent}"),
            Self::Outcome(outcome) => {
                let Outcome { goal, what, unit, peer, peer_value, carnet_value, ratio, least, most, .. } =
                    outcome;
                let met = outcome.met().map_or("", |met| if met { ", met" } else { ", MISSED" });
                format!(
                    "{goal:2} {what}: {} {unit}, {peer} {}: {ratio:.2} ({least:.2} to {most:.2}){}{met}",
                    short(*carnet_value),
                    short(*peer_value),
                    outcome.goal_text().map_or_else(String::new, |text| format!(", wanted {text}"))
                )
            }
        }
    }

    /// Reads a line; what is not one of ours gives `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Outcome {
    /// What was wanted, for people; `None` if nothing was.
    #[must_use]
    pub fn goal_text(&self) -> Option<String> {
        let ratio = self.wanted.map(|wanted| format!("{wanted:.2}"));
        let bound = self.at_most.map(|bound| format!("{} {}", short(bound), self.unit));
        match (ratio, bound) {
            (Some(ratio), Some(bound)) => Some(format!("{ratio}, {bound}")),
            (ratio, bound) => ratio.or(bound),
        }
    }

    /// Whether the goal is met, if one was set.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        match (self.wanted, self.at_most) {
            (None, None) => None,
            (wanted, bound) => Some(
                wanted.is_none_or(|wanted| self.ratio <= wanted)
                    && bound.is_none_or(|bound| self.carnet_value <= bound),
            ),
        }
    }
}

/// Three digits that matter.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// As JSON, on one line.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// The middle value; of an even number the mean of the two in the middle, or a few rounds would flatter. NaN of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let lower = values.get(values.len().saturating_sub(1) / 2);
    match (lower, values.get(values.len() / 2)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_it_was_written() {
        let peers = [400.0, 410.0, 390.0];
        let line =
            Line::compare("C1", "handshake", "us", ("haproxy", &peers), &[200.0, 246.0, 234.0], Some(0.65));
        let text = line.to_string();
        assert!(
            !text.contains('\n') && text.starts_with(r#"{"goal":"C1","what":"handshake","unit":"us""#),
            "{text}"
        );
        assert_eq!(Line::parse(&text), Some(line.clone()));
        let Line::Outcome(outcome) = line else { panic!("{text}") };
        assert_eq!((outcome.ratio, outcome.least, outcome.most, outcome.rounds), (0.6, 0.5, 0.6, 3));
        assert_eq!(outcome.met(), Some(true));
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between() {
        assert_eq!(median(vec![1.4, 0.6]), 1.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_bound_and_a_ratio_both_count() {
        let line = Line::compare("B2", "idle", "octets", ("nginx", &[9_749.0]), &[486.0], Some(0.04));
        let Line::Outcome(outcome) = line.clone().at_most(512.0) else { panic!() };
        assert_eq!(outcome.met(), Some(false), "the ratio is missed");
        let Line::Outcome(mut outcome) = line.at_most(400.0) else { panic!() };
        outcome.wanted = Some(0.05);
        assert_eq!(outcome.met(), Some(false), "the bound is missed");
        outcome.at_most = Some(500.0);
        assert_eq!(outcome.met(), Some(true));
    }

    #[test]
    fn rounds_without_a_ratio_are_not_counted() {
        let peers = [1.0, 0.0, -0.5, f64::NAN, 2.0];
        let Line::Outcome(outcome) = Line::compare("A1", "up", "s/GB", ("haproxy", &peers), &[0.5; 5], None)
        else {
            panic!()
        };
        assert_eq!((outcome.rounds, outcome.least, outcome.most), (2, 0.25, 0.5));
        assert_eq!(outcome.met(), None);
        let none = Line::compare("A1", "up", "s/GB", ("haproxy", &[0.0]), &[0.5], Some(0.5));
        assert!(matches!(&none, Line::Absent(absent) if absent.goal == "A1"), "{none}");
        assert_eq!(Line::parse(&none.to_string()), Some(none));
        assert_eq!(Line::parse("round 1 of 5"), None);
    }
}
