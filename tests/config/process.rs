//! A `carnet run` with its log, and certificates for it.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    /// What it tells the service manager, and where.
    manager: Mutex<Receiver<String>>,
    socket: PathBuf,
}

impl Process {
    /// Starts it and waits until it is ready.
    pub fn start(directory: &Path) -> Self {
        let socket = directory.join("notify");
        // Of a process before.
        let _ = std::fs::remove_file(&socket);
        let manager = UnixDatagram::bind(&socket).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_carnet"))
            .args(["run", "--grace", "0", "-c", "carnet.toml"])
            .current_dir(directory)
            .env("NOTIFY_SOCKET", &socket)
            .env_remove("CARNET_LOG")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (page, lines) = (log.clone(), BufReader::new(child.stderr.take().unwrap()).lines());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut page = page.lock().unwrap();
                page.push_str(&line);
                page.push('\n');
            }
        });
        // Read as it comes, as a service manager does: the system holds a few datagrams only.
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let said = match manager.recv(&mut buffer) {
                    Ok(length) => String::from_utf8_lossy(&buffer[..length]).trim().to_owned(),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => return,
                };
                if tell.send(said).is_err() {
                    return;
                }
            }
        });
        let this = Self { child, log, manager: Mutex::new(told), socket };
        assert_eq!(this.told(), "READY=1");
        this
    }

    /// The next that the service manager is told.
    pub fn told(&self) -> String {
        let told = self.manager.lock().unwrap();
        told.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{e}; {}", self.log()))
    }

    /// SIGHUP, and waits until it has been done.
    pub fn reload(&self) {
        // What was told of reloads before is not of this one: it is in the socket before this is.
        const MARK: &str = "told so far";
        let own = UnixDatagram::unbound().unwrap();
        own.send_to(MARK.as_bytes(), &self.socket).unwrap();
        while self.told() != MARK {}
        let done = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(done.unwrap().success());
        let began = self.told();
        assert!(began.contains("RELOADING=1") && began.contains("MONOTONIC_USEC="), "{began}");
        assert_eq!(self.told(), "READY=1");
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has this.
    pub fn logs(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "no `{text}` in\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for a name, that vouches for itself, by `openssl`.
pub fn certificate(directory: &Path, file: &str, name: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "9",
        ])
        .args(["-keyout", &format!("{file}.key"), "-out", &format!("{file}.pem")])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .current_dir(directory)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Whose certificate is shown at a port.
pub fn shown(port: u16) -> String {
    let told = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    text.lines().find(|line| line.starts_with("subject=")).unwrap_or(&text).to_owned()
}

/// Free ports, of IPv4 and of IPv6: nobody has them now, and most likely nobody in a moment, as they are none of those that
/// the system gives to whoever asks (`ip_local_port_range`, from 32768 on).
pub fn ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 8_000;
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    std::array::from_fn(|_| {
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            let port = FIRST + (start + step) % COUNT;
            // Both kinds, as SIP has it.
            let is_free = |ip: IpAddr| {
                std::net::TcpListener::bind((ip, port)).is_ok()
                    && std::net::UdpSocket::bind((ip, port)).is_ok()
            };
            if is_free(Ipv4Addr::LOCALHOST.into()) && is_free(Ipv6Addr::LOCALHOST.into()) {
                return port;
            }
        }
        panic!("no port is free");
    })
}
