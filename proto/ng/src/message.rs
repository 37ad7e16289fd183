//! Messages: a cookie and a dictionary.

use crate::bencode::{Entries, Limits, Value};
use crate::json;
use bytes::Bytes;
use carnet_wire::ParseError;
use std::fmt;

/// Longest cookie taken. Ours have 16 octets; nothing limits those of others.
pub(crate) const MAX_COOKIE: usize = 128;

/// A datagram that is not a message, or a message that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No cookie in front: nobody can be answered.
    #[error("there is no cookie of at most {MAX_COOKIE} visible octets and a blank")]
    NoCookie,
    /// What follows the cookie is no bencode.
    #[error("expected {}", .0.expected)]
    Syntax(ParseError),
    /// It is not a dictionary with this entry.
    #[error("`{0}` is missing or not what it should be")]
    Lacks(&'static str),
    /// An option that is not of its kind.
    #[error("`{key}` is not {expected}")]
    Wrong {
        /// As written.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A command that nobody has.
    #[error("Unrecognized command: {0}")]
    Unrecognized(String),
    /// A command of rtpengine that means nothing for TCP media.
    #[error("`{0}` is for RTP: media over TCP has nothing of that kind")]
    OnlyRtp(String),
}

/// How a dictionary is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// BEP 3.
    #[default]
    Bencode,
    /// RFC 8259.
    Json,
}

impl Form {
    /// Reads a dictionary of either form, told apart by its first octet.
    ///
    /// # Errors
    /// [`Error::Syntax`]
    pub fn parse(octets: &Bytes, limits: &Limits) -> Result<(Self, Value), Error> {
        let first = octets.iter().find(|b| !b.is_ascii_whitespace());
        match first == Some(&b'{') {
            true => json::parse(octets, limits).map(|value| (Self::Json, value)),
            false => Value::parse(octets, limits).map(|value| (Self::Bencode, value)),
        }
        .map_err(Error::Syntax)
    }

    /// Writes a dictionary.
    pub fn write(self, value: &Value) -> Bytes {
        match self {
            Self::Bencode => value.to_bytes(),
            Self::Json => {
                let mut out = Vec::new();
                json::write(value, &mut out);
                out.into()
            }
        }
    }
}

/// A cookie and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Names the request; the answer repeats it.
    pub cookie: Bytes,
    /// How the dictionary is written; the answer is written so too.
    pub form: Form,
    /// A dictionary.
    pub body: Value,
}

