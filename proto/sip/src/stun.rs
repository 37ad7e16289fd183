//! STUN Binding (RFC 8489), as far as it keeps a way through a translator of addresses open and tells where
//! that way comes out: RFC 5626 §4.4.2, §5.4, §8, on the port of SIP over UDP.
//!
//! Left out: everything else of STUN. Requests need no credentials, and have no use for FINGERPRINT:
//! SIP and STUN are told apart by their first octet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut as _, Bytes, BytesMut};

/// RFC 8489 §5.
const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;
/// RFC 8489 §14: attributes up to here must be understood.
const COMPREHENSION_REQUIRED: u16 = 0x7fff;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Attributes looked at. More are no Binding that makes sense.
const ATTRIBUTES: usize = 16;

/// What a request and its answer have in common.
pub type TransactionId = [u8; 12];

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stun {
    /// Asks where it came from. These attributes it should not have had, if any (RFC 8489 §6.3.1).
    Request(TransactionId, Vec<u16>),
    /// The address a request came from.
    Answer(TransactionId, SocketAddr),
    /// A request was refused.
    Refusal(TransactionId),
}

impl Stun {
    /// Whether a datagram on a SIP port is STUN: no SIP message begins so (RFC 5626 §8).
    pub fn is_stun(octets: &[u8]) -> bool {
        octets.first().is_some_and(|first| *first < 4) && field(octets, 4) == Some(COOKIE.to_be_bytes())
    }

    /// Reads a datagram; `None` if it is nothing that we have a use for.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        if !Self::is_stun(octets) {
            return None;
        }
        let kind = u16::from_be_bytes(field(octets, 0)?);
        let length = usize::from(u16::from_be_bytes(field(octets, 2)?));
        let id: TransactionId = field(octets, 8)?;
        let mut rest = octets.get(HEADER..)?;
        if rest.len() != length || !length.is_multiple_of(4) {
            return None;
        }
        let (mut mapped, mut unknown) = (None, Vec::new());
        for _ in 0..ATTRIBUTES {
            if rest.is_empty() {
                break;
            }
            let attribute = u16::from_be_bytes(field(rest, 0)?);
            let size = usize::from(u16::from_be_bytes(field(rest, 2)?));
            let value = rest.get(4..4 + size)?;
            rest = rest.get(4 + size.next_multiple_of(4)..)?;
            match attribute {
                XOR_MAPPED_ADDRESS => mapped = mapped.or_else(|| unmask(value, &id)),
                ERROR_CODE | UNKNOWN_ATTRIBUTES => {}
                other if other <= COMPREHENSION_REQUIRED => unknown.push(other),
                _ => {}
            }
        }
        if !rest.is_empty() {
            return None;
        }
        match kind {
            REQUEST => Some(Self::Request(id, unknown)),
            SUCCESS if unknown.is_empty() => Some(Self::Answer(id, mapped?)),
            ERROR => Some(Self::Refusal(id)),
            _ => None,
        }
    }

    /// Asks where we come from.
    pub fn request(id: &TransactionId) -> Bytes {
        message(REQUEST, id, &[])
    }

    /// Answers a request that came from `source`; `unknown` are the attributes it should not have had.
    pub fn answer(id: &TransactionId, unknown: &[u16], source: SocketAddr) -> Bytes {
        if unknown.is_empty() {
            return message(SUCCESS, id, &[(XOR_MAPPED_ADDRESS, mask(source, id))]);
        }
        // 420, RFC 8489 §14.8, §14.9
        let mut code = vec![0, 0, 4, 20];
        code.extend_from_slice(b"Unknown Attribute");
        let list = unknown.iter().flat_map(|attribute| attribute.to_be_bytes()).collect();
        message(ERROR, id, &[(ERROR_CODE, code), (UNKNOWN_ATTRIBUTES, list)])
    }
}

fn message(kind: u16, id: &TransactionId, attributes: &[(u16, Vec<u8>)]) -> Bytes {
    let mut body = BytesMut::new();
    for (attribute, value) in attributes {
        body.put_u16(*attribute);
        body.put_u16(u16::try_from(value.len()).unwrap_or_default());
        body.put_slice(value);
        body.put_bytes(0, value.len().next_multiple_of(4) - value.len());
    }
    let mut out = BytesMut::with_capacity(HEADER + body.len());
    out.put_u16(kind);
    out.put_u16(u16::try_from(body.len()).unwrap_or_default());
    out.put_u32(COOKIE);
    out.put_slice(id);
    out.put_slice(&body);
    out.freeze()
}

