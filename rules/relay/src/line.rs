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
    let rest = uri.get(memchr::memchr(b':', uri)?..)?.strip_prefix(b"://")?;
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

/// The digits of every octet.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = [digits[n >> 4], digits[n & 15]];
        n += 1;
    }
    table
};

fn digits(value: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (to, octet) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        to.copy_from_slice(HEX.get(usize::from(octet)).unwrap_or(b"00"));
    }
    text
}

impl Tid {
    /// Of a transaction with this number; none where no answer is waited for.
    pub(crate) fn new(secret: u64, number: Option<u64>) -> Self {
        let mut text = [0; TID];
        let (front, back) = text.split_at_mut(16);
        front.copy_from_slice(&digits(secret));
        let mut length = front.len();
        if let Some(number) = number {
            // Without zeros before it, but for zero itself.
            let all = digits(number);
            let from = (number.leading_zeros() as usize / 4).min(15);
            for (to, digit) in back.iter_mut().zip(all.get(from..).unwrap_or_default()) {
                *to = *digit;
                length += 1;
            }
        }
        Self { text, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// Secret and number of an identifier that may be ours.
    pub(crate) fn read(text: &[u8]) -> Option<(u64, u64)> {
        let hex = |part: &[u8]| {
            if part.is_empty() || part.len() > 16 {
                return None;
            }
            let mut value = 0;
            for octet in part {
                let digit = match octet {
                    b'0'..=b'9' => octet - b'0',
                    b'a'..=b'f' => octet - b'a' + 10,
                    b'A'..=b'F' => octet - b'A' + 10,
                    _ => return None,
                };
                value = value << 4 | u64::from(digit);
            }
            Some(value)
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
