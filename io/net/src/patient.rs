//! Reading in tests.

use std::io::{ErrorKind, Read, Result};

/// Does it, and again where it was interrupted.
///
/// A read of a socket with a time limit is not begun again by itself when the process was stopped meanwhile, as the whole machine may
/// be: the system says "interrupted" then (signal(7)).
pub(crate) fn patiently<T>(mut act: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reading so.
pub(crate) trait Patient: Read {
    fn read_on(&mut self, room: &mut [u8]) -> Result<usize> {
        patiently(|| self.read(room))
    }
}

impl<T: Read + ?Sized> Patient for T {}
