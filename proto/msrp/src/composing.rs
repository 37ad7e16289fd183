//! "Is typing": the document of RFC 3994 and the two state machines around it.
//!
//! [`Composer`] says when to tell the peer what our user does; [`Watcher`] says what to show of the
//! peer. Time comes in as an argument.

use crate::xml::{Element, escape};
use carnet_wire::ParseError;
use std::time::{Duration, Instant};

/// The media type of the document.
pub const MEDIA_TYPE: &str = "application/im-iscomposing+xml";

/// RFC 3994 §3.2: how long after the last key the user counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(15);
/// RFC 3994 §3.2, §3.3: how long "active" holds without a refresh, when no interval is given.
const ACTIVE_FOR: Duration = Duration::from_secs(120);
/// The longest refresh interval that is believed.
const LONGEST_REFRESH: Duration = Duration::from_secs(3600);

/// Whether somebody is composing a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is being composed; also any state we do not know (RFC 3994 §3.5).
    Idle,
    /// A message is being composed.
    Active,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composing {
    /// Whether something is being composed.
    pub state: State,
    /// When the user was last active, in the form of RFC 3339.
    pub last_active: Option<String>,
    /// Media type of what is composed: a whole type or its first part.
    pub content_type: Option<String>,
    /// How long "active" holds unless refreshed.
    pub refresh: Option<Duration>,
}

impl Composing {
    /// A document that only says the state.
    pub fn new(state: State) -> Self {
        Self { state, last_active: None, content_type: None, refresh: None }
    }

    /// Reads a document.
    pub fn parse(document: &[u8]) -> Result<Self, ParseError> {
        let root = Element::parse(document)?;
        if root.name != "isComposing" {
            return Err(ParseError::new(0, "an `isComposing` element"));
        }
        let state = root.text_of("state").ok_or_else(|| ParseError::new(0, "a `state` element"))?;
        let text = |name| root.text_of(name).filter(|t| !t.is_empty()).map(str::to_owned);
        let refresh = root.text_of("refresh").and_then(|t| t.parse().ok()).map(Duration::from_secs);
        Ok(Self {
            state: if state == "active" { State::Active } else { State::Idle },
            last_active: text("lastactive"),
            content_type: text("contenttype"),
            refresh,
        })
    }

    /// Writes the document.
    pub fn to_xml(&self) -> String {
        let state = match self.state {
            State::Idle => "idle",
            State::Active => "active",
        };
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n");
        out.push_str("<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\r\n");
        out.push_str(&format!("<state>{state}</state>\r\n"));
        if let Some(t) = &self.last_active {
            out.push_str(&format!("<lastactive>{}</lastactive>\r\n", escape(t)));
        }
        if let Some(t) = &self.content_type {
            out.push_str(&format!("<contenttype>{}</contenttype>\r\n", escape(t)));
        }
        if let Some(t) = self.refresh {
            out.push_str(&format!("<refresh>{}</refresh>\r\n", t.as_secs()));
        }
        out.push_str("</isComposing>\r\n");
        out
    }
}

/// What our user does, and when the peer is to hear of it (RFC 3994 §3.2).
#[derive(Debug, Default)]
pub struct Composer {
    idle_at: Option<Instant>,
    refresh_at: Option<Instant>,
}

impl Composer {
    /// The user typed something. Returns the document to send, if one is due.
    pub fn typed(&mut self, now: Instant) -> Option<Composing> {
        let first = self.idle_at.replace(now + IDLE_AFTER).is_none();
        let due = first || self.refresh_at.is_some_and(|at| at <= now);
        due.then(|| self.active(now))
    }

    /// The message went out; the peer sees by itself that composing ended.
    pub fn sent(&mut self) {
        *self = Self::default();
    }

    /// When [`Self::handle_timeout`] should be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.idle_at.into_iter().chain(self.refresh_at).min()
    }

    /// Returns the document to send, if one is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Composing> {
        if self.idle_at.is_some_and(|at| at <= now) {
            *self = Self::default();
            return Some(Composing::new(State::Idle));
        }
        self.refresh_at.is_some_and(|at| at <= now).then(|| self.active(now))
    }

    fn active(&mut self, now: Instant) -> Composing {
        // Sent a little before the peer would give up.
        self.refresh_at = Some(now + ACTIVE_FOR - Duration::from_secs(10));
        Composing { refresh: Some(ACTIVE_FOR), ..Composing::new(State::Active) }
    }
}

