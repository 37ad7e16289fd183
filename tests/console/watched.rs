//! What happens is seen as it happens: calls, rooms, tickets. And the keyboard leads everywhere.

use crate::browser::Browser;
use crate::calls;
use crate::network::{Network, ROOM};

#[test]
fn a_call_is_seen_from_its_beginning_to_its_end() {
    let Some(browser) = Browser::open(1440, 900) else { return };
    let mut network = Network::new();
    network.whole();
    network.ue("bob", &["listen"]);
    network.wait_for("bob", "out", "registered");
    browser.go(&format!("{}#/sessions", network.page()));
    browser.until_says("Nobody is talking");
    browser.until("document.querySelector('.link-live')");
    // It is the events that bring what comes now: the page is not loaded again.
    browser.run("window.sameAsBefore = true");
    network.ue("alice", &["chat", "sip:bob@b.example"]);
    network.wait_for("alice", "out", "\"sealed\"");
    browser.until("document.querySelectorAll('.row').length === 1");
    browser.until("document.querySelector('.row .seal-sealed')");
    browser.until("document.querySelector('.row .path').textContent === 'border-a\u{203a}border-b'");
    let row = browser.run("return document.querySelector('.row').innerText");
    for part in ["alice@a.example", "bob@b.example", "end to end"] {
        assert!(row.as_str().unwrap().replace('\n', "").contains(part), "{part} in {row}");
    }
    // To its page by the keyboard, and what is told there.
    browser.press(&["j", "{Enter}"]);
    browser.until("location.hash === '#/sessions/1'");
    for said in [
        "sealed end to end",
        "in progress",
        "passes sealed",
        "TLS is asked for from end to end",
        "agw-a",
        "agw-b",
    ] {
        browser.until_says(said);
    }
    // What the gateways hold of it: they count while it runs.
    browser.until_says("so far");
    // A process that keeps messages has them in the ladder, any other what its borders told.
    browser.until("document.querySelectorAll('.rung text').length >= 8");
    let kept = browser.run("return document.querySelector('#ladder-title').innerText") == "Ladder";
    let (rungs, first) = match kept {
        true => (["INVITE", "Trying", "200", "ACK"], "INVITE sip:bob@b.example"),
        false => (["call", "plan made", "context reserved", "answered"], "call-started at border-a"),
    };
    for said in rungs {
        browser.until(&format!(
            "[...document.querySelectorAll('.rung text')].some((text) => text.textContent.includes('{said}'))"
        ));
    }
    let chosen = "return /INVITE|call, from/.test(document.activeElement.textContent)";
    browser.press(&["j"]);
    // Before the first message there may be the ticket that it needed.
    for _ in 0..8 {
        if browser.run(chosen) == true {
            break;
        }
        browser.press(&["j"]);
    }
    browser.press(&["{Enter}"]);
    browser.until(&format!("document.querySelector('.message pre').textContent.includes('{first}')"));
    // What passes is counted while it does.
    let passes = browser.run_until_done(
        "const look = async () => { const { rates } = await (await fetch('/api/v1/history')).json(); \
         if (rates.relayed.some((rate) => rate > 0)) done(true); else setTimeout(look, 500) }; look()",
    );
    assert_eq!(passes, true);
    // It ends, and says why.
    network.end("alice");
    browser.until_says("the caller hung up");
    browser.press(&["u"]);
    browser.until("location.hash === '#/sessions'");
    browser.until_says("Nobody is talking");
    browser.click(".tabs button:last-child");
    browser.until("document.querySelector('.row .cause')?.innerText === 'the caller hung up'");
    assert_eq!(browser.run("return window.sameAsBefore"), true);
    browser.go(&format!("{}#/keys", network.page()));
    browser.until("[...document.querySelectorAll('.tickets tbody tr')].length >= 2");
    let tickets = browser.text();
    assert!(tickets.contains("issued") && tickets.contains("opened"), "{tickets}");
}

#[test]
fn what_was_missed_is_read_again() {
    let Some(browser) = Browser::open(1200, 800) else { return };
    let mut network = Network::new();
    calls::started(&mut network, 10, &["trgw"], "");
    let ends = calls::Ends::new(&network);
    browser.go(&format!("{}#/sessions", network.page()));
    browser.until_says("Nobody is talking");
    // From here on the stream says that it left something out, and nothing else: a reader that was too slow.
    browser.run(
        "const own = window.fetch; window.asked = 0; \
         window.fetch = (url, options) => { \
           if (url.startsWith('/api/v1/sessions?limit')) window.asked += 1; \
           if (url !== '/api/v1/events') return own(url, options); \
           return Promise.resolve(new Response(new ReadableStream({ start(stream) { window.say = (text) => stream.enqueue(new TextEncoder().encode(text)) } }))) }; \
         window.dispatchEvent(new Event('pagehide')); window.dispatchEvent(new Event('pageshow'))",
    );
    browser.until("window.say && window.asked === 1 && document.querySelector('.link-live')");
    ends.call(&[("sip:ann@left.example".to_owned(), "one@left".to_owned())]);
    // In parts, as it may come, and while the list is still being rested from.
    browser.run("window.say('event: mis'); window.say('sed\\ndata: {\"missed\": 7}\\n\\n')");
    browser.until_says("ann@left.example");
    assert_eq!(browser.run("return window.asked"), 2);
}

