//! Commands and command replies, in binary.

use super::ber::{Element, Elements, SEQUENCE, Writer, cons, prim};
use super::message::write_error;
use super::{Reader, Result, audit, events, media, service, termination, unsayable, value};
use crate::Error;
use crate::model::{
    Audit, AuditToken, Command, CommandReply, Descriptor, Events, ObservedEvents, Signals, TerminationId,
    Verb,
};

/// The alternatives of Command and CommandReply, in their order.
const VERBS: [Verb; 8] = [
    Verb::Add,
    Verb::Move,
    Verb::Modify,
    Verb::Subtract,
    Verb::AuditCapability,
    Verb::AuditValue,
    Verb::Notify,
    Verb::ServiceChange,
];

fn verb_tag(verb: Verb) -> u8 {
    cons(VERBS.iter().position(|v| *v == verb).unwrap_or(0) as u8)
}

pub(super) fn write_termination(w: &mut Writer, tag: u8, name: &TerminationId) -> Result<()> {
    let wire = termination::encode(name)?;
    w.nest(tag, |w| {
        w.nest(cons(0), |w| {
            for field in wire.wildcards.as_slice() {
                w.element(super::ber::OCTETS, &[*field]);
            }
            Ok(())
        })?;
        w.element(prim(1), wire.id.as_slice());
        Ok(())
    })
}

pub(super) fn write_terminations(w: &mut Writer, tag: u8, list: &[TerminationId]) -> Result<()> {
    w.nest(tag, |w| list.iter().try_for_each(|t| write_termination(w, SEQUENCE, t)))
}

/// CommandRequest.
pub(super) fn write_request(w: &mut Writer, command: &Command) -> Result<()> {
    w.nest(SEQUENCE, |w| {
        w.nest(cons(0), |w| {
            w.nest(verb_tag(command.verb), |w| match command.verb {
                Verb::Add | Verb::Move | Verb::Modify => {
                    write_terminations(w, cons(0), &command.terminations)?;
                    w.nest(cons(1), |w| command.descriptors.iter().try_for_each(|d| write_amm(w, d)))
                }
                Verb::Subtract => {
                    write_terminations(w, cons(0), &command.terminations)?;
                    let audit = only_audit(&command.descriptors)?;
                    audit.map_or(Ok(()), |a| audit::write(w, cons(1), a))
                }
                Verb::AuditValue | Verb::AuditCapability => {
                    write_termination(w, cons(0), command.termination())?;
                    let audit = only_audit(&command.descriptors)?;
                    audit::write(w, cons(1), audit.unwrap_or(&Audit::default()))?;
                    if command.terminations.len() > 1 {
                        write_terminations(w, cons(2), &command.terminations)?;
                    }
                    Ok(())
                }
                Verb::Notify => {
                    write_terminations(w, cons(0), &command.terminations)?;
                    match command.observed_events() {
                        Some(observed) => events::write_observed(w, cons(1), observed)?,
                        None => return Err(unsayable("a Notify without ObservedEvents")),
                    }
                    command.error().map_or(Ok(()), |e| write_error(w, cons(2), e))
                }
                Verb::ServiceChange => {
                    write_terminations(w, cons(0), &command.terminations)?;
                    match command.services() {
                        Some(services) => service::write_request(w, cons(1), services),
                        None => Err(unsayable("a ServiceChange without parameters")),
                    }
                }
            })
        })?;
        if command.optional {
            w.null(prim(1));
        }
        if command.wildcard_response {
            w.null(prim(2));
        }
        Ok(())
    })
}

fn only_audit(descriptors: &[Descriptor]) -> Result<Option<&Audit>> {
    match descriptors {
        [] => Ok(None),
        [Descriptor::Audit(audit)] => Ok(Some(audit)),
        _ => Err(unsayable("a descriptor other than Audit in this command")),
    }
}

