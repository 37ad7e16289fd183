//! Descriptors, from text: Media and what is in it, Statistics, Packages, Services, Audit and the rest.
//! Events and signals are in `events`.

use super::events;
use super::keyword::Keyword as K;
use super::scan::{Result, Scanner, decimal, name};
use crate::model::value::is_token;
use crate::model::{
    Audit, AuditItem, AuditToken, Descriptor, DigitMap, EventBufferControl, Events, LocalControl, Media,
    Method, Modem, Mux, Name, PackageVersion, ParameterValue, Profile, Property, Reason, Selector,
    ServiceChange, ServiceChangeAddress, ServiceState, SessionDescription, Signals, Statistic, Stream,
    StreamMode, TerminationState, TimeStamp, Value,
};

/// What counts as the same kind of descriptor.
pub(super) fn kind_of(descriptor: &Descriptor) -> K {
    match descriptor {
        Descriptor::Media(_) => K::Media,
        Descriptor::Modem(_) => K::Modem,
        Descriptor::Mux(_) => K::Mux,
        Descriptor::Events(_) => K::Events,
        Descriptor::EventBuffer(_) => K::EventBuffer,
        Descriptor::Signals(_) => K::Signals,
        Descriptor::DigitMap(_) => K::DigitMap,
        Descriptor::Audit(_) => K::Audit,
        Descriptor::Statistics(_) => K::Statistics,
        Descriptor::ObservedEvents(_) => K::ObservedEvents,
        Descriptor::Packages(_) => K::Packages,
        Descriptor::ServiceChange(_) => K::Services,
        Descriptor::Error(_) => K::Error,
        Descriptor::Empty(token) => token.keyword(),
    }
}

impl AuditToken {
    pub(super) fn keyword(self) -> K {
        match self {
            Self::Media => K::Media,
            Self::Modem => K::Modem,
            Self::Mux => K::Mux,
            Self::Events => K::Events,
            Self::EventBuffer => K::EventBuffer,
            Self::Signals => K::Signals,
            Self::DigitMap => K::DigitMap,
            Self::Statistics => K::Statistics,
            Self::ObservedEvents => K::ObservedEvents,
            Self::Packages => K::Packages,
        }
    }

    fn from_keyword(keyword: K) -> Option<Self> {
        Some(match keyword {
            K::Media => Self::Media,
            K::Modem => Self::Modem,
            K::Mux => Self::Mux,
            K::Events => Self::Events,
            K::EventBuffer => Self::EventBuffer,
            K::Signals => Self::Signals,
            K::DigitMap => Self::DigitMap,
            K::Statistics => Self::Statistics,
            K::ObservedEvents => Self::ObservedEvents,
            K::Packages => Self::Packages,
            _ => return None,
        })
    }
}

/// Any descriptor but Audit and Services; `keyword` has been consumed at `at`.
pub(super) fn descriptor(s: &mut Scanner<'_>, at: usize, keyword: K) -> Result<Descriptor> {
    s.blank();
    let bare = !matches!(s.peek(), Some(b'{' | b'=' | b'['));
    Ok(match keyword {
        K::Error => Descriptor::Error(s.error_descriptor()?),
        K::Events => Descriptor::Events(if bare { Events::default() } else { events::events(s)? }),
        K::Signals => Descriptor::Signals(if bare { Signals::default() } else { events::signals(s)? }),
        K::EventBuffer => Descriptor::EventBuffer(if bare { Vec::new() } else { events::observed_list(s)? }),
        K::Statistics => Descriptor::Statistics(if bare { Vec::new() } else { statistics(s)? }),
        K::Media if !bare => Descriptor::Media(media(s)?),
        K::Modem if !bare => Descriptor::Modem(modem(s)?),
        K::Mux if !bare => Descriptor::Mux(mux(s)?),
        K::DigitMap if !bare => Descriptor::DigitMap(digit_map(s)?),
        K::ObservedEvents if !bare => Descriptor::ObservedEvents(events::observed(s)?),
        K::Packages if !bare => Descriptor::Packages(packages(s)?),
        _ => match AuditToken::from_keyword(keyword) {
            // In audit replies an empty descriptor is its name alone.
            Some(token) => Descriptor::Empty(token),
            None => return s.rule(at, 444, format!("{} is not a descriptor", keyword.long())),
        },
    })
}

