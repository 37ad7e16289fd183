//! What roles show to whoever watches them: the logs, the demonstration, tests.

use carnet_gateway::media;
use std::sync::Arc;
use zeroize::Zeroizing;

/// One thing that happened in a role.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A SIP message passed the sockets of a border or conference server.
    Sip {
        /// Which.
        border: &'a str,
        /// As on the wire.
        octets: &'a [u8],
        /// Whether the border sent it.
        sent: bool,
    },
    /// A message went from a border or conference server to a gateway.
    Command {
        /// Which gateway.
        gateway: &'a str,
        /// The message.
        message: &'a carnet_h248::Message,
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
        Seen::Border { border, event } => {
            let (name, call) = (event.name(), event.call_id().unwrap_or_default());
            if let carnet_border::Event::PlanMade { offerer, plan, .. } = event {
                // All legs and edits of it are what `carnet border explain` is for.
                return tracing::info!(border, call, ?offerer, %plan, "{name}");
            }
            if let carnet_border::Event::TlsFailed { index, side, reason, fingerprints, .. } = event {
                let held_to = fingerprints.join(", ");
                return tracing::warn!(border, call, line = index, ?side, cause = reason, held_to, "{name}");
            }
            match event.level() {
                carnet_border::Level::Info => tracing::info!(border, call, ?event, "{name}"),
                carnet_border::Level::Warn => tracing::warn!(border, call, ?event, "{name}"),
                carnet_border::Level::Error => tracing::error!(border, call, ?event, "{name}"),
            }
        }
        Seen::Conference { conference, event } => {
            let (name, room) = (event.name(), event.room().unwrap_or_default());
            match event.level() {
                carnet_conference::Level::Info => tracing::info!(conference, room, ?event, "{name}"),
                carnet_conference::Level::Warn => tracing::warn!(conference, room, ?event, "{name}"),
                carnet_conference::Level::Error => tracing::error!(conference, room, ?event, "{name}"),
            }
        }
        Seen::Steering { gateway, event } => steering(gateway, event),
        Seen::Gateway { gateway, event: event @ carnet_gateway::Event::Resumed { .. } } => {
            tracing::debug!(gateway, ?event, "gateway");
        }
        Seen::Gateway { gateway, event: event @ carnet_gateway::Event::NotResumed { .. } } => {
            tracing::warn!(gateway, ?event, "gateway");
        }
        Seen::Gateway {
            gateway,
            event: carnet_gateway::Event::Engine { context, termination, engine, reason },
        } => {
            let (engine, why) = (engine.name(), reason.name());
            tracing::info!(gateway, ?context, %termination, engine, why, "{reason}");
        }
        Seen::Gateway { gateway, event } => tracing::info!(gateway, ?event, "gateway"),
        Seen::Media { gateway, event } => tracing::debug!(gateway, ?event, "media"),
        Seen::Command { gateway, message } => {
            tracing::trace!(gateway, message = %printed(message), "h248");
        }
        Seen::Sip { border, octets, sent } => {
            tracing::trace!(border, sent, message = %String::from_utf8_lossy(octets), "sip");
        }
        Seen::Holds { gateway, contexts, idle } => tracing::trace!(gateway, contexts, idle, "holds"),
    }
}

fn steering(gateway: &str, event: &carnet_steering::Event) {
    let name = event.name();
    if let carnet_steering::Event::OfferPlanned { call_id, from_tag, plan } = event {
        // All legs and edits of it are what `carnet border explain` is for.
        return tracing::info!(gateway, call = call_id, from_tag, %plan, "{name}");
    }
    let call = event.call_id().unwrap_or_default();
    match event.level() {
        carnet_steering::Level::Info => tracing::info!(gateway, call, ?event, "{name}"),
        carnet_steering::Level::Warn => tracing::warn!(gateway, call, ?event, "{name}"),
        carnet_steering::Level::Error => tracing::error!(gateway, call, ?event, "{name}"),
    }
}

/// An H.248 message as text, without the keys in it.
pub fn printed(message: &carnet_h248::Message) -> String {
    let octets = carnet_h248::text::print(message, carnet_h248::text::Form::Long);
    let whole = Zeroizing::new(octets);
    let mut text = Zeroizing::new(String::from_utf8_lossy(&whole).into_owned());
    for secret in message.secrets().into_iter().filter(|secret| !secret.expose().is_empty()) {
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
        assert!(!format!("{:?}", Seen::Command { gateway: "g", message: &message }).contains("0001"));
    }
}
