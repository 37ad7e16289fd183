//! The sessions that the kernel carries: what is known of each, and what follows from orders and packets.
//!
//! One session has one connection, as in a relay: when it has ended the element goes. What is decided here is
//! carried out by the thread: first the changes to the table, all at once, then what is left to do
//! ([`Sessions::settle`]), then the reports go out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carnet_gateway::media::{Cause, Rate};
use carnet_netfilter::{Change, Entry, Flow, Key, Segment, State as Seen, Translation, Way};

use super::super::clock::Moment;
use super::super::roll::Roll;
use super::super::slim;
use super::connection::{Connection, Finding, PROMPT};
use super::session::{Course, Session};
use super::streams::From;
use super::{Carriage, Octets, Order, Report, Terms};

/// Connections that last longer may have segments that come very late.
const YOUNG: Duration = Duration::from_millis(100);
/// Packets are copied to us together: how long it takes until those are here that ended a connection, also where the host
/// has much else to do. Without them octets are counted less exactly.
const COPIES: Duration = Duration::from_millis(200);
/// How long the kernel goes on to translate for a connection that has ended: last acknowledgements may be lost and
/// come again. Shorter than ports rest.
const LINGER: Duration = Duration::from_secs(8);
/// Connections that linger, at most: beyond that the oldest is forgotten at once. As many elements that went are
/// remembered until the next audit.
const REMEMBERED: usize = 65_536;

/// Connection tracking, as far as it is needed here. Questions are answered at once; what is to be forgotten and told
/// waits until all of it is known.
pub(super) trait Tracking {
    /// These will be asked for, or none any more: what is known of them now is believed.
    fn expect(&mut self, flows: &[Flow]);
    /// One connection, if there is one.
    fn get(&mut self, flow: &Flow) -> Option<Entry>;
    /// One that came through this element, if there is one.
    fn find(&mut self, key: &Key) -> Option<Entry>;
    /// Takes segments that come very late for its own.
    fn loosen(&mut self, flow: &Flow);
    /// No longer translated.
    fn forget(&mut self, flow: &Flow);
    /// The peer is to find out that its connection with this address of ours is over.
    fn tell(&mut self, local: SocketAddr, peer: SocketAddr);
    /// Forgets what is to be forgotten, then tells who is to be told.
    fn flush(&mut self);
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// First.
    pub(super) changes: Vec<Change>,
    /// When these are made.
    after: Vec<After>,
    /// Changes for the next time.
    pub(super) later: Vec<Change>,
    /// Last, each to the loop of this number.
    pub(super) reports: Vec<(usize, Report)>,
}

impl Outcome {
    /// There is nothing to be done.
    pub(super) fn is_idle(&self) -> bool {
        self.changes.is_empty() && self.after.is_empty() && self.later.is_empty() && self.reports.is_empty()
    }
}

/// Something that has to wait until the element is gone.
#[derive(Debug)]
enum After {
    /// A session is over whether its peers like it or not.
    Cut { session: Session, connection: Connection, answer: Answer },
    /// What an earlier process left, and nobody wants.
    Abandon(Translation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Dropped,
    Ended,
    None,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    /// By our addresses.
    all: Roll<Session>,
    /// What an earlier process left.
    left: HashMap<Key, Translation>,
    lingering: VecDeque<(Instant, Flow)>,
    /// Connections that are too young yet to be bothered with, and until when.
    young: VecDeque<(Instant, Flow)>,
    /// Those that leave, and until when they are waited for.
    leaving: VecDeque<(Instant, SocketAddr)>,
    /// Connections that are over as far as connection tracking knows, and until when copies are waited for that say how.
    doubtful: VecDeque<(Instant, Flow)>,
    /// The last of them at each of our addresses.
    last: HashMap<SocketAddr, Flow>,
    /// Elements that went while nobody had come. A SYN may have passed before.
    cut_idle: VecDeque<(Instant, Key)>,
    connections: u64,
    began: Instant,
}

/// A look at all connections that there are, while it goes on.
#[derive(Debug)]
pub(super) struct Look {
    began: Instant,
    /// Copies were lost since the last time.
    lost: bool,
    /// Elements that went before, while nobody had come, and what there is of them.
    cut: HashSet<Key>,
    cut_late: Vec<Entry>,
    /// Found to be up.
    found: Vec<Flow>,
    /// Found to be over.
    gone: Vec<(Flow, Octets)>,
}

impl Sessions {
    /// With what an earlier process left.
    pub(super) fn new(left: impl IntoIterator<Item = Translation>) -> Self {
        let left = left.into_iter().map(|translation| (translation.key, translation)).collect();
        let (all, lingering, young, leaving, doubtful, last, cut_idle) = Default::default();
        let began = Instant::now();
        Self { all, left, lingering, young, leaving, doubtful, last, cut_idle, connections: 0, began }
    }

