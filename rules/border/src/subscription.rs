//! Dialogs without a call: those that SUBSCRIBE and REFER make, and the NOTIFYs in them.
//!
//! RFC 6665 §4, RFC 3515, RFC 4488 (no subscription by REFER). Like a call, a subscription keeps
//! the dialog's names and gives each side a Contact of the border's own. One SUBSCRIBE may reach
//! several notifiers: each that sends a NOTIFY has a dialog, whether or not its 2xx came.
//!
//! What is kept lives as long as the subscription says, and no longer than a week; the notifier's
//! `terminated`, or a 481, ends it at once.

use crate::call::Leg;
use crate::core::{AlarmKey, CallKey, Core, Forwarded, Purpose, named};
use crate::flow::Way;
use crate::forward::{self, Remote, contact_of, route_set};
use crate::outside::Arrived;
use crate::session::{End, Fault};
use carnet_plan::{Both, Side};
use carnet_sip::{Branch, ClientKey, Message, Method, ServerKey, Uri};
use std::time::{Duration, Instant};

/// The longest a subscription is believed to last without a refresh.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The branch of one whose first request came to the process before.
const EARLIER: usize = usize::MAX;

/// One notifier's dialog.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) tag: String,
    pub(crate) remotes: Both<Remote>,
    /// Not heard of by then: over.
    pub(crate) until: Instant,
    /// Over when the response to the last NOTIFY has gone through.
    pub(crate) ended: bool,
}

/// The request that began a subscription, as long as its sender may repeat it: after a start of the border it goes out as it
/// did before, under the same branch and with the same Contact. Its notifier would take it for another one that came by
/// another way, and refuse it (RFC 3261 §8.2.2.2).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Began {
    pub(crate) cseq: u32,
    /// Whom it was for.
    pub(crate) target: Option<Uri>,
    pub(crate) branch: Branch,
}

/// A subscription across the border. The subscriber is the caller's side.
#[derive(Debug)]
pub(crate) struct Subscription {
    key: CallKey,
    pub(crate) call_id: String,
    /// The subscriber's tag.
    pub(crate) subscriber: String,
    pub(crate) legs: Both<Leg>,
    pub(crate) ends: Both<End>,
    branch: usize,
    /// The transaction of the request that began it.
    first: ServerKey,
    /// Where that request said that its sender is.
    pub(crate) home: Remote,
    pub(crate) began: Option<Began>,
    pub(crate) usages: Vec<Usage>,
    /// Requests without a final response.
    open: usize,
    /// Notifiers may turn up until then (RFC 6665 §4.1.2.4, Timer N).
    pub(crate) forming: Instant,
    /// Something may be over then.
    pub(crate) deadline: Instant,
    pub(crate) armed: Option<AlarmKey>,
}

impl Subscription {
    /// Sends the first request on.
    pub(crate) fn begin(
        core: &mut Core,
        now: Instant,
        key: CallKey,
        (branch, arrived): (usize, &Arrived),
        (legs, ends): (Both<Leg>, Both<End>),
        remote: &Remote,
    ) -> Result<Self, Fault> {
        let message = &arrived.message;
        let mut new = Self {
            key,
            call_id: message.call_id().unwrap_or_default().to_owned(),
            subscriber: message.from_tag().unwrap_or_default(),
            legs,
            ends,
            branch,
            first: arrived.key,
            home: Remote { target: contact_of(message), routes: route_set(message, false), cseq: 0 },
            began: None,
            usages: Vec::new(),
            open: 0,
            forming: now + core.linger(),
            deadline: now + core.linger(),
            armed: None,
        };
        new.send(core, now, Side::Caller, arrived.key, message, remote)?;
        Ok(new)
    }

    /// Whether its first request is this one, of which the process before has had an earlier copy.
    pub(crate) fn is_begun_by(&self, message: &Message, target: Option<&Uri>, now: Instant) -> bool {
        let same = |began: &Began| {
            message.cseq().is_ok_and(|cseq| cseq.number == began.cseq)
                && began.target.as_ref().map(Uri::as_str) == target.map(Uri::as_str)
        };
        // One that came to this process is its transaction's.
        self.branch == EARLIER
            && now < self.forming
            && self.began.as_ref().is_some_and(same)
            && message.call_id().ok() == Some(&self.call_id)
            && message.from_tag().as_ref() == Some(&self.subscriber)
    }

