//! `carnet ue join --json` as a process: what it reports, and what is typed to it.

use super::stage::{PATIENCE, Stage};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// A member.
pub struct Member {
    pub name: String,
    child: Child,
    seen: Arc<(Mutex<Vec<Value>>, Condvar)>,
    /// Events before this are not looked at any more.
    from: usize,
}

impl Member {
    /// Starts a client that joins a room.
    pub fn start(stage: &Stage, name: &str, room: &str, more: &[&str]) -> Self {
        let file = format!("{name}.toml");
        let mut arguments = vec!["ue", "-c", &file, "--json", "join", room];
        arguments.extend(more);
        Self::program(stage, name, stage.command(&arguments))
    }

    /// Starts the program that shares no code with Carnet, in clear, from outside the border.
    pub fn stranger(stage: &Stage, name: &str, room: &str) -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/conference/stranger.py");
        let (server, own) = (stage.at(2, 3).to_string(), stage.at(2, 50).to_string());
        let mut command = Command::new("python3");
        command.args(["-B", program, &server, &own, &format!("sip:{name}@a.example"), room]);
        command.current_dir(stage.directory());
        Self::program(stage, name, command)
    }

    /// Starts any program that reports as a member does.
    pub fn program(stage: &Stage, name: &str, mut command: Command) -> Self {
        let open = |end: &str| {
            let mut options = std::fs::File::options();
            options.create(true).append(true).open(stage.path(&format!("{name}.{end}"))).expect("a log file")
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(open("err"));
        let mut child = command.spawn().expect("the member starts");
        let seen: Arc<(Mutex<Vec<Value>>, Condvar)> = Arc::default();
        let (output, kept) = (child.stdout.take().expect("its output"), seen.clone());
        let mut file = open("out");
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                if let Ok(value) = serde_json::from_str(&line) {
                    kept.0.lock().expect("no panic").push(value);
                    kept.1.notify_all();
                }
            }
            kept.0.lock().expect("no panic").push(Value::Null);
            kept.1.notify_all();
        });
        Self { name: name.into(), child, seen, from: 0 }
    }

    /// Starts a client and waits until it is in the room.
    pub fn join(stage: &Stage, name: &str, room: &str) -> Self {
        let member = Self::start(stage, name, room, &[]);
        member.sees(stage, "joined", |event| is(event, "joined"));
        member
    }

    /// Types a line.
    pub fn say(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("an open standard input");
        writeln!(input, "{line}").expect("a reader");
        input.flush().expect("a reader");
    }

    /// What was reported so far is old.
    pub fn mark(&mut self) {
        self.from = self.seen.0.lock().expect("no panic").len();
    }

    /// All that was reported since the mark.
    pub fn events(&self) -> Vec<Value> {
        self.seen.0.lock().expect("no panic").iter().skip(self.from).cloned().collect()
    }

    /// Waits until something was reported since the mark; shows everything if it never is.
    pub fn sees(&self, stage: &Stage, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.sees_or(stage, what, fits, |_| false)
    }

    /// The same, unless all that was reported since the mark fits otherwise: then null.
    pub fn sees_or(
        &self,
        stage: &Stage,
        what: &str,
        fits: impl Fn(&Value) -> bool,
        otherwise: impl Fn(&[Value]) -> bool,
    ) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().expect("no panic");
        loop {
            if let Some(found) = seen.iter().skip(self.from).find(|event| fits(event)) {
                return found.clone();
            }
            if otherwise(seen.get(self.from..).unwrap_or_default()) {
                return Value::Null;
            }
            let left = until.saturating_duration_since(Instant::now());
            let ended = seen.last().is_some_and(Value::is_null);
            if left.is_zero() || ended {
                let all = seen.clone();
                drop(seen);
                stage.show();
                all.iter().for_each(|event| eprintln!("{}: {event}", self.name));
                panic!("{} never saw: {what}{}", self.name, if ended { " (it has ended)" } else { "" });
            }
            (seen, _) = self.seen.1.wait_timeout(seen, left).expect("no panic");
        }
    }

    /// Waits until it sees a message with this text.
    pub fn hears(&self, stage: &Stage, text: &str) -> Value {
        self.sees(stage, text, |event| is(event, "message") && event["text"] == text)
    }

    /// How often it saw a message with this text.
    pub fn count(&self, text: &str) -> usize {
        self.events().iter().filter(|event| is(event, "message") && event["text"] == text).count()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
    }

    /// Waits for its end; the exit code.
    pub fn ended(&mut self, stage: &Stage) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code().unwrap_or(-1);
            }
            if Instant::now() > until {
                stage.show();
                panic!("{} does not end", self.name);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether an event has this name.
pub fn is(event: &Value, name: &str) -> bool {
    event["event"] == name
}
