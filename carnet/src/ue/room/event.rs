//! What happens in a conference, once, in a form that a screen, a script and a test can all use.

use std::path::PathBuf;

use carnet_client::CallId;
use carnet_roster::{Change, Roster, Seal};
use serde_json::{Value, json};

use super::super::event::SealReport;

/// Something happened in a conference.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RoomEvent {
    /// We are in.
    Joined {
        /// The URI of the conference.
        conference: String,
        /// Whether it is sealed.
        sealed: bool,
        /// Whether it has messages.
        messages: bool,
        /// Whether it has floor control.
        floors: bool,
        /// Whether it gives nicknames.
        nicknames: bool,
        /// Whether it passes messages to one member on.
        private_messages: bool,
    },
    /// A line of the conference is connected.
    Connected {
        /// Which.
        medium: Medium,
        /// How it is sealed; `None` is in clear, which was allowed.
        seal: Option<Box<SealReport>>,
    },
    /// Floor control is agreed.
    Floors {
        /// Our number.
        user: u16,
        /// The floors.
        floors: Vec<u16>,
    },
    /// The floor control connection had broken, and there is another: what we had or asked for in time is
    /// still ours.
    FloorsBack,
    /// Floor control is gone; the conference goes on.
    NoFloors {
        /// One sentence.
        reason: String,
    },
    /// Who is in the conference.
    Roster(RosterReport),
    /// Who is in it will not be known.
    NoRoster {
        /// One sentence.
        reason: String,
    },
    /// Somebody said something; also we, once it has reached the conference.
    Message(Said),
    /// Somebody is typing, or stopped.
    Composing {
        /// Who: a URI.
        from: String,
        /// Whether.
        active: bool,
    },
    /// What became of a private message of ours.
    Receipt {
        /// Its identifier.
        id: String,
        /// Who says so.
        from: String,
        /// `delivered`, `displayed`, `failed` …
        status: String,
    },
    /// A file came.
    File {
        /// From whom.
        from: String,
        /// Its name, safe to show.
        name: String,
        /// Where it is now.
        path: PathBuf,
        /// In octets.
        size: u64,
        /// Whether it is for us only.
        private: bool,
    },
    /// A file was sent and was not taken.
    FileRefused {
        /// From whom.
        from: String,
        /// Its name, safe to show.
        name: String,
        /// One sentence.
        reason: String,
    },
    /// The conference answered about our nickname.
    Nickname {
        /// Which; empty when it was given back.
        nickname: String,
        /// `None` if it is ours now; else one sentence.
        failure: Option<String>,
    },
    /// Who has a floor, and who wants it.
    Floor {
        /// Which.
        floor: u16,
        /// Who has it.
        holders: Vec<Claim>,
        /// Who wants it, the next one first.
        queue: Vec<Claim>,
    },
    /// What became of a floor request of ours.
    Request {
        /// The server's number for it.
        request: u16,
        /// For which floors.
        floors: Vec<u16>,
        /// What became of it.
        outcome: Outcome,
        /// Place in the queue, from 1; 0 if it is in none.
        position: u8,
        /// What the server or the chair said.
        words: Option<String>,
    },
    /// Floor control did not do what was asked.
    FloorError {
        /// What was asked.
        asked: &'static str,
        /// One sentence.
        reason: String,
    },
    /// What came of asking the focus about somebody.
    Referral {
        /// `invite` or `kick`.
        asked: &'static str,
        /// About whom.
        who: String,
        /// SIP status.
        status: u16,
        /// Its words.
        words: String,
        /// Whether nothing more will come.
        done: bool,
    },
    /// The conference was lost; its focus may call back.
    Waiting {
        /// One sentence.
        reason: Option<String>,
    },
    /// We are out.
    Left {
        /// `None` if it ended as conferences end; else one word for scripts and one sentence.
        failure: Option<(&'static str, String)>,
        /// What the focus gave as its reason (RFC 3326), in its words.
        said: Option<String>,
        /// Whether it was our wish.
        ours: bool,
    },
    /// The focus has called back, and we are in again.
    CalledBack {
        /// The call by which we are in now.
        to: CallId,
    },
}

/// Which line of a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Messages.
    Messages,
    /// Floor control.
    Floors,
}

