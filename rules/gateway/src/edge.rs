//! What a gateway does besides passing octets on: end TLS for the terminal (TS 23.334 §6.2.10.3), and
//! rewrite the paths of MSRP (TS 23.334 §5.19.5). A part of [`crate::media`], where it can be found too.

use crate::conference::TlsRole;

/// TLS with the peer of a pinhole ends here. Both ends show a certificate, known by its fingerprint only
/// (RFC 8122 §5 and §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Which end of the handshake is ours. It does not follow from who connects: in BFCP the offerer is
    /// the client whatever it does with TCP (RFC 8856 §8). It may become ours to begin while a connection
    /// waits for the peer to; once the handshake has begun a change is for the next connection.
    pub role: TlsRole,
    /// The peer's fingerprints as in its SDP, `SHA-256 4A:AD:…`, the preferred one first. Empty: not known
    /// yet. The handshake may be done meanwhile; nothing that comes is passed on, and nothing is sent.
    /// Fingerprints that come or change later are compared with the certificate that was shown.
    pub fingerprints: Vec<String>,
}

/// One side of an MSRP session whose paths are rewritten.
///
/// What the gateway calls itself towards this peer is made of the pinhole's local address and the
/// session identifier in the *far* leg's path: scheme `msrps` with an [`Edge`], else `msrp`. A request from
/// this peer leaves at the far side with the far leg's whole path in To-Path and the gateway's URI there in
/// From-Path; a response goes to the first URI of the far leg's path only (RFC 4975 §7.2).
///
/// Nothing passes, and a connection is held unread, as long as one of two joined pinholes has no leg while
/// the other has one, or one of the two paths is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// The peer's `a=path`: its URIs separated by blanks, the nearest first. Empty: not known yet.
    pub path: String,
}
