//! TLS that ends at our gateway, and MSRP that it rewrites: the other stack in control, OpenSSL as the
//! terminal, a plain connection at the core.

use crate::controlled::{ALICE, Scene, bob_listens};
use crate::lab::Lab;
use crate::peer::{PATIENCE, Peer, Wire, each, one};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// What OpenSSL says of a certificate.
fn openssl(lab: &Lab, arguments: &[&str]) -> String {
    let output = Command::new("openssl").current_dir(lab.directory()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The value of `a=fingerprint` for a certificate in a file.
fn fingerprint(lab: &Lab, file: &str) -> String {
    let told = openssl(lab, &["x509", "-in", file, "-noout", "-fingerprint", "-sha256"]);
    format!("SHA-256 {}", told.trim().split_once('=').unwrap().1)
}

/// Makes `NAME.pem` and `NAME.key`; the fingerprint.
fn certificate(lab: &Lab, name: &str) -> String {
    let (pem, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let files = ["-subj", &subject, "-keyout", &key, "-out", &pem];
    openssl(lab, &[&["req", "-x509"][..], &curve, &files].concat());
    fingerprint(lab, &pem)
}

/// OpenSSL as alice: it calls, or waits on a port of its own. What it is told to say it says inside TLS.
struct Terminal {
    name: String,
    process: usize,
}

impl Terminal {
    fn start(lab: &mut Lab, name: &str, arguments: &[&str], shows: Option<&str>) -> Self {
        let mut command = lab.command("alice", "openssl");
        command.args(arguments).arg("-no_ign_eof");
        if let Some(own) = shows {
            command.args(["-cert", &format!("{own}.pem"), "-key", &format!("{own}.key")]);
        }
        Self { name: name.to_owned(), process: lab.start(name, command) }
    }

    fn calls(lab: &mut Lab, name: &str, to: SocketAddr, shows: Option<&str>) -> Self {
        Self::start(lab, name, &["s_client", "-quiet", "-connect", &to.to_string()], shows)
    }

    fn says(&self, lab: &mut Lab, line: &str) {
        lab.process(self.process).say(line);
    }

    fn hears(&self, lab: &Lab, text: &str) {
        lab.wait_for(&self.name, "out", text, PATIENCE);
    }

    /// Ends TLS in order.
    fn ends(&self, lab: &mut Lab) {
        lab.process(self.process).child.stdin.take();
    }
}

/// Bob's end of a connection, which has no TLS.
struct Plain(TcpStream);

impl Plain {
    /// Whoever comes.
    fn accept(listener: &TcpListener) -> Self {
        let start = Instant::now();
        listener.set_nonblocking(true).unwrap();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return Self(stream);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(start.elapsed() < PATIENCE, "nobody calls bob");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn says(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// The next octets are these.
    fn hears(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        self.0.read_exact(&mut heard).unwrap_or_else(|error| panic!("bob waits for {text:?}: {error}"));
        assert_eq!(String::from_utf8_lossy(&heard), text);
    }

    fn hears_the_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 9]).expect("an end in order"), 0);
    }
}

/// What `carnet gateway audit` prints on the gateway's host.
fn operator(lab: &Lab) -> String {
    let mut command = lab.command("agw", env!("CARGO_BIN_EXE_carnet"));
    let output = command.args(["gateway", "audit", "agw", "-c", "agw.toml"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two terminations of a context, and where the gateway is for each.
struct Pair {
    context: String,
    access: String,
    core: String,
    to_alice: SocketAddr,
    to_bob: SocketAddr,
    /// Of the certificate that alice is shown.
    shown: String,
}

const EVENTS: &str = "tcpbcc/BNCChange,tlsbsc/BNCChange,g/cause";
const SEALED: &str = "message @ TCP/TLS/MSRP *";
const REWRITTEN: &str = "message @ TCP/MSRP *";

/// A session description; `@` in its media line is the port.
fn sdp(address: &str, media: &str, port: &str, more: &[&str]) -> String {
    let more: String = more.iter().map(|line| format!("a={line}\n")).collect();
    format!("\nv=0\nc=IN IP4 {address}\nm={}\n{more}", media.replace('@', port))
}

/// TLS with alice ends, who opens; bob is called. `seal` and `plain` are the two media lines.
fn add(lab: &mut Lab, mgc: &mut Peer, (seal, plain): (&str, &str), setup: (&str, &str), more: &str) -> Pair {
    let (alice, bob) = (format!("setup:{}", setup.0), format!("setup:{}", setup.1));
    let access = sdp("$", seal, "$", &[&alice, "fingerprint:SHA-256 $"]);
    let core = sdp("$", plain, "$", &[&bob]);
    let one_of = |realm: &str, local: String, number: u8, more: &str| {
        let media = format!("M{{O{{MO=SR,ipdc/realm={realm}}},L{{{local}}}}}");
        format!("A=ip/1/{realm}/${{{media},E={number}{{{EVENTS}}}{more}}}")
    };
    let both = [one_of("access", access, 21, more), one_of("core", core, 22, "")];
    let answer = mgc.ask(lab, &format!("C=${{{}}}", both.join(",")));
    let ids = each(&answer, "A=");
    let media = seal.split(' ').next().unwrap();
    let at: Vec<SocketAddr> = each(&answer, "c=IN IP4 ")
        .iter()
        .zip(each(&answer, &format!("m={media} ")))
        .map(|(address, port)| format!("{address}:{port}").parse().unwrap())
        .collect();
    assert_eq!((ids.len(), at.len()), (2, 2), "{answer}");
    Pair {
        context: one(&answer, "C=").to_owned(),
        access: ids[0].to_owned(),
        core: ids[1].to_owned(),
        to_alice: at[0],
        to_bob: at[1],
        shown: format!("SHA-256 {}", one(&answer, "a=fingerprint:SHA-256 ")),
    }
}

impl Pair {
    /// Gives one termination its peer; the gates stay open.
    fn tell(&self, lab: &mut Lab, mgc: &mut Peer, access: bool, remote: &str, more: &str) {
        let (id, realm) = if access { (&self.access, "access") } else { (&self.core, "core") };
        let media = format!("M{{O{{MO=SR,ipdc/realm={realm}}},R{{{remote}}}}}");
        let answer = mgc.ask(lab, &format!("C={}{{MF={id}{{{media}{more}}}}}", self.context));
        assert_eq!(answer, format!("C={}{{MF={id}}}", self.context));
    }

    fn ends(self, lab: &mut Lab, mgc: &mut Peer) {
        let ended = mgc.ask(lab, &format!("C={}{{W-S=*{{AT{{}}}}}}", self.context));
        assert!(!ended.contains("ER="), "{ended}");
    }
}

fn peer_of(listener: &TcpListener) -> (String, String) {
    let address = listener.local_addr().unwrap();
    (address.ip().to_string(), address.port().to_string())
}

/// Alice calls with her certificate before anybody knows it, and is heard when it is known.
fn the_right_one(lab: &mut Lab, mgc: &mut Peer, alice: &str) {
    let lines = ("- @ TCP/TLS -", "- @ TCP -");
    let pair = add(lab, mgc, lines, ("passive", "active"), "");
    let listener = bob_listens(lab);
    let (address, port) = peer_of(&listener);
    pair.tell(lab, mgc, false, &sdp(&address, lines.1, &port, &["setup:passive"]), "");
    // It prints the certificate that it is shown.
    let call = ["s_client", "-connect", &pair.to_alice.to_string()];
    let terminal = Terminal::start(lab, "right", &call, Some("alice"));
    terminal.says(lab, "from alice");
    mgc.told(lab, &pair.access, &["tcpbcc/BNCChange", "Type=EST"]);
    let mut bob = Plain::accept(&listener);
    bob.says("from bob\n");
    // Nothing passes: whoever is there may be anybody.
    bob.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(bob.0.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
    bob.0.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!lab.output("right", "out").contains("from bob"));
    let known = format!("fingerprint:{alice}");
    pair.tell(lab, mgc, true, &sdp(ALICE, lines.0, "9", &["setup:active", &known]), "");
    bob.hears("from alice\n");
    terminal.hears(lab, "from bob");
    mgc.told(lab, &pair.access, &["tlsbsc/BNCChange", "Type=EST"]);
    terminal.ends(lab);
    bob.hears_the_end();
    drop(bob);
    mgc.told(lab, &pair.access, &["tlsbsc/BNCChange", "Type=REL", "Generalcause=NR", "tcp_closed"]);
    mgc.told(lab, &pair.access, &["g/cause", "Generalcause=NR"]);
    assert_eq!(fingerprint(lab, "right.out"), pair.shown, "the controller was told what alice was shown");
    pair.ends(lab, mgc);
}

/// Somebody else calls, with a certificate of his own or with none: he hears why, bob hears nothing.
fn the_wrong_one(lab: &mut Lab, mgc: &mut Peer, alice: &str) {
    for (shows, alert, cause) in [
        (Some("mallory"), "bad certificate", "fingerprint_mismatch"),
        (None, "certificate required", "no_certificate"),
    ] {
        let pair = add(lab, mgc, ("- @ TCP/TLS -", "- @ TCP -"), ("passive", "active"), "");
        let listener = bob_listens(lab);
        let (address, port) = peer_of(&listener);
        pair.tell(lab, mgc, false, &sdp(&address, "- @ TCP -", &port, &["setup:passive"]), "");
        let known = format!("fingerprint:{alice}");
        pair.tell(lab, mgc, true, &sdp(ALICE, "- @ TCP/TLS -", "9", &["setup:active", &known]), "");
        let name = shows.unwrap_or("nobody");
        let terminal = Terminal::calls(lab, name, pair.to_alice, shows);
        terminal.says(lab, "let me in");
        lab.wait_for(name, "err", alert, PATIENCE);
        mgc.told(lab, &pair.access, &["tlsbsc/BNCChange", "Type=REL", "Generalcause=FT", cause]);
        mgc.told(lab, &pair.access, &["tcpbcc/BNCChange", "Type=REL", &format!("tls_{cause}")]);
        // It may have been called meanwhile, and then it was hung up on without a word.
        listener.set_nonblocking(true).unwrap();
        if let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            assert!(heard.is_empty(), "{}", String::from_utf8_lossy(&heard));
        }
        pair.ends(lab, mgc);
    }
}

/// Bob calls, and the gateway calls alice and begins TLS because the controller says so.
fn the_gateway_begins(lab: &mut Lab, mgc: &mut Peer, alice: &str) {
    let lines = ("application @ TCP/TLS/BFCP *", "application @ TCP/BFCP *");
    let pair = add(lab, mgc, lines, ("active", "passive"), "");
    let waits = ["s_server", "-quiet", "-accept", "7443", "-Verify", "1"];
    let terminal = Terminal::start(lab, "waiting", &waits, Some("alice"));
    // Who looks by calling takes the place of the one who is waited for.
    lab.until(PATIENCE, "alice waits", |lab| {
        let sockets = lab.command("alice", "ss").arg("-Hltn").output().unwrap();
        String::from_utf8_lossy(&sockets.stdout).contains(":7443")
    });
    let known = format!("fingerprint:{alice}");
    let remote = sdp(ALICE, lines.0, "7443", &["setup:passive", &known]);
    pair.tell(lab, mgc, true, &remote, ",SG{tlsbsc/EstBNC}");
    let stream = lab.inside("bob", || TcpStream::connect_timeout(&pair.to_bob, PATIENCE).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bob = Plain(stream);
    bob.says("from bob\n");
    terminal.hears(lab, "from bob");
    mgc.told(lab, &pair.access, &["tlsbsc/BNCChange", "Type=EST"]);
    terminal.says(lab, "from alice");
    bob.hears("from alice\n");
    // Who looks sees it: the controller, and the operator.
    let audit = mgc.ask(lab, &format!("C={}{{AV={}{{AT{{M,SG}}}}}}", pair.context, pair.access));
    for part in [&known, &format!("fingerprint:{}", pair.shown), "tlsbsc/estbnc"] {
        assert!(audit.to_ascii_lowercase().contains(&part.to_ascii_lowercase()), "no {part} in {audit}");
    }
    let shown = operator(lab);
    assert!(shown.contains(&format!("TLS ends here as the client, the peer has {alice}")), "{shown}");
    // Alice's host dies, and nobody can tell what else she had to say.
    lab.process(terminal.process).signal("KILL");
    mgc.told(lab, &pair.access, &["tlsbsc/BNCChange", "Type=REL", "truncated"]);
    pair.ends(lab, mgc);
}

/// The controller ends TLS: alice is told in order, and so is bob.
fn the_controller_ends_it(lab: &mut Lab, mgc: &mut Peer, alice: &str) {
    let lines = ("- @ TCP/TLS -", "- @ TCP -");
    let pair = add(lab, mgc, lines, ("passive", "active"), "");
    let listener = bob_listens(lab);
    let (address, port) = peer_of(&listener);
    pair.tell(lab, mgc, false, &sdp(&address, lines.1, &port, &["setup:passive"]), "");
    let known = format!("fingerprint:{alice}");
    pair.tell(lab, mgc, true, &sdp(ALICE, lines.0, "9", &["setup:active", &known]), "");
    let terminal = Terminal::calls(lab, "released", pair.to_alice, Some("alice"));
    terminal.says(lab, "from alice");
    let mut bob = Plain::accept(&listener);
    bob.hears("from alice\n");
    let answer = mgc.ask(lab, &format!("C={}{{MF={}{{SG{{tlsbsc/RelBNC}}}}}}", pair.context, pair.access));
    assert_eq!(answer, format!("C={}{{MF={}}}", pair.context, pair.access));
    assert_eq!(lab.process(terminal.process).wait(PATIENCE), Some(0), "close_notify, and no reset");
    bob.hears_the_end();
    mgc.told(lab, &pair.access, &["tlsbsc/BNCChange", "Type=REL", "Generalcause=NR", "released"]);
    pair.ends(lab, mgc);
}

/// MSRP inside TLS on one side, in the open on the other, with the gateway in the paths of both.
fn what_is_inside_is_rewritten(lab: &mut Lab, mgc: &mut Peer, alice: &str) {
    let pair = add(lab, mgc, (SEALED, REWRITTEN), ("passive", "active"), "");
    let listener = bob_listens(lab);
    let (address, port) = peer_of(&listener);
    let (alices, bobs) =
        (format!("msrps://{ALICE}:2855/al1ce;tcp"), format!("msrp://{address}:{port}/b0b;tcp"));
    let own = [format!("fingerprint:{alice}"), format!("path:{alices}")];
    pair.tell(lab, mgc, true, &sdp(ALICE, SEALED, "9", &["setup:active", &own[0], &own[1]]), "");
    let terminal = Terminal::calls(lab, "sending", pair.to_alice, Some("alice"));
    let to_alice = format!("msrps://{}/b0b;tcp", pair.to_alice);
    let to_bob = format!("msrp://{}/al1ce;tcp", pair.to_bob);
    let send = |to: &str, from: &str| {
        format!(
            "MSRP d4f1 SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 77\r\n\
             Byte-Range: 1-5/5\r\nContent-Type: text/plain\r\n\r\nhello\r\n-------d4f1$\r\n"
        )
    };
    // Its last line end is added.
    terminal.says(lab, send(&to_alice, &alices).strip_suffix('\n').unwrap());
    // TLS stands, and bob's path is not known: nothing passes.
    mgc.told(lab, &pair.access, &["tlsbsc/BNCChange", "Type=EST"]);
    let shown = operator(lab);
    assert!(shown.contains(&format!("MSRP is rewritten, the peer is {alices}")), "{shown}");
    assert!(shown.contains("MSRP is rewritten, held: the peer's path is not known"), "{shown}");
    let path = format!("path:{bobs}");
    pair.tell(lab, mgc, false, &sdp(&address, REWRITTEN, &port, &["setup:passive", &path]), "");
    let mut bob = Plain::accept(&listener);
    bob.hears(&send(&bobs, &to_bob));
    bob.says(&format!("MSRP d4f1 200 OK\r\nTo-Path: {to_bob}\r\nFrom-Path: {bobs}\r\n-------d4f1$\r\n"));
    terminal.hears(
        lab,
        &format!("MSRP d4f1 200 OK\r\nTo-Path: {alices}\r\nFrom-Path: {to_alice}\r\n-------d4f1$"),
    );
    // What is no MSRP ends it.
    bob.says("HTTP/1.1 200 OK\r\n\r\n");
    mgc.told(lab, &pair.core, &["tcpbcc/BNCChange", "Type=REL", "not_msrp"]);
    pair.ends(lab, mgc);
}

/// What is asked wrongly is refused, in the encoding of the association.
fn what_is_wrong(lab: &mut Lab, mgc: &mut Peer) {
    let mut ask = |local: &str, remote: &str, more: &str| {
        let remote = if remote.is_empty() { String::new() } else { format!(",R{{{remote}}}") };
        let media = format!("M{{O{{MO=SR,ipdc/realm=access}},L{{{local}}}{remote}}}");
        mgc.ask(lab, &format!("C=${{A=ip/1/access/${{{media}{more}}}}}"))
    };
    let sealed = |more: &[&str]| sdp("$", SEALED, "$", more);
    let remote = |more: &[&str]| sdp(ALICE, SEALED, "9", more);
    for (code, answer) in [
        (501, ask(&sealed(&["fingerprint:SHA-512 $"]), "", "")),
        (501, ask(&sealed(&[]), &remote(&["path:msrps://a.example/s;tcp"]), "")),
        (474, ask(&sealed(&["fingerprint:SHA-256 $"]), &remote(&["fingerprint:SHA-256 AA"]), "")),
        (473, ask(&sdp("$", REWRITTEN, "$", &["fingerprint:SHA-256 $"]), "", "")),
        (513, ask(&sealed(&[]), "", ",SG{tlsbsc/EstBNC}")),
    ] {
        assert!(answer.contains(&format!("ER={code}")), "{code}: {answer}");
    }
}

fn an_edge(wire: Wire) {
    let Some(mut scene) = Scene::new(wire, &["mgc1"]) else { return };
    let socket = scene.lab.directory().join("admin.sock");
    let admin = format!("[admin]\nsocket = \"{}\"\n\n[gateway.agw]\n", socket.display());
    scene.lab.edit("agw.toml", "[gateway.agw]\n", &admin);
    let mut mgc = scene.controller(0, "mgc1");
    scene.start_gateway();
    mgc.hears(&scene.lab, "asked", "SC=root");
    let lab = &mut scene.lab;
    let alice = certificate(lab, "alice");
    certificate(lab, "mallory");
    the_right_one(lab, &mut mgc, &alice);
    the_wrong_one(lab, &mut mgc, &alice);
    the_gateway_begins(lab, &mut mgc, &alice);
    the_controller_ends_it(lab, &mut mgc, &alice);
    what_is_inside_is_rewritten(lab, &mut mgc, &alice);
    what_is_wrong(lab, &mut mgc);
    let left = mgc.ask(lab, "C=*{AV=*{AT{}}}");
    assert!(left.contains("ER=431"), "{left}");
    scene.end_gateway();
    let wrong = |line: &&str| line.starts_with("syntax") || line.starts_with("unexpected");
    let output = mgc.output(&scene.lab);
    assert_eq!(output.lines().find(wrong), None, "{output}");
    scene.look(30);
}

#[test]
fn in_short_text_over_udp() {
    an_edge(Wire::new("udp", "compact", 3));
}

#[test]
fn in_long_text_over_tcp() {
    an_edge(Wire::new("tcp", "pretty", 2));
}

#[test]
fn in_ber_over_tcp() {
    an_edge(Wire::new("tcp", "ber", 3));
}
