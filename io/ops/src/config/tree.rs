//! A configuration as a tree of plain values, and what differs between two of them.
//!
//! Every setting is in it, those that the file leaves out with their defaults: two files that say the same in other
//! words differ in nothing. Files are in it by their names; what is in them is not.

use super::Config;
use serde_json::{Map, Value};
use std::fmt;

/// One setting that is another, is new, or is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The names that lead to it from the top; an element of an array of tables has its [`element`] for a name.
    pub path: Vec<String>,
    /// What it was, if it was there.
    pub old: Option<Value>,
    /// What it is, if it is there.
    pub new: Option<Value>,
}

impl Config {
    /// Every setting.
    ///
    /// # Errors
    /// A value that TOML cannot hold; there is none in a configuration that was read.
    pub fn tree(&self) -> Result<Value, String> {
        serde_json::to_value(self).map(pruned).map_err(|e| e.to_string())
    }
}

/// A tree as the text of a file.
///
/// # Errors
/// A value that TOML cannot hold.
pub fn text(tree: &Value) -> Result<String, String> {
    toml::to_string(tree).map_err(|e| e.to_string())
}

/// Without what is absent: a file has no word for it.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name, pruned(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(elements) => elements.into_iter().map(pruned).collect(),
        other => other,
    }
}

/// What is not the same, in the order of the trees.
#[must_use]
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut Vec::new(), Some(old), Some(new), &mut found);
    found
}

fn compare(path: &mut Vec<String>, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    if old == new {
        return;
    }
    let empty = Map::new();
    match (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null)) {
        (Value::Object(a), Value::Object(b)) => members(path, a, b, found),
        // A section that came or went, setting by setting.
        (Value::Object(a), Value::Null) => members(path, a, &empty, found),
        (Value::Null, Value::Object(b)) => members(path, &empty, b, found),
        (Value::Array(a), Value::Array(b)) if tables(a) || tables(b) => elements(path, a, b, found),
        // Tables that have names, the first of them or the last.
        (Value::Array(a), Value::Null) if named(a) => elements(path, a, &[], found),
        (Value::Null, Value::Array(b)) if named(b) => elements(path, &[], b, found),
        _ => found.push(Difference { path: path.clone(), old: old.cloned(), new: new.cloned() }),
    }
}

fn members(
    path: &mut Vec<String>,
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
        path.push(name.clone());
        compare(path, a.get(name), b.get(name), found);
        path.pop();
    }
}

fn elements(path: &mut Vec<String>, a: &[Value], b: &[Value], found: &mut Vec<Difference>) {
    let names = |list: &[Value]| (0..list.len()).map(|index| element(list, index)).collect::<Vec<_>>();
    let (of_a, of_b) = (names(a), names(b));
    let at = |names: &[String], list: &[Value], name: &String| {
        names.iter().position(|known| known == name).and_then(|place| list.get(place).cloned())
    };
    for name in of_a.iter().chain(of_b.iter().filter(|name| !of_a.contains(name))) {
        path.push(name.clone());
        compare(path, at(&of_a, a, name).as_ref(), at(&of_b, b, name).as_ref(), found);
        path.pop();
    }
}

/// What an element of an array of tables is called: by its `name` where each has one of its own, so that one that goes leaves the
/// others as they are; otherwise by its index.
#[must_use]
pub fn element(list: &[Value], index: usize) -> String {
    let name = list.get(index).filter(|_| named(list)).and_then(name_of);
    name.map_or_else(|| index.to_string(), str::to_owned)
}

fn name_of(element: &Value) -> Option<&str> {
    element.get("name").and_then(Value::as_str)
}

fn named(list: &[Value]) -> bool {
    let names: std::collections::BTreeSet<_> = list.iter().filter_map(name_of).collect();
    !list.is_empty() && names.len() == list.len()
}

fn tables(elements: &[Value]) -> bool {
    elements.iter().any(Value::is_object)
}

/// Makes `tree` at `path` what `new` is there. An array is taken as a whole: its elements have no names.
pub fn take_over(tree: &mut Value, new: &Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else {
        *tree = new.clone();
        return;
    };
    let (Value::Object(members), Value::Object(others)) = (&mut *tree, new) else {
        *tree = new.clone();
        return;
    };
    match others.get(first) {
        Some(new) => {
            let empty = || if rest.is_empty() { Value::Null } else { Value::Object(Map::new()) };
            take_over(members.entry(first.clone()).or_insert_with(empty), new, rest);
        }
        None if rest.is_empty() => drop(members.remove(first)),
        // What held it is gone too, with the last that it holds.
        None => {
            let Some(inner) = members.get_mut(first) else { return };
            take_over(inner, &Value::Object(Map::new()), rest);
            if inner.as_object().is_some_and(Map::is_empty) {
                members.remove(first);
            }
        }
    }
}

