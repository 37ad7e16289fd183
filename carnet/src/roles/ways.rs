//! A controller's ways to its gateways: where each is heard from, and whether a message may come from
//! there (RFC 3525 §7.2.8).

use super::control;
use carnet_border::{GatewayName, Origin, Place};
use carnet_h248::{
    Body, ErrorDescriptor, MId, Message, ReplyBody, ServiceChangeAddress, Transaction, TransactionReply,
};
use carnet_net::h248::{ControlPeer, ControlSockets};
use std::collections::HashMap;

/// The ways, by the gateway's name.
#[derive(Default)]
pub(super) struct Ways(HashMap<GatewayName, ControlPeer>);

impl Ways {
    /// The way to a gateway is this one from now on; whether it was another.
    pub(super) fn set(&mut self, gateway: GatewayName, peer: ControlPeer) -> bool {
        self.0.insert(gateway, peer) != Some(peer)
    }

    /// There is no way to it any more.
    pub(super) fn remove(&mut self, gateway: &GatewayName) {
        self.0.remove(gateway);
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (&GatewayName, ControlPeer)> {
        self.0.iter().map(|(name, peer)| (name, *peer))
    }

    /// Which gateway is there.
    pub(super) fn gateway_at(&self, peer: ControlPeer) -> Option<GatewayName> {
        self.0.iter().find(|(_, way)| **way == peer).map(|(name, _)| name.clone())
    }

    /// How a message from `peer` fits to the way on which its gateway has been heard so far; `given` is
    /// where the gateway wants requests.
    pub(super) fn origin(
        &self,
        gateway: &GatewayName,
        given: Option<&ServiceChangeAddress>,
        peer: ControlPeer,
    ) -> Origin {
        let known = self.0.get(gateway).copied();
        if known.and_then(|known| elsewhere(known, given?)) == Some(peer) {
            return Origin { address: peer.address().map(|a| a.ip()), place: Place::Usual };
        }
        origin(known, peer)
    }

    /// Notes where a message that was admitted came from; whether the gateway has come or moved. What
    /// answers does not say where it is answered from: requests do (RFC 3525 §7.2.8).
    pub(super) fn heard(&mut self, gateway: &GatewayName, peer: ControlPeer, message: &Message) -> bool {
        let moves = !self.0.contains_key(gateway) || control::asks(message);
        moves && self.set(gateway.clone(), peer)
    }

    /// Sends a message: what asks to the address given if one was, what answers to where the gateway is
    /// heard. What may not go, because others could read the keys in it, comes back as the refusal of the
    /// gateway, which would have to answer the same (H.248.8, 504).
    #[must_use]
    pub(super) fn send(
        &self,
        sockets: &ControlSockets,
        gateway: &GatewayName,
        message: Message,
        given: Option<&ServiceChangeAddress>,
    ) -> Option<Message> {
        let peer = self.0.get(gateway).copied()?;
        let (message, refusal) = match sockets.is_protected(peer) || message.secrets().is_empty() {
            true => (Some(message), None),
            false => withheld(gateway, message),
        };
        let Some(message) = message else { return refusal };
        let parts = match given.and_then(|given| elsewhere(peer, given)) {
            Some(elsewhere) if elsewhere != peer => {
                let [asking, answering] = control::apart(message);
                [asking.map(|part| (elsewhere, part)), answering.map(|part| (peer, part))]
            }
            _ => [Some((peer, message)), None],
        };
        for (peer, part) in parts.into_iter().flatten() {
            if let Err(error) = sockets.send(peer, part) {
                tracing::debug!(%gateway, %error, "not sent to the gateway");
            }
        }
        refusal
    }
}

/// What of a message may go where others read along, and the refusal of the rest.
fn withheld(gateway: &GatewayName, message: Message) -> (Option<Message>, Option<Message>) {
    let Message { version, mid, body: Body::Transactions(list), .. } = message else { return (None, None) };
    let (mut open, mut refusals) = (Vec::new(), Vec::new());
    for transaction in list {
        let alone = Message::new(version, mid.clone(), vec![transaction]);
        let secret = !alone.secrets().is_empty();
        let Body::Transactions(list) = alone.body else { continue };
        for transaction in list {
            match transaction {
                Transaction::Request(request) if secret => {
                    let text = "keys go by tls or where `protected` is set, and not by this way".to_owned();
                    let error = ReplyBody::Error(ErrorDescriptor::new(504, text));
                    refusals.push(Transaction::Reply(TransactionReply::new(request.id, error)));
                }
                _ if secret => tracing::debug!(%gateway, "not sent to the gateway"),
                other => open.push(other),
            }
        }
    }
    let whole = |mid: MId, list: Vec<_>| (!list.is_empty()).then(|| Message::new(version, mid, list));
    (whole(mid, open), whole(MId::domain(gateway.to_string()), refusals))
}

/// Where a gateway that is heard by `way` wants requests, on the socket that it is heard on. Only
/// datagrams can go elsewhere: a connection leads where it leads.
fn elsewhere(way: ControlPeer, given: &ServiceChangeAddress) -> Option<ControlPeer> {
    let ControlPeer::Datagram { remote, local } = way else { return None };
    Some(ControlPeer::Datagram { remote: control::address_of(given, remote)?, local })
}

/// How a message from `peer` fits to the way on which its gateway has been heard so far.
fn origin(known: Option<ControlPeer>, peer: ControlPeer) -> Origin {
    let address = peer.address().map(|a| a.ip());
    let place = match known {
        None => Place::Usual,
        Some(known) if known == peer => Place::Usual,
        Some(ControlPeer::Local(_)) => Place::Outside,
        // TLS has proven who it is, wherever it is.
        Some(_) if peer.is_private() => Place::Usual,
        // A gateway whose connection broke comes back before we hear of the break; its address is
        // proven by the connection.
        Some(known @ ControlPeer::Stream { .. })
            if peer.is_reliable() && known.address().map(|a| a.ip()) == address =>
        {
            Place::Usual
        }
        Some(_) => Place::Other,
    };
    Origin { address, place }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::TransactionId;

    #[test]
    fn what_has_no_key_in_it_goes_on() {
        let text = "MEGACO/3 <conf>\nReply = 1 { Context = - { ServiceChange = ROOT } }\n\
                    Transaction = 7 { Context = $ { Add = $ { Media { Stream = 1 { LocalControl { \
                    crntls/psk = \"0001\" } } } } } }\nTransaction = 8 { Context = 2 { Subtract = a } }\n";
        let message = carnet_h248::text::parse(text.as_bytes(), &carnet_h248::text::Limits::default());
        let (open, refusal) = withheld(&"mrfp".into(), message.unwrap());
        let open = open.unwrap();
        assert!(open.secrets().is_empty());
        assert!(matches!(open.transactions(), [Transaction::Reply(_), Transaction::Request(_)]), "{open:?}");
        let refusal = refusal.unwrap();
        assert_eq!(refusal.mid, MId::domain("mrfp"));
        let [Transaction::Reply(reply)] = refusal.transactions() else { panic!("{refusal:?}") };
        assert_eq!((reply.id, reply.body.first_error().map(|e| e.code)), (TransactionId(7), Some(504)));
    }

    #[test]
    fn where_a_gateway_is_heard_from() {
        let at = |text: &str| text.parse().unwrap();
        let datagram = |from: &str| ControlPeer::Datagram { remote: at(from), local: at("192.0.2.1:2944") };
        let stream = |id, from: &str| ControlPeer::Stream { id, remote: at(from), private: false };
        let tls = |id, from: &str| ControlPeer::Stream { id, remote: at(from), private: true };
        let table = [
            (None, datagram("192.0.2.2:2944"), Place::Usual),
            (Some(datagram("192.0.2.2:2944")), datagram("192.0.2.2:2944"), Place::Usual),
            // Anybody could have written the address: the port has to be the same, too.
            (Some(datagram("192.0.2.2:2944")), datagram("192.0.2.2:2945"), Place::Other),
            (Some(datagram("192.0.2.2:2944")), datagram("192.0.2.3:2944"), Place::Other),
            // One that connected again, and another host.
            (Some(stream(1, "192.0.2.2:4000")), stream(2, "192.0.2.2:4001"), Place::Usual),
            (Some(stream(1, "192.0.2.2:4000")), stream(2, "192.0.2.3:4000"), Place::Other),
            (Some(stream(1, "192.0.2.2:4000")), datagram("192.0.2.2:4000"), Place::Other),
            (Some(tls(1, "192.0.2.2:4000")), tls(2, "192.0.2.3:4000"), Place::Usual),
            (Some(tls(1, "192.0.2.2:4000")), stream(2, "192.0.2.3:4000"), Place::Other),
            (Some(ControlPeer::Local(3)), ControlPeer::Local(3), Place::Usual),
            (Some(ControlPeer::Local(3)), datagram("127.0.0.1:2944"), Place::Outside),
        ];
        for (known, peer, place) in table {
            let found = origin(known, peer);
            assert_eq!((found.place, found.address), (place, peer.address().map(|a| a.ip())), "{peer:?}");
        }
    }
}
