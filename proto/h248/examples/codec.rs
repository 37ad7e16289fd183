//! Decoding and encoding, text and binary, beside Erlang/OTP's megaco in the same run:
//! `cargo run --release -p carnet-h248 --example codec`. Without Erlang only our numbers are shown.
//!
//! The messages are those of one session through a gateway: registration, Add, Modify, Notify,
//! Subtract, audit, errors; once more the Add alone. Rounds of both programs alternate; the best of each
//! counts. Time is that on a processor, which other work on the machine changes little.

use carnet_h248::encoding::{Encoding, parse};
use carnet_h248::text::{Form, Limits};
use carnet_h248::{Message, binary};
use std::hint::black_box;
use std::process::Command;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/megaco/codec.escript");
const SESSION: &[&str] = &["01", "02", "03", "04", "05", "06", "09", "11", "12", "13", "18", "20"];

fn session() -> Result<Vec<Message>, Box<dyn std::error::Error>> {
    let mut files: Vec<_> =
        std::fs::read_dir(FIXTURES)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut out = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".txt") && SESSION.iter().any(|s| name.starts_with(s)) {
            out.push(parse(&std::fs::read(&file)?, &Limits::default())?);
        }
    }
    Ok(out)
}

const ENCODINGS: [(Encoding, &str); 3] = [
    (Encoding::Text(Form::Long), "long"),
    (Encoding::Text(Form::Short), "short"),
    (Encoding::Binary, "binary"),
];

fn print(message: &Message, encoding: Encoding) -> Result<Vec<u8>, binary::Unsayable> {
    encoding.print(message)
}

/// Microseconds a message to decode and to encode.
fn ours(
    messages: &[Message],
    encoding: Encoding,
    rounds: u32,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let limits = Limits::default();
    let octets = messages.iter().map(|m| print(m, encoding)).collect::<Result<Vec<_>, _>>()?;
    let count = f64::from(rounds) * messages.len() as f64;
    let start = on_processor()?;
    for _ in 0..rounds {
        for octets in &octets {
            black_box(parse(black_box(octets), &limits)?);
        }
    }
    let decode = (on_processor()? - start) / count;
    let start = on_processor()?;
    for _ in 0..rounds {
        for message in messages {
            black_box(print(black_box(message), encoding)?);
        }
    }
    Ok((decode, (on_processor()? - start) / count))
}

/// Microseconds that this process was on a processor so far.
fn on_processor() -> Result<f64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e3)
}

/// The same of Erlang's megaco.
fn theirs(folder: &str, rounds: u32) -> Option<[(f64, f64); 3]> {
    let out = Command::new("escript").args([SCRIPT, folder, &rounds.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut rows = text.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    });
    Some([rows.next()?, rows.next()?, rows.next()?])
}

fn least(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0.min(b.0), a.1.min(b.1))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("microseconds on a processor for a message, best of 3 rounds");
    let messages = session()?;
    measure(&messages, 20_000, 1_000)?;
    let add = messages.get(2..3).unwrap_or_default();
    measure(add, 100_000, 4_000)
}

fn measure(messages: &[Message], rounds: u32, their_rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("carnet-h248-codec-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    for (n, message) in messages.iter().enumerate() {
        std::fs::write(folder.join(format!("{n:02}.in")), print(message, Encoding::Text(Form::Long))?)?;
        std::fs::write(folder.join(format!("{n:02}.ber")), print(message, Encoding::Binary)?)?;
    }
    let mut best = [(f64::MAX, f64::MAX); 3];
    let mut other: Option<[(f64, f64); 3]> = None;
    for _ in 0..3 {
        for (slot, (encoding, _)) in best.iter_mut().zip(ENCODINGS) {
            *slot = least(*slot, ours(messages, encoding, rounds)?);
        }
        if let Some(round) = theirs(&folder.to_string_lossy(), their_rounds) {
            let mut least_yet = other.unwrap_or([(f64::MAX, f64::MAX); 3]);
            least_yet.iter_mut().zip(round).for_each(|(a, b)| *a = least(*a, b));
            other = Some(least_yet);
        }
    }
    std::fs::remove_dir_all(&folder)?;
    println!("\n{} of the messages", messages.len());
    println!(
        "form   octets  decode  encode  both/s     megaco decode  encode  both/s     ratios of both, decode, encode"
    );
    for (n, (encoding, name)) in ENCODINGS.into_iter().enumerate() {
        let sizes =
            messages.iter().map(|m| print(m, encoding).map(|o| o.len())).collect::<Result<Vec<_>, _>>()?;
        let octets = sizes.iter().sum::<usize>() / messages.len();
        let Some((decode, encode)) = best.get(n).copied() else { continue };
        let rate = 1e6 / (decode + encode);
        print!("{name:<6} {octets:>6}  {decode:>6.2}  {encode:>6.2}  {rate:>9.0}");
        match other.as_ref().and_then(|o| o.get(n)) {
            Some((d, e)) => println!(
                "  {d:>13.2}  {e:>6.2}  {:>9.0}  {:>6.1} {:>6.1} {:>6.1}",
                1e6 / (d + e),
                (d + e) / (decode + encode),
                d / decode,
                e / encode
            ),
            None => println!("  Erlang's megaco is not there"),
        }
    }
    Ok(())
}
