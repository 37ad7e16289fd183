//! The Events descriptor: what a controller may ask for, and whether something that happened was asked
//! for (RFC 3525 §7.1.9).
//!
//! Leaves out: digit maps and the EventBuffer (TS 29.334 table 5.7.1.2: not used).

use std::net::SocketAddr;
use std::time::Duration;

use carnet_h248::{
    Embed, Events, Name, NotifyBehaviour, ObservedEvent, ParameterValue, RequestedEvent, Signals, Value,
};

use crate::Function;
use crate::error::Fault;
use crate::media::{Cause, Direction, TlsFailure};
use crate::package::{Kind, Supported, check, check_package, check_parameters, items};

/// Checks an Events descriptor. `root`: of ROOT, which has events of its own. `signals` checks an embedded
/// Signals descriptor.
pub(crate) fn check_events(
    function: Function,
    events: &Events,
    root: bool,
    signals: &dyn Fn(&Signals) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for event in &events.events {
        check_event(function, event, root)?;
        let regulated = match &event.notify {
            Some(NotifyBehaviour::Regulated(embed)) => embed.as_ref(),
            _ => None,
        };
        for embed in event.embed.iter().chain(regulated) {
            if root {
                return Err(Fault::request(447, "Descriptors cannot be embedded in events of ROOT"));
            }
            embed.signals.as_ref().map_or(Ok(()), signals)?;
            let Some(inner) = &embed.events else { continue };
            for event in &inner.events {
                check_event(function, event, root)?;
                let deeper = event.embed.as_ref();
                // RFC 3525 §7.1.9: one level, but Signals may be inside it.
                if deeper.is_some_and(|e| e.events.is_some()) {
                    return Err(Fault::request(447, "An embedded Events descriptor is inside another"));
                }
                deeper.and_then(|e| e.signals.as_ref()).map_or(Ok(()), signals)?;
            }
        }
    }
    Ok(())
}

fn check_event(function: Function, event: &RequestedEvent, root: bool) -> Result<(), Fault> {
    if event.digit_map.is_some() {
        return Err(Fault::unsupported(501, "Not implemented: digit maps"));
    }
    let kind = if root { Kind::RootEvent } else { Kind::Event };
    if event.name.item() != "*" {
        return check_parameters(check(function, kind, &event.name)?, &event.parameters);
    }
    let package = event.name.package();
    if package != "*" {
        check_package(function, package, &event.name)?;
    }
    if let Some(parameter) = event.parameters.first() {
        let text = format!("Unknown parameter of {}: {}", event.name, parameter.name);
        return Err(Fault::request(446, text));
    }
    let mut covered = items(function, kind).filter(|item| covers(&event.name, item)).peekable();
    if covered.peek().is_none() {
        return Err(Fault::unsupported(451, format!("No such event: {}", event.name)));
    }
    // A wildcard names no parameters, so it asks for the events that do without.
    if covered.any(does_without) {
        return Ok(());
    }
    Err(Fault::request(457, format!("{}: its events need parameters", event.name)))
}

/// Whether a name with `*` for the item, or for both, names that event.
fn covers(wanted: &Name, item: &Supported) -> bool {
    let (package, _) = item.name.split_once('/').unwrap_or((item.name, ""));
    wanted.item() == "*" && (wanted.package() == "*" || wanted.package().eq_ignore_ascii_case(package))
}

fn does_without(item: &Supported) -> bool {
    !item.parameters.iter().any(|p| p.required)
}

fn number(event: &RequestedEvent, name: &str) -> Option<u64> {
    event.value(name)?.as_u64()
}

/// `hangterm/thb`: seconds, 0 switches it off.
pub(crate) fn heartbeat(event: &RequestedEvent) -> Option<Duration> {
    number(event, "timerx").filter(|n| *n > 0).map(Duration::from_secs)
}

/// `it/ito`: how long the controller may be silent, in units of 10 ms; 0 switches it off.
pub(crate) fn silence(event: &RequestedEvent) -> Option<Duration> {
    let units = u32::try_from(number(event, "mit")?).ok()?;
    (units > 0).then(|| Duration::from_millis(10) * units)
}

/// `adid/ipstop`.
pub(crate) fn inactivity(event: &RequestedEvent) -> Option<(Duration, Direction)> {
    let direction = match event.value("dir").map(|v| v.as_str().to_ascii_uppercase()).as_deref() {
        Some("IN") => Direction::In,
        Some("OUT") => Direction::Out,
        _ => Direction::Both,
    };
    Some((Duration::from_secs(number(event, "dt")?), direction))
}

