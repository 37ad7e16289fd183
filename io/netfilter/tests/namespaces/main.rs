//! The kernel's translation between real hosts: a caller, a gateway and a callee in namespaces. Needs root;
//! without it the tests say so and pass, unless `CARNET_REQUIRE_ROOT` is set.

#![allow(clippy::unwrap_used)]

mod early;
mod lab;
mod rules;
mod translation;

use lab::Lab;

/// A lab, or the end of the test.
macro_rules! some_lab {
    () => {
        match crate::Lab::new() {
            Some(lab) => lab,
            None => return,
        }
    };
}
pub(crate) use some_lab;
