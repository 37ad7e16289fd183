//! The command line in front of a client.
//!
//! Lines typed go to the call, lines said go to the screen; over a pipe it is the same. `/bye` ends
//! the call; with `--ask`, `y` and `n` answer an incoming one. The exit
//! status is 0 when what was asked for is done, 1 when it was refused or failed or was given up before
//! it was done, with one sentence on standard error, and 2 when the question was wrong. Of files received, one that broke off and did
//! not come again counts as failed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use carnet_client::{CallId, FileOffer};
use carnet_ops::log;
use tokio::sync::mpsc;

use super::cli::{Action, FloorAction, UeArgs};
use super::config::{ConfigError, Settings, UeConfig};
use super::first_hop::FirstHop;
use super::keyboard::{Keyboard, Typed};
use super::room::drive::{Drive, Show, floor_lines, print, who_lines};
use super::room::errand::Errand;
use super::room::event::RoomEvent;
use super::room::model::{Kind, Line, Model};
use super::room::typed::{self, Typed as Command};
use super::screen::Screen;
use super::{Joining, Ue, UeError, UeEvent, UeHandle};

/// How long the sender of the last file may take to hang up.
const LAST_WORD: Duration = Duration::from_secs(3);

/// Runs `carnet ue …`.
pub fn run(args: UeArgs) -> ExitCode {
    let json = args.json;
    let complain = |word: &str, sentence: &str| {
        if json {
            let said = serde_json::json!({"event": "error", "error": word, "reason": sentence});
            let _ = writeln!(std::io::stdout(), "{said}");
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
    // What went wrong is an event; the log is for whoever asks for more with CARNET_LOG.
    log::start("warn", if json { log::Format::Json } else { log::Format::Text });
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain("setup", &error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match action {
            Action::Join { uri, nick, no_floors, lines, .. } => {
                let joining = Joining { messages: true, floors: !no_floors, nickname: nick };
                join(config, uri, joining, show(json, lines)).await
            }
            Action::Floor { what } => floors(config, what, json).await,
            action => Terminal::run(config, action, json).await,
        }
    });
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
        Action::Join { dir, .. } => dir.clone(),
        _ => None,
    };
    let config = args.settings.over(base).resolve(inbox)?;
    let bad = |name, reason| ConfigError::Bad { name, reason };
    let proxy = FirstHop::parse(&config.proxy).map_err(|reason| bad("proxy", reason))?;
    // What can be seen to be wrong now is not to be found out after a registration.
    let callee = match &args.action {
        Action::Chat { uri } | Action::Send { uri, .. } | Action::Join { uri: Some(uri), .. } => {
            Some(uri.as_str())
        }
        Action::Floor { what } => Some(what.uri()),
        _ => None,
    };
    if let Some(uri) = callee {
        proxy.callee(uri).map_err(|reason| bad("URI", reason))?;
    }
    if let Action::Send { file, .. } = &args.action {
        readable(file)?;
    }
    Ok((config, args.action))
}

/// A screen where a person looks at one, lines where something else reads them.
fn show(json: bool, lines: bool) -> Show {
    let screen = std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !lines;
    match (json, screen) {
        (true, _) => Show::Json,
        (false, true) => Show::Screen,
        (false, false) => Show::Lines,
    }
}

async fn join(
    mut config: UeConfig,
    uri: Option<String>,
    joining: Joining,
    show: Show,
) -> Result<(), Failure> {
    let (register, me) = (config.register, config.identity.clone());
    // Calls beside the conference are declined one by one.
    config.answer = false;
    let (ue, events) = Ue::start(config).await?;
    let drive = Drive::new(ue, events, me, show)?;
    match drive.run(uri.as_deref(), joining, register, interrupted()).await? {
        true => Ok(()),
        false => Err(Failure::Shown),
    }
}

