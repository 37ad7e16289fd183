//! Answers an administrator's questions by asking the roles of the process.

use super::question::{Ask, MOST_QUESTIONS, Question, Questions};
use super::watch::Watch;
use super::{Start, history, http};
use crate::reload::{Ready, Renewals};
use crate::web::socket::Place;
use carnet_net::Token;
use carnet_ops::config::Config;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long a role may take: a gateway may be asked over the network.
const PATIENCE: Duration = Duration::from_secs(10);

/// The roles that can be asked.
#[derive(Debug, Default)]
pub(super) struct Answering {
    gateways: BTreeMap<String, mpsc::Sender<Question>>,
    borders: BTreeMap<String, Asked>,
    conferences: BTreeMap<String, mpsc::Sender<Question>>,
    /// By the name of the gateway that is steered.
    steerings: BTreeMap<String, mpsc::Sender<Question>>,
    /// Those that are asked for a sign of life only, by what they are called.
    others: BTreeMap<String, mpsc::Sender<Question>>,
}

#[derive(Debug)]
struct Asked {
    questions: mpsc::Sender<Question>,
    /// The gateways it owns.
    owns: RwLock<Vec<String>>,
}

impl Asked {
    fn owns(&self) -> RwLockReadGuard<'_, Vec<String>> {
        self.owns.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answering {
    /// The end at which a gateway of the process is to listen for questions.
    pub(super) fn gateway(&mut self, name: &str) -> Questions {
        let (sender, receiver) = mpsc::channel(MOST_QUESTIONS);
        self.gateways.insert(name.to_owned(), sender);
        receiver
    }

    /// The same for a border.
    pub(super) fn border(&mut self, name: &str, owns: &[String]) -> Questions {
        let (questions, receiver) = mpsc::channel(MOST_QUESTIONS);
        self.borders.insert(name.to_owned(), Asked { questions, owns: RwLock::new(owns.to_vec()) });
        receiver
    }

    /// The same for a conference server.
    pub(super) fn conference(&mut self, name: &str) -> Questions {
        let (sender, receiver) = mpsc::channel(MOST_QUESTIONS);
        self.conferences.insert(name.to_owned(), sender);
        receiver
    }

    /// The same for the steering of a gateway.
    pub(super) fn steering(&mut self, gateway: &str) -> Questions {
        let (sender, receiver) = mpsc::channel(MOST_QUESTIONS);
        self.steerings.insert(gateway.to_owned(), sender);
        receiver
    }

    /// The same for one that has nothing to tell but that it lives.
    pub(super) fn other(&mut self, called: String) -> Questions {
        let (sender, receiver) = mpsc::channel(MOST_QUESTIONS);
        self.others.insert(called, sender);
        receiver
    }

    /// Whoever can be asked, and what it is called.
    pub(super) fn everybody(&self) -> impl Iterator<Item = (String, &mpsc::Sender<Question>)> {
        let borders = self.borders.iter().map(|(name, asked)| (format!("border `{name}`"), &asked.questions));
        let named = |what: &'static str| {
            move |(name, to): (&String, _)| -> (String, _) { (format!("{what} `{name}`"), to) }
        };
        let all = borders.chain(self.gateways.iter().map(named("gateway")));
        let all = all.chain(self.conferences.iter().map(named("conference")));
        let all = all.chain(self.steerings.iter().map(named("steering of")));
        all.chain(self.others.iter().map(|(called, to)| (called.clone(), to)))
    }

    /// Opens the doors of the file, if it names any. `keys` is the key management service of the process.
    pub(super) fn open(
        self: &Arc<Self>,
        config: &Config,
        watch: &Arc<Watch>,
        keys: Option<Arc<crate::kms::Service>>,
        renewals: &mut Renewals,
        token: Token,
    ) -> Start<Vec<Open>> {
        let Some(admin) = config.admin.as_ref().map(carnet_ops::config::Spanned::as_ref) else {
            return Ok(Vec::new());
        };
        let mut open = http::start(admin, self.clone(), watch.clone(), (config, keys), renewals, token)?;
        let this = self.clone();
        renewals.add(&["border"], move |config| {
            let this = this.clone();
            let owns = config
                .border
                .iter()
                .map(|(name, section)| (name.clone(), section.as_ref().control.as_ref().gateways.clone()));
            let owns: Vec<_> = owns.collect();
            Ok(Ready::Now(Box::new(move || this.set_owned(owns))))
        });
        let measure = measure(self.clone(), watch.clone());
        open.push(Open { task: tokio::spawn(measure), _place: None });
        Ok(open)
    }

