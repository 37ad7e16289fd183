//! TLS that ends at the gateway, and MSRP whose paths it rewrites: what a controller says, what the engine
//! is told, what the controller hears.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use carnet_gateway::Event as Happened;
use carnet_gateway::media::{Cause, Command, Event, Settings, TlsFailure, TlsRole};
use rig::{OWN, PEER, Rig, squeeze};

const EVENTS: &str = "Events = 7 { tcpbcc/BNCChange, tlsbsc/BNCChange, g/cause }";
const EDGE: &str = "c=IN IP4 $|m=- $ TCP/TLS -|a=setup:passive|a=fingerprint:SHA-256 $";
const SEALED: &str = "c=IN IP4 $|m=- $ TCP/TLS -";
const PLAIN: &str = "c=IN IP4 $|m=- $ TCP -";
const AWARE: &str = "c=IN IP4 $|m=message $ TCP/MSRP *";
const AWARE_EDGE: &str = "c=IN IP4 $|m=message $ TCP/TLS/MSRP *|a=fingerprint:SHA-256 $";
const PATH: &str = "msrps://ue.example.com:2855/a1;tcp";

/// Local and Remote of one stream; `|` ends a line, nothing leaves one out.
fn media(local: &str, remote: &str) -> String {
    let sdp = |name: &str, text: &str| match text {
        "" => String::new(),
        text => format!(", {name} {{\nv=0\n{}\n}}\n", text.replace('|', "\n")),
    };
    let (local, remote) = (sdp("Local", local), sdp("Remote", remote));
    format!("Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive }}{local}{remote} }} }}")
}

fn remote(media: &str, more: &str) -> String {
    format!("c=IN IP4 198.51.100.20|m={media}{more}")
}

fn peer(digest: &str) -> String {
    format!("|a=fingerprint:SHA-256 {digest}")
}

/// A context, and its terminations.
struct Pair {
    context: String,
    ids: Vec<String>,
}

fn add(local: &str, remote: &str, more: &str) -> String {
    format!("Add = $ {{ {}{more} }}", media(local, remote))
}

fn pair(rig: &mut Rig, commands: &[String]) -> Pair {
    let reply = rig.ask(&format!("Context = $ {{ {} }}", commands.join(", ")));
    assert!(!reply.contains("Error"), "{reply}");
    let context = reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let names = reply.split("Add = ").skip(1);
    Pair { context, ids: names.map(|t| t.split([' ', '}', ',']).next().unwrap().to_owned()).collect() }
}

impl Pair {
    fn modify(&self, rig: &mut Rig, which: usize, descriptors: &str) -> String {
        rig.ask(&format!("Context = {} {{ Modify = {} {{ {descriptors} }} }}", self.context, self.ids[which]))
    }

    fn ends(&self, rig: &mut Rig) {
        rig.ask(&format!("Context = {} {{ W-Subtract = * {{ Audit {{ }} }} }}", self.context));
        rig.assert_empty();
    }
}

fn edge(settings: &Settings) -> (TlsRole, Vec<String>) {
    let edge = settings.edge.as_deref().unwrap();
    (edge.role, edge.fingerprints.clone())
}

fn path(settings: &Settings) -> Option<String> {
    settings.leg.as_deref().map(|leg| leg.path.clone())
}

fn told(rig: &mut Rig) -> String {
    std::mem::take(&mut rig.told).iter().map(|text| squeeze(text)).collect::<Vec<_>>().join("\n")
}

