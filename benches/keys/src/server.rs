//! The servers under load: a key management service, and a HAProxy that answers with a file.

use crate::Result;
use carnet_tls::Credential;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Octets of HAProxy's answer: about as many as a ticket has.
const ANSWER: usize = 600;

/// A server that is killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Server {
    /// `carnet run` with alice and bob and a database in `directory`.
    pub fn carnet(directory: &Path, carnet: &Path, tls: Option<&Credential>) -> Result<Self> {
        let address = free_port()?;
        let name = if tls.is_some() { "kms-tls" } else { "kms" };
        let mut text = format!(
            "[log]\nlevel = \"error\"\n[kms]\nname = \"kms.example\"\nlisten = \"{address}\"\n\
             data = \"{name}\"\nrate = 1000000\n"
        );
        if let Some(credential) = tls {
            std::fs::write(directory.join("kms.pem"), credential.certificate_pem()?)?;
            std::fs::write(directory.join("kms.key"), credential.private_key_pem()?)?;
            text += "tls = { certificate = \"kms.pem\", key = \"kms.key\" }\n";
        }
        let file = format!("{name}.toml");
        std::fs::write(directory.join(&file), text)?;
        let users = format!(
            "alice sip:alice@x.example {}\nbob sip:bob@x.example {}\n",
            "01".repeat(32),
            "02".repeat(32)
        );
        std::fs::write(directory.join("users"), users)?;
        let import = ["kms", "-c", &file, "user", "import", "users"];
        let added = Command::new(carnet).args(import).current_dir(directory).output()?;
        if !added.status.success() {
            return Err(String::from_utf8_lossy(&added.stderr).into_owned().into());
        }
        let mut run = Command::new(carnet);
        run.args(["run", "-c", &file]).current_dir(directory);
        Self::start(run, address)
    }

    /// HAProxy with one thread.
    pub fn haproxy(directory: &Path, tls: Option<&Credential>) -> Result<Self> {
        let address = free_port()?;
        std::fs::write(directory.join("answer"), vec![b'x'; ANSWER])?;
        let mut bind = address.to_string();
        if let Some(credential) = tls {
            let pem = [credential.certificate_pem()?, credential.private_key_pem()?.to_vec()].concat();
            std::fs::write(directory.join("haproxy.pem"), pem)?;
            bind += " ssl crt haproxy.pem";
        }
        let text = format!(
            "global\n    nbthread 1\n    maxconn 4000\ndefaults\n    mode http\n    timeout client 30s\n    \
             timeout connect 5s\n    timeout server 30s\nfrontend f\n    bind {bind}\n    http-request return \
             status 200 content-type application/mikey file answer\n"
        );
        let file = if tls.is_some() { "haproxy-tls.cfg" } else { "haproxy.cfg" };
        std::fs::write(directory.join(file), text)?;
        let mut run = Command::new("haproxy");
        run.args(["-db", "-f", file]).current_dir(directory);
        Self::start(run, address)
    }

    fn start(mut command: Command, address: SocketAddr) -> Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{:?}: {e}", command.get_program()))?;
        let server = Self { child, address };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > Duration::from_secs(20) {
                return Err(format!("{command:?} does not listen").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // The service listens a moment before it is ready.
        std::thread::sleep(Duration::from_millis(500));
        Ok(server)
    }

    /// Seconds that its threads have been on a processor.
    pub fn on_processor(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += stat.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        Ok(nanoseconds / 1e9)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
