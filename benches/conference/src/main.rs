//! Fan-out of a sealed room: one sender, many members over TLS with a key each.
//!
//! The engine of the MRFP runs in this process, all members in another one (this program again), so
//! that processor time and memory of the two can be told apart. Every member checks every message:
//! none missing, none twice, in order, every octet. Beside it, in the same run, a loop that does
//! nothing but write the same octets to as many TLS connections.
//!
//! ```text
//! carnet-bench-conference [--members 100,1000] [--octets 200,4096] [--seconds 5]
//! ```

mod load;
mod loops;
mod member;
mod room;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What a run measures.
struct Plan {
    members: Vec<u16>,
    octets: Vec<usize>,
    seconds: f64,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut plan = Plan { members: vec![100, 1000], octets: vec![200, 4096], seconds: 5.0 };
    while let Some(argument) = arguments.next() {
        if argument == "load" {
            return load::run();
        }
        let value = arguments.next().ok_or_else(|| format!("{argument} wants a value"))?;
        match argument.as_str() {
            "--members" => plan.members = list(&value)?,
            "--octets" => plan.octets = list(&value)?,
            "--seconds" => plan.seconds = value.parse()?,
            other => return Err(format!("what is {other}?").into()),
        }
    }
    println!(
        "members octets | deliveries/s  per core-s  us/delivery | loop us/delivery ratio | p50 ms p99 ms"
    );
    for members in &plan.members {
        room::run(*members, &plan)?;
    }
    Ok(())
}

fn list<T: std::str::FromStr>(value: &str) -> Outcome<Vec<T>>
where
    T::Err: Error + 'static,
{
    value.split(',').map(|one| one.parse().map_err(Into::into)).collect()
}

/// The other process.
struct Load {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Load {
    fn start() -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("load")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("no input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, orders, answers })
    }

    /// Gives an order and waits for the numbers that answer it.
    fn order(&mut self, order: &str) -> Outcome<Vec<f64>> {
        writeln!(self.orders, "{order}")?;
        self.orders.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let Some(numbers) = answer.strip_prefix("done") else {
            return Err(format!("the load failed at {order:?}: {answer:?}").into());
        };
        numbers.split_whitespace().map(|number| number.parse().map_err(Into::into)).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of processor time that the threads of that name have used.
fn cpu(thread: &str) -> Outcome<f64> {
    let mut nanos = 0u64;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = std::fs::read_to_string(task.join("comm"))?;
        // The kernel keeps 15 letters.
        if name.trim().starts_with(&thread[..thread.len().min(15)]) {
            let stat = std::fs::read_to_string(task.join("schedstat"))?;
            nanos += stat.split_whitespace().next().ok_or("no schedstat")?.parse::<u64>()?;
        }
    }
    Ok(nanos as f64 / 1e9)
}

/// Octets of this process in memory.
fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?;
    Ok(kib * 1024)
}
