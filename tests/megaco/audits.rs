//! What the other stack may ask of our gateway beside the life of a call: audits, refusals, settings
//! of ROOT, and events that need no octets.

use crate::controlled::{Pair, Scene, add_pair};
use crate::peer::{Peer, Wire, each, one};

/// A gateway with one context.
fn scene(wire: Wire) -> Option<(Scene, Peer, Pair)> {
    let mut scene = Scene::new(wire, &["mgc1"])?;
    let mut mgc = scene.controller(0, "mgc1");
    scene.start_gateway();
    mgc.hears(&scene.lab, "asked", "MT=RS");
    let pair = add_pair(&mut scene.lab, &mut mgc, 3600);
    Some((scene, mgc, pair))
}

/// The wires on which every question is asked: each encoding and each version.
const WIRES: [Wire; 4] = [
    Wire::new("udp", "compact", 3),
    Wire::new("tcp", "pretty", 2),
    Wire::new("udp", "ber", 3),
    Wire::new("udp", "compact", 1),
];

#[test]
fn audits_of_everything() {
    for wire in WIRES {
        let Some((mut scene, mut mgc, pair)) = scene(wire) else { return };
        let lab = &mut scene.lab;
        let mut expect = |actions: &str, parts: &[&str]| {
            let answer = mgc.ask(lab, actions);
            for part in parts {
                let found = answer.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
                assert!(found, "{wire:?}: no {part} in the answer to {actions}: {answer}");
            }
        };
        expect("C=-{AV=ROOT{AT{}}}", &["AV=root"]);
        expect("C=-{AV=ROOT{AT{PG}}}", &["g-", "root-2", "hangterm-1", "tcpbcc-1", "gm-2", "ipdc-"]);
        expect("C=-{AV=ROOT{AT{M}}}", &["root/maxNumberOfContexts=10000", "maxTerminationsPerContext=2"]);
        let (context, access) = (&pair.context, &pair.access);
        expect(
            &format!("C={context}{{AC={access}{{AT{{SG,E,SA}}}}}}"),
            &["hangterm/thb", "ipnapt/latch", "nt/os"],
        );
        expect(&format!("C={context}{{AV=*{{AT{{E}}}}}}"), &["E=11{", "E=12{"]);
        expect(&format!("C={context}{{W-AV=*{{AT{{M}}}}}}"), &["setup:passive", "setup:active", "realm"]);
        if wire.version >= 2 {
            // Single items, which version 1 cannot ask for.
            let one_item = |item: &str| format!("C={context}{{AV={access}{{AT{{{item}}}}}}}");
            expect(&one_item("SA{nt/os}"), &["nt/os"]);
            expect(&one_item("M{ST=1{O{ipdc/realm}}}"), &["realm=access"]);
            expect(&one_item("E=11{hangterm/thb}"), &["hangterm/thb"]);
            expect("C=-{AV=ROOT{AT{M{TS{root/maxNumberOfContexts}}}}}", &["maxNumberOfContexts=10000"]);
        }
        scene.look(10);
    }
}

/// Wrong questions get the code that says what is wrong, in every encoding.
#[test]
fn wrong_requests_are_refused_with_their_code() {
    for wire in WIRES {
        let Some((mut scene, mut mgc, pair)) = scene(wire) else { return };
        let lab = &mut scene.lab;
        let (context, access) = (&pair.context, &pair.access);
        let local = "L{\nv=0\nc=IN IP4 $\nm=- $ TCP -\n}";
        let mut table = vec![
            (411, "C=77{AV=*{AT{}}}".to_owned()),
            (430, format!("C={context}{{MF=ip/1/access/77{{M{{O{{MO=SR}}}}}}}}")),
            (434, format!("C={context}{{A=ip/1/access/${{M{{{local}}}}}}}")),
            (449, format!("C=${{A=ip/1/access/${{M{{O{{ipdc/realm=nowhere}},{local}}}}}}}")),
            (515, "C=${A=ip/1/access/${M{L{\nv=0\nc=IN IP4 $\nm=audio $ RTP/AVP 0\n}}}}".to_owned()),
            (457, format!("C={context}{{MF={access}{{E=5{{hangterm/thb}}}}}}")),
        ];
        if wire.encoding != "ber" {
            // The other stack's BER needs a number for every name.
            table.push((440, format!("C={context}{{MF={access}{{E=5{{xyz/abc}}}}}}")));
            table.push((451, format!("C={context}{{MF={access}{{E=5{{hangterm/abc}}}}}}")));
            table.push((445, format!("C={context}{{MF={access}{{M{{O{{ipdc/abc=1}}}}}}}}")));
        }
        for (code, actions) in table {
            let answer = mgc.ask(lab, &actions);
            assert!(answer.contains(&format!("ER={code}")), "{wire:?}: not {code} to {actions}: {answer}");
        }
        // None of it has changed anything.
        let there = mgc.ask(lab, "C=*{AV=*{AT{}}}");
        assert_eq!(each(&there, "AV="), [&pair.access, &pair.core], "{there}");
        scene.look(10);
    }
}

/// Terminations that hang and a controller that is silent are told of; nothing passes for a while.
#[test]
fn events_that_need_no_octets() {
    for wire in WIRES {
        let Some((mut scene, mut mgc, pair)) = scene(wire) else { return };
        let lab = &mut scene.lab;
        let (context, access) = (&pair.context, &pair.access);
        let set = mgc.ask(
            lab,
            &format!(
                "C={context}{{MF={access}{{E=21{{hangterm/thb{{timerx=1}},adid/ipstop{{dt=1,dir=BOTH}}}}}}}}"
            ),
        );
        assert!(!set.contains("ER="), "{wire:?}: {set}");
        mgc.told(lab, access, &["OE=21{", "hangterm/thb"]);
        mgc.told(lab, access, &["OE=21{", "adid/ipstop"]);
        let set = mgc.ask(lab, "C=-{MF=ROOT{E=22{it/ito{mit=100}}}}");
        assert!(!set.contains("ER="), "{wire:?}: {set}");
        mgc.told(lab, "root", &["OE=22{", "it/ito"]);
        scene.look(10);
    }
}

/// A termination moves to a context of its own and back (RFC 3525 §7.2.4).
#[test]
fn a_termination_moves() {
    for wire in WIRES {
        let Some((mut scene, mut mgc, pair)) = scene(wire) else { return };
        let lab = &mut scene.lab;
        let moved = mgc.ask(lab, &format!("C=${{MV={}}}", pair.core));
        let other = one(&moved, "C=").to_owned();
        assert!(other != pair.context && moved.contains(&format!("MV={}", pair.core)), "{wire:?}: {moved}");
        let back = mgc.ask(lab, &format!("C={}{{MV={}}}", pair.context, pair.core));
        assert!(!back.contains("ER="), "{wire:?}: {back}");
        // The context it left was empty and is gone.
        let gone = mgc.ask(lab, &format!("C={other}{{AV=*{{AT{{}}}}}}"));
        assert!(gone.contains("ER=411"), "{wire:?}: {gone}");
        let there = mgc.ask(lab, "C=*{AV=*{AT{}}}");
        assert_eq!(each(&there, "AV="), [&pair.access, &pair.core], "{there}");
        scene.look(10);
    }
}
