//! What a request asks for besides its description: the keys and flags that mean something for TCP media,
//! and the names of those that do not.
//!
//! rtpengine takes a key with blanks, hyphens or underscores between its words, in any case, and most
//! keys as flags too (`trust-address` among `flags`, or all of them in one text, `rtpp_flags`).

use crate::{Error, Request, Value};
use std::net::IpAddr;
use std::time::Duration;

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

/// What scripts ask for as a matter of course: an answer that warned of it would warn of every call.
const USUAL: [&str; 12] = [
    "ice",
    "transport-protocol",
    "rtcp-mux",
    "codec",
    "supports",
    "port-latching",
    "media-handover",
    "symmetric",
    "asymmetric",
    "reset",
    "loop-protect",
    "no-rtcp-attribute",
];

/// Known to rtpengine and without meaning for TCP media.
const INAPPLICABLE: [&str; 16] = [
    "dtls",
    "dtls-reverse",
    "dtls-fingerprint",
    "sdes",
    "osrtp",
    "t.38",
    "record-call",
    "metadata",
    "ptime",
    "ptime-reverse",
    "xmlrpc-callback",
    "media-echo",
    "block-dtmf",
    "inject-dtmf",
    "generate-mid",
    "set-label",
];

/// The words of a key or flag, in one form.
fn normal(word: &str) -> String {
    word.trim().to_ascii_lowercase().replace([' ', '_'], "-")
}

impl Options {
    /// Of a request.
    ///
    /// # Errors
    /// [`Error::Lacks`] with the option that has no value that it can have.
    pub fn of(request: &Request) -> Result<Self, Error> {
        let mut options = Self::default();
        for (key, value) in &request.more {
            let Ok(key) = std::str::from_utf8(key) else {
                options.unknown.push(String::from_utf8_lossy(key).into_owned());
                continue;
            };
            match (normal(key).as_str(), value) {
                ("flags", Value::List(flags)) => {
                    for flag in flags {
                        options.flag(flag.as_text().ok_or(Error::Lacks("flags"))?)?;
                    }
                }
                ("flags" | "rtpp-flags", Value::String(_)) => {
                    let flags = value.as_text().ok_or(Error::Lacks("flags"))?;
                    for flag in flags.split_ascii_whitespace() {
                        options.flag(flag)?;
                    }
                }
                (name, value) => options.entry(key, name, value)?,
            }
        }
        Ok(options)
    }

    /// One of `flags`, with a value of its own perhaps.
    fn flag(&mut self, flag: &str) -> Result<(), Error> {
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let name = normal(name);
        if let Some(part) = name.strip_prefix("replace-") {
            return self.replaces(flag, part);
        }
        match value {
            Some(value) => self.entry(flag, &name, &Value::text(value)),
            None => self.entry(flag, &name, &Value::text("")),
        }
    }

    fn replaces(&mut self, said: &str, part: &str) -> Result<(), Error> {
        match part {
            "origin" => self.replace.origin = true,
            "origin-full" => {
                self.replace = Replace { origin: true, username: true, sdp_version: true, ..self.replace };
            }
            "session-connection" => self.replace.session_connection = true,
            "username" => self.replace.username = true,
            "session-name" => self.replace.session_name = true,
            "sdp-version" => self.replace.sdp_version = true,
            "zero-address" | "force-increment-sdp-ver" => self.inapplicable.push(said.to_owned()),
            _ => self.unknown.push(said.to_owned()),
        }
        Ok(())
    }

