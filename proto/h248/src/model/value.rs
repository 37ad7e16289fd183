//! Values of properties and parameters, and how they may be constrained (RFC 3525 Annex B.2, `parmValue`).

use super::{Name, Text};
use std::fmt;
use zeroize::Zeroizing;

/// One value as the text encoding has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// Without quotes: letters, digits and the other safe characters only.
    Token(Text),
    /// In quotes. The grammar has no way to say `"` inside; it is printed as `'`.
    Quoted(Text),
    /// Key material, with quotes where it needs them.
    Secret(Secret),
}

/// The value of a property that carries key material: erased when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl std::hash::Hash for Secret {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl Secret {
    /// The text. Whoever asks is responsible for what happens to it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
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

/// Whether text may stand without quotes.
#[inline]
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|octet| SAFE.get(usize::from(*octet)) == Some(&true))
}

/// [`is_safe`] of every octet.
static SAFE: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < table.len() {
        table[octet] = is_safe(octet as u8);
        octet += 1;
    }
    table
};

impl Value {
    /// Quotes the text if it needs it.
    pub fn new(text: impl Into<Text>) -> Self {
        let text = text.into();
        if is_token(text.as_bytes()) { Self::Token(text) } else { Self::Quoted(text) }
    }

    /// Key material: erased when dropped, never shown. No copy of `text` is left behind.
    pub fn secret(text: String) -> Self {
        Self::Secret(Secret(Zeroizing::new(text)))
    }

    /// The text without quotes.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Token(t) | Self::Quoted(t) => t,
            Self::Secret(secret) => secret.expose(),
        }
    }

    /// Words of people, whatever is in them: quotes, line ends and what is not ASCII are written as `%` and
    /// two hexadecimal digits, `%` itself too, because the grammar cannot carry them (RFC 3525 Annex B.2
    /// `quotedString`). For items whose package says so.
    pub fn escaped(text: &str) -> Self {
        let mut out = String::with_capacity(text.len());
        for octet in text.bytes() {
            match octet {
                b'"' | b'%' | 0..=0x1f | 0x7f..=0xff => out.push_str(&format!("%{octet:02X}")),
                other => out.push(char::from(other)),
            }
        }
        Self::Quoted(out.into())
    }

    /// What [`escaped`](Self::escaped) was made from. A `%` without two digits stands for itself; what is
    /// not UTF-8 then is replaced.
    pub fn unescaped(&self) -> String {
        let mut out = Vec::new();
        let mut rest = self.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            let digits = more.get(..2).filter(|d| *first == b'%' && d.iter().all(u8::is_ascii_hexdigit));
            let octet = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok());
            out.push(octet.unwrap_or(*first));
            rest = if octet.is_some() { more.get(2..).unwrap_or_default() } else { more };
        }
        String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// Its octets without quotes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Token(t) | Self::Quoted(t) => t.as_bytes(),
            Self::Secret(secret) => secret.expose().as_bytes(),
        }
    }

    /// The same as key material. Text that was owned is not copied.
    #[must_use]
    fn into_secret(self) -> Self {
        match self {
            Self::Token(t) | Self::Quoted(t) => Self::Secret(Secret(Zeroizing::new(t.into_string()))),
            secret @ Self::Secret(_) => secret,
        }
    }

    /// As a decimal number.
    pub fn as_u64(&self) -> Option<u64> {
        let digits = self.as_bytes();
        if digits.is_empty() {
            return None;
        }
        digits.iter().try_fold(0u64, |n, b| match b {
            b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(b - b'0')),
            _ => None,
        })
    }

    /// `ON` or `OFF` (also `true`, `false`).
    pub fn as_bool(&self) -> Option<bool> {
        let is = |word: &[u8]| self.as_bytes().eq_ignore_ascii_case(word);
        if is(b"ON") || is(b"true") {
            Some(true)
        } else if is(b"OFF") || is(b"false") {
            Some(false)
        } else {
            None
        }
    }

    /// `$`: the gateway chooses.
    pub fn is_choose(&self) -> bool {
        self.as_bytes() == b"$"
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(t) | Self::Quoted(t) => f.write_str(t),
            Self::Secret(_) => f.write_str("(secret)"),
        }
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
        Self::Token(Text::constant(if on { "ON" } else { "OFF" }))
    }
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl From<$t> for Value {
            fn from(n: $t) -> Self {
                Self::Token(Text::decimal(n.into(), false))
            }
        }
    )*};
}
number!(u8, u16, u32, u64);

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Token(Text::decimal(n.unsigned_abs(), n < 0))
    }
}

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
    #[must_use]
    fn into_secret(self) -> Self {
        let all = |list: Vec<Value>| list.into_iter().map(Value::into_secret).collect();
        match self {
            Self::Equal(v) => Self::Equal(v.into_secret()),
            Self::NotEqual(v) => Self::NotEqual(v.into_secret()),
            Self::Less(v) => Self::Less(v.into_secret()),
            Self::Greater(v) => Self::Greater(v.into_secret()),
            Self::AnyOf(list) => Self::AnyOf(all(list)),
            Self::AllOf(list) => Self::AllOf(all(list)),
            Self::Range(low, high) => Self::Range(low.into_secret(), high.into_secret()),
        }
    }

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
    /// A property with a value. What its package says is key material becomes a [`Secret`].
    pub fn new(name: impl Into<Name>, value: impl Into<ParameterValue>) -> Self {
        let (name, value) = (name.into(), value.into());
        let value = if crate::package::is_secret(&name) { value.into_secret() } else { value };
        Self { name, value }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_people_survive_the_grammar() {
        for words in ["Bob", "", "\"x\" \\ 100%", "%41%", "é\r\n\u{1f600}", "a%2"] {
            let value = Value::escaped(words);
            assert!(value.as_bytes().iter().all(|b| (b' '..=b'~').contains(b) && *b != b'"'), "{value:?}");
            assert_eq!(value.unescaped(), words);
        }
        assert_eq!(Value::from("50%").unescaped(), "50%");
        assert_eq!(Value::Quoted("%FF".into()).unescaped(), "\u{fffd}");
    }

    #[test]
    fn key_material_is_not_shown() {
        let key = "00112233445566778899aabbccddeeff";
        for name in ["crntls/psk", "CRNTLS/PSK"] {
            let property = Property::new(name, key);
            assert!(matches!(property.value, ParameterValue::Equal(Value::Secret(_))));
            let ParameterValue::Equal(value) = &property.value else { return };
            assert_eq!(value.as_str(), key);
            for shown in [format!("{property:?}"), format!("{:?}", property.value), format!("{value}")] {
                assert!(!shown.contains("0011"), "{shown}");
            }
            assert!(property == property.clone());
        }
        let shown = format!("{:?}", Property::new("crntls/pskid", "name"));
        assert!(shown.contains("name"));
        let list = ParameterValue::AnyOf(vec!["a1".into(), Value::Quoted("b2".into())]);
        assert!(!format!("{:?}", Property::new("crntls/psk", list).value).contains("a1"));
    }
}
