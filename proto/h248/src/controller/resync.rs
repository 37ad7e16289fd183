//! Bringing our knowledge and a gateway's contexts together after either side started again or lost
//! touch (RFC 3525 §7.2.8, Disconnected; §11.5; audits §7.2.5): no context without a user, no user
//! without its context.
//!
//! A gateway that comes to us is *settled* before it takes anything new. It is asked what it supports
//! and judged by it. If we know of no context on it, everything it has is subtracted with one command.
//! If we do, its contexts are audited: what it has lost is told to the user, what nobody knows is
//! subtracted. The same audit is made later when an answer casts doubt, and now and then anyway.
//!
//! An audit too large for one reply (error 533) is repeated in pages by the last characters of the
//! names; failing that, known contexts are asked for one by one. What is unknown is subtracted only
//! when every request that may have made it is answered, and by the names of its terminations: the
//! number of its context may belong to another one by then.
//!
//! Contexts of another controller (Failover, HandOff) are left alone for a grace: it may come back for
//! them, and media goes on meanwhile. What ends or asks for its controller in that time is subtracted.

use super::gateway::{Gateway, Purpose, State};
use super::{Controller, Event};
use crate::association::Failure;
use crate::model::{
    ActionRequest, Audit, AuditToken, Command, ContextId, ReplyBody, TerminationId, TransactionId, Verb,
};
use crate::profile::{self, Audited};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Subtractions of strays at a time.
const STRAYS_AT_ONCE: usize = 32;

/// Most pages that one audit is cut into.
const PAGES: usize = 20_000;

/// How many characters of a name's end a page may give.
const DEEPEST: usize = 6;

/// Least time between two audits that doubts bring about.
const BETWEEN: Duration = Duration::from_secs(5);

/// What is still to be done before a gateway takes new contexts.
#[derive(Debug)]
pub(super) struct Settling {
    arrival: Arrival,
    properties: bool,
    contexts: bool,
    /// The user hears of it.
    announced: bool,
    /// Contexts from before are still there.
    kept: bool,
}

/// How a gateway came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// With nothing: it started.
    New,
    /// With what it had from us.
    Back,
    /// With what it had from another controller.
    Inherited,
}

/// A part of an audit.
#[derive(Debug, Clone)]
struct Page {
    scope: ContextId,
    pattern: TerminationId,
    /// Characters of the end of the names that it gives.
    depth: usize,
    /// What was learnt later than this is not expected in the reply.
    stamp: u64,
}

/// An audit under way.
#[derive(Debug, Default)]
pub(super) struct Resync {
    pages: VecDeque<Page>,
    asked: Option<Page>,
    cut: usize,
    /// Some of it must be looked at context by context.
    doubtful: bool,
    one_by_one: bool,
    incomplete: bool,
    strays: usize,
    lost: usize,
}

/// Found and unknown; a request without an answer may have made it.
#[derive(Debug)]
pub(super) struct Suspects {
    found: BTreeSet<(u32, TerminationId)>,
    waits_for: BTreeSet<TransactionId>,
}

/// What the reply to a page says.
enum Shown {
    All,
    TooLarge,
    Partly,
}

impl Controller {
    /// A gateway came, or came again: nothing new for it until all is known.
    pub(super) fn settle(&mut self, now: Instant, gateway: &str, arrival: Arrival, announced: bool) {
        let grace = self.config.grace;
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        let knows = g.inventory.contexts() > 0 || g.requests.values().any(|r| r.creates);
        let leave = arrival == Arrival::Inherited && !knows && !grace.is_zero();
        g.awaited = None;
        g.settlings = g.settlings.wrapping_add(1);
        g.resync = None;
        g.suspects = None;
        g.strays.clear();
        g.estranged = None;
        g.audit_at = None;
        g.grace_until = leave.then(|| now + grace);
        g.settling =
            Some(Settling { arrival, properties: true, contexts: !leave, announced, kept: knows || leave });
        g.enter(now, State::Settling);
        g.heartbeat_at = Some(now + self.config.heartbeat);
        g.ask_properties(now);
        if knows {
            g.start_audit(now);
        } else if !leave {
            g.sweep(now);
        }
    }

