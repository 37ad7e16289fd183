//! The side that is asked for a password.

use super::{Challenge, Password, Proof};
use crate::error::Error;
use crate::grammar::{is_printable, quote};
use crate::message::Message;
use crate::method::Method;
use carnet_wire::{Random, hex};

/// Credentials for one user, and the challenges met so far: one a realm.
pub struct DigestClient {
    user: String,
    password: Password,
    known: Vec<Known>,
}

struct Known {
    challenge: Challenge,
    /// Whether a proxy asks (407), not the server (401).
    proxy: bool,
    /// Whether it asked a REGISTER. `None` if the answer did not say what it was to.
    registers: Option<bool>,
    /// Requests signed under this nonce.
    count: u32,
    /// Whether it was answered, and no success has come since.
    unproven: bool,
    /// Whether a success has come under this nonce.
    proven: bool,
}

/// Realms that are remembered; beyond, the oldest is forgotten.
const MOST_REALMS: usize = 8;

impl DigestClient {
    /// Credentials of `user`.
    ///
    /// # Errors
    /// [`Error::Unprintable`] if the name holds CR, LF or NUL.
    pub fn new(user: &str, password: Password) -> Result<Self, Error> {
        if !is_printable(user.as_bytes()) {
            return Err(Error::Unprintable("the user name"));
        }
        Ok(Self { user: user.to_owned(), password, known: Vec::new() })
    }

    /// Learns the challenges of a 401 or 407. The strongest algorithm of each realm counts
    /// (RFC 7616 §3.7: the first that is known; a server lists the strongest first).
    ///
    /// # Errors
    /// [`Error::Denied`] if credentials under the same challenge were refused: the password is
    /// wrong, and trying again would not help. [`Error::Malformed`] or [`Error::Missing`] if
    /// there is no challenge this crate can answer.
    pub fn challenged(&mut self, response: &Message) -> Result<(), Error> {
        let (header, proxy) = match response.status() {
            Some(401) => ("WWW-Authenticate", false),
            Some(407) => ("Proxy-Authenticate", true),
            _ => return Err(Error::State("not a challenge")),
        };
        let registers = response.cseq().ok().map(|cseq| cseq.method == Method::Register);
        let mut problem = Error::Missing(header);
        let mut fresh: Vec<Challenge> = Vec::new();
        for line in response.lines(header) {
            match Challenge::parse(&line) {
                Err(e) => problem = e,
                Ok(c) => match fresh.iter_mut().find(|f| f.realm == c.realm) {
                    Some(f) if f.algorithm < c.algorithm => *f = c,
                    Some(_) => {}
                    None => fresh.push(c),
                },
            }
        }
        if fresh.is_empty() {
            return Err(problem);
        }
        for challenge in fresh {
            let same = |k: &Known| {
                k.proxy == proxy && k.registers == registers && k.challenge.realm == challenge.realm
            };
            let before = self.known.iter().position(same);
            if let Some(before) = before {
                // Asked again without `stale` although we answered: RFC 3261 §22.2. Under a nonce that was
                // good once, the password was: a server that was started anew knows none of its nonces, and
                // so not that they are stale.
                if self.known.get(before).is_some_and(|k| k.unproven && !k.proven) && !challenge.stale {
                    return Err(Error::Denied);
                }
                self.known.remove(before);
            }
            if self.known.len() >= MOST_REALMS {
                self.known.remove(0);
            }
            self.known.push(Known { challenge, proxy, registers, count: 0, unproven: false, proven: false });
        }
        Ok(())
    }

    /// The server took the credentials: its next challenge is a new question, not a refusal,
    /// even if it does not say `stale`.
    pub fn accepted(&mut self) {
        for known in self.known.iter_mut().filter(|known| known.unproven) {
            (known.unproven, known.proven) = (false, true);
        }
    }

    /// Signs a request for every realm that has asked, replacing earlier signatures. Before the
    /// first challenge nothing is added.
    ///
    /// What a registrar asked is answered in REGISTER only: requests of calls go on to others, who are
    /// to have nothing that a password could be guessed from. And what was asked of these is not said to
    /// a registrar.
    ///
    /// # Errors
    /// [`Error::State`] if `request` is a response.
    pub fn authorize(&mut self, request: &mut Message, random: &mut dyn Random) -> Result<(), Error> {
        let uri = request.request_uri().ok_or(Error::State("only requests are signed"))?.to_string();
        let method = request.method().to_string();
        request.remove_all("Authorization");
        request.remove_all("Proxy-Authorization");
        let is_register = *request.method() == Method::Register;
        let asked = |known: &&mut Known| known.registers.is_none_or(|registers| registers == is_register);
        for known in self.known.iter_mut().filter(asked) {
            known.count = known.count.saturating_add(1);
            known.unproven = true;
            let c = &known.challenge;
            let nc = format!("{:08x}", known.count);
            let mut octets = [0; 16];
            random.fill(&mut octets);
            let cnonce = hex::encode(&octets);
            let proof = Proof {
                algorithm: c.algorithm,
                user: &self.user,
                realm: &c.realm,
                nonce: &c.nonce,
                method: &method,
                uri: &uri,
                counted: c.qop.then_some((&nc, &cnonce)),
            };
            let response = proof.response(&self.password);
            let mut value = format!(
                "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\", algorithm={}",
                quote(&self.user),
                quote(&c.realm),
                quote(&c.nonce),
                quote(&uri),
                *response,
                c.algorithm.as_str(),
            );
            if c.qop {
                value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
            }
            if let Some(opaque) = &c.opaque {
                value.push_str(&format!(", opaque={}", quote(opaque)));
            }
            request.push_back(if known.proxy { "Proxy-Authorization" } else { "Authorization" }, &value)?;
        }
        Ok(())
    }
}
