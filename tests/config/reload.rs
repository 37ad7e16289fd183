//! A border and its gateway with a call up, whose file and certificate change.

use crate::call::Telephone;
use crate::process::{Process, certificate, ports, shown};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

struct Scene {
    directory: tempfile::TempDir,
    a: u16,
    b: u16,
    tls: u16,
    control: u16,
    keys: u16,
    admin: u16,
    next: u16,
    more: String,
}

impl Scene {
    fn new(next: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        certificate(directory.path(), "own", "first.example");
        std::fs::write(directory.path().join("token"), "0123456789abcdef\n").unwrap();
        std::fs::write(directory.path().join("read.token"), "reads-0123456789\n").unwrap();
        let [a, b, tls, control, keys, admin] = ports();
        let scene = Self { directory, a, b, tls, control, keys, admin, next, more: String::new() };
        scene.write();
        scene
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self) {
        let Self { a, b, tls, control, keys, admin, next, more, .. } = self;
        let own = "{ certificate = \"own.pem\", key = \"own.key\" }";
        let text = format!(
            r#"
[border.net]
role = "ibcf"
domain = "net.example"
tls = {own}
control = {{ listen = ["tls:127.0.0.1:{control}"], gateways = ["trgw", "far"], tls = {{ certificate = "own.pem", key = "own.key", ca = "own.pem" }} }}
network.a = {{ listen = ["udp:127.0.0.1:{a}", "tls:127.0.0.1:{tls}"] }}
network.b = {{ listen = ["udp:127.0.0.1:{b}"] }}
[[border.net.route]]
domain = "*"
network = "b"
next-hop = "sip:127.0.0.1:{next}"
[gateway.trgw]
role = "trgw"
controllers = ["local:net"]
engine = "relay"
realm.a = {{ v4 = "127.0.0.1", ports = "28000-28499" }}
realm.b = {{ v4 = "127.0.0.1", ports = "28500-28999" }}
[kms]
name = "kms.example"
listen = "127.0.0.1:{keys}"
data = "kms"
tls = {own}
[admin]
listen = "127.0.0.1:{admin}"
token-file = "token"
read-token-file = "read.token"
tls = {own}
{more}
"#
        );
        std::fs::write(self.path().join("carnet.toml"), text).unwrap();
    }

    fn ask(&self, token: &str) -> String {
        self.asks("POST", "reload", token)
    }

    fn asks(&self, method: &str, what: &str, token: &str) -> String {
        let told = Command::new("curl")
            .args(["-sk", "-X", method, "-H", &format!("Authorization: Bearer {token}")])
            .arg(format!("https://127.0.0.1:{}/api/v1/{what}", self.admin))
            .output()
            .expect("curl");
        String::from_utf8_lossy(&told.stdout).into_owned()
    }
}

