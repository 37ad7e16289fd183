//! What becomes of the lines when the answer has come.
//!
//! RFC 3264 §6, RFC 4145 §4.1, RFC 6135 §4.2, RFC 8122 §6.2, TS 23.334 §6.2.10.3 and §6.2.18.4.

use super::direction::{Roles, Sealed, settle_free, settle_sealed, tls_role};
use super::offer::{fingerprints, rewritable};
use super::{
    Application, Change, Decision, Edit, Facts, Leg, Legs, Line, Plan, Refusal, Said, Settled, Settlement,
    Tls,
};
use carnet_sdp::{Document, E2ae, Media, Reuse, Setup};

const fn no(warning: u16, reason: &'static str) -> Refusal {
    Refusal::new(488, warning, reason)
}

/// Settles all lines. A refusal means the call cannot be: 488 to the offerer, and an end to what the
/// answerer believes it has.
pub fn settle(plan: &Plan, answer: &Document, facts: &Facts) -> Result<Settlement, Refusal> {
    // RFC 3264 §6: as many lines as were offered, in the same order.
    if answer.media().len() != plan.lines.len() {
        return Err(no(399, "the answer has not as many media lines as the offer"));
    }
    let mut settlement = Settlement::default();
    for (line, m) in plan.lines.iter().zip(answer.media()) {
        settlement.lines.push(one(line, &m, facts)?);
        if m.is_rejected() {
            settlement.edits.extend(refused(line, &m));
        } else if line.decision == Decision::Rtpengine {
            let edit = Edit { line: Some(line.index), change: Change::Rtpengine, reason: line.reason };
            settlement.edits.push(edit);
        }
    }
    if facts.offerer.hide_origin {
        let reason = "this network is not shown the addresses of others";
        settlement.edits.push(Edit { line: None, change: Change::Origin, reason });
    }
    let ends = |index: usize| {
        let legs = plan.lines.get(index).and_then(|l| l.legs.as_ref());
        legs.is_some_and(|l| l.answerer.tls.is_some())
    };
    if fingerprint_is_ours(answer, ends) {
        settlement.edits.push(Edit { line: None, change: Change::FingerprintRemoved, reason: CLEAN });
    }
    if answer.attribute("3ge2ae").is_some() {
        let reason = "what it says is for the access it came from";
        settlement.edits.push(Edit { line: None, change: Change::EdgeRemoved, reason });
    }
    Ok(settlement)
}

/// Whether the fingerprint of the session section is only for TLS that ends at our gateway: at least
/// one such line takes it, and no other line does.
pub(super) fn fingerprint_is_ours(document: &Document, ends: impl Fn(usize) -> bool) -> bool {
    if document.attribute("fingerprint").is_none() && document.attribute("tls-id").is_none() {
        return false;
    }
    let takes = |m: &Media<'_>| !m.is_rejected() && m.attribute("fingerprint").is_none();
    let secured = |m: &Media<'_>| {
        let proto = m.proto().to_ascii_uppercase();
        proto.contains("TLS") || proto.contains("SAVP")
    };
    let (ours, others): (Vec<_>, Vec<_>) = document.media().filter(takes).partition(|m| ends(m.index()));
    !ours.is_empty() && !others.iter().any(secured)
}

/// What changes in a line that the answerer does not take: it is the one that was offered.
fn refused(line: &Line, m: &Media<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut edit = |change, reason| edits.push(Edit { line: Some(line.index), change, reason });
    if let Some((legs, application)) = line.legs.as_ref().zip(line.application) {
        let (offerer, answerer) = (legs.offerer.tls.is_some(), legs.answerer.tls.is_some());
        if offerer != answerer {
            edit(Change::Transport(application.proto(offerer)), "the transport is the one of the offer");
        }
        if answerer && m.attribute("fingerprint").is_some() {
            edit(Change::FingerprintRemoved, CLEAN);
        }
    }
    if m.attribute("3ge2ae").is_some() {
        edit(Change::EdgeRemoved, "what it says is for the access it came from");
    }
    edits
}

const CLEAN: &str = "security ends at the answerer's access edge; beyond it nothing tells of it";

