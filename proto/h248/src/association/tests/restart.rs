//! Either side starts again in the middle of it.

use super::*;

/// A gateway that starts again may use the numbers of its former life, also that of its start.
#[test]
fn a_second_start_with_the_same_number_is_not_a_repeat() {
    let now = Instant::now();
    let mut end = association(Transport::Datagram, 9);
    let starts = |id, reason, time| {
        let actions = start(reason, time);
        message(vec![Transaction::Request(TransactionRequest { id: TransactionId(id), actions })])
    };
    end.handle_message(now, starts(1, 901, 1));
    assert!(matches!(events(&mut end)[..], [Event::Request { .. }]));
    end.reply(now, TransactionId(1), done(0, 1, 0));
    assert_eq!(sent(&mut end).len(), 1);
    end.handle_message(now, starts(1, 901, 1));
    assert_eq!(events(&mut end), []);
    assert_eq!(sent(&mut end).len(), 1, "the stored reply");
    end.handle_message(now, starts(1, 901, 2));
    assert!(matches!(events(&mut end)[..], [Event::Request { .. }]));
    end.reply(now, TransactionId(1), done(0, 1, 0));
    // With another number: a late copy of the start before it is not yet another start.
    end.handle_message(now, starts(2, 901, 3));
    assert!(matches!(events(&mut end)[..], [Event::Request { .. }]));
    end.handle_message(now, starts(1, 901, 2));
    assert_eq!(events(&mut end), []);
}

/// A controller that has started again says so to nobody, and may count from the same number: what is not the
/// same request is no repeat of it, whether its answer was acknowledged or not.
#[test]
fn another_request_with_a_known_number_is_executed() {
    for acknowledged in [false, true] {
        let now = Instant::now();
        let mut end = association(Transport::Datagram, 9);
        end.handle_message(now, message(vec![request(10, 1)]));
        assert!(matches!(events(&mut end)[..], [Event::Request { .. }]));
        // While it is executed nothing else can be told from it.
        end.handle_message(now, message(vec![request(10, 2)]));
        assert_eq!(events(&mut end), []);
        end.reply(now, TransactionId(10), done(1, 1, 0));
        sent(&mut end);
        if acknowledged {
            end.handle_message(now, message(vec![ack(10, 10)]));
        }
        end.handle_message(now, message(vec![request(10, 1)]));
        assert_eq!(events(&mut end), []);
        assert_eq!(sent(&mut end).len(), usize::from(!acknowledged), "a repeat gets what there is");
        end.handle_message(now, message(vec![request(10, 2)]));
        assert!(matches!(events(&mut end)[..], [Event::Request { .. }]), "acknowledged: {acknowledged}");
        end.reply(now, TransactionId(10), done(2, 1, 0));
        assert_eq!(sent(&mut end).len(), 1);
        end.handle_message(now, message(vec![request(10, 2)]));
        assert_eq!(events(&mut end), []);
    }
}

/// RFC 3525 §D.1.2.2: after a restart numbers are not compared with those before.
#[test]
fn a_start_makes_all_numbers_new() {
    for (reason, version, forgets) in [
        (901, None, true),
        (902, None, true),
        (900, Some(3), true),
        // A controller takes the gateway back into service; a retirement is cancelled.
        (900, None, false),
        (918, Some(3), false),
    ] {
        let now = Instant::now();
        let mut end = association(Transport::Datagram, 9);
        end.handle_message(now, message(vec![request(10, 1), request(11, 2), request(12, 3)]));
        end.reply(now, TransactionId(10), done(1, 1, 0));
        end.handle_message(now, message(vec![ack(10, 10)]));
        end.reply(now, TransactionId(11), done(2, 1, 0));
        end.pending(now, TransactionId(12));
        events(&mut end);
        let mut actions = start(reason, 1);
        if let Some(crate::Descriptor::ServiceChange(p)) = actions[0].commands[0].descriptors.first_mut() {
            p.version = version;
        }
        let starts = TransactionRequest { id: TransactionId(9), actions };
        end.handle_message(now, message(vec![Transaction::Request(starts)]));
        let mut got = events(&mut end);
        if forgets {
            assert_eq!(got.remove(0), Event::Abandoned { id: TransactionId(12) });
            assert_eq!(sent(&mut end), [], "answers to the former life");
        }
        assert!(matches!(got[..], [Event::Request { .. }]));
        sent(&mut end);
        // New ones, or repeats.
        let [a, b, c] = if forgets { [4, 5, 6] } else { [1, 2, 3] };
        end.handle_message(now, message(vec![request(10, a), request(11, b), request(12, c)]));
        assert_eq!(events(&mut end).len(), if forgets { 3 } else { 0 }, "reason {reason}");
        if forgets {
            end.reply(now, TransactionId(12), done(6, 1, 0));
            assert_eq!(
                sent(&mut end),
                [reply(12, 6)],
                "not repeated as Pending, so no acknowledgement asked"
            );
        }
    }
}

