//! Rooms, keys and charts of other processes in the console of one that has nothing of its own: shown, and acted on. Beside them one that
//! is dead, one that never says what rooms it has, and one that says whatever it likes.

use crate::browser::Browser;
use crate::network::{Network, ROOM};
use crate::pages::{axe, violations};
use crate::several::{EVIL, READS, Strange, WORD, ask, strange, until};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// The console that is looked at.
fn desk(network: &Network) -> Ipv4Addr {
    network.at(9, 8)
}

fn started(network: &mut Network) -> Vec<Strange> {
    network.whole();
    network.file("word", &format!("{WORD}\n"));
    network.file("reads", &format!("{READS}\n"));
    let http = |host| format!("http://{}:9460", network.at(9, host));
    let node = |name: &str, url: String| format!("[[admin.nodes]]\nname = \"{name}\"\nurl = \"{url}\"\n");
    let text = [
        format!(
            "[admin]\nlisten = \"{}:9460\"\ntoken-file = \"word\"\nread-token-file = \"reads\"\n",
            desk(network)
        ),
        node("core", http(9)),
        node("dead", http(13)),
        node("slow", http(14)),
        node(EVIL.replace('"', "'").as_str(), http(17)),
    ];
    let roles = json!([{ "role": "conference", "kind": "MRFC", "name": "c" }, { "role": "kms", "kind": "KMS", "name": "k" }]);
    let process = move |may_change: bool, roles: &Value| {
        Some(json!({ "version": "1", "may_change": may_change, "roles": roles }).to_string().into_bytes())
    };
    let of_slow = roles.clone();
    // It says how it is, and no more.
    let slow = strange(network.at(9, 14), move |path| match path {
        "/api/v1/process" => process(false, &of_slow),
        "/api/v1/nodes" => Some(b"{}".to_vec()),
        _ => None,
    });
    let hostile = strange(network.at(9, 17), move |path| {
        let rooms: Vec<_> = (0..12_000)
            .map(|n| json!({ "room": format!("sip:{n}@{EVIL}"), "subject": EVIL, "members": 1 }))
            .collect();
        let member = json!({ "member": EVIL, "user": 1, "nickname": EVIL, "state": EVIL, "media": [{ "media": EVIL, "sealed_with": EVIL }] });
        let deed = json!({ "event": EVIL, "timestamp": EVIL, "kms": EVIL, "initiator": EVIL, "responders": [EVIL], "ticket": EVIL, "user": EVIL });
        let answer = match path.split('?').next().unwrap_or_default() {
            "/api/v1/process" => return process(true, &roles),
            "/api/v1/nodes" => json!({}),
            "/api/v1/rooms" => json!({ "conferences": [{ "conference": EVIL, "rooms": rooms }] }),
            "/api/v1/kms/users" => {
                json!({ "users": [{ "name": EVIL, "identities": [EVIL], "revoked": true }], "total": 1_u64 << 50, "next": EVIL })
            }
            "/api/v1/kms/tickets" => {
                json!({ "tickets": [{ "number": 1, "ticket": EVIL, "issued": EVIL, "initiator": EVIL, "responders": [EVIL] }] })
            }
            "/api/v1/events/recent" => json!({ "events": vec![deed; 1_000] }),
            "/api/v1/history" => {
                json!({ "now": u64::MAX, "at": [1, 2, u64::MAX], "live": [1e300, -5], "rates": { "relayed": [1e300, 1e300], EVIL: [1] } })
            }
            _ => {
                json!({ "room": EVIL, "subject": EVIL, "members": [member], "floors": [{ "floor": 1, "holders": [1], "waiting": [2, 3] }] })
            }
        };
        Some(answer.to_string().into_bytes())
    });
    network.file("desk.toml", &text.concat());
    network.start("desk", &["run", "-c", "desk.toml"]);
    network.wait_for("desk", "out", "ready");
    vec![slow, hostile]
}

