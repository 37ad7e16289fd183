//! New requests and responses.

use super::{Message, Start};
use crate::error::{Error, reason_phrase};
use crate::grammar::is_printable;
use crate::method::Method;
use crate::uri::Uri;
use bytes::Bytes;
use carnet_wire::Span;

impl Message {
    /// A request with a start line and `Content-Length: 0`. The caller adds From, To, Call-ID,
    /// CSeq and Max-Forwards; the endpoint adds Via.
    pub fn request(method: Method, uri: Uri) -> Self {
        let raw: Bytes = format!("{method} {uri} SIP/2.0\r\n").into();
        Self::blank(raw, Start::Request { uri: Some(uri) }, method)
    }

    /// A response to `request`: its Via stack, From, To, Call-ID and CSeq, and from 101 to 299
    /// Record-Route as well (RFC 3261 §8.2.6, §12.1.1). To gets its tag from the caller or the
    /// endpoint. An empty reason is replaced by the usual one.
    ///
    /// # Errors
    /// [`Error::Unprintable`] if the status is not 100 to 699 or the reason holds CR, LF or NUL.
    pub fn response(request: &Self, status: u16, reason: &str) -> Result<Self, Error> {
        if !(100..700).contains(&status) {
            return Err(Error::Unprintable("the status code"));
        }
        if !is_printable(reason.as_bytes()) {
            return Err(Error::Unprintable("the reason phrase"));
        }
        let reason = if reason.is_empty() { reason_phrase(status) } else { reason };
        let raw: Bytes = format!("SIP/2.0 {status} {reason}\r\n").into();
        let span = Span::new(12, 12 + reason.len());
        let mut response = Self::blank(raw, Start::Response { status, reason: span }, request.method.clone());
        response.copy_lines("Via", request);
        if (101..300).contains(&status) && request.method != Method::Register {
            response.copy_lines("Record-Route", request);
        }
        for name in ["From", "To", "Call-ID", "CSeq"] {
            response.copy_lines(name, request);
        }
        if status == 100 {
            response.copy_lines("Timestamp", request);
        }
        Ok(response)
    }

    fn blank(raw: Bytes, start: Start, method: Method) -> Self {
        let start_span = Span::new(0, raw.len());
        let mut message = Self {
            raw,
            start_line: None,
            start_span,
            start,
            method,
            lines: Vec::new(),
            body: Bytes::new(),
            edited: true,
        };
        message.ensure_content_length();
        message
    }
}
