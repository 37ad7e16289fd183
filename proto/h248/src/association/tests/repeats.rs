//! When requests are sent again, and when they have failed.

use super::*;

#[test]
fn a_silent_peer_is_lost_after_t_max_and_seven_to_fifteen_repeats() {
    let mut net = Network::new(Transport::Datagram, 3);
    net.loss = 100;
    let start = net.now;
    let id = net.ends[0].request(net.now, ask(1));
    while net.ends[0].outstanding() > 0 {
        assert!(net.step(start + 60 * SECOND));
    }
    assert_eq!(net.now - start, 25 * SECOND);
    assert!((8..=16).contains(&net.sent), "{} sent", net.sent);
    let reason = Failure::TimedOut;
    assert_eq!(events(&mut net.ends[0]), [Event::Failed { id, reason }, Event::PeerLost]);
    // Once, until something new arrives.
    net.ends[0].request(net.now, ask(2));
    net.run(60 * SECOND);
    assert!(matches!(events(&mut net.ends[0])[..], [Event::Failed { .. }]));
    net.ends[0].handle_message(net.now, message(vec![request(70, 1)]));
    assert!(matches!(events(&mut net.ends[0])[..], [Event::Request { .. }]));
    net.ends[0].reply(net.now, TransactionId(70), done(1, 1, 0));
    net.ends[0].request(net.now, ask(3));
    net.run(60 * SECOND);
    assert!(matches!(events(&mut net.ends[0])[..], [Event::Failed { .. }, Event::PeerLost]));
}

/// Whoever has kept what a peer said can say it again for ever: it keeps nobody alive (RFC 3525 §10.1).
#[test]
fn only_what_is_new_shows_that_the_peer_is_there() {
    let start = Instant::now();
    let mut end = association(Transport::Datagram, 9);
    let asked = end.request(start, ask(1));
    let answer = message(vec![reply(asked.0, 1)]);
    let question = message(vec![request(70, 1)]);
    end.handle_message(start + SECOND, question.clone());
    assert_eq!(end.last_heard(), Some(start + SECOND));
    end.reply(start + SECOND, TransactionId(70), done(1, 1, 0));
    end.handle_message(start + 2 * SECOND, answer.clone());
    assert_eq!(end.last_heard(), Some(start + 2 * SECOND));
    let never = [
        question,
        answer,
        message(vec![ack(70, 70)]),
        message(vec![Transaction::Pending(asked)]),
        message(vec![]),
        crate::Message::error(3, crate::MId::domain("peer"), ErrorDescriptor::new(400, "what")),
    ];
    for said in never {
        end.handle_message(start + 3 * SECOND, said.clone());
        assert_eq!(end.last_heard(), Some(start + 2 * SECOND), "{said:?}");
    }
}

/// Who answers the rest has not failed, only this request has.
#[test]
fn a_peer_that_answers_others_is_not_lost() {
    let start = Instant::now();
    let mut end = association(Transport::Datagram, 3);
    let never = end.request(start, ask(1));
    for second in 1..30 {
        let now = start + second * SECOND;
        end.handle_timeout(now);
        let id = end.request(now, ask(2));
        end.handle_message(now, message(vec![reply(id.0, 2)]));
        sent(&mut end);
    }
    let failed = |e: &Event| matches!(e, Event::Failed { .. } | Event::PeerLost);
    let failed: Vec<_> = events(&mut end).into_iter().filter(failed).collect();
    assert_eq!(failed, [Event::Failed { id: never, reason: Failure::TimedOut }]);
}

