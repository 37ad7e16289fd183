//! `carnet ue` as a person or a script meets it: arguments, lines and signals in, lines and an exit
//! status out. The other side is another client, or a few lines of SIP of our own.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what is wrong by failing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// On a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running client.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

fn collect(mut source: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = text.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = source.read(&mut buffer) {
            sink.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
    text
}

impl Client {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_carnet"))
            .arg("ue")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        let input = child.stdin.take();
        Self { child, input, out, err }
    }

    fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < limit, "waited in vain for {what}\n{}\n{}", self.out(), self.err());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn says(&self, what: &str) {
        self.until(what, |client| client.out().contains(what));
    }

    fn types(&mut self, octets: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(octets).unwrap();
        input.flush().unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until a TCP connection of a process that is stopped has octets that it has not read.
    #[track_caller]
    fn has_unread(&self) {
        let begun = Instant::now();
        while !self.unread() {
            assert!(begun.elapsed() < PATIENCE, "nothing came");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn unread(&self) -> bool {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let links = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        let sockets: Vec<_> = links
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        // proc(5): local, remote, state, tx_queue:rx_queue, ..., inode. In state 0A the queue is of callers.
        table.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let waiting = fields[4].split_once(':').is_some_and(|(_, rx)| rx != "00000000");
            fields[3] != "0A" && waiting && sockets.iter().any(|inode| inode == fields[9])
        })
    }

    /// The exit status, and how long it took to come.
    #[track_caller]
    fn ends(&mut self) -> (i32, Duration) {
        self.input = None;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What was written last is on its way through a thread.
                std::thread::sleep(Duration::from_millis(100));
                return (status.code().unwrap_or(-1), begun.elapsed());
            }
            assert!(begun.elapsed() < PATIENCE, "does not end\n{}\n{}", self.out(), self.err());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The JSON objects on standard output of that kind.
    fn events(&self, kind: &str) -> Vec<Value> {
        let objects = self.out();
        objects
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .filter(|object| object["event"] == kind)
            .collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of this machine that nobody has.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Two clients that are each other's first hop, in clear: what is looked at here is the same sealed.
struct Pair {
    alice: [String; 7],
    bob: Client,
}

fn bare(user: &str, listen: u16, proxy: &str) -> [String; 7] {
    [
        format!("--user=sip:{user}@example.com"),
        "--no-register".into(),
        "--allow-clear".into(),
        "--json".into(),
        format!("--listen=127.0.0.1:{listen}"),
        format!("--proxy={proxy}"),
        "--expires=600".into(),
    ]
}

fn with<'a>(settings: &'a [String], action: &[&'a str]) -> Vec<&'a str> {
    settings.iter().map(String::as_str).chain(action.iter().copied()).collect()
}

impl Pair {
    fn new(bob: &[&str]) -> Self {
        let (a, b) = (port(), port());
        let settings = bare("bob", b, &format!("sip:127.0.0.1:{a};transport=tcp"));
        let bob = Client::start(&with(&settings, bob));
        bob.until("bob to listen", |_| TcpStream::connect(("127.0.0.1", b)).is_ok());
        Self { alice: bare("alice", a, &format!("sip:127.0.0.1:{b};transport=tcp")), bob }
    }

    fn alice(&self, action: &[&str]) -> Client {
        Client::start(&with(&self.alice, action))
    }
}

const BOB: &str = "sip:bob@example.com";

fn texts(client: &Client) -> Vec<String> {
    client.events("message").iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_wrong_with_the_question_is_said_before_anything_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("key"), "000102030405060708090a0b0c0d0e0f").unwrap();
    std::fs::write(at("file"), "text").unwrap();
    let (missing, file, key) = (at("missing"), at("file"), at("key"));
    // Nobody is there: what is tried first would fail with 1.
    let proxy = format!("--proxy=sip:127.0.0.1:{};transport=tcp", port());
    let user = "--user=sip:alice@example.com";
    for (arguments, said) in [
        (&[user, "--allow-clear", &proxy, "chat", "not a uri"][..], "not a SIP address"),
        (&[user, "--allow-clear", &proxy, "chat", "sips:bob@example.com"], "TLS"),
        (&[user, "--allow-clear", &proxy, "send", "not a uri", &file], "not a SIP address"),
        (&[user, "--allow-clear", &proxy, "send", BOB, &missing], "No such file"),
        (&[user, "--allow-clear", &proxy, "send", BOB, directory.path().to_str().unwrap()], "directory"),
        (&[user, "--allow-clear", &proxy, "send", BOB, "/dev/null"], "not a file"),
        (&[user, "--allow-clear", "--proxy=sip:127.0.0.1;transport=foo", "listen"], "foo"),
        (&[user, "--allow-clear", "--proxy=127.0.0.1", "listen"], "sip:"),
        (&[user, &proxy, "--kms-key-file", &key, "--kms=kms.example", "listen"], "kms"),
        (&[&proxy, "--allow-clear", "listen"], "identity in the [ue] table"),
    ] {
        let mut client = Client::start(arguments);
        let (status, _) = client.ends();
        assert!(status == 2 && client.err().contains(said), "{status} {arguments:?} {}", client.err());
    }
}

#[test]
fn every_line_of_a_pipe_arrives_and_after_bye_none() {
    let pair = Pair::new(&["listen"]);
    let mut alice = pair.alice(&["chat", BOB]);
    alice.types(b"one\n\n  two\r\n/bye\nthree\n");
    let (status, _) = alice.ends();
    assert_eq!((status, alice.err().as_str()), (0, ""), "{}", alice.out());
    assert_eq!(texts(&pair.bob), ["one", "", "  two"]);
    // Without /bye the end of the pipe is the end of the talk.
    let mut alice = pair.alice(&["chat", BOB]);
    alice.types(b"four");
    assert_eq!(alice.ends().0, 0, "{}", alice.err());
    pair.bob.until("the last line", |bob| texts(bob).len() == 4);
    pair.bob.until("both calls to end in order", |bob| {
        let ends = bob.events("ended");
        ends.len() == 2 && ends.iter().all(|end| end["error"].is_null())
    });
}

#[test]
fn a_line_that_cannot_be_sent_ends_nothing_and_is_not_forgotten() {
    let pair = Pair::new(&["listen"]);
    let mut alice = pair.alice(&["chat", BOB]);
    alice.types(b"one\nt\xffwo\nthree\n");
    alice.types(&vec![b'x'; 2_000_000]);
    alice.types(b"\nfour\n");
    let (status, _) = alice.ends();
    assert_eq!(status, 1, "{}", alice.out());
    assert_eq!(texts(&pair.bob), ["one", "three", "four"]);
    assert!(alice.out().contains("UTF-8") && alice.out().contains("million"), "{}", alice.out());
}

#[test]
fn a_person_who_wants_to_go_is_not_held_up_by_a_peer_that_is_silent() {
    let pair = Pair::new(&["listen"]);
    let mut alice = pair.alice(&["chat", BOB]);
    alice.types(b"one\n");
    pair.bob.says("\"one\"");
    pair.bob.signal("STOP");
    alice.types(b"two\n");
    std::thread::sleep(Duration::from_millis(500));
    alice.signal("INT");
    // Standard input stays open.
    let input = alice.input.take();
    let (status, took) = alice.ends();
    drop(input);
    pair.bob.signal("CONT");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(status, 1, "the line did not arrive: {}", alice.out());

    // A talk that was hung up has been had.
    let mut alice = pair.alice(&["chat", BOB]);
    alice.types(b"three\n");
    pair.bob.says("\"three\"");
    std::thread::sleep(Duration::from_millis(500));
    alice.signal("INT");
    let input = alice.input.take();
    assert_eq!(alice.ends().0, 0, "{}\n{}", alice.out(), alice.err());
    drop(input);
}

#[test]
fn a_text_that_nobody_confirms_is_a_failure() {
    let pair = Pair::new(&["listen"]);
    let mut alice = pair.alice(&["chat", BOB]);
    alice.types(b"one\n");
    pair.bob.says("\"one\"");
    pair.bob.signal("STOP");
    alice.types(b"two\n");
    // The peer vanishes with the line.
    pair.bob.has_unread();
    pair.bob.signal("KILL");
    let (status, _) = alice.ends();
    assert_eq!(status, 1, "{}", alice.out());
}

fn file(directory: &Path, name: &str, size: usize) -> String {
    let path = directory.join(name);
    let octets: Vec<u8> = (0..size).map(|i| (i * 31 + i / 255) as u8).collect();
    std::fs::write(&path, octets).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_file_that_was_given_up_is_not_sent() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let big = file(out.path(), "big.bin", 60_000_000);
    let pair = Pair::new(&["receive", "--dir", inbox.path().to_str().unwrap()]);
    let mut alice = pair.alice(&["send", BOB, &big]);
    pair.bob.says("\"incoming\"");
    pair.bob.signal("STOP");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!alice.out().contains("\"file-done\""), "the file was too small for this test");
    alice.signal("TERM");
    let (status, took) = alice.ends();
    pair.bob.signal("CONT");
    assert_eq!(status, 1, "{}\n{}", alice.out(), alice.err());
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(
        !alice.err().is_empty() || alice.out().contains("\"reason\":\""),
        "one sentence: {}",
        alice.out()
    );
}

#[test]
fn the_sender_of_the_last_file_hears_that_it_arrived() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for round in 0..6 {
        let path = file(out.path(), &format!("{round}.bin"), 1_000_000);
        let mut pair = Pair::new(&["receive", "--count", "1", "--dir", inbox.path().to_str().unwrap()]);
        let mut alice = pair.alice(&["send", BOB, &path]);
        assert_eq!(alice.ends().0, 0, "round {round}: {}", alice.out());
        assert_eq!(pair.bob.ends().0, 0, "round {round}: {}", pair.bob.out());
    }
    assert_eq!(std::fs::read_dir(inbox.path()).unwrap().count(), 6);
}

