//! Signals: latching, connecting, disconnecting, beginning and ending TLS, and in conferences decisions about floors (RFC 3525 §7.1.11).
//!
//! All signals of this gateway are brief: they are over as soon as they have been given. So a signal
//! with KeepActive, which is to go on if it is going on, does nothing; a list is given in its order;
//! and completion (`g/sc`, RFC 3525 §E.1.2) is told at once. `tlsbsc/EstBNC` alone goes on: whoever begins
//! TLS begins it on the next connection too, until a Signals descriptor is without it. Leaves out: other types of signals, and
//! signals towards the inside of the context (error 513).

use carnet_h248::{
    Completion, Direction, Name, ObservedEvent, RequestId, Signal, SignalItem, SignalType, Signals, Value,
};

use crate::Function;
use crate::error::Fault;
use crate::package::{Kind, check, check_parameters};

/// What the signals of a command ask for.
#[derive(Debug, Default)]
pub(crate) struct Signalled {
    /// `ipnapt/latch`.
    pub(crate) latch: Option<bool>,
    /// `EstBNC` and `RelBNC` of `tcpbcc` and `tlsbsc`, in order.
    pub(crate) calls: Vec<Call>,
    /// `fcp/decide`, in order.
    pub(crate) decisions: Vec<Decided>,
    /// Those whose end is to be told.
    pub(crate) completed: Vec<Completed>,
}

/// What the controller decides of a floor that the member of the termination asks for or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) floor: u16,
    /// It gets the floor; otherwise it does not, or has it no longer.
    pub(crate) grant: bool,
}

/// A bearer to be made or released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) bearer: Bearer,
    /// On one stream, or on all.
    pub(crate) stream: Option<u16>,
}

/// What [`Call`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// Connect (TCP).
    Connect,
    /// Close the connection.
    Disconnect,
    /// Be the end that begins TLS, now or when the connection stands.
    BeginTls,
    /// Be it if that was asked for before.
    KeepTls,
    /// End TLS, and with it the connection: there is one session of TLS for each.
    EndTls,
}

impl Bearer {
    fn of(signal: &Name) -> Option<Self> {
        let all = [
            ("tcpbcc/EstBNC", Self::Connect),
            ("tcpbcc/RelBNC", Self::Disconnect),
            ("tlsbsc/EstBNC", Self::BeginTls),
            ("tlsbsc/RelBNC", Self::EndTls),
        ];
        all.into_iter().find(|(name, _)| *signal == **name).map(|(_, bearer)| bearer)
    }
}

/// A signal that has been given.
#[derive(Debug)]
pub(crate) struct Completed {
    name: Name,
    pub(crate) stream: Option<u16>,
    list: Option<u16>,
    request_id: Option<RequestId>,
}

/// Checks signals. `streams`: those that the termination will have, if that is known.
pub(crate) fn signalled(
    function: Function,
    signals: &Signals,
    streams: Option<&[u16]>,
) -> Result<Signalled, Fault> {
    let mut out = Signalled::default();
    for item in &signals.0 {
        match item {
            SignalItem::Signal(signal) => out.take(function, signal, None, streams)?,
            SignalItem::List(list) => {
                for signal in &list.signals {
                    out.take(function, signal, Some(list.id), streams)?;
                }
            }
        }
    }
    Ok(out)
}

impl Signalled {
    fn take(
        &mut self,
        function: Function,
        signal: &Signal,
        list: Option<u16>,
        streams: Option<&[u16]>,
    ) -> Result<(), Fault> {
        check_parameters(check(function, Kind::Signal, &signal.name)?, &signal.parameters)?;
        check_common(signal, streams)?;
        let stream = signal.stream.filter(|stream| *stream != 0);
        let bearer = Bearer::of(&signal.name);
        // RFC 3525 §7.1.11: ignored if it is not going on.
        if signal.keep_active {
            let kept = bearer.filter(|bearer| *bearer == Bearer::BeginTls).map(|_| Bearer::KeepTls);
            self.calls.extend(kept.map(|bearer| Call { bearer, stream }));
            return Ok(());
        }
        if signal.name == "ipnapt/latch" {
            // On TCP there is nothing to learn again within one connection, so RELATCH is LATCH.
            let off = signal.value("napt").is_some_and(|how| how.as_str().eq_ignore_ascii_case("OFF"));
            self.latch = Some(!off);
        }
        if signal.name == "fcp/decide" {
            let floor = signal.value("floor").and_then(|floor| u16::try_from(floor.as_u64()?).ok());
            let grant = signal.value("decision").is_some_and(|d| d.as_str().eq_ignore_ascii_case("grant"));
            self.decisions.extend(floor.map(|floor| Decided { floor, grant }));
        }
        self.calls.extend(bearer.map(|bearer| Call { bearer, stream }));
        // The default tells only of signals that were stopped or never began.
        let told = signal.notify_completion.as_deref().unwrap_or_default();
        if told.contains(&Completion::TimeOut) {
            let (name, request_id) = (signal.name.clone(), signal.request_id);
            self.completed.push(Completed { name, stream, list, request_id });
        }
        Ok(())
    }
}

