//! The payloads, and chains of them (RFC 3830 §6, RFC 6043 §6).
//!
//! A payload's type stands in its predecessor, and there is no length common to all. A payload
//! type, or an algorithm that decides a length, that we do not know therefore makes the rest
//! unreadable and the message is refused.

mod keys;
mod parse;
mod policy;
mod print;

pub use keys::{KeyData, KeyValidity, parse_keys, print_keys};
pub use policy::{Flags, Ticket, TicketPolicy};

pub(crate) use parse::{Budget, parse_chain};
pub(crate) use print::{print_chain, print_first_and_chain};

use crate::registry::{cert_type, payload_type};
use crate::{Identity, Timestamp};

/// A payload without its Next payload octet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Key data transport.
    Kemac(Kemac),
    /// Envelope key under a public key.
    Pke(Pke),
    /// Diffie-Hellman value.
    Dh(Dh),
    /// Signature; always the last payload.
    Sign(Sign),
    /// Timestamp.
    T(Timestamp),
    /// Identity.
    Id(Identity),
    /// Certificate.
    Cert {
        /// See [`cert_type`].
        cert_type: u8,
        /// DER, or the URL.
        data: Vec<u8>,
    },
    /// Hash of the KMS certificate in use.
    CertHash {
        /// 0 SHA-1, 1 MD5, 2 SHA-256.
        hash: u8,
        /// The hash.
        value: Vec<u8>,
    },
    /// Verification message.
    V(Verification),
    /// Security policy.
    Sp(SecurityPolicy),
    /// Random octets.
    Rand(Vec<u8>),
    /// Error.
    Err {
        /// Error number.
        number: u8,
        /// Two reserved octets, as they came.
        reserved: u16,
    },
    /// Timestamp with role.
    Tr {
        /// See [`time_role`](crate::registry::time_role).
        role: u8,
        /// Value.
        time: Timestamp,
    },
    /// Identity with role.
    Idr {
        /// See [`role`](crate::registry::role).
        role: u8,
        /// Value.
        id: Identity,
    },
    /// Random octets with role.
    Randr {
        /// See [`role`](crate::registry::role).
        role: u8,
        /// Value.
        rand: Vec<u8>,
    },
    /// Ticket policy.
    Tp(TicketPolicy),
    /// Ticket.
    Ticket(Ticket),
    /// General extension.
    GeneralExt {
        /// See [`extension`](crate::registry::extension).
        ext_type: u8,
        /// Value.
        data: Vec<u8>,
    },
}

/// Encrypted key data (RFC 3830 §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kemac {
    /// See [`encr_alg`](crate::registry::encr_alg).
    pub encr_alg: u8,
    /// Key data sub-payloads, encrypted.
    pub encr_data: Vec<u8>,
    /// See [`mac_alg`](crate::registry::mac_alg).
    pub mac_alg: u8,
    /// As long as the algorithm says.
    pub mac: Vec<u8>,
}

/// Envelope key under a public key (RFC 3830 §6.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pke {
    /// Cache indicator, 0 to 3.
    pub cache: u8,
    /// Encrypted envelope key.
    pub data: Vec<u8>,
}

/// Diffie-Hellman value (RFC 3830 §6.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dh {
    /// 0 OAKLEY 5, 1 OAKLEY 1, 2 OAKLEY 2.
    pub group: u8,
    /// As long as the group says.
    pub value: Vec<u8>,
    /// Four reserved bits, as they came.
    pub reserved: u8,
    /// Key validity.
    pub validity: KeyValidity,
}

/// Signature (RFC 3830 §6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// 0 RSA PKCS#1 v1.5, 1 RSA PSS, 2 ECCSI; 0 to 15.
    pub sign_type: u8,
    /// At most 4095 octets.
    pub signature: Vec<u8>,
}

/// Verification message (RFC 3830 §6.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// See [`mac_alg`](crate::registry::mac_alg).
    pub auth_alg: u8,
    /// As long as the algorithm says.
    pub mac: Vec<u8>,
}

/// Security policy (RFC 3830 §6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityPolicy {
    /// Number that a crypto session refers to.
    pub number: u8,
    /// Security protocol.
    pub protocol: u8,
    /// Parameters, each type(8) length(8) value; as they came.
    pub parameters: Vec<u8>,
}

impl Payload {
    /// The X.509 certificate in it, DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Cert { cert_type: cert_type::X509 | cert_type::X509_SIGN, data } => Some(data),
            _ => None,
        }
    }

    /// The number of its type.
    pub fn type_number(&self) -> u8 {
        match self {
            Self::Kemac(_) => payload_type::KEMAC,
            Self::Pke(_) => payload_type::PKE,
            Self::Dh(_) => payload_type::DH,
            Self::Sign(_) => payload_type::SIGN,
            Self::T(_) => payload_type::T,
            Self::Id(_) => payload_type::ID,
            Self::Cert { .. } => payload_type::CERT,
            Self::CertHash { .. } => payload_type::CHASH,
            Self::V(_) => payload_type::V,
            Self::Sp(_) => payload_type::SP,
            Self::Rand(_) => payload_type::RAND,
            Self::Err { .. } => payload_type::ERR,
            Self::Tr { .. } => payload_type::TR,
            Self::Idr { .. } => payload_type::IDR,
            Self::Randr { .. } => payload_type::RANDR,
            Self::Tp(_) => payload_type::TP,
            Self::Ticket(_) => payload_type::TICKET,
            Self::GeneralExt { .. } => payload_type::GENERAL_EXT,
        }
    }
}
