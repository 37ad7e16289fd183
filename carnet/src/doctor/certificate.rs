//! Certificates that the roles show: their time, their names, who vouches for them.
//!
//! Whether a key fits its certificate is `carnet check`'s.

use super::report::Report;
use carnet_ops::config::Config;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Ref, X509StoreContext, X509VerifyResult};
use std::cmp::Ordering;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Days before its end at which a certificate should be renewed.
const SOON: i32 = 30;

/// A certificate that is shown to peers.
struct Shown {
    at: String,
    certificate: PathBuf,
    /// Who vouches for peers there, which is most likely who vouches for us.
    ca: Option<PathBuf>,
    /// What peers call who shows it: one of these has to be in it. None where they go by its fingerprint.
    names: Vec<String>,
    /// Peers go by its fingerprint alone.
    pinned: bool,
}

/// Looks at all of them, and at the authorities that the file names.
pub fn look(config: &Config, report: &mut Report) {
    report.looked("certificates");
    for shown in all(config) {
        let Some(chain) = read(&shown.at, &shown.certificate, report) else { continue };
        let Some((leaf, rest)) = chain.split_first() else { continue };
        let in_time = time(&shown.at, &shown.certificate, leaf, shown.pinned, report);
        if shown.pinned {
            continue;
        }
        if in_time {
            vouched(&shown, leaf, rest, report);
        }
        named(&shown, leaf, report);
    }
    for (at, path) in authorities(config) {
        for authority in read(&at, &path, report).unwrap_or_default() {
            time(&at, &path, &authority, false, report);
        }
    }
}

/// Where certificates stand that peers look at the dates of, and their files.
pub fn dated(config: &Config) -> Vec<(String, PathBuf)> {
    all(config).into_iter().filter(|shown| !shown.pinned).map(|shown| (shown.at, shown.certificate)).collect()
}

/// When the first certificate of a file is over, in seconds since 1970; `None` if there is none that can be read.
pub fn end_of(path: &Path) -> Option<i64> {
    const DAY: i64 = 86_400;
    let chain = X509::stack_from_pem(&std::fs::read(path).ok()?).ok()?;
    let since = Asn1Time::from_unix(0).ok()?.diff(chain.first()?.not_after()).ok()?;
    Some(i64::from(since.days) * DAY + i64::from(since.secs))
}

fn all(config: &Config) -> Vec<Shown> {
    let mut all = Vec::new();
    for (name, border) in &config.border {
        let border = border.as_ref();
        let Some(tls) = &border.tls else { continue };
        let mut names = vec![border.domain.clone()];
        for network in border.network.values().map(|network| network.as_ref()) {
            names.extend(network.contact.as_deref().and_then(host_of));
            names.extend(network.listen.as_ref().iter().map(|bind| bind.address.ip().to_string()));
        }
        all.push(Shown::of(format!("border.{name}.tls"), tls, names));
    }
    for (name, server) in &config.conference {
        let server = server.as_ref();
        let Some(tls) = &server.tls else { continue };
        let mut names = vec![server.domain.as_ref().clone()];
        names.extend(server.contact.as_ref().and_then(|contact| host_of(contact.as_ref())));
        names.extend(server.listen.as_ref().iter().map(|bind| bind.address.ip().to_string()));
        all.push(Shown::of(format!("conference.{name}.tls"), tls, names));
    }
    for (name, gateway) in &config.gateway {
        let gateway = gateway.as_ref();
        for (realm, section) in &gateway.realm {
            if let Some(certificate) = &section.as_ref().certificate {
                let at = format!("gateway.{name}.realm.{realm}.certificate");
                let certificate = certificate.as_ref().clone();
                all.push(Shown { at, certificate, ca: None, names: Vec::new(), pinned: true });
            }
        }
        if let Some((relay, tls)) =
            gateway.relay.as_ref().and_then(|r| Some((r.as_ref(), r.as_ref().tls.as_ref()?)))
        {
            let mut names: Vec<_> = relay.host.iter().map(|host| host.as_ref().clone()).collect();
            names.extend(relay.listen.as_ref().iter().map(|bind| bind.address.ip().to_string()));
            all.push(Shown::of(format!("gateway.{name}.relay.tls"), tls, names));
        }
        if let Some(tls) = gateway.ng.as_ref().and_then(|ng| ng.as_ref().tls.as_ref()) {
            all.push(Shown::of(format!("gateway.{name}.ng.tls"), tls.as_ref(), Vec::new()));
        }
    }
    for (at, section) in super::control_tls(config) {
        let (Some(certificate), name) = (&section.certificate, at.split('.').nth(1).unwrap_or_default())
        else {
            continue;
        };
        let (certificate, ca) =
            (certificate.as_ref().clone(), section.ca.as_ref().map(|ca| ca.as_ref().clone()));
        all.push(Shown { names: vec![name.to_owned()], at, certificate, ca, pinned: false });
    }
    if let Some((kms, tls)) =
        config.kms.as_ref().and_then(|kms| Some((kms.as_ref(), kms.as_ref().tls.as_ref()?)))
    {
        let name = kms.name.strip_prefix("sip:").unwrap_or(&kms.name).to_owned();
        all.push(Shown::of("kms.tls".into(), tls, vec![name, kms.listen.0.ip().to_string()]));
    }
    if let Some(tls) = config.admin.as_ref().and_then(|admin| admin.as_ref().tls.as_ref()) {
        all.push(Shown::of("admin.tls".into(), tls.as_ref(), Vec::new()));
    }
    all
}

