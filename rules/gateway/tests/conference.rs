//! An MRFP: conferences, their members and floors (TS 23.333 §5.14, §6.2.19).

#![allow(clippy::unwrap_used)]

mod rig;

use carnet_gateway::media::{
    self, Algorithm, Cause, Conference, ConferenceEvent, Endpoint, FloorSettings, Gate, Medium, Role,
    TlsFailure, TlsRole,
};
use carnet_gateway::{Event, Function};
use carnet_h248::MId;
use rig::{Rig, fixture, read, squeeze};

const KEY: &str = "000102030405060708090A0B0C0D0E0F";
const OTHER_KEY: &str = "F0E0D0C0B0A090807060504030201000FF";

/// What makes a context a room with two floors.
const ROOM: &str = "ContextAttr { crnroom/uri = \"sip:room@example.net\", fcp/confid = 4711, \
                    fcp/floors = [ \"1:chair:1:60:7\", \"2:fcfs:2:0\" ] },";

fn mrfp() -> Rig {
    Rig::with(MId::domain("mrfc1.core.example"), |config| {
        config.function = Function::Conference;
        config.protected = true;
        config.limits.terminations = 100;
    })
}

/// A termination for MSRP: `control` in LocalControl besides mode and user, `remote` perhaps.
fn msrp(user: u16, control: &str, remote: &str) -> String {
    format!(
        "$ {{ Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive, crnroom/user = {user}{control} }}, \
         Local {{\nv=0\nc=IN IP4 $\nm=message $ TCP/TLS/MSRP *\na=path:msrps://$:$/s{user};tcp\n\
         a=setup:passive\n}}{remote} }} }}, \
         Events = {user} {{ crnroom/*, fcp/floor, tcpbcc/BNCChange, tlsbsc/BNCChange }} }}"
    )
}

const PEER: &str = ", Remote {\nv=0\nc=IN IP4 198.51.100.20\nm=message 9 TCP/TLS/MSRP *\n\
                    a=path:msrps://198.51.100.20:2855/abc;tcp\na=setup:active\n\
                    a=accept-types:message/cpim text/plain\na=max-size:10000\n}";

fn sealed(user: u16) -> String {
    let keys = format!(", crntls/psk = {KEY}, crntls/pskid = \"Y2FybmV0LXRlc3Q\"");
    msrp(user, &keys, PEER)
}

fn bfcp(user: u16, control: &str) -> String {
    format!(
        "$ {{ Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive, crnroom/user = {user}{control} }}, \
         Local {{\nv=0\nc=IN IP4 $\nm=application $ TCP/BFCP *\na=setup:passive\na=floorctrl:s-only\n}} }} }} }}"
    )
}

