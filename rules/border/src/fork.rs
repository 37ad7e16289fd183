//! A request that goes to several terminals of one user: what each branch answered, and what the
//! sender is told.
//!
//! RFC 3261 §16.6 and §16.7. Bindings with the same q are tried at once, those with a smaller one
//! when the larger have all refused or have rung for [`Timers::hunt`](crate::Timers). Each branch
//! of an INVITE is a call of its own with contexts and Contacts of its own, so its dialog, its
//! keys and its end touch no other branch. This joins only what they share: the caller's
//! transaction.
//!
//! Where the policy says so, a 3xx to an INVITE is followed: each of its targets, one after the other and none of
//! them twice, is another group. The caller is not told of it, so nothing of the network's inside shows.
//!
//! Left out: recursion on 3xx for other methods (the sender is told), serial search for other methods than INVITE
//! (their transactions end before a second group could answer).

use crate::core::{AlarmKey, CallKey, Core, Todo};
use crate::event::Cause;
use crate::outside::Arrived;
use crate::route::Onward;
use crate::session::Fault;
use carnet_sip::{Message, Method, ServerKey, Uri};
use std::collections::VecDeque;
use std::time::Instant;

/// One way a forked request went.
#[derive(Debug)]
struct Branch {
    /// The call it made, until that is forgotten.
    call: Option<CallKey>,
    /// It has its final response.
    done: bool,
}

/// A forked request.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) arrived: Arrived,
    /// Not tried yet, the next first.
    groups: VecDeque<Vec<Onward>>,
    branches: Vec<Branch>,
    best: Option<Message>,
    /// Refusals with a challenge (RFC 3261 §16.7 step 7).
    challenges: Vec<Message>,
    /// The sender has its final response.
    settled: bool,
    alarm: Option<AlarmKey>,
    /// Where it has been sent, if redirections are followed.
    seen: Vec<Uri>,
    /// How many more targets it may be redirected to.
    redirects: usize,
}

impl Fork {
    /// A fork that has not begun.
    pub(crate) fn new(arrived: Arrived, mut ways: Vec<Onward>, redirects: usize) -> Self {
        let targets = ways.iter().filter_map(|way| way.remote.target.clone());
        let seen = arrived.message.request_uri().cloned().into_iter().chain(targets).collect();
        ways.sort_by_key(|way| std::cmp::Reverse(way.q));
        let mut groups: VecDeque<Vec<Onward>> = VecDeque::new();
        let serial = *arrived.message.method() == Method::Invite;
        for way in ways {
            match groups.back_mut() {
                Some(group) if !serial || group.first().is_some_and(|w| w.q == way.q) => group.push(way),
                _ => groups.push_back(vec![way]),
            }
        }
        Self {
            arrived,
            groups,
            branches: Vec::new(),
            best: None,
            challenges: Vec::new(),
            settled: false,
            alarm: None,
            seen,
            redirects,
        }
    }

    /// Where a 3xx leads that was not tried yet, as far as it is followed (RFC 3261 §16.5, §8.1.3.4).
    fn targets(&mut self, redirection: &Message) -> Vec<Uri> {
        let mut contacts = redirection.contacts().unwrap_or_default();
        let q = |contact: &carnet_sip::NameAddr| contact.params().get("q").map_or(1000, thousandths);
        contacts.sort_by_key(|contact| std::cmp::Reverse(q(contact)));
        // RFC 3261 §16.5: who wants TLS on every hop is not led to where there is none.
        let secure = |uri: &Uri| uri.scheme() == carnet_sip::Scheme::Sips;
        let sips = self.arrived.message.request_uri().is_some_and(secure);
        let mut targets = Vec::new();
        for target in contacts.iter().map(|contact| contact.uri()).filter(|uri| !sips || secure(uri)) {
            if targets.len() >= self.redirects {
                break;
            }
            if !self.seen.iter().any(|seen| seen.equivalent(target)) {
                self.seen.push(target.clone());
                targets.push(target.clone());
            }
        }
        self.redirects -= targets.len();
        targets
    }

