use super::super::{Config, ConfigError, ControlAddress, parse};
use std::path::Path;

const STEERED: &str = r#"
[gateway.agw]
role = "ims-agw"
[gateway.agw.realm.public]
v4 = "192.0.2.1"
ports = "40000-49999"
[gateway.agw.realm.inside]
v4 = "10.0.0.1"
v6 = "2001:db8::1"
ports = "40000-49999"
[gateway.agw.ng]
listen = ["udp:127.0.0.1:2223"]
"#;

fn read(text: &str, base: &Path) -> Result<Config, Box<ConfigError>> {
    parse("carnet.toml", text.to_owned(), base)
}

fn with(more: &str) -> String {
    format!("{STEERED}{more}\n")
}

/// The message, and the text it points at.
fn complaint(text: &str, base: &Path) -> (String, String) {
    match read(text, base).map_err(|e| *e) {
        Err(ConfigError::Wrong { message, at, .. }) => {
            (message, text[at.offset()..at.offset() + at.len()].to_owned())
        }
        other => panic!("{other:?} of {text}"),
    }
}

#[test]
fn without_interfaces_each_realm_is_one_in_the_order_of_the_file() {
    let config = read(STEERED, Path::new(".")).unwrap();
    let gateway = config.gateway["agw"].as_ref();
    let ng = gateway.ng.as_ref().unwrap().as_ref();
    let names: Vec<_> = ng.interfaces(gateway).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["public", "inside"]);
    let peers: Vec<_> = ng.peers.as_ref().iter().map(|p| format!("{}/{}", p.ip, p.bits)).collect();
    assert_eq!(peers, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(gateway.owners("agw"), [ControlAddress::Local("agw.ng".into())]);
    assert!(ng.allow_plain && ng.aware && !ng.forward_without_cema);
}

#[test]
fn interfaces_stand_in_the_order_of_the_file() {
    let text = with(
        "[gateway.agw.ng.interface.z]\nrealm = \"inside\"\nmedia = \"v6\"\nnat = true\ndscp = 46\nrate = 9\n\
         [gateway.agw.ng.interface.public]\n[gateway.agw.ng.interface.a]\nrealm = \"inside\"\naccess = false",
    );
    let config = read(&text, Path::new(".")).unwrap();
    let gateway = config.gateway["agw"].as_ref();
    let interfaces = gateway.ng.as_ref().unwrap().as_ref().interfaces(gateway);
    let all: Vec<_> = interfaces
        .iter()
        .map(|(name, i)| (name.as_str(), i.realm(name), i.is_access(gateway.role), i.has_e2ae(gateway.role)))
        .collect();
    assert_eq!(
        all,
        [("z", "inside", true, true), ("public", "public", true, true), ("a", "inside", false, false)]
    );
    let text = text.replace("ims-agw", "trgw");
    let config = read(&text, Path::new(".")).unwrap();
    let gateway = config.gateway["agw"].as_ref();
    let (_, first) = gateway.ng.as_ref().unwrap().as_ref().interfaces(gateway).remove(0);
    assert!(!first.is_access(gateway.role) && !first.has_e2ae(gateway.role));
}

