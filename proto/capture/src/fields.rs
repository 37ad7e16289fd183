//! Numbers out of octets that may be too few.

/// One octet.
pub(crate) fn u8_at(octets: &[u8], at: usize) -> Option<u8> {
    octets.get(at).copied()
}

/// Two octets in network order.
pub(crate) fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk::<2>().map(|o| u16::from_be_bytes(*o))
}

/// Four octets in network order.
pub(crate) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk::<4>().map(|o| u32::from_be_bytes(*o))
}

/// The order of octets in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Big,
    Little,
}

impl Order {
    pub(crate) fn u16_at(self, octets: &[u8], at: usize) -> Option<u16> {
        let read = octets.get(at..)?.first_chunk::<2>()?;
        Some(match self {
            Self::Big => u16::from_be_bytes(*read),
            Self::Little => u16::from_le_bytes(*read),
        })
    }

    pub(crate) fn u32_at(self, octets: &[u8], at: usize) -> Option<u32> {
        let read = octets.get(at..)?.first_chunk::<4>()?;
        Some(match self {
            Self::Big => u32::from_be_bytes(*read),
            Self::Little => u32::from_le_bytes(*read),
        })
    }
}
