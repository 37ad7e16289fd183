//! Random messages for the tests: everything the model can say; and whether other people's programs are there.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use carnet_h248::package::{Item, Kind, PACKAGES, ValueType};
use carnet_h248::*;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;
use std::path::Path;
use std::process::Command as Process;

/// Whether a program is missing, which skips a test unless `CARNET_REQUIRE_INTEROP=1`.
pub fn absent(program: &str) -> bool {
    let found = Process::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let absent = !found.is_ok_and(|o| o.status.success());
    assert!(
        !absent || std::env::var("CARNET_REQUIRE_INTEROP").as_deref() != Ok("1"),
        "{program} is not there"
    );
    if absent {
        eprintln!("skipped: {program} is not there");
    }
    absent
}

/// What the dissector of a UDP port says of each of these messages.
pub fn dissect<'a>(folder: &Path, port: u16, messages: impl Iterator<Item = &'a [u8]>) -> String {
    let mut dump = String::new();
    for octets in messages {
        let digits: Vec<String> = octets.iter().map(|b| format!("{b:02x}")).collect();
        dump.push_str(&format!("0000 {}\n", digits.join(" ")));
    }
    let (hex, pcap) = (folder.join("octets.txt"), folder.join("octets.pcap"));
    std::fs::write(&hex, dump).unwrap();
    let ports = format!("{port},{port}");
    let made = Process::new("text2pcap").args(["-q", "-u", &ports]).arg(&hex).arg(&pcap).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let out =
        Process::new("tshark").args(["-V", "-d", "udp.port==2945,h248", "-r"]).arg(&pcap).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Random messages with names, the same in every run.
pub fn random(count: usize, strategy: &BoxedStrategy<Message>) -> Vec<(String, Message)> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count)
        .map(|n| (format!("random-{n:04}"), strategy.new_tree(&mut runner).unwrap().current()))
        .collect()
}

/// Lets Erlang's megaco read every `.in` of a folder and write it as `.pretty` and `.compact`.
pub fn recode(folder: &Path) -> String {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/megaco/recode.escript");
    let out = Process::new("escript").arg(SCRIPT).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    said
}

thread_local! {
    /// Whether the strategies being made are of messages that have a binary form.
    static BINARY: Cell<bool> = const { Cell::new(false) };
}

/// Messages of version 3 that have a binary form, and mean there exactly what they say: packages, items and
/// parameters by number or from the table with values of their types, sets in the order of their bits.
pub fn binary_message() -> BoxedStrategy<Message> {
    BINARY.set(true);
    let strategy = message();
    BINARY.set(false);
    strategy
}

/// One strategy or the other.
fn either<T: std::fmt::Debug>(
    binary: impl Strategy<Value = T> + 'static,
    text: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if BINARY.get() { binary.boxed() } else { text.boxed() }
}

/// Octets that stand for a value of a type that is not known.
fn opaque() -> impl Strategy<Value = Value> {
    vec(any::<u8>(), 1..9).prop_map(|octets| Value::new(format!("0x{}", carnet_wire::hex::encode(&octets))))
}

/// A value as its package has it.
fn typed(kind: ValueType) -> BoxedStrategy<Value> {
    match kind {
        ValueType::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        ValueType::Integer => any::<i64>().prop_map(Value::from).boxed(),
        ValueType::Double => any::<u64>().prop_map(Value::from).boxed(),
        ValueType::Octets => {
            vec(any::<u8>(), 1..9).prop_map(|o| Value::new(carnet_wire::hex::encode(&o))).boxed()
        }
        ValueType::Word(words) => proptest::sample::select(words).prop_map(|(w, _)| Value::from(w)).boxed(),
        ValueType::Text | ValueType::None => {
            "[ !#-~]{0,12}".prop_filter("CHOOSE", |t| t != "$").prop_map(Value::new).boxed()
        }
    }
}

fn constraint(values: impl Strategy<Value = Value> + Clone + 'static) -> BoxedStrategy<ParameterValue> {
    let v = move || values.clone();
    prop_oneof![
        6 => v().prop_map(ParameterValue::Equal),
        1 => Just(ParameterValue::Equal(Value::from("$"))),
        1 => v().prop_map(ParameterValue::NotEqual),
        1 => v().prop_map(ParameterValue::Less),
        1 => v().prop_map(ParameterValue::Greater),
        1 => vec(v(), 1..4).prop_map(ParameterValue::AnyOf),
        1 => vec(v(), 1..4).prop_map(ParameterValue::AllOf),
        1 => (v(), v()).prop_map(|(a, b)| ParameterValue::Range(a, b)),
    ]
    .boxed()
}

