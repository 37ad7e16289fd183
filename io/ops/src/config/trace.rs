//! `[trace]`: how much of what went by is kept for ladders; `[hep]`: where it goes besides.

use super::Complaint;
use super::check::{Checked, must_be_a_file};
use super::text::as_text;
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// `[trace]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TraceSection {
    /// Memory for what went by, `16 MiB`; `off` keeps nothing.
    pub ring: Spanned<Memory>,
    /// Messages and events in it, at most.
    pub entries: Spanned<usize>,
    /// Seconds after which what went by is forgotten.
    pub age: Spanned<u64>,
}

impl Default for TraceSection {
    fn default() -> Self {
        Self {
            ring: Spanned::new(0..0, Memory(16 << 20)),
            entries: Spanned::new(0..0, 100_000),
            age: Spanned::new(0..0, 3_600),
        }
    }
}

/// Octets: `512 KiB`, `16 MiB`, `1 GiB`; 0 is `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(pub usize);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("off"),
            octets if octets % (1 << 20) == 0 => write!(f, "{} MiB", octets >> 20),
            octets => write!(f, "{} KiB", octets >> 10),
        }
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(0));
        }
        let wrong = || format!("`{text}` is no amount of memory; write `16 MiB`, or `off`");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
        let shift = match unit.trim() {
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(wrong()),
        };
        let number: usize = number.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).filter(|octets| *octets > 0).map(Self).ok_or_else(wrong)
    }
}

/// `[hep]`: a Homer, or whoever else speaks HEPv3.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HepSection {
    /// `udp:HOST:PORT`, `tcp:HOST:PORT` or `tls:HOST:PORT`.
    pub server: Spanned<HepServer>,
    /// Files for `tls:`.
    pub tls: Option<Spanned<HepTls>>,
    /// Tells this process from others there.
    #[serde(default = "one")]
    pub id: u32,
    /// The same in a word, if it is wanted.
    pub name: Option<Spanned<String>>,
    /// A file with the word that the server wants to see (authenticate key).
    pub password_file: Option<Spanned<PathBuf>>,
    /// Messages that may wait to be sent. More are dropped and counted.
    #[serde(default = "queue")]
    pub queue: Spanned<usize>,
}

/// TLS to a HEP server.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HepTls {
    /// PEM file with the authorities that the server's certificate is checked against; the system's if absent.
    pub ca: Option<Spanned<PathBuf>>,
    /// PEM file with a certificate of our own, for a server that asks for one.
    pub certificate: Option<Spanned<PathBuf>>,
    /// PEM file with its private key.
    pub key: Option<Spanned<PathBuf>>,
}

impl HepSection {
    /// Every path of the section.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.tls.as_mut().map(Spanned::as_mut);
        let files = tls.into_iter().flat_map(|tls| [&mut tls.ca, &mut tls.certificate, &mut tls.key]);
        files.chain([&mut self.password_file]).flatten().map(Spanned::as_mut)
    }
}

fn one() -> u32 {
    1
}

fn queue() -> Spanned<usize> {
    Spanned::new(0..0, 4_096)
}

/// Where HEP goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HepServer {
    /// How.
    pub way: HepWay,
    /// A name or address.
    pub host: String,
    /// The port; 9060 is usual.
    pub port: u16,
}

/// What HEP goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HepWay {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
    /// A connection, in TLS.
    Tls,
}

impl HepServer {
    /// The address, if it is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for HepServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto = match self.way {
            HepWay::Udp => "udp",
            HepWay::Tcp => "tcp",
            HepWay::Tls => "tls",
        };
        match self.address() {
            Some(address) => write!(f, "{proto}:{address}"),
            None => write!(f, "{proto}:{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for HepServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a server; write `udp:homer.example:9060`, `tcp:192.0.2.1:9060` or `tls:…`, IPv6 in brackets"
            )
        };
        let (proto, rest) = text.split_once(':').ok_or_else(wrong)?;
        let way = match proto {
            "udp" => HepWay::Udp,
            "tcp" => HepWay::Tcp,
            "tls" => HepWay::Tls,
            _ => return Err(wrong()),
        };
        if let Ok(address) = rest.parse::<SocketAddr>() {
            return Ok(Self { way, host: address.ip().to_string(), port: address.port() });
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || !host.chars().all(named) || port == 0 {
            return Err(wrong());
        }
        Ok(Self { way, host: host.to_owned(), port })
    }
}

as_text! {
    Memory, "^(off|[0-9]+ *(KiB|MiB|GiB))$";
    HepServer, "^(udp|tcp|tls):.+:[0-9]+$";
}

