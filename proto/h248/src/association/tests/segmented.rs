//! Replies in segments.

use super::*;
use crate::{SegmentNumber, SegmentReply};

fn config(datagram: usize) -> Config {
    let mut config = Config { segments: true, ..Config::new(Transport::Datagram) };
    config.limits.datagram = datagram;
    config
}

/// The segments of an answer to request 1.
fn segments(end: &mut Association, now: Instant, body: ReplyBody) -> Vec<Transaction> {
    end.handle_message(now, message(vec![request(1, 1)]));
    end.reply(now, TransactionId(1), body);
    events(end);
    sent(end)
}

fn number(transaction: &Transaction) -> (u16, bool) {
    match transaction {
        Transaction::Reply(TransactionReply { segment: Some(s), .. }) => (s.number, s.last),
        other => panic!("{other:?}"),
    }
}

fn confirm(id: u32, (number, last): (u16, bool)) -> Message {
    let segment = SegmentNumber { number, last };
    message(vec![Transaction::Segment(SegmentReply { id: TransactionId(id), segment })])
}

fn segment(id: TransactionId, number: u16, last: bool, mark: u32) -> Message {
    let segment = Some(SegmentNumber { number, last });
    let body = done(mark, 1, 0);
    message(vec![Transaction::Reply(TransactionReply { segment, ..TransactionReply::new(id, body) })])
}

#[test]
fn a_reply_is_taken_apart_at_its_commands_and_put_together() {
    let now = Instant::now();
    for encoding in [Encoding::Text(Form::Short), Encoding::Text(Form::Long), Encoding::Binary] {
        for (commands, filler) in [(60, 10), (7, 500), (100, 40), (2, 900)] {
            let mut config = config(1_232);
            config.encoding = encoding;
            let mut end = of(config.clone(), 1);
            let mut asker = of(config, 2);
            asker.outgoing.set_next(TransactionId(1));
            let id = asker.request(now, ask(1));
            sent(&mut asker);
            let mut body = done(1, commands, filler);
            if let ReplyBody::Actions(actions) = &mut body {
                // A second action that failed, a third that says something of its context.
                actions.push(ActionReply::failed(ContextId::Id(2), ErrorDescriptor::new(411, "unknown")));
                let mut third = ActionReply::new(ContextId::Id(3), vec![]);
                third.properties.priority = Some(7);
                actions.push(third);
            }
            let mut parts = segments(&mut end, now, body.clone());
            assert!(parts.len() <= 8);
            let mut confirmed = 0;
            while confirmed < parts.len() {
                end.handle_message(now, confirm(1, number(&parts[confirmed])));
                confirmed += 1;
                parts.extend(sent(&mut end));
            }
            let numbers: Vec<_> = parts.iter().map(number).collect();
            let count = parts.len() as u16;
            assert!(count > 1 && numbers.iter().copied().eq((1..=count).map(|n| (n, n == count))));
            // In any order, through the wire.
            let half = parts.len() / 2;
            parts.rotate_left(half);
            for part in &parts {
                let octets = encoding.print(&message(vec![part.clone()])).unwrap();
                assert!(octets.len() <= 1_232);
                let arrived = encoding::parse(&octets, &TextLimits::default()).unwrap();
                assert_eq!(events(&mut asker), []);
                asker.handle_message(now, arrived);
            }
            assert_eq!(events(&mut asker), [Event::Reply { id, body }]);
            // Each is acknowledged in a message of its own, after them the whole.
            for _ in &parts {
                let message = asker.poll_transmit().unwrap();
                assert!(matches!(message.transactions(), [Transaction::Segment(_)]));
            }
            asker.handle_timeout(now + asker.timers().acknowledgement);
            assert_eq!(sent(&mut asker), [ack(1, 1)]);
            assert_empty(&asker);
        }
    }
}

#[test]
fn only_version_3_has_segments_and_only_where_agreed() {
    let now = Instant::now();
    for (agreed, version) in [(false, 3), (true, 2), (true, 1)] {
        let mut end = of(config(1_232), 1);
        end.set_segments(agreed);
        end.set_version(version);
        let [Transaction::Reply(reply)] = &segments(&mut end, now, done(1, 30, 100))[..] else { panic!() };
        assert_eq!((reply.segment, reply.body.first_error().unwrap().code), (None, 533));
    }
    let mut end = of(config(1_232), 1);
    assert!(
        matches!(
            segments(&mut end, now, done(1, 1, 0))[..],
            [Transaction::Reply(TransactionReply { segment: None, .. })]
        ),
        "what fits goes whole"
    );
}

#[test]
fn a_command_too_big_by_itself_or_too_many_segments_is_533() {
    let now = Instant::now();
    for (commands, filler, most) in [(3, 1_300, 256), (30, 600, 10)] {
        let mut config = config(1_232);
        config.limits.segments = most;
        let mut end = of(config, 1);
        let [Transaction::Reply(reply)] = &segments(&mut end, now, done(1, commands, filler))[..] else {
            panic!()
        };
        assert_eq!(reply.body.first_error().unwrap().code, 533);
    }
}