impl Medium {
    /// A stable word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Floors => "floors",
        }
    }
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its identifier, if it has one.
    pub id: String,
    /// Who: a URI.
    pub from: String,
    /// The name that came with it; may be empty.
    pub name: String,
    /// The one it is for, if it is not for all: a URI.
    pub to: Option<String>,
    /// What.
    pub text: String,
    /// When it was sent, as the sender says; RFC 3339.
    pub time: Option<String>,
    /// Whether it was said before we came.
    pub history: bool,
    /// Whether it is ours.
    pub own: bool,
    /// Whether the conference itself says it.
    pub notice: bool,
}

/// A user who has or wants a floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The server's number for the request.
    pub request: u16,
    /// The user's number.
    pub user: u16,
    /// A name for people: what the server gives, else empty.
    pub name: String,
    /// The user's URI, if the server gives it.
    pub uri: String,
    /// Place in the queue; 0 for a holder, or where there is none yet.
    pub position: u8,
    /// 0 (lowest) to 4 (highest), if it was said.
    pub priority: Option<u8>,
    /// Whether the chair has still to decide.
    pub pending: bool,
}

/// What became of a floor request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The chair has it.
    Pending,
    /// It waits in the queue.
    Queued,
    /// We have the floor.
    Granted,
    /// The chair said no.
    Denied,
    /// It was withdrawn.
    Cancelled,
    /// The floor was given back.
    Released,
    /// The floor was taken away.
    Revoked,
}

impl Outcome {
    /// A stable word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
            Self::Revoked => "revoked",
        }
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Denied | Self::Cancelled | Self::Released | Self::Revoked)
    }
}

/// Who is in a conference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RosterReport {
    /// What it is about.
    pub subject: Option<String>,
    /// Whether all legs are sealed; `None` if the conference does not say.
    pub sealed: Option<bool>,
    /// The members that are present.
    pub members: Vec<Member>,
    /// How many there are, which may be more than are listed.
    pub count: usize,
    /// Who came: URIs.
    pub came: Vec<String>,
    /// Who went: URIs, and why if that was said.
    pub went: Vec<(String, Option<String>)>,
}

/// A member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The member's URI.
    pub uri: String,
    /// Name in the room; may be empty.
    pub nickname: String,
    /// Other name for people; may be empty.
    pub display: String,
    /// Whether all of the member's legs are sealed; `None` if the conference does not say.
    pub sealed: Option<bool>,
    /// `owner`, `chair` …
    pub roles: Vec<String>,
    /// Whether it is us.
    pub me: bool,
}

impl Member {
    /// The name by which people know the member.
    pub fn name(&self) -> &str {
        match (self.nickname.as_str(), self.display.as_str()) {
            ("", "") => user_of(&self.uri),
            ("", display) => display,
            (nickname, _) => nickname,
        }
    }
}

/// The part of a URI by which people know each other.
pub fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or(rest, |(user, _)| user)
}

impl RosterReport {
    pub(in super::super) fn of(roster: &Roster, changes: &[Change], me: &str) -> Self {
        let is_sealed = |seal: Option<Seal>| seal.map(|seal| seal == Seal::Sealed);
        let mut report = Self {
            subject: roster.description.subject.clone(),
            sealed: is_sealed(roster.seal()),
            ..Self::default()
        };
        for user in roster.users.iter().filter(|user| user.is_present()) {
            report.members.push(Member {
                uri: user.entity.clone(),
                nickname: user.nickname.clone().unwrap_or_default(),
                display: user.display_text.clone().unwrap_or_default(),
                sealed: is_sealed(user.seal()),
                roles: user.roles.clone(),
                me: super::same_user(&user.entity, me),
            });
        }
        let told = roster.state.user_count.and_then(|count| usize::try_from(count).ok());
        report.count = told.unwrap_or_default().max(report.members.len());
        for change in changes {
            match change {
                Change::Joined(uri) => report.came.push(uri.clone()),
                Change::Left(user) => {
                    let why = user.endpoints.iter().find_map(|endpoint| endpoint.disconnection_info.as_ref());
                    report.went.push((user.entity.clone(), why.and_then(|why| why.reason.clone())));
                }
                _ => {}
            }
        }
        report
    }
}

impl Claim {
    /// Whether it is that of `who`: a URI, a name, the part of a URI before the @, or a number.
    pub fn is(&self, who: &str) -> bool {
        who.parse() == Ok(self.user)
            || (!self.name.is_empty() && self.name.eq_ignore_ascii_case(who))
            || (!self.uri.is_empty()
                && (super::same_user(&self.uri, who) || user_of(&self.uri).eq_ignore_ascii_case(who)))
    }

