//! Requests find their call, wait for the ones before them, and are worked.

use crate::call::{Call, Step, Waiting, Work};
use crate::core::Core;
use crate::fault::{Fault, Reply};
use crate::machine::{RequestId, Steering};
use carnet_ng::{Command, Options, Request, Value};
use std::sync::Arc;
use std::time::Instant;

impl Steering {
    /// Takes a request; its answer comes from [`Self::poll_reply`], now or when the gateway has answered.
    pub fn handle_request(&mut self, now: Instant, id: RequestId, request: Request) {
        self.core.now = now;
        self.core.requests += 1;
        if knows_load_limit(&request) {
            self.core.know_load_limit.insert(id);
        }
        match request.command {
            Command::Ping => {
                self.core.statistics.asked(Command::Ping);
                let mut pong = Reply::default();
                pong.put("result", Value::text("pong"));
                self.core.reply(id, pong);
            }
            Command::Offer | Command::Answer | Command::Delete | Command::Query => self.queue(id, request),
            Command::List => self.list(id, &request),
            Command::Statistics => {
                self.core.statistics.asked(Command::Statistics);
                let told = self.core.statistics_told(self.calls.len());
                self.core.reply(id, told);
            }
        }
        self.drain();
    }

    fn list(&mut self, id: RequestId, request: &Request) {
        /// As many as rtpengine tells.
        const USUAL: usize = 32;
        self.core.statistics.asked(Command::List);
        let most = match Options::of(request) {
            Ok(options) => options.limit.unwrap_or(USUAL),
            Err(error) => {
                let fault = Fault::new(400, error.to_string());
                return self.core.refuse(id, request.command, "", &fault);
            }
        };
        let mut reply = Reply::default();
        reply.put("result", Value::text("ok"));
        reply.put("calls", Value::texts(self.calls.keys().take(most).map(|id| &**id)));
        self.core.reply(id, reply);
    }

    fn queue(&mut self, id: RequestId, request: Request) {
        // What ends calls is let in when nothing else is.
        let most = self.core.config.limits.requests;
        let most = if request.command == Command::Delete { most.saturating_mul(2) } else { most };
        if self.core.requests > most {
            let fault = Fault::overload("too many requests wait for the gateway");
            return self.core.refuse(id, request.command, &request.call_id, &fault);
        }
        let options = match Options::of(&request) {
            Ok(options) => options,
            Err(error) => {
                let fault = Fault::new(400, error.to_string());
                return self.core.refuse(id, request.command, &request.call_id, &fault);
            }
        };
        let call_id: Arc<str> = request.call_id.as_str().into();
        let now = self.core.now;
        self.calls.entry(call_id.clone()).or_insert_with(|| Call::new(call_id.clone(), now));
        self.with_call(&call_id, |call, _| call.queue.push_back(Waiting { id, request, options }));
    }
}

/// Whether `supports` has `load limit`, as Kamailio says and OpenSIPS does not.
fn knows_load_limit(request: &Request) -> bool {
    matches!(request.more_of("supports"), Some(Value::List(words)) if words.contains(&Value::text("load limit")))
}

impl Call {
    /// Works what can be worked now.
    pub(crate) fn go_on(&mut self, core: &mut Core) {
        loop {
            match self.work.take_if(|work| work.outstanding.is_empty()) {
                Some(work) => self.finish(core, work),
                None if self.work.is_some() => return,
                None => {
                    let Some(next) = self.queue.pop_front() else { return };
                    self.begin(core, next);
                }
            }
        }
    }

    fn begin(&mut self, core: &mut Core, waiting: Waiting) {
        let (id, command) = (waiting.id, waiting.request.command);
        core.statistics.asked(command);
        let begun = match command {
            Command::Offer => self.offer(core, waiting),
            Command::Answer => self.answer(core, waiting),
            Command::Query => self.query(core, waiting),
            _ => self.delete(core, waiting),
        };
        if let Err(fault) = begun {
            core.refuse(id, command, &self.id, &fault);
        }
    }

    /// The gateway has done it, or not.
    pub(crate) fn finish(&mut self, core: &mut Core, work: Work) {
        let Work { id, options, failed, mut warnings, step, .. } = work;
        let (command, done) = match step {
            Step::Offer(offered) => {
                (Command::Offer, self.offered(core, *offered, &options, failed, &mut warnings))
            }
            Step::Answer(answered) => {
                (Command::Answer, self.answered(core, *answered, &options, failed, &mut warnings))
            }
            Step::Delete(ended) => {
                let ended: Vec<_> = ended.iter().collect();
                (Command::Delete, Ok(self.told_of(core, &ended)))
            }
            Step::Query(keys) => {
                let of: Vec<_> = self.dialogs.iter().filter(|dialog| keys.contains(&dialog.key)).collect();
                (Command::Query, Ok(self.told_of(core, &of)))
            }
        };
        match done {
            Ok(mut reply) => {
                crate::wishes::tell(&mut reply, &options, warnings);
                core.reply(id, reply);
            }
            Err(fault) => core.refuse(id, command, &self.id, &fault),
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, core: &mut Core) {
        if let Some(work) = self.work.as_mut().filter(|work| work.deadline <= core.now) {
            // What it does later is undone when it says so.
            work.outstanding.clear();
            work.failed.get_or_insert_with(|| Fault::overload("the gateway does not answer"));
            self.go_on(core);
        }
        self.dialogs_due(core);
    }
}
