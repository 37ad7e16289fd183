//! The floor control connection of a conference, until it ends: what we ask for, what a chair decides, and
//! who has what (RFC 8855 §10 to §12).
//!
//! When it breaks and we are the one who opened it, we open another (RFC 8856 §7.1, §8): the focus is asked
//! first, then it is made as before, under the same key. What was asked for is asked for again under its
//! number (RFC 8855 §6.1), and what we had is ours if we are back in time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use carnet_bfcp::{
    Body, Client, ClientEvent, ErrorCode, Limits, Priority, RequestInformation, RequestStatus, Status, Text,
    Transport,
};
use carnet_client::{CallId, FloorMedia};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::event::{Claim, Medium, Outcome, RoomEvent};
use super::{Decision, FloorOrder, Over, Reply};
use crate::ue::UeError;
use crate::ue::event::{SealReport, UeEvent};
use crate::ue::link::{Link, Made};

/// How long the last octets may take to go out.
const FAREWELL: Duration = Duration::from_secs(3);
/// Octets read at once.
const BUFFER: usize = 16 * 1024;
/// Floors and requests that are kept. A server that tells of more is not believed.
const MOST: usize = 1024;

/// How long is tried to have a connection again: as long as the server keeps what we had.
const COME_BACK: Duration = Duration::from_secs(30);
/// Before the focus is asked the first time. A conference that ends says so in that time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two attempts; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How long the focus may take to answer, and the connection to come up, before the next attempt.
const ATTEMPT: Duration = Duration::from_secs(8);
/// What is ordered while there is no connection.
const LATE: usize = 32;

/// What the task needs.
pub(in crate::ue) struct FloorLine {
    pub(in crate::ue) call: CallId,
    pub(in crate::ue) media: FloorMedia,
    pub(in crate::ue) link: Link,
    pub(in crate::ue) events: mpsc::Sender<UeEvent>,
    /// Where a connection that broke is told, if we make another.
    pub(in crate::ue) lost: Option<mpsc::Sender<(CallId, Medium, Over)>>,
}

impl FloorLine {
    /// Runs to the end.
    pub(in crate::ue) async fn run(self, mut orders: mpsc::Receiver<FloorOrder>) -> Over {
        let Self { call, media, mut link, events, lost } = self;
        let mut made = tokio::select! {
            made = link.make_again() => made,
            () = stopped(&mut orders) => return Over::Done,
        };
        if lost.is_none() {
            link.seal = None;
        }
        let client = Client::new(media.conference, media.user, Transport::Stream, Limits::default());
        let floors = media.floors.iter().map(|floor| floor.floor).collect();
        let mut desk = Desk {
            call,
            client,
            floors,
            states: BTreeMap::new(),
            ours: BTreeMap::new(),
            asked: BTreeMap::new(),
            late: VecDeque::new(),
            patience: COME_BACK,
            events,
        };
        let mut again = false;
        loop {
            let end = match made {
                Err(reason) => return Over::Failed(reason),
                Ok(Made::Sealed(stream, report)) => {
                    desk.connected(Some(report), again).await;
                    desk.run(*stream, &mut orders, again).await
                }
                Ok(Made::Clear(stream)) => {
                    desk.connected(None, again).await;
                    desk.run(stream, &mut orders, again).await
                }
            };
            let reason = match end {
                End::Told => return Over::Done,
                End::Wrong(reason) => return Over::Failed(reason),
                End::Broke(reason) => reason,
            };
            let Some(lost) = &lost else {
                return reason.map_or(Over::Done, Over::Failed);
            };
            again = true;
            made = match desk.come_back(&mut link, &mut orders, lost).await {
                Some(stream) => Ok(stream),
                // We were told to end.
                None if orders.is_closed() => return Over::Done,
                None => Err(reason.unwrap_or_else(|| "the connection is gone".to_owned())),
            };
        }
    }
}

/// How a connection ended.
enum End {
    /// We were told to.
    Told,
    /// What came cannot be read: another connection would bring the same.
    Wrong(String),
    /// It is gone, and why if that is known.
    Broke(Option<String>),
}

/// Waits for an order to stop; what is ordered before the connection is up fails.
async fn stopped(orders: &mut mpsc::Receiver<FloorOrder>) {
    loop {
        match orders.recv().await {
            Some(
                FloorOrder::Request { reply, .. }
                | FloorOrder::Release { reply, .. }
                | FloorOrder::Decide { reply, .. },
            ) => {
                let _ = reply.send(Err(UeError::NotUp));
            }
            Some(FloorOrder::Renewed(_)) => {}
            Some(FloorOrder::Stop) | None => return,
        }
    }
}

