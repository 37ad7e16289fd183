//! Paths and start lines as octets: what every frame needs, without taking it apart.

/// The first URI of a path, and the rest without the blank.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', path) {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (path, &[]),
    }
}

/// The session identifier of a URI, if it has one. What it is in a URI that is none does not matter.
pub(crate) fn session(uri: &[u8]) -> Option<&[u8]> {
    let authority = memchr::memmem::find(uri, b"://")? + 3;
    let rest = uri.get(authority..)?;
    let rest = rest.get(memchr::memchr(b'/', rest)? + 1..)?;
    rest.get(..memchr::memchr(b';', rest).unwrap_or(rest.len()))
}

/// Longest transaction identifier of ours.
pub(crate) const TID: usize = 32;

/// A transaction identifier of ours: 64 random bits, so that nobody can write a body that ends our frame, and
/// the place of the transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tid {
    text: [u8; TID],
    length: usize,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Tid {
    /// Of a transaction with this number; none where no answer is waited for.
    pub(crate) fn new(secret: u64, number: Option<u64>) -> Self {
        let mut text = [0; TID];
        let mut digits = text.iter_mut();
        let nibbles = |value: u64, most: u32| {
            let count = most.max((64 - value.leading_zeros()).div_ceil(4));
            (0..count).rev().map(move |i| HEX.get((value >> (4 * i) & 15) as usize).copied().unwrap_or(b'0'))
        };
        let mut length = 0;
        let number = number.map(|n| nibbles(n, 1));
        let tail = number.into_iter().flatten();
        for (to, from) in digits.by_ref().zip(nibbles(secret, 16).chain(tail)) {
            *to = from;
            length += 1;
        }
        Self { text, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// Secret and number of an identifier that may be ours.
    pub(crate) fn read(text: &[u8]) -> Option<(u64, u64)> {
        let hex = |part: &[u8]| {
            let digit = |n: Option<u64>, b: &u8| Some(n? << 4 | u64::from((*b as char).to_digit(16)?));
            if part.is_empty() || part.len() > 16 { None } else { part.iter().fold(Some(0), digit) }
        };
        let (secret, number) = text.split_at_checked(16)?;
        Some((hex(secret)?, hex(number)?))
    }
}

/// The end line, with the line end that separates it from a body.
pub(crate) fn write_end(out: &mut Vec<u8>, body: bool, tid: &[u8], flag: u8) {
    out.extend_from_slice(if body { b"\r\n-------" } else { b"-------" });
    out.extend_from_slice(tid);
    out.extend_from_slice(&[flag, b'\r', b'\n']);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_back() {
        for (secret, number) in [(0, 0), (u64::MAX, u64::MAX), (0x0123_4567_89ab_cdef, 16)] {
            let tid = Tid::new(secret, Some(number));
            assert!((17..=TID).contains(&tid.as_bytes().len()));
            assert_eq!(Tid::read(tid.as_bytes()), Some((secret, number)));
        }
        assert_eq!(Tid::read(Tid::new(7, None).as_bytes()), None);
        for foreign in ["abcd", "0123456789abcdef", "0123456789abcdefg", "0123456789abcdef00000000000000001"]
        {
            assert_eq!(Tid::read(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn paths_and_sessions() {
        assert_eq!(split(b"a b c"), (&b"a"[..], &b"b c"[..]));
        assert_eq!(split(b"a"), (&b"a"[..], &b""[..]));
        assert_eq!(session(b"msrps://u@h:1/s3ss;tcp;a=b"), Some(&b"s3ss"[..]));
        assert_eq!(session(b"msrps://h:1;tcp"), None);
        assert_eq!(session(b"nonsense"), None);
    }
}
