//! Who gets a floor, when, and for how long.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_bfcp::{Body, ErrorCode, Priority, RequestStatus, Status};
use carnet_floor::*;
use common::{Rig, code, floor, request, standing};
use std::time::Duration;

const GRANTED: RequestStatus = RequestStatus { status: Status::Granted, queue_position: 0 };
const DENIED: RequestStatus = RequestStatus { status: Status::Denied, queue_position: 0 };
const REVOKED: RequestStatus = RequestStatus { status: Status::Revoked, queue_position: 0 };

fn accepted(queue_position: u8) -> RequestStatus {
    RequestStatus { status: Status::Accepted, queue_position }
}

fn urgent(floors: &[u16], priority: Priority) -> Body {
    let floors = floors.to_vec();
    Body::FloorRequest { floors, beneficiary: None, information: None, priority: Some(priority) }
}

fn for_another(floors: &[u16], beneficiary: u16) -> Body {
    let floors = floors.to_vec();
    Body::FloorRequest { floors, beneficiary: Some(beneficiary), information: None, priority: None }
}

#[test]
fn first_come_first_served() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::FirstCome)], &[1, 2, 3]);
    let (first, status, _) = rig.request(1, &[1]);
    assert_eq!(status, Status::Granted);
    let (second, status, place) = rig.request(2, &[1]);
    assert_eq!((status, place), (Status::Accepted, 1));
    let (third, status, place) = rig.request(3, &[1]);
    assert_eq!((status, place), (Status::Accepted, 2));
    assert_eq!(rig.control.holders(1), [1]);
    // Figure 2: the holder gives it back, the next has it, the one behind moves up.
    let answer = rig.ask(1, Body::FloorRelease { request: first });
    let Body::FloorRequestStatus(information) = answer else { panic!("{answer:?}") };
    assert_eq!(standing(&information), (first, Status::Released, 0));
    assert_eq!(rig.news(1), [], "who released it heard so in the answer");
    assert_eq!(rig.news(2), [(second, Status::Granted, 0)]);
    assert_eq!(rig.news(3), [(third, Status::Accepted, 1)]);
    // One that waits may be withdrawn.
    let answer = rig.ask(3, Body::FloorRelease { request: third });
    let Body::FloorRequestStatus(information) = answer else { panic!("{answer:?}") };
    assert_eq!(standing(&information), (third, Status::Cancelled, 0));
    assert_eq!(rig.control.holders(1), [2]);
    let ended: Vec<_> =
        rig.happened().into_iter().filter(|event| matches!(event, Event::Ended { .. })).collect();
    let over = |request, user, status| Event::Ended {
        request,
        user,
        floors: vec![1],
        status,
        reason: Reason::Asked,
    };
    assert_eq!(ended, [over(first, 1, Status::Released), over(third, 3, Status::Cancelled)]);
}

#[test]
fn priority_goes_before_arrival() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::FirstCome)], &[1, 2, 3, 4, 5]);
    let meek = Member { highest: Priority::Normal, ..Member::default() };
    rig.control.admit(rig.now, 5, meek);
    rig.request(1, &[1]);
    rig.request(2, &[1]);
    rig.ask(3, urgent(&[1], Priority::High));
    rig.ask(4, urgent(&[1], Priority::High));
    rig.ask(5, urgent(&[1], Priority::Highest));
    let queue: Vec<u16> = rig.control.status()[0].queue.iter().map(|claim| claim.user).collect();
    assert_eq!(queue, [3, 4, 2, 5], "what user 5 may not say counts as what it may");
    assert_eq!(rig.control.holders(1), [1], "nobody is displaced by priority");
    let places: Vec<_> = rig.news(2).into_iter().map(|(_, _, place)| place).collect();
    assert_eq!(places, [2, 3], "the place in the queue is told when it changes");
}

