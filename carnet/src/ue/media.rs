//! The connection of one call: made, sealed, and pumped until it ends.
//!
//! ```text
//!  TCP ── TLS with the key of the call ── MSRP session ── texts, files
//! ```
//!
//! One task a call: [`link`](super::link) makes the connection, [`pump`](super::pump) runs the session on it.

use std::sync::Arc;
use std::time::Duration;

use carnet_client::{CallId, Media, Remote, Seal, TcpRole};
use carnet_msrp::{Config, Session, Uri, parse_path};
use carnet_net::OsRandom;
use carnet_tls::PskContext;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use super::UeError;
use super::event::UeEvent;
use super::inbox::Inbox;
use super::kept::{Kept, Unsaid};
use super::link::{Link, Made};
use super::outbox::Source;
use super::pump::{Fate, Pump};

/// How long a connection that is made again may take to come up.
const AGAIN: Duration = Duration::from_secs(10);

/// What the engine asks of the task.
pub(super) enum Order {
    /// Send a text; the answer comes when it has arrived.
    Text(String, oneshot::Sender<Result<(), UeError>>),
    /// End in order.
    Stop,
    /// The call is over: take what is on its way still, and end.
    Drain,
    /// The peer makes the connection again: end this one without a word.
    Renew,
}

/// What the task tells the engine.
pub(super) enum News {
    /// It could not be made, or broke; one sentence.
    Failed(String),
    /// The connection broke under the call; one sentence.
    Broken(String),
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
    /// The key, wiped with the last who has it.
    pub(super) seal: Option<Arc<Seal>>,
    /// What the connection before this one left, if there was one.
    pub(super) before: Option<Kept>,
    /// The file to send.
    pub(super) file: Option<Source>,
    pub(super) inbox: Option<Inbox>,
    pub(super) fate: Fate,
    pub(super) events: mpsc::Sender<UeEvent>,
}

impl Line {
    /// Runs to the end; what there is for the next connection.
    async fn run(mut self, orders: &mut mpsc::Receiver<Order>) -> (News, Kept) {
        let again = self.before.is_some();
        let mut kept = self.before.take().unwrap_or_default();
        let link = match self.link() {
            Ok(link) => link,
            Err(reason) => return (News::Failed(reason), kept),
        };
        let made = async {
            match again {
                true => tokio::time::timeout(AGAIN, link.make())
                    .await
                    .unwrap_or_else(|_| Err("the connection did not come up again".into())),
                false => link.make().await,
            }
        };
        // An order to stop also ends the waiting.
        let made = tokio::select! {
            made = made => made,
            news = stopped(orders, again.then_some(&mut kept)) => return (news, kept),
        };
        let call = self.call;
        match made {
            Err(reason) if again => (News::Broken(reason), kept),
            Err(reason) => (News::Failed(reason), kept),
            Ok(Made::Sealed(stream, report)) => {
                let seal = *report;
                self.up(if again {
                    UeEvent::Restored { call, seal: Some(seal) }
                } else {
                    UeEvent::Sealed { call, seal }
                })
                .await;
                self.pump(*stream, orders, kept).await
            }
            Ok(Made::Clear(stream)) => {
                self.up(if again { UeEvent::Restored { call, seal: None } } else { UeEvent::Clear { call } })
                    .await;
                self.pump(stream, orders, kept).await
            }
        }
    }

    async fn up(&self, event: UeEvent) {
        self.fate.connected();
        let _ = self.events.send(event).await;
    }

    fn link(&mut self) -> Result<Link, String> {
        Ok(Link {
            me: self.me.clone(),
            tcp: self.media.tcp,
            tls: self.media.tls,
            local: self.media.local,
            seal: self.seal.clone(),
            listener: self.listener.take(),
            remote: self.remote.clone(),
            psk: self.psk.clone(),
            greeting: Some(self.local_path()?),
        })
    }

    async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        stream: S,
        orders: &mut mpsc::Receiver<Order>,
        kept: Kept,
    ) -> (News, Kept) {
        let session = match self.session() {
            Ok(session) => session,
            Err(reason) => return (News::Failed(reason), kept),
        };
        let is_active = self.media.tcp == TcpRole::Active;
        let (offer, inbox) = (self.media.file.clone(), self.inbox);
        let mut pump = Pump::new(self.call, self.peer, session, inbox, offer, self.fate, self.events);
        if let (Some(source), Some(file)) = (self.file, &self.media.file)
            && let Err(error) = pump.send_file(source, file.start).await
        {
            return (News::Failed(error.to_string()), kept);
        }
        if is_active {
            pump.greet();
        }
        pump.go_on(kept);
        let news = pump.run(stream, orders).await;
        (news, pump.end().await)
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

/// Waits for an order to stop. Texts that are ordered before the connection is up fail, or wait for it if
/// there is a place for them.
async fn stopped(orders: &mut mpsc::Receiver<Order>, mut kept: Option<&mut Kept>) -> News {
    loop {
        match (orders.recv().await, &mut kept) {
            (Some(Order::Text(text, reply)), Some(kept)) => {
                kept.unsaid.push_back(Unsaid::new(text, reply));
            }
            (Some(Order::Text(_, reply)), None) => {
                let _ = reply.send(Err(UeError::NotUp));
            }
            (Some(Order::Renew), _) => {
                return News::Broken("the other side makes the connection again".into());
            }
            (Some(Order::Stop | Order::Drain) | None, _) => return News::Done,
        }
    }
}

/// What a task leaves behind.
pub(super) struct Left {
    pub(super) kept: Kept,
    /// What it was not told yet.
    pub(super) orders: mpsc::Receiver<Order>,
}

/// Runs a line as a task of its own and passes its news on.
pub(super) async fn start(
    line: Line,
    mut orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<(CallId, News, Left)>,
) {
    let call = line.call;
    let (outcome, kept) = line.run(&mut orders).await;
    let _ = news.send((call, outcome, Left { kept, orders })).await;
}
