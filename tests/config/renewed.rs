//! Certificates that are renewed while the process runs: of the MSRP relay, ng, a conference server on both of its sides, and what a
//! gateway shows to its controller. `openssl` sees them.

use crate::process::{PATIENCE, Process, certificate, ports};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends with the test.
struct Openssl(Child);

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whose certificate is shown at a port.
fn shown(directory: &Path, port: u16) -> String {
    let told = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-cert", "own.pem", "-key", "own.key"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    text.lines().find(|line| line.starts_with("subject=")).unwrap_or(&text).to_owned()
}

/// A connection that stays.
fn stays(port: u16) -> Openssl {
    let child = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Openssl(child.expect("openssl"))
}

/// A controller that speaks TLS and no H.248; what it sees is in `mgc.log`. It listens when this returns: its port may have
/// been somebody's for a moment, who called out from it.
fn controller(directory: &Path, port: u16) -> Openssl {
    let log = || File::options().create(true).append(true).open(directory.join("mgc.log")).unwrap();
    let start = || {
        Command::new("openssl")
            .args(["s_server", "-accept", &port.to_string(), "-cert", "mgc.pem", "-key", "mgc.key"])
            .args(["-Verify", "1", "-CAfile", "own.pem"])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("openssl")
    };
    let end = Instant::now() + PATIENCE;
    let mut server = Openssl(start());
    loop {
        assert!(Instant::now() < end, "openssl does not listen at {port}");
        std::thread::sleep(Duration::from_millis(50));
        if server.0.try_wait().unwrap().is_some() {
            server = Openssl(start());
        } else if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return server;
        }
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_next_handshake_shows_the_new_certificate_and_connections_stay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    certificate(path, "own", "first.example");
    certificate(path, "mgc", "mgc");
    std::fs::write(path.join("users.toml"), "alice = \"secret\"\n").unwrap();
    let [sip, mp, relay, ng, https, mgc] = ports();
    let own = "certificate = \"own.pem\", key = \"own.key\"";
    let text = format!(
        r#"
[conference.conf]
domain = "conf.example"
listen = ["tls:127.0.0.1:{sip}"]
tls = {{ {own} }}
control = {{ listen = ["tls:127.0.0.1:{mp}"], gateways = ["mrfp"], tls = {{ {own}, ca = "own.pem" }} }}
[[conference.conf.room]]
uri = "sip:staff@conf.example"
unsealed = "admit"
[gateway.agw]
role = "ims-agw"
controllers = ["mgc@tls:127.0.0.1:{mgc}"]
control-tls = {{ {own}, ca = "mgc.pem" }}
engine = "relay"
restart-wait = 0
realm.access = {{ v4 = "127.0.0.1", ports = "29800-29849" }}
relay = {{ listen = ["tls:127.0.0.1:{relay}"], domain = "relay.example", users = "users.toml", tls = {{ {own} }} }}
[gateway.media]
role = "ims-agw"
engine = "relay"
realm.public = {{ v4 = "127.0.0.1", ports = "29850-29899" }}
ng = {{ listen = ["tls:127.0.0.1:{ng}", "https:127.0.0.1:{https}"], tls = {{ {own} }} }}
"#
    );
    std::fs::write(path.join("carnet.toml"), text).unwrap();
    let seen = || std::fs::read_to_string(path.join("mgc.log")).unwrap_or_default();
    let mut server = controller(path, mgc);
    let process = Process::start(path);
    let sockets = [sip, mp, relay, ng, https];
    for port in sockets {
        assert!(shown(path, port).contains("first.example"), "{port}: {}", shown(path, port));
    }
    until("the gateway has not shown itself", || seen().contains("first.example"));

    let mut standing: Vec<_> = [sip, relay, ng, https].map(stays).into();
    let mut say = standing[0].0.stdin.take().unwrap();
    let mut hear = BufReader::new(standing[0].0.stdout.take().unwrap());
    // RFC 5626 §4.4.1: the answer to a ping says that the way is there.
    let mut ping = || {
        let mut line = String::new();
        say.write_all(b"\r\n\r\n").and_then(|()| say.flush()).unwrap();
        hear.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(ping(), "\r\n");

    certificate(path, "own", "second.example");
    process.reload();
    for setting in [
        "conference.conf.tls",
        "conference.conf.control.tls",
        "gateway.agw.control-tls",
        "gateway.agw.relay.tls",
        "gateway.media.ng.tls",
    ] {
        process.logs(&format!("{setting}.certificate: the file's content has changed (applied)"));
    }
    for port in sockets {
        assert!(shown(path, port).contains("second.example"), "{port}: {}", shown(path, port));
    }
    assert_eq!(ping(), "\r\n", "the old connection has ended");
    for open in &mut standing {
        assert!(open.0.try_wait().unwrap().is_none(), "a connection has ended");
    }
    // The controller is away for a moment, and trusts the new one when it is back.
    let _ = server.0.kill();
    let _ = server.0.wait();
    server = controller(path, mgc);
    until("the gateway has not shown its new certificate", || seen().contains("second.example"));
    drop(server);
}
