//! Who is tried in which order, and what a controller's answer means (RFC 3525 §11.2 to §11.5).

use super::{
    Candidate, Cause, Config, Demands, Event, Former, Link, Registration, RequestKey, State, WARM_BOOT,
};
use crate::association::{self, Association, Failure};
use crate::controller::same_peer;
use crate::model::{
    ActionReply, ActionRequest, Command, CommandReply, ContextId, ErrorDescriptor, MId, Method, Profile,
    ReplyBody, ServiceChange, TerminationId, TimeStamp, TransactionId, Verb,
};
use carnet_wire::Random;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often in a row controllers may send us on.
const MOST_REDIRECTS: u32 = 8;
/// Controllers that are remembered after they stopped controlling us.
const MOST_FORMER: usize = 4;
/// How long a controller whose version we cannot keep to is answered with error 406.
const REFUSED_FOR: Duration = Duration::from_secs(30);

impl Former {
    /// When it wants to be looked at.
    pub(super) fn wakes(&self) -> Instant {
        self.link.association.poll_timeout().unwrap_or(self.until)
    }
}

impl Registration {
    /// When the controller has been silent for too long.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        let link = self.current.as_ref()?;
        let longest = match self.config.silence {
            Some(silence) if link.beats => silence,
            // It may have gone before its first heartbeat; or never send one, and then it is asked seldom.
            Some(silence) => self.config.idle?.min(silence.saturating_mul(1 << self.asked_again.min(16))),
            None => self.config.idle?,
        };
        Some(link.association.last_heard()? + longest)
    }

    /// Waits at random before a round of attempts (RFC 3525 §9.2).
    pub(super) fn wait(&mut self, now: Instant, least: Duration) {
        let share = f64::from(self.rng.u32()) / f64::from(u32::MAX);
        self.state = State::Waiting { until: now + least + self.config.longest_wait.mul_f64(share) };
        if let Some(link) = self.current.take() {
            self.rest(link);
        }
    }

    /// A round after a wait: the list in its order (RFC 3525 §11.2, §11.5), and at its end the lost
    /// controller if it is none of the list.
    pub(super) fn round(&self) -> VecDeque<Candidate> {
        let mut round: VecDeque<_> = self.config.controllers.iter().cloned().map(Candidate::new).collect();
        let listed = |c: &MId| self.config.controllers.iter().any(|l| same_peer(l, c));
        round.extend(self.lost.iter().filter(|c| !listed(c)).cloned().map(Candidate::new));
        // After a warm boot the one whose contexts we have comes first.
        let last = self.lost.as_ref().filter(|_| self.cause == Cause::Restart(WARM_BOOT));
        if let Some(at) = last.and_then(|last| round.iter().position(|c| same_peer(&c.controller, last))) {
            let first = round.remove(at);
            first.into_iter().for_each(|first| round.push_front(first));
        }
        round
    }

    /// The round that follows a loss at once: the list from its beginning without the controller that
    /// was lost (RFC 3525 §11.5), and that one last.
    fn round_without(&self, lost: &MId) -> VecDeque<Candidate> {
        let others = self.config.controllers.iter().filter(|c| !same_peer(c, lost)).cloned();
        others.chain([lost.clone()]).map(Candidate::new).collect()
    }

    /// The round in which it is tried again before others are.
    fn round_beginning_with(&self, lost: &MId) -> VecDeque<Candidate> {
        let mut round = self.round_without(lost);
        round.rotate_right(1);
        round.iter_mut().take(1).for_each(|first| first.again = true);
        round
    }

    pub(super) fn next_candidate(&mut self, now: Instant) {
        match self.candidates.pop_front() {
            Some(candidate) => self.try_controller(now, candidate),
            None => self.wait(now, self.config.retry),
        }
    }

    fn try_controller(&mut self, now: Instant, candidate: Candidate) {
        let controller = candidate.controller.clone();
        let back = self.lost.as_ref().is_some_and(|l| same_peer(l, &controller));
        let (method, reason) = match self.cause {
            _ if candidate.handed_off => (Method::HandOff, 903),
            Cause::Restart(WARM_BOOT) if self.lost.is_some() && !back => (Method::Failover, 909),
            Cause::Restart(reason) => (Method::Restart, reason),
            Cause::Lost if back => (Method::Disconnected, 900),
            Cause::Lost => (Method::Failover, 909),
        };
        let (start, wall) = self.start;
        let parameters = ServiceChange {
            address: self.config.address.clone(),
            profile: offered(&self.config, candidate.refused_profiles).cloned(),
            version: Some(self.config.version),
            timestamp: Some(TimeStamp::from_system_time(wall + now.saturating_duration_since(start))),
            ..ServiceChange::new(method.clone(), reason)
        };
        let mut link = self.link_to(controller);
        link.association.set_version(self.config.version);
        let request = link.association.request(now, on_root(parameters));
        self.current = Some(link);
        let patience = if candidate.again { self.config.again } else { self.config.attempt };
        self.state = State::Trying { request, method, candidate, until: now + patience };
    }

    /// The association with a controller that we spoke to before goes on: what it asked then may come
    /// again, late, and must not be executed twice (RFC 3525 §D.1.2).
    fn link_to(&mut self, controller: MId) -> Link {
        let known = |l: &Link| same_peer(&l.controller, &controller);
        if let Some(at) = self.resting.iter().position(known) {
            return Link { controller, beats: false, ..self.resting.remove(at) };
        }
        if let Some(at) = self.former.iter().position(|f| known(&f.link)) {
            return Link { controller, beats: false, ..self.former.remove(at).link };
        }
        let association =
            Association::new(self.config.association.clone(), self.config.mid.clone(), &mut self.rng);
        self.next_number += 1;
        Link { number: self.next_number, controller, association, beats: false }
    }

    /// Keeps an association for when its controller is tried again.
    fn rest(&mut self, mut link: Link) {
        // Our registration, if it was not answered.
        link.association.fail_requests();
        while link.association.poll_event().is_some() {}
        if self.resting.len() >= MOST_FORMER {
            self.resting.remove(0);
        }
        self.resting.push(link);
    }

    pub(super) fn unreachable(&mut self, now: Instant) {
        if let Some(link) = self.current.take() {
            self.events.push_back(Event::Unreachable { controller: link.controller.clone() });
            self.rest(link);
        }
        self.next_candidate(now);
    }

    /// The controller is lost: look for another, or for itself.
    pub(super) fn lose(&mut self, now: Instant) {
        let Some(mut link) = self.current.take() else { return };
        let controller = link.controller.clone();
        self.end_requests(&mut link.association);
        self.rest(link);
        self.events.push_back(Event::ControlLost { controller: controller.clone() });
        self.candidates = self.round_without(&controller);
        self.lost_to(now, controller);
    }

    /// The controller has been silent without ever having sent a heartbeat: it is asked, and others only if it
    /// does not answer.
    fn ask_again(&mut self, now: Instant) {
        self.asked_again = self.asked_again.saturating_add(1);
        self.introduce(now);
    }

    /// Registers with the controller again, and with others only if it does not answer.
    pub(super) fn introduce(&mut self, now: Instant) {
        let Some(mut link) = self.current.take() else { return };
        let controller = link.controller.clone();
        self.end_requests(&mut link.association);
        self.rest(link);
        self.candidates = self.round_beginning_with(&controller);
        self.lost_to(now, controller);
    }

    /// What a silence of the current controller means.
    pub(super) fn silent(&mut self, now: Instant) {
        let beats = self.current.as_ref().is_some_and(|link| link.beats);
        if beats && self.config.silence.is_some() { self.lose(now) } else { self.ask_again(now) }
    }

    /// The controller answers that we are none of its own (error 504): it has started again, or given us up, and
    /// as it answers, its silence will never tell. It is registered with anew before others are tried. What it
    /// asked stays known: late copies change nothing. If it has started again and counts from the same
    /// number, what it says tells a new request from a copy.
    fn disowned(&mut self, now: Instant) {
        let Some(mut link) = self.current.take() else { return };
        let controller = link.controller.clone();
        self.end_requests(&mut link.association);
        self.rest(link);
        self.events.push_back(Event::ControlLost { controller: controller.clone() });
        self.candidates = self.round_beginning_with(&controller);
        self.lost_to(now, controller);
    }

    /// The controller directs us to another (RFC 3525 §11.5). What was asked of us stays with it and may
    /// still be answered; what we asked may be asked again of the new one.
    fn hand_off(&mut self, now: Instant, to: MId) {
        let Some(mut link) = self.current.take() else { return };
        self.end_requests(&mut link.association);
        // Should the new one not answer, it is as if the old one had been lost.
        let old = link.controller.clone();
        self.candidates = self.round_without(&old);
        self.candidates.push_front(Candidate { handed_off: true, ..Candidate::new(to) });
        self.remember(now, link, ErrorDescriptor::new(504, "this gateway was handed off"));
        self.lost_to(now, old);
    }

    fn lost_to(&mut self, now: Instant, controller: MId) {
        self.lost = Some(controller);
        self.cause = Cause::Lost;
        self.redirects = 0;
        self.retiring = false;
        self.next_candidate(now);
    }

    fn remember(&mut self, until: Instant, link: Link, refusal: ErrorDescriptor) {
        if self.former.len() >= MOST_FORMER {
            self.former.remove(0);
        }
        self.former.push(Former { link, refusal, until });
    }

    /// What we asked gets no answer any more.
    fn end_requests(&mut self, association: &mut Association) {
        association.fail_requests();
        while let Some(event) = association.poll_event() {
            if let association::Event::Failed { id, reason } = event {
                self.events.push_back(Event::Failed { id, reason });
            }
        }
    }

    pub(super) fn drain(&mut self, now: Instant) {
        for former in &mut self.former {
            while let Some(event) = former.link.association.poll_event() {
                // Repeats are answered without us; anything new comes from one who controls us no more.
                if let association::Event::Request { id, .. } = event {
                    former.link.association.reply(now, id, ReplyBody::Error(former.refusal.clone()));
                }
            }
        }
        while let Some(event) = self.current.as_mut().and_then(|l| l.association.poll_event()) {
            match event {
                association::Event::Request { id, actions } => self.asked(now, id, actions),
                association::Event::Reply { id, body } => self.answered(now, id, body),
                association::Event::Failed { id, reason } => self.failed(now, id, reason),
                association::Event::PeerLost if matches!(self.state, State::Registered) => self.lose(now),
                association::Event::PeerLost => {}
                association::Event::MessageError { error } => {
                    self.events.push_back(Event::MessageError { error });
                }
                // The user learns by having nobody to reply to: its reply is dropped.
                association::Event::Abandoned { .. } => {}
            }
        }
    }

    fn asked(&mut self, now: Instant, id: TransactionId, actions: Vec<ActionRequest>) {
        let Some(link) = &mut self.current else { return };
        if !matches!(self.state, State::Registered | State::Leaving { .. }) {
            // RFC 3525 §11.2.
            let error =
                ErrorDescriptor::new(505, "Transaction Request Received before a ServiceChange Reply");
            link.association.reply(now, id, ReplyBody::Error(error));
            return;
        }
        if let Some(to) = directed(&actions) {
            let done = CommandReply::new(Verb::ServiceChange, TerminationId::ROOT);
            let reply = ActionReply::new(ContextId::Null, vec![done]);
            link.association.reply(now, id, ReplyBody::Actions(vec![reply]));
            self.hand_off(now, to);
            return;
        }
        if is_heartbeat(&actions) {
            link.beats = true;
            self.asked_again = 0;
        }
        let key = RequestKey { association: link.number, id };
        self.events.push_back(Event::Request { key, actions });
    }

    fn answered(&mut self, now: Instant, id: TransactionId, body: ReplyBody) {
        match &self.state {
            State::Trying { request, .. } if *request == id => self.registered(now, &body),
            State::Leaving { request } if *request == id => self.left(now),
            state => {
                let disowned = matches!(state, State::Registered)
                    && body.first_error().is_some_and(|error| error.code == 504);
                self.events.push_back(Event::Reply { id, body });
                if disowned {
                    self.disowned(now);
                }
            }
        }
    }

    fn failed(&mut self, now: Instant, id: TransactionId, reason: Failure) {
        match &self.state {
            State::Trying { request, candidate, until, .. } if *request == id => {
                match candidate.again && now < *until {
                    true => self.insist(now, candidate.clone(), *until),
                    false => self.unreachable(now),
                }
            }
            State::Leaving { request } if *request == id => self.left(now),
            _ => self.events.push_back(Event::Failed { id, reason }),
        }
    }

    /// Nothing came of the last attempt, and the controller still has its time.
    fn insist(&mut self, now: Instant, candidate: Candidate, end: Instant) {
        if let Some(link) = self.current.take() {
            self.rest(link);
        }
        self.try_controller(now, candidate);
        if let State::Trying { until, .. } = &mut self.state {
            *until = end;
        }
    }

    fn left(&mut self, now: Instant) {
        if let Some(mut link) = self.current.take() {
            self.end_requests(&mut link.association);
            self.remember(now, link, ErrorDescriptor::new(503, "this gateway is out of service"));
        }
        self.state = State::Idle;
        self.events.push_back(Event::Left);
    }

    /// The answer to our ServiceChange.
    fn registered(&mut self, now: Instant, body: &ReplyBody) {
        let State::Trying { method, candidate, .. } = &self.state else { return };
        let warm = self.cause == Cause::Restart(WARM_BOOT);
        let (kept, candidate) = (warm || *method != Method::Restart, candidate.clone());
        if let Some(error) = body.first_error() {
            let error = error.clone();
            // RFC 3525 §7.2.8: the profile is negotiated; we may have another.
            let next = Candidate { refused_profiles: candidate.refused_profiles + 1, ..candidate };
            let again = error.code == 461 && offered(&self.config, next.refused_profiles).is_some();
            if again {
                self.candidates.push_front(next);
            }
            return self.refused(now, error);
        }
        let answer = match body {
            ReplyBody::Actions(actions) => {
                actions.iter().flat_map(|a| &a.commands).find_map(CommandReply::services)
            }
            ReplyBody::Error(_) => None,
        };
        // RFC 3525 §11.2: the controller may name another, which is tried before our list.
        if let Some(to) = answer.and_then(|a| a.mgc_id_to_try.clone()) {
            let error = ErrorDescriptor::new(500, format!("sent on to {to}"));
            self.redirects += 1;
            if self.redirects <= MOST_REDIRECTS {
                let handed_off = candidate.handed_off;
                self.candidates.push_front(Candidate { handed_off, ..Candidate::new(to) });
            }
            return self.refused(now, error);
        }
        let (lowest, highest) = (self.config.lowest_version.max(1), self.config.version);
        let version = answer.and_then(|a| a.version).unwrap_or(highest);
        let ours = offered(&self.config, candidate.refused_profiles);
        let profile = answer.and_then(|a| a.profile.clone());
        let known = |p: &Profile| ours.is_none_or(|o| o == p) || self.config.profiles.contains(p);
        // RFC 3525 §11.3: the lower version is used; we cannot go up.
        let objection = if version < lowest || version > highest {
            let text =
                format!("version {version} is not supported: this gateway speaks {lowest} to {highest}");
            Some(ErrorDescriptor::new(406, text))
        } else {
            profile.as_ref().filter(|p| !known(p)).map(|p| {
                let all = ours.into_iter().chain(&self.config.profiles).map(ToString::to_string);
                let all = all.collect::<Vec<_>>().join(", ");
                let text = format!("profile {p} is not supported: this gateway speaks {all}");
                ErrorDescriptor::new(461, text)
            })
        };
        if let Some(error) = objection {
            // The controller believes that it has us: what it asks is refused with the same error.
            if let Some(mut link) = self.current.take() {
                link.association.set_version(version.clamp(1, 3));
                self.events
                    .push_back(Event::Refused { controller: link.controller.clone(), error: error.clone() });
                self.remember(now + REFUSED_FOR, link, error);
            }
            return self.next_candidate(now);
        }
        let Some(link) = &mut self.current else { return };
        link.association.set_version(version);
        let controller = link.controller.clone();
        if !kept {
            self.demands = Demands::default();
        }
        self.agreed = (profile.or_else(|| ours.cloned()), answer.and_then(|a| a.address.clone()));
        self.state = State::Registered;
        self.meet_demands();
        self.lost = None;
        self.candidates.clear();
        self.events.push_back(Event::Registered { controller, version, kept });
    }

    /// Sets the times and limits of the current association: as configured but for what is demanded.
    pub(super) fn meet_demands(&mut self) {
        let Some(link) = &mut self.current else { return };
        let (configured, demands) = (&self.config.association, &self.demands);
        let (mut timers, mut limits) = (configured.timers.clone(), configured.limits.clone());
        timers.execution = demands.execution.unwrap_or(timers.execution);
        timers.answer = demands.answer.unwrap_or(timers.answer);
        timers.segments = demands.segments.unwrap_or(timers.segments);
        limits.pendings = demands.pendings.unwrap_or(limits.pendings);
        limits.pendings_taken = demands.pendings_taken.unwrap_or(limits.pendings_taken);
        limits.datagram = demands.datagram.map_or(limits.datagram, |most| limits.datagram.min(most.max(500)));
        if link.association.timers() != &timers {
            link.association.set_timers(timers);
        }
        link.association.set_limits(limits);
        link.association.set_segments(configured.segments || demands.segments.is_some());
    }

    fn refused(&mut self, now: Instant, error: ErrorDescriptor) {
        if let Some(link) = self.current.take() {
            self.events.push_back(Event::Refused { controller: link.controller.clone(), error });
            self.rest(link);
        }
        self.next_candidate(now);
    }
}

