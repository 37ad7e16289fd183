//! Pre-shared keys: what must work, what must not, and every trap that was met on the way.
#![allow(clippy::unwrap_used)]

mod common;

use carnet_tls::{
    CertificateContext, CertificateSettings, Credential, Error, Fault, Keyring, Peer, Psk, PskContext,
    PskKey, PskSettings, Side, SubjectName, Trust, Version, Versions,
};
use common::{IDENTITY, KEY, context, key, meet, meet_ring, named};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OTHER: [u8; 32] = [0xa5; 32];

#[tokio::test]
async fn both_versions_complete_and_report() {
    for (versions, version, cipher) in [
        (Versions::Both, Version::Tls13, "TLS_AES_128_GCM_SHA256"),
        (Versions::Tls13, Version::Tls13, "TLS_AES_128_GCM_SHA256"),
        (Versions::Tls12, Version::Tls12, "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"),
    ] {
        let (client, server) = (context(versions), context(Versions::Both));
        let (c, s) = meet(&client, key(), &server, key()).await;
        let ((mut c, c_report), (mut s, s_report)) = (c.unwrap(), s.unwrap());
        assert_eq!((c_report.side, s_report.side), (Side::Client, Side::Server));
        assert_eq!(c_report.version, version);
        assert_eq!(c_report.cipher, cipher);
        assert_eq!(s_report.cipher, cipher);
        assert_eq!(c_report.client_random, s_report.client_random);
        assert_ne!(c_report.client_random, [0; 32]);
        assert_eq!(c_report.client_random_hex().len(), 64);
        // The library forgets the identity in TLS 1.3; the callback did not.
        assert_eq!(s_report.identity.as_deref(), Some(IDENTITY));
        assert!(!s_report.identity_differs());
        assert_eq!(s_report.peer_fingerprint, None);
        c.write_all(b"there").await.unwrap();
        s.write_all(b"back").await.unwrap();
        let mut got = [0; 5];
        s.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"there");
        let mut got = [0; 4];
        c.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"back");
    }
}

/// What a context is for is what its handshakes are counted by; one that does not say is not counted.
#[tokio::test]
async fn handshakes_are_counted_by_what_they_are_for() {
    let count = |client: bool, version: Option<Version>| -> u64 {
        let of = |handshake: &carnet_tls::Handshake| {
            let agreed = handshake.agreed.as_ref().map(|(version, _)| *version);
            handshake.place == "a test" && handshake.client == client && agreed == version
        };
        carnet_tls::handshakes().iter().filter(|(handshake, _)| of(handshake)).map(|(_, count)| count).sum()
    };
    let counted = |versions| context(versions).counted_at("a test");
    let (c, s) = meet(&counted(Versions::Tls12), key(), &counted(Versions::Both), key()).await;
    assert!(c.is_ok() && s.is_ok());
    let (c, s) =
        meet(&counted(Versions::Both), key(), &context(Versions::Both), named(IDENTITY, OTHER)).await;
    assert!(c.is_err() && s.is_err());
    assert_eq!((count(true, Some(Version::Tls12)), count(false, Some(Version::Tls12))), (1, 1));
    assert_eq!((count(true, None), count(false, None)), (1, 0));
}

#[tokio::test]
async fn wrong_key_fails_on_both_sides_in_both_versions() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let (c, s) = meet(&context(versions), key(), &context(versions), named(IDENTITY, OTHER)).await;
        let (c, s) = (c.err().unwrap(), s.err().unwrap());
        assert!(matches!(c, Error::WrongKey), "{versions:?} client: {c}");
        assert!(matches!(s, Error::WrongKey), "{versions:?} server: {s}");
        assert_eq!(c.fault(), Fault::Either);
    }
}

#[tokio::test]
async fn unknown_identity_is_named_where_it_is_known() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let ring = Keyring::new(4);
        ring.bind(named("one", KEY)).unwrap();
        ring.bind(named("two", KEY)).unwrap();
        let (c, s) = meet_ring(&context(versions), key(), &context(versions), &ring).await;
        let (c, s) = (c.err().unwrap(), s.err().unwrap());
        assert!(matches!(&s, Error::UnknownIdentity(name) if name == IDENTITY), "{versions:?}: {s}");
        match versions {
            // RFC 4279 §2 has an alert for it, RFC 8446 has not.
            Versions::Tls12 => assert!(matches!(&c, Error::IdentityRefused(name) if name == IDENTITY), "{c}"),
            _ => assert!(matches!(c, Error::Refused), "{c}"),
        }
        assert_eq!(ring.len(), 2, "a failed handshake uses no key up");
    }
}