    /// A time as it is kept.
    fn moment(&self, at: Instant) -> Moment {
        Moment::START.plus(at.saturating_duration_since(self.began))
    }

    /// Sessions that are carried, connections that came up.
    pub(super) fn tally(&self) -> (u64, u64) {
        (u64::try_from(self.all.len()).unwrap_or(u64::MAX), self.connections)
    }

    /// Octets that connections which are up had when they were last looked at.
    pub(super) fn counted(&self) -> u64 {
        let up = self.all.iter().filter_map(|session| session.connection.as_ref());
        up.map(Connection::counted).fold(0, u64::saturating_add)
    }

    pub(super) fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// The connections that these orders ask for.
    pub(super) fn asked_by(&self, orders: &[(usize, Order)]) -> Vec<Flow> {
        let asked = orders.iter().filter_map(|(_, order)| match order {
            Order::Count { caller, local } | Order::Drop { caller, local } => {
                self.all.get(local).filter(|session| session.caller() == *caller)
            }
            _ => None,
        });
        asked.filter_map(Session::flow).collect()
    }

    /// A loop's order. Callers that are kept are not for here.
    pub(super) fn order(
        &mut self,
        owner: usize,
        order: Order,
        tracking: &mut dyn Tracking,
        now: Instant,
        out: &mut Outcome,
    ) {
        match order {
            Order::Steer { pinhole, local, listener } => {
                out.changes.push(Change::Steer { local, listener });
                out.reports.push((owner, Report::Steered { pinhole, done: true }));
            }
            Order::Keep { .. } | Order::LetGo { .. } => {}
            Order::Unsteer { local } => out.changes.push(Change::Unsteer(local)),
            Order::Carry { carriage, terms } => self.carry(owner, carriage, terms, tracking, now, out),
            Order::Count { caller, local } => {
                let session = self.all.get_mut(&local).filter(|session| session.caller() == caller);
                let flow = session.as_ref().and_then(|session| session.flow());
                let octets = match session.and_then(|session| session.connection.as_mut()).zip(flow) {
                    Some((connection, flow)) => connection.octets(tracking.get(&flow).as_ref()),
                    None => (0, 0),
                };
                out.reports.push((owner, Report::Counted { caller, octets }));
            }
            Order::Drop { caller, local } => {
                let mut session = self.all.get_mut(&local).filter(|session| session.caller() == caller);
                if let Some(session) = session.as_mut().filter(|session| !session.leaves) {
                    match session.flow() {
                        None => {
                            // Somebody may have come, and the copies that tell of it are on their way to us.
                            session.leaves = true;
                            out.changes.push(Change::Untranslate(session.course.key()));
                        }
                        // It has ended. What connection tracking has may be of what came after: the next gateway on the
                        // way was quicker to tell the peers, and its SYN began another one.
                        Some(flow) => {
                            let entry = tracking.get(&flow);
                            session.leaves = entry.is_none_or(|entry| entry.state != Seen::Established);
                        }
                    }
                    if session.leaves {
                        return self.leaving.push_back((now + COPIES, local));
                    }
                }
                let ours = session.is_some();
                match ours.then(|| self.all.remove(&local)).flatten() {
                    Some(session) => self.cut(session, Answer::Dropped, now, out),
                    None => out.reports.push((owner, Report::Dropped { caller, octets: (0, 0) })),
                }
            }
        }
    }

