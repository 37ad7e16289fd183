//! The client's listening side as OpenSSL meets it. The called side is played by hand: it opens
//! the ticket, answers, and gives the key to `openssl s_client`.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_mikey::{Identity, Profile, Psk, Received, key_mgmt};
use carnet_net::OsRandom;
use carnet_wire::hex;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");
const PATIENCE: Duration = Duration::from_secs(30);

/// A process whose output lines can be waited for; killed when it goes.
struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (send, lines) = channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for reader in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
            let send = send.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    let _ = send.send(line);
                }
            });
        }
        Self { stdin: child.stdin.take().unwrap(), child, lines }
    }

    /// The next line that holds this.
    fn line(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("`{text}` did not come after {seen:#?}");
    }

    /// All that is written until the end.
    fn rest(&mut self) -> String {
        let mut all = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            all += &(line + "\n");
        }
        self.child.wait().unwrap();
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A key server, alice who has called bob through us, and what bob's answer made.
struct Call {
    _dir: tempfile::TempDir,
    _kms: Running,
    /// alice's signalling; she has sent her ACK.
    _sip: TcpStream,
    alice: Running,
    /// Where she listens for bob.
    at: SocketAddr,
    /// Her MSRP path.
    path: String,
    identity: String,
    tek: Vec<u8>,
}

fn have_openssl() -> bool {
    let here = Command::new("openssl").arg("version").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "openssl is required here");
        eprintln!("skipped: openssl is not installed");
    }
    here
}

impl Call {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // A port that is free now and, most likely, in a moment.
        let server = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let kms = format!("[kms]\nname = \"kms.example\"\nlisten = \"{server}\"\ndata = \"data\"\n");
        std::fs::write(path("kms.toml"), kms).unwrap();
        for user in ["alice", "bob"] {
            let added = Command::new(CARNET)
                .args(["kms", "user", "add", &format!("sip:{user}@x.example")])
                .arg("-c")
                .arg(path("kms.toml"))
                .arg("--out")
                .arg(path(&format!("{user}.psk")))
                .output()
                .unwrap();
            assert!(added.status.success(), "{added:?}");
        }
        let kms = Running::start(Command::new(CARNET).arg("run").arg("-c").arg(path("kms.toml")));
        kms.line("ready");
        let settings = format!(
            "[ue]\nidentity = \"sip:alice@x.example\"\nno-register = true\nlisten = \"127.0.0.1:0\"\n\
             proxy = \"sip:127.0.0.1:{};transport=tcp\"\nkms = \"http://{server}\"\n\
             kms-identity = \"sip:kms.example\"\nkms-key-file = \"alice.psk\"\n",
            proxy.local_addr().unwrap().port()
        );
        std::fs::write(path("alice.toml"), settings).unwrap();
        let mut command = Command::new(CARNET);
        command.arg("ue").arg("-c").arg(path("alice.toml")).args(["--json", "chat", "sip:bob@x.example"]);
        let alice = Running::start(&mut command);

        let mut sip = proxy.accept().unwrap().0;
        sip.set_read_timeout(Some(PATIENCE)).unwrap();
        let invite = message(&mut sip);
        assert!(invite.starts_with("INVITE "), "{invite}");
        let (identity, tek, value) = open(&invite, &path("bob.psk"), server);
        sip.write_all(answer(&invite, proxy.local_addr().unwrap(), &value).as_bytes()).unwrap();
        let ack = message(&mut sip);
        assert!(ack.starts_with("ACK "), "{ack}");
        let port = line(&invite, "m=message ").split(' ').next().unwrap().parse().unwrap();
        let at = SocketAddr::new(line(&invite, "c=IN IP4 ").parse().unwrap(), port);
        let path = line(&invite, "a=path:").to_owned();
        Self { _dir: dir, _kms: kms, _sip: sip, alice, at, path, identity, tek }
    }

    /// `openssl s_client` with a key, towards alice.
    fn s_client(&self, key: &[u8], more: &[&str]) -> Running {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &self.at.to_string(), "-quiet"]);
        client.args(["-psk", &hex::encode(key), "-psk_identity", &self.identity]).args(more);
        Running::start(&mut client)
    }
}

/// What follows this start of a line of a message.
fn line<'a>(message: &'a str, start: &str) -> &'a str {
    message
        .lines()
        .find_map(|line| line.strip_prefix(start))
        .unwrap_or_else(|| panic!("no {start}"))
        .trim_end()
}

/// The next SIP message of a connection.
fn message(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= line(head, "Content-Length: ").parse().unwrap()
        {
            return text;
        }
        let mut some = [0; 4096];
        let n = stream.read(&mut some).unwrap();
        assert!(n > 0, "alice hung up on us: {text}");
        octets.extend_from_slice(&some[..n]);
    }
}

