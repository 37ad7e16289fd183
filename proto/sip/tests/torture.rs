//! The messages of RFC 4475 and RFC 5118, each with the treatment its text asks for.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use carnet_sip::{Config, Endpoint, Event, Hop, Input, Limits, Message, Method, Transport, scan};
use carnet_wire::SeededRandom;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// A request that reaches the transaction user, or a response that parses.
    Accepted,
    /// A request that is answered with this status.
    Answered(u16),
    /// Nothing is sent and nobody is told more than that it came.
    Dropped,
}
use Fate::{Accepted, Answered, Dropped};

const RFC4475: [(&str, Fate); 49] = [
    // §3.1.1 valid
    ("wsinv", Accepted),
    ("intmeth", Accepted),
    ("esc01", Accepted),
    ("escnull", Accepted),
    ("esc02", Accepted),
    ("lwsdisp", Accepted),
    ("longreq", Accepted),
    ("dblreq", Accepted), // the REGISTER; the octets behind it are not part of it
    ("semiuri", Accepted),
    ("transports", Accepted),
    ("mpart01", Accepted),
    ("unreason", Accepted),
    ("noreason", Accepted),
    // §3.1.2 invalid
    ("badinv01", Answered(400)),
    ("clerr", Answered(400)),
    ("ncl", Answered(400)),
    ("scalar02", Answered(400)),
    ("scalarlg", Dropped),
    ("quotbal", Answered(400)),
    ("ltgtruri", Answered(400)),
    ("lwsruri", Answered(400)),
    ("lwsstart", Answered(400)),
    ("trws", Answered(400)),
    ("escruri", Answered(400)),
    ("baddate", Accepted), // an element may pass over Date; this one does not read it
    ("regbadct", Answered(400)),
    ("badaspec", Answered(400)),
    ("baddn", Answered(400)),
    ("badvers", Answered(505)),
    ("mismatch01", Answered(400)),
    ("mismatch02", Answered(400)),
    ("bigcode", Dropped),
    // §3.2, §3.3
    ("badbranch", Accepted), // matched as RFC 2543 would
    ("insuf", Answered(400)),
    ("unkscm", Answered(416)),
    ("novelsc", Answered(416)),
    ("unksm2", Accepted), // whether a registrar takes such a Contact is its business
    ("bext01", Answered(420)),
    ("invut", Accepted),    // 415 is up to whoever reads bodies
    ("regaut01", Accepted), // 401 is up to the registrar
    ("multi01", Answered(400)),
    ("mcl01", Answered(400)),
    ("bcast", Accepted), // parses; no transaction of ours fits it
    ("zeromf", Answered(483)),
    ("cparam01", Accepted),
    ("cparam02", Accepted),
    ("regescrt", Accepted),
    ("sdp01", Accepted), // 406 is up to whoever answers
    // §3.4
    ("inv2543", Accepted),
];

const RFC5118: [(&str, Fate); 12] = [
    ("ipv6-good", Accepted),
    ("ipv6-bad", Answered(400)),
    ("port-ambiguous", Accepted),
    ("port-unambiguous", Accepted),
    ("via-received-param-with-delim", Accepted),
    ("via-received-param-no-delim", Accepted),
    ("ipv6-in-sdp", Accepted),
    ("mult-ip-in-header", Accepted),
    ("mult-ip-in-sdp", Accepted),
    ("ipv4-mapped-ipv6", Accepted),
    ("ipv6-bug-abnf-3-colons", Accepted),
    ("ipv6-correct-abnf-2-colons", Accepted),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture").join(name)
}

fn load(rfc: &str, name: &str) -> Bytes {
    std::fs::read(folder(rfc).join(name).with_extension("sip")).expect(name).into()
}

/// Gives the octets to an endpoint that answers all it can.
fn fate(octets: Bytes) -> Fate {
    let is_response = octets.starts_with(b"SIP/");
    let mut config = Config::default();
    config.answering.extensions = Some(Vec::new());
    config.answering.exhausted = true;
    let mut endpoint = Endpoint::new(config, Box::new(SeededRandom::new(1)));
    let hop = Hop::new(Transport::Udp, "192.0.2.77:5060".parse().unwrap());
    endpoint.handle_input(Instant::now(), Input { hop, data: octets });
    let sent: Vec<_> = std::iter::from_fn(|| endpoint.poll_transmit())
        .map(|t| scan(t.data, &Limits::default()).expect("what we send is SIP").message.status().unwrap())
        .filter(|s| *s > 100)
        .collect();
    match (endpoint.poll_event(), sent.as_slice()) {
        (Some(Event::Request { .. }), []) => Accepted,
        (Some(Event::Refused { status: Some(status), .. }), [sent]) if *sent == status => Answered(status),
        (Some(Event::Refused { status: None, .. }), []) => Dropped,
        (None, []) if is_response => Accepted,
        other => panic!("{other:?}"),
    }
}

