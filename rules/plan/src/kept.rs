//! A context written down by its controller, and read again by the one that comes after it.
//!
//! What is written is what the two ends have agreed on: an offer that is not answered yet dies with the process,
//! and then the context may have to be set back ([`Kept::differs`]).
//!
//! There is no key in it: fingerprints are public, and nothing else of TLS is known here.

use crate::context::{End, Fixed};
use crate::{Both, Carried, Context, Family, Kind, Peer, Side, Transport, Urgency, Watch};
use carnet_h248::{StreamMode, TerminationId};
use carnet_wire::{Fields, LineReader, LineWriter, Unreadable};

/// What was read.
#[derive(Debug)]
pub struct Kept {
    /// The context, as its ends have agreed on it.
    pub context: Context,
    /// The gateway may have been told something else in the end.
    pub differs: bool,
}

impl Context {
    /// Writes it down as its ends agreed on it. One that no gateway has named is not there to be found again.
    pub fn keep(&self, (peers, mode): (&Both<Peer>, StreamMode), out: &mut LineWriter) {
        let Some(id) = self.id else { return };
        let Carried { planned, sealed, urgency } = &self.line;
        let urgency = match urgency {
            Urgency::Normal => "normal",
            Urgency::Priority => "priority",
            Urgency::Emergency => "emergency",
        };
        let watch = self.watch;
        out.line("context")
            .field(&self.gateway)
            .field(id)
            .field(mode_word(mode))
            .flag(!self.is_set_to(peers, mode))
            .flag(*sealed)
            .field(urgency)
            .flag(watch.cause)
            .flag(watch.heartbeat)
            .flag(watch.inactivity)
            .flag(watch.tcp)
            .flag(watch.tls)
            .flag(watch.connections)
            .end();
        for side in [Side::Caller, Side::Callee] {
            let (end, planned) = (self.ends.of(side), planned.of(side));
            let Fixed { realm, family, rate, dscp, heartbeat, inactivity } = &end.fixed;
            out.line("termination")
                .option(end.id.as_ref())
                .option(end.local)
                .option(end.fingerprint.as_ref())
                .field(end.kind.transport)
                .flag(end.kind.tls)
                .field(planned.transport)
                .flag(planned.tls)
                .field(realm)
                .flag(*family == Family::V6)
                .option(rate.map(|(rate, _)| rate))
                .option(rate.map(|(_, burst)| burst))
                .option(*dscp)
                .field(heartbeat)
                .option(*inactivity)
                .end();
            let Peer { remote, role, filter, latch, takes, fingerprints, path, tls_client } = peers.of(side);
            out.line("peer")
                .option(*remote)
                .option(*role)
                .option(*filter)
                .flag(*latch)
                .option(*takes)
                .option(path.as_ref())
                .flag(*tls_client)
                .all(fingerprints)
                .end();
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not what [`Context::keep`] writes.
    pub fn kept(from: &mut LineReader<'_>) -> Result<Kept, Unreadable> {
        let mut line = from.line("context")?;
        let gateway: String = line.field()?;
        let id = line.field()?;
        let mode = mode_of(&line.field::<String>()?)?;
        let (differs, sealed) = (line.flag()?, line.flag()?);
        let urgency = match line.field::<String>()?.as_str() {
            "normal" => Urgency::Normal,
            "priority" => Urgency::Priority,
            "emergency" => Urgency::Emergency,
            other => return Err(Unreadable(format!("`{other}` is no urgency"))),
        };
        let watch = Watch {
            cause: line.flag()?,
            heartbeat: line.flag()?,
            inactivity: line.flag()?,
            tcp: line.flag()?,
            tls: line.flag()?,
            connections: line.flag()?,
        };
        let (caller, of_caller) = end(from)?;
        let (callee, of_callee) = end(from)?;
        let planned = Both { caller: of_caller, callee: of_callee };
        let context = Self {
            gateway: gateway.as_str().into(),
            id: Some(id),
            line: Carried { planned, sealed, urgency },
            ends: Both { caller, callee },
            mode,
            watch,
        };
        Ok(Kept { context, differs })
    }
}

/// A termination, and what the plan said of it.
fn end(from: &mut LineReader<'_>) -> Result<(End, Kind), Unreadable> {
    let mut line = from.line("termination")?;
    let id = line.option::<String>()?.map(TerminationId::new);
    let (local, fingerprint) = (line.option()?, line.option()?);
    let (kind, planned) = (kind(&mut line)?, kind(&mut line)?);
    let realm = line.field()?;
    let family = if line.flag()? { Family::V6 } else { Family::V4 };
    let rate = line.option()?.zip(line.option()?);
    let fixed = Fixed {
        realm,
        family,
        rate,
        dscp: line.option()?,
        heartbeat: line.field()?,
        inactivity: line.option()?,
    };
    let mut line = from.line("peer")?;
    let peer = Peer {
        remote: line.option()?,
        role: line.option()?,
        filter: line.option()?,
        latch: line.flag()?,
        takes: line.option()?,
        path: line.option()?,
        tls_client: line.flag()?,
        fingerprints: line.all()?,
    };
    Ok((End { fixed, id, local, fingerprint, kind, peer }, planned))
}

fn kind(line: &mut Fields<'_>) -> Result<Kind, Unreadable> {
    use Transport::{Tcp, TcpBfcp, TcpMsrp, TcpTls, TcpTlsBfcp, TcpTlsMsrp};
    let word: String = line.field()?;
    let all = [TcpTls, Tcp, TcpMsrp, TcpTlsMsrp, TcpBfcp, TcpTlsBfcp].map(Transport::as_str);
    let transport = all.into_iter().find(|known| *known == word);
    let transport = transport.ok_or_else(|| Unreadable(format!("`{word}` is no transport")))?;
    Ok(Kind { transport, tls: line.flag()? })
}

const MODES: [(StreamMode, &str); 5] = [
    (StreamMode::SendOnly, "sendonly"),
    (StreamMode::ReceiveOnly, "recvonly"),
    (StreamMode::SendReceive, "sendrecv"),
    (StreamMode::Inactive, "inactive"),
    (StreamMode::Loopback, "loopback"),
];

fn mode_word(mode: StreamMode) -> &'static str {
    MODES.iter().find(|(known, _)| *known == mode).map_or("inactive", |(_, word)| word)
}

fn mode_of(word: &str) -> Result<StreamMode, Unreadable> {
    let known = MODES.iter().find(|(_, known)| *known == word);
    known.map(|(mode, _)| *mode).ok_or_else(|| Unreadable(format!("`{word}` is no mode")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::{ActionReply, CommandReply, ContextId, Media, Stream, Verb};
    use carnet_sdp::Setup;

    fn fixed(realm: &str, rate: Option<(u64, u64)>) -> Fixed {
        let (family, dscp, inactivity) = (Family::V6, Some(46), Some(30));
        Fixed { realm: realm.into(), family, rate, dscp, heartbeat: 120, inactivity }
    }

    fn context() -> Context {
        let watch = Watch {
            cause: true,
            heartbeat: false,
            inactivity: true,
            tcp: false,
            tls: true,
            connections: false,
        };
        let planned = Both {
            caller: Kind { transport: "TCP/TLS/MSRP", tls: true },
            callee: Kind { transport: "TCP/MSRP", tls: false },
        };
        let line = Carried { planned, sealed: false, urgency: Urgency::Emergency };
        let on = ("agw".into(), watch);
        let mut context = Context::new(on, None, line, (fixed("a", Some((5, 6))), fixed("b\t", None)));
        let peers = Both {
            caller: Peer {
                remote: Some("192.0.2.1:9".parse().unwrap()),
                role: Some(Setup::Passive),
                filter: Some("192.0.2.1".parse().unwrap()),
                latch: true,
                takes: Some(7),
                fingerprints: vec!["SHA-256 AA:BB".into(), "SHA-512 CC".into()],
                path: Some("msrps://a:1/x;tcp".into()),
                tls_client: true,
            },
            callee: Peer::default(),
        };
        context.add(Side::Caller, peers, 1);
        let reply = |name: &'static str, sdp: &str| {
            let media = Media::with_stream(Stream::new(1).local(sdp.to_owned()));
            CommandReply::new(Verb::Add, name).with(media)
        };
        let print = format!("a=fingerprint:SHA-256 {}\r\n", vec!["4A"; 32].join(":"));
        let sdp = |port| format!("v=0\r\nc=IN IP6 2001:db8::1\r\nm=- {port} TCP -\r\n");
        let replies = vec![reply("ip/1/a/1", &format!("{}{print}", sdp(5))), reply("ip/1/b/2", &sdp(6))];
        context.added(Side::Caller, &[ActionReply::new(ContextId::Id(77), replies)]).unwrap();
        context
    }

    fn there_and_back(context: &Context, setting: (&Both<Peer>, StreamMode)) -> Kept {
        let mut out = LineWriter::new("test");
        context.keep(setting, &mut out);
        let text = out.finish();
        let mut reader = LineReader::new(&text, "test").unwrap();
        let kept = Context::kept(&mut reader).unwrap();
        assert!(reader.peek().is_none());
        kept
    }

    #[test]
    fn a_context_is_the_same_again() {
        let mut context = context();
        let (peers, mode) = context.setting();
        let kept = there_and_back(&context, (&peers, mode));
        assert_eq!((&kept.context, kept.differs), (&context, false));
        assert_eq!(kept.context.subtract(), context.subtract());
        // An offer is under way: what was agreed is kept.
        let before = context.clone();
        context.modify(Both::default(), StreamMode::SendReceive);
        let kept = there_and_back(&context, (&peers, mode));
        assert_eq!((&kept.context, kept.differs), (&before, true));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let context = context();
        let (peers, mode) = context.setting();
        let mut out = LineWriter::new("test");
        context.keep((&peers, mode), &mut out);
        let text = out.finish();
        for (from, to) in [("emergency", "odd"), ("TCP/MSRP", "UDP"), ("inactive", "on"), ("peer", "pear")] {
            let text = text.replace(from, to);
            let read = Context::kept(&mut LineReader::new(&text, "test").unwrap());
            assert!(read.is_err(), "{from}");
        }
    }
}
