//! `carnet ue floor …`: joins a conference for its floor control only, does one thing, and leaves.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use carnet_client::CallId;
use tokio::sync::mpsc;

use super::drive::floor_lines;
use super::event::{Medium, Outcome, RoomEvent};
use super::model::{Kind, Model};
use super::{Decision, Wish};
use crate::ue::cli::FloorAction;
use crate::ue::{Joining, UeError, UeEvent, UeHandle};

/// How long the conference may take to say how its floors stand.
const SOON: Duration = Duration::from_secs(10);
/// How long leaving may take.
const FAREWELL: Duration = Duration::from_secs(6);

/// One thing done about floors.
pub(in crate::ue) struct Errand {
    ue: UeHandle,
    events: mpsc::Receiver<UeEvent>,
    model: Model,
    json: bool,
    call: Option<CallId>,
    connected: bool,
    /// The floors of which it is known how they stand.
    known: Vec<u16>,
    /// What became of our request.
    outcome: Option<Outcome>,
    over: bool,
    failed: bool,
}

impl Errand {
    pub(in crate::ue) fn new(ue: UeHandle, events: mpsc::Receiver<UeEvent>, me: String, json: bool) -> Self {
        Self {
            ue,
            events,
            model: Model::new(me),
            json,
            call: None,
            connected: false,
            known: Vec::new(),
            outcome: None,
            over: false,
            failed: false,
        }
    }

    /// Does it. `false` if it did not work, which was shown.
    ///
    /// # Errors
    /// What nobody was told yet.
    pub(in crate::ue) async fn run(
        mut self,
        what: FloorAction,
        register: bool,
        interrupted: impl Future<Output = ()>,
    ) -> Result<bool, UeError> {
        tokio::pin!(interrupted);
        let outcome = tokio::select! {
            done = self.act(&what, register) => done,
            () = &mut interrupted => match (&what, self.outcome) {
                // To be told to go is how holding a floor ends.
                (FloorAction::Request { hold: None, .. }, Some(Outcome::Granted)) => Ok(()),
                _ => Err(UeError::Interrupted),
            },
        };
        self.leave().await;
        outcome.map(|()| !self.failed)
    }

    async fn act(&mut self, what: &FloorAction, register: bool) -> Result<(), UeError> {
        if register {
            self.until(None, |it, event| {
                let _ = it;
                matches!(event, Some(UeEvent::Registered { .. }))
            })
            .await?;
        }
        let joining = Joining { messages: false, floors: true, nickname: None };
        let call = self.ue.join(what.uri(), joining).await?;
        self.call = Some(call);
        self.until(None, |it, _| it.connected).await?;
        match what {
            FloorAction::Status { .. } => {
                self.stand(Instant::now() + SOON).await?;
                if !self.json {
                    floor_lines(&self.model).iter().for_each(|row| say(row));
                }
            }
            FloorAction::Release { floor, .. } => {
                self.stand(Instant::now() + SOON).await?;
                self.ue.wish(call, Wish::Release { floor: *floor }).await?;
                let until = Instant::now() + SOON;
                self.until(Some(until), |it, _| it.outcome.is_some_and(Outcome::is_final)).await?;
            }
            FloorAction::Grant { who, floor, wait, .. } => {
                let until = Instant::now() + Duration::from_secs(*wait);
                self.until(Some(until), |it, _| it.is_asked_by(who, *floor)).await?;
                let wish = Wish::Decide { floor: *floor, who: who.clone(), decision: Decision::Grant };
                self.ue.wish(call, wish).await?;
                let until = Instant::now() + SOON;
                self.until(Some(until), |it, _| it.is_held_by(who)).await?;
            }
            FloorAction::Request { floor, priority, why, hold, wait, .. } => {
                let wish = Wish::Request { floor: *floor, priority: *priority, why: why.clone() };
                self.ue.wish(call, wish).await?;
                let until = wait.map(|wait| Instant::now() + Duration::from_secs(wait));
                self.until(until, |it, _| {
                    it.outcome.is_some_and(|outcome| outcome == Outcome::Granted || outcome.is_final())
                })
                .await?;
                if self.outcome != Some(Outcome::Granted) {
                    self.failed = true;
                    return Ok(());
                }
                let until = hold.map(|hold| Instant::now() + Duration::from_secs(hold));
                // Nothing should happen until then.
                match self.until(until, |it, _| it.outcome.is_some_and(Outcome::is_final)).await {
                    Ok(()) => {
                        self.failed = true;
                        return Ok(());
                    }
                    Err(UeError::Floor(_)) if !self.over => {}
                    Err(error) => return Err(error),
                }
                self.ue.wish(call, Wish::Release { floor: *floor }).await?;
                let until = Instant::now() + SOON;
                self.until(Some(until), |it, _| it.outcome.is_some_and(Outcome::is_final)).await?;
            }
        }
        Ok(())
    }

