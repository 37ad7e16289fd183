use super::*;
use carnet_wire::SeededRandom;

const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// Answers a search from a zone; what was asked, and what it found.
fn find(uri: &str, transports: &[Transport], zone: &[(Ask, Answer)]) -> (Vec<Ask>, Vec<String>) {
    let mut search = Search::new(&uri.parse().unwrap(), transports).expect("a search");
    let (mut asked, mut random) = (Vec::new(), SeededRandom::new(3));
    loop {
        match search.next() {
            Ok(ask) => {
                let answer = zone.iter().find(|(a, _)| *a == ask).map_or(Answer::Nothing, |(_, r)| r.clone());
                asked.push(ask);
                search.answer(answer, &mut random);
            }
            Err(hops) => {
                let show = |h: &Hop| {
                    format!("{h}{}", h.server_name.as_ref().map(|n| format!(" {n}")).unwrap_or_default())
                };
                return (asked, hops.iter().map(show).collect());
            }
        }
    }
}

fn host(name: &str) -> Ask {
    Ask::Address(name.into())
}

fn srv(name: &str) -> Ask {
    Ask::Srv(name.into())
}

fn at(ips: &[&str]) -> Answer {
    Answer::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect())
}

fn record(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv { priority, weight, port, target: target.into() }
}

fn naptr(order: u16, preference: u16, service: &str, replacement: &str) -> Naptr {
    Naptr { order, preference, flags: "s".into(), service: service.into(), replacement: replacement.into() }
}

#[test]
fn addresses_need_no_question() {
    for (uri, hop) in [
        ("sip:192.0.2.1", "UDP 192.0.2.1:5060"),
        ("sip:a@192.0.2.1:5070", "UDP 192.0.2.1:5070"),
        ("sip:[2001:db8::1];transport=tcp", "TCP [2001:db8::1]:5060"),
        ("sips:192.0.2.1", "TLS 192.0.2.1:5061 192.0.2.1"),
        ("sip:192.0.2.1;transport=tls", "TLS 192.0.2.1:5061 192.0.2.1"),
        ("sips:192.0.2.1:5070;transport=tcp", "TLS 192.0.2.1:5070 192.0.2.1"),
        ("sip:example.com;maddr=192.0.2.9", "UDP 192.0.2.9:5060"),
    ] {
        assert_eq!(find(uri, &ALL, &[]), (vec![], vec![hop.to_owned()]), "{uri}");
    }
    let none = |uri: &str, t: &[Transport]| Search::new(&uri.parse().unwrap(), t).is_none();
    assert!(none("tel:+1", &ALL) && none("urn:service:sos", &ALL) && none("mailto:a@b", &ALL));
    assert!(none("sips:a;transport=udp", &ALL) && none("sip:a;transport=sctp", &ALL));
    assert!(none("sip:a;transport=tls", &[Transport::Udp]));
    assert_eq!(find("sip:192.0.2.1", &[Transport::Tcp], &[]).1, ["TCP 192.0.2.1:5060"]);
}

#[test]
fn a_port_skips_to_addresses() {
    let zone = [(host("example.com"), at(&["2001:db8::5", "192.0.2.5"]))];
    let (asked, hops) = find("sip:example.com:5080;transport=tcp", &ALL, &zone);
    assert_eq!((asked.len(), hops), (1, vec!["TCP [2001:db8::5]:5080".into(), "TCP 192.0.2.5:5080".into()]));
}