/// AmmDescriptor.
fn write_amm(w: &mut Writer, descriptor: &Descriptor) -> Result<()> {
    match descriptor {
        Descriptor::Media(media) => media::write(w, cons(0), media),
        Descriptor::Modem(modem) => media::write_modem(w, cons(1), modem),
        Descriptor::Mux(mux) => media::write_mux(w, cons(2), mux),
        Descriptor::Events(events) => events::write(w, cons(3), events),
        Descriptor::EventBuffer(list) => events::write_buffer(w, cons(4), list),
        Descriptor::Signals(signals) => events::write_signals(w, cons(5), signals),
        Descriptor::DigitMap(map) => events::write_digit_map(w, cons(6), map),
        Descriptor::Audit(audit) => audit::write(w, cons(7), audit),
        Descriptor::Statistics(list) => value::write_statistics(w, cons(8), list),
        other => Err(unsayable(format!("{} in a request", name_of(other)))),
    }
}

/// AuditReturnParameter.
fn write_returned(w: &mut Writer, descriptor: &Descriptor) -> Result<()> {
    match descriptor {
        Descriptor::Error(error) => write_error(w, cons(0), error),
        Descriptor::Media(media) => media::write(w, cons(1), media),
        Descriptor::Modem(modem) => media::write_modem(w, cons(2), modem),
        Descriptor::Mux(mux) => media::write_mux(w, cons(3), mux),
        Descriptor::Events(events) => events::write(w, cons(4), events),
        Descriptor::EventBuffer(list) => events::write_buffer(w, cons(5), list),
        Descriptor::Signals(signals) => events::write_signals(w, cons(6), signals),
        Descriptor::DigitMap(map) => events::write_digit_map(w, cons(7), map),
        Descriptor::ObservedEvents(observed) => events::write_observed(w, cons(8), observed),
        Descriptor::Statistics(list) => value::write_statistics(w, cons(9), list),
        Descriptor::Packages(list) => service::write_packages(w, cons(10), list),
        Descriptor::Empty(token) => audit::write(w, cons(11), &Audit::of(&[*token])),
        other => Err(unsayable(format!("{} in a reply", name_of(other)))),
    }
}

fn name_of(descriptor: &Descriptor) -> &'static str {
    match descriptor {
        Descriptor::Audit(_) => "an Audit descriptor",
        Descriptor::ServiceChange(_) => "a ServiceChange descriptor",
        Descriptor::ObservedEvents(_) => "an ObservedEvents descriptor",
        Descriptor::Packages(_) => "a Packages descriptor",
        Descriptor::Error(_) => "an Error descriptor",
        Descriptor::Empty(_) => "a descriptor by name only",
        _ => "this descriptor",
    }
}

/// A descriptor with nothing in it, which the text encoding does not tell from its bare name.
fn empty(token: AuditToken) -> Descriptor {
    match token {
        AuditToken::Events => Descriptor::Events(Events::default()),
        AuditToken::EventBuffer => Descriptor::EventBuffer(Vec::new()),
        AuditToken::Signals => Descriptor::Signals(Signals::default()),
        AuditToken::Statistics => Descriptor::Statistics(Vec::new()),
        token => Descriptor::Empty(token),
    }
}

/// What counts as the same kind: also a descriptor and its bare name.
fn kind_of(descriptor: &Descriptor) -> Result<AuditToken, std::mem::Discriminant<Descriptor>> {
    Ok(match descriptor {
        Descriptor::Media(_) => AuditToken::Media,
        Descriptor::Modem(_) => AuditToken::Modem,
        Descriptor::Mux(_) => AuditToken::Mux,
        Descriptor::Events(_) => AuditToken::Events,
        Descriptor::EventBuffer(_) => AuditToken::EventBuffer,
        Descriptor::Signals(_) => AuditToken::Signals,
        Descriptor::DigitMap(_) => AuditToken::DigitMap,
        Descriptor::Statistics(_) => AuditToken::Statistics,
        Descriptor::ObservedEvents(_) => AuditToken::ObservedEvents,
        Descriptor::Packages(_) => AuditToken::Packages,
        Descriptor::Empty(token) => *token,
        Descriptor::Audit(_) | Descriptor::ServiceChange(_) | Descriptor::Error(_) => {
            return Err(std::mem::discriminant(descriptor));
        }
    })
}

