//! The package properties of a context (version 3): what holds for a whole conference (`crnroom`, `fcp`).
//!
//! Each holds until it is given another value. `crnroom/uri` makes the context a room, `fcp/confid` gives it
//! floor control.

use std::collections::{BTreeMap, VecDeque};

use carnet_h248::{Name, ParameterValue, Property, Value};

use crate::Function;
use crate::context::Context;
use crate::error::Fault;
use crate::media::{self, Algorithm, Conference, FloorSettings};
use crate::member::{Protocol, spoken};
use crate::package::{Kind, Supported, check};
use crate::plan::Plan;

/// Floors of one conference.
const MOST_FLOORS: usize = 64;

/// Nicknames that are kept for somebody.
const MOST_RESERVED: usize = 4_096;

/// What a context has of them.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// As set, without `fcp/state`.
    held: Vec<Property>,
    /// What the media engine was told last.
    told: Option<Box<Conference>>,
    /// The last that was heard of the floors.
    state: Option<String>,
    /// Of each floor who holds it and who waits.
    floors: BTreeMap<u16, (Vec<u16>, Vec<u16>)>,
}

/// Properties that were checked.
#[derive(Debug)]
pub(crate) struct Change {
    held: Vec<Property>,
    conference: Box<Conference>,
}

impl Attributes {
    /// What would be if these were set.
    pub(crate) fn change(&self, function: Function, new: &[Property]) -> Result<Change, Fault> {
        let mut held = self.held.clone();
        for (index, property) in new.iter().enumerate() {
            let known: &Supported = check(function, Kind::ContextProperty, &property.name)?;
            let earlier = new.iter().take(index).any(|other| other.name == property.name);
            if earlier {
                return Err(Fault::request(456, format!("Property appears twice: {}", property.name)));
            }
            if property.name == "fcp/state" && self.told.is_some() {
                let what = "Not implemented: fcp/state of a conference that has begun";
                return Err(Fault::unsupported(501, what));
            }
            let listed = property.name == "fcp/floors" || property.name == "crnroom/reserved";
            let single = property.value.single();
            let allowed = if listed { list(&property.value).is_some() } else { single.is_some() };
            if !allowed || single.is_some_and(|value| !known.possible.allows(value)) {
                return Err(wrong(&property.name));
            }
            held.retain(|old| old.name != property.name);
            held.push(property.clone());
        }
        let conference = Box::new(conference(&held)?);
        held.retain(|property| property.name != "fcp/state");
        Ok(Change { held, conference })
    }

    /// Sets them and tells the media engine.
    pub(crate) fn set(&mut self, change: Change, group: u32, commands: &mut VecDeque<media::Command>) {
        self.held = change.held;
        if self.told.as_ref() != Some(&change.conference) {
            let settings = Some(change.conference.clone());
            commands.push_back(media::Command::Conference { group, settings });
        }
        // A state is told once.
        self.told = Some(Box::new(Conference { state: None, ..*change.conference }));
    }

    /// The context is gone.
    pub(crate) fn end(self, group: u32, commands: &mut VecDeque<media::Command>) {
        if self.told.is_some() {
            commands.push_back(media::Command::Conference { group, settings: None });
        }
    }

    /// Something is told of a floor; whether it is news.
    pub(crate) fn keep_floor(&mut self, floor: u16, now: (&[u16], &[u16]), state: &str) -> bool {
        let now = (now.0.to_vec(), now.1.to_vec());
        if self.floors.get(&floor) == Some(&now) && self.state.as_deref() == Some(state) {
            return false;
        }
        if self.floors.len() < MOST_FLOORS || self.floors.contains_key(&floor) {
            self.floors.insert(floor, now);
        }
        self.state = Some(state.to_owned());
        true
    }

    /// Those that a name, with wildcards perhaps, stands for.
    pub(crate) fn named(&self, name: &Name) -> Vec<Property> {
        let covers = |held: &Name| {
            let package = name.package() == "*" || name.package().eq_ignore_ascii_case(held.package());
            *held == *name || package && name.item() == "*"
        };
        let mut found: Vec<_> = self.held.iter().filter(|held| covers(&held.name)).cloned().collect();
        let state = self.state.as_ref().map(|s| Property::new("fcp/state", Value::Quoted(s.clone().into())));
        found.extend(state.filter(|state| covers(&state.name)));
        found
    }
}

