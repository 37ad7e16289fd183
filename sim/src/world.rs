//! The clock and everything that happens, in order.

use crate::books::{Books, Violation};
use crate::borders::BorderNode;
use crate::dice::Dice;
use crate::faults::Fault;
use crate::forgery::Lately;
use crate::gateways::GatewayNode;
use crate::network::{self, Direction, Links};
use crate::phones::{Act, Call, Phones, Side};
use crate::setup::{BORDERS, GATEWAYS, Noise, Setup};
use crate::trace::Trace;
use carnet_gateway::media;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// Something at its time.
#[derive(Debug)]
pub enum Happening {
    /// An H.248 message arrives.
    Control { border: usize, gateway: usize, direction: Direction, epoch: Option<u64>, octets: Vec<u8> },
    /// An end hears that its connection is gone.
    Closed { border: usize, gateway: usize, epoch: u64, direction: Direction },
    /// A gateway makes broken connections again.
    Reconnect { gateway: usize, life: u32 },
    /// A SIP datagram arrives.
    Sip { border: usize, side: Side, up: bool, data: bytes::Bytes },
    /// An engine says something.
    Media { gateway: usize, life: u32, event: media::Event },
    /// A user does something.
    Act { call: usize, act: Act },
    /// Something goes wrong.
    Fault(Fault),
    /// Something that went wrong is right again.
    Mend(Fault),
    /// A border ends its calls.
    EndCalls { border: usize, life: u32 },
    /// A border that retired is gone; another starts.
    EndBorder { border: usize, life: u32 },
    /// A gateway that retired leaves.
    LeaveGateway { gateway: usize, life: u32 },
    /// A gateway that left is gone; another starts, or the same again.
    EndGateway { gateway: usize, life: u32, again: bool },
    /// By now the loss of a gateway has been told to its calls.
    MustBeTold { border: usize, life: u32, gateway: usize, calls: Vec<String>, cut: bool },
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What must not be.
    pub violations: Vec<Violation>,
    /// Calls that users made.
    pub calls: usize,
    /// Of them, answered.
    pub answered: usize,
    /// Of those, with MSRP that gateways rewrote.
    pub rewritten: usize,
    /// H.248 messages sent.
    pub messages: usize,
    /// Things that went wrong.
    pub faults: usize,
    /// Calls that were up when both sides were compared.
    pub compared: usize,
    /// A number that differs if anything did.
    pub fingerprint: u64,
    /// For each violation, what happened last of it.
    pub story: String,
}

/// Two borders, three gateways, their telephones and the network.
pub struct World {
    /// What was drawn.
    pub setup: Setup,
    /// The moment.
    pub now: Instant,
    origin: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    /// Chance.
    pub dice: Dice,
    /// Borders.
    pub borders: Vec<BorderNode>,
    /// Gateways.
    pub gateways: Vec<GatewayNode>,
    /// Telephones, by border.
    pub phones: Vec<Phones>,
    /// Calls as their users see them.
    pub calls: Vec<Call>,
    /// Links.
    pub links: Links,
    /// What happened.
    pub trace: Trace,
    /// What is counted.
    pub books: Books,
    /// What arrived lately.
    pub lately: Lately,
    /// Nothing goes wrong any more.
    pub calm: bool,
}

/// A border's name, and its message identifier.
pub fn border_name(border: usize) -> String {
    format!("alg{border}.example.com")
}

/// A gateway's name, and its message identifier.
pub fn gateway_name(gateway: usize) -> String {
    format!("agw{gateway}.example.com")
}

impl World {
    /// A world in which everybody has started.
    pub fn new(setup: Setup) -> Self {
        let mut dice = Dice::new(setup.seed);
        let now = Instant::now();
        let mut world = Self {
            now,
            origin: now,
            queue: BTreeMap::new(),
            next: 0,
            borders: (0..BORDERS).map(|_| BorderNode::default()).collect(),
            gateways: (0..GATEWAYS).map(|_| GatewayNode::default()).collect(),
            phones: (0..BORDERS).map(|_| Phones::new(&mut dice)).collect(),
            calls: Vec::new(),
            links: network::links(Noise::NONE),
            trace: Trace::new(20_000),
            books: Books::default(),
            lately: Lately::default(),
            calm: false,
            dice,
            setup,
        };
        for border in 0..BORDERS {
            world.start_border(border);
        }
        for gateway in 0..GATEWAYS {
            world.start_gateway(gateway);
        }
        world
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(self.origin)
    }

