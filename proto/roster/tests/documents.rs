//! The documents of RFC 4575 §7 and RFC 7701 §9.6, and what is no document.

#![allow(clippy::unwrap_used)]

use carnet_roster::{
    Applied, Change, Disconnection, Document, Error, Joining, Limits, MediaStatus, Roster, Seal, State,
    Status, View,
};

const BASIC: &str = include_str!("fixtures/rfc4575-7-basic.xml");
const RICH: &str = include_str!("fixtures/rfc4575-7-rich.xml");
const NICKNAMES: &str = include_str!("fixtures/rfc7701-9-6.xml");

fn parse(text: &str) -> Document {
    Document::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn refuse(text: &str) -> Error {
    let document = Document::parse(text.as_bytes(), &Limits::default());
    document.and_then(|d| View::default().apply(&d).map(|_| ())).unwrap_err()
}

#[test]
fn the_basic_example() {
    let document = parse(BASIC);
    assert_eq!((document.state(), document.version()), (State::Full, 1));
    let roster = document.roster().unwrap();
    assert_eq!(roster.entity, "sips:conf233@example.com");
    assert_eq!(roster.description.subject.as_deref(), Some("Agenda: This month's goals"));
    assert_eq!(roster.state.user_count, Some(33));
    let bob = &roster.users[0].endpoints[0];
    assert_eq!(bob.status, Some(Status::Disconnected));
    assert_eq!(bob.disconnection_method, Some(Disconnection::Departed));
    let info = bob.disconnection_info.as_ref().unwrap();
    assert_eq!(info.reason.as_deref(), Some("bad voice quality"));
    assert_eq!(info.by.as_deref(), Some("sip:mike@example.com"));
    assert!(!roster.users[0].is_present());
    let alice = &roster.users[1].endpoints[0];
    assert_eq!(alice.joining_method, Some(Joining::DialedOut));
    assert_eq!(alice.media[0].src_id.as_deref(), Some("534232"));
    assert_eq!(alice.media[0].status, Some(MediaStatus::SendRecv));
    assert!(roster.users[1].is_present());
}

#[test]
fn the_rich_example_goes_on_the_basic_one() {
    let rich = parse(RICH);
    assert_eq!((rich.state(), rich.version()), (State::Partial, 5));
    let mut view = View::default();
    view.apply(&parse(BASIC)).unwrap();
    // Versions 2 to 4 never came.
    assert_eq!(view.apply(&rich), Ok(Applied::Gap));
    let mut view = View::default();
    view.apply(&parse(&BASIC.replace("version=\"1\"", "version=\"4\""))).unwrap();
    assert!(matches!(view.apply(&rich), Ok(Applied::Changed(_))));
    let roster = view.roster();
    assert_eq!(roster.description.maximum_user_count, Some(100));
    assert_eq!(roster.description.conf_uris.len(), 3);
    assert_eq!(roster.description.available_media[1].status, Some(MediaStatus::Inactive));
    assert_eq!(roster.host.as_ref().unwrap().uris[0].uri, "sip:sales@example.com");
    // `<users>` says no state, which is full: Alice is not in it.
    assert_eq!(roster.users.len(), 1);
    let bob = &roster.users[0];
    assert_eq!((bob.roles.join(","), bob.languages.join(",")), ("participant".into(), "en".into()));
    assert!(bob.endpoints[0].call_info.is_some());
    // The sidebars stay as they came.
    let names: Vec<_> = roster.extra.elements.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["sidebars-by-ref", "sidebars-by-val"]);
}

#[test]
fn nicknames() {
    let roster = parse(NICKNAMES).roster().unwrap();
    assert_eq!(roster.users[0].nickname.as_deref(), Some("Dopey Donkey"));
    assert_eq!(roster.users[1].name(), "Alice the great");
    let again = parse(&roster.document(2).print()).roster().unwrap();
    assert_eq!(again, roster);
}