/// What the peer does, as far as we can tell (RFC 3994 §3.3).
#[derive(Debug, Default)]
pub struct Watcher {
    active_until: Option<Instant>,
}

impl Watcher {
    /// A document came.
    pub fn heard(&mut self, now: Instant, composing: &Composing) {
        self.active_until = match composing.state {
            State::Idle => None,
            // As the peer says, also when that is shorter than it should be.
            State::Active => Some(now + composing.refresh.unwrap_or(ACTIVE_FOR).min(LONGEST_REFRESH)),
        };
    }

    /// A message came, so it is no longer being composed.
    pub fn received(&mut self) {
        self.active_until = None;
    }

    /// Whether to show that the peer is typing.
    pub fn is_active(&self, now: Instant) -> bool {
        self.active_until.is_some_and(|until| now < until)
    }

    /// When the answer of [`Self::is_active`] changes by itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.active_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3994 §4, the first example.
    const ACTIVE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"\n\
        \txmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"\n\
        \txsi:schemaLocation=\"urn:ietf:params:xml:ns:im-composing\n\tiscomposing.xsd\">\n\
        \t<state>active</state>\n\t<contenttype>text/plain</contenttype>\n\t<refresh>90</refresh>\n</isComposing>\n";

    #[test]
    fn the_document() {
        let c = Composing::parse(ACTIVE.as_bytes()).unwrap();
        assert_eq!((c.state, c.refresh), (State::Active, Some(Duration::from_secs(90))));
        assert_eq!(c.content_type.as_deref(), Some("text/plain"));
        assert_eq!(Composing::parse(c.to_xml().as_bytes()).unwrap(), c);
        // RFC 3994 §3.5: a state nobody knows is idle.
        let other = ACTIVE.replace("active<", "pondering<");
        assert_eq!(Composing::parse(other.as_bytes()).unwrap().state, State::Idle);
        assert!(Composing::parse(b"<isComposing/>").is_err());
        assert!(Composing::parse(b"<composing><state>idle</state></composing>").is_err());
    }

    #[test]
    fn a_composer_tells_once_refreshes_and_goes_idle() {
        let mut now = Instant::now();
        let mut composer = Composer::default();
        assert_eq!(composer.typed(now).map(|c| c.state), Some(State::Active));
        for _ in 0..10 {
            now += Duration::from_secs(10);
            assert_eq!((composer.typed(now), composer.handle_timeout(now)), (None, None));
        }
        now += Duration::from_secs(10);
        assert_eq!(composer.typed(now).map(|c| c.state), Some(State::Active));
        let idle = composer.poll_timeout().unwrap();
        assert_eq!(idle, now + IDLE_AFTER);
        assert_eq!(composer.handle_timeout(idle).map(|c| c.state), Some(State::Idle));
        assert_eq!(composer.poll_timeout(), None);
        composer.typed(now);
        composer.sent();
        assert_eq!(composer.poll_timeout(), None);
    }

    #[test]
    fn a_watcher_forgets() {
        let now = Instant::now();
        let mut watcher = Watcher::default();
        watcher.heard(
            now,
            &Composing { refresh: Some(Duration::from_secs(90)), ..Composing::new(State::Active) },
        );
        assert!(
            watcher.is_active(now + Duration::from_secs(89))
                && !watcher.is_active(now + Duration::from_secs(90))
        );
        watcher.received();
        assert!(!watcher.is_active(now));
        for (refresh, held) in [(10, 10), (u64::MAX, 3600)] {
            let refresh = Some(Duration::from_secs(refresh));
            watcher.heard(now, &Composing { refresh, ..Composing::new(State::Active) });
            assert_eq!(watcher.poll_timeout(), Some(now + Duration::from_secs(held)));
        }
        watcher.heard(now, &Composing::new(State::Active));
        assert_eq!(watcher.poll_timeout(), Some(now + Duration::from_secs(120)));
    }
}