    fn entry(&mut self, said: &str, name: &str, value: &Value) -> Result<(), Error> {
        let text = |lacks| value.as_text().map(str::to_owned).ok_or(Error::Lacks(lacks));
        let address = |lacks| {
            let text = match value {
                Value::List(parts) => parts.last().and_then(Value::as_text),
                other => other.as_text(),
            };
            let bare = text.map(|text| text.trim_start_matches('[').trim_end_matches(']'));
            bare.and_then(|text| text.parse::<IpAddr>().ok()).ok_or(Error::Lacks(lacks))
        };
        let number = |lacks| match value {
            Value::Integer(n) => Ok(*n),
            other => other.as_text().and_then(|text| text.parse().ok()).ok_or(Error::Lacks(lacks)),
        };
        match name {
            "via-branch" => self.via_branch = Some(text("via-branch")?),
            "label" => self.label = Some(text("label")?),
            "address-family" => {
                self.family = Some(match text("address family")?.to_ascii_lowercase().as_str() {
                    "ip4" | "inet" | "ipv4" => AddressFamily::Ip4,
                    "ip6" | "inet6" | "ipv6" => AddressFamily::Ip6,
                    _ => return Err(Error::Lacks("address family")),
                });
            }
            "direction" => match value {
                Value::List(names) => {
                    let mut names = names.iter();
                    let mut next = || match names.next().map(|name| name.as_text()) {
                        Some(Some(name)) => Ok(Some(name.to_owned())),
                        Some(None) => Err(Error::Lacks("direction")),
                        None => Ok(None),
                    };
                    self.direction = (next()?, next()?);
                }
                _ => match &self.direction {
                    (None, _) => self.direction.0 = Some(text("direction")?),
                    (Some(_), _) => self.direction.1 = Some(text("direction")?),
                },
            },
            "from-interface" => self.direction.0 = Some(text("from-interface")?),
            "to-interface" => self.direction.1 = Some(text("to-interface")?),
            "received-from" => self.received_from = Some(address("received from")?),
            "media-address" => self.media_address = Some(address("media address")?),
            "trust-address" => self.trust_address = Some(true),
            "sip-source-address" => self.trust_address = Some(false),
            "strict-source" => self.strict_source = true,
            "tos" => self.tos = Some(u8::try_from(number("TOS")?).map_err(|_| Error::Lacks("TOS"))?),
            "delete-delay" => {
                let seconds = u64::try_from(number("delete delay")?);
                self.delete_delay = seconds.ok().map(Duration::from_secs);
            }
            "fatal" => self.fatal = true,
            "limit" => self.limit = usize::try_from(number("limit")?).ok(),
            "replace" => {
                let parts = match value {
                    Value::List(parts) => parts.iter().map(Value::as_text).collect::<Option<Vec<_>>>(),
                    other => other.as_text().map(|text| vec![text]),
                };
                for part in parts.ok_or(Error::Lacks("replace"))? {
                    self.replaces(part, &normal(part))?;
                }
            }
            _ => return self.side(said, name, value),
        }
        Ok(())
    }

    /// What is said of one side, or means nothing here.
    fn side(&mut self, said: &str, name: &str, value: &Value) -> Result<(), Error> {
        let side = match name.split_once('-') {
            Some(("offerer", rest)) => Some((&mut self.offerer, rest)),
            Some(("answerer", rest)) => Some((&mut self.answerer, rest)),
            _ => None,
        };
        match side {
            Some((side, "nat")) => side.nat = Some(true),
            Some((side, "no-nat")) => side.nat = Some(false),
            Some((side, "e2ae")) => side.e2ae = Some(true),
            Some((side, "no-e2ae")) => side.e2ae = Some(false),
            Some((side, "msrp")) => {
                side.msrp = Some(match value.as_text() {
                    Some("cema") => Msrp::Cema,
                    Some("sessmatch") => Msrp::Sessmatch,
                    Some("plain") => Msrp::Plain,
                    _ => return Err(Error::Lacks("offerer-msrp or answerer-msrp")),
                });
            }
            _ if USUAL.contains(&name) => {}
            _ if INAPPLICABLE.contains(&name) => self.inapplicable.push(said.to_owned()),
            _ => self.unknown.push(said.to_owned()),
        }
        Ok(())
    }
}
