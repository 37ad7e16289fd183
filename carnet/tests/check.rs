//! `carnet check`: every file in docs/examples is good; every mistake made in one of them is
//! pointed at.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_tls::{Credential, SubjectName};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const FILES: [&str; 14] = [
    "agw-a.toml",
    "agw-b.toml",
    "alice.toml",
    "bob.toml",
    "border-a.toml",
    "border-b.toml",
    "conference-a.toml",
    "interconnect-a.toml",
    "interconnect-b.toml",
    "kms.toml",
    "mrfp-a.toml",
    "steered.toml",
    "trgw-a.toml",
    "trgw-b.toml",
];

/// docs/examples, with what docs/running.md has one make beside them.
fn examples() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, octets: &[u8]| std::fs::write(directory.path().join(name), octets).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples")).unwrap() {
        let path = entry.unwrap().path();
        write(path.file_name().unwrap().to_str().unwrap(), &std::fs::read(&path).unwrap());
    }
    for name in ["kms", "other"] {
        let credential = Credential::self_signed(&[SubjectName::Dns(format!("{name}.example"))], 2).unwrap();
        write(&format!("{name}.pem"), &credential.certificate_pem().unwrap());
        write(&format!("{name}.key"), &credential.private_key_pem().unwrap());
    }
    // A border and its gateway in one file.
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let gateway = read("trgw-a.toml").replace("interconnect-a@tcp:10.1.0.3:2944", "local:interconnect-a");
    write("whole.toml", (read("interconnect-a.toml") + &gateway).as_bytes());
    let server = read("conference-a.toml").replace("listen = [\"tls:10.1.0.5:2944\"], ", "");
    let server = server.replace(", tls = { psk = \"mp.psk\" }", "");
    let gateway = read("mrfp-a.toml").replace("conference-a@tls:10.1.0.5:2944", "local:conference-a");
    write("rooms.toml", (server + &gateway.replace("control-tls = { psk = \"mp.psk\" }", "")).as_bytes());
    write("mp.psk", b"mrfp-a = \"000102030405060708090a0b0c0d0e0f\"\n");
    write("short.token", b"short\n");
    for user in ["alice", "bob", "conference-a"] {
        write(&format!("{user}.password"), b"a password\n");
        write(&format!("{user}.psk"), b"000102030405060708090a0b0c0d0e0f\n");
    }
    directory
}