    fn carry(
        &mut self,
        owner: usize,
        carriage: Carriage,
        terms: Terms,
        tracking: &mut dyn Tracking,
        now: Instant,
        out: &mut Outcome,
    ) {
        let local = carriage.caller.1;
        let key = carriage.key();
        let (caller, course) = (carriage.caller.0, Course::of(&carriage));
        let loop_of = u16::try_from(owner).unwrap_or(u16::MAX);
        if let Some(session) = self.all.get_mut(&local)
            && session.caller() == caller
            && session.course == course
        {
            session.owner = loop_of;
            change_terms(key, &Terms::of(session.terms.as_deref()), &terms, &mut out.changes);
            session.terms = terms.kept();
            return;
        }
        if let Some(session) = self.all.remove(&local) {
            self.cut(session, Answer::None, now, out);
        }
        let translation = carriage.translation();
        let left = self.left.remove(&key);
        if let Some(flow) = self.last.remove(&local) {
            // It would stand in the way of the next one.
            tracking.forget(&flow);
        } else if left.is_none() {
            // So would one that a relay made from there, which tracking remembers for two minutes after its end, or
            // one that another pinhole had. Both have these answers.
            tracking.forget(&Flow { caller: carriage.to, local: carriage.callee.1 });
        }
        let mut session = Session::new(loop_of, caller, course, terms);
        let mut peer = None;
        if left == Some(translation) {
            let found = tracking.find(&key).filter(|entry| entry.to == carriage.to);
            if let Some(entry) = found.filter(is_up) {
                tracking.loosen(&entry.flow);
                session.connection = Some(Connection::found(&entry, self.moment(now)));
                peer = Some(entry.flow.caller);
            }
        } else {
            if left.is_some() {
                out.changes.push(Change::Untranslate(key));
            }
            out.changes.push(Change::Translate(translation));
        }
        change_terms(key, &Terms::default(), &terms, &mut out.changes);
        out.reports.push((owner, Report::Carried { caller, done: true }));
        if let Some(peer) = peer {
            out.reports.push((owner, Report::Established { caller, peer }));
            self.connections += 1;
        }
        self.all.insert(session);
    }

    /// Ends a session that has been taken out.
    fn cut(&mut self, session: Session, answer: Answer, now: Instant, out: &mut Outcome) {
        let answer = if session.leaves { Answer::Dropped } else { answer };
        let key = session.course.key();
        take_away(key, session.terms.as_deref(), out);
        if let Some(connection) = session.connection {
            return out.after.push(After::Cut { session, connection, answer });
        }
        if self.cut_idle.len() >= REMEMBERED {
            self.cut_idle.pop_front();
        }
        self.cut_idle.push_back((now, key));
        session.answer(answer, (0, 0), out);
    }

    /// A packet that begins or ends a connection has passed. All that were copied before `looked` are known.
    pub(super) fn segment(
        &mut self,
        segment: &Segment,
        tracking: &mut dyn Tracking,
        (now, looked): (Instant, Option<Instant>),
        out: &mut Outcome,
    ) {
        let Segment { source, destination, .. } = *segment;
        let at = self.moment(now);
        if let Some(session) = self.all.get_mut(&source)
            && session.course.source() == destination.ip()
        {
            let flow = Flow { caller: destination, local: source };
            match &mut session.connection {
                None if segment.syn => {
                    let prompt = looked.is_some_and(|looked| now.saturating_duration_since(looked) < PROMPT);
                    session.connection = Some(Connection::begun(segment, at, prompt));
                    let (owner, caller) = (usize::from(session.owner), session.caller());
                    self.young.push_back((now + YOUNG, flow));
                    self.connections += 1;
                    out.reports.push((owner, Report::Established { caller, peer: destination }));
                    return;
                }
                // The answer to a SYN (RFC 9293 §3.10.7.1).
                None if segment.rst => {
                    let causes = (Cause::FarSide, Cause::ConnectFailed);
                    return self.over(source, Some(flow), (causes, (0, 0)), now, out);
                }
                Some(connection) if connection.port == destination.port() => {
                    if segment.syn {
                        return connection.answered(segment);
                    }
                    return self.ending(source, From::Callee, segment, tracking, now, out);
                }
                _ => {}
            }
        }
        if let Some(session) = self.all.by_second(&source)
            && session.course.to() == destination
        {
            let local = session.course.local();
            self.ending(local, From::Caller, segment, tracking, now, out);
        }
    }

