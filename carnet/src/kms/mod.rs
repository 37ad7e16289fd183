//! The key management service as a role, its administration, and its clients.
//!
//! ```text
//!  UE ── HTTPS ──▶ server ──▶ Service ──▶ Kms (rules) ──▶ reply
//!  administrator ── Unix socket ──▶ admin ──┘   └── audit record ──▶ trail (disk) ──▶ reply leaves
//! ```

pub mod admin;
pub mod cli;
pub mod client;
mod event;
mod server;
mod service;
mod trail;

#[cfg(test)]
mod tests;

#[cfg(feature = "otel")]
pub use event::name_of;
pub use event::{Event, Witness};
pub use server::{HttpSettings, serve};
pub use service::{OpenError, Service, ServiceSettings};

use crate::reload::{Ready, Renewals};
use carnet_mikey::Identity;
use carnet_net::Token;
use carnet_ops::config::KmsSection;
use carnet_tls::{CertificateContext, CertificateSettings, Credential};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// The identity of a service from its name: a SIP URI, or a host name that becomes one.
pub fn identity(name: &str) -> Result<Identity, carnet_mikey::Error> {
    if name.contains(':') { Identity::from_uri(name) } else { Identity::from_uri(&format!("sip:{name}")) }
}

/// A service that runs.
pub struct Started {
    /// Ends when it is told to.
    pub task: JoinHandle<()>,
    /// Where users find it.
    pub address: SocketAddr,
    /// For administrators of the process.
    pub service: Arc<Service>,
}

/// Starts the role of a configuration file.
pub async fn start(
    section: &KmsSection,
    witness: Witness,
    renewals: &mut Renewals,
    token: Token,
) -> Result<Started, OpenError> {
    let fail = |what: &str, e: &dyn std::fmt::Display| OpenError::Setting(format!("{what}: {e}"));
    let settings = ServiceSettings::from_section(section).map_err(|e| fail(&section.name, &e))?;
    let http = HttpSettings {
        request_path: section.request_path.clone(),
        resolve_path: section.resolve_path.clone(),
        insecure_http: section.insecure_http,
        max_connections: *section.connections.as_ref(),
        ..HttpSettings::default()
    };
    let tls = match &section.tls {
        Some(tls) => Some(context(tls.certificate.as_ref(), tls.key.as_ref())?),
        None => None,
    };
    if let Some(held) = tls.clone() {
        renewals.add(&["kms", "tls"], move |config| {
            let section = config.kms.as_ref().and_then(|kms| kms.as_ref().tls.as_ref());
            let section = section.ok_or("there is no TLS any more")?;
            let new =
                context(section.certificate.as_ref(), section.key.as_ref()).map_err(|e| e.to_string())?;
            let held = held.clone();
            Ok(Ready::Now(Box::new(move || held.renew(&new))))
        });
    }
    let listener = match carnet_net::inherited::tcp(section.listen.0) {
        Some(listener) => TcpListener::from_std(listener),
        None => TcpListener::bind(section.listen.0).await,
    };
    let listener = listener.map_err(|e| fail(&section.listen.0.to_string(), &e))?;
    let address = listener.local_addr().map_err(|e| fail("listening", &e))?;
    let data = section.data.clone();
    let service = tokio::task::spawn_blocking(move || Service::open(&data, settings))
        .await
        .map_err(|e| fail("opening the data directory", &e))??;
    let service = Arc::new(service.watched_by(witness));
    let held = service.clone();
    renewals.add(&["kms"], move |config| {
        let section = config.kms.as_ref().ok_or("it is not there any more")?;
        let settings = ServiceSettings::from_section(section.as_ref()).map_err(|e| e.to_string())?;
        let held = held.clone();
        Ok(Ready::Now(Box::new(move || held.renew(settings.rules))))
    });
    let role = serve(service.clone(), http, tls, listener, token)?;
    Ok(Started { task: tokio::spawn(role), address, service })
}

/// A TLS server context from PEM files.
fn context(certificate: &Path, key: &Path) -> Result<CertificateContext, OpenError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|e| OpenError::Setting(format!("{}: {e}", path.display())));
    let key = Zeroizing::new(read(key)?);
    let credential = Credential::from_pem(&read(certificate)?, &key);
    let settings = CertificateSettings {
        credential: Some(credential.map_err(|e| OpenError::Setting(e.to_string()))?),
        ..CertificateSettings::default()
    };
    let context = CertificateContext::new(&settings).map_err(|e| OpenError::Setting(e.to_string()))?;
    Ok(context.counted_at("kms"))
}

/// Gives users accounts before the role starts: identities, which are also the names of their
/// keys, and the keys in hexadecimal.
pub fn provision(section: &KmsSection, users: &[(&str, Vec<&str>, &str)]) -> Result<(), String> {
    let settings = ServiceSettings::from_section(section).map_err(|e| e.to_string())?;
    let service = Service::open(&section.data, settings).map_err(|e| e.to_string())?;
    let new = |(name, identities, psk): &(&str, Vec<&str>, &str)| admin::NewUser {
        name: (*name).to_owned(),
        identities: identities.iter().map(|identity| (*identity).to_owned()).collect(),
        psk: (*psk).to_owned(),
    };
    let users = users.iter().map(new).collect();
    admin::execute(&service, &admin::Command::UserAdd { users }).map(drop).map_err(|e| e.to_string())
}