    /// Its first request has come again, after a start: it goes out as before.
    pub(crate) fn begin_again(
        &mut self,
        core: &mut Core,
        now: Instant,
        (branch, arrived): (usize, &Arrived),
        remote: &Remote,
    ) -> Result<(), Fault> {
        (self.branch, self.first) = (branch, arrived.key);
        self.send(core, now, Side::Caller, arrived.key, &arrived.message, remote)
    }

    /// One that began in the process before, with the dialogs it had. Its first request is answered by nobody here.
    pub(crate) fn restored(
        (key, first): (CallKey, ServerKey),
        (call_id, subscriber): (String, String),
        (legs, ends): (Both<Leg>, Both<End>),
        (home, began, usages): (Remote, Option<Began>, Vec<Usage>),
        forming: Instant,
    ) -> Self {
        Self {
            key,
            call_id,
            subscriber,
            legs,
            ends,
            branch: EARLIER,
            first,
            home,
            began,
            usages,
            open: 0,
            forming,
            deadline: forming,
            armed: None,
        }
    }

    /// What leads to one end outside its dialogs: what is known of it, and its way.
    pub(crate) fn far(&self, core: &Core, far: Side) -> Option<(&Remote, &End, Way, &Leg)> {
        let remote = self.usages.last()?.remotes.of(far);
        let (end, leg) = (self.ends.of(far), self.legs.of(far));
        Some((remote, end, leg.way(core, end, remote), leg))
    }

    /// Forgets the dialogs that are over. False if nothing is left and nothing can begin.
    pub(crate) fn settle(&mut self, core: &Core, now: Instant) -> bool {
        self.usages.retain(|usage| usage.until > now && !(usage.ended && self.open == 0));
        let ends = self.usages.iter().map(|u| u.until);
        let next = ends.chain(Some(self.forming).filter(|at| *at > now)).min();
        // A request without an answer has its transaction's time.
        self.deadline = next.unwrap_or_else(|| now + core.linger());
        next.is_some() || self.open > 0
    }

    /// A request in one of its dialogs.
    pub(crate) fn request(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: Side,
        key: ServerKey,
        message: &Message,
    ) {
        let outcome = self.usage_of(core, now, from, message).and_then(|at| {
            let usage = self.usages.get_mut(at).ok_or_else(|| Fault::new(481, "no such dialog"))?;
            // RFC 6665 §4.4.1: both refresh the target.
            if matches!(message.method(), Method::Subscribe | Method::Notify)
                && let Some(contact) = contact_of(message)
            {
                usage.remotes.of_mut(from).target = Some(contact);
            }
            if from == Side::Callee && *message.method() == Method::Notify {
                usage.notified(core, now, message);
            }
            let remote = usage.remotes.of(from.other()).clone();
            self.send(core, now, from, key, message, &remote)
        });
        if let Err(fault) = outcome {
            core.refuse(now, key, message, &fault);
        }
    }

    /// The dialog a request belongs to. A NOTIFY of a notifier not heard of makes one.
    fn usage_of(&mut self, core: &Core, now: Instant, from: Side, message: &Message) -> Result<usize, Fault> {
        let none = || Fault::new(481, "no such dialog");
        let (mine, theirs) = (message.from_tag().unwrap_or_default(), message.to_tag().unwrap_or_default());
        let (subscriber, notifier) = match from {
            Side::Caller => (mine, theirs),
            Side::Callee => (theirs, mine),
        };
        if subscriber != self.subscriber
            || message.call_id().ok() != Some(&self.call_id)
            || notifier.is_empty()
        {
            return Err(none());
        }
        if let Some(at) = self.usages.iter().position(|u| u.tag == notifier) {
            return Ok(at);
        }
        let forms = from == Side::Callee && *message.method() == Method::Notify && now < self.forming;
        if !forms || self.usages.len() >= core.config.limits.forks {
            return Err(none());
        }
        // The notifier's request records its way as it goes (RFC 3261 §12.1.1).
        self.learn(core, now, notifier, route_set(message, false), message);
        Ok(self.usages.len() - 1)
    }

    fn learn(&mut self, core: &Core, now: Instant, tag: String, routes: Vec<String>, message: &Message) {
        let caller = self.home.clone();
        let callee = Remote { target: contact_of(message), routes, cseq: 0 };
        let until = now + core.linger();
        self.usages.push(Usage { tag, remotes: Both { caller, callee }, until, ended: false });
    }

