//! What all calls of a border share: the SIP endpoint, the gateways, tables and timers.

use crate::config::Config;
use crate::event::{Cause, Event};
use crate::fork::Fork;
use crate::gateways::{Gateways, Request, Wanted};
use crate::registrar::Registrar;
use crate::rtp::Rtp;
use crate::session::Fault;
use crate::state::{Abandoned, Late, State};
use crate::usage::Usage;
use carnet_h248::controller::GatewayName;
use carnet_h248::{ActionReply, ContextId, ErrorDescriptor};
use carnet_plan::{Context, Side, Urgency, Watch};
use carnet_sip::{ClientKey, Destination, Endpoint, Hop, Message, ServerKey, Uri};
use carnet_wire::Random;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Names a call or a subscription inside one border. Never used again in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallKey(pub(crate) u64);

/// A request to a gateway that is not answered yet.
#[derive(Debug)]
pub(crate) enum Op {
    Add {
        call: CallKey,
        context: Context,
        first: Side,
        /// Gateways that would not.
        tried: Vec<GatewayName>,
    },
    Modify {
        call: CallKey,
        gateway: GatewayName,
    },
    Subtract {
        context: Context,
        call_id: String,
        tries: u8,
    },
    /// Subtract of a context that no call knows.
    Sweep,
    /// A question of the administrator.
    Audit(u64),
}

/// Why a request was sent on.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// It belongs to a call or a subscription and came from this side.
    Call(CallKey, Side),
    /// It belongs to nothing: its branch, and the network it came from.
    Relay { branch: usize, network: usize },
    /// A REGISTER on its way to the registrar: how it came, and the token of its Path.
    Register { hop: Hop, network: usize, token: String },
}

/// A request that was sent on, until its final response.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) purpose: Purpose,
    pub(crate) server: ServerKey,
    /// As received.
    pub(crate) request: Message,
    /// Where it was sent, for people.
    pub(crate) to: String,
}

/// Where a request goes, for people.
pub(crate) fn named(destination: &Destination) -> String {
    match destination {
        Destination::Uri(uri) | Destination::From(uri, _) => uri.as_str().to_owned(),
        Destination::Hops(hops) => {
            hops.first().map_or_else(String::new, |hop| format!("{} {}", hop.transport, hop.remote))
        }
    }
}

/// What one call wants of others; done when the call at hand is.
#[derive(Debug)]
pub(crate) enum Todo {
    /// This branch of a fork lost.
    GiveUp(CallKey, Cause),
    /// The next group of a fork gets its turn.
    Launch(ServerKey),
    /// A branch of a fork was redirected to these.
    Follow(ServerKey, Vec<Uri>),
}

/// What a deadline is for.
#[derive(Debug)]
pub(crate) enum Alarm {
    /// Of a call or a subscription.
    Call(CallKey),
    /// The group of a fork that is being tried has had its time.
    Hunt(ServerKey),
    /// A binding of this address of record may have run out.
    Binding(String),
    /// Gateways of before are waited for no longer.
    Opening,
    /// Nothing comes to set-ups of before any more.
    Abandoned,
    /// Last words of a set-up of the process before are said again.
    Say {
        hop: Hop,
        octets: bytes::Bytes,
        times: u8,
    },
    Subtract {
        context: Box<Context>,
        call_id: String,
        tries: u8,
    },
}

/// Octets of a name of ours in a Contact or a Path.
const TOKEN: usize = 12;

/// Whether this has the form of such a name.
pub(crate) fn is_token(name: &str) -> bool {
    name.len() == 2 * TOKEN && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Names an alarm, so that it can be taken back.
pub(crate) type AlarmKey = (Instant, u64);

/// How often a failed Subtract is repeated before the gateway's own heartbeat is left to find
/// the termination.
const SUBTRACT_TRIES: u8 = 5;

/// One generator for the border and the endpoint inside it.
#[derive(Clone)]
pub(crate) struct SharedRandom(Arc<Mutex<Box<dyn Random>>>);

impl SharedRandom {
    pub(crate) fn new(random: Box<dyn Random>) -> Self {
        Self(Arc::new(Mutex::new(random)))
    }
}

impl Random for SharedRandom {
    fn fill(&mut self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
    }
}

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) random: SharedRandom,
    pub(crate) endpoint: Endpoint,
    pub(crate) gateways: Gateways,
    pub(crate) registrar: Registrar,
    pub(crate) usage: Usage,
    pub(crate) rtp: Option<Rtp>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) ops: HashMap<Request, Op>,
    pub(crate) clients: HashMap<ClientKey, Forwarded>,
    /// Requests of calls, by their server transaction, with the transaction they went on in.
    pub(crate) served: HashMap<ServerKey, (CallKey, Option<ClientKey>)>,
    /// INVITEs outside dialogs by what they have in common with themselves when they come again.
    pub(crate) arrived: HashMap<u64, ServerKey>,
    prints: RandomState,
    /// Requests that went several ways.
    pub(crate) forks: HashMap<ServerKey, Fork>,
    pub(crate) todo: VecDeque<Todo>,
    /// The user parts of our Contacts.
    pub(crate) tokens: HashMap<String, (CallKey, Side)>,
    pub(crate) alarms: BTreeMap<AlarmKey, Alarm>,
    pub(crate) state: State,
    /// What waits for gateways that have not come back to us yet.
    pub(crate) late: Vec<Late>,
    /// Set-ups of before, by Call-ID, as long as an answer may come to them.
    pub(crate) abandoned: HashMap<String, Abandoned>,
    /// New requests wait for gateways of before, until then at the latest.
    pub(crate) opening: Option<AlarmKey>,
    /// What the clock shows by which records were written that are taken up, if not ours.
    pub(crate) written_by: Option<SystemTime>,
    /// Calls of the process before are being taken up.
    pub(crate) restoring: bool,
    /// One moment on both clocks.
    pub(crate) start: (Instant, SystemTime),
    /// What the configuration does not name any more and calls still use.
    pub(crate) past: crate::reconfigure::Past,
    next_alarm: u64,
    next_event_request: u32,
    /// The moment of the input at hand.
    pub(crate) now: Instant,
}

