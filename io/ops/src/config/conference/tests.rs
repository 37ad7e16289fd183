use super::{FloorAlgorithm, RoomPolicy, Unsealed};
use crate::config::{Config, ConfigError, GatewayRole, parse};

const WHOLE: &str = r#"
[conference.conf]
domain = "conf.example"
listen = ["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"]
factory = ["sip:factory@conf.example"]
control = { gateways = ["mrfp-1", "mrfp-2"], listen = ["tcp:192.0.2.1:2944"] }
store = "conf.redb"
next-hop = "sip:192.0.2.2"
[conference.conf.kms]
url = "https://kms.example"
account = "sip:mrfc@conf.example"
key-file = "conf.psk"
[conference.conf.ad-hoc]
max-members = 20
[[conference.conf.room]]
uri = "sip:staff@conf.example"
subject = "The week"
owners = ["sip:alice@example.net"]
members = ["sip:bob@example.net"]
policy = "members"
moderated = 1
history = { messages = 20, seconds = 600 }
floor = [{ id = 1, algorithm = "chair", chair = "sip:alice@example.net", seconds = 60 }]
reserved = { boss = "sip:alice@example.net" }

[gateway.mrfp-1]
role = "mrfp"
controllers = ["local:conf"]
[gateway.mrfp-1.realm.core]
v4 = "192.0.2.1"
ports = "30000-30999"
"#;

fn read(text: &str) -> Result<Config, Box<ConfigError>> {
    let directory = tempfile::tempdir().unwrap();
    for file in ["conf.psk", "ca.pem"] {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    parse("carnet.toml", text.to_owned(), directory.path())
}

fn complaint(text: &str) -> (String, String) {
    match read(text).map_err(|e| *e) {
        Err(ConfigError::Wrong { message, at, .. }) => {
            (message, text[at.offset()..at.offset() + at.len()].to_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_conference_server_with_its_gateway() {
    let config = read(WHOLE).unwrap();
    let server = config.conference["conf"].as_ref();
    assert!(server.store.as_ref().unwrap().is_absolute(), "relative to the file");
    assert!(server.kms.as_ref().unwrap().as_ref().key_file.as_ref().is_absolute());
    let room = server.room[0].as_ref();
    assert_eq!((room.policy, room.unsealed, room.nicknames), (RoomPolicy::Members, Unsealed::Refuse, true));
    assert_eq!((room.history.messages, room.history.seconds), (20, 600));
    assert_eq!(room.floor[0].as_ref().algorithm, FloorAlgorithm::Chair);
    assert_eq!(*server.ad_hoc.as_ref().unwrap().as_ref().max_members.as_ref(), 20);
    assert_eq!(config.gateway["mrfp-1"].as_ref().role, GatewayRole::Mrfp);
}

#[test]
fn each_contradiction_has_its_sentence() {
    let kms = "[conference.conf.kms]\nurl = \"https://kms.example\"\n\
               account = \"sip:mrfc@conf.example\"\nkey-file = \"conf.psk\"\n";
    let floor =
        "floor = [{ id = 1, algorithm = \"chair\", chair = \"sip:alice@example.net\", seconds = 60 }]";
    for (from, to, says, at) in [
        ("moderated = 1", "moderated = 2", "no floor 2 whose holders could speak", "2"),
        (floor, "", "no floor 1 whose holders", "1"),
        ("id = 1,", "id = 0,", "1 to 65535", "0"),
        (floor, "floor = [{ id = 1 }, { id = 1 }]", "two floors 1", "1"),
        (floor, "floor = [{ id = 1, algorithm = \"chair\" }]", "given by a chair", "chair"),
        (floor, "floor = [{ id = 1, algorithm = \"rotation\", holders = 2 }]", "one holder", "2"),
        (floor, "floor = [{ id = 1, algorithm = \"lottery\" }]", "unknown variant `lottery`", "lottery"),
        (
            "chair = \"sip:alice@example.net\"",
            "chair = \"sip:carol@example.net\"",
            "is to be chair, and may not enter",
            "carol",
        ),
        ("boss = \"sip:alice@", "boss = \"sip:carol@", "has a nickname, and may not enter", "carol"),
        ("moderated = 1", "moderated = 1\ncall = [\"sip:carol@example.net\"]", "is to be called", "carol"),
        ("moderated = 1", "moderated = 1\nnicknames = false", "nicknames are off", "alice"),
        ("policy = \"members\"", "policy = \"open\"", "needs no list of members", "bob"),
        (
            "owners = [\"sip:alice@example.net\"]\nmembers = [\"sip:bob@example.net\"]",
            "",
            "nobody may enter",
            "staff",
        ),
        ("sip:bob@example.net", "bob", "is not like sip:staff@conf.example", "bob"),
        ("uri = \"sip:staff@conf.example\"", "", "needs `uri`", "[[conference.conf.room]]"),
        ("sip:staff@", "sip:factory@", "is there twice", "sip:factory@conf.example"),
        ("factory = [\"sip:factory@conf.example\"]", "", "no factory would make", "[conference.conf.ad-hoc]"),
        ("max-members = 20", "owners = [\"sip:x@example.net\"]", "owns the room", "sip:x@example.net"),
        ("max-members = 20", "max-members = 0", "between 1 and", "0"),
        ("max-members = 20", "stall-seconds = 0", "between 1 and", "0"),
        (kms, "", "a sealed room needs keys", "[conference.conf.ad-hoc]"),
        ("conf.psk", "no.psk", "there is no file", "no.psk"),
        (
            "key-file = \"conf.psk\"",
            "key-file = \"conf.psk\"\nca-file = \"ca.pem\"\nfingerprint = \"SHA-256 AB\"",
            "not both",
            "ca.pem",
        ),
        ("udp:192.0.2.1:5060", "udp:0.0.0.0:5060", "cannot answer", "0.0.0.0"),
        ("\"udp:192.0.2.1:5060\"", "\"tls:192.0.2.1:5061\"", "needs a certificate", "tls:"),
        ("[\"mrfp-1\", \"mrfp-2\"]", "[\"mrfp-2\"]", "does not list `mrfp-1`", "local:conf"),
        ("role = \"mrfp\"", "role = \"trgw\"", "no border `conf`", "local:conf"),
        ("local:conf", "local:other", "no conference `other`", "local:other"),
        ("store = \"conf.redb\"", "limits = { session = 30 }", "at least 90", "session = 30"),
        ("store = \"conf.redb\"", "limits = { members = 0 }", "nobody could enter", "members = 0"),
    ] {
        assert!(WHOLE.contains(from), "{from}");
        let (message, place) = complaint(&WHOLE.replace(from, to));
        assert!(message.contains(says), "{message} instead of {says}");
        assert!(place.contains(at), "{message} points at {place}");
    }
    let whole = WHOLE.replace(
        "role = \"mrfp\"\ncontrollers = [\"local:conf\"]",
        "role = \"trgw\"\ncontrollers = [\"x@tcp:192.0.2.1\"]",
    );
    assert!(complaint(&whole).0.contains("is no MRFP"));
    let clear = WHOLE.replace(kms, "").replace("max-members = 20", "unsealed = \"admit\"");
    assert!(complaint(&clear).1.contains("staff"), "the fixed room is sealed still");
    assert!(read(&clear.replace("moderated = 1", "moderated = 1\nunsealed = \"admit\"")).is_ok());
}

#[test]
fn no_input_panics() {
    for end in 0..WHOLE.len() {
        let _ = read(&WHOLE[..end]);
    }
}
