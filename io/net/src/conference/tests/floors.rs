//! Floor control on real sockets: octets by hand (RFC 8855 §5.1, §5.3) through `openssl s_client`.

use carnet_gateway::media::{Cause, ConferenceEvent, Event};

use super::rig::{Peer, Plain, Rig, server};

/// A FloorRequest for floor 1.
pub fn request(user: u16, transaction: u16) -> Vec<u8> {
    // Version 1, primitive 1, one word of attributes, conference 4711.
    let mut octets = vec![0x20, 1, 0, 1, 0, 0, 0x12, 0x67];
    octets.extend(transaction.to_be_bytes());
    octets.extend(user.to_be_bytes());
    // FLOOR-ID, mandatory, four octets.
    octets.extend([0x05, 4, 0, 1]);
    octets
}

/// How a FloorRequestStatus to it begins, without its length.
fn answer(user: u16, transaction: u16) -> Vec<u8> {
    let mut octets = vec![0, 0, 0x12, 0x67];
    octets.extend(transaction.to_be_bytes());
    octets.extend(user.to_be_bytes());
    octets
}

fn holders(rig: &mut Rig) -> (Vec<u16>, Vec<u16>) {
    rig.told(|event| match event {
        ConferenceEvent::Floor { floor: 1, holders, queue, state } => {
            assert!(!state.is_empty());
            Some((holders.clone(), queue.clone()))
        }
        _ => None,
    })
}

#[test]
fn floors_are_asked_for_over_tls_and_freed_when_the_line_breaks() {
    let mut rig = Rig::with_room();
    let (ann, ben) = (rig.bfcp(1, server()), rig.bfcp(2, server()));
    let mut first = Peer::sealed(ann.local, &["-tls1_3"]);
    let mut second = Peer::sealed(ben.local, &["-tls1_2"]);
    rig.sealed(&ann);
    rig.sealed(&ben);
    first.say(request(1, 5));
    first.heard.wait(answer(1, 5));
    assert_eq!(holders(&mut rig), (vec![1], vec![]));
    second.say(request(2, 6));
    second.heard.wait(answer(2, 6));
    assert_eq!(holders(&mut rig), (vec![1], vec![2]));
    // An orderly end frees the floor at once.
    rig.released(&ann);
    assert_eq!(holders(&mut rig), (vec![2], vec![]));
    assert!(!rig.has(|event| matches!(event, Event::Closed { .. })));
}

#[test]
fn a_client_that_reconnects_still_has_the_floor() {
    let mut rig = Rig::with_room();
    let ann = rig.bfcp(1, server());
    let mut first = Peer::sealed(ann.local, &[]);
    rig.sealed(&ann);
    first.say(request(1, 5));
    assert_eq!(holders(&mut rig), (vec![1], vec![]));
    // Killed: no close_notify.
    drop(first);
    assert_eq!(rig.closed(&ann), Cause::Reset);
    let mut again = Peer::sealed(ann.local, &[]);
    rig.sealed(&ann);
    // FloorQuery for floor 1 (§5.3.7); FloorStatus tells who has it.
    let mut query = request(1, 7);
    query[1] = 7;
    again.say(query);
    again.heard.wait(answer(1, 7));
    assert!(!rig.has(|event| matches!(
        event,
        Event::Conference { event: ConferenceEvent::Floor { holders, .. }, .. } if holders.is_empty()
    )));
}

#[test]
fn what_is_not_bfcp_ends_the_line_and_not_the_conference() {
    let mut rig = Rig::with_room();
    let (ann, ben) = (rig.bfcp(1, server()), rig.bfcp(2, None));
    let mut first = Peer::sealed(ann.local, &[]);
    rig.sealed(&ann);
    first.say("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(rig.closed(&ann), Cause::Endpoint);
    let reason = rig.told(|event| match event {
        ConferenceEvent::Released { user: 1, reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, "protocol");
    // In the open, one who calls itself otherwise is sent away; the user gets in.
    let mut stranger = Plain::connect(ben.local);
    stranger.say(request(3, 1));
    let mut member = Plain::connect(ben.local);
    member.say(request(2, 1));
    member.heard.wait(answer(2, 1));
    assert_eq!(holders(&mut rig), (vec![2], vec![]));
    assert!(stranger.heard.octets().is_empty());
}
