//! The command line in front of a client.
//!
//! Lines typed go to the call, lines said go to the screen; over a pipe it is the same. `/bye` ends
//! the call; with `--ask`, `y` and `n` answer an incoming one. The exit
//! status is 0 when what was asked for is done, 1 when it was refused or failed, with one sentence
//! on standard error, and 2 when the question was wrong. Of files received, one that broke off and did
//! not come again counts as failed.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use carnet_client::{CallId, FileOffer};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};
use tokio::sync::mpsc;

use super::cli::{Action, UeArgs};
use super::config::{ConfigError, Settings, UeConfig};
use super::screen::Screen;
use super::{Ue, UeError, UeEvent, UeHandle};

/// How long the sender of the last file may take to hang up.
const LAST_WORD: Duration = Duration::from_secs(3);

/// Runs `carnet ue …`.
pub fn run(args: UeArgs) -> ExitCode {
    let json = args.json;
    let complain = |word: &str, sentence: &str| {
        if json {
            println!("{}", serde_json::json!({"event": "error", "error": word, "reason": sentence}));
        }
        eprintln!("carnet ue: {sentence}");
    };
    let (config, action) = match configure(args) {
        Ok(both) => both,
        Err(error) => {
            complain("usage", &error.to_string());
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain("setup", &error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(Terminal::run(config, action, json));
    // A thread that waits for a line nobody types must not hold us up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Shown) => ExitCode::FAILURE,
        Err(Failure::Told(error)) => {
            complain("failed", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn configure(args: UeArgs) -> Result<(UeConfig, Action), ConfigError> {
    let base = match &args.config {
        Some(path) => Settings::read(path)?,
        None => Settings::default(),
    };
    let inbox = match &args.action {
        Action::Receive { dir, .. } => Some(dir.clone()),
        _ => None,
    };
    Ok((args.settings.over(base).resolve(inbox)?, args.action))
}

/// Why it did not work.
enum Failure {
    /// The reason is on the screen already.
    Shown,
    Told(UeError),
}

impl From<UeError> for Failure {
    fn from(error: UeError) -> Self {
        Self::Told(error)
    }
}

struct Terminal {
    ue: UeHandle,
    events: mpsc::Receiver<UeEvent>,
    screen: Screen,
    lines: Lines<BufReader<Stdin>>,
    /// Whether more lines may be typed.
    typing: bool,
    /// The call that typed lines go to.
    talking: Option<CallId>,
    /// Whether the user decides about incoming calls.
    asks: bool,
    /// The call about which the user is asked.
    asked: Option<CallId>,
    files: Files,
    /// Completes when the user, or the system that stops the program, wants us to go.
    interrupted: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What became of the files that were offered to us.
#[derive(Default)]
struct Files {
    /// Calls with files that are not over.
    up: HashMap<CallId, FileKey>,
    done: HashSet<CallId>,
    lost: HashSet<FileKey>,
}

/// What makes a file the same file when it is sent again.
type FileKey = (String, Option<[u8; 20]>);

impl Files {
    fn saw(&mut self, event: &UeEvent) {
        match event {
            UeEvent::Incoming { call, file: Some(FileOffer { name, sha1, .. }), .. } => {
                self.up.insert(*call, (name.clone(), *sha1));
            }
            UeEvent::FileDone { call, path: Some(_), .. } => {
                self.done.insert(*call);
                if let Some(key) = self.up.get(call) {
                    self.lost.remove(key);
                }
            }
            UeEvent::Ended { call, failure, .. } => {
                let key = self.up.remove(call);
                if failure.is_some() && !self.done.contains(call) {
                    self.lost.extend(key);
                }
            }
            _ => {}
        }
    }

    /// Files that have come to an end, whichever.
    fn ended(&self) -> usize {
        self.done.len() + self.lost.len()
    }
}

/// What ends a session at the terminal.
enum End {
    /// The call that was asked for is over.
    Ended { failed: bool },
    /// As many files as were asked for have come, or have failed.
    Enough,
    /// The user wants to go.
    Leaving,
    /// The client is gone.
    Stopped,
}

impl Terminal {
    async fn run(config: UeConfig, action: Action, json: bool) -> Result<(), Failure> {
        let (register, asks) = (config.register, !config.answer);
        let (ue, events) = Ue::start(config).await?;
        let mut terminal = Self {
            ue,
            events,
            screen: Screen::new(json),
            lines: BufReader::new(tokio::io::stdin()).lines(),
            typing: true,
            talking: None,
            asks,
            asked: None,
            files: Files::default(),
            interrupted: Box::pin(interrupted()),
        };
        let outcome = terminal.act(action, register).await;
        terminal.leave().await;
        outcome
    }

    async fn act(&mut self, action: Action, register: bool) -> Result<(), Failure> {
        if register && !self.registered().await? {
            return Err(Failure::Shown);
        }
        let end = match action {
            Action::Listen => self.watch(None, true, None).await,
            Action::Receive { count, .. } => self.watch(None, false, count).await,
            Action::Chat { uri } => {
                let call = self.ue.call(&uri).await?;
                self.watch(Some(call), true, None).await
            }
            Action::Send { uri, file } => {
                let call = self.ue.send_file(&uri, &file).await?;
                self.watch(Some(call), false, None).await
            }
        };
        match end {
            End::Enough | End::Leaving if !self.files.lost.is_empty() => Err(Failure::Shown),
            End::Ended { failed: false } | End::Enough | End::Leaving => Ok(()),
            End::Ended { failed: true } | End::Stopped => Err(Failure::Shown),
        }
    }

    /// Waits for the registration. A network that is not there yet is waited for.
    async fn registered(&mut self) -> Result<bool, Failure> {
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = &mut self.interrupted => return Ok(false),
            };
            let Some(event) = event else { return Err(UeError::Stopped.into()) };
            self.show(&event);
            match event {
                UeEvent::Registered { .. } => return Ok(true),
                UeEvent::NotRegistered { .. } => return Ok(false),
                _ => {}
            }
        }
    }

    /// Shows what happens and passes on what is typed, until `call` ends or `count` files have.
    async fn watch(&mut self, call: Option<CallId>, talks: bool, count: Option<u64>) -> End {
        let (mut failed, mut enough) = (false, None);
        loop {
            if count.is_some_and(|count| self.files.ended() as u64 >= count) {
                // The sender is to see its last octets answered before the call is taken away.
                let until = *enough.get_or_insert_with(|| Instant::now() + LAST_WORD);
                if self.files.up.is_empty() || Instant::now() >= until {
                    return End::Enough;
                }
            }
            tokio::select! {
                event = self.events.recv() => {
                    let Some(event) = event else { return End::Stopped };
                    self.show(&event);
                    self.files.saw(&event);
                    match event {
                        UeEvent::Sealed { call: up, .. } | UeEvent::Clear { call: up } => {
                            self.talking = Some(up);
                        }
                        UeEvent::Incoming { call: asked, .. } if self.asks => {
                            self.asked = Some(asked);
                        }
                        UeEvent::Ended { call: over, failure, .. } => {
                            if self.asked == Some(over) {
                                self.asked = None;
                            }
                            if self.talking == Some(over) {
                                self.talking = None;
                            }
                            if call == Some(over) {
                                return End::Ended { failed: failed || failure.is_some() };
                            }
                        }
                        UeEvent::Trouble { .. } if call.is_some() => failed = true,
                        _ => {}
                    }
                }
                line = self.lines.next_line(), if self.listens(talks) => match line {
                    Ok(Some(line)) => self.typed(&line).await,
                    // The end of what is typed ends a call that was made for it, not a listener.
                    Ok(None) | Err(_) => {
                        self.typing = false;
                        if call.is_some() {
                            return End::Leaving;
                        }
                    }
                },
                () = carnet_net::until(enough) => {}
                () = &mut self.interrupted => return End::Leaving,
            }
        }
    }

    /// Whether what is typed concerns anyone.
    fn listens(&self, talks: bool) -> bool {
        self.typing && (self.asked.is_some() || (talks && self.talking.is_some()))
    }

    async fn typed(&mut self, line: &str) {
        // Commands to a client that has stopped have no effect, and its end is an event.
        if let Some(call) = self.asked.take() {
            let _ = match line.trim() {
                "y" | "yes" => self.ue.accept(call).await,
                _ => self.ue.decline(call).await,
            };
            return;
        }
        let Some(call) = self.talking.filter(|_| !line.is_empty()) else { return };
        if line.trim() == "/bye" {
            let _ = self.ue.hang_up(call).await;
            return;
        }
        if let Err(error) = self.ue.send_text(call, line).await {
            self.show(&UeEvent::Trouble { message: error.to_string() });
        }
    }

    /// Hangs up, unregisters, and shows what that brings.
    async fn leave(&mut self) {
        let ue = self.ue.clone();
        let stopped = ue.stop();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                Some(event) = self.events.recv() => self.show(&event),
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.show(&event);
        }
    }

    fn show(&mut self, event: &UeEvent) {
        // When the reader of our output has left there is nobody to show anything to; the calls
        // end in order all the same.
        let _ = self.screen.show(event);
    }
}

/// Ctrl-C, or SIGTERM.
async fn interrupted() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
