//! Certificates: fingerprints both ways, names and authorities, and files.
#![allow(clippy::unwrap_used)]

use carnet_tls::{
    CertificateContext, CertificateSettings, Credential, Error, Fingerprint, Peer, Report, SubjectName,
    TlsStream, Trust, Version, Versions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn credential(name: &str) -> Credential {
    Credential::self_signed(
        &[SubjectName::Dns(name.into()), SubjectName::Ip("127.0.0.1".parse().unwrap())],
        1,
    )
    .unwrap()
}

fn context(credential: Option<&Credential>, trust: Trust, versions: Versions) -> CertificateContext {
    CertificateContext::new(&CertificateSettings {
        credential: credential.cloned(),
        trust,
        versions,
        ..CertificateSettings::default()
    })
    .unwrap()
}

type Outcome = Result<(TlsStream<DuplexStream>, Report), Error>;

async fn meet(
    client: &CertificateContext,
    server_is: &Peer,
    server: &CertificateContext,
    client_is: &Peer,
) -> (Outcome, Outcome) {
    let (a, b) = tokio::io::duplex(64 * 1024);
    tokio::join!(client.connect(a, server_is), server.accept(b, client_is))
}

fn of(credential: &Credential) -> Peer {
    Peer::Fingerprints(vec![credential.fingerprint().unwrap()])
}

/// The peer said which alert RFC 8122 §6.2 asks for.
fn is_bad(error: Error) {
    assert!(matches!(&error, Error::CertificateRefused(text) if text.contains("bad certificate")), "{error}");
}

#[tokio::test]
async fn fingerprints_hold_both_ways() {
    let (ue, gw, stranger) = (credential("ue"), credential("gw"), credential("gw"));
    for (versions, version) in [(Versions::Tls12, Version::Tls12), (Versions::Tls13, Version::Tls13)] {
        let client = context(Some(&ue), Trust::Nobody, versions);
        let server = context(Some(&gw), Trust::Nobody, versions);

        let (c, s) = meet(&client, &of(&gw), &server, &of(&ue)).await;
        let ((mut c, c_report), (mut s, s_report)) = (c.unwrap(), s.unwrap());
        assert_eq!(c_report.version, version);
        assert_eq!(c_report.peer_fingerprint, Some(gw.fingerprint().unwrap()));
        assert_eq!(s_report.peer_fingerprint, Some(ue.fingerprint().unwrap()));
        assert_eq!(c_report.client_random, s_report.client_random);
        c.write_all(b"x").await.unwrap();
        assert_eq!(s.read_u8().await.unwrap(), b'x');

        // The client expects another server.
        let (c, s) = meet(&client, &of(&stranger), &server, &of(&ue)).await;
        assert!(matches!(c.err().unwrap(), Error::Fingerprint));
        assert!(s.is_err());

        // The server expects another client. In TLS 1.3 the client learns at its first read.
        let (c, s) = meet(&client, &of(&gw), &server, &of(&stranger)).await;
        assert!(matches!(s.err().unwrap(), Error::Fingerprint));
        match (c, versions) {
            (Ok((mut c, _)), Versions::Tls13) => is_bad(Error::of_stream(c.read_u8().await.unwrap_err())),
            (c, _) => is_bad(c.err().unwrap()),
        }

        // One of several announced is enough.
        let several = Peer::Fingerprints(vec![stranger.fingerprint().unwrap(), gw.fingerprint().unwrap()]);
        let (c, s) = meet(&client, &several, &server, &of(&ue)).await;
        c.unwrap();
        s.unwrap();
    }
}

#[tokio::test]
async fn a_client_without_certificate_is_refused_where_one_is_announced() {
    let (ue, gw) = (credential("ue"), credential("gw"));
    let pem = gw.certificate_pem().unwrap();
    for versions in [Versions::Tls12, Versions::Tls13] {
        let client = context(None, Trust::Pem(pem.clone()), versions);
        let server = context(Some(&gw), Trust::Nobody, versions);
        let (_, s) = meet(&client, &Peer::Named("gw".into()), &server, &of(&ue)).await;
        assert!(matches!(s.err().unwrap(), Error::NoCertificate));
    }
}

#[tokio::test]
async fn names_and_authorities_are_checked() {
    let (gw, ue, stranger) = (credential("gw.example.com"), credential("ue"), credential("gw.example.com"));
    let server = context(Some(&gw), Trust::Pem(ue.certificate_pem().unwrap()), Versions::Both);
    let client = context(Some(&ue), Trust::Pem(gw.certificate_pem().unwrap()), Versions::Both);
    for (name, good) in
        [("gw.example.com", true), ("127.0.0.1", true), ("evil.example.com", false), ("127.0.0.2", false)]
    {
        let (c, _) = meet(&client, &Peer::Named(name.into()), &server, &Peer::Vouched).await;
        assert_eq!(c.is_ok(), good, "{name}");
        if let Err(error) = c {
            assert!(matches!(error, Error::Certificate(_)), "{error}");
        }
    }
    // The right name from nobody we trust.
    let impostor = context(Some(&stranger), Trust::Nobody, Versions::Both);
    let (c, s) = meet(&client, &Peer::Named("gw.example.com".into()), &impostor, &Peer::Anyone).await;
    assert!(matches!(c.err().unwrap(), Error::Certificate(_)));
    assert!(matches!(s.err().unwrap(), Error::CertificateRefused(_)));
    // Mutual: a client that nobody vouches for.
    let unknown = context(Some(&stranger), Trust::Pem(gw.certificate_pem().unwrap()), Versions::Tls12);
    let (_, s) = meet(&unknown, &Peer::Vouched, &server, &Peer::Vouched).await;
    assert!(matches!(s.err().unwrap(), Error::Certificate(_)));
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once() {
    let gw = credential("gw");
    let with = context(Some(&gw), Trust::Nobody, Versions::Both);
    let without = context(None, Trust::Nobody, Versions::Both);
    let stream = || tokio::io::duplex(16).0;
    let misuse = |outcome: Outcome| assert!(matches!(outcome.err().unwrap(), Error::Misuse(_)));
    misuse(with.connect(stream(), &Peer::Anyone).await);
    misuse(without.connect(stream(), &of(&gw)).await);
    misuse(with.connect(stream(), &Peer::Fingerprints(Vec::new())).await);
    misuse(without.accept(stream(), &Peer::Anyone).await);
}

#[test]
fn credentials_survive_files() {
    let made = credential("gw");
    let (pem, key) = (made.certificate_pem().unwrap(), made.private_key_pem().unwrap());
    let read = Credential::from_pem(&pem, &key).unwrap();
    assert_eq!(read.fingerprint().unwrap(), made.fingerprint().unwrap());
    let other = credential("gw").private_key_pem().unwrap();
    assert!(matches!(Credential::from_pem(&pem, &other), Err(Error::Misuse(_))));
    assert!(matches!(Credential::from_pem(b"", &key), Err(Error::Misuse(_))));
    assert!(matches!(Credential::from_pem(&pem, b"nothing"), Err(Error::Library { .. })));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let settings = |file: &std::path::Path| CertificateSettings {
        trust: Trust::File(file.into()),
        ..Default::default()
    };
    assert!(matches!(CertificateContext::new(&settings(&file)), Err(Error::File { .. })));
    std::fs::write(&file, "nothing").unwrap();
    assert!(CertificateContext::new(&settings(&file)).is_err());
    std::fs::write(&file, &pem).unwrap();
    assert!(CertificateContext::new(&settings(&file)).is_ok());
}

/// The fingerprint as another program computes it.
#[test]
fn fingerprint_agrees_with_openssl() {
    let made = credential("gw");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cert.pem");
    std::fs::write(&file, made.certificate_pem().unwrap()).unwrap();
    let Ok(shown) = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&file)
        .output()
    else {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "openssl is not installed");
        return eprintln!("skipped: openssl is not installed");
    };
    let shown = String::from_utf8(shown.stdout).unwrap();
    let value = shown.trim().split_once('=').unwrap().1;
    let theirs: Fingerprint = format!("sha-256 {value}").parse().unwrap();
    assert_eq!(theirs, made.fingerprint().unwrap());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_by_every_clone_and_associations_stay() {
    let (old, new) = (credential("old.example"), credential("new.example"));
    let server = context(Some(&old), Trust::Nobody, Versions::Both);
    let client = context(Some(&credential("client.example")), Trust::Nobody, Versions::Both);
    let clone = server.clone();
    let (here, there) = meet(&client, &of(&old), &server, &Peer::Anyone).await;
    let ((mut here, _), (mut there, _)) = (here.unwrap(), there.unwrap());
    server.renew(&context(Some(&new), Trust::Nobody, Versions::Both));
    let (shown, _) = meet(&client, &of(&new), &clone, &Peer::Anyone).await;
    shown.unwrap();
    let (refused, _) = meet(&client, &of(&old), &clone, &Peer::Anyone).await;
    assert!(refused.is_err());
    here.write_all(b"on").await.unwrap();
    let mut octets = [0; 2];
    there.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"on");
}
