use super::*;
use carnet_mikey::Tek;
use carnet_tls::PskSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};

fn seal(octet: u8, ours: bool) -> Seal {
    let (me, peer) = if ours { ("sip:a@x", "sip:b@x") } else { ("sip:b@x", "sip:a@x") };
    Seal {
        tek: Tek::new(&[octet; 32]).unwrap(),
        psk_identity: "mikey-ticket:00000001:01".into(),
        peer: peer.into(),
        initiator: if ours { me } else { peer }.into(),
        kms: "sip:kms.example".into(),
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The end of the initiator, if `ours`; where it connects to, or where it waits.
fn end(
    (tcp, tls): (TcpRole, TlsRole),
    ours: bool,
    remote: Option<SocketAddr>,
    listener: Option<TcpListener>,
) -> (Link, watch::Sender<Option<Remote>>) {
    let (place, remote) = watch::channel(remote.map(Remote::Address));
    let link = Link {
        me: if ours { "sip:a@x" } else { "sip:b@x" }.into(),
        tcp,
        tls,
        local: "127.0.0.1:0".parse().unwrap(),
        seal: Some(Arc::new(seal(7, ours))),
        listener,
        remote,
        psk: PskContext::new(PskSettings::default()).unwrap(),
        greeting: None,
    };
    (link, place)
}

/// Both come up, and what one says the other hears.
async fn meet(one: Link, other: Link) {
    let (one, other) = tokio::join!(one.make(), other.make());
    let (Ok(Made::Sealed(mut one, first)), Ok(Made::Sealed(mut other, second))) = (one, other) else {
        panic!("not sealed")
    };
    assert_eq!(first.client_random, second.client_random);
    assert_ne!(first.tls_client, second.tls_client);
    one.write_all(b"hello").await.unwrap();
    let mut octets = [0; 5];
    other.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"hello");
}

const ROLES: [TlsRole; 2] = [TlsRole::Client, TlsRole::Server];

fn other(tls: TlsRole) -> TlsRole {
    if tls == TlsRole::Client { TlsRole::Server } else { TlsRole::Client }
}

/// Directly: one waits for the other, and either is the TLS client.
#[tokio::test]
async fn who_connects_may_be_the_server() {
    for tls in ROLES {
        let (listener, address) = listener().await;
        let (active, _place) = end((TcpRole::Active, tls), true, Some(address), None);
        let (passive, _) = end((TcpRole::Passive, other(tls)), false, None, Some(listener));
        meet(active, passive).await;
    }
}

/// Through a gateway that accepts from both and joins them.
#[tokio::test]
async fn both_connect() {
    for tls in ROLES {
        let (gateway, address) = listener().await;
        tokio::spawn(async move {
            let (mut one, _) = gateway.accept().await.unwrap();
            let (mut other, _) = gateway.accept().await.unwrap();
            let _ = copy_bidirectional(&mut one, &mut other).await;
        });
        let (first, _a) = end((TcpRole::Active, tls), true, Some(address), None);
        let (second, _b) = end((TcpRole::Active, other(tls)), false, Some(address), None);
        meet(first, second).await;
    }
}

/// Through one that connects to both.
#[tokio::test]
async fn both_wait() {
    for tls in ROLES {
        let ((at_one, one), (at_other, other_place)) = (listener().await, listener().await);
        let gateway = async move {
            let mut left = TcpStream::connect(one).await.unwrap();
            let mut right = TcpStream::connect(other_place).await.unwrap();
            let _ = copy_bidirectional(&mut left, &mut right).await;
        };
        tokio::spawn(gateway);
        let (first, _) = end((TcpRole::Passive, tls), true, None, Some(at_one));
        let (second, _) = end((TcpRole::Passive, other(tls)), false, None, Some(at_other));
        meet(first, second).await;
    }
}

/// Who waits as the TLS client speaks to everybody who comes, and takes only who has the key, however many
/// others are there first.
#[tokio::test]
async fn strangers_at_the_door_of_a_client() {
    let (listener, address) = listener().await;
    let mut strangers = Vec::new();
    let (passive, _) = end((TcpRole::Passive, TlsRole::Client), true, None, Some(listener));
    let waits = tokio::spawn(passive.make());
    for number in 0..100 {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        if number % 5 == 0 {
            let _ = stranger.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
        strangers.push(stranger);
    }
    // One who is a server too, but with another key.
    let (mut wrong, _c) = end((TcpRole::Active, TlsRole::Server), false, Some(address), None);
    wrong.seal = Some(Arc::new(seal(8, false)));
    assert!(wrong.make().await.is_err());
    let (active, _d) = end((TcpRole::Active, TlsRole::Server), false, Some(address), None);
    assert!(matches!(active.make().await, Ok(Made::Sealed(..))));
    assert!(matches!(waits.await.unwrap(), Ok(Made::Sealed(..))));
}

/// Two clients cannot meet, and say so at once instead of waiting for each other.
#[tokio::test]
async fn two_clients_end_with_a_reason() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut one, _) = listener.accept().await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let _ = copy_bidirectional(&mut one, &mut other).await;
    });
    let (first, _a) = end((TcpRole::Active, TlsRole::Client), true, Some(address), None);
    let (second, _b) = end((TcpRole::Active, TlsRole::Client), false, Some(address), None);
    let (one, other) = tokio::join!(first.make(), second.make());
    for made in [one, other] {
        assert!(made.is_err_and(|reason| reason.contains("could not be sealed")));
    }
}