fn check(directory: &Path, file: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_carnet"))
        .args(["check", "--json", "-c"])
        .arg(directory.join(file))
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

#[test]
fn every_example_is_good() {
    let directory = examples();
    let mut configurations: Vec<_> =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            // Lists of users are no role's configuration; borders name them. Others' files are not ours.
            .filter(|name| name.ends_with(".toml") && !name.starts_with("users-"))
            .collect();
    configurations.sort();
    assert_eq!(configurations, FILES);
    let text_of = |file: &str| std::fs::read_to_string(directory.path().join(file)).unwrap();
    for file in FILES {
        let output = check(directory.path(), file);
        let seen = json(&output);
        assert!(output.status.success() && seen["ok"] == true, "{file}: {output:?}");
        // And where it can be asked, and that it keeps what goes by.
        let asked = if text_of(file).contains("[admin]") { 2 } else { 0 };
        assert_eq!(seen["roles"].as_array().unwrap().len(), 1 + asked, "{file}: {seen}");
    }
    let whole = json(&check(directory.path(), "whole.toml"));
    assert_eq!(whole["roles"].as_array().map(Vec::len), Some(2), "{whole}");
    let rooms = json(&check(directory.path(), "rooms.toml"));
    assert_eq!(rooms["roles"].as_array().map(Vec::len), Some(4), "{rooms}");
    assert!(rooms["roles"][0].as_str().unwrap().contains("2 rooms and a factory"), "{rooms}");
    let alice = json(&check(directory.path(), "alice.toml"))["roles"][0].as_str().unwrap().to_owned();
    assert!(alice.contains("sip:alice@a.example") && alice.contains("https://kms.example:8443"), "{alice}");
}

/// What the examples have behind `#` works too when it is taken in, and so does what docs/access.md shows.
#[test]
fn what_examples_suggest_is_good() {
    let directory = examples();
    let file = |name: &str| directory.path().join(name);
    for name in ["edge", "relay"] {
        let credential = Credential::self_signed(&[SubjectName::Dns(format!("{name}.example"))], 2).unwrap();
        std::fs::write(file(&format!("{name}.pem")), credential.certificate_pem().unwrap()).unwrap();
        std::fs::write(file(&format!("{name}.key")), credential.private_key_pem().unwrap()).unwrap();
    }
    let is_setting = |line: &&str| {
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    for name in ["agw-a.toml", "border-a.toml", "steered.toml"] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let taken = |line: &str| line.strip_prefix("# ").filter(is_setting).unwrap_or(line).to_owned() + "\n";
        let whole: String = text.lines().map(taken).collect();
        assert!(
            whole.matches('\n').count() > 12
                && whole.lines().filter(|line| line.starts_with('#')).count() < 9
        );
        std::fs::write(file(name), whole).unwrap();
        let seen = json(&check(directory.path(), name));
        assert_eq!(seen["ok"], true, "{name}: {seen}");
        let words = match name {
            "agw-a.toml" => "certificate",
            "border-a.toml" => "rtpengine",
            _ => {
                "steered over ng at udp:127.0.0.1:2224 by 127.0.0.1/32, 10.1.0.0/24, interfaces public, private"
            }
        };
        assert!(seen["roles"][0].as_str().unwrap().contains(words), "{seen}");
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access.md")).unwrap();
    let blocks: Vec<_> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    std::fs::write(file("users.toml"), "alice = \"a password\"\n").unwrap();
    let [border, gateway, media] = blocks.as_slice() else { panic!("{blocks:#?}") };
    let with_media = border.replacen("control = {", &format!("{media}control = {{"), 1);
    for (name, text) in [("alg.toml", *border), ("agw.toml", *gateway), ("media.toml", &with_media)] {
        std::fs::write(file(name), text).unwrap();
        let seen = json(&check(directory.path(), name));
        assert_eq!(seen["ok"], true, "{name}: {seen}");
    }
}

/// The files that the pages for production show are files that start.
#[test]
fn what_the_pages_for_production_show_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    for name in ["border-a", "interconnect-a", "agw-a", "sip", "kms"] {
        let credential = Credential::self_signed(&[SubjectName::Dns(name.to_owned())], 2).unwrap();
        std::fs::write(file(&format!("{name}.pem")), credential.certificate_pem().unwrap()).unwrap();
        std::fs::write(file(&format!("{name}.key")), credential.private_key_pem().unwrap()).unwrap();
    }
    for authority in ["ca.pem", "partners.pem"] {
        std::fs::copy(file("sip.pem"), file(authority)).unwrap();
    }
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/production");
    let mut shown = 0;
    for page in std::fs::read_dir(pages).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            // Where a package would put things.
            let block = block.replace("/etc/carnet/", "").replace("/var/lib/carnet/", "");
            std::fs::write(file("shown.toml"), block).unwrap();
            let seen = json(&check(directory.path(), "shown.toml"));
            assert_eq!(seen["ok"], true, "{}: {seen}", page.display());
            shown += 1;
        }
    }
    assert_eq!(shown, 4);
}