#[test]
fn several_holders_and_a_time() {
    let mut one = floor(1, Algorithm::FirstCome);
    one.max_holders = 2;
    one.max_time = Some(Duration::from_secs(60));
    let mut rig = Rig::new(vec![one], &[1, 2, 3]);
    let (first, ..) = rig.request(1, &[1]);
    rig.pass(20);
    rig.request(2, &[1]);
    let (third, status, _) = rig.request(3, &[1]);
    assert_eq!((status, rig.control.holders(1)), (Status::Accepted, vec![1, 2]));
    rig.pass(39);
    assert_eq!(rig.control.holders(1), [1, 2]);
    rig.pass(1);
    assert_eq!(rig.control.holders(1), [2, 3]);
    assert_eq!(rig.news(3), [(third, Status::Granted, 0)]);
    let [Body::FloorRequestStatus(over)] = &rig.heard(1)[..] else { panic!() };
    assert_eq!(standing(over), (first, Status::Revoked, 0));
    assert_eq!(over.overall.as_ref().unwrap().information.as_ref().unwrap().as_str(), "the time is over");
    rig.pass(60);
    assert_eq!(rig.control.holders(1), [] as [u16; 0]);
    assert_eq!(rig.control.poll_timeout(), None);
}

#[test]
fn a_chair_decides() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::Chair)], &[1, 2, 3, 9]);
    let (first, status, _) = rig.request(1, &[1]);
    assert_eq!(status, Status::Pending);
    // Without a chair nobody decides.
    assert_eq!(code(&rig.decide(9, first, 1, GRANTED)), ErrorCode::UnauthorizedOperation);
    rig.control.designate(rig.now, 1, Some(9)).unwrap();
    assert_eq!(rig.decide(9, first, 1, GRANTED), Body::ChairActionAck);
    assert_eq!(rig.news(1), [(first, Status::Granted, 0)]);
    let (second, ..) = rig.request(2, &[1]);
    let (third, ..) = rig.request(3, &[1]);
    assert_eq!(rig.decide(9, second, 1, accepted(0)), Body::ChairActionAck);
    assert_eq!(rig.decide(9, third, 1, accepted(1)), Body::ChairActionAck);
    assert_eq!(rig.news(3), [(third, Status::Accepted, 1)]);
    assert_eq!(rig.news(2), [(second, Status::Accepted, 1), (second, Status::Accepted, 2)]);
    // §4.2: what the chair grants while another has the floor is revoked from that one.
    assert_eq!(rig.decide(9, second, 1, GRANTED), Body::ChairActionAck);
    assert_eq!(rig.news(1), [(first, Status::Revoked, 0)]);
    assert_eq!(rig.control.holders(1), [2]);
    // The queue goes on by itself.
    assert_eq!(rig.decide(9, second, 1, REVOKED), Body::ChairActionAck);
    assert_eq!(rig.control.holders(1), [3]);
    let (again, ..) = rig.request(1, &[1]);
    assert_eq!(rig.decide(9, again, 1, DENIED), Body::ChairActionAck);
    assert_eq!(rig.news(1), [(again, Status::Denied, 0)]);
    // What a chair may not say.
    for wrong in [Status::Pending, Status::Cancelled, Status::Released, Status(77)] {
        assert_eq!(code(&rig.decide(9, third, 1, RequestStatus::new(wrong))), ErrorCode::Generic);
    }
    assert_eq!(code(&rig.decide(9, third, 1, accepted(0))), ErrorCode::Generic, "it is granted");
    assert_eq!(code(&rig.decide(9, again, 1, GRANTED)), ErrorCode::FloorRequestIdDoesNotExist);
    assert_eq!(code(&rig.decide(9, third, 2, GRANTED)), ErrorCode::InvalidFloorId);
    assert_eq!(code(&rig.decide(3, third, 1, GRANTED)), ErrorCode::UnauthorizedOperation);
}

#[test]
fn a_chair_who_asks_has_decided() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::Chair)], &[1, 9]);
    rig.control.designate(rig.now, 1, Some(9)).unwrap();
    assert_eq!(rig.request(9, &[1]).1, Status::Granted);
    // And for others (§4.1), who hear of it.
    let answer = rig.ask(9, for_another(&[1], 1));
    let Body::FloorRequestStatus(information) = answer else { panic!("{answer:?}") };
    assert_eq!(standing(&information).1, Status::Accepted);
    assert_eq!(information.beneficiary.unwrap().id, 1);
    assert_eq!(information.requested_by.unwrap().id, 9);
    assert_eq!(rig.news(1), [(information.id, Status::Accepted, 1)]);
    // Who gets the floor may refuse it.
    assert!(matches!(
        rig.ask(1, Body::FloorRelease { request: information.id }),
        Body::FloorRequestStatus(_)
    ));
    assert_eq!(rig.news(9), [(information.id, Status::Cancelled, 0)]);
}

