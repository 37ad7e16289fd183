//! `[conference.NAME]`: a conference server, the MRFC: who it is, where it listens, which rooms it
//! keeps, which gateways it has them on. Every field is documented in `docs/configuration.md` too.

mod check;
mod room;
#[cfg(test)]
mod tests;

pub(super) use check::check;
pub use room::{
    Devices, FloorAlgorithm, FloorSection, HistorySection, RoomPolicy, RoomSection, Unsealed, Who,
};

use super::address::{Bind, Prefix};
use super::control::ControlSection;
use super::model::TlsSection;
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[conference.NAME]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConferenceSection {
    /// The SIP domain of its conferences.
    pub domain: Spanned<String>,
    /// SIP sockets.
    pub listen: Spanned<Vec<Bind>>,
    /// Where others reach it inside a dialog: a SIP URI; made from the first socket if absent.
    pub contact: Option<Spanned<String>>,
    /// Sources that may send here, `192.0.2.0/24` or single addresses; empty lets any in.
    #[serde(default)]
    pub peers: Vec<Prefix>,
    /// Certificate for `tls:` sockets and outgoing TLS.
    pub tls: Option<TlsSection>,
    /// URIs that make a new conference of each call to them (RFC 4579 §5.4).
    #[serde(default)]
    pub factory: Vec<Spanned<String>>,
    /// What rooms made by the factory are like.
    #[serde(default)]
    pub ad_hoc: Option<Spanned<RoomSection>>,
    /// SIP URI that its own requests go to first; each Request-URI is resolved itself if absent.
    pub next_hop: Option<Spanned<String>>,
    /// Whether P-Asserted-Identity says who is calling (RFC 3325): what is in front is trusted.
    #[serde(default)]
    pub trust_asserted: bool,
    /// The account with the key management service; without it nothing is sealed.
    pub kms: Option<Spanned<ConferenceKms>>,
    /// The gateways it has its rooms on.
    pub control: Spanned<ControlSection>,
    /// The gateways' IP realm for media, `core` if absent.
    #[serde(default = "core")]
    pub realm: String,
    /// File that keeps rooms and floors over a restart; without it they end with the process.
    pub store: Option<PathBuf>,
    /// Its fixed rooms.
    #[serde(default)]
    pub room: Vec<Spanned<RoomSection>>,
    /// How much of everything.
    #[serde(default = "usual")]
    pub limits: Spanned<ConferenceLimits>,
}

fn usual() -> Spanned<ConferenceLimits> {
    Spanned::new(0..0, ConferenceLimits::default())
}

fn core() -> String {
    "core".into()
}

/// `[conference.NAME.kms]`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConferenceKms {
    /// `https://kms.example.com`, or `http:` inside one machine.
    pub url: Spanned<String>,
    /// The name it has in tickets, `sip:kms.example.com`; made of the URL's host if absent.
    pub identity: Option<Spanned<String>>,
    /// Who the server is there: a SIP URI, which also names the key.
    pub account: Spanned<String>,
    /// File with the key shared with it, hexadecimal.
    pub key_file: Spanned<PathBuf>,
    /// PEM file with the authority of its certificate; the system's if absent.
    pub ca_file: Option<Spanned<PathBuf>>,
    /// `SHA-256 AB:CD:…` of its certificate, instead of an authority.
    pub fingerprint: Option<Spanned<String>>,
    /// Path and query of ticket requests.
    #[serde(default = "super::kms::request_path")]
    pub request_path: String,
    /// Path and query of ticket resolution.
    #[serde(default = "super::kms::resolve_path")]
    pub resolve_path: String,
    /// Makes tickets for members itself when it calls them (mode 3), instead of asking for them.
    #[serde(default)]
    pub issue: bool,
}

/// `[conference.NAME.limits]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ConferenceLimits {
    /// Rooms at once, the fixed ones among them; more are answered 503.
    pub rooms: usize,
    /// Dialogs with members at once, in all rooms; more are answered 503.
    pub members: usize,
    /// Seconds of the longest session without a refresh (RFC 4028); 0 does without timers.
    pub session: u32,
    /// Calls to members at once; others wait.
    pub calling: usize,
    /// Seconds over which members of a lost room are called back before they are given up.
    pub call_back: u32,
}

impl Default for ConferenceLimits {
    fn default() -> Self {
        Self { rooms: 1_000, members: 10_000, session: 1_800, calling: 32, call_back: 60 }
    }
}

impl ConferenceSection {
    /// Every path in it, without those of its control.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let kms = self.kms.as_mut().map(Spanned::as_mut).into_iter();
        let kms = kms.flat_map(|kms| {
            [Some(&mut kms.key_file), kms.ca_file.as_mut()].into_iter().flatten().map(Spanned::as_mut)
        });
        self.store.iter_mut().chain(kms)
    }
}
