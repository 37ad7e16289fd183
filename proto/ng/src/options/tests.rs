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
