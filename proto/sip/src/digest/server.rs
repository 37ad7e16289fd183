//! The side that asks for a password.
//!
//! A nonce carries its time and a keyed check, so handing one out costs no memory. Only nonces
//! in use are remembered, with a window of the counts seen, so that no request can be replayed.

use super::{Algorithm, Fields, Password, Proof};
use crate::grammar::{is_printable, quote};
use crate::message::Message;
use crate::uri::Uri;
use carnet_wire::{Random, hex};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a [`DigestServer`] is told.
#[derive(Debug, Clone)]
pub struct DigestSettings {
    /// Whose passwords are asked for.
    pub realm: String,
    /// Algorithms offered, the strongest first.
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce is good for.
    pub lifetime: Duration,
    /// Nonces in use that are remembered. Beyond, the oldest must be renewed.
    pub nonces: usize,
    /// Whether this is a proxy (407), not the server itself (401).
    pub proxy: bool,
}

impl DigestSettings {
    /// The usual settings for a realm: SHA-256 and MD5, five minutes, 100,000 nonces.
    pub fn new(realm: &str) -> Self {
        Self {
            realm: realm.to_owned(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            lifetime: Duration::from_secs(300),
            nonces: 100_000,
            proxy: false,
        }
    }
}

/// What became of a request's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They are right.
    Accepted {
        /// The user whose password it is.
        user: String,
    },
    /// There are none for this realm, or the nonce is too old: send a challenge.
    Challenge {
        /// Whether only the nonce was too old.
        stale: bool,
    },
    /// They are wrong, malformed, for another request, or replayed: challenge anew or answer 403.
    Denied,
}

/// Makes challenges and checks the answers.
pub struct DigestServer {
    pub(super) settings: DigestSettings,
    secret: Zeroizing<[u8; 32]>,
    epoch: Instant,
    /// Nonces in use by time of issue (ms since `epoch`) and salt.
    used: BTreeMap<(u64, [u8; 8]), Counts>,
    /// Nonces issued up to here (ms) that are not in `used` have been forgotten.
    floor: u64,
}

/// Which counts of a nonce were seen: the highest, and the 64 below it.
#[derive(Default)]
struct Counts {
    highest: u32,
    window: u64,
}

impl Counts {
    /// Whether `nc` is new; it is not afterwards.
    fn take(&mut self, nc: u32) -> bool {
        if nc > self.highest {
            let by = nc - self.highest;
            self.window = if by >= 64 { 0 } else { self.window << by } | 1;
            self.highest = nc;
            return true;
        }
        let bit = self.highest - nc;
        let fresh = bit < 64 && self.window >> bit & 1 == 0;
        if fresh {
            self.window |= 1 << bit;
        }
        fresh
    }
}