fn media(s: &mut Scanner<'_>) -> Result<Media> {
    s.open()?;
    let mut media = Media::default();
    // The grammar wants something inside braces, here and below. The binary encoding does not, and
    // what it says must have a text form.
    if s.eat(b'}') {
        return Ok(media);
    }
    loop {
        s.count(media.streams.len())?;
        let (at, keyword) = s.keyword("Stream, TerminationState or what is in a stream")?;
        match keyword {
            K::TerminationState => {
                if media.termination_state.replace(termination_state(s)?).is_some() {
                    return s.rule(at, 448, "TerminationState twice");
                }
            }
            K::Stream if !media.implied_stream => {
                s.equal()?;
                let stream = stream(s)?;
                if media.stream(stream.id).is_some() {
                    return s.rule(at, 448, format!("Stream {} twice", stream.id));
                }
                media.streams.push(stream);
            }
            // RFC 3525 Annex B.2: stream parameters or Stream descriptors, not both.
            _ if media.streams.is_empty() || media.implied_stream => {
                media.implied_stream = true;
                if media.streams.is_empty() {
                    media.streams.push(Stream::new(1));
                }
                if let Some(stream) = media.streams.first_mut() {
                    stream_parameter(s, at, keyword, stream)?;
                }
            }
            _ => return s.error_at(at, "Stream or TerminationState"),
        }
        if !s.more()? {
            return Ok(media);
        }
    }
}

fn stream(s: &mut Scanner<'_>) -> Result<Stream> {
    let mut stream = Stream::new(s.number16("a stream number")?);
    s.open()?;
    if s.eat(b'}') {
        return Ok(stream);
    }
    loop {
        let (at, keyword) = s.keyword("LocalControl, Local, Remote or Statistics")?;
        stream_parameter(s, at, keyword, &mut stream)?;
        if !s.more()? {
            return Ok(stream);
        }
    }
}

fn stream_parameter(s: &mut Scanner<'_>, at: usize, keyword: K, into: &mut Stream) -> Result<()> {
    let twice = match keyword {
        K::LocalControl => into.local_control.replace(local_control(s)?).is_some(),
        K::Local => into.local.replace(s.session_description()?).is_some(),
        K::Remote => into.remote.replace(s.session_description()?).is_some(),
        K::Statistics => {
            s.blank();
            let list = if s.peek() == Some(b'{') { statistics(s)? } else { Vec::new() };
            into.statistics.replace(list).is_some()
        }
        _ => return s.error_at(at, "LocalControl, Local, Remote or Statistics"),
    };
    if twice { s.rule(at, 448, format!("{} twice", keyword.long())) } else { Ok(()) }
}

fn local_control(s: &mut Scanner<'_>) -> Result<LocalControl> {
    s.open()?;
    let mut out = LocalControl { properties: Vec::with_capacity(4), ..LocalControl::default() };
    if s.eat(b'}') {
        return Ok(out);
    }
    loop {
        let word = s.peek_word();
        let at = s.at;
        let twice = match K::find(word) {
            Some(K::Mode) => {
                s.at += word.len();
                s.equal()?;
                out.mode.replace(mode(s)?).is_some()
            }
            Some(K::ReservedGroup) => {
                s.at += word.len();
                s.equal()?;
                out.reserve_group.replace(on_or_off(s)?).is_some()
            }
            Some(K::ReservedValue) => {
                s.at += word.len();
                s.equal()?;
                out.reserve_value.replace(on_or_off(s)?).is_some()
            }
            _ => {
                let word = s.take("a property", word)?;
                property_of(s, at, word, &mut out.properties)?;
                false
            }
        };
        if twice {
            return s.rule(at, 456, "a property twice");
        }
        if !s.more()? {
            return Ok(out);
        }
    }
}

