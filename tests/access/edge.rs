//! Terminals whose TLS ends at the access edge.
