//! Longer tests: whole exchanges, known answers, hostile input.

pub(crate) mod exchanges;
mod hostile;
mod known_answers;
mod round_trip;
