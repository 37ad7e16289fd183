//! Descriptors as text.

use super::super::descriptor::has_keyword_values;
use super::super::keyword::Keyword as K;
use super::{Printer, on_off, put};
use crate::model::{
    Audit, AuditItem, Completion, Descriptor, DigitMap, Direction, Embed, EventBufferControl, Events,
    LocalControl, Media, Method, Modem, Mux, Name, NotifyBehaviour, ObservedEvent, PackageVersion,
    ParameterValue, RequestId, RequestedEvent, Selector, ServiceChange, ServiceChangeAddress, ServiceState,
    SessionDescription, Signal, SignalItem, SignalType, Signals, Statistic, Stream, StreamMode,
    TerminationState, Value,
};
use std::io::Write as _;

impl Printer {
    pub(super) fn descriptor(&mut self, descriptor: &Descriptor) {
        match descriptor {
            Descriptor::Media(media) => self.media(media),
            Descriptor::Modem(modem) => self.modem(modem),
            Descriptor::Mux(mux) => self.mux(mux),
            Descriptor::Events(events) => self.events(events),
            Descriptor::EventBuffer(list) => {
                self.word(K::EventBuffer);
                if !list.is_empty() {
                    self.observed_list(list);
                }
            }
            // Of an audit, in which every version has the name alone.
            Descriptor::Signals(signals) if self.reply && signals.0.is_empty() => self.word(K::Signals),
            Descriptor::Signals(signals) => self.signals(signals),
            Descriptor::DigitMap(map) => self.digit_map(map),
            Descriptor::Audit(audit) => self.audit(audit),
            Descriptor::Statistics(list) => self.statistics(list),
            Descriptor::ObservedEvents(observed) => {
                self.word(K::ObservedEvents);
                self.equal();
                self.request_id(observed.request_id);
                self.observed_list(&observed.events);
            }
            Descriptor::Packages(list) => self.packages(list),
            Descriptor::ServiceChange(parameters) => self.services(parameters),
            Descriptor::Error(error) => self.error(error),
            Descriptor::Empty(token) => self.word(token.keyword()),
        }
    }

    fn media(&mut self, media: &Media) {
        self.word(K::Media);
        self.open();
        if let Some(state) = &media.termination_state {
            self.termination_state(state);
        }
        for stream in &media.streams {
            if media.implied_stream {
                self.stream_parameters(stream);
                break;
            }
            self.number(K::Stream, stream.id);
            self.open();
            self.stream_parameters(stream);
            self.close();
        }
        self.close();
    }

    fn termination_state(&mut self, state: &TerminationState) {
        self.item();
        self.word(K::TerminationState);
        self.open();
        self.properties(&state.properties);
        if let Some(service) = state.service_state {
            let value = match service {
                ServiceState::Test => K::Test,
                ServiceState::OutOfService => K::OutOfService,
                ServiceState::InService => K::InService,
            };
            self.choice(K::ServiceStates, value);
        }
        if let Some(control) = state.event_buffer {
            let value = match control {
                EventBufferControl::Off => K::Off,
                EventBufferControl::LockStep => K::LockStep,
            };
            self.choice(K::Buffer, value);
        }
        self.close();
    }

    fn stream_parameters(&mut self, stream: &Stream) {
        if let Some(control) = &stream.local_control {
            self.local_control(control);
        }
        if let Some(sdp) = &stream.local {
            self.session_description(K::Local, sdp);
        }
        if let Some(sdp) = &stream.remote {
            self.session_description(K::Remote, sdp);
        }
        if let Some(list) = &stream.statistics {
            self.item();
            self.statistics(list);
        }
    }

    fn local_control(&mut self, control: &LocalControl) {
        self.item();
        self.word(K::LocalControl);
        self.open();
        if let Some(mode) = control.mode {
            let value = match mode {
                StreamMode::SendOnly => K::SendOnly,
                StreamMode::ReceiveOnly => K::ReceiveOnly,
                StreamMode::SendReceive => K::SendReceive,
                StreamMode::Inactive => K::Inactive,
                StreamMode::Loopback => K::Loopback,
            };
            self.choice(K::Mode, value);
        }
        if let Some(on) = control.reserve_value {
            self.choice(K::ReservedValue, on_off(on));
        }
        if let Some(on) = control.reserve_group {
            self.choice(K::ReservedGroup, on_off(on));
        }
        self.properties(&control.properties);
        self.close();
    }

