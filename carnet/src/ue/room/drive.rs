//! `carnet ue join`: a conference at a terminal, on a pipe, or for a script.
//!
//! Lines typed go to the conference, and those that begin with a slash ask something of it. On a terminal
//! there is a screen; else text comes out line by line, and with `--json` every event is one object.
//!
//! When what is typed ends, the conference is left, once all has arrived; but where nothing ever was typed
//! (standard input is `/dev/null`) it is stayed in. The exit status is 0 if the conference ended or was left,
//! and 1 if it could not be joined, was lost, or something that was typed did not get through.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use carnet_client::CallId;
use ratatui::crossterm::event::{Event as TerminalEvent, KeyEventKind};
use tokio::sync::mpsc;

use super::Wish;
use super::event::{Outcome, RoomEvent, user_of};
use super::model::{Kind, Line, Model, clean};
use super::typed::{self, Typed};
use super::view::{Action, View};
use crate::terminal;
use crate::ue::keyboard::{Keyboard, Typed as Input};
use crate::ue::{Joining, UeError, UeEvent, UeHandle};

/// How long the end of a conference may take once we want to leave.
const FAREWELL: Duration = Duration::from_secs(6);
/// How often the screen is drawn though nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// How a conference is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ue) enum Show {
    Screen,
    Lines,
    Json,
}

/// One who is in a conference, or on the way in.
pub(in crate::ue) struct Drive {
    ue: UeHandle,
    events: mpsc::Receiver<UeEvent>,
    model: Model,
    call: Option<CallId>,
    front: Front,
    keyboard: Keyboard,
    /// Whether more lines may come, and whether any came.
    typing: bool,
    typed: bool,
    /// What was asked and has no answer.
    doing: usize,
    outcomes: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    composer: carnet_msrp::composing::Composer,
    failed: bool,
    over: bool,
}

/// What became of a wish.
type Done = Result<(), UeError>;

enum Front {
    Screen(Box<Screen>),
    Lines,
    Json,
}

struct Screen {
    held: terminal::Screen,
    view: View,
}

/// What somebody at the keyboard wants.
enum Typing {
    Line(Input),
    Action(Action),
    End,
}

impl Front {
    /// What is typed; no line is lost when the future is dropped.
    async fn typed(&mut self, keyboard: &mut Keyboard, model: &Model) -> Typing {
        match self {
            Self::Screen(screen) => match screen.held.keys.recv().await {
                Some(TerminalEvent::Key(key)) if key.kind != KeyEventKind::Release => {
                    Typing::Action(screen.view.key(key, model))
                }
                Some(_) => Typing::Action(Action::Nothing),
                None => Typing::End,
            },
            _ => match keyboard.next().await {
                Some(line) => Typing::Line(line),
                None => Typing::End,
            },
        }
    }
}

impl Drive {
    /// `me` is who we are. On a screen nothing else may write to the terminal.
    ///
    /// # Errors
    /// If the terminal cannot be had.
    pub(in crate::ue) fn new(
        ue: UeHandle,
        events: mpsc::Receiver<UeEvent>,
        me: String,
        show: Show,
    ) -> Result<Self, UeError> {
        let front = match show {
            Show::Json => Front::Json,
            Show::Lines => Front::Lines,
            Show::Screen => {
                let held = terminal::Screen::open().map_err(|error| UeError::Setup(error.to_string()))?;
                Front::Screen(Box::new(Screen { held, view: View::default() }))
            }
        };
        Ok(Self {
            ue,
            events,
            model: Model::new(me),
            call: None,
            front,
            keyboard: Keyboard::default(),
            typing: true,
            typed: false,
            doing: 0,
            outcomes: mpsc::channel(64),
            composer: carnet_msrp::composing::Composer::default(),
            failed: false,
            over: false,
        })
    }

