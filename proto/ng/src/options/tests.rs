use super::*;
use crate::{Command, Limits};
use bytes::Bytes;

fn read(body: &[u8]) -> Result<Options, Error> {
    let body = Value::parse(&Bytes::copy_from_slice(body), &Limits::default()).unwrap();
    Options::of(&Request::of(&body).unwrap())
}

fn with(key: &'static str, value: Value) -> Result<Options, Error> {
    Options::of(&Request::new(Command::Offer, "c", "a").with(key, value))
}

fn flags(text: &str) -> Result<Options, Error> {
    with("rtpp_flags", Value::text(text))
}

/// As Debian's Kamailio 5.6.3 writes the flags `replace-origin replace-session-connection
/// SIP-source-address direction=pub direction=priv via-branch=1 ICE=remove RTP/AVP`.
#[test]
fn what_kamailio_sends() {
    let options = read(
        b"d3:sdp5:v=0\r\n3:ICE6:remove5:flagsl18:SIP source addresse9:directionl3:pub4:prive\
          7:replacel6:origin18:session connectione18:transport protocol7:RTP/AVP7:call-id1:c\
          10:via-branch20:z9hG4bKabcdefghijklm13:received froml3:IP49:192.0.2.7e8:from-tag1:a7:command5:offere",
    )
    .unwrap();
    assert_eq!(options.trust_address, Some(false));
    assert_eq!(options.direction, (Some("pub".into()), Some("priv".into())));
    assert_eq!(options.received_from, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(options.via_branch.as_deref(), Some("z9hG4bKabcdefghijklm"));
    let replace = Replace { origin: true, session_connection: true, ..Replace::default() };
    assert_eq!(options.replace, replace);
    assert!(options.unknown.is_empty() && options.inapplicable.is_empty(), "{options:?}");
}

/// The examples of rtpengine's documentation for flags in one text.
#[test]
fn flags_in_one_text() {
    let options = flags(
        "replace-origin via-branch=auto-next strict-source label=callee OSRTP-accept transport-protocol=RTP/AVP \
         address-family=IP4",
    )
    .unwrap();
    assert!(options.replace.origin && options.strict_source);
    assert_eq!(options.label.as_deref(), Some("callee"));
    assert_eq!(options.family, Some(AddressFamily::Ip4));
    assert!(options.unknown.is_empty() && options.inapplicable.is_empty(), "{options:?}");
    let options = flags(
        "via-branch=auto-next OSRTP=[accept] codec=[transcode=[PCMA PCMU] accept=[AMR-WB AMR] strip=[EVS]]  \
         direction=[pub priv] received-from=2001:db8::1 replace=[origin session-connection]",
    )
    .unwrap();
    assert_eq!(options.direction, (Some("pub".into()), Some("priv".into())));
    assert_eq!(options.received_from, Some("2001:db8::1".parse().unwrap()));
    assert!(options.replace.origin && options.replace.session_connection);
    assert!(options.unknown.is_empty(), "{options:?}");
}

#[test]
fn each_option_however_it_is_written() {
    for (text, check) in [
        ("trust-address", (|o| o.trust_address == Some(true)) as fn(&Options) -> bool),
        ("trust_address", |o| o.trust_address == Some(true)),
        ("SIP-source-address", |o| o.trust_address == Some(false)),
        ("sip_source_address", |o| o.trust_address == Some(false)),
        ("trust-address=no", |o| o.trust_address == Some(false)),
        ("strict-source", |o| o.strict_source),
        ("media-address=[2001:db8::9]", |o| o.media_address == "2001:db8::9".parse().ok()),
        ("TOS=184", |o| o.tos == Some(184)),
        ("tos=256", |o| o.tos.is_none() && o.unknown.is_empty()),
        ("delete-delay=7", |o| o.delete_delay == Some(Duration::from_secs(7))),
        ("delete-delay=-1", |o| o.delete_delay.is_none()),
        ("address-family=IP6", |o| o.family == Some(AddressFamily::Ip6)),
        ("internal external", |o| o.direction == (Some("internal".into()), Some("external".into()))),
        ("from-interface=a to-interface=b", |o| o.direction == (Some("a".into()), Some("b".into()))),
        ("fatal", |o| o.fatal),
        ("limit=5", |o| o.limit == Some(5)),
        ("offerer-nat", |o| o.offerer.nat == Some(true)),
        ("answerer-no-nat", |o| o.answerer.nat == Some(false)),
        ("answerer-e2ae", |o| o.answerer.e2ae == Some(true)),
        ("answerer-no-e2ae", |o| o.answerer.e2ae == Some(false)),
        ("answerer-msrp=sessmatch", |o| o.answerer.msrp == Some(Msrp::Sessmatch)),
        ("offerer-msrp=Plain", |o| o.offerer.msrp == Some(Msrp::Plain)),
        ("replace-SDP-version replace-username", |o| o.replace.sdp_version && o.replace.username),
    ] {
        let options = flags(text).unwrap();
        assert!(check(&options), "{text}: {options:?}");
        assert_ne!(options, Options::default().clone_if(text), "{text}");
        let listed = with("flags", Value::texts(text.split(' '))).unwrap();
        assert_eq!(listed, options, "{text}");
    }
}

impl Options {
    /// The default, but for texts that are to leave it.
    fn clone_if(self, text: &str) -> Self {
        let leaves = ["tos=256", "delete-delay=-1"].contains(&text);
        if leaves { Self { fatal: true, ..self } } else { self }
    }
}

#[test]
fn what_means_nothing_here_is_named() {
    let options =
        flags("record-call=yes media-echo=both record_call=yes DTMF-security=drop zap=1 zap blorp ICE=force")
            .unwrap();
    assert_eq!(options.inapplicable, ["DTMF-security", "media-echo", "record-call"]);
    assert_eq!(options.unknown, ["blorp", "zap"]);
    let options = with("offerer-colour", Value::text("red")).unwrap();
    assert_eq!(options.unknown, ["offerer-colour"]);
    let long = with("flags", Value::texts(["x\n".repeat(100).as_str()])).unwrap();
    assert!(long.unknown[0].len() <= 64 && !long.unknown[0].contains('\n'));
}

/// Flags that the manuals of Kamailio's and OpenSIPS's modules show for RTP: nobody misses them on a line of
/// MSRP, and a warning on each call would hide those that matter.
#[test]
fn what_scripts_say_on_every_call_is_no_news() {
    for text in [
        "RTP/AVP replace-session-connection replace-origin ICE=remove",
        "RTP AVP SRTP AVPF DTLS",
        "RTP/SAVPF ICE=force-relay rtcp-mux-offer rtcp-mux-accept generate-mid SDES-off DTLS=passive",
        "UDP/TLS/RTP/SAVPF ICE=force SDES-offerer_pref:AES_CM_128_HMAC_SHA1_80 OSRTP-accept",
        "UDP/TLS/RTP/SAVP rtcp-mux-demux trickle-ICE WebRTC",
        "codec-strip-opus codec-transcode-PCMA transcode-G722 strip-all mask-G729 codec-except-PCMU offer-PCMA",
        "T38-decode T.38-force ptime=20 ptime-reverse=20 repacketize=40 loop-protect asymmetric symmetric",
        "trust-address full-rtcp-attribute no-rtcp-attribute media-handover port-latching NAT-wait",
    ] {
        let options = flags(text).unwrap();
        assert!(options.unknown.is_empty() && options.inapplicable.is_empty(), "{text}: {options:?}");
    }
}

#[test]
fn words_for_finding_the_branch_are_no_branch() {
    for word in ["auto", "extra", "next", "auto-next", "auto-extra"] {
        assert_eq!(flags(&format!("via-branch={word}")).unwrap().via_branch, None);
    }
    let options = flags("via-branch=z9hG4bK7\tstrict-source").unwrap();
    assert_eq!((options.via_branch.as_deref(), options.strict_source), (Some("z9hG4bK7"), true));
}

#[test]
fn each_word_stands_in_one_list_in_its_normal_form() {
    let mut all: Vec<_> = HARMLESS.iter().chain(&INAPPLICABLE).collect();
    for word in &all {
        assert_eq!(normal(word), **word);
        assert!(!(covers(&HARMLESS, word) && covers(&INAPPLICABLE, word)), "{word}");
    }
    let number = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), number);
}

