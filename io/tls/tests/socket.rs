//! TLS-PSK on sockets that do not block.
#![allow(clippy::unwrap_used)]

mod common;

use carnet_tls::{Error, Psk, PskKey, PskSocket, Report, Side, Version, Versions};
use common::{IDENTITY, context, key};
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

type End = PskSocket<UnixStream>;

fn ends(versions: Versions, client: PskKey, server: PskKey) -> (End, End) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let context = context(versions);
    let client = context.socket(near, Side::Client, client).unwrap();
    (client, context.socket(far, Side::Server, server).unwrap())
}

/// Drives both until each is done or has failed.
fn shake(client: &mut End, server: &mut End) -> [Result<Report, Error>; 2] {
    let mut outcomes = [None, None];
    for _ in 0..20 {
        for (end, outcome) in [&mut *client, &mut *server].into_iter().zip(&mut outcomes) {
            if outcome.is_none() {
                *outcome = end.handshake().transpose();
            }
        }
    }
    outcomes.map(|outcome| outcome.unwrap_or(Err(Error::PeerClosed)))
}

fn another_key() -> PskKey {
    PskKey::new(IDENTITY, Psk::new(&[9; 32]).unwrap()).unwrap()
}

#[test]
fn both_ends_agree_and_talk() {
    for (versions, version) in [(Versions::Tls13, Version::Tls13), (Versions::Tls12, Version::Tls12)] {
        let (mut client, mut server) = ends(versions, key(), key());
        let [ours, theirs] = shake(&mut client, &mut server).map(Result::unwrap);
        assert_eq!((ours.version, theirs.version), (version, version));
        assert_eq!(ours.client_random, theirs.client_random);
        assert_eq!(theirs.identity.as_deref(), Some(IDENTITY));
        let mut got = [0; 64];
        assert_eq!(server.read(&mut got).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(client.write(b"hello").unwrap(), 5);
        assert_eq!(server.read(&mut got).unwrap(), 5);
        assert_eq!(&got[..5], b"hello");
        client.close();
        assert_eq!(server.read(&mut got).unwrap(), 0, "an end in order");
    }
}

#[test]
fn a_full_socket_goes_on_where_it_stopped() {
    let (mut client, mut server) = ends(Versions::Both, key(), key());
    let _ = shake(&mut client, &mut server).map(Result::unwrap);
    let sent: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
    let (mut from, mut got, mut full) = (0, Vec::new(), 0);
    let mut buffer = [0; 20_000];
    while got.len() < sent.len() {
        while from < sent.len() {
            // From another place in memory each time.
            let chunk = sent[from..sent.len().min(from + 16_384)].to_vec();
            match client.write(&chunk) {
                Ok(octets) => from += octets,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    full += 1;
                    break;
                }
            }
        }
        loop {
            match server.read(&mut buffer) {
                Ok(octets) => got.extend_from_slice(&buffer[..octets]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
    }
    assert!(full > 0, "the socket was never full");
    assert!(got == sent);
}

#[test]
fn another_key_is_told_from_no_tls() {
    for versions in [Versions::Tls13, Versions::Tls12] {
        let (mut client, mut server) = ends(versions, key(), another_key());
        let [_, theirs] = shake(&mut client, &mut server);
        assert!(matches!(theirs, Err(Error::WrongKey)), "{theirs:?}");
    }
    let (mut plain, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut server = context(Versions::Both).socket(far, Side::Server, key()).unwrap();
    assert!(matches!(server.handshake(), Err(Error::NotTls)));
}

#[test]
fn a_cut_is_not_an_end() {
    let (mut client, mut server) = ends(Versions::Both, key(), key());
    let _ = shake(&mut client, &mut server).map(Result::unwrap);
    client.write(b"half").unwrap();
    client.get_ref().shutdown(Shutdown::Both).unwrap();
    let mut got = [0; 64];
    assert_eq!(server.read(&mut got).unwrap(), 4);
    assert_eq!(server.read(&mut got).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}
