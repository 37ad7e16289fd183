//! What all calls share: the gateway, what was asked of it, and what is to be said.

use crate::Config;
use crate::dialog::DialogKey;
use crate::event::Event;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::machine::RequestId;
use crate::reconfigure::Places;
use crate::statistics::Statistics;
use carnet_h248::controller::{RequestError, RequestNumber};
use carnet_h248::{ActionReply, ActionRequest, ContextId, Verb};
use carnet_ng::{Command, Value};
use carnet_plan::{Both, Context, Octets, Side};
use carnet_wire::Random;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The media line of a call that a context was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) call: Arc<str>,
    pub(crate) dialog: DialogKey,
    pub(crate) line: usize,
}

/// A request to the gateway that is not answered yet.
#[derive(Debug)]
pub(crate) enum Op {
    Add {
        call: Arc<str>,
        line: usize,
        context: Box<Context>,
        /// The offerer, whose termination is the first.
        first: Side,
    },
    Modify {
        call: Arc<str>,
    },
    Subtract(Subtract),
    /// The counters are asked for.
    Measure {
        call: Arc<str>,
        purpose: Purpose,
    },
    /// Subtract of what no call knows.
    Sweep,
}

/// Why counters are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Somebody wants to know.
    Query,
    /// Nothing passed on that line for a long time.
    Silence(DialogKey, usize),
}

#[derive(Debug)]
pub(crate) struct Subtract {
    pub(crate) place: Place,
    pub(crate) context: Box<Context>,
    pub(crate) tries: u8,
}

/// How often a failed Subtract is repeated before it is left to the next comparison with the gateway.
const SUBTRACT_TRIES: u8 = 5;
const SUBTRACT_AGAIN: Duration = Duration::from_secs(2);

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) gateway: Gateway,
    pub(crate) ops: HashMap<RequestNumber, Op>,
    /// Subtracts that failed, by when they are repeated.
    pub(crate) again: BTreeMap<(Instant, u64), Subtract>,
    pub(crate) replies: VecDeque<(RequestId, Value)>,
    pub(crate) events: VecDeque<Event>,
    /// The call of each context.
    pub(crate) contexts: HashMap<u32, Arc<str>>,
    /// Requests that are not answered yet.
    pub(crate) requests: usize,
    /// Those of them that know the answer `load limit`.
    pub(crate) know_load_limit: HashSet<RequestId>,
    /// Calls at the moment, the one at hand among them.
    pub(crate) calls: usize,
    /// No new calls.
    pub(crate) retired: bool,
    /// The moment of the input at hand.
    pub(crate) now: Instant,
    /// One moment on the two clocks.
    pub(crate) start: (Instant, SystemTime),
    pub(crate) statistics: Statistics,
    next_again: u64,
    next_events: u32,
}

impl Core {
    pub(crate) fn new(config: Config, mut random: Box<dyn Random>, now: Instant, wall: SystemTime) -> Self {
        Self {
            gateway: Gateway::new(&config, &mut *random, now, wall),
            config,
            places: Places::default(),
            ops: HashMap::new(),
            again: BTreeMap::new(),
            replies: VecDeque::new(),
            events: VecDeque::new(),
            contexts: HashMap::new(),
            requests: 0,
            know_load_limit: HashSet::new(),
            calls: 0,
            retired: false,
            now,
            start: (now, wall),
            statistics: Statistics::default(),
            next_again: 0,
            next_events: 1,
        }
    }

    /// Answers a request that was counted.
    pub(crate) fn reply(&mut self, id: RequestId, answer: impl Into<Value>) {
        self.requests = self.requests.saturating_sub(1);
        self.know_load_limit.remove(&id);
        self.replies.push_back((id, answer.into()));
    }

    /// The same with why it was not done.
    pub(crate) fn refuse(&mut self, id: RequestId, command: Command, call_id: &str, fault: &Fault) {
        self.statistics.refused(fault);
        self.events.push_back(Event::RequestRefused {
            command: command.as_str(),
            call_id: call_id.to_owned(),
            overload: matches!(fault, Fault::Overload(_)),
            reason: fault.text().to_owned(),
        });
        let knows = self.know_load_limit.contains(&id);
        self.reply(id, fault.reply(knows));
    }

