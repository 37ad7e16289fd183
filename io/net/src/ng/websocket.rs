//! WebSocket (RFC 6455), as far as a server of requests needs it: whole messages and fragments, ping, close.
//!
//! Left out: extensions. None is offered, so none may be used (§9.1).

use super::shared::{MAX_REQUEST, NotTaken, Outgoing, Shared, refusal};
use super::stream::{MOST_UNDER_WAY, Stop};
use bytes::{Buf, Bytes, BytesMut};
use carnet_ng::Form;
use sha1::{Digest, Sha1};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

/// What is spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// With a cookie.
    Ng,
    /// Without.
    Plain,
    /// What comes goes back.
    Echo,
}

impl Protocol {
    /// The subprotocol of that name.
    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Ng, Self::Plain, Self::Echo].into_iter().find(|p| p.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ng => "ng.rtpengine.com",
            Self::Plain => "ng-plain.rtpengine.com",
            Self::Echo => "echo.rtpengine.com",
        }
    }
}

/// `Sec-WebSocket-Accept` (§4.2.2).
pub(super) fn accept_key(key: &str) -> String {
    let digest =
        Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    carnet_wire::base64::encode(&digest)
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why a connection is closed (§7.4.1).
const DONE: u16 = 1000;
const GOING: u16 = 1001;
const BROKEN: u16 = 1002;
const UNREADABLE: u16 = 1007;
const FORBIDDEN: u16 = 1008;
const TOO_LONG: u16 = 1009;

/// What a peer sent.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// A whole message, and whether it is [`TEXT`] or [`BINARY`].
    Message(u8, Bytes),
    Ping(Bytes),
    Pong,
    Close,
}

/// Puts frames together.
#[derive(Default)]
struct Frames {
    buffer: BytesMut,
    /// What came of a message in fragments.
    so_far: Option<(u8, BytesMut)>,
}

impl Frames {
    fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.so_far.is_none()
    }

    /// The next thing a peer has to say, if all of it is there; else why the connection has to be closed.
    fn next(&mut self) -> Result<Option<Heard>, u16> {
        loop {
            let Some((last, opcode, payload)) = self.frame()? else { return Ok(None) };
            match opcode {
                CLOSE => return Ok(Some(Heard::Close)),
                PING => return Ok(Some(Heard::Ping(payload.freeze()))),
                PONG => return Ok(Some(Heard::Pong)),
                CONTINUATION => {
                    let (opcode, mut so_far) = self.so_far.take().ok_or(BROKEN)?;
                    if so_far.len() + payload.len() > MAX_REQUEST {
                        return Err(TOO_LONG);
                    }
                    so_far.extend_from_slice(&payload);
                    if last {
                        return Ok(Some(Heard::Message(opcode, so_far.freeze())));
                    }
                    self.so_far = Some((opcode, so_far));
                }
                TEXT | BINARY if self.so_far.is_some() => return Err(BROKEN),
                TEXT | BINARY if last => return Ok(Some(Heard::Message(opcode, payload.freeze()))),
                TEXT | BINARY => self.so_far = Some((opcode, payload)),
                _ => return Err(BROKEN),
            }
        }
    }

    /// The next frame (§5.2): whether it is the last of its message, what it is, what is in it.
    fn frame(&mut self) -> Result<Option<(bool, u8, BytesMut)>, u16> {
        let [first, second, ..] = *self.buffer.as_ref() else { return Ok(None) };
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        // No extension, and a client masks (§5.1).
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(BROKEN);
        }
        let control = opcode & 0x08 != 0;
        let short = second & 0x7f;
        if control && (!last || short > 125) {
            return Err(BROKEN);
        }
        let (length, head) = match short {
            126 => match self.buffer.get(2..4).and_then(|b| b.try_into().ok()) {
                Some(octets) => (u64::from(u16::from_be_bytes(octets)), 4),
                None => return Ok(None),
            },
            127 => match self.buffer.get(2..10).and_then(|b| b.try_into().ok()) {
                Some(octets) => (u64::from_be_bytes(octets), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).ok().filter(|n| *n <= MAX_REQUEST).ok_or(TOO_LONG)?;
        if self.buffer.len() < head + 4 + length {
            return Ok(None);
        }
        self.buffer.advance(head);
        let mask = self.buffer.split_to(4);
        let mut payload = self.buffer.split_to(length);
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(octet, mask)| *octet ^= mask);
        Ok(Some((last, opcode, payload)))
    }
}

