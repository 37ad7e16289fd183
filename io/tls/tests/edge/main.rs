//! TLS at the edge against OpenSSL as a library and as a program, and against GnuTLS.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod far;
mod hostile;
mod near;
mod programs;

use carnet_tls::{Credential, EdgeContext, Error, Opened, Side, Version, Versions};
use far::{Far, Kind, Shown};
use near::{Near, pair};
use std::thread;

const VERSIONS: [(Versions, Version); 2] =
    [(Versions::Tls13, Version::Tls13), (Versions::Tls12, Version::Tls12)];
const SIDES: [Side; 2] = [Side::Client, Side::Server];

fn noise(octets: usize) -> Vec<u8> {
    let mut state = 7u32;
    (0..octets)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

#[test]
fn both_roles_and_versions_agree_and_carry_bulk_to_the_end() {
    for (versions, version) in VERSIONS {
        for side in SIDES {
            let (shown, ours) = (Shown::new(Kind::P256), Credential::self_signed(&[], 1).unwrap());
            let context = EdgeContext::new(&ours, versions).unwrap();
            let (here, there) = pair();
            let far = Far::new(&shown);
            let bulk = noise(1_000_003);
            thread::scope(|scope| {
                let bulk = &bulk;
                let other = scope.spawn(move || {
                    let mut tls = far.meet(there, side).unwrap();
                    assert_eq!(tls.peer_fingerprint(), ours.fingerprint().unwrap().to_string());
                    let random = tls.client_random();
                    assert!(tls.read_to_close() == *bulk);
                    // Closed in one direction, it still carries the other.
                    tls.write_all(bulk);
                    tls.close();
                    random
                });
                let mut near = Near::new(&context, here, side);
                near.edge.announce(&[shown.fingerprint("sha-512")]);
                let report = near.handshake().unwrap();
                assert_eq!((report.version, report.side), (version, side));
                assert!(
                    report.cipher.starts_with("TLS_") && report.cipher.contains("AES_128_GCM"),
                    "{report}"
                );
                assert_eq!(report.peer_fingerprint, Some(shown.fingerprint("sha-256")));
                assert!(near.edge.is_shown(&[shown.fingerprint("sha-384")]));
                assert!(!near.edge.is_shown(&[]));
                near.write(bulk);
                near.close();
                assert!(near.read_to_close() == *bulk);
                assert_eq!(other.join().unwrap(), report.client_random);
            });
        }
    }
}

#[test]
fn terminals_show_certificates_of_all_kinds() {
    for kind in Kind::ALL {
        for (versions, version) in VERSIONS {
            for side in SIDES {
                if (kind, version, side) == (Kind::P521, Version::Tls12, Side::Client) {
                    // Its curve is not offered (RFC 8422 §5.1).
                    continue;
                }
                let shown = Shown::new(kind);
                let context = EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), versions).unwrap();
                let (here, there) = pair();
                let far = Far::new(&shown);
                let other =
                    thread::spawn(move || far.meet(there, side).map(|mut tls| tls.write_all(b"here")));
                let mut near = Near::new(&context, here, side);
                near.edge.announce(&[shown.fingerprint("sha-256")]);
                let report = near.handshake().unwrap_or_else(|e| panic!("{kind:?} {version} {side:?}: {e}"));
                assert_eq!(report.version, version);
                assert_eq!(near.read(4).unwrap(), b"here");
                other.join().unwrap().unwrap();
            }
        }
    }
}

#[test]
fn realms_show_certificates_of_all_kinds() {
    for kind in
        [Kind::P256, Kind::P384, Kind::P521, Kind::Ed25519, Kind::Ed448, Kind::Rsa(2048), Kind::Rsa(3072)]
    {
        for side in SIDES {
            let (certificate, key) = Shown::new(kind).pem();
            let ours = Credential::from_pem(&certificate, &key).unwrap();
            let context = EdgeContext::new(&ours, Versions::Both).unwrap();
            // The one that rustls does not sign with is left to OpenSSL.
            let light = format!("{context:?}").contains("light: true");
            assert_eq!(light, kind != Kind::Ed448, "{kind:?}");
            let shown = Shown::new(Kind::P256);
            let (here, there) = pair();
            let far = Far::new(&shown);
            let other = thread::spawn(move || {
                far.meet(there, side).map(|mut tls| {
                    tls.write_all(b"here");
                    tls.peer_fingerprint()
                })
            });
            let mut near = Near::new(&context, here, side);
            near.edge.announce(&[shown.fingerprint("sha-256")]);
            near.handshake().unwrap_or_else(|e| panic!("{kind:?} {side:?}: {e}"));
            assert_eq!(near.read(4).unwrap(), b"here");
            assert_eq!(other.join().unwrap().unwrap(), ours.fingerprint().unwrap().to_string());
        }
    }
}

