//! Processes on addresses of this machine's loopback: a network with a border, its gateway and the key
//! server; a conference server; media servers that it has its rooms on; members.
//!
//! Every stage takes a block `127.BASE.0.0/16` of its own, so that tests run side by side.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

/// Those who have an account.
pub const USERS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// The room of most tests.
pub const ROOM: &str = "sip:staff@conf.example";

/// The account of the conference server with the key server.
const ACCOUNT: &str = "sip:mrfc@conf.example";

/// What runs, and where.
pub struct Stage {
    base: u8,
    _claim: TcpListener,
    directory: tempfile::TempDir,
    processes: Vec<Process>,
    media: u8,
    /// How much is logged.
    level: String,
}

/// A process with its output in `NAME.out` and `NAME.err`.
pub struct Process {
    name: String,
    pub child: Child,
}

/// What a stage is to have.
pub struct Settings<'a> {
    /// The room tables of the conference server, and what else stands below `[conference.conf]`.
    pub rooms: &'a str,
    /// Keys of the table `[conference.conf]` itself, a line each.
    pub server: &'a str,
    /// Media servers, `mrfp-1` and so on.
    pub media: u8,
    /// Whether Mp goes by TLS, with a key for each media server; else by TCP that both sides are told is
    /// protected.
    pub tls: bool,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self { rooms: "", server: "", media: 1, tls: false }
    }
}

impl Stage {
    /// Everything but members, running.
    pub fn open(settings: &Settings<'_>) -> Self {
        Self::prepared(settings).started()
    }

    /// What is prepared, running.
    pub fn started(mut self) -> Self {
        self.start("net");
        self.start("conf");
        for number in 1..=self.media {
            self.start(&format!("mrfp-{number}"));
        }
        self.until("the media servers are in service", |stage| {
            stage.log("conf").matches("gateway-up").count() >= usize::from(stage.media)
        });
        self
    }

    /// What is prepared, running, and everybody logs as much.
    #[allow(dead_code, reason = "for those who read logs")]
    pub fn started_at(mut self, level: &str) -> Self {
        level.clone_into(&mut self.level);
        self.started()
    }

    /// The files of a stage; nothing runs.
    pub fn prepared(settings: &Settings<'_>) -> Self {
        let (base, claim) = (20..220)
            .find_map(|base| {
                let claim = TcpListener::bind((Ipv4Addr::new(127, base, 255, 1), 8442)).ok()?;
                Some((base, claim))
            })
            .expect("free loopback addresses");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let level = std::env::var("CARNET_TEST_LOG").unwrap_or_else(|_| "info".into());
        let stage =
            Self { base, _claim: claim, directory, processes: Vec::new(), media: settings.media, level };
        stage.network();
        stage.conference(settings);
        stage.people();
        stage
    }

