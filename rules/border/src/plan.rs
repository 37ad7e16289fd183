//! The plan for an offer: what the border does with each media line, and why.
//!
//! TS 23.334 §6.2.10A and TS 29.162 §10 (pass TLS through), RFC 6714 §4 (CEMA), RFC 4145 §4.1
//! (who connects). A plan is a value: it can be printed, compared and shown to whoever asks why
//! a call went as it did. Making it has no effects.
//!
//! Left out: security that ends at the access edge, and gateways that rewrite MSRP. Lines that
//! need them are refused, never carried with less protection than was asked for.

use carnet_sdp::{Class, Document, E2ae, Media, Setup};
use std::fmt;

/// The transport named to the gateway for a stream whose TLS passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Transport {
    /// `TCP/TLS` without any TLS data.
    #[default]
    TcpTls,
    /// `TCP`, as TS 23.334 §6.2.10A has it.
    Tcp,
}

impl Transport {
    /// As written in `m=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TcpTls => "TCP/TLS",
            Self::Tcp => "TCP",
        }
    }
}

/// How MSRP endpoints of a network find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Addressing {
    /// As each description says: with `a=msrp-cema` by `c=` and port, else by `a=path`.
    #[default]
    Auto,
    /// By `c=` and port (RFC 6714).
    Cema,
    /// By `a=path`, compared by the session identifier only.
    Sessmatch,
    /// By `a=path`, compared whole (RFC 4975).
    Plain,
}

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Transport named to the gateway for end-to-end lines.
    pub transport: Transport,
    /// Carry MSRP whose sender does not follow RFC 6714 (networks that match sessions by their
    /// identifier only). Off by default: such endpoints connect past the gateway or refuse.
    pub forward_without_cema: bool,
    /// Relay MSRP and BFCP over plain TCP. Off refuses them.
    pub relay_plain: bool,
    /// Hand on lines that are neither MSRP nor BFCP untouched. Off refuses them.
    pub pass_other: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            forward_without_cema: false,
            relay_plain: true,
            pass_other: true,
        }
    }
}

/// What is known about the two ends besides the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// The offerer cannot be connected to.
    pub offerer_behind_nat: bool,
    /// The answerer cannot be connected to.
    pub answerer_behind_nat: bool,
}

/// The application whose octets the stream carries. The gateway is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Application {
    /// RFC 4975.
    Msrp,
    /// RFC 8855.
    Bfcp,
}

/// What happens with one media line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// TLS from end to end: the gateway relays octets and is given no TLS data.
    E2e {
        /// What is inside.
        application: Application,
        /// Transport named to the gateway.
        transport: Transport,
        /// `a=setup` as offered.
        offered: Option<Setup>,
        /// `a=setup` to be sent instead, if the ends could not meet otherwise.
        rewritten: Option<Setup>,
    },
    /// TCP in clear: the gateway relays octets.
    Plain {
        /// What is inside.
        application: Application,
        /// `a=setup` as offered.
        offered: Option<Setup>,
    },
    /// Not touched; media does not go through the gateway.
    Pass,
    /// Port 0: not in use.
    Unused,
    /// The offer cannot be carried.
    Refuse {
        /// SIP status.
        status: u16,
        /// Warning code (RFC 3261 §20.43).
        warning: u16,
    },
}

impl Decision {
    /// A stable name for logs: `e2e`, `plain`, `pass`, `unused`, `refuse`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::E2e { .. } => "e2e",
            Self::Plain { .. } => "plain",
            Self::Pass => "pass",
            Self::Unused => "unused",
            Self::Refuse { .. } => "refuse",
        }
    }

    /// The transport to name to the gateway, if the line goes through it.
    pub fn transport(&self) -> Option<Transport> {
        match self {
            Self::E2e { transport, .. } => Some(*transport),
            Self::Plain { .. } => Some(Transport::Tcp),
            _ => None,
        }
    }

    /// The `a=setup` the answerer sees.
    pub fn setup_sent(&self) -> Option<Setup> {
        match self {
            Self::E2e { offered, rewritten, .. } => rewritten.or(*offered),
            Self::Plain { offered, .. } => *offered,
            _ => None,
        }
    }
}

/// The decision for one media line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Position among the media lines, from 0.
    pub index: usize,
    /// Media type and transport as offered, for people.
    pub offered: String,
    /// What to do.
    pub decision: Decision,
    /// Why, in one sentence.
    pub reason: &'static str,
}

/// The decisions for all lines of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order of the media lines.
    pub lines: Vec<Line>,
}

