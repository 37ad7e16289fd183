//! Tests of the text encoding.

use super::{Form, Limits, parse, print};
use crate::model::*;

fn read(text: &str) -> Message {
    parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let mut list: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    list.sort();
    assert_eq!(list.len(), 28);
    list
}

#[test]
fn the_worked_messages_survive_both_forms() {
    for (name, octets) in fixtures() {
        let message = parse(&octets, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        for form in [Form::Long, Form::Short] {
            let printed = print(&message, form);
            let again = parse(&printed, &Limits::default())
                .unwrap_or_else(|e| panic!("{name}: {e}\n{}", String::from_utf8_lossy(&printed)));
            assert_eq!(message, again, "{name} in {form:?}");
        }
    }
}

#[test]
fn an_add_is_built_and_picked_apart() {
    let octets = fixtures().swap_remove(2).1;
    let message = parse(&octets, &Limits::default()).unwrap();
    let Some(Transaction::Request(request)) = message.transactions().first() else { panic!() };
    let action = &request.actions[0];
    assert_eq!((action.context, action.properties.priority), (ContextId::Choose, Some(4)));
    let add = &action.commands[0];
    assert_eq!(add.termination(), &"ip/1/access/$");
    let stream = add.media().unwrap().stream(1).unwrap();
    let control = stream.local_control.as_ref().unwrap();
    assert_eq!(control.mode, Some(StreamMode::Inactive));
    assert_eq!(control.value("IPDC/realm").unwrap().as_str(), "access-v4");
    assert_eq!(control.value("gm/saf").unwrap().as_bool(), Some(true));
    assert_eq!(control.value("tman/sdr").unwrap().as_u64(), Some(65_536));
    assert_eq!(stream.remote.as_ref().unwrap().lines().nth(2).unwrap(), b"m=- 9 TCP/TLS -");
    assert_eq!(
        add.events().unwrap().find("hangterm/thb").unwrap().value("timerx").unwrap().as_u64(),
        Some(120)
    );

    let built = Message::new(
        3,
        MId::domain("alg1.access.example"),
        vec![Transaction::Request(TransactionRequest {
            id: TransactionId(1001),
            actions: vec![ActionRequest {
                context: ContextId::Choose,
                properties: ContextProperties { priority: Some(4), ..ContextProperties::default() },
                audit: None,
                commands: vec![
                    Command::add("ip/1/access/$")
                        .with(Media::with_stream(
                            Stream::new(1)
                                .mode(StreamMode::Inactive)
                                .property("ipdc/realm", "access-v4")
                                .property("gm/saf", true)
                                .property("gm/sam", "198.51.100.20/32".to_owned())
                                .property("tman/pol", true)
                                .property("tman/sdr", 65_536u32)
                                .property("tman/mbs", 131_072u32)
                                .property("ds/dscp", "1A")
                                .local("v=0\nc=IN IP4 $\nm=- $ TCP/TLS -\na=setup:passive\n")
                                .remote("v=0\nc=IN IP4 198.51.100.20\nm=- 9 TCP/TLS -\na=setup:active\n"),
                        ))
                        .with(
                            Events::new(2001)
                                .event(RequestedEvent::new("hangterm/thb").parameter("timerx", 120u32))
                                .event(
                                    RequestedEvent::new("adid/ipstop")
                                        .parameter("dt", 60u32)
                                        .parameter("dir", "BOTH"),
                                ),
                        )
                        .with(Signals::with(Signal::new("ipnapt/latch").parameter("napt", "LATCH"))),
                    Command::add("ip/1/core/$")
                        .with(Media::with_stream(
                            Stream::new(1)
                                .mode(StreamMode::Inactive)
                                .property("ipdc/realm", "core-v6")
                                .local("v=0\nc=IN IP6 $\nm=- $ TCP/TLS -\na=setup:actpass\n"),
                        ))
                        .with(
                            Events::new(2002)
                                .event(RequestedEvent::new("hangterm/thb").parameter("timerx", 120u32)),
                        ),
                ],
            }],
        })],
    );
    // The file writes the mask in quotes although it has none of the characters that need them.
    let printed = String::from_utf8(print(&built, Form::Long)).unwrap();
    assert!(printed.contains("gm/sam = 198.51.100.20/32"));
    let quoted =
        printed.replace("198.51.100.20/32", "\"198.51.100.20/32\"").replace("= access-v4", "= \"access-v4\"");
    assert_eq!(read(&quoted.replace("= core-v6", "= \"core-v6\"")), message);
}

#[test]
fn prints_the_short_form_without_blanks() {
    let message =
        read("MEGACO/2 <a.example>:2944 Transaction=7{Context = 5 { W-Subtract = * { Audit { } } } }");
    assert_eq!(print(&message, Form::Short), b"!/2 <a.example>:2944\nT=7{C=5{W-S=*{AT{}}}}");
}

fn refused(text: &str) -> (u16, usize) {
    let error = parse(text.as_bytes(), &Limits::default()).unwrap_err();
    (error.code(), error.offset())
}

/// The code says at which level the fault is, the offset where.
#[test]
fn faults_are_placed_and_coded() {
    let action = |inner: &str| format!("MEGACO/3 <a> Transaction = 7 {{ Context = 1 {{ {inner} }} }}");
    for (text, code, near) in [
        (String::new(), 400, ""),
        ("SIP/2.0 <a>".into(), 400, "SIP"),
        ("MEGACO/4 <a> Pending = 1 { }".into(), 406, "4 "),
        ("MEGACO/3 <a".into(), 400, ""),
        ("MEGACO/3 <a>".into(), 400, ""),
        ("MEGACO/3 [300.1.1.1] Pending = 1 { }".into(), 400, "300"),
        ("MEGACO/3 <a> Pending = x { }".into(), 400, "x {"),
        ("MEGACO/3 <a> Pending = 4294967296 { }".into(), 400, "4294967296"),
        ("MEGACO/3 <a> Error = 1000 { }".into(), 400, "1000"),
        ("MEGACO/3 <a> TransactionResponseAck { 5-3 }".into(), 400, "5-3"),
        ("MEGACO/3 <a> Transaction = 7 { Contest = 1 { } }".into(), 403, "Contest"),
        ("MEGACO/3 <a> Transaction = 7 { Context = x { } }".into(), 403, "x {"),
        (action(""), 422, "} }"),
        (action("Priority = 1, Priority = 2, Add = a"), 422, "Priority = 2"),
        (action("Ad = a"), 443, "Ad"),
        (action("Add a"), 442, "a }"),
        (action("Add = a { Mediaa { } }"), 444, "Mediaa"),
        (action("Add = a { Services { Delay = 1 } }"), 447, "Services"),
        (action("Subtract = a { Media { Stream = 1 { Local { } } } }"), 447, "Media"),
        (action("Notify = a"), 442, "Notify"),
        (action("Add = a { Events, Signals, Events }"), 448, "Events }"),
        (
            action("Add = a { Media { Stream = 1 { Local { } }, Stream = 1 { Local { } } } }"),
            448,
            "Stream = 1 { Local { } } }",
        ),
        (action("Add = a { Media { Stream = 1 { Local { } }, Remote { } } }"), 442, "Remote"),
        (action("Add = a { Media { LocalControl { Mode = Up } } }"), 442, "Up"),
        (
            action("Add = a { Media { LocalControl { Mode = Inactive, Mode = Inactive } } }"),
            456,
            "Mode = Inactive }",
        ),
        (action("Add = a { Media { LocalControl { p/a = 1, P/A = 2 } } }"), 456, "P/A"),
        (action("Add = a { Media { LocalControl { p/a } } }"), 442, "} } } } }"),
        (action("Add = a { Media { LocalControl { p/a = \"x\n\" } } }"), 442, "\n\""),
        (action("Add = a { Media { Local { v=0 "), 442, ""),
        (action("Add = a { Signals { p/a { Duration = 65536 } } }"), 442, "65536"),
        (
            action("ServiceChange = ROOT { Services { MgcIdToTry = <b>, ServiceChangeAddress = 1 } }"),
            442,
            " }",
        ),
        (action("Add = a,"), 422, "} }"),
        (action("Add = a") + " x", 400, "x"),
    ] {
        let (found, at) = refused(&text);
        let placed = text[at..].starts_with(near) && (!near.is_empty() || at == text.len());
        assert!(found == code && placed, "{text}: {found} at {at}: {}", &text[at..]);
    }
    let error = parse(action("Ad = a").as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.transaction(), Some(TransactionId(7)));
}

#[test]
fn comments_folding_and_mixed_spelling_are_read() {
    let message = read(
        "!/1 ; a comment\r\n [192.0.2.1]:2944 ; another { } \n\r\n tRaNsAcTiOn=1{CONTEXT=\t-{AV=root{at{PG ; last\r,media}}}}",
    );
    assert_eq!((message.version, message.mid.port()), (1, Some(2944)));
    let Some(Transaction::Request(request)) = message.transactions().first() else { panic!() };
    let audit = request.actions[0].commands[0].audit().unwrap();
    assert!(audit.asks(AuditToken::Packages) && audit.asks(AuditToken::Media));
}

#[test]
fn sdp_is_octets_up_to_the_brace_that_is_not_escaped() {
    let text = b"MEGACO/3 <a> Reply = 1 { Context = 1 { Add = x { Media { Local {\n\nv=0\r\ns=; \\} { \xff\r\n } } } } }";
    let message = parse(text, &Limits::default()).unwrap();
    let Some(Transaction::Reply(reply)) = message.transactions().first() else { panic!() };
    let ReplyBody::Actions(actions) = &reply.body else { panic!() };
    let media = actions[0].commands[0].media().unwrap();
    assert!(media.implied_stream);
    let local = media.stream(1).unwrap().local.as_ref().unwrap();
    assert_eq!(local.as_bytes(), b"v=0\r\ns=; } { \xff\r\n");
    assert_eq!(parse(&print(&message, Form::Short), &Limits::default()).unwrap(), message);
}

/// Words that are keywords elsewhere are names here, and the other way round.
#[test]
fn the_place_decides_what_a_word_means() {
    let message = read(
        "MEGACO/3 <a> Transaction = 1 { Context = 1 { Modify = Add { Events = * { p/Media { S = 1, Stream = 3, \
         IN > 5, Mode = {x, y} } } }, AuditValue = Context { Audit { } } } }",
    );
    let Some(Transaction::Request(request)) = message.transactions().first() else { panic!() };
    let [modify, _] = request.actions[0].commands.as_slice() else { panic!() };
    assert_eq!(modify.termination(), &"Add");
    assert!(parse(b"MEGACO/3 <a> Transaction = 1 { Context = 1 { Modify = x { Events = 1 { p/e { ST = 2, Stream = 3 } } } } }", &Limits::default()).is_err());
    let event = &modify.events().unwrap().events[0];
    assert_eq!((event.stream, event.parameters.len()), (Some(3), 3));
}

#[test]
fn individual_audits_and_context_audits_survive() {
    for inner in [
        "Context = 1 { AuditValue = t { Audit { Media { Stream = 2 { LocalControl { Mode, ipdc/realm, p/x = 5 } } }, Packages { g-1 }, \
         Statistics { nt/os }, EventBuffer { p/e { st } }, Events = 7 { p/e }, DigitMap = dialplan, Signals { SignalList = 4 { p/s } }, ObservedEvents } } }",
        "Context = * { ContextAudit { Topology, Priority = 4, EmergencyValue = Emergency, ANDLgc, p/x } }",
        "Context = - { ContextAttr { ContextList = { 1, 2, $ } }, AuditValue = * { Audit { } } }",
        "Context = 1 { Topology { a, b, Isolate, Stream = 2, b, c, OnewayExternal }, EmergencyOff, IEPSCall = ON, Modify = [a, b] }",
    ] {
        let message = read(&format!("MEGACO/3 <a> Transaction = 1 {{ {inner} }}"));
        for form in [Form::Long, Form::Short] {
            let printed = print(&message, form);
            assert_eq!(
                parse(&printed, &Limits::default()).as_ref(),
                Ok(&message),
                "{}",
                String::from_utf8_lossy(&printed)
            );
        }
    }
    let reply = read(
        "MEGACO/3 <a> Reply = 1 { Context = 1 { AuditValue = Context { t/1, t/2 }, AuditValue = Context { Error = 411 { } } } }",
    );
    assert_eq!(parse(&print(&reply, Form::Short), &Limits::default()).unwrap(), reply);
}

#[test]
fn everything_that_grows_has_a_limit() {
    let many = |n: usize| format!("MEGACO/3 <a>{}", " Pending = 1 { }".repeat(n));
    assert!(parse(many(64).as_bytes(), &Limits::default()).is_ok());
    assert_eq!(refused(&many(65)).0, 413);
    let properties: Vec<_> = (0..600).map(|n| format!("p/x{n} = 1")).collect();
    let list = format!(
        "MEGACO/3 <a> Transaction = 1 {{ Context = 1 {{ Add = a {{ Media {{ LocalControl {{ {} }} }} }} }} }}",
        properties.join(",")
    );
    assert_eq!(parse(list.as_bytes(), &Limits::default()).unwrap_err().class(), "limit");
    let deep = format!(
        "MEGACO/3 <a> Transaction = 1 {{ Context = 1 {{ ContextAudit {{ {} x {} }} }} }}",
        "a {".repeat(2_000),
        "}".repeat(2_000)
    );
    assert_eq!(parse(deep.as_bytes(), &Limits::default()).unwrap_err().class(), "limit");
    let nested = "Embed { Events = 1 { p/e { ".repeat(3_000);
    let nested =
        format!("MEGACO/3 <a> Transaction = 1 {{ Context = 1 {{ Add = a {{ Events = 1 {{ p/e {{ {nested}");
    assert!(
        parse(nested.as_bytes(), &Limits { octets: 1 << 20, ..Limits::default() }).unwrap_err().class()
            == "limit"
    );
    assert_eq!(parse(&vec![b' '; 70_000], &Limits::default()).unwrap_err().class(), "limit");
    assert_eq!(
        parse(format!("MEGACO/3 {}", "d".repeat(2_000)).as_bytes(), &Limits::default()).unwrap_err().class(),
        "limit"
    );
}

#[test]
fn an_empty_signals_descriptor_is_written_as_the_version_has_it() {
    for (version, text) in [(1, "SG{}"), (2, "SG}")] {
        let message = read(&format!(
            "MEGACO/{version} <a> Transaction = 1 {{ Context = 1 {{ Modify = a {{ Signals }} }} }}"
        ));
        let printed = String::from_utf8(print(&message, Form::Short)).unwrap();
        assert!(printed.contains(text), "{printed}");
        assert_eq!(read(&printed), message);
    }
}

#[test]
fn wildcards_match_component_by_component() {
    let matches = |pattern: &'static str, id: &'static str| {
        TerminationId::from(pattern).matches(&TerminationId::from(id))
    };
    assert!(matches("*", "ip/1/2") && !matches("*", "ROOT"));
    assert!(matches("ip/*/access/*", "IP/7/ACCESS/4711") && !matches("ip/*", "ip/1/2"));
    assert!(matches("ip/a*c/*1", "ip/abbc/31") && !matches("ip/a*c/*1", "ip/abb/31"));
    assert!(matches("a*b*c", "aXbYbZc") && !matches("a*b*c", "ac"));
    assert!(!matches("ip/1", "ip/2") && matches("ip/1", "IP/1"));
}

#[test]
fn time_stamps_are_utc() {
    let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_772_352_000_123);
    assert_eq!(TimeStamp::from_system_time(at).to_string(), "20260301T08000012");
    assert_eq!(
        TimeStamp::from_system_time(std::time::SystemTime::UNIX_EPOCH).to_string(),
        "19700101T00000000"
    );
    let leap = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(951_782_400);
    assert_eq!(TimeStamp::from_system_time(leap).date, 20_000_229);
}