/// A terminating call: the peer's fingerprint comes with its answer, and so does the role.
#[test]
fn the_fingerprint_of_the_peer_comes_when_it_answers() {
    let mut rig = Rig::alg();
    let pair = pair(&mut rig, &[add(EDGE, "", ""), add(PLAIN, "", "")]);
    assert_eq!(edge(rig.engine.settings(30_000)), (TlsRole::Server, vec![]));
    assert!(rig.engine.settings(30_002).edge.is_none());
    let answer = remote("- 2855 TCP/TLS -", &peer(PEER));
    let reply = pair.modify(&mut rig, 0, &format!("{}, Signals {{ tlsbsc/EstBNC }}", media("", &answer)));
    assert!(!reply.contains("Error") && !reply.contains("Media"), "{reply}");
    let peer_now = (TlsRole::Client, vec![format!("SHA-256 {PEER}")]);
    assert_eq!(edge(rig.engine.settings(30_000)), peer_now);
    // It has another one, or two, later.
    let both = remote("- 2855 TCP/TLS -", &(peer(OWN) + &peer(PEER)));
    pair.modify(&mut rig, 0, &media("", &both));
    let both = vec![format!("SHA-256 {OWN}"), format!("SHA-256 {PEER}")];
    assert_eq!(edge(rig.engine.settings(30_000)), (TlsRole::Client, both));
    // TLS that is released was begun for the last time; its connection goes with it.
    pair.modify(&mut rig, 0, "Signals { tlsbsc/RelBNC }");
    assert_eq!(edge(rig.engine.settings(30_000)).0, TlsRole::Server);
    let pinhole = rig.engine.pinhole(30_000);
    assert_eq!(rig.engine.commands.last(), Some(&Command::Disconnect { pinhole }));
    pair.ends(&mut rig);
}

#[test]
fn the_certificate_stays_with_the_address() {
    let mut rig = Rig::alg();
    let pair = pair(&mut rig, &[add(EDGE, "", ""), add(PLAIN, "", "")]);
    let audit =
        format!("Context = {} {{ AuditValue = {} {{ Audit {{ Media }} }} }}", pair.context, pair.ids[0]);
    assert!(rig.ask(&audit).contains(&format!("a=fingerprint:SHA-256 {OWN}")));
    // Repeated, or asked for again, it is the same.
    let given = format!("c=IN IP4 203.0.113.10|m=- 30000 TCP/TLS -{}", peer(OWN));
    assert!(!pair.modify(&mut rig, 0, &media(&given, "")).contains("Error"));
    let reply = pair.modify(&mut rig, 0, &media(EDGE, ""));
    assert!(reply.contains("m=- 30000 TCP/TLS -") && reply.contains(OWN), "{reply}");
    let code = |rig: &mut Rig, local: &str| {
        let reply = pair.modify(rig, 0, &media(local, ""));
        reply.split("Error = ").nth(1).map(|error| error.split(' ').next().unwrap().to_owned())
    };
    let at = "c=IN IP4 203.0.113.10|m=- 30000 TCP/TLS -";
    assert_eq!(code(&mut rig, &format!("{at}{}", peer(PEER))).as_deref(), Some("449"), "another certificate");
    assert_eq!(code(&mut rig, at).as_deref(), Some("449"), "TLS passes from now on");
    // With another address it can be so.
    let reply = pair.modify(&mut rig, 0, &media(SEALED, ""));
    assert!(reply.contains("m=- 30004 TCP/TLS -"), "{reply}");
    assert!(rig.engine.settings(30_004).edge.is_none());
    assert_eq!(
        code(&mut rig, "c=IN IP4 203.0.113.10|m=- 30004 TCP/TLS -|a=fingerprint:SHA-256 $").as_deref(),
        Some("449")
    );
    let reply = pair.modify(&mut rig, 0, &media(EDGE, ""));
    assert!(reply.contains("m=- 30006 TCP/TLS -") && reply.contains(OWN), "{reply}");
    assert_eq!(edge(rig.engine.settings(30_006)), (TlsRole::Server, vec![]));
    pair.ends(&mut rig);
}

#[test]
fn without_a_fingerprint_tls_passes_whatever_is_in_it() {
    let mut rig = Rig::alg();
    for transport in ["- $ TCP/TLS -", "message $ TCP/TLS/MSRP *", "application $ TCP/TLS/BFCP *"] {
        let local = format!("c=IN IP4 $|m={transport}");
        let pair = pair(&mut rig, &[add(&local, "", ""), add(&local, "", "")]);
        assert!(rig.engine.holes.values().all(|hole| !hole.tls));
        let settings = rig.engine.holes.values().map(|hole| hole.settings.as_ref().unwrap());
        assert!(settings.into_iter().all(|s| s.edge.is_none() && s.leg.is_none()), "{transport}");
        pair.ends(&mut rig);
    }
}

