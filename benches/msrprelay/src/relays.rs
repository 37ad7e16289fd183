//! Relays as processes.

use crate::Result;
use carnet_net::relay::{RelayConfig, start};
use carnet_relay::{Listener, Settings};
use carnet_sip::Password;
use carnet_tls::{CertificateContext, CertificateSettings, Credential, SubjectName};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The msrp module, one TCP process.
    Kamailio,
    /// This workspace's, one thread.
    Carnet,
    /// AG Projects' msrprelay, where [`MSRPRELAY`] says how to run it.
    Msrprelay,
}

/// Names the words that run msrprelay, `python3 /somewhere/msrprelay`: Debian has no package of it.
const MSRPRELAY: &str = "CARNET_MSRPRELAY";

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kamailio => "Kamailio",
            Self::Carnet => "Carnet",
            Self::Msrprelay => "msrprelay",
        }
    }
}

/// A relay that runs, until it is dropped.
pub struct Peer {
    child: Child,
    pub kind: Kind,
    pub address: SocketAddr,
    /// What it shows in TLS.
    pub certificate: Option<Vec<u8>>,
    scratch: PathBuf,
}

impl Peer {
    /// Starts a relay and waits until it listens.
    pub fn start(kind: Kind, pairs: usize, secure: bool, threads: usize) -> Result<Self> {
        // Free a moment ago; nobody else here looks for one.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = address.port().to_string();
        let scratch = std::env::temp_dir().join(format!("carnet-bench-msrprelay-{port}"));
        std::fs::create_dir_all(&scratch)?;
        let credential = Credential::self_signed(&[SubjectName::Ip([127, 0, 0, 1].into())], 1)?;
        let (certificate, key) = (scratch.join("cert.pem"), scratch.join("key.pem"));
        std::fs::write(&certificate, credential.certificate_pem()?)?;
        std::fs::write(&key, &*credential.private_key_pem()?)?;
        let mut command = match kind {
            Kind::Carnet => {
                let mut command = Command::new(std::env::current_exe()?);
                let folder = if secure { scratch.display().to_string() } else { String::new() };
                command.args(["--serve", &port, &pairs.to_string(), &threads.to_string(), &folder]);
                command
            }
            Kind::Msrprelay => {
                let words = std::env::var(MSRPRELAY)?;
                let mut words = words.split_ascii_whitespace();
                let mut command = Command::new(words.next().ok_or("no msrprelay")?);
                let mut text = format!(
                    "[Relay]\naddress = 127.0.0.1:{port}\ndebug_notls = Yes\nhostname = 127.0.0.1\n\
                     default_domain = 127.0.0.1\nlog_level = ERROR\nbackend = memory\n[Memory]\n"
                );
                for n in 0..pairs {
                    text += &format!("user{n}@127.0.0.1 = user{n}'s-word\n");
                }
                std::fs::write(scratch.join("config.ini"), text)?;
                command
                    .args(words)
                    .args(["--no-fork", "--config-dir"])
                    .arg(&scratch)
                    .arg("--runtime-dir")
                    .arg(&scratch);
                command
            }
            Kind::Kamailio => {
                let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/msrp/kamailio.cfg");
                let mut text = std::fs::read_to_string(template)?;
                text = text.replace("@PORT@", &port).replace("@CHILDREN@", "1");
                if secure {
                    text = in_tls(&text, &certificate, &key);
                }
                let file = scratch.join("kamailio.cfg");
                std::fs::write(&file, text)?;
                let mut command = Command::new("kamailio");
                command.args(["-DD", "-E", "-m", "512", "-f"]).arg(&file).arg("-Y").arg(&scratch);
                command
            }
        };
        let certificate = secure.then(|| credential.certificate_pem()).transpose()?;
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let peer = Self { child, kind, address, certificate, scratch };
        let patience = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > patience {
                return Err(format!("{} does not listen", kind.name()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(peer)
    }

    /// `msrp` or `msrps`.
    pub fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "msrps" } else { "msrp" }
    }

    /// The most memory it has held so far, in KiB.
    pub fn most_memory(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
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
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

/// Whether there is an msrprelay to compare with.
pub fn has_msrprelay() -> bool {
    std::env::var_os(MSRPRELAY).is_some()
}

/// Whether there is a Kamailio to compare with.
pub fn has_kamailio(secure: bool) -> bool {
    let version = Command::new("kamailio").arg("-v").stdout(Stdio::null()).status();
    let modules = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib64"];
    let has =
        |name: &str| modules.iter().any(|at| Path::new(at).join("kamailio/modules").join(name).exists());
    version.is_ok_and(|status| status.success()) && has("msrp.so") && (!secure || has("tls.so"))
}

/// Kamailio's settings with its listener in TLS.
fn in_tls(text: &str, certificate: &Path, key: &Path) -> String {
    let tls = format!(
        "loadmodule \"tls.so\"\nmodparam(\"tls\", \"certificate\", \"{}\")\n\
         modparam(\"tls\", \"private_key\", \"{}\")\nmodparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\n",
        certificate.display(),
        key.display()
    );
    text.replace("listen = tcp:", "enable_tls = yes\nlisten = tls:")
        .replace("loadmodule \"kex.so\"", &format!("{tls}loadmodule \"kex.so\""))
        .replace("Use-Path: msrp:", "Use-Path: msrps:")
}

/// Runs Carnet's relay for `pairs` users; in TLS when its certificate is in `folder`.
pub fn serve(port: u16, pairs: usize, threads: usize, folder: &str) -> Result<()> {
    let secure = !folder.is_empty();
    let listener = Listener { host: "127.0.0.1".into(), port, secure };
    let users =
        (0..pairs).map(|n| (format!("user{n}"), Password::new(format!("user{n}'s-word").into_bytes())));
    let tls = if secure {
        let read = |name: &str| std::fs::read(Path::new(folder).join(name));
        let credential = Credential::from_pem(&read("cert.pem")?, &read("key.pem")?)?;
        let settings = CertificateSettings { credential: Some(credential), ..CertificateSettings::default() };
        Some(CertificateContext::new(&settings)?)
    } else {
        None
    };
    let relay = start(RelayConfig {
        next_hops: Vec::new(),
        listen: vec![([127, 0, 0, 1], port).into()],
        settings: Settings::new("relay.example", vec![listener]),
        users: users.collect(),
        tls,
        dscp: None,
        socket_buffer: None,
        threads,
    })?;
    while !relay.is_over() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
