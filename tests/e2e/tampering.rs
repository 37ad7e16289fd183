//! Somebody between the two operators changes what passes. Whatever is changed, nothing is said in
//! clear: the call ends with one sentence for the person at each end, and every gateway gives
//! everything back.

use crate::lab::Lab;
use crate::meddler::{Meddler, nudge, with_body, without};
use crate::network::{self, MEDIA_HOSTS, PATIENCE};
use crate::sealed::{let_go, media_sockets};
use std::time::Duration;

/// A refusal is seen and said within this time.
const SOON: Duration = Duration::from_secs(20);

/// The network with somebody on the way from operator A to operator B, and bob listening.
pub fn meddled(lab: &mut Lab) -> Meddler {
    network::build(lab);
    lab.join("meddler", "peers", "192.0.2.9/24");
    lab.edit("interconnect-a.toml", "sip:192.0.2.3;transport=tcp", "sip:192.0.2.9;transport=tcp");
    lab.edit("interconnect-b.toml", "peers = [\"192.0.2.1\"]", "peers = [\"192.0.2.1\", \"192.0.2.9\"]");
    let meddler = Meddler::start(lab, "meddler", "192.0.2.9:5060", "192.0.2.3:5060");
    network::start(lab);
    network::ue(lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    meddler
}

/// What one end shows when a call ends: its word, or words of its sentence.
struct Shown {
    error: &'static str,
    sentence: &'static str,
}

const fn shown(error: &'static str, sentence: &'static str) -> Option<Shown> {
    Some(Shown { error, sentence })
}

/// alice calls with this change on the way; what is to be seen at her end, and at bob's if he
/// hears of it.
struct Case {
    name: &'static str,
    change: fn(&str) -> String,
    alice: Option<Shown>,
    bob: Option<Shown>,
}

/// The `ended` events in an output that hold a reason: words and sentences.
fn endings(output: &str) -> Vec<(String, String)> {
    let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let events = output.lines().filter_map(read).filter(|event| event["reason"].is_string());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    events.map(|event| (text(&event["error"]), text(&event["reason"]))).collect()
}

/// `start` picks the message that is changed.
fn try_all(lab: &mut Lab, meddler: &Meddler, start: &'static str, cases: &[Case]) {
    for case in cases {
        let heard = lab.output("bob", "out").len();
        let change = case.change;
        meddler.now(move |message| {
            let wanted = message.starts_with(start) && message.contains("\r\nm=");
            if wanted { with_body(&message, change) } else { message }
        });
        call(lab, case.name, "sip:bob@b.example", heard, case.alice.as_ref(), case.bob.as_ref());
    }
    meddler.now(|message| message);
}

/// No connection came up, neither sealed nor in clear.
fn is_unspoken(output: &str) -> bool {
    ["\"event\":\"clear\"", "\"event\":\"sealed\""].iter().all(|event| !output.contains(event))
}

/// One call by alice that must come to nothing, and leave nothing.
fn call(lab: &mut Lab, name: &str, to: &str, heard: usize, alice: Option<&Shown>, bob: Option<&Shown>) {
    let process = network::ue(lab, "alice", &["chat", to]);
    let code = lab.process(process).wait(SOON);
    let said = lab.output("alice", "out");
    if code != Some(1) {
        lab.show();
    }
    assert_eq!(code, Some(1), "{name}: {said}");
    assert!(is_unspoken(&said), "{name}: {said}");
    let found = endings(&said);
    assert!(!found.is_empty(), "{name}: alice is not told why: {said}");
    if let Some(expected) = alice {
        assert!(
            found.iter().any(|(e, s)| e == expected.error && s.contains(expected.sentence)),
            "{name}: alice sees {found:?}"
        );
    }
    if let Some(expected) = bob {
        lab.until(SOON, &format!("{name}: bob sees {}", expected.error), |lab| {
            let found = endings(&lab.output("bob", "out")[heard..]);
            found.iter().any(|(e, s)| e == expected.error && s.contains(expected.sentence))
        });
    }
    let bobs = lab.output("bob", "out")[heard..].to_owned();
    assert!(is_unspoken(&bobs), "{name}: {bobs}");
    let_go(lab, SOON);
}

/// A call goes through, and leaves nothing at the gateways.
fn still_works(lab: &mut Lab) {
    let alice = network::ue(lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).say("all is well");
    lab.wait_for("bob", "out", "all is well", PATIENCE);
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "out"));
    let_go(lab, SOON);
    for (host, ..) in MEDIA_HOSTS {
        assert!(media_sockets(lab, host).is_empty(), "{host}");
    }
}

