//! The transaction layer against Erlang/OTP's megaco engine over UDP: answers, acknowledgements,
//! Pending and segments, both ways.
//!
//! Skipped with a message when Erlang is not there, unless `CARNET_REQUIRE_INTEROP=1`.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use carnet_h248::association::{Association, Config, Event, Transport};
use carnet_h248::text::Limits;
use carnet_h248::*;
use carnet_wire::SeededRandom;
use common::absent;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command as Process, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/megaco/association.escript");

struct World {
    association: Association,
    socket: UdpSocket,
    otp: Child,
    said: mpsc::Receiver<String>,
    lines: Vec<String>,
    leaves: Instant,
    /// Questions being answered: when, which, with how many commands.
    working: Vec<(Instant, TransactionId, u32, usize)>,
}

impl World {
    fn new() -> Self {
        let mut otp = Process::new("escript")
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out = BufReader::new(otp.stdout.take().unwrap());
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let port = said.recv_timeout(Duration::from_secs(60)).unwrap();
        let port: u16 = port.strip_prefix("port ").unwrap().parse().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut config = Config::new(Transport::Datagram);
        config.segments = true;
        config.timers.acknowledgement = Duration::from_millis(500);
        let association = Association::new(config, MId::domain("x.example"), &mut SeededRandom::new(1));
        Self {
            association,
            socket,
            otp,
            said,
            lines: Vec::new(),
            leaves: Instant::now(),
            working: Vec::new(),
        }
    }

    fn ask(&mut self, context: u32) -> TransactionId {
        let command = Command::audit_value("t/1", Audit::default());
        let action = ActionRequest::new(ContextId::Id(context), vec![command]);
        self.association.request(Instant::now(), vec![action])
    }

    /// Goes on until `done` or half a minute has passed. What we send leaves every 50 ms: OTP's engine
    /// notes what it sent after it has sent all of it, so on no path at all it misses our answers.
    fn until(&mut self, done: impl Fn(&[Event], &[String]) -> bool) -> Vec<Event> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut events = Vec::new();
        let mut buffer = [0; 65_536];
        while !done(&events, &self.lines) {
            let now = Instant::now();
            assert!(now < end, "{events:?}\n{:#?}", self.lines);
            self.association.handle_timeout(now);
            for (_, id, context, commands) in self.working.extract_if(.., |w| w.0 <= now) {
                let error = ErrorDescriptor::new(600, "x".repeat(100));
                let result = CommandReply::new(Verb::Subtract, "t/1").with(error);
                let actions = vec![ActionReply::new(ContextId::Id(context), vec![result; commands])];
                self.association.reply(now, id, ReplyBody::Actions(actions));
            }
            while now >= self.leaves
                && let Some(message) = self.association.poll_transmit()
            {
                let octets = text::print(&message, text::Form::Short);
                assert!(octets.len() <= 1_452);
                self.socket.send(&octets).unwrap();
            }
            if now >= self.leaves {
                self.leaves = now + Duration::from_millis(50);
            }
            if let Ok(n) = self.socket.recv(&mut buffer) {
                let message = encoding::parse(&buffer[..n], &Limits::default()).unwrap();
                self.association.handle_message(Instant::now(), message);
            }
            while let Some(event) = self.association.poll_event() {
                match event {
                    Event::Request { id, actions } => {
                        let ContextId::Id(context) = actions[0].context else { panic!() };
                        let (wait, commands) = match context {
                            12 => (0, 60),
                            13 => (1_500, 60),
                            _ => (0, 1),
                        };
                        self.working.push((now + Duration::from_millis(wait), id, context, commands));
                    }
                    event => events.push(event),
                }
            }
            self.lines.extend(self.said.try_iter());
        }
        events
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.otp.stdin.take());
        let _ = self.otp.wait();
    }
}

fn answer(events: &[Event], id: TransactionId) -> Option<usize> {
    events.iter().find_map(|e| match e {
        Event::Reply { id: got, body: ReplyBody::Actions(actions) } if *got == id => {
            Some(actions.iter().map(|a| a.commands.len()).sum())
        }
        _ => None,
    })
}

#[test]
fn otp_and_we_complete_each_others_transactions() {
    if absent("escript") {
        return;
    }
    let mut world = World::new();

    // Each is answered, and OTP hears that we have it.
    for (context, commands) in [(1, 1), (2, 8), (3, 1)] {
        let id = world.ask(context);
        let acknowledged = format!("acknowledged {context} ok");
        let events =
            world.until(|events, lines| answer(events, id).is_some() && lines.contains(&acknowledged));
        assert_eq!(answer(&events, id), Some(commands), "context {context}");
        assert_eq!(events.len(), 1, "{events:?}");
    }
    // It sent one segment for each action.
    let confirmed = |last: &str| world.lines.iter().filter(|l| l.ends_with(last)).count();
    let each = world.lines.iter().filter(|l| l.starts_with("confirmed")).count();
    assert_eq!((each, confirmed("'NULL'")), (8, 1), "{:#?}", world.lines);

    // It asks back: a short answer, one in segments, one in segments after Pending.
    world.ask(4);
    world.until(|_, lines| {
        let last = |n| format!("of {n} with ");
        lines.iter().any(|l| l.starts_with("answered 11"))
            && [12, 13].iter().all(|n| lines.iter().any(|l| l.contains(&last(n)) && l.ends_with("true")))
    });
    assert!(world.lines.iter().any(|l| l == "answered 11 with 1"), "{:#?}", world.lines);
    for context in [12, 13] {
        let of = format!(" of {context} with ");
        let commands = world
            .lines
            .iter()
            .filter_map(|line| line.split_once(&of)?.1.split(' ').next()?.parse::<usize>().ok());
        assert_eq!(commands.sum::<usize>(), 60, "{:#?}", world.lines);
    }
    for bad in ["syntax", "error", "failed", "unexpected", "aborted"] {
        assert!(!world.lines.iter().any(|l| l.starts_with(bad)), "{:#?}", world.lines);
    }
    // OTP acknowledges what asked for it, so nothing is repeated.
    let end = Instant::now() + Duration::from_secs(2);
    let before = world.lines.len();
    world.until(|_, _| Instant::now() >= end);
    assert_eq!(world.lines.len(), before, "{:#?}", world.lines);
}