/// BFCP is not read, whoever ends its TLS.
#[test]
fn bfcp_is_passed_inside_tls_that_ends() {
    let mut rig = Rig::alg();
    let local = "c=IN IP4 $|m=application $ TCP/TLS/BFCP *|a=fingerprint:sha-256 $";
    let far = "c=IN IP4 $|m=application $ TCP/BFCP *";
    let answer = remote("application 9 TCP/TLS/BFCP *", &peer(PEER));
    let pair = pair(&mut rig, &[add(local, &answer, ", Signals { tlsbsc/EstBNC }"), add(far, "", "")]);
    let (access, core) = (rig.engine.settings(30_000), rig.engine.settings(30_002));
    assert_eq!(edge(access), (TlsRole::Client, vec![format!("SHA-256 {PEER}")]));
    assert!(core.edge.is_none() && access.leg.is_none() && core.leg.is_none());
    pair.ends(&mut rig);
}

#[test]
fn paths_are_told_as_they_come_and_as_they_change() {
    let mut rig = Rig::alg();
    let offer = remote("message 9 TCP/TLS/MSRP *", &format!("{}|a=path:{PATH}", peer(PEER)));
    let pair = pair(&mut rig, &[add(AWARE_EDGE, &offer, ""), add(AWARE, "", "")]);
    assert_eq!(path(rig.engine.settings(30_000)).as_deref(), Some(PATH));
    assert_eq!(path(rig.engine.settings(30_002)).as_deref(), Some(""));
    let relays = "msrps://relay.example.org:2855/x;tcp msrp://b.example.org:7654/b2;tcp";
    let answer = |path: &str| media("", &remote("message 7654 TCP/MSRP *", &format!("|a=path:{path}")));
    assert!(!pair.modify(&mut rig, 1, &answer(relays)).contains("Error"));
    assert_eq!(path(rig.engine.settings(30_002)).as_deref(), Some(relays));
    let other = "msrp://192.0.2.9:7654/b3;tcp";
    assert!(!pair.modify(&mut rig, 1, &answer(other)).contains("Error"));
    assert_eq!(path(rig.engine.settings(30_002)).as_deref(), Some(other));
    pair.ends(&mut rig);
}

/// RFC 6714 §4: a client that finds that CEMA is not there offers again without it, and the gateway has to
/// rewrite what it passed before. The controller changes one termination after the other.
#[test]
fn a_relay_can_begin_to_rewrite_and_end_it() {
    let mut rig = Rig::alg();
    let pair = pair(&mut rig, &[add(PLAIN, "", ""), add(PLAIN, "", "")]);
    let at = |port: u16, transport: &str| {
        media(&format!("c=IN IP4 203.0.113.10|m=message {port} {transport} *"), "")
    };
    assert!(!pair.modify(&mut rig, 0, &at(30_000, "TCP/MSRP")).contains("Error"));
    assert_eq!(path(rig.engine.settings(30_000)).as_deref(), Some(""));
    assert_eq!(path(rig.engine.settings(30_002)), None);
    assert!(!pair.modify(&mut rig, 1, &at(30_002, "TCP/MSRP")).contains("Error"));
    assert_eq!(path(rig.engine.settings(30_002)).as_deref(), Some(""));
    for (which, port) in [(0, 30_000), (1, 30_002)] {
        assert!(!pair.modify(&mut rig, which, &at(port, "TCP")).contains("Error"));
        assert_eq!(path(rig.engine.settings(port)), None);
    }
    pair.ends(&mut rig);
}