#[test]
fn segments_that_are_not_acknowledged_are_repeated() {
    let now = Instant::now();
    let mut end = of(config(1_232), 1);
    let parts = segments(&mut end, now, done(1, 8, 500));
    assert_eq!(parts.iter().map(number).collect::<Vec<_>>(), [(1, false), (2, false), (3, false)]);
    end.handle_message(now, confirm(1, (2, false)));
    // Not acknowledged in time, and when the request comes again: those that are missing.
    let missing = [parts[0].clone(), parts[2].clone()];
    end.handle_timeout(now + 250 * MS);
    assert_eq!(sent(&mut end), missing);
    end.handle_message(now, message(vec![request(1, 1)]));
    assert_eq!(sent(&mut end), missing);
    assert_eq!(events(&mut end), []);
    // An acknowledgement of what was never sent, and twice of what was, change nothing.
    for n in [(2, false), (9, true), (4, true), (0, false)] {
        end.handle_message(now, confirm(1, n));
    }
    end.handle_message(now, confirm(1, (1, false)));
    assert_eq!(sent(&mut end), []);
    // The last goes when all others have arrived.
    end.handle_message(now, confirm(1, (3, false)));
    let last = sent(&mut end);
    assert_eq!(last.iter().map(number).collect::<Vec<_>>(), [(4, true)]);
    end.handle_timeout(now + 2 * SECOND);
    assert_eq!(sent(&mut end), last);
    end.handle_message(now, confirm(1, (4, true)));
    end.handle_timeout(now + 20 * SECOND);
    end.handle_message(now, message(vec![request(1, 1)]));
    assert_eq!((sent(&mut end), events(&mut end)), (vec![], vec![]), "a late copy");
    end.handle_timeout(now + 2 * end.timers().long);
    assert_empty(&end);
}

/// A peer that waits 4 s for what is missing hears of it several times.
#[test]
fn segments_are_repeated_while_the_peer_waits_for_them() {
    let mut now = Instant::now();
    let mut end = of(config(1_232), 1);
    segments(&mut end, now, done(1, 8, 500));
    let start = now;
    let mut repeats = Vec::new();
    while now < start + 20 * SECOND {
        now = end.poll_timeout().unwrap();
        end.handle_timeout(now);
        assert_eq!(sent(&mut end).len(), 3);
        repeats.push(now);
    }
    assert!(repeats.windows(2).all(|w| w[1] - w[0] <= SECOND));
    assert!(repeats.len() < 50, "{} repeats", repeats.len());
}

/// A peer that acknowledges the whole needs not acknowledge each.
#[test]
fn an_acknowledgement_of_the_reply_ends_its_segments() {
    let now = Instant::now();
    let mut end = of(config(1_232), 1);
    segments(&mut end, now, done(1, 8, 500));
    end.handle_message(now, message(vec![ack(1, 1)]));
    end.handle_timeout(now + 10 * SECOND);
    assert_eq!(sent(&mut end), []);
}

/// `seg`: after the last segment the others may be missing for a time; then the peer is told.
#[test]
fn missing_segments_are_told_with_459() {
    let start = Instant::now();
    let mut end = of(config(1_232), 1);
    let id = end.request(start, ask(1));
    sent(&mut end);
    end.handle_message(start, segment(id, 2, false, 1));
    // The peer has begun: nothing is repeated any more, and it may take T-MAX for the next.
    assert_eq!(end.poll_timeout(), Some(start + end.timers().t_max));
    let last = start + 10 * SECOND;
    end.handle_message(last, segment(id, 5, true, 1));
    end.handle_message(last + SECOND, segment(id, 3, false, 1));
    assert!(matches!(
        sent(&mut end)[..],
        [Transaction::Segment(_), Transaction::Segment(_), Transaction::Segment(_)]
    ));
    let due = last + end.timers().segments;
    assert_eq!(end.poll_timeout(), Some(due));
    end.handle_timeout(due);
    assert_eq!(events(&mut end), [Event::Failed { id, reason: Failure::Segments }]);
    let Some(Body::Error(error)) = end.poll_transmit().map(|m| m.body) else { panic!() };
    assert_eq!(error.code, 459);
    assert!(error.text.as_ref().is_some_and(|t| t.ends_with("1,4")), "{error:?}");
    assert_empty(&end);
    // Who comes late is acknowledged, so that the peer stops.
    end.handle_message(due, segment(id, 4, false, 1));
    assert_eq!(sent(&mut end).len(), 1);
    assert_eq!(events(&mut end), []);
}

#[test]
fn a_peer_that_stops_in_the_middle_has_failed() {
    let mut now = Instant::now();
    let mut end = of(config(1_232), 1);
    let id = end.request(now, ask(1));
    for n in 1..=3 {
        now += 20 * SECOND;
        end.handle_message(now, segment(id, n, false, 1));
    }
    end.handle_message(now, message(vec![Transaction::Pending(id)]));
    now += end.timers().t_max;
    end.handle_timeout(now);
    assert_eq!(events(&mut end), [Event::Failed { id, reason: Failure::Segments }]);
}

