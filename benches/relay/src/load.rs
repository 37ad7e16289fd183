//! Client and server: bulk, echoed messages, connections. The first octet of a connection says which.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::Result;

const BLOCK: usize = 64 * 1024;
/// A message, about the size of an MSRP chat message, and a large one.
const MESSAGE: usize = 200;
const LARGE_MESSAGE: usize = 4096;
/// A writer that could not write for so long has been stopped.
const STALLED: Duration = Duration::from_millis(1500);
/// Connections of one measurement: so few that a relay does not run out of source ports towards
/// the server, whatever the number of rounds.
const CALLS: usize = 2_000;

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Serves at `address` and the ports that follow until it is killed. A port for each relay, so that
/// none runs out of source ports because of what the others did.
pub fn serve(address: &str, ports: &str) -> Result<()> {
    let address: SocketAddr = address.parse()?;
    let ports: u16 = ports.parse()?;
    runtime()?.block_on(async {
        for offset in 0..ports {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(address.ip(), address.port() + offset))?;
            let listener: TcpListener = socket.listen(4096)?;
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream));
                }
            });
        }
        println!("ready");
        std::future::pending::<()>().await;
        Ok(())
    })
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind).await?;
    match kind {
        // Upload: swallow all, tell how much it was.
        [b'u'] => {
            let mut block = vec![0; BLOCK];
            let mut total = 0u64;
            loop {
                match stream.read(&mut block).await? {
                    0 => break,
                    octets => total += octets as u64,
                }
            }
            stream.write_all(&total.to_be_bytes()).await
        }
        // Download: send until the client has enough.
        [b'd'] => {
            let block = vec![0x55; BLOCK];
            let (mut reader, mut writer) = stream.split();
            let send = async { while writer.write_all(&block).await.is_ok() {} };
            let mut octet = [0];
            tokio::select! {
                () = send => {}
                _ = reader.read(&mut octet) => {}
            }
            Ok(())
        }
        // Never read on.
        [b's'] => {
            std::future::pending::<()>().await;
            Ok(())
        }
        // Echo.
        _ => {
            let mut block = [0; 4096];
            loop {
                let octets = stream.read(&mut block).await?;
                if octets == 0 {
                    return Ok(());
                }
                stream.write_all(block.get(..octets).unwrap_or_default()).await?;
            }
        }
    }
}

/// Where the next connection goes: one port, or one after the other.
struct Doors {
    ip: IpAddr,
    first: u16,
    count: usize,
    next: AtomicUsize,
}

impl Doors {
    fn next(&self) -> SocketAddr {
        let offset = self.next.fetch_add(1, Ordering::Relaxed) % self.count;
        SocketAddr::new(self.ip, self.first + u16::try_from(offset).unwrap_or(0))
    }

    async fn open(&self, kind: u8) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.next()).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&[kind]).await?;
        Ok(stream)
    }
}

/// Arguments: kind, address, first port, ports, streams, seconds. Prints units, wall and CPU seconds.
pub fn client(arguments: &[&str]) -> Result<()> {
    let [kind, address, first, count, streams, seconds] = arguments else {
        return Err("client: KIND ADDRESS FIRST_PORT PORTS STREAMS SECONDS".into());
    };
    let doors = Arc::new(Doors {
        ip: address.parse()?,
        first: first.parse()?,
        count: count.parse()?,
        next: AtomicUsize::new(0),
    });
    let streams: usize = streams.parse()?;
    let time = Duration::from_secs_f64(seconds.parse()?);
    let kind = (*kind).to_owned();
    runtime()?.block_on(async move {
        if kind == "idle" {
            return idle(&doors, streams).await;
        }
        if kind == "stalled" {
            return stalled(doors, streams).await;
        }
        let before = carnet_load::process::own_cpu()?;
        let start = Instant::now();
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..streams {
            let (doors, over) = (Arc::clone(&doors), Arc::clone(&over));
            tasks.push(match kind.as_str() {
                "up" | "up1" => tokio::spawn(upload(doors, over)),
                "down" | "down1" => tokio::spawn(download(doors, over)),
                "messages" => tokio::spawn(talk::<MESSAGE>(doors, over)),
                "messages4k" => tokio::spawn(talk::<LARGE_MESSAGE>(doors, over)),
                "connections" => tokio::spawn(call(doors)),
                other => return Err(format!("unknown load {other}").into()),
            });
        }
        if kind != "connections" {
            tokio::time::sleep(time).await;
            over.store(true, Ordering::Relaxed);
        }
        let mut units = 0;
        for task in tasks {
            units += task.await??;
        }
        println!("{units} {} {}", start.elapsed().as_secs_f64(), carnet_load::process::own_cpu()? - before);
        Ok(())
    })
}

async fn upload(doors: Arc<Doors>, over: Arc<AtomicBool>) -> std::io::Result<u64> {
    let mut stream = doors.open(b'u').await?;
    let block = vec![0x55; BLOCK];
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&block).await?;
    }
    stream.shutdown().await?;
    stream.read_u64().await
}

async fn download(doors: Arc<Doors>, over: Arc<AtomicBool>) -> std::io::Result<u64> {
    let mut stream = doors.open(b'd').await?;
    let mut block = vec![0; BLOCK];
    let mut total = 0;
    while !over.load(Ordering::Relaxed) {
        total += stream.read(&mut block).await? as u64;
    }
    stream.shutdown().await?;
    Ok(total)
}

async fn talk<const SIZE: usize>(doors: Arc<Doors>, over: Arc<AtomicBool>) -> std::io::Result<u64> {
    let mut stream = doors.open(b'e').await?;
    let message = [0x55; SIZE];
    let mut back = [0; SIZE];
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&message).await?;
        stream.read_exact(&mut back).await?;
        rounds += 1;
    }
    Ok(rounds)
}

/// Connect, one octet there and back, close.
async fn call(doors: Arc<Doors>) -> std::io::Result<u64> {
    let mut calls = 0;
    while doors.next.load(Ordering::Relaxed) < CALLS {
        let mut stream = doors.open(b'e').await?;
        stream.write_all(b"x").await?;
        stream.read_exact(&mut [0]).await?;
        stream.shutdown().await?;
        // The relay has passed the end there and back.
        let _ = stream.read(&mut [0]).await?;
        calls += 1;
    }
    Ok(calls)
}

/// Opens sessions, says something on each, and waits to be killed.
async fn idle(doors: &Doors, sessions: usize) -> Result<()> {
    let mut held = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let mut stream = doors.open(b'e').await?;
        stream.write_all(b"hello!").await?;
        stream.read_exact(&mut [0; 6]).await?;
        held.push(stream);
    }
    println!("ready");
    std::future::pending::<()>().await;
    Ok(())
}

/// Writes on every session until nothing more can be written, to a server that never reads. Says how
/// much it was rid of, and waits to be killed.
async fn stalled(doors: Arc<Doors>, sessions: usize) -> Result<()> {
    let mut tasks = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let doors = Arc::clone(&doors);
        tasks.push(tokio::spawn(async move {
            let mut stream = doors.open(b's').await?;
            let block = vec![0x55; BLOCK];
            let mut total = 0u64;
            while let Ok(written) = tokio::time::timeout(STALLED, stream.write(&block)).await {
                total += written? as u64;
            }
            std::io::Result::Ok((total, stream))
        }));
    }
    let (mut total, mut held) = (0, Vec::with_capacity(sessions));
    for task in tasks {
        let (octets, stream) = task.await??;
        total += octets;
        held.push(stream);
    }
    println!("ready {total}");
    std::future::pending::<()>().await;
    Ok(())
}
