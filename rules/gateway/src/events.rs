//! Events a controller may ask for: their parameters, and what is told when they happen.

use std::net::SocketAddr;
use std::time::Duration;

use carnet_h248::{Events, Name, NotifyBehaviour, ObservedEvent, ParameterValue, RequestedEvent, Value};

use crate::error::Fault;
use crate::media::{Cause, Direction};
use crate::package::{Kind, check};

/// `timerx` beyond this is an error (the range that deployed gateways document).
const LONGEST_HEARTBEAT: u64 = 2_147_480;

/// Checks an Events descriptor. `root`: of ROOT, which has events of its own.
pub(crate) fn check_events(events: &Events, root: bool) -> Result<(), Fault> {
    for event in &events.events {
        check(Kind::Event, &event.name)?;
        if (event.name == "it/ito") != root {
            return Err(Fault::request(512, format!("{} cannot be detected there", event.name)));
        }
        if event.embed.is_some() || event.digit_map.is_some() || event.reset_events {
            return Err(Fault::unsupported(501, "Not implemented: embedded descriptors and digit maps"));
        }
        let known: &[&str] = match event.name.item().to_ascii_lowercase().as_str() {
            "thb" => &["timerx"],
            "ipstop" => &["dt", "dir"],
            "bncchange" => &["Type"],
            "ito" => &["mit"],
            _ => &[],
        };
        if let Some(unknown) = event.parameters.iter().find(|p| !known.iter().any(|k| p.name == **k)) {
            return Err(Fault::request(
                446,
                format!("Unknown parameter of {}: {}", event.name, unknown.name),
            ));
        }
    }
    if let Some(event) = events.find("hangterm/thb") {
        heartbeat(event)?;
    }
    if let Some(event) = events.find("it/ito") {
        silence(event)?;
    }
    events.events.iter().filter(|e| e.name == "adid/ipstop").try_for_each(|e| inactivity(e).map(drop))
}

fn number(event: &RequestedEvent, name: &str) -> Result<u64, Fault> {
    let missing = || Fault::request(457, format!("Missing parameter of {}: {name}", event.name));
    let value = event.value(name).ok_or_else(missing)?;
    value.as_u64().ok_or_else(|| bad_value(event, name, value))
}

fn bad_value(event: &RequestedEvent, name: &str, value: &Value) -> Fault {
    Fault::request(454, format!("No such value of {} of {}: {value}", name, event.name))
}

/// `hangterm/thb`: seconds, 0 switches it off.
pub(crate) fn heartbeat(event: &RequestedEvent) -> Result<Option<Duration>, Fault> {
    match number(event, "timerx")? {
        0 => Ok(None),
        seconds @ ..=LONGEST_HEARTBEAT => Ok(Some(Duration::from_secs(seconds))),
        seconds => Err(bad_value(event, "timerx", &Value::from(seconds))),
    }
}

/// `it/ito`: how long the controller may be silent, in units of 10 ms; 0 switches it off.
pub(crate) fn silence(event: &RequestedEvent) -> Result<Option<Duration>, Fault> {
    let units = number(event, "mit")?;
    let units = u32::try_from(units).map_err(|_| bad_value(event, "mit", &Value::from(units)))?;
    Ok((units > 0).then(|| Duration::from_millis(10) * units))
}

/// `adid/ipstop`.
pub(crate) fn inactivity(event: &RequestedEvent) -> Result<(Duration, Direction), Fault> {
    let seconds = number(event, "dt")?;
    if seconds == 0 || seconds > u64::from(u32::MAX) {
        return Err(bad_value(event, "dt", &Value::from(seconds)));
    }
    let direction = match event.value("dir") {
        None => Direction::Both,
        Some(value) => match value.as_str().to_ascii_uppercase().as_str() {
            "IN" => Direction::In,
            "OUT" => Direction::Out,
            "BOTH" => Direction::Both,
            _ => return Err(bad_value(event, "dir", value)),
        },
    };
    Ok((Duration::from_secs(seconds), direction))
}

/// The request for an event, if the controller wants to hear of it on that stream.
pub(crate) fn wanted<'a>(events: &'a Events, name: &str, stream: u16) -> Option<&'a RequestedEvent> {
    events.events.iter().find(|event| {
        event.name == *name
            && event.stream.is_none_or(|id| id == stream)
            && event.notify != Some(NotifyBehaviour::Never)
    })
}

/// Whether the request for `BNCChange` names this type; without a list it means all.
pub(crate) fn wants_type(event: &RequestedEvent, wanted: &str) -> bool {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(event: RequestedEvent, root: bool) -> Result<(), u16> {
        check_events(&Events::new(1).event(event), root).map_err(|fault| fault.code())
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
        assert_eq!(silence(&ito).unwrap(), Some(Duration::from_secs(3)));
        assert_eq!(code(ito, false), Err(512));
    }

    #[test]
    fn a_list_of_types_limits_what_is_told() {
        let all = RequestedEvent::new("tcpbcc/BNCChange");
        assert!(wants_type(&all, "EST") && wants_type(&all, "REL"));
        let released = all.parameter("Type", "REL");
        assert!(!wants_type(&released, "EST") && wants_type(&released, "rel"));
    }
}
