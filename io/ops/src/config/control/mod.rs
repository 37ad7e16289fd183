//! Gateway control in the file: how a border and its gateways reach each other, and how that is
//! protected. `docs/control.md` says what each way protects from.

mod address;
mod check;

pub use address::{ControlAddress, ControlBind, ControlProto, Host, Sources};
pub(super) use check::{check_controller, check_gateway};

use super::address::Prefix;
use super::model::{Encoding248, Transport248};
use super::text::as_text;
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// `[border.NAME.control]`, `[conference.NAME.control]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControlSection {
    /// H.248 sockets for gateways on other hosts.
    #[serde(default)]
    pub listen: Vec<Spanned<ControlBind>>,
    /// Names of the gateways that may register: the `<name>` in their mId.
    pub gateways: Vec<String>,
    /// Addresses or prefixes that messages of a gateway may come from, by its name; one that is not
    /// here may come from any.
    #[serde(default)]
    pub peers: BTreeMap<String, Spanned<Vec<Prefix>>>,
    /// How messages to gateways on other hosts are written. Either encoding is taken.
    #[serde(default)]
    pub encoding: Encoding248,
    /// Octets of the largest message by UDP.
    pub datagram: Option<Spanned<usize>>,
    /// Replies beyond it go in segments where version 3 is spoken.
    #[serde(default)]
    pub segments: bool,
    /// For `tls:` sockets.
    pub tls: Option<Spanned<ControlTlsSection>>,
    /// The authentication header (RFC 3525 §10.2).
    pub authentication: Option<Spanned<AuthenticationSection>>,
    /// IPsec or the like protects what passes: keys may go over every transport.
    #[serde(default)]
    pub protected: bool,
    /// By the name of a gateway: the profiles it may name, or `any`; the border's own if absent.
    #[serde(default)]
    pub profiles: BTreeMap<String, Spanned<Vec<ProfileName>>>,
    /// By the name of a gateway: its share of calls beside others, 1 if absent.
    #[serde(default)]
    pub weights: BTreeMap<String, Spanned<u32>>,
    /// By the name of a gateway: what it is told for end-to-end media, if not what the policy says.
    #[serde(default)]
    pub pass_through_transport: BTreeMap<String, Spanned<Transport248>>,
    /// Another border, by its name, that takes the gateways when this one goes out of service.
    pub alternate: Option<Spanned<String>>,
    /// Seconds that contexts which a gateway brings from another border are left alone.
    #[serde(default = "a_minute")]
    pub grace: u32,
    /// Seconds between audits of what a gateway has; 0 leaves it to doubts.
    #[serde(default = "five_minutes")]
    pub audit: u32,
}

/// A profile as it stands in a ServiceChange, `name/version`, or `any`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileName {
    /// Whatever a gateway names.
    Any,
    /// This one.
    Named {
        /// Up to 64 characters.
        name: String,
        /// 1 to 99.
        version: u8,
    },
}

impl FromStr for ProfileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // RFC 3525 Annex B.2: NAME is a letter and up to 63 letters, digits and `_`.
        let is_name = |name: &str| {
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            plain && name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphabetic())
        };
        let named = text.split_once('/').and_then(|(name, version)| {
            let version = version.parse().ok().filter(|v| (1..=99).contains(v))?;
            is_name(name).then(|| Self::Named { name: name.to_owned(), version })
        });
        match named {
            Some(named) => Ok(named),
            None if text == "any" => Ok(Self::Any),
            None => Err(format!(
                "`{text}` is not a profile: write \"any\", or a name and a version as in \"carnet_iq/1\""
            )),
        }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Named { name, version } => write!(f, "{name}/{version}"),
        }
    }
}

as_text! {
    ProfileName, "^(any|[A-Za-z][A-Za-z0-9_]{0,63}/[0-9]+)$";
}

fn a_minute() -> u32 {
    60
}

fn five_minutes() -> u32 {
    300
}

/// `control.tls` of a border, `control-tls` of a gateway: certificates, or keys that both ends hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControlTlsSection {
    /// PEM file with our certificate chain.
    pub certificate: Option<Spanned<PathBuf>>,
    /// PEM file with its private key.
    pub key: Option<Spanned<PathBuf>>,
    /// PEM file with the authorities that vouch for the other end.
    pub ca: Option<Spanned<PathBuf>>,
    /// TOML file of `identity = "key in hexadecimal"` lines.
    pub psk: Option<Spanned<PathBuf>>,
    /// Gateway: which key of that file it shows; its own name if absent.
    pub psk_identity: Option<String>,
    /// By the name of a border or gateway: what its certificate or key is called, if not the same.
    #[serde(default)]
    pub names: BTreeMap<String, Spanned<Vec<String>>>,
}

/// `control.authentication` of a border, `control-authentication` of a gateway.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthenticationSection {
    /// Whether messages without the header are dropped.
    #[serde(default = "yes")]
    pub required: bool,
    /// Whether messages with a sequence number that was there are dropped.
    #[serde(default = "yes")]
    pub replay_check: bool,
    /// Keys by their index (SPI), decimal or `0x` and hexadecimal.
    pub keys: BTreeMap<String, Spanned<AuthenticationKey>>,
}

/// One key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthenticationKey {
    /// How it is used.
    #[serde(default)]
    pub algorithm: AuthenticationAlgorithm,
    /// File with the key in hexadecimal, 16 to 64 octets.
    pub file: Spanned<PathBuf>,
    /// The border or gateway it belongs to; anybody's if absent.
    pub peer: Option<String>,
}

/// Algorithms of the authentication header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AuthenticationAlgorithm {
    /// For peers that have nothing else.
    #[serde(rename = "hmac-md5-96")]
    HmacMd5,
    /// What RFC 2402 asks for.
    #[default]
    #[serde(rename = "hmac-sha1-96")]
    HmacSha1,
    /// Our own: covers the sequence number too.
    #[serde(rename = "hmac-sha256-128")]
    HmacSha256,
}

fn yes() -> bool {
    true
}

impl AuthenticationSection {
    /// A key's index: decimal, or `0x` and hexadecimal. Not zero (RFC 2402 §2.4).
    pub fn index(text: &str) -> Option<u32> {
        let index = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        index.ok().filter(|index| *index != 0)
    }

    /// Every path in it.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.keys.values_mut().map(|key| key.as_mut().file.as_mut())
    }
}

impl ControlTlsSection {
    /// Every path in it.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let all = [&mut self.certificate, &mut self.key, &mut self.ca, &mut self.psk];
        all.into_iter().flatten().map(Spanned::as_mut)
    }
}
