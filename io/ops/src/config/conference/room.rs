//! `[[conference.NAME.room]]`: what a room is like.

use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoomPolicy {
    /// Whoever calls.
    #[default]
    Open,
    /// The members and owners in the file, and whom these invite.
    Members,
}

/// What happens to a member that does not seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unsealed {
    /// It is answered 488.
    #[default]
    Refuse,
    /// It enters, and everybody can see it.
    Admit,
}

/// Who may do something in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Its owners.
    Owners,
    /// Owners, those named as members, and whoever is in it.
    Members,
    /// Everybody.
    Anyone,
}

/// What a second call of the same user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Devices {
    /// Another device of his.
    #[default]
    Several,
    /// The same one again: the older call is ended.
    Replace,
}

/// How a floor is given (RFC 8855 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FloorAlgorithm {
    /// First come, first served.
    #[default]
    Fcfs,
    /// Its chair decides.
    Chair,
    /// Everybody who asks has it in turn.
    Rotation,
}

/// A floor of a room.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FloorSection {
    /// Its number, 1 to 65535.
    pub id: Spanned<u16>,
    /// How it is given.
    #[serde(default)]
    pub algorithm: FloorAlgorithm,
    /// Who decides about it: the URI of a member.
    pub chair: Option<Spanned<String>>,
    /// How many may hold it at once; 0 is without limit.
    #[serde(default = "one")]
    pub holders: Spanned<u16>,
    /// Seconds that it may be held; 0 is without limit.
    #[serde(default)]
    pub seconds: u32,
    /// Whether it goes with the messages of the room; the moderating floor does.
    #[serde(default)]
    pub messages: bool,
}

fn one() -> Spanned<u16> {
    Spanned::new(0..0, 1)
}

/// What late joiners get to see.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HistorySection {
    /// Messages that are kept; 0 keeps none.
    pub messages: u32,
    /// Seconds that they are kept; 0 is as long as the room lasts.
    pub seconds: u32,
}

impl Default for HistorySection {
    fn default() -> Self {
        Self { messages: 50, seconds: 3_600 }
    }
}

/// `[[conference.NAME.room]]`, and `[conference.NAME.ad-hoc]` for the rooms that the factory makes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RoomSection {
    /// The conference's URI; not for the factory's.
    pub uri: Option<Spanned<String>>,
    /// Who may do everything in it; with the factory, whoever called it.
    pub owners: Vec<Spanned<String>>,
    /// Who may enter when the policy says `members`.
    pub members: Vec<Spanned<String>>,
    /// Who is called as soon as there is a gateway.
    pub call: Vec<Spanned<String>>,
    /// What it is about.
    pub subject: Option<String>,
    /// Who may enter.
    pub policy: RoomPolicy,
    /// What happens to a member that does not seal.
    pub unsealed: Unsealed,
    /// Who may have others called in.
    pub invite: Who,
    /// Who may put others out.
    pub kick: Who,
    /// Who may see who is there without being there.
    pub watch: Who,
    /// What a second call of the same user is.
    pub devices: Devices,
    /// Whether the room ends when its last owner leaves.
    pub ends_with_owner: bool,
    /// Whether members may take nicknames (RFC 7701 §7).
    pub nicknames: bool,
    /// Nicknames that only one user may take: `NICKNAME = "URI"`.
    pub reserved: BTreeMap<String, Spanned<String>>,
    /// Whether members may write to one alone (RFC 7701 §6).
    pub private_messages: bool,
    /// The floor whose holders alone may speak.
    pub moderated: Option<Spanned<u16>>,
    /// Its floors.
    pub floor: Vec<Spanned<FloorSection>>,
    /// What late joiners get to see.
    pub history: HistorySection,
    /// Whether the room says in words who came, left, and is sealed.
    pub notices: bool,
    /// Members at once; more are answered 486.
    pub max_members: Spanned<usize>,
    /// Octets of the largest message or file to the room.
    pub max_message: Spanned<u64>,
    /// Seconds that a member may read nothing before it is released.
    pub stall_seconds: Spanned<u32>,
    /// Octets that may wait for a member: with half of them it is paused, with more it is released.
    pub stall_octets: Spanned<u64>,
    /// Floor requests of one member at once.
    pub max_requests: Spanned<u16>,
}

fn default<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Default for RoomSection {
    fn default() -> Self {
        Self {
            uri: None,
            owners: Vec::new(),
            members: Vec::new(),
            call: Vec::new(),
            subject: None,
            policy: RoomPolicy::Open,
            unsealed: Unsealed::Refuse,
            invite: Who::Members,
            kick: Who::Owners,
            watch: Who::Members,
            devices: Devices::Several,
            ends_with_owner: false,
            nicknames: true,
            reserved: BTreeMap::new(),
            private_messages: true,
            moderated: None,
            floor: Vec::new(),
            history: HistorySection::default(),
            notices: true,
            max_members: default(1_000),
            max_message: default(16 << 20),
            stall_seconds: default(30),
            stall_octets: default(16 << 20),
            max_requests: default(8),
        }
    }
}