/// File, what is replaced by what, words of the complaint, and the text it points at.
type Mistake = (&'static str, &'static str, &'static str, &'static str, &'static str);

const MISTAKES: &[Mistake] = &[
    // TOML, names and types.
    ("border-a.toml", "role = \"ims-alg\"", "role = \"ims-alg", "string", ""),
    ("border-a.toml", "role = \"ims-alg\"", "role = \"alg\"", "unknown variant `alg`", "\"alg\""),
    ("border-a.toml", "domain = \"a.example\"", "domian = \"a.example\"", "unknown field `domian`", "domian"),
    ("border-a.toml", "domain = \"a.example\"", "domain = 7", "invalid type", "7"),
    (
        "trgw-a.toml",
        "ports = \"30000-39999\"",
        "ports = \"39999-30000\"",
        "range of ports",
        "\"39999-30000\"",
    ),
    ("trgw-a.toml", "\"headers\"", "\"all\"", "unknown variant `all`", "\"all\""),
    (
        "agw-a.toml",
        "border-a@udp:10.1.0.1:2944",
        "border-a@10.1.0.1",
        "is not a controller",
        "[\"border-a@10.1.0.1\"]",
    ),
    (
        "agw-a.toml",
        "[gateway.agw-a.realm.core]\nv4 = \"10.1.0.2\"\n",
        "[gateway.agw-a.realm.core]\n",
        "neither `v4` nor `v6`",
        "[gateway.agw-a.realm.core]",
    ),
    // What must be there.
    ("border-a.toml", "users-a.toml", "nobody.toml", "there is no file", "\"nobody.toml\""),
    (
        "border-a.toml",
        "gateways = [\"agw-a\"]",
        "gateways = []",
        "owns no gateway",
        "{ listen = [\"udp:10.1.0.1:2944\"], gateways = [] }",
    ),
    (
        "border-a.toml",
        "network = \"core\"\nnext",
        "network = \"moon\"\nnext",
        "no network `moon`",
        "\"moon\"",
    ),
    // A gateway that is steered.
    (
        "steered.toml",
        "udp:127.0.0.1:2224\"]",
        "tcp:0.0.0.0:40001\"]",
        "gives out port 40001 in realm `public`",
        "\"tcp:0.0.0.0:40001\"",
    ),
    (
        "steered.toml",
        "udp:127.0.0.1:2224\"]",
        "tcp:127.0.0.1:2224\"]\ntoken-file = \"short.token\"",
        "a token has 16 to 512 octets, not 5",
        "\"short.token\"",
    ),
    (
        "steered.toml",
        "udp:127.0.0.1:2224\"]",
        "tcp:127.0.0.1:2224\"]\ntoken-file = \"users-a.toml\"",
        "one word of visible ASCII",
        "\"users-a.toml\"",
    ),
    (
        "steered.toml",
        "udp:127.0.0.1:2224\"]",
        "tls:127.0.0.1:2224\"]\ntls = { certificate = \"kms.pem\", key = \"other.key\" }",
        "kms.pem",
        "\"kms.pem\"",
    ),
    (
        "steered.toml",
        "udp:127.0.0.1:2224\"]",
        "tls:127.0.0.1:2224\"]\ntls = { certificate = \"kms.pem\", key = \"kms.key\", ca = \"kms.key\" }",
        "",
        "\"kms.key\"",
    ),
    (
        "steered.toml",
        "[gateway.media]\n",
        "[gateway.other]\nrole = \"trgw\"\n[gateway.other.realm.a]\nv4 = \"10.0.0.9\"\nports = \"1-9\"\n\
         [gateway.other.ng]\nlisten = [\"udp:127.0.0.1:2224\"]\n[gateway.media]\n",
        "is taken by",
        "\"udp:127.0.0.1:2224\"",
    ),
    // Conferences.
    ("conference-a.toml", "moderated = 1", "moderated = 2", "no floor 2 whose holders could speak", "2"),
    (
        "conference-a.toml",
        "members = [\"sip:bob@b.example\"]",
        "members = [\"sip:b b@b.example\"]",
        "sip:b b@b.example",
        "\"sip:b b@b.example\"",
    ),
    (
        "conference-a.toml",
        "sip:lobby@conf.a.example",
        "sip:lobby@elsewhere.example",
        "not in the domain conf.a.example",
        "\"sip:lobby@elsewhere.example\"",
    ),
    ("conference-a.toml", "sip:10.1.0.3;transport=tcp", "10.1.0.3", "is not a SIP URI", "\"10.1.0.3\""),
    ("conference-a.toml", "https://kms", "ftp://kms", "", "\"ftp://kms.example:8443\""),
    ("conference-a.toml", "conference-a.psk", "mrfp-a.toml", "not hexadecimal", "\"mrfp-a.toml\""),
    ("rooms.toml", "[gateway.mrfp-a.realm.core]", "[gateway.mrfp-a.realm.other]", "has no realm `core`", ""),
    // What only the roles know.
    (
        "border-a.toml",
        "domain = \"a.example\"\n",
        "domain = \"a example\"\n",
        "is not a domain",
        "\"a example\"",
    ),
    ("border-a.toml", "sip:10.1.0.3;transport=tcp", "10.1.0.3:5060", "is not a SIP URI", "\"10.1.0.3:5060\""),
    (
        "border-a.toml",
        "subscribers = true",
        "contact = \"border a\"\nsubscribers = true",
        "is not a SIP URI",
        "\"border a\"",
    ),
    (
        "border-a.toml",
        "mode = \"built-in\", users = \"users-a.toml\"",
        "mode = \"forward\", next-hop = \"up\", network = \"core\"",
        "is not a SIP URI",
        "\"up\"",
    ),
    (
        "border-a.toml",
        "\"udp:10.1.0.1:2944\"",
        "\"udp:10.1.0.1:5060\"",
        "is taken by `border.border-a.network.core.listen.0` already",
        "\"udp:10.1.0.1:5060\"",
    ),
    (
        "border-a.toml",
        "# Access",
        "[log]\nlevel = \"info,=\"\n# Access",
        "not a filter for the log",
        "\"info,=\"",
    ),
    (
        "interconnect-a.toml",
        "\"tcp:192.0.2.1:5060\"",
        "\"tls:192.0.2.1:5061\"",
        "needs a certificate",
        "[\"udp:192.0.2.1:5060\", \"tls:192.0.2.1:5061\"]",
    ),
    (
        "interconnect-a.toml",
        "role = \"ibcf\"\n",
        "role = \"ibcf\"\ntls = { certificate = \"kms.key\", key = \"kms.key\" }\n",
        "certificate",
        "\"kms.key\"",
    ),
    (
        "interconnect-a.toml",
        "role = \"ibcf\"\n",
        "role = \"ibcf\"\ntls = { certificate = \"kms.pem\", key = \"other.key\" }\n",
        "does not belong to the certificate",
        "\"kms.pem\"",
    ),
    (
        "interconnect-a.toml",
        "role = \"ibcf\"\n",
        "role = \"ibcf\"\ntls = { certificate = \"kms.pem\", key = \"kms.key\", ca = \"users-a.toml\" }\n",
        "",
        "\"users-a.toml\"",
    ),
    ("kms.toml", "name = \"kms.example\"", "name = \"kms example\"", "", "\"kms example\""),
    (
        "kms.toml",
        "tls = { certificate = \"kms.pem\", key = \"kms.key\" }\n",
        "",
        "HTTP without TLS on a public address",
        "[kms]",
    ),
    (
        "kms.toml",
        "key = \"kms.key\"",
        "key = \"other.key\"",
        "does not belong to the certificate",
        "\"kms.pem\"",
    ),
    // What would start and then fail at every call.
    (
        "border-a.toml",
        "10.1.0.3;transport=tcp",
        "10.1.0.3;transport=foo",
        "`foo` is not a transport",
        "\"sip:10.1.0.3;transport=foo\"",
    ),
    (
        "border-a.toml",
        "10.1.0.3;transport=tcp",
        "10.1.0.3;transport=tls",
        "TLS needs [border.border-a.tls]",
        "\"sip:10.1.0.3;transport=tls\"",
    ),
    (
        "border-a.toml",
        "registrar =",
        "policy = { max-calls = 0 }\nregistrar =",
        "no call would be taken",
        "0",
    ),
    ("trgw-a.toml", "witness =", "max-contexts = 0\nwitness =", "no media would be taken", "0"),
    (
        "trgw-a.toml",
        "v4 = \"10.1.0.4\"",
        "v4 = \"0.0.0.0\"",
        "media needs the address of this host",
        "\"0.0.0.0\"",
    ),
    ("whole.toml", "role = \"trgw\"", "role = \"ims-agw\"", "an IBCF controls TrGWs", "\"trgw-a\""),
    (
        "whole.toml",
        "peers = [\"10.1.0.0/24\"]",
        "realm = \"moon\"",
        "gateway `trgw-a` has no realm `moon`",
        "\"moon\"",
    ),
    (
        "whole.toml",
        "peers = [\"192.0.2.3\"]",
        "media = \"v6\"",
        "gateway `trgw-a` has no IPv6 address in realm `peers`",
        "\"v6\"",
    ),
    (
        "whole.toml",
        "# Transition",
        "[gateway.other]\nrole = \"trgw\"\ncontrollers = [\"x@tcp:10.1.0.9:2944\"]\n\
     [gateway.other.realm.r]\nv4 = \"10.1.0.4\"\nports = \"39000-39100\"\n# Transition",
        "gateway `other` gives out ports of 10.1.0.4 too",
        "\"30000-39999\"",
    ),
    // The access edge.
    (
        "agw-a.toml",
        "[gateway.agw-a.realm.core]",
        "certificate = \"kms.pem\"\nkey = \"other.key\"\n[gateway.agw-a.realm.core]",
        "does not belong to the certificate",
        "\"kms.pem\"",
    ),
    (
        "agw-a.toml",
        "[gateway.agw-a.realm.core]",
        "[gateway.agw-a.relay]\nlisten = [\"tcp:198.51.100.2:30005\"]\ndomain = \"a.example\"\nusers = \"users-a.toml\"\n\
         [gateway.agw-a.realm.core]",
        "the gateway gives out port 30005 in realm `access`",
        "[\"tcp:198.51.100.2:30005\"]",
    ),
    (
        "agw-a.toml",
        "[gateway.agw-a.realm.core]",
        "[gateway.agw-a.relay]\nlisten = [\"tcp:192.0.2.2:2855\"]\ndomain = \"a example\"\nusers = \"users-a.toml\"\n\
         [gateway.agw-a.realm.core]",
        "is not a domain",
        "\"a example\"",
    ),
    (
        "agw-a.toml",
        "[gateway.agw-a.realm.core]",
        "[gateway.agw-a.relay]\nlisten = [\"tcp:192.0.2.2:2855\", \"tcp:192.0.2.2:2855\"]\ndomain = \"a.example\"\n\
         users = \"users-a.toml\"\n[gateway.agw-a.realm.core]",
        "is taken by `gateway.agw-a.relay.listen.0` already",
        "\"tcp:192.0.2.2:2855\"",
    ),
    ("border-a.toml", "subscribers = true", "e2ae = 3\nsubscribers = true", "invalid type", "3"),
    (
        "border-a.toml",
        "subscribers = true",
        "max-per-user = 0\nsubscribers = true",
        "no session would be taken",
        "0",
    ),
    // The client.
    ("alice.toml", "[ue]", "[eu]", "unknown field `eu`", "eu"),
    ("alice.toml", "proxy =", "porxy =", "unknown field `porxy`", "porxy"),
    ("alice.toml", "identity = \"sip:alice@a.example\"\n", "", "`identity` is missing", "[ue]"),
    ("alice.toml", "sip:alice@a.example\"", "alice\"", "is not like sip:alice@example.com", "\"alice\""),
    ("alice.toml", "sip:alice@a.example\"", "sip:alice@a example\"", "", "\"sip:alice@a example\""),
    (
        "alice.toml",
        "transport=tcp",
        "transport=sctp",
        "sctp is not a transport: udp, tcp or tls",
        "\"sip:198.51.100.1:5060;transport=sctp\"",
    ),
    (
        "kms.toml",
        "[kms]",
        "[records]\nfile = \"not/there/sessions.jsonl\"\n[kms]",
        "there is no directory for",
        "\"not/there/sessions.jsonl\"",
    ),
    (
        "kms.toml",
        "[kms]",
        "[admin]\nlisten = \"0.0.0.0:8443\"\ntls = { certificate = \"kms.pem\", key = \"kms.key\", ca = \"kms.pem\" }\n[kms]",
        "is taken by `admin.listen` already",
        "\"0.0.0.0:8443\"",
    ),
    (
        "kms.toml",
        "[kms]",
        "[admin]\nlisten = \"127.0.0.1:9460\"\ntoken-file = \"short.token\"\n[kms]",
        "a token has 16",
        "\"short.token\"",
    ),
    (
        "kms.toml",
        "[kms]",
        "[admin]\nlisten = \"127.0.0.1:9460\"\ntls = { certificate = \"kms.pem\", key = \"other.key\" }\n[kms]",
        "",
        "\"kms.pem\"",
    ),
    ("alice.toml", "sip:198.51.100.1:5060", "198.51.100.1", "", "\"198.51.100.1;transport=tcp\""),
    (
        "alice.toml",
        "https://kms.example",
        "ftp://kms.example",
        "must begin with https: or http:",
        "\"ftp://kms.example:8443\"",
    ),
    ("alice.toml", "kms = \"https://kms.example:8443\"\n", "", "`kms` is missing", "[ue]"),
    ("alice.toml", "kms-key-file = \"alice.psk\"\n", "", "`kms-key-file` is missing", "[ue]"),
    ("alice.toml", "\"alice.psk\"", "\"alice.password\"", "not hexadecimal digits", "\"alice.password\""),
    ("alice.toml", "\"alice.psk\"", "\"nothing.psk\"", "nothing.psk", "\"nothing.psk\""),
    ("alice.toml", "\"alice.password\"", "\"nothing.password\"", "nothing.password", "\"nothing.password\""),
    ("alice.toml", "\"kms.pem\"", "\"alice.psk\"", "alice.psk", "\"alice.psk\""),
    ("alice.toml", "kms-ca-file = \"kms.pem\"", "kms-fingerprint = \"SHA-256 AB\"", "", "\"SHA-256 AB\""),
    ("alice.toml", "[ue]", "[kms]\n[ue]", "`kms` in a client's file", "kms"),
];

/// A text without its frame and the places where it was folded.
fn unfolded(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '│').collect()
}