#[test]
fn third_parties() {
    let floors = vec![floor(1, Algorithm::FirstCome), floor(2, Algorithm::FirstCome)];
    let mut rig = Rig::new(floors, &[1, 2, 3]);
    assert_eq!(code(&rig.ask(2, for_another(&[1], 1))), ErrorCode::UnauthorizedOperation);
    assert_eq!(code(&rig.ask(2, for_another(&[1], 77))), ErrorCode::UserDoesNotExist);
    // A chair of one of two floors is none of both.
    rig.control.designate(rig.now, 1, Some(2)).unwrap();
    assert_eq!(code(&rig.ask(2, for_another(&[1, 2], 1))), ErrorCode::UnauthorizedOperation);
    assert!(matches!(rig.ask(2, for_another(&[1], 1)), Body::FloorRequestStatus(_)));
    rig.control.admit(rig.now, 3, Member { third_party: true, ..Member::default() });
    assert!(matches!(rig.ask(3, for_another(&[2], 1)), Body::FloorRequestStatus(_)));
    assert_eq!((rig.control.holders(1), rig.control.holders(2)), (vec![1], vec![1]));
    // One's own number in BENEFICIARY-ID is no third party.
    assert!(matches!(rig.ask(1, for_another(&[1], 1)), Body::Error { code: ErrorCode::TooManyRequests, .. }));
    // Who has no connection to floor control may have a floor.
    rig.control.admit(rig.now, 8, Member::default());
    assert!(matches!(rig.ask(2, for_another(&[1], 8)), Body::FloorRequestStatus(_)));
    let held = rig.control.status()[0].holders[0];
    assert_eq!((held.user, held.requested_by), (1, Some(2)));
    assert!(matches!(rig.ask(2, Body::FloorRelease { request: held.request }), Body::FloorRequestStatus(_)));
    assert_eq!(rig.control.holders(1), [8]);
}

#[test]
fn several_floors_are_one_package() {
    let floors = vec![floor(1, Algorithm::FirstCome), floor(2, Algorithm::Chair), floor(3, Algorithm::Chair)];
    let mut rig = Rig::new(floors, &[1, 2, 8, 9]);
    rig.control.designate(rig.now, 2, Some(8)).unwrap();
    rig.control.designate(rig.now, 3, Some(9)).unwrap();
    let (all, status, _) = rig.request(1, &[1, 2, 3, 1]);
    assert_eq!(status, Status::Pending);
    // §11.1: both chairs have to agree, and floor 1 stays free so long.
    assert_eq!(rig.decide(8, all, 2, GRANTED), Body::ChairActionAck);
    assert_eq!(rig.control.holders(2), [] as [u16; 0]);
    let (one, status, _) = rig.request(2, &[1]);
    assert_eq!(status, Status::Granted, "a floor is not idle for want of another");
    assert_eq!(rig.decide(9, all, 3, GRANTED), Body::ChairActionAck);
    assert_eq!(rig.news(1), [(all, Status::Accepted, 1)]);
    rig.ask(2, Body::FloorRelease { request: one });
    assert_eq!(rig.news(1), [(all, Status::Granted, 0)]);
    for floor in 1..=3 {
        assert_eq!(rig.control.holders(floor), [1]);
    }
    // All of them are taken away at once.
    assert_eq!(rig.decide(9, all, 3, REVOKED), Body::ChairActionAck);
    for floor in 1..=3 {
        assert_eq!(rig.control.holders(floor), [] as [u16; 0]);
    }
    // One chair who denies is enough.
    let (all, ..) = rig.request(1, &[2, 3]);
    rig.news(1);
    rig.decide(8, all, 2, GRANTED);
    rig.decide(9, all, 3, DENIED);
    assert_eq!(rig.news(1), [(all, Status::Denied, 0)]);
}

