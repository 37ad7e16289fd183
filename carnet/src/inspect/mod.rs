//! `carnet inspect PROTO`: what is in this message or stream, and what is wrong with it.
//!
//! Each protocol has a module with one function, `inspect(input, emit)`, which reads octets as
//! the receiver would, emits one JSON object a message and stops at the first octet that is not
//! acceptable.

pub mod mikey;
pub mod msrp;
pub mod sdp;
pub mod sip;

use serde_json::Value;

/// The first thing in the input that a receiver would not accept.
#[derive(Debug)]
pub struct Diagnosis {
    /// Where, in octets from the start of the input.
    pub offset: usize,
    /// One word a script can branch on: `syntax`, `limit`, `truncated`, `unsupported` ...
    pub class: &'static str,
    /// For people.
    pub message: String,
}

/// Receives the objects in order.
pub type Emit<'a> = &'a mut dyn FnMut(Value);