    /// A FIN or a RST on a connection that is up.
    fn ending(
        &mut self,
        local: SocketAddr,
        from: From,
        segment: &Segment,
        tracking: &mut dyn Tracking,
        now: Instant,
        out: &mut Outcome,
    ) {
        let at = self.moment(now);
        let Some(session) = self.all.get_mut(&local) else { return };
        let Some((flow, connection)) = session.flow().zip(session.connection.as_mut()) else { return };
        connection.seen(from, segment);
        let (entry, causes);
        if segment.rst {
            // Connection tracking sees whether the peer believes it.
            entry = tracking.get(&flow);
            if entry.is_some_and(|entry| matches!(entry.state, Seen::Established)) {
                return;
            }
            connection.reset(from, segment);
            causes = match from {
                From::Caller => (Cause::Reset, Cause::FarSide),
                From::Callee => (Cause::FarSide, Cause::Reset),
            };
        } else if segment.fin && connection.finished(from, segment) {
            entry = if connection.tells_all(at) { None } else { tracking.get(&flow) };
            causes = (Cause::Normal, Cause::Normal);
        } else {
            return;
        }
        let octets = connection.octets(entry.as_ref());
        self.over(local, Some(flow), (causes, octets), now, out);
    }

    /// It has ended by itself.
    fn over(
        &mut self,
        local: SocketAddr,
        flow: Option<Flow>,
        (causes, octets): ((Cause, Cause), Octets),
        now: Instant,
        out: &mut Outcome,
    ) {
        let Some(session) = self.all.remove(&local) else { return };
        if let Some(flow) = flow {
            self.lingering.push_back((now + LINGER, flow));
            self.last.insert(local, flow);
        }
        take_away(session.course.key(), session.terms.as_deref(), out);
        let (owner, caller) = (usize::from(session.owner), session.caller());
        out.reports.push((owner, Report::Ended { caller, causes, octets }));
        if session.leaves {
            out.reports.push((owner, Report::Dropped { caller, octets: (0, 0) }));
        }
    }

    /// What is left to do now that the changes are made, but for those that were refused. Each refusal is counted.
    pub(super) fn settle(
        &mut self,
        refused: &[Change],
        tracking: &mut dyn Tracking,
        now: Instant,
        out: &mut Outcome,
    ) -> u64 {
        for change in refused {
            let key = match change {
                Change::Steer { local, .. } => {
                    self.refuse_steering(*local, out);
                    continue;
                }
                Change::Keep(..) | Change::Unsteer(_) | Change::Untranslate(_) => continue,
                Change::Translate(translation) => translation.key,
                Change::Hold(key, _)
                | Change::Shut(key, ..)
                | Change::Police(key, ..)
                | Change::Mark(key, ..) => *key,
            };
            let ours = self.all.get(&key.local).is_some_and(|session| session.course.key() == key);
            let Some(session) = ours.then(|| self.all.remove(&key.local)).flatten() else { continue };
            let caller = session.caller();
            let said = out.reports.iter_mut().find_map(|(_, report)| match report {
                Report::Carried { caller: of, done } if *of == caller => Some(done),
                _ => None,
            });
            match said {
                Some(done) => {
                    *done = false;
                    let mut more = Outcome::default();
                    self.cut(session, Answer::None, now, &mut more);
                    out.later.append(&mut more.changes);
                    out.later.append(&mut more.later);
                    out.after.append(&mut more.after);
                }
                // What was to be held or limited is not: better that nothing passes.
                None => {
                    let mut more = Outcome::default();
                    self.cut(session, Answer::Ended, now, &mut more);
                    out.later.append(&mut more.changes);
                    out.later.append(&mut more.later);
                    out.after.append(&mut more.after);
                    out.reports.append(&mut more.reports);
                }
            }
        }
        let cut: Vec<Flow> = (out.after.iter())
            .filter_map(|after| match after {
                After::Cut { session, connection, .. } => Some(session.flow_of(connection)),
                After::Abandon(_) => None,
            })
            .collect();
        tracking.expect(&cut);
        for after in std::mem::take(&mut out.after) {
            match after {
                After::Cut { session, mut connection, answer } => {
                    let (flow, course) = (session.flow_of(&connection), &session.course);
                    let octets = connection.octets(tracking.get(&flow).as_ref());
                    tracking.forget(&flow);
                    tracking.tell(course.local(), flow.caller);
                    tracking.tell(course.from(), course.to());
                    session.answer(answer, octets, out);
                }
                After::Abandon(translation) => {
                    if let Some(entry) = tracking.find(&translation.key) {
                        end_entry(translation.key.local, &entry, tracking);
                    }
                }
            }
        }
        tracking.expect(&[]);
        u64::try_from(refused.len()).unwrap_or(u64::MAX)
    }