    /// Joins `uri`, or waits to be called in, and stays until the end. `false` if something of what was
    /// asked for did not work.
    ///
    /// # Errors
    /// What nobody was told yet.
    pub(in crate::ue) async fn run(
        mut self,
        uri: Option<&str>,
        joining: Joining,
        register: bool,
        interrupted: impl Future<Output = ()>,
    ) -> Result<bool, UeError> {
        tokio::pin!(interrupted);
        let mut outcome = Ok(());
        tokio::select! {
            () = &mut interrupted => {}
            ended = self.stay(uri, joining, register) => outcome = ended,
        }
        self.leave().await;
        outcome.map(|()| !self.failed)
    }

    async fn stay(&mut self, uri: Option<&str>, joining: Joining, register: bool) -> Result<(), UeError> {
        let mut waits = register;
        if !waits {
            self.begin(uri, &joining).await?;
        }
        self.draw();
        while !self.over {
            if !self.typing && self.typed && self.doing == 0 {
                return Ok(());
            }
            // A line waits until it can be said; on a screen one who types is to see what he types.
            let takes = self.typing
                && self.doing < 32
                && (self.model.is_ready() || matches!(self.front, Front::Screen(_)));
            let tick = matches!(self.front, Front::Screen(_)).then(|| Instant::now() + TICK);
            let tick = [tick, self.composer.poll_timeout()].into_iter().flatten().min();
            tokio::select! {
                event = self.events.recv() => {
                    let Some(event) = event else { return Err(UeError::Stopped) };
                    match &event {
                        UeEvent::Registered { .. } if waits => {
                            waits = false;
                            self.show(&event);
                            self.begin(uri, &joining).await?;
                        }
                        UeEvent::NotRegistered { .. } if waits => {
                            self.show(&event);
                            self.failed = true;
                            return Ok(());
                        }
                        _ => self.happened(&event, uri.is_none()).await,
                    }
                }
                Some(outcome) = self.outcomes.1.recv() => {
                    self.doing -= 1;
                    if let Err(error) = outcome {
                        self.trouble(&error.to_string());
                    }
                }
                typed = self.front.typed(&mut self.keyboard, &self.model), if takes => match typed {
                    Typing::Line(Input::Line(line)) => self.line(&line).await,
                    Typing::Line(Input::NotText) => self.trouble("a line that is not UTF-8 was not sent"),
                    Typing::Line(Input::TooLong) => {
                        self.trouble("a line of more than a million octets was not sent");
                    }
                    Typing::Action(Action::Line(line)) => self.line(&line).await,
                    Typing::Action(Action::Typing) => {
                        if self.composer.typed(Instant::now()).is_some() {
                            self.quietly(Wish::Typing(true)).await;
                        }
                    }
                    Typing::Action(Action::Leave) => return Ok(()),
                    Typing::Action(Action::Nothing) => {}
                    Typing::End => self.typing = false,
                },
                () = carnet_net::until(tick) => {
                    if let Some(composing) = self.composer.handle_timeout(Instant::now()) {
                        let active = composing.state == carnet_msrp::composing::State::Active;
                        self.quietly(Wish::Typing(active)).await;
                    }
                }
            }
            self.draw();
        }
        Ok(())
    }

    async fn begin(&mut self, uri: Option<&str>, joining: &Joining) -> Result<(), UeError> {
        if let Some(uri) = uri {
            let call = self.ue.join(uri, joining.clone()).await?;
            self.call = Some(call);
            uri.clone_into(&mut self.model.uri);
        }
        Ok(())
    }

