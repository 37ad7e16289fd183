//! The listening side of a call: out of all who connect, the one who is the peer.
//!
//! The port is open to everybody, and strangers come by: scanners, and connections of calls long gone.
//! Whoever connects is asked for proof, all side by side, so that nobody who says nothing stands in the
//! way of the peer. Not more than [`PENDING`] at a time: then the one goes who has been silent longest.
//! The first with proof is the peer; the others are closed.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carnet_msrp::connection::{Binding, admit, first_request, refusal};
use carnet_msrp::{Limits, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Connections that have not proved anything yet.
const PENDING: usize = 16;
/// Strangers that are worth a warning each; more of them are a flood.
const WARNINGS: u32 = 8;
/// How long whoever is refused may take to go.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pause between looks at a request that comes in pieces, and when the system has no socket left.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection that is asked for proof.
struct Visitor {
    from: SocketAddr,
    task: AbortHandle,
    heard: Heard,
}

/// Whether anything came by a connection.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    /// Waits for the first octet, where it is for the other side to speak first. Whoever does not may be
    /// sent away to make room.
    pub(super) async fn first(&self, stream: &TcpStream) -> Result<(), String> {
        stream.readable().await.map_err(|error| error.to_string())?;
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The connection twice: once to be used, once to look at, where it is for us to speak first.
    pub(super) fn twice(stream: TcpStream) -> Result<(TcpStream, TcpStream), String> {
        let both = || {
            let stream = stream.into_std()?;
            let other = TcpStream::from_std(stream.try_clone()?)?;
            Ok::<_, std::io::Error>((TcpStream::from_std(stream)?, other))
        };
        both().map_err(|error| error.to_string())
    }
}

/// Accepts until somebody has proof, which is what `prove` makes of a connection.
///
/// # Errors
/// One sentence, at `deadline`.
pub(super) async fn open<T, F>(
    listener: &TcpListener,
    deadline: Instant,
    prove: impl Fn(TcpStream, Heard) -> F,
) -> Result<T, String>
where
    F: Future<Output = Result<T, String>> + Send + 'static,
    T: Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut visitors: Vec<Visitor> = Vec::new();
    let (mut failed, mut last) = (0, None);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, from)) = accepted else {
                    // Whoever connected is gone again, or too many files are open.
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let _ = stream.set_nodelay(true);
                if visitors.len() >= PENDING {
                    let silent = visitors.iter().position(|visitor| !visitor.heard.0.load(Ordering::Relaxed));
                    visitors.remove(silent.unwrap_or(0)).task.abort();
                }
                let heard = Heard::default();
                let task = tasks.spawn(prove(stream, heard.clone()));
                visitors.push(Visitor { from, task, heard });
            }
            Some(done) = tasks.join_next_with_id() => {
                let id = match &done {
                    Ok((id, _)) => *id,
                    Err(error) => error.id(),
                };
                let at = visitors.iter().position(|visitor| visitor.task.id() == id);
                let visitor = at.map(|at| visitors.remove(at));
                match done {
                    Ok((_, Ok(peer))) => return Ok(peer),
                    Ok((_, Err(reason))) => {
                        failed += 1;
                        if let Some(Visitor { from, .. }) = visitor
                            && failed <= WARNINGS
                        {
                            tracing::warn!(%from, %reason, "a connection that is not the peer's");
                        }
                        last = Some(reason);
                    }
                    // It had to make room.
                    Err(_) => {}
                }
            }
            () = tokio::time::sleep_until(deadline) => {
                return Err(last.unwrap_or_else(|| "nobody connected".to_owned()));
            }
        }
    }
}

