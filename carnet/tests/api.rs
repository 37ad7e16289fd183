//! The API of a running process: at the Unix socket and over TCP, who may do what, the key management service in it, draining and
//! taking it back, callers who say nothing or read nothing.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::{PATIENCE, Running, free};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");
const TOKEN: &str = "a-word-that-only-friends-know";
const READS: &str = "a-word-that-observers-know-too";

/// A key server, a border, and a gateway that it controls.
struct Scene {
    directory: tempfile::TempDir,
    process: Running,
    address: SocketAddr,
}

impl Scene {
    fn new(admin: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (address, keys, sip) = (free(), free(), free());
        let text = format!(
            "[admin]\nsocket = \"admin.sock\"\nlisten = \"{address}\"\n{admin}\n\
             [kms]\nname = \"kms.example\"\nlisten = \"{keys}\"\ndata = \"data\"\n\
             [border.alg]\nrole = \"ims-alg\"\ndomain = \"x.example\"\n\
             registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\ncontrol = {{ gateways = [\"agw\"] }}\n\
             [border.alg.network.access]\nlisten = [\"tcp:{sip}\"]\nsubscribers = true\n\
             [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"local:alg\"]\n\
             [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"20000-20009\"\n",
        );
        std::fs::write(directory.path().join("users.toml"), "").unwrap();
        std::fs::write(directory.path().join("token"), TOKEN).unwrap();
        std::fs::write(directory.path().join("reads"), READS).unwrap();
        let file = directory.path().join("carnet.toml");
        std::fs::write(&file, text).unwrap();
        let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
        process.line("ready");
        Self { directory, process, address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Status and body of what curl gets at the Unix socket.
    fn at_socket(&self, socket: &str, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "30", "-w", "\n%{http_code}", "-X", method, "--unix-socket"])
            .arg(self.path(socket));
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
        }
        let output = curl.arg(format!("http://carnet{target}")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
        self.at_socket("admin.sock", method, &format!("/api/v1/{target}"), body)
    }

