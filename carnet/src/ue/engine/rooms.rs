//! Conferences at the engine: their sockets, their tasks, and the way from one call to the next when the
//! focus calls back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use carnet_client::{
    Ask, CallId, Conference, Ending, Event, FloorMedia, Invitation, Media, Places, ReferralId, Refusal,
    Remote, TcpRole,
};
use carnet_msrp::Uri as MsrpUri;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::{BYE_GRACE, CLOSE_GRACE, Engine, Known, ORDERS};
use crate::ue::UeError;
use crate::ue::event::UeEvent;
use crate::ue::link::Link;
use crate::ue::room::event::{Medium, RoomEvent, RosterReport};
use crate::ue::room::floor::FloorLine;
use crate::ue::room::memory::Memory;
use crate::ue::room::talk::Talk;
use crate::ue::room::{FloorOrder, Over, Reply, TalkOrder, Wish};

/// What is wanted of a conference.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Its messages.
    pub messages: bool,
    /// Its floor control, if it has any.
    pub floors: bool,
    /// The name to go by.
    pub nickname: Option<String>,
}

impl Default for Joining {
    fn default() -> Self {
        Self { messages: true, floors: true, nickname: None }
    }
}

/// What the driver knows of a conference call.
#[derive(Default)]
pub(super) struct RoomKnown {
    conference: Option<Conference>,
    /// What was wanted of it.
    messages: bool,
    floors: bool,
    memory: Memory,
    floor_listener: Option<TcpListener>,
    talk: Option<mpsc::Sender<TalkOrder>>,
    place: Option<watch::Sender<Option<Remote>>>,
    floor: Option<mpsc::Sender<FloorOrder>>,
    /// Where the floor control connection is made to.
    floor_place: Option<watch::Sender<Option<Remote>>>,
    referrals: HashMap<ReferralId, (Ask, String)>,
    /// The floor control connection broke, and the rest goes on without.
    floors_lost: bool,
}

impl RoomKnown {
    /// Tells the tasks to end in order; whether there was one.
    fn stop(&self) -> bool {
        let talk = self.talk.as_ref().is_some_and(|talk| talk.try_send(TalkOrder::Stop).is_ok());
        let floor = self.floor.as_ref().is_some_and(|floor| floor.try_send(FloorOrder::Stop).is_ok());
        talk || floor
    }
}

impl Engine {
    /// Joins a conference.
    pub(super) async fn join(&mut self, uri: &str, joining: Joining) -> Result<CallId, UeError> {
        let to = self.proxy.callee(uri).map_err(UeError::Setup)?;
        let mut known = Known { peer: to.to_string(), ..Known::default() };
        let room = RoomKnown { messages: joining.messages, floors: joining.floors, ..RoomKnown::default() };
        room.memory.want_nickname(joining.nickname);
        known.room = Some(Box::new(room));
        let places = self.places(&mut known, true).await?;
        let call = self
            .machine
            .client
            .join(Instant::now(), SystemTime::now(), to, places)
            .map_err(UeError::Refused)?;
        self.calls.insert(call, known);
        Ok(call)
    }

    /// Listens for the lines that are wanted. `floors` says whether there is floor control at all.
    async fn places(&mut self, known: &mut Known, floors: bool) -> Result<Places, UeError> {
        let setup = |error: std::io::Error| UeError::Setup(format!("no address for media: {error}"));
        let Some(room) = &mut known.room else { return Ok(Places { messages: None, floors: None }) };
        let mut places = Places { messages: None, floors: None };
        if room.messages {
            let listener = TcpListener::bind((self.media_address, 0)).await.map_err(setup)?;
            places.messages = Some(listener.local_addr().map_err(setup)?);
            known.listener = Some(listener);
        }
        if room.floors && floors {
            let listener = TcpListener::bind((self.media_address, 0)).await.map_err(setup)?;
            places.floors = Some(listener.local_addr().map_err(setup)?);
            room.floor_listener = Some(listener);
        }
        Ok(places)
    }