/// What is known of the floors.
struct Desk {
    call: CallId,
    client: Client,
    floors: Vec<u16>,
    /// What the server says of each floor.
    states: BTreeMap<u16, Vec<RequestInformation>>,
    /// Our requests that are not over: their floors and what was told last.
    ours: BTreeMap<u16, (Vec<u16>, Outcome, u8)>,
    /// Who waits for the answer to what.
    asked: BTreeMap<u16, Reply>,
    /// Ordered while there was no connection.
    late: VecDeque<FloorOrder>,
    /// How long is tried to have a connection again.
    patience: Duration,
    events: mpsc::Sender<UeEvent>,
}

impl Desk {
    async fn tell(&self, event: RoomEvent) {
        let _ = self.events.send(UeEvent::Room { call: self.call, event: Box::new(event) }).await;
    }

    async fn connected(&self, seal: Option<Box<SealReport>>, again: bool) {
        self.tell(RoomEvent::Connected { medium: Medium::Floors, seal }).await;
        if again {
            self.tell(RoomEvent::FloorsBack).await;
        }
    }

    /// Makes another connection; `None` if that could not be done in time, or is not wanted any more: then
    /// `orders` is closed.
    async fn come_back(
        &mut self,
        link: &mut Link,
        orders: &mut mpsc::Receiver<FloorOrder>,
        lost: &mpsc::Sender<(CallId, Medium, Over)>,
    ) -> Option<Made> {
        let (until, mut pause) = (Instant::now() + self.patience, FIRST_PAUSE);
        while Instant::now() + pause < until {
            let at = Instant::now() + pause;
            while self.order(orders, at).await?.is_some() {}
            lost.send((self.call, Medium::Floors, Over::Lost)).await.ok()?;
            let limit = until.min(Instant::now() + ATTEMPT);
            if self.order(orders, limit).await? == Some(true) {
                let making = link.make_again();
                tokio::pin!(making);
                loop {
                    tokio::select! {
                        made = &mut making => match made {
                            Ok(made) => return Some(made),
                            Err(_) => break,
                        },
                        order = self.order(orders, limit) => if order?.is_none() { break },
                    }
                }
            }
            pause = LONGEST_PAUSE.min(2 * pause);
        }
        None
    }