async fn floors(mut config: UeConfig, what: FloorAction, json: bool) -> Result<(), Failure> {
    let (register, me) = (config.register, config.identity.clone());
    config.answer = false;
    let (ue, events) = Ue::start(config).await?;
    let errand = Errand::new(ue, events, me, json);
    match errand.run(what, register, interrupted()).await? {
        true => Ok(()),
        false => Err(Failure::Shown),
    }
}

/// Whether a file can be sent.
fn readable(path: &Path) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::File { path: path.to_owned(), source };
    // Before it is opened: opening a pipe waits for somebody to write.
    let found = std::fs::metadata(path).map_err(failed)?;
    if found.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    if !found.is_file() {
        return Err(ConfigError::Bad { name: "FILE", reason: UeError::NoFile(path.to_owned()).to_string() });
    }
    std::fs::File::open(path).map(drop).map_err(failed)
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
    keyboard: Keyboard,
    /// Whether more lines may be typed.
    typing: bool,
    /// The call that typed lines go to.
    talking: Option<CallId>,
    /// Whether the user decides about incoming calls.
    asks: bool,
    /// The calls about which the user is asked, the longest waiting first.
    asked: VecDeque<CallId>,
    /// A line on its way. The next one waits, the rest does not.
    sending: Option<Sending>,
    /// Something of what was asked for did not work.
    failed: bool,
    /// The user has been told of something that did not work.
    told: bool,
    files: Files,
    /// The conferences that called us in.
    rooms: HashMap<CallId, Model>,
    json: bool,
    me: String,
    /// Completes when the user, or the system that stops the program, wants us to go.
    interrupted: Pin<Box<dyn Future<Output = ()> + Send>>,
}

type Sending = Pin<Box<dyn Future<Output = Result<(), UeError>> + Send>>;

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
    Ended,
    /// All that was typed has been said.
    Said,
    /// As many files as were asked for have come, or have failed.
    Enough,
    /// The user wants to go.
    Interrupted,
    /// The client is gone.
    Stopped,
}

impl Terminal {
    async fn run(config: UeConfig, action: Action, json: bool) -> Result<(), Failure> {
        let (register, asks, me) = (config.register, !config.answer, config.identity.clone());
        let (ue, events) = Ue::start(config).await?;
        let mut terminal = Self {
            ue,
            events,
            screen: Screen::new(json),
            keyboard: Keyboard::default(),
            typing: true,
            talking: None,
            asks,
            asked: VecDeque::new(),
            sending: None,
            failed: false,
            told: false,
            files: Files::default(),
            rooms: HashMap::new(),
            json,
            me,
            interrupted: Box::pin(interrupted()),
        };
        let outcome = terminal.act(action, register).await;
        terminal.leave().await;
        match outcome {
            Ok(()) if terminal.failed => Err(Failure::Shown),
            // One sentence is enough.
            Err(Failure::Told(UeError::Interrupted)) if terminal.told => Err(Failure::Shown),
            outcome => outcome,
        }
    }

