//! The kernel engine: joined pinholes whose packets the kernel translates (TS 23.334 §5.16.1).
//!
//! One thread an engine owns the table and the sockets to the kernel ([`carnet_netfilter`]); the loops give it
//! orders and hear from it. A pair is chosen for it by [`carnet_gateway::engine::choose`], and is *carried* as long as
//! both pinholes are settled so. Pinholes keep their loop, their name and their place in it: only octets do not pass there.
//!
//! A caller from elsewhere than was said does not match the pair's element, and comes to the loop
//! like to any pinhole: that is for a relay to judge.
//!
//! The thread also steers callers to the loops' transparent listeners, so that a pinhole needs no socket of its own.

mod connection;
mod desk;
mod kept;
mod session;
mod sessions;
mod streams;
mod thread;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carnet_gateway::engine::{Host, Reason};
use carnet_gateway::media::{Cause, Pinhole, Rate};

use super::EngineConfig;
use super::post::Reports;
use super::regroup::Dock;
use desk::Desk;

/// What an engine is told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelConfig {
    /// Whether it is used.
    pub mode: Mode,
    /// Pairs are carried by it; else it only steers callers.
    pub translate: bool,
    /// Callers are steered to the loops' listeners, and pinholes have no sockets.
    pub steer: bool,
    /// The table's name is `carnet-` and this.
    pub table: String,
    /// At the end of the process the table stays, and sessions flow on until the next process takes them up. For
    /// a gateway whose contexts survive it; else they are ended.
    pub keep: bool,
    /// If it is kept: how long after the start what an earlier process left goes on without being taken up.
    pub claim: Duration,
}

/// Whether the kernel engine is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// No: sockets only.
    #[default]
    Off,
    /// If the host allows it.
    Auto,
    /// The engine does not start where the host does not allow it.
    Required,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            translate: true,
            steer: true,
            table: "media".to_owned(),
            keep: false,
            claim: Duration::from_secs(30),
        }
    }
}

/// A carried pair, named by its caller's pinhole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carriage {
    /// The pinhole that is called, and our address there.
    pub(super) caller: (Pinhole, SocketAddr),
    /// Who may call.
    pub(super) source: IpAddr,
    /// The pinhole that calls, and our address there.
    pub(super) callee: (Pinhole, SocketAddr),
    /// Whom.
    pub(super) to: SocketAddr,
}

/// What may change while a pair is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Terms {
    /// Nothing passes: a gate is shut.
    pub(super) held: bool,
    /// Nothing that the caller, or the callee, says passes: a gate is open one way. Acknowledgements do.
    pub(super) shut: (bool, bool),
    /// Limits on what the caller, and the callee, send.
    pub(super) rates: (Option<Rate>, Option<Rate>),
    /// DSCP of what goes to the caller, and to the callee.
    pub(super) dscp: (Option<u8>, Option<u8>),
}