fn mode(s: &mut Scanner<'_>) -> Result<StreamMode> {
    Ok(match s.keyword("a mode")? {
        (_, K::SendOnly) => StreamMode::SendOnly,
        (_, K::ReceiveOnly) => StreamMode::ReceiveOnly,
        (_, K::SendReceive) => StreamMode::SendReceive,
        (_, K::Inactive) => StreamMode::Inactive,
        (_, K::Loopback) => StreamMode::Loopback,
        (at, _) => return s.error_at(at, "a mode"),
    })
}

pub(super) fn on_or_off(s: &mut Scanner<'_>) -> Result<bool> {
    match s.keyword("ON or OFF")? {
        (_, K::On) => Ok(true),
        (_, K::Off) => Ok(false),
        (at, _) => s.error_at(at, "ON or OFF"),
    }
}

fn termination_state(s: &mut Scanner<'_>) -> Result<TerminationState> {
    s.open()?;
    let mut out = TerminationState::default();
    if s.eat(b'}') {
        return Ok(out);
    }
    loop {
        let word = s.peek_word();
        let at = s.at;
        let twice = match K::find(word) {
            Some(K::ServiceStates) => {
                s.at += word.len();
                s.equal()?;
                let state = match s.keyword("Test, OutOfService or InService")? {
                    (_, K::Test) => ServiceState::Test,
                    (_, K::OutOfService) => ServiceState::OutOfService,
                    (_, K::InService) => ServiceState::InService,
                    (at, _) => return s.error_at(at, "Test, OutOfService or InService"),
                };
                out.service_state.replace(state).is_some()
            }
            Some(K::Buffer) => {
                s.at += word.len();
                s.equal()?;
                let control = match s.keyword("OFF or LockStep")? {
                    (_, K::Off) => EventBufferControl::Off,
                    (_, K::LockStep) => EventBufferControl::LockStep,
                    (at, _) => return s.error_at(at, "OFF or LockStep"),
                };
                out.event_buffer.replace(control).is_some()
            }
            _ => {
                let word = s.take("a property", word)?;
                property_of(s, at, word, &mut out.properties)?;
                false
            }
        };
        if twice {
            return s.rule(at, 456, "a property twice");
        }
        if !s.more()? {
            return Ok(out);
        }
    }
}

/// One property, appended; a second of the same name is refused (456).
fn property(s: &mut Scanner<'_>, into: &mut Vec<Property>) -> Result<()> {
    let word = s.word("a property")?;
    property_of(s, s.at - word.len(), word, into)
}

/// A property whose name has been read.
fn property_of(s: &mut Scanner<'_>, at: usize, word: &[u8], into: &mut Vec<Property>) -> Result<()> {
    s.count(into.len())?;
    let name = name(word);
    let value = parameter_value(s)?;
    if into.iter().any(|p| p.name == name) {
        return s.rule(at, 456, format!("{name} twice"));
    }
    into.push(Property::new(name, value));
    Ok(())
}

/// Properties up to the closing brace; the opening one has been read.
pub(super) fn properties(s: &mut Scanner<'_>) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    loop {
        property(s, &mut list)?;
        if !s.more()? {
            return Ok(list);
        }
    }
}

/// `= v`, `# v`, `< v`, `> v`, `= {a, b}`, `= [a, b]`, `= [a:b]`
pub(super) fn parameter_value(s: &mut Scanner<'_>) -> Result<ParameterValue> {
    s.blank();
    let sign = s.peek();
    if !matches!(sign, Some(b'=' | b'#' | b'<' | b'>')) {
        return s.error("`=`, `#`, `<` or `>`");
    }
    s.at += 1;
    Ok(match sign {
        Some(b'#') => ParameterValue::NotEqual(s.value()?),
        Some(b'<') => ParameterValue::Less(s.value()?),
        Some(b'>') => ParameterValue::Greater(s.value()?),
        _ if s.eat(b'{') => ParameterValue::AnyOf(values(s, Vec::new(), b'}')?),
        _ if s.eat(b'[') => {
            s.count(0)?;
            let first = s.value()?;
            if s.eat(b':') {
                let last = s.value()?;
                s.expect(b']', "`]`")?;
                ParameterValue::Range(first, last)
            } else if s.more_until(b']', "`,`, `:` or `]`")? {
                ParameterValue::AllOf(values(s, vec![first], b']')?)
            } else {
                ParameterValue::AllOf(vec![first])
            }
        }
        _ => ParameterValue::Equal(s.value()?),
    })
}

