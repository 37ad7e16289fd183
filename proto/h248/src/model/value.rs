//! Values of properties and parameters, and how they may be constrained (RFC 3525 Annex B.2, `parmValue`).

use super::{Name, Text};
use std::borrow::Cow;
use std::fmt;

/// One value as the text encoding has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// Without quotes: letters, digits and the other safe characters only.
    Token(Text),
    /// In quotes. The grammar has no way to say `"` inside; it is printed as `'`.
    Quoted(Text),
}

/// Whether an octet may stand in a value without quotes (`SafeChar`).
pub(crate) const fn is_safe(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'+' | b'-'
                | b'&'
                | b'!'
                | b'_'
                | b'/'
                | b'\''
                | b'?'
                | b'@'
                | b'^'
                | b'`'
                | b'~'
                | b'*'
                | b'$'
                | b'\\'
                | b'('
                | b')'
                | b'%'
                | b'|'
                | b'.'
        )
}

impl Value {
    /// Quotes the text if it needs it.
    pub fn new(text: impl Into<Text>) -> Self {
        let text = text.into();
        if !text.is_empty() && text.bytes().all(is_safe) { Self::Token(text) } else { Self::Quoted(text) }
    }

    /// The text without quotes.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Token(t) | Self::Quoted(t) => t,
        }
    }

    /// As a decimal number.
    pub fn as_u64(&self) -> Option<u64> {
        let text = self.as_str();
        if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
    }

    /// `ON` or `OFF` (also `true`, `false`).
    pub fn as_bool(&self) -> Option<bool> {
        let is = |word| self.as_str().eq_ignore_ascii_case(word);
        if is("ON") || is("true") {
            Some(true)
        } else if is("OFF") || is("false") {
            Some(false)
        } else {
            None
        }
    }

    /// `$`: the gateway chooses.
    pub fn is_choose(&self) -> bool {
        self.as_str() == "$"
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Self::Token(Cow::Borrowed(if on { "ON" } else { "OFF" }))
    }
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl From<$t> for Value {
            fn from(n: $t) -> Self {
                Self::Token(Cow::Owned(n.to_string()))
            }
        }
    )*};
}
number!(u8, u16, u32, u64, i64);

/// What follows a property or parameter name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ParameterValue {
    /// `= value`
    Equal(Value),
    /// `# value`
    NotEqual(Value),
    /// `< value`
    Less(Value),
    /// `> value`
    Greater(Value),
    /// `= {a, b}`: any one of them.
    AnyOf(Vec<Value>),
    /// `= [a, b]`: all of them, a list.
    AllOf(Vec<Value>),
    /// `= [a:b]`
    Range(Value, Value),
}

impl ParameterValue {
    /// The value, if exactly one is given with `=`.
    pub fn single(&self) -> Option<&Value> {
        match self {
            Self::Equal(v) => Some(v),
            Self::AnyOf(list) | Self::AllOf(list) => match list.as_slice() {
                [one] => Some(one),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<V: Into<Value>> From<V> for ParameterValue {
    fn from(value: V) -> Self {
        Self::Equal(value.into())
    }
}

/// A name with its value: a package property (`ipdc/realm`), or an event or signal parameter (`timerx`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Property {
    /// The name.
    pub name: Name,
    /// The value.
    pub value: ParameterValue,
}

impl Property {
    /// A property that equals a value.
    pub fn new(name: impl Into<Name>, value: impl Into<ParameterValue>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Property");
        out.field("name", &self.name);
        // Key material travels as a property (the Pre-Shared Key of the conference server): never show it.
        if crate::package::is_secret(&self.name) {
            out.finish_non_exhaustive()
        } else {
            out.field("value", &self.value).finish()
        }
    }
}

/// Finds a property by name.
pub(crate) fn find<'a>(list: &'a [Property], name: &str) -> Option<&'a ParameterValue> {
    list.iter().find(|p| p.name == *name).map(|p| &p.value)
}