    /// What was asked while the gateway would not have us is asked again.
    pub(super) fn settle_again(&mut self, now: Instant, gateway: &str) {
        let settling = self.gateways.get(gateway).and_then(|g| g.settling.as_ref());
        if let Some((arrival, announced)) = settling.map(|s| (s.arrival, s.announced)) {
            self.settle(now, gateway, arrival, announced);
        }
    }

    /// Something is to be done again about what a gateway has.
    pub(super) fn audit_due(&mut self, now: Instant, gateway: &str) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        g.audit_at = None;
        if !g.serves() || g.state == State::Settling || g.resync.is_some() || g.suspects.is_some() {
            // One that is settling, or is being audited, has its audit.
            g.audit_at = g.serves().then(|| now + BETWEEN);
            return;
        }
        if g.grace_until.is_some_and(|until| until <= now) {
            g.grace_until = None;
            // Nothing of ours: one command takes the rest away.
            if g.inventory.contexts() == 0 && g.state == State::Registered && !g.creates() {
                return self.settle(now, gateway, Arrival::Back, false);
            }
        }
        g.start_audit(now);
    }

    /// What it supports, or that it does not say.
    pub(super) fn properties_told(&mut self, now: Instant, gateway: &str, answer: Option<&ReplyBody>) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        if let Some(ReplyBody::Actions(actions)) = answer {
            let replies = actions.iter().flat_map(|a| &a.commands).filter(|c| c.verb == Verb::AuditValue);
            for reply in replies.filter(|c| c.error().is_none()) {
                if let Some(packages) = reply.packages() {
                    g.packages.clone_from(packages);
                }
                let state = reply.media().and_then(|media| media.termination_state.as_ref());
                let number = |name: &str| {
                    let property = state?.properties.iter().find(|p| p.name == *name)?;
                    property.value.single()?.as_u64()
                };
                g.most_contexts = number("root/maxNumberOfContexts").or(g.most_contexts);
                g.most_terminations = number("root/maxTerminationsPerContext").or(g.most_terminations);
            }
        }
        match &mut g.settling {
            Some(settling) => {
                settling.properties = false;
                self.settled(now, gateway);
            }
            None => {
                self.judge(now, gateway, true);
            }
        }
    }

    /// Ends a settling if everything is known.
    pub(super) fn settled(&mut self, now: Instant, gateway: &str) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        // A sweep of an earlier settling may still be on its way: it would take away what is added now.
        if g.requests.values().any(|r| matches!(r.purpose, Purpose::Sweep(_))) {
            return;
        }
        let Some(settling) = g.settling.take_if(|s| !s.properties && !s.contexts) else { return };
        g.enter(now, if g.draining { State::Draining } else { State::Registered });
        g.schedule_audit(now, self.config.audit);
        let fits = self.judge(now, gateway, false);
        if let Some(g) = self.gateways.get(gateway).filter(|_| fits && settling.announced) {
            self.events.push_back(Event::Registered {
                gateway: g.name.clone(),
                profile: g.profile.clone(),
                version: g.association.version(),
                kept: settling.kept,
            });
        }
    }

    /// Whether the gateway has what we need. `tell` says so also when it has it again.
    fn judge(&mut self, now: Instant, gateway: &str, tell: bool) -> bool {
        let Some(g) = self.gateways.get_mut(gateway) else { return false };
        let known = g.profile.as_ref().and_then(profile::definition);
        let needed = known.into_iter().flat_map(|d| d.mandatory()).chain(g.config.needs.iter().cloned());
        let terminations = known.map_or(2, |d| d.terminations);
        let audited = Audited { packages: &g.packages, terminations: g.most_terminations };
        let error = profile::objections(needed, terminations, audited).next().map(|o| o.descriptor());
        let before = std::mem::replace(&mut g.objection, error.clone());
        match error {
            Some(error) => {
                if before.as_ref() != Some(&error) || g.state != State::Unsuited {
                    self.events.push_back(Event::Unsuited { gateway: g.name.clone(), error });
                }
                g.enter(now, State::Unsuited);
                false
            }
            None => {
                if g.state == State::Unsuited {
                    g.enter(now, if g.draining { State::Draining } else { State::Registered });
                    if tell {
                        self.events.push_back(Event::Registered {
                            gateway: g.name.clone(),
                            profile: g.profile.clone(),
                            version: g.association.version(),
                            kept: true,
                        });
                    }
                }
                true
            }
        }
    }

    /// Everything was subtracted, or there was nothing.
    pub(super) fn swept(&mut self, now: Instant, gateway: &str, answer: &ReplyBody) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        // H.248.8: no such context, no such termination, no match, not in a context.
        let refusal = answer.first_error();
        if refusal.is_some_and(|e| !matches!(e.code, 411 | 430 | 431 | 435)) {
            // It cannot do that in one command: find out what there is.
            return g.start_audit(now);
        }
        if let Some(settling) = &mut g.settling {
            settling.contexts = false;
        }
        self.settled(now, gateway);
    }

    /// The answer to a part of an audit.
    pub(super) fn page_told(&mut self, now: Instant, gateway: &str, answer: Result<&ReplyBody, Failure>) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        let Some(resync) = &mut g.resync else { return };
        let Some(page) = resync.asked.take() else { return };
        let (found, shown) = match answer {
            Ok(body) => {
                let found = names(body);
                let shown = shown(body, &page, &found);
                (found, shown)
            }
            Err(Failure::Segments) => (BTreeSet::new(), Shown::TooLarge),
            Err(_) => (BTreeSet::new(), Shown::Partly),
        };
        let mut lost = BTreeSet::new();
        match shown {
            // "Nothing" may also mean that it cannot look through all contexts: ask for each.
            Shown::All if page.scope == ContextId::All && found.is_empty() && g.inventory.contexts() > 0 => {
                resync.doubtful = true;
            }
            Shown::All => lost = g.inventory.missing(page.scope, &page.pattern, page.stamp, &found),
            Shown::TooLarge => resync.cut(&page, &g.inventory.forms()),
            Shown::Partly => {
                resync.incomplete = true;
                resync.doubtful = true;
            }
        }
        resync.lost += lost.len();
        let strays: BTreeSet<_> = found.into_iter().filter(|(c, t)| g.is_stray(*c, t)).collect();
        if let Some(resync) = &mut g.resync {
            resync.strays += strays.len();
        }
        g.suspect(now, strays);
        self.lost_contexts(gateway, lost);
        self.next_page(now, gateway);
    }

    /// The next part of an audit, or its end.
    fn next_page(&mut self, now: Instant, gateway: &str) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        if g.ask_page(now) {
            return;
        }
        let Some(resync) = g.resync.take() else { return };
        if resync.strays > 0 || resync.lost > 0 || resync.incomplete {
            self.events.push_back(Event::Resynchronised {
                gateway: g.name.clone(),
                strays: resync.strays,
                lost: resync.lost,
                complete: !resync.incomplete,
            });
        }
        match &mut g.settling {
            Some(settling) => {
                settling.contexts = false;
                self.settled(now, gateway);
            }
            None => g.schedule_audit(now, self.config.audit),
        }
    }

    pub(super) fn lost_contexts(&mut self, gateway: &str, contexts: BTreeSet<u32>) {
        if let Some(g) = self.gateways.get(gateway).filter(|_| !contexts.is_empty()) {
            let contexts = contexts.into_iter().collect();
            self.events.push_back(Event::ContextsLost { gateway: g.name.clone(), contexts });
        }
    }
}

