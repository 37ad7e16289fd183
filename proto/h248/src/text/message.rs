//! Messages, transactions and actions, from text.

use super::keyword::Keyword as K;
use super::scan::{Result, Scanner, decimal, name, text};
use crate::Error;
use crate::model::{
    AckRange, ActionReply, ActionRequest, AuthHeader, Body, ContextId, ContextProperties, MId, Message,
    ReplyBody, SegmentNumber, SegmentReply, Selector, Topology, TopologyDirection, Transaction,
    TransactionId, TransactionReply, TransactionRequest,
};
use std::net::IpAddr;

/// How much of everything a receiver accepts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Octets of a message.
    pub octets: usize,
    /// Transactions in a message; more is error 413.
    pub transactions: usize,
    /// Items of all lists together.
    pub items: usize,
    /// Items of one list.
    pub list: usize,
    /// Levels of nested descriptors that may nest (embedded ones, selectors).
    pub depth: usize,
    /// Octets of a word.
    pub word: usize,
    /// Octets of a quoted text.
    pub text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { octets: 65_531, transactions: 64, items: 8_192, list: 512, depth: 8, word: 1_024, text: 4_096 }
    }
}

/// Reads one message that fills the whole input.
///
/// # Errors
/// [`Error`] with the offset, the H.248 error code, and the transaction it happened in if its number
/// could be read.
pub fn parse(input: &[u8], limits: &Limits) -> std::result::Result<Message, Error> {
    let mut s = Scanner::new(input, limits);
    if input.len() > limits.octets {
        return s.limit(400, "octets in a message", limits.octets);
    }
    let (auth, version, mid) = header(&mut s)?;
    let at = s.at;
    let (_, first) = s.keyword("a transaction or an Error descriptor")?;
    let body = if first == K::Error {
        let body = Body::Error(s.error_descriptor()?);
        s.blank();
        if s.peek().is_some() {
            return s.error("the end of the message");
        }
        body
    } else {
        s.at = at;
        Body::Transactions(transactions(&mut s, limits)?)
    };
    Ok(Message { auth, version, mid, body })
}

/// What stands before the transactions.
fn header(s: &mut Scanner<'_>) -> Result<(Option<AuthHeader>, u8, MId)> {
    let mut start = s.word("`MEGACO/` or `Authentication`")?;
    let mut auth = None;
    if K::find(start) == Some(K::Authentication) {
        auth = Some(auth_header(s)?);
        start = s.word("`MEGACO/`")?;
    }
    let version = version(s, start)?;
    Ok((auth, version, mid(s)?))
}

/// Where the transactions or the Error descriptor begin. White space before them belongs to the
/// separator, white space after them to them (RFC 3525 Annex B.2, `SEP`, `RBRKT`).
pub(crate) fn body_at(input: &[u8], limits: &Limits) -> Result<usize> {
    let mut s = Scanner::new(input, limits);
    header(&mut s)?;
    s.blank();
    Ok(s.at)
}

/// `MEGACO/3` or `!/3`.
fn version(s: &Scanner<'_>, word: &[u8]) -> Result<u8> {
    let start = s.at - word.len();
    let mut parts = word.splitn(2, |b| *b == b'/');
    let head = parts.next().unwrap_or_default();
    if !head.eq_ignore_ascii_case(b"MEGACO") && head != b"!" {
        return s.error_at(start, "`MEGACO/` or `!/`");
    }
    let at = start + head.len() + 1;
    match parts.next().and_then(|digits| decimal(digits, 99)) {
        Some(n @ 1..=3) => Ok(n as u8),
        Some(version) => Err(Error::Version { at, version }),
        None => s.error_at(at.min(s.at), "a protocol version"),
    }
}

/// `= 0xSPI:0xSEQ:0xDATA` (RFC 3525 §10.2).
fn auth_header(s: &mut Scanner<'_>) -> Result<AuthHeader> {
    s.equal()?;
    let spi = hex(s, 4..=4, "`0x` and eight hex digits")?;
    s.expect(b':', "`:`")?;
    let sequence = hex(s, 4..=4, "`0x` and eight hex digits")?;
    s.expect(b':', "`:`")?;
    let data = hex(s, 12..=32, "`0x` and 24 to 64 hex digits")?;
    let number = |octets: &[u8]| octets.iter().fold(0u32, |n, b| n << 8 | u32::from(*b));
    Ok(AuthHeader { spi: number(&spi), sequence: number(&sequence), data })
}

