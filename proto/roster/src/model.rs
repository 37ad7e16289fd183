//! A conference as it is: the elements of RFC 4575 §5 as values.
//!
//! Texts are plain; escaping is the printer's. What RFC 4575 does not know is in [`Extra`].

use crate::xml::{Attribute, Element};
use crate::{SEAL_NAMESPACE, XCON_NAMESPACE};

/// Whether a leg, a user or a conference is sealed end to end: the extension `<seal state=…/>`
/// in [`SEAL_NAMESPACE`].
///
/// On a media it is that medium's, on an endpoint all media's, on a user all endpoints' and on
/// the conference every present user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Seal {
    /// Every leg meant has its key.
    Sealed,
    /// At least one has not.
    Open,
}

/// Attributes and elements of other namespaces, and elements RFC 4575 does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extra {
    /// Attributes of other namespaces.
    pub attributes: Vec<Attribute>,
    /// Elements, in order.
    pub elements: Vec<Element>,
}

/// A conference: `<conference-info>` without version and state (RFC 4575 §5.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// The conference's URI.
    pub entity: String,
    /// What the conference is about.
    pub description: Description,
    /// Who hosts it.
    pub host: Option<Host>,
    /// How it is.
    pub state: ConferenceState,
    /// Its users, each `entity` once.
    pub users: Vec<User>,
    /// What else stands in `<users>`.
    pub users_extra: Extra,
    /// Other elements: seal, sidebars as they came, extensions.
    pub extra: Extra,
}

/// `<conference-description>` (RFC 4575 §5.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// Text for people.
    pub display_text: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// A longer text.
    pub free_text: Option<String>,
    /// Words for search.
    pub keywords: Vec<String>,
    /// Ways into the conference.
    pub conf_uris: Vec<UriEntry>,
    /// Services beside it.
    pub service_uris: Vec<UriEntry>,
    /// How many users may be in it.
    pub maximum_user_count: Option<u32>,
    /// The media there are.
    pub available_media: Vec<Medium>,
    /// The rest.
    pub extra: Extra,
}

/// An `<entry>` with a URI: of conf-uris, service-uris, associated-aors, host's uris.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UriEntry {
    /// The URI.
    pub uri: String,
    /// Text for people.
    pub display_text: Option<String>,
    /// What it is for, `participation` as a rule.
    pub purpose: Option<String>,
    /// When and by whom it was changed.
    pub modified: Option<Execution>,
    /// The rest.
    pub extra: Extra,
}

/// A medium of the conference (RFC 4575 §5.3.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Medium {
    /// The label, that of SDP as a rule.
    pub label: String,
    /// Text for people.
    pub display_text: Option<String>,
    /// `message`, `audio` …: SDP's media.
    pub kind: String,
    /// From the participants' point of view.
    pub status: Option<MediaStatus>,
    /// The rest.
    pub extra: Extra,
}

/// `<host-info>` (RFC 4575 §5.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Text for people.
    pub display_text: Option<String>,
    /// A page about it.
    pub web_page: Option<String>,
    /// Its URIs.
    pub uris: Vec<UriEntry>,
    /// The rest.
    pub extra: Extra,
}

/// `<conference-state>` (RFC 4575 §5.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConferenceState {
    /// How many take part; may be more than are listed.
    pub user_count: Option<u32>,
    /// Whether one can join by calling one of the conf-uris.
    pub active: Option<bool>,
    /// Whether nobody further is let in.
    pub locked: Option<bool>,
    /// The rest.
    pub extra: Extra,
}

/// `<user>` (RFC 4575 §5.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The user's URI, the key among users.
    pub entity: String,
    /// The name in the room (RFC 7701 §7.4).
    pub nickname: Option<String>,
    /// Text for people.
    pub display_text: Option<String>,
    /// Further URIs of the user.
    pub associated_aors: Vec<UriEntry>,
    /// For people: `owner`, `participant`, `chair` …
    pub roles: Vec<String>,
    /// Languages understood.
    pub languages: Vec<String>,
    /// The conference behind this user, if it is another focus.
    pub cascaded_focus: Option<String>,
    /// Devices or calls.
    pub endpoints: Vec<Endpoint>,
    /// The rest.
    pub extra: Extra,
}

/// `<endpoint>` (RFC 4575 §5.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The key among the user's endpoints, the Contact as a rule.
    pub entity: String,
    /// Text for people.
    pub display_text: Option<String>,
    /// Who brought it in by REFER.
    pub referred: Option<Execution>,
    /// How it is.
    pub status: Option<Status>,
    /// How it came.
    pub joining_method: Option<Joining>,
    /// When, why and by whom.
    pub joining_info: Option<Execution>,
    /// How it went.
    pub disconnection_method: Option<Disconnection>,
    /// When, why and by whom.
    pub disconnection_info: Option<Execution>,
    /// Its media.
    pub media: Vec<Media>,
    /// `<call-info>` as it came (RFC 4575 §5.7.9): we name no dialogs to others.
    pub call_info: Option<Element>,
    /// The rest.
    pub extra: Extra,
}

