//! An rtpengine by script: it answers as the real one does and keeps what it was asked.

use bytes::Bytes;
use carnet_ng::{Command, Limits, Message, Request, Response};

/// What it does next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mood {
    /// It relays.
    #[default]
    Works,
    /// It says nothing.
    Silent,
    /// It refuses.
    Refuses,
    /// It has too much to do.
    Full,
    /// It answers with this description.
    Says(&'static str),
}

/// See above.
#[derive(Default)]
pub struct Scripted {
    pub asked: Vec<Request>,
    pub mood: Mood,
}

impl Scripted {
    pub fn handle(&mut self, datagram: &Bytes) -> Option<Bytes> {
        let message = Message::parse(datagram, &Limits::default()).unwrap();
        let request = Request::of(&message.body).unwrap();
        self.asked.push(request.clone());
        let response = match self.mood {
            Mood::Silent => return None,
            Mood::Refuses => Response::Refused { reason: "Failed to parse SDP".into() },
            Mood::Full => Response::Overloaded { reason: "Load limit reached".into() },
            Mood::Says(text) => {
                Response::Done { sdp: Some(Bytes::from_static(text.as_bytes())), warning: None }
            }
            Mood::Works => Response::Done { sdp: request.sdp.as_ref().map(moved), warning: None },
        };
        assert!(request.command != Command::Ping);
        Some(Message { body: response.body(), ..message }.to_bytes())
    }
}

/// Other addresses and ports, an `a=rtcp` more, no ICE of the ends.
fn moved(sdp: &Bytes) -> Bytes {
    let text = String::from_utf8(sdp.to_vec()).unwrap();
    let mut port = 30_000;
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with("c=") {
            out.push_str("c=IN IP4 203.0.113.77\r\n");
        } else if line.starts_with("m=") {
            let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            if words[1] != "0" {
                words[1] = port.to_string();
            }
            out.push_str(&format!("{}\r\na=rtcp:{}\r\n", words.join(" "), port + 1));
            port += 2;
        } else if !line.starts_with("a=ice-") && !line.starts_with("a=candidate") {
            out.push_str(&format!("{line}\r\n"));
        }
    }
    out.into()
}
