//! In and out of service, both ways (RFC 3525 §7.2.8): what a controller directs by ServiceChange, and what
//! the gateway says of its terminations and IP realms, also as `ipra` (H.248.41).
//!
//! One ServiceChange speaks for all terminations of an interface (TS 23.334 §5.1, Interface ID) where a
//! wildcard names exactly those. Leaves out: a controller that directs Failover or Disconnected, and
//! ServiceChangeInc.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use carnet_h248::{
    Command, CommandReply, ContextId, Method, ObservedEvent, ParameterValue, ServiceChange, TerminationId,
    Value,
};

use crate::context::{Context, Target, Termination};
use crate::core::{Core, Output};
use crate::error::Fault;

/// Which terminations were told to be out of service.
pub(crate) type Announced = Vec<(ContextId, TerminationId)>;

/// Service of ROOT (no termination) or of a termination ends or begins later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) at: Instant,
    /// Context and number.
    pub(crate) termination: Option<(u32, u64)>,
    pub(crate) ends: bool,
}

impl Due {
    /// The same for a termination that went to another context.
    pub(crate) fn moved(self, from: u32, to: u32, number: u64) -> Self {
        match self.termination {
            Some(place) if place == (from, number) => Self { termination: Some((to, number)), ..self },
            _ => self,
        }
    }
}

/// Service restored.
const RESTORED: u16 = 900;
/// Taken out of service.
const OUT_OF_SERVICE: u16 = 905;

impl Core {
    /// A controller's ServiceChange on ROOT or on one termination.
    pub(crate) fn service_change(
        &mut self,
        now: Instant,
        target: &Target,
        command: &Command,
    ) -> Result<CommandReply, Fault> {
        let parameters = command.services();
        let method = parameters.and_then(|p| p.method.as_ref());
        let (Some(parameters), Some(method)) = (parameters, method) else {
            return Err(Fault::request(442, "ServiceChange without Method"));
        };
        let root = target.termination.is_root();
        let termination = match (root, self.find(target)) {
            (false, None) => return Err(Fault::request(430, "Unknown TerminationID")),
            (_, found) => found,
        };
        let delay = Duration::from_secs(parameters.delay.unwrap_or(0).into());
        let ends = match method {
            Method::Forced => true,
            Method::Graceful => {
                self.root.retiring |= root;
                // RFC 3525 §7.2.8: without a delay it ends when it leaves its context, and so here by itself.
                if delay.is_zero() {
                    return Ok(CommandReply::new(command.verb, &target.termination));
                }
                true
            }
            Method::Restart => false,
            // A lone one with its MgcIdToTry never gets here: the control association acts on it.
            Method::HandOff if root && parameters.mgc_id_to_try.is_none() => {
                return Err(Fault::request(472, "Required information missing: MgcIdToTry"));
            }
            Method::HandOff if root => {
                return Err(Fault::request(421, "HandOff is a transaction of its own"));
            }
            other => {
                return Err(Fault::unsupported(501, format!("Not implemented: ServiceChange {other:?}")));
            }
        };
        // A forced end is at once (RFC 3525 §7.2.8), whatever the delay.
        let later = !delay.is_zero() && *method != Method::Forced;
        let due = Due { at: if later { now + delay } else { now }, termination, ends };
        self.root.due.retain(|old| old.termination != termination);
        if later {
            self.root.due.insert(due);
        } else {
            self.service_due(now, due);
        }
        Ok(CommandReply::new(command.verb, &target.termination))
    }

    /// Context and number of a termination.
    fn find(&self, target: &Target) -> Option<(u32, u64)> {
        let id = target.context.id()?;
        Some((id, self.contexts.get(&id)?.find(&target.termination)?.number))
    }

    pub(crate) fn service_due(&mut self, now: Instant, due: Due) {
        match due.termination {
            None if due.ends => self.root_out_of_service(now),
            None => self.root_in_service(),
            Some((context, number)) => {
                let Some(held) = self.contexts.get_mut(&context) else { return };
                if let Some(termination) = held.numbered_mut(number) {
                    termination.out_of_service = due.ends;
                    held.configure(number, &mut self.commands);
                }
            }
        }
    }

    /// RFC 3525 §7.2.8: of ROOT a controller assumes that all terminations are gone.
    pub(crate) fn root_out_of_service(&mut self, _: Instant) {
        let contexts: Vec<u32> = self.contexts.keys().copied().collect();
        for context in contexts {
            self.undo(context);
        }
        self.root.out_of_service = true;
        self.root.due.clear();
    }

    pub(crate) fn root_in_service(&mut self) {
        (self.root.out_of_service, self.root.retiring) = (false, false);
    }

    /// An IP realm can be used, or cannot.
    pub(crate) fn set_realm(&mut self, now: Instant, realm: &str, up: bool, reason: u16) {
        let Some((_, known)) = self.root.realms.iter_mut().find(|(name, _)| name == realm) else { return };
        if *known == up {
            return;
        }
        *known = up;
        if up {
            for (context, id) in self.root.down.remove(realm).unwrap_or_default() {
                self.serve(context, &id, true);
                self.announce(context, id, ServiceChange::new(Method::Restart, RESTORED));
            }
        } else {
            let announced = self.of_realm(realm);
            for (context, id) in &announced {
                self.serve(*context, id, false);
                self.announce(*context, id.clone(), ServiceChange::new(Method::Forced, reason));
            }
            self.root.down.insert(realm.to_owned(), announced);
        }
        self.tell_realm(now, realm, up);
    }