    fn refuse_steering(&self, local: SocketAddr, out: &mut Outcome) {
        // Steering is reported in the order in which it was asked for.
        let steers = out.changes.iter().filter_map(|change| match change {
            Change::Steer { local, .. } => Some(*local),
            _ => None,
        });
        let answers = out.reports.iter_mut().filter_map(|(_, report)| match report {
            Report::Steered { done, .. } => Some(done),
            _ => None,
        });
        for (steered, done) in steers.zip(answers) {
            if steered == local {
                *done = false;
            }
        }
    }

    /// What is due: sessions of which nobody has said how they ended, connections that have lingered long enough.
    pub(super) fn on_time(&mut self, tracking: &mut dyn Tracking, now: Instant, out: &mut Outcome) {
        while let Some((_, local)) = self.leaving.front().copied().filter(|(at, _)| *at <= now) {
            self.leaving.pop_front();
            let leaves = self.all.get(&local).is_some_and(|session| session.leaves);
            if let Some(session) = leaves.then(|| self.all.remove(&local)).flatten() {
                self.cut(session, Answer::Dropped, now, out);
            }
        }
        while let Some((_, flow)) = self.doubtful.front().copied().filter(|(at, _)| *at <= now) {
            self.doubtful.pop_front();
            self.decide(flow, tracking, now, out);
        }
        while let Some((_, flow)) = self.young.front().copied().filter(|(at, _)| *at <= now) {
            self.young.pop_front();
            if self.all.get(&flow.local).and_then(Session::flow) == Some(flow) {
                tracking.loosen(&flow);
            }
        }
        while let Some((at, flow)) = self.lingering.front().copied() {
            if at > now && self.lingering.len() <= REMEMBERED {
                break;
            }
            self.lingering.pop_front();
            if self.last.get(&flow.local) == Some(&flow) {
                self.last.remove(&flow.local);
                tracking.forget(&flow);
            }
        }
        for queue in [&mut self.young, &mut self.lingering, &mut self.doubtful] {
            slim::queue(queue);
        }
        slim::queue(&mut self.leaving);
        slim::map(&mut self.last);
    }

    /// No copy has come that says how it ended: it has, if connection tracking still says so.
    fn decide(&mut self, flow: Flow, tracking: &mut dyn Tracking, now: Instant, out: &mut Outcome) {
        let session = self.all.get_mut(&flow.local).filter(|session| session.flow() == Some(flow));
        let Some(connection) = session.and_then(|session| session.connection.as_mut()) else { return };
        let entry = tracking.get(&flow);
        if entry.is_some_and(|entry| entry.state != Seen::Closed) {
            return;
        }
        // Nobody knows who left it: there was a RST, or it was silent for longer than connection tracking waits.
        let octets = connection.octets(entry.as_ref());
        self.over(flow.local, entry.map(|_| flow), ((Cause::Reset, Cause::Reset), octets), now, out);
    }

