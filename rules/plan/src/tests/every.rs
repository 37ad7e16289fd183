//! What holds for every offer, every answer and everything that is known: all of them are tried.

use super::*;

const SETUPS: [Option<Setup>; 5] =
    [None, Some(Setup::Active), Some(Setup::Passive), Some(Setup::ActPass), Some(Setup::HoldConn)];

struct Case {
    application: Application,
    tls: bool,
    requested: bool,
    setup: Option<Setup>,
    cema: bool,
    mikey: bool,
    facts: Facts,
}

fn media(
    application: Application,
    tls: bool,
    setup: Option<Setup>,
    cema: bool,
    mikey: bool,
    id: &str,
) -> String {
    let mut text =
        format!("m=message 2855 {} *\r\na=path:msrp://192.0.2.1:2855/{id};tcp\r\n", application.proto(tls));
    if let Some(setup) = setup {
        text.push_str(&format!("a=setup:{setup}\r\n"));
    }
    if cema {
        text.push_str("a=msrp-cema\r\n");
    }
    if mikey {
        text.push_str("a=x-carnet-tlsrole:mikey\r\na=key-mgmt:mikey AQ==\r\n");
    }
    if tls {
        text.push_str(&format!("a=fingerprint:{HASH}\r\n"));
    }
    text
}

fn cases(mut check: impl FnMut(Case)) {
    let bits = |n: u32, bit: u32| n >> bit & 1 == 1;
    for n in 0..1 << 12 {
        let application = if bits(n, 0) { Application::Msrp } else { Application::Bfcp };
        let (tls, requested) = (bits(n, 1), bits(n, 2));
        // Of BFCP neither CEMA nor the role from the key exchange is asked.
        if requested && !tls || application == Application::Bfcp && (bits(n, 3) || bits(n, 4)) {
            continue;
        }
        let party = |access: bool, nat: bool, registered: bool| Party {
            access,
            e2ae: access,
            behind_nat: nat && access,
            registered: Registered { msrp: registered, bfcp: registered },
            ..Party::default()
        };
        for setup in SETUPS {
            for to in [Addressing::Auto, Addressing::Sessmatch, Addressing::Plain] {
                if application == Application::Bfcp && to != Addressing::Auto {
                    continue;
                }
                let mut facts = Facts {
                    offerer: party(bits(n, 5), bits(n, 6), bits(n, 7)),
                    answerer: party(bits(n, 8), bits(n, 9), bits(n, 10)),
                    gateway: Abilities { tls: true, aware: true },
                };
                facts.answerer.addressing = to;
                if bits(n, 11) {
                    facts.offerer.addressing = Addressing::Sessmatch;
                }
                let (cema, mikey) = (bits(n, 3), bits(n, 4));
                check(Case { application, tls, requested, setup, cema, mikey, facts });
            }
        }
    }
}

fn setup_of(text: &str) -> Option<Setup> {
    text.lines().find_map(|l| l.strip_prefix("a=setup:")).map(|s| s.parse().unwrap())
}

/// RFC 4145 §4.1, as an end reads its own description and the one it gets: whether it connects.
fn connects(own: Option<Setup>, got: Option<Setup>, offerer: bool) -> bool {
    match own {
        Some(Setup::Active) => true,
        Some(Setup::Passive | Setup::HoldConn) => false,
        None if offerer => true,
        // It said nothing, or either: the other end's word decides; no word of an answer is passive.
        _ => matches!(got, Some(Setup::Passive)) || (offerer && got.is_none()),
    }
}

