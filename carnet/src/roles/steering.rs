//! The steering of a gateway as a task: where SIP servers ask (ng), the rules, and the way to the gateway.
//!
//! It shares the gateway's thread (`place`): a request that comes in on a socket, the commands it makes and
//! what the gateway says to them are entries in queues of one event loop.

mod settings;

use super::counted::Counted;
use super::question::{Ask, Question, Questions};
use super::{Ending, Observer, Seen, Start, StartError};
use crate::reload::{Done, Ready, Renewals};
use bytes::Bytes;
use carnet_h248::Message;
use carnet_net::h248::{ControlPassed, ControlPeer};
use carnet_net::{LocalEnd, NgRequest, NgServer, NgTally, PooledRandom, Token, until};
use carnet_ng::Value;
use carnet_ops::config::{GatewaySection, NgSection};
use carnet_steering::{RequestId, Steering};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

pub use settings::{check, name_of};

/// How often it is told who was turned away.
const TALLY_EVERY: Duration = Duration::from_secs(10);

/// A steering that is being run.
struct Running {
    gateway: String,
    steering: Steering,
    server: NgServer,
    end: LocalEnd,
    observer: Observer,
    counted: Counted,
    /// Where it can be asked, for administrators.
    listen: Vec<String>,
    /// Who had been turned away when it was last told.
    tallied: NgTally,
    /// Who waits for which answer, for who watches.
    asking: BTreeMap<u64, SocketAddr>,
}

/// Other settings for a steering that runs.
struct News {
    config: carnet_steering::Config,
    done: oneshot::Sender<Done>,
}

/// As many as the sockets take at once.
const MOST_ASKING: usize = 16_384;

/// A message as it might be on the wire: which cookie it has there the sockets know.
fn ng_message(number: u64, body: Value) -> Bytes {
    carnet_ng::Message::new(Bytes::from(number.to_string()), body).to_bytes()
}

/// Opens sockets and starts the task. `end` leads to the gateway of that name.
pub fn start(
    (gateway, section, ng): (&str, &GatewaySection, &NgSection),
    end: LocalEnd,
    questions: Questions,
    observer: Observer,
    renewals: &mut Renewals,
    token: Token,
) -> Start<tokio::task::JoinHandle<()>> {
    let fail = |e: &dyn std::fmt::Display| StartError::new("steering of", gateway, e);
    let sockets = settings::sockets(ng).map_err(|e| fail(&e))?;
    if let Some(held) = sockets.tls.clone() {
        let name = gateway.to_owned();
        renewals.add(&["gateway", gateway, "ng", "tls"], move |config| {
            let ng = config.gateway.get(&name).and_then(|section| section.as_ref().ng.as_ref());
            let section = ng.and_then(|ng| ng.as_ref().tls.as_ref()).ok_or("there is no TLS any more")?;
            let (held, new) = (held.clone(), settings::tls(section.as_ref())?);
            Ok(Ready::Now(Box::new(move || held.renew(&new))))
        });
    }
    let (news, heard) = mpsc::channel(1);
    let name = gateway.to_owned();
    renewals.add(&["gateway", gateway], move |config| {
        let section = config.gateway.get(&name).ok_or("it is not there any more")?.as_ref();
        let ng = section.ng.as_ref().ok_or("it is not steered any more")?.as_ref();
        let (config, news) = (settings::configure(&name, section, ng), news.clone());
        Ok(Ready::Told(Box::new(move || {
            let (done, outcome) = oneshot::channel();
            news.try_send(News { config, done }).map_err(|_| "it is busy or has stopped")?;
            Ok(outcome)
        })))
    });
    let (server, requests) = NgServer::open(sockets, &token).map_err(|e| fail(&e))?;
    let config = settings::configure(gateway, section, ng);
    let random = Box::new(PooledRandom::default());
    let steering = Steering::new(config, random, Instant::now(), SystemTime::now());
    // With the ports that were given where the file leaves them open.
    let bound = ng.listen.as_ref().iter().zip(server.listens());
    let listen = bound.map(|(bind, there)| format!("{}:{}", bind.as_ref().proto, there.address)).collect();
    let tallied = NgTally::default();
    let counted = Counted::new("steering", gateway, observer.clone());
    let running = Running {
        gateway: gateway.to_owned(),
        steering,
        server,
        end,
        observer,
        counted,
        listen,
        tallied,
        asking: BTreeMap::new(),
    };
    Ok(tokio::spawn(running.run(requests, (questions, heard), token)))
}

