//! Whether octets begin as TLS does (RFC 8446 §5.1 and §4, RFC 5246 §6.2.1 and §7.4): the header of one
//! record, and of the handshake message in it. Nothing else is looked at.

/// So many octets tell.
pub(super) const ENOUGH: usize = 9;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// The longest fragment of a record in the clear.
const MOST: usize = 1 << 14;
/// A hello has a version, 32 octets of random, three lengths, and something in two of them.
const LEAST: usize = 38;
/// A ClientHello is longer with post-quantum key shares and many tickets; not by so much.
const HELLO_MOST: usize = 1 << 17;
/// In front of a handshake message: its type and a length of three octets.
const MESSAGE_HEADER: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// TLS.
    Tls,
    /// Something else.
    Other,
    /// Too short to tell.
    Incomplete,
}

/// What a stream is that begins with `octets`. `answers`: the other end has spoken first, so that this one
/// may be a server, or refuse.
pub(super) fn start_of(octets: &[u8], answers: bool) -> Start {
    let known = |index: usize, fits: &dyn Fn(u8) -> bool| octets.get(index).is_none_or(|octet| fits(*octet));
    let alert = answers && octets.first() == Some(&ALERT);
    let header = known(0, &|kind| kind == HANDSHAKE || answers && kind == ALERT)
        && known(1, &|major| major == 3)
        && known(2, &|minor| minor <= 4);
    if !header {
        return Start::Other;
    }
    let &[_, _, _, high, low, ref fragment @ ..] = octets else {
        return Start::Incomplete;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if alert {
        return if length == 2 { Start::Tls } else { Start::Other };
    }
    if !(LEAST + MESSAGE_HEADER..=MOST).contains(&length) {
        return Start::Other;
    }
    let Some(kind) = fragment.first() else { return Start::Incomplete };
    if *kind != CLIENT_HELLO && !(answers && *kind == SERVER_HELLO) {
        return Start::Other;
    }
    let &[_, a, b, c, ..] = fragment else { return Start::Incomplete };
    let message = u32::from_be_bytes([0, a, b, c]) as usize;
    if (LEAST..=HELLO_MOST).contains(&message) { Start::Tls } else { Start::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc];

    #[test]
    fn a_client_hello_is_told_by_its_ninth_octet() {
        for length in 0..HELLO.len() {
            assert_eq!(start_of(&HELLO[..length], false), Start::Incomplete, "{length}");
        }
        assert_eq!(start_of(&HELLO, false), Start::Tls);
    }

    #[test]
    fn everything_else_is_told_as_soon_as_it_differs() {
        for other in [
            &b"GET / HTTP/1.1"[..],
            b"MSRP a786hjs2 SEND",
            b"SSH-2.0-OpenSSH",
            // SSL 2.
            &[0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0],
            // A version that is none.
            &[22, 2],
            &[22, 3, 9],
            // Application data, and an alert, of somebody who was not spoken to.
            &[23, 3, 3],
            &[21, 3, 3, 0, 2],
            // Records that are too short for a hello, and too long for a record.
            &[22, 3, 1, 0, 4],
            &[22, 3, 1, 0xff, 0xff],
            // Not a ClientHello, and one that is too long.
            &[22, 3, 1, 2, 0, 2],
            &[22, 3, 1, 2, 0, 1, 0xff, 0, 0],
        ] {
            assert_eq!(start_of(other, false), Start::Other, "{other:?}");
        }
    }

    #[test]
    fn who_was_spoken_to_may_answer_as_a_server_or_refuse() {
        let server = [22, 3, 3, 0, 0x7a, 2, 0, 0, 0x76];
        assert_eq!(start_of(&server, true), Start::Tls);
        assert_eq!(start_of(&server, false), Start::Other);
        assert_eq!(start_of(&[21, 3, 3, 0, 2, 2, 40], true), Start::Tls);
        assert_eq!(start_of(&[21, 3, 3, 0, 3, 2, 40], true), Start::Other);
        assert_eq!(start_of(&HELLO, true), Start::Tls);
    }
}
