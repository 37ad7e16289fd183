//! Who sent a request: the owner of a pre-shared key, or of a certificate (RFC 6043 §4.2.1.2,
//! §4.2.1.3, §4.2.3.2, §4.2.3.3).

use super::{Kms, Refused};
use crate::User;
use carnet_mikey::exchange::public_key::{Opener, Verifier};
use carnet_mikey::exchange::{Asked, Subject, Verified};
use carnet_mikey::{Error, Feature, Identity};
use std::time::SystemTime;

/// Who sent a request.
pub(super) struct Sender {
    /// Name of the user.
    pub user: String,
    /// As whom it asks.
    pub identity: Identity,
    /// The same as it is written in the message.
    pub as_sent: Identity,
    /// Whom it asks.
    pub kms: Identity,
}

/// The service's own private key, and the authorities whose certificates it believes.
pub trait PublicKeys: Opener + Send {
    /// Whom the first of `certificates` is of, if at `wall` an authority vouches for it, by way of
    /// the others; each is DER and certified by the next.
    fn certified(&self, certificates: &[&[u8]], wall: SystemTime) -> Result<Certified, Error>;
}

/// The owner of a certificate.
pub struct Certified {
    /// Its identities: the URIs of the certificate.
    pub identities: Vec<Identity>,
    /// Checks its signatures.
    pub verifier: Box<dyn Verifier>,
}

impl Kms {
    /// Proves who sent `asked`.
    pub(super) fn prove<S: Subject>(
        &self,
        asked: Asked<S>,
        wall: SystemTime,
    ) -> Result<(Verified<S>, Sender), Refused> {
        let kms = asked.kms().unwrap_or(&self.config.identity).clone();
        if asked.is_signed() {
            return self.prove_signed(asked, kms, wall);
        }
        let (psk_id, claimed) = (asked.psk_id().cloned(), asked.requester().cloned());
        let user = self.user_of(psk_id.as_ref(), claimed.as_ref());
        let as_sent = claimed.or_else(|| user.and_then(User::main_identity));
        let as_sent = as_sent.ok_or(Error::Missing("IDRi or IDRr"))?;
        let verified = asked.verify(user.map_or(&self.nobody, |u| &u.psk), &as_sent, &kms);
        match (verified, user) {
            (Ok(verified), Some(user)) => Ok((verified, self.sender(user, as_sent, kms))),
            (Err(error), Some(user)) => {
                Err(unproven(&error, format!("user `{}`: {error}", user.name.escape_debug())))
            }
            (_, None) => {
                let name = psk_id.map_or("nobody".into(), |n| n.text().escape_debug().to_string());
                Err(unproven(&Error::Authentication("no such user"), format!("no user `{name}`")))
            }
        }
    }

    /// The certificate says who it is; the user of that identity is the sender.
    fn prove_signed<S: Subject>(
        &self,
        asked: Asked<S>,
        kms: Identity,
        wall: SystemTime,
    ) -> Result<(Verified<S>, Sender), Refused> {
        let Some(public_keys) = &self.public_keys else {
            let feature = Feature::DataType(asked.data_type());
            return Err(Error::Unsupported { feature, at: 1 }.into());
        };
        let certified = public_keys.certified(&asked.certificates(), wall)?;
        let as_sent = match asked.requester() {
            Some(claimed) if certified.identities.contains(&self.read(claimed)) => claimed.clone(),
            Some(claimed) => {
                let reason = format!("the certificate is not of {claimed}");
                return Err(unproven(&Error::Authentication("the certificate is not of the sender"), reason));
            }
            None => certified.identities.first().ok_or(Error::Missing("IDRi or IDRr"))?.clone(),
        };
        let opener: &dyn Opener = public_keys.as_ref();
        let verified = asked
            .verify_signed(certified.verifier.as_ref(), opener, &as_sent, &kms)
            .map_err(|error| unproven(&error, format!("{as_sent}: {error}")))?;
        match self.directory.owner(&self.read(&as_sent)) {
            Some(user) => Ok((verified, self.sender(user, as_sent, kms))),
            None => {
                let reason = format!("{as_sent} has a certificate and is no user");
                Err(unproven(&Error::Authentication("no such user"), reason))
            }
        }
    }

    fn sender(&self, user: &User, as_sent: Identity, kms: Identity) -> Sender {
        let identity = self.read(&as_sent).into_owned();
        Sender { user: user.name.clone(), identity, as_sent, kms }
    }

    /// The user whose key a message names, or whose identity it gives when it names none.
    fn user_of(&self, psk_id: Option<&Identity>, claimed: Option<&Identity>) -> Option<&User> {
        match psk_id {
            Some(id) => self.directory.user(std::str::from_utf8(&id.data).ok()?),
            None => self.directory.owner(&self.read(claimed?)),
        }
    }
}

/// Refuses one who did not prove who it is. The peer is not told whether the user exists.
fn unproven(error: &Error, reason: String) -> Refused {
    let error = match error {
        e @ (Error::Unsupported { .. } | Error::Certificate(_)) => e.clone(),
        _ => Error::Authentication("the sender is not proven"),
    };
    Refused::with(error, 401, reason)
}
