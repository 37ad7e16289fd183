//! Sessions against a connection tracking of our own.

use super::*;
use carnet_gateway::media::Pinhole;

#[derive(Default)]
struct Tracked {
    entries: Vec<Entry>,
    loosened: Vec<Flow>,
    forgotten: Vec<Flow>,
    /// Connections whose answers come to our address at the callee's: a relay's, or those of another pinhole.
    of_relay: Vec<Flow>,
    told: Vec<(SocketAddr, SocketAddr)>,
}

impl Tracking for Tracked {
    fn expect(&mut self, _: &[Flow]) {}

    fn loosen(&mut self, flow: &Flow) {
        self.loosened.push(*flow);
    }

    fn flush(&mut self) {}

    fn get(&mut self, flow: &Flow) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.flow == *flow).copied()
    }

    fn find(&mut self, key: &Key) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.flow.key() == *key).copied()
    }

    fn forget(&mut self, flow: &Flow) {
        let of = if flow.local == at(FROM) { &mut self.of_relay } else { &mut self.forgotten };
        of.push(*flow);
    }

    fn tell(&mut self, local: SocketAddr, peer: SocketAddr) {
        self.told.push((local, peer));
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const CALLER: &str = "192.0.2.10:40000";
const OURS: &str = "192.0.2.1:5000";
const FROM: &str = "198.51.100.1:6000";
const TO: &str = "198.51.100.20:7000";

fn carriage() -> Carriage {
    Carriage {
        caller: (Pinhole { group: 1, number: 1 }, at(OURS)),
        source: at(CALLER).ip(),
        callee: (Pinhole { group: 1, number: 2 }, at(FROM)),
        to: at(TO),
    }
}

fn flow() -> Flow {
    Flow { caller: at(CALLER), local: at(OURS) }
}

fn entry(state: Seen) -> Entry {
    Entry { flow: flow(), to: at(TO), from: at(FROM), state, forth: (0, 0), back: (0, 0) }
}

fn segment(source: &str, destination: &str) -> Segment {
    Segment {
        source: at(source),
        destination: at(destination),
        sequence: 0,
        acknowledgement: Some(0),
        syn: false,
        fin: false,
        rst: false,
        payload: 0,
        timestamps: true,
    }
}

/// What the callee answers, with sequence numbers 500 there and 100 here.
fn answer() -> Segment {
    Segment { syn: true, sequence: 500, acknowledgement: Some(101), ..segment(OURS, CALLER) }
}

struct Test {
    sessions: Sessions,
    tracked: Tracked,
    now: Instant,
}

impl Test {
    fn with(left: &[Translation]) -> Self {
        let (sessions, tracked) = (Sessions::new(left.iter().copied()), Tracked::default());
        Self { sessions, tracked, now: Instant::now() }
    }

    fn order(&mut self, order: Order) -> Outcome {
        let mut out = Outcome::default();
        self.sessions.order(3, order, &mut self.tracked, self.now, &mut out);
        out
    }

    fn carry(&mut self, terms: Terms) -> Outcome {
        let out = self.order(Order::Carry { carriage: carriage(), terms });
        self.settled(out, &[])
    }

    fn drop(&mut self) -> Outcome {
        self.order(Order::Drop { caller: carriage().caller.0, local: at(OURS) })
    }

    /// Copies that are on their way would be here.
    fn waits(&mut self) -> Outcome {
        let mut out = Outcome::default();
        self.sessions.on_time(&mut self.tracked, self.now + COPIES, &mut out);
        self.settled(out, &[])
    }

    fn sees(&mut self, segment: Segment) -> Outcome {
        let mut out = Outcome::default();
        self.sessions.segment(&segment, &mut self.tracked, (self.now, Some(self.now)), &mut out);
        self.settled(out, &[])
    }

    fn settled(&mut self, mut out: Outcome, refused: &[Change]) -> Outcome {
        self.sessions.settle(refused, &mut self.tracked, self.now, &mut out);
        out
    }

    fn up(left: &[Translation]) -> Self {
        let mut test = Self::with(left);
        test.carry(Terms::default());
        let out = test.sees(answer());
        assert!(matches!(out.reports[..], [(3, Report::Established { peer, .. })] if peer == at(CALLER)));
        test
    }
}

fn ended(out: &Outcome) -> Option<((Cause, Cause), Octets)> {
    out.reports.iter().find_map(|(_, report)| match report {
        Report::Ended { causes, octets, .. } => Some((*causes, *octets)),
        _ => None,
    })
}

#[test]
fn a_session_is_one_element_and_ends_with_both_ends() {
    let mut test = Test::with(&[]);
    let out = test.carry(Terms::default());
    assert_eq!(out.changes, [Change::Translate(carriage().translation())]);
    assert!(matches!(out.reports[..], [(3, Report::Carried { done: true, .. })]));
    let mut test = Test::up(&[]);
    assert_eq!(test.sessions.tally(), (1, 1));
    let fin = Segment { fin: true, sequence: 101 + 7, payload: 3, ..segment(FROM, TO) };
    assert!(test.sees(fin).is_idle());
    assert!(test.sees(fin).is_idle(), "said twice");
    let out = test.sees(Segment { fin: true, sequence: 501, ..segment(OURS, CALLER) });
    assert_eq!(ended(&out), Some(((Cause::Normal, Cause::Normal), (10, 0))));
    assert_eq!(out.changes, [Change::Untranslate(carriage().key())]);
    assert_eq!(test.sessions.tally(), (0, 1));
    assert!(test.tracked.forgotten.is_empty(), "last acknowledgements may come again");
    test.sessions.on_time(&mut test.tracked, test.now + LINGER, &mut Outcome::default());
    assert_eq!(test.tracked.forgotten, [flow()]);
}

#[test]
fn what_lingers_gives_way_to_the_next_connection_and_is_forgotten_once() {
    let mut test = Test::up(&[]);
    test.sees(Segment { rst: true, sequence: 501, ..segment(OURS, CALLER) });
    test.carry(Terms::default());
    assert_eq!(test.tracked.forgotten, [flow()]);
    test.sessions.on_time(&mut test.tracked, test.now + LINGER, &mut Outcome::default());
    assert_eq!(test.tracked.forgotten.len(), 1);
}

#[test]
fn who_resets_is_said_unless_nobody_believes_it() {
    for (segment, causes) in [
        (segment(OURS, CALLER), (Cause::FarSide, Cause::Reset)),
        (segment(FROM, TO), (Cause::Reset, Cause::FarSide)),
    ] {
        let mut test = Test::up(&[]);
        let reset = Segment { rst: true, ..segment };
        test.tracked.entries = vec![entry(Seen::Established)];
        assert!(test.sees(reset).is_idle());
        test.tracked.entries = vec![entry(Seen::Closed)];
        assert_eq!(ended(&test.sees(reset)).unwrap().0, causes);
    }
}

#[test]
fn a_callee_that_refuses_is_said_to_and_strangers_change_nothing() {
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    assert!(test.sees(Segment { rst: true, ..segment(OURS, "192.0.2.77:1") }).is_idle());
    assert!(test.sees(Segment { syn: true, ..segment(OURS, "192.0.2.77:1") }).is_idle());
    assert!(test.sees(Segment { rst: true, ..segment(FROM, TO) }).is_idle(), "the caller gave up");
    let out = test.sees(Segment { rst: true, ..segment(OURS, CALLER) });
    assert_eq!(ended(&out), Some(((Cause::FarSide, Cause::ConnectFailed), (0, 0))));
}

#[test]
fn what_is_dropped_is_forgotten_when_the_element_is_gone_and_both_are_told() {
    let mut test = Test::up(&[]);
    test.tracked.entries = vec![Entry { forth: (2, 2 * 52 + 8 + 5), ..entry(Seen::Established) }];
    let out = test.drop();
    assert_eq!(out.changes, [Change::Untranslate(carriage().key())]);
    assert!(out.reports.is_empty() && test.tracked.forgotten.is_empty(), "not yet");
    let out = test.settled(out, &[]);
    assert!(matches!(out.reports[..], [(3, Report::Dropped { octets: (5, 0), .. })]));
    assert_eq!(test.tracked.forgotten, [flow()]);
    assert_eq!(test.tracked.told, [(at(OURS), at(CALLER)), (at(FROM), at(TO))]);
    let out = test.drop();
    assert!(matches!(out.reports[..], [(3, Report::Dropped { octets: (0, 0), .. })]), "answered once each");
}

#[test]
fn who_has_been_up_for_a_while_may_say_something_very_late() {
    let mut test = Test::up(&[]);
    test.sessions.on_time(&mut test.tracked, test.now, &mut Outcome::default());
    assert!(test.tracked.loosened.is_empty(), "most are over soon");
    assert_eq!(test.sessions.next_time(), Some(test.now + YOUNG));
    test.sessions.on_time(&mut test.tracked, test.now + YOUNG, &mut Outcome::default());
    assert_eq!(test.tracked.loosened, [flow()]);
    assert_eq!(test.sessions.next_time(), None);
    let mut test = Test::up(&[]);
    test.tracked.entries = vec![entry(Seen::Established)];
    let out = test.drop();
    test.settled(out, &[]);
    test.sessions.on_time(&mut test.tracked, test.now + YOUNG, &mut Outcome::default());
    assert!(test.tracked.loosened.is_empty(), "it is over");
}

#[test]
fn what_is_held_stays_so_until_it_is_forgotten() {
    let mut test = Test::with(&[]);
    let rate = Rate { octets_per_second: 8, burst: 9 };
    let terms = Terms { held: true, shut: (false, true), rates: (Some(rate), None), dscp: (None, Some(46)) };
    let key = carriage().key();
    let out = test.carry(terms);
    let rate = carnet_netfilter::Rate { octets_per_second: 8, burst: 9 };
    let asked = [
        Change::Translate(carriage().translation()),
        Change::Hold(key, true),
        Change::Shut(key, Way::Back, true),
        Change::Police(key, Way::Forth, Some(rate)),
        Change::Mark(key, Way::Forth, Some(46)),
    ];
    assert_eq!(out.changes, asked);
    assert!(test.carry(terms).is_idle(), "nothing has changed");
    assert_eq!(test.drop().changes, [Change::Untranslate(key)]);
    let out = test.waits();
    let gone = [
        Change::Untranslate(key),
        Change::Police(key, Way::Forth, None),
        Change::Mark(key, Way::Forth, None),
    ];
    assert_eq!(
        (&out.changes[..], &out.later[..]),
        (&gone[..], &[Change::Hold(key, false), Change::Shut(key, Way::Back, false)][..])
    );
}

#[test]
fn what_the_kernel_refuses_is_said_to_and_leaves_nothing_behind() {
    let mut test = Test::with(&[]);
    let out = test.order(Order::Carry { carriage: carriage(), terms: Terms::default() });
    let refused = out.changes.clone();
    let out = test.settled(out, &refused);
    assert!(matches!(out.reports[..], [(3, Report::Carried { done: false, .. })]));
    assert_eq!(test.sessions.tally().0, 0);
    // Where something that is asked for later is refused, nothing is to pass.
    let mut test = Test::up(&[]);
    let held = Terms { held: true, ..Terms::default() };
    let out = test.order(Order::Carry { carriage: carriage(), terms: held });
    let refused = out.changes.clone();
    let out = test.settled(out, &refused);
    assert!(ended(&out).is_some());
    assert!(out.later.contains(&Change::Untranslate(carriage().key())));
}

#[test]
fn steering_is_answered_for_each() {
    let mut test = Test::with(&[]);
    let mut out = Outcome::default();
    for number in [1, 2] {
        let pinhole = Pinhole { group: 1, number };
        let local = at(if number == 1 { OURS } else { FROM });
        let order = Order::Steer { pinhole, local, listener: 9 };
        test.sessions.order(0, order, &mut test.tracked, test.now, &mut out);
    }
    let refused = [Change::Steer { local: at(FROM), listener: 9 }];
    let out = test.settled(out, &refused);
    let done = out.reports.iter().map(|(_, report)| match report {
        Report::Steered { pinhole, done } => (pinhole.number, *done),
        other => panic!("{other:?}"),
    });
    let done: Vec<_> = done.collect();
    assert_eq!(done, [(1, true), (2, false)]);
}

#[test]
fn what_an_earlier_process_left_is_taken_up_with_its_connection_or_ends() {
    let left = [carriage().translation()];
    let mut test = Test::with(&left);
    test.tracked.entries = vec![entry(Seen::Established)];
    let out = test.carry(Terms::default());
    assert!(out.changes.is_empty(), "the element is there: {:?}", out.changes);
    assert!(matches!(out.reports[..], [(_, Report::Carried { .. }), (_, Report::Established { .. })]));
    assert!(!test.sessions.has_left());
    let mut test = Test::with(&left);
    test.tracked.entries = vec![entry(Seen::Established)];
    let mut out = Outcome::default();
    test.sessions.abandon(&mut out);
    assert_eq!(out.changes, [Change::Untranslate(carriage().key())]);
    test.settled(out, &[]);
    assert_eq!((test.tracked.forgotten.len(), test.tracked.told.len()), (1, 2));
    // One that leads elsewhere is no use.
    let mut test = Test::with(&[Translation { to: at("198.51.100.9:1"), ..left[0] }]);
    let out = test.carry(Terms::default());
    assert_eq!(out.changes, [Change::Untranslate(carriage().key()), Change::Translate(left[0])]);
}

fn there(entry: Entry) -> HashMap<Key, Vec<Entry>> {
    HashMap::from([(entry.flow.key(), vec![entry])])
}

impl Test {
    /// So much later connection tracking has these, and nothing else has come.
    fn audits(&mut self, entries: &HashMap<Key, Vec<Entry>>, later: Duration, lost: bool) -> Outcome {
        let mut out = Outcome::default();
        self.tracked.entries = entries.values().flatten().copied().collect();
        let mut look = self.sessions.begin_look(self.now + later, lost);
        for entry in entries.values().flatten() {
            self.sessions.look_at(entry, &mut look, &mut out);
        }
        self.sessions.end_look(look, &mut self.tracked, &mut out);
        self.settled(out, &[])
    }

    /// The same, and copies that were on their way are here.
    fn looks(&mut self, entries: &HashMap<Key, Vec<Entry>>, later: Duration, lost: bool) -> Outcome {
        let out = self.audits(entries, later, lost);
        let mut after = Outcome::default();
        self.sessions.on_time(&mut self.tracked, self.now + later + COPIES, &mut after);
        let mut after = self.settled(after, &[]);
        after.reports.splice(0..0, out.reports);
        after.changes.splice(0..0, out.changes);
        after
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn fin(from: From, end: u32) -> Segment {
    let (source, destination) = match from {
        From::Caller => (FROM, TO),
        From::Callee => (OURS, CALLER),
    };
    Segment { fin: true, sequence: end, ..segment(source, destination) }
}

#[test]
fn an_audit_finds_what_was_not_seen() {
    let mut test = Test::up(&[]);
    assert!(test.looks(&there(entry(Seen::Established)), SECOND, false).is_idle());
    let none = HashMap::new();
    assert!(test.looks(&none, Duration::ZERO, false).is_idle(), "it came up after the look began");
    assert!(test.audits(&none, SECOND, false).is_idle(), "copies may be on their way");
    assert_eq!(ended(&test.looks(&none, SECOND, false)).unwrap().0, (Cause::Reset, Cause::Reset));
    let mut test = Test::up(&[]);
    let reset = there(entry(Seen::Closed));
    assert!(test.audits(&reset, SECOND, false).is_idle());
    assert_eq!(ended(&test.looks(&reset, SECOND, false)).unwrap().0, (Cause::Reset, Cause::Reset));
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    let out = test.looks(&there(entry(Seen::Established)), SECOND, false);
    assert!(matches!(out.reports[..], [(_, Report::Established { .. })]));
    // One that began just as its element went.
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    test.drop();
    test.waits();
    assert!(test.sessions.wants_audit());
    test.looks(&there(entry(Seen::Established)), SECOND, false);
    assert_eq!((test.tracked.forgotten.len(), test.tracked.told.len()), (1, 2));
    assert!(!test.sessions.wants_audit());
}

/// Connection tracking takes it for the FINs of both sides.
#[test]
fn a_fin_that_comes_twice_ends_one_direction_only() {
    let mut test = Test::up(&[]);
    for _ in 0..2 {
        assert!(test.sees(fin(From::Callee, 501 + 7)).is_idle());
    }
    let waiting = Entry { forth: (10, 10 * 52 + 8 + 5000), ..entry(Seen::Waiting) };
    for later in [1, 30, 60, 90] {
        assert!(test.looks(&there(waiting), SECOND * later, false).is_idle(), "the caller goes on");
    }
    let out = test.sees(fin(From::Caller, 101 + 900_000));
    assert_eq!(ended(&out), Some(((Cause::Normal, Cause::Normal), (900_000, 7))));
}

#[test]
fn what_waits_and_says_nothing_is_over_where_copies_were_lost() {
    let mut test = Test::up(&[]);
    let waiting = |octets: u64| Entry { forth: (2, 2 * 52 + 8 + octets), ..entry(Seen::Waiting) };
    assert!(test.looks(&there(waiting(5)), SECOND, true).is_idle());
    assert!(test.looks(&there(waiting(6)), SECOND * 31, false).is_idle(), "it said something");
    let out = test.looks(&there(waiting(6)), SECOND * 61, false);
    assert_eq!(ended(&out), Some(((Cause::Normal, Cause::Normal), (6, 0))));
    assert_eq!(out.changes, [Change::Untranslate(carriage().key())]);
    // Of one of which nothing was copied the same is true.
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    let out = test.looks(&there(waiting(5)), SECOND, true);
    assert!(matches!(out.reports[..], [(_, Report::Established { .. })]));
    assert!(test.looks(&there(waiting(5)), SECOND * 31, false).is_idle());
    let out = test.looks(&there(waiting(5)), SECOND * 61, false);
    assert_eq!(ended(&out), Some(((Cause::Normal, Cause::Normal), (5, 0))));
}

/// The look at all connections overtakes the copies.
#[test]
fn a_connection_that_was_found_before_its_beginning_was_read_is_counted_by_that() {
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    let out = test.audits(&there(entry(Seen::Established)), Duration::ZERO, false);
    assert!(matches!(out.reports[..], [(_, Report::Established { .. })]));
    assert!(test.sees(answer()).is_idle());
    test.sees(fin(From::Callee, 501 + 7));
    let out = test.sees(fin(From::Caller, 101 + 900_000));
    assert_eq!(ended(&out), Some(((Cause::Normal, Cause::Normal), (900_000, 7))));
    // What ended it is there, and not read yet.
    for state in [Seen::Waiting, Seen::Closed] {
        let mut test = Test::up(&[]);
        assert!(test.audits(&there(entry(state)), SECOND, false).is_idle());
        test.sees(fin(From::Callee, 501 + 7));
        let out = test.sees(fin(From::Caller, 101 + 900_000));
        assert_eq!(ended(&out), Some(((Cause::Normal, Cause::Normal), (900_000, 7))));
    }
}

/// Nobody saw it begin.
#[test]
fn a_connection_that_was_taken_up_and_ends_at_once_is_counted() {
    let mut test = Test::with(&[carriage().translation()]);
    let counted = Entry { forth: (2, 2 * 52 + 8 + 5), back: (3, 3 * 52 + 8 + 6), ..entry(Seen::Established) };
    test.tracked.entries = vec![counted];
    test.carry(Terms::default());
    test.sees(fin(From::Callee, 7));
    let out = test.sees(fin(From::Caller, 8));
    assert_eq!(ended(&out), Some(((Cause::Normal, Cause::Normal), (5, 6))));
    // It ended while there was no process.
    let mut test = Test::with(&[carriage().translation()]);
    let ended_before = Entry { state: Seen::Waiting, ..counted };
    test.tracked.entries = vec![ended_before];
    assert!(test.carry(Terms::default()).changes.is_empty());
    assert!(test.looks(&there(ended_before), SECOND, false).is_idle());
    let out = test.looks(&there(ended_before), SECOND * 31, false);
    assert_eq!(ended(&out), Some(((Cause::Normal, Cause::Normal), (5, 6))));
}

#[test]
fn what_connection_tracking_has_forgotten_is_as_it_was_when_it_was_last_asked() {
    let counted = Entry { forth: (2, 2 * 52 + 8 + 5), back: (3, 3 * 52 + 8 + 6), ..entry(Seen::Established) };
    let mut test = Test::up(&[]);
    assert_eq!(test.sessions.counted(), 0);
    assert!(test.looks(&there(counted), SECOND, false).is_idle());
    assert_eq!(test.sessions.counted(), 11, "it is seen as it grows");
    let out = test.looks(&HashMap::new(), SECOND * 31, false);
    assert_eq!(ended(&out), Some(((Cause::Reset, Cause::Reset), (5, 6))));
    assert_eq!(test.sessions.counted(), 0, "what has ended is told of");
    let mut test = Test::up(&[]);
    assert!(test.looks(&there(counted), SECOND, false).is_idle());
    test.tracked.entries.clear();
    test.drop();
    assert!(matches!(test.waits().reports[..], [(3, Report::Dropped { octets: (5, 6), .. })]));
}

/// The time between its first and its last copy says nothing where both were read together.
#[test]
fn a_long_connection_whose_copies_are_read_late_is_counted_whole() {
    for (looked, octets) in [(None, (1 << 32) + 5), (Some(SECOND), (1 << 32) + 5), (Some(Duration::ZERO), 5)]
    {
        let mut test = Test::with(&[]);
        test.carry(Terms::default());
        let looked = looked.map(|ago| test.now - ago);
        let forth = (1_000_000, (1 << 32) + 1_000_000 * 52 + 8 + 5);
        test.tracked.entries = vec![Entry { forth, ..entry(Seen::Waiting) }];
        let mut out = Outcome::default();
        for segment in [answer(), fin(From::Callee, 501), fin(From::Caller, 101 + 5)] {
            test.sessions.segment(&segment, &mut test.tracked, (test.now, looked), &mut out);
        }
        assert_eq!(ended(&out).unwrap().1.0, octets, "{looked:?}");
    }
}

#[test]
fn at_the_end_everything_goes() {
    let mut test = Test::up(&[]);
    let mut out = Outcome::default();
    test.sessions.end(test.now, &mut out);
    let out = test.settled(out, &[]);
    assert_eq!(out.changes, [Change::Untranslate(carriage().key())]);
    assert_eq!(test.tracked.told.len(), 2);
    assert!(test.sessions.is_empty());
}

#[test]
fn what_a_relay_made_from_there_gives_way() {
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    assert_eq!(test.tracked.of_relay, [Flow { caller: at(TO), local: at(FROM) }], "named by its answers");
}

#[test]
fn connections_of_ours_without_an_element_end_at_the_start() {
    let ours = |place: SocketAddr| place == at(OURS) || place == at(FROM);
    let all = |entry: Entry| HashMap::from([(entry.flow.key(), vec![entry])]);
    let mut test = Test::with(&[]);
    let stray = entry(Seen::Established);
    test.sessions.end_strays(&all(stray), &ours, &mut test.tracked);
    assert_eq!(test.tracked.forgotten, [flow()]);
    assert_eq!(test.tracked.told, [(at(OURS), at(CALLER)), (at(FROM), at(TO))]);
    // Somebody else's, of which only one address is as ours; and one that has its element.
    let mut test = Test::with(&[]);
    test.sessions.end_strays(&all(Entry { from: at("198.51.100.1:9"), ..stray }), &ours, &mut test.tracked);
    test.sessions.end_strays(&all(stray), &|place| place == at(FROM), &mut test.tracked);
    let mut held = Test::with(&[carriage().translation()]);
    held.sessions.end_strays(&all(stray), &ours, &mut held.tracked);
    assert!(test.tracked.forgotten.is_empty() && held.tracked.forgotten.is_empty());
}

/// The copy of the packet that says so comes after the order.
#[test]
fn a_connection_that_nobody_knew_of_yet_is_counted_when_it_is_dropped() {
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    let out = test.drop();
    assert_eq!(out.changes, [Change::Untranslate(carriage().key())]);
    assert!(out.reports.is_empty(), "not yet");
    test.tracked.entries = vec![Entry { forth: (2, 2 * 52 + 8 + 5), ..entry(Seen::Established) }];
    assert!(matches!(test.sees(answer()).reports[..], [(3, Report::Established { .. })]));
    let out = test.waits();
    assert!(matches!(out.reports[..], [(3, Report::Dropped { octets: (5, 0), .. })]), "{:?}", out.reports);
    assert_eq!(test.tracked.told.len(), 2);
    // If nobody has come, that is said then.
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    test.drop();
    assert!(matches!(test.waits().reports[..], [(3, Report::Dropped { octets: (0, 0), .. })]));
}

#[test]
fn what_is_dropped_when_it_has_ended_waits_for_how_it_did() {
    let mut test = Test::up(&[]);
    // A SYN and a RST of somebody who was quicker than we.
    test.tracked.entries = vec![Entry { forth: (2, 80), ..entry(Seen::Closed) }];
    let out = test.drop();
    assert!(out.changes.is_empty() && out.reports.is_empty(), "its RST is on the way to us");
    let out = test.sees(Segment { rst: true, sequence: 106, ..segment(FROM, TO) });
    let [(3, Report::Ended { octets, .. }), (3, Report::Dropped { .. })] = out.reports[..] else {
        panic!("{:?}", out.reports);
    };
    assert_eq!(octets.0, 5);
    assert_eq!(out.changes, [Change::Untranslate(carriage().key())]);

    // It is not waited for long.
    let mut test = Test::up(&[]);
    test.drop();
    let at = test.now + COPIES;
    let mut out = Outcome::default();
    test.sessions.on_time(&mut test.tracked, at - Duration::from_millis(1), &mut out);
    assert!(out.is_idle());
    test.sessions.on_time(&mut test.tracked, at, &mut out);
    let out = test.settled(out, &[]);
    assert!(matches!(out.reports[..], [(3, Report::Dropped { octets: (0, 0), .. })]));
}