#[test]
fn printing_and_reading_again_changes_nothing() {
    for text in [BASIC, NICKNAMES] {
        let document = parse(text);
        assert_eq!(parse(&document.print()), document);
        let roster = document.roster().unwrap();
        let again = roster.document(7);
        assert_eq!(again.roster().unwrap(), roster);
        assert_eq!(parse(&again.print()), again);
    }
    let rich = parse(RICH);
    assert_eq!(parse(&rich.print()), rich);
}

#[test]
fn what_is_not_known_stays() {
    let text = r#"<c:conference-info xmlns:c="urn:ietf:params:xml:ns:conference-info" xmlns:x="urn:x" entity="sip:a@b"
        version="1" x:on="root" c:own="1"><c:conference-description><x:deep><y xmlns="" z="1">text &lt;&#x41;</y></x:deep></c:conference-description>
        <c:users><c:user entity="sip:u@b" x:badge="7"><x:mood xml:lang="en">fine</x:mood><c:endpoint entity="e"><c:status>astral</c:status>
        <c:media id="1"><x:codec/></c:media></c:endpoint></c:user></c:users><x:tail>&amp;</x:tail></c:conference-info>"#;
    let document = parse(text);
    let roster = document.roster().unwrap();
    let user = &roster.users[0];
    assert_eq!(user.extra.attributes[0].value, "7");
    assert_eq!(user.extra.elements[0].text(), "fine");
    assert_eq!(user.endpoints[0].status, Some(Status::Other("astral".into())));
    let deep = &roster.description.extra.elements[0];
    assert_eq!(deep.elements().next().unwrap().text(), "text <A");
    let printed = roster.document(1).print();
    assert_eq!(parse(&printed).roster().unwrap(), roster, "{printed}");
    assert_eq!(roster.extra.elements[0].text(), "&");
    assert_eq!(roster.extra.attributes.len(), 2);
}

#[test]
fn names_of_namespaces_are_read_as_any_value() {
    let text = r#"<conference-info xmlns="urn:ietf:params:xml:ns:conference&#45;info" xmlns:x="urn:x?a&amp;b" entity="a"
        version="1"><conference-description/><users/><x:y x:z="1"/></conference-info>"#;
    let document = parse(text);
    assert_eq!(document.root().elements().last().map(|e| &*e.namespace), Some("urn:x?a&b"));
    assert_eq!(parse(&document.print()), document);
}

#[test]
fn texts_that_would_break_out() {
    let mut roster = parse(BASIC).roster().unwrap();
    let text = "</subject><user entity='x'/> & \"quoted\"\r\n\ttab \u{1F512}";
    roster.description.subject = Some(text.to_owned());
    roster.users[0].entity = "sip:a&b\"<@example.com".to_owned();
    let again = parse(&roster.document(3).print()).roster().unwrap();
    assert_eq!(again, roster);
    // What XML cannot say is replaced.
    roster.users[0].nickname = Some("bell\u{7}null\0".to_owned());
    let again = parse(&roster.document(3).print()).roster().unwrap();
    assert_eq!(again.users[0].nickname.as_deref(), Some("bell\u{fffd}null\u{fffd}"));
}

#[test]
fn what_is_no_document() {
    let ns = "xmlns=\"urn:ietf:params:xml:ns:conference-info\"";
    let whole =
        |inner: &str| format!("<conference-info {ns} entity=\"a\" version=\"1\">{inner}</conference-info>");
    assert!(Document::parse(whole("<users/>").as_bytes(), &Limits::default()).is_ok());
    for text in [
        String::new(),
        "  ".into(),
        "plain".into(),
        whole("<users>"),
        whole("<users></user>"),
        whole("&nbsp;"),
        whole("<users a=\"1\" a=\"2\"/>"),
        whole("<x:users/>"),
        whole("<!-- -- -->"),
        whole("&#1;"),
        whole("<x:users xmlns:x=\"a\u{1}b\"/>"),
        whole("<x:users xmlns:x=\"a&b;\"/>"),
        format!("{}<more/>", whole("")),
        format!("{}more", whole("")),
        format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{}", whole("")),
        format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{}", whole("&a;")),
        format!("<!DOCTYPE conference-info SYSTEM \"file:///etc/passwd\">{}", whole("")),
    ] {
        assert!(matches!(refuse(&text), Error::Syntax(_)), "{text}: {:?}", refuse(&text));
    }
    for text in [
        "<conference-info entity=\"a\" version=\"1\"/>".to_owned(),
        format!("<conference-info {ns} entity=\"a\"/>"),
        format!("<conference-info {ns} version=\"1\"/>"),
        format!("<conference-info {ns} entity=\"a\" version=\"-1\"/>"),
        format!("<conference-info {ns} entity=\"a\" version=\"4294967296\"/>"),
        format!("<conference-info {ns} entity=\"a\" version=\"1\" state=\"half\"/>"),
        whole("<users><user/></users>"),
        whole("<users><user entity=\"u\" state=\"half\"/></users>"),
        whole("<conference-state><user-count>many</user-count></conference-state>"),
        whole("<conference-state><active>perhaps</active></conference-state>"),
    ] {
        assert!(matches!(refuse(&text), Error::Content { .. }), "{text}: {:?}", refuse(&text));
    }
    assert!(Document::parse(b"<a>\xff</a>", &Limits::default()).is_err());
}

