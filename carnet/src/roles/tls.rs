//! TLS contexts from the files a configuration names.

use crate::reload::{Ready, Renewals};
use carnet_net::sip::SipTls;
use carnet_ops::config::{Config, TlsSection};
use carnet_tls::{CertificateContext, CertificateSettings, Credential, Peer, Trust};
use std::path::Path;

/// For SIP: shows its certificate to everyone, checks servers by name, and asks peers for a
/// certificate where authorities are named.
pub fn sip(section: &TlsSection) -> Result<SipTls, String> {
    // Subscribers have passwords, not certificates.
    Ok(SipTls { context: context_of(section)?.counted_at("sip"), clients: Peer::Anyone, servers: None })
}

/// A context with the certificate of the section and the authorities that it names. Whether peers are asked for a
/// certificate is for who accepts them to say.
pub fn context_of(section: &TlsSection) -> Result<CertificateContext, String> {
    let settings = CertificateSettings {
        credential: Some(credential(section)?),
        trust: trust(section.ca.as_ref().map(|ca| ca.as_ref().as_path())),
        ..CertificateSettings::default()
    };
    CertificateContext::new(&settings).map_err(|e| e.to_string())
}

/// Has a context take what the files of its section say when they have changed.
pub fn renews(
    renewals: &mut Renewals,
    path: &[&str],
    context: &CertificateContext,
    section: impl Fn(&Config) -> Option<&TlsSection> + Send + Sync + 'static,
) {
    let held = context.clone();
    renewals.add(path, move |config| {
        let section = section(config).ok_or("there is no TLS any more")?;
        let (held, new) = (held.clone(), context_of(section)?);
        Ok(Ready::Now(Box::new(move || held.renew(&new))))
    });
}

/// A certificate with its key.
pub fn credential(section: &TlsSection) -> Result<Credential, String> {
    from_files(section.certificate.as_ref(), section.key.as_ref())
}

/// The same, by the names of the files.
pub fn from_files(certificate: &Path, key: &Path) -> Result<Credential, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    Credential::from_pem(&read(certificate)?, &read(key)?)
        .map_err(|e| format!("{}: {e}", certificate.display()))
}

/// The authorities of a file, or the system's.
pub fn trust(ca: Option<&Path>) -> Trust {
    ca.map_or(Trust::System, |path| Trust::File(path.to_owned()))
}
