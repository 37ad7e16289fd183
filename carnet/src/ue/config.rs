//! What a client must know: who it is, its network, its key server.
//!
//! From a file with a `[ue]` table, from flags, or both; flags win. Secrets are named by the file
//! that holds them, so that they show up neither in a process list nor in a pasted configuration.

// The command line shows these texts as they are written.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use carnet_mikey::Psk;
use carnet_ops::config::{credentials_directory, located};
use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::first_hop::FirstHop;
use super::interop::{Interop, InteropSettings};
use crate::kms::client::{ServerTrust, check_url};

/// Everything a client is started with.
pub struct UeConfig {
    /// Public identity: `sip:alice@example.com`.
    pub identity: String,
    /// User name for the network's challenge.
    pub user: String,
    /// Password for the network's challenge.
    pub password: Zeroizing<String>,
    /// First hop: `sip:192.0.2.1:5060;transport=tcp`.
    pub proxy: String,
    /// Whether to register; a client behind a trunk may not need to.
    pub register: bool,
    /// How long a registration is asked for.
    pub expires: Duration,
    /// How often the way to the network is tried out, by CRLF on a connection and by STUN through a
    /// translator of addresses; `None` is as RFC 5626 §4.4 has it: 2 minutes and 29 seconds.
    pub keep_alive: Option<Duration>,
    /// Where SIP is received. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address for messages and files; `None` is that of `listen`.
    pub media: Option<IpAddr>,
    /// Whether this client can only open connections, not accept them.
    pub behind_nat: bool,
    /// What other makes do differently.
    pub interop: Interop,
    /// Where keys come from; `None` is a client that cannot seal.
    pub kms: Option<KmsAccount>,
    /// Whether messages in clear are acceptable. Off, nothing ever goes unsealed.
    pub allow_clear: bool,
    /// Certificate authority for SIP over TLS, PEM; `None` is the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether incoming calls are taken at once, files only with an inbox. Otherwise
    /// [`UeHandle::accept`](super::UeHandle::accept) decides.
    pub answer: bool,
    /// Where received files go; `None` refuses files.
    pub inbox: Option<PathBuf>,
    /// Largest file accepted, in octets.
    pub max_file: u64,
}

/// The account with the key server.
pub struct KmsAccount {
    /// `https://kms.example.com` or, inside one machine only, `http://127.0.0.1:8443`.
    pub url: String,
    /// The name the key server has in tickets: `sip:kms.example.com`.
    pub identity: String,
    /// Names the key shared with it.
    pub key_name: String,
    /// The key shared with it.
    pub key: Psk,
    /// Who vouches for its HTTPS.
    pub trust: ServerTrust,
}

/// Settings as written, in the `[ue]` table of a file or as flags.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Who you are: sip:alice@example.com
    #[arg(long = "user", value_name = "URI", global = true)]
    pub identity: Option<String>,
    /// User name for the network's password challenge [default: the part of --user before the @]
    #[arg(long, value_name = "NAME", global = true)]
    pub auth_user: Option<String>,
    /// File that holds the password
    #[arg(long, value_name = "FILE", global = true)]
    pub password_file: Option<PathBuf>,
    /// First hop: sip:192.0.2.1:5060;transport=tcp [default: the domain of --user]. Without a
    /// transport, UDP for an address and what DNS says for a name; large messages take TCP
    #[arg(long, value_name = "URI", global = true)]
    pub proxy: Option<String>,
    /// Do not register
    #[arg(long, global = true)]
    pub no_register: bool,
    /// Lifetime asked for a registration, in seconds [default: 600]
    #[arg(long, value_name = "SECONDS", global = true)]
    pub expires: Option<u64>,
    /// How often the way to the network is tried out while nothing else passes, in seconds [default: 120 on
    /// a connection, 29 through NAT without one]
    #[arg(long, value_name = "SECONDS", global = true)]
    pub keep_alive: Option<u64>,
    /// Address and port for SIP [default: 0.0.0.0:0, a free port]
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    pub listen: Option<SocketAddr>,
    /// Address for messages and files [default: the one that reaches the proxy]
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub media: Option<IpAddr>,
    /// Only open connections, never wait for one. Behind NAT that is so without being said
    #[arg(long, global = true)]
    pub behind_nat: bool,
    /// What key servers and clients of other makes do differently; in a file only.
    #[arg(skip)]
    pub interop: InteropSettings,
    /// Key server: https://kms.example.com
    #[arg(long, value_name = "URL", global = true)]
    pub kms: Option<String>,
    /// Name of the key server in tickets [default: the host of --kms]
    #[arg(long, value_name = "URI", global = true)]
    pub kms_identity: Option<String>,
    /// Name of the key shared with the key server [default: --user]
    #[arg(long, value_name = "NAME", global = true)]
    pub kms_key_name: Option<String>,
    /// File that holds the key shared with the key server, in hexadecimal
    #[arg(long, value_name = "FILE", global = true)]
    pub kms_key_file: Option<PathBuf>,
    /// Certificate authority of the key server, PEM [default: the system's]
    #[arg(long, value_name = "FILE", global = true)]
    pub kms_ca_file: Option<PathBuf>,
    /// SHA-256 of the key server's certificate, as "SHA-256 AB:CD:...", instead of an authority
    #[arg(long, value_name = "FINGERPRINT", global = true)]
    pub kms_fingerprint: Option<String>,
    /// Certificate authority for SIP over TLS, PEM [default: the system's]
    #[arg(long, value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,
    /// Also talk in clear. Without this, an unsealed call is refused
    #[arg(long, global = true)]
    pub allow_clear: bool,
    /// Ask before taking a call
    #[arg(long, global = true)]
    pub ask: bool,
    /// Largest file to accept, in octets [default: 16 GiB]
    #[arg(long, value_name = "OCTETS", global = true)]
    pub max_file: Option<u64>,
}

