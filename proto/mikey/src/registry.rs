//! The numbers of the MIKEY registry (RFC 3830 §6, RFC 4563, RFC 6043 §14) and their names.
//!
//! Only numbers that Carnet reads or writes are constants; the name tables also know the others,
//! for people who look at a message.

/// Data types of the common header (RFC 3830 §6.1, RFC 6043 §6.1).
pub mod data_type {
    /// Error message.
    pub const ERROR: u8 = 6;
    /// Ticket request, protected by a pre-shared key.
    pub const REQUEST_INIT_PSK: u8 = 11;
    /// Ticket request, protected by a signature.
    pub const REQUEST_INIT_PK: u8 = 12;
    /// The KMS's answer to a ticket request.
    pub const REQUEST_RESP: u8 = 13;
    /// The ticket on its way to the responder.
    pub const TRANSFER_INIT: u8 = 14;
    /// The responder's answer.
    pub const TRANSFER_RESP: u8 = 15;
    /// The responder asks what is in a ticket, protected by a pre-shared key.
    pub const RESOLVE_INIT_PSK: u8 = 16;
    /// The responder asks what is in a ticket, protected by a signature.
    pub const RESOLVE_INIT_PK: u8 = 17;
    /// The KMS's answer to a resolve request.
    pub const RESOLVE_RESP: u8 = 18;

    /// The registered name of a data type.
    pub fn name(number: u8) -> Option<&'static str> {
        Some(match number {
            0 => "PSK_INIT",
            1 => "PSK_RESP",
            2 => "PK_INIT",
            3 => "PK_RESP",
            4 => "DH_INIT",
            5 => "DH_RESP",
            ERROR => "ERROR",
            7 => "DHHMAC_INIT",
            8 => "DHHMAC_RESP",
            9 => "RSA_R_I_MSG",
            10 => "RSA_R_R_MSG",
            REQUEST_INIT_PSK => "REQUEST_INIT_PSK",
            REQUEST_INIT_PK => "REQUEST_INIT_PK",
            REQUEST_RESP => "REQUEST_RESP",
            TRANSFER_INIT => "TRANSFER_INIT",
            TRANSFER_RESP => "TRANSFER_RESP",
            RESOLVE_INIT_PSK => "RESOLVE_INIT_PSK",
            RESOLVE_INIT_PK => "RESOLVE_INIT_PK",
            RESOLVE_RESP => "RESOLVE_RESP",
            19 => "REQUEST_KEY_PSK",
            20 => "REQUEST_KEY_PKE",
            21 => "REQUEST_KEY_RESP",
            22 => "IBAKE_I_MESSAGE_1",
            23 => "IBAKE_R_MESSAGE_1",
            24 => "IBAKE_I_MESSAGE_2",
            25 => "IBAKE_R_MESSAGE_2",
            26 => "SAKKE",
            _ => return None,
        })
    }
}

/// Certificate types (RFC 3830 §6.7).
pub mod cert_type {
    /// X.509v3, DER.
    pub const X509: u8 = 0;
    /// Where it is, a URL.
    pub const URL: u8 = 1;
    /// X.509v3 for signatures.
    pub const X509_SIGN: u8 = 2;
    /// X.509v3 for encryption.
    pub const X509_ENCR: u8 = 3;
}

/// Payload types, as they stand in a Next payload octet (RFC 3830 §6.1, RFC 6043 §6).
pub mod payload_type {
    /// No further payload.
    pub const LAST: u8 = 0;
    /// Key data transport.
    pub const KEMAC: u8 = 1;
    /// Envelope data.
    pub const PKE: u8 = 2;
    /// Diffie-Hellman value.
    pub const DH: u8 = 3;
    /// Signature.
    pub const SIGN: u8 = 4;
    /// Timestamp.
    pub const T: u8 = 5;
    /// Identity.
    pub const ID: u8 = 6;
    /// Certificate.
    pub const CERT: u8 = 7;
    /// Certificate hash.
    pub const CHASH: u8 = 8;
    /// Verification message.
    pub const V: u8 = 9;
    /// Security policy.
    pub const SP: u8 = 10;
    /// Random number.
    pub const RAND: u8 = 11;
    /// Error.
    pub const ERR: u8 = 12;
    /// Timestamp with role.
    pub const TR: u8 = 13;
    /// Identity with role.
    pub const IDR: u8 = 14;
    /// Random number with role.
    pub const RANDR: u8 = 15;
    /// Ticket policy.
    pub const TP: u8 = 16;
    /// Ticket.
    pub const TICKET: u8 = 17;
    /// Key data, only inside KEMAC.
    pub const KEY_DATA: u8 = 20;
    /// General extension.
    pub const GENERAL_EXT: u8 = 21;

