//! What is sent: octets that follow from a key and a place, so that the receiver knows each of them beforehand.
//!
//! Every session has a key, every direction of it another place in one block of octets that look random. The
//! block is repeated; its length is a prime, so that what is moved by a page, a segment or a buffer never fits
//! by chance. Two stretches that changed places at a distance of a multiple of 65,521 octets are the one
//! thing that is not noticed.

use std::sync::LazyLock;

/// Length of the block in octets.
const PERIOD: usize = 65_521;
/// The longest piece that a piece has.
pub const LONGEST: usize = 64 * 1024;

/// The block, and its beginning once more, so that every piece is in one.
static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut block: Vec<u8> = Vec::with_capacity(PERIOD + LONGEST + 8);
    let mut word = 0;
    while block.len() < PERIOD {
        word += 1;
        block.extend_from_slice(&mix(word).to_le_bytes());
    }
    block.truncate(PERIOD);
    while block.len() < PERIOD + LONGEST {
        let more = (PERIOD + LONGEST - block.len()).min(PERIOD);
        block.extend_from_within(..more);
    }
    block
});

/// SplitMix64.
#[must_use]
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Which way octets go; each way has content of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the one who connected.
    Up,
    /// To it.
    Down,
}

/// The octets of one direction of one session.
#[derive(Debug, Clone, Copy)]
pub struct Content(u64);

impl Content {
    /// Of the session with this key.
    #[must_use]
    pub fn new(key: u64, way: Way) -> Self {
        Self(mix(match way {
            Way::Up => key,
            Way::Down => !key,
        }))
    }

    /// The octets from `at` on, up to `length` and [`LONGEST`] of them.
    #[must_use]
    pub fn piece(self, at: u64, length: usize) -> &'static [u8] {
        let period = PERIOD as u64;
        let start = ((self.0 % period + at % period) % period) as usize;
        BLOCK.get(start..start + length.min(LONGEST)).unwrap_or_default()
    }
}

/// Checks what comes, octet by octet.
#[derive(Debug, Clone, Copy)]
pub struct Checker {
    content: Content,
    /// Octets so far.
    pub at: u64,
    /// The first that was another.
    pub wrong: Option<u64>,
}

impl Checker {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self { content, at: 0, wrong: None }
    }

    /// These came next.
    pub fn take(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let known = self.content.piece(self.at, octets.len());
            let (now, rest) = octets.split_at(known.len());
            if self.wrong.is_none() && now != known {
                let first = now.iter().zip(known).position(|(came, known)| came != known);
                self.wrong = first.map(|first| self.at + first as u64);
            }
            self.at += now.len() as u64;
            octets = rest;
        }
    }
}

/// Octets of a [`Trailer`].
pub const TRAILER: usize = 24;

/// What the server says at the end of a session: how many octets it has sent before, how many it got, and
/// which of them was the first that was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Octets of content that it sent.
    pub sent: u64,
    /// Octets that it got.
    pub received: u64,
    /// The first wrong one.
    pub wrong: Option<u64>,
}

impl Trailer {
    /// As it is sent.
    #[must_use]
    pub fn octets(self) -> [u8; TRAILER] {
        let mut out = [0; TRAILER];
        let words = [self.sent, self.received, self.wrong.unwrap_or(u64::MAX)];
        for (place, word) in out.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        out
    }

    /// As it came.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; TRAILER] = octets.try_into().ok()?;
        let (words, _) = octets.as_chunks::<8>();
        let [sent, received, wrong] = words else { return None };
        let wrong = Some(u64::from_be_bytes(*wrong)).filter(|wrong| *wrong != u64::MAX);
        Some(Self { sent: u64::from_be_bytes(*sent), received: u64::from_be_bytes(*received), wrong })
    }
}

/// Checks content that a [`Trailer`] ends, of which nobody knows beforehand where it begins.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What was checked.
    pub checker: Checker,
    held: Vec<u8>,
}

impl Ended {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self { checker: Checker::new(content), held: Vec::with_capacity(2 * TRAILER) }
    }

    /// These came next: the last octets are kept back, they may be the trailer.
    pub fn take(&mut self, octets: &[u8]) {
        let sure = (self.held.len() + octets.len()).saturating_sub(TRAILER);
        let of_held = sure.min(self.held.len());
        self.checker.take(self.held.get(..of_held).unwrap_or_default());
        self.held.drain(..of_held);
        let (now, rest) = octets.split_at(sure - of_held);
        self.checker.take(now);
        self.held.extend_from_slice(rest);
    }

    /// The trailer, when all has come.
    #[must_use]
    pub fn trailer(&self) -> Option<Trailer> {
        Trailer::read(&self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(content: Content, length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < length {
            out.extend_from_slice(content.piece(out.len() as u64, (length - out.len()).min(1_000)));
        }
        out
    }

    #[test]
    fn content_is_the_same_however_it_is_cut() {
        let content = Content::new(7, Way::Up);
        let sent = all(content, 300_000);
        for size in [1, 24, 4_096, 65_536, 200_000] {
            let mut checker = Checker::new(content);
            for piece in sent.chunks(size) {
                checker.take(piece);
            }
            assert_eq!((checker.at, checker.wrong), (300_000, None), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_wrong_missing_twice_or_elsewhere_is_found() {
        let content = Content::new(7, Way::Up);
        let sent = all(content, 300_000);
        let first = |came: &[u8]| {
            let mut checker = Checker::new(content);
            checker.take(came);
            checker.wrong
        };
        let mut changed = sent.clone();
        changed[123_456] ^= 1;
        assert_eq!(first(&changed), Some(123_456));
        for step in [1, 1_448, 4_096, 65_536] {
            assert!(first(&[&sent[..100_000], &sent[100_000 + step..]].concat()).is_some(), "{step} lost");
            assert!(first(&[&sent[..100_000], &sent[100_000 - step..]].concat()).is_some(), "{step} twice");
            let (a, b) = (&sent[100_000..100_000 + step], &sent[100_000 + step..100_000 + 2 * step]);
            assert!(first(&[&sent[..100_000], b, a].concat()).is_some(), "{step} changed places");
        }
        assert!(first(&all(Content::new(8, Way::Up), 100)).is_some(), "of another session");
        assert!(first(&all(Content::new(7, Way::Down), 100)).is_some(), "of the other way");
    }

    #[test]
    fn a_trailer_is_told_from_content() {
        let content = Content::new(9, Way::Down);
        let trailer = Trailer { sent: 100_000, received: 5, wrong: None };
        let whole = [all(content, 100_000), trailer.octets().to_vec()].concat();
        for size in [1, 7, 23, 24, 25, 4_096, 200_000] {
            let mut ended = Ended::new(content);
            for piece in whole.chunks(size) {
                ended.take(piece);
            }
            assert_eq!((ended.checker.at, ended.checker.wrong), (100_000, None), "in pieces of {size}");
            assert_eq!(ended.trailer(), Some(trailer));
        }
        let mut ended = Ended::new(content);
        ended.take(&whole[..10]);
        assert_eq!(ended.trailer(), None, "cut short");
        assert_eq!(Trailer::read(&Trailer { wrong: Some(3), ..trailer }.octets()).unwrap().wrong, Some(3));
    }
}
