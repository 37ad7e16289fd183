//! The two forms of capture files (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng).
//!
//! The file is pushed in pieces, packets are asked for until there is none. At most one block and what was
//! pushed behind it is held. Blocks that hold no packet, secrets among them, are passed over unread.

use crate::fields::{Order, u32_at};
use bytes::{Buf, Bytes, BytesMut};
use std::time::Duration;

/// Largest block that is held, octets. Wireshark takes packets of 262,144; some cards hand on larger ones.
const LARGEST: usize = 16 << 20;
/// Interfaces of a section. Nobody has more than some dozens.
const INTERFACES: usize = 4096;

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// A packet as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its place in the file, from 1.
    pub number: u64,
    /// Since 1970-01-01 UTC. A packet without a time has that of the one before it.
    pub at: Duration,
    /// What it begins with, a number of the registry of link types; see [`crate::link`].
    pub link: u16,
    /// What was kept of it.
    pub octets: Bytes,
    /// How long it was on the wire.
    pub length: usize,
}

/// What is wrong with a file. Nothing after it can be read; what came before is good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It begins like no capture file.
    #[error("this is no capture file: {0}")]
    NotCapture(&'static str),
    /// A field says what cannot be.
    #[error("the file is damaged at octet {at}: {what}")]
    Damaged {
        /// Where the block or record begins, octets from the start of the file.
        at: u64,
        /// What cannot be.
        what: &'static str,
    },
    /// The file ends inside a block.
    #[error("the file ends inside a packet at octet {at}; it was cut, or is still being written")]
    Cut {
        /// Where the block or record begins.
        at: u64,
    },
}

/// Reads one file.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: BytesMut,
    /// Octets before the buffer.
    offset: u64,
    /// Octets to pass over.
    skip: u64,
    form: Option<Form>,
    packets: u64,
    last: Duration,
}

#[derive(Debug)]
enum Form {
    Pcap { order: Order, link: u16, nanoseconds: bool },
    Pcapng { order: Order, interfaces: Vec<Interface> },
}

#[derive(Debug)]
struct Interface {
    link: u16,
    snap: usize,
    /// Units of time a second.
    per_second: u64,
    /// Seconds to add.
    offset: i64,
}

/// What a step through the buffer found.
enum Step {
    Packet(Packet),
    Passed,
    More,
}