#[test]
fn a_file_for_somebody_without_a_place_for_it_is_explained_at_both_ends() {
    let out = tempfile::tempdir().unwrap();
    let path = file(out.path(), "a.bin", 1000);
    let pair = Pair::new(&["listen"]);
    let mut alice = pair.alice(&["send", BOB, &path]);
    assert_eq!(alice.ends().0, 1);
    let reason = alice.events("ended")[0]["reason"].to_string();
    assert!(reason.contains("488") && reason.contains("Files are not taken here"), "{reason}");
    pair.bob.says("no-files");
    assert!(pair.bob.out().contains("carnet ue receive"), "{}", pair.bob.out());
}

#[test]
fn who_is_asked_is_told_how_to_answer() {
    let (a, b) = (port(), port());
    let settings: Vec<_> = bare("bob", b, &format!("sip:127.0.0.1:{a};transport=tcp"))
        .into_iter()
        .filter(|setting| setting != "--json")
        .collect();
    let mut bob = Client::start(&with(&settings, &["--ask", "listen"]));
    bob.until("bob to listen", |_| TcpStream::connect(("127.0.0.1", b)).is_ok());
    let alice = bare("alice", a, &format!("sip:127.0.0.1:{b};transport=tcp"));
    for (answer, status) in [("n\n", 1), ("y\n", 0)] {
        let mut alice = Client::start(&with(&alice, &["chat", BOB]));
        alice.types(b"hello\n");
        bob.until("a call", |bob| bob.out().ends_with("sip:alice@example.com calls\ntake it? y or n\n"));
        bob.types(answer.as_bytes());
        assert_eq!(alice.ends().0, status, "{answer}: {}", alice.out());
        bob.until("its end", |bob| bob.out().ends_with("ended\n"));
    }
    assert!(bob.out().contains("sip:alice@example.com: hello\n"), "{}", bob.out());
    bob.signal("TERM");
    assert_eq!(bob.ends().0, 0);
}

