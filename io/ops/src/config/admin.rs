//! `[admin]`: where administrators ask what the roles hold, and Prometheus what has happened; `[records]`: what is written of sessions.

use super::Complaint;
use super::check::{Checked, check_tls, must_be_a_file};
use super::model::TlsSection;
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[admin]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminSection {
    /// A Unix socket for HTTP. Who can open it may do everything.
    pub socket: Option<PathBuf>,
    /// Who can open it: its owner (`0o600`), or its group too (`0o660`).
    #[serde(default = "owner")]
    pub socket_mode: Spanned<u32>,
    /// A TCP socket for HTTP.
    pub listen: Option<Spanned<SocketAddr>>,
    /// A file with a word that whoever asks over TCP has to know (`Authorization: Bearer`).
    pub token_file: Option<Spanned<PathBuf>>,
    /// A file with a word that opens what changes nothing: dashboards, observers.
    pub read_token_file: Option<Spanned<PathBuf>>,
    /// HTTPS in place of HTTP. With `ca`, whoever asks has to show a certificate.
    pub tls: Option<Spanned<TlsSection>>,
    /// Other processes that this one asks, so that its console shows the whole network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Spanned<NodeSection>>,
}

/// `[[admin.nodes]]`: the API of another process, and what it wants to be shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeSection {
    /// What it is called in the console.
    pub name: Spanned<String>,
    /// Where it answers: `https://HOST:PORT`, `http://127.0.0.1:9460`, `unix:/run/carnet/admin.sock`.
    pub url: Spanned<String>,
    /// A file with the word that it wants to hear. One for reading shows everything; only one that opens everything lets the console
    /// act on it.
    pub token_file: Option<Spanned<PathBuf>>,
    /// A PEM file with the authority of its certificate; the system's if absent.
    pub ca: Option<Spanned<PathBuf>>,
    /// A PEM file with a certificate to show to it.
    pub certificate: Option<Spanned<PathBuf>>,
    /// A PEM file with its private key.
    pub key: Option<Spanned<PathBuf>>,
}

/// Processes that one asks.
pub const MOST_NODES: usize = 64;
/// What the process that asks is called among them.
pub const THIS_PROCESS: &str = "here";

impl AdminSection {
    /// Every path of the section.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.tls.iter_mut().map(Spanned::as_mut).flat_map(|tls| {
            [Some(&mut tls.certificate), Some(&mut tls.key), tls.ca.as_mut()].into_iter().flatten()
        });
        let files =
            tls.chain(self.token_file.as_mut()).chain(self.read_token_file.as_mut()).map(Spanned::as_mut);
        let nodes = self.nodes.iter_mut().map(Spanned::as_mut).flat_map(|node| {
            let files = [&mut node.token_file, &mut node.ca, &mut node.certificate, &mut node.key];
            files.into_iter().filter_map(|file| file.as_mut()).map(Spanned::as_mut)
        });
        files.chain(nodes).chain(self.socket.as_mut())
    }
}

fn check_nodes(nodes: &[Spanned<NodeSection>]) -> Checked {
    if let Some(one) = nodes.get(MOST_NODES) {
        return Err(Complaint::new(one.span(), format!("{MOST_NODES} other processes at most can be asked")));
    }
    for (place, node) in nodes.iter().map(Spanned::as_ref).enumerate() {
        let name = node.name.as_ref();
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err(Complaint::new(node.name.span(), "`name` is 1 to 64 octets of what can be shown"));
        }
        if name == THIS_PROCESS {
            return Err(Complaint::new(node.name.span(), format!("`{THIS_PROCESS}` is this process itself")));
        }
        if nodes.iter().take(place).any(|other| other.as_ref().name.as_ref() == name) {
            return Err(Complaint::new(node.name.span(), format!("`{name}` is there twice")));
        }
        for file in [&node.token_file, &node.ca, &node.certificate, &node.key] {
            file.as_ref().map_or(Ok(()), must_be_a_file)?;
        }
        match (&node.certificate, &node.key) {
            (Some(_), Some(_)) | (None, None) => {}
            (Some(alone), None) | (None, Some(alone)) => {
                return Err(Complaint::new(alone.span(), "`certificate` and `key` are named together"));
            }
        }
        let url = node.url.as_ref();
        let tls = [&node.ca, &node.certificate].into_iter().flatten().next();
        match tls {
            Some(file) if !url.starts_with("https://") => {
                return Err(Complaint::new(file.span(), "certificates are for `https:` only"));
            }
            _ if ["https://", "http://", "unix:"].iter().any(|scheme| url.starts_with(scheme)) => {}
            _ => {
                return Err(Complaint::new(node.url.span(), "that is not where a process answers")
                    .help("write https://HOST:PORT, http://127.0.0.1:PORT or unix:PATH"));
            }
        }
    }
    Ok(())
}