#[tokio::test]
async fn one_bound_key_is_accepted_under_another_name_and_reported() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let server = context(versions);
        let (c, s) = meet(&context(versions), named("their:own:way", KEY), &server, key()).await;
        c.unwrap();
        let (_, report) = s.unwrap();
        assert_eq!(report.identity.as_deref(), Some("their:own:way"));
        assert_eq!(report.bound_identity.as_deref(), Some(IDENTITY));
        assert!(report.identity_differs());

        let strict =
            PskContext::new(PskSettings { versions, any_identity: false, ..PskSettings::default() }).unwrap();
        let (_, s) = meet(&context(versions), named("their:own:way", KEY), &strict, key()).await;
        assert!(matches!(s.err().unwrap(), Error::UnknownIdentity(name) if name == "their:own:way"));
        let ring = Keyring::default().strict();
        ring.bind(key()).unwrap();
        let (_, s) = meet_ring(&context(versions), named("their:own:way", KEY), &server, &ring).await;
        assert!(matches!(s.err().unwrap(), Error::UnknownIdentity(_)));
    }
}

#[tokio::test]
async fn one_key_serves_one_association() {
    let (client, server) = (context(Versions::Both), context(Versions::Both));
    let ring = Keyring::new(8);
    ring.bind(key()).unwrap();
    ring.bind(named("another", OTHER)).unwrap();
    let mine = key();
    let again = mine.for_reconnect();
    let (c, s) = meet_ring(&client, mine, &server, &ring).await;
    c.unwrap();
    s.unwrap();
    assert_eq!(ring.len(), 1);
    assert!(ring.unbind("another"));
    assert!(ring.is_empty());
    let (c, s) = meet_ring(&client, again, &server, &ring).await;
    assert!(c.is_err());
    assert!(matches!(s.err().unwrap(), Error::UnknownIdentity(_)));
}

#[tokio::test]
async fn of_two_connections_at_once_with_one_key_one_wins() {
    let (client, server) = (context(Versions::Both), context(Versions::Both));
    let ring = Keyring::default();
    ring.bind(key()).unwrap();
    let ((_, first), (_, second)) =
        tokio::join!(meet_ring(&client, key(), &server, &ring), meet_ring(&client, key(), &server, &ring));
    assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1);
    let lost = first.err().or(second.err()).unwrap();
    assert!(matches!(lost, Error::KeyUsed(_) | Error::UnknownIdentity(_)), "{lost}");
}

#[tokio::test]
async fn sha384_cannot_be_negotiated() {
    // The peer offers only what needs a SHA-384 key.
    let (a, b) = tokio::io::duplex(64 * 1024);
    let server = context(Versions::Tls13);
    let mut builder = openssl::ssl::SslContextBuilder::new(openssl::ssl::SslMethod::tls_client()).unwrap();
    builder.set_ciphersuites("TLS_AES_256_GCM_SHA384").unwrap();
    let ssl = openssl::ssl::Ssl::new(&builder.build()).unwrap();
    let mut peer = tokio_openssl::SslStream::new(ssl, a).unwrap();
    let (c, s) = tokio::join!(std::pin::Pin::new(&mut peer).connect(), server.accept(b, key()));
    assert!(c.is_err());
    assert!(matches!(s.err().unwrap(), Error::NoCommonSuite));
}

