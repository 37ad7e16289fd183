//! Patterns over identities: a canonical URI, in which one `*` stands for any octets.

use crate::Error;
use carnet_mikey::Identity;

/// A canonical URI with at most one `*`, such as `sip:*@example.net`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    before: String,
    /// What follows the `*`, if there is one.
    after: Option<String>,
}

impl Pattern {
    /// Reads a pattern. `*` alone matches everybody. Without a `*` the URI is brought to its
    /// canonical form; with one it is taken as it is, but for upper case in scheme and host.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::Name(text.into(), why);
        let Some((before, after)) = text.split_once('*') else {
            let id = Identity::from_uri(text).map_err(|_| bad("not a sip, sips or tel URI"))?;
            return Ok(Self { before: id.text().into_owned(), after: None });
        };
        if after.contains('*') {
            return Err(bad("a pattern has one star"));
        }
        if text != "*" && !before.starts_with("sip:") && !before.starts_with("tel:") {
            return Err(bad("a pattern begins with sip: or tel:"));
        }
        // A host after the star is compared with canonical identities, which are in lower case.
        let after = match after.rsplit_once('@') {
            Some((user, host)) => format!("{user}@{}", host.to_ascii_lowercase()),
            None => after.to_string(),
        };
        Ok(Self { before: before.into(), after: Some(after) })
    }

    /// Whether `id` fits.
    pub fn matches(&self, id: &Identity) -> bool {
        let data = id.data.as_slice();
        match &self.after {
            None => data == self.before.as_bytes(),
            Some(after) => {
                data.len() >= self.before.len() + after.len()
                    && data.starts_with(self.before.as_bytes())
                    && data.ends_with(after.as_bytes())
            }
        }
    }

    /// The identity, if it stands for one alone.
    pub fn exact(&self) -> Option<Identity> {
        match self.after {
            None => Identity::from_uri(&self.before).ok(),
            Some(_) => None,
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.after {
            None => f.write_str(&self.before),
            Some(after) => write!(f, "{}*{after}", self.before),
        }
    }
}