    /// Sends a request to the other side.
    fn send(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: Side,
        key: ServerKey,
        message: &Message,
        remote: &Remote,
    ) -> Result<(), Fault> {
        let to = from.other();
        let leg = self.legs.of(to);
        let network = core.config.networks.get(self.ends.of(to).network);
        // Only the first request has to be told its next hop.
        let next = leg.next.as_ref().filter(|_| key == self.first);
        let hop = leg.way(core, self.ends.of(to), remote).hop()?;
        let destination = remote
            .destination(network, hop.as_ref(), next)
            .ok_or_else(|| Fault::new(480, "the far end gave no address"))?;
        let mut onward = forward::request(message, remote, &leg.contact)?;
        forward::hide_identity(&mut onward, network);
        let first = key == self.first;
        let towards = named(&destination);
        let client = match self.began.as_ref().filter(|_| first) {
            Some(began) => core.endpoint.request_again(now, onward, destination, began.branch),
            None => core.endpoint.request(now, onward, destination),
        };
        let client = client.map_err(|e| Fault::new(e.status().unwrap_or(503), e.to_string()))?;
        if first && let Some(branch) = core.endpoint.branch_of(client) {
            let cseq = message.cseq().map_or(0, |cseq| cseq.number);
            self.began = Some(Began { cseq, target: remote.target.clone(), branch });
        }
        let purpose = Purpose::Call(self.key, from);
        core.clients
            .insert(client, Forwarded { purpose, server: key, request: message.clone(), to: towards });
        self.open += 1;
        Ok(())
    }

    /// A response of the other side of `requester`.
    pub(crate) fn response(
        &mut self,
        core: &mut Core,
        now: Instant,
        requester: Side,
        client: ClientKey,
        message: &Message,
    ) {
        let Some(forwarded) = core.clients.get(&client) else { return };
        let (server, status) = (forwarded.server, message.status().unwrap_or(500));
        let first = server == self.first;
        let contact = &self.legs.of(requester).contact;
        let onward = forward::response(message, &forwarded.request, contact);
        let method = forwarded.request.method().clone();
        let notifier = match requester {
            Side::Caller => message.to_tag(),
            Side::Callee => forwarded.request.from_tag(),
        };
        if first
            && (101..300).contains(&status)
            && let Some(tag) = &notifier
        {
            let known = self.usages.iter().any(|u| u.tag == *tag);
            if !known && self.usages.len() < core.config.limits.forks && has_subscription(message) {
                self.learn(core, now, tag.clone(), route_set(message, true), message);
            }
        }
        if let Ok(onward) = onward {
            core.reply(now, (server, if first { self.branch } else { 0 }), onward, false);
        }
        let usage = self.usages.iter_mut().find(|u| Some(&u.tag) == notifier.as_ref());
        match (usage, status) {
            // RFC 6665 §4.1.2.2: the notifier says how long it lasts.
            (Some(usage), 200..300) if method == Method::Subscribe => {
                usage.last(core, now, message.expires());
            }
            // RFC 6665 §4.1.2.2 and §4.2.2: one side does not know it any more.
            (Some(usage), 481) => usage.ended = true,
            _ => {}
        }
        if status < 200 {
            return;
        }
        core.clients.remove(&client);
        self.open = self.open.saturating_sub(1);
        if first && status >= 300 && self.usages.is_empty() {
            // Refused by the only notifier there was.
            self.forming = now;
        }
    }
}

impl Usage {
    /// What a NOTIFY says of the subscription (RFC 6665 §8.2.3).
    fn notified(&mut self, core: &Core, now: Instant, message: &Message) {
        let Some(state) = message.header("Subscription-State") else { return };
        let mut words = state.split(';').map(str::trim);
        self.ended = words.next().is_some_and(|s| s.eq_ignore_ascii_case("terminated"));
        let expires = words.find_map(|p| {
            let (name, value) = p.split_once('=')?;
            name.trim().eq_ignore_ascii_case("expires").then(|| value.trim().parse().ok())?
        });
        if expires.is_some() {
            self.last(core, now, expires);
        }
    }

    /// It lasts so many seconds from now, and a little longer for what is under way.
    fn last(&mut self, core: &Core, now: Instant, seconds: Option<u32>) {
        let lasts = Duration::from_secs(seconds.unwrap_or(3600).into()).min(LONGEST);
        self.until = now + lasts + core.linger();
    }
}

/// RFC 4488 §4: a 2xx to REFER may say that there will be no NOTIFY.
fn has_subscription(message: &Message) -> bool {
    !message.header("Refer-Sub").is_some_and(|v| v.trim().eq_ignore_ascii_case("false"))
}