    /// A conference calls us.
    pub(super) async fn invited(&mut self, call: CallId, from: String, invitation: Invitation, sealed: bool) {
        let mut room = RoomKnown { messages: true, floors: true, ..RoomKnown::default() };
        let old = invitation.back.and_then(|old| Some((old, self.calls.get(&old)?.room.as_ref()?)));
        let back = old.map(|(old, before)| {
            room = RoomKnown {
                messages: before.messages,
                floors: before.floors,
                memory: before.memory.clone(),
                ..RoomKnown::default()
            };
            old
        });
        let known = Known { peer: from.clone(), room: Some(Box::new(room)), ..Known::default() };
        self.calls.insert(call, known);
        match back {
            Some(old) => {
                self.tell(UeEvent::Room { call: old, event: Box::new(RoomEvent::CalledBack { to: call }) })
                    .await;
                self.accept_room(call).await;
            }
            None => {
                self.tell(UeEvent::Incoming { call, from, file: None, sealed }).await;
                if self.answer {
                    self.accept_room(call).await;
                }
            }
        }
    }

    /// Takes the call of a conference.
    pub(super) async fn accept_room(&mut self, call: CallId) {
        let Some(mut known) = self.calls.remove(&call) else { return };
        let places = self.places(&mut known, true).await;
        self.calls.insert(call, known);
        match places {
            Ok(places) => self.machine.client.accept_conference(Instant::now(), call, places),
            Err(error) => {
                self.machine.client.decline(Instant::now(), call);
                self.tell(UeEvent::Trouble { message: error.to_string() }).await;
            }
        }
    }

    /// What concerns conferences only.
    pub(super) async fn room_happened(&mut self, event: Event) {
        match event {
            Event::Joined { call, conference } => self.joined(call, conference).await,
            Event::Floors { call, media } => self.hold_floors(call, *media).await,
            Event::FloorsRenewed { call, place } => {
                let Some(room) = self.room(call) else { return };
                if let (Ok(Some(remote)), Some(place)) = (&place, &room.floor_place) {
                    place.send_replace(Some(remote.clone()));
                }
                // Without room for it the task asks again.
                if let Some(floor) = &room.floor {
                    let _ = floor.try_send(FloorOrder::Renewed(place.is_ok()));
                }
            }
            Event::FloorsEnded { call } => {
                let reason = "the conference took floor control away".to_owned();
                if let Some(room) = self.room(call) {
                    room.floor = None;
                    room.floors_lost = true;
                }
                self.tell_room(call, RoomEvent::NoFloors { reason }).await;
            }
            Event::Roster { call, roster, changes } => {
                let report = RosterReport::of(&roster, &changes, &self.identity);
                self.tell_room(call, RoomEvent::Roster(report)).await;
            }
            Event::NoRoster { call, reason } => {
                self.tell_room(call, RoomEvent::NoRoster { reason: reason.to_string() }).await;
            }
            Event::Referral { call, referral, status, text, done } => {
                let Some(room) = self.room(call) else { return };
                let Some((ask, who)) = room.referrals.get(&referral).cloned() else { return };
                if done {
                    room.referrals.remove(&referral);
                }
                let asked = match ask {
                    Ask::Invite => "invite",
                    Ask::Expel => "kick",
                };
                self.tell_room(call, RoomEvent::Referral { asked, who, status, words: text, done }).await;
            }
            Event::Waiting { call } => {
                let reason = self.room(call).and_then(|room| room.memory.failure());
                self.tell_room(call, RoomEvent::Waiting { reason }).await;
            }
            _ => {}
        }
    }

    fn room(&mut self, call: CallId) -> Option<&mut RoomKnown> {
        self.calls.get_mut(&call)?.room.as_deref_mut()
    }

    async fn tell_room(&mut self, call: CallId, event: RoomEvent) {
        self.tell(UeEvent::Room { call, event: Box::new(event) }).await;
    }

    async fn joined(&mut self, call: CallId, conference: Conference) {
        let Some(room) = self.room(call) else { return };
        room.memory.joined(SystemTime::now());
        room.conference = Some(conference.clone());
        self.machine.client.watch(Instant::now(), call);
        let event = RoomEvent::Joined {
            conference: conference.uri,
            sealed: conference.sealed,
            messages: conference.messages,
            floors: conference.floors,
            nicknames: conference.nicknames,
            private_messages: conference.private_messages,
        };
        self.tell_room(call, event).await;
    }

