//! The binary encoding against the text encoding, and against octets others made.

use super::{Limits, parse, print};
use crate::model::*;
use crate::text;
use proptest::prelude::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn read(text: &str) -> Message {
    text::parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn fixtures(ending: &str) -> Vec<(String, Vec<u8>)> {
    let mut list: Vec<_> = std::fs::read_dir(FIXTURES)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    list.sort();
    assert!(!list.is_empty());
    list
}

/// What both encodings keep: not quotes, the case of hexadecimal digits, or the line ends of SDP.
fn meaning(message: &Message) -> String {
    let printed = text::print(message, text::Form::Long);
    let printed = String::from_utf8_lossy(&printed);
    printed.replace(['"', '\''], "").replace("\r\n", "\n").to_lowercase()
}

fn there_and_back(message: &Message) -> Message {
    let octets = print(message).unwrap_or_else(|e| panic!("{e}\n{message:?}"));
    parse(&octets, &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{octets:02x?}"))
}

#[test]
fn the_worked_messages_keep_their_meaning() {
    for (name, octets) in fixtures(".txt") {
        let message = read(std::str::from_utf8(&octets).unwrap());
        assert_eq!(meaning(&there_and_back(&message)), meaning(&message), "{name}");
    }
}

/// Octets checked with two other decoders: read as what they stand for, and written the same.
#[test]
fn octets_of_others_are_read_and_written() {
    for (name, digits) in fixtures(".ber.hex") {
        let octets = carnet_wire::hex::decode(digits.trim_ascii()).unwrap();
        let stem = name.split('.').next().unwrap();
        let text = std::fs::read_to_string(format!("{FIXTURES}/{stem}.txt")).unwrap();
        let message = parse(&octets, &Limits::default()).unwrap();
        assert_eq!(meaning(&message), meaning(&read(&text)), "{name}");
        assert_eq!(print(&read(&text)).unwrap(), octets, "{name}");
    }
}

/// Everything that has a form of its own, in one message after the other.
const EVERYTHING: &[&str] = &[
    "MEGACO/3 [2001:db8::1]:2945 Transaction = 7 { Context = 5 { Topology { ip/1/1/1, ip/1/1/2, Bothway, Stream = 2, \
     ip/1/1/1, $, OnewayExternal, a, b, OnewayBoth, a, b, Isolate, a, b, Oneway }, Priority = 3, EmergencyOff, IEPSCall = ON, \
     ContextAttr { nt/jit = 4 }, O-W-Modify = ip/1/1/* { Media { TerminationState { ServiceStates = Test, \
     Buffer = LockStep, root/maxNumberOfContexts > 5 }, Stream = 2 { LocalControl { Mode = Loopback, ReservedGroup = ON, \
     ReservedValue = OFF, gm/saf = ON, gm/spr = [\"1\", \"2\"], ipdc/realm = $, ds/dscp = 2e, tman/sdr = [5:9], tman/mbs = {1, 2}, \
     tman/pdr # 7, tman/dvt < 4 }, Statistics { nt/os = 5, nt/or } } }, Audit { Media, Statistics } } } }",
    "MEGACO/2 <mgc.example>:2945 Transaction = 9 { Context = * { Move = [line1, line2] { Events = 17 { \
     g/cause { Generalcause = FT, Failurecause = \"a b\", KeepActive, Embed { Signals { tcpbcc/EstBNC }, Events = 18 { it/ito { mit = 100 } } } }, \
     hangterm/thb { Stream = 2, timerx = 30, ImmediateNotify, ResetEventsDescriptor }, \
     adid/ipstop { dt = 30, dir = BOTH, NeverNotify }, ipdc/h00ff { RegulatedNotify { Embed { Signals { } } }, h0001 = 0x020105 }, \
     h1234/* { DigitMap = dm }, g/sc { DigitMap = { T:1,S:2,L:3,Z:4,(0s|1x.|[2-4]) } } }, \
     Signals { ipnapt/latch { napt = RELATCH, SignalType = Brief, Duration = 5, NotifyCompletion = { TimeOut, Iteration }, KeepActive, \
     SPADirection = Both, SPARequestID = 4, Intersignal = 50, Stream = 1 }, SignalList = 3 { tlsbsc/EstBNC { SPADirection = External } } }, \
     DigitMap = z1 { L:9,x. }, EventBuffer { g/cause { Generalcause = NR } }, Modem = V90 { nt/jit = 5 }, Mux = H223 { line1, line2 } } } }",
    "MEGACO/3 dev/1 Transaction = 1 { Context = - { AuditValue = ROOT { Audit { Packages, EventBuffer, Media { TerminationState { \
     root/maxNumberOfContexts, Buffer, ServiceStates = InService }, Stream = 2 { LocalControl { ReservedValue, ipdc/realm = a, Mode = Inactive }, Local, Statistics { nt/os } } } } }, \
     AuditValue = [a, b] { Audit { Events = 5 { g/cause { Stream = 1 } }, Signals { ipnapt/latch }, Signals { SignalList = 4 { tcpbcc/EstBNC } }, DigitMap = dm, \
     Statistics { nt/dur }, Packages { g-2 }, EventBuffer { g/sc } } }, AuditCapability = * { Audit { } }, Subtract = $ { Audit { } } }, \
     Context = * { ContextAudit { Topology, Emergency, nt/jit, Priority = 4, EmergencyValue = Emergency, IEPSCall = ON, ORLgc } } }",
    "MEGACO/1 MTP{00ff} Reply = 4/2/END { ImmAckRequired, Context = 3 { Priority = 2, Add = a, Subtract = b { Statistics { nt/os = 18446744073709551615, rtp/ps = [1, 2], h9999/h0001 = 0x0500 }, \
     ObservedEvents = 5 { 20261126T12000000:g/cause { Stream = 1 } }, Packages { g-2, h0777-3 }, Signals { }, Mux, Modem }, AuditValue = Context { a, b }, AuditValue = Context { Error = 411 { \"no\" } }, \
     AuditValue = [a, b] { Error = 430 { } }, AuditCapability = ROOT { Events = * { g/cause } }, Notify = a { Error = 500 { \"x\" } }, \
     Error = 440 { \"late\" } } } Segment = 5/1 Segment = 5/2/END TransactionResponseAck { 1, 4-9 } Pending = 11 { }",
    "MEGACO/3 <mg> Transaction = 2 { Context = - { ServiceChange = ROOT { Services { Method = Failover, Reason = \"909 MGC Impending Failure\", Delay = 5, \
     MgcIdToTry = [192.0.2.1]:2945, Profile = Iq/3, Version = 3, 20261126T12000000, X-abc = 5, Media, ServiceChangeInc } }, \
     ServiceChange = [a, b] { Services { Method = HandOff, Reason = \"903\", ServiceChangeAddress = 55 } } } }",
    "MEGACO/3 <mg> Reply = 2 { Context = - { ServiceChange = ROOT { Services { ServiceChangeAddress = [2001:db8::2]:1, Version = 2, Profile = Ix/1 } }, \
     ServiceChange = a { Error = 402 { } }, ServiceChange = b } }",
    "MEGACO/3 <mg> Error = 400 { \"what\" }",
];

#[test]
fn everything_keeps_its_meaning() {
    for text in EVERYTHING {
        let message = read(text);
        let again = there_and_back(&message);
        assert_eq!(meaning(&again), meaning(&message), "{text}");
        // What is read is written as it was.
        assert_eq!(print(&again).unwrap(), print(&message).unwrap());
    }
}

/// SDP in several groups; characters beyond ASCII; a brace.
#[test]
fn session_descriptions_become_property_groups() {
    let sdp = "v=0\r\nc=IN IP4 $\r\nm=message $ TCP/TLS -\r\na=path:msrps://x}y\r\nv=0\r\ns=caf\u{e9}\r\n";
    let stream = Stream::new(1).local(sdp);
    let command = Command::add(TerminationId::CHOOSE).with(Media::with_stream(stream));
    let action = ActionRequest::new(ContextId::Choose, vec![command]);
    let request = TransactionRequest { id: TransactionId(1), actions: vec![action] };
    let message = Message::new(3, MId::domain("a"), vec![Transaction::Request(request)]);
    assert_eq!(there_and_back(&message), message);
    let octets = print(&message).unwrap();
    // m= is 0000 B00F, its value an IA5String in an OCTET STRING (RFC 3525 §C.11).
    let line = b"\x80\x04\x00\x00\xb0\x0f\xa1\x17\x04\x15\x16\x13message $ TCP/TLS -";
    assert!(octets.windows(line.len()).any(|w| w == line));
    let utf8 = b"\x0c\x05caf\xc3\xa9";
    assert!(octets.windows(utf8.len()).any(|w| w == utf8));
}

/// What has no binary form is said to have none, by name, and never changed in silence.
#[test]
fn what_cannot_be_said_is_refused() {
    for (part, named) in [
        ("Add = a-name-of-many-octets", "a-name-of-many-octets"),
        ("Add = a { Media { LocalControl { nobody/knows = 5 } } }", "nobody/knows"),
        ("Add = a { Media { LocalControl { tman/sdr = fast } } }", "tman/sdr"),
        ("Add = a { Media { LocalControl { gm/saf = perhaps } } }", "gm/saf"),
        ("Add = a { Media { LocalControl { ds/dscp = xyz } } }", "ds/dscp"),
        ("Add = a { Media { Local { x-odd } } }", "x-odd"),
        ("Add = a { Events = 1 { g/cause { nobody = 1 } } }", "nobody"),
        ("Add = a { DigitMap = plan }", "plan"),
        ("Add = a { EventBuffer { 20261126T12000000:g/cause } }", "time"),
        ("Add = a { Modem = X-own }", "X-own"),
        ("AuditValue = a { Audit { Media { Local {\nx=\n} } } }", "SDP x"),
        ("ServiceChange = ROOT { Services { Method = X-own, Reason = \"900\" } }", "method"),
        (
            "ServiceChange = ROOT { Services { Method = Forced, Reason = \"900\", X-toolong = 1 } }",
            "X-toolong",
        ),
    ] {
        let message = read(&format!("MEGACO/3 <a> Transaction = 1 {{ Context = 1 {{ {part} }} }}"));
        let error = print(&message).expect_err(part).to_string();
        assert!(error.contains(named), "{part}: {error}");
    }
}

/// A peer that leaves the inner encoding of a value out, or has another idea of its type.
#[test]
fn values_are_read_generously() {
    let message = read(
        "MEGACO/3 <a> Transaction = 1 { Context = 1 { Add = a { Media { LocalControl { ipdc/realm = core, tman/sdr = 80 } } } } }",
    );
    let octets = print(&message).unwrap();
    let replace = |from: &[u8], to: &[u8]| {
        let at = octets.windows(from.len()).position(|w| w == from).unwrap();
        let mut out = octets.clone();
        out.splice(at..at + from.len(), to.iter().copied());
        out
    };
    // `core` as text of the same length without an inner tag: six octets for IA5 4 core.
    let bare = replace(b"\x16\x04core", b"core-a");
    let read = parse(&bare, &Limits::default()).unwrap();
    assert!(meaning(&read).contains("ipdc/realm = core-a"), "{}", meaning(&read));
    let other = replace(b"\x02\x01\x50", b"\x16\x01\x39");
    let read = parse(&other, &Limits::default()).unwrap();
    assert!(meaning(&read).contains("tman/sdr = 9"), "{}", meaning(&read));
}

/// The transaction of a fault is named, so that the request is answered and not the whole message.
#[test]
fn faults_name_their_request_and_octet() {
    let message = read(
        "MEGACO/3 <a> Transaction = 77 { Context = 1 { Add = a { Media { LocalControl { Mode = SendOnly } } } } }",
    );
    let good = print(&message).unwrap();
    // The mode is the one ENUMERATED [0] of value 0 near the end.
    let at = good.windows(3).rposition(|w| w == [0x80, 1, 0]).unwrap();
    let mut bad = good.clone();
    bad[at + 2] = 9;
    let error = parse(&bad, &Limits::default()).unwrap_err();
    assert_eq!((error.transaction(), error.offset(), error.code()), (Some(TransactionId(77)), at, 442));

    let version = parse(&[0x30, 7, 0xa1, 5, 0x80, 1, 9, 0xa1, 0], &Limits::default()).unwrap_err();
    assert_eq!(version.code(), 406);
    for (octets, offset) in [(&b""[..], 0), (b"MEGACO/3", 0), (&[0x30, 3, 1], 1), (&[0x30, 0], 2)] {
        let error = parse(octets, &Limits::default()).unwrap_err();
        assert_eq!((error.offset(), error.code()), (offset, 400), "{octets:02x?}");
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(parse(&long, &Limits::default()).unwrap_err().offset(), good.len());
}

#[test]
fn limits_hold() {
    let commands = vec!["Add = a"; 40].join(", ");
    let message = read(&format!("MEGACO/3 <a> Transaction = 1 {{ Context = 1 {{ {commands} }} }}"));
    let octets = print(&message).unwrap();
    let refused = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        matches!(parse(&octets, &limits), Err(crate::Error::Limit { .. }))
    };
    assert!(refused(|l| l.octets = 100));
    assert!(refused(|l| l.list = 39));
    assert!(refused(|l| l.items = 50));
    let acks = print(&Message::new(3, MId::domain("a"), vec![Transaction::Pending(TransactionId(1)); 65]));
    assert_eq!(parse(&acks.unwrap(), &Limits::default()).unwrap_err().code(), 413);
}

/// Elements inside each other and strings in pieces end somewhere, whatever the lengths say.
#[test]
fn depths_hold() {
    // Events within an embedded event: what the module allows is read, what it does not is passed over or
    // refused, and nothing recurses as deep as the octets say.
    let message = read(
        "MEGACO/3 <a> Transaction = 1 { Context = 1 { Modify = a { Events = 1 { g/cause { Embed { Events = 2 { g/cause } } } } } } }",
    );
    assert_eq!(meaning(&there_and_back(&message)), meaning(&message));
    let deeper = read(
        "MEGACO/3 <a> Transaction = 1 { Context = 1 { Modify = a { Events = 1 { g/cause { Embed { Events = 2 { g/cause { Embed { Events = 3 { g/cause } } } } } } } } } }",
    );
    assert!(print(&deeper).is_err());
    for filler in [&[0x30, 0x80][..], &[0xa1, 0x80], &[0x24, 0x80], &[0xbf, 0x1f, 0x80]] {
        let octets = filler.repeat(20_000);
        let error = parse(&octets, &Limits::default()).unwrap_err();
        assert!(error.offset() <= octets.len());
    }
}

/// Secrets stay out of Debug also when they came in binary.
#[test]
fn keys_are_not_shown() {
    let message = read(
        "MEGACO/3 <a> Transaction = 1 { Context = 1 { Add = a { Media { LocalControl { crntls/psk = 00112233445566778899aabbccddeeff } } } } }",
    );
    let again = there_and_back(&message);
    assert!(!format!("{again:?}").to_lowercase().contains("33445566"));
    // Whoever asks what must not leave, or must not come by this way, is told of them.
    assert_eq!((message.secrets().len(), again.secrets().len()), (1, 1));
}

static SAMPLES: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(|| {
    let texts = fixtures(".txt");
    let texts = texts.iter().map(|(_, t)| std::str::from_utf8(t).unwrap()).chain(EVERYTHING.iter().copied());
    texts.map(|text| print(&read(text)).unwrap()).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&octets, &Limits::default());
    }

    /// A message with octets changed, cut off or doubled: refused inside its bounds, or a message whose
    /// binary form reads as the same.
    #[test]
    fn damaged_messages_do_no_harm(
        which: prop::sample::Index,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..8), 1..4),
    ) {
        let mut octets = SAMPLES[which.index(SAMPLES.len())].clone();
        for (index, octet, kind) in changes {
            let at = index.index(octets.len());
            match kind {
                0 => octets.truncate(at.max(1)),
                1 => octets.insert(at, octet),
                _ => octets[at] = octet,
            }
        }
        match parse(&octets, &Limits::default()) {
            Err(error) => prop_assert!(error.offset() <= octets.len() && (400..600).contains(&error.code())),
            Ok(message) => {
                // A value that does not have its package's type is read, but not written.
                let Ok(printed) = print(&message) else { return Ok(()) };
                prop_assert_eq!(parse(&printed, &Limits::default()).unwrap(), message);
            }
        }
    }

    /// What came in binary can be said in text, and there it is the same.
    #[test]
    fn binary_survives_text(
        which: prop::sample::Index,
        at: prop::sample::Index,
        octet: u8,
    ) {
        let mut octets = SAMPLES[which.index(SAMPLES.len())].clone();
        let at = at.index(octets.len());
        octets[at] = octet;
        let Ok(message) = parse(&octets, &Limits::default()) else { return Ok(()) };
        let printed = text::print(&message, text::Form::Long);
        match text::parse(&printed, &Limits::default()) {
            Ok(again) => prop_assert_eq!(meaning(&again), meaning(&message)),
            Err(error) => prop_assert!(false, "{}\n{}", error, String::from_utf8_lossy(&printed)),
        }
    }
}
