//! Calls over the ng protocol: Carnet's gateway beside Debian's rtpengine, in one run.
//!
//!     carnet-bench-ng [--carnet target/release/carnet] [--rounds 5] [--seconds 3] [--window 50]
//!
//! A call is `offer`, `answer`, `delete`, each sent when the one before is answered, over UDP on loopback. Both
//! servers are asked with the same descriptions: `audio and MSRP`, where each carries its own line; and `other`,
//! where neither has anything to do (rtpengine gets MSRP alone, Carnet audio alone). They take turns, started
//! anew each time on one processor; this program has the other. Printed are calls a second with `window` calls
//! under way, the CPU time of the server's process a call, and the time from an offer to its answer; and Carnet's
//! share of rtpengine's, paired by round, with the least and the most.
//!
//! `delete` says that the call ends at once, as rtpengine keeps ports for half a minute by itself; so do ports of
//! Carnet rest only where the file says so, and here it does not. Needs rtpengine and taskset.

mod load;
mod servers;

use load::Figures;
use servers::{Kind, Server};
use std::error::Error;
use std::path::PathBuf;

/// What is offered and answered.
#[derive(Clone, Copy)]
struct Scene {
    name: &'static str,
    /// Media sections for rtpengine and for Carnet.
    sections: [&'static str; 2],
}

const AUDIO: &str = "m=audio 7078 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n";
const MSRP: &str = "m=message 2855 TCP/TLS/MSRP *\r\na=accept-types:message/cpim text/plain\r\n\
    a=path:msrps://127.0.0.1:2855/iau39soe2843z;tcp\r\na=setup:SETUP\r\na=msrp-cema\r\n";
const BOTH: &str = "m=audio 7078 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n\
    m=message 2855 TCP/TLS/MSRP *\r\na=accept-types:message/cpim text/plain\r\n\
    a=path:msrps://127.0.0.1:2855/iau39soe2843z;tcp\r\na=setup:SETUP\r\na=msrp-cema\r\n";

const SCENES: [Scene; 2] = [
    Scene { name: "audio and MSRP", sections: [BOTH, BOTH] },
    Scene { name: "other", sections: [MSRP, AUDIO] },
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut rounds, mut seconds, mut window) = (5, 3.0, 50);
    let mut carnet = PathBuf::from("target/release/carnet");
    let mut only = None;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "--carnet" => carnet = value()?.into(),
            "--rounds" => rounds = value()?.parse()?,
            "--seconds" => seconds = value()?.parse()?,
            "--window" => window = value()?.parse()?,
            // One of the two servers, for a profile.
            "--only" => only = Some(value()?),
            other => return Err(format!("what is `{other}`?").into()),
        }
    }
    for scene in SCENES {
        let mut all: [Vec<Figures>; 2] = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for ((kind, sections), list) in Kind::ALL.into_iter().zip(scene.sections).zip(&mut all) {
                if only.as_deref().is_some_and(|only| only != kind.name()) {
                    continue;
                }
                let server = Server::start(kind, &carnet)?;
                let figures = load::measure(&server, sections, window, seconds)?;
                println!("{}, round {}: {:9} {figures}", scene.name, round + 1, kind.name());
                list.push(figures);
            }
        }
        let [rtpengine, carnet] = &all;
        let share = |what: &str, of: fn(&Figures) -> f64| {
            let mut shares: Vec<f64> = carnet.iter().zip(rtpengine).map(|(c, r)| of(c) / of(r)).collect();
            shares.sort_by(f64::total_cmp);
            let at = |n: usize| shares.get(n).copied().unwrap_or(f64::NAN);
            let last = shares.len().saturating_sub(1);
            format!("{what} {:.2} ({:.2} to {:.2})", at(last / 2), at(0), at(last))
        };
        println!(
            "{}, {window} under way, Carnet / rtpengine: {}, {}, {}, {}\n",
            scene.name,
            share("calls a second", |f| f.rate),
            share("CPU a call", |f| f.cpu),
            share("p50 of an offer", |f| f.p50),
            share("p99", |f| f.p99),
        );
    }
    Ok(())
}