/// CommandReply.
pub(super) fn write_reply(w: &mut Writer, reply: &CommandReply) -> Result<()> {
    let audit = |w: &mut Writer| {
        w.nest(SEQUENCE_OF, |w| reply.descriptors.iter().try_for_each(|d| write_returned(w, d)))
    };
    w.nest(verb_tag(reply.verb), |w| match reply.verb {
        Verb::Add | Verb::Move | Verb::Modify | Verb::Subtract => {
            write_terminations(w, cons(0), &reply.terminations)?;
            if reply.descriptors.is_empty() { Ok(()) } else { audit(w) }
        }
        Verb::AuditValue | Verb::AuditCapability => match (reply.context_audit, reply.error()) {
            (true, Some(error)) => write_error(w, cons(1), error),
            (true, None) => write_terminations(w, cons(0), &reply.terminations),
            (false, _) if reply.terminations.len() > 1 => w.nest(cons(3), |w| {
                write_terminations(w, cons(0), &reply.terminations)?;
                audit(w)
            }),
            (false, _) => w.nest(cons(2), |w| {
                write_termination(w, cons(0), reply.termination())?;
                audit(w)
            }),
        },
        Verb::Notify => {
            write_terminations(w, cons(0), &reply.terminations)?;
            reply.error().map_or(Ok(()), |e| write_error(w, cons(1), e))
        }
        Verb::ServiceChange => {
            write_terminations(w, cons(0), &reply.terminations)?;
            w.nest(cons(1), |w| match (reply.error(), reply.services()) {
                (Some(error), _) => write_error(w, cons(0), error),
                (None, Some(services)) => service::write_reply(w, cons(1), services),
                (None, None) => w.nest(cons(1), |_| Ok(())),
            })
        }
    })
}

/// TerminationAudit: in all replies that have one it is field 1.
const SEQUENCE_OF: u8 = cons(1);

impl<'a> Reader<'a> {
    /// TerminationID after its tag.
    pub(super) fn termination(&mut self, mut fields: Elements<'a>) -> Result<TerminationId, Error> {
        let at = fields.at;
        let mut wildcards = termination::Octets::default();
        let mut list = self.required(&mut fields, cons(0), "wildcard fields")?;
        while let Some(field) = self.next(&mut list)? {
            if field.content.len() != 1 || wildcards.extend(field.content).is_none() {
                return self.expected(field.at, "at most eight wildcard fields of one octet");
            }
        }
        match self.string(&mut fields, 1)? {
            Some(id) if (1..=8).contains(&id.len()) => Ok(termination::decode(wildcards.as_slice(), &id)),
            _ => self.expected(at, "a termination of one to eight octets"),
        }
    }