impl Message {
    /// A message in bencode.
    pub fn new(cookie: Bytes, body: Value) -> Self {
        Self { cookie, form: Form::default(), body }
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(datagram: &Bytes, limits: &Limits) -> Result<Self, Error> {
        let window = datagram.get(..datagram.len().min(MAX_COOKIE + 1)).unwrap_or_default();
        let blank = window.iter().position(|b| *b == b' ').ok_or(Error::NoCookie)?;
        let cookie = datagram.slice(..blank);
        if cookie.is_empty() || !cookie.iter().all(u8::is_ascii_graphic) {
            return Err(Error::NoCookie);
        }
        let shifted = |error| match error {
            Error::Syntax(e) => Error::Syntax(ParseError::new(e.at + blank + 1, e.expected)),
            other => other,
        };
        let (form, body) = Form::parse(&datagram.slice(blank + 1..), limits).map_err(shifted)?;
        Ok(Self { cookie, form, body })
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = self.cookie.to_vec();
        out.push(b' ');
        out.extend_from_slice(&self.form.write(&self.body));
        out.into()
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Nothing but an answer.
    Ping,
    /// The description of an offer, to be rewritten.
    Offer,
    /// The same of an answer.
    Answer,
    /// The call, or one dialog of it, is over.
    Delete,
    /// What is known of a call.
    Query,
    /// The calls there are.
    List,
    /// Counters.
    Statistics,
}

/// Commands of rtpengine that do something with RTP.
const ONLY_RTP: [&str; 29] = [
    "start recording",
    "stop recording",
    "pause recording",
    "start forwarding",
    "stop forwarding",
    "block DTMF",
    "unblock DTMF",
    "block media",
    "unblock media",
    "silence media",
    "unsilence media",
    "play media",
    "stop media",
    "play DTMF",
    "publish",
    "subscribe request",
    "subscribe answer",
    "unsubscribe",
    "inject start",
    "inject stop",
    "connect",
    "create",
    "create answer",
    "mesh",
    "transform",
    "transcode",
    "cli",
    "trickle",
    "block short",
];

impl Command {
    const ALL: [Self; 7] =
        [Self::Ping, Self::Offer, Self::Answer, Self::Delete, Self::Query, Self::List, Self::Statistics];

    /// The command of that name.
    ///
    /// # Errors
    /// [`Error::OnlyRtp`], [`Error::Unrecognized`]
    pub fn of(word: &str) -> Result<Self, Error> {
        let named = normal(word);
        let known = Self::ALL.into_iter().find(|c| c.as_str() == named);
        known.ok_or_else(|| {
            let shown = word.chars().take(64).collect();
            match ONLY_RTP.iter().any(|name| normal(name) == named) {
                true => Error::OnlyRtp(shown),
                false => Error::Unrecognized(shown),
            }
        })
    }

    /// It is about one call, which has to be named.
    pub fn names_call(self) -> bool {
        matches!(self, Self::Offer | Self::Answer | Self::Delete | Self::Query)
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Delete => "delete",
            Self::Query => "query",
            Self::List => "list",
            Self::Statistics => "statistics",
        }
    }
}

/// A key or a flag without the ways of writing it that make no difference: rtpengine takes blanks, hyphens
/// and underscores between words, and most words in any case.
pub(crate) fn normal(key: &str) -> String {
    key.trim().chars().map(|c| if matches!(c, ' ' | '_') { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// A request. Offers, answers, deletes and queries name a call.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// What is wanted.
    pub command: Command,
    /// Names the call. Any octets but none of it is secret.
    pub call_id: String,
    /// Names the one whose description it is.
    pub from_tag: String,
    /// Names the other one, when it is known.
    pub to_tag: Option<String>,
    /// The description.
    pub sdp: Option<Bytes>,
    /// Everything else: `replace`, `ICE`, `direction`, `flags`.
    pub more: Vec<(Bytes, Value)>,
}

impl Request {
    /// A request without description and options.
    pub fn new(command: Command, call_id: &str, from_tag: &str) -> Self {
        Self {
            command,
            call_id: call_id.to_owned(),
            from_tag: from_tag.to_owned(),
            to_tag: None,
            sdp: None,
            more: Vec::new(),
        }
    }

    /// Whether anybody is there.
    pub fn ping() -> Self {
        Self::new(Command::Ping, "", "")
    }

    /// With an entry of its own.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: Value) -> Self {
        self.more.push((Bytes::from_static(key.as_bytes()), value));
        self
    }

    /// Reads the body of a message, as a server does.
    ///
    /// # Errors
    /// [`Error::Lacks`] with the entry that is missing; see [`Command::of`].
    pub fn of(body: &Value) -> Result<Self, Error> {
        let Value::Dictionary(entries) = body else { return Err(Error::Lacks("command")) };
        const KNOWN: [&str; 5] = ["command", "call-id", "from-tag", "to-tag", "sdp"];
        let mut known: [Option<&Value>; 5] = [None; 5];
        let mut more = Vec::new();
        for (key, value) in entries {
            let name = normal(&String::from_utf8_lossy(key));
            match KNOWN.iter().position(|k| *k == name) {
                // The first of two ways of writing one key counts.
                Some(at) => {
                    let place = &mut known[at];
                    *place = place.or(Some(value));
                }
                None => more.push((key.clone(), value.clone())),
            }
        }
        let [command, call_id, from_tag, to_tag, sdp] = known;
        let text = |value: Option<&Value>| value.and_then(Value::as_text).map(str::to_owned);
        let command = Command::of(&text(command).ok_or(Error::Lacks("command"))?)?;
        let sdp = sdp.and_then(Value::as_octets).cloned();
        let described = matches!(command, Command::Offer | Command::Answer);
        if described && sdp.is_none() {
            return Err(Error::Lacks("sdp"));
        }
        let call_id = text(call_id).filter(|id| !id.is_empty());
        let from_tag = text(from_tag);
        if command.names_call() && call_id.is_none() {
            return Err(Error::Lacks("call-id"));
        }
        // A delete and a query may be for all of the call.
        if described && from_tag.is_none() {
            return Err(Error::Lacks("from-tag"));
        }
        let mut to_tag = text(to_tag).filter(|tag| !tag.is_empty());
        let flags = more.iter().find(|(key, _)| normal(&String::from_utf8_lossy(key)) == "rtpp-flags");
        if let Some(flags) = flags.and_then(|(_, value)| value.as_text()) {
            to_tag = told(flags, to_tag, command);
        }
        Ok(Self {
            command,
            call_id: call_id.unwrap_or_default(),
            from_tag: from_tag.unwrap_or_default(),
            to_tag,
            sdp,
            more,
        })
    }

    /// What it asks for besides.
    ///
    /// # Errors
    /// [`Error::Wrong`]
    pub fn options(&self) -> Result<crate::Options, Error> {
        crate::Options::of(self)
    }

    /// The entry of that name among those that are not the request's own.
    pub fn more_of(&self, name: &str) -> Option<&Value> {
        self.more
            .iter()
            .find(|(key, _)| normal(&String::from_utf8_lossy(key)) == name)
            .map(|(_, value)| value)
    }

    /// The body of a message.
    pub fn body(&self) -> Value {
        let mut entries = vec![("command", Value::text(self.command.as_str()))];
        if self.command.names_call() {
            entries.push(("call-id", Value::text(&self.call_id)));
            if matches!(self.command, Command::Offer | Command::Answer) || !self.from_tag.is_empty() {
                entries.push(("from-tag", Value::text(&self.from_tag)));
            }
            entries.extend(self.to_tag.as_ref().map(|tag| ("to-tag", Value::text(tag))));
            entries.extend(self.sdp.as_ref().map(|sdp| ("sdp", Value::String(sdp.clone()))));
        }
        let entries = entries.into_iter().map(|(key, value)| (Bytes::from_static(key.as_bytes()), value));
        Value::Dictionary(entries.chain(self.more.iter().cloned()).collect())
    }
}

/// Without the description and a token.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("command", &self.command)
            .field("call_id", &self.call_id)
            .field("from_tag", &self.from_tag)
            .field("to_tag", &self.to_tag)
            .field("sdp", &self.sdp.as_ref().map(Bytes::len))
            .field("more", &Entries(&self.more))
            .finish()
    }
}

