//! What registering needs besides a request: Path (RFC 3327), Service-Route (RFC 3608), and
//! what the registrar granted (RFC 3261 §10).

use crate::address::NameAddr;
use crate::error::Error;
use crate::message::Message;
use crate::method::Method;
use crate::typed::CSeq;
use crate::uri::Uri;

/// What a REGISTER says.
#[derive(Debug, Clone)]
pub struct Registration<'a> {
    /// The registrar: a domain, without user part.
    pub registrar: &'a Uri,
    /// The address of record.
    pub aor: &'a Uri,
    /// Where the user is.
    pub contact: &'a NameAddr,
    /// Our tag.
    pub tag: &'a str,
    /// The same for all registrations of a client.
    pub call_id: &'a str,
    /// One more than the last.
    pub cseq: u32,
    /// Seconds asked for; 0 ends the binding.
    pub expires: u32,
}

impl Registration<'_> {
    /// The REGISTER. It says that Path is understood.
    ///
    /// # Errors
    /// [`Error::Unprintable`] if a part cannot stand in a header.
    pub fn request(&self) -> Result<Message, Error> {
        let aor = NameAddr::new(self.aor.clone());
        let mut message = Message::request(Method::Register, self.registrar.clone());
        message.push_back("Max-Forwards", "70")?;
        message.push_back("From", &aor.clone().with_tag(self.tag)?.to_string())?;
        message.push_back("To", &aor.to_string())?;
        message.push_back("Call-ID", self.call_id)?;
        message.push_back("CSeq", &CSeq { number: self.cseq, method: Method::Register }.to_string())?;
        message.push_back("Contact", &self.contact.to_string())?;
        message.push_back("Expires", &self.expires.to_string())?;
        message.push_back("Supported", "path")?;
        Ok(message)
    }
}

/// The seconds a 2xx to REGISTER grants to a contact: its `expires` parameter, else Expires;
/// `None` if the contact is not bound.
///
/// # Errors
/// [`Error::Malformed`] if Contact does not parse.
pub fn granted(response: &Message, contact: &Uri) -> Result<Option<u32>, Error> {
    let contacts = response.contacts()?;
    let ours = contacts.iter().find(|c| c.uri().equivalent(contact));
    Ok(ours.and_then(|c| lifetime(c, response)))
}

/// The seconds a contact of a REGISTER or its answer is for: its `expires` parameter, else
/// Expires (RFC 3261 §10.2.1.1); `None` if neither says.
pub fn lifetime(contact: &NameAddr, message: &Message) -> Option<u32> {
    let own = contact.param("expires").and_then(|e| crate::typed::delta_seconds(&e));
    own.or_else(|| message.expires())
}

/// The route that requests of the registered user take (RFC 3608 §5), from a 2xx to REGISTER:
/// put these in Route, in this order.
///
/// # Errors
/// [`Error::Malformed`] if a value does not parse.
pub fn service_route(response: &Message) -> Result<Vec<NameAddr>, Error> {
    response.addresses("Service-Route")
}

/// The route that requests to the registered user take (RFC 3327 §5.3), from a REGISTER: put
/// these in Route, in this order.
///
/// # Errors
/// [`Error::Malformed`] if a value does not parse.
pub fn path(request: &Message) -> Result<Vec<NameAddr>, Error> {
    request.addresses("Path")
}

/// Puts an intermediary on the path of a registration (RFC 3327 §5.2): on top.
///
/// # Errors
/// [`Error::Dialog`] with 421 if the client does not say that it supports `path`.
pub fn add_path(request: &mut Message, own: &NameAddr) -> Result<(), Error> {
    if !request.lists("Supported", "path") && !request.lists("Require", "path") {
        return Err(Error::Dialog { status: 421, reason: "the client does not support path" });
    }
    request.push_front("Path", &own.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn register_and_what_is_granted() {
        let (registrar, aor) = (uri("sip:home.example"), uri("sip:alice@home.example"));
        let contact = NameAddr::new(uri("sip:alice@192.0.2.1:5070;transport=tcp"));
        let (tag, call_id) = ("t1", "c1");
        let say = Registration {
            registrar: &registrar,
            aor: &aor,
            contact: &contact,
            tag,
            call_id,
            cseq: 4,
            expires: 600,
        };
        let mut register = say.request().unwrap();
        assert_eq!(register.to_tag(), None);
        assert_eq!((register.expires(), register.from_tag().as_deref()), (Some(600), Some("t1")));
        add_path(&mut register, &NameAddr::parse("<sip:edge2;lr>").unwrap()).unwrap();
        add_path(&mut register, &NameAddr::parse("<sip:edge1;lr>").unwrap()).unwrap();
        let hosts = |all: Vec<NameAddr>| all.iter().map(|a| a.uri().host().to_owned()).collect::<Vec<_>>();
        assert_eq!(hosts(path(&register).unwrap()), ["edge1", "edge2"]);

        let mut ok = Message::response(&register, 200, "").unwrap();
        ok.push_back(
            "Contact",
            "<sip:other@x>;expires=10, <sip:alice@192.0.2.1:5070;transport=TCP>;expires=300",
        )
        .unwrap();
        ok.push_back("Service-Route", "<sip:p1;lr>, <sip:p2;lr>").unwrap();
        assert_eq!(granted(&ok, contact.uri()), Ok(Some(300)));
        assert_eq!(granted(&ok, &uri("sip:nobody@x")), Ok(None));
        assert_eq!(hosts(service_route(&ok).unwrap()), ["p1", "p2"]);
        ok.set_header("Contact", &contact.to_string()).unwrap();
        ok.push_back("Expires", "120").unwrap();
        assert_eq!(granted(&ok, contact.uri()), Ok(Some(120)));

        register.remove_all("Supported");
        assert_eq!(add_path(&mut register, &contact).unwrap_err().status(), Some(421));
    }
}
