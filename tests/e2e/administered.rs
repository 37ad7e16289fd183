//! What an administrator does over HTTP while a call is up, and what the two who talk notice of it.

use crate::lab::Lab;
use crate::network::{self, PATIENCE};
use serde_json::{Value, json};

/// What a host's process answers at its socket: the status, and the JSON.
fn ask(lab: &Lab, host: &str, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
    let mut curl = lab.command(host, "curl");
    curl.args(["-s", "-m", "30", "-w", "\n%{http_code}", "-X", method, "--unix-socket"]);
    curl.arg(format!("{host}.sock"));
    if let Some(body) = body {
        curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
    }
    let output = curl.arg(format!("http://carnet/api/v1/{target}")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn get(lab: &Lab, host: &str, target: &str) -> Value {
    let (status, body) = ask(lab, host, "GET", target, None);
    assert_eq!(status, 200, "{host} {target}: {body}");
    body
}

/// A chat of alice's that does not come about; what she was told.
fn refused(lab: &mut Lab) -> String {
    let alice = network::ue(lab, "alice", &["chat", "sip:bob@b.example"]);
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(1), "{}", lab.output("alice", "out"));
    lab.output("alice", "out")
}

#[test]
fn an_administrator_drains_takes_it_back_and_ends_a_call() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    for host in ["border-a", "agw-a", "kms"] {
        let path = lab.directory().join(format!("{host}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        lab.file(&format!("{host}.toml"), &format!("{text}\n[admin]\nsocket = \"{host}.sock\"\n"));
    }
    network::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);

    // The call is found by what is known of it.
    for q in ["BOB@b", "e2e", "border-a"] {
        assert_eq!(
            get(&lab, "border-a", &format!("sessions?q={q}&order=newest"))["sessions"][0]["number"],
            1,
            "{q}"
        );
    }
    let none = get(&lab, "border-a", "sessions?q=carol");
    assert_eq!((&none["total"], none["sessions"].as_array().unwrap().len()), (&json!(1), 0), "{none}");

    // It drains: the call goes on, and there is no other.
    assert_eq!(ask(&lab, "border-a", "POST", "drain", Some(&json!({ "grace": 3600 }))).0, 202);
    let drain = get(&lab, "border-a", "drain");
    assert_eq!((&drain["state"], &drain["sessions"]), (&json!("waiting"), &json!(1)), "{drain}");
    assert!(drain["left"].as_u64().is_some_and(|left| left > 3_000), "{drain}");
    lab.process(alice).say("still here");
    lab.wait_for("bob", "out", "still here", PATIENCE);
    assert_eq!(get(&lab, "border-a", "nodes")["borders"][0]["retiring"], true);
    let second = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    assert_eq!(lab.process(second).wait(PATIENCE), Some(1), "{}", lab.output("alice", "out"));
    assert!(lab.output("alice", "out").contains("503"), "{}", lab.output("alice", "out"));
    // It is taken back.
    assert_eq!(ask(&lab, "border-a", "DELETE", "drain", None).0, 200);
    assert_eq!(get(&lab, "border-a", "drain")["state"], "no");
    let third = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    // A gateway that retires is not used, and is again when it says so.
    assert_eq!(ask(&lab, "agw-a", "POST", "drain", Some(&json!({ "grace": 3600 }))).0, 202);
    let state = |lab: &Lab| get(lab, "border-a", "nodes")["borders"][0]["gateways"][0]["state"].to_string();
    lab.until(PATIENCE, "the border knows that it goes", |lab| state(lab) != "\"in service\"");
    assert_eq!(ask(&lab, "agw-a", "DELETE", "drain", None).0, 200);
    lab.until(PATIENCE, "the border knows that it stays", |lab| state(lab) == "\"in service\"");

    // The administrator ends the call: both ends hear of it.
    let live = get(&lab, "border-a", "sessions?order=newest");
    let number = live["sessions"][0]["number"].as_u64().unwrap();
    let (status, ended) = ask(&lab, "border-a", "DELETE", &format!("sessions/{number}"), None);
    assert_eq!((status, &ended["ended"]), (200, &json!(1)), "{ended}");
    lab.wait_for("alice", "out", "\"ended\"", PATIENCE);
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    assert!(
        lab.output("alice", "out").contains("an administrator ended it"),
        "{}",
        lab.output("alice", "out")
    );
    lab.process(third).wait(PATIENCE);
    lab.until(PATIENCE, "it is over", |lab| {
        let over = get(lab, "border-a", "sessions?state=ended&q=administrator");
        over["sessions"][0]["number"].as_u64() == Some(number)
    });
    let (status, refusal) = ask(&lab, "border-a", "DELETE", &format!("sessions/{number}"), None);
    assert_eq!(status, 409, "{refusal}");
    assert_eq!(ask(&lab, "border-a", "DELETE", "sessions/77", None).0, 404);

    tickets(&lab);
    // With no gateway there is no call.
    let avoid = |lab: &Lab, avoid: bool| {
        let (status, said) = ask(
            lab,
            "border-a",
            "PATCH",
            "borders/border-a/gateways/agw-a",
            Some(&json!({ "avoid": avoid })),
        );
        assert_eq!((status, &said["avoided"]), (200, &json!(avoid)), "{said}");
    };
    avoid(&lab, true);
    let said = refused(&mut lab);
    assert!(said.contains("503"), "{said}");
    avoid(&lab, false);
    network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
}

/// The tickets of the calls there were: the newest first, by page; then they are revoked.
fn tickets(lab: &Lab) {
    let all = get(lab, "kms", "kms/tickets");
    let all = all["tickets"].as_array().unwrap();
    assert!(all.len() >= 2, "{all:?}");
    for ticket in all {
        assert_eq!(
            (&ticket["user"], &ticket["responders"]),
            (&json!("sip:alice@a.example"), &json!(["sip:bob@b.example"]))
        );
        assert_eq!((&ticket["revoked"], &ticket["expired"]), (&json!(false), &json!(false)), "{ticket}");
        assert!(ticket["expires"].as_str() > ticket["issued"].as_str(), "{ticket}");
    }
    let first = get(lab, "kms", "kms/tickets?limit=1&user=sip:alice@a.example");
    assert_eq!(first["tickets"][0], all[0]);
    let second = get(lab, "kms", &format!("kms/tickets?limit=1&before={}", first["next"]));
    assert_eq!(second["tickets"][0], all[1]);
    assert!(get(lab, "kms", "kms/tickets?user=sip:bob@b.example")["tickets"].as_array().unwrap().is_empty());
    let audit = get(lab, "kms", "kms/audit?limit=1000");
    let deeds = |deed: &str| {
        audit["records"].as_array().unwrap().iter().filter(|record| record["deed"] == deed).count()
    };
    assert!(deeds("issued") == all.len() && deeds("resolved") >= 2, "{audit}");
    let whose = json!({ "user": "sip:alice@a.example" });
    assert_eq!(ask(lab, "kms", "POST", "kms/tickets/revoke", Some(&whose)).0, 200);
    let revoked = get(lab, "kms", "kms/tickets");
    assert!(
        revoked["tickets"].as_array().unwrap().iter().all(|ticket| ticket["revoked"] == true),
        "{revoked}"
    );
}