impl Gateway {
    /// Packages and limits, again: it says that they have changed.
    pub(super) fn ask_properties(&mut self, now: Instant) {
        let audit = Audit::of(&[AuditToken::Packages, AuditToken::Media]);
        let command = Command::audit_value(TerminationId::ROOT, audit);
        let purpose = Purpose::Properties(self.settlings);
        self.ask(now, purpose, vec![ActionRequest::new(ContextId::Null, vec![command])]);
    }

    /// Subtracts everything there is, without statistics.
    fn sweep(&mut self, now: Instant) {
        let command = Command::subtract(TerminationId::ALL).wildcard_response().with(Audit::default());
        let purpose = Purpose::Sweep(self.settlings);
        self.ask(now, purpose, vec![ActionRequest::new(ContextId::All, vec![command])]);
    }

    /// Whether a request without an answer may have made what is not known.
    pub(super) fn creates(&self) -> bool {
        self.requests.values().any(|r| r.creates)
    }

    fn start_audit(&mut self, now: Instant) {
        self.audited = Some(now);
        let mut resync = Resync::default();
        resync.pages.push_back(Page {
            scope: ContextId::All,
            pattern: TerminationId::ALL,
            depth: 0,
            stamp: 0,
        });
        self.resync = Some(resync);
        self.ask_page(now);
    }

