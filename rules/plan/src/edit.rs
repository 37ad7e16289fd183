//! Changes of a session description as data: what is printed is what is done.
//!
//! RFC 3264, RFC 4145 §4, RFC 6714 §5, RFC 8122 §5, TS 23.334 §6.2.10.3, TS 29.162 §10.

use carnet_msrp::Uri;
use carnet_sdp::{Document, Error, Setup};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One kind of change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// `c=` and the port of `m=`: the gateway's address on the side the SDP is sent to.
    Address,
    /// The transport of `m=`.
    Transport(&'static str),
    /// `a=setup`
    Setup(Setup),
    /// `a=fingerprint` and `a=tls-id` are taken out.
    FingerprintRemoved,
    /// `a=fingerprint` is the gateway's on the side the SDP is sent to.
    FingerprintPut,
    /// `a=3ge2ae` is taken out.
    EdgeRemoved,
    /// `a=3ge2ae:applied`
    EdgeApplied,
    /// Host and port of the first URI in `a=path` are the gateway's.
    PathAddress,
    /// `a=path` is the gateway's own URI; the session identifier stays.
    PathOwn {
        /// Scheme `msrps`, else `msrp`.
        secure: bool,
    },
    /// `a=msrp-cema` is taken out.
    CemaRemoved,
    /// The address in `o=` is ours.
    Origin,
    /// Port 0.
    Port0,
    /// The section of the line is as an rtpengine returned it. [`apply`] leaves it: the session takes it
    /// over before.
    Rtpengine,
}

impl Change {
    /// A stable name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Transport(_) => "transport",
            Self::Setup(_) => "setup",
            Self::FingerprintRemoved => "fingerprint-removed",
            Self::FingerprintPut => "fingerprint-put",
            Self::EdgeRemoved => "3ge2ae-removed",
            Self::EdgeApplied => "3ge2ae-applied",
            Self::PathAddress => "path-address",
            Self::PathOwn { .. } => "path-own",
            Self::CemaRemoved => "cema-removed",
            Self::Origin => "origin",
            Self::Port0 => "port-0",
            Self::Rtpengine => "rtpengine",
        }
    }
}

/// A change and why it is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Edit {
    /// The media line, from 0; `None` is the session section.
    pub line: Option<usize>,
    /// What is changed.
    pub change: Change,
    /// Why, in one sentence.
    pub reason: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("c= and the port are the gateway's"),
            Self::Transport(proto) => write!(f, "m= has {proto}"),
            Self::Setup(setup) => write!(f, "a=setup:{setup}"),
            Self::FingerprintRemoved => f.write_str("a=fingerprint taken out"),
            Self::FingerprintPut => f.write_str("a=fingerprint is the gateway's"),
            Self::EdgeRemoved => f.write_str("a=3ge2ae taken out"),
            Self::EdgeApplied => f.write_str("a=3ge2ae:applied"),
            Self::PathAddress => f.write_str("a=path has the gateway's host and port"),
            Self::PathOwn { secure: true } => f.write_str("a=path is the gateway's, msrps"),
            Self::PathOwn { secure: false } => f.write_str("a=path is the gateway's, msrp"),
            Self::CemaRemoved => f.write_str("a=msrp-cema taken out"),
            Self::Origin => f.write_str("o= has the border's address"),
            Self::Port0 => f.write_str("the port is 0"),
            Self::Rtpengine => f.write_str("address, ports, ICE are the rtpengine's"),
        }
    }
}

/// What the gateway gave for a line on the side the description is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// Its address there.
    pub address: Option<SocketAddr>,
    /// The fingerprint of its certificate there, `SHA-256 4A:AD:…`, where TLS ends.
    pub fingerprint: Option<String>,
}

