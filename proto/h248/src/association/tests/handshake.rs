//! Acknowledgements, Pending, and what is remembered for how long.

use super::*;

fn asked(end: &mut Association, now: Instant, id: u32) {
    end.handle_message(now, message(vec![request(id, id)]));
}

/// Asked, executed, answered; the answer has left.
fn answered(end: &mut Association, now: Instant, id: u32) {
    asked(end, now, id);
    end.reply(now, TransactionId(id), done(id, 1, 0));
    assert_eq!(sent(end).len(), 1);
    assert_eq!(events(end).len(), 1);
}

#[test]
fn acknowledgements_ride_in_the_next_message_as_ranges() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 1);
    let ids: Vec<_> = (0..5).map(|n| end.request(now, ask(n)).0).collect();
    sent(&mut end);
    for n in [3, 0, 1, 4] {
        end.handle_message(now, message(vec![reply(ids[n], n as u32)]));
    }
    assert_eq!(end.poll_transmit(), None, "they wait");
    end.request(now, ask(9));
    let out = sent(&mut end);
    let ranges = [(0, 1), (3, 4)]
        .map(|(a, b)| crate::AckRange { first: TransactionId(ids[a]), last: TransactionId(ids[b]) });
    assert_eq!(out[0], Transaction::Ack(ranges.to_vec()));
    assert!(matches!(out[1..], [Transaction::Request(_)]));
    end.request(now, ask(10));
    assert_eq!(sent(&mut end).len(), 1, "they are sent once");
}

#[test]
fn acknowledgements_do_not_wait_for_ever() {
    for transport in [Transport::Datagram, Transport::Reliable] {
        let now = Instant::now();
        let mut end = association(transport, 1);
        let id = end.request(now, ask(1)).0;
        sent(&mut end);
        end.handle_message(now, message(vec![reply(id, 1)]));
        let due = end.poll_timeout().unwrap();
        assert_eq!(due, now + end.timers().acknowledgement);
        end.handle_timeout(due);
        assert_eq!(sent(&mut end), [ack(id, id)]);
        assert_empty(&end);
    }
}

#[test]
fn many_acknowledgements_do_not_wait() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 1);
    let ids: Vec<_> = (0..64).map(|n| end.request(now, ask(n)).0).collect();
    sent(&mut end);
    for id in &ids {
        end.handle_message(now, message(vec![reply(*id, 0)]));
    }
    assert_eq!(sent(&mut end), [ack(ids[0], ids[63])]);
}

/// RFC 3525 §D.1.2.2 over the wrap of numbers: two ranges, not one that goes down.
#[test]
fn numbers_wrap_past_zero() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 1);
    end.outgoing.set_next(TransactionId(u32::MAX - 1));
    let ids: Vec<_> = (0..4).map(|n| end.request(now, ask(n)).0).collect();
    assert_eq!(ids, [u32::MAX - 1, u32::MAX, 1, 2]);
    sent(&mut end);
    for id in ids {
        end.handle_message(now, message(vec![reply(id, 0)]));
    }
    end.handle_timeout(end.poll_timeout().unwrap());
    let (low, high) = (ack(1, 2), ack(u32::MAX - 1, u32::MAX));
    let (Transaction::Ack(mut low), Transaction::Ack(high)) = (low, high) else { panic!() };
    low.extend(high);
    assert_eq!(sent(&mut end), [Transaction::Ack(low)]);
    // A number that still waits is not taken again.
    let waiting = end.request(now, ask(1));
    end.outgoing.set_next(waiting);
    assert_ne!(end.request(now, ask(2)), waiting);
}

/// RFC 3525 §D.1.1: a repeat is answered with the stored reply; once that is acknowledged it is dropped
/// silently; after LONG-TIMER the number is a new one.
#[test]
fn a_repeat_is_never_executed_while_it_is_remembered() {
    let start = Instant::now();
    let mut end = association(Transport::Datagram, 2);
    let long = end.timers().long;
    answered(&mut end, start, 7);
    asked(&mut end, start + long / 2, 7);
    assert_eq!((sent(&mut end), events(&mut end)), (vec![reply(7, 7)], vec![]));
    let acknowledged = start + long * 3 / 4;
    end.handle_message(acknowledged, message(vec![ack(7, 7)]));
    asked(&mut end, acknowledged, 7);
    assert_eq!((sent(&mut end), events(&mut end)), (vec![], vec![]));
    // The confirmed number is kept for LONG-TIMER from when it was confirmed.
    let late = acknowledged + long - MS;
    end.handle_timeout(late);
    asked(&mut end, late, 7);
    assert_eq!(events(&mut end), vec![]);
    end.handle_timeout(acknowledged + long);
    assert_empty(&end);
    asked(&mut end, acknowledged + long, 7);
    assert!(matches!(events(&mut end)[..], [Event::Request { .. }]));
}