    /// Which border owns which gateways from now on.
    fn set_owned(&self, all: Vec<(String, Vec<String>)>) {
        for (name, owns) in all {
            if let Some(border) = self.borders.get(&name) {
                *border.owns.write().unwrap_or_else(PoisonError::into_inner) = owns;
            }
        }
    }

    pub(super) async fn answer(&self, ask: Ask) -> Result<Value, String> {
        let (gateway, border) = match &ask {
            Ask::Alive => return Ok(Value::Null),
            Ask::List => return self.list().await,
            Ask::Rooms => return self.rooms().await,
            Ask::Room { .. }
            | Ask::Kick { .. }
            | Ask::Invite { .. }
            | Ask::Close { .. }
            | Ask::Decide { .. }
            | Ask::Mute { .. } => {
                return self.of_room(ask).await;
            }
            Ask::Calls { gateway, .. } => {
                let steering = self.steerings.get(gateway);
                let steering =
                    steering.ok_or_else(|| unknown("steered gateway", gateway, self.steerings.keys()))?;
                return put(steering, ask).await;
            }
            Ask::Audit { gateway, border: None, .. } if self.steerings.contains_key(gateway) => {
                return self.steered(gateway, ask.clone()).await;
            }
            Ask::Retire { left } => return self.retire(*left).await,
            Ask::Avoid { border, .. } | Ask::EndCall { border, .. } => {
                let known = self.borders.get(border);
                let known = known.ok_or_else(|| unknown("border", border, self.borders.keys()))?;
                return put(&known.questions, ask).await;
            }
            Ask::Audit { gateway, border, .. } => (gateway, border),
        };
        let questions = match border {
            Some(border) => {
                let known =
                    self.borders.get(border).ok_or_else(|| unknown("border", border, self.borders.keys()))?;
                let owns = known.owns();
                if !owns.contains(gateway) {
                    return Err(unknown("gateway of that border", gateway, owns.iter()));
                }
                &known.questions
            }
            None => match self.gateways.get(gateway) {
                Some(questions) => questions,
                None => self.owner(gateway)?,
            },
        };
        put(questions, ask).await
    }

    /// The only border that owns a gateway.
    fn owner(&self, gateway: &str) -> Result<&mpsc::Sender<Question>, String> {
        let owners: Vec<_> =
            self.borders.iter().filter(|(_, b)| b.owns().iter().any(|g| g == gateway)).collect();
        match owners.as_slice() {
            [(_, border)] => Ok(&border.questions),
            [] => {
                let owned: Vec<_> = self.borders.values().flat_map(|b| b.owns().clone()).collect();
                Err(unknown("gateway", gateway, self.gateways.keys().chain(&owned)))
            }
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| name.as_str()).collect();
                Err(format!(
                    "`{gateway}` belongs to several borders: name one of {} with --by",
                    names.join(", ")
                ))
            }
        }
    }

    /// What a steered gateway holds, and whose each context is.
    async fn steered(&self, gateway: &str, ask: Ask) -> Result<Value, String> {
        let (Some(asked), Some(steering)) = (self.gateways.get(gateway), self.steerings.get(gateway)) else {
            return Err(unknown("steered gateway", gateway, self.steerings.keys()));
        };
        let mut answer = put(asked, ask).await?;
        let held = answer.get_mut("contexts").and_then(Value::as_array_mut);
        let mut held: Vec<_> = held.into_iter().flatten().filter_map(Value::as_object_mut).collect();
        let number = |context: &serde_json::Map<_, Value>| context.get("context").and_then(Value::as_u64);
        let contexts = held.iter().map(|context| number(context).and_then(|id| u32::try_from(id).ok()));
        let contexts = contexts.map(Option::unwrap_or_default).collect();
        let calls = put(steering, Ask::Calls { gateway: gateway.to_owned(), contexts }).await?;
        for (context, call) in held.iter_mut().zip(calls.as_array().into_iter().flatten()) {
            context.insert("call".into(), call.clone());
        }
        Ok(answer)
    }

    async fn list(&self) -> Result<Value, String> {
        let (mut gateways, mut borders) = (Vec::new(), Vec::new());
        for (name, questions) in &self.gateways {
            let mut gateway = put(questions, Ask::List).await?;
            if let (Some(steering), Some(members)) = (self.steerings.get(name), gateway.as_object_mut()) {
                members.insert("ng".into(), put(steering, Ask::List).await?);
            }
            gateways.push(gateway);
        }
        for border in self.borders.values() {
            borders.push(put(&border.questions, Ask::List).await?);
        }
        let mut conferences = Vec::new();
        for questions in self.conferences.values() {
            conferences.push(put(questions, Ask::List).await?);
        }
        Ok(json!({ "gateways": gateways, "borders": borders, "conferences": conferences }))
    }

    /// Every role that takes sessions. Gateways tell their controllers, and those send new calls elsewhere.
    async fn retire(&self, left: Option<Duration>) -> Result<Value, String> {
        let borders = self.borders.values().map(|border| &border.questions);
        let others = self.conferences.values().chain(self.steerings.values()).chain(self.gateways.values());
        let mut failed = Ok(Value::Null);
        for questions in borders.chain(others) {
            // One that does not answer keeps nobody else from being told.
            if let Err(why) = put(questions, Ask::Retire { left }).await {
                failed = Err(why);
            }
        }
        failed
    }

    async fn rooms(&self) -> Result<Value, String> {
        let mut conferences = Vec::new();
        for questions in self.conferences.values() {
            conferences.push(put(questions, Ask::Rooms).await?);
        }
        match conferences.is_empty() {
            true => Err("no conference server runs in the process".into()),
            false => Ok(json!({ "conferences": conferences })),
        }
    }

    /// Asks the conference servers in turn: the one that has the room answers.
    async fn of_room(&self, ask: Ask) -> Result<Value, String> {
        let mut answer = Err("no conference server runs in the process".into());
        for questions in self.conferences.values() {
            answer = put(questions, ask.clone()).await;
            if answer.is_ok() {
                break;
            }
        }
        answer
    }
}

