//! What the audit trail tells: its records, and the tickets that were issued.

use super::super::service::Service;
use super::commands::{Refused, stored, time};
use carnet_keys::{AuditRecord, Deed};
use carnet_mikey::Identity;
use carnet_wire::hex;
use serde_json::{Value, json};
use std::time::SystemTime;

/// Records that are read for one page of tickets, at most.
const MOST_READ: usize = 20_000;
/// Records that are read at once.
const CHUNK: u64 = 1_000;

/// Records in order, from there on; the newest where that is not said.
pub(super) fn records(service: &Service, from: Option<u64>, most: usize) -> Result<Value, Refused> {
    let last = stored(service.store().last_audit())?;
    let from = from.unwrap_or((last + 1).saturating_sub(most as u64));
    let records = stored(service.store().audit(from, most))?;
    let records: Vec<Value> = records.iter().map(|(n, r)| describe(*n, r)).collect();
    Ok(json!({ "last": last, "records": records }))
}

/// Tickets that were issued, the newest first; of one user, if one is named. With the number before which to go on.
pub(super) fn tickets(
    service: &Service,
    before: Option<u64>,
    limit: usize,
    user: Option<&str>,
) -> Result<(Vec<Value>, Option<u64>), Refused> {
    let last = stored(service.store().last_audit())?;
    let mut below = before.unwrap_or(u64::MAX).min(last.saturating_add(1));
    let (mut tickets, mut read) = (Vec::new(), 0);
    while below > 1 {
        if read >= MOST_READ {
            return Ok((tickets, Some(below)));
        }
        let from = below.saturating_sub(CHUNK).max(1);
        let many = usize::try_from(below - from).unwrap_or(usize::MAX);
        let chunk = stored(service.store().audit(from, many))?;
        read += many;
        for (number, record) in chunk.iter().rev().filter(|(number, _)| *number < below) {
            if record.deed != Deed::Issued || user.is_some_and(|user| user != record.user) {
                continue;
            }
            if tickets.len() == limit {
                return Ok((tickets, Some(number + 1)));
            }
            tickets.push(ticket(service, *number, record));
        }
        below = from;
    }
    Ok((tickets, None))
}

fn ticket(service: &Service, number: u64, record: &AuditRecord) -> Value {
    json!({
        "number": number,
        "ticket": hex::encode(&record.ticket),
        "issued": time(record.wall),
        "expires": record.expires.map(time),
        "expired": record.expires.map(|at| at <= SystemTime::now()),
        "revoked": service.kms().is_revoked(record),
        "user": record.user,
        "source": record.source,
        "initiator": record.initiator.text(),
        "responders": record.responders.iter().map(Identity::text).collect::<Vec<_>>(),
        "key": record.key,
    })
}

fn describe(number: u64, r: &AuditRecord) -> Value {
    json!({
        "number": number,
        "time": time(r.wall),
        "deed": match r.deed {
            Deed::Issued => "issued",
            Deed::Resolved => "resolved",
        },
        "user": r.user,
        "source": r.source,
        "initiator": r.initiator.text(),
        "responders": r.responders.iter().map(Identity::text).collect::<Vec<_>>(),
        "ticket": hex::encode(&r.ticket),
        "key": r.key,
    })
}