/// Properties that are in the table of packages.
fn known_property() -> BoxedStrategy<Property> {
    let items = PACKAGES.iter().flat_map(|p| p.items.iter().map(move |i| (p.name, i)));
    let items = items.filter(|(_, i)| {
        matches!(i.kind, Kind::StreamProperty | Kind::TerminationProperty | Kind::ContextProperty)
    });
    let items: Vec<_> = items.filter(|(_, i)| i.id.is_some()).collect();
    let one = |(package, item): (&str, &Item)| {
        let name = format!("{package}/{}", item.name);
        constraint(typed(item.value)).prop_map(move |value| Property::new(name.clone(), value))
    };
    proptest::sample::select(items).prop_flat_map(one).boxed()
}

pub fn name() -> BoxedStrategy<Name> {
    let text = "[a-z][a-zA-Z0-9_]{0,10}"
        .prop_filter("not a keyword", |n| !KEYWORDS.contains(&n.to_lowercase().as_str()))
        .prop_map(Name::from);
    either("h[0-9a-f]{4}".prop_map(Name::from), text)
}

/// Words that mean something where a parameter name may stand.
const KEYWORDS: &[&str] = &[
    "st",
    "stream",
    "sy",
    "signaltype",
    "dr",
    "duration",
    "nc",
    "ka",
    "keepactive",
    "spadi",
    "sparq",
    "spais",
    "em",
    "embed",
    "dm",
    "digitmap",
    "nbin",
    "nbrn",
    "nbnn",
    "rse",
    "intersignal",
];

pub fn item() -> BoxedStrategy<Name> {
    either(
        "h[1-7][0-9a-f]{3}/(h[0-9a-e][0-9a-f]{3}|\\*)".prop_map(Name::from),
        "[a-z][a-z0-9]{0,7}/[a-z][a-zA-Z0-9_]{0,9}".prop_map(Name::from),
    )
}

pub fn value() -> BoxedStrategy<Value> {
    let text = prop_oneof![
        "[A-Za-z0-9+&_./@-]{1,12}".prop_map(Value::from),
        "[ -!#-~]{0,20}".prop_map(|t| Value::Quoted(t.into())),
        any::<u32>().prop_map(Value::from),
    ];
    either(opaque(), text)
}

pub fn parameter_value() -> BoxedStrategy<ParameterValue> {
    let text = prop_oneof![
        6 => value().prop_map(ParameterValue::Equal),
        1 => value().prop_map(ParameterValue::NotEqual),
        1 => value().prop_map(ParameterValue::Less),
        1 => value().prop_map(ParameterValue::Greater),
        1 => vec(value(), 1..4).prop_map(ParameterValue::AnyOf),
        1 => vec(value(), 1..4).prop_map(ParameterValue::AllOf),
        1 => (value(), value()).prop_map(|(a, b)| ParameterValue::Range(a, b)),
    ];
    if BINARY.get() { constraint(value()) } else { text.boxed() }
}

/// Properties with names that differ.
fn differing(one: impl Strategy<Value = Property>, most: usize) -> impl Strategy<Value = Vec<Property>> {
    vec(one, 0..most).prop_map(|list| {
        let mut out: Vec<Property> = Vec::new();
        for property in list {
            if !out.iter().any(|p| p.name == property.name) {
                out.push(property);
            }
        }
        out
    })
}

/// Parameters of events and signals.
fn parameters(most: usize) -> impl Strategy<Value = Vec<Property>> {
    differing((name(), parameter_value()).prop_map(|(name, value)| Property { name, value }), most)
}

/// Properties of packages.
fn properties(most: usize) -> impl Strategy<Value = Vec<Property>> {
    let any = (item(), parameter_value()).prop_map(|(name, value)| Property { name, value });
    differing(if BINARY.get() { prop_oneof![any, known_property()].boxed() } else { any.boxed() }, most)
}

pub fn termination() -> impl Strategy<Value = TerminationId> {
    prop_oneof![
        Just(TerminationId::ROOT),
        Just(TerminationId::ALL),
        Just(TerminationId::CHOOSE),
        "ip/[1-9][0-9]?/(access|core|\\*|\\$)/([1-9][0-9]{0,4}|\\*|\\$)".prop_map(TerminationId::from),
    ]
}

