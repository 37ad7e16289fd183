//! Answers as lines for people.

use carnet_ng::Value;
use std::fmt::Write as _;

/// An answer as lines, what is inside further in; without `result`, and what is said elsewhere.
pub fn tree(answer: &Value) -> String {
    let mut out = String::new();
    if let Value::Dictionary(entries) = answer {
        for (key, value) in entries {
            if !matches!(key.as_ref(), b"result" | b"warning" | b"carnet") {
                branch(&mut out, 0, &String::from_utf8_lossy(key), value);
            }
        }
    }
    if out.is_empty() {
        out.push_str("ok\n");
    }
    out
}

fn branch(out: &mut String, depth: usize, name: &str, value: &Value) {
    let indent = "  ".repeat(depth);
    if let Some(text) = scalar(value) {
        let _ = writeln!(out, "{indent}{name}: {text}");
        return;
    }
    match value {
        Value::Dictionary(entries) => {
            let _ = writeln!(out, "{indent}{name}:");
            for (key, value) in entries {
                branch(out, depth + 1, &String::from_utf8_lossy(key), value);
            }
        }
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                branch(out, depth, &format!("{name} {}", index + 1), value);
            }
        }
        Value::Integer(_) | Value::String(_) => {}
    }
}

/// What fits on one line: a number, a text without line ends and control characters, a list of such.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Integer(n) => Some(n.to_string()),
        Value::String(octets) => {
            let text = String::from_utf8_lossy(octets);
            Some(
                text.chars()
                    .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
                    .collect(),
            )
        }
        Value::List(values) => {
            let plain = |v: &Value| matches!(v, Value::Integer(_) | Value::String(_));
            let all = values.iter().all(plain).then(|| values.iter().filter_map(scalar).collect::<Vec<_>>());
            all.map(|texts| texts.join(", "))
        }
        Value::Dictionary(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn value(text: &'static [u8]) -> Value {
        Value::parse(&Bytes::from_static(text), &carnet_ng::Limits::default()).unwrap()
    }

    #[test]
    fn an_answer_is_a_tree_of_lines() {
        let answer = value(
            b"d6:result2:ok7:createdi5e4:tagsd1:ad6:mediasld5:indexi1e5:flags\
              l4:bidi3:tcpeed5:indexi2e4:text4:x\r\nyeeee7:warning4:nonee",
        );
        let lines = "created: 5\ntags:\n  a:\n    medias 1:\n      index: 1\n      flags: bidi, tcp\n    \
                     medias 2:\n      index: 2\n      text: x\\r\\ny\n";
        assert_eq!(tree(&answer), lines);
        assert_eq!(tree(&value(b"d6:result2:oke")), "ok\n");
    }
}