    /// An event of the client. `invited` says whether we wait to be called in.
    async fn happened(&mut self, event: &UeEvent, invited: bool) {
        match event {
            UeEvent::Incoming { call, .. } => {
                self.show(event);
                // One conference at a time, and no calls beside it.
                if self.call.is_some() || !invited {
                    let _ = self.ue.decline(*call).await;
                } else {
                    let _ = self.ue.accept(*call).await;
                }
            }
            UeEvent::Room { call, event: room } => {
                if let RoomEvent::Joined { .. } = **room {
                    self.call.get_or_insert(*call);
                }
                if self.call != Some(*call) {
                    return;
                }
                self.show(event);
                let added = self.model.take(Instant::now(), room);
                if matches!(self.front, Front::Lines) {
                    added.iter().for_each(print);
                }
                match &**room {
                    RoomEvent::CalledBack { to } => self.call = Some(*to),
                    RoomEvent::Left { failure, .. } => {
                        self.failed |= failure.is_some();
                        self.over = true;
                    }
                    _ => {}
                }
            }
            _ => self.show(event),
        }
    }

    /// Shows what is not the conference's, and everything to a script.
    fn show(&mut self, event: &UeEvent) {
        if matches!(self.front, Front::Json) {
            let mut out = io::stdout().lock();
            let _ = writeln!(out, "{}", event.json());
            let _ = out.flush();
            return;
        }
        let (kind, text) = match event {
            UeEvent::Registered { identity, .. } => (Kind::Notice, format!("registered as {identity}")),
            UeEvent::NotRegistered { reason } => (Kind::Trouble, format!("not registered: {reason}")),
            UeEvent::Incoming { from, .. } if self.call.is_some() => {
                (Kind::Notice, format!("{} called meanwhile", user_of(from)))
            }
            UeEvent::Incoming { from, .. } => (Kind::Notice, format!("{from} calls")),
            UeEvent::FileDone { name, size, .. } => {
                if let Front::Screen(screen) = &mut self.front {
                    screen.view.progress(None);
                }
                (Kind::Notice, format!("{name} was sent ({})", indicatif::HumanBytes(*size)))
            }
            UeEvent::FileProgress { name, done, total, .. } => {
                if let Front::Screen(screen) = &mut self.front {
                    let total =
                        total.map_or(String::new(), |total| format!(" of {}", indicatif::HumanBytes(total)));
                    let text = format!("{}: {}{total}", clean(name), indicatif::HumanBytes(*done));
                    screen.view.progress(Some(text));
                }
                return;
            }
            UeEvent::Trouble { message } => (Kind::Trouble, message.clone()),
            UeEvent::Ended { failure: Some((_, sentence)), .. } => (Kind::Notice, sentence.clone()),
            _ => return,
        };
        self.note(kind, &text);
    }

    fn note(&mut self, kind: Kind, text: &str) {
        let text = clean(text);
        match self.front {
            Front::Lines => print(&Line { kind, time: None, who: String::new(), text }),
            Front::Screen(_) => self.model.note(kind, text),
            Front::Json => {}
        }
    }

    fn trouble(&mut self, sentence: &str) {
        self.failed = true;
        if matches!(self.front, Front::Json) {
            self.show(&UeEvent::Trouble { message: sentence.to_owned() });
        } else {
            self.note(Kind::Trouble, sentence);
        }
    }

    fn draw(&mut self) {
        if let Front::Screen(screen) = &mut self.front {
            let (view, model) = (&screen.view, &self.model);
            // A terminal that is gone says so by the keys that do not come any more.
            let _ = screen.held.terminal.draw(|frame| view.draw(frame, model, Instant::now()));
        }
    }

    /// A line was typed.
    async fn line(&mut self, line: &str) {
        self.typed = true;
        match typed::read(line, &self.model) {
            Err(sentence) => self.trouble(&sentence),
            Ok(Typed::Nothing) if matches!(self.front, Front::Lines) && !io::stdin().is_terminal() => {
                // Part of a text that is sent line by line.
                self.ask(Wish::Say { to: None, text: String::new() }).await;
            }
            Ok(Typed::Nothing) => {}
            Ok(Typed::Leave) => self.over = true,
            Ok(Typed::Help) => typed::HELP.lines().for_each(|line| self.note(Kind::Notice, line)),
            Ok(Typed::Who) => {
                let rows = who_lines(&self.model);
                rows.iter().for_each(|row| self.note(Kind::Notice, row));
            }
            Ok(Typed::Floors) => floor_lines(&self.model).iter().for_each(|row| self.note(Kind::Floor, row)),
            Ok(Typed::Wish(wish)) => self.ask(wish).await,
        }
    }