#[test]
fn what_holds_for_every_exchange() {
    let (mut settled_in_all, mut refused, mut two) = (0, 0, 0);
    cases(|case| {
        let mut text = media(case.application, case.tls, case.setup, case.cema, case.mikey, "s1");
        if case.requested {
            text.push_str("a=3ge2ae:requested\r\n");
        }
        let offer = document(&text);
        let plan = plan(&offer, &Policy::default(), &case.facts);
        let line = &plan.lines[0];
        if plan.refusal().is_some() {
            refused += 1;
            return;
        }
        let legs = line.legs.as_ref().unwrap();
        let seen = sent(plan.all_edits(), &offer);
        let edge = match line.decision {
            Decision::Edge { offerer, answerer } => [offerer, answerer],
            _ => [false; 2],
        };
        assert_eq!([legs.offerer.tls.is_some(), legs.answerer.tls.is_some()], edge);
        assert_eq!(edge[0], case.requested, "{text}");
        let sealed = line.decision == Decision::EndToEnd;
        assert_eq!(sealed, case.tls && !case.requested);
        check_edits(sealed, plan.all_edits());
        check_sdp(&seen, case.application, if sealed { None } else { Some(edge[1]) });
        // The attribute of the proposal is neither made nor lost.
        assert_eq!(seen.contains("x-carnet-tlsrole"), case.mikey);
        assert_eq!(seen.contains("a=key-mgmt:mikey AQ=="), case.mikey);

        for answered in SETUPS {
            for mikey in [false, true] {
                if mikey && case.application == Application::Bfcp {
                    continue;
                }
                let tls = sealed || edge[1];
                let answer = document(&media(case.application, tls, answered, case.cema, mikey, "s2"));
                let Ok(settlement) = settle(&plan, &answer, &case.facts) else {
                    refused += 1;
                    continue;
                };
                settled_in_all += 1;
                let back = sent(settlement.all_edits(), &answer);
                let settled = settlement.lines[0].as_ref().unwrap();
                let context =
                    || format!("{:?} offer {text}seen {seen}answer {answered:?}\nback {back}", case.facts);
                check_edits(sealed, settlement.all_edits());
                check_sdp(&back, case.application, if sealed { None } else { Some(edge[0]) });
                assert_eq!([settled.legs.offerer.tls.is_some(), settled.legs.answerer.tls.is_some()], edge);
                if !settled.open {
                    continue;
                }
                let a = connects(case.setup, setup_of(&back), true);
                let b = connects(answered, setup_of(&seen), false);
                // Each leg has one end that connects and one that waits.
                assert_eq!(settled.legs.offerer.setup == Setup::Passive, a, "{}", context());
                assert_eq!(settled.legs.answerer.setup == Setup::Passive, b, "{}", context());
                // Exactly one TLS client, from end to end or on each side.
                let client = |connects: bool, offerer: bool| match case.application {
                    Application::Msrp => connects,
                    Application::Bfcp => offerer,
                };
                if sealed {
                    let merged = client(a, true) == client(b, false);
                    two += i32::from(merged);
                    assert!(!merged || case.mikey && mikey, "{}", context());
                    assert!(!merged || case.facts.offerer.access || case.facts.answerer.access);
                }
                for (leg, terminal) in
                    [(&settled.legs.offerer, client(a, true)), (&settled.legs.answerer, client(b, false))]
                {
                    let Some(tls) = &leg.tls else { continue };
                    let ours = if terminal { TlsRole::Server } else { TlsRole::Client };
                    assert_eq!(tls.role, Some(ours), "{}", context());
                    assert_eq!(tls.fingerprints, [HASH]);
                }
                // Between networks nothing is merged.
                if !case.facts.offerer.access && !case.facts.answerer.access {
                    assert!(!settled.merged, "{}", context());
                }
                // Nobody connects to an end behind a NAT that did not say it waits.
                let nat = case.facts.offerer.behind_nat && case.setup != Some(Setup::Passive);
                assert!(!(nat && settled.legs.offerer.setup == Setup::Active), "{}", context());
            }
        }
    });
    // The tries reached what they are for.
    assert!(settled_in_all > 50_000 && refused > 10_000 && two > 100, "{settled_in_all} {refused} {two}");
}

fn check_edits<'a>(sealed: bool, edits: impl Iterator<Item = &'a Edit>) {
    for edit in edits {
        assert!(!edit.reason.is_empty());
        let harmless =
            matches!(edit.change, Change::Address | Change::Setup(_) | Change::PathAddress | Change::Origin);
        assert!(harmless || !sealed, "{edit:?}");
    }
}

/// `None` is sealed; else whether TLS ends at our gateway on that side.
fn check_sdp(text: &str, application: Application, edge: Option<bool>) {
    let tls = edge.unwrap_or(true);
    assert!(text.starts_with(&format!("m=message 40000 {} *\r\n", application.proto(tls))), "{text}");
    assert!(!text.contains("requested"), "{text}");
    match edge {
        None => assert!(text.contains(HASH) && !text.contains(OURS), "{text}"),
        Some(true) => assert!(text.contains(OURS) && !text.contains(HASH), "{text}"),
        Some(false) => assert!(!text.contains("fingerprint") && !text.contains("3ge2ae"), "{text}"),
    }
}
