//! A conference as a person sees it, put together from events.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::event::{Claim, Medium, Member, Outcome, RoomEvent, Said, user_of};
use super::same_user;

/// Lines that are kept to be looked at again.
const LINES: usize = 2000;
/// How long somebody who said nothing more counts as typing.
const TYPING: Duration = Duration::from_secs(90);

/// See the module's page.
#[derive(Default)]
pub(in crate::ue) struct Model {
    pub(in crate::ue) me: String,
    pub(in crate::ue) uri: String,
    pub(in crate::ue) subject: Option<String>,
    pub(in crate::ue) stands: Stands,
    /// Whether our own lines are sealed; `None` before they are up.
    pub(in crate::ue) ours: BTreeMap<&'static str, Option<String>>,
    /// Whether everybody's are; `None` if the conference does not say.
    pub(in crate::ue) all_sealed: Option<bool>,
    pub(in crate::ue) members: Vec<Member>,
    pub(in crate::ue) count: usize,
    pub(in crate::ue) nickname: String,
    pub(in crate::ue) floors: BTreeMap<u16, Floor>,
    pub(in crate::ue) user: Option<u16>,
    /// The lines that are not connected yet: what is typed waits for them.
    missing: Vec<Medium>,
    pub(in crate::ue) lines: VecDeque<Line>,
    typing: BTreeMap<String, Instant>,
}

/// Where we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::ue) enum Stands {
    /// On the way in.
    #[default]
    Joining,
    /// In.
    In,
    /// Waiting to be called back.
    Waiting,
    /// Out.
    Out,
}

/// A floor.
#[derive(Debug, Clone, Default)]
pub(in crate::ue) struct Floor {
    pub(in crate::ue) holders: Vec<Claim>,
    pub(in crate::ue) queue: Vec<Claim>,
    /// What became of our request, if it is not over.
    pub(in crate::ue) ours: Option<(Outcome, u8)>,
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ue) struct Line {
    pub(in crate::ue) kind: Kind,
    /// When it was said, `12:03`, where that is not now.
    pub(in crate::ue) time: Option<String>,
    /// Who says it; empty for what the program says.
    pub(in crate::ue) who: String,
    pub(in crate::ue) text: String,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ue) enum Kind {
    Said,
    Private,
    History,
    Notice,
    /// Something of ours about floors.
    Floor,
    Trouble,
}

impl Model {
    pub(in crate::ue) fn new(me: String) -> Self {
        Self { me, ..Self::default() }
    }

    /// Whether what is typed can be done: we are in, and all lines are up.
    pub(in crate::ue) fn is_ready(&self) -> bool {
        self.stands == Stands::In && self.missing.is_empty()
    }

    /// The name by which people know a URI.
    pub(in crate::ue) fn name_of<'a>(&'a self, uri: &'a str) -> &'a str {
        let member = self.members.iter().find(|member| member.uri == uri || same_user(&member.uri, uri));
        member.map_or_else(|| user_of(uri), Member::name)
    }

    /// The name of one who has or wants a floor.
    pub(in crate::ue) fn claimant<'a>(&'a self, claim: &'a Claim) -> std::borrow::Cow<'a, str> {
        match (claim.uri.as_str(), claim.name.as_str()) {
            ("", "") => format!("user {}", claim.user).into(),
            ("", name) => name.into(),
            (uri, _) => self.name_of(uri).into(),
        }
    }

    /// The URI of whom a person means: a URI, a nickname, a name, or the part of a URI before the @.
    ///
    /// # Errors
    /// One sentence, if it is nobody or not only one.
    pub(in crate::ue) fn resolve(&self, who: &str) -> Result<String, String> {
        if who.contains(':') || who.contains('@') {
            return Ok(who.to_owned());
        }
        let fits: [&dyn Fn(&Member) -> bool; 3] = [
            &|member| member.nickname.to_lowercase() == who.to_lowercase(),
            &|member| member.display.to_lowercase() == who.to_lowercase(),
            &|member| user_of(&member.uri).eq_ignore_ascii_case(who),
        ];
        for fits in fits {
            let mut found = self.members.iter().filter(|member| fits(member));
            match (found.next(), found.next()) {
                (Some(one), None) => return Ok(one.uri.clone()),
                (Some(_), Some(_)) => {
                    return Err(format!("more than one is called {who}: give the whole address"));
                }
                _ => {}
            }
        }
        Err(format!("nobody in the conference is called {who}"))
    }

