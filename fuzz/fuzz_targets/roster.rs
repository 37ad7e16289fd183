//! Conference-info documents: refused inside their bounds, or printed and read again as the same; a watcher
//! who is told what differs between two rosters has the second.
#![no_main]

use carnet_roster::{Applied, Document, Limits, Roster, View};
use libfuzzer_sys::fuzz_target;

fn roster(octets: &[u8], limits: &Limits) -> Option<Roster> {
    let document = Document::parse(octets, limits).ok()?;
    let again = Document::parse(document.print().as_bytes(), limits);
    assert_eq!(again.as_ref(), Ok(&document));
    let roster = document.roster().ok()?;
    assert_eq!(roster.document(1).roster().as_ref(), Ok(&roster));
    Some(roster)
}

/// Those that RFC 4575 §4.5 can tell apart, in one order.
fn keyed(mut roster: Roster) -> Option<Roster> {
    roster.users.sort_by(|a, b| a.entity.cmp(&b.entity));
    let once = |keys: Vec<&str>| keys.windows(2).all(|pair| pair.first() != pair.last());
    for user in &mut roster.users {
        user.endpoints.sort_by(|a, b| a.entity.cmp(&b.entity));
        for endpoint in &mut user.endpoints {
            endpoint.media.sort_by(|a, b| a.id.cmp(&b.id));
            once(endpoint.media.iter().map(|m| m.id.as_str()).collect()).then_some(())?;
        }
        once(user.endpoints.iter().map(|e| e.entity.as_str()).collect()).then_some(())?;
    }
    once(roster.users.iter().map(|u| u.entity.as_str()).collect()).then_some(roster)
}

fuzz_target!(|input: &[u8]| {
    let limits = Limits::default();
    let mut parts = input.split(|b| *b == 0xff);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut view = View::new(limits);
    let _ = view.read(first);
    let _ = view.read(second);
    let (Some(old), Some(new)) = (roster(first, &limits), roster(second, &limits)) else { return };
    let Some(document) = Roster::diff(&old, &new, 2) else { return };
    let mut view = View::new(limits);
    assert!(matches!(view.apply(&old.document(1)), Ok(Applied::Changed(_))));
    for part in document.split(200) {
        let taken = view.read(part.print().as_bytes());
        assert!(matches!(taken, Ok(Applied::Changed(_))), "{taken:?}");
    }
    // Extensions and sidebars may stand in another order.
    let plain = |roster: &Roster| {
        let mut roster = roster.clone();
        roster.extra = Default::default();
        roster.users_extra = Default::default();
        for user in &mut roster.users {
            user.extra = Default::default();
            for endpoint in &mut user.endpoints {
                endpoint.extra = Default::default();
                endpoint.media.iter_mut().for_each(|m| m.extra = Default::default());
            }
        }
        keyed(roster)
    };
    if let (Some(_), Some(new)) = (plain(&old), plain(&new)) {
        assert_eq!(plain(view.roster()), Some(new));
    }
});