    /// The message session of a conference is agreed.
    pub(super) fn talk(&mut self, call: CallId, mut media: Media) {
        let (send, orders) = mpsc::channel(ORDERS);
        let (place, remote) = watch::channel(media.remote.clone());
        let (me, psk, inbox, events) =
            (self.identity.clone(), self.psk.clone(), self.inbox.clone(), self.events.clone());
        let news = self.room_news.0.clone();
        let Some(known) = self.calls.get_mut(&call) else { return };
        let listener = known.listener.take().filter(|_| media.tcp == TcpRole::Passive);
        let peer = known.peer.clone();
        let Some(room) = &mut known.room else { return };
        let greeting = MsrpUri::parse(media.local_path.as_bytes()).ok();
        let link = Link {
            me: me.clone(),
            tcp: media.tcp,
            tls: media.tls,
            local: media.local,
            seal: media.seal.take().map(Arc::new),
            listener,
            remote,
            psk,
            greeting,
        };
        let conference = room.conference.as_ref();
        let talk = Talk {
            call,
            me,
            room: conference.map_or(peer, |conference| conference.uri.clone()),
            media,
            link,
            inbox,
            nicknames: conference.is_some_and(|conference| conference.nicknames),
            memory: room.memory.clone(),
            events,
        };
        room.talk = Some(send);
        room.place = Some(place);
        tokio::spawn(async move {
            let over = talk.run(orders).await;
            let _ = news.send((call, Medium::Messages, over)).await;
        });
    }

    /// The conference is to be reached elsewhere.
    pub(super) fn moved_room(&mut self, call: CallId, remote: &Remote) {
        if let Some(place) = self.room(call).and_then(|room| room.place.as_ref()) {
            place.send_replace(Some(remote.clone()));
        }
    }

    /// Floor control is agreed.
    async fn hold_floors(&mut self, call: CallId, mut media: FloorMedia) {
        let (send, orders) = mpsc::channel(ORDERS);
        let (place, remote) = watch::channel(media.remote.clone());
        let (me, psk, events) = (self.identity.clone(), self.psk.clone(), self.events.clone());
        let news = self.room_news.0.clone();
        let Some(room) = self.room(call) else { return };
        let listener = room.floor_listener.take().filter(|_| media.tcp == TcpRole::Passive);
        room.floor = Some(send);
        room.floor_place = Some(place);
        room.floors_lost = false;
        // Without messages the conference ends with its one connection.
        let comes_back = room.messages && media.tcp == TcpRole::Active;
        let floors = media.floors.iter().map(|floor| floor.floor).collect();
        let told = RoomEvent::Floors { user: media.user, floors };
        let link = Link {
            me,
            tcp: media.tcp,
            tls: media.tls,
            local: media.local,
            seal: media.seal.take().map(Arc::new),
            listener,
            remote,
            psk,
            greeting: None,
        };
        let lost = comes_back.then(|| news.clone());
        let line = FloorLine { call, media, link, events, lost };
        self.tell_room(call, told).await;
        tokio::spawn(async move {
            let over = line.run(orders).await;
            let _ = news.send((call, Medium::Floors, over)).await;
        });
    }

    /// The connection of a line is over.
    pub(super) async fn room_over(&mut self, call: CallId, medium: Medium, over: Over) {
        let now = Instant::now();
        let Some(known) = self.calls.get_mut(&call) else { return };
        let hanging_up = known.hanging_up;
        let Some(room) = &mut known.room else { return };
        if matches!(over, Over::Lost) {
            // A conference that lost more than this calls back.
            if !hanging_up && room.talk.is_some() {
                self.machine.client.renew_floors(now, call);
            }
            return;
        }
        match medium {
            Medium::Messages => room.talk = None,
            Medium::Floors => room.floor = None,
        }
        if hanging_up {
            if room.talk.is_none() && room.floor.is_none() {
                self.machine.client.hang_up(now, SystemTime::now(), call);
            }
            return;
        }
        if medium == Medium::Floors && room.messages {
            if !std::mem::replace(&mut room.floors_lost, true) && room.talk.is_some() {
                let reason = match over {
                    Over::Failed(reason) => reason,
                    _ => "the conference closed the floor control connection".to_owned(),
                };
                self.tell_room(call, RoomEvent::NoFloors { reason }).await;
            }
            return;
        }
        match over {
            Over::Failed(reason) => {
                self.machine.client.media_failed(now, call, Refusal::Connection(reason));
            }
            // The BYE of the focus is on its way, as a rule.
            _ => self.dying.push((now + BYE_GRACE, call)),
        }
    }

