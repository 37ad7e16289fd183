//! TLS contexts: pre-shared keys and certificates, never both in one.
//!
//! [`PskContext`] protects media end to end with a key that both ends got from the key management
//! service (RFC 4279, RFC 5489, RFC 8446 §2.2). [`CertificateContext`] serves media between a
//! terminal and its border, checked by fingerprint (RFC 8122), and SIP and HTTPS, checked by name.
//!
//! The two are separate types on purpose. A TLS 1.3 server that holds a certificate *and* a
//! pre-shared key lets a client without the key in by certificate; a context here holds one or
//! the other.
//!
//! Left out: renegotiation, compression, early data, session tickets and resumption, the PSK
//! importer of RFC 9258 (the peer may not know it), and revocation lists.

mod certificate;
mod certificate_socket;
mod credential;
mod edge;
mod error;
mod fingerprint;
mod handshake;
mod key;
mod named_socket;
mod psk;
mod psk_socket;
mod report;
mod socket;
mod stream;
mod tally;

pub use certificate::{CertificateContext, CertificateSettings, Peer, Trust};
pub use certificate_socket::CertificateSocket;
pub use credential::{Credential, SubjectName};
pub use edge::{EdgeContext, EdgeSocket, Opened, Wire};
pub use error::{Error, Fault};
pub use fingerprint::{Digest, Fingerprint};
pub use key::{Keyring, Psk, PskKey};
pub use named_socket::{Lent, NamedSocket};
pub use psk::{PskContext, PskSettings};
pub use psk_socket::PskSocket;
pub use report::{Report, Side, Version, Versions};
pub use stream::TlsStream;
pub use tally::{Handshake, handshakes};