    /// The other clock.
    pub fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_352_000) + self.elapsed()
    }

    /// Writes something down.
    pub fn note(&mut self, text: String) {
        self.trace.note(self.elapsed(), text);
    }

    /// Something is to happen.
    pub fn at(&mut self, at: Instant, what: Happening) {
        self.next += 1;
        self.queue.insert((at, self.next), what);
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut still = 0u32;
        while let Some(at) = self.next_time().filter(|at| *at <= end) {
            if at > self.now {
                self.now = at;
                still = 0;
            }
            still += 1;
            if still > 100_000 {
                self.violation("time stands still".to_owned(), Vec::new());
                return;
            }
            match self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
                Some(entry) => {
                    let what = entry.remove();
                    self.happen(what);
                }
                None => self.timeouts(),
            }
        }
        self.now = end;
    }

    fn next_time(&self) -> Option<Instant> {
        let queue = self.queue.keys().next().map(|(at, _)| *at);
        let borders = self.borders.iter().filter_map(|b| b.life.as_ref()?.poll_timeout());
        let gateways = self.gateways.iter().filter_map(|g| g.life.as_ref()?.gateway.poll_timeout());
        let phones = self.phones.iter().filter_map(Phones::poll_timeout);
        borders.chain(gateways).chain(phones).chain(queue).min()
    }

    fn timeouts(&mut self) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for border in 0..BORDERS {
            if due(self.borders[border].life.as_ref().and_then(|b| b.poll_timeout())) {
                self.border_timeout(border);
            }
            if due(self.phones[border].poll_timeout()) {
                self.phones_timeout(border);
            }
        }
        for gateway in 0..GATEWAYS {
            if due(self.gateways[gateway].life.as_ref().and_then(|g| g.gateway.poll_timeout())) {
                self.gateway_timeout(gateway);
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Control { border, gateway, direction, epoch, octets } => {
                self.arrive(border, gateway, direction, epoch, octets);
            }
            Happening::Closed { border, gateway, epoch, direction } => {
                self.closed(border, gateway, epoch, direction);
            }
            Happening::Reconnect { gateway, life } => self.reconnect(gateway, life),
            Happening::Sip { border, side, up, data } => self.arrive_sip(border, side, up, data),
            Happening::Media { gateway, life, event } => self.media(gateway, life, event),
            Happening::Act { call, act } => self.act(call, act),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Mend(fault) => self.mend(fault),
            Happening::EndCalls { border, life } => self.end_calls(border, life),
            Happening::EndBorder { border, life } => self.replace_border(border, life),
            Happening::LeaveGateway { gateway, life } => self.leave_gateway(gateway, life),
            Happening::EndGateway { gateway, life, again } => self.replace_gateway(gateway, life, again),
            Happening::MustBeTold { border, life, gateway, calls, cut } => {
                self.must_be_told(border, life, gateway, &calls, cut);
            }
        }
    }
}

/// One whole run: chaos, calm, a comparison, the end of all calls, and what is left then.
pub fn run(setup: Setup) -> Report {
    let mut world = World::new(setup);
    // Everybody finds everybody.
    world.pass(Duration::from_secs(5));
    world.begin_chaos();
    world.pass(world.setup.chaos);
    world.end_chaos();
    world.pass(world.setup.calm);
    // A call that ends at this very moment has contexts that are being subtracted.
    for _ in 0..100 {
        let ending = |b: &BorderNode| b.ended.is_some_and(|at| world.now < at + Duration::from_millis(100));
        if !world.borders.iter().any(ending) {
            break;
        }
        world.pass(Duration::from_millis(20));
    }
    let compared = world.compare();
    world.hang_up_all();
    world.pass(Duration::from_secs(80));
    world.hang_up_rest();
    world.pass(world.setup.after);
    world.check_end();
    world.report(compared)
}