/// Asks one role, and waits for its answer.
async fn put(questions: &mpsc::Sender<Question>, question: Ask) -> Result<Value, String> {
    let until = tokio::time::Instant::now() + PATIENCE;
    ask(questions, question).until(until).await.map_err(|e| e.to_string())?
}

/// Why a role has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("too many questions at once")]
    Crowded,
    #[error("it has stopped")]
    Stopped,
    #[error("it does not answer")]
    Silent,
}

/// An answer that is to come.
pub(super) struct Answer(Result<oneshot::Receiver<Result<Value, String>>, NoAnswer>);

/// Asks the gateways what they have relayed, and their kernels carried, for the history.
async fn measure(answering: Arc<Answering>, watch: Arc<Watch>) {
    loop {
        let mut total = Some((0_u64, 0_u64));
        for gateway in answering.gateways.values() {
            let answer = put(gateway, Ask::List).await.ok();
            let counted = answer.and_then(|answer| {
                let carried = answer.pointer("/kernel/octets").and_then(Value::as_u64).unwrap_or_default();
                Some((answer.get("relayed")?.as_u64()?, carried))
            });
            let sum = |((a, b), (more, other)): ((u64, u64), (u64, u64))| {
                (a.saturating_add(more), b.saturating_add(other))
            };
            total = total.zip(counted).map(sum);
        }
        // Where one does not answer in time, it is counted when all do.
        if let Some((relayed, carried)) = total {
            watch.history.relayed(relayed);
            watch.history.carried(carried);
        }
        tokio::time::sleep(history::STEP).await;
    }
}

/// Asks one role.
pub(super) fn ask(questions: &mpsc::Sender<Question>, ask: Ask) -> Answer {
    let (answer, answered) = oneshot::channel();
    let asked = questions.try_send(Question { ask, answer }).map_err(|e| match e {
        TrySendError::Full(_) => NoAnswer::Crowded,
        TrySendError::Closed(_) => NoAnswer::Stopped,
    });
    Answer(asked.map(|()| answered))
}

impl Answer {
    /// Waits for it, so long.
    pub(super) async fn until(self, end: tokio::time::Instant) -> Result<Result<Value, String>, NoAnswer> {
        match tokio::time::timeout_at(end, self.0?).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(NoAnswer::Stopped),
            Err(_) => Err(NoAnswer::Silent),
        }
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let mut known: Vec<_> = known.map(String::as_str).collect();
    known.dedup();
    match known.is_empty() {
        true => format!("there is no {what} `{name}`"),
        false => format!("there is no {what} `{name}`; there is {}", known.join(", ")),
    }
}

/// An open door; closed when dropped.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) task: JoinHandle<()>,
    /// Of a Unix socket.
    pub(super) _place: Option<Place>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}
