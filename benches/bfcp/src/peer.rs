//! libre's end, in processes of its own.

use crate::Result;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The compiled program.
pub struct Peer {
    program: PathBuf,
}

/// Nanoseconds that a process (by number) or this thread (`thread-self`) was on a processor.
pub fn on_processor(who: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{who}/schedstat"))?;
    Ok(text.split(' ').next().ok_or("an empty schedstat")?.parse()?)
}

impl Peer {
    pub fn compile(folder: &Path) -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/bfcp/libre_peer.c");
        let program = folder.join("libre_peer");
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-I/usr/include/re", "-o"]).arg(&program).arg(source);
        match cc.args(["-lre", "-lssl", "-lcrypto"]).status()?.success() {
            true => Ok(Self { program }),
            false => Err("libre's end cannot be compiled: is libre-dev there?".into()),
        }
    }

    /// Nanoseconds to read and to write a message.
    pub fn codec(&self, hex: &str, count: u32) -> Result<(f64, f64)> {
        let mut command = Command::new(&self.program);
        command.args(["time", &count.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().ok_or("no input")?.write_all(hex.as_bytes())?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        let (read, written) = text.trim().split_once(' ').ok_or("two figures")?;
        Ok((read.parse()?, written.parse()?))
    }

    /// Loads a server with requests and releases: pairs a second on the clock.
    pub fn load(&self, port: u16, pairs: u32) -> Result<f64> {
        let port = port.to_string();
        let output = Command::new(&self.program).args(["load", &port, &pairs.to_string()]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let nanoseconds: f64 = text.trim().parse().map_err(|_| text)?;
        Ok(1e9 / nanoseconds)
    }

    /// libre's own server under the same load: nanoseconds on a processor a pair, requests a second.
    pub fn under_load(&self, pairs: u32) -> Result<(f64, f64)> {
        let mut server = Command::new(&self.program).arg("idle").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let port = line.trim().strip_prefix("port ").ok_or("no port")?.parse()?;
        let who = server.id().to_string();
        let began = on_processor(&who)?;
        let rate = self.load(port, pairs)?;
        // It is a zombie when its client is gone, and its time stays readable until it is waited for.
        let spent = on_processor(&who)? - began;
        server.wait()?;
        Ok((spent / f64::from(pairs), rate * 2.0))
    }
}
