//! A picture.
use crate::model::Ladder;
/// Not yet.
pub fn svg(_l: &Ladder) -> String { String::new() }