#[tokio::test]
async fn a_client_with_a_certificate_does_not_get_into_a_psk_server() {
    let credential = Credential::self_signed(&[SubjectName::Dns("ue.example".into())], 1).unwrap();
    for versions in [Versions::Tls12, Versions::Tls13] {
        let certificates = CertificateContext::new(&CertificateSettings {
            credential: Some(credential.clone()),
            trust: Trust::System,
            versions,
            ..CertificateSettings::default()
        })
        .unwrap();
        let (a, b) = tokio::io::duplex(64 * 1024);
        let server = context(Versions::Both);
        let peer = Peer::Named("ue.example".into());
        let (c, s) = tokio::join!(certificates.connect(a, &peer), server.accept(b, key()));
        assert!(c.is_err());
        let s = s.err().unwrap();
        assert!(matches!(s, Error::NotPsk | Error::NoCommonSuite), "{versions:?}: {s}");
    }
}

#[tokio::test]
async fn a_server_that_answers_with_a_certificate_is_refused() {
    // It knows nothing of our key and falls back to what it has: the way in that a TLS 1.3
    // client must close itself.
    let credential = Credential::self_signed(&[SubjectName::Dns("gw.example".into())], 1).unwrap();
    let server = CertificateContext::new(&CertificateSettings {
        credential: Some(credential),
        ..CertificateSettings::default()
    })
    .unwrap();
    let (a, b) = tokio::io::duplex(64 * 1024);
    let client = context(Versions::Both);
    let (c, s) = tokio::join!(client.connect(a, key()), server.accept(b, &Peer::Anyone));
    assert!(matches!(c.err().unwrap(), Error::NotPsk));
    assert!(s.is_err());
}

#[tokio::test]
async fn no_version_in_common() {
    let (c, s) = meet(&context(Versions::Tls12), key(), &context(Versions::Tls13), key()).await;
    assert!(matches!(c.err().unwrap(), Error::NoCommonVersion));
    assert!(matches!(s.err().unwrap(), Error::NoCommonVersion));
}

#[tokio::test]
async fn the_suites_of_rfc_4279_only_on_request() {
    let old = |ciphers: &str| {
        let mut builder =
            openssl::ssl::SslContextBuilder::new(openssl::ssl::SslMethod::tls_client()).unwrap();
        builder.set_max_proto_version(Some(openssl::ssl::SslVersion::TLS1_2)).unwrap();
        builder.set_cipher_list(ciphers).unwrap();
        builder.set_psk_client_callback(|_, _, identity, psk| {
            identity[..IDENTITY.len()].copy_from_slice(IDENTITY.as_bytes());
            identity[IDENTITY.len()] = 0;
            psk[..32].copy_from_slice(&KEY);
            Ok(32)
        });
        openssl::ssl::Ssl::new(&builder.build()).unwrap()
    };
    for (rfc4279_suites, works) in [(false, false), (true, true)] {
        for (name, iana) in [
            ("PSK-AES128-CBC-SHA", "TLS_PSK_WITH_AES_128_CBC_SHA"),
            ("DHE-PSK-AES128-CBC-SHA", "TLS_DHE_PSK_WITH_AES_128_CBC_SHA"),
        ] {
            let server = PskContext::new(PskSettings { rfc4279_suites, ..PskSettings::default() }).unwrap();
            let (a, b) = tokio::io::duplex(64 * 1024);
            let mut peer = tokio_openssl::SslStream::new(old(name), a).unwrap();
            let (c, s) = tokio::join!(std::pin::Pin::new(&mut peer).connect(), server.accept(b, key()));
            assert_eq!(c.is_ok(), works, "{name}");
            match s {
                Ok((_, report)) => assert_eq!(report.cipher, iana),
                Err(error) => assert!(matches!(error, Error::NoCommonSuite), "{error}"),
            }
        }
    }
}

#[tokio::test]
async fn garbage_silence_and_departure_are_told_apart() {
    let settings = PskSettings { handshake_timeout: Duration::from_millis(200), ..PskSettings::default() };
    let server = PskContext::new(settings).unwrap();

    let (mut a, b) = tokio::io::duplex(4096);
    a.write_all(b"INVITE sip:bob@example.com SIP/2.0\r\n\r\n").await.unwrap();
    assert!(matches!(server.accept(b, key()).await.err().unwrap(), Error::NotTls));

    let (_a, b) = tokio::io::duplex(4096);
    let silent = server.accept(b, key()).await.err().unwrap();
    assert!(matches!(silent, Error::Timeout(_)));
    assert_eq!(silent.fault(), Fault::Network);

    let (a, b) = tokio::io::duplex(4096);
    drop(a);
    assert!(matches!(server.accept(b, key()).await.err().unwrap(), Error::PeerClosed));

    let (a, b) = tokio::io::duplex(4096);
    drop(b);
    let gone = server.connect(a, key()).await.err().unwrap();
    assert!(matches!(gone, Error::PeerClosed | Error::Io(_)), "{gone}");
}