pub(super) fn check_trace(section: &TraceSection) -> Checked {
    let Memory(octets) = *section.ring.as_ref();
    if octets != 0 && !(64 << 10..=16 << 30).contains(&octets) {
        return Err(Complaint::new(section.ring.span(), "`ring` is 64 KiB to 16 GiB, or `off`"));
    }
    if !(16..=10_000_000).contains(section.entries.as_ref()) {
        return Err(Complaint::new(section.entries.span(), "`entries` is 16 to 10000000"));
    }
    if !(1..=7 * 86_400).contains(section.age.as_ref()) {
        return Err(Complaint::new(section.age.span(), "`age` is 1 second to a week (604800)"));
    }
    Ok(())
}

pub(super) fn check_hep(section: &HepSection) -> Checked {
    if let Some(tls) = &section.tls {
        if section.server.as_ref().way != HepWay::Tls {
            return Err(Complaint::new(tls.span(), "`tls` is for a server that is named with `tls:`"));
        }
        let HepTls { ca, certificate, key } = tls.as_ref();
        if certificate.is_some() != key.is_some() {
            return Err(Complaint::new(tls.span(), "`certificate` and `key` go together"));
        }
        [ca, certificate, key].into_iter().flatten().try_for_each(must_be_a_file)?;
    }
    section.password_file.as_ref().map_or(Ok(()), must_be_a_file)?;
    if !(1..=1_000_000).contains(section.queue.as_ref()) {
        return Err(Complaint::new(section.queue.span(), "`queue` is 1 to 1000000"));
    }
    if let Some(name) = &section.name
        && (name.as_ref().is_empty()
            || name.as_ref().len() > 255
            || !name.as_ref().chars().all(|c| c.is_ascii_graphic()))
    {
        return Err(Complaint::new(name.span(), "`name` is one word of visible ASCII"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use std::path::Path;

    fn read(sections: &str) -> Result<crate::config::Config, String> {
        let kms = "[kms]\nname = \"k\"\nlisten = \"127.0.0.1:8443\"\ndata = \"d\"\n";
        parse("carnet.toml", format!("{kms}{sections}"), Path::new("/etc/carnet")).map_err(|e| e.to_string())
    }

    #[test]
    fn memory_is_bounded_and_off_is_a_word() {
        assert_eq!(read("").unwrap().trace.ring.as_ref().0, 16 << 20);
        for (text, octets) in [("16 MiB", 16 << 20), ("64KiB", 64 << 10), ("1 GiB", 1 << 30), ("off", 0)] {
            let config = read(&format!("[trace]\nring = \"{text}\"")).unwrap();
            assert_eq!(config.trace.ring.as_ref().0, octets, "{text}");
        }
        for bad in
            ["\"16\"", "\"16 MB\"", "\"1 KiB\"", "\"0 MiB\"", "\"-1 MiB\"", "16", "\"99999999999 GiB\""]
        {
            assert!(read(&format!("[trace]\nring = {bad}")).is_err(), "{bad}");
        }
        for bad in ["entries = 1", "age = 0", "age = 604801", "size = 1"] {
            assert!(read(&format!("[trace]\n{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_is_named_with_its_port() {
        let server = |text: &str| {
            let config = read(&format!("[hep]\nserver = \"{text}\""))?;
            Ok::<_, String>(config.hep.map(|hep| hep.server.as_ref().to_string()).unwrap_or_default())
        };
        for good in [
            "udp:192.0.2.1:9060",
            "tcp:homer.example:9061",
            "tls:homer.example:9062",
            "udp:[2001:db8::1]:9060",
        ] {
            assert_eq!(server(good), Ok(good.to_owned()));
        }
        for bad in [
            "192.0.2.1:9060",
            "udp:homer",
            "udp::9060",
            "ssl:homer:9060",
            "udp:a b:1",
            "udp:x:0",
            "udp:x:70000",
        ] {
            assert!(server(bad).is_err(), "{bad}");
        }
        for (server, tls) in [
            ("tcp:192.0.2.1:9060", "{}"),
            ("tls:192.0.2.1:9060", "{ ca = \"none\" }"),
            ("tls:192.0.2.1:9060", "{ certificate = \"/proc/self/exe\" }"),
            ("tls:192.0.2.1:9060", "{ verify = false }"),
        ] {
            assert!(read(&format!("[hep]\nserver = \"{server}\"\ntls = {tls}")).is_err(), "{server} {tls}");
        }
        for bad in ["password-file = \"none\"", "queue = 0", "name = \"a b\"", "id = -1"] {
            assert!(read(&format!("[hep]\nserver = \"udp:192.0.2.1:9060\"\n{bad}")).is_err(), "{bad}");
        }
    }
}