/// LONG-TIMER passes though nobody called for it.
#[test]
fn a_silent_time_makes_numbers_new() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 2);
    answered(&mut end, now, 7);
    let long = end.timers().long;
    asked(&mut end, now + long, 7);
    assert!(matches!(events(&mut end)[..], [Event::Request { .. }]));
}

/// A range that claims more than was answered takes nothing away from later requests, nor from one that
/// is being executed, and one that goes down is nonsense.
#[test]
fn a_range_that_lies_does_no_harm() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 3);
    answered(&mut end, now, 5);
    asked(&mut end, now, 6);
    events(&mut end);
    end.handle_message(now, message(vec![ack(9, 1), ack(0, u32::MAX)]));
    asked(&mut end, now, 5);
    assert_eq!(sent(&mut end), [], "what was answered is confirmed");
    end.reply(now, TransactionId(6), done(6, 1, 0));
    assert_eq!(sent(&mut end), [reply(6, 6)]);
    for id in [1, 7, 1_000, u32::MAX] {
        asked(&mut end, now, id);
    }
    assert_eq!(events(&mut end).len(), 4);
}

/// Work that takes long: Pending goes out, the reply asks for an acknowledgement and gets it.
#[test]
fn long_work_is_announced_and_its_reply_acknowledged() {
    let mut net = Network::new(Transport::Datagram, 5);
    let id = net.ends[0].request(net.now, ask(1));
    net.run(6 * SECOND);
    assert!(matches!(events(&mut net.ends[1])[..], [Event::Request { id: got, .. }] if got == id));
    net.ends[1].reply(net.now, id, done(1, 1, 0));
    let reply = net.ends[1].poll_transmit().unwrap();
    assert!(matches!(reply.transactions(), [Transaction::Reply(r)] if r.immediate_ack));
    net.ends[0].handle_message(net.now, reply.clone());
    assert_eq!(events(&mut net.ends[0]), [Event::Reply { id, body: done(1, 1, 0) }]);
    let answer = net.ends[0].poll_transmit().unwrap();
    assert_eq!(answer.transactions(), [ack(id.0, id.0)]);
    // Until it is acknowledged it is repeated.
    net.ends[1].handle_timeout(net.now + 5 * SECOND);
    assert_eq!(net.ends[1].poll_transmit(), Some(reply.clone()));
    net.ends[1].handle_message(net.now, answer);
    net.ends[1].handle_timeout(net.now + 20 * SECOND);
    // A late copy of the request is dropped, of the reply acknowledged again, of the Pending ignored.
    net.ends[1].handle_message(net.now, message(vec![request(id.0, 1)]));
    assert_eq!((events(&mut net.ends[1]), sent(&mut net.ends[1])), (vec![], vec![]));
    net.ends[0].handle_message(net.now, reply);
    assert_eq!(sent(&mut net.ends[0]), [ack(id.0, id.0)]);
    net.ends[0].handle_message(net.now, message(vec![Transaction::Pending(id)]));
    assert_eq!(events(&mut net.ends[0]), []);
    assert_empty(&net.ends[0]);
}

#[test]
fn pendings_come_at_growing_intervals() {
    let start = Instant::now();
    let mut end = association(Transport::Reliable, 5);
    asked(&mut end, start, 1);
    let mut at = Vec::new();
    for _ in 0..6 {
        let due = end.poll_timeout().unwrap();
        end.handle_timeout(due);
        assert_eq!(sent(&mut end), [Transaction::Pending(TransactionId(1))]);
        at.push((due - start).as_millis());
    }
    assert_eq!(at, [500, 1_500, 3_500, 7_500, 15_500, 23_500]);
}

#[test]
fn a_repeat_is_answered_with_pending_and_the_copy_beside_it_is_not() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 5);
    asked(&mut end, now, 1);
    asked(&mut end, now + 150 * MS, 1);
    asked(&mut end, now + 151 * MS, 1);
    assert_eq!(sent(&mut end), [Transaction::Pending(TransactionId(1))]);
    asked(&mut end, now + 350 * MS, 1);
    assert_eq!(sent(&mut end).len(), 1);
    assert_eq!(events(&mut end).len(), 1);
}

