//! The rows of the tables (TS 23.334 §6.2.10, §6.2.18, §5.19; RFC 4145, 6135, 6714): what the other end
//! receives and what comes back, a pair of sipp scenarios each.

use super::stage::{PATIENCE, Stage, address};
use serde_json::json;
use std::fmt::Write as _;
use std::process::Command;

/// Lines that must be in a description, or after `!` must not, as regular expressions.
type Lines = &'static [&'static str];

/// Who offers what to whom, what of it arrives, what is answered, and what of that.
struct Row {
    name: &'static str,
    ends: (&'static str, &'static str),
    media: &'static str,
    offer: Lines,
    arrives: Lines,
    answer: Lines,
    returns: Lines,
}

/// The address that an agent believes it has; one behind a NAT is wrong.
fn believed(agent: &str, nats: &[&str]) -> String {
    if nats.contains(&agent) { format!("10.99.0.{}", agent.len()) } else { address(agent).to_owned() }
}

/// Everybody has registered and left the port of SIP to sipp. `nats` are behind a translator.
fn stage(nats: &[&str], edge: &[&str], border: &[(&str, &str)]) -> Option<Stage> {
    let here = Command::new("sipp").arg("-v").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "sipp is required here");
        return None;
    }
    let mut stage = Stage::with(border, &[])?;
    for agent in ["alice", "bob"] {
        let security: &[&str] =
            if edge.contains(&agent) { &["msrp-tls;mediasec", "bfcp-tls;mediasec"] } else { &[] };
        stage.tell(agent, &json!({"do": "believe", "address": believed(agent, nats)}));
        stage.register(agent, security);
    }
    for agent in ["alice", "bob", "server"] {
        let index = stage.lab.named(agent);
        stage.lab.process(index).signal("KILL");
        assert!(stage.lab.process(index).wait(PATIENCE).is_some());
    }
    Some(stage)
}

impl Row {
    fn sdp(&self, agent: &str, lines: Lines, nats: &[&str]) -> String {
        let ip = believed(agent, nats);
        let active = lines.contains(&"a=setup:active");
        let port = if active { 9 } else { 7000 };
        // Where TLS ends in between, the two ends have transports of their own.
        let own = lines.iter().find_map(|line| line.strip_prefix("m="));
        let media = own.unwrap_or(self.media).replacen(' ', &format!(" {port} "), 1);
        let mut text = format!("v=0\no=- 1 1 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\nm={media}\n");
        for line in lines.iter().filter(|line| !line.starts_with("m=")) {
            let _ = writeln!(text, "{}", line.replace("@OWN@", &ip));
        }
        text.trim_end().to_owned()
    }

    /// A scenario in a file of the lab.
    fn write(
        &self,
        stage: &Stage,
        (name, text): (&str, &str),
        (agent, nats): (&str, &[&str]),
        (own, checks): (Lines, Lines),
    ) {
        let (mut actions, mut variables) = (String::new(), Vec::new());
        for (index, check) in checks.iter().enumerate() {
            let number = (index + 1).to_string();
            let (check, how) = match check.strip_prefix('!') {
                Some(absent) => (absent, "check_it_inverse"),
                None => (*check, "check_it"),
            };
            let place = match check.strip_prefix("Warning:") {
                Some(_) => "search_in=\"hdr\" header=\"Warning:\"",
                None => "search_in=\"body\"",
            };
            let check = check.trim_start_matches("Warning:").replace('"', "&quot;");
            let _ = writeln!(
                actions,
                "      <ereg regexp=\"{check}\" {place} {how}=\"true\" assign_to=\"{number}\"/>"
            );
            variables.push(number);
        }
        let uri = match self.ends.1 {
            "server" => "sip:server@core.example".to_owned(),
            user => format!("sip:{user}@a.example"),
        };
        let text = text
            .replace("@URI@", &uri)
            .replace("@USER@", agent)
            .replace("@ADDRESS@", &believed(agent, nats))
            .replace("@SDP@", &self.sdp(agent, own, nats))
            .replace("@CHECKS@", actions.trim_end())
            .replace("@VARIABLES@", &variables.join(","));
        stage.lab.file(name, &text);
    }

    fn start(stage: &mut Stage, agent: &str, file: &str, more: &[&str]) -> usize {
        let mut command = stage.lab.command(agent, "sipp");
        command.args(["-sf", file, "-i", address(agent), "-p", "5060", "-nostdin", "-trace_err", "-m", "1"]);
        command
            .args(["-default_behaviors", "all,-abortunexp", "-timeout", "60s", "-timeout_error"])
            .args(more);
        stage.lab.start(&format!("{agent}-{file}"), command)
    }