    /// Where it was redirected to cannot be reached.
    pub(crate) fn gone(&mut self, fault: &Fault, name: &str) {
        let Ok(mut response) = Message::response(&self.arrived.message, fault.status, "") else { return };
        // Printable, so adding it cannot fail.
        let _ = response.push_back("Warning", &format!("399 {name} \"{}\"", fault.text));
        self.refused(response);
    }

    /// Ways to where it was redirected: they are tried before what is left.
    pub(crate) fn redirected(&mut self, ways: Vec<Onward>) {
        for way in ways.into_iter().rev() {
            self.groups.push_front(vec![way]);
        }
    }

    /// The next group, with the numbers of its branches; `None` if nothing is left to try.
    pub(crate) fn next(&mut self) -> Option<Vec<(usize, Onward)>> {
        let group = self.groups.pop_front()?;
        let first = self.branches.len();
        self.branches.extend(group.iter().map(|_| Branch { call: None, done: false }));
        Some(group.into_iter().enumerate().map(|(n, way)| (first + n, way)).collect())
    }

    /// Whether there is somebody to try yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.groups.is_empty()
    }

    /// When the next group gets its turn.
    pub(crate) fn set_alarm(&mut self, alarm: Option<AlarmKey>) -> Option<AlarmKey> {
        std::mem::replace(&mut self.alarm, alarm)
    }

    /// The call a branch made.
    pub(crate) fn made(&mut self, branch: usize, call: CallKey) {
        if let Some(branch) = self.branches.get_mut(branch) {
            branch.call = Some(call);
        }
    }

    /// A call of this fork is forgotten.
    pub(crate) fn forget(&mut self, call: CallKey) {
        self.branches.iter_mut().filter(|b| b.call == Some(call)).for_each(|b| b.call = None);
    }

    /// The calls it made and that are not forgotten.
    pub(crate) fn calls(&self) -> impl Iterator<Item = CallKey> {
        self.branches.iter().filter_map(|b| b.call)
    }

    /// Calls without a final response.
    pub(crate) fn ringing(&self) -> Vec<CallKey> {
        self.branches.iter().filter(|b| !b.done).filter_map(|b| b.call).collect()
    }

    /// Tries nobody further.
    pub(crate) fn stop(&mut self) {
        self.groups.clear();
    }

    /// Nothing can come of it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.settled && self.branches.iter().all(|b| b.done && b.call.is_none())
    }

    fn is_invite(&self) -> bool {
        *self.arrived.message.method() == Method::Invite
    }

    /// A branch was refused; `challenges` join the best refusal if that is one too.
    fn refused(&mut self, message: Message) {
        let status = |m: &Message| m.status().unwrap_or(500);
        let challenge = matches!(status(&message), 401 | 407);
        let before = self.best.as_ref().map(|b| rank(status(b)));
        if before.is_none_or(|b| rank(status(&message)) < b) {
            let worse = self.best.replace(message);
            self.challenges.extend(worse.filter(|m| matches!(status(m), 401 | 407)));
        } else if challenge {
            self.challenges.push(message);
        }
    }

    /// The response to send when all branches have refused.
    fn verdict(&mut self) -> Option<Message> {
        let mut message = self.best.take()?;
        if matches!(message.status(), Some(401 | 407)) {
            for other in std::mem::take(&mut self.challenges) {
                message.copy_lines("WWW-Authenticate", &other);
                message.copy_lines("Proxy-Authenticate", &other);
            }
        }
        Some(message)
    }
}

/// A q value (RFC 3261 §25.1: at most three digits after the point); what is none is the least.
fn thousandths(q: &str) -> u16 {
    let (whole, part) = q.split_once('.').unwrap_or((q, ""));
    let part = part.get(..part.len().min(3)).map(|part| format!("{part:0<3}").parse().unwrap_or(0));
    match whole {
        "0" | "" => part.unwrap_or(0),
        "1" => 1000,
        _ => 0,
    }
}

