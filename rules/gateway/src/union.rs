//! The one response to a command on many terminations (`W-`): the union of what each of them would
//! have answered, without duplicates (RFC 3525 §6.2.2).
//!
//! A descriptor appears once. A property with several values in the union becomes a list of
//! alternatives, session descriptions follow one another as groups.

use carnet_h248::{
    Descriptor, Events, LocalControl, Media, ParameterValue, Property, RequestId, SessionDescription,
    Signals, Statistic, Stream, TerminationState, Value,
};

/// The union of descriptors.
pub(crate) fn of(all: impl Iterator<Item = Descriptor>) -> Vec<Descriptor> {
    let mut union: Vec<Descriptor> = Vec::new();
    for one in all {
        let same = |d: &&mut Descriptor| kind(d) == kind(&one);
        match union.iter_mut().find(same) {
            Some(known) => merge(known, one),
            None => union.push(one),
        }
    }
    union
}

/// What counts as the same descriptor: an empty one is named by its token only.
fn kind(descriptor: &Descriptor) -> (std::mem::Discriminant<Descriptor>, Option<carnet_h248::AuditToken>) {
    let token = if let Descriptor::Empty(token) = descriptor { Some(*token) } else { None };
    (std::mem::discriminant(descriptor), token)
}

fn merge(known: &mut Descriptor, one: Descriptor) {
    match (known, one) {
        (Descriptor::Statistics(known), Descriptor::Statistics(one)) => statistics(known, one),
        (Descriptor::Media(known), Descriptor::Media(one)) => media(known, one),
        (Descriptor::Events(known), Descriptor::Events(one)) => events(known, one),
        (Descriptor::Signals(Signals(known)), Descriptor::Signals(Signals(one))) => distinct(known, one),
        (Descriptor::Packages(known), Descriptor::Packages(one)) => distinct(known, one),
        (Descriptor::EventBuffer(known), Descriptor::EventBuffer(one)) => distinct(known, one),
        // One is enough to say that it failed, and on the others it is told too that it is there.
        _ => {}
    }
}

fn distinct<T: PartialEq>(known: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !known.contains(&one) {
            known.push(one);
        }
    }
}

fn statistics(known: &mut Vec<Statistic>, more: Vec<Statistic>) {
    for one in more {
        match known.iter_mut().find(|statistic| statistic.name == one.name) {
            Some(statistic) => distinct(&mut statistic.values, one.values),
            None => known.push(one),
        }
    }
}

fn events(known: &mut Events, more: Events) {
    if known.events.is_empty() {
        known.request_id = more.request_id;
    } else if !more.events.is_empty() && known.request_id != more.request_id {
        known.request_id = Some(RequestId::ALL);
    }
    distinct(&mut known.events, more.events);
}

fn media(known: &mut Media, more: Media) {
    match (&mut known.termination_state, more.termination_state) {
        (Some(known), Some(more)) => state(known, more),
        (known @ None, more) => *known = more,
        (_, None) => {}
    }
    for stream in more.streams {
        match known.streams.iter_mut().find(|known| known.id == stream.id) {
            Some(known) => merge_stream(known, stream),
            None => {
                // Two streams cannot both be implied.
                known.implied_stream = false;
                known.streams.push(stream);
            }
        }
    }
}

fn state(known: &mut TerminationState, more: TerminationState) {
    known.service_state = known.service_state.or(more.service_state);
    known.event_buffer = known.event_buffer.or(more.event_buffer);
    properties(&mut known.properties, more.properties);
}

fn merge_stream(known: &mut Stream, more: Stream) {
    match (&mut known.local_control, more.local_control) {
        (Some(known), Some(more)) => local_control(known, more),
        (known @ None, more) => *known = more,
        (_, None) => {}
    }
    groups(&mut known.local, more.local);
    groups(&mut known.remote, more.remote);
    match (&mut known.statistics, more.statistics) {
        (Some(known), Some(more)) => statistics(known, more),
        (known @ None, more) => *known = more,
        (_, None) => {}
    }
}

