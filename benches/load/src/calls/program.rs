//! `carnet-load calls`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::books::{Counts, Told};
use super::callee::Callee;
use super::caller::{Caller, Pace, Whom};
use super::end::{End, Plan};
use super::register::register;
use crate::Result;
use crate::content::mix;
use crate::peer::{Manner, RECEIVER, SENDER};
use crate::process::own_cpu;

const USAGE: &str = "\
carnet-load calls HOP --caller ADDRESS:PORT --callee ADDRESS:PORT [OPTIONS]

Whole calls through whatever is at HOP (ADDRESS:PORT, SIP over UDP): INVITE, 200, ACK, MSRP both ways over the media path,
BYE. What is there has to lead calls to the callee's address; media goes where the descriptions say. Every octet is compared
at both ends. At the end both ends' books are laid side by side: the exit status is 0 if every call ended in order and every
message and octet that went has come, 1 if not, 2 if the words make no sense.

ENDS
  --caller ADDRESS:PORT    where the caller's SIP is; its media has the same address
  --callee ADDRESS:PORT    the callee's
  --only caller|callee     one end in this process; the other has the same options. The callee says `ready ADDRESS:PORT`, and
                           ends when its standard input does
  --door PORT              the callee takes connections at this port for all calls (plain media, --setup active)
  --register PASSWORD      the caller registers first, as who it is in --from
  --to URI, --from URI     whom and as whom (sip:callee@load.example, sip:caller@load.example)

CALLS
  --calls N                so many, then the end
  --seconds S              no call begins after so long (10, without a limit where --calls is given)
  --rate R                 so many begin a second, whatever becomes of others (open loop): times count from when a call
                           was due. Without it a new one begins when one ended (closed loop)
  --at-once N              so many at once in the closed loop (16)
  --hold S                 a call stands so long after its last message (0)
  --gather                 all stand until there are no more to come: `standing N` is written, and they end when a line is read
  --patience S             what takes longer has failed (30)

MEDIA
  --media plain|sealed     MSRP, or MSRP in TLS with a key of its own for each call, from end to end (plain)
  --setup active|passive|actpass   what the caller offers: it connects, the callee does, the callee may choose and does (active)
  --messages N             each way (10)
  --size N, --chunk N      octets of a message, and of a chunk of it (200, 2048)
  --reports                ask for success reports
  --rewritten              somebody between rewrites MSRP: octets of TCP are told but not compared
  --seed N                 content, names and keys follow from it; a server that remembers calls must not see one twice (drawn)
  --json                   one line of JSON: books of both ends, latencies in microseconds, what does not add up
";

/// What the command line says.
struct Options {
    hop: SocketAddr,
    caller: Option<SocketAddr>,
    callee: Option<SocketAddr>,
    only: Option<String>,
    door: Option<u16>,
    password: Option<String>,
    to: String,
    from: String,
    pace: Pace,
    patience: f64,
    sealed: bool,
    setup: String,
    manner: Manner,
    rewritten: bool,
    seed: u64,
    json: bool,
}

