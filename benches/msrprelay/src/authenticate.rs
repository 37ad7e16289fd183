//! AUTH, twice (RFC 4976 §5.1).

use crate::Result;
use crate::relays::{Kind, Peer};
use crate::wire::Wire;
use md5::{Digest as _, Md5};
use std::io::{Read as _, Write as _};

/// The URI that is granted.
pub fn authenticate(wire: &mut Wire, peer: &Peer, own: &str, user: &str) -> Result<String> {
    let uri = format!("{}://127.0.0.1:{};tcp", peer.scheme(), peer.address.port());
    let mut ask = |fields: &str| -> Result<String> {
        let frame = format!(
            "MSRP askaskask AUTH\r\nTo-Path: {uri}\r\nFrom-Path: {own}\r\n{fields}-------askaskask$\r\n"
        );
        wire.write_all(frame.as_bytes())?;
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while !heard.ends_with(b"-------askaskask$\r\n") {
            let octets = wire.read(&mut buffer)?;
            if octets == 0 {
                return Err("the relay closed a connection".into());
            }
            heard.extend_from_slice(buffer.get(..octets).unwrap_or_default());
        }
        Ok(String::from_utf8(heard)?)
    };
    let challenge = ask("")?;
    let value = |name: &str| {
        let rest = challenge.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split_once('"')).map(|(value, _)| value).unwrap_or_default()
    };
    let (realm, nonce) = (value("realm"), value("nonce"));
    let hash =
        |text: String| Md5::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let first = hash(format!("{user}:{realm}:{user}'s-word"));
    let second = hash(format!("AUTH:{uri}"));
    let response = hash(format!("{first}:{nonce}:00000001:c:auth:{second}"));
    // msrprelay wants the one and refuses the other.
    let more = match peer.kind {
        Kind::Msrprelay => format!("opaque=\"{}\"", value("opaque")),
        _ => format!("uri=\"{uri}\""),
    };
    let granted = ask(&format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", {more}, \
         qop=auth, nc=00000001, cnonce=\"c\", response=\"{response}\"\r\n"
    ))?;
    let path = granted.lines().find_map(|line| line.strip_prefix("Use-Path: "));
    Ok(path.ok_or_else(|| format!("no URI: {granted}"))?.to_owned())
}
