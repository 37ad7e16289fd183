//! What roles show to whoever watches them: the logs, the demonstration, tests.

use super::counted::Said;
use bytes::Bytes;
use carnet_event::Event;
use carnet_gateway::media;
use carnet_net::h248::{ControlPassed, ControlWatch};
use carnet_ops::Told;
use std::net::SocketAddr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// One thing that happened in a role.
pub enum Seen<'a> {
    /// A SIP message passed the sockets of a border or conference server.
    Sip {
        /// Which.
        border: &'a str,
        /// As on the wire.
        octets: &'a [u8],
        /// Whether the border sent it.
        sent: bool,
        /// From or to where, with the border's own address as far as it is known.
        hop: &'a carnet_sip::Hop,
    },
    /// A message of H.248 was taken or sent at the sockets of a node, or sent to one in this process.
    Control {
        /// Which.
        node: &'a str,
        /// The message and its way.
        passed: &'a ControlPassed<'a>,
    },
    /// A message of the ng protocol.
    Ng {
        /// Which border or gateway.
        node: &'a str,
        /// Our address, if it is known.
        local: Option<SocketAddr>,
        /// The other end.
        remote: SocketAddr,
        /// Whether we sent it.
        sent: bool,
        /// As on the wire; put together only for who wants it.
        octets: &'a dyn Fn() -> Bytes,
    },
    /// A message went from a border or conference server to a gateway.
    Command {
        /// Which gateway.
        gateway: &'a str,
        /// The message.
        message: &'a carnet_h248::Message,
    },
    /// Something about an H.248 transaction, at either end of it.
    Counted {
        /// `border`, `conference`, `steering` or `gateway`.
        role: &'static str,
        /// Which.
        node: &'a str,
        /// Who is at the other end.
        peer: &'a str,
        /// What.
        said: Said,
    },
    /// A SIP transaction of a border or conference server has its final response.
    Finished {
        /// Which.
        node: &'a str,
        /// The transaction.
        finished: &'a carnet_sip::Finished,
    },
    /// A border reports.
    Border {
        /// Which border.
        border: &'a str,
        /// What.
        event: &'a carnet_border::Event,
    },
    /// A conference server reports.
    Conference {
        /// Which.
        conference: &'a str,
        /// What.
        event: &'a carnet_conference::Event,
    },
    /// The steering of a gateway reports.
    Steering {
        /// Which gateway.
        gateway: &'a str,
        /// What.
        event: &'a carnet_steering::Event,
    },
    /// A gateway reports.
    Gateway {
        /// Which gateway.
        gateway: &'a str,
        /// What.
        event: &'a carnet_gateway::Event,
    },
    /// A key management service reports.
    Kms {
        /// Its name.
        kms: &'a str,
        /// What.
        event: &'a crate::kms::Event,
    },
    /// A gateway's media engine reports.
    Media {
        /// Which gateway.
        gateway: &'a str,
        /// What.
        event: &'a media::Event,
    },
    /// How much a gateway holds, after anything has changed.
    Holds {
        /// Which gateway.
        gateway: &'a str,
        /// Contexts.
        contexts: usize,
        /// Nothing at all: no context, no port, no transaction.
        idle: bool,
    },
}

/// Called where the thing happens; must be quick.
pub type Observer = Arc<dyn Fn(Seen<'_>) + Send + Sync>;

/// Writes what matters to the log.
pub fn log(seen: &Seen<'_>) {
    match seen {
        Seen::Border { border, event } => told("border", border, *event),
        Seen::Conference { conference, event } => told("conference", conference, *event),
        Seen::Steering { gateway, event } => told("steering", gateway, *event),
        Seen::Kms { kms, event } => told("kms", kms, *event),
        Seen::Gateway { gateway, event } => told("gateway", gateway, *event),
        Seen::Media { gateway, event } => tracing::debug!(gateway, ?event, "media"),
        Seen::Command { gateway, message } => {
            tracing::trace!(gateway, message = %printed(message), "h248");
        }
        // As commands, or in the ladder, or as counts.
        Seen::Control { .. } | Seen::Ng { .. } | Seen::Counted { .. } | Seen::Finished { .. } => {}
        Seen::Sip { border, octets, sent, .. } => {
            tracing::trace!(border, sent, message = %String::from_utf8_lossy(octets), "sip");
        }
        Seen::Holds { gateway, contexts, idle } => tracing::trace!(gateway, contexts, idle, "holds"),
    }
}

fn told<E: Event>(role: &'static str, node: &str, event: &E) {
    if let Some(level) = event.level() {
        carnet_ops::log::tell(level, event.name(), || Told::of(role, node, event));
    }
}

/// For the sockets of a node: who sees their messages.
pub fn control_watch(node: &str, observer: &Observer) -> ControlWatch {
    let (node, observer) = (node.to_owned(), observer.clone());
    Arc::new(move |passed| observer(Seen::Control { node: &node, passed }))
}

/// An H.248 message as text, without the keys in it.
pub fn printed(message: &carnet_h248::Message) -> String {
    let octets = carnet_h248::text::print(message, carnet_h248::text::Form::Long);
    let secrets = message.secrets();
    // Nearly none has any: then nothing has to be wiped, or copied.
    if secrets.iter().all(|secret| secret.expose().is_empty()) {
        return String::from_utf8(octets)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    }
    let whole = Zeroizing::new(octets);
    let mut text = Zeroizing::new(String::from_utf8_lossy(&whole).into_owned());
    for secret in secrets.into_iter().filter(|secret| !secret.expose().is_empty()) {
        text = Zeroizing::new(text.replace(secret.expose(), "(secret)"));
    }
    text.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::text::{self, Limits};

    #[test]
    fn keys_are_not_in_the_log() {
        let octets = b"MEGACO/3 <a> Transaction=1{Context=1{Modify=ip/1{Media{Stream=1{LocalControl{\
                       Mode=Inactive,crntls/psk=000102030405060708090A0B0C0D0E0F}}}}}}";
        let message = text::parse(octets, &Limits::default()).unwrap();
        let shown = printed(&message);
        assert!(shown.contains("crntls/psk") && shown.contains("(secret)"), "{shown}");
        assert!(!shown.contains("0001") && !shown.contains("0E0F"), "{shown}");
        assert!(!format!("{message:?}").contains("0001"));
    }
}
