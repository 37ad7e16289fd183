//! The connection of one call: made, sealed, and pumped until it ends.
//!
//! ```text
//!  TCP ── TLS with the key of the call ── MSRP session ── texts, files
//! ```
//!
//! One task a call: [`link`](super::link) makes the connection, [`pump`](super::pump) runs the session on it.

use std::sync::Arc;

use carnet_client::{CallId, Media, Remote, TcpRole};
use carnet_msrp::{Config, Session, Uri, parse_path};
use carnet_net::OsRandom;
use carnet_tls::PskContext;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use super::UeError;
use super::event::UeEvent;
use super::inbox::Inbox;
use super::link::{Link, Made};
use super::outbox::Source;
use super::pump::{Fate, Pump};

/// What the engine asks of the task.
pub(super) enum Order {
    /// Send a text; the answer comes when it has arrived.
    Text(String, oneshot::Sender<Result<(), UeError>>),
    /// End in order.
    Stop,
    /// The call is over: take what is on its way still, and end.
    Drain,
}

/// What the task tells the engine.
pub(super) enum News {
    /// It could not be made, or broke; one sentence.
    Failed(String),
    /// All that was to be sent has arrived.
    Sent,
    /// The peer ended it, or we were told to.
    Done,
}

/// What the task needs.
pub(super) struct Line {
    pub(super) call: CallId,
    /// Who is on the other end, for the screen.
    pub(super) peer: String,
    pub(super) me: String,
    pub(super) media: Media,
    pub(super) listener: Option<TcpListener>,
    /// Where to connect to, if we do. It may change until the connection is up.
    pub(super) remote: watch::Receiver<Option<Remote>>,
    pub(super) psk: PskContext,
    /// The file to send.
    pub(super) file: Option<Source>,
    pub(super) inbox: Option<Inbox>,
    pub(super) fate: Fate,
    pub(super) events: mpsc::Sender<UeEvent>,
}

impl Line {
    /// Runs to the end.
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> News {
        let link = match self.link() {
            Ok(link) => link,
            Err(reason) => return News::Failed(reason),
        };
        // An order to stop also ends the waiting.
        let made = tokio::select! {
            made = link.make() => made,
            () = stopped(&mut orders) => return News::Done,
        };
        match made {
            Err(reason) => News::Failed(reason),
            Ok(Made::Sealed(stream, report)) => {
                self.fate.connected();
                let _ = self.events.send(UeEvent::Sealed { call: self.call, seal: *report }).await;
                self.pump(*stream, orders).await
            }
            Ok(Made::Clear(stream)) => {
                self.fate.connected();
                let _ = self.events.send(UeEvent::Clear { call: self.call }).await;
                self.pump(stream, orders).await
            }
        }
    }

    fn link(&mut self) -> Result<Link, String> {
        Ok(Link {
            me: self.me.clone(),
            tcp: self.media.tcp,
            tls: self.media.tls,
            local: self.media.local,
            seal: self.media.seal.take().map(Arc::new),
            listener: self.listener.take(),
            remote: self.remote.clone(),
            psk: self.psk.clone(),
            greeting: Some(self.local_path()?),
        })
    }

    async fn pump<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, orders: mpsc::Receiver<Order>) -> News {
        let session = match self.session() {
            Ok(session) => session,
            Err(reason) => return News::Failed(reason),
        };
        let is_active = self.media.tcp == TcpRole::Active;
        let (offer, inbox) = (self.media.file.clone(), self.inbox);
        let mut pump = Pump::new(self.call, self.peer, session, inbox, offer, self.fate, self.events);
        if let (Some(source), Some(file)) = (self.file, &self.media.file)
            && let Err(error) = pump.send_file(source, file.start).await
        {
            return News::Failed(error.to_string());
        }
        if is_active {
            pump.greet();
        }
        let news = pump.run(stream, orders).await;
        pump.end().await;
        news
    }

    fn local_path(&self) -> Result<Uri, String> {
        Uri::parse(self.media.local_path.as_bytes()).map_err(|error| error.to_string())
    }

    fn session(&self) -> Result<Session, String> {
        let remote = parse_path(self.media.remote_path.as_bytes()).map_err(|error| error.to_string())?;
        let mut config = Config::new(self.local_path()?, remote);
        // What is answered as received is on the disk, under its own name and with its hash checked.
        config.conclude = true;
        config.peer_accept_types.clone_from(&self.media.accept_types);
        config.peer_max_size = self.media.max_size;
        Ok(Session::new(config, Box::new(OsRandom)))
    }
}

/// Waits for an order to stop; texts that are ordered before the connection is up fail.
async fn stopped(orders: &mut mpsc::Receiver<Order>) {
    loop {
        match orders.recv().await {
            Some(Order::Text(_, reply)) => {
                let _ = reply.send(Err(UeError::NotUp));
            }
            Some(Order::Stop | Order::Drain) | None => return,
        }
    }
}

/// Runs a line as a task of its own and passes its news on.
pub(super) async fn start(line: Line, orders: mpsc::Receiver<Order>, news: mpsc::Sender<(CallId, News)>) {
    let call = line.call;
    let outcome = line.run(orders).await;
    let _ = news.send((call, outcome)).await;
}
