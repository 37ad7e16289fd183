//! MSRP whose paths are rewritten, beside Kamailio's msrp module.
//!
//! Carnet's frames are addressed to the pinhole and leave with the far side's path; Kamailio's name it as
//! the first hop. Both pass requests on and leave the answers to the ends; the load asks for none
//! (`Failure-Report: no`), as a relay that answers for itself would do more.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Options, Result, free_port, ourselves, report};
use carnet_load::process::Process;

const SESSIONS: u16 = 32;
const BODY: usize = 400;
const FIRST_PORT: u16 = 17_000;
/// How long the reader of `stalled` reads nothing.
const STALL: Duration = Duration::from_secs(3);
const STALLED_FRAMES: usize = 50_000;

const KAMAILIO: &str = "#!KAMAILIO
debug = 0
log_stderror = yes
children = 1
tcp_children = 1
auto_aliases = no
tcp_accept_no_cl = yes
listen = tcp:127.0.0.1:@PORT@
loadmodule \"kex.so\"
loadmodule \"pv.so\"
loadmodule \"msrp.so\"
request_route { exit; }
event_route[msrp:frame-in] { msrp_relay(); }
";

/// A relay, and where the load finds it.
struct Relay {
    process: Process,
    /// Of each session: where to connect, and the To-Path of what is sent there.
    ways: Vec<(SocketAddr, String)>,
}

impl Relay {
    fn cpu(&self) -> Result<f64> {
        self.process.cpu_of_all()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.process.dismiss();
    }
}

pub fn measure(options: &Options, folder: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let core = listener.local_addr()?;
    let relays = [carnet(core)?, kamailio(core, folder)?];
    let [ours, theirs] = &relays;
    if options.wants("frames") {
        let mut results = [Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            for (relay, results) in [ours, theirs].into_iter().zip(&mut results) {
                let before = relay.cpu()?;
                let time = Duration::from_secs_f64(options.seconds);
                let frames = frames(relay, &listener, time)?;
                results.push(frames as f64 / (relay.cpu()? - before));
            }
        }
        let [ours, theirs] = &results;
        report("frames", "frames a CPU second", ("Carnet", ours), ("Kamailio", theirs));
        let micros = |rates: &Vec<f64>| rates.iter().map(|rate| 1e6 / rate).collect::<Vec<_>>();
        report("", "µs CPU a frame", ("Carnet", &micros(ours)), ("Kamailio", &micros(theirs)));
    }
    if options.wants("stalled") {
        for (name, relay) in [("Carnet", ours), ("Kamailio", theirs)] {
            let (sent, arrived) = stalled(relay, &listener)?;
            println!("stalled      {name}: {arrived} of {sent} frames arrived after 3 s without a reader");
        }
    }
    Ok(())
}

fn carnet(core: SocketAddr) -> Result<Relay> {
    let (first, pairs) = (FIRST_PORT.to_string(), (2 * SESSIONS).to_string());
    let process = Process::start(&mut ourselves(&["engine", "msrp", &first, &pairs, &core.to_string()])?)?;
    let way = |port: u16| {
        (SocketAddr::from(([127, 0, 0, 1], port)), format!("msrp://127.0.0.1:{port}/s{port};tcp"))
    };
    Ok(Relay { process, ways: (FIRST_PORT..FIRST_PORT + 2 * SESSIONS).map(way).collect() })
}

fn kamailio(core: SocketAddr, folder: &Path) -> Result<Relay> {
    let port = free_port()?;
    let path = folder.join("kamailio.cfg");
    fs::write(&path, KAMAILIO.replace("@PORT@", &port.to_string()))?;
    let arguments = ["-DD", "-E", "-Y", &folder.display().to_string(), "-f", &path.display().to_string()];
    let main = Process::listening(
        Command::new("kamailio").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()),
    )?;
    let way = |number: u16| {
        let to =
            format!("msrp://127.0.0.1:{port}/k{number};tcp msrp://127.0.0.1:{}/s{number};tcp", core.port());
        (SocketAddr::from(([127, 0, 0, 1], port)), to)
    };
    Ok(Relay { process: main, ways: (0..2 * SESSIONS).map(way).collect() })
}