    /// Waits until it is known how all floors stand.
    async fn stand(&mut self, until: Instant) -> Result<(), UeError> {
        self.until(Some(until), |it, _| it.model.floors.keys().all(|floor| it.known.contains(floor))).await
    }

    /// Takes events in until something is so.
    async fn until(
        &mut self,
        deadline: Option<Instant>,
        is_so: impl Fn(&Self, Option<&UeEvent>) -> bool,
    ) -> Result<(), UeError> {
        if is_so(self, None) {
            return Ok(());
        }
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event.ok_or(UeError::Stopped)?,
                () = carnet_net::until(deadline) => {
                    return Err(UeError::Floor("it did not come about in the time given".into()));
                }
            };
            self.happened(&event);
            if self.over {
                return Err(UeError::Floor("the conference is over".into()));
            }
            if let UeEvent::NotRegistered { reason } = &event {
                return Err(UeError::Floor(format!("not registered: {reason}")));
            }
            if let UeEvent::Incoming { call, .. } = &event {
                let _ = self.ue.decline(*call).await;
            }
            if is_so(self, Some(&event)) {
                return Ok(());
            }
        }
    }

    fn happened(&mut self, event: &UeEvent) {
        if self.json {
            say(&event.json().to_string());
        }
        let UeEvent::Room { call, event } = event else { return };
        if self.call != Some(*call) {
            return;
        }
        let added = self.model.take(Instant::now(), event);
        match &**event {
            RoomEvent::Connected { medium: Medium::Floors, .. } => self.connected = true,
            RoomEvent::Joined { floors: false, .. } => self.over = true,
            RoomEvent::Floor { floor, .. } => self.known.push(*floor),
            RoomEvent::Request { outcome, .. } => self.outcome = Some(*outcome),
            RoomEvent::NoFloors { .. } => self.over = true,
            RoomEvent::CalledBack { to } => self.call = Some(*to),
            RoomEvent::Left { .. } => self.over = true,
            _ => {}
        }
        if !self.json {
            for line in added.iter().filter(|line| matches!(line.kind, Kind::Floor | Kind::Trouble)) {
                say(&line.text);
            }
        }
    }

    fn claims(&self, floor: Option<u16>, held: bool) -> impl Iterator<Item = &super::event::Claim> {
        let floors = self.model.floors.iter().filter(move |(id, _)| floor.is_none_or(|floor| floor == **id));
        floors.flat_map(move |(_, floor)| if held { &floor.holders } else { &floor.queue })
    }

    fn is_asked_by(&self, who: &str, floor: Option<u16>) -> bool {
        self.claims(floor, false).any(|claim| claim.is(who))
    }

    fn is_held_by(&self, who: &str) -> bool {
        self.claims(None, true).any(|claim| claim.is(who))
    }

    async fn leave(&mut self) {
        let (ue, call) = (self.ue.clone(), self.call);
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
                Some(event) = self.events.recv() => self.happened(&event),
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.happened(&event);
        }
    }
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
