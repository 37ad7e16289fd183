//! Where roles run. A border or conference server and the gateways it controls inside the process share one thread with an
//! event loop of its own: a message between them is an entry in a queue and wakes no other processor, and
//! what comes in on a socket is worked on in the order it came. Roles that do not speak to each other
//! inside the process have threads of their own.

use super::{Start, StartError};
use carnet_ops::config::{Config, ControlAddress, GatewayRole};
use std::collections::BTreeMap;
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;

/// A thread for roles. It ends, and what still runs there with it, when this is dropped.
pub(super) struct Place {
    handle: Handle,
    _hold: mpsc::Sender<()>,
}

impl Place {
    /// Starts the thread.
    pub(super) fn open(name: &str) -> Start<Self> {
        let fail = |e: std::io::Error| StartError::new("thread of", name, e);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let handle = runtime.handle().clone();
        let (hold, mut held) = mpsc::channel::<()>(1);
        let run = move || runtime.block_on(async move { while held.recv().await.is_some() {} });
        thread::Builder::new().name(format!("carnet-{name}")).spawn(run).map_err(fail)?;
        Ok(Self { handle, _hold: hold })
    }

    /// Calls `start`, whose sockets and tasks then belong to the thread.
    pub(super) fn run<T>(&self, start: impl FnOnce() -> T) -> T {
        let _inside = self.handle.enter();
        start()
    }
}

/// Which roles share a place: for each the name of the first there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sharing {
    pub(super) border: BTreeMap<String, String>,
    pub(super) conference: BTreeMap<String, String>,
    pub(super) gateway: BTreeMap<String, String>,
}

impl Sharing {
    pub(super) fn of(config: &Config) -> Self {
        let mut this = Self::default();
        for name in config.border.keys() {
            this.border.insert(name.clone(), name.clone());
        }
        for name in config.conference.keys() {
            this.conference.insert(name.clone(), format!("{name} conference"));
        }
        for (name, section) in &config.gateway {
            let owners =
                if section.as_ref().role == GatewayRole::Mrfp { &this.conference } else { &this.border };
            let locals: Vec<_> = section
                .as_ref()
                .controllers
                .as_ref()
                .iter()
                .filter_map(|address| match address {
                    ControlAddress::Local(owner) => owners.get(owner).cloned(),
                    ControlAddress::Remote { .. } => None,
                })
                .collect();
            let place = locals.first().unwrap_or(name).clone();
            // A gateway of several borders brings these together.
            let owners = this.border.values_mut().chain(this.conference.values_mut());
            let all = owners.chain(this.gateway.values_mut());
            all.filter(|p| locals.contains(p)).for_each(|p| p.clone_from(&place));
            this.gateway.insert(name.clone(), place);
        }
        this
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_inside_the_process_shares_a_thread() {
        let border = |name: &str, port: u16, gateways: &str| {
            format!(
                "[border.{name}]\nrole = \"ibcf\"\ndomain = \"{name}.example\"\n\
                 control = {{ gateways = [{gateways}] }}\n\
                 [border.{name}.network.core]\nlisten = [\"udp:127.0.0.1:{port}\"]\n\
                 [[border.{name}.route]]\ndomain = \"*\"\nnetwork = \"core\"\n"
            )
        };
        let gateway = |name: &str, ports: &str, controllers: &str| {
            format!(
                "[gateway.{name}]\nrole = \"trgw\"\ncontrollers = [{controllers}]\n\
                 [gateway.{name}.realm.core]\nv4 = \"127.0.0.1\"\nports = \"{ports}\"\n"
            )
        };
        let text = border("a", 5060, "\"g4\"")
            + &border("b", 5061, "\"g1\", \"g2\"")
            + &border("c", 5062, "\"g2\"")
            + &gateway("g1", "20000-20999", "\"local:b\"")
            + &gateway("g2", "30000-30999", "\"local:c\", \"local:b\"")
            + &gateway("g3", "40000-40999", "\"far@tcp:192.0.2.1:2944\"")
            + &gateway("g4", "50000-50999", "\"local:a\"");
        let config = carnet_ops::config::parse("test", text, std::path::Path::new(".")).unwrap();
        let sharing = Sharing::of(&config);
        let of = |map: &BTreeMap<String, String>, name: &str| map.get(name).cloned().unwrap();
        assert_eq!(of(&sharing.border, "a"), "a");
        assert_eq!(of(&sharing.gateway, "g4"), "a");
        assert_eq!(of(&sharing.gateway, "g3"), "g3");
        let together = of(&sharing.border, "b");
        assert_eq!(of(&sharing.border, "c"), together);
        assert_eq!(of(&sharing.gateway, "g1"), together);
        assert_eq!(of(&sharing.gateway, "g2"), together);
    }
}
