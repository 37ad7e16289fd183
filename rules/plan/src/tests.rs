//! The tables of the specifications, one row after the other.

mod addressing;
mod edge;
mod every;
mod setup;

use super::*;
use bytes::Bytes;
use carnet_sdp::{Document, Limits, Setup};

pub(super) const HASH: &str =
    "SHA-256 AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89";
pub(super) const OURS: &str =
    "SHA-256 00:11:22:33:44:55:66:77:00:11:22:33:44:55:66:77:00:11:22:33:44:55:66:77:00:11:22:33:44:55:66:77";

pub(super) fn document(media: &str) -> Document {
    let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}");
    parse(&text)
}

pub(super) fn parse(text: &str) -> Document {
    Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

/// Both ends are terminals of ours, and the gateway can do everything.
pub(super) fn terminals() -> Facts {
    let party = Party { access: true, e2ae: true, ..Party::default() };
    Facts { offerer: party.clone(), answerer: party, gateway: Abilities { tls: true, aware: true } }
}

pub(super) fn planned(media: &str, policy: &Policy, facts: &Facts) -> Line {
    plan(&document(media), policy, facts).lines.remove(0)
}

pub(super) fn given(_: usize) -> Given {
    let address = Some("203.0.113.9:40000".parse().unwrap());
    Given { address, fingerprint: Some(OURS.into()) }
}

/// The text after the changes, without the session section.
pub(super) fn sent<'a>(edits: impl IntoIterator<Item = &'a Edit>, document: &Document) -> String {
    let mut document = document.clone();
    apply(edits, &mut document, given, None).unwrap();
    let text = String::from_utf8(document.to_bytes().to_vec()).unwrap();
    text[text.find("m=").unwrap()..].to_owned()
}

/// Offer and answer through the whole table: what the answerer sees, and what the offerer does.
pub(super) fn exchange(
    offer: &str,
    answer: &str,
    facts: &Facts,
) -> (Line, String, Result<(Settled, String), Refusal>) {
    let (offer, answer) = (document(offer), document(answer));
    let mut plan = plan(&offer, &Policy::default(), facts);
    assert_eq!(plan.refusal(), None, "{plan}");
    let to_answerer = sent(plan.all_edits(), &offer);
    let settled = settle(&plan, &answer, facts).map(|settlement| {
        let to_offerer = sent(settlement.all_edits(), &answer);
        (settlement.lines[0].clone().unwrap(), to_offerer)
    });
    (plan.lines.remove(0), to_answerer, settled)
}

pub(super) fn status(line: &Line) -> Option<u16> {
    if let Decision::Refuse(refusal) = line.decision { Some(refusal.status) } else { None }
}

const MSRPS: &str = "m=message 2855 TCP/TLS/MSRP *\r\na=setup:actpass\r\na=msrp-cema\r\n";

#[test]
fn each_kind_of_line() {
    let default = Policy::default();
    let strict = Policy { relay_plain: false, other: Other::Refuse, ..default };
    let open = Policy { forward_without_cema: true, ..default };
    let rtp = Policy { other: Other::Rtpengine, ..default };
    let core = Facts { offerer: Party::default(), answerer: Party::default(), ..terminals() };
    let print = format!("a=fingerprint:{HASH}\r\n");
    let e2ae = format!("m=message 2855 TCP/TLS/MSRP *\r\na=msrp-cema\r\na=3ge2ae:requested\r\n{print}");
    let table: &[(&str, &Policy, &str, Option<u16>)] = &[
        (MSRPS, &default, "e2e", None),
        (MSRPS, &strict, "e2e", None),
        ("m=application 50000 TCP/TLS/BFCP *\r\na=setup:actpass\r\n", &default, "e2e", None),
        ("m=message 2855 TCP/TLS/MSRP *\r\na=setup:active\r\n", &default, "refuse", Some(488)),
        ("m=message 2855 TCP/TLS/MSRP *\r\na=setup:active\r\n", &open, "e2e", None),
        (&e2ae, &default, "refuse", Some(488)),
        ("m=message 2855 TCP/MSRP *\r\na=3ge2ae:Requested\r\n", &default, "refuse", Some(488)),
        ("m=message 2855 TCP/MSRP *\r\na=3ge2ae:later\r\n", &default, "refuse", Some(488)),
        ("m=message 2855 TCP/MSRP *\r\na=3ge2ae\r\n", &default, "refuse", Some(488)),
        ("m=audio 5 RTP/SAVP 0\r\na=3ge2ae:requested\r\n", &default, "refuse", Some(488)),
        ("m=message 2855 TCP/MSRP *\r\na=path:msrp://h:1/s;tcp\r\n", &default, "aware", None),
        ("m=message 2855 TCP/MSRP *\r\na=msrp-cema\r\n", &default, "plain", None),
        ("m=message 2855 TCP/MSRP *\r\na=msrp-cema\r\n", &strict, "refuse", Some(488)),
        ("m=application 5 TCP/BFCP *\r\n", &default, "plain", None),
        ("m=application 5 tcp/bfcp *\r\n", &default, "plain", None),
        ("m=application 5 UDP/BFCP *\r\n", &default, "pass", None),
        ("m=application 5 UDP/BFCP *\r\n", &rtp, "pass", None),
        ("m=audio 5 RTP/AVP 0\r\n", &default, "pass", None),
        ("m=audio 5 RTP/AVP 0\r\n", &strict, "refuse", Some(488)),
        ("m=audio 5 RTP/AVP 0\r\n", &rtp, "rtpengine", None),
        ("m=video 5 UDP/TLS/RTP/SAVPF 96\r\n", &rtp, "rtpengine", None),
        ("m=message 0 TCP/TLS/MSRP *\r\n", &default, "unused", None),
        ("m=message 0 TCP/TLS/MSRP *\r\na=3ge2ae:requested\r\n", &strict, "unused", None),
    ];
    for (media, policy, name, refused) in table {
        let line = planned(media, policy, &core);
        assert_eq!(line.decision.name(), *name, "{media}: {line}");
        assert_eq!(status(&line), *refused, "{media}");
    }
    assert_eq!(planned(&e2ae, &default, &terminals()).decision.name(), "e2ae");
}

