//! Who may call whom.

use crate::{Directory, Error, Pattern};
use carnet_mikey::Identity;

/// One line of policy. A pattern that names a group stands for its members too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Caller.
    pub from: Pattern,
    /// Callee.
    pub to: Pattern,
    /// Whether the call may be.
    pub allow: bool,
}

/// Rules in order; the first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    otherwise: bool,
}

impl Default for Rules {
    /// Everybody may call everybody.
    fn default() -> Self {
        Self { rules: Vec::new(), otherwise: true }
    }
}

/// Most rules.
const MOST: usize = 10_000;

impl Rules {
    /// Rules in order, and what holds when none fits.
    pub fn new(rules: Vec<Rule>, otherwise: bool) -> Result<Self, Error> {
        if rules.len() > MOST { Err(Error::Full(MOST)) } else { Ok(Self { rules, otherwise }) }
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What holds when none fits.
    pub fn otherwise(&self) -> bool {
        self.otherwise
    }

    /// Whether `from` may call `to`.
    pub fn allow(&self, directory: &Directory, from: &Identity, to: &Identity) -> bool {
        let fits = |pattern: &Pattern, id: &Identity| {
            pattern.matches(id) || pattern.exact().is_some_and(|group| directory.is_member(id, &group))
        };
        let hit = self.rules.iter().find(|r| fits(&r.from, from) && fits(&r.to, to));
        hit.map_or(self.otherwise, |r| r.allow)
    }
}
