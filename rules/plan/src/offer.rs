//! What happens with each line of an offer.

use super::addressing::{Paths, paths};
use super::direction::{opening, sent_free, sent_sealed, tls_role};
use super::{
    Application, Change, Decision, Edit, Facts, Leg, Legs, Line, Other, Plan, Policy, Refusal, Said, Tls,
    Transport,
};
use carnet_sdp::{Document, E2ae, Media, Setup};

/// TS 23.334 §6.2.10.3: the terminal wants its TLS to end at the access gateway.
const NO_E2AE: &str = "security that ends at the access edge is asked for, and this border has none";
const TWO_CLIENTS: &str = "neither end can be connected to, and two TLS clients cannot meet";
const CLEAN: &str = "security ends at the offerer's access edge; beyond it nothing tells of it";
const NO_AWARE: &str = "the two ends need MSRP paths rewritten, and that is not done here";

const fn no(warning: u16, reason: &'static str) -> Refusal {
    Refusal::new(488, warning, reason)
}

/// Decides for each media line of an offer.
pub fn plan(offer: &Document, policy: &Policy, facts: &Facts) -> Plan {
    let mut plan = Plan::default();
    for m in offer.media() {
        plan.lines.push(line(&m, policy, facts));
    }
    plan.edits = session_edits(offer, &plan, facts);
    plan
}

fn line(m: &Media<'_>, policy: &Policy, facts: &Facts) -> Line {
    let mut line = Line {
        index: m.index(),
        offered: format!("{} {}", m.media(), m.proto()),
        application: None,
        decision: Decision::Unused,
        reason: "the port is 0",
        legs: None,
        said: Said::of(m),
        setup_sent: None,
        edits: Vec::new(),
    };
    if line.said.rejected {
        line.unused(m, facts);
        return line;
    }
    if let Err(refusal) = decide(&mut line, m, policy, facts) {
        line.decision = Decision::Refuse(refusal);
        line.reason = refusal.reason;
        line.legs = None;
        line.edits.clear();
    }
    line
}

/// The application, if the transport is TCP with or without TLS.
fn application(proto: &str) -> Option<(Application, bool)> {
    [Application::Msrp, Application::Bfcp]
        .into_iter()
        .flat_map(|a| [(a, true), (a, false)])
        .find(|(a, tls)| proto.eq_ignore_ascii_case(a.proto(*tls)))
}

/// Whether a media line is MSRP or BFCP over TCP, in use or not.
pub fn is_tcp(m: &Media<'_>) -> bool {
    application(m.proto()).is_some()
}

/// Whether a description has a line in use that a gateway of ours could carry.
pub fn concerns(document: &Document) -> bool {
    document.media().any(|m| is_tcp(&m) && !m.is_rejected())
}

fn decide(line: &mut Line, m: &Media<'_>, policy: &Policy, facts: &Facts) -> Result<(), Refusal> {
    let tcp = application(m.proto());
    let requested = match m.e2ae() {
        Some(E2ae::Other) => return Err(no(306, "a=3ge2ae has a value that this border does not know")),
        Some(E2ae::Requested) => true,
        Some(E2ae::Applied) | None => false,
    };
    let Some((application, tls)) = tcp else {
        if requested {
            return Err(no(304, "a=3ge2ae:requested is only for MSRP and BFCP over TLS"));
        }
        return other(line, m, policy);
    };
    line.application = Some(application);
    if requested && !tls {
        return Err(no(304, "a=3ge2ae:requested stands on a line without TLS"));
    }
    // A terminal whose TLS ends here need not ask again in later offers of the dialog.
    let stays = tls && m.key_mgmt().is_empty() && facts.offerer.kept(m.index()).is_some();
    if !requested && !stays && tls {
        return sealed(line, m, policy, facts, application);
    }
    let offerer = requested || stays;
    if offerer && (!facts.offerer.access || !facts.offerer.e2ae || !facts.gateway.tls) {
        return Err(no(304, NO_E2AE));
    }
    clear(line, m, policy, facts, application, offerer)
}

