//! A witness that looks at TLS record headers and never alters or decides anything.
//!
//! Operators and demonstrations ask for proof that a gateway relayed TLS end to end: how many
//! records passed, whether any octet outside of a record did, and which ClientHello it was (its
//! random can be compared with the one the terminal used). A gateway must not look for a
//! ClientHello in order to decide something in pass-through mode; so this is an observer beside
//! the relay, off by default.
//!
//! Implements the record header of RFC 8446 §5.1 (the same as RFC 5246 §6.2.1) and the first
//! octets of a ClientHello (§4.1.2). Leaves out everything that is encrypted.

/// Longest record fragment any TLS version allows: RFC 5246 §6.2.3, 2^14 + 2048.
const LONGEST_FRAGMENT: u16 = 16384 + 2048;
/// Handshake type, 24-bit length, legacy version, random.
const HELLO_PREFIX: usize = 1 + 3 + 2 + 32;

/// What was seen in one direction of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Complete TLS records.
    pub records: u64,
    /// Of these, with content type 23: application data, all there is after a handshake.
    pub application_records: u64,
    /// Octets that belong to no TLS record.
    pub outside: u64,
    /// The random of the ClientHello that opened the stream, if one did.
    pub client_hello_random: Option<[u8; 32]>,
    /// The stream is inside a record that is not complete yet.
    pub mid_record: bool,
    /// Octets that passed unobserved, because the engine spliced them.
    pub unobserved: u64,
}

impl Seen {
    /// Every octet was looked at and belonged to a TLS record.
    pub fn only_tls(&self) -> bool {
        self.records > 0 && self.outside == 0 && self.unobserved == 0
    }
}

/// Observes one direction of one stream, in whatever pieces it arrives.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    seen: Seen,
    state: State,
    /// The first handshake octets of the stream, until it is known whether they are a ClientHello.
    hello: Vec<u8>,
    hello_done: bool,
}

#[derive(Debug, Clone)]
enum State {
    Header {
        octets: [u8; 5],
        have: usize,
    },
    Fragment {
        content: u8,
        left: u16,
    },
    /// Something that is not TLS came by. There is no way back into step.
    Lost,
}

impl Default for State {
    fn default() -> Self {
        Self::Header { octets: [0; 5], have: 0 }
    }
}

impl Observer {
    /// Looks at the next octets.
    pub fn observe(&mut self, mut octets: &[u8]) {
        if self.seen.unobserved > 0 {
            self.seen.unobserved += octets.len() as u64;
            return;
        }
        while let Some((&first, rest)) = octets.split_first() {
            match &mut self.state {
                State::Lost => {
                    self.seen.outside += octets.len() as u64;
                    return;
                }
                State::Header { octets: header, have } => {
                    if let Some(slot) = header.get_mut(*have) {
                        *slot = first;
                    }
                    *have += 1;
                    octets = rest;
                    if !plausible(header, *have) {
                        self.seen.outside += *have as u64;
                        self.state = State::Lost;
                    } else if *have == header.len() {
                        let [content, _, _, high, low] = *header;
                        self.enter(content, u16::from_be_bytes([high, low]));
                    }
                }
                State::Fragment { content, left } => {
                    let take = octets.len().min(usize::from(*left));
                    let (now, later) = octets.split_at(take);
                    octets = later;
                    // `take` is at most `left`, so it fits.
                    *left -= take as u16;
                    let (content, left) = (*content, *left);
                    if content == 22 {
                        self.handshake(now);
                    } else {
                        self.hello_done = true;
                    }
                    if left == 0 {
                        self.leave(content);
                    }
                }
            }
        }
    }

    /// Octets passed that could not be looked at; from here on nothing can be said.
    pub fn skip(&mut self, octets: u64) {
        self.seen.unobserved += octets;
    }

    /// What has been seen so far.
    pub fn report(&self) -> Seen {
        let between = matches!(self.state, State::Header { have: 0, .. } | State::Lost);
        Seen { mid_record: !between && self.seen.unobserved == 0, ..self.seen.clone() }
    }

    fn enter(&mut self, content: u8, length: u16) {
        if length == 0 {
            self.leave(content);
        } else {
            self.state = State::Fragment { content, left: length };
        }
    }

    fn leave(&mut self, content: u8) {
        self.seen.records += 1;
        self.seen.application_records += u64::from(content == 23);
        self.state = State::default();
    }

