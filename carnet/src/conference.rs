//! `carnet conference list|show|kick|invite|close`: the rooms of a running process.
//!
//! The process answers at the socket that `[admin]` of its file names.

use crate::web::socket::{self, Target};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `carnet conference`.
#[derive(Args)]
pub struct ConferenceArgs {
    /// The configuration file of the running process.
    #[arg(short, long, global = true, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Its administration socket, instead of the file.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON: one object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The rooms, and how many are in each.
    List,
    /// Who is in a room, whether all is sealed, and who has its floors.
    Show {
        /// The room's URI.
        uri: String,
    },
    /// Put a member out of a room.
    Kick {
        /// The room's URI.
        uri: String,
        /// The member's URI.
        member: String,
    },
    /// Have somebody called into a room.
    Invite {
        /// The room's URI.
        uri: String,
        /// Whom.
        member: String,
    },
    /// End a room towards all its members. A room of the file is there again at once, empty.
    Close {
        /// The room's URI.
        uri: String,
    },
}

/// Exit code 0 if there was an answer and it was done, 1 if not.
pub fn run(args: &ConferenceArgs) -> ExitCode {
    let answer = socket::of(args.config.as_deref(), args.socket.as_deref())
        .and_then(|socket| socket::client(&socket).and_then(|client| asked(&args.what, &client)));
    match answer {
        Ok(answer) if args.json => print(&format!("{answer}\n")),
        Ok(answer) => print(&match &args.what {
            What::List => listed(&answer),
            What::Show { .. } => shown(&answer),
            What::Kick { uri, member } => format!("{member} is put out of {uri}\n"),
            What::Invite { uri, member } => format!("{member} is called into {uri}\n"),
            What::Close { uri } => format!("{uri} is closed\n"),
        }),
        Err(message) => {
            eprintln!("carnet conference: {message}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn asked(what: &What, client: &socket::Client<'_>) -> Result<Value, String> {
    let room = |uri: &str| Target::new("rooms").part(&named(uri));
    let members = |uri: &str| room(uri).part("members");
    let nothing = None::<&Value>;
    match what {
        What::List => client.get(&Target::new("rooms")),
        What::Show { uri } => client.get(&room(uri)),
        What::Kick { uri, member } => client.put(Method::DELETE, &members(uri).part(&named(member)), nothing),
        What::Invite { uri, member } => {
            client.put(Method::POST, &members(uri), Some(&json!({ "uri": named(member) })))
        }
        What::Close { uri } => client.put(Method::DELETE, &room(uri), nothing),
    }
}

/// `staff@conf.example` is enough.
fn named(uri: &str) -> String {
    if uri.contains(':') { uri.to_owned() } else { format!("sip:{uri}") }
}

/// A reader that went away (`| head`) is no reason to complain.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn listed(answer: &Value) -> String {
    let mut out = String::new();
    for server in array(answer, "conferences") {
        for room in array(server, "rooms") {
            line(&mut out, room, room.get("members").and_then(Value::as_u64).unwrap_or_default());
        }
    }
    if out.is_empty() {
        out.push_str("no rooms\n");
    }
    out
}

/// `sip:staff@conf.example  "The week"  3 members, sealed, on mrfp-1 (context 7)`
fn line(out: &mut String, room: &Value, members: u64) {
    let _ = write!(out, "{}", text(room, "room"));
    if let Some(subject) = room.get("subject").and_then(Value::as_str) {
        let _ = write!(out, "  \"{subject}\"");
    }
    let unsealed = room.get("unsealed").and_then(Value::as_u64).unwrap_or_default();
    let seal = match (room.get("sealed").and_then(Value::as_bool), unsealed) {
        (Some(true), _) => "sealed".to_owned(),
        (_, 0) => "open".to_owned(),
        (_, n) => format!("{n} NOT SEALED"),
    };
    let _ = write!(out, "  {members} member{}, {seal}", if members == 1 { "" } else { "s" });
    if room.get("gateway").is_some_and(Value::is_string) {
        let _ = write!(out, ", on {} (context {})", text(room, "gateway"), text(room, "context"));
    }
    out.push('\n');
}

fn shown(room: &Value) -> String {
    let mut out = String::new();
    let members = array(room, "members");
    line(&mut out, room, members.len() as u64);
    for member in members {
        let _ = write!(out, "  {:>5}  {}", text(member, "user"), text(member, "member"));
        if let Some(nickname) = member.get("nickname").and_then(Value::as_str) {
            let _ = write!(out, " \"{nickname}\"");
        }
        let is = |what: &str| member.get(what).and_then(Value::as_bool).unwrap_or_default();
        if is("owner") {
            out.push_str(", owner");
        }
        if text(member, "state") != "in" {
            let _ = write!(out, ", {}", text(member, "state"));
        }
        if is("stalled") {
            out.push_str(", does not read");
        }
        if !is("sealed") {
            out.push_str(", NOT SEALED");
        }
        for media in array(member, "media") {
            if media.get("sealed_with").is_some_and(Value::is_string) {
                let _ = write!(out, ", {} {}", text(media, "media"), text(media, "sealed_with"));
            }
        }
        out.push('\n');
    }
    let name = |user: &Value| {
        let known = members.iter().find(|member| member.get("user") == Some(user));
        known.map_or_else(|| user.to_string(), |member| text(member, "member"))
    };
    for floor in array(room, "floors") {
        let names = |key: &str| array(floor, key).iter().map(name).collect::<Vec<_>>().join(", ");
        let (holders, waiting) = (names("holders"), names("waiting"));
        let _ = write!(out, "  floor {}: ", text(floor, "floor"));
        out.push_str(if holders.is_empty() { "free" } else { &holders });
        if !waiting.is_empty() {
            let _ = write!(out, "; next {waiting}");
        }
        out.push('\n');
    }
    out
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
    fn a_room_is_shown_with_who_is_not_sealed() {
        let room = json!({
            "room": "sip:staff@conf.example", "subject": "The week", "sealed": false, "unsealed": 1,
            "gateway": "mrfp-1", "context": 7,
            "members": [
                {"member": "sip:alice@a.example", "user": 1, "nickname": "Al", "state": "in", "owner": true,
                 "sealed": true, "stalled": false,
                 "media": [{"media": "message", "sealed_with": "TLSv1.3 TLS_AES_128_GCM_SHA256"}]},
                {"member": "sip:bob@b.example", "user": 2, "nickname": null, "state": "called-back",
                 "owner": false, "sealed": false, "stalled": true, "media": []},
            ],
            "floors": [{"floor": 1, "holders": [2], "waiting": [1, 9]}, {"floor": 2, "holders": [], "waiting": []}],
        });
        let expected = "sip:staff@conf.example  \"The week\"  2 members, 1 NOT SEALED, on mrfp-1 (context 7)\n\
                        \x20     1  sip:alice@a.example \"Al\", owner, message TLSv1.3 TLS_AES_128_GCM_SHA256\n\
                        \x20     2  sip:bob@b.example, called-back, does not read, NOT SEALED\n\
                        \x20 floor 1: sip:bob@b.example; next sip:alice@a.example, 9\n\
                        \x20 floor 2: free\n";
        assert_eq!(shown(&room), expected);
        let list = json!({"conferences": [{"rooms": [{"room": "sip:a@b", "members": 1, "sealed": true}]}]});
        assert_eq!(listed(&list), "sip:a@b  1 member, sealed\n");
        assert_eq!(listed(&json!({"conferences": []})), "no rooms\n");
        assert_eq!(named("staff@conf.example"), "sip:staff@conf.example");
    }
}