/// What every signal may have.
fn check_common(signal: &Signal, streams: Option<&[u16]>) -> Result<(), Fault> {
    let name = &signal.name;
    match signal.kind {
        None | Some(SignalType::Brief) => {}
        // RFC 3525 §7.1.11: a type that is not the default needs its time.
        Some(SignalType::TimeOut) if signal.duration.is_none() => {
            return Err(Fault::request(457, format!("Missing parameter of {name}: Duration")));
        }
        Some(_) => return Err(Fault::unsupported(513, format!("{name} is brief and nothing else"))),
    }
    if signal.direction.is_some_and(|direction| direction != Direction::External) {
        return Err(Fault::unsupported(513, format!("{name} goes out of the context only")));
    }
    let unknown = |stream| stream != 0 && streams.is_some_and(|streams| !streams.contains(&stream));
    if signal.stream.is_some_and(unknown) {
        return Err(Fault::request(
            410,
            format!("Incorrect identifier: {name} on a stream that is not there"),
        ));
    }
    Ok(())
}

impl Completed {
    /// `g/sc`: it ended by itself.
    pub(crate) fn observed(self) -> ObservedEvent {
        let mut event = ObservedEvent::new("g/sc")
            .parameter("SigID", Value::new(self.name.as_str().to_owned()))
            .parameter("Meth", "TO");
        if let Some(list) = self.list {
            event = event.parameter("SLID", list);
        }
        if let Some(RequestId(id)) = self.request_id {
            event = event.parameter("RID", id);
        }
        match self.stream {
            Some(stream) => event.stream(stream),
            None => event,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(signal: Signal) -> Result<(), u16> {
        signalled(Function::Relay, &Signals::with(signal), Some(&[1])).map(drop).map_err(|fault| fault.code())
    }

    #[test]
    fn what_is_wrong_with_a_signal_has_its_code() {
        let latch = || Signal::new("ipnapt/latch");
        assert_eq!(code(latch()), Ok(()));
        assert_eq!(code(latch().parameter("napt", "relatch")), Ok(()));
        assert_eq!(code(latch().parameter("napt", "MAYBE")), Err(454));
        assert_eq!(code(latch().parameter("nap", "OFF")), Err(446));
        assert_eq!(code(Signal::new("ipnapt/unlatch")), Err(452));
        assert_eq!(code(Signal { kind: Some(SignalType::Brief), ..latch() }), Ok(()));
        assert_eq!(code(Signal { kind: Some(SignalType::TimeOut), ..latch() }), Err(457));
        assert_eq!(code(Signal { kind: Some(SignalType::OnOff), ..latch() }), Err(513));
        assert_eq!(code(Signal { direction: Some(Direction::Both), ..latch() }), Err(513));
        assert_eq!(code(Signal { stream: Some(2), ..latch() }), Err(410));
        assert_eq!(code(Signal { stream: Some(0), ..latch() }), Ok(()));
        assert_eq!(code(Signal::new("tcpbcc/RelBNC").parameter("Generalcause", "XX")), Err(454));
        assert_eq!(code(Signal::new("tcpbcc/EstBNC").parameter("Generalcause", "NR")), Err(446));
    }

    #[test]
    fn a_decision_about_a_floor_is_for_conferences() {
        let signal = |decision: &'static str| {
            Signal::new("fcp/decide").parameter("floor", 3_u16).parameter("decision", decision)
        };
        let given = |signal| signalled(Function::Conference, &Signals::with(signal), Some(&[1]));
        assert_eq!(given(signal("GRANT")).unwrap().decisions, [Decided { floor: 3, grant: true }]);
        assert_eq!(given(signal("refuse")).unwrap().decisions, [Decided { floor: 3, grant: false }]);
        assert_eq!(given(signal("perhaps")).unwrap_err().code(), 454);
        assert_eq!(given(Signal::new("fcp/decide").parameter("floor", 3_u16)).unwrap_err().code(), 457);
        assert!(code(signal("grant")).is_err(), "a relay has no floors");
    }

    #[test]
    fn a_list_is_given_in_its_order_and_what_should_go_on_is_not_begun() {
        let (up, down) = (Signal::new("tcpbcc/EstBNC"), Signal::new("tcpbcc/RelBNC"));
        let kept = Signal { keep_active: true, ..Signal::new("ipnapt/latch") };
        let list = carnet_h248::SignalList { id: 4, signals: vec![down, up] };
        let signals = Signals(vec![SignalItem::List(list), SignalItem::Signal(kept)]);
        let out = signalled(Function::Relay, &signals, None).unwrap();
        let call = |bearer| Call { bearer, stream: None };
        assert_eq!(out.calls, [call(Bearer::Disconnect), call(Bearer::Connect)]);
        assert_eq!(out.latch, None);
        assert!(out.completed.is_empty());
    }
}
