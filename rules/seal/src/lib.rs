//! The key exchange of a sealed media line: what goes to the key server, what goes into the SDP, and
//! what each failure means, sans-IO.
//!
//! ```text
//!  who offers:  Keys::ask ─▶ key server ─▶ Keys::offer ─▶ a=key-mgmt ─▶ Offering::answered ─▶ Seal
//!               Keys::make (a ticket of our own: mode 3) ─▶ Keys::transfer ──┘
//!  who answers: Keys::look ─▶ Keys::open ─▶ key server ─▶ Keys::opened ─▶ Seal, a=key-mgmt
//! ```
//!
//! RFC 6043 §4.2 (the exchanges), RFC 4567 §4 and §7 (offer and answer, bidding down). The
//! cryptography is `carnet_mikey`'s; this crate turns its errors into [`Refusal`]s and adds the checks
//! that need to know the call: is the ticket from our key server, is it for us, was the list of protocols
//! changed on the way.
//!
//! A question to the key server leaves as a [`Fetch`], which the driver posts; [`Question`] follows it.
//! One exchange serves one media line: every line has its own ticket transfer and its own key.
//!
//! Left out: SIP and SDP, which carry the values; key exchanges other than MIKEY-TICKET.

mod exchange;
mod fetch;
mod question;
mod refusal;

pub use exchange::{Asking, KeyAccount, Keys, Offering, Opening, Seal, Sealed, Ticket};
pub use fetch::{Fetch, FetchError, FetchId, FetchPurpose};
pub use question::Question;
pub use refusal::{Half, Refusal};
