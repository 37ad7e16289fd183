//! The machine.

use std::time::{Duration, Instant, SystemTime};

use carnet_h248 as h248;
use carnet_h248::controller::GatewayName;
use carnet_seal::{Fetch, FetchError, FetchId};
use carnet_sip::{Answer, Hop, Input, Query, QueryId, Transmit};
use carnet_wire::Random;

use crate::config::Config;
use crate::event::Event;
use crate::status::{AdminError, ConfigError, GatewayStatus, Load, Origin, RoomStatus};

/// What the driver is to send.
#[derive(Debug)]
pub enum Out {
    /// SIP octets.
    Sip(Transmit),
    /// An H.248 message for a gateway: encoded on a socket, or passed as it is inside a process.
    Gateway(GatewayName, h248::Message),
}

/// See the [crate] page.
pub struct Focus {
    config: Config,
}

impl Focus {
    /// A focus with its fixed rooms, empty, and no gateways yet. `now` and `wall` are the same moment on
    /// the two clocks.
    ///
    /// # Errors
    /// What contradicts itself in the configuration.
    pub fn new(
        config: Config,
        random: Box<dyn Random>,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Self, ConfigError> {
        let _ = (random, now, wall);
        Ok(Self { config })
    }
    /// Takes back what [`Event::Keep`] gave out in an earlier life: rooms, members, floors. Members are
    /// called back as soon as there is a gateway. Records that cannot be read are skipped; how many.
    pub fn restore(
        &mut self,
        now: Instant,
        wall: SystemTime,
        records: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> usize {
        let _ = (now, wall, records.into_iter().count());
        0
    }
    /// Takes no more new rooms and members: 503 with Retry-After. Those that there are go on.
    pub fn retire(&mut self) {}
    /// Ends every room towards every member. What is kept in the store stays.
    pub fn end(&mut self, now: Instant, wall: SystemTime) {
        let _ = (now, wall);
    }
    /// How long the SIP octets that follow have waited for their turn.
    pub fn delayed(&mut self, waited: Duration) {
        let _ = waited;
    }
    /// Takes SIP octets in.
    pub fn handle_sip(&mut self, now: Instant, wall: SystemTime, input: Input) {
        let _ = (now, wall, input);
    }
    /// The driver could not deliver to `hop`, or the connection closed.
    pub fn transport_failed(&mut self, now: Instant, wall: SystemTime, hop: &Hop) {
        let _ = (now, wall, hop);
    }
    /// Takes DNS's answer to a query.
    pub fn handle_answer(&mut self, now: Instant, wall: SystemTime, id: QueryId, answer: Answer) {
        let _ = (now, wall, id, answer);
    }
    /// Takes the key server's answer: the body of its HTTP response, if that was a MIKEY message.
    pub fn handle_fetched(
        &mut self,
        now: Instant,
        wall: SystemTime,
        id: FetchId,
        result: Result<Vec<u8>, FetchError>,
    ) {
        let _ = (now, wall, id, result);
    }
    /// Takes an H.248 message of a gateway in.
    pub fn handle_gateway(&mut self, now: Instant, wall: SystemTime, gateway: &str, message: h248::Message) {
        let _ = (now, wall, gateway, message);
    }
    /// Octets that a gateway sent and that are no H.248 message.
    pub fn handle_undecodable(&mut self, now: Instant, wall: SystemTime, gateway: &str, error: &h248::Error) {
        let _ = (now, wall, gateway, error);
    }
    /// The gateway that calls itself so.
    pub fn gateway_of(&self, mid: &h248::MId) -> Option<&GatewayName> {
        self.config.gateways.iter().find(|g| g.mid == *mid).map(|g| &g.name)
    }
    /// Where a gateway wants requests sent, if not where its messages come from (RFC 3525 §7.2.8).
    pub fn service_change_address(&self, gateway: &str) -> Option<&h248::ServiceChangeAddress> {
        let _ = gateway;
        None
    }
    /// Whether a message that names `gateway` as its sender is to be taken. If not, the driver hands it to
    /// nobody and answers nothing.
    pub fn admit_gateway(
        &mut self,
        now: Instant,
        gateway: &str,
        origin: Origin,
        message: &h248::Message,
    ) -> bool {
        let _ = (now, gateway, origin, message);
        true
    }
    /// The driver has a way to a gateway. It is used once it has registered.
    pub fn gateway_connected(&mut self, now: Instant, wall: SystemTime, gateway: &str) {
        let _ = (now, wall, gateway);
    }
    /// The way to a gateway broke.
    pub fn gateway_lost(&mut self, now: Instant, wall: SystemTime, gateway: &str) {
        let _ = (now, wall, gateway);
    }
    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant, wall: SystemTime) {
        let _ = (now, wall);
    }
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    /// The next thing to send.
    pub fn poll_transmit(&mut self) -> Option<Out> {
        None
    }
    /// The next question for DNS.
    pub fn poll_query(&mut self) -> Option<Query> {
        None
    }
    /// The next question for the key server.
    pub fn poll_fetch(&mut self) -> Option<Fetch> {
        None
    }
    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    /// All rooms, in the order of their URIs.
    pub fn rooms(&self) -> Vec<RoomStatus> {
        Vec::new()
    }
    /// One room; its URI as anybody would write it.
    pub fn room(&self, uri: &str) -> Option<RoomStatus> {
        let _ = uri;
        None
    }
    /// Puts a member out of a room.
    ///
    /// # Errors
    /// No such room, or no such member in it.
    pub fn kick(
        &mut self,
        now: Instant,
        wall: SystemTime,
        room: &str,
        member: &str,
    ) -> Result<(), AdminError> {
        let _ = (now, wall, room, member);
        Err(AdminError::NoRoom)
    }
    /// Ends a room towards all its members. A fixed one is there again at once, empty.
    ///
    /// # Errors
    /// No such room.
    pub fn close(&mut self, now: Instant, wall: SystemTime, room: &str) -> Result<(), AdminError> {
        let _ = (now, wall, room);
        Err(AdminError::NoRoom)
    }
    /// Has somebody called into a room.
    ///
    /// # Errors
    /// No such room, or no more calls can be made.
    pub fn invite(
        &mut self,
        now: Instant,
        wall: SystemTime,
        room: &str,
        member: &str,
    ) -> Result<(), AdminError> {
        let _ = (now, wall, room, member);
        Err(AdminError::NoRoom)
    }
    /// Each gateway of the configuration at this moment.
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        Vec::new()
    }
    /// How much it holds.
    pub fn load(&self) -> Load {
        Load::default()
    }
}
