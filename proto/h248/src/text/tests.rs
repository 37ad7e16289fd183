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
    assert_eq!(list.len(), 25);
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