#[test]
fn values_of_the_wrong_kind_are_told() {
    for (key, value) in [
        ("address family", Value::text("IP5")),
        ("media address", Value::text("example.org")),
        ("media address", Value::Integer(1)),
        ("received from", Value::texts(["IP4", "192.0.2.1", "x"])),
        ("received from", Value::texts(["IP4", "nowhere"])),
        ("TOS", Value::text("high")),
        ("TOS", Value::Integer(300)),
        ("delete delay", Value::Integer(100_000)),
        ("direction", Value::texts(["a", "b", "c"])),
        ("direction", Value::List(vec![Value::Integer(1)])),
        ("via-branch", Value::List(vec![])),
        ("flags", Value::Dictionary(vec![])),
        ("limit", Value::Integer(-1)),
        ("offerer-msrp", Value::text("fast")),
    ] {
        let error = with(key, value).unwrap_err();
        let Error::Wrong { key: named, .. } = error else { panic!("{error}") };
        assert_eq!(named, key);
    }
    assert!(matches!(flags("media-address"), Err(Error::Wrong { .. })));
    assert!(flags(&"x ".repeat(257)).is_err());
}

/// What Debian's Kamailio 5.6.3 puts on the wire for flags of a script, as it was received.
mod kamailio {
    use super::*;

