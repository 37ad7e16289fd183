//! `carnet inspect PROTO`: what is in this message or stream, and what is wrong with it.
//!
//! Each protocol has a module with one function, `inspect(input, emit)`, which reads octets as
//! the receiver would, emits one JSON object a message and stops at the first octet that is not
//! acceptable. What is wrong and accepted all the same is in the object's `remarks`.

pub mod bfcp;
pub mod h248;
pub mod mikey;
pub mod msrp;
pub mod ng;
pub mod sdp;
pub mod sip;

use carnet_wire::ParseError;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
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
    Bfcp,
    Ng,
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

/// Exit code 0 if all of the input was acceptable, 1 if not, 2 if there is no such input or it could
/// not be asked for so.
pub fn run(args: &InspectArgs) -> ExitCode {
    let raw = match read(args.file.as_deref(), MAX_INPUT) {
        Ok(raw) => raw,
        Err(message) => {
            eprintln!("carnet inspect: {message}");
            return ExitCode::from(2);
        }
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let input = match octets(args, &raw, MAX_INPUT) {
        Ok(input) => input,
        Err(diagnosis) => return verdict(&raw, Err(diagnosis), &mut out),
    };
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
        Protocol::Bfcp => bfcp::inspect(&input, &mut emit),
        Protocol::Ng => ng::inspect(&input, &mut emit),
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

/// The input as it came, up to one octet more than `most`.
fn read(file: Option<&Path>, most: u64) -> Result<Vec<u8>, String> {
    let mut raw = Vec::new();
    let limit = most.saturating_add(1);
    match file {
        Some(path) if path.as_os_str() != "-" => std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut raw))
            .map_err(|e| format!("{}: {e}", path.display()))?,
        _ => std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut raw)
            .map_err(|e| format!("standard input: {e}"))?,
    };
    Ok(raw)
}

/// The octets that the input stands for. Errors point into the input as it came.
fn octets<'a>(args: &InspectArgs, raw: &'a [u8], most: u64) -> Result<Cow<'a, [u8]>, Diagnosis> {
    if raw.len() as u64 > most {
        let message =
            format!("more than {most} octets; a capture of a whole session belongs in a capture tool");
        return Err(Diagnosis { offset: raw.len() - 1, class: "limit", message });
    }
    if args.hex {
        // Tools write colons between octets as often as spaces.
        let text: Vec<u8> = raw.iter().map(|b| if *b == b':' { b' ' } else { *b }).collect();
        return carnet_wire::hex::decode(&text).map(Cow::Owned).map_err(|e| text_fault(&e, raw.len()));
    }
    if args.base64 {
        let text: Vec<u8> = raw.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        return carnet_wire::base64::decode(&text).map(Cow::Owned).map_err(|e| {
            let mut places = raw.iter().enumerate().filter(|(_, b)| !b.is_ascii_whitespace());
            let at = places.nth(e.at).map_or(raw.len(), |(at, _)| at);
            text_fault(&ParseError::new(at, e.expected), raw.len())
        });
    }
    Ok(Cow::Borrowed(raw))
}

fn text_fault(error: &ParseError, end: usize) -> Diagnosis {
    let class = if error.at >= end { "truncated" } else { "syntax" };
    Diagnosis { offset: error.at, class, message: format!("expected {}", error.expected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(hex: bool, base64: bool) -> InspectArgs {
        InspectArgs { protocol: Protocol::Sip, to: None, hex, base64, file: None }
    }

    #[test]
    fn text_stands_for_octets_and_faults_point_into_the_text() {
        let read = |hex, raw: &str| {
            octets(&args(hex, !hex), raw.as_bytes(), 100)
                .map(Cow::into_owned)
                .map_err(|d| (d.offset, d.class))
        };
        assert_eq!(read(true, "61:62 63\n64"), Ok(b"abcd".to_vec()));
        assert_eq!(read(true, "61:6g"), Err((4, "syntax")));
        assert_eq!(read(true, "61:6"), Err((4, "truncated")));
        assert_eq!(read(false, "YWJj\nZA=="), Ok(b"abcd".to_vec()));
        assert_eq!(read(false, "YW\n\nJ*ZA=="), Err((5, "syntax")));
        assert_eq!(read(false, "YWJjZ\n").unwrap_err().1, "truncated");
    }

    #[test]
    fn what_is_too_long_is_not_cut_in_silence() {
        let fits = octets(&args(false, false), b"abcd", 4);
        assert_eq!(fits.map_err(|d| d.class).unwrap(), b"abcd".as_slice());
        let fault = octets(&args(false, false), b"abcde", 4).unwrap_err();
        assert_eq!((fault.offset, fault.class), (4, "limit"));
    }
}
