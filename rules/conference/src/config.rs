//! What the operator sets.

use std::net::IpAddr;
use std::time::Duration;

use carnet_h248::MId;
use carnet_h248::association::{self, Transport};
use carnet_h248::controller::GatewayName;
use carnet_seal::KeyAccount;
use carnet_sip::{Destination, DigestClient, NameAddr, SessionTimers, Uri};

/// Everything a focus is told at its start.
pub struct Config {
    /// Its name: the host in Warning, and its H.248 message identifier `<name>`.
    pub name: String,
    /// Where in-dialog requests reach this focus, if the domain of its conferences does not lead here:
    /// host, port and parameters of every Contact. The user part is the conference's.
    pub contact: Option<Uri>,
    /// Fixed rooms: they are there from the start and stay when they are empty.
    pub rooms: Vec<Room>,
    /// URIs that make a room when they are called (RFC 4579 §5.4).
    pub factories: Vec<Factory>,
    /// Account with the key server. Without it nothing can be sealed.
    pub keys: Option<KeyAccount>,
    /// Whether tickets for calls out are made here instead of asked for (mode 3 of RFC 6043 §4.1.1).
    pub own_tickets: bool,
    /// Media resource processors (MRFPs).
    pub gateways: Vec<Gateway>,
    /// H.248 profiles accepted; empty accepts any.
    pub profiles: Vec<carnet_h248::Profile>,
    /// First hop of requests outside a dialog; none resolves the Request-URI (RFC 3263).
    pub proxy: Option<Destination>,
    /// Route headers of requests outside a dialog.
    pub routes: Vec<NameAddr>,
    /// Account for the network's challenges.
    pub digest: Option<DigestClient>,
    /// Whether P-Asserted-Identity says who a request is from (RFC 3325): the network in front is trusted.
    pub trust_asserted: bool,
    /// Session intervals asked for and accepted (RFC 4028).
    pub session_timers: SessionTimers,
    /// Times.
    pub timers: Timers,
    /// Bounds.
    pub limits: Limits,
    /// The SIP core.
    pub sip: carnet_sip::Config,
}

/// A room that is always there.
#[derive(Debug, Clone)]
pub struct Room {
    /// The conference's URI. Port and parameters may be given; names and keys go without them.
    pub uri: Uri,
    /// How it is run.
    pub policy: Policy,
}

/// A URI that makes rooms.
#[derive(Debug, Clone)]
pub struct Factory {
    /// What is called to get a room.
    pub uri: Uri,
    /// The URI of rooms, whose user part is followed by a token of their own.
    pub rooms: Uri,
    /// How they are run. Who made a room is its owner besides those named here.
    pub policy: Policy,
}

/// How a room is run.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What it is about.
    pub subject: Option<String>,
    /// Who may do everything, by canonical URI.
    pub owners: Vec<String>,
    /// Whether others than owners and members may enter.
    pub open: bool,
    /// Who may enter, and who is called.
    pub members: Vec<Member>,
    /// What happens with those who come without end-to-end keys.
    pub unsealed: Unsealed,
    /// Who may have others called in.
    pub invite: Who,
    /// Who may put others out.
    pub kick: Who,
    /// Who may see who is there without being there (SUBSCRIBE).
    pub watch: Who,
    /// Floors.
    pub floors: Vec<Floor>,
    /// The floor whose holders alone may speak; 0 is none.
    pub moderated: u16,
    /// Floor requests one user may have open.
    pub floor_requests: u16,
    /// Nicknames (RFC 7701 §7).
    pub nicknames: bool,
    /// Nicknames that nobody may take, each with the canonical URI of the member who has it on entering.
    pub reserved: Vec<(String, String)>,
    /// Messages to one member alone (RFC 7701 §6.2).
    pub private: bool,
    /// Messages kept for those who come later.
    pub history_count: u32,
    /// How long they are kept, in seconds; 0 is no limit.
    pub history_seconds: u32,
    /// Largest message in octets, as every member is told; 0 leaves it to the media server.
    pub max_message: u64,
    /// How long a member may stall before it is released, in seconds; 0 leaves it to the media server.
    pub stall_seconds: u32,
    /// How many octets may wait for a member before senders are slowed; 0 leaves it to the media server.
    pub stall_octets: u64,
    /// The room tells its members in words who comes, leaves and is sealed.
    pub notices: bool,
    /// What a second dialog of the same user means.
    pub devices: Devices,
    /// The room ends when its last owner leaves.
    pub ends_with_owner: bool,
    /// Members at once.
    pub capacity: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            subject: None,
            owners: Vec::new(),
            open: true,
            members: Vec::new(),
            unsealed: Unsealed::Refuse,
            invite: Who::Members,
            kick: Who::Owners,
            watch: Who::Members,
            floors: Vec::new(),
            moderated: 0,
            floor_requests: 4,
            nicknames: true,
            reserved: Vec::new(),
            private: true,
            history_count: 50,
            history_seconds: 0,
            max_message: 10 << 20,
            stall_seconds: 30,
            stall_octets: 1 << 20,
            notices: true,
            devices: Devices::Several,
            ends_with_owner: false,
            capacity: 1_000,
        }
    }
}

/// Somebody the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who, by canonical URI.
    pub uri: String,
    /// The room calls it when the room begins.
    pub call: bool,
}

