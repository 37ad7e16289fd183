//! What a person sees on a terminal of 80 columns and 24 rows, of a process with real calls.

use super::look::{self, Seen, Wanted};
use super::model::Model;
use super::view::{Tab, View};
use crate::node::{Node, NodeArgs};
use crate::roles;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::json;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(60);

fn nodes(urls: &[&str]) -> Vec<Arc<Node>> {
    let arguments = NodeArgs::of(urls.iter().map(|url| (*url).to_owned()));
    arguments.nodes().unwrap().into_iter().map(Arc::new).collect()
}

/// A steered gateway in this process.
struct Scene {
    _directory: tempfile::TempDir,
    running: roles::Running,
    admin: SocketAddr,
    ng: SocketAddr,
    server: UdpSocket,
}

impl Scene {
    async fn start(host: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (admin, ng) = (free(), free());
        let running = Self::run(&directory, host, admin, ng).await;
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { _directory: directory, running, admin, ng, server }
    }

    async fn run(
        directory: &tempfile::TempDir,
        host: u8,
        admin: SocketAddr,
        ng: SocketAddr,
    ) -> roles::Running {
        let text = format!(
            "[admin]\nlisten = \"{admin}\"\n[gateway.media]\nrole = \"ims-agw\"\nengine = \"relay\"\n\
             [gateway.media.realm.public]\nv4 = \"127.0.78.{host}\"\nports = \"20000-20999\"\n\
             [gateway.media.ng]\nlisten = [\"udp:{ng}\"]\npeers = [\"127.0.0.0/8\"]\n"
        );
        let config = carnet_ops::config::parse("media.toml", text, directory.path()).unwrap();
        let watch = roles::Watch::new(&config).unwrap();
        roles::start(&config, watch, None).await.unwrap()
    }

    /// Asks as a SIP server would, until there is an answer; the description in it.
    fn ask(&self, call: usize, members: &str, sdp: &str) -> String {
        let call_id = format!("call-{call:03}");
        let text =
            format!("d7:call-id{}:{call_id}{members}8:from-tag3:tag3:sdp{}:{sdp}e", call_id.len(), sdp.len());
        let until = Instant::now() + PATIENCE;
        for cookie in 0.. {
            let datagram = format!("{call}_{}_{cookie} {text}", members.len());
            self.server.send_to(datagram.as_bytes(), self.ng).unwrap();
            let mut answer = [0; 8192];
            let length = loop {
                match self.server.recv(&mut answer) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    other => break other.unwrap(),
                }
            };
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            if let Some((_, rest)) = answer.split_once("3:sdp") {
                return rest.split_once(':').unwrap().1.to_owned();
            }
            assert!(Instant::now() < until, "{answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
        unreachable!()
    }

    fn offer(&self, call: usize, setup: &str, port: u16) -> String {
        self.ask(call, "7:command5:offer", &description(setup, port))
    }

    fn answer(&self, call: usize, setup: &str, port: u16) -> String {
        self.ask(call, "7:command6:answer6:to-tag2:to", &description(setup, port))
    }
}

fn description(setup: &str, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=message {port} TCP/TLS/MSRP *\r\na=path:msrps://127.0.0.1:{port}/s1;tcp\r\n\
         a=accept-types:*\r\na=setup:{setup}\r\na=msrp-cema\r\n"
    )
}

fn media(sdp: &str) -> SocketAddr {
    let port = sdp.split("m=message ").nth(1).unwrap().split(' ').next().unwrap();
    let line = sdp.lines().find_map(|line| line.strip_prefix("c=IN IP4 ")).unwrap();
    format!("{}:{port}", line.trim()).parse().unwrap()
}

/// The program without its terminal.
struct Watcher {
    model: Model,
    view: View,
    seen: mpsc::Receiver<(usize, Seen)>,
    wants: Vec<watch::Sender<Wanted>>,
}

impl Watcher {
    fn of(nodes: Vec<Arc<Node>>) -> Self {
        let model = Model::new(nodes.iter().map(|node| node.name().to_owned()));
        let (send, seen) = mpsc::channel(64);
        let mut wants = Vec::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let (want, wanted) = watch::channel(Wanted { limit: 100, ..Wanted::default() });
            wants.push(want);
            tokio::spawn(look::look(node.clone(), index, wanted, send.clone()));
            tokio::spawn(look::listen(node, index, send.clone()));
        }
        Self { model, view: View::new(false), seen, wants }
    }

    fn keys(&mut self, codes: &[KeyCode]) {
        for code in codes {
            let opened = self.view.open;
            assert!(self.view.key(KeyEvent::new(*code, KeyModifiers::NONE)), "{code:?} leaves");
            if self.view.open != opened {
                (self.model.open, self.model.gone) = (None, false);
            }
            let _ = screen(&mut self.view, &self.model);
        }
    }

    /// Goes on until the screen is so.
    async fn until(&mut self, holds: impl Fn(&str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = screen(&mut self.view, &self.model);
            if holds(&text) {
                return text;
            }
            for (node, want) in self.wants.iter().enumerate() {
                let wanted = self.view.wanted(&self.model, node);
                want.send_if_modified(|now| std::mem::replace(now, wanted.clone()) != wanted);
            }
            match tokio::time::timeout_at(deadline, self.seen.recv()).await {
                Ok(Some((node, what))) => self.model.take(node, what, self.view.open),
                _ => panic!("it did not come to that:\n{text}"),
            }
        }
    }
}