    /// Keeps what is ordered for later, until the focus says whether it waits for a connection, or until
    /// that time. `None`: it is over, and nothing more is taken.
    async fn order(
        &mut self,
        orders: &mut mpsc::Receiver<FloorOrder>,
        until: Instant,
    ) -> Option<Option<bool>> {
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                () = carnet_net::until(Some(until)) => return Some(None),
            };
            match order {
                Some(FloorOrder::Renewed(waits)) => return Some(Some(waits)),
                Some(FloorOrder::Stop) | None => {
                    orders.close();
                    return None;
                }
                Some(order) if self.late.len() < LATE => self.late.push_back(order),
                // Dropping the reply says that nobody is there.
                Some(_) => {}
            }
        }
    }

    /// Runs to the end of the connection; `again` if it is not the first.
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: S,
        orders: &mut mpsc::Receiver<FloorOrder>,
        again: bool,
    ) -> End {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut input = vec![0; BUFFER];
        let mut output: Vec<u8> = Vec::new();
        let now = Instant::now();
        if again {
            self.client.reconnected(now);
        }
        self.client.ask(now, Body::Hello);
        // What we had before the connection broke we may still have: until it is known, orders wait.
        let mine = self.client.ask(now, Body::UserQuery { beneficiary: None });
        let mut settled = mine.is_none();
        if !again {
            let floors = self.floors.clone();
            self.client.watch(now, &floors);
        }
        let end = loop {
            while let Some(event) = self.client.poll_event() {
                if let ClientEvent::Answer { transaction, answer, .. } = &event
                    && mine == Some(*transaction)
                {
                    settled = true;
                    self.compare(answer).await;
                }
                self.heard(event).await;
            }
            while settled && let Some(order) = self.late.pop_front() {
                self.ordered(order);
            }
            while let Some(octets) = self.client.poll_transmit() {
                output.extend_from_slice(&octets);
            }
            tokio::select! {
                read = reader.read(&mut input) => match read {
                    Ok(0) | Err(_) => break End::Broke(None),
                    Ok(read) => {
                        let octets = input.get(..read).unwrap_or_default();
                        if let Err(error) = self.client.handle_octets(Instant::now(), octets) {
                            break End::Wrong(format!("the floor control server broke the protocol: {error}"));
                        }
                    }
                },
                wrote = writer.write(&output), if !output.is_empty() => match wrote {
                    Ok(wrote) => { output.drain(..wrote); }
                    Err(error) => break End::Broke(Some(format!("the connection broke: {error}"))),
                },
                order = orders.recv(), if settled => match order {
                    Some(FloorOrder::Stop) | None => break End::Told,
                    Some(order) => self.ordered(order),
                },
            }
        };
        let farewell = async {
            while let Some(octets) = self.client.poll_transmit() {
                output.extend_from_slice(&octets);
            }
            writer.write_all(&output).await?;
            writer.shutdown().await?;
            while reader.read(&mut input).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        if !matches!(end, End::Broke(_)) {
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        end
    }

    fn ordered(&mut self, order: FloorOrder) {
        match order {
            FloorOrder::Request { floor, priority, why, reply } => self.request(floor, priority, why, reply),
            FloorOrder::Release { floor, reply } => self.release(floor, reply),
            FloorOrder::Decide { floor, who, decision, reply } => self.decide(floor, &who, decision, reply),
            FloorOrder::Renewed(_) | FloorOrder::Stop => {}
        }
    }

    /// What we had before the connection broke and the server does not know any more is over.
    async fn compare(&mut self, answer: &Body) {
        let Body::UserStatus { requests, .. } = answer else { return };
        let gone = |id: &u16| requests.iter().all(|request| request.id != *id);
        let gone: Vec<u16> = self.ours.keys().copied().filter(gone).collect();
        for request in gone {
            let Some((floors, before, _)) = self.ours.remove(&request) else { continue };
            let outcome = if before == Outcome::Granted { Outcome::Revoked } else { Outcome::Cancelled };
            let words = Some("it was freed while there was no connection".to_owned());
            self.tell(RoomEvent::Request { request, floors, outcome, position: 0, words }).await;
        }
    }

    fn waits(&mut self, transaction: Option<u16>, reply: Reply) {
        match transaction {
            Some(transaction) => {
                self.asked.insert(transaction, reply);
            }
            None => {
                let _ = reply.send(Err(UeError::Floor("too much is asked already".into())));
            }
        }
    }

    fn request(&mut self, floor: Option<u16>, priority: Option<u8>, why: Option<String>, reply: Reply) {
        let Some(floor) = floor.or_else(|| self.floors.first().copied()) else {
            let _ = reply.send(Err(UeError::Floor("the conference has no floors".into())));
            return;
        };
        let priority = priority.map(Priority::from_bits);
        let why = why.map(|why| Text::fitting(&why));
        let transaction = self.client.request(Instant::now(), &[floor], priority, why);
        self.waits(transaction, reply);
    }

    fn release(&mut self, floor: Option<u16>, reply: Reply) {
        let ours =
            self.ours.iter().find(|(_, (floors, ..))| floor.is_none_or(|floor| floors.contains(&floor)));
        match ours.map(|(request, _)| *request) {
            Some(request) => {
                let transaction = self.client.release(Instant::now(), request);
                self.waits(transaction, reply);
            }
            None => {
                let _ = reply.send(Err(UeError::Floor("we neither have nor want that floor".into())));
            }
        }
    }

    fn decide(&mut self, floor: Option<u16>, who: &str, decision: Decision, reply: Reply) {
        let wants = |request: &&RequestInformation| {
            let granted = status_of(request).is_some_and(|status| status.status == Status::Granted);
            granted == (decision == Decision::Revoke) && claim(request, 0, false).is(who)
        };
        let candidates = self.states.iter().filter(|(known, _)| floor.is_none_or(|floor| floor == **known));
        let found = candidates
            .flat_map(|(floor, all)| all.iter().filter(wants).map(|request| (*floor, request.id)))
            .next();
        let Some((floor, request)) = found else {
            let what = if decision == Decision::Revoke { "has" } else { "has asked for" };
            let _ = reply
                .send(Err(UeError::Floor(format!("{who} does not seem to be one who {what} that floor"))));
            return;
        };
        let status = match decision {
            Decision::Grant => Status::Granted,
            Decision::Deny => Status::Denied,
            Decision::Revoke => Status::Revoked,
        };
        let status = RequestStatus { status, queue_position: 0 };
        let transaction = self.client.decide(Instant::now(), request, floor, status, None);
        self.waits(transaction, reply);
    }

    async fn heard(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Answer { transaction, request, answer } => {
                let reply = self.asked.remove(&transaction);
                if let Body::Error { code, information, .. } = &answer {
                    let reason = complaint(*code, information.as_ref());
                    let asked = asked(&request);
                    self.tell(RoomEvent::FloorError { asked, reason: reason.clone() }).await;
                    if let Some(reply) = reply {
                        let _ = reply.send(Err(UeError::Floor(reason)));
                    }
                    return;
                }
                self.told(answer).await;
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
            }
            ClientEvent::Notice(body) => self.told(body).await,
            _ => {}
        }
    }

    async fn told(&mut self, body: Body) {
        match body {
            Body::FloorRequestStatus(request) => self.followed(request).await,
            Body::UserStatus { requests, .. } => {
                for request in requests {
                    self.followed(request).await;
                }
            }
            Body::FloorStatus { floors, requests } => {
                for floor in floors {
                    self.floor(floor, requests.clone()).await;
                }
            }
            _ => {}
        }
    }

    /// What became of a request; only ours are told one by one.
    async fn followed(&mut self, request: RequestInformation) {
        let beneficiary = request.beneficiary.as_ref().map(|user| user.id);
        if beneficiary.is_some_and(|user| user != self.client.user()) {
            return;
        }
        let Some(status) = status_of(&request) else { return };
        let Some(outcome) = outcome_of(status.status) else { return };
        let floors: Vec<u16> = request.floors.iter().map(|floor| floor.id).collect();
        let position = if outcome == Outcome::Queued { status.queue_position } else { 0 };
        let state = (floors.clone(), outcome, position);
        if self.ours.get(&request.id) == Some(&state) {
            return;
        }
        if outcome.is_final() {
            self.ours.remove(&request.id);
        } else if self.ours.len() < MOST {
            self.ours.insert(request.id, state);
        }
        let words = request.overall.as_ref().and_then(|overall| overall.information.as_ref());
        let words = words.or_else(|| request.floors.iter().find_map(|floor| floor.information.as_ref()));
        let words = words.map(|text| text.as_str().to_owned()).filter(|words| !words.is_empty());
        self.tell(RoomEvent::Request { request: request.id, floors, outcome, position, words }).await;
    }

    async fn floor(&mut self, floor: u16, requests: Vec<RequestInformation>) {
        if !self.floors.contains(&floor)
            || requests.len() > MOST
            || self.states.get(&floor) == Some(&requests)
        {
            return;
        }
        let (mut holders, mut queue) = (Vec::new(), Vec::new());
        for request in &requests {
            let Some(status) = status_of(request) else { continue };
            match status.status {
                Status::Granted => holders.push(claim(request, 0, false)),
                Status::Accepted => queue.push(claim(request, status.queue_position, false)),
                Status::Pending => queue.push(claim(request, 0, true)),
                _ => {}
            }
        }
        // Whom the chair has still to decide about stand behind those who have a place.
        queue.sort_by_key(|claim| (claim.pending, claim.position, claim.request));
        self.states.insert(floor, requests);
        self.tell(RoomEvent::Floor { floor, holders, queue }).await;
    }
}

