//! The other stack as a process: started, told what to ask, listened to.

use crate::lab::{Lab, tshark};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time for a process to come up, or to answer, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What goes over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    pub transport: &'static str,
    /// `pretty`, `compact` or `ber`, as the other stack writes.
    pub encoding: &'static str,
    pub version: u8,
}

impl Wire {
    pub const fn new(transport: &'static str, encoding: &'static str, version: u8) -> Self {
        Self { transport, encoding, version }
    }

    /// The port that is registered for the encoding.
    pub fn port(&self) -> u16 {
        if self.encoding == "ber" { 2945 } else { 2944 }
    }

    /// The name of the encoding in configuration files.
    pub fn setting(&self) -> &'static str {
        match self.encoding {
            "pretty" => "text",
            "ber" => "binary",
            short => short,
        }
    }
}

/// A lab, and the other stack ready to run; `None` with a word on standard error where one is missing.
pub fn lab() -> Option<Lab> {
    modules().as_ref()?;
    Lab::new()
}

/// Where the compiled modules are; made once. The directory stays until the tests end.
fn modules() -> &'static Option<PathBuf> {
    static MODULES: OnceLock<Option<PathBuf>> = OnceLock::new();
    MODULES.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/interop/megaco");
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("megaco");
        std::fs::create_dir_all(&directory).expect("a directory for modules");
        let files = ["h248_peer.erl", "h248_ber.erl", "h248_gateway.erl"];
        let compiled = Command::new("erlc")
            .arg("-o")
            .arg(&directory)
            .args(files.iter().map(|file| format!("{source}/{file}")))
            .output();
        let there = compiled.is_ok_and(|output| {
            assert!(output.status.success(), "erlc: {}", String::from_utf8_lossy(&output.stdout));
            let find = "case code:lib_dir(megaco) of {error, _} -> halt(1); _ -> halt(0) end";
            Command::new("erl").args(["-noshell", "-eval", find]).status().is_ok_and(|s| s.success())
        });
        if !there {
            assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "Erlang's megaco is required here");
            eprintln!("skipped: Erlang's megaco is not installed");
        }
        there.then_some(directory)
    })
}

/// The other stack, running.
pub struct Peer {
    /// Its process in the lab, and the name of its output there.
    pub process: usize,
    name: String,
    asked: usize,
    /// Output lines that have been dealt with.
    seen: usize,
}

impl Peer {
    /// Starts it on `host` in the role of a `controller` that listens there or a `gateway`, calling
    /// itself `mid`. Each start has an output of its own.
    pub fn start(lab: &mut Lab, host: &str, role: &str, mid: &str, address: &str, wire: Wire) -> Self {
        Self::start_with(lab, host, role, mid, address, wire, &[])
    }

    /// As [`Peer::start`], with more arguments.
    pub fn start_with(
        lab: &mut Lab,
        host: &str,
        role: &str,
        mid: &str,
        address: &str,
        wire: Wire,
        more: &[&str],
    ) -> Self {
        let port = if role == "controller" { wire.port() } else { 0 };
        let mut command = lab.command(host, "erl");
        let directory = modules().as_ref().expect("looked for before");
        command.env("ERL_CRASH_DUMP_SECONDS", "0").args(["-noshell", "-pa"]).arg(directory);
        command.args(["-s", "h248_peer", "main", "-extra"]);
        command.args([format!("role={role}"), format!("mid={mid}"), format!("host={address}")]);
        command.args([format!("transport={}", wire.transport), format!("encoding={}", wire.encoding)]);
        command.args([format!("version={}", wire.version), format!("port={port}")]).args(more);
        let count = std::fs::read_dir(lab.directory()).expect("the lab's directory").count();
        let name = format!("erlang-{mid}-{count}");
        let process = lab.start(&name, command);
        let mut peer = Self { process, name, asked: 0, seen: 0 };
        peer.hears(lab, "ready", "");
        peer
    }

    /// Everything it has written, one line for each thing that happened.
    pub fn output(&self, lab: &Lab) -> String {
        lab.output(&self.name, "out")
    }

    /// The next line of a kind that holds `text`; lines before it are passed over.
    pub fn hears(&mut self, lab: &Lab, kind: &str, text: &str) -> String {
        match self.hears_within(lab, kind, text, PATIENCE) {
            Some(line) => line,
            None => {
                lab.show();
                panic!("{} never heard `{kind}` with `{text}` after line {}", self.name, self.seen);
            }
        }
    }

