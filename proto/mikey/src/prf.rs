//! The two pseudo-random functions (RFC 3830 §4.1.2, RFC 6043 §6.1) and the labels they are
//! given (RFC 6043 §5.1, §6.10, §A.2).
//!
//! The labels of plain RFC 3830 are not here: none of its exchanges is.

use crate::Error;
use crate::error::Feature;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

/// A pseudo-random function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prf {
    /// Number 0, MIKEY-1, made of HMAC-SHA-1.
    Mikey1,
    /// Number 1, PRF-HMAC-SHA-256.
    HmacSha256,
}

impl Prf {
    /// By its number in the common header and in the ticket policy.
    pub fn from_number(number: u8) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Mikey1),
            1 => Ok(Self::HmacSha256),
            n => Err(Error::unsupported(Feature::Prf(n))),
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::Mikey1 => 0,
            Self::HmacSha256 => 1,
        }
    }

    /// Octets the underlying HMAC yields.
    fn block(self) -> usize {
        match self {
            Self::Mikey1 => 20,
            Self::HmacSha256 => 32,
        }
    }

    /// Derives `out_len` octets from `inkey` and `label`.
    pub fn derive(self, inkey: &[u8], label: &[u8], out_len: usize) -> Zeroizing<Vec<u8>> {
        Inkey::new(self, inkey).derive(label, out_len)
    }
}

/// A key to derive from. What the hash makes of the key alone is kept, because several keys follow
/// from most.
pub(crate) struct Inkey {
    prf: Prf,
    segments: Vec<MacKey>,
}

impl Inkey {
    pub fn new(prf: Prf, octets: &[u8]) -> Self {
        // RFC 3830 §4.1.2: the key is cut in segments of 256 bits, for either PRF (RFC 6043 §6.1).
        const SEGMENT: usize = 32;
        Self { prf, segments: octets.chunks(SEGMENT).map(|s| MacKey::new(prf, s)).collect() }
    }

    /// Derives `out_len` octets with `label`.
    pub fn derive(&self, label: &[u8], out_len: usize) -> Zeroizing<Vec<u8>> {
        let block = self.prf.block();
        let m = out_len.div_ceil(block);
        let mut out = Zeroizing::new(vec![0; m * block]);
        for segment in &self.segments {
            let mut a = segment.mac(&[label]);
            for (i, chunk) in out.chunks_mut(block).enumerate() {
                if i > 0 {
                    a = segment.mac(&[a.octets()]);
                }
                let p = segment.mac(&[a.octets(), label]);
                chunk.iter_mut().zip(p.octets()).for_each(|(o, p)| *o ^= p);
            }
        }
        out.truncate(out_len);
        out
    }
}

/// A key of HMAC-SHA-1 or HMAC-SHA-256, erased on drop.
pub(crate) enum MacKey {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

impl MacKey {
    /// The key of the HMAC that `prf` is made of.
    pub fn new(prf: Prf, octets: &[u8]) -> Self {
        let any = "HMAC takes a key of any length";
        match prf {
            Prf::Mikey1 => Self::Sha1(Hmac::new_from_slice(octets).expect(any)),
            Prf::HmacSha256 => Self::Sha256(Hmac::new_from_slice(octets).expect(any)),
        }
    }

