//! MSRP both ways over one connection (RFC 4975): messages of ours and answers to them, messages of the other side's and our answers.

use std::io;

use carnet_msrp::{Decoder, Limits, Piece, Start};

use crate::peer::{Manner, Receiving, Sending};

/// Both halves.
pub struct Talk {
    decoder: Decoder,
    /// What comes.
    pub receiving: Receiving,
    /// What goes.
    pub sending: Sending,
    manner: Manner,
    /// Messages that were begun.
    pub said: u64,
    /// The frame that is being read is a request of the other side's.
    theirs: bool,
}

impl Talk {
    /// Messages like these, of the session with the first key; from the other side those of the second, or of any.
    #[must_use]
    pub fn new(manner: Manner, own: u64, other: Option<u64>) -> Self {
        Self {
            decoder: Decoder::new(Limits::default()),
            receiving: Receiving::of(other),
            sending: Sending::new(own),
            manner,
            said: 0,
            theirs: false,
        }
    }

    /// Begins a message.
    ///
    /// # Errors
    ///
    /// None that are known.
    pub fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.said += 1;
        self.sending.begin(&self.manner, out)
    }

    /// A request without a body: by which a connection is known, or whose answer says that all before it arrived.
    ///
    /// # Errors
    ///
    /// None that are known.
    pub fn introduce(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.sending.introduce(&self.manner, out)
    }

    /// Octets of a message.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.manner.size as u64
    }

    /// Reads; answers go to `out`.
    ///
    /// # Errors
    ///
    /// If it is no MSRP of the other side's, or refuses something.
    pub fn take(&mut self, mut octets: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let decoded = self.decoder.decode(octets);
            let (taken, piece) =
                decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            octets = octets.get(taken..).unwrap_or_default();
            let Some(piece) = piece else { return Ok(()) };
            if let Piece::Head(head) = &piece {
                self.theirs = matches!(&head.start, Start::Request(method) if method == "SEND");
            }
            if self.theirs {
                self.receiving.hear(piece, out)?;
            } else {
                self.sending.hear(piece)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (Talk, Talk) {
        let manner = |to: &str, from: &str| Manner {
            size: 5_000,
            chunk: 2_000,
            reports: true,
            paths: (format!("msrp://127.0.0.1:9/{to};tcp"), format!("msrp://127.0.0.1:9/{from};tcp")),
        };
        (Talk::new(manner("b", "a"), 7, Some(8)), Talk::new(manner("a", "b"), 8, Some(7)))
    }

    #[test]
    fn messages_and_answers_share_a_connection() {
        let (mut a, mut b) = ends();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        a.introduce(&mut there).unwrap();
        for round in 1..=3 {
            a.begin(&mut there).unwrap();
            b.begin(&mut back).unwrap();
            while !there.is_empty() || !back.is_empty() {
                let (to_b, to_a) = (std::mem::take(&mut there), std::mem::take(&mut back));
                to_b.chunks(777).for_each(|piece| b.take(piece, &mut back).unwrap());
                to_a.chunks(777).for_each(|piece| a.take(piece, &mut there).unwrap());
            }
            for end in [&a, &b] {
                assert!(end.sending.is_answered() && end.receiving.wrong.is_none());
                assert_eq!((end.receiving.messages, end.receiving.octets), (round, 5_000 * round));
            }
        }
    }

    #[test]
    fn messages_of_another_session_are_refused() {
        let (_, mut b) = ends();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let manner = Manner {
            size: 5,
            chunk: 5,
            reports: false,
            paths: ("msrp://b;tcp".into(), "msrp://a;tcp".into()),
        };
        Talk::new(manner, 99, None).begin(&mut there).unwrap();
        assert!(b.take(&there, &mut back).unwrap_err().to_string().contains("somebody else"));
    }
}
