//! What the one who connects says first: what the session is, and the key of its content.

/// Octets of a greeting.
pub const GREETING: usize = 16;

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bulk to the server.
    Up,
    /// Bulk from the server.
    Down,
    /// Both at once.
    Duplex,
    /// The server sends back what it gets.
    Echo,
    /// The server reads nothing more.
    Stalled,
}

/// The first octets of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// What it does.
    pub kind: Kind,
    /// The key of its content.
    pub key: u64,
}

impl Greeting {
    /// As it is sent.
    #[must_use]
    pub fn octets(self) -> [u8; GREETING] {
        let kind = match self.kind {
            Kind::Up => b'u',
            Kind::Down => b'd',
            Kind::Duplex => b'x',
            Kind::Echo => b'e',
            Kind::Stalled => b's',
        };
        let mut out = *b"?carnet-????????";
        if let Some(first) = out.first_mut() {
            *first = kind;
        }
        if let Some(key) = out.last_chunk_mut::<8>() {
            *key = self.key.to_be_bytes();
        }
        out
    }

    /// As it came; `None` if it is none.
    #[must_use]
    pub fn read(octets: &[u8; GREETING]) -> Option<Self> {
        let kind = match octets.first()? {
            b'u' => Kind::Up,
            b'd' => Kind::Down,
            b'x' => Kind::Duplex,
            b'e' => Kind::Echo,
            b's' => Kind::Stalled,
            _ => return None,
        };
        let key = u64::from_be_bytes(*octets.last_chunk()?);
        (octets.get(1..8) == Some(b"carnet-")).then_some(Self { kind, key })
    }
}
