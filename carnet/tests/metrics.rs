//! `/metrics` of a running process: who may ask, and that Prometheus reads what it gets.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::{Running, free};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");
const TOKEN: &str = "a-word-that-only-friends-know";

struct Scene {
    directory: tempfile::TempDir,
    _process: Running,
    address: SocketAddr,
}

/// A key server and a gateway that looks for its controller.
fn scene(admin: &str) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let (address, keys) = (free(), free());
    let text = format!(
        "[admin]\nlisten = \"{address}\"\n{admin}\n\
         [kms]\nname = \"kms.example\"\nlisten = \"{keys}\"\ndata = \"data\"\n\
         [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"mgc@udp:{}\"]\n\
         [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"20000-20009\"\n",
        free()
    );
    std::fs::write(directory.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let file = directory.path().join("carnet.toml");
    std::fs::write(&file, text).unwrap();
    let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
    process.line("ready");
    Scene { directory, _process: process, address }
}

impl Scene {
    /// Status and body.
    fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let host =
            if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        write!(stream, "GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

/// What promtool has to complain about.
fn complaints(metrics: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (package prometheus)");
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn prometheus_reads_what_is_counted_and_held() {
    let scene = scene("");
    let (status, text) = scene.get("/metrics", "");
    assert_eq!(status, 200, "{text}");
    for line in [
        "carnet_gateway_registered_total{gateway=\"agw\"} 0\n",
        "carnet_gateway_registered{gateway=\"agw\"} 0\n",
        "carnet_gateway_ports{gateway=\"agw\",realm=\"access\",state=\"free\"} 10\n",
        "carnet_kms_ticket_issued_total{kms=\"kms.example\"} 0\n",
        "carnet_kms_requests_in_flight{kms=\"kms.example\"} 0\n",
        "# TYPE carnet_event_stream_missed_total counter\ncarnet_event_stream_missed_total 0\n",
        "carnet_queue_length{role=\"gateway\",node=\"agw\",queue=\"engine\"} 0\n",
        "carnet_queue_limit{role=\"gateway\",node=\"agw\",queue=\"engine\"} 4096\n",
        "carnet_gateway_memory_bytes{gateway=\"agw\"} 0\n",
        "carnet_build_info{version=",
        "process_open_fds ",
        "process_max_fds ",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert_eq!(scene.get("/health", ""), (200, "well\n".into()));
    assert_eq!(scene.get("/nothing", "").0, 404);
    if std::env::var_os("CARNET_REQUIRE_INTEROP").is_some()
        || Command::new("promtool").arg("--version").output().is_ok()
    {
        assert_eq!(complaints(&text), "");
        assert_ne!(complaints("# TYPE a counter\na 1\n"), "", "it does complain");
    }
}

/// One request with a body; status and answer.
fn send(scene: &Scene, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(scene.address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        scene.address,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[test]
fn an_administrator_asks_and_changes_things() {
    let mut scene = scene("");
    let json = |(status, text): (u16, String)| -> (u16, serde_json::Value) {
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    };
    let (status, nodes) = json(scene.get("/api/v1/nodes", ""));
    assert_eq!((status, &nodes["gateways"][0]["gateway"]), (200, &"agw".into()));
    let (_, document) = json(scene.get("/api/v1/openapi.json", ""));
    assert_eq!(document["openapi"].as_str().unwrap()[..3], *"3.1");
    for path in ["/api/v1/sessions", "/api/v1/gateways/{gateway}/contexts", "/api/v1/drain", "/api/v1/events"]
    {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    for (path, wanted) in [
        ("/api/v1/sessions?limit=0", 400),
        ("/api/v1/sessions?limit=1001", 400),
        ("/api/v1/sessions?state=dead", 400),
        ("/api/v1/sessions/1", 404),
        ("/api/v1/sessions/x", 400),
        ("/api/v1/gateways/other/contexts", 404),
        ("/api/v1/gateways/agw/contexts?from=-1", 400),
        ("/api/v1/events?level=loud", 400),
        ("/api/v1/rooms", 404),
        ("/api/v1/sessions?q=%00&order=up", 400),
        ("/api/v1/kms/users/nobody", 404),
        ("/api/v1/kms/users?limit=0", 400),
        ("/api/v1/kms/tickets?before=9007199254740992", 400),
        ("/api/v1/kms/nothing", 404),
        ("/api/v1/rooms/sip%3Ax", 404),
    ] {
        let (status, text) = json(scene.get(path, ""));
        assert!(status == wanted && text["error"].is_string(), "{path}: {status} {text}");
    }
    const KIND: &str = "application/json";
    assert_eq!(json(scene.get("/api/v1/log", "")).1["level"], "info");
    for (kind, body, wanted) in [
        (KIND, "{\"level\": \"carnet=\\u0000=x=y\"}", 400),
        (KIND, "{\"level\": 5}", 422),
        (KIND, "{", 400),
        ("text/plain", "{}", 415),
    ] {
        assert_eq!(json(send(&scene, "PUT", "/api/v1/log", kind, body)).0, wanted, "{body}");
    }
    let (status, level) = json(send(&scene, "PUT", "/api/v1/log", KIND, "{\"level\": \"debug\"}"));
    assert_eq!((status, &level["level"]), (200, &"debug".into()));
    let large = format!("{{\"level\": \"{}\"}}", "x".repeat(3 << 20));
    assert_eq!(json(send(&scene, "PUT", "/api/v1/log", KIND, &large)).0, 413);
    // It ends when it is told to.
    assert_eq!(send(&scene, "POST", "/api/v1/drain", KIND, "{\"grace\": 90000}").0, 400);
    assert_eq!(send(&scene, "POST", "/api/v1/drain", KIND, "{\"grace\": 1}").0, 202);
    assert!(scene._process.child.wait().unwrap().success());
}

/// Requests made up from the document, good and bad, and what the process answers held against it.
#[test]
fn the_process_does_what_its_document_says() {
    if std::env::var_os("CARNET_REQUIRE_INTEROP").is_none()
        && Command::new("schemathesis").arg("--version").output().is_err()
    {
        return;
    }
    let scene = scene("");
    let url = format!("http://{}/api/v1/openapi.json", scene.address);
    // A stream does not end, and a process that drains does, by whatever name it is called.
    let left_out = ["events", "drain", "network/{node}/drain"];
    let left_out = left_out.iter().flat_map(|path| ["--exclude-path".to_owned(), format!("/api/v1/{path}")]);
    let output = Command::new("schemathesis")
        .args(["run", &url, "--max-examples", "20", "--seed", "1"])
        .args(left_out)
        .current_dir(scene.directory.path())
        .output()
        .expect("schemathesis");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_page_of_another_origin_gets_nothing() {
    let scene = scene("");
    assert_eq!(scene.get("/metrics", &format!("Origin: http://{}\r\n", scene.address)).0, 200);
    assert_eq!(scene.get("/metrics", "Origin: https://evil.example\r\n").0, 403);
    // A name of somebody else's that leads here (DNS rebinding).
    let port = scene.address.port();
    assert_eq!(scene.get("/metrics", &format!("Host: evil.example:{port}\r\n")).0, 403);
    assert_eq!(scene.get("/metrics", &format!("Host: localhost:{port}\r\n")).0, 200);
}

#[test]
fn a_token_opens_and_its_absence_does_not() {
    let scene = scene("token-file = \"token\"");
    for wrong in
        ["", "Authorization: Bearer x\r\n", "Authorization: Basic eDp5\r\n", "Authorization: Bearer\r\n"]
    {
        let (status, text) = scene.get("/metrics", wrong);
        assert_eq!((status, text.contains("carnet_")), (401, false), "{wrong}{text}");
    }
    let right = format!("Authorization: bearer {TOKEN}\r\nHost: any.example\r\n");
    let (status, text) = scene.get("/metrics", &right);
    assert!(status == 200 && text.contains("carnet_build_info"), "{text}");
    assert!(!text.contains(TOKEN));
    // It is long enough, or nothing starts.
    let Scene { directory, _process: process, .. } = scene;
    drop(process);
    let file = directory.path().join("carnet.toml");
    std::fs::write(directory.path().join("token"), "short").unwrap();
    let output = Command::new(CARNET).args(["run", "-c"]).arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("a token has 16"), "{output:?}");
}

/// Runs openssl in the directory.
fn openssl(directory: &std::path::Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {output:?}");
}

/// With `ca`, a certificate is what opens: none, or one that nobody vouches for, does not.
#[test]
fn a_certificate_opens_and_its_absence_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    for (name, more) in [("ca", ""), ("stranger", ""), ("node", " -addext subjectAltName=IP:127.0.0.1")] {
        openssl(here, &format!("req -x509 {key} -subj /CN={name} -keyout {name}.key -out {name}.pem{more}"));
    }
    openssl(here, &format!("req {key} -subj /CN=friend -keyout friend.key -out friend.csr"));
    openssl(
        here,
        "x509 -req -in friend.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out friend.pem",
    );
    let path = |name: &str| here.join(name).display().to_string();
    let [node, key, ca] = ["node.pem", "node.key", "ca.pem"].map(path);
    let scene = scene(&format!("tls = {{ certificate = \"{node}\", key = \"{key}\", ca = \"{ca}\" }}"));
    let url = format!("https://{}/metrics", scene.address);
    let get = |who: Option<&str>| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--cacert", &node, &url]);
        if let Some(who) = who {
            curl.args(["--cert", &path(&format!("{who}.pem")), "--key", &path(&format!("{who}.key"))]);
        }
        let output = curl.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (done, text) = get(Some("friend"));
    assert!(done && text.contains("carnet_build_info"), "{text}");
    // When the certificate is over: two days after it was made, to the second as openssl has it.
    let ends: i64 = text
        .lines()
        .find_map(|line| line.strip_prefix("carnet_certificate_expiry_timestamp_seconds{at=\"admin.tls\"} "))
        .unwrap_or_else(|| panic!("{text}"))
        .parse()
        .unwrap();
    let said = Command::new("openssl").args(["x509", "-noout", "-enddate", "-in", &node]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let date = said.trim().strip_prefix("notAfter=").unwrap();
    let seconds = Command::new("date").args(["-u", "-d", date, "+%s"]).output().unwrap();
    assert_eq!(ends.to_string(), String::from_utf8(seconds.stdout).unwrap().trim(), "{date}");
    for who in [None, Some("stranger")] {
        let (done, text) = get(who);
        assert!(!done && text.is_empty(), "{who:?}: {text}");
    }
    // And all that is counted: those two, and the two that were let in.
    let (_, text) = get(Some("friend"));
    let count = |result: &str| -> f64 {
        let of = |line: &&str| {
            line.starts_with("carnet_tls_handshakes_total{place=\"admin\",side=\"server\"")
                && line.contains(&format!("result=\"{result}\""))
        };
        text.lines().filter(of).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    };
    assert_eq!((count("done"), count("failed")), (2.0, 2.0), "{text}");
    assert!(text.contains("version=\"TLS 1.3\",cipher=\"TLS_"), "{text}");
}

#[test]
fn hostile_requests_end_nothing() {
    let scene = scene("");
    for octets in [&b"\x16\x03\x01\x02\x00"[..], b"GET /metrics HTTP/9.9\r\n\r\n", &[b'x'; 100_000]] {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        let _ = stream.write_all(octets);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // As many as are served at once, and none of them says a word.
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(scene.address).unwrap()).collect();
    drop(silent);
    assert_eq!(scene.get("/metrics", "").0, 200);
}

/// The sum of the samples of a metric that have these labels.
fn sum(text: &str, metric: &str, labels: &[&str]) -> f64 {
    let of = |line: &&str| {
        line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines().filter(of).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// A border with its gateway and a key server: what a registration, a call and a few odd messages leave behind adds up.
#[test]
fn known_traffic_is_what_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let [admin, kms, access, core] = [free(), free(), free(), free()];
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "carnet.toml",
        &format!(
            "[admin]\nlisten = \"{admin}\"\n\
             [kms]\nname = \"kms.example\"\nlisten = \"{kms}\"\ndata = \"data\"\n\
             [border.b]\nrole = \"ims-alg\"\ndomain = \"x.example\"\n\
             registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\ncontrol = {{ gateways = [\"g\"] }}\n\
             [border.b.network.access]\nlisten = [\"tcp:{access}\", \"udp:{access}\"]\nsubscribers = true\n\
             [border.b.network.core]\nlisten = [\"tcp:{core}\"]\n\
             [gateway.g]\nrole = \"ims-agw\"\ncontrollers = [\"local:b\"]\n\
             [gateway.g.realm.access]\nv4 = \"127.0.0.1\"\nports = \"21200-21239\"\n\
             [gateway.g.realm.core]\nv4 = \"127.0.0.1\"\nports = \"21240-21259\"\n"
        ),
    );
    write("users.toml", "alice = \"a password\"\nbob = \"a password\"\n");
    write("password", "a password\n");
    for user in ["alice", "bob"] {
        let key = directory.path().join(format!("{user}.psk"));
        let added = Command::new(CARNET)
            .args(["kms", "user", "add", &format!("sip:{user}@x.example"), "-c"])
            .arg(directory.path().join("carnet.toml"))
            .arg("--out")
            .arg(key)
            .output()
            .unwrap();
        assert!(added.status.success(), "{added:?}");
        write(
            &format!("{user}.toml"),
            &format!(
                "[ue]\nidentity = \"sip:{user}@x.example\"\npassword-file = \"password\"\n\
                 proxy = \"sip:{access};transport=tcp\"\nkms = \"http://{kms}\"\n\
                 kms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\n"
            ),
        );
    }
    let file = directory.path().join("carnet.toml");
    let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
    process.line("ready");
    let scene = Scene { directory, _process: process, address: admin };
    let ue = |user: &str, action: &[&str]| {
        let file = scene.directory.path().join(format!("{user}.toml"));
        Running::start(Command::new(CARNET).args(["ue", "--json", "-c"]).arg(&file).args(action))
    };
    let bob = ue("bob", &["listen"]);
    bob.line("\"registered\"");
    let mut alice = ue("alice", &["chat", "sip:bob@x.example"]);
    alice.line("\"sealed\"");
    let text = scene.get("/metrics", "").1;
    assert_eq!(sum(&text, "carnet_border_registrations", &["border=\"b\"", "network=\"access\""]), 2.0);
    let stop = Command::new("kill").args(["-INT", &alice.child.id().to_string()]).status();
    assert!(stop.is_ok_and(|s| s.success()) && alice.child.wait().unwrap().success());
    bob.line("\"ended\"");
    // The same request twice, and what is none.
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let register = format!(
        "REGISTER sip:x.example SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKtwice;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@x.example>;tag=1\r\nTo: <sip:bob@x.example>\r\nCall-ID: twice\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:bob@{}>\r\nContent-Length: 0\r\n\r\n",
        stranger.local_addr().unwrap(),
        stranger.local_addr().unwrap(),
    );
    for _ in 0..2 {
        stranger.send_to(register.as_bytes(), access).unwrap();
        let mut answer = [0; 4096];
        let length = loop {
            match stranger.recv(&mut answer) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.unwrap(),
            }
        };
        assert!(answer[..length].starts_with(b"SIP/2.0 401 "));
    }
    stranger.send_to(b"this is no SIP at all\r\n\r\n", access).unwrap();
    // What is no request for a ticket.
    let mut stream = TcpStream::connect(kms).unwrap();
    write!(
        stream,
        "POST /keymanagement?requesttype=ticketresolve HTTP/1.1\r\nHost: kms\r\nConnection: close\r\n\
         Content-Type: application/mikey\r\nContent-Length: 2\r\n\r\n\u{1}\u{11}"
    )
    .unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let until = std::time::Instant::now() + common::PATIENCE;
    let text = loop {
        let text = scene.get("/metrics", "").1;
        let malformed = sum(&text, "carnet_sip_malformed_total", &["node=\"b\""]);
        let released = sum(&text, "carnet_border_media_released_total", &[]);
        if (malformed, released) == (1.0, 1.0) || std::time::Instant::now() > until {
            break text;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let b = "node=\"b\"";
    for (metric, labels, wanted) in [
        ("carnet_sip_transaction_seconds_count", &[b, "side=\"server\"", "\"INVITE\""][..], 1.0),
        ("carnet_sip_transaction_seconds_count", &[b, "side=\"client\"", "\"INVITE\""], 1.0),
        ("carnet_sip_transaction_seconds_count", &[b, "side=\"server\"", "\"BYE\""], 1.0),
        ("carnet_sip_repeats_received_total", &[b], 1.0),
        ("carnet_sip_retransmissions_total", &[b, "what=\"response\""], 1.0),
        ("carnet_sip_transactions_failed_total", &[b], 0.0),
        ("carnet_sip_requests_shed_total", &[b], 0.0),
        ("carnet_sip_malformed_total", &[b], 1.0),
        ("carnet_sip_open_transactions", &[b], 0.0),
        ("carnet_queue_lost_total", &[b], 0.0),
        ("carnet_kms_request_seconds_count", &["operation=\"issue\"", "result=\"granted\""], 1.0),
        ("carnet_kms_request_seconds_count", &["operation=\"resolve\"", "result=\"granted\""], 1.0),
        ("carnet_kms_request_seconds_count", &["operation=\"resolve\"", "result=\"refused\""], 1.0),
        ("carnet_h248_requests_total", &["role=\"border\"", "\"sent\"", "\"Add\""], 2.0),
        ("carnet_h248_requests_repeated_total", &["role=\"border\""], 0.0),
        ("carnet_control_outstanding", &[], 0.0),
    ] {
        assert_eq!(sum(&text, metric, labels), wanted, "{metric} {labels:?}\n{text}");
    }
    // What one end sent the other received, and both saw it answered.
    for command in ["Add", "Modify", "Subtract", "Notify", "ServiceChange", "AuditValue"] {
        let of = |role: &str, direction: &str| {
            let command = format!("command=\"{command}\"");
            sum(&text, "carnet_h248_requests_total", &[role, direction, &command])
        };
        let (border, gateway) = ("role=\"border\"", "role=\"gateway\"");
        assert_eq!(of(border, "\"sent\""), of(gateway, "\"received\""), "{command}\n{text}");
        assert_eq!(of(border, "\"received\""), of(gateway, "\"sent\""), "{command}\n{text}");
    }
    let replies = |labels: &[&str]| sum(&text, "carnet_h248_replies_total", labels);
    assert_eq!(replies(&["role=\"border\"", "\"received\""]), replies(&["role=\"gateway\"", "\"sent\""]));
    let timed = sum(&text, "carnet_h248_transaction_seconds_count", &["role=\"border\"", "peer=\"g\""]);
    assert_eq!(timed, replies(&["role=\"border\"", "\"received\""]), "{text}");
    if std::env::var_os("CARNET_REQUIRE_INTEROP").is_some()
        || Command::new("promtool").arg("--version").output().is_ok()
    {
        assert_eq!(complaints(&text), "");
    }
}

/// What alerts and the dashboard ask for is in the documents, and those say what there is.
#[test]
fn alerts_and_dashboard_name_what_there_is() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
    let read = |name: &str| std::fs::read_to_string(format!("{docs}/{name}")).unwrap();
    let known = read("monitoring.md") + &read("events.md");
    for file in ["monitoring/alerts.yml", "monitoring/dashboard.json"] {
        let text = read(file);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let metrics: Vec<&str> =
            words.filter(|word| word.starts_with("carnet_") || word.starts_with("process_")).collect();
        assert!(metrics.len() > 10, "{file}");
        for metric in metrics {
            let name = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|end| metric.strip_suffix(end))
                .unwrap_or(metric);
            assert!(known.contains(&format!("`{name}`")), "{file}: {metric}");
        }
    }
    serde_json::from_str::<serde_json::Value>(&read("monitoring/dashboard.json")).unwrap();
    if std::env::var_os("CARNET_REQUIRE_INTEROP").is_some()
        || Command::new("promtool").arg("--version").output().is_ok()
    {
        let rules = Command::new("promtool")
            .args(["check", "rules"])
            .arg(format!("{docs}/monitoring/alerts.yml"))
            .output();
        let rules = rules.unwrap();
        assert!(rules.status.success(), "{rules:?}");
        // Each is set off by what it is for, and by nothing less.
        let tried = Command::new("promtool")
            .args(["test", "rules"])
            .arg(format!("{docs}/monitoring/alerts-test.yml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[tried.stdout, tried.stderr].concat()).into_owned();
        assert!(tried.status.success(), "{said}");
    }
}
