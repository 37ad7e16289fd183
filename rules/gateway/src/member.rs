//! What LocalControl says of a member of a conference (`crnroom`, `crntls`, `fcp`), and the endpoint that
//! comes of it together with Local and Remote.
//!
//! These properties hold until they are given another value: a LocalControl that does not name them leaves
//! them as they were, unlike others (RFC 3525 §7.1.7), because a key cannot be read back to be repeated.
//! An empty string, or floor 0, takes one back.

use std::fmt;

use carnet_h248::{LocalControl, ParameterValue, Property, Value};
use carnet_wire::{base64, hex};
use zeroize::Zeroizing;

use crate::control::{flag_or, number, text, value};
use crate::description::{Description, Setup, Transport};
use crate::error::Fault;
use crate::media::{Endpoint, Gate, Key, Medium, Role, TlsEnd, TlsRole};

/// Floors that one user may chair.
const MOST_CHAIRS: usize = 64;

/// The properties, understood.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Member {
    user: Option<u16>,
    uri: Option<String>,
    nickname: Option<String>,
    speak: Option<bool>,
    history: Option<bool>,
    max_size: Option<u64>,
    types: Option<String>,
    role: Option<TlsRole>,
    key: Option<Key>,
    identity: Option<Vec<u8>>,
    pub(crate) chairs: Vec<u16>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Member {
    /// What `control` says, and for the rest what held before.
    pub(crate) fn parse(control: &LocalControl, old: Option<&Self>) -> Result<Self, Fault> {
        let mut member = old.cloned().unwrap_or_default();
        let words = |name: &str| -> Result<Option<String>, Fault> {
            Ok(text(control, name)?.map(|value| value.as_str().to_owned()))
        };
        if let Some(user) = number(control, "crnroom/user")? {
            // RFC 8855 §5.1 gives it 16 bits; 0 is nobody here.
            let user = u16::try_from(user).ok().filter(|user| *user != 0);
            member.user = Some(user.ok_or_else(|| wrong("crnroom/user"))?);
        }
        if let Some(uri) = words("crnroom/member")? {
            member.uri = given(uri);
        }
        if let Some(nickname) = text(control, "crnroom/nick")? {
            member.nickname = given(nickname.unescaped());
        }
        member.speak = flag_or(control, "crnroom/speak")?.or(member.speak);
        member.history = flag_or(control, "crnroom/history")?.or(member.history);
        member.max_size = number(control, "crnroom/maxsize")?.or(member.max_size);
        if let Some(types) = words("crnroom/types")? {
            member.types = given(types);
        }
        if let Some(role) = text(control, "crnroom/tls")? {
            member.role = Some(match role.as_str().to_ascii_lowercase().as_str() {
                "client" => TlsRole::Client,
                "server" => TlsRole::Server,
                _ => return Err(value("crnroom/tls", role)),
            });
        }
        if let Some(identity) = text(control, "crntls/pskid")? {
            member.identity = Some(decoded(identity).ok_or_else(|| wrong("crntls/pskid"))?);
        }
        if let Some(key) = text(control, "crntls/psk")? {
            let octets = hex::decode(key.as_bytes()).map_err(|_| wrong("crntls/psk"))?;
            let mut octets = Zeroizing::new(octets);
            if !(16..=64).contains(&octets.len()) {
                return Err(wrong("crntls/psk"));
            }
            member.key = Some(Key::new(std::mem::take(&mut *octets)));
        }
        if let Some(chairs) = control.property("fcp/chair") {
            member.chairs = floors(chairs).ok_or_else(|| wrong("fcp/chair"))?;
        }
        Ok(member)
    }

    /// Whose a stream is: as the property says, or else Local (RFC 8856 §5.3).
    pub(crate) fn user(&self, local: &Description) -> Option<u16> {
        self.user.or(local.user).filter(|user| *user != 0)
    }

    /// Refuses what cannot be an endpoint.
    pub(crate) fn check(
        &self,
        gate: Gate,
        local: Option<&Description>,
        remote: Option<&Description>,
    ) -> Result<(), Fault> {
        let Some(local) = local else {
            return if remote.is_some() {
                Err(Fault::request(441, "Missing Local descriptor"))
            } else {
                Ok(())
            };
        };
        if [Some(local), remote].into_iter().flatten().any(|d| !d.fingerprints.is_empty()) {
            return Err(Fault::unsupported(501, "Not implemented: TLS with certificates"));
        }
        let Some((protocol, sealed)) = spoken(local.transport) else {
            let what =
                "Unsupported transport: a conference takes TCP/MSRP, TCP/TLS/MSRP, TCP/BFCP, TCP/TLS/BFCP";
            return Err(Fault::unsupported(515, what));
        };
        if remote.is_some_and(|remote| remote.transport != local.transport) {
            return Err(Fault::request(473, "Local and Remote have different transports"));
        }
        if self.user(local).is_none() {
            return Err(missing("crnroom/user"));
        }
        if self.key.is_some() && self.identity.is_none() {
            return Err(missing("crntls/pskid"));
        }
        if self.key.is_some() && !sealed {
            return Err(Fault::request(473, "There is a key for a stream without TLS"));
        }
        if sealed && self.key.is_none() && remote.is_some() && gate != Gate::Inactive {
            return Err(missing("crntls/psk"));
        }
        if protocol == Protocol::Bfcp {
            return Ok(());
        }
        // RFC 4975 §6, §14.2: the scheme says whether there is TLS.
        let scheme = if sealed { "msrps://" } else { "msrp://" };
        let fits = |path: &str| path.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
        for (whose, description) in [("Local", Some(local)), ("Remote", remote)] {
            let Some(description) = description else { continue };
            let path = description.path.as_deref().ok_or_else(|| missing(&format!("a=path of {whose}")))?;
            // The last URI of the peer's path is its own; relays before it are always reached by TLS.
            let own = path.split(' ').next_back().unwrap_or_default();
            if !fits(own) {
                return Err(Fault::request(473, format!("a=path of {whose} does not begin with {scheme}")));
            }
        }
        Ok(())
    }

    /// What ends here; `None` as long as something of it is not known.
    pub(crate) fn endpoint(&self, local: &Description, remote: Option<&Description>) -> Option<Endpoint> {
        let (protocol, sealed) = spoken(local.transport)?;
        let tls = if sealed {
            let (key, identity) = (self.key.clone()?, self.identity.clone()?);
            let role = self.role.unwrap_or_else(|| match role(local, remote, Role::Undecided) {
                Role::Active => TlsRole::Client,
                _ => TlsRole::Server,
            });
            Some(TlsEnd { role, key, identity })
        } else {
            None
        };
        let medium = match protocol {
            Protocol::Bfcp => Medium::Bfcp { chairs: self.chairs.clone() },
            Protocol::Msrp => {
                let remote = remote?;
                let types = self.types.as_deref().or(remote.accept_types.as_deref()).unwrap_or_default();
                Medium::Msrp {
                    local_path: local.path.clone()?,
                    remote_path: remote.path.clone()?,
                    accept_types: types.split_ascii_whitespace().map(str::to_owned).collect(),
                    max_size: self.max_size.or(remote.max_size),
                    nickname: self.nickname.clone(),
                    speak: self.speak.unwrap_or(true),
                    history: self.history.unwrap_or(true),
                }
            }
        };
        Some(Endpoint { user: self.user(local)?, member: self.uri.clone().unwrap_or_default(), medium, tls })
    }
}

