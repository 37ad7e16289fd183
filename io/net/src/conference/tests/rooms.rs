//! Members in a room, on real sockets.

use std::cell::OnceCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use carnet_gateway::media::{
    Cause, Command, Conference, ConferenceEvent, Direction, Event, Gate, Medium, Role, Settings,
};

use crate::patient::Patient as _;

use super::super::ConferenceConfig;
use super::member::Member;
use super::rig::{PATIENCE, Peer, Plain, Rig, conference, config, greeting, head, message, server};

#[test]
fn two_versions_of_openssl_talk_in_a_sealed_room() {
    let mut rig = Rig::with_room();
    let (ann, ben) = (rig.msrp(1, server()), rig.msrp(2, server()));
    let mut first = Peer::sealed(ann.local, &["-tls1_3"]);
    let mut second = Peer::sealed(ben.local, &["-tls1_2"]);
    rig.sealed(&ann);
    rig.sealed(&ben);
    first.say(greeting(&ann));
    second.say(greeting(&ben));
    first.heard.wait("MSRP t0000 200");
    second.heard.wait("MSRP t0000 200");
    first.say(message(&ann, 1, "hello from 1.3"));
    first.heard.wait("MSRP t0001 200");
    second.heard.wait("hello from 1.3");
    second.say(message(&ben, 2, "hello from 1.2"));
    second.heard.wait("MSRP t0002 200");
    first.heard.wait("hello from 1.2");
}

#[test]
fn in_the_open_the_first_words_tell_who_is_meant() {
    let mut rig = Rig::with_room();
    let (ann, ben) = (rig.msrp(1, None), rig.msrp(2, None));
    let silent = TcpStream::connect(ann.local).unwrap();
    // One with another's session, one that does not speak MSRP.
    for words in [greeting(&ben), "GET / HTTP/1.1\r\n\r\n".to_owned()] {
        let mut stranger = TcpStream::connect(ann.local).unwrap();
        stranger.write_all(words.as_bytes()).unwrap();
        assert!(matches!(stranger.read_on(&mut [0]), Ok(0) | Err(_)), "sent away");
    }
    let first = Member::join(&ann);
    let mut second = Member::join(&ben);
    rig.established(&ann);
    rig.established(&ben);
    second.say(message(&ben, 1, "we are two"));
    first.hears("we are two");
    assert_eq!(second.statuses(2), [200, 200]);
    drop(silent);
}

