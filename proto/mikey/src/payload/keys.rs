//! Key data sub-payloads: what is inside a KEMAC (RFC 3830 §6.13, §6.14, RFC 6043 §6.2.1).
//!
//! The first is implicit, each names the next, and the last says that none follows; what comes
//! after the last is an error and not padding.

use crate::error::Feature;
use crate::registry::{key_type, payload_type};
use crate::writer::Writer;
use crate::{Error, Limits, key};
use carnet_wire::Cursor;
use zeroize::Zeroizing;

/// How long a key is valid (RFC 3830 §6.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValidity {
    /// Type 0: no specified validity.
    None,
    /// Type 1: the key belongs to this SPI. The only one in the ticket modes (RFC 6043 §6.2.1).
    Spi(Vec<u8>),
    /// Type 2: from one index up to another.
    Interval {
        /// First index.
        from: Vec<u8>,
        /// Last index.
        to: Vec<u8>,
    },
}

impl KeyValidity {
    /// Its registered number.
    pub fn type_number(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Spi(_) => 1,
            Self::Interval { .. } => 2,
        }
    }

    pub(crate) fn parse(number: u8, at: usize, c: &mut Cursor<'_>) -> Result<Self, Error> {
        let mut field = |what| -> Result<Vec<u8>, Error> {
            let len = c.u8("a key validity length")?;
            Ok(c.take(usize::from(len), what)?.to_vec())
        };
        match number {
            0 => Ok(Self::None),
            1 => Ok(Self::Spi(field("an SPI")?)),
            2 => Ok(Self::Interval { from: field("Valid From")?, to: field("Valid To")? }),
            n => Err(Error::Unsupported { feature: Feature::KeyValidity(n), at }),
        }
    }

    pub(crate) fn print(&self, w: &mut Writer) {
        match self {
            Self::None => {}
            Self::Spi(spi) => w.len8(spi),
            Self::Interval { from, to } => {
                w.len8(from);
                w.len8(to);
            }
        }
    }
}

/// One key in a KEMAC. The octets are erased on drop.
pub struct KeyData {
    /// See [`key_type`].
    pub key_type: u8,
    /// The key.
    pub key: Zeroizing<Vec<u8>>,
    /// The salt, in the types that have one.
    pub salt: Option<Zeroizing<Vec<u8>>>,
    /// What the key is for.
    pub validity: KeyValidity,
}

impl KeyData {
    /// A key with an SPI.
    pub fn with_spi(key_type: u8, key: &[u8], spi: &[u8]) -> Self {
        Self {
            key_type,
            key: Zeroizing::new(key.to_vec()),
            salt: None,
            validity: KeyValidity::Spi(spi.to_vec()),
        }
    }

    /// A second key with the same octets.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            key_type: self.key_type,
            key: self.key.clone(),
            salt: self.salt.clone(),
            validity: self.validity.clone(),
        }
    }

    /// Its SPI, empty if it has none.
    pub fn spi(&self) -> &[u8] {
        match &self.validity {
            KeyValidity::Spi(spi) => spi,
            _ => &[],
        }
    }

    /// Whether it is the type `plain` or the same with a salt.
    pub fn is(&self, plain: u8) -> bool {
        self.key_type == plain || plain < key_type::MPK && self.key_type == plain + 1
    }
}

/// Reads the decrypted content of a KEMAC.
pub fn parse_keys(plaintext: &[u8], limits: &Limits) -> Result<Vec<KeyData>, Error> {
    let c = &mut Cursor::new(plaintext);
    let mut keys = Vec::new();
    loop {
        if keys.len() >= limits.keys {
            return Err(Error::Limit { what: "keys", at: c.position() });
        }
        let next_at = c.position();
        let next = c.u8("a payload type")?;
        if next != payload_type::LAST && next != payload_type::KEY_DATA {
            return Err(Error::Unsupported { feature: Feature::Payload(next), at: next_at });
        }
        let at = c.position();
        let kinds = c.u8("a key type")?;
        let key_type = kinds >> 4;
        if key_type::name(key_type).is_none() {
            return Err(Error::Unsupported { feature: Feature::KeyType(key_type), at });
        }
        let len = c.u16("a key length")?;
        // RFC 6043 §12.1. A key of no octets would make every key derived from it known.
        if usize::from(len) < key::SHORTEST {
            return Err(Error::Key("a key of less than 128 bits"));
        }
        let key = Zeroizing::new(c.take(usize::from(len), "a key")?.to_vec());
        let salt = match key_type {
            key_type::TGK_SALT | key_type::TEK_SALT | key_type::GTGK_SALT => {
                let len = c.u16("a salt length")?;
                Some(Zeroizing::new(c.take(usize::from(len), "a salt")?.to_vec()))
            }
            _ => None,
        };
        let validity = KeyValidity::parse(kinds & 0xF, at, c)?;
        keys.push(KeyData { key_type, key, salt, validity });
        if next == payload_type::LAST {
            break;
        }
    }
    if c.is_empty() { Ok(keys) } else { Err(c.error("nothing after the last key").into()) }
}

/// Writes the content of a KEMAC, not yet encrypted.
pub fn print_keys(keys: &[KeyData]) -> Zeroizing<Vec<u8>> {
    // Room for everything, so that no half-written copy stays behind when a vector grows.
    let room = keys.iter().map(|k| 520 + k.key.len() + k.salt.as_ref().map_or(0, |s| s.len())).sum();
    let mut w = Writer(Vec::with_capacity(room));
    for (i, key) in keys.iter().enumerate() {
        w.u8(if i + 1 == keys.len() { payload_type::LAST } else { payload_type::KEY_DATA });
        w.u8(key.key_type << 4 | key.validity.type_number());
        w.len16(&key.key);
        if let Some(salt) = &key.salt {
            w.len16(salt);
        }
        key.validity.print(&mut w);
    }
    Zeroizing::new(w.0)
}
