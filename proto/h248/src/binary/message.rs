//! Messages, transactions, actions and contexts, in binary.

use super::ber::{Elements, INTEGER, SEQUENCE, Writer, cons, prim};
use super::{Limits, Reader, Result, Unsayable, audit, command, unsayable, value};
use crate::Error;
use crate::model::{
    AckRange, ActionReply, ActionRequest, AuthHeader, Body, ContextId, ContextProperties, ErrorDescriptor,
    MId, Message, Name, ReplyBody, SegmentNumber, SegmentReply, Topology, TopologyDirection, Transaction,
    TransactionId, TransactionReply, TransactionRequest,
};
use std::net::IpAddr;

/// Reads one message that fills the whole input.
///
/// # Errors
/// [`Error`] with the offset, the H.248 error code, and the transaction it happened in if its number
/// could be read.
pub fn parse(input: &[u8], limits: &Limits) -> Result<Message, Error> {
    let mut r = Reader::new(limits);
    if input.len() > limits.octets {
        return r.limit(0, 400, "octets in a message", limits.octets);
    }
    let mut outer = Elements::new(input, 0);
    let mut fields = r.required(&mut outer, SEQUENCE, "a MegacoMessage")?;
    if !outer.is_empty() {
        return r.expected(outer.at, "the end of the message");
    }
    let auth = match r.take(&mut fields, cons(0))? {
        Some(header) => Some(r.auth_header(header)?),
        None => None,
    };
    let mut fields = r.required(&mut fields, cons(1), "a Message")?;
    let at = fields.at;
    let version = match r.unsigned(&mut fields, 0, 99, "a protocol version")? {
        Some(version @ 1..=3) => version as u8,
        Some(version) => return Err(Error::Version { at, version }),
        None => return r.expected(at, "a protocol version"),
    };
    let mid = r.required(&mut fields, cons(1), "the sender")?;
    let mid = r.mid(mid)?;
    let at = fields.at;
    let body = r.required(&mut fields, cons(2), "an error or transactions")?;
    let body = r.choice(body, "an error or transactions")?;
    let body = match body.tag {
        0xa0 => Body::Error(r.error_descriptor(Elements::of(&body))?),
        0xa1 => Body::Transactions(r.transactions(Elements::of(&body), limits)?),
        _ => return r.expected(at, "an error or transactions"),
    };
    Ok(Message { auth, version, mid, body })
}

/// What is inside `messageBody`: the transactions one after the other, or the fields of the error.
pub(crate) fn body<'a>(input: &'a [u8], limits: &'a Limits) -> Result<&'a [u8], Error> {
    let mut r = Reader::new(limits);
    let mut fields = r.required(&mut Elements::new(input, 0), SEQUENCE, "a MegacoMessage")?;
    r.take(&mut fields, cons(0))?;
    let mut fields = r.required(&mut fields, cons(1), "a Message")?;
    r.next(&mut fields)?;
    r.next(&mut fields)?;
    let body = r.required(&mut fields, cons(2), "an error or transactions")?;
    Ok(r.choice(body, "an error or transactions")?.content)
}

/// Writes a message.
///
/// # Errors
/// [`Unsayable`] names what has no binary form: an item of a package that is not in the table, a
/// termination whose name does not fit.
pub fn print(message: &Message) -> Result<Vec<u8>> {
    let mut w = Writer::with_capacity(512);
    w.first_version = message.version == 1;
    w.nest(SEQUENCE, |w| {
        if let Some(auth) = &message.auth {
            w.nest::<Unsayable>(cons(0), |w| {
                w.element(prim(0), &auth.spi.to_be_bytes());
                w.element(prim(1), &auth.sequence.to_be_bytes());
                w.element(prim(2), &auth.data);
                Ok(())
            })?;
        }
        w.nest(cons(1), |w| {
            w.integer(prim(0), message.version.into());
            w.nest(cons(1), |w| write_mid(w, &message.mid, 0))?;
            w.nest(cons(2), |w| match &message.body {
                Body::Error(error) => write_error(w, cons(0), error),
                Body::Transactions(list) => {
                    w.nest(cons(1), |w| list.iter().try_for_each(|t| write_transaction(w, t)))
                }
            })
        })
    })?;
    Ok(w.finish())
}

