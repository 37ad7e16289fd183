//! What a connection of TCP carries, by its content, and the messages in it.

use super::{Show, Told, control, digest, floor, http, msrp, ng, sip, tls};
use crate::model::{Fact, Tcp};
use carnet_h248::tpkt;

/// Octets after which a protocol must be known.
const HEAD: usize = 4096;
/// Octets of a message of ng.
const NG: usize = 1 << 20;

/// Both directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    halves: [Half; 2],
}

#[derive(Debug, Default)]
struct Half {
    protocol: Protocol,
}

#[derive(Debug)]
enum Protocol {
    /// What came so far.
    Unknown(Vec<u8>),
    Sip(carnet_sip::Framer),
    Control(tpkt::Framer),
    Msrp(Box<msrp::Reader>),
    Floor(carnet_bfcp::Framer),
    Ng(carnet_ng::Frames),
    Http(http::Reader),
    Tls(tls::Reader),
    Other,
}

impl Default for Protocol {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

impl Stream {
    /// Octets that one side sent.
    pub(crate) fn data(&mut self, side: usize, octets: &[u8], show: Show) -> Vec<Told> {
        let mut out = Vec::new();
        if let Some(half) = self.halves.get_mut(side) {
            half.data(octets, show, &mut out);
        }
        out
    }

    /// Octets that one side sent and nobody captured.
    pub(crate) fn lost(&mut self, side: usize, octets: u64) {
        let Some(half) = self.halves.get_mut(side) else { return };
        match &mut half.protocol {
            Protocol::Tls(reader) => reader.lost(octets),
            Protocol::Other => {}
            // Messages may begin anywhere behind the gap.
            other => *other = Protocol::default(),
        }
    }

    /// One side has said all: nothing of it is held any more.
    pub(crate) fn close(&mut self, side: usize) {
        let Some(half) = self.halves.get_mut(side) else { return };
        if !matches!(half.protocol, Protocol::Other) {
            half.protocol = Protocol::Other;
        }
    }

    /// Whether it carries signalling: what is said there belongs to many.
    pub(crate) fn is_shared(&self) -> bool {
        self.halves
            .iter()
            .any(|half| matches!(half.protocol, Protocol::Sip(_) | Protocol::Control(_) | Protocol::Ng(_)))
    }
}

impl Half {
    fn data(&mut self, octets: &[u8], show: Show, out: &mut Vec<Told>) {
        if let Protocol::Unknown(head) = &mut self.protocol {
            head.extend_from_slice(octets);
            let Some(protocol) = recognise(head) else { return };
            let head = std::mem::take(head);
            self.protocol = protocol;
            self.read(&head, show, out);
            return;
        }
        self.read(octets, show, out);
    }

    fn read(&mut self, octets: &[u8], show: Show, out: &mut Vec<Told>) {
        let goes_on = match &mut self.protocol {
            Protocol::Unknown(_) => true,
            Protocol::Tls(reader) => {
                reader.read(octets, out);
                true
            }
            Protocol::Msrp(reader) => reader.read(octets, show, out),
            Protocol::Http(reader) => reader.read(octets, show, out),
            Protocol::Sip(framer) => {
                framer.push(octets);
                loop {
                    match framer.next() {
                        Ok(Some(carnet_sip::Frame::Message(message))) => {
                            out.extend(sip::read(&message, false, show));
                        }
                        Ok(Some(carnet_sip::Frame::Ping)) => {}
                        Ok(None) => break true,
                        Err(error) => {
                            out.push(Told::unreadable("SIP", &error.to_string(), octets));
                            break false;
                        }
                    }
                }
            }
            Protocol::Control(framer) => {
                framer.push(octets);
                loop {
                    match framer.next() {
                        Ok(Some(message)) => out.extend(control::read(&message, show)),
                        Ok(None) => break true,
                        Err(error) => {
                            out.push(Told::unreadable("H.248", &error.to_string(), octets));
                            break false;
                        }
                    }
                }
            }
            Protocol::Floor(framer) => {
                framer.push(octets);
                loop {
                    match framer.next_octets() {
                        Ok(Some(message)) => out.push(floor::read(&message)),
                        Ok(None) => break true,
                        Err(error) => {
                            out.push(Told::unreadable("BFCP", &error.to_string(), octets));
                            break false;
                        }
                    }
                }
            }
            Protocol::Ng(frames) => {
                frames.push(octets);
                loop {
                    match frames.next_message() {
                        Some(Ok(message)) => out.push(ng::read(&message, show)),
                        Some(Err(error)) => {
                            out.push(Told::unreadable("ng", &error.to_string(), octets));
                            break false;
                        }
                        None => break true,
                    }
                }
            }
            Protocol::Other => {
                let count = octets.len() as u64;
                let label = format!("{} of something else", crate::words::octets(count));
                let again = Some(digest(b"unknown"));
                out.push(Told { again, ..Told::new(label, "", Fact::Tcp(Tcp::Unknown(count))) });
                true
            }
        };
        if !goes_on {
            self.protocol = Protocol::Other;
        }
    }
}

/// The protocol that octets begin; `None` while that cannot be told.
fn recognise(octets: &[u8]) -> Option<Protocol> {
    // Line ends alone keep connections open (RFC 5626 §3.5.1).
    let text =
        octets.get(octets.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()..).unwrap_or_default();
    if text.is_empty() {
        return None;
    }
    let guesses = [
        tls::begins(octets),
        control::begins_stream(octets),
        floor::begins(octets, 1),
        if text.len() < 5 && b"MSRP ".starts_with(text) { None } else { Some(text.starts_with(b"MSRP ")) },
        http::begins(text),
        sip::begins(text),
        ng::begins(text),
    ];
    let sure = guesses.iter().position(|guess| *guess == Some(true));
    if sure.is_none() && guesses.contains(&None) && octets.len() < HEAD {
        return None;
    }
    Some(match sure {
        Some(0) => Protocol::Tls(tls::Reader::default()),
        Some(1) => Protocol::Control(tpkt::Framer::new(tpkt::LONGEST)),
        Some(2) => Protocol::Floor(carnet_bfcp::Framer::new(carnet_bfcp::Limits::default())),
        Some(3) => Protocol::Msrp(Box::new(msrp::Reader::new())),
        Some(4) => Protocol::Http(http::Reader::default()),
        Some(5) => Protocol::Sip(carnet_sip::Framer::new(carnet_sip::Limits::default())),
        Some(6) => Protocol::Ng(carnet_ng::Frames::new(NG)),
        _ => Protocol::Other,
    })
}