    fn ended(&self, stage: &mut Stage, run: usize, who: &str) {
        let code = stage.lab.process(run).wait(PATIENCE * 2);
        if code != Some(0) {
            for entry in std::fs::read_dir(stage.lab.directory()).unwrap().flatten() {
                if entry.path().to_string_lossy().contains("_errors.log") {
                    eprintln!("{}", std::fs::read_to_string(entry.path()).unwrap());
                }
            }
            stage.lab.show();
        }
        assert_eq!(code, Some(0), "{}: {who}", self.name);
    }

    fn refused(&self) -> bool {
        self.arrives.iter().any(|line| line.starts_with("Warning:"))
    }

    fn run(&self, stage: &mut Stage, nats: &[&str]) {
        let (from, to) = self.ends;
        let proxy = if from == "server" { "10.1.0.1:5060" } else { "198.51.100.1:5060" };
        if self.refused() {
            let text = include_str!("sipp/refused.xml");
            self.write(stage, ("caller.xml", text), (from, nats), (self.offer, self.arrives));
            let caller = Self::start(stage, from, "caller.xml", &[proxy]);
            return self.ended(stage, caller, "the refusal");
        }
        let text = include_str!("sipp/callee.xml");
        self.write(stage, ("callee.xml", text), (to, nats), (self.answer, self.arrives));
        let text = include_str!("sipp/caller.xml");
        self.write(stage, ("caller.xml", text), (from, nats), (self.offer, self.returns));
        let callee = Self::start(stage, to, "callee.xml", &[]);
        stage.lab.until(PATIENCE, "the callee listens", |lab| {
            let output = lab.command(to, "ss").args(["-Hlun", "sport = 5060"]).output().unwrap();
            !output.stdout.is_empty()
        });
        let caller = Self::start(stage, from, "caller.xml", &[proxy]);
        self.ended(stage, caller, "who offered");
        self.ended(stage, callee, "who answered");
    }
}

fn run(nats: &[&str], edge: &[&str], border: &[(&str, &str)], rows: &[Row]) {
    let Some(mut stage) = stage(nats, edge, border) else { return };
    for row in rows {
        row.run(&mut stage, nats);
        stage.idle();
    }
}

const MSRP: &str = "message TCP/MSRP *";
const SEALED: &str = "message TCP/TLS/MSRP *";
const BFCP: &str = "application TCP/BFCP *";

/// RFC 4145 as a border may change it: who connects, where nothing is sealed from end to end.
#[test]
fn who_connects() {
    const PATH: &str = "a=path:msrp://@OWN@:7000/s1;tcp";
    const CEMA: &str = "a=msrp-cema";
    let row = |name, ends, offered: Lines, arrives: Lines, answered: Lines, returns: Lines| Row {
        name,
        ends,
        media: if offered.contains(&PATH) { MSRP } else { BFCP },
        offer: offered,
        arrives,
        answer: answered,
        returns,
    };
    let rows = [
        row(
            "active, reachable",
            ("alice", "server"),
            &["a=setup:active", PATH, CEMA],
            &["a=setup:active", "c=IN IP4 10.1.0.2", "TCP/MSRP", "a=path:msrp://198.51.100.10:7000/s1;tcp"],
            &["a=setup:passive", PATH, CEMA],
            &[
                "a=setup:passive",
                "c=IN IP4 198.51.100.2",
                "a=path:msrp://10.1.0.9:7000/s1;tcp",
                "a=msrp-cema",
            ],
        ),
        row(
            "active, the other behind a NAT: MSRP",
            ("server", "bob"),
            &["a=setup:active", PATH, CEMA],
            &["a=setup:actpass", "c=IN IP4 198.51.100.2"],
            &["a=setup:active", PATH, CEMA],
            &["a=setup:passive"],
        ),
        row(
            "active, the other behind a NAT: BFCP",
            ("server", "bob"),
            &["a=setup:active", "a=connection:new"],
            &["a=setup:passive", "a=connection:new"],
            &["a=setup:active", "a=connection:new"],
            &["a=setup:passive"],
        ),
        row(
            "passive",
            ("server", "alice"),
            &["a=setup:passive", "a=connection:new"],
            &["a=setup:passive"],
            &["a=setup:active", "a=connection:new"],
            &["a=setup:active"],
        ),
        row(
            "actpass, answered active",
            ("server", "alice"),
            &["a=setup:actpass", PATH, CEMA],
            &["a=setup:actpass"],
            &["a=setup:active", PATH, CEMA],
            &["a=setup:active"],
        ),
        row(
            "actpass, answered passive",
            ("server", "alice"),
            &["a=setup:actpass", PATH, CEMA],
            &["a=setup:actpass"],
            &["a=setup:passive", PATH, CEMA],
            &["a=setup:passive"],
        ),
        row(
            "actpass behind a NAT, answered active: merged",
            ("bob", "server"),
            &["a=setup:actpass", PATH, CEMA],
            &["a=setup:actpass"],
            &["a=setup:active", PATH, CEMA],
            &["a=setup:passive"],
        ),
        row(
            "actpass behind a NAT, answered passive",
            ("bob", "server"),
            &["a=setup:actpass", PATH, CEMA],
            &["a=setup:actpass"],
            &["a=setup:passive", PATH, CEMA],
            &["a=setup:passive"],
        ),
        row(
            "holdconn",
            ("server", "alice"),
            &["a=setup:holdconn", "a=connection:new"],
            &["a=setup:holdconn"],
            &["a=setup:holdconn", "a=connection:new"],
            &["a=setup:holdconn"],
        ),
        row("none", ("server", "alice"), &[PATH, CEMA], &["!a=setup"], &[PATH, CEMA], &["!a=setup"]),
    ];
    run(&["bob"], &[], &[], &rows);
}

