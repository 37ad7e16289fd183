//! The floor control server of a conference (RFC 8855), sans-IO.
