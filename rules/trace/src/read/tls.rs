//! TLS: what of a handshake goes over the wire in the clear (RFC 5246, RFC 8446, RFC 4279).

use super::{Tie, Told};
use crate::model::{ClientHello, Fact, Tls};
use carnet_wire::{Cursor, ParseError, hex};
use sha2::{Digest as _, Sha256};

/// Octets of a handshake that are put together; certificates of long chains fit.
const HANDSHAKE: usize = 128 << 10;
/// Octets of a record that are held (RFC 5246 §6.2.3).
const RECORD: usize = (16 << 10) + 2048;

/// Whether a stream begins with a record; `None` while too little is there.
pub(super) fn begins(octets: &[u8]) -> Option<bool> {
    match octets {
        [] => None,
        [20..=23] => None,
        [20..=23, 3] => None,
        [20..=23, 3, 0..=4, ..] => Some(true),
        _ => Some(false),
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    skip: usize,
    handshake: Vec<u8>,
    /// A ChangeCipherSpec has gone by.
    changed: bool,
    broken: bool,
}

impl Reader {
    /// Reads on.
    pub(super) fn read(&mut self, mut input: &[u8], out: &mut Vec<Told>) {
        let (mut records, mut octets) = (0u64, 0u64);
        while !input.is_empty() && !self.broken {
            if self.skip > 0 {
                let over = self.skip.min(input.len());
                self.skip -= over;
                input = input.get(over..).unwrap_or_default();
                continue;
            }
            let wanted = match self.buffer.get(..5) {
                Some([_, _, _, high, low]) => 5 + usize::from(u16::from_be_bytes([*high, *low])),
                _ => 5,
            };
            let part = (wanted - self.buffer.len()).min(input.len());
            self.buffer.extend_from_slice(input.get(..part).unwrap_or_default());
            input = input.get(part..).unwrap_or_default();
            let Some([kind, 3, 0..=4, high, low]) =
                self.buffer.get(..5).and_then(|h| h.first_chunk::<5>()).copied()
            else {
                self.broken = self.buffer.len() >= 5;
                continue;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if !matches!(kind, 20..=23) || length > RECORD {
                self.broken = true;
                continue;
            }
            if kind == 23 {
                // What is sealed is counted, not held.
                records += 1;
                octets += length as u64;
                self.skip = length;
                self.buffer.clear();
                continue;
            }
            if self.buffer.len() < 5 + length {
                continue;
            }
            let record = std::mem::take(&mut self.buffer);
            self.record(kind, record.get(5..).unwrap_or_default(), out);
        }
        if records > 0 {
            out.push(sealed(records, octets));
        }
        if self.broken {
            self.buffer = Vec::new();
        }
    }

    /// Octets are not in the capture: what follows may stand anywhere in a record.
    pub(super) fn lost(&mut self, octets: u64) {
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        if octets <= self.skip {
            self.skip -= octets;
        } else {
            self.broken = true;
        }
    }

    fn record(&mut self, kind: u8, body: &[u8], out: &mut Vec<Told>) {
        match kind {
            20 => {
                self.changed = true;
                self.handshake.clear();
            }
            21 => match body {
                [level, code] => out.push(alert(*level, *code)),
                _ => out.push(sealed(1, body.len() as u64)),
            },
            22 => {
                // Behind a change of ciphers messages are sealed, but for the second ClientHello (RFC 8446 §D.4).
                if self.changed && !is_whole_hello(body) {
                    out.push(sealed(1, body.len() as u64));
                    return;
                }
                if self.handshake.len() + body.len() > HANDSHAKE {
                    self.broken = true;
                    return;
                }
                self.handshake.extend_from_slice(body);
                while let Some((kind, length)) = header(&self.handshake) {
                    if self.handshake.len() < 4 + length {
                        break;
                    }
                    let rest = self.handshake.split_off(4 + length);
                    let message = std::mem::replace(&mut self.handshake, rest);
                    out.push(message_of(kind, message.get(4..).unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
}

fn header(octets: &[u8]) -> Option<(u8, usize)> {
    let [kind, a, b, c] = octets.first_chunk::<4>()?;
    Some((*kind, usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)))
}

fn is_whole_hello(body: &[u8]) -> bool {
    header(body).is_some_and(|(kind, length)| kind == 1 && body.len() == length + 4)
}

fn sealed(records: u64, octets: u64) -> Told {
    let fact = Fact::Tls(Box::new(Tls::Sealed { records, octets }));
    let label = format!("sealed {}", crate::words::octets(octets));
    Told { again: Some(u64::from_be_bytes(*b"__sealed")), ..Told::new(label, "", fact) }
}

fn alert(level: u8, code: u8) -> Told {
    let name = alert_name(code).map_or_else(|| format!("alert {code}"), str::to_owned);
    let fatal = level == 2;
    let text =
        format!("Alert\nlevel {level} ({})\n{name} ({code})\n", if fatal { "fatal" } else { "warning" });
    // close_notify and user_canceled are an orderly end.
    let bad = !matches!(code, 0 | 90);
    let label = format!("alert {name}");
    Told { bad, ..Told::new(label, text, Fact::Tls(Box::new(Tls::Alert { fatal, code, name }))) }
}

fn message_of(kind: u8, body: &[u8]) -> Told {
    let read = match kind {
        1 => client_hello(body),
        2 => server_hello(body),
        11 => certificate(body),
        16 => Ok(client_key(body)),
        _ => Ok(other(kind)),
    };
    read.unwrap_or_else(|error| {
        Told::unreadable(
            "TLS",
            &format!("expected {} at octet {} of a handshake message", error.expected, error.at),
            body,
        )
    })
}

fn other(kind: u8) -> Told {
    let name = match kind {
        0 => "HelloRequest",
        4 => "NewSessionTicket",
        12 => "ServerKeyExchange",
        13 => "CertificateRequest",
        14 => "ServerHelloDone",
        15 => "CertificateVerify",
        20 => "Finished",
        22 => "CertificateStatus",
        _ => "handshake",
    };
    Told::new(name, name, Fact::Tls(Box::new(Tls::Handshake(name))))
}

/// RFC 8446 §4.1.2.
fn client_hello(body: &[u8]) -> Result<Told, ParseError> {
    let c = &mut Cursor::new(body);
    let legacy = c.u16("a version")?;
    let mut hello =
        ClientHello { random: hex::encode(c.take(32, "a random number")?), ..ClientHello::default() };
    let length = c.u8("a session identifier")?;
    c.take(length.into(), "a session identifier")?;
    let length = c.u16("cipher suites")?;
    let suites = c.take(length.into(), "cipher suites")?;
    hello.suites = pairs(suites).map(suite).collect();
    let length = c.u8("compression methods")?;
    c.take(length.into(), "compression methods")?;
    let mut versions = Vec::new();
    if !c.is_empty() {
        let length = c.u16("extensions")?;
        let extensions = c.take(length.into(), "extensions")?;
        each_extension(extensions, |kind, value| match kind {
            0 => hello.sni = sni(value).ok(),
            16 => hello.alpn = names(value).unwrap_or_default(),
            41 => hello.identities = identities(value).unwrap_or_default(),
            43 => versions = pairs(value.get(1..).unwrap_or_default()).collect(),
            _ => {}
        })?;
    }
    if versions.is_empty() {
        versions.push(legacy);
    }
    // Values that stand for nothing (RFC 8701).
    hello.versions = versions.into_iter().filter(|v| v & 0x0f0f != 0x0a0a).map(version).collect();
    let mut label = "ClientHello".to_owned();
    if let Some(sni) = &hello.sni {
        label.push_str(&format!(" {sni}"));
    }
    if !hello.identities.is_empty() {
        label.push_str(" PSK");
    }
    let text = format!(
        "ClientHello\nrandom {}\nversions {}\nserver name {}\nprotocols {}\npre-shared keys {}\ncipher suites\n  {}\n",
        hello.random,
        hello.versions.join(", "),
        hello.sni.as_deref().unwrap_or("-"),
        list(&hello.alpn),
        list(&hello.identities),
        hello.suites.join("\n  "),
    );
    let ties = vec![Tie::Random(hello.random.clone())];
    Ok(Told { ties, ..Told::new(label, text, Fact::Tls(Box::new(Tls::ClientHello(Box::new(hello))))) })
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn pairs(octets: &[u8]) -> impl Iterator<Item = u16> {
    octets.chunks_exact(2).filter_map(|pair| pair.first_chunk::<2>().map(|p| u16::from_be_bytes(*p)))
}

fn each_extension(octets: &[u8], mut take: impl FnMut(u16, &[u8])) -> Result<(), ParseError> {
    let c = &mut Cursor::new(octets);
    while !c.is_empty() {
        let kind = c.u16("an extension")?;
        let length = c.u16("the length of an extension")?;
        take(kind, c.take(length.into(), "an extension")?);
    }
    Ok(())
}

/// RFC 6066 §3.
fn sni(value: &[u8]) -> Result<String, ParseError> {
    let c = &mut Cursor::new(value);
    c.u16("a list")?;
    c.u8("a type")?;
    let length = c.u16("a name")?;
    Ok(visible(c.take(length.into(), "a name")?))
}

/// RFC 7301 §3.1.
fn names(value: &[u8]) -> Result<Vec<String>, ParseError> {
    let c = &mut Cursor::new(value);
    c.u16("a list")?;
    let mut out = Vec::new();
    while !c.is_empty() {
        let length = c.u8("a name")?;
        out.push(visible(c.take(length.into(), "a name")?));
    }
    Ok(out)
}

/// RFC 8446 §4.2.11.
fn identities(value: &[u8]) -> Result<Vec<String>, ParseError> {
    let c = &mut Cursor::new(value);
    let length = c.u16("identities")?;
    let c = &mut Cursor::new(c.take(length.into(), "identities")?);
    let mut out = Vec::new();
    while !c.is_empty() {
        let length = c.u16("an identity")?;
        out.push(visible(c.take(length.into(), "an identity")?));
        c.u32("an age")?;
    }
    Ok(out)
}

/// Text as it is; octets in hexadecimal, the first 32 of them.
fn visible(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => {
            let more = if octets.len() > 32 { "…" } else { "" };
            format!("0x{}{more}", hex::encode(octets.get(..octets.len().min(32)).unwrap_or_default()))
        }
    }
}

/// RFC 8446 §4.1.3.
fn server_hello(body: &[u8]) -> Result<Told, ParseError> {
    /// The random number that makes it a HelloRetryRequest.
    const RETRY: &str = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
    let c = &mut Cursor::new(body);
    let mut chosen = c.u16("a version")?;
    let random = hex::encode(c.take(32, "a random number")?);
    let length = c.u8("a session identifier")?;
    c.take(length.into(), "a session identifier")?;
    let suite = suite(c.u16("a cipher suite")?);
    c.u8("a compression method")?;
    let mut psk = false;
    if !c.is_empty() {
        let length = c.u16("extensions")?;
        let extensions = c.take(length.into(), "extensions")?;
        each_extension(extensions, |kind, value| match kind {
            41 => psk = true,
            43 => chosen = pairs(value).next().unwrap_or(chosen),
            _ => {}
        })?;
    }
    let version = version(chosen);
    let retry = random == RETRY;
    psk |= suite.contains("PSK");
    let name = if retry { "HelloRetryRequest" } else { "ServerHello" };
    let label = format!("{name} {version}{}", if psk { " PSK" } else { "" });
    let text = format!(
        "{name}\nrandom {random}\nversion {version}\ncipher suite {suite}\npre-shared key {}\n",
        if psk { "taken" } else { "none" }
    );
    Ok(Told::new(label, text, Fact::Tls(Box::new(Tls::ServerHello { random, version, suite, retry, psk }))))
}

/// RFC 5246 §7.4.2.
fn certificate(body: &[u8]) -> Result<Told, ParseError> {
    let c = &mut Cursor::new(body);
    c.take(3, "the length of a chain")?;
    let (mut first, mut count) = (None, 0);
    while !c.is_empty() {
        let [a, b, d] = c.array::<3>("the length of a certificate")?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(d);
        let der = c.take(length, "a certificate")?;
        first.get_or_insert_with(|| Sha256::digest(der));
        count += 1;
    }
    let pairs = first.map(|f| f.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":"));
    let fingerprint = pairs.map(|pairs| format!("SHA-256 {pairs}")).unwrap_or_default();
    let text = format!("Certificate\n{count} certificates, the first: {fingerprint}\n");
    Ok(Told::new("Certificate", text, Fact::Tls(Box::new(Tls::Certificate { fingerprint, count }))))
}

/// RFC 4279 §2 and RFC 5489 §2: with a pre-shared key its identity comes first.
fn client_key(body: &[u8]) -> Told {
    let identity = body
        .first_chunk::<2>()
        .and_then(|length| body.get(2..2 + usize::from(u16::from_be_bytes(*length))))
        .and_then(|identity| std::str::from_utf8(identity).ok())
        .filter(|identity| !identity.is_empty() && !identity.chars().any(char::is_control));
    match identity {
        Some(identity) => Told::new(
            "ClientKeyExchange PSK",
            format!("ClientKeyExchange\npre-shared key {identity}\n"),
            Fact::Tls(Box::new(Tls::PskIdentity(identity.to_owned()))),
        ),
        None => Told::new(
            "ClientKeyExchange",
            "ClientKeyExchange",
            Fact::Tls(Box::new(Tls::Handshake("ClientKeyExchange"))),
        ),
    }
}

fn version(number: u16) -> String {
    match number {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301 => "1.0".to_owned(),
        0x0302 => "1.1".to_owned(),
        0x0303 => "1.2".to_owned(),
        0x0304 => "1.3".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

/// Names of the registry of cipher suites, those that are met.
fn suite(number: u16) -> String {
    let name = match number {
        0x0000 => "TLS_NULL_WITH_NULL_NULL",
        0x002f => "TLS_RSA_WITH_AES_128_CBC_SHA",
        0x0035 => "TLS_RSA_WITH_AES_256_CBC_SHA",
        0x003c => "TLS_RSA_WITH_AES_128_CBC_SHA256",
        0x008c => "TLS_PSK_WITH_AES_128_CBC_SHA",
        0x008d => "TLS_PSK_WITH_AES_256_CBC_SHA",
        0x009c => "TLS_RSA_WITH_AES_128_GCM_SHA256",
        0x009d => "TLS_RSA_WITH_AES_256_GCM_SHA384",
        0x009e => "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
        0x009f => "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
        0x00a8 => "TLS_PSK_WITH_AES_128_GCM_SHA256",
        0x00a9 => "TLS_PSK_WITH_AES_256_GCM_SHA384",
        0x00aa => "TLS_DHE_PSK_WITH_AES_128_GCM_SHA256",
        0x00ab => "TLS_DHE_PSK_WITH_AES_256_GCM_SHA384",
        0x00ae => "TLS_PSK_WITH_AES_128_CBC_SHA256",
        0x00af => "TLS_PSK_WITH_AES_256_CBC_SHA384",
        0x00ff => "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
        0x1301 => "TLS_AES_128_GCM_SHA256",
        0x1302 => "TLS_AES_256_GCM_SHA384",
        0x1303 => "TLS_CHACHA20_POLY1305_SHA256",
        0x1304 => "TLS_AES_128_CCM_SHA256",
        0xc009 => "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        0xc00a => "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        0xc013 => "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        0xc014 => "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        0xc02b => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        0xc02c => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        0xc02f => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        0xc030 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        0xc035 => "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA",
        0xc037 => "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256",
        0xcca8 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        0xcca9 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        0xccab => "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256",
        0xccac => "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
        0xd001 => "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256",
        0xd002 => "TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384",
        other => return format!("0x{other:04x}"),
    };
    name.to_owned()
}

/// The registry of alerts.
fn alert_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => return None,
    })
}
