//! AUTH for us: who asks, and what is granted (RFC 4976 §6.3, §9.1).

use crate::ConnectionId;
use crate::connection::Way;
use crate::relay::{Reason, Relay};
use carnet_msrp::auth::{Answer, Ask, use_path};
use carnet_msrp::{Continuation, Head, Status, Uri};
use carnet_sip::Verdict;
use carnet_wire::hex;
use std::time::{Duration, Instant};

/// An AUTH request has come whole.
pub(crate) fn on_ask(relay: &mut Relay, now: Instant, id: ConnectionId, head: &Head) {
    let Ok(ask) = Ask::parse(head) else {
        return reply(relay, id, head, &Answer::Refused(Status::BAD_REQUEST));
    };
    // §6.2
    if !ask.target().is_some_and(|uri| relay.is_ours(uri, true)) {
        return relay.close(id, Reason::NotForUs);
    }
    let answer = decide(relay, now, id, &ask);
    let counts = match &answer {
        Answer::Granted { .. } => false,
        Answer::Challenge(_) | Answer::Refused(_) => true,
        Answer::OutOfBounds { .. } => false,
    };
    respond(relay, id, head, &ask, &answer);
    let most = relay.limits().failures;
    let Some(connection) = relay.get_mut(id) else { return };
    if counts {
        // §6.3: several in a row end the connection.
        connection.asked += 1;
        if connection.asked > most {
            relay.close(id, Reason::Failures);
        }
    } else {
        (connection.asked, connection.proven) = (0, true);
    }
}

fn decide(relay: &mut Relay, now: Instant, id: ConnectionId, ask: &Ask) -> Answer {
    let values: Vec<&str> = ask.credentials.iter().map(String::as_str).collect();
    // §9.1: over the rightmost URI of To-Path; some name it, in whatever spelling, and some do not.
    let target = ask.target();
    let over = |given: Option<&str>| match (given, target) {
        (None, Some(target)) => Some(target.as_str().to_owned()),
        (Some(given), Some(target)) => {
            let same = given.parse::<Uri>().is_ok_and(|given| given == *target);
            same.then(|| given.to_owned())
        }
        (_, None) => None,
    };
    let users = &relay.users;
    let verdict = relay.digest.check_values(now, &values, "AUTH", over, |user| users.get(user));
    let user = match verdict {
        Verdict::Accepted { user } => user,
        Verdict::Challenge { stale } => return challenge(relay, now, stale),
        Verdict::Denied => {
            relay.counts.denied += 1;
            return challenge(relay, now, false);
        }
    };
    let settings = &relay.settings;
    let expires = ask.expires.unwrap_or(settings.expires);
    if expires < settings.min_expires {
        return Answer::OutOfBounds { least: Some(settings.min_expires), most: None };
    }
    if expires > settings.max_expires {
        return Answer::OutOfBounds { least: None, most: Some(settings.max_expires) };
    }
    if relay.draining {
        return Answer::Refused(Status::FORBIDDEN);
    }
    let Some(own) = own_uri(relay, id) else { return Answer::Refused(Status::FORBIDDEN) };
    if !relay.ledger.grant(&user, &relay.settings.limits) {
        return Answer::Refused(Status::FORBIDDEN);
    }
    let password = relay.users.get(&user);
    let info =
        password.and_then(|password| relay.digest.info(now, &values, over, password, &mut *relay.random));
    let until = now + Duration::from_secs(expires.into());
    relay.grants.add(own.clone(), &user, id, until);
    relay.counts.granted += 1;
    if let Some(connection) = relay.get_mut(id) {
        connection.grants += 1;
    }
    Answer::Granted { use_path: use_path(ask, own), expires, info }
}

/// A URI nobody can guess (§6.3: 64 random bits at least), at the place where the client came in.
fn own_uri(relay: &mut Relay, id: ConnectionId) -> Option<Uri> {
    let mut secret = [0; 16];
    relay.random.fill(&mut secret);
    let Way::In(listener) = relay.get(id)?.way else { return None };
    let listener = relay.settings.listeners.get(listener)?;
    Uri::new(listener.secure, &listener.host, listener.port, &(hex::encode(&secret) + &relay.shard.mark()))
        .ok()
}

fn challenge(relay: &mut Relay, now: Instant, stale: bool) -> Answer {
    let (_, values) = relay.digest.challenge(now, stale, &mut *relay.random);
    // Some clients give back what they are told, and some cannot do without.
    Answer::Challenge(values.into_iter().map(|value| value + ", opaque=\"0\"").collect())
}

/// Answers a request that could not be read.
fn reply(relay: &mut Relay, id: ConnectionId, head: &Head, answer: &Answer) {
    let path = |name: &str| carnet_msrp::parse_path(head.get(name).unwrap_or_default().as_bytes());
    if let (Ok(to), Ok(from)) = (path("To-Path"), path("From-Path")) {
        let ask = Ask { to, from, expires: None, credentials: Vec::new() };
        respond(relay, id, head, &ask, answer);
    }
}

fn respond(relay: &mut Relay, id: ConnectionId, head: &Head, ask: &Ask, answer: &Answer) {
    // Nothing in it could be more than a line.
    let Ok(response) = answer.write(&head.tid, ask) else { return };
    relay.control(id, true, |out| {
        response.write(out);
        response.write_end(Continuation::Last, out);
    });
}
