//! MSRP that passes through somebody who stands for each side towards the other: a gateway that is aware of
//! MSRP (TS 23.334 §5.19.5), not a relay of RFC 4976.
//!
//! Each peer was told the gateway's own URI in place of the far peer's path. What comes from one peer
//! leaves towards the other with that peer's path in To-Path and the gateway's URI there in From-Path; every
//! other octet passes as it came, in the same turn. Transactions stay end to end: the gateway answers
//! nothing and keeps nothing but an incomplete head.
//!
//! A To-Path that is not the gateway's URI would be answered 481 by an endpoint (RFC 4975 §7.3). A gateway
//! cannot answer inside a stream that is not its own, and passing it on would deliver to one what was meant
//! for another, so the stream ends with an error.

use crate::frames::{Frames, Part};
use crate::raw::{RawHead, RawStart};
use crate::{Error, Limits, Uri};
use carnet_wire::ParseError;
use std::net::SocketAddr;
use std::ops::Range;

/// One side of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// What we are called towards this peer.
    pub own: Uri,
    /// The peer's path as in its SDP, the nearest first, at least one.
    pub path: Vec<Uri>,
}

impl Side {
    /// The side where we listen or connect from `local`, in TLS or not, for the session with the peer at
    /// `path` whose far peer is at `far`.
    ///
    /// # Errors
    /// See [`own_uri`]; also when `path` is empty.
    pub fn new(secure: bool, local: SocketAddr, path: &[Uri], far: &[Uri]) -> Result<Self, ParseError> {
        if path.is_empty() {
            return Err(ParseError::new(0, "a path of the peer"));
        }
        Ok(Self { own: own_uri(secure, local, far)?, path: path.to_vec() })
    }
}

/// What a gateway calls itself at `local` on behalf of a peer whose path is `far`: the peer's session, which
/// is what its last URI names.
///
/// # Errors
/// When `far` is empty or its last URI names no session.
pub fn own_uri(secure: bool, local: SocketAddr, far: &[Uri]) -> Result<Uri, ParseError> {
    let session = far.last().and_then(Uri::session_id);
    let session = session.ok_or_else(|| ParseError::new(0, "a URI with a session identifier"))?;
    Uri::new(secure, &local.ip().to_string(), local.port(), session)
}

/// Rewrites one direction.
#[derive(Debug)]
pub struct Rewriter {
    frames: Frames,
    /// What the sender must put into To-Path.
    expected: Uri,
    /// To-Path of requests.
    path: String,
    /// To-Path of responses (RFC 4975 §7.2).
    next: String,
    /// From-Path.
    from: String,
}

impl Rewriter {
    /// For what comes from the peer of `source` and leaves towards the peer of `sink`. Of `limits`, `head`
    /// and `headers` matter.
    pub fn new(source: &Side, sink: &Side, limits: &Limits) -> Self {
        let path: Vec<&str> = sink.path.iter().map(Uri::as_str).collect();
        Self {
            frames: Frames::new(limits),
            expected: source.own.clone(),
            path: path.join(" "),
            next: path.first().copied().unwrap_or_default().to_owned(),
            from: sink.own.as_str().to_owned(),
        }
    }

    /// Takes all of `input` and appends what leaves to `out`: as much, give or take the paths. An incomplete
    /// head, or what may be the start of an end line, leaves with the octets that decide it.
    ///
    /// # Errors
    /// What comes is not MSRP, goes over a limit, or is for somebody else ([`Error::NotForUs`]). `out` has
    /// then what came before; each further call fails the same way and nothing more passes.
    pub fn pass(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.pass_to(input, out)
    }

    /// The same, with what leaves told instead of copied: `out`, which is emptied first, says which parts of
    /// `input` leave and what is written between them.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub fn pass_in_parts(&mut self, input: &[u8], out: &mut Parts) -> Result<(), Error> {
        out.clear();
        self.pass_to(input, out)
    }

    fn pass_to(&mut self, input: &[u8], out: &mut impl Sink) -> Result<(), Error> {
        let mut taken = 0;
        loop {
            let at = self.frames.frame_at();
            let (used, part) = self.frames.next(input.get(taken..).unwrap_or_default())?;
            match part {
                None => return Ok(()),
                // What is as long as what was read is what was read; otherwise it was held back before.
                Some(Part::Body(octets)) if octets.len() == used => out.pass(taken..taken + used, octets),
                Some(Part::Body(octets)) => out.text().extend_from_slice(octets),
                Some(Part::End(end)) => out.text().extend_from_slice(end.octets()),
                Some(Part::Head(head)) => {
                    if !is_for(&head, &self.expected) {
                        let error = Error::NotForUs { at };
                        self.frames.fail(error.clone());
                        return Err(error);
                    }
                    let to = match head.start() {
                        RawStart::Request(_) => &self.path,
                        RawStart::Response(_) => &self.next,
                    };
                    head.write_with(to.as_bytes(), self.from.as_bytes(), out.text());
                }
            }
            taken += used;
        }
    }

    /// Whether the stream stands between two frames, where it may end.
    pub fn is_between_frames(&self) -> bool {
        self.frames.is_between_frames()
    }
}

/// Takes what leaves.
trait Sink {
    /// Takes octets that stand at `place` in what came.
    fn pass(&mut self, place: Range<usize>, octets: &[u8]);
    /// To append other octets to.
    fn text(&mut self) -> &mut Vec<u8>;
}

impl Sink for Vec<u8> {
    fn pass(&mut self, _: Range<usize>, octets: &[u8]) {
        self.extend_from_slice(octets);
    }

    fn text(&mut self) -> &mut Vec<u8> {
        self
    }
}

/// Octets of a body that are told and not copied, at least. One more part costs the kernel as much as copying
/// about so many does.
const WORTH: usize = 1024;

/// What leaves: parts of what came, and what is written between them.
#[derive(Debug, Default)]
pub struct Parts {
    text: Vec<u8>,
    /// A part of what came, and where in `text` it stands.
    came: Vec<(Range<usize>, usize)>,
}

impl Parts {
    fn clear(&mut self) {
        self.text.clear();
        self.came.clear();
    }

    /// The parts in the order in which they leave, none of them empty. `input` is what came.
    pub fn iter<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut from = 0;
        let pairs = self.came.iter().flat_map(move |(place, upto)| {
            let before = self.text.get(std::mem::replace(&mut from, *upto)..*upto);
            [before, input.get(place.clone())]
        });
        let last = self.came.last().map_or(0, |(_, upto)| *upto);
        pairs.chain([self.text.get(last..)]).flatten().filter(|part| !part.is_empty())
    }

    /// Octets of all parts.
    pub fn octets(&self) -> usize {
        self.text.len() + self.came.iter().map(|(place, _)| place.len()).sum::<usize>()
    }
}

impl Sink for Parts {
    fn pass(&mut self, place: Range<usize>, octets: &[u8]) {
        if octets.len() < WORTH {
            self.text.extend_from_slice(octets);
        } else {
            self.came.push((place, self.text.len()));
        }
    }

    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }
}

/// RFC 4975 §6.1: most send the URI as they were told it.
fn is_for(head: &RawHead<'_>, expected: &Uri) -> bool {
    let to = head.to_path();
    to == expected.as_str().as_bytes() || Uri::parse(to).is_ok_and(|to| to == *expected)
}