    /// Sends the next part of an audit; false if there is none.
    fn ask_page(&mut self, now: Instant) -> bool {
        let Some(resync) = &mut self.resync else { return false };
        let known = self.inventory.ids();
        let Some(mut page) = resync.pages.pop_front().or_else(|| resync.fall_back(known)) else {
            return false;
        };
        page.stamp = self.inventory.stamp();
        let command = Command::audit_value(page.pattern.clone(), Audit::default());
        let actions = vec![ActionRequest::new(page.scope, vec![command])];
        resync.asked = Some(page);
        self.ask(now, Purpose::Page(self.settlings), actions);
        true
    }

    /// The next audit, if there are to be any.
    fn schedule_audit(&mut self, now: Instant, every: Option<Duration>) {
        // Nothing gets lost between two ends in one process.
        let next = every.filter(|_| !self.is_inside()).map(|every| now + every);
        self.audit_at = [next, self.grace_until].into_iter().flatten().min();
    }

    /// Its contexts are in doubt.
    pub(super) fn doubt(&mut self, now: Instant) {
        let at = self.audited.map_or(now, |last| (last + BETWEEN).max(now));
        self.audit_at = Some(self.audit_at.map_or(at, |planned| planned.min(at)));
    }

    /// Whether nobody wants what was found, and nobody is about to subtract it.
    fn is_stray(&self, context: u32, termination: &TerminationId) -> bool {
        let context = ContextId::Id(context);
        if self.inventory.holds(context, termination) {
            return false;
        }
        match self.inventory.given_up(context, termination) {
            Some(request) => !self.requests.contains_key(&request),
            None => self.grace_until.is_none(),
        }
    }

    fn suspect(&mut self, now: Instant, found: BTreeSet<(u32, TerminationId)>) {
        if found.is_empty() {
            return;
        }
        let waits_for: BTreeSet<_> =
            self.requests.iter().filter(|(_, r)| r.creates).map(|(id, _)| *id).collect();
        match &mut self.suspects {
            // Those that came earlier wait for no less.
            Some(suspects) => {
                suspects.found.extend(found);
                suspects.waits_for.extend(waits_for);
            }
            None => self.suspects = Some(Suspects { found, waits_for }),
        }
        self.clear_suspects(now);
    }

    /// A request was answered, or never will be.
    pub(super) fn came_to_an_end(&mut self, now: Instant, id: TransactionId) {
        if let Some(suspects) = &mut self.suspects {
            suspects.waits_for.remove(&id);
            self.clear_suspects(now);
        }
    }

    fn clear_suspects(&mut self, now: Instant) {
        let Some(suspects) = self.suspects.take_if(|s| s.waits_for.is_empty()) else { return };
        for (context, termination) in suspects.found {
            if !self.is_stray(context, &termination) {
                continue;
            }
            match self.strays.back_mut().filter(|(last, _)| *last == context) {
                Some((_, names)) => names.push(termination),
                None => self.strays.push_back((context, vec![termination])),
            }
        }
        self.subtract_strays(now);
    }

    /// Subtracts what nobody knows, some at a time.
    pub(super) fn subtract_strays(&mut self, now: Instant) {
        let mut free = STRAYS_AT_ONCE
            .saturating_sub(self.requests.values().filter(|r| r.purpose == Purpose::Stray).count());
        while free > 0 {
            let Some((context, names)) = self.strays.pop_front() else { return };
            self.subtract(now, ContextId::Id(context), &names);
            free -= 1;
        }
    }

