//! A page.
use crate::model::Ladder;
/// Not yet.
pub fn html(_l: &Ladder) -> String { String::new() }
