//! Another file for a conference server with members in its rooms.

use crate::member::{Member, is};
use crate::stage::{ROOM, Settings, Stage};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

const ROOMS: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nsubject = \"before\"\n";
const BOARD: &str = "sip:board@conf.example";

fn reload(stage: &Stage) {
    let count = |stage: &Stage| stage.log("conf").matches("reading the configuration again").count();
    let before = count(stage);
    let pid = stage.pid("conf").to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    stage.until("it has read the file", |stage| count(stage) > before);
}

#[test]
fn rooms_come_change_and_go_while_members_talk() {
    let stage = Stage::open(&Settings { rooms: ROOMS, ..Settings::default() });
    let mut alice = Member::join(&stage, "alice", ROOM);
    let mut bob = Member::join(&stage, "bob", ROOM);
    let members = |stage: &Stage, room: &str| {
        let rooms = stage.ask(&["show", room]);
        rooms["members"].as_array().map_or(0, Vec::len)
    };

    // Another subject, a floor, no place for a third; and another room.
    stage.edit(
        "conf.toml",
        "subject = \"before\"\n",
        "subject = \"after\"\nmax-members = 2\nmoderated = 1\nfloor = [{ id = 1, algorithm = \"fcfs\" }]\n\
         [[conference.conf.room]]\nuri = \"sip:board@conf.example\"\n",
    );
    reload(&stage);
    stage.until("it is applied", |stage| {
        stage.log("conf").contains("conference.conf.room.0.max-members: 1000 → 2 (applied)")
    });
    assert!(!stage.log("conf").contains("needs a restart"), "{}", stage.log("conf"));
    alice.sees(&stage, "the subject", |event| is(event, "roster") && event["subject"] == "after");
    assert_eq!(members(&stage, ROOM), 2);
    let mut carol = Member::start(&stage, "carol", ROOM, &[]);
    carol.sees(&stage, "a refusal", |event| event["error"].is_string());
    assert_ne!(carol.ended(&stage), 0);
    // The media server has heard of it: nobody has the floor, so nobody may speak.
    alice.mark();
    alice.say("too early");
    alice.sees(&stage, "that it may not", |event| is(event, "error"));
    // Sealed, in the room that is new: the key server's tickets for it are opened.
    let dave = Member::join(&stage, "dave", BOARD);
    dave.sees(&stage, "a sealed room", |event| is(event, "roster") && event["sealed"] == true);

    // Everybody may speak again; the board is to go, and goes with its last member.
    stage.edit("conf.toml", "moderated = 1\nfloor = [{ id = 1, algorithm = \"fcfs\" }]\n", "");
    stage.edit("conf.toml", "[[conference.conf.room]]\nuri = \"sip:board@conf.example\"\n", "");
    reload(&stage);
    stage.until("it is gone", |stage| stage.log("conf").contains("conference.conf.room.1.uri: gone"));
    bob.mark();
    alice.say("and on it goes");
    bob.hears(&stage, "and on it goes");
    let mut erin = Member::start(&stage, "erin", BOARD, &[]);
    erin.sees(&stage, "a refusal", |event| event["error"].is_string());
    assert_ne!(erin.ended(&stage), 0);
    assert_eq!(members(&stage, BOARD), 1);
    let mut dave = dave;
    dave.say("/bye");
    assert_eq!(dave.ended(&stage), 0);
    stage.until("the room has ended", |stage| {
        let rooms = stage.ask(&["list"]);
        !rooms.to_string().contains(BOARD)
    });
    // A mistake changes nothing.
    stage.edit("conf.toml", "max-members = 2\n", "max-members = 0\n");
    reload(&stage);
    stage.until("it is refused", |stage| stage.log("conf").contains("not reloaded"));
    bob.mark();
    alice.say("still here");
    bob.hears(&stage, "still here");
}

/// Longer than a socket stays at least that the file names no more.
const LINGERS: Duration = Duration::from_secs(120);

/// The server moves to another port, where members call it and where its media server comes: who is in stays in.
#[test]
fn the_sockets_move_while_members_talk() {
    let mut stage = Stage::open(&Settings { rooms: ROOMS, ..Settings::default() });
    let server = stage.at(2, 3);
    let mut alice = Member::join(&stage, "alice", ROOM);
    let bob = Member::join(&stage, "bob", ROOM);
    let is_open = |port: u16| TcpStream::connect((server, port)).is_ok();
    let says = |stage: &Stage, text: &str| stage.until(text, |stage| stage.log("conf").contains(text));

    // Where somebody else is: nothing changes, and it is said.
    let stranger = TcpListener::bind((server, 5070)).unwrap();
    let control = TcpListener::bind((server, 2955)).unwrap();
    let sockets = |port: u16| format!("listen = [\"udp:{server}:{port}\", \"tcp:{server}:{port}\"]");
    stage.edit("conf.toml", &sockets(5060), &sockets(5070));
    let media = |port: u16| format!("listen = [\"tcp:{server}:{port}\"]");
    stage.edit("conf.toml", &media(2944), &media(2955));
    reload(&stage);
    says(&stage, "(not applied: ");
    assert!(!stage.log("conf").contains("(applied)"), "{}", stage.log("conf"));
    alice.say("where it was");
    bob.hears(&stage, "where it was");
    let carol = Member::join(&stage, "carol", ROOM);
    // One of the two can be had.
    drop(stranger);
    reload(&stage);
    says(&stage, "5070\"] (applied)");
    says(&stage, "2955\"] (not applied: ");
    drop(control);
    reload(&stage);
    says(&stage, "2955\"] (applied)");
    assert!(is_open(5070) && is_open(5060), "members may still send to where it was");
    stage.until("media servers are taken in at the new place alone", |_| is_open(2955) && !is_open(2944));

    // The network goes to the new place from now on.
    stage.edit(
        "net.toml",
        &format!("sip:{server};transport=tcp"),
        &format!("sip:{server}:5070;transport=tcp"),
    );
    let pid = stage.pid("net").to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    stage.until("the network has read it", |stage| {
        stage.log("net").contains("5070;transport=tcp\" (applied)")
    });
    let mut dave = Member::join(&stage, "dave", ROOM);
    for (member, text) in [(&mut alice, "from the old place"), (&mut dave, "from the new place")] {
        member.say(text);
        bob.hears(&stage, text);
    }
    // Those who came before leave, by what they know of it; then nobody needs the old place.
    for mut member in [carol, alice, bob] {
        member.say("/bye");
        assert_eq!(member.ended(&stage), 0);
    }
    let end = Instant::now() + LINGERS;
    while is_open(5060) {
        assert!(Instant::now() < end, "the old socket stays; {}", stage.log("conf"));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(stage.log("conf").matches("socket closed").count() >= 2, "{}", stage.log("conf"));

    // A media server that starts again comes to the new place, and who is in the room is called back.
    stage.end("mrfp-1", "KILL");
    stage.edit("mrfp-1.toml", &format!("{server}:2944"), &format!("{server}:2955"));
    stage.start("mrfp-1");
    stage.until("it comes to the new place", |stage| stage.log("conf").matches("gateway-up").count() > 1);
    let erin = Member::join(&stage, "erin", ROOM);
    dave.sees(&stage, "erin", |event| is(event, "roster") && event["count"] == 2);
    dave.say("and on");
    erin.hears(&stage, "and on");
}
