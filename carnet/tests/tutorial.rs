//! The tutorial's commands, in its order, as they stand: only ports are others, so that nothing on the machine is in the way.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what is wrong by failing.

mod common;

use common::Running;
use std::collections::HashMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

const TUTORIAL: &str = include_str!("../../docs/tutorial.md");

/// A block of commands, and what the comments before it say.
#[derive(Debug, Default)]
struct Step {
    said: Vec<(String, String)>,
    commands: String,
}

impl Step {
    fn said(&self, what: &str) -> Option<&str> {
        self.said.iter().find(|(name, _)| name == what).map(|(_, value)| value.as_str())
    }
}

/// The blocks of the page. A comment that stands alone is a step without commands.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = Step::default();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(comment) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
            for part in comment.split(", ") {
                let (name, value) = part.split_once(": ").unwrap_or((part, ""));
                step.said.push((name.to_owned(), value.to_owned()));
            }
        } else if line == "```sh" {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            step.commands = block.join("\n") + "\n";
            steps.push(std::mem::take(&mut step));
        } else if !line.is_empty() && !step.said.is_empty() {
            steps.push(std::mem::take(&mut step));
        }
    }
    steps
}

/// A port that nobody has.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn shell(commands: &str, place: &Path) -> Command {
    let own = Path::new(env!("CARGO_BIN_EXE_carnet")).parent().unwrap();
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-e", "-c", commands]).current_dir(place).env("PATH", path);
    command
}

/// What is typed is typed when the command has begun to read; the end of it ends the command.
fn run(command: &mut Command, typed: Option<&str>) -> (bool, String) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    if let Some(line) = typed {
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&both).into_owned())
}

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let page = [(":5060", free()), (":8443", free()), (":9460", free())]
        .iter()
        .fold(TUTORIAL.to_owned(), |page, (port, own)| page.replace(port, &format!(":{own}")));
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("carnet-tutorial");
    let steps = steps(&page);
    assert!(steps.len() > 15, "the page is read: {steps:#?}");
    let mut terminals: HashMap<String, Running> = HashMap::new();
    let mut expected = 0;
    for step in &steps {
        let place = if inside.exists() { inside.as_path() } else { directory.path() };
        if let Some(name) = step.said("stop") {
            let mut running = terminals.remove(name).unwrap();
            running.child.kill().unwrap();
            running.child.wait().unwrap();
        }
        if let Some(name) = step.said("wait") {
            let mut running = terminals.remove(name).unwrap();
            assert!(running.child.wait().unwrap().success(), "{name}: {}", running.rest());
        }
        let told = step.said.iter().filter_map(|(key, text)| Some((key.strip_prefix("expect in ")?, text)));
        for (name, text) in told {
            terminals[name].line(text);
            expected += 1;
        }
        if step.commands.is_empty() {
            continue;
        }
        if let Some(name) = step.said("terminal") {
            // The program itself, so that its end is the end.
            let running = Running::start(&mut shell(&format!("exec {}", step.commands), place));
            running.line(step.said("until").expect("a terminal says when it is ready"));
            terminals.insert(name.to_owned(), running);
            continue;
        }
        let (done, output) = run(&mut shell(&step.commands, place), step.said("type"));
        assert_eq!(done, step.said("fails").is_none(), "{}\n{output}", step.commands);
        if let Some(text) = step.said("expect") {
            assert!(output.contains(text), "`{text}` is not in what was said:\n{}\n{output}", step.commands);
            expected += 1;
        }
    }
    assert!(expected >= 6, "the page says what is to be seen");
}
