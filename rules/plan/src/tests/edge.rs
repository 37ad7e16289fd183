//! Gateway control §2.4: security that ends at the access edge.

use super::*;

fn msrp(setup: &str) -> String {
    format!(
        "m=message 2855 TCP/TLS/MSRP *\r\na=setup:{setup}\r\na=path:msrps://192.0.2.1:2855/s1;tcp\r\n\
         a=msrp-cema\r\na=fingerprint:{HASH}\r\na=3ge2ae:requested\r\n"
    )
}

fn clear(setup: &str) -> String {
    format!(
        "m=message 2855 TCP/MSRP *\r\na=setup:{setup}\r\na=path:msrp://192.0.2.7:2855/s2;tcp\r\na=msrp-cema\r\n"
    )
}

fn tls(setup: &str) -> String {
    format!(
        "m=message 2855 TCP/TLS/MSRP *\r\na=setup:{setup}\r\na=path:msrps://192.0.2.7:2855/s2;tcp\r\n\
         a=msrp-cema\r\na=fingerprint:{HASH}\r\n"
    )
}

fn from_terminal() -> Facts {
    let mut facts = terminals();
    facts.answerer = Party::default();
    facts
}

fn to_terminal() -> Facts {
    let mut facts = terminals();
    facts.offerer = Party::default();
    facts.answerer.registered = Registered { msrp: true, bfcp: true };
    facts
}

/// §2.4.1 with §2.1, second column.
#[test]
fn originating_msrp() {
    let (line, seen, settled) = exchange(&msrp("actpass"), &clear("passive"), &from_terminal());
    assert_eq!(line.decision, Decision::Edge { offerer: true, answerer: false });
    // On the core side nothing tells of it.
    assert_eq!(
        seen,
        "m=message 40000 TCP/MSRP *\r\na=setup:actpass\r\na=path:msrps://192.0.2.1:2855/s1;tcp\r\na=msrp-cema\r\n"
    );
    let legs = line.legs.unwrap();
    assert_eq!((legs.offerer.transport, legs.answerer.transport), (Transport::TcpTls, Transport::Tcp));
    assert_eq!(legs.offerer.tls.unwrap(), Tls { role: None, fingerprints: vec![HASH.into()] });
    assert_eq!(legs.answerer.tls, None);
    let (settled, back) = settled.unwrap();
    assert_eq!(
        back,
        format!(
            "m=message 40000 TCP/TLS/MSRP *\r\na=setup:passive\r\na=path:msrp://192.0.2.7:2855/s2;tcp\r\n\
             a=msrp-cema\r\na=fingerprint:{OURS}\r\n"
        )
    );
    assert_eq!(settled.legs.offerer.tls.unwrap().role, Some(TlsRole::Server));
}

/// §2.4.1 step 2: our TLS role follows from who connects on the terminal's side.
#[test]
fn originating_roles() {
    let table = [
        ("active", "passive", false, TlsRole::Server),
        ("actpass", "passive", false, TlsRole::Server),
        ("actpass", "active", false, TlsRole::Client),
        // Behind a NAT the terminal connects whatever the core does.
        ("actpass", "active", true, TlsRole::Server),
        ("passive", "active", false, TlsRole::Client),
    ];
    for (offered, answered, behind_nat, role) in table {
        let mut facts = from_terminal();
        facts.offerer.behind_nat = behind_nat;
        let (line, _, settled) = exchange(&msrp(offered), &clear(answered), &facts);
        let (settled, _) = settled.unwrap();
        assert_eq!(settled.legs.offerer.tls.unwrap().role, Some(role), "{offered} {answered}");
        if let Some(early) = line.legs.unwrap().offerer.tls.unwrap().role {
            assert_eq!(early, role);
        }
    }
}

/// §2.4.2: the terminal registered for it.
#[test]
fn terminating_msrp() {
    for (offered, behind_nat) in [("active", false), ("actpass", false), ("active", true), ("passive", true)]
    {
        for (answered, role) in [("active", TlsRole::Server), ("passive", TlsRole::Client)] {
            let mut facts = to_terminal();
            facts.answerer.behind_nat = behind_nat;
            let (line, seen, settled) = exchange(&clear(offered), &tls(answered), &facts);
            assert_eq!(line.decision, Decision::Edge { offerer: false, answerer: true });
            assert_eq!(
                seen,
                format!(
                    "m=message 40000 TCP/TLS/MSRP *\r\na=setup:actpass\r\na=path:msrp://192.0.2.7:2855/s2;tcp\r\n\
                     a=msrp-cema\r\na=fingerprint:{OURS}\r\na=3ge2ae:applied\r\n"
                )
            );
            assert_eq!(line.legs.unwrap().answerer.tls.unwrap(), Tls { role: None, fingerprints: vec![] });
            let (settled, back) = settled.unwrap();
            let tls = settled.legs.answerer.tls.unwrap();
            assert_eq!(tls, Tls { role: Some(role), fingerprints: vec![HASH.into()] });
            assert!(back.starts_with("m=message 40000 TCP/MSRP *\r\n"), "{back}");
            assert!(!back.contains("fingerprint") && !back.contains("3ge2ae"), "{back}");
        }
    }
}