    /// These are the IP realms from now on, the default one first. What is in one that is gone stays there, and its
    /// controller is told to put nothing more there (Graceful, RFC 3525 §7.2.8); when it comes back, that it may.
    pub(crate) fn set_realms(&mut self, now: Instant, realms: &[String]) {
        let before = self.root.realms.clone();
        for (gone, up) in before.iter().filter(|(name, _)| !realms.contains(name)) {
            if !up {
                // It was told of as out of service already.
                continue;
            }
            let mut announced = self.of_realm(gone);
            // Those that had been there before, too: a controller knows an interface by what it once had on it.
            announced.extend(self.whole_interface(gone).filter(|all| !announced.contains(all)));
            for (context, id) in &announced {
                self.announce(*context, id.clone(), ServiceChange::new(Method::Graceful, OUT_OF_SERVICE));
            }
            self.root.down.insert(gone.clone(), announced);
            self.tell_realm(now, gone, false);
        }
        let state = |name: &String| {
            let known = before.iter().find(|(known, _)| known == name);
            (name.clone(), known.is_none_or(|(_, up)| *up))
        };
        self.root.realms = realms.iter().map(state).collect();
        for new in realms.iter().filter(|name| before.iter().all(|(known, _)| known != *name)) {
            self.interface(Some(new));
            for (context, id) in self.root.down.remove(new).unwrap_or_default() {
                self.serve(context, &id, true);
                self.announce(context, id, ServiceChange::new(Method::Restart, RESTORED));
            }
            self.tell_realm(now, new, true);
        }
    }

    /// The name of all terminations that there can be in a realm, if nobody else's has that name.
    fn whole_interface(&mut self, realm: &str) -> Option<(ContextId, TerminationId)> {
        let prefix = format!("ip/1/{}", self.interface(Some(realm)));
        let default = self.root.realms.first().map(|(name, _)| name.as_str());
        let mut all = self.contexts.values().flat_map(|context| &context.terminations);
        let elsewhere = |t: &Termination| {
            let there = t.streams.iter().any(|s| s.realm.as_deref().or(default) == Some(realm));
            interface(&t.id) == prefix && !there
        };
        (!all.any(elsewhere)).then(|| (ContextId::All, format!("{prefix}/*").into()))
    }

    fn tell_realm(&mut self, now: Instant, realm: &str, up: bool) {
        let changed = list(vec![Value::Quoted(realm.to_owned().into())]);
        let event = ObservedEvent::new("ipra/arc").parameter(if up { "nar" } else { "nur" }, changed);
        self.root_event(now, event, true);
    }

    /// Everything in a context is lost.
    pub(crate) fn context_failed(&mut self, context: u32, reason: u16) {
        if self.contexts.contains_key(&context) {
            let context = ContextId::Id(context);
            self.serve(context, &TerminationId::ALL, false);
            self.announce(context, TerminationId::ALL, ServiceChange::new(Method::Forced, reason));
        }
    }

    fn announce(&mut self, context: ContextId, id: TerminationId, parameters: ServiceChange) {
        let command = Command::service_change(id, parameters);
        self.output.push_back(Output::Announce { context, command });
    }

    /// Takes all terminations that an identifier names out of service, or back.
    fn serve(&mut self, context: ContextId, id: &TerminationId, up: bool) {
        for (number, held) in &mut self.contexts {
            if context != ContextId::All && context != ContextId::Id(*number) {
                continue;
            }
            for termination in held.terminations.iter_mut().filter(|t| id.matches(&t.id)) {
                termination.out_of_service = !up;
            }
            held.configure_all(&mut self.commands);
        }
    }

    /// The terminations with a stream in a realm: by a wildcard for an interface whose terminations are
    /// all there, else one by one.
    fn of_realm(&self, realm: &str) -> Announced {
        let default = self.root.realms.first().map(|(name, _)| name.as_str());
        let inside = |t: &Termination| {
            let of = |s: &crate::context::Stream| s.realm.as_deref().or(default) == Some(realm);
            t.streams.iter().any(of)
        };
        let all = || {
            let each = |(id, context): (&u32, &Context)| {
                let id = ContextId::Id(*id);
                context.terminations.iter().map(move |t| (id, t.id.clone(), inside(t))).collect::<Vec<_>>()
            };
            self.contexts.iter().flat_map(each)
        };
        let elsewhere: BTreeSet<String> =
            all().filter(|(.., inside)| !inside).map(|(_, id, _)| interface(&id).to_owned()).collect();
        let mut announced = Announced::new();
        for (context, id, _) in all().filter(|(.., inside)| *inside) {
            let interface = interface(&id);
            let named = if interface.is_empty() || elsewhere.contains(interface) {
                (context, id)
            } else {
                (ContextId::All, format!("{interface}/*").into())
            };
            if !announced.contains(&named) {
                announced.push(named);
            }
        }
        announced
    }
}

/// `ip/<group>/<interface>` of `ip/<group>/<interface>/<number>`.
fn interface(id: &TerminationId) -> &str {
    id.as_str().rsplit_once('/').map_or("", |(interface, _)| interface)
}

/// A list of texts as a value.
pub(crate) fn list(mut values: Vec<Value>) -> ParameterValue {
    match (values.len(), values.pop()) {
        (1, Some(one)) => ParameterValue::Equal(one),
        (_, last) => {
            values.extend(last);
            ParameterValue::AllOf(values)
        }
    }
}
