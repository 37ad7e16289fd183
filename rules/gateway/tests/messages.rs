//! The worked messages, acted on.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod rig;

use std::time::Duration;

use carnet_gateway::media::{Direction, Edge, Event, Gate, Rate, Role, TlsRole};
use carnet_h248::{MId, ReplyBody, Transaction};
use rig::{PEER, Rig, fixture, read, squeeze};

/// A fixture with the numbers of this run.
fn adapted(name: &str, context: u32, rig: &Rig, ids: &[(&str, u16)]) -> String {
    let mut text = fixture(name).replace("Context = 77 ", &format!("Context = {context} "));
    text = text.replace("Context = 78 ", &format!("Context = {context} "));
    for (id, port) in ids {
        let hole = rig.engine.pinhole(*port);
        text = text.replace(id, &format!("{}", hole.number));
    }
    text
}

fn body_of(text: &str) -> ReplyBody {
    match read(text).transactions() {
        [Transaction::Reply(reply)] => reply.body.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pass_through_relay_is_set_up_opened_and_taken_down() {
    let mut rig = Rig::alg();
    let [reply] = rig.send(read(&fixture("03-add-passthrough-request"))).try_into().unwrap();
    let ReplyBody::Actions(actions) = &reply.body else { panic!("{reply:?}") };
    let context = actions[0].context.id().unwrap();
    let ids: Vec<_> = actions[0].commands.iter().map(|c| c.termination().as_str().to_owned()).collect();
    assert!(ids[0].starts_with("ip/1/access/") && ids[1].starts_with("ip/1/core/"), "{ids:?}");
    // Apart from the numbers it is the worked reply.
    let expected = fixture("04-add-passthrough-reply")
        .replace("Context = 77", &format!("Context = {context}"))
        .replace("ip/1/access/4711", &ids[0])
        .replace("ip/1/core/4712", &ids[1]);
    assert_eq!(reply.body, body_of(&expected));

    // Gates are closed; the source filter, the policing and the inactivity are there.
    let access = rig.engine.settings(30_000).clone();
    assert_eq!((access.role, access.gate), (Role::Passive, Gate::Inactive));
    assert_eq!(access.filter.network, Some(("198.51.100.20".parse().unwrap(), 32)));
    assert_eq!(access.filter.ports, None);
    assert_eq!(access.rate, Some(Rate { octets_per_second: 65_536, burst: 131_072 }));
    assert_eq!(access.dscp, Some(0x1a));
    assert_eq!(access.inactivity, Some((Duration::from_secs(60), Direction::Both)));
    let core = rig.engine.settings(30_002);
    assert_eq!((core.role, core.gate), (Role::Undecided, Gate::Inactive));
    let joined = rig.engine.holes.values().all(|hole| hole.far.is_some());
    assert!(joined);

    // The answer came: remote address, direction, both gates.
    let modify = fixture("05-modify-remote-request")
        .replace("Context = 77", &format!("Context = {context}"))
        .replace("ip/1/access/4711", &ids[0])
        .replace("ip/1/core/4712", &ids[1]);
    let [reply] = rig.send(read(&modify)).try_into().unwrap();
    let shown = rig.show(reply);
    let (a, b) = (&ids[0], &ids[1]);
    let plain = format!("1002 {{ Context = {context} {{ Modify = {b}, Modify = {a} }} }}");
    assert_eq!(shown, plain);
    let access = rig.engine.settings(30_000);
    assert_eq!((access.role, access.gate), (Role::Passive, Gate::SendReceive));
    assert!(access.rate.is_some());
    let core = rig.engine.settings(30_002);
    assert_eq!((core.role, core.gate), (Role::Active, Gate::SendReceive));
    assert_eq!(core.remote, Some("[2001:db8:2::99]:2855".parse().unwrap()));

    let subtract = fixture("12-subtract-statistics-request")
        .replace("Context = 77", &format!("Context = {context}"))
        .replace("ip/1/access/4711", &ids[0])
        .replace("ip/1/core/4712", &ids[1]);
    let [reply] = rig.send(read(&subtract)).try_into().unwrap();
    let expected = fixture("13-subtract-statistics-reply")
        .replace("Context = 77", &format!("Context = {context}"))
        .replace("ip/1/access/4711", &ids[0])
        .replace("ip/1/core/4712", &ids[1]);
    assert_eq!(reply.body, body_of(&expected));
    rig.assert_empty();
}

#[test]
fn a_wildcarded_subtract_gets_one_response() {
    let mut rig = Rig::alg();
    let context = rig.relay();
    let text = adapted("14-subtract-wildcard-request", context, &rig, &[]);
    let [reply] = rig.send(read(&text)).try_into().unwrap();
    assert_eq!(rig.show(reply), format!("1004 {{ Context = {context} {{ Subtract = * }} }}"));
    rig.assert_empty();
}

#[test]
fn tls_ends_at_the_access_edge() {
    let mut rig = Rig::alg();
    let [reply] = rig.send(read(&fixture("07-e2ae-add-request"))).try_into().unwrap();
    let ReplyBody::Actions(actions) = &reply.body else { panic!() };
    let context = actions[0].context.id().unwrap();
    let ids: Vec<_> = actions[0].commands.iter().map(|c| c.termination().to_string()).collect();
    let renamed = |name: &str| {
        let text = fixture(name).replace("Context = 78", &format!("Context = {context}"));
        let text = text.replace("ip/1/access/4721", &ids[0]).replace("ip/1/core/4722", &ids[1]);
        text.replace("30010", "30000").replace("30012", "30002")
    };
    assert_eq!(reply.body, body_of(&renamed("08-e2ae-add-reply")));
    let (access, core) = (rig.engine.settings(30_000), rig.engine.settings(30_002));
    let peer = format!("SHA-256 {PEER}");
    assert_eq!(access.edge.as_deref(), Some(&Edge { role: TlsRole::Server, fingerprints: vec![peer] }));
    assert_eq!((access.role, core.role, &core.edge), (Role::Passive, Role::Active, &None));
    // The peers' paths are still to come.
    assert!([access, core].iter().all(|settings| settings.leg.as_ref().unwrap().path.is_empty()));

    let pinhole = rig.engine.pinhole(30_000);
    rig.media(Event::Established { pinhole, peer: "198.51.100.20:5".parse().unwrap() });
    let (version, suite) = ("TLSv1.3".to_owned(), "TLS_AES_128_GCM_SHA256".to_owned());
    rig.media(Event::Sealed { pinhole, version, suite });
    let [connected, sealed] = rig.told.as_slice() else { panic!("{:?}", rig.told) };
    let worked = squeeze(&renamed("09-notify-tls-established"));
    for (told, event) in [(connected, "tcpbcc"), (sealed, "tlsbsc")] {
        let event = format!("{event}/BNCChange {{ Stream = 1, Type = EST }}");
        assert!(squeeze(told).contains(&event) && worked.contains(&event), "{told}");
    }
    rig.ask(&format!("Context = {context} {{ W-Subtract = * {{ Audit {{ }} }} }}"));
    rig.assert_empty();
}

#[test]
fn keys_need_a_protected_association_and_then_tls_is_not_built() {
    let mrfc = MId::domain("mrfc1.core.example");
    let mut rig = Rig::new(mrfc.clone());
    let code = |rig: &mut Rig| {
        let [reply] = rig.send(read(&fixture("22-mp-bfcp-psk-request"))).try_into().unwrap();
        reply.body.first_error().unwrap().code
    };
    assert_eq!(code(&mut rig), 504);
    let mut rig = Rig::with(mrfc, |config| config.protected = true);
    assert_eq!(code(&mut rig), 501);
    rig.assert_empty();
}

#[test]
fn the_later_form_of_pass_through_is_the_same() {
    let mut rig = Rig::new(MId::domain("ibcf1.border.example"));
    let [reply] = rig.send(read(&fixture("25-add-passthrough-tcp-request"))).try_into().unwrap();
    let shown = rig.show(reply);
    assert!(shown.contains("c=IN IP4 203.0.113.10 m=- 30000 TCP -"), "{shown}");
    let settings = rig.engine.settings(30_000);
    assert_eq!((settings.role, settings.gate), (Role::Either, Gate::SendReceive));
}

#[test]
fn packages_are_listed() {
    let mut rig = Rig::alg();
    let [reply] = rig.send(read(&fixture("20-audit-packages-request"))).try_into().unwrap();
    let shown = rig.show(reply);
    for package in ["g-1", "root-2", "ipnapt-1", "gm-2", "tman-1", "ipdc-1", "hangterm-1", "ds-2", "nt-1"] {
        assert!(shown.contains(package), "{package} in {shown}");
    }
    assert!(shown.contains("tlsbsc-1") && !shown.contains("tlscn"), "{shown}");
}

#[test]
fn an_empty_audit_of_root_is_a_heartbeat() {
    let mut rig = Rig::new(MId::Address { ip: "192.0.2.1".parse().unwrap(), port: Some(2944) });
    let [reply] = rig.send(read(&fixture("23-auth-header-request"))).try_into().unwrap();
    assert_eq!(rig.show(reply), "1401 { Context = - { AuditValue = ROOT } }");
}

#[test]
fn a_hand_off_moves_the_gateway_and_keeps_its_contexts() {
    let mut rig = Rig::alg();
    let context = rig.relay();
    let [reply] = rig.send(read(&fixture("24-handoff-request"))).try_into().unwrap();
    assert!(squeeze(&rig.show(reply)).contains("ServiceChange = ROOT"));
    assert_eq!(rig.gateway.registration().controller().unwrap().to_string(), "<alg2.access.example>:2944");
    let reply = rig.ask(&format!("Context = {context} {{ W-Subtract = * {{ Audit {{ }} }} }}"));
    assert!(reply.contains("Subtract = *"), "{reply}");
    rig.assert_empty();
}

#[test]
fn every_worked_message_is_survived_even_from_the_wrong_side() {
    let folder = format!("{}/../../proto/h248/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let mut rig = Rig::alg();
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "txt") {
            let mut message = read(&std::fs::read_to_string(path).unwrap());
            message.mid = rig.gateway.registration().controller().unwrap().clone();
            let _ = rig.gateway.handle_message(rig.now, message);
            rig.settle();
            count += 1;
        }
    }
    assert_eq!(count, 28);
    rig.ask("Context = * { W-Subtract = * { Audit { } } }");
    rig.assert_empty();
}