    pub(super) fn terminations(&mut self, mut list: Elements<'a>) -> Result<Vec<TerminationId>, Error> {
        let mut out = Vec::with_capacity(1);
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            out.push(self.termination(Elements::of(&element))?);
        }
        Ok(out)
    }

    /// TerminationIDList as field 0, not empty.
    fn some_terminations(&mut self, fields: &mut Elements<'a>) -> Result<Vec<TerminationId>, Error> {
        let at = fields.at;
        let list = self.required(fields, cons(0), "terminations")?;
        let list = self.terminations(list)?;
        if list.is_empty() { self.expected(at, "a termination") } else { Ok(list) }
    }

    fn verb(&self, element: &Element<'a>) -> Result<Verb, Error> {
        match VERBS.get(usize::from(element.tag & 0x1f)) {
            Some(verb) if element.tag & 0xe0 == 0xa0 => Ok(*verb),
            _ => self.rule(element.at, 443, "not a command"),
        }
    }

    /// CommandRequest after its tag.
    pub(super) fn command(&mut self, mut fields: Elements<'a>) -> Result<Command, Error> {
        self.level = 442;
        let choice = self.required(&mut fields, cons(0), "a command")?;
        let element = self.choice(choice, "a command")?;
        let verb = self.verb(&element)?;
        let optional = self.null(&mut fields, 1)?;
        let wildcard_response = self.null(&mut fields, 2)?;
        let mut fields = Elements::of(&element);
        let mut descriptors = Vec::new();
        let terminations = match verb {
            Verb::Add | Verb::Move | Verb::Modify => {
                let terminations = self.some_terminations(&mut fields)?;
                let mut list = self.required(&mut fields, cons(1), "descriptors")?;
                while let Some(element) = self.next(&mut list)? {
                    self.count(descriptors.len(), element.at)?;
                    let descriptor = self.amm(&element)?;
                    self.push(element.at, &mut descriptors, descriptor)?;
                }
                terminations
            }
            Verb::Subtract => {
                let terminations = self.some_terminations(&mut fields)?;
                if let Some(audit) = self.take(&mut fields, cons(1))? {
                    descriptors.push(Descriptor::Audit(self.audit(audit)?));
                }
                terminations
            }
            Verb::AuditValue | Verb::AuditCapability => {
                let one = self.required(&mut fields, cons(0), "a termination")?;
                let one = self.termination(one)?;
                let audit = self.required(&mut fields, cons(1), "an Audit descriptor")?;
                descriptors.push(Descriptor::Audit(self.audit(audit)?));
                match self.take(&mut fields, cons(2))? {
                    Some(list) => {
                        Some(self.terminations(list)?).filter(|l| !l.is_empty()).unwrap_or(vec![one])
                    }
                    None => vec![one],
                }
            }
            Verb::Notify => {
                let terminations = self.some_terminations(&mut fields)?;
                let observed = self.required(&mut fields, cons(1), "an ObservedEvents descriptor")?;
                descriptors.push(Descriptor::ObservedEvents(self.observed_events(observed)?));
                if let Some(error) = self.take(&mut fields, cons(2))? {
                    descriptors.push(Descriptor::Error(self.error_descriptor(error)?));
                }
                terminations
            }
            Verb::ServiceChange => {
                let terminations = self.some_terminations(&mut fields)?;
                let services = self.required(&mut fields, cons(1), "ServiceChange parameters")?;
                descriptors.push(Descriptor::ServiceChange(self.service_change(services)?));
                terminations
            }
        };
        Ok(Command { verb, optional, wildcard_response, terminations, descriptors })
    }

    /// A second descriptor of a kind is refused (448).
    fn push(&self, at: usize, list: &mut Vec<Descriptor>, descriptor: Descriptor) -> Result<(), Error> {
        if list.iter().any(|d| kind_of(d) == kind_of(&descriptor)) {
            return self.rule(at, 448, "a descriptor twice");
        }
        list.push(descriptor);
        Ok(())
    }

    fn amm(&mut self, element: &Element<'a>) -> Result<Descriptor, Error> {
        let fields = Elements::of(element);
        Ok(match element.tag {
            0xa0 => Descriptor::Media(self.media(fields)?),
            0xa1 => Descriptor::Modem(self.modem(fields)?),
            0xa2 => Descriptor::Mux(self.mux(fields)?),
            0xa3 => Descriptor::Events(self.events(fields)?),
            0xa4 => Descriptor::EventBuffer(self.event_buffer(fields)?),
            0xa5 => Descriptor::Signals(self.signals(fields)?),
            0xa6 => Descriptor::DigitMap(self.digit_map(fields)?),
            0xa7 => Descriptor::Audit(self.audit(fields)?),
            0xa8 => Descriptor::Statistics(self.statistics(fields)?),
            _ => return self.rule(element.at, 444, "not a descriptor"),
        })
    }

    /// TerminationAudit after its tag.
    fn returned(&mut self, mut list: Elements<'a>) -> Result<Vec<Descriptor>, Error> {
        let mut out = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let fields = Elements::of(&element);
            let descriptor = match element.tag {
                0xa0 => Descriptor::Error(self.error_descriptor(fields)?),
                0xa1 => Descriptor::Media(self.media(fields)?),
                0xa2 => Descriptor::Modem(self.modem(fields)?),
                0xa3 => Descriptor::Mux(self.mux(fields)?),
                0xa4 => Descriptor::Events(self.events(fields)?),
                0xa5 => Descriptor::EventBuffer(self.event_buffer(fields)?),
                0xa6 => Descriptor::Signals(self.signals(fields)?),
                0xa7 => Descriptor::DigitMap(self.digit_map(fields)?),
                0xa8 => Descriptor::ObservedEvents(self.observed_events(fields)?),
                0xa9 => Descriptor::Statistics(self.statistics(fields)?),
                0xaa => Descriptor::Packages(self.packages(fields)?),
                0xab => {
                    for token in self.tokens(fields)? {
                        self.push(element.at, &mut out, empty(token))?;
                    }
                    continue;
                }
                _ => return self.rule(element.at, 444, "not a descriptor"),
            };
            self.push(element.at, &mut out, descriptor)?;
        }
        Ok(out)
    }

    /// The descriptors that a reply names because they are empty.
    fn tokens(&mut self, fields: Elements<'a>) -> Result<Vec<AuditToken>, Error> {
        let audit = self.audit(fields)?;
        Ok(audit
            .0
            .into_iter()
            .filter_map(|item| match item {
                crate::model::AuditItem::Descriptor(token) => Some(token),
                crate::model::AuditItem::Individual(_) => None,
            })
            .collect())
    }

    /// CommandReply.
    pub(super) fn command_reply(&mut self, element: &Element<'a>) -> Result<CommandReply, Error> {
        let verb = self.verb(element)?;
        let mut reply =
            CommandReply { verb, context_audit: false, terminations: Vec::new(), descriptors: Vec::new() };
        let mut fields = Elements::of(element);
        match verb {
            Verb::Add | Verb::Move | Verb::Modify | Verb::Subtract => {
                reply.terminations = self.some_terminations(&mut fields)?;
                if let Some(list) = self.take(&mut fields, cons(1))? {
                    reply.descriptors = self.returned(list)?;
                }
            }
            Verb::AuditValue | Verb::AuditCapability => {
                let choice = self.choice(fields, "an audit's result")?;
                let mut fields = Elements::of(&choice);
                match choice.tag {
                    0xa0 => {
                        reply.context_audit = true;
                        reply.terminations = self.terminations(fields)?;
                    }
                    0xa1 => {
                        reply.context_audit = true;
                        reply.descriptors.push(Descriptor::Error(self.error_descriptor(fields)?));
                    }
                    0xa2 => {
                        let one = self.required(&mut fields, cons(0), "a termination")?;
                        reply.terminations = vec![self.termination(one)?];
                        let list = self.required(&mut fields, cons(1), "descriptors")?;
                        reply.descriptors = self.returned(list)?;
                    }
                    0xa3 => {
                        reply.terminations = self.some_terminations(&mut fields)?;
                        let list = self.required(&mut fields, cons(1), "descriptors")?;
                        reply.descriptors = self.returned(list)?;
                    }
                    _ => return self.expected(choice.at, "an audit's result"),
                }
            }
            Verb::Notify => {
                reply.terminations = self.some_terminations(&mut fields)?;
                if let Some(error) = self.take(&mut fields, cons(1))? {
                    reply.descriptors.push(Descriptor::Error(self.error_descriptor(error)?));
                }
            }
            Verb::ServiceChange => {
                reply.terminations = self.some_terminations(&mut fields)?;
                let result = self.required(&mut fields, cons(1), "a result")?;
                let choice = self.choice(result, "a result")?;
                let fields = Elements::of(&choice);
                match choice.tag {
                    0xa0 => reply.descriptors.push(Descriptor::Error(self.error_descriptor(fields)?)),
                    0xa1 => {
                        let services = self.service_change_result(fields)?;
                        if services != Default::default() {
                            reply.descriptors.push(Descriptor::ServiceChange(services));
                        }
                    }
                    _ => return self.expected(choice.at, "a result"),
                }
            }
        }
        Ok(reply)
    }

    /// ObservedEventsDescriptor after its tag.
    fn observed_events(&mut self, mut fields: Elements<'a>) -> Result<ObservedEvents, Error> {
        let at = fields.at;
        let Some(request_id) = self.unsigned(&mut fields, 0, u32::MAX, "a request number")? else {
            return self.expected(at, "a request number");
        };
        let list = self.required(&mut fields, cons(1), "events")?;
        let events = self.observed_list(list)?;
        if events.is_empty() {
            return self.expected(at, "an event");
        }
        Ok(ObservedEvents { request_id: crate::model::RequestId(request_id), events })
    }
}
