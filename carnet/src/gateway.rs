//! `carnet gateway list|audit`: what the gateways and borders of a running process hold.
//!
//! The process answers at the socket that `[admin]` of its file names. A gateway that runs there is looked
//! at directly; one that a border there owns is asked by that border, over H.248.

use crate::web::socket::{self, Target};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `carnet gateway`.
#[derive(Args)]
pub struct GatewayArgs {
    /// The configuration file of the running process.
    #[arg(short, long, global = true, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Its administration socket, instead of the file.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON: one object of `list`, one object a context of `audit`.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Gateways that run in the process, and gateways that its borders own.
    List,
    /// Contexts and terminations that a gateway holds; asked by a border, with the call of each.
    Audit {
        /// Name of the gateway.
        gateway: String,
        /// The border that is to ask, if several own the gateway, or though it runs in the same process.
        #[arg(long, value_name = "BORDER")]
        by: Option<String>,
        /// First context number to print.
        #[arg(long, default_value_t = 0)]
        from: u32,
        /// How many contexts at most.
        #[arg(long, default_value_t = 1000)]
        most: usize,
    },
}

/// Exit code 0 if there was an answer, 1 if not, and 1 if contexts were found that no call knows.
pub fn run(args: &GatewayArgs) -> ExitCode {
    let outcome = socket::of(args.config.as_deref(), args.socket.as_deref()).and_then(|socket| {
        let get = |target: &Target| socket::client(&socket)?.get(target);
        match &args.what {
            What::List => get(&Target::new("nodes")).map(|answer| {
                print(&if args.json { format!("{answer}\n") } else { listed(&answer) });
                true
            }),
            What::Audit { gateway, by, from, most } => {
                audit(args.json, gateway, by.as_ref(), (*from, *most), &get)
            }
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("carnet gateway: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Goes through the pages; whether every context belongs to a call, as far as that is known.
fn audit(
    json: bool,
    gateway: &str,
    border: Option<&String>,
    (mut from, most): (u32, usize),
    get: &impl Fn(&Target) -> Result<Value, String>,
) -> Result<bool, String> {
    let (mut left, mut stray, mut contexts) = (most, 0usize, 0usize);
    let more = loop {
        let target = Target::new("gateways")
            .part(gateway)
            .part("contexts")
            .with("by", border)
            .with("from", Some(from));
        let answer = get(&target)?;
        let page = answer.get("contexts").and_then(Value::as_array).ok_or("the answer is not understood")?;
        for context in page.iter().take(left) {
            stray += usize::from(context.get("call").is_some_and(Value::is_null));
            print(&if json { format!("{context}\n") } else { context_in_words(context) });
        }
        let taken = page.len().min(left);
        contexts += taken;
        left -= taken;
        match answer.get("next").and_then(Value::as_u64).and_then(|next| u32::try_from(next).ok()) {
            Some(next) if left > 0 => from = next,
            next => break next.is_some() || taken < page.len(),
        }
    };
    if !json {
        print(&format!("{contexts} context{}\n", if contexts == 1 { "" } else { "s" }));
    }
    if more {
        eprintln!("carnet gateway: there are more contexts; --most says how many are printed");
    }
    if stray > 0 {
        eprintln!("carnet gateway: {stray} of them belong to no call of its controller");
    }
    Ok(stray == 0)
}

/// A reader that went away (`| head`) is no reason to complain.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn listed(answer: &Value) -> String {
    let mut out = String::new();
    for gateway in array(answer, "gateways") {
        let _ = write!(
            out,
            "{} ({}): {}",
            text(gateway, "gateway"),
            text(gateway, "role"),
            text(gateway, "state")
        );
        if let Some(controller) = gateway.get("controller").and_then(Value::as_str) {
            let _ = write!(out, " at {controller}");
        }
        let realms: Vec<_> = array(gateway, "realms").iter().filter_map(Value::as_str).collect();
        let (held, most) = (text(gateway, "contexts"), text(gateway, "most_contexts"));
        let _ = writeln!(out, ", {held} of {most} contexts, realms {}", realms.join(", "));
        if let Some(ng) = gateway.get("ng") {
            let sockets: Vec<_> = array(ng, "listen").iter().filter_map(Value::as_str).collect();
            let (calls, waiting) = (text(ng, "calls"), text(ng, "requests"));
            let _ = writeln!(
                out,
                "  steered over ng at {}: {calls} calls, {waiting} requests wait for the gateway",
                sockets.join(", ")
            );
            let counts = ng.get("asked").and_then(Value::as_object).into_iter().flatten();
            let some = counts.filter(|(name, n)| *name != "taken" && n.as_u64().is_some_and(|n| n > 0));
            let some: Vec<_> = some.map(|(why, count)| format!("{why} {count}")).collect();
            if !some.is_empty() {
                let _ = writeln!(out, "  turned away over ng: {}", some.join(", "));
            }
        }
        for (engine, why) in gateway.get("engines").and_then(Value::as_object).into_iter().flatten() {
            let why = why.as_object().into_iter().flatten();
            let all: u64 = why.clone().filter_map(|(_, count)| count.as_u64()).sum();
            let why: Vec<_> = why.map(|(why, count)| format!("{why} {count}")).collect();
            let _ = writeln!(out, "  engine {engine}: {all} streams ({})", why.join(", "));
        }
        for lack in gateway.get("kernel").map_or(&[][..], |kernel| array(kernel, "lacks")) {
            let _ = writeln!(out, "  kernel engine: {}", lack.as_str().unwrap_or_default());
        }
        for realm in realms {
            realm_in_words(&mut out, gateway, realm);
        }
    }
    let owners = array(answer, "borders").iter().map(|owner| (owner, "border"));
    for (owner, name) in owners.chain(array(answer, "conferences").iter().map(|owner| (owner, "conference")))
    {
        let _ = writeln!(out, "{} owns", text(owner, name));
        for gateway in array(owner, "gateways") {
            let _ = write!(out, "  {}: {}", text(gateway, "gateway"), text(gateway, "state"));
            for (member, before, after) in BORDER_COLUMNS {
                match gateway.get(member) {
                    None | Some(Value::Null) => {}
                    Some(_) => {
                        let _ = write!(out, ", {before}{}{after}", text(gateway, member));
                    }
                }
            }
            out.push('\n');
        }
    }
    if out.is_empty() {
        out.push_str("the process has neither gateways nor controllers of any\n");
    }
    out
}

/// How the ports of a realm stand, and whom its pinholes have turned away.
fn realm_in_words(out: &mut String, gateway: &Value, realm: &str) {
    let of = |member: &str| gateway.get(member).and_then(|realms| realms.get(realm));
    if let Some(ports) = of("ports") {
        let (free, used, resting) = (text(ports, "free"), text(ports, "used"), text(ports, "resting"));
        let _ = writeln!(out, "  ports of {realm}: {free} free, {used} in use, {resting} resting");
    }
    let counts = of("turned_away").and_then(Value::as_object).into_iter().flatten();
    let some = counts.filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0));
    let some: Vec<_> = some.map(|(why, count)| format!("{why} {count}")).collect();
    if !some.is_empty() {
        let _ = writeln!(out, "  turned away in {realm}: {}", some.join(", "));
    }
}

/// What is shown of a border's gateway, in order.
const BORDER_COLUMNS: [(&str, &str, &str); 7] = [
    ("profile", "", ""),
    ("version", "version ", ""),
    ("contexts", "contexts ", ""),
    ("outstanding", "requests unanswered ", ""),
    ("silent_ms", "heard ", " ms ago"),
    ("round_trip_ms", "round trip ", " ms"),
    ("refusal", "refused last: ", ""),
];

fn context_in_words(context: &Value) -> String {
    let mut out = format!("context {}", text(context, "context"));
    match context.get("call") {
        Some(Value::String(call)) => {
            let _ = write!(out, "  call {call}");
        }
        Some(_) => out.push_str("  NO CALL"),
        None => {}
    }
    out.push('\n');
    if let Some(why) = context.get("error").and_then(Value::as_str) {
        let _ = writeln!(out, "  not told: {why}");
    }
    for termination in array(context, "terminations") {
        let _ = write!(out, "  {}", text(termination, "id"));
        if let Some(lived) = termination.get("milliseconds").and_then(Value::as_u64) {
            let (received, sent) = (text(termination, "octets_received"), text(termination, "octets_sent"));
            let _ =
                write!(out, "  {}.{} s, {received} octets in, {sent} out", lived / 1000, lived % 1000 / 100);
        }
        out.push('\n');
        for stream in array(termination, "streams") {
            let mode = text(stream, "mode");
            let _ = write!(out, "    {} {mode}  {}", text(stream, "transport"), text(stream, "local"));
            let _ = write!(out, "{}", setup(stream, "local_setup"));
            if stream.get("remote").is_some_and(Value::is_string) {
                let _ = write!(out, "  peer {}{}", text(stream, "remote"), setup(stream, "remote_setup"));
            }
            if stream.get("realm").is_some_and(Value::is_string) {
                let _ = write!(out, "  realm {}", text(stream, "realm"));
            }
            out.push('\n');
            if let Some(engine) = stream.get("engine").and_then(Value::as_str) {
                let _ = writeln!(out, "      moved by the {engine}: {}", text(stream, "engine_reason"));
            }
            if let Some(tls) = stream.get("tls").filter(|tls| tls.is_object()) {
                let _ = writeln!(out, "      {}", tls_in_words(tls));
            }
            if let Some(msrp) = stream.get("msrp").filter(|msrp| msrp.is_object()) {
                let path = msrp.get("path").and_then(Value::as_str);
                let _ = writeln!(
                    out,
                    "      MSRP is rewritten, {}",
                    path.map_or("held: the peer's path is not known".into(), |path| format!(
                        "the peer is {path}"
                    ))
                );
            }
        }
    }
    out
}

fn tls_in_words(tls: &Value) -> String {
    let peer: Vec<_> = array(tls, "peer").iter().filter_map(Value::as_str).collect();
    let peer = match peer.as_slice() {
        [] => "held: the peer's fingerprint is not known".to_owned(),
        known => format!("the peer has {}", known.join(" or ")),
    };
    format!("TLS ends here as the {}, {peer}", text(tls, "role"))
}

fn setup(stream: &Value, member: &str) -> String {
    stream.get(member).and_then(Value::as_str).map(|s| format!(" ({s})")).unwrap_or_default()
}

fn array<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".into(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whom_a_gateway_has_turned_away_is_said_where_there_was_anybody() {
        let gateway = json!({
            "gateway": "agw", "role": "ims-agw", "state": "registered", "contexts": 1, "most_contexts": 9,
            "realms": ["access", "core"],
            "ports": { "access": { "free": 5, "used": 3, "resting": 1 }, "core": { "free": 9, "used": 0, "resting": 0 } },
            "engines": { "kernel": { "passes": 4 }, "relay": { "ends-tls": 2, "elsewhere": 1 } },
            "kernel": { "lacks": ["net.ipv4.ip_forward is not 1"], "carried": 0 },
            "turned_away": { "access": { "filtered": 0, "not_tls": 7, "slow": 2 }, "core": { "filtered": 0 } },
            "ng": { "listen": ["udp:[::1]:2223", "http:[::1]:2225"], "calls": 1, "requests": 0,
                    "asked": { "taken": 9, "strangers": 2, "malformed": 0 } },
        });
        let said = listed(&json!({ "gateways": [gateway] }));
        let ng = "\n  steered over ng at udp:[::1]:2223, http:[::1]:2225: 1 calls, 0 requests wait for the gateway\n  \
                  turned away over ng: strangers 2\n";
        assert!(said.contains(ng), "{said}");
        let engines = "\n  engine kernel: 4 streams (passes 4)\n  engine relay: 3 streams (ends-tls 2, elsewhere 1)\n  \
                       kernel engine: net.ipv4.ip_forward is not 1\n";
        assert!(said.contains(engines), "{said}");
        let access =
            "\n  ports of access: 5 free, 3 in use, 1 resting\n  turned away in access: not_tls 7, slow 2\n";
        assert!(said.contains(access), "{said}");
        assert!(said.ends_with("\n  ports of core: 9 free, 0 in use, 0 resting\n"), "{said}");
    }

    #[test]
    fn what_a_relay_does_besides_is_said_below_the_stream() {
        let stream = |tls: Value, msrp: Value| {
            let stream = json!({
                "transport": "TCP/TLS/MSRP", "mode": "SendReceive", "local": "192.0.2.1:5", "remote": null,
                "tls": tls, "msrp": msrp,
            });
            context_in_words(
                &json!({ "context": 7, "terminations": [{ "id": "ip/1/1/5", "streams": [stream] }] }),
            )
        };
        let head = "context 7\n  ip/1/1/5\n    TCP/TLS/MSRP SendReceive  192.0.2.1:5\n";
        assert_eq!(stream(Value::Null, Value::Null), head);
        let tls = |peer: Value| json!({ "role": "server", "fingerprint": "SHA-256 AA", "peer": peer });
        let known =
            stream(tls(json!(["SHA-256 BB", "SHA-256 CC"])), json!({ "path": "msrps://a.example/s;tcp" }));
        let expected = "      TLS ends here as the server, the peer has SHA-256 BB or SHA-256 CC\n      \
                        MSRP is rewritten, the peer is msrps://a.example/s;tcp\n";
        assert_eq!(known, format!("{head}{expected}"));
        let waiting = stream(tls(json!([])), json!({ "path": null }));
        let expected = "      TLS ends here as the server, held: the peer's fingerprint is not known\n      \
                        MSRP is rewritten, held: the peer's path is not known\n";
        assert_eq!(waiting, format!("{head}{expected}"));
    }
}