impl Terms {
    /// As they are kept with a session: nearly all have none.
    pub(super) fn kept(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Those that were kept.
    pub(super) fn of(kept: Option<&Self>) -> Self {
        kept.copied().unwrap_or_default()
    }
}

/// A loop to the thread.
#[derive(Debug)]
pub(super) enum Order {
    /// Callers of a pinhole come to the loop's listener. Answered with `Steered`.
    Steer { pinhole: Pinhole, local: SocketAddr, listener: u16 },
    /// No longer. Not answered.
    Unsteer { local: SocketAddr },
    /// Who calls a pinhole is kept for a while, because the pair may yet be carried. Answered with `Kept`.
    Keep { pinhole: Pinhole, local: SocketAddr },
    /// No longer: the callers are the loop's, or the pinhole is no more. Not answered.
    LetGo { local: SocketAddr, over: bool },
    /// Carry it, or with other terms from now on. Who was kept is led on. Answered with `Carried` the first time.
    Carry { carriage: Carriage, terms: Terms },
    /// Asks for the counters of what is carried from this address of ours; answered with `Counted`.
    Count { caller: Pinhole, local: SocketAddr },
    /// Not any more: answered with `Dropped`, once, whatever there was. If a connection is up, both peers are
    /// told that it is over.
    Drop { caller: Pinhole, local: SocketAddr },
}

/// Octets of payload, as far as is known: from the caller, and from the callee.
pub(super) type Octets = (u64, u64);

/// The thread to a loop.
#[derive(Debug)]
pub(super) enum Report {
    /// Callers come to the listener; or the kernel refused that.
    Steered { pinhole: Pinhole, done: bool },
    /// Who calls is kept; or the kernel refused that.
    Kept { pinhole: Pinhole },
    /// Who calls is kept no longer: it was not decided in time.
    Overdue { pinhole: Pinhole },
    /// From now on the kernel has it; or refused it.
    Carried { caller: Pinhole, done: bool },
    /// A connection is up, end to end.
    Established { caller: Pinhole, peer: SocketAddr },
    /// It ended, or could not be made: how, towards the caller and towards the callee. The element is gone.
    Ended { caller: Pinhole, causes: (Cause, Cause), octets: Octets },
    /// The answer to `Count`.
    Counted { caller: Pinhole, octets: Octets },
    /// The answer to `Drop`.
    Dropped { caller: Pinhole, octets: Octets },
}

/// What the kernel engine has done since the start.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    /// Sessions that are carried now.
    pub(super) carried: AtomicU64,
    /// Connections that came up.
    pub(super) connections: AtomicU64,
    /// Octets that passed, both ways.
    pub(super) octets: AtomicU64,
    /// Orders that the kernel refused.
    pub(super) refused: AtomicU64,
    /// Callers who are kept now, because it is not decided where they lead.
    pub(super) kept: AtomicU64,
    /// Those for whom it was not decided in time: the loop's.
    pub(super) overdue: AtomicU64,
    /// All who were kept, and were put back.
    pub(super) put_back: AtomicU64,
    /// Those who were lost instead: there were too many.
    pub(super) lost: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelTally {
    /// Sessions that are carried now.
    pub carried: u64,
    /// Connections that came up.
    pub connections: u64,
    /// Octets that passed, both ways, as of a moment ago: seconds, or half a minute where there are very many connections. Those of
    /// connections that go on only where the host counts (`nf_conntrack_acct`).
    pub octets: u64,
    /// Orders that the kernel refused.
    pub refused: u64,
    /// Callers who are kept now, because they came before it was decided where they lead.
    pub kept: u64,
    /// Those for whom it was not decided in time; they are relayed.
    pub overdue: u64,
    /// All who were kept, and were put back.
    pub put_back: u64,
    /// Those who were lost instead, because there were too many. They call again.
    pub lost: u64,
}

impl Tallies {
    pub(super) fn now(&self) -> KernelTally {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        KernelTally {
            carried: of(&self.carried),
            connections: of(&self.connections),
            octets: of(&self.octets),
            refused: of(&self.refused),
            kept: of(&self.kept),
            overdue: of(&self.overdue),
            put_back: of(&self.put_back),
            lost: of(&self.lost),
        }
    }
}

/// Starts the kernel engine for these loops, or says why there is none.
///
/// # Errors
///
/// It is required, and the host does not allow it.
pub(super) fn start(
    config: &EngineConfig,
    docks: &Arc<[Arc<Dock>]>,
    reports: Reports,
) -> io::Result<(Vec<Kernel>, Overview)> {
    let mode = config.kernel.mode;
    if mode == Mode::Off {
        return Ok(none(docks.len(), Reason::Configured, Vec::new()));
    }
    let refuse = |what: &str| {
        io::Error::new(io::ErrorKind::Unsupported, format!("the kernel engine is required: {what}"))
    };
    let addresses = config.realms.iter().flat_map(|realm| {
        let (v4, v6) = (realm.v4.map(IpAddr::from), realm.v6.map(IpAddr::from));
        [v4, v6].into_iter().flatten()
    });
    let (mut outside, mut v6) = (false, false);
    for address in addresses.filter(|address| !address.is_loopback()) {
        outside = true;
        v6 |= address.is_ipv6();
    }
    if !outside {
        return match mode {
            Mode::Required => Err(refuse("all addresses are loopback addresses")),
            _ => Ok(none(docks.len(), Reason::Host, Vec::new())),
        };
    }
    let sessions = u64::try_from(config.pinholes.saturating_mul(config.threads) / 2).unwrap_or(u64::MAX);
    let mut lacks = carnet_netfilter::lacks(sessions);
    lacks.retain(|lack| v6 || !lack.only_v6);
    let mut texts: Vec<String> = lacks.iter().map(ToString::to_string).collect();
    let fatal: Vec<_> =
        lacks.iter().filter(|lack| lack.fatal && !lack.only_v6).map(ToString::to_string).collect();
    if let (Mode::Required, true, [_, ..]) = (mode, config.kernel.translate, &fatal[..]) {
        return Err(refuse(&fatal.join("; ")));
    }
    let useful = config.kernel.steer || config.kernel.translate && fatal.is_empty();
    let opened = if !useful || lacks.iter().any(|lack| lack.fatal && lack.table) {
        None
    } else {
        match thread::Thread::open(config, docks, reports) {
            Ok(thread) => {
                if let (true, Some(error)) = (config.kernel.translate, thread.keeps_nobody()) {
                    texts.push(format!("who calls before the controller's word is relayed: {error}"));
                }
                Some(thread)
            }
            Err(error) => {
                texts.push(error.to_string());
                None
            }
        }
    };
    let works = opened.is_some() && fatal.is_empty();
    match (works, texts.join("; ")) {
        (_, text) if text.is_empty() => {}
        (true, text) => tracing::warn!("the kernel engine works, but: {text}"),
        (false, text) => tracing::warn!("the kernel engine is off, everything is relayed: {text}"),
    }
    let Some(thread) = opened else {
        return match mode {
            Mode::Required => Err(refuse(&texts.join("; "))),
            _ => Ok(none(docks.len(), Reason::Host, texts)),
        };
    };
    let v6 = v6 && !lacks.iter().any(|lack| lack.fatal && lack.only_v6);
    let host = match (config.kernel.translate, fatal.is_empty()) {
        (false, _) => Host::Relays(Reason::Configured),
        (true, false) => Host::Relays(Reason::Host),
        (true, true) => Host::Translates { v4: true, v6 },
    };
    let (desk, tallies) = (Arc::clone(&thread.desk), Arc::clone(&thread.tallies));
    let steers = config.kernel.steer;
    let keeps = thread.keeps_nobody().is_none() && matches!(host, Host::Translates { .. });
    let kernel = |index| Kernel { host, steers, keeps, desk: Some(Desk::enter(&desk)), index };
    let kernels = (0..docks.len()).map(kernel).collect();
    std::thread::Builder::new().name("carnet-kernel".into()).spawn(move || thread.run())?;
    Ok((kernels, Overview { host, tallies, lacks: texts.into() }))
}

/// No kernel engine, for this reason.
fn none(loops: usize, reason: Reason, lacks: Vec<String>) -> (Vec<Kernel>, Overview) {
    let host = Host::Relays(reason);
    let kernels =
        (0..loops).map(|index| Kernel { host, steers: false, keeps: false, desk: None, index }).collect();
    (kernels, Overview { host, tallies: Arc::default(), lacks: lacks.into() })
}

/// What the engine's handle says of it.
#[derive(Debug, Clone)]
pub(super) struct Overview {
    pub(super) host: Host,
    pub(super) tallies: Arc<Tallies>,
    pub(super) lacks: Arc<[String]>,
}

/// A loop's way to the thread.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What the host allows; does not change.
    pub(super) host: Host,
    /// Callers can be steered to a listener: pinholes need no sockets.
    pub(super) steers: bool,
    /// Callers can be kept until it is decided where they lead.
    pub(super) keeps: bool,
    desk: Option<desk::Seat>,
    index: usize,
}

impl Kernel {
    /// There is one.
    pub(super) fn is_there(&self) -> bool {
        self.desk.is_some()
    }

    /// Orders have room. A loop takes no commands while they have not.
    pub(super) fn has_room(&self) -> bool {
        self.desk.as_ref().is_none_or(|desk| desk.has_room())
    }

    /// Gives an order. Without a kernel engine there is nobody to carry it out, and no reason to give one.
    pub(super) fn order(&self, order: Order) {
        // The port may be another loop's next, whose orders for it are to come later.
        let over = matches!(order, Order::Unsteer { .. } | Order::LetGo { over: true, .. });
        if let Some(desk) = &self.desk {
            desk.put(order);
        }
        if over {
            self.hand_over();
        }
    }

    /// The thread is to see the orders of this turn.
    pub(super) fn hand_over(&self) {
        if let Some(desk) = &self.desk {
            desk.hand_over(self.index);
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.hand_over();
    }
}
