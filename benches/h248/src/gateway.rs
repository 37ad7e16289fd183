//! Gateways as processes on one core.

use crate::Result;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The unit of CPU times in /proc on Linux (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// A process that is killed when it is dropped.
pub struct Gateway(Child);

impl Gateway {
    /// Carnet's, with a media engine that opens and closes a listening socket for every termination.
    pub fn carnet(directory: &Path, carnet: &Path, controller: u16, core: usize) -> Result<Self> {
        let file = directory.join("gateway.toml");
        std::fs::write(
            &file,
            format!(
                "[log]\nlevel = \"error\"\n\
                 [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"mgc@udp:127.0.0.1:{controller}\"]\n\
                 max-contexts = 20000\n\
                 [gateway.agw.realm.access]\nv4 = \"127.0.60.2\"\nports = \"20000-49999\"\n\
                 [gateway.agw.realm.core]\nv4 = \"127.0.61.2\"\nports = \"20000-49999\"\n"
            ),
        )?;
        Self::start(
            Command::new("taskset")
                .args(["-c", &core.to_string()])
                .arg(carnet)
                .args(["run", "--config"])
                .arg(&file),
        )
    }

    /// One made of Erlang's megaco.
    pub fn megaco(directory: &Path, controller: u16, core: usize) -> Result<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.erl");
        let made = Command::new("erlc").arg("-o").arg(directory).arg(source).output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stdout).into_owned().into());
        }
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).args(["erl", "-noshell", "+S", "1", "-pa"]).arg(directory);
        Self::start(command.args(["-s", "gateway", "main", "-extra", &controller.to_string()]))
    }

    fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }

    /// CPU seconds of all its threads so far.
    pub fn on_processor(&self) -> Result<f64> {
        // `schedstat` counts nanoseconds where the kernel keeps it, `stat` ticks everywhere.
        let id = self.0.id();
        let mut nanoseconds = 0u64;
        let mut all = true;
        for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
            match std::fs::read_to_string(task?.path().join("schedstat")) {
                Ok(text) => nanoseconds += text.split(' ').next().unwrap_or("0").parse::<u64>()?,
                Err(_) => all = false,
            }
        }
        if all {
            return Ok(nanoseconds as f64 / 1e9);
        }
        let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        let fields = text.rsplit_once(')').ok_or("no name")?.1;
        let ticks: f64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
