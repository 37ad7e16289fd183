//! What an administrator asks a conference server, and wants done.

use crate::roles::inspection::control_summary;
use crate::roles::question::Ask;
use carnet_conference::{FloorStatus, Focus, GatewayStatus, MemberStatus, RoomStatus};
use serde_json::{Value, json};
use std::time::{Instant, SystemTime};

/// Answers, or does it. `name` is the server's.
pub(super) fn answer(name: &str, focus: &mut Focus, ask: &Ask) -> Result<Value, String> {
    let (now, wall) = (Instant::now(), SystemTime::now());
    match ask {
        Ask::Alive => Ok(Value::Null),
        Ask::List => {
            let gateways: Vec<_> = focus.gateways().iter().map(|g| gateway(now, g)).collect();
            Ok(json!({ "conference": name, "gateways": gateways }))
        }
        Ask::Audit { gateway, .. } | Ask::Calls { gateway, .. } => {
            Err(format!("`{gateway}` belongs to a conference server: ask the process that it runs in"))
        }
        Ask::Rooms => {
            let rooms: Vec<_> = focus.rooms().iter().map(summary).collect();
            Ok(json!({ "conference": name, "rooms": rooms }))
        }
        Ask::Room { room } => focus.room(room).map(|room| whole(&room)).ok_or_else(|| unknown(focus, room)),
        Ask::Kick { room, member } => {
            focus.kick(now, wall, room, member).map_err(|e| e.to_string())?;
            Ok(json!({ "room": room, "kicked": member }))
        }
        Ask::Invite { room, member } => {
            focus.invite(now, wall, room, member).map_err(|e| e.to_string())?;
            Ok(json!({ "room": room, "invited": member }))
        }
        Ask::Decide { room, floor, user, decision } => {
            focus.decide(now, wall, room, (*floor, *user), *decision).map_err(|e| e.to_string())?;
            Ok(json!({ "room": room, "floor": floor, "user": user, "decision": decision.name() }))
        }
        Ask::Mute { room, member, muted } => {
            focus.mute(now, wall, room, member, *muted).map_err(|e| e.to_string())?;
            Ok(json!({ "room": room, "member": member, "muted": muted }))
        }
        Ask::Close { room } => {
            focus.close(now, wall, room).map_err(|e| e.to_string())?;
            Ok(json!({ "room": room, "closed": true }))
        }
        Ask::Retire { left } => {
            match left {
                Some(_) => focus.retire(),
                None => focus.resume(),
            }
            Ok(json!({ "conference": name }))
        }
        Ask::Avoid { .. } | Ask::EndCall { .. } => {
            Err("a conference server has no calls between others".into())
        }
    }
}

fn unknown(focus: &Focus, room: &str) -> String {
    /// Names in a sentence.
    const NAMED: usize = 8;
    let rooms: Vec<_> = focus.rooms().into_iter().take(NAMED).map(|room| room.uri).collect();
    match rooms.is_empty() {
        true => format!("there is no room {room}"),
        false => format!("there is no room {room}; there is {}", rooms.join(", ")),
    }
}

fn summary(room: &RoomStatus) -> Value {
    json!({
        "room": room.uri,
        "subject": room.subject,
        "fixed": room.fixed,
        "sealed": room.sealed,
        "members": room.members.len(),
        "unsealed": room.members.iter().filter(|member| !member.sealed).count(),
        "gateway": room.placed.as_ref().map(|(gateway, _)| gateway.to_string()),
        "context": room.placed.as_ref().map(|(_, context)| context),
    })
}

fn whole(room: &RoomStatus) -> Value {
    let mut out = summary(room);
    if let Some(members) = out.as_object_mut() {
        members.insert("members".into(), room.members.iter().map(member).collect::<Vec<_>>().into());
        members.insert("floors".into(), room.floors.iter().map(floor).collect::<Vec<_>>().into());
    }
    out
}

fn member(member: &MemberStatus) -> Value {
    let media = member.media.iter().map(|(media, with)| json!({ "media": media, "sealed_with": with }));
    json!({
        "member": member.uri,
        "user": member.user,
        "nickname": member.nickname,
        "state": member.state,
        "owner": member.owner,
        "sealed": member.sealed,
        "stalled": member.stalled,
        "muted": member.muted,
        "media": media.collect::<Vec<_>>(),
    })
}

fn floor(floor: &FloorStatus) -> Value {
    json!({ "floor": floor.id, "holders": floor.holders, "waiting": floor.waiting })
}

fn gateway(now: Instant, gateway: &GatewayStatus) -> Value {
    let mut out = control_summary(now, &gateway.control);
    if let Some(members) = out.as_object_mut() {
        members.insert("connected".into(), gateway.connected.into());
        members.insert("realms".into(), json!([gateway.realm]));
        members.insert("weight".into(), gateway.weight.into());
        members.insert("rooms".into(), gateway.rooms.into());
    }
    out
}