fn values(s: &mut Scanner<'_>, mut list: Vec<Value>, close: u8) -> Result<Vec<Value>> {
    loop {
        s.count(list.len())?;
        list.push(s.value()?);
        if !s.more_until(close, "`,` or the end of the list")? {
            return Ok(list);
        }
    }
}

/// `{ package/item = value, package/item }`
fn statistics(s: &mut Scanner<'_>) -> Result<Vec<Statistic>> {
    s.open()?;
    let mut list: Vec<Statistic> = Vec::new();
    loop {
        s.count(list.len())?;
        let name = s.name("a statistic")?;
        let mut statistic = Statistic { name, values: Vec::new() };
        if s.eat(b'=') {
            statistic.values = if s.eat(b'[') { values(s, Vec::new(), b']')? } else { vec![s.value()?] };
        }
        list.push(statistic);
        if !s.more()? {
            return Ok(list);
        }
    }
}

/// `{ g-1, root-2 }`
fn packages(s: &mut Scanner<'_>) -> Result<Vec<PackageVersion>> {
    s.open()?;
    let mut list = Vec::new();
    loop {
        s.count(list.len())?;
        let word = s.word("a package and its version")?;
        let dash = word.iter().rposition(|b| *b == b'-').unwrap_or(0);
        let version = word.get(dash + 1..).and_then(|digits| decimal(digits, 0xffff));
        let (Some(version), Some(package)) = (version, word.get(..dash).filter(|p| !p.is_empty())) else {
            return s.error_at(s.at - word.len(), "a package, `-` and its version");
        };
        list.push(PackageVersion { name: name(package), version: version as u16 });
        if !s.more()? {
            return Ok(list);
        }
    }
}

/// `= H223 { t, t }`
fn mux(s: &mut Scanner<'_>) -> Result<Mux> {
    s.equal()?;
    let kind = kind(s, "a multiplex type")?;
    s.open()?;
    Ok(Mux { kind, terminations: super::command::termination_list(s, b'}')? })
}

/// A type of multiplex or modem, those with two spellings in the long one.
fn kind(s: &mut Scanner<'_>, expected: &'static str) -> Result<Name> {
    let word = s.word(expected)?;
    Ok(match K::find(word) {
        Some(keyword @ (K::SynchIsdn | K::Nx64)) => Name::from(keyword.long()),
        _ => name(word),
    })
}

/// `= V90 { properties }` or `[V18, V90] { properties }`
fn modem(s: &mut Scanner<'_>) -> Result<Modem> {
    let mut kinds = Vec::new();
    if s.eat(b'=') {
        kinds.push(kind(s, "a modem type")?);
    } else {
        s.expect(b'[', "`=` or `[`")?;
        loop {
            s.count(kinds.len())?;
            kinds.push(kind(s, "a modem type")?);
            if !s.more_until(b']', "`,` or `]`")? {
                break;
            }
        }
    }
    let properties = if s.eat(b'{') { properties(s)? } else { Vec::new() };
    Ok(Modem { kinds, properties })
}

/// `= name`, `= { value }` or `= name { value }`
pub(super) fn digit_map(s: &mut Scanner<'_>) -> Result<DigitMap> {
    // Erlang's megaco leaves `=` out before a value.
    s.blank();
    if s.peek() != Some(b'{') {
        s.equal()?;
    }
    let word = s.peek_word();
    s.at += word.len();
    let name = (!word.is_empty()).then(|| name(word));
    let value = if s.eat(b'{') { Some(s.raw_text()?) } else { None };
    if name.is_none() && value.is_none() {
        return s.error("a digit map's name or `{`");
    }
    Ok(DigitMap { name, value })
}

/// `yyyymmddThhmmssss`
pub(super) fn time_stamp(word: &[u8]) -> Option<TimeStamp> {
    let (date, rest) = word.split_first_chunk::<8>()?;
    let (t, time) = rest.split_first()?;
    if !t.eq_ignore_ascii_case(&b'T') || time.len() != 8 {
        return None;
    }
    Some(TimeStamp { date: decimal(date, u32::MAX)?, time: decimal(time, u32::MAX)? })
}

