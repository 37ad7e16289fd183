//! Clients behind translators of addresses.