    fn session_description(&mut self, keyword: K, sdp: &SessionDescription) {
        self.item();
        self.word(keyword);
        self.str(if self.long { " {\n" } else { "{\n" });
        self.octets(sdp.as_bytes());
        self.str("}");
    }

    /// An octet string: the closing brace is escaped.
    fn octets(&mut self, mut rest: &[u8]) {
        while let Some(brace) = memchr::memchr(b'}', rest) {
            let (before, after) = rest.split_at(brace);
            self.out.extend_from_slice(before);
            self.str("\\}");
            rest = after.get(1..).unwrap_or_default();
        }
        self.out.extend_from_slice(rest);
    }

    fn statistics(&mut self, list: &[Statistic]) {
        self.word(K::Statistics);
        if list.is_empty() {
            return;
        }
        self.open();
        for statistic in list {
            self.item();
            self.ident(statistic.name.as_bytes());
            match statistic.values.as_slice() {
                [] => {}
                [one] => {
                    self.equal();
                    self.value(one);
                }
                list => {
                    self.equal();
                    self.values(b'[', list, b']');
                }
            }
        }
        self.close();
    }

    fn modem(&mut self, modem: &Modem) {
        self.word(K::Modem);
        match modem.kinds.as_slice() {
            [one] => {
                self.equal();
                self.kind(one);
            }
            list => {
                self.out.push(b'[');
                for (i, kind) in list.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.kind(kind);
                }
                self.out.push(b']');
            }
        }
        if !modem.properties.is_empty() {
            self.open();
            self.properties(&modem.properties);
            self.close();
        }
    }

    /// A type of multiplex or modem, of which some have a short spelling.
    fn kind(&mut self, kind: &Name) {
        match K::find(kind.as_str().as_bytes()) {
            Some(keyword @ (K::SynchIsdn | K::Nx64)) => self.word(keyword),
            _ => self.ident(kind.as_bytes()),
        }
    }

    fn mux(&mut self, mux: &Mux) {
        self.word(K::Mux);
        self.equal();
        self.kind(&mux.kind);
        self.str(if self.long { " {" } else { "{" });
        self.termination_list(&mux.terminations);
        self.str("}");
    }

    fn digit_map(&mut self, map: &DigitMap) {
        self.word(K::DigitMap);
        self.equal();
        if let Some(name) = &map.name {
            self.ident(name.as_bytes());
        }
        if map.value.is_some() || map.name.is_none() {
            self.out.push(b'{');
            let value = map.value.as_deref().unwrap_or_default();
            let fits = |b: u8| matches!(b, b' '..=b'|' | b'~' | b'\t' | b'\r' | b'\n');
            let clean = |b: u8| if fits(b) { b } else { b' ' };
            self.out.extend(value.bytes().map(clean));
            self.out.push(b'}');
        }
    }

    fn packages(&mut self, list: &[PackageVersion]) {
        self.word(K::Packages);
        if list.is_empty() {
            return;
        }
        self.open();
        for package in list {
            self.item();
            self.ident(package.name.as_bytes());
            put!(self, "-{}", package.version);
        }
        self.close();
    }

    fn events(&mut self, events: &Events) {
        self.word(K::Events);
        let Some(id) = events.request_id.filter(|_| !events.events.is_empty()) else { return };
        self.equal();
        self.request_id(id);
        self.open();
        for event in &events.events {
            self.item();
            self.requested_event(event);
        }
        self.close();
    }

    fn requested_event(&mut self, event: &RequestedEvent) {
        self.ident(event.name.as_bytes());
        let bare = event.stream.is_none()
            && !event.keep_active
            && event.digit_map.is_none()
            && event.embed.is_none()
            && event.notify.is_none()
            && !event.reset_events
            && event.parameters.is_empty();
        if bare {
            return;
        }
        self.open();
        self.flag(K::KeepActive, event.keep_active);
        if let Some(stream) = event.stream {
            self.number(K::Stream, stream);
        }
        if let Some(map) = &event.digit_map {
            self.item();
            self.digit_map(map);
        }
        self.properties(&event.parameters);
        if let Some(embed) = &event.embed {
            self.item();
            self.embed(embed);
        }
        match &event.notify {
            Some(NotifyBehaviour::Immediate) => self.flag(K::ImmediateNotify, true),
            Some(NotifyBehaviour::Never) => self.flag(K::NeverNotify, true),
            Some(NotifyBehaviour::Regulated(embed)) => {
                self.flag(K::RegulatedNotify, true);
                if let Some(embed) = embed {
                    self.open();
                    self.item();
                    self.embed(embed);
                    self.close();
                }
            }
            None => {}
        }
        self.flag(K::ResetEventsDescriptor, event.reset_events);
        self.close();
    }

    fn request_id(&mut self, id: RequestId) {
        if id == RequestId::ALL { self.out.push(b'*') } else { self.decimal(id.0) }
    }

    fn embed(&mut self, embed: &Embed) {
        self.word(K::Embed);
        self.open();
        if let Some(signals) = &embed.signals {
            self.item();
            self.signals(signals);
        }
        if let Some(events) = &embed.events {
            self.item();
            self.events(events);
        }
        self.close();
    }

    fn observed_list(&mut self, list: &[ObservedEvent]) {
        self.open();
        for event in list {
            self.item();
            if let Some(timestamp) = event.timestamp {
                put!(self, "{timestamp}:");
            }
            self.ident(event.name.as_bytes());
            if event.stream.is_some() || !event.parameters.is_empty() {
                self.open();
                if let Some(stream) = event.stream {
                    self.number(K::Stream, stream);
                }
                self.properties(&event.parameters);
                self.close();
            }
        }
        self.close();
    }

    fn signals(&mut self, signals: &Signals) {
        self.word(K::Signals);
        // Version 1 has braces round nothing, later ones have nothing (corrected in the
        // implementors' guide).
        if signals.0.is_empty() && self.version > 1 {
            return;
        }
        self.open();
        for item in &signals.0 {
            self.item();
            match item {
                SignalItem::Signal(signal) => self.signal(signal),
                SignalItem::List(list) => {
                    self.word(K::SignalList);
                    self.equal();
                    put!(self, "{}", list.id);
                    self.open();
                    for signal in &list.signals {
                        self.item();
                        self.signal(signal);
                    }
                    self.close();
                }
            }
        }
        self.close();
    }

    fn signal(&mut self, signal: &Signal) {
        self.ident(signal.name.as_bytes());
        let bare = signal.stream.is_none()
            && signal.kind.is_none()
            && signal.duration.is_none()
            && signal.notify_completion.is_none()
            && !signal.keep_active
            && signal.direction.is_none()
            && signal.request_id.is_none()
            && signal.intersignal_delay.is_none()
            && signal.parameters.is_empty();
        if bare {
            return;
        }
        self.open();
        if let Some(stream) = signal.stream {
            self.number(K::Stream, stream);
        }
        if let Some(kind) = signal.kind {
            let value = match kind {
                SignalType::OnOff => K::OnOff,
                SignalType::TimeOut => K::TimeOut,
                SignalType::Brief => K::Brief,
            };
            self.choice(K::SignalType, value);
        }
        if let Some(duration) = signal.duration {
            self.number(K::Duration, duration);
        }
        if let Some(list) = &signal.notify_completion {
            self.item();
            self.word(K::NotifyCompletion);
            self.equal();
            self.out.push(b'{');
            for (i, completion) in list.iter().enumerate() {
                if i > 0 {
                    self.out.push(b',');
                }
                self.word(match completion {
                    Completion::TimeOut => K::TimeOut,
                    Completion::InterruptByEvent => K::IntByEvent,
                    Completion::InterruptBySignals => K::IntBySignals,
                    Completion::Other => K::OtherReason,
                    Completion::Iteration => K::Iteration,
                });
            }
            self.out.push(b'}');
        }
        self.flag(K::KeepActive, signal.keep_active);
        if let Some(direction) = signal.direction {
            let value = match direction {
                Direction::External => K::External,
                Direction::Internal => K::Internal,
                Direction::Both => K::Both,
            };
            self.choice(K::SpaDirection, value);
        }
        if let Some(id) = signal.request_id {
            self.pair(K::SpaRequestId, id);
        }
        if let Some(delay) = signal.intersignal_delay {
            self.number(K::IntersignalDelay, delay);
        }
        self.properties(&signal.parameters);
        self.close();
    }

    fn audit(&mut self, audit: &Audit) {
        self.word(K::Audit);
        self.open();
        self.audit_items(&audit.0);
        self.close();
    }

    fn audit_items(&mut self, list: &[AuditItem]) {
        for item in list {
            self.item();
            match item {
                AuditItem::Descriptor(token) => self.word(token.keyword()),
                AuditItem::Individual(selector) => self.selector(selector, true),
            }
        }
    }

    /// `keywords`: a name that is a keyword means the keyword. Inside a package item it is a parameter.
    pub(super) fn selector(&mut self, selector: &Selector, keywords: bool) {
        let valued = selector.value.is_some();
        let keyword = K::find(selector.name.as_str().as_bytes())
            .filter(|keyword| keywords || (valued && keyword.is_item_selector()));
        match keyword {
            Some(keyword) => self.word(keyword),
            None => self.ident(selector.name.as_bytes()),
        }
        if matches!(keyword, Some(K::Local | K::Remote)) {
            let Some(lines) = &selector.inside else { return };
            self.str(if self.long { " {\n" } else { "{\n" });
            for line in lines {
                self.ident(line.name.as_bytes());
                self.out.push(b'=');
                let value = line.value.as_ref().and_then(ParameterValue::single);
                self.octets(value.map_or("", Value::as_str).as_bytes());
                self.str("\r\n");
            }
            self.out.push(b'}');
            return;
        }
        match &selector.value {
            Some(ParameterValue::Equal(value) | ParameterValue::NotEqual(value))
                if keyword.is_some_and(has_keyword_values)
                    && let Some(word) = K::find(value.as_str().as_bytes()) =>
            {
                self.sign(if matches!(selector.value, Some(ParameterValue::Equal(_))) { "=" } else { "#" });
                self.word(word);
            }
            Some(value) => self.parameter_value(value),
            None => {}
        }
        if let Some(inside) = &selector.inside {
            self.open();
            for inner in inside {
                self.item();
                self.selector(inner, keyword.is_some());
            }
            self.close();
        }
    }

    fn services(&mut self, p: &ServiceChange) {
        self.word(K::Services);
        self.open();
        if let Some(method) = &p.method {
            let keyword = match method {
                Method::Graceful => K::Graceful,
                Method::Forced => K::Forced,
                Method::Restart => K::Restart,
                Method::Disconnected => K::Disconnected,
                Method::HandOff => K::HandOff,
                Method::Failover => K::Failover,
                Method::Other(_) => K::Method,
            };
            self.item();
            self.word(K::Method);
            self.equal();
            match method {
                Method::Other(name) => self.ident(name.as_bytes()),
                _ => self.word(keyword),
            }
        }
        match &p.address {
            Some(ServiceChangeAddress::Port(port)) => self.pair(K::ServiceChangeAddress, port),
            Some(ServiceChangeAddress::MId(mid)) => {
                self.pair(K::ServiceChangeAddress, "");
                self.mid(mid);
            }
            None => {}
        }
        if let Some(mid) = &p.mgc_id_to_try {
            self.pair(K::MgcIdToTry, "");
            self.mid(mid);
        }
        if let Some(profile) = &p.profile {
            self.pair(K::Profile, "");
            self.ident(profile.name.as_bytes());
            put!(self, "/{}", profile.version);
        }
        if let Some(version) = p.version {
            self.number(K::Version, version);
        }
        if let Some(reason) = &p.reason {
            self.pair(K::Reason, "");
            self.value(&reason.0);
        }
        if let Some(delay) = p.delay {
            self.number(K::Delay, delay);
        }
        self.flag(K::ServiceChangeInc, p.incomplete);
        if let Some(timestamp) = p.timestamp {
            self.item();
            put!(self, "{timestamp}");
        }
        self.audit_items(&p.audit);
        self.properties(&p.extensions);
        self.close();
    }
}