    /// Whether a call is that of a conference which nobody has hung up: then the end of its connection is a
    /// loss and not its end.
    pub(super) fn is_lost_room(&self, call: CallId) -> bool {
        self.calls.get(&call).is_some_and(|known| known.room.is_some() && !known.hanging_up)
    }

    /// Closes the connections of a conference before its call ends. `false` if there is none.
    pub(super) fn stop_room(&mut self, call: CallId) -> bool {
        let stops = self.room(call).is_some_and(|room| room.stop());
        if stops {
            self.dying.push((Instant::now() + CLOSE_GRACE, call));
        }
        stops
    }

    /// A conference call is over.
    pub(super) async fn left(&mut self, call: CallId, known: &Known, ending: &Ending) {
        let failure = match ending {
            Ending::CalledBack(_) => return,
            Ending::Refused(refusal) => Some((refusal.word(), self.explain(refusal))),
            _ => None,
        };
        let said = if let Ending::Peer(said) = ending { said.clone() } else { None };
        let ours = matches!(ending, Ending::Local) || known.hanging_up;
        self.tell_room(call, RoomEvent::Left { failure, said, ours }).await;
    }

    /// Does what is wished of a conference.
    pub(super) fn wish(&mut self, call: CallId, wish: Wish, reply: Reply) {
        let who = match &wish {
            Wish::Invite(who) | Wish::Kick(who) => Some(self.proxy.callee(who)),
            _ => None,
        };
        let Some(room) = self.room(call) else { return };
        let talk = |order: TalkOrder| match room.talk.as_ref().map(|talk| talk.try_send(order)) {
            Some(Ok(())) => {}
            Some(Err(mpsc::error::TrySendError::Full(TalkOrder::Say { reply, .. }))) => {
                let _ = reply.send(Err(UeError::Undelivered("too many messages wait".into())));
            }
            // Dropping the reply says that nobody is there.
            _ => {}
        };
        let floor = |order: FloorOrder| {
            if let Some(floor) = &room.floor {
                let _ = floor.try_send(order);
            } else if let FloorOrder::Request { reply, .. }
            | FloorOrder::Release { reply, .. }
            | FloorOrder::Decide { reply, .. } = order
            {
                let _ = reply.send(Err(UeError::Floor("the conference has no floor control".into())));
            }
        };
        match wish {
            Wish::Say { to, text } => talk(TalkOrder::Say { to, text, reply }),
            // A file is described first, which takes time, so it comes by a way of its own.
            Wish::File { .. } => {}
            Wish::Nickname(nickname) => {
                talk(TalkOrder::Nickname(nickname));
                let _ = reply.send(Ok(()));
            }
            Wish::Typing(active) => {
                talk(TalkOrder::Typing(active));
                let _ = reply.send(Ok(()));
            }
            Wish::Request { floor: which, priority, why } => {
                floor(FloorOrder::Request { floor: which, priority, why, reply });
            }
            Wish::Release { floor: which } => floor(FloorOrder::Release { floor: which, reply }),
            Wish::Decide { floor: which, who, decision } => {
                floor(FloorOrder::Decide { floor: which, who, decision, reply });
            }
            Wish::Invite(_) | Wish::Kick(_) => {
                let ask = if matches!(wish, Wish::Invite(_)) { Ask::Invite } else { Ask::Expel };
                let Some(who) = who else { return };
                let _ = reply.send(self.refer(call, ask, who));
            }
        }
    }

    fn refer(&mut self, call: CallId, ask: Ask, who: Result<carnet_sip::Uri, String>) -> Result<(), UeError> {
        let who = who.map_err(UeError::Setup)?;
        let id = self.machine.client.refer(Instant::now(), call, &who, ask).map_err(UeError::Refused)?;
        if let Some(room) = self.room(call) {
            room.referrals.insert(id, (ask, who.to_string()));
        }
        Ok(())
    }

    /// Sends a file to a conference.
    pub(super) fn room_file(&mut self, call: CallId, order: TalkOrder) {
        if let Some(talk) = self.room(call).and_then(|room| room.talk.as_ref()) {
            let _ = talk.try_send(order);
        }
    }
}
