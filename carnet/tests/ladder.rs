//! Ladders of running nodes: a border and a gateway as processes of their own, two clients, and what they leave with the API and
//! `carnet trace --node`. Nothing that is secret comes out, and the memory for it is bounded.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::{Kms, PATIENCE, Running, free};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");
const TOKEN: &str = "a-word-that-only-friends-know";
const PASSWORDS: [(&str, &str); 2] = [("alice", "wonderland-2026"), ("bob", "builder-2026")];

/// A border and its gateway, each a process.
struct Scene {
    kms: Kms,
    border: Running,
    _gateway: Running,
    /// Where the two are administered.
    admin: SocketAddr,
    gateway_admin: SocketAddr,
    /// Where the border speaks SIP.
    sip: SocketAddr,
}

/// Addresses that no other test of this machine has at the moment, most likely.
fn block() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id().wrapping_mul(8).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}", 100 + number % 100, 1 + number / 100 % 250)
}

impl Scene {
    fn start(border_more: &str) -> Self {
        let kms = Kms::start();
        let block = block();
        let (admin, gateway_admin) = (free(), free());
        let sip: SocketAddr = format!("{block}.1:5060").parse().unwrap();
        let write = |name: &str, text: &str| std::fs::write(kms.path(name), text).unwrap();
        let users: String = PASSWORDS.iter().map(|(user, word)| format!("{user} = \"{word}\"\n")).collect();
        write("users.toml", &users);
        write("token", &format!("{TOKEN}\n"));
        write(
            "border.toml",
            &format!(
                "[admin]\nlisten = \"{admin}\"\ntoken-file = \"token\"\n{border_more}\n\
                 [border.alg]\nrole = \"ims-alg\"\ndomain = \"x.example\"\n\
                 registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\n\
                 control = {{ listen = [\"udp:{block}.1:2944\"], gateways = [\"agw\"] }}\n\
                 [border.alg.network.access]\nlisten = [\"udp:{sip}\", \"tcp:{sip}\"]\nsubscribers = true\n\
                 [border.alg.network.core]\nlisten = [\"udp:{block}.2:5060\"]\n"
            ),
        );
        write(
            "gateway.toml",
            &format!(
                "[admin]\nlisten = \"{gateway_admin}\"\n\
                 [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"alg@udp:{block}.1:2944\"]\nrestart-wait = 0\n\
                 control-from = [\"{block}.3:2944\"]\n\
                 [gateway.agw.realm.access]\nv4 = \"{block}.3\"\nports = \"30000-30999\"\n\
                 [gateway.agw.realm.core]\nv4 = \"{block}.4\"\nports = \"30000-30999\"\n"
            ),
        );
        let run = |name: &str| {
            let process =
                Running::start(Command::new(CARNET).args(["run", "--grace", "1", "-c"]).arg(kms.path(name)));
            process.line("ready");
            process
        };
        let border = run("border.toml");
        let gateway = run("gateway.toml");
        border.line("gateway-up");
        Self { kms, border, _gateway: gateway, admin, gateway_admin, sip }
    }

    /// A client that registers.
    fn client(&self, user: &str, action: &[&str]) -> Running {
        let (_, word) = PASSWORDS.iter().find(|(name, _)| *name == user).unwrap();
        let write = |name: String, text: &str| std::fs::write(self.kms.path(&name), text).unwrap();
        write(format!("{user}.password"), word);
        write(
            format!("{user}.toml"),
            &format!(
                "[ue]\nidentity = \"sip:{user}@x.example\"\npassword-file = \"{user}.password\"\n\
                 proxy = \"sip:{};transport=tcp\"\nkms = \"http://{}\"\nkms-identity = \"sip:kms.example\"\n\
                 kms-key-file = \"{user}.psk\"\n",
                self.sip, self.kms.address
            ),
        );
        let file = self.kms.path(&format!("{user}.toml"));
        Running::start(Command::new(CARNET).args(["ue", "--json", "-c"]).arg(file).args(action))
    }

