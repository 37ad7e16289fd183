//! Conference event package documents (RFC 4575), sans-IO.
