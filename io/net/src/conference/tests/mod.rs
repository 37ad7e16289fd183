#![allow(clippy::unwrap_used)]

mod floors;
mod member;
mod rig;
mod rooms;
mod sealing;