    const FIRST_FLAGS: &[u8] =
        b"d8:supportsl10:load limite3:sdp126:v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\
      \r\nt=0 0\r\nm=message 7000 TCP/MSRP *\r\na=path:msrp://192.0.2.1:7000/a;tcp\r\n3:ICE6:remove7:r\
      eplacel6:origin18:session-connectione18:transport-protocol7:RTP/AVP7:call-id4:c0@x10:via-branch9\
      :z9hG4bKb013:received-froml3:IP49:127.0.0.1e8:from-tag2:fa7:command5:offere";

    const SIDES_AND_INTERFACES: &[u8] =
        b"d8:supportsl10:load limite3:sdp126:v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\
      \r\nt=0 0\r\nm=message 7000 TCP/MSRP *\r\na=path:msrp://192.0.2.1:7000/a;tcp\r\n14:address-famil\
      y3:IP63:TOSi184e13:media-address9:192.0.2.912:delete delayi5e12:delete-delay1:55:label1:x13:answ\
      erer-msrp4:cema9:directionl3:pub4:prive5:flagsl13:trust-address13:strict-source11:offerer-nate7:\
      call-id4:c1@x13:received-froml3:IP49:127.0.0.1e8:from-tag2:fa7:command5:offere";

    const TWO_WAYS_OF_SAYING_ONE_THING: &[u8] =
        b"d8:supportsl10:load limite3:sdp126:v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\
      \r\nt=0 0\r\nm=message 7000 TCP/MSRP *\r\na=path:msrp://192.0.2.1:7000/a;tcp\r\n13:received-from\
      10:192.0.2.779:directionl8:internal8:externale5:flagsl18:SIP-source-addresse7:replacel11:SDP-ver\
      sion8:username12:session-name12:zero-addresse7:call-id4:c2@x13:received-froml3:IP49:127.0.0.1e8:\
      from-tag2:fa6:to-tag2:tb7:command5:offere";

