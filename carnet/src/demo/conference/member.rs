//! A member of the demonstration: the client that `carnet ue join` is, and what it has reported.

use super::network::{self, MEMBERS, ROOM};
use super::proof::Seat;
use super::{PATIENCE, Person};
use crate::demo::network::Addresses;
use crate::kms::client::ServerTrust;
use crate::ue::config::KmsAccount;
use crate::ue::interop::Interop;
use crate::ue::room::Wish;
use crate::ue::room::event::{Outcome, RoomEvent};
use crate::ue::{Joining, Ue, UeConfig, UeEvent, UeHandle};
use carnet_client::CallId;
use carnet_mikey::Psk;
use carnet_wire::hex;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// What a client has reported so far.
#[derive(Default)]
pub struct Reported {
    registered: bool,
    pub seals: Vec<String>,
    keys: Vec<String>,
    user: Option<u16>,
    pub roster_sealed: usize,
    room_sealed: bool,
    pub heard: Vec<String>,
    pub file: Option<PathBuf>,
    file_hash: Option<String>,
    /// Users who ask for the floor, and whether somebody has it.
    pub wants: Vec<u16>,
    pub held: bool,
    /// What became of its own request last.
    pub outcome: Option<Outcome>,
    /// Why it is not in the room.
    trouble: Option<String>,
}

/// A member, and the way to its client.
pub struct Member {
    name: &'static str,
    handle: UeHandle,
    call: CallId,
    reported: Arc<Mutex<Reported>>,
    /// The thread that the client has for itself, if it has one.
    alone: Mutex<Option<Alone>>,
    is_alone: bool,
}

/// A thread on which a client runs like a program of its own. When this is dropped the client is gone, like a
/// program that was killed: its sockets close, and nobody says goodbye.
struct Alone {
    freeze: mpsc::Sender<()>,
}

type Started = Result<(UeHandle, mpsc::Receiver<UeEvent>), String>;

impl Alone {
    fn start(config: UeConfig) -> Result<(oneshot::Receiver<Started>, Self), String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let (sender, started) = oneshot::channel();
        let (freeze, mut frozen) = mpsc::channel(1);
        let run = move || {
            let _ = sender.send(runtime.block_on(Ue::start(config)).map_err(|e| e.to_string()));
            if runtime.block_on(frozen.recv()).is_some() {
                // Nothing of the client moves while its runtime is not run.
                let _ = frozen.blocking_recv();
            }
        };
        std::thread::Builder::new().spawn(run).map_err(|e| e.to_string())?;
        Ok((started, Self { freeze }))
    }
}

/// What the client of a member is started with.
pub fn config(
    index: usize,
    person: &Person,
    addresses: Addresses,
    directory: &Path,
) -> Result<UeConfig, String> {
    let octets = Zeroizing::new(hex::decode(person.psk.as_bytes()).map_err(|e| e.to_string())?);
    let inbox = directory.join(MEMBERS[index]);
    std::fs::create_dir_all(&inbox).map_err(|e| e.to_string())?;
    let host = u8::try_from(20 + index).map_err(|e| e.to_string())?;
    Ok(UeConfig {
        identity: person.uri.clone(),
        user: MEMBERS[index].to_owned(),
        password: person.password.clone(),
        proxy: network::proxy(addresses, index),
        register: true,
        expires: Duration::from_secs(600),
        listen: (addresses.at(network::operator(index).access, host), 0).into(),
        media: None,
        keep_alive: None,
        behind_nat: false,
        interop: Interop::default(),
        kms: Some(KmsAccount {
            url: format!("https://{}", addresses.kms()),
            identity: "sip:kms.example".into(),
            key_name: person.uri.clone(),
            key: Psk::new(&octets).map_err(|e| e.to_string())?,
            trust: ServerTrust::File(directory.join("kms.pem")),
        }),
        allow_clear: false,
        ca_file: None,
        answer: true,
        inbox: Some(inbox),
        max_file: 8 << 30,
    })
}

impl Member {
    /// Starts the client, registers and enters the room.
    pub async fn start(index: usize, config: UeConfig, alone: bool) -> Result<Self, String> {
        let name = MEMBERS[index];
        let (started, alone) = match alone {
            true => Alone::start(config).map(|(started, alone)| (started, Some(alone)))?,
            false => {
                let (sender, started) = oneshot::channel();
                let _ = sender.send(Ue::start(config).await.map_err(|e| e.to_string()));
                (started, None)
            }
        };
        let started = started.await.map_err(|_| format!("{name}'s client stopped"))?;
        let (handle, events) = started.map_err(|e| format!("{name}: {e}"))?;
        let reported = Arc::<Mutex<Reported>>::default();
        tokio::spawn(listen(events, reported.clone()));
        let is_alone = alone.is_some();
        let mut member = Self { name, handle, call: CallId(0), reported, alone: Mutex::new(alone), is_alone };
        member.wait("its registration", PATIENCE, |seen| seen.registered).await?;
        let call = member.handle.join(ROOM, Joining::default()).await;
        member.call = call.map_err(|e| format!("{name} cannot join: {e}"))?;
        Ok(member)
    }

