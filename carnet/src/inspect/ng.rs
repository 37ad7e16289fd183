//! `carnet inspect ng`: the requests and answers between a SIP server and a media proxy, as of one datagram or
//! one direction of a connection, in bencode or JSON ("The NG Control Protocol" of rtpengine).
//!
//! A message without a cookie, as `ng-plain` over HTTP and WebSocket has it, is told by its first octets. The
//! options of a request are those that Carnet's gateway understands; `inapplicable` and `unknown` are what it
//! would say of the others. A message that is sound but no request and no answer is described and has the
//! trouble in `remarks`. A token is not shown.

use super::{Diagnosis, Emit};
use bytes::Bytes;
use carnet_ng::bencode::is_secret;
use carnet_ng::options::{AddressFamily, Msrp, SideOptions};
use carnet_ng::{Error, Form, Frames, Limits, Message, Options, Request, Response, Value};
use serde_json::{Map, Value as Json, json};

/// Reads the messages in `input` in order.
pub fn inspect(input: &[u8], emit: Emit<'_>) -> Result<(), Diagnosis> {
    let blanks = input.iter().take_while(|octet| octet.is_ascii_whitespace()).count();
    let first = input.get(blanks..).unwrap_or_default();
    if has_no_cookie(first) {
        let octets = Bytes::copy_from_slice(first);
        let (form, body) =
            Form::parse(&octets, &Limits::default()).map_err(|e| diagnosis(&e, blanks, input.len()))?;
        emit(describe(None, form, &body, blanks, octets.len()));
        return Ok(());
    }
    let mut frames = Frames::new(usize::MAX);
    frames.push(input);
    while let Some(next) = frames.next_message() {
        let left = frames.waiting();
        let octets = next.map_err(|error| diagnosis(&error, input.len() - left, input.len()))?;
        let start = input.len() - left - octets.len();
        let message =
            Message::parse(&octets, &Limits::default()).map_err(|e| diagnosis(&e, start, input.len()))?;
        let cookie = String::from_utf8_lossy(&message.cookie);
        emit(describe(Some(&cookie), message.form, &message.body, start, octets.len()));
    }
    match frames.waiting() {
        0 => Ok(()),
        _ => {
            let message = "expected the rest of the message".to_owned();
            Err(Diagnosis { offset: input.len(), class: "truncated", message })
        }
    }
}

/// A dictionary begins at once. A cookie with a colon behind `d` and digits would be taken for one; nobody
/// has such.
fn has_no_cookie(input: &[u8]) -> bool {
    match input.split_first() {
        Some((b'{', _)) => true,
        Some((b'd', rest)) => {
            let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
            matches!((digits, rest.get(digits)), (0, Some(b'e')) | (1.., Some(b':')))
        }
        _ => false,
    }
}

fn diagnosis(error: &Error, start: usize, end: usize) -> Diagnosis {
    let offset = match error {
        Error::Syntax(error) => start + error.at,
        _ => start,
    };
    let class = match error {
        Error::Syntax(_) if offset >= end => "truncated",
        Error::Syntax(error) if error.expected.contains("limit") => "limit",
        _ => "syntax",
    };
    Diagnosis { offset, class, message: error.to_string() }
}

fn describe(cookie: Option<&str>, form: Form, body: &Value, offset: usize, length: usize) -> Json {
    let mut object = Map::new();
    let mut remarks = Vec::new();
    let mut put = |name: &str, value: Json| object.insert(name.to_owned(), value);
    put("offset", offset.into());
    put("length", length.into());
    put("cookie", cookie.into());
    put("form", if form == Form::Json { "json" } else { "bencode" }.into());
    if body.get("result").is_some() {
        put("kind", "answer".into());
        if let Err(error) = Response::of(body) {
            remarks.push(error.to_string());
        }
    } else {
        put("kind", "request".into());
        match Request::of(body) {
            Err(error) => remarks.push(error.to_string()),
            Ok(request) => match request.options() {
                Err(error) => remarks.push(error.to_string()),
                Ok(understood) => {
                    put("options", options(&understood));
                    put("inapplicable", understood.inapplicable.into());
                    put("unknown", understood.unknown.into());
                }
            },
        }
    }
    let mut text = true;
    put("body", json_of(body, &mut text));
    if !text {
        remarks.push("there are octets that are no UTF-8; they are shown as U+FFFD".to_owned());
    }
    if !remarks.is_empty() {
        put("remarks", remarks.into());
    }
    object.into()
}