/// MId; in a ServiceChangeAddress the same choices come after a port, so `shift` is 1 there.
pub(super) fn write_mid(w: &mut Writer, mid: &MId, shift: u8) -> Result<()> {
    let with_port = |w: &mut Writer, n: u8, content: &[u8], port: Option<u16>| {
        w.nest::<Unsayable>(cons(n + shift), |w| {
            w.element(prim(0), content);
            if let Some(port) = port {
                w.integer(prim(1), port.into());
            }
            Ok(())
        })
    };
    match mid {
        MId::Address { ip: IpAddr::V4(ip), port } => with_port(w, 0, &ip.octets(), *port),
        MId::Address { ip: IpAddr::V6(ip), port } => with_port(w, 1, &ip.octets(), *port),
        MId::Domain { name, port } => with_port(w, 2, name.as_str().as_bytes(), *port),
        MId::Device(name) => {
            w.element(prim(3 + shift), name.as_str().as_bytes());
            Ok(())
        }
        MId::Mtp(digits) => {
            let octets = carnet_wire::hex::decode(digits.as_str().as_bytes());
            let octets = octets.map_err(|_| unsayable("an MTP address that is not whole octets"))?;
            w.element(prim(4 + shift), &octets);
            Ok(())
        }
    }
}

pub(super) fn write_error(w: &mut Writer, tag: u8, error: &ErrorDescriptor) -> Result<()> {
    w.nest(tag, |w| {
        w.integer(prim(0), error.code.into());
        if let Some(text) = &error.text {
            w.element(prim(1), text.as_bytes());
        }
        Ok(())
    })
}

fn write_transaction(w: &mut Writer, transaction: &Transaction) -> Result<()> {
    match transaction {
        Transaction::Request(request) => w.nest(cons(0), |w| {
            w.integer(prim(0), request.id.0.into());
            w.nest(cons(1), |w| request.actions.iter().try_for_each(|a| write_action_request(w, a)))
        }),
        Transaction::Pending(id) => w.nest(cons(1), |w| {
            w.integer(prim(0), id.0.into());
            Ok(())
        }),
        Transaction::Reply(reply) => w.nest(cons(2), |w| {
            w.integer(prim(0), reply.id.0.into());
            if reply.immediate_ack {
                w.null(prim(1));
            }
            w.nest(cons(2), |w| match &reply.body {
                ReplyBody::Error(error) => write_error(w, cons(0), error),
                ReplyBody::Actions(list) => {
                    w.nest(cons(1), |w| list.iter().try_for_each(|a| write_action_reply(w, a)))
                }
            })?;
            if let Some(segment) = reply.segment {
                write_segment(w, segment, 3);
            }
            Ok(())
        }),
        Transaction::Ack(ranges) => w.nest(cons(3), |w| {
            ranges.iter().try_for_each(|range| {
                w.nest(SEQUENCE, |w| {
                    w.integer(prim(0), range.first.0.into());
                    if range.last != range.first {
                        w.integer(prim(1), range.last.0.into());
                    }
                    Ok(())
                })
            })
        }),
        Transaction::Segment(segment) => w.nest(cons(4), |w| {
            w.integer(prim(0), segment.id.0.into());
            write_segment(w, segment.segment, 1);
            Ok(())
        }),
    }
}

fn write_segment(w: &mut Writer, segment: SegmentNumber, n: u8) {
    w.integer(prim(n), segment.number.into());
    if segment.last {
        w.null(prim(n + 1));
    }
}

fn number_of(context: ContextId) -> u32 {
    match context {
        ContextId::Null => 0,
        ContextId::Choose => 0xffff_fffe,
        ContextId::All => 0xffff_ffff,
        ContextId::Id(n) => n,
    }
}

fn write_action_request(w: &mut Writer, action: &ActionRequest) -> Result<()> {
    w.nest(SEQUENCE, |w| {
        w.integer(prim(0), number_of(action.context).into());
        if !action.properties.is_empty() {
            write_context(w, cons(1), &action.properties)?;
        }
        if let Some(selectors) = &action.audit {
            audit::write_context_audit(w, cons(2), selectors)?;
        }
        w.nest(cons(3), |w| action.commands.iter().try_for_each(|c| command::write_request(w, c)))
    })
}

fn write_action_reply(w: &mut Writer, action: &ActionReply) -> Result<()> {
    w.nest(SEQUENCE, |w| {
        w.integer(prim(0), number_of(action.context).into());
        if let Some(error) = &action.error {
            write_error(w, cons(1), error)?;
        }
        if !action.properties.is_empty() {
            write_context(w, cons(2), &action.properties)?;
        }
        w.nest(cons(3), |w| action.commands.iter().try_for_each(|c| command::write_reply(w, c)))
    })
}