/// The example of RFC 3263 §4.
#[test]
fn naptr_srv_address() {
    let zone = [
        (
            Ask::Naptr("example.com".into()),
            Answer::Naptr(vec![
                naptr(90, 50, "SIP+D2T", "_sip._tcp.example.com"),
                naptr(100, 50, "SIP+D2U", "_sip._udp.example.com"),
                naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
                naptr(10, 50, "SIP+D2S", "_sip._sctp.example.com"),
            ]),
        ),
        (srv("_sip._tcp.example.com"), Answer::Srv(vec![record(0, 1, 5060, "s1"), record(1, 2, 5062, "s2")])),
        (srv("_sips._tcp.example.com"), Answer::Srv(vec![record(0, 0, 5061, "s3")])),
        (host("s1"), at(&["192.0.2.1"])),
        (host("s2"), at(&["192.0.2.2"])),
        (host("s3"), at(&["192.0.2.3"])),
    ];
    let (_, hops) = find("sip:example.com", &[Transport::Udp, Transport::Tcp], &zone);
    assert_eq!(hops, ["TCP 192.0.2.1:5060", "TCP 192.0.2.2:5062"]);
    let (_, hops) = find("sip:example.com", &ALL, &zone);
    // The certificate must carry the domain that was asked for, not what DNS made of it.
    assert_eq!(hops, ["TLS 192.0.2.3:5061 example.com", "TCP 192.0.2.1:5060", "TCP 192.0.2.2:5062"]);
    let (_, hops) = find("sips:example.com", &ALL, &zone);
    assert_eq!(hops, ["TLS 192.0.2.3:5061 example.com"]);
}

#[test]
fn without_naptr_and_without_srv() {
    let zone = [
        (srv("_sip._tcp.example.com"), Answer::Srv(vec![record(0, 0, 5061, "s")])),
        (host("s"), at(&["192.0.2.1"])),
    ];
    let (asked, hops) = find("sip:example.com", &ALL, &zone);
    assert_eq!((asked.len(), hops), (5, vec!["TCP 192.0.2.1:5061".to_owned()]));
    let zone = [(host("example.com"), at(&["192.0.2.7"]))];
    let (asked, hops) = find("sip:example.com", &ALL, &zone);
    assert_eq!(asked.last(), Some(&host("example.com")));
    assert_eq!(hops, ["UDP 192.0.2.7:5060"]);
    let (asked, hops) = find("sip:example.com;transport=tcp", &ALL, &zone);
    assert_eq!(
        (asked, hops),
        (vec![srv("_sip._tcp.example.com"), host("example.com")], vec!["TCP 192.0.2.7:5060".into()])
    );
    let (asked, hops) = find("sips:example.com", &ALL, &[]);
    assert_eq!((asked.len(), hops.len()), (3, 0));
    // A record for the root says that there is no such service.
    let zone = [(srv("_sip._tcp.example.com"), Answer::Srv(vec![record(0, 0, 0, ".")]))];
    assert!(find("sip:example.com;transport=tcp", &ALL, &zone).1.is_empty());
    // Also where the host itself has an address, and where the server named has none.
    for target in [".", "gone"] {
        let zone = [
            (srv("_sip._tcp.example.com"), Answer::Srv(vec![record(0, 0, 5061, target)])),
            (host("example.com"), at(&["192.0.2.7"])),
        ];
        let (asked, hops) = find("sip:example.com;transport=tcp", &ALL, &zone);
        assert!(hops.is_empty() && !asked.contains(&host("example.com")), "{target} {asked:?}");
    }
}

#[test]
fn weights_share_and_priorities_order() {
    let (mut random, mut first) = (SeededRandom::new(9), [0; 3]);
    for _ in 0..4000 {
        let got = order(
            vec![record(2, 0, 9, "z"), record(1, 30, 0, "a"), record(1, 10, 1, "b"), record(1, 0, 2, "c")],
            &mut random,
        );
        assert_eq!((got.len(), got.last().unwrap().target.as_str()), (4, "z"));
        first[usize::from(got[0].port)] += 1;
    }
    let [a, b, c] = first;
    assert!((2750..3150).contains(&a) && (850..1100).contains(&b) && (20..200).contains(&c), "{first:?}");
}

#[test]
fn a_zone_without_end_comes_to_an_end() {
    let many = (0..500).map(|n| record(0, 1, n, "h")).collect();
    let zone = [
        (srv("_sip._tcp.example.com"), Answer::Srv(many)),
        (host("h"), at(&["192.0.2.1", "192.0.2.2", "192.0.2.3"])),
    ];
    let (asked, hops) = find("sip:example.com;transport=tcp", &ALL, &zone);
    assert!(asked.len() <= MOST && hops.len() == MOST);
}
