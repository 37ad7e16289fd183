//! Processes that are asked over HTTPS: certificates of an authority of one's own, a word, certificates that have to be shown, and all of
//! it renewed while both run. What is wrong is said in words.

use crate::network::Network;
use crate::several::{WORD, ask, node, until};
use serde_json::{Value, json};
use std::process::Command;

fn openssl(network: &Network, arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).current_dir(network.path("")).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An authority: `NAME.pem`, `NAME.key`.
fn authority(network: &Network, name: &str) {
    let (pem, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
    openssl(
        network,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "9",
            "-keyout",
            &key,
            "-out",
            &pem,
            "-subj",
            &subject,
        ],
    );
}

/// A certificate of an authority: `NAME.pem`, `NAME.key`, good for an address until so many days from now.
fn certificate(network: &Network, name: &str, of: &str, address: &str, days: i32) {
    let file = |end: &str| format!("{name}.{end}");
    network.file(&file("ext"), &format!("subjectAltName=IP:{address}\n"));
    let subject = format!("/CN={name}");
    openssl(
        network,
        &[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &file("new.key"),
            "-out",
            &file("csr"),
            "-subj",
            &subject,
        ],
    );
    openssl(
        network,
        &[
            "x509",
            "-req",
            "-in",
            &file("csr"),
            "-CA",
            &format!("{of}.pem"),
            "-CAkey",
            &format!("{of}.key"),
            "-CAcreateserial",
            "-days",
            &days.to_string(),
            "-extfile",
            &file("ext"),
            "-out",
            &file("new.pem"),
        ],
    );
    // Both at once, as who renews does.
    for end in ["pem", "key"] {
        std::fs::rename(network.path(&file(&format!("new.{end}"))), network.path(&file(end))).unwrap();
    }
}

