//! Who opens the TCP connections, and from it who starts TLS.
//!
//! RFC 4145 §4.1 and §4.3, RFC 6135 §4.2 and §6, RFC 8856 §8, TS 23.334 §6.2.18. Two regimes. A sealed
//! MSRP line needs exactly one active end, because that end is the TLS client (RFC 6135 §6), unless both
//! ends take their TLS role from the key exchange. Every other line is free: the gateway may wait for both
//! ends or connect to both.

use super::{Application, Facts, Party, Said, TlsRole};
use carnet_sdp::Setup;

/// The waiting role offered to a terminal behind a NAT: MSRP offers are never passive (RFC 6135 §4.2).
fn waiting(application: Application) -> Setup {
    match application {
        Application::Msrp => Setup::ActPass,
        Application::Bfcp => Setup::Passive,
    }
}

/// The `a=setup` that the answerer sees, where the direction may change. `edge`: TLS of the answerer
/// ends at our gateway, which can be connected to and can connect.
pub(super) fn sent_free(
    application: Application,
    offered: Option<Setup>,
    answerer_behind_nat: bool,
    edge: bool,
) -> Option<Setup> {
    match offered {
        Some(Setup::HoldConn) => offered,
        _ if edge && answerer_behind_nat => Some(waiting(application)),
        _ if edge => Some(Setup::ActPass),
        Some(Setup::Active) if answerer_behind_nat => Some(waiting(application)),
        _ => offered,
    }
}

/// A sealed MSRP line with both ends active, which only works by roles from the key exchange.
pub(super) struct TwoClients;

/// The `a=setup` that the answerer sees on a sealed MSRP line.
pub(super) fn sent_sealed(
    said: &Said,
    offerer: &Party,
    answerer: &Party,
) -> Result<Option<Setup>, TwoClients> {
    let active = matches!(said.setup, Some(Setup::Active) | None);
    let connects = active || (offerer.behind_nat && said.setup == Some(Setup::ActPass));
    match (connects, answerer.behind_nat) {
        (true, true) if said.mikey_role => Ok(Some(Setup::ActPass)),
        (true, true) => Err(TwoClients),
        // The offerer must connect; so it is said.
        (true, false) if !active => Ok(Some(Setup::Active)),
        _ => Ok(said.setup),
    }
}

/// Our role towards the offerer before there is an answer. An offer without `a=setup` is an active one
/// (RFC 4145 §4, RFC 4975 §5.4).
pub(super) fn opening(offered: Option<Setup>, sent: Option<Setup>, behind_nat: bool) -> Setup {
    match offered.unwrap_or(Setup::Active) {
        Setup::ActPass if behind_nat || sent == Some(Setup::Active) => Setup::Passive,
        other => other.mirror(),
    }
}

/// What answer and offer make of TCP: our role towards the offerer and towards the answerer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) offerer: Setup,
    pub(super) answerer: Setup,
}

impl Roles {
    const HELD: Self = Self { offerer: Setup::HoldConn, answerer: Setup::HoldConn };

    pub(super) fn is_merged(self) -> bool {
        self.offerer == Setup::Passive && self.answerer == Setup::Passive
    }
}

/// The role the answerer takes (RFC 4145 §4.1); `None` if it wants the one that was offered to it.
fn answerer(sent: Option<Setup>, answer: Option<Setup>) -> Option<Setup> {
    match (sent, answer) {
        (Some(Setup::HoldConn), _) | (_, Some(Setup::HoldConn)) => Some(Setup::HoldConn),
        (Some(Setup::Active), Some(Setup::Active)) | (Some(Setup::Passive), Some(Setup::Passive)) => None,
        (_, Some(Setup::Active)) | (Some(Setup::Passive), _) => Some(Setup::Active),
        _ => Some(Setup::Passive),
    }
}

/// Our roles when the answer has come, where the direction may change; `None` if the answerer wants the
/// end of the connection that was not left to it. Between two networks nothing is merged: neither of them
/// is a terminal behind a NAT (TS 29.162 §10).
pub(super) fn settle_free(
    offered: Option<Setup>,
    sent: Option<Setup>,
    answer: Option<Setup>,
    facts: &Facts,
) -> Option<Roles> {
    let theirs = answerer(sent, answer)?;
    if theirs == Setup::HoldConn || offered == Some(Setup::HoldConn) {
        return Some(Roles::HELD);
    }
    let offerer = match offered {
        // Without a=setup the offerer connects (RFC 4975 §5.4), whatever the answerer does.
        None if theirs == Setup::Active && !may_merge(facts) => return None,
        Some(Setup::Active) | None => Setup::Passive,
        Some(Setup::Passive) => Setup::Active,
        _ if facts.offerer.behind_nat => Setup::Passive,
        // What the answerer is to us, we are to the offerer.
        _ => theirs,
    };
    Some(Roles { offerer, answerer: theirs.mirror() })
}

/// Whether one of the two is a terminal, and so perhaps behind a NAT.
fn may_merge(facts: &Facts) -> bool {
    facts.offerer.access || facts.answerer.access
}

/// What a sealed MSRP line comes to.
pub(super) enum Sealed {
    /// Exactly one end connects.
    One(Roles),
    /// Both connect, and roles come from the key exchange if both ends say so.
    Both(Roles),
}

/// Our roles on a sealed MSRP line when the answer has come; `None` as in [`settle_free`].
pub(super) fn settle_sealed(
    offered: Option<Setup>,
    sent: Option<Setup>,
    answer: Option<Setup>,
    facts: &Facts,
) -> Option<Sealed> {
    let theirs = answerer(sent, answer)?;
    if theirs == Setup::HoldConn {
        return Some(Sealed::One(Roles::HELD));
    }
    let connects = matches!(offered, Some(Setup::Active) | None)
        || (offered == Some(Setup::ActPass) && facts.offerer.behind_nat);
    let roles = Roles { offerer: theirs, answerer: theirs.mirror() };
    Some(match theirs == Setup::Active && connects {
        true if !may_merge(facts) => return None,
        true => Sealed::Both(Roles { offerer: Setup::Passive, ..roles }),
        false => Sealed::One(roles),
    })
}

/// Our TLS role where TLS ends at the gateway. MSRP: the end that connects is the client (RFC 6135 §6).
/// BFCP: the offerer of that side is (RFC 8856 §8).
pub(super) fn tls_role(application: Application, ours: Setup, towards_offerer: bool) -> Option<TlsRole> {
    match (application, ours) {
        (Application::Bfcp, _) if towards_offerer => Some(TlsRole::Server),
        (Application::Bfcp, _) => Some(TlsRole::Client),
        (Application::Msrp, Setup::Active) => Some(TlsRole::Client),
        (Application::Msrp, Setup::Passive) => Some(TlsRole::Server),
        (Application::Msrp, _) => None,
    }
}
