//! What a border's file says of the access edge: security to the gateway, MSRP as a network's terminals
//! speak it, caps, media that is not ours.

use super::Complaint;
use super::address::Endpoint;
use super::check::Checked;
use super::model::{BorderRole, BorderSection};
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the terminals of a network find each other for MSRP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// As each offer and answer says: `a=msrp-cema` or not.
    #[default]
    Auto,
    /// All of them follow RFC 6714, also those that do not say so.
    Cema,
    /// They match sessions by the identifier alone; whose address is in the path does not matter.
    Sessmatch,
    /// None of them does anything but RFC 4975, whatever they say.
    Plain,
}

/// What happens with media that is neither MSRP nor BFCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Other {
    /// Its lines go on as they came; it does not pass a gateway.
    #[default]
    Pass,
    /// Its lines are refused.
    Refuse,
    /// An rtpengine carries it.
    Rtpengine,
}

/// `[border.NAME.rtpengine]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RtpengineSection {
    /// Where its control protocol is spoken, by UDP.
    pub address: Endpoint,
    /// Milliseconds before an unanswered request is sent again.
    #[serde(default = "quarter_second")]
    pub timeout: Spanned<u32>,
    /// How often a request is sent before the offer or answer is refused.
    #[serde(default = "five")]
    pub attempts: Spanned<u32>,
}

fn quarter_second() -> Spanned<u32> {
    Spanned::new(0..0, 250)
}

fn five() -> Spanned<u32> {
    Spanned::new(0..0, 5)
}

/// What a border could not do though its file says so.
pub(super) fn check(section: &Spanned<BorderSection>) -> Checked {
    let border = section.as_ref();
    for network in border.network.values().map(Spanned::as_ref) {
        match &network.e2ae {
            Some(e2ae) if *e2ae.as_ref() && border.role == BorderRole::Ibcf => {
                return Err(Complaint::new(e2ae.span(), "an IBCF has no accesses to secure")
                    .help("end-to-access-edge security is between a terminal and the IMS-ALG's gateway"));
            }
            Some(e2ae) if *e2ae.as_ref() && !network.subscribers => {
                return Err(Complaint::new(e2ae.span(), "`e2ae` needs `subscribers = true`")
                    .help("terminals say at registration whether they want it"));
            }
            Some(e2ae) if *e2ae.as_ref() && !border.policy.e2ae => {
                return Err(Complaint::new(e2ae.span(), "the policy of this border says `e2ae = false`"));
            }
            _ => {}
        }
        let caps = [&network.max_sessions, &network.max_per_user, &network.max_per_source];
        if let Some(cap) = caps.into_iter().flatten().find(|cap| *cap.as_ref() == 0) {
            return Err(Complaint::new(cap.span(), "no session would be taken")
                .help("leave the setting out for no cap"));
        }
        if let Some(bandwidth) = network.bandwidth.as_ref()
            && network.rate.is_some_and(|rate| rate > *bandwidth.as_ref())
        {
            return Err(Complaint::new(bandwidth.span(), "not even one stream has room in it")
                .help("a stream that does not say what it needs is counted with `rate`"));
        }
    }
    match (&border.rtpengine, border.policy.other) {
        (None, Other::Rtpengine) => Err(Complaint::new(
            section.span(),
            "the policy says `other = \"rtpengine\"`, and no rtpengine is named",
        )
        .help("add [border.NAME.rtpengine] with `address`")),
        (Some(rtpengine), Other::Pass | Other::Refuse) => {
            Err(Complaint::new(rtpengine.span(), "nothing would go to the rtpengine")
                .help("set `other = \"rtpengine\"` in the policy"))
        }
        (Some(rtpengine), Other::Rtpengine) => {
            let settings = rtpengine.as_ref();
            if !(10..=10_000).contains(settings.timeout.as_ref()) {
                return Err(Complaint::new(settings.timeout.span(), "`timeout` is 10 to 10000"));
            }
            if !(1..=20).contains(settings.attempts.as_ref()) {
                return Err(Complaint::new(settings.attempts.span(), "`attempts` is 1 to 20"));
            }
            Ok(())
        }
        (None, _) => Ok(()),
    }
}
