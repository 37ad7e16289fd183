//! The explanation for people.

use super::Told;
use carnet_border::{Decision, Edit, Leg, Legs, Plan, Settled, TlsRole};
use carnet_h248::text::{Form, print};
use carnet_sdp::{Document, Setup};
use std::fmt::Write as _;

/// Everything, in the order in which it would happen.
pub(super) fn text(told: &Told) -> String {
    let mut out = String::new();
    head(&mut out, told);
    let explanation = &told.explanation;
    plan(&mut out, &explanation.plan);
    if let Some(sent) = &explanation.offer {
        edits(&mut out, "Changes of the offer", explanation.plan.all_edits());
        document(&mut out, &format!("The offer as {} sees it", told.to), &told.offer, sent);
    }
    commands(&mut out, told, "offer", "Commands to the gateway before the offer goes on");
    match &explanation.answer {
        None => {}
        Some(Err(refusal)) => {
            let _ = writeln!(
                out,
                "\nThe answer is refused: {} to the offerer, Warning {} \"{}\"; the answerer's part is ended",
                refusal.status, refusal.warning, refusal.reason
            );
        }
        Some(Ok(answered)) => {
            let _ = writeln!(out, "\nAnswer");
            for (line, settled) in answered.settlement.lines.iter().enumerate() {
                match settled {
                    Some(settled) => settled_line(&mut out, line, settled),
                    None => {
                        let planned = explanation.plan.lines.get(line).map(|l| l.decision);
                        let what = match planned {
                            Some(Decision::Pass) => "not touched",
                            Some(Decision::Rtpengine) => "the rtpengine's",
                            _ => "not in use",
                        };
                        let _ = writeln!(out, "  line {line}  {what}");
                    }
                }
            }
            edits(&mut out, "Changes of the answer", answered.settlement.all_edits());
            if let Some(answer) = &told.answer {
                let title = format!("The answer as {} sees it", told.from);
                document(&mut out, &title, answer, &answered.document);
            }
            commands(&mut out, told, "answer", "Commands to the gateway before the answer goes on");
        }
    }
    commands(&mut out, told, "end", "Commands to the gateway when the call ends");
    if !explanation.examples.is_empty() {
        let _ = writeln!(out, "\nExamples of what is chosen when it happens");
        for (value, what) in &explanation.examples {
            let _ = writeln!(out, "  {what}: {value}");
        }
    }
    out
}

fn head(out: &mut String, told: &Told) {
    let _ = writeln!(out, "Border {}: an offer from {} to {}", told.border, told.from, told.to);
    let mut supposed = Vec::new();
    for (who, nat) in ["offerer", "answerer"].into_iter().zip(told.asked.behind_nat) {
        if nat {
            supposed.push(format!("the {who} is behind a NAT"));
        }
    }
    let registered = told.asked.registered;
    for (what, is) in [("msrp-tls", registered.msrp), ("bfcp-tls", registered.bfcp)] {
        if is {
            supposed.push(format!("the answerer registered {what}"));
        }
    }
    if !told.asked.gateway.tls {
        supposed.push("the gateway cannot end TLS".into());
    }
    if !told.asked.gateway.aware {
        supposed.push("the gateway cannot rewrite MSRP".into());
    }
    if !supposed.is_empty() {
        let _ = writeln!(out, "Supposed: {}", supposed.join("; "));
    }
}

fn plan(out: &mut String, plan: &Plan) {
    if let Some(refusal) = plan.refusal() {
        let _ = writeln!(
            out,
            "\nThe offer is refused: {}, Warning {} \"{}\"",
            refusal.status, refusal.warning, refusal.reason
        );
    }
    let _ = writeln!(out, "\nPlan");
    for line in &plan.lines {
        let _ = writeln!(out, "  line {}  {}: {}", line.index, line.offered, line.decision.name());
        let _ = writeln!(out, "          {}", line.reason);
        if let Some(legs) = &line.legs {
            table(out, legs);
        }
    }
}

