//! A gateway against controllers that are scripts: what it sends, in text, and in which order.

use super::*;
use crate::association::Transport;
use crate::text::{Form, Limits, parse, print};
use crate::{Body, Command, Transaction};

/// A gateway `agw1` and what it sent.
struct Rig {
    gateway: Registration,
    now: Instant,
    /// The controller, the transaction number and the request, long form, blanks out.
    asked: Vec<(String, u32, String)>,
}

fn mid(name: &str) -> MId {
    MId::domain(name.to_owned())
}

fn squeeze(text: &[u8]) -> String {
    String::from_utf8_lossy(text).split_ascii_whitespace().collect()
}

fn read(text: &str) -> Message {
    parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

impl Rig {
    fn new(controllers: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        let now = Instant::now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_352_000);
        let list = controllers.iter().map(|c| mid(c)).collect();
        let association = association::Config::new(Transport::Reliable);
        let mut config = Config::new(mid("agw1"), list, association);
        config.longest_wait = Duration::ZERO;
        config.silence = None;
        config.idle = None;
        config.profile = Some(Profile::new("carnet_iq", 1));
        change(&mut config);
        let gateway = Registration::new(config, &mut SeededRandom::new(5), now, wall);
        let mut rig = Self { gateway, now, asked: Vec::new() };
        rig.gateway.start(now, 901);
        rig.wait(0);
        rig
    }

    fn collect(&mut self) {
        while let Some((to, message)) = self.gateway.poll_transmit() {
            for transaction in message.transactions() {
                if let Transaction::Request(request) = transaction {
                    let text = squeeze(&print(&message, Form::Long));
                    self.asked.push((to.to_string(), request.id.0, text));
                }
            }
        }
    }

    fn wait(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.gateway.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.gateway.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
        self.collect();
    }

    /// Answers the last request as the controller it went to: `inside` is the command reply's.
    fn answer(&mut self, inside: &str) {
        let (to, id, _) = self.asked.last().unwrap().clone();
        let text = format!("MEGACO/3 {to} Reply = {id} {{ Context = - {{ ServiceChange = ROOT{inside} }} }}");
        assert_eq!(self.gateway.handle_message(self.now, read(&text)), None);
        self.collect();
    }

    /// Sends a request; what comes back, transactions or message error.
    fn ask(&mut self, from: &str, id: u32, actions: &str) -> String {
        let text = format!("MEGACO/3 <{from}> Transaction = {id} {{ {actions} }}");
        let refusal = self.gateway.handle_message(self.now, read(&text));
        let mut out: String = refusal.iter().map(|m| squeeze(&print(m, Form::Long))).collect();
        while let Some((to, message)) = self.gateway.poll_transmit() {
            let text = squeeze(&print(&message, Form::Long));
            match &message.body {
                Body::Transactions(list) => {
                    for transaction in list {
                        match transaction {
                            Transaction::Request(r) => {
                                self.asked.push((to.to_string(), r.id.0, text.clone()));
                            }
                            _ => out.push_str(&text),
                        }
                    }
                }
                Body::Error(_) => out.push_str(&text),
            }
        }
        out
    }

    /// Whom the gateway asked so far and how: `alg1 Restart 901`.
    fn tried(&self) -> Vec<String> {
        let part = |text: &str, key: &str| {
            let (_, rest) = text.split_once(key).unwrap_or_default();
            rest.split(|c: char| !c.is_ascii_alphanumeric())
                .find(|p| !p.is_empty())
                .unwrap_or_default()
                .to_owned()
        };
        let one = |(to, _, text): &(String, u32, String)| {
            let reason: String = part(text, "Reason=").chars().take(3).collect();
            format!("{} {} {reason}", to.trim_matches(['<', '>']), part(text, "Method="))
        };
        self.asked.iter().map(one).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.gateway.poll_event()).collect()
    }
}

const REDIRECT: &str = " { Services { MgcIdToTry = <alg9> } }";