/// Everything of the offer that says TLS, turned into its counterpart in clear.
fn in_clear(body: &str) -> String {
    without(body, "a=key-mgmt").replace("TCP/TLS/MSRP", "TCP/MSRP").replace("msrps://", "msrp://")
}

/// Changes the MAC, which is the end of the key exchange.
fn nudge_proof(body: &str) -> String {
    let line = body.lines().find(|line| line.starts_with("a=key-mgmt")).expect("the keys");
    nudge(body, line.len() - "a=key-mgmt:mikey ".len() - 6)
}

const FINGERPRINT: &str = "a=fingerprint:SHA-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:\
                           19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF\r\n";

#[test]
fn an_offer_changed_on_the_way() {
    let Some(mut lab) = Lab::new() else { return };
    let meddler = meddled(&mut lab);
    let needed = || shown("rejected", "488 End-to-end key management required");
    let failed = || shown("rejected", "488 Key management failed");
    let unsealed = || shown("unsealed", "someone on the way removed the keys");
    let altered = || shown("altered", "the keys in the offer do not check out");
    let cases = [
        Case {
            name: "the key exchange removed",
            change: |body| without(body, "a=key-mgmt"),
            alice: needed(),
            bob: unsealed(),
        },
        Case {
            name: "a fingerprint in its place",
            change: |body| without(body, "a=key-mgmt") + FINGERPRINT,
            alice: needed(),
            bob: unsealed(),
        },
        Case { name: "the whole offer in clear", change: in_clear, alice: needed(), bob: unsealed() },
        Case {
            name: "only the transport in clear",
            change: |body| body.replace("TCP/TLS/MSRP", "TCP/MSRP"),
            alice: shown("rejected", "488"),
            bob: unsealed(),
        },
        Case {
            name: "an octet of the key exchange: its header",
            change: |body| nudge(body, 9),
            alice: shown("rejected", "488"),
            bob: None,
        },
        Case {
            name: "an octet of the key exchange: the ticket",
            change: |body| nudge(body, 300),
            alice: failed(),
            bob: shown("kms-refused", "the key server did not let us open the caller's ticket"),
        },
        Case {
            name: "an octet of the key exchange: its proof",
            change: nudge_proof,
            alice: failed(),
            bob: altered(),
        },
        Case {
            name: "a better key exchange said to be there too",
            change: |body| body.replace("a=key-mgmt:", "a=key-mgmt:better AAAA\r\na=key-mgmt:"),
            alice: failed(),
            bob: shown("list-altered", "changed the list of key exchanges"),
        },
    ];
    try_all(&mut lab, &meddler, "INVITE", &cases);

    // The border itself does not take what could be read in two ways.
    let smuggled = [Case {
        name: "a line behind a CR in a value",
        change: |body| body.replace("s=-\r\n", "s=-\rm=message 9 TCP/MSRP *\r\n"),
        alice: shown("rejected", "400"),
        bob: None,
    }];
    try_all(&mut lab, &meddler, "INVITE", &smuggled);
    let log = lab.output("interconnect-b", "err");
    assert!(log.contains("no CR and no NUL inside a line"), "{log}");

    // A fingerprint beside the key exchange changes nothing: nobody goes by it.
    meddler.now(|message| {
        let wanted = message.starts_with("INVITE") && message.contains("\r\nm=");
        if wanted { with_body(&message, |body| body.to_owned() + FINGERPRINT) } else { message }
    });
    still_works(&mut lab);
    meddler.now(|message| message);
    still_works(&mut lab);
}

