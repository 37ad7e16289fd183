//! Relays as processes.

use carnet_net::relay::{RelayConfig, start};
use carnet_relay::{Listener, Settings};
use carnet_sip::Password;
use std::error::Error;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The msrp module, one TCP process.
    Kamailio,
    /// This workspace's, one thread.
    Carnet,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kamailio => "Kamailio",
            Self::Carnet => "Carnet",
        }
    }
}

/// A relay that runs, until it is dropped.
pub struct Peer {
    child: Child,
    pub address: SocketAddr,
    scratch: Option<PathBuf>,
}

impl Peer {
    /// Starts a relay and waits until it listens.
    pub fn start(kind: Kind, pairs: usize) -> Result<Self, Box<dyn Error>> {
        // Free a moment ago; nobody else here looks for one.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = address.port().to_string();
        let (mut command, scratch) = match kind {
            Kind::Carnet => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--serve", &port, &pairs.to_string()]);
                (command, None)
            }
            Kind::Kamailio => {
                let scratch = std::env::temp_dir().join(format!("carnet-bench-msrprelay-{port}"));
                std::fs::create_dir_all(&scratch)?;
                let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/msrp/kamailio.cfg");
                let text = std::fs::read_to_string(template)?;
                let text = text.replace("@PORT@", &port).replace("@CHILDREN@", "1");
                let file = scratch.join("kamailio.cfg");
                std::fs::write(&file, text)?;
                let mut command = Command::new("kamailio");
                command.args(["-DD", "-E", "-m", "256", "-f"]).arg(&file).arg("-Y").arg(&scratch);
                (command, Some(scratch))
            }
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let peer = Self { child, address, scratch };
        let patience = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > patience {
                return Err(format!("{} does not listen", kind.name()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(peer)
    }

    /// CPU time so far of the process and its children, in seconds.
    pub fn cpu(&self) -> f64 {
        let ticks = |stat: &str| -> Option<(u32, f64)> {
            // proc(5): what follows the name, which may hold blanks.
            let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
            let parent = fields.nth(1)?.parse().ok()?;
            let user: f64 = fields.nth(9)?.parse().ok()?;
            let system: f64 = fields.next()?.parse().ok()?;
            Some((parent, user + system))
        };
        let mut sum = 0.0;
        let Ok(entries) = std::fs::read_dir("/proc") else { return 0.0 };
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            if let Some((parent, ticks)) = ticks(&stat)
                && (pid == self.child.id() || parent == self.child.id())
            {
                sum += ticks;
            }
        }
        // The kernel counts for user space in hundredths (USER_HZ).
        sum / 100.0
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Kamailio ends its children when it is asked, not when it is killed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        if let Some(scratch) = &self.scratch {
            let _ = std::fs::remove_dir_all(scratch);
        }
    }
}

/// Runs Carnet's relay for `pairs` users.
pub fn serve(port: u16, pairs: usize) -> Result<(), Box<dyn Error>> {
    let listener = Listener { host: "127.0.0.1".into(), port, secure: false };
    let users =
        (0..pairs).map(|n| (format!("user{n}"), Password::new(format!("user{n}'s-word").into_bytes())));
    let relay = start(RelayConfig {
        next_hops: Vec::new(),
        listen: vec![([127, 0, 0, 1], port).into()],
        settings: Settings::new("relay.example", vec![listener]),
        users: users.collect(),
        tls: None,
        dscp: None,
        socket_buffer: None,
    })?;
    while !relay.is_over() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
