//! What a client reports, once, in a form that a screen, a script and a test can all use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use carnet_client::{CallId, FileOffer};
use serde_json::{Value, json};

use super::room::event::RoomEvent;

/// Something happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum UeEvent {
    /// The network knows where we are.
    Registered {
        /// Who we are.
        identity: String,
        /// For how long.
        expires: Duration,
        /// From where it sees us, if addresses are translated on the way there.
        seen_at: Option<SocketAddr>,
    },
    /// The network does not take our registration.
    NotRegistered {
        /// One sentence.
        reason: String,
    },
    /// The registration is taken back.
    Unregistered,
    /// The called side rings.
    Ringing {
        /// Which call.
        call: CallId,
    },
    /// Somebody calls; the keys have been checked.
    Incoming {
        /// Which call.
        call: CallId,
        /// Who, as the key server vouches for it if the call is sealed.
        from: String,
        /// The file that is offered, if it is one.
        file: Option<FileOffer>,
        /// Whether it will be sealed.
        sealed: bool,
    },
    /// The connection is up and sealed end to end.
    Sealed {
        /// Which call.
        call: CallId,
        /// How.
        seal: SealReport,
    },
    /// The connection is up in clear, which was allowed.
    Clear {
        /// Which call.
        call: CallId,
    },
    /// The connection broke, and is made again in the same call. What is said meanwhile waits.
    Broken {
        /// Which call.
        call: CallId,
        /// One sentence.
        reason: String,
    },
    /// The connection is there again.
    Restored {
        /// Which call.
        call: CallId,
        /// How it is sealed; `None` in clear, which was allowed.
        seal: Option<SealReport>,
    },
    /// Somebody said something.
    Message {
        /// Which call.
        call: CallId,
        /// Who.
        from: String,
        /// What; never longer than the limit for texts.
        text: String,
    },
    /// A file is on its way.
    FileProgress {
        /// Which call.
        call: CallId,
        /// Its name, safe to show.
        name: String,
        /// Octets so far.
        done: u64,
        /// Octets in all, if known.
        total: Option<u64>,
    },
    /// A file is complete and its hash is right.
    FileDone {
        /// Which call.
        call: CallId,
        /// Its name.
        name: String,
        /// Where it is now, for a received one.
        path: Option<PathBuf>,
        /// Octets in all.
        size: u64,
        /// Octets that crossed this time; fewer when a broken transfer went on.
        moved: u64,
        /// How long that took.
        elapsed: Duration,
    },
    /// The call is over.
    Ended {
        /// Which call.
        call: CallId,
        /// `None` if it ended as calls end; else one word for scripts and one sentence.
        failure: Option<(&'static str, String)>,
        /// What the other side or somebody on the way gave as its reason (RFC 3326), in its words.
        said: Option<String>,
    },
    /// Something happened in a conference.
    Room {
        /// Which call.
        call: CallId,
        /// What.
        event: Box<RoomEvent>,
    },
    /// Something is wrong that ends no call.
    Trouble {
        /// One sentence.
        message: String,
    },
}

/// How a connection is sealed, for the person and for proof.
#[derive(Debug, Clone)]
pub struct SealReport {
    /// `TLS 1.3`
    pub version: String,
    /// Cipher suite.
    pub cipher: String,
    /// The key server that issued the ticket.
    pub kms: String,
    /// Who started the exchange.
    pub initiator: String,
    /// Who was called.
    pub responder: String,
    /// The name of the key, which crosses the network in clear.
    pub psk_identity: String,
    /// The random of the ClientHello in hexadecimal: names this connection in a capture.
    pub client_random: String,
    /// Whether we sent the ClientHello.
    pub tls_client: bool,
    /// The other end of the TCP connection.
    pub remote: String,
}

impl SealReport {
    /// `sealed end to end · TLS 1.3 · ticket from kms.example · path alice → bob`
    pub fn line(&self) -> String {
        format!(
            "sealed end to end · {} · ticket from {} · path {} → {}",
            self.version,
            host(&self.kms),
            user(&self.initiator),
            user(&self.responder)
        )
    }
}

impl SealReport {
    fn json(&self, event: &str, call: CallId) -> Value {
        json!({
            "event": event, "call": call.0, "version": self.version, "cipher": self.cipher,
            "kms": self.kms, "initiator": self.initiator, "responder": self.responder,
            "psk_identity": self.psk_identity, "client_random": self.client_random,
            "tls_client": self.tls_client, "remote": self.remote,
        })
    }
}

/// The part of a URI by which people know each other.
fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or(rest, |(user, _)| user)
}

fn host(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or(rest, |(_, host)| host)
}

impl UeEvent {
    /// One object for scripts; `event` says which.
    pub fn json(&self) -> Value {
        match self {
            Self::Registered { identity, expires, seen_at } => {
                let mut event =
                    json!({"event": "registered", "identity": identity, "expires": expires.as_secs()});
                if let (Some(address), Some(object)) = (seen_at, event.as_object_mut()) {
                    object.insert("seen-at".into(), address.to_string().into());
                }
                event
            }
            Self::NotRegistered { reason } => json!({"event": "not-registered", "reason": reason}),
            Self::Unregistered => json!({"event": "unregistered"}),
            Self::Ringing { call } => json!({"event": "ringing", "call": call.0}),
            Self::Incoming { call, from, file, sealed } => json!({
                "event": "incoming", "call": call.0, "from": from, "sealed": sealed,
                "file": file.as_ref().map(|file| json!({"name": file.name, "size": file.size})),
            }),
            Self::Sealed { call, seal } => seal.json("sealed", *call),
            Self::Broken { call, reason } => json!({"event": "broken", "call": call.0, "reason": reason}),
            Self::Restored { call, seal: Some(seal) } => seal.json("restored", *call),
            Self::Restored { call, seal: None } => json!({"event": "restored", "call": call.0}),
            Self::Clear { call } => json!({"event": "clear", "call": call.0}),
            Self::Message { call, from, text } => {
                json!({"event": "message", "call": call.0, "from": from, "text": text})
            }
            Self::FileProgress { call, name, done, total } => {
                json!({"event": "file-progress", "call": call.0, "name": name, "done": done, "total": total})
            }
            Self::FileDone { call, name, path, size, moved, elapsed } => json!({
                "event": "file-done", "call": call.0, "name": name, "path": path, "size": size,
                "moved": moved, "seconds": elapsed.as_secs_f64(),
            }),
            Self::Ended { call, failure, said } => json!({
                "event": "ended", "call": call.0,
                "error": failure.as_ref().map(|(word, _)| word),
                "reason": failure.as_ref().map(|(_, sentence)| sentence).or(said.as_ref()),
            }),
            Self::Room { call, event } => event.json(*call),
            Self::Trouble { message } => json!({"event": "error", "reason": message}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seal_in_one_line() {
        let seal = SealReport {
            version: "TLS 1.3".into(),
            cipher: "TLS_AES_128_GCM_SHA256".into(),
            kms: "sip:kms.example".into(),
            initiator: "sip:alice@example.com".into(),
            responder: "tel:+4312345".into(),
            psk_identity: "mikey-ticket:b2b2b2b2:01".into(),
            client_random: String::new(),
            tls_client: true,
            remote: String::new(),
        };
        assert_eq!(
            seal.line(),
            "sealed end to end · TLS 1.3 · ticket from kms.example · path alice → +4312345"
        );
    }
}
