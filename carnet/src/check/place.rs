//! Where in a configuration file something stands, by its name.

use carnet_ops::config::{ConfigError, NO_CONFIGURATION, is_configuration, shown};
use miette::NamedSource;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file that is valid TOML, with the place of every key and value.
pub struct Source<'a> {
    name: &'a str,
    text: &'a str,
    tree: Spanned<DeTable<'a>>,
}

impl<'a> Source<'a> {
    /// Reads the text of a file called `name`.
    pub fn parse(name: &'a str, text: &'a str) -> Result<Self, Box<ConfigError>> {
        match DeTable::parse(text) {
            Ok(tree) => Ok(Self { name, text, tree }),
            Err(_) if !is_configuration(text) => Err(wrong(name, text, 0..0, NO_CONFIGURATION, None)),
            Err(error) => Err(wrong(name, text, error.span().unwrap_or(0..0), error.message(), None)),
        }
    }

    /// The names at the top, and where they stand.
    pub fn top(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.tree.as_ref().iter().map(|(key, _)| (key.get_ref().as_ref(), key.span()))
    }

    /// The text of the file.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// What is wrong with the value that these names lead to, from the top; an index is the name
    /// of an element of an array. Points at the innermost that is there.
    pub fn complain(&self, path: &[&str], message: &str) -> Box<ConfigError> {
        wrong(self.name, self.text, self.at(path), message, None)
    }

    /// What is wrong with a section, at its name.
    #[cfg(not(feature = "otel"))]
    pub fn complain_key(&self, key: &str, message: &str) -> Box<ConfigError> {
        let at = self.top().find_map(|(name, at)| (name == key).then_some(at));
        wrong(self.name, self.text, at.unwrap_or(0..0), message, None)
    }

    /// What is wrong with the text at a place.
    pub fn complain_at(&self, at: Range<usize>, message: &str, help: &str) -> Box<ConfigError> {
        wrong(self.name, self.text, at, message, Some(help.to_owned()))
    }

    fn at(&self, path: &[&str]) -> Range<usize> {
        let Some((first, rest)) = path.split_first() else { return self.tree.span() };
        let top = self.tree.as_ref().iter().find(|(key, _)| key.get_ref() == first);
        let Some((_, mut found)) = top else { return 0..0 };
        for name in rest {
            let inner = match found.as_ref() {
                DeValue::Table(table) => table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, v)| v),
                DeValue::Array(array) => name.parse::<usize>().ok().and_then(|index| array.get(index)),
                _ => None,
            };
            match inner {
                Some(inner) => found = inner,
                None => break,
            }
        }
        found.span()
    }
}

/// A complaint about a range of a text.
pub fn wrong(
    name: &str,
    text: &str,
    at: Range<usize>,
    message: &str,
    help: Option<String>,
) -> Box<ConfigError> {
    Box::new(ConfigError::Wrong {
        message: message.to_owned(),
        help,
        source_code: NamedSource::new(name, shown(text)),
        at: at.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[a.b]\nc = { d = \"e\" }\n[[a.f]]\ng = 1\n[[a.f]]\ng = 2\n";

    #[test]
    fn a_path_leads_to_a_value_or_to_what_should_hold_it() {
        let source = Source::parse("x.toml", TEXT).unwrap();
        for (path, text) in [
            (&["a", "b", "c", "d"][..], "\"e\""),
            (&["a", "f", "1", "g"], "2"),
            (&["a", "b", "c", "missing", "deeper"], "{ d = \"e\" }"),
            (&["a", "b", "missing"], "[a.b]"),
            (&["missing"], ""),
        ] {
            assert_eq!(&TEXT[source.at(path)], text, "{path:?}");
        }
    }
}
