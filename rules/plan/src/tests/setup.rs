//! Gateway control §2.3.2, §2.3.3 and §2.3.4: who connects, and the two TLS clients that must not meet.

use super::*;
use Setup::{ActPass, Active, HoldConn, Passive};

fn line(proto: &str, setup: Option<Setup>, extra: &str) -> String {
    let setup = setup.map(|s| format!("a=setup:{s}\r\n")).unwrap_or_default();
    format!("m=message 2855 {proto} *\r\na=msrp-cema\r\na=path:msrp://192.0.2.1:2855/s;tcp\r\n{setup}{extra}")
}

fn nat(offerer: bool, answerer: bool) -> Facts {
    let mut facts = terminals();
    facts.offerer.behind_nat = offerer;
    facts.answerer.behind_nat = answerer;
    facts
}

fn setup_in(text: &str) -> Option<Setup> {
    text.lines().find_map(|l| l.strip_prefix("a=setup:")).map(|s| s.parse().unwrap())
}

/// One row: offer, NAT of both, what the answerer sees, its answer, what the offerer sees, and the
/// gateway's roles towards offerer and answerer (`None`: refused).
type Row = (Option<Setup>, (bool, bool), Option<Setup>, Option<Setup>, Option<(Option<Setup>, Setup, Setup)>);

fn check(proto: &str, extra: &str, rows: &[Row]) {
    for row @ (offered, (a, b), seen, answered, outcome) in rows {
        let facts = nat(*a, *b);
        let (_, to_b, settled) =
            exchange(&line(proto, *offered, extra), &line(proto, *answered, extra), &facts);
        assert_eq!(setup_in(&to_b), *seen, "{proto} {row:?}");
        let got = settled.ok().map(|(s, back)| {
            assert_eq!(s.merged, s.legs.offerer.setup == Passive && s.legs.answerer.setup == Passive);
            assert_eq!(s.open, s.legs.offerer.setup != HoldConn);
            (setup_in(&back), s.legs.offerer.setup, s.legs.answerer.setup)
        });
        assert_eq!(got, *outcome, "{proto} {row:?}");
    }
}

/// The whole of §2.3.3 for MSRP in clear.
#[test]
fn plain_msrp() {
    let no = (false, false);
    check(
        "TCP/MSRP",
        "",
        &[
            (Some(Active), no, Some(Active), Some(Passive), Some((Some(Passive), Passive, Active))),
            (Some(Active), no, Some(Active), None, Some((None, Passive, Active))),
            (Some(Active), no, Some(Active), Some(Active), None),
            // Row 2: merge.
            (
                Some(Active),
                (false, true),
                Some(ActPass),
                Some(Active),
                Some((Some(Passive), Passive, Passive)),
            ),
            (
                Some(Active),
                (true, true),
                Some(ActPass),
                Some(Active),
                Some((Some(Passive), Passive, Passive)),
            ),
            (
                Some(Active),
                (true, true),
                Some(ActPass),
                Some(Passive),
                Some((Some(Passive), Passive, Active)),
            ),
            // Row 3.
            (Some(Passive), no, Some(Passive), Some(Active), Some((Some(Active), Active, Passive))),
            (Some(Passive), no, Some(Passive), None, Some((Some(Active), Active, Passive))),
            (Some(Passive), no, Some(Passive), Some(Passive), None),
            (
                Some(Passive),
                (false, true),
                Some(Passive),
                Some(Active),
                Some((Some(Active), Active, Passive)),
            ),
            // Row 4: the mirror.
            (Some(ActPass), no, Some(ActPass), Some(Active), Some((Some(Active), Active, Passive))),
            (Some(ActPass), no, Some(ActPass), Some(Passive), Some((Some(Passive), Passive, Active))),
            (
                Some(ActPass),
                (false, true),
                Some(ActPass),
                Some(Active),
                Some((Some(Active), Active, Passive)),
            ),
            // Row 5: the offerer is behind a NAT.
            (
                Some(ActPass),
                (true, false),
                Some(ActPass),
                Some(Active),
                Some((Some(Passive), Passive, Passive)),
            ),
            (
                Some(ActPass),
                (true, false),
                Some(ActPass),
                Some(Passive),
                Some((Some(Passive), Passive, Active)),
            ),
            (
                Some(ActPass),
                (true, true),
                Some(ActPass),
                Some(Active),
                Some((Some(Passive), Passive, Passive)),
            ),
            // Row 6.
            (Some(HoldConn), no, Some(HoldConn), Some(HoldConn), Some((Some(HoldConn), HoldConn, HoldConn))),
            (Some(HoldConn), (true, true), Some(HoldConn), None, Some((Some(HoldConn), HoldConn, HoldConn))),
            (Some(ActPass), no, Some(ActPass), Some(HoldConn), Some((Some(HoldConn), HoldConn, HoldConn))),
            // Row 7: RFC 4975, the offerer connects.
            (None, no, None, None, Some((None, Passive, Active))),
            (None, (true, true), None, None, Some((None, Passive, Active))),
            (None, no, None, Some(Active), Some((Some(Passive), Passive, Passive))),
        ],
    );
}

