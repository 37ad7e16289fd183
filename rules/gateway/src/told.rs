//! How values of the media contract are told in events.

use carnet_event::{Field, Fields};

use crate::engine::{Engine, Reason};
use crate::events::general_cause;
use crate::media::{Cause, ConferenceEvent, Statistics};

impl Field for Engine {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.name().tell(name, fields);
    }
}

/// In parts: `NAME` in a word or two, and `NAME.text` for people.
impl Field for Reason {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.name().tell(name, fields);
        self.text().tell(&format!("{name}.text"), fields);
    }

    fn label(&self) -> String {
        self.name().to_owned()
    }
}

/// The word that the controller is told.
impl Field for Cause {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        general_cause(*self).1.tell(name, fields);
    }
}

/// In parts: `NAME.received` and `NAME.sent`, octets, and `NAME.seconds`.
impl Field for Statistics {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.octets_received.tell(&format!("{name}.received"), fields);
        self.octets_sent.tell(&format!("{name}.sent"), fields);
        self.duration.tell(&format!("{name}.seconds"), fields);
    }
}

/// In parts: `NAME` in a word, `NAME.user` or `NAME.floor`, and what belongs to it.
impl Field for ConferenceEvent {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        let part = |part: &str| format!("{name}.{part}");
        self.label().tell(name, fields);
        match self {
            Self::Nickname { user, nick } => {
                user.tell(&part("user"), fields);
                nick.tell(&part("nick"), fields);
            }
            Self::Released { user, reason } => {
                user.tell(&part("user"), fields);
                reason.tell(&part("reason"), fields);
            }
            Self::Stalled { user, on } => {
                user.tell(&part("user"), fields);
                on.tell(&part("on"), fields);
            }
            Self::Floor { floor, holders, queue, .. } => {
                floor.tell(&part("floor"), fields);
                holders.len().tell(&part("holders"), fields);
                queue.len().tell(&part("waiting"), fields);
            }
        }
    }

    fn label(&self) -> String {
        match self {
            Self::Nickname { .. } => "nickname",
            Self::Released { .. } => "released",
            Self::Stalled { .. } => "stalled",
            Self::Floor { .. } => "floor",
        }
        .to_owned()
    }
}
