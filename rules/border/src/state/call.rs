//! A call that is up, written down and read again.

use super::waiting::Unanswered;
use super::{read_hop, write_hop};
use crate::call::{Call, Dialog, FirstInvite, Leg, Phase};
use crate::core::{CallKey, Core};
use crate::forward::Remote;
use crate::route::own_uri;
use crate::session::{End, Session, Slot, Stream};
use crate::usage::Claim;
use carnet_plan::{Both, Context, Registered, Side, Urgency};
use carnet_sip::{Message, Method, Uri};
use carnet_wire::{LineReader, LineWriter, Unreadable, base64};

/// The first line. Another number is another form.
pub(super) const FIRST: &str = "carnet call 1";

const SIDES: [Side; 2] = [Side::Caller, Side::Callee];

pub(super) fn written(call: &Call, core: &Core) -> String {
    let mut out = LineWriter::new(FIRST);
    let session = &call.session;
    let invite = &call.first.message;
    let header = |name: &str| invite.header(name).map(|value| value.into_owned());
    let urgency = match session.urgency {
        Urgency::Normal => "normal",
        Urgency::Priority => "priority",
        Urgency::Emergency => "emergency",
    };
    out.line("call")
        .field(&call.call_id)
        .field(&call.caller_tag)
        .option(invite.request_uri())
        .option(header("From"))
        .option(header("To"))
        .field(invite.cseq().map_or(0, |cseq| cseq.number))
        .field(urgency)
        .field(core.wall(call.began))
        .option(call.answered.map(|at| core.wall(at)))
        .option(call.deadline.map(|at| core.wall(at)))
        .flag(call.is_settled())
        .end();
    if let Some(answer) = call.unanswered(core) {
        write_hop(out.line("answer"), Some(&answer.hop)).field(base64::encode(&answer.octets)).end();
    }
    for side in SIDES {
        write_side(&mut out, core, session.ends.of(side), call.legs.of(side));
    }
    for dialog in &call.dialogs {
        out.line("dialog")
            .field(&dialog.callee_tag)
            .flag(dialog.confirmed)
            .flag(dialog.ended)
            .field(&dialog.names.caller)
            .field(&dialog.names.callee)
            .end();
        for side in SIDES {
            write_remote(&mut out, "remote", dialog.remotes.of(side));
        }
    }
    out.line("takes").field(session.agreed.caller).field(session.agreed.callee).end();
    if let Some(name) = session.rtp.as_ref().filter(|_| session.rtp_up) {
        out.line("rtpengine").field(name).end();
    }
    for index in 0..session.streams.len() {
        if let Some((context, (peers, mode))) = session.agreed_context(index) {
            out.line("line").field(index).end();
            context.keep((peers, *mode), &mut out);
        }
    }
    out.finish()
}

/// What was read.
pub(super) struct Read {
    pub(super) call: Call,
    /// Lines whose contexts may have been changed for an offer that died.
    pub(super) set_back: Vec<usize>,
    /// Both ends know what they have agreed on.
    pub(super) settled: bool,
}

/// Reads a call. Its key is given; it is in no table yet.
pub(super) fn read(core: &mut Core, key: CallKey, text: &str) -> Result<Read, Unreadable> {
    let mut from = LineReader::new(text, FIRST)?;
    let mut line = from.line("call")?;
    let (call_id, caller_tag): (String, String) = (line.field()?, line.field()?);
    let (target, names) = (line.option::<Uri>()?, [line.option::<String>()?, line.option()?]);
    let cseq: u32 = line.field()?;
    let urgency = match line.field::<String>()?.as_str() {
        "normal" => Urgency::Normal,
        "priority" => Urgency::Priority,
        "emergency" => Urgency::Emergency,
        other => return Err(Unreadable(format!("`{other}` is no urgency"))),
    };
    let (began, answered, deadline): (u64, Option<u64>, Option<u64>) =
        (line.field()?, line.option()?, line.option()?);
    let settled = line.flag()?;
    let answer = match from.optional("answer") {
        Some(mut line) => {
            let hop = read_hop(&mut line)?.ok_or_else(|| Unreadable("an answer goes nowhere".into()))?;
            let octets = base64::decode(line.field::<String>()?.as_bytes());
            let octets = octets.map_err(|_| Unreadable("an answer cannot be read".into()))?;
            Some(Unanswered::new(core, hop, octets.into()))
        }
        None => None,
    };
    let (ends, legs) = sides(core, &mut from)?;
    let mut dialogs = Vec::new();
    while let Some(mut line) = from.optional("dialog") {
        let (callee_tag, confirmed, ended) = (line.field()?, line.flag()?, line.flag()?);
        let names = Both { caller: line.field()?, callee: line.field()? };
        let remotes = Both { caller: remote(&mut from, "remote")?, callee: remote(&mut from, "remote")? };
        dialogs.push(Dialog { callee_tag, remotes, names, confirmed, early: None, ended });
    }
    if dialogs.is_empty() || dialogs.len() > core.config.limits.forks {
        return Err(Unreadable("its dialogs are missing, or too many".into()));
    }
    let mut session = Session::new(key, call_id.clone(), ends);
    session.urgency = urgency;
    let mut line = from.line("takes")?;
    session.agreed = Both { caller: line.field()?, callee: line.field()? };
    if let Some(mut line) = from.optional("rtpengine") {
        (session.rtp, session.rtp_up) = (Some(line.field()?), true);
    }
    let mut set_back = Vec::new();
    while let Some(mut line) = from.optional("line") {
        let index: usize = line.field()?;
        if index >= core.config.limits.sdp.media || session.streams.len() > index {
            return Err(Unreadable("a media line is out of place".into()));
        }
        let kept = Context::kept(&mut from)?;
        if !core.gateways.names().contains(&kept.context.gateway) {
            return Err(Unreadable(format!("gateway {} is not ours", kept.context.gateway)));
        }
        if kept.differs {
            set_back.push(index);
        }
        let agreed = Some(kept.context.setting());
        *session.stream_mut(index) = Stream::new(Slot::Ready(Box::new(kept.context)), agreed);
    }
    if from.peek().is_some() {
        return Err(Unreadable("there is something behind it".into()));
    }
    let message = invite(&call_id, target, names, cseq);
    let message = message.ok_or_else(|| Unreadable("its INVITE is missing".into()))?;
    let server = core.endpoint.name_of_earlier();
    session.claim = Some(claim(server, &session.ends));
    let first =
        FirstInvite { server, branch: 0, client: None, message, remote: Remote::default(), given_up: None };
    let mut call = Call::new(key, first, legs, session.ends.clone(), core.moment_before(began));
    call.session = session;
    call.caller_tag = caller_tag;
    call.dialogs = dialogs;
    call.phase = Phase::Up;
    call.answered = answered.map(|at| core.moment_before(at));
    call.deadline = deadline.map(|at| core.moment(at));
    call.restored = true;
    call.waits = answer;
    Ok(Read { call, set_back, settled })
}

