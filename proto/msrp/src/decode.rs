//! Frames out of a stream, as octets arrive (RFC 4975 §7.1, §7.3.1, §9).
//!
//! The decoder holds one head at most (bounded by [`Limits`]) and never a body: body octets are
//! handed on as they come. The end of a body is the line end, seven dashes, the transaction
//! identifier, a flag and a line end; anything that only looks like it is body. A candidate that is
//! cut by the end of the input is held back, which needs no buffer: what was matched is known.

use crate::{Continuation, Error, Head, Header, Limits};
use carnet_wire::ParseError;
use memchr::memmem;

/// Something read from the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A frame begins.
    Head(Head),
    /// Octets of its body, in order. Pieces are never empty.
    Body(&'a [u8]),
    /// The frame ended.
    End(Continuation),
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// Octets consumed since the stream began.
    offset: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Collecting lines of a head. `head` is there once the start line is complete.
    Head {
        head: Option<Head>,
        line: Vec<u8>,
        octets: usize,
    },
    /// The head was the last piece, and its end line came with it.
    Ended(Continuation),
    Body(Box<EndLine>),
    Failed(Error),
}

/// How much of the end line has been matched.
#[derive(Debug)]
struct EndLine {
    finder: memmem::Finder<'static>,
    /// Line end, dashes, identifier, flag, line end. The flag is filled in when it is read.
    pattern: Vec<u8>,
    matched: usize,
    /// Octets at the start of `pattern` that were matched without being part of the body: the line
    /// end of the blank line. Some senders write a blank line although they have no body; they
    /// write no Content-Type either. Where there is one, RFC 4975 §9 is taken by the letter.
    borrowed: usize,
}

impl Decoder {
    /// A decoder at the start of a stream. Of `limits`, `head` and `headers` matter.
    pub fn new(limits: Limits) -> Self {
        Self { limits, offset: 0, state: State::new_head() }
    }

    /// Octets consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the stream stands between two frames, where it may end.
    pub fn is_between_frames(&self) -> bool {
        matches!(&self.state, State::Head { head: None, line, .. } if line.is_empty())
    }

    /// Reads from `input` up to the next piece. Returns how many octets were consumed; when there is
    /// no piece, all were.
    ///
    /// # Errors
    /// The octet at which the stream stops being MSRP, or goes over a limit, counted from the start
    /// of the stream. The frame boundary is lost then: each further call fails the same way.
    pub fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<(usize, Option<Piece<'a>>), Error> {
        match &self.state {
            State::Failed(error) => return Err(error.clone()),
            State::Ended(flag) => {
                let flag = *flag;
                self.state = State::new_head();
                return Ok((0, Some(Piece::End(flag))));
            }
            State::Head { .. } => {
                return match self.decode_head(input) {
                    Ok((used, head)) => Ok((used, head.map(Piece::Head))),
                    Err(error) => {
                        self.state = State::Failed(error.clone());
                        Err(error)
                    }
                };
            }
            State::Body(_) => {}
        }
        let State::Body(end) = &mut self.state else { return Ok((0, None)) };
        let (used, found) = end.scan(input);
        self.offset += used as u64;
        let flag = match found {
            Found::Nothing => return Ok((used, None)),
            Found::End(flag) => flag,
            Found::Body(upto) => return Ok((used, Some(Piece::Body(input.get(..upto).unwrap_or_default())))),
            Found::Held(from, to) => {
                let State::Body(end) = &self.state else { return Ok((used, None)) };
                return Ok((used, Some(Piece::Body(end.pattern.get(from..to).unwrap_or_default()))));
            }
        };
        self.state = State::new_head();
        Ok((used, Some(Piece::End(flag))))
    }