#[tokio::test]
async fn sixty_four_mebibytes_each_way() {
    const BULK: usize = 64 << 20;
    let (client, server) = (context(Versions::Both), context(Versions::Both));
    let (c, s) = meet(&client, key(), &server, key()).await;
    let ((c, _), (s, _)) = (c.unwrap(), s.unwrap());
    // A cheap pattern whose period (251) fits no block size.
    let octet = |i: usize| (i % 251) as u8;
    let pump = move |stream: common::Stream| async move {
        let (mut read, mut write) = tokio::io::split(stream);
        let sender = tokio::spawn(async move {
            let block: Vec<u8> = (0..251 * 256).map(octet).collect();
            let mut left = BULK;
            while left > 0 {
                let n = left.min(block.len());
                write.write_all(&block[..n]).await.unwrap();
                left -= n;
            }
            write.shutdown().await.unwrap();
        });
        let (mut at, mut buffer) = (0, vec![0; 50_000]);
        loop {
            let n = read.read(&mut buffer).await.unwrap();
            if n == 0 {
                break;
            }
            assert!(buffer[..n].iter().enumerate().all(|(i, b)| *b == octet(at + i)), "at {at}");
            at += n;
        }
        sender.await.unwrap();
        at
    };
    let (c, s) = tokio::join!(tokio::spawn(pump(c)), tokio::spawn(pump(s)));
    assert_eq!((c.unwrap(), s.unwrap()), (BULK, BULK));
}

#[tokio::test]
async fn an_orderly_close_differs_from_a_cut() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let (c, s) = meet(&context(versions), key(), &context(versions), key()).await;
        let ((mut c, _), (mut s, _)) = (c.unwrap(), s.unwrap());
        c.write_all(b"last words").await.unwrap();
        c.shutdown().await.unwrap();
        let mut got = Vec::new();
        s.read_to_end(&mut got).await.expect("close_notify came");
        assert_eq!(got, b"last words");

        let (c, s) = meet(&context(versions), key(), &context(versions), key()).await;
        let ((mut c, _), (mut s, _)) = (c.unwrap(), s.unwrap());
        c.write_all(b"cut").await.unwrap();
        drop(c);
        let mut got = Vec::new();
        assert!(s.read_to_end(&mut got).await.is_err(), "an end without close_notify must not pass as one");
        assert_eq!(got, b"cut");
    }
}

#[test]
fn keys_and_identities_have_bounds() {
    assert!(matches!(Psk::new(&[0; 15]), Err(Error::KeyLength(15))));
    assert!(matches!(Psk::new(&[0; 65]), Err(Error::KeyLength(65))));
    let psk = || Psk::new(&[7; 64]).unwrap();
    assert!(matches!(PskKey::new("", psk()), Err(Error::Identity(0))));
    assert!(matches!(PskKey::new("a\0b", psk()), Err(Error::Identity(3))));
    assert!(matches!(PskKey::new("x".repeat(129), psk()), Err(Error::Identity(129))));
    let ring = Keyring::new(1);
    ring.bind(key()).unwrap();
    assert!(matches!(ring.bind(key()), Err(Error::IdentityBound(_))));
    assert!(matches!(ring.bind(named("more", KEY)), Err(Error::KeyringFull(1))));
    assert!(!ring.unbind("more"));
}

#[tokio::test]
async fn the_longest_identity_and_key_work() {
    let longest = || PskKey::new("x".repeat(128), Psk::new(&[9; 64]).unwrap()).unwrap();
    for versions in [Versions::Tls12, Versions::Tls13] {
        let (c, s) = meet(&context(versions), longest(), &context(versions), longest()).await;
        c.unwrap();
        assert_eq!(s.unwrap().1.identity, Some("x".repeat(128)));
    }
}