/// TS 23.334 §6.2.10A: what is sealed passes as it came, and exactly one end connects.
#[test]
fn what_is_sealed_passes_as_it_came() {
    const LINES: Lines = &[
        "a=setup:actpass",
        "a=path:msrps://@OWN@:7000/s1;tcp",
        "a=msrp-cema",
        "a=fingerprint:SHA-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1",
        "a=tls-id:abc3de65cddef001be82",
        "a=key-mgmt:mikey AQQFgOFFERSEALEDlineASitCAME0123+/==",
        "a=x-unknown:  kept too",
    ];
    const KEPT: Lines = &[
        "m=message [0-9]+ TCP/TLS/MSRP",
        "a=msrp-cema",
        "a=fingerprint:SHA-256 4A:AD:B9:B1:3F:82:18",
        "a=tls-id:abc3de65cddef001be82",
        "a=key-mgmt:mikey AQQFgOFFERSEALEDlineASitCAME0123[+]/==",
        "a=x-unknown:  kept too",
        "!a=3ge2ae",
    ];
    const ANSWER: Lines = &[
        "a=setup:passive",
        "a=path:msrps://@OWN@:7000/s2;tcp",
        "a=msrp-cema",
        "a=key-mgmt:mikey AQQFgANSWERsealedLINEasITcame4567+/==",
    ];
    const BACK: Lines =
        &["a=setup:passive", "a=key-mgmt:mikey AQQFgANSWERsealedLINEasITcame4567[+]/==", "TCP/TLS/MSRP"];
    const CONNECTS: Lines = &["a=setup:active", "a=fingerprint:SHA-256 4A:AD"];
    const REFUSED: Lines = &["Warning:399.*clients"];
    let row = |name, ends, arrives: Lines| Row {
        name,
        ends,
        media: SEALED,
        offer: LINES,
        arrives,
        answer: ANSWER,
        returns: BACK,
    };
    let rows = [
        row("both can be reached", ("server", "alice"), KEPT),
        row("the offerer is behind a NAT and must connect", ("bob", "server"), CONNECTS),
        row("to a terminal that has registered for more", ("bob", "alice"), CONNECTS),
    ];
    run(&["bob"], &["alice"], &[], &rows);
    // Neither can be reached, and nobody says that the key exchange gives the roles.
    let rows = [row("two that must connect", ("bob", "alice"), REFUSED)];
    run(&["alice", "bob"], &[], &[], &rows);
}

