//! Keys are in this process's memory: it is for nobody else to read.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump of this process is written, and no other process of the same user can attach to it or read its memory in
/// `/proc`; root still can. Best effort: where the kernel refuses, the process is no worse than any other.
pub fn keep() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
