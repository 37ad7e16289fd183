//! What a request asks for besides its description: the keys and flags that mean something for TCP media,
//! and the names of those that do not.
//!
//! rtpengine takes a key with blanks, hyphens or underscores between its words, in any case, and most
//! keys as flags too (`trust-address` among `flags`, or all of them in one text, `rtpp_flags`).

mod words;

use crate::message::normal;
use crate::{Error, Request, Value};
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;
use words::{HARMLESS, INAPPLICABLE, UNRESOLVED};

/// IP version of the addresses that a description is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// `IP4`
    Ip4,
    /// `IP6`
    Ip6,
}

/// What is rewritten besides the lines that the gateway carries (`replace`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replace {
    /// The address in `o=`.
    pub origin: bool,
    /// `c=` of the session section.
    pub session_connection: bool,
    /// The user name in `o=`.
    pub username: bool,
    /// `s=`
    pub session_name: bool,
    /// The session version in `o=`, counted up by each description of a side that differs.
    pub sdp_version: bool,
}

/// How MSRP endpoints of a side find each other, as a script may say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msrp {
    /// RFC 6714.
    Cema,
    /// By the session identifier.
    Sessmatch,
    /// RFC 4975 only.
    Plain,
}

/// What is asked for of a side, where the script knows better than the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SideOptions {
    /// It is behind a NAT, or it is not (`offerer-nat`, `offerer-no-nat`; `answerer-…`).
    pub nat: Option<bool>,
    /// Its TLS ends at the gateway, as it registered (`answerer-e2ae`), or never does
    /// (`answerer-no-e2ae`).
    pub e2ae: Option<bool>,
    /// How MSRP is addressed there (`offerer-msrp=cema`).
    pub msrp: Option<Msrp>,
}

/// The options of a request, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `via-branch`: one branch of a request that was forked.
    pub via_branch: Option<String>,
    /// `label`, for listings.
    pub label: Option<String>,
    /// `address family`
    pub family: Option<AddressFamily>,
    /// `direction`, or `from-interface` and `to-interface`: of the one whose description it is, and of the
    /// other.
    pub direction: (Option<String>, Option<String>),
    /// `received from`: where the SIP message came from.
    pub received_from: Option<IpAddr>,
    /// `trust address` is true, `SIP source address` false: whether the addresses in the description can
    /// be reached.
    pub trust_address: Option<bool>,
    /// `strict source`: only that address may connect.
    pub strict_source: bool,
    /// `media address`: the address to write, whatever the gateway's is.
    pub media_address: Option<IpAddr>,
    /// `TOS`, the whole octet; its upper six bits are the DSCP.
    pub tos: Option<u8>,
    /// `delete delay`
    pub delete_delay: Option<Duration>,
    /// `replace`
    pub replace: Replace,
    /// `fatal`: an unknown call is an error of `delete`.
    pub fatal: bool,
    /// `limit` of `list`.
    pub limit: Option<usize>,
    /// Of the one that makes the offer. In an answer too: it is the same side.
    pub offerer: SideOptions,
    /// Of the one that answers.
    pub answerer: SideOptions,
    /// Known to rtpengine and without meaning for TCP media, as written: said in the reply.
    pub inapplicable: Vec<String>,
    /// Known to nobody here, as written: said in the reply.
    pub unknown: Vec<String>,
}

/// Which keys and flags are read elsewhere: they name the call, or say who asks.
const ELSEWHERE: [&str; 6] = ["command", "call-id", "from-tag", "to-tag", "sdp", "token"];

/// Nothing that asks for more is taken seriously.
const MOST_FLAGS: usize = 256;

impl Options {
    /// Of a request.
    ///
    /// # Errors
    /// [`Error::Wrong`]: an option that has no value that it can have.
    pub fn of(request: &Request) -> Result<Self, Error> {
        let mut reading = Reading { options: Self::default(), named: BTreeSet::new(), left: MOST_FLAGS };
        // The first of two ways of writing one key counts, and of one key that stands twice.
        let mut seen = HashSet::new();
        for (key, value) in &request.more {
            let key = String::from_utf8_lossy(key);
            if seen.insert(normal(&key)) {
                reading.entry(&key, value)?;
            }
        }
        let Reading { mut options, .. } = reading;
        options.unknown.sort();
        options.inapplicable.sort();
        Ok(options)
    }
}

struct Reading {
    options: Options,
    /// What has been reported.
    named: BTreeSet<String>,
    left: usize,
}

fn wrong<T>(key: &str, expected: &'static str) -> Result<T, Error> {
    Err(Error::Wrong { key: key.chars().take(64).collect(), expected })
}

