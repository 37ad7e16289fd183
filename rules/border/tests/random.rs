//! Two terminals, a gateway and a clock do whatever they like; in the end nothing is left.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_border::{Caps, Event};
use carnet_h248::Verb;
use carnet_h248::association::Transport::{Datagram, Reliable};
use carnet_sip::{Message, Method};
use carnet_wire::{Random, SeededRandom};
use common::real::RealGateway;
use common::*;
use std::collections::BTreeSet;
use std::time::Duration;

struct Chaos {
    w: World,
    dice: SeededRandom,
    /// Requests that reached a terminal and wait for an answer.
    open: Vec<(usize, Message)>,
    /// Requests the terminals made, for repetition, CANCEL and ACK.
    made: Vec<(usize, Message)>,
    uas: [Ua; 2],
    targets: [Option<String>; 2],
    cseq: u32,
}

const ADDRESSES: [&str; 2] = [ALICE, BOB];

impl Chaos {
    fn roll(&mut self, sides: u32) -> u32 {
        self.dice.u32() % sides
    }

    fn sdp(&mut self, who: usize) -> String {
        let ip = ADDRESSES[who].split(':').next().unwrap();
        let port = [9, 2855, 7394, 0][self.roll(4) as usize];
        let setup = ["actpass", "active", "passive", "holdconn"][self.roll(4) as usize];
        let mut sdp = msrps(ip, port, setup);
        let print = [print("11"), print("22"), "MD5 11:22".to_owned()][self.roll(3) as usize].clone();
        let cema = ["", "a=msrp-cema\r\n"][self.roll(2) as usize];
        match self.roll(14) {
            8 => sdp = line(ip, port, "MSRP", setup, Some(&print), &format!("{cema}a=3ge2ae:requested\r\n")),
            9 => sdp = line(ip, port, "BFCP", setup, Some(&print), "a=3ge2ae:requested\r\n"),
            10 => sdp = line(ip, port, "MSRP", setup, Some(&print), cema),
            11 => sdp = line(ip, port, "MSRP", setup, None, cema),
            12 => sdp = line(ip, port, "BFCP", setup, None, "b=AS:100\r\n"),
            13 => sdp = sdp.replace("a=accept", "b=TIAS:200000\r\na=accept"),
            0 => sdp = sdp.replace("TCP/TLS/MSRP", "TCP/MSRP"),
            1 => sdp.push_str("m=application 5000 TCP/TLS/BFCP *\r\na=setup:actpass\r\n"),
            2 => sdp = sdp.replace("a=msrp-cema\r\n", ""),
            3 => sdp = sdp.replace("v=0", "v=9"),
            _ => {}
        }
        sdp
    }

    fn collect(&mut self) {
        for (who, at) in ADDRESSES.into_iter().enumerate() {
            while let Some(m) = self.w.try_take(at) {
                if let Ok(contacts) = m.contacts()
                    && let Some(contact) = contacts.first()
                {
                    self.targets[who] = Some(contact.uri().to_string());
                }
                if m.is_request() {
                    if m.to_tag().is_none() && *m.method() == Method::Invite {
                        self.uas[who] = Ua::answering(&self.uas[who].user, at, &m, "chaos");
                    }
                    if *m.method() != Method::Ack {
                        self.open.push((who, m));
                    }
                } else if m.cseq().unwrap().method == Method::Invite && m.status() >= Some(200) {
                    self.acknowledge(who, &m);
                }
            }
        }
    }

    fn acknowledge(&mut self, who: usize, m: &Message) {
        if self.roll(6) == 0 {
            return;
        }
        self.uas[who].remote = m.header("To").unwrap().into_owned();
        let number = m.cseq().unwrap().number;
        if m.status() < Some(300) {
            let mut ack = self.w.request(&self.uas[who].clone(), Method::Ack, &contact(m), number);
            if self.roll(4) == 0 {
                ack = with_sdp(ack, &self.sdp(who));
            }
            self.w.send(ADDRESSES[who], ACCESS, &ack);
        } else if let Some((_, invite)) =
            self.made.iter().find(|(w, i)| *w == who && i.cseq().unwrap().number == number)
        {
            let mut ack = Message::request(Method::Ack, invite.request_uri().unwrap().clone());
            for name in ["Via", "From", "Call-ID"] {
                ack.copy_lines(name, invite);
            }
            ack.copy_lines("To", m);
            ack.push_back("CSeq", &format!("{number} ACK")).unwrap();
            self.w.send(ADDRESSES[who], ACCESS, &ack);
        }
    }