/// `Services { ... }` after the keyword.
pub(super) fn services(s: &mut Scanner<'_>) -> Result<ServiceChange> {
    s.open()?;
    let mut out = ServiceChange::default();
    loop {
        service_parameter(s, &mut out)?;
        if !s.more()? {
            break;
        }
    }
    if out.address.is_some() && out.mgc_id_to_try.is_some() {
        return s.rule(s.at, 442, "ServiceChangeAddress and MgcIdToTry exclude each other");
    }
    Ok(out)
}

fn service_parameter(s: &mut Scanner<'_>, out: &mut ServiceChange) -> Result<()> {
    let word = s.word("a ServiceChange parameter")?;
    let at = s.at - word.len();
    let twice = match K::find(word) {
        Some(K::Method) => {
            s.equal()?;
            out.method.replace(method(s.word("a method")?)).is_some()
        }
        Some(K::Reason) => {
            s.equal()?;
            out.reason.replace(Reason(s.value()?)).is_some()
        }
        Some(K::Delay) => {
            s.equal()?;
            out.delay.replace(s.number(u32::MAX, "seconds")?).is_some()
        }
        Some(K::ServiceChangeAddress) => {
            s.equal()?;
            let word = s.peek_word();
            let address = match decimal(word, 0xffff) {
                Some(port) => {
                    s.at += word.len();
                    ServiceChangeAddress::Port(port as u16)
                }
                None => ServiceChangeAddress::MId(super::message::mid(s)?),
            };
            out.address.replace(address).is_some()
        }
        Some(K::MgcIdToTry) => {
            s.equal()?;
            out.mgc_id_to_try.replace(super::message::mid(s)?).is_some()
        }
        Some(K::Profile) => {
            s.equal()?;
            out.profile.replace(profile(s)?).is_some()
        }
        Some(K::Version) => {
            s.equal()?;
            out.version.replace(s.number(99, "a version up to 99")? as u8).is_some()
        }
        Some(K::ServiceChangeInc) => std::mem::replace(&mut out.incomplete, true),
        keyword => {
            s.count(out.audit.len().max(out.extensions.len()))?;
            if let Some(timestamp) = time_stamp(word) {
                out.timestamp.replace(timestamp).is_some()
            } else if let Some(token) = keyword.and_then(AuditToken::from_keyword) {
                out.audit.push(audit_item(s, token)?);
                false
            } else {
                let name = name(word);
                let value = parameter_value(s)?;
                let twice = out.extensions.iter().any(|p| p.name == name);
                out.extensions.push(Property::new(name, value));
                twice
            }
        }
    };
    if twice { s.rule(at, 456, "a ServiceChange parameter twice") } else { Ok(()) }
}

fn method(word: &[u8]) -> Method {
    match K::find(word) {
        Some(K::Graceful) => Method::Graceful,
        Some(K::Forced) => Method::Forced,
        Some(K::Restart) => Method::Restart,
        Some(K::Disconnected) => Method::Disconnected,
        Some(K::HandOff) => Method::HandOff,
        Some(K::Failover) => Method::Failover,
        _ => Method::Other(name(word)),
    }
}

fn profile(s: &mut Scanner<'_>) -> Result<Profile> {
    let word = s.word("a profile and its version")?;
    let slash = word.iter().rposition(|b| *b == b'/').unwrap_or(0);
    let version = word.get(slash + 1..).and_then(|digits| decimal(digits, 99));
    match (version, word.get(..slash).filter(|n| !n.is_empty())) {
        (Some(version), Some(head)) => Ok(Profile { name: name(head), version: version as u8 }),
        _ => s.error_at(s.at - word.len(), "a profile's name, `/` and its version"),
    }
}

/// `Audit { ... }` after the keyword.
pub(super) fn audit(s: &mut Scanner<'_>) -> Result<Audit> {
    s.open()?;
    let mut list = Vec::new();
    if s.eat(b'}') {
        return Ok(Audit(list));
    }
    loop {
        s.count(list.len())?;
        let (at, keyword) = s.keyword("a descriptor to audit")?;
        match AuditToken::from_keyword(keyword) {
            Some(token) => list.push(audit_item(s, token)?),
            None => return s.error_at(at, "a descriptor to audit"),
        }
        if !s.more()? {
            return Ok(Audit(list));
        }
    }
}

