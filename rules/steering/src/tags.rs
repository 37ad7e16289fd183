//! Which dialog a request is of.
//!
//! As rtpengine does it: tags first, then the branch, then the one that nobody has answered; who is not
//! known makes a dialog of his own. In an offer and in its answer the from-tag is the offerer's.

use crate::call::Call;
use crate::dialog::{Dialog, DialogKey};
use carnet_plan::Side;

/// A dialog and the side that the from-tag is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) dialog: DialogKey,
    pub(crate) from: Side,
}

/// Of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: Option<&'a str>,
    pub(crate) branch: Option<&'a str>,
}

impl Dialog {
    /// It is of that pair of tags.
    fn pairs(&self, from: &str, to: &str) -> Option<Side> {
        self.side_of(from).filter(|side| self.ends.of(side.other()).is(to))
    }

    fn is_open(&self, side: Side) -> bool {
        self.ends.of(side).tag.is_none()
    }

    /// The branch is no other one.
    fn agrees(&self, branch: Option<&str>) -> bool {
        branch.is_none() || self.via_branch.is_none() || self.via_branch.as_deref() == branch
    }
}

impl Call {
    fn newest(&self, of: impl Fn(&Dialog) -> Option<Side>) -> Option<Found> {
        self.dialogs.iter().rev().find_map(|d| Some(Found { dialog: d.key, from: of(d)? }))
    }

    /// The dialog of an offer; none makes a new one.
    pub(crate) fn find_offer(&self, names: Names<'_>) -> Option<Found> {
        let Names { from, to, branch } = names;
        let Some(to) = to else {
            let of = |d: &Dialog| {
                d.side_of(from).filter(|_| branch.is_none() || d.via_branch.as_deref() == branch)
            };
            return self.newest(of);
        };
        self.newest(|d| d.pairs(from, to))
            .or_else(|| {
                let one = |d: &Dialog| d.side_of(from).filter(|s| d.is_open(s.other()) && d.agrees(branch));
                self.newest(one)
            })
            .or_else(|| {
                let other = |d: &Dialog| d.side_of(to).map(Side::other);
                self.newest(|d| other(d).filter(|side| d.is_open(*side) && d.agrees(branch)))
            })
    }

    /// The dialog whose offer is answered. Several may answer one offer; the last has the gateway.
    pub(crate) fn find_answer(&self, names: Names<'_>) -> Option<Found> {
        let Names { from, to, branch } = names;
        let to = to.unwrap_or_default();
        let offers = |d: &Dialog| {
            let exchange = d.exchange.as_ref()?;
            d.side_of(from).filter(|side| *side == exchange.offerer)
        };
        let first = |d: &Dialog| d.exchange.as_ref().is_some_and(|e| e.first);
        self.newest(|d| offers(d).filter(|_| d.pairs(from, to).is_some()))
            .or_else(|| {
                branch?;
                self.newest(|d| offers(d).filter(|_| d.via_branch.as_deref() == branch))
            })
            .or_else(|| self.newest(|d| offers(d).filter(|s| d.is_open(s.other()) && d.via_branch.is_none())))
            .or_else(|| self.newest(|d| offers(d).filter(|s| d.is_open(s.other()))))
            .or_else(|| self.newest(|d| offers(d).filter(|_| first(d))))
    }

    /// What a `delete` ends; none if it knows nobody.
    pub(crate) fn find_delete(&mut self, names: Names<'_>) -> Option<Vec<DialogKey>> {
        let Names { from, to, branch } = names;
        let keys = |of: &dyn Fn(&Dialog) -> bool| {
            let keys: Vec<_> = self.dialogs.iter().filter(|d| of(d)).map(|d| d.key).collect();
            Some(keys).filter(|keys| !keys.is_empty())
        };
        if from.is_empty() {
            // OpenSIPS never says the from-tag.
            return match (to, branch) {
                (Some(to), _) => keys(&|d| d.side_of(to).is_some()),
                // Its module rtp_relay says one here that it did not say in the offer.
                (None, Some(_)) => {
                    keys(&|d| d.via_branch.as_deref() == branch).or_else(|| keys(&|d| d.via_branch.is_none()))
                }
                (None, None) => keys(&|_| true),
            };
        }
        let branched = || branch.and_then(|_| keys(&|d| d.via_branch.as_deref() == branch));
        let found = match to {
            Some(to) => keys(&|d| d.pairs(from, to).is_some())
                // Who answered is not known yet; if he is, somebody else's end is not this one's.
                .or_else(|| keys(&|d| d.side_of(to).is_some_and(|side| d.is_open(side.other()))))
                .or_else(branched)
                // Nobody has answered yet.
                .or_else(|| keys(&|d| d.side_of(from).is_some_and(|side| d.is_open(side.other())))),
            None => branched().or_else(|| keys(&|d| d.side_of(from).is_some())),
        };
        found.or_else(|| self.forget_former(to.unwrap_or(from)).then(Vec::new))
    }

    /// A fork that lost is over: nothing on the gateway is its own.
    fn forget_former(&mut self, tag: &str) -> bool {
        let mut known = false;
        for end in self.dialogs.iter_mut().flat_map(|d| [&mut d.ends.caller, &mut d.ends.callee]) {
            let before = end.former.len();
            end.former.retain(|former| former != tag);
            known |= end.former.len() < before;
        }
        known
    }
}
