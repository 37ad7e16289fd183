//! Frames that are passed on: octets in, heads and pieces of bodies out, chunk by chunk (RFC 4975 §7.1, §9).
//!
//! Unlike [`crate::Decoder`] this reads only the outline of a head and copies nothing that came in one
//! piece. What is held: a head that is not complete, bounded by [`Limits`], the paths of the last ones, and
//! never a body. The end of a
//! body is the line end, seven dashes, the transaction identifier, a flag and a line end; what only looks
//! like it is body. A start of one at the end of the input is held back, which takes no memory.

use crate::raw::{Line, Outline, Paths, RawHead, TID};
use crate::{Continuation, Error, Limits};
use carnet_wire::ParseError;
use memchr::memmem;
use std::sync::LazyLock;

/// What every end line starts with, and the line end before it.
const DASHES: &[u8] = b"\r\n-------";
/// Line end, dashes, identifier, flag, line end.
const PATTERN: usize = DASHES.len() + TID + 3;

/// One for all connections: it is larger than what one of them keeps.
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(DASHES));

/// Something read from the stream.
#[derive(Debug, Clone)]
pub enum Part<'a> {
    /// A frame begins.
    Head(RawHead<'a>),
    /// Octets of its body, in order, never empty.
    Body(&'a [u8]),
    /// The frame ended.
    End(RawEnd<'a>),
}

/// The end line of a frame.
#[derive(Debug, Clone, Copy)]
pub struct RawEnd<'a> {
    octets: &'a [u8],
    flag: Continuation,
}

impl<'a> RawEnd<'a> {
    /// The line as it came, with the line end that separates it from a body if there is one.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Whether more of the message follows.
    pub fn flag(&self) -> Continuation {
        self.flag
    }
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub struct Frames {
    head: usize,
    headers: usize,
    /// Octets consumed since the stream began.
    offset: u64,
    /// Where the frame began.
    frame_at: u64,
    state: State,
    /// A head that came in pieces, so far; or the last one, until the next call.
    held: Vec<u8>,
    outline: Outline,
    /// Where the next line of the head starts.
    line_at: usize,
    /// Those of the last request and of the last response: the next one nearly always has the same.
    paths: [Paths; 2],
    pattern: [u8; PATTERN],
    /// Octets of the pattern in use.
    length: usize,
}

#[derive(Debug)]
enum State {
    Head,
    /// The head was the last part, and its end line came with it.
    Ended(Continuation),
    Body {
        /// Octets of the end line that have been matched.
        matched: usize,
        /// How many of them were part of something else: the line end of the blank line. Some senders
        /// write a blank line although they have no body; they write no Content-Type either.
        borrowed: usize,
    },
    Failed(Error),
}

enum Found {
    Nothing,
    Body(usize),
    /// What had been held back was body: this part of the pattern.
    Held(usize, usize),
    /// The end line, from here in the pattern.
    End(usize),
}

impl Frames {
    /// At the start of a stream. Of `limits`, `head` and `headers` matter.
    pub fn new(limits: &Limits) -> Self {
        Self {
            head: limits.head,
            headers: limits.headers,
            offset: 0,
            frame_at: 0,
            state: State::Head,
            held: Vec::new(),
            outline: Outline::default(),
            line_at: 0,
            paths: Default::default(),
            pattern: [0; PATTERN],
            length: 0,
        }
    }

    /// Octets consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the frame that is being read began, in octets since the stream did.
    pub fn frame_at(&self) -> u64 {
        self.frame_at
    }

    /// Gives the stream up: each further call fails with `error`.
    pub fn fail(&mut self, error: Error) {
        self.state = State::Failed(error);
    }

    /// Whether the stream stands between two frames, where it may end.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Head) && (self.line_at == 0 && self.held.is_empty())
    }

    /// Reads from `input` up to the next part. Returns how many octets were consumed; when there is no
    /// part, all were.
    ///
    /// # Errors
    /// The octet at which the stream stops being MSRP or goes over a limit, counted from the start of the
    /// stream. The frame boundary is lost then: each further call fails the same way.
    pub fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<(usize, Option<Part<'a>>), Error> {
        match &self.state {
            State::Failed(error) => Err(error.clone()),
            State::Ended(flag) => {
                let flag = *flag;
                self.begin();
                Ok((0, Some(self.end(DASHES.len() - 7, flag))))
            }
            State::Head => match self.take_head(input) {
                Ok((used, done)) => {
                    self.offset += used as u64;
                    let Some((bare, in_held)) = done else { return Ok((used, None)) };
                    let outline = &self.outline;
                    let octets = if in_held { self.held.as_slice() } else { input };
                    self.line_at = 0;
                    Ok((used, Some(Part::Head(RawHead { octets, outline, bare }))))
                }
                Err(error) => {
                    self.state = State::Failed(error.clone());
                    Err(error)
                }
            },
            State::Body { .. } => {
                let (used, found) = self.take_body(input);
                self.offset += used as u64;
                Ok((
                    used,
                    match found {
                        Found::Nothing => None,
                        Found::Body(upto) => Some(Part::Body(input.get(..upto).unwrap_or_default())),
                        Found::Held(from, to) => {
                            Some(Part::Body(self.pattern.get(from..to).unwrap_or_default()))
                        }
                        Found::End(from) => {
                            let flag = self.pattern.get(self.flag_at()).copied();
                            let flag = flag.and_then(Continuation::from_octet);
                            self.begin();
                            Some(self.end(from, flag.unwrap_or(Continuation::Aborted)))
                        }
                    },
                ))
            }
        }
    }

    fn begin(&mut self) {
        self.state = State::Head;
        self.frame_at = self.offset;
        self.held.clear();
        self.outline.clear();
    }

    fn end(&self, from: usize, flag: Continuation) -> Part<'_> {
        Part::End(RawEnd { octets: self.pattern.get(from..self.length).unwrap_or_default(), flag })
    }

    /// Where the flag stands in the pattern.
    fn flag_at(&self) -> usize {
        self.length.saturating_sub(3)
    }

    /// Whether the head is complete: its flag if it is bare, and whether it stands in `held`.
    #[expect(clippy::type_complexity, reason = "said in one place")]
    fn take_head(&mut self, input: &[u8]) -> Result<(usize, Option<(Option<Continuation>, bool)>), Error> {
        if self.held.is_empty() {
            if let Some(bare) = self.read_lines(input)? {
                return Ok((self.line_at, Some((bare, false))));
            }
            self.room(input.len())?;
            self.held.extend_from_slice(input);
            return Ok((input.len(), None));
        }
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
            self.room(self.held.len() + length)?;
            self.held.extend_from_slice(rest.get(..length).unwrap_or_default());
            used += length;
            let held = std::mem::take(&mut self.held);
            let done = self.read_lines(&held);
            self.held = held;
            if let Some(bare) = done? {
                return Ok((used, Some((bare, true))));
            }
        }
        Ok((used, None))
    }

    fn room(&self, octets: usize) -> Result<(), Error> {
        if octets > self.head {
            return Err(Error::TooLarge {
                what: "head",
                at: position(self.frame_at).saturating_add(self.head),
            });
        }
        Ok(())
    }

    /// Reads complete lines of `head`, which starts where the frame does.
    fn read_lines(&mut self, head: &[u8]) -> Result<Option<Option<Continuation>>, Error> {
        let start = position(self.frame_at);
        // Something else than MSRP shows in the first octets; do not wait for a line end.
        if self.outline.lines() == 0 {
            let agree = || head.iter().zip(b"MSRP ").take_while(|(a, b)| a == b).count();
            if !head.starts_with(b"MSRP ") && agree() < head.len().min(5) {
                let agree = agree();
                return Err(ParseError::new(start + agree, "`MSRP ` at the start of a frame").into());
            }
        }
        loop {
            let at = self.line_at;
            let rest = head.get(at..).unwrap_or_default();
            // A line end is nearly always the first of either octet.
            let clean = memchr::memchr2(b'\r', b'\n', rest);
            let (end, line) = match clean.filter(|end| rest.get(*end..*end + 2) == Some(b"\r\n")) {
                Some(end) => {
                    self.room(at + end + 2)?;
                    (at + end, self.outline.clean_line(head, at, at + end))
                }
                None => {
                    let Some(length) = memchr::memchr(b'\n', rest) else { return Ok(None) };
                    self.room(at + length + 1)?;
                    let end = length.checked_sub(1).filter(|end| rest.get(*end) == Some(&b'\r'));
                    let Some(end) = end else {
                        let bad = start + at + length;
                        return Err(ParseError::new(bad, "a carriage return before the line feed").into());
                    };
                    (at + end, self.outline.line(head, at, at + end))
                }
            };
            let line = line.map_err(|e| Error::Malformed(e.shifted(start)))?;
            self.line_at = end + 2;
            if self.outline.lines() == 1 {
                let [request, response] = &self.paths;
                let paths = if self.outline.is_response() { response } else { request };
                let rest = head.get(self.line_at..).unwrap_or_default();
                if !paths.text.is_empty() && rest.starts_with(&paths.text) {
                    self.outline.take_paths(self.line_at, paths);
                    self.line_at += paths.text.len();
                    self.room(self.line_at)?;
                }
            }
            let bare = match line {
                Line::Field if self.outline.lines() > self.headers + 1 => {
                    return Err(Error::TooLarge { what: "header fields", at: start + at });
                }
                Line::Field => continue,
                Line::Blank => None,
                Line::End(flag) => Some(flag),
            };
            self.body_follows(head, bare);
            return Ok(Some(bare));
        }
    }

    fn body_follows(&mut self, head: &[u8], bare: Option<Continuation>) {
        let [request, response] = &mut self.paths;
        self.outline.give_paths(head, if self.outline.is_response() { response } else { request });
        let tid = self.outline.tid(head);
        let mut length = 0;
        for part in [DASHES, tid, b"$\r\n"] {
            // An identifier is never longer than there is room for.
            if let Some(to) = self.pattern.get_mut(length..length + part.len()) {
                to.copy_from_slice(part);
                length += part.len();
            }
        }
        self.length = length;
        self.state = match bare {
            Some(flag) => {
                self.set_flag(flag.octet());
                State::Ended(flag)
            }
            None => {
                let borrowed = if self.outline.typed() { 0 } else { 2 };
                State::Body { matched: borrowed, borrowed }
            }
        };
    }

    fn set_flag(&mut self, octet: u8) {
        let at = self.flag_at();
        if let Some(slot) = self.pattern.get_mut(at) {
            *slot = octet;
        }
    }

    /// How much of `octets` is the pattern from `at` on, whatever the flag.
    fn agreement(&self, octets: &[u8], at: usize) -> usize {
        let pattern = self.pattern.get(at..self.length).unwrap_or_default();
        let flag = self.flag_at().wrapping_sub(at);
        // Nearly always all of it is there at once.
        if let Some(all) = octets.get(..pattern.len())
            && let (Some(before), Some(is)) = (all.get(..flag), all.get(flag))
            && pattern.get(..flag) == Some(before)
            && Continuation::from_octet(*is).is_some()
            && all.get(flag + 1..) == pattern.get(flag + 1..)
        {
            return pattern.len();
        }
        let fits = |(i, (a, b)): (usize, (&u8, &u8))| {
            if i == flag { Continuation::from_octet(*a).is_some() } else { a == b }
        };
        octets.iter().zip(pattern).enumerate().take_while(|pair| fits(*pair)).count()
    }

    fn take_body(&mut self, input: &[u8]) -> (usize, Found) {
        let State::Body { matched, borrowed } = self.state else { return (0, Found::Nothing) };
        if matched > 0 {
            let n = self.agreement(input, matched);
            let now = matched + n;
            if let Some(flag) = self.flag_at().checked_sub(matched).filter(|at| *at < n) {
                self.set_flag(input.get(flag).copied().unwrap_or(b'#'));
            }
            if now == self.length {
                return (n, Found::End(borrowed));
            }
            if n == input.len() {
                self.state = State::Body { matched: now, borrowed };
                return (n, Found::Nothing);
            }
            // The next octet may itself begin an end line, so it stays in the input. No proper suffix of
            // what was matched can: only its first octet is a carriage return, or its last one, which
            // this octet then fails to follow.
            self.state = State::Body { matched: 0, borrowed: 0 };
            if borrowed < now {
                return (n, Found::Held(borrowed, now));
            }
        }
        let mut from = 0;
        loop {
            let rest = input.get(from..).unwrap_or_default();
            let at = match FINDER.find(rest) {
                Some(at) => from + at,
                None => {
                    let tail = input.len().saturating_sub(DASHES.len() - 1).max(from);
                    let last = input.get(tail..).unwrap_or_default();
                    let start = memchr::memrchr(b'\r', last).map_or(input.len(), |at| tail + at);
                    let fits = DASHES.starts_with(input.get(start..).unwrap_or_default());
                    if fits { start } else { input.len() }
                }
            };
            let candidate = input.get(at..).unwrap_or_default();
            let n = self.agreement(candidate, 0);
            if n < candidate.len() && n < self.length {
                // Only looked like it.
                from = at + 2;
                continue;
            }
            if at > 0 {
                return (at, Found::Body(at));
            }
            if let Some(flag) = candidate.get(self.flag_at()) {
                self.set_flag(*flag);
            }
            if n == self.length && n > 0 {
                return (n, Found::End(0));
            }
            self.state = State::Body { matched: n, borrowed: 0 };
            return (n, Found::Nothing);
        }
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