    fn answer(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.roll(self.open.len() as u32) as usize;
        let (who, request) = self.open[at].clone();
        let status = [180, 183, 183, 200, 200, 200, 486, 491, 500][self.roll(9) as usize];
        if status >= 200 {
            self.open.remove(at);
        }
        let body = self.sdp(who);
        let offered = matches!(*request.method(), Method::Invite | Method::Update | Method::Prack);
        let body = (offered && status < 300 && self.roll(4) > 0).then_some(body);
        let mut ua = self.uas[who].clone();
        if self.roll(5) == 0 {
            ua.local = ua.local.replace("tag=chaos", "tag=fork");
        }
        let mut m = ua.answer(&request, status, body.as_deref());
        if status == 183 && self.roll(2) == 0 {
            m.push_back("Require", "100rel").unwrap();
            m.push_back("RSeq", "7").unwrap();
        }
        self.w.send(ADDRESSES[who], ACCESS, &m);
    }

    fn ask(&mut self) {
        let who = self.roll(2) as usize;
        let Some(target) = self.targets[who].clone() else { return };
        self.cseq += 1;
        let method = [Method::Invite, Method::Update, Method::Prack, Method::Info, Method::Bye]
            [self.roll(5) as usize]
            .clone();
        let ua = self.uas[who].clone();
        let mut m = self.w.request(&ua, method.clone(), &target, self.cseq);
        if method == Method::Prack {
            m.push_back("RAck", "7 1 INVITE").unwrap();
        }
        if method != Method::Bye && self.roll(2) == 0 {
            m = with_sdp(m, &self.sdp(who));
        }
        self.made.push((who, m.clone()));
        self.w.send(ADDRESSES[who], ACCESS, &m);
    }

    fn cancel(&mut self) {
        let invites: Vec<_> =
            self.made.iter().filter(|(_, m)| *m.method() == Method::Invite).cloned().collect();
        if invites.is_empty() {
            return;
        }
        let (who, invite) = invites[self.roll(invites.len() as u32) as usize].clone();
        let mut m = Message::request(Method::Cancel, invite.request_uri().unwrap().clone());
        for name in ["Via", "From", "To", "Call-ID"] {
            m.copy_lines(name, &invite);
        }
        m.push_back("CSeq", &format!("{} CANCEL", invite.cseq().unwrap().number)).unwrap();
        self.w.send(ADDRESSES[who], ACCESS, &m);
    }

    fn step(&mut self) {
        match self.roll(15) {
            14 => {
                let kind = ["EST", "REL"][self.roll(2) as usize];
                let words = ["truncated", "fingerprint_mismatch", ""][self.roll(3) as usize];
                let first = self.w.gateway.state.iter().next();
                if let Some((context, name)) = first.and_then(|(c, t)| Some((*c, t.keys().next()?.clone()))) {
                    self.w.gateway.tls(context, &name, kind, ["FT", words]);
                }
            }
            0..=4 => self.answer(),
            5..=7 => self.ask(),
            8 => self.cancel(),
            9 => {
                let seconds = [0, 1, 6, 40][self.roll(4) as usize];
                self.w.pass(Duration::from_secs(seconds));
            }
            10 => self.w.gateway.hold = true,
            11 => self.w.gateway.let_go(),
            12 => {
                let verb = [Verb::Add, Verb::Modify, Verb::Subtract][self.roll(3) as usize];
                let code = [510, 512, 500, 449][self.roll(4) as usize];
                self.w.gateway.refuse = vec![(verb, code)];
            }
            _ => {
                // Something is lost.
                let sooner = self.roll(3) as usize;
                self.w.lose_sip = Some(self.w.sip_sent + 1 + sooner);
                if self.w.real.is_none() {
                    self.w.lose_control = Some(self.w.control_sent + 1 + sooner);
                }
            }
        }
        self.w.settle();
        self.collect();
    }
}

#[test]
fn whatever_happens_nothing_is_left() {
    all_kinds((0..400).flat_map(|seed| run(seed, false)));
}

/// The same with Carnet's own gateway, which looks at what it is told.
#[test]
fn whatever_happens_the_gateway_understands_it() {
    all_kinds((0..200).flat_map(|seed| run(seed, true)));
}

/// The same, and now and then the border's process ends and another one takes up what was kept.
#[test]
fn whatever_happens_and_however_often_it_starts_again() {
    let again = (0..300).map(|seed| with_restarts(seed, seed % 3 == 2)).sum::<usize>();
    assert!(again > 100, "{again} calls were taken up");
}

/// Chance has come to everything that there is.
fn all_kinds(seen: impl Iterator<Item = &'static str>) {
    let seen: BTreeSet<_> = seen.collect();
    for kind in ["e2e", "e2ae", "plain", "aware", "unused", "refuse"] {
        assert!(seen.contains(kind), "{seen:?}");
    }
}

fn config(seed: u64, real: bool) -> carnet_border::Config {
    let mut config = alg(if real { Reliable } else { Datagram });
    if seed.is_multiple_of(3) {
        let network = &mut config.networks[0];
        network.rate = Some((20_000, 2_000));
        network.caps = Caps { bandwidth: Some(60_000), per_user: Some(2), ..Caps::default() };
    }
    config
}