#[test]
fn a_registration_has_all_its_parameters() {
    let mut rig = Rig::new(&["alg1"], |c| c.address = Some(ServiceChangeAddress::Port(2999)));
    let text = rig.asked[0].2.clone();
    for part in [
        "Context=-{ServiceChange=ROOT",
        "Method=Restart",
        "Reason=\"901ColdBoot\"",
        "ServiceChangeAddress=2999",
        "Profile=carnet_iq/1",
        "Version=3",
        "20260301T08000000",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    rig.answer(" { Services { ServiceChangeAddress = 2950, Version = 2, 20260301T08000100 } }");
    assert!(rig.gateway.is_registered());
    assert_eq!(rig.gateway.service_change_address(), Some(&ServiceChangeAddress::Port(2950)));
    assert_eq!(rig.gateway.profile(), Some(&Profile::new("carnet_iq", 1)));
    let registered = Event::Registered { controller: mid("alg1"), version: 2, kept: false };
    assert_eq!(rig.events(), [registered]);
}

/// RFC 3525 §9.2: uniformly between nothing and MWD.
#[test]
fn the_wait_before_the_first_attempt_is_random_and_bounded() {
    let mut waits = Vec::new();
    for seed in 0..200 {
        let now = Instant::now();
        let association = association::Config::new(Transport::Datagram);
        let config = Config::new(mid("agw1"), vec![mid("alg1")], association);
        assert_eq!(config.longest_wait, Duration::from_secs(2));
        let mut gateway =
            Registration::new(config, &mut SeededRandom::new(seed), now, SystemTime::UNIX_EPOCH);
        gateway.start(now, 901);
        assert_eq!(gateway.poll_transmit(), None);
        waits.push(gateway.poll_timeout().unwrap() - now);
    }
    assert!(waits.iter().all(|w| *w <= Duration::from_secs(2)));
    let mean = waits.iter().sum::<Duration>() / 200;
    assert!(mean > Duration::from_millis(850) && mean < Duration::from_millis(1150), "{mean:?}");
}

#[test]
fn a_controller_that_was_named_is_tried_before_the_list() {
    let mut rig = Rig::new(&["alg1", "alg2"], |_| {});
    rig.answer(REDIRECT);
    // It does not answer, so the list goes on where it was.
    rig.wait(5);
    assert_eq!(rig.tried(), ["alg1 Restart 901", "alg9 Restart 901", "alg2 Restart 901"]);
    rig.answer(" { Error = 502 { \"Not ready\" } }");
    // Nobody: a wait, then from the beginning.
    rig.wait(1);
    assert_eq!(rig.tried().last().unwrap(), "alg1 Restart 901");
}

#[test]
fn controllers_that_send_us_round_in_circles_are_left() {
    let mut rig = Rig::new(&["alg1"], |c| c.retry = Duration::from_secs(60));
    for _ in 0..20 {
        let before = rig.asked.len();
        rig.answer(REDIRECT);
        if rig.asked.len() == before {
            break;
        }
    }
    assert_eq!(rig.asked.len(), 9);
    assert!(!rig.gateway.is_registered());
    rig.wait(61);
    assert_eq!(rig.asked.len(), 10);
}

/// RFC 3525 §11.5: the list from its beginning but the one that failed, which hears Disconnected.
#[test]
fn a_lost_controller_is_replaced_and_asked_again() {
    let mut rig = Rig::new(&["alg1", "alg2", "alg3"], |c| c.silence = Some(Duration::from_secs(10)));
    rig.answer(" { Error = 502 { \"Not ready\" } }");
    rig.answer("");
    rig.ask("alg2", 1, HEARTBEAT);
    rig.wait(10);
    assert_eq!(rig.tried()[2..], ["alg1 Failover 909"]);
    rig.wait(5);
    rig.wait(5);
    assert_eq!(rig.tried()[3..], ["alg3 Failover 909", "alg2 Disconnected 900"]);
    // The next round has it in its place.
    rig.wait(5 + 1 + 5);
    assert_eq!(rig.tried()[5..], ["alg1 Failover 909", "alg2 Disconnected 900"]);
    rig.events();
    rig.answer("");
    let registered = Event::Registered { controller: mid("alg2"), version: 3, kept: true };
    assert_eq!(rig.events(), [registered]);
}

#[test]
fn a_single_controller_is_asked_again_at_once() {
    let mut rig = Rig::new(&["alg1"], |c| c.idle = Some(Duration::from_secs(10)));
    rig.answer("");
    rig.wait(10);
    assert_eq!(rig.tried(), ["alg1 Restart 901", "alg1 Disconnected 900"]);
}

const HEARTBEAT: &str = "Context = - { AuditValue = ROOT { Audit { } } }";

/// Most controllers speak when they want something: their silence is no loss, until they have shown
/// that they send heartbeats. They are asked, and more seldom each time.
#[test]
fn only_who_sends_heartbeats_is_lost_by_silence() {
    let mut rig = Rig::new(&["alg1", "alg2"], |c| {
        c.silence = Some(Duration::from_secs(10));
        c.idle = Some(Duration::from_secs(300));
    });
    rig.answer("");
    for (asked, silence) in [10, 20, 40, 80, 160, 300, 300].into_iter().enumerate() {
        rig.ask("alg1", 1 + asked as u32, "Context = - { AuditValue = ROOT { Audit { Packages } } }");
        rig.wait(silence - 1);
        assert_eq!(rig.tried().len(), asked + 1);
        rig.wait(1);
        assert_eq!(rig.tried()[asked + 1..], ["alg1 Disconnected 900"], "others only if it does not answer");
        assert!(!rig.events().iter().any(|e| matches!(e, Event::ControlLost { .. })));
        rig.answer("");
    }
    rig.ask("alg1", 20, HEARTBEAT);
    rig.events();
    rig.wait(9);
    assert_eq!(rig.tried().len(), 8);
    rig.wait(1);
    assert_eq!(rig.tried()[8..], ["alg2 Failover 909"]);
    assert!(rig.events().iter().any(|e| matches!(e, Event::ControlLost { .. })));
}

/// One that was the controller until now is waited for as long as it is to be, and others are not.
#[test]
fn a_controller_that_may_come_back_has_its_time() {
    let mut rig = Rig::new(&["alg1", "alg2"], |c| {
        c.idle = Some(Duration::from_secs(10));
        c.again = Duration::from_secs(40);
    });
    rig.answer("");
    rig.wait(10);
    (0..39).for_each(|_| rig.wait(1));
    assert!(rig.tried()[1..].iter().all(|tried| tried == "alg1 Disconnected 900"), "{:?}", rig.tried());
    (0..3).for_each(|_| rig.wait(1));
    assert!(rig.tried().iter().any(|tried| tried == "alg2 Failover 909"), "{:?}", rig.tried());
}

/// One that is asked and does not answer is lost like any other.
#[test]
fn a_silent_controller_that_does_not_answer_is_replaced() {
    let mut rig = Rig::new(&["alg1", "alg2"], |c| c.idle = Some(Duration::from_secs(10)));
    rig.answer("");
    rig.wait(10);
    rig.wait(5);
    assert_eq!(rig.tried()[1..], ["alg1 Disconnected 900", "alg2 Failover 909"]);
}

const HAND_OFF: &str = "Context = - { ServiceChange = ROOT { Services { Method = HandOff, \
                        Reason = \"903 MGC Directed Change\", MgcIdToTry = <alg9> } } }";

#[test]
fn a_hand_off_keeps_the_old_controller_answered() {
    let mut rig = Rig::new(&["alg1", "alg2"], |_| {});
    rig.answer("");
    // A request in execution and one of ours without an answer.
    assert_eq!(rig.ask("alg1", 7, "Context = 1 { Subtract = * }"), "");
    let notify = Command::notify("t1", crate::ObservedEvents::new(crate::RequestId(1)));
    let ours = rig.gateway.request(rig.now, vec![ActionRequest::new(crate::ContextId::Id(1), vec![notify])]);
    rig.events().pop();
    let reply = rig.ask("alg1", 8, HAND_OFF);
    assert!(reply.contains("Reply=8{Context=-{ServiceChange=ROOT}}"), "{reply}");
    assert_eq!(rig.tried().last().unwrap(), "alg9 HandOff 903");
    // Ours may be asked again of the new one.
    assert_eq!(rig.events(), [Event::Failed { id: ours.unwrap(), reason: Failure::Closed }]);
    let key = RequestKey { association: 1, id: TransactionId(7) };
    rig.gateway.reply(rig.now, key, ReplyBody::Actions(Vec::new()));
    let (to, late) = rig.gateway.poll_transmit().unwrap();
    assert_eq!(to, mid("alg1"));
    assert!(matches!(late.transactions(), [Transaction::Reply(r)] if r.id.0 == 7));
    // It controls us no more, and repeats get their answer.
    assert!(rig.ask("alg1", 9, "Context = 1 { Subtract = * }").contains("Error=504"));
    assert!(rig.ask("alg1", 8, HAND_OFF).contains("Reply=8{Context=-{ServiceChange=ROOT}}"));
    rig.answer("");
    assert_eq!(rig.events(), [Event::Registered { controller: mid("alg9"), version: 3, kept: true }]);
    // In the end it is forgotten.
    rig.wait(120);
    assert!(rig.ask("alg1", 8, HAND_OFF).contains("doesnotcontrol"));
}

/// RFC 3525 §11.5: then it is as if the old controller had failed.
#[test]
fn a_hand_off_to_nobody_goes_back_to_the_list() {
    let mut rig = Rig::new(&["alg1", "alg2"], |_| {});
    rig.answer("");
    rig.ask("alg1", 8, HAND_OFF);
    rig.wait(5);
    rig.wait(5);
    let expected = ["alg9 HandOff 903", "alg2 Failover 909", "alg1 Disconnected 900"];
    assert_eq!(rig.tried()[1..], expected);
}

#[test]
fn a_hand_off_may_name_the_same_controller() {
    let mut rig = Rig::new(&["alg9"], |_| {});
    rig.answer("");
    rig.ask("alg9", 8, HAND_OFF);
    assert_eq!(rig.tried().last().unwrap(), "alg9 HandOff 903");
    rig.answer("");
    assert!(rig.gateway.is_registered());
}

#[test]
fn a_version_that_is_too_low_is_refused_and_so_is_what_follows() {
    let mut rig = Rig::new(&["alg1", "alg2"], |c| c.lowest_version = 2);
    rig.answer(" { Services { Version = 1 } }");
    assert!(matches!(&rig.events()[..], [Event::Refused { error, .. }] if error.code == 406));
    assert_eq!(rig.tried().last().unwrap(), "alg2 Restart 901");
    rig.answer(" { Services { Version = 2 } }");
    assert!(rig.gateway.is_registered());
    // RFC 3525 §11.3.
    assert!(rig.ask("alg1", 1, "Context = - { AuditValue = ROOT { Audit { } } }").contains("Error=406"));
    // One above what was offered cannot be kept to either.
    let mut rig = Rig::new(&["alg1"], |c| c.version = 2);
    rig.answer(" { Services { Version = 3 } }");
    assert!(!rig.gateway.is_registered());
}

#[test]
fn profiles_are_negotiated() {
    let other = |c: &mut Config| c.profiles = vec![Profile::new("carnet_ix", 1)];
    // The controller refuses one and takes the other.
    let mut rig = Rig::new(&["alg1"], other);
    rig.answer(" { Error = 461 { \"Unknown profile\" } }");
    assert!(rig.asked.last().unwrap().2.contains("Profile=carnet_ix/1"));
    assert_eq!(rig.asked.last().unwrap().0, "<alg1>");
    rig.answer("");
    assert_eq!(rig.gateway.profile(), Some(&Profile::new("carnet_ix", 1)));
    // The controller answers the other one.
    let mut rig = Rig::new(&["alg1"], other);
    rig.answer(" { Services { Profile = carnet_ix/1 } }");
    assert!(rig.gateway.is_registered());
    assert_eq!(rig.gateway.profile(), Some(&Profile::new("carnet_ix", 1)));
    // It answers one that we do not have.
    let mut rig = Rig::new(&["alg1", "alg2"], other);
    rig.answer(" { Services { Profile = resgw/3 } }");
    let [Event::Refused { error, .. }] = &rig.events()[..] else { panic!() };
    assert_eq!(error.code, 461);
    assert!(error.text.as_ref().unwrap().contains("profile resgw/3 is not supported"), "{error}");
    assert_eq!(rig.tried().last().unwrap(), "alg2 Restart 901");
    // There is no third profile to try.
    rig.answer(" { Error = 461 { \"Unknown profile\" } }");
    rig.answer(" { Error = 461 { \"Unknown profile\" } }");
    assert_eq!(rig.asked.len(), 3);
}

#[test]
fn retirement_is_announced_and_taken_back() {
    let mut rig = Rig::new(&["alg1"], |_| {});
    rig.answer("");
    rig.gateway.retire(rig.now, 905, Duration::from_secs(60));
    rig.collect();
    assert!(rig.asked[1].2.contains("Delay=60"), "{}", rig.asked[1].2);
    assert!(rig.gateway.is_retiring() && rig.gateway.is_registered());
    rig.gateway.resume(rig.now);
    rig.collect();
    assert_eq!(rig.tried()[1..], ["alg1 Graceful 905", "alg1 Restart 918"]);
    assert!(rig.gateway.is_registered() && !rig.gateway.is_retiring());
    // There is nothing to take back now.
    rig.gateway.resume(rig.now);
    rig.collect();
    assert_eq!(rig.asked.len(), 3);
}

#[test]
fn leaving_and_coming_back() {
    let mut rig = Rig::new(&["alg1"], |_| {});
    rig.answer("");
    rig.events();
    rig.gateway.leave(rig.now, 908);
    rig.collect();
    assert_eq!(rig.tried()[1..], ["alg1 Forced 908"]);
    rig.answer("");
    assert_eq!(rig.events(), [Event::Left]);
    assert!(rig.ask("alg1", 3, "Context = - { AuditValue = ROOT { Audit { } } }").contains("Error=503"));
    rig.wait(3600);
    assert_eq!(rig.asked.len(), 2);
    rig.gateway.start(rig.now, 900);
    rig.wait(0);
    assert_eq!(rig.tried()[2..], ["alg1 Restart 900"]);
}

#[test]
fn before_the_answer_requests_get_505_and_strangers_get_504() {
    let mut rig = Rig::new(&["alg1"], |_| {});
    let audit = "Context = - { AuditValue = ROOT { Audit { } } }";
    assert!(rig.ask("alg1", 1, audit).contains("Reply=1{Error=505"));
    assert!(rig.ask("alg2", 1, audit).contains("Error=504"));
}

/// It has started again faster than its silence was noticed, and refuses what it is told.
#[test]
fn a_controller_that_knows_us_no_more_is_registered_with_anew() {
    let mut rig = Rig::new(&["alg1", "alg2"], |_| ());
    rig.answer("");
    let notify = |rig: &mut Rig, answer: &str| {
        let observed = crate::ObservedEvents::new(crate::RequestId(1));
        let command = Command::notify("ip/1/1".to_owned(), observed);
        let actions = vec![ActionRequest::new(crate::ContextId::Id(7), vec![command])];
        let id = rig.gateway.request(rig.now, actions).unwrap();
        rig.collect();
        let reply = format!("MEGACO/3 <alg1> Reply = {id} {{ Context = 7 {{ Notify = ip/1/1{answer} }} }}");
        assert_eq!(rig.gateway.handle_message(rig.now, read(&reply)), None);
        rig.collect();
    };
    // A termination that it does not know is no such sign.
    notify(&mut rig, " { Error = 430 { \"unknown\" } }");
    assert!(rig.gateway.is_registered());
    let add = "Context = $ { Add = $ }";
    rig.ask("alg1", 1, add);
    let [.., Event::Request { key, .. }] = &rig.events()[..] else { panic!() };
    let done = crate::ActionReply::new(crate::ContextId::Id(7), vec![]);
    rig.gateway.reply(rig.now, *key, ReplyBody::Actions(vec![done]));
    rig.collect();
    notify(&mut rig, " { Error = 504 { \"not registered\" } }");
    assert_eq!(rig.tried().last().unwrap(), "alg1 Disconnected 900");
    rig.answer("");
    assert!(rig.gateway.is_registered());
    // A late copy of what it asked in its former life changes nothing.
    assert!(rig.ask("alg1", 1, add).contains("Reply=1{Context=7"));
    // It may count its transactions from the beginning again.
    rig.ask("alg1", 1, "Context = - { AuditValue = ROOT { Audit { Packages } } }");
    let events = rig.events();
    assert!(events.iter().any(|event| matches!(event, Event::Request { .. })), "{events:?}");
    assert!(events.iter().any(|e| matches!(e, Event::Registered { kept: true, .. })));
}

/// RFC 3525 §D.1.2: at most once within LONG-TIMER, also when the gateway lost its controller meanwhile.
#[test]
fn what_was_asked_before_a_loss_is_not_executed_again() {
    let mut rig = Rig::new(&["alg1"], |config| config.idle = Some(Duration::from_secs(10)));
    rig.answer("");
    let add = "Context = $ { Add = $ { Media { } } }";
    assert_eq!(rig.ask("alg1", 40, add), "");
    let [.., Event::Request { key, .. }] = &rig.events()[..] else { panic!() };
    rig.gateway.reply(
        rig.now,
        *key,
        ReplyBody::Actions(vec![crate::ActionReply::new(crate::ContextId::Id(7), vec![])]),
    );
    rig.wait(0);
    rig.wait(11);
    assert_eq!(rig.tried().last().unwrap(), "alg1 Disconnected 900");
    rig.answer("");
    assert!(rig.gateway.is_registered());
    assert!(rig.ask("alg1", 40, add).contains("Reply=40{Context=7"));
    assert!(!rig.events().iter().any(|e| matches!(e, Event::Request { .. })));
    // A new one is.
    rig.ask("alg1", 41, add);
    assert!(rig.events().iter().any(|e| matches!(e, Event::Request { .. })));
}

#[test]
fn after_a_warm_boot_the_controller_that_had_the_contexts_is_first() {
    let mut rig = Rig::new(&["alg1", "alg2", "alg3"], |_| {});
    rig.answer("");
    rig.asked.clear();
    rig.events();
    rig.gateway.start_warm(rig.now, Some(mid("alg2")));
    rig.wait(0);
    // It does not answer: the others inherit.
    rig.wait(5);
    rig.wait(5);
    assert_eq!(rig.tried(), ["alg2 Restart 902", "alg1 Failover 909", "alg3 Failover 909"]);
    rig.wait(6);
    assert_eq!(rig.tried()[3..], ["alg2 Restart 902"]);
    rig.events();
    rig.answer("");
    assert_eq!(rig.events(), [Event::Registered { controller: mid("alg2"), version: 3, kept: true }]);
    // Nobody knows whose they are: the list in its order.
    rig.asked.clear();
    rig.gateway.start_warm(rig.now, None);
    rig.wait(0);
    rig.wait(5);
    assert_eq!(rig.tried(), ["alg1 Restart 902", "alg2 Restart 902"]);
    rig.answer("");
    assert_eq!(
        rig.events().last(),
        Some(&Event::Registered { controller: mid("alg2"), version: 3, kept: true })
    );
}

/// A connection that was made again tells the controller nothing: it may have started again meanwhile.
#[test]
fn who_connects_again_says_who_he_is() {
    let mut rig = Rig::new(&["alg1", "alg2"], |_| ());
    // Before it is registered the attempt itself says so.
    rig.gateway.connection_is_back(rig.now);
    rig.collect();
    assert!(rig.tried().iter().all(|tried| tried == "alg1 Restart 901"), "{:?}", rig.tried());
    rig.answer("");
    rig.gateway.connection_is_back(rig.now);
    rig.collect();
    assert_eq!(rig.tried().last().unwrap(), "alg1 Disconnected 900");
    rig.answer("");
    assert!(rig.gateway.is_registered());
    // What was asked is asked again, and the answer to it will tell.
    let before = rig.tried().len();
    let observed = crate::ObservedEvents::new(crate::RequestId(1));
    let command = Command::notify("ip/1/1".to_owned(), observed);
    rig.gateway.request(rig.now, vec![ActionRequest::new(crate::ContextId::Id(7), vec![command])]).unwrap();
    rig.collect();
    rig.gateway.connection_is_back(rig.now);
    rig.collect();
    assert!(rig.tried()[before..].iter().all(|tried| !tried.contains("Disconnected")), "{:?}", rig.tried());
    assert!(rig.gateway.is_registered());
}
