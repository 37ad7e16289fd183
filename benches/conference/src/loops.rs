//! What it costs at least: the same octets written to as many TLS connections, and nothing else.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use carnet_tls::{Psk, PskContext, PskKey, PskSettings, PskSocket, Side};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::Socket;

use crate::room::{identity, key};
use crate::{Load, Outcome, cpu, resident};

const THREAD: &str = "plain-loop";

/// Microseconds of processor time a write of `frame` octets, and octets of memory a connection.
pub fn run(load: &mut Load, members: u16, frame: usize, seconds: f64) -> Outcome<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let door = listener.local_addr()?;
    let writer = thread::Builder::new()
        .name(THREAD.into())
        .spawn(move || write(&listener, members, frame, seconds).map_err(|error| error.to_string()))?;
    let [octets] = load.order(&format!("sink {members} {door}"))?[..] else {
        return Err("one number was expected".into());
    };
    let (deliveries, used, memory) = writer.join().map_err(|_| "the loop failed")??;
    if octets != deliveries * frame as f64 {
        return Err(format!("{octets} octets came of {deliveries} times {frame}").into());
    }
    Ok((used / deliveries * 1e6, memory))
}

fn write(listener: &TcpListener, members: u16, frame: usize, seconds: f64) -> Outcome<(f64, f64, f64)> {
    let context = PskContext::new(PskSettings::default())?;
    let before = resident()?;
    let mut lines = Vec::new();
    // All are let in before the first is answered: the members connect before they do anything else.
    let callers = (0..members).map(|_| Ok(listener.accept()?.0)).collect::<Outcome<Vec<_>>>()?;
    for (user, caller) in (1..).zip(callers) {
        let socket = Socket::from(caller);
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // As the engine has it.
        socket.set_send_buffer_size(64 * 1024)?;
        let key = PskKey::new(identity(user), Psk::new(&key(user))?)?;
        let mut line = context.socket(socket, Side::Server, key)?;
        while line.handshake()?.is_none() {
            ready(&line, PollFlags::IN)?;
        }
        lines.push(line);
    }
    let octets = vec![b'x'; frame];
    let memory = resident()?.saturating_sub(before) as f64 / f64::from(members);
    let (from, start) = (cpu(THREAD)?, Instant::now());
    let mut deliveries = 0.0;
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        for line in &mut lines {
            let mut sent = 0;
            while let Some(rest) = octets.get(sent..).filter(|rest| !rest.is_empty()) {
                match line.write(rest.get(..16_384).unwrap_or(rest)) {
                    Ok(octets) => sent += octets,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => ready(line, PollFlags::OUT)?,
                    Err(error) => return Err(error.into()),
                }
            }
            deliveries += 1.0;
        }
    }
    let used = cpu(THREAD)? - from;
    lines.iter_mut().for_each(PskSocket::close);
    Ok((deliveries, used, memory))
}

fn ready(line: &PskSocket<Socket>, flags: PollFlags) -> Outcome<()> {
    poll(&mut [PollFd::new(line.get_ref(), flags)], None)?;
    Ok(())
}
