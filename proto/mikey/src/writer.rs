//! Appends fields to a message under construction.
//!
//! A field that is longer than its length field can say is cut, so that what is printed is always
//! well-formed. Nothing that was parsed is that long, and [`Identity`](crate::Identity) and the
//! key types are bounded where they are made.

/// An octet string under construction.
#[derive(Default)]
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    /// With room for a message of usual length.
    pub fn message() -> Self {
        Self(Vec::with_capacity(1024))
    }

    pub fn u8(&mut self, v: u8) {
        self.0.push(v);
    }

    pub fn u16(&mut self, v: u16) {
        self.0.extend_from_slice(&v.to_be_bytes());
    }

    pub fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_be_bytes());
    }

    pub fn put(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    /// A length in one octet, then the octets.
    pub fn len8(&mut self, octets: &[u8]) {
        let len = u8::try_from(octets.len()).unwrap_or(u8::MAX);
        self.u8(len);
        self.put(octets.get(..usize::from(len)).unwrap_or_default());
    }

    /// A length in two octets, then the octets.
    pub fn len16(&mut self, octets: &[u8]) {
        let len = u16::try_from(octets.len()).unwrap_or(u16::MAX);
        self.u16(len);
        self.put(octets.get(..usize::from(len)).unwrap_or_default());
    }

    /// Four bits of `high`, then a length in twelve bits, then the octets.
    pub fn len12(&mut self, high: u8, octets: &[u8]) {
        let len = octets.len().min(0xFFF);
        self.u16(u16::from(high & 0xF) << 12 | len as u16);
        self.put(octets.get(..len).unwrap_or_default());
    }

    /// Two bits of `high`, then a length in fourteen bits, then the octets.
    pub fn len14(&mut self, high: u8, octets: &[u8]) {
        let len = octets.len().min(0x3FFF);
        self.u16(u16::from(high & 0x3) << 14 | len as u16);
        self.put(octets.get(..len).unwrap_or_default());
    }
}
