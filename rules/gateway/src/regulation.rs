//! Which notifications are sent (H.248.1 version 3: the notification behaviour of an event, and package
//! `nb` for those that are regulated).

use carnet_h248::{Name, NotifyBehaviour, RequestedEvent, Value};

/// How many notifications of a regulated event are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Regulation {
    /// The first since the event was asked for.
    #[default]
    Once,
    /// So many of a hundred, 0 to 100.
    Percent(u8),
}

/// How often regulated events happened since they were asked for. Few: at most one a package event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told(Vec<(Name, u32)>);

impl Regulation {
    /// From `nb/rate`.
    pub(crate) fn of(value: &Value) -> Self {
        value.as_u64().and_then(|n| u8::try_from(n).ok()).map_or(Self::Once, Self::Percent)
    }

    /// Whether something that happened and was asked for is told.
    pub(crate) fn allows(self, told: &mut Told, request: &RequestedEvent) -> bool {
        match &request.notify {
            None | Some(NotifyBehaviour::Immediate) => return true,
            Some(NotifyBehaviour::Never) => return false,
            Some(NotifyBehaviour::Regulated(_)) => {}
        }
        let index = told.0.iter().position(|(name, _)| *name == request.name).unwrap_or_else(|| {
            told.0.push((request.name.clone(), 0));
            told.0.len() - 1
        });
        let Some((_, count)) = told.0.get_mut(index) else { return true };
        *count = count.saturating_add(1);
        match self {
            Self::Once => *count == 1,
            // Evenly spread: each time the share reaches another whole one.
            Self::Percent(rate) => {
                let share = |n: u32| u64::from(n) * u64::from(rate) / 100;
                share(*count) > share(*count - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(regulation: Regulation, notify: Option<NotifyBehaviour>) -> usize {
        let request = RequestedEvent { notify, ..RequestedEvent::new("adid/ipstop") };
        let mut told = Told::default();
        (0..200).filter(|_| regulation.allows(&mut told, &request)).count()
    }

    #[test]
    fn regulated_events_are_told_at_their_rate() {
        let regulated = || Some(NotifyBehaviour::Regulated(None));
        assert_eq!(count(Regulation::Once, regulated()), 1);
        assert_eq!(count(Regulation::Percent(25), regulated()), 50);
        assert_eq!(count(Regulation::Percent(0), regulated()), 0);
        assert_eq!(count(Regulation::Percent(100), regulated()), 200);
        assert_eq!(count(Regulation::Once, Some(NotifyBehaviour::Never)), 0);
        assert_eq!(count(Regulation::Once, Some(NotifyBehaviour::Immediate)), 200);
        assert_eq!(count(Regulation::Once, None), 200);
    }
}