    /// Asks something of the conference. What is said goes in the order it was typed; answers come when
    /// they come.
    async fn ask(&mut self, wish: Wish) {
        let Some(call) = self.call else { return self.trouble("there is no conference yet") };
        if matches!(wish, Wish::Say { .. }) {
            self.composer.sent();
        }
        let (ue, outcomes) = (self.ue.clone(), self.outcomes.0.clone());
        self.doing += 1;
        let pending = match wish {
            // It is read first, and nobody has to wait for that.
            file @ Wish::File { .. } => {
                tokio::spawn(async move { outcomes.send(ue.wish(call, file).await).await });
                return;
            }
            wish => self.ue.begin_wish(call, wish).await,
        };
        tokio::spawn(async move {
            let outcome = match pending {
                Ok(pending) => pending.await,
                Err(error) => Err(error),
            };
            let _ = outcomes.send(outcome).await;
        });
    }

    /// Asks something of which nobody needs to hear.
    async fn quietly(&mut self, wish: Wish) {
        if let Some(call) = self.call {
            let _ = self.ue.begin_wish(call, wish).await;
        }
    }

    /// Hangs up, unregisters, and shows what that brings.
    async fn leave(&mut self) {
        let ue = self.ue.clone();
        let call = self.call;
        let stopped = async move {
            if let Some(call) = call {
                let _ = ue.hang_up(call).await;
            }
            ue.stop().await;
        };
        tokio::pin!(stopped);
        let deadline = Instant::now() + FAREWELL;
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = carnet_net::until(Some(deadline)) => break,
                Some(event) = self.events.recv() => self.happened(&event, false).await,
                Some(Err(error)) = self.outcomes.1.recv() => self.trouble(&error.to_string()),
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.happened(&event, false).await;
        }
    }
}

/// Who is here, a line each.
pub(in crate::ue) fn who_lines(model: &Model) -> Vec<String> {
    let sealed = |member: &super::event::Member| match member.sealed {
        Some(true) => "sealed",
        Some(false) => "NOT SEALED",
        None => "not known",
    };
    let row = |member| format!("{} <{}> {}", super::event::Member::name(member), member.uri, sealed(member));
    model.members.iter().map(row).map(|row| clean(&row)).collect()
}

/// Who has which floor, a line each.
pub(in crate::ue) fn floor_lines(model: &Model) -> Vec<String> {
    let mut rows = Vec::new();
    for (id, floor) in &model.floors {
        let names = |claims: &[super::event::Claim]| {
            let names: Vec<_> = claims.iter().map(|claim| model.claimant(claim).into_owned()).collect();
            names.join(", ")
        };
        let mut row = match names(&floor.holders) {
            none if none.is_empty() => format!("floor {id}: nobody"),
            some => format!("floor {id}: {some}"),
        };
        let next = names(&floor.queue);
        if !next.is_empty() {
            row.push_str("; next: ");
            row.push_str(&next);
        }
        if let Some((Outcome::Granted, _)) = floor.ours {
            row.push_str(" (you have it)");
        }
        rows.push(row);
    }
    if rows.is_empty() {
        rows.push("the conference has no floors".to_owned());
    }
    rows.iter().map(|row| clean(row)).collect()
}

/// Prints a line; what is wrong goes to standard error.
pub(in crate::ue) fn print(line: &Line) {
    let time = line.time.as_ref().map(|time| format!("[{time}] ")).unwrap_or_default();
    let text = match line.who.as_str() {
        "" => format!("* {}", line.text),
        who => format!("{time}{who}: {}", line.text),
    };
    // When the reader of our output has left there is nobody to show anything to.
    if line.kind == Kind::Trouble {
        let _ = writeln!(io::stderr(), "{text}");
    } else {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }
}
