//! The certificates that realms show where TLS ends at a pinhole (RFC 8122 §5).
//!
//! Nobody looks at their names, only at their fingerprints, so a realm makes its own unless it is given
//! one. A realm's own is replaced when half its life is over; files are read again when they have changed.
//! A pinhole keeps the certificate it was reserved with: its fingerprint is in an SDP already.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use carnet_gateway::media::Refusal;
use carnet_tls::{Credential, EdgeContext, Versions};

use super::Realm;

/// How long ago a certificate began to be valid when it is made: clocks differ.
const EARLIER: Duration = Duration::from_secs(3600);
/// Files are looked at no more often.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a realm shows where TLS ends at its pinholes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing: TLS cannot end there, and is refused ([`NoCertificate`](carnet_gateway::media::Refusal)).
    None,
    /// One that the engine makes (ECDSA with P-256) and signs itself.
    Own {
        /// How long it is valid. It is replaced at half of that.
        life: Duration,
    },
    /// One of the operator's, in PEM files. They are read at the start and again when they change.
    Files {
        /// The certificate, and the chain behind it if any.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

impl Default for Certificate {
    fn default() -> Self {
        Self::Own { life: Duration::from_secs(30 * 86_400) }
    }
}

/// A certificate in use: what TLS is made with, and what the peer is told of it beforehand.
pub(super) struct Shown {
    pub(super) context: EdgeContext,
    /// `SHA-256 4A:AD:…`
    pub(super) fingerprint: String,
    /// Within this a handshake has to be done.
    pub(super) handshake: Duration,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Those of all realms.
#[derive(Debug)]
pub(super) struct Certificates {
    realms: RwLock<Sources>,
}

/// By realm, the default one first.
pub(super) type Sources = Vec<(String, Arc<Mutex<Source>>)>;

#[derive(Debug)]
pub(super) struct Source {
    what: Certificate,
    handshake: Duration,
    shown: Option<Arc<Shown>>,
    /// When to see whether another is due.
    next: SystemTime,
    /// When the files were written.
    written: Option<SystemTime>,
}

impl Certificates {
    /// # Errors
    /// A file that cannot be read or used, by its name.
    pub(super) fn new(realms: &[Realm], now: SystemTime) -> io::Result<Self> {
        let this = Self { realms: RwLock::default() };
        this.replace(this.another(realms, now)?);
        Ok(this)
    }

    /// Those of other realms; one that is the same keeps what it shows.
    ///
    /// # Errors
    /// A file that cannot be read or used, by its name.
    pub(super) fn another(&self, realms: &[Realm], now: SystemTime) -> io::Result<Sources> {
        let held = self.realms.read().unwrap_or_else(PoisonError::into_inner);
        let realm = |realm: &Realm| {
            let (what, handshake) = (realm.certificate.clone(), realm.guard.handshake);
            let same = |source: &Arc<Mutex<Source>>| {
                let source = source_of(source);
                source.what == what && source.handshake == handshake
            };
            if let Some(known) = held.iter().find(|(name, source)| *name == realm.name && same(source)) {
                // Files are looked at now, not in a minute.
                if matches!(what, Certificate::Files { .. }) {
                    source_of(&known.1).renew(now)?;
                }
                return Ok(known.clone());
            }
            let mut source = Source { what, handshake, shown: None, next: now, written: None };
            source.renew(now)?;
            Ok((realm.name.clone(), Arc::new(Mutex::new(source))))
        };
        realms.iter().map(realm).collect()
    }

    /// Takes what [`another`](Self::another) made.
    pub(super) fn replace(&self, sources: Sources) {
        *self.realms.write().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// What a pinhole of this realm is to show from `now` on. The first realm is the default.
    pub(super) fn of(&self, realm: Option<&str>, now: SystemTime) -> Result<Arc<Shown>, Refusal> {
        let found = {
            let realms = self.realms.read().unwrap_or_else(PoisonError::into_inner);
            match realm {
                None => realms.first().cloned(),
                Some(name) => realms.iter().find(|(realm, _)| realm == name).cloned(),
            }
        };
        let (name, source) = found.ok_or(Refusal::UnknownRealm)?;
        let mut source = source_of(&source);
        if source.next <= now
            && let Err(error) = source.renew(now)
        {
            // The old one still serves: nobody looks at its dates.
            tracing::warn!(%error, realm = name, "cannot renew a certificate");
            source.next = now + LOOK_EVERY;
        }
        source.shown.clone().ok_or(Refusal::NoCertificate)
    }
}

fn source_of(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    // Nothing can panic while the lock is held.
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    fn renew(&mut self, now: SystemTime) -> io::Result<()> {
        match &self.what {
            Certificate::None => self.next = now + LOOK_EVERY,
            Certificate::Own { life } => {
                let made = Credential::self_signed_between(&[], now - EARLIER, now + *life);
                self.shown = Some(Arc::new(shown(made.map_err(io::Error::other)?, self.handshake)?));
                self.next = now + *life / 2;
            }
            Certificate::Files { certificate, key } => {
                let written = written(certificate)?.max(written(key)?);
                self.next = now + LOOK_EVERY;
                if self.written != Some(written) {
                    let read = Credential::from_pem(&read(certificate)?, &read(key)?);
                    let read = read.map_err(|error| named(certificate, error))?;
                    if !read.outlasts(now, Duration::ZERO).unwrap_or(false) {
                        tracing::warn!(file = %certificate.display(), "this certificate has expired");
                    }
                    self.shown = Some(Arc::new(shown(read, self.handshake)?));
                    self.written = Some(written);
                }
            }
        }
        Ok(())
    }
}

fn shown(credential: Credential, handshake: Duration) -> io::Result<Shown> {
    let fingerprint = credential.fingerprint().map_err(io::Error::other)?.to_string();
    let context = EdgeContext::new(&credential, Versions::Both);
    // H.248 packages and RFC 8122 §5 both take the hash function in either case; one is chosen.
    let fingerprint = fingerprint.replacen("sha-256", "SHA-256", 1);
    Ok(Shown { context: context.map_err(io::Error::other)?, fingerprint, handshake })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| named(path, error))
}

fn written(path: &Path) -> io::Result<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).map_err(|error| named(path, error))
}

fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn realm(certificate: Certificate) -> Realm {
        Realm { name: "access".into(), certificate, ..Realm::default() }
    }

    #[test]
    fn a_realms_own_is_replaced_before_it_ends_and_kept_by_who_has_it() {
        let now = SystemTime::now();
        let all = Certificates::new(&[realm(Certificate::Own { life: 2 * DAY })], now).unwrap();
        let first = all.of(Some("access"), now).unwrap();
        assert!(Arc::ptr_eq(&first, &all.of(None, now + DAY - Duration::from_secs(1)).unwrap()));
        let second = all.of(None, now + DAY).unwrap();
        assert_ne!(first.fingerprint, second.fingerprint);
        assert!(Arc::ptr_eq(&second, &all.of(None, now + DAY).unwrap()));
        assert!(first.fingerprint.starts_with("SHA-256 "), "{}", first.fingerprint);
    }

    #[test]
    fn what_a_realm_has_not_is_not_shown() {
        let now = SystemTime::now();
        let all = Certificates::new(&[realm(Certificate::None)], now).unwrap();
        assert_eq!(all.of(None, now).unwrap_err(), Refusal::NoCertificate);
        assert_eq!(all.of(Some("moon"), now).unwrap_err(), Refusal::UnknownRealm);
    }

    #[test]
    fn files_are_read_again_when_they_change() {
        let folder = std::env::temp_dir().join(format!("carnet-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = (folder.join("a.pem"), folder.join("a.key"));
        let now = SystemTime::now();
        let write = |at: SystemTime| {
            let made = Credential::self_signed(&[], 9).unwrap();
            std::fs::write(&certificate, made.certificate_pem().unwrap()).unwrap();
            std::fs::write(&key, &*made.private_key_pem().unwrap()).unwrap();
            for path in [&certificate, &key] {
                std::fs::File::open(path).unwrap().set_modified(at).unwrap();
            }
            made.fingerprint().unwrap().to_string().to_uppercase()
        };
        let realms = [realm(Certificate::Files { certificate: certificate.clone(), key: key.clone() })];
        let error = Certificates::new(&realms, now).unwrap_err();
        assert!(error.to_string().contains("a.pem"), "{error}");
        let first = write(now - DAY);
        let all = Certificates::new(&realms, now).unwrap();
        assert_eq!(all.of(None, now).unwrap().fingerprint, first);
        let second = write(now);
        assert_eq!(all.of(None, now).unwrap().fingerprint, first, "not looked at so soon");
        assert_eq!(all.of(None, now + LOOK_EVERY).unwrap().fingerprint, second);
        // A file that is gone leaves what there was.
        std::fs::remove_file(&key).unwrap();
        assert_eq!(all.of(None, now + 3 * LOOK_EVERY).unwrap().fingerprint, second);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
