//! The binary encoding (RFC 3525 Annex A, and what versions 2 and 3 of H.248.1 added), in BER.
//!
//! [`parse`] takes every form of length that BER has, passes over extensions it does not know, and
//! holds sizes and numbers against the [`Limits`] of the text encoding. [`print`](fn@print) writes the shortest
//! definite form. Both speak of the same model as the text encoding:
//!
//! * Names of packages and their items are numbers on the wire, through the table of packages.
//!   What is not in the table keeps its number (`h0123/h0001`) and its value as octets (`0x020105`).
//! * Terminations have names in the model and up to eight octets on the wire: see `termination`.
//! * SDP is a list of properties: see `sdp`.
//!
//! Left out, because the model has no place for it: nonStandardData of Mux and Modem descriptors; the
//! number of the property group in an audit of Local or Remote.

mod audit;
mod ber;
mod command;
mod events;
mod media;
mod message;
mod names;
mod reader;
mod sdp;
mod service;
mod termination;
mod value;

#[cfg(test)]
mod tests;

pub use crate::text::Limits;
pub(crate) use message::body;
pub use message::{parse, print};
use reader::Reader;
use std::borrow::Cow;

/// Something an encoding, or a version of the protocol, has no way to say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsayable(Cow<'static, str>);

pub(crate) fn unsayable(what: impl Into<Cow<'static, str>>) -> Unsayable {
    Unsayable(what.into())
}

type Result<T, E = Unsayable> = std::result::Result<T, E>;
