//! TLS contexts: pre-shared keys and certificates, never both in one.