/// RTP that goes to an rtpengine: the change is named in both directions, and nothing else of ours.
#[test]
fn rtp_lines_are_the_rtpengines() {
    let policy = Policy { other: Other::Rtpengine, ..Policy::default() };
    let offer = document("m=audio 5 RTP/AVP 0\r\nm=video 7 RTP/AVP 96\r\n");
    let plan = plan(&offer, &policy, &terminals());
    let changes = |edits: Vec<&Edit>| edits.iter().map(|e| (e.line, e.change.clone())).collect::<Vec<_>>();
    let both = [(Some(0), Change::Rtpengine), (Some(1), Change::Rtpengine)];
    assert_eq!(changes(plan.all_edits().collect()), both);
    let answer = document("m=audio 5 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n");
    let settlement = settle(&plan, &answer, &terminals()).unwrap();
    assert_eq!(changes(settlement.all_edits().collect()), both[..1]);
    assert!(plan.lines.iter().all(|l| l.legs.is_none() && !l.decision.is_anchored()));
}

/// What is said of a line in a log.
#[test]
fn a_line_reads_well() {
    let mut facts = terminals();
    facts.offerer.behind_nat = true;
    assert_eq!(
        planned(MSRPS, &Policy::default(), &facts).to_string(),
        "line 0 (message TCP/TLS/MSRP): e2e over TCP/TLS, a=setup:active, TLS passes through; \
         the offerer is behind a NAT and must connect"
    );
    let text = format!("{}a=3ge2ae:requested\r\na=fingerprint:{HASH}\r\n", MSRPS);
    assert_eq!(
        planned(&text, &Policy::default(), &facts).to_string(),
        "line 0 (message TCP/TLS/MSRP): e2ae over TCP/TLS and TCP, the offerer asks for security up to the \
         access edge"
    );
    assert_eq!(
        planned("m=audio 5 RTP/SAVP 0\r\na=3ge2ae:x\r\n", &Policy::default(), &facts).to_string(),
        "line 0 (audio RTP/SAVP): refuse 488, a=3ge2ae has a value that this border does not know"
    );
}

/// Gateway control §2.1, first column: everything but address and port is as it came.
#[test]
fn an_end_to_end_line_keeps_everything_else() {
    let rest = "a=setup:actpass\r\na=connection:new\r\na=path:msrps://192.0.2.1:2855/s1;tcp\r\n\
                a=msrp-cema\r\na=tls-id:abc\r\na=key-mgmt:mikey AQ==\r\na=accept-types:*\r\na=odd\r\n";
    let offer = format!("m=message 2855 TCP/TLS/MSRP *\r\n{rest}a=fingerprint:{HASH}\r\n");
    let (line, seen, settled) = exchange(&offer, &offer.replace("actpass", "active"), &terminals());
    assert_eq!(line.decision, Decision::EndToEnd);
    assert_eq!(seen, offer.replace("2855 TCP", "40000 TCP"));
    let (_, back) = settled.unwrap();
    assert_eq!(back, offer.replace("2855 TCP", "40000 TCP").replace("actpass", "active"));
    // BFCP with floor attributes likewise.
    let bfcp = "m=application 50000 TCP/TLS/BFCP *\r\na=setup:actpass\r\na=floorctrl:c-only\r\na=confid:1\r\n\
                a=userid:2\r\na=floorid:3 mstrm:10\r\n";
    let (_, seen, settled) = exchange(bfcp, &bfcp.replace("actpass", "passive"), &terminals());
    assert_eq!(seen, bfcp.replace("50000 TCP", "40000 TCP"));
    assert_eq!(settled.unwrap().1, bfcp.replace("50000 TCP", "40000 TCP").replace("actpass", "passive"));
}