    fn json(&self) -> Value {
        json!({
            "request": self.request, "user": self.user, "name": self.name, "uri": self.uri,
            "position": self.position, "priority": self.priority, "pending": self.pending,
        })
    }
}

impl RoomEvent {
    /// One object for scripts; `event` says which.
    pub fn json(&self, call: CallId) -> Value {
        let mut value = match self {
            Self::Joined { conference, sealed, messages, floors, nicknames, private_messages } => json!({
                "event": "joined", "conference": conference, "sealed": sealed, "messages": messages,
                "floors": floors, "nicknames": nicknames, "private_messages": private_messages,
            }),
            Self::Connected { medium, seal: Some(seal) } => json!({
                "event": "sealed", "medium": medium.word(), "version": seal.version, "cipher": seal.cipher,
                "kms": seal.kms, "initiator": seal.initiator, "responder": seal.responder,
                "psk_identity": seal.psk_identity, "client_random": seal.client_random,
                "tls_client": seal.tls_client, "remote": seal.remote,
            }),
            Self::Connected { medium, seal: None } => json!({"event": "clear", "medium": medium.word()}),
            Self::Floors { user, floors } => json!({"event": "floors", "user": user, "floors": floors}),
            Self::FloorsBack => json!({"event": "floors-back"}),
            Self::NoFloors { reason } => json!({"event": "no-floors", "reason": reason}),
            Self::Roster(roster) => json!({
                "event": "roster", "subject": roster.subject, "sealed": roster.sealed, "count": roster.count,
                "members": roster.members.iter().map(|member| json!({
                    "uri": member.uri, "name": member.name(), "nickname": member.nickname,
                    "sealed": member.sealed, "roles": member.roles, "me": member.me,
                })).collect::<Vec<_>>(),
                "came": roster.came,
                "went": roster.went.iter().map(|(uri, reason)| json!({"uri": uri, "reason": reason}))
                    .collect::<Vec<_>>(),
            }),
            Self::NoRoster { reason } => json!({"event": "no-roster", "reason": reason}),
            Self::Message(said) => json!({
                "event": "message", "id": said.id, "from": said.from, "name": said.name, "text": said.text,
                "private": said.to.is_some(), "to": said.to, "time": said.time, "history": said.history,
                "own": said.own, "notice": said.notice,
            }),
            Self::Composing { from, active } => json!({"event": "composing", "from": from, "active": active}),
            Self::Receipt { id, from, status } => {
                json!({"event": "receipt", "id": id, "from": from, "status": status})
            }
            Self::File { from, name, path, size, private } => json!({
                "event": "file", "from": from, "name": name, "path": path, "size": size, "private": private,
            }),
            Self::FileRefused { from, name, reason } => {
                json!({"event": "file-refused", "from": from, "name": name, "reason": reason})
            }
            Self::Nickname { nickname, failure } => {
                json!({"event": "nickname", "nickname": nickname, "ok": failure.is_none(), "reason": failure})
            }
            Self::Floor { floor, holders, queue } => json!({
                "event": "floor", "floor": floor, "holders": holders.iter().map(Claim::json).collect::<Vec<_>>(),
                "queue": queue.iter().map(Claim::json).collect::<Vec<_>>(),
            }),
            Self::Request { request, floors, outcome, position, words } => json!({
                "event": outcome.word(), "request": request, "floors": floors, "position": position,
                "reason": words,
            }),
            Self::FloorError { asked, reason } => {
                json!({"event": "floor-error", "asked": asked, "reason": reason})
            }
            Self::Referral { asked, who, status, words, done } => json!({
                "event": "referral", "asked": asked, "who": who, "status": status, "reason": words, "done": done,
            }),
            Self::Waiting { reason } => json!({"event": "waiting", "reason": reason}),
            Self::Left { failure, said, ours } => json!({
                "event": "left", "error": failure.as_ref().map(|(word, _)| word),
                "reason": failure.as_ref().map(|(_, sentence)| sentence).or(said.as_ref()), "ours": ours,
            }),
            Self::CalledBack { to } => json!({"event": "called-back", "to": to.0}),
        };
        if let Some(object) = value.as_object_mut() {
            object.insert("call".to_owned(), call.0.into());
        }
        value
    }
}