    /// Who is typing.
    pub(in crate::ue) fn typing(&self, now: Instant) -> Vec<&str> {
        let typing = self.typing.iter().filter(|(_, since)| now.duration_since(**since) < TYPING);
        typing.map(|(uri, _)| self.name_of(uri)).collect()
    }

    /// The floor that is meant where none is named: one that we have or want, else the first.
    pub(in crate::ue) fn floor(&self) -> Option<u16> {
        let ours = self.floors.iter().find(|(_, floor)| floor.ours.is_some());
        ours.or_else(|| self.floors.iter().next()).map(|(id, _)| *id)
    }

    /// What the program itself has to say.
    pub(in crate::ue) fn note(&mut self, kind: Kind, text: impl Into<String>) {
        self.push(Line { kind, time: None, who: String::new(), text: text.into() });
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Takes an event in, and gives the lines that it adds.
    pub(in crate::ue) fn take(&mut self, now: Instant, event: &RoomEvent) -> Vec<Line> {
        let before = self.lines.len();
        let full = before >= LINES;
        let mut added = self.added(now, event);
        for line in &mut added {
            line.text = clean(&line.text);
            line.who = clean(&line.who);
        }
        for line in &added {
            self.push(line.clone());
        }
        debug_assert!(full || self.lines.len() >= before);
        added
    }

    fn added(&mut self, now: Instant, event: &RoomEvent) -> Vec<Line> {
        let note = |kind, text: String| vec![Line { kind, time: None, who: String::new(), text }];
        match event {
            RoomEvent::Joined { conference, sealed, messages, floors, .. } => {
                let lines = [(Medium::Messages, *messages), (Medium::Floors, *floors)];
                self.missing = lines.into_iter().filter_map(|(line, has)| has.then_some(line)).collect();
                let again = self.stands == Stands::Waiting;
                self.uri.clone_from(conference);
                self.stands = Stands::In;
                self.ours.clear();
                let how = if *sealed { "sealed" } else { "NOT SEALED" };
                note(
                    Kind::Notice,
                    format!("{} {conference}, {how}", if again { "again in" } else { "joined" }),
                )
            }
            RoomEvent::Connected { medium, seal } => {
                self.ours.insert(medium.word(), seal.as_ref().map(|seal| seal.version.clone()));
                self.missing.retain(|missing| missing != medium);
                let what = match medium {
                    Medium::Messages => "messages",
                    Medium::Floors => "floor control",
                };
                match seal {
                    Some(seal) => note(Kind::Notice, format!("{what}: {}", seal.line())),
                    None => {
                        note(Kind::Trouble, format!("{what}: NOT SEALED: everyone on the way can read this"))
                    }
                }
            }
            RoomEvent::Floors { user, floors } => {
                self.user = Some(*user);
                self.floors = floors.iter().map(|floor| (*floor, Floor::default())).collect();
                Vec::new()
            }
            RoomEvent::FloorsBack => note(Kind::Notice, "floor control is back".to_owned()),
            RoomEvent::NoFloors { reason } => {
                self.floors.clear();
                self.missing.retain(|missing| *missing != Medium::Floors);
                note(Kind::Trouble, format!("no floor control any more: {reason}"))
            }
            RoomEvent::Roster(roster) => {
                let mut added = Vec::new();
                let first = self.members.is_empty();
                let went: Vec<String> = roster
                    .went
                    .iter()
                    .map(|(uri, why)| match why {
                        Some(why) => format!("{} left: {why}", self.name_of(uri)),
                        None => format!("{} left", self.name_of(uri)),
                    })
                    .collect();
                self.members.clone_from(&roster.members);
                self.count = roster.count;
                self.subject.clone_from(&roster.subject);
                let was = std::mem::replace(&mut self.all_sealed, roster.sealed);
                self.typing.retain(|uri, _| roster.members.iter().any(|member| same_user(&member.uri, uri)));
                if first {
                    let names: Vec<&str> = self.members.iter().map(Member::name).collect();
                    added.extend(note(Kind::Notice, format!("here: {}", names.join(", "))));
                } else {
                    for uri in roster.came.iter().filter(|uri| !same_user(uri, &self.me)) {
                        let member = self.members.iter().find(|member| member.uri == *uri);
                        let how = match member.and_then(|member| member.sealed) {
                            Some(true) => ", sealed",
                            Some(false) => ", NOT SEALED",
                            None => "",
                        };
                        added.extend(note(Kind::Notice, format!("{} came{how}", self.name_of(uri))));
                    }
                    for text in went {
                        added.extend(note(Kind::Notice, text));
                    }
                }
                if was != self.all_sealed {
                    match self.all_sealed {
                        Some(true) => added.extend(note(Kind::Notice, "everybody here is sealed".into())),
                        Some(false) => added.extend(note(
                            Kind::Trouble,
                            "NOT EVERYBODY HERE IS SEALED: what is said can be read outside".into(),
                        )),
                        None => {}
                    }
                }
                added
            }
            RoomEvent::NoRoster { reason } => {
                note(Kind::Trouble, format!("who is here will not be shown: {reason}"))
            }
            RoomEvent::Message(said) => {
                self.typing.retain(|uri, _| !same_user(uri, &said.from));
                self.said(said)
            }
            RoomEvent::Composing { from, active } => {
                if *active && self.typing.len() < LINES {
                    self.typing.insert(from.clone(), now);
                } else {
                    self.typing.remove(from);
                }
                Vec::new()
            }
            RoomEvent::Receipt { from, status, .. } if status == "failed" => {
                note(Kind::Trouble, format!("a private message did not reach {}", self.name_of(from)))
            }
            RoomEvent::Receipt { .. } => Vec::new(),
            RoomEvent::File { from, path, size, private, .. } => {
                let who = self.name_of(from);
                let to = if *private { "sent you" } else { "sent" };
                let size = indicatif::HumanBytes(*size);
                note(Kind::Notice, format!("{who} {to} a file: {} ({size})", path.display()))
            }
            RoomEvent::FileRefused { from, name, reason } => {
                note(Kind::Trouble, format!("{} sent {name}: {reason}", self.name_of(from)))
            }
            RoomEvent::Nickname { nickname, failure: None } => {
                self.nickname.clone_from(nickname);
                match nickname.as_str() {
                    "" => note(Kind::Notice, "you have no nickname".into()),
                    _ => note(Kind::Notice, format!("you are {nickname}")),
                }
            }
            RoomEvent::Nickname { nickname, failure: Some(reason) } => {
                note(Kind::Trouble, format!("you are not {nickname}: {reason}"))
            }
            RoomEvent::Floor { floor, holders, queue } => self.floor_changed(*floor, holders, queue),
            RoomEvent::Request { floors, outcome, position, words, .. } => {
                let ours = (!outcome.is_final()).then_some((*outcome, *position));
                for floor in floors {
                    self.floors.entry(*floor).or_default().ours = ours;
                }
                let names: Vec<String> = floors.iter().map(u16::to_string).collect();
                let which = names.join(" and ");
                let mut text = match outcome {
                    Outcome::Pending => format!("you asked for floor {which}; the chair decides"),
                    Outcome::Queued if *position > 0 => {
                        format!("you wait for floor {which}, at place {position}")
                    }
                    Outcome::Queued => format!("you wait for floor {which}"),
                    Outcome::Granted => format!("YOU HAVE FLOOR {which}"),
                    Outcome::Denied => format!("the chair did not give you floor {which}"),
                    Outcome::Cancelled => format!("you do not wait for floor {which} any more"),
                    Outcome::Released => format!("you gave floor {which} back"),
                    Outcome::Revoked => format!("floor {which} was taken from you"),
                };
                if let Some(words) = words {
                    text.push_str(": ");
                    text.push_str(words);
                }
                note(Kind::Floor, text)
            }
            // Whoever asked is told by the answer.
            RoomEvent::FloorError { .. } => Vec::new(),
            RoomEvent::Referral { asked, who, status, words, done } => {
                let name = self.name_of(who);
                match (*done, *asked, *status) {
                    (false, ..) => Vec::new(),
                    (true, "invite", 200..=299) => note(Kind::Notice, format!("{name} was called in")),
                    (true, _, 200..=299) => note(Kind::Notice, format!("{name} was put out")),
                    (true, "invite", _) => {
                        note(Kind::Trouble, format!("{name} does not come: {status} {words}"))
                    }
                    (true, ..) => note(Kind::Trouble, format!("{name} was not put out: {status} {words}")),
                }
            }
            RoomEvent::Waiting { reason } => {
                self.stands = Stands::Waiting;
                self.ours.clear();
                let why = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
                note(Kind::Trouble, format!("the conference was lost{why}; waiting to be called back"))
            }
            RoomEvent::CalledBack { .. } => {
                self.stands = Stands::Waiting;
                self.ours.clear();
                note(Kind::Notice, "the conference calls back".into())
            }
            RoomEvent::Left { failure, said, ours } => {
                self.stands = Stands::Out;
                match (failure, said) {
                    (Some((_, sentence)), _) => note(Kind::Trouble, sentence.clone()),
                    (None, Some(said)) => note(Kind::Notice, format!("left: {said}")),
                    (None, None) if *ours => note(Kind::Notice, "left".into()),
                    (None, None) => note(Kind::Notice, "the conference ended".into()),
                }
            }
        }
    }

    fn said(&self, said: &Said) -> Vec<Line> {
        let name = match said.name.as_str() {
            _ if said.notice => String::new(),
            "" => self.name_of(&said.from).to_owned(),
            // The roster says who somebody is; the name in a message is the sender's own word.
            _ if self.members.iter().any(|member| same_user(&member.uri, &said.from)) => {
                self.name_of(&said.from).to_owned()
            }
            name => name.to_owned(),
        };
        let (who, kind) = match (&said.to, said.history, said.notice) {
            (_, _, true) => (String::new(), Kind::Notice),
            (Some(to), ..) if said.own => (format!("you → {}", self.name_of(to)), Kind::Private),
            (Some(_), ..) => (format!("{name} → you"), Kind::Private),
            (None, true, _) => (name, Kind::History),
            (None, false, _) => (name, Kind::Said),
        };
        let time = said.history.then(|| said.time.as_deref().and_then(clock)).flatten();
        // An empty text is a line too.
        let lines = said.text.lines().chain(said.text.is_empty().then_some(""));
        lines.map(|text| Line { kind, time: time.clone(), who: who.clone(), text: text.to_owned() }).collect()
    }

    fn floor_changed(&mut self, floor: u16, holders: &[Claim], queue: &[Claim]) -> Vec<Line> {
        let names = |claims: &[Claim]| -> Vec<String> {
            claims.iter().map(|claim| self.claimant(claim).into_owned()).collect()
        };
        let who = match names(holders).join(", ") {
            none if none.is_empty() => "nobody".to_owned(),
            some => some,
        };
        let next = names(queue).join(", ");
        let entry = self.floors.entry(floor).or_default();
        let was: Vec<u16> = entry.holders.iter().map(|claim| claim.user).collect();
        let wanted: Vec<u16> = entry.queue.iter().map(|claim| claim.user).collect();
        entry.holders = holders.to_vec();
        entry.queue = queue.to_vec();
        let same = was.iter().copied().eq(holders.iter().map(|claim| claim.user))
            && wanted.iter().copied().eq(queue.iter().map(|claim| claim.user));
        if same {
            return Vec::new();
        }
        let mut text = format!("floor {floor}: {who}");
        if !next.is_empty() {
            text.push_str("; next: ");
            text.push_str(&next);
        }
        vec![Line { kind: Kind::Floor, time: None, who: String::new(), text }]
    }
}

/// `12:03`, of RFC 3339 and in the time of this place.
fn clock(time: &str) -> Option<String> {
    let stamp: jiff::Timestamp = time.parse().ok()?;
    let zoned = stamp.to_zoned(jiff::tz::TimeZone::system());
    Some(format!("{:02}:{:02}", zoned.hour(), zoned.minute()))
}

/// Words of others on their way to a terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            // Also what turns the direction of writing around, or hides.
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::event::RosterReport;
    use super::*;

