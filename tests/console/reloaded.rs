//! Processes of the network that come, go and change while the one that asks them runs.

use crate::network::Network;
use crate::several::{WORD, ask, node, until};
use serde_json::{Value, json};

/// A process that has something to do: keys for nobody.
fn role(network: &Network, host: u8) -> String {
    let at = network.at(9, host);
    format!(
        "[kms]\nname = \"k{host}\"\nlisten = \"{at}:8443\"\ndata = \"data-{host}\"\n[admin]\nlisten = \"{at}:9460\"\ntoken-file = \"word\"\n"
    )
}

#[test]
fn nodes_come_go_and_change_with_the_file() {
    let mut network = Network::new();
    let here = network.at(9, 9);
    network.file("word", &format!("{WORD}\n"));
    network.file("wrong", "a-word-that-opens-nothing-at-all\n");
    for (name, host) in [("one", 21), ("two", 22), ("three", 23)] {
        let file = format!("{name}.toml");
        network.file(&file, &role(&network, host));
        network.start(name, &["run", "-c", &file]);
        network.wait_for(name, "out", "ready");
    }
    let entry = |network: &Network, name: &str, host: u8, word: &str| {
        format!(
            "[[admin.nodes]]\nname = \"{name}\"\nurl = \"http://{}:9460\"\ntoken-file = \"{word}\"\n",
            network.at(9, host)
        )
    };
    let write = |network: &Network, nodes: &[String]| {
        network.file("node.toml", &(role(network, 9) + &nodes.concat()));
    };
    let reload = || {
        let (status, said) = ask(here, WORD, "POST", "/api/v1/reload", None);
        (status, said)
    };
    let lines = |said: &Value| -> Vec<String> {
        let changes = said["changes"].as_array().unwrap();
        changes.iter().map(|c| format!("{} {}", c["setting"].as_str().unwrap(), c["applied"])).collect()
    };
    let names = |all: &Value| -> Vec<String> {
        all["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let is = |name: &'static str, state: &'static str| {
        move |all: &Value| {
            all["nodes"].as_array().unwrap().iter().any(|node| node["name"] == name && node["state"] == state)
        }
    };
    write(&network, &[]);
    network.start("node", &["run", "-c", "node.toml"]);
    network.wait_for("node", "out", "ready");
    assert_eq!(ask(here, WORD, "GET", "/api/v1/process", None).1["others"], 0);

    // The first come.
    write(&network, &[entry(&network, "one", 21, "word"), entry(&network, "two", 22, "wrong")]);
    let (status, said) = reload();
    assert_eq!(status, 200, "{said:#}");
    assert!(lines(&said).contains(&"admin.nodes.one.url true".to_owned()), "{said:#}");
    until(here, "/api/v1/network", "the first is reached", is("one", "reached"));
    let all = until(here, "/api/v1/network", "the second is not", is("two", "unreachable"));
    assert_eq!(ask(here, WORD, "GET", "/api/v1/process", None).1["others"], 2);
    let since = node(&all, "one")["since"].clone();

    // One changes, one comes, before the one that stays as it is, with all that is known of it.
    write(
        &network,
        &[
            entry(&network, "three", 23, "word"),
            entry(&network, "two", 22, "word"),
            entry(&network, "one", 21, "word"),
        ],
    );
    let (status, said) = reload();
    assert_eq!(status, 200, "{said:#}");
    let changed = lines(&said);
    assert!(changed.contains(&"admin.nodes.two.token-file true".to_owned()), "{changed:?}");
    assert!(changed.contains(&"admin.nodes.three.name true".to_owned()), "{changed:?}");
    assert!(!changed.iter().any(|line| line.contains("nodes.one") || line.ends_with("false")), "{changed:?}");
    until(here, "/api/v1/network", "the word is the right one now", is("two", "reached"));
    let all = until(here, "/api/v1/network", "the third is there", is("three", "reached"));
    assert_eq!((&node(&all, "one")["since"], names(&all).len()), (&since, 4));

    // One goes, by SIGHUP. What it was told by the reload is in the log, and it is asked no more.
    write(&network, &[entry(&network, "three", 23, "word"), entry(&network, "one", 21, "word")]);
    network.hang_up("node");
    until(here, "/api/v1/network", "the second has gone", |all| names(all) == ["here", "three", "one"]);
    network.wait_for("node", "err", "admin.nodes.two.name: gone, was \"two\" (applied)");
    let (status, gone) = ask(here, WORD, "DELETE", "/api/v1/network/two/drain", None);
    assert_eq!(status, 404, "{gone:#}");

    // A file that cannot be is refused whole: nothing has changed.
    write(&network, &[entry(&network, "one", 21, "word"), entry(&network, "one", 22, "word")]);
    let (status, said) = reload();
    assert!(status == 409 && said["error"].as_str().unwrap().contains("twice"), "{said:#}");
    write(&network, &[entry(&network, "four", 24, "nothing")]);
    assert_eq!(reload().0, 409);
    let (_, all) = ask(here, WORD, "GET", "/api/v1/network", None);
    assert_eq!(names(&all), ["here", "three", "one"]);

    // The last go.
    write(&network, &[]);
    assert_eq!(reload().0, 200);
    let (_, all) = ask(here, WORD, "GET", "/api/v1/network", None);
    assert_eq!((names(&all), reload().1["changes"].clone()), (vec!["here".to_owned()], json!([])));
}
