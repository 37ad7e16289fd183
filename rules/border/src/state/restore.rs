//! A border takes up what the one before it has left.

use super::{Place, call, setup, subscription, users};
use crate::border::Border;
use crate::call::Leg;
use crate::core::{Alarm, CallKey};
use crate::event::{Cause, Event};
use crate::registrar::aor_key;
use crate::session::Stream;
use carnet_h248::TerminationId;
use carnet_h248::controller::GatewayName;
use carnet_plan::{Both, Context, Side};
use carnet_wire::Unreadable;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

/// What calls that are taken up may not have twice, or share.
#[derive(Default)]
struct Taken {
    contexts: HashSet<(GatewayName, u32)>,
    /// Branches of one INVITE count once: by Call-ID and tag of the caller.
    invites: HashMap<(String, String), carnet_sip::ServerKey>,
}

/// What became of the records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Calls that go on.
    pub calls: usize,
    /// Set-ups that were ended.
    pub setups: usize,
    /// Dialogs without a call that go on.
    pub subscriptions: usize,
    /// Bindings.
    pub bindings: usize,
    /// Records that could not be taken up, and why. They are to be forgotten.
    pub refused: Vec<(u32, String)>,
}

impl Border {
    /// Takes up what another process has kept, by number. To be called once, before anything has come in, on a border
    /// that [keeps](Self::keep_state) records itself. `gateways` are known to have been there: they are asked at once,
    /// and have time to come before calls on them end. The driver tells of its ways to them after this.
    pub fn restore<'a>(
        &mut self,
        now: Instant,
        records: impl IntoIterator<Item = (u32, &'a str)>,
        gateways: impl IntoIterator<Item = GatewayName>,
    ) -> Restored {
        self.core.now = now;
        let mut restored = Restored::default();
        let (mut used, mut taken) = (BTreeSet::new(), Taken::default());
        self.core.restoring = true;
        let ours = self.core.start;
        if let Some(wall) = self.core.written_by.take() {
            self.core.start = (now, wall);
        }
        for (number, text) in records {
            used.insert(number);
            let first = text.lines().next().unwrap_or_default();
            let outcome = match first {
                call::FIRST => {
                    self.restore_call(now, (number, text), &mut taken).map(|()| restored.calls += 1)
                }
                setup::FIRST => setup::read(&self.core, text).map(|ends| {
                    for (hop, octets) in ends.sent {
                        self.core.last_words(hop, octets);
                    }
                    if let Some(name) = ends.rtp {
                        self.core.delete_rtp(&name);
                    }
                    self.core.abandon(ends.call_id.clone(), ends.callee, number);
                    self.core.events.push_back(Event::SetupAbandoned { call_id: ends.call_id });
                    restored.setups += 1;
                }),
                subscription::FIRST => self
                    .restore_subscription(number, text)
                    .map(|lives| restored.subscriptions += usize::from(lives)),
                users::FIRST => self.restore_user(now, number, text).map(|count| restored.bindings += count),
                other => {
                    let beginning: String = other.chars().take(40).collect();
                    Err(Unreadable(format!("`{beginning}` is no record of this version")))
                }
            };
            if let Err(why) = outcome {
                restored.refused.push((number, why.to_string()));
                self.core.state.gone.insert(number);
            }
        }
        self.core.start = ours;
        let state = &mut self.core.state;
        state.next = used.last().copied().unwrap_or(0);
        let holes = (1..state.next).filter(|number| !used.contains(number));
        /// More are not worth their memory.
        const HOLES: usize = 100_000;
        state.free = holes.take(HOLES).collect();
        self.adopt(now, gateways);
        self.core.restoring = false;
        self.wait_for_gateways();
        let Restored { calls, setups, subscriptions, bindings, ref refused } = restored;
        let refused = refused.len();
        self.core.events.push_back(Event::StateRestored { calls, setups, subscriptions, bindings, refused });
        self.drain(now);
        restored
    }

    fn restore_call(
        &mut self,
        now: Instant,
        (number, text): (u32, &str),
        taken: &mut Taken,
    ) -> Result<(), Unreadable> {
        self.next_call += 1;
        let key = CallKey(self.next_call);
        let call::Read { mut call, set_back, settled } = call::read(&mut self.core, key, text)?;
        self.claim_names(None, &call.legs)?;
        let contexts = call.session.streams.iter().filter_map(Stream::context);
        let mut mine = HashSet::new();
        for context in contexts {
            let here = (context.gateway.clone(), context.id().unwrap_or(0));
            if taken.contexts.contains(&here) || !mine.insert(here) {
                return Err(Unreadable("another line has its context".into()));
            }
        }
        taken.contexts.extend(mine);
        if let Some(claim) = &mut call.session.claim {
            let names = (call.call_id.clone(), call.caller_tag.clone());
            claim.invite = *taken.invites.entry(names).or_insert(claim.invite);
            // It is there: no cap turns it away.
            let _ = self.core.usage.admit(&self.core.config.networks, claim, true);
        }
        self.claim_names(Some(key), &call.legs)?;
        call.session.account_restored(&mut self.core);
        self.tell_restored(&call);
        for index in set_back {
            if let Some(context) = call.session.streams.get(index).and_then(Stream::context) {
                let late = super::Late::SetBack(context.gateway.clone(), key, index);
                self.core.late.push(late);
            }
        }
        self.core.state.calls.insert(key, Place { number, hash: 0 });
        self.calls.insert(key, call);
        self.with(key, |call, core| {
            call.repeat_answer(core, now);
            if !settled {
                call.hang_up(core, now, Cause::Restarted);
            }
        });
        Ok(())
    }