/// A path as TOML writes it: `border.a.route.0.next-hop`.
pub struct Path<'a>(pub &'a [String]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let dot = if index > 0 { "." } else { "" };
            match !name.is_empty() && name.bytes().all(bare) {
                true => write!(f, "{dot}{name}")?,
                false => write!(f, "{dot}{name:?}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KMS: &str = "[kms]\nname = \"k\"\nlisten = \"127.0.0.1:8443\"\ndata = \"/d\"\n";

    fn read(more: &str) -> Config {
        super::super::parse("carnet.toml", format!("{KMS}{more}"), std::path::Path::new("/etc/carnet"))
            .unwrap()
    }

    fn said(old: &str, new: &str) -> Vec<String> {
        let tree = |text| read(text).tree().unwrap();
        let word = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        let all = differences(&tree(old), &tree(new)).into_iter();
        all.map(|d| format!("{} {} {}", Path(&d.path), word(d.old), word(d.new))).collect()
    }

    #[test]
    fn what_is_said_in_other_words_is_the_same() {
        assert_eq!(said("", "rate = 100\n[log]\nlevel = \"info\"\n"), Vec::<String>::new());
        assert_eq!(said("", "rate = 50\n"), ["kms.rate 100 50"]);
        assert_eq!(
            said("", "[records]\nfile = \"s\"\n"),
            ["records.file - \"/etc/carnet/s\"", "records.rotate - 64", "records.keep - 10"]
        );
    }

    #[test]
    fn a_tree_is_the_file_again() {
        let config = read("[log]\nlevel = \"debug\"\n[admin]\nsocket = \"a.sock\"\n");
        let tree = config.tree().unwrap();
        let again = super::super::parse("again", text(&tree).unwrap(), std::path::Path::new("/")).unwrap();
        assert_eq!(again.tree().unwrap(), tree);
    }

    #[test]
    fn tables_with_names_are_told_apart_by_them() {
        let node = |name: &str, url: &str| json!({ "name": name, "url": url });
        let list = |all: &[Value]| json!({ "nodes": all });
        let (a, b, c) = (node("a", "1"), node("b", "2"), node("c", "3"));
        let said = |old: &Value, new: &Value| {
            let mut tree = old.clone();
            let found = differences(old, new);
            found.iter().for_each(|difference| take_over(&mut tree, new, &difference.path));
            assert_eq!(&tree, new);
            found.iter().map(|difference| Path(&difference.path).to_string()).collect::<Vec<_>>()
        };
        // The first goes: the others have not changed.
        let (all, two) = (list(&[a.clone(), b.clone(), c.clone()]), list(&[b.clone(), c.clone()]));
        assert_eq!(said(&all, &two), ["nodes.a.name", "nodes.a.url"]);
        assert_eq!(said(&two, &all), ["nodes.a.name", "nodes.a.url"]);
        assert_eq!(said(&list(&[a.clone(), node("b", "9")]), &list(&[a.clone(), b])), ["nodes.b.url"]);
        assert_eq!(said(&json!({}), &list(std::slice::from_ref(&a))), ["nodes.a.name", "nodes.a.url"]);
        assert_eq!(said(&list(&[a]), &json!({})), ["nodes.a.name", "nodes.a.url"]);
    }

    #[test]
    fn elements_of_arrays_of_tables_are_told_apart() {
        let old = json!({"r": [{"d": "a"}, {"d": "b"}], "s": ["x"]});
        let new = json!({"r": [{"d": "a"}, {"d": "c"}, {"d": "e"}], "s": ["x", "y"]});
        let found = differences(&old, &new);
        let paths: Vec<_> = found.iter().map(|d| Path(&d.path).to_string()).collect();
        assert_eq!(paths, ["r.1.d", "r.2.d", "s"]);
        let mut tree = old.clone();
        for difference in found {
            take_over(&mut tree, &new, &difference.path);
        }
        assert_eq!(tree, new);
        assert_eq!(Path(&["a".into(), "b c".into()]).to_string(), "a.\"b c\"");
        // A section that is gone is gone, and not an empty one.
        let (old, new) = (
            json!({"n": {"a": {"x": 1, "y": 2}, "b": {"x": 3}}, "e": {}}),
            json!({"n": {"b": {"x": 3}}, "e": {}}),
        );
        let mut tree = old.clone();
        for difference in differences(&old, &new) {
            take_over(&mut tree, &new, &difference.path);
        }
        assert_eq!(tree, new);
    }
}