/// What happens with those who come without end-to-end keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Unsealed {
    /// 488.
    #[default]
    Refuse,
    /// They enter, and everybody can see that they are not sealed.
    Admit,
}

/// Who may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// Owners.
    Owners,
    /// Owners and those who are in the room or named as members.
    Members,
    /// Everybody.
    Anyone,
}

/// What a second dialog of the same user means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Devices {
    /// Another device.
    #[default]
    Several,
    /// The same user again: the older one is ended.
    Replace,
}

/// How a floor is given (RFC 8855 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// Who asks first has it first.
    #[default]
    FirstComeFirstServed,
    /// The chair decides.
    Chair,
    /// Everybody who asks has it in turn.
    Rotation,
}

/// One floor of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Its number, 1 to 65535.
    pub id: u16,
    /// How it is given.
    pub algorithm: Algorithm,
    /// How many may hold it at once, at least 1.
    pub holders: u16,
    /// Longest time one may hold it, in seconds; 0 is no limit.
    pub seconds: u32,
    /// The media it is for: `true` binds it to the message line.
    pub messages: bool,
    /// Its chair, by canonical URI.
    pub chair: Option<String>,
}

/// An address prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The network's address.
    pub ip: IpAddr,
    /// Leading bits that count, at most 32 or 128.
    pub bits: u8,
}

impl Prefix {
    /// Whether `ip` is inside. IPv4 and IPv6 never match each other.
    pub fn contains(&self, ip: IpAddr) -> bool {
        fn same(a: &[u8], b: &[u8], bits: u8) -> bool {
            let (whole, part) = (usize::from(bits / 8), bits % 8);
            let mask = u8::MAX.checked_shl(u32::from(8 - part)).unwrap_or(0);
            a.get(..whole) == b.get(..whole)
                && (part == 0
                    || a.get(whole).map(|octet| octet & mask) == b.get(whole).map(|octet| octet & mask))
        }
        match (self.ip, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(&a.octets(), &b.octets(), self.bits),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(&a.octets(), &b.octets(), self.bits),
            _ => false,
        }
    }
}

/// A media resource processor that may be used.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Its name here.
    pub name: GatewayName,
    /// What it calls itself; it registers with this.
    pub mid: MId,
    /// How its transaction layer behaves, and what carries it.
    pub association: association::Config,
    /// The realm its media addresses come from.
    pub realm: String,
    /// Whether members who are called are offered an IPv6 address; who calls is answered as it came.
    pub ipv6: bool,
    /// Where its messages may come from; empty lets any source in.
    pub peers: Vec<Prefix>,
    /// Its share of rooms beside others, at least 1.
    pub weight: u32,
    /// Profiles it may name, if not those of all gateways; empty is any.
    pub profiles: Option<Vec<carnet_h248::Profile>>,
}

impl Gateway {
    /// A gateway taken from anywhere, with weight 1.
    pub fn new(name: impl Into<GatewayName>, mid: MId, transport: Transport, realm: &str) -> Self {
        Self {
            name: name.into(),
            mid,
            association: association::Config::new(transport),
            realm: realm.into(),
            ipv6: false,
            peers: Vec::new(),
            weight: 1,
            profiles: None,
        }
    }
}

/// Times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Longest wait for the key server.
    pub key_server: Duration,
    /// Longest wait for somebody who is called.
    pub ringing: Duration,
    /// How long a member is called back after a loss before it is given up, with pauses that double.
    pub call_back: Duration,
    /// Retry-After of a 503.
    pub retry_after: Duration,
    /// A Subtract that failed is repeated.
    pub subtract_again: Duration,
    /// A gateway that says nothing is asked after this long.
    pub gateway_heartbeat: Duration,
    /// A gateway silent for this long is lost, and its rooms are made anew elsewhere.
    pub gateway_lost: Duration,
    /// What a gateway has is compared with what rooms have so often; none leaves it to doubts.
    pub gateway_audit: Option<Duration>,
    /// Contexts that a gateway brings from elsewhere are left alone for so long.
    pub gateway_grace: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            key_server: Duration::from_secs(5),
            ringing: Duration::from_secs(120),
            call_back: Duration::from_secs(60),
            retry_after: Duration::from_secs(5),
            subtract_again: Duration::from_secs(2),
            gateway_heartbeat: Duration::from_secs(2),
            gateway_lost: Duration::from_secs(6),
            gateway_audit: Some(Duration::from_secs(300)),
            gateway_grace: Duration::ZERO,
        }
    }
}

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rooms at once; a factory answers 503 to more.
    pub rooms: usize,
    /// Dialogs with members of all rooms at once; 503 to more.
    pub legs: usize,
    /// Invitations whose tickets are being opened at once: they cost a question to the key server and
    /// are not authenticated before its answer. 503 to more.
    pub opening: usize,
    /// Calls out at once; others wait.
    pub calling: usize,
    /// Subscriptions to all rooms; 503 to more.
    pub subscriptions: usize,
    /// Octets of one record for the store.
    pub record: usize,
    /// Bounds on session descriptions.
    pub sdp: carnet_sdp::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 1_000,
            legs: 20_000,
            opening: 64,
            calling: 32,
            subscriptions: 20_000,
            record: 1 << 20,
            sdp: carnet_sdp::Limits::default(),
        }
    }
}
