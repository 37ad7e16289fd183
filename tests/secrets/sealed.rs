//! A network with a key server, a border and its gateway; a conference server and its media server; members. What they
//! wrote, showed, counted and answered has none of their keys.

use crate::crawl::Api;
use crate::member::{Member, is};
use crate::search::{Secrets, assert_finds};
use crate::stage::{ROOM, Settings, Stage, USERS};
use crate::{assert_nowhere, by_hand, certificate, key_file, seen_of, written};
use carnet_store::{RootKey, Store};
use carnet_wire::hex;
use openssl::hash::{MessageDigest, hash};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

const ROOMS: &str = "[[conference.conf.room]]\nuri = \"sip:staff@conf.example\"\nowners = [\"sip:alice@a.example\"]\n\
                     floor = [{ id = 1 }]\n";

/// What was made ready, with all keys that are known before anything runs.
fn prepared(tls: bool) -> (Stage, Secrets) {
    let stage = Stage::prepared(&Settings { rooms: ROOMS, tls, ..Settings::default() });
    let mut secrets = Secrets::default();
    let directory = stage.directory();
    for name in USERS.iter().chain(&["mrfc"]) {
        let key = std::fs::read_to_string(stage.path(&format!("{name}.psk"))).unwrap();
        secrets.add(&format!("{name}'s key"), hex::decode(key.trim().as_bytes()).unwrap());
    }
    for name in USERS {
        let password = format!("the password of {name}");
        let proof = hash(MessageDigest::md5(), format!("{name}:a.example:{password}").as_bytes()).unwrap();
        secrets.add(&format!("what {name}'s password comes to"), &*proof);
        // All begin alike; what tells them apart is at the end.
        secrets.add(&format!("{name}'s password"), format!("password of {name}"));
    }
    secrets.add("the root key", root_key(&stage));
    secrets.add(
        "the administrator's TLS key",
        certificate(directory, "admin", &format!("IP:{}", stage.at(9, 1))),
    );
    for (file, word) in [("token", "admin"), ("read-token", "reads")] {
        let mut octets = [0; 12];
        openssl::rand::rand_bytes(&mut octets).unwrap();
        let token = format!("{word}-{}", hex::encode(&octets));
        secrets.add(file, &token);
        stage.file(file, &token);
    }
    stage.edit(
        "net.toml",
        "[kms]\n",
        &format!(
            "[admin]\nsocket = \"net.sock\"\nlisten = \"{}:9460\"\ntoken-file = \"token\"\nread-token-file = \"read-token\"\n\
             tls = {{ certificate = \"admin.pem\", key = \"admin.key\" }}\n[records]\nfile = \"sessions.jsonl\"\n[kms]\n",
            stage.at(9, 1)
        ),
    );
    if tls {
        secrets.add("the key of Mp", key_file(&stage.path("mp.psk"), |hex| format!("mrfp-1 = \"{hex}\"")));
    } else {
        secrets.add("the key of the authentication header", key_file(&stage.path("mp.auth"), str::to_owned));
        let keys = |peer: &str| {
            format!("authentication = {{ keys = {{ 0x11 = {{ file = \"mp.auth\", peer = \"{peer}\" }} }} }}")
        };
        stage.edit("conf.toml", "protected = true", &format!("protected = true\n{}", keys("mrfp-1")));
        let control = format!("control-protected = true\ncontrol-{}", keys("conf"));
        stage.edit("mrfp-1.toml", "control-protected = true", &control);
    }
    (stage, secrets)
}

fn root_key(stage: &Stage) -> Vec<u8> {
    let octets = std::fs::read(stage.path("kms/root.key")).unwrap();
    // In hexadecimal, or as it is.
    hex::decode(octets.trim_ascii()).unwrap_or(octets)
}

/// A process that goes with the test.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Beside {
    fn start(stage: &Stage, name: &str, program: &str, arguments: &[&str]) -> Self {
        let file = |end: &str| std::fs::File::create(stage.path(&format!("{name}.{end}"))).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(stage.directory());
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Self(command.spawn().unwrap_or_else(|e| panic!("{program}: {e}")))
    }
}

