//! What a client says when the key server itself, by its own rules, gives no ticket.

use super::*;

/// How alice's call to `callee` ends.
async fn ending(kms: SocketAddr, callee: &str, edit: impl FnOnce(&mut UeConfig)) -> (String, String) {
    let mut pair = pair(Some(kms), |alice, _| edit(alice)).await;
    pair.alice.call(callee).await.unwrap();
    let ended = wait(&mut pair.alice_events, |event| matches!(event, UeEvent::Ended { .. })).await;
    let UeEvent::Ended { failure: Some((word, sentence)), .. } = ended else { panic!("{ended:?}") };
    (word.to_string(), sentence)
}

#[tokio::test]
async fn a_wrong_key_and_a_revoked_account_are_told_apart() {
    let address = kms(&["alice", "bob"]).await;
    let wrong = |alice: &mut UeConfig| alice.kms.as_mut().unwrap().key = key("zoe");
    let (word, sentence) = ending(address, "sip:bob@example.com", wrong).await;
    assert_eq!(word, "kms-key");
    assert!(sentence.contains("the key shared with it is wrong"), "{sentence}");

    let revoked = |kms: &mut Kms| kms.directory_mut().user_mut("alice").unwrap().revoked = true;
    let address = kms_with(&["alice", "bob"], SystemTime::now(), revoked).await;
    let (word, sentence) = ending(address, "sip:bob@example.com", |_| {}).await;
    assert_eq!(word, "kms-refused");
    assert!(sentence.contains("it has revoked our account"), "{sentence}");
}

#[tokio::test]
async fn somebody_it_does_not_know_or_does_not_allow() {
    let forbid = |kms: &mut Kms| kms.set_rules(Rules::new(Vec::new(), false).unwrap());
    let strict = kms_with(&["alice", "bob"], SystemTime::now(), forbid).await;
    let usual = kms(&["alice", "bob"]).await;
    for (address, callee) in [(usual, "sip:zoe@example.com"), (strict, "sip:bob@example.com")] {
        let (word, sentence) = ending(address, callee, |_| {}).await;
        assert_eq!(word, "kms-refused");
        assert!(sentence.contains("does not know who was called, its rules forbid the call"), "{sentence}");
    }
    let elsewhere = |alice: &mut UeConfig| alice.kms.as_mut().unwrap().identity = "sip:kms.elsewhere".into();
    let (_, sentence) = ending(usual, "sip:bob@example.com", elsewhere).await;
    assert!(sentence.contains("its own name is not the one we use"), "{sentence}");
}

#[tokio::test]
async fn a_call_in_the_moment_the_key_server_starts_comes_through() {
    // It refuses what is older than a moment from now: what is asked at once, and not what is asked a
    // second later. On a machine that is busy the moment may be over before anything is asked.
    let mut early = 0;
    while early == 0 {
        let start = SystemTime::now() + Duration::from_millis(800);
        let address = kms_with(&["alice", "bob"], start, |_| {}).await;
        let mut pair = pair(Some(address), |_, _| {}).await;
        let asked = SystemTime::now();
        pair.alice.call("sip:bob@example.com").await.unwrap();
        sealed(&mut pair.bob_events).await;
        early += usize::from(asked + Duration::from_millis(100) < start);
    }

    let never = kms_with(&["alice", "bob"], SystemTime::now() + Duration::from_secs(60), |_| {}).await;
    let (word, sentence) = ending(never, "sip:bob@example.com", |_| {}).await;
    assert_eq!(word, "kms-clock");
    assert!(sentence.contains("only just started"), "{sentence}");
}
