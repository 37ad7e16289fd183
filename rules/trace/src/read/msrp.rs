//! MSRP (RFC 4975): heads of frames. What people say to each other is not shown.

use super::{Show, Told};
use crate::mask;
use crate::model::{Fact, Msrp};
use carnet_msrp::{Continuation, Frames, Limits, Part, RawStart};

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    frames: Frames,
    frame: Option<(Msrp, String)>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { frames: Frames::new(&Limits::default()), frame: None }
    }

    /// Reads on. False once the stream is no MSRP any more.
    pub(super) fn read(&mut self, mut input: &[u8], show: Show, out: &mut Vec<Told>) -> bool {
        loop {
            let (taken, part) = match self.frames.next(input) {
                Ok(next) => next,
                Err(error) => {
                    out.push(Told::unreadable("MSRP", &error.to_string(), input));
                    return false;
                }
            };
            let more = part.is_some();
            match part {
                Some(Part::Head(head)) => {
                    let (method, status) = match head.start() {
                        RawStart::Request(method) => (String::from_utf8_lossy(method).into_owned(), None),
                        RawStart::Response(status) => (String::new(), Some(status)),
                    };
                    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
                    let status = status.or_else(|| {
                        // A report has its status in a field (RFC 4975 §7.1.2).
                        let field = text(head.get("Status")?);
                        field.split_whitespace().nth(1)?.parse().ok()
                    });
                    let fact = Msrp {
                        tid: text(head.tid()),
                        method,
                        status,
                        octets: 0,
                        to_path: text(head.to_path()),
                    };
                    let shown = format!(
                        "{}\r\nTo-Path: {}\r\nFrom-Path: {}\r\n{}",
                        text(head.start_line()),
                        fact.to_path,
                        text(head.from_path()),
                        text(head.fields())
                    );
                    self.frame = Some((fact, if show.secrets { shown } else { mask::lines(&shown) }));
                }
                Some(Part::Body(octets)) => {
                    if let Some((fact, _)) = &mut self.frame {
                        fact.octets += octets.len() as u64;
                    }
                }
                Some(Part::End(end)) => {
                    if let Some((fact, text)) = self.frame.take() {
                        out.push(tell(fact, text, end.flag()));
                    }
                }
                None => {}
            }
            input = input.get(taken..).unwrap_or_default();
            if !more {
                return true;
            }
        }
    }
}

fn tell(fact: Msrp, mut text: String, flag: Continuation) -> Told {
    if fact.octets > 0 {
        text.push_str(&format!("\n({} octets of body, not shown)\n", fact.octets));
    }
    let mut label = match (fact.method.as_str(), fact.status) {
        ("", Some(status)) => format!("MSRP {status}"),
        (method, Some(status)) => format!("MSRP {method} {status}"),
        (method, None) => format!("MSRP {method}"),
    };
    if fact.octets > 0 {
        label.push_str(&format!(" {}", crate::words::octets(fact.octets)));
    }
    if flag == Continuation::Aborted {
        label.push_str(" aborted");
    }
    let bad = fact.status.is_some_and(|s| s >= 400 && s != 401);
    // Frames of one kind that follow each other are one arrow.
    let kind = super::digest(format!("{} {:?}", fact.method, fact.status).as_bytes());
    Told { bad, again: Some(kind), ..Told::new(label, text, Fact::Msrp(fact)) }
}
