//! The roles of a configuration file as tasks: what `carnet run` and `carnet demo` start.
//!
//! Each role is a machine of the inner rings with sockets around it. Between a border and a
//! gateway of the same file H.248 messages pass through a channel; the rules do not know. Such roles
//! share a thread (`place`).

mod answering;
pub mod border;
mod clock;
pub mod conference;
pub mod control;
mod controllers;
mod counted;
mod doors;
pub mod gateway;
mod held;
mod held_sip;
mod history;
mod http;
mod inspection;
mod keeping;
mod life;
mod looking;
pub mod media;
mod place;
pub mod question;
mod realms;
mod relay;
mod seen;
mod shelf;
pub mod steering;
mod survival;
pub mod tap;
pub mod tls;
pub mod token;
mod watch;
mod ways;

pub use http::Deed;
pub use keeping::hand_over;
pub use life::Life;
pub use seen::{Observer, Seen, control_watch, log, printed};
pub use watch::{Wanted, Watch};

use crate::reload::Renewals;
use answering::{Answering, Open};
use carnet_h248::{Encoding, Profile, text::Form};
use carnet_net::h248::{LocalEnd, local_pair};
use carnet_net::{Drain, drain};
use carnet_ops::config::{Config, ControlAddress, Encoding248, ProfileName, Proto};
use place::{Place, Sharing};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Messages that may wait between a border and a gateway in one process: more than the requests an
/// association may have under way, so that an end that is slow is not taken for one that is lost.
const LOCAL_QUEUE: usize = 8192;

/// A role could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{kind} `{name}`: {reason}")]
pub struct StartError {
    kind: &'static str,
    name: String,
    reason: String,
}

impl StartError {
    fn new(kind: &'static str, name: &str, reason: impl fmt::Display) -> Self {
        Self { kind, name: name.to_owned(), reason: reason.to_string() }
    }
}

type Start<T> = Result<T, StartError>;

/// The end of a role: what runs may finish, is then told to, and is given up at the deadline.
struct Ending {
    /// When what still runs is ended.
    hang_up: tokio::time::Instant,
    /// When nothing is waited for any more.
    give_up: tokio::time::Instant,
    /// Whether it has been ended.
    hung_up: bool,
}

/// What ending takes at most: a repetition or two of a BYE and of a Subtract.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Ending {
    /// A border's: the last quarter of the time left, at most [`LAST_WORDS`], is for ending.
    fn of_border(give_up: tokio::time::Instant) -> Self {
        let left = give_up.saturating_duration_since(tokio::time::Instant::now());
        Self { hang_up: give_up - (left / 4).min(LAST_WORDS), give_up, hung_up: false }
    }

    /// A border's that leaves its calls to another process: what is being set up gets a moment.
    fn of_handing_over(deadline: tokio::time::Instant, moment: Duration) -> Self {
        /// For the last answers.
        const ANSWERS: Duration = Duration::from_millis(500);
        let hang_up = (tokio::time::Instant::now() + moment).min(deadline);
        Self { hang_up, give_up: hang_up + ANSWERS, hung_up: false }
    }

    /// A gateway's: it goes when the borders of the same file have ended their calls.
    fn of_gateway(give_up: tokio::time::Instant) -> Self {
        let borders = Self::of_border(give_up);
        Self { hang_up: borders.hang_up + (give_up - borders.hang_up) / 2, ..borders }
    }

    /// Waits for the next of the two moments; for ever while there is no end in sight.
    async fn due(ending: &Option<Self>) {
        match ending {
            Some(end) if end.hung_up => tokio::time::sleep_until(end.give_up).await,
            Some(end) => tokio::time::sleep_until(end.hang_up).await,
            None => std::future::pending().await,
        }
    }
}

/// How H.248 messages are written, as the file says it.
fn encoding(setting: Encoding248) -> Encoding {
    match setting {
        Encoding248::Text => Encoding::Text(Form::Long),
        Encoding248::Compact => Encoding::Text(Form::Short),
        Encoding248::Binary => Encoding::Binary,
    }
}