impl Plan {
    /// The first line that cannot be carried; the offer is refused for it.
    pub fn refusal(&self) -> Option<&Line> {
        self.lines.iter().find(|l| matches!(l.decision, Decision::Refuse { .. }))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} ({}): {}", self.index, self.offered, self.decision.name())?;
        match &self.decision {
            Decision::E2e { transport, rewritten, .. } => {
                write!(f, " over {}", transport.as_str())?;
                if let Some(setup) = rewritten {
                    write!(f, ", a=setup:{setup}")?;
                }
            }
            Decision::Refuse { status, .. } => write!(f, " {status}")?,
            _ => {}
        }
        write!(f, ", {}", self.reason)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.lines.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}

/// TS 23.334 §6.2.10.3: the terminal wants its TLS to end at the access gateway.
pub(crate) const NO_E2AE: &str =
    "security that ends at the access edge is asked for, and this border has none";

/// Decides for each media line of an offer.
pub fn plan(offer: &Document, policy: &Policy, facts: Facts) -> Plan {
    let lines = offer.media().map(|m| {
        let (decision, reason) = decide(&m, policy, facts);
        Line { index: m.index(), offered: format!("{} {}", m.media(), m.proto()), decision, reason }
    });
    Plan { lines: lines.collect() }
}

fn decide(m: &Media<'_>, policy: &Policy, facts: Facts) -> (Decision, &'static str) {
    let application = match m.proto().rsplit('/').next() {
        Some(p) if p.eq_ignore_ascii_case("MSRP") => Some(Application::Msrp),
        Some(p) if p.eq_ignore_ascii_case("BFCP") => Some(Application::Bfcp),
        _ => None,
    };
    let tcp = m.proto().get(..4).is_some_and(|p| p.eq_ignore_ascii_case("TCP/"));
    match (m.class(), application) {
        (Class::Rejected, _) => (Decision::Unused, "the port is 0"),
        _ if m.e2ae() == Some(E2ae::Requested) => (Decision::Refuse { status: 488, warning: 304 }, NO_E2AE),
        _ if m.e2ae() == Some(E2ae::Other) => (
            Decision::Refuse { status: 488, warning: 306 },
            "a=3ge2ae has a value that this border does not know",
        ),
        (Class::E2eTls, Some(application)) => secured(m, application, policy, facts),
        (Class::Plain, Some(application)) if tcp => plain(m, application, policy),
        _ if policy.pass_other => (Decision::Pass, "media of this kind does not go through the gateway"),
        _ => (Decision::Refuse { status: 488, warning: 304 }, "media of this kind is not carried here"),
    }
}

fn secured(
    m: &Media<'_>,
    application: Application,
    policy: &Policy,
    facts: Facts,
) -> (Decision, &'static str) {
    if application == Application::Msrp && !m.msrp_cema() && !policy.forward_without_cema {
        // RFC 6714 §4: without it the ends compare a=path with the address of the gateway.
        return (
            Decision::Refuse { status: 488, warning: 399 },
            "end-to-end TLS through a gateway needs a=msrp-cema in the offer",
        );
    }
    let offered = m.setup();
    let e2e = |rewritten| Decision::E2e { application, transport: policy.transport, offered, rewritten };
    let active = matches!(offered, Some(Setup::Active) | None);
    // For MSRP the side that connects is the TLS client (RFC 6135 §6), so exactly one end may.
    match (application, facts.offerer_behind_nat, facts.answerer_behind_nat) {
        (Application::Msrp, offerer, true) if active || offerer => (
            Decision::Refuse { status: 488, warning: 399 },
            "neither end can be connected to, and two TLS clients cannot meet",
        ),
        (_, true, false) if offered == Some(Setup::ActPass) => {
            (e2e(Some(Setup::Active)), "TLS passes through; the offerer is behind a NAT and must connect")
        }
        _ => (e2e(None), "TLS is asked for from end to end and passes through"),
    }
}

fn plain(m: &Media<'_>, application: Application, policy: &Policy) -> (Decision, &'static str) {
    if !policy.relay_plain {
        return (Decision::Refuse { status: 488, warning: 399 }, "TCP media in clear is not carried here");
    }
    (Decision::Plain { application, offered: m.setup() }, "TCP in clear is relayed")
}

/// Which end opens the TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Opener {
    /// The one that made the offer.
    Offerer,
    /// The one that answered.
    Answerer,
    /// Nobody for now (`holdconn`).
    Nobody,
}