/// The status that counts: that of the whole, else that of its one floor.
fn status_of(request: &RequestInformation) -> Option<RequestStatus> {
    let overall = request.overall.as_ref().and_then(|overall| overall.status);
    overall.or_else(|| request.floors.first().and_then(|floor| floor.status))
}

fn outcome_of(status: Status) -> Option<Outcome> {
    Some(match status {
        Status::Pending => Outcome::Pending,
        Status::Accepted => Outcome::Queued,
        Status::Granted => Outcome::Granted,
        Status::Denied => Outcome::Denied,
        Status::Cancelled => Outcome::Cancelled,
        Status::Released => Outcome::Released,
        Status::Revoked => Outcome::Revoked,
        _ => return None,
    })
}

fn claim(request: &RequestInformation, position: u8, pending: bool) -> Claim {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default();
    let user = request.beneficiary.clone().or_else(|| request.requested_by.clone()).unwrap_or_default();
    Claim {
        request: request.id,
        user: user.id,
        name: text(&user.display_name),
        uri: text(&user.uri),
        position,
        priority: request.priority.map(Priority::bits),
        pending,
    }
}

fn asked(request: &Body) -> &'static str {
    match request {
        Body::FloorRequest { .. } => "request",
        Body::FloorRelease { .. } => "release",
        Body::ChairAction(_) => "decide",
        Body::FloorQuery { .. } => "watch",
        Body::Hello => "hello",
        _ => "other",
    }
}

