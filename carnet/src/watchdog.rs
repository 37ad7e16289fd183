//! The watchdog of systemd (`WatchdogSec=`): it is fed only when every role has given a sign of life. A process in which one is
//! stuck looks well from outside and serves nobody; systemd ends it and starts it again.
//!
//! A quarter of the time is between two looks, and half of it is what a role may take to answer, so one that is merely
//! busy is fed for in time.

use crate::roles::Life;
use sd_notify::NotifyState;

/// Feeds the watchdog, if systemd has said that there is one, until this is dropped.
pub async fn feed(life: Life) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    tracing::info!(?limit, "watched by the service manager");
    loop {
        match life.signs(limit / 2).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(stuck) => {
                tracing::error!(%stuck, "no sign of life; the service manager ends the process unless one comes");
            }
        }
        tokio::time::sleep(limit / 4).await;
    }
}

/// Tells systemd. Without it there is nobody to tell.
pub fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