fn run(rfc: &str, table: &[(&str, Fate)]) {
    let mut files: Vec<_> = std::fs::read_dir(folder(rfc)).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "sip"));
    assert_eq!(files.len(), table.len(), "each file has its line and each line its file");
    let wrong: Vec<_> =
        table.iter().map(|(n, e)| (n, e, fate(load(rfc, n)))).filter(|(_, e, got)| *e != got).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn rfc_4475() {
    run("rfc4475", &RFC4475);
}

#[test]
fn rfc_5118() {
    run("rfc5118", &RFC5118);
}

#[test]
fn all_that_parses_prints_as_it_came() {
    for (rfc, names) in
        [("rfc4475", RFC4475.map(|(n, _)| n).to_vec()), ("rfc5118", RFC5118.map(|(n, _)| n).to_vec())]
    {
        for name in names {
            let octets = load(rfc, name);
            let Ok(scanned) = scan(octets.clone(), &Limits::default()) else { continue };
            let printed = scanned.message.to_bytes();
            assert!(octets.starts_with(&printed), "{name}");
            if scanned.fault.is_some() {
                continue;
            }
            // An edit changes its own line and nothing else.
            let mut edited = scanned.message.clone();
            edited.set_header("X-Carnet", "1").unwrap();
            edited.remove_all("X-Carnet");
            assert_eq!(edited.to_bytes(), printed, "{name}");
        }
    }
}

fn parsed(rfc: &str, name: &str) -> Message {
    Message::parse(load(rfc, name), &Limits::default()).expect(name)
}

#[test]
fn what_the_tortuous_invite_says() {
    let m = parsed("rfc4475", "wsinv");
    assert_eq!(m.to_tag().as_deref(), Some("1918181833n"));
    assert_eq!(m.from().unwrap().display(), Some("J Rosenberg \\\""));
    assert_eq!(m.from_tag().as_deref(), Some("98asjd8"));
    assert_eq!(m.max_forwards().unwrap(), Some(68));
    assert_eq!((m.cseq().unwrap().number, m.cseq().unwrap().method), (9, Method::Invite));
    let vias = m.vias().unwrap();
    let seen: Vec<_> = vias.iter().map(|v| (v.transport(), v.host(), v.branch().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("UDP", "192.0.2.2", "390skdjuw"),
            ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
            ("UDP", "192.168.255.111", "z9hG4bK30239"),
        ]
    );
    assert_eq!(m.header("Subject").as_deref(), Some(""));
    assert_eq!(m.header("NewFangledHeader").as_deref(), Some("newfangled value continued newfangled value"));
    let contact = &m.contacts().unwrap()[0];
    assert_eq!(contact.display(), Some("Quoted string \"\""));
    assert_eq!(contact.param("newparam").as_deref(), Some("newvalue"));
    assert_eq!(contact.param("q").as_deref(), Some("0.33"));
    assert_eq!(m.body().len(), 150);
    assert!(m.routes().unwrap()[0].uri().is_loose());
}

#[test]
fn what_the_others_say() {
    let m = parsed("rfc4475", "intmeth");
    assert_eq!(m.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(m.request_uri().unwrap().host(), "example.com");
    assert_eq!(parsed("rfc4475", "esc02").method().as_str(), "RE%47IST%45R");
    assert_eq!(parsed("rfc4475", "semiuri").request_uri().unwrap().user(), Some("user;par=u%40example.net"));
    assert_eq!(parsed("rfc4475", "dblreq").method(), &Method::Register);
    assert_eq!(parsed("rfc4475", "noreason").reason(), "");
    assert!(parsed("rfc4475", "unreason").reason().starts_with("= 2**3 * 5**2 \u{43d}\u{43e}"));
    assert_eq!(parsed("rfc4475", "mpart01").body().len(), 553);
    assert!(!parsed("rfc4475", "inv2543").body().is_empty());

    let uri = |name| parsed("rfc5118", name).request_uri().unwrap().clone();
    assert_eq!((uri("port-ambiguous").host(), uri("port-ambiguous").port()), ("[2001:db8::10:5070]", None));
    assert_eq!(
        (uri("port-unambiguous").host(), uri("port-unambiguous").port()),
        ("[2001:db8::10]", Some(5070))
    );
    assert_eq!(uri("ipv6-bug-abnf-3-colons").ip(), uri("ipv6-correct-abnf-2-colons").ip());
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let received = parsed("rfc5118", name).top_via().unwrap().received();
        assert_eq!(received, Some("2001:db8::9:255".parse().unwrap()), "{name}");
    }
}
