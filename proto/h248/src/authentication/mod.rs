//! The interim authentication header (RFC 3525 §10.2): made for what is sent, checked on what comes,
//! sans-IO.
//!
//! The fields are those of IPsec's AH (RFC 2402): an index that names key and algorithm, a sequence
//! number, and an integrity check value (ICV) over a made-up IP header and the transactions of the
//! message, octet for octet as they are on the wire. The made-up header is the two IPv4 addresses and the
//! destination port as twenty hexadecimal digits; upper case is written, either is taken. In
//! the binary encoding the transactions are the contents of `messageBody`.
//!
//! What it does not do: hide anything; protect version and sender's name, which stand outside the
//! transactions (a key may be bound to a name instead: [`SecurityAssociation::peer`]); serve IPv6. With
//! the two algorithms of RFC 2402 §5 the ICV does not cover the sequence number, so whoever can write to
//! the network can send a message again under another number; [`Algorithm::HmacSha256_128`], which is our
//! own, covers index and number.

#[cfg(test)]
mod tests;
mod window;

use crate::binary::Unsayable;
use crate::controller::same_peer;
use crate::encoding::{self, Encoding};
use crate::model::{AuthHeader, MId, Message};
use crate::text::Limits;
use hmac::{Hmac, KeyInit, Mac};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use window::Window;
use zeroize::Zeroizing;

/// How the ICV is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC-MD5-96 (RFC 2403): for peers that have nothing else.
    HmacMd5_96,
    /// HMAC-SHA-1-96 (RFC 2404).
    HmacSha1_96,
    /// HMAC-SHA-256-128 (as RFC 4868), over index and sequence number too. Not in RFC 3525.
    HmacSha256_128,
}

impl Algorithm {
    /// Octets of an ICV.
    pub fn length(self) -> usize {
        match self {
            Self::HmacMd5_96 | Self::HmacSha1_96 => 12,
            Self::HmacSha256_128 => 16,
        }
    }

    /// The ICV over the made-up header in `digits` and the transactions in `body`.
    fn value(self, key: &Key, digits: &[u8], spi: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut value = match self {
            Self::HmacMd5_96 => mac::<Hmac<md5::Md5>>(key, &[digits, body]),
            Self::HmacSha1_96 => mac::<Hmac<sha1::Sha1>>(key, &[digits, body]),
            Self::HmacSha256_128 => {
                let parts = [digits, &spi.to_be_bytes(), &sequence.to_be_bytes(), body];
                mac::<Hmac<sha2::Sha256>>(key, &parts)
            }
        };
        value.truncate(self.length());
        value
    }
}

fn mac<M: Mac + KeyInit>(key: &Key, parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes a key of any length.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(&key.0) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// A key: 16 to 64 octets, wiped when dropped.
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// Copies `octets`; wiping the original is the caller's part. `None` unless there are 16 to 64.
    pub fn new(octets: &[u8]) -> Option<Self> {
        (16..=64).contains(&octets.len()).then(|| Self(Zeroizing::new(octets.to_vec())))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What an index stands for.
#[derive(Debug)]
pub struct SecurityAssociation {
    /// How the ICV is computed.
    pub algorithm: Algorithm,
    /// With which key.
    pub key: Key,
    /// The only one whose messages this key may prove, and who is written to with it; none lets
    /// whoever has it speak under any name.
    pub peer: Option<MId>,
}

/// What the ICV covers besides the transactions: the header that is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpHeader {
    /// The sender's address.
    pub source: Ipv4Addr,
    /// The receiver's.
    pub destination: Ipv4Addr,
    /// The receiver's port, UDP or TCP.
    pub port: u16,
}

impl IpHeader {
    fn digits(self) -> [u8; 20] {
        let mut octets = [0; 10];
        let parts = self.source.octets().into_iter().chain(self.destination.octets());
        octets.iter_mut().zip(parts.chain(self.port.to_be_bytes())).for_each(|(to, from)| *to = from);
        let mut digits = [0; 20];
        for (pair, octet) in digits.chunks_exact_mut(2).zip(octets) {
            pair.iter_mut().zip([octet >> 4, octet & 15]).for_each(|(digit, value)| {
                *digit = b"0123456789ABCDEF".get(usize::from(value)).copied().unwrap_or(b'0');
            });
        }
        digits
    }
}

/// Why a message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no authentication header, or came over IPv6, where there is none.
    #[error("it has no authentication header")]
    Missing,
    /// Its index stands for nothing here.
    #[error("there is no key with index {0:#010X}")]
    UnknownIndex(u32),
    /// The check value is not what our key gives: another key, other addresses, or altered.
    #[error("its check value is wrong")]
    Wrong,
    /// The key belongs to somebody of another name.
    #[error("its key is not that of the sender it names")]
    NotTheirs,
    /// The number was there already, or is too old to tell.
    #[error("its sequence number {0} was there before")]
    Replayed(u32),
}

impl Refusal {
    /// The H.248.8 error code: unauthorized.
    pub fn code(self) -> u16 {
        402
    }
}

