//! What holds for a context as a whole: priority, emergency, topology (RFC 3525 §6.1.1), how it is
//! set and told, and the lists and selections of contexts that version 3 has.
//!
//! Package properties are in [`crate::attributes`]; a relay has none of them (error 455).

use carnet_h248::{
    ActionRequest, ContextId, ContextProperties, Name, ParameterValue, Selector, TopologyDirection, Value,
    Verb,
};

use crate::Function;
use crate::action::listed;
use crate::attributes::Change;
use crate::context::Context;
use crate::core::Core;
use crate::error::Fault;
use crate::package::{Kind, check};
use crate::run::Scope;
use crate::topology::{Triples, told};

/// What an action says before its commands.
pub(crate) type Prepared = (Scope, Vec<(ContextId, ContextProperties)>, Triples);

impl Core {
    /// Checks and sets the properties of an action's contexts, and looks up what is asked of them.
    /// Where something is wrong nothing was set.
    pub(crate) fn prepare(
        &mut self,
        action: &ActionRequest,
        created: Option<u32>,
    ) -> Result<Prepared, Fault> {
        let home = created.map_or(action.context, ContextId::Id);
        let mut only = listed(self, action)?;
        let question = Question::read(self.function, action.audit.as_deref().unwrap_or_default())?;
        if home == ContextId::All && question.selects() {
            let among = Scope { home, only };
            let fitting = self.covered(&among).into_iter().filter(|(_, context)| question.fits(context));
            only = Some(fitting.map(|(id, _)| id).collect());
        }
        let scope = Scope { home, only };
        let change = self.check_attributes(action, &scope)?;
        let topology = self.check_properties(action, &scope)?;
        self.set_properties(action, &scope, topology.as_ref());
        if let (Some(change), Some(context)) = (change, home.id().and_then(|id| self.contexts.get_mut(&id))) {
            context.attributes.set(change, context.group, &mut self.commands);
        }
        let mut told = Vec::new();
        if action.audit.is_some() && home != ContextId::Null {
            let covered = self.covered(&scope);
            if covered.len() > self.limits.audited {
                return Err(Fault::exhausted(533, "Response exceeds maximum size"));
            }
            for (id, context) in covered {
                told.push((ContextId::Id(id), question.answer(context)));
            }
        }
        let mut waiting = Triples::default();
        if let (Some(triples), Some(context)) =
            (topology, home.id().and_then(|id| self.contexts.get_mut(&id)))
        {
            waiting = triples;
            waiting.apply(context, None);
            context.configure_all(&mut self.commands);
        }
        Ok((scope, told, waiting))
    }

    fn check_properties(&self, action: &ActionRequest, scope: &Scope) -> Result<Option<Triples>, Fault> {
        let new = &action.properties;
        // RFC 3525 §6.1.1: 0 is the lowest, 15 the highest.
        if let Some(priority) = new.priority.filter(|priority| *priority > 15) {
            return Err(Fault::request(449, format!("Unsupported value of Priority: {priority}")));
        }
        let sets = new.priority.is_some() || new.emergency.is_some() || new.ieps_call.is_some();
        if sets && scope.home == ContextId::Null {
            return Err(Fault::request(421, "The null context has no properties"));
        }
        if new.topology.is_empty() {
            return Ok(None);
        }
        let Some(context) = scope.home.id().and_then(|id| self.contexts.get(&id)) else {
            return Err(Fault::request(421, "A topology is set on one context at a time"));
        };
        let chooses = action.commands.iter().any(|c| c.verb == Verb::Add && c.termination().has_choose());
        // Whoever is in a conference hears all the others.
        let both = |direction| direction == TopologyDirection::Bothway;
        if self.function == Function::Conference && !new.topology.iter().all(|t| both(t.direction)) {
            return Err(Fault::unsupported(522, "Topology triple not supported in a conference"));
        }
        Triples::check(&new.topology, context, chooses).map(Some)
    }

    /// The package properties of a context, if any are to be set.
    fn check_attributes(&self, action: &ActionRequest, scope: &Scope) -> Result<Option<Change>, Fault> {
        let new = &action.properties.attributes;
        if new.is_empty() {
            return Ok(None);
        }
        for attribute in new {
            check(self.function, Kind::ContextProperty, &attribute.name)?;
        }
        if self.version.is_some_and(|version| version < 3) {
            return Err(Fault::request(
                406,
                "Version not supported: a context has properties from version 3 on",
            ));
        }
        let Some(context) = scope.home.id().and_then(|id| self.contexts.get(&id)) else {
            return Err(Fault::request(421, "Package properties are set on one context at a time"));
        };
        context.attributes.change(self.function, new).map(Some)
    }

