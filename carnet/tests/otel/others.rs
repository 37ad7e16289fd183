//! What is no call of a border: rooms of a conference server with their members, and dialogs that are steered over ng. Each is found in the trace
//! of the call that it belongs to.

#![cfg(feature = "otel")]

use super::common::{PATIENCE, Running, free};
use super::network::{collector, interrupt};
use super::{CARNET, ERROR};
use serde_json::Value;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ROOM: &str = "sip:staff@conf.example";

/// A span's attribute.
fn said<'a>(span: &'a Value, name: &str) -> &'a Value {
    &span["attributes"][name]
}

/// The only one of that name with that attribute.
fn one<'a>(spans: &'a [Value], name: &str, with: (&str, &str)) -> &'a Value {
    let mut found = spans.iter().filter(|span| span["name"] == name && *said(span, with.0) == with.1);
    let span = found.next().unwrap_or_else(|| panic!("no {name} with {with:?} in {spans:#?}"));
    assert!(found.next().is_none(), "one {name} with {with:?}: {spans:#?}");
    span
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

fn run(directory: &Path, name: &str) -> Running {
    Running::start(Command::new(CARNET).args(["run", "-c"]).arg(directory.join(name)))
}

fn ue(directory: &Path, user: &str, action: &[&str]) -> Running {
    Running::start(
        Command::new(CARNET)
            .args(["ue", "--json", "-c"])
            .arg(directory.join(format!("{user}.toml")))
            .args(action),
    )
}