#[test]
fn bounds() {
    let limits = Limits { octets: 4000, depth: 5, elements: 30, users: 3 };
    let ns = "xmlns=\"urn:ietf:params:xml:ns:conference-info\"";
    let whole =
        |inner: &str| format!("<conference-info {ns} entity=\"a\" version=\"1\">{inner}</conference-info>");
    let take = |text: &str| View::new(limits).read(text.as_bytes()).map(|_| ());
    assert_eq!(take(&whole("")), Ok(()));
    assert_eq!(take(&whole(&"x".repeat(4000))), Err(Error::TooLarge("octets")));
    assert_eq!(
        take(&whole(&format!("{}{}", "<a>".repeat(5), "</a>".repeat(5)))),
        Err(Error::TooLarge("levels"))
    );
    assert_eq!(take(&whole(&"<a/>".repeat(30))), Err(Error::TooLarge("elements")));
    let users = |n: usize| (0..n).map(|i| format!("<user entity=\"u{i}\"/>")).collect::<String>();
    assert_eq!(take(&whole(&format!("<users>{}</users>", users(3)))), Ok(()));
    assert_eq!(take(&whole(&format!("<users>{}</users>", users(4)))), Err(Error::TooLarge("users")));
    // Nor by adding up.
    let mut view = View::new(limits);
    view.read(whole(&format!("<users>{}</users>", users(3))).as_bytes()).unwrap();
    let more = "<users state=\"partial\"><user entity=\"v\"/></users>";
    let more = whole(more).replace("version=\"1\"", "version=\"2\" state=\"partial\"");
    assert_eq!(view.read(more.as_bytes()), Err(Error::TooLarge("users")));
    assert_eq!((view.roster().users.len(), view.version()), (3, Some(1)));
}

#[test]
fn seals() {
    let mut roster = parse(BASIC).roster().unwrap();
    assert_eq!(roster.seal(), None);
    roster.extra.set_seal(Some(Seal::Open));
    roster.users[1].extra.set_seal(Some(Seal::Sealed));
    let text = roster.document(1).print();
    assert!(text.contains("xmlns:seal=\"urn:carnet:conference-seal:1\""), "{text}");
    assert!(text.contains("<seal:seal state=\"sealed\"/>"), "{text}");
    let mut view = View::default();
    view.read(text.as_bytes()).unwrap();
    assert_eq!((view.roster().seal(), view.roster().users[1].seal()), (Some(Seal::Open), Some(Seal::Sealed)));
    let mut next = roster.clone();
    next.extra.set_seal(Some(Seal::Sealed));
    next.users[1].extra.set_seal(Some(Seal::Open));
    let partial = Roster::diff(&roster, &next, 2).unwrap();
    assert_eq!(partial.state(), State::Partial);
    let Ok(Applied::Changed(changes)) = view.read(partial.print().as_bytes()) else { panic!() };
    let alice = Change::Sealed("sip:alice@example.com".into(), Some(Seal::Open));
    assert_eq!(changes, [alice, Change::ConferenceSealed(Some(Seal::Sealed))]);
}