    fn set_properties(&mut self, action: &ActionRequest, scope: &Scope, topology: Option<&Triples>) {
        let new = &action.properties;
        let ids: Vec<u32> = self.covered(scope).into_iter().map(|(id, _)| id).collect();
        let nothing = ContextProperties { topology: Vec::new(), context_list: Vec::new(), ..new.clone() };
        if nothing.is_empty() && topology.is_none() {
            return;
        }
        for id in ids {
            let Some(context) = self.contexts.get_mut(&id) else { continue };
            let held = &mut context.properties;
            held.priority = new.priority.or(held.priority);
            held.emergency = new.emergency.or(held.emergency);
            held.ieps_call = new.ieps_call.or(held.ieps_call);
        }
    }
}

/// A ContextAudit descriptor.
#[derive(Debug, Default)]
struct Question {
    topology: bool,
    priority: bool,
    emergency: bool,
    ieps_call: bool,
    /// Values that contexts are selected by (version 3), and whether one is enough.
    with_priority: Option<u16>,
    with_emergency: Option<bool>,
    with_ieps_call: Option<bool>,
    /// Package properties, and values that contexts are selected by.
    attributes: Vec<(Name, Option<Value>)>,
    any: bool,
}

impl Question {
    fn read(function: Function, selectors: &[Selector]) -> Result<Self, Fault> {
        let mut question = Self::default();
        for selector in selectors {
            let value = match &selector.value {
                None => None,
                Some(ParameterValue::Equal(value)) => Some(value),
                Some(_) => {
                    return Err(Fault::unsupported(449, format!("Unsupported value of {}", selector.name)));
                }
            };
            let bad = || Fault::request(449, format!("Unsupported value of {}", selector.name));
            match (selector.name.as_str().to_ascii_lowercase().as_str(), value) {
                ("topology", None) => question.topology = true,
                ("priority", None) => question.priority = true,
                ("emergency", None) => question.emergency = true,
                ("iepscall", None) => question.ieps_call = true,
                ("andlgc", None) => question.any = false,
                ("orlgc", None) => question.any = true,
                ("priority", Some(value)) => {
                    let number = value.as_u64().and_then(|n| u16::try_from(n).ok());
                    question.with_priority = Some(number.filter(|n| *n <= 15).ok_or_else(bad)?);
                }
                ("emergencyvalue" | "emergency", Some(value)) => {
                    let value = value.as_str();
                    let is = |word: &str| value.eq_ignore_ascii_case(word);
                    question.with_emergency = Some(if is("Emergency") || is("EG") || is("ON") {
                        true
                    } else if is("EmergencyOff") || is("EGO") || is("OFF") {
                        false
                    } else {
                        return Err(bad());
                    });
                }
                ("iepscall", Some(value)) => {
                    question.with_ieps_call = Some(value.as_bool().ok_or_else(bad)?);
                }
                (_, value) => {
                    if selector.name.item() != "*" {
                        check(function, Kind::ContextProperty, &selector.name)?;
                    }
                    question.attributes.push((selector.name.clone(), value.cloned()));
                }
            }
        }
        Ok(question)
    }

    fn selects(&self) -> bool {
        self.with_priority.is_some()
            || self.with_emergency.is_some()
            || self.with_ieps_call.is_some()
            || self.attributes.iter().any(|(_, value)| value.is_some())
    }

    /// Whether a context is among those that the values select.
    fn fits(&self, context: &Context) -> bool {
        let held = &context.properties;
        let criteria = [
            self.with_priority.map(|wanted| held.priority.unwrap_or(0) == wanted),
            self.with_emergency.map(|wanted| held.emergency.unwrap_or(false) == wanted),
            self.with_ieps_call.map(|wanted| held.ieps_call.unwrap_or(false) == wanted),
        ];
        let has = |name: &Name, value: &Value| {
            let held = context.attributes.named(name);
            held.iter().any(|p| p.value.single().is_some_and(|held| held.as_str() == value.as_str()))
        };
        let attributes = self.attributes.iter().filter_map(|(name, value)| Some(has(name, value.as_ref()?)));
        let mut criteria = criteria.into_iter().flatten().chain(attributes);
        if self.any { criteria.any(|met| met) } else { criteria.all(|met| met) }
    }

    fn answer(&self, context: &Context) -> ContextProperties {
        let held = &context.properties;
        ContextProperties {
            topology: if self.topology { told(context) } else { Vec::new() },
            priority: self.priority.then(|| held.priority.unwrap_or(0)),
            emergency: self.emergency.then(|| held.emergency.unwrap_or(false)),
            ieps_call: self.ieps_call.then(|| held.ieps_call.unwrap_or(false)),
            attributes: self.attributes.iter().flat_map(|(name, _)| context.attributes.named(name)).collect(),
            ..ContextProperties::default()
        }
    }
}
