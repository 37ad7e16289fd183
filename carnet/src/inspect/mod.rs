//! `carnet inspect PROTO`: what is in this message or stream, and what is wrong with it.
//!
//! Each protocol has a module with one function, `inspect(input, emit)`, which reads octets as
//! the receiver would, emits one JSON object a message and stops at the first octet that is not
//! acceptable.

pub mod h248;
pub mod mikey;
pub mod msrp;
pub mod sdp;
pub mod sip;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `carnet inspect`.
#[derive(Args)]
pub struct InspectArgs {
    /// What the octets are.
    protocol: Protocol,
    /// Write the message again in this form instead of JSON (h248).
    #[arg(long, value_name = "FORM")]
    to: Option<h248::To>,
    /// The input is hexadecimal text.
    #[arg(long, conflicts_with = "base64")]
    hex: bool,
    /// The input is base64 text.
    #[arg(long)]
    base64: bool,
    /// File to read, `-` or nothing for standard input.
    file: Option<PathBuf>,
}

/// The protocols that can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Sip,
    Sdp,
    Msrp,
    Mikey,
    H248,
}

/// Largest input, octets. A capture of a whole session belongs in a capture tool.
const MAX_INPUT: u64 = 256 << 20;

/// The first thing in the input that a receiver would not accept.
#[derive(Debug)]
pub struct Diagnosis {
    /// Where, in octets from the start of the input.
    pub offset: usize,
    /// One word a script can branch on: `syntax`, `limit`, `truncated`, `unsupported` ...
    pub class: &'static str,
    /// For people.
    pub message: String,
}

/// Receives the objects in order.
pub type Emit<'a> = &'a mut dyn FnMut(Value);

/// Exit code 0 if all of the input was acceptable, 1 if not, 2 if it could not be read.
pub fn run(args: &InspectArgs) -> ExitCode {
    let input = match read(args) {
        Ok(input) => input,
        Err(message) => {
            eprintln!("carnet inspect: {message}");
            return ExitCode::from(2);
        }
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(form) = args.to {
        if args.protocol != Protocol::H248 {
            eprintln!("carnet inspect: only h248 has forms to be written in");
            return ExitCode::from(2);
        }
        let converted = h248::convert(&input, form).map(|octets| {
            let _ = out.write_all(&octets);
        });
        return verdict(&input, converted, &mut out);
    }
    let mut emit = |value: Value| {
        // A reader that went away (`| head`) is no reason to complain.
        let _ = writeln!(out, "{value}");
    };
    let outcome = match args.protocol {
        Protocol::Sip => sip::inspect(&input, &mut emit),
        Protocol::Sdp => sdp::inspect(&input, &mut emit),
        Protocol::Msrp => msrp::inspect(&input, &mut emit),
        Protocol::Mikey => mikey::inspect(&input, &mut emit),
        Protocol::H248 => h248::inspect(&input, &mut emit),
    };
    verdict(&input, outcome, &mut out)
}

fn verdict(input: &[u8], outcome: Result<(), Diagnosis>, out: &mut impl std::io::Write) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Diagnosis { offset, class, message }) => {
            let error = json!({"error": {"offset": offset, "class": class, "message": message}});
            let _ = writeln!(out, "{error}");
            let _ = out.flush();
            eprintln!("{}", carnet_wire::caret(input, offset, &message));
            ExitCode::FAILURE
        }
    }
}

fn read(args: &InspectArgs) -> Result<Vec<u8>, String> {
    let mut raw = Vec::new();
    match &args.file {
        Some(path) if path.as_os_str() != "-" => std::fs::File::open(path)
            .and_then(|file| file.take(MAX_INPUT).read_to_end(&mut raw))
            .map_err(|e| format!("{}: {e}", path.display()))?,
        _ => std::io::stdin()
            .lock()
            .take(MAX_INPUT)
            .read_to_end(&mut raw)
            .map_err(|e| format!("standard input: {e}"))?,
    };
    if args.hex {
        return carnet_wire::hex::decode(&raw).map_err(|e| format!("not hexadecimal: {e}"));
    }
    if args.base64 {
        raw.retain(|b| !b.is_ascii_whitespace());
        return carnet_wire::base64::decode(&raw).map_err(|e| format!("not base64: {e}"));
    }
    Ok(raw)
}
