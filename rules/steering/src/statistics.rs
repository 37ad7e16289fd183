//! The answer to `statistics`: in rtpengine's shape and words, with what has a meaning for TCP media.
//!
//! A session is a dialog or a branch here. `timeoutsessions` are those in which nobody connected,
//! `silenttimeoutsessions` those in which nothing passed, `offertimeoutsessions` those that nobody answered.
//! TCP has no packets, so there are none.

use crate::core::Core;
use crate::event::Ended;
use crate::fault::{Fault, Reply};
use carnet_ng::{Command, Value};
use carnet_plan::{Both, Octets};
use std::time::Duration;

/// Counters since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statistics {
    pub(crate) started: u64,
    offers: u64,
    answers: u64,
    deletes: u64,
    queries: u64,
    errors: u64,
    overloads: u64,
    deleted: u64,
    unanswered: u64,
    unconnected: u64,
    silent: u64,
    forced: u64,
    unused: u64,
    lasted: Duration,
    octets: u64,
}

impl Statistics {
    pub(crate) fn asked(&mut self, command: Command) {
        *match command {
            Command::Offer => &mut self.offers,
            Command::Answer => &mut self.answers,
            Command::Delete => &mut self.deletes,
            _ => &mut self.queries,
        } += 1;
    }

    pub(crate) fn refused(&mut self, fault: &Fault) {
        *match fault {
            Fault::Refused { .. } => &mut self.errors,
            Fault::Overload(_) => &mut self.overloads,
        } += 1;
    }

    pub(crate) fn ended(&mut self, why: Ended, lasted: Duration) {
        *match why {
            Ended::Deleted => &mut self.deleted,
            Ended::Unanswered => &mut self.unanswered,
            Ended::NoConnection => &mut self.unconnected,
            Ended::Silent => &mut self.silent,
            Ended::Unused => &mut self.unused,
            Ended::GatewayLost | Ended::ContextsLost | Ended::Closing => &mut self.forced,
        } += 1;
        self.lasted = self.lasted.saturating_add(lasted);
    }

    pub(crate) fn passed(&mut self, octets: &Both<Octets>) {
        let passed = octets.caller.received.saturating_add(octets.callee.received);
        self.octets = self.octets.saturating_add(passed);
    }

    fn over(&self) -> u64 {
        self.deleted + self.unanswered + self.unconnected + self.silent + self.forced + self.unused
    }
}

fn number(n: u64) -> Value {
    Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Bencode has no fractions: rtpengine writes such numbers as text, too.
fn seconds(time: Duration) -> Value {
    Value::text(&format!("{}.{:06}", time.as_secs(), time.subsec_micros()))
}

impl Core {
    /// All of it. `calls` is how many there are now.
    pub(crate) fn statistics_told(&self, calls: usize) -> Reply {
        let s = &self.statistics;
        let calls = number(u64::try_from(calls).unwrap_or(u64::MAX));
        let over = s.over();
        let mut current = Reply::default();
        current.put("sessionsown", calls.clone());
        current.put("sessionsforeign", Value::Integer(0));
        current.put("sessionstotal", calls);
        current.put("dialogs", number(s.started.saturating_sub(over)));
        current.put("contexts", number(u64::try_from(self.contexts.len()).unwrap_or(u64::MAX)));
        current.put("requests", number(u64::try_from(self.requests).unwrap_or(u64::MAX)));
        let mut total = Reply::default();
        // A text, as rtpengine has it.
        let uptime = self.now.saturating_duration_since(self.start.0).as_secs();
        total.put("uptime", Value::text(&uptime.to_string()));
        total.put("managedsessions", number(s.started));
        total.put("rejectedsessions", number(s.overloads));
        total.put("timeoutsessions", number(s.unconnected));
        total.put("silenttimeoutsessions", number(s.silent));
        total.put("finaltimeoutsessions", Value::Integer(0));
        total.put("offertimeoutsessions", number(s.unanswered));
        total.put("regularterminatedsessions", number(s.deleted.saturating_add(s.unused)));
        total.put("forcedterminatedsessions", number(s.forced));
        total.put("relayedbytes", number(s.octets));
        let average = s.lasted.checked_div(u32::try_from(over).unwrap_or(u32::MAX)).unwrap_or(Duration::ZERO);
        total.put("avgcallduration", seconds(average));
        total.put("totalcallsduration", seconds(s.lasted));
        let mut control = Reply::default();
        control.put("totaloffercount", number(s.offers));
        control.put("totalanswercount", number(s.answers));
        control.put("totaldeletecount", number(s.deletes));
        control.put("totalquerycount", number(s.queries));
        control.put("totalerrorcount", number(s.errors));
        let mut all = Reply::default();
        all.put("currentstatistics", current.into());
        all.put("totalstatistics", total.into());
        all.put("controlstatistics", control.into());
        let mut reply = Reply::ok();
        reply.put("statistics", all.into());
        reply
    }
}