/// A frame of a server: whole, not masked.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=65_535 => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

/// Serves a connection after the handshake.
pub(super) async fn serve(
    octets: impl AsyncRead + AsyncWrite,
    remote: SocketAddr,
    shared: &Shared,
    (protocol, mut proved): (Protocol, bool),
    mut stop: Stop,
) {
    let (mut reader, mut writer) = tokio::io::split(octets);
    let (to, mut answers) = mpsc::channel::<Outgoing>(MOST_UNDER_WAY);
    // What is said about the connection itself; one who pings and does not read is not read on.
    let (aside, mut asides) = mpsc::channel::<Vec<u8>>(16);
    let bye = aside.clone();
    let times = shared.times();
    let writing = async move {
        loop {
            let octets = tokio::select! {
                biased;
                Some(answer) = answers.recv() => {
                    let opcode = if answer.form == Form::Json { TEXT } else { BINARY };
                    frame(opcode, &answer.octets)
                }
                Some(octets) = asides.recv() => octets,
                else => return,
            };
            let write = async {
                writer.write_all(&octets).await?;
                writer.flush().await
            };
            let written = matches!(timeout(times.patience, write).await, Ok(Ok(())));
            if !written || octets.first() == Some(&(0x80 | CLOSE)) {
                let _ = writer.shutdown().await;
                return;
            }
        }
    };
    let reading = async move {
        let rooms = Arc::new(Semaphore::new(MOST_UNDER_WAY));
        let mut frames = Frames::default();
        let mut asked_for_life = false;
        // When the message began of which the end is missing. Neither its parts nor pings buy further time.
        let mut begun: Option<Instant> = None;
        loop {
            let heard = match frames.next() {
                Ok(Some(heard)) => heard,
                Ok(None) => {
                    begun = (!frames.is_empty()).then(|| begun.unwrap_or_else(Instant::now));
                    // One who is silent is asked whether anybody is there.
                    let until =
                        begun.map_or_else(|| Instant::now() + times.silence / 2, |b| b + times.patience);
                    match timeout_at(until, reader.read_buf(&mut frames.buffer)).await {
                        Ok(Ok(length)) if length > 0 => asked_for_life = false,
                        Err(_) if begun.is_none() && !asked_for_life => {
                            asked_for_life = true;
                            let _ = aside.send(frame(PING, b"")).await;
                        }
                        _ => return,
                    }
                    continue;
                }
                Err(code) => {
                    shared.count(|tally| tally.malformed += 1);
                    let _ = aside.send(close(code)).await;
                    return;
                }
            };
            let (opcode, message) = match heard {
                Heard::Message(opcode, message) => (opcode, message),
                Heard::Ping(payload) => {
                    let _ = aside.send(frame(PONG, &payload)).await;
                    continue;
                }
                Heard::Pong => continue,
                Heard::Close => {
                    let _ = aside.send(close(DONE)).await;
                    return;
                }
            };
            begun = None;
            if protocol == Protocol::Echo {
                let _ = aside.send(frame(opcode, &message)).await;
                continue;
            }
            let Ok(room) = rooms.clone().acquire_owned().await else { return };
            let with_cookie = protocol == Protocol::Ng;
            let code = match shared.ask(remote, &message, with_cookie, proved, (&to, room)) {
                Ok(request) => {
                    proved = true;
                    match shared.events().send(request).await {
                        Ok(()) => continue,
                        Err(_) => GOING,
                    }
                }
                Err(NotTaken::Answered) => {
                    proved = true;
                    continue;
                }
                Err(NotTaken::Full(waits)) => {
                    waits.answer(&refusal("too many requests are under way"));
                    continue;
                }
                Err(NotTaken::Token(waits)) => {
                    waits.answer(&refusal("the token is missing, or another one"));
                    FORBIDDEN
                }
                Err(NotTaken::Unreadable) => UNREADABLE,
            };
            let _ = aside.send(close(code)).await;
            return;
        }
    };
    tokio::pin!(writing);
    let reading = async move {
        tokio::select! {
            () = reading => {}
            () = stop.told() => drop(bye.send(close(GOING)).await),
        }
    };
    tokio::pin!(reading);
    tokio::select! {
        () = writing.as_mut() => {}
        // What is under way is still answered.
        () = reading => drop(timeout(times.patience, writing).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §1.3.
    #[test]
    fn the_key_of_the_specification() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn heard(octets: &[u8]) -> Vec<Result<Heard, u16>> {
        let mut frames = Frames::default();
        frames.buffer.extend_from_slice(octets);
        let mut all = Vec::new();
        loop {
            match frames.next() {
                Ok(Some(heard)) => all.push(Ok(heard)),
                Ok(None) => return all,
                Err(code) => {
                    all.push(Err(code));
                    return all;
                }
            }
        }
    }

    /// RFC 6455 §5.7, the examples of a client.
    #[test]
    fn frames_of_the_specification() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(heard(&hello), [Ok(Heard::Message(TEXT, Bytes::from_static(b"Hello")))]);
        for cut in 0..hello.len() {
            assert_eq!(heard(&hello[..cut]), []);
        }
        let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(heard(&pong), [Ok(Heard::Pong)]);
        // What a server sends: the first example, and lengths of two and eight octets.
        assert_eq!(frame(TEXT, b"Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(frame(BINARY, &[0; 256])[..4], [0x82, 0x7e, 0x01, 0x00]);
        assert_eq!(frame(BINARY, &[0; 65_536])[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    /// A frame of a client, with a mask of zeroes.
    fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = frame(0, payload);
        out[0] = first;
        out[1] |= 0x80;
        let head = out.len() - payload.len();
        out.splice(head..head, [0; 4]);
        out
    }

    #[test]
    fn fragments_are_put_together_around_pings() {
        let all = [sent(0x01, b"a"), sent(0x89, b"?"), sent(0x00, b"b"), sent(0x80, b"c"), sent(0x88, b"")]
            .concat();
        let ping = Heard::Ping(Bytes::from_static(b"?"));
        let message = Heard::Message(TEXT, Bytes::from_static(b"abc"));
        assert_eq!(heard(&all), [Ok(ping), Ok(message), Ok(Heard::Close)]);
    }

    #[test]
    fn what_breaks_the_rules_ends_it() {
        let mut unmasked = sent(0x81, b"a");
        unmasked[1] &= 0x7f;
        let long = [&[0x81u8, 0xff][..], &(MAX_REQUEST as u64 + 1).to_be_bytes()].concat();
        let half = vec![b'x'; MAX_REQUEST / 2 + 1];
        for (octets, code) in [
            (unmasked, BROKEN),
            (sent(0xc1, b"a"), BROKEN),
            (sent(0x83, b"a"), BROKEN),
            (sent(0x80, b"a"), BROKEN),
            ([sent(0x01, b"a"), sent(0x81, b"b")].concat(), BROKEN),
            (sent(0x09, b"a"), BROKEN),
            (sent(0x89, &[0; 126]), BROKEN),
            (long, TOO_LONG),
            ([sent(0x01, &half), sent(0x80, &half)].concat(), TOO_LONG),
        ] {
            assert_eq!(
                heard(&octets).last(),
                Some(&Err(code)),
                "{}",
                octets[..4.min(octets.len())].escape_ascii()
            );
        }
    }
}