/// The dictionary as it came, but for a token. `text` becomes false where octets are no UTF-8.
fn json_of(value: &Value, text: &mut bool) -> Json {
    let mut shown = |octets: &[u8]| {
        *text &= std::str::from_utf8(octets).is_ok();
        String::from_utf8_lossy(octets).into_owned()
    };
    match value {
        Value::Integer(n) => (*n).into(),
        Value::String(octets) => shown(octets).into(),
        Value::List(values) => values.iter().map(|value| json_of(value, text)).collect(),
        Value::Dictionary(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let hidden = is_secret(key).then(|| "hidden".into());
                let shown = hidden.unwrap_or_else(|| json_of(value, text));
                // Of a key that stands twice the first counts.
                object.entry(shown_key(key, text)).or_insert(shown);
            }
            object.into()
        }
    }
}

fn shown_key(key: &[u8], text: &mut bool) -> String {
    *text &= std::str::from_utf8(key).is_ok();
    String::from_utf8_lossy(key).into_owned()
}

/// What was asked for, of what means something here.
fn options(options: &Options) -> Json {
    let Options {
        via_branch,
        label,
        family,
        direction: (from, to),
        received_from,
        trust_address,
        strict_source,
        media_address,
        tos,
        delete_delay,
        replace,
        fatal,
        limit,
        offerer,
        answerer,
        inapplicable: _,
        unknown: _,
    } = options;
    let family = family.map(|family| match family {
        AddressFamily::Ip4 => "IP4",
        AddressFamily::Ip6 => "IP6",
    });
    let replaced = [
        ("origin", replace.origin),
        ("session-connection", replace.session_connection),
        ("username", replace.username),
        ("session-name", replace.session_name),
        ("SDP-version", replace.sdp_version),
    ];
    let replaced: Vec<_> = replaced.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
    let all = [
        ("via-branch", json!(via_branch)),
        ("label", json!(label)),
        ("address-family", json!(family)),
        ("from-interface", json!(from)),
        ("to-interface", json!(to)),
        ("received-from", json!(received_from)),
        ("trust-address", json!(trust_address)),
        ("strict-source", json!(strict_source.then_some(true))),
        ("media-address", json!(media_address)),
        ("TOS", json!(tos)),
        ("delete-delay", json!(delete_delay.map(|delay| delay.as_secs()))),
        ("replace", json!(Some(replaced).filter(|all| !all.is_empty()))),
        ("fatal", json!(fatal.then_some(true))),
        ("limit", json!(limit)),
    ];
    let said = all.into_iter().map(|(name, value)| (name.to_owned(), value));
    let sides = side("offerer", offerer).chain(side("answerer", answerer));
    Json::Object(said.chain(sides).filter(|(_, value)| !value.is_null()).collect())
}

