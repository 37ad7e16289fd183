//! What the audit trail tells: its records, and the tickets that were issued.

use super::super::service::{RevokeError, Service};
use super::commands::{Refused, stored, time};
use crate::web::Caller;
use carnet_keys::{AuditRecord, Deed};
use carnet_mikey::Identity;
use carnet_wire::hex;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::SystemTime;

/// Records that are read for one page of tickets, at most.
const MOST_READ: usize = 20_000;
/// Records that are read to find one ticket, at most.
const MOST_SEARCHED: usize = 1_000_000;
/// Letters by which a ticket may be named: as many as our lists and events print, up to all.
const LETTERS: std::ops::RangeInclusive<usize> = 16..=64;
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

/// The newest record of the ticket that is named by the beginning of its SHA-256 in hexadecimal: where it was issued, or, of
/// a ticket that somebody made for himself, where it was opened.
pub(super) fn find(service: &Service, name: &str) -> Result<(u64, AuditRecord), Refused> {
    let name = name.to_ascii_lowercase();
    if !LETTERS.contains(&name.len()) || !name.bytes().all(|letter| letter.is_ascii_hexdigit()) {
        return Err(Refused::Bad(format!(
            "a ticket is named by the first {} to {} letters of its SHA-256 in hexadecimal, as lists print it",
            LETTERS.start(),
            LETTERS.end()
        )));
    }
    let mut found: Option<(u64, AuditRecord)> = None;
    let (mut below, mut read) = (stored(service.store().last_audit())?.saturating_add(1), 0);
    while below > 1 && read < MOST_SEARCHED {
        let from = below.saturating_sub(CHUNK).max(1);
        let many = usize::try_from(below - from).unwrap_or(usize::MAX);
        let chunk = stored(service.store().audit(from, many))?;
        read += many;
        for (number, record) in chunk.into_iter().rev() {
            if !hex::encode(&record.ticket).starts_with(&name) {
                continue;
            }
            match &found {
                Some((_, other)) if other.ticket != record.ticket => {
                    return Err(Refused::Bad(format!(
                        "`{name}` is the beginning of more than one ticket; give more of it"
                    )));
                }
                _ => {}
            }
            let issued = record.deed == Deed::Issued;
            if issued || found.is_none() {
                found = Some((number, record));
            }
            // Nothing of it was written down before.
            if issued && name.len() == *LETTERS.end() {
                return found.ok_or_else(|| unknown(&name));
            }
        }
        below = from;
    }
    found.ok_or_else(|| unknown(&name))
}

fn unknown(name: &str) -> Refused {
    Refused::Missing(format!(
        "there is no ticket `{name}` in the newest {MOST_SEARCHED} records of the audit trail"
    ))
}

/// Revokes a ticket. One that is revoked already stays so, and is not recorded again.
pub(super) fn revoke(service: &Service, name: &str, by: Caller) -> Result<Value, Refused> {
    let (number, record) = find(service, name)?;
    let wall = SystemTime::now();
    if record
        .expires
        .is_some_and(|at| at.checked_add(service.kms().config().profile.skew).is_some_and(|at| at < wall))
    {
        return Err(Refused::Conflict(format!(
            "the ticket has expired at {}",
            record.expires.map(time).unwrap_or_default()
        )));
    }
    let known = service.kms().revoked().until(&record.ticket);
    let until = match known {
        Some(until) => until,
        None => {
            let source = match by {
                Caller::Host(address) => address.ip(),
                Caller::Process { .. } => Ipv4Addr::LOCALHOST.into(),
            };
            let revocation =
                AuditRecord { wall, deed: Deed::Revoked, source, user: by.to_string(), ..record.clone() };
            service.revoke(&revocation).map_err(|e| match e {
                RevokeError::Rules(e) => Refused::from(e),
                RevokeError::Store(e) => Refused::Disk(e.to_string()),
            })?
        }
    };
    let mut told = ticket(service, number, &record);
    told["remembered_until"] = time(until).into();
    Ok(told)
}

/// One ticket, as in the list.
pub(super) fn one(service: &Service, name: &str) -> Result<Value, Refused> {
    let (number, record) = find(service, name)?;
    Ok(ticket(service, number, &record))
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
            Deed::Revoked => "revoked",
        },
        "user": r.user,
        "source": r.source,
        "initiator": r.initiator.text(),
        "responders": r.responders.iter().map(Identity::text).collect::<Vec<_>>(),
        "ticket": hex::encode(&r.ticket),
        "key": r.key,
    })
}
