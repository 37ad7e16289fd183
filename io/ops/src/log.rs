//! Logs: one line an event on standard error, for people or as JSON.
//!
//! Keys never reach a log because no key type can be printed; identities, Call-IDs and addresses
//! do, because a failed call cannot be understood without them.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether `level` is a filter that can be read; says what is wrong with it.
pub fn check(level: &str) -> Result<(), String> {
    EnvFilter::try_new(level).map(drop).map_err(|e| e.to_string())
}

/// Starts logging for the whole process; a second call does nothing.
///
/// `level` is a filter such as `info` or `carnet=debug,warn`; the environment variable
/// `CARNET_LOG` wins over it. A filter that cannot be read falls back to `info`.
pub fn start(level: &str, format: Format) {
    let filter = EnvFilter::try_from_env("CARNET_LOG")
        .or_else(|_| EnvFilter::try_new(level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder =
        fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(false);
    let _already_started = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
    };
}