/// A capture of what the stage says to itself; none where that cannot be had.
fn captured(stage: &Stage) -> Option<Beside> {
    let network = format!("net {}/16", stage.at(0, 0));
    let beside = Beside::start(
        stage,
        "capture",
        "tcpdump",
        &["-U", "--immediate-mode", "-i", "lo", "-s0", "-w", "capture.pcap", &network],
    );
    let until = std::time::Instant::now() + crate::stage::PATIENCE;
    while !stage.output("capture", "err").contains("listening on") {
        let over = std::time::Instant::now() > until || stage.output("capture", "err").contains("permission");
        if over {
            assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "{}", stage.output("capture", "err"));
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Some(beside)
}

fn scene(tls: bool) {
    // Whatever can be logged is.
    let (stage, mut secrets) = prepared(tls);
    let capture = captured(&stage);
    let mut stage = stage.started_at("trace");
    let events = ["net", "conf", "mrfp-1"].map(|name| {
        let socket = format!("{name}.sock");
        Beside::start(
            &stage,
            &format!("events-{name}"),
            "curl",
            &["-sN", "--unix-socket", &socket, "http://localhost/api/v1/events"],
        )
    });

    let mut alice = Member::join(&stage, "alice", ROOM);
    let bob = Member::join(&stage, "bob", ROOM);
    alice.say("good morning");
    bob.hears(&stage, "good morning");
    // A call between two, through the border and its gateway.
    let dave = Member::program(&stage, "dave", stage.command(&["ue", "-c", "dave.toml", "--json", "listen"]));
    dave.sees(&stage, "registered", |event| is(event, "registered"));
    let mut carol = Member::program(
        &stage,
        "carol",
        stage.command(&["ue", "-c", "carol.toml", "--json", "chat", "sip:dave@a.example"]),
    );
    carol.sees(&stage, "sealed", |event| is(event, "sealed"));
    carol.say("between us");
    dave.hears(&stage, "between us");
    let known = by_hand::enter(&stage, "erin");
    secrets.add("the key of erin's media line", &known.tek);

    let mut places = Vec::new();
    let carnet = |arguments: &[&str]| {
        let output = stage.carnet(arguments);
        (format!("carnet {}", arguments.join(" ")), [output.stdout, output.stderr].concat())
    };
    let secret = std::fs::read_to_string(stage.path("alice.psk")).unwrap();
    let tickets = Api::at(&stage.path("kms/admin.sock")).json("/api/v1/kms/tickets");
    let ticket = tickets["tickets"][0]["ticket"].as_str().unwrap_or_else(|| panic!("{tickets}"));
    let names: &[(&str, &[&str])] = &[
        ("gateway", &["agw", "mrfp-1", "other"]),
        ("border", &["alg"]),
        ("number", &["1", "2", "99"]),
        ("room", &[ROOM]),
        ("member", &["sip:alice@a.example"]),
        ("name", &["sip:alice@a.example", "sip:mrfc@conf.example"]),
        ("identity", &["sip:desk@a.example"]),
        ("ticket", &[ticket, "0000000000000000"]),
        ("floor", &["1", "99"]),
        ("node", &["other"]),
    ];
    for socket in ["net.sock", "conf.sock", "mrfp-1.sock", "kms/admin.sock"] {
        let answers = Api::at(&stage.path(socket)).crawl(names, secret.trim());
        places.extend(answers.into_iter().map(|(place, answer)| (format!("{socket}: {place}"), answer)));
    }
    // Over TLS, and with words that do not open.
    for token in ["token", "read-token", "alice.psk"] {
        let word = std::fs::read_to_string(stage.path(token)).unwrap();
        let url = format!("https://{}:9460/api/v1/kms/users", stage.at(9, 1));
        let header = format!("Authorization: Bearer {}", word.trim());
        for more in [&[][..], &["-X", "DELETE"]] {
            let output = Command::new("curl")
                .args(["-si", "--cacert", "admin.pem", "-H", &header])
                .args(more)
                .arg(&url)
                .current_dir(stage.directory())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            places.push((format!("{url} with {token}"), output.stdout));
        }
    }
    for name in ["net", "conf", "mrfp-1"] {
        places.extend(
            seen_of(stage.pid(name)).into_iter().map(|(place, octets)| (format!("{name}: {place}"), octets)),
        );
        places.push(carnet(&["check", "-c", &format!("{name}.toml")]));
        places.push(carnet(&["gateway", "list", "--json", "-c", &format!("{name}.toml")]));
    }
    places.push(carnet(&["gateway", "audit", "agw", "-c", "net.toml"]));
    places.push(carnet(&["gateway", "audit", "mrfp-1", "--json", "-c", "mrfp-1.toml"]));
    places.push(carnet(&["conference", "show", ROOM, "--json", "-c", "conf.toml"]));
    for what in [&["user", "list"][..], &["audit"], &["policy", "show"], &["rotate"], &["revoke-tickets"]] {
        places.push(carnet(&[&["kms", "-c", "net.toml", "--json"], what].concat()));
    }
    stage.file("invite.sip", &known.invite);
    stage.file("answer.sip", &known.answer);
    for (n, message) in known.mikey.iter().enumerate() {
        let name = format!("message-{n}.mikey");
        std::fs::write(stage.path(&name), message).unwrap();
        places.push(carnet(&["inspect", "mikey", &name]));
    }
    places.push(carnet(&["inspect", "sip", "invite.sip"]));
    places.push(carnet(&["inspect", "sip", "answer.sip"]));

    alice.say("/bye");
    assert_eq!(alice.ended(&stage), 0);
    drop((known, carol, dave, bob));
    stage.until("a record is written", |stage| {
        std::fs::metadata(stage.path("sessions.jsonl")).is_ok_and(|there| there.len() > 0)
    });
    // A fall in the middle of it.
    for name in ["mrfp-1", "conf"] {
        Command::new("kill").args(["-ABRT", &stage.pid(name).to_string()]).status().unwrap();
        assert_eq!(stage.reaped(name).signal(), Some(6));
    }
    stage.end("net", "TERM");
    drop(events);
    if let Some(capture) = capture {
        Command::new("kill").args(["-INT", &capture.0.id().to_string()]).status().unwrap();
        let mut capture = capture;
        capture.0.wait().unwrap();
        for format in ["text", "json", "html", "svg"] {
            let (place, octets) = carnet_of(&stage, &["trace", "--all", "--format", format, "capture.pcap"]);
            assert!(format != "json" || octets.len() > 10_000, "{}", String::from_utf8_lossy(&octets));
            places.push((place, octets));
        }
        places.push(carnet_of(&stage, &["trace", "--all", "--messages", "capture.pcap"]));
        if !tls {
            // The key of a media line passes there, for the media server: who captures has it, and who only looks has not.
            let octets = std::fs::read(stage.path("capture.pcap")).unwrap();
            assert!(!secrets.found_in("the capture", &octets).is_empty(), "nothing had to be masked");
            // Unless told otherwise: which shows that the search finds it in what we print.
            let (place, octets) = carnet_of(
                &stage,
                &["trace", "--all", "--messages", "--secrets", "--width", "1000", "capture.pcap"],
            );
            assert!(!secrets.found_in(&place, &octets).is_empty(), "nothing was masked");
        }
    }

    // What tickets are sealed with, of which nobody outside has heard.
    let root = RootKey::read(&stage.path("kms/root.key")).unwrap();
    let contents = Store::open(&stage.path("kms/kms.redb"), root).unwrap().load().unwrap();
    assert!(!contents.ring.keys().is_empty());
    for key in contents.ring.keys() {
        secrets.add(&format!("ticket key {}", key.id), key.tpk.expose());
    }
    drop(contents);

    let holds_secrets = |name: &str| {
        let end = [".psk", ".password", ".auth", ".key", "token", "users.toml", ".pcap"];
        end.iter().any(|end| name.ends_with(end))
    };
    let files = written(stage.directory(), holds_secrets);
    for name in [
        "net.err",
        "conf.err",
        "mrfp-1.err",
        "alice.out",
        "sessions.jsonl",
        "events-conf.out",
        "kms/kms.redb",
        "conf.redb",
    ] {
        let (_, octets) = files.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(octets.len() > 100, "{name} says nothing");
    }
    assert!(
        !files
            .iter()
            .any(|(name, _)| name.split('/').next_back().is_some_and(|name| name.starts_with("core")))
    );
    places.extend(files);

    assert!(secrets.len() > 20 && places.len() > 100, "{} secrets, {} places", secrets.len(), places.len());
    assert_finds(&secrets);
    assert_nowhere(&secrets, &places);
}

fn carnet_of(stage: &Stage, arguments: &[&str]) -> (String, Vec<u8>) {
    let output = stage.carnet(arguments);
    (format!("carnet {}", arguments.join(" ")), [output.stdout, output.stderr].concat())
}

#[test]
fn a_sealed_network_with_control_over_tls_tells_no_secret() {
    scene(true);
}

#[test]
fn a_sealed_network_with_authenticated_control_tells_no_secret() {
    scene(false);
}
