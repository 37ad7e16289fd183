//! SIP (RFC 3261).

use super::{Show, Tie, Told, digest, sdp};
use crate::model::{Fact, Sip};
use bytes::Bytes;
use carnet_sip::multipart::{self, MultipartLimits};
use carnet_sip::{Limits, Message, Scanned, mend_line_ends, scan};

/// Whether octets begin like a message; `None` while too few are there.
pub(super) fn begins(octets: &[u8]) -> Option<bool> {
    let octets = octets.trim_ascii_start();
    if octets.is_empty() {
        return None;
    }
    let line_end = octets.iter().position(|b| *b == b'\n');
    let line = octets.get(..line_end.unwrap_or(octets.len().min(2048))).unwrap_or_default().trim_ascii_end();
    if line.starts_with(b"SIP/2.0 ") {
        return Some(true);
    }
    let mut words = line.split(|b| *b == b' ');
    let method = words.next().unwrap_or_default();
    let shape = !method.is_empty() && method.len() <= 20 && method.iter().all(u8::is_ascii_uppercase);
    if line_end.is_none() {
        // SIP's own words, or not yet told.
        let could = b"SIP/2.0 ".starts_with(line) || shape && octets.len() < 2048;
        return if could { None } else { Some(false) };
    }
    Some(shape && words.next_back().is_some_and(|version| version.starts_with(b"SIP/")))
}

/// Reads a message; `None` for what only keeps a way open (RFC 5626 §3.5.1).
pub(super) fn read(octets: &Bytes, datagram: bool, show: Show) -> Option<Told> {
    if octets.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return None;
    }
    let mended = if datagram { mend_line_ends(octets) } else { None };
    let whole = mended.unwrap_or_else(|| octets.clone());
    let Scanned { message, fault, .. } = match scan(whole, &Limits::default()) {
        Ok(scanned) => scanned,
        Err(error) => return Some(Told::unreadable("SIP", &error.to_string(), octets)),
    };
    Some(tell(&message, fault.map(|fault| fault.to_string()), octets, show))
}

fn tell(message: &Message, fault: Option<String>, octets: &[u8], show: Show) -> Told {
    let sdp = description(message);
    let user = |address: Result<carnet_sip::NameAddr, _>| {
        address.ok().map(|a| {
            let uri = a.uri();
            uri.user().map_or_else(|| uri.host().to_owned(), |user| format!("{user}@{}", uri.host()))
        })
    };
    let cseq = message.cseq().ok();
    let fact = Sip {
        method: match message.status() {
            Some(_) => cseq.as_ref().map(|c| c.method.as_str().to_owned()).unwrap_or_default(),
            None => message.method().as_str().to_owned(),
        },
        status: message.status(),
        reason: message.reason().into_owned(),
        call_id: message.call_id().unwrap_or_default().to_owned(),
        cseq: cseq.map_or(0, |c| c.number),
        branch: message.top_via().ok().and_then(|v| v.branch().map(str::to_owned)).unwrap_or_default(),
        in_dialog: message.to_tag().is_some(),
        from_user: user(message.from()).unwrap_or_default(),
        to_user: user(message.to()).unwrap_or_default(),
        warning: message.header("Warning").map(|w| w.into_owned()),
        why: message.header("Reason").map(|w| w.into_owned()),
        agent: message.header("User-Agent").or_else(|| message.header("Server")).map(|a| a.into_owned()),
        uri: message.request_uri().map(ToString::to_string).unwrap_or_default(),
        sdp,
        fault,
    };
    let mut label = match fact.status {
        Some(status) => format!("{status} {} ({})", fact.reason, fact.method),
        None => fact.method.clone(),
    };
    let mut ties = vec![Tie::Call(fact.call_id.clone())];
    let mut claims = Vec::new();
    if let Some(sdp) = &fact.sdp {
        let said = sdp::label(sdp);
        if !said.is_empty() {
            label.push_str(&format!(" {said}"));
        }
        let (more, addresses) = sdp::ties(sdp);
        ties.extend(more);
        claims = addresses;
    }
    if fact.fault.is_some() {
        label.push_str(" !malformed");
    }
    // Ports may be another's after this.
    let over = fact.is_final("BYE")
        || fact.is_final("INVITE") && fact.status.is_some_and(|s| s >= 300 && !fact.in_dialog);
    if over {
        ties.push(Tie::End);
    }
    // What is asked again is the same in all octets; an answer that is repeated too.
    let again = Some(digest(octets));
    let bad = fact.status.is_some_and(|s| s >= 400 && !matches!(s, 401 | 407)) || fact.fault.is_some();
    let mut text = sdp::masked(&String::from_utf8_lossy(octets), show.secrets);
    if let Some(fault) = &fact.fault {
        text = format!("!! {fault}\n\n{text}");
    }
    Told { bad, ties, claims, again, ..Told::new(label, text, Fact::Sip(Box::new(fact))) }
}

/// The description in a message, alone or as a part.
fn description(message: &Message) -> Option<crate::model::Sdp> {
    let kind = message.content_type()?;
    let is_sdp =
        |kind: &str| kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/sdp"));
    if is_sdp(&kind) {
        return Some(sdp::read(message.body()));
    }
    if !multipart::is_multipart(&kind) {
        return None;
    }
    let parts = multipart::parts(message.body(), &kind, &MultipartLimits::default()).ok()?;
    let part = parts.iter().find(|part| is_sdp(part.media_type()))?;
    Some(sdp::read(&message.body().slice(part.range())))
}
