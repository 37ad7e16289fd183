//! What a gateway reports of the terminations of a call, and what follows.
//!
//! RFC 3525 §7.2.7; TS 23.334 §6.2.10.3: Notify TLS session establishment Failure Event. A call whose TLS
//! does not come about at the gateway ends, unless the network says otherwise: its ends believe in media
//! that cannot pass. TLS that stood and was cut off ends the connection only: what came is all that will.

use crate::border::Border;
use crate::event::{Cause, Event};
use carnet_h248::{ContextId, ObservedEvent, ObservedEvents, TerminationId, Value};
use carnet_plan::Side;
use std::time::Instant;

/// Asks whether the termination is still wanted; the controller has answered.
const HEARTBEAT: &str = "hangterm/thb";

impl Border {
    pub(crate) fn notified(
        &mut self,
        now: Instant,
        gateway: &str,
        context: ContextId,
        termination: &TerminationId,
        observed: &ObservedEvents,
    ) {
        if termination.is_root() {
            return;
        }
        let Some(id) = context.id().filter(|_| observed.events.iter().any(|e| e.name != HEARTBEAT)) else {
            return;
        };
        // The controller has answered, and subtracted what it did not know.
        let owner = self.calls.values().find_map(|call| {
            let (index, side) = call.session.place(gateway, id, termination)?;
            Some((call.key, index, side))
        });
        let Some((key, index, side)) = owner else { return };
        // A gateway that is asked for both says the same twice.
        let ended = observed.events.iter().any(|e| e.name == "tcpbcc/BNCChange");
        for event in observed.events.iter().filter(|e| e.name != HEARTBEAT) {
            if ended && event.name == "g/cause" {
                continue;
            }
            if event.name == "tlsbsc/BNCChange" {
                self.tls_changed(now, key, (index, side), event);
                continue;
            }
            let inactive = event.name == "adid/ipstop";
            let (what, reason) = (event.name.to_string(), reason(event));
            self.with(key, |call, core| {
                let call_id = call.call_id.clone();
                core.events.push_back(Event::MediaNotice { call_id, index, side, what, reason });
                if inactive {
                    call.hang_up(core, now, Cause::Inactive);
                }
            });
        }
    }

    /// TLS with one end stands, or does not.
    fn tls_changed(
        &mut self,
        now: Instant,
        key: crate::core::CallKey,
        (index, side): (usize, Option<Side>),
        event: &ObservedEvent,
    ) {
        // A gateway that names its terminations anew makes nothing worse.
        let (named, side) = (side, side.unwrap_or(Side::Caller));
        let stands = event.value("Type").map(Value::as_str).is_some_and(|t| t.eq_ignore_ascii_case("EST"));
        self.with(key, |call, core| {
            let call_id = call.call_id.clone();
            if stands {
                return core.events.push_back(Event::TlsUp { call_id, index, side });
            }
            let reason = reason(event);
            // RFC 3525 §E.1.2: `NR`, released in order.
            if word(event, "Generalcause").is_some_and(|general| general == "NR") {
                let what = event.name.to_string();
                return core.events.push_back(Event::MediaNotice {
                    call_id,
                    index,
                    side: named,
                    what,
                    reason,
                });
            }
            let cut_off = reason == "truncated";
            let context = call.session.streams.get(index).and_then(crate::session::Stream::context);
            let fingerprints = context.map(|context| context.held_to(side).to_vec()).unwrap_or_default();
            core.events.push_back(Event::TlsFailed { call_id, index, side, reason, fingerprints });
            let network = call.network(core, side);
            if !cut_off && network.is_none_or(|n| n.tls_failure_ends) {
                call.hang_up(core, now, Cause::Tls(side));
            }
        });
    }
}

/// What the gateway says of an event: its own words, else the general cause (RFC 3525 §E.1.2), else nothing.
fn reason(event: &ObservedEvent) -> String {
    let words = word(event, "Failurecause").filter(|words| !words.is_empty());
    words.or_else(|| word(event, "Generalcause")).unwrap_or_default()
}

fn word(event: &ObservedEvent, name: &str) -> Option<String> {
    event.value(name).map(|value| value.as_str().trim_matches('"').to_owned())
}
