//! Names and identifiers: messages' senders, contexts, terminations, package items, times.
//!
//! Identifiers are compared without regard to case, as RFC 3525 Annex B.2 asks, and keep the
//! spelling they came with.

use super::text::Text;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Text);

        impl $name {
            /// From text. Octets the grammar does not allow in an identifier are printed as `_`.
            pub fn new(text: impl Into<Text>) -> Self {
                Self(text.into())
            }

            /// The spelling it came with.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Its octets.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_bytes().eq_ignore_ascii_case(other.as_bytes())
            }
        }

        impl Eq for $name {}

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_bytes().eq_ignore_ascii_case(other.as_bytes())
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_bytes().eq_ignore_ascii_case(other.as_bytes())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                for b in self.as_bytes() {
                    state.write_u8(b.to_ascii_lowercase());
                }
                state.write_u8(0xff);
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                let lower = |s: &Self| s.0.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
                lower(self).cmp(&lower(other))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<&'static str> for $name {
            fn from(text: &'static str) -> Self {
                Self(Text::constant(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Text::from(text))
            }
        }

        impl From<Text> for $name {
            fn from(text: Text) -> Self {
                Self(text)
            }
        }

        impl From<std::borrow::Cow<'static, str>> for $name {
            fn from(text: std::borrow::Cow<'static, str>) -> Self {
                Self(text.into())
            }
        }

        impl From<&Self> for $name {
            fn from(name: &Self) -> Self {
                name.clone()
            }
        }
    };
}

identifier! {
    /// A parameter name, or the name of a package item as `package/item`.
    Name
}

identifier! {
    /// Names a termination: a path of components, `ROOT`, or with `$` (choose) and `*` (all) in it.
    TerminationId
}

impl Name {
    /// The package part of `package/item`; the whole name if there is no `/`.
    pub fn package(&self) -> &str {
        self.0.split_once('/').map_or(self.as_str(), |(package, _)| package)
    }

    /// The item part of `package/item`; empty if there is no `/`.
    pub fn item(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, item)| item)
    }
}

impl TerminationId {
    /// The gateway itself.
    pub const ROOT: Self = Self(Text::constant("ROOT"));
    /// The gateway chooses.
    pub const CHOOSE: Self = Self(Text::constant("$"));
    /// All terminations.
    pub const ALL: Self = Self(Text::constant("*"));

    /// Whether it names the gateway itself.
    pub fn is_root(&self) -> bool {
        *self == "ROOT"
    }

    /// Whether some part of it is to be chosen (`$`).
    pub fn has_choose(&self) -> bool {
        self.0.contains('$')
    }

    /// Whether it may name several terminations (`*`).
    pub fn has_all(&self) -> bool {
        self.0.contains('*')
    }

    /// Whether it names exactly one thing.
    pub fn is_specific(&self) -> bool {
        !self.has_all() && !self.has_choose()
    }

    /// Whether `id` is among the terminations that this identifier names.
    ///
    /// `*` stands for any run of characters inside one component; a lone `*` names every
    /// termination but not `ROOT` (RFC 3525 §6.2.2, Annex B.1).
    pub fn matches(&self, id: &Self) -> bool {
        if !self.has_all() {
            return self == id;
        }
        if self.as_str() == "*" {
            return !id.is_root();
        }
        let (mut mine, mut theirs) = (self.0.split('/'), id.0.split('/'));
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) => return true,
                (Some(pattern), Some(part)) if component_matches(pattern, part) => {}
                _ => return false,
            }
        }
    }
}

/// Whether `part` fits `pattern`, in which each `*` stands for any run of characters.
fn component_matches(pattern: &str, part: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern.eq_ignore_ascii_case(part) };
    let Some(mut left) = strip_prefix(part, head) else { return false };
    let Some((middle, tail)) = rest.rsplit_once('*') else { return ends_with(left, rest) };
    for piece in middle.split('*').filter(|p| !p.is_empty()) {
        let found = left.char_indices().find_map(|(i, _)| strip_prefix(left.get(i..)?, piece));
        let Some(after) = found else { return false };
        left = after;
    }
    ends_with(left, tail)
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    if head.eq_ignore_ascii_case(prefix) { text.get(prefix.len()..) } else { None }
}