/// Gateway control §2.1, third column.
#[test]
fn a_plain_line_keeps_everything_else() {
    let offer = "m=message 2855 TCP/MSRP *\r\na=setup:active\r\na=path:msrp://192.0.2.1:2855/s1;tcp\r\na=msrp-cema\r\n";
    let (line, seen, settled) = exchange(offer, &offer.replace("active", "passive"), &terminals());
    let legs = line.legs.unwrap();
    assert_eq!((legs.offerer.transport, legs.answerer.transport), (Transport::Tcp, Transport::Tcp));
    assert_eq!(seen, offer.replace("2855 TCP", "40000 TCP"));
    assert_eq!(settled.unwrap().1, offer.replace("2855 TCP", "40000 TCP").replace("active", "passive"));
}

/// TS 29.162 §10: a network is not shown addresses of others.
#[test]
fn the_origin_is_changed_where_it_is_hidden() {
    let mut facts = terminals();
    facts.answerer.hide_origin = true;
    let offer = document(MSRPS);
    let plan = plan(&offer, &Policy::default(), &facts);
    let mut text = offer.clone();
    apply(plan.all_edits(), &mut text, given, None).unwrap();
    assert!(String::from_utf8_lossy(&text.to_bytes()).contains("o=- 1 1 IN IP4 203.0.113.9\r\n"));
    let settlement = settle(&plan, &offer, &facts).unwrap();
    assert!(settlement.all_edits().all(|e| e.change != Change::Origin));
}

/// RFC 3264 §6: answers of another shape, or of less protection.
#[test]
fn answers_that_do_not_fit() {
    let bad = [
        ("", "the answer has not as many media lines as the offer"),
        ("m=message 1 TCP/MSRP *\r\n", "the answer has another transport than the offer"),
        (
            "m=message 1 TCP/TLS/MSRP *\r\na=3ge2ae:requested\r\n",
            "security that ends at the access edge is asked for in an answer",
        ),
        (
            "m=message 1 TCP/TLS/MSRP *\r\na=setup:actpass\r\na=3ge2ae:odd\r\n",
            "security that ends at the access edge is asked for in an answer",
        ),
    ];
    let plan = plan(&document(MSRPS), &Policy::default(), &terminals());
    for (answer, reason) in bad {
        let refusal = settle(&plan, &document(answer), &terminals()).unwrap_err();
        assert_eq!((refusal.status, refusal.reason), (488, reason), "{answer}");
    }
    // What is passed by is held to the same.
    let audio = super::plan(&document("m=audio 5 RTP/SAVP 0\r\n"), &Policy::default(), &terminals());
    assert!(settle(&audio, &document("m=audio 5 RTP/AVP 0\r\n"), &terminals()).is_err());
    let none = settle(&audio, &document("m=audio 5 RTP/SAVP 0\r\n"), &terminals()).unwrap();
    assert_eq!(none.lines, [None]);
    // A line not taken is not judged.
    let not = settle(&plan, &document("m=message 0 TCP *\r\n"), &terminals()).unwrap();
    assert_eq!(not.lines, [None]);
}

/// RFC 4145 §4.1: who waits must say where.
#[test]
fn a_passive_end_needs_an_address() {
    let plan = plan(&document(MSRPS), &Policy::default(), &terminals());
    for address in ["0.0.0.0", "host.example"] {
        let answer = format!("m=message 7 TCP/TLS/MSRP *\r\nc=IN IP4 {address}\r\na=setup:passive\r\n");
        let refusal = settle(&plan, &document(&answer), &terminals()).unwrap_err();
        assert_eq!(refusal.reason, "the passive end gives no address to connect to");
        let answer = answer.replace("passive", "active");
        assert!(settle(&plan, &document(&answer), &terminals()).is_ok());
    }
}
