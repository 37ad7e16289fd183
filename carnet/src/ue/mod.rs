//! `carnet ue`: a client that calls, chats and sends files, sealed end to end.
//!
//! ```text
//!  Ue::start ─▶ UeHandle (call, send_text, send_file, hang_up, stop) and a Receiver<UeEvent>
//!     engine: carnet_client::Client ── SIP sockets, key server, clock
//!     media:  one task a call ── TCP, TLS with the key of the call, MSRP
//! ```
//!
//! [`cli`] and [`run()`] put a command line in front of it; the demonstration starts several in one
//! process.

pub mod cli;
pub mod config;
mod door;
mod engine;
pub mod event;
mod first_hop;
mod inbox;
pub mod interop;
mod kept;
mod keyboard;
pub(crate) mod kms;
mod link;
mod media;
mod outbox;
mod pump;
pub mod room;
mod run;
mod screen;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use carnet_client::{CallId, FileOffer};
use tokio::sync::{mpsc, oneshot};

pub use config::UeConfig;
pub use engine::Joining;
pub use event::UeEvent;
pub use room::Wish;
pub use run::run;

/// Events waiting for whoever started the client. When they are so many, the client waits.
const EVENTS: usize = 256;
/// Commands waiting for the client.
const COMMANDS: usize = 64;

/// Why a client could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UeError {
    /// It could not start.
    #[error("{0}")]
    Setup(String),
    /// It was told to go before it had done what was asked for.
    #[error("stopped before it was done")]
    Interrupted,
    /// It has stopped.
    #[error("the client has stopped")]
    Stopped,
    /// The call was refused before anything was sent.
    #[error("{0}")]
    Refused(carnet_client::Refusal),
    /// There is no such call, or it is not connected.
    #[error("the call is not connected")]
    NotUp,
    /// A text or file did not arrive.
    #[error("not delivered: {0}")]
    Undelivered(String),
    /// A file could not be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was to be sent is a pipe or a device.
    #[error("{path} is not a file", path = .0.display())]
    NoFile(PathBuf),
    /// Floor control did not do what was asked; one sentence.
    #[error("{0}")]
    Floor(String),
    /// A file is not what it was when it was described.
    #[error("{path} changed while it was sent", path = .0.display())]
    Changed(PathBuf),
}

/// A client.
pub struct Ue;

/// What can be asked of a running client. Cheap to clone. When the last handle is dropped, the
/// client ends its calls and stops.
#[derive(Clone)]
pub struct UeHandle {
    commands: mpsc::Sender<Command>,
}

enum Command {
    Call {
        uri: String,
        file: Option<(FileOffer, outbox::Source)>,
        reply: oneshot::Sender<Result<CallId, UeError>>,
    },
    Text {
        call: CallId,
        text: String,
        reply: oneshot::Sender<Result<(), UeError>>,
    },
    Join {
        uri: String,
        joining: Joining,
        reply: oneshot::Sender<Result<CallId, UeError>>,
    },
    Wish {
        call: CallId,
        wish: Wish,
        reply: room::Reply,
    },
    RoomFile {
        call: CallId,
        to: Option<String>,
        offer: Box<FileOffer>,
        source: outbox::Source,
        reply: room::Reply,
    },
    Accept(CallId),
    Decline(CallId),
    HangUp(CallId),
    Stop(oneshot::Sender<()>),
}

impl Ue {
    /// Starts a client inside the current tokio runtime. It registers at once if it is to.
    ///
    /// # Errors
    /// [`UeError::Setup`] if an address cannot be had or a setting cannot be used.
    pub async fn start(config: UeConfig) -> Result<(UeHandle, mpsc::Receiver<UeEvent>), UeError> {
        let (commands, commanded) = mpsc::channel(COMMANDS);
        let (events, happened) = mpsc::channel(EVENTS);
        let engine = engine::Engine::open(config, events).await?;
        tokio::spawn(engine.run(commanded));
        Ok((UeHandle { commands }, happened))
    }
}

impl UeHandle {
    /// Calls somebody to chat. [`UeEvent::Sealed`] or [`UeEvent::Ended`] follows.
    ///
    /// # Errors
    /// What stands in the way at once.
    pub async fn call(&self, uri: &str) -> Result<CallId, UeError> {
        let uri = uri.to_owned();
        self.ask(|reply| Command::Call { uri, file: None, reply }).await?
    }

