//! The MSRP switch of a multi-party chat (RFC 7701), sans-IO.
