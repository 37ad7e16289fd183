//! Members of a sealed conference behind translators of addresses: messages and floor control.
//!
//! For floor control the offerer is the TLS client whatever TCP does (RFC 8856 §8), so nothing has to be
//! agreed for it.

use crate::lab::Lab;
use crate::nat_lab::{Home, Nat, account, built, run, ue};
use crate::network::PATIENCE;

const ROOM: &str = "sip:staff@conf.example";

/// The network between the border and the conference server, and the way there.
const CORE: &str = r#"
[border.alg.network.core]
listen = ["udp:10.1.0.1:5060", "tcp:10.1.0.1:5060"]

[[border.alg.route]]
domain = "*"
network = "core"
next-hop = "sip:10.1.0.3;transport=tcp"

[gateway.agw.realm.core]
v4 = "10.1.0.2"
ports = "30000-30999"
"#;

const SERVER: &str = r#"
[conference.conf]
domain = "conf.example"
trust-asserted = true
listen = ["udp:10.1.0.3:5060", "tcp:10.1.0.3:5060"]
next-hop = "sip:10.1.0.1;transport=tcp"

[conference.conf.control]
gateways = ["mrfp"]

[conference.conf.kms]
url = "https://192.0.2.3:8443"
identity = "sip:kms.example"
account = "sip:mrfc@conf.example"
key-file = "mrfc.psk"
ca-file = "kms.pem"

[[conference.conf.room]]
uri = "sip:staff@conf.example"
owners = ["sip:alice@a.example"]
moderated = 1
floor = [{ id = 1, algorithm = "chair", chair = "sip:alice@a.example" }]

[gateway.mrfp]
role = "mrfp"
controllers = ["local:conf"]

[gateway.mrfp.realm.core]
v4 = "10.1.0.4"
ports = "30000-30999"
"#;

fn conference(all: &[&Home]) -> Option<Lab> {
    let mut lab = built(all)?;
    lab.network("core");
    for (host, address) in [("operator", 1), ("operator", 2), ("conf", 3), ("conf", 4)] {
        lab.join(host, "core", &format!("10.1.0.{address}/24"));
    }
    lab.join("conf", "subs", "192.0.2.9/24");
    let text = std::fs::read_to_string(lab.directory().join("operator.toml")).expect("settings");
    lab.file("operator.toml", &format!("{text}{CORE}"));
    account(&lab, "sip:mrfc@conf.example", &["sip:mrfc@conf.example", "sip:*@conf.example"], "mrfc");
    lab.file("conf.toml", SERVER);
    run(&mut lab, "operator", "operator");
    lab.wait_for("operator", "err", "gateway-up", PATIENCE);
    run(&mut lab, "conf", "conf");
    lab.wait_for("conf", "err", "gateway-up", PATIENCE);
    Some(lab)
}

#[test]
fn members_behind_translators() {
    let homes = [
        Home { user: "alice", nat: Nat::Symmetric },
        Home { user: "bob", nat: Nat::Restricted },
        Home { user: "carol", nat: Nat::None },
    ];
    let Some(mut lab) = conference(&homes.each_ref()) else { return };
    let members = homes.each_ref().map(|home| {
        let member = ue(&mut lab, home.user, &["join", ROOM]);
        for what in ["\"joined\"", "\"medium\":\"floors\"", "\"medium\":\"messages\""] {
            lab.wait_for(home.user, "out", what, PATIENCE);
        }
        assert!(!lab.output(home.user, "out").contains("\"clear\""));
        member
    });
    lab.process(members[1]).say("/floor 1 a question");
    lab.until(PATIENCE, "alice sees the request", |lab| {
        let seen = lab.output("alice", "out");
        seen.lines().any(|line| line.contains("\"event\":\"floor\"") && line.contains("sip:bob@a.example"))
    });
    lab.process(members[0]).say("/grant bob");
    lab.wait_for("bob", "out", "\"granted\"", PATIENCE);
    lab.process(members[1]).say("why is it so?");
    for user in ["alice", "carol"] {
        lab.wait_for(user, "out", "why is it so?", PATIENCE);
    }
    for member in members {
        lab.process(member).say("/bye");
        assert_eq!(lab.process(member).wait(PATIENCE), Some(0));
    }
}