    fn member(uri: &str, nickname: &str) -> Member {
        Member { uri: uri.into(), nickname: nickname.into(), sealed: Some(true), ..Member::default() }
    }

    fn model() -> Model {
        let mut model = Model::new("sip:alice@a.example".into());
        let members = vec![
            member("sip:alice@a.example", ""),
            member("sip:bob@b.example", "Bobby"),
            member("sip:bob@c.example", ""),
            member("sip:carol@b.example", "bob's friend"),
        ];
        let roster = RosterReport { members, sealed: Some(true), count: 4, ..RosterReport::default() };
        model.take(Instant::now(), &RoomEvent::Roster(roster));
        model
    }

    #[test]
    fn a_person_is_found_by_any_of_their_names_and_not_if_there_are_two() {
        let model = model();
        assert_eq!(model.resolve("bobby").unwrap(), "sip:bob@b.example");
        assert_eq!(model.resolve("Bob's Friend").unwrap(), "sip:carol@b.example");
        assert_eq!(model.resolve("carol").unwrap(), "sip:carol@b.example");
        assert!(model.resolve("bob").unwrap_err().contains("more than one"));
        assert!(model.resolve("dave").unwrap_err().contains("nobody"));
        assert_eq!(model.resolve("dave@d.example").unwrap(), "dave@d.example");
    }