fn frame(to: &str, number: usize) -> Vec<u8> {
    let mut frame = format!(
        "MSRP t{number:08} SEND\r\nTo-Path: {to}\r\nFrom-Path: msrp://127.0.0.1:9/c;tcp\r\nMessage-ID: {number}\r\n\
         Failure-Report: no\r\nByte-Range: 1-{BODY}/{BODY}\r\nContent-Type: text/plain\r\n\r\n"
    )
    .into_bytes();
    frame.extend(std::iter::repeat_n(b'x', BODY));
    frame.extend_from_slice(format!("\r\n-------t{number:08}$\r\n").as_bytes());
    frame
}

/// Counts the frames on a connection until its end, or until nothing comes any more: Kamailio keeps its
/// connection. No body has a line that begins with dashes.
fn count(mut stream: TcpStream) -> usize {
    let (mut frames, mut dashes) = (0, 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let Ok(octets @ 1..) = stream.read(&mut buffer) else { return frames };
        for octet in buffer.iter().take(octets) {
            dashes = if *octet == b'-' { dashes + 1 } else { 0 };
            frames += usize::from(dashes == 7);
        }
    }
}

/// Frames that arrived. Sends on all sessions for the time, then waits for the last of them.
fn frames(relay: &Relay, listener: &TcpListener, time: Duration) -> Result<usize> {
    run(relay, listener, usize::from(SESSIONS), Duration::ZERO, move |stream, to, sent| {
        let until = Instant::now() + time;
        let batch: Vec<u8> = (0..20).flat_map(|number| frame(to, number)).collect();
        while Instant::now() < until {
            stream.write_all(&batch)?;
            sent.send(20).map_err(std::io::Error::other)?;
        }
        Ok(())
    })
    .map(|(_, arrived)| arrived)
}

fn stalled(relay: &Relay, listener: &TcpListener) -> Result<(usize, usize)> {
    run(relay, listener, 1, STALL, |stream, to, sent| {
        for number in 0..STALLED_FRAMES {
            stream.write_all(&frame(to, number))?;
            sent.send(1).map_err(std::io::Error::other)?;
        }
        Ok(())
    })
}

/// Frames sent and arrived.
fn run(
    relay: &Relay,
    listener: &TcpListener,
    sessions: usize,
    stall: Duration,
    work: impl Fn(&mut TcpStream, &str, &mpsc::Sender<usize>) -> std::io::Result<()> + Sync,
) -> Result<(usize, usize)> {
    let (sent, outcome) = mpsc::channel();
    let (arrivals, arrived) = mpsc::channel();
    let done = std::sync::atomic::AtomicBool::new(false);
    listener.set_nonblocking(true)?;
    thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let arrivals = arrivals.clone();
                let _ = stream.set_nonblocking(false);
                let _ = stream.set_read_timeout(Some(STALL));
                thread::spawn(move || {
                    thread::sleep(stall);
                    let _ = arrivals.send(count(stream));
                });
            }
        });
        let writers: Vec<_> = relay
            .ways
            .iter()
            .take(sessions)
            .map(|(door, to)| {
                let (sent, work) = (sent.clone(), &work);
                scope.spawn(move || -> std::io::Result<()> {
                    let mut stream = TcpStream::connect(door)?;
                    // A relay that drops what it cannot pass on may also end the connection.
                    let _ = work(&mut stream, to, &sent);
                    stream.shutdown(std::net::Shutdown::Write)?;
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                    let _ = stream.read(&mut [0; 64]);
                    Ok(())
                })
            })
            .collect();
        for writer in writers {
            let _ = writer.join().map_err(|_| "a writer panicked")?;
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    drop(sent);
    let sent = outcome.iter().sum();
    Ok((sent, arrived.iter().sum()))
}
