//! Carnet's MSRP relay beside Kamailio's, in one run.
//!
//!     carnet-bench-msrprelay [--rounds 5] [--seconds 3] [--pairs 100] [--sizes 200,4096]
//!
//! One client of each pair has a URI of the relay (AUTH, digest), the other sends to it through the relay, one
//! SEND at a time; every body is compared. Relays are started anew for each measurement and take turns.
//! Printed are the CPU time of the relay's process a SEND with its two responses, SENDs a second, and the time
//! from a SEND to its arrival; and Carnet's share of Kamailio's, paired by round.

mod clients;
mod relays;

use clients::Figures;
use relays::{Kind, Peer};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut rounds, mut seconds, mut pairs) = (5, 3.0, 100);
    let mut sizes = vec![200, 4096];
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "--rounds" => rounds = value()?.parse()?,
            "--seconds" => seconds = value()?.parse()?,
            "--pairs" => pairs = value()?.parse()?,
            "--sizes" => sizes = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            // This program again, as the relay that is measured.
            "--serve" => return relays::serve(value()?.parse()?, value()?.parse()?),
            other => return Err(format!("what is `{other}`?").into()),
        }
    }
    let kinds = [Kind::Kamailio, Kind::Carnet];
    for size in sizes {
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); kinds.len()];
        for round in 0..rounds {
            for (index, kind) in kinds.iter().enumerate() {
                let peer = Peer::start(*kind, pairs)?;
                let figures = clients::measure(&peer, pairs, size, seconds)?;
                println!("{size} B, round {}: {:8} {figures}", round + 1, kind.name());
                if let Some(list) = all.get_mut(index) {
                    list.push(figures);
                }
            }
        }
        let [kamailio, carnet] = all.as_slice() else { return Err("two relays".into()) };
        let ratio = |of: fn(&Figures) -> f64| {
            median(carnet.iter().zip(kamailio).map(|(c, k)| of(c) / of(k)).collect())
        };
        println!(
            "{size} B, {pairs} pairs, Carnet / Kamailio: CPU a SEND {:.2}, SENDs a second {:.2}, p50 {:.2}, p99 {:.2}\n",
            ratio(|f| f.cpu),
            ratio(|f| f.rate),
            ratio(|f| f.p50),
            ratio(|f| f.p99),
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
