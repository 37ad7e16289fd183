//! What is printed is valid by the schema of RFC 4575 §6, as libxml2 judges it.
//!
//! Skipped with a message when `xmllint` is not there, unless `CARNET_REQUIRE_INTEROP=1`.

#![allow(clippy::unwrap_used)]

use carnet_roster::{
    Description, Disconnection, Document, Element, Endpoint, Execution, Host, Joining, Limits, Media,
    MediaStatus, Medium, Node, Roster, Seal, State, Status, UriEntry, User,
};
use std::io::Write;
use std::process::{Command, Stdio};

/// The verdict on a document; `None` without the program.
fn judge(text: &str) -> Option<Result<(), String>> {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rfc4575-6.xsd");
    let started = Command::new("xmllint")
        .args(["--nonet", "--noout", "--schema", schema, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        let required = std::env::var("CARNET_REQUIRE_INTEROP").as_deref() == Ok("1");
        assert!(!required, "xmllint is needed and not there");
        eprintln!("skipped: xmllint is not there");
        return None;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() { Ok(()) } else { Err(said) })
}

#[track_caller]
fn valid(document: &Document) {
    let text = document.print();
    if let Some(Err(said)) = judge(&text) {
        panic!("{said}\n{text}");
    }
}

fn text(t: &str) -> Option<String> {
    Some(t.to_owned())
}

fn done() -> Option<Execution> {
    let when = text(&carnet_roster::date_time(1_109_966_400));
    Some(Execution {
        when,
        reason: text("SIP;text=\"<odd>\""),
        by: text("sip:mike@example.com"),
        ..Execution::default()
    })
}

fn foreign(name: &str) -> Element {
    let mut element = Element::new("urn:example:ext", name);
    element.set_attribute("urn:example:other", "level", "3");
    element.children.push(Node::Element(Element::new("", "bare")));
    element
}

/// Every element there is.
fn everything() -> Roster {
    let uris = vec![UriEntry {
        uri: "sip:conf@example.com".into(),
        display_text: text("Room"),
        purpose: text("participation"),
        modified: done(),
        ..UriEntry::default()
    }];
    let mut roster = Roster {
        entity: "sip:conf@example.com".into(),
        description: Description {
            display_text: text("Display"),
            subject: text("Subject & <more>"),
            free_text: text("Free"),
            keywords: vec!["one".into(), "two".into()],
            conf_uris: uris.clone(),
            service_uris: uris.clone(),
            maximum_user_count: Some(u32::MAX),
            available_media: vec![Medium {
                label: "1".into(),
                display_text: text("chat"),
                kind: "message".into(),
                status: Some(MediaStatus::SendRecv),
                ..Medium::default()
            }],
            ..Description::default()
        },
        host: Some(Host {
            display_text: text("Host"),
            web_page: text("https://example.com/"),
            uris: uris.clone(),
            ..Host::default()
        }),
        ..Roster::default()
    };
    roster.state.user_count = Some(2);
    roster.state.active = Some(true);
    roster.state.locked = Some(false);
    let mut media = Media {
        id: "1".into(),
        display_text: text("chat"),
        kind: text("message"),
        label: text("1"),
        src_id: text("7"),
        status: Some(MediaStatus::RecvOnly),
        ..Media::default()
    };
    media.extra.set_seal(Some(Seal::Sealed));
    let mut endpoint = Endpoint {
        entity: "sip:bob@192.0.2.1".into(),
        display_text: text("laptop"),
        referred: done(),
        status: Some(Status::Disconnected),
        joining_method: Some(Joining::DialedOut),
        joining_info: done(),
        disconnection_method: Some(Disconnection::Booted),
        disconnection_info: done(),
        media: vec![media],
        ..Endpoint::default()
    };
    endpoint.extra.set_seal(Some(Seal::Open));
    let mut user = User {
        entity: "sip:bob@example.com".into(),
        nickname: text("Bob \"the\" <b>"),
        display_text: text("Bob"),
        associated_aors: uris,
        roles: vec!["owner".into(), "chair".into()],
        languages: vec!["en".into()],
        cascaded_focus: text("sip:other@example.com"),
        endpoints: vec![endpoint.clone(), Endpoint { entity: "second".into(), ..endpoint }],
        ..User::default()
    };
    user.extra.elements.push(foreign("mood"));
    user.extra.set_seal(Some(Seal::Open));
    roster.users = vec![user.clone(), User { entity: "sip:carol@example.com".into(), ..user }];
    roster.users_extra.elements.push(foreign("hidden"));
    roster.extra.elements.push(foreign("tail"));
    roster.extra.set_seal(Some(Seal::Open));
    roster
}

#[test]
fn full_documents() {
    valid(&Roster { entity: "sip:empty@example.com".into(), ..Roster::default() }.document(0));
    let roster = everything();
    let full = roster.document(u32::MAX);
    valid(&full);
    assert_eq!(
        Document::parse(full.print().as_bytes(), &Limits::default()).unwrap().roster().unwrap(),
        roster
    );
    for part in full.split(500) {
        valid(&part);
    }
    valid(&Roster::deleted("sip:gone@example.com", 3));
}

#[test]
fn partial_documents() {
    let old = everything();
    let changes: [fn(&mut Roster); 8] = [
        |r| r.description.subject = None,
        |r| r.state.locked = Some(true),
        |r| drop(r.users.remove(0)),
        |r| r.users.push(User { entity: "sip:new@example.com".into(), ..User::default() }),
        |r| drop(r.users[0].endpoints.remove(0)),
        |r| r.users[0].endpoints[0].media[0].status = Some(MediaStatus::Inactive),
        |r| r.users[1].extra.set_seal(Some(Seal::Sealed)),
        |r| {
            r.users[0].roles.pop();
            r.users[0].nickname = text("B");
            r.users[0].endpoints[0].status = Some(Status::Connected);
            r.users[0].endpoints.remove(1);
            r.extra.set_seal(Some(Seal::Sealed));
        },
    ];
    for change in changes {
        let mut new = old.clone();
        change(&mut new);
        let document = Roster::diff(&old, &new, 2).unwrap();
        assert_eq!(document.state(), State::Partial);
        assert!(document.print().len() < new.document(2).print().len());
        valid(&document);
    }
}

#[test]
fn the_judge_says_no() {
    let wrong = everything().document(1).print().replace("user-count", "usercount");
    if let Some(verdict) = judge(&wrong) {
        assert!(verdict.unwrap_err().contains("usercount"));
    }
}