/// On a steady path nothing is repeated, whatever its delay (after one request to learn it).
#[test]
fn nothing_is_repeated_on_a_path_that_loses_nothing() {
    for path in [1, 30, 90, 400, 1_200] {
        let mut net = Network::new(Transport::Datagram, path);
        let delay = Duration::from_millis(path);
        net.delay = (delay, delay);
        // What rides alone is not counted.
        net.ends.iter_mut().for_each(|e| e.config.timers.acknowledgement = 1_000 * SECOND);
        let mut repeated = 0;
        for mark in 1..=20 {
            let before = net.sent;
            net.ends[0].request(net.now, ask(mark));
            let until = net.now + 10 * SECOND;
            while net.ends[0].outstanding() > 0 && net.step(until) {
                for event in events(&mut net.ends[1]) {
                    if let Event::Request { id, actions } = event {
                        let body = done(mark_of(&actions), 1, 0);
                        net.ends[1].reply(net.now, id, body);
                    }
                }
            }
            net.run(10 * SECOND);
            repeated += u32::from(net.sent - before > 2);
        }
        assert!(repeated <= 4, "{repeated} of 20 were repeated over {path} ms");
        assert!(path > 90 || repeated == 0, "{repeated} of 20 were repeated over {path} ms");
    }
}

/// RFC 3525 §D.1.4: after a Pending the wait is another, and each is longer than the one before.
#[test]
fn a_pending_request_is_repeated_seldom() {
    let start = Instant::now();
    let mut end = association(Transport::Datagram, 4);
    let id = end.request(start, ask(1));
    sent(&mut end);
    end.handle_message(start + 100 * MS, message(vec![Transaction::Pending(id)]));
    let mut at = Vec::new();
    while let Some(due) = end.poll_timeout() {
        end.handle_timeout(due);
        at.push((due - start).as_millis());
        assert_eq!(sent(&mut end).len(), usize::from(end.outstanding() > 0));
    }
    assert_eq!(at, [5_100, 15_100, 25_100]);
    assert_eq!(events(&mut end)[0], Event::Failed { id, reason: Failure::TimedOut });
}

#[test]
fn a_reliable_transport_sees_each_request_once_until_it_comes_back() {
    let mut net = Network::new(Transport::Reliable, 4);
    net.loss = 100;
    let ids = [net.ends[0].request(net.now, ask(1)), net.ends[0].request(net.now, ask(2))];
    net.run(20 * SECOND);
    assert_eq!(net.sent, 1, "both in one message");
    net.loss = 0;
    net.ends[0].reconnected();
    net.run(SECOND);
    let got = events(&mut net.ends[1]).into_iter().map(|e| match e {
        Event::Request { id, .. } => id,
        other => panic!("{other:?}"),
    });
    assert!(got.eq(ids));
}

#[test]
fn a_channel_keeps_nothing_to_be_sent_again() {
    let now = Instant::now();
    let (mut a, mut b) = (association(Transport::Channel, 1), association(Transport::Channel, 2));
    let id = a.request(now, ask(1));
    b.handle_message(now, a.poll_transmit().unwrap());
    assert!(matches!(b.poll_event(), Some(Event::Request { .. })));
    // Nothing is written, so nothing is too big.
    let body = done(1, 2_000, 100);
    b.reply(now, id, body.clone());
    a.handle_message(now, b.poll_transmit().unwrap());
    assert_eq!(a.poll_event(), Some(Event::Reply { id, body }));
    assert_empty(&a);
    assert_empty(&b);
    assert!(a.poll_transmit().is_none() && b.poll_transmit().is_none());

    // An answer that does not come is missed all the same.
    let id = a.request(now, ask(1));
    a.poll_transmit().unwrap();
    a.reconnected();
    assert!(a.poll_transmit().is_none());
    a.handle_timeout(a.poll_timeout().unwrap());
    assert_eq!(a.poll_event(), Some(Event::Failed { id, reason: Failure::TimedOut }));
    assert_eq!(a.poll_event(), None, "the other end is slow, not lost");
}

#[test]
fn closing_fails_what_waits_and_forgets_the_rest() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 9);
    let id = end.request(now, ask(1));
    end.handle_message(now, message(vec![request(5, 5), request(0, 0)]));
    end.close();
    let got = events(&mut end);
    assert!(matches!(got[..], [Event::Request { .. }, Event::Failed { id: failed, reason: Failure::Closed }]
        if failed == id));
    assert_eq!(sent(&mut end), []);
    assert_empty(&end);
}
