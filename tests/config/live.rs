//! What comes and goes around a call that is up: networks, sockets, realms, controllers; and reloads that meet calls by the hundred,
//! one another, and mistakes.

use crate::call::Telephone;
use crate::process::{PATIENCE, Process, certificate, ports};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A border with a gateway in the same process, and the doors of an administrator.
pub struct Place {
    directory: tempfile::TempDir,
    admin: u16,
}

/// What a file of it says.
#[derive(Clone)]
pub struct File {
    /// Tables below `[border.net]` and `[gateway.trgw]`, and others.
    pub border: String,
    pub gateway: String,
    pub more: String,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [admin] = ports();
        std::fs::write(directory.path().join("token"), "0123456789abcdef\n").unwrap();
        Self { directory, admin }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn write(&self, file: &File) {
        let (admin, File { border, gateway, more }) = (self.admin, file);
        let text = format!(
            "[border.net]\nrole = \"ibcf\"\ndomain = \"net.example\"\ncontrol = {{ gateways = [\"trgw\"] }}\n{border}\n\
             [gateway.trgw]\nrole = \"trgw\"\ncontrollers = [\"local:net\"]\nengine = \"relay\"\n{gateway}\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\ntoken-file = \"token\"\n{more}"
        );
        std::fs::write(self.path().join("carnet.toml"), text).unwrap();
    }