fn is_known(all: &Value) -> bool {
    let nodes = all["nodes"].as_array().unwrap();
    let states = |state: &str| nodes.iter().filter(|node| node["state"] == state).count();
    states("unreachable") == 1 && states("unknown") == 0 && states("reached") == 4
}

fn percent(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02X}")).collect()
}

#[test]
fn rooms_keys_and_charts_of_all_are_asked_for_and_acted_on() {
    let mut network = Network::new();
    let _others = started(&mut network);
    let at = desk(&network);
    until(at, "/api/v1/network", "all are known", |all| {
        all["nodes"].as_array().unwrap().len() == 5 && {
            let nodes = all["nodes"].as_array().unwrap();
            let is = |name: &str, state: &str| {
                nodes.iter().any(|node| node["name"] == name && node["state"] == state)
            };
            is("core", "reached") && is("dead", "unreachable") && is("slow", "reached")
        }
    });
    let get = |path: &str| ask(at, WORD, "GET", path, None);
    let quiet = |answer: &Value, name: &str| {
        answer["quiet"].as_array().unwrap().iter().any(|quiet| quiet["node"] == name)
    };
    // The rooms of all that say which they have; of the hostile one so many, and no more.
    let rooms = until(at, "/api/v1/network/rooms?limit=1000", "its rooms are known", |rooms| {
        rooms["rooms"].as_array().unwrap().iter().any(|room| room["room"] == ROOM)
    });
    let own = rooms["rooms"].as_array().unwrap().iter().find(|room| room["room"] == ROOM).unwrap();
    assert_eq!(
        (&own["node"], &own["conference"], &own["subject"]),
        (&json!("core"), &json!("conf"), &json!("Who unloads first"))
    );
    assert!(quiet(&rooms, "dead") && quiet(&rooms, "slow") && !quiet(&rooms, "core"), "{}", rooms["quiet"]);
    let all = until(at, "/api/v1/network/rooms", "those of the hostile one", |all| {
        all["total"].as_u64() > Some(5_000)
    });
    assert_eq!((all["total"].as_u64(), all["rooms"].as_array().unwrap().len()), (Some(10_001), 100));
    // In pages: each once, none left out.
    let (mut seen, mut after) = (0, String::new());
    loop {
        let (status, page) = get(&format!("/api/v1/network/rooms?limit=1000{after}"));
        assert_eq!(status, 200, "{page:#}");
        seen += page["rooms"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", percent(next));
    }
    assert_eq!(seen, 10_001);
    let (_, found) = get("/api/v1/network/rooms?q=UNLOADS");
    assert_eq!((found["total"].as_u64(), &found["rooms"][0]["room"]), (Some(1), &json!(ROOM)));
    assert_eq!(get(&format!("/api/v1/network/rooms?q={}", "x".repeat(300))).0, 400);
    // Who has shown the word for reading only may change nothing.
    let may = |word: &str| {
        let (_, rooms) = ask(at, word, "GET", "/api/v1/network/rooms", None);
        let servers = rooms["servers"].as_array().unwrap();
        servers.iter().any(|server| server["node"] == "core" && server["may_change"] == true)
    };
    assert_eq!((may(WORD), may(READS)), (true, false));

    // What an administrator decides in a room of another process.
    network.ue("alice", &["floor", "request", ROOM]);
    network.wait_for("alice", "out", "granted");
    network.ue("carol", &["floor", "request", ROOM]);
    let room = format!("/api/v1/network/core/rooms/{}", percent(ROOM));
    let user = |room: &Value, who: &str| {
        let members = room["members"].as_array().unwrap();
        members.iter().find(|m| m["member"].as_str().unwrap().contains(who)).map(|m| m["user"].clone())
    };
    let here = until(at, &room, "carol waits", |room| {
        let waiting = room["floors"][0]["waiting"].as_array();
        waiting.and_then(|all| all.first()).is_some_and(|first| user(room, "carol").as_ref() == Some(first))
    });
    let (alice, carol) = (user(&here, "alice").unwrap(), user(&here, "carol").unwrap());
    let decide = |word: &str, user: &Value, decision: &str| {
        ask(
            at,
            word,
            "POST",
            &format!("{room}/floors/1"),
            Some(json!({ "user": user, "decision": decision })),
        )
    };
    let member = format!("{room}/members/{}", percent("sip:alice@a.example"));
    let mute = |muted: bool| ask(at, WORD, "PATCH", &member, Some(json!({ "muted": muted })));
    assert_eq!(mute(true), (200, json!({ "room": ROOM, "member": "sip:alice@a.example", "muted": true })));
    until(at, &room, "alice is muted", |room| {
        room["members"].as_array().unwrap().iter().any(|m| m["user"] == alice && m["muted"] == true)
    });
    assert_eq!(mute(false).0, 200);
    assert_eq!(decide(READS, &carol, "grant").0, 403);
    assert_eq!(decide(WORD, &json!(999), "grant").0, 409);
    assert_eq!(decide(WORD, &carol, "grant").0, 200);
    until(at, &room, "carol has it", |room| room["floors"][0]["holders"] == json!([carol]));
    network.wait_for("alice", "out", "revoked");
    // Who wanted it is an event there, and in its log.
    let (_, recent) = ask(network.at(9, 9), WORD, "GET", "/api/v1/events/recent?role=admin", None);
    let events = recent["events"].as_array().unwrap();
    let muted =
        events.iter().find(|e| e["method"] == "PATCH" && e["path"].as_str().unwrap().contains("members"));
    let muted = muted.unwrap_or_else(|| panic!("{recent:#}"));
    assert!(muted["who"].as_str().unwrap().starts_with("127.0.0.1:"), "{muted:#}");
    assert!(muted["forwarded"].as_str().unwrap().starts_with("127."), "{muted:#}");
    network.wait_for("node", "err", "forwarded=");
    assert_eq!(get(&format!("/api/v1/network/core/rooms/{}", percent("sip:none@conf.example"))).0, 404);
    assert_eq!(get(&format!("/api/v1/network/nowhere/rooms/{}", percent(ROOM))).0, 404);
    assert_eq!(get(&format!("/api/v1/network/dead/rooms/{}", percent(ROOM))).0, 503);
    assert_eq!(
        ask(at, WORD, "DELETE", &format!("{room}/members/{}", percent("sip:carol@a.example")), None).0,
        200
    );
    network.wait_for("carol", "out", "\"left\"");

    // Keys: what was issued, and that it opens no more.
    let keys = until(at, "/api/v1/network/kms", "its service is known", |keys| {
        keys["services"].as_array().unwrap().iter().any(|service| service["node"] == "core")
            && keys["events"]
                .as_array()
                .unwrap()
                .iter()
                .any(|event| event["node"] == "core" && event["event"] == "ticket-issued")
    });
    let service =
        keys["services"].as_array().unwrap().iter().find(|service| service["node"] == "core").unwrap();
    assert_eq!(
        (&service["name"], &service["users"], &service["may_change"]),
        (&json!("kms.example"), &json!(4), &json!(true))
    );
    // One that says much, and of no time, leaves the others their share.
    let first = &keys["events"][0];
    assert!(first["node"] == "core", "{first:#}");
    let (_, of_core) = get("/api/v1/network/kms?node=core");
    assert!(of_core["events"].as_array().unwrap().iter().all(|event| event["node"] == "core"));
    assert!(keys["events"].as_array().unwrap().len() <= 400 && quiet(&keys, "dead") && quiet(&keys, "slow"));
    let (_, users) = get("/api/v1/network/core/kms/users?limit=2");
    assert_eq!((users["users"].as_array().unwrap().len(), &users["total"]), (2, &json!(4)));
    let (_, rest) = get(&format!(
        "/api/v1/network/core/kms/users?limit=2&after={}",
        percent(users["next"].as_str().unwrap())
    ));
    assert_eq!((rest["users"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null));
    assert!(!rest.to_string().contains("psk"));
    let (_, tickets) = get("/api/v1/network/core/kms/tickets?limit=1");
    let ticket = tickets["tickets"][0]["ticket"].as_str().unwrap().to_owned();
    assert!(tickets["next"].is_u64() && tickets["tickets"][0]["revoked"] == false, "{tickets:#}");
    let revoke = format!("/api/v1/network/core/kms/tickets/{ticket}");
    assert_eq!(ask(at, READS, "DELETE", &revoke, None).0, 403);
    assert_eq!(ask(at, WORD, "DELETE", &revoke, None).0, 200);
    let (_, tickets) = get("/api/v1/network/core/kms/tickets?limit=1");
    assert_eq!(tickets["tickets"][0]["revoked"], true, "{tickets:#}");
    let user =
        format!("/api/v1/network/core/kms/users/{}", percent(users["users"][0]["name"].as_str().unwrap()));
    assert_eq!(ask(at, WORD, "PATCH", &user, Some(json!({ "revoked": true }))).0, 200);
    let (_, users) = get("/api/v1/network/core/kms/users?limit=2");
    assert_eq!(users["users"][0]["revoked"], true);
    assert_eq!(ask(at, WORD, "PATCH", &user, Some(json!({ "revoked": false }))).0, 200);
    assert_eq!(ask(at, WORD, "POST", "/api/v1/network/core/kms/tickets/revoke", Some(json!({}))).0, 200);
    assert_eq!(get("/api/v1/network/dead/kms/users").0, 503);
    assert_eq!(get("/api/v1/network/here/kms/users").0, 404);

    // The hour of one, and of all.
    until(at, "/api/v1/network/history?node=core", "it has counted tickets", |one| {
        let tickets = one["rates"]["tickets"].as_array().unwrap();
        tickets.iter().filter_map(Value::as_f64).sum::<f64>() > 0.0
    });
    let all = until(at, "/api/v1/network/history", "together", |all| {
        all["nodes"].as_array().unwrap().iter().any(|node| node["node"] == "core")
    });
    let columns =
        [&all["at"], &all["live"], &all["rates"]["tickets"]].map(|column| column.as_array().unwrap().len());
    assert!(columns.iter().all(|length| *length == columns[0]), "{columns:?}");
    assert!(quiet(&all, "dead") && !all.to_string().contains("onerror"), "{all}");
    assert_eq!(get("/api/v1/network/history?node=nowhere").0, 404);

    // The process that has them dies: it is named, and nothing else is the worse for it.
    network.kill("node");
    let rooms = until(at, "/api/v1/network/rooms?q=unloads", "it is missed", |rooms| {
        quiet(rooms, "core") && rooms["total"] == 0
    });
    assert!(
        rooms["quiet"].as_array().unwrap().iter().any(|one| one["node"] == "core" && one["why"].is_string())
    );
    assert_eq!(mute(true).0, 503);
}

#[test]
fn rooms_and_keys_of_others_are_drawn() {
    let Some(browser) = Browser::open(1440, 1000) else { return };
    let axe = axe();
    let mut network = Network::new();
    let _others = started(&mut network);
    let at = desk(&network);
    until(at, "/api/v1/network", "all are known", is_known);
    network.ue("carol", &["join", ROOM]);
    network.wait_for("carol", "out", "sealed");
    network.ue("alice", &["join", ROOM]);
    network.wait_for("alice", "out", "sealed");
    let page = format!("http://{at}:9460/");
    browser.go(&page);
    browser.until("document.querySelector('input[type=password]')");
    browser.run(&format!("sessionStorage.setItem('carnet-token', '{WORD}'); location.reload()"));
    browser.until("document.querySelector('.link-live')");
    let room = format!("{}#/rooms/core/{}", page, percent(ROOM));
    let mut wrong = Vec::new();
    let mut look = |browser: &Browser, what: &str| {
        browser.picture(&format!("together-{what}"));
        assert_eq!(browser.run("return window.stolen ?? null"), Value::Null, "{what}");
        browser.until("document.documentElement.scrollWidth <= innerWidth");
        let found = axe.as_ref().map(|axe| violations(browser, axe)).unwrap_or_default();
        wrong.extend((!found.is_empty()).then(|| format!("{what}: {found}")));
        let said = browser
            .log()
            .into_iter()
            .filter(|line| !["401", "Autofocus"].iter().any(|known| line.contains(known)));
        wrong.extend(said.map(|line| format!("{what}: {line}")));
    };
    for (theme, width) in [("light", 1440), ("dark", 1440), ("light", 380), ("dark", 380)] {
        browser.screen(width, 1000);
        browser.run(&format!("localStorage.setItem('carnet-theme', '{theme}')"));
        let seen = |hash: &str, what: &[&str]| {
            browser.go("about:blank");
            browser.go(&format!("{page}#/{hash}"));
            browser.until("document.querySelector('.link-live')");
            what.iter().for_each(|what| browser.until(what));
        };
        let says = |text: &str| format!("document.querySelector('main').innerText.includes('{text}')");
        seen(
            "rooms",
            &[
                "document.querySelectorAll('.room-list li').length === 200",
                &says("10,001 rooms"),
                &says("dead"),
            ],
        );
        look(&browser, &format!("rooms-{theme}-{width}"));
        seen(
            &format!("rooms/core/{}", percent(ROOM)),
            &["document.querySelectorAll('.roster tbody tr').length === 2"],
        );
        look(&browser, &format!("room-{theme}-{width}"));
        let hostile = percent(&EVIL.replace('"', "'"));
        seen(&format!("rooms/{hostile}/x"), &["document.querySelector('.roster tbody tr')"]);
        look(&browser, &format!("hostile-room-{theme}-{width}"));
        seen(
            "keys/core",
            &["document.querySelector('.issued tbody tr')", &says("kms.example"), &says("sip:bob")],
        );
        look(&browser, &format!("keys-{theme}-{width}"));
        seen(&format!("keys/{hostile}"), &["document.querySelector('.issued tbody tr')"]);
        look(&browser, &format!("hostile-keys-{theme}-{width}"));
        seen("charts", &["document.querySelector('.uplot')", "document.querySelector('.now-of tbody tr')"]);
        look(&browser, &format!("charts-{theme}-{width}"));
    }
    browser.screen(1440, 1000);
    // Found, opened, and acted on.
    browser.go("about:blank");
    browser.go(&format!("{page}#/rooms"));
    browser.until("document.querySelectorAll('.room-list li').length === 200");
    browser.click_button("Show more");
    browser.until("document.querySelectorAll('.room-list li').length === 400");
    browser.press(&["/", "unloads"]);
    browser.until("document.querySelectorAll('.room-list li').length === 1");
    browser.click(".room-list a");
    browser.until("document.querySelectorAll('.roster tbody tr').length === 2");
    browser.click("[aria-label='Mute: carol@a.example']");
    browser.until("document.querySelector('.roster').innerText.includes('muted')");
    browser.click("[aria-label='Let speak: carol@a.example']");
    browser.until("!document.querySelector('.roster').innerText.includes('muted')");
    browser.click("[aria-label='Put out: carol@a.example']");
    browser.until_says("Put this member out?");
    browser.click("dialog .danger");
    network.wait_for("carol", "out", "\"left\"");
    browser.go(&format!("{page}#/keys/core"));
    browser.until("document.querySelector('.issued tbody button')");
    browser.click(".issued tbody button");
    browser.until_says("Revoke this ticket?");
    browser.click("dialog .danger");
    browser.until("document.querySelector('.issued').innerText.includes('revoked')");
    // Who may only read is shown no button for it.
    browser.run(&format!("sessionStorage.setItem('carnet-token', '{READS}'); location.reload()"));
    browser.until("document.querySelector('.issued tbody tr')");
    assert_eq!(browser.run("return document.querySelectorAll('main .danger, main td button').length"), 0);
    browser.go("about:blank");
    browser.go(&room);
    browser.until("document.querySelector('.roster tbody tr')");
    assert_eq!(browser.run("return document.querySelectorAll('main .danger, main td button').length"), 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
