//! The control sockets of a controller that runs, as its file names them now and named them before.
//!
//! New ones are opened before anything else changes. One that is named no more is closed at once where connections come to
//! it, as those that came by it go on; one for datagrams stays while a gateway is heard by it.

use super::control;
use super::ways::Ways;
use carnet_net::h248::{ControlListen, ControlPeer, ControlSockets, ControlTransport};
use carnet_ops::config::ControlSection;
use std::time::{Duration, Instant};

/// How often it is seen whether a socket of before is needed.
const LOOKS: Duration = Duration::from_secs(1);

/// Sockets that were opened: as the file names them, and as they are.
pub(super) type Opened = Vec<(ControlListen, ControlListen)>;

/// Sockets by what the file says, with the ports that were taken.
pub(super) struct Doors {
    open: Opened,
    /// Not named any more, and by which a gateway is heard.
    past: Vec<ControlListen>,
    looks: Option<Instant>,
}

/// What the file says.
pub(super) fn named(section: &ControlSection) -> Vec<ControlListen> {
    let one = |bind: &carnet_ops::config::ControlBind| ControlListen {
        transport: control::transport(bind.proto),
        address: bind.address,
    };
    section.listen.iter().map(|bind| one(bind.as_ref())).collect()
}

impl Doors {
    /// Those that were opened at the start, in the order in which the file names them.
    pub(super) fn new(named: Vec<ControlListen>, sockets: &ControlSockets) -> Self {
        let open = named.into_iter().zip(sockets.listening().iter().copied()).collect();
        Self { open, past: Vec::new(), looks: None }
    }

    /// Opens what is named now and not open yet. What was opened, for [`renew`](Self::renew) or [`give_up`](Self::give_up).
    ///
    /// # Errors
    /// One of them cannot be had: nothing is open that was not.
    pub(super) fn open(
        &self,
        sockets: &mut ControlSockets,
        wanted: &[ControlListen],
    ) -> Result<Opened, String> {
        let mut new = Vec::new();
        for listen in wanted.iter().filter(|wanted| !self.open.iter().any(|(named, _)| named == *wanted)) {
            if self.past.contains(listen) {
                new.push((*listen, *listen));
                continue;
            }
            match sockets.listen(*listen) {
                Ok(address) => new.push((*listen, ControlListen { address, ..*listen })),
                Err(error) => {
                    self.give_up(sockets, &new);
                    return Err(error.to_string());
                }
            }
        }
        Ok(new)
    }

    /// Closes again what was opened in vain.
    pub(super) fn give_up(&self, sockets: &mut ControlSockets, new: &[(ControlListen, ControlListen)]) {
        let opened = new.iter().filter(|(_, there)| !self.past.contains(there));
        opened.for_each(|(_, there)| sockets.stop_listening(*there));
    }

    /// These are named from now on; those of before are left when they can be.
    pub(super) fn renew(&mut self, wanted: &[ControlListen], new: Opened) {
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.open).into_iter().partition(|(named, _)| wanted.contains(named));
        self.past.retain(|past| !new.iter().any(|(_, there)| there == past));
        self.past.extend(go.into_iter().map(|(_, there)| there));
        self.open = stay;
        self.open.extend(new);
        self.looks = (!self.past.is_empty()).then(Instant::now);
    }

    /// When [`leave`](Self::leave) wants to be called.
    pub(super) fn looks(&self) -> Option<Instant> {
        self.looks
    }

    /// Closes the sockets of before by which no gateway is heard. `role` is whose they are.
    pub(super) fn leave(&mut self, role: &str, sockets: &mut ControlSockets, ways: &Ways) {
        self.past.retain(|listen| {
            let is_heard = |(_, peer): (_, ControlPeer)| match peer {
                ControlPeer::Datagram { local, .. } => local == listen.address,
                _ => false,
            };
            if listen.transport == ControlTransport::Udp && ways.all().any(is_heard) {
                return true;
            }
            sockets.stop_listening(*listen);
            let (transport, address) = (listen.transport, listen.address);
            tracing::info!(role, ?transport, %address, "control socket closed");
            false
        });
        self.looks = (!self.past.is_empty()).then(|| Instant::now() + LOOKS);
    }
}
