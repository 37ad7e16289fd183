//! What goes by at the sockets of the process and what its roles decide, kept for a while so that it can be shown as a ladder,
//! and sent to a Homer if there is one.
//!
//! Nothing is copied where nobody can ask. Keys of H.248 do not get in here; what else could be used to log in or to decrypt
//! is masked wherever it goes out.

mod calls;
mod hep;
mod ring;

pub use ring::{Bounds, Level};

use super::{Seen, printed};
use bytes::Bytes;
use carnet_net::h248::{ControlPassed, ControlTransport};
use carnet_ops::Told;
use carnet_ops::config::{BorderRole, Config, GatewayRole, Memory};
use carnet_ops::metrics::Metrics;
use carnet_sip::Transport;
use carnet_trace::model::Happened;
use carnet_trace::{Ladder, Limits, Node, Peer, Protocol, Session, Telling, Tracer, Way, What};
use ring::Ring;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;

pub use hep::{Hep, PACKETS, RESULTS, context as hep_context, password};

/// A ladder of everything is made at most for a tenth of the time.
const SHARE: u32 = 10;
/// How old a ladder of everything may be at most.
const STALE: Duration = Duration::from_secs(10);

/// By what they are, and by name.
type Nodes = HashMap<&'static str, HashMap<String, Arc<Node>>>;

/// What the roles show, on its way to who wants to see it.
pub struct Tap {
    nodes: Nodes,
    ring: RwLock<Option<Arc<Ring>>>,
    hep: RwLock<Option<Arc<Hep>>>,
    /// Whether there is one of them: nothing is copied for nobody.
    looks: AtomicBool,
    /// Only one ladder is made at a time.
    making: Arc<Semaphore>,
    /// The last ladder of everything.
    made: Mutex<Option<Made>>,
}

#[derive(Clone)]
struct Made {
    /// Number of the newest that is in it, and how many were gone.
    upto: (u64, u64),
    at: Instant,
    took: Duration,
    ladder: Arc<Ladder>,
}

impl Tap {
    /// For the roles of that file.
    ///
    /// # Errors
    /// The password for HEP cannot be read.
    pub fn new(config: &Config) -> Result<Self, String> {
        let this = Self {
            nodes: nodes(config),
            ring: RwLock::default(),
            hep: RwLock::default(),
            looks: AtomicBool::new(false),
            making: Arc::new(Semaphore::new(1)),
            made: Mutex::default(),
        };
        this.keep(kept_of(config));
        this.send_to(hep_of(config)?);
        Ok(this)
    }

    /// Keeps so much from now on, of what there is too.
    pub fn keep(&self, kept: Option<Bounds>) {
        {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            match (&*ring, kept) {
                (_, None) => *ring = None,
                (Some(ring), Some(bounds)) => ring.set(bounds, now()),
                (None, Some(bounds)) => *ring = Some(Arc::new(Ring::new(bounds))),
            }
        }
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.look();
    }

    /// Sends to another Homer from now on, or to none. What waits for the one before is sent there still.
    pub fn send_to(&self, hep: Option<Hep>) {
        *self.hep.write().unwrap_or_else(PoisonError::into_inner) = hep.map(Arc::new);
        self.look();
    }

    fn look(&self) {
        self.looks.store(self.ring().is_some() || self.hep().is_some(), Ordering::Release);
    }

    /// Whether anybody sees what goes by.
    pub fn looks(&self) -> bool {
        self.looks.load(Ordering::Acquire)
    }

    fn ring(&self) -> Option<Arc<Ring>> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is a ring.
    pub fn has_ring(&self) -> bool {
        self.ring().is_some()
    }