fn screen(view: &mut View, model: &Model) -> String {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| view.draw(frame, model, SystemTime::now())).unwrap();
    terminal.backend().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_seen_and_looked_into() {
    let scene = Scene::start(1).await;
    let silent = "127.0.0.1:1";
    let mut watcher = Watcher::of(nodes(&[&format!("http://{}", scene.admin), silent]));
    let text = watcher.until(|text| text.contains("no calls") && text.contains("1 of 2 DOWN")).await;
    assert!(text.contains(&format!("● {}  0.1.0", scene.admin)), "{text}");
    assert!(text.contains("✗ 127.0.0.1:1  cannot be reached: "), "{text}");

    let bob = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = bob.local_addr().unwrap().port();
    let towards_bob = media(&scene.offer(1, "actpass", 9));
    let towards_alice = media(&scene.answer(1, "passive", port));
    assert_ne!(towards_alice, towards_bob);
    let mut alice = tokio::net::TcpStream::connect(towards_alice).await.unwrap();
    // The first octets of a TLS record, and what it holds.
    let octets = [&[22, 3, 1, 0x27, 0x10][..], &[0; 10_000]].concat();
    alice.write_all(&octets).await.unwrap();
    let (mut connection, _) = tokio::time::timeout(PATIENCE, bob.accept()).await.unwrap().unwrap();
    connection.read_exact(&mut vec![0; octets.len()]).await.unwrap();

    let of_call = |line: &&str| line.contains("◆ e2e") && line.contains("10.0 kB");
    let text = watcher.until(|text| text.lines().any(|line| of_call(&line))).await;
    assert!(text.contains("1 session  "), "{text}");

    watcher.keys(&[KeyCode::Enter]);
    let text = watcher.until(|text| text.contains("dialog-started")).await;
    for word in
        ["call-001", "plan", "line 0 (message TCP/TLS/MSRP): e2e", "TLS", "the relay, because loopback"]
    {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    watcher.keys(&[KeyCode::Char('G')]);
    watcher.until(|text| text.contains("● dialog answe")).await;
    watcher.keys(&[KeyCode::Esc, KeyCode::Tab]);
    let text = watcher.until(|text| text.contains("media (ims-agw) registered")).await;
    assert!(text.contains("1 of 10000 contexts") && text.contains("ports of public: "), "{text}");
    assert!(text.contains("engine relay: 1 stream (loopback 1)"), "{text}");

    // It goes, and is there again.
    let (directory, admin, ng) = (scene._directory, scene.admin, scene.ng);
    scene.running.stop(Duration::ZERO).await;
    watcher.until(|text| text.contains("2 of 2 DOWN")).await;
    let _running = Scene::run(&directory, 1, admin, ng).await;
    watcher.until(|text| text.contains("1 of 2 DOWN")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_are_turned_over_filtered_and_sorted() {
    let scene = Scene::start(2).await;
    for call in 0..150 {
        scene.offer(call, "actpass", 9);
    }
    let mut watcher = Watcher::of(nodes(&[&scene.admin.to_string()]));
    watcher.until(|text| text.contains("150 sessions") && text.contains("◆")).await;
    let known = |watcher: &Watcher| watcher.model.processes[0].sessions.len();
    assert!(known(&watcher) < 150, "only what is shown is asked for, not {}", known(&watcher));
    // Down to the last one, a page at a time, and asked for on the way.
    let first = watcher.view.at;
    for _ in 0..40 {
        watcher.keys(&[KeyCode::PageDown]);
        watcher.until(|text| text.contains("◆")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(watcher.view.at > first);
    watcher.keys(&[KeyCode::End]);
    watcher.until(|text| text.contains("call-149")).await;
    assert_eq!((watcher.view.at, known(&watcher)), (149, 150));

    watcher.keys(&[KeyCode::Home, KeyCode::Char('/')]);
    watcher.keys(&"call-14".chars().map(KeyCode::Char).collect::<Vec<_>>());
    watcher.until(|text| text.contains("/call-14▏") && text.matches("◆").count() == 10).await;
    watcher.keys(&[KeyCode::Enter, KeyCode::Char('s')]);
    watcher.until(|text| text.contains("newest first") && text.matches("◆").count() == 10).await;
    watcher.keys(&[KeyCode::Enter]);
    watcher.until(|text| text.contains("call-149")).await;
    watcher.keys(&[KeyCode::Esc, KeyCode::Esc]);
    watcher.until(|text| !text.contains("/call-14") && text.matches("◆").count() > 10).await;
}

/// Ten thousand sessions that change all the time: a key is worked on at once.
#[test]
fn ten_thousand_sessions_are_quick() {
    let mut model = Model::new(["x".to_owned()]);
    let whole = look::Whole::default();
    model.take(0, Seen::Whole(Instant::now(), Box::new(whole)), None);
    for page in 0..10u64 {
        let sessions = (page * 1000 + 1..=page * 1000 + 1000)
            .map(|number| {
                json!({ "number": number, "node": "b-a", "call_id": format!("c{number}"), "began": "2026-11-27T09:30:00Z",
                        "plan": "line 0 (message TCP/TLS/MSRP): e2e over TCP/TLS", "answered_ms": 1,
                        "from": format!("sip:user{number}@a.example"), "to": "sip:bob@b.example" })
            })
            .collect();
        model.take(0, Seen::Sessions { after: page * 1000, sessions, total: 10_000, more: page < 9 }, None);
    }
    let mut view = View::new(false);
    let _ = screen(&mut view, &model);
    let wanted = view.wanted(&model, 0);
    assert!(!wanted.walk && wanted.limit < 100, "{wanted:?}");
    let start = Instant::now();
    let keys =
        [KeyCode::PageDown, KeyCode::Down, KeyCode::Char('s'), KeyCode::End, KeyCode::Up, KeyCode::Home];
    for key in keys.iter().cycle().take(60) {
        assert!(view.key(KeyEvent::new(*key, KeyModifiers::NONE)));
        let _ = screen(&mut view, &model);
    }
    let each = start.elapsed() / 60;
    assert!(each < Duration::from_millis(500), "a key takes {each:?}");
    view.key(KeyEvent::new(KeyCode::Char('/'), KeyModifiers::NONE));
    for c in "user9999@".chars() {
        view.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    }
    let text = screen(&mut view, &model);
    assert!(text.contains("user9999@a.example") && view.rows == 1, "{text}");
}

#[test]
fn keys_do_what_the_help_says() {
    let mut model = Model::new(["x".to_owned()]);
    let mut view = View::new(false);
    let press = |view: &mut View, code| view.key(KeyEvent::new(code, KeyModifiers::NONE));
    assert!(screen(&mut view, &model).contains("asking"));
    model.take(0, Seen::Down("connection refused".into()), None);
    let text = screen(&mut view, &model);
    assert!(text.contains("no process answers") && text.contains("q quit"), "{text}");
    press(&mut view, KeyCode::Char('?'));
    assert!(screen(&mut view, &model).contains("any key closes this"));
    press(&mut view, KeyCode::Char('q'));
    assert!(!view.help, "the help is closed, and nothing else");
    press(&mut view, KeyCode::Char('p'));
    assert!(screen(&mut view, &model).contains("PAUSED") && view.wanted(&model, 0).paused);
    press(&mut view, KeyCode::Char('4'));
    assert_eq!(view.tab, Tab::Warnings);
    let event = crate::node::Event {
        name: "gateway-lost".into(),
        data: json!({ "level": "error", "timestamp": "2026-11-27T09:30:01Z", "gateway": "agw" }),
    };
    model.take(0, Seen::Warning(event), None);
    assert!(screen(&mut view, &model).contains("09:30:01 gateway-lost gateway=agw"));
    press(&mut view, KeyCode::Char('/'));
    assert!(view.tab == Tab::Sessions && view.typing);
    assert!(press(&mut view, KeyCode::Char('q')) && view.filter == "q", "what is typed is no command");
    press(&mut view, KeyCode::Esc);
    assert!(view.filter.is_empty() && !view.typing);
    assert!(!press(&mut view, KeyCode::Char('q')));
    assert!(!view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
}

/// Narrow and low terminals, and one without colours.
#[test]
fn every_terminal_can_be_drawn_on() {
    let mut model = Model::new((0..9).map(|n| format!("node-{n}.example:9460")));
    for node in 0..9 {
        let seen = if node == 7 {
            Seen::Down("connection refused".into())
        } else {
            Seen::Whole(Instant::now(), Box::default())
        };
        model.take(node, seen, None);
    }
    let long = "x".repeat(300);
    let sessions = vec![
        json!({ "number": 1, "from": long, "to": "sip:字字字字字字字字字字字字字字字字@b", "plan": "line 0 (m x): plain" }),
    ];
    model.take(0, Seen::Sessions { after: 0, sessions, total: 1, more: false }, None);
    for (width, height) in [(1, 1), (20, 5), (80, 24), (132, 50), (300, 100)] {
        for tab in Tab::ALL {
            let mut view = View::new(true);
            view.tab = tab;
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view.draw(frame, &model, SystemTime::now())).unwrap();
            let coloured = terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset);
            assert!(!coloured, "there is colour");
        }
    }
    let text = screen(&mut View::new(false), &model);
    assert!(text.contains("✗ node-7.example:9460") && text.contains("and 6 more"), "{text}");
}