#[test]
fn a_stalled_reader_is_let_go_and_fifty_others_do_not_notice() {
    const OTHERS: u16 = 50;
    const MESSAGES: u32 = 400;
    let mut rig = Rig::start(config(OTHERS + 10));
    // By time, not by octets: a thread that is not given a processor falls behind by megabytes, but takes
    // something now and then.
    rig.conference(Conference { stall_seconds: Some(10), notices: false, ..conference() });
    let stalled = rig.msrp(500, server());
    let mut asleep = Peer::sealed(stalled.local, &[]);
    rig.sealed(&stalled);
    asleep.say(greeting(&stalled));
    asleep.heard.wait("MSRP t0000 200");
    asleep.stop();
    let legs: Vec<_> = (1..=OTHERS).map(|user| rig.msrp(user, None)).collect();
    let members: Vec<_> = legs.iter().map(Member::join).collect();
    for leg in &legs {
        rig.established(leg);
    }
    let sender = rig.msrp(501, None);
    let mut speaker = Member::join(&sender);
    rig.established(&sender);
    let ballast = "x".repeat(32 * 1024);
    for number in 1..=MESSAGES {
        speaker.say(message(&sender, number, &format!("{ballast} number={number}")));
    }
    let statuses = speaker.statuses(MESSAGES as usize + 1);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let expected: Vec<u32> = (1..=MESSAGES).collect();
    for member in &members {
        member.hears(&format!("number={MESSAGES}"));
        assert_eq!(member.numbers("number="), expected);
    }
    let reason = rig.told(|event| match event {
        ConferenceEvent::Released { user: 500, reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, "slow");
    assert_eq!(rig.closed(&stalled), Cause::Endpoint);
    assert!(!rig.has(|event| matches!(event, Event::Closed { .. })), "nobody else");
    // It is not let in again before the controller says so.
    assert!(TcpStream::connect(stalled.local).is_err());
}

#[test]
fn a_thousand_chunks_that_are_never_finished_cost_their_sender() {
    let mut rig = Rig::with_room();
    let (ann, ben, cem) = (rig.msrp(1, None), rig.msrp(2, None), rig.msrp(3, None));
    let mut attacker = Member::join(&ann);
    let mut speaker = Member::join(&ben);
    let listener = Member::join(&cem);
    for leg in [&ann, &ben, &cem] {
        rig.established(leg);
    }
    for number in 1..=1000 {
        let part = "From: <sip:user1@example.com>\r\nTo: <sip:room@conf.example.com>\r\n\r\nContent-Type: text/plain\r\n\r\nhalf";
        let length = part.len();
        attacker.say(format!(
            "{}Message-ID: h{number}\r\nByte-Range: 1-{length}/100000\r\nContent-Type: message/cpim\r\n\r\n{part}\r\n-------t{number:04}+\r\n",
            head(&ann, number)
        ));
    }
    let statuses = attacker.statuses(1001);
    let refused = statuses.iter().filter(|status| **status >= 400).count();
    assert!(refused >= 900, "only {refused} of 1,000 were refused");
    speaker.say(message(&ben, 1, "still here"));
    listener.hears("still here");
}

#[test]
fn a_member_whose_connection_breaks_in_the_middle_comes_again() {
    let mut rig = Rig::with_room();
    let (ann, ben) = (rig.msrp(1, None), rig.msrp(2, None));
    let mut first = Member::join(&ann);
    let mut second = Member::join(&ben);
    rig.established(&ann);
    rig.established(&ben);
    let whole = message(&ann, 1, "cut in the middle");
    first.say(&whole.as_bytes()[..whole.len() / 2]);
    socket2::SockRef::from(&first.socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    first.socket.shutdown(std::net::Shutdown::Read).unwrap();
    drop(first);
    // The reading thread still holds it until the other end is gone.
    assert!(matches!(rig.closed(&ann), Cause::Reset | Cause::Normal));
    second.say(message(&ben, 2, "are you there"));
    assert_eq!(second.statuses(2), [200, 200]);
    let mut again = Member::join(&ann);
    rig.established(&ann);
    again.hears("are you there");
    again.say(whole);
    second.hears("cut in the middle");
}

#[test]
fn a_second_connection_takes_the_place_of_the_first() {
    let mut rig = Rig::with_room();
    let (ann, ben) = (rig.msrp(1, server()), rig.msrp(2, None));
    let mut first = Peer::sealed(ann.local, &[]);
    rig.sealed(&ann);
    first.say(greeting(&ann));
    first.heard.wait("MSRP t0000 200");
    // The first has gone without anybody's notice; the member knows it and comes again.
    let mut again = Peer::sealed(ann.local, &[]);
    rig.sealed(&ann);
    again.say(greeting(&ann));
    again.heard.wait("MSRP t0000 200");
    let mut second = Member::join(&ben);
    second.say(message(&ben, 1, "to the second one"));
    again.heard.wait("to the second one");
    assert!(!rig.has(|event| matches!(event, Event::Closed { .. })));
}

#[test]
fn an_end_of_a_conference_ends_nothing_else() {
    let mut rig = Rig::with_room();
    let leg = rig.msrp(1, None);
    let member = Member::join(&leg);
    rig.established(&leg);
    rig.released(&leg);
    member.is_over();
    rig.send(Command::Conference { group: super::rig::GROUP, settings: None });
    rig.conference(conference());
    let leg = rig.msrp(1, None);
    let _member = Member::join(&leg);
    rig.established(&leg);
}

#[test]
fn a_full_queue_makes_the_sender_wait_and_loses_nothing() {
    let mut rig = Rig::start(ConferenceConfig { queue: 1, ..config(4) });
    let (pinhole, _) = rig.reserve();
    let engine = rig.engine.clone();
    let sending = thread::spawn(move || {
        for _ in 0..300 {
            engine.blocking_send(Command::Measure { pinhole }).unwrap();
        }
    });
    for _ in 0..300 {
        rig.wait(|event| matches!(event, Event::Measured { .. }).then_some(()));
    }
    sending.join().unwrap();
}

#[test]
fn only_who_has_the_floor_may_speak() {
    let mut rig = Rig::start(config(10));
    rig.conference(Conference { moderated: Some(1), notices: false, ..conference() });
    let (ann, ben) = (rig.msrp(1, None), rig.msrp(2, None));
    let floor = rig.bfcp(1, None);
    let mut speaker = Member::join(&ann);
    let listener = Member::join(&ben);
    rig.established(&ann);
    rig.established(&ben);
    speaker.say(message(&ann, 1, "without the floor"));
    assert_eq!(speaker.statuses(2), [200, 403]);
    let mut line = Plain::connect(floor.local);
    line.say(super::floors::request(1, 9));
    let holders = rig.told(|event| match event {
        ConferenceEvent::Floor { floor: 1, holders, .. } => Some(holders.clone()),
        _ => None,
    });
    assert_eq!(holders, [1]);
    speaker.say(message(&ann, 2, "with the floor"));
    assert_eq!(speaker.statuses(3), [200, 403, 200]);
    listener.hears("with the floor");
    // The floor is freed with the connection; whoever said goodbye has it no more.
    line.socket.shutdown(std::net::Shutdown::Both).unwrap();
    rig.told(|event| match event {
        ConferenceEvent::Floor { floor: 1, holders, .. } if holders.is_empty() => Some(()),
        _ => None,
    });
    speaker.say(message(&ann, 3, "without it again"));
    assert_eq!(speaker.statuses(4), [200, 403, 200, 403]);
}

#[test]
fn what_a_member_may_do_changes_under_its_connection() {
    let mut rig = Rig::with_room();
    let (mut ann, ben) = (rig.msrp(1, None), rig.msrp(2, None));
    let mut first = Member::join(&ann);
    let second = Member::join(&ben);
    rig.established(&ann);
    rig.established(&ben);
    let mut endpoint = ann.settings.endpoint.as_deref().unwrap().clone();
    let Medium::Msrp { speak, .. } = &mut endpoint.medium else { panic!("MSRP") };
    *speak = false;
    ann.settings.endpoint = Some(Arc::new(endpoint));
    rig.configure(&ann);
    first.say(message(&ann, 1, "hush"));
    assert_eq!(first.statuses(2), [200, 403]);
    // Its connection is the one it had.
    assert!(!rig.has(|event| matches!(event, Event::Closed { .. } | Event::Established { .. })));
    drop(second);
}

#[test]
fn a_member_that_is_called_back_goes_on_where_it_was() {
    let mut rig = Rig::with_room();
    let (ann, ben) = (rig.msrp(1, None), rig.msrp(2, None));
    let mut speaker = Member::join(&ann);
    let before = Member::join(&ben);
    rig.established(&ann);
    rig.established(&ben);
    before.socket.shutdown(std::net::Shutdown::Both).unwrap();
    rig.closed(&ben);
    speaker.say(message(&ann, 1, "while you were away"));
    assert_eq!(speaker.statuses(2), [200, 200]);
    // Another pinhole for the same member, before the first is released.
    let again = rig.msrp(2, None);
    let member = Member::join(&again);
    rig.established(&again);
    member.hears("while you were away");
    assert!(TcpStream::connect(ben.local).is_err(), "nobody is let in where it was");
    rig.released(&ben);
    speaker.say(message(&ann, 2, "and now you are here"));
    member.hears("and now you are here");
}

#[test]
fn a_number_that_is_anothers_is_refused() {
    let mut rig = Rig::with_room();
    let ann = rig.msrp(1, None);
    let (pinhole, local) = rig.reserve();
    let mut settings = ann.settings.clone();
    let mut endpoint = settings.endpoint.as_deref().unwrap().clone();
    endpoint.member = "sip:somebody@else.example".into();
    settings.endpoint = Some(Arc::new(endpoint));
    let other = super::rig::Leg { pinhole, local, user: 1, settings };
    rig.configure(&other);
    let reason = rig.told(|event| match event {
        ConferenceEvent::Released { user: 1, reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, "refused");
    assert!(TcpStream::connect(local).is_err());
}

#[test]
fn a_closed_gate_holds_what_is_said_and_an_open_one_lets_it_go() {
    let mut rig = Rig::with_room();
    let (ann, mut ben) = (rig.msrp(1, None), rig.msrp(2, None));
    let mut speaker = Member::join(&ann);
    let listener = Member::join(&ben);
    rig.established(&ann);
    rig.established(&ben);
    ben.settings.gate = Gate::Inactive;
    rig.configure(&ben);
    speaker.say(message(&ann, 1, "behind the gate"));
    assert_eq!(speaker.statuses(2), [200, 200]);
    assert!(listener.is_silent("behind the gate"));
    ben.settings.gate = Gate::SendReceive;
    rig.configure(&ben);
    listener.hears("behind the gate");
}

#[test]
fn silence_and_disconnection_are_told() {
    let mut rig = Rig::with_room();
    let mut leg = rig.msrp(1, None);
    let member = Member::join(&leg);
    rig.established(&leg);
    leg.settings.inactivity = Some((std::time::Duration::from_millis(100), Direction::Both));
    rig.configure(&leg);
    rig.wait(|event| matches!(event, Event::Inactive { direction: Direction::Both, .. }).then_some(()));
    rig.send(Command::Disconnect { pinhole: leg.pinhole });
    assert_eq!(rig.closed(&leg), Cause::Released);
    member.is_over();
}

#[test]
fn conferences_live_in_threads_of_their_own_and_end_with_the_handle() {
    let mut rig = Rig::start(ConferenceConfig { threads: 2, ..config(8) });
    rig.conference(conference());
    // The next group is in the other thread, and knows nothing of this one.
    let settings = Some(Box::new(conference()));
    rig.send(Command::Conference { group: super::rig::GROUP + 1, settings });
    let (ann, ben) = (rig.msrp(1, None), rig.msrp(2, None));
    let mut speaker = Member::join(&ann);
    let listener = Member::join(&ben);
    rig.established(&ann);
    rig.established(&ben);
    speaker.say(message(&ann, 1, "in one of two"));
    listener.hears("in one of two");
    drop(rig);
    listener.is_over();
}

/// Who is told an address may be there before the engine is told who comes: they wait.
#[test]
fn who_calls_before_anything_is_said_is_let_in_when_it_is() {
    let mut rig = Rig::with_room();
    let early = OnceCell::new();
    let ann = rig.leg(1, None, |local| {
        early.set(TcpStream::connect(local).unwrap()).unwrap();
        Medium::Msrp {
            local_path: format!("msrp://{local}/s1;tcp"),
            remote_path: "msrp://127.0.0.1:9/c1;tcp".into(),
            accept_types: Vec::new(),
            max_size: None,
            nickname: None,
            speak: true,
            history: false,
        }
    });
    let mut early = early.into_inner().unwrap();
    early.write_all(greeting(&ann).as_bytes()).unwrap();
    rig.established(&ann);
    let mut answer = [0; 5];
    early.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"MSRP ");
}

#[test]
fn who_calls_before_anything_is_said_is_refused_at_a_closed_gate() {
    let mut rig = Rig::with_room();
    let (pinhole, local) = rig.reserve();
    let mut early = TcpStream::connect(local).unwrap();
    rig.send(Command::Configure { pinhole, settings: Settings::default() });
    assert!(matches!(early.read_on(&mut [0]), Ok(0) | Err(_)), "sent away");
    assert!(TcpStream::connect(local).is_err(), "nobody listens");
}

/// A port that callers could reach before is still the one that the call comes from.
#[test]
fn a_leg_that_calls_does_so_from_the_port_that_was_told() {
    let mut rig = Rig::with_room();
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let (pinhole, local) = rig.reserve();
    let mut early = TcpStream::connect(local).unwrap();
    let mut settings = rig.msrp(3, None).settings;
    settings.role = Role::Active;
    settings.remote = Some(peer.local_addr().unwrap());
    rig.send(Command::Configure { pinhole, settings });
    peer.set_nonblocking(true).unwrap();
    let until = Instant::now() + PATIENCE;
    let from = loop {
        match peer.accept() {
            Ok((_, from)) => break from,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(from, local);
    assert!(matches!(early.read_on(&mut [0]), Ok(0) | Err(_)), "sent away");
}