#[test]
fn every_mistake_is_pointed_at() {
    let mut missed = Vec::new();
    for (file, from, to, says, text) in MISTAKES {
        let directory = examples();
        let path = directory.path().join(file);
        let good = std::fs::read_to_string(&path).unwrap();
        assert!(good.contains(from), "{file} has no {from}");
        std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let output = check(directory.path(), file);
        let seen = json(&output);
        let (message, at) = (seen["error"].as_str().unwrap_or_default(), &seen["at"]);
        // A person sees the line of the file, the place in it marked, and what is wrong.
        let shown = unfolded(&String::from_utf8_lossy(&output.stderr));
        let place = format!("{}:{}:{}", path.display(), at["line"], at["column"]);
        let good = output.status.code() == Some(1)
            && seen["ok"] == false
            && message.contains(says)
            && at["text"].as_str().is_some_and(|t| t.trim_end().starts_with(text))
            && [message, &place, "here"].iter().all(|part| shown.contains(&unfolded(part)));
        if !good {
            missed.push(format!("{file}: {from} → {to}: {seen}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// The list of users is a file of its own: the complaint points into it, and shows no password.
#[test]
fn a_mistake_in_the_list_of_users_is_pointed_at_there() {
    for (text, says, column) in [
        ("alice = \"secret\"\nbob = 7\n", "not a line of a list of users", 7),
        ("alice = \"secret\"\nbob = \"secret\n", "not a line of a list of users", 14),
        ("alice = \"secret\"\nalice = \"secret\"\n", "not a line of a list of users", 1),
        ("alice = \"secret\"\n\"bo b\" = \"secret\"\n", "`bo b` cannot be the user part", 1),
    ] {
        let directory = examples();
        std::fs::write(directory.path().join("users-a.toml"), text).unwrap();
        let output = check(directory.path(), "border-a.toml");
        let seen = json(&output);
        assert!(seen["error"].as_str().unwrap().contains(says), "{seen}");
        assert!(seen["at"]["file"].as_str().unwrap().ends_with("users-a.toml"), "{seen}");
        assert_eq!((&seen["at"]["line"], &seen["at"]["column"]), (&2.into(), &column.into()), "{seen}");
        assert!(!String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).contains("secret"));
    }
}

/// `carnet run` says the same, before anything has started.
#[test]
fn run_refuses_with_the_same_words() {
    let directory = examples();
    let path = directory.path().join("border-a.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("sip:10.1.0.3;transport=tcp", "10.1.0.3:5060")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_carnet")).args(["run", "-c"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = good.lines().position(|line| line.starts_with("next-hop")).unwrap() + 1;
    let place = format!("border-a.toml:{line}:");
    assert!(shown.contains("is not a SIP URI") && shown.contains(&place), "{shown}");
}