fn hex(
    s: &mut Scanner<'_>,
    octets: std::ops::RangeInclusive<usize>,
    expected: &'static str,
) -> Result<Vec<u8>> {
    let word = s.word(expected)?;
    let digits = word.strip_prefix(b"0x").or_else(|| word.strip_prefix(b"0X"));
    match digits.and_then(|d| carnet_wire::hex::decode(d).ok()).filter(|d| octets.contains(&d.len())) {
        Some(decoded) => Ok(decoded),
        None => s.error_at(s.at - word.len(), expected),
    }
}

/// A message identifier.
pub(super) fn mid(s: &mut Scanner<'_>) -> Result<MId> {
    s.blank();
    match s.peek() {
        Some(b'<') => {
            s.at += 1;
            let name = s.name("a domain name")?;
            s.expect(b'>', "`>`")?;
            Ok(MId::Domain { name, port: port(s)? })
        }
        Some(b'[') => {
            s.at += 1;
            let start = s.at;
            let mut address = String::new();
            while !s.eat(b']') {
                if s.eat(b':') {
                    address.push(':');
                } else {
                    address.push_str(&text(s.word("an IP address and `]`")?));
                }
                if address.len() > 64 {
                    return s.error_at(start, "an IP address");
                }
            }
            let Ok(ip) = address.parse::<IpAddr>() else { return s.error_at(start, "an IP address") };
            Ok(MId::Address { ip, port: port(s)? })
        }
        _ => {
            let word = s.word("the sender: `<name>`, `[address]` or a device name")?;
            if word.eq_ignore_ascii_case(b"MTP") && s.eat(b'{') {
                let address = s.word("4 to 8 hex digits")?;
                if !(4..=8).contains(&address.len()) || !address.iter().all(u8::is_ascii_hexdigit) {
                    return s.error_at(s.at - address.len(), "4 to 8 hex digits");
                }
                s.expect(b'}', "`}`")?;
                return Ok(MId::Mtp(name(address)));
            }
            Ok(MId::Device(name(word)))
        }
    }
}

fn port(s: &mut Scanner<'_>) -> Result<Option<u16>> {
    if s.peek() == Some(b':') {
        s.at += 1;
        return s.number16("a port number").map(Some);
    }
    Ok(None)
}

fn transactions(s: &mut Scanner<'_>, limits: &Limits) -> Result<Vec<Transaction>> {
    let mut list = Vec::new();
    loop {
        if list.len() == limits.transactions {
            return s.limit(413, "transactions in a message", limits.transactions);
        }
        list.push(transaction(s)?);
        (s.level, s.transaction) = (400, None);
        s.blank();
        if s.peek().is_none() {
            return Ok(list);
        }
    }
}

fn transaction(s: &mut Scanner<'_>) -> Result<Transaction> {
    let (at, keyword) = s.keyword("Transaction, Reply, Pending, TransactionResponseAck or Segment")?;
    match keyword {
        K::Transaction => request(s).map(Transaction::Request),
        K::Reply => reply(s).map(Transaction::Reply),
        K::Pending => {
            s.equal()?;
            let id = TransactionId(s.number(u32::MAX, "a transaction number")?);
            s.open()?;
            s.expect(b'}', "`}`")?;
            Ok(Transaction::Pending(id))
        }
        K::TransactionResponseAck => ack(s).map(Transaction::Ack),
        K::Segment => {
            s.equal()?;
            let at = s.at;
            match id_and_segment(s)? {
                (id, Some(segment)) => Ok(Transaction::Segment(SegmentReply { id, segment })),
                _ => s.error_at(at, "a transaction number, `/` and a segment number"),
            }
        }
        _ => s.error_at(at, "Transaction, Reply, Pending, TransactionResponseAck or Segment"),
    }
}

fn request(s: &mut Scanner<'_>) -> Result<TransactionRequest> {
    // RFC 3525 §8: the number may be missing, then the answer goes to number zero.
    let mut id = TransactionId(0);
    if s.eat(b'=')
        && !{
            s.blank();
            s.peek() == Some(b'{')
        }
    {
        id = TransactionId(s.number(u32::MAX, "a transaction number")?);
        s.transaction = Some(id);
    }
    s.level = 403;
    s.open()?;
    let mut actions = Vec::with_capacity(1);
    loop {
        s.count(actions.len())?;
        actions.push(action_request(s)?);
        s.level = 403;
        if !s.more()? {
            return Ok(TransactionRequest { id, actions });
        }
    }
}

