//! The service itself: takes a message, gives a reply and what to write down.

mod prove;
mod request;
mod resolve;

pub use prove::{Certified, PublicKeys};

use crate::{AuditRecord, Deed, Directory, KeyRing, Rate, RateLimiter, RevokedTickets, Rules, TicketKey};
use carnet_mikey::exchange::{self, Asked, Subject, Verified};
use carnet_mikey::payload::{Ticket, TicketPolicy};
use carnet_mikey::registry::data_type;
use carnet_mikey::{Error, Identity, Message, Profile, Psk, ReplayCache};
use carnet_wire::Random;
use prove::Sender;
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who the service is.
    pub identity: Identity,
    /// Algorithms, times and limits. `lifetime` is the longest life of a ticket.
    pub profile: Profile,
    /// How identities in messages are compared with those of users.
    pub identities: Identities,
    /// Whether tickets are issued to callees that the service does not know.
    pub issue_to_strangers: bool,
    /// Whether tickets that a user made and sealed with its own key are resolved (mode 3 of RFC
    /// 6043 §4.1.1).
    pub accept_self_issued: bool,
    /// How old the ticket key may become.
    pub rotation: Duration,
    /// Requests a source may make.
    pub requests: Rate,
    /// Refusals a source may cause to be logged.
    pub log_lines: Rate,
    /// Sources that are told apart.
    pub sources: usize,
    /// Messages remembered against replay, each as long as its time is acceptable: from senders
    /// with the right time for the skew of the profile, at most for twice that. More are refused.
    /// Up to 40 octets each.
    pub replay_capacity: usize,
}

/// What about 256 MiB hold, and enough for 23,000 requests a second with a skew of five minutes: more
/// than one processor answers.
const REPLAY_CAPACITY: usize = 7_000_000;

impl Config {
    /// Defaults for a service called `identity`.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            profile: Profile::default(),
            identities: Identities::default(),
            issue_to_strangers: false,
            accept_self_issued: false,
            rotation: Duration::from_secs(24 * 3600),
            requests: Rate { burst: 2000, per_second: 1000.0 },
            log_lines: Rate { burst: 20, per_second: 0.2 },
            sources: 10_000,
            replay_capacity: REPLAY_CAPACITY,
        }
    }
}

/// How identities in messages are compared with those of users.
///
/// Either way MACs and forked keys are made over the octets that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identities {
    /// Octet for octet: senders use the [canonical form](Identity::from_uri).
    #[default]
    Exact,
    /// By their canonical form: `sip:Alice@X.example:5060` is no stranger where senders are of
    /// another make.
    Canonical,
}

/// Why a message was refused; for the log, not for the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the peer is told, if anything, follows from this.
    pub error: Error,
    /// The reason in words.
    pub reason: String,
    /// Whether to log it. A source that is refused all the time is not logged all the time.
    pub log: bool,
}

/// What came of a message.
#[derive(Debug)]
pub struct Outcome {
    /// MIKEY message to answer with; empty if there is none.
    pub reply: Vec<u8>,
    /// HTTP status: 200 also with most Error messages, 400 if there was nothing to answer, 401 if
    /// the sender did not prove who it is, 403 if it may not, 429 if it asks too often, 503 if we
    /// cannot.
    pub status: u16,
    /// To be made durable before the reply leaves. If that fails, the reply must not leave.
    pub audit: Option<AuditRecord>,
    /// Why not, if not.
    pub refusal: Option<Refusal>,
}

/// A reply that grants something.
struct Granted {
    reply: Vec<u8>,
    audit: AuditRecord,
}

/// What was decided in favour of a sender: the reply, and what to write down.
struct Decided {
    reply: Vec<u8>,
    initiator: Identity,
    responders: Vec<Identity>,
    ticket: [u8; 32],
    key: String,
    /// When the ticket ends.
    expires: Option<SystemTime>,
}

/// The two things that can be asked for.
trait Decide: Subject {
    const DEED: Deed;
    /// Whether `sender`, who is proven, gets what it asks for.
    fn decide(
        kms: &mut Kms,
        verified: &Verified<Self>,
        sender: &Sender,
        wall: SystemTime,
    ) -> Result<Decided, Refused>;
}

/// A refusal in the making.
struct Refused {
    error: Error,
    reason: String,
    status: u16,
    /// Authenticated Error message, if the sender is proven.
    reply: Option<Vec<u8>>,
}

impl Refused {
    fn new(error: Error) -> Self {
        let status = match &error {
            Error::Malformed(_) | Error::Limit { .. } => 400,
            Error::Full(_) => 503,
            _ => 200,
        };
        Self { reason: error.to_string(), error, status, reply: None }
    }

