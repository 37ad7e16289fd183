//! What there is, once: for scripts, and where there is no terminal.

use super::figures::{octets, span};
use super::look::{self, EVERY, Seen};
use super::model::{Model, Row, Seal, Sort, array, text};
use crate::node::{Node, NodeError};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The text, and whether every process has answered.
pub async fn once(nodes: Vec<Arc<Node>>, as_json: bool, most: usize) -> (String, bool) {
    let mut model = Model::new(nodes.iter().map(|node| node.name().to_owned()));
    let mut tasks = Vec::new();
    for node in nodes {
        tasks.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            if let Err(error) = twice(&node, most, &mut seen).await {
                seen.push(Seen::Down(error.to_string()));
            }
            seen
        }));
    }
    let mut raw = vec![Vec::new(); tasks.len()];
    for (place, task) in tasks.into_iter().enumerate() {
        for seen in task.await.unwrap_or_default() {
            if let (Seen::Sessions { sessions, .. }, Some(raw)) = (&seen, raw.get_mut(place)) {
                raw.clone_from(sessions);
            }
            model.take(place, seen, None);
        }
    }
    let well = model.processes.iter().all(|process| process.down.is_none());
    (if as_json { format!("{}\n", object(&model, &raw)) } else { words(&model) }, well)
}

/// A rate needs two looks.
async fn twice(node: &Node, most: usize, seen: &mut Vec<Seen>) -> Result<(), NodeError> {
    seen.push(Seen::Whole(Instant::now(), Box::new(look::whole(node).await?)));
    tokio::time::sleep(EVERY).await;
    let whole = look::whole(node).await?;
    seen.push(Seen::Whole(Instant::now(), Box::new(whole)));
    seen.push(look::page(node, 0, most).await?);
    Ok(())
}

fn object(model: &Model, raw: &[Vec<Value>]) -> Value {
    let nodes = model.processes.iter().zip(raw).enumerate().map(|(place, (process, sessions))| {
        if let Some(why) = &process.down {
            return json!({ "node": process.name, "up": false, "error": why });
        }
        let (whole, rate) = (&process.whole, process.pace.rate().unwrap_or_default());
        let mut listed: Vec<Value> = sessions.clone();
        for session in &mut listed {
            let Some(row) = Row::of(place, session) else { continue };
            if let Some(members) = session.as_object_mut() {
                members.insert("seal".into(), seal(row.seal).into());
                members.insert("octets".into(), model.octets(&row).into());
            }
        }
        json!({
            "node": process.name,
            "up": true,
            "version": whole.metrics.version,
            "memory_octets": whole.metrics.memory,
            "setups_per_second": rate.setups,
            "failures_per_second": rate.failures,
            "tickets_per_second": rate.tickets,
            "octets_per_second": process.passing,
            "sessions_total": process.total,
            "sessions": listed,
            "gateways": whole.nodes.get("gateways"),
            "borders": whole.nodes.get("borders"),
            "conferences": whole.nodes.get("conferences"),
            "rooms": whole.rooms.get("conferences"),
        })
    });
    json!({ "nodes": nodes.collect::<Vec<_>>() })
}

fn seal(seal: Seal) -> &'static str {
    match seal {
        Seal::EndToEnd => "end-to-end",
        Seal::Edge => "edge",
        Seal::Open => "open",
        Seal::Unknown => "unknown",
    }
}

fn words(model: &Model) -> String {
    let mut out = String::new();
    for process in &model.processes {
        if let Some(why) = &process.down {
            let _ = writeln!(out, "{} DOWN: {why}", process.name);
            continue;
        }
        let rate = process.pace.rate().unwrap_or_default();
        let version = process.whole.metrics.version.as_deref().unwrap_or("?");
        let passing = process.passing.map(|passing| format!(", {}/s", octets(passing))).unwrap_or_default();
        let _ = writeln!(
            out,
            "{} {version}: {} sessions, {:.1} setups/s, {:.1} failures/s{passing}",
            process.name, process.total, rate.setups, rate.failures
        );
        for gateway in array(&process.whole.nodes, "gateways") {
            let of = |member| text(gateway, member);
            let _ = writeln!(
                out,
                "  gateway {} ({}): {}, {} of {} contexts",
                of("gateway"),
                of("role"),
                of("state"),
                of("contexts"),
                of("most_contexts")
            );
        }
        for server in array(&process.whole.rooms, "conferences") {
            for room in array(server, "rooms") {
                let (members, unsealed) = (text(room, "members"), text(room, "unsealed"));
                let _ =
                    writeln!(out, "  room {}: {members} members, {unsealed} not sealed", text(room, "room"));
            }
        }
    }
    let now = SystemTime::now();
    for row in model.listed("", Sort::Oldest) {
        let age = row.age(now).map(span).unwrap_or_default();
        let count = model.octets(row).map_or_else(|| "-".to_owned(), |count| octets(count as f64));
        let (seal, plan) = (seal(row.seal), if row.plan.is_empty() { "-" } else { &row.plan });
        let _ =
            writeln!(out, "{seal:<10} {plan:<10} {} -> {}  {age}  {count}  {}", row.from, row.to, row.role);
    }
    let (shown, all) = (model.listed("", Sort::Oldest).len(), model.total());
    if shown < all {
        let _ = writeln!(out, "{} more sessions; --most says how many are printed", all - shown);
    }
    out
}
