//! Sessions against a connection tracking of our own.

use super::*;
use carnet_gateway::media::Pinhole;

#[derive(Default)]
struct Tracked {
    entries: Vec<Entry>,
    forgotten: Vec<Flow>,
    /// Connections whose answers come to our address at the callee's: a relay's, or those of another pinhole.
    of_relay: Vec<Flow>,
    told: Vec<(SocketAddr, SocketAddr)>,
}

impl Tracking for Tracked {
    fn expect(&mut self, _: &[Flow]) {}

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

    fn sees(&mut self, segment: Segment) -> Outcome {
        let mut out = Outcome::default();
        self.sessions.segment(&segment, &mut self.tracked, self.now, &mut out);
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
fn what_is_held_stays_so_until_it_is_forgotten() {
    let mut test = Test::with(&[]);
    let rate = Rate { octets_per_second: 8, burst: 9 };
    let terms = Terms { held: true, rates: (Some(rate), None), dscp: (None, Some(46)) };
    let key = carriage().key();
    let out = test.carry(terms);
    let rate = carnet_netfilter::Rate { octets_per_second: 8, burst: 9 };
    let asked = [
        Change::Translate(carriage().translation()),
        Change::Hold(key, true),
        Change::Police(key, Way::Forth, Some(rate)),
        Change::Mark(key, Way::Forth, Some(46)),
    ];
    assert_eq!(out.changes, asked);
    assert!(test.carry(terms).is_idle(), "nothing has changed");
    let out = test.drop();
    let gone = [
        Change::Untranslate(key),
        Change::Police(key, Way::Forth, None),
        Change::Mark(key, Way::Forth, None),
    ];
    assert_eq!((&out.changes[..], &out.later[..]), (&gone[..], &[Change::Hold(key, false)][..]));
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

#[test]
fn an_audit_finds_what_was_not_seen() {
    let of = |state| HashMap::from([(carriage().key(), vec![entry(state)])]);
    let later = |test: &Test| test.now + Duration::from_secs(1);
    let audit = |test: &mut Test, entries: &HashMap<_, _>, at| {
        let mut out = Outcome::default();
        test.sessions.audit(entries, at, &mut test.tracked, &mut out);
        out
    };
    let mut test = Test::up(&[]);
    let (begun, at) = (test.now, later(&test));
    assert!(audit(&mut test, &of(Seen::Established), at).is_idle());
    assert!(audit(&mut test, &HashMap::new(), begun).is_idle(), "it came up after the look began");
    let out = audit(&mut test, &HashMap::new(), at);
    assert_eq!(ended(&out).unwrap().0, (Cause::Reset, Cause::Reset));
    let mut test = Test::up(&[]);
    assert_eq!(ended(&audit(&mut test, &of(Seen::Closed), at)).unwrap().0, (Cause::Normal, Cause::Normal));
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    let out = audit(&mut test, &of(Seen::Established), at);
    assert!(matches!(out.reports[..], [(_, Report::Established { .. })]));
    // One that began just as its element went.
    let mut test = Test::with(&[]);
    test.carry(Terms::default());
    test.drop();
    assert!(test.sessions.wants_audit());
    audit(&mut test, &of(Seen::Established), at);
    assert_eq!((test.tracked.forgotten.len(), test.tracked.told.len()), (1, 2));
    assert!(!test.sessions.wants_audit());
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
    let at = test.sessions.next_time().unwrap();
    let mut out = Outcome::default();
    test.sessions.on_time(&mut test.tracked, at - Duration::from_millis(1), &mut out);
    assert!(out.is_idle());
    test.sessions.on_time(&mut test.tracked, at, &mut out);
    let out = test.settled(out, &[]);
    assert!(matches!(out.reports[..], [(3, Report::Dropped { octets: (0, 0), .. })]));
}
