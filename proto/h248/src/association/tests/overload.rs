//! More than the limits.

use super::*;

#[test]
fn one_request_too_many_fails_at_once() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 7);
    end.config.limits.outstanding = 1;
    let first = end.request(now, ask(1));
    let second = end.request(now, ask(2));
    assert_eq!(events(&mut end), [Event::Failed { id: second, reason: Failure::TooMany }]);
    assert_eq!(sent(&mut end).len(), 1);
    end.handle_message(now, message(vec![reply(first.0, 1)]));
    end.request(now, ask(3));
    assert_eq!(events(&mut end).len(), 1, "there is room again");
}

#[test]
fn one_execution_too_many_is_answered_with_511() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 7);
    end.config.limits.executing = 1;
    end.handle_message(now, message(vec![request(1, 1), request(2, 2)]));
    let [Transaction::Reply(busy)] = &sent(&mut end)[..] else { panic!() };
    assert_eq!((busy.id, busy.body.first_error().unwrap().code), (TransactionId(2), 511));
    assert_eq!(events(&mut end).len(), 1);
    end.reply(now, TransactionId(1), done(1, 1, 0));
    end.handle_message(now, message(vec![request(3, 3)]));
    assert_eq!(events(&mut end).len(), 1);
}

#[test]
fn one_transaction_too_many_in_a_message_is_413() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 7);
    end.config.limits.transactions = 2;
    end.handle_message(now, message(vec![request(1, 1), request(2, 2), request(3, 3)]));
    let Some(Body::Error(error)) = end.poll_transmit().map(|m| m.body) else { panic!() };
    assert_eq!(error.code, 413);
    assert_eq!(events(&mut end), []);
}

/// A peer that takes fewer than we put in one message gets one each from then on.
#[test]
fn a_peer_that_says_413_gets_one_each() {
    for transport in [Transport::Datagram, Transport::Reliable] {
        let now = Instant::now();
        let mut end = association(transport, 7);
        for n in 1..=3 {
            end.request(now, ask(n));
        }
        assert_eq!(end.poll_transmit().unwrap().transactions().len(), 3);
        end.handle_message(now, Message::error(3, MId::domain("y"), ErrorDescriptor::new(413, "")));
        let messages: Vec<_> = std::iter::from_fn(|| end.poll_transmit()).collect();
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|m| m.transactions().len() == 1));
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 7);
    end.config.limits.remembered = 2;
    for n in 10..20 {
        end.handle_message(now, message(vec![request(n, n)]));
        end.reply(now, TransactionId(n), done(n, 1, 0));
    }
    assert_eq!(end.incoming.remembered(), 2);
    assert!(end.incoming.knows(TransactionId(19)) && !end.incoming.knows(TransactionId(17)));
}

/// Nobody takes what is to be sent: nothing grows, and all goes on when somebody does.
#[test]
fn a_queue_that_nobody_takes_is_bounded() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 7);
    end.config.limits.queue = 10;
    for n in 1..=1_000 {
        end.handle_message(now, message(vec![request(n, n)]));
        end.reply(now, TransactionId(n), done(n, 1, 0));
        // Repeats, garbage, errors.
        end.handle_message(now, message(vec![request(1, 1), request(0, 0)]));
        end.handle_message(now, Message::error(3, MId::domain("y"), ErrorDescriptor::new(400, "")));
    }
    assert_eq!(end.transmit.len(), 10);
    let got = events(&mut end);
    let asked = got.iter().filter(|e| matches!(e, Event::Request { .. })).count();
    assert!(got.len() <= 20 && asked < 10, "{} events", got.len());
    sent(&mut end);
    end.handle_message(now, message(vec![request(1_000, 1)]));
    assert_eq!(events(&mut end).len(), 1);
}

#[test]
fn repeats_of_what_nobody_takes_do_not_pile_up() {
    let mut now = Instant::now();
    let mut end = association(Transport::Datagram, 7);
    end.config.limits.queue = 10;
    for n in 1..=8 {
        end.request(now, ask(n));
    }
    for _ in 0..200 {
        now += 100 * MS;
        end.handle_timeout(now);
    }
    assert_eq!(end.transmit.len(), 10);
}
