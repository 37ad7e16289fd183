//! Our end, on a blocking socket.

use carnet_tls::{EdgeContext, EdgeSocket, Error, Opened, Report, Side};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

pub struct Near {
    pub edge: EdgeSocket,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Two ends of a connection.
pub fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (there, _) = listener.accept().unwrap();
    for stream in [&here, &there] {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
    (here, there)
}

impl Near {
    pub fn new(context: &EdgeContext, stream: TcpStream, side: Side) -> Self {
        Self { edge: context.socket(side).unwrap(), stream, buffer: vec![0; 64 * 1024] }
    }

    /// Brings what comes next.
    pub fn bring(&mut self) -> io::Result<()> {
        let Self { edge, stream, buffer } = self;
        let octets = edge.wire_mut().take(buffer, |room| stream.read(room))?;
        edge.wire_mut().keep(buffer);
        if octets == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    pub fn send(&mut self) {
        let octets = self.edge.wire().unsent().len();
        self.stream.write_all(self.edge.wire().unsent()).unwrap();
        self.edge.wire_mut().note_sent(octets);
        self.edge.wire_mut().tidy();
    }

    /// A turn of the handshake, and more octets for it if it wants any.
    pub fn step(&mut self) -> Result<Option<Report>, Error> {
        let outcome = self.edge.handshake();
        self.send();
        if let Ok(None) = outcome
            && !self.edge.is_waiting()
        {
            self.bring().map_err(Error::Io)?;
        }
        outcome
    }

    pub fn handshake(&mut self) -> Result<Report, Error> {
        loop {
            if let Some(report) = self.step()? {
                return Ok(report);
            }
        }
    }

    pub fn write(&mut self, octets: &[u8]) {
        for piece in octets.chunks(50_000) {
            self.edge.seal(piece).unwrap();
            self.send();
        }
    }

    pub fn read(&mut self, octets: usize) -> Result<Vec<u8>, Error> {
        let (mut got, mut room) = (Vec::new(), vec![0; octets]);
        while got.len() < octets {
            let left = octets - got.len();
            match self.edge.open(&mut room[..left])? {
                Opened::Octets(octets) => got.extend_from_slice(&room[..octets]),
                Opened::Nothing => self.bring().map_err(Error::Io)?,
                Opened::End => break,
            }
        }
        Ok(got)
    }

    pub fn read_to_close(&mut self) -> Vec<u8> {
        let (mut got, mut room) = (Vec::new(), vec![0; 20_000]);
        loop {
            match self.edge.open(&mut room).unwrap() {
                Opened::Octets(octets) => got.extend_from_slice(&room[..octets]),
                Opened::Nothing => self.bring().unwrap(),
                Opened::End => return got,
            }
        }
    }

    pub fn close(&mut self) {
        self.edge.close();
        self.send();
    }

    /// Ends the connection so that the last words are heard.
    pub fn part(&mut self) {
        self.send();
        self.stream.shutdown(Shutdown::Write).unwrap();
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }
}
