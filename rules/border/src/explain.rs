//! What this border would do with an offer, and with the answer to it, without doing it.
//!
//! The plan, the changes of the descriptions and the commands to the gateway come from the code that
//! calls go through. What a gateway would choose is not known: its addresses here are of the ranges for
//! examples (RFC 5737, RFC 3849), its fingerprint is made up, and [`Explanation::examples`] says which they
//! are. One offer and one answer of a new call; what an earlier offer agreed is not part of it.

use crate::config::Config;
use crate::core::{CallKey, Core};
use crate::session::{End, Exchange, ExchangeKey, Session, Slot};
use carnet_h248::{
    ActionReply, ActionRequest, CommandReply, ContextId, MId, Media, Message, Stream, StreamMode,
    Transaction, TransactionId, TransactionRequest, Verb,
};
use carnet_plan::{
    Abilities, Both, Carried, Context, Decision, Facts, Family, Kind, Plan, Refusal, Registered, Settlement,
    Side, Urgency, Watch,
};
use carnet_sdp::Document;
use carnet_wire::Random;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Instant, SystemTime};

/// What is supposed of the call. The offerer is its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Position in the configuration of the network the offer comes from.
    pub from: usize,
    /// The same of the network it goes to.
    pub to: usize,
    /// Whether offerer and answerer are behind a NAT. Means nothing of networks without terminals.
    pub behind_nat: [bool; 2],
    /// What the answerer registered.
    pub registered: Registered,
    /// What the gateways can do.
    pub gateway: Abilities,
}

/// A command to the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The media line it is for, from 0.
    pub line: usize,
    /// When it is sent: `offer`, `answer`, `end`.
    pub when: &'static str,
    /// The whole message.
    pub message: Message,
}

/// What would be done with the answer.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Who connects on each side, and the changes of the answer.
    pub settlement: Settlement,
    /// The answer as the offerer sees it.
    pub document: Document,
}

/// What would be done.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What is known or supposed of the two ends.
    pub facts: Facts,
    /// The decision for each line, and the changes of the offer.
    pub plan: Plan,
    /// The offer as the answerer sees it; `None` if it is refused.
    pub offer: Option<Document>,
    /// What would be done with the answer, if there is one and the offer is carried.
    pub answer: Option<Result<Answered, Refusal>>,
    /// All commands to the gateway, in the order in which they are sent.
    pub commands: Vec<Command>,
    /// Values that the gateway or the network would choose, and what they stand for.
    pub examples: Vec<(String, &'static str)>,
}

/// Nothing here is a secret, and nothing is drawn twice.
struct Fixed;

