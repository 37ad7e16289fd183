//! No message is larger than the transport carries.

use super::*;

const ENCODINGS: [Encoding; 3] = [Encoding::Text(Form::Short), Encoding::Text(Form::Long), Encoding::Binary];

fn with(encoding: Encoding, datagram: usize) -> Config {
    let mut config = Config { encoding, ..Config::new(Transport::Datagram) };
    config.limits.datagram = datagram;
    config
}

fn octets(encoding: Encoding, message: &Message) -> usize {
    encoding.print(message).unwrap().len()
}

/// The largest reply that is sent fills the message to the octet, one octet more is error 533.
#[test]
fn a_reply_may_fill_the_message_but_no_more() {
    let now = Instant::now();
    for encoding in ENCODINGS {
        for datagram in [500, 1_232, 1_452, 9_000] {
            let mut largest = 0;
            for filler in datagram - 250..datagram {
                let mut end = of(with(encoding, datagram), 1);
                end.handle_message(now, message(vec![request(1, 1)]));
                end.reply(now, TransactionId(1), done(1, 1, filler));
                let out = end.poll_transmit().unwrap();
                let [Transaction::Reply(reply)] = out.transactions() else { panic!() };
                match &reply.body {
                    ReplyBody::Error(error) => assert_eq!(error.code, 533),
                    ReplyBody::Actions(_) => largest = largest.max(octets(encoding, &out)),
                }
            }
            assert_eq!(largest, datagram, "{encoding:?}");
        }
    }
}

#[test]
fn a_reply_too_big_for_a_stream_is_533_too() {
    let now = Instant::now();
    let mut end = association(Transport::Reliable, 1);
    end.handle_message(now, message(vec![request(1, 1), request(2, 2)]));
    end.reply(now, TransactionId(1), done(1, 600, 100));
    end.reply(now, TransactionId(2), done(2, 500, 100));
    let [Transaction::Reply(first), Transaction::Reply(second)] = &sent(&mut end)[..] else { panic!() };
    assert_eq!(first.body.first_error().unwrap().code, 533);
    assert!(matches!(second.body, ReplyBody::Actions(_)));
}

#[test]
fn a_request_that_is_too_big_fails_at_once() {
    let now = Instant::now();
    for (transport, commands) in [(Transport::Datagram, 200), (Transport::Reliable, 10_000)] {
        let mut end = association(transport, 1);
        let command = Command::audit_value(TerminationId::ROOT, Audit::default());
        let actions = vec![ActionRequest::new(ContextId::Null, vec![command; commands])];
        let id = end.request(now, actions);
        assert_eq!(events(&mut end), [Event::Failed { id, reason: Failure::TooBig }]);
        assert_eq!(sent(&mut end), []);
        assert_empty(&end);
    }
}

#[test]
fn what_the_encoding_cannot_say_fails_or_is_500() {
    let now = Instant::now();
    let mut end = of(with(Encoding::Binary, 1_452), 1);
    let unknown = crate::Statistic { name: "nosuch/thing".into(), values: vec!["1".into()] };
    let command = Command::modify("ip/1").with(vec![unknown.clone()]);
    let id = end.request(now, vec![ActionRequest::new(ContextId::Id(1), vec![command])]);
    assert_eq!(events(&mut end), [Event::Failed { id, reason: Failure::Unsayable }]);
    end.handle_message(now, message(vec![request(1, 1)]));
    let result = CommandReply::new(Verb::Subtract, "ip/1").with(vec![unknown]);
    end.reply(
        now,
        TransactionId(1),
        ReplyBody::Actions(vec![ActionReply::new(ContextId::Id(1), vec![result])]),
    );
    let [Transaction::Reply(reply)] = &sent(&mut end)[..] else { panic!() };
    assert_eq!(reply.body.first_error().unwrap().code, 500);
}

/// What waits goes together: up to ten transactions, never more octets than the limit.
#[test]
fn waiting_requests_share_messages_up_to_the_limit() {
    let now = Instant::now();
    for encoding in ENCODINGS {
        for (commands, seed) in [(1, 1), (3, 2), (9, 3), (20, 4)] {
            let config = with(encoding, 1_452);
            let mut end = of(config, seed);
            let mut rng = SeededRandom::new(seed);
            for mark in 1..=100 {
                let many = rng.u32() as usize % commands + 1;
                let command = Command::audit_value(TerminationId::ROOT, Audit::default());
                end.request(now, vec![ActionRequest::new(ContextId::Id(mark), vec![command; many])]);
            }
            let messages: Vec<_> = std::iter::from_fn(|| end.poll_transmit()).collect();
            let numbers = messages.iter().flat_map(|m| m.transactions()).map(|t| match t {
                Transaction::Request(request) => mark_of(&request.actions),
                other => panic!("{other:?}"),
            });
            assert!(numbers.eq(1..=100), "in order");
            for (n, message) in messages.iter().enumerate() {
                let size = octets(encoding, message);
                assert!(size <= 1_452 && message.transactions().len() <= 10);
                // Nothing is left that would have fitted.
                if let Some(next) = messages.get(n + 1) {
                    let next = Message::new(3, MId::domain("x.example"), next.transactions()[..1].to_vec());
                    let full = message.transactions().len() == 10;
                    assert!(full || size + octets(encoding, &next) > 1_452 - 16 * 10);
                }
            }
        }
    }
}

