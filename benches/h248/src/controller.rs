//! A controller that makes, changes and ends contexts, a number of them at once.

use crate::Result;
use carnet_h248::text::{Limits, parse};
use carnet_h248::{AckRange, CommandReply, ReplyBody, Transaction, TransactionReply, Verb};
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// After which a request without a reply is sent again.
const REPEAT: Duration = Duration::from_secs(1);
/// How often before it is given up.
const TRIES: usize = 5;

/// Before a gateway has come.
pub struct Controller(UdpSocket);

impl Controller {
    pub fn bind() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(socket))
    }

    pub fn port(&self) -> Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// Says yes to the ServiceChange of a gateway.
    pub fn registered(self) -> Result<Registered> {
        let mut octets = vec![0; 65_536];
        loop {
            let (length, gateway) = self.0.recv_from(&mut octets)?;
            let message = parse(octets.get(..length).unwrap_or_default(), &Limits::default())?;
            for transaction in message.transactions() {
                let Transaction::Request(request) = transaction else { continue };
                let change =
                    request.actions.iter().flat_map(|a| &a.commands).any(|c| c.verb == Verb::ServiceChange);
                if !change {
                    return Err(format!("the gateway began with {message:?}").into());
                }
                let reply =
                    format!("!/1 <mgc>\nP={}{{C=-{{SC=ROOT{{SV{{V=3,20261126T12000000}}}}}}}}", request.id);
                self.0.send_to(reply.as_bytes(), gateway)?;
                self.0.set_read_timeout(Some(Duration::from_millis(100)))?;
                return Ok(Registered { socket: self.0, gateway, next: 1, acks: Vec::new(), octets });
            }
        }
    }
}

/// The controller of one gateway.
pub struct Registered {
    socket: UdpSocket,
    gateway: SocketAddr,
    next: u32,
    /// Replies that have come and are to be acknowledged.
    acks: Vec<AckRange>,
    octets: Vec<u8>,
}

/// A context and its two terminations.
struct Held {
    context: u32,
    access: String,
    core: String,
}

/// What was asked last of a context.
enum Step {
    Add,
    Modify(Held),
    Subtract(Held),
}

struct Pending {
    step: Step,
    message: Vec<u8>,
    sent: Instant,
    tries: usize,
}

