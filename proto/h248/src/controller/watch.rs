//! Whether gateways are there: heartbeats, loss, and gateways that are somebody else's.
//!
//! A gateway that says nothing is asked with an empty audit of ROOT, and lost when its silence has
//! lasted (RFC 3525 §11.4 leaves the times open). One that answers "not before my ServiceChange is
//! answered" (505) or "you do not control me" (504) is not ours at the moment: it gets nothing new, and
//! is lost like a silent one unless it registers or answers again.
//!
//! One whose media goes on without it (package `crnkeep`) is not given up so soon: it gets nothing new, and its
//! contexts are audited when it is heard again.
//!
//! A lost gateway is asked now and then whether it is back: it may never have noticed anything, and
//! then it does not register anew (RFC 3525 §11.5 leaves that to the gateway). So is one that speaks
//! without ever having registered: we have started again, and it has not.

use super::gateway::{Gateway, Purpose, State};
use super::{Controller, Event, LostReason};
use crate::model::{ActionRequest, Audit, Command, ContextId, ErrorDescriptor, TerminationId};
use std::time::{Duration, Instant};

/// Longest time between two probes of a lost gateway.
const SELDOM: Duration = Duration::from_secs(30);

impl Controller {
    /// Looks after a gateway whose time has come.
    pub(super) fn beat(&mut self, now: Instant, gateway: &str) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        let (heartbeat, lost_after) = (self.config.heartbeat, self.config.lost_after);
        if g.state == State::Away {
            if g.awaited.is_some_and(|until| until <= now) {
                return self.lose(now, gateway, LostReason::Silent);
            }
            g.probe(now, heartbeat);
            return;
        }
        if let Some(since) = g.estranged {
            if now.saturating_duration_since(since) >= lost_after {
                return self.lose(now, gateway, LostReason::Estranged);
            }
            g.ask_root(now, Purpose::Heartbeat);
            g.heartbeat_at = Some(now + heartbeat.min(lost_after));
            return;
        }
        let silent = g.silence(now);
        // A gateway in this process that says nothing is slow: its end would be told.
        if !g.is_inside() && silent >= lost_after {
            if !g.keeps() || silent >= self.config.away {
                return self.lose(now, gateway, LostReason::Silent);
            }
            g.missing = true;
        }
        let mut next = heartbeat.saturating_sub(silent);
        if next.is_zero() {
            next = match lost_after.saturating_sub(silent) {
                Duration::ZERO => heartbeat,
                left => heartbeat.min(left),
            };
            g.ask_root(now, Purpose::Heartbeat);
        }
        g.heartbeat_at = Some(now + next);
    }

    /// How long a gateway may be silent.
    pub(super) fn patience(&self, gateway: &str) -> Duration {
        let keeps = self.gateways.get(gateway).is_some_and(Gateway::keeps);
        if keeps { self.config.away.max(self.config.lost_after) } else { self.config.lost_after }
    }

    /// It says that it is not ours: by an error in a reply, or instead of one.
    pub(super) fn estranged(&mut self, now: Instant, gateway: &str, error: &ErrorDescriptor) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        if !matches!(error.code, 504 | 505) {
            return;
        }
        g.foreign = error.code == 504;
        if g.state == State::Away {
            if let Some(until) = g.awaited {
                if g.foreign {
                    return self.lose(now, gateway, LostReason::Estranged);
                }
                g.heartbeat_at = Some(until.min(now + self.config.heartbeat));
                return;
            }
            // Somebody else's is left in peace. One that is about to register should not need us.
            g.heartbeat_at = (!g.foreign).then(|| now + SELDOM);
            return;
        }
        if g.estranged.is_none() {
            // Its silence before counts: the message that says so is not from the gateway that was ours. One
            // in this process is asked nothing while it is silent.
            // One that keeps media going may be starting again: it has its time from now on.
            let since = g.heard_before.filter(|_| !g.is_inside() && !g.keeps()).unwrap_or(now);
            g.estranged = Some(since.max(now.checked_sub(self.config.lost_after).unwrap_or(since)));
            g.heartbeat_at = Some(now + self.config.heartbeat.min(self.config.lost_after));
        }
    }

    /// A gateway and its contexts are gone.
    pub(super) fn lose(&mut self, now: Instant, gateway: &str, reason: LostReason) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        if g.state == State::Away && g.awaited.is_none() {
            return;
        }
        g.enter(now, State::Away);
        g.forget();
        g.probes = 0;
        g.heartbeat_at = match reason {
            LostReason::Silent => Some(now + self.config.heartbeat),
            LostReason::Estranged if !g.foreign => Some(now + SELDOM),
            _ => None,
        };
        // What the gateway asked must still be answered, so the association itself stays.
        g.association.fail_requests();
        self.events.push_back(Event::Lost { gateway: g.name.clone(), reason });
        self.fail_requests(gateway);
    }

    /// A message of a gateway that is not registered came, and it is no registration.
    pub(super) fn spoke(&mut self, now: Instant, gateway: &str) {
        if let Some(g) = self.gateways.get_mut(gateway)
            && g.state == State::Away
            && !g.turned_away
            && g.heartbeat_at.is_none()
        {
            g.probes = 0;
            g.probe(now, self.config.heartbeat);
        }
    }
}

impl Gateway {
    /// An empty audit of ROOT: everything that is a gateway can answer it.
    fn ask_root(&mut self, now: Instant, purpose: Purpose) {
        if !self.waits_for(purpose) {
            let audit = Command::audit_value(TerminationId::ROOT, Audit::default());
            self.ask(now, purpose, vec![ActionRequest::new(ContextId::Null, vec![audit])]);
        }
    }

    pub(super) fn probe(&mut self, now: Instant, heartbeat: Duration) {
        self.ask_root(now, Purpose::Probe);
        let wait = heartbeat.saturating_mul(1u32.checked_shl(self.probes).unwrap_or(u32::MAX));
        self.probes = self.probes.saturating_add(1);
        let next = now + wait.min(SELDOM.max(heartbeat));
        // One that is awaited is asked without a pause that grows, and given up in time.
        self.heartbeat_at = Some(match self.awaited {
            Some(until) => until.min(now + heartbeat.min(wait)),
            None => next,
        });
    }
}