/// Who connects after offer and answer (RFC 4145 §4.1); `None` if both want the same role.
///
/// An offer without `a=setup` is an active one (RFC 4145 §4, RFC 4975 §5.4).
pub(crate) fn opener(offer: Option<Setup>, answer: Option<Setup>) -> Option<Opener> {
    match (offer, answer) {
        (Some(Setup::HoldConn), _) | (_, Some(Setup::HoldConn)) => Some(Opener::Nobody),
        (Some(Setup::Active), Some(Setup::Active)) | (Some(Setup::Passive), Some(Setup::Passive)) => None,
        (Some(Setup::Passive), _) => Some(Opener::Answerer),
        (None | Some(Setup::ActPass), Some(Setup::Active)) => Some(Opener::Answerer),
        _ => Some(Opener::Offerer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn planned(media: &str, policy: &Policy, facts: Facts) -> Line {
        let text =
            format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}");
        let offer = Document::parse(Bytes::from(text), &carnet_sdp::Limits::default()).unwrap();
        plan(&offer, policy, facts).lines.remove(0)
    }

    const MSRPS: &str = "m=message 2855 TCP/TLS/MSRP *\r\na=setup:actpass\r\na=msrp-cema\r\n";

    #[test]
    fn each_kind_of_line() {
        let default = Policy::default();
        let strict = Policy { relay_plain: false, pass_other: false, ..default };
        let open = Policy { forward_without_cema: true, ..default };
        let table: &[(&str, &Policy, &str, Option<u16>)] = &[
            (MSRPS, &default, "e2e", None),
            ("m=application 50000 TCP/TLS/BFCP *\r\na=setup:actpass\r\n", &default, "e2e", None),
            ("m=message 2855 TCP/TLS/MSRP *\r\na=setup:active\r\n", &default, "refuse", Some(488)),
            ("m=message 2855 TCP/TLS/MSRP *\r\na=setup:active\r\n", &open, "e2e", None),
            (
                "m=message 2855 TCP/TLS/MSRP *\r\na=msrp-cema\r\na=3ge2ae:requested\r\n",
                &open,
                "refuse",
                Some(488),
            ),
            ("m=message 2855 TCP/MSRP *\r\na=3ge2ae:Requested\r\n", &default, "refuse", Some(488)),
            ("m=message 2855 TCP/MSRP *\r\na=3ge2ae:later\r\n", &default, "refuse", Some(488)),
            ("m=audio 5 RTP/SAVP 0\r\na=3ge2ae:requested\r\n", &default, "refuse", Some(488)),
            ("m=message 2855 TCP/MSRP *\r\n", &default, "plain", None),
            ("m=message 2855 TCP/MSRP *\r\n", &strict, "refuse", Some(488)),
            ("m=application 5 TCP/BFCP *\r\n", &default, "plain", None),
            ("m=application 5 UDP/BFCP *\r\n", &default, "pass", None),
            ("m=audio 5 RTP/AVP 0\r\n", &default, "pass", None),
            ("m=audio 5 RTP/AVP 0\r\n", &strict, "refuse", Some(488)),
            ("m=message 0 TCP/TLS/MSRP *\r\n", &default, "unused", None),
        ];
        for (media, policy, name, refused) in table {
            let line = planned(media, policy, Facts::default());
            assert_eq!(line.decision.name(), *name, "{media}: {line}");
            let status =
                if let Decision::Refuse { status, .. } = line.decision { Some(status) } else { None };
            assert_eq!(status, *refused);
        }
    }

    #[test]
    fn exactly_one_end_connects() {
        let nat = |offerer, answerer| Facts { offerer_behind_nat: offerer, answerer_behind_nat: answerer };
        let line = planned(MSRPS, &Policy::default(), nat(true, false));
        assert!(matches!(line.decision, Decision::E2e { rewritten: Some(Setup::Active), .. }));
        assert_eq!(
            line.to_string(),
            "line 0 (message TCP/TLS/MSRP): e2e over TCP/TLS, a=setup:active, TLS passes through; \
             the offerer is behind a NAT and must connect"
        );
        let line = planned(MSRPS, &Policy::default(), nat(false, true));
        assert!(matches!(line.decision, Decision::E2e { rewritten: None, .. }));
        let line = planned(MSRPS, &Policy::default(), nat(true, true));
        assert!(matches!(line.decision, Decision::Refuse { status: 488, .. }));
        let active = MSRPS.replace("actpass", "active");
        let line = planned(&active, &Policy::default(), nat(false, true));
        assert!(matches!(line.decision, Decision::Refuse { status: 488, .. }));
    }

    /// RFC 4145 §4.1: the table of offers and answers.
    #[test]
    fn openers() {
        use Setup::*;
        let table = [
            (Some(ActPass), Some(Active), Some(Opener::Answerer)),
            (Some(ActPass), Some(Passive), Some(Opener::Offerer)),
            (Some(ActPass), None, Some(Opener::Offerer)),
            (Some(Active), Some(Passive), Some(Opener::Offerer)),
            (Some(Active), Some(Active), None),
            (Some(Passive), Some(Active), Some(Opener::Answerer)),
            (Some(Passive), Some(Passive), None),
            (Some(HoldConn), Some(HoldConn), Some(Opener::Nobody)),
            (Some(ActPass), Some(HoldConn), Some(Opener::Nobody)),
            (None, None, Some(Opener::Offerer)),
            (None, Some(Active), Some(Opener::Answerer)),
        ];
        for (offer, answer, expected) in table {
            assert_eq!(opener(offer, answer), expected, "{offer:?} {answer:?}");
        }
    }
}
