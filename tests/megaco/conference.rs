//! The other stack as an MRFC of our MRFP: a conference with a room and a floor, made, changed, heard of
//! and ended over Mp, while members talk in it.

use crate::lab::Lab;
use crate::peer::{PATIENCE, Peer, Wire, each, lab, one, well_formed};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

const GATEWAY: &str = r#"
[gateway.mrfp]
role = "mrfp"
controllers = ["mrfc@@TRANSPORT@:192.0.2.10:@PORT@"]
control-encoding = "@ENCODING@"
control-protected = true

[gateway.mrfp.realm.access]
v4 = "198.51.100.2"
ports = "30000-30999"
"#;

const KEY: &str = "000102030405060708090a0b0c0d0e0f";
const CONFERENCE: &str = "sip:room@example.net";

/// A termination that waits for a member's MSRP.
fn msrp(user: u16, transport: &str, scheme: &str, keys: &str) -> String {
    format!(
        "A=${{M{{O{{MO=SR,ipdc/realm=access,crnroom/user={user},crnroom/member=\"sip:u{user}@example.net\"{keys}}},\
         L{{\nv=0\nc=IN IP4 $\nm=message $ {transport} *\na=path:{scheme}://$:$/s{user};tcp\na=setup:passive\n}},\
         R{{\nv=0\nc=IN IP4 198.51.100.9\nm=message 9 {transport} *\na=path:{}\na=setup:active\n}}}},\
         E={user}{{crnroom/nickname,crnroom/sealed,crnroom/released,tcpbcc/BNCChange,tlsbsc/BNCChange,fcp/floor}}}}",
        own_path(user, scheme),
    )
}

fn own_path(user: u16, scheme: &str) -> String {
    format!("{scheme}://198.51.100.9:{}/m{user};tcp", 7000 + user)
}

fn bfcp(user: u16, more: &str) -> String {
    format!(
        "A=${{M{{O{{MO=SR,ipdc/realm=access,crnroom/user={user}{more}}},\
         L{{\nv=0\nc=IN IP4 $\nm=application $ TCP/BFCP *\na=setup:passive\na=floorctrl:s-only\n}}}},\
         E=10{user}{{tcpbcc/BNCChange,g/cause}}}}"
    )
}

/// A member's MSRP connection, in the open.
struct Member {
    stream: TcpStream,
    user: u16,
    /// Where its messages go.
    to: String,
    heard: String,
    sent: usize,
}