impl DigestServer {
    /// A server whose nonces are worthless after a restart. `now` is the start of its time.
    pub fn new(settings: DigestSettings, now: Instant, random: &mut dyn Random) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        random.fill(secret.as_mut_slice());
        Self { settings, secret, epoch: now, used: BTreeMap::new(), floor: 0 }
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch).as_millis();
        // Never 0, which is the floor of a fresh server.
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Fixed lengths on both sides of the content, cut to half: no extension of the hash.
    fn check(&self, time: u64, salt: &[u8; 8]) -> [u8; 16] {
        let hash = Sha256::new().chain_update(self.secret.as_slice()).chain_update(time.to_be_bytes());
        let digest = hash.chain_update(salt).chain_update(self.secret.as_slice()).finalize();
        let mut out = [0; 16];
        out.iter_mut().zip(digest.iter()).for_each(|(o, d)| *o = *d);
        out
    }

    fn nonce(&self, now: Instant, random: &mut dyn Random) -> String {
        let time = self.millis(now);
        let mut salt = [0; 8];
        random.fill(&mut salt);
        hex::encode(&[time.to_be_bytes().as_slice(), &salt, &self.check(time, &salt)].concat())
    }

    /// Name and values of the header that asks, one line an algorithm.
    pub fn challenge(
        &self,
        now: Instant,
        stale: bool,
        random: &mut dyn Random,
    ) -> (&'static str, Vec<String>) {
        let nonce = self.nonce(now, random);
        let realm = quote(&self.settings.realm);
        let stale = if stale { ", stale=true" } else { "" };
        let one = |a: &Algorithm| {
            format!("Digest realm={realm}, nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}", a.as_str())
        };
        let header = if self.settings.proxy { "Proxy-Authenticate" } else { "WWW-Authenticate" };
        (header, self.settings.algorithms.iter().map(one).collect())
    }

    /// The 401 or 407 to `request`.
    ///
    /// # Errors
    /// [`Unprintable`](crate::Error::Unprintable) if the realm cannot stand in a header.
    pub fn refusal(
        &self,
        now: Instant,
        request: &Message,
        stale: bool,
        random: &mut dyn Random,
    ) -> Result<Message, crate::Error> {
        let status = if self.settings.proxy { 407 } else { 401 };
        let mut response = Message::response(request, status, "")?;
        let (header, values) = self.challenge(now, stale, random);
        for value in values {
            response.push_back(header, &value)?;
        }
        Ok(response)
    }

    /// Checks the credentials of a request. `password` finds a user's password; an unknown user
    /// and a wrong password look the same to the other side.
    pub fn verify<'p>(
        &mut self,
        now: Instant,
        request: &Message,
        password: impl FnOnce(&str) -> Option<&'p Password>,
    ) -> Verdict {
        let header = if self.settings.proxy { "Proxy-Authorization" } else { "Authorization" };
        let values: Vec<_> = request.lines(header).collect();
        let values: Vec<&str> = values.iter().map(|v| &**v).collect();
        // RFC 3261 §22.4 (7): the signature is for this request, not for another.
        let uri = |given: Option<&str>| {
            let same = |uri: &Uri| Uri::parse(given.unwrap_or_default()).is_ok_and(|u| u.equivalent(uri));
            request.request_uri().is_some_and(same).then(|| given.unwrap_or_default().to_owned())
        };
        self.check_values(now, &values, request.method().as_str(), uri, password)
    }

    /// Checks credentials that came in another protocol than SIP: the `values` of each Authorization.
    ///
    /// `uri` is given the `uri` in the credentials, if there is one, and says what the digest is over; `None`
    /// if that is not what is asked for.
    pub fn check_values<'p>(
        &mut self,
        now: Instant,
        values: &[&str],
        method: &str,
        uri: impl FnOnce(Option<&str>) -> Option<String>,
        password: impl FnOnce(&str) -> Option<&'p Password>,
    ) -> Verdict {
        let lines: Vec<_> = values.iter().filter_map(|value| Fields::parse(value).ok()).collect();
        let Some(fields) = lines.iter().find(|f| f.get("realm") == Some(&self.settings.realm)) else {
            return Verdict::Challenge { stale: false };
        };
        let get = |name: &str| fields.get(name).unwrap_or_default();
        let Some(nonce) = self.read_nonce(get("nonce")) else {
            // Not ours, or of before a restart: the password may well be right.
            return Verdict::Challenge { stale: true };
        };
        let algorithm = Algorithm::parse(fields.get("algorithm").unwrap_or("MD5"));
        let algorithm = algorithm.filter(|a| self.settings.algorithms.contains(a));
        let nc = Some(get("nc")).filter(|t| t.len() == 8).and_then(|t| u32::from_str_radix(t, 16).ok());
        let user = get("username");
        let qop = get("qop").eq_ignore_ascii_case("auth") && !get("cnonce").is_empty();
        let (Some(algorithm), Some(nc), true, true) = (algorithm, nc, qop, is_printable(user.as_bytes()))
        else {
            return Verdict::Denied;
        };
        let Some(uri) = uri(fields.get("uri")) else { return Verdict::Denied };
        let Some(password) = password(user) else { return Verdict::Denied };
        let proof = Proof {
            algorithm,
            user,
            realm: &self.settings.realm,
            nonce: get("nonce"),
            method,
            uri: &uri,
            counted: Some((get("nc"), get("cnonce"))),
        };
        let expected = proof.response(password);
        let given = get("response").to_ascii_lowercase();
        if !bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
            return Verdict::Denied;
        }
        // Time and count come last: only who knows the password learns about them, and only they
        // take memory.
        let lifetime = u64::try_from(self.settings.lifetime.as_millis()).unwrap_or(u64::MAX);
        let oldest = self.millis(now).saturating_sub(lifetime);
        if nonce.0 < oldest || (nonce.0 <= self.floor && !self.used.contains_key(&nonce)) {
            return Verdict::Challenge { stale: true };
        }
        if !self.used.entry(nonce).or_default().take(nc) {
            return Verdict::Denied;
        }
        self.forget(oldest);
        Verdict::Accepted { user: user.to_owned() }
    }

    /// Authentication-Info for credentials that [`Self::check_values`] has just accepted (RFC 2617 §3.2.3): our
    /// own proof that we know the password, and a nonce for the next request. `uri` as it was checked.
    pub fn info(
        &self,
        now: Instant,
        values: &[&str],
        uri: impl FnOnce(Option<&str>) -> Option<String>,
        password: &Password,
        random: &mut dyn Random,
    ) -> Option<String> {
        let lines = values.iter().filter_map(|value| Fields::parse(value).ok());
        let fields = lines.into_iter().find(|f| f.get("realm") == Some(&self.settings.realm))?;
        let (nc, cnonce) = (fields.get("nc")?, fields.get("cnonce")?);
        let proof = Proof {
            algorithm: Algorithm::parse(fields.get("algorithm").unwrap_or("MD5"))?,
            user: fields.get("username")?,
            realm: &self.settings.realm,
            nonce: fields.get("nonce")?,
            method: "",
            uri: &uri(fields.get("uri"))?,
            counted: Some((nc, cnonce)),
        };
        let nonce = self.nonce(now, random);
        let proof = proof.response(password);
        Some(format!(
            "nextnonce=\"{nonce}\", rspauth=\"{}\", cnonce={}, nc={nc}, qop=auth",
            *proof,
            quote(cnonce)
        ))
    }

    fn read_nonce(&self, text: &str) -> Option<(u64, [u8; 8])> {
        let octets = Some(text).filter(|t| t.len() == 64).and_then(|t| hex::decode(t.as_bytes()).ok())?;
        let (time, rest) = octets.split_first_chunk::<8>()?;
        let (salt, check) = rest.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        bool::from(self.check(time, salt).ct_eq(check)).then_some((time, *salt))
    }

    fn forget(&mut self, oldest: u64) {
        while let Some(((time, _), _)) = self.used.first_key_value() {
            if *time >= oldest && self.used.len() <= self.settings.nonces {
                break;
            }
            self.floor = self.floor.max(*time);
            self.used.pop_first();
        }
    }
}
