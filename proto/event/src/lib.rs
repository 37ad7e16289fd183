//! What happened, declared once: logs, counters, session records and whoever watches get it from there.
//!
//! [`declare!`](crate::declare) makes an enum of events together with what there is to know of each: a stable name, how
//! much attention it deserves, what it means, its fields, and which of them a counter is kept by. A
//! machine hands out values of the enum; [`Event::tell`] says what is in one without knowing the enum.
//!
//! Field names are for scripts, as the members of answers are: keep them. Nothing here may hold a key: key types have no
//! [`Field`].

mod declare;
mod field;

pub use field::{Field, Fields, Value};

/// How much attention an event deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Of use to who looks for the cause of something.
    Debug,
    /// Normal course.
    Info,
    /// Someone was refused or failed.
    Warn,
    /// We could not do our work.
    Error,
}

impl Level {
    /// As logs write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What is known of an event before it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Its name, unique within its enum.
    pub name: &'static str,
    /// Where it usually is.
    pub level: Level,
    /// What it means.
    pub help: &'static str,
    /// Names and meanings of its fields, as declared. One that has parts is told in parts: `octets` as `octets.sent`.
    pub fields: &'static [(&'static str, &'static str)],
    /// The fields that its counter is kept by. Each has few values.
    pub counted_by: &'static [&'static str],
}

/// Something that happened.
pub trait Event {
    /// All that can happen, but for what is only between a machine and its driver.
    const DECLARED: &'static [Declared];

    /// Its name in logs and counters.
    fn name(&self) -> &'static str;

    /// How much attention it deserves; `None` if it is only between a machine and its driver, and not to be told.
    fn level(&self) -> Option<Level>;

    /// Its fields, in the order of the declaration.
    fn tell(&self, fields: &mut dyn Fields);

    /// The values that its counter is kept by, in the order of [`Declared::counted_by`].
    fn labels(&self, label: &mut dyn FnMut(&'static str, String));
}

/// How many of them are told. For [`declare!`](crate::declare).
#[doc(hidden)]
#[must_use]
pub const fn told(all: &[Option<Declared>]) -> usize {
    let (mut at, mut told) = (0, 0);
    while at < all.len() {
        if all[at].is_some() {
            told += 1;
        }
        at += 1;
    }
    told
}

/// Those that are told. For [`declare!`](crate::declare).
#[doc(hidden)]
#[must_use]
pub const fn only<const TOLD: usize>(all: &[Option<Declared>]) -> [Declared; TOLD] {
    const NOTHING: Declared =
        Declared { name: "", level: Level::Debug, help: "", fields: &[], counted_by: &[] };
    let mut only = [NOTHING; TOLD];
    let (mut at, mut put) = (0, 0);
    while at < all.len() {
        if let Some(declared) = all[at] {
            only[put] = declared;
            put += 1;
        }
        at += 1;
    }
    only
}