impl Options {
    fn read(hop: &str, words: &[String]) -> Result<Self> {
        let place = |text: &str| -> Result<SocketAddr> {
            text.parse().map_err(|_| format!("{text} is no ADDRESS:PORT").into())
        };
        let mut options = Self {
            hop: place(hop)?,
            caller: None,
            callee: None,
            only: None,
            door: None,
            password: None,
            to: "sip:callee@load.example".into(),
            from: "sip:caller@load.example".into(),
            pace: Pace {
                rate: None,
                at_once: 16,
                calls: None,
                time: Duration::from_secs(10),
                messages: 10,
                hold: Duration::ZERO,
                gather: false,
            },
            patience: 30.0,
            sealed: false,
            setup: "active".into(),
            manner: Manner {
                size: 200,
                chunk: 2_048,
                reports: false,
                paths: (RECEIVER.into(), SENDER.into()),
            },
            rewritten: false,
            seed: drawn(),
            json: false,
        };
        let mut seconds = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--caller" => options.caller = Some(place(value()?)?),
                "--callee" => options.callee = Some(place(value()?)?),
                "--only" => options.only = Some(value()?.clone()),
                "--door" => options.door = Some(value()?.parse()?),
                "--register" => options.password = Some(value()?.clone()),
                "--to" => options.to.clone_from(value()?),
                "--from" => options.from.clone_from(value()?),
                "--calls" => options.pace.calls = Some(value()?.parse()?),
                "--seconds" => seconds = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
                "--rate" => options.pace.rate = Some(value()?.parse()?).filter(|rate: &f64| *rate > 0.0),
                "--at-once" => options.pace.at_once = value()?.parse()?,
                "--hold" => options.pace.hold = Duration::try_from_secs_f64(value()?.parse()?)?,
                "--gather" => options.pace.gather = true,
                "--patience" => options.patience = value()?.parse()?,
                "--media" => {
                    options.sealed = match value()?.as_str() {
                        "plain" => false,
                        "sealed" => true,
                        other => return Err(format!("no such media: {other}").into()),
                    }
                }
                "--setup" => options.setup.clone_from(value()?),
                "--messages" => options.pace.messages = value()?.parse()?,
                "--size" => options.manner.size = value()?.parse()?,
                "--chunk" => options.manner.chunk = value()?.parse()?,
                "--reports" => options.manner.reports = true,
                "--rewritten" => options.rewritten = true,
                "--seed" => options.seed = value()?.parse()?,
                "--json" => options.json = true,
                other => return Err(format!("no such option: {other}\n\n{USAGE}").into()),
            }
        }
        if !["active", "passive", "actpass"].contains(&options.setup.as_str()) {
            return Err(format!("no such setup: {}", options.setup).into());
        }
        if options.door.is_some() && (options.sealed || options.setup != "active") {
            return Err("--door is for plain media, where the caller connects".into());
        }
        if options.manner.size == 0 || options.pace.at_once == 0 {
            return Err("a message has at least one octet, and there is at least one call at once".into());
        }
        options.pace.time = match (seconds, options.pace.calls) {
            (Some(seconds), _) => seconds,
            (None, Some(_)) => Duration::MAX,
            (None, None) => options.pace.time,
        };
        if options.pace.gather && options.pace.rate.is_none() {
            // All of them are up at once.
            options.pace.at_once = usize::MAX;
        }
        Ok(options)
    }

    fn end(&self, sip: Option<SocketAddr>, which: &str, stop: &Arc<AtomicBool>) -> Result<End> {
        let sip = sip.ok_or(format!("--{which} says where the {which} is"))?;
        let plan = Plan {
            sip,
            media: sip.ip(),
            manner: self.manner.clone(),
            seed: self.seed ^ if which == "caller" { 0 } else { !0 },
            patience: Duration::try_from_secs_f64(self.patience)?,
        };
        let mut end = End::open(plan, Arc::clone(stop))?;
        match (which, self.door, &self.password) {
            ("callee", Some(port), _) => end.share(port)?,
            ("caller", _, Some(password)) => register(&mut end, self.hop, &self.from, password)?,
            _ => {}
        }
        Ok(end)
    }

    fn whom(&self) -> Whom {
        Whom {
            hop: self.hop,
            to: self.to.clone(),
            from: self.from.clone(),
            setup: self.setup.clone(),
            sealed: self.sealed,
        }
    }
}

/// What no other run has.
fn drawn() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    mix(since.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(48))
}

/// Does what these words, after `calls`, say.
///
/// # Errors
///
/// If they make no sense, or something prevents it from the beginning.
pub fn run(words: &[String]) -> Result<ExitCode> {
    let Some((hop, rest)) = words.split_first().filter(|(hop, _)| *hop != "--help") else {
        print!("{USAGE}");
        return Ok(if words.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS });
    };
    let options = Options::read(hop, rest)?;
    let stop = Arc::new(AtomicBool::new(false));
    match options.only.as_deref() {
        None => both(&options, &stop),
        Some("caller") => {
            let caller = options.end(options.caller, "caller", &stop)?;
            let (end, seconds) = Caller::new(caller, options.pace.clone(), options.whom()).run()?;
            let caller = end.books.told(options.pace.rate.is_some());
            Ok(tell(&options, Some(&caller), None, seconds, own_cpu()?))
        }
        Some("callee") => {
            let callee = Callee::new(options.end(options.callee, "callee", &stop)?, true);
            println!("ready {}", callee.address());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                stop.store(true, Ordering::Relaxed);
            });
            let callee = callee.run()?.books.told(false);
            Ok(tell(&options, None, Some(&callee), 0.0, own_cpu()?))
        }
        Some(other) => Err(format!("no such end: {other}").into()),
    }
}