    const QUERY: &[u8] =
        b"d8:supportsl10:load limite7:call-id4:c5@x13:received-froml3:IP49:127.0.0.1e8:from-tag2:fa6:to-ta\
      g2:tb7:command5:querye";

    const DELETE: &[u8] =
        b"d8:supportsl10:load limite7:call-id4:c6@x13:received-froml3:IP49:127.0.0.1e8:from-tag2:fa7:comma\
      nd6:deletee";

    const DELETE_OF_A_BRANCH: &[u8] =
        b"d8:supportsl10:load limite12:delete delayi0e12:delete-delay1:05:flagsl5:fatale7:call-id4:c7@x10:\
      via-branch9:z9hG4bKb713:received-froml3:IP49:127.0.0.1e8:from-tag2:fa6:to-tag2:tb7:command6:dele\
      tee";

    /// `replace-origin replace-session-connection ICE=remove RTP/AVP via-branch=auto`
    #[test]
    fn an_offer() {
        let options = read(FIRST_FLAGS).unwrap();
        let expected = Options {
            via_branch: Some("z9hG4bKb0".into()),
            received_from: Some("127.0.0.1".parse().unwrap()),
            replace: Replace { origin: true, session_connection: true, ..Replace::default() },
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    /// `trust-address direction=pub direction=priv address-family=IP6 TOS=184 strict-source media-address=192.0.2.9
    /// delete-delay=5 label=x offerer-nat answerer-msrp=cema`
    #[test]
    fn an_offer_with_flags_of_ours() {
        let options = read(SIDES_AND_INTERFACES).unwrap();
        let expected = Options {
            received_from: Some("127.0.0.1".parse().unwrap()),
            trust_address: Some(true),
            direction: (Some("pub".into()), Some("priv".into())),
            family: Some(AddressFamily::Ip6),
            tos: Some(184),
            strict_source: true,
            media_address: Some("192.0.2.9".parse().unwrap()),
            delete_delay: Some(Duration::from_secs(5)),
            label: Some("x".into()),
            offerer: SideOptions { nat: Some(true), ..SideOptions::default() },
            answerer: SideOptions { msrp: Some(Msrp::Cema), ..SideOptions::default() },
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    /// `SIP-source-address internal external received-from=192.0.2.77 to-tag replace-SDP-version
    /// replace-username replace-session-name replace-zero-address`: the module adds where the message came from
    /// under the same key; what the script says stands first.
    #[test]
    fn a_key_twice() {
        let options = read(TWO_WAYS_OF_SAYING_ONE_THING).unwrap();
        let expected = Options {
            received_from: Some("192.0.2.77".parse().unwrap()),
            trust_address: Some(false),
            direction: (Some("internal".into()), Some("external".into())),
            replace: Replace { username: true, session_name: true, sdp_version: true, ..Replace::default() },
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    /// A query; `rtpengine_delete()`; and that with `to-tag fatal delete-delay=0 via-branch=auto`, all of a dialog.
    #[test]
    fn other_requests() {
        let request =
            |octets| Request::of(&Value::parse(&Bytes::from_static(octets), &Limits::default()).unwrap());
        let query = request(QUERY).unwrap();
        assert_eq!((query.command, query.to_tag.as_deref()), (Command::Query, Some("tb")));
        let delete = request(DELETE).unwrap();
        assert_eq!((delete.command, delete.to_tag.as_deref()), (Command::Delete, None));
        let branch = request(DELETE_OF_A_BRANCH).unwrap();
        assert_eq!((branch.from_tag.as_str(), branch.to_tag.as_deref()), ("fa", Some("tb")));
        let options = branch.options().unwrap();
        assert!(options.fatal && options.unknown.is_empty());
        assert_eq!(
            (options.delete_delay, options.via_branch.as_deref()),
            (Some(Duration::ZERO), Some("z9hG4bKb7"))
        );
    }
}
