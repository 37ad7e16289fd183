//! The timer of a machine as a future.

use std::time::Instant;

/// Completes at `at`, the value of a machine's `poll_timeout`; never if there is none. For the
/// timer branch of a `select!`:
///
/// ```no_run
/// # async fn f(at: Option<std::time::Instant>) {
/// tokio::select! {
///     () = carnet_net::until(at) => { /* machine.handle_timeout(Instant::now()) */ }
/// }
/// # }
/// ```
pub async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
