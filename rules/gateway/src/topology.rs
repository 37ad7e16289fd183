//! Who hears whom in a context (RFC 3525 §7.1.18).
//!
//! A gateway that relays between two terminations has no mixer to rewire: what a relation forbids
//! is forbidden by the gates of the two pinholes. Leaves out the one-way relations of version 3
//! that look outside of the context (error 522).

use carnet_h248::{TerminationId, Topology as Triple, TopologyDirection};

use crate::context::Context;
use crate::error::Fault;

/// What was said about pairs of terminations. Of the others everybody hears everybody.
#[derive(Debug, Default)]
pub(crate) struct Topology(Vec<Relation>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Relation {
    low: u64,
    high: u64,
    /// One stream; `None` is all.
    stream: Option<u16>,
    /// Media flow from the lower number to the higher.
    up: bool,
    down: bool,
}

impl Topology {
    /// Whether media flow from `number` to `far`, and back.
    pub(crate) fn flows(&self, number: u64, far: u64, stream: u16) -> (bool, bool) {
        let pair = (number.min(far), number.max(far));
        let of_pair = || self.0.iter().filter(|r| (r.low, r.high) == pair);
        let relation =
            of_pair().find(|r| r.stream == Some(stream)).or_else(|| of_pair().find(|r| r.stream.is_none()));
        match relation {
            None => (true, true),
            Some(r) if number < far => (r.up, r.down),
            Some(r) => (r.down, r.up),
        }
    }

    fn set(&mut self, from: u64, to: u64, stream: Option<u16>, direction: TopologyDirection) {
        let (low, high) = (from.min(to), from.max(to));
        // What is said about all streams replaces what was said about one.
        self.0.retain(|r| (r.low, r.high) != (low, high) || stream.is_some() && r.stream != stream);
        let (there, back) = match direction {
            TopologyDirection::Oneway => (true, false),
            TopologyDirection::Isolate => (false, false),
            _ => (true, true),
        };
        let (up, down) = if from < to { (there, back) } else { (back, there) };
        if !(up && down && stream.is_none()) {
            self.0.push(Relation { low, high, stream, up, down });
        }
    }

    /// A termination is gone.
    pub(crate) fn forget(&mut self, number: u64) {
        self.0.retain(|r| r.low != number && r.high != number);
    }
}

/// The triples of an action, checked.
#[derive(Debug, Default)]
pub(crate) struct Triples(Vec<Triple>);

impl Triples {
    /// Checks what can be checked before the commands are carried out. `choosing`: the action has an
    /// Add that lets the gateway choose.
    pub(crate) fn check(list: &[Triple], context: &Context, choosing: bool) -> Result<Self, Fault> {
        for triple in list {
            match triple.direction {
                TopologyDirection::Bothway | TopologyDirection::Isolate | TopologyDirection::Oneway => {}
                TopologyDirection::OnewayExternal | TopologyDirection::OnewayBoth => {
                    return Err(Fault::unsupported(522, "Topology triple not supported"));
                }
            }
            for id in [&triple.from, &triple.to] {
                if id.is_root() {
                    return Err(Fault::request(410, "ROOT has no place in a topology"));
                }
                if id.has_choose() && (id.as_str() != "$" || !choosing) {
                    return Err(Fault::request(410, format!("Nothing to choose for {id} in the topology")));
                }
            }
            resolve(triple, context, None)?;
        }
        Ok(Self(list.to_vec()))
    }

    /// Puts them into effect. `chosen` is the termination that `$` stands for; until it is there, the
    /// triples that name it wait.
    pub(crate) fn apply(&mut self, context: &mut Context, chosen: Option<u64>) {
        let waits = |t: &Triple| chosen.is_none() && (t.from.has_choose() || t.to.has_choose());
        let (later, now): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0).into_iter().partition(waits);
        self.0 = later;
        for triple in now {
            let Ok((from, to)) = resolve(&triple, context, chosen) else { continue };
            for a in from {
                for b in to.iter().filter(|b| **b != a) {
                    context.topology.set(a, *b, triple.stream, triple.direction);
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The numbers of the terminations on both sides.
fn resolve(triple: &Triple, context: &Context, chosen: Option<u64>) -> Result<(Vec<u64>, Vec<u64>), Fault> {
    let side = |id: &TerminationId| {
        if id.has_choose() {
            return Ok(chosen.into_iter().collect::<Vec<_>>());
        }
        let matching = context.terminations.iter().filter(|t| id.matches(&t.id));
        let found: Vec<_> = matching.map(|t| t.number).collect();
        // A wildcard may come before the terminations that it names.
        if found.is_empty() && !id.has_all() {
            return Err(Fault::request(430, format!("Unknown TerminationID in the topology: {id}")));
        }
        Ok(found)
    };
    let (from, to) = (side(&triple.from)?, side(&triple.to)?);
    if triple.direction == TopologyDirection::Oneway && from.iter().any(|number| to.contains(number)) {
        return Err(Fault::unsupported(522, "Topology triple not supported: one way to itself"));
    }
    Ok((from, to))
}

/// Triples for every pair of terminations, as an audit tells them.
pub(crate) fn told(context: &Context) -> Vec<Triple> {
    let mut list = Vec::new();
    for (index, first) in context.terminations.iter().enumerate() {
        for second in context.terminations.iter().skip(index + 1) {
            let pair = (first.number.min(second.number), first.number.max(second.number));
            let special = context.topology.0.iter().filter(|r| (r.low, r.high) == pair);
            let mut streams: Vec<_> = special.map(|r| r.stream).collect();
            if !streams.contains(&None) {
                streams.insert(0, None);
            }
            for stream in streams {
                // Zero is no stream's number.
                let flows = context.topology.flows(first.number, second.number, stream.unwrap_or(0));
                let (from, to, direction) = match flows {
                    (true, true) => (first, second, TopologyDirection::Bothway),
                    (false, false) => (first, second, TopologyDirection::Isolate),
                    (true, false) => (first, second, TopologyDirection::Oneway),
                    (false, true) => (second, first, TopologyDirection::Oneway),
                };
                list.push(Triple { from: from.id.clone(), to: to.id.clone(), direction, stream });
            }
        }
    }
    list
}
