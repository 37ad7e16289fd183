//! A file for `carnet ue`: what would keep the client from starting.

use super::place::Source;
use crate::kms::client::{ServerTrust, check_url};
use crate::ue::config::{ConfigError as UeError, Settings};
use carnet_ops::config::ConfigError;
use carnet_sip::{Transport, Uri};
use carnet_tls::{CertificateContext, CertificateSettings, Trust};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct File {
    ue: Settings,
}

/// Checks the `[ue]` table of a file; one line that says what it would start.
pub fn check(source: &Source<'_>, base: &Path) -> Result<String, Box<ConfigError>> {
    if let Some((name, at)) = source.top().find(|(name, _)| *name != "ue") {
        let message = format!("`{name}` in a client's file");
        return Err(source.complain_at(at, &message, "put roles of the network in a file of their own"));
    }
    let file: File = toml::from_str(source.text()).map_err(|error| {
        source.complain_at(
            error.span().unwrap_or(0..0),
            error.message(),
            "docs/configuration.md lists every setting",
        )
    })?;
    let complain = |key: &str, message: &str| source.complain(&["ue", key], message);
    let settings = file.ue.relative_to(base);
    let config = settings.clone().resolve(None).map_err(|error| match &error {
        UeError::Missing(name) => complain(key_of(name), &format!("`{}` is missing", key_of(name))),
        UeError::Bad { name, reason } => complain(key_of(name), reason),
        UeError::File { path, .. } => {
            let is = |of: &Option<std::path::PathBuf>| of.as_ref() == Some(path);
            let key = if is(&settings.password_file) { "password-file" } else { "kms-key-file" };
            complain(key, &error.to_string())
        }
        UeError::Syntax { .. } => complain("", &error.to_string()),
    })?;

    Uri::parse(&config.identity).map_err(|e| complain("identity", &e.to_string()))?;
    let proxy = Uri::parse(&config.proxy).map_err(|e| complain("proxy", &e.to_string()))?;
    if let Some(name) = proxy.param("transport")
        && Transport::parse(name).is_none()
    {
        return Err(complain("proxy", &format!("`{name}` is not a transport: udp, tcp or tls")));
    }
    if let Some(path) = config.ca_file.clone() {
        authorities(path).map_err(|e| complain("ca-file", &e))?;
    }
    let keys = match &config.kms {
        None => "without keys, in clear".to_owned(),
        Some(kms) => {
            check_url(&kms.url).map_err(|e| complain("kms", &e.to_string()))?;
            if let ServerTrust::File(path) = &kms.trust {
                authorities(path.clone()).map_err(|e| complain("kms-ca-file", &e))?;
            }
            format!("keys from {} at {}", kms.identity, kms.url)
        }
    };
    Ok(format!("client {} by way of {}, {keys}", config.identity, config.proxy))
}

/// The key of the file for what an error calls by its flag.
fn key_of(flag: &str) -> &str {
    if flag == "user" { "identity" } else { flag }
}

fn authorities(path: std::path::PathBuf) -> Result<(), String> {
    let settings = CertificateSettings { trust: Trust::File(path.clone()), ..CertificateSettings::default() };
    CertificateContext::new(&settings).map(drop).map_err(|e| format!("{}: {e}", path.display()))
}
