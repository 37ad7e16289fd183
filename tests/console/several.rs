//! A network of several processes in the console of one: what is in which, who is connected to whom, the path of a call over them, and what
//! an operator does about it. Some of the others are dead, slow, or hostile, which is nobody else's trouble.

use crate::browser::{Browser, PATIENCE};
use crate::calls;
use crate::network::Network;
use crate::pages::{axe, violations};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const WORD: &str = "a-word-that-opens-everything";
pub const READS: &str = "a-word-that-opens-what-is-read";
/// What would run if it were taken for markup.
pub const EVIL: &str = "<img src=x onerror=\"window.stolen=1\">";

/// A request to a process of the test; the status, and JSON if it is some.
pub fn ask(at: Ipv4Addr, word: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let (status, text) = text_of(at, word, method, path, body);
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn text_of(at: Ipv4Addr, word: &str, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
    let mut stream = TcpStream::connect((at, 9460)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.map(|body| body.to_string());
    let more = body.as_ref().map_or(String::new(), |body| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    });
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {word}\r\nConnection: close\r\n{more}\r\n{}",
        body.unwrap_or_default()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    let text = String::from_utf8_lossy(&octets).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => chunks(body),
        false => body.to_owned(),
    };
    (status, body)
}

/// RFC 9112 §7.1.
fn chunks(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out.push_str(&more[..size]);
        rest = more[size..].trim_start_matches("\r\n");
    }
    out
}

