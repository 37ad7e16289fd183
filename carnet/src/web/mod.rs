//! What the HTTP servers of the program have in common: doors at which callers come in, who they are, and how much of the
//! process they may take.
//!
//! A caller that says nothing, reads nothing or never ends costs one connection for a while and nobody else's turn: when
//! there are as many as there may be, the one that has been idle longest has to go ([`lines`]); who does not take what it
//! asked for is let go ([`patient`]). Left out: what is answered, and who may ask.

pub mod answer;
mod lines;
mod patient;
pub mod socket;

use axum::Router;
use carnet_net::Token;
use carnet_tls::{CertificateContext, Peer};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lines::{Busy, Line, Lines};
use patient::Patient;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// How long a stream that has no end of its own may go on when the doors are closed: enough for what is on its way.
const LAST_OF_A_STREAM: Duration = Duration::from_millis(50);

/// How long somebody who says nothing has a place for himself, however many wait.
const MOMENT: Duration = Duration::from_secs(1);

/// Where callers come in.
pub enum Door {
    /// From other hosts, or this one.
    Tcp(TcpListener, Option<Tls>),
    /// From this host; the file system says who may.
    Unix(UnixListener),
}

/// What callers are shown, and what they have to show.
#[derive(Clone)]
pub struct Tls {
    /// Has our certificate.
    pub context: CertificateContext,
    /// Whether they need one.
    pub callers: Peer,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A socket of a host.
    Host(SocketAddr),
    /// A process of this host, and whose it is.
    Process {
        /// Its user.
        uid: u32,
    },
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(address) => address.fmt(f),
            Self::Process { uid } => write!(f, "uid {uid}"),
        }
    }
}

/// How much callers may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; an eighth more while those that have to go are going.
    pub connections: usize,
    /// How long a request's header, a pause between requests, or a pause in reading an answer may take.
    pub patience: Duration,
    /// Octets of a request's header.
    pub header: usize,
}

/// Serves callers with what `answer` makes of their requests: until the token says to stop, or for ever without one. A request
/// that is being answered then is answered, a further one is not taken; a stream without an end is cut. The token is held until
/// the last answer is on its way.
pub async fn serve<A, F, B>(door: Door, limits: Limits, mut token: Option<Token>, answer: A)
where
    A: Fn(Caller, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let lines = Arc::new(Lines::new(limits.connections, MOMENT));
    loop {
        let accepted = tokio::select! {
            () = started(&mut token) => return,
            accepted = door.accept() => accepted,
        };
        let (arrived, caller) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: not a reason to stop, nor to spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // All are busy: those who come wait in the kernel's queue.
        let line = tokio::select! {
            () = started(&mut token) => return,
            line = Lines::enter(&lines) => line,
        };
        let (answer, token) = (answer.clone(), token.clone());
        tokio::spawn(async move {
            let served = async {
                match arrived {
                    Arrived::Tcp(stream, None) => {
                        connection(stream, caller, limits, &line, answer, token).await;
                    }
                    Arrived::Unix(stream) => connection(stream, caller, limits, &line, answer, token).await,
                    Arrived::Tcp(stream, Some(tls)) => {
                        // The context has its own time limit, and while it lasts nobody has to go.
                        let busy = line.busy();
                        let accepted = tls.context.accept(stream, &tls.callers).await;
                        drop(busy);
                        match accepted {
                            Ok((stream, _)) => connection(stream, caller, limits, &line, answer, token).await,
                            Err(error) => tracing::debug!(%caller, %error, "no TLS"),
                        }
                    }
                }
            };
            tokio::pin!(served);
            tokio::select! {
                () = served.as_mut() => return,
                () = line.sent_away() => {}
            }
            // A request that has come meanwhile, and that nobody had the time to look at, is answered.
            tokio::select! {
                () = served => {}
                () = line.has_nothing_to_do() => tracing::debug!(%caller, "idle, and others wait"),
            }
        });
    }
}

