//! Longer tests: whole exchanges, known answers, hostile input.

mod exchanges;