/// Asks until the answer fits.
pub fn until(at: Ipv4Addr, path: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let (status, answer) = ask(at, WORD, "GET", path, None);
        if status == 200 && fits(&answer) {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {status} {answer:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Somebody who is there until this is dropped.
pub struct Strange {
    at: Ipv4Addr,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Strange {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // He waits for somebody to come.
        let _ = TcpStream::connect((self.at, 9460));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Somebody who answers whatever is asked in his own way. `None`: never.
pub fn strange(at: Ipv4Addr, answer: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) -> Strange {
    let listener = TcpListener::bind((at, 9460)).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let end = over.clone();
    let thread = std::thread::spawn(move || {
        // Those who wait in vain are kept.
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if end.load(Ordering::Relaxed) {
                return;
            }
            // Who says nothing does not keep him from the others for ever.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let mut octets = [0; 4096];
            let length = stream.read(&mut octets).unwrap_or(0);
            let request = String::from_utf8_lossy(&octets[..length]).into_owned();
            match answer(request.split(' ').nth(1).unwrap_or_default()) {
                Some(octets) => {
                    let head =
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&octets));
                }
                None => held.push(stream),
            }
        }
    });
    Strange { at, over, thread: Some(thread) }
}

/// A border with two gateways, each a process of its own, and others that are not as they should be.
fn started(network: &mut Network) -> Vec<Strange> {
    let at = |host| network.at(9, host);
    network.file("word", &format!("{WORD}\n"));
    network.file("reads", &format!("{READS}\n"));
    let node = |name: &str, url: String, more: &str| {
        format!("[[admin.nodes]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\n")
    };
    let socket = format!("unix:{}", network.path("trgw1.sock").display());
    let http = |host| format!("http://{}:9460", at(host));
    let more = [
        "token-file = \"word\"\nread-token-file = \"reads\"\n".to_owned(),
        node("gateways-1", socket, ""),
        node("gateways-2", http(12), "token-file = \"word\""),
        node("gateways-2-read", http(12), "token-file = \"reads\""),
        node("dead", http(13), ""),
        node("slow", http(14), ""),
        node("giant", http(15), ""),
        node("mad", http(16), ""),
        node(EVIL.replace('"', "'").as_str(), http(17), ""),
    ];
    let silent = strange(at(14), |_| None);
    let giant = strange(at(15), |_| Some(vec![b'['; 6 << 20]));
    let mad = strange(at(16), |_| Some(b"{\"roles\": [5, {\"name\": {}}], \"version\": 7}".to_vec()));
    let hostile = strange(at(17), |path| {
        let role = json!({ "role": "gateway", "kind": EVIL, "name": EVIL, "controllers": [EVIL] });
        let border = json!({ "role": "border", "kind": EVIL, "name": EVIL, "domain": EVIL, "gateways": ["trgw1", EVIL] });
        let seen = json!({ "gateway": EVIL, "state": EVIL, "refusal": EVIL, "refusal_ms": 5 });
        let session = json!({ "number": 1, "role": EVIL, "node": EVIL, "call_id": "one@left", "began": EVIL, "from": EVIL, "to": EVIL,
                              "plan": EVIL, "ended_ms": null, "reserved": [[EVIL, 1]] });
        let answer = match path {
            "/api/v1/process" => {
                json!({ "version": EVIL, "began": EVIL, "may_change": true, "roles": [role, border] })
            }
            "/api/v1/nodes" => json!({ "gateways": [{ "gateway": EVIL, "state": EVIL }],
                                       "borders": [{ "border": EVIL, "calls": 5, "gateways": [seen] }] }),
            path if path.contains("/sessions") => json!({ "sessions": [session], "total": 1, "next": null }),
            path if path.contains("/trace") => {
                json!({ "entries": [{ "evil": EVIL }], "next": 1, "newest": 9_000_000, "gone": 0 })
            }
            _ => json!({ "contexts": EVIL }),
        };
        Some(answer.to_string().into_bytes())
    });
    let text = calls::border(network, 100, &["trgw1", "trgw2"], &more.concat());
    network.file("node.toml", &text);
    network.start("node", &["run", "-c", "node.toml"]);
    network.wait_for("node", "out", "ready");
    let admin = format!(
        "[admin]\nlisten = \"{}:9460\"\ntoken-file = \"word\"\nread-token-file = \"reads\"\n",
        network.at(9, 12)
    );
    for (host, name, admin) in [(2, "trgw1", "[admin]\nsocket = \"trgw1.sock\"\n"), (3, "trgw2", &admin)] {
        let file = format!("{name}.toml");
        network.file(&file, &(calls::gateway(network, name, host, 100) + admin));
        network.start(name, &["run", "-c", &file]);
        network.wait_for("node", "err", &format!("gateway-up border=gate gateway={name}"));
    }
    vec![silent, giant, mad, hostile]
}

pub fn node<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let nodes = answer["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("{name} in {answer:#}"))
}

fn link<'a>(answer: &'a Value, from: &str, to: &str) -> &'a Value {
    let links = answer["links"].as_array().unwrap();
    let is = |link: &&Value| link["from"]["name"] == from && link["to"]["name"] == to;
    links.iter().find(is).unwrap_or_else(|| panic!("{from} to {to} in {answer:#}"))
}

fn is_settled(answer: &Value) -> bool {
    let states = |names: &[&str], state: &str| names.iter().all(|name| node(answer, name)["state"] == state);
    states(&["gateways-1", "gateways-2", "gateways-2-read"], "reached")
        && states(&["dead", "slow", "giant", "mad"], "unreachable")
        && link(answer, "gate", "trgw1")["health"] == "good"
        && link(answer, "gate", "trgw2")["health"] == "good"
}

#[test]
fn one_process_shows_all_and_passes_on_what_an_operator_wants() {
    let mut network = Network::new();
    let _others = started(&mut network);
    let here = network.at(9, 9);
    let all = until(here, "/api/v1/network", "all are known", is_settled);
    assert_eq!(
        (node(&all, "here")["here"].as_bool(), &all["nodes"][0]["name"]),
        (Some(true), &json!("here"))
    );
    for name in ["dead", "slow", "giant", "mad"] {
        let node = node(&all, name);
        assert!(node["since"].is_string() && node["why"].is_string(), "{node:#}");
        assert_eq!((&node["health"], &node["roles"]), (&json!("bad"), &json!([])));
    }
    assert_eq!(node(&all, "slow")["why"], "does not answer");
    let control = link(&all, "gate", "trgw1");
    assert_eq!(
        (&control["kind"], &control["from"]["node"], &control["to"]["node"], &control["state"]),
        (&json!("h248"), &json!("here"), &json!("gateways-1"), &json!("in service"))
    );
    assert_eq!(link(&all, "gate", "trgw2")["to"]["node"], "gateways-2");
    // What it shows there decides what may be done there, and what who asks has shown here.
    let may = |all: &Value| {
        ["here", "gateways-1", "gateways-2", "gateways-2-read"]
            .map(|name| node(all, name)["may_change"] == true)
    };
    assert_eq!(may(&all), [true, true, true, false]);
    let (status, seen) = ask(here, READS, "GET", "/api/v1/network", None);
    assert_eq!((status, may(&seen)), (200, [false; 4]));
    assert_eq!(ask(here, READS, "GET", "/api/v1/process", None).1["may_change"], false);

    // A call: the border here, its media in another process.
    let ends = calls::Ends::new(&network);
    ends.call(&[("sip:ann@left.example".to_owned(), "one@left".to_owned())]);
    let path = until(here, "/api/v1/network/call?call_id=one%40left", "its context is held", |path| {
        let own = path["hops"].as_array().unwrap().iter().find(|hop| hop["node"] == "here");
        own.is_some_and(|own| {
            own["media"][0]["held"]["terminations"].as_array().is_some_and(|all| all.len() == 2)
        })
    });
    let own = path["hops"].as_array().unwrap().iter().find(|hop| hop["node"] == "here").unwrap();
    assert_eq!((&own["session"]["node"], &own["session"]["call_id"]), (&json!("gate"), &json!("one@left")));
    let (gateway, place) =
        (own["media"][0]["gateway"].as_str().unwrap(), own["media"][0]["node"].as_str().unwrap());
    let other = if gateway == "trgw1" { "trgw2" } else { "trgw1" };
    assert_eq!(place, if gateway == "trgw1" { "gateways-1" } else { "gateways-2" });
    assert!(path["silent"].as_array().unwrap().iter().any(|silent| silent["node"] == "dead"), "{path:#}");
    // Its ladder has what the border and the gateway said to each other once, with both by name.
    let (status, ladder) = ask(here, WORD, "GET", "/api/v1/network/ladder?call_id=one%40left", None);
    assert_eq!(status, 200, "{ladder:#}");
    let session = &ladder["sessions"][0];
    let names: Vec<_> =
        session["hosts"].as_array().unwrap().iter().map(|host| host["name"].clone()).collect();
    assert!(names.contains(&json!("gate")) && names.contains(&json!(gateway)), "{names:?}");
    let adds = session["entries"].as_array().unwrap().iter().filter(|entry| {
        entry["protocol"] == "h248" && entry["label"].as_str().is_some_and(|label| label.starts_with("Add"))
    });
    assert!(adds.count() >= 1, "{session:#}");
    let (status, text) =
        text_of(here, WORD, "GET", "/api/v1/network/ladder?call_id=one%40left&format=text", None);
    assert!(status == 200 && text.contains("INVITE") && text.contains("dead is not in it"), "{text}");
    assert_eq!(ask(here, WORD, "GET", "/api/v1/network/ladder?call_id=nobody", None).0, 404);
    assert_eq!(ask(here, WORD, "GET", "/api/v1/network/call?call_id=", None).0, 400);
    let (status, all) = ask(here, WORD, "GET", "/api/v1/network/sessions?q=ann", None);
    assert!(
        status == 200 && all["sessions"].as_array().unwrap().iter().any(|one| one["node"] == "here"),
        "{all:#}"
    );

    // New calls avoid a gateway; who may only read does not decide that.
    let avoid = format!("/api/v1/network/here/borders/gate/gateways/{gateway}");
    assert_eq!(ask(here, READS, "PATCH", &avoid, Some(json!({ "avoid": true }))).0, 403);
    assert_eq!(ask(here, WORD, "PATCH", &avoid, Some(json!({ "avoid": true }))).0, 200);
    let all =
        until(here, "/api/v1/network", "it is avoided", |all| link(all, "gate", gateway)["avoided"] == true);
    assert_eq!(
        (&link(&all, "gate", gateway)["health"], &node(&all, "here")["health"]),
        (&json!("warn"), &json!("warn"))
    );
    ends.call(&[("sip:ben@left.example".to_owned(), "two@left".to_owned())]);
    let (_, path) = ask(here, WORD, "GET", "/api/v1/network/call?call_id=two%40left", None);
    let own = path["hops"].as_array().unwrap().iter().find(|hop| hop["node"] == "here").unwrap();
    assert_eq!(own["media"][0]["gateway"], other);
    assert_eq!(ask(here, WORD, "PATCH", &avoid, Some(json!({ "avoid": false }))).0, 200);
    let unknown = "/api/v1/network/nowhere/borders/gate/gateways/trgw1";
    assert_eq!(ask(here, WORD, "PATCH", unknown, Some(json!({ "avoid": true }))).0, 404);
    let dead = "/api/v1/network/dead/borders/gate/gateways/trgw1";
    assert_eq!(ask(here, WORD, "PATCH", dead, Some(json!({ "avoid": true }))).0, 503);

    // Another process is drained, and is not, as far as it lets this one.
    let drain = |name: &str| format!("/api/v1/network/{name}/drain");
    let grace = || Some(json!({ "grace": 600 }));
    assert_eq!(ask(here, WORD, "POST", &drain("gateways-2-read"), grace()).0, 409);
    assert_eq!(ask(here, READS, "POST", &drain("gateways-2"), grace()).0, 403);
    assert_eq!(ask(here, WORD, "POST", &drain("gateways-2"), grace()).0, 202);
    until(here, "/api/v1/network", "it drains", |all| {
        node(all, "gateways-2")["draining"] == true && link(all, "gate", "trgw2")["state"] == "draining"
    });
    assert_eq!(ask(here, WORD, "DELETE", &drain("gateways-2"), None).0, 200);
    until(here, "/api/v1/network", "it does not drain any more", |all| {
        node(all, "gateways-2")["draining"] == false && link(all, "gate", "trgw2")["health"] == "good"
    });
    // Who did what is told, here and there.
    let told = |at, what: &str| {
        let (_, recent) = ask(at, WORD, "GET", "/api/v1/events/recent?role=admin", None);
        let events = recent["events"].as_array().unwrap();
        let is = |event: &&Value| {
            event["event"] == "administration" && event["path"].as_str().unwrap().contains(what)
        };
        events.iter().find(is).cloned().unwrap_or_else(|| panic!("{what} in {recent:#}"))
    };
    let avoided = told(here, "/gateways/trgw");
    assert!(
        avoided["who"].as_str().unwrap().starts_with("127.") && avoided["method"] == "PATCH",
        "{avoided:#}"
    );
    assert_eq!(told(network.at(9, 12), "/drain")["status"], 200);
    let said = std::fs::read_to_string(network.path("node.err")).unwrap();
    assert!(said.contains("administration") && said.contains("node-lost") && !said.contains(WORD), "{said}");

    // One that dies is missed, and what it was is kept.
    network.kill("trgw1");
    let all = until(here, "/api/v1/network", "it is missed", |all| {
        node(all, "gateways-1")["state"] == "unreachable"
    });
    let gone = node(&all, "gateways-1");
    assert!(
        gone["since"].is_string() && gone["heard"].is_string() && gone["roles"][0]["name"] == "trgw1",
        "{gone:#}"
    );
    network.start("trgw1", &["run", "-c", "trgw1.toml"]);
    until(here, "/api/v1/network", "it is back", |all| node(all, "gateways-1")["state"] == "reached");
}

#[test]
fn the_whole_network_is_drawn_and_acted_on() {
    let Some(browser) = Browser::open(1440, 1100) else { return };
    let axe = axe();
    let mut network = Network::new();
    let _others = started(&mut network);
    let here = network.at(9, 9);
    until(here, "/api/v1/network", "all are known", is_settled);
    let ends = calls::Ends::new(&network);
    ends.call(&[("sip:ann@left.example".to_owned(), "one@left".to_owned())]);
    let page = network.page();
    browser.go(&page);
    browser.until("document.querySelector('input[type=password]')");
    browser.run(&format!("sessionStorage.setItem('carnet-token', '{WORD}'); location.reload()"));
    let mut wrong = Vec::new();
    let mut look = |browser: &Browser, what: &str| {
        browser.picture(&format!("several-{what}"));
        assert_eq!(browser.run("return window.stolen ?? null"), Value::Null, "{what}");
        let found = axe.as_ref().map(|axe| violations(browser, axe)).unwrap_or_default();
        wrong.extend((!found.is_empty()).then(|| format!("{what}: {found}")));
        let said = browser.log().into_iter().filter(|line| {
            !["/ladder - Failed to load", "401", "Autofocus"].iter().any(|known| line.contains(known))
        });
        wrong.extend(said.map(|line| format!("{what}: {line}")));
    };
    for theme in ["light", "dark"] {
        browser.until("document.querySelector('.link-live')");
        browser.run(&format!("localStorage.setItem('carnet-theme', '{theme}'); location.reload()"));
        browser.until("document.querySelectorAll('.map .process').length >= 9 && document.querySelector('.map .chip-gateway')");
        browser.until_says("4 unreachable");
        look(&browser, &format!("map-{theme}"));
        browser.click_button("List");
        browser.until("document.querySelectorAll('.nodes-of tbody tr').length === 9");
        browser.until_says("unreachable since");
        look(&browser, &format!("list-{theme}"));
        browser.go("about:blank");
        browser.go(&format!("{page}#/sessions/1"));
        browser.until("document.querySelector('.path-of .reserved tbody tr') && document.querySelector('.ladder .entry')");
        browser.until_says("Ladder of all processes");
        look(&browser, &format!("session-{theme}"));
        browser.go(&format!("{page}#/calls"));
        browser.until("document.querySelector('.calls-of tbody tr')");
        look(&browser, &format!("calls-{theme}"));
        browser.go(&format!("{page}#/calls/one%40left"));
        browser.until(
            "document.querySelector('.path-of .reserved') && document.querySelector('.ladder .entry')",
        );
        look(&browser, &format!("call-{theme}"));
        browser.go("about:blank");
        browser.go(&page);
    }
    // What somebody writes who is not to be trusted is text.
    browser.until("document.querySelectorAll('.map .process').length >= 9");
    browser.until(
        "[...document.querySelectorAll('.map text')].some((text) => text.textContent.includes('<img'))",
    );
    browser
        .run("location.hash = '#/network/' + encodeURIComponent(\"<img src=x onerror='window.stolen=1'>\")");
    browser.until("document.querySelector('.one h2').innerText.includes('<img')");
    look(&browser, "hostile");
    // By the keyboard to a process, and to what is in it.
    browser.run("location.hash = '#/network/here'");
    browser.until("document.querySelector('.one h2').innerText.startsWith('here')");
    browser.run("document.querySelector('.map').focus()");
    for _ in 0..4 {
        browser.press(&["{Tab}"]);
        if browser.run("return document.activeElement.textContent.trim().startsWith('gateways-1')") == true {
            break;
        }
    }
    browser.press(&["{Enter}"]);
    browser.until("location.hash === '#/network/gateways-1' && document.querySelector('.one').innerText.includes('trgw1')");
    // A gateway is avoided, and used again; a process is drained, when it was asked twice.
    browser.run("location.hash = '#/network/here'");
    browser.until("[...document.querySelectorAll('.node-gateway button')].length === 2");
    browser.click(".node-gateway button");
    browser.until("document.querySelector('.node-gateway').innerText.includes('avoided')");
    browser.until_says("Use it again");
    look(&browser, "avoided");
    browser.click_button("Use it again");
    browser.until("!document.querySelector('.one').innerText.includes('avoided')");
    // The one that has the call: with nothing to wait for it would end at once.
    let (_, path) = ask(here, WORD, "GET", "/api/v1/network/call?call_id=one%40left", None);
    let own = path["hops"].as_array().unwrap().iter().find(|hop| hop["node"] == "here").unwrap();
    let place = own["media"][0]["node"].as_str().unwrap();
    browser.run(&format!("location.hash = '#/network/{place}'"));
    browser.until(&format!("document.querySelector('.one h2').innerText.startsWith('{place}')"));
    browser.click_button("Drain");
    browser.until_says("It takes nothing new");
    look(&browser, "drain");
    browser.click("dialog .danger");
    browser.until("document.querySelector('.one').innerText.includes('Do not drain')");
    browser.click_button("Do not drain");
    browser.until("!document.querySelector('.one').innerText.includes('Do not drain')");
    // Who may only read is shown no button for it.
    browser.run(&format!("sessionStorage.setItem('carnet-token', '{READS}'); location.hash = '#/network/here'; location.reload()"));
    browser.until(
        "document.querySelectorAll('.map .process').length >= 9 && document.querySelector('.node-gateway')",
    );
    assert_eq!(browser.run("return document.querySelectorAll('.act button').length"), 0);
    for (hash, seen) in [("sessions/1", "in progress"), ("process", "Uptime|Up for")] {
        browser.run(&format!("location.hash = '#/{hash}'"));
        browser.until(&format!("/{seen}/.test(document.querySelector('main').innerText)"));
        assert_eq!(browser.run("return document.querySelectorAll('main .danger').length"), 0, "{hash}");
    }
    // On a telephone.
    browser.resize(500, 900);
    browser.run("location.hash = '#/network'; location.reload()");
    browser.until("document.querySelector('.nodes-of')");
    browser.until("document.documentElement.scrollWidth <= innerWidth");
    look(&browser, "list-phone");
    browser.click_button("Map");
    browser.until("document.querySelector('.map .chip')");
    browser.until("document.documentElement.scrollWidth <= innerWidth");
    look(&browser, "map-phone");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