    /// The short name of a payload type.
    pub fn name(number: u8) -> Option<&'static str> {
        Some(match number {
            KEMAC => "KEMAC",
            PKE => "PKE",
            DH => "DH",
            SIGN => "SIGN",
            T => "T",
            ID => "ID",
            CERT => "CERT",
            CHASH => "CHASH",
            V => "V",
            SP => "SP",
            RAND => "RAND",
            ERR => "ERR",
            TR => "TR",
            IDR => "IDR",
            RANDR => "RANDR",
            TP => "TP",
            TICKET => "TICKET",
            KEY_DATA => "KEY_DATA",
            GENERAL_EXT => "GENERAL_EXT",
            22 => "IBAKE",
            23 => "ESK",
            24 => "SK",
            25 => "ECCPT",
            26 => "SAKKE",
            _ => return None,
        })
    }
}

/// Roles in IDR and RANDR payloads (RFC 6043 §6.6, §6.8). The first three mean the same in both.
pub mod role {
    /// The party that starts the ticket transfer.
    pub const INITIATOR: u8 = 1;
    /// The party that answers it.
    pub const RESPONDER: u8 = 2;
    /// The key management service.
    pub const KMS: u8 = 3;
    /// Names a pre-shared key (IDR only).
    pub const PSK: u8 = 4;
    /// Names an application (IDR only).
    pub const APPLICATION: u8 = 5;

    /// The short name of an identity role.
    pub fn name(number: u8) -> Option<&'static str> {
        Some(match number {
            INITIATOR => "initiator",
            RESPONDER => "responder",
            KMS => "kms",
            PSK => "psk",
            APPLICATION => "application",
            6 => "kms-of-initiator",
            7 => "kms-of-responder",
            8 => "initiator-uid",
            9 => "responder-uid",
            _ => return None,
        })
    }
}

/// Roles in TR payloads (RFC 6043 §6.4).
pub mod time_role {
    /// Time of issue.
    pub const ISSUE: u8 = 1;
    /// Start of the validity period.
    pub const START: u8 = 2;
    /// End of the validity period.
    pub const END: u8 = 3;
    /// Longest time between two rekeyings.
    pub const REKEY: u8 = 4;

    /// The short name of a timestamp role.
    pub fn name(number: u8) -> Option<&'static str> {
        Some(match number {
            ISSUE => "issue",
            START => "start",
            END => "end",
            REKEY => "rekey-interval",
            _ => return None,
        })
    }
}

/// Encryption algorithms of KEMAC (RFC 3830 §6.2, RFC 6043 §6.2).
pub mod encr_alg {
    /// No encryption.
    pub const NULL: u8 = 0;
    /// AES in counter mode with a 128-bit key.
    pub const AES_CM_128: u8 = 1;
    /// AES key wrap with a 128-bit key.
    pub const AES_KW_128: u8 = 2;
    /// AES in counter mode with a 256-bit key.
    pub const AES_CM_256: u8 = 3;
}

/// MAC algorithms of KEMAC and V (RFC 3830 §6.2, RFC 6043 §6.2).
pub mod mac_alg {
    /// No MAC.
    pub const NULL: u8 = 0;
    /// HMAC-SHA-1, 20 octets.
    pub const HMAC_SHA_1_160: u8 = 1;
    /// HMAC-SHA-256, 32 octets.
    pub const HMAC_SHA_256_256: u8 = 2;

    /// Octets of the MAC, `None` for a number that is not registered.
    pub fn len(number: u8) -> Option<usize> {
        match number {
            NULL => Some(0),
            HMAC_SHA_1_160 => Some(20),
            HMAC_SHA_256_256 => Some(32),
            _ => None,
        }
    }
}

/// Types of a Key data sub-payload (RFC 3830 §6.13, RFC 6043 §6.2.1).
pub mod key_type {
    /// Traffic generating key.
    pub const TGK: u8 = 0;
    /// Traffic generating key and salt.
    pub const TGK_SALT: u8 = 1;
    /// Traffic encrypting key.
    pub const TEK: u8 = 2;
    /// Traffic encrypting key and salt.
    pub const TEK_SALT: u8 = 3;
    /// Group traffic generating key.
    pub const GTGK: u8 = 4;
    /// Group traffic generating key and salt.
    pub const GTGK_SALT: u8 = 5;
    /// MIKEY protection key.
    pub const MPK: u8 = 6;

