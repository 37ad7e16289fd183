//! MSRP whose paths are rewritten by copying what leaves, beside vectored writes of what came, and beside a relay
//! that rewrites nothing.
//!
//! One connection in, one out, on loopback; one thread passes on in turns of 64 KiB, as the engine does. What counts
//! is the time that this thread was on a processor, for what the receiver got.

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use carnet_load::outcome::median;
use carnet_msrp::rewrite::{Parts, Rewriter, Side};
use carnet_msrp::{Limits, Uri};

use crate::{Options, Result};

const SIZES: [usize; 4] = [400, 4_096, 16_384, 1 << 20];
/// What is read at once, and parts that leave at once, as in the engine.
const MIDDLE: usize = 64 * 1024;
const PARTS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Copied,
    Vectored,
}

const WAYS: [Way; 3] = [Way::Plain, Way::Copied, Way::Vectored];

pub fn measure(options: &Options) -> Result<()> {
    for size in SIZES {
        let mut all = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            for (way, costs) in WAYS.into_iter().zip(&mut all) {
                costs.push(one(way, size, options.seconds)?);
            }
        }
        let [plain, copied, vectored] = all;
        let ratio =
            |list: &[f64], beside: &[f64]| median(list.iter().zip(beside).map(|(a, b)| a / b).collect());
        println!(
            "rewriting, body of {size:>7} octets, CPU s/GB: plain {:.3}, copied {:.3} ({:.2} of plain), vectored {:.3} \
             ({:.2}; {:.2} of copied)",
            median(plain.clone()),
            median(copied.clone()),
            ratio(&copied, &plain),
            median(vectored.clone()),
            ratio(&vectored, &plain),
            ratio(&vectored, &copied),
        );
    }
    Ok(())
}

fn side(own: &str, path: &str) -> Result<Side> {
    Ok(Side { own: own.parse::<Uri>()?, path: vec![path.parse()?] })
}

/// CPU seconds of the thread in the middle for a GB.
fn one(way: Way, size: usize, seconds: f64) -> Result<f64> {
    let near = side("msrp://192.0.2.1:2855/far;tcp", "msrp://198.51.100.7:9/near;tcp")?;
    let far = side("msrp://203.0.113.1:2855/near;tcp", "msrp://198.51.100.8:9/far;tcp")?;
    let frame = format!(
        "MSRP tr001 SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: m1\r\nByte-Range: 1-{size}/{size}\r\n\
         Failure-Report: no\r\nContent-Type: text/plain\r\n\r\n{}\r\n-------tr001$\r\n",
        near.own.as_str(),
        near.path.first().ok_or("a path")?.as_str(),
        "a".repeat(size)
    );
    let pair = || -> Result<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        server.set_nodelay(true)?;
        Ok((client, server))
    };
    let ((mut sender, mut from), (mut to, mut receiver)) = (pair()?, pair()?);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let frames = frame.repeat((1 << 20) / frame.len() + 1);
    let writing = thread::spawn(move || -> std::io::Result<()> {
        while Instant::now() < until {
            sender.write_all(frames.as_bytes())?;
        }
        Ok(())
    });
    let reading = thread::spawn(move || -> std::io::Result<u64> {
        let mut room = vec![0; 256 * 1024];
        let mut got = 0;
        loop {
            match receiver.read(&mut room)? {
                0 => return Ok(got),
                octets => got += octets as u64,
            }
        }
    });
    let before = on_processor()?;
    let mut rewriter = Rewriter::new(&near, &far, &Limits::default());
    let (mut room, mut out, mut parts, mut passed) = (vec![0; MIDDLE], Vec::new(), Parts::default(), 0);
    loop {
        let octets = from.read(&mut room)?;
        let came = room.get(..octets).unwrap_or_default();
        if came.is_empty() {
            break;
        }
        match way {
            Way::Plain => {
                to.write_all(came)?;
                passed += octets;
            }
            Way::Copied => {
                out.clear();
                rewriter.pass(came, &mut out)?;
                to.write_all(&out)?;
                passed += out.len();
            }
            Way::Vectored => {
                rewriter.pass_in_parts(came, &mut parts)?;
                passed += parts.octets();
                write_parts(&mut to, &parts, came)?;
            }
        }
    }
    let took = on_processor()? - before;
    drop(to);
    let got = reading.join().map_err(|_| "the receiver")??;
    writing.join().map_err(|_| "the sender")??;
    if got != passed as u64 {
        return Err(format!("{got} octets arrived of {passed}").into());
    }
    Ok(took / (got as f64 / 1e9))
}

fn write_parts(to: &mut TcpStream, parts: &Parts, came: &[u8]) -> Result<()> {
    let mut rest = parts.iter(came).peekable();
    while rest.peek().is_some() {
        let mut batch = [&[][..]; PARTS];
        let mut octets = 0;
        for (place, part) in batch.iter_mut().zip(&mut rest) {
            *place = part;
            octets += part.len();
        }
        let mut written = to.write_vectored(&batch.map(IoSlice::new))?;
        if written < octets {
            for part in batch {
                let skip = written.min(part.len());
                to.write_all(part.get(skip..).unwrap_or_default())?;
                written -= skip;
            }
        }
    }
    Ok(())
}

/// Seconds that this thread has had a processor (proc(5), schedstat).
fn on_processor() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_ascii_whitespace().next().ok_or("schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}
