//! AUTH: how a client gets URIs of a relay (RFC 4976 §4, §5.1, §6.3, §9.1).
//!
//! Header fields only, both ways. The digests in WWW-Authenticate and Authorization are those of HTTP, with
//! MD5 and `qop=auth`, over the method `AUTH` and the rightmost URI of To-Path (§9.1); whoever makes or
//! checks them does it by the values here.

use crate::{Head, Status, Uri, parse_path};
use carnet_wire::ParseError;

/// The method.
pub const METHOD: &str = "AUTH";

/// What an AUTH request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// To-Path: our own relay first; the relay that is asked last.
    pub to: Vec<Uri>,
    /// From-Path: the previous hop first, the client last.
    pub from: Vec<Uri>,
    /// Seconds, when the client names a time.
    pub expires: Option<u32>,
    /// Each Authorization, none in the first request.
    pub credentials: Vec<String>,
}

impl Ask {
    /// Reads a request.
    ///
    /// # Errors
    /// A path that is none, or an `Expires` that is no number of seconds.
    pub fn parse(head: &Head) -> Result<Self, ParseError> {
        let path = |name: &str| parse_path(head.get(name).unwrap_or_default().as_bytes());
        let all = head.headers.iter().filter(|h| h.name().eq_ignore_ascii_case("Authorization"));
        Ok(Self {
            to: path("To-Path")?,
            from: path("From-Path")?,
            expires: seconds(head, "Expires")?,
            credentials: all.map(|h| h.value().to_owned()).collect(),
        })
    }

    /// The URI that the digest is over (§9.1).
    pub fn target(&self) -> Option<&Uri> {
        self.to.last()
    }

    /// The request, as a client writes it.
    ///
    /// # Errors
    /// Credentials that do not fit on a line.
    pub fn write(&self, tid: &str) -> Result<Head, ParseError> {
        let mut head = Head::request(tid, METHOD);
        head.push("To-Path", &join(&self.to))?;
        head.push("From-Path", &join(&self.from))?;
        for value in &self.credentials {
            head.push("Authorization", value)?;
        }
        if let Some(expires) = self.expires {
            head.push("Expires", &expires.to_string())?;
        }
        Ok(head)
    }
}

/// What a relay answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A URI is granted.
    Granted {
        /// Use-Path: in the order of a To-Path, the relay that was asked last (§5.1).
        use_path: Vec<Uri>,
        /// Seconds it is good for.
        expires: u32,
        /// Authentication-Info: the relay's own proof, and the nonce for the next request.
        info: Option<String>,
    },
    /// Who asks must say who it is.
    Challenge(Vec<String>),
    /// The time is too short or too long: the bounds in seconds.
    OutOfBounds {
        /// Min-Expires.
        least: Option<u32>,
        /// Max-Expires.
        most: Option<u32>,
    },
    /// Anything else.
    Refused(Status),
}

impl Answer {
    /// Reads a response.
    ///
    /// # Errors
    /// A 200 without a path or a time, a 401 without a challenge, a number that is none.
    pub fn parse(head: &Head) -> Result<Self, ParseError> {
        let crate::Start::Response { status, .. } = &head.start else {
            return Err(ParseError::new(0, "a response"));
        };
        let missing = |what: &'static str| ParseError::new(0, what);
        Ok(match Status(*status) {
            Status::OK => Self::Granted {
                use_path: parse_path(head.get("Use-Path").unwrap_or_default().as_bytes())?,
                expires: seconds(head, "Expires")?.ok_or_else(|| missing("Expires"))?,
                info: head.get("Authentication-Info").map(str::to_owned),
            },
            Status::UNAUTHORIZED => {
                let all = head.headers.iter().filter(|h| h.name().eq_ignore_ascii_case("WWW-Authenticate"));
                let all: Vec<_> = all.map(|h| h.value().to_owned()).collect();
                if all.is_empty() {
                    return Err(missing("WWW-Authenticate"));
                }
                Self::Challenge(all)
            }
            Status::OUT_OF_BOUNDS => Self::OutOfBounds {
                least: seconds(head, "Min-Expires")?,
                most: seconds(head, "Max-Expires")?,
            },
            other => Self::Refused(other),
        })
    }

