//! The expressions that our rules are made of (`linux/netfilter/nf_tables.h`).
//!
//! Registers are those of four octets, from 0: a value of more octets takes several in a row.

use crate::netlink::Writer;

/// The part of a packet that something is read from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Base {
    Network = 1,
    Transport = 2,
}

/// What connection tracking knows of a packet's connection, in the direction of its first packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tracked {
    SourceIp = 19,
    DestinationIp = 20,
    SourceIp6 = 21,
    DestinationIp6 = 22,
    DestinationPort = 12,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Meta {
    Family = 15,
    Protocol = 16,
    /// The kind of the interface that it came in by (`ARPHRD_*`).
    CameBy = 8,
}

/// A list of expressions being written.
pub(crate) struct Expressions<'a>(pub(crate) &'a mut Writer);

const fn register(number: u32) -> u32 {
    8 + number
}

impl Expressions<'_> {
    fn expression(&mut self, name: &str, inside: impl FnOnce(&mut Writer)) -> &mut Self {
        self.0.nest(1, |w| {
            w.text(1, name);
            w.nest(2, inside);
        });
        self
    }

    pub(crate) fn meta(&mut self, key: Meta, to: u32) -> &mut Self {
        self.expression("meta", |w| {
            w.number(2, key as u32);
            w.number(1, register(to));
        })
    }

    fn compare(&mut self, from: u32, operation: u32, with: &[u8]) -> &mut Self {
        self.expression("cmp", |w| {
            w.number(1, register(from));
            w.number(2, operation);
            w.nest(3, |w| w.attribute(1, with));
        })
    }

    /// Ends the rule unless it is equal.
    pub(crate) fn is(&mut self, from: u32, value: &[u8]) -> &mut Self {
        self.compare(from, 0, value)
    }

    /// Ends the rule if it is equal.
    pub(crate) fn is_not(&mut self, from: u32, value: &[u8]) -> &mut Self {
        self.compare(from, 1, value)
    }

    /// TCP over the IP version with that number.
    pub(crate) fn tcp(&mut self, family: u8) -> &mut Self {
        self.meta(Meta::Family, 0).is(0, &[family]).meta(Meta::Protocol, 0).is(0, &[6])
    }

    pub(crate) fn payload(&mut self, base: Base, offset: u32, length: u32, to: u32) -> &mut Self {
        self.expression("payload", |w| {
            w.number(1, register(to));
            w.number(2, base as u32);
            w.number(3, offset);
            w.number(4, length);
        })
    }

    /// Writes into the header; `checksum` is the offset of the IP checksum.
    pub(crate) fn write(&mut self, offset: u32, length: u32, from: u32, checksum: Option<u32>) -> &mut Self {
        self.expression("payload", |w| {
            w.number(5, register(from));
            w.number(2, Base::Network as u32);
            w.number(3, offset);
            w.number(4, length);
            w.number(6, u32::from(checksum.is_some()));
            w.number(7, checksum.unwrap_or(0));
            w.number(8, 0);
        })
    }

    /// `(register & mask) ^ xor`
    pub(crate) fn bits(&mut self, at: u32, mask: &[u8], xor: &[u8]) -> &mut Self {
        self.expression("bitwise", |w| {
            w.number(1, register(at));
            w.number(2, register(at));
            w.number(3, u32::try_from(mask.len()).unwrap_or(0));
            w.nest(4, |w| w.attribute(1, mask));
            w.nest(5, |w| w.attribute(1, xor));
        })
    }

    /// Of the direction of the connection's first packet.
    pub(crate) fn original(&mut self, what: Tracked, to: u32) -> &mut Self {
        self.expression("ct", |w| {
            w.number(1, register(to));
            w.number(2, what as u32);
            w.attribute(3, &[0]);
        })
    }

    /// Ends the rule unless connection tracking has not seen this connection before.
    pub(crate) fn new_connection(&mut self) -> &mut Self {
        // NFT_CT_STATE, NF_CT_STATE_BIT(IP_CT_NEW)
        let new = 8_u32.to_ne_bytes();
        self.expression("ct", |w| {
            w.number(1, register(0));
            w.number(2, 0);
        })
        .bits(0, &new, &[0; 4])
        .is_not(0, &[0; 4])
    }

    /// Ends the rule unless both ends of the packet's connection are translated.
    pub(crate) fn translated_twice(&mut self) -> &mut Self {
        // NFT_CT_STATUS, IPS_SRC_NAT and IPS_DST_NAT
        let both = 0x30_u32.to_ne_bytes();
        self.expression("ct", |w| {
            w.number(1, register(0));
            w.number(2, 2);
        })
        .bits(0, &both, &[0; 4])
        .is(0, &both)
    }

    /// The packet is of this direction of its connection: 0 that of its first packet.
    pub(crate) fn direction(&mut self, direction: u8) -> &mut Self {
        self.expression("ct", |w| {
            w.number(1, register(0));
            w.number(2, 1);
        })
        .is(0, &[direction])
    }

    /// Ends the rule unless the key is there.
    pub(crate) fn lookup(&mut self, set: &str, key: u32, to: Option<u32>) -> &mut Self {
        self.expression("lookup", |w| {
            w.text(1, set);
            w.number(2, register(key));
            if let Some(to) = to {
                w.number(3, register(to));
            }
        })
    }

    /// A map of verdicts.
    pub(crate) fn verdict_of(&mut self, map: &str, key: u32) -> &mut Self {
        self.expression("lookup", |w| {
            w.text(1, map);
            w.number(2, register(key));
            w.number(3, 0);
        })
    }

    pub(crate) fn nat(&mut self, destination: bool, family: u8, address: u32, port: u32) -> &mut Self {
        self.expression("nat", |w| {
            w.number(1, u32::from(destination));
            w.number(2, family.into());
            w.number(3, register(address));
            w.number(5, register(port));
        })
    }

    /// Without an address it would be the first one of the interface.
    pub(crate) fn tproxy(&mut self, family: u8, address: u32, port: u32) -> &mut Self {
        self.expression("tproxy", |w| {
            w.number(1, family.into());
            w.number(2, register(address));
            w.number(3, register(port));
        })
    }

    fn verdict(&mut self, code: u32) -> &mut Self {
        self.expression("immediate", |w| {
            w.number(1, 0);
            w.nest(2, |w| w.nest(2, |w| w.number(1, code)));
        })
    }

    pub(crate) fn jump(&mut self, chain: &str) -> &mut Self {
        self.expression("immediate", |w| {
            w.number(1, 0);
            w.nest(2, |w| {
                w.nest(2, |w| {
                    // NFT_JUMP
                    w.attribute(1, &(-3_i32).to_be_bytes());
                    w.text(2, chain);
                });
            });
        })
    }

    pub(crate) fn drop(&mut self) -> &mut Self {
        self.verdict(0)
    }

    pub(crate) fn accept(&mut self) -> &mut Self {
        self.verdict(1)
    }

    /// Goes back to the chain that led here.
    pub(crate) fn done(&mut self) -> &mut Self {
        // NFT_RETURN
        self.verdict(0xffff_fffb)
    }

    /// Lowers the maximum segment size of a SYN (RFC 9293 §3.7.1) to what the way there, and the way back, take.
    pub(crate) fn clamp(&mut self) -> &mut Self {
        self.expression("rt", |w| {
            // NFT_RT_TCPMSS
            w.number(1, register(0));
            w.number(2, 3);
        })
        .expression("byteorder", |w| {
            w.number(1, register(0));
            w.number(2, register(0));
            // NFT_BYTEORDER_HTON
            w.number(3, 1);
            w.number(4, 2);
            w.number(5, 2);
        })
        .expression("exthdr", |w| {
            w.attribute(2, &[2]);
            w.number(3, 2);
            w.number(4, 2);
            // NFT_EXTHDR_OP_TCPOPT
            w.number(6, 1);
            w.number(7, register(0));
        })
    }

    pub(crate) fn log(&mut self, group: u16, octets: u32, threshold: u16) -> &mut Self {
        self.expression("log", |w| {
            w.attribute(1, &group.to_be_bytes());
            w.number(3, octets);
            w.attribute(4, &threshold.to_be_bytes());
        })
    }
}
