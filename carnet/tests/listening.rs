//! The client's listening side as OpenSSL meets it. The called side is played by hand: it opens
//! the ticket, answers, and gives the key to `openssl s_client`.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_mikey::{Profile, Received, key_mgmt};
use carnet_net::OsRandom;
use carnet_wire::hex;
use common::{Kms, PATIENCE, Running, identity, line, message};
use serde_json::Value;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::SystemTime;

/// A key server, alice who has called bob through us, and what bob's answer made.
struct Call {
    _kms: Kms,
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
        let kms = Kms::start();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = proxy.local_addr().unwrap();
        let settings = format!("listen = \"127.0.0.1:0\"\nproxy = \"sip:{here};transport=tcp\"\n");
        let alice = kms.client("alice", &settings, &["chat", "sip:bob@x.example"]);

        let mut sip = proxy.accept().unwrap().0;
        sip.set_read_timeout(Some(PATIENCE)).unwrap();
        let invite = message(&mut sip);
        assert!(invite.starts_with("INVITE "), "{invite}");
        let (identity, tek, value) = open(&invite, &kms);
        sip.write_all(answer(&invite, here, &value).as_bytes()).unwrap();
        let ack = message(&mut sip);
        assert!(ack.starts_with("ACK "), "{ack}");
        let port = line(&invite, "m=message ").split(' ').next().unwrap().parse().unwrap();
        let at = SocketAddr::new(line(&invite, "c=IN IP4 ").parse().unwrap(), port);
        let path = line(&invite, "a=path:").to_owned();
        Self { _kms: kms, _sip: sip, alice, at, path, identity, tek }
    }

    /// `openssl s_client` with a key, towards alice.
    fn s_client(&self, key: &[u8], more: &[&str]) -> Running {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &self.at.to_string(), "-quiet"]);
        client.args(["-psk", &hex::encode(key), "-psk_identity", &self.identity]).args(more);
        Running::start(&mut client)
    }
}

/// Opens the ticket of an offer at the key server: name and octets of the key, and the value of
/// `a=key-mgmt` that answers.
fn open(invite: &str, kms: &Kms) -> (String, Vec<u8>, String) {
    let octets = key_mgmt::parse(line(invite, "a=key-mgmt:")).unwrap();
    let now = SystemTime::now();
    let received = Received::parse(&Profile::default(), now, &octets).unwrap();
    let (bob, server) = ("sip:bob@x.example", identity("sip:kms.example"));
    let (pending, question) =
        received.resolve_init(now, &mut OsRandom, &identity(bob), bob.as_bytes(), &kms.psk("bob"), &server);
    let answer = kms.ask("ticketresolve", &question);
    let (keyed, response) = pending.response(&received, &answer, now, &mut OsRandom).unwrap();
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
