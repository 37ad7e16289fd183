//! Answers of the service as lines for a person.

use serde_json::Value;

pub(super) fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

pub(super) fn user_line(v: &Value) -> String {
    if let Some(name) = v.get("removed").and_then(Value::as_str) {
        return format!("{name} removed");
    }
    let revoked = v.get("revoked").and_then(Value::as_bool) == Some(true);
    if v.get("identities").is_none() {
        // What became of `revoke` and `restore`.
        return match revoked {
            true => format!(
                "{} is revoked: it gets no tickets and opens none, and its own open no more",
                text(v, "name")
            ),
            false => format!("{} is not revoked any more", text(v, "name")),
        };
    }
    let revoked = if revoked { "revoked" } else { "" };
    format!("{} {} {revoked}", text(v, "name"), text(v, "identities")).trim_end().to_owned()
}

pub(super) fn group_line(v: &Value) -> String {
    match v.get("removed").and_then(Value::as_str) {
        Some(identity) => format!("{identity} removed"),
        None => format!("{} {}", text(v, "identity"), text(v, "members")),
    }
}

pub(super) fn policy_lines(v: &Value) -> String {
    let word = |v: Option<&Value>| if v.and_then(Value::as_bool) == Some(true) { "allow" } else { "deny" };
    let otherwise = word(v.get("otherwise"));
    let mut out = String::new();
    if v.get("rules").and_then(Value::as_array).is_some_and(Vec::is_empty) && otherwise == "allow" {
        out.push_str("# no rules: everybody who has a key may call everybody\n");
    }
    for rule in v.get("rules").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!("{} {} {}\n", word(rule.get("allow")), text(rule, "from"), text(rule, "to")));
    }
    out.push_str(&format!("otherwise {otherwise}"));
    out
}

pub(super) fn revoked_line(v: &Value) -> String {
    let ends = match text(v, "expires") {
        ends if ends.is_empty() => String::new(),
        ends => format!("; it would have expired at {ends}"),
    };
    format!(
        "ticket {} {} -> {} opens no more{ends}",
        text(v, "ticket"),
        text(v, "initiator"),
        text(v, "responders")
    )
}

pub(super) fn rotate_line(v: &Value) -> String {
    let kept = match number(v, "older") {
        0 => String::new(),
        1 => "; 1 older key opens its tickets until they expire".to_owned(),
        older => format!("; {older} older keys open their tickets until they expire"),
    };
    format!("new tickets are sealed with key {}{kept}", text(v, "key"))
}

/// What the records that are shown are not, of a trail whose last number is `last`.
pub(super) fn left_out(records: &Value, last: u64) -> Option<String> {
    let records = records.as_array()?;
    let (from, to) = (number(records.first()?, "number"), number(records.last()?, "number"));
    (from > 1 || to < last)
        .then(|| format!("records {from} to {to} of {last}; others with --from NUMBER and --most COUNT"))
}

pub(super) fn number(value: &Value, member: &str) -> u64 {
    value.get(member).and_then(Value::as_u64).unwrap_or_default()
}

pub(super) fn audit_line(v: &Value) -> String {
    let number = number(v, "number");
    let ticket: String = text(v, "ticket").chars().take(16).collect();
    format!(
        "{number} {} {} {} -> {} by {} from {} ticket {ticket} key {}",
        text(v, "time"),
        text(v, "deed"),
        text(v, "initiator"),
        text(v, "responders"),
        text(v, "user"),
        text(v, "source"),
        text(v, "key"),
    )
}