pub fn mid() -> BoxedStrategy<MId> {
    prop_oneof![
        ("[a-z][a-z0-9-]{0,8}(\\.[a-z][a-z0-9]{0,8}){0,3}", of(1u16..))
            .prop_map(|(n, port)| MId::Domain { name: n.into(), port }),
        (any::<[u8; 4]>(), of(1u16..))
            .prop_map(|(a, port)| MId::Address { ip: std::net::Ipv4Addr::from(a).into(), port }),
        (any::<[u16; 8]>(), of(1u16..))
            .prop_map(|(a, port)| MId::Address { ip: std::net::Ipv6Addr::from(a).into(), port }),
        "[a-z][a-z0-9]{0,8}(/[a-z0-9]{1,4}){0,2}".prop_map(|n| MId::Device(n.into())),
    ]
    .boxed()
}

pub fn sdp() -> impl Strategy<Value = SessionDescription> {
    let lines = either("[vosiuepcbzkatrm]=[ -~]{0,30}", "[a-z]=[ -~]{0,30}");
    vec(lines, 1..5).prop_map(|lines| SessionDescription::from(lines.join("\r\n")))
}

fn statistics() -> impl Strategy<Value = Vec<Statistic>> {
    vec((item(), vec(value(), 0..3)).prop_map(|(name, values)| Statistic { name, values }), 1..4)
}

fn mode() -> impl Strategy<Value = StreamMode> {
    prop_oneof![
        Just(StreamMode::SendOnly),
        Just(StreamMode::ReceiveOnly),
        Just(StreamMode::SendReceive),
        Just(StreamMode::Inactive),
        Just(StreamMode::Loopback)
    ]
}

fn stream(id: u16) -> BoxedStrategy<Stream> {
    let control = (of(mode()), of(any::<bool>()), of(any::<bool>()), properties(6))
        .prop_map(|(mode, reserve_group, reserve_value, properties)| LocalControl {
            mode,
            reserve_group,
            reserve_value,
            properties,
        })
        .prop_filter("not empty", |c| *c != LocalControl::default());
    (of(control), of(sdp()), of(sdp()), of(statistics()))
        .prop_map(move |(local_control, local, remote, statistics)| Stream {
            id,
            local_control,
            local,
            remote,
            statistics,
        })
        .prop_filter("not empty", |s| *s != Stream::new(s.id))
        .boxed()
}

fn media() -> BoxedStrategy<Media> {
    let state = (
        of(prop_oneof![
            Just(ServiceState::Test),
            Just(ServiceState::OutOfService),
            Just(ServiceState::InService)
        ]),
        of(prop_oneof![Just(EventBufferControl::Off), Just(EventBufferControl::LockStep)]),
        properties(3),
    )
        .prop_map(|(service_state, event_buffer, properties)| TerminationState {
            service_state,
            event_buffer,
            properties,
        })
        .prop_filter("not empty", |s| *s != TerminationState::default());
    let streams = prop_oneof![
        stream(1).prop_map(|s| (vec![s], true)),
        (stream(1), of(stream(2)), of(stream(7)))
            .prop_map(|(a, b, c)| (std::iter::once(a).chain(b).chain(c).collect(), false)),
    ];
    (of(state), streams)
        .prop_map(|(termination_state, (streams, implied_stream))| Media {
            termination_state,
            streams,
            implied_stream,
        })
        .boxed()
}

fn request_id() -> impl Strategy<Value = RequestId> {
    prop_oneof![any::<u32>().prop_map(RequestId), Just(RequestId::ALL)]
}

fn digit_map() -> impl Strategy<Value = DigitMap> {
    let value = "\\([0-9x.|]{1,8}\\)";
    let name = || either("[a-z][a-z0-9]".prop_map(Name::from), name());
    prop_oneof![
        name().prop_map(|n| DigitMap { name: Some(n), value: None }),
        value.prop_map(|v| DigitMap { name: None, value: Some(v.into()) }),
        (name(), value).prop_map(|(n, v)| DigitMap { name: Some(n), value: Some(v.into()) }),
    ]
}

/// `depth`: how many levels of embedding may follow.
fn events(depth: u32) -> BoxedStrategy<Events> {
    prop_oneof![
        1 => Just(Events::default()),
        4 => (request_id(), vec(requested(depth), 1..4)).prop_map(|(id, events)| Events { request_id: Some(id), events }),
    ]
    .boxed()
}