    /// The response to `ask`: it goes back by the whole path (RFC 4976 §6.4.3).
    ///
    /// # Errors
    /// A value that does not fit on a line.
    pub fn write(&self, tid: &str, ask: &Ask) -> Result<Head, ParseError> {
        let status = match self {
            Self::Granted { .. } => Status::OK,
            Self::Challenge(_) => Status::UNAUTHORIZED,
            Self::OutOfBounds { .. } => Status::OUT_OF_BOUNDS,
            Self::Refused(status) => *status,
        };
        let mut head = Head::response(tid, status);
        head.push("To-Path", &join(&ask.from))?;
        head.push("From-Path", &join(&ask.to))?;
        match self {
            Self::Granted { use_path, expires, info } => {
                head.push("Use-Path", &join(use_path))?;
                if let Some(info) = info {
                    head.push("Authentication-Info", info)?;
                }
                head.push("Expires", &expires.to_string())?;
            }
            Self::Challenge(challenges) => {
                for value in challenges {
                    head.push("WWW-Authenticate", value)?;
                }
            }
            Self::OutOfBounds { least, most } => {
                for (name, value) in [("Min-Expires", least), ("Max-Expires", most)] {
                    if let Some(value) = value {
                        head.push(name, &value.to_string())?;
                    }
                }
            }
            Self::Refused(_) => {}
        }
        Ok(head)
    }
}

/// The URIs through which what is for the client comes to the relay that grants `own`: in the order in which
/// the client uses them (§5.1).
pub fn use_path(ask: &Ask, own: Uri) -> Vec<Uri> {
    let hops = ask.from.split_last().map_or(&[][..], |(_, hops)| hops);
    hops.iter().rev().cloned().chain([own]).collect()
}

fn join(path: &[Uri]) -> String {
    path.iter().map(Uri::as_str).collect::<Vec<_>>().join(" ")
}

/// A whole number of seconds; more than fits is as long as can be said.
fn seconds(head: &Head, name: &str) -> Result<Option<u32>, ParseError> {
    let Some(value) = head.get(name) else { return Ok(None) };
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::new(0, "a number of seconds"));
    }
    Ok(Some(value.parse().unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4976 §5.1, the third example.
    const CHALLENGE: &str =
        "Digest realm=\"extra.example.com\", qop=\"auth\", nonce=\"Uumu8cAV38FGsEF31VLevIbNXj9HWO\"";

    fn head(text: &str) -> Head {
        let mut lines = text.lines();
        let mut head = Head::parse_start(lines.next().unwrap().as_bytes()).unwrap();
        head.headers = lines.map(|l| crate::Header::parse(l.as_bytes()).unwrap()).collect();
        head
    }

    #[test]
    fn a_request_through_another_relay() {
        let text = "MSRP m4nbvx AUTH\n\
            To-Path: msrps://extra.example.com;tcp\n\
            From-Path: msrps://intra.example.com:9000/jui787s2f;tcp msrps://alice.example.com:9892/98cjs;tcp\n\
            Authorization: Digest username=\"Alice\", realm=\"extra.example.com\", nonce=\"U\", qop=auth, nc=00000001, cnonce=\"8\", response=\"c\"\n\
            Expires: 1800";
        let ask = Ask::parse(&head(text)).unwrap();
        assert_eq!(ask.target().unwrap().as_str(), "msrps://extra.example.com;tcp");
        assert_eq!((ask.expires, ask.credentials.len()), (Some(1800), 1));
        assert_eq!(ask.write("m4nbvx").unwrap(), head(text));
        // Use-Path: in the order of a To-Path.
        let own: Uri = "msrps://extra.example.com:9000/mywdEe1233;tcp".parse().unwrap();
        assert_eq!(
            join(&use_path(&ask, own.clone())),
            "msrps://intra.example.com:9000/jui787s2f;tcp msrps://extra.example.com:9000/mywdEe1233;tcp"
        );
        let answers = [
            Answer::Granted { use_path: use_path(&ask, own), expires: 1800, info: Some("qop=auth".into()) },
            Answer::Challenge(vec![CHALLENGE.into()]),
            Answer::OutOfBounds { least: None, most: Some(60) },
            Answer::Refused(Status::FORBIDDEN),
        ];
        for answer in answers {
            let written = answer.write("m4nbvx", &ask).unwrap();
            assert_eq!(written.get("To-Path"), Some(join(&ask.from).as_str()), "back by the whole path");
            assert_eq!(Answer::parse(&written).unwrap(), answer);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let paths = "To-Path: msrps://a.example;tcp\nFrom-Path: msrps://b.example:1/x;tcp";
        for bad in ["Expires: soon", "Expires: -1", "Expires: "] {
            assert!(Ask::parse(&head(&format!("MSRP abcd AUTH\n{paths}\n{bad}"))).is_err(), "{bad}");
        }
        assert!(Ask::parse(&head("MSRP abcd AUTH\nTo-Path: x\nFrom-Path: y")).is_err());
        let long = head(&format!("MSRP abcd AUTH\n{paths}\nExpires: 99999999999999999999"));
        assert_eq!(Ask::parse(&long).unwrap().expires, Some(u32::MAX));
        for bad in ["200 OK", "401 Unauthorized", "200 OK\nUse-Path: msrps://a.example:1/x;tcp"] {
            assert!(Answer::parse(&head(&format!("MSRP abcd {bad}"))).is_err(), "{bad}");
        }
    }
}