impl Shown {
    fn of(at: String, tls: &carnet_ops::config::TlsSection, names: Vec<String>) -> Self {
        let ca = tls.ca.as_ref().map(|ca| ca.as_ref().clone());
        Self { at, certificate: tls.certificate.as_ref().clone(), ca, names, pinned: false }
    }
}

/// Files of authorities that the roles go by.
fn authorities(config: &Config) -> Vec<(String, PathBuf)> {
    let mut all: Vec<(String, PathBuf)> = self::all(config)
        .into_iter()
        .filter_map(|shown| Some((format!("{}.ca", shown.at), shown.ca?)))
        .collect();
    for (name, server) in &config.conference {
        let ca = server.as_ref().kms.as_ref().and_then(|kms| kms.as_ref().ca_file.as_ref());
        all.extend(ca.map(|ca| (format!("conference.{name}.kms.ca-file"), ca.as_ref().clone())));
    }
    if let Some(signed) = config.kms.as_ref().and_then(|kms| kms.as_ref().signed.as_ref()) {
        all.push(("kms.signed.ca".into(), signed.ca.as_ref().clone()));
        all.push(("kms.signed.certificate".into(), signed.certificate.as_ref().clone()));
    }
    all
}

fn host_of(uri: &str) -> Option<String> {
    Some(carnet_sip::Uri::parse(uri).ok()?.host().trim_matches(['[', ']']).to_owned())
}

fn read(at: &str, path: &Path, report: &mut Report) -> Option<Vec<X509>> {
    let read = std::fs::read(path).map_err(|e| e.to_string());
    let read =
        read.and_then(|pem| X509::stack_from_pem(&pem).map_err(|_| "not a certificate in PEM".to_owned()));
    match read {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            report.fault(
                "certificate-unreadable",
                at,
                format!("{}: no certificate in it", path.display()),
                "put a certificate in PEM there",
            );
            None
        }
        Err(error) => {
            report.fault(
                "certificate-unreadable",
                at,
                format!("{}: {error}", path.display()),
                "put a certificate in PEM there that the service may read",
            );
            None
        }
    }
}

/// Whether now is between its beginning and its end; says so where it is not, or not for long.
fn time(at: &str, path: &Path, certificate: &X509Ref, pinned: bool, report: &mut Report) -> bool {
    let Ok(now) = Asn1Time::days_from_now(0) else { return true };
    let days = |from: &Asn1TimeRef, to: &Asn1TimeRef| from.diff(to).map_or(0, |span| span.days);
    let (shown, end) = (path.display(), certificate.not_after());
    let renew = "have it made anew, put it in place and restart";
    if certificate.not_before().compare(&now).is_ok_and(|order| order == Ordering::Greater) {
        let what = format!("{shown} is not valid yet: it begins at {}", certificate.not_before());
        report.fault(
            "certificate-not-yet",
            at,
            what,
            "set the clock of this host, or have the certificate made anew",
        );
        return false;
    }
    if end.compare(&now).is_ok_and(|order| order != Ordering::Greater) {
        let what = format!("{shown} expired at {end}, {} days ago", days(end, &now));
        // Who goes by the fingerprint does not look at the time (RFC 8122 §5).
        match pinned {
            true => report.warning("certificate-expired", at, what, renew),
            false => report.fault("certificate-expired", at, what, renew),
        }
        return false;
    }
    // One that never lived longer is not late for being short.
    let left = days(&now, end);
    if left < SOON.min(days(certificate.not_before(), end) / 3) {
        report.warning(
            "certificate-expires-soon",
            at,
            format!("{shown} expires in {left} days, at {end}"),
            renew,
        );
    }
    true
}

