//! A file of `carnet ue`: its secrets, its first hop, its key management service.

use super::reach::{Account, one_kms};
use super::report::Report;
use super::sip::{Neighbour, one};
use super::{clock, files};
use crate::roles::tls;
use crate::ue::config::Settings;
use crate::ue::kms::KmsLink;
use carnet_net::Resolver;
use carnet_tls::{CertificateContext, CertificateSettings};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct File {
    ue: Settings,
}

/// All of it. What is wrong with the file itself is found already.
pub async fn look(path: &Path, asks: Option<&Resolver>, report: &mut Report) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let Ok(File { ue }) = toml::from_str::<File>(&text) else { return };
    let settings = ue.relative_to(path.parent().unwrap_or(Path::new(".")));
    report.looked("secrets");
    for (at, file) in
        [("ue.password-file", &settings.password_file), ("ue.kms-key-file", &settings.kms_key_file)]
    {
        if let Some(file) = file {
            files::secret(at, file, report);
        }
    }
    clock::look(report);
    let (Some(resolver), Ok(config)) = (asks, settings.resolve(None)) else { return };
    let settings = CertificateSettings {
        trust: tls::trust(config.ca_file.as_deref()),
        ..CertificateSettings::default()
    };
    let tls = CertificateContext::new(&settings).ok();
    one(&Neighbour { at: "ue.proxy".into(), uri: config.proxy.clone(), listen: &[], tls }, resolver, report)
        .await;
    let Some(kms) = &config.kms else { return };
    let (interop, trust) = (&config.interop, kms.trust.clone());
    let Ok(link) = KmsLink::to(&kms.url, &interop.request_path, &interop.resolve_path, trust.clone()) else {
        return;
    };
    let account = Account {
        url: &kms.url,
        trust,
        link,
        me: &config.identity,
        key_name: kms.key_name.as_bytes(),
        key: &kms.key,
        kms: &kms.identity,
        profile: &interop.profile,
    };
    one_kms("ue.kms", &account, report).await;
}