impl Registered {
    /// Lets `contexts` come and go. How many requests were sent again.
    pub fn run(&mut self, contexts: usize, in_flight: usize) -> Result<usize> {
        let (mut begun, mut ended, mut repeated) = (0, 0, 0);
        let mut pending: HashMap<u32, Pending> = HashMap::new();
        while ended < contexts {
            while begun < contexts && pending.len() < in_flight {
                self.ask(&mut pending, Step::Add)?;
                begun += 1;
            }
            let length = match self.socket.recv_from(&mut self.octets) {
                Ok((length, _)) => length,
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    repeated += self.repeat(&mut pending)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let message = parse(self.octets.get(..length).unwrap_or_default(), &Limits::default())?;
            for transaction in message.transactions() {
                match transaction {
                    Transaction::Reply(reply) => {
                        let Some(asked) = pending.remove(&reply.id.0) else { continue };
                        self.acks.push(AckRange { first: reply.id, last: reply.id });
                        match next(asked.step, reply).map_err(|e| format!("{e}\n{message:?}"))? {
                            Some(step) => self.ask(&mut pending, step)?,
                            None => ended += 1,
                        }
                    }
                    Transaction::Pending(_) | Transaction::Ack(_) => {}
                    other => return Err(format!("unexpected: {other:?}").into()),
                }
            }
        }
        Ok(repeated)
    }

    fn ask(&mut self, pending: &mut HashMap<u32, Pending>, step: Step) -> Result<()> {
        let id = self.next;
        self.next += 1;
        let mut text = String::with_capacity(800);
        text.push_str("!/3 <mgc>\n");
        // RFC 3525 §D.1.2: replies are acknowledged in any message, so that the gateway need not keep them.
        if self.acks.len() >= 16 {
            let acks: Vec<_> = self.acks.drain(..).map(|range| range.first.to_string()).collect();
            text.push_str(&format!("K{{{}}}\n", acks.join(",")));
        }
        text.push_str(&request(id, &step));
        let message = text.into_bytes();
        self.socket.send_to(&message, self.gateway)?;
        pending.insert(id, Pending { step, message, sent: Instant::now(), tries: 1 });
        Ok(())
    }

    fn repeat(&mut self, pending: &mut HashMap<u32, Pending>) -> Result<usize> {
        let mut count = 0;
        for (id, waiting) in pending.iter_mut().filter(|(_, w)| w.sent.elapsed() > REPEAT) {
            if waiting.tries == TRIES {
                return Err(format!("no reply to {id}: {}", String::from_utf8_lossy(&waiting.message)).into());
            }
            self.socket.send_to(&waiting.message, self.gateway)?;
            (waiting.sent, waiting.tries) = (Instant::now(), waiting.tries + 1);
            count += 1;
        }
        Ok(count)
    }
}

/// The transaction in text, as the border of a sealed session writes it: TCP passed through, nothing of TLS.
fn request(id: u32, step: &Step) -> String {
    match step {
        Step::Add => {
            let add = |side: &str, setup: &str| {
                format!(
                    "A=ip/1/{side}/${{M{{ST=1{{O{{MO=IN,ipdc/realm={side}}},L{{\n\
                     v=0\r\nc=IN IP4 $\r\nm=- $ TCP/TLS -\r\na=setup:{setup}\r\n}}}}}},\
                     E={id}{{hangterm/thb{{timerx=120}}}}}}"
                )
            };
            format!("T={id}{{C=${{{},{}}}}}", add("access", "passive"), add("core", "active"))
        }
        Step::Modify(Held { context, access, core }) => {
            let modify = |termination: &str, side: &str, setup: &str, port: u16| {
                format!(
                    "MF={termination}{{M{{ST=1{{O{{MO=SR,ipdc/realm={side}}},R{{\n\
                     v=0\r\nc=IN IP4 192.0.2.7\r\nm=- {port} TCP/TLS -\r\na=setup:{setup}\r\n}}}}}}}}"
                )
            };
            let (access, core) =
                (modify(access, "access", "active", 9), modify(core, "core", "passive", 2855));
            format!("T={id}{{C={context}{{{access},{core}}}}}")
        }
        Step::Subtract(Held { context, access, core }) => {
            format!("T={id}{{C={context}{{S={access}{{AT{{SA}}}},S={core}{{AT{{}}}}}}}}")
        }
    }
}

/// Checks the reply and says what comes next.
fn next(asked: Step, reply: &TransactionReply) -> Result<Option<Step>> {
    if let Some(error) = reply.body.first_error() {
        return Err(format!("refused: {error}").into());
    }
    let ReplyBody::Actions(actions) = &reply.body else { return Err("no actions".into()) };
    let [action] = actions.as_slice() else { return Err("not one action".into()) };
    let [first, second] = action.commands.as_slice() else { return Err("not two commands".into()) };
    let context = action.context.id().ok_or("no context")?;
    let done = |verb: Verb, held: &Held| {
        let of = |reply: &CommandReply, name: &str| reply.verb == verb && *reply.termination() == *name;
        held.context == context && of(first, &held.access) && of(second, &held.core)
    };
    match asked {
        Step::Add => {
            for reply in [first, second] {
                if reply.verb != Verb::Add || !reply.termination().is_specific() || port(reply).is_none() {
                    return Err("an Add without a termination or a port".into());
                }
            }
            let name = |reply: &CommandReply| reply.termination().as_str().to_owned();
            Ok(Some(Step::Modify(Held { context, access: name(first), core: name(second) })))
        }
        Step::Modify(held) if done(Verb::Modify, &held) => Ok(Some(Step::Subtract(held))),
        Step::Subtract(held) if done(Verb::Subtract, &held) && first.statistics().is_some() => Ok(None),
        Step::Modify(_) | Step::Subtract(_) => Err("not what was asked".into()),
    }
}

/// The port that a gateway has put into Local.
fn port(reply: &CommandReply) -> Option<u16> {
    let local = reply.media()?.stream(1)?.local.as_ref()?;
    let line = local.lines().find_map(|line| line.strip_prefix(b"m="))?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1)?.parse().ok()
}