    fn decode_head(&mut self, input: &[u8]) -> Result<(usize, Option<Head>), Error> {
        let State::Head { head, line, octets } = &mut self.state else { return Ok((0, None)) };
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|r| !r.is_empty()) {
            let line_end = memchr::memchr(b'\n', rest);
            let part = rest.get(..line_end.map_or(rest.len(), |n| n + 1)).unwrap_or_default();
            let line_at = self.offset - line.len() as u64;
            if *octets + part.len() > self.limits.head {
                return Err(Error::TooLarge { what: "head", at: position(self.offset) });
            }
            line.extend_from_slice(part);
            *octets += part.len();
            used += part.len();
            self.offset += part.len() as u64;
            if head.is_none() {
                // Something else than MSRP shows in the first octets; do not wait for a line end.
                let agree = line.iter().zip(b"MSRP ").take_while(|(a, b)| a == b).count();
                if agree < line.len().min(5) {
                    let at = position(line_at) + agree;
                    return Err(ParseError::new(at, "`MSRP ` at the start of a frame").into());
                }
            }
            if line_end.is_none() {
                break;
            }
            let Some(text) = line.strip_suffix(b"\r\n") else {
                let at = position(line_at) + line.len() - 1;
                return Err(ParseError::new(at, "a carriage return before the line feed").into());
            };
            let shift = |e: ParseError| Error::Malformed(e.shifted(position(line_at)));
            match head {
                None => *head = Some(Head::parse_start(text).map_err(shift)?),
                Some(frame) => {
                    let flag = end_line(text, &frame.tid);
                    if text.is_empty() || flag.is_some() {
                        frame.has_body = flag.is_none();
                        let Some(frame) = head.take() else { return Ok((used, None)) };
                        self.state = match flag {
                            Some(flag) => State::Ended(flag),
                            None => State::Body(Box::new(EndLine::new(&frame))),
                        };
                        return Ok((used, Some(frame)));
                    }
                    if text.starts_with(b"-------") {
                        return Err(shift(ParseError::new(7, "the end line of this transaction")));
                    }
                    if frame.headers.len() >= self.limits.headers {
                        return Err(Error::TooLarge { what: "header fields", at: position(line_at) });
                    }
                    frame.headers.push(Header::parse(text).map_err(shift)?);
                }
            }
            line.clear();
        }
        Ok((used, None))
    }
}

impl State {
    fn new_head() -> Self {
        Self::Head { head: None, line: Vec::new(), octets: 0 }
    }
}

enum Found {
    /// Everything was consumed and nothing can be handed on yet.
    Nothing,
    /// Body octets: the input up to here.
    Body(usize),
    /// Body octets that had been held back: this part of the pattern.
    Held(usize, usize),
    End(Continuation),
}

impl EndLine {
    fn new(head: &Head) -> Self {
        let tid = &head.tid;
        let mut pattern = Vec::with_capacity(tid.len() + 12);
        pattern.extend_from_slice(b"\r\n-------");
        pattern.extend_from_slice(tid.as_bytes());
        let finder = memmem::Finder::new(&pattern).into_owned();
        pattern.extend_from_slice(b"$\r\n");
        let borrowed = if head.get("Content-Type").is_none() { 2 } else { 0 };
        Self { finder, pattern, matched: borrowed, borrowed }
    }

    /// Where the flag stands in the pattern.
    fn flag_at(&self) -> usize {
        self.pattern.len().saturating_sub(3)
    }

    fn scan(&mut self, input: &[u8]) -> (usize, Found) {
        let mut used = 0;
        loop {
            if self.matched > 0 {
                let Some(octet) = input.get(used).copied() else { return (used, Found::Nothing) };
                let is_flag = self.matched == self.flag_at();
                let fits = if is_flag {
                    Continuation::from_octet(octet).is_some()
                } else {
                    self.pattern.get(self.matched) == Some(&octet)
                };
                if !fits {
                    // The octet may itself begin an end line, so it stays in the input. No proper
                    // suffix of what was matched can: only its first octet is a carriage return,
                    // or its last one, which this octet then fails to follow.
                    let (from, to) = (self.borrowed, self.matched);
                    (self.matched, self.borrowed) = (0, 0);
                    if from < to {
                        return (used, Found::Held(from, to));
                    }
                    continue;
                }
                used += 1;
                if is_flag && let Some(slot) = self.pattern.get_mut(self.matched) {
                    *slot = octet;
                }
                self.matched += 1;
                if self.matched == self.pattern.len() {
                    let flag = self.pattern.get(self.flag_at()).copied().and_then(Continuation::from_octet);
                    return (used, Found::End(flag.unwrap_or(Continuation::Aborted)));
                }
                continue;
            }
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return (used, Found::Nothing);
            }
            let (body, matched) = match self.finder.find(rest) {
                Some(at) => (at, self.flag_at()),
                None => {
                    // A start of the end line at the end of the input is held back.
                    let reach = rest.len().saturating_sub(self.flag_at());
                    let tail = rest.get(reach..).unwrap_or_default();
                    match memchr::memrchr(b'\r', tail).and_then(|at| tail.get(at..)) {
                        Some(start) if self.pattern.starts_with(start) => {
                            (rest.len() - start.len(), start.len())
                        }
                        _ => (rest.len(), 0),
                    }
                }
            };
            self.matched = matched;
            let upto = used + body;
            used = upto + matched;
            if body > 0 {
                // `used` is 0 at the start of a scan that gets here with body: a held prefix that
                // failed returns first.
                return (used, Found::Body(upto));
            }
        }
    }
}

/// The flag, when `line` is the end line of `tid`.
fn end_line(line: &[u8], tid: &str) -> Option<Continuation> {
    let rest = line.strip_prefix(b"-------")?.strip_prefix(tid.as_bytes())?;
    let [flag] = rest else { return None };
    Continuation::from_octet(*flag)
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