// -- against a few lines of SIP ---------------------------------------------------------------

/// One SIP message of a stream.
fn message(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        // Keep-alives stand between messages.
        if !(text.is_empty() && line.trim().is_empty()) {
            text.push_str(&line);
        }
    }
    let length = header(&text, "Content-Length").first().map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(text + &String::from_utf8(body).unwrap())
}

/// The values of a header.
fn header(message: &str, name: &str) -> Vec<String> {
    let head = message.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
}

/// A 200, with further lines and a body.
fn ok(request: &str, lines: &str, body: &str) -> String {
    let mut answer = String::from("SIP/2.0 200 OK\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in header(request, name) {
            let tag = if name == "To" && !value.contains("tag=") { ";tag=there" } else { "" };
            answer.push_str(&format!("{name}: {value}{tag}\r\n"));
        }
    }
    format!("{answer}{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn registered(request: &str) -> String {
    assert!(request.starts_with("REGISTER "), "{request}");
    ok(request, &format!("Contact: {};expires=600\r\n", header(request, "Contact")[0]), "")
}

fn accept(listener: &TcpListener) -> (BufReader<TcpStream>, SocketAddr) {
    let (stream, from) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (BufReader::new(stream), from)
}

/// Answers a call with a place for its media, `port`; the stream, the INVITE and our tag are kept.
fn answer_call(listener: &TcpListener, port: u16) -> (BufReader<TcpStream>, String) {
    let (mut stream, _) = accept(listener);
    let invite = message(&mut stream).unwrap();
    assert!(invite.starts_with("INVITE "), "{invite}");
    let at = listener.local_addr().unwrap();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=message {port} TCP/MSRP *\r\na=setup:passive\r\na=msrp-cema\r\na=accept-types:text/plain\r\n\
         a=path:msrp://127.0.0.1:{port}/there;tcp\r\n"
    );
    let lines = format!("Contact: <sip:bob@{at};transport=tcp>\r\nContent-Type: application/sdp\r\n");
    stream.get_mut().write_all(ok(&invite, &lines, &sdp).as_bytes()).unwrap();
    let ack = message(&mut stream).unwrap();
    assert!(ack.starts_with("ACK "), "{ack}");
    (stream, invite)
}

