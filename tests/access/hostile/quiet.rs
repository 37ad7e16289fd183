//! The same without anybody who means harm: what the other tests compare with.

use super::{AT_ONCE, CALLS, Realm, Stage};

#[test]
fn nobody_means_harm() {
    let Some(mut stage) = Stage::new(Realm::default()) else { return };
    assert_eq!(stage.people(CALLS, AT_ONCE), CALLS, "{}", stage.lab.output("people", "out"));
    stage.stands();
}