/// When, why and by whom something was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Execution {
    /// An XML dateTime, see [`date_time`](crate::date_time).
    pub when: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The URI of who did it.
    pub by: Option<String>,
    /// Attributes of other namespaces, and elements that are not known.
    pub extra: Extra,
}

/// `<media>` of an endpoint (RFC 4575 §5.8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// The key among the endpoint's media.
    pub id: String,
    /// Text for people.
    pub display_text: Option<String>,
    /// `message`, `application`, `audio` …
    pub kind: Option<String>,
    /// The label of the medium of the conference it carries.
    pub label: Option<String>,
    /// What tells its source, SSRC for RTP.
    pub src_id: Option<String>,
    /// From the endpoint's point of view.
    pub status: Option<MediaStatus>,
    /// The rest.
    pub extra: Extra,
}

/// Words with a fixed spelling, and others as they came.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// Another word, as it came.
            Other(String),
        }

        impl $name {
            /// As written in a document.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }

            /// From a document.
            pub fn of(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// How an endpoint is (RFC 4575 §5.7.3).
    Status {
        /// Expected soon.
        Pending = "pending",
        /// The focus calls it.
        DialingOut = "dialing-out",
        /// It calls the focus.
        DialingIn = "dialing-in",
        /// It rings.
        Alerting = "alerting",
        /// It has a dialog and takes no part.
        OnHold = "on-hold",
        /// It takes part.
        Connected = "connected",
        /// It hears and is not heard.
        Muted = "muted-via-focus",
        /// It is going.
        Disconnecting = "disconnecting",
        /// It has gone.
        Disconnected = "disconnected",
    }
}

words! {
    /// How an endpoint came (RFC 4575 §5.7.4).
    Joining {
        /// It called the focus.
        DialedIn = "dialed-in",
        /// The focus called it.
        DialedOut = "dialed-out",
        /// It is the focus.
        FocusOwner = "focus-owner",
    }
}

words! {
    /// How an endpoint went (RFC 4575 §5.7.6).
    Disconnection {
        /// By itself.
        Departed = "departed",
        /// It was put out.
        Booted = "booted",
        /// Something failed.
        Failed = "failed",
        /// It was busy or declined.
        Busy = "busy",
    }
}

words! {
    /// The direction of a medium (RFC 4575 §5.8.5).
    MediaStatus {
        /// Both ways.
        SendRecv = "sendrecv",
        /// Sends only.
        SendOnly = "sendonly",
        /// Receives only.
        RecvOnly = "recvonly",
        /// Neither.
        Inactive = "inactive",
    }
}

impl Status {
    /// Whether the endpoint is in the conference.
    pub fn is_present(&self) -> bool {
        matches!(self, Self::Connected | Self::OnHold | Self::Muted)
    }
}

impl Seal {
    /// As written in a document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Open => "open",
        }
    }
}

impl Extra {
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.elements.is_empty()
    }

    /// What `<seal>` says. A word that is not known is no seal: it is `None`.
    pub fn seal(&self) -> Option<Seal> {
        let seal = self.elements.iter().find(|e| e.is(SEAL_NAMESPACE, "seal"))?;
        match seal.attribute("", "state")? {
            "sealed" => Some(Seal::Sealed),
            "open" => Some(Seal::Open),
            _ => None,
        }
    }

    /// Sets `<seal>`, or takes it away.
    pub fn set_seal(&mut self, seal: Option<Seal>) {
        self.elements.retain(|e| !e.is(SEAL_NAMESPACE, "seal"));
        if let Some(seal) = seal {
            let mut element = Element::new(SEAL_NAMESPACE, "seal");
            element.set_attribute("", "state", seal.as_str());
            self.elements.push(element);
        }
    }
}

impl Roster {
    /// The user with this URI.
    pub fn user(&self, entity: &str) -> Option<&User> {
        self.users.iter().find(|u| u.entity == entity)
    }

    /// What the conference says of itself: every leg sealed, or not.
    pub fn seal(&self) -> Option<Seal> {
        self.extra.seal()
    }
}

impl User {
    /// Whether one of the user's endpoints is in the conference. A user without endpoints is: the
    /// focus may keep them to itself (RFC 4575 §5.6.6).
    pub fn is_present(&self) -> bool {
        self.endpoints.is_empty()
            || self.endpoints.iter().any(|e| e.status.as_ref().is_none_or(Status::is_present))
    }

    /// Whether the user's legs are sealed, as the focus says.
    pub fn seal(&self) -> Option<Seal> {
        self.extra.seal()
    }

    /// What to call the user on a screen: nickname, display name, or URI.
    pub fn name(&self) -> &str {
        let named = self.nickname.as_deref().or(self.display_text.as_deref());
        named.filter(|n| !n.trim().is_empty()).unwrap_or(&self.entity)
    }
}

/// The attribute that carries a nickname.
pub(crate) fn is_nickname(attribute: &Attribute) -> bool {
    attribute.is(XCON_NAMESPACE, "nickname")
}
