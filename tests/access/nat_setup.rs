//! Every row of the table of docs/plan.md that says who connects, with sipp as both terminals and the
//! translators of addresses that the rows speak of.

use crate::lab::Lab;
use crate::nat_lab::{self, BORDER, Home, Nat};
use crate::network::PATIENCE;
use std::time::{Duration, Instant};

const CALLER: &str = include_str!("sipp/caller.xml");
const CALLED: &str = include_str!("sipp/called.xml");
const REGISTER: &str = include_str!("sipp/register.xml");

/// What a line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Messages in clear, past which nobody rewrites.
    Messages,
    /// Messages sealed from end to end; whether offer and answer say that the key exchange decides about TLS.
    Sealed(bool, bool),
    Floors,
}

use Kind::{Floors, Messages, Sealed};

/// One call. `-` is no `a=setup` at all.
#[derive(Debug, Clone, Copy)]
struct Row {
    kind: Kind,
    /// Behind a translator: the offerer, the answerer.
    nat: (bool, bool),
    offered: &'static str,
    /// What the answerer sees; `!` if no offer comes to him.
    seen: &'static str,
    answered: &'static str,
    /// What the offerer sees; `!` if the call is refused with 488.
    heard: &'static str,
}

const fn row(kind: Kind, nat: (bool, bool), [offered, seen, answered, heard]: [&'static str; 4]) -> Row {
    Row { kind, nat, offered, seen, answered, heard }
}

const ROWS: &[Row] = &[
    row(Messages, (false, false), ["active", "active", "passive", "passive"]),
    row(Messages, (false, true), ["active", "actpass", "active", "passive"]),
    row(Floors, (false, true), ["active", "passive", "active", "passive"]),
    row(Floors, (false, false), ["passive", "passive", "active", "active"]),
    row(Messages, (false, false), ["actpass", "actpass", "active", "active"]),
    row(Messages, (false, false), ["actpass", "actpass", "passive", "passive"]),
    row(Messages, (true, false), ["actpass", "actpass", "active", "passive"]),
    row(Messages, (true, true), ["actpass", "actpass", "active", "passive"]),
    row(Messages, (true, false), ["actpass", "actpass", "passive", "passive"]),
    row(Floors, (false, false), ["holdconn", "holdconn", "holdconn", "holdconn"]),
    row(Messages, (false, false), ["-", "-", "-", "-"]),
    // Sealed: exactly one end connects, unless both say that TLS does not depend on it.
    row(Sealed(true, true), (false, false), ["actpass", "actpass", "active", "active"]),
    row(Sealed(true, true), (false, true), ["actpass", "actpass", "active", "active"]),
    row(Sealed(true, true), (true, false), ["active", "active", "passive", "passive"]),
    row(Sealed(false, false), (true, false), ["actpass", "active", "passive", "passive"]),
    row(Sealed(true, true), (true, true), ["active", "actpass", "active", "passive"]),
    row(Sealed(false, false), (true, true), ["active", "!", "", "!"]),
    row(Sealed(true, false), (true, true), ["active", "actpass", "active", "!"]),
];

/// The media line of an offer or an answer.
fn line(kind: Kind, setup: &str, offers: bool) -> String {
    let (user, port) =
        if offers { ("offer", if setup == "active" { 9 } else { 20_000 }) } else { ("answer", 20_001) };
    let setup = if setup == "-" { String::new() } else { format!("a=setup:{setup}\n") };
    match kind {
        Messages => format!(
            "m=message {port} TCP/MSRP *\n{setup}a=accept-types:text/plain\na=path:msrp://{user}.example:{port}/x;tcp\n\
             a=msrp-cema"
        ),
        Sealed(offer, answer) => {
            let says = if if offers { offer } else { answer } { "a=x-carnet-tlsrole:mikey\n" } else { "" };
            format!(
                "m=message {port} TCP/TLS/MSRP *\n{setup}{says}a=accept-types:text/plain\n\
                 a=path:msrps://{user}.example:{port}/x;tcp\na=msrp-cema\na=key-mgmt:mikey AQQFgLINEof{user}0123"
            )
        }
        Floors if offers => {
            format!("m=application {port} TCP/BFCP *\n{setup}a=connection:new\na=floorctrl:c-only")
        }
        Floors => format!(
            "m=application {port} TCP/BFCP *\n{setup}a=connection:new\na=floorctrl:s-only\na=confid:1\na=userid:2"
        ),
    }
}

/// What looks at the `a=setup` of a body; and at the attribute that nobody between the ends may touch.
fn check(row: &Row, setup: &str, said: bool) -> String {
    let (text, inverse) = match setup {
        "-" => ("a=setup".to_owned(), true),
        setup => (format!("a=setup:{setup}"), false),
    };
    let one = |text: &str, inverse: bool, to: u8| {
        let how = if inverse { "check_it_inverse" } else { "check_it" };
        format!("<ereg regexp=\"{text}\" search_in=\"body\" {how}=\"true\" assign_to=\"{to}\"/>\n")
    };
    let says = matches!(row.kind, Sealed(..)) && said;
    one(&text, inverse, 1) + &one("a=x-carnet-tlsrole:mikey", !says, 2)
}

/// Both sides of a row, and what they end with.
fn run(row: &Row) {
    let homes_of =
        |user, translated| Home { user, nat: if translated { Nat::Restricted } else { Nat::None } };
    let (alice, bob) = (homes_of("alice", row.nat.0), homes_of("bob", row.nat.1));
    let Some(mut lab) = nat_lab::built(&[&alice, &bob]) else { return };
    // sipp knows no other.
    lab.edit("operator.toml", "users = \"users.toml\" }", "users = \"users.toml\", digest = [\"MD5\"] }");
    nat_lab::run(&mut lab, "operator", "operator");
    lab.wait_for("operator", "err", "gateway-up", PATIENCE);
    let said = match row.kind {
        Sealed(offer, answer) => (offer, answer),
        _ => (false, false),
    };
    let register = |user: &str| REGISTER.replace("@USER@", user);
    let outcome = if row.heard == "!" {
        let warns =
            "<ereg regexp=\"399\" search_in=\"hdr\" header=\"Warning:\" check_it=\"true\" assign_to=\"1\"/>";
        format!(
            "<recv response=\"488\"><action>{warns}</action></recv>\n<Reference variables=\"1\"/>\n{}",
            ""
        )
    } else {
        let request = |method: &str, cseq: u8| {
            format!(
                "<send{}><![CDATA[\n{method} [next_url] SIP/2.0\n\
                 Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n[routes]\nMax-Forwards: 70\n\
                 From: <sip:alice@a.example>;tag=[pid]c[call_number]\nTo: <sip:bob@a.example>[peer_tag_param]\n\
                 Call-ID: [call_id]\nCSeq: {cseq} {method}\nContent-Length: 0\n\n]]></send>\n",
                if method == "BYE" { " retrans=\"500\"" } else { "" }
            )
        };
        format!(
            "<recv response=\"200\" rrs=\"true\"><action>{}</action></recv>\n<Reference variables=\"1,2\"/>\n{}{}\
             <recv response=\"200\"/>",
            check(row, row.heard, said.1),
            request("ACK", 3),
            request("BYE", 4)
        )
    };
    let scenario = |text: &str, user: &str| text.replace("@REGISTER@", &register(user));
    lab.file(
        "caller.xml",
        &scenario(CALLER, "alice")
            .replace("@LINE@", &line(row.kind, row.offered, true))
            .replace("@OUTCOME@", &outcome),
    );
    lab.file(
        "called.xml",
        &CALLED
            .replace("@LINE@", &line(row.kind, row.answered, false))
            .replace("@CHECK@", &check(row, row.seen, said.0)),
    );
    lab.file(
        "here.xml",
        &format!("<?xml version=\"1.0\"?>\n<scenario name=\"here\">\n{}</scenario>\n", register("bob")),
    );
    // Port and mapping stay when the next program takes the place of the one that registered.
    let here = sipp(&mut lab, &bob, "here");
    ended(&mut lab, here, row);
    let called = (row.seen != "!").then(|| sipp(&mut lab, &bob, "called"));
    if called.is_some() {
        bound(&lab, "bob");
    }
    let caller = sipp(&mut lab, &alice, "caller");
    ended(&mut lab, caller, row);
    if let Some(called) = called {
        ended(&mut lab, called, row);
    }
}

fn sipp(lab: &mut Lab, home: &Home, scenario: &str) -> usize {
    let mut command = lab.command(home.user, "sipp");
    command.args([
        "-sf",
        &format!("{scenario}.xml"),
        "-i",
        &home.inner(),
        "-p",
        "5060",
        "-t",
        "u1",
        "-m",
        "1",
    ]);
    command.args(["-nostdin", "-trace_err", "-auth_uri", "a.example", "-timeout", "60"]);
    command.arg(format!("{BORDER}:5060"));
    lab.start(&format!("{}-{scenario}", home.user), command)
}

/// Waits until a terminal has its port.
fn bound(lab: &Lab, host: &str) {
    let until = Instant::now() + PATIENCE;
    let is_bound = || {
        let output = lab.command(host, "ss").args(["-Hlnu"]).output().expect("ss");
        String::from_utf8_lossy(&output.stdout).contains(":5060 ")
    };
    while !is_bound() {
        assert!(Instant::now() < until, "nothing is bound on {host}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// sipp ends with 0 only if the call went as the scenario has it, with what it looks for in the bodies.
fn ended(lab: &mut Lab, run: usize, row: &Row) {
    let code = lab.process(run).wait(PATIENCE);
    if code == Some(0) {
        return;
    }
    lab.show();
    for entry in std::fs::read_dir(lab.directory()).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.to_string_lossy().contains("_errors.log") {
            eprintln!("--- {}\n{}", path.display(), std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
    panic!("{row:?}: {code:?}");
}

fn have_sipp() -> bool {
    let here = std::process::Command::new("sipp").arg("-v").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "sipp is required here");
        eprintln!("skipped: sipp is not installed");
    }
    here
}

#[test]
fn who_connects_in_clear() {
    if have_sipp() {
        ROWS.iter().filter(|row| !matches!(row.kind, Sealed(..))).for_each(run);
    }
}

#[test]
fn who_connects_where_tls_goes_from_end_to_end() {
    if have_sipp() {
        ROWS.iter().filter(|row| matches!(row.kind, Sealed(..))).for_each(run);
    }
}
