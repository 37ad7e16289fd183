//! What a call leaves in the counters of the nodes that it passed.

use crate::lab::Lab;
use crate::network::{self, PATIENCE};

/// What a host answers there.
fn get(lab: &Lab, host: &str, path: &str) -> String {
    let url = format!("http://127.0.0.1:9460{path}");
    let output = lab.command(host, "curl").args(["-s", &url]).output().expect("curl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn metrics(lab: &Lab, host: &str) -> String {
    get(lab, host, "/metrics")
}

fn json(lab: &Lab, host: &str, path: &str) -> serde_json::Value {
    let text = get(lab, host, path);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
}

#[test]
fn a_call_is_counted_where_it_passed() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    for host in ["border-a", "agw-a", "kms"] {
        let path = lab.directory().join(format!("{host}.toml"));
        let records = if host == "border-a" { "[records]\nfile = \"sessions.jsonl\"\n" } else { "" };
        let text = std::fs::read_to_string(&path).expect("the host's file");
        lab.file(
            &format!("{host}.toml"),
            &format!("{text}\n[admin]\nlisten = \"127.0.0.1:9460\"\n{records}"),
        );
    }
    network::start(&mut lab);
    // Whoever watches hears of it as it happens.
    let mut watching = lab.command("border-a", "curl");
    watching.args(["-sN", "http://127.0.0.1:9460/api/v1/events?level=info"]);
    lab.start("watching", watching);
    let bob = network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).say("counted");
    lab.wait_for("bob", "out", "counted", PATIENCE);
    let up = metrics(&lab, "agw-a");
    assert!(up.contains("carnet_gateway_contexts{gateway=\"agw-a\"} 1\n"), "{up}");
    let live = json(&lab, "border-a", "/api/v1/sessions");
    assert_eq!(
        (&live["total"], &live["sessions"][0]["to"]),
        (&1.into(), &"sip:bob@b.example".into()),
        "{live}"
    );
    let registered = metrics(&lab, "border-a");
    let registrations = "carnet_border_registrations{border=\"border-a\",network=\"access\"} 1\n";
    assert!(registered.contains(registrations), "{registered}");
    assert!(
        live["sessions"][0]["answered_ms"].is_u64() && live["sessions"][0]["ended_ms"].is_null(),
        "{live}"
    );
    let held = json(&lab, "agw-a", "/api/v1/gateways/agw-a/contexts");
    assert_eq!(held["contexts"].as_array().unwrap().len(), 1, "{held}");
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0));
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    lab.process(bob).signal("INT");
    lab.until(PATIENCE, "the border counts the end", |lab| {
        metrics(lab, "border-a")
            .contains("carnet_border_media_released_total{border=\"border-a\",gateway=\"agw-a\"} 1\n")
    });
    told_alike(&lab);
    let border = metrics(&lab, "border-a");
    for line in [
        "carnet_border_call_started_total{border=\"border-a\"} 1\n",
        "carnet_border_plan_made_total{border=\"border-a\",plan=\"e2e\"} 1\n",
        "carnet_border_call_ended_total{border=\"border-a\",cause=\"caller-hung-up\"} 1\n",
        "carnet_border_setup_seconds_count{border=\"border-a\"} 1\n",
        "carnet_sip_messages_total{direction=\"received\",kind=\"INVITE\",node=\"border-a\"} 1\n",
        "carnet_control_in_service{role=\"border\",node=\"border-a\",gateway=\"agw-a\"} 1\n",
        "carnet_sip_transaction_seconds_count{method=\"INVITE\",node=\"border-a\",side=\"client\"} 1\n",
        "carnet_sip_transaction_seconds_count{method=\"INVITE\",node=\"border-a\",side=\"server\"} 1\n",
        "carnet_h248_requests_total{command=\"Add\",direction=\"sent\",node=\"border-a\",peer=\"agw-a\",role=\"border\"} 2\n",
    ] {
        assert!(border.contains(line), "{line}{border}");
    }
    // What the gateway counted is what the border was told.
    let value = |text: &str, line: &str| -> u64 {
        let rest =
            text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in {text}"));
        rest.trim().parse().unwrap()
    };
    let told = |side: &str| {
        let labels = format!("{{border=\"border-a\",direction=\"received\",side=\"{side}\"}}");
        value(&border, &format!("carnet_border_media_octets_total{labels}"))
    };
    let gateway = metrics(&lab, "agw-a");
    let counted = value(&gateway, "carnet_gateway_octets_total{direction=\"received\",gateway=\"agw-a\"}");
    assert!(counted > 500 && counted == told("caller") + told("callee"), "{counted}\n{border}");
    let received = "carnet_h248_requests_total{command=\"Add\",direction=\"received\",node=\"agw-a\",peer=\"border-a\",role=\"gateway\"}";
    assert_eq!(value(&gateway, received), 2, "{gateway}");
    let keys = metrics(&lab, "kms");
    assert!(
        keys.contains("carnet_tls_handshakes_total{place=\"kms\",side=\"server\",result=\"done\""),
        "{keys}"
    );
    for (event, least) in [("issued", 1), ("resolved", 1)] {
        let labels = "{kms=\"kms.example\"}";
        assert!(value(&keys, &format!("carnet_kms_ticket_{event}_total{labels}")) >= least, "{keys}");
        let operation = if event == "issued" { "issue" } else { "resolve" };
        let labels = format!("{{kms=\"kms.example\",operation=\"{operation}\",result=\"granted\"}}");
        assert!(value(&keys, &format!("carnet_kms_request_seconds_count{labels}")) >= least, "{keys}");
    }
}

/// The list, the record on disk and the stream say the same of a call that is over, and none has a key.
fn told_alike(lab: &Lab) {
    let ended = json(lab, "border-a", "/api/v1/sessions?state=ended");
    let number = &ended["sessions"][0]["number"];
    let one = json(lab, "border-a", &format!("/api/v1/sessions/{number}"));
    let path = lab.directory().join("sessions.jsonl");
    lab.until(PATIENCE, "the record is on disk", |_| {
        std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))
    });
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record, one);
    assert_eq!(record["cause"], "caller-hung-up");
    let names: Vec<&str> =
        record["events"].as_array().unwrap().iter().filter_map(|e| e["event"].as_str()).collect();
    for name in ["call-started", "plan-made", "media-reserved", "call-up", "call-ended", "media-released"] {
        assert!(names.contains(&name), "{name} in {names:?}");
        lab.wait_for("watching", "out", &format!("event: {name}\n"), PATIENCE);
    }
    assert!(record["octets"]["caller.received"].as_u64().unwrap() > 100, "{record}");
    assert!(json(lab, "border-a", "/api/v1/sessions")["sessions"].as_array().unwrap().is_empty());
}