/// The proof in clear: the first request names our session, which is hard to guess (RFC 4975 §5.4, §14.1).
/// Nothing is read off the stream for it.
pub(super) async fn greeted(stream: TcpStream, heard: Heard, ours: Uri) -> Result<TcpStream, String> {
    let limits = Limits::default();
    let mut octets = vec![0; limits.head];
    let (mut stream, mut seen) = (stream, 0);
    heard.first(&stream).await?;
    loop {
        let read = stream.peek(&mut octets).await.map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("it was closed without a word".into());
        }
        if read == seen {
            // More is to come, and `peek` does not wait for it.
            tokio::time::sleep(PAUSE).await;
        }
        seen = read;
        let so_far = octets.get(..read).unwrap_or_default();
        let head = match first_request(so_far, &limits) {
            Ok(Some(head)) => head,
            Ok(None) if read < octets.len() => continue,
            Ok(None) => return Err("its first request has no end".into()),
            Err(error) => return Err(error.to_string()),
        };
        let Err(error) = admit(&head, |uri| (*uri == ours).then_some(Binding::Free)) else {
            return Ok(stream);
        };
        if let Some(response) = error.answer().and_then(|status| refusal(&head, status)) {
            // A connection that is closed with octets unread is reset, and the refusal lost with it.
            let told = async {
                stream.write_all(&response).await?;
                stream.shutdown().await?;
                while stream.read(&mut octets).await? > 0 {}
                Ok::<_, std::io::Error>(())
            };
            let _ = tokio::time::timeout(FAREWELL, told).await;
        }
        return Err(error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_tls::{Keyring, Psk, PskContext, PskKey, PskSettings, TlsStream};
    use tokio::sync::mpsc;

    /// Time enough for a machine that has other things to do, and less than any handshake may take.
    const SOON: Duration = Duration::from_secs(8);

    fn key(octet: u8) -> PskKey {
        PskKey::new("mikey-ticket:test", Psk::new(&[octet; 32]).unwrap()).unwrap()
    }

    /// A door that is open to the key of sevens; its address, and what comes through.
    async fn door() -> (SocketAddr, mpsc::Receiver<Result<TlsStream<TcpStream>, String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (send, receive) = mpsc::channel(1);
        tokio::spawn(async move {
            let (context, keyring) = (PskContext::new(PskSettings::default()).unwrap(), Keyring::new(1));
            keyring.bind(key(7)).unwrap();
            let prove = |stream, heard: Heard| {
                let (context, keyring) = (context.clone(), keyring.clone());
                async move {
                    heard.first(&stream).await?;
                    let made = context.accept_from(stream, &keyring).await;
                    made.map(|(tls, _)| tls).map_err(|error| error.to_string())
                }
            };
            let outcome = open(&listener, Instant::now() + SOON, prove).await;
            send.send(outcome).await.unwrap();
        });
        (address, receive)
    }

    /// The peer comes last and must get in; what of the strangers is still open after that.
    async fn comes_through(
        address: SocketAddr,
        mut door: mpsc::Receiver<Result<TlsStream<TcpStream>, String>>,
        strangers: Vec<TcpStream>,
    ) {
        let begun = Instant::now();
        let context = PskContext::new(PskSettings::default()).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut peer, _) = context.connect(stream, key(7)).await.unwrap();
        let mut ours = door.recv().await.unwrap().unwrap();
        assert!(begun.elapsed() < SOON / 2, "it waited {:?}", begun.elapsed());
        peer.write_all(b"hello").await.unwrap();
        let mut octets = [0; 5];
        ours.read_exact(&mut octets).await.unwrap();
        assert_eq!(&octets, b"hello");
        // Everybody else is shown out.
        for mut stranger in strangers {
            let end = tokio::time::timeout(SOON, async {
                let mut rest = [0; 1024];
                while matches!(stranger.read(&mut rest).await, Ok(1..)) {}
            });
            end.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_stranger_who_says_nothing() {
        let (address, door) = door().await;
        let stranger = TcpStream::connect(address).await.unwrap();
        comes_through(address, door, vec![stranger]).await;
    }

    #[tokio::test]
    async fn a_stranger_who_talks_nonsense() {
        let (address, door) = door().await;
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        // And one who stops in the middle of a TLS record.
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        comes_through(address, door, vec![stranger, slow]).await;
    }

    #[tokio::test]
    async fn a_stranger_with_another_key() {
        let (address, door) = door().await;
        let context = PskContext::new(PskSettings::default()).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        // In TLS 1.3 the server's refusal comes with the handshake.
        assert!(context.connect(stream, key(8)).await.is_err());
        comes_through(address, door, Vec::new()).await;
    }

    #[tokio::test]
    async fn a_hundred_strangers() {
        let (address, door) = door().await;
        let mut strangers = Vec::new();
        for i in 0..100 {
            let mut stranger = TcpStream::connect(address).await.unwrap();
            if i % 5 == 0 {
                stranger.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
            }
            strangers.push(stranger);
        }
        comes_through(address, door, strangers).await;
    }

    #[tokio::test]
    async fn when_nobody_has_proof_it_ends_with_a_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let refuse = |_: TcpStream, _: Heard| async { Err::<(), _>("no".to_owned()) };
        let at = |time: u64| Instant::now() + Duration::from_millis(time);
        assert_eq!(open(&listener, at(50), refuse).await, Err("nobody connected".to_owned()));
        let _stranger = TcpStream::connect(address).await.unwrap();
        assert_eq!(open(&listener, at(500), refuse).await, Err("no".to_owned()));
    }

    // RFC 4975 §5.4, §7.3
    #[tokio::test]
    async fn in_clear_the_session_is_the_proof() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ours: Uri = "msrp://127.0.0.1:7/right;tcp".parse().unwrap();
        let send = |session: &str| {
            format!(
                "MSRP abcd1234 SEND\r\nTo-Path: msrp://127.0.0.1:7/{session};tcp\r\n\
                 From-Path: msrp://127.0.0.1:8/peer;tcp\r\n-------abcd1234$\r\n"
            )
        };
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut wrong = TcpStream::connect(address).await.unwrap();
        wrong.write_all(send("wrong").as_bytes()).await.unwrap();
        let right = send("right");
        let mut peer = TcpStream::connect(address).await.unwrap();
        let speak = async {
            let mut answer = String::new();
            wrong.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("MSRP abcd1234 481 "), "{answer}");
            // In pieces, as a slow network brings it.
            for piece in right.as_bytes().chunks(40) {
                peer.write_all(piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let prove = |stream, heard| greeted(stream, heard, ours.clone());
        let (through, ()) = tokio::join!(open(&listener, Instant::now() + SOON, prove), speak);
        let mut through = through.unwrap();
        let mut octets = vec![0; right.len()];
        through.read_exact(&mut octets).await.unwrap();
        assert_eq!(String::from_utf8(octets).unwrap(), right, "nothing of it is lost");
    }
}
