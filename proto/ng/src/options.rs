//! What a request asks for besides its description: the keys and flags that mean something for TCP media,
//! and the names of those that do not.
//!
//! rtpengine takes a key with blanks, hyphens or underscores between its words, in any case, and most
//! keys as flags too (`trust-address` among `flags`, or all of them in one text, `rtpp_flags`).

use crate::{Error, Request};
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

impl Options {
    /// Of a request.
    ///
    /// # Errors
    /// An option that has no value that it can have.
    pub fn of(_request: &Request) -> Result<Self, Error> {
        Ok(Self::default())
    }
}
