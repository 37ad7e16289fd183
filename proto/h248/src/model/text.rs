//! Short text without an allocation of its own.
//!
//! Most words of a message are names and values of a dozen letters, and a message has fifty of them.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// Octets that fit beside the tag without making the type larger than a `String`.
const INLINE: usize = 15;

/// Text that is a constant, short enough to be held in place, or owned. Never changed once made.
#[derive(Clone)]
pub struct Text(Held);

#[derive(Clone)]
enum Held {
    Constant(&'static str),
    Inline { length: u8, octets: [u8; INLINE] },
    Owned(String),
}

impl Text {
    /// A constant.
    pub const fn constant(text: &'static str) -> Self {
        Self(Held::Constant(text))
    }

    /// A copy of text, in place if it is short.
    #[inline]
    pub fn copied(text: &str) -> Self {
        let mut octets = [0; INLINE];
        match octets.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                Self(Held::Inline { length: text.len() as u8, octets })
            }
            None => Self(Held::Owned(text.to_owned())),
        }
    }

    /// A copy of ASCII octets, in place if there are few. Empty if some are not ASCII.
    #[inline]
    pub(crate) fn ascii(word: &[u8]) -> Self {
        let mut octets = [0; INLINE];
        match octets.get_mut(..word.len()) {
            Some(place) if word.is_ascii() => {
                place.copy_from_slice(word);
                Self(Held::Inline { length: word.len() as u8, octets })
            }
            Some(_) => Self::default(),
            None => std::str::from_utf8(word).map(Self::copied).unwrap_or_default(),
        }
    }

    /// A number in decimal.
    pub(crate) fn decimal(mut number: u64, negative: bool) -> Self {
        let mut digits = [0; 21];
        let mut at = digits.len();
        loop {
            at -= 1;
            if let Some(digit) = digits.get_mut(at) {
                *digit = b'0' + (number % 10) as u8;
            }
            number /= 10;
            if number == 0 {
                break;
            }
        }
        if negative {
            at -= 1;
            if let Some(sign) = digits.get_mut(at) {
                *sign = b'-';
            }
        }
        Self::copied(std::str::from_utf8(digits.get(at..).unwrap_or_default()).unwrap_or_default())
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Held::Constant(text) => text,
            // What is in place was copied from text, whole.
            Held::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Held::Owned(text) => text,
        }
    }

    /// Its octets.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Constant(text) => text.as_bytes(),
            Held::Inline { length, octets } => octets.get(..usize::from(*length)).unwrap_or_default(),
            Held::Owned(text) => text.as_bytes(),
        }
    }

    /// As a `String`. What was owned is not copied.
    pub fn into_string(self) -> String {
        match self.0 {
            Held::Owned(text) => text,
            _ => self.as_str().to_owned(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::constant("")
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::constant(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Held::Owned(text))
    }
}

impl From<Cow<'static, str>> for Text {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::constant(text),
            Cow::Owned(text) => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_wherever_it_is_held() {
        assert_eq!(size_of::<Text>(), size_of::<String>());
        for text in ["", "a", "ip/1/access/17", "fifteen letters", "sixteen letters!", "\u{e4}\u{f6}\u{fc}"] {
            let (copied, owned) = (Text::copied(text), Text::from(text.to_owned()));
            assert_eq!((copied.as_str(), &copied), (text, &owned));
            assert_eq!(copied.clone().into_string(), text);
            assert_eq!(format!("{copied:?} {copied}"), format!("{text:?} {text}"));
        }
        assert_eq!(Text::from("constant"), Text::copied("constant"));
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 65_536, u64::MAX] {
            assert_eq!(Text::decimal(number, false), number.to_string().as_str());
        }
        assert_eq!(Text::decimal(i64::MIN.unsigned_abs(), true), i64::MIN.to_string().as_str());
    }
}