/// What is spoken on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Msrp,
    Bfcp,
}

/// The protocol of a transport, and whether it is inside TLS.
pub(crate) fn spoken(transport: Transport) -> Option<(Protocol, bool)> {
    match transport {
        Transport::Msrp => Some((Protocol::Msrp, false)),
        Transport::TlsMsrp => Some((Protocol::Msrp, true)),
        Transport::Bfcp => Some((Protocol::Bfcp, false)),
        Transport::TlsBfcp => Some((Protocol::Bfcp, true)),
        Transport::Transparent | Transport::Tls => None,
    }
}

/// Who opens the connection of an endpoint: where Local leaves it open, the answer of the peer decides
/// (RFC 4145 §4.1).
pub(crate) fn role(local: &Description, remote: Option<&Description>, otherwise: Role) -> Role {
    match (local.setup, remote.and_then(|remote| remote.setup)) {
        (Some(Setup::Active), _) => Role::Active,
        (Some(Setup::Passive), _) => Role::Passive,
        (_, Some(Setup::Active)) => Role::Passive,
        (_, Some(Setup::Passive)) => Role::Active,
        _ => otherwise,
    }
}

/// The properties of a stream as an audit tells them: those of the new LocalControl, and those of the old
/// one that still hold. Keys are not among them.
pub(crate) fn lasting(new: &LocalControl, old: Option<&LocalControl>) -> LocalControl {
    let mut control = new.clone();
    let package = |property: &Property, name: &str| property.name.package().eq_ignore_ascii_case(name);
    for property in old.iter().flat_map(|old| &old.properties) {
        let stays = package(property, "crnroom") || package(property, "fcp");
        if stays && control.property(property.name.as_str()).is_none() {
            control.properties.push(property.clone());
        }
    }
    control.properties.retain(|property| !package(property, "crntls"));
    control
}

/// A floor's number, or several; 0 is none.
fn floors(given: &ParameterValue) -> Option<Vec<u16>> {
    let list = match given {
        ParameterValue::Equal(one) => std::slice::from_ref(one),
        ParameterValue::AllOf(list) => list.as_slice(),
        _ => return None,
    };
    let number = |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok());
    let mut floors = list.iter().map(number).collect::<Option<Vec<_>>>()?;
    floors.retain(|floor| *floor != 0);
    floors.sort_unstable();
    floors.dedup();
    (floors.len() <= MOST_CHAIRS).then_some(floors)
}

/// base64url without padding (RFC 4648 §5); RFC 4279 §5.3: up to 128 octets must be possible.
fn decoded(identity: &Value) -> Option<Vec<u8>> {
    let mut text: Vec<u8> = identity.as_bytes().to_vec();
    for octet in &mut text {
        *octet = match *octet {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
    }
    while text.last() == Some(&b'=') {
        text.pop();
    }
    text.resize(text.len().next_multiple_of(4), b'=');
    base64::decode(&text).ok().filter(|octets| (1..=65_535).contains(&octets.len()))
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn missing(what: &str) -> Fault {
    Fault::request(472, format!("Required information missing: {what}"))
}

/// Without the value: it may be a key.
fn wrong(name: &str) -> Fault {
    Fault::request(449, format!("Unsupported value of {name}"))
}
