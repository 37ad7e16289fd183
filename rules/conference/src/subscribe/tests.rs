//! Watchers that follow the rules, and some that do not, over SIP messages.

mod following;
mod random;
mod rig;
mod watching;
