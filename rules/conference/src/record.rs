//! What outlives the process: a record for each room in which somebody is, or was and is muted, and how it is read again.
//!
//! A record names the room, who is in it, who is muted and what was known of its floors. It holds no keys: whoever is
//! called back gets new ones. Lines of `name value`, so that an older or newer version can skip what it does
//! not know.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use carnet_sip::Uri;

use crate::core::Todo;
use crate::event::Event;
use crate::focus::Focus;
use crate::leg::State;
use crate::room::{Lost, Room};

/// A room in which much happens is written down once in so long.
const PACE: Duration = Duration::from_millis(200);

/// The first line.
const HEAD: &str = "carnet-room 1";

/// A record as it is read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    uri: String,
    factory: Option<String>,
    by: Option<String>,
    confid: Option<u32>,
    next: Option<u16>,
    state: Option<String>,
    invited: Vec<String>,
    muted: Vec<String>,
    members: Vec<(u16, String, Option<String>, Option<String>)>,
}

impl Focus {
    /// Takes back what [`Event::Keep`] gave out in an earlier life: rooms, members, floors. Members are
    /// called back as soon as there is a gateway. Records that cannot be used are skipped; how many.
    pub fn restore(
        &mut self,
        now: Instant,
        wall: SystemTime,
        records: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> usize {
        self.at(now, wall);
        let mut skipped = 0;
        for (key, value) in records {
            let done = std::str::from_utf8(&value).ok().and_then(Record::read).and_then(|r| self.take_up(r));
            match done {
                Some(room) => {
                    self.kept.insert(room.clone(), value);
                    self.core.todo.push_back(Todo::CallBack(room));
                }
                None => {
                    skipped += 1;
                    self.core.events.push_back(Event::Forget { key });
                }
            }
        }
        self.drain();
        skipped
    }

    fn take_up(&mut self, record: Record) -> Option<String> {
        let confid = record.confid.unwrap_or_else(|| self.name_conference());
        if !self.rooms.contains_key(&record.uri) {
            // Of rooms that are there for their members alone nothing is kept without one.
            record.members.first()?;
            let name = record.factory.as_deref()?;
            let (_, factory) = self.factories.iter().find(|(factory, _)| factory == name)?;
            let mut uri = Uri::parse(&record.uri).ok()?;
            uri = Uri::sip(uri.user(), uri.host(), factory.rooms.port()).ok()?;
            for (name, value) in factory.rooms.params() {
                uri = uri.with_param(name, value).ok()?;
            }
            if self.rooms.len() >= self.core.config.limits.rooms {
                return None;
            }
            let room = Room::new(&uri, factory.policy.clone(), &self.core.config, confid).ok()?;
            self.rooms.insert(room.key.clone(), room);
        }
        let now = self.core.now;
        let room = self.rooms.get_mut(&record.uri)?;
        room.confid = confid;
        room.factory = record.factory;
        room.by = record.by;
        room.state = record.state;
        // Of one that nobody is in it is kept who is muted, no more.
        room.begun = !record.members.is_empty();
        room.invited.extend(record.invited);
        room.muted.extend(record.muted);
        room.set_next_user(record.next.unwrap_or(1));
        let capacity = room.policy.capacity;
        for (user, member, contact, nickname) in record.members.into_iter().take(capacity) {
            let contact = contact.and_then(|contact| Uri::parse(&contact).ok());
            let lost = Lost {
                member,
                user,
                nickname,
                contact,
                old: None,
                leg: None,
                tries: 0,
                at: now,
                until: None,
            };
            room.lost.push(lost);
        }
        Some(room.key.clone())
    }

    /// Gives out what has changed of the rooms that were touched.
    pub(crate) fn keep(&mut self) {
        let touched = std::mem::take(&mut self.core.touched);
        self.unkept.extend(touched);
        self.keep_due();
    }

    /// When records wait to be given out.
    pub(crate) fn keep_at(&self) -> Option<Instant> {
        let at = |room: &String| self.kept_at.get(room).map_or(self.core.now, |at| *at + PACE);
        self.unkept.iter().map(at).min()
    }

    fn keep_due(&mut self) {
        let now = self.core.now;
        self.kept_at.retain(|_, at| *at + PACE > now);
        // That nobody is there any more is said at once.
        let lives = |room: &Room| !room.legs.is_empty() || !room.lost.is_empty();
        let waits = |key: &String| self.kept_at.contains_key(key) && self.rooms.get(key).is_some_and(lives);
        let due: Vec<_> = self.unkept.iter().filter(|key| !waits(key)).cloned().collect();
        for key in due {
            self.unkept.remove(&key);
            let record = self.rooms.get(&key).and_then(|room| self.record(room));
            match record.filter(|record| record.len() <= self.core.config.limits.record) {
                Some(record) => {
                    if self.kept.get(&key) != Some(&record) {
                        self.kept.insert(key.clone(), record.clone());
                        self.kept_at.insert(key.clone(), now);
                        self.core.events.push_back(Event::Keep { key, value: record });
                    }
                }
                None => {
                    if self.kept.remove(&key).is_some() {
                        self.core.events.push_back(Event::Forget { key });
                    }
                }
            }
        }
    }

    /// `None` if nobody is in it, and nobody was who is to stay muted.
    fn record(&self, room: &Room) -> Option<Vec<u8>> {
        let mut members: Vec<(u16, &str, Option<String>, Option<&str>)> = Vec::new();
        for leg in room.legs.iter().filter_map(|id| self.legs.get(id)) {
            if let State::Up(up) = &leg.state
                && leg.joined
                && !leg.lost
            {
                let contact = Some(up.dialog.target().to_string());
                members.push((leg.user, &leg.member, contact, leg.nickname.as_deref()));
            }
        }
        for lost in &room.lost {
            let contact = lost.contact.as_ref().map(ToString::to_string);
            members.push((lost.user, &lost.member, contact, lost.nickname.as_deref()));
        }
        if members.is_empty() && (room.muted.is_empty() || room.is_over() || room.outgoing) {
            return None;
        }
        let mut text = format!("{HEAD}\nuri {}\n", room.key);
        let mut put = |name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.contains(['\r', '\n'])) {
                let _ = writeln!(text, "{name} {value}");
            }
        };
        put("factory", room.factory.as_deref());
        put("by", room.by.as_deref());
        put("confid", Some(&room.confid.to_string()));
        put("next", Some(&room.next_user().to_string()));
        put("state", room.state.as_deref());
        for invited in &room.invited {
            put("invited", Some(invited));
        }
        for muted in &room.muted {
            put("muted", Some(muted));
        }
        members.sort_unstable();
        for (user, member, contact, nickname) in members {
            put("member", Some(&format!("{user} {member}")));
            put("contact", contact.as_deref());
            put("nick", nickname.map(|name| carnet_wire::hex::encode(name.as_bytes())).as_deref());
        }
        Some(text.into_bytes())
    }
}

