//! The service with its data: the rules in memory, what they rest on on disk.
//!
//! A change is on disk before it takes effect, and a ticket's record before the ticket leaves.

use super::event::{Event, Witness};
use super::trail::Trail;
use carnet_certs::Authorities;
use carnet_keys::{AuditRecord, Config, Identities, Kms, Outcome, Rate};
use carnet_mikey::Identity;
use carnet_mikey::registry::data_type;
use carnet_net::OsRandom;
use carnet_ops::config::{IdentityForm, KmsSection};
use carnet_store::{RootKey, Store};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use zeroize::Zeroizing;

/// File names in the data directory.
const DATABASE: &str = "kms.redb";
const ROOT_KEY: &str = "root.key";

/// How a service is set up.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Where the root key is; `root.key` in the data directory if absent. A missing file is made
    /// together with a new database, and never for an old one.
    pub root_key: Option<PathBuf>,
    /// What signed requests need: files of the service's certificate and key, and of the
    /// authorities. Without it only pre-shared keys are served.
    pub signed: Option<SignedFiles>,
    /// The rules it goes by.
    pub rules: Config,
}

/// PEM files for signed requests.
#[derive(Debug, Clone)]
pub struct SignedFiles {
    /// Certificate that users seal envelopes for.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities that vouch for users.
    pub ca: PathBuf,
}

impl SignedFiles {
    fn read(&self) -> Result<Authorities, OpenError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|e| OpenError::Setting(format!("{}: {e}", path.display())))
        };
        let key = Zeroizing::new(read(&self.key)?);
        Authorities::from_pem(&read(&self.certificate)?, &key, &read(&self.ca)?)
            .map_err(|e| OpenError::Setting(format!("[kms.signed]: {e}")))
    }
}

impl ServiceSettings {
    /// Defaults for a service called `identity`.
    pub fn new(identity: Identity) -> Self {
        Self { root_key: None, signed: None, rules: Config::new(identity) }
    }

    /// As a configuration file has it.
    pub fn from_section(section: &KmsSection) -> Result<Self, carnet_mikey::Error> {
        let mut rules = Config::new(super::identity(&section.name)?);
        let profile = &mut rules.profile;
        profile.accept_3gpp_ticket = section.accept_3gpp_tickets;
        profile.accept_128 = section.accept_128_bit;
        profile.skew = Duration::from_secs(*section.skew.as_ref());
        profile.lifetime = Duration::from_secs(*section.ticket_lifetime.as_ref());
        rules.identities = match section.identities {
            IdentityForm::Exact => Identities::Exact,
            IdentityForm::Canonical => Identities::Canonical,
        };
        rules.issue_to_strangers = section.issue_to_strangers;
        rules.accept_self_issued = section.accept_self_issued;
        rules.rotation = Duration::from_secs(*section.key_rotation.as_ref());
        let rate = *section.rate.as_ref();
        rules.requests = Rate { burst: rate.saturating_mul(2), per_second: f64::from(rate) };
        let logged = section.logged_refusals;
        rules.log_lines = Rate { burst: logged, per_second: f64::from(logged) / 60.0 };
        rules.sources = *section.sources.as_ref();
        rules.replay_capacity = *section.replay_capacity.as_ref();
        let signed = section.signed.as_ref().map(|s| SignedFiles {
            certificate: s.certificate.as_ref().clone(),
            key: s.key.as_ref().clone(),
            ca: s.ca.as_ref().clone(),
        });
        Ok(Self { root_key: section.root_key.clone(), signed, rules })
    }
}

/// The service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error("{0}: {1}")]
    Directory(PathBuf, std::io::Error),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] carnet_store::Error),
    /// There is no database, and none is to be made.
    #[error("there is no key management service in {0}: {DATABASE} is not there")]
    Nothing(PathBuf),
    /// There is a database and no root key to read it with.
    #[error("{0} is missing, and the database cannot be read without it")]
    NoRootKey(PathBuf),
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
}

/// A ticket could not be revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There are as many as there may be.
    #[error(transparent)]
    Rules(#[from] carnet_keys::Error),
    /// The disk would not.
    #[error(transparent)]
    Store(#[from] carnet_store::Error),
}

/// A key management service.
pub struct Service {
    kms: Mutex<Kms>,
    store: Arc<Store>,
    trail: Trail,
    witness: Witness,
    /// Held while a change is made, so that disk and memory change in the same order.
    changing: Mutex<()>,
    under_way: AtomicUsize,
    data: PathBuf,
}

/// One request, until it is answered or nobody waits for the answer any more.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn one_of(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request is for: octet 1 is the data type (RFC 3830 §6.1).
fn operation(octets: &[u8]) -> &'static str {
    match octets.get(1) {
        Some(&(data_type::RESOLVE_INIT_PSK | data_type::RESOLVE_INIT_PK)) => "resolve",
        _ => "issue",
    }
}

/// What to answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// MIKEY message, or nothing.
    pub body: Vec<u8>,
}

impl Service {
    /// Opens the data directory, or makes it, and sees to its ticket keys. Blocks on the disk.
    pub fn open(data: &Path, settings: ServiceSettings) -> Result<Self, OpenError> {
        let fail = |e| OpenError::Directory(data.to_path_buf(), e);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(fail)?;
        let service = Self::read(data, settings)?;
        let kept = service.maintain();
        // An old key serves until the disk is better; without any there is no service.
        if service.kms().ring().current().is_err() {
            kept?;
        }
        Ok(service)
    }