    /// The short name of a key type.
    pub fn name(number: u8) -> Option<&'static str> {
        Some(match number {
            TGK => "TGK",
            TGK_SALT => "TGK+SALT",
            TEK => "TEK",
            TEK_SALT => "TEK+SALT",
            GTGK => "GTGK",
            GTGK_SALT => "GTGK+SALT",
            MPK => "MPK",
            7 => "K_PR",
            _ => return None,
        })
    }
}

/// Error numbers (RFC 3830 §6.12, RFC 4738, RFC 6043 §6.9).
pub mod error_no {
    /// Authentication failure.
    pub const AUTH_FAILURE: u8 = 0;
    /// Invalid timestamp.
    pub const INVALID_TS: u8 = 1;
    /// PRF function not supported.
    pub const INVALID_PRF: u8 = 2;
    /// MAC algorithm not supported.
    pub const INVALID_MAC: u8 = 3;
    /// Encryption algorithm not supported.
    pub const INVALID_EA: u8 = 4;
    /// Hash function not supported.
    pub const INVALID_HA: u8 = 5;
    /// DH group not supported.
    pub const INVALID_DH: u8 = 6;
    /// Identity not supported.
    pub const INVALID_ID: u8 = 7;
    /// Certificate not supported.
    pub const INVALID_CERT: u8 = 8;
    /// Security protocol type not supported.
    pub const INVALID_SP: u8 = 9;
    /// Security protocol parameters not supported.
    pub const INVALID_SPPAR: u8 = 10;
    /// Data type not supported.
    pub const INVALID_DT: u8 = 11;
    /// Unspecified error.
    pub const UNSPECIFIED: u8 = 12;
    /// Message type not supported.
    pub const UNSUPPORTED_MESSAGE: u8 = 13;
    /// Ticket type not supported.
    pub const INVALID_TICKET: u8 = 14;
    /// Ticket policy parameters not supported.
    pub const INVALID_TPPAR: u8 = 15;

    /// The registered meaning of an error number.
    pub fn name(number: u8) -> Option<&'static str> {
        Some(match number {
            AUTH_FAILURE => "authentication failure",
            INVALID_TS => "invalid timestamp",
            INVALID_PRF => "PRF function not supported",
            INVALID_MAC => "MAC algorithm not supported",
            INVALID_EA => "encryption algorithm not supported",
            INVALID_HA => "hash function not supported",
            INVALID_DH => "Diffie-Hellman group not supported",
            INVALID_ID => "identity not supported",
            INVALID_CERT => "certificate not supported",
            INVALID_SP => "security protocol not supported",
            INVALID_SPPAR => "security protocol parameters not supported",
            INVALID_DT => "data type not supported",
            UNSPECIFIED => "unspecified error",
            UNSUPPORTED_MESSAGE => "message type not supported",
            INVALID_TICKET => "ticket type not supported",
            INVALID_TPPAR => "ticket policy not supported",
            _ => return None,
        })
    }
}

/// Types of the General Extension payload (RFC 3830 §6.15).
pub mod extension {
    /// Vendor ID.
    pub const VENDOR_ID: u8 = 0;
    /// The list of key management protocols offered in SDP (RFC 4567 §3.1).
    pub const SDP_IDS: u8 = 1;
}

/// Timestamp types (RFC 3830 §6.6, RFC 6043 §6.3).
pub mod ts_type {
    /// 64-bit NTP timestamp, UTC.
    pub const NTP_UTC: u8 = 0;
    /// 64-bit NTP timestamp.
    pub const NTP: u8 = 1;
    /// 32-bit counter.
    pub const COUNTER: u8 = 2;
    /// The integer half of an NTP timestamp, UTC.
    pub const NTP_UTC_32: u8 = 3;
}

/// Identity types (RFC 3830 §6.7, RFC 6043 §6.5).
pub mod id_type {
    /// Network access identifier.
    pub const NAI: u8 = 0;
    /// URI.
    pub const URI: u8 = 1;
    /// Octets without a form of their own; names a pre-shared key.
    pub const BYTE_STRING: u8 = 2;
}

/// Ticket types (RFC 6043 §6.10).
pub mod ticket_type {
    /// MIKEY base ticket (RFC 6043 Appendix A).
    pub const BASE: u16 = 1;
    /// 3GPP base ticket.
    pub const BASE_3GPP: u16 = 2;
}