#[test]
fn an_answer_changed_on_the_way() {
    let Some(mut lab) = Lab::new() else { return };
    let meddler = meddled(&mut lab);
    let cases = [
        Case {
            name: "the key exchange removed",
            change: |body| without(body, "a=key-mgmt"),
            alice: shown("unsealed", "the answer came without end-to-end keys"),
            bob: None,
        },
        Case {
            name: "a fingerprint in its place",
            change: |body| without(body, "a=key-mgmt") + FINGERPRINT,
            alice: shown("unsealed", "the answer came without end-to-end keys"),
            bob: None,
        },
        Case {
            name: "an octet of the key exchange: in the middle",
            change: |body| nudge(body, 120),
            alice: None,
            bob: None,
        },
        Case {
            name: "an octet of the key exchange: its proof",
            change: nudge_proof,
            alice: shown("altered", "the keys in the answer do not check out"),
            bob: None,
        },
        Case {
            name: "the whole answer in clear",
            change: in_clear,
            alice: shown("rejected", "the answer has another transport than the offer"),
            bob: None,
        },
        Case {
            name: "the media line turned down",
            change: |body| {
                let line = body.lines().find(|line| line.starts_with("m=")).expect("a line");
                body.replace(line, "m=message 0 TCP/TLS/MSRP *")
            },
            alice: shown("declined", "declined the message session"),
            bob: None,
        },
        Case {
            name: "a line behind a CR in a value",
            change: |body| body.replace("s=-\r\n", "s=-\rm=message 9 TCP/MSRP *\r\n"),
            alice: shown("rejected", ""),
            bob: None,
        },
        Case {
            name: "a media line more",
            change: |body| format!("{body}m=message 9 TCP/MSRP *\r\na=path:msrp://192.0.2.9:9/x;tcp\r\n"),
            alice: shown("rejected", "not as many media lines"),
            bob: None,
        },
    ];
    try_all(&mut lab, &meddler, "SIP/2.0 200", &cases);
    let log = lab.output("interconnect-a", "err");
    assert!(log.contains("the answer has another transport than the offer"), "{log}");
    still_works(&mut lab);
}