/// Makes the changes. `given` is asked for each line that needs something of the gateway's; `origin`
/// is the address for `o=`. A line of which the gateway gave nothing keeps what it has.
pub fn apply<'a>(
    edits: impl IntoIterator<Item = &'a Edit>,
    document: &mut Document,
    given: impl Fn(usize) -> Given,
    origin: Option<IpAddr>,
) -> Result<(), Error> {
    let mut moves = Vec::new();
    let mut hide = false;
    for edit in edits {
        let Some(index) = edit.line else {
            match &edit.change {
                Change::Origin => hide = true,
                Change::FingerprintRemoved => {
                    document.remove_session_attribute("fingerprint");
                    document.remove_session_attribute("tls-id");
                }
                Change::EdgeRemoved => {
                    document.remove_session_attribute("3ge2ae");
                }
                _ => {}
            }
            continue;
        };
        match &edit.change {
            Change::Address => moves.extend(given(index).address.map(|address| (index, address))),
            Change::Setup(setup) => {
                document.set_attribute(index, "setup", Some(setup.as_str().as_bytes()))?;
            }
            Change::FingerprintRemoved => {
                document.remove_attribute(index, "fingerprint")?;
                document.remove_attribute(index, "tls-id")?;
            }
            Change::FingerprintPut => {
                document.remove_attribute(index, "fingerprint")?;
                document.remove_attribute(index, "tls-id")?;
                if let Some(fingerprint) = given(index).fingerprint {
                    document.insert_attribute(index, "fingerprint", Some(fingerprint.as_bytes()))?;
                }
            }
            Change::EdgeRemoved => {
                document.remove_attribute(index, "3ge2ae")?;
            }
            Change::EdgeApplied => {
                document.remove_attribute(index, "3ge2ae")?;
                document.insert_attribute(index, "3ge2ae", Some(b"applied"))?;
            }
            Change::CemaRemoved => {
                document.remove_attribute(index, "msrp-cema")?;
            }
            Change::Port0 => document.set_port(index, 0)?,
            Change::Transport(proto) => document.set_proto(index, proto)?,
            Change::PathAddress => rewrite(document, index, given(index).address, path_address)?,
            Change::PathOwn { secure } => {
                let own = |path: &str, address| path_own(path, address, *secure);
                rewrite(document, index, given(index).address, own)?;
            }
            Change::Origin | Change::Rtpengine => {}
        }
    }
    document.relocate(&moves)?;
    if let Some(ip) = moves.first().map(|(_, a)| a.ip()).or(origin).filter(|_| hide) {
        document.set_origin_address(ip);
    }
    Ok(())
}

fn rewrite(
    document: &mut Document,
    index: usize,
    address: Option<SocketAddr>,
    with: impl Fn(&str, SocketAddr) -> Option<String>,
) -> Result<(), Error> {
    let path = document.media_at(index).and_then(|m| m.path());
    let Some(new) = address.zip(path).and_then(|(address, path)| with(path, address)) else { return Ok(()) };
    document.set_attribute(index, "path", Some(new.as_bytes()))
}

/// The path with the host and port of its first URI replaced: the one that is connected to. `None` if
/// that is no MSRP URI (RFC 4975 §6).
fn path_address(path: &str, address: SocketAddr) -> Option<String> {
    let (first, rest) = path.split_once(' ').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (scheme, after) = first.split_once("://")?;
    let (authority, tail) = after.split_at(after.find('/')?);
    let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
    let mut new = format!("{scheme}://{user}{address}{tail}");
    if let Some(rest) = rest {
        new.push(' ');
        new.push_str(rest);
    }
    Some(new)
}

/// The URI the gateway has towards a peer: its address, and the session identifier of the last URI of the
/// far peer's path. It is made by what makes the gateway's own. `None` if the path cannot be read.
fn path_own(path: &str, address: SocketAddr, secure: bool) -> Option<String> {
    let own = carnet_msrp::rewrite::own_uri(secure, address, &uris(path)?).ok()?;
    Some(own.as_str().to_owned())
}

/// Most URIs of a path that is rewritten: relays on the way of one end (RFC 4976).
const MAX_URIS: usize = 16;

/// The URIs of a path that MSRP can be sent along; `None` if it has none, too many, or something else.
pub(super) fn uris(path: &str) -> Option<Vec<Uri>> {
    let uris = path.split_ascii_whitespace().take(MAX_URIS + 1).map(|uri| Uri::parse(uri.as_bytes()).ok());
    let uris: Vec<Uri> = uris.collect::<Option<_>>()?;
    (1..=MAX_URIS)
        .contains(&uris.len())
        .then_some(uris)
        .filter(|u| u.last().is_some_and(|u| u.session_id().is_some()))
}