fn settled_line(out: &mut String, line: usize, settled: &Settled) {
    let _ = writeln!(out, "  line {line}  {}", settled.reason);
    table(out, &settled.legs);
}

/// One row a property, one column a side.
fn table(out: &mut String, legs: &Legs) {
    let row = |what: &str, of: &dyn Fn(&Leg) -> String| {
        format!("          {what:<22} {:<16} {}\n", of(&legs.offerer), of(&legs.answerer))
    };
    let _ = writeln!(out, "          {:<22} {:<16} towards answerer", "", "towards offerer");
    out.push_str(&row("transport in SDP", &|l| l.proto.clone()));
    out.push_str(&row("transport at gateway", &|l| l.transport.as_str().to_owned()));
    out.push_str(&row("the gateway's TCP", &|l| tcp(l.setup).to_owned()));
    if legs.offerer.tls.is_some() || legs.answerer.tls.is_some() {
        out.push_str(&row("the gateway's TLS", &|l| tls(l).to_owned()));
    }
    if legs.offerer.aware {
        out.push_str(&row("MSRP paths", &|_| "rewritten".to_owned()));
    }
}

fn tcp(setup: Setup) -> &'static str {
    match setup {
        Setup::Active => "connects",
        Setup::Passive => "waits",
        Setup::ActPass => "open",
        Setup::HoldConn => "none for now",
    }
}

fn tls(leg: &Leg) -> &'static str {
    match leg.tls.as_ref().map(|tls| tls.role) {
        None => "none",
        Some(None) => "ends, role open",
        Some(Some(TlsRole::Client)) => "ends, client",
        Some(Some(TlsRole::Server)) => "ends, server",
    }
}

fn edits<'a>(out: &mut String, title: &str, edits: impl Iterator<Item = &'a Edit>) {
    let all: Vec<_> = edits.collect();
    let _ = writeln!(out, "\n{title}");
    if all.is_empty() {
        let _ = writeln!(out, "  none");
    }
    let width = all.iter().map(|e| e.change.to_string().len()).max().unwrap_or(0);
    for edit in all {
        let place = edit.line.map_or("session".to_owned(), |line| format!("line {line}"));
        let _ = writeln!(out, "  {place:<7}  {:<width$}  {}", edit.change.to_string(), edit.reason);
    }
}

/// The description, with `-` before lines that are gone and `+` before those that are new.
fn document(out: &mut String, title: &str, before: &Document, after: &Document) {
    let _ = writeln!(out, "\n{title}");
    let text = |d: &Document| String::from_utf8_lossy(&d.to_bytes()).into_owned();
    let (before, after) = (text(before), text(after));
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    for (mark, line) in compared(&before, &after) {
        let _ = writeln!(
            out,
            "  {mark} {}",
            line.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
        );
    }
}

/// Most lines compared with each other; longer descriptions are shown without marks.
const COMPARED: usize = 2_000;

fn compared<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(char, &'a str)> {
    let (n, m) = (before.len(), after.len());
    if n > COMPARED || m > COMPARED {
        return after.iter().map(|line| (' ', *line)).collect();
    }
    // common[i][j]: the longest common subsequence of before[i..] and after[j..].
    let mut common = vec![vec![0u16; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            common[i][j] = match before[i] == after[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < n || j < m {
        if i < n && j < m && before[i] == after[j] {
            out.push((' ', after[j]));
            (i, j) = (i + 1, j + 1);
        } else if i < n && (j == m || common[i + 1][j] >= common[i][j + 1]) {
            out.push(('-', before[i]));
            i += 1;
        } else {
            out.push(('+', after[j]));
            j += 1;
        }
    }
    out
}

fn commands(out: &mut String, told: &Told, when: &str, title: &str) {
    let mut titled = false;
    for command in told.explanation.commands.iter().filter(|c| c.when == when) {
        if !titled {
            let _ = writeln!(out, "\n{title}");
            titled = true;
        }
        let text = print(&command.message, Form::Long);
        for line in String::from_utf8_lossy(&text).lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
}
