//! Server-sent events as an API of ours sends them (WHATWG HTML §9.2, without `id` and `retry`).

use super::{NodeError, Sender, lost};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use std::collections::VecDeque;

/// Octets of one event; a process that sends more is none of ours.
const MOST_EVENT: usize = 1 << 20;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The event's name: `call-ended`.
    pub name: String,
    /// Its fields, with `timestamp` and `level`.
    pub data: Value,
}

/// Events of one process, as they come. Dropped, the connection ends.
pub struct Events {
    pub(super) body: Incoming,
    pub(super) lines: Lines,
    /// Without it the connection would end with the first answer.
    pub(super) _connection: Sender,
}

impl Events {
    /// The next one. Waits as long as it takes; may be dropped without losing any.
    ///
    /// # Errors
    /// The process has gone, or sends something else.
    pub async fn next(&mut self) -> Result<Event, NodeError> {
        loop {
            if let Some(event) = self.lines.next() {
                return Ok(event);
            }
            match self.body.frame().await {
                None => return Err(NodeError::Unreachable("it tells no more".into())),
                Some(frame) => {
                    let frame = frame.map_err(lost)?;
                    let octets = frame.data_ref().map_or(&[][..], |data| data);
                    self.lines.push(octets).map_err(|()| NodeError::Odd("an event without an end".into()))?;
                }
            }
        }
    }
}

/// Puts events together from what comes.
#[derive(Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    name: String,
    data: String,
    ready: VecDeque<Event>,
}

impl Lines {
    fn push(&mut self, octets: &[u8]) -> Result<(), ()> {
        for octet in octets {
            match octet {
                b'\n' => self.ended(),
                b'\r' => {}
                other if self.line.len() + self.data.len() < MOST_EVENT => self.line.push(*other),
                _ => return Err(()),
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn ended(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            if let Ok(data) = serde_json::from_str(&data) {
                self.ready.push_back(Event { name, data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment keeps the connection up, the rest is not ours.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let text = ": still here\n\nevent: call-ended\ndata: {\"call_id\":\ndata: \"ü\"}\n\nevent:missed\r\ndata:{\"missed\":3}\r\n\r\n";
        let expected = [
            Event { name: "call-ended".into(), data: json!({ "call_id": "ü" }) },
            Event { name: "missed".into(), data: json!({ "missed": 3 }) },
        ];
        for size in 1..text.len() {
            let mut lines = Lines::default();
            for part in text.as_bytes().chunks(size) {
                lines.push(part).unwrap();
            }
            let got: Vec<Event> = std::iter::from_fn(|| lines.next()).collect();
            assert_eq!(got, expected, "in parts of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut lines = Lines::default();
        let much = vec![b'x'; MOST_EVENT / 2 + 1];
        assert!(lines.push(&much).is_ok());
        assert!(lines.push(&much).is_err());
    }
}
