//! Header names. A line's name is recognised once, when the line is read or made; looking for a header
//! then compares numbers.

/// A header name that is looked for often, in whatever case and form it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known(u8);

/// Those with a compact form first, in the order of `COMPACT`.
const NAMES: [&str; 45] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "Contact",
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Subject",
    "Supported",
    "Event",
    "Allow-Events",
    "Refer-To",
    "Referred-By",
    "Session-Expires",
    "Accept-Contact",
    "Reject-Contact",
    "Request-Disposition",
    "Identity",
    "CSeq",
    "Max-Forwards",
    "Route",
    "Record-Route",
    "Require",
    "Proxy-Require",
    "Unsupported",
    "Allow",
    "RSeq",
    "RAck",
    "Expires",
    "Min-Expires",
    "Retry-After",
    "Timestamp",
    "Warning",
    "Server",
    "User-Agent",
    "MIME-Version",
    "Path",
    "Service-Route",
    "P-Asserted-Identity",
    "Min-SE",
    "Authorization",
    "WWW-Authenticate",
    "Proxy-Authorization",
    "Proxy-Authenticate",
];

/// Compact forms (RFC 3261 §20 and the registry).
const COMPACT: &[u8; 19] = b"vftimcleskourbxajdy";

/// The numbers of the names of each length.
const BY_LENGTH: [[u8; 8]; 24] = by_length();

const fn by_length() -> [[u8; 8]; 24] {
    let mut table = [[0; 8]; 24];
    let mut number = 0;
    while number < NAMES.len() {
        let length = NAMES[number].len();
        let mut free = 0;
        while table[length][free] != 0 {
            free += 1;
        }
        number += 1;
        table[length][free] = number as u8;
    }
    table
}

impl Known {
    /// Every name that has no number.
    pub(super) const OTHER: Self = Self(0);

    pub(super) fn of(name: &[u8]) -> Self {
        if let [letter] = name {
            let letter = letter.to_ascii_lowercase();
            // There are 19 of them.
            return Self(memchr::memchr(letter, COMPACT).map_or(0, |at| at as u8 + 1));
        }
        let candidates = BY_LENGTH.get(name.len()).map_or(&[][..], |row| row);
        // Letters that differ in more than case differ in the other bits: one look tells most apart.
        let first = name.first().map(|b| b | 0x20);
        let same = |number: &&u8| {
            let candidate = Self(**number).name().unwrap_or_default().as_bytes();
            candidate.first().map(|b| b | 0x20) == first && candidate.eq_ignore_ascii_case(name)
        };
        candidates.iter().take_while(|number| **number != 0).find(same).map_or(Self::OTHER, |n| Self(*n))
    }

    fn name(self) -> Option<&'static str> {
        NAMES.get(usize::from(self.0).checked_sub(1)?).copied()
    }

    /// One bit for each name, none for others.
    pub(super) fn bit(self) -> u64 {
        if self == Self::OTHER { 0 } else { 1 << self.0 }
    }
}

/// The bits of names, spelled as in `NAMES`.
pub(super) const fn bits(names: &[&str]) -> u64 {
    let (mut all, mut at) = (0, 0);
    while at < names.len() {
        let mut number = 0;
        while !same_octets(NAMES[number].as_bytes(), names[at].as_bytes()) {
            number += 1;
        }
        all |= 1 << (number + 1);
        at += 1;
    }
    all
}

const fn same_octets(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Whether both spell the same header name, in any case, long or compact.
pub fn same_header(a: &str, b: &str) -> bool {
    let known = Known::of(a.as_bytes());
    known == Known::of(b.as_bytes()) && (known != Known::OTHER || a.eq_ignore_ascii_case(b))
}

/// The long form of a header name; the name itself if it has no compact form.
pub fn long_name(name: &str) -> &str {
    if name.len() == 1 { Known::of(name.as_bytes()).name().unwrap_or(name) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_number_of_its_own() {
        let mut bits = 0;
        for name in NAMES {
            let known = Known::of(name.to_ascii_uppercase().as_bytes());
            assert_eq!(known.name(), Some(name));
            assert_eq!(known.bit(), super::bits(&[name]));
            assert_eq!(bits & known.bit(), 0);
            bits |= known.bit();
        }
        for (at, letter) in COMPACT.iter().enumerate() {
            assert_eq!(Known::of(&[*letter]).name(), NAMES.get(at).copied());
        }
        for name in ["", "z", "Q", "Vi", "X-Unheard-Of", "a-name-that-is-longer-than-any-of-those-above"] {
            assert_eq!(Known::of(name.as_bytes()), Known::OTHER, "{name}");
        }
    }

    #[test]
    fn names_without_a_number_are_compared_as_text() {
        assert!(same_header("x-own", "X-Own") && !same_header("x-own", "x-owm"));
        assert!(same_header("i", "CALL-ID") && same_header("I", "i") && !same_header("i", "v"));
        assert!(!same_header("z", "q") && same_header("z", "Z"));
    }
}
