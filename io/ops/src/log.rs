//! Logs: one line an event on standard error, for people or as JSON.
//!
//! Keys never reach a log because no key type can be printed; identities, Call-IDs and addresses
//! do, because a failed call cannot be understood without them. What others wrote is escaped: a line stays one line.
//!
//! ```text
//! 2026-11-27T09:30:00.123456Z  INFO call-ended border=border-a call_id=a84b cause=callee-hung-up
//! {"timestamp":"2026-11-27T09:30:00.123456Z","level":"info","message":"call-ended","border":"border-a","call_id":"a84b",…}
//! ```

use crate::told::{Told, put};
use carnet_event::Level;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::field::{Field, Visit};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// How a log line looks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
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

/// What may be written now. Empty until [`start`].
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Whether lines are JSON now.
static JSON: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The event that is being written: the names of its fields are not known when the program is compiled, as those of
    /// `tracing` have to be.
    static TOLD: RefCell<Option<Told>> = const { RefCell::new(None) };
}

/// Starts logging for the whole process; a second call does nothing.
///
/// `level` is a filter such as `info` or `carnet=debug,warn`; the environment variable
/// `CARNET_LOG` wins over it. A filter that cannot be read falls back to `info`.
pub fn start(level: &str, format: Format) {
    let filter = EnvFilter::try_from_env("CARNET_LOG")
        .or_else(|_| EnvFilter::try_new(level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let colours = format == Format::Text && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .event_format(Lines { format: None, colours });
    set_format(format);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _first = FILTER.set(handle);
    }
}

/// Changes what is written, while the process runs.
///
/// # Errors
/// The filter cannot be read, or logging was not started here.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|e| e.to_string())?;
    let handle = FILTER.get().ok_or("there is no log")?;
    handle.reload(filter).map_err(|e| e.to_string())
}

/// Whether the environment says what is written, whatever a file says.
#[must_use]
pub fn is_set_from_outside() -> bool {
    EnvFilter::try_from_env("CARNET_LOG").is_ok()
}

/// Changes how lines look, while the process runs. Lines for people have no colours then if they were JSON at the start.
pub fn set_format(format: Format) {
    JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// What is written now, as a filter.
#[must_use]
pub fn level() -> Option<String> {
    FILTER.get()?.with_current(EnvFilter::to_string).ok()
}

/// Writes an event. `make` is called only if it is to be written.
pub fn tell(level: Level, name: &'static str, make: impl FnOnce() -> Option<Told>) {
    // A macro for each: the level of what is written has to be known when the program is compiled.
    macro_rules! write {
        ($level:ident) => {
            if tracing::enabled!(target: "carnet", tracing::Level::$level) {
                if let Some(told) = make() {
                    TOLD.with(|place| place.replace(Some(told)));
                    tracing::event!(target: "carnet", tracing::Level::$level, "{name}");
                    TOLD.with(|place| place.replace(None));
                }
            }
        };
    }
    match level {
        Level::Debug => write!(DEBUG),
        Level::Info => write!(INFO),
        Level::Warn => write!(WARN),
        Level::Error => write!(ERROR),
    }
}

/// How lines are put together.
struct Lines {
    /// As the process has it if absent.
    format: Option<Format>,
    colours: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut said = Said::default();
        event.record(&mut said);
        let told = TOLD.with(RefCell::take);
        let level = *event.metadata().level();
        let usual = if JSON.load(Ordering::Relaxed) { Format::Json } else { Format::Text };
        match self.format.unwrap_or(usual) {
            Format::Text => {
                let (before, after) = if self.colours { (colour(level), "\x1b[0m") } else { ("", "") };
                let mut words = String::new();
                for (name, value) in &said.fields {
                    match value {
                        Value::String(text) => put(&mut words, name, text),
                        value => put(&mut words, name, &value.to_string()),
                    }
                }
                let told = told.as_ref().map(Told::words).unwrap_or_default();
                let message = escaped(&said.message);
                writeln!(writer, "{time} {before}{level:>5}{after} {message}{told}{words}")
            }
            Format::Json => {
                let mut line = Map::new();
                line.insert("timestamp".into(), time.into());
                line.insert("level".into(), level.as_str().to_ascii_lowercase().into());
                line.insert("message".into(), said.message.into());
                // What a line is about never takes the place of when and how bad it is.
                let fields = told.as_ref().map(Told::members).into_iter().flatten();
                for (name, value) in fields.chain(said.fields) {
                    line.entry(name).or_insert(value);
                }
                writeln!(writer, "{}", Value::from(line))
            }
        }
    }
}

fn colour(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "\x1b[31m",
        tracing::Level::WARN => "\x1b[33m",
        tracing::Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

/// A message as one line.
fn escaped(message: &str) -> String {
    if !message.contains(char::is_control) {
        return message.to_owned();
    }
    message
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// What a line of `tracing` says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(String, Value)>,
}

impl Said {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, filter: &str, happens: impl FnOnce()) -> String {
        let page = Page::default();
        let own = page.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(move || own.clone())
            .event_format(Lines { format: Some(format), colours: false });
        let subscriber = tracing_subscriber::registry().with(EnvFilter::new(filter)).with(lines);
        tracing::subscriber::with_default(subscriber, happens);
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    fn told() -> Told {
        let text = |text: &'static str| carnet_event::Value::Text(text.into());
        let fields = vec![("call_id".to_owned(), text("a84b@x")), ("level".to_owned(), text("high water"))];
        Told { role: "border", node: "b-a".into(), name: "call-ended", level: Level::Warn, fields }
    }

    #[test]
    fn a_line_for_people() {
        let lines = written(Format::Text, "info", || {
            tell(Level::Warn, "call-ended", || Some(told()));
            tell(Level::Debug, "not-written", || panic!("nobody wants it"));
            tracing::info!(gateway = "agw", octets = 5, "what\nnow");
        });
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].ends_with("Z  WARN call-ended border=b-a call_id=a84b@x level=\"high water\""),
            "{lines:?}"
        );
        assert!(lines[1].ends_with("Z  INFO what\\nnow gateway=agw octets=5"), "{lines:?}");
    }

    #[test]
    fn a_line_for_machines() {
        let lines = written(Format::Json, "info", || {
            tell(Level::Warn, "call-ended", || Some(told()));
            tracing::info!(gateway = "agw", octets = 5, "listens");
        });
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"warn".into(), &"call-ended".into()));
        assert_eq!((&lines[0]["border"], &lines[0]["call_id"]), (&"b-a".into(), &"a84b@x".into()));
        assert_eq!((&lines[1]["octets"], &lines[1]["message"]), (&5.into(), &"listens".into()));
        assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