    /// Two fresh Events numbers, the first of them.
    pub(crate) fn next_events(&mut self) -> u32 {
        let number = self.next_events;
        // 0xFFFFFFFF means all.
        self.next_events = if number > 0xffff_fff0 { 1 } else { number + 2 };
        number
    }

    pub(crate) fn ask(&mut self, actions: Vec<ActionRequest>, op: Op) -> RequestNumber {
        let request = self.gateway.request(self.now, actions);
        self.ops.insert(request, op);
        request
    }

    /// Gives a context back. The counters come with the answer, if there is one to come.
    pub(crate) fn release(&mut self, place: Place, context: Box<Context>) -> Option<RequestNumber> {
        if let Some(id) = context.id() {
            self.contexts.remove(&id);
        }
        self.subtract(Subtract { place, context, tries: 0 })
    }

    fn subtract(&mut self, subtract: Subtract) -> Option<RequestNumber> {
        let actions = subtract.context.subtract();
        // A gateway that is not there is cleared when it comes back.
        if actions.is_empty() || !self.gateway.is_up() {
            return None;
        }
        Some(self.ask(actions, Op::Subtract(subtract)))
    }

    /// The gateway answered a Subtract. The counters, if it did.
    pub(crate) fn subtracted(
        &mut self,
        subtract: Subtract,
        result: Result<Vec<ActionReply>, RequestError>,
    ) -> (Place, Option<Both<Octets>>) {
        let place = subtract.place.clone();
        let (actions, code) = match result {
            Ok(actions) => (actions, None),
            Err(RequestError::Refused { error, actions }) => (actions, Some(error.code)),
            Err(RequestError::Failed(_)) => (Vec::new(), Some(0)),
            // What it had is gone, or is cleared when it comes back.
            Err(_) => return (place, None),
        };
        // 411, 430, 431, 435: it is not there any more, which is what we want.
        if let Some(code) = code.filter(|code| !matches!(code, 411 | 430 | 431 | 435)) {
            self.refused("Subtract", code, String::new());
            if subtract.tries < SUBTRACT_TRIES {
                self.next_again += 1;
                let key = (self.now + SUBTRACT_AGAIN, self.next_again);
                self.again.insert(key, Subtract { tries: subtract.tries + 1, ..subtract });
            }
            return (place, None);
        }
        let Some(id) = subtract.context.id() else { return (place, None) };
        // 411 is all of it. The others ended the transaction at one termination; the next may be there.
        if matches!(code, Some(430 | 431 | 435)) {
            self.sweep(id);
        }
        let octets = subtract.context.counted(&actions);
        self.statistics.passed(&octets);
        self.events.push_back(Event::MediaReleased {
            call_id: place.call.as_ref().to_owned(),
            context: id,
            octets: octets.clone(),
        });
        (place, Some(octets))
    }

    /// Repeats the Subtracts that failed.
    pub(crate) fn subtract_again(&mut self) {
        while let Some(entry) = self.again.first_entry().filter(|e| e.key().0 <= self.now) {
            let subtract = entry.remove();
            self.subtract(subtract);
        }
    }

    /// Ends a context that no call knows.
    pub(crate) fn sweep(&mut self, context: u32) {
        self.ask(carnet_plan::subtract_all(ContextId::Id(context)), Op::Sweep);
    }

    /// An Add came to nothing: what was done of it is undone.
    pub(crate) fn undo(&mut self, actions: &[ActionReply]) {
        let added = |action: &&ActionReply| {
            action.commands.iter().any(|c| c.verb == Verb::Add && c.error().is_none())
        };
        if let Some(id) = actions.iter().find(added).and_then(|action| action.context.id()) {
            self.sweep(id);
        }
    }

    pub(crate) fn refused(&mut self, command: &'static str, code: u16, text: String) {
        self.events.push_back(Event::GatewayRefused { command, code, text });
    }
}
