//! One session of a client.

use std::io::{self, ErrorKind};

use crate::content::{Checker, Content, Ended, LONGEST, Way};
use crate::greeting::{Greeting, Kind};
use crate::peer::{Manner, Sender};
use crate::wire::Wire;

/// Reads and writes before others have their turn.
const TURN: usize = 16;

/// What a session brought, or that it has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// For the other side.
    Waits,
    /// There is more to do at once.
    More,
    /// An answer is whole: the next message may be sent.
    Answered,
    /// It ended in order.
    Over,
    /// Something that came, here or there, was not what was sent.
    Corrupt(String),
}

enum Work {
    /// Bulk: how much was sent, and what comes. `None` in the way that is not part of it.
    Bulk {
        up: Option<Content>,
        sent: u64,
        down: Option<Ended>,
        trailer: Ended,
    },
    /// Messages that come back.
    Echo {
        up: Content,
        sent: u64,
        back: Checker,
    },
    Msrp(Box<Sender>),
}

/// A session.
pub struct Session {
    wire: Wire,
    work: Work,
    /// Something may be read, or written.
    pub readable: bool,
    /// The same.
    pub writable: bool,
    /// The other side has ended.
    pub ended: bool,
    /// Nothing more is begun.
    pub stopping: bool,
    finished: bool,
    /// A message is out whose answer is not whole.
    busy: bool,
    pending: Vec<u8>,
    written: usize,
    /// Octets that arrived, there or here.
    pub octets: u64,
}

impl Session {
    /// A session over a connection that may still be made.
    pub fn new(wire: Wire, kind: Option<Kind>, key: u64) -> Self {
        let (up, down) = (Content::new(key, Way::Up), Content::new(key, Way::Down));
        let work = match kind {
            None => Work::Msrp(Box::new(Sender::new(key))),
            Some(Kind::Echo | Kind::Stalled) => Work::Echo { up, sent: 0, back: Checker::new(up) },
            Some(kind) => Work::Bulk {
                up: (kind != Kind::Down).then_some(up),
                sent: 0,
                down: (kind != Kind::Up).then(|| Ended::new(down)),
                trailer: Ended::new(down),
            },
        };
        let pending = kind.map_or_else(Vec::new, |kind| Greeting { kind, key }.octets().to_vec());
        Self {
            wire,
            work,
            readable: true,
            writable: true,
            ended: false,
            stopping: false,
            finished: false,
            busy: false,
            pending,
            written: 0,
            octets: 0,
        }
    }

    /// Whether the answer to a message is awaited.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether messages are sent over it, one after the other.
    pub fn talks(&self) -> bool {
        !matches!(self.work, Work::Bulk { .. })
    }

    /// Begins a message.
    ///
    /// # Errors
    ///
    /// None that are known.
    pub fn say(&mut self, manner: &Manner) -> io::Result<()> {
        self.busy = true;
        match &mut self.work {
            Work::Bulk { .. } => Ok(()),
            Work::Echo { up, sent, .. } => {
                let end = *sent + manner.size as u64;
                while *sent < end {
                    let piece = up.piece(*sent, (end - *sent) as usize);
                    self.pending.extend_from_slice(piece);
                    *sent += piece.len() as u64;
                }
                Ok(())
            }
            Work::Msrp(sender) => sender.begin(manner, &mut self.pending),
        }
    }

    /// Goes on as far as the connection lets it.
    ///
    /// # Errors
    ///
    /// If the connection fails, or ends too early.
    pub fn drive(&mut self, buffer: &mut [u8]) -> io::Result<Step> {
        for _ in 0..TURN {
            let wrote = self.writable && self.write()?;
            let mut read = false;
            if self.readable {
                match self.wire.read(buffer) {
                    Ok(0) => return self.conclude(),
                    Ok(octets) => {
                        read = true;
                        if octets < buffer.len() && !self.ended && matches!(self.wire, Wire::Plain(_)) {
                            self.readable = false;
                        }
                        let step = self.take(buffer.get(..octets).unwrap_or_default())?;
                        if step != Step::Waits {
                            return Ok(step);
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                    // The first words of TCP are those of `connect`.
                    Err(error) if error.kind() == ErrorKind::NotConnected => self.readable = false,
                    Err(error) => return Err(error),
                }
            }
            if !wrote && !read {
                return Ok(Step::Waits);
            }
        }
        Ok(Step::More)
    }

    fn take(&mut self, octets: &[u8]) -> io::Result<Step> {
        match &mut self.work {
            Work::Bulk { down: Some(down), .. } => {
                down.take(octets);
                // What is wrong is told at the end, with how much it was.
            }
            Work::Bulk { trailer, .. } => trailer.take(octets),
            Work::Echo { back, sent, .. } => {
                back.take(octets);
                if let Some(wrong) = back.wrong {
                    return Ok(Step::Corrupt(format!("octet {wrong} came back as another")));
                }
                if back.at > *sent {
                    return Ok(Step::Corrupt(format!("{} octets came back of {sent}", back.at)));
                }
                self.octets += octets.len() as u64;
                if self.busy && back.at == *sent {
                    self.busy = false;
                    return Ok(Step::Answered);
                }
            }
            Work::Msrp(sender) => {
                self.octets += octets.len() as u64;
                let whole = sender.take(octets);
                match whole {
                    Ok(true) if self.busy => {
                        self.busy = false;
                        return Ok(Step::Answered);
                    }
                    Ok(_) => {}
                    Err(error) => return Ok(Step::Corrupt(error.to_string())),
                }
            }
        }
        Ok(Step::Waits)
    }

    fn write(&mut self) -> io::Result<bool> {
        let written = if let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            let length = rest.len();
            self.wire.write(rest).map(|octets| {
                self.written += octets;
                if octets == length {
                    self.pending.clear();
                    self.written = 0;
                }
                octets == length
            })
        } else if let Work::Bulk { up: Some(content), sent, .. } = &mut self.work
            && (!self.stopping || self.wire.is_stuck())
        {
            self.wire.write(content.piece(*sent, LONGEST)).map(|octets| {
                *sent += octets as u64;
                octets == LONGEST
            })
        } else if self.stopping && !self.finished && !self.busy {
            self.finished = true;
            // The end of one that never stood is told by the next read.
            let _ = self.wire.finish();
            return Ok(true);
        } else {
            return Ok(false);
        };
        match written {
            Ok(all) => {
                self.writable = all || matches!(self.wire, Wire::Tls(..));
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                self.writable = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The other side has ended: whether everything arrived.
    fn conclude(&mut self) -> io::Result<Step> {
        if !self.finished || self.busy {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Work::Bulk { up, sent, down, trailer } = &self.work else { return Ok(Step::Over) };
        let ended = down.as_ref().unwrap_or(trailer);
        let got = ended.checker;
        let Some(told) = ended.trailer() else {
            return Ok(Step::Corrupt(format!("cut short after {} octets", got.at)));
        };
        if let Some(wrong) = got.wrong {
            return Ok(Step::Corrupt(format!("octet {wrong} of {} that came was another", got.at)));
        }
        if got.at != told.sent {
            return Ok(Step::Corrupt(format!("{} octets came of {}", got.at, told.sent)));
        }
        if up.is_some()
            && let Some(wrong) = told.wrong
        {
            return Ok(Step::Corrupt(format!("octet {wrong} of {sent} arrived as another")));
        }
        if up.is_some() && told.received != *sent {
            return Ok(Step::Corrupt(format!("{} octets arrived of {sent}", told.received)));
        }
        self.octets = got.at + told.received;
        Ok(Step::Over)
    }
}
