//! What an MRFP tells its media engine of a conference and of those in it, and hears back (TS 23.333
//! §5.14, §6.2.19): a part of [`crate::media`], where everything here can be found too.
//!
//! One context is one conference. Each stream of a member ends at an [`Endpoint`]; the member's number
//! ties them together.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use std::fmt;

/// What ends on a pinhole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose it is. All endpoints of a member in one conference have the same number, which is its
    /// BFCP user ID as well (RFC 8855 §5.1).
    pub user: u16,
    /// The member's URI, as others see it.
    pub member: String,
    /// What is spoken.
    pub medium: Medium,
    /// How it is sealed; `None` is in the open.
    pub tls: Option<TlsEnd>,
}

/// What is spoken on a pinhole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Medium {
    /// MSRP (RFC 4975), a leg of the room (RFC 7701).
    Msrp {
        /// Our URI, with address and port filled in (`a=path` of Local).
        local_path: String,
        /// The peer's URIs, separated by blanks, the nearest first (`a=path` of Remote).
        remote_path: String,
        /// What the peer takes (its `a=accept-types`); none given: everything.
        accept_types: Vec<String>,
        /// Octets that a message to the peer may have (its `a=max-size`).
        max_size: Option<u64>,
        /// The nickname it has from the start.
        nickname: Option<String>,
        /// Whether it may send to the room.
        speak: bool,
        /// Whether it gets what was said before it came.
        history: bool,
    },
    /// BFCP (RFC 8855).
    Bfcp {
        /// The floors that this user chairs.
        chairs: Vec<u16>,
    },
}

/// Our end of a TLS association with a pre-shared key. Neither key nor identity is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsEnd {
    /// Which end of the handshake is ours.
    pub role: TlsRole,
    /// The pre-shared key.
    pub key: Key,
    /// The identity that goes with it (RFC 4279 §2). A client sends it, a server takes no other.
    pub identity: Vec<u8>,
}

impl fmt::Debug for TlsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsEnd").field("role", &self.role).finish_non_exhaustive()
    }
}

/// An end of a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsRole {
    /// Sends the ClientHello.
    Client,
    /// Waits for it.
    Server,
}

/// A pre-shared key: erased when dropped, never shown, compared in constant time.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// Takes the octets.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets. Whoever asks is responsible for what happens to them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What holds for a whole conference. What is `None` the controller left open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conference {
    /// The conference's URI: of the room, and what messages to everybody are addressed to.
    pub uri: String,
    /// What it is about.
    pub subject: Option<String>,
    /// Whether members may choose nicknames (RFC 7701 §7).
    pub nicknames: bool,
    /// Whether members may write to one another (RFC 7701 §6.2).
    pub private: bool,
    /// The floor whose holders alone may send to the room.
    pub moderated: Option<u16>,
    /// Messages that are kept for those who come later.
    pub history_count: Option<u32>,
    /// For how many seconds they are kept.
    pub history_seconds: Option<u32>,
    /// Octets that a message may have.
    pub max_message: Option<u64>,
    /// For how many seconds a member may stall before it is released.
    pub stall_seconds: Option<u32>,
    /// How many octets may wait for a member that stalls before it is released.
    pub stall_octets: Option<u64>,
    /// Nicknames that nobody may take but who was given one when joining.
    pub reserved: Vec<String>,
    /// Whether the room tells its members in words who came, who left, and what is sealed.
    pub notices: bool,
    /// The BFCP conference ID; `None`: there is no floor control.
    pub confid: Option<u32>,
    /// The floors.
    pub floors: Vec<FloorSettings>,
    /// Floor requests that one user may have at once.
    pub max_requests: Option<u16>,
    /// What [`ConferenceEvent::Floor`] told last of a conference that this one goes on with: who held
    /// and waited for which floor. It counts in the first settings of a conference only.
    pub state: Option<String>,
}

/// A floor (TS 23.333 §8.45).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorSettings {
    /// Its number (`a=floorid`).
    pub id: u16,
    /// Who decides.
    pub algorithm: Algorithm,
    /// How many may hold it at once; 0 is without limit.
    pub holders: u16,
    /// For how many seconds one may hold it; 0 is without limit.
    pub seconds: u32,
    /// The label of the media stream that it goes with (`mstrm`).
    pub label: Option<String>,
}

/// How a floor is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// First come, first served.
    Fcfs,
    /// The floor's chair decides.
    Chair,
    /// As for a chair, and the users take turns at being the chair.
    Rotation,
}

/// What happened among the members of a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConferenceEvent {
    /// A member has another nickname now.
    Nickname {
        /// Who.
        user: u16,
        /// Which; `None`: it has none any more.
        nick: Option<String>,
    },
    /// The room, or the floor control server, has let a member go.
    Released {
        /// Who.
        user: u16,
        /// Why, in a word: `slow`, `protocol`.
        reason: String,
    },
    /// A member does not read what it is sent, or reads again.
    Stalled {
        /// Who.
        user: u16,
        /// Whether it stalls.
        on: bool,
    },
    /// Who holds a floor, or who waits for it, has changed.
    Floor {
        /// Which.
        floor: u16,
        /// Users who hold it.
        holders: Vec<u16>,
        /// Users who wait for it, the next first.
        queue: Vec<u16>,
        /// All that is known of the conference's floors, for [`Conference::state`]. Without quotation
        /// marks and control characters: it travels as a string of H.248.
        state: String,
    },
}