impl Member {
    fn connect(lab: &Lab, user: u16, to: &str, at: SocketAddr) -> Self {
        let stream = lab.inside("alice", || TcpStream::connect_timeout(&at, PATIENCE).expect("it listens"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut member = Self { stream, user, to: to.to_owned(), heard: String::new(), sent: 0 };
        // RFC 4975 §5.4: who connects sends something at once.
        member.request("SEND", "Message-ID: first\r\nByte-Range: 1-0/0\r\n");
        member.hears("200");
        member
    }

    fn request(&mut self, method: &str, rest: &str) {
        self.sent += 1;
        let (number, from) = (self.sent, own_path(self.user, "msrp"));
        let text = format!(
            "MSRP trans{number} {method}\r\nTo-Path: {}\r\nFrom-Path: {from}\r\n{rest}-------trans{number}$\r\n",
            self.to
        );
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn say(&mut self, words: &str) {
        let body = format!(
            "From: <sip:u{}@example.net>\r\nTo: <{CONFERENCE}>\r\n\r\nContent-Type: text/plain\r\n\r\n{words}",
            self.user
        );
        let length = body.len();
        self.request(
            "SEND",
            &format!(
                "Message-ID: message{length}\r\nByte-Range: 1-{length}/{length}\r\nContent-Type: message/cpim\r\n\r\n{body}\r\n"
            ),
        );
    }

    /// Reads until it has heard `text`, and forgets what was before.
    fn hears(&mut self, text: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.heard.find(text) {
                let rest = self.heard.split_off(at + text.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            let read = match self.stream.read(&mut buffer) {
                // A call with a time limit is not begun again by itself when the process was stopped meanwhile (signal(7)).
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.unwrap_or_else(|e| panic!("{text}: {e} after {}", self.heard)),
            };
            assert!(read > 0, "{text}: closed after {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
}

/// A BFCP message of conference 4711 in the open (RFC 8855 §5.1): primitive, transaction, user, attributes.
fn primitive(number: u8, transaction: u16, user: u16, attributes: &[u8]) -> Vec<u8> {
    let words = u16::try_from(attributes.len() / 4).unwrap();
    let mut message = vec![0x20, number];
    message.extend(words.to_be_bytes());
    message.extend(4711_u32.to_be_bytes());
    message.extend(transaction.to_be_bytes());
    message.extend(user.to_be_bytes());
    message.extend(attributes);
    message
}

/// The next BFCP message: its primitive.
fn next_primitive(stream: &mut TcpStream) -> u8 {
    let mut header = [0; 12];
    stream.read_exact(&mut header).unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) * 4];
    stream.read_exact(&mut rest).unwrap();
    header[1]
}

fn address(local: &str) -> SocketAddr {
    format!("{}:{}", one(local, "c=IN IP4 "), local.split("m=").nth(1).unwrap().split(' ').nth(1).unwrap())
        .parse()
        .unwrap()
}

fn a_conference(wire: Wire) {
    let Some(mut lab) = lab() else { return };
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| carry_out(&mut lab, wire)));
    if let Err(why) = told {
        lab.show();
        std::panic::resume_unwind(why);
    }
}

fn carry_out(lab: &mut Lab, wire: Wire) {
    for network in ["control", "access"] {
        lab.network(network);
    }
    lab.join("mrfp", "control", "192.0.2.2/24");
    lab.join("mrfp", "access", "198.51.100.2/24");
    lab.join("mrfc", "control", "192.0.2.10/24");
    lab.join("alice", "access", "198.51.100.9/24");
    let file = GATEWAY
        .replace("@TRANSPORT@", wire.transport)
        .replace("@PORT@", &wire.port().to_string())
        .replace("@ENCODING@", wire.setting());
    lab.file("mrfp.toml", &file);
    let capture = lab.capture("mrfp", "control");
    let mut mrfc = Peer::start(lab, "mrfc", "controller", "mrfc", "192.0.2.10", wire);
    let mut command = lab.command("mrfp", env!("CARGO_BIN_EXE_carnet"));
    command.args(["run", "-c", "mrfp.toml"]);
    let gateway = lab.start("mrfp", command);
    let registered = mrfc.hears(lab, "asked", "SC=root");
    assert!(
        registered.contains("MT=RS") && registered.to_lowercase().contains("carnet_mp/1"),
        "{registered}"
    );

    // A room with two members in the open and one sealed, a floor, and who asks for it.
    let attributes = "CT{crnroom/uri=\"sip:room@example.net\",crnroom/nicknames=ON,crnroom/private=ON,\
                      fcp/confid=4711,fcp/floors=[\"1:fcfs:1:0\",\"2:chair:1:0\"]}";
    let keys = format!(",crnroom/tls=server,crntls/psk={KEY},crntls/pskid=\"Y2FybmV0LXRlc3Q\"");
    let adds = [
        msrp(1, "TCP/MSRP", "msrp", ""),
        msrp(2, "TCP/MSRP", "msrp", ""),
        msrp(3, "TCP/TLS/MSRP", "msrps", &keys),
        bfcp(1, ",fcp/chair=2"),
    ];
    let made = mrfc.ask(lab, &format!("C=${{{attributes},{}}}", adds.join(",")));
    let ids: Vec<String> = each(&made, "A=").into_iter().map(str::to_owned).collect();
    assert_eq!(ids.len(), 4, "{made}");
    assert!(!made.contains("crntls") && !made.to_lowercase().contains(KEY), "{made}");
    let context = one(&made, "C=").to_owned();
    let locals: Vec<&str> = made.split("A=").skip(1).collect();
    let path = |local: &str| local.split("a=path:").nth(1).unwrap().lines().next().unwrap().trim().to_owned();
    let paths: Vec<String> = locals[..3].iter().map(|local| path(local)).collect();
    assert!(paths[0].starts_with("msrp://198.51.100.2:") && paths[0].ends_with("/s1;tcp"), "{paths:?}");

    // They talk; one takes a nickname.
    let mut alice = Member::connect(lab, 1, &paths[0], address(locals[0]));
    let mut bob = Member::connect(lab, 2, &paths[1], address(locals[1]));
    for id in &ids[..2] {
        mrfc.told(lab, id, &["tcpbcc/BNCChange", "EST"]);
    }
    alice.say("good morning");
    bob.hears("good morning");
    alice.request("NICKNAME", "Use-Nickname: \"Al\"\r\n");
    alice.hears("200");
    mrfc.told(lab, &ids[0], &["crnroom/nickname", "user=1", "nick=Al"]);

    // The sealed one, by a TLS that is not ours: it gets in with the key and not without.
    for (key, event) in [
        ("f".repeat(32), &["tlsbsc/BNCChange", "REL", "tls_"][..]),
        (KEY.to_owned(), &["crnroom/sealed", "TLSv1."]),
    ] {
        let mut openssl: Command = lab.command("alice", "openssl");
        openssl.args(["s_client", "-quiet", "-connect", &address(locals[2]).to_string()]);
        openssl.args(["-psk", &key, "-psk_identity", "carnet-test"]);
        let mut client =
            openssl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        mrfc.told(lab, &ids[2], event);
        let _ = client.kill();
        let _ = client.wait();
    }

    // A floor is asked for and given.
    let at = address(locals[3]);
    let mut floor = lab.inside("alice", || TcpStream::connect_timeout(&at, PATIENCE).expect("it listens"));
    floor.set_read_timeout(Some(PATIENCE)).unwrap();
    // FloorRequest with FLOOR-ID 1.
    floor.write_all(&primitive(1, 1, 1, &[0x05, 0x04, 0x00, 0x01])).unwrap();
    assert_eq!(next_primitive(&mut floor), 4, "FloorRequestStatus");
    mrfc.told(lab, &ids[0], &["fcp/floor", "holders", "state"]);

    // The floor decides who may speak; then a member may not at all.
    let set = |mrfc: &mut Peer, lab: &mut Lab, what: &str| mrfc.ask(lab, &format!("C={context}{{{what}}}"));
    // A reply with nothing in it is of version 3, and Wireshark does not know it: so something is asked too.
    let answer = set(&mut mrfc, lab, "CT{crnroom/moderated=1},CA{fcp/state}");
    assert!(!answer.contains("ER=") && answer.contains("fcp/state="), "{answer}");
    bob.say("may I?");
    bob.hears("MSRP trans2 403");
    alice.say("it is mine");
    bob.hears("it is mine");
    let answer = set(&mut mrfc, lab, "CT{crnroom/moderated=0},CA{crnroom/uri}");
    assert!(!answer.contains("ER=") && answer.contains(CONFERENCE), "{answer}");
    let modify = format!("MF={}{{M{{O{{MO=SR,crnroom/speak=OFF}}}}}}", ids[1]);
    let answer = set(&mut mrfc, lab, &modify);
    assert!(!answer.contains("ER="), "{answer}");
    bob.say("and now?");
    bob.hears("MSRP trans3 403");

    // What is audited, and what is not told.
    let all = set(&mut mrfc, lab, &format!("AV={}{{AT{{M,E,PG}}}}", ids[2]));
    for part in ["crnroom/user=3", "crnroom/member", "a=path:msrps://198.51.100.2:"] {
        assert!(all.contains(part), "no {part} in {all}");
    }
    assert!(!all.contains("crntls/") && !all.to_lowercase().contains(KEY), "{all}");
    let second = set(&mut mrfc, lab, &bfcp(2, ",fcp/chair=2"));
    assert!(second.contains("ER=479"), "{second}");
    let wrong = set(&mut mrfc, lab, "TP{*,*,IS}");
    assert!(wrong.contains("ER=522"), "{wrong}");

    // One leaves, with counters; then all.
    let answer = set(&mut mrfc, lab, &format!("S={}{{AT{{SA}}}}", ids[1]));
    assert!(answer.contains("nt/or=") && !answer.contains("nt/or=0"), "{answer}");
    let answer = set(&mut mrfc, lab, "W-S=*{AT{}}");
    assert!(!answer.contains("ER="), "{answer}");
    let gone = set(&mut mrfc, lab, "S=*");
    assert!(gone.contains("ER=411"), "{gone}");
    let mut rest = Vec::new();
    alice.stream.read_to_end(&mut rest).expect("the connection ends with the termination");

    lab.process(gateway).signal("TERM");
    assert_eq!(lab.process(gateway).wait(PATIENCE), Some(0), "{}", lab.output("mrfp", "err"));
    for end in ["out", "err"] {
        let log = lab.output("mrfp", end).to_lowercase();
        assert!(!log.contains(&KEY[..12]) && !log.contains("0, 1, 2, 3, 4"), "a key in the log");
    }
    let wrong = |line: &&str| {
        line.starts_with("syntax") || line.starts_with("unexpected") || line.starts_with("refused")
    };
    let output = mrfc.output(lab);
    assert_eq!(output.lines().find(wrong), None, "{output}");
    lab.end_captures();
    assert!(well_formed(&capture, wire) >= 20);
}

#[test]
fn over_udp_in_long_text() {
    a_conference(Wire::new("udp", "pretty", 3));
}

#[test]
fn over_tcp_in_short_text() {
    a_conference(Wire::new("tcp", "compact", 3));
}

#[test]
fn over_tcp_in_ber() {
    a_conference(Wire::new("tcp", "ber", 3));
}