    fn asks(&self, method: &str, what: &str) -> Value {
        let told = Command::new("curl")
            .args(["-s", "-X", method, "-H", "Authorization: Bearer 0123456789abcdef"])
            .arg(format!("http://127.0.0.1:{}/api/v1/{what}", self.admin))
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&told.stdout);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// What became of a setting.
    pub fn reloaded(&self) -> Vec<(String, bool, String)> {
        let said = self.asks("POST", "reload");
        let changes = said["changes"].as_array().unwrap_or_else(|| panic!("{said}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = changes.iter();
        all.map(|c| (text(&c["setting"]), c["applied"] == true, text(&c["error"]))).collect()
    }

    /// New requests that were answered 503 as the process was behind.
    fn shed(&self) -> usize {
        let told = Command::new("curl")
            .args(["-s", "-H", "Authorization: Bearer 0123456789abcdef"])
            .arg(format!("http://127.0.0.1:{}/metrics", self.admin))
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let mut lines = text.lines().filter(|line| line.starts_with("carnet_sip_requests_shed_total"));
        let behind = lines.find(|line| line.contains("behind")).and_then(|line| line.rsplit(' ').next());
        behind.and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    /// Waits until the gateway holds so many contexts.
    pub fn holds(&self, contexts: u64) {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.asks("GET", "nodes");
            let found = find(&said, "contexts");
            if found == Some(contexts) {
                return;
            }
            assert!(Instant::now() < end, "not {contexts} contexts: {said}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// The first member of that name anywhere.
fn find(value: &Value, name: &str) -> Option<u64> {
    match value {
        Value::Object(members) => {
            members.get(name).and_then(Value::as_u64).or_else(|| members.values().find_map(|v| find(v, name)))
        }
        Value::Array(list) => list.iter().find_map(|v| find(v, name)),
        _ => None,
    }
}

pub fn network(name: &str, listen: &[u16]) -> String {
    let listen: Vec<_> = listen.iter().map(|port| format!("\"udp:127.0.0.1:{port}\"")).collect();
    format!("network.{name} = {{ listen = [{}] }}\n", listen.join(", "))
}

pub fn route(network: &str, next: u16) -> String {
    format!(
        "[[border.net.route]]\ndomain = \"*\"\nnetwork = \"{network}\"\nnext-hop = \"sip:127.0.0.1:{next}\"\n"
    )
}

pub fn realm(name: &str, ports: &str) -> String {
    format!("realm.{name} = {{ v4 = \"127.0.0.1\", ports = \"{ports}\" }}\n")
}

#[test]
fn networks_sockets_and_realms_come_and_go_around_calls() {
    let (caller, first, second) = (Telephone::new(), Telephone::new(), Telephone::new());
    let [a, b, c, other] = ports();
    let place = Place::new();
    let before = File {
        border: network("a", &[a]) + &network("b", &[b]) + &route("b", first.port()),
        gateway: realm("a", "29000-29099") + &realm("b", "29100-29199"),
        more: String::new(),
    };
    place.write(&before);
    let process = Process::start(place.path());
    process.logs("gateway-up");
    let one = caller.calls(a, "one", &first);
    let mut media = caller.talks(&one, &first);
    media.flows("before");
    assert!((29_000..29_100).contains(&media.at().port()));

    // Another socket, other ports, a network with a realm that were not there, and one without that is gone.
    place.write(&File {
        border: network("a", &[other]) + &network("c", &[c]) + &route("c", second.port()),
        gateway: realm("a", "29200-29299") + &realm("c", "29300-29399"),
        ..before.clone()
    });
    process.reload();
    process.logs(&format!("[\"udp:127.0.0.1:{a}\"] → [\"udp:127.0.0.1:{other}\"] (applied)"));
    process.logs("border.net.network.c.listen");
    process.logs("gateway.trgw.realm.c.v4");
    assert!(!process.log().contains("(needs a restart)"), "{}", process.log());
    media.flows("the call that was there");
    let two = caller.calls(other, "two", &second);
    let mut more = caller.talks(&two, &second);
    more.flows("the call that is new");
    assert!((29_200..29_300).contains(&more.at().port()));
    caller.is_refused(a, "three", 503);

    // Back to what was: the call in the network that goes now does not notice.
    place.write(&before);
    process.reload();
    media.flows("still");
    more.flows("here");
    caller.hangs_up(other, &two, &second);
    place.holds(1);
    let four = caller.calls(a, "four", &first);
    caller.talks(&four, &first).flows("and on");
    caller.hangs_up(a, &one, &first);
    caller.hangs_up(a, &four, &first);
    place.holds(0);

    // What nobody needs any more is closed, and what the file names is not.
    for port in [c, other] {
        process.logs(&format!("transport=UDP address=127.0.0.1:{port}"));
    }
    assert!(UdpSocket::bind(("127.0.0.1", c)).is_ok() && UdpSocket::bind(("127.0.0.1", a)).is_err());
}

#[test]
fn a_socket_that_cannot_be_had_leaves_the_one_that_is() {
    let (caller, first, second) = (Telephone::new(), Telephone::new(), Telephone::new());
    let [a, b] = ports();
    let place = Place::new();
    let before = File {
        border: network("a", &[a]) + &network("b", &[b]) + &route("b", first.port()),
        gateway: realm("a", "29400-29449") + &realm("b", "29450-29499"),
        more: String::new(),
    };
    place.write(&before);
    let process = Process::start(place.path());
    process.logs("gateway-up");
    let one = caller.calls(a, "one", &first);
    let mut media = caller.talks(&one, &first);

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    place.write(&File {
        border: network("a", &[port]) + &network("b", &[b]) + &route("b", second.port()),
        ..before.clone()
    });
    let changes = place.reloaded();
    let of = |changes: &[(String, bool, String)], name: &str| {
        changes.iter().find(|(setting, ..)| setting.contains(name)).cloned().unwrap_or_default()
    };
    let (_, applied, why) = of(&changes, "network.a.listen");
    assert!(!applied && why.contains("in use"), "{changes:?}");
    assert!(of(&changes, "route").1, "what can be done is done: {changes:?}");
    process.logs("network.a.listen");
    media.flows("on");
    let two = caller.calls(a, "two", &second);
    caller.hangs_up(a, &two, &second);

    // A network that cannot be had changes nothing of its border.
    place.write(&File {
        border: network("a", &[a]) + &network("b", &[b]) + &network("d", &[port]) + &route("b", first.port()),
        gateway: before.gateway.clone() + &realm("d", "29500-29549"),
        ..before.clone()
    });
    let changes = place.reloaded();
    assert!(!of(&changes, "network.d.listen").1 && !of(&changes, "route").1, "{changes:?}");
    assert!(of(&changes, "realm.d.ports").1, "{changes:?}");
    let three = caller.calls(a, "three", &second);
    caller.hangs_up(a, &three, &second);

    // When it can be had, it is.
    drop(taken);
    let changes = place.reloaded();
    assert!(of(&changes, "network.d.listen").1 && of(&changes, "route").1, "{changes:?}");
    assert_eq!(place.reloaded(), []);
    let four = caller.calls(a, "four", &first);
    caller.hangs_up(a, &four, &first);
    caller.hangs_up(a, &one, &first);
    place.holds(0);
}

#[test]
fn a_gateway_leaves_a_controller_that_is_not_named_any_more_when_its_call_is_over() {
    let (caller, callee) = (Telephone::new(), Telephone::new());
    let directory = tempfile::tempdir().unwrap();
    let [a1, b1, c1, a2, b2, c2] = ports();
    let border = |name: &str, [a, b, control]: [u16; 3]| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let text = format!(
            "[border.{name}]\nrole = \"ibcf\"\ndomain = \"net.example\"\n\
             control = {{ listen = [\"tcp:127.0.0.1:{control}\"], gateways = [\"trgw\"] }}\n{}{}{}",
            network("a", &[a]),
            network("b", &[b]),
            route("b", callee.port()).replace("border.net", &format!("border.{name}")),
        );
        std::fs::write(path.join("carnet.toml"), text).unwrap();
        Process::start(&path)
    };
    let (one, two) = (border("one", [a1, b1, c1]), border("two", [a2, b2, c2]));
    let path = directory.path().join("trgw");
    std::fs::create_dir(&path).unwrap();
    let write = |controllers: &[(&str, u16)]| {
        let all: Vec<_> =
            controllers.iter().map(|(name, port)| format!("\"{name}@tcp:127.0.0.1:{port}\"")).collect();
        let text = format!(
            "[gateway.trgw]\nrole = \"trgw\"\ncontrollers = [{}]\nengine = \"relay\"\nrestart-wait = 0\n{}{}",
            all.join(", "),
            realm("a", "29600-29649"),
            realm("b", "29650-29699")
        );
        std::fs::write(path.join("carnet.toml"), text).unwrap();
    };
    write(&[("one", c1)]);
    let gateway = Process::start(&path);
    one.logs("gateway-up");
    let call = caller.calls(a1, "first", &callee);
    let mut media = caller.talks(&call, &callee);
    media.flows("before");

    // Another one before it: it stays where it is.
    write(&[("two", c2), ("one", c1)]);
    gateway.reload();
    gateway.logs("gateway.trgw.controllers");
    media.flows("in another order");
    // Without the one that has it.
    write(&[("two", c2)]);
    gateway.reload();
    gateway.logs("leaves its controller when");
    one.logs("gateway-draining");
    media.flows("without");
    caller.is_refused(a1, "refused", 503);
    assert!(!two.log().contains("gateway-up"), "not before it is free");
    caller.hangs_up(a1, &call, &callee);
    two.logs("gateway-up");
    let call = caller.calls(a2, "second", &callee);
    caller.talks(&call, &callee).flows("at the other");
    caller.hangs_up(a2, &call, &callee);
}

/// On a busy machine messages are repeated, and a repeated ACK is nothing a scenario can await: it is passed over.
const PATIENT: [&str; 4] = ["-default_behaviors", "all,-abortunexp", "-trace_err", "-nostdin"];

#[test]
fn twenty_reloads_among_calls_by_the_hundred() {
    if Command::new("sipp").arg("-v").output().is_err() {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "sipp is required here");
        eprintln!("skipped: sipp is not installed");
        return;
    }
    let [a, b, c, callee, caller, other] = ports();
    let place = Place::new();
    for (name, text) in [
        ("caller.xml", include_str!("../e2e/sipp/caller.xml")),
        ("callee.xml", include_str!("../e2e/sipp/callee.xml")),
    ] {
        std::fs::write(place.path().join(name), text.replace("@GATEWAY@", "127[.]0[.]0[.]1")).unwrap();
    }
    let file = |with: bool| File {
        border: match with {
            false => network("a", &[a]) + &network("b", &[b]) + &route("b", callee),
            true => {
                network("a", &[a, other]) + &network("b", &[b]) + &network("c", &[c]) + &route("b", callee)
            }
        },
        gateway: match with {
            false => realm("a", "31000-31499") + &realm("b", "31500-31999"),
            true => realm("a", "31000-31399") + &realm("b", "31600-31999") + &realm("c", "31400-31499"),
        },
        more: format!("[trace]\nring = \"{} MiB\"\n", if with { 1 } else { 4 }),
    };
    place.write(&file(false));
    let process = Process::start(place.path());
    let sipp = |scenario: &str, port: u16, more: &[&str]| {
        Command::new("sipp")
            .current_dir(place.path())
            .args(["-sf", scenario, "-i", "127.0.0.1", "-p", &port.to_string(), "-t", "u1"])
            .args(PATIENT)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut called = sipp("callee.xml", callee, &[]);
    let end = Instant::now() + PATIENCE;
    while UdpSocket::bind(("127.0.0.1", callee)).is_ok() {
        assert!(Instant::now() < end, "sipp does not listen");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let target = format!("127.0.0.1:{a}");
    let mut calling =
        sipp("caller.xml", caller, &["-m", "500", "-r", "50", "-l", "100", "-d", "500", &target]);
    let mut reloads = 0;
    while reloads < 20 {
        place.write(&file(reloads % 2 == 0));
        let changes = place.reloaded();
        assert!(!changes.is_empty() && changes.iter().all(|(_, applied, _)| *applied), "{changes:?}");
        reloads += 1;
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let end = Instant::now() + PATIENCE * 3;
    let status = loop {
        match calling.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > end => {
                let _ = (calling.kill(), called.kill());
                panic!("sipp does not end; {}", process.log());
            }
            None => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    };
    let _ = (called.kill(), called.wait());
    // On a machine that does not keep up messages come twice, and a border sheds new calls and counts them: that is none of
    // the reloads' doing. Every other call went as the scenario has it, each description checked, and nothing else is forgiven.
    let told = mistakes(place.path());
    let refused = told.split("Call-Id '").filter(|event| event.contains("received 'SIP/2.0 503 "));
    let refused: BTreeSet<_> = refused.filter_map(|event| event.split('\'').next()).collect();
    let answers = told.split("received 'SIP/2.0 ").skip(1).map(|answer| &answer[..3]);
    let others: Vec<_> = answers.filter(|status| *status >= "300" && *status != "503").collect();
    let over = process.log().matches("cause=caller-hung-up").count();
    assert!(others.is_empty() && refused.len() <= place.shed(), "{told}{}", process.log());
    assert!(over + refused.len() >= 500, "{status}: {over} calls ended in order; {told}{}", process.log());
    place.holds(0);
    assert!(!process.log().contains("panicked"), "{}", process.log());
}

/// What sipp says of calls that failed.
fn mistakes(directory: &Path) -> String {
    let all = std::fs::read_dir(directory).unwrap().flatten();
    let logs = all.filter(|entry| entry.path().to_string_lossy().contains("_errors.log"));
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    logs.map(|entry| read(entry.path())).collect()
}

#[test]
fn reloads_at_once_and_files_that_are_gone() {
    let (caller, first) = (Telephone::new(), Telephone::new());
    let [a, b] = ports();
    let place = Place::new();
    certificate(place.path(), "own", "own.example");
    let file = File {
        border: String::from("tls = { certificate = \"own.pem\", key = \"own.key\" }\n")
            + &network("a", &[a])
            + &network("b", &[b])
            + &route("b", first.port()),
        gateway: realm("a", "29700-29749") + &realm("b", "29750-29799"),
        more: String::new(),
    };
    place.write(&file);
    let process = Process::start(place.path());
    process.logs("gateway-up");
    let one = caller.calls(a, "one", &first);
    let mut media = caller.talks(&one, &first);

    // Several at once: one after the other, and all of them say the same in the end.
    place.write(&File { gateway: file.gateway.clone() + "max-contexts = 7\n", ..file.clone() });
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let ask = || place.asks("POST", "reload");
        let all: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let applied = answers.iter().filter(|said| said["changes"].as_array().is_some_and(|c| !c.is_empty()));
    assert_eq!(applied.count(), 1, "{answers:?}");
    assert_eq!(place.reloaded(), []);

    // A key that is gone: nothing changes, and its name is said. Everything that needs it goes on.
    std::fs::rename(place.path().join("own.key"), place.path().join("gone.key")).unwrap();
    place.write(&File { gateway: file.gateway.clone() + "max-contexts = 9\n", ..file.clone() });
    process.reload();
    process.logs("not reloaded");
    process.logs("own.key");
    assert!(place.asks("POST", "reload").to_string().contains("own.key"));
    std::fs::rename(place.path().join("gone.key"), place.path().join("own.key")).unwrap();
    // A file that is half written.
    std::fs::write(place.path().join("carnet.toml"), "[border.net]\nrole = \"ib").unwrap();
    process.reload();
    assert!(place.asks("POST", "reload")["changes"].is_null());
    std::fs::remove_file(place.path().join("carnet.toml")).unwrap();
    process.reload();
    process.logs("cannot read");
    place.write(&File { gateway: file.gateway.clone() + "max-contexts = 9\n", ..file.clone() });
    let changes = place.reloaded();
    assert!(matches!(&changes[..], [(name, true, _)] if name == "gateway.trgw.max-contexts"), "{changes:?}");
    media.flows("all the time");
    caller.hangs_up(a, &one, &first);
    place.holds(0);
}
