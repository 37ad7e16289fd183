//! A dialog without a call, written down and read again: who subscribed at whom, and the dialogs of its notifiers.
//!
//! A request in one of them that is under way dies with the process; its sender repeats it. The one that began it all is known
//! again then: it goes out as it did before.

use super::call::{remote, sides, write_remote, write_side};
use crate::core::{CallKey, Core};
use crate::subscription::{Began, Subscription, Usage};
use carnet_plan::{Both, Side};
use carnet_wire::{LineReader, LineWriter, Unreadable};

/// The first line. Another number is another form.
pub(super) const FIRST: &str = "carnet subscription 1";

pub(super) fn written(subscription: &Subscription, core: &Core) -> String {
    let mut out = LineWriter::new(FIRST);
    out.line("subscription")
        .field(&subscription.call_id)
        .field(&subscription.subscriber)
        .field(core.wall(subscription.forming))
        .end();
    for side in [Side::Caller, Side::Callee] {
        write_side(&mut out, core, subscription.ends.of(side), subscription.legs.of(side));
    }
    write_remote(&mut out, "home", &subscription.home);
    // Only while it may be repeated.
    if let Some(Began { cseq, target, branch }) =
        subscription.began.as_ref().filter(|_| core.now < subscription.forming)
    {
        out.line("began").field(cseq).option(target.as_ref()).field(branch).end();
    }
    for usage in &subscription.usages {
        out.line("dialog").field(&usage.tag).flag(usage.ended).field(core.wall(usage.until)).end();
        for side in [Side::Caller, Side::Callee] {
            write_remote(&mut out, "remote", usage.remotes.of(side));
        }
    }
    out.finish()
}

/// Reads one, which may be over by now. Its key is given; it is in no table yet.
pub(super) fn read(core: &mut Core, key: CallKey, text: &str) -> Result<Subscription, Unreadable> {
    let mut from = LineReader::new(text, FIRST)?;
    let mut line = from.line("subscription")?;
    let names = (line.field()?, line.field()?);
    let forming = core.moment(line.field()?);
    let (ends, legs) = sides(core, &mut from)?;
    let home = remote(&mut from, "home")?;
    let began = from
        .optional("began")
        .map(|mut line| Ok(Began { cseq: line.field()?, target: line.option()?, branch: line.field()? }));
    let began = began.transpose()?;
    let mut usages = Vec::new();
    while let Some(mut line) = from.optional("dialog") {
        let (tag, ended, until) = (line.field()?, line.flag()?, core.moment(line.field()?));
        // Nobody knows whether its last NOTIFY was answered: it may come again.
        let until = if ended { until.min(core.now + core.linger()) } else { until };
        let remotes = Both { caller: remote(&mut from, "remote")?, callee: remote(&mut from, "remote")? };
        usages.push(Usage { tag, remotes, until, ended: false });
    }
    if usages.len() > core.config.limits.forks {
        return Err(Unreadable("its dialogs are too many".into()));
    }
    if from.peek().is_some() {
        return Err(Unreadable("there is something behind it".into()));
    }
    let first = core.endpoint.name_of_earlier();
    Ok(Subscription::restored((key, first), names, (legs, ends), (home, began, usages), forming))
}