impl Record {
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let mut record = Self::default();
        for line in lines {
            let (name, value) = line.split_once(' ')?;
            match name {
                "uri" => record.uri = value.to_owned(),
                "factory" => record.factory = Some(value.to_owned()),
                "by" => record.by = Some(value.to_owned()),
                "confid" => record.confid = value.parse().ok().filter(|id| *id != 0),
                "next" => record.next = value.parse().ok(),
                "state" => record.state = Some(value.to_owned()),
                "invited" => record.invited.push(value.to_owned()),
                "muted" => record.muted.push(value.to_owned()),
                "member" => {
                    let (user, member) = value.split_once(' ')?;
                    let user = user.parse().ok().filter(|user| *user != 0)?;
                    record.members.push((user, member.to_owned(), None, None));
                }
                "contact" => record.members.last_mut()?.2 = Some(value.to_owned()),
                "nick" => {
                    let octets = carnet_wire::hex::decode(value.as_bytes()).ok()?;
                    record.members.last_mut()?.3 = Some(String::from_utf8(octets).ok()?);
                }
                _ => {}
            }
        }
        (!record.uri.is_empty()).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_not_a_record_is_none() {
        for text in ["", "carnet-room 2\nuri sip:a@b", "carnet-room 1\n", "carnet-room 1\nuri", "x"] {
            assert_eq!(Record::read(text), None, "{text:?}");
        }
        for line in ["member x sip:a@b", "member 0 sip:a@b", "contact sip:a@b", "nick zz"] {
            assert_eq!(Record::read(&format!("{HEAD}\nuri sip:a@b\n{line}\n")), None, "{line}");
        }
        let newer = Record::read(&format!("{HEAD}\nuri sip:a@b\ncolour blue\nmember 7 sip:c@d\n")).unwrap();
        assert_eq!(newer.members, [(7, "sip:c@d".to_owned(), None, None)]);
    }
}