/// One on each side: each has the other's gateway certificate, never the other's.
#[test]
fn both_accesses() {
    let mut facts = terminals();
    facts.answerer.registered.msrp = true;
    let (line, seen, settled) = exchange(&msrp("active"), &tls("active"), &facts);
    assert_eq!(line.decision, Decision::Edge { offerer: true, answerer: true });
    assert_eq!(seen.matches("a=fingerprint").count(), 1);
    assert!(
        seen.contains(OURS) && seen.contains("a=3ge2ae:applied") && !seen.contains("requested"),
        "{seen}"
    );
    let (settled, back) = settled.unwrap();
    assert!(settled.merged);
    assert_eq!(back.matches("a=fingerprint").count(), 1);
    assert!(back.contains(OURS) && back.starts_with("m=message 40000 TCP/TLS/MSRP"), "{back}");
    for leg in [settled.legs.offerer, settled.legs.answerer] {
        assert_eq!(leg.tls.unwrap(), Tls { role: Some(TlsRole::Server), fingerprints: vec![HASH.into()] });
        assert_eq!(leg.transport, Transport::TcpTls);
    }
}

/// §2.4.3: in BFCP the offerer of each side is the client.
#[test]
fn bfcp_roles() {
    let offer = |proto: &str, setup: &str, more: &str| {
        format!("m=application 5070 {proto} *\r\na=setup:{setup}\r\na=floorctrl:c-only\r\n{more}")
    };
    let print = format!("a=fingerprint:{HASH}\r\n");
    let asked = format!("{print}a=3ge2ae:requested\r\n");
    for (setup, answer) in [("active", "passive"), ("actpass", "active"), ("actpass", "passive")] {
        let (line, seen, settled) =
            exchange(&offer("TCP/TLS/BFCP", setup, &asked), &offer("TCP/BFCP", answer, ""), &from_terminal());
        assert_eq!(seen, offer("TCP/BFCP", setup, "").replace("5070", "40000"));
        let legs = line.legs.unwrap();
        assert_eq!(
            (legs.offerer.transport, legs.answerer.transport),
            (Transport::TcpTlsBfcp, Transport::TcpBfcp)
        );
        assert_eq!(settled.unwrap().0.legs.offerer.tls.unwrap().role, Some(TlsRole::Server));
    }
    for answer in ["active", "passive"] {
        let (_, seen, settled) = exchange(
            &offer("TCP/BFCP", "active", ""),
            &offer("TCP/TLS/BFCP", answer, &print),
            &to_terminal(),
        );
        assert!(seen.contains("a=setup:actpass\r\n"));
        assert_eq!(settled.unwrap().0.legs.answerer.tls.unwrap().role, Some(TlsRole::Client));
    }
    let mut facts = to_terminal();
    facts.answerer.behind_nat = true;
    let (_, seen, _) =
        exchange(&offer("TCP/BFCP", "active", ""), &offer("TCP/TLS/BFCP", "active", &print), &facts);
    assert!(seen.contains("a=setup:passive\r\n"), "{seen}");
}

/// RFC 8856 §8: a later offer of the other side leaves the roles while the connection stays.
#[test]
fn bfcp_roles_stay_with_the_connection() {
    let line = |proto: &str, reuse: &str, more: &str| {
        format!("m=application 5070 {proto} *\r\na=setup:actpass\r\na=connection:{reuse}\r\n{more}")
    };
    let mut facts = to_terminal();
    // The terminal made the first offer, so it is the client of its side.
    facts.answerer.edge = vec![(0, TlsRole::Server)];
    let print = format!("a=fingerprint:{HASH}\r\n");
    for (offered, answered, role) in [
        ("existing", "existing", TlsRole::Server),
        ("new", "new", TlsRole::Client),
        ("existing", "new", TlsRole::Client),
    ] {
        let answer = line("TCP/TLS/BFCP", answered, &print).replace("actpass", "active");
        let (_, _, settled) = exchange(&line("TCP/BFCP", offered, ""), &answer, &facts);
        assert_eq!(settled.unwrap().0.legs.answerer.tls.unwrap().role, Some(role), "{offered} {answered}");
    }
}

