//! TLS of the terminal ends at the gateway (TS 23.334 §6.2.10.3): originating and terminating, MSRP and
//! BFCP, each end of TCP and of TLS; what passes in the core is in clear, and what passes at the access is
//! not.

use super::call::{BACK, BOTH, THERE, assert_clean, assert_secured, clear, open, secured, talk};
use super::stage::{Sdp, Stage, holds, payloads};

/// One call: who offers, what is carried, the roles in TCP that the two ends put into their descriptions.
struct Call {
    terminal_offers: bool,
    msrp: bool,
    offered: &'static str,
    answered: &'static str,
}

impl Call {
    /// Sets it up; the octets pass both ways; what is on the wires is looked at.
    fn pass(&self) {
        let Some(mut stage) = Stage::new() else { return };
        let stage = &mut stage;
        let offered = stage.register("alice", &BOTH);
        for name in ["msrp-tls", "bfcp-tls"] {
            assert!(offered.iter().any(|one| one.contains(name) && one.contains("mediasec")), "{offered:?}");
        }
        let fingerprint = stage.certificate("alice", "SHA-256");
        let (access, core) = (stage.capture("agw", "access"), stage.capture("agw", "core"));
        // The roles of TCP in the end: `actpass` takes the other one of what is answered.
        let (terminal_sdp, server_sdp, shown);
        if self.terminal_offers {
            let sdp = secured("alice", self.msrp, self.offered, Some(&fingerprint), true);
            server_sdp = stage.offer("alice", "server", &sdp);
            assert_clean(&server_sdp, self.msrp);
            if self.answered == "passive" {
                open(stage, "server", None, None);
            }
            terminal_sdp = stage.answer("server", "alice", &clear("server", self.msrp, self.answered));
            shown = assert_secured(&terminal_sdp, self.msrp);
            terminal_sdp.expect(&[], &["3ge2ae"]);
        } else {
            terminal_sdp = stage.offer("server", "alice", &clear("server", self.msrp, self.offered));
            shown = assert_secured(&terminal_sdp, self.msrp);
            terminal_sdp.expect(&["a=3ge2ae:applied"], &["requested"]);
            if self.answered == "passive" {
                open(stage, "alice", Some("alice"), None);
            }
            let sdp = secured("alice", self.msrp, self.answered, Some(&fingerprint), false);
            server_sdp = stage.answer("alice", "server", &sdp);
            assert_clean(&server_sdp, self.msrp);
        }
        // Who answered has said it; the other one takes the other role of what it got.
        let mirror = |sdp: &Sdp| match sdp.value("a=setup:") {
            Some("active") => "passive",
            Some("passive") => "active",
            other => panic!("{other:?} in an answer"),
        };
        let (terminal, server) = match self.terminal_offers {
            true => (mirror(&terminal_sdp), self.answered),
            false => (self.answered, mirror(&server_sdp)),
        };
        // Who answered has opened already if it waits.
        if terminal == "passive" && self.terminal_offers {
            open(stage, "alice", Some("alice"), None);
        }
        if server == "passive" && !self.terminal_offers {
            open(stage, "server", None, None);
        }
        if terminal == "active" {
            open(stage, "alice", Some("alice"), Some(&terminal_sdp.socket()));
        }
        if server == "active" {
            open(stage, "server", None, Some(&server_sdp.socket()));
        }
        talk(stage, "alice", "server");
        // RFC 8122 §5: the certificate shown is the one described.
        let certificate = stage.lab.output("alice", "out");
        assert!(certificate.contains(&shown), "no certificate {shown} in {certificate}");
        stage.hang_up("server");
        stage.lab.end_captures();
        let (access, core) = (payloads(&access), payloads(&core));
        assert!(!access.is_empty() && !core.is_empty());
        for text in [THERE, BACK] {
            assert!(holds(&core, text), "the core has it in clear");
            assert!(!holds(&access, text), "nobody at the access reads it");
        }
    }
}

#[test]
fn a_terminal_offers_msrp_and_connects() {
    Call { terminal_offers: true, msrp: true, offered: "active", answered: "passive" }.pass();
}

#[test]
fn a_terminal_offers_msrp_and_either_may_connect() {
    Call { terminal_offers: true, msrp: true, offered: "actpass", answered: "active" }.pass();
}

#[test]
fn a_terminal_offers_msrp_and_the_core_waits() {
    Call { terminal_offers: true, msrp: true, offered: "actpass", answered: "passive" }.pass();
}

#[test]
fn a_terminal_is_called_for_msrp_and_connects() {
    Call { terminal_offers: false, msrp: true, offered: "actpass", answered: "active" }.pass();
}

#[test]
fn a_terminal_is_called_for_msrp_and_waits() {
    Call { terminal_offers: false, msrp: true, offered: "actpass", answered: "passive" }.pass();
}

#[test]
fn a_terminal_is_called_for_msrp_by_one_who_connects() {
    Call { terminal_offers: false, msrp: true, offered: "active", answered: "passive" }.pass();
}

/// RFC 8856 §8: the one who answers is the TLS server, whatever TCP does.
#[test]
fn a_terminal_is_called_for_bfcp_and_waits_for_tls() {
    let call = Call { terminal_offers: false, msrp: false, offered: "active", answered: "passive" };
    call.pass();
}

#[test]
fn a_terminal_offers_bfcp_and_begins_tls() {
    let call = Call { terminal_offers: true, msrp: false, offered: "active", answered: "passive" };
    call.pass();
}