    #[test]
    fn the_roster_names_people_and_their_own_word_does_not() {
        let mut model = model();
        let said = Said {
            from: "sip:carol@b.example".into(),
            name: "Bobby".into(),
            text: "I am \x1b[31mBobby".into(),
            ..Said::default()
        };
        let lines = model.take(Instant::now(), &RoomEvent::Message(said));
        assert_eq!(lines[0].who, "bob's friend");
        assert_eq!(lines[0].text, "I am \u{fffd}[31mBobby");
    }

    #[test]
    fn a_member_without_a_seal_does_not_come_in_quietly() {
        let mut model = model();
        let mut members = model.members.clone();
        members.push(Member { sealed: Some(false), ..member("sip:eve@e.example", "") });
        let came = vec!["sip:eve@e.example".to_owned()];
        let roster = RosterReport { members, sealed: Some(false), count: 5, came, ..RosterReport::default() };
        let lines = model.take(Instant::now(), &RoomEvent::Roster(roster));
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts[0], "eve came, NOT SEALED");
        assert!(texts[1].starts_with("NOT EVERYBODY HERE IS SEALED") && lines[1].kind == Kind::Trouble);
    }

    #[test]
    fn what_is_kept_has_an_end() {
        let mut model = model();
        for _ in 0..3 * LINES {
            let said = Said { from: "sip:carol@b.example".into(), text: "x".into(), ..Said::default() };
            model.take(Instant::now(), &RoomEvent::Message(said));
        }
        assert_eq!(model.lines.len(), LINES);
    }

    #[test]
    fn a_floor_is_told_when_it_passes_and_not_again() {
        let mut model = model();
        let claim = |user, uri: &str| Claim {
            request: user,
            user,
            name: String::new(),
            uri: uri.into(),
            position: 0,
            priority: None,
            pending: false,
        };
        let (bobby, carol) = (claim(2, "sip:bob@b.example"), claim(3, "sip:carol@b.example"));
        let event = RoomEvent::Floor { floor: 1, holders: vec![bobby.clone()], queue: vec![carol.clone()] };
        let lines = model.take(Instant::now(), &event);
        assert_eq!(lines[0].text, "floor 1: Bobby; next: bob's friend");
        assert!(model.take(Instant::now(), &event).is_empty());
        let event = RoomEvent::Floor { floor: 1, holders: vec![], queue: vec![] };
        assert_eq!(model.take(Instant::now(), &event)[0].text, "floor 1: nobody");
    }
}
