//! What others write is shown as what it is: text.

use crate::browser::Browser;
use crate::calls;
use crate::network::Network;

/// What would run if it were taken for markup.
const EVIL: &str = "<img src=x onerror=\"window.stolen=1\"><script>window.stolen=2</script>";

/// Nothing came into the page that is not of the page.
fn is_whole(browser: &Browser, seen: &str) {
    browser.until_says(seen);
    let strange = browser.run(
        "return [...document.querySelectorAll('img, script, iframe, object, a[href^=\"javascript\"]')].map((e) => e.outerHTML)\
         .filter((html) => !html.includes('/console/'))",
    );
    assert_eq!(strange, serde_json::json!([]));
    assert_eq!(browser.run("return window.stolen ?? null"), serde_json::Value::Null);
}

#[test]
fn names_from_the_network_are_text() {
    let Some(browser) = Browser::open(1200, 800) else { return };
    let mut network = Network::new();
    calls::started(&mut network, 10, &["trgw"], "");
    let ends = calls::Ends::new(&network);
    // As far as the grammar of SIP lets somebody go (RFC 3261 §25.1: word, user).
    let call_id = "<img/src/onerror:stolen()>\"{%3Cscript%3E}@[evil]";
    ends.call(&[("sip:o'onerror=stolen()&ann;%3Cimg@left.example".to_owned(), call_id.to_owned())]);
    browser.go(&format!("{}#/sessions", network.page()));
    is_whole(&browser, "onerror=stolen()");
    browser.click(".row");
    is_whole(&browser, call_id);
    browser.until_says("passes sealed");
    assert!(browser.log().is_empty(), "{:?}", browser.log());
}

#[test]
fn whatever_the_process_says_is_text() {
    let Some(browser) = Browser::open(1200, 800) else { return };
    let mut network = Network::new();
    network.whole();
    let page = network.page();
    browser.go(&page);
    browser.until("document.querySelector('.link-live')");
    // Each text of each answer is a hostile one from here on, those of refusals too, which questions by such names meet with; numbers, times
    // and what the page goes by stay.
    let evil = serde_json::Value::from(EVIL);
    browser.run(&format!(
        "const evil = {evil}, own = window.fetch; \
         const keep = new Set(['timestamp', 'began', 'now', 'role', 'event', 'level', 'state', 'protocol', 'weight', 'plan']); \
         const spoil = (value, name) => typeof value === 'string' ? (keep.has(name) ? value : evil) : Array.isArray(value) ? value.map((v) => spoil(v, name)) \
           : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, spoil(v, k)])) : value; \
         const call = {{ number: 1, role: 'border', node: 'n', call_id: 'c', began: new Date().toISOString(), answered_ms: 1, ended_ms: null, from: 'f', to: 't', \
           plan: 'line 0 (message TCP/TLS/MSRP): e2e over TCP/TLS, why', cause: null, networks: ['a', 'b'], gateway: 'g', octets: 1, facts: {{ a: 'b' }}, left_out: 0, \
           events: [{{ at_ms: 1, event: 'call-started', level: 'info', fields: {{ from: 'f' }} }}, {{ at_ms: 2, event: 'media-notice', level: 'warn', fields: {{ what: 'w', gateway: 'g' }} }}] }}; \
         window.fetch = async (url, options) => {{ \
           if (url.includes('/events') && !url.includes('recent')) return own(url, options); \
           const answer = await own(url, options); \
           let body = await answer.json().catch(() => null), status = answer.status; \
           if (url.includes('/sessions?')) body = {{ sessions: [call], total: 1, next: null }}; \
           else if (/sessions\\/1$/.test(url)) body = call; \
           else if (url.includes('openapi')) {{ body.paths['/api/v1/sessions/{{number}}/ladder'] = {{}}; return new Response(JSON.stringify(body)); }} \
           else if (url.includes('/ladder')) body = {{ hosts: [{{ role: 'r', addresses: ['a'] }}, {{ role: 'r', addresses: ['a', 'b'] }}], \
             findings: [{{ rule: 'r', weight: 'failure', what: 'w', advice: 'a', entry: 0 }}], \
             entries: [{{ at: 1, from: 'f', to: 't', from_host: 0, to_host: 1, transport: 'UDP', protocol: 'sip', label: 'l', bad: true, times: 1, text: 't', message: {{}} }}] }}; \
           else if (/rooms\\/./.test(url)) body = {{ room: 'r', subject: 's', fixed: true, sealed: false, unsealed: 1, gateway: 'g', context: 1, floors: [{{ floor: 1, holders: ['h'], waiting: ['w'] }}], \
             members: [{{ member: 'm', user: 1, nickname: 'n', state: 'in', owner: true, sealed: false, stalled: true, media: [{{ media: 'message', sealed_with: 'x' }}] }}] }}; \
           if (/sessions\\?|sessions\\/1$|ladder|rooms\\/./.test(url)) status = 200; \
           return new Response(JSON.stringify(spoil(body)), {{ status }}); }}"
    ));
    for hash in ["network", "sessions", "rooms", "keys", "charts", "process"] {
        browser.run(&format!("location.hash = '#/{hash}'"));
        // The process is asked again every few seconds.
        let seen =
            if matches!(hash, "charts" | "sessions") { "Carnet" } else { "onerror=\"window.stolen=1\"" };
        is_whole(&browser, seen);
    }
    browser.run("location.hash = '#/sessions/1'");
    is_whole(&browser, "onerror=\"window.stolen=1\"");
    browser.until("document.querySelector('.finding') && document.querySelector('.entry')");
    browser.click(".entry");
    browser.until("document.querySelector('.message pre')?.textContent.includes('<script>')");
    is_whole(&browser, "<script>");
    let complaints: Vec<_> =
        browser.log().into_iter().filter(|line| line.contains("Security Policy")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