#[test]
fn the_chair_goes_round() {
    let mut one = floor(1, Algorithm::Rotation);
    one.patience = Duration::from_secs(10);
    let mut rig = Rig::new(vec![one], &[1, 2, 3]);
    assert_eq!(rig.control.chair(1), Some(1), "the first who is here");
    let (first, status, _) = rig.request(3, &[1]);
    assert_eq!(status, Status::Pending);
    // A chair who decides nothing is followed by the next.
    rig.pass(9);
    assert_eq!(rig.control.chair(1), Some(1));
    rig.pass(1);
    assert_eq!(rig.control.chair(1), Some(2));
    assert_eq!(code(&rig.decide(1, first, 1, GRANTED)), ErrorCode::UnauthorizedOperation);
    assert_eq!(rig.decide(2, first, 1, GRANTED), Body::ChairActionAck);
    assert_eq!(rig.control.chair(1), Some(2));
    // And so is one under whom somebody has had the floor.
    rig.ask(3, Body::FloorRelease { request: first });
    assert_eq!(rig.control.chair(1), Some(3));
    // One who is gone is followed too, round and round.
    rig.control.dismiss(rig.now, 3);
    rig.clients.remove(&3);
    assert_eq!(rig.control.chair(1), Some(1));
    let chairs = rig.happened().into_iter().filter_map(|event| match event {
        Event::Chair { user, .. } => user,
        _ => None,
    });
    assert_eq!(chairs.collect::<Vec<_>>(), [1, 2, 3, 1]);
}

#[test]
fn too_many_requests() {
    let mut limits = Limits::default();
    limits.requests = 5;
    limits.requests_by_user = 3;
    limits.floors_in_request = 3;
    let floors = (1..=4).map(|id| floor(id, Algorithm::FirstCome)).collect();
    let mut settings = Settings::new(common::CONFERENCE, floors);
    settings.max_requests = 2;
    let mut rig = Rig::with(settings, limits, &[1, 2, 3]);
    rig.request(1, &[1]);
    rig.request(1, &[1]);
    assert_eq!(code(&rig.ask(1, request(&[1]))), ErrorCode::TooManyRequests);
    rig.request(1, &[2]);
    assert_eq!(code(&rig.ask(1, request(&[3]))), ErrorCode::TooManyRequests, "three altogether");
    rig.request(2, &[1]);
    rig.request(2, &[1]);
    assert_eq!(code(&rig.ask(3, request(&[1]))), ErrorCode::Generic, "five in the conference");
    assert_eq!(code(&rig.ask(3, request(&[1, 2, 3, 4]))), ErrorCode::Generic, "four floors at once");
    assert_eq!(code(&rig.ask(3, request(&[1, 7]))), ErrorCode::InvalidFloorId);
    assert_eq!(rig.control.holders(1), [1], "a user with two requests is one holder");
}

#[test]
fn a_conference_that_changes() {
    let floors = vec![floor(1, Algorithm::FirstCome), floor(2, Algorithm::Chair)];
    let mut rig = Rig::new(floors, &[1, 2, 3]);
    let (held, ..) = rig.request(1, &[1]);
    let (waits, ..) = rig.request(2, &[1]);
    let (pending, ..) = rig.request(3, &[2]);
    // More may have floor 1; floor 2 needs no chair any more.
    let mut one = floor(1, Algorithm::FirstCome);
    one.max_holders = 2;
    let floors = vec![one, floor(2, Algorithm::FirstCome)];
    rig.control.configure(rig.now, Settings::new(common::CONFERENCE, floors));
    assert_eq!(rig.news(2), [(waits, Status::Granted, 0)]);
    assert_eq!(rig.news(3), [(pending, Status::Granted, 0)]);
    // Fewer: the latest goes. Floor 2 is gone.
    let floors = vec![floor(1, Algorithm::FirstCome)];
    rig.control.configure(rig.now, Settings::new(common::CONFERENCE, floors));
    assert_eq!(rig.news(1), []);
    assert_eq!(rig.news(2), [(waits, Status::Revoked, 0)]);
    assert_eq!(rig.news(3), [(pending, Status::Revoked, 0)]);
    assert_eq!(rig.control.status().len(), 1);
    // A time that is set counts from when the floor was granted.
    rig.pass(30);
    let mut one = floor(1, Algorithm::FirstCome);
    one.max_time = Some(Duration::from_secs(40));
    rig.control.configure(rig.now, Settings::new(common::CONFERENCE, vec![one]));
    rig.pass(10);
    assert_eq!(rig.news(1), [(held, Status::Revoked, 0)]);
    // The owner decides over everybody.
    let (again, ..) = rig.request(1, &[1]);
    rig.control.revoke(rig.now, again, "lunch").unwrap();
    let [Body::FloorRequestStatus(over)] = &rig.heard(1)[..] else { panic!() };
    assert_eq!(over.overall.as_ref().unwrap().information.as_ref().unwrap().as_str(), "lunch");
    assert_eq!(rig.control.revoke(rig.now, again, ""), Err(NoSuch("request")));
    assert_eq!(rig.control.designate(rig.now, 9, Some(1)), Err(NoSuch("floor")));
    assert_eq!(rig.control.designate(rig.now, 1, Some(99)), Err(NoSuch("user")));
}

