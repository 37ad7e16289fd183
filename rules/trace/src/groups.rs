//! Which entries belong together: groups that are found to be one.

use std::time::Duration;

/// Groups, joined as more becomes known.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    parents: Vec<usize>,
    ended: Vec<Option<Duration>>,
}

impl Groups {
    /// A new group.
    pub(crate) fn fresh(&mut self) -> usize {
        self.parents.push(self.parents.len());
        self.ended.push(None);
        self.parents.len() - 1
    }

    /// The group that this one has become part of.
    pub(crate) fn root(&mut self, group: usize) -> usize {
        let mut at = group;
        while let Some(parent) = self.parents.get(at).copied()
            && parent != at
        {
            let grand = self.parents.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.parents.get_mut(at) {
                *slot = grand;
            }
            at = grand;
        }
        at
    }

    /// Makes two one. It ended when the last of what is known to have ended did.
    pub(crate) fn join(&mut self, a: usize, b: usize) -> usize {
        let (a, b) = (self.root(a), self.root(b));
        let (first, second) = (a.min(b), a.max(b));
        if first != second {
            if let Some(slot) = self.parents.get_mut(second) {
                *slot = first;
            }
            let ended = self.ended(first).max(self.ended(second));
            if let Some(slot) = self.ended.get_mut(first) {
                *slot = ended;
            }
        }
        first
    }

    /// Says when a group ended, or that it goes on.
    pub(crate) fn end(&mut self, group: usize, at: Option<Duration>) {
        let root = self.root(group);
        if let Some(slot) = self.ended.get_mut(root) {
            *slot = at;
        }
    }

    /// When a group ended.
    pub(crate) fn ended(&mut self, group: usize) -> Option<Duration> {
        let root = self.root(group);
        self.ended.get(root).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_one_whatever_the_order() {
        let mut groups = Groups::default();
        let all: Vec<_> = (0..6).map(|_| groups.fresh()).collect();
        groups.end(all[3], Some(Duration::from_secs(3)));
        groups.join(all[5], all[4]);
        groups.join(all[3], all[5]);
        groups.join(all[1], all[0]);
        assert_eq!(groups.root(all[4]), groups.root(all[3]));
        assert_ne!(groups.root(all[0]), groups.root(all[3]));
        assert_eq!(groups.ended(all[4]), Some(Duration::from_secs(3)));
        assert_eq!(groups.root(all[2]), all[2]);
    }
}