    /// Subtracts without statistics; what is not there any more does not keep the rest.
    pub(super) fn subtract(&mut self, now: Instant, context: ContextId, names: &[TerminationId]) {
        let commands = names.iter().map(|name| {
            let mut command = Command::subtract(name.clone()).with(Audit::default());
            command.wildcard_response = name.has_all();
            command.optional = true;
            command
        });
        let actions = vec![ActionRequest::new(context, commands.collect())];
        self.ask(now, Purpose::Stray, actions);
    }
}

impl Resync {
    /// Ten and more smaller pages in place of one.
    fn cut(&mut self, page: &Page, (forms, last): &(BTreeSet<String>, BTreeSet<char>)) {
        if page.scope != ContextId::All || page.depth >= DEEPEST || self.cut >= PAGES || forms.is_empty() {
            self.incomplete = true;
            self.doubtful = true;
            return;
        }
        let ends = ('0'..='9').chain(last.iter().copied().filter(|c| !c.is_ascii_digit()));
        let ends: Vec<char> = ends.collect();
        let mut patterns = Vec::new();
        if page.depth == 0 {
            for form in forms {
                patterns.extend(ends.iter().map(|end| format!("{form}*{end}")));
            }
        } else if let Some((form, tail)) = page.pattern.as_str().rsplit_once('*') {
            patterns.extend(ends.iter().map(|end| format!("{form}*{end}{tail}")));
            // The name that is no longer than that.
            patterns.push(format!("{form}{tail}"));
        }
        self.cut += patterns.len();
        let pages = patterns.into_iter().map(|pattern| Page {
            pattern: TerminationId::new(pattern),
            depth: page.depth + 1,
            ..page.clone()
        });
        for page in pages.rev() {
            self.pages.push_front(page);
        }
    }

    /// After an audit that could not show everything: at least what is known is looked for.
    fn fall_back(&mut self, known: impl Iterator<Item = u32>) -> Option<Page> {
        if !self.doubtful || std::mem::replace(&mut self.one_by_one, true) {
            return None;
        }
        let page = |id| Page { scope: ContextId::Id(id), pattern: TerminationId::ALL, depth: 0, stamp: 0 };
        self.pages.extend(known.map(page));
        self.pages.pop_front()
    }
}

/// The terminations that a reply names, with their contexts.
fn names(body: &ReplyBody) -> BTreeSet<(u32, TerminationId)> {
    let ReplyBody::Actions(actions) = body else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for action in actions {
        let Some(context) = action.context.id() else { continue };
        for reply in action.commands.iter().filter(|c| c.error().is_none()) {
            let specific = reply.terminations.iter().filter(|t| t.is_specific() && !t.is_root());
            found.extend(specific.map(|t| (context, t.clone())));
        }
    }
    found
}

/// Whether the reply to a page shows all that was asked for.
fn shown(body: &ReplyBody, page: &Page, found: &BTreeSet<(u32, TerminationId)>) -> Shown {
    let mut errors: Vec<u16> = Vec::new();
    let mut summary = false;
    match body {
        ReplyBody::Error(error) => errors.push(error.code),
        ReplyBody::Actions(actions) => {
            for action in actions {
                errors.extend(action.error.as_ref().map(|e| e.code));
                for reply in &action.commands {
                    errors.extend(reply.error().map(|e| e.code));
                    // Some answer once for all: that names nothing.
                    let names_one = action.context.id().is_some()
                        && reply.terminations.iter().all(TerminationId::is_specific);
                    summary |= reply.error().is_none() && !names_one;
                }
            }
        }
    }
    // H.248.8: the reply would be too large.
    if errors.contains(&533) {
        return Shown::TooLarge;
    }
    // H.248.8: nothing there. Where one context was asked for, that may be the context.
    let nothing = |code: &u16| matches!(code, 411 | 430 | 431 | 435);
    let all = errors.iter().all(nothing) && !summary && (!found.is_empty() || !errors.is_empty());
    let asked = !matches!(page.scope, ContextId::Null | ContextId::Choose);
    if all && asked { Shown::All } else { Shown::Partly }
}
