//! What a client is told once.

use std::time::Duration;

use carnet_seal::KeyAccount;
use carnet_sip::{Destination, DigestClient, NameAddr, SessionTimers, Uri};

use crate::media::TcpRole;

/// Who the client is and how it behaves.
pub struct Config {
    /// Public identity, as it stands in From.
    pub identity: Uri,
    /// Where this client is reached: the URI in Contact.
    pub contact: Uri,
    /// First hop of every request outside a dialog.
    pub proxy: Destination,
    /// Account for the network's challenges.
    pub digest: Option<DigestClient>,
    /// Lifetime asked for a registration.
    pub expires: Duration,
    /// Longest time without a sign of life on our way through a translator of addresses, where it is not
    /// a connection (RFC 5626 §4.4.2: 29 seconds).
    pub keep_alive: Duration,
    /// Routes for requests outside a dialog before a registration teaches others (RFC 3608).
    pub routes: Vec<NameAddr>,
    /// Account with the key server. Without it nothing can be sealed.
    pub keys: Option<KeyAccount>,
    /// Whether calls in clear may be made and taken.
    pub allow_clear: bool,
    /// What to be when the peer leaves it to us who connects.
    pub prefer: TcpRole,
    /// Whether this client can only connect, never accept (RFC 6135 §4.2: offers `active`). Where the
    /// registration shows that addresses are translated, it knows without being told.
    pub behind_nat: bool,
    /// Whether sealed message lines say that we can take the TLS role from the key exchange
    /// (`a=x-carnet-tlsrole:mikey`): with a peer that says so too, the caller is the TLS client, whoever
    /// connects. Off, we are like a client that does not know of it.
    pub tls_role_by_mikey: bool,
    /// Whether a message connection that broke is made again: the driver asks for it
    /// ([`Client::renew_media`](crate::Client::renew_media)), and the peer's wish for it is taken. Off, we
    /// are like a client that does not know of it.
    pub recovers: bool,
    /// Content types taken, as in `a=accept-types`.
    pub accept_types: String,
    /// Largest message taken in octets, announced in `a=max-size`.
    pub max_message: Option<u64>,
    /// Session intervals asked for and accepted (RFC 4028).
    pub session_timers: SessionTimers,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds on what peers can make the client hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Calls at once, in both directions. More are answered 486.
    pub calls: usize,
    /// Calls whose tickets are being opened at once. They cost a question to the key server and
    /// are not authenticated before the answer. More are answered 486.
    pub opening: usize,
    /// Branches of one forked call. Answers of more are acknowledged and ended.
    pub branches: usize,
    /// How long the key server may take.
    pub key_server: Duration,
    /// How long an incoming call rings before it is answered 480.
    pub ringing: Duration,
    /// How long a conference that was lost may take to call back.
    pub call_back: Duration,
    /// What a focus may be asked for at once, in one call. More is refused here.
    pub referrals: usize,
    /// Bounds on session descriptions.
    pub sdp: carnet_sdp::Limits,
    /// Bounds on what a focus can tell of a conference.
    pub roster: carnet_roster::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 64,
            opening: 8,
            branches: 16,
            key_server: Duration::from_secs(5),
            ringing: Duration::from_secs(180),
            call_back: Duration::from_secs(90),
            referrals: 16,
            sdp: carnet_sdp::Limits::default(),
            roster: carnet_roster::Limits::default(),
        }
    }
}