impl Core {
    pub(crate) fn new(config: Config, random: Box<dyn Random>, now: Instant, wall: SystemTime) -> Self {
        let mut random = SharedRandom::new(random);
        Self {
            endpoint: Endpoint::new(config.sip.clone(), Box::new(random.clone())),
            gateways: Gateways::new(&config, &mut random, now, wall),
            registrar: Registrar::default(),
            usage: Usage::default(),
            rtp: config.rtpengine.map(|settings| Rtp::new(settings, &mut random)),
            events: VecDeque::new(),
            ops: HashMap::new(),
            clients: HashMap::new(),
            served: HashMap::new(),
            arrived: HashMap::new(),
            prints: RandomState::new(),
            forks: HashMap::new(),
            todo: VecDeque::new(),
            tokens: HashMap::new(),
            alarms: BTreeMap::new(),
            state: State::default(),
            late: Vec::new(),
            abandoned: HashMap::new(),
            opening: None,
            written_by: None,
            restoring: false,
            start: (now, wall),
            past: crate::reconfigure::Past::default(),
            next_alarm: 0,
            next_event_request: 1,
            now,
            random,
            config,
        }
    }

    /// The gateway for a context, and what it can be asked to watch.
    pub(crate) fn pick(
        &mut self,
        realms: [&str; 2],
        (urgency, tls): (Urgency, bool),
        tried: &[GatewayName],
    ) -> Option<(GatewayName, Watch)> {
        let wanted = Wanted { realms, urgent: urgency != Urgency::Normal, tls, tried };
        let gateway = self.gateways.pick(self.now, wanted, &mut self.random)?;
        let watch = Watch {
            cause: self.gateways.supports(&gateway, "g"),
            heartbeat: self.gateways.supports(&gateway, "hangterm"),
            inactivity: self.gateways.supports(&gateway, "adid"),
            tcp: self.gateways.supports(&gateway, "tcpbcc"),
            tls: self.gateways.supports(&gateway, "tlsbsc"),
            connections: false,
        };
        Some((gateway, watch))
    }