/// How many calls were taken up.
fn with_restarts(seed: u64, real: bool) -> usize {
    let mut c = begin(seed, real);
    c.w.border.keep_state();
    for step in 0..40 {
        if c.roll(8) == 0 {
            c.w.gateway.audits = true;
            // What was on its way to the border is lost with it, and sometimes what it was about to say.
            c.w.restart(config(seed, real), seed * 100 + step + 7);
        }
        c.step();
    }
    end(&mut c);
    assert_nothing_left(seed, &c);
    let users = c.w.records.values().filter(|text| text.starts_with("carnet user")).count();
    assert_eq!(c.w.records.len(), users, "seed {seed}: {:#?}", c.w.records);
    c.w.names().iter().filter(|name| **name == "call-restored").count()
}

/// Which decisions there were.
fn run(seed: u64, real: bool) -> Vec<&'static str> {
    let mut c = begin(seed, real);
    for _ in 0..40 {
        c.step();
    }
    end(&mut c);
    assert_nothing_left(seed, &c);
    let count = |name: &str| c.w.names().iter().filter(|n| **n == name).count();
    assert!(count("call-ended") == count("call-started"), "seed {seed}: {:?}", c.w.names());
    let decisions = c.w.events.iter().filter_map(|e| match e {
        Event::PlanMade { plan, .. } => Some(plan.lines.iter().map(|line| line.decision.name())),
        _ => None,
    });
    decisions.flatten().collect()
}

fn begin(seed: u64, real: bool) -> Chaos {
    let mut w = if real { with_real(config(seed, real)) } else { World::with_users(config(seed, real)) };
    if seed.is_multiple_of(2) {
        // Bob wants his TLS to end at the gateway.
        w.register_asking("bob", BOB, "", &[("Security-Client", "msrp-tls;mediasec, bfcp-tls;mediasec")]);
    }
    let mut c = Chaos {
        w,
        dice: SeededRandom::new(seed),
        open: Vec::new(),
        made: Vec::new(),
        uas: [Ua::new("alice", ALICE, "bob", "chaos"), Ua::new("bob", BOB, "alice", "chaos")],
        targets: [None, None],
        cseq: 1,
    };
    let mut invite = c.w.request(&c.uas[0].clone(), Method::Invite, "sip:bob@example.com", 1);
    if c.roll(4) > 0 {
        invite = with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass"));
    }
    c.made.push((0, invite.clone()));
    c.w.send(ALICE, ACCESS, &invite);
    c.collect();
    c
}

fn end(c: &mut Chaos) {
    c.w.gateway.refuse.clear();
    c.w.gateway.let_go();
    c.w.settle();
    // Whoever is left hangs up, and the world goes on for a while.
    c.w.pass(Duration::from_secs(400));
    c.collect();
    for (who, at) in ADDRESSES.into_iter().enumerate() {
        for tag in ["chaos", "fork"] {
            let Some(target) = c.targets[who].clone() else { continue };
            c.cseq += 1;
            let mut ua = c.uas[who].clone();
            for name in [&mut ua.local, &mut ua.remote] {
                *name = name
                    .replace("tag=chaos", &format!("tag={tag}"))
                    .replace("tag=fork", &format!("tag={tag}"));
            }
            let bye = c.w.request(&ua, Method::Bye, &target, c.cseq);
            c.w.send(at, ACCESS, &bye);
        }
    }
    c.w.pass(Duration::from_secs(400));
}

fn assert_nothing_left(seed: u64, c: &Chaos) {
    assert_eq!(c.w.gateway.contexts(), 0, "seed {seed}: {:#?}", c.w.events);
    if let Some(real) = &c.w.real {
        assert_eq!((real.gateway.contexts(), real.holes.len()), (0, 0), "seed {seed}: {:#?}", c.w.events);
        let refused = |e: &&Event| matches!(e, Event::GatewayRefused { .. });
        assert_eq!(c.w.events.iter().find(refused), None, "seed {seed}: {:#?}", c.w.events);
    }
    let load = c.w.border.load();
    assert_eq!(
        (load.calls, load.gateway_requests, load.requests, load.tokens, load.counted),
        (0, 0, 0, 0, 0),
        "seed {seed} {load:?} {:#?}",
        c.w.events
    );
}

fn with_real(config: carnet_border::Config) -> World {
    let mut w = World::new(config);
    w.real = Some(RealGateway::new(w.now, "alg1.example.com"));
    w.border.gateway_connected(w.now, "agw1");
    w.settle();
    w.pass(Duration::from_secs(5));
    w.register("alice", ALICE);
    w.register("bob", BOB);
    w
}