/// Tickets that are good, but not for this call.
#[test]
fn a_ticket_that_is_not_for_this_call() {
    let Some(mut lab) = Lab::new() else { return };
    let meddler = meddled(&mut lab);
    let arguments = ["kms", "-c", "kms.toml", "user", "add", "sip:carol@b.example"];
    let added = network::carnet(&lab, "kms", &arguments).output().expect("carnet kms");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));

    // alice calls carol; on the way the call is turned to bob, ticket and all.
    let heard = lab.output("bob", "out").len();
    meddler.now(|message| {
        let (from, to) = if message.starts_with("SIP/2.0") {
            ("bob@b.example", "carol@b.example")
        } else {
            ("carol@b.example", "bob@b.example")
        };
        message.replace(from, to)
    });
    let (alice, bob) = (
        shown("rejected", "488 Key management failed"),
        shown("wrong-callee", "the ticket in the call was made for somebody else"),
    );
    call(&mut lab, "carol's ticket", "sip:carol@b.example", heard, alice.as_ref(), bob.as_ref());
    meddler.now(|message| message);

    // The very same sealed offer in a call of its own.
    still_works(&mut lab);
    let heard = lab.output("bob", "out").len();
    let invite = meddler.last("INVITE").expect("the call passed here");
    let again = invite
        .replace("branch=z9hG4bK", "branch=z9hG4bKagain")
        .replace("\r\nCall-ID: ", "\r\nCall-ID: again")
        .replace(";tag=", ";tag=again");
    let answer = meddler.send(&lab, &again);
    assert!(answer.starts_with("SIP/2.0 488") && answer.contains("Key management failed"), "{answer}");
    lab.until(SOON, "bob sees the replay", |lab| {
        endings(&lab.output("bob", "out")[heard..])
            .iter()
            .any(|(e, s)| e == "replayed" && s.contains("replay"))
    });
    let_go(&lab, SOON);

    // Tickets of key servers that are not bob's: one that says who it is, one that says it is his.
    for (file, port, name) in [("elsewhere", 8444, "elsewhere.example"), ("false", 8445, "kms.example")] {
        let ours = std::fs::read_to_string(lab.directory().join("kms.toml")).expect("an example");
        let theirs = ours
            .replace("name = \"kms.example\"", &format!("name = \"{name}\""))
            .replace(":8443", &format!(":{port}"))
            .replace("kms-data", &format!("{file}-data"));
        lab.file(&format!("{file}.toml"), &theirs);
        let settings = format!("{file}.toml");
        for user in ["alice@a.example", "bob@b.example"] {
            let (uri, key) = (format!("sip:{user}"), format!("{file}-{user}.psk"));
            let arguments = ["kms", "-c", &settings, "user", "add", &uri, "--out", &key];
            let added = network::carnet(&lab, "kms", &arguments).output().expect("carnet kms");
            assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        }
        let command = network::carnet(&lab, "kms", &["run", "-c", &settings]);
        lab.start(file, command);
        lab.wait_for(file, "out", "ready", PATIENCE);
    }
    let original = std::fs::read_to_string(lab.directory().join("alice.toml")).expect("alice's settings");
    for (file, port, name, error, sentence) in [
        (
            "elsewhere",
            8444,
            "elsewhere.example",
            "foreign-kms",
            "sip:elsewhere.example, a key server that is not ours",
        ),
        (
            "false",
            8445,
            "kms.example",
            "kms-refused",
            "the key server did not let us open the caller's ticket",
        ),
    ] {
        let theirs = original
            .replace(":8443", &format!(":{port}"))
            .replace("sip:kms.example", &format!("sip:{name}"))
            .replace("alice.psk", &format!("{file}-alice@a.example.psk"));
        lab.file("alice.toml", &theirs);
        let heard = lab.output("bob", "out").len();
        let (alice, bob) = (shown("rejected", "488 Key management failed"), shown(error, sentence));
        call(&mut lab, file, "sip:bob@b.example", heard, alice.as_ref(), bob.as_ref());
    }
    lab.file("alice.toml", &original);
    still_works(&mut lab);
}

/// Between alice and her own border no border stands in for her: she looks herself.
#[test]
fn an_answer_changed_before_the_client() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    lab.join("meddler", "subs-a", "198.51.100.20/26");
    lab.edit("alice.toml", "sip:198.51.100.1;transport=tcp", "sip:198.51.100.20:5060;transport=tcp");
    let meddler = Meddler::start(&lab, "meddler", "198.51.100.20:5060", "198.51.100.1:5060");
    network::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let cases = [
        Case {
            name: "the whole answer in clear",
            change: in_clear,
            alice: shown("transport-changed", "we offered TCP/TLS/MSRP and were answered TCP/MSRP"),
            bob: None,
        },
        Case {
            name: "the key exchange removed",
            change: |body| without(body, "a=key-mgmt"),
            alice: shown("unsealed", "the answer came without end-to-end keys"),
            bob: None,
        },
        Case {
            name: "a line behind a CR in a value",
            change: |body| body.replace("s=-\r\n", "s=-\rm=message 9 TCP/MSRP *\r\n"),
            alice: shown("malformed", "no CR and no NUL inside a line"),
            bob: None,
        },
    ];
    try_all(&mut lab, &meddler, "SIP/2.0 200", &cases);
    still_works(&mut lab);
}
