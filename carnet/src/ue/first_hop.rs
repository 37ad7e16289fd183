//! The first hop of a client: the transports towards it, and which address of ours it sees.
//!
//! RFC 3263 §4.1 chooses the transport where the URI does not; RFC 3261 §18.1.1 lets what does not
//! fit a datagram, as most offers with keys, go over TCP to the same place.
//!
//! Left out: TLS that only DNS tells of. Whoever wants it says `transport=tls` or `sips:`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use carnet_sip::{Scheme, Transport, Uri};
use tokio::net::UdpSocket;

use super::UeError;

/// Where all requests of a client go first.
#[derive(Debug, Clone)]
pub(super) struct FirstHop {
    uri: Uri,
    transports: &'static [Transport],
}

impl FirstHop {
    /// Reads `sip:192.0.2.1:5060;transport=tcp` and its like.
    ///
    /// # Errors
    /// One sentence, if it is no such URI or names a transport that is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let uri = Uri::parse(text).map_err(|error| format!("{text} is not like sip:192.0.2.1: {error}"))?;
        let is_secure = match uri.scheme() {
            Scheme::Sip => false,
            Scheme::Sips => true,
            _ => return Err(format!("{text} must begin with sip: or sips:")),
        };
        let named = match uri.param("transport") {
            None => None,
            Some(name) => {
                let known = Transport::parse(name);
                Some(known.ok_or_else(|| format!("{name} is not a transport: udp, tcp or tls"))?)
            }
        };
        let transports: &[Transport] = match (is_secure, named) {
            (true, Some(Transport::Udp)) => return Err("sips: cannot go over udp".to_owned()),
            // RFC 3261 §26.2.2: sips with transport=tcp is TLS over TCP.
            (true, _) | (_, Some(Transport::Tls)) => &[Transport::Tls],
            (false, Some(Transport::Tcp)) => &[Transport::Tcp],
            (false, None | Some(Transport::Udp)) => &[Transport::Udp, Transport::Tcp],
        };
        Ok(Self { uri, transports })
    }

    /// As written.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What may be used, the preferred one first.
    pub(super) fn transports(&self) -> &'static [Transport] {
        self.transports
    }

    /// Whether everything towards it goes in TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.transports == [Transport::Tls]
    }

    /// The `transport` by which others reach us, if it is not for them to choose.
    pub(super) fn contact_transport(&self) -> Option<&'static str> {
        match self.transports {
            [Transport::Tls] => Some("tls"),
            [Transport::Tcp] => Some("tcp"),
            _ => None,
        }
    }

    /// Whom a request can be sent to by this hop: `sip:bob@example.com`, or without `sip:`.
    ///
    /// # Errors
    /// One sentence, if `text` is no such address, or one that is not to leave in clear.
    pub(super) fn callee(&self, text: &str) -> Result<Uri, String> {
        let not_one = |why: &dyn std::fmt::Display| format!("{text} is not a SIP address: {why}");
        let uri = Uri::parse(text)
            .or_else(|_| Uri::parse(&format!("sip:{text}")))
            .map_err(|error| not_one(&error))?;
        match uri.scheme() {
            Scheme::Other => Err(not_one(&"it must begin with sip:, sips: or tel:")),
            // RFC 3261 §26.2.2: TLS on every hop, beginning with ours.
            Scheme::Sips if !self.is_tls() => {
                Err(format!("{text} asks for TLS on every hop, and the proxy is not reached by TLS"))
            }
            _ => Ok(uri),
        }
    }

    /// Our address as the first hop sees it. No packet is sent for this.
    ///
    /// # Errors
    /// [`UeError::Setup`] if this machine has no way there.
    pub(super) async fn source(&self, listen: SocketAddr) -> Result<IpAddr, UeError> {
        if !listen.ip().is_unspecified() {
            return Ok(listen.ip());
        }
        let host = self.uri.host().trim_matches(['[', ']']);
        let place = match self.uri.ip() {
            Some(ip) => ip,
            // A domain may have servers (RFC 3263) and no address of its own: then it is reached
            // like most of the world.
            None => match tokio::net::lookup_host((host, 5060)).await.ok().and_then(|mut all| all.next()) {
                Some(found) => found.ip(),
                None => Ipv4Addr::new(192, 0, 2, 1).into(),
            },
        };
        let any: IpAddr =
            if place.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let probe = async {
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect((place, 5060)).await?;
            Ok::<_, std::io::Error>(socket.local_addr()?.ip())
        };
        probe.await.map_err(|error| UeError::Setup(format!("{host} cannot be reached: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transport_is_that_of_the_uri_or_of_rfc_3263() {
        use Transport::{Tcp, Tls, Udp};
        for (text, transports, contact) in [
            ("sip:192.0.2.1", &[Udp, Tcp][..], None),
            ("sip:example.com", &[Udp, Tcp], None),
            ("sip:192.0.2.1;transport=udp", &[Udp, Tcp], None),
            ("sip:192.0.2.1;transport=TCP", &[Tcp], Some("tcp")),
            ("sip:192.0.2.1;transport=tls", &[Tls], Some("tls")),
            ("sips:example.com", &[Tls], Some("tls")),
            ("sips:example.com;transport=tcp", &[Tls], Some("tls")),
        ] {
            let hop = FirstHop::parse(text).unwrap();
            assert_eq!((hop.transports(), hop.contact_transport()), (transports, contact), "{text}");
        }
        for text in ["sip:192.0.2.1;transport=foo", "sips:a.example;transport=udp", "192.0.2.1", "tel:+43"] {
            assert!(FirstHop::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sips_does_not_leave_in_clear() {
        let (plain, secure) =
            (FirstHop::parse("sip:192.0.2.1").unwrap(), FirstHop::parse("sips:192.0.2.1").unwrap());
        assert_eq!(plain.callee("bob@example.com:5070").unwrap().as_str(), "sip:bob@example.com:5070");
        assert!(plain.callee("sips:bob@example.com").unwrap_err().contains("TLS"));
        assert!(secure.callee("sips:bob@example.com").is_ok());
        for text in ["not a uri", "mailto:bob@example.com", "sip:", ""] {
            assert!(plain.callee(text).is_err(), "{text}");
        }
    }
}
