//! The JSON Schema (2020-12) of a configuration file, made from the types that read it.
//!
//! It says what names there are, of which type, and what each means. What the format alone cannot say, names that must
//! exist and settings that exclude each other, is for `carnet check`.

use crate::ue::config::Settings;
use carnet_ops::config::Config;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The whole schema: everything written out where it stands.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    let client = generator.subschema_for::<Settings>().to_value();
    let mut root = generator.into_root_schema_for::<Config>().to_value();
    if let Some(members) = root.as_object_mut() {
        members.insert("title".into(), "Carnet configuration".into());
        members.insert("description".into(), "`carnet check -c FILE` says more.".into());
        if let Some(sections) = members.get_mut("properties").and_then(Value::as_object_mut) {
            sections.insert("ue".into(), client);
        }
    }
    without_null(&mut root);
    root
}

/// TOML has no word for what is absent: it is left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(any)) = members.get_mut("anyOf") {
                any.retain(|one| one.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = any.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    for (name, value) in only {
                        members.entry(name).or_insert(value);
                    }
                }
            }
            members.values_mut().for_each(without_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_null),
        _ => {}
    }
}