/// TS 23.334 §6.2.10.3: on the core side the description is clean of it.
#[test]
fn the_edge_is_seen_by_the_access_only() {
    const FP: &str = "a=fingerprint:SHA-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1";
    const CLEAN: Lines =
        &["TCP/MSRP", "!fingerprint", "!tls-id", "!3ge2ae", "a=x-unknown:  kept too", "a=msrp-cema"];
    let rows = [
        Row {
            name: "a terminal asks for it",
            ends: ("alice", "server"),
            media: SEALED,
            offer: &[
                "a=setup:actpass",
                "a=path:msrps://@OWN@:7000/s1;tcp",
                "a=msrp-cema",
                FP,
                "a=tls-id:abc3de65cddef001be82",
                "a=3ge2ae:requested",
                "a=x-unknown:  kept too",
            ],
            arrives: CLEAN,
            answer: &[
                "m=message TCP/MSRP *",
                "a=setup:active",
                "a=path:msrp://@OWN@:7000/s2;tcp",
                "a=msrp-cema",
            ],
            returns: &["TCP/TLS/MSRP", "a=fingerprint:(SHA|sha)-256 ", "!4A:AD:B9", "!3ge2ae"],
        },
        Row {
            name: "a terminal that has registered for it is called",
            ends: ("server", "alice"),
            media: MSRP,
            offer: &["a=setup:actpass", "a=path:msrp://@OWN@:7000/s1;tcp", "a=msrp-cema"],
            arrives: &["TCP/TLS/MSRP", "a=fingerprint:(SHA|sha)-256 ", "a=3ge2ae:applied", "a=setup:actpass"],
            answer: &[
                "m=message TCP/TLS/MSRP *",
                "a=setup:active",
                "a=path:msrps://@OWN@:7000/s2;tcp",
                "a=msrp-cema",
                FP,
                "a=tls-id:abc3de65cddef001be82",
                "a=x-unknown:  kept too",
            ],
            returns: CLEAN,
        },
        Row {
            name: "asked for on a line in clear",
            ends: ("alice", "server"),
            media: MSRP,
            offer: &["a=setup:actpass", "a=path:msrp://@OWN@:7000/s1;tcp", "a=3ge2ae:requested"],
            arrives: &["Warning:304.*without TLS"],
            answer: &[],
            returns: &[],
        },
        Row {
            name: "asked for with a word that nobody knows",
            ends: ("alice", "server"),
            media: SEALED,
            offer: &["a=setup:actpass", "a=path:msrps://@OWN@:7000/s1;tcp", FP, "a=3ge2ae:perhaps"],
            arrives: &["Warning:306.*3ge2ae"],
            answer: &[],
            returns: &[],
        },
        Row {
            name: "asked for from the core",
            ends: ("server", "alice"),
            media: SEALED,
            offer: &["a=setup:actpass", "a=path:msrps://@OWN@:7000/s1;tcp", FP, "a=3ge2ae:requested"],
            arrives: &["Warning:304.*access edge"],
            answer: &[],
            returns: &[],
        },
    ];
    run(&[], &["alice"], &[], &rows);
}

/// TS 23.334 table 5.19.1-1.
#[test]
fn how_msrp_is_addressed() {
    const PLAIN: Lines = &["a=setup:actpass", "a=path:msrp://@OWN@:7000/s1;tcp"];
    const CEMA: Lines = &["a=setup:actpass", "a=path:msrp://@OWN@:7000/s1;tcp", "a=msrp-cema"];
    const GATEWAY: Lines = &["a=path:msrp://198.51.100.2:[0-9]+/s1;tcp", "!msrp-cema"];
    const ANSWER: Lines = &["a=setup:active", "a=path:msrp://@OWN@:7000/s2;tcp"];
    const BACK: Lines = &["a=path:msrp://10.1.0.2:[0-9]+/s2;tcp", "!msrp-cema"];
    let row = |name, offer: Lines, arrives: Lines, returns: Lines| Row {
        name,
        ends: ("server", "alice"),
        media: MSRP,
        offer,
        arrives,
        answer: ANSWER,
        returns,
    };
    run(&[], &[], &[], &[row("plain, plain", PLAIN, GATEWAY, BACK)]);
    let plain = ("subscribers = true", "subscribers = true\nmsrp = \"plain\"");
    run(&[], &[], &[plain], &[row("CEMA, plain", CEMA, GATEWAY, BACK)]);
    let sessmatch = "subscribers = true\nmsrp = \"sessmatch\"";
    run(&[], &[], &[("subscribers = true", sessmatch)], &[row("CEMA, sessmatch", CEMA, GATEWAY, BACK)]);
    let core = "listen = [\"udp:10.1.0.1:5060\"]\nmsrp = \"sessmatch\"";
    let both = [("subscribers = true", sessmatch), ("listen = [\"udp:10.1.0.1:5060\"]", core)];
    let rows = [row("sessmatch, sessmatch", PLAIN, GATEWAY, BACK)];
    run(&[], &[], &both, &rows);
    let rows = [Row {
        name: "sealed from end to end without CEMA",
        ends: ("server", "alice"),
        media: SEALED,
        offer: &["a=setup:actpass", "a=path:msrps://@OWN@:7000/s1;tcp"],
        arrives: &["Warning:399.*msrp-cema"],
        answer: &[],
        returns: &[],
    }];
    run(&[], &[], &[], &rows);
}
