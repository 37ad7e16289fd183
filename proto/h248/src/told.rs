//! How names of the model are told in events.

use carnet_event::{Field, Fields, Value};

use crate::controller::LostReason;
use crate::{ContextId, ErrorDescriptor, MId, TerminationId};

/// Its number; nothing where it is none.
impl Field for ContextId {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.id().tell(name, fields);
    }
}

impl Field for TerminationId {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.as_str().tell(name, fields);
    }
}

impl Field for MId {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.to_string().tell(name, fields);
    }
}

/// In parts: `NAME.code` and `NAME.text`.
impl Field for ErrorDescriptor {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.code.tell(&format!("{name}.code"), fields);
        if let Some(text) = &self.text {
            fields.field(&format!("{name}.text"), Value::Text(text.as_ref().into()));
        }
    }

    fn label(&self) -> String {
        self.code.to_string()
    }
}

impl Field for LostReason {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.to_string().tell(name, fields);
    }

    fn label(&self) -> String {
        match self {
            Self::Silent => "silent",
            Self::Restarted => "restarted",
            Self::Forced => "forced",
            Self::HandedOff => "handed-off",
            Self::Estranged => "estranged",
        }
        .to_owned()
    }
}