    async fn act(&mut self, action: Action, register: bool) -> Result<(), Failure> {
        if register {
            self.registered().await?;
        }
        // Whether it can be done by waiting for calls until the user has enough.
        let open_ended = matches!(action, Action::Listen | Action::Receive { count: None, .. });
        let is_chat = matches!(action, Action::Chat { .. });
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
            // Conferences have a terminal of their own.
            Action::Join { .. } | Action::Floor { .. } => return Ok(()),
        };
        // Whether the last line arrived is seen while leaving.
        let talked = is_chat && self.talking.is_some();
        match end {
            End::Enough | End::Interrupted if !self.files.lost.is_empty() => Err(Failure::Shown),
            End::Ended | End::Said | End::Enough => Ok(()),
            // To hang up is how a talk ends.
            End::Interrupted if open_ended || talked => Ok(()),
            End::Interrupted => Err(UeError::Interrupted.into()),
            End::Stopped => Err(UeError::Stopped.into()),
        }
    }

    /// Waits for the registration.
    async fn registered(&mut self) -> Result<(), Failure> {
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = &mut self.interrupted => return Err(UeError::Interrupted.into()),
            };
            let Some(event) = event else { return Err(UeError::Stopped.into()) };
            self.show(&event);
            match event {
                UeEvent::Registered { .. } => return Ok(()),
                UeEvent::NotRegistered { .. } => return Err(Failure::Shown),
                _ => {}
            }
        }
    }

    /// Shows what happens and passes on what is typed, until `call` ends or `count` files have.
    async fn watch(&mut self, call: Option<CallId>, talks: bool, count: Option<u64>) -> End {
        let mut enough = None;
        loop {
            if count.is_some_and(|count| self.files.ended() as u64 >= count) {
                // The sender is to see its last octets answered before the call is taken away.
                let until = *enough.get_or_insert_with(|| Instant::now() + LAST_WORD);
                if self.files.up.is_empty() || Instant::now() >= until {
                    return End::Enough;
                }
            }
            let listens = self.listens(talks);
            tokio::select! {
                event = self.events.recv() => {
                    let Some(event) = event else { return End::Stopped };
                    self.show(&event);
                    self.files.saw(&event);
                    match event {
                        // Whoever calls meanwhile does not get what is typed for another.
                        UeEvent::Sealed { call: up, .. } | UeEvent::Clear { call: up }
                            if call.is_none_or(|call| call == up) =>
                        {
                            self.talking = Some(up);
                        }
                        UeEvent::Room { call: room, event } if call.is_none() => self.in_room(room, &event),
                        UeEvent::Incoming { call: asked, .. } if self.asks => {
                            self.asked.push_back(asked);
                            let _ = self.screen.ask();
                        }
                        UeEvent::Ended { call: over, failure, .. } => {
                            self.asked.retain(|asked| *asked != over);
                            if self.talking == Some(over) {
                                self.talking = None;
                            }
                            if call == Some(over) {
                                self.failed |= failure.is_some();
                                return End::Ended;
                            }
                        }
                        UeEvent::Trouble { .. } if call.is_some() => self.failed = true,
                        _ => {}
                    }
                }
                outcome = in_flight(&mut self.sending) => self.sent(outcome),
                line = self.keyboard.next(), if listens => match line {
                    Some(line) => self.typed(line).await,
                    // The end of what is typed ends a call that was made for it, not a listener.
                    None => {
                        self.typing = false;
                        if call.is_some() {
                            return End::Said;
                        }
                    }
                },
                () = carnet_net::until(enough) => {}
                () = &mut self.interrupted => return End::Interrupted,
            }
        }
    }

    /// Something happened in a conference that called us in.
    fn in_room(&mut self, mut call: CallId, event: &RoomEvent) {
        let model = self.rooms.entry(call).or_insert_with(|| Model::new(self.me.clone()));
        let added = model.take(Instant::now(), event);
        if !self.json {
            added.iter().for_each(print);
        }
        match event {
            RoomEvent::CalledBack { to } => {
                if let Some(model) = self.rooms.remove(&call) {
                    self.rooms.insert(*to, model);
                }
                if self.talking == Some(call) {
                    self.talking = None;
                }
                call = *to;
            }
            RoomEvent::Left { .. } => {
                self.rooms.remove(&call);
                if self.talking == Some(call) {
                    self.talking = None;
                }
            }
            _ => {}
        }
        // Lines typed go to the latest who called, once it hears them.
        if matches!(event, RoomEvent::Connected { .. }) && self.rooms.get(&call).is_some_and(Model::is_ready)
        {
            self.talking = Some(call);
        }
    }

    /// A line that goes to a conference.
    async fn typed_in_room(&mut self, call: CallId, line: &str) {
        let Some(model) = self.rooms.get(&call) else { return };
        let json = self.json;
        let say = |text: &str| {
            // A script has been told already, event by event.
            if json {
                return;
            }
            print(&Line { kind: Kind::Notice, time: None, who: String::new(), text: text.to_owned() });
        };
        match typed::read(line, model) {
            Err(sentence) => self.trouble(&sentence),
            Ok(Command::Wish(wish)) => match self.ue.begin_wish(call, wish).await {
                Ok(pending) => self.sending = Some(Box::pin(pending)),
                Err(error) => self.trouble(&error.to_string()),
            },
            Ok(Command::Leave) => {
                self.talking = None;
                let _ = self.ue.hang_up(call).await;
            }
            Ok(Command::Who) => who_lines(model).iter().for_each(|row| say(row)),
            Ok(Command::Floors) => floor_lines(model).iter().for_each(|row| say(row)),
            Ok(Command::Help) => typed::HELP.lines().for_each(say),
            Ok(Command::Nothing) => {}
        }
    }

    /// Whether what is typed concerns anyone.
    fn listens(&self, talks: bool) -> bool {
        self.typing && (!self.asked.is_empty() || (talks && self.talking.is_some() && self.sending.is_none()))
    }

    async fn typed(&mut self, line: Typed) {
        let line = match line {
            Typed::Line(line) => line,
            Typed::NotText => return self.trouble("a line that is not UTF-8 was not sent"),
            Typed::TooLong => return self.trouble("a line of more than a million octets was not sent"),
        };
        // Commands to a client that has stopped have no effect, and its end is an event.
        if let Some(call) = self.asked.pop_front() {
            let _ = match line.trim() {
                "y" | "yes" => self.ue.accept(call).await,
                _ => self.ue.decline(call).await,
            };
            if !self.asked.is_empty() {
                let _ = self.screen.ask();
            }
            return;
        }
        let Some(call) = self.talking else { return };
        if self.rooms.contains_key(&call) {
            return self.typed_in_room(call, &line).await;
        }
        if line.trim() == "/bye" {
            // What is typed after it is not for this call.
            self.talking = None;
            let _ = self.ue.hang_up(call).await;
            return;
        }
        // An empty line is a slip of the finger on a keyboard, and part of the text in a file.
        if line.is_empty() && std::io::stdin().is_terminal() {
            return;
        }
        let ue = self.ue.clone();
        self.sending = Some(Box::pin(async move { ue.send_text(call, &line).await }));
    }

    /// What became of a line.
    fn sent(&mut self, outcome: Result<(), UeError>) {
        if let Err(error) = outcome {
            self.trouble(&error.to_string());
        }
    }

    fn trouble(&mut self, sentence: &str) {
        self.failed = true;
        self.show(&UeEvent::Trouble { message: sentence.to_owned() });
    }

    /// Hangs up, unregisters, and shows what that brings. Whoever wants to go a second time goes at
    /// once.
    async fn leave(&mut self) {
        let ue = self.ue.clone();
        let stopped = ue.stop();
        tokio::pin!(stopped);
        let again = interrupted();
        tokio::pin!(again);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = &mut again => {
                    self.failed |= self.sending.is_some();
                    return;
                }
                outcome = in_flight(&mut self.sending) => self.sent(outcome),
                Some(event) = self.events.recv() => self.show(&event),
            }
        }
        if self.sending.is_some() {
            match tokio::time::timeout(LAST_WORD, in_flight(&mut self.sending)).await {
                Ok(outcome) => self.sent(outcome),
                Err(_) => self.failed = true,
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.show(&event);
        }
    }

    fn show(&mut self, event: &UeEvent) {
        self.told |= matches!(
            event,
            UeEvent::NotRegistered { .. } | UeEvent::Trouble { .. } | UeEvent::Ended { failure: Some(_), .. }
        );
        // When the reader of our output has left there is nobody to show anything to; the calls
        // end in order all the same.
        let _ = self.screen.show(event);
    }
}

/// The outcome of what is on its way; never, if that is nothing.
async fn in_flight(sending: &mut Option<Sending>) -> Result<(), UeError> {
    match sending {
        Some(future) => {
            let outcome = future.await;
            *sending = None;
            outcome
        }
        None => std::future::pending().await,
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