/// Profiles a gateway may name; none is any.
fn profiles(named: &[ProfileName]) -> Vec<Profile> {
    if named.contains(&ProfileName::Any) {
        return Vec::new();
    }
    let known = named.iter().filter_map(|profile| match profile {
        ProfileName::Named { name, version } => Some(Profile::new(name.clone(), *version)),
        ProfileName::Any => None,
    });
    known.collect()
}

fn sip_transport(proto: Proto) -> carnet_sip::Transport {
    match proto {
        Proto::Udp => carnet_sip::Transport::Udp,
        Proto::Tcp => carnet_sip::Transport::Tcp,
        Proto::Tls => carnet_sip::Transport::Tls,
    }
}

/// How long answers to administrators may take that are under way when the process ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Roles that run.
pub struct Running {
    drain: Drain,
    /// Of administrators, who may ask until the last role has ended.
    answers: Drain,
    tasks: Vec<(String, JoinHandle<()>)>,
    looking: JoinHandle<()>,
    /// How it goes on with other settings; taken by who reloads.
    renewals: Renewals,
    /// What sends to a HEP server.
    telling: Option<JoinHandle<()>>,
    life: Life,
    _desks: Vec<Open>,
    /// Dropped last: roles that have been told to stop still run there.
    _places: Places,
}

type Places = HashMap<String, Place>;

/// Starts every role of a file. Inside a tokio runtime. `observer` sees what they do, beside `watch`.
pub async fn start(config: &Config, watch: Arc<Watch>, observer: Option<Observer>) -> Start<Running> {
    let observer = watch.observer(observer);
    let looking = tokio::spawn(watch.clone().look());
    let hep = watch.tap().and_then(tap::Tap::hep);
    let telling = hep.and_then(|hep| hep.run(watch.clone())).map(tokio::spawn);
    let (drain, token) = drain();
    let mut tasks = Vec::new();
    let mut renewals = Renewals::default();
    watch.renewals(&mut renewals);
    let mut answering = Answering::default();
    let mut controllers: HashMap<String, HashMap<String, LocalEnd>> = HashMap::new();
    let mut gateways: HashMap<String, HashMap<String, LocalEnd>> = HashMap::new();
    let mut keys = None;
    if let Some(section) = &config.kms {
        let section = section.as_ref();
        let (name, told) = (section.name.clone(), observer.clone());
        let witness = Arc::new(move |event: &crate::kms::Event| told(Seen::Kms { kms: &name, event }));
        let started = crate::kms::start(section, witness, &mut renewals, token.clone()).await;
        let started = started.map_err(|e| StartError::new("KMS", &section.name, e))?;
        tracing::debug!(kms = section.name, address = %started.address, "serves tickets");
        let there = Arc::downgrade(&started.service);
        let asked = answering.other(format!("KMS `{}`", section.name));
        tokio::spawn(life::of_kms(there.clone(), asked));
        watch.metrics.source(held_sip::of_kms(&section.name, there));
        keys = Some(started.service);
        tasks.push((section.name.clone(), started.task));
    }
    for (name, section) in &config.gateway {
        for address in section.as_ref().controllers.as_ref() {
            let ControlAddress::Local(border) = address else { continue };
            let (above, below) = local_pair(LOCAL_QUEUE);
            let (above, below) = (above.towards(name), below.towards(border));
            controllers.entry(border.clone()).or_default().insert(name.clone(), above);
            gateways.entry(name.clone()).or_default().insert(border.clone(), below);
        }
    }
    let (sharing, mut places) = (Sharing::of(config), Places::new());
    for (name, section) in &config.border {
        let local = controllers.remove(name).unwrap_or_default();
        let place = place_of(&mut places, &sharing.border, name)?;
        let (observer, token) = (observer.clone(), token.clone());
        let questions = answering.border(name, &section.as_ref().control.as_ref().gateways);
        let (news, heard) = mpsc::channel(1);
        renewals.add(&["border", name], border::renewal(name, news));
        let asked = (questions, heard);
        let start = || border::start(name, config, section.as_ref(), local, asked, observer, token);
        let task = place.run(start)?;
        tasks.push((name.clone(), task));
    }
    for (name, section) in &config.conference {
        let local = controllers.remove(name).unwrap_or_default();
        let place = place_of(&mut places, &sharing.conference, name)?;
        let (observer, token) = (observer.clone(), token.clone());
        let questions = answering.conference(name);
        let (news, heard) = mpsc::channel(1);
        renewals.add(&["conference", name], conference::renewal(name, news));
        let asked = (questions, heard);
        let start = || conference::start(name, config, section.as_ref(), local, asked, observer, token);
        let task = place.run(start)?;
        tasks.push((name.clone(), task));
    }
    for (name, section) in &config.gateway {
        let local = gateways.remove(name).unwrap_or_default();
        let place = place_of(&mut places, &sharing.gateway, name)?;
        let (observer, token) = (observer.clone(), token.clone());
        let questions = answering.gateway(name);
        if let Some(relay) = &section.as_ref().relay {
            let questions = answering.other(format!("relay of `{name}`"));
            let (task, look) = relay::start(name, relay.as_ref(), questions, &mut renewals, token.clone())?;
            watch.metrics.source(look);
            tasks.push((format!("relay of {name}"), task));
        }
        let mut local = local;
        if let Some(ng) = &section.as_ref().ng {
            let (above, below) = local_pair(LOCAL_QUEUE);
            local.insert(steering::name_of(name), below.towards(&steering::name_of(name)));
            let questions = answering.steering(name);
            let (observer, token) = (observer.clone(), token.clone());
            let of = (name.as_str(), section.as_ref(), ng.as_ref());
            let task = place.run(|| steering::start(of, above, questions, observer, &mut renewals, token))?;
            tasks.push((format!("steering of {name}"), task));
        }
        let (news, heard) = mpsc::channel(1);
        renewals.add(&["gateway", name], gateway::renewal(name, news));
        let asked = (questions, heard);
        let task = place.run(|| gateway::start(name, section.as_ref(), local, asked, observer, token))?;
        tasks.push((name.clone(), task));
    }
    let answering = Arc::new(answering);
    let (answers, door) = carnet_net::drain();
    let desks = answering.open(config, &watch, keys, &mut renewals, door)?;
    let unused = carnet_net::inherited::unused();
    if !unused.is_empty() {
        let why = "is named by no section of the file, and was opened for it before the start";
        return Err(StartError::new("listener", &unused.join("`, `"), why));
    }
    let life = Life(answering);
    Ok(Running { drain, answers, tasks, looking, telling, life, renewals, _desks: desks, _places: places })
}