/// ContextRequest.
fn write_context(w: &mut Writer, tag: u8, context: &ContextProperties) -> Result<()> {
    w.nest(tag, |w| {
        if let Some(priority) = context.priority {
            w.integer(prim(0), priority.into());
        }
        if let Some(on) = context.emergency {
            w.boolean(prim(1), on);
        }
        if !context.topology.is_empty() {
            w.nest(cons(2), |w| context.topology.iter().try_for_each(|t| write_topology(w, t)))?;
        }
        if let Some(on) = context.ieps_call {
            w.boolean(prim(3), on);
        }
        if !context.attributes.is_empty() {
            value::write_properties(w, cons(4), &context.attributes)?;
        }
        if !context.context_list.is_empty() {
            w.nest::<Unsayable>(cons(5), |w| {
                for context in &context.context_list {
                    w.integer(INTEGER, number_of(*context).into());
                }
                Ok(())
            })?;
        }
        Ok(())
    })
}

fn write_topology(w: &mut Writer, topology: &Topology) -> Result<()> {
    // The directions of version 3 are an extension; the root field has one way beside them.
    let (direction, extension) = match topology.direction {
        TopologyDirection::Bothway => (0, None),
        TopologyDirection::Isolate => (1, None),
        TopologyDirection::Oneway => (2, None),
        TopologyDirection::OnewayExternal => (2, Some(0)),
        TopologyDirection::OnewayBoth => (2, Some(1)),
    };
    w.nest(SEQUENCE, |w| {
        command::write_termination(w, cons(0), &topology.from)?;
        command::write_termination(w, cons(1), &topology.to)?;
        w.integer(prim(2), direction);
        if let Some(stream) = topology.stream {
            w.integer(prim(3), stream.into());
        }
        if let Some(extension) = extension {
            w.integer(prim(4), extension);
        }
        Ok(())
    })
}

impl<'a> Reader<'a> {
    fn auth_header(&mut self, mut fields: Elements<'a>) -> Result<AuthHeader, Error> {
        let spi = self.number4(&mut fields, prim(0), "four octets of index")?;
        let sequence = self.number4(&mut fields, prim(1), "four octets of sequence number")?;
        let at = fields.at;
        let data = self.string(&mut fields, 2)?.unwrap_or_default();
        if !(12..=32).contains(&data.len()) {
            return self.expected(at, "12 to 32 octets of authentication data");
        }
        Ok(AuthHeader {
            spi: u32::from_be_bytes(spi),
            sequence: u32::from_be_bytes(sequence),
            data: data.into_owned(),
        })
    }

    /// MId inside the tag around the choice.
    pub(super) fn mid(&mut self, inside: Elements<'a>) -> Result<MId, Error> {
        let element = self.choice(inside, "a sender")?;
        self.mid_choice(&element, 0)
    }

    /// See [`write_mid`] for `shift`.
    pub(super) fn mid_choice(&mut self, element: &super::ber::Element<'a>, shift: u8) -> Result<MId, Error> {
        let choice = (element.tag & 0x1f).wrapping_sub(shift);
        let mut fields = Elements::of(element);
        match (element.tag & 0xc0, choice) {
            (0x80, 0 | 1) => {
                let address = self.string(&mut fields, 0)?.unwrap_or_default();
                let v4 = <[u8; 4]>::try_from(address.as_ref()).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(address.as_ref()).map(IpAddr::from);
                match if choice == 0 { v4 } else { v6 } {
                    Ok(ip) => Ok(MId::Address { ip, port: self.unsigned16(&mut fields, 1, "a port")? }),
                    Err(_) => self.expected(element.inside, "an IP address"),
                }
            }
            (0x80, 2) => {
                let name = self.text(&mut fields, 0)?.unwrap_or_default();
                if name.is_empty() || name.contains(['<', '>', ' ', '\t']) {
                    return self.expected(element.inside, "a domain name");
                }
                Ok(MId::Domain { name: name.into(), port: self.unsigned16(&mut fields, 1, "a port")? })
            }
            (0x80, 3) => {
                let octets = self.octets(element)?;
                match std::str::from_utf8(&octets) {
                    Ok(name)
                        if !name.is_empty() && octets.iter().all(|b| crate::model::value::is_safe(*b)) =>
                    {
                        Ok(MId::Device(Name::from(name.to_owned())))
                    }
                    _ => self.expected(element.at, "a device name"),
                }
            }
            (0x80, 4) => {
                let octets = self.octets(element)?;
                if !(2..=4).contains(&octets.len()) {
                    return self.expected(element.at, "2 to 4 octets of MTP address");
                }
                Ok(MId::Mtp(carnet_wire::hex::encode(&octets).into()))
            }
            _ => self.expected(element.at, "an address or a name"),
        }
    }

