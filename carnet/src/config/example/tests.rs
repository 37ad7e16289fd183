use super::*;
use crate::config::schema::schema;
use std::collections::BTreeSet;

const ALL: [Part; 7] =
    [Part::Border, Part::Gateway, Part::Relay, Part::Ng, Part::Conference, Part::Kms, Part::Client];

/// What an example has as comments, as if it were set.
fn uncommented(text: &str) -> String {
    let set = |line: &str| {
        let Some(rest) = line.strip_prefix("# ") else { return line.to_owned() };
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let setting = rest.split_once(" = ").is_some_and(|(name, _)| is_name(name));
        let header = rest.starts_with('[') && rest.ends_with(']');
        if setting || header { rest.to_owned() } else { line.to_owned() }
    };
    text.lines().map(|line| set(line) + "\n").collect()
}

/// Every setting that the schema has below these sections, without the names that operators give.
fn settings(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match shape(schema) {
        Shape::Table(properties) => {
            for (name, inner) in properties {
                settings(inner, &format!("{path}.{name}"), found);
            }
        }
        Shape::Named(inner) => settings(inner, &format!("{path}.*"), found),
        Shape::List(inner) => settings(inner, path, found),
        Shape::Plain => drop(found.insert(path.to_owned())),
    }
}

/// Every setting that a file has, in the words of its schema.
fn said(value: &toml::Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match (shape(schema), value) {
        (Shape::Table(properties), toml::Value::Table(table)) => {
            for (name, value) in table {
                let inner = properties.get(name).unwrap_or_else(|| panic!("{path}: no setting `{name}`"));
                said(value, inner, &format!("{path}.{name}"), found);
            }
        }
        (Shape::Named(inner), toml::Value::Table(table)) => {
            table.values().for_each(|value| said(value, inner, &format!("{path}.*"), found));
        }
        (Shape::List(inner), toml::Value::Array(list)) => {
            list.iter().for_each(|value| said(value, inner, path, found));
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn every_setting_of_a_role_is_in_its_example() {
    let schema = schema();
    let (mut there, mut found) = (BTreeSet::new(), BTreeSet::new());
    settings(&schema, "", &mut there);
    assert!(there.len() > 200, "{}", there.len());
    for part in ALL {
        let text = uncommented(&example(&[part], &schema));
        let read: toml::Table = text.parse().unwrap_or_else(|e| panic!("{part:?}: {e}\n{text}"));
        said(&toml::Value::Table(read), &schema, "", &mut found);
    }
    let missing: Vec<_> = there.difference(&found).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Each has the type that it has to have: a likely value is not a wrong one.
#[test]
fn every_value_of_an_example_can_be_read() {
    let schema = schema();
    for part in ALL {
        let text = uncommented(&example(&[part], &schema));
        if part == Part::Client {
            let read = toml::from_str::<toml::Table>(&text).unwrap();
            let read = read["ue"].clone().try_into::<crate::ue::config::Settings>();
            read.unwrap_or_else(|e| panic!("{e}\n{text}"));
        } else {
            toml::from_str::<carnet_ops::config::Config>(&text)
                .unwrap_or_else(|e| panic!("{part:?}: {e}\n{text}"));
        }
        assert!(!text.contains(" = \"\"\n"), "{part:?} has a value without a sample:\n{text}");
    }
}