/// The same for BFCP: there the answerer behind a NAT is offered `passive`.
#[test]
fn bfcp_sealed_or_plain() {
    for proto in ["TCP/BFCP", "TCP/TLS/BFCP"] {
        check(
            proto,
            "",
            &[
                (
                    Some(Active),
                    (false, false),
                    Some(Active),
                    Some(Passive),
                    Some((Some(Passive), Passive, Active)),
                ),
                (
                    Some(Active),
                    (true, true),
                    Some(Passive),
                    Some(Active),
                    Some((Some(Passive), Passive, Passive)),
                ),
                (Some(Active), (false, true), Some(Passive), Some(Passive), None),
                (
                    Some(ActPass),
                    (true, true),
                    Some(ActPass),
                    Some(Active),
                    Some((Some(Passive), Passive, Passive)),
                ),
                (
                    Some(ActPass),
                    (false, false),
                    Some(ActPass),
                    Some(Active),
                    Some((Some(Active), Active, Passive)),
                ),
            ],
        );
    }
}

/// §2.3.4 rule 1: exactly one end is active, and it is the one behind the NAT.
#[test]
fn sealed_msrp_has_one_active_end() {
    for extra in ["", "a=x-carnet-tlsrole:mikey\r\n"] {
        check(
            "TCP/TLS/MSRP",
            extra,
            &[
                (
                    Some(ActPass),
                    (true, false),
                    Some(Active),
                    Some(Passive),
                    Some((Some(Passive), Passive, Active)),
                ),
                (Some(ActPass), (true, false), Some(Active), Some(Active), None),
                (
                    Some(ActPass),
                    (false, true),
                    Some(ActPass),
                    Some(Active),
                    Some((Some(Active), Active, Passive)),
                ),
                (
                    Some(ActPass),
                    (false, false),
                    Some(ActPass),
                    Some(Active),
                    Some((Some(Active), Active, Passive)),
                ),
                (
                    Some(ActPass),
                    (false, false),
                    Some(ActPass),
                    Some(Passive),
                    Some((Some(Passive), Passive, Active)),
                ),
                (
                    Some(Active),
                    (true, false),
                    Some(Active),
                    Some(Passive),
                    Some((Some(Passive), Passive, Active)),
                ),
                (
                    Some(Passive),
                    (false, true),
                    Some(Passive),
                    Some(Active),
                    Some((Some(Active), Active, Passive)),
                ),
                (
                    Some(HoldConn),
                    (true, true),
                    Some(HoldConn),
                    Some(HoldConn),
                    Some((Some(HoldConn), HoldConn, HoldConn)),
                ),
                (None, (false, false), None, None, Some((None, Passive, Active))),
            ],
        );
    }
}

/// RFC 4145 §4: an offer without the attribute is an active one, and an active answer to it is none.
#[test]
fn no_setup_is_active() {
    check("TCP/TLS/MSRP", "", &[(None, (false, false), None, Some(Active), None)]);
}