fn requested(depth: u32) -> BoxedStrategy<RequestedEvent> {
    let embed = if depth == 0 {
        Just(None).boxed()
    } else {
        let inner = (of(signals()), of(events(depth - 1)));
        let embed = inner.prop_filter("not empty", |(s, e)| s.is_some() || e.is_some());
        of(embed.prop_map(|(signals, events)| Embed { signals, events })).boxed()
    };
    let map = of(digit_map().prop_filter("name or value", |m| m.name.is_none() || m.value.is_none()));
    let notify = prop_oneof![
        Just(NotifyBehaviour::Immediate),
        Just(NotifyBehaviour::Never),
        Just(NotifyBehaviour::Regulated(None)),
        signals().prop_map(|s| NotifyBehaviour::Regulated(Some(Embed { signals: Some(s), events: None }))),
    ];
    (item(), of(1u16..), any::<bool>(), map, embed, of(notify), any::<bool>(), parameters(3))
        .prop_map(|(name, stream, keep_active, digit_map, embed, notify, reset_events, parameters)| {
            RequestedEvent { name, stream, keep_active, digit_map, embed, notify, reset_events, parameters }
        })
        .boxed()
}

/// In the order of their bits, each once.
fn in_order(list: &[Completion]) -> Vec<Completion> {
    let all = [
        Completion::TimeOut,
        Completion::InterruptByEvent,
        Completion::InterruptBySignals,
        Completion::Other,
        Completion::Iteration,
    ];
    all.into_iter().filter(|c| list.contains(c)).collect()
}

fn signal() -> BoxedStrategy<Signal> {
    let binary = BINARY.get();
    let completion = prop_oneof![
        Just(Completion::TimeOut),
        Just(Completion::InterruptByEvent),
        Just(Completion::InterruptBySignals),
        Just(Completion::Other),
        Just(Completion::Iteration)
    ];
    let kind = prop_oneof![Just(SignalType::OnOff), Just(SignalType::TimeOut), Just(SignalType::Brief)];
    let direction = prop_oneof![Just(Direction::External), Just(Direction::Internal), Just(Direction::Both)];
    (
        item(),
        of(1u16..),
        of(kind),
        of(any::<u16>()),
        of(vec(completion, 1..3).prop_map(move |list| if binary { in_order(&list) } else { list })),
        any::<bool>(),
        of(direction),
        of(request_id()),
        of(any::<u16>()),
        parameters(3),
    )
        .prop_map(
            |(
                name,
                stream,
                kind,
                duration,
                notify_completion,
                keep_active,
                direction,
                request_id,
                delay,
                parameters,
            )| Signal {
                name,
                stream,
                kind,
                duration,
                notify_completion,
                keep_active,
                direction,
                request_id,
                intersignal_delay: delay,
                parameters,
            },
        )
        .boxed()
}

pub fn signals() -> impl Strategy<Value = Signals> {
    let item = prop_oneof![
        3 => signal().prop_map(SignalItem::Signal),
        1 => (any::<u16>(), vec(signal(), 1..3)).prop_map(|(id, signals)| SignalItem::List(SignalList { id, signals })),
    ];
    vec(item, 0..3).prop_map(Signals)
}

fn observed(timed: bool) -> impl Strategy<Value = ObservedEvent> {
    let timestamp = of(time_stamp()).prop_map(move |t| t.filter(|_| timed));
    (timestamp, item(), of(1u16..), parameters(3)).prop_map(|(timestamp, name, stream, parameters)| {
        ObservedEvent { timestamp, name, stream, parameters }
    })
}

fn time_stamp() -> impl Strategy<Value = TimeStamp> {
    (19_700_101u32..20_991_231, 0u32..23_595_999).prop_map(|(date, time)| TimeStamp { date, time })
}

fn error() -> impl Strategy<Value = ErrorDescriptor> {
    (400u16..600, of("[ -!#-~]{1,30}"))
        .prop_map(|(code, text)| ErrorDescriptor { code, text: text.map(Into::into) })
}

fn token() -> impl Strategy<Value = AuditToken> {
    prop_oneof![
        Just(AuditToken::Media),
        Just(AuditToken::Mux),
        Just(AuditToken::Events),
        Just(AuditToken::EventBuffer),
        Just(AuditToken::Signals),
        Just(AuditToken::DigitMap),
        Just(AuditToken::Statistics),
        Just(AuditToken::ObservedEvents),
        Just(AuditToken::Packages)
    ]
}