    /// Takes up a dialog without a call; whether it is not over meanwhile.
    fn restore_subscription(&mut self, number: u32, text: &str) -> Result<bool, Unreadable> {
        if self.subscriptions.len() >= self.core.config.limits.subscriptions {
            return Err(Unreadable("the table of subscriptions is full".into()));
        }
        self.next_call += 1;
        let key = CallKey(self.next_call);
        let subscription = subscription::read(&mut self.core, key, text)?;
        self.claim_names(Some(key), &subscription.legs)?;
        self.core.state.calls.insert(key, Place { number, hash: 0 });
        if subscription.began.is_some() {
            self.begun.entry(subscription.call_id.clone()).or_default().push(key);
        }
        self.subscriptions.insert(key, subscription);
        self.with_subscription(key, |_, _| {});
        Ok(self.subscriptions.contains_key(&key))
    }

    /// Gives somebody its Contacts' names, if nobody else has them; with no key it only looks.
    fn claim_names(&mut self, key: Option<CallKey>, legs: &Both<Leg>) -> Result<(), Unreadable> {
        let sides = [Side::Caller, Side::Callee];
        let tokens = &mut self.core.tokens;
        if sides.into_iter().any(|side| tokens.contains_key(&legs.of(side).token))
            || legs.caller.token == legs.callee.token
        {
            return Err(Unreadable("another one has its Contact".into()));
        }
        for (key, side) in key.into_iter().flat_map(|key| sides.map(|side| (key, side))) {
            tokens.insert(legs.of(side).token.clone(), (key, side));
        }
        Ok(())
    }

    fn tell_restored(&mut self, call: &crate::call::Call) {
        let ends = &call.session.ends;
        let name = |network: usize| {
            self.core.config.networks.get(network).map(|n| n.name.clone()).unwrap_or_default()
        };
        let invite = &call.first.message;
        let restored = Event::CallRestored {
            call_id: call.call_id.clone(),
            from: invite.from().map(|f| f.uri().to_string()).unwrap_or_default(),
            to: invite.request_uri().map(ToString::to_string).unwrap_or_default(),
            networks: Both { caller: name(ends.caller.network), callee: name(ends.callee.network) },
            began: self.core.wall(call.began),
            answered: call.answered.map(|at| self.core.wall(at)).unwrap_or(0),
        };
        self.core.events.push_back(restored);
        let streams = call.session.streams.iter().enumerate();
        for (index, context) in streams.filter_map(|(index, stream)| Some((index, stream.context()?))) {
            let address = |side| context.local(side).map(|a| a.to_string()).unwrap_or_default();
            self.core.events.push_back(Event::MediaRestored {
                call_id: call.call_id.clone(),
                index,
                gateway: context.gateway.clone(),
                context: context.id().unwrap_or(0),
                addresses: Both { caller: address(Side::Caller), callee: address(Side::Callee) },
            });
        }
    }

    fn restore_user(&mut self, now: Instant, number: u32, text: &str) -> Result<usize, Unreadable> {
        let bindings = users::read(&self.core, now, text)?;
        let Some(key) = bindings.first().map(|binding| aor_key(&binding.aor)) else {
            self.core.state.gone.insert(number);
            return Ok(0);
        };
        if bindings.iter().any(|binding| aor_key(&binding.aor) != key)
            || self.core.state.users.contains_key(&key)
        {
            return Err(Unreadable("they are not of one user, or there twice".into()));
        }
        let count = bindings.len();
        self.core.state.users.insert(key.clone(), Place { number, hash: 0 });
        for binding in bindings {
            self.core.alarm(binding.lasting().expires, Alarm::Binding(key.clone()));
            self.core.registrar.bind(binding);
        }
        Ok(count)
    }

    /// Gateways are to keep what calls have on them.
    fn adopt(&mut self, now: Instant, gateways: impl IntoIterator<Item = GatewayName>) {
        let mut wanted: BTreeMap<GatewayName, Vec<(u32, Vec<TerminationId>)>> =
            gateways.into_iter().map(|name| (name, Vec::new())).collect();
        let held = self.calls.values().flat_map(|call| &call.session.streams).filter_map(Stream::context);
        let ending = self.core.late.iter().filter_map(super::Late::context);
        let contexts = held.chain(ending);
        for context in contexts {
            let terminations = Context::terminations(context).map(|(_, id)| id.clone()).collect();
            if let Some(id) = context.id() {
                wanted.entry(context.gateway.clone()).or_default().push((id, terminations));
            }
        }
        let patience = self.core.config.timers.gateway_return;
        for (gateway, contexts) in wanted {
            self.core.gateways.adopt(now, &gateway, contexts, patience);
        }
    }
}