fn claim(invite: carnet_sip::ServerKey, ends: &Both<End>) -> Claim {
    Claim {
        invite,
        networks: Both { caller: ends.caller.network, callee: ends.callee.network },
        users: Both { caller: ends.caller.user.clone(), callee: ends.callee.user.clone() },
        sources: Both { caller: ends.caller.source, callee: ends.callee.source },
    }
}

pub(super) fn write_side(out: &mut LineWriter, core: &Core, end: &End, leg: &Leg) {
    let network = core.config.networks.get(end.network).map(|network| network.name.as_str());
    out.line("end")
        .option(network)
        .flag(end.behind_nat)
        .option(end.source)
        .flag(end.registered.msrp)
        .flag(end.registered.bfcp)
        .option(end.user.as_ref())
        .end();
    write_hop(out.line("leg").field(&leg.token), leg.hop.as_ref()).option(leg.next.as_ref()).end();
}

pub(super) fn write_remote(out: &mut LineWriter, word: &str, remote: &Remote) {
    let Remote { target, routes, cseq } = remote;
    out.line(word).option(target.as_ref()).field(cseq).all(routes).end();
}

/// The caller's side and the callee's.
pub(super) fn sides(core: &Core, from: &mut LineReader<'_>) -> Result<(Both<End>, Both<Leg>), Unreadable> {
    let (end, leg) = side(core, from)?;
    let (other_end, other_leg) = side(core, from)?;
    Ok((Both { caller: end, callee: other_end }, Both { caller: leg, callee: other_leg }))
}

fn side(core: &Core, from: &mut LineReader<'_>) -> Result<(End, Leg), Unreadable> {
    let mut line = from.line("end")?;
    let name: String = line.field()?;
    let network = core.config.networks.iter().position(|network| network.name == name);
    let network = network.ok_or_else(|| Unreadable(format!("there is no network {name} any more")))?;
    let end = End {
        network,
        behind_nat: line.flag()?,
        source: line.option()?,
        registered: Registered { msrp: line.flag()?, bfcp: line.flag()? },
        user: line.option()?,
    };
    let mut line = from.line("leg")?;
    let token: String = line.field()?;
    let (hop, next) = (read_hop(&mut line)?, line.option()?);
    let ours = core.config.networks.get(network).map(|network| own_uri(network, &token));
    let contact = ours.and_then(Result::ok).ok_or_else(|| Unreadable("a Contact cannot be made".into()))?;
    Ok((end, Leg { token, contact, hop, next }))
}

pub(super) fn remote(from: &mut LineReader<'_>, word: &str) -> Result<Remote, Unreadable> {
    let mut line = from.line(word)?;
    Ok(Remote { target: line.option()?, cseq: line.field()?, routes: line.all()? })
}

/// As much of the INVITE as is still needed.
fn invite(call_id: &str, target: Option<Uri>, names: [Option<String>; 2], cseq: u32) -> Option<Message> {
    let [from, to] = names;
    let mut message = Message::request(Method::Invite, target?);
    let headers =
        [("From", from?), ("To", to?), ("Call-ID", call_id.to_owned()), ("CSeq", format!("{cseq} INVITE"))];
    for (name, value) in headers {
        message.push_back(name, &value).ok()?;
    }
    Some(message)
}
