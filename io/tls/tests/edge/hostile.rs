//! What no peer in good faith sends.

use super::far::{Far, Kind, Shown};
use super::near::{Near, pair};
use super::{SIDES, VERSIONS, noise};
use carnet_tls::{Credential, EdgeContext, EdgeSocket, Error, Side, Versions};
use std::io::Write;
use std::thread;

fn context(versions: Versions) -> EdgeContext {
    EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), versions).unwrap()
}

fn bring(edge: &mut EdgeSocket, buffer: &mut Vec<u8>, octets: &[u8]) {
    let filled: Result<usize, ()> = edge.wire_mut().take(buffer, |room| {
        room[..octets.len()].copy_from_slice(octets);
        Ok(octets.len())
    });
    assert_eq!(filled, Ok(octets.len()));
}

/// Carries what each end says to the other until one is done or failed.
fn exchange(client: &mut EdgeSocket, server: &mut EdgeSocket, bend: &mut dyn FnMut(&mut Vec<u8>)) -> bool {
    let mut buffers = [vec![0; 64 << 10], vec![0; 64 << 10]];
    let mut done = [false; 2];
    for _ in 0..8 {
        for at in 0..2 {
            let (from, to) =
                if at == 0 { (&mut *client, &mut *server) } else { (&mut *server, &mut *client) };
            if !done[at] {
                match from.handshake() {
                    Ok(stands) => done[at] = stands.is_some(),
                    Err(_) => return false,
                }
            }
            let mut said = from.wire().unsent().to_vec();
            from.wire_mut().note_sent(said.len());
            if at == 0 {
                bend(&mut said);
            }
            bring(to, &mut buffers[at], &said);
        }
    }
    done == [true; 2]
}

#[test]
fn octets_that_were_bent_end_the_handshake_and_nothing_else() {
    for (versions, _) in VERSIONS {
        let (a, b) = (Credential::self_signed(&[], 1).unwrap(), Credential::self_signed(&[], 1).unwrap());
        let (clients, servers) =
            (EdgeContext::new(&a, versions).unwrap(), EdgeContext::new(&b, versions).unwrap());
        let attempt = |place: usize, mask: u8| {
            let (mut client, mut server) =
                (clients.socket(Side::Client).unwrap(), servers.socket(Side::Server).unwrap());
            client.announce(&[b.fingerprint().unwrap()]);
            server.announce(&[a.fingerprint().unwrap()]);
            let mut passed = 0;
            let stands = exchange(&mut client, &mut server, &mut |said| {
                if let Some(octet) = place.checked_sub(passed).and_then(|place| said.get_mut(place)) {
                    *octet ^= mask;
                }
                passed += said.len();
            });
            // Whatever state they are in: nothing panics.
            for end in [&mut client, &mut server] {
                let _ = end.seal(b"word");
                let _ = end.open(&mut [0; 64]);
                end.close();
                let _ = end.handshake();
            }
            (stands, passed)
        };
        let (stands, all) = attempt(usize::MAX, 0);
        assert!(stands, "unbent they agree");
        let places = (0..all).step_by(if cfg!(debug_assertions) { 13 } else { 1 });
        let fell = places.clone().filter(|place| !attempt(*place, 0x41).0).count();
        // All but the octets that mean nothing, as versions of records.
        assert!(fell * 10 > places.count() * 7, "{fell} of {all}");
    }
}

#[test]
fn what_is_no_tls_is_said_to_be_none() {
    for octets in
        [&b"INVITE sip:alice@example.com SIP/2.0\r\n"[..], &noise(4000), &[0; 100], &[22, 3, 1, 0, 0]]
    {
        let (here, mut there) = pair();
        let context = context(Versions::Both);
        let mut near = Near::new(&context, here, Side::Server);
        near.edge.announce(&[]);
        there.write_all(octets).unwrap();
        there.shutdown(std::net::Shutdown::Write).unwrap();
        let error = near.handshake().unwrap_err();
        assert!(matches!(error, Error::NotTls | Error::Protocol(_)), "{error:?}");
    }
}

#[test]
fn a_message_that_never_ends_is_not_waited_for() {
    let mut edge = context(Versions::Both).socket(Side::Server).unwrap();
    let mut buffer = vec![0; 64 << 10];
    edge.announce(&[]);
    // A ClientHello of 16 MiB in records of 16 KiB.
    let mut octets = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    octets.resize(5 + (1 << 14), 0);
    bring(&mut edge, &mut buffer, &octets);
    assert!(edge.handshake().is_err());
}

#[test]
fn bent_records_of_a_session_end_it_after_what_was_good() {
    for (versions, _) in VERSIONS {
        let (a, b) = (Credential::self_signed(&[], 1).unwrap(), Credential::self_signed(&[], 1).unwrap());
        let mut client = EdgeContext::new(&a, versions).unwrap().socket(Side::Client).unwrap();
        let mut server = EdgeContext::new(&b, versions).unwrap().socket(Side::Server).unwrap();
        client.announce(&[b.fingerprint().unwrap()]);
        server.announce(&[a.fingerprint().unwrap()]);
        assert!(exchange(&mut client, &mut server, &mut |_| ()));
        client.seal(b"good").unwrap();
        client.seal(b"bent").unwrap();
        let mut said = client.wire().unsent().to_vec();
        *said.last_mut().unwrap() ^= 1;
        let (mut buffer, mut out) = (vec![0; 64 << 10], [0; 100]);
        bring(&mut server, &mut buffer, &said);
        assert_eq!(server.open(&mut out).unwrap(), carnet_tls::Opened::Octets(4));
        assert_eq!(&out[..4], b"good");
        assert!(server.open(&mut out).is_err());
        assert!(!server.wire().unsent().is_empty(), "the peer is told");
        assert!(server.open(&mut out).is_err());
    }
}

#[test]
fn a_cut_is_not_an_end() {
    for side in SIDES {
        let shown = Shown::new(Kind::P256);
        let (here, there) = pair();
        let far = Far::new(&shown);
        let other = thread::spawn(move || {
            let mut tls = far.meet(there, side).unwrap();
            tls.write_all(b"half");
            tls.cut();
        });
        let context = context(Versions::Both);
        let mut near = Near::new(&context, here, side);
        near.edge.announce(&[shown.fingerprint("sha-256")]);
        near.handshake().unwrap();
        assert_eq!(near.read(4).unwrap(), b"half");
        assert!(matches!(near.read(1), Err(Error::Io(_))), "not an orderly end");
        other.join().unwrap();
    }
}