fn other(line: &mut Line, m: &Media<'_>, policy: &Policy) -> Result<(), Refusal> {
    let rtp = m.proto().split('/').any(|part| part.eq_ignore_ascii_case("RTP"));
    (line.decision, line.reason) = match policy.other {
        Other::Rtpengine if rtp => (Decision::Rtpengine, "RTP goes through an rtpengine"),
        Other::Pass | Other::Rtpengine => {
            (Decision::Pass, "media of this kind does not go through the gateway")
        }
        Other::Refuse => return Err(no(304, "media of this kind is not carried here")),
    };
    if line.decision == Decision::Rtpengine {
        line.edit(Change::Rtpengine, line.reason);
    }
    if m.e2ae() == Some(E2ae::Applied) && m.attribute("3ge2ae").is_some() {
        line.edit(Change::EdgeRemoved, "only this border may say that it is applied here");
    }
    Ok(())
}

/// `TCP/TLS/x` from end to end (TS 23.334 §6.2.10A).
fn sealed(
    line: &mut Line,
    m: &Media<'_>,
    policy: &Policy,
    facts: &Facts,
    application: Application,
) -> Result<(), Refusal> {
    let mut readdressed = None;
    if application == Application::Msrp {
        match paths(&line.said, facts.offerer.addressing, facts.answerer.addressing, policy) {
            (Paths::Kept, _) => {}
            (Paths::Readdressed, why) => readdressed = Some(why),
            // RFC 6714 §4: the ends would compare a=path with the address of the gateway, and it cannot
            // change what is inside.
            (Paths::Rewritten, _) if !line.said.cema => {
                return Err(no(399, "end-to-end TLS through a gateway needs a=msrp-cema in the offer"));
            }
            (Paths::Rewritten, _) => {
                return Err(no(
                    399,
                    "the answerer's network needs MSRP paths rewritten, and end-to-end TLS excludes that",
                ));
            }
        }
    }
    line.setup_sent = match application {
        Application::Msrp => {
            sent_sealed(&line.said, &facts.offerer, &facts.answerer).map_err(|_| no(399, TWO_CLIENTS))?
        }
        Application::Bfcp => sent_free(application, line.said.setup, facts.answerer.behind_nat, false),
    };
    line.decision = Decision::EndToEnd;
    let moved = line.setup_sent != line.said.setup;
    line.reason = match (application, moved) {
        (Application::Msrp, true) if line.setup_sent == Some(Setup::Active) => {
            "TLS passes through; the offerer is behind a NAT and must connect"
        }
        (Application::Msrp, true) => {
            "TLS passes through; both ends connect, and the key exchange gives the roles"
        }
        _ => "TLS is asked for from end to end and passes through",
    };
    let shape =
        Shape { transports: [policy.transport; 2], protos: [m.proto(); 2], edge: [false; 2], aware: false };
    line.legs = Some(legs(line, facts, application, shape));
    line.anchor(facts);
    if let Some(why) = readdressed {
        line.edit(Change::PathAddress, why);
    }
    if m.attribute("3ge2ae").is_some() {
        line.edit(Change::EdgeRemoved, "only this border may say that it is applied here");
    }
    Ok(())
}

/// Fingerprints that bind a certificate.
fn usable(said: &Said) -> Vec<String> {
    let binding = |f: &&String| carnet_sdp::Fingerprint::parse(f).is_some_and(|f| f.is_binding());
    said.fingerprints.iter().filter(binding).cloned().collect()
}

/// The fingerprints that a peer is held to, or why there are none.
pub(super) fn fingerprints(said: &Said) -> Result<Vec<String>, Refusal> {
    let usable = usable(said);
    match (usable.is_empty(), said.fingerprints.is_empty()) {
        (false, _) => Ok(usable),
        (true, true) => Err(no(399, "TLS is to end here, and there is no a=fingerprint")),
        (true, false) => {
            Err(no(399, "TLS is to end here, and no a=fingerprint has a hash that can be trusted"))
        }
    }
}

