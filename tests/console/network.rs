//! A network in one process on addresses of this machine's loopback: two operators, a conference server, a key management service.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::browser::PATIENCE;

pub const ROOM: &str = "sip:harbour@conf.example";

/// A directory, addresses nobody else has, and what runs there.
pub struct Network {
    directory: tempfile::TempDir,
    base: u8,
    processes: Vec<(String, Child)>,
    _claim: TcpListener,
}

impl Network {
    /// Files and addresses; nothing runs.
    pub fn new() -> Self {
        let claimed = (201..=254).find_map(|base| {
            let claim = TcpListener::bind((Ipv4Addr::new(127, base, 9, 1), 8442)).ok()?;
            TcpListener::bind((Ipv4Addr::new(127, base, 1, 1), 5060)).ok()?;
            Some((base, claim))
        });
        let (base, claim) = claimed.expect("free addresses");
        Self { directory: tempfile::tempdir().unwrap(), base, processes: Vec::new(), _claim: claim }
    }

    pub fn at(&self, network: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.base, network, host)
    }

    /// Where the console is.
    pub fn page(&self) -> String {
        format!("http://{}:9460/", self.at(9, 9))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn carnet(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carnet"));
        command.args(arguments).current_dir(self.directory.path());
        command
    }

    fn must(command: &mut Command) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts something with its output in `NAME.out` and `NAME.err`.
    pub fn start(&mut self, name: &str, arguments: &[&str]) {
        let open = |end: &str| File::create(self.path(&format!("{name}.{end}"))).unwrap();
        let mut command = self.carnet(arguments);
        let child = command.stdin(Stdio::piped()).stdout(open("out")).stderr(open("err")).spawn().unwrap();
        self.processes.retain(|(known, _)| known != name);
        self.processes.push((name.to_owned(), child));
    }

    pub fn process(&mut self, name: &str) -> &mut Child {
        &mut self.processes.iter_mut().find(|(known, _)| known == name).unwrap().1
    }

    pub fn kill(&mut self, name: &str) {
        let process = self.process(name);
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Has a process read its file again (SIGHUP).
    pub fn hang_up(&mut self, name: &str) {
        let id = self.process(name).id().to_string();
        Self::must(Command::new("kill").args(["-HUP", &id]));
    }

    pub fn wait_for(&self, name: &str, end: &str, text: &str) {
        let (start, path) = (Instant::now(), self.path(&format!("{name}.{end}")));
        let said = || String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
        while !said().contains(text) {
            if start.elapsed() > PATIENCE {
                let errors = std::fs::read_to_string(self.path("node.err")).unwrap_or_default();
                panic!("`{text}` never appeared in {name}.{end}:\n{}\n{errors}", said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Two borders with a gateway each, a conference server with its media server, the key management service, alice and bob.
    pub fn whole(&mut self) {
        let ip = |network, host| self.at(network, host);
        let mut text = String::new();
        for (name, access, other) in [("a", 1, (2, 2)), ("b", 3, (2, 1))] {
            let core = if name == "a" { 1 } else { 2 };
            let _ = writeln!(
                text,
                "[border.border-{name}]\nrole = \"ims-alg\"\ndomain = \"{name}.example\"\ncontrol = {{ gateways = [\"agw-{name}\"] }}\n\
                 registrar = {{ mode = \"built-in\", users = \"users-{name}.toml\" }}\n\
                 [border.border-{name}.network.access]\nsubscribers = true\nlisten = [\"udp:{a}:5060\", \"tcp:{a}:5060\"]\n\
                 [border.border-{name}.network.core]\nlisten = [\"udp:{c}:5060\", \"tcp:{c}:5060\"]\n\
                 [[border.border-{name}.route]]\ndomain = \"conf.example\"\nnetwork = \"core\"\nnext-hop = \"sip:{conf}:5060;transport=udp\"\n\
                 [[border.border-{name}.route]]\ndomain = \"*\"\nnetwork = \"core\"\nnext-hop = \"sip:{o}:5060;transport=udp\"\n\
                 [gateway.agw-{name}]\nrole = \"ims-agw\"\ncontrollers = [\"local:border-{name}\"]\n\
                 [gateway.agw-{name}.realm.access]\nv4 = \"{ga}\"\nports = \"30000-30999\"\n\
                 [gateway.agw-{name}.realm.core]\nv4 = \"{gc}\"\nports = \"30000-30999\"",
                a = ip(access, 1),
                c = ip(2, core),
                o = ip(other.0, other.1),
                conf = ip(2, 7),
                ga = ip(access, 2),
                gc = ip(2, core + 10),
            );
        }
        let kms = format!("{}:8443", ip(9, 1));
        let _ = writeln!(
            text,
            "[conference.conf]\ndomain = \"conf.example\"\ntrust-asserted = true\nlisten = [\"udp:{conf}:5060\", \"tcp:{conf}:5060\"]\n\
             next-hop = \"sip:{a}:5060;transport=udp\"\ncontrol = {{ gateways = [\"mrfp\"] }}\n\
             [conference.conf.kms]\nurl = \"https://{kms}\"\nidentity = \"sip:kms.example\"\naccount = \"sip:mrfc@conf.example\"\n\
             key-file = \"mrfc.psk\"\nca-file = \"kms.pem\"\n\
             [[conference.conf.room]]\nuri = \"{ROOM}\"\nsubject = \"Who unloads first\"\nowners = [\"sip:alice@a.example\"]\n\
             floor = [{{ id = 1 }}]\n\
             [gateway.mrfp]\nrole = \"mrfp\"\ncontrollers = [\"local:conf\"]\n[gateway.mrfp.realm.core]\nv4 = \"{m}\"\nports = \"30000-30999\"\n\
             [kms]\nname = \"kms.example\"\nlisten = \"{kms}\"\ndata = \"kms\"\nrate = 10000\ntls = {{ certificate = \"kms.pem\", key = \"kms.key\" }}\n\
             [admin]\nlisten = \"{admin}:9460\"",
            conf = ip(2, 7),
            a = ip(2, 1),
            m = ip(2, 8),
            admin = ip(9, 9),
        );
        let (kms_ip, proxies) =
            (ip(9, 1), [("alice", "a", 1, 20), ("bob", "b", 3, 20), ("carol", "a", 1, 21)]);
        let clients: Vec<_> = proxies
            .iter()
            .map(|(user, domain, net, host)| (*user, *domain, ip(*net, 1), ip(*net, *host)))
            .collect();
        Self::must(
            Command::new("openssl")
                .current_dir(self.directory.path())
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-days",
                    "2",
                ])
                .args([
                    "-subj",
                    "/CN=kms.example",
                    "-addext",
                    &format!("subjectAltName=DNS:kms.example,IP:{kms_ip}"),
                ])
                .args(["-keyout", "kms.key", "-out", "kms.pem"]),
        );
        let mut add =
            vec![("sip:mrfc@conf.example".to_owned(), "mrfc.psk".to_owned(), Some("sip:*@conf.example"))];
        for (user, domain, proxy, own) in &clients {
            let uri = format!("sip:{user}@{domain}.example");
            self.file(&format!("{user}.password"), "a long password of its own\n");
            self.file(
                &format!("{user}.toml"),
                &format!(
                    "[ue]\nidentity = \"{uri}\"\npassword-file = \"{user}.password\"\nproxy = \"sip:{proxy}:5060;transport=tcp\"\n\
                     listen = \"{own}:0\"\nkms = \"https://{kms}\"\nkms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\nkms-ca-file = \"kms.pem\"\n"
                ),
            );
            add.push((uri, format!("{user}.psk"), None));
        }
        self.file(
            "users-a.toml",
            "alice = \"a long password of its own\"\ncarol = \"a long password of its own\"\n",
        );
        self.file("users-b.toml", "bob = \"a long password of its own\"\n");
        for (uri, key, more) in &add {
            let mut arguments = vec!["kms", "--data", "kms", "user", "add", uri];
            arguments.extend(more);
            arguments.extend(["--out", key]);
            Self::must(&mut self.carnet(&arguments));
        }
        self.file("node.toml", &text);
        self.start("node", &["run", "-c", "node.toml"]);
        self.wait_for("node", "out", "ready");
        for border in ["border=border-a", "border=border-b", "conference=conf"] {
            self.wait_for("node", "err", &format!("gateway-up {border}"));
        }
    }

    /// A client; it ends when its standard input does.
    pub fn ue(&mut self, user: &str, action: &[&str]) {
        let file = format!("{user}.toml");
        let mut arguments = vec!["ue", "-c", &file, "--json"];
        arguments.extend(action);
        self.start(user, &arguments);
    }

    /// Has a client hang up, and waits for its end.
    pub fn end(&mut self, user: &str) {
        let process = self.process(user);
        drop(process.stdin.take());
        let (start, mut over) = (Instant::now(), false);
        while !over && start.elapsed() < PATIENCE {
            over = process.try_wait().unwrap().is_some();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(over, "{user} does not end");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (name, process) in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
            if std::thread::panicking() {
                let said = std::fs::read_to_string(self.directory.path().join(format!("{name}.err")))
                    .unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(30).collect();
                eprintln!("--- {name}\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}