#[test]
fn the_keyboard_leads_everywhere() {
    let Some(browser) = Browser::open(1200, 800) else { return };
    let mut network = Network::new();
    network.whole();
    browser.go(&network.page());
    browser.until("document.querySelector('.link-live')");
    for (keys, hash, title) in [
        (["g", "s"], "sessions", "Sessions"),
        (["g", "r"], "rooms", "Rooms"),
        (["g", "k"], "keys", "Keys"),
        (["g", "c"], "charts", "Charts"),
        (["g", "p"], "process", "Process"),
        (["g", "n"], "network", "Network"),
    ] {
        browser.press(&keys);
        browser.until(&format!(
            "location.hash === '#/{hash}' && document.querySelector('h1').innerText === '{title}'"
        ));
    }
    browser.press(&["?"]);
    browser.until("document.querySelector('dialog[open]')?.innerText.includes('light or dark')");
    browser.press(&["{Escape}"]);
    browser.until("!document.querySelector('dialog')");
    browser.press(&["g", "s"]);
    browser.until("document.querySelector('[data-filter]')");
    browser.press(&["/", "g", "n", "?"]);
    // What is written is no command.
    browser
        .until("document.querySelector('[data-filter]').value === 'gn?' && location.hash === '#/sessions'");
    browser.press(&["{Escape}", "t"]);
    let before = browser.run("return document.documentElement.dataset.theme");
    browser.press(&["t"]);
    browser.until(&format!("document.documentElement.dataset.theme !== {before}"));
}

#[test]
fn a_room_is_seen_and_ended() {
    let Some(browser) = Browser::open(1200, 800) else { return };
    let mut network = Network::new();
    network.whole();
    browser.go(&format!("{}#/rooms", network.page()));
    browser.until_says("Nobody is in it.");
    browser.until("document.querySelector('.link-live')");
    network.ue("carol", &["join", ROOM]);
    network.wait_for("carol", "out", "sealed");
    browser.until("document.querySelector('.roster tbody .mark-good')?.innerText === 'sealed'");
    // Nothing is done without being asked for twice.
    browser.click_button("Put out");
    browser.until_says("Put this member out?");
    browser.click_button("Cancel");
    browser.until(
        "!document.querySelector('dialog') && document.querySelectorAll('.roster tbody tr').length === 1",
    );
    browser.click_button("Put out");
    browser.until("document.querySelector('dialog[open]')");
    browser.click("dialog .danger");
    browser.until_says("Nobody is in it.");
    network.wait_for("carol", "out", "\"left\"");
    // Somebody has the floor.
    network.ue("alice", &["floor", "request", ROOM]);
    browser.until("document.querySelector('.floor .mark-good')?.innerText.includes('alice')");
    network.ue("carol", &["floor", "request", ROOM]);
    browser.until("document.querySelector('.floor .queue')?.innerText.includes('carol')");
    browser.picture("floors");
    // The administrator decides: off the queue, into it again, before who has it, and away.
    browser.click_button("Deny");
    browser.until("!document.querySelector('.floor .queue')");
    network.wait_for("carol", "out", "denied");
    network.kill("carol");
    network.ue("carol", &["floor", "request", ROOM]);
    browser.until("document.querySelector('.floor .queue')?.innerText.includes('carol')");
    browser.click_button("Grant");
    browser.until("document.querySelector('.floor .mark-good')?.innerText.includes('carol')");
    network.wait_for("alice", "out", "revoked");
    browser.click_button("Revoke");
    network.wait_for("carol", "out", "revoked");
    browser.until("!document.querySelector('.floor .mark-good')");
    for user in ["alice", "carol"] {
        network.kill(user);
        network.ue(user, &["join", ROOM]);
        network.wait_for(user, "out", "sealed");
    }
    browser.until("document.querySelectorAll('.roster tbody tr').length === 2");
    browser.click(".roster tbody tr:last-child button");
    browser.until("document.querySelector('.roster').innerText.includes('muted')");
    browser.click_button("Let speak");
    browser.until("!document.querySelector('.roster').innerText.includes('muted')");
    browser.click_button("End room");
    browser.until_says("It is in the file, so it is there again at once");
    browser.click("dialog .danger");
    browser.until_says("Nobody is in it.");
}
