//! The bindings of one user, written down and read again.

use super::{read_hop, write_hop};
use crate::core::Core;
use crate::registrar::{Binding, Lasting};
use carnet_plan::Registered;
use carnet_wire::{LineReader, LineWriter, Unreadable};
use std::time::Instant;

/// The first line.
pub(super) const FIRST: &str = "carnet user 1";

/// `None` if there is no binding.
pub(super) fn written(core: &Core, key: &str) -> Option<String> {
    let bindings = core.registrar.of(key);
    if bindings.is_empty() {
        return None;
    }
    let mut out = LineWriter::new(FIRST);
    for binding in bindings {
        let Lasting { instance, token, expires, call_id, cseq } = binding.lasting();
        let network = core.config.networks.get(binding.network).map(|network| network.name.as_str());
        let line = out.line("binding").field(&binding.aor).field(&binding.contact);
        write_hop(line, Some(&binding.hop))
            .option(network)
            .flag(binding.behind_nat)
            .flag(binding.registered.msrp)
            .flag(binding.registered.bfcp)
            .field(binding.q)
            .option(instance)
            .option(token)
            .field(core.wall(expires))
            .field(call_id)
            .field(cseq)
            .end();
        out.line("path").all(&binding.path).end();
        out.line("service-route").all(&binding.service_route).end();
    }
    Some(out.finish())
}

/// The bindings that have not run out.
pub(super) fn read(core: &Core, now: Instant, text: &str) -> Result<Vec<Binding>, Unreadable> {
    let mut from = LineReader::new(text, FIRST)?;
    let mut bindings = Vec::new();
    while let Some(mut line) = from.optional("binding") {
        let (aor, contact) = (line.field()?, line.field::<carnet_sip::Uri>()?);
        let hop = read_hop(&mut line)?.ok_or_else(|| Unreadable("a terminal is nowhere".into()))?;
        let name: String = line.field()?;
        let network = core.config.networks.iter().position(|network| network.name == name);
        let network = network.ok_or_else(|| Unreadable(format!("there is no network {name} any more")))?;
        let behind_nat = line.flag()?;
        let registered = Registered { msrp: line.flag()?, bfcp: line.flag()? };
        let (q, instance, token) = (line.field()?, line.option::<String>()?, line.option::<String>()?);
        let expires = core.moment(line.field()?);
        let (call_id, cseq) = (line.field::<String>()?, line.field()?);
        let lasting = Lasting {
            instance: instance.as_deref(),
            token: token.as_deref(),
            expires,
            call_id: &call_id,
            cseq,
        };
        let path = from.line("path")?.all()?;
        let service_route = from.line("service-route")?.all()?;
        let binding = Binding::restored(
            (aor, contact, hop, network),
            (behind_nat, registered, q),
            (path, service_route),
            lasting,
        );
        if expires > now {
            bindings.push(binding);
        }
    }
    match from.peek() {
        Some(_) => Err(Unreadable("there is something behind it".into())),
        None => Ok(bindings),
    }
}