fn audit() -> impl Strategy<Value = Audit> {
    let binary = BINARY.get();
    vec(token(), 0..5).prop_map(move |list| {
        let mut out: Vec<AuditToken> = Vec::new();
        for token in list {
            if !out.contains(&token) {
                out.push(token);
            }
        }
        if binary {
            // In the order of their bits.
            let bits = [
                AuditToken::Mux,
                AuditToken::Media,
                AuditToken::Events,
                AuditToken::Signals,
                AuditToken::DigitMap,
                AuditToken::Statistics,
                AuditToken::ObservedEvents,
                AuditToken::Packages,
                AuditToken::EventBuffer,
            ];
            out.sort_by_key(|token| bits.iter().position(|bit| bit == token));
        }
        Audit::of(&out)
    })
}

fn service_change(reply: bool) -> BoxedStrategy<ServiceChange> {
    let method = prop_oneof![
        Just(Method::Graceful),
        Just(Method::Forced),
        Just(Method::Restart),
        Just(Method::Disconnected),
        Just(Method::HandOff),
        Just(Method::Failover)
    ];
    let target = prop_oneof![
        Just((None, None)),
        mid().prop_map(|m| (Some(ServiceChangeAddress::MId(m)), None)),
        (1u16..).prop_map(|p| (Some(ServiceChangeAddress::Port(p)), None)),
        mid().prop_map(|m| (None, Some(m))),
    ];
    let profile = ("[a-z][a-z_]{0,12}", 1u8..=99).prop_map(|(n, v)| Profile::new(n, v));
    (method, 900u16..921, target, of(any::<u32>()), of(profile), of(1u8..4), of(time_stamp()))
        .prop_map(move |(method, reason, (address, mgc_id_to_try), delay, profile, version, timestamp)| {
            let base = if reply { ServiceChange::default() } else { ServiceChange::new(method, reason) };
            let delay = delay.filter(|_| !reply);
            let version = if reply { Some(version.unwrap_or(1)) } else { version };
            ServiceChange { address, mgc_id_to_try, delay, profile, version, timestamp, ..base }
        })
        .boxed()
}

/// Descriptors of different kinds, for Add, Modify and Move.
fn amm() -> BoxedStrategy<Vec<Descriptor>> {
    let map = digit_map();
    (
        of(media()),
        of(events(1)),
        of(signals()),
        of(map),
        of(audit()),
        of(vec(observed(!BINARY.get()), 0..3)),
        of(statistics()),
    )
        .prop_map(|(media, events, signals, map, audit, buffer, statistics)| {
            let mut out: Vec<Descriptor> = Vec::new();
            out.extend(media.map(Descriptor::from));
            out.extend(events.map(Descriptor::from));
            out.extend(signals.map(Descriptor::from));
            out.extend(map.map(Descriptor::from));
            out.extend(audit.map(Descriptor::from));
            out.extend(buffer.map(Descriptor::EventBuffer));
            out.extend(statistics.map(Descriptor::from));
            out
        })
        .boxed()
}

fn command() -> BoxedStrategy<Command> {
    let binary = BINARY.get();
    let amm_verb = prop_oneof![Just(Verb::Add), Just(Verb::Modify), Just(Verb::Move)];
    let audit_verb = prop_oneof![Just(Verb::Subtract), Just(Verb::AuditValue), Just(Verb::AuditCapability)];
    let observed_events = (request_id(), vec(observed(true), 1..4))
        .prop_map(|(request_id, events)| Descriptor::ObservedEvents(ObservedEvents { request_id, events }));
    let body = prop_oneof![
        (amm_verb, amm()),
        (audit_verb, of(audit())).prop_map(move |(verb, audit)| {
            // An audit without a descriptor is one of nothing.
            let audit = audit.or((binary && verb != Verb::Subtract).then(Audit::default));
            (verb, audit.into_iter().map(Descriptor::from).collect())
        }),
        observed_events.prop_map(|d| (Verb::Notify, vec![d])),
        service_change(false).prop_map(|s| (Verb::ServiceChange, vec![s.into()])),
    ];
    (body, any::<bool>(), any::<bool>(), vec(termination(), 1..3))
        .prop_map(|((verb, descriptors), optional, wildcard_response, terminations)| Command {
            verb,
            optional,
            wildcard_response,
            terminations,
            descriptors,
        })
        .boxed()
}