    fn reported(&self) -> MutexGuard<'_, Reported> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until its client has reported something.
    pub async fn wait(
        &self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Reported) -> bool,
    ) -> Result<(), String> {
        let until = Instant::now() + limit;
        loop {
            let trouble = {
                let reported = self.reported();
                if done(&reported) {
                    return Ok(());
                }
                reported.trouble.clone()
            };
            if let Some(why) = trouble {
                return Err(format!("{} waits for {what}: {why}", self.name));
            }
            if Instant::now() > until {
                return Err(format!("{} waited in vain for {what}", self.name));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Asks something of the room.
    pub async fn wish(&self, wish: Wish) -> Result<(), String> {
        let done = tokio::time::timeout(super::LONG, self.handle.wish(self.call, wish)).await;
        let done = done.map_err(|_| format!("{}: no answer", self.name))?;
        done.map_err(|e| format!("{}: {e}", self.name))
    }

    /// Its number in the room.
    pub fn user(&self) -> Option<u16> {
        self.reported().user
    }

    pub fn seals(&self) -> Vec<String> {
        self.reported().seals.clone()
    }

    /// Whether the room says that it is sealed.
    pub fn room_sealed(&self) -> bool {
        self.reported().room_sealed
    }

    /// Looks at the file that came.
    pub fn judge_file(&self, hash: impl Fn(&Path) -> std::io::Result<String>) {
        let path = self.reported().file.clone();
        let found = path.and_then(|path| hash(&path).ok());
        self.reported().file_hash = found;
    }

    /// How it stands at the end.
    pub fn seat(&self, uri: &str) -> Seat {
        let reported = self.reported();
        Seat {
            name: self.name.to_owned(),
            uri: uri.to_owned(),
            seals: reported.seals.clone(),
            keys: reported.keys.clone(),
            roster_sealed: reported.roster_sealed,
            heard: reported.heard.clone(),
            file: reported.file_hash.clone(),
        }
    }

    /// From now on its client does nothing at all.
    pub fn freeze(&self) {
        if let Some(alone) = &*self.alone() {
            let _ = alone.freeze.try_send(());
        }
    }

    /// From now on there is no client.
    pub fn vanish(&self) {
        self.alone().take();
    }

    /// Leaves in order, if it can.
    pub async fn stop(&self) {
        if !self.is_alone {
            self.handle.stop().await;
        }
        self.vanish();
    }

    fn alone(&self) -> MutexGuard<'_, Option<Alone>> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes what a client reports, until it has nothing more to say.
async fn listen(mut events: mpsc::Receiver<UeEvent>, reported: Arc<Mutex<Reported>>) {
    while let Some(event) = events.recv().await {
        let mut seen = reported.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            UeEvent::Registered { .. } => seen.registered = true,
            UeEvent::NotRegistered { reason } => seen.trouble = Some(reason),
            UeEvent::Trouble { message } => seen.trouble = Some(message),
            UeEvent::Ended { failure: Some((_, reason)), .. } => seen.trouble = Some(reason),
            UeEvent::Room { event, .. } => seen.room(*event),
            _ => {}
        }
    }
}

impl Reported {
    fn room(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::Connected { seal, .. } => {
                self.seals.push(seal.as_ref().map_or_else(|| "in clear".to_owned(), |seal| seal.line()));
                self.keys.extend(seal.map(|seal| seal.psk_identity));
            }
            RoomEvent::Floors { user, .. } => self.user = Some(user),
            RoomEvent::Roster(roster) => {
                let sealed = roster.members.iter().filter(|member| member.sealed == Some(true)).count();
                if sealed >= self.roster_sealed {
                    (self.roster_sealed, self.room_sealed) = (sealed, roster.sealed == Some(true));
                }
            }
            RoomEvent::Message(said) if !said.own && !said.notice && !said.history => {
                self.heard.push(said.text);
            }
            RoomEvent::File { path, .. } => self.file = Some(path),
            RoomEvent::Floor { holders, queue, .. } => {
                self.held = !holders.is_empty();
                self.wants = queue.iter().map(|claim| claim.user).collect();
            }
            RoomEvent::Request { outcome, .. } => self.outcome = Some(outcome),
            RoomEvent::Left { failure, said, ours } if !ours => {
                let why = failure.map(|(_, sentence)| sentence).or(said);
                self.trouble = Some(why.unwrap_or_else(|| "it was put out".into()));
            }
            _ => {}
        }
    }
}
