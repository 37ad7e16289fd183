//! The text encoding (RFC 3525 Annex B).