fn both(options: &Options, stop: &Arc<AtomicBool>) -> Result<ExitCode> {
    let caller = options.end(options.caller, "caller", stop)?;
    let (opened, there) = std::sync::mpsc::channel();
    let (outcome, callee) = std::thread::scope(|scope| {
        let callee = scope.spawn(move || {
            let end = options.end(options.callee, "callee", stop).map_err(|error| error.to_string());
            let _ = opened.send(end.as_ref().map(|_| ()).map_err(Clone::clone));
            let ended = Callee::new(end?, true).run().map_err(|error| error.to_string());
            ended.map(|end| end.books)
        });
        let outcome = match there.recv() {
            Ok(Ok(())) => Caller::new(caller, options.pace.clone(), options.whom()).run(),
            _ => Err("the callee could not begin".into()),
        };
        stop.store(true, Ordering::Relaxed);
        (outcome, callee.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    });
    let callee = callee?.told(false);
    let (end, seconds) = outcome?;
    let caller = end.books.told(options.pace.rate.is_some());
    Ok(tell(options, Some(&caller), Some(&callee), seconds, own_cpu()?))
}

/// What does not add up.
fn odd(options: &Options, caller: Option<&Counts>, callee: Option<&Counts>) -> Vec<String> {
    let mut odd: Vec<String> = [caller, callee].into_iter().flatten().flat_map(Counts::odd).collect();
    if let (Some(caller), Some(callee)) = (caller, callee) {
        let differences = caller.differences(callee).into_iter();
        odd.extend(differences.filter(|it| !options.rewritten || !it.starts_with("octets of TCP")));
    }
    odd
}

fn tell(options: &Options, caller: Option<&Told>, callee: Option<&Told>, seconds: f64, cpu: f64) -> ExitCode {
    let odd = odd(options, caller.map(|it| &it.counts), callee.map(|it| &it.counts));
    if options.json {
        let line = json!({
            "kind": "calls", "seed": options.seed, "seconds": seconds, "cpu_seconds": cpu, "caller": caller, "callee": callee, "odd": odd,
        });
        println!("{line}");
    } else {
        for (which, told) in [("caller", caller), ("callee", callee)] {
            if let Some(told) = told {
                println!("{}", in_words(which, told));
            }
        }
        if seconds > 0.0 {
            let ended = caller.map_or(0, |it| it.counts.ended) as f64;
            println!("{:.1} calls a second for {seconds:.2} s; {cpu:.2} s of CPU here", ended / seconds);
        }
        for line in &odd {
            println!("does not add up: {line}");
        }
        if odd.is_empty() && caller.is_some() && callee.is_some() {
            println!("both ends agree");
        }
    }
    let fine = [caller, callee].into_iter().flatten().all(|it| it.counts.failed == 0 && it.counts.ended > 0);
    if fine && odd.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn in_words(which: &str, told: &Told) -> String {
    let Counts { begun, ended, failed, causes, sent, answered, received, .. } = &told.counts;
    let mut text = format!(
        "{which}: {begun} calls, {ended} ended in order, {failed} failed; {sent} messages sent, {answered} answered, {received} \
         received ({} and {} octets; {} and {} of TCP)",
        told.counts.octets_sent, told.counts.octets_received, told.counts.written, told.counts.read
    );
    for (cause, count) in causes {
        text.push_str(&format!("\n  {count} failed: {cause}"));
    }
    let times = [
        ("INVITE to 200", &told.set_up_us),
        ("200 to first message answered", &told.media_us),
        ("message", &told.message_us),
        ("BYE to 200", &told.end_us),
    ];
    for (what, times) in times {
        if let Some(it) = times {
            text.push_str(&format!(
                "\n  {what}: p50 {:.0}, p90 {:.0}, p99 {:.0}, max {:.0} us ({})",
                it.p50, it.p90, it.p99, it.max, it.count
            ));
        }
    }
    text
}
