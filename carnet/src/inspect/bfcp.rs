//! `carnet inspect bfcp`: the messages of one direction of a connection, or one datagram (RFC 8855).
//!
//! Whole messages follow each other as on a stream; version 2 is taken too, and a fragment is described as
//! it is. A message that is sound but not what its primitive needs is described and has the trouble in
//! `remarks`.

use super::{Diagnosis, Emit};
use bytes::Bytes;
use carnet_bfcp::{Attribute, Body, Error, Header, Limits, Message, Value, attribute_name};
use serde_json::{Map, Value as Json, json};

/// Reads the messages in `input` in order.
pub fn inspect(input: &[u8], emit: Emit<'_>) -> Result<(), Diagnosis> {
    let input = Bytes::copy_from_slice(input);
    let mut start = 0;
    while start < input.len() {
        let rest = input.slice(start..);
        let wrong = |error: Error| diagnose(&error, start, rest.len());
        let (header, at) = Header::parse(&rest).map_err(wrong)?;
        let end = match header.fragment {
            Some(fragment) => at + usize::from(fragment.length) * 4,
            None => header.message_octets(),
        };
        if rest.len() < end {
            let message = "expected the rest of the message".to_owned();
            return Err(Diagnosis { offset: input.len(), class: "truncated", message });
        }
        let octets = rest.slice(..end);
        let mut object = describe(&header, start, end);
        if header.fragment.is_none() {
            let message = Message::parse(&octets, &Limits::default()).map_err(wrong)?;
            object.insert("attributes".into(), message.attributes.iter().map(attribute).collect());
            if let Err(error) = Body::of(&message) {
                let remark = json!({"code": error.code().0, "message": error.to_string()});
                object.insert("remarks".into(), vec![remark].into());
            }
        }
        emit(object.into());
        start += end;
    }
    Ok(())
}

fn diagnose(error: &Error, start: usize, length: usize) -> Diagnosis {
    let at = error.at().unwrap_or(0);
    let class = match error {
        Error::Version { .. } => "unsupported",
        Error::Length(_) if at >= length => "truncated",
        Error::Length(_) => "limit",
        _ => "syntax",
    };
    let message = match error {
        Error::Length(error) | Error::Syntax(error) => format!("expected {}", error.expected),
        other => other.to_string(),
    };
    Diagnosis { offset: start + at, class, message }
}

fn describe(header: &Header, offset: usize, length: usize) -> Map<String, Json> {
    let fragment = header.fragment.map(|f| json!({"offset": f.offset, "length": f.length}));
    let members = [
        ("offset", offset.into()),
        ("length", length.into()),
        ("version", header.version.into()),
        ("responder", header.responder.into()),
        ("fragment", fragment.into()),
        ("primitive", header.primitive.0.into()),
        ("name", header.primitive.name().into()),
        ("conference_id", header.conference.into()),
        ("transaction_id", header.transaction.into()),
        ("user_id", header.user.into()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn attribute(attribute: &Attribute) -> Json {
    let kind = attribute.value.kind();
    let mut object = Map::new();
    object.insert("type".into(), kind.into());
    object.insert("name".into(), attribute_name(kind).into());
    object.insert("mandatory".into(), attribute.mandatory.into());
    if let Some(group) = attribute.value.group() {
        object.insert("id".into(), group.id.into());
        object.insert("attributes".into(), group.attributes.iter().map(self::attribute).collect());
    } else {
        object.insert("value".into(), value(&attribute.value));
    }
    object.into()
}

fn value(value: &Value) -> Json {
    match value {
        Value::BeneficiaryId(id) | Value::FloorId(id) | Value::FloorRequestId(id) => (*id).into(),
        Value::Priority(priority) => format!("{priority:?}").to_lowercase().into(),
        Value::RequestStatus(s) => {
            json!({"status": s.status.to_string(), "queue_position": s.queue_position})
        }
        Value::ErrorCode { code, details } => {
            let unknown: Vec<u8> = Value::unknown_types(details).collect();
            json!({"code": code.0, "name": code.name(), "unknown_types": unknown})
        }
        Value::ErrorInfo(text)
        | Value::ParticipantProvidedInfo(text)
        | Value::StatusInfo(text)
        | Value::UserDisplayName(text)
        | Value::UserUri(text) => text.as_str().into(),
        Value::SupportedAttributes(kinds) => kinds.iter().map(|k| named(*k, attribute_name(*k))).collect(),
        Value::SupportedPrimitives(primitives) => {
            primitives.iter().map(|p| named(*p, carnet_bfcp::Primitive(*p).name())).collect()
        }
        Value::Extension { contents, .. } => carnet_wire::hex::encode(contents).into(),
        _ => Json::Null,
    }
}

fn named(number: u8, name: Option<&str>) -> Json {
    name.map_or_else(|| number.into(), Json::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<Json>, Result<(), Diagnosis>) {
        let input = carnet_wire::hex::decode(text.as_bytes()).unwrap();
        let mut objects = Vec::new();
        let outcome = inspect(&input, &mut |object| objects.push(object));
        (objects, outcome)
    }

    #[test]
    fn messages_follow_each_other_to_the_first_fault() {
        let (objects, outcome) = all("20 01 0003 00000001 0001 0002  0504 001f 1104 6869 0904 6000
             40 04 0002 00000001 0001 0002  1d08 0001 1b04 6162
             48 04 0002 00000001 0001 0002  0000 0001 01020304
             20 0b 0001 00000001");
        assert_eq!(objects.len(), 3);
        assert_eq!(objects[0]["name"], "FloorRequest");
        assert_eq!(
            objects[0]["attributes"][1],
            json!({
                "type": 8, "name": "PARTICIPANT-PROVIDED-INFO", "mandatory": true, "value": "hi",
            })
        );
        assert_eq!(objects[0]["attributes"][2]["value"], "high");
        assert_eq!((&objects[1]["offset"], &objects[1]["length"]), (&24.into(), &20.into()));
        assert_eq!(objects[1]["attributes"][0]["attributes"][0]["value"], "ab");
        assert_eq!(objects[1]["remarks"][0]["code"], 10, "a FloorRequestStatus says which request");
        assert_eq!(objects[2]["fragment"], json!({"offset": 0, "length": 1}));
        let fault = outcome.unwrap_err();
        assert_eq!((fault.class, fault.offset), ("truncated", 72));
    }

    #[test]
    fn what_is_no_message_is_pointed_at() {
        let fault = |text: &str| {
            let fault = all(text).1.unwrap_err();
            (fault.class, fault.offset)
        };
        assert_eq!(fault("20 0b 0000 00000001 0001 0002 e0"), ("unsupported", 12));
        assert_eq!(fault("20 0b 0001 00000001 0001 0002 0501 0000"), ("syntax", 13));
        assert_eq!(fault("20 0b 0001 00000001 0001 0002 11"), ("truncated", 13));
    }
}