impl Running {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<NgRequest>,
        (mut questions, mut news): (Questions, mpsc::Receiver<News>),
        mut token: Token,
    ) {
        /// Inputs taken before what they cause is sent: bounds the work between two looks at the other
        /// queue and the timers.
        const BATCH: usize = 32;
        let mut end: Option<Ending> = None;
        let mut look = tokio::time::interval(TALLY_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        if !self.flush().await {
            return;
        }
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    self.request(request);
                    for _ in 1..BATCH {
                        let Ok(request) = requests.try_recv() else { break };
                        self.request(request);
                    }
                }
                message = self.end.receive() => {
                    // A gateway that has gone takes its calls along: there is nothing left to steer.
                    let Some(message) = message else { return };
                    self.heard(message);
                    for _ in 1..BATCH {
                        let Some(message) = self.end.try_receive() else { break };
                        self.heard(message);
                    }
                }
                () = until(self.steering.poll_timeout()) => self.steering.handle_timeout(Instant::now()),
                Some(question) = questions.recv() => self.asked(question),
                Some(News { config, done }) = news.recv() => {
                    let outcome = self.steering.reconfigure(Instant::now(), config);
                    // Who does not wait any more has said so.
                    let _ = done.send(outcome.map_err(|what| vec![format!("{what} cannot change while it runs").into()]));
                }
                _ = look.tick() => self.tell_turned_away(),
                deadline = token.started(), if end.is_none() => {
                    end = Some(Ending::of_border(deadline));
                    self.steering.retire();
                }
                () = Ending::due(&end) => match end.as_mut().map(|end| std::mem::replace(&mut end.hung_up, true)) {
                    Some(false) => self.steering.end_calls(Instant::now()),
                    _ => return,
                },
            }
            if !self.flush().await {
                return;
            }
            let load = self.steering.load();
            if end.is_some() && load.calls == 0 && load.requests == 0 {
                return;
            }
            if !requests.is_empty() {
                // The gateway shares the thread: it begins before the next requests are taken.
                tokio::task::yield_now().await;
            }
        }
    }

    fn request(&mut self, asked: NgRequest) {
        let octets = &|| ng_message(asked.number, asked.request.body());
        self.show_ng(asked.from, false, octets);
        if self.asking.len() >= MOST_ASKING {
            self.asking.pop_first();
        }
        self.asking.insert(asked.number, asked.from);
        self.steering.handle_request(Instant::now(), RequestId(asked.number), asked.request);
    }

    fn show_ng(&self, remote: SocketAddr, sent: bool, octets: &dyn Fn() -> Bytes) {
        let node = &settings::name_of(&self.gateway);
        (self.observer)(Seen::Ng { node, local: None, remote, sent, octets });
    }

    /// A message to the gateway, which goes by no socket.
    fn show(&self, message: &Message) {
        let node = &settings::name_of(&self.gateway);
        let passed = ControlPassed {
            peer: ControlPeer::Local(0),
            name: Some(&self.gateway),
            transport: None,
            local: None,
            sent: true,
            message,
        };
        (self.observer)(Seen::Control { node, passed: &passed });
    }

    fn heard(&mut self, message: Message) {
        let now = Instant::now();
        self.counted.heard(now, &self.gateway, &message);
        self.steering.handle_gateway(now, message);
    }

    /// Sends what there is to send; whether the gateway is still there.
    async fn flush(&mut self) -> bool {
        // First the gateway: who hears an address may have it connected to at once.
        while let Some(message) = self.steering.poll_transmit() {
            (self.observer)(Seen::Command { gateway: &self.gateway, message: &message });
            self.show(&message);
            self.counted.sent(Instant::now(), &self.gateway, &message);
            if !self.end.send(message).await {
                return false;
            }
        }
        while let Some((RequestId(number), answer)) = self.steering.poll_reply() {
            if let Some(remote) = self.asking.remove(&number) {
                self.show_ng(remote, true, &|| ng_message(number, answer.clone()));
            }
            self.server.answer(number, &answer);
        }
        while let Some(event) = self.steering.poll_event() {
            (self.observer)(Seen::Steering { gateway: &self.gateway, event: &event });
        }
        true
    }

    /// Says now and then whom the sockets have turned away, if that has changed.
    fn tell_turned_away(&mut self) {
        let mut tally = self.server.tally();
        // Those who were let in are not of interest here.
        tally.taken = 0;
        if tally != self.tallied {
            let NgTally { strangers, without_token, malformed, withheld, crowded, overdue, .. } = tally;
            tracing::warn!(
                gateway = self.gateway,
                strangers,
                without_token,
                malformed,
                withheld,
                crowded,
                overdue,
                "turned away since the start, over ng"
            );
            self.tallied = tally;
        }
    }

    fn asked(&mut self, question: Question) {
        let answer = match question.ask {
            Ask::Calls { contexts, .. } => {
                let calls = contexts.iter().map(|context| self.steering.call_of(*context));
                Ok(json!(calls.collect::<Vec<_>>()))
            }
            Ask::Retire { left } => {
                match left {
                    Some(_) => self.steering.retire(),
                    None => self.steering.resume(),
                }
                Ok(json!({ "steered": self.gateway }))
            }
            _ => {
                let load = self.steering.load();
                let tally = self.server.tally().counts().map(|(name, count)| (name.to_owned(), count.into()));
                let tally: serde_json::Map<_, _> = tally.into_iter().collect();
                Ok(json!({
                    "listen": self.listen,
                    "calls": load.calls,
                    "requests": load.requests,
                    "asked": tally,
                }))
            }
        };
        // One who has stopped waiting needs no answer.
        let _ = question.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_net::{drain, local_pair};
    use std::sync::Arc;

    const STEERED: &str = "role = \"ims-agw\"\n[realm.core]\nv4 = \"127.0.0.1\"\nports = \"40000-40009\"\n\
                           [ng]\nlisten = [\"udp:127.0.0.1:0\"]\n";
    const PATIENCE: Duration = Duration::from_secs(30);

    fn started(end: LocalEnd, token: &Token) -> tokio::task::JoinHandle<()> {
        let section: GatewaySection = toml::from_str(STEERED).unwrap();
        let (_asking, questions) = mpsc::channel(1);
        let ng = section.ng.as_ref().unwrap().as_ref();
        let renewals = &mut Renewals::default();
        start(("agw", &section, ng), end, questions, Arc::new(|_| {}), renewals, token.clone()).unwrap()
    }

    #[tokio::test]
    async fn it_ends_with_its_gateway() {
        let ((above, below), (_drain, token)) = (local_pair(16), drain());
        let task = started(above, &token);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!task.is_finished());
        drop(below);
        tokio::time::timeout(PATIENCE, task).await.expect("in time").unwrap();
    }

    #[tokio::test]
    async fn it_ends_at_once_when_told_to_and_no_call_is_there() {
        let ((above, _below), (drain, token)) = (local_pair(16), drain());
        let task = started(above, &token);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!task.is_finished());
        drop(token);
        drain.start(Duration::from_secs(3600));
        tokio::time::timeout(PATIENCE, task).await.expect("in time").unwrap();
    }
}