/// MGOriginatedPendingLimit (H.248.1 §E.2.1).
#[test]
fn work_without_end_is_abandoned_with_506() {
    let mut net = Network::new(Transport::Datagram, 6);
    net.ends[1].config.limits.pendings = 3;
    let id = net.ends[0].request(net.now, ask(1));
    net.run(40 * SECOND);
    let ended = events(&mut net.ends[1]);
    assert!(matches!(ended[..], [Event::Request { .. }, Event::Abandoned { id: got }] if got == id));
    let [Event::Reply { body: ReplyBody::Error(error), .. }] = &events(&mut net.ends[0])[..] else {
        panic!()
    };
    assert_eq!(error.code, 506);
    // Too late.
    net.ends[1].reply(net.now, id, done(1, 1, 0));
    assert_eq!(sent(&mut net.ends[1]), []);
}

/// The other side of that limit: a peer that goes on saying Pending is not believed for ever.
#[test]
fn a_peer_that_only_says_pending_has_failed() {
    let mut now = Instant::now();
    let mut end = association(Transport::Datagram, 6);
    end.config.limits.pendings_taken = 3;
    let id = end.request(now, ask(1));
    for n in 1..=4 {
        now += 20 * SECOND;
        end.handle_timeout(now);
        end.handle_message(now, message(vec![Transaction::Pending(id)]));
        let failed = vec![Event::Failed { id, reason: Failure::PendingTooOften }];
        assert_eq!(events(&mut end), if n < 4 { vec![] } else { failed });
    }
    sent(&mut end);
    assert_empty(&end);
}

/// RFC 3525 §8.2.3: the execution time is a property of `root`, and may change.
#[test]
fn times_can_be_set_while_it_runs() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 7);
    let timers = Timers { execution: 2 * SECOND, answer: 3 * SECOND, ..end.timers().clone() };
    end.set_timers(timers.clone());
    assert_eq!(*end.timers(), timers);
    asked(&mut end, now, 1);
    assert_eq!(end.poll_timeout(), Some(now + 2 * SECOND));
    end.close();
    end.request(now, ask(1));
    assert_eq!(end.poll_timeout(), Some(now + 3 * SECOND));
    end.close();
    end.set_timers(Timers { initial: 700 * MS, ..Timers::default() });
    end.request(now, ask(1));
    assert_eq!(end.poll_timeout(), Some(now + 700 * MS));
}

/// RFC 3525 §8.1.1, §8.2.2: what has no number is answered with number 0 and not executed.
#[test]
fn a_request_without_a_number_is_refused() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 8);
    asked(&mut end, now, 0);
    let [Transaction::Reply(reply)] = &sent(&mut end)[..] else { panic!() };
    assert_eq!((reply.id.0, reply.body.first_error().unwrap().code), (0, 403));
    assert_eq!(events(&mut end), []);
    assert_empty(&end);
    // And such an answer to us belongs to no request.
    let id = end.request(now, ask(1));
    let error = ErrorDescriptor::new(403, "no number");
    let zero = TransactionReply::new(TransactionId(0), ReplyBody::Error(error.clone()));
    end.handle_message(now, message(vec![Transaction::Reply(zero)]));
    assert_eq!(events(&mut end), [Event::MessageError { error }]);
    end.handle_message(now, message(vec![reply_to(id)]));
    assert!(matches!(events(&mut end)[..], [Event::Reply { .. }]));
}

fn reply_to(id: TransactionId) -> Transaction {
    reply(id.0, 1)
}

#[test]
fn what_cannot_be_decoded_is_answered_where_it_belongs() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 8);
    let limits = TextLimits::default();
    let error =
        crate::text::parse(b"MEGACO/3 <a> Transaction = 7 { Context = 1 { Bad = x } }", &limits).unwrap_err();
    end.handle_undecodable(&error);
    let message = end.poll_transmit().unwrap();
    assert!(matches!(message.transactions(), [Transaction::Reply(r)]
        if r.id == TransactionId(7) && r.body.first_error().is_some_and(|e| e.code == 443)));
    let error = crate::text::parse(b"nonsense", &limits).unwrap_err();
    end.handle_undecodable(&error);
    assert!(matches!(end.poll_transmit().unwrap().body, Body::Error(e) if e.code == 400));
    // A message error is never answered.
    end.handle_message(now, Message::error(3, MId::domain("y"), ErrorDescriptor::new(400, "no")));
    assert!(matches!(end.poll_event(), Some(Event::MessageError { .. })));
    assert_eq!(end.poll_transmit(), None);
}
