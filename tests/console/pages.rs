//! Every page, in both themes: it shows what is there, breaks no rule of its own policy, complains of nothing, and can be used by
//! everybody (axe).

use crate::browser::Browser;
use crate::network::{Network, ROOM};
use std::path::PathBuf;

/// The script that axe is, where the gate puts it.
pub fn axe() -> Option<String> {
    let path =
        std::env::var_os("CARNET_AXE").map_or(PathBuf::from("/opt/axe-core/axe.min.js"), PathBuf::from);
    let script = std::fs::read_to_string(&path).ok();
    if script.is_none() {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{} is required here", path.display());
        eprintln!("not checked with axe: there is no {}", path.display());
    }
    script
}

/// What axe has against the page as it stands.
pub fn violations(browser: &Browser, axe: &str) -> String {
    browser.run(axe);
    let found = browser.run_until_done(
        "axe.run(document).then((r) => done(r.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160) + ' — ' + \
         n.failureSummary.replace(/\\s+/g, ' ').slice(0, 200)).join(' | ')}`).join('\\n')), (error) => done(String(error)))",
    );
    found.as_str().unwrap_or("no answer").to_owned()
}

#[test]
fn every_page_can_be_used_by_everybody() {
    let Some(browser) = Browser::open(1440, 1000) else { return };
    let axe = axe();
    let mut network = Network::new();
    network.whole();
    network.ue("bob", &["listen"]);
    network.wait_for("bob", "out", "registered");
    network.ue("alice", &["chat", "sip:bob@b.example"]);
    network.wait_for("alice", "out", "\"sealed\"");
    network.ue("carol", &["join", ROOM]);
    network.wait_for("carol", "out", "sealed");
    let page = network.page();
    browser.go(&page);
    browser.until_says("2 borders");
    let mut wrong = Vec::new();
    let pages = [
        ("network", "agw-a", "in service"),
        ("sessions", "alice", "border-a"),
        ("sessions/1", "Why it was planned so", "passes sealed"),
        ("rooms", "Who unloads first", "carol"),
        ("keys", "issued", "kms.example"),
        ("charts", "Sessions in progress", "Tickets a second"),
        ("process", "in service", "border-b"),
    ];
    for theme in ["light", "dark"] {
        browser.run(&format!("localStorage.setItem('carnet-theme', '{theme}')"));
        for (hash, first, second) in pages {
            // Anew, so that what is loaded first is seen too.
            browser.go("about:blank");
            browser.go(&format!("{page}#/{hash}"));
            browser.until("document.querySelector('.link-live')");
            browser.until_says(first);
            browser.until_says(second);
            let dark = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches || getComputedStyle(document.documentElement).colorScheme");
            assert_eq!(dark, theme, "{hash}");
            browser.picture(&format!("{}-{theme}", hash.replace('/', "-")));
            let found = axe.as_ref().map(|axe| violations(&browser, axe)).unwrap_or_default();
            wrong.extend((!found.is_empty()).then(|| format!("{hash}, {theme}: {found}")));
            // A process that keeps no messages has no ladder: the browser notes that it asked.
            let said = browser.log().into_iter().filter(|line| !line.contains("/ladder - Failed to load"));
            wrong.extend(said.map(|line| format!("{hash}, {theme}: {line}")));
        }
    }
    // On a telephone nothing stands out at the side.
    browser.resize(500, 900);
    for (hash, first, _) in pages {
        browser.go(&format!("{page}#/{hash}"));
        browser.until_says(first);
        browser.picture(&format!("{}-phone", hash.replace('/', "-")));
        browser.until("document.documentElement.scrollWidth <= innerWidth");
        let found = axe.as_ref().map(|axe| violations(&browser, axe)).unwrap_or_default();
        wrong.extend((!found.is_empty()).then(|| format!("{hash}, narrow: {found}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
