//! How a process is reached: from the command line, or from its configuration file.

use super::{MOST_ANSWER, Node, Place};
use crate::kms::client::ServerTrust;
use crate::roles::{tls, token};
use carnet_ops::config::{self, AdminSection, ConfigError, NodeSection};
use carnet_tls::{CertificateContext, CertificateSettings, Credential, Peer, SubjectName, Trust};
use clap::Args;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which processes, and what they want to be shown.
#[derive(Args, Debug, Clone, Default)]
pub struct NodeArgs {
    /// Where a process answers: `https://HOST:PORT`, `http://127.0.0.1:9460`, `unix:PATH`; may be given several times.
    #[arg(long, value_name = "URL")]
    node: Vec<String>,
    /// The configuration file of a process on this host, which says all of it; may be given several times.
    #[arg(short, long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// File with the token that they ask for.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the authority of their certificates; the system's if absent.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with a certificate to show to them.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file with its private key.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl NodeArgs {
    /// Processes at these places, which ask for nothing.
    #[cfg(test)]
    pub fn of(urls: impl IntoIterator<Item = String>) -> Self {
        Self { node: urls.into_iter().collect(), ..Self::default() }
    }

    /// Whether any is named.
    pub fn is_given(&self) -> bool {
        !(self.node.is_empty() && self.config.is_empty())
    }

    /// The processes, in the order given: at least one.
    ///
    /// # Errors
    /// None is named, or what is said of one cannot be; in words.
    pub fn nodes(&self) -> Result<Vec<Node>, String> {
        if !self.is_given() {
            return Err("name the process: --node URL, or -c FILE for one on this host".into());
        }
        let token = self.token_file.as_deref().map(token::read).transpose()?;
        let shown = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(tls::from_files(certificate, key)?),
            _ => None,
        };
        let urls = self.node.iter().map(|url| self.by_url(url, token.clone(), shown.clone()));
        let files = self.config.iter().map(|path| self.by_file(path, token.clone(), shown.clone()));
        urls.chain(files).collect()
    }

    fn by_url(
        &self,
        url: &str,
        token: Option<Zeroizing<String>>,
        shown: Option<Credential>,
    ) -> Result<Node, String> {
        let (secure, place) = place(url)?;
        let loopback = match &place {
            Place::Unix(_) => true,
            Place::Tcp(host, _) => {
                host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        };
        if token.is_some() && !secure && !loopback {
            return Err(format!("{url}: the token would go over the network in the clear; use https:"));
        }
        let tls = match &place {
            Place::Tcp(host, _) if secure => {
                Some((context(shown, tls::trust(self.ca.as_deref()))?, Peer::Named(host.clone())))
            }
            _ => None,
        };
        Ok(node(place, token, tls))
    }

    fn by_file(
        &self,
        path: &Path,
        token: Option<Zeroizing<String>>,
        shown: Option<Credential>,
    ) -> Result<Node, String> {
        // What else is wrong with the file is for `carnet check`.
        let config = config::load(path).map_err(|e| match *e {
            // It names the file.
            ConfigError::Unreadable { .. } => e.to_string(),
            _ => format!("{}: {e}", path.display()),
        })?;
        let admin = config.admin.as_ref().map(|admin| admin.as_ref());
        let admin = admin.ok_or_else(|| {
            let add = "add [admin] with `socket = \"/run/carnet/admin.sock\"` or `listen = \"127.0.0.1:9460\"` and start anew";
            format!("{}: the process answers nobody: {add}", path.display())
        })?;
        of_section(admin, token, shown)
    }
}

/// The process of a configuration, on this host: at its socket, if we may open that, or else where it listens, where it proves itself by the very certificate that its file names.
///
/// # Errors
/// A file that the section names cannot be used.
pub fn of_section(
    admin: &AdminSection,
    token: Option<Zeroizing<String>>,
    shown: Option<Credential>,
) -> Result<Node, String> {
    let open = |path: &&PathBuf| UnixStream::connect(path).is_ok();
    if let Some(socket) = admin.socket.as_ref().filter(open) {
        return Ok(node(Place::Unix(socket.clone()), None, None));
    }
    let Some(listen) = admin.listen.as_ref().map(|listen| *listen.as_ref()) else {
        let socket = admin.socket.as_deref().unwrap_or_else(|| Path::new("its socket"));
        return Err(format!("nobody answers at {}", socket.display()));
    };
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let token = match (&token, &admin.token_file) {
        (None, Some(path)) => Some(token::read(path.as_ref())?),
        _ => token,
    };
    let tls = match &admin.tls {
        None => None,
        Some(section) => {
            let print = tls::credential(section.as_ref())?.fingerprint().map_err(|e| e.to_string())?;
            let made = shown.map_or_else(nobody, Ok)?;
            Some((context(Some(made), Trust::Nobody)?, Peer::Fingerprints(vec![print])))
        }
    };
    Ok(node(Place::Tcp(ip.to_string(), listen.port()), token, tls))
}

