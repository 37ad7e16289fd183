//! A program on one of the hosts, told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::cost::Cpu;

/// Killed when it is dropped.
#[derive(Debug)]
pub struct Child {
    process: Process,
    /// What it is told and what it says; another program than ours is told nothing.
    lines: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Child {
    /// Starts one of our roles and waits until it is ready.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (tell, hear) = (process.stdin.take(), process.stdout.take());
        let lines = tell.zip(hear.map(BufReader::new));
        let mut child = Self { process, lines };
        let said = child.line()?;
        if said == "ready" { Ok(child) } else { Err(format!("{command:?}: {said}").into()) }
    }

    /// Starts another program, which has half a second to fail.
    pub fn other(command: &mut Command) -> Result<Self> {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut child = Self { process, lines: None };
        std::thread::sleep(Duration::from_millis(500));
        match child.process.try_wait()? {
            None => Ok(child),
            Some(status) => Err(format!("{command:?} ended: {status}").into()),
        }
    }

    /// Tells it something; the answer has to be heard.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let (tell, _) = self.lines.as_mut().ok_or("not a program of ours")?;
        Ok(writeln!(tell, "{line}")?)
    }

    /// The answer to the oldest line that was told.
    pub fn hear(&mut self) -> Result<String> {
        let said = self.line()?;
        match said.strip_prefix("ok") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(said.into()),
        }
    }

    /// Tells it something and waits for the answer.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.tell(line)?;
        self.hear()
    }

    fn line(&mut self) -> Result<String> {
        let (_, hear) = self.lines.as_mut().ok_or("not a program of ours")?;
        let mut said = String::new();
        if hear.read_line(&mut said)? == 0 {
            return Err(format!("a program ended: {:?}", self.process.wait()?).into());
        }
        Ok(said.trim_end().to_owned())
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has used so far.
    pub fn cpu(&self) -> Result<Cpu> {
        Cpu::of(self.id())
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Lets it end by itself, and waits.
    pub fn finish(mut self) -> Result<()> {
        self.lines = None;
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a program ended: {status}").into()) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
