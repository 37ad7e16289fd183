//! Reading in tests.

use std::io::{ErrorKind, Read, Result};

/// A read of a socket with a time limit is not begun again by itself when the process was stopped meanwhile, as the whole machine may
/// be: the system says "interrupted" then (signal(7)).
pub(crate) trait Patient: Read {
    /// Reads, and begins again where it was interrupted.
    fn read_on(&mut self, room: &mut [u8]) -> Result<usize> {
        loop {
            match self.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl<T: Read + ?Sized> Patient for T {}