    fn get(&self, target: &str) -> Value {
        let (status, body) = self.ask("GET", target, None);
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    /// Over TCP, with a word.
    fn tcp(&self, method: &str, target: &str, token: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let bearer =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n{bearer}Connection: close\r\n\r\n",
            self.address
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(!answer.contains(TOKEN) && !answer.contains(READS), "{answer}");
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn gateway(&self) -> Value {
        self.get("nodes")["borders"][0]["gateways"][0].clone()
    }
}

#[test]
fn curl_asks_at_the_socket_and_the_file_system_says_who_may() {
    let scene = Scene::new("token-file = \"token\"");
    let mode = |name: &str| std::fs::metadata(scene.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("admin.sock"), mode("data/admin.sock")), (0o600, 0o600));
    // No token is needed there.
    assert_eq!(scene.get("nodes")["borders"][0]["border"], "alg");
    assert_eq!(scene.at_socket("admin.sock", "GET", "/metrics", None).0, 200);
    let (status, refused) = scene.ask("GET", "nothing", None);
    assert!(status == 404 && refused["error"].is_string(), "{refused}");
    assert_eq!(scene.ask("DELETE", "nodes", None).0, 405);
    // Our own commands go the same way.
    let list =
        Command::new(CARNET).args(["gateway", "list", "-c"]).arg(scene.path("carnet.toml")).output().unwrap();
    assert!(String::from_utf8_lossy(&list.stdout).starts_with("agw (ims-agw): "), "{list:?}");
    let wide = Scene::new("socket-mode = 0o660");
    assert_eq!(std::fs::metadata(wide.path("admin.sock")).unwrap().permissions().mode() & 0o777, 0o660);
    // Who changed something is written down.
    assert_eq!(scene.ask("PUT", "log", Some(&json!({ "level": "info" }))).0, 200);
    let line = scene.process.line("method=PUT");
    let uid = Command::new("id").arg("-u").output().unwrap();
    assert!(line.contains(&format!("uid {}", String::from_utf8_lossy(&uid.stdout).trim())), "{line}");
}

#[test]
fn a_token_for_reading_changes_nothing() {
    let scene = Scene::new("token-file = \"token\"\nread-token-file = \"reads\"");
    for (method, target, token, wanted) in [
        ("GET", "/metrics", READS, 200),
        ("HEAD", "/api/v1/nodes", READS, 200),
        ("GET", "/api/v1/kms/users", READS, 200),
        ("DELETE", "/api/v1/kms/users/nobody", READS, 403),
        ("POST", "/api/v1/kms/keys", READS, 403),
        ("POST", "/api/v1/kms/keys", TOKEN, 201),
        ("GET", "/metrics", TOKEN, 200),
        ("GET", "/metrics", "another-word-of-that-length", 401),
        ("GET", "/metrics", "", 401),
    ] {
        assert_eq!(scene.tcp(method, target, token), wanted, "{method} {target} {token}");
    }
    // Alone it leaves nobody who may change anything over TCP.
    let scene = Scene::new("read-token-file = \"reads\"");
    assert_eq!(scene.tcp("GET", "/metrics", ""), 401);
    assert_eq!(scene.tcp("GET", "/metrics", READS), 200);
    assert_eq!(scene.tcp("POST", "/api/v1/kms/keys", READS), 403);
    assert_eq!(scene.ask("POST", "kms/keys", None).0, 201);
}

#[test]
fn users_of_the_key_server_come_and_go() {
    let scene = Scene::new("");
    let user = |name: &str| json!({ "name": name, "identities": [format!("sip:{name}@x.example")], "psk": "5a".repeat(32) });
    let users: Vec<Value> = (0..7).map(|n| user(&format!("user-{n}"))).collect();
    let (status, added) = scene.ask("POST", "kms/users", Some(&json!({ "users": users })));
    assert_eq!((status, added["users"].as_array().unwrap().len()), (201, 7));
    assert!(!added.to_string().contains("5a5a"), "{added}");
    assert_eq!(
        scene.ask("POST", "kms/users", Some(&json!({ "users": [user("user-8"), user("user-1")] }))).0,
        409
    );
    // Page by page, all of them once.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = scene.get(&format!("kms/users?limit=3{after}"));
        assert_eq!(page["total"], 7);
        seen.extend(
            page["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, (0..7).map(|n| format!("user-{n}")).collect::<Vec<_>>());
    let found = scene.get("kms/users?q=SIP:USER-4");
    assert_eq!(
        (found["users"][0]["name"].as_str(), found["users"].as_array().unwrap().len()),
        (Some("user-4"), 1)
    );
    let (status, changed) = scene.ask("PATCH", "kms/users/user-4", Some(&json!({ "revoked": true })));
    assert_eq!((status, &changed["revoked"]), (200, &json!(true)));
    assert_eq!(scene.get("kms/users/user-4")["revoked"], true);
    assert_eq!(scene.ask("DELETE", "kms/users/user-4", None).0, 200);
    assert_eq!(scene.ask("GET", "kms/users/user-4", None).0, 404);
    assert_eq!(scene.ask("DELETE", "kms/users/user-4", None).0, 404);
    // The commands, and the socket in the data directory, are about the same service.
    let kms = |args: &[&str]| {
        let output = Command::new(CARNET)
            .args(["kms", "-c"])
            .arg(scene.path("carnet.toml"))
            .args(args)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    assert!(kms(&["user", "list"]).1.starts_with("user-0 sip:user-0@x.example\n"));
    assert!(kms(&["user", "remove", "user-0"]).0);
    assert_eq!(scene.at_socket("data/admin.sock", "GET", "/api/v1/kms/users", None).1["total"], 5);
    assert_eq!(scene.at_socket("data/admin.sock", "GET", "/api/v1/nodes", None).0, 404);
    // A group, and the rules.
    let group = "kms/groups/sip%3Adesk%40x.example";
    assert_eq!(scene.ask("PUT", group, Some(&json!({ "members": ["sip:user-1@x.example"] }))).0, 200);
    assert_eq!(scene.get("kms/groups")["groups"][0]["identity"], "sip:desk@x.example");
    assert_eq!(scene.ask("DELETE", group, None).0, 200);
    let rules = json!({ "rules": [{ "from": "*", "to": "sip:user-1@x.example", "allow": false }], "otherwise": true });
    assert_eq!(scene.ask("PUT", "kms/policy", Some(&rules)), (200, rules.clone()));
    assert_eq!(scene.get("kms/policy"), rules);
    assert!(scene.get("kms/tickets")["tickets"].as_array().unwrap().is_empty());
}

#[test]
fn a_gateway_is_put_out_of_service_and_back() {
    let scene = Scene::new("");
    scene.until("the gateway is in service", |scene| scene.gateway()["state"] == "in service");
    for avoid in [true, false] {
        let (status, answer) =
            scene.ask("PATCH", "borders/alg/gateways/agw", Some(&json!({ "avoid": avoid })));
        assert_eq!((status, &answer["avoided"]), (200, &json!(avoid)));
        assert_eq!(scene.gateway()["avoided"], avoid);
    }
    for (target, status) in [("borders/alg/gateways/other", 404), ("borders/other/gateways/agw", 404)] {
        assert_eq!(scene.ask("PATCH", target, Some(&json!({ "avoid": true }))).0, status, "{target}");
    }
    assert_eq!(scene.ask("PATCH", "borders/alg/gateways/agw", Some(&json!({ "avoid": 1 }))).0, 422);
}

#[test]
fn draining_is_taken_back_and_ends() {
    let mut scene = Scene::new("");
    scene.until("the gateway is in service", |scene| scene.gateway()["state"] == "in service");
    assert_eq!(scene.get("drain"), json!({ "state": "no", "left": null, "sessions": 0 }));
    assert_eq!(scene.ask("DELETE", "drain", None).0, 409);
    // With nothing in progress it is over at once.
    assert_eq!(scene.ask("POST", "drain", Some(&json!({ "grace": 3600 }))).0, 202);
    assert!(scene.process.child.wait().unwrap().success());
}

/// The process has nothing else to do any more, and somebody is still asking: he gets his answer.
#[test]
fn what_was_asked_before_the_end_is_answered() {
    let mut scene = Scene::new("");
    let body = "{\"level\": \"debug\"}";
    let (begin, rest) = body.split_at(5);
    let mut stream = TcpStream::connect(scene.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "PUT /api/v1/log HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        scene.address,
        body.len()
    )
    .unwrap();
    // It says so when it reads the body: the request is being answered.
    let mut goes_on = [0; 25];
    stream.read_exact(&mut goes_on).unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(begin.as_bytes()).unwrap();
    let process = scene.process.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    scene.process.line("stopping");
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(scene.process.child.wait().unwrap().success());
}

#[test]
fn who_says_nothing_keeps_nobody_out() {
    let scene = Scene::new("");
    // More than are served at once, and none of them says a word.
    let silent: Vec<TcpStream> = (0..1_000).map_while(|_| TcpStream::connect(scene.address).ok()).collect();
    assert_eq!(silent.len(), 1_000);
    let asked = Instant::now();
    assert_eq!(scene.tcp("GET", "/health", ""), 200);
    assert!(asked.elapsed() < Duration::from_secs(20), "it waited for those who say nothing");
    // They cost no more than that.
    let status = std::fs::read_dir(format!("/proc/{}/fd", scene.process.child.id())).unwrap().count();
    assert!(status < 400, "{status} files are open");
    drop(silent);
    // Whoever reads events has a place until there are too many of them.
    let open = |scene: &Scene| {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", scene.address).unwrap();
        let mut head = [0; 12];
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_exact(&mut head).unwrap();
        (stream, head.ends_with(b"200"))
    };
    let readers: Vec<_> = (0..64).map(|_| open(&scene)).collect();
    assert!(readers.iter().all(|(_, taken)| *taken));
    assert!(!open(&scene).1, "one too many");
    assert_eq!(scene.tcp("GET", "/health", ""), 200);
}