fn owner() -> Spanned<u32> {
    Spanned::new(0..0, 0o600)
}

/// `[records]`: a line of JSON for each session that ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordsSection {
    /// The file; its directory must be there.
    pub file: PathBuf,
    /// MiB after which a new one is begun.
    #[serde(default = "rotate")]
    pub rotate: Spanned<u64>,
    /// Full files that are kept, `FILE.1` the newest.
    #[serde(default = "keep")]
    pub keep: Spanned<u32>,
}

fn rotate() -> Spanned<u64> {
    Spanned::new(0..0, 64)
}

fn keep() -> Spanned<u32> {
    Spanned::new(0..0, 10)
}

pub(super) fn check_records(section: &RecordsSection) -> Checked {
    if !(1..=1 << 20).contains(section.rotate.as_ref()) {
        return Err(Complaint::new(section.rotate.span(), "`rotate` is 1 to 1048576 MiB"));
    }
    if *section.keep.as_ref() > 1_000 {
        return Err(Complaint::new(section.keep.span(), "`keep` is 0 to 1000"));
    }
    Ok(())
}

pub(super) fn check(section: &Spanned<AdminSection>) -> Checked {
    let admin = section.as_ref();
    admin.token_file.as_ref().map_or(Ok(()), must_be_a_file)?;
    admin.read_token_file.as_ref().map_or(Ok(()), must_be_a_file)?;
    check_nodes(&admin.nodes)?;
    if !matches!(admin.socket_mode.as_ref(), 0o600 | 0o660) {
        return Err(Complaint::new(admin.socket_mode.span(), "`socket-mode` is 0o600 or 0o660")
            .help("who can open the socket may do everything"));
    }
    let token = admin.token_file.as_ref().or(admin.read_token_file.as_ref());
    admin.tls.as_ref().map_or(Ok(()), |tls| check_tls(tls.as_ref()))?;
    let Some(listen) = &admin.listen else {
        if let Some(token) = token {
            return Err(Complaint::new(token.span(), "a token is asked for over TCP only")
                .help("add `listen = \"127.0.0.1:9460\"`"));
        }
        if let Some(tls) = &admin.tls {
            return Err(
                Complaint::new(tls.span(), "TLS is for TCP only").help("add `listen = \"127.0.0.1:9460\"`")
            );
        }
        return match admin.socket {
            Some(_) => Ok(()),
            None => {
                Err(Complaint::new(section.span(), "nobody can ask: there is neither `socket` nor `listen`")
                    .help("add `socket = \"/run/carnet/admin.sock\"` or `listen = \"127.0.0.1:9460\"`"))
            }
        };
    };
    let (at, loopback) = (listen.span(), listen.as_ref().ip().is_loopback());
    match &admin.tls {
        _ if loopback => Ok(()),
        None => Err(Complaint::new(at, "other hosts are to ask over HTTPS only")
            .help("add `tls = { certificate, key }`, or listen on loopback")),
        Some(tls) if tls.as_ref().ca.is_none() && token.is_none() => {
            Err(Complaint::new(at, "anybody on the network could ask")
                .help("add `token-file`, or `ca` to `tls` so that who asks has to show a certificate"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn records_have_bounds() {
        let read = |records: &str| {
            let text = format!(
                "[kms]\nname = \"k\"\nlisten = \"127.0.0.1:8443\"\ndata = \"d\"\n[records]\nfile = \"s.jsonl\"\n{records}"
            );
            crate::config::parse("carnet.toml", text, std::path::Path::new("/etc/carnet"))
                .map_err(|e| e.to_string())
        };
        let records = read("").unwrap().records.unwrap();
        assert_eq!(records.file, std::path::Path::new("/etc/carnet/s.jsonl"));
        assert_eq!((*records.rotate.as_ref(), *records.keep.as_ref()), (64, 10));
        for bad in ["rotate = 0", "keep = 1001", "kept = 1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_may_ask_has_to_be_said() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["c.pem", "k.pem", "ca.pem", "token"] {
            std::fs::write(directory.path().join(file), "x").unwrap();
        }
        let kms = "[kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:8443\"\ndata = \"data\"\n";
        let read = |admin: &str| {
            let text = format!("{kms}[admin]\n{admin}\n");
            crate::config::parse("carnet.toml", text, directory.path()).map(drop).map_err(|e| e.to_string())
        };
        let node = |node: &str| format!("socket = \"s\"\nnodes = [{{ {node} }}]");
        let tls = "tls = { certificate = \"c.pem\", key = \"k.pem\" }";
        for good in [
            "socket = \"admin.sock\"".to_owned(),
            "socket = \"admin.sock\"\nsocket-mode = 0o660".to_owned(),
            "listen = \"127.0.0.1:9460\"".to_owned(),
            format!("listen = \"192.0.2.1:9460\"\nread-token-file = \"token\"\n{tls}"),
            "listen = \"[::1]:9460\"\ntoken-file = \"token\"".to_owned(),
            format!("listen = \"192.0.2.1:9460\"\ntoken-file = \"token\"\n{tls}"),
            "listen = \"192.0.2.1:9460\"\ntls = { certificate = \"c.pem\", key = \"k.pem\", ca = \"ca.pem\" }".to_owned(),
            "listen = \"127.0.0.1:9460\"\nnodes = [{ name = \"gw\", url = \"https://gw.example:9460\", token-file = \"token\", ca = \"ca.pem\", certificate = \"c.pem\", key = \"k.pem\" }]".to_owned(),
            "socket = \"admin.sock\"\n[[admin.nodes]]\nname = \"gw\"\nurl = \"unix:/run/gw.sock\"\n[[admin.nodes]]\nname = \"kms\"\nurl = \"http://127.0.0.1:9461\"".to_owned(),
        ] {
            read(&good).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for (bad, why) in [
            (String::new(), "neither"),
            ("token-file = \"token\"".to_owned(), "over TCP only"),
            ("read-token-file = \"token\"".to_owned(), "over TCP only"),
            ("socket = \"s\"\nsocket-mode = 0o666".to_owned(), "0o600 or 0o660"),
            (tls.to_owned(), "for TCP only"),
            ("listen = \"127.0.0.1:9460\"\ntoken-file = \"none\"".to_owned(), "there is no file"),
            ("listen = \"192.0.2.1:9460\"\ntoken-file = \"token\"".to_owned(), "HTTPS only"),
            (format!("listen = \"192.0.2.1:9460\"\n{tls}"), "anybody"),
            (node("name = \"here\", url = \"unix:/x\""), "this process itself"),
            (node("name = \"\", url = \"unix:/x\""), "1 to 64"),
            (node("name = \"a\", url = \"ftp://x\""), "where a process answers"),
            (node("name = \"a\", url = \"unix:/x\" }, { name = \"a\", url = \"unix:/y\""), "twice"),
            (node("name = \"a\", url = \"http://127.0.0.1:1\", ca = \"ca.pem\""), "`https:` only"),
            (node("name = \"a\", url = \"https://x\", key = \"k.pem\""), "together"),
            (node("name = \"a\", url = \"https://x\", token-file = \"none\""), "there is no file"),
        ] {
            let error = read(&bad).expect_err(&bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