    /// The transport that a gateway is told in place of the planned one: of lines whose TLS passes through
    /// some want to hear `TCP` and others `TCP/TLS`.
    pub(crate) fn named(&self, gateway: &str, sealed: bool) -> Option<&'static str> {
        self.gateways.pass_through(gateway).filter(|_| sealed).map(carnet_plan::Transport::as_str)
    }

    /// What an INVITE that comes again by another transaction has in common with itself (RFC 3261 §8.2.2.2), and so
    /// has one that loops, but none that passes twice on its way: another network or another target is another place
    /// on the way (RFC 3261 §16.3 step 4).
    pub(crate) fn print(&self, network: usize, invite: &Message) -> u64 {
        let mut print = self.prints.build_hasher();
        let cseq = invite.cseq().map_or(0, |cseq| cseq.number);
        (network, cseq, invite.call_id().unwrap_or_default(), invite.from_tag()).hash(&mut print);
        invite.request_uri().map(carnet_sip::Uri::as_str).hash(&mut print);
        invite.lines("Route").for_each(|line| line.hash(&mut print));
        print.finish()
    }

    /// A name for a Contact or a Path that cannot be guessed.
    pub(crate) fn token(&mut self) -> String {
        carnet_wire::hex::encode(&self.random.array::<TOKEN>())
    }

    /// Two fresh Events numbers, the first of them.
    pub(crate) fn next_event_request(&mut self) -> u32 {
        let number = self.next_event_request;
        // 0xFFFFFFFF means all.
        self.next_event_request = if number > 0xffff_fff0 { 1 } else { number + 2 };
        number
    }

    pub(crate) fn alarm(&mut self, at: Instant, alarm: Alarm) -> AlarmKey {
        self.next_alarm += 1;
        let key = (at, self.next_alarm);
        self.alarms.insert(key, alarm);
        key
    }

    /// Ends a context; the counters come as an event.
    pub(crate) fn release(&mut self, context: Context, call_id: String) {
        self.subtract(context, call_id, 0);
    }

    pub(crate) fn subtract(&mut self, context: Context, call_id: String, tries: u8) {
        let actions = context.subtract();
        if !actions.is_empty() && (self.restoring || self.gateways.is_awaited(&context.gateway)) {
            return self.late.push(Late::Subtract(Box::new(context), call_id));
        }
        // A gateway that is not there is cleared when it comes back.
        if self.gateways.is_up(&context.gateway) && !actions.is_empty() {
            let request = self.gateways.request(self.now, &context.gateway, actions);
            self.ops.insert(request, Op::Subtract { context, call_id, tries });
        }
    }

    /// The gateway answered a Subtract.
    pub(crate) fn subtracted(
        &mut self,
        (context, call_id, tries): (Context, String, u8),
        actions: &[ActionReply],
        error: Option<&ErrorDescriptor>,
    ) {
        // 411, 430, 431, 435: it is not there any more, which is what we want.
        let again = error.is_some_and(|e| !matches!(e.code, 411 | 430 | 431 | 435));
        if let Some(error) = error.filter(|_| again) {
            self.gateway_refused(context.gateway.clone(), "Subtract", error);
            if tries < SUBTRACT_TRIES {
                let at = self.now + self.config.timers.subtract_again;
                self.alarm(at, Alarm::Subtract { context: Box::new(context), call_id, tries: tries + 1 });
            }
            return;
        }
        // 411 is all of it. The others ended the transaction at one termination; the next may be there.
        if let (Some(430 | 431 | 435), Some(id)) = (error.map(|e| e.code), context.id()) {
            self.sweep(&context.gateway.clone(), ContextId::Id(id));
        }
        self.events.push_back(Event::MediaReleased {
            call_id,
            gateway: context.gateway.clone(),
            context: context.id().unwrap_or(0),
            octets: context.counted(actions),
        });
    }

    /// Ends a context that no call knows.
    pub(crate) fn sweep(&mut self, gateway: &GatewayName, context: ContextId) {
        let actions = carnet_plan::subtract_all(context);
        let request = self.gateways.request(self.now, gateway, actions);
        self.ops.insert(request, Op::Sweep);
    }

    pub(crate) fn gateway_refused(
        &mut self,
        gateway: GatewayName,
        command: &'static str,
        error: &ErrorDescriptor,
    ) {
        let text = error.text.as_deref().unwrap_or_default().to_owned();
        self.events.push_back(Event::GatewayRefused { gateway, code: error.code, command, text });
    }

    /// Refuses a request.
    pub(crate) fn refuse(&mut self, now: Instant, key: ServerKey, request: &Message, fault: &Fault) {
        self.refuse_branch(now, (key, 0), request, fault);
    }

    /// Refuses a request, or one branch of it.
    pub(crate) fn refuse_branch(
        &mut self,
        now: Instant,
        (key, branch): (ServerKey, usize),
        request: &Message,
        fault: &Fault,
    ) {
        let Ok(mut response) = Message::response(request, fault.status, "") else { return };
        let code = fault.warning.unwrap_or(399);
        let text: String =
            fault.text.chars().filter(|c| !matches!(c, '"' | '\\') && !c.is_control()).collect();
        // Header values made here are printable, so adding them cannot fail.
        let _ = response.push_back("Warning", &format!("{code} {} \"{text}\"", self.config.name));
        if fault.retry_after {
            let seconds = self.config.timers.retry_after.as_secs().max(1);
            let _ = response.push_back("Retry-After", &seconds.to_string());
        }
        if let Some((name, value)) = &fault.header {
            let _ = response.push_back(name, value);
        }
        self.events.push_back(Event::RequestRefused {
            call_id: request.call_id().unwrap_or_default().to_owned(),
            method: request.method().to_string(),
            status: fault.status,
            reason: fault.text.clone(),
        });
        self.reply(now, (key, branch), response, true);
    }

    /// How long a call that is over is remembered, for what still comes of it.
    pub(crate) fn linger(&self) -> Duration {
        self.config.sip.timers.patience() + Duration::from_secs(8)
    }
}

/// What it means to the offerer that no gateway can carry its line as it would have to be.
pub(crate) fn no_way(context: &Context) -> Fault {
    let text = match context.line.ends_tls() {
        true => "no media gateway here can end TLS for this line",
        false => "no media gateway here can rewrite MSRP",
    };
    Fault::warned(488, 399, text)
}

/// What a gateway's refusal to reserve means to the caller.
pub(crate) fn fault_of(error: &ErrorDescriptor) -> Fault {
    match error.code {
        // It went while it was asked, or serves nobody.
        502 | 503 => Fault::new(503, "the media gateway does not answer or is out of service"),
        // No context, termination, port or capacity left, or for the moment.
        412 | 432 | 434 | 510 | 511 | 526 => Fault::new(503, "the media gateway has no capacity"),
        // What the description says conflicts, lacks something, or cannot be read (H.248.8).
        472..=474 => Fault::warned(488, 399, "the media gateway cannot do what this description asks for"),
        _ => Fault::new(500, "the media gateway refused"),
    }
}
