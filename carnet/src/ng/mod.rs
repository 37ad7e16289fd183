//! `carnet ng`: asks a steered gateway, or an rtpengine, as a SIP server would: for people who want to see
//! what becomes of a description, and for scripts that watch.

mod way;
mod words;

use bytes::Bytes;
use carnet_ng::{Form, Value};
use clap::{Args, Subcommand};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use way::{Server, Trust, Way};
use zeroize::Zeroizing;

/// Octets of a description: what fits into a datagram with the rest of a request, many times over.
const MAX_SDP: u64 = 1 << 20;

/// Arguments of `carnet ng`.
#[derive(Args)]
pub struct NgArgs {
    /// Where it listens: udp:HOST:PORT, tcp:HOST:PORT, tls:HOST:PORT, http://HOST:PORT or
    /// https://HOST:PORT.
    #[arg(
        long,
        global = true,
        env = "CARNET_NG",
        value_name = "ADDRESS",
        default_value = "udp:127.0.0.1:2223"
    )]
    server: Server,
    /// A file with the token that it asks for; never sent by UDP.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the authorities that vouch for its certificate; those of this host if absent.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with a certificate to show to it.
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[arg(long, global = true, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Seconds to wait for an answer.
    #[arg(long, global = true, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Print the whole answer as one JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Is anybody there?
    Ping,
    /// The calls there are.
    List {
        /// How many at most.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// What is known of a call.
    Query {
        /// The Call-ID.
        call_id: String,
        /// One dialog of it.
        #[arg(long)]
        from_tag: Option<String>,
        /// One dialog of it.
        #[arg(long)]
        to_tag: Option<String>,
    },
    /// How much has been going on.
    Statistics,
    /// Has an offer rewritten, and prints it.
    Offer(Description),
    /// Has an answer rewritten, and prints it.
    Answer(Description),
    /// Ends a call, or one dialog or branch of it, and prints what is told of it.
    Delete {
        /// The Call-ID.
        call_id: String,
        /// The one who ends it.
        #[arg(long)]
        from_tag: Option<String>,
        /// The other one.
        #[arg(long)]
        to_tag: Option<String>,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Args)]
struct Description {
    /// The file with the description; standard input if absent or `-`.
    file: Option<PathBuf>,
    /// The Call-ID.
    #[arg(long)]
    call_id: String,
    /// Tag of the one who made the offer.
    #[arg(long)]
    from_tag: String,
    /// Tag of the one who answers.
    #[arg(long)]
    to_tag: Option<String>,
    /// Interfaces: that of whose description it is, and that of the other one.
    #[arg(long, value_name = "INTERFACE,INTERFACE")]
    direction: Option<String>,
    /// Where the SIP message came from: he is behind a NAT.
    #[arg(long, value_name = "ADDRESS")]
    received_from: Option<std::net::IpAddr>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// One branch of a request that was forked.
    #[arg(long, value_name = "BRANCH")]
    via_branch: Option<String>,
    /// A flag, `trust-address` for instance; may be repeated.
    #[arg(long = "flag", value_name = "FLAG")]
    flags: Vec<String>,
    /// Any other key of the request, `media address=192.0.2.1`; may be repeated.
    #[arg(long = "with", value_name = "KEY=VALUE", value_parser = pair)]
    with: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Exit code 0 if it was done, 1 if it was refused, 2 if nobody answered or the question makes no sense.
pub fn run(args: &NgArgs) -> ExitCode {
    match ask(args) {
        Ok(answer) => told(args, &answer),
        Err(message) => {
            eprintln!("carnet ng: {message}");
            ExitCode::from(2)
        }
    }
}

fn ask(args: &NgArgs) -> Result<Value, String> {
    let request = request(&args.what)?;
    let token = args.token_file.as_deref().map(token).transpose()?;
    let pair = args.certificate.as_deref().zip(args.key.as_deref());
    let trust = Trust { ca: args.ca.clone(), shown: pair.map(|(c, k)| (c.to_owned(), k.to_owned())) };
    let way = Way { server: &args.server, trust, token, wait: Duration::from_secs(args.timeout) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(way.exchange(request))
}

fn token(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// The dictionary that asks for it.
fn request(what: &What) -> Result<Value, String> {
    let mut entries = Vec::new();
    let mut put = |key: &str, value: Value| entries.push((Bytes::copy_from_slice(key.as_bytes()), value));
    let text = Value::text;
    match what {
        What::Ping => put("command", text("ping")),
        What::Statistics => put("command", text("statistics")),
        What::List { limit } => {
            put("command", text("list"));
            if let Some(limit) = limit {
                put("limit", Value::Integer((*limit).into()));
            }
        }
        What::Query { call_id, from_tag, to_tag } => {
            put("command", text("query"));
            put("call-id", text(call_id));
            tags(&mut put, from_tag.as_deref(), to_tag.as_deref());
        }
        What::Delete { call_id, from_tag, to_tag, options } => {
            put("command", text("delete"));
            put("call-id", text(call_id));
            tags(&mut put, from_tag.as_deref(), to_tag.as_deref());
            put_options(&mut put, options);
        }
        What::Offer(description) | What::Answer(description) => {
            let is_offer = matches!(what, What::Offer(_));
            if !is_offer && description.to_tag.is_none() {
                return Err("an answer has --to-tag".into());
            }
            put("command", text(if is_offer { "offer" } else { "answer" }));
            put("call-id", text(&description.call_id));
            tags(&mut put, Some(&description.from_tag), description.to_tag.as_deref());
            put("sdp", Value::String(read(description.file.as_deref())?.into()));
            // Else a lack of room is told as an error.
            put("supports", Value::texts(["load limit"]));
            if let Some(direction) = &description.direction {
                let (from, to) =
                    direction.split_once(',').ok_or("--direction names two interfaces: FROM,TO")?;
                put("direction", Value::texts([from.trim(), to.trim()]));
            }
            if let Some(address) = description.received_from {
                let family = if address.is_ipv4() { "IP4" } else { "IP6" };
                put("received-from", Value::texts([family, &address.to_string()]));
                put(
                    "flags",
                    Value::texts(std::iter::once("SIP-source-address").chain(flags(&description.options))),
                );
            } else if !description.options.flags.is_empty() {
                put("flags", Value::texts(flags(&description.options)));
            }
            put_others(&mut put, &description.options);
        }
    }
    Ok(Value::Dictionary(entries))
}

fn flags(options: &Options) -> impl Iterator<Item = &str> {
    options.flags.iter().map(String::as_str)
}

fn tags(put: &mut impl FnMut(&str, Value), from: Option<&str>, to: Option<&str>) {
    for (key, tag) in [("from-tag", from), ("to-tag", to)] {
        if let Some(tag) = tag {
            put(key, Value::text(tag));
        }
    }
}

fn put_options(put: &mut impl FnMut(&str, Value), options: &Options) {
    if !options.flags.is_empty() {
        put("flags", Value::texts(flags(options)));
    }
    put_others(put, options);
}

fn put_others(put: &mut impl FnMut(&str, Value), options: &Options) {
    if let Some(branch) = &options.via_branch {
        put("via-branch", Value::text(branch));
    }
    for (key, value) in &options.with {
        // `replace=origin,session-connection` is a list, as rtpengine takes it.
        match (key.as_str(), value.contains(',')) {
            ("replace" | "flags", _) => put(key, Value::texts(value.split(',').map(str::trim))),
            _ => put(key, Value::text(value)),
        }
    }
}

fn read(file: Option<&Path>) -> Result<Vec<u8>, String> {
    let mut raw = Vec::new();
    let file = file.filter(|path| path.as_os_str() != "-");
    let read = match file {
        Some(path) => std::fs::File::open(path).and_then(|file| file.take(MAX_SDP).read_to_end(&mut raw)),
        None => std::io::stdin().lock().take(MAX_SDP).read_to_end(&mut raw),
    };
    let place = file.map_or("standard input".to_owned(), |path| path.display().to_string());
    match read.map_err(|e| format!("{place}: {e}"))? {
        0 => Err(format!("{place}: there is no description")),
        _ => Ok(raw),
    }
}

/// Prints an answer: what was asked for on standard output, remarks on standard error.
fn told(args: &NgArgs, answer: &Value) -> ExitCode {
    let result = answer.text_of("result").unwrap_or_default();
    let done = matches!(result, "ok" | "pong");
    if args.json {
        print(&[&Form::Json.write(answer)[..], b"\n"].concat());
        return if done { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if !done {
        let why = answer.text_of("error-reason").or_else(|| answer.text_of("message"));
        eprintln!("carnet ng: {result}: {}", why.unwrap_or("no reason is given"));
        remarks(answer);
        return ExitCode::FAILURE;
    }
    match &args.what {
        What::Ping => print(b"pong\n"),
        What::Offer(_) | What::Answer(_) => {
            print(answer.get("sdp").and_then(Value::as_octets).map(AsRef::as_ref).unwrap_or_default());
            remarks(answer);
        }
        What::List { .. } => match answer.get("calls") {
            Some(Value::List(calls)) => {
                let lines = calls.iter().filter_map(Value::as_text).map(|call| format!("{call}\n"));
                print(lines.collect::<String>().as_bytes());
            }
            _ => print(words::tree(answer).as_bytes()),
        },
        What::Query { .. } | What::Statistics | What::Delete { .. } => {
            print(words::tree(answer).as_bytes());
            remarks(answer);
        }
    }
    ExitCode::SUCCESS
}

/// What is said besides: a warning, and what became of each line.
fn remarks(answer: &Value) {
    if let Some(warning) = answer.text_of("warning") {
        eprintln!("carnet ng: {warning}");
    }
    let Some(Value::List(lines)) = answer.get("carnet") else { return };
    for line in lines {
        let number = line.get("line").map(|n| words::scalar(n).unwrap_or_default()).unwrap_or_default();
        let (decision, reason) = (line.text_of("decision"), line.text_of("reason"));
        eprintln!(
            "carnet ng: line {number}: {}{}",
            decision.unwrap_or("?"),
            reason.map(|reason| format!(", {reason}")).unwrap_or_default()
        );
    }
}

/// A reader that went away (`| head`) is no reason to complain.
fn print(octets: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(octets).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        ng: NgArgs,
    }

    fn asked(arguments: &[&str]) -> Result<String, String> {
        let whole = Whole::try_parse_from(["ng"].iter().chain(arguments)).map_err(|e| e.to_string())?;
        let request = request(&whole.ng.what)?.to_bytes();
        Ok(String::from_utf8_lossy(&request).into_owned())
    }

    #[test]
    fn requests_are_those_of_a_sip_server() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sdp");
        std::fs::write(&file, "v=0\r\n").unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(asked(&["ping"]).unwrap(), "d7:command4:pinge");
        assert_eq!(asked(&["list", "--limit", "5"]).unwrap(), "d7:command4:list5:limiti5ee");
        assert_eq!(
            asked(&["delete", "c", "--from-tag", "a", "--via-branch", "z", "--flag", "fatal"]).unwrap(),
            "d7:command6:delete7:call-id1:c8:from-tag1:a5:flagsl5:fatale10:via-branch1:ze"
        );
        let more = ["--direction", "in,out", "--received-from", "192.0.2.1", "--flag", "strict-source"];
        let more = [&["offer", "--call-id", "c", "--from-tag", "a", file][..], &more].concat();
        assert_eq!(
            asked(&[&more[..], &["--with", "replace=origin,username"]].concat()).unwrap(),
            "d7:command5:offer7:call-id1:c8:from-tag1:a3:sdp5:v=0\r\n8:supportsl10:load limite9:directionl2:in3:oute\
             13:received-froml3:IP49:192.0.2.1e5:flagsl18:SIP-source-address13:strict-sourcee\
             7:replacel6:origin8:usernameee"
        );
        let answer = ["answer", "--call-id", "c", "--from-tag", "a", file];
        assert!(asked(&answer).unwrap_err().contains("--to-tag"));
        assert!(asked(&["offer", "--call-id", "c", "--from-tag", "a", "/no/such"]).is_err());
        assert!(asked(&["--server", "127.0.0.1:2223", "ping"]).is_err());
        assert!(asked(&["offer", "--with", "x", "--call-id", "c", "--from-tag", "a", file]).is_err());
    }
}
