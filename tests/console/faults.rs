//! A process that wants a token, one that goes and comes back, a gateway that goes, one that is drained.

use crate::browser::Browser;
use crate::calls;
use crate::network::Network;

#[test]
fn who_has_no_token_is_shown_nothing() {
    let Some(browser) = Browser::open(1200, 800) else { return };
    let mut network = Network::new();
    let word = "a-long-word-that-nobody-guesses";
    network.file("token", &format!("{word}\n"));
    let text = calls::border(&network, 10, &["trgw"], "token-file = \"token\"\n");
    network.file("node.toml", &text);
    network.start("node", &["run", "-c", "node.toml"]);
    network.wait_for("node", "out", "ready");
    let page = network.page();
    browser.go(&page);
    browser.until("document.querySelector('input[type=password]') === document.activeElement");
    assert!(!browser.text().contains("gate"), "{}", browser.text());
    browser.press(&["not-the-word", "{Enter}"]);
    browser.until_says("did not take this token");
    browser.run("document.querySelector('input').value = ''");
    browser.click("input");
    browser.press(&[word, "{Enter}"]);
    browser.until_says("gate.example");
    // The events come with it as well.
    browser.until("document.querySelector('.link-live')");
    // It is kept for this tab, and not where other tabs and later days find it.
    browser.go(&format!("{page}#/process"));
    browser.run("location.reload()");
    browser.until_says("Sign out");
    assert_eq!(
        browser.run(
            "return [localStorage.getItem('carnet-token'), document.cookie, location.href.includes('word')]"
        ),
        serde_json::json!([null, "", false])
    );
    browser.click_button("Sign out");
    browser.until("document.querySelector('input[type=password]')");
    assert!(!browser.text().contains("gate"), "{}", browser.text());
}

#[test]
fn a_process_that_goes_is_missed_and_welcomed_back() {
    let Some(browser) = Browser::open(1200, 800) else { return };
    let mut network = Network::new();
    calls::started(&mut network, 10, &["trgw"], "");
    let ends = calls::Ends::new(&network);
    browser.go(&network.page());
    browser.until_says("all in service");
    browser.run("window.sameAsBefore = true");
    // A gateway on its own.
    network.kill("trgw");
    browser.until("document.querySelector('.node-gateway.is-bad, .node-gateway.is-warn')");
    browser.until_says("1 not in service");
    network.start("trgw", &["run", "-c", "trgw.toml"]);
    browser.until_says("all in service");
    browser.go(&format!("{}#/sessions", network.page()));
    ends.call(&[("sip:ann@left.example".to_owned(), "one@left".to_owned())]);
    browser.until("document.querySelectorAll('.row').length === 1");
    network.kill("node");
    browser.until("document.querySelector('.banner.is-bad')?.innerText.startsWith('Connection lost.')");
    // What was known is still shown, and said to be old.
    browser.until("document.querySelectorAll('.row').length === 1");
    network.start("node", &["run", "-c", "node.toml"]);
    browser.until("!document.querySelector('.banner') && document.querySelector('.link-live')");
    // The calls of the process before are not those of this one.
    browser.until_says("Nobody is talking");
    network.wait_for("node", "err", "gateway-up border=gate gateway=trgw");
    ends.call(&[("sip:ben@left.example".to_owned(), "two@left".to_owned())]);
    browser.until_says("ben@left.example");
    assert_eq!(browser.run("return window.sameAsBefore"), true);
}

#[test]
fn a_process_is_drained_and_its_log_turned_up() {
    let Some(browser) = Browser::open(1200, 800) else { return };
    let mut network = Network::new();
    calls::started(&mut network, 10, &["trgw"], "");
    let ends = calls::Ends::new(&network);
    ends.call(&[("sip:ann@left.example".to_owned(), "one@left".to_owned())]);
    browser.go(&format!("{}#/process", network.page()));
    browser.until("document.querySelector('#filter')?.value === 'info'");
    browser.click_button("debug");
    browser.click_button("Set");
    browser.until_says("It logs debug now");
    browser.run("document.querySelector('#filter').select()");
    browser.click("#filter");
    browser.run("const f = document.querySelector('#filter'); f.value = 'carnet=nonsense'; f.dispatchEvent(new Event('input', { bubbles: true }))");
    browser.until("!document.querySelector('.log button.primary').disabled");
    browser.click_button("Set");
    browser.until_says("is no filter");
    browser.run("const g = document.querySelector('#grace'); g.value = '90000'; g.dispatchEvent(new Event('input', { bubbles: true }))");
    browser.until("document.querySelector('.drain button').disabled");
    browser.run("const g = document.querySelector('#grace'); g.value = '300'; g.dispatchEvent(new Event('input', { bubbles: true }))");
    browser.until("!document.querySelector('.drain button').disabled");
    browser.click_button("Drain");
    browser.until_says("1 sessions are in progress");
    browser.click("dialog .danger");
    browser.until_says("This process is draining.");
    browser.click_button("Take it back");
    browser.until("!document.body.innerText.includes(\"This process is draining.\")");
    browser.go(&format!("{}#/sessions/1", network.page()));
    browser.until_says("in progress");
    // The process goes on, and so does the call, until somebody wants that it does not.
    browser.click_button("End call");
    browser.click("dialog .danger");
    browser.until_says("administrator");
    assert!(network.process("node").try_wait().unwrap().is_none());
}