    /// As [`Peer::hears`], for as long as `limit`.
    pub fn hears_within(&mut self, lab: &Lab, kind: &str, text: &str, limit: Duration) -> Option<String> {
        let start = Instant::now();
        loop {
            let output = self.output(lab);
            // The last line may not be whole yet.
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            let lines: Vec<_> = whole.lines().collect();
            let is = |line: &&str| line.split(' ').next() == Some(kind) && line.contains(text);
            if let Some(at) = lines.iter().skip(self.seen).position(is) {
                self.seen += at + 1;
                return Some(unescape(lines[self.seen - 1]));
            }
            if start.elapsed() > limit {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has been told of an event with all of `parts` on a termination, at any time.
    pub fn told(&self, lab: &Lab, termination: &str, parts: &[&str]) {
        let id = format!("n={}{{", termination.to_ascii_lowercase());
        let start = Instant::now();
        loop {
            let output = self.output(lab).to_ascii_lowercase();
            let mut asked = output.lines().filter(|line| line.starts_with("asked ") && line.contains(&id));
            if asked.any(|line| parts.iter().all(|part| line.contains(&part.to_ascii_lowercase()))) {
                return;
            }
            if start.elapsed() > PATIENCE {
                lab.show();
                panic!("{} was never told {parts:?} of {termination}:\n{output}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tells it something.
    pub fn say(&self, lab: &mut Lab, line: &str) {
        lab.process(self.process).say(&line.replace('\\', "\\\\").replace('\n', "\\n"));
    }

    /// Sends a transaction; its tag for [`Peer::answer`].
    pub fn send(&mut self, lab: &mut Lab, actions: &str) -> String {
        self.asked += 1;
        let tag = format!("q{}", self.asked);
        self.say(lab, &format!("ask {tag} {actions}"));
        tag
    }

    /// The answer to a transaction, in the short form. No answer fails the test.
    pub fn answer(&self, lab: &Lab, tag: &str) -> String {
        self.outcome(lab, tag).unwrap_or_else(|failed| {
            lab.show();
            panic!("no answer to {tag}: {failed:?}");
        })
    }

    /// The answer to a transaction, or why there is none.
    fn outcome(&self, lab: &Lab, tag: &str) -> Result<String, Option<String>> {
        let start = Instant::now();
        loop {
            let output = self.output(lab);
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            let begin = format!("answer {tag} ");
            if let Some(line) = whole.lines().find(|line| line.starts_with(&begin)) {
                let (_, answer) = line[begin.len()..].split_once(' ').expect("a version");
                return Ok(unescape(answer));
            }
            let failed = whole.lines().find(|line| line.starts_with(&format!("failed {tag} ")));
            if failed.is_some() || start.elapsed() > PATIENCE {
                return Err(failed.map(str::to_owned));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As [`Peer::ask`], again and again while there is no way to the other side.
    pub fn ask_until_answered(&mut self, lab: &mut Lab, actions: &str) -> String {
        let start = Instant::now();
        loop {
            let tag = self.send(lab, actions);
            match self.outcome(lab, &tag) {
                Ok(answer) => return answer,
                Err(failed) => assert!(start.elapsed() < PATIENCE, "no answer to {actions}: {failed:?}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Sends a transaction and waits for the answer.
    pub fn ask(&mut self, lab: &mut Lab, actions: &str) -> String {
        let tag = self.send(lab, actions);
        self.answer(lab, &tag)
    }
}

fn unescape(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (_, true) => out.push(rest.next().map_or('\\', |c| if c == 'n' { '\n' } else { c })),
            (c, false) => out.push(c),
        }
    }
    out
}

/// What follows each `before` in a short text, up to the next delimiter.
pub fn each<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let end = |rest: &'a str| rest.split(['{', '}', ',', '\n', ' ']).next().unwrap_or("");
    text.split(before).skip(1).map(end).collect()
}

/// The first of [`each`].
pub fn one<'a>(text: &'a str, before: &str) -> &'a str {
    each(text, before).first().copied().unwrap_or_else(|| panic!("no {before} in {text}"))
}

/// Nothing in a capture of the control association is malformed; how many messages there are.
pub fn well_formed(capture: &Path, wire: Wire) -> usize {
    let port = wire.port();
    let on = format!("(udp.port == {port} || (tcp.port == {port} && tcp.len > 0))");
    let protocol = if wire.encoding == "ber" { "h248" } else { "megaco" };
    let count = |filter: &str| tshark(capture, filter, &["frame.number"], &[]).len();
    // Of version 1 Wireshark knows the AuditReply of RFC 3015; RFC 3525 §A.2 has another.
    let old = "h248.auditValueReplyV1";
    let wrong = format!("(_ws.malformed || (h248 && _ws.expert.severity == error)) && !{old}");
    let malformed =
        tshark(capture, &format!("{on} && {wrong}"), &["frame.number", "_ws.expert.message"], &[]);
    assert!(malformed.is_empty(), "{wire:?}: {malformed:?}");
    let all = count(&format!("{on} && !icmp"));
    let read = count(&format!("{on} && {protocol} && !icmp"));
    // A segment of TCP may end inside a message.
    assert!(
        read == all || wire.transport == "tcp" && read * 10 > all * 9,
        "{wire:?}: {read} of {all} are read"
    );
    read
}
