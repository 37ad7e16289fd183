//! A border and a gateway where the TLS of terminals ends (e2ae): the gateway has a private key there, and sees what is inside.

#[allow(dead_code, reason = "what others need")]
#[path = "../../access/edge/call.rs"]
mod call;
#[allow(dead_code, reason = "what others need")]
#[path = "../../access/edge/stage.rs"]
mod stage;

use crate::crawl::Api;
use crate::search::{Secrets, assert_finds};
use crate::{assert_nowhere, certificate, key_file, seen_of, written};
use call::{BOTH, assert_clean, assert_secured, clear, open, secured, talk};
use openssl::hash::{MessageDigest, hash};
use stage::Stage;

#[test]
fn a_gateway_that_ends_tls_tells_no_secret() {
    let mut secrets = Secrets::default();
    for user in ["alice", "bob"] {
        let password = format!("{user}s-password");
        let proof = hash(MessageDigest::md5(), format!("{user}:a.example:{password}").as_bytes()).unwrap();
        secrets.add(&format!("what {user}'s password comes to"), &*proof);
        secrets.add(&format!("{user}'s password"), &password);
    }
    let authentication = "authentication = { keys = { 0x11 = { file = \"iq.auth\", peer = \"";
    let everything = "[log]\nlevel = \"trace\"";
    let border = [
        ("[log]\nlevel = \"info,carnet=debug\"", everything),
        ("gateways = [\"agw\"] }", &format!("gateways = [\"agw\"], {authentication}agw\" }} }} }} }}")),
        ("[border.alg]\n", "[records]\nfile = \"sessions.jsonl\"\n[border.alg]\n"),
    ];
    let gateway = [
        ("[log]\nlevel = \"info,carnet=debug\"", everything),
        (
            "role = \"ims-agw\"\n",
            &format!("role = \"ims-agw\"\nwitness = \"headers\"\ncontrol-{authentication}alg\" }} }} }}\n"),
        ),
        (
            "v4 = \"198.51.100.2\"\n",
            "v4 = \"198.51.100.2\"\ncertificate = \"edge.pem\"\nkey = \"edge.key\"\n",
        ),
    ];
    let stage = Stage::prepared(&border, &gateway, |stage| {
        let directory = stage.lab.directory();
        secrets
            .add("the key of the authentication header", key_file(&directory.join("iq.auth"), str::to_owned));
        secrets.add("the gateway's TLS key", certificate(directory, "edge", "DNS:edge.example"));
    });
    let Some(mut stage) = stage else { return };
    stage.register("alice", &BOTH);
    let fingerprint = stage.certificate("alice", "SHA-256");
    let offered = stage.offer("alice", "server", &secured("alice", true, "active", Some(&fingerprint), true));
    assert_clean(&offered, true);
    open(&mut stage, "server", None, None);
    let answered = stage.answer("server", "alice", &clear("server", true, "passive"));
    let shown = assert_secured(&answered, true);
    open(&mut stage, "alice", Some("alice"), Some(&answered.socket()));
    talk(&mut stage, "alice", "server");
    assert!(stage.lab.output("alice", "out").contains(&shown), "the certificate of the file is shown");

    let mut places = Vec::new();
    let names: &[(&str, &[&str])] = &[
        ("gateway", &["agw"]),
        ("border", &["alg"]),
        ("number", &["1"]),
        ("room", &["none"]),
        ("member", &["none"]),
        ("name", &["none"]),
        ("identity", &["sip:none@a.example"]),
        ("ticket", &["0000000000000000"]),
        ("floor", &["1"]),
        ("node", &["other"]),
    ];
    for (host, socket) in [("alg", "alg.sock"), ("agw", "agw.sock")] {
        // The socket is a file: it is reached from every host.
        let answers = Api::at(&stage.lab.directory().join(socket)).crawl(names, &"c0ffee".repeat(8));
        places.extend(answers.into_iter().map(|(place, answer)| (format!("{socket}: {place}"), answer)));
        let index = stage.lab.named(host);
        let pid = stage.lab.process(index).child.id();
        places.extend(seen_of(pid).into_iter().map(|(place, octets)| (format!("{host}: {place}"), octets)));
        let mut command = stage.lab.command(host, env!("CARGO_BIN_EXE_carnet"));
        let output =
            command.args(["gateway", "audit", "agw", "-c", &format!("{host}.toml")]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        places.push((format!("carnet gateway audit at {host}"), output.stdout));
    }
    stage.hang_up("server");
    for host in ["alg", "agw"] {
        let index = stage.lab.named(host);
        stage.lab.process(index).signal("ABRT");
        assert!(stage.lab.process(index).wait(stage::PATIENCE).is_some());
    }
    let holds_secrets = |name: &str| {
        let end = [".key", ".auth", "users.toml", "terminal.py"];
        end.iter().any(|end| name.ends_with(end))
    };
    let files = written(stage.lab.directory(), holds_secrets);
    for name in ["alg.err", "agw.err", "sessions.jsonl"] {
        let (_, octets) = files.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(octets.len() > 1_000, "{name} says nothing");
    }
    places.extend(files);
    assert_finds(&secrets);
    assert_nowhere(&secrets, &places);
}
