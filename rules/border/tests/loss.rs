//! Messages are lost, one at a time and at random: calls end, and nothing leaks.

#![allow(clippy::unwrap_used)]

mod common;

use carnet_h248::association::Transport::{Datagram, Reliable};
use carnet_sip::{Message, Method};
use common::*;
use std::collections::HashMap;
use std::time::Duration;

/// A terminal that does the right thing with whatever reaches it.
struct Robot {
    ua: Ua,
    listen: &'static str,
    answers: HashMap<String, Message>,
    /// Its INVITE was answered: the ACK, for repetitions.
    ack: Option<Message>,
    ended: bool,
    invite: Option<Message>,
}

impl Robot {
    fn new(ua: Ua, listen: &'static str) -> Self {
        Self { ua, listen, answers: HashMap::new(), ack: None, ended: false, invite: None }
    }

    fn key(m: &Message) -> String {
        format!("{} {}", m.top_via().unwrap().branch().unwrap(), m.header("CSeq").unwrap())
    }

    /// Answers everything that waits for this terminal; says whether there was anything.
    fn work(&mut self, w: &mut World) -> bool {
        let at = self.ua.at.clone();
        let mut busy = false;
        while let Some(m) = w.try_take(&at) {
            busy = true;
            if m.is_request() {
                self.request(w, &at, &m);
            } else if m.cseq().unwrap().method == Method::Invite && m.status() >= Some(200) {
                self.response(w, &at, &m);
            }
        }
        busy
    }

    fn request(&mut self, w: &mut World, at: &str, m: &Message) {
        if *m.method() == Method::Ack {
            return;
        }
        self.ended |= *m.method() == Method::Bye;
        let answer = match self.answers.get(&Self::key(m)) {
            Some(known) => known.clone(),
            None => {
                let sdp = msrps(at.split(':').next().unwrap(), 7394, "passive");
                if *m.method() == Method::Invite {
                    self.ua = Ua::answering(&self.ua.user, at, m, "robot");
                    self.invite = Some(m.clone());
                }
                let body = (*m.method() == Method::Invite).then_some(&*sdp);
                let answer = self.ua.answer(m, 200, body);
                self.answers.insert(Self::key(m), answer.clone());
                answer
            }
        };
        w.send(at, self.listen, &answer);
    }

    fn response(&mut self, w: &mut World, at: &str, m: &Message) {
        let ack = match (&self.ack, m.status() < Some(300)) {
            (Some(ack), _) => ack.clone(),
            (None, true) => {
                self.ua.remote = m.header("To").unwrap().into_owned();
                w.request(&self.ua, Method::Ack, &contact(m), 1)
            }
            (None, false) => {
                self.ended = true;
                let invite = self.invite.clone().unwrap();
                let mut ack = Message::request(Method::Ack, invite.request_uri().unwrap().clone());
                ack.copy_lines("Via", &invite);
                for name in ["From", "To", "Call-ID"] {
                    ack.copy_lines(name, m);
                }
                ack.push_back("CSeq", "1 ACK").unwrap();
                ack
            }
        };
        self.ack = Some(ack.clone());
        w.send(at, self.listen, &ack);
    }
}

/// Alice calls bob and hangs up after a minute; her INVITE and BYE are repeated as over UDP.
fn whole_call(w: &mut World) {
    let mut alice = Robot::new(Ua::new("alice", ALICE, "bob", "call-x"), ACCESS);
    let mut bob = Robot::new(Ua::new("bob", BOB, "alice", "call-x"), ACCESS);
    let invite = w.request(&alice.ua, Method::Invite, "sip:bob@example.com", 1);
    let invite = with_sdp(invite, &msrps("192.0.2.20", 2855, "actpass"));
    alice.invite = Some(invite.clone());
    let mut bye = None;
    for second in 0..160 {
        if alice.ack.is_none() && [0, 1, 3, 7, 15].contains(&second) {
            w.send(ALICE, ACCESS, &invite);
        }
        if second >= 60 && [0, 1, 3, 7].contains(&(second - 60)) && !alice.ended {
            let target = w.inbox_contact.clone().unwrap_or_else(|| format!("sip:none@{ACCESS}"));
            let bye: &mut Message = bye.get_or_insert_with(|| w.request(&alice.ua, Method::Bye, &target, 2));
            let bye = bye.clone();
            w.send(ALICE, ACCESS, &bye);
        }
        while alice.work(w) | bob.work(w) {}
        w.pass(Duration::from_secs(1));
    }
}

#[test]
fn any_single_sip_message_may_be_lost() {
    let mut total = 0;
    for lost in 0.. {
        let mut w = World::with_users(alg(Reliable));
        let before = w.sip_sent;
        w.lose_sip = (lost > 0).then_some(before + lost);
        whole_call(&mut w);
        w.assert_empty();
        let ended = w.names().iter().filter(|n| **n == "call-ended").count();
        assert!(ended <= 1 && (ended == 1 || lost == 1), "lost {lost}: {:?}", w.names());
        if lost == 0 {
            total = w.sip_sent - before;
            assert!(w.names().contains(&"call-up"));
        }
        if lost > total {
            break;
        }
    }
    assert!(total >= 10, "{total}");
}

#[test]
fn any_single_gateway_message_may_be_lost() {
    let mut total = 0;
    for lost in 0.. {
        let mut w = World::with_users(alg(Datagram));
        let before = w.control_sent;
        w.lose_control = (lost > 0).then_some(before + lost);
        whole_call(&mut w);
        w.assert_empty();
        let names = w.names();
        assert!(names.contains(&"call-up") && names.contains(&"media-released"), "lost {lost}: {names:?}");
        if lost == 0 {
            total = (w.control_sent - before).min(60);
        }
        if lost > total {
            break;
        }
    }
    assert!(total >= 6, "{total}");
}