#[test]
fn too_many_requests_in_too_short_a_time() {
    let mut limits = Limits::default();
    limits.burst = 3;
    limits.pace = Duration::from_secs(2);
    let settings = Settings::new(common::CONFERENCE, vec![floor(1, Algorithm::FirstCome)]);
    let mut rig = Rig::with(settings, limits, &[1, 2]);
    for _ in 0..3 {
        let (held, ..) = rig.request(1, &[1]);
        rig.ask(1, Body::FloorRelease { request: held });
    }
    rig.pass(1);
    assert_eq!(code(&rig.ask(1, request(&[1]))), ErrorCode::Generic);
    assert!(matches!(rig.ask(1, Body::Hello), Body::HelloAck { .. }), "questions are free");
    let (other, ..) = rig.request(2, &[1]);
    rig.ask(2, Body::FloorRelease { request: other });
    rig.pass(1);
    let (held, ..) = rig.request(1, &[1]);
    assert_eq!(code(&rig.ask(1, request(&[1]))), ErrorCode::Generic);
    assert!(matches!(rig.ask(1, Body::FloorRelease { request: held }), Body::FloorRequestStatus(_)));
    // Time that nothing was asked in is not saved up for more than the burst.
    rig.pass(1000);
    for _ in 0..3 {
        let (held, ..) = rig.request(1, &[1]);
        rig.ask(1, Body::FloorRelease { request: held });
    }
    assert_eq!(code(&rig.ask(1, request(&[1]))), ErrorCode::Generic);
}

#[test]
fn the_owner_decides_as_a_chair_would() {
    let mut rig = Rig::new(vec![floor(1, Algorithm::Chair), floor(2, Algorithm::FirstCome)], &[1, 2, 3]);
    let now = rig.now;
    // Nobody is the chair, so it waits for ever, until the owner gives it.
    let (first, status, _) = rig.request(1, &[1]);
    assert_eq!(status, Status::Pending);
    rig.control.give(now, 1, 1).unwrap();
    assert_eq!((rig.control.holders(1), rig.news(1)), (vec![1], vec![(first, Status::Granted, 0)]));
    // Another one gets it: the holder loses it.
    let (second, ..) = rig.request(2, &[1]);
    rig.control.give(now, 1, 2).unwrap();
    assert_eq!(rig.control.holders(1), [2]);
    assert_eq!(rig.news(1), [(first, Status::Revoked, 0)]);
    assert_eq!(rig.news(2), [(second, Status::Granted, 0)]);
    // Off the queue, and the floor taken back.
    let (third, ..) = rig.request(3, &[1]);
    rig.control.withhold(now, 1, 3).unwrap();
    assert_eq!(rig.news(3), [(third, Status::Denied, 0)]);
    rig.control.withhold(now, 1, 2).unwrap();
    assert_eq!((rig.control.holders(1), rig.news(2)), (vec![], vec![(second, Status::Revoked, 0)]));
    let owner = |event: &Event| matches!(event, Event::Ended { reason: Reason::Owner, .. });
    assert_eq!(rig.happened().iter().filter(|event| owner(event)).count(), 2);
    for (floor, user) in [(1, 2), (1, 9), (9, 1)] {
        assert_eq!(rig.control.give(now, floor, user), Err(NoSuch("request")));
        assert_eq!(rig.control.withhold(now, floor, user), Err(NoSuch("request")));
    }
    // The first of a queue that nobody chairs is passed by whom the owner prefers.
    rig.request(1, &[2]);
    rig.request(2, &[2]);
    rig.request(3, &[2]);
    rig.control.give(now, 2, 3).unwrap();
    assert_eq!(rig.control.holders(2), [3]);
}
