//! Certificates that are not the ones described.