    /// The MAC over the concatenation of `parts`.
    pub fn mac(&self, parts: &[&[u8]]) -> Digest {
        let mut octets = Zeroizing::new([0; 32]);
        let len = match self {
            Self::Sha1(key) => finish(key.clone(), parts, &mut octets),
            Self::Sha256(key) => finish(key.clone(), parts, &mut octets),
        };
        Digest { octets, len }
    }
}

/// What an HMAC yields, erased on drop.
pub(crate) struct Digest {
    octets: Zeroizing<[u8; 32]>,
    len: usize,
}

impl Digest {
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

fn finish<M: Mac>(mut mac: M, parts: &[&[u8]], out: &mut [u8; 32]) -> usize {
    parts.iter().for_each(|p| mac.update(p));
    let made = mac.finalize().into_bytes();
    out.iter_mut().zip(made.iter()).for_each(|(o, m)| *o = *m);
    made.len()
}

/// First word of a label: consecutive groups of nine decimals of *e* (RFC 3830 §4.1.3, §4.1.4,
/// RFC 6043 §5.1.1, §A.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Constant {
    /// TEK from a TGK or GTGK.
    Tek = 0x2AD0_1C64,
    /// Authentication key from a TGK.
    TgkAuth = 0x1B5C_7973,
    /// Encryption key from a TGK.
    TgkEncr = 0x1579_8CEF,
    /// Encryption key of a message or ticket.
    Encr = 0x1505_33E1,
    /// Authentication key of a message or ticket.
    Auth = 0x2D22_AC75,
    /// Salting key of a message or ticket.
    Salt = 0x29B8_8916,
    /// Salting key from a TGK.
    TgkSalt = 0x39A2_C14B,
    /// Forked MPKr.
    ForkedMpkr = 0x2B28_8856,
    /// Forked TGK.
    ForkedTgk = 0x1512_B54A,
    /// MPKi from the MPK of a ticket.
    Mpki = 0x220E_99A2,
    /// MPKr from the MPK of a ticket.
    Mpkr = 0x1F4D_675B,
}

/// What a label says about the place the derived key is used in.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// Forked keys (RFC 6043 §5.1.1).
    Fork {
        /// ID Data of the responder's identity.
        id_data: &'a [u8],
        /// RANDRkms.
        rand_kms: &'a [u8],
    },
    /// Protection of a message (RFC 6043 §5.1.2).
    Message {
        /// Crypto session bundle.
        csb_id: u32,
        /// Whether it is the response rather than the initial message.
        response: bool,
        /// RANDRi, empty when omitted.
        rand_i: &'a [u8],
        /// RANDRr, empty when omitted.
        rand_r: &'a [u8],
    },
    /// Traffic keys (RFC 6043 §5.1.3).
    Traffic {
        /// Crypto session.
        cs_id: u8,
        /// RANDRi, empty when omitted.
        rand_i: &'a [u8],
        /// RANDRr, empty when omitted.
        rand_r: &'a [u8],
    },
    /// The Vr payload of Initiator Data (RFC 6043 §6.10).
    InitiatorData,
    /// Protection of a base ticket (RFC 6043 §A.2.1).
    Ticket {
        /// RAND of the ticket.
        rand: &'a [u8],
    },
    /// MPKi and MPKr (RFC 6043 §A.2.2).
    ProtectionKeys {
        /// RAND of the ticket.
        rand: &'a [u8],
    },
}

/// Builds a label.
pub fn label(constant: Constant, purpose: Purpose<'_>) -> Vec<u8> {
    const NO_CSB: u32 = 0xFFFF_FFFF;
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(&(constant as u32).to_be_bytes());
    let mut head = |cs_id: u8, csb_id: u32, kind: u8| {
        out.push(cs_id);
        out.extend_from_slice(&csb_id.to_be_bytes());
        out.push(kind);
    };
    match purpose {
        Purpose::Fork { id_data, rand_kms } => {
            head(0xFF, NO_CSB, 0);
            // The only length in a label that has 16 bits.
            let len = u16::try_from(id_data.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(id_data.get(..usize::from(len)).unwrap_or_default());
            push_rand(&mut out, rand_kms);
        }
        Purpose::Message { csb_id, response, rand_i, rand_r } => {
            head(0xFF, csb_id, if response { 2 } else { 1 });
            push_rand(&mut out, rand_i);
            push_rand(&mut out, rand_r);
        }
        Purpose::Traffic { cs_id, rand_i, rand_r } => {
            head(cs_id, NO_CSB, 3);
            push_rand(&mut out, rand_i);
            push_rand(&mut out, rand_r);
        }
        Purpose::InitiatorData => head(0xFF, NO_CSB, 4),
        Purpose::Ticket { rand } => {
            head(0xFF, NO_CSB, 5);
            push_rand(&mut out, rand);
        }
        Purpose::ProtectionKeys { rand } => {
            head(0xFF, NO_CSB, 6);
            push_rand(&mut out, rand);
        }
    }
    out
}

/// Makes the label of another key of the same message out of `label`.
pub(crate) fn put_constant(label: &mut [u8], constant: Constant) {
    label.iter_mut().zip((constant as u32).to_be_bytes()).for_each(|(l, c)| *l = c);
}

/// Length in one octet, then the octets. An omitted RAND is the single octet 0.
fn push_rand(out: &mut Vec<u8>, rand: &[u8]) {
    let len = u8::try_from(rand.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend_from_slice(rand.get(..usize::from(len)).unwrap_or_default());
}
