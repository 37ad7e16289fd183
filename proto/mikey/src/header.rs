//! The common header and its CS ID map (RFC 3830 §6.1, RFC 4563 §5, RFC 6043 §6.1).

use crate::error::Feature;
use crate::writer::Writer;
use crate::{Error, Limits};
use carnet_wire::Cursor;

/// The common header. Its Next payload octet belongs to the chain that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Data type, see [`data_type`](crate::registry::data_type).
    pub data_type: u8,
    /// V flag: the initiator wants a response. Carried, and ignored on receipt: RFC 6043 §4.2 and
    /// §6.1 disagree about it.
    pub v: bool,
    /// PRF number, 0 to 127.
    pub prf: u8,
    /// Crypto session bundle ID.
    pub csb_id: u32,
    /// Crypto sessions.
    pub map: CsIdMap,
}

/// The CS ID map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CsIdMap {
    /// Type 0, SRTP-ID. Not allowed in the ticket modes (RFC 6043 §6.1).
    Srtp(Vec<SrtpSession>),
    /// Type 1, empty map for this many crypto sessions.
    Empty(u8),
    /// Type 2, GENERIC-ID.
    Generic(Vec<CryptoSession>),
}

/// An entry of an SRTP-ID map (RFC 3830 §6.1.1). Its CS ID is its place, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SrtpSession {
    /// Number of the SP payload that applies.
    pub policy: u8,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Rollover counter.
    pub roc: u32,
}

/// An entry of a GENERIC-ID map (RFC 6043 §6.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CryptoSession {
    /// CS ID, goes into the label of the traffic key.
    pub cs_id: u8,
    /// Security protocol.
    pub protocol: u8,
    /// S flag: the Session Data of SRTP holds ROC and SEQ as well.
    pub s: bool,
    /// Numbers of the SP payloads that may apply; exactly one in a response.
    pub policies: Vec<u8>,
    /// Session Data, empty for protocols other than SRTP.
    pub session_data: Vec<u8>,
    /// SPI of the session key used first; may be empty in an initial message only.
    pub spi: Vec<u8>,
}

impl CsIdMap {
    /// Its registered number.
    pub fn type_number(&self) -> u8 {
        match self {
            Self::Srtp(_) => 0,
            Self::Empty(_) => 1,
            Self::Generic(_) => 2,
        }
    }

    /// Number of crypto sessions.
    pub fn sessions(&self) -> usize {
        match self {
            Self::Srtp(s) => s.len(),
            Self::Empty(n) => usize::from(*n),
            Self::Generic(s) => s.len(),
        }
    }
}

impl Header {
    /// Reads a header. Gives the type of the first payload with it.
    pub(crate) fn parse(c: &mut Cursor<'_>, limits: &Limits) -> Result<(Self, u8), Error> {
        let at = c.position();
        let version = c.u8("a version")?;
        if version != 1 {
            return Err(Error::Unsupported { feature: Feature::Version(version), at });
        }
        let data_type = c.u8("a data type")?;
        let next = c.u8("a payload type")?;
        let v_prf = c.u8("the V flag and PRF number")?;
        let csb_id = c.u32("a CSB ID of four octets")?;
        let count_at = c.position();
        let count = c.u8("a number of crypto sessions")?;
        if usize::from(count) > limits.crypto_sessions {
            return Err(Error::Limit { what: "crypto sessions", at: count_at });
        }
        let map_at = c.position();
        let map = match c.u8("a CS ID map type")? {
            0 => CsIdMap::Srtp((0..count).map(|_| parse_srtp(c)).collect::<Result<_, _>>()?),
            1 => CsIdMap::Empty(count),
            2 => CsIdMap::Generic((0..count).map(|_| parse_generic(c)).collect::<Result<_, _>>()?),
            n => return Err(Error::Unsupported { feature: Feature::MapType(n), at: map_at }),
        };
        Ok((Self { data_type, v: v_prf & 0x80 != 0, prf: v_prf & 0x7F, csb_id, map }, next))
    }

    pub(crate) fn print(&self, next: u8, w: &mut Writer) {
        w.u8(1);
        w.u8(self.data_type);
        w.u8(next);
        w.u8(u8::from(self.v) << 7 | self.prf & 0x7F);
        w.u32(self.csb_id);
        w.u8(u8::try_from(self.map.sessions()).unwrap_or(u8::MAX));
        w.u8(self.map.type_number());
        match &self.map {
            CsIdMap::Empty(_) => {}
            CsIdMap::Srtp(sessions) => {
                for s in sessions {
                    w.u8(s.policy);
                    w.u32(s.ssrc);
                    w.u32(s.roc);
                }
            }
            CsIdMap::Generic(sessions) => {
                for s in sessions {
                    w.u8(s.cs_id);
                    w.u8(s.protocol);
                    // #P shares its octet with the S flag.
                    let count = s.policies.len().min(0x7F);
                    w.u8(u8::from(s.s) << 7 | count as u8);
                    w.put(s.policies.get(..count).unwrap_or_default());
                    w.len16(&s.session_data);
                    w.len8(&s.spi);
                }
            }
        }
    }
}

fn parse_srtp(c: &mut Cursor<'_>) -> Result<SrtpSession, Error> {
    let policy = c.u8("a policy number")?;
    Ok(SrtpSession { policy, ssrc: c.u32("an SSRC")?, roc: c.u32("a rollover counter")? })
}

fn parse_generic(c: &mut Cursor<'_>) -> Result<CryptoSession, Error> {
    let cs_id = c.u8("a CS ID")?;
    let protocol = c.u8("a security protocol type")?;
    let s_count = c.u8("the S flag and number of policies")?;
    let policies = c.take(usize::from(s_count & 0x7F), "policy numbers")?.to_vec();
    let len = c.u16("a session data length")?;
    let session_data = c.take(usize::from(len), "session data")?.to_vec();
    let len = c.u8("an SPI length")?;
    let spi = c.take(usize::from(len), "an SPI")?.to_vec();
    Ok(CryptoSession { cs_id, protocol, s: s_count & 0x80 != 0, policies, session_data, spi })
}