/// Answers of a router, for [`serve`]. It finds the [`Caller`] among the extensions of a request.
pub fn routed(
    routes: Router,
) -> impl Fn(Caller, Request<Incoming>) -> Pin<Box<dyn Future<Output = axum::response::Response> + Send>>
+ Clone
+ Send
+ Sync
+ 'static {
    let routes = TowerToHyperService::new(routes);
    move |caller, mut request| {
        request.extensions_mut().insert(caller);
        let answer = routes.call(request);
        Box::pin(async move { answer.await.unwrap_or_else(|never| match never {}) })
    }
}

enum Arrived {
    Tcp(TcpStream, Option<Tls>),
    Unix(UnixStream),
}

impl Door {
    async fn accept(&self) -> std::io::Result<(Arrived, Caller)> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                Ok((Arrived::Tcp(stream, tls.clone()), Caller::Host(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Arrived::Unix(stream), Caller::Process { uid }))
            }
        }
    }
}

async fn started(token: &mut Option<Token>) {
    match token {
        Some(token) => drop(token.started().await),
        None => std::future::pending().await,
    }
}

async fn connection<S, A, F, B>(
    stream: S,
    caller: Caller,
    limits: Limits,
    line: &Line,
    answer: A,
    mut token: Option<Token>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Caller, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let streams = Arc::new(AtomicUsize::new(0));
    let service = service_fn(|request| {
        let (busy, streams) = (line.busy(), streams.clone());
        let answer = answer(caller, request);
        async move {
            // Busy until the last octet of the answer is on its way.
            Ok::<_, Infallible>(answer.await.map(|body| Held::new(body, busy, streams)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.patience).max_buf_size(limits.header);
    let stream = TokioIo::new(Patient::new(stream, limits.patience));
    let served = http.serve_connection(stream, service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = started(&mut token) => {
            served.as_mut().graceful_shutdown();
            loop {
                tokio::select! {
                    ended = served.as_mut() => break ended,
                    () = tokio::time::sleep(LAST_OF_A_STREAM) => {}
                }
                if streams.load(Ordering::Relaxed) > 0 {
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%caller, %error, "connection ended");
    }
}

/// An answer whose connection is busy until it is gone.
struct Held<B> {
    body: B,
    _busy: Busy,
    /// Counts it, if it has no end of its own.
    stream: Option<Arc<AtomicUsize>>,
}

impl<B: Body> Held<B> {
    fn new(body: B, busy: Busy, streams: Arc<AtomicUsize>) -> Self {
        let stream = (body.size_hint().exact().is_none()).then_some(streams);
        if let Some(streams) = &stream {
            streams.fetch_add(1, Ordering::Relaxed);
        }
        Self { body, _busy: busy, stream }
    }
}

impl<B> Drop for Held<B> {
    fn drop(&mut self) {
        if let Some(streams) = &self.stream {
            streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LIMITS: Limits = Limits { connections: 8, patience: Duration::from_secs(30), header: 8 << 10 };

    /// A stream that never says anything.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    async fn asked<F, B>(
        answer: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> (TcpStream, carnet_net::Drain)
    where
        F: Future<Output = B> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, token) = carnet_net::drain();
        let (came, mut heard) = tokio::sync::mpsc::channel(1);
        let answer = move |_, _| {
            let (came, answer) = (came.clone(), answer.clone());
            async move {
                came.send(()).await.unwrap();
                Response::new(answer().await)
            }
        };
        tokio::spawn(serve(Door::Tcp(listener, None), LIMITS, Some(token), answer));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        heard.recv().await.unwrap();
        (stream, drain)
    }

    #[tokio::test]
    async fn what_was_asked_is_answered_before_the_end() {
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Full::new(Bytes::from_static(b"all of it"))
        };
        let (mut stream, drain) = asked(slow).await;
        drain.start(Duration::from_secs(60));
        assert!(drain.finished().await);
        // Whoever waited for that may end the process: it is all in the hands of the system.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("all of it"), "{answer}");
    }

    #[tokio::test]
    async fn a_stream_without_an_end_holds_nobody_up() {
        let (mut stream, drain) = asked(|| async { Endless }).await;
        drain.start(Duration::from_secs(60));
        assert!(drain.finished().await);
        let mut answer = Vec::new();
        // It ends, in whatever way.
        let _ = stream.read_to_end(&mut answer).await;
    }
}
