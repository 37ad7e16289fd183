//! Capture files, as tcpdump and Wireshark write them, read into datagrams and streams of octets, sans-IO.
//!
//! ```text
//!  octets of a file ─▶ Reader ─ Packet ─▶ Network ─ Event ─▶ who knows the protocols
//! ```
//!
//! * [`Reader`]: pcap (both byte orders, microseconds and nanoseconds) and pcapng (sections, interfaces,
//!   resolutions), as "PCAP Capture File Format" and "PCAP Next Generation Capture File Format" of the IETF's
//!   opsawg have them.
//! * [`link`]: what is around IP: Ethernet with VLAN tags, MPLS and PPPoE, Linux cooked, loopback, nothing.
//! * [`Network`]: IPv4 and IPv6 with fragments, UDP, what ICMP says of both, and TCP as streams: in order, without
//!   what came twice, with marks where octets are missing.
//! * [`hep`]: HEPv3, by which a node tells a Homer of the same messages as they go by.
//!
//! Left out: compressed files, tunnels (GRE, GTP, VXLAN, ESP), SCTP, checksums: a capture taken at the sender
//! has wrong ones.

mod fields;
mod file;
pub mod hep;
mod ip;
pub mod link;
mod network;
mod tcp;

pub use file::{Error, Packet, Reader};
pub use ip::Limits as FragmentLimits;
pub use network::{Datagram, Event, Happening, Limits, Network, Seen, Segment, Unreachable};
