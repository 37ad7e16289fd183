//! The two servers, each on one processor.

use std::error::Error;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's.
    Rtpengine,
    /// Ours.
    Carnet,
}

impl Kind {
    /// In the order in which they take turns.
    pub const ALL: [Self; 2] = [Self::Rtpengine, Self::Carnet];

    /// For people, and `--only`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtpengine => "rtpengine",
            Self::Carnet => "Carnet",
        }
    }

    /// Where it is asked.
    pub fn port(self) -> u16 {
        match self {
            Self::Rtpengine => 22_223,
            Self::Carnet => 22_224,
        }
    }
}

/// One that runs; ended when dropped.
pub struct Server {
    /// Which one.
    pub kind: Kind,
    process: Child,
    file: Option<PathBuf>,
}

const FILE: &str = r#"
[log]
level = "error"
[gateway.media]
role = "ims-agw"
max-contexts = 20000
threads = 1
[gateway.media.realm.here]
v4 = "127.0.0.1"
ports = "30000-59999"
quarantine = 0
[gateway.media.ng]
listen = ["udp:127.0.0.1:22224"]
"#;

impl Server {
    /// Starts it on the first processor and waits until it answers.
    pub fn start(kind: Kind, carnet: &Path) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut file = None;
        match kind {
            Kind::Rtpengine => {
                command.args(["rtpengine", "--foreground", "--table=-1", "--log-level=2", "--log-stderr"]);
                command.args(["--config-file=none", "--interface=127.0.0.1", "--num-threads=1"]);
                command.args(["--port-min=30000", "--port-max=59999"]);
                command.arg(format!("--listen-ng=127.0.0.1:{}", kind.port()));
            }
            Kind::Carnet => {
                let path = std::env::temp_dir().join(format!("carnet-bench-ng-{}.toml", std::process::id()));
                std::fs::File::create(&path)?.write_all(FILE.as_bytes())?;
                command.arg(carnet).args(["run", "--grace", "0", "-c"]).arg(&path);
                file = Some(path);
            }
        }
        let server = Self { kind, process: command.spawn()?, file };
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", kind.port()))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            // Refused while nobody listens.
            let _ = socket.send(b"up_1 d7:command4:pinge");
            let mut buffer = [0; 64];
            if socket.recv(&mut buffer).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{} does not answer", kind.name()).into())
    }

    /// CPU time of its process so far, seconds.
    pub fn cpu(&self) -> Result<f64, Box<dyn Error>> {
        // taskset becomes the program that it starts.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let after = stat.rsplit_once(')').ok_or("no stat")?.1;
        let field = |n: usize| after.split_ascii_whitespace().nth(n).and_then(|v| v.parse::<f64>().ok());
        let ticks = field(11).zip(field(12)).map(|(user, system)| user + system).ok_or("no times")?;
        // USER_HZ is 100 wherever Linux runs.
        Ok(ticks / 100.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}