#[test]
fn what_does_not_go_together_has_its_code_and_leaves_nothing() {
    let one = |local: &str, remote: &str| add(local, remote, "");
    let signal = |local: &str, signal: &str| add(local, "", &format!(", Signals {{ {signal} }}"));
    let msrp = |more: &str| remote("message 9 TCP/MSRP *", more);
    let sealed = |more: &str| remote("message 9 TCP/TLS/MSRP *", more);
    let realm = add(EDGE, "", "").replace("Mode = SendReceive", "Mode = SendReceive, ipdc/realm = bare");
    let hash = |hash: &str| EDGE.replace("SHA-256", hash);
    let md5 = "|a=fingerprint:md5 12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82";
    let path = format!("|a=path:{PATH}");
    let cases = [
        // What this gateway does not do.
        (501, one(&hash("SHA-512"), ""), "fingerprints"),
        (501, one(&hash("SHA-1"), ""), "fingerprints"),
        (
            501,
            one("c=IN IP4 $|m=message $ TCP/TLS/MSRP *", &sealed(&path)),
            "sealed end to end is not rewritten",
        ),
        (501, one(&format!("c=IN IP4 $|m=message $ TCP/TLS/MSRP *{path}"), ""), "not rewritten"),
        (501, realm, "no certificate"),
        (449, one(AWARE_EDGE, &sealed(md5)), "SHA-256"),
        // What cannot be read.
        (474, one(AWARE_EDGE, &sealed("|a=fingerprint:SHA-256 12:DF")), "a=fingerprint"),
        (474, one(AWARE, &msrp("|a=path:nobody")), "a=path"),
        (474, one(AWARE, &msrp("|a=path:")), "a=path"),
        (
            474,
            one(AWARE, &msrp("|a=path:msrp://a.example:7654/x;tcp msrp://b.example:7654;tcp")),
            "no session",
        ),
        // What the controller has left out or mixed up.
        (472, one(SEALED, &remote("- 9 TCP/TLS -", &peer(PEER))), "a=fingerprint of Local"),
        (472, one(AWARE, &msrp(&peer(PEER))), "a=fingerprint of Local"),
        (473, one(&format!("{PLAIN}|a=fingerprint:SHA-256 $"), ""), "no TLS"),
        (473, one(AWARE_EDGE, &msrp(&path)), "TLS is to end here"),
        (473, one(AWARE, &sealed(&path)), "TLS in the transport of Remote"),
        (449, one(&format!("{SEALED}{}", peer(OWN)), ""), "chooses its certificate"),
        (473, format!("{}, {}", one(AWARE, ""), one(PLAIN, "")), "towards both"),
        (473, format!("{}, {}", one(EDGE, ""), one(AWARE, "")), "towards both"),
        (513, signal(PLAIN, "tlsbsc/EstBNC"), "no TLS ends"),
        (513, signal(SEALED, "tlsbsc/RelBNC"), "no TLS ends"),
        (410, signal(EDGE, "tlsbsc/EstBNC { Stream = 2 }"), "Stream"),
        (446, signal(EDGE, "tlsbsc/EstBNC { Generalcause = NR }"), "Generalcause"),
        (452, signal(EDGE, "tlsbsc/ModBNC"), "ModBNC"),
    ];
    let mut rig = Rig::alg();
    for (code, commands, why) in cases {
        let reply = rig.ask(&format!("Context = $ {{ {commands} }}"));
        assert!(reply.contains(&format!("Error = {code} ")), "{code} for {commands}: {reply}");
        assert!(reply.to_lowercase().contains(&why.to_lowercase()), "{why} in {reply}");
        rig.assert_empty();
    }
}

/// A termination that is moved joins another, as one that is added does.
#[test]
fn a_move_joins_what_fits() {
    let mut rig = Rig::alg();
    let one = pair(&mut rig, &[add(AWARE, "", "")]);
    let two = pair(&mut rig, &[add(PLAIN, "", "")]);
    assert_eq!(rig.code(&format!("Context = {} {{ Move = {} }}", one.context, two.ids[0])), 473);
    let three = pair(&mut rig, &[add(AWARE_EDGE, "", "")]);
    assert_eq!(rig.code(&format!("Context = {} {{ Move = {} }}", one.context, three.ids[0])), 0);
    assert!(rig.engine.settings(30_004).edge.is_some());
    rig.ask("Context = * { W-Subtract = * { Audit { } } }");
    rig.assert_empty();
}

/// Words of others in the text of an error do not end it.
#[test]
fn what_is_repeated_in_an_error_is_quotable() {
    let mut rig = Rig::alg();
    let reply = rig.ask(&format!("Context = $ {{ {} }}", add("c=IN IP4 \"x\"|m=- $ TCP -", "", "")));
    assert!(reply.contains("Error = 474 { \"Invalid SDP: c=IN IP4 'x'\" }"), "{reply}");
}

/// If the engine forgot to say which certificate there is, nobody could be told.
#[test]
fn an_address_without_a_certificate_is_given_back() {
    let mut rig = Rig::alg();
    rig.engine.slow = true;
    assert_eq!(rig.ask(&format!("Context = $ {{ {} }}", add(EDGE, "", ""))), "");
    let Event::Bound { fingerprint, .. } = &mut rig.engine.answers[0] else { panic!() };
    *fingerprint = None;
    let [reply] = rig.answer().try_into().unwrap();
    assert_eq!(reply.body.first_error().unwrap().code, 501);
    rig.engine.slow = false;
    rig.settle();
    rig.assert_empty();
}