/// Why a process is not reached.
fn why(all: &Value, name: &str) -> String {
    node(all, name)["why"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn processes_are_asked_over_https_and_what_is_wrong_is_said() {
    let mut network = Network::new();
    let (here, plain, shown, old) =
        (network.at(9, 9), network.at(9, 21), network.at(9, 22), network.at(9, 23));
    network.file("word", &format!("{WORD}\n"));
    network.file("other-word", "another-word-of-some-length\n");
    for name in ["ours", "theirs"] {
        authority(&network, name);
    }
    certificate(&network, "plain", "ours", &plain.to_string(), 9);
    certificate(&network, "shown", "ours", &shown.to_string(), 9);
    certificate(&network, "old", "ours", &old.to_string(), -1);
    certificate(&network, "client", "ours", "127.0.0.1", 9);
    certificate(&network, "renewed", "theirs", "127.0.0.1", 9);
    certificate(&network, "stranger", "theirs", "127.0.0.1", 9);
    for (name, at, more, ca) in [
        ("plain", plain, "token-file = \"word\"\n", ""),
        ("shown", shown, "", ", ca = \"ours.pem\""),
        ("old", old, "", ""),
    ] {
        let file = format!("{name}.toml");
        let tls = format!("tls = {{ certificate = \"{name}.pem\", key = \"{name}.key\"{ca} }}");
        let keys = format!("[kms]\nname = \"{name}\"\nlisten = \"{at}:8443\"\ndata = \"data-{name}\"\n");
        network.file(&file, &format!("{keys}[admin]\nlisten = \"{at}:9460\"\n{more}{tls}\n"));
        network.start(name, &["run", "-c", &file]);
        network.wait_for(name, "out", "ready");
    }
    let entry = |name: &str, url: String, more: &str| {
        format!("[[admin.nodes]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\n")
    };
    let https = |at| format!("https://{at}:9460");
    let (ours, word) = ("ca = \"ours.pem\"\n", "token-file = \"word\"\n");
    let with = |name: &str| format!("{ours}certificate = \"{name}.pem\"\nkey = \"{name}.key\"\n");
    let nodes = [
        entry("right", https(plain), &format!("{ours}{word}")),
        entry("wrong-authority", https(plain), &format!("ca = \"theirs.pem\"\n{word}")),
        entry("no-word", https(plain), ours),
        entry("wrong-word", https(plain), &format!("{ours}token-file = \"other-word\"\n")),
        entry("other-name", format!("https://localhost:{}", tunnel(plain)), ours),
        entry("expired", https(old), ours),
        entry("right-both", https(shown), &with("client")),
        entry("shows-nothing", https(shown), ours),
        entry("shows-a-strangers", https(shown), &with("stranger")),
        entry("renewed", https(shown), &with("renewed")),
        entry("no-tls", format!("https://{here}:9460"), ours),
        entry("not-https", format!("http://{plain}:9460"), ""),
    ];
    network.file("node.toml", &format!("[admin]\nlisten = \"{here}:9460\"\n{word}{}", nodes.concat()));
    network.start("node", &["run", "-c", "node.toml"]);
    network.wait_for("node", "out", "ready");
    let asked = |all: &Value| all["nodes"].as_array().unwrap().iter().all(|node| node["state"] != "unknown");
    let all = until(here, "/api/v1/network", "all were asked", asked);
    for name in ["right", "right-both"] {
        assert_eq!(
            (&node(&all, name)["state"], why(&all, name)),
            (&json!("reached"), String::new()),
            "{all:#}"
        );
    }
    for (name, words) in [
        ("wrong-authority", "is of an authority that is not in `ca`"),
        ("no-word", "a token is needed"),
        ("wrong-word", "a token is needed"),
        ("other-name", "is for another name than the one in `url`"),
        ("expired", "its certificate has expired"),
        ("shows-nothing", "it wants to be shown a certificate"),
        ("shows-a-strangers", "does not accept the certificate that it is shown"),
        ("renewed", "does not accept the certificate that it is shown"),
        ("no-tls", "it does not speak TLS there"),
    ] {
        // This process itself may not have listened yet when it was asked first.
        until(here, "/api/v1/network", &format!("{name} is not reached: {words}"), |all| {
            node(all, name)["state"] == "unreachable" && why(all, name).contains(words)
        });
    }
    assert_eq!(node(&all, "not-https")["state"], "unreachable", "{all:#}");

    // Both sides get new certificates while they run: that of the other process by a reload there, ours as it is found.
    certificate(&network, "old", "ours", &old.to_string(), 9);
    network.hang_up("old");
    certificate(&network, "renewed", "ours", "127.0.0.1", 9);
    std::fs::copy(network.path("ours.pem"), network.path("theirs.pem")).unwrap();
    network.file("other-word", &format!("{WORD}\n"));
    let reached = |all: &Value| {
        ["expired", "renewed", "wrong-authority", "wrong-word"]
            .iter()
            .all(|name| node(all, name)["state"] == "reached")
    };
    let all = until(here, "/api/v1/network", "what was renewed is used", reached);
    assert!(why(&all, "shows-nothing").contains("wants to be shown"), "{all:#}");
    // What holds already, one that is asked with it, is renewed by a reload: nothing is lost meanwhile.
    certificate(&network, "client", "ours", "127.0.0.1", 9);
    let (status, said) = ask(here, WORD, "POST", "/api/v1/reload", None);
    let changed = |name: &str| {
        let changes = said["changes"].as_array().unwrap();
        changes.iter().any(|c| c["setting"] == name && c["content"] == "changed" && c["applied"] == true)
    };
    assert!(status == 200 && changed("admin.nodes.right-both.certificate"), "{said:#}");
    until(here, "/api/v1/network", "it is reached with it", |all| {
        node(all, "right-both")["state"] == "reached"
    });
    let told = std::fs::read_to_string(network.path("node.err")).unwrap();
    assert!(!told.contains(WORD) && told.contains("node-lost"), "{told}");
}

/// Somebody who passes on what comes to a port of this host: the same process under another name.
fn tunnel(to: std::net::Ipv4Addr) -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = std::net::TcpStream::connect((to, 9460)) else { continue };
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    port
}