impl Reader {
    /// At the start of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next octets of the file. Ask [`next`](Self::next) until it has nothing more before the next push.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next packet, if it is whole.
    ///
    /// # Errors
    /// [`Error`]; asked again it says the same.
    #[expect(clippy::should_implement_trait, reason = "a packet may yet come: not an iterator")]
    pub fn next(&mut self) -> Result<Option<Packet>, Error> {
        loop {
            let over = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.buffer.len());
            self.pass(over);
            self.skip -= over as u64;
            if self.skip > 0 {
                return Ok(None);
            }
            let step = match &self.form {
                None => self.begin()?,
                Some(Form::Pcap { order, link, nanoseconds }) => self.record(*order, *link, *nanoseconds)?,
                Some(Form::Pcapng { order, .. }) => self.block(*order)?,
            };
            match step {
                Step::Packet(packet) => return Ok(Some(packet)),
                Step::Passed => {}
                Step::More => return Ok(None),
            }
        }
    }

    /// Says whether the file may end here, once [`next`](Self::next) has nothing more.
    ///
    /// # Errors
    /// [`Error::Cut`], or [`Error::NotCapture`] for a file that is too short to be one.
    pub fn finish(&self) -> Result<(), Error> {
        match (&self.form, self.buffer.is_empty() && self.skip == 0) {
            (None, true) => Err(Error::NotCapture("it is empty")),
            (None, false) => Err(Error::NotCapture("it ends in its header")),
            (Some(_), true) => Ok(()),
            (Some(_), false) => Err(Error::Cut { at: self.offset }),
        }
    }

    /// Octets that are held.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    fn pass(&mut self, octets: usize) {
        self.buffer.advance(octets.min(self.buffer.len()));
        self.offset += octets as u64;
    }

    fn damaged<T>(&self, what: &'static str) -> Result<T, Error> {
        Err(Error::Damaged { at: self.offset, what })
    }

    fn begin(&mut self) -> Result<Step, Error> {
        if self.buffer.starts_with(&[0x1f, 0x8b]) {
            return Err(Error::NotCapture("it is compressed; unpack it with gunzip first"));
        }
        if self.buffer.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err(Error::NotCapture("it is compressed; unpack it with unzstd first"));
        }
        let Some(magic) = u32_at(&self.buffer, 0) else { return Ok(Step::More) };
        let (order, nanoseconds) = match magic {
            SECTION => {
                self.form = Some(Form::Pcapng { order: Order::Little, interfaces: Vec::new() });
                return Ok(Step::Passed);
            }
            0xA1B2_C3D4 => (Order::Big, false),
            0xD4C3_B2A1 => (Order::Little, false),
            0xA1B2_3C4D => (Order::Big, true),
            0x4D3C_B2A1 => (Order::Little, true),
            0xA1B2_CD34 | 0x34CD_B2A1 => {
                return Err(Error::NotCapture(
                    "it is the pcap of old Linux kernels; `editcap` can convert it",
                ));
            }
            _ => return Err(Error::NotCapture("it begins neither like pcap nor like pcapng")),
        };
        // §4: magic, versions, two reserved fields, snap length, link type (16 bits) with what there is of an FCS.
        let Some(link) = order.u32_at(&self.buffer, 20) else { return Ok(Step::More) };
        if order.u16_at(&self.buffer, 4) != Some(2) {
            return self.damaged("a version of pcap that nobody writes");
        }
        self.form = Some(Form::Pcap { order, link: (link & 0xffff) as u16, nanoseconds });
        self.pass(24);
        Ok(Step::Passed)
    }

    /// A record of pcap (§5): seconds, fraction, octets kept, octets there were, octets.
    fn record(&mut self, order: Order, link: u16, nanoseconds: bool) -> Result<Step, Error> {
        let field = |at| order.u32_at(&self.buffer, at);
        let (Some(seconds), Some(fraction), Some(kept), Some(length)) =
            (field(0), field(4), field(8), field(12))
        else {
            return Ok(Step::More);
        };
        let kept = kept as usize;
        if kept > LARGEST {
            return self.damaged("a packet of more than 16 MiB");
        }
        let unit = if nanoseconds { 1 } else { 1000 };
        let Some(nanoseconds) = fraction.checked_mul(unit).filter(|n| *n < 1_000_000_000) else {
            return self.damaged("a fraction of a second that is more than one");
        };
        if self.buffer.len() < 16 + kept {
            return Ok(Step::More);
        }
        self.pass(16);
        let octets = self.take(kept);
        Ok(Step::Packet(self.packet(
            Duration::new(seconds.into(), nanoseconds),
            link,
            octets,
            length as usize,
        )))
    }

    fn take(&mut self, octets: usize) -> Bytes {
        self.offset += octets as u64;
        self.buffer.split_to(octets).freeze()
    }

    fn packet(&mut self, at: Duration, link: u16, octets: Bytes, length: usize) -> Packet {
        self.packets += 1;
        self.last = at;
        let length = length.max(octets.len());
        Packet { number: self.packets, at, link, octets, length }
    }

    /// A block of pcapng (§3.1): type, length, body, length again.
    fn block(&mut self, order: Order) -> Result<Step, Error> {
        let mut order = order;
        let Some(kind) = order.u32_at(&self.buffer, 0) else { return Ok(Step::More) };
        if kind == SECTION {
            // §4.1: the order of a section is told by its magic.
            let Some(magic) = u32_at(&self.buffer, 8) else { return Ok(Step::More) };
            order = match magic {
                0x1A2B_3C4D => Order::Big,
                0x4D3C_2B1A => Order::Little,
                _ => return self.damaged("a section without its magic number"),
            };
        }
        let Some(length) = order.u32_at(&self.buffer, 4) else { return Ok(Step::More) };
        let length = length as usize;
        if length < 12 || !length.is_multiple_of(4) {
            return self.damaged("a block whose length cannot be");
        }
        let read = matches!(kind, SECTION | INTERFACE | OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
        if !read {
            self.skip = length as u64;
            return Ok(Step::Passed);
        }
        if length > LARGEST {
            return self.damaged("a block of more than 16 MiB");
        }
        if self.buffer.len() < length {
            return Ok(Step::More);
        }
        if order.u32_at(&self.buffer, length - 4) != Some(length as u32) {
            return self.damaged("a block that says two lengths");
        }
        let at = self.offset;
        let block = self.take(length);
        let body = block.slice(8..length - 4);
        let damaged = |what| Err(Error::Damaged { at, what });
        if kind == SECTION {
            if order.u16_at(&body, 4) != Some(1) {
                return damaged("a version of pcapng that nobody writes");
            }
            self.form = Some(Form::Pcapng { order, interfaces: Vec::new() });
            return Ok(Step::Passed);
        }
        let Some(Form::Pcapng { interfaces, .. }) = &mut self.form else { return Ok(Step::Passed) };
        if kind == INTERFACE {
            if interfaces.len() == INTERFACES {
                return damaged("more than 4,096 interfaces in a section");
            }
            match interface(&body, order) {
                Ok(interface) => interfaces.push(interface),
                Err(what) => return damaged(what),
            }
            return Ok(Step::Passed);
        }
        match packet_block(kind, &body, order, interfaces, self.last) {
            Ok((time, link, octets, length)) => Ok(Step::Packet(self.packet(time, link, octets, length))),
            Err(what) => damaged(what),
        }
    }
}

