//! AUTH: who is granted a URI, and how many (RFC 4976 §6.3, §9.1).

#![allow(clippy::unwrap_used)]

mod net;

use carnet_relay::Reason;
use net::{Client, Net, RELAY, field, settings};
use std::time::Duration;

fn somebody(net: &mut Net, user: &str) -> Client {
    let id = net.connect();
    Client { id, user: user.into(), own: format!("msrp://{user}.invalid:9/x;tcp"), uri: String::new() }
}

#[test]
fn a_password_is_asked_for_and_a_uri_granted() {
    let mut net = Net::new();
    let alice = somebody(&mut net, "alice");
    let challenge = alice.ask(&mut net, "");
    assert!(challenge.starts_with("MSRP ask1 401 Unauthorized\r\n"), "{challenge}");
    assert_eq!(
        (field(&challenge, "To-Path"), field(&challenge, "From-Path")),
        (Some(&*alice.own), Some(RELAY))
    );
    assert!(challenge.contains("qop=\"auth\"") && challenge.contains("algorithm=MD5"));
    // With and without `uri`, with and without `opaque`.
    for more in
        ["", ", opaque=\"0\"", &format!(", uri=\"{RELAY}\""), ", uri=\"MSRPS://RELAY.example:2855;TCP\""]
    {
        let challenge = alice.ask(&mut net, "");
        let proof = alice.proof(&challenge, "'s-word", more);
        let granted = alice.ask(&mut net, &proof);
        // Another spelling of the URI is what the digest is over then.
        let over_another = more.contains("MSRPS");
        assert_eq!(granted.starts_with("MSRP ask1 200 OK\r\n"), !over_another, "{more}: {granted}");
        if over_another {
            continue;
        }
        let uri = field(&granted, "Use-Path").unwrap();
        let secret = uri.strip_prefix("msrps://relay.example:2855/").unwrap().strip_suffix(";tcp").unwrap();
        assert!(secret.len() >= 32 && field(&granted, "Expires") == Some("1800"));
        let info = field(&granted, "Authentication-Info").unwrap();
        for part in ["nextnonce=", "rspauth=", "cnonce=\"c\"", "nc=00000001", "qop=auth"] {
            assert!(info.contains(part), "{info}");
        }
        // For another URI than the one that is asked.
        let challenge = alice.ask(&mut net, "");
        let other = alice.proof(&challenge, "'s-word", ", uri=\"msrps://other.example:2855;tcp\"");
        assert!(alice.ask(&mut net, &other).contains(" 401 "));
    }
}

#[test]
fn wrong_passwords_spent_and_old_nonces() {
    let mut net = Net::new();
    let alice = somebody(&mut net, "alice");
    let challenge = alice.ask(&mut net, "");
    let wrong = alice.proof(&challenge, "'s-guess", "");
    let refused = alice.ask(&mut net, &wrong);
    assert!(refused.contains(" 401 ") && !refused.contains("stale"), "{refused}");
    let right = alice.proof(&challenge, "'s-word", "");
    assert!(alice.ask(&mut net, &right).contains(" 200 "));
    assert!(alice.ask(&mut net, &right).contains(" 401 "), "a proof is good once");
    let challenge = alice.ask(&mut net, "");
    net.wait(Duration::from_secs(301));
    let late = alice.proof(&challenge, "'s-word", "");
    let stale = alice.ask(&mut net, &late);
    assert!(stale.contains("stale=true"), "{stale}");
    let right = alice.proof(&stale, "'s-word", "");
    assert!(alice.ask(&mut net, &right).contains(" 200 "));
    assert_eq!(net.relay.counts().denied, 2);
}

#[test]
fn several_failures_end_the_connection() {
    let mut net = Net::new();
    let eve = somebody(&mut net, "eve");
    let mut asked = 0;
    while net.closed.is_empty() {
        let challenge = eve.ask(&mut net, "");
        assert!(challenge.contains(" 401 "));
        asked += 1;
    }
    assert_eq!((asked, &net.closed), (6, &vec![(eve.id, Reason::Failures)]));
    // A success begins anew.
    let mut net = Net::new();
    let alice = somebody(&mut net, "alice");
    for _ in 0..20 {
        assert!(alice.authenticate(&mut net, "").contains(" 200 "));
    }
    assert!(net.closed.is_empty());
}

#[test]
fn times_are_bounded_and_kept() {
    let mut net = Net::new();
    let alice = somebody(&mut net, "alice");
    let short = alice.authenticate(&mut net, "Expires: 59\r\n");
    assert!(short.contains(" 423 ") && field(&short, "Min-Expires") == Some("60"), "{short}");
    let long = alice.authenticate(&mut net, "Expires: 86401\r\n");
    assert!(long.contains(" 423 ") && field(&long, "Max-Expires") == Some("86400"), "{long}");
    assert!(alice.authenticate(&mut net, "Expires: x\r\n").contains(" 400 "));
    let granted = alice.authenticate(&mut net, "Expires: 60\r\n");
    assert_eq!((field(&granted, "Expires"), net.relay.counts().sessions), (Some("60"), 1));
    net.wait(Duration::from_secs(61));
    assert_eq!(net.relay.counts().sessions, 0);
}

