//! MIKEY and MIKEY-TICKET (RFC 3830, RFC 6043): payloads, key derivation, tickets and exchanges, sans-IO.