fn text<'a>(key: &str, value: &'a Value) -> Result<&'a str, Error> {
    value.as_text().map_or_else(|| wrong(key, "a text"), Ok)
}

/// A list of texts, or one text.
fn texts<'a>(key: &str, value: &'a Value) -> Result<Vec<&'a str>, Error> {
    match value {
        Value::List(values) => values.iter().map(|value| text(key, value)).collect(),
        value => Ok(vec![text(key, value)?]),
    }
}

/// An integer, or the text of one.
fn number(key: &str, value: &Value) -> Result<i64, Error> {
    let number = match value {
        Value::Integer(n) => Some(*n),
        value => value.as_text().and_then(|text| text.trim().parse().ok()),
    };
    number.map_or_else(|| wrong(key, "a number"), Ok)
}

fn address(key: &str, text: &str) -> Result<IpAddr, Error> {
    let parsed = text.trim_matches(['[', ']']).parse();
    parsed.map_or_else(|_| wrong(key, "an IP address"), Ok)
}

/// Flags in one text: words between blanks, each a flag or `key=value`, where a value may be several in square
/// brackets.
pub(crate) fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let mut depth = 0usize;
        let end = rest.bytes().position(|octet| {
            match octet {
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            octet.is_ascii_whitespace() && depth == 0
        });
        let (word, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        rest = after;
        Some(word).filter(|word| !word.is_empty())
    })
}

/// Whether a flag that has a value is meant: `trust-address=no`.
fn meant(value: Option<&Value>) -> bool {
    let no = |text: &str| ["no", "off", "false", "0"].iter().any(|no| text.eq_ignore_ascii_case(no));
    match value {
        None => true,
        Some(Value::Integer(n)) => *n != 0,
        Some(value) => !value.as_text().is_some_and(no),
    }
}