/// The peer has begun TLS: the gateway cannot begin it again.
#[test]
fn tls_that_stands_is_not_begun_again() {
    let mut rig = Rig::alg();
    let answer = remote("- 9 TCP/TLS -", &peer(PEER));
    let pair = pair(&mut rig, &[add(EDGE, &answer, &format!(", {EVENTS}")), add(PLAIN, "", "")]);
    let pinhole = rig.engine.pinhole(30_000);
    let seal = |rig: &mut Rig| {
        rig.media(Event::Established { pinhole, peer: "198.51.100.20:4711".parse().unwrap() });
        let (version, suite) = ("TLSv1.3".to_owned(), "TLS_AES_128_GCM_SHA256".to_owned());
        rig.media(Event::Sealed { pinhole, version, suite });
    };
    seal(&mut rig);
    assert!(told(&mut rig).contains("tlsbsc/BNCChange { Stream = 1, Type = EST }"));
    assert!(rig.events().iter().any(|event| matches!(event, Happened::Sealed { .. })));
    assert!(pair.modify(&mut rig, 0, "Signals { tlsbsc/EstBNC }").contains("Error = 513"));
    // Ended first, or on another address, it can be.
    let list = "Signals { SignalList = 1 { tlsbsc/RelBNC, tlsbsc/EstBNC } }";
    assert!(!pair.modify(&mut rig, 0, list).contains("Error"));
    assert_eq!(edge(rig.engine.settings(30_000)).0, TlsRole::Client);
    rig.media(Event::Closed { pinhole, cause: Cause::Released });
    seal(&mut rig);
    assert!(!pair.modify(&mut rig, 0, "Signals { tlsbsc/EstBNC }").contains("Error"), "it is ours already");
    pair.ends(&mut rig);
}

#[test]
fn the_end_of_tls_is_told_with_its_cause() {
    let mut rig = Rig::alg();
    let answer = remote("- 9 TCP/TLS -", &peer(PEER));
    let more = format!(", {EVENTS}");
    let pair = pair(&mut rig, &[add(EDGE, &answer, &more), add(PLAIN, "", &more)]);
    let (access, core) = (rig.engine.pinhole(30_000), rig.engine.pinhole(30_002));
    let rel = |package: &str, cause: &str, why: &str| {
        format!(
            "{package}/BNCChange {{ Stream = 1, Type = REL, Generalcause = {cause}, Failurecause = \"{why}\" }}"
        )
    };
    for (failure, why) in [
        (TlsFailure::Fingerprint, "fingerprint_mismatch"),
        (TlsFailure::NoCertificate, "no_certificate"),
        (TlsFailure::NoFingerprint, "no_fingerprint"),
        (TlsFailure::Truncated, "truncated"),
        (TlsFailure::Timeout, "timeout"),
    ] {
        rig.media(Event::Closed { pinhole: access, cause: Cause::Tls(failure) });
        let told = told(&mut rig);
        assert!(told.contains(&rel("tlsbsc", "FT", why)), "{told}");
        assert!(told.contains(&rel("tcpbcc", "FT", &format!("tls_{why}"))), "{told}");
    }
    // TLS that stood ends with its connection.
    for (cause, general, why) in [(Cause::Normal, "NR", "closed"), (Cause::NotMsrp, "FT", "not_msrp")] {
        rig.media(Event::Sealed { pinhole: access, version: "TLSv1.3".into(), suite: "x".into() });
        told(&mut rig);
        rig.media(Event::Closed { pinhole: access, cause });
        let told = told(&mut rig);
        assert!(told.contains(&rel("tlsbsc", "NR", "tcp_closed")), "{told}");
        assert!(told.contains(&rel("tcpbcc", general, why)), "{told}");
    }
    rig.media(Event::Sealed { pinhole: access, version: "TLSv1.3".into(), suite: "x".into() });
    rig.media(Event::Closed { pinhole: access, cause: Cause::Released });
    assert!(told(&mut rig).contains(&rel("tlsbsc", "NR", "released")));
    // Where there was none, none ends.
    rig.media(Event::Closed { pinhole: access, cause: Cause::Reset });
    rig.media(Event::Closed { pinhole: core, cause: Cause::Normal });
    let told = told(&mut rig);
    assert!(told.contains("tcpbcc/BNCChange") && !told.contains("tlsbsc"), "{told}");
    pair.ends(&mut rig);
}