    /// What becomes of a client whose password is another.
    fn register_with(&self, word: &str) -> String {
        let file = self.kms.path("wrong.toml");
        std::fs::write(self.kms.path("wrong.password"), word).unwrap();
        let text = format!(
            "[ue]\nidentity = \"sip:bob@x.example\"\npassword-file = \"wrong.password\"\n\
             proxy = \"sip:{};transport=tcp\"\nallow-clear = true\n",
            self.sip
        );
        std::fs::write(&file, text).unwrap();
        let output = Command::new(CARNET)
            .args(["ue", "--json", "-c"])
            .arg(&file)
            .args(["chat", "sip:alice@x.example"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// A call that is sealed and ends.
    fn call(&self) {
        let bob = self.client("bob", &["listen"]);
        bob.line("\"registered\"");
        let mut alice = self.client("alice", &["chat", "sip:bob@x.example"]);
        alice.line("\"sealed\"");
        writeln!(alice.stdin, "the heron counts").unwrap();
        bob.line("the heron counts");
        let pid = rustix::process::Pid::from_child(&alice.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        alice.line("\"ended\"");
        bob.line("\"ended\"");
    }

    /// Status and body.
    fn get(&self, path: &str) -> (u16, String) {
        get(self.admin, path, &format!("Authorization: Bearer {TOKEN}\r\n"))
    }

    fn json(&self, path: &str) -> Value {
        let (status, text) = self.get(path);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Numbers of sessions that have ended, once there are so many.
    fn ended(&self, count: usize) -> Vec<u64> {
        let until = Instant::now() + PATIENCE;
        loop {
            let page = self.json("/api/v1/sessions?state=ended");
            let sessions = page["sessions"].as_array().unwrap();
            if sessions.len() >= count {
                return sessions.iter().map(|session| session["number"].as_u64().unwrap()).collect();
            }
            assert!(Instant::now() < until, "{page}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// `carnet trace` of both nodes.
    fn trace(&self, arguments: &[&str]) -> Output {
        let nodes = [self.admin, self.gateway_admin].map(|at| format!("--node=http://{at}"));
        let token = self.kms.path("token");
        let mut command = Command::new(CARNET);
        command.arg("trace").args(nodes).arg("--token-file").arg(token).args(arguments);
        command.output().unwrap()
    }
}

fn get(at: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn entries(session: &Value) -> &Vec<Value> {
    session["entries"].as_array().unwrap()
}

/// Places of entries with this protocol whose label begins so.
fn places(session: &Value, protocol: &str, label: &str) -> Vec<usize> {
    let fits =
        |entry: &Value| entry["protocol"] == protocol && entry["label"].as_str().unwrap().starts_with(label);
    entries(session).iter().enumerate().filter(|(_, entry)| fits(entry)).map(|(at, _)| at).collect()
}

/// What of a host is at an end of an entry.
fn host<'a>(session: &'a Value, entry: &Value, end: &str) -> &'a Value {
    &session["hosts"][usize::try_from(entry[end].as_u64().unwrap()).unwrap()]
}

#[test]
fn a_call_is_a_ladder_at_each_node_and_one_of_both() {
    let scene = Scene::start("");
    scene.call();
    let number = scene.ended(1)[0];
    let ladder = scene.json(&format!("/api/v1/sessions/{number}/ladder"));
    assert_eq!(ladder["sessions"].as_array().unwrap().len(), 1, "{ladder}");
    let call = &ladder["sessions"][0];
    assert_eq!((&call["kind"], &call["number"]), (&"call".into(), &number.into()));
    assert_eq!(call["title"], "alice@x.example calls bob@x.example");
    let one = |protocol: &str, label: &str| {
        let found = places(call, protocol, label);
        assert!(
            !found.is_empty(),
            "{protocol} {label} in {:#?}",
            entries(call).iter().map(|e| &e["label"]).collect::<Vec<_>>()
        );
        found[0]
    };
    // In order: what is asked, what the gateway is told and says, what goes on.
    let order = [
        one("sip", "INVITE"),
        one("h248", "Add"),
        one("h248", "reply"),
        places(call, "sip", "INVITE")[1],
        one("sip", "200 OK (INVITE)"),
        one("sip", "BYE"),
        one("h248", "Subtract"),
        one("event", "media released"),
    ];
    let times: Vec<f64> = order.iter().map(|at| entries(call)[*at]["at"].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{order:?} {times:?}");
    let add = &entries(call)[order[1]];
    assert_eq!(host(call, add, "from_host")["name"], "alg");
    assert_eq!(host(call, add, "from_host")["role"], "IMS-ALG");
    assert_eq!(host(call, add, "to_host")["role"], "IMS-AGW", "told by its part: it is another process");
    let reply = &entries(call)[order[2]];
    assert_eq!((&reply["from"], &reply["to"]), (&add["to"], &add["from"]));
    let plan = &entries(call)[one("event", "plan: ")];
    let planned = plan["at"].as_f64().unwrap();
    assert!(times[0] <= planned && planned <= times[2], "why it is asked for, before it is there");
    assert_eq!(plan["message"]["event"], "plan-made");
    assert!(plan["message"]["fields"]["plan"].as_str().unwrap().contains("end to end"), "{plan}");
    let finding = &call["findings"][0];
    assert_eq!(
        (&finding["rule"], &finding["weight"]),
        (&"verdict".into(), &"note".into()),
        "{}",
        call["findings"]
    );
    let sentence = finding["what"].as_str().unwrap();
    assert!(sentence.contains("end to end") && sentence.contains("counted"), "{sentence}");

    // The same by Call-ID and by a message in it, in every form.
    let id = call["call_ids"][0].as_str().unwrap();
    let first = entries(call)[0]["packet"].as_u64().unwrap();
    for query in [format!("call_id={id}"), format!("entry={first}")] {
        let same = scene.json(&format!("/api/v1/ladder?{query}"));
        assert_eq!(same["sessions"][0]["title"], call["title"]);
    }
    for (form, begins) in
        [("text", "1. call: alice"), ("svg", "<svg "), ("html", "<!doctype html>"), ("json", "{")]
    {
        let (status, text) = scene.get(&format!("/api/v1/ladder?call_id={id}&format={form}"));
        assert_eq!(status, 200, "{text}");
        let begins = if form == "text" { ". call: alice@x.example calls bob@x.example" } else { begins };
        assert!(text.get(..80).unwrap_or(&text).contains(begins), "{form}: {text}");
    }
    let list = scene.json("/api/v1/ladders?limit=1000");
    let kinds: Vec<&str> =
        list["sessions"].as_array().unwrap().iter().map(|s| s["kind"].as_str().unwrap()).collect();
    for kind in ["call", "registration", "control"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }

    // Of both nodes together: the gateway has its name, and what the border sent it is there once.
    let both = scene.trace(&["--format", "json", "--call", id]);
    assert!(both.status.success(), "{}", String::from_utf8_lossy(&both.stderr));
    let both: Value = serde_json::from_slice(&both.stdout).unwrap();
    let merged = &both["sessions"][0];
    let adds = places(merged, "h248", "Add");
    assert_eq!(adds.len(), places(call, "h248", "Add").len(), "each once");
    let add = &entries(merged)[adds[0]];
    assert_eq!(
        (&host(merged, add, "from_host")["name"], &host(merged, add, "to_host")["name"]),
        (&"alg".into(), &"agw".into())
    );
    for label in ["added: ", "connected: ", "removed: "] {
        assert!(!places(merged, "event", label).is_empty(), "{label}");
    }
    assert!(scene.trace(&["--check", "--list"]).status.success());

    // Nothing that is secret has come out, in no form.
    let mut secrets: Vec<String> = PASSWORDS.iter().map(|(_, word)| (*word).to_owned()).collect();
    secrets.push("the heron counts".to_owned());
    secrets.push(TOKEN.to_owned());
    for user in ["alice", "bob"] {
        secrets
            .push(std::fs::read_to_string(scene.kms.path(&format!("{user}.psk"))).unwrap().trim().to_owned());
    }
    let mut all = String::new();
    for form in ["text", "json", "svg", "html"] {
        all += &scene.get(&format!("/api/v1/ladder?call_id={id}&format={form}&messages=true")).1;
        all += &String::from_utf8(scene.trace(&["--format", form, "--messages", "--all"]).stdout).unwrap();
    }
    all += &scene.get("/api/v1/trace?limit=1000").1;
    for secret in &secrets {
        assert!(!all.contains(secret.as_str()), "{secret}");
    }
    assert!(all.contains("response=(masked)"));
    let proofs =
        all.match_indices("response=").filter(|(at, _)| !all[at + 9..].starts_with("(masked)")).count();
    assert_eq!(proofs, 0);
}

#[test]
fn a_call_that_is_refused_says_by_whom() {
    let scene = Scene::start("");
    // Nobody is there to be called.
    let alice = scene.client("alice", &["chat", "sip:bob@x.example"]);
    alice.line("\"ended\"");
    // It never became a session of the border: the list has it all the same.
    let list = scene.json("/api/v1/ladders");
    let calls: Vec<&Value> =
        list["sessions"].as_array().unwrap().iter().filter(|session| session["kind"] == "call").collect();
    assert_eq!(calls.len(), 1, "{list}");
    let ladder = scene.json(&format!("/api/v1/ladder?entry={}", calls[0]["first"]));
    let call = &ladder["sessions"][0];
    let finding = &call["findings"][0];
    assert_eq!(
        (&finding["rule"], &finding["weight"]),
        (&"invite-refused".into(), &"warning".into()),
        "{}",
        call["findings"]
    );
    let what = finding["what"].as_str().unwrap();
    assert!(what.starts_with("alg (IMS-ALG") && what.contains("480"), "{what}");
    let refusal = &entries(call)[usize::try_from(finding["entry"].as_u64().unwrap()).unwrap()];
    assert_eq!((&refusal["bad"], &refusal["message"]["status"]), (&true.into(), &480.into()));
    let said = call["findings"][1]["what"].as_str().unwrap();
    assert!(said.contains("the user is not registered"), "{said}");
    // One whose word is wrong: a failure, and scripts hear of it.
    assert_eq!(scene.trace(&["--check", "--list"]).status.code(), Some(0));
    let wrong = scene.register_with("not-the-word");
    assert!(wrong.contains("does not accept"), "{wrong}");
    let checked = scene.trace(&["--check", "--list"]);
    assert_eq!(checked.status.code(), Some(1), "{}", String::from_utf8_lossy(&checked.stdout));
    assert!(!String::from_utf8_lossy(&checked.stdout).contains("not-the-word"));
}

#[test]
fn the_ring_is_bounded_and_says_what_has_gone() {
    let scene = Scene::start("[trace]\nring = \"128 KiB\"\nage = 3000\n");
    scene.call();
    let number = scene.ended(1)[0];
    assert_eq!(scene.get(&format!("/api/v1/sessions/{number}/ladder")).0, 200);
    // Thousands of calls, of which each leaves a request and its answers.
    let socket = UdpSocket::bind((scene.sip.ip(), 0)).unwrap();
    let from = socket.local_addr().unwrap();
    let held = |name: &str| -> f64 {
        let (_, text) = scene.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name} in {text}"));
        line.parse().unwrap()
    };
    for n in 0..3_000 {
        let request = format!(
            "INVITE sip:x{n}@x.example SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:flood@y.example>;tag={n}\r\nTo: <sip:x{n}@x.example>\r\nCall-ID: flood-{n}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:flood@{from}>\r\nContent-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), scene.sip).unwrap();
        if n % 100 == 0 {
            assert!(held("carnet_trace_ring_octets") <= 131_072.0);
        }
    }
    let until = Instant::now() + PATIENCE;
    while held("carnet_trace_ring_gone") < 1_000.0 {
        assert!(Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(held("carnet_trace_ring_octets") <= 131_072.0 && held("carnet_trace_ring_entries") > 10.0);
    let (status, text) = scene.get(&format!("/api/v1/sessions/{number}/ladder"));
    assert_eq!(status, 404, "{text}");
    assert!(text.contains("not in the ring any more") || text.contains("is in the ring any more"), "{text}");
    let list = scene.json("/api/v1/ladders?limit=5");
    assert!(list["remarks"][0].as_str().unwrap().contains("not in the ring any more"), "{list}");
    assert_eq!(list["sessions"].as_array().unwrap().len(), 5);
    assert!(list["total"].as_u64().unwrap() < 1_000, "{list}");
    let told = scene.trace(&["--list"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("has forgotten what was before"), "{told:?}");
}

#[test]
fn who_may_not_ask_or_asks_nobody_hears_why() {
    let mut scene = Scene::start("[trace]\nring = \"off\"\n");
    let (status, text) = scene.get("/api/v1/ladders");
    assert!(status == 404 && text.contains("ring = \\\"off\\\""), "{status} {text}");
    let trace = |arguments: &[&str]| {
        let output = Command::new(CARNET).arg("trace").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let node = format!("http://{}", scene.admin);
    let (code, said) = trace(&["--node", &node]);
    assert!(code == Some(2) && said.contains("--token-file"), "{said}");
    let file = scene.kms.path("border.toml");
    let (code, said) = trace(&["-c", file.to_str().unwrap(), "--list"]);
    assert!(code == Some(2) && said.contains("ring = \"off\""), "{said}");
    let (code, said) = trace(&["-c", scene.kms.path("gateway.toml").to_str().unwrap(), "--list"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(get(scene.gateway_admin, "/api/v1/ladder", "").0, 404);
    assert_eq!(get(scene.gateway_admin, "/api/v1/ladder?call_id=none", "").0, 404);
    assert_eq!(get(scene.gateway_admin, "/api/v1/sessions/77/ladder", "").0, 404);
    assert_eq!(get(scene.gateway_admin, "/api/v1/trace?limit=0", "").0, 400);
    scene.border.child.kill().unwrap();
    scene.border.child.wait().unwrap();
    let (code, said) = trace(&["--node", &node]);
    assert!(code == Some(2) && said.contains("nobody answers as it should"), "{said}");
    // Of several the others are shown, and it is said that one is missing.
    let gateway = format!("http://{}", scene.gateway_admin);
    let output =
        Command::new(CARNET).args(["trace", "--node", &node, "--node", &gateway, "--list"]).output().unwrap();
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{shown}{said}");
    assert!(said.contains(&scene.admin.to_string()) && shown.contains("a node is missing"), "{shown}{said}");
    assert!(shown.contains("control"), "what the gateway saw: {shown}");
    let (code, said) = trace(&[]);
    assert!(code == Some(2) && said.contains("-c FILE"), "{said}");
    // A word that opens does not go over a network that can be read.
    let word = scene.kms.path("word");
    std::fs::write(&word, "a-word-that-opens-it\n").unwrap();
    let (code, said) = trace(&["--node", "http://192.0.2.1:9460", "--token-file", word.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("in the clear"), "{said}");
    for bad in ["ftp://x", "http://", "127.0.0.1:1", "http://127.0.0.1:1/x"] {
        assert_eq!(trace(&["--node", bad]).0, Some(2), "{bad}");
    }
}
