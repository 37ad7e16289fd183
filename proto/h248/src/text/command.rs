//! Commands and command replies, from text.

use super::descriptor::{audit, descriptor, kind_of, services};
use super::keyword::Keyword as K;
use super::scan::{Result, Scanner};
use crate::model::{Command, CommandReply, Descriptor, TerminationId, Verb};

fn verb(keyword: Option<K>) -> Option<Verb> {
    Some(match keyword? {
        K::Add => Verb::Add,
        K::Modify => Verb::Modify,
        K::Move => Verb::Move,
        K::Subtract => Verb::Subtract,
        K::AuditValue => Verb::AuditValue,
        K::AuditCapability => Verb::AuditCapability,
        K::Notify => Verb::Notify,
        K::ServiceChange => Verb::ServiceChange,
        _ => return None,
    })
}

/// A word without a prefix of two letters, if it has it.
fn without<'a>(word: &'a [u8], prefix: &[u8; 2]) -> Option<&'a [u8]> {
    let (head, rest) = word.split_first_chunk::<2>()?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// A command of a request.
pub(super) fn request(s: &mut Scanner<'_>) -> Result<Command> {
    let word = s.word("a command")?;
    let at = s.at - word.len();
    s.level = 442;
    let (mut rest, mut optional, mut wildcard_response) = (word, false, false);
    // RFC 3525 Annex B.2 has `O-` before `W-`; the other order can mean nothing else.
    loop {
        if let Some(shorter) = without(rest, b"O-").filter(|_| !optional) {
            (rest, optional) = (shorter, true);
        } else if let Some(shorter) = without(rest, b"W-").filter(|_| !wildcard_response) {
            (rest, wildcard_response) = (shorter, true);
        } else {
            break;
        }
    }
    let Some(verb) = verb(K::find(rest)) else {
        return s.rule(at, 443, "not a command");
    };
    s.equal()?;
    let terminations = terminations(s)?;
    let mut descriptors = Vec::new();
    if s.eat(b'{') {
        loop {
            s.count(descriptors.len())?;
            push(s, &mut descriptors, |s, at, keyword| request_descriptor(s, at, keyword, verb))?;
            if !s.more()? {
                break;
            }
        }
    }
    // RFC 3525 §7.2.7, §7.2.8: these two say nothing without their descriptor.
    match verb {
        Verb::Notify | Verb::ServiceChange if descriptors.is_empty() => {
            s.rule(at, 442, "a descriptor is missing")
        }
        _ => Ok(Command { verb, optional, wildcard_response, terminations, descriptors }),
    }
}

/// Reads one descriptor and refuses a second of its kind (448).
fn push(
    s: &mut Scanner<'_>,
    list: &mut Vec<Descriptor>,
    read: impl FnOnce(&mut Scanner<'_>, usize, K) -> Result<Descriptor>,
) -> Result<()> {
    let word = s.word("a descriptor")?;
    let at = s.at - word.len();
    let Some(keyword) = K::find(word) else {
        return s.rule(at, 444, "not a descriptor");
    };
    let descriptor = read(s, at, keyword)?;
    if list.iter().any(|d| kind_of(d) == kind_of(&descriptor)) {
        return s.rule(at, 448, format!("{} twice", keyword.long()));
    }
    list.push(descriptor);
    Ok(())
}

fn request_descriptor(s: &mut Scanner<'_>, at: usize, keyword: K, verb: Verb) -> Result<Descriptor> {
    let legal = match verb {
        Verb::Add | Verb::Modify | Verb::Move => matches!(
            keyword,
            K::Media
                | K::Modem
                | K::Mux
                | K::Events
                | K::EventBuffer
                | K::Signals
                | K::DigitMap
                | K::Audit
                | K::Statistics
        ),
        Verb::Subtract | Verb::AuditValue | Verb::AuditCapability => keyword == K::Audit,
        Verb::Notify => matches!(keyword, K::ObservedEvents | K::Error),
        Verb::ServiceChange => keyword == K::Services,
    };
    if !legal {
        return s.rule(at, 447, format!("{} is not legal here", keyword.long()));
    }
    match keyword {
        K::Audit => audit(s).map(Descriptor::Audit),
        K::Services => services(s).map(Descriptor::ServiceChange),
        _ => descriptor(s, at, keyword),
    }
}

/// `t` or `[t, t]`
fn terminations(s: &mut Scanner<'_>) -> Result<Vec<TerminationId>> {
    if !s.eat(b'[') {
        return Ok(vec![s.termination()?]);
    }
    termination_list(s, b']')
}

pub(super) fn termination_list(s: &mut Scanner<'_>, close: u8) -> Result<Vec<TerminationId>> {
    let mut list = Vec::new();
    loop {
        s.count(list.len())?;
        list.push(s.termination()?);
        if !s.more_until(close, "`,` or the end of the list")? {
            return Ok(list);
        }
    }
}

/// A command of a reply.
pub(super) fn reply(s: &mut Scanner<'_>) -> Result<CommandReply> {
    let word = s.word("a command")?;
    let at = s.at - word.len();
    s.level = 442;
    let Some(verb) = verb(K::find(word)) else {
        return s.rule(at, 443, "not a command");
    };
    s.equal()?;
    let mut reply =
        CommandReply { verb, context_audit: false, terminations: Vec::new(), descriptors: Vec::new() };
    let word = s.peek_word();
    if matches!(verb, Verb::AuditValue | Verb::AuditCapability) && K::find(word) == Some(K::Context) {
        s.at += word.len();
        reply.context_audit = true;
        s.open()?;
        // A list of terminations or an Error; a termination may be called Error, `=` tells.
        let at = s.at;
        let word = s.peek_word();
        s.at += word.len();
        s.blank();
        if K::find(word) == Some(K::Error) && s.peek() == Some(b'=') {
            reply.descriptors.push(Descriptor::Error(s.error_descriptor()?));
            s.expect(b'}', "`}`")?;
        } else {
            s.at = at;
            reply.terminations = termination_list(s, b'}')?;
        }
        return Ok(reply);
    }
    reply.terminations = terminations(s)?;
    if s.eat(b'{') {
        loop {
            s.count(reply.descriptors.len())?;
            push(s, &mut reply.descriptors, |s, at, keyword| reply_descriptor(s, at, keyword, verb))?;
            if !s.more()? {
                break;
            }
        }
    }
    Ok(reply)
}

fn reply_descriptor(s: &mut Scanner<'_>, at: usize, keyword: K, verb: Verb) -> Result<Descriptor> {
    let legal = match keyword {
        K::Error => true,
        K::Services => verb == Verb::ServiceChange,
        K::Audit => false,
        _ => !matches!(verb, Verb::ServiceChange | Verb::Notify),
    };
    if !legal {
        return s.rule(at, 447, format!("{} is not legal here", keyword.long()));
    }
    match keyword {
        K::Services => services(s).map(Descriptor::ServiceChange),
        _ => descriptor(s, at, keyword),
    }
}
