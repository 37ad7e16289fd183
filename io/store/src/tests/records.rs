//! What is written is read, with the right key and by one process at a time.

use super::{audit, root, user, wall};
use crate::{Error, RootKey, Store, codec};
use carnet_keys::{Group, KeyRing, Pattern, Rule, Rules};
use carnet_mikey::Identity;
use carnet_wire::SeededRandom;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.redb");
    let mut rng = SeededRandom::new(1);
    let key = KeyRing::make(wall(), &mut rng);
    let group = Group {
        identity: Identity::from_uri("sip:desk@x.example").unwrap(),
        members: vec![pattern("sip:conf-*@x.example"), pattern("sip:alice@x.example")],
    };
    let rules = Rules::new(
        vec![
            Rule { from: pattern("*"), to: pattern("sip:bob@x.example"), allow: false },
            Rule { from: pattern("sip:a@x.example"), to: pattern("*"), allow: true },
        ],
        false,
    )
    .unwrap();
    let mut revoked = user("bob");
    revoked.revoked = true;
    revoked.tickets_not_before = Some(wall());
    {
        let store = Store::open(&path, root()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        store.put_user(&user("alice")).unwrap();
        store.put_users(&[user("carol"), revoked]).unwrap();
        store.put_user(&user("gone")).unwrap();
        assert!(store.remove_user("gone").unwrap() && !store.remove_user("gone").unwrap());
        store.put_group(&group).unwrap();
        store.put_rules(&Rules::default()).unwrap();
        store.put_rules(&rules).unwrap();
        store.put_ticket_key(&key).unwrap();
        store.revoke_tickets_before(wall()).unwrap();
        for n in [7, 8] {
            store.revoke_ticket(&audit(n), wall()).unwrap();
        }
        store.forget_revoked(&[audit(8).ticket]).unwrap();
        assert_eq!(store.append_audit(&[audit(0), audit(1)]).unwrap(), 4);
        assert_eq!(store.append_audit(&[audit(2)]).unwrap(), 5);
    }
    let store = Store::open(&path, root()).unwrap();
    let contents = store.load().unwrap();
    let d = &contents.directory;
    assert_eq!(d.users().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["alice", "bob", "carol"]);
    assert!(d.user("alice").unwrap().psk == user("alice").psk);
    assert_eq!(d.user("bob").unwrap().tickets_not_before, Some(wall()));
    assert!(d.user("bob").unwrap().revoked && !d.user("alice").unwrap().revoked);
    assert_eq!(d.groups().collect::<Vec<_>>(), [&group]);
    assert_eq!(contents.rules, rules);
    assert!(contents.ring.current().unwrap().tpk == key.tpk);
    assert_eq!(contents.ring.current().unwrap().made, wall());
    assert_eq!(contents.tickets_not_before, Some(wall()));
    assert_eq!(contents.revoked.until(&audit(7).ticket), Some(wall()));
    assert_eq!(contents.revoked.until(&audit(8).ticket), None);
    let trail = store.audit(4, 10).unwrap();
    assert_eq!(trail, [(4, audit(1)), (5, audit(2))]);
    assert_eq!(store.audit(1, 1).unwrap(), [(1, audit(7))]);
    assert_eq!(store.last_audit().unwrap(), 5);
    store.remove_ticket_keys(&[key.id]).unwrap();
    assert!(store.load().unwrap().ring.current().is_err());
}

#[test]
fn keys_are_not_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.redb");
    let mut alice = user("alice");
    alice.psk = carnet_mikey::Psk::new(b"an octet string easy to look for").unwrap();
    Store::open(&path, root()).unwrap().put_user(&alice).unwrap();
    let file = std::fs::read(&path).unwrap();
    assert!(file.windows(5).any(|w| w == b"alice"));
    assert!(!file.windows(12).any(|w| w == b"octet string"));
}

#[test]
fn a_sealed_key_opens_only_where_it_belongs() {
    let octets = codec::user(&user("alice"), &root()).unwrap();
    assert!(codec::read_user("alice", &octets, &root()).is_ok());
    assert!(matches!(codec::read_user("mallory", &octets, &root()), Err(Error::Record("users"))));
    assert!(codec::read_user("alice", &octets, &RootKey::new([4; 32])).is_err());
    assert!(codec::read_ticket_key("alice", &octets, &root()).is_err());
}

#[test]
fn the_wrong_root_key_and_a_second_process_are_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.redb");
    let store = Store::open(&path, root()).unwrap();
    assert!(matches!(Store::open(&path, root()), Err(Error::Busy)));
    drop(store);
    assert!(matches!(Store::open(&path, RootKey::new([9; 32])), Err(Error::WrongRootKey)));
    assert!(Store::open(&path, root()).is_ok());
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.redb");
    std::fs::write(&path, b"these are my notes").unwrap();
    assert!(Store::open(&path, root()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"these are my notes");
}

#[test]
fn the_root_key_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    assert!(matches!(RootKey::read(&path), Err(Error::File { .. })));
    RootKey::create(&path, &mut SeededRandom::new(1)).unwrap();
    assert!(RootKey::create(&path, &mut SeededRandom::new(1)).is_err());
    let sealed = RootKey::read(&path).unwrap().seal("t", "n", &[1; 32]).unwrap();
    assert_eq!(RootKey::read(&path).unwrap().open("t", "n", &sealed).unwrap().as_slice(), [1; 32]);
    let mode = |m| std::fs::set_permissions(&path, PermissionsExt::from_mode(m)).unwrap();
    mode(0o644);
    assert!(matches!(RootKey::read(&path), Err(Error::RootKey(_))));
    mode(0o600);
    for bad in ["", "zz", &"ab".repeat(31), &"ab".repeat(33)] {
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(RootKey::read(&path), Err(Error::RootKey(_))), "{bad}");
    }
}

#[test]
fn keys_that_cannot_be_sealed_are_refused() {
    for len in [16, 24, 32, 64] {
        assert_eq!(root().seal("t", "n", &vec![1; len]).unwrap().len(), len + 8);
    }
    for len in [0, 8, 17, 33] {
        assert!(matches!(root().seal("t", "n", &vec![1; len]), Err(Error::KeyLength)), "{len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_records_are_errors(octets in proptest::collection::vec(any::<u8>(), 0..120), at in 0usize..200, bit in 0u8..8) {
        let _ = codec::read_audit(&octets);
        let _ = codec::read_group(&octets);
        let _ = codec::read_rule(&octets);
        let _ = codec::read_time(&octets);
        let _ = codec::read_user("u", &octets, &root());
        let mut record = codec::audit(&audit(1));
        prop_assert_eq!(codec::read_audit(&record).unwrap(), audit(1));
        let at = at % record.len();
        record[at] ^= 1 << bit;
        let _ = codec::read_audit(&record);
    }

    #[test]
    fn times_keep_their_nanoseconds(nanos in 0..u64::MAX) {
        let t = std::time::UNIX_EPOCH + Duration::from_nanos(nanos);
        prop_assert_eq!(codec::read_time(&codec::time(t)).unwrap(), t);
    }
}