/// Opens the ticket of an offer at the key server: name and octets of the key, and the value of
/// `a=key-mgmt` that answers.
fn open(invite: &str, key_file: &Path, server: SocketAddr) -> (String, Vec<u8>, String) {
    let octets = key_mgmt::parse(line(invite, "a=key-mgmt:")).unwrap();
    let now = SystemTime::now();
    let received = Received::parse(&Profile::default(), now, &octets).unwrap();
    let me = Identity::from_uri("sip:bob@x.example").unwrap();
    let kms = Identity::from_uri("sip:kms.example").unwrap();
    let text = std::fs::read_to_string(key_file).unwrap();
    let psk = Psk::new(&hex::decode(text.trim().as_bytes()).unwrap()).unwrap();
    let (pending, question) =
        received.resolve_init(now, &mut OsRandom, &me, b"sip:bob@x.example", &psk, &kms);
    let mut stream = TcpStream::connect(server).unwrap();
    let head = format!(
        "POST /keymanagement?requesttype=ticketresolve HTTP/1.1\r\nHost: kms\r\nConnection: close\r\n\
         Content-Type: application/mikey\r\nContent-Length: {}\r\n\r\n",
        question.len()
    );
    stream.write_all(&[head.as_bytes(), &question].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let (keyed, response) = pending.response(&received, &answer[end..], now, &mut OsRandom).unwrap();
    (keyed.psk_identity.clone(), keyed.tek.expose().to_vec(), key_mgmt::print(&response))
}

/// The 200 of somebody who opens the connection himself.
fn answer(invite: &str, contact: SocketAddr, key_mgmt: &str) -> String {
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9 TCP/TLS/MSRP *\r\n\
         a=setup:active\r\na=path:msrps://127.0.0.1:9/bob;tcp\r\na=accept-types:*\r\na=msrp-cema\r\n\
         a=key-mgmt:{key_mgmt}\r\n"
    );
    let mut head = "SIP/2.0 200 OK\r\n".to_owned();
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        head += &format!("{name}: {}\r\n", line(invite, &format!("{name}: ")));
    }
    let to = line(invite, "To: ");
    head += &format!("To: {to};tag=bob\r\nContact: <sip:bob@{contact};transport=tcp>\r\n");
    format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
}

/// With the key of the call, OpenSSL is let in, and what alice types comes out of it.
#[test]
fn openssl_with_the_key_of_the_call_is_let_in() {
    if !have_openssl() {
        return;
    }
    for (version, option) in [("TLS 1.3", "-tls1_3"), ("TLS 1.2", "-tls1_2")] {
        let mut call = Call::new();
        let mut client = call.s_client(&call.tek, &[option]);
        let sealed: Value = serde_json::from_str(&call.alice.line("\"event\":\"sealed\"")).unwrap();
        assert_eq!(sealed["version"], version);
        assert_eq!(sealed["psk_identity"], call.identity.as_str());
        assert_eq!(sealed["kms"], "sip:kms.example");
        call.alice.stdin.write_all(b"read by OpenSSL\n").unwrap();
        let frame = client.line("MSRP ");
        assert!(frame.ends_with(" SEND"), "{frame}");
        client.line("read by OpenSSL");
        // And what is written into OpenSSL is read by alice: that hers has arrived, and an answer.
        let id = frame.split(' ').nth(1).unwrap();
        let text = format!(
            "MSRP {id} 200 OK\r\nTo-Path: {0}\r\nFrom-Path: msrps://127.0.0.1:9/bob;tcp\r\n-------{id}$\r\n\
             MSRP a786hjs2 SEND\r\nTo-Path: {0}\r\nFrom-Path: msrps://127.0.0.1:9/bob;tcp\r\n\
             Message-ID: 87652491\r\nByte-Range: 1-20/20\r\nContent-Type: text/plain\r\n\r\n\
             written with OpenSSL\r\n-------a786hjs2$\r\n",
            call.path
        );
        client.stdin.write_all(text.as_bytes()).unwrap();
        let message: Value = serde_json::from_str(&call.alice.line("\"event\":\"message\"")).unwrap();
        assert_eq!(message["text"], "written with OpenSSL");
        client.line("a786hjs2 200");
    }
}

/// With any other key it gets an alert; alice goes on waiting for bob.
#[test]
fn openssl_with_another_key_is_not() {
    if !have_openssl() {
        return;
    }
    for option in ["-tls1_3", "-tls1_2"] {
        let call = Call::new();
        let mut wrong = call.tek.clone();
        wrong[0] ^= 1;
        let mut client = call.s_client(&wrong, &[option]);
        let said = client.rest();
        assert!(said.contains("alert"), "{said}");
        assert!(call.alice.lines.try_iter().all(|line| !line.contains("\"event\":\"sealed\"")));
        let _client = call.s_client(&call.tek, &[option]);
        call.alice.line("\"event\":\"sealed\"");
    }
}