    pub(super) fn error_descriptor(&mut self, mut fields: Elements<'a>) -> Result<ErrorDescriptor, Error> {
        let at = fields.at;
        let Some(code) = self.unsigned(&mut fields, 0, 999, "an error code")? else {
            return self.expected(at, "an error code");
        };
        Ok(ErrorDescriptor { code: code as u16, text: self.text(&mut fields, 1)?.map(Into::into) })
    }

    fn transactions(&mut self, mut list: Elements<'a>, limits: &Limits) -> Result<Vec<Transaction>, Error> {
        let mut out = Vec::with_capacity(1);
        while let Some(element) = self.next(&mut list)? {
            if out.len() == limits.transactions {
                return self.limit(element.at, 413, "transactions in a message", limits.transactions);
            }
            let fields = Elements::of(&element);
            out.push(match element.tag {
                0xa0 => Transaction::Request(self.request(fields)?),
                0xa1 => Transaction::Pending(self.transaction_id(&mut { fields })?),
                0xa2 => Transaction::Reply(self.reply(fields)?),
                0xa3 => Transaction::Ack(self.acks(fields)?),
                0xa4 => {
                    let mut fields = fields;
                    let id = self.transaction_id(&mut fields)?;
                    match self.segment(&mut fields, 1)? {
                        Some(segment) => Transaction::Segment(SegmentReply { id, segment }),
                        None => return self.expected(fields.at, "a segment number"),
                    }
                }
                _ => return self.expected(element.at, "a transaction"),
            });
            (self.level, self.transaction) = (400, None);
        }
        if out.is_empty() {
            return self.expected(list.at, "a transaction");
        }
        Ok(out)
    }

    fn transaction_id(&mut self, fields: &mut Elements<'a>) -> Result<TransactionId, Error> {
        let at = fields.at;
        match self.unsigned(fields, 0, u32::MAX, "a transaction number")? {
            Some(n) => Ok(TransactionId(n)),
            None => self.expected(at, "a transaction number"),
        }
    }

    fn segment(&mut self, fields: &mut Elements<'a>, n: u8) -> Result<Option<SegmentNumber>, Error> {
        let Some(number) = self.unsigned16(fields, n, "a segment number")? else { return Ok(None) };
        Ok(Some(SegmentNumber { number, last: self.null(fields, n + 1)? }))
    }

    fn request(&mut self, mut fields: Elements<'a>) -> Result<TransactionRequest, Error> {
        let id = self.transaction_id(&mut fields)?;
        (self.level, self.transaction) = (403, Some(id));
        let mut list = self.required(&mut fields, cons(1), "actions")?;
        let mut actions = Vec::with_capacity(1);
        while let Some(element) = self.next(&mut list)? {
            self.count(actions.len(), element.at)?;
            self.level = 422;
            actions.push(self.action_request(Elements::of(&element))?);
            self.level = 403;
        }
        if actions.is_empty() {
            return self.expected(list.at, "an action");
        }
        Ok(TransactionRequest { id, actions })
    }

    fn reply(&mut self, mut fields: Elements<'a>) -> Result<TransactionReply, Error> {
        let id = self.transaction_id(&mut fields)?;
        let immediate_ack = self.null(&mut fields, 1)?;
        let body = self.required(&mut fields, cons(2), "a result")?;
        let body = self.choice(body, "a result")?;
        let mut list = Elements::of(&body);
        let body = match body.tag {
            0xa0 => ReplyBody::Error(self.error_descriptor(list)?),
            0xa1 => {
                let mut actions = Vec::with_capacity(1);
                while let Some(element) = self.next(&mut list)? {
                    self.count(actions.len(), element.at)?;
                    actions.push(self.action_reply(Elements::of(&element))?);
                }
                ReplyBody::Actions(actions)
            }
            _ => return self.expected(body.at, "an error or actions"),
        };
        let segment = self.segment(&mut fields, 3)?;
        if matches!(&body, ReplyBody::Actions(list) if list.is_empty()) {
            return self.expected(list.at, "an action");
        }
        Ok(TransactionReply { id, segment, immediate_ack, body })
    }