fn reply(s: &mut Scanner<'_>) -> Result<TransactionReply> {
    s.equal()?;
    let (id, segment) = id_and_segment(s)?;
    s.open()?;
    let mut immediate_ack = false;
    let mut actions = Vec::with_capacity(1);
    loop {
        s.count(actions.len())?;
        match s.keyword("Context, Error or ImmAckRequired")? {
            (_, K::ImmAckRequired) if !immediate_ack && actions.is_empty() => immediate_ack = true,
            (_, K::Error) if actions.is_empty() => {
                let error = s.error_descriptor()?;
                s.expect(b'}', "`}`")?;
                return Ok(TransactionReply { id, segment, immediate_ack, body: ReplyBody::Error(error) });
            }
            (_, K::Context) => actions.push(action_reply(s)?),
            (at, _) => return s.error_at(at, "Context, Error or ImmAckRequired"),
        }
        if !s.more()? {
            break;
        }
    }
    if actions.is_empty() {
        return s.error("Context or Error");
    }
    Ok(TransactionReply { id, segment, immediate_ack, body: ReplyBody::Actions(actions) })
}

/// `7`, `7/1` or `7/2/END`.
fn id_and_segment(s: &mut Scanner<'_>) -> Result<(TransactionId, Option<SegmentNumber>)> {
    let word = s.word("a transaction number")?;
    let mut parts = word.splitn(3, |b| *b == b'/');
    let id = parts.next().and_then(|p| decimal(p, u32::MAX)).map(TransactionId);
    let number = parts.next().map(|p| decimal(p, 0xffff));
    let end = parts.next().map(|p| p.eq_ignore_ascii_case(b"END") || p == b"&");
    match (id, number, end) {
        (Some(id), None, None) => Ok((id, None)),
        (Some(id), Some(Some(n)), None) => Ok((id, Some(SegmentNumber { number: n as u16, last: false }))),
        (Some(id), Some(Some(n)), Some(true)) => {
            Ok((id, Some(SegmentNumber { number: n as u16, last: true })))
        }
        _ => s.error_at(s.at - word.len(), "a transaction number, with or without a segment"),
    }
}

/// `{ 1, 3-7 }`
fn ack(s: &mut Scanner<'_>) -> Result<Vec<AckRange>> {
    s.open()?;
    let mut list = Vec::new();
    loop {
        s.count(list.len())?;
        let word = s.word("a transaction number or a range of them")?;
        let mut parts = word.splitn(2, |b| *b == b'-');
        let first = parts.next().and_then(|p| decimal(p, u32::MAX));
        let last = parts.next().map_or(first, |p| decimal(p, u32::MAX));
        let (Some(first), Some(last)) = (first, last) else {
            return s.error_at(s.at - word.len(), "a transaction number or a range of them");
        };
        if last < first {
            return s.error_at(s.at - word.len(), "a range that goes up");
        }
        list.push(AckRange { first: TransactionId(first), last: TransactionId(last) });
        if !s.more()? {
            return Ok(list);
        }
    }
}

fn context_id(s: &mut Scanner<'_>) -> Result<ContextId> {
    let word = s.word("a context")?;
    match word {
        b"-" => Ok(ContextId::Null),
        b"$" => Ok(ContextId::Choose),
        b"*" => Ok(ContextId::All),
        digits => match decimal(digits, u32::MAX) {
            Some(n) => Ok(ContextId::from_number(n)),
            None => s.error_at(s.at - word.len(), "a context: a number, `-`, `$` or `*`"),
        },
    }
}

fn action_request(s: &mut Scanner<'_>) -> Result<ActionRequest> {
    let (at, keyword) = s.keyword("Context")?;
    if keyword != K::Context {
        return s.error_at(at, "Context");
    }
    s.equal()?;
    let mut action = ActionRequest::new(context_id(s)?, Vec::with_capacity(2));
    s.level = 422;
    s.open()?;
    loop {
        let word = s.peek_word();
        match K::find(word) {
            Some(K::ContextAudit) => {
                let at = s.at;
                s.at += word.len();
                let selectors = selectors(s)?;
                if action.audit.replace(selectors).is_some() {
                    return s.rule(at, 422, "ContextAudit twice");
                }
            }
            Some(keyword) if context_property(s, word, keyword, &mut action.properties)? => {}
            _ => {
                s.count(action.commands.len())?;
                action.commands.push(super::command::request(s)?);
                s.level = 422;
            }
        }
        if !s.more()? {
            return Ok(action);
        }
    }
}

