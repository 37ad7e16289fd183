//! What the tests of this crate share.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use carnet_tls::{Error, Keyring, Psk, PskContext, PskKey, PskSettings, Report, TlsStream, Versions};
use std::process::{Command, Stdio};
use tokio::io::DuplexStream;

pub const IDENTITY: &str = "mikey-ticket:b2b2b2b2:01";
pub const KEY: [u8; 32] = [0x5a; 32];
pub const KEY_HEX: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

pub fn key() -> PskKey {
    named(IDENTITY, KEY)
}

pub fn named(identity: &str, octets: [u8; 32]) -> PskKey {
    PskKey::new(identity, Psk::new(&octets).unwrap()).unwrap()
}

pub fn context(versions: Versions) -> PskContext {
    PskContext::new(PskSettings { versions, ..PskSettings::default() }).unwrap()
}

pub type Stream = TlsStream<DuplexStream>;
pub type Outcome = Result<(Stream, Report), Error>;

/// One handshake in memory between two contexts.
pub async fn meet(
    client: &PskContext,
    offered: PskKey,
    server: &PskContext,
    held: PskKey,
) -> (Outcome, Outcome) {
    let (a, b) = tokio::io::duplex(64 * 1024);
    tokio::join!(client.connect(a, offered), server.accept(b, held))
}

pub async fn meet_ring(
    client: &PskContext,
    offered: PskKey,
    server: &PskContext,
    ring: &Keyring,
) -> (Outcome, Outcome) {
    let (a, b) = tokio::io::duplex(64 * 1024);
    tokio::join!(client.connect(a, offered), server.accept_from(b, ring))
}

/// Whether another program is here to be tested against. Says so when not; fails when it must be.
pub fn have(program: &str) -> bool {
    let found = Command::new(program)
        .arg(if program == "openssl" { "version" } else { "--version" })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !found {
        assert!(
            std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(),
            "{program} is not installed, and CARNET_REQUIRE_INTEROP asks for it"
        );
        eprintln!("skipped: {program} is not installed");
    }
    found
}
