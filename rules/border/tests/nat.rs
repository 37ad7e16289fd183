//! Who connects where terminals stand behind NATs, from REGISTER to the engine of the real gateway: the
//! rows of RFC 4145 §4.1, TS 23.334 §6.2.18 (merge mode) and RFC 6135 §4.2.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_gateway::media::{Gate, Role};
use carnet_h248::association::Transport::Reliable;
use carnet_sip::{DigestClient, Message, Method, Password};
use carnet_wire::SeededRandom;
use common::real::RealGateway;
use common::*;
use std::time::Duration;

const CEMA: &str = "a=msrp-cema\r\n";
const MIKEY: &str = "a=msrp-cema\r\na=x-carnet-tlsrole:mikey\r\n";

/// A terminal: the address it knows, and the one it comes from.
#[derive(Clone)]
struct Terminal {
    name: &'static str,
    own: &'static str,
    from: &'static str,
}

fn terminal(name: &'static str, nat: bool) -> Terminal {
    match (name, nat) {
        ("alice", true) => Terminal { name, own: "10.0.0.5:5060", from: "203.0.113.50:40001" },
        ("bob", true) => Terminal { name, own: "10.0.0.5:5060", from: "203.0.113.60:40002" },
        ("alice", false) => Terminal { name, own: ALICE, from: ALICE },
        _ => Terminal { name, own: BOB, from: BOB },
    }
}

impl Terminal {
    fn ip(&self) -> &'static str {
        self.own.split(':').next().unwrap()
    }

    fn register(&self, w: &mut World) {
        let ua = Ua::new(self.name, self.own, self.name, &format!("reg-{}", self.name));
        let password = Password::new(format!("{}-secret", self.name).into_bytes());
        let mut client = DigestClient::new(self.name, password).unwrap();
        let first = w.request(&ua, Method::Register, "sip:example.com", 1);
        w.send(self.from, ACCESS, &first);
        client.challenged(&w.take_status(self.from, 401)).unwrap();
        let mut second = w.request(&ua, Method::Register, "sip:example.com", 2);
        client.authorize(&mut second, &mut SeededRandom::new(1)).unwrap();
        w.send(self.from, ACCESS, &second);
        w.take_status(self.from, 200);
    }
}

struct Call {
    w: World,
    alice: Terminal,
    bob: Terminal,
    at_bob: Message,
}

/// Alice offers.
fn offered(nats: (bool, bool), offer: impl Fn(&str) -> String) -> (World, Terminal, Terminal) {
    let mut w = World::new(alg(Reliable));
    w.real = Some(RealGateway::new(w.now, "alg1.example.com"));
    w.border.gateway_connected(w.now, "agw1");
    w.settle();
    w.pass(Duration::from_secs(5));
    let (alice, bob) = (terminal("alice", nats.0), terminal("bob", nats.1));
    alice.register(&mut w);
    bob.register(&mut w);
    let ua = Ua::new("alice", alice.own, "bob", "call-n");
    let invite = with_sdp(w.request(&ua, Method::Invite, "sip:bob@example.com", 1), &offer(alice.ip()));
    w.send(alice.from, ACCESS, &invite);
    (w, alice, bob)
}

fn call(nats: (bool, bool), offer: impl Fn(&str) -> String) -> Call {
    let (mut w, alice, bob) = offered(nats, offer);
    let at_bob = w.take_request(bob.from, Method::Invite);
    Call { w, alice, bob, at_bob }
}

impl Call {
    /// Bob answers; what alice hears.
    fn answer(&mut self, answer: impl Fn(&str) -> String) -> Message {
        let bob = Ua::answering("bob", self.bob.own, &self.at_bob, "b1");
        let answer = bob.answer(&self.at_bob, 200, Some(&answer(self.bob.ip())));
        self.w.send(self.bob.from, ACCESS, &answer);
        self.w.take(self.alice.from)
    }

    /// Our roles towards alice and bob, in the order of their ports: alice's is added first.
    fn roles(&self) -> (Role, Role) {
        let holes: Vec<_> = self.w.real.as_ref().unwrap().holes.values().collect();
        assert_eq!(holes.len(), 2);
        (holes[0].settings.role, holes[1].settings.role)
    }