#[test]
fn another_certificate_is_answered_with_bad_certificate() {
    for (versions, version) in VERSIONS {
        for side in SIDES {
            let context = EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), versions).unwrap();
            let (here, there) = pair();
            let far = Far::new(&Shown::new(Kind::P256));
            let other = thread::spawn(move || far.meet(there, side).and_then(|mut tls| tls.read_once()));
            let mut near = Near::new(&context, here, side);
            near.edge.announce(&[Shown::new(Kind::P256).fingerprint("sha-256")]);
            let error = near.handshake().unwrap_err();
            assert!(matches!(error, Error::Fingerprint), "{version} {side:?}: {error}");
            // Nothing that is done to it afterwards does anything.
            near.edge.close();
            assert!(near.edge.seal(b"secret").is_err());
            assert!(near.edge.open(&mut [0; 10]).is_err());
            near.part();
            // 1000 and the number of the alert.
            assert_eq!(other.join().unwrap().unwrap_err(), 1042, "{version} {side:?}");
        }
    }
}

#[test]
fn no_certificate_is_refused() {
    for (versions, version) in VERSIONS {
        let context = EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), versions).unwrap();
        let (here, there) = pair();
        let far = Far::without();
        let other = thread::spawn(move || far.meet(there, Side::Server).and_then(|mut tls| tls.read_once()));
        let mut near = Near::new(&context, here, Side::Server);
        near.edge.announce(&[Shown::new(Kind::P256).fingerprint("sha-256")]);
        let error = near.handshake().unwrap_err();
        assert!(matches!(error, Error::NoCertificate), "{version}: {error}");
        near.part();
        let alert = other.join().unwrap().unwrap_err();
        assert!([1040, 1042, 1116].contains(&alert), "{version}: {alert}");
    }
}

#[test]
fn a_refusal_by_the_peer_is_told_from_other_ends() {
    for side in SIDES {
        let context = EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), Versions::Tls12).unwrap();
        let shown = Shown::new(Kind::P256);
        let (here, there) = pair();
        let far = Far::new(&shown).refusing();
        let other = thread::spawn(move || far.meet(there, side).map(|_| ()));
        let mut near = Near::new(&context, here, side);
        near.edge.announce(&[shown.fingerprint("sha-256")]);
        let error = near.handshake().unwrap_err();
        assert!(matches!(error, Error::CertificateRefused(_) | Error::Refused), "{side:?}: {error:?}");
        assert!(other.join().unwrap().is_err());
    }
}

#[test]
fn nothing_is_heard_before_the_peer_is_announced() {
    for (versions, _) in VERSIONS {
        for side in SIDES {
            let shown = Shown::new(Kind::P256);
            let context = EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), versions).unwrap();
            let (here, there) = pair();
            let far = Far::new(&shown);
            let other = thread::spawn(move || far.meet(there, side).map(|mut tls| tls.write_all(b"at last")));
            let mut near = Near::new(&context, here, side);
            while !near.edge.is_waiting() {
                assert!(near.step().unwrap().is_none());
            }
            // What has come meanwhile is not looked at.
            near.bring().unwrap();
            assert!(near.edge.wire().unused() > 0);
            assert!(near.edge.handshake().unwrap().is_none());
            assert!(near.edge.wire().unused() > 0);
            near.edge.announce(&[shown.fingerprint("sha-256")]);
            assert!(!near.edge.is_waiting());
            near.handshake().unwrap();
            assert_eq!(near.read(7).unwrap(), b"at last");
            other.join().unwrap().unwrap();
        }
    }
}

#[test]
fn one_word_about_the_peer_counts_and_an_empty_one_fits_nobody() {
    let shown = Shown::new(Kind::P256);
    let context = EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), Versions::Both).unwrap();
    let (here, there) = pair();
    let far = Far::new(&shown);
    let other = thread::spawn(move || far.meet(there, Side::Server).and_then(|mut tls| tls.read_once()));
    let mut near = Near::new(&context, here, Side::Server);
    near.edge.announce(&[]);
    near.edge.announce(&[shown.fingerprint("sha-256")]);
    assert!(matches!(near.handshake(), Err(Error::Fingerprint)));
    near.part();
    assert_eq!(other.join().unwrap().unwrap_err(), 1042);
}

#[test]
fn what_does_not_fit_the_reader_waits_for_it() {
    let shown = Shown::new(Kind::P256);
    let context = EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), Versions::Both).unwrap();
    let (here, there) = pair();
    let far = Far::new(&shown);
    let sent = noise(40_000);
    let all = sent.clone();
    let other = thread::spawn(move || {
        let mut tls = far.meet(there, Side::Server).unwrap();
        tls.write_all(&all);
        tls.close();
        assert_eq!(tls.read_to_close(), b"between");
    });
    let mut near = Near::new(&context, here, Side::Server);
    near.edge.announce(&[shown.fingerprint("sha-256")]);
    near.handshake().unwrap();
    let (mut got, mut room) = (Vec::new(), [0; 7]);
    while got.len() < sent.len() {
        match near.edge.open(&mut room).unwrap() {
            Opened::Octets(octets) => got.extend_from_slice(&room[..octets]),
            Opened::Nothing => near.bring().unwrap(),
            Opened::End => panic!("the end came after {} octets", got.len()),
        }
        // Sealing in between loses nothing of what waits to be opened.
        if got.len() == 7 {
            near.write(b"between");
        }
    }
    assert!(got == sent);
    near.close();
    assert_eq!(near.read_to_close(), b"");
    other.join().unwrap();
}