    /// What sends to a Homer.
    pub fn hep(&self) -> Option<Arc<Hep>> {
        self.hep.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a message.
    pub fn see(&self, seen: &Seen<'_>, metrics: &Metrics) {
        if !self.looks() {
            return;
        }
        let (node, what) = match seen {
            Seen::Sip { border, octets, sent, hop } => {
                let way = match hop.transport {
                    Transport::Udp => Way::Udp,
                    Transport::Tcp => Way::Tcp,
                    Transport::Tls => Way::Tls,
                };
                let what = What::Message {
                    protocol: Protocol::Sip,
                    sent: *sent,
                    local: hop.local,
                    peer: Peer::Address(hop.remote),
                    way,
                    octets: Bytes::copy_from_slice(octets),
                };
                (self.named(border), what)
            }
            Seen::Control { node, passed } => {
                if let Some(hep) = self.hep() {
                    hep.calls().heard(passed);
                }
                let Some(what) = self.control(passed) else { return };
                (self.named(node), what)
            }
            Seen::Ng { node, local, remote, sent, octets } => {
                let what = What::Message {
                    protocol: Protocol::Ng,
                    sent: *sent,
                    local: *local,
                    peer: Peer::Address(*remote),
                    way: Way::Udp,
                    octets: octets(),
                };
                (self.named(node), what)
            }
            Seen::Border { .. } | Seen::Steering { .. } => return self.learn(seen),
            _ => return,
        };
        self.put(node, SystemTime::now(), what, metrics);
    }

    /// Takes what tells which call a message of H.248 is of.
    fn learn(&self, seen: &Seen<'_>) {
        if let Some(hep) = self.hep() {
            hep.calls().learn(seen);
        }
    }

    /// Takes an event, if it is of a call, a context or a ticket.
    pub fn told(&self, told: &Told, wall: SystemTime, metrics: &Metrics) {
        if !self.has_ring() {
            return;
        }
        let node = match told.role {
            "steering" => self.node("steering", &super::steering::name_of(&told.node)),
            role => self.node(role, &told.node),
        };
        let context = told.field("context").and_then(carnet_event::Value::number);
        let context = context.and_then(|context| u32::try_from(context).ok());
        let gateway = told.field("gateway").and_then(carnet_event::Value::text).unwrap_or(&told.node);
        let held = context.map(|context| (gateway.to_owned(), context));
        let call_id = told.call_id().map(str::to_owned);
        if call_id.is_none() && held.is_none() && told.role != "kms" {
            return;
        }
        let mut fields = told.members();
        fields.remove(told.role);
        fields.remove("call_id");
        let event =
            Happened { event: told.name.to_owned(), level: told.level.name().to_owned(), call_id, fields };
        self.put(node, wall, What::Event { event: Box::new(event), held }, metrics);
    }

    fn put(&self, node: Arc<Node>, wall: SystemTime, what: What, metrics: &Metrics) {
        let at = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let telling = Telling { at, number: 0, node, what };
        let telling = match self.ring() {
            Some(ring) => ring.put(telling),
            None => Arc::new(telling),
        };
        if let Some(hep) = self.hep().filter(|_| matches!(telling.what, What::Message { .. })) {
            hep.put(telling, metrics);
        }
    }

    fn control(&self, passed: &ControlPassed<'_>) -> Option<What> {
        let peer = match (passed.peer.address(), passed.name) {
            (Some(address), _) => Peer::Address(address),
            (None, Some(name)) => Peer::Node(self.named(name)),
            (None, None) => return None,
        };
        let way = match passed.transport {
            Some(ControlTransport::Udp) => Way::Udp,
            Some(ControlTransport::Tcp) => Way::Tcp,
            Some(ControlTransport::Tls) => Way::Tls,
            Some(ControlTransport::Sctp) => Way::Sctp,
            None => Way::Inside,
        };
        Some(What::Message {
            protocol: Protocol::Control,
            sent: passed.sent,
            local: passed.local,
            peer,
            way,
            // Without the authentication header, too: it proves something to one receiver only.
            octets: printed(passed.message).into(),
        })
    }

    fn node(&self, role: &'static str, name: &str) -> Arc<Node> {
        // Every role of the file is there from the start.
        let known = self.nodes.get(role).and_then(|nodes| nodes.get(name));
        known.cloned().unwrap_or_else(|| Node::new(name, role))
    }

    /// One that speaks: a border, conference server, steering or gateway.
    fn named(&self, name: &str) -> Arc<Node> {
        for role in ["border", "conference", "steering", "gateway"] {
            if let Some(node) = self.nodes.get(role).and_then(|nodes| nodes.get(name)) {
                return node.clone();
            }
        }
        Node::new(name, "")
    }

    /// How full the ring is.
    pub fn level(&self) -> Option<Level> {
        let ring = self.ring()?;
        ring.age(now());
        Some(ring.level())
    }

    /// What has greater numbers than `after`, of that span of time: a page.
    pub fn page(
        &self,
        after: u64,
        most: usize,
        octets: usize,
        span: &RangeInclusive<Duration>,
    ) -> Vec<Arc<Telling>> {
        let Some(ring) = self.ring() else { return Vec::new() };
        ring.age(now());
        ring.page(after, most, octets, span)
    }

    /// A permit to make a ladder; to be held meanwhile.
    pub fn making(&self) -> Arc<Semaphore> {
        self.making.clone()
    }

    /// The ladder of one call in that span of time. Takes its time: not for a thread that others wait for.
    pub fn ladder_of(&self, call_id: &str, from: SystemTime, to: Option<SystemTime>) -> Option<Ladder> {
        /// What belongs to a call and is not its own: a ticket that was fetched for it, the last answers of gateways.
        const BEFORE: Duration = Duration::from_secs(10);
        const AFTER: Duration = Duration::from_secs(15);
        let ring = self.ring()?;
        ring.age(now());
        let since = |wall: SystemTime| wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let from = since(from).saturating_sub(BEFORE);
        let to = to.map_or(Duration::MAX, |to| since(to).saturating_add(AFTER));
        let mut ladder = made_of(&ring.between(from, to), ring.level());
        ladder.sessions.retain(|session| is_of(session, call_id));
        Some(ladder)
    }

    /// The ladder of everything in the ring. Takes its time, too.
    pub fn ladder(&self) -> Option<Arc<Ladder>> {
        let ring = self.ring()?;
        ring.age(now());
        let level = ring.level();
        let mut slot = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = slot.as_ref().filter(|made| {
            made.upto == (level.newest, level.gone)
                || made.at.elapsed() < made.took.saturating_mul(SHARE).min(STALE)
        }) {
            return Some(made.ladder.clone());
        }
        let begun = Instant::now();
        let ladder = Arc::new(made_of(&ring.between(Duration::ZERO, Duration::MAX), level));
        let made = Made {
            upto: (level.newest, level.gone),
            at: Instant::now(),
            took: begun.elapsed(),
            ladder: ladder.clone(),
        };
        *slot = Some(made);
        Some(ladder)
    }
}

/// How much is to be kept; `None` if nobody could ask for it.
pub fn kept_of(config: &Config) -> Option<Bounds> {
    let trace = &config.trace;
    let Memory(octets) = *trace.ring.as_ref();
    let age = Duration::from_secs(*trace.age.as_ref());
    (config.admin.is_some() && octets > 0).then(|| Bounds { octets, entries: *trace.entries.as_ref(), age })
}

/// The Homer of a file.
///
/// # Errors
/// The password cannot be read.
pub fn hep_of(config: &Config) -> Result<Option<Hep>, String> {
    config.hep.as_ref().map(Hep::new).transpose()
}

/// Whether a session is of that call.
pub fn is_of(session: &Session, call_id: &str) -> bool {
    session.call_ids.iter().any(|known| known == call_id)
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn made_of(tellings: &[Arc<Telling>], level: Level) -> Ladder {
    let mut tracer = Tracer::new(Limits::default(), false);
    for telling in tellings {
        tracer.listen(telling);
    }
    let mut ladder = tracer.finish();
    ladder.remarks.extend(remark(level.gone, level.oldest));
    ladder
}

/// What to know of a ring from which something has gone.
pub fn remark(gone: u64, oldest: Option<Duration>) -> Option<String> {
    let since = oldest.map(carnet_trace::words::moment);
    (gone > 0).then(|| match since {
        Some(since) => {
            format!("what was before {since} is not in the ring any more ({gone} messages and events)")
        }
        None => format!("the ring is empty; {gone} messages and events were in it"),
    })
}

/// The roles of a file, as they are called in ladders.
fn nodes(config: &Config) -> Nodes {
    let mut nodes = Nodes::new();
    let mut put = |kind: &'static str, name: &str, role: &str| {
        nodes.entry(kind).or_default().insert(name.to_owned(), Node::new(name, role));
    };
    for (name, border) in &config.border {
        let role = match border.as_ref().role {
            BorderRole::ImsAlg => "IMS-ALG",
            BorderRole::Ibcf => "IBCF",
        };
        put("border", name, role);
    }
    for (name, gateway) in &config.gateway {
        let role = match gateway.as_ref().role {
            GatewayRole::ImsAgw => "IMS-AGW",
            GatewayRole::Trgw => "TrGW",
            GatewayRole::Mrfp => "MRFP",
        };
        put("gateway", name, role);
        if gateway.as_ref().ng.is_some() {
            put("steering", &super::steering::name_of(name), "steering");
        }
    }
    for name in config.conference.keys() {
        put("conference", name, "MRFC");
    }
    if let Some(kms) = &config.kms {
        put("kms", &kms.as_ref().name, "KMS");
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::text;
    use carnet_net::h248::ControlPeer;

    const KEY: &str = "000102030405060708090A0B0C0D0E0F";

    fn read(more: &str) -> Config {
        let text = format!("[kms]\nname = \"k\"\nlisten = \"127.0.0.1:8443\"\ndata = \"d\"\n{more}");
        carnet_ops::config::parse("carnet.toml", text, std::path::Path::new("/")).unwrap()
    }

    fn tap(more: &str) -> Option<Tap> {
        Some(Tap::new(&read(more)).unwrap()).filter(Tap::looks)
    }

    #[test]
    fn what_is_kept_and_where_it_goes_can_be_another() {
        let admin = "[admin]\nlisten = \"127.0.0.1:9460\"\n";
        let tap = tap(admin).unwrap();
        tap.keep(kept_of(&read(&format!("{admin}[trace]\nring = \"off\""))));
        assert!(!tap.looks() && tap.level().is_none());
        let hep = read("[hep]\nserver = \"udp:127.0.0.1:9060\"");
        tap.send_to(hep_of(&hep).unwrap());
        assert!(tap.looks() && !tap.has_ring());
        tap.send_to(None);
        assert!(!tap.looks());
        tap.keep(kept_of(&read(admin)));
        assert!(tap.has_ring());
    }

    #[test]
    fn nothing_is_kept_where_nobody_can_ask() {
        assert!(tap("").is_none());
        assert!(tap("[admin]\nsocket = \"admin.sock\"").unwrap().has_ring());
        assert!(tap("[admin]\nlisten = \"127.0.0.1:9460\"\n[trace]\nring = \"off\"").is_none());
        assert!(tap("[admin]\nlisten = \"127.0.0.1:9460\"").unwrap().has_ring());
        let told = tap("[hep]\nserver = \"udp:127.0.0.1:9060\"").unwrap();
        assert!(!told.has_ring() && told.hep().is_some());
    }

    /// A key on its way to a gateway (the edge of a conference), and the proof of a password.
    #[test]
    fn keys_do_not_get_in_and_proofs_do_not_get_out() {
        let tap = tap("[admin]\nlisten = \"127.0.0.1:9460\"").unwrap();
        let metrics = Metrics::new();
        let octets = format!(
            "MEGACO/3 <conf> Transaction=1{{Context=$ {{Add=$ {{Media{{Stream=1{{LocalControl{{Mode=SendReceive,\
             crntls/psk={KEY}}}}}}}}}}}}}"
        );
        let message = text::parse(octets.as_bytes(), &text::Limits::default()).unwrap();
        let peer = ControlPeer::Stream { id: 1, remote: ([192, 0, 2, 2], 2944).into(), private: true };
        let transport = Some(ControlTransport::Tls);
        let passed =
            ControlPassed { peer, name: None, transport, local: None, sent: true, message: &message };
        tap.see(&Seen::Control { node: "conf", passed: &passed }, &metrics);
        let hop = carnet_sip::Hop::new(Transport::Udp, ([192, 0, 2, 9], 5060).into());
        let register = b"REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n\
            To: <sip:a@x>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nAuthorization: Digest username=\"a\", response=\"abcdef99\"\r\n\
            Content-Length: 0\r\n\r\n";
        tap.see(&Seen::Sip { border: "b", octets: register, sent: false, hop: &hop }, &metrics);
        let kept = tap.page(0, 10, usize::MAX, &(Duration::ZERO..=Duration::MAX));
        let What::Message { octets, .. } = &kept[0].what else { panic!("{kept:?}") };
        let held = String::from_utf8_lossy(octets);
        assert!(held.contains("crntls/psk") && !held.contains(KEY), "{held}");
        let ladder = tap.ladder().unwrap();
        assert_eq!(ladder.sessions.len(), 2);
        let mut out: Vec<String> = kept.iter().map(|telling| telling.to_json().to_string()).collect();
        out.push(carnet_trace::show::json(&ladder).to_string());
        out.push(carnet_trace::show::html(&ladder));
        for text in &out {
            assert!(!text.contains(KEY) && !text.contains("abcdef99"), "{text}");
        }
        assert!(out[1].contains("response=(masked)"));
    }
}