/// §2.5 with TLS that ends: MSRP paths may be rewritten, and the scheme follows TLS.
#[test]
fn aware_with_tls_on_one_side() {
    let offer = msrp("active").replace("a=msrp-cema\r\n", "");
    let answer = clear("passive").replace("a=msrp-cema\r\n", "");
    let (line, seen, settled) = exchange(&offer, &answer, &from_terminal());
    let legs = line.legs.unwrap();
    assert_eq!(
        (legs.offerer.transport, legs.answerer.transport),
        (Transport::TcpTlsMsrp, Transport::TcpMsrp)
    );
    assert!(legs.offerer.aware && legs.answerer.aware);
    assert_eq!(legs.offerer.path.as_deref(), Some("msrps://192.0.2.1:2855/s1;tcp"));
    assert!(seen.contains("a=path:msrp://203.0.113.9:40000/s1;tcp\r\n"), "{seen}");
    let (settled, back) = settled.unwrap();
    assert_eq!(settled.legs.answerer.path.as_deref(), Some("msrp://192.0.2.7:2855/s2;tcp"));
    assert!(back.contains("a=path:msrps://203.0.113.9:40000/s2;tcp\r\n"), "{back}");
    let (_, seen, settled) = exchange(&answer, &offer.replace("a=3ge2ae:requested\r\n", ""), &to_terminal());
    assert!(seen.contains("a=path:msrps://203.0.113.9:40000/s2;tcp\r\n"), "{seen}");
    assert!(settled.unwrap().1.contains("a=path:msrp://203.0.113.9:40000/s1;tcp\r\n"));
}

/// A sealed line from the core goes through untouched also to a terminal that registered for it.
#[test]
fn a_sealed_offer_stays_sealed() {
    let offer = format!("{}a=key-mgmt:mikey AQ==\r\n", tls("actpass"));
    let (line, seen, _) = exchange(&offer, &offer.replace("actpass", "active"), &to_terminal());
    assert_eq!(line.decision, Decision::EndToEnd);
    assert_eq!(seen, offer.replace("2855 TCP", "40000 TCP"));
    // `applied` of somebody else is not ours to repeat; nothing but the word goes.
    let (line, seen, _) = exchange(
        &format!("{offer}a=3ge2ae:applied\r\n"),
        &offer.replace("actpass", "active"),
        &to_terminal(),
    );
    assert_eq!(line.decision, Decision::EndToEnd);
    assert_eq!(seen, offer.replace("2855 TCP", "40000 TCP"));
}

/// Later offers of the dialog: the terminal need not ask again, and is not left unprotected.
#[test]
fn later_offers_keep_the_edge() {
    let mut facts = from_terminal();
    facts.offerer.edge = vec![(0, TlsRole::Server)];
    for extra in ["", "a=3ge2ae:applied\r\n", "a=3ge2ae:requested\r\n"] {
        let line = planned(&format!("{}{extra}", tls("actpass")), &Policy::default(), &facts);
        assert_eq!(line.decision, Decision::Edge { offerer: true, answerer: false }, "{extra}");
    }
    // Keys of its own make it end to end.
    let sealed = format!("{}a=key-mgmt:mikey AQ==\r\n", tls("actpass"));
    assert_eq!(planned(&sealed, &Policy::default(), &facts).decision, Decision::EndToEnd);
    // The other side offers: it asked once, whatever it registered.
    let mut facts = to_terminal();
    facts.answerer.registered = Registered::default();
    assert_eq!(planned(&clear("actpass"), &Policy::default(), &facts).decision, Decision::Plain);
    facts.answerer.edge = vec![(0, TlsRole::Client)];
    assert_eq!(
        planned(&clear("actpass"), &Policy::default(), &facts).decision,
        Decision::Edge { offerer: false, answerer: true }
    );
    // It takes the line out: the transport is the one that the core knows.
    let mut facts = from_terminal();
    facts.offerer.edge = vec![(0, TlsRole::Server)];
    let offer = document(&msrp("actpass").replace("2855 TCP", "0 TCP"));
    let plan = plan(&offer, &Policy::default(), &facts);
    let seen = sent(plan.all_edits(), &offer);
    assert!(seen.starts_with("m=message 0 TCP/MSRP *\r\n"), "{seen}");
    assert!(!seen.contains("fingerprint") && !seen.contains("3ge2ae"), "{seen}");
}

/// What is not taken has the transport of its offer.
#[test]
fn a_line_not_taken() {
    let offer = document(&msrp("actpass"));
    let plan = plan(&offer, &Policy::default(), &from_terminal());
    let answer = document("m=message 0 TCP/MSRP *\r\na=3ge2ae:applied\r\n");
    let settlement = settle(&plan, &answer, &from_terminal()).unwrap();
    assert_eq!(sent(settlement.all_edits(), &answer), "m=message 0 TCP/TLS/MSRP *\r\n");
}

