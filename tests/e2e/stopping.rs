//! Going out of service: calls may finish, and what does not finish is ended in order.

use crate::lab::Lab;
use crate::network::{self, BORDERS, MEDIA_HOSTS, PATIENCE};
use crate::sealed::media_sockets;
use std::time::{Duration, Instant};

/// Seconds of grace that `carnet run` gives by default, and some for a busy machine.
const GRACE: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(20);
/// How long a client tries to make a session again whose media ended.
const RENEWAL: Duration = Duration::from_secs(60);

/// alice and bob in a sealed chat; their processes.
fn chat(lab: &mut Lab) -> (usize, usize) {
    network::build(lab);
    network::start(lab);
    let bob = network::ue(lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).say("before");
    lab.wait_for("bob", "out", "before", PATIENCE);
    (alice, bob)
}

/// A chat goes on over a gateway and a border that were told to stop, until their time is over. Then both
/// ends hear of it, both programs exit well, and nothing is left anywhere.
#[test]
fn calls_get_their_grace() {
    for host in ["trgw-b", "interconnect-b"] {
        let Some(mut lab) = Lab::new() else { return };
        let (alice, _) = chat(&mut lab);
        let stopped = lab.named(host);
        lab.process(stopped).signal("TERM");
        let told = Instant::now();
        std::thread::sleep(GRACE / 3);
        lab.process(alice).say("still here");
        lab.wait_for("bob", "out", "still here", GRACE / 3);
        // A gateway might come again, which the clients wait for.
        lab.wait_for("alice", "out", "\"ended\"", SLACK + RENEWAL);
        lab.wait_for("bob", "out", "\"ended\"", SLACK + RENEWAL);
        assert!(told.elapsed() > GRACE / 2, "{host}: ended after {:?}", told.elapsed());
        assert_eq!(lab.process(stopped).wait(SLACK), Some(0), "{}", lab.output(host, "err"));
        for (media, ..) in MEDIA_HOSTS.iter().filter(|(media, ..)| *media != host) {
            lab.until(SLACK, &format!("{media} gives its sockets back"), |lab| {
                media_sockets(lab, media).is_empty()
            });
        }
    }
}

/// Without calls everything ends at once and without a word of trouble.
#[test]
fn nothing_to_wait_for() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    network::start(&mut lab);
    let told = Instant::now();
    for host in MEDIA_HOSTS.iter().chain(BORDERS).map(|(host, ..)| *host) {
        let role = lab.named(host);
        lab.process(role).signal("TERM");
        assert_eq!(lab.process(role).wait(SLACK), Some(0), "{}", lab.output(host, "err"));
    }
    assert!(told.elapsed() < GRACE, "{:?}", told.elapsed());
    for (border, ..) in BORDERS {
        let log = lab.output(border, "err");
        assert!(log.contains("gateway-lost") && !log.contains("ERROR"), "{border}\n{log}");
    }
}
