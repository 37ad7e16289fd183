//! An event as it was told: what logs, session records and whoever watches are made from.

use carnet_event::{Event, Level, Value};
use serde_json::{Map, Number};
use std::fmt::Write;

/// An event of a role, with its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What the role is: `border`, `gateway`, `conference`, `steering`, `kms`, `relay`.
    pub role: &'static str,
    /// Its name in the configuration.
    pub node: String,
    /// The event's name.
    pub name: &'static str,
    /// How much attention it deserves.
    pub level: Level,
    /// Its fields, in the order of the declaration.
    pub fields: Vec<(String, Value<'static>)>,
}

impl Told {
    /// What there is to tell of it; `None` if it is not to be told.
    pub fn of<E: Event>(role: &'static str, node: &str, event: &E) -> Option<Self> {
        let level = event.level()?;
        let mut fields = Vec::new();
        event.tell(&mut fields);
        Some(Self { role, node: node.to_owned(), name: event.name(), level, fields })
    }

    /// A field's value.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value<'static>> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The call that it is about.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.field("call_id").and_then(Value::text)
    }

    /// For people: ` border=b-a call_id=x cause=refused`, each after a space.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = String::new();
        put(&mut words, self.role, &self.node);
        for (name, value) in &self.fields {
            match value {
                Value::Text(text) => put(&mut words, name, text),
                Value::Number(number) => put(&mut words, name, &number.to_string()),
                Value::Real(real) => put(&mut words, name, &format!("{real:.3}")),
                Value::Flag(flag) => put(&mut words, name, &flag.to_string()),
                Value::List(list) => put(&mut words, name, &list.join(",")),
            }
        }
        words
    }

    /// For machines, without the name: `{"border": "b-a", "call_id": "x", …}`.
    #[must_use]
    pub fn members(&self) -> Map<String, serde_json::Value> {
        let mut members = Map::new();
        members.insert(self.role.to_owned(), self.node.as_str().into());
        for (name, value) in &self.fields {
            let value = match value {
                Value::Text(text) => text.as_ref().into(),
                Value::Number(number) => (*number).into(),
                Value::Real(real) => Number::from_f64(*real).map_or(serde_json::Value::Null, Into::into),
                Value::Flag(flag) => (*flag).into(),
                Value::List(list) => list.iter().map(|text| serde_json::Value::from(text.as_ref())).collect(),
            };
            members.insert(name.clone(), value);
        }
        members
    }
}

/// ` name=value`; in quotation marks what has more than plain characters. Others write what is in a value, so a line stays
/// one line whatever they write.
pub(crate) fn put(words: &mut String, name: &str, value: &str) {
    let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\');
    // Writing into a string does not fail.
    let _ = if plain { write!(words, " {name}={value}") } else { write!(words, " {name}={value:?}") };
}

#[cfg(test)]
mod tests {
    use super::*;

    carnet_event::declare! {
        /// Of these tests.
        pub enum Happening {
            /// Somebody came.
            [warn "came"]
            Came {
                /// Who.
                who: String,
                /// With whom.
                with: Vec<String>,
                /// How many times.
                times: u32,
                /// From where, if it is known.
                from: Option<String>,
            },
            /// Not for others.
            [untold "own"]
            Own,
        }
        level(_event, declared) declared
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let who = "eve\n2026 INFO call-up \"x\"".to_owned();
        let event = Happening::Came { who, with: vec!["a".into(), "b".into()], times: 3, from: None };
        let told = Told::of("border", "b-a", &event).unwrap();
        assert_eq!(told.words(), " border=b-a who=\"eve\\n2026 INFO call-up \\\"x\\\"\" with=a,b times=3");
        let members = serde_json::Value::from(told.members());
        assert_eq!(members["who"], "eve\n2026 INFO call-up \"x\"");
        assert_eq!((&members["with"][1], &members["times"]), (&"b".into(), &3.into()));
        assert_eq!((told.field("from"), told.level), (None, Level::Warn));
        assert_eq!(Told::of("border", "b-a", &Happening::Own), None);
    }
}