    fn handshake(&mut self, octets: &[u8]) {
        if self.hello_done {
            return;
        }
        let need = HELLO_PREFIX - self.hello.len();
        self.hello.extend(octets.iter().take(need));
        if self.hello.len() == HELLO_PREFIX {
            self.hello_done = true;
            // RFC 8446 §4: client_hello(1).
            if self.hello.first() == Some(&1) {
                self.seen.client_hello_random = self.hello.last_chunk().copied();
            }
            self.hello = Vec::new();
        }
    }
}

/// Whether the first `have` octets can be the header of a TLS record.
fn plausible(header: &[u8; 5], have: usize) -> bool {
    let [content, major, minor, high, low] = *header;
    (20..=24).contains(&content)
        && (have < 2 || major == 3)
        && (have < 3 || minor <= 4)
        && (have < 5 || u16::from_be_bytes([high, low]) <= LONGEST_FRAGMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record of the simple 1-RTT handshake in RFC 8448 §3, up to the random and with
    /// the rest of the ClientHello zeroed (nothing behind the random is looked at).
    fn client_hello() -> Vec<u8> {
        let mut record = vec![0x16, 0x03, 0x01, 0x00, 0xc4, 0x01, 0x00, 0x00, 0xc0, 0x03, 0x03];
        record.extend(RANDOM);
        record.resize(5 + 0xc4, 0);
        record
    }

    const RANDOM: [u8; 32] = [
        0xcb, 0x34, 0xec, 0xb1, 0xe7, 0x81, 0x63, 0xba, 0x1c, 0x38, 0xc6, 0xda, 0xcb, 0x19, 0x6a, 0x6d, 0xff,
        0xa2, 0x1a, 0x8d, 0x99, 0x12, 0xec, 0x18, 0xa2, 0xef, 0x62, 0x83, 0x02, 0x4d, 0xec, 0xe7,
    ];

    fn in_pieces(octets: &[u8], size: usize) -> Seen {
        let mut observer = Observer::default();
        for piece in octets.chunks(size) {
            observer.observe(piece);
        }
        observer.report()
    }

    #[test]
    fn a_client_hello_is_recognised_however_it_is_cut() {
        let mut stream = client_hello();
        stream.extend([0x17, 3, 3, 0, 2, 0xaa, 0xbb, 0x14, 3, 3, 0, 1, 1]);
        for size in 1..stream.len() {
            let seen = in_pieces(&stream, size);
            assert_eq!(seen.client_hello_random, Some(RANDOM));
            assert_eq!((seen.records, seen.application_records), (3, 1));
            assert!(seen.only_tls() && !seen.mid_record);
        }
    }

    #[test]
    fn a_client_hello_over_two_records_is_recognised() {
        let whole = client_hello();
        let mut stream = vec![0x16, 3, 1, 0, 20];
        stream.extend(&whole[5..25]);
        stream.extend([0x16, 3, 1, 0, 0xc4 - 20]);
        stream.extend(&whole[25..]);
        assert_eq!(in_pieces(&stream, 7).client_hello_random, Some(RANDOM));
    }

    #[test]
    fn plain_text_is_outside() {
        let seen = in_pieces(b"MSRP a786hjs2 SEND\r\n", 4);
        assert_eq!((seen.records, seen.outside), (0, 20));
        assert!(!seen.only_tls());
    }

    #[test]
    fn plain_text_after_tls_is_outside() {
        let mut stream = client_hello();
        stream.extend(b"MSRP");
        let seen = in_pieces(&stream, 3);
        assert_eq!((seen.records, seen.outside), (1, 4));
    }

    #[test]
    fn a_server_hello_has_no_client_random() {
        let mut stream = client_hello();
        stream[5] = 2;
        assert_eq!(in_pieces(&stream, 50).client_hello_random, None);
    }

    #[test]
    fn a_record_longer_than_any_tls_allows_is_outside() {
        let seen = in_pieces(&[0x17, 3, 3, 0x48, 0x01], 5);
        assert_eq!(seen.outside, 5);
    }

    #[test]
    fn skipped_octets_are_admitted() {
        let mut observer = Observer::default();
        observer.observe(&client_hello());
        observer.skip(1000);
        observer.observe(b"anything");
        let seen = observer.report();
        assert_eq!((seen.records, seen.unobserved, seen.outside), (1, 1008, 0));
        assert!(!seen.only_tls());
    }

    #[test]
    fn an_open_record_shows() {
        assert!(in_pieces(&client_hello()[..60], 60).mid_record);
    }
}
