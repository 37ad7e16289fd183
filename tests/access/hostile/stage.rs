//! The operator, the subscribers and the one who means harm.

use crate::lab::Lab;
use crate::network::{PATIENCE, carnet};
use std::time::Duration;

pub const BORDER: &str = "192.0.2.1";
pub const GATEWAY: &str = "192.0.2.2";
const ALICE: &str = "192.0.2.11";
const BOB: &str = "192.0.2.12";
pub const MALLORY: &str = "192.0.2.66";
/// What alice takes for her address.
const INNER: &str = "10.9.9.9";
/// The pinholes of the gateway.
pub const PORTS: &str = "12000-12127";

const PEOPLE: &str = include_str!("people.py");
const HARM: &str = include_str!("harm.py");

/// How the realm of the subscribers is defended: lines of the configuration file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Realm {
    pub gateway: &'static str,
    /// The same of the border's network.
    pub border: &'static str,
}

pub struct Stage {
    pub lab: Lab,
    operator: usize,
}

impl Stage {
    /// The operator runs, and nobody calls yet.
    pub fn new(realm: Realm) -> Option<Self> {
        let mut lab = Lab::new()?;
        lab.network("subs");
        for address in [BORDER, GATEWAY] {
            lab.join("operator", "subs", &format!("{address}/24"));
        }
        for address in [ALICE, BOB] {
            lab.join("people", "subs", &format!("{address}/24"));
        }
        lab.join("mallory", "subs", &format!("{MALLORY}/24"));
        // Who does not exist lives behind him, and is answered, and does not answer.
        let mut route = lab.command("operator", "ip");
        assert!(
            route.args(["route", "add", "198.18.0.0/15", "via", MALLORY]).status().expect("ip").success()
        );
        lab.file("people.py", PEOPLE);
        lab.file("harm.py", HARM);
        lab.file(
            "users.toml",
            &["alice", "bob", "carol", "mallory"]
                .map(|user| format!("{user} = \"{user}'s password\"\n"))
                .concat(),
        );
        lab.file("operator.toml", &operator(realm));
        let mut run = carnet(&lab, "operator", &["run", "-c", "operator.toml"]);
        run.env("CARNET_LOG", "info");
        let operator = lab.start("operator", run);
        lab.wait_for("operator", "err", "gateway-up", PATIENCE);
        Some(Self { lab, operator })
    }

    /// Starts doing harm, and waits until it is under way.
    pub fn harm(&mut self, what: &[&str]) -> usize {
        let mut harm = self.lab.command("mallory", "python3");
        harm.arg("harm.py").args(what);
        let harm = self.lab.start("harm", harm);
        self.lab.wait_for("harm", "out", "going", PATIENCE);
        harm
    }

    /// How often harm has been done.
    pub fn harmed(&self) -> u64 {
        self.lab.output("harm", "out").lines().rev().find_map(|line| line.parse().ok()).unwrap_or(0)
    }

    /// It has not ended by itself, and more of it came while something else went on.
    pub fn still_going(&mut self, harm: usize) {
        let before = self.harmed();
        assert!(self.lab.process(harm).child.try_wait().expect("a process").is_none(), "no harm was done");
        self.lab.until(PATIENCE, "the harm goes on", |lab| {
            let now = lab.output("harm", "out").lines().rev().find_map(|line| line.parse::<u64>().ok());
            now.is_some_and(|now| now > before)
        });
    }

    /// Starts what `people.py` does: how many calls, how many at once, and how long they wait.
    pub fn talk(&mut self, how: &[&str]) -> usize {
        let mut people = self.lab.command("people", "python3");
        people.args(["people.py", BORDER, ALICE, BOB]).args(how);
        self.lab.start("people", people)
    }

    /// alice, who seems to be behind a translator, calls bob that often: the gateway cannot know her by her
    /// address. How often it went well.
    pub fn people(&mut self, calls: usize, at_once: usize) -> usize {
        let people = self.talk(&[&calls.to_string(), &at_once.to_string(), "0.05", INNER]);
        if self.lab.process(people).wait(Duration::from_secs(300)).is_none() {
            self.lab.show();
            panic!("the calls do not end");
        }
        let said = self.lab.output("people", "out");
        let result: serde_json::Value = serde_json::from_str(said.trim()).unwrap_or_else(|_| {
            self.lab.show();
            panic!("no calls were made: {said}")
        });
        usize::try_from(result["done"].as_u64().expect("a number")).expect("a number")
    }

    /// The gateway says that it has turned away some of them for this reason.
    pub fn turned_away(&self, why: &str) {
        let some = |log: &str| {
            log.lines().filter(|line| line.contains("turned away")).any(|line| {
                let count = line.split(&format!("{why}: ")).nth(1).unwrap_or_default();
                let digits: String = count.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().is_ok_and(|count: u64| count > 0)
            })
        };
        self.lab.until(PATIENCE, why, |lab| some(&lab.output("operator", "err")));
    }

    /// The operator is as it was.
    pub fn stands(&mut self) {
        assert!(self.lab.process(self.operator).child.try_wait().expect("a process").is_none());
        let log = self.lab.output("operator", "err");
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn operator(realm: Realm) -> String {
    format!(
        r#"
[border.alg]
role = "ims-alg"
domain = "a.example"
control = {{ gateways = ["agw"] }}
registrar = {{ mode = "built-in", users = "users.toml" }}

[border.alg.network.access]
subscribers = true
{}
listen = ["udp:{BORDER}:5060", "tcp:{BORDER}:5060"]

[gateway.agw]
role = "ims-agw"
controllers = ["local:alg"]

[gateway.agw.realm.access]
v4 = "{GATEWAY}"
ports = "{PORTS}"
{}
"#,
        realm.border, realm.gateway
    )
}