fn alice_at(address: &str, listener: &TcpListener) -> Vec<String> {
    let at = listener.local_addr().unwrap();
    let mut settings = bare("alice", 0, &format!("sip:{at};transport=tcp")).to_vec();
    settings[4] = format!("--listen={address}:0");
    settings
}

#[test]
fn a_call_that_never_came_up_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut alice = Client::start(&with(&alice_at("127.0.0.1", &listener), &["chat", BOB]));
    alice.types(b"hi\n");
    // Nobody listens where the media are to go, and the called side gives up.
    let (mut stream, invite) = answer_call(&listener, port());
    let contact = header(&invite, "Contact")[0].trim_matches(['<', '>']).to_owned();
    let bye = format!(
        "BYE {contact} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKbye\r\nFrom: {};tag=there\r\n\
         To: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\nReason: SIP;cause=503;text=\"no port\"\r\n\
         Content-Length: 0\r\n\r\n",
        header(&invite, "To")[0],
        header(&invite, "From")[0],
        header(&invite, "Call-ID")[0],
    );
    stream.get_mut().write_all(bye.as_bytes()).unwrap();
    assert!(message(&mut stream).unwrap().starts_with("SIP/2.0 200"));
    let input = alice.input.take();
    let (status, _) = alice.ends();
    drop(input);
    assert_eq!(status, 1, "{}", alice.out());
    let ended = &alice.events("ended")[0];
    assert_eq!(ended["error"], "no-connection", "{ended}");
    assert!(ended["reason"].as_str().unwrap().contains("before the connection was up"), "{ended}");
}

