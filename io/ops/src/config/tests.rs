use super::{Addressing, Config, ConfigError, EngineMode, Other, ProfileName, parse};
use std::path::Path;

const WHOLE: &str = r#"
[border.a]
role = "ibcf"
domain = "a.example"
control = { gateways = ["trgw-a"] }
[border.a.network.inside]
listen = ["udp:127.0.0.1:5060", "tcp:[::1]:5060"]
peers = ["192.0.2.0/24", "2001:db8::1"]
[border.a.network.outside]
listen = ["udp:127.0.0.1:5062"]
[[border.a.route]]
domain = "*"
network = "outside"
next-hop = "sip:192.0.2.7;transport=tcp"

[gateway.trgw-a]
role = "trgw"
controllers = ["local:a", "b@tcp:192.0.2.1:2944"]
[gateway.trgw-a.realm.access]
v4 = "127.0.0.1"
ports = "30000-30499"
[gateway.trgw-a.realm.core]
v4 = "127.0.0.1"
v6 = "::1"
ports = "30500-30999"

[kms]
name = "kms.example"
listen = "127.0.0.1:8443"
data = "kms"
"#;

fn read(text: &str) -> Result<Config, Box<ConfigError>> {
    parse("carnet.toml", text.to_owned(), Path::new("/etc/carnet"))
}

