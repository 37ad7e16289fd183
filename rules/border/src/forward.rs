//! How a message is made for the other side of the border from the one received.
//!
//! RFC 3261 §12.2.1.1 and §16.6. Call-ID, From, To, CSeq, RAck, RSeq, Session-Expires and all
//! that is not named here stays as it came. Changed: Request-URI, Route, Record-Route, Via (the
//! endpoint's), Contact, Max-Forwards, and what is agreed with the border only (`mediasec`).

use crate::config::Network;
use crate::mediasec;
use crate::session::Fault;
use carnet_sip::{Destination, Hop, Message, Method, Uri};

/// What requests of a dialog to one end need (RFC 3261 §12.1).
#[derive(Debug, Clone, Default)]
pub(crate) struct Remote {
    /// Its Contact.
    pub(crate) target: Option<Uri>,
    /// Its route set, the next hop first; values of Route as they are written.
    pub(crate) routes: Vec<String>,
    /// The highest CSeq it has used.
    pub(crate) cseq: u32,
}

impl Remote {
    /// Where a request goes: a pinned hop, else the first route, else the target. It leaves from
    /// an address in `network`.
    pub(crate) fn destination(
        &self,
        network: Option<&Network>,
        hop: Option<&Hop>,
        next: Option<&Uri>,
    ) -> Option<Destination> {
        if let Some(hop) = hop {
            return Some(hop.clone().into());
        }
        let route = self.routes.first().and_then(|r| carnet_sip::NameAddr::parse(r).ok());
        route
            .map(|r| r.uri().clone())
            .or_else(|| next.cloned())
            .or_else(|| self.target.clone())
            .map(|uri| Destination::from(uri).leaving(network.map_or(&[], |n| &n.listen)))
    }

    /// Sets Request-URI and Route for a request to this end.
    pub(crate) fn address(&self, message: &mut Message) -> Result<(), carnet_sip::Error> {
        message.remove_all("Route");
        let first = self.routes.first().and_then(|r| carnet_sip::NameAddr::parse(r).ok());
        // RFC 3261 §12.2.1.1: a strict router takes the place of the target, which goes last.
        let strict = first.as_ref().map(carnet_sip::NameAddr::uri).filter(|u| !u.is_loose());
        match (strict, &self.target) {
            (Some(strict), target) => {
                message.set_request_uri(strict.clone())?;
                for route in self.routes.iter().skip(1) {
                    message.push_back("Route", route)?;
                }
                if let Some(target) = target {
                    message.push_back("Route", &format!("<{target}>"))?;
                }
            }
            (None, target) => {
                if let Some(target) = target {
                    message.set_request_uri(target.clone())?;
                }
                for route in &self.routes {
                    message.push_back("Route", route)?;
                }
            }
        }
        Ok(())
    }
}

/// The request for the other side.
pub(crate) fn request(message: &Message, remote: &Remote, contact: &Uri) -> Result<Message, Fault> {
    let unwritable = |e: carnet_sip::Error| Fault::new(400, e.to_string());
    let mut onward = message.clone();
    let hops = message.max_forwards().map_err(unwritable)?.unwrap_or(70);
    // RFC 3261 §16.3 check 3.
    let hops = hops.checked_sub(1).ok_or_else(|| Fault::new(483, "Max-Forwards is used up"))?;
    onward.remove_all("Via");
    onward.remove_all("Record-Route");
    mediasec::take_out(&mut onward).map_err(unwritable)?;
    remote.address(&mut onward).map_err(unwritable)?;
    onward.set_header("Max-Forwards", &hops.to_string()).map_err(unwritable)?;
    if *message.method() != Method::Register {
        own_contact(&mut onward, contact).map_err(unwritable)?;
    }
    Ok(onward)
}

/// Terminals are outside the domain in which identities are trusted: who wants to stay hidden is (RFC 3325 §7).
pub(crate) fn hide_identity(message: &mut Message, network: Option<&Network>) {
    let hidden = || {
        let mut wishes = message.lines("Privacy");
        wishes.any(|line| line.split(';').any(|wish| wish.trim().eq_ignore_ascii_case("id")))
    };
    if network.is_some_and(|n| n.access) && message.has("P-Asserted-Identity") && hidden() {
        message.remove_all("P-Asserted-Identity");
    }
}

/// The response for the other side; `request` is the one received there.
pub(crate) fn response(
    message: &Message,
    request: &Message,
    contact: &Uri,
) -> Result<Message, carnet_sip::Error> {
    let mut onward = message.clone();
    let status = message.status().unwrap_or(0);
    onward.remove_all("Record-Route");
    if (101..300).contains(&status) {
        // RFC 3261 §12.1.1: the route set of the other side is what its request recorded.
        onward.copy_lines("Record-Route", request);
        // Contacts of refusals and redirections name others than the far end: they stay.
        own_contact(&mut onward, contact)?;
    }
    Ok(onward)
}

/// Puts our own URI in the place of the far end's; display name and parameters, feature tags
/// among them, stay.
fn own_contact(message: &mut Message, contact: &Uri) -> Result<(), carnet_sip::Error> {
    if !message.has("Contact") || message.is_contact_star() {
        return Ok(());
    }
    let Some(theirs) = message.contacts()?.into_iter().next() else { return Ok(()) };
    message.set_header("Contact", &theirs.with_uri(contact.clone()).to_string())
}

/// Record-Route values as a route set for requests that we send.
pub(crate) fn route_set(message: &Message, reversed: bool) -> Vec<String> {
    let mut routes: Vec<String> =
        message.record_routes().unwrap_or_default().iter().map(ToString::to_string).collect();
    if reversed {
        routes.reverse();
    }
    routes
}

/// The Contact's URI, if there is exactly one to go to.
pub(crate) fn contact_of(message: &Message) -> Option<Uri> {
    message.contacts().ok()?.first().map(|c| c.uri().clone())
}