#[test]
fn requests_and_answers_do_not_share_a_message() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 1);
    let asked = end.request(now, ask(1));
    sent(&mut end);
    end.handle_message(now, message(vec![request(5, 5), request(6, 6), request(7, 7)]));
    end.handle_message(now, message(vec![reply(asked.0, 1)]));
    end.reply(now, TransactionId(5), done(5, 1, 0));
    end.reply(now, TransactionId(6), done(6, 1, 0));
    end.request(now, ask(2));
    end.pending(now, TransactionId(7));
    let kinds = std::iter::from_fn(|| end.poll_transmit()).map(|m| {
        let letter = |t: &Transaction| match t {
            Transaction::Request(_) => 'T',
            Transaction::Reply(_) => 'P',
            Transaction::Pending(_) => 'N',
            Transaction::Ack(_) => 'K',
            Transaction::Segment(_) => 'S',
        };
        m.transactions().iter().map(letter).collect::<String>()
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["KPP", "T", "N"]);
}

/// Acknowledgements of whatever numbers fit beside what they ride with.
#[test]
fn acknowledgements_never_make_a_message_too_big() {
    let now = Instant::now();
    for encoding in ENCODINGS {
        for filler in (0..900).step_by(25) {
            let mut end = of(with(encoding, 1_000), 1);
            // Far apart, so each is a range.
            let ids: Vec<u32> = (0..63).map(|n| u32::MAX - n * 1_000).collect();
            for id in &ids {
                end.handle_message(now, message(vec![reply(*id, 1)]));
            }
            end.handle_message(now, message(vec![request(1, 1)]));
            end.reply(now, TransactionId(1), done(1, 1, filler));
            end.handle_timeout(now + end.timers().acknowledgement);
            let messages: Vec<_> = std::iter::from_fn(|| end.poll_transmit()).collect();
            assert!(messages.iter().all(|m| octets(encoding, m) <= 1_000));
            let acks = |t: &Transaction| match t {
                Transaction::Ack(ranges) => ranges.len(),
                _ => 0,
            };
            let acks: usize = messages.iter().flat_map(|m| m.transactions()).map(acks).sum();
            assert_eq!(acks, 63);
        }
    }
}

/// RFC 3525 §10.2: the header is added on the way out.
#[test]
fn room_is_left_for_the_authentication_header() {
    let now = Instant::now();
    for encoding in ENCODINGS {
        let mut largest = 0;
        for filler in 800..1_452 {
            let config = Config { authenticated: true, ..with(encoding, 1_452) };
            let mut end = of(config, 1);
            end.handle_message(now, message(vec![request(1, 1)]));
            end.reply(now, TransactionId(1), done(1, 1, filler));
            let mut out = end.poll_transmit().unwrap();
            out.auth = Some(crate::AuthHeader { spi: u32::MAX, sequence: u32::MAX, data: vec![0xff; 32] });
            largest = largest.max(octets(encoding, &out));
        }
        assert!((1_350..=1_452).contains(&largest), "{largest}");
    }
}

#[test]
fn limits_encoding_and_version_can_change() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 1);
    let fits = |end: &mut Association, id: u32| {
        end.handle_message(now, message(vec![request(id, id)]));
        end.reply(now, TransactionId(id), done(id, 10, 100));
        let [Transaction::Reply(reply)] = &sent(end)[..] else { panic!() };
        reply.body.first_error().is_none_or(|e| e.code != 533)
    };
    assert!(fits(&mut end, 1));
    let mut limits = end.limits().clone();
    limits.datagram = 1_000;
    end.set_limits(limits);
    assert!(!fits(&mut end, 2));
    end.set_limits(Limits::default());
    assert!(fits(&mut end, 3));
    end.set_encoding(Encoding::Text(Form::Long));
    assert!(!fits(&mut end, 4), "long words take more");
    end.set_encoding(Encoding::Binary);
    end.set_version(1);
    assert!(fits(&mut end, 5));
}