/// Why the settings do not make a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration is not what it should be; says where.
    #[error("{path}: {message}", path = .path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what, over several lines.
        message: String,
    },
    /// A setting is not there.
    #[error("{0} is missing: give --{flag}, or {0} in the [ue] table of the configuration", flag = flag(.0))]
    Missing(&'static str),
    /// A setting cannot be used.
    #[error("{name}: {reason}")]
    Bad {
        /// Which.
        name: &'static str,
        /// Why.
        reason: String,
    },
}

/// The flag for a key of the `[ue]` table.
fn flag(key: &'static str) -> &'static str {
    if key == "identity" { "user" } else { key }
}

#[derive(Deserialize)]
struct File {
    ue: Settings,
}

impl Settings {
    /// Reads the `[ue]` table of a file. Relative file names in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let file: File = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: carnet_ops::config::say_of(&text, &error.to_string()),
        })?;
        Ok(match path.parent() {
            Some(directory) => file.ue.relative_to(directory),
            None => file.ue,
        })
    }

    /// These settings with relative file names taken from `directory`.
    #[must_use]
    pub fn relative_to(mut self, directory: &Path) -> Self {
        let credentials = credentials_directory();
        for name in
            [&mut self.password_file, &mut self.kms_key_file, &mut self.kms_ca_file, &mut self.ca_file]
        {
            *name = name.take().map(|name| located(&name, directory, credentials.as_deref()));
        }
        self
    }

    /// These settings, and those of `base` where these say nothing.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            identity: self.identity.or(base.identity),
            auth_user: self.auth_user.or(base.auth_user),
            password_file: self.password_file.or(base.password_file),
            proxy: self.proxy.or(base.proxy),
            no_register: self.no_register || base.no_register,
            expires: self.expires.or(base.expires),
            keep_alive: self.keep_alive.or(base.keep_alive),
            listen: self.listen.or(base.listen),
            media: self.media.or(base.media),
            behind_nat: self.behind_nat || base.behind_nat,
            // Flags say nothing of it.
            interop: base.interop,
            kms: self.kms.or(base.kms),
            kms_identity: self.kms_identity.or(base.kms_identity),
            kms_key_name: self.kms_key_name.or(base.kms_key_name),
            kms_key_file: self.kms_key_file.or(base.kms_key_file),
            kms_ca_file: self.kms_ca_file.or(base.kms_ca_file),
            kms_fingerprint: self.kms_fingerprint.or(base.kms_fingerprint),
            ca_file: self.ca_file.or(base.ca_file),
            allow_clear: self.allow_clear || base.allow_clear,
            ask: self.ask || base.ask,
            max_file: self.max_file.or(base.max_file),
        }
    }

    /// Reads the secrets, fills in what follows from the rest, and says what is missing.
    pub fn resolve(self, inbox: Option<PathBuf>) -> Result<UeConfig, ConfigError> {
        let identity = self.identity.ok_or(ConfigError::Missing("identity"))?;
        let identity = if identity.contains(':') { identity } else { format!("sip:{identity}") };
        let (name, domain) = identity
            .split_once(':')
            .and_then(|(_, rest)| rest.split_once('@'))
            .map(|(name, domain)| (name.to_owned(), domain.to_owned()))
            .filter(|_| carnet_sip::Uri::parse(&identity).is_ok())
            .ok_or_else(|| ConfigError::Bad {
                name: "identity",
                reason: format!("{identity} is not like sip:alice@example.com"),
            })?;
        let password = match &self.password_file {
            Some(path) => secret(path)?,
            None => Zeroizing::new(String::new()),
        };
        let interop = self
            .interop
            .resolve()
            .map_err(|(name, reason)| ConfigError::Bad { name, reason: reason.into() })?;
        let kms = match self.kms {
            None => None,
            Some(url) => {
                let path = self.kms_key_file.ok_or(ConfigError::Missing("kms-key-file"))?;
                let text = secret(&path)?;
                let octets = carnet_wire::hex::decode(text.as_bytes()).map(Zeroizing::new).map_err(|_| {
                    ConfigError::Bad { name: "kms-key-file", reason: "not hexadecimal digits".into() }
                })?;
                let key = Psk::new(&octets)
                    .map_err(|error| ConfigError::Bad { name: "kms-key-file", reason: error.to_string() })?;
                let trust = match (self.kms_fingerprint, self.kms_ca_file) {
                    (Some(text), _) => {
                        ServerTrust::Pinned(text.parse().map_err(|error: carnet_tls::Error| {
                            ConfigError::Bad { name: "kms-fingerprint", reason: error.to_string() }
                        })?)
                    }
                    (None, Some(path)) => ServerTrust::File(path),
                    (None, None) => ServerTrust::System,
                };
                let place = check_url(&url)
                    .map_err(|error| ConfigError::Bad { name: "kms", reason: error.to_string() })?;
                Some(KmsAccount {
                    identity: self.kms_identity.unwrap_or_else(|| format!("sip:{}", place.host())),
                    key_name: self.kms_key_name.unwrap_or_else(|| identity.clone()),
                    key,
                    trust,
                    url,
                })
            }
        };
        if kms.is_none() && !self.allow_clear {
            return Err(ConfigError::Missing("kms"));
        }
        if self.keep_alive == Some(0) {
            return Err(ConfigError::Bad { name: "keep-alive", reason: "at least 1 second".into() });
        }
        let proxy = self.proxy.unwrap_or_else(|| format!("sip:{domain}"));
        FirstHop::parse(&proxy).map_err(|reason| ConfigError::Bad { name: "proxy", reason })?;
        Ok(UeConfig {
            user: self.auth_user.unwrap_or(name),
            proxy,
            identity,
            password,
            register: !self.no_register,
            expires: Duration::from_secs(self.expires.unwrap_or(600)),
            keep_alive: self.keep_alive.map(Duration::from_secs),
            listen: self.listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))),
            media: self.media,
            behind_nat: self.behind_nat,
            interop,
            kms,
            allow_clear: self.allow_clear,
            ca_file: self.ca_file,
            answer: !self.ask,
            inbox,
            max_file: self.max_file.unwrap_or(16 << 30),
        })
    }
}