/// Whether there is a path that a gateway can rewrite.
pub(super) fn rewritable(said: &Said, [none, odd]: [&'static str; 2]) -> Result<(), Refusal> {
    let path = said.path.as_deref().ok_or_else(|| no(399, none))?;
    super::edit::uris(path).map(|_| ()).ok_or_else(|| no(399, odd))
}

/// TCP in clear between the two accesses; TLS may end on either.
fn clear(
    line: &mut Line,
    m: &Media<'_>,
    policy: &Policy,
    facts: &Facts,
    application: Application,
    offerer: bool,
) -> Result<(), Refusal> {
    if !policy.relay_plain && !offerer {
        return Err(no(399, "TCP media in clear is not carried here"));
    }
    let registered = match application {
        Application::Msrp => facts.answerer.registered.msrp,
        Application::Bfcp => facts.answerer.registered.bfcp,
    };
    let kept = facts.answerer.kept(m.index()).is_some();
    let answerer = facts.answerer.access && facts.answerer.e2ae && registered || kept;
    if answerer && !facts.gateway.tls {
        return Err(no(304, NO_E2AE));
    }
    let prints = if offerer { fingerprints(&line.said)? } else { Vec::new() };
    let (paths, why) = match application {
        Application::Bfcp => (Paths::Kept, ""),
        Application::Msrp => paths(&line.said, facts.offerer.addressing, facts.answerer.addressing, policy),
    };
    let aware = paths == Paths::Rewritten;
    if aware && !(policy.aware && facts.gateway.aware) {
        return Err(no(399, NO_AWARE));
    }
    if aware {
        rewritable(&line.said, ["the offer has no a=path", "the offer's a=path is not one of MSRP"])?;
    }
    line.setup_sent = sent_free(application, line.said.setup, facts.answerer.behind_nat, answerer);
    let edge = [offerer, answerer];
    (line.decision, line.reason) = match (edge, aware) {
        ([false, false], false) => (Decision::Plain, "TCP in clear is relayed"),
        ([false, false], true) => (Decision::Aware, why),
        ([true, false], _) => {
            (Decision::Edge { offerer, answerer }, "the offerer asks for security up to the access edge")
        }
        ([false, true], _) => (
            Decision::Edge { offerer, answerer },
            "the answerer registered for security up to the access edge",
        ),
        ([true, true], _) => {
            (Decision::Edge { offerer, answerer }, "security ends at the access edge on both sides")
        }
    };
    let transport = |tls: bool| match (application, tls, aware) {
        (Application::Msrp, true, true) => Transport::TcpTlsMsrp,
        (Application::Msrp, false, true) => Transport::TcpMsrp,
        (Application::Msrp, true, false) => Transport::TcpTls,
        (Application::Bfcp, true, _) => Transport::TcpTlsBfcp,
        (Application::Bfcp, false, _) if offerer || answerer => Transport::TcpBfcp,
        (_, false, _) => Transport::Tcp,
    };
    let proto = if answerer == offerer { m.proto() } else { application.proto(answerer) };
    let shape = Shape { transports: edge.map(transport), protos: [m.proto(), proto], edge, aware };
    let mut both = legs(line, facts, application, shape);
    if let Some(tls) = &mut both.offerer.tls {
        tls.fingerprints = prints;
    }
    line.legs = Some(both);
    line.anchor(facts);
    clear_edits(line, m, application, edge, paths, why);
    Ok(())
}

fn clear_edits(
    line: &mut Line,
    m: &Media<'_>,
    application: Application,
    [offerer, answerer]: [bool; 2],
    paths: Paths,
    why: &'static str,
) {
    const APPLIED: &str = "security of the answerer ends at its access edge";
    if offerer != answerer {
        let why = if answerer { APPLIED } else { CLEAN };
        line.edit(Change::Transport(application.proto(answerer)), why);
    }
    if answerer {
        line.edit(Change::FingerprintPut, APPLIED);
        line.edit(Change::EdgeApplied, APPLIED);
    } else {
        if offerer && (m.attribute("fingerprint").is_some() || m.attribute("tls-id").is_some()) {
            line.edit(Change::FingerprintRemoved, CLEAN);
        }
        if m.attribute("3ge2ae").is_some() {
            line.edit(Change::EdgeRemoved, CLEAN);
        }
    }
    match paths {
        Paths::Kept => {}
        Paths::Readdressed if !offerer && !answerer => line.edit(Change::PathAddress, why),
        // The scheme follows TLS, which may differ between the sides.
        Paths::Readdressed => line.edit(Change::PathOwn { secure: answerer }, why),
        Paths::Rewritten => {
            line.edit(Change::PathOwn { secure: answerer }, why);
            if line.said.cema {
                line.edit(Change::CemaRemoved, "the gateway takes part in MSRP itself (RFC 6714 §5)");
            }
        }
    }
}

/// How the two sides of a line differ: offerer's, answerer's.
struct Shape<'a> {
    transports: [Transport; 2],
    protos: [&'a str; 2],
    edge: [bool; 2],
    aware: bool,
}

fn legs(line: &Line, facts: &Facts, application: Application, shape: Shape<'_>) -> Legs {
    let Shape { transports, protos, edge, aware } = shape;
    let leg = |proto: &str, transport, edge: bool, setup, towards_offerer, path| Leg {
        proto: proto.to_owned(),
        transport,
        tls: edge
            .then(|| Tls { role: tls_role(application, setup, towards_offerer), fingerprints: Vec::new() }),
        setup,
        aware,
        path,
    };
    let ours = opening(line.said.setup, line.setup_sent, facts.offerer.behind_nat);
    let path = line.said.path.clone().filter(|_| aware);
    Legs {
        offerer: leg(protos[0], transports[0], edge[0], ours, true, path),
        answerer: leg(
            protos[1],
            transports[1],
            edge[1],
            line.setup_sent.unwrap_or(Setup::Active),
            false,
            None,
        ),
    }
}

impl Line {
    pub(super) fn edit(&mut self, change: Change, reason: &'static str) {
        self.edits.push(Edit { line: Some(self.index), change, reason });
    }

    /// A line that is taken out: of one whose TLS ended here nothing shows beyond.
    fn unused(&mut self, m: &Media<'_>, facts: &Facts) {
        let tcp = application(m.proto()).filter(|(_, tls)| *tls);
        if let Some((application, _)) = tcp.filter(|_| facts.offerer.kept(self.index).is_some()) {
            self.edit(Change::Transport(application.proto(false)), CLEAN);
            if m.attribute("fingerprint").is_some() || m.attribute("tls-id").is_some() {
                self.edit(Change::FingerprintRemoved, CLEAN);
            }
        }
        if m.attribute("3ge2ae").is_some() {
            self.edit(Change::EdgeRemoved, CLEAN);
        }
    }

    /// The changes of every line that goes through a gateway.
    fn anchor(&mut self, facts: &Facts) {
        self.edit(Change::Address, "media goes through the gateway");
        if let Some(setup) = self.setup_sent.filter(|sent| Some(*sent) != self.said.setup) {
            let edge = self.legs.as_ref().is_some_and(|l| l.answerer.tls.is_some());
            let why = match (setup, facts.answerer.behind_nat) {
                (Setup::Active, _) => "the offerer is behind a NAT and must connect",
                (_, true) => "the answerer is behind a NAT and must connect",
                _ if edge => "the gateway connects or waits, as the answerer likes",
                _ => "the gateway can wait for both ends",
            };
            self.edit(Change::Setup(setup), why);
        }
    }
}

/// Changes of the session section.
fn session_edits(offer: &Document, plan: &Plan, facts: &Facts) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut edit = |change, reason| edits.push(Edit { line: None, change, reason });
    if facts.answerer.hide_origin {
        edit(Change::Origin, "this network is not shown the addresses of others");
    }
    let ends = |index: usize| {
        let legs = plan.lines.get(index).and_then(|l| l.legs.as_ref());
        legs.is_some_and(|l| l.offerer.tls.is_some())
    };
    if super::settle::fingerprint_is_ours(offer, ends) {
        edit(Change::FingerprintRemoved, CLEAN);
    }
    if offer.attribute("3ge2ae").is_some() {
        edit(Change::EdgeRemoved, "what it asks for is done, or it is not this border's word");
    }
    edits
}