    /// When the next of them is.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let (lingering, leaving) = (self.lingering.front(), self.leaving.front().map(|(at, _)| *at));
        let (young, doubtful) = (self.young.front(), self.doubtful.front());
        let of_flows = [lingering, young, doubtful].map(|next| next.map(|(at, _)| *at));
        of_flows.into_iter().chain([leaving]).flatten().min()
    }

    /// Nobody has taken up what an earlier process left: it ends.
    pub(super) fn abandon(&mut self, out: &mut Outcome) {
        for (key, translation) in self.left.drain() {
            out.changes.push(Change::Untranslate(key));
            out.after.push(After::Abandon(translation));
        }
    }

    /// Ends connections between addresses of ours that have no element: an earlier process died while it ended them.
    pub(super) fn end_strays(
        &self,
        all: &HashMap<Key, Vec<Entry>>,
        is_ours: &dyn Fn(SocketAddr) -> bool,
        tracking: &mut dyn Tracking,
    ) {
        for (key, entries) in all.iter().filter(|(key, _)| is_ours(key.local) && !self.left.contains_key(key))
        {
            for entry in entries.iter().filter(|entry| is_ours(entry.from)) {
                end_entry(key.local, entry, tracking);
            }
        }
    }

    /// Everything ends.
    pub(super) fn end(&mut self, now: Instant, out: &mut Outcome) {
        let locals: Vec<_> = self.all.iter().map(|session| session.course.local()).collect();
        for local in locals {
            if let Some(session) = self.all.remove(&local) {
                self.cut(session, Answer::None, now, out);
            }
        }
        self.abandon(out);
    }

    /// There is something that only a look at all connections tells.
    pub(super) fn wants_audit(&self) -> bool {
        !self.cut_idle.is_empty()
    }

    /// Somebody is connected, or may be.
    pub(super) fn is_empty(&self) -> bool {
        self.all.len() == 0
    }

    /// Begins to compare with all connections that there are. `lost`: copies were lost since the last time.
    pub(super) fn begin_look(&mut self, began: Instant, lost: bool) -> Look {
        self.all.iter_mut().for_each(|session| session.seen = false);
        let cut = self.cut_idle.iter().take_while(|(at, _)| *at < began).map(|(_, key)| *key).collect();
        Look { began, lost, cut, cut_late: Vec::new(), found: Vec::new(), gone: Vec::new() }
    }

    /// Compares with one of them.
    pub(super) fn look_at(&mut self, entry: &Entry, look: &mut Look, out: &mut Outcome) {
        let key = entry.flow.key();
        if look.cut.contains(&key) {
            look.cut_late.push(*entry);
        }
        let began = self.moment(look.began);
        let session = self.all.get_mut(&key.local).filter(|session| session.course.source() == key.source);
        let Some(session) = session else { return };
        match &mut session.connection {
            Some(connection) if connection.is_older_than(began) => {
                if connection.port != entry.flow.caller.port() {
                    return;
                }
                session.seen = true;
                match connection.compare(Some(entry), look.lost, began) {
                    Finding::GoesOn => {}
                    Finding::Doubtful => self.doubtful.push_back((look.began + COPIES, entry.flow)),
                    Finding::Over => look.gone.push((entry.flow, connection.octets(Some(entry)))),
                }
            }
            None if entry.to == session.course.to() && is_up(entry) => {
                // Its beginning was not copied, or the copy is on its way to us.
                session.connection = Some(Connection::found(entry, began));
                let (owner, caller) = (usize::from(session.owner), session.caller());
                self.connections += 1;
                look.found.push(entry.flow);
                out.reports.push((owner, Report::Established { caller, peer: entry.flow.caller }));
            }
            _ => {}
        }
    }