    /// Opens a data directory that is there already, and changes nothing in it. Blocks on the disk.
    pub fn open_as_it_is(data: &Path, settings: ServiceSettings) -> Result<Self, OpenError> {
        if !data.join(DATABASE).exists() {
            return Err(OpenError::Nothing(data.to_path_buf()));
        }
        Self::read(data, settings)
    }

    /// `witness` is told what happens from here on.
    #[must_use]
    pub fn watched_by(self, witness: Witness) -> Self {
        Self { witness, ..self }
    }

    fn read(data: &Path, settings: ServiceSettings) -> Result<Self, OpenError> {
        let fail = |e| OpenError::Directory(data.to_path_buf(), e);
        let root_path = settings.root_key.unwrap_or_else(|| data.join(ROOT_KEY));
        let database = data.join(DATABASE);
        let root = match (root_path.exists(), database.exists()) {
            (true, _) => RootKey::read(&root_path)?,
            (false, false) => RootKey::create(&root_path, &mut OsRandom)?,
            (false, true) => return Err(OpenError::NoRootKey(root_path)),
        };
        let store = Arc::new(Store::open(&database, root)?);
        let contents = store.load()?;
        let mut kms = Kms::new(
            settings.rules,
            contents.directory,
            contents.rules,
            contents.ring,
            Box::new(OsRandom),
            SystemTime::now(),
        );
        if let Some(files) = &settings.signed {
            kms.serve_signed(Box::new(files.read()?));
        }
        if let Some(limit) = contents.tickets_not_before {
            kms.revoke_tickets_before(limit);
        }
        *kms.revoked_mut() = contents.revoked;
        let trail = Trail::start(store.clone()).map_err(fail)?;
        Ok(Self {
            kms: Mutex::new(kms),
            store,
            trail,
            witness: Arc::new(|_| {}),
            changing: Mutex::new(()),
            under_way: AtomicUsize::new(0),
            data: data.to_path_buf(),
        })
    }

    /// Requests that are being answered.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn kms(&self) -> MutexGuard<'_, Kms> {
        self.kms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps others from changing things until it is dropped.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a MIKEY message.
    pub async fn answer(&self, source: IpAddr, octets: &[u8]) -> Answer {
        let began = Instant::now();
        let _under_way = UnderWay::one_of(&self.under_way);
        let mut outcome = self.kms().handle(SystemTime::now(), began, source, octets);
        if let Some(record) = outcome.audit.take() {
            let kept = record.clone();
            match self.trail.append(record).await {
                true => (self.witness)(&Event::granted(&kept, began.elapsed())),
                false => outcome = self.kms().unrecorded(SystemTime::now(), Instant::now(), source, octets),
            }
        }
        let Outcome { status, reply, refusal, .. } = outcome;
        if let Some(refusal) = refusal {
            let (reason, one_of_many) = (refusal.reason, !refusal.log);
            let (operation, took) = (operation(octets), began.elapsed());
            (self.witness)(&Event::RequestRefused { operation, source, status, reason, one_of_many, took });
        }
        Answer { status, body: reply }
    }

    /// Goes on with other rules, as far as they can be others while it runs.
    pub fn renew(&self, rules: Config) {
        self.kms().reconfigure(rules);
    }

    /// Whether it could make a ticket. Waits for whoever is at the rules.
    pub fn has_a_key(&self) -> bool {
        self.kms().ring().current().is_ok()
    }

    /// Makes a new ticket key if one is due, and erases those that are done, and what was revoked and has expired. Blocks on
    /// the disk.
    pub fn maintain(&self) -> Result<(), carnet_store::Error> {
        let _changing = self.changing();
        let wall = SystemTime::now();
        let due = self.kms().key_due(wall);
        if let Some(key) = due {
            self.store.put_ticket_key(&key)?;
            (self.witness)(&Event::KeyRotated { key: key.id.clone() });
            self.kms().install_key(key);
        }
        let expired = self.kms().revoked_mut().expire(wall);
        if !expired.is_empty() {
            self.store.forget_revoked(&expired)?;
        }
        let done = self.kms().expire_keys(wall);
        if done.is_empty() { Ok(()) } else { self.store.remove_ticket_keys(&done) }
    }

    /// The ticket of `record`, which is a revocation, opens no more. Blocks on the disk.
    pub fn revoke(&self, record: &AuditRecord) -> Result<SystemTime, RevokeError> {
        let _changing = self.changing();
        self.kms().revoked().check(&record.ticket)?;
        let until = self.kms().revoked_until(record.expires, record.wall);
        self.store.revoke_ticket(record, until)?;
        self.kms().revoked_mut().put(record.ticket, until);
        (self.witness)(&Event::revoked(record));
        Ok(until)
    }

    /// Makes a new ticket key and puts it to use; its name. Blocks on the disk.
    pub fn rotate(&self) -> Result<String, carnet_store::Error> {
        let _changing = self.changing();
        let key = self.kms().make_key(SystemTime::now());
        self.store.put_ticket_key(&key)?;
        let id = key.id.clone();
        self.kms().install_key(key);
        Ok(id)
    }
}