    fn with(error: Error, status: u16, reason: impl Into<String>) -> Self {
        Self { error, status, reason: reason.into(), reply: None }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::new(error)
    }
}

/// The key management service.
pub struct Kms {
    config: Config,
    directory: Directory,
    rules: Rules,
    ring: KeyRing,
    replay: ReplayCache,
    requests: RateLimiter,
    log_lines: RateLimiter,
    tickets_not_before: Option<SystemTime>,
    revoked: RevokedTickets,
    rng: Box<dyn Random>,
    public_keys: Option<Box<dyn PublicKeys>>,
    /// Stands in for the key of users that do not exist, so that they take as long to refuse.
    nobody: Psk,
}

impl Kms {
    /// A service that starts at `wall`. Messages from before are refused as replays, because
    /// which of them were seen is not known.
    pub fn new(
        config: Config,
        directory: Directory,
        rules: Rules,
        ring: KeyRing,
        mut rng: Box<dyn Random>,
        wall: SystemTime,
    ) -> Self {
        Self {
            replay: ReplayCache::restarted(config.profile.skew, config.replay_capacity, wall),
            requests: RateLimiter::new(config.requests, config.sources),
            log_lines: RateLimiter::new(config.log_lines, config.sources),
            nobody: Psk::generate(&mut rng),
            tickets_not_before: None,
            revoked: RevokedTickets::default(),
            public_keys: None,
            config,
            directory,
            rules,
            ring,
            rng,
        }
    }

    /// Serves signed requests too.
    pub fn serve_signed(&mut self, public_keys: Box<dyn PublicKeys>) {
        self.public_keys = Some(public_keys);
    }

    /// Settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Goes on with other settings. Its identity, how identities are compared, and what messages are remembered by
    /// against replay (skew, capacity, sources) stay.
    pub fn reconfigure(&mut self, config: Config) {
        let own = &mut self.config;
        if own.requests != config.requests {
            self.requests = RateLimiter::new(config.requests, own.sources);
        }
        if own.log_lines != config.log_lines {
            self.log_lines = RateLimiter::new(config.log_lines, own.sources);
        }
        (own.requests, own.log_lines) = (config.requests, config.log_lines);
        own.profile = Profile { skew: own.profile.skew, ..config.profile };
        own.issue_to_strangers = config.issue_to_strangers;
        own.accept_self_issued = config.accept_self_issued;
        own.rotation = config.rotation;
    }

    /// Users and groups.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Users and groups, to be changed.
    pub fn directory_mut(&mut self) -> &mut Directory {
        &mut self.directory
    }

    /// Replaces the rules.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Ticket keys.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Tickets issued before `wall` open no more, whoever has them.
    pub fn revoke_tickets_before(&mut self, wall: SystemTime) {
        self.tickets_not_before = Some(self.tickets_not_before.map_or(wall, |t| t.max(wall)));
    }

    /// Single tickets that open no more.
    pub fn revoked(&self) -> &RevokedTickets {
        &self.revoked
    }

    /// The same, to be changed.
    pub fn revoked_mut(&mut self) -> &mut RevokedTickets {
        &mut self.revoked
    }

    /// Until when a revocation has to be remembered of a ticket that expires then, or at an unknown time: no other
    /// settings than today's are thought of.
    pub fn revoked_until(&self, expires: Option<SystemTime>, wall: SystemTime) -> SystemTime {
        let Profile { lifetime, skew, .. } = &self.config.profile;
        let ends = expires.or_else(|| wall.checked_add(*lifetime)).unwrap_or(wall);
        ends.checked_add(*skew).unwrap_or(ends)
    }

    /// A new ticket key if one is due. It is used once it is [installed](Self::install_key),
    /// which comes after it is stored.
    pub fn key_due(&mut self, wall: SystemTime) -> Option<TicketKey> {
        let due = self.ring.is_due(wall, self.config.rotation);
        due.then(|| self.make_key(wall))
    }

    /// A new ticket key, due or not.
    pub fn make_key(&mut self, wall: SystemTime) -> TicketKey {
        KeyRing::make(wall, self.rng.as_mut())
    }

    /// Puts a ticket key to use.
    pub fn install_key(&mut self, key: TicketKey) {
        self.ring.install(key);
    }

    /// Forgets ticket keys that no valid ticket needs. Gives their names.
    pub fn expire_keys(&mut self, wall: SystemTime) -> Vec<String> {
        // A ticket may have been asked for with a validity that begins a skew later.
        let lifetime = self.config.profile.lifetime.saturating_add(self.config.profile.skew);
        self.ring.expire(wall, lifetime)
    }

