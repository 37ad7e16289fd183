//! One SEND of one chunk, however large.

use crate::Result;
use crate::authenticate::authenticate;
use crate::relays::{Kind, Peer};
use crate::wire::Wire;
use carnet_load::outcome::Line;
use carnet_msrp::{Frames, Limits, Part};
use std::io::{Read, Write};
use std::time::Instant;

/// What a relay may take for it, in KiB, beside what it takes for a chunk of 1 KiB.
const MOST: f64 = 2_048.0;

/// Passes a chunk through Carnet's relay. Kamailio takes 10,240 octets (its `msrp_parser.h`).
pub fn measure(size: u64, secure: bool, json: bool) -> Result<()> {
    let wire = if secure { "TLS" } else { "TCP" };
    let mut held = Vec::new();
    for size in [1 << 10, size] {
        let peer = Peer::start(Kind::Carnet, 1, secure, 1)?;
        let begun = (Instant::now(), peer.cpu());
        pass(&peer, size)?;
        let (took, cpu) = (begun.0.elapsed().as_secs_f64(), peer.cpu() - begun.1);
        let kib = peer.most_memory().ok_or("no /proc")?;
        if !json {
            let gb = size as f64 / 1e9;
            println!(
                "chunk of {size} octets over {wire}: whole; {:.2} s/GB of relay CPU, {took:.1} s, {kib} KiB",
                cpu / gb
            );
        }
        held.push(kib as f64);
    }
    let [small, large] = held.as_slice() else { return Err("two chunks".into()) };
    if json {
        let what = format!("chunk of {size} octets over {wire}, memory beside that for one of 1 KiB");
        let (small, large) = (&[*small][..], &[*large][..]);
        println!("{}", Line::compare("D3", &what, "KiB", ("Carnet with a small one", small), large, None));
    }
    if large - small > MOST {
        return Err(format!("{} KiB more for a large chunk", large - small).into());
    }
    Ok(())
}

/// The octet at a place: no period that a buffer could have.
fn octet(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn pass(peer: &Peer, size: u64) -> Result<()> {
    let (mut sender, mut receiver) = (Wire::connect(peer)?, Wire::connect(peer)?);
    let scheme = peer.scheme();
    let own = format!("{scheme}://127.0.0.1:9/receiver;tcp");
    let path = authenticate(&mut receiver, peer, &own, "user0")?;
    let writer = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
        let head = format!(
            "MSRP chunkchunkchunk SEND\r\nTo-Path: {path} {own}\r\nFrom-Path: {scheme}://127.0.0.1:9/sender;tcp\r\n\
             Message-ID: m\r\nByte-Range: 1-{size}/{size}\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        sender.write_all(head.as_bytes())?;
        let mut at = 0;
        while at < size {
            let piece: Vec<u8> = (at..size.min(at + (64 << 10))).map(octet).collect();
            sender.write_all(&piece)?;
            at += piece.len() as u64;
        }
        sender.write_all(b"\r\n-------chunkchunkchunk$\r\n")?;
        let mut answer = vec![0; 1024];
        let octets = sender.read(&mut answer)?;
        answer.truncate(octets);
        Ok(answer)
    });
    let mut frames = Frames::new(&Limits::default());
    let mut buffer = vec![0; 256 << 10];
    let (mut at, mut over) = (0, false);
    while !over {
        let octets = receiver.read(&mut buffer)?;
        if octets == 0 {
            return Err("the relay closed a connection".into());
        }
        let mut rest = buffer.get(..octets).unwrap_or_default();
        while let (used, Some(part)) = frames.next(rest)? {
            match part {
                Part::Head(_) => {}
                Part::Body(body) => {
                    for found in body {
                        if *found != octet(at) {
                            return Err(format!("octet {at} is another").into());
                        }
                        at += 1;
                    }
                }
                Part::End(end) => over = end.flag().octet() == b'$',
            }
            rest = rest.get(used..).unwrap_or_default();
        }
    }
    if at != size {
        return Err(format!("{at} of {size} octets arrived").into());
    }
    let answer = writer.join().map_err(|_| "the writer panicked")??;
    if !answer.starts_with(b"MSRP chunkchunkchunk 200") {
        return Err(format!("not 200: {}", String::from_utf8_lossy(&answer)).into());
    }
    Ok(())
}