/// The tag that is meant when a SIP server leaves all flags to the media proxy. It then sends the tag of the
/// message whether its script wants it or not; a `delete` is for one dialog only if the flags say `to-tag`, and
/// `to-tag=…` among them is another tag.
fn told(flags: &str, tag: Option<String>, command: Command) -> Option<String> {
    let named = crate::options::words_of(flags).find_map(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        (normal(key) == "to-tag").then_some(value)
    });
    match named {
        Some("") => tag,
        Some(other) => Some(other.to_owned()),
        None => tag.filter(|_| command != Command::Delete),
    }
}

/// What answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To a ping.
    Pong,
    /// Done.
    Done {
        /// The rewritten description, of an offer or answer.
        sdp: Option<Bytes>,
        /// Something the other side wants to be known, though it was done.
        warning: Option<String>,
    },
    /// Not done.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// It cannot take calls at the moment; another one may.
    Overloaded {
        /// Why, for people.
        reason: String,
    },
}

impl Response {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// [`Error::Lacks`] without a `result` that is known.
    pub fn of(body: &Value) -> Result<Self, Error> {
        let text = |key: &str| body.text_of(key).map(str::to_owned);
        match body.text_of("result") {
            Some("pong") => Ok(Self::Pong),
            Some("ok") => Ok(Self::Done {
                sdp: body.get("sdp").and_then(Value::as_octets).cloned(),
                warning: text("warning"),
            }),
            Some("error") => Ok(Self::Refused { reason: text("error-reason").unwrap_or_default() }),
            Some("load limit") => Ok(Self::Overloaded { reason: text("message").unwrap_or_default() }),
            _ => Err(Error::Lacks("result")),
        }
    }

