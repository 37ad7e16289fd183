//! Answers an administrator's questions by asking the roles of the process, over the socket of `[admin]`.

use super::question::{Ask, MOST_QUESTIONS, Question, Questions};
use super::watch::Watch;
use super::{Start, StartError, http};
use crate::desk;
use crate::reload::Renewals;
use carnet_ops::config::Config;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Octets of a question.
const MAX_QUESTION: u64 = 64 << 10;
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
}

#[derive(Debug)]
struct Asked {
    questions: mpsc::Sender<Question>,
    /// The gateways it owns.
    owns: Vec<String>,
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
        self.borders.insert(name.to_owned(), Asked { questions, owns: owns.to_vec() });
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

    /// Opens the sockets of the file, if it names any.
    pub(super) fn open(
        self,
        config: &Config,
        watch: &Arc<Watch>,
        renewals: &mut Renewals,
    ) -> Start<Vec<Open>> {
        let Some(admin) = config.admin.as_ref().map(carnet_ops::config::Spanned::as_ref) else {
            return Ok(Vec::new());
        };
        let this = Arc::new(self);
        let mut open = Vec::new();
        if let Some(path) = &admin.socket {
            open.push(this.clone().desk(path.clone())?);
        }
        if let Some(task) = http::start(admin, this, watch.clone(), renewals)? {
            open.push(Open { task, path: None });
        }
        Ok(open)
    }

    fn desk(self: Arc<Self>, path: PathBuf) -> Start<Open> {
        let fail = |e| StartError::new("administration socket", &path.display().to_string(), e);
        let listener = desk::bind(&path).map_err(fail)?;
        let this = self;
        let answer = move |line: zeroize::Zeroizing<Vec<u8>>| {
            let this = this.clone();
            async move {
                let ask = serde_json::from_slice(&line).map_err(|e| format!("not a question: {e}"))?;
                this.answer(ask).await
            }
        };
        let task = tokio::spawn(desk::serve(listener, MAX_QUESTION, answer));
        Ok(Open { task, path: Some(path) })
    }

    pub(super) async fn answer(&self, ask: Ask) -> Result<Value, String> {
        let (gateway, border) = match &ask {
            Ask::List => return self.list().await,
            Ask::Rooms => return self.rooms().await,
            Ask::Room { .. } | Ask::Kick { .. } | Ask::Invite { .. } | Ask::Close { .. } => {
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
            Ask::Audit { gateway, border, .. } => (gateway, border),
        };
        let questions = match border {
            Some(border) => {
                let known =
                    self.borders.get(border).ok_or_else(|| unknown("border", border, self.borders.keys()))?;
                if !known.owns.contains(gateway) {
                    return Err(unknown("gateway of that border", gateway, known.owns.iter()));
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
            self.borders.iter().filter(|(_, b)| b.owns.iter().any(|g| g == gateway)).collect();
        match owners.as_slice() {
            [(_, border)] => Ok(&border.questions),
            [] => {
                let all = self.gateways.keys().chain(self.borders.values().flat_map(|b| &b.owns));
                Err(unknown("gateway", gateway, all))
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

/// Asks one role.
async fn put(questions: &mpsc::Sender<Question>, ask: Ask) -> Result<Value, String> {
    let (answer, answered) = oneshot::channel();
    questions.try_send(Question { ask, answer }).map_err(|e| match e {
        TrySendError::Full(_) => "too many questions at once",
        TrySendError::Closed(_) => "it has stopped",
    })?;
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err("it has stopped".into()),
        Err(_) => Err("it does not answer".into()),
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

/// The open socket; closed and taken away when dropped.
#[derive(Debug)]
pub(super) struct Open {
    task: JoinHandle<()>,
    /// Of a Unix socket.
    path: Option<PathBuf>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
        self.path.iter().for_each(|path| remove(path));
    }
}

fn remove(path: &Path) {
    // Nobody is left to be told; the next start replaces it.
    let _ = std::fs::remove_file(path);
}