fn action_reply(s: &mut Scanner<'_>) -> Result<ActionReply> {
    s.equal()?;
    let mut action = ActionReply::new(context_id(s)?, Vec::with_capacity(2));
    if !s.eat(b'{') {
        return Ok(action);
    }
    s.level = 422;
    loop {
        let word = s.peek_word();
        match K::find(word) {
            Some(K::Error) => {
                s.at += word.len();
                action.error = Some(s.error_descriptor()?);
                // An error ends the list.
                s.expect(b'}', "`}`")?;
                return Ok(action);
            }
            Some(keyword) if context_property(s, word, keyword, &mut action.properties)? => {}
            _ => {
                s.count(action.commands.len())?;
                action.commands.push(super::command::reply(s)?);
                s.level = 422;
            }
        }
        if !s.more()? {
            return Ok(action);
        }
    }
}

/// Reads a context property if `keyword` starts one.
fn context_property(
    s: &mut Scanner<'_>,
    word: &[u8],
    keyword: K,
    into: &mut ContextProperties,
) -> Result<bool> {
    let at = s.at;
    s.at += word.len();
    let twice = match keyword {
        K::Topology => {
            let seen = !into.topology.is_empty();
            into.topology = topology(s)?;
            seen
        }
        K::Priority => {
            s.equal()?;
            into.priority.replace(s.number16("a priority")?).is_some()
        }
        K::Emergency => into.emergency.replace(true).is_some(),
        K::EmergencyOff => into.emergency.replace(false).is_some(),
        K::IepsCall => {
            s.equal()?;
            into.ieps_call.replace(super::descriptor::on_or_off(s)?).is_some()
        }
        K::ContextAttr => context_attributes(s, into)?,
        _ => {
            s.at = at;
            return Ok(false);
        }
    };
    if twice { s.rule(at, 422, "a context property twice") } else { Ok(true) }
}

/// `{ package/item = value, ... }` or `{ ContextList = { 1, 2 } }`; true if it came before.
fn context_attributes(s: &mut Scanner<'_>, into: &mut ContextProperties) -> Result<bool> {
    s.open()?;
    let word = s.peek_word();
    if K::find(word) == Some(K::ContextList) {
        s.at += word.len();
        let seen = !into.context_list.is_empty();
        s.equal()?;
        s.open()?;
        let mut list = Vec::new();
        loop {
            s.count(list.len())?;
            list.push(context_id(s)?);
            if !s.more()? {
                break;
            }
        }
        s.expect(b'}', "`}`")?;
        into.context_list = list;
        return Ok(seen);
    }
    let seen = !into.attributes.is_empty();
    into.attributes = super::descriptor::properties(s)?;
    Ok(seen)
}

fn topology(s: &mut Scanner<'_>) -> Result<Vec<Topology>> {
    s.open()?;
    let mut list = Vec::new();
    let mut another = true;
    while another {
        s.count(list.len())?;
        let from = s.termination()?;
        s.expect(b',', "`,`")?;
        let to = s.termination()?;
        s.expect(b',', "`,`")?;
        let direction = match s.keyword("a direction")? {
            (_, K::Bothway) => TopologyDirection::Bothway,
            (_, K::Isolate) => TopologyDirection::Isolate,
            (_, K::Oneway) => TopologyDirection::Oneway,
            (_, K::OnewayExternal) => TopologyDirection::OnewayExternal,
            (_, K::OnewayBoth) => TopologyDirection::OnewayBoth,
            (at, _) => return s.error_at(at, "a direction"),
        };
        let mut stream = None;
        another = s.more()?;
        if another {
            let at = s.at;
            let word = s.peek_word();
            s.at += word.len();
            // A termination may be called Stream; only `=` tells.
            if K::find(word) == Some(K::Stream) && s.eat(b'=') {
                stream = Some(s.number16("a stream number")?);
                another = s.more()?;
            } else {
                s.at = at;
            }
        }
        list.push(Topology { from, to, direction, stream });
    }
    Ok(list)
}

/// `{ selector, ... }`, not empty.
fn selectors(s: &mut Scanner<'_>) -> Result<Vec<Selector>> {
    s.open()?;
    let mut list = Vec::new();
    loop {
        s.count(list.len())?;
        list.push(super::descriptor::selector(s, true)?);
        if !s.more()? {
            return Ok(list);
        }
    }
}