/// The context of a reply.
fn context(reply: &str) -> String {
    reply.split("Context = ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

fn added(reply: &str) -> Vec<String> {
    let of = |part: &str| part.split([' ', '}', ',']).next().unwrap().to_owned();
    reply.split("Add = ").skip(1).map(of).collect()
}

/// A room with these terminations; context and identifiers.
fn room(rig: &mut Rig, terminations: &[String]) -> (String, Vec<String>) {
    let adds: Vec<_> = terminations.iter().map(|t| format!("Add = {t}")).collect();
    let reply = rig.ask(&format!("Context = $ {{ {ROOM} {} }}", adds.join(", ")));
    (context(&reply), added(&reply))
}

fn endpoint(rig: &Rig, port: u16) -> Endpoint {
    rig.engine.settings(port).endpoint.as_deref().unwrap().clone()
}

fn group(context: &str) -> u32 {
    context.parse().unwrap()
}

#[test]
fn a_room_with_floors_is_made_filled_and_emptied() {
    let mut rig = mrfp();
    let chair = bfcp(7, ", fcp/chair = 1");
    let reply = rig.ask(&format!(
        "Context = $ {{ ContextAttr {{ crnroom/uri = \"sip:room@example.net\", crnroom/subject = \"caf%C3%A9\", \
         crnroom/nicknames = ON, crnroom/private = ON, crnroom/moderated = 1, crnroom/historycount = 20, \
         crnroom/historysecs = 600, crnroom/maxmessage = 100000, crnroom/stallsecs = 30, \
         crnroom/stalloctets = 5000000000, crnroom/reserved = [ \"The Chair\", \"%22root%22\" ], \
         crnroom/notices = ON, fcp/confid = 4294967295, fcp/maxrequests = 3, fcp/state = \"v1;1.7\", \
         fcp/floors = [ \"1:chair:1:60:7\", \"2:fcfs:0:0\", \"3:rotation:2:5:\" ] }}, \
         Add = {}, Add = {chair} }}",
        msrp(
            7,
            &format!(
                ", crnroom/member = \"sip:a%20b@example.net\", crnroom/nick = \"%22A%22\", crnroom/speak = OFF, \
                 crnroom/history = OFF, crnroom/maxsize = 99, crnroom/types = \"text/plain image/*\", \
                 crnroom/tls = client, crntls/psk = {KEY}, crntls/pskid = \"Y2FybmV0LXRlc3Q\""
            ),
            PEER
        )
    ));
    let expected = Conference {
        uri: "sip:room@example.net".into(),
        subject: Some("café".into()),
        nicknames: true,
        private: true,
        moderated: Some(1),
        history_count: Some(20),
        history_seconds: Some(600),
        max_message: Some(100_000),
        stall_seconds: Some(30),
        stall_octets: Some(5_000_000_000),
        reserved: vec!["The Chair".into(), "\"root\"".into()],
        notices: true,
        confid: Some(u32::MAX),
        floors: vec![
            FloorSettings {
                id: 1,
                algorithm: Algorithm::Chair,
                holders: 1,
                seconds: 60,
                label: Some("7".into()),
            },
            FloorSettings { id: 2, algorithm: Algorithm::Fcfs, holders: 0, seconds: 0, label: None },
            FloorSettings { id: 3, algorithm: Algorithm::Rotation, holders: 2, seconds: 5, label: None },
        ],
        max_requests: Some(3),
        state: Some("v1;1.7".into()),
    };
    let number = group(&context(&reply));
    assert_eq!(rig.engine.conferences[&number], expected);
    // The conference is there before anybody is in it.
    assert!(matches!(rig.engine.commands[0], media::Command::Conference { group, .. } if group == number));
    assert!(!rig.engine.commands.iter().any(|c| matches!(c, media::Command::Join { .. })));

    let settings = rig.engine.settings(30_000);
    assert_eq!((settings.role, settings.gate), (Role::Passive, Gate::SendReceive));
    let end = endpoint(&rig, 30_000);
    assert_eq!((end.user, end.member.as_str()), (7, "sip:a%20b@example.net"));
    let tls = end.tls.unwrap();
    assert_eq!((tls.role, tls.identity.as_slice()), (TlsRole::Client, b"carnet-test".as_slice()));
    assert_eq!(tls.key.expose(), (0..16).collect::<Vec<u8>>());
    let local_path = "msrps://203.0.113.10:30000/s7;tcp".to_owned();
    let expected = Medium::Msrp {
        local_path: local_path.clone(),
        remote_path: "msrps://198.51.100.20:2855/abc;tcp".into(),
        accept_types: vec!["text/plain".into(), "image/*".into()],
        max_size: Some(99),
        nickname: Some("\"A\"".into()),
        speak: false,
        history: false,
    };
    assert_eq!(end.medium, expected);
    assert!(reply.contains(&format!("a=path:{local_path}")), "{reply}");
    let end = endpoint(&rig, 30_002);
    assert_eq!((end.user, end.medium, end.tls), (7, Medium::Bfcp { chairs: vec![1] }, None));

    let reply = rig.ask(&format!("Context = {number} {{ W-Subtract = * {{ Audit {{ }} }} }}"));
    assert!(reply.contains("Subtract = *"), "{reply}");
    rig.assert_empty();
}

#[test]
fn what_the_peer_says_of_itself_is_taken_and_everybody_may_speak() {
    let mut rig = mrfp();
    room(&mut rig, &[sealed(1)]);
    let Endpoint { medium, tls, .. } = endpoint(&rig, 30_000);
    let Medium::Msrp { accept_types, max_size, nickname, speak, history, .. } = medium else { panic!() };
    assert_eq!(accept_types, ["message/cpim", "text/plain"]);
    assert_eq!((max_size, nickname, speak, history), (Some(10_000), None, true, true));
    // It was not said who begins TLS: the side that connects.
    assert_eq!(tls.unwrap().role, TlsRole::Server);
}

/// An offer to a member: the address first, the rest with the answer.
#[test]
fn a_member_that_is_called_gets_its_key_when_it_has_answered() {
    let mut rig = mrfp();
    let offer = "$ { Media { Stream = 1 { LocalControl { Mode = Inactive, crnroom/user = 9 }, \
                 Local {\nv=0\nc=IN IP6 $\nm=message $ TCP/TLS/MSRP *\na=path:msrps://$:$/x9;tcp\n\
                 a=setup:actpass\n} } } }";
    let (context, ids) = room(&mut rig, &[offer.to_owned()]);
    let settings = rig.engine.settings(30_000);
    assert_eq!((settings.role, settings.gate, &settings.endpoint), (Role::Undecided, Gate::Inactive, &None));
    let audit = |rig: &mut Rig| {
        rig.ask(&format!("Context = {context} {{ AuditValue = {} {{ Audit {{ Media }} }} }}", ids[0]))
    };
    assert!(audit(&mut rig).contains("a=path:msrps://[2001:db8:1::10]:30000/x9;tcp"));
    // Early: the gate opens, but there is nobody yet.
    let modify = |rig: &mut Rig, what: &str| {
        rig.code(&format!(
            "Context = {context} {{ Modify = {} {{ Media {{ Stream = 1 {{ {what} }} }} }} }}",
            ids[0]
        ))
    };
    assert_eq!(modify(&mut rig, "LocalControl { Mode = SendReceive }"), 0);
    assert_eq!(rig.engine.settings(30_000).endpoint, None);
    let answer = "Remote {\nv=0\nc=IN IP6 2001:db8::7\nm=message 2855 TCP/TLS/MSRP *\n\
                  a=path:msrps://[2001:db8::7]:2855/y;tcp\na=setup:passive\n}";
    // Nobody without a key where there is to be TLS.
    assert_eq!(modify(&mut rig, answer), 472);
    let keys =
        format!("LocalControl {{ Mode = SendReceive, crntls/psk = {KEY}, crntls/pskid = \"eA\" }}, {answer}");
    assert_eq!(modify(&mut rig, &keys), 0);
    let settings = rig.engine.settings(30_000);
    assert_eq!(settings.role, Role::Active, "the answer decides");
    assert_eq!(settings.remote, Some("[2001:db8::7]:2855".parse().unwrap()));
    let end = endpoint(&rig, 30_000);
    assert_eq!((end.user, end.tls.unwrap().role), (9, TlsRole::Client));
}

#[test]
fn properties_hold_until_they_are_given_another_value() {
    let mut rig = mrfp();
    let (context, ids) = room(&mut rig, &[sealed(1), bfcp(1, ", fcp/chair = [ 2, 1 ]")]);
    let modify = |rig: &mut Rig, id: usize, what: &str| {
        let id = &ids[id];
        let media = format!("Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive{what} }} }} }}");
        rig.code(&format!("Context = {context} {{ Modify = {id} {{ {media} }} }}"))
    };
    assert_eq!(modify(&mut rig, 0, ", crnroom/nick = \"Al\""), 0);
    assert_eq!(modify(&mut rig, 0, ", crnroom/speak = OFF"), 0);
    let end = endpoint(&rig, 30_000);
    let Medium::Msrp { nickname, speak, .. } = end.medium else { panic!() };
    assert_eq!((nickname.as_deref(), speak, end.user), (Some("Al"), false, 1));
    assert_eq!(end.tls.unwrap().key.expose()[1], 1, "the key stays");
    let audit =
        rig.ask(&format!("Context = {context} {{ AuditValue = {} {{ Audit {{ Media }} }} }}", ids[0]));
    for told in ["crnroom/user = 1", "crnroom/nick = \"Al\"", "crnroom/speak = OFF"] {
        assert!(audit.contains(told), "{told} in {audit}");
    }
    assert!(!audit.contains("crntls"), "{audit}");

    let new = format!(", crnroom/nick = \"\", crntls/psk = {OTHER_KEY}");
    assert_eq!(modify(&mut rig, 0, &new), 0);
    let end = endpoint(&rig, 30_000);
    let Medium::Msrp { nickname, .. } = end.medium else { panic!() };
    assert_eq!((nickname, end.tls.unwrap().key.expose()[0]), (None, 0xf0));

    assert_eq!(endpoint(&rig, 30_002).medium, Medium::Bfcp { chairs: vec![1, 2] });
    assert_eq!(modify(&mut rig, 1, ""), 0);
    assert_eq!(endpoint(&rig, 30_002).medium, Medium::Bfcp { chairs: vec![1, 2] });
    assert_eq!(modify(&mut rig, 1, ", fcp/chair = 0"), 0);
    assert_eq!(endpoint(&rig, 30_002).medium, Medium::Bfcp { chairs: vec![] });
}

#[test]
fn what_holds_for_the_conference_is_changed_and_told() {
    let mut rig = mrfp();
    let (context, _) = room(&mut rig, &[sealed(1)]);
    let number = group(&context);
    let told = |rig: &Rig| {
        let of = |c: &&media::Command| matches!(c, media::Command::Conference { .. });
        rig.engine.commands.iter().filter(of).count()
    };
    assert_eq!(told(&rig), 1);
    let set =
        |rig: &mut Rig, what: &str| rig.code(&format!("Context = {context} {{ ContextAttr {{ {what} }} }}"));
    assert_eq!(set(&mut rig, "crnroom/nicknames = ON"), 0);
    let now = &rig.engine.conferences[&number];
    assert!(now.nicknames && now.uri == "sip:room@example.net" && now.floors.len() == 2);
    assert_eq!(told(&rig), 2);
    assert_eq!(set(&mut rig, "crnroom/nicknames = ON"), 0);
    assert_eq!(told(&rig), 2, "nothing has changed");
    // A state restores what was; it is not forced upon what is.
    assert_eq!(set(&mut rig, "fcp/state = \"x\""), 501);
    assert_eq!(set(&mut rig, "crnroom/nicknames = OFF, crnroom/moderated = 9"), 449);
    assert!(rig.engine.conferences[&number].nicknames, "nothing of what was refused is done");
    // A name and, in a list of contexts, a value.
    let ask = |rig: &mut Rig, at: &str, what: &str| {
        rig.ask(&format!("Context = {at} {{ ContextAudit {{ {what} }} }}"))
    };
    let reply = ask(&mut rig, &context, "crnroom/uri, fcp/floors, crnroom/subject");
    let expected = "ContextAttr { crnroom/uri = \"sip:room@example.net\", \
                    fcp/floors = [\"1:chair:1:60:7\", \"2:fcfs:2:0\"] }";
    assert!(reply.contains(&squeeze(expected)), "{reply}");
    let reply = ask(&mut rig, &context, "crnroom/*");
    assert!(reply.contains("crnroom/nicknames = ON") && !reply.contains("fcp/"), "{reply}");
    let (other, _) = room(&mut rig, &[sealed(1)]);
    assert_eq!(rig.code(&format!("Context = {other} {{ ContextAttr {{ crnroom/uri = \"sip:b@c\" }} }}")), 0);
    let reply = ask(&mut rig, "*", "crnroom/uri = \"sip:b@c\"");
    assert!(reply.contains(&format!("Context = {other} ")) && !reply.contains(&context), "{reply}");
}

/// Every error, by the one thing that is wrong.
#[test]
fn what_is_wrong_has_its_code() {
    let attributes = |what: &str| format!("Context = $ {{ ContextAttr {{ {what} }}, Add = {} }}", sealed(1));
    let uri = "crnroom/uri = \"sip:r@x\"";
    let member = |what: &str| format!("Context = C {{ Add = {} }}", msrp(5, what, PEER));
    let instead = |from: &str, to: &str| format!("Context = C {{ Add = {} }}", sealed(5).replace(from, to));
    let key = |key: &str| format!(", crntls/psk = {key}, crntls/pskid = \"eA\"");
    let cases: &[(u16, String)] = &[
        (0, format!("Context = C {{ Add = {} }}", sealed(5))),
        // The context.
        (472, format!("Context = $ {{ Add = {} }}", sealed(1))),
        (472, attributes("fcp/confid = 1")),
        (472, format!("Context = $ {{ ContextAttr {{ {uri} }}, Add = {} }}", bfcp(1, ""))),
        (472, attributes(&format!("{uri}, fcp/floors = [ \"1:fcfs:1:0\" ]"))),
        (449, attributes(&format!("{uri}, fcp/confid = 4294967296"))),
        (449, attributes(&format!("{uri}, fcp/confid = 1, fcp/floors = [ \"1:fcfs:1:0\", \"1:chair:1:0\" ]"))),
        (449, attributes(&format!("{uri}, fcp/confid = 1, fcp/floors = [ \"1:luck:1:0\" ]"))),
        (449, attributes(&format!("{uri}, fcp/confid = 1, fcp/floors = [ \"1:fcfs:1\" ]"))),
        (449, attributes(&format!("{uri}, fcp/confid = 1, fcp/floors = [ \"65536:fcfs:1:0\" ]"))),
        (449, attributes(&format!("{uri}, crnroom/moderated = 1"))),
        (449, attributes(&format!("{uri}, crnroom/notices = perhaps"))),
        (449, attributes(&format!("{uri}, crnroom/stallsecs = 0"))),
        (445, attributes(&format!("{uri}, crnroom/colour = ON"))),
        (455, attributes(&format!("{uri}, crnroom/user = 1"))),
        (455, attributes("ipdc/realm = a")),
        (440, attributes("al/of = 1")),
        (421, format!("Context = * {{ ContextAttr {{ {uri} }}, AuditValue = * }}")),
        (522, "Context = C { Topology { A, B, Isolate } }".to_owned()),
        (522, "Context = C { Topology { A, B, Oneway } }".to_owned()),
        (0, "Context = C { Topology { A, B, Bothway } }".to_owned()),
        // The member.
        (472, instead("crnroom/user = 5", "crnroom/speak = ON")),
        (449, instead("crnroom/user = 5", "crnroom/user = 65536")),
        (449, instead("crnroom/user = 5", "crnroom/user = 0")),
        (449, instead("crnroom/user = 5", "crnroom/user = 1")),
        (455, instead("crnroom/user = 5", "crnroom/uri = \"x\"")),
        (449, member(", crnroom/tls = both")),
        (449, member(", crnroom/speak = 2")),
        (472, member("")),
        (472, member(&format!(", crntls/psk = {KEY}"))),
        (449, member(&key("0011"))),
        (449, member(&key(&"00".repeat(65)))),
        (449, member(&key("000102030405060708090A0B0C0D0E0"))),
        (449, member(&format!(", crntls/psk = {KEY}, crntls/pskid = \"!\""))),
        (515, instead("TCP/TLS/MSRP", "TCP/TLS")),
        (473, instead("m=message 9 TCP/TLS/MSRP", "m=message 9 TCP/MSRP")),
        (473, instead("TCP/TLS/MSRP", "TCP/MSRP").replace("msrps:", "msrp:")),
        (473, instead("msrps://$", "msrp://$")),
        (473, instead("msrps://198", "msrp://198")),
        (472, instead("a=path:msrps://$:$/s5;tcp\n", "")),
        (472, instead("a=path:msrps://198.51.100.20:2855/abc;tcp\n", "")),
        (501, instead("a=setup:passive\n", "a=setup:passive\na=fingerprint:SHA-256 $\n")),
        (441, instead("Local {", "Nothing {").split("Local").next().map_or_else(String::new, |_| {
            format!("Context = C {{ Add = $ {{ Media {{ Stream = 1 {{ LocalControl {{ crnroom/user = 5 }}{PEER} }} }} }} }}")
        })),
        // Floors.
        (0, format!("Context = C {{ Add = {} }}", bfcp(5, ", fcp/chair = 2"))),
        (479, format!("Context = C {{ Add = {} }}", bfcp(5, ", fcp/chair = 1"))),
        (479, format!("Context = C {{ Add = {} }}", bfcp(5, ", fcp/chair = [ 2, 1 ]"))),
        (449, format!("Context = C {{ Add = {} }}", bfcp(5, ", fcp/chair = 9"))),
        (449, format!("Context = C {{ Add = {} }}", bfcp(5, ", fcp/chair = x"))),
        // What an MRFP has not got.
        (443, "Context = D { Move = A }".to_owned()),
        (501, "Context = C { Modify = A { Events = 1 { tlscn/x } } }".to_owned()),
        (452, "Context = C { Modify = A { Signals { tlsbsc/EstBNC } } }".to_owned()),
        (454, "Context = C { Modify = A { Events = 1 { tlsbsc/BNCChange { Type = UP } } } }".to_owned()),
    ];
    for (expected, actions) in cases {
        let mut rig = mrfp();
        let (c, ids) = room(&mut rig, &[sealed(1), bfcp(1, ", fcp/chair = 1")]);
        let (d, _) = room(&mut rig, &[sealed(1)]);
        let before = (rig.engine.holes.len(), rig.engine.conferences.clone());
        let actions = actions
            .replace("Context = C ", &format!("Context = {c} "))
            .replace("Context = D ", &format!("Context = {d} "))
            .replace("= A ", &format!("= {} ", ids[0]))
            .replace("{ A, B,", &format!("{{ {}, {},", ids[0], ids[1]));
        assert_eq!(rig.code(&actions), *expected, "{actions}");
        if *expected != 0 {
            let after = (rig.engine.holes.len(), rig.engine.conferences.clone());
            assert_eq!(before, after, "a command that is refused has changed nothing: {actions}");
        }
    }
}

#[test]
fn a_second_chair_comes_when_the_first_one_is_gone() {
    let mut rig = mrfp();
    let (context, ids) = room(&mut rig, &[bfcp(1, ", fcp/chair = 1")]);
    let second = format!("Context = {context} {{ Add = {} }}", bfcp(2, ", fcp/chair = 1"));
    assert_eq!(rig.code(&second), 479);
    let stays = format!(
        "Context = {context} {{ Modify = {} {{ Media {{ Stream = 1 {{ LocalControl {{ fcp/chair = 1 }} }} }} }} }}",
        ids[0]
    );
    assert_eq!(rig.code(&stays), 0, "it is its own");
    assert_eq!(rig.code(&stays.replace("fcp/chair = 1", "fcp/chair = 0")), 0);
    assert_eq!(rig.code(&second), 0);
}

#[test]
fn an_older_protocol_has_no_conferences() {
    let mut rig = Rig::with(MId::domain("mrfc1.core.example"), |config| {
        config.function = Function::Conference;
        config.protected = true;
        config.registration.version = 2;
    });
    assert_eq!(rig.code(&format!("Context = $ {{ {ROOM} Add = {} }}", sealed(1))), 406);
    rig.assert_empty();
}

#[test]
fn a_relay_knows_nothing_of_conferences() {
    let mut rig = Rig::with(MId::domain("alg1.access.example"), |config| config.protected = true);
    assert_eq!(rig.code(&format!("Context = $ {{ {ROOM} Add = {} }}", sealed(1))), 440);
    assert_eq!(rig.code(&format!("Context = $ {{ Add = {} }}", sealed(1))), 440);
    rig.assert_empty();
}

#[test]
fn keys_come_by_protected_ways_only() {
    let mut rig = Rig::with(MId::domain("mrfc1.core.example"), |config| {
        config.function = Function::Conference;
    });
    assert_eq!(rig.code(&format!("Context = $ {{ {ROOM} Add = {} }}", sealed(1))), 504);
    assert_eq!(
        rig.code(&format!("Context = $ {{ {ROOM} Add = {} }}", bfcp(1, ", crntls/pskid = \"eA\""))),
        504
    );
    rig.assert_empty();
    assert_eq!(rig.code(&format!("Context = $ {{ {ROOM} Add = {} }}", bfcp(1, ""))), 0);
}

/// The worked message, with what our own packages want besides: without it, it is refused and leaves nothing.
#[test]
fn the_worked_message_makes_a_sealed_floor_control_connection() {
    let text = fixture("22-mp-bfcp-psk-request");
    let code = |text: &str| {
        let mut rig = mrfp();
        let [reply] = rig.send(read(text)).try_into().unwrap();
        (reply.body.first_error().map_or(0, |error| error.code), rig)
    };
    let (refused, rig) = code(&text);
    assert_eq!(refused, 472);
    rig.assert_empty();
    let whole = text
        .replace("Add = ip/1/mb/$", "ContextAttr { fcp/confid = 1 }, Add = ip/1/mb/$")
        .replace("a=floorctrl:s-only\n", "a=floorctrl:s-only\na=userid:12\n");
    let (done, rig) = code(&whole);
    assert_eq!(done, 0);
    let settings = rig.engine.settings(30_000);
    assert_eq!((settings.role, settings.gate), (Role::Active, Gate::SendReceive));
    assert_eq!(settings.remote, Some("[2001:db8:1::10]:30002".parse().unwrap()));
    let end = endpoint(&rig, 30_000);
    assert_eq!((end.user, end.tls.unwrap().role), (12, TlsRole::Client));
    let connects = |c: &media::Command| matches!(c, media::Command::Connect { .. });
    assert!(rig.engine.commands.iter().any(connects));
}

#[test]
fn a_new_conference_that_fails_leaves_nothing() {
    let mut rig = mrfp();
    let wrong = sealed(2).replace("IN IP4 $", "IN IP4 192.0.2.1");
    let actions = format!("Context = $ {{ {ROOM} Add = {}, Add = {wrong} }}", sealed(1));
    assert_eq!(rig.code(&actions), 449);
    rig.assert_empty();
    let none = |c: &media::Command| matches!(c, media::Command::Conference { settings: None, .. });
    assert_eq!(rig.engine.commands.iter().filter(|c| none(c)).count(), 1);
    // The controller starts again while an address is awaited.
    rig.engine.slow = true;
    rig.ask(&format!("Context = $ {{ {ROOM} Add = {} }}", sealed(1)));
    rig.gateway.start(rig.now, 901);
    rig.wait(std::time::Duration::from_secs(60));
    rig.engine.slow = false;
    rig.settle();
    rig.assert_empty();
}

fn tell(rig: &mut Rig, event: media::Event) -> String {
    rig.told.clear();
    rig.media(event);
    squeeze(&rig.told.join("|"))
}

#[test]
fn what_happens_among_members_is_told_where_it_belongs() {
    let mut rig = mrfp();
    let (context, ids) = room(&mut rig, &[sealed(1), sealed(2)]);
    let number = group(&context);
    let mut happens = |event| tell(&mut rig, media::Event::Conference { group: number, event });
    let first = format!("Notify = {} {{ ObservedEvents = 1 {{", ids[0]);
    let second = format!("Notify = {} {{ ObservedEvents = 2 {{", ids[1]);
    let nick = Some("\"B\" 100%".to_owned());
    let told = happens(ConferenceEvent::Nickname { user: 2, nick });
    assert!(
        told.contains(&second) && told.contains("crnroom/nickname { user = 2, nick = \"%22B%22 100%25\" }"),
        "{told}"
    );
    let told = happens(ConferenceEvent::Nickname { user: 1, nick: None });
    assert!(told.contains(&first) && told.contains("nick = \"\""), "{told}");
    let told = happens(ConferenceEvent::Stalled { user: 2, on: true });
    assert!(told.contains(&second) && told.contains("crnroom/stalled { user = 2, on = ON }"), "{told}");
    let told = happens(ConferenceEvent::Released { user: 2, reason: "slow".into() });
    assert!(
        told.contains(&second) && told.contains("crnroom/released { user = 2, reason = \"slow\" }"),
        "{told}"
    );
    let floor =
        ConferenceEvent::Floor { floor: 1, holders: vec![2], queue: vec![1, 2], state: "v1;a".into() };
    let told = happens(floor.clone());
    let expected = "fcp/floor { floor = 1, holders = [2], queue = [1, 2], state = \"v1;a\" }";
    assert!(told.contains(&first) && told.contains(expected), "{told}");
    let told =
        happens(ConferenceEvent::Floor { floor: 1, holders: vec![], queue: vec![], state: "v2".into() });
    assert!(told.contains("fcp/floor { floor = 1, state = \"v2\" }"), "{told}");
    // Somebody who is not here any more.
    let told = happens(ConferenceEvent::Released { user: 9, reason: "protocol".into() });
    assert!(told.contains(&first), "{told}");
    let told = tell(&mut rig, media::Event::Conference { group: number + 9, event: floor });
    assert_eq!(told, "");
    // The controller was away: it can ask.
    let reply = rig.ask(&format!("Context = {context} {{ ContextAudit {{ fcp/state }} }}"));
    assert!(reply.contains("fcp/state = \"v2\""), "{reply}");
    // On whom nothing was asked, nothing is told; another one tells what is for all.
    rig.ask(&format!("Context = {context} {{ Modify = {} {{ Events }} }}", ids[0]));
    let mut happens = |event| tell(&mut rig, media::Event::Conference { group: number, event });
    let told = happens(ConferenceEvent::Stalled { user: 1, on: false });
    assert!(told.contains(&second) && told.contains("user = 1, on = OFF"), "{told}");
}

#[test]
fn a_connection_is_sealed_or_is_not() {
    let mut rig = mrfp();
    room(&mut rig, &[sealed(1)]);
    let pinhole = rig.engine.pinhole(30_000);
    let (version, suite) = ("TLSv1.3".to_owned(), "TLS_AES_128_GCM_SHA256".to_owned());
    let told = tell(&mut rig, media::Event::Sealed { pinhole, version, suite });
    let expected = "crnroom/sealed { Stream = 1, version = \"TLSv1.3\", suite = \"TLS_AES_128_GCM_SHA256\" }";
    assert!(
        told.contains(expected) && told.contains("tlsbsc/BNCChange { Stream = 1, Type = EST }"),
        "{told}"
    );
    assert!(rig.events().iter().any(|event| matches!(event, Event::Sealed { .. })));
    for (cause, words) in [
        (TlsFailure::Identity, "tls_unknown_identity"),
        (TlsFailure::Key, "tls_wrong_key"),
        (TlsFailure::NothingInCommon, "tls_nothing_in_common"),
        (TlsFailure::Refused, "tls_refused"),
        (TlsFailure::Timeout, "tls_timeout"),
        (TlsFailure::Protocol, "tls_protocol"),
        (TlsFailure::Ours, "tls_key_unusable"),
    ] {
        let told = tell(&mut rig, media::Event::Closed { pinhole, cause: Cause::Tls(cause) });
        for package in ["tlsbsc", "tcpbcc"] {
            assert!(told.contains(&format!("{package}/BNCChange {{ Stream = 1, Type = REL")), "{told}");
        }
        assert!(told.contains(words), "{words} in {told}");
    }
    let told = tell(&mut rig, media::Event::Closed { pinhole, cause: Cause::Reset });
    assert!(told.contains("tcpbcc/BNCChange") && !told.contains("tlsbsc"), "{told}");
}

#[test]
fn many_members_have_room_and_one_more_has_not() {
    let mut rig = mrfp();
    let (context, _) = room(&mut rig, &[sealed(1)]);
    for user in 2..=100 {
        assert_eq!(rig.code(&format!("Context = {context} {{ Add = {} }}", sealed(user))), 0);
    }
    assert_eq!(rig.code(&format!("Context = {context} {{ Add = {} }}", sealed(101))), 434);
    // Whoever comes is told of, the others are left alone.
    let configured = rig.engine.commands.iter().filter(|c| matches!(c, media::Command::Configure { .. }));
    assert_eq!(configured.count(), 100);
    rig.ask(&format!("Context = {context} {{ W-Subtract = * {{ Audit {{ }} }} }}"));
    rig.assert_empty();
}

#[test]
fn out_of_service_nobody_speaks() {
    let mut rig = mrfp();
    let (context, ids) = room(&mut rig, &[sealed(1)]);
    let change = |what: &str| {
        format!("Context = {context} {{ ServiceChange = {} {{ Services {{ {what} }} }} }}", ids[0])
    };
    assert_eq!(rig.code(&change("Method = Forced, Reason = \"905 taken out\"")), 0);
    assert_eq!(rig.engine.settings(30_000).gate, Gate::Inactive);
    assert_eq!(rig.code(&change("Method = Restart, Reason = \"900 restored\"")), 0);
    assert_eq!(rig.engine.settings(30_000).gate, Gate::SendReceive);
}

#[test]
fn an_mrfp_says_what_it_has() {
    let mut rig = mrfp();
    let reply = rig.ask("Context = - { AuditValue = ROOT { Audit { Packages, Media } } }");
    for package in ["tlsbsc-1", "fcp-2", "crntls-1", "crnroom-1", "ipdc-1", "hangterm-1", "g-1", "root-2"] {
        assert!(reply.contains(package), "{package} in {reply}");
    }
    assert!(reply.contains("root/maxTerminationsPerContext = 100"), "{reply}");
    let (context, ids) = room(&mut rig, &[sealed(1)]);
    let reply = rig.ask(&format!(
        "Context = {context} {{ AuditCapability = {} {{ Audit {{ Media, Events }} }} }}",
        ids[0]
    ));
    for item in ["crnroom/user = [1:65535]", "fcp/chair", "crnroom/nickname", "fcp/floor", "tlsbsc/BNCChange"]
    {
        assert!(reply.contains(item), "{item} in {reply}");
    }
}

/// The key, in any form, is nowhere but in the engine's settings.
#[test]
fn keys_are_never_shown() {
    let mut rig = mrfp();
    let (context, ids) = room(&mut rig, &[sealed(1)]);
    let id = &ids[0];
    let mut shown = String::new();
    for actions in [
        format!(
            "Context = {context} {{ AuditValue = {id} {{ Audit {{ Media, Events, Packages, Statistics }} }} }}"
        ),
        format!(
            "Context = {context} {{ AuditValue = {id} {{ Audit {{ Media {{ Stream = 1 {{ LocalControl }} }} }} }} }}"
        ),
        format!(
            "Context = {context} {{ AuditValue = {id} {{ Audit {{ Media {{ Stream = 1 {{ LocalControl {{ crntls/psk }} }} }} }} }} }}"
        ),
        format!(
            "Context = {context} {{ AuditValue = {id} {{ Audit {{ Media {{ Stream = 1 {{ LocalControl {{ crntls/psk = {KEY} }} }} }} }} }} }}"
        ),
        format!("Context = {context} {{ AuditCapability = {id} {{ Audit {{ Media }} }} }}"),
        format!(
            "Context = {context} {{ Modify = {id} {{ Media {{ Stream = 1 {{ LocalControl {{ Mode = SendReceive, gm/saf = $, crntls/psk = {OTHER_KEY} }} }} }}, Audit {{ Media }} }} }}"
        ),
        format!(
            "Context = {context} {{ Modify = {id} {{ Media {{ Stream = 1 {{ LocalControl {{ crntls/psk = {KEY}{KEY}{KEY}{KEY}{KEY} }} }} }} }} }}"
        ),
        format!("Context = {context} {{ ContextAttr {{ crntls/psk = {KEY} }} }}"),
        format!("Context = {context} {{ ContextAudit {{ crntls/psk = {KEY} }} }}"),
        format!("Context = {context} {{ Modify = {id} {{ Events = 5 {{ g/cause {{ crntls = 1 }} }} }} }}"),
        "Context = * { AuditValue = ip/* { Audit { Media } } }".to_owned(),
        format!("Context = {context} {{ Subtract = {id} {{ Audit {{ Media, Statistics }} }} }}"),
    ] {
        shown.push_str(&rig.ask(&actions));
        shown.push_str(&format!("{:?}{:?}", rig.events(), rig.engine.commands));
    }
    rig.assert_empty();
    assert!(shown.contains("crnroom/user") && shown.contains("TlsEnd"), "something was shown");
    for key in [KEY, OTHER_KEY] {
        let octets: Vec<u8> =
            (0..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap()).collect();
        let listed = format!("{octets:?}");
        let start = listed.trim_matches(['[', ']']).split(", ").take(4).collect::<Vec<_>>().join(", ");
        for form in [&key[..8], &key.to_lowercase()[..8], start.as_str()] {
            assert!(!shown.contains(form), "{form} is in {shown}");
        }
    }
    assert!(!shown.contains("Y2FybmV0LXRlc3Q") && !shown.contains("carnet-test"));
}

fn floor_event(floor: u16, state: &str) -> ConferenceEvent {
    ConferenceEvent::Floor { floor, holders: vec![1], queue: vec![], state: state.into() }
}

/// RFC 3525 §9.1: one Notify of a termination is out at a time, or datagrams might bring an old state last.
#[test]
fn of_a_floor_the_newest_is_told_and_in_order() {
    let mut rig = mrfp();
    let (context, _) = room(&mut rig, &[sealed(1), sealed(2)]);
    let group = group(&context);
    rig.mute = true;
    for (floor, state) in [(1, "a"), (1, "b"), (2, "c"), (1, "d"), (1, "e")] {
        rig.media(media::Event::Conference { group, event: floor_event(floor, state) });
    }
    rig.media(media::Event::Conference { group, event: ConferenceEvent::Stalled { user: 2, on: true } });
    let states = |rig: &Rig| -> Vec<String> {
        let state = |text: &String| text.split("state = \"").nth(1).map(|rest| rest[..1].to_owned());
        rig.told.iter().filter_map(state).collect()
    };
    assert_eq!(states(&rig), ["a"], "the others wait for its answer");
    assert_eq!(rig.told.len(), 2, "another termination has its own turn");
    rig.mute = false;
    let waited = std::mem::take(&mut rig.told);
    for text in waited {
        let id = text.split("Transaction = ").nth(1).unwrap().split_ascii_whitespace().next().unwrap();
        let to = text.split("Notify = ").nth(1).unwrap().split_ascii_whitespace().next().unwrap();
        let reply = format!(
            "MEGACO/3 <mrfc1.core.example> Reply = {id} {{ Context = {context} {{ Notify = {to} }} }}"
        );
        rig.send(read(&reply));
    }
    assert_eq!(states(&rig), ["c", "e"]);
}

#[test]
fn a_state_too_long_for_a_datagram_is_left_to_an_audit() {
    let mut rig = Rig::with(MId::domain("mrfc1.core.example"), |config| {
        config.function = Function::Conference;
        config.protected = true;
        config.registration.association =
            carnet_h248::association::Config::new(carnet_h248::association::Transport::Datagram);
    });
    let (context, _) = room(&mut rig, &[msrp(1, "", "")]);
    let group = group(&context);
    let told = tell(&mut rig, media::Event::Conference { group, event: floor_event(1, &"x".repeat(100)) });
    assert!(told.contains("state ="), "{told}");
    let told = tell(&mut rig, media::Event::Conference { group, event: floor_event(1, &"x".repeat(3_000)) });
    assert!(told.contains("fcp/floor { floor = 1, holders = [1] }"), "{told}");
}

#[test]
fn a_state_is_told_to_the_engine_once() {
    let mut rig = mrfp();
    let attributes = ROOM.replace(" },", ", fcp/state = \"v1;old\" },");
    let reply = rig.ask(&format!("Context = $ {{ {attributes} Add = {} }}", sealed(1)));
    let (context, number) = (context(&reply), group(&context(&reply)));
    assert_eq!(rig.engine.conferences[&number].state.as_deref(), Some("v1;old"));
    let told = rig.engine.commands.len();
    let set =
        |rig: &mut Rig, what: &str| rig.code(&format!("Context = {context} {{ ContextAttr {{ {what} }} }}"));
    assert_eq!(set(&mut rig, "crnroom/notices = OFF"), 0);
    assert_eq!(rig.engine.commands.len(), told, "nothing is new");
    assert_eq!(set(&mut rig, "crnroom/notices = ON"), 0);
    let now = &rig.engine.conferences[&number];
    assert_eq!((now.notices, now.state.as_deref()), (true, None), "what was is not what is");
    let audit = |rig: &mut Rig| rig.ask(&format!("Context = {context} {{ ContextAudit {{ fcp/* }} }}"));
    assert!(!audit(&mut rig).contains("fcp/state"));
    rig.media(media::Event::Conference { group: number, event: floor_event(1, "v1;new") });
    assert!(audit(&mut rig).contains("fcp/state = \"v1;new\""));
}

/// One termination may carry both media of a member, but not one twice.
#[test]
fn a_member_may_have_both_on_one_termination() {
    let mut rig = mrfp();
    let stream = |id: u16, media: &str, more: &str| {
        format!(
            "Stream = {id} {{ LocalControl {{ Mode = SendReceive, crnroom/user = 4 }}, \
             Local {{\nv=0\nc=IN IP4 $\nm={media} *\na=setup:passive\n{more}}} }}"
        )
    };
    let (talk, floors) = (
        |id| stream(id, "message $ TCP/MSRP", "a=path:msrp://$:$/s;tcp\n"),
        |id| stream(id, "application $ TCP/BFCP", ""),
    );
    let add = |streams: [String; 2]| {
        format!("Context = $ {{ {ROOM} Add = $ {{ Media {{ {} }} }} }}", streams.join(", "))
    };
    assert_eq!(rig.code(&add([floors(1), floors(2)])), 449);
    rig.assert_empty();
    assert_eq!(rig.code(&add([talk(1), floors(2)])), 0);
    assert_eq!(endpoint(&rig, 30_002).medium, Medium::Bfcp { chairs: vec![] });
}

#[test]
fn an_interface_that_is_gone_silences_its_members_until_it_is_back() {
    let mut rig = Rig::with(MId::domain("mrfc1.core.example"), |config| {
        config.function = Function::Conference;
        config.protected = true;
        config.realms = vec!["core".to_owned()];
    });
    room(&mut rig, &[sealed(1).replace("Mode = SendReceive", "Mode = SendReceive, ipdc/realm = core")]);
    rig.gateway.interface_down(rig.now, "core", 904);
    rig.settle();
    assert_eq!(rig.engine.settings(30_000).gate, Gate::Inactive);
    assert!(
        rig.announced.iter().any(|text| text.contains("Forced") && text.contains("904")),
        "{:?}",
        rig.announced
    );
    rig.gateway.interface_up(rig.now, "core");
    rig.settle();
    assert_eq!(rig.engine.settings(30_000).gate, Gate::SendReceive);
}
