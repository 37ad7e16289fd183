//! Whole calls: INVITE, 200, ACK, MSRP both ways over the media path, BYE.
//!
//! A caller and a callee, in one process or in two, with whatever is to be loaded between them: signalling goes to the
//! hop that is named, media to where descriptions say. The callee says as many messages as it hears; each side compares
//! every octet with what the other one was to say. The last request of a call has no body and is sent when everything
//! else is over: its answer says that all answers before it have arrived, so that nothing is under way when BYE goes out and octets
//! can be counted.
//!
//! SIP is over UDP (RFC 3261); media is plain MSRP, or MSRP in TLS with a pre-shared key from end to end. How such keys
//! are exchanged is left out: a number in the key management line stands for it.

pub mod between;
pub mod books;
pub mod callee;
pub mod caller;
pub mod description;
pub mod door;
pub mod end;
pub mod link;
pub mod network;
pub mod place;
pub mod program;
pub mod register;
pub mod talk;

use std::net::SocketAddr;

/// The MSRP path of an end.
fn path(address: SocketAddr, sealed: bool, number: u64) -> String {
    format!("msrp{}://{address}/{number:x};tcp", if sealed { "s" } else { "" })
}
