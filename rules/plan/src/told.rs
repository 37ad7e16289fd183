//! How a plan and what belongs to one side of it are told in events.

use carnet_event::{Field, Fields};

use crate::{Both, Octets, Plan, Side};

impl Field for Side {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
        .tell(name, fields);
    }
}

/// In parts: `NAME.caller` and `NAME.callee`.
impl<T: Field> Field for Both<T> {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.caller.tell(&format!("{name}.caller"), fields);
        self.callee.tell(&format!("{name}.callee"), fields);
    }
}

/// In parts: `NAME.received` and `NAME.sent`, as the gateway sees it.
impl Field for Octets {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.received.tell(&format!("{name}.received"), fields);
        self.sent.tell(&format!("{name}.sent"), fields);
    }
}

/// In words, a sentence a line.
impl Field for Plan {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.to_string().tell(name, fields);
    }

    /// The decisions for its lines, each once, in order: `e2e`, `e2e+plain`.
    fn label(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for line in &self.lines {
            let name = line.decision.name();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join("+")
    }
}