/// The request for something that happened, if the controller asked for it on that stream: by its name,
/// or by a wildcard if it needs no parameters. Stream 0 is any (RFC 3525 §7.1.9).
pub(crate) fn wanted<'a>(events: &'a Events, seen: &ObservedEvent) -> Option<&'a RequestedEvent> {
    let stream = seen.stream.unwrap_or(0);
    let here = |e: &&RequestedEvent| e.stream.is_none_or(|id| id == 0 || stream == 0 || id == stream);
    let kind = seen.value("Type").filter(|_| seen.name.item().eq_ignore_ascii_case("BNCChange"));
    let named = |e: &&RequestedEvent| e.name == seen.name && kind.is_none_or(|k| wants_type(e, k.as_str()));
    events.events.iter().filter(here).find(named).or_else(|| {
        let mut all =
            [Kind::Event, Kind::RootEvent].into_iter().flat_map(|kind| items(Function::Conference, kind));
        let item = all.find(|item| seen.name == *item.name).filter(|item| does_without(item))?;
        events.events.iter().filter(here).find(|event| covers(&event.name, item))
    })
}

/// What takes effect when an event is recognized, and what when it is told besides.
pub(crate) fn embedded(event: &RequestedEvent, told: bool) -> impl Iterator<Item = &Embed> {
    let regulated = match &event.notify {
        Some(NotifyBehaviour::Regulated(embed)) if told => embed.as_ref(),
        _ => None,
    };
    event.embed.iter().chain(regulated)
}

/// Whether the request for `BNCChange` names this type; without a list it means all.
fn wants_type(event: &RequestedEvent, wanted: &str) -> bool {
    let is = |value: &Value| value.as_str().eq_ignore_ascii_case(wanted);
    let list = event.parameters.iter().find(|p| p.name == "Type");
    match list.map(|p| &p.value) {
        None => true,
        Some(ParameterValue::Equal(value)) => is(value),
        Some(ParameterValue::AnyOf(values) | ParameterValue::AllOf(values)) => values.iter().any(is),
        Some(_) => false,
    }
}

/// `adr/rsac`: the address a latch found.
pub(crate) fn latched(peer: SocketAddr) -> ObservedEvent {
    let address = Value::Quoted(peer.ip().to_string().into());
    ObservedEvent::new(Name::from("adr/rsac")).parameter("nrsa", address).parameter("nrsp", peer.port())
}