#[test]
fn who_talks_much_and_confirms_nothing_holds_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let media = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = media.local_addr().unwrap().port();
    let mut alice = Client::start(&with(&alice_at("127.0.0.1", &listener), &["chat", BOB]));
    alice.types(b"hi\n");
    let (_call, invite) = answer_call(&listener, port);
    let path = invite.lines().find_map(|line| line.strip_prefix("a=path:")).unwrap().to_owned();
    let (mut stream, _) = accept(&media);
    // Her line comes, and has no answer.
    let mut line = String::new();
    while line != "hi\r\n" {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0);
    }
    const MANY: usize = 2000;
    let mut words = String::new();
    for at in 0..MANY {
        words.push_str(&format!(
            "MSRP there{at} SEND\r\nTo-Path: {path}\r\nFrom-Path: msrp://127.0.0.1:{port}/there;tcp\r\n\
             Message-ID: m{at}\r\nFailure-Report: no\r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n\r\n\
             words\r\n-------there{at}$\r\n"
        ));
    }
    stream.get_mut().write_all(words.as_bytes()).unwrap();
    alice.until("all that was said", |alice| alice.out().matches("\"words\"").count() == MANY);
    alice.signal("INT");
    let input = alice.input.take();
    let (status, took) = alice.ends();
    drop(input);
    assert!(status == 1 && took < Duration::from_secs(15), "{status} {took:?}");
}

#[test]
fn the_connection_closes_before_bye_takes_the_gateways_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let media = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = media.local_addr().unwrap().port();
    let mut alice = Client::start(&with(&alice_at("127.0.0.1", &listener), &["chat", BOB]));
    alice.types(b"hi\n");
    let (mut call, invite) = answer_call(&listener, port);
    let path = invite.lines().find_map(|line| line.strip_prefix("a=path:")).unwrap().to_owned();
    let (mut stream, _) = accept(&media);
    // Every SEND is answered until she has no more to say.
    alice.input = None;
    let mut line = String::new();
    while stream.read_line(&mut line).unwrap() > 0 {
        if let Some(id) = line.strip_prefix("MSRP ").and_then(|rest| rest.trim().strip_suffix(" SEND")) {
            let answer = format!(
                "MSRP {id} 200 OK\r\nTo-Path: {path}\r\nFrom-Path: msrp://127.0.0.1:{port}/there;tcp\r\n-------{id}$\r\n"
            );
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
        line.clear();
    }
    // She has closed; as long as we have not, there is no BYE.
    call.get_ref().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(call.fill_buf().is_err(), "BYE came while the connection was open");
    drop(stream);
    call.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let bye = message(&mut call).unwrap();
    assert!(bye.starts_with("BYE "), "{bye}");
    call.get_mut().write_all(ok(&bye, "", "").as_bytes()).unwrap();
    assert_eq!(alice.ends().0, 0, "{}", alice.out());
}

#[test]
fn a_client_comes_from_the_address_it_announces() {
    // Media.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let media = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut alice = Client::start(&with(&alice_at("127.0.0.77", &listener), &["chat", BOB]));
    alice.types(b"hi\n");
    let (stream, invite) = answer_call(&listener, media.local_addr().unwrap().port());
    assert!(invite.contains("c=IN IP4 127.0.0.77"), "{invite}");
    let (_, from) = accept(&media);
    assert_eq!(from.ip().to_string(), "127.0.0.77");
    assert_eq!(stream.get_ref().peer_addr().unwrap().ip(), from.ip());
    // SIP in TLS, for which it does not listen.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("--proxy=sip:{};transport=tls", listener.local_addr().unwrap());
    let user = "--user=sip:alice@example.com";
    let _alice = Client::start(&[user, "--allow-clear", "--listen=127.0.0.77:0", &proxy, "listen"]);
    assert_eq!(accept(&listener).1.ip().to_string(), "127.0.0.77");
}

