//! The text encoding (RFC 3525 Annex B, with what versions 2 and 3 of H.248.1 added).
//!
//! [`parse`] takes long and short keywords in any case, comments, folding and quoted strings, and
//! holds every size, depth and number against [`Limits`]. [`print`](fn@print) writes either form. The model that
//! comes out of `parse` is what goes into `print` and the other way round; white space, comments
//! and the choice of long or short keywords are not kept.

mod command;
mod descriptor;
mod events;
mod keyword;
mod message;
mod print;
mod scan;

#[cfg(test)]
mod tests;

pub(crate) use message::body_at;
pub use message::{Limits, parse};
pub use print::{Form, print};