impl Context {
    /// Refuses a member that a conference has no place for. `number`: of its termination.
    pub(crate) fn check_members(&self, number: u64, plan: &Plan) -> Result<(), Fault> {
        let mut here: Vec<(u16, Protocol)> = Vec::new();
        for stream in plan.streams.iter().filter(|stream| !stream.deleted) {
            let Some(local) = &stream.local else { continue };
            let Some((protocol, _)) = spoken(local.transport) else { continue };
            let Some(user) = stream.control.member.user(local) else { continue };
            let told = self.attributes.told.as_deref();
            match protocol {
                Protocol::Msrp if told.is_none_or(|told| told.uri.is_empty()) => {
                    return Err(Fault::request(
                        472,
                        "Required information missing: crnroom/uri of the context",
                    ));
                }
                Protocol::Bfcp if told.is_none_or(|told| told.confid.is_none()) => {
                    return Err(Fault::request(
                        472,
                        "Required information missing: fcp/confid of the context",
                    ));
                }
                _ => {}
            }
            let chairs = &stream.control.member.chairs;
            let floors = told.map(|told| told.floors.as_slice()).unwrap_or_default();
            if let Some(unknown) = chairs.iter().find(|id| !floors.iter().any(|floor| floor.id == **id)) {
                return Err(Fault::request(
                    449,
                    format!("Unsupported value of fcp/chair: no floor {unknown}"),
                ));
            }
            let replaced = |other: u64, id: u16| other == number && plan.streams.iter().any(|s| s.id == id);
            for other in &self.terminations {
                for held in other.streams.iter().filter(|held| !replaced(other.number, held.id)) {
                    let theirs = &held.control.member;
                    let same = held.user() == Some(user);
                    let spoken = held.local.as_ref().and_then(|local| spoken(local.transport));
                    if same && spoken.is_some_and(|(theirs, _)| theirs == protocol) {
                        let what = format!("User {user} has such a stream in this context already");
                        return Err(Fault::request(449, what));
                    }
                    // H.248.8: only one floor chair per floor.
                    if let Some(floor) = theirs.chairs.iter().find(|id| !same && chairs.contains(id)) {
                        return Err(Fault::request(479, format!("Floor {floor} has a chair already")));
                    }
                }
            }
            if here.contains(&(user, protocol)) {
                return Err(Fault::request(449, format!("User {user} has two such streams")));
            }
            here.push((user, protocol));
        }
        Ok(())
    }
}

/// All properties together.
fn conference(held: &[Property]) -> Result<Conference, Fault> {
    let find = |name: &str| held.iter().find(|property| property.name == *name);
    let single = |name: &str| find(name)?.value.single();
    let number = |name: &str| single(name)?.as_u64();
    let small = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
    let flag = |name: &str| single(name).and_then(Value::as_bool).unwrap_or(false);
    let words = |name: &str| single(name).map(Value::unescaped).filter(|text| !text.is_empty());
    let plain = |name: &str| single(name).map(|v| v.as_str().to_owned()).filter(|text| !text.is_empty());
    let each = |name: &str| find(name).and_then(|property| list(&property.value)).unwrap_or_default();
    let reserved = each("crnroom/reserved").iter().map(Value::unescaped).filter(|n| !n.is_empty());
    let floors = each("fcp/floors").iter().filter(|value| !value.as_str().is_empty());
    let floors: Vec<_> = floors
        .map(|value| {
            floor(value.as_str())
                .ok_or_else(|| Fault::request(449, format!("Unsupported value of fcp/floors: {value}")))
        })
        .collect::<Result<_, _>>()?;
    let conference = Conference {
        uri: plain("crnroom/uri").unwrap_or_default(),
        subject: words("crnroom/subject"),
        nicknames: flag("crnroom/nicknames"),
        private: flag("crnroom/private"),
        moderated: number("crnroom/moderated").and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0),
        history_count: small("crnroom/historycount"),
        history_seconds: small("crnroom/historysecs"),
        max_message: number("crnroom/maxmessage"),
        stall_seconds: small("crnroom/stallsecs"),
        stall_octets: number("crnroom/stalloctets"),
        reserved: reserved.collect(),
        notices: flag("crnroom/notices"),
        confid: small("fcp/confid"),
        floors,
        max_requests: number("fcp/maxrequests").and_then(|n| u16::try_from(n).ok()),
        state: plain("fcp/state"),
    };
    let Conference { floors, confid, moderated, reserved, .. } = &conference;
    if floors.len() > MOST_FLOORS || reserved.len() > MOST_RESERVED {
        let what = format!("More than {MOST_FLOORS} floors or {MOST_RESERVED} reserved nicknames");
        return Err(Fault::exhausted(510, what));
    }
    let twice = |index: usize, floor: &FloorSettings| floors.iter().take(index).any(|f| f.id == floor.id);
    if let Some((_, floor)) = floors.iter().enumerate().find(|(index, floor)| twice(*index, floor)) {
        return Err(Fault::request(
            449,
            format!("Unsupported value of fcp/floors: floor {} twice", floor.id),
        ));
    }
    if !floors.is_empty() && confid.is_none() {
        return Err(Fault::request(472, "Required information missing: fcp/confid"));
    }
    if let Some(id) = moderated.filter(|id| !floors.iter().any(|floor| floor.id == *id)) {
        return Err(Fault::request(449, format!("Unsupported value of crnroom/moderated: no floor {id}")));
    }
    Ok(conference)
}

/// `ID:ALGORITHM:HOLDERS:SECONDS[:LABEL]`
fn floor(text: &str) -> Option<FloorSettings> {
    let mut fields = text.splitn(5, ':');
    let id = fields.next()?.parse().ok()?;
    let algorithm = match fields.next()?.to_ascii_lowercase().as_str() {
        "fcfs" => Algorithm::Fcfs,
        "chair" => Algorithm::Chair,
        "rotation" => Algorithm::Rotation,
        _ => return None,
    };
    let (holders, seconds) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let label = fields.next().filter(|label| !label.is_empty()).map(str::to_owned);
    Some(FloorSettings { id, algorithm, holders, seconds, label })
}

/// One value, or several at once.
fn list(value: &ParameterValue) -> Option<&[Value]> {
    match value {
        ParameterValue::Equal(one) => Some(std::slice::from_ref(one)),
        ParameterValue::AllOf(list) => Some(list),
        _ => None,
    }
}

fn wrong(name: &Name) -> Fault {
    Fault::request(449, format!("Unsupported value of {name}"))
}
