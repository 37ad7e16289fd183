//! Requests, queues and holders as a line of text, to be taken over by another server.
//!
//! `1;LAST;CHAIRS;REQUESTS`: the number that was last given, `FLOOR=USER` for each chair, and for each request
//! `ID.USER.BY.PRIORITY.ASKED.STATE` with `FLOOR/STAND/PLACE/PINNED` behind it for each floor, joined by `+`.
//! The state is `q` for what waits, `g` for what is granted, with the seconds that are left if there is an
//! end to it; `.n` follows if the user had no connection to floor control. Words of people are not in it.

use crate::control::SnapshotError;
use crate::floors::{Floors, Restored};
use crate::request::{Part, Request, Stand};
use carnet_bfcp::Priority;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Octets of the longest snapshot that is read.
const LONGEST: usize = 1 << 20;

/// What a snapshot says.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) last: u16,
    pub(crate) chairs: Vec<(u16, u16)>,
    pub(crate) requests: Vec<Restored>,
}

pub(crate) fn print(floors: &Floors, now: Instant, without: impl Fn(u16) -> bool) -> String {
    let mut out = format!("1;{};", floors.last());
    let chairs = floors.entries().filter_map(|(id, entry)| Some((id, entry.chair?)));
    for (index, (floor, user)) in chairs.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{floor}={user}");
    }
    out.push(';');
    for (index, request) in floors.requests().enumerate() {
        let Request { id, user, by, .. } = request;
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{id}.{user}.{by}.{}.", request.priority.bits());
        match request.asked {
            Some(asked) => _ = write!(out, "{}.", asked.bits()),
            None => out.push_str("-."),
        }
        match (request.granted, request.expires) {
            (None, _) => out.push('q'),
            (Some(_), None) => out.push('g'),
            (Some(_), Some(at)) => {
                let left = at.saturating_duration_since(now);
                let _ = write!(out, "g{}", left.as_secs() + u64::from(left.subsec_nanos() > 0));
            }
        }
        if without(*user) {
            out.push_str(".n");
        }
        for part in &request.parts {
            let stand = match part.stand {
                Stand::Pending => 'p',
                Stand::Accepted => 'a',
                Stand::Approved => 'y',
            };
            let (place, pinned) = place(floors, request, part.floor);
            let _ = write!(out, "+{}/{stand}/{place}/{}", part.floor, u8::from(pinned));
        }
    }
    out
}

fn place(floors: &Floors, request: &Request, floor: u16) -> (usize, bool) {
    let Some(entry) = floors.entry(floor) else { return (0, false) };
    let at = |ids: &[u16]| ids.iter().position(|id| *id == request.id);
    let queued = entry.queue.iter().enumerate().find(|(_, place)| place.request == request.id);
    match queued {
        Some((at, place)) => (at, place.pinned),
        None => (at(&entry.holders).or_else(|| at(&entry.pending)).unwrap_or(0), false),
    }
}

pub(crate) fn parse(text: &str, now: Instant, most: usize) -> Result<Snapshot, SnapshotError> {
    if text.len() > LONGEST {
        return Err(SnapshotError("it is too long"));
    }
    let mut sections = text.split(';');
    if sections.next() != Some("1") {
        return Err(SnapshotError("its version is not 1"));
    }
    let (Some(last), Some(chairs), Some(requests), None) =
        (sections.next(), sections.next(), sections.next(), sections.next())
    else {
        return Err(SnapshotError("it has not four sections"));
    };
    let chairs = items(chairs).map(|chair| {
        let (floor, user) = chair.split_once('=').ok_or(SnapshotError("a chair without a floor"))?;
        Ok((number(floor)?, number(user)?))
    });
    let chairs = chairs.collect::<Result<_, _>>()?;
    let mut restored: Vec<Restored> = Vec::new();
    for item in items(requests) {
        let one = request(item, now)?;
        if restored.len() == most || restored.iter().any(|other| other.request.id == one.request.id) {
            return Err(SnapshotError("too many requests, or one twice"));
        }
        restored.push(one);
    }
    Ok(Snapshot { last: number(last)?, chairs, requests: restored })
}

fn items(section: &str) -> impl Iterator<Item = &str> {
    section.split(',').filter(|item| !item.is_empty())
}

fn request(item: &str, now: Instant) -> Result<Restored, SnapshotError> {
    let mut parts = item.split('+');
    let mut head = parts.next().unwrap_or_default().split('.');
    let mut field = || head.next().ok_or(SnapshotError("a request lacks a field"));
    let (id, user, by) = (number(field()?)?, number(field()?)?, number(field()?)?);
    let priority = priority(field()?)?;
    let asked = match field()? {
        "-" => None,
        asked => Some(self::priority(asked)?),
    };
    let state = field()?;
    let without = match head.next() {
        None => false,
        Some("n") => true,
        Some(_) => return Err(SnapshotError("a request has a field too many")),
    };
    let (granted, expires) = match state.strip_prefix('g') {
        None if state == "q" => (None, None),
        None => return Err(SnapshotError("a request neither waits nor is granted")),
        Some("") => (Some(now), None),
        Some(left) => {
            let left = Duration::from_secs(left.parse::<u32>().map_err(|_| SnapshotError("no time"))?.into());
            (Some(now), Some(now + left))
        }
    };
    let mut request = Request {
        id,
        user,
        by,
        asked,
        priority,
        provided: None,
        parts: Vec::new(),
        granted,
        expires,
        reported: None,
    };
    let mut places = Vec::new();
    for part in parts {
        let mut fields = part.split('/');
        let mut field = || fields.next().ok_or(SnapshotError("a floor of a request lacks a field"));
        let floor = number(field()?)?;
        let stand = match field()? {
            "p" => Stand::Pending,
            "a" => Stand::Accepted,
            "y" => Stand::Approved,
            _ => return Err(SnapshotError("no such state of a floor")),
        };
        if request.part(floor).is_some() {
            return Err(SnapshotError("a floor twice in a request"));
        }
        places.push((number(field()?)?, field()? == "1"));
        request.parts.push(Part { floor, stand, information: None });
    }
    if request.parts.is_empty() || id == 0 {
        return Err(SnapshotError("a request without a floor or number"));
    }
    Ok(Restored { request, places, without })
}

fn number(text: &str) -> Result<u16, SnapshotError> {
    text.parse().map_err(|_| SnapshotError("no number of 16 bits"))
}

fn priority(text: &str) -> Result<Priority, SnapshotError> {
    match u8::try_from(number(text)?) {
        Ok(bits) if bits <= Priority::Highest.bits() => Ok(Priority::from_bits(bits)),
        _ => Err(SnapshotError("no such priority")),
    }
}