#[test]
fn uris_are_counted() {
    let mut settings = settings();
    (settings.limits.per_user, settings.limits.sessions) = (2, 3);
    let mut net = Net::with(settings);
    let (alice, bob) = (somebody(&mut net, "alice"), somebody(&mut net, "bob"));
    for expected in [" 200 ", " 200 ", " 403 "] {
        assert!(alice.authenticate(&mut net, "").contains(expected));
    }
    for expected in [" 200 ", " 403 "] {
        assert!(bob.authenticate(&mut net, "").contains(expected));
    }
    // With the connection its URIs go.
    net.relay.closed(alice.id);
    assert_eq!(net.relay.counts().sessions, 1);
    assert!(bob.authenticate(&mut net, "").contains(" 200 "));
    net.relay.drain();
    assert!(somebody(&mut net, "carol").authenticate(&mut net, "").contains(" 403 "));
}

#[test]
fn connections_are_counted_by_source_and_must_succeed_in_time() {
    let mut settings = settings();
    settings.limits.per_source = Some(2);
    let mut net = Net::with(settings);
    let (first, _second) = (net.connect(), net.connect());
    let now = net.now;
    assert!(net.relay.accepted(now, 0, "::ffff:192.0.2.1".parse().unwrap()).is_none(), "the same source");
    assert!(net.relay.accepted(now, 0, "192.0.2.2".parse().unwrap()).is_some());
    net.relay.closed(first);
    let id = net.connect();
    assert_eq!(net.relay.counts().turned_away, 1);
    // RFC 4976 §6.1
    net.wait(Duration::from_secs(31));
    assert!(net.closed.contains(&(id, Reason::Probation)));
    let mut net = Net::new();
    let alice = net.client("alice");
    net.wait(Duration::from_secs(1000));
    assert!(net.closed.is_empty());
    net.wait(Duration::from_secs(3600));
    assert_eq!(net.closed, [(alice.id, Reason::Idle)], "an hour after its URI has ended");
}

#[test]
fn one_relay_is_asked_through_another() {
    let mut net = Net::new();
    // We are the inner one: what is for another goes on, and its answer comes back.
    let alice = net.client("alice");
    let outer = "msrps://outer.example:9000;tcp";
    net.give(
        alice.id,
        format!(
            "MSRP ask2 AUTH\r\nTo-Path: {} {outer}\r\nFrom-Path: {}\r\nExpires: 9\r\n-------ask2$\r\n",
            alice.uri, alice.own
        ),
    );
    let (way, host, port, secure) = net.connects.remove(0);
    assert_eq!((host.as_str(), port, secure), ("outer.example", 9000, true));
    net.relay.connected(net.now, way);
    net.run();
    let asked = net.take(way);
    assert_eq!(field(&asked, "To-Path"), Some(outer));
    assert_eq!(field(&asked, "From-Path"), Some(&*alice.path()));
    assert!(asked.contains("Expires: 9\r\n") && !asked.starts_with("MSRP ask2"));
    let name = net::tid(&asked).to_owned();
    let challenge = "WWW-Authenticate: Digest realm=\"o\", nonce=\"n\", qop=\"auth\"";
    let refusal = format!(
        "MSRP {name} 401 Unauthorized\r\nTo-Path: {}\r\nFrom-Path: {outer}\r\n{challenge}\r\n-------{name}$\r\n",
        alice.path()
    );
    net.give(way, &refusal);
    assert_eq!(
        net.take(alice.id),
        format!(
            "MSRP ask2 401 Unauthorized\r\nTo-Path: {}\r\nFrom-Path: {} {outer}\r\n{challenge}\r\n-------ask2$\r\n",
            alice.own, alice.uri
        )
    );
    net.give(way, &refusal);
    assert_eq!(net.take(alice.id), "", "answered once");
    // We are the outer one: the URIs on the way stand before ours.
    let inner = net.client("bob");
    let far = "msrps://inner.example:9000/t0ken;tcp msrps://carol.invalid:9/c;tcp";
    let carol = Client { own: far.into(), user: "carol".into(), ..inner };
    let granted = carol.authenticate(&mut net, "");
    assert_eq!(field(&granted, "To-Path"), Some(far), "back by the whole path");
    assert!(
        field(&granted, "Use-Path")
            .unwrap()
            .starts_with("msrps://inner.example:9000/t0ken;tcp msrps://relay.example:2855/")
    );
}
