//! Carnet's BFCP beside libre's, in one run.
//!
//! `cargo run --release -p carnet-bench-bfcp -- [--rounds N] [--messages N] [--pairs N]`
//!
//! First the codecs: a FloorRequestStatus with everything in it is read (with us: into the message and what it
//! means) and written. Then servers over TCP: libre's messages from one client, a request for a floor and its
//! release after the answer, to a floor control server of ours and to one of libre's codec that answers with
//! fixed replies and keeps no floors. The two take turns; what counts is time on a processor, the best round of
//! each. libre's part is `tests/interop/bfcp/libre_peer.c`, compiled here; it needs libre-dev.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod peer;
mod server;

use carnet_bfcp::{
    Body, FloorState, Limits, Message, Priority, RequestInformation, RequestStatus, Status, UserInformation,
};
use peer::Peer;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;

/// What anything here returns.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Args {
    rounds: usize,
    messages: u32,
    pairs: u32,
}

fn args() -> Result<Args> {
    let mut out = Args { rounds: 5, messages: 200_000, pairs: 20_000 };
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        let number = given.next().ok_or(format!("{arg} needs a number"))?;
        match arg.as_str() {
            "--rounds" => out.rounds = number.parse()?,
            "--messages" => out.messages = number.parse()?,
            "--pairs" => out.pairs = number.parse()?,
            _ => return Err(format!("{arg} is not known").into()),
        }
    }
    Ok(out)
}

/// What `libre_peer` writes in `time`.
fn body() -> Body {
    let state = |id, status: Option<RequestStatus>| FloorState { id, status, information: None };
    let accepted = RequestStatus { status: Status::Accepted, queue_position: 3 };
    let overall = FloorState { information: Some("two before you".into()), ..state(77, Some(accepted)) };
    Body::FloorRequestStatus(RequestInformation {
        id: 77,
        overall: Some(overall),
        floors: vec![state(1, Some(RequestStatus::new(Status::Pending))), state(2, None)],
        beneficiary: Some(UserInformation {
            id: 154,
            display_name: Some("Carol".into()),
            uri: Some("sip:carol@x.example".into()),
        }),
        requested_by: Some(UserInformation { id: 234, ..UserInformation::default() }),
        priority: Some(Priority::High),
        provided: Some("a question".into()),
    })
}

fn write(body: &Body) -> Result<Vec<u8>> {
    let message = Message {
        version: 1,
        responder: false,
        primitive: body.primitive(),
        conference: 4711,
        transaction: 9,
        user: 234,
        attributes: body.attributes(),
    };
    Ok(message.print()?)
}

/// Nanoseconds to read and to write a message.
fn codec(count: u32) -> Result<(f64, f64)> {
    let body = body();
    let octets = bytes::Bytes::from(write(&body)?);
    let limits = Limits::default();
    let began = peer::on_processor("thread-self")?;
    for _ in 0..count {
        let message = Message::parse(black_box(&octets), &limits)?;
        black_box(Body::of(&message)?);
    }
    let read = peer::on_processor("thread-self")?;
    for _ in 0..count {
        black_box(write(black_box(&body))?);
    }
    let written = peer::on_processor("thread-self")?;
    Ok(((read - began) / f64::from(count), (written - read) / f64::from(count)))
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn line(what: &str, ours: &[f64], theirs: &[f64]) {
    let (ours, theirs) = (best(ours), best(theirs));
    println!("{what:32} {ours:10.0} {theirs:10.0} {:10.2}", theirs / ours);
}

fn main() -> Result<()> {
    let args = args()?;
    let folder = std::env::temp_dir().join(format!("carnet-bench-bfcp-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&args, &folder);
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(args: &Args, folder: &Path) -> Result<()> {
    let peer = Peer::compile(folder)?;
    let hex: String = write(&body())?.iter().map(|octet| format!("{octet:02x}")).collect();
    let (mut read, mut written, mut served, mut rate) = Default::default();
    let mut rules = Vec::new();
    type Both = [Vec<f64>; 2];
    let push = |both: &mut Both, ours: f64, theirs: f64| {
        both[0].push(ours);
        both[1].push(theirs);
    };
    for _ in 0..args.rounds {
        let ours = codec(args.messages)?;
        let theirs = peer.codec(&hex, args.messages)?;
        push(&mut read, ours.0, theirs.0);
        push(&mut written, ours.1, theirs.1);
        let ours = server::under_load(&peer, args.pairs)?;
        let theirs = peer.under_load(args.pairs)?;
        push(&mut served, ours.0, theirs.0);
        push(&mut rate, ours.1, theirs.1);
        rules.push(server::alone(args.pairs)?);
    }
    println!("nanoseconds, best of {} rounds     Carnet      libre      ratio", args.rounds);
    line("read a message", &read[0], &read[1]);
    line("write it", &written[0], &written[1]);
    line("server: request and release", &served[0], &served[1]);
    println!("{:32} {:10.0}", "the same without sockets", best(&rules));
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    println!(
        "requests a second on the clock, most: Carnet {:.0}, libre {:.0}",
        most(&rate[0]),
        most(&rate[1])
    );
    Ok(())
}
