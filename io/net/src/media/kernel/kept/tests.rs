use super::*;

const PATIENCE: Duration = Duration::from_millis(800);

fn local(port: u16) -> SocketAddr {
    SocketAddr::new([192, 0, 2, 1].into(), port)
}

fn early(last: u8, from: u16, port: u16) -> Early {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, last, 192, 0, 2, 1];
    packet.extend(from.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 1, 0, 0, 0, 0, 0]);
    Early::read(&packet).unwrap()
}

fn pinhole(number: u64) -> Pinhole {
    Pinhole { group: 1, number }
}

/// A place with a pinhole, from the first moment.
fn kept() -> (Kept, Outcome, Instant) {
    let (mut kept, mut out) = (Kept::new(PATIENCE), Outcome::default());
    kept.keep(0, pinhole(1), local(1), &mut out);
    assert_eq!(out.changes, [Change::Keep(local(1), true)]);
    assert!(matches!(out.reports[..], [(0, Report::Kept { pinhole: of })] if of == pinhole(1)));
    out = Outcome::default();
    (kept, out, Instant::now())
}

#[test]
fn callers_wait_until_it_is_decided() {
    let (mut kept, mut out, now) = kept();
    for from in [7, 8] {
        assert_eq!(kept.come(early(1, from, 1), now), 0);
    }
    assert_eq!((kept.callers(), kept.take_ready()), (2, vec![]));
    kept.let_go(local(1), &mut out);
    assert_eq!(out.changes, [Change::Keep(local(1), false)]);
    assert_eq!(kept.take_ready(), [early(1, 7, 1), early(1, 8, 1)]);
    assert_eq!((kept.callers(), kept.take_ready()), (0, vec![]));
    // To let go twice changes nothing.
    kept.let_go(local(1), &mut out);
    assert_eq!(out.changes.len(), 1);
    // What was copied a moment before that goes the same way.
    kept.come(early(1, 9, 1), now);
    assert_eq!(kept.take_ready(), [early(1, 9, 1)]);
}

#[test]
fn who_is_led_on_is_put_back_before_all_others() {
    let (mut kept, mut out, now) = kept();
    for last in [2, 1, 3] {
        kept.come(early(last, 7, 1), now);
    }
    kept.lead_on(local(1), early(1, 7, 1).flow.caller.ip(), now, &mut out);
    assert_eq!((kept.take_ready(), kept.callers()), (vec![early(1, 7, 1)], 0));
    assert_eq!(kept.next_time(), Some(now + PATIENCE));
    kept.on_time(now + PATIENCE, &mut out);
    assert_eq!(kept.take_ready(), [early(2, 7, 1), early(3, 7, 1)]);
    assert!(out.reports.is_empty() && kept.next_time().is_none());
    // If nobody has come from there, nobody waits for that.
    kept.keep(0, pinhole(1), local(1), &mut out);
    kept.come(early(2, 8, 1), now);
    kept.lead_on(local(1), early(1, 7, 1).flow.caller.ip(), now, &mut out);
    assert_eq!(kept.take_ready(), [early(2, 8, 1)]);
}

#[test]
fn who_calls_again_is_there_once() {
    let (mut kept, _, now) = kept();
    for _ in 0..100 {
        assert_eq!(kept.come(early(1, 7, 1), now), 0);
    }
    assert_eq!(kept.callers(), 1);
}

#[test]
fn they_are_overdue_once_and_not_before() {
    let (mut kept, mut out, now) = kept();
    kept.on_time(now + 2 * PATIENCE, &mut out);
    assert!(out.is_idle(), "nobody waits");
    kept.come(early(1, 7, 1), now);
    kept.come(early(1, 8, 1), now + PATIENCE / 2);
    assert_eq!(kept.next_time(), Some(now + PATIENCE));
    kept.on_time(now + PATIENCE - Duration::from_millis(1), &mut out);
    assert!(out.is_idle());
    assert_eq!(kept.on_time(now + PATIENCE, &mut out), 2);
    assert!(matches!(out.reports[..], [(0, Report::Overdue { pinhole: of })] if of == pinhole(1)));
    assert_eq!(out.changes, [Change::Keep(local(1), false)]);
    assert_eq!(kept.take_ready().len(), 2);
    assert_eq!(kept.next_time(), None);
}

#[test]
fn a_place_that_is_kept_anew_has_its_whole_time() {
    let (mut kept, mut out, now) = kept();
    kept.come(early(1, 7, 1), now);
    kept.let_go(local(1), &mut out);
    kept.keep(0, pinhole(1), local(1), &mut out);
    out.reports.clear();
    let later = now + PATIENCE / 2;
    kept.come(early(1, 8, 1), later);
    kept.on_time(now + PATIENCE, &mut out);
    assert!(out.reports.is_empty());
    assert_eq!(kept.callers(), 1);
    kept.on_time(later + PATIENCE, &mut out);
    assert_eq!(out.reports.len(), 1);
}

#[test]
fn of_a_pinhole_that_is_gone_nothing_is_put_back() {
    let (mut kept, mut out, now) = kept();
    kept.come(early(1, 7, 1), now);
    kept.forget(local(1), &mut out);
    assert_eq!(out.changes, [Change::Keep(local(1), false)]);
    assert_eq!((kept.callers(), kept.take_ready()), (0, vec![]));
}

#[test]
fn a_flood_from_one_source_is_the_first_to_go() {
    let (mut kept, mut out, now) = kept();
    kept.come(early(1, 7, 1), now);
    let lost: u64 = (0..5000).map(|from| kept.come(early(2, 1024 + from, 1), now)).sum();
    assert_eq!(lost, 5001 - CALLERS as u64);
    assert_eq!(kept.callers(), CALLERS);
    kept.let_go(local(1), &mut out);
    let ready = kept.take_ready();
    assert!(ready.contains(&early(1, 7, 1)), "{ready:?}");
    assert_eq!(ready.len(), CALLERS);
}

#[test]
fn all_places_together_have_no_more_than_there_is_room_for() {
    let (mut kept, mut out, now) = (Kept::new(PATIENCE), Outcome::default(), Instant::now());
    let mut lost = 0;
    for port in 1..=2000 {
        kept.keep(0, pinhole(port.into()), local(port), &mut out);
        for from in 1..=3 {
            lost += kept.come(early(1, from, port), now);
        }
    }
    assert_eq!((kept.callers(), lost), (MOST, 6000 - MOST as u64));
    // Who is there already may call again.
    assert_eq!(kept.come(early(1, 1, 1), now), 0);
    kept.on_time(now + PATIENCE, &mut out);
    assert_eq!(kept.callers(), 0);
    // Nor are there more of those who came too late for that.
    assert_eq!(kept.take_ready().len(), MOST);
    let lost: u64 = (0..6000).map(|from| kept.come(early(1, from, 1), now)).sum();
    assert_eq!(lost, 6000 - MOST as u64);
}

#[test]
fn what_the_kernel_does_not_keep_is_not_waited_for() {
    let (mut kept, mut out, now) = kept();
    kept.come(early(1, 7, 1), now);
    kept.refused(local(1));
    assert_eq!(kept.take_ready(), [early(1, 7, 1)]);
    kept.on_time(now + PATIENCE, &mut out);
    assert!(out.is_idle());
}
