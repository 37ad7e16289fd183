//! What a call leaves in the counters of the nodes that it passed.

use crate::lab::Lab;
use crate::network::{self, PATIENCE};

/// What a host answers at `/metrics`.
fn metrics(lab: &Lab, host: &str) -> String {
    let output =
        lab.command(host, "curl").args(["-s", "http://127.0.0.1:9460/metrics"]).output().expect("curl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_call_is_counted_where_it_passed() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    for (host, section) in [("border-a", "[border."), ("agw-a", "[gateway."), ("kms", "[kms]")] {
        lab.edit(
            &format!("{host}.toml"),
            section,
            &format!("[admin]\nlisten = \"127.0.0.1:9460\"\n{section}"),
        );
    }
    network::start(&mut lab);
    let bob = network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
    lab.process(alice).say("counted");
    lab.wait_for("bob", "out", "counted", PATIENCE);
    let up = metrics(&lab, "agw-a");
    assert!(up.contains("carnet_gateway_contexts{gateway=\"agw-a\"} 1\n"), "{up}");
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0));
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    lab.process(bob).signal("INT");
    lab.until(PATIENCE, "the border counts the end", |lab| {
        metrics(lab, "border-a")
            .contains("carnet_border_media_released_total{border=\"border-a\",gateway=\"agw-a\"} 1\n")
    });
    let border = metrics(&lab, "border-a");
    for line in [
        "carnet_border_call_started_total{border=\"border-a\"} 1\n",
        "carnet_border_plan_made_total{border=\"border-a\",plan=\"e2e\"} 1\n",
        "carnet_border_call_ended_total{border=\"border-a\",cause=\"caller-hung-up\"} 1\n",
        "carnet_border_setup_seconds_count{border=\"border-a\"} 1\n",
        "carnet_sip_messages_total{direction=\"received\",kind=\"INVITE\",node=\"border-a\"} 1\n",
        "carnet_control_in_service{role=\"border\",node=\"border-a\",gateway=\"agw-a\"} 1\n",
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
    let keys = metrics(&lab, "kms");
    for (event, least) in [("issued", 1), ("resolved", 1)] {
        let labels = "{kms=\"kms.example\"}";
        assert!(value(&keys, &format!("carnet_kms_ticket_{event}_total{labels}")) >= least, "{keys}");
    }
}