    /// Takes a message from `source`.
    pub fn handle(&mut self, wall: SystemTime, now: Instant, source: IpAddr, octets: &[u8]) -> Outcome {
        if !self.requests.take(source, now) {
            let error = Error::Full("requests of this source");
            let log = self.log_lines.take(source, now);
            let refusal = Refusal { reason: error.to_string(), error, log };
            return Outcome { reply: Vec::new(), status: 429, audit: None, refusal: Some(refusal) };
        }
        // Octet 1 is the data type (RFC 3830 §6.1).
        let granted = match octets.get(1) {
            Some(&(data_type::RESOLVE_INIT_PSK | data_type::RESOLVE_INIT_PK)) => {
                self.answer::<Ticket>(wall, source, octets)
            }
            _ => self.answer::<TicketPolicy>(wall, source, octets),
        };
        match granted {
            Ok(granted) => {
                Outcome { reply: granted.reply, status: 200, audit: Some(granted.audit), refusal: None }
            }
            Err(refused) => {
                let reply = refused.reply.or_else(|| self.error_reply(&refused.error, octets, wall));
                let log = self.log_lines.take(source, now);
                let refusal = Refusal { error: refused.error, reason: refused.reason, log };
                let reply = reply.unwrap_or_default();
                Outcome { reply, status: refused.status, audit: None, refusal: Some(refusal) }
            }
        }
    }

    /// An Error message without MAC, if the message can be answered at all.
    fn error_reply(&self, error: &Error, octets: &[u8], wall: SystemTime) -> Option<Vec<u8>> {
        let message = Message::parse(octets, &self.config.profile.limits).ok()?;
        // RFC 6043 §5.4: an Error is never answered with an Error.
        if message.header.data_type == data_type::ERROR {
            return None;
        }
        Some(exchange::error_message(&message.header, error.mikey_error()?, wall))
    }

    /// What to answer instead when the audit record of a grant could not be made durable.
    pub fn unrecorded(&mut self, wall: SystemTime, now: Instant, source: IpAddr, octets: &[u8]) -> Outcome {
        let error = Error::Full("the audit trail");
        let reply = self.error_reply(&error, octets, wall).unwrap_or_default();
        let log = self.log_lines.take(source, now);
        let reason = "the ticket cannot be recorded".into();
        Outcome { reply, status: 503, audit: None, refusal: Some(Refusal { error, reason, log }) }
    }

    /// Proves who asks, decides, and answers.
    fn answer<S: Decide>(
        &mut self,
        wall: SystemTime,
        source: IpAddr,
        octets: &[u8],
    ) -> Result<Granted, Refused> {
        let asked = Asked::<S>::parse(&self.config.profile, wall, octets)?;
        let fresh = asked.check_replay(&mut self.replay, wall)?;
        let (verified, sender) = self.prove(asked, wall)?;
        // Only what is proven is remembered: nobody else fills the cache.
        self.replay.remember(fresh);
        match self.check_sender(&sender).and_then(|()| S::decide(self, &verified, &sender, wall)) {
            Ok(Decided { reply, initiator, responders, ticket, key, expires }) => {
                let (deed, user) = (S::DEED, sender.user);
                let audit =
                    AuditRecord { wall, deed, source, user, initiator, responders, ticket, key, expires };
                Ok(Granted { reply, audit })
            }
            Err(mut refused) => {
                refused.reply = verified.refuse(&refused.error, wall);
                Err(refused)
            }
        }
    }

    /// What holds for whatever is asked: it is asked of us, by a user in good standing, as itself.
    fn check_sender(&self, sender: &Sender) -> Result<(), Refused> {
        self.check_addressee(Some(&sender.kms))?;
        let user = self.directory.user(&sender.user).ok_or(Error::Authentication("no such user"))?;
        if user.revoked {
            let reason = format!("user `{}` is revoked", user.name);
            return Err(Refused::with(Error::Authentication("revoked"), 403, reason));
        }
        if !user.is(&sender.identity) {
            let reason = format!("user `{}` is not {}", user.name, sender.identity);
            return Err(Refused::with(Error::Identity("not yours"), 403, reason));
        }
        Ok(())
    }

    /// An identity of a message as we know it.
    fn read<'a>(&self, id: &'a Identity) -> Cow<'a, Identity> {
        let canonical = match self.config.identities {
            Identities::Exact => None,
            Identities::Canonical => Identity::from_uri(&id.text()).ok().filter(|c| c.data != id.data),
        };
        canonical.map_or(Cow::Borrowed(id), Cow::Owned)
    }

    /// RFC 6043 §4.2.1.1: IDRkms may be left out; if it is there, it must be us.
    fn check_addressee(&self, kms: Option<&Identity>) -> Result<(), Error> {
        match kms {
            Some(id) if self.read(id).data != self.config.identity.data => {
                Err(Error::Identity("we are another KMS"))
            }
            _ => Ok(()),
        }
    }
}