/// An interface (§4.2) with the options that say what its times mean.
fn interface(body: &[u8], order: Order) -> Result<Interface, &'static str> {
    const SHORT: &str = "an interface that is too short";
    let link = order.u16_at(body, 0).ok_or(SHORT)?;
    let snap = order.u32_at(body, 4).ok_or(SHORT)?;
    let snap = if snap == 0 { usize::MAX } else { snap as usize };
    let mut interface = Interface { link, snap, per_second: 1_000_000, offset: 0 };
    let mut at = 8;
    // Options (§3.5): code, length, value, filled up to four octets.
    while let (Some(code), Some(length)) = (order.u16_at(body, at), order.u16_at(body, at + 2)) {
        let length = usize::from(length);
        let value = body.get(at + 4..at + 4 + length).ok_or("an option that is longer than its block")?;
        match (code, value) {
            (0, _) => break,
            // if_tsresol: the negative power of ten, or of two if the first bit is set.
            (9, [power]) => {
                let base = if power & 0x80 == 0 { 10u64 } else { 2 };
                interface.per_second =
                    base.checked_pow((power & 0x7f).into()).ok_or("times finer than can be counted")?;
            }
            // if_tsoffset: seconds.
            (14, value) if value.len() == 8 => {
                let (first, second) = (order.u32_at(value, 0), order.u32_at(value, 4));
                let (high, low) = match order {
                    Order::Big => (first, second),
                    Order::Little => (second, first),
                };
                let both = u64::from(high.unwrap_or_default()) << 32 | u64::from(low.unwrap_or_default());
                interface.offset = both.cast_signed();
            }
            _ => {}
        }
        at += 4 + length.next_multiple_of(4);
    }
    Ok(interface)
}

type Found = (Duration, u16, Bytes, usize);

/// A packet in one of the three blocks there are for it (§4.3, §4.4, appendix A).
fn packet_block(
    kind: u32,
    body: &Bytes,
    order: Order,
    interfaces: &[Interface],
    last: Duration,
) -> Result<Found, &'static str> {
    const SHORT: &str = "a packet that is longer than its block";
    let field = |at| order.u32_at(body, at).ok_or(SHORT);
    let number = match kind {
        ENHANCED_PACKET => field(0)? as usize,
        OBSOLETE_PACKET => usize::from(order.u16_at(body, 0).ok_or(SHORT)?),
        _ => 0,
    };
    let interface = interfaces.get(number).ok_or("a packet of an interface that was not described")?;
    if kind == SIMPLE_PACKET {
        let length = field(0)? as usize;
        let kept = length.min(interface.snap).min(body.len().saturating_sub(4));
        return Ok((last, interface.link, body.slice(4..4 + kept), length));
    }
    let ticks = u64::from(field(4)?) << 32 | u64::from(field(8)?);
    let (kept, length) = (field(12)? as usize, field(16)? as usize);
    let end = kept.checked_add(20).filter(|end| *end <= body.len()).ok_or(SHORT)?;
    Ok((interface.time(ticks), interface.link, body.slice(20..end), length))
}

impl Interface {
    fn time(&self, ticks: u64) -> Duration {
        let (seconds, rest) = (ticks / self.per_second, ticks % self.per_second);
        let nanoseconds = u128::from(rest) * 1_000_000_000 / u128::from(self.per_second);
        let seconds = seconds.saturating_add_signed(self.offset);
        Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or_default())
    }
}