/// The keys of an entity, and what it knows of those who use them.
#[derive(Debug)]
pub struct Authentication {
    associations: BTreeMap<u32, SecurityAssociation>,
    required: bool,
    replay: bool,
    /// The number of the next message.
    sequence: u32,
    senders: HashMap<(u32, Ipv4Addr), Sender>,
}

/// Who has proven a key from an address.
#[derive(Debug)]
struct Sender {
    window: Window,
    heard: Instant,
}

/// Senders remembered; when there are more, the one not heard for longest is forgotten.
const SENDERS: usize = 1024;
/// A sender silent for so long may count anew: it has started again (LONG-TIMER, RFC 3525 §D.1.1).
const SILENCE: Duration = Duration::from_secs(30);

impl Authentication {
    /// `required`: messages without the header are refused. `replay`: numbers that were there are refused;
    /// turn it off for peers that do not count. `sequence`: our first number, higher than all that our
    /// peers have seen; taken from a clock, it is so after a restart too.
    pub fn new(
        associations: BTreeMap<u32, SecurityAssociation>,
        required: bool,
        replay: bool,
        sequence: u32,
    ) -> Self {
        Self { associations, required, replay, sequence, senders: HashMap::new() }
    }

    /// Whether messages without the header are refused.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Writes a message with the header. The key is that of `peer`, if one is; or the one that came last
    /// from where the message goes; or the first that is nobody's.
    ///
    /// # Errors
    /// As [`Encoding::print`].
    pub fn print(
        &mut self,
        encoding: Encoding,
        header: IpHeader,
        peer: Option<&MId>,
        message: &mut Message,
    ) -> Result<Vec<u8>, Unsayable> {
        message.auth = None;
        let octets = encoding.print(message)?;
        let Some(spi) = self.index_for(header.destination, peer) else { return Ok(octets) };
        let Some(association) = self.associations.get(&spi) else { return Ok(octets) };
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        // What we print has a body where our own reader finds it.
        let any = Limits { octets: usize::MAX, ..Limits::default() };
        let body = encoding::body(&octets, &any).unwrap_or_default();
        let data = association.algorithm.value(&association.key, &header.digits(), spi, sequence, body);
        message.auth = Some(AuthHeader { spi, sequence, data });
        encoding.print(message)
    }

    /// Whether a message is what its sender sent. `octets` are those it was read from.
    ///
    /// # Errors
    /// [`Refusal`]: drop it.
    pub fn check(
        &mut self,
        now: Instant,
        header: Option<IpHeader>,
        octets: &[u8],
        limits: &Limits,
        message: &Message,
    ) -> Result<(), Refusal> {
        let (Some(header), Some(auth)) = (header, &message.auth) else {
            return if self.required { Err(Refusal::Missing) } else { Ok(()) };
        };
        let association = self.associations.get(&auth.spi).ok_or(Refusal::UnknownIndex(auth.spi))?;
        let body = encoding::body(octets, limits).map_err(|_| Refusal::Wrong)?;
        let upper = header.digits();
        let proven = [upper, upper.map(|digit| digit.to_ascii_lowercase())].iter().any(|digits| {
            let value = association.algorithm.value(&association.key, digits, auth.spi, auth.sequence, body);
            bool::from(value.as_slice().ct_eq(&auth.data))
        });
        if !proven {
            return Err(Refusal::Wrong);
        }
        if association.peer.as_ref().is_some_and(|peer| !same_peer(peer, &message.mid)) {
            return Err(Refusal::NotTheirs);
        }
        self.heard(now, auth, header.source)
    }

    /// Notes the number of a message that is proven (RFC 2402 §3.4.3).
    fn heard(&mut self, now: Instant, auth: &AuthHeader, source: Ipv4Addr) -> Result<(), Refusal> {
        let who = (auth.spi, source);
        if let Some(sender) = self.senders.get_mut(&who)
            && now.saturating_duration_since(sender.heard) < SILENCE
        {
            if !sender.window.take(auth.sequence) && self.replay {
                return Err(Refusal::Replayed(auth.sequence));
            }
            sender.heard = now;
            return Ok(());
        }
        if self.senders.len() >= SENDERS
            && let Some(oldest) = self.senders.iter().min_by_key(|(_, s)| s.heard).map(|(who, _)| *who)
        {
            self.senders.remove(&oldest);
        }
        self.senders.insert(who, Sender { window: Window::at(auth.sequence), heard: now });
        Ok(())
    }

    fn index_for(&self, destination: Ipv4Addr, peer: Option<&MId>) -> Option<u32> {
        let of_peer = peer.and_then(|peer| {
            let theirs =
                |a: &SecurityAssociation| a.peer.as_ref().is_some_and(|named| same_peer(named, peer));
            self.associations.iter().find(|(_, a)| theirs(a)).map(|(spi, _)| *spi)
        });
        let came_last = || {
            let from_there = self.senders.iter().filter(|((_, source), _)| *source == destination);
            from_there.max_by_key(|(_, sender)| sender.heard).map(|((spi, _), _)| *spi)
        };
        let nobodys = || self.associations.iter().find(|(_, a)| a.peer.is_none()).map(|(spi, _)| *spi);
        of_peer.or_else(came_last).or_else(nobodys)
    }
}