/// Another process that a configuration names, as its entry says.
///
/// # Errors
/// What is said of it cannot be, or a file cannot be used.
pub fn of_entry(section: &NodeSection) -> Result<Node, String> {
    let file = |path: &Option<config::Spanned<PathBuf>>| path.as_ref().map(|path| path.as_ref().clone());
    let arguments = NodeArgs {
        node: vec![section.url.as_ref().clone()],
        config: Vec::new(),
        token_file: file(&section.token_file),
        ca: file(&section.ca),
        certificate: file(&section.certificate),
        key: file(&section.key),
    };
    arguments.nodes()?.pop().ok_or_else(|| "it names no process".to_owned())
}

/// A key management service, to see whether it is there: over TLS checked by an authority, or by a fingerprint.
///
/// # Errors
/// What cannot be used.
pub fn reach_kms(url: &str, trust: &ServerTrust) -> Result<Node, String> {
    let (secure, place) = place(url)?;
    let tls = match (&place, trust) {
        (Place::Tcp(..), ServerTrust::Pinned(print)) if secure => {
            Some((context(Some(nobody()?), Trust::Nobody)?, Peer::Fingerprints(vec![print.clone()])))
        }
        (Place::Tcp(host, _), trust) if secure => {
            let ca = match trust {
                ServerTrust::File(path) => Some(path.as_path()),
                _ => None,
            };
            Some((context(None, tls::trust(ca))?, Peer::Named(host.clone())))
        }
        _ => None,
    };
    Ok(node(place, None, tls))
}

/// Checking by fingerprint asks for a certificate of our own.
fn nobody() -> Result<Credential, String> {
    let name = SubjectName::Dns("administrator.invalid".into());
    Credential::self_signed(&[name], 1).map_err(|e| e.to_string())
}

fn context(shown: Option<Credential>, trust: Trust) -> Result<CertificateContext, String> {
    let settings = CertificateSettings {
        credential: shown,
        trust,
        handshake_timeout: PATIENCE,
        ..CertificateSettings::default()
    };
    CertificateContext::new(&settings).map_err(|e| e.to_string())
}

fn node(place: Place, token: Option<Zeroizing<String>>, tls: Option<(CertificateContext, Peer)>) -> Node {
    let (name, authority) = match &place {
        Place::Unix(path) => (path.display().to_string(), "localhost".to_owned()),
        Place::Tcp(host, port) => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            (format!("{host}:{port}"), format!("{host}:{port}"))
        }
    };
    Node { name, place, authority, token, tls, patience: PATIENCE, most: MOST_ANSWER, idle: Mutex::default() }
}

/// Whether TLS is spoken there, and where that is.
fn place(url: &str) -> Result<(bool, Place), String> {
    if let Some(path) = url.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok((false, Place::Unix(path.into())));
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let secure = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err(format!("{url}: write https://HOST:PORT, http://127.0.0.1:PORT or unix:PATH")),
    };
    let uri: hyper::Uri = rest.trim_end_matches('/').parse().map_err(|_| format!("{url}: that is no URL"))?;
    if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
        return Err(format!("{url}: only where it answers, without a path"));
    }
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let authority = authority.ok_or_else(|| format!("{url}: names no host"))?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    if host.is_empty() {
        return Err(format!("{url}: names no host"));
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let port = match port.strip_prefix(':') {
        None if secure => 443,
        None => 80,
        Some(port) => port.parse().map_err(|_| format!("{url}: the port is 1 to 65535"))?,
    };
    Ok((secure, Place::Tcp(host, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_where_a_process_answers() {
        let tcp = |host: &str, port| Place::Tcp(host.into(), port);
        for (url, expected) in [
            ("http://127.0.0.1:9460", (false, tcp("127.0.0.1", 9460))),
            ("https://[2001:db8::1]:9460/", (true, tcp("2001:db8::1", 9460))),
            ("https://border-a.example", (true, tcp("border-a.example", 443))),
            ("localhost:9460", (false, tcp("localhost", 9460))),
            ("unix:/run/carnet/api.sock", (false, Place::Unix("/run/carnet/api.sock".into()))),
        ] {
            assert_eq!(place(url).as_ref(), Ok(&expected), "{url}");
        }
        for bad in ["ftp://x", "http://", "https://x/api", "http://u@x:1", "http://x:99999", "https:// x", ""]
        {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_does_not_leave_this_host_in_the_clear() {
        let word = || Some(Zeroizing::new("0123456789abcdef".to_owned()));
        let by = |url| NodeArgs::default().by_url(url, word(), None).map(drop);
        assert!(by("http://192.0.2.1:9460").is_err_and(|e| e.contains("in the clear")));
        assert_eq!(by("http://[::1]:9460"), Ok(()));
        assert_eq!(by("https://192.0.2.1:9460"), Ok(()));
    }
}
