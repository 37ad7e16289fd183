//! The declaration of events.

/// Makes an enum of events and its [`Event`](crate::Event).
///
/// Before each variant stand its level and its name in brackets, and after `by` the fields that its counter is kept by:
///
/// ```
/// use carnet_event::{Event as _, Level};
///
/// carnet_event::declare! {
///     /// What happened at the door.
///     #[derive(Debug)]
///     pub enum Event {
///         /// Somebody came in.
///         [info "entered"]
///         Entered {
///             /// Who.
///             who: String,
///         },
///         /// Somebody was sent away.
///         [warn "refused" by status]
///         Refused {
///             /// Who.
///             who: String,
///             /// Why.
///             status: u16,
///         },
///         /// For the porter only.
///         [untold "asked"]
///         Asked {
///             /// How often.
///             times: Vec<u8>,
///         },
///     }
///     // A level may depend on what is in it.
///     level(event, declared) match event {
///         Event::Refused { status: 503, .. } => Level::Error,
///         _ => declared,
///     }
/// }
///
/// let refused = Event::Refused { who: "bob".into(), status: 503 };
/// assert_eq!((refused.name(), refused.level()), ("refused", Some(Level::Error)));
/// assert_eq!(Event::Asked { times: vec![1] }.level(), None);
/// let names: Vec<_> = Event::DECLARED.iter().map(|d| (d.name, d.help, d.counted_by)).collect();
/// assert_eq!(names, [("entered", "Somebody came in.", &[] as &[_]), ("refused", "Somebody was sent away.", &["status"])]);
/// let mut told = Vec::new();
/// refused.tell(&mut told);
/// assert_eq!(told[0].1.text(), Some("bob"));
/// refused.labels(&mut |name, value| assert_eq!((name, value.as_str()), ("status", "503")));
/// ```
#[macro_export]
macro_rules! declare {
    (
        $(#[$outer:meta])*
        $vis:vis enum $enum:ident { $(
            $(#[doc = $help:literal])+
            [$level:ident $name:literal $(by $($label:ident),+)?]
            $variant:ident $({ $(
                $(#[doc = $means:literal])+
                $field:ident : $type:ty
            ),+ $(,)? })?
        ),+ $(,)? }
        level($event:ident, $declared:ident) $leveled:expr
    ) => {
        $(#[$outer])*
        $vis enum $enum { $(
            $(#[doc = $help])+
            $variant $({ $( $(#[doc = $means])+ $field: $type ),+ })?
        ),+ }

        impl $crate::Event for $enum {
            const DECLARED: &'static [$crate::Declared] = {
                const ALL: &[Option<$crate::Declared>] = &[ $(
                    match $crate::declare!(@level $level) {
                        Some(level) => Some($crate::Declared {
                            name: $name,
                            level,
                            help: concat!($($help),+).trim_ascii(),
                            fields: &[ $($( (stringify!($field), concat!($($means),+).trim_ascii()) ),+)? ],
                            counted_by: &[ $($( stringify!($label) ),+)? ],
                        }),
                        None => None,
                    }
                ),+ ];
                const TOLD: usize = $crate::told(ALL);
                const ONLY: [$crate::Declared; TOLD] = $crate::only(ALL);
                &ONLY
            };

            fn name(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $name ),+ }
            }

            fn level(&self) -> Option<$crate::Level> {
                let $declared = match self { $( Self::$variant { .. } => $crate::declare!(@level $level) ),+ };
                let $declared = $declared?;
                let $event = self;
                Some($leveled)
            }

            #[allow(unused_variables)]
            fn tell(&self, fields: &mut dyn $crate::Fields) {
                match self { $(
                    Self::$variant { $($($field),+)? } => $crate::declare!(@tell $level fields $($($field),+)?)
                ),+ }
            }

            #[allow(unused_variables)]
            fn labels(&self, label: &mut dyn FnMut(&'static str, String)) {
                match self { $(
                    Self::$variant { $($($field),+)? } => { $($(
                        label(stringify!($label), $crate::Field::label($label));
                    )+)? }
                ),+ }
            }
        }
    };
    (@level untold) => { None };
    (@level debug) => { Some($crate::Level::Debug) };
    (@level info) => { Some($crate::Level::Info) };
    (@level warn) => { Some($crate::Level::Warn) };
    (@level error) => { Some($crate::Level::Error) };
    (@tell untold $fields:ident $($field:ident),*) => { {} };
    (@tell $level:ident $fields:ident $($field:ident),*) => { { $(
        $crate::Field::tell($field, stringify!($field), $fields);
    )* } };
}