fn ends_with(text: &str, tail: &str) -> bool {
    let start = text.len().checked_sub(tail.len());
    start.and_then(|s| text.get(s..)).is_some_and(|t| t.eq_ignore_ascii_case(tail))
}

/// Names a context in a request or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContextId {
    /// `-`: no context; commands on ROOT and on idle terminations.
    Null,
    /// `$`: the gateway creates one.
    Choose,
    /// `*`: all contexts.
    All,
    /// A context the gateway has named, 1 to 0xFFFFFFFD.
    Id(u32),
}

impl ContextId {
    /// The binary encoding's number, to which the text form is mapped too.
    pub fn from_number(n: u32) -> Self {
        match n {
            0 => Self::Null,
            0xffff_fffe => Self::Choose,
            0xffff_ffff => Self::All,
            n => Self::Id(n),
        }
    }

    /// The number of a specific context.
    pub fn id(self) -> Option<u32> {
        if let Self::Id(n) = self { Some(n) } else { None }
    }
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("-"),
            Self::Choose => f.write_str("$"),
            Self::All => f.write_str("*"),
            Self::Id(n) => write!(f, "{n}"),
        }
    }
}

/// Numbers a transaction, unique per sender. Zero answers a request whose number was unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub u32);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Ties events and signals to the request that asked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u32);

impl RequestId {
    /// `*`.
    pub const ALL: Self = Self(0xffff_ffff);
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL { f.write_str("*") } else { write!(f, "{}", self.0) }
    }
}

/// Who sent a message (RFC 3525 §8.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MId {
    /// `<name>:port`
    Domain {
        /// The name, compared without regard to case.
        name: Name,
        /// The port, if not the registered one.
        port: Option<u16>,
    },
    /// `[address]:port`
    Address {
        /// The address.
        ip: IpAddr,
        /// The port, if not the registered one.
        port: Option<u16>,
    },
    /// `MTP{...}`: 4 to 8 hexadecimal digits.
    Mtp(Name),
    /// A device name.
    Device(Name),
}

impl MId {
    /// A domain name without a port.
    pub fn domain(name: impl Into<Name>) -> Self {
        Self::Domain { name: name.into(), port: None }
    }

    /// The port, where the form has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Domain { port, .. } | Self::Address { port, .. } => *port,
            Self::Mtp(_) | Self::Device(_) => None,
        }
    }
}

impl fmt::Display for MId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = match self {
            Self::Domain { name, port } => {
                write!(f, "<{name}>")?;
                port
            }
            Self::Address { ip, port } => {
                write!(f, "[{ip}]")?;
                port
            }
            Self::Mtp(address) => return write!(f, "MTP{{{address}}}"),
            Self::Device(name) => return f.write_str(name.as_str()),
        };
        port.map_or(Ok(()), |p| write!(f, ":{p}"))
    }
}

/// `yyyymmddThhmmssss`: eight digits of date, eight of time in hundredths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeStamp {
    /// yyyymmdd as a number, below 10^8.
    pub date: u32,
    /// hhmmssss as a number, below 10^8.
    pub time: u32,
}

impl TimeStamp {
    /// The moment in UTC, to the hundredth of a second. Moments before 1970 become 1970-01-01.
    pub fn from_system_time(at: SystemTime) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (days, second) = (since.as_secs() / 86_400, (since.as_secs() % 86_400) as u32);
        // Days to civil date: the proleptic Gregorian calendar in eras of 400 years from 0000-03-01.
        let z = days + 719_468;
        let (era, doe) = (z / 146_097, z % 146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + u64::from(month <= 2);
        let date = (year.min(9_999) * 10_000 + month * 100 + day) as u32;
        let time = (second / 3_600) * 1_000_000 + (second / 60 % 60) * 10_000 + (second % 60) * 100;
        Self { date, time: time + since.subsec_millis() / 10 }
    }
}

impl fmt::Display for TimeStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}T{:08}", self.date, self.time)
    }
}
