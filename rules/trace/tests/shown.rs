//! Every form of a ladder: nothing that could decrypt or log in goes out, nothing steers the one who looks.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_trace::Limits;
use carnet_trace::show::{self, Paper};
use common::*;

const UE: &str = "192.0.2.10:5060";
const NEAR: &str = "192.0.2.1:5060";

fn every_form(scene: Scene) -> [String; 5] {
    let ladder = scene.ladder();
    let paper = |width, colours| Paper { width, colours, whole: true };
    [
        show::text(&ladder, paper(100, false)),
        show::text(&ladder, paper(40, true)),
        show::json(&ladder).to_string(),
        show::svg(&ladder),
        show::html(&ladder),
    ]
}

/// Everything there is to hide, each by a word of its own.
const SECRETS: [&str; 9] = [
    "f00d0001cafe",
    "f00d0002cafe",
    "f00d0003cafe",
    "f00d0004cafe",
    "f00d0005cafe",
    "f00d0006cafe",
    "f00d0007cafe",
    "f00d0008cafe",
    "F00D0009CAFEF00D0009CAFEF00D0009",
];

fn secrets(show: bool) -> Scene {
    let mut scene = Scene::with(Limits::default(), show);
    let body = format!(
        "{}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\nk=clear:{}\r\n",
        sdp("192.0.2.10:7000", "1234567"),
        SECRETS[0],
        SECRETS[1]
    );
    let digest = format!(
        "Authorization: Digest username=\"alice\", realm=\"a\", response=\"{}\"\r\nProxy-Authorization: Bearer {}\r\n",
        SECRETS[2], SECRETS[3]
    );
    scene.udp(UE, NEAR, sip("INVITE sip:b SIP/2.0", "one", "1 INVITE", &digest, &body));
    let http = format!(
        "GET /keys HTTP/1.1\r\nHost: k\r\nAuthorization: Basic {}\r\nCookie: a={}\r\n\r\n",
        SECRETS[4], SECRETS[5]
    );
    scene.open(1, "192.0.2.10:1111", "192.0.2.9:80").says(1, "192.0.2.10:1111", "192.0.2.9:80", http);
    scene.udp(UE, "192.0.2.7:22222", format!("1 d7:command4:ping5:token12:{}e", SECRETS[6]));
    let msrp = format!(
        "MSRP abcd AUTH\r\nTo-Path: msrps://r:1/;tcp\r\nFrom-Path: msrps://a:7/y;tcp\r\nAuthorization: Digest username=\"a\", response=\"{}\"\r\n-------abcd$\r\n",
        SECRETS[7]
    );
    scene.open(2, "192.0.2.10:1112", "192.0.2.8:2855").says(2, "192.0.2.10:1112", "192.0.2.8:2855", msrp);
    scene.udp(
        "203.0.113.1:2944",
        "203.0.113.2:2944",
        format!("MEGACO/3 <b> Transaction=1{{Context=1{{Modify=ip/1{{Media{{Stream=1{{LocalControl{{crntls/psk={}}}}}}}}}}}}}", SECRETS[8]),
    );
    scene
}

#[test]
fn nothing_that_could_decrypt_goes_out() {
    for form in every_form(secrets(false)) {
        for secret in SECRETS {
            assert!(!form.contains(secret), "{secret} in {form}");
        }
    }
    // They are there to be hidden.
    let [text, ..] = every_form(secrets(true));
    for secret in SECRETS {
        assert!(text.contains(secret), "{secret} is not even there: {text}");
    }
}

#[test]
fn what_cannot_be_read_is_not_shown() {
    let mut scene = Scene::new();
    scene.udp(
        "203.0.113.1:2944",
        "203.0.113.2:2944",
        "MEGACO/3 <b> Transaction=1{Context=1{Modify=ip/1{crntls/psk=f00df00d",
    );
    for form in every_form(scene) {
        assert!(!form.contains("f00df00d") && !form.contains("crntls"), "{form}");
    }
}

/// Names are chosen by whoever calls.
#[test]
fn nothing_steers_a_terminal_or_a_browser() {
    let mut scene = Scene::new();
    let evil = "<script>alert(1)</script>\x1b[2J\u{202e}\"'&";
    let text = invite("one", "")
        .replace("alice@a.example>", &format!("alice@a.example>;x=\"{evil}\""))
        .replace("Call-ID: one", &format!("Call-ID: one{evil}"));
    scene.udp(UE, NEAR, text);
    let [plain, coloured, json, svg, html] = every_form(scene);
    assert!(!plain.contains('\x1b') && !plain.contains('\u{202e}'));
    assert!(!coloured.contains("\x1b[2J"));
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    for page in [&svg, &html] {
        assert!(!page.contains("<script>alert") && !page.contains('\x1b'), "{page}");
    }
    assert!(plain.contains("<script>alert"), "it is told as it is");
}

/// The page loads nothing, and its policy fits its script.
#[test]
fn the_page_needs_nothing_else() {
    let [.., html] = every_form(secrets(false));
    for outside in
        ["src=", "http://", "https://", "@import", "url(", "<link", "<iframe", "<object", "onclick"]
    {
        assert!(!html.contains(outside), "{outside}");
    }
    let script = html.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
    use sha2::Digest as _;
    let hash = carnet_wire::base64::encode(&sha2::Sha256::digest(script.as_bytes()));
    assert!(html.contains(&format!("script-src 'sha256-{hash}'")) && html.contains("default-src 'none'"));
    assert_eq!(html.matches("<script").count(), 1);
    // What an arrow leads to is there.
    for target in html.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(html.contains(&format!("id=\"{target}\"")), "{target}");
    }
}

#[test]
fn a_picture_is_sound_xml() {
    let [_, _, _, svg, _] = every_form(secrets(false));
    let file = std::env::temp_dir().join(format!("carnet-trace-{}.svg", std::process::id()));
    std::fs::write(&file, &svg).unwrap();
    let outcome = std::process::Command::new("xmllint").arg("--noout").arg(&file).output();
    let _ = std::fs::remove_file(&file);
    match outcome {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "xmllint is required here"),
    }
    assert!(!svg.contains("script") && svg.contains("prefers-color-scheme:dark"));
}

/// A ladder fits the terminal, with columns or without.
#[test]
fn lines_are_not_longer_than_the_paper() {
    for width in [40, 60, 80, 120, 200] {
        let mut scene = Scene::new();
        for hop in 0..9u8 {
            scene.udp(
                &format!("10.0.0.{}:5060", 1 + hop),
                &format!("10.0.0.{}:5060", 2 + hop),
                invite("one", &sdp("192.0.2.10:7000", "1234567")),
            );
        }
        scene.udp(
            "10.0.0.10:5060",
            "10.0.0.9:5060",
            sip("SIP/2.0 488 Not Acceptable Here", "one", "1 INVITE", "", ""),
        );
        let ladder = scene.ladder();
        for paper in
            [Paper { width, colours: false, whole: true }, Paper { width, colours: false, whole: false }]
        {
            for line in show::text(&ladder, paper).lines().chain(show::list(&ladder, paper).lines()) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let drawn = show::text(&ladder, Paper { width, colours: false, whole: false });
        assert_eq!(drawn.contains('▶'), width >= 100, "{width}\n{drawn}");
    }
}