fn secret(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_rest_follows() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("key", "000102030405060708090a0b0c0d0e0f\n");
        write("password", "secret\n");
        write(
            "ue.toml",
            "[ue]\nidentity = \"sip:alice@example.com\"\npassword-file = \"password\"\n\
             kms = \"https://kms.example.com:8443/\"\nkms-key-file = \"key\"\nexpires = 60\n",
        );
        let file = Settings::read(&directory.path().join("ue.toml")).unwrap();
        let flags = Settings { expires: Some(90), ..Settings::default() };
        let config = flags.over(file).resolve(None).unwrap();
        assert_eq!(config.user, "alice");
        assert_eq!(config.proxy, "sip:example.com");
        assert_eq!(config.password.as_str(), "secret");
        assert_eq!(config.expires, Duration::from_secs(90));
        let kms = config.kms.unwrap();
        assert_eq!(
            (kms.identity.as_str(), kms.key_name.as_str()),
            ("sip:kms.example.com", "sip:alice@example.com")
        );
        assert_eq!(kms.key.expose().len(), 16);
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, "000102030405060708090a0b0c0d0e0f").unwrap();
        let settings = |proxy: &str, kms: &str| Settings {
            identity: Some("sip:alice@example.com".into()),
            proxy: Some(proxy.into()),
            kms: Some(kms.into()),
            kms_key_file: Some(key.clone()),
            ..Settings::default()
        };
        let kms = settings("sip:192.0.2.1", "https://[2001:db8::1]:8443").resolve(None).unwrap().kms.unwrap();
        assert_eq!(kms.identity, "sip:[2001:db8::1]");
        for (proxy, kms, wrong) in [
            ("192.0.2.1", "https://kms.example", "proxy"),
            ("sip:192.0.2.1;transport=foo", "https://kms.example", "proxy"),
            ("sip:192.0.2.1", "kms.example:8443", "kms"),
            ("sip:192.0.2.1", "ftp://kms.example", "kms"),
        ] {
            let error = settings(proxy, kms).resolve(None).err().unwrap();
            assert!(matches!(error, ConfigError::Bad { name, .. } if name == wrong), "{error}");
        }
        let message = Settings::default().resolve(None).err().unwrap().to_string();
        assert!(message.contains("--user") && message.contains("identity in the [ue] table"), "{message}");
    }

    #[test]
    fn a_wrong_file_is_pointed_at() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ue.toml");
        std::fs::write(&path, "[ue]\nidentity = \"a@b\"\npasword-file = \"x\"\n").unwrap();
        let message = Settings::read(&path).unwrap_err().to_string();
        assert!(message.contains("line 3") && message.contains("pasword-file"), "{message}");
    }

    #[test]
    fn without_a_key_server_clear_must_be_asked_for() {
        let settings = Settings { identity: Some("alice@example.com".into()), ..Settings::default() };
        assert!(matches!(settings.clone().resolve(None), Err(ConfigError::Missing("kms"))));
        assert!(Settings { allow_clear: true, ..settings }.resolve(None).is_ok());
        let nobody = Settings { identity: Some("alice".into()), allow_clear: true, ..Settings::default() };
        assert!(matches!(nobody.resolve(None), Err(ConfigError::Bad { name: "identity", .. })));
    }
}