/// One sentence for an error of the server.
fn complaint(code: ErrorCode, information: Option<&Text>) -> String {
    let said = information.map(|text| text.as_str()).filter(|text| !text.is_empty());
    let what = code.name().map_or_else(|| format!("error {}", code.0), str::to_lowercase);
    match said {
        Some(said) => format!("floor control says no: {what} ({said})"),
        None => format!("floor control says no: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use carnet_bfcp::{FloorState, Message, UserInformation};

    const SOON: Duration = Duration::from_secs(30);

    fn desk(events: mpsc::Sender<UeEvent>) -> Desk {
        Desk {
            call: CallId(1),
            client: Client::new(77, 5, Transport::Stream, Limits::default()),
            floors: vec![1, 2],
            states: BTreeMap::new(),
            ours: BTreeMap::new(),
            asked: BTreeMap::new(),
            late: VecDeque::new(),
            patience: COME_BACK,
            events,
        }
    }

    fn request(id: u16, user: u16, status: Status, position: u8) -> RequestInformation {
        let status = Some(RequestStatus { status, queue_position: position });
        RequestInformation {
            id,
            overall: Some(FloorState { id, status, information: None }),
            floors: vec![FloorState { id: 1, status, information: None }],
            beneficiary: Some(UserInformation { id: user, ..UserInformation::default() }),
            ..RequestInformation::default()
        }
    }

    /// What a server says by itself.
    fn notice(body: &Body) -> Bytes {
        let message = Message {
            version: 1,
            responder: false,
            primitive: body.primitive(),
            conference: 77,
            transaction: 0,
            user: 5,
            attributes: body.attributes(),
        };
        message.print().unwrap().into()
    }

    async fn next(events: &mut mpsc::Receiver<UeEvent>) -> RoomEvent {
        match tokio::time::timeout(SOON, events.recv()).await.expect("an event").unwrap() {
            UeEvent::Room { event, .. } => *event,
            other => panic!("{other:?}"),
        }
    }

    /// A server that never stops and lies: what it says of others' requests, of floors that are not there
    /// and twice is no news, and nothing of it is piled up.
    #[tokio::test]
    async fn a_flood_is_read_as_fast_as_it_is_heard_and_lies_are_no_news() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let (send, mut events) = mpsc::channel(4);
        let (_orders, mut ordered) = mpsc::channel(1);
        let running = tokio::spawn(async move {
            let mut desk = desk(send);
            let over = desk.run(near, &mut ordered, false).await;
            (desk.ours.len(), desk.states.len(), over)
        });
        let flood = tokio::spawn(async move {
            let floor = |floor, requests| notice(&Body::FloorStatus { floors: vec![floor], requests });
            for n in 0..3000u16 {
                // Not ours, not there, and always the same.
                far.write_all(&notice(&Body::FloorRequestStatus(request(n, 6, Status::Granted, 0)))).await?;
                far.write_all(&floor(100 + n, vec![request(1, 6, Status::Granted, 0)])).await?;
                far.write_all(&floor(1, vec![request(1, 6, Status::Granted, 0)])).await?;
                // Ours, and more of them than can be.
                far.write_all(&notice(&Body::FloorRequestStatus(request(n, 5, Status::Accepted, 1)))).await?;
            }
            Ok::<_, std::io::Error>(far)
        });
        let (mut floors, mut requests) = (0, 0);
        while floors + requests < 3001 {
            match next(&mut events).await {
                RoomEvent::Floor { floor: 1, .. } => floors += 1,
                RoomEvent::Request { .. } => requests += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((floors, requests), (1, 3000));
        let mut far = flood.await.unwrap().unwrap();
        // And then something that is no BFCP at all.
        far.write_all(&[0xff; 64]).await.unwrap();
        let reads = async {
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await
        };
        tokio::time::timeout(SOON, reads).await.expect("it hangs up").unwrap();
        drop(far);
        let (ours, states, over) = running.await.unwrap();
        assert!(ours <= MOST && states == 1, "{ours} {states}");
        assert!(matches!(over, End::Wrong(reason) if reason.contains("broke the protocol")));
    }

    /// Makes connections in clear to `remote`.
    fn link(remote: std::net::SocketAddr) -> Link {
        Link {
            me: String::new(),
            tcp: carnet_client::TcpRole::Active,
            tls: carnet_client::TlsRole::Client,
            local: "127.0.0.1:0".parse().unwrap(),
            seal: None,
            listener: None,
            remote: tokio::sync::watch::channel(Some(carnet_client::Remote::Address(remote))).1,
            psk: carnet_tls::PskContext::new(carnet_tls::PskSettings::default()).unwrap(),
            greeting: None,
        }
    }

    /// The focus is asked each time, and nothing is connected before it agrees; what is ordered meanwhile
    /// waits.
    #[tokio::test]
    async fn another_connection_is_made_when_the_focus_agrees() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut link = link(server.local_addr().unwrap());
        let (events, _heard) = mpsc::channel(4);
        let (lost, mut asked) = mpsc::channel(4);
        let (send, mut orders) = mpsc::channel(4);
        let mut desk = desk(events);
        let focus = async {
            for agrees in [false, false, true] {
                assert!(matches!(asked.recv().await, Some((CallId(1), Medium::Floors, Over::Lost))));
                let (reply, _) = tokio::sync::oneshot::channel();
                send.send(FloorOrder::Release { floor: None, reply }).await.unwrap();
                send.send(FloorOrder::Renewed(agrees)).await.unwrap();
            }
            server.accept().await.unwrap()
        };
        let made = async { tokio::join!(desk.come_back(&mut link, &mut orders, &lost), focus) };
        let (made, _) = tokio::time::timeout(SOON, made).await.expect("in time");
        assert!(matches!(made, Some(Made::Clear(_))));
        assert_eq!(desk.late.len(), 3);
    }

    /// A focus that never agrees is asked for a while only; one who leaves does not wait for that.
    #[tokio::test]
    async fn coming_back_is_given_up_in_the_end_or_when_told() {
        let (events, _heard) = mpsc::channel(4);
        let (lost, mut asked) = mpsc::channel(16);
        let (send, mut orders) = mpsc::channel(4);
        let mut link = link("127.0.0.1:9".parse().unwrap());
        let mut desk = desk(events);
        desk.patience = FIRST_PAUSE * 5;
        let answers = send.clone();
        let focus = tokio::spawn(async move {
            let mut times = 0;
            while asked.recv().await.is_some() {
                times += 1;
                if answers.send(FloorOrder::Renewed(false)).await.is_err() {
                    break;
                }
            }
            times
        });
        let made = desk.come_back(&mut link, &mut orders, &lost);
        let made = tokio::time::timeout(SOON, made).await.expect("it ends");
        assert!(made.is_none() && !orders.is_closed(), "in time and not because it was told to");
        desk.patience = 100 * SOON;
        send.send(FloorOrder::Stop).await.unwrap();
        let made = desk.come_back(&mut link, &mut orders, &lost);
        assert!(tokio::time::timeout(SOON, made).await.expect("at once").is_none());
        assert!(orders.is_closed());
        drop(lost);
        // After one pause, and after twice as long; on a slow machine there may be no time for that.
        assert!((1..=2).contains(&focus.await.unwrap()));
    }

    /// What the server freed meanwhile is no longer taken for ours.
    #[tokio::test]
    async fn what_was_lost_with_the_connection_is_told() {
        let (send, mut events) = mpsc::channel(4);
        let mut desk = desk(send);
        for (id, outcome) in [(7, Outcome::Granted), (8, Outcome::Queued), (9, Outcome::Granted)] {
            desk.ours.insert(id, (vec![1], outcome, 0));
        }
        let known = vec![request(9, 5, Status::Granted, 0)];
        desk.compare(&Body::UserStatus { beneficiary: None, requests: known }).await;
        for (id, fate) in [(7, Outcome::Revoked), (8, Outcome::Cancelled)] {
            match next(&mut events).await {
                RoomEvent::Request { request, outcome, .. } => assert_eq!((request, outcome), (id, fate)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(desk.ours.keys().collect::<Vec<_>>(), [&9]);
    }
}
