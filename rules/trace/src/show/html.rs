//! A ladder as a page: one file that needs nothing else and loads nothing. A policy in it forbids what it does not
//! need; its script only filters the list of sessions, and without it everything can still be read.

use super::escaped;
use super::svg::{Picture, STYLE};
use crate::model::{Ladder, Session};
use crate::words;
use std::fmt::Write as _;

/// Entries of a session whose text is on the page.
const MOST: usize = 5000;

const PAGE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;font:15px/1.5 system-ui,sans-serif;background:#fff;color:#1c2430}\
header,main{max-width:1500px;margin:auto;padding:12px 20px}\
h1{font-size:20px;margin:8px 0}\
input{font:inherit;padding:6px 10px;width:min(460px,90%);border:1px solid #8896a8;border-radius:6px;background:inherit;color:inherit}\
table{border-collapse:collapse;width:100%;margin:12px 0}\
td,th{padding:4px 10px 4px 0;text-align:left;vertical-align:top;border-bottom:1px solid #8886}\
a{color:#2b5fa8}\
a:focus-visible,summary:focus-visible,input:focus-visible{outline:2px solid #2b5fa8;outline-offset:2px}\
section{margin:28px 0;border-top:2px solid #8886}\
.ladder{overflow-x:auto}\
.failure{color:#b3261e}.warning{color:#8a5a00}.note{color:#18703a}\
details{border-bottom:1px solid #8884}\
summary{cursor:pointer;font:13px ui-monospace,monospace;padding:3px 0}\
details:target{background:#2b5fa822}\
summary .bad{color:#b3261e}\
pre{overflow-x:auto;font:12px/1.45 ui-monospace,monospace;margin:4px 0 10px 24px;white-space:pre-wrap;overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e4e9f0}a{color:#82b1ff}\
.failure,summary .bad{color:#ff8a80}.warning{color:#ffc766}.note{color:#74d99a}}";

const SCRIPT: &str = "\
const f=document.getElementById('filter');\
f.hidden=false;\
f.addEventListener('input',()=>{const w=f.value.toLowerCase();\
for(const r of document.querySelectorAll('[data-session]')){r.hidden=!r.dataset.session.includes(w)}});\
const open=()=>{const d=document.getElementById(location.hash.slice(1));if(d&&d.tagName==='DETAILS'){d.open=true;d.scrollIntoView({block:'center'})}};\
addEventListener('hashchange',open);open();";

/// SHA-256 of [`SCRIPT`], base64, as the policy wants it.
fn script_hash() -> String {
    use sha2::{Digest as _, Sha256};
    carnet_wire::base64::encode(&Sha256::digest(SCRIPT.as_bytes()))
}

/// All sessions on a page.
pub fn html(ladder: &Ladder) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"referrer\" content=\"no-referrer\">\
         <title>carnet trace</title><style>{PAGE}{STYLE}</style></head><body>\
         <header><h1>Sessions</h1><input id=\"filter\" type=\"search\" aria-label=\"Filter sessions\" placeholder=\"Filter: name, Call-ID, what went wrong\" hidden>",
        script_hash()
    );
    for remark in &ladder.remarks {
        let _ = write!(out, "<p class=\"warning\">{}</p>", escaped(remark));
    }
    out.push_str("<table><thead><tr><th>No.</th><th>Begins</th><th>What</th><th>Entries</th><th>Verdict</th></tr></thead><tbody>");
    for session in &ladder.sessions {
        row(&mut out, session);
    }
    out.push_str("</tbody></table></header><main>");
    for session in &ladder.sessions {
        whole(&mut out, session);
    }
    let _ = write!(out, "</main><script>{SCRIPT}</script></body></html>");
    out.push('\n');
    out
}

/// What the filter looks at.
fn words_of(session: &Session) -> String {
    let findings = session.findings.iter().map(|finding| finding.what.as_str());
    let roles = session
        .hosts
        .iter()
        .flat_map(|host| host.addresses.iter().chain([&host.role, &host.name]))
        .map(String::as_str);
    let all: Vec<&str> = [session.title.as_str(), session.kind.as_str()]
        .into_iter()
        .chain(session.call_ids.iter().map(String::as_str))
        .chain(findings)
        .chain(roles)
        .collect();
    escaped(&all.join(" ").to_lowercase().replace(['\n', '\r', '\t'], " "))
}

fn row(out: &mut String, session: &Session) {
    let begins = session.entries.first().map(|entry| words::moment(entry.at)).unwrap_or_default();
    let (class, verdict) = session
        .findings
        .first()
        .map(|finding| (finding.weight.as_str(), escaped(&finding.what)))
        .unwrap_or(("note", String::new()));
    let _ = write!(
        out,
        "<tr data-session=\"{}\"><td>{}</td><td>{begins}</td><td><a href=\"#s{}\">{}: {}</a></td><td>{}</td><td class=\"{class}\">{verdict}</td></tr>",
        words_of(session),
        session.number,
        session.number,
        session.kind.as_str(),
        escaped(&session.title),
        session.entries.len()
    );
}

fn whole(out: &mut String, session: &Session) {
    let anchor = format!("s{}-", session.number);
    let picture = Picture::of(session, Some(&anchor));
    let _ = write!(
        out,
        "<section id=\"s{}\" data-session=\"{}\"><h2>{}. {}: {}</h2>",
        session.number,
        words_of(session),
        session.number,
        session.kind.as_str(),
        escaped(&session.title)
    );
    for id in &session.call_ids {
        let _ = write!(out, "<p>Call-ID <code>{}</code></p>", escaped(id));
    }
    for finding in &session.findings {
        let at =
            finding.entry.map(|entry| format!(" <a href=\"#{anchor}{entry}\">Where</a>")).unwrap_or_default();
        let _ = write!(
            out,
            "<p><strong class=\"{}\">{}</strong> {}{at}</p>",
            finding.weight.as_str(),
            escaped(&finding.what),
            escaped(&finding.advice)
        );
    }
    let _ = write!(
        out,
        "<div class=\"ladder\"><svg class=\"carnet\" role=\"img\" aria-label=\"Ladder of session {}\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\">{}</svg></div>",
        session.number, picture.width, picture.height, picture.width, picture.height, picture.body
    );
    let begin = session.entries.first().map(|entry| entry.at).unwrap_or_default();
    for (row, entry) in session.entries.iter().take(MOST).enumerate() {
        let role = |host: usize| {
            let host = session.hosts.get(host);
            host.map(|host| format!("{} {}", host.role, host.name).trim().to_owned()).unwrap_or_default()
        };
        let at = |address: std::net::SocketAddr| match crate::listen::is_place(address) {
            true => String::new(),
            false => address.to_string(),
        };
        let label =
            if entry.times > 1 { format!("{} ×{}", entry.label, entry.times) } else { entry.label.clone() };
        let class = if entry.bad { " class=\"bad\"" } else { "" };
        let _ = write!(
            out,
            "<details id=\"{anchor}{row}\"><summary>{} {} {} → {} {} <span{class}>{}</span></summary><pre>",
            words::seconds(entry.at.saturating_sub(begin)),
            escaped(&role(entry.from_host)),
            at(entry.from),
            escaped(&role(entry.to_host)),
            at(entry.to),
            escaped(&label)
        );
        let _ = write!(
            out,
            "{}",
            escaped(if entry.text.is_empty() { "(nothing more to show)" } else { &entry.text })
        );
        out.push_str("</pre></details>");
    }
    out.push_str("</section>");
}