/// §2.3.4 rules 2 and 3: both behind a NAT.
#[test]
fn both_behind_nat_takes_both_ends_to_say_so() {
    const ROLE: &str = "a=x-carnet-tlsrole:mikey\r\n";
    for offered in [Some(ActPass), Some(Active), None] {
        let plain = line("TCP/TLS/MSRP", offered, "");
        let refused = planned(&plain, &Policy::default(), &nat(true, true));
        assert_eq!(status(&refused), Some(488), "{refused}");
        assert_eq!(refused.reason, "neither end can be connected to, and two TLS clients cannot meet");
        // Another value is not that word.
        let other = line("TCP/TLS/MSRP", offered, "a=x-carnet-tlsrole:other\r\n");
        assert_eq!(status(&planned(&other, &Policy::default(), &nat(true, true))), Some(488));

        let offer = line("TCP/TLS/MSRP", offered, ROLE);
        let answer = |extra| line("TCP/TLS/MSRP", Some(Active), extra);
        let (planned, seen, settled) = exchange(&offer, &answer(ROLE), &nat(true, true));
        assert_eq!(planned.decision, Decision::EndToEnd);
        assert_eq!(setup_in(&seen), Some(ActPass));
        // The border never takes the attribute away.
        assert!(seen.contains(ROLE));
        let (settled, back) = settled.unwrap();
        assert!(settled.merged);
        assert_eq!(setup_in(&back), Some(Passive));
        assert!(back.contains(ROLE));
        // Nor puts it in.
        let (_, _, settled) = exchange(&offer, &answer(""), &nat(true, true));
        let refusal = settled.unwrap_err();
        assert_eq!((refusal.status, refusal.warning), (488, 399));
        // An answerer that can wait after all is connected to: there is one client then.
        let (_, _, settled) = exchange(&offer, &line("TCP/TLS/MSRP", Some(Passive), ""), &nat(true, true));
        let (settled, back) = settled.unwrap();
        assert!(!settled.merged);
        assert_eq!((settled.legs.offerer.setup, settled.legs.answerer.setup), (Passive, Active));
        assert_eq!(setup_in(&back), Some(Passive));
    }
    // An offerer that insists on connecting, though nobody knows of a NAT before it.
    let offer = line("TCP/TLS/MSRP", Some(Active), ROLE);
    let (_, _, settled) = exchange(&offer, &line("TCP/TLS/MSRP", Some(Active), ROLE), &nat(false, true));
    assert!(settled.unwrap().0.merged);
}

/// TS 29.162 §10, gateway control §2.8: between networks nothing is merged.
#[test]
fn networks_are_not_merged() {
    let mut facts = terminals();
    (facts.offerer.access, facts.answerer.access) = (false, false);
    let (_, _, settled) = exchange(&line("TCP/MSRP", None, ""), &line("TCP/MSRP", Some(Active), ""), &facts);
    assert_eq!(settled.unwrap_err().reason, "offer and answer want the same end of the connection");
}

/// §2.3.1: what the gateway is told before there is an answer.
#[test]
fn roles_before_the_answer() {
    let table = [
        (Some(Active), (false, false), Passive, Active),
        (Some(Active), (false, true), Passive, ActPass),
        (Some(ActPass), (false, false), ActPass, ActPass),
        (Some(ActPass), (true, false), Passive, ActPass),
        (Some(Passive), (false, false), Active, Passive),
        (Some(HoldConn), (false, false), HoldConn, HoldConn),
        (None, (false, false), Passive, Active),
    ];
    for (offered, (a, b), offerer, answerer) in table {
        let legs = planned(&line("TCP/MSRP", offered, ""), &Policy::default(), &nat(a, b)).legs.unwrap();
        assert_eq!((legs.offerer.setup, legs.answerer.setup), (offerer, answerer), "{offered:?} {a} {b}");
    }
    // A sealed offer turned active leaves only one thing to be.
    let sealed = planned(&line("TCP/TLS/MSRP", Some(ActPass), ""), &Policy::default(), &nat(true, false));
    assert_eq!(sealed.legs.unwrap().offerer.setup, Passive);
}