impl Candidate {
    fn new(controller: MId) -> Self {
        Self { controller, handed_off: false, refused_profiles: 0, again: false }
    }
}

/// The profile offered to a controller that has refused so many of ours.
fn offered(config: &Config, refused: usize) -> Option<&Profile> {
    config.profile.iter().chain(&config.profiles).nth(refused)
}

pub(super) fn on_root(parameters: ServiceChange) -> Vec<ActionRequest> {
    let command = Command::service_change(TerminationId::ROOT, parameters);
    vec![ActionRequest::new(ContextId::Null, vec![command])]
}

/// Where a HandOff on ROOT, alone in its transaction, sends us.
fn directed(actions: &[ActionRequest]) -> Option<MId> {
    let [action] = actions else { return None };
    let [command] = action.commands.as_slice() else { return None };
    if command.verb != Verb::ServiceChange || !command.termination().is_root() {
        return None;
    }
    let parameters = command.services()?;
    parameters.mgc_id_to_try.clone().filter(|_| parameters.method == Some(Method::HandOff))
}

/// An audit of ROOT for nothing, which monitors the association (TS 29.334 table 5.14.2.1).
fn is_heartbeat(actions: &[ActionRequest]) -> bool {
    let Some(command) = actions.first().and_then(|action| action.commands.first()) else { return false };
    command.verb == Verb::AuditValue
        && command.termination().is_root()
        && command.audit().is_none_or(|audit| audit.0.is_empty())
}