    /// Calls somebody to send a file. [`UeEvent::FileDone`] or [`UeEvent::Ended`] follows; after
    /// the former the call ends by itself.
    ///
    /// # Errors
    /// What stands in the way at once, also when the file cannot be read.
    pub async fn send_file(&self, uri: &str, path: &Path) -> Result<CallId, UeError> {
        let mut id = [0; 16];
        carnet_wire::Random::fill(&mut carnet_net::OsRandom, &mut id);
        let file = Some(outbox::describe(path, carnet_wire::hex::encode(&id)).await?);
        let uri = uri.to_owned();
        self.ask(|reply| Command::Call { uri, file, reply }).await?
    }

    /// Sends a text in a connected call; returns when it has arrived.
    ///
    /// # Errors
    /// [`UeError::NotUp`], [`UeError::Undelivered`].
    pub async fn send_text(&self, call: CallId, text: &str) -> Result<(), UeError> {
        let text = text.to_owned();
        match self.ask(|reply| Command::Text { call, text, reply }).await {
            Ok(outcome) => outcome,
            // Nobody is there any more to say what became of it: the client is gone, or only the call.
            Err(_) if !self.commands.is_closed() => Err(UeError::NotUp),
            Err(error) => Err(error),
        }
    }

    /// Joins a conference. [`UeEvent::Room`] follows.
    ///
    /// # Errors
    /// What stands in the way at once.
    pub async fn join(&self, uri: &str, joining: Joining) -> Result<CallId, UeError> {
        let uri = uri.to_owned();
        self.ask(|reply| Command::Join { uri, joining, reply }).await?
    }

    /// Asks something of a conference that we are in; returns when it is done or refused: a text when it
    /// has reached the conference, a floor request when the server has answered it.
    ///
    /// # Errors
    /// [`UeError::NotUp`], and what the conference or its floor control says.
    pub async fn wish(&self, call: CallId, wish: Wish) -> Result<(), UeError> {
        self.begin_wish(call, wish).await?.await
    }

    /// The same in two steps: what is asked in some order is done in that order, whenever the answers
    /// come. A file is read before the first step is over.
    ///
    /// # Errors
    /// In the first step [`UeError::Stopped`], and of a file that it cannot be read.
    pub async fn begin_wish(
        &self,
        call: CallId,
        wish: Wish,
    ) -> Result<impl Future<Output = Result<(), UeError>> + Send + 'static, UeError> {
        let (reply, answer) = oneshot::channel();
        self.tell(match wish {
            Wish::File { to, path } => {
                let (offer, source) = outbox::describe(&path, String::new()).await?;
                Command::RoomFile { call, to, offer: Box::new(offer), source, reply }
            }
            wish => Command::Wish { call, wish, reply },
        })
        .await?;
        let commands = self.commands.clone();
        Ok(async move {
            match answer.await {
                Ok(outcome) => outcome,
                // Nobody is there any more to say what became of it: the client is gone, or only the call.
                Err(_) if !commands.is_closed() => Err(UeError::NotUp),
                Err(_) => Err(UeError::Stopped),
            }
        })
    }

    /// Takes an incoming call, where [`UeConfig::answer`] leaves that to us.
    ///
    /// # Errors
    /// [`UeError::Stopped`].
    pub async fn accept(&self, call: CallId) -> Result<(), UeError> {
        self.tell(Command::Accept(call)).await
    }

    /// Refuses an incoming call.
    ///
    /// # Errors
    /// [`UeError::Stopped`].
    pub async fn decline(&self, call: CallId) -> Result<(), UeError> {
        self.tell(Command::Decline(call)).await
    }

    /// Ends a call in whatever state it is. [`UeEvent::Ended`] follows.
    ///
    /// # Errors
    /// [`UeError::Stopped`].
    pub async fn hang_up(&self, call: CallId) -> Result<(), UeError> {
        self.tell(Command::HangUp(call)).await
    }

    /// Ends all calls, takes the registration back, and returns when that is done.
    pub async fn stop(&self) {
        let _ = self.ask(Command::Stop).await;
    }

    async fn tell(&self, command: Command) -> Result<(), UeError> {
        self.commands.send(command).await.map_err(|_| UeError::Stopped)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, UeError> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| UeError::Stopped)
    }
}