    /// A host in a network: 1 access, 2 core, 9 keys.
    pub fn at(&self, network: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.base, network, host)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file of the stage");
    }

    /// Changes a file of the stage.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).expect("a file of the stage");
        assert!(text.contains(from), "{name} lacks {from}");
        self.file(name, &text.replace(from, to));
    }

    fn network(&self) {
        let (access, core, keys) = (self.at(1, 1), self.at(2, 1), self.at(9, 1));
        let (mrfc, agw) = (self.at(2, 3), (self.at(1, 2), self.at(2, 2)));
        let mut users = String::new();
        for user in USERS {
            users += &format!("{user} = \"the password of {user}\"\n");
        }
        self.file("users.toml", &users);
        self.file(
            "net.toml",
            &format!(
                "[kms]\nname = \"kms.example\"\nlisten = \"{keys}:8443\"\ndata = \"kms\"\nrate = 10000\n\
                 accept-self-issued = true\n\
                 [border.alg]\nrole = \"ims-alg\"\ndomain = \"a.example\"\ncontrol = {{ gateways = [\"agw\"] }}\n\
                 registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\n\
                 [border.alg.network.access]\nsubscribers = true\n\
                 listen = [\"udp:{access}:5060\", \"tcp:{access}:5060\"]\n\
                 [border.alg.network.core]\nlisten = [\"udp:{core}:5060\", \"tcp:{core}:5060\"]\n\
                 [[border.alg.route]]\ndomain = \"*\"\nnetwork = \"core\"\nnext-hop = \"sip:{mrfc};transport=tcp\"\n\
                 [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"local:alg\"]\nwitness = \"full\"\n\
                 [gateway.agw.realm.access]\nv4 = \"{}\"\nports = \"30000-30999\"\n\
                 [gateway.agw.realm.core]\nv4 = \"{}\"\nports = \"30000-30999\"\n",
                agw.0, agw.1
            ),
        );
    }

    fn conference(&self, settings: &Settings<'_>) {
        let (mrfc, border, keys) = (self.at(2, 3), self.at(2, 1), self.at(9, 1));
        let media: Vec<_> = (1..=settings.media).map(|number| format!("\"mrfp-{number}\"")).collect();
        let keys_of = |number| format!("mrfp-{number} = \"{}\"\n", format!("{number:02x}").repeat(32));
        self.file("mp.psk", &(1..=settings.media).map(keys_of).collect::<String>());
        let (proto, at_server, at_media) = match settings.tls {
            true => ("tls", "tls = { psk = \"mp.psk\" }", "control-tls = { psk = \"mp.psk\" }"),
            false => ("tcp", "protected = true", "control-protected = true"),
        };
        self.file(
            "conf.toml",
            &format!(
                "[admin]\nsocket = \"conf.sock\"\n\
                 [conference.conf]\ndomain = \"conf.example\"\ntrust-asserted = true\n\
                 listen = [\"udp:{mrfc}:5060\", \"tcp:{mrfc}:5060\"]\n\
                 next-hop = \"sip:{border};transport=tcp\"\n\
                 store = \"conf.redb\"\n{}\n\
                 [conference.conf.control]\nlisten = [\"{proto}:{mrfc}:2944\"]\ngateways = [{}]\n{at_server}\n\
                 [conference.conf.kms]\nurl = \"http://{keys}:8443\"\nidentity = \"sip:kms.example\"\n\
                 account = \"{ACCOUNT}\"\nkey-file = \"mrfc.psk\"\n{}",
                settings.server,
                media.join(", "),
                settings.rooms,
            ),
        );
        for number in 1..=settings.media {
            self.file(
                &format!("mrfp-{number}.toml"),
                &format!(
                    "[admin]\nsocket = \"mrfp-{number}.sock\"\n[gateway.mrfp-{number}]\nrole = \"mrfp\"\nrestart-wait = 0\n{at_media}\n\
                     controllers = [\"conf@{proto}:{mrfc}:2944\"]\n\
                     [gateway.mrfp-{number}.realm.core]\nv4 = \"{}\"\nports = \"30000-30999\"\n",
                    self.at(2, 10 + number)
                ),
            );
        }
    }

    fn people(&self) {
        let keys = self.at(9, 1);
        let user = |name: &str, identities: &[&str], file: &str| {
            let mut arguments = vec!["kms", "-c", "net.toml", "user", "add", name];
            arguments.extend(identities);
            arguments.extend(["--out", file]);
            let output = self.carnet(&arguments);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        user(ACCOUNT, &[ACCOUNT, "sip:*@conf.example"], "mrfc.psk");
        for (index, name) in USERS.iter().enumerate() {
            user(&format!("sip:{name}@a.example"), &[], &format!("{name}.psk"));
            self.file(&format!("{name}.password"), &format!("the password of {name}"));
            self.file(
                &format!("{name}.toml"),
                &format!(
                    "[ue]\nidentity = \"sip:{name}@a.example\"\npassword-file = \"{name}.password\"\n\
                     proxy = \"sip:{};transport=tcp\"\nlisten = \"{}:0\"\n\
                     kms = \"http://{keys}:8443\"\nkms-identity = \"sip:kms.example\"\nkms-key-file = \"{name}.psk\"\n",
                    self.at(1, 1),
                    self.at(1, 20 + u8::try_from(index).expect("few users")),
                ),
            );
        }
    }

    /// Runs `carnet` with these arguments to its end.
    pub fn carnet(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CARNET);
        command.args(arguments).current_dir(self.directory.path());
        if self.level != "info" {
            command.env("CARNET_LOG", &self.level);
        }
        command
    }

    /// Starts `carnet run -c NAME.toml`, and waits until it is ready.
    pub fn start(&mut self, name: &str) {
        let file = format!("{name}.toml");
        let mut command = self.command(&["run", "--grace", "2", "-c", &file]);
        let open = |end: &str| {
            let mut options = File::options();
            options.create(true).append(true);
            options.open(self.path(&format!("{name}.{end}"))).expect("a log file")
        };
        let before = self.output(name, "out").matches("ready").count();
        command.stdin(Stdio::null()).stdout(open("out")).stderr(open("err"));
        let child = command.env("CARNET_LOG", &self.level).spawn().expect("it starts");
        self.processes.push(Process { name: name.into(), child });
        self.until(&format!("{name} is ready"), |stage| {
            stage.output(name, "out").matches("ready").count() > before
        });
    }

    /// Ends a process with a signal, and waits until it is gone.
    pub fn end(&mut self, name: &str, signal: &str) {
        let index = self.processes.iter().rposition(|process| process.name == name).expect("a process");
        let mut process = self.processes.remove(index);
        let pid = process.child.id().to_string();
        let _ = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        let _ = process.child.wait();
    }

    /// The number of a process.
    pub fn pid(&self, name: &str) -> u32 {
        self.processes.iter().rfind(|process| process.name == name).expect("a process").child.id()
    }

    /// Forgets a process that was killed.
    pub fn reap(&mut self, name: &str) {
        self.reaped(name);
    }

    /// Waits for a process that was told to end; how it did.
    pub fn reaped(&mut self, name: &str) -> std::process::ExitStatus {
        let index = self.processes.iter().rposition(|process| process.name == name).expect("a process");
        self.processes.remove(index).child.wait().expect("its end")
    }

    /// Contexts at a media server, when there are as many, or after a while.
    pub fn wait_audit(&self, name: &str, wanted: usize) -> usize {
        let (file, until) = (format!("{name}.toml"), Instant::now() + PATIENCE);
        loop {
            let output = self.carnet(&["gateway", "-c", &file, "--json", "audit", name]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let contexts =
                output.stdout.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).count();
            if contexts == wanted || Instant::now() > until {
                return contexts;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a process has written to standard output (`out`) or standard error (`err`).
    pub fn output(&self, name: &str, end: &str) -> String {
        let octets = std::fs::read(self.path(&format!("{name}.{end}"))).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// What a process has logged.
    pub fn log(&self, name: &str) -> String {
        self.output(name, "err")
    }

    /// Waits until something holds; shows all logs if it never does.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            if start.elapsed() > PATIENCE {
                self.show();
                panic!("waited in vain: {what}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines every process has said, on standard error.
    pub fn show(&self) {
        let mut names: Vec<_> = std::fs::read_dir(self.directory.path())
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".err") || name.ends_with(".out"))
            .collect();
        names.sort();
        for name in names {
            let text = std::fs::read(self.path(&name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().rev().take(60).collect();
            eprintln!("--- {name}");
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }

    /// `carnet conference … --json`, which has to answer.
    pub fn ask(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.wish(arguments);
        if !output.status.success() {
            self.show();
            panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).expect("an object")
    }

    /// The same, whatever it says.
    pub fn wish(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["conference", "-c", "conf.toml", "--json"];
        all.extend(arguments);
        self.carnet(&all)
    }

    /// What the conference server's API answers to a change: the status, and what it says.
    pub fn api(&self, method: &str, path: &str, body: &serde_json::Value) -> (u16, String) {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(self.path("conf.sock")).expect("its socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("a reader");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer)
    }

    /// The room as the administrator sees it.
    pub fn room(&self) -> serde_json::Value {
        self.ask(&["show", ROOM])
    }

    /// Waits until the conference server has something on disk, which it holds open.
    pub fn on_disk(&self, what: &str) {
        self.until(&format!("`{what}` is on disk"), |stage| {
            let copy = stage.path("copy.redb");
            let copied = std::fs::copy(stage.path("conf.redb"), &copy);
            let records = copied.ok().and_then(|_| carnet_store::Kv::open(&copy).ok()?.all().ok());
            let holds = |record: &[u8]| String::from_utf8_lossy(record).contains(what);
            records.unwrap_or_default().iter().any(|(_, record)| holds(record))
        });
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}