/// Settles one line; `None` where nothing is in use, or nothing of ours.
fn one(line: &Line, m: &Media<'_>, facts: &Facts) -> Result<Option<Settled>, Refusal> {
    let said = Said::of(m);
    if said.rejected || line.said.rejected {
        return Ok(None);
    }
    let proto = line.legs.as_ref().map_or(line.said.proto.as_str(), |l| l.answerer.proto.as_str());
    // RFC 3264 §6.1: the transport is not negotiable. Answering another one, for instance one without
    // TLS, is refused whatever the line is.
    if !said.proto.eq_ignore_ascii_case(proto) {
        return Err(no(399, "the answer has another transport than the offer"));
    }
    let edge = line.legs.as_ref().is_some_and(|l| l.answerer.tls.is_some());
    // The same care as with offers: nothing is carried with less than was asked for.
    if !edge && m.e2ae().is_some_and(|e2ae| e2ae != E2ae::Applied) {
        return Err(no(304, "security that ends at the access edge is asked for in an answer"));
    }
    let (Some(legs), Some(application)) = (&line.legs, line.application) else { return Ok(None) };
    let (roles, reason) = roles(line, &said, application, facts)?;
    let open = roles.offerer != Setup::HoldConn;
    for (role, said) in [(roles.offerer, &line.said), (roles.answerer, &said)] {
        let address = said.address.filter(|a| a.port() != 0 && !a.ip().is_unspecified());
        if role == Setup::Active && address.is_none() {
            return Err(no(399, "the passive end gives no address to connect to"));
        }
    }
    if legs.answerer.aware {
        rewritable(&said, ["the answer has no a=path", "the answer's a=path is not one of MSRP"])?;
    }
    // RFC 8856 §8: roles stay while the connection does.
    let stays = line.said.existing && m.reuse_said() == Some(Reuse::Existing);
    let tls = |leg: &Leg, ours, towards_offerer, prints, kept| {
        leg.tls.as_ref().map(|_| {
            let kept = Option::filter(kept, |_| stays && application == Application::Bfcp);
            Tls { role: kept.or(tls_role(application, ours, towards_offerer)), fingerprints: prints }
        })
    };
    let theirs = if edge { fingerprints(&said)? } else { Vec::new() };
    let ours = legs.offerer.tls.as_ref().map(|t| t.fingerprints.clone()).unwrap_or_default();
    let settled = Legs {
        offerer: Leg {
            setup: roles.offerer,
            tls: tls(&legs.offerer, roles.offerer, true, ours, facts.offerer.kept(line.index)),
            ..legs.offerer.clone()
        },
        answerer: Leg {
            setup: roles.answerer,
            tls: tls(&legs.answerer, roles.answerer, false, theirs, facts.answerer.kept(line.index)),
            path: said.path.clone().filter(|_| legs.answerer.aware),
            ..legs.answerer.clone()
        },
    };
    let mut settled = Settled {
        legs: settled,
        open,
        merged: roles.is_merged(),
        setup_sent: said.setup,
        said,
        edits: Vec::new(),
        reason,
    };
    edits(line, m, application, &mut settled);
    Ok(Some(settled))
}

fn roles(
    line: &Line,
    said: &Said,
    application: Application,
    facts: &Facts,
) -> Result<(Roles, &'static str), Refusal> {
    let conflict = || no(399, "offer and answer want the same end of the connection");
    let (offered, sent) = (line.said.setup, line.setup_sent);
    let told = |roles: Roles| match (roles.offerer, roles.answerer) {
        (Setup::Passive, Setup::Passive) => "both ends connect, and the gateway waits for both",
        (Setup::Active, Setup::Active) => "the gateway connects to both ends",
        (Setup::Passive, _) => "the offerer connects",
        (Setup::Active, _) => "the answerer connects",
        _ => "no connection for now",
    };
    if line.decision != Decision::EndToEnd || application != Application::Msrp {
        let roles = settle_free(offered, sent, said.setup, facts).ok_or_else(conflict)?;
        return Ok((roles, told(roles)));
    }
    match settle_sealed(offered, sent, said.setup, facts).ok_or_else(conflict)? {
        Sealed::One(roles) => Ok((roles, told(roles))),
        Sealed::Both(roles) if line.said.mikey_role && said.mikey_role => {
            Ok((roles, "both ends connect, and take their TLS roles from the key exchange"))
        }
        Sealed::Both(_) => Err(no(
            399,
            "both ends connect, and the answerer does not take its TLS role from the key exchange",
        )),
    }
}

fn edits(line: &Line, m: &Media<'_>, application: Application, settled: &mut Settled) {
    let mut made = Vec::new();
    let mut edit = |change, reason| made.push(Edit { line: Some(line.index), change, reason });
    let (offerer, answerer) = (settled.legs.offerer.tls.is_some(), settled.legs.answerer.tls.is_some());
    let ours = settled.legs.offerer.setup;
    edit(Change::Address, "media goes through the gateway");
    // An answer without a=setup is a passive one (RFC 4145 §4).
    let seen = settled.said.setup;
    if seen.unwrap_or(Setup::Passive) != ours || (seen.is_none() && offerer) {
        let why = match settled.merged {
            true => "the gateway waits for both ends",
            false => "this is who connects on the offerer's side",
        };
        edit(Change::Setup(ours), why);
        settled.setup_sent = Some(ours);
    }
    const APPLIED: &str = "security of the offerer ends at its access edge";
    if offerer != answerer {
        edit(Change::Transport(application.proto(offerer)), if offerer { APPLIED } else { CLEAN });
    }
    if offerer {
        edit(Change::FingerprintPut, APPLIED);
    } else if answerer && (m.attribute("fingerprint").is_some() || m.attribute("tls-id").is_some()) {
        edit(Change::FingerprintRemoved, CLEAN);
    }
    if m.attribute("3ge2ae").is_some() {
        edit(Change::EdgeRemoved, "what it says is for the access it came from");
    }
    // What was done to the path of the offer is done to that of the answer.
    for change in line.edits.iter().map(|e| &e.change) {
        match change {
            Change::PathAddress => edit(Change::PathAddress, "the offerer connects to the gateway"),
            Change::PathOwn { .. } => {
                edit(Change::PathOwn { secure: offerer }, "the offerer connects to the gateway");
            }
            _ => {}
        }
    }
    if settled.legs.offerer.aware && settled.said.cema {
        edit(Change::CemaRemoved, "the gateway takes part in MSRP itself (RFC 6714 §5)");
    }
    settled.edits = made;
}