fn local_control(known: &mut LocalControl, more: LocalControl) {
    // A mode has no alternatives; where the modes differ none can be told.
    if known.mode != more.mode {
        known.mode = None;
    }
    known.reserve_group = known.reserve_group.or(more.reserve_group);
    known.reserve_value = known.reserve_value.or(more.reserve_value);
    properties(&mut known.properties, more.properties);
}

fn properties(known: &mut Vec<Property>, more: Vec<Property>) {
    for one in more {
        match known.iter_mut().find(|property| property.name == one.name) {
            Some(property) => alternatives(&mut property.value, one.value),
            None => known.push(one),
        }
    }
}

fn alternatives(known: &mut ParameterValue, more: ParameterValue) {
    if *known == more {
        return;
    }
    let values = |value: &ParameterValue| -> Vec<Value> {
        match value {
            ParameterValue::Equal(value) => vec![value.clone()],
            ParameterValue::AnyOf(list) => list.clone(),
            _ => Vec::new(),
        }
    };
    let mut list = values(known);
    distinct(&mut list, values(&more));
    if list.len() > 1 {
        *known = ParameterValue::AnyOf(list);
    }
}

/// RFC 3525 §7.1.8: `v=` begins a further group.
fn groups(known: &mut Option<SessionDescription>, more: Option<SessionDescription>) {
    let (Some(held), Some(more)) = (known.as_ref(), more.as_ref()) else {
        if known.is_none() {
            *known = more;
        }
        return;
    };
    let (held, more) = (held.as_bytes(), more.as_bytes());
    if more.is_empty() || held.windows(more.len()).any(|part| part == more) {
        return;
    }
    let mut both = Vec::with_capacity(held.len() + more.len() + 10);
    for part in [held, more] {
        if !part.is_empty() && !part.starts_with(b"v=") {
            both.extend_from_slice(b"v=0\r\n");
        }
        both.extend_from_slice(part);
    }
    *known = Some(both.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::StreamMode;

    /// The example of RFC 3525 §6.2.2: p1=a p2=b and p2=c p3=d become p1=a, p2=b,c and p3=d.
    #[test]
    fn values_are_united_without_duplicates() {
        let stream = |stream: Stream| Descriptor::Media(Media::with_stream(stream));
        let first = Stream::new(1).mode(StreamMode::Inactive).property("x/p1", "a").property("x/p2", "b");
        let second = Stream::new(1).mode(StreamMode::Inactive).property("x/p2", "c").property("x/p3", "d");
        let union = of([stream(first.clone()), stream(second), stream(first)].into_iter());
        let expected = Stream::new(1)
            .mode(StreamMode::Inactive)
            .property("x/p1", "a")
            .property("x/p2", ParameterValue::AnyOf(vec!["b".into(), "c".into()]))
            .property("x/p3", "d");
        assert_eq!(union, [stream(expected)]);
    }

    #[test]
    fn statistics_keep_distinct_values_and_descriptions_become_groups() {
        let statistic = |n: u8| Descriptor::Statistics(vec![Statistic::new("nt/os", n)]);
        let union = of([statistic(1), statistic(2), statistic(1)].into_iter());
        let both = Statistic { name: "nt/os".into(), values: vec![1u8.into(), 2u8.into()] };
        assert_eq!(union, [Descriptor::Statistics(vec![both])]);

        let local = |sdp: &'static str| Descriptor::Media(Media::with_stream(Stream::new(1).local(sdp)));
        let union = of([local("m=- 1 TCP -\n"), local("v=0\nm=- 2 TCP -\n")].into_iter());
        assert_eq!(union, [local("v=0\r\nm=- 1 TCP -\nv=0\nm=- 2 TCP -\n")]);
    }

    #[test]
    fn events_under_several_numbers_are_told_under_all() {
        let events = |id: u32, name: &'static str| {
            Descriptor::Events(Events::new(id).event(carnet_h248::RequestedEvent::new(name)))
        };
        let union = of([events(1, "g/cause"), events(2, "g/cause"), events(2, "g/sc")].into_iter());
        let [Descriptor::Events(events)] = union.as_slice() else { panic!("{union:?}") };
        assert_eq!((events.request_id, events.events.len()), (Some(RequestId::ALL), 2));
    }
}
