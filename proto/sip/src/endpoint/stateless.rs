//! Answers that need no transaction: what the protocol alone can refuse (RFC 3261 §8.2, §16.3).

use super::Endpoint;
use super::server::{matching, reply_hop};
use crate::error::Error;
use crate::hop::Hop;
use crate::message::Message;
use crate::method::Method;
use carnet_wire::hex;
use sha2::{Digest, Sha256};

impl Endpoint {
    /// A To tag that is the same for each repetition of a request (RFC 3261 §8.2.7) and that a
    /// stranger cannot foretell.
    pub(super) fn stateless_tag(&self, matching: &str) -> String {
        let digest = Sha256::new().chain_update(self.secret).chain_update(matching).finalize();
        hex::encode(digest.get(..8).unwrap_or_default())
    }

    /// What is wrong with a well-formed request before anybody looks at what it wants.
    pub(super) fn objection(&self, message: &Message) -> Option<Error> {
        let answering = &self.config.answering;
        if let Some(methods) = &answering.methods
            && !methods.contains(message.method())
        {
            return Some(Error::Method(message.method().to_string()));
        }
        if let (Some(schemes), Some(uri)) = (&answering.schemes, message.request_uri())
            && !schemes.iter().any(|s| s.eq_ignore_ascii_case(uri.scheme_str()))
        {
            return Some(Error::Scheme(uri.scheme_str().to_owned()));
        }
        if answering.exhausted && message.max_forwards() == Ok(Some(0)) {
            return Some(Error::Hops);
        }
        if let Some(known) = &answering.extensions {
            let wanted = message.values("Require").unwrap_or_default();
            let unknown: Vec<_> =
                wanted.into_iter().filter(|w| !known.iter().any(|k| k.eq_ignore_ascii_case(w))).collect();
            if !unknown.is_empty() {
                return Some(Error::Extension(unknown.join(", ")));
            }
        }
        None
    }

    /// Answers a request that cannot be used, unless it is an ACK or answering is switched off.
    pub(super) fn refuse(&mut self, hop: &Hop, message: &Message, error: Error) {
        let answering = &self.config.answering;
        let wanted = match &error {
            Error::Malformed { .. } | Error::Missing(_) | Error::Repeated(_) => answering.malformed,
            Error::Version => answering.version,
            _ => true,
        };
        let status = error.status().filter(|_| wanted && *message.method() != Method::Ack);
        if let Some(status) = status {
            let tag = match message.top_via() {
                Ok(via) => self.stateless_tag(&matching(message, &via, message.method())),
                Err(_) => self.stateless_tag(""),
            };
            let retry = self.config.retry_after.to_string();
            let allow = self.config.answering.methods.as_deref().unwrap_or_default();
            let allow = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            self.answer(hop, message, status, &tag, |response| match &error {
                Error::Full | Error::Behind => response.push_back("Retry-After", &retry),
                Error::Method(_) => response.push_back("Allow", &allow),
                Error::Extension(unknown) => response.push_back("Unsupported", unknown),
                _ => Ok(()),
            });
        }
        self.refused(hop.clone(), status, error);
    }

    /// Sends a response that no transaction keeps.
    pub(super) fn answer(
        &mut self,
        hop: &Hop,
        request: &Message,
        status: u16,
        tag: &str,
        add: impl FnOnce(&mut Message) -> Result<(), Error>,
    ) {
        let build = || {
            let mut response = Message::response(request, status, "")?;
            if let Some(to) = request.to().ok().filter(|to| to.tag().is_none()) {
                response.set_header("To", &to.with_tag(tag)?.to_string())?;
            }
            if let Some(software) = &self.config.software {
                response.push_back("Server", software)?;
            }
            add(&mut response)?;
            Ok::<_, Error>(response)
        };
        if let Ok(response) = build() {
            let reply = reply_hop(hop, request.top_via().ok().as_ref());
            self.transmit(reply, response.to_bytes());
        }
    }
}