/// The value of XOR-MAPPED-ADDRESS (RFC 8489 §14.2): masked, so that nobody on the way takes it for an
/// address that he should translate.
fn mask(address: SocketAddr, id: &TransactionId) -> Vec<u8> {
    let cookie = COOKIE.to_be_bytes();
    let pad: Vec<u8> = cookie.iter().chain(id).copied().collect();
    let (family, ip) = match address.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut out = vec![0, family];
    out.extend(address.port().to_be_bytes().iter().zip(&pad).map(|(a, b)| a ^ b));
    out.extend(ip.iter().zip(&pad).map(|(a, b)| a ^ b));
    out
}

fn unmask(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let cookie = COOKIE.to_be_bytes();
    let pad: Vec<u8> = cookie.iter().chain(id).copied().collect();
    let port: [u8; 2] = field(value, 2)?;
    let port = u16::from_be_bytes([port[0] ^ cookie[0], port[1] ^ cookie[1]]);
    let octets: Vec<u8> = value.get(4..)?.iter().zip(&pad).map(|(a, b)| a ^ b).collect();
    let ip: IpAddr = match (value.get(1)?, value.len()) {
        (1, 8) => Ipv4Addr::from(field::<4>(&octets, 0)?).into(),
        (2, 20) => Ipv6Addr::from(field::<16>(&octets, 0)?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn field<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    /// The attribute of RFC 5769 §2.2 and §2.3, in messages that have no others.
    #[test]
    fn the_addresses_of_rfc_5769() {
        let v4 = [0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        let v6 = [
            0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79,
            0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        for (attribute, address) in
            [(&v4[..], "192.0.2.1:32853"), (&v6[..], "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
        {
            let mut octets = vec![0x01, 0x01, 0x00, u8::try_from(attribute.len()).unwrap()];
            octets.extend_from_slice(&COOKIE.to_be_bytes());
            octets.extend_from_slice(&ID);
            octets.extend_from_slice(attribute);
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(Stun::parse(&octets), Some(Stun::Answer(ID, address)));
            assert_eq!(Stun::answer(&ID, &[], address), octets);
        }
    }

    #[test]
    fn requests_and_what_must_be_understood() {
        let request = Stun::request(&ID);
        assert_eq!(request.len(), 20);
        assert_eq!(Stun::parse(&request), Some(Stun::Request(ID, vec![])));
        // CHANGE-REQUEST of RFC 5780 must be understood, SOFTWARE need not be.
        let asks = message(REQUEST, &ID, &[(0x0003, vec![0; 4]), (0x8022, b"test".to_vec())]);
        let Some(Stun::Request(_, unknown)) = Stun::parse(&asks) else { panic!("no request") };
        assert_eq!(unknown, [0x0003]);
        let refusal = Stun::answer(&ID, &unknown, "192.0.2.1:5060".parse().unwrap());
        assert_eq!(Stun::parse(&refusal), Some(Stun::Refusal(ID)));
        assert!(refusal.windows(4).any(|w| w == [0, 0, 4, 20]));
    }

    #[test]
    fn what_is_none_is_left_alone() {
        let whole = Stun::answer(&ID, &[], "192.0.2.1:5060".parse().unwrap());
        for end in 0..whole.len() {
            assert_eq!(Stun::parse(&whole[..end]), None, "{end}");
        }
        for (at, value) in [(0, 0x40), (4, 0), (3, 0xff), (25, 9), (23, 0xff)] {
            let mut octets = whole.to_vec();
            octets[at] = value;
            assert_eq!(Stun::parse(&octets), None, "octet {at}");
        }
        assert!(!Stun::is_stun(b"INVITE sip:a@b SIP/2.0"));
        assert!(!Stun::is_stun(b"\r\n\r\n"));
        let many: Vec<_> = (0..20).map(|n| (0x8000 + n, vec![])).collect();
        assert_eq!(Stun::parse(&message(REQUEST, &ID, &many)), None);
    }
}
