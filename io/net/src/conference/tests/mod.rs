#![allow(clippy::unwrap_used)]

mod rig;
mod sealing;