#[test]
fn a_process_with_a_call_goes_on_with_another_file() {
    let (caller, first, second) = (Telephone::new(), Telephone::new(), Telephone::new());
    let mut scene = Scene::new(first.port());
    let process = Process::start(scene.path());
    process.logs("gateway-up");
    let call = caller.calls(scene.a, "one", &first);

    // A connection that stands before the certificate is another.
    let mut old = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", scene.tls)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut say, mut hear) = (old.stdin.take().unwrap(), BufReader::new(old.stdout.take().unwrap()));
    // RFC 5626 §4.4.1: the answer to a ping says that the way is there.
    let mut ping = || {
        let mut line = String::new();
        say.write_all(b"\r\n\r\n").and_then(|()| say.flush()).unwrap();
        hear.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(ping(), "\r\n");
    let sockets = [scene.tls, scene.control, scene.keys, scene.admin];
    for port in sockets {
        assert!(shown(port).contains("first.example"), "{port}: {}", shown(port));
    }

    certificate(scene.path(), "own", "second.example");
    scene.next = second.port();
    scene.more =
        "[records]\nfile = \"s.jsonl\"\n[log]\nformat = \"json\"\n[trace]\nring = \"1 MiB\"\n".into();
    scene.write();
    let file = std::fs::read_to_string(scene.path().join("carnet.toml")).unwrap();
    std::fs::write(
        scene.path().join("carnet.toml"),
        file.replace("engine = \"relay\"", "engine = \"relay\"\nthreads = 2"),
    )
    .unwrap();
    process.reload();
    for port in sockets {
        assert!(shown(port).contains("second.example"), "{port}: {}", shown(port));
    }
    assert_eq!(ping(), "\r\n", "the old connection has ended");
    process.logs(&format!("sip:127.0.0.1:{}\\\" (applied)", second.port()));
    process.logs("kms.tls.key: the file's content has changed (applied)");
    process.logs("records.keep: new, 10 (applied)");
    process.logs("trace.ring: \\\"16 MiB\\\" → \\\"1 MiB\\\" (applied)");
    process.logs("gateway.trgw.threads: 1 → 2 (needs a restart)");
    let runs = scene.asks("GET", "process", "reads-0123456789");
    assert!(runs.contains(&format!("\"next_hop\":\"sip:127.0.0.1:{}\"", second.port())), "{runs}");
    assert!(!process.log().contains("PRIVATE KEY"));

    // The call that was there ends where it began, the next one goes elsewhere.
    let next = caller.calls(scene.a, "two", &second);
    caller.hangs_up(scene.a, &call, &first);
    caller.hangs_up(scene.a, &next, &second);

    // What waits for a restart is said again, and nothing else.
    let said = scene.ask("0123456789abcdef");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let changes = said["changes"].as_array().unwrap();
    assert!(changes.len() == 1 && changes.iter().all(|change| change["applied"] == false), "{said}");
    // Whoever wrote no records before does now; what a call was before is not known.
    let records = || std::fs::read_to_string(scene.path().join("s.jsonl")).unwrap_or_default();
    let end = std::time::Instant::now() + crate::process::PATIENCE;
    while !records().contains("\"two\"") {
        assert!(std::time::Instant::now() < end, "{}", records());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let _ = old.kill();
    let _ = old.wait();
}

#[test]
fn a_file_that_is_wrong_changes_nothing_and_its_line_is_said() {
    let (caller, first, second) = (Telephone::new(), Telephone::new(), Telephone::new());
    let mut scene = Scene::new(first.port());
    let process = Process::start(scene.path());
    process.logs("gateway-up");

    scene.next = second.port();
    scene.more = "[log]\nlevle = \"debug\"\n".into();
    scene.write();
    let text = std::fs::read_to_string(scene.path().join("carnet.toml")).unwrap();
    let line = 1 + text.lines().position(|line| line.starts_with("levle")).unwrap();
    process.reload();
    process.logs(&format!("carnet.toml:{line}:1: unknown field `levle`"));
    let said = scene.ask("0123456789abcdef");
    assert!(said.contains(&format!("carnet.toml:{line}:1: unknown field `levle`")), "{said}");
    assert!(
        [process.told(), process.told()].concat().contains("RELOADING=1"),
        "systemd hears of this one too"
    );

    // A key that does not belong to the certificate: the file is good, what it names is not.
    scene.more.clear();
    scene.write();
    let key = std::fs::read(scene.path().join("own.key")).unwrap();
    certificate(scene.path(), "other", "other.example");
    std::fs::copy(scene.path().join("other.key"), scene.path().join("own.key")).unwrap();
    process.reload();
    process.logs("own.pem");
    let call = caller.calls(scene.a, "one", &first);
    caller.hangs_up(scene.a, &call, &first);
    assert!(shown(scene.tls).contains("first.example"));

    // And when it is right again, it is taken.
    std::fs::write(scene.path().join("own.key"), key).unwrap();
    std::fs::write(scene.path().join("token"), "fedcba9876543210\n").unwrap();
    process.reload();
    let call = caller.calls(scene.a, "two", &second);
    caller.hangs_up(scene.a, &call, &second);
    assert!(scene.ask("0123456789abcdef").contains("a token is needed"));
    assert!(scene.ask("fedcba9876543210").contains("\"changes\":[]"));
    assert!(process.told().contains("RELOADING=1") && process.told() == "READY=1");

    // The word for reading still reads, and does no more; then it is another.
    assert!(scene.ask("reads-0123456789").contains("for reading"));
    std::fs::write(scene.path().join("read.token"), "reads-9876543210\n").unwrap();
    process.reload();
    assert!(scene.asks("GET", "nodes", "reads-0123456789").contains("a token is needed"));
    assert!(scene.asks("GET", "nodes", "reads-9876543210").contains("\"gateways\""));
}