fn covers(list: &[&str], name: &str) -> bool {
    let begins =
        |word: &&str| name.strip_prefix(*word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    list.iter().any(begins)
}

impl Reading {
    fn entry(&mut self, key: &str, value: &Value) -> Result<(), Error> {
        let name = normal(key);
        match name.as_str() {
            "flags" => {
                for flag in texts(key, value)? {
                    self.word(flag)?;
                }
                Ok(())
            }
            "rtpp-flags" => {
                for flag in words_of(text(key, value)?) {
                    self.word(flag)?;
                }
                Ok(())
            }
            "replace" => {
                for what in texts(key, value)? {
                    self.replace(what);
                }
                Ok(())
            }
            _ => self.option(key, &name, Some(value)),
        }
    }

    /// One flag, or `key=value`.
    fn word(&mut self, word: &str) -> Result<(), Error> {
        if self.left == 0 {
            return wrong("flags", "a list of so few flags");
        }
        self.left -= 1;
        if let Some((key, value)) = word.split_once('=') {
            let inside = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
            // Brackets also stand round an address of IPv6.
            let value = match inside.filter(|inside| inside.parse::<IpAddr>().is_err()) {
                Some(inside) => Value::texts(inside.split_ascii_whitespace()),
                None => Value::text(value),
            };
            return self.entry(key, &value);
        }
        let name = normal(word);
        match name.strip_prefix("replace-") {
            Some(what) => self.replace(what),
            None => return self.option(word, &name, None),
        }
        Ok(())
    }

    fn replace(&mut self, what: &str) {
        let replace = &mut self.options.replace;
        match normal(what).as_str() {
            "origin" => replace.origin = true,
            "origin-full" => {
                *replace = Replace { origin: true, username: true, sdp_version: true, ..*replace };
            }
            "session-connection" => replace.session_connection = true,
            "username" => replace.username = true,
            "session-name" => replace.session_name = true,
            "sdp-version" | "force-increment-sdp-ver" => replace.sdp_version = true,
            // `c=` of our lines is replaced in any case.
            "zero-address" => {}
            _ => self.unknown(&format!("replace-{what}")),
        }
    }

    /// An option with its value, or as a flag without.
    fn option(&mut self, key: &str, name: &str, value: Option<&Value>) -> Result<(), Error> {
        let needed = || value.map_or_else(|| wrong(key, "with a value"), Ok);
        let options = &mut self.options;
        match name {
            "via-branch" => {
                let branch = text(key, needed()?)?;
                if !branch.is_empty() && !UNRESOLVED.contains(&branch) {
                    options.via_branch = Some(branch.to_owned());
                }
            }
            "label" | "from-label" => options.label = Some(text(key, needed()?)?.to_owned()),
            "to-label" | "set-label" => {}
            "address-family" => options.family = family(key, text(key, needed()?)?)?,
            "direction" => {
                for interface in texts(key, needed()?)? {
                    match &mut options.direction {
                        (from @ None, _) => *from = Some(interface.to_owned()),
                        (_, to @ None) => *to = Some(interface.to_owned()),
                        _ => return wrong(key, "two interfaces"),
                    }
                }
            }
            "from-interface" => options.direction.0 = Some(text(key, needed()?)?.to_owned()),
            "to-interface" => options.direction.1 = Some(text(key, needed()?)?.to_owned()),
            // Of old scripts: the two are flags of their own.
            "internal" | "external" => {
                let next = match &mut options.direction {
                    (from @ None, _) => from,
                    (_, to) => to,
                };
                *next = Some(name.to_owned());
            }
            "received-from" => {
                let said = texts(key, needed()?)?;
                match said.as_slice() {
                    [ip] | [_, ip] => options.received_from = Some(address(key, ip)?),
                    _ => return wrong(key, "an address family and an address"),
                }
            }
            "trust-address" => options.trust_address = Some(meant(value)),
            "sip-source-address" => options.trust_address = Some(!meant(value)),
            "strict-source" => options.strict_source = meant(value),
            "media-address" => options.media_address = Some(address(key, text(key, needed()?)?)?),
            "tos" => match u8::try_from(number(key, needed()?)?) {
                Ok(tos) => options.tos = Some(tos),
                // rtpengine: 256 is for what is set already.
                Err(_) if number(key, needed()?)? == 256 => {}
                Err(_) => return wrong(key, "a number up to 255"),
            },
            "delete-delay" => match number(key, needed()?)? {
                // rtpengine: a negative one is for its own setting.
                seconds if seconds < 0 => {}
                seconds if seconds <= 86_400 => {
                    options.delete_delay = u64::try_from(seconds).ok().map(Duration::from_secs);
                }
                _ => return wrong(key, "a number of seconds of at most a day"),
            },
            "limit" => match usize::try_from(number(key, needed()?)?) {
                Ok(limit) => options.limit = Some(limit),
                Err(_) => return wrong(key, "a number of calls"),
            },
            "fatal" => options.fatal = meant(value),
            "force-increment-sdp-ver" | "sdp-version" => options.replace.sdp_version = meant(value),
            _ if ELSEWHERE.contains(&name) => {}
            _ => return self.side(key, name, value),
        }
        Ok(())
    }

    /// What is said of a side; and what is nothing of ours.
    fn side(&mut self, key: &str, name: &str, value: Option<&Value>) -> Result<(), Error> {
        let sides = [("offerer-", true), ("answerer-", false)];
        let of = sides.into_iter().find_map(|(prefix, offerer)| Some((name.strip_prefix(prefix)?, offerer)));
        let Some((what, offerer)) = of else {
            self.foreign(key, name);
            return Ok(());
        };
        let side = if offerer { &mut self.options.offerer } else { &mut self.options.answerer };
        match what {
            "nat" => side.nat = Some(meant(value)),
            "no-nat" => side.nat = Some(!meant(value)),
            "e2ae" => side.e2ae = Some(meant(value)),
            "no-e2ae" => side.e2ae = Some(!meant(value)),
            "msrp" => {
                let said = value.and_then(Value::as_text).map(str::to_ascii_lowercase);
                side.msrp = Some(match said.as_deref() {
                    Some("cema") => Msrp::Cema,
                    Some("sessmatch") => Msrp::Sessmatch,
                    Some("plain") => Msrp::Plain,
                    _ => return wrong(key, "`cema`, `sessmatch` or `plain`"),
                });
            }
            _ => self.unknown(key),
        }
        Ok(())
    }

    fn foreign(&mut self, key: &str, name: &str) {
        if covers(&INAPPLICABLE, name) {
            if self.named.insert(name.to_owned()) {
                self.options.inapplicable.push(shown(key));
            }
        } else if !covers(&HARMLESS, name) {
            self.unknown(key);
        }
    }

    fn unknown(&mut self, key: &str) {
        if self.named.insert(normal(key)) {
            self.options.unknown.push(shown(key));
        }
    }
}

/// A word of somebody else's, for people.
fn shown(word: &str) -> String {
    word.chars().take(64).filter(|c| !c.is_control()).collect()
}

fn family(key: &str, text: &str) -> Result<Option<AddressFamily>, Error> {
    match text.to_ascii_uppercase().as_str() {
        "IP4" | "INET" => Ok(Some(AddressFamily::Ip4)),
        "IP6" | "INET6" => Ok(Some(AddressFamily::Ip6)),
        "" => Ok(None),
        _ => wrong(key, "`IP4` or `IP6`"),
    }
}

#[cfg(test)]
mod tests;