/// A border with its gateway, a conference server with its media server, and a key server, each a process.
fn conference(directory: &Path, endpoint: &str) -> Vec<Running> {
    let otel = format!("[otel]\nendpoint = \"{endpoint}\"\n");
    let (kms, access, core, focus) = (free(), free(), free(), free());
    write(
        directory,
        "kms.toml",
        &format!("[kms]\nname = \"kms.example\"\nlisten = \"{kms}\"\ndata = \"data\"\n{otel}"),
    );
    write(
        directory,
        "border.toml",
        &format!(
            "[border.alg]\nrole = \"ims-alg\"\ndomain = \"a.example\"\ncontrol = {{ gateways = [\"agw\"] }}\n\
             registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\n\
             [border.alg.network.access]\nlisten = [\"tcp:{access}\"]\nsubscribers = true\n\
             [border.alg.network.core]\nlisten = [\"tcp:{core}\"]\n\
             [[border.alg.route]]\ndomain = \"conf.example\"\nnetwork = \"core\"\nnext-hop = \"sip:{focus};transport=tcp\"\n\
             [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"local:alg\"]\n\
             [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"21100-21119\"\n\
             [gateway.agw.realm.core]\nv4 = \"127.0.0.1\"\nports = \"21120-21139\"\n{otel}"
        ),
    );
    write(
        directory,
        "conf.toml",
        &format!(
            "[conference.conf]\ndomain = \"conf.example\"\ntrust-asserted = true\nlisten = [\"tcp:{focus}\"]\n\
             next-hop = \"sip:{core};transport=tcp\"\ncontrol = {{ gateways = [\"mrfp\"] }}\n\
             [conference.conf.kms]\nurl = \"http://{kms}\"\nidentity = \"sip:kms.example\"\n\
             account = \"sip:mrfc@conf.example\"\nkey-file = \"mrfc.psk\"\n\
             [[conference.conf.room]]\nuri = \"{ROOM}\"\nowners = [\"sip:alice@a.example\"]\npolicy = \"members\"\nfloor = [{{ id = 1 }}]\n\
             [gateway.mrfp]\nrole = \"mrfp\"\ncontrollers = [\"local:conf\"]\n\
             [gateway.mrfp.realm.core]\nv4 = \"127.0.0.1\"\nports = \"21140-21159\"\n{otel}"
        ),
    );
    write(directory, "users.toml", "alice = \"a password\"\nbob = \"a password\"\ncarol = \"a password\"\n");
    write(directory, "password", "a password\n");
    let add = |user: &str, more: &[&str], file: &str| {
        let done = Command::new(CARNET)
            .args(["kms", "user", "add", user])
            .args(more)
            .arg("-c")
            .arg(directory.join("kms.toml"))
            .arg("--out")
            .arg(directory.join(file))
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    add("sip:mrfc@conf.example", &["sip:mrfc@conf.example", "sip:*@conf.example"], "mrfc.psk");
    for user in ["alice", "bob", "carol"] {
        add(&format!("sip:{user}@a.example"), &[], &format!("{user}.psk"));
        write(
            directory,
            &format!("{user}.toml"),
            &format!(
                "[ue]\nidentity = \"sip:{user}@a.example\"\npassword-file = \"password\"\n\
                 proxy = \"sip:{access};transport=tcp\"\nkms = \"http://{kms}\"\n\
                 kms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\n"
            ),
        );
    }
    let started = ["kms", "conf", "border"].map(|name| {
        let process = run(directory, &format!("{name}.toml"));
        process.line("ready");
        process
    });
    started.into()
}

/// One calls, one is called, one is turned away: each member is in the trace of its call, below the INVITE that brought it or above the one that
/// called it, with what the key server did for it. The room is a trace of its own, tied to them by links.
#[test]
fn members_are_in_the_traces_of_their_calls() {
    let Some(mut collector) = collector(0, None) else { return };
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut processes = conference(directory, &collector.endpoint());
    let bob = ue(directory, "bob", &["listen"]);
    bob.line("\"registered\"");
    let mut alice = ue(directory, "alice", &["join", ROOM]);
    alice.line("\"joined\"");
    alice.stdin.write_all(b"/floor 1\n/invite sip:bob@a.example\n").unwrap();
    bob.line("\"joined\"");
    // Who may not enter, which is no failure of ours, and still says so.
    let mut carol = ue(directory, "carol", &["join", ROOM]);
    assert!(!carol.child.wait().unwrap().success());
    alice.stdin.write_all(b"/kick sip:bob@a.example\n").unwrap();
    bob.line("\"left\"");
    interrupt(&alice);
    alice.child.wait().unwrap();
    // Rooms of the file end with the process, which sends what it has before it goes.
    let conf = processes.remove(1);
    interrupt(&conf);
    let spans = collector.until(|spans| {
        let count = |name: &str| spans.iter().filter(|span| span["name"] == name).count();
        let of = |name: &str, node: &str| {
            spans.iter().filter(|s| s["name"] == name && *said(s, "carnet.node") == *node).count()
        };
        // Calls of alice, of bob and of carol.
        count("member") == 3 && of("call", "alg") == 3 && of("INVITE", "alg") == 3 && count("floor") == 1
    });
    let member = |name: &str| one(&spans, "member", ("conference.member", &format!("sip:{name}@a.example")));
    let call_of = |member: &Value| {
        let call_id = said(member, "sip.call_id").as_str().unwrap().to_owned();
        one(&spans, "call", ("sip.call_id", &call_id))
    };
    // Alice called: below the INVITE that the border sent, in the trace that her ticket named.
    let alice = member("alice");
    let call = call_of(alice);
    assert_eq!((&alice["trace"], &call["parent"]), (&call["trace"], &"".into()), "{alice:#?} {call:#?}");
    let invites = || spans.iter().filter(|s| s["name"] == "INVITE" && *said(s, "carnet.node") == *"alg");
    let above = invites().find(|span| span["id"] == alice["parent"]).expect("the border's INVITE");
    assert_eq!(above["parent"], call["id"]);
    // Her BYE and the end of her connection are on different ways.
    assert!(
        said(alice, "conference.left") == "gone" || said(alice, "conference.left") == "connection",
        "{alice:#?}"
    );
    let floor = one(&spans, "floor", ("carnet.node", "conf"));
    assert_eq!((&floor["parent"], &floor["trace"]), (&alice["id"], &alice["trace"]));
    let keys: Vec<_> = spans.iter().filter(|s| s["name"] == "KMS resolve").collect();
    assert!(keys.iter().any(|span| span["trace"] == alice["trace"]), "{keys:#?}");
    // Bob was called: the INVITE is below him, and the border's call below that.
    let bob = member("bob");
    let call = call_of(bob);
    assert_eq!((&bob["parent"], said(bob, "conference.called")), (&"".into(), &true.into()));
    let sent = one(&spans, "INVITE", ("carnet.node", "conf"));
    assert_eq!((&sent["parent"], said(sent, "sip.status")), (&bob["id"], &200.into()));
    assert_eq!((&call["parent"], &call["trace"]), (&sent["id"], &bob["trace"]), "{call:#?}");
    assert_eq!(said(bob, "conference.left"), "kicked");
    assert_ne!(bob["trace"], alice["trace"]);
    // Carol was refused.
    let carol = member("carol");
    assert_eq!((&carol["status"], said(carol, "sip.status")), (&ERROR.into(), &403.into()), "{carol:#?}");
    assert_eq!(carol["trace"], call_of(carol)["trace"]);
    // All of them know the room.
    let links: Vec<_> = [alice, bob, carol].iter().map(|span| &span["links"][0]).collect();
    assert!(links[0][0].as_str().is_some_and(|trace| trace.len() == 32), "{links:?}");
    assert!(links.iter().all(|link| *link == links[0]), "{links:?}");
    assert!([alice, bob].iter().all(|span| span["trace"] != links[0][0]));
}

/// A description for a gateway that is steered.
const STEER: &str = r#"
import sys
sys.path.insert(0, sys.argv[1])
import ng
client = ng.Udp("127.0.0.1", int(sys.argv[2]))
def sdp(port, setup):
    return (f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n"
        f"a=accept-types:text/plain\r\na=setup:{setup}\r\na=path:msrp://127.0.0.1:{port}/{setup};tcp\r\n")
call = {"call_id": sys.argv[3], "from_tag": "a"}
for answer in [client("offer", sdp=sdp(9, "active"), **call), client("answer", to_tag="b", sdp=sdp(19, "passive"), **call),
               client("delete", **call)]:
    assert answer["result"] == "ok", answer
"#;

/// Two gateways and a border see the same Call-ID, in three processes that do not know of each other: one trace.
#[test]
fn what_is_steered_is_in_the_trace_of_its_call_id() {
    let Some(mut collector) = collector(0, None) else { return };
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let otel = format!("[otel]\nendpoint = \"{}\"\n", collector.endpoint());
    let (access, control) = (free(), free());
    write(
        directory,
        "border.toml",
        &format!(
            "[border.alg]\nrole = \"ims-alg\"\ndomain = \"a.example\"\n\
             registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\n\
             control = {{ listen = [\"udp:{control}\"], gateways = [\"agw\"] }}\n\
             [border.alg.network.access]\nlisten = [\"tcp:{access}\"]\nsubscribers = true\n{otel}"
        ),
    );
    write(directory, "users.toml", "alice = \"a password\"\n");
    let mut processes = vec![run(directory, "border.toml")];
    let mut steered = Vec::new();
    for (name, ports) in [("left", "21160-21169"), ("right", "21170-21179")] {
        let listen = free();
        write(
            directory,
            &format!("{name}.toml"),
            &format!(
                "[gateway.{name}]\nrole = \"ims-agw\"\n[gateway.{name}.realm.public]\nv4 = \"127.0.0.1\"\nports = \"{ports}\"\n\
                 [gateway.{name}.ng]\nlisten = [\"udp:{listen}\"]\n{otel}"
            ),
        );
        processes.push(run(directory, &format!("{name}.toml")));
        steered.push(listen.port());
    }
    for process in &processes {
        process.line("ready");
    }
    const CALL_ID: &str = "steered-and-signalled@x.example";
    for port in steered {
        let ng = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/ng");
        let mut steer = Command::new("python3");
        let done = steer.args(["-B", "-c", STEER, ng, &port.to_string(), CALL_ID]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    // Nobody known: the border refuses, and that is a call that was tried.
    let mut phone = connected(access);
    let from = "Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKphone\r\nFrom: <sip:eve@a.example>;tag=1\r\n";
    let invite = format!(
        "INVITE sip:bob@a.example SIP/2.0\r\n{from}To: <sip:bob@a.example>\r\nCall-ID: {CALL_ID}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:eve@127.0.0.1;transport=tcp>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    phone.write_all(invite.as_bytes()).unwrap();
    let spans = collector.until(|spans| {
        let of = |name: &str| spans.iter().filter(|span| span["name"] == name).count();
        of("ng dialog") == 2 && of("media") == 2 && of("call") == 1
    });
    let call = one(&spans, "call", ("carnet.node", "alg"));
    assert_eq!(said(call, "sip.call_id"), CALL_ID);
    for name in ["left", "right"] {
        let dialog = one(&spans, "ng dialog", ("carnet.node", name));
        let media = one(&spans, "media", ("carnet.node", name));
        assert_eq!((&dialog["trace"], &media["trace"]), (&call["trace"], &call["trace"]), "{dialog:#?}");
        assert_eq!((&dialog["parent"], &media["parent"]), (&"".into(), &dialog["id"]));
        assert_eq!(
            (said(dialog, "sip.call_id"), said(dialog, "carnet.answered")),
            (&CALL_ID.into(), &true.into())
        );
        let noted: Vec<_> = dialog["events"].as_array().unwrap().iter().map(|event| &event["name"]).collect();
        assert!(noted.contains(&&"offer-planned".into()), "{noted:?}");
        assert!(said(media, "media.address.callee").as_str().is_some_and(|it| it.starts_with("127.0.0.1:")));
    }
}

/// A connection to a socket that is opened soon.
fn connected(address: SocketAddr) -> TcpStream {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < until, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
