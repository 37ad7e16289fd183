//! What of a border outlives its process.

use super::check::Checked;
use super::{BorderSection, Complaint};
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[border.NAME.state]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StateSection {
    /// Directory in which calls and registrations are kept for the process that starts next.
    pub directory: Spanned<PathBuf>,
    /// Seconds that what is under way gets when the process is told to end and another one follows.
    pub hand_over: Option<Spanned<u32>>,
    /// Seconds that gateways get to come back after a start with calls of before; then the calls end.
    pub gateway_return: Option<Spanned<u32>>,
    /// Seconds after which the disk is told of what was written; `always` tells it at once.
    pub sync: Option<Spanned<SyncSetting>>,
}

/// When the disk is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SyncSetting {
    /// After so many seconds at the latest.
    Seconds(u32),
    /// At once.
    Word(SyncWord),
}

/// A word in place of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyncWord {
    /// At once.
    Always,
}

impl StateSection {
    /// As set, or 2.
    pub fn hand_over(&self) -> u32 {
        self.hand_over.as_ref().map_or(2, |seconds| *seconds.as_ref())
    }

    /// As set, or 60.
    pub fn gateway_return(&self) -> u32 {
        self.gateway_return.as_ref().map_or(60, |seconds| *seconds.as_ref())
    }

    /// Seconds as set, or 1; 0 is at once.
    pub fn sync(&self) -> u32 {
        match self.sync.as_ref().map(|sync| *sync.as_ref()) {
            None => 1,
            Some(SyncSetting::Seconds(seconds)) => seconds,
            Some(SyncSetting::Word(SyncWord::Always)) => 0,
        }
    }
}

pub(super) fn check(border: &BorderSection) -> Checked {
    let Some(state) = &border.state else { return Ok(()) };
    let state = state.as_ref();
    if let Some(seconds) = state.hand_over.as_ref().filter(|seconds| *seconds.as_ref() > 30) {
        // Who sends a request by datagrams gives up after 32 s (RFC 3261, Timer B).
        return Err(Complaint::new(seconds.span(), "`hand-over` is 0 to 30 seconds"));
    }
    if let Some(seconds) = state.gateway_return.as_ref().filter(|s| !(5..=600).contains(s.as_ref())) {
        return Err(Complaint::new(seconds.span(), "`gateway-return` is 5 to 600 seconds"));
    }
    if let Some(sync) = &state.sync
        && let SyncSetting::Seconds(seconds) = sync.as_ref()
        && !(1..=60).contains(seconds)
    {
        return Err(Complaint::new(sync.span(), "`sync` is 1 to 60 seconds, or \"always\""));
    }
    Ok(())
}