/// An event sets a signal off that was given with it (RFC 3525 §7.1.9).
#[test]
fn tls_begins_when_an_event_says_so() {
    let mut rig = Rig::alg();
    let events = ", Events = 7 { tcpbcc/BNCChange { Embed { Signals { tlsbsc/EstBNC } } } }";
    let pair = pair(&mut rig, &[add(EDGE, "", events), add(PLAIN, "", events)]);
    for port in [30_000, 30_002] {
        let pinhole = rig.engine.pinhole(port);
        rig.media(Event::Established { pinhole, peer: "198.51.100.20:4711".parse().unwrap() });
    }
    assert_eq!(edge(rig.engine.settings(30_000)).0, TlsRole::Client);
    assert!(rig.engine.settings(30_002).edge.is_none());
    pair.ends(&mut rig);
}

/// RFC 3525 §7.1.11: a Signals descriptor replaces the one before; without one in a command it stays.
#[test]
fn the_gateway_begins_until_it_is_not_asked_to_any_more() {
    let mut rig = Rig::alg();
    let pair = pair(&mut rig, &[add(EDGE, "", ", Signals { tlsbsc/EstBNC }"), add(PLAIN, "", "")]);
    let mut role = |signals: &str| {
        assert!(!pair.modify(&mut rig, 0, signals).contains("Error"), "{signals}");
        edge(rig.engine.settings(30_000)).0
    };
    assert_eq!(role("Events"), TlsRole::Client);
    assert_eq!(role("Signals { ipnapt/latch, tlsbsc/EstBNC { KeepActive } }"), TlsRole::Client);
    assert_eq!(role("Signals { tlsbsc/EstBNC { Stream = 1 } }"), TlsRole::Client);
    assert_eq!(role("Signals { ipnapt/latch }"), TlsRole::Server);
    assert_eq!(role("Signals { tlsbsc/EstBNC { KeepActive } }"), TlsRole::Server);
    pair.ends(&mut rig);
}

/// What only a conference tells, a relay does not, even to who asks for everything.
#[test]
fn a_relay_says_nothing_of_rooms() {
    let mut rig = Rig::alg();
    let pair = pair(&mut rig, &[add(EDGE, "", ", Events = 7 { */* }"), add(PLAIN, "", "")]);
    let pinhole = rig.engine.pinhole(30_000);
    rig.media(Event::Sealed { pinhole, version: "TLSv1.3".into(), suite: "x".into() });
    let told = told(&mut rig);
    assert!(told.contains("tlsbsc/BNCChange") && !told.contains("crnroom"), "{told}");
    pair.ends(&mut rig);
}

#[test]
fn what_can_be_asked_for_is_told() {
    let mut rig = Rig::alg();
    let pair = pair(&mut rig, &[add(EDGE, "", ""), add(PLAIN, "", "")]);
    let what = "Audit { Signals, Events, Packages }";
    let reply =
        rig.ask(&format!("Context = {} {{ AuditCapability = {} {{ {what} }} }}", pair.context, pair.ids[0]));
    for item in ["tlsbsc/EstBNC", "tlsbsc/RelBNC", "tlsbsc/BNCChange { Type = {EST, REL} }", "tlsbsc-1"] {
        assert!(reply.contains(item), "{item} in {reply}");
    }
    pair.ends(&mut rig);
}

/// The message in docs/control.md is one, and does what is said of it there.
#[test]
fn the_documented_example_works() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/control.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```\n").find(|block| block.starts_with("MEGACO/3")).unwrap();
    let mut rig = Rig::alg();
    let [reply] = rig.send(rig::read(example)).try_into().unwrap();
    let reply = rig.show(reply);
    assert!(
        reply
            .contains(&format!("m=message 30000 TCP/TLS/MSRP * a=setup:passive a=fingerprint:SHA-256 {OWN}"))
    );
    let (access, core) = (rig.engine.settings(30_000), rig.engine.settings(30_002));
    assert_eq!(edge(access), (TlsRole::Server, vec![format!("SHA-256 {PEER}")]));
    assert_eq!((path(access).as_deref(), path(core).as_deref()), (Some(PATH), Some("")));
}