/// Twice the same, numbers beyond the end or the limit, two ends, number 0.
#[test]
fn segments_that_contradict_are_not_taken() {
    let now = Instant::now();
    let mut config = config(1_232);
    config.limits.segments = 10;
    let mut end = of(config, 1);
    let id = end.request(now, ask(1));
    sent(&mut end);
    let mut taken = |number, last| {
        end.handle_message(now, segment(id, number, last, 1));
        assert_eq!(events(&mut end), []);
        sent(&mut end).len() == 1
    };
    assert!(!taken(0, false) && !taken(11, false));
    assert!(taken(3, false) && taken(3, false), "again: acknowledged again");
    assert!(!taken(2, true), "an end before what there is");
    assert!(taken(4, true) && !taken(5, false) && !taken(5, true) && !taken(3, true));
    assert!(taken(1, false));
    end.handle_message(now, segment(id, 2, false, 1));
    let [Event::Reply { body: ReplyBody::Actions(actions), .. }] = &events(&mut end)[..] else { panic!() };
    assert_eq!((actions.len(), actions[0].commands.len()), (1, 4));
}

#[test]
fn segments_that_are_held_are_bounded() {
    let now = Instant::now();
    let mut config = config(1_232);
    config.limits.assembling = 3;
    let mut end = of(config, 1);
    let ids: Vec<_> = (1..=3).map(|n| end.request(now, ask(n))).collect();
    sent(&mut end);
    for (id, n) in [(ids[0], 1), (ids[0], 2), (ids[1], 1)] {
        end.handle_message(now, segment(id, n, false, 1));
    }
    assert_eq!(sent(&mut end).len(), 3);
    // No more, unless it completes one.
    end.handle_message(now, segment(ids[2], 1, false, 1));
    end.handle_message(now, segment(ids[1], 2, false, 1));
    assert_eq!((sent(&mut end), end.outgoing.held()), (vec![], 3));
    end.handle_message(now, segment(ids[0], 3, true, 1));
    assert!(matches!(events(&mut end)[..], [Event::Reply { .. }]));
    assert_eq!(end.outgoing.held(), 1);
    // The one that got nothing is still repeated.
    end.handle_timeout(now + 250 * MS);
    let again = sent(&mut end);
    assert!(again.iter().any(|t| matches!(t, Transaction::Request(r) if r.id == ids[2])));
    assert!(!again.iter().any(|t| matches!(t, Transaction::Request(r) if r.id == ids[1])));
    end.fail_requests();
    assert_eq!(end.outgoing.held(), 0);
}

/// In text a segment reply has no end of its own: what follows it could not be told from it.
#[test]
fn a_segment_reply_is_the_last_of_its_message() {
    let now = Instant::now();
    let mut end = of(config(1_232), 1);
    let id = end.request(now, ask(1));
    end.handle_message(now, message(vec![request(8, 8), request(9, 9)]));
    sent(&mut end);
    end.reply(now, TransactionId(8), done(8, 1, 0));
    end.reply(now, TransactionId(9), done(9, 1, 0));
    end.handle_message(now, segment(id, 1, false, 1));
    end.handle_message(now, segment(id, 2, false, 1));
    let messages: Vec<_> = std::iter::from_fn(|| end.poll_transmit()).collect();
    assert!(matches!(
        messages[0].transactions(),
        [Transaction::Reply(_), Transaction::Reply(_), Transaction::Segment(_)]
    ));
    assert!(matches!(messages[1].transactions(), [Transaction::Segment(_)]));
    for sent in &messages {
        for form in [Form::Short, Form::Long] {
            let octets = crate::text::print(sent, form);
            let read = crate::text::parse(&octets, &TextLimits::default()).unwrap();
            assert_eq!(read.transactions(), sent.transactions());
        }
    }
}

/// RFC 3525 §D.1.4 holds for the whole: after Pending it is acknowledged at once, when it is complete.
#[test]
fn a_segmented_reply_after_pending_is_acknowledged_at_once() {
    let now = Instant::now();
    let mut end = of(config(1_232), 1);
    end.handle_message(now, message(vec![request(1, 1)]));
    end.pending(now, TransactionId(1));
    sent(&mut end);
    end.reply(now, TransactionId(1), done(1, 8, 500));
    let mut parts = sent(&mut end);
    for n in 1..=3 {
        end.handle_message(now, confirm(1, (n, false)));
    }
    parts.extend(sent(&mut end));
    let mut asker = of(config(1_232), 2);
    asker.outgoing.set_next(TransactionId(1));
    asker.request(now, ask(1));
    sent(&mut asker);
    parts.reverse();
    for part in parts {
        assert!(!sent(&mut asker).iter().any(|t| matches!(t, Transaction::Ack(_))));
        asker.handle_message(now, message(vec![part]));
    }
    assert!(sent(&mut asker).contains(&ack(1, 1)));
}