impl Random for Fixed {
    fn fill(&mut self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

/// A fingerprint that no certificate has.
const FINGERPRINT: &str = "SHA-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

const KEY: ExchangeKey = ExchangeKey { requester: Side::Caller, cseq: 1 };

/// A mistake of this module or a description that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unexplained(String);

/// Says what would be done with this offer and this answer. `now` and `wall` are only needed to make the
/// parts of a border.
///
/// # Errors
/// A network that is not there, or an edit that cannot be written.
pub fn explain(
    config: Config,
    asked: &Asked,
    (offer, answer): (&Document, Option<&Document>),
    (now, wall): (Instant, SystemTime),
) -> Result<Explanation, Unexplained> {
    if asked.from >= config.networks.len() || asked.to >= config.networks.len() {
        return Err(Unexplained("there is no such network".into()));
    }
    let core = Core::new(config, Box::new(Fixed), now, wall);
    let mut rehearsal = Rehearsal::new(core, asked);
    rehearsal.run(asked, offer, answer)
}

struct Rehearsal {
    core: Core,
    session: Session,
    commands: Vec<Command>,
    examples: Vec<(String, &'static str)>,
}

impl Rehearsal {
    fn new(core: Core, asked: &Asked) -> Self {
        // RFC 5737: of the third range for examples. The others are the gateway's.
        let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254));
        let end = |network: usize, behind_nat: bool, registered| {
            let terminal = core.config.networks.get(network).is_some_and(|n| n.access);
            let behind_nat = behind_nat && terminal;
            End { network, behind_nat, source: behind_nat.then_some(source), registered, ..End::default() }
        };
        let ends = Both {
            caller: end(asked.from, asked.behind_nat[0], Registered::default()),
            callee: end(asked.to, asked.behind_nat[1], asked.registered),
        };
        let filters = [&ends.caller, &ends.callee]
            .into_iter()
            .any(|e| e.behind_nat && core.config.networks.get(e.network).is_some_and(|n| n.source_filter));
        let mut examples = Vec::new();
        if filters {
            examples.push((source.to_string(), "where the NAT of a terminal sends from"));
        }
        let session = Session::new(CallKey(0), "explained".into(), ends);
        Self { core, session, commands: Vec::new(), examples }
    }

    fn run(
        &mut self,
        asked: &Asked,
        offer: &Document,
        answer: Option<&Document>,
    ) -> Result<Explanation, Unexplained> {
        let facts = Facts { gateway: asked.gateway, ..self.session.facts(&self.core, Side::Caller) };
        let plan = carnet_plan::plan(offer, &self.core.config.policy, &facts);
        let (mut sent, mut answered) = (None, None);
        if plan.refusal().is_none() {
            let fault = |f: crate::session::Fault| Unexplained(f.text);
            let takes = takes(offer);
            let exchange = Exchange {
                key: KEY,
                offerer: Side::Caller,
                plan: plan.clone(),
                facts: facts.clone(),
                takes,
                wanted: Both::default(),
                rtp: None,
                edits: Vec::new(),
                introduced: Vec::new(),
                dropped: Vec::new(),
                paths: Vec::new(),
                answered: false,
            };
            self.session.open(exchange).map_err(fault)?;
            self.add(&plan)?;
            let mut document = offer.clone();
            self.session.finish_offer(&self.core, KEY, &mut document).map_err(fault)?;
            sent = Some(document);
            answered = match answer {
                None => None,
                Some(answer) => Some(match carnet_plan::settle(&plan, answer, &facts) {
                    Err(refusal) => Err(refusal),
                    Ok(settlement) => {
                        self.modify(&settlement, answer);
                        let mut document = answer.clone();
                        self.session
                            .edit(&self.core, settlement.all_edits(), &mut document, Side::Caller)
                            .map_err(fault)?;
                        Ok(Answered { settlement, document })
                    }
                }),
            };
            self.subtract();
        }
        for line in plan.lines.iter().filter(|l| l.decision == Decision::Rtpengine) {
            self.example(
                format!("line {}", line.index),
                "as it came; what an rtpengine makes of it is not known",
            );
        }
        let commands = std::mem::take(&mut self.commands);
        let examples = std::mem::take(&mut self.examples);
        Ok(Explanation { facts, plan, offer: sent, answer: answered, commands, examples })
    }

    fn command(&mut self, line: usize, when: &'static str, actions: Vec<ActionRequest>) {
        if actions.is_empty() {
            return;
        }
        let id = u32::try_from(self.commands.len()).unwrap_or(u32::MAX).saturating_add(1);
        let request = Transaction::Request(TransactionRequest { id: TransactionId(id), actions });
        let message = Message::new(3, MId::domain(self.core.config.name.clone()), vec![request]);
        self.commands.push(Command { line, when, message });
    }

    /// Adds the contexts of the plan, as an offer does.
    fn add(&mut self, plan: &Plan) -> Result<(), Unexplained> {
        let gateway = self.core.config.gateways.first().map(|g| g.name.clone());
        let gateway = gateway.ok_or_else(|| Unexplained("this border owns no gateway".into()))?;
        let missing = || Unexplained("there is no such network".into());
        let watch = Watch {
            cause: true,
            heartbeat: true,
            inactivity: true,
            tcp: true,
            tls: true,
            connections: false,
        };
        for line in &plan.lines {
            let Some(legs) = &line.legs else { continue };
            let sealed = line.decision == Decision::EndToEnd;
            let planned = Both { caller: Kind::of(&legs.offerer), callee: Kind::of(&legs.answerer) };
            let fixed = |side| self.session.fixed(&self.core, side).ok_or_else(missing);
            let ends = (fixed(Side::Caller)?, fixed(Side::Callee)?);
            let families = [ends.0.family, ends.1.family];
            let kind = Carried { planned, sealed, urgency: Urgency::Normal };
            let named = self.core.named(&gateway, sealed);
            let mut context = Context::new((gateway.clone(), watch), named, kind, ends);
            let peers = self.session.opening_peers(&self.core, KEY, Side::Caller, line);
            let events = self.core.next_event_request();
            let actions = context.add(Side::Caller, peers, events);
            self.command(line.index, "offer", actions);
            let tls = [legs.offerer.tls.is_some(), legs.answerer.tls.is_some()];
            let reply = self.reply(line.index, families, tls);
            context.added(Side::Caller, &[reply]).map_err(|e| Unexplained(e.to_string()))?;
            self.session.stream_mut(line.index).slot = Slot::Ready(Box::new(context));
        }
        Ok(())
    }

    /// What a gateway might answer.
    fn reply(&mut self, line: usize, families: [Family; 2], tls: [bool; 2]) -> ActionReply {
        let number = u16::try_from(line).unwrap_or(u16::MAX);
        let mut results = Vec::new();
        for (side, (family, tls)) in families.into_iter().zip(tls).enumerate() {
            let (host, what) = match side {
                0 => (1, "the gateway's towards the offerer"),
                _ => (2, "the gateway's towards the answerer"),
            };
            let ip = match (family, side) {
                (Family::V4, 0) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)),
                (Family::V4, _) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, host)),
                (Family::V6, _) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into())),
            };
            let port = 40_000u16.saturating_add(number.saturating_mul(2));
            let at = SocketAddr::new(ip, port);
            self.example(at.to_string(), what);
            let version = if ip.is_ipv4() { "IP4" } else { "IP6" };
            let mut local = format!("v=0\r\nc=IN {version} {ip}\r\nm=- {port} TCP -\r\n");
            if tls {
                self.example(FINGERPRINT.to_owned(), "the gateway's certificate");
                local.push_str(&format!("a=fingerprint:{FINGERPRINT}\r\n"));
            }
            let name = format!("line{line}/{}", if side == 0 { "offerer" } else { "answerer" });
            results.push(
                CommandReply::new(Verb::Add, name).with(Media::with_stream(Stream::new(1).local(local))),
            );
        }
        ActionReply::new(ContextId::Id(u32::from(number) + 1), results)
    }

    fn example(&mut self, value: String, what: &'static str) {
        if self.examples.iter().all(|(known, _)| *known != value) {
            self.examples.push((value, what));
        }
    }

    /// Modifies the contexts, as an answer does.
    fn modify(&mut self, settlement: &Settlement, answer: &Document) {
        let takes = (self.session.exchange(KEY).map(|e| e.takes.clone()).unwrap_or_default(), takes(answer));
        for (index, line) in settlement.lines.iter().enumerate() {
            let Some(line) = line else { continue };
            let planned = self.session.exchange(KEY).and_then(|e| e.plan.lines.get(index));
            let offered = planned.and_then(|l| l.said.address);
            let of = |takes: &[Option<u64>]| takes.get(index).copied().flatten();
            let said = [(offered, of(&takes.0)), (line.said.address, of(&takes.1))];
            let peers = self.session.settled_peers(&self.core, Side::Caller, line, said);
            let mode = if line.open { StreamMode::SendReceive } else { StreamMode::Inactive };
            if let Slot::Ready(context) = &mut self.session.stream_mut(index).slot {
                let actions = context.modify(peers, mode);
                self.command(index, "answer", actions);
            }
        }
        // What the answerer did not take is given back at once.
        for m in answer.media().filter(carnet_sdp::Media::is_rejected) {
            let slot = std::mem::replace(&mut self.session.stream_mut(m.index()).slot, Slot::Empty);
            if let Slot::Ready(context) = slot {
                self.command(m.index(), "answer", context.subtract());
            }
        }
    }

    fn subtract(&mut self) {
        for index in 0..self.session.streams.len() {
            let slot = std::mem::replace(&mut self.session.stream_mut(index).slot, Slot::Empty);
            if let Slot::Ready(context) = slot {
                self.command(index, "end", context.subtract());
            }
        }
    }
}

fn takes(document: &Document) -> Vec<Option<u64>> {
    document.media().map(|m| m.bandwidth().map(|bits| bits / 8)).collect()
}