/// The message, and the text it points at.
fn complaint(text: &str) -> (String, String) {
    match read(text).map_err(|e| *e) {
        Err(ConfigError::Wrong { message, at, .. }) => {
            (message, text[at.offset()..at.offset() + at.len()].to_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_network_in_one_file() {
    let config = read(WHOLE).unwrap();
    assert_eq!(config.kms.unwrap().as_ref().data, Path::new("/etc/carnet/kms"));
    let border = config.border["a"].as_ref();
    assert_eq!(border.network["inside"].as_ref().listen.as_ref()[1].to_string(), "tcp:[::1]:5060");
    assert_eq!(border.policy.max_calls, 10_000);
}

#[test]
fn a_misspelt_key_is_pointed_at() {
    let (message, at) = complaint(&WHOLE.replace("name = \"kms.example\"", "nmae = \"kms.example\""));
    assert!(message.contains("unknown field `nmae`"), "{message}");
    assert_eq!(at, "nmae");
}

#[test]
fn each_mistake_has_its_sentence() {
    let wrong = |from: &str, to: &str| complaint(&WHOLE.replace(from, to));
    for (from, to, says, at) in [
        ("\"udp:127.0.0.1:5060\"", "\"udp:localhost\"", "is not an address to listen on", "udp:localhost"),
        ("\"tcp:[::1]:5060\"", "\"tls:[::1]:5061\"", "needs a certificate", "tls:[::1]:5061"),
        ("local:a", "local:b", "no border `b`", "local:b"),
        ("role = \"trgw\"", "role = \"trgw\"\ncontrol-datagram = 70000", "500 to 65507", "70000"),
        ("network = \"outside\"", "network = \"moon\"", "no network `moon`", "moon"),
        (
            "\"*\"\nnetwork = \"outside\"\nnext-hop = \"sip:192.0.2.7;transport=tcp\"",
            "\"tel:\"\nnetwork = \"outside\"",
            "a route for `tel:` needs `next-hop`",
            "[border.a.route]",
        ),
        ("b@tcp:", "b@udp:", "all `udp:` or none", "b@udp"),
        ("b@tcp:", "tcp:", "is not a controller", "tcp:192.0.2.1:2944"),
        ("udp:127.0.0.1:5060", "udp:0.0.0.0:5060", "cannot answer", "0.0.0.0"),
        ("192.0.2.0/24", "192.0.2.0/33", "not an address or prefix", "192.0.2.0/33"),
        ("[\"trgw-a\"]", "[\"other\"]", "does not list `trgw-a`", "local:a"),
        ("[\"local:a\", ", "[", "no gateway can reach", "trgw-a"),
        ("b@tcp:192.0.2.1:2944", "b@tls:192.0.2.1:2944", "needs a certificate or a key", "b@tls"),
        ("b@tcp:192.0.2.1:2944", "b@tcp:192.0.2:2944", "is not a controller", "192.0.2:2944"),
        (
            "role = \"trgw\"",
            "role = \"trgw\"\ncontrol-tls = { psk = \"no.psk\" }",
            "nothing here is reached by `tls:`",
            "no.psk",
        ),
        (
            "role = \"trgw\"",
            "role = \"trgw\"\ncontrol-authentication = { keys = {} }",
            "needs `keys`",
            "keys = {}",
        ),
        (
            "role = \"trgw\"",
            "role = \"trgw\"\ncontrol-authentication = { keys = { 0 = { file = \"k\" } } }",
            "not the index of a key",
            "file = \"k\"",
        ),
        (
            "role = \"trgw\"",
            "role = \"trgw\"\ncontrol-authentication = { keys = { 0x1 = { file = \"no.key\" } } }",
            "there is no file /etc/carnet/no.key",
            "no.key",
        ),
        (
            "role = \"trgw\"",
            "role = \"trgw\"\ncontrol-authentication = { keys = { 1 = { file = \"k\", algorithm = \"md4\" } } }",
            "unknown variant `md4`",
            "md4",
        ),
        (
            "role = \"trgw\"",
            "role = \"trgw\"\ncontrol-from = \"here\"",
            "not an address of this host",
            "here",
        ),
        ("role = \"trgw\"", "role = \"trgw\"\ncontrol-from = []", "no address to send from", "[]"),
        (
            "[\"trgw-a\"] }",
            "[\"trgw-a\"], peers = { trgw-b = [\"192.0.2.2\"] } }",
            "does not own a gateway `trgw-b`",
            "[\"192.0.2.2\"]",
        ),
        ("[\"trgw-a\"] }", "[\"trgw-a\"], peers = { trgw-a = [] } }", "no address may speak", "[]"),
        (
            "[\"trgw-a\"] }",
            "[\"trgw-a\"], peers = { trgw-a = [\"trgw-a.example\"] } }",
            "not an address or prefix",
            "trgw-a.example",
        ),
        ("30500-30999", "30400-30999", "share ports", "realm.core"),
        ("30000-30499", "0-30499", "not a range of ports", "0-30499"),
        ("127.0.0.1:8443", "0.0.0.0:8443", "HTTP without TLS", "[kms]"),
        ("role = \"ibcf\"", "role = \"ims-alg\"", "has subscribers", "[border.a]"),
        ("data = \"kms\"", "data = \"kms\"\nskew = 4000", "between 1 and 3600", "4000"),
        ("data = \"kms\"", "data = \"kms\"\nrate = 0", "between 1 and", "0"),
        ("data = \"kms\"", "data = \"kms\"\nticket-lifetime = 0", "between 1 and", "0"),
        ("data = \"kms\"", "data = \"kms\"\nkey-rotation = 5", "between 60 and", "5"),
        ("data = \"kms\"", "data = \"kms\"\nreplay-capacity = 0", "between 1 and", "0"),
        ("data = \"kms\"", "data = \"kms\"\nsources = 0", "between 1 and", "0"),
        ("data = \"kms\"", "data = \"kms\"\nconnections = 0", "between 1 and", "0"),
        ("data = \"kms\"", "data = \"kms\"\nidentities = \"loose\"", "unknown variant `loose`", "loose"),
        ("data = \"kms\"", "data = \"kms\"\nresolve-path = \"x y\"", "is not the path of a URL", "[kms]"),
        (
            "data = \"kms\"",
            "data = \"kms\"\nsigned = { certificate = \"no.pem\", key = \"k\", ca = \"c\" }",
            "there is no file /etc/carnet/no.pem",
            "no.pem",
        ),
    ] {
        let (message, place) = wrong(from, to);
        assert!(message.contains(says), "{message}");
        assert!(place.contains(at), "{message} points at {place}");
    }
}

#[test]
fn a_registrar_has_room_for_a_terminal() {
    let registrar = "role = \"ims-alg\"\nregistrar = { mode = \"forward\", next-hop = \"sip:192.0.2.7\", \
                     network = \"outside\", contacts = 0 }";
    let text = WHOLE.replace("role = \"ibcf\"", registrar);
    let text = text.replace("peers = [", "subscribers = true\npeers = [");
    let (message, at) = complaint(&text);
    assert!(message.contains("`contacts` is 1 to 64") && at.contains("contacts = 0"), "{message} at {at}");
    let text = text.replace("contacts = 0", "contacts = 1");
    assert!(read(&text).is_ok());
    let (message, _) = complaint(&text.replace("contacts = 1", "digest = []"));
    assert!(message.contains("no algorithm"), "{message}");
}

/// A border with sockets for control; files of the test are there.
fn control(listen: &str, settings: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for file in ["c.pem", "k.pem", "ca.pem", "keys.psk", "key.hex"] {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    let control = format!("control = {{ listen = [{listen}], gateways = [\"trgw-a\"]{settings} }}");
    (directory, WHOLE.replace("control = { gateways = [\"trgw-a\"] }", &control))
}

#[test]
fn control_is_protected_or_the_reason_is_told() {
    let tls = "tls = { certificate = \"c.pem\", key = \"k.pem\", ca = \"ca.pem\" }";
    let keys = "authentication = { keys = { 1 = { file = \"key.hex\", peer = \"trgw-a\" } } }";
    let one = "\"udp:192.0.2.9:2944\"";
    let read_in = |listen: &str, settings: &str| {
        let (directory, text) = control(listen, settings);
        parse("carnet.toml", text.clone(), directory.path()).map(drop).map_err(|error| match *error {
            ConfigError::Wrong { message, at, .. } => {
                (message, text[at.offset()..at.offset() + at.len()].to_owned())
            }
            other => panic!("{other:?}"),
        })
    };
    for (listen, settings) in [
        ("\"tls:192.0.2.9:2944\"", format!(", {tls}")),
        ("\"tls:192.0.2.9:2944\", \"tcp:192.0.2.9:2945\", \"sctp:192.0.2.9:2944\"", format!(", {tls}")),
        ("\"tls:192.0.2.9:2944\"", ", tls = { psk = \"keys.psk\", names = { trgw-a = [\"x\"] } }".to_owned()),
        (one, format!(", {keys}, protected = true")),
        (one, ", datagram = 1232, segments = true".to_owned()),
    ] {
        assert_eq!(read_in(listen, &settings), Ok(()), "{settings}");
    }
    for (listen, settings, says, at) in [
        ("\"tls:192.0.2.9:2944\"", String::new(), "needs a certificate or a key", "tls:192.0.2.9"),
        (one, format!(", {tls}"), "nothing here is reached", "c.pem"),
        ("\"tls:[::1]:1\"", ", tls = { psk = \"no\" }".into(), "there is no file", "no"),
        ("\"tls:[::1]:1\"", ", tls = { psk = \"keys.psk\", ca = \"ca.pem\" }".into(), "not both", "ca.pem"),
        ("\"tls:[::1]:1\"", ", tls = { certificate = \"c.pem\", key = \"k.pem\" }".into(), "`ca`", "k.pem"),
        ("\"tls:[::1]:1\"", ", tls = {}".into(), "TLS needs", "{}"),
        (
            "\"tls:[::1]:1\"",
            ", tls = { psk = \"keys.psk\", psk-identity = \"x\" }".into(),
            "for gateways",
            "x",
        ),
        (
            "\"tls:[::1]:1\"",
            ", tls = { psk = \"keys.psk\", names = { z = [\"x\"] } }".into(),
            "nobody here is called `z`",
            "x",
        ),
        ("\"udp:192.0.2.9:2944\", \"tls:[::1]:1\"", format!(", {tls}"), "not both", "udp:192.0.2.9"),
        ("\"udp:[::1]:2944\"", format!(", {keys}"), "no authentication header over IPv6", "udp:[::1]"),
        ("\"udp:0.0.0.0:2944\"", format!(", {keys}"), "name it", "udp:0.0.0.0"),
        ("\"tls:[::1]:1\"", format!(", {tls}, {keys}"), "is for `udp:`", "key.hex"),
        (one, ", datagram = 499".into(), "500 to 65507", "499"),
        (one, format!(", {}", keys.replace("trgw-a", "trgw-z")), "nobody here is called", "trgw-z"),
    ] {
        let (message, place) = read_in(listen, &settings).unwrap_err();
        assert!(message.contains(says), "{message} instead of {says}");
        assert!(place.contains(at), "{message} points at {place}");
    }
}

#[test]
fn a_gateway_of_another_make_has_settings_of_its_own() {
    let with = |more: &str| WHOLE.replace("[\"trgw-a\"] }", &format!("[\"trgw-a\"], {more} }}"));
    let whole = with(
        "profiles = { trgw-a = [\"any\"] }, weights = { trgw-a = 3 }, grace = 0, audit = 0, \
         pass-through-transport = { trgw-a = \"TCP\" }, alternate = \"b\"",
    );
    let config = read(&whole).unwrap();
    let control = config.border["a"].as_ref().control.as_ref();
    assert_eq!(control.profiles["trgw-a"].as_ref(), &[ProfileName::Any]);
    assert_eq!((control.grace, control.audit, *control.weights["trgw-a"].as_ref()), (0, 0, 3));
    let plain = read(WHOLE).unwrap();
    let control = plain.border["a"].as_ref().control.as_ref();
    assert_eq!((control.grace, control.audit, control.profiles.len()), (60, 300, 0));
    for (more, says, at) in [
        ("profiles = { other = [\"any\"] }", "does not own a gateway `other`", "[\"any\"]"),
        ("weights = { other = 1 }", "does not own a gateway `other`", "1"),
        ("weights = { trgw-a = 0 }", "would never be used", "0"),
        ("profiles = { trgw-a = [] }", "no profile would do", "[]"),
        ("profiles = { trgw-a = [\"iq\"] }", "`iq` is not a profile: write \"any\"", "iq"),
        ("profiles = { trgw-a = [\"iq/0\"] }", "is not a profile", "iq/0"),
        ("profiles = { trgw-a = [\"1q/1\"] }", "is not a profile", "1q/1"),
        ("alternate = \"a\"", "cannot stand in for itself", "a"),
    ] {
        let (message, place) = complaint(&with(more));
        assert!(message.contains(says), "{message} instead of {says}");
        assert!(place.contains(at), "{message} points at {place}");
    }
}

#[test]
fn the_engine_of_a_gateway_is_chosen_and_what_cannot_be_is_pointed_at() {
    let with = |more: &str| WHOLE.replace("role = \"trgw\"", &format!("role = \"trgw\"\n{more}"));
    let config = read(WHOLE).unwrap();
    let usual = config.gateway["trgw-a"].as_ref();
    assert_eq!((usual.engine, &usual.state, &usual.memory), (EngineMode::Auto, &None, &None));
    let config = read(&with("engine = \"kernel\"\nstate = \"media\"\nmemory = 64")).unwrap();
    let chosen = config.gateway["trgw-a"].as_ref();
    assert_eq!(chosen.engine, EngineMode::Kernel);
    assert_eq!(chosen.state.as_ref().unwrap().as_ref(), Path::new("/etc/carnet/media"));
    assert_eq!(chosen.memory.as_ref().unwrap().as_ref(), &64);
    let (message, at) = complaint(&with("engine = \"relay\"\nstate = \"media\""));
    assert_eq!((message.contains("needs the kernel engine"), at.as_str()), (true, "\"media\""));
    let (message, at) = complaint(&with("memory = 15"));
    assert_eq!((message.contains("16 to 1048576"), at.as_str()), (true, "15"));
    for more in ["engine = \"kernel\"", "memory = 64", "state = \"media\""] {
        let (message, _) = complaint(&with(more).replace("trgw\"\n", "mrfp\"\n"));
        assert!(message.contains("streams of a conference end here"), "{message}");
    }
}

#[test]
fn an_empty_file_starts_nothing() {
    assert!(complaint("").0.contains("starts nothing"));
    let admin = "[admin]\nlisten = \"127.0.0.1:9460\"\n";
    assert!(complaint(admin).0.contains("starts nothing"));
    // One that shows others has something to do.
    let nodes = format!("{admin}[[admin.nodes]]\nname = \"gw\"\nurl = \"unix:/run/gw.sock\"\n");
    assert!(super::parse("carnet.toml", nodes, std::path::Path::new("/")).is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let text = WHOLE.replace(
        "domain = \"a.example\"",
        "domain = \"a.example\"\ntls = { certificate = \"no.pem\", key = \"no.key\" }",
    );
    assert_eq!(complaint(&text), ("there is no file /etc/carnet/no.pem".into(), "\"no.pem\"".into()));
}

#[test]
fn no_input_panics() {
    for end in 0..WHOLE.len() {
        let _ = read(&WHOLE[..end]);
    }
}

/// The files that the settings of an edge name, and the text.
fn edge(gateway: &str, realm: &str, border: &str, network: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for file in ["c.pem", "k.pem", "users.toml"] {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    let text = WHOLE
        .replace("role = \"trgw\"", &format!("role = \"ims-agw\"\n{gateway}"))
        .replace("ports = \"30000-30499\"", &format!("ports = \"30000-30499\"\n{realm}"))
        .replace("role = \"ibcf\"", &format!("role = \"ims-alg\"\nregistrar = {{ mode = \"forward\", next-hop = \"sip:192.0.2.7\", network = \"outside\" }}\n{border}"))
        .replace("peers = [\"192", &format!("subscribers = true\n{network}\npeers = [\"192"));
    (directory, text)
}

#[test]
fn an_edge_is_guarded_as_the_file_says() {
    let realm = "certificate = \"c.pem\"\nkey = \"k.pem\"\ntls-only = true\nper-source = 20\naccepts-per-source = 5\nquarantine = 60\n\
                 keepalive = 60\nuser-timeout = 120\nhandshake = 10";
    let relay = "relay = { listen = [\"tls:192.0.2.1:2855\"], domain = \"a.example\", users = \"users.toml\", \
                 tls = { certificate = \"c.pem\", key = \"k.pem\" } }";
    let border = "policy = { e2ae = true, aware = false, other = \"rtpengine\" }\n\
                  rtpengine = { address = \"192.0.2.3:2223\" }\nstate = { directory = \"calls\" }";
    let network = "e2ae = true\nmsrp = \"sessmatch\"\nmax-sessions = 100\nmax-per-user = 4\nmax-per-source = 8\n\
                   rate = 1000\nbandwidth = 100000";
    let (directory, text) = edge(relay, realm, border, network);
    let config = parse("carnet.toml", text, directory.path()).unwrap();
    let gateway = config.gateway["trgw-a"].as_ref();
    let access = gateway.realm["access"].as_ref();
    assert_eq!(access.certificate.as_ref().unwrap().as_ref(), &directory.path().join("c.pem"));
    assert_eq!((access.tls_only, access.quarantine.as_ref().map(|q| *q.as_ref())), (true, Some(60)));
    let relay = gateway.relay.as_ref().unwrap().as_ref();
    assert_eq!(relay.users.as_ref(), &directory.path().join("users.toml"));
    assert_eq!((*relay.expires.as_ref(), *relay.max_per_user.as_ref()), (1_800, 100));
    let border = config.border["a"].as_ref();
    assert_eq!((border.policy.aware, border.policy.other), (false, Other::Rtpengine));
    let state = border.state.as_ref().unwrap().as_ref();
    assert_eq!(state.directory.as_ref(), &directory.path().join("calls"));
    assert_eq!((state.hand_over(), state.gateway_return()), (2, 60));
    assert_eq!(border.network["inside"].as_ref().msrp, Addressing::Sessmatch);
    let plain = read(WHOLE).unwrap();
    let border = plain.border["a"].as_ref();
    assert_eq!((border.policy.e2ae, border.policy.aware, border.policy.other), (true, true, Other::Pass));
    let access = plain.gateway["trgw-a"].as_ref().realm["access"].as_ref();
    assert_eq!((access.tls_only, &access.certificate, &access.quarantine), (false, &None, &None));
}

#[test]
fn an_edge_that_could_not_be_is_pointed_at() {
    let whole = "listen = [\"tcp:192.0.2.1:2855\"], domain = \"a.example\", users = \"users.toml\"";
    let with = |more: &str| format!("relay = {{ {whole}, {more} }}");
    let relay = |from: &str, to: &str| format!("relay = {{ {} }}", whole.replace(from, to));
    for (gateway, realm, border, network, says, at) in [
        ("", "certificate = \"c.pem\"", "", "", "a certificate needs `key`", "c.pem"),
        ("", "key = \"k.pem\"", "", "", "a key needs `certificate`", "k.pem"),
        ("", "certificate = \"no.pem\"\nkey = \"k.pem\"", "", "", "there is no file", "no.pem"),
        (
            "",
            "certificate = \"c.pem\"\nkey = \"k.pem\"\ncertificate-days = 7",
            "",
            "",
            "comes from a file",
            "7",
        ),
        ("control-patience = 4", "", "", "", "`control-patience` is 5 to 600", "4"),
        ("control-patience = 601", "", "", "", "`control-patience` is 5 to 600", "601"),
        ("", "certificate-days = 0", "", "", "`certificate-days` is 1 to 3650", "0"),
        ("", "quarantine = 481", "", "", "`quarantine` is 0 to 480", "481"),
        ("", "handshake = 0", "", "", "`handshake` is 1 to 300", "0"),
        ("", "per-source = 0", "", "", "`per-source` is 1 to", "0"),
        ("", "keepalive = 7201", "", "", "`keepalive` is 0 to 7200", "7201"),
        ("", "user-timeout = 3601", "", "", "`user-timeout` is 0 to 3600", "3601"),
        ("", "", "policy = { other = \"rtpengine\" }", "", "no rtpengine is named", "[border.a]"),
        ("", "", "rtpengine = { address = \"192.0.2.3:1\" }", "", "nothing would go to", "192.0.2.3:1"),
        (
            "",
            "",
            "policy = { other = \"rtpengine\" }\nrtpengine = { address = \"192.0.2.3:1\", timeout = 9 }",
            "",
            "`timeout` is 10",
            "9",
        ),
        (
            "",
            "",
            "policy = { other = \"rtpengine\" }\nrtpengine = { address = \"192.0.2.3:1\", attempts = 0 }",
            "",
            "`attempts` is 1",
            "0",
        ),
        ("", "", "policy = { e2ae = false }", "e2ae = true", "says `e2ae = false`", "true"),
        ("", "", "state = { directory = \"s\", hand-over = 31 }", "", "`hand-over` is 0 to 30", "31"),
        ("", "", "state = { directory = \"s\", gateway-return = 4 }", "", "`gateway-return` is 5", "4"),
        ("", "", "state = { directory = \"s\", sync = 0 }", "", "`sync` is 1 to 60 seconds", "0"),
        ("", "", "state = { directory = \"s\", sync = 61 }", "", "`sync` is 1 to 60 seconds", "61"),
        ("", "", "", "msrp = \"sesmatch\"", "unknown variant `sesmatch`", "sesmatch"),
        ("", "", "", "max-sessions = 0", "no session would be taken", "0"),
        ("", "", "", "bandwidth = 10\nrate = 11", "not even one stream", "10"),
        (&relay("tcp:", "udp:"), "", "", "", "MSRP has no `udp:`", "udp:"),
        (&relay("tcp:", "tls:"), "", "", "", "needs a certificate", "tls:"),
        (&relay("\"tcp:192.0.2.1:2855\"", ""), "", "", "", "the relay listens nowhere", "[]"),
        (&relay("192.0.2.1", "0.0.0.0"), "", "", "", "cannot come back", "0.0.0.0"),
        (&relay("users.toml", "no.toml"), "", "", "", "there is no file", "no.toml"),
        (&with("min-expires = 0"), "", "", "", "`min-expires` is 1", "0"),
        (&with("expires = 10"), "", "", "", "`expires` is `min-expires`", "10"),
        (&with("max-expires = 1000"), "", "", "", "`expires` is `min-expires`", ""),
        (&with("max-per-user = 0"), "", "", "", "nobody would get a URI", "0"),
    ] {
        let (directory, text) = edge(gateway, realm, border, network);
        match parse("carnet.toml", text.clone(), directory.path()).map_err(|e| *e) {
            Err(ConfigError::Wrong { message, at: place, .. }) => {
                let place = &text[place.offset()..place.offset() + place.len()];
                assert!(message.contains(says), "{message} instead of {says}");
                assert!(place.contains(at), "{message} points at {place}");
            }
            other => panic!("{says}: {other:?}"),
        }
    }
    let (message, at) = complaint(
        &WHOLE.replace("listen = [\"udp:127.0.0.1:5062\"]", "listen = [\"udp:127.0.0.1:5062\"]\ne2ae = true"),
    );
    assert!(message.contains("an IBCF has no accesses") && at == "true", "{message} at {at}");
    let mrfp = |more: &str| {
        let gateway = "[gateway.m]\nrole = \"mrfp\"\ncontrollers = [\"c@tcp:192.0.2.1:2944\"]\n";
        complaint(&format!("{gateway}[gateway.m.realm.x]\nv4 = \"127.0.0.1\"\nports = \"1-9\"\n{more}")).0
    };
    assert!(mrfp("certificate-days = 3").contains("only an IMS-AGW"), "{}", mrfp("certificate-days = 3"));
    assert!(mrfp("tls-only = true").contains("an MRFP"), "{}", mrfp("tls-only = true"));
}