/// A gateway dies in the middle of it and comes back with numbers that collide with those of its former
/// life, over a network that loses and doubles: no question gets the answer of another.
#[test]
fn a_gateway_that_starts_again_gets_its_own_answers() {
    let (mut answers, mut failures) = (0, 0);
    for seed in 0..200u64 {
        let mut net = Network::new(Transport::Datagram, seed * 100);
        (net.loss, net.doubled) = ((seed % 20) as u32, 20);
        let mut working: Vec<(Instant, TransactionId, u32)> = Vec::new();
        let mut asked: HashMap<TransactionId, u32> = HashMap::new();
        let mut mark = 0;
        for life in 1..=3 {
            // The gateway is end 0. Its first number is free, the next were used before.
            net.ends[0] = association(Transport::Datagram, seed);
            net.ends[0].outgoing.set_next(TransactionId(1_000 - life));
            asked.clear();
            net.flying.retain(|_, (to, _)| *to == 1);
            let first = net.ends[0].request(net.now, start(901, life));
            asked.insert(first, 0);
            let begin = net.now;
            let end = begin + 5 * SECOND;
            let mut asks_at = begin + SECOND;
            while net.now < end {
                if net.now >= asks_at && !asked.values().any(|m| *m == 0) {
                    mark += 1;
                    asked.insert(net.ends[0].request(net.now, ask(mark)), mark);
                    asks_at = net.now + 100 * MS;
                }
                net.step((net.now + 50 * MS).min(end));
                for event in events(&mut net.ends[1]) {
                    match event {
                        Event::Request { id, actions } => {
                            let slow = Duration::from_millis(u64::from(net.rng.u32() % 1_000));
                            working.push((net.now + slow, id, mark_of(&actions)));
                        }
                        Event::Abandoned { id } => working.retain(|w| w.1 != id),
                        other => panic!("{other:?}"),
                    }
                }
                let (due, later): (Vec<_>, Vec<_>) = working.drain(..).partition(|w| w.0 <= net.now);
                working = later;
                for (_, id, mark) in due {
                    net.ends[1].reply(net.now, id, done(mark, 1, 0));
                }
                for event in events(&mut net.ends[0]) {
                    match event {
                        Event::Reply { id, body } => {
                            let mark = asked.remove(&id).unwrap();
                            assert_eq!(body, done(mark, 1, 0), "the answer of another question");
                            answers += 1;
                        }
                        Event::Failed { .. } => failures += 1,
                        other => panic!("{other:?}"),
                    }
                }
            }
            // It is down for longer than the network holds anything.
            net.ends[0].close();
            net.run(SECOND);
        }
        // What arrived of the last life is answered to nobody.
        for event in events(&mut net.ends[1]) {
            let Event::Request { id, .. } = event else { panic!("{event:?}") };
            working.push((net.now, id, 0));
        }
        for (_, id, _) in working {
            net.ends[1].reply(net.now, id, done(0, 1, 0));
        }
        net.run(100 * SECOND);
        net.ends.iter().for_each(assert_empty);
    }
    assert!(answers > 15_000 && failures == 0, "{answers} answers, {failures} failures");
}

/// The controller is the one that dies: it knows no number of before, and what the gateway repeats is
/// executed by the new life once.
#[test]
fn a_responder_that_starts_again_executes_once_more_and_no_more() {
    for seed in 0..50u64 {
        let mut net = Network::new(Transport::Datagram, seed * 100);
        (net.loss, net.doubled) = ((seed % 20) as u32, 20);
        let ids: Vec<_> = (1..=20).map(|n| net.ends[0].request(net.now, ask(n))).collect();
        let mut executed = [HashMap::<_, u32>::new(), HashMap::new()];
        let mut answered = HashMap::<_, u32>::new();
        let start = net.now;
        while net.now < start + 100 * SECOND {
            if net.now >= start + 30 * MS && executed[1].is_empty() && !executed[0].is_empty() {
                net.ends[1] = association(Transport::Datagram, seed + 7);
                executed[1].insert(TransactionId(0), 1);
            }
            let life = usize::from(!executed[1].is_empty());
            net.step(net.now + 10 * MS);
            for event in events(&mut net.ends[1]) {
                let Event::Request { id, actions } = event else { panic!() };
                *executed[life].entry(id).or_default() += 1;
                net.ends[1].reply(net.now, id, done(mark_of(&actions), 1, 0));
            }
            for event in events(&mut net.ends[0]) {
                let Event::Reply { id, .. } = event else { panic!("{event:?}") };
                *answered.entry(id).or_default() += 1;
            }
        }
        assert!(ids.iter().all(|id| answered.get(id) == Some(&1)));
        assert!(executed.iter().all(|life| life.values().all(|n| *n == 1)));
        net.ends.iter().for_each(assert_empty);
    }
}
