//! Standard output of commands that print and end. Who reads no further (`| head`) has seen enough, which is no fault; a full
//! disk is one. `println!` would panic at both.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

/// Prints `text`; the result is `code`, or 2 where it could not be written.
pub fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            // Where this cannot be said either, the code says it.
            let _ = writeln!(std::io::stderr(), "carnet: it could not be written: {error}");
            ExitCode::from(2)
        }
        _ => code,
    }
}