/// Who may ask, and what must stand there.
#[test]
fn requests_that_are_refused() {
    let policy = Policy::default();
    let mut off = from_terminal();
    off.offerer.e2ae = false;
    let mut unable = from_terminal();
    unable.gateway.tls = false;
    let mut network = terminals();
    network.offerer = Party::default();
    for facts in [&off, &unable, &network] {
        let line = planned(&msrp("active"), &policy, facts);
        let Decision::Refuse(refusal) = line.decision else { panic!("{line}") };
        assert_eq!((refusal.status, refusal.warning), (488, 304));
    }
    let table = [
        (
            msrp("active").replace("a=fingerprint", "a=other"),
            "TLS is to end here, and there is no a=fingerprint",
        ),
        (
            msrp("active").replace("SHA-256", "MD5"),
            "TLS is to end here, and no a=fingerprint has a hash that can be trusted",
        ),
        (msrp("active").replace("TCP/TLS/", "TCP/"), "a=3ge2ae:requested stands on a line without TLS"),
        (msrp("active").replace("requested", "later"), "a=3ge2ae has a value that this border does not know"),
        (
            "m=audio 5 RTP/SAVP 0\r\na=3ge2ae:requested\r\n".to_owned(),
            "a=3ge2ae:requested is only for MSRP and BFCP over TLS",
        ),
    ];
    for (offer, reason) in table {
        let line = planned(&offer, &policy, &from_terminal());
        assert_eq!((status(&line), line.reason), (Some(488), reason));
        assert!(line.edits.is_empty() && line.legs.is_none());
    }
    // Fingerprints of hashes that are forbidden or weak, or cut short: the other holds.
    let more = "a=fingerprint:md5 00:11\r\na=fingerprint:SHA-1 00\r\na=fingerprint:SHA-256 00:11\r\n";
    let legs = planned(&format!("{}{more}", msrp("active")), &policy, &from_terminal()).legs.unwrap();
    assert_eq!(legs.offerer.tls.unwrap().fingerprints, [HASH]);
    // A terminal that registered for it, and no gateway that can.
    let mut unable = to_terminal();
    unable.gateway.tls = false;
    assert_eq!(status(&planned(&clear("active"), &policy, &unable)), Some(488));
    // An answer without a fingerprint.
    let (_, _, settled) =
        exchange(&clear("active"), &tls("active").replace("a=fingerprint", "a=x"), &to_terminal());
    assert_eq!(settled.unwrap_err().status, 488);
    // An answer in clear where TLS was offered.
    let (_, _, settled) = exchange(&clear("active"), &clear("active"), &to_terminal());
    assert_eq!(settled.unwrap_err().reason, "the answer has another transport than the offer");
}

/// Fingerprint, role and request may stand in the session section.
#[test]
fn session_values() {
    let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    let session = format!("a=setup:active\r\na=fingerprint:{HASH}\r\na=tls-id:x\r\na=3ge2ae:requested\r\n");
    let media = "m=message 2855 TCP/TLS/MSRP *\r\na=msrp-cema\r\n";
    let offer = parse(&format!("{head}{session}{media}"));
    let plan = super::plan(&offer, &Policy::default(), &from_terminal());
    let mut seen = offer.clone();
    apply(plan.all_edits(), &mut seen, given, None).unwrap();
    let seen = String::from_utf8(seen.to_bytes().to_vec()).unwrap();
    assert!(!seen.contains("fingerprint") && !seen.contains("3ge2ae") && !seen.contains("tls-id"), "{seen}");
    assert_eq!(plan.lines[0].legs.as_ref().unwrap().offerer.tls.as_ref().unwrap().fingerprints, [HASH]);
    // Another line needs it: then it stays where it is.
    let session = session.replace("a=3ge2ae:requested\r\n", "");
    let media = "m=message 2855 TCP/TLS/MSRP *\r\na=msrp-cema\r\na=3ge2ae:requested\r\nm=audio 7 UDP/TLS/RTP/SAVP 0\r\n";
    let offer = parse(&format!("{head}{session}{media}"));
    let plan = super::plan(&offer, &Policy::default(), &from_terminal());
    assert_eq!(plan.refusal(), None);
    assert!(plan.edits.iter().all(|e| e.change != Change::FingerprintRemoved));
    // In an answer likewise.
    let offer = document(&clear("actpass"));
    let plan = super::plan(&offer, &Policy::default(), &to_terminal());
    let answer =
        parse(&format!("{head}a=fingerprint:{HASH}\r\nm=message 7 TCP/TLS/MSRP *\r\na=setup:active\r\n"));
    let settlement = settle(&plan, &answer, &to_terminal()).unwrap();
    let mut back = answer.clone();
    apply(settlement.all_edits(), &mut back, given, None).unwrap();
    assert!(!String::from_utf8_lossy(&back.to_bytes()).contains("fingerprint"));
}