fn side(who: &str, options: &SideOptions) -> impl Iterator<Item = (String, Json)> {
    let msrp = options.msrp.map(|msrp| match msrp {
        Msrp::Cema => "cema",
        Msrp::Sessmatch => "sessmatch",
        Msrp::Plain => "plain",
    });
    let all = [("nat", json!(options.nat)), ("e2ae", json!(options.e2ae)), ("msrp", json!(msrp))];
    all.map(|(name, value)| (format!("{who}-{name}"), value)).into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> (Vec<Json>, Result<(), (usize, &'static str)>) {
        let mut objects = Vec::new();
        let outcome = inspect(input, &mut |object| objects.push(object));
        (objects, outcome.map_err(|fault| (fault.offset, fault.class)))
    }

    #[test]
    fn messages_follow_each_other_in_both_forms() {
        let (objects, outcome) =
            all(b"5_1 d7:command5:offer7:call-id1:c8:from-tag1:a3:sdp5:v=0\r\n5:token4:word\
              10:rtpp-flags56:trust-address TOS=184 record-call zap offerer-msrp=plaine\n\
              5_1 {\"result\":\"ok\",\"sdp\":\"v=0\\r\\n\"}");
        assert_eq!(outcome, Ok(()));
        assert_eq!(objects.len(), 2);
        let offer = &objects[0];
        assert_eq!(
            (&offer["cookie"], &offer["form"], &offer["kind"]),
            (&"5_1".into(), &"bencode".into(), &"request".into())
        );
        assert_eq!(offer["options"], json!({"trust-address": true, "TOS": 184, "offerer-msrp": "plain"}));
        assert_eq!((&offer["inapplicable"], &offer["unknown"]), (&json!(["record-call"]), &json!(["zap"])));
        assert_eq!((&offer["body"]["sdp"], &offer["body"]["token"]), (&"v=0\r\n".into(), &"hidden".into()));
        assert!(offer.get("remarks").is_none(), "{offer}");
        let answer = &objects[1];
        let place = offer["length"].as_u64().unwrap() + 1;
        assert_eq!((&answer["offset"], &answer["length"]), (&place.into(), &35.into()));
        assert_eq!((&answer["kind"], &answer["form"]), (&"answer".into(), &"json".into()));
        assert_eq!(answer["body"], json!({"result": "ok", "sdp": "v=0\r\n"}));
    }

    #[test]
    fn a_message_may_have_no_cookie() {
        for input in [&b" {\"command\":\"ping\"}"[..], b"d7:command4:pinge"] {
            let (objects, outcome) = all(input);
            assert_eq!(outcome, Ok(()));
            assert_eq!(
                (&objects[0]["cookie"], &objects[0]["body"]["command"]),
                (&Json::Null, &"ping".into())
            );
        }
        assert_eq!(all(b"de").0.len(), 1);
        assert_eq!(all(b"d7 d7:command4:pinge").0[0]["cookie"], "d7");
        assert_eq!(all(b"d1:a1:b1:a1:ce").0[0]["body"]["a"], "b");
    }

    #[test]
    fn what_is_sound_and_no_request_has_remarks() {
        let remark = |input: &[u8]| all(input).0[0]["remarks"][0].as_str().unwrap_or_default().to_owned();
        assert!(remark(b"1 de").contains("command"));
        assert!(remark(b"1 d7:command10:play mediae").contains("RTP"));
        assert!(remark(b"1 d7:command4:ping3:TOS1:xe").contains("TOS"));
        assert!(remark(b"1 d6:result5:maybee").contains("result"));
        assert!(remark(b"1 d7:command4:ping5:label1:\xffe").contains("label"));
        assert!(remark(b"1 d7:command4:ping3:sdp1:\xffe").contains("UTF-8"));
    }

    #[test]
    fn what_is_no_message_is_pointed_at() {
        for (input, at, class) in [
            (&b"1 d7:command4:pinge2 x"[..], 21, "syntax"),
            (b"1 d7:command4:pinge2 d7:comm", 28, "truncated"),
            (b"1 {\"a\":1.5}", 7, "syntax"),
            (b"{\"a\":", 5, "truncated"),
            (b"nocookie", 8, "truncated"),
            (b"1 d1:ai01ee", 7, "syntax"),
            (b"\x01", 0, "syntax"),
        ] {
            assert_eq!(all(input).1, Err((at, class)), "{}", input.escape_ascii());
        }
        let deep = [&b"1 d1:a"[..], &b"l".repeat(40), &b"e".repeat(41)].concat();
        assert_eq!(all(&deep).1.unwrap_err().1, "limit");
        assert_eq!(all(b"").1, Ok(()));
    }
}