    fn gates(&self) -> Vec<Gate> {
        self.w.real.as_ref().unwrap().holes.values().map(|h| h.settings.gate).collect()
    }
}

fn setup(sdp: &str) -> String {
    let line = sdp.split("\r\n").find(|l| l.starts_with("a=setup:"));
    line.map(|l| l["a=setup:".len()..].to_owned()).unwrap_or_default()
}

fn with_setup(sdp: String, setup: &str) -> String {
    if setup.is_empty() { sdp.replace("a=setup:\r\n", "") } else { sdp }
}

type Row = (&'static str, &'static str, (bool, bool), [&'static str; 4], (Role, Role));

/// Columns: what the line is, who is behind a NAT, offered, seen by bob, answered, seen by alice, and our
/// roles towards alice and bob.
#[test]
fn who_connects() {
    use Role::{Active, Either, Passive, Undecided};
    let sealed = print("11");
    let (none, a, b, both) = ((false, false), (true, false), (false, true), (true, true));
    let rows: &[Row] = &[
        // TCP in clear: the direction may change.
        ("MSRP", "", none, ["active", "active", "passive", "passive"], (Passive, Active)),
        ("MSRP", "", b, ["active", "actpass", "active", "passive"], (Passive, Passive)),
        ("MSRP", "", b, ["active", "actpass", "passive", "passive"], (Passive, Active)),
        ("BFCP", "", b, ["active", "passive", "active", "passive"], (Passive, Passive)),
        ("MSRP", "", none, ["actpass", "actpass", "active", "active"], (Active, Passive)),
        ("MSRP", "", none, ["actpass", "actpass", "passive", "passive"], (Passive, Active)),
        ("MSRP", "", a, ["actpass", "actpass", "active", "passive"], (Passive, Passive)),
        ("MSRP", "", a, ["actpass", "actpass", "passive", "passive"], (Passive, Active)),
        ("BFCP", "", none, ["passive", "passive", "active", "active"], (Active, Passive)),
        ("MSRP", "", both, ["active", "actpass", "active", "passive"], (Passive, Passive)),
        ("BFCP", "", none, ["holdconn", "holdconn", "holdconn", "holdconn"], (Undecided, Undecided)),
        ("MSRP", "", none, ["", "", "", ""], (Passive, Active)),
        // Sealed MSRP: exactly one end connects, for it is the TLS client.
        ("MSRP", "tls", none, ["actpass", "actpass", "active", "active"], (Active, Passive)),
        ("MSRP", "tls", a, ["actpass", "active", "passive", "passive"], (Passive, Active)),
        ("MSRP", "tls", b, ["actpass", "actpass", "active", "active"], (Active, Passive)),
        // Sealed BFCP: the offerer is the TLS client whoever connects.
        ("BFCP", "tls", both, ["active", "passive", "active", "passive"], (Passive, Passive)),
        // Both take their TLS role from the key exchange.
        ("MSRP", "mikey", both, ["active", "actpass", "active", "passive"], (Passive, Passive)),
        ("MSRP", "mikey", both, ["actpass", "actpass", "active", "passive"], (Passive, Passive)),
        ("MSRP", "mikey", none, ["actpass", "actpass", "passive", "passive"], (Passive, Active)),
    ];
    for (application, protection, nats, [offered, sent, answered, seen], roles) in rows {
        let case = format!("{application} {protection} {nats:?} {offered}");
        let tls = Some(sealed.as_str()).filter(|_| !protection.is_empty());
        let more = match (*application, *protection) {
            ("MSRP", "mikey") => MIKEY,
            ("MSRP", _) => CEMA,
            _ => "",
        };
        let made = |ip: &str, port: u16, setup: &str| {
            // RFC 6135 §4.2: one that connects has port 9.
            let port = if setup == "active" { 9 } else { port };
            with_setup(line(ip, port, application, setup, tls, more), setup)
        };
        let mut c = call(*nats, |ip| made(ip, 2855, offered));
        let at_bob = body(&c.at_bob);
        assert_eq!(setup(&at_bob), *sent, "{case}: {at_bob}");
        let ok = c.answer(|ip| made(ip, 7394, answered));
        assert_eq!(ok.status(), Some(200), "{case}: {}", text(&ok));
        assert_eq!(setup(&body(&ok)), *seen, "{case}: {}", body(&ok));
        for sdp in [at_bob, body(&ok)] {
            assert_eq!(sdp.contains("tlsrole:mikey"), *protection == "mikey", "{case}: left as it came");
            assert_eq!(sdp.contains(&sealed), tls.is_some(), "{case}: {sdp}");
        }
        let fits = |is: Role, wanted: Role| {
            is == wanted || (wanted == Undecided && is == Either) || (offered.is_empty() && is == Either)
        };
        let are = c.roles();
        assert!(fits(are.0, roles.0) && fits(are.1, roles.1), "{case}: {are:?}");
        let gate = if *offered == "holdconn" { Gate::Inactive } else { Gate::SendReceive };
        assert!(c.gates().iter().all(|g| *g == gate), "{case}: {:?}", c.gates());
        // Only from where the terminal's signalling comes.
        for (hole, (terminal, role)) in
            c.w.real.as_ref().unwrap().holes.values().zip([(&c.alice, are.0), (&c.bob, are.1)])
        {
            if role == Passive {
                let source = addr(terminal.from).ip();
                assert_eq!(hole.settings.filter.network, Some((source, 32)), "{case} {}", terminal.name);
            }
        }
    }
}

/// Both must connect, and do not both take their TLS role from the key exchange: two TLS clients.
#[test]
fn two_tls_clients_cannot_meet() {
    let sealed = print("11");
    let offer = |more: &'static str, setup: &'static str| {
        let sealed = sealed.clone();
        move |ip: &str| line(ip, 9, "MSRP", setup, Some(&sealed), more)
    };
    for (nats, setup) in [((true, true), "active"), ((true, true), "actpass"), ((false, true), "active")] {
        let (mut w, alice, bob) = offered(nats, offer(CEMA, setup));
        let refusal = w.take_status(alice.from, 488);
        assert!(refusal.header("Warning").unwrap().contains("two TLS clients"), "{}", text(&refusal));
        assert!(w.try_take(bob.from).is_none());
        assert!(w.real.as_ref().unwrap().holes.is_empty());

        // The offerer does, the answerer does not.
        let mut c = call(nats, offer(MIKEY, setup));
        let refusal = c.answer(offer(CEMA, "active"));
        assert_eq!(refusal.status(), Some(488), "{}", text(&refusal));
        assert!(refusal.header("Warning").unwrap().contains("key exchange"), "{}", text(&refusal));
        c.w.take_request(c.bob.from, Method::Ack);
        let bye = c.w.take_request(c.bob.from, Method::Bye);
        let bob = Ua::answering("bob", c.bob.own, &c.at_bob, "b1");
        c.w.send(c.bob.from, ACCESS, &bob.answer(&bye, 200, None));
        assert!(c.w.real.as_ref().unwrap().holes.is_empty());
    }
}

/// Between networks nobody is behind a NAT, and nothing is merged (TS 29.162 §10.2).
#[test]
fn a_border_between_networks_merges_nothing() {
    let mut w = World::up(ibcf());
    let ua = Ua::new("alice", ALICE, "carol@other.example", "call-x");
    let sdp = line("10.9.9.9", 9, "MSRP", "active", Some(&print("11")), MIKEY);
    let invite = with_sdp(w.request(&ua, Method::Invite, "sip:carol@other.example", 1), &sdp);
    w.send(ALICE, ACCESS, &invite);
    let at_peer = w.take_request(PEER, Method::Invite);
    assert_eq!(setup(&body(&at_peer)), "active");
    let carol = Ua::answering("carol", PEER, &at_peer, "c1");
    let answer = line("2001:db8:2::99", 9, "MSRP", "active", Some(&print("22")), MIKEY);
    w.send(PEER, CORE, &carol.answer(&at_peer, 200, Some(&answer)));
    w.take_status(ALICE, 488);
}