fn place_of<'a>(
    places: &'a mut Places,
    sharing: &BTreeMap<String, String>,
    role: &str,
) -> Start<&'a mut Place> {
    let name = sharing.get(role).map_or(role, String::as_str);
    match places.entry(name.to_owned()) {
        Entry::Occupied(place) => Ok(place.into_mut()),
        Entry::Vacant(vacant) => Ok(vacant.insert(Place::open(name)?)),
    }
}

impl Running {
    /// How the roles go on with other settings.
    pub fn renewals(&mut self) -> Renewals {
        std::mem::take(&mut self.renewals)
    }

    /// Whether they live.
    pub fn life(&self) -> Life {
        self.life.clone()
    }

    /// Stops taking new work, waits until what runs has ended or `grace` is over, then closes
    /// everything. Whether all ended by themselves.
    pub async fn stop(self, grace: Duration) -> bool {
        self.drain.start(grace);
        let ended = self.drain.finished().await;
        // Somebody may have asked for this very end, and is to hear that it was understood.
        self.answers.start(LAST_ANSWERS);
        self.answers.finished().await;
        for task in self.tasks.iter().map(|(_, task)| task).chain([&self.looking]).chain(&self.telling) {
            task.abort();
        }
        ended
    }

    /// Waits until a role ends by itself, which it should not; its name.
    pub async fn failed(&mut self) -> String {
        std::future::poll_fn(|context| {
            for (name, task) in &mut self.tasks {
                if Pin::new(task).poll(context).is_ready() {
                    return Poll::Ready(name.clone());
                }
            }
            Poll::Pending
        })
        .await
    }
}