#[test]
fn a_registration_is_made_again_when_its_connection_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = alice_at("127.0.0.1", &listener);
    settings.retain(|setting| setting != "--no-register");
    let alice = Client::start(&with(&settings, &["listen"]));
    let mut last = 0;
    for round in 1..=3 {
        let (mut stream, _) = accept(&listener);
        let begun = Instant::now();
        let request = message(&mut stream).unwrap();
        let cseq: u32 = header(&request, "CSeq")[0].split(' ').next().unwrap().parse().unwrap();
        assert!(cseq > last, "{request}");
        last = cseq;
        stream.get_mut().write_all(registered(&request).as_bytes()).unwrap();
        alice.until("a registration", |alice| alice.events("registered").len() == round);
        drop(stream);
        alice.until("a word about the loss", |alice| alice.events("not-registered").len() == round);
        assert!(begun.elapsed() < PATIENCE);
    }
    let lost = alice.events("not-registered").remove(0);
    assert!(lost["reason"].as_str().unwrap().contains("registering again"), "{lost}");
}

#[test]
fn an_address_without_a_transport_is_spoken_to_by_udp_and_large_requests_take_tcp() {
    // RFC 3263 §4.1, RFC 3261 §18.1.1: UDP and TCP of one port.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let user = format!("--user=sip:{}@example.com", "a".repeat(700));
    let proxy = format!("--proxy=sip:{at}");
    let _alice = Client::start(&[&user, "--allow-clear", "--json", &proxy, "chat", BOB]);
    // This one is large already.
    let (mut stream, _) = accept(&listener);
    let request = message(&mut stream).unwrap();
    stream.get_mut().write_all(registered(&request).as_bytes()).unwrap();
    let contact = header(&request, "Contact")[0].clone();
    assert!(!contact.contains("transport="), "{contact}");
    assert!(message(&mut stream).unwrap().starts_with("INVITE "));

    let alice = Client::start(&["--user=sip:a@example.com", "--allow-clear", "--json", &proxy, "listen"]);
    let mut buffer = [0; 4096];
    let (octets, from) = socket.recv_from(&mut buffer).unwrap();
    let request = String::from_utf8_lossy(&buffer[..octets]).into_owned();
    assert!(header(&request, "Via")[0].starts_with("SIP/2.0/UDP"), "{request}");
    socket.send_to(registered(&request).as_bytes(), from).unwrap();
    alice.says("\"registered\"");
    // Both ways lead to it.
    let here = header(&request, "Contact")[0].rsplit_once(':').unwrap().1.trim_end_matches('>').to_owned();
    assert!(TcpStream::connect(("127.0.0.1", here.parse::<u16>().unwrap())).is_ok(), "{here}");
}

#[test]
fn what_keeps_the_key_server_away_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "000102030405060708090a0b0c0d0e0f").unwrap();
    // Somebody who does not speak TLS.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong = nobody.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = nobody.accept() {
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        }
    });
    let closed = port();
    for (url, said) in [
        (format!("http://127.0.0.1:{closed}"), "refused"),
        (format!("https://{wrong}"), "TLS"),
        (format!("http://{wrong}"), "perhaps HTTPS"),
    ] {
        let mut alice = Client::start(&[
            "--user=sip:alice@example.com",
            "--no-register",
            "--json",
            "--listen=127.0.0.1:0",
            &format!("--proxy=sip:127.0.0.1:{closed};transport=tcp"),
            &format!("--kms={url}"),
            "--kms-key-file",
            key.to_str().unwrap(),
            "chat",
            BOB,
        ]);
        assert_eq!(alice.ends().0, 1);
        let ended = &alice.events("ended")[0];
        assert_eq!(ended["error"], "kms-unreachable", "{ended}");
        let reason = ended["reason"].as_str().unwrap();
        assert!(reason.contains("key server") && reason.contains(said), "{reason}");
    }
}
