//! Where key material may stand in a message, so that it neither leaves by a way that others can read
//! (RFC 3525 §10.1) nor is shown to anybody.

use super::{Descriptor, Message, ParameterValue, Property, ReplyBody, Secret, Transaction, Value};

impl Message {
    /// Every value in it that carries key material.
    pub fn secrets(&self) -> Vec<&Secret> {
        let mut found = Vec::new();
        for transaction in self.transactions() {
            match transaction {
                Transaction::Request(request) => {
                    for action in &request.actions {
                        in_properties(&action.properties.attributes, &mut found);
                        action.commands.iter().for_each(|c| in_descriptors(&c.descriptors, &mut found));
                    }
                }
                Transaction::Reply(reply) => {
                    let ReplyBody::Actions(actions) = &reply.body else { continue };
                    for action in actions {
                        in_properties(&action.properties.attributes, &mut found);
                        action.commands.iter().for_each(|c| in_descriptors(&c.descriptors, &mut found));
                    }
                }
                Transaction::Pending(_) | Transaction::Ack(_) | Transaction::Segment(_) => {}
            }
        }
        found
    }
}

fn in_descriptors<'a>(descriptors: &'a [Descriptor], found: &mut Vec<&'a Secret>) {
    for descriptor in descriptors {
        let Descriptor::Media(media) = descriptor else { continue };
        let state = media.termination_state.as_ref().map(|state| state.properties.as_slice());
        let streams = media.streams.iter().filter_map(|stream| stream.local_control.as_ref());
        streams.map(|c| c.properties.as_slice()).chain(state).for_each(|list| in_properties(list, found));
    }
}

fn in_properties<'a>(properties: &'a [Property], found: &mut Vec<&'a Secret>) {
    for property in properties {
        let values: &[&'a Value] = match &property.value {
            ParameterValue::Equal(v)
            | ParameterValue::NotEqual(v)
            | ParameterValue::Less(v)
            | ParameterValue::Greater(v) => &[v],
            ParameterValue::Range(low, high) => &[low, high],
            ParameterValue::AnyOf(list) | ParameterValue::AllOf(list) => &list.iter().collect::<Vec<_>>(),
        };
        found.extend(values.iter().filter_map(|value| match value {
            Value::Secret(secret) => Some(secret),
            Value::Token(_) | Value::Quoted(_) => None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use crate::text::{self, Limits};

    fn count(command: &str) -> usize {
        let message = format!("MEGACO/3 <a> {command}");
        text::parse(message.as_bytes(), &Limits::default()).unwrap().secrets().len()
    }

    #[test]
    fn keys_are_found_where_they_may_stand() {
        let control = |control: &str| {
            count(&format!(
                "Transaction=1{{Context=1{{Modify=ip/1{{Media{{Stream=1{{LocalControl{{{control}}}}}}}}}}}}}"
            ))
        };
        assert_eq!(control("crntls/psk=000102030405060708090A0B0C0D0E0F"), 1);
        assert_eq!(control("Mode=Inactive,ipdc/realm=core,crntls/psk={00,11}"), 2);
        assert_eq!(control("Mode=Inactive,crntls/pskid=abc"), 0);
        let state = "Reply=1{Context=1{Add=ip/1{Media{TerminationState{crntls/psk=\"00 11\"}}}}}";
        assert_eq!(count(state), 1);
    }
}
