//! What a REFER to a room asks: have somebody called in, or put somebody out.
//!
//! RFC 3515, RFC 4579 §5.5 and §5.11, RFC 4488. Requests of that kind that come as a list of
//! recipients in an INVITE are read by [`recipients`]. Left out: headers in the Refer-To URI (but Replaces,
//! none is asked for here; a URI that has any is refused), and several targets in one REFER
//! (RFC 5368).

mod list;

use carnet_sip::{Message, Method, NameAddr, Scheme, Uri};

pub use list::{ListError, recipients};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referral {
    /// Call somebody in.
    Invite(NameAddr),
    /// Put somebody out.
    Kick(NameAddr),
}

/// A REFER that is not understood, or asks for what is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferError {
    /// RFC 3515 §2.4.2: there is one Refer-To.
    #[error("a REFER has one Refer-To")]
    Target,
    /// Neither INVITE nor BYE.
    #[error("a room calls in and puts out, nothing else")]
    Method,
    /// A scheme that cannot be called.
    #[error("that cannot be called")]
    Scheme,
    /// Embedded headers.
    #[error("headers in Refer-To are not taken")]
    Headers,
}

impl ReferError {
    /// What to answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Target | Self::Headers => 400,
            Self::Method => 403,
            Self::Scheme => 416,
        }
    }
}

impl Referral {
    /// Reads a REFER.
    ///
    /// # Errors
    /// [`ReferError`].
    pub fn read(request: &Message) -> Result<Self, ReferError> {
        let targets = request.addresses("Refer-To").map_err(|_| ReferError::Target)?;
        let [target] = targets.as_slice() else { return Err(ReferError::Target) };
        let uri = target.uri();
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Tel) {
            return Err(ReferError::Scheme);
        }
        if uri.headers().is_some() {
            return Err(ReferError::Headers);
        }
        let method = uri.param("method").map(|m| Method::parse(m).unwrap_or(Method::Refer));
        let who = target.clone().without_params().with_uri(uri.without_param("method"));
        match method {
            None | Some(Method::Invite) => Ok(Self::Invite(who)),
            Some(Method::Bye) => Ok(Self::Kick(who)),
            Some(_) => Err(ReferError::Method),
        }
    }

    /// Who is meant.
    pub fn target(&self) -> &Uri {
        match self {
            Self::Invite(who) | Self::Kick(who) => who.uri(),
        }
    }
}

/// Whether the sender of a REFER wants no subscription (RFC 4488 §4).
pub fn wants_no_news(request: &Message) -> bool {
    request.header("Refer-Sub").is_some_and(|v| {
        let word = v.split(';').next().unwrap_or_default().trim();
        word.eq_ignore_ascii_case("false")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refer(to: &str) -> Message {
        let mut message = Message::request(Method::Refer, Uri::parse("sip:room@example.com").unwrap());
        if !to.is_empty() {
            message.push_back("Refer-To", to).unwrap();
        }
        message
    }

    #[test]
    fn what_is_asked() {
        let read = |to| Referral::read(&refer(to));
        let Ok(Referral::Invite(who)) = read("\"Bob\" <sip:bob@example.com>;x=y") else { panic!() };
        assert_eq!((who.display(), who.uri().as_str()), (Some("Bob"), "sip:bob@example.com"));
        assert!(matches!(read("sip:bob@example.com"), Ok(Referral::Invite(_))));
        assert!(matches!(read("<sip:bob@example.com;method=INVITE>"), Ok(Referral::Invite(_))));
        let Ok(Referral::Kick(who)) = read("<sip:bob@example.com;method=BYE;user=phone>") else { panic!() };
        assert_eq!(who.uri().as_str(), "sip:bob@example.com;user=phone");
        assert_eq!(read(""), Err(ReferError::Target));
        assert_eq!(read("<sip:a@example.com>, <sip:b@example.com>"), Err(ReferError::Target));
        assert_eq!(read("<sip:a@example.com;method=MESSAGE>"), Err(ReferError::Method));
        assert_eq!(read("<sip:a@example.com;method=bye>"), Err(ReferError::Method));
        assert_eq!(read("<sip:a@example.com?Replaces=1>"), Err(ReferError::Headers));
        assert_eq!(read("<http://example.com/>"), Err(ReferError::Scheme));
    }

    #[test]
    fn news_unwanted() {
        let mut message = refer("sip:bob@example.com");
        assert!(!wants_no_news(&message));
        message.push_back("Refer-Sub", "true").unwrap();
        assert!(!wants_no_news(&message));
        message.set_header("Refer-Sub", "False;x").unwrap();
        assert!(wants_no_news(&message));
    }
}
