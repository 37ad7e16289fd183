//! Ten thousand calls at once.

use crate::browser::Browser;
use crate::calls;
use crate::network::Network;
use std::time::{Duration, Instant};

const CALLS: usize = 10_000;

/// Rows that are in the page at most, however many calls there are.
const MOST_ROWS: u64 = 60;

/// Each step, even on a machine that has other things to do.
const PATIENT: Duration = Duration::from_secs(20);

#[test]
fn ten_thousand_calls_are_listed_found_and_opened() {
    let Some(browser) = Browser::open(1440, 900) else { return };
    let mut network = Network::new();
    calls::started(&mut network, CALLS + 100, &["trgw-1", "trgw-2"], "");
    let ends = calls::Ends::new(&network);
    let names: Vec<_> = (0..CALLS)
        .map(|n| (format!("sip:caller-{n:05}@left.example"), format!("call-{n:05}@left")))
        .collect();
    let began = Instant::now();
    ends.call(&names);
    eprintln!("{CALLS} calls are up after {:.1} s", began.elapsed().as_secs_f64());
    let measured = |what: &str, act: &dyn Fn()| {
        let start = Instant::now();
        act();
        let took = start.elapsed();
        eprintln!("{what}: {:.2} s", took.as_secs_f64());
        assert!(took < PATIENT, "{what} took {took:?}");
        let rows = browser.run("return document.querySelectorAll('.row').length").as_u64().unwrap();
        assert!(rows <= MOST_ROWS, "{rows} rows after: {what}");
    };
    measured("the list is whole", &|| {
        browser.go(&format!("{}#/sessions", network.page()));
        browser.until(
            "document.querySelector('.tabs b')?.innerText === '10,000' && document.querySelector('.row')",
        );
    });
    measured("its end is reached", &|| {
        browser.run("const rows = document.querySelector('.rows'); rows.scrollTop = rows.scrollHeight");
        browser.until(
            "[...document.querySelectorAll('.row')].some((row) => row.innerText.includes('caller-00000'))",
        );
    });
    measured("one of them is found", &|| {
        browser.press(&["/", "caller-07777"]);
        browser.until("document.querySelectorAll('.row').length === 1 && document.querySelector('.row').innerText.includes('caller-07777')");
    });
    measured("it is opened", &|| {
        browser.press(&["{Enter}"]);
        browser.until("document.querySelector('.call-id code')?.innerText === 'call-07777@left'");
        browser.until_says("passes sealed");
    });
    measured("the list is back", &|| {
        browser.press(&["u"]);
        browser.until("location.hash === '#/sessions' && document.querySelector('.row')");
        browser.press(&["/"]);
        browser.run("const f = document.querySelector('[data-filter]'); f.value = ''; f.dispatchEvent(new Event('input', { bubbles: true }))");
        browser.until("document.querySelectorAll('.row').length > 10");
        browser.press(&["{Escape}"]);
    });
    measured("a hundred lines down by the keyboard", &|| {
        browser.run("document.querySelector('.rows').scrollTop = 0");
        browser.press(&vec!["j"; 100]);
        // The newest first.
        browser.until("document.querySelector('.row.is-chosen')?.innerText.includes('caller-09900')");
    });
    // How long the page is busy with drawing the list anew, as it does every second.
    let frame = browser.run_until_done(
        "let worst = 0, last = performance.now(); const end = last + 5000; \
         const tick = (now) => { worst = Math.max(worst, now - last); last = now; if (now < end) requestAnimationFrame(tick); else done(worst) }; requestAnimationFrame(tick)",
    );
    eprintln!("the longest time between two frames in five seconds: {:.0} ms", frame.as_f64().unwrap());
    // One more comes in at the top.
    measured("a call that begins now is seen", &|| {
        ends.call(&[("sip:late@left.example".to_owned(), "late@left".to_owned())]);
        browser.until("document.querySelector('.tabs b').innerText === '10,001'");
    });
    browser.picture("ten-thousand");
}