    /// These were all.
    pub(super) fn end_look(&mut self, look: Look, tracking: &mut dyn Tracking, out: &mut Outcome) {
        let Look { began, lost, cut: _, cut_late, found, gone } = look;
        found.iter().for_each(|flow| tracking.loosen(flow));
        let at = self.moment(began);
        for session in self.all.iter_mut().filter(|session| !session.seen) {
            let flow = session.flow();
            let Some((connection, flow)) = session.connection.as_mut().zip(flow) else { continue };
            if connection.is_older_than(at) && connection.compare(None, lost, at) == Finding::Doubtful {
                self.doubtful.push_back((began + COPIES, flow));
            }
        }
        for (flow, octets) in gone {
            self.over(flow.local, Some(flow), ((Cause::Normal, Cause::Normal), octets), began, out);
        }
        while self.cut_idle.front().is_some_and(|(at, _)| *at < began) {
            self.cut_idle.pop_front();
        }
        slim::queue(&mut self.cut_idle);
        for entry in cut_late {
            let (local, key) = (entry.flow.local, entry.flow.key());
            let back = self.all.get(&local).is_some_and(|session| session.course.key() == key);
            if !back && !matches!(entry.state, Seen::Waiting | Seen::Closed) {
                end_entry(local, &entry, tracking);
            }
        }
    }
}

impl Session {
    /// Says that it is over, to its loop.
    fn answer(&self, answer: Answer, octets: Octets, out: &mut Outcome) {
        let (owner, caller) = (usize::from(self.owner), self.caller());
        match answer {
            Answer::Dropped => out.reports.push((owner, Report::Dropped { caller, octets })),
            Answer::Ended => {
                let causes = (Cause::FarSide, Cause::FarSide);
                out.reports.push((owner, Report::Ended { caller, causes, octets }));
            }
            Answer::None => {}
        }
    }
}

impl Carriage {
    pub(super) fn key(&self) -> Key {
        Key { source: self.source, local: self.caller.1 }
    }

    pub(super) fn translation(&self) -> Translation {
        Translation { key: self.key(), from: self.callee.1, to: self.to }
    }
}

/// It may still carry something.
fn is_up(entry: &Entry) -> bool {
    matches!(entry.state, Seen::Established | Seen::Closing | Seen::Waiting)
}

/// Ends a connection that is in the way or of no use: both peers are told.
fn end_entry(local: SocketAddr, entry: &Entry, tracking: &mut dyn Tracking) {
    tracking.forget(&entry.flow);
    tracking.tell(local, entry.flow.caller);
    tracking.tell(entry.from, entry.to);
}

/// Takes an element away, and what was asked for beside it. What was held stays so until the kernel has forgotten
/// the connection.
fn take_away(key: Key, terms: Option<&Terms>, out: &mut Outcome) {
    out.changes.push(Change::Untranslate(key));
    let Some(terms) = terms else { return };
    let closed = Terms { held: terms.held, shut: terms.shut, ..Terms::default() };
    change_terms(key, terms, &closed, &mut out.changes);
    change_terms(key, &closed, &Terms::default(), &mut out.later);
}

/// What has to change from these terms to those.
fn change_terms(key: Key, from: &Terms, to: &Terms, changes: &mut Vec<Change>) {
    if from.held != to.held {
        changes.push(Change::Hold(key, to.held));
    }
    let ways = [Way::Forth, Way::Back];
    for (way, (from, to)) in ways.into_iter().zip([(from.shut.0, to.shut.0), (from.shut.1, to.shut.1)]) {
        if from != to {
            changes.push(Change::Shut(key, way, to));
        }
    }
    for (way, (from, to)) in ways.into_iter().zip([(from.rates.0, to.rates.0), (from.rates.1, to.rates.1)]) {
        if from != to {
            changes.push(Change::Police(key, way, to.map(rate)));
        }
    }
    // What goes to the caller is what comes back.
    for (way, (from, to)) in ways.into_iter().zip([(from.dscp.1, to.dscp.1), (from.dscp.0, to.dscp.0)]) {
        if from != to {
            changes.push(Change::Mark(key, way, to));
        }
    }
}

fn rate(rate: Rate) -> carnet_netfilter::Rate {
    let burst = u32::try_from(rate.burst).unwrap_or(u32::MAX);
    carnet_netfilter::Rate { octets_per_second: rate.octets_per_second, burst }
}

#[cfg(test)]
mod tests;