/// General cause (RFC 3525 E.1.2) and a word for people.
pub(crate) fn general_cause(cause: Cause) -> (&'static str, &'static str) {
    match cause {
        Cause::Normal => ("NR", "closed"),
        Cause::Released => ("NR", "released"),
        Cause::Reset => ("FT", "reset_by_peer"),
        Cause::ConnectFailed => ("FP", "connect_failed"),
        Cause::NobodyCame => ("FT", "nobody_connected"),
        Cause::FarSide => ("FT", "far_side_failed"),
        Cause::Tls(TlsFailure::Identity) => ("FT", "tls_unknown_identity"),
        Cause::Tls(TlsFailure::Key) => ("FT", "tls_wrong_key"),
        Cause::Tls(TlsFailure::NothingInCommon) => ("FT", "tls_nothing_in_common"),
        Cause::Tls(TlsFailure::Refused) => ("FT", "tls_refused"),
        Cause::Tls(TlsFailure::Timeout) => ("FT", "tls_timeout"),
        Cause::Tls(TlsFailure::Protocol) => ("FT", "tls_protocol"),
        Cause::Tls(TlsFailure::Ours) => ("FP", "tls_key_unusable"),
        Cause::Tls(TlsFailure::Fingerprint) => ("FT", "tls_fingerprint_mismatch"),
        Cause::Tls(TlsFailure::NoCertificate) => ("FT", "tls_no_certificate"),
        Cause::Tls(TlsFailure::NoFingerprint) => ("FT", "tls_no_fingerprint"),
        Cause::Tls(TlsFailure::Truncated) => ("FT", "tls_truncated"),
        Cause::NotMsrp => ("FT", "not_msrp"),
        Cause::NotTls => ("FT", "not_tls"),
        Cause::Endpoint => ("NR", "released_from_the_conference"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(event: RequestedEvent, root: bool) -> Result<(), u16> {
        check_events(Function::Relay, &Events::new(1).event(event), root, &|_| Ok(()))
            .map_err(|fault| fault.code())
    }

    #[test]
    fn parameters_are_checked() {
        let thb = |value: u32| RequestedEvent::new("hangterm/thb").parameter("timerx", value);
        assert_eq!(code(thb(120), false), Ok(()));
        assert_eq!(code(thb(2_147_481), false), Err(454));
        assert_eq!(code(RequestedEvent::new("hangterm/thb"), false), Err(457));
        assert_eq!(code(thb(1).parameter("colour", 1u8), false), Err(446));
        assert_eq!(code(thb(1), true), Err(512));
        let stop = RequestedEvent::new("adid/ipstop").parameter("dt", 60u8);
        assert_eq!(inactivity(&stop).unwrap(), (Duration::from_secs(60), Direction::Both));
        assert_eq!(code(stop.parameter("dir", "UP"), false), Err(454));
        let ito = RequestedEvent::new("it/ito").parameter("mit", 300u16);
        assert_eq!(silence(&ito).unwrap(), Duration::from_secs(3));
        assert_eq!(code(ito, false), Err(512));
    }

    #[test]
    fn wildcards_ask_for_what_needs_no_parameters() {
        let event = |name: &'static str| RequestedEvent::new(name);
        assert_eq!(code(event("tcpbcc/*"), false), Ok(()));
        assert_eq!(code(event("*/*"), false), Ok(()));
        assert_eq!(code(event("*/*"), true), Ok(()));
        assert_eq!(code(event("hangterm/*"), false), Err(457));
        assert_eq!(code(event("ds/*"), false), Err(451));
        assert_eq!(code(event("al/*"), false), Err(440));
        assert_eq!(code(event("g/*").parameter("x", 1u8), false), Err(446));
        let all = Events::new(1).event(event("*/*")).event(event("g/cause"));
        let found = |name: &'static str| wanted(&all, &ObservedEvent::new(name)).map(|e| e.name.as_str());
        assert_eq!(found("g/cause"), Some("g/cause"));
        assert_eq!(found("tcpbcc/BNCChange"), Some("*/*"));
        assert_eq!(found("hangterm/thb"), None);
    }

    #[test]
    fn a_stream_limits_an_event() {
        let on = |stream| {
            let event = RequestedEvent { stream, ..RequestedEvent::new("g/cause") };
            wanted(&Events::new(1).event(event), &ObservedEvent::new("g/cause").stream(1)).is_some()
        };
        assert!(on(None) && on(Some(0)) && on(Some(1)) && !on(Some(2)));
    }

    #[test]
    fn descriptors_are_embedded_one_level_deep() {
        let with = |events: Option<Events>| {
            let embed = Some(Embed { signals: None, events });
            RequestedEvent { embed, ..RequestedEvent::new("g/cause") }
        };
        let inner = |event| Some(Events::new(2).event(event));
        assert_eq!(code(with(inner(RequestedEvent::new("g/cause"))), false), Ok(()));
        assert_eq!(code(with(inner(RequestedEvent::new("g/nonsense"))), false), Err(451));
        assert_eq!(code(with(inner(with(inner(RequestedEvent::new("g/cause"))))), false), Err(447));
        assert_eq!(code(with(None), true), Err(512));
        let refusing = |_: &Signals| Err(Fault::request(452, "no"));
        let embed = Some(Embed { signals: Some(Signals::default()), events: None });
        let events = Events::new(1).event(RequestedEvent { embed, ..RequestedEvent::new("g/cause") });
        assert_eq!(check_events(Function::Relay, &events, false, &refusing).unwrap_err().code(), 452);
    }

    #[test]
    fn a_list_of_types_limits_what_is_told() {
        let seen = |kind: &'static str| ObservedEvent::new("tcpbcc/BNCChange").parameter("Type", kind);
        let all = RequestedEvent::new("tcpbcc/BNCChange");
        let events = Events::new(1).event(all.clone());
        assert!(wanted(&events, &seen("EST")).is_some() && wanted(&events, &seen("REL")).is_some());
        let released = Events::new(1).event(all.clone().parameter("Type", "REL"));
        assert!(wanted(&released, &seen("EST")).is_none() && wanted(&released, &seen("rel")).is_some());
        let both = released.event(all.parameter("Type", "EST"));
        assert_eq!(wanted(&both, &seen("EST")), both.events.get(1));
    }
}
