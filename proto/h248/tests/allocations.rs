//! How often reading and writing a message asks for memory: for lists and for bodies of SDP, not for words.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use carnet_h248::encoding::{Encoding, parse};
use carnet_h248::text::{Form, Limits};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Calls of the allocator, growing included.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(ALLOCATOR);
    let out = work();
    let change = region.change();
    (out, change.allocations + change.reallocations)
}

/// The Add of two terminations, which has some 130 words.
#[test]
fn words_are_not_allocated() {
    let text =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/03-add-passthrough-request.txt"));
    let message = parse(&text.unwrap(), &Limits::default()).unwrap();
    for (encoding, most_read, most_written) in
        [(Encoding::Text(Form::Long), 26, 2), (Encoding::Text(Form::Short), 26, 2), (Encoding::Binary, 28, 3)]
    {
        // Tables are made once.
        let octets = encoding.print(&message).unwrap();
        assert!(parse(&octets, &Limits::default()).is_ok());
        let (again, read) = counted(|| parse(&octets, &Limits::default()).unwrap());
        let (_, written) = counted(|| encoding.print(&again).unwrap());
        eprintln!("{encoding:?}: {read} to read, {written} to write");
        assert!(read <= most_read, "{encoding:?}: {read} to read");
        assert!(written <= most_written, "{encoding:?}: {written} to write");
    }
}
