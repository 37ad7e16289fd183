//! What a field of an event can hold.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Words.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
    /// A measure: seconds, mostly.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// Several words.
    List(Vec<Cow<'a, str>>),
}

/// Where fields are told to.
pub trait Fields {
    /// One field. One that is not there (`None`) is not told.
    fn field(&mut self, name: &str, value: Value<'_>);
}

/// What can be a field.
pub trait Field {
    /// Tells it under that name, or its parts under names that begin with it.
    fn tell(&self, name: &str, fields: &mut dyn Fields);

    /// As the value of a counter's label: one of few.
    fn label(&self) -> String {
        struct Last(String);
        impl Fields for Last {
            fn field(&mut self, _: &str, value: Value<'_>) {
                self.0 = match value {
                    Value::Text(text) => text.into_owned(),
                    Value::Number(number) => number.to_string(),
                    Value::Real(real) => real.to_string(),
                    Value::Flag(flag) => flag.to_string(),
                    Value::List(list) => list.join(" "),
                };
            }
        }
        let mut last = Last(String::new());
        self.tell("", &mut last);
        last.0
    }
}

macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl Field for $number {
            fn tell(&self, name: &str, fields: &mut dyn Fields) {
                fields.field(name, Value::Number(u64::from(*self)));
            }
        }
    )* };
}

numbers!(u8, u16, u32, u64);

impl Field for usize {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        fields.field(name, Value::Number(u64::try_from(*self).unwrap_or(u64::MAX)));
    }
}

impl Field for bool {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        fields.field(name, Value::Flag(*self));
    }
}

impl Field for str {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        fields.field(name, Value::Text(self.into()));
    }
}

impl Field for String {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.as_str().tell(name, fields);
    }
}

impl Field for Arc<str> {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        (**self).tell(name, fields);
    }
}

impl<F: Field + ?Sized> Field for &F {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        (**self).tell(name, fields);
    }

    fn label(&self) -> String {
        (**self).label()
    }
}

impl<F: Field> Field for Option<F> {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        if let Some(field) = self {
            field.tell(name, fields);
        }
    }

    fn label(&self) -> String {
        self.as_ref().map(Field::label).unwrap_or_default()
    }
}

impl Field for Vec<String> {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        fields.field(name, Value::List(self.iter().map(|text| text.as_str().into()).collect()));
    }
}

/// In seconds.
impl Field for Duration {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        fields.field(name, Value::Real(self.as_secs_f64()));
    }
}

impl Field for SocketAddr {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        fields.field(name, Value::Text(self.to_string().into()));
    }
}

impl Field for IpAddr {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        fields.field(name, Value::Text(self.to_string().into()));
    }
}

/// Fields kept in a list: what most consumers begin with.
impl Fields for Vec<(String, Value<'static>)> {
    fn field(&mut self, name: &str, value: Value<'_>) {
        self.push((name.to_owned(), value.into_owned()));
    }
}

impl Value<'_> {
    /// With words of its own.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(text.into_owned().into()),
            Self::Number(number) => Value::Number(number),
            Self::Real(real) => Value::Real(real),
            Self::Flag(flag) => Value::Flag(flag),
            Self::List(list) => Value::List(list.into_iter().map(|text| text.into_owned().into()).collect()),
        }
    }

    /// The words, if it is words.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The count, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}
