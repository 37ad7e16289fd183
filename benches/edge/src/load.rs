//! The terminals.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use carnet_tls::{
    CertificateContext, CertificateSettings, CertificateSocket, Credential, Fingerprint, Side, Versions,
};

use crate::Result;

const CALLERS: usize = 4;

type Socket = CertificateSocket<TcpStream>;

/// Terminals with one certificate, and where they connect to.
pub struct Terminal {
    context: CertificateContext,
    gateway: Fingerprint,
    doors: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl Terminal {
    pub fn new(
        credential: &Credential,
        gateway: &str,
        doors: Vec<SocketAddr>,
        versions: Versions,
    ) -> Result<Self> {
        let credential = Some(credential.clone());
        let settings = CertificateSettings { credential, versions, ..Default::default() };
        let context = CertificateContext::new(&settings)?;
        Ok(Self { context, gateway: gateway.parse()?, doors, next: AtomicUsize::new(0) })
    }

    fn connect(&self) -> std::io::Result<Socket> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.doors.len();
        let door = self.doors.get(index).ok_or(ErrorKind::NotFound)?;
        let stream = TcpStream::connect(door)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut socket = self.context.socket(stream, Side::Client).map_err(std::io::Error::other)?;
        socket.announce(std::slice::from_ref(&self.gateway));
        socket.handshake().map_err(std::io::Error::other)?;
        Ok(socket)
    }

    /// Sessions that stood and carried an octet both ways.
    pub fn handshakes(&self, time: Duration) -> Result<u64> {
        self.in_threads(
            CALLERS,
            |until| {
                let mut done = 0;
                while Instant::now() < until {
                    let mut socket = self.connect()?;
                    socket.write(b"x")?;
                    let mut got = [0; 4];
                    if socket.read(&mut got)? != 1 {
                        return Err(ErrorKind::InvalidData.into());
                    }
                    socket.close();
                    // The far side's end comes back.
                    let _ = socket.read(&mut got);
                    done += 1;
                }
                Ok(done)
            },
            time,
        )
    }

    /// Octets that arrived.
    pub fn bulk(&self, time: Duration, up: bool, streams: usize) -> Result<u64> {
        self.in_threads(
            streams,
            |until| {
                let mut socket = self.connect()?;
                let mut buffer = vec![0x5a; 64 * 1024];
                socket.write(if up { b"u" } else { b"d" })?;
                let mut done = 0;
                while Instant::now() < until {
                    done += if up { socket.write(&buffer)? } else { socket.read(&mut buffer)? } as u64;
                }
                if up {
                    socket.close();
                    let mut taken = [0; 8];
                    let octets = socket.read(&mut taken)?;
                    let confirmed = u64::from_be_bytes(taken);
                    if octets != 8 || confirmed != done {
                        return Err(std::io::Error::other(format!("{confirmed} of {done} octets arrived")));
                    }
                } else {
                    socket2::SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO))?;
                }
                Ok(done)
            },
            time,
        )
    }

    /// Sessions that stand and have carried an octet both ways.
    pub fn hold(&self, sessions: usize) -> Result<Vec<CertificateSocket<TcpStream>>> {
        let mut held = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            let mut socket = self.connect()?;
            socket.write(b"x")?;
            socket.read(&mut [0; 4])?;
            held.push(socket);
        }
        Ok(held)
    }

    fn in_threads(
        &self,
        threads: usize,
        work: impl Fn(Instant) -> std::io::Result<u64> + Sync,
        time: Duration,
    ) -> Result<u64> {
        let until = Instant::now() + time;
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(until))).collect();
            let mut sum = 0;
            for thread in running {
                sum += thread.join().map_err(|_| "a thread of the load panicked")??;
            }
            Ok(sum)
        })
    }
}
