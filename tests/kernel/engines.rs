//! Where the kernel cannot have a call, the relay has it, and it is said why.

use crate::lab::Lab;
use crate::network::{self, MEDIA_HOSTS, PATIENCE, Shape};
use crate::ways;

fn chat(lab: &mut Lab) -> usize {
    network::ue(lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(lab, "alice", &["chat", "sip:bob@b.example"]);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"sealed\"", PATIENCE);
    }
    lab.process(alice).say("the eagle has landed");
    lab.wait_for("bob", "out", "the eagle has landed", PATIENCE);
    alice
}

#[test]
fn a_host_that_forwards_nothing_relays_and_says_so() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    let off = ["net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"];
    for switch in off {
        assert!(lab.command("agw-a", "sysctl").args(["-qw", switch]).status().unwrap().success());
    }
    ways::start(&mut lab);
    chat(&mut lab);
    let expected = [("relay".to_owned(), "host".to_owned())];
    assert_eq!(ways::engines(&lab, "agw-a"), expected);
    assert!(lab.output("agw-a", "err").contains("ip_forward"), "{}", lab.output("agw-a", "err"));
    for (host, ..) in MEDIA_HOSTS.iter().filter(|(host, ..)| *host != "agw-a") {
        assert_eq!(ways::engines(&lab, host), [("kernel".to_owned(), "passes".to_owned())], "{host}");
    }
    let list = ways::gateway(&lab, "agw-a", &["list"]).unwrap().remove(0);
    assert_eq!(ways::find(&list, "engines").unwrap()["relay"]["host"], 1, "{list}");
}

/// The border was told another address than the one that alice comes from, as by a terminal behind a NAT.
#[test]
fn a_caller_from_elsewhere_is_relayed() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    // Behind agw-a's back: what alice sends leaves with another source.
    lab.join("alice", "subs-a", "198.51.100.11/26");
    let rules = "table ip elsewhere { chain out { type nat hook postrouting priority srcnat; \
                 ip daddr 198.51.100.2 tcp dport 30000-39999 snat to 198.51.100.11; }; }";
    assert!(lab.command("alice", "nft").arg(rules).status().unwrap().success());
    // It is alice who opens the connection.
    let text = std::fs::read_to_string(lab.directory().join("bob.toml")).unwrap();
    lab.file("bob.toml", &format!("{text}\n[ue.interop]\ntcp-role = \"passive\"\n"));
    ways::start(&mut lab);
    chat(&mut lab);
    assert_eq!(ways::engines(&lab, "agw-a"), [("relay".to_owned(), "elsewhere".to_owned())]);
}

/// What is to be kept is, and what nobody will take up goes with the process.
#[test]
fn an_orderly_end_takes_the_table_along_unless_contexts_are_kept() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    lab.edit("trgw-b.toml", "state = \"state\"\n", "");
    ways::start(&mut lab);
    for (host, kept) in [("trgw-b", false), ("agw-b", true)] {
        let has_table = |lab: &Lab| {
            let output = lab.command(host, "nft").args(["list", "tables"]).output().expect("nft");
            String::from_utf8_lossy(&output.stdout).contains("table inet carnet-")
        };
        assert!(has_table(&lab), "{host}");
        let index = lab.named(host);
        lab.process(index).signal("TERM");
        assert_eq!(lab.process(index).wait(PATIENCE), Some(0), "{}", lab.output(host, "err"));
        assert_eq!(has_table(&lab), kept, "{host}");
    }
}
