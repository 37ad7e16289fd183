//! A dialog, a branch or a call is over: `delete`, its delay, and all other ends.

use crate::call::{Call, Step, Waiting, Work};
use crate::core::{Core, Place};
use crate::dialog::{Dialog, DialogKey};
use crate::event::{Ended, Event};
use crate::fault::{Fault, Reply};
use crate::tags::Names;
use carnet_h248::controller::RequestNumber;
use carnet_plan::Both;
use std::time::{Duration, Instant};

/// What nobody of several took is kept so long after the first answer: another may take it. So long may a
/// proxy wait for the final response of a branch (RFC 3261 §16.6, timer C).
pub(crate) const FORKS_ANSWER: Duration = Duration::from_secs(180);

impl Call {
    /// A `delete`. It is answered when the gateway has told the last counters.
    pub(crate) fn delete(&mut self, core: &mut Core, waiting: Waiting) -> Result<(), Fault> {
        let Waiting { id, request, options } = waiting;
        let to = request.to_tag.as_deref().filter(|tag| !tag.is_empty());
        let names = Names { from: &request.from_tag, to, branch: options.via_branch.as_deref() };
        let mut warnings = Vec::new();
        let Some(keys) = self.find_delete(names) else {
            const UNKNOWN: &str = "Call-ID not found or tags didn't match";
            if options.fatal {
                return Err(Fault::new(481, UNKNOWN));
            }
            let mut reply = Reply::ok();
            warnings.push(UNKNOWN.to_owned());
            crate::wishes::tell(&mut reply, &options, warnings);
            core.reply(id, reply);
            return Ok(());
        };
        let delay = options.delete_delay.unwrap_or(core.config.timers.delete_delay);
        let at = core.now.checked_add(delay).filter(|_| !delay.is_zero());
        let (step, outstanding) = if at.is_some() {
            for dialog in self.dialogs.iter_mut().filter(|dialog| keys.contains(&dialog.key)) {
                dialog.delete_at = at;
            }
            // Nobody will ask later: what has passed until now is told, as rtpengine does.
            let asked = self.count(core, &keys);
            (Step::Query(keys), Vec::from_iter(asked))
        } else {
            let (mut ended, mut outstanding) = (Vec::new(), Vec::new());
            for key in keys {
                let (dialog, requests) = self.end(core, key, Ended::Deleted);
                ended.extend(dialog);
                outstanding.extend(requests);
            }
            (Step::Delete(ended), outstanding)
        };
        let deadline = core.now + core.config.timers.gateway;
        self.work = Some(Work { id, options, deadline, outstanding, failed: None, warnings, step });
        Ok(())
    }

    /// Ends a dialog. What it was, and what the gateway was asked.
    pub(crate) fn end(
        &mut self,
        core: &mut Core,
        key: DialogKey,
        why: Ended,
    ) -> (Option<Dialog>, Vec<RequestNumber>) {
        let Some(at) = self.dialogs.iter().position(|d| d.key == key) else { return (None, Vec::new()) };
        let mut dialog = self.dialogs.remove(at);
        let mut requests = Vec::new();
        for (line, stream) in dialog.streams.iter_mut().enumerate() {
            stream.last = stream.carrying().cloned().map(Box::new);
            for context in stream.take_contexts() {
                let place = Place { call: self.id.clone(), dialog: key, line };
                requests.extend(core.release(place, context));
            }
        }
        let lasted = core.now.saturating_duration_since(dialog.created);
        core.statistics.ended(why, lasted);
        core.events.push_back(Event::DialogEnded {
            call_id: self.id.as_ref().to_owned(),
            tags: Both { caller: dialog.ends.caller.tag.clone(), callee: dialog.ends.callee.tag.clone() },
            why,
            lasted,
        });
        (Some(dialog), requests)
    }

    /// Ends everything, and answers who waits for the gateway.
    pub(crate) fn end_all(&mut self, core: &mut Core, why: Ended) {
        if let Some(work) = &mut self.work {
            work.outstanding.clear();
            let text =
                if why == Ended::GatewayLost { "the gateway was lost" } else { "this node is closing" };
            work.failed.get_or_insert_with(|| Fault::overload(text));
        }
        self.go_on_failed(core);
        let keys: Vec<_> = self.dialogs.iter().map(|d| d.key).collect();
        for key in keys {
            self.end(core, key, why);
        }
    }

    /// Finishes the work at hand, which has failed, and begins nothing new.
    fn go_on_failed(&mut self, core: &mut Core) {
        if let Some(work) = self.work.take() {
            self.finish(core, work);
        }
    }

    /// Ends the dialogs that have nothing on the gateway any more.
    pub(crate) fn end_empty(&mut self, core: &mut Core, why: Ended) {
        let keys: Vec<_> = self.dialogs.iter().filter(|d| d.is_empty()).map(|d| d.key).collect();
        for key in keys {
            self.end(core, key, why);
        }
    }

    /// Does what is due of the dialogs, unless a request is being worked: then it is done after that.
    pub(crate) fn dialogs_due(&mut self, core: &mut Core) {
        if self.work.is_some() {
            return;
        }
        let (now, timers) = (core.now, core.config.timers);
        let mut over = Vec::new();
        for dialog in &mut self.dialogs {
            let due = |at: &mut Instant| *at <= now;
            let idle = dialog.idle(&timers).filter(|(at, _)| *at <= now);
            if dialog.delete_at.take_if(due).is_some() {
                over.push((dialog.key, Ended::Deleted));
            } else if let Some((_, why)) = idle {
                over.push((dialog.key, why));
            } else if dialog.gives_up(&timers).is_some_and(|at| at <= now) {
                dialog.exchange = None;
                for (line, stream) in dialog.streams.iter_mut().enumerate() {
                    let context = stream.offered.take();
                    let place = Place { call: self.id.clone(), dialog: dialog.key, line };
                    context.map(|context| core.release(place, context));
                }
            } else if dialog.sweep_at.take_if(due).is_some() {
                let key = dialog.key;
                let refused = dialog.streams.iter_mut().enumerate().filter(|(_, stream)| stream.refused);
                for (line, context) in refused.flat_map(|(line, s)| s.take_contexts().map(move |c| (line, c)))
                {
                    core.release(Place { call: self.id.clone(), dialog: key, line }, context);
                }
                if dialog.is_empty() {
                    over.push((key, Ended::Unused));
                }
            }
        }
        for (key, why) in over {
            self.end(core, key, why);
        }
    }
}
