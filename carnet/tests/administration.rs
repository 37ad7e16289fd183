//! The key server as a process: administered by command line, asked over HTTP that is written by
//! hand, killed, and put on a disk that is full.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_mikey::{Error, GrantedTicket, Identity, Profile, Psk, Received, request_init};
use carnet_wire::{SeededRandom, hex};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

struct Place {
    dir: tempfile::TempDir,
    address: SocketAddr,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A port that is free now and, most likely, in a moment.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "[kms]\nname = \"kms.example\"\nlisten = \"{address}\"\ndata = \"data\"\nrate = 100000\n"
        );
        std::fs::write(dir.path().join("carnet.toml"), config).unwrap();
        Self { dir, address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(CARNET);
        command.arg("kms").arg("-c").arg(self.path("carnet.toml")).args(args);
        command
    }

    fn kms(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        let out = self.kms(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Starts the server with files of at most `limit` blocks of 512 octets, and waits for it.
    fn start(&self, limit: Option<u64>) -> Server {
        let limit = limit.map_or("unlimited".into(), |n| n.to_string());
        // Ignoring SIGXFSZ turns the limit into an error of write, as a full disk is.
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" run --grace 1 -c \"$1\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, CARNET])
            .arg(self.path("carnet.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready.trim(), "ready");
        Server(child)
    }

    /// Posts a ticket request for alice to bob; the HTTP status, and the ticket if there is one.
    fn ticket(&self, psk: &Psk, seed: u64) -> (u16, Result<GrantedTicket, Error>) {
        let id = |s| Identity::from_uri(s).unwrap();
        let (pending, octets) = request_init(
            &Profile::default(),
            SystemTime::now(),
            &mut SeededRandom::new(seed),
            &id("sip:alice@x.example"),
            b"sip:alice@x.example",
            psk,
            &id("sip:kms.example"),
            &id("sip:bob@x.example"),
        );
        let (status, answer) = self.post("ticketrequest", &octets);
        (status, pending.response(&answer, SystemTime::now()))
    }

    /// Has bob open a ticket of alice; the HTTP status, and what he makes of the answer.
    fn resolve(&self, ticket: &GrantedTicket, psk: &Psk, seed: u64) -> (u16, Result<(), Error>) {
        let (profile, mut rng) = (Profile::default(), SeededRandom::new(seed));
        let (_, offer) = ticket.offer(&profile, SystemTime::now(), &mut rng);
        let received = Received::parse(&profile, SystemTime::now(), &offer).unwrap();
        let id = |s| Identity::from_uri(s).unwrap();
        let (bob, kms) = (id("sip:bob@x.example"), id("sip:kms.example"));
        let (pending, octets) = received.resolve_init(SystemTime::now(), &mut rng, &bob, b"bob", psk, &kms);
        let (status, answer) = self.post("ticketresolve", &octets);
        (status, pending.response(&received, &answer, SystemTime::now(), &mut rng).map(drop))
    }

    /// Posts a message; the HTTP status and the body of the answer.
    fn post(&self, what: &str, octets: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!(
            "POST /keymanagement?requesttype={what} HTTP/1.1\r\nHost: kms\r\nConnection: close\r\n\
             Content-Type: application/mikey\r\nContent-Length: {}\r\n\r\n",
            octets.len()
        );
        stream.write_all(&[head.as_bytes(), octets].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer.split_off(end))
    }

    fn audit(&self) -> Vec<Value> {
        let text = self.done(&["--json", "audit", "--most", "100000"]);
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
}

fn key_of(text: &str) -> Psk {
    Psk::new(&hex::decode(text.trim().as_bytes()).unwrap()).unwrap()
}

#[test]
fn users_come_and_tickets_go_while_it_runs_and_while_it_does_not() {
    let place = Place::new();
    // The service has never run: adding a user makes its data.
    let file = place.path("alice.psk");
    place.done(&["user", "add", "sip:alice@x.example", "--out", file.to_str().unwrap()]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(place.path("data")).unwrap().permissions().mode() & 0o777, 0o700);
    let again =
        place.kms(&["user", "add", "sip:alice@x.example", "--out", place.path("x").to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("already a user"), "{again:?}");
    assert!(!Path::new(&place.path("x")).exists(), "a key that is worth nothing was left behind");
    let psk = key_of(&std::fs::read_to_string(&file).unwrap());

    let server = place.start(None);
    assert_eq!(place.ticket(&psk, 1).0, 403);
    let bob = place.done(&["user", "add", "bob", "sip:bob@x.example"]);
    assert_eq!(key_of(&bob).expose().len(), 32);
    let (status, ticket) = place.ticket(&psk, 2);
    assert_eq!((status, ticket.is_ok()), (200, true));
    // Another administrator's words are the same while it runs.
    assert_eq!(
        place.done(&["user", "list"]),
        "bob sip:bob@x.example\nsip:alice@x.example sip:alice@x.example\n"
    );
    drop(server);

    // It was killed. The socket is still there and nobody behind it.
    assert_eq!(place.audit().len(), 1);
    std::fs::write(place.path("policy"), "# nobody calls bob\ndeny * sip:bob@x.example\notherwise allow\n")
        .unwrap();
    let policy = place.done(&["policy", "set", place.path("policy").to_str().unwrap()]);
    assert_eq!(policy, "deny * sip:bob@x.example\notherwise allow\n");
    let _server = place.start(None);
    assert_eq!(place.ticket(&psk, 3).0, 403);
    let line = place.done(&["audit"]);
    assert!(
        line.contains(
            "issued sip:alice@x.example -> sip:bob@x.example by sip:alice@x.example from 127.0.0.1"
        )
    );
}

#[test]
fn one_ticket_is_revoked_and_stays_so() {
    let place = Place::new();
    let alice = key_of(&place.done(&["user", "add", "sip:alice@x.example"]));
    let bob = key_of(&place.done(&["user", "add", "bob", "sip:bob@x.example"]));
    let mut server = Some(place.start(None));
    let ticket = |seed| place.ticket(&alice, seed).1.unwrap();
    let (stolen, other, idle) = (ticket(1), ticket(2), ticket(3));
    for ticket in [&stolen, &other] {
        assert_eq!(place.resolve(ticket, &bob, 4).0, 200);
    }
    let names: Vec<String> = place.audit().iter().map(|r| r["ticket"].as_str().unwrap().to_owned()).collect();

    // By the sixteen letters that lists and events print, while the service runs.
    let said = place.done(&["revoke-ticket", &names[0][..16]]);
    assert!(
        said.contains(&format!("ticket {} sip:alice@x.example -> sip:bob@x.example", names[0])),
        "{said}"
    );
    // RFC 6043 §5.4, and the status for who may not.
    let refused = |seed| place.resolve(&stolen, &bob, seed);
    let expected = (403, Err(Error::Refused { number: 15, authenticated: true }));
    assert_eq!(refused(5), expected);
    assert_eq!(place.resolve(&other, &bob, 6).0, 200);

    // Who did what is written down, once.
    place.done(&["revoke-ticket", &names[0].to_uppercase()]);
    let revocations: Vec<Value> = place.audit().into_iter().filter(|r| r["deed"] == "revoked").collect();
    assert_eq!(revocations.len(), 1);
    assert_eq!(revocations[0]["ticket"], names[0]);
    assert_eq!(revocations[0]["user"], format!("uid {}", rustix::process::geteuid().as_raw()));

    // It is on disk: neither a kill nor a start changes it, and without the service it can be done as well.
    drop(server.take());
    place.done(&["revoke-ticket", &names[2]]);
    let _server = place.start(None);
    // What was sent before the start is a replay.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(refused(7), expected);
    assert_eq!(place.resolve(&idle, &bob, 8), expected);
    assert_eq!(place.resolve(&other, &bob, 9).0, 200);

    for (name, why) in [
        ("0123456789abcdef", "there is no ticket"),
        ("0123", "16 to 64 letters"),
        ("zzzzzzzzzzzzzzzz", "16 to 64 letters"),
        (&*format!("{}0", names[0]), "16 to 64 letters"),
    ] {
        let out = place.kms(&["revoke-ticket", name]);
        assert_eq!(out.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&out.stderr).contains(why), "{name}: {out:?}");
    }
}

#[test]
fn users_are_imported_all_or_none() {
    let place = Place::new();
    let list = place.path("users");
    let import = |text: &str, out: &str| {
        std::fs::write(&list, text).unwrap();
        place.kms(&["user", "import", list.to_str().unwrap(), "--out", place.path(out).to_str().unwrap()])
    };
    let key = "ab".repeat(32);
    let out =
        import(&format!("# two\nalice sip:a@x.example,tel:+1-555 {key}\n\nbob sip:b@x.example\n"), "made");
    assert!(out.status.success(), "{out:?}");
    let made = std::fs::read_to_string(place.path("made")).unwrap();
    assert!(made.starts_with("bob ") && made.lines().count() == 1);
    let users = "alice sip:a@x.example tel:+1555\nbob sip:b@x.example\n";
    assert_eq!(place.done(&["user", "list"]), users);
    for (bad, why) in [
        ("carol sip:c@x.example\ndave sip:b@x.example\n", "already belongs"),
        ("carol sip:c@x.example zz\n", "not hex"),
        ("carol\n", "line 1"),
        ("carol mailto:c@x\n", "mailto:c@x"),
    ] {
        let out = import(bad, "none");
        assert_eq!(out.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&out.stderr).contains(why), "{bad}: {out:?}");
        assert!(!place.path("none").exists());
    }
    assert_eq!(place.done(&["user", "list"]), users);
}

#[test]
fn a_user_whose_key_cannot_be_shown_is_not_added() {
    let place = Place::new();
    place.done(&["user", "add", "sip:first@x.example"]);
    std::fs::write(place.path("users"), "bob sip:bob@x.example\ncarol sip:carol@x.example\n").unwrap();
    let users = place.path("users");
    let commands: [&[&str]; 3] = [
        &["user", "add", "sip:lost@x.example"],
        &["user", "add", "sip:lost@x.example", "--json"],
        &["user", "import", users.to_str().unwrap()],
    ];
    for runs in [false, true] {
        let _server = runs.then(|| place.start(None));
        for command in commands {
            for pipe in [false, true] {
                let stdout: Stdio = if pipe {
                    let (reader, writer) = std::io::pipe().unwrap();
                    drop(reader);
                    writer.into()
                } else {
                    std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into()
                };
                let child = place.command(command).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
                let out = child.wait_with_output().unwrap();
                assert_eq!(out.status.code(), Some(1), "{command:?}");
                let said = String::from_utf8_lossy(&out.stderr).into_owned();
                assert!(said.contains("no user was added"), "{said}");
                assert_eq!(place.done(&["user", "list"]), "sip:first@x.example sip:first@x.example\n");
            }
        }
    }
}

#[test]
fn where_there_is_no_service_nothing_is_made_by_asking() {
    let place = Place::new();
    let commands: [&[&str]; 10] = [
        &["user", "list"],
        &["user", "remove", "x"],
        &["user", "revoke", "x"],
        &["user", "restore", "x"],
        &["group", "list"],
        &["group", "remove", "sip:x@x.example"],
        &["policy", "show"],
        &["revoke-tickets"],
        &["rotate"],
        &["audit"],
    ];
    for command in commands {
        let out = place.kms(command);
        assert_eq!(out.status.code(), Some(1), "{command:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("no key management service in"), "{out:?}");
        assert!(!place.path("data").exists(), "{command:?}");
    }
}

#[test]
fn json_is_json() {
    let place = Place::new();
    let lines = |args: &[&str]| -> Vec<Value> {
        place.done(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let added = lines(&["--json", "user", "add", "alice", "sip:alice@x.example"]);
    assert_eq!(
        (&added[0]["name"], &added[0]["identities"][0]),
        (&"alice".into(), &"sip:alice@x.example".into())
    );
    assert_eq!(key_of(added[0]["key"].as_str().unwrap()).expose().len(), 32);
    // A key that goes to a file is not shown too.
    let file = place.path("bob.psk");
    let added = lines(&["--json", "user", "add", "sip:bob@x.example", "--out", file.to_str().unwrap()]);
    assert_eq!((added.len(), &added[0]["name"]), (1, &"sip:bob@x.example".into()));
    assert!(added[0].get("key").is_none());
    key_of(&std::fs::read_to_string(&file).unwrap());
    // Keys that were given are known.
    let list = format!("carol sip:c@x.example {}\ndave sip:d@x.example\n", "ab".repeat(32));
    std::fs::write(place.path("users"), list).unwrap();
    let added = lines(&["--json", "user", "import", place.path("users").to_str().unwrap()]);
    assert_eq!((&added[0]["name"], &added[1]["name"]), (&"carol".into(), &"dave".into()));
    assert!(added[0].get("key").is_none());
    key_of(added[1]["key"].as_str().unwrap());
    let commands: [&[&str]; 8] = [
        &["--json", "user", "list"],
        &["--json", "user", "revoke", "dave"],
        &["--json", "user", "remove", "dave"],
        &["--json", "group", "put", "sip:desk@x.example", "sip:bob@x.example"],
        &["--json", "policy", "show"],
        &["--json", "rotate"],
        &["--json", "revoke-tickets"],
        &["--json", "group", "remove", "sip:desk@x.example"],
    ];
    for command in commands {
        assert!(!lines(command).is_empty(), "{command:?}");
    }
}

#[test]
fn what_was_done_is_said() {
    let place = Place::new();
    place.done(&["user", "add", "bob", "sip:bob@x.example"]);
    // What holds before anybody made a rule.
    let rules = place.done(&["policy", "show"]);
    assert_eq!(rules, "# no rules: everybody who has a key may call everybody\notherwise allow\n");
    // It can be read back.
    std::fs::write(place.path("policy"), &rules).unwrap();
    assert_eq!(place.done(&["policy", "set", place.path("policy").to_str().unwrap()]), rules);
    assert!(place.done(&["user", "revoke", "bob"]).starts_with("bob is revoked: "));
    assert_eq!(place.done(&["user", "list"]), "bob sip:bob@x.example revoked\n");
    assert_eq!(place.done(&["user", "restore", "bob"]), "bob is not revoked any more\n");
    let all = place.done(&["revoke-tickets"]);
    assert!(all.starts_with("tickets issued before 2") && all.ends_with(" open no more\n"), "{all}");
    let one = place.done(&["revoke-tickets", "--user", "bob"]);
    assert!(one.starts_with("tickets issued to bob before 2"), "{one}");
    let rotated = place.done(&["rotate"]);
    assert!(rotated.starts_with("new tickets are sealed with key "), "{rotated}");
    assert!(rotated.trim_end().ends_with("; 1 older key opens its tickets until they expire"), "{rotated}");
}

#[test]
fn the_newest_of_the_trail_is_shown_and_that_there_is_more() {
    let place = Place::new();
    let psk = key_of(&place.done(&["user", "add", "sip:alice@x.example"]));
    place.done(&["user", "add", "bob", "sip:bob@x.example"]);
    let _server = place.start(None);
    for seed in 0..5 {
        assert_eq!(place.ticket(&psk, seed).0, 200);
    }
    let shown = |args: &[&str]| {
        let out = place.kms(args);
        assert!(out.status.success(), "{out:?}");
        let numbers: Vec<String> = String::from_utf8_lossy(&out.stdout)
            .lines()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        (numbers.join(" "), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(shown(&["audit"]), ("1 2 3 4 5".into(), String::new()));
    let (numbers, said) = shown(&["audit", "--most", "2"]);
    assert_eq!(numbers, "4 5");
    assert!(said.starts_with("records 4 to 5 of 5; "), "{said}");
    let (numbers, said) = shown(&["audit", "--from", "2", "--most", "2"]);
    assert_eq!(numbers, "2 3");
    assert!(said.starts_with("records 2 to 3 of 5; "), "{said}");
    assert_eq!(shown(&["audit", "--from", "6"]), (String::new(), String::new()));
}

#[test]
fn tickets_that_were_issued_are_recorded_after_sigkill() {
    let place = Place::new();
    let psk = key_of(&place.done(&["user", "add", "sip:alice@x.example"]));
    place.done(&["user", "add", "bob", "sip:bob@x.example"]);
    let mut issued = 0;
    for round in 0..4 {
        let server = place.start(None);
        let threads: Vec<_> = std::thread::scope(|scope| {
            let ask = |thread: u64| {
                let (place, psk) = (&place, &psk);
                scope.spawn(move || {
                    let ask = |n| place.ticket(psk, round << 32 | thread << 16 | n);
                    (0..10).map(ask).filter(|(status, t)| *status == 200 && t.is_ok()).count()
                })
            };
            let all: Vec<_> = (0..8).map(ask).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        issued += threads.iter().sum::<usize>();
        drop(server);
    }
    assert_eq!(issued, 4 * 80);
    assert_eq!(place.audit().len(), issued);
}

#[test]
fn on_a_full_disk_no_ticket_is_issued_and_none_is_forgotten() {
    let place = Place::new();
    let psk = key_of(&place.done(&["user", "add", "sip:alice@x.example"]));
    place.done(&["user", "add", "bob", "sip:bob@x.example"]);
    drop(place.start(None));
    let size = std::fs::metadata(place.path("data/kms.redb")).unwrap().len();
    let mut issued = 0;
    {
        let _server = place.start(Some(size / 512));
        let full = (0..20_000).find_map(|n| match place.ticket(&psk, n) {
            (200, Ok(_)) => {
                issued += 1;
                None
            }
            other => Some(other),
        });
        let (status, answer) = full.expect("the disk never filled");
        assert_eq!(status, 503);
        // RFC 3830 §6.12: an unspecified error.
        assert!(matches!(answer, Err(Error::Refused { number: 12, .. })), "{:?}", answer.err());
        assert!(issued > 0);
        // It goes on saying so, and a user cannot be added either.
        assert_eq!(place.ticket(&psk, 50_000).0, 503);
        let out = place.kms(&["user", "add", "carol", "sip:carol@x.example"]);
        if !out.status.success() {
            assert!(String::from_utf8_lossy(&out.stderr).contains("full"), "{out:?}");
        }
    }
    let records = place.audit();
    assert!(records.len() >= issued, "{} records of {issued} tickets", records.len());
    // With room again it goes on.
    let _server = place.start(None);
    assert_eq!(place.ticket(&psk, 60_000).0, 200);
}