/// The rest of an audit item whose keyword has been read.
fn audit_item(s: &mut Scanner<'_>, token: AuditToken) -> Result<AuditItem> {
    s.blank();
    if !matches!(s.peek(), Some(b'{' | b'=' | b'#')) {
        return Ok(AuditItem::Descriptor(token));
    }
    let selector = selector_body(s, Some(token.keyword()), Name::from(token.keyword().long()))?;
    // `Signals { }` selects nothing inside, which is the whole.
    let whole = token == AuditToken::Signals
        && selector.value.is_none()
        && selector.inside.as_ref().is_some_and(Vec::is_empty);
    Ok(if whole { AuditItem::Descriptor(token) } else { AuditItem::Individual(selector) })
}

/// A node of a selection. Keywords become their long form, except inside a package item, where
/// words are parameter names.
pub(super) fn selector(s: &mut Scanner<'_>, keywords: bool) -> Result<Selector> {
    let word = s.word("what to audit")?;
    s.blank();
    let has_value = s.peek() == Some(b'=');
    let keyword = match K::find(word).filter(|keyword| keywords || (has_value && keyword.is_item_selector()))
    {
        Some(K::AndLogicMisspelt) => Some(K::AndLogic),
        keyword => keyword,
    };
    let name = match keyword {
        Some(keyword) => Name::from(keyword.long()),
        None => name(word),
    };
    selector_body(s, keyword, name)
}

/// Whether the values of a selector are keywords.
pub(super) fn has_keyword_values(selector: K) -> bool {
    matches!(selector, K::Mode | K::ServiceStates | K::EmergencyValue | K::IepsCall)
}

fn selector_body(s: &mut Scanner<'_>, keyword: Option<K>, name: Name) -> Result<Selector> {
    s.blank();
    let mut out = Selector { name, value: None, inside: None };
    if matches!(keyword, Some(K::Local | K::Remote)) {
        let body = if s.peek() == Some(b'{') { Some(s.session_description()?) } else { None };
        out.inside = body.map(|lines| sdp_selectors(s, &lines)).transpose()?;
        return Ok(out);
    }
    if matches!(s.peek(), Some(b'=' | b'#' | b'<' | b'>')) {
        let value = parameter_value(s)?;
        let long = |value: Value| {
            let keyword = K::find(value.as_str().as_bytes());
            keyword.map_or(value, |keyword| Value::from(keyword.long()))
        };
        out.value = Some(match value {
            ParameterValue::Equal(v) if keyword.is_some_and(has_keyword_values) => {
                ParameterValue::Equal(long(v))
            }
            ParameterValue::NotEqual(v) if keyword.is_some_and(has_keyword_values) => {
                ParameterValue::NotEqual(long(v))
            }
            value => value,
        });
    }
    if s.eat(b'{') {
        s.enter()?;
        let mut list = Vec::new();
        if !s.eat(b'}') {
            loop {
                s.count(list.len())?;
                list.push(selector(s, keyword.is_some())?);
                if !s.more()? {
                    break;
                }
            }
        }
        s.leave();
        out.inside = Some(list);
    }
    Ok(out)
}

/// The lines of SDP that are selected: `v=` for any value, `c=IN IP4 192.0.2.1` for that one.
fn sdp_selectors(s: &mut Scanner<'_>, sdp: &SessionDescription) -> Result<Vec<Selector>> {
    let mut list = Vec::new();
    for line in sdp.lines() {
        s.count(list.len())?;
        let parts = std::str::from_utf8(line).ok().and_then(|line| line.split_once('='));
        let Some((letter, value)) = parts.filter(|(l, _)| l.len() == 1 && is_token(l.as_bytes())) else {
            return s.error_at(s.at, "lines of SDP");
        };
        let value =
            (!value.is_empty()).then(|| ParameterValue::Equal(Value::Quoted(value.to_owned().into())));
        list.push(Selector { name: letter.to_owned().into(), value, inside: None });
    }
    Ok(list)
}
