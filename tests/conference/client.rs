//! The client of a conference as a person has it: on a screen, and for one errand at its floors.

use crate::member::{Member, is};
use crate::stage::{CARNET, PATIENCE, ROOM, Settings, Stage};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const CHAIRED: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nsubject = \"The week\"\n\
                       floor = [{ id = 1 }, { id = 2, algorithm = \"chair\", chair = \"sip:alice@a.example\" }]\n";

/// On a terminal there is a screen, with the seal at everybody; it takes keys, and leaves the terminal as it
/// was.
#[test]
fn a_screen_shows_who_is_here_and_what_is_said() {
    let stage = Stage::open(&Settings { rooms: CHAIRED, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    // A pseudo-terminal of a size that is known.
    let line = format!("stty rows 24 cols 100; exec {CARNET} ue -c bob.toml join {ROOM}");
    let mut command = Command::new("script");
    command.args(["-qfec", &line, "/dev/null"]).current_dir(stage.directory()).env("TERM", "xterm-256color");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("script, of util-linux");
    let mut keys = child.stdin.take().unwrap();
    let shown: Arc<Mutex<String>> = Arc::default();
    let (mut output, kept) = (child.stdout.take().unwrap(), shown.clone());
    let reader = std::thread::spawn(move || {
        let mut octets = [0; 4096];
        while let Ok(read @ 1..) = output.read(&mut octets) {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&octets[..read]));
        }
    });
    // Only cells that change are drawn, and none for a space that was there: so words and not sentences.
    let shows = |what: &str| {
        let until = Instant::now() + PATIENCE;
        while !shown.lock().unwrap().contains(what) {
            assert!(Instant::now() < until, "{what:?} is not in {:?}", shown.lock().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    shows("here:");
    shows("everybody");
    alice.sees(&stage, "bob", |event| is(event, "roster") && event["count"] == 2);
    alice.say("visible?");
    shows("visible?");
    keys.write_all(b"I do\r").unwrap();
    keys.flush().unwrap();
    alice.hears(&stage, "I do");
    // F2: the first floor.
    keys.write_all(b"\x1bOQ").unwrap();
    keys.flush().unwrap();
    shows("HAVE");
    alice.sees(&stage, "that bob has it", |event| {
        is(event, "floor") && event["holders"][0]["uri"] == "sip:bob@a.example"
    });
    keys.write_all(b"\x03").unwrap();
    keys.flush().unwrap();
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > until => {
                let _ = child.kill();
                panic!("it does not end: {:?}", shown.lock().unwrap());
            }
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    reader.join().unwrap();
    assert_eq!(status.code(), Some(0));
    // The screen of before is back.
    assert!(shown.lock().unwrap().contains("\x1b[?1049l"));
    alice.sees(&stage, "that bob is gone", |event| is(event, "roster") && event["count"] == 1);
}

#[test]
fn errands_at_the_floors() {
    let stage = Stage::open(&Settings { rooms: CHAIRED, ..Settings::default() });
    let errand = |name: &str, what: &[&str]| {
        let file = format!("{name}.toml");
        let mut arguments = vec!["ue", "-c", &file, "--json", "floor"];
        arguments.extend(what);
        Member::program(&stage, name, stage.command(&arguments))
    };
    // Held as long as it was said, and then given back.
    let mut bob = errand("bob", &["request", ROOM, "--floor", "1", "--hold", "1"]);
    bob.sees(&stage, "granted", |event| is(event, "granted"));
    bob.sees(&stage, "released", |event| is(event, "released"));
    assert_eq!(bob.ended(&stage), 0);
    // A chair has to be asked, and is not there for ever.
    let mut carol = errand("carol", &["request", ROOM, "--floor", "2", "--wait", "1"]);
    carol.sees(&stage, "pending", |event| is(event, "pending"));
    assert_eq!(carol.ended(&stage), 1);
    let mut carol = errand("carol", &["request", ROOM, "--floor", "2"]);
    carol.sees(&stage, "pending", |event| is(event, "pending"));
    let mut alice = errand("alice", &["grant", ROOM, "sip:carol@a.example"]);
    assert_eq!(alice.ended(&stage), 0);
    carol.sees(&stage, "granted", |event| is(event, "granted"));
    let mut dave = errand("dave", &["status", ROOM]);
    let floor = dave.sees(&stage, "the floor", |event| is(event, "floor") && event["floor"] == 2);
    assert_eq!(floor["holders"][0]["uri"], "sip:carol@a.example", "{floor}");
    assert_eq!(dave.ended(&stage), 0);
    // To be told to go is how holding a floor ends.
    carol.signal("TERM");
    assert_eq!(carol.ended(&stage), 0);
    // Who is no chair does not decide, and nobody is given what nobody asked for.
    let mut dave = errand("dave", &["grant", ROOM, "sip:bob@a.example", "--wait", "1"]);
    assert_eq!(dave.ended(&stage), 1);
}

/// Whoever waits for calls is called in, reads and talks there, line by line.
#[test]
fn a_listener_who_is_called_in_talks() {
    let stage = Stage::open(&Settings { rooms: CHAIRED, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    // What is read has an end, also if nothing comes.
    let mut command = Command::new("timeout");
    command.args(["90", CARNET, "ue", "-c", "bob.toml", "listen"]).current_dir(stage.directory());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut keys, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut reads = |what: &str| {
        let mut seen = String::new();
        while !seen.contains(what) {
            assert!(output.read_line(&mut seen).unwrap() > 0, "{what:?} is not in {seen:?}");
        }
    };
    reads("registered as sip:bob@a.example");
    alice.say("/invite sip:bob@a.example");
    reads("* joined sip:staff@conf.example, sealed");
    reads("* here: ");
    alice.sees(&stage, "that he is in", |event| {
        is(event, "referral") && event["done"] == true && event["status"] == 200
    });
    alice.say("welcome");
    reads("alice: welcome");
    keys.write_all(b"thank you\n/msg alice between us\n/bye\n").unwrap();
    alice.hears(&stage, "thank you");
    assert_eq!(alice.hears(&stage, "between us")["private"], true);
    alice.sees(&stage, "that he is gone", |event| is(event, "roster") && event["count"] == 1);
    reads("* left");
    let _ = child.kill();
    let _ = child.wait();
}
