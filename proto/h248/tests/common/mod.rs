//! Random messages for the tests: everything the model can say; and whether other people's programs are there.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use carnet_h248::*;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
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

/// Lets Erlang's megaco read every `.in` of a folder and write it as `.pretty` and `.compact`.
pub fn recode(folder: &Path) -> String {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/megaco/recode.escript");
    let out = Process::new("escript").arg(SCRIPT).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    said
}

pub fn name() -> impl Strategy<Value = Name> {
    "[a-z][a-zA-Z0-9_]{0,10}"
        .prop_filter("not a keyword", |n| !KEYWORDS.contains(&n.to_lowercase().as_str()))
        .prop_map(Name::from)
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

pub fn item() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9]{0,7}/[a-z][a-zA-Z0-9_]{0,9}".prop_map(Name::from)
}

pub fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[A-Za-z0-9+&_./@-]{1,12}".prop_map(Value::from),
        "[ -!#-~]{0,20}".prop_map(|t| Value::Quoted(t.into())),
        any::<u32>().prop_map(Value::from),
    ]
}

pub fn parameter_value() -> impl Strategy<Value = ParameterValue> {
    prop_oneof![
        6 => value().prop_map(ParameterValue::Equal),
        1 => value().prop_map(ParameterValue::NotEqual),
        1 => value().prop_map(ParameterValue::Less),
        1 => value().prop_map(ParameterValue::Greater),
        1 => vec(value(), 1..4).prop_map(ParameterValue::AnyOf),
        1 => vec(value(), 1..4).prop_map(ParameterValue::AllOf),
        1 => (value(), value()).prop_map(|(a, b)| ParameterValue::Range(a, b)),
    ]
}

/// Properties with names that differ.
fn properties(names: impl Strategy<Value = Name>, most: usize) -> impl Strategy<Value = Vec<Property>> {
    vec((names, parameter_value()), 0..most).prop_map(|list| {
        let mut out: Vec<Property> = Vec::new();
        for (name, value) in list {
            if !out.iter().any(|p| p.name == name) {
                out.push(Property { name, value });
            }
        }
        out
    })
}

pub fn termination() -> impl Strategy<Value = TerminationId> {
    prop_oneof![
        Just(TerminationId::ROOT),
        Just(TerminationId::ALL),
        Just(TerminationId::CHOOSE),
        "ip/[0-9]{1,2}/(access|core|\\*|\\$)/([0-9]{1,5}|\\*|\\$)".prop_map(TerminationId::from),
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
    vec("[a-z]=[ -~]{0,30}", 1..5).prop_map(|lines| SessionDescription::from(lines.join("\r\n")))
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
    let control = (of(mode()), of(any::<bool>()), of(any::<bool>()), properties(item(), 6))
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
        properties(item(), 3),
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
    (item(), of(1u16..), any::<bool>(), map, embed, of(notify), any::<bool>(), properties(name(), 3))
        .prop_map(|(name, stream, keep_active, digit_map, embed, notify, reset_events, parameters)| {
            RequestedEvent { name, stream, keep_active, digit_map, embed, notify, reset_events, parameters }
        })
        .boxed()
}

fn signal() -> BoxedStrategy<Signal> {
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
        of(vec(completion, 1..3)),
        any::<bool>(),
        of(direction),
        of(request_id()),
        of(any::<u16>()),
        properties(name(), 3),
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

fn observed() -> impl Strategy<Value = ObservedEvent> {
    (of(time_stamp()), item(), of(1u16..), properties(name(), 3)).prop_map(
        |(timestamp, name, stream, parameters)| ObservedEvent { timestamp, name, stream, parameters },
    )
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
    vec(token(), 0..5).prop_map(|list| {
        let mut out: Vec<AuditToken> = Vec::new();
        for token in list {
            if !out.contains(&token) {
                out.push(token);
            }
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
        of(vec(observed(), 0..3)),
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
    let amm_verb = prop_oneof![Just(Verb::Add), Just(Verb::Modify), Just(Verb::Move)];
    let audit_verb = prop_oneof![Just(Verb::Subtract), Just(Verb::AuditValue), Just(Verb::AuditCapability)];
    let observed_events = (request_id(), vec(observed(), 1..4))
        .prop_map(|(request_id, events)| Descriptor::ObservedEvents(ObservedEvents { request_id, events }));
    let body = prop_oneof![
        (amm_verb, amm()),
        (audit_verb, of(audit()).prop_map(|a| a.into_iter().map(Descriptor::from).collect())),
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
    let packages = vec((name(), 1u16..99).prop_map(|(n, v)| PackageVersion::new(n, v)), 1..4);
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
    (vec(topology, 0..2), of(0u16..16), of(any::<bool>()), of(any::<bool>()), properties(item(), 2))
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
