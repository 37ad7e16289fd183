//! Which session a connection belongs to (RFC 4975 §5.4, §7.3, §10.10), and what its two ends are
//! (RFC 6135). Who is which is settled in session descriptions, by `a=setup`; nothing here reads one.

use crate::{Continuation, Decoder, Error, Head, Limits, Piece, Status, Uri, parse_path};

/// What one end does once offer and answer are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens the connection, is the TLS client, and sends a SEND at once.
    Active,
    /// Waits for the connection.
    Passive,
}

/// Whether a session already has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// It waits for one.
    Free,
    /// It has one.
    Bound,
}

/// Reads the first head of a new connection out of what has arrived, so that a listener can find the
/// session. `None` when more is needed. Nothing is consumed: give the session the same octets.
///
/// # Errors
/// The connection does not speak MSRP, or does not begin with a request: close it.
pub fn first_request(octets: &[u8], limits: &Limits) -> Result<Option<Head>, Error> {
    let mut decoder = Decoder::new(limits.clone());
    match decoder.decode(octets)? {
        (_, Some(Piece::Head(head))) if head.method().is_some() => Ok(Some(head)),
        (_, Some(_)) => Err(Error::BadRequest("a connection begins with a request")),
        (_, None) => Ok(None),
    }
}

/// Decides whether a connection that begins with `head` may serve the session its To-Path names.
/// Returns that URI.
///
/// # Errors
/// [`Error::Refused`] with 481 when there is no such session (RFC 4975 §7.3), with 506 when it has
/// another connection (§10.10), [`Error::BadRequest`] when the path cannot be read. Send
/// [`refusal`] and close.
pub fn admit(head: &Head, find: impl FnOnce(&Uri) -> Option<Binding>) -> Result<Uri, Error> {
    let path = head.get("To-Path").ok_or(Error::BadRequest("no To-Path"))?;
    let path = parse_path(path.as_bytes()).map_err(|_| Error::BadRequest("a To-Path that cannot be read"))?;
    let [uri] = path.as_slice() else { return Err(Error::Refused(Status::NO_SESSION)) };
    match find(uri) {
        Some(Binding::Free) => Ok(uri.clone()),
        Some(Binding::Bound) => Err(Error::Refused(Status::BOUND_ELSEWHERE)),
        None => Err(Error::Refused(Status::NO_SESSION)),
    }
}

/// The response that refuses the request `head`; `None` when it must not be answered: a REPORT, a
/// response, one with `Failure-Report: no`, or one that does not say where to answer
/// (RFC 4975 §7.1.2, §7.1.4).
pub fn refusal(head: &Head, status: Status) -> Option<Vec<u8>> {
    if head.method().is_none_or(|m| m == "REPORT")
        || head.get("Failure-Report").is_some_and(|v| v.eq_ignore_ascii_case("no"))
    {
        return None;
    }
    let mut to = parse_path(head.get("From-Path")?.as_bytes()).ok()?;
    let from = parse_path(head.get("To-Path")?.as_bytes()).ok()?;
    if head.method() == Some("SEND") {
        to.truncate(1);
    }
    let to = to.iter().map(Uri::as_str).collect::<Vec<_>>().join(" ");
    let mut response = Head::response(head.tid.as_str(), status);
    response.push("To-Path", &to).ok()?;
    response.push("From-Path", from.first()?.as_str()).ok()?;
    let mut out = Vec::new();
    response.write(&mut out);
    response.write_end(Continuation::Last, &mut out);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: &str = "MSRP d93kswow SEND\r\nTo-Path: msrp://b:1/s;tcp\r\n\
        From-Path: msrp://r:2/x;tcp msrp://a:3/y;tcp\r\nMessage-ID: 1\r\n-------d93kswow$\r\n";

    #[test]
    fn a_listener_finds_the_session() {
        let limits = Limits::default();
        let end = SEND.find("-------").unwrap();
        for cut in 0..end {
            assert_eq!(first_request(&SEND.as_bytes()[..cut], &limits), Ok(None));
        }
        let head = first_request(SEND.as_bytes(), &limits).unwrap().unwrap();
        let find = |binding| move |uri: &Uri| (uri.session_id() == Some("s")).then_some(binding);
        assert_eq!(admit(&head, find(Binding::Free)).unwrap().as_str(), "msrp://b:1/s;tcp");
        assert_eq!(admit(&head, find(Binding::Bound)), Err(Error::Refused(Status::BOUND_ELSEWHERE)));
        assert_eq!(admit(&head, |_| None), Err(Error::Refused(Status::NO_SESSION)));
        let response = String::from_utf8(refusal(&head, Status::BOUND_ELSEWHERE).unwrap()).unwrap();
        assert_eq!(
            response,
            "MSRP d93kswow 506 Session Bound Elsewhere\r\nTo-Path: msrp://r:2/x;tcp\r\n\
             From-Path: msrp://b:1/s;tcp\r\n-------d93kswow$\r\n"
        );
    }

    #[test]
    fn some_requests_are_not_answered() {
        let limits = Limits::default();
        for (from, to) in
            [("SEND", "REPORT"), ("Message-ID: 1", "Failure-Report: no"), ("From-Path", "X-Path")]
        {
            let head = first_request(SEND.replace(from, to).as_bytes(), &limits).unwrap().unwrap();
            assert_eq!(refusal(&head, Status::NO_SESSION), None, "{to}");
        }
        let response = SEND.replace("SEND", "200 OK");
        assert!(first_request(response.as_bytes(), &limits).is_err());
        assert!(first_request(b"\x16\x03\x01", &limits).is_err());
    }
}
