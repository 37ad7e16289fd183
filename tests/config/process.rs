//! A `carnet run` with its log, and certificates for it.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    /// What it tells the service manager.
    manager: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts it and waits until it is ready.
    pub fn start(directory: &Path) -> Self {
        let socket = directory.join("notify");
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
        let this = Self { child, log, manager: Mutex::new(told) };
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
        // What was told of reloads before is not of this one.
        std::thread::sleep(Duration::from_millis(100));
        while self.manager.lock().unwrap().try_recv().is_ok() {}
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

/// Free ports: nobody else on this host has them now.
pub fn ports<const N: usize>() -> [u16; N] {
    let held: Vec<_> = (0..N)
        .map(|_| {
            loop {
                // Both kinds, as SIP has it.
                let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let port = stream.local_addr().unwrap().port();
                if let Ok(datagrams) = std::net::UdpSocket::bind(("127.0.0.1", port)) {
                    break (stream, datagrams, port);
                }
            }
        })
        .collect();
    std::array::from_fn(|index| held[index].2)
}
