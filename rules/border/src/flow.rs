//! The way that requests take to a terminal which has called or registered: it may have another address since, given
//! by a translator, and its connection may have gone, with a network, a terminal that starts again, or our own process
//! before.
//!
//! RFC 5626 §5.3, RFC 3261 §12.2.1.1. In this order: where the same terminal has registered since, or has spoken in the
//! dialog; if that has gone, what the dialog says of where it is, its route set or its Contact, which may be
//! connected to; and if it is behind a NAT, where nobody can be connected to, nothing: 480, at once, and not after the
//! time that a connection takes to fail.
//!
//! Left out: `ob` (RFC 5626 §4.3), by which a terminal says that its dialogs follow its registration; they do anyway.

use crate::call::Leg;
use crate::core::Core;
use crate::forward::Remote;
use crate::registrar::Binding;
use crate::session::{End, Fault};
use carnet_sip::{FlowId, Hop, Uri};

/// Where a request to a leg goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// This way and no other.
    Pinned(Hop),
    /// Where the dialog says.
    Free,
    /// Nowhere: it is behind a NAT and has not come again.
    Gone,
}

impl Way {
    /// What a request is answered that cannot go anywhere.
    pub(crate) fn gone() -> Fault {
        Fault::new(480, "the connection of the far end is gone")
    }

    /// The hop that is to be taken, if one is.
    pub(crate) fn hop(self) -> Result<Option<Hop>, Fault> {
        match self {
            Self::Pinned(hop) => Ok(Some(hop)),
            Self::Free => Ok(None),
            Self::Gone => Err(Self::gone()),
        }
    }
}

/// Whether a hop was a connection that is not there any more.
pub(crate) fn is_lost(hop: &Hop) -> bool {
    hop.transport.is_reliable() && hop.flow.is_none()
}

impl Leg {
    /// The way of a request to it, in a dialog in which it is `remote`.
    pub(crate) fn way(&self, core: &Core, end: &End, remote: &Remote) -> Way {
        let Some(hop) = &self.hop else { return Way::Free };
        let registered = end.user.as_deref().zip(remote.target.as_ref());
        let registered = registered.and_then(|(user, target)| core.registrar.way(user, target));
        if let Some(way) = registered.into_iter().chain([hop]).find(|hop| !is_lost(hop)) {
            return Way::Pinned(way.clone());
        }
        let bindings = end.user.as_deref().map(|user| core.registrar.of(user)).unwrap_or_default();
        if let Some(binding) = only(bindings, hop) {
            return Way::Pinned(binding.hop.clone());
        }
        match end.behind_nat {
            true => Way::Gone,
            false if !remote.routes.is_empty() => Way::Free,
            false => remote.target.as_ref().and_then(|at| listening(hop, at)).map_or(Way::Free, Way::Pinned),
        }
    }

    /// It speaks by this way. If the one that it had has gone, or it has registered from here, it is the way now.
    pub(crate) fn heard(&mut self, core: &Core, end: &mut End, hop: &Hop) {
        let Some(known) = &mut self.hop else { return };
        let moved = end.user.as_deref().and_then(|user| core.registrar.by_flow(user, hop));
        if let Some(binding) = moved {
            // Its media come from there too.
            (end.source, end.behind_nat) = (Some(hop.remote.ip()), binding.behind_nat);
        }
        if moved.is_some() || is_lost(known) {
            *known = hop.clone();
        }
    }

    /// A connection is gone.
    pub(crate) fn lose(&mut self, flow: FlowId) {
        if let Some(hop) = self.hop.as_mut().filter(|hop| hop.flow == Some(flow)) {
            *hop = Hop { flow: None, local: None, ..hop.clone() };
        }
    }
}

/// The only registration that stands from where a terminal was: it has come again with another Contact. A user may
/// have several terminals behind one address, and another one than the dialog's would answer that it knows nothing of
/// it, which ends the dialog.
fn only<'a>(bindings: &'a [Binding], lost: &Hop) -> Option<&'a Binding> {
    let stands = |b: &&Binding| b.hop.flow.is_some() && b.hop.remote.ip() == lost.remote.ip();
    let mut there = bindings.iter().filter(stands);
    there.next().filter(|_| there.next().is_none())
}

/// Where a terminal listens that says so in its Contact: by the same transport. `None` if that is a name.
pub(crate) fn listening(lost: &Hop, contact: &Uri) -> Option<Hop> {
    let port = contact.port().unwrap_or_else(|| lost.transport.default_port());
    let remote = (contact.ip()?, port).into();
    // Where a connection is made from is for the system to say.
    Some(Hop { remote, local: None, flow: None, ..lost.clone() })
}

/// How a terminal with a registration is reached.
pub(crate) fn of_binding(binding: &Binding) -> Way {
    match (is_lost(&binding.hop), binding.behind_nat) {
        (true, true) => Way::Gone,
        (true, false) if !binding.path.is_empty() => Way::Free,
        (true, false) => listening(&binding.hop, &binding.contact).map_or(Way::Free, Way::Pinned),
        _ => Way::Pinned(binding.hop.clone()),
    }
}