#[test]
fn sockets_of_every_kind() {
    let directory = tempfile::tempdir().unwrap();
    for file in ["c.pem", "k.pem", "ca.pem", "token"] {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    let listen = "listen = [\"udp:0.0.0.0:2223\", \"tcp:0.0.0.0:2223\", \"tls:[::]:2224\", \"http:127.0.0.1:2225\", \
                  \"https:127.0.0.1:2226\"]\npeers = [\"192.0.2.0/24\"]\ntoken-file = \"token\"\n\
                  tls = { certificate = \"c.pem\", key = \"k.pem\", ca = \"ca.pem\" }";
    let text = STEERED.replace("listen = [\"udp:127.0.0.1:2223\"]", listen);
    let config = read(&text, directory.path()).unwrap();
    let ng = config.gateway["agw"].as_ref().ng.as_ref().unwrap().as_ref();
    let binds: Vec<_> = ng.listen.as_ref().iter().map(|bind| bind.as_ref().to_string()).collect();
    assert_eq!(binds[2..4], ["tls:[::]:2224", "http:127.0.0.1:2225"]);
    assert_eq!(ng.token_file.as_ref().unwrap().as_ref(), &directory.path().join("token"));
    assert_eq!(ng.tls.as_ref().unwrap().as_ref().key.as_ref(), &directory.path().join("k.pem"));
}

#[test]
fn what_cannot_be_is_pointed_at() {
    let directory = tempfile::tempdir().unwrap();
    for file in ["c.pem", "token"] {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    let listen = |sockets: &str| STEERED.replace("\"udp:127.0.0.1:2223\"", sockets);
    let head = |more: &str| STEERED.replace("role = \"ims-agw\"", &format!("role = \"ims-agw\"\n{more}"));
    let interface = |more: &str| with(&format!("[gateway.agw.ng.interface.public]\n{more}"));
    let tls = "tls = { certificate = \"c.pem\", key = \"c.pem\" }";
    let token = "token-file = \"token\"";
    let tcp = |more: &str| listen("\"tcp:127.0.0.1:2223\"") + more + "\n";
    let cases = [
        (listen(""), "names no socket", "[]"),
        (listen("\"sctp:127.0.0.1:1\""), "is not an address to listen on", "\"sctp:127.0.0.1:1\""),
        (
            listen("\"tcp:[::1]:7\", \"udp:[::1]:7\", \"http:[::1]:7\""),
            "tcp:[::1]:7 listens there",
            "\"http:[::1]:7\"",
        ),
        (listen("\"https:[::1]:7\""), "a `https:` socket needs a certificate", "\"https:[::1]:7\""),
        (with(tls), "nothing here is reached by `tls:`", "{ certificate = \"c.pem\", key = \"c.pem\" }"),
        (with(token), "a token is not asked for by `udp:`", "\"token\""),
        (tcp("token-file = \"no.token\""), "there is no file", "\"no.token\""),
        (with("peers = []"), "nobody could ask", "[]"),
        (with("max-calls = 0"), "no call would be taken", "0"),
        (with("delete-delay = 3601"), "`delete-delay` is 0 to 3600 seconds", "3601"),
        (with("offer-timeout = 0"), "`offer-timeout` is 1 to", "0"),
        (with("silence-timeout = 2592001"), "`silence-timeout` is 0 to", "2592001"),
        (with("listn = 1"), "unknown field `listn`", "listn"),
        (head("controllers = [\"a@tcp:192.0.2.9:2944\"]"), "not both", "[\"a@tcp:192.0.2.9:2944\"]"),
        (head("control-from = [\"192.0.2.9\"]"), "a steered gateway has none", "[\"192.0.2.9\"]"),
        (head("control-datagram = 1400"), "a steered gateway has none", "1400"),
        (STEERED.replace("ims-agw", "mrfp"), "an MRFP cannot be steered", "[gateway.agw.ng]"),
        (interface("realm = \"moon\""), "no realm `moon`", "\"moon\""),
        (
            with("[gateway.agw.ng.interface.moon]\nnat = true"),
            "no realm `moon`",
            "[gateway.agw.ng.interface.moon]",
        ),
        (
            with("[gateway.agw.ng.interface.\"a b\"]\nrealm = \"inside\""),
            "nobody could write this name",
            "a b",
        ),
        (interface("media = \"v6\""), "realm `public` has no IPv6 address", "\"v6\""),
        (interface("access = false\ne2ae = true"), "`e2ae` needs `access = true`", "true"),
        (interface("e2ae = true").replace("ims-agw", "trgw"), "at an IMS-AGW only", "true"),
        (interface("dscp = 64"), "`dscp` is 0 to 63", "64"),
        (interface("rate = 0"), "nothing would pass", "0"),
        (
            STEERED.replace("[gateway.agw.ng]\nlisten = [\"udp:127.0.0.1:2223\"]\n", ""),
            "has no controller",
            "[gateway.agw]",
        ),
    ];
    for (text, says, at) in cases {
        let (message, place) = complaint(&text, directory.path());
        assert!(message.contains(says), "{message} instead of {says}");
        assert!(place.contains(at), "{message} points at {place}");
    }
}

#[test]
fn no_input_panics() {
    for end in 0..STEERED.len() {
        let _ = read(&STEERED[..end], Path::new("."));
    }
}