/// Whether the authorities vouch for it, with what is in its file.
fn vouched(shown: &Shown, leaf: &X509, rest: &[X509], report: &mut Report) {
    let verify = || -> Result<X509VerifyResult, openssl::error::ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        match &shown.ca {
            None => store.set_default_paths()?,
            Some(path) => {
                for authority in X509::stack_from_pem(&std::fs::read(path).unwrap_or_default())? {
                    store.add_cert(authority)?;
                }
            }
        }
        let mut chain = Stack::new()?;
        for certificate in rest {
            chain.push(certificate.clone())?;
        }
        X509StoreContext::new()?.init(&store.build(), leaf, &chain, |context| {
            context.verify_cert()?;
            Ok(context.error())
        })
    };
    let why = match verify() {
        Ok(result) if result == X509VerifyResult::OK => return,
        Ok(result) => result.error_string().to_owned(),
        Err(error) => error.to_string(),
    };
    let path = shown.certificate.display();
    match &shown.ca {
        Some(ca) => {
            let what = format!("the authorities of {} do not vouch for {path}: {why}", ca.display());
            let fix = "peers with the same authorities refuse it: put the authority that issued it into `ca`, and the \
                       certificates in between behind it in its own file";
            report.warning("certificate-chain", &shown.at, what, fix);
        }
        None => {
            let what = format!("the authorities of this host do not vouch for {path}: {why}");
            report.note(
                "certificate-private",
                &shown.at,
                what,
                "peers need its authority in a file of their own",
            );
        }
    }
}

/// Whether it is good for one of the names that peers know.
fn named(shown: &Shown, leaf: &X509Ref, report: &mut Report) {
    let (dns, ips) = names(leaf);
    let good = |name: &String| match name.parse::<IpAddr>() {
        Ok(ip) => ips.contains(&ip),
        Err(_) => dns.iter().any(|pattern| fits(pattern, name)),
    };
    if shown.names.is_empty() || shown.names.iter().any(good) {
        return;
    }
    let held: Vec<String> = dns.into_iter().chain(ips.iter().map(ToString::to_string)).collect();
    let held = if held.is_empty() { "no name (a common name is none)".to_owned() } else { held.join(", ") };
    let mut wanted = shown.names.clone();
    wanted.dedup();
    let what =
        format!("{} is good for {held}; peers look for {}", shown.certificate.display(), wanted.join(" or "));
    let fix = "have it made with that name as subjectAltName; where peers have another name for it, set that with them";
    report.warning("certificate-name", &shown.at, what, fix);
}

fn names(leaf: &X509Ref) -> (Vec<String>, Vec<IpAddr>) {
    let (mut dns, mut ips) = (Vec::new(), Vec::new());
    for name in leaf.subject_alt_names().iter().flatten() {
        dns.extend(name.dnsname().map(str::to_owned));
        // Borders and gateways may be named by a URI too (RFC 5922 §7.1).
        dns.extend(name.uri().and_then(|uri| uri.strip_prefix("sip:")).map(str::to_owned));
        let ip = name.ipaddress().and_then(|octets| match octets.len() {
            4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        });
        ips.extend(ip);
    }
    (dns, ips)
}

/// RFC 9525 §6.3: the leftmost label may be a star.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => name.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest)),
        None => pattern.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(fits("kms.example", "KMS.example") && fits("*.example", "kms.example"));
        assert!(!fits("*.example", "a.kms.example") && !fits("*.example", "example") && !fits("a", "b"));
    }
}
