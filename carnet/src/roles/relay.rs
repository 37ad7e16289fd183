//! An MSRP relay (RFC 4976) beside a gateway, as a task: `[gateway.NAME.relay]`.

use super::question::Questions;
use super::{Start, StartError, tls};
use crate::reload::{Ready, Renewals};
use carnet_net::Token;
use carnet_net::relay::{RelayConfig, RelayHandle, start as start_relay};
use carnet_ops::config::{Proto, RelaySection};
use carnet_ops::metrics::{Gauge, Source};
use carnet_relay::{Listener, Settings};
use carnet_sip::Password;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often it is looked whether the relay still runs, and whether it is empty.
const LOOK: Duration = Duration::from_millis(200);
/// Kernel buffers of a connection, in octets: what somebody who stopped reading can pin there.
const SOCKET_BUFFER: usize = 128 * 1024;

/// Opens the sockets and starts the task.
pub fn start(
    name: &str,
    section: &RelaySection,
    questions: Questions,
    renewals: &mut Renewals,
    token: Token,
) -> Start<(JoinHandle<()>, Source)> {
    let fail = |reason: String| StartError::new("relay of gateway", name, reason);
    let config = config(section).map_err(fail)?;
    if let Some(context) = &config.tls {
        let gateway = name.to_owned();
        tls::renews(renewals, &["gateway", name, "relay", "tls"], context, move |config| {
            config.gateway.get(&gateway)?.as_ref().relay.as_ref()?.as_ref().tls.as_ref()
        });
    }
    let relay = start_relay(config).map_err(|e| fail(e.to_string()))?;
    tracing::info!(gateway = name, listen = ?relay.local(), "MSRP relay listens");
    let (gateway, held) = (name.to_owned(), relay.users());
    renewals.add(&["gateway", name, "relay", "users"], move |config| {
        let section = config.gateway.get(&gateway).and_then(|section| section.as_ref().relay.as_ref());
        let section = section.ok_or("there is no relay any more")?.as_ref();
        let (held, new) = (held.clone(), users(section.users.as_ref())?);
        Ok(Ready::Now(Box::new(move || held.set(new))))
    });
    let relay = Arc::new(relay);
    let look = source(name.to_owned(), Arc::downgrade(&relay));
    Ok((tokio::spawn(run(relay, questions, token)), look))
}

/// What it has counted, for whoever looks.
fn source(gateway: String, relay: Weak<RelayHandle>) -> Source {
    Box::new(move |held| {
        let Some(counts) = relay.upgrade().map(|relay| relay.counts()) else { return };
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let mut put = |name, help, label: Option<(&'static str, &str)>, value: u64| {
            let label = label.map(|(name, value)| (name, value.to_owned()));
            let labels = [("gateway", gateway.clone())].into_iter().chain(label).collect();
            // Counts below 2^53 are exact.
            held.push(Gauge { name, help, labels, value: value as f64 });
        };
        put("carnet_relay_connections", "Connections of an MSRP relay", None, number(counts.connections));
        put("carnet_relay_sessions", "URIs that an MSRP relay has granted", None, number(counts.sessions));
        put("carnet_relay_granted_total", "URIs granted", None, counts.granted);
        let messages = "Requests passed on: SEND, and others (REPORT)";
        put("carnet_relay_messages_total", messages, Some(("kind", "send")), counts.sends);
        put("carnet_relay_messages_total", messages, Some(("kind", "other")), counts.others);
        put("carnet_relay_octets_total", "Octets of messages passed on", None, counts.octets);
        put("carnet_relay_failures_reported_total", "Failures reported to senders", None, counts.reports);
        let refused = "Refused: AUTH with a wrong password (password), a URI that is not good (uri), too many connections (crowded)";
        for (reason, count) in
            [("password", counts.denied), ("uri", counts.refused), ("crowded", counts.turned_away)]
        {
            put("carnet_relay_refused_total", refused, Some(("reason", reason)), count);
        }
    })
}

async fn run(relay: Arc<RelayHandle>, mut questions: Questions, mut token: Token) {
    let end = loop {
        tokio::select! {
            end = token.started() => break end,
            () = tokio::time::sleep(LOOK) => {}
            Some(question) = questions.recv() => {
                // One who has stopped waiting needs no answer, and to knock for him would be to knock twice at once.
                if !question.answer.is_closed() {
                    let turns = relay.knock().then_some(serde_json::Value::Null);
                    let _ = question.answer.send(turns.ok_or_else(|| "a thread of it does not turn".into()));
                }
            }
        }
        if relay.is_over() {
            return;
        }
    };
    relay.drain();
    while relay.counts().connections > 0 && tokio::time::Instant::now() < end {
        tokio::time::sleep(LOOK.min(end - tokio::time::Instant::now())).await;
    }
    drop(relay);
}

fn config(section: &RelaySection) -> Result<RelayConfig, String> {
    let mut listen = Vec::new();
    let mut listeners = Vec::new();
    let mut names = Vec::new();
    for bind in section.listen.as_ref() {
        let here = bind.address.ip().to_string();
        let host = section.host.as_ref().map_or_else(|| here.clone(), |host| host.as_ref().clone());
        listeners.push(Listener { host, port: bind.address.port(), secure: bind.proto == Proto::Tls });
        listen.push(bind.address);
        names.push(here);
    }
    names.push(section.domain.clone());
    let mut settings = Settings::new(&section.domain, listeners);
    settings.names = names;
    settings.expires = *section.expires.as_ref();
    settings.min_expires = *section.min_expires.as_ref();
    settings.max_expires = *section.max_expires.as_ref();
    settings.limits.sessions = *section.max_sessions.as_ref();
    settings.limits.per_user = *section.max_per_user.as_ref();
    settings.limits.per_source = section.per_source.as_ref().map(|most| *most.as_ref());
    // A client and its peer for each URI, at most, and as many next hops.
    settings.limits.connections = settings.limits.sessions.saturating_mul(3).max(1_000);
    Ok(RelayConfig {
        listen,
        settings,
        users: users(section.users.as_ref())?,
        tls: section.tls.as_ref().map(tls::context_of).transpose()?,
        next_hops: section.next_hops.iter().map(|prefix| (prefix.ip, prefix.bits)).collect(),
        dscp: None,
        socket_buffer: Some(SOCKET_BUFFER),
        threads: *section.threads.as_ref(),
    })
}

/// A TOML file of `name = "password"` lines.
fn users(path: &Path) -> Result<HashMap<String, Password>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let table: BTreeMap<String, String> =
        toml::from_str(&text).map_err(|e| format!("{}: {}", path.display(), e.message()))?;
    Ok(table.into_iter().map(|(name, password)| (name, Password::new(password.into_bytes()))).collect())
}
