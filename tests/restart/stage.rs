//! A border and its gateway as processes on this host, and how they start again. For what needs no networks of its
//! own.

use crate::terminal::Over;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Time for anything to happen on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stage {
    directory: tempfile::TempDir,
    sip: [SocketAddr; 3],
    control: SocketAddr,
    border: Option<Child>,
    gateway: Option<Child>,
    /// How often the border has started.
    starts: usize,
    /// What is in the border's environment besides.
    pub environment: Vec<(String, String)>,
}

/// A port that is free now and, most likely, in a moment: none of those that the system gives to whoever asks.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8_000).unwrap();
    loop {
        let port = 20_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        // Of both kinds, as SIP has it.
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

impl Stage {
    /// Both run, and the border has its gateway.
    pub fn new() -> Self {
        Self::with("", |text| text)
    }

    /// The same with more in the border's file, and its text as somebody wants it.
    pub fn with(more: &str, change: impl FnOnce(String) -> String) -> Self {
        let mut this = Self::prepared(more, change);
        this.start_gateway();
        this.start();
        this.wait_for("gateway-up");
        this
    }

    /// The same, and nothing runs yet.
    pub fn prepared(more: &str, change: impl FnOnce(String) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sip, control) = ([free(), free(), free()], free());
        let [udp, tcp, tls] = sip;
        let border = format!(
            "[log]\nlevel = \"info,carnet=debug\"\n[admin]\nsocket = \"alg.sock\"\n\
             [border.alg]\nrole = \"ims-alg\"\ndomain = \"a.example\"\n\
             registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\n\
             control = {{ listen = [\"udp:{control}\"], gateways = [\"agw\"] }}\n\
             tls = {{ certificate = \"border.pem\", key = \"border.key\", ca = \"all.pem\" }}\n\
             [border.alg.state]\ndirectory = \"state\"\n\
             [border.alg.network.access]\nlisten = [\"udp:{udp}\", \"tcp:{tcp}\", \"tls:{tls}\"]\n\
             subscribers = true\n{more}"
        );
        let border = change(border);
        let gateway = format!(
            "[gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"alg@udp:{control}\"]\n\
             [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"28000-28999\"\n"
        );
        let users = "alice = \"alice-password\"\nbob = \"bob-password\"\n";
        for (name, text) in [("alg.toml", border.as_str()), ("agw.toml", &gateway), ("users.toml", users)] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let mut all = String::new();
        for name in ["border", "terminal"] {
            let made = Command::new("openssl")
                .current_dir(directory.path())
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
                .args(["-days", "2", "-subj", &format!("/CN={name}")])
                .args(["-addext", "subjectAltName=IP:127.0.0.1"])
                .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
            all += &std::fs::read_to_string(directory.path().join(format!("{name}.pem"))).unwrap();
        }
        std::fs::write(directory.path().join("all.pem"), all).unwrap();
        Self { directory, sip, control, border: None, gateway: None, starts: 0, environment: Vec::new() }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the border listens.
    pub fn sip(&self, over: Over) -> SocketAddr {
        self.sip[over as usize]
    }

    /// Where the border listens, for whomever.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        self.sip.into_iter().chain([self.control])
    }

    pub fn carnet(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carnet"));
        command.current_dir(self.directory()).args(arguments);
        command
    }

    fn spawn(&self, name: &str, arguments: &[&str], environment: &[(String, String)]) -> Child {
        let open = |end: &str| File::create(self.directory().join(format!("{name}.{end}"))).unwrap();
        let mut command = self.carnet(arguments);
        command.envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(open("out")).stderr(open("err")).spawn().unwrap()
    }

    pub fn start_gateway(&mut self) {
        self.gateway = Some(self.spawn("agw", &["run", "-c", "agw.toml"], &[]));
    }

    /// The border starts, and is ready.
    pub fn start(&mut self) {
        self.starts += 1;
        let border =
            self.spawn(&format!("alg-{}", self.starts), &["run", "-c", "alg.toml"], &self.environment);
        self.border = Some(border);
        self.until("the border is ready", |stage| stage.output("out").contains("ready"));
    }

    /// What the border that runs has said.
    pub fn output(&self, end: &str) -> String {
        let path = self.directory().join(format!("alg-{}.{end}", self.starts));
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.until(text, |stage| stage.output("err").contains(text));
    }

    #[track_caller]
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "waited in vain: {what}\n{}", self.output("err"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The border that runs.
    pub fn border(&mut self) -> &mut Child {
        self.border.as_mut().unwrap()
    }

    pub fn signal(&mut self, name: &str) {
        let process = self.border().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &process]).status().unwrap().success());
    }

    /// The border ends as told.
    pub fn end(&mut self, signal: &str) {
        self.signal(signal);
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.border().try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "the border does not end\n{}", self.output("err"));
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(signal != "TERM" || status.success(), "{status}\n{}", self.output("err"));
        let log = self.output("err");
        assert!(!log.contains("panicked"), "{log}");
    }

    /// The border ends as told, and another one takes its place.
    pub fn start_again(&mut self, signal: &str) {
        self.end(signal);
        self.start();
        self.wait_for("gateway-up");
    }

    /// The gateway holds nothing, and nothing in the border's eyes.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.until("the gateway holds nothing", |stage| {
            let audit = stage.carnet(&["gateway", "audit", "agw", "--by", "alg", "-c", "alg.toml", "--json"]);
            let output = { audit }.output().unwrap();
            output.status.success() && output.stdout.is_empty()
        });
        let log = self.output("err");
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the border's log\n{}", self.output("err"));
        }
        for child in [&mut self.border, &mut self.gateway].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