    /// The body of a message.
    pub fn body(&self) -> Value {
        let mut entries = Vec::new();
        let mut put = |key: &'static str, value| entries.push((Bytes::from_static(key.as_bytes()), value));
        match self {
            Self::Pong => put("result", Value::text("pong")),
            Self::Done { sdp, warning } => {
                put("result", Value::text("ok"));
                if let Some(sdp) = sdp {
                    put("sdp", Value::String(sdp.clone()));
                }
                if let Some(warning) = warning {
                    put("warning", Value::text(warning));
                }
            }
            Self::Refused { reason } => {
                put("result", Value::text("error"));
                put("error-reason", Value::text(reason));
            }
            Self::Overloaded { reason } => {
                put("result", Value::text("load limit"));
                put("message", Value::text(reason));
            }
        }
        Value::Dictionary(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Message, Error> {
        Message::parse(&Bytes::copy_from_slice(text), &Limits::default())
    }

    /// As the documentation of rtpengine shows a ping.
    #[test]
    fn a_ping_and_its_answer() {
        let ping = parse(b"5323_1 d7:command4:pinge").unwrap();
        assert_eq!(Request::of(&ping.body), Ok(Request::ping()));
        assert_eq!(
            Message { body: Request::ping().body(), ..ping.clone() }.to_bytes(),
            &b"5323_1 d7:command4:pinge"[..]
        );
        let pong = parse(b"5323_1 d6:result4:ponge").unwrap();
        assert_eq!((pong.cookie.as_ref(), Response::of(&pong.body)), (&b"5323_1"[..], Ok(Response::Pong)));
    }

    #[test]
    fn requests_come_back_as_they_were() {
        let mut offer = Request::new(Command::Offer, "call@x", "a")
            .with("replace", Value::texts(["origin"]))
            .with("ICE", Value::text("remove"));
        offer.sdp = Some(Bytes::from_static(b"v=0\r\n"));
        assert_eq!(Request::of(&offer.body()), Ok(offer.clone()));
        let mut answer = Request { command: Command::Answer, to_tag: Some("b".into()), ..offer };
        assert_eq!(Request::of(&answer.body()), Ok(answer.clone()));
        answer.sdp = None;
        assert_eq!(Request::of(&answer.body()), Err(Error::Lacks("sdp")));
        let delete = Request::new(Command::Delete, "call@x", "");
        assert_eq!(Request::of(&delete.body()), Ok(delete));
        for (bad, lacks) in [
            (&b"de"[..], "command"),
            (b"le", "command"),
            (b"d7:commandi1ee", "command"),
            (b"d7:command6:deletee", "call-id"),
            (b"d7:command5:offer7:call-id1:ce", "sdp"),
            (b"d7:command5:offer7:call-id1:c3:sdp1:ve", "from-tag"),
        ] {
            let body = Value::parse(&Bytes::copy_from_slice(bad), &Limits::default()).unwrap();
            assert_eq!(Request::of(&body), Err(Error::Lacks(lacks)), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_request_shows_no_token() {
        let shown =
            format!("{:?}", Request::ping().with("token", Value::text("word")).with("a", Value::text("b")));
        assert!(shown.contains(r#"{"token": "hidden", "a": "b"}"#), "{shown}");
    }

    #[test]
    fn commands_are_known_by_name() {
        let of = |word: &str| Request::of(&Value::Dictionary(vec![("command".into(), Value::text(word))]));
        assert_eq!(of("list").unwrap().command, Command::List);
        assert_eq!(of("statistics").unwrap().command, Command::Statistics);
        assert_eq!(of("query"), Err(Error::Lacks("call-id")));
        assert_eq!(of("play media"), Err(Error::OnlyRtp("play media".into())));
        assert_eq!(of("block_dtmf"), Err(Error::OnlyRtp("block_dtmf".into())));
        let shown = of("zaps").unwrap_err().to_string();
        assert!(shown.starts_with("Unrecognized command"), "{shown}");
        let long = of(&"x".repeat(1000)).unwrap_err().to_string();
        assert!(long.len() < 100);
    }

    #[test]
    fn keys_are_the_same_however_they_are_written() {
        for text in [
            &b"d7:command6:delete7:call-id1:c8:from-tag1:a6:to-tag1:be"[..],
            b"d7:command6:delete7:call ID1:c8:from_tag1:a6:to tag1:be",
        ] {
            let body = Value::parse(&Bytes::copy_from_slice(text), &Limits::default()).unwrap();
            let request = Request::of(&body).unwrap();
            assert_eq!((request.call_id.as_str(), request.from_tag.as_str()), ("c", "a"));
            assert_eq!((request.to_tag.as_deref(), request.more.len()), (Some("b"), 0));
        }
    }

    /// Kamailio from 5.8 on, with `parse_by_module` off.
    #[test]
    fn a_tag_counts_in_a_delete_if_the_flags_say_so() {
        let read = |command: &str, flags: &str| {
            let entries = [
                ("command", command),
                ("call-id", "c"),
                ("from-tag", "a"),
                ("to-tag", "b"),
                ("sdp", "v=0"),
                ("rtpp-flags", flags),
            ];
            let entries = entries.map(|(key, text)| (Bytes::from_static(key.as_bytes()), Value::text(text)));
            let request = Request::of(&Value::Dictionary(entries.to_vec())).unwrap();
            assert_eq!(Request::of(&request.body()), Ok(request.clone()));
            request.to_tag
        };
        assert_eq!(read("delete", "delete-delay=0"), None);
        assert_eq!(read("delete", "delete-delay=0 to-tag").as_deref(), Some("b"));
        assert_eq!(read("delete", "codec=[strip=[a to-tag]]"), None);
        assert_eq!(read("delete", "to_tag=z").as_deref(), Some("z"));
        assert_eq!(read("answer", "replace-origin").as_deref(), Some("b"));
    }

    #[test]
    fn an_answer_has_the_form_of_its_request() {
        let message = parse(b"5323_1 {\"command\":\"ping\"}").unwrap();
        assert_eq!(Request::of(&message.body), Ok(Request::ping()));
        let pong = Message { body: Response::Pong.body(), ..message };
        assert_eq!(pong.to_bytes(), &b"5323_1 {\"result\":\"pong\"}"[..]);
    }

    #[test]
    fn responses_come_back_as_they_were() {
        let all = [
            Response::Pong,
            Response::Done { sdp: Some(Bytes::from_static(b"v=0\r\n")), warning: None },
            Response::Done { sdp: None, warning: Some("Call-ID not found".into()) },
            Response::Refused { reason: "Unknown call-id".into() },
            Response::Overloaded { reason: "Parallel session limit reached".into() },
        ];
        for response in all {
            assert_eq!(Response::of(&response.body()), Ok(response));
        }
        let odd = Value::parse(&Bytes::from_static(b"d6:result5:maybee"), &Limits::default()).unwrap();
        assert_eq!(Response::of(&odd), Err(Error::Lacks("result")));
    }

    /// Messages with octets changed, cut and put in: refused inside their bounds, or written again.
    #[test]
    fn damaged_messages() {
        use carnet_wire::Random as _;
        let mut offer = Request::new(Command::Offer, "call@x", "a").with("replace", Value::texts(["origin"]));
        offer.sdp = Some(Bytes::from_static(b"v=0\r\n"));
        let whole = Message::new(Bytes::from_static(b"c1"), offer.body()).to_bytes();
        let mut random = carnet_wire::SeededRandom::new(29);
        let (mut read, mut refused) = (0, 0);
        for _ in 0..100_000 {
            let mut octets = whole.to_vec();
            for _ in 0..=random.u32() % 3 {
                let at = random.u32() as usize % octets.len();
                let new = b"0123456789:deil \xff"[random.u32() as usize % 17];
                match random.u32() % 3 {
                    0 => octets[at] = new,
                    1 => octets.insert(at, new),
                    _ => drop(octets.remove(at)),
                }
            }
            match parse(&octets) {
                Ok(message) => {
                    read += 1;
                    assert_eq!(message.to_bytes(), octets);
                    if let Ok(request) = Request::of(&message.body) {
                        assert_eq!(Request::of(&request.body()), Ok(request));
                    }
                }
                Err(Error::Syntax(fault)) => {
                    refused += 1;
                    assert!(fault.at <= octets.len());
                }
                Err(_) => refused += 1,
            }
        }
        assert!(read > 1_000 && refused > 10_000, "{read} {refused}");
    }

    #[test]
    fn datagrams_that_are_no_messages() {
        for bad in [&b""[..], b"cookie", b" de", b"co\x01kie de", &[b'c'; 200]] {
            assert_eq!(parse(bad), Err(Error::NoCookie), "{}", bad.escape_ascii());
        }
        let Err(Error::Syntax(fault)) = parse(b"abc d3:keye") else { panic!() };
        assert_eq!(fault.at, 10);
        assert!(parse(b"abc ").is_err());
    }
}