fn command_reply() -> BoxedStrategy<CommandReply> {
    let verb = prop_oneof![Just(Verb::Add), Just(Verb::Modify), Just(Verb::Subtract), Just(Verb::AuditValue)];
    let package = either("(h[1-7][0-9a-f]{3}|g|root|nt|ipdc)".prop_map(Name::from), name());
    let packages = vec((package, 1u16..99).prop_map(|(n, v)| PackageVersion::new(n, v)), 1..4);
    let body = prop_oneof![
        (verb.clone(), of(media()), of(statistics()), of(packages)).prop_map(
            |(verb, media, statistics, packages)| {
                let mut out: Vec<Descriptor> = Vec::new();
                out.extend(media.map(Descriptor::from));
                out.extend(statistics.map(Descriptor::from));
                out.extend(packages.map(Descriptor::from));
                (verb, out)
            }
        ),
        (verb, error()).prop_map(|(verb, e)| (verb, vec![e.into()])),
        of(error()).prop_map(|e| (Verb::Notify, e.into_iter().map(Descriptor::from).collect())),
        service_change(true).prop_map(|s| (Verb::ServiceChange, vec![s.into()])),
    ];
    (body, vec(termination(), 1..3))
        .prop_map(|((verb, descriptors), terminations)| CommandReply {
            verb,
            context_audit: false,
            terminations,
            descriptors,
        })
        .boxed()
}

fn context() -> impl Strategy<Value = ContextId> {
    prop_oneof![
        Just(ContextId::Null),
        Just(ContextId::Choose),
        Just(ContextId::All),
        (1u32..0xffff_fffd).prop_map(ContextId::Id)
    ]
}

fn context_properties() -> BoxedStrategy<ContextProperties> {
    let direction = prop_oneof![
        Just(TopologyDirection::Bothway),
        Just(TopologyDirection::Isolate),
        Just(TopologyDirection::Oneway),
        Just(TopologyDirection::OnewayExternal),
        Just(TopologyDirection::OnewayBoth)
    ];
    let topology = (termination(), termination(), direction, of(1u16..))
        .prop_map(|(from, to, direction, stream)| Topology { from, to, direction, stream });
    (vec(topology, 0..2), of(0u16..16), of(any::<bool>()), of(any::<bool>()), properties(2))
        .prop_map(|(topology, priority, emergency, ieps_call, attributes)| ContextProperties {
            topology,
            priority,
            emergency,
            ieps_call,
            attributes,
            context_list: Vec::new(),
        })
        .boxed()
}

fn transaction() -> BoxedStrategy<Transaction> {
    let id = || (1u32..).prop_map(TransactionId);
    let action = (context(), context_properties(), vec(command(), 1..4)).prop_map(
        |(context, properties, commands)| ActionRequest { context, properties, audit: None, commands },
    );
    let reply = (context(), context_properties(), vec(command_reply(), 1..4), of(error())).prop_map(
        |(context, properties, commands, error)| ActionReply { context, properties, commands, error },
    );
    let body = prop_oneof![
        1 => error().prop_map(ReplyBody::Error),
        4 => vec(reply, 1..3).prop_map(ReplyBody::Actions),
    ];
    let segment = of((1u16.., any::<bool>()).prop_map(|(number, last)| SegmentNumber { number, last }));
    prop_oneof![
        4 => (id(), vec(action, 1..3)).prop_map(|(id, actions)| Transaction::Request(TransactionRequest { id, actions })),
        4 => (id(), segment, any::<bool>(), body)
            .prop_map(|(id, segment, immediate_ack, body)| Transaction::Reply(TransactionReply { id, segment, immediate_ack, body })),
        1 => id().prop_map(Transaction::Pending),
        1 => vec((1u32..1_000_000, 0u32..9).prop_map(|(a, n)| AckRange { first: TransactionId(a), last: TransactionId(a + n) }), 1..4)
            .prop_map(Transaction::Ack),
        1 => (id(), 1u16.., any::<bool>())
            .prop_map(|(id, number, last)| Transaction::Segment(SegmentReply { id, segment: SegmentNumber { number, last } })),
    ]
        .boxed()
}

/// A message of version 3.
pub fn message() -> BoxedStrategy<Message> {
    let body = prop_oneof![
        1 => error().prop_map(Body::Error),
        9 => vec(transaction(), 1..3).prop_map(Body::Transactions),
    ];
    (mid(), body).prop_map(|(mid, body)| Message { auth: None, version: 3, mid, body }).boxed()
}