/// RFC 3261 §16.7 step 6: 6xx, else the lowest class; within 4xx those that help the sender to
/// ask better, and last those that only say that a branch was given up.
fn rank(status: u16) -> (u8, u8) {
    let class = match status {
        600.. => 0,
        300..400 => 1,
        400..500 => 2,
        _ => 3,
    };
    let within = match status {
        401 | 407 | 415 | 420 | 484 => 0,
        408 | 487 => 2,
        _ => 1,
    };
    (class, within)
}

impl Core {
    /// Sends a response to a request, or joins it with those of the other branches if the
    /// request was forked. False if it is a 2xx that found no way to the sender.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        (key, branch): (ServerKey, usize),
        mut message: Message,
        own: bool,
    ) -> bool {
        // RFC 3261 §16.7 step 6: that one element has no time says nothing of the border. When it will have
        // some (Retry-After) stays.
        if !own && message.status() == Some(503) {
            message.set_status(500).unwrap_or_default();
            self.tell_overload(&mut message);
        }
        let Some(fork) = self.forks.get_mut(&key) else {
            return self.endpoint.respond(now, key, message).is_ok();
        };
        let status = message.status().unwrap_or(500);
        if status < 200 {
            return fork.settled || self.endpoint.respond(now, key, message).is_ok();
        }
        let already = fork.branches.get_mut(branch).is_none_or(|b| std::mem::replace(&mut b.done, true));
        let invite = fork.is_invite();
        let mut sent = true;
        if status < 300 {
            // RFC 3261 §16.7 step 5: every 2xx to an INVITE, the first one to anything else.
            if invite || !fork.settled {
                fork.settled = true;
                self.give_up_others(key, Cause::Elsewhere);
                sent = self.endpoint.respond(now, key, message).is_ok();
            }
        } else if !already && !fork.settled {
            // 380 leads to another service, which is for the caller to decide on.
            if !own && invite && (300..380).contains(&status) && self.config.limits.redirects > 0 {
                let targets = fork.targets(&message);
                if !targets.is_empty() {
                    self.todo.push_back(Todo::Follow(key, targets));
                    return sent;
                }
                // What is not followed any more is not told either.
                message.remove_all("Contact");
                message.set_status(480).unwrap_or_default();
            }
            fork.refused(message);
            if status >= 600 {
                self.give_up_others(key, Cause::Refused(status));
            }
            self.conclude(now, key);
        }
        self.tidy_fork(key);
        sent
    }

    /// Whoever reads it, at the caller or on the way, sees that it was a 503 of somebody behind this border
    /// (RFC 3326; RFC 3261 §20.43). What it said itself stays.
    fn tell_overload(&self, message: &mut Message) {
        // Printable, so adding them cannot fail.
        if !message.has("Reason") {
            let _ = message.push_back("Reason", "SIP;cause=503;text=\"Service Unavailable\"");
        }
        let name = &self.config.name;
        let _ = message.push_back("Warning", &format!("399 {name} \"the next hop answered 503\""));
    }

    /// All branches have answered: the next group, or the best of the refusals.
    pub(crate) fn conclude(&mut self, now: Instant, key: ServerKey) {
        let Some(fork) = self.forks.get_mut(&key) else { return };
        if fork.branches.iter().any(|b| !b.done) {
            return;
        }
        if fork.has_more() {
            return self.todo.push_back(Todo::Launch(key));
        }
        fork.settled = true;
        if let Some(message) = fork.verdict() {
            let _ = self.endpoint.respond(now, key, message);
        }
    }

    /// The branches that have not answered lose.
    pub(crate) fn give_up_others(&mut self, key: ServerKey, cause: Cause) {
        let Some(fork) = self.forks.get_mut(&key) else { return };
        fork.stop();
        let losers = fork.ringing();
        self.todo.extend(losers.into_iter().map(|call| Todo::GiveUp(call, cause)));
    }

    /// Forgets a fork that is over.
    pub(crate) fn tidy_fork(&mut self, key: ServerKey) {
        let Some(fork) = self.forks.get_mut(&key) else { return };
        let alarm = if fork.settled { fork.set_alarm(None) } else { None };
        if fork.is_over() {
            self.forks.remove(&key);
        }
        if let Some(alarm) = alarm {
            self.alarms.remove(&alarm);
        }
    }
}