    fn acks(&mut self, mut list: Elements<'a>) -> Result<Vec<AckRange>, Error> {
        let mut out = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            let first = self.transaction_id(&mut fields)?;
            let last = self.unsigned(&mut fields, 1, u32::MAX, "a transaction number")?;
            let last = last.map_or(first, TransactionId);
            if last < first {
                return self.expected(element.at, "a range that goes up");
            }
            out.push(AckRange { first, last });
        }
        if out.is_empty() {
            return self.expected(list.at, "a transaction number");
        }
        Ok(out)
    }

    fn context_id(&mut self, fields: &mut Elements<'a>) -> Result<ContextId, Error> {
        let at = fields.at;
        match self.unsigned(fields, 0, u32::MAX, "a context")? {
            Some(n) => Ok(ContextId::from_number(n)),
            None => self.expected(at, "a context"),
        }
    }

    fn action_request(&mut self, mut fields: Elements<'a>) -> Result<ActionRequest, Error> {
        let mut action = ActionRequest::new(self.context_id(&mut fields)?, Vec::with_capacity(2));
        if let Some(context) = self.take(&mut fields, cons(1))? {
            action.properties = self.context(context)?;
        }
        if let Some(selectors) = self.take(&mut fields, cons(2))? {
            action.audit = Some(self.context_audit(selectors)?);
        }
        let mut list = self.required(&mut fields, cons(3), "commands")?;
        while let Some(element) = self.next(&mut list)? {
            self.count(action.commands.len(), element.at)?;
            action.commands.push(self.command(Elements::of(&element))?);
            self.level = 422;
        }
        if action.commands.is_empty() && action.audit.is_none() && action.properties.is_empty() {
            return self.expected(list.at, "a command");
        }
        Ok(action)
    }

    fn action_reply(&mut self, mut fields: Elements<'a>) -> Result<ActionReply, Error> {
        let mut action = ActionReply::new(self.context_id(&mut fields)?, Vec::with_capacity(2));
        if let Some(error) = self.take(&mut fields, cons(1))? {
            action.error = Some(self.error_descriptor(error)?);
        }
        if let Some(context) = self.take(&mut fields, cons(2))? {
            action.properties = self.context(context)?;
        }
        let mut list = self.required(&mut fields, cons(3), "command replies")?;
        while let Some(element) = self.next(&mut list)? {
            self.count(action.commands.len(), element.at)?;
            action.commands.push(self.command_reply(&element)?);
        }
        Ok(action)
    }

    fn context(&mut self, mut fields: Elements<'a>) -> Result<ContextProperties, Error> {
        let mut out = ContextProperties {
            priority: self.unsigned16(&mut fields, 0, "a priority")?,
            emergency: self.boolean(&mut fields, 1)?,
            ..ContextProperties::default()
        };
        if let Some(mut list) = self.take(&mut fields, cons(2))? {
            while let Some(element) = self.next(&mut list)? {
                self.count(out.topology.len(), element.at)?;
                out.topology.push(self.topology(Elements::of(&element))?);
            }
        }
        out.ieps_call = self.boolean(&mut fields, 3)?;
        if let Some(list) = self.take(&mut fields, cons(4))? {
            out.attributes = self.properties(list)?;
        }
        if let Some(mut list) = self.take(&mut fields, cons(5))? {
            while let Some(element) = self.next(&mut list)? {
                self.count(out.context_list.len(), element.at)?;
                out.context_list.push(ContextId::from_number(self.number(&element, u32::MAX)?));
            }
        }
        Ok(out)
    }

    fn topology(&mut self, mut fields: Elements<'a>) -> Result<Topology, Error> {
        let from = self.required(&mut fields, cons(0), "a termination")?;
        let from = self.termination(from)?;
        let to = self.required(&mut fields, cons(1), "a termination")?;
        let to = self.termination(to)?;
        let at = fields.at;
        let direction = self.unsigned(&mut fields, 2, 2, "a direction")?;
        let stream = self.unsigned16(&mut fields, 3, "a stream number")?;
        let extension = self.unsigned(&mut fields, 4, 1, "a direction")?;
        let direction = match (direction, extension) {
            (_, Some(0)) => TopologyDirection::OnewayExternal,
            (_, Some(_)) => TopologyDirection::OnewayBoth,
            (Some(0), None) => TopologyDirection::Bothway,
            (Some(1), None) => TopologyDirection::Isolate,
            (Some(_), None) => TopologyDirection::Oneway,
            (None, None) => return self.expected(at, "a direction"),
        };
        Ok(Topology { from, to, direction, stream })
    }
}
