//! BFCP (RFC 8855).

use super::{Told, digest};
use crate::model::{Fact, Floor};
use bytes::Bytes;
use carnet_bfcp::{Attribute, Header, Limits, Message, Primitive, Value, attribute_name};

/// Whether octets begin like a message of this version; `None` while too few are there.
pub(super) fn begins(octets: &[u8], version: u8) -> Option<bool> {
    let first = octets.first()?;
    // §5.1: version, R, F, three reserved bits.
    if first >> 5 != version || first & 0x07 != 0 || version == 1 && first & 0x18 != 0 {
        return Some(false);
    }
    Some(Primitive(*octets.get(1)?).name().is_some())
}

/// Whether a datagram is a message: it also has the length that it says.
pub(super) fn is_datagram(octets: &[u8]) -> bool {
    begins(octets, 2) == Some(true)
        && Header::parse(octets).is_ok_and(|(header, at)| match header.fragment {
            Some(fragment) => at + usize::from(fragment.length) * 4 == octets.len(),
            None => header.message_octets() == octets.len(),
        })
}

/// Reads a message.
pub(super) fn read(octets: &Bytes) -> Told {
    let (header, message) = match Header::parse(octets) {
        Ok((header, _)) if header.fragment.is_some() => (header, None),
        Ok((header, _)) => match Message::parse(octets, &Limits::default()) {
            Ok(message) => (header, Some(message)),
            Err(error) => return Told::unreadable("BFCP", &error.to_string(), octets),
        },
        Err(error) => return Told::unreadable("BFCP", &error.to_string(), octets),
    };
    let name =
        header.primitive.name().map_or_else(|| format!("primitive {}", header.primitive.0), str::to_owned);
    let mut text = format!(
        "{name}\nversion {}, conference {}, transaction {}, user {}\n",
        header.version, header.conference, header.transaction, header.user
    );
    let mut error = None;
    if let Some(fragment) = header.fragment {
        text.push_str(&format!("fragment: {} units from {}\n", fragment.length, fragment.offset));
    }
    for attribute in message.iter().flat_map(|m| &m.attributes) {
        write(&mut text, attribute, 0);
        if let Value::ErrorCode { code, .. } = &attribute.value {
            let name = code.name().map_or_else(String::new, |name| format!(" ({name})"));
            error = Some(format!("{}{name}", code.0));
        }
    }
    let label = match &error {
        Some(error) => format!("BFCP {name} {error}"),
        None => format!("BFCP {name}"),
    };
    let bad = error.is_some();
    let fact = Floor { primitive: name, conference: header.conference, error };
    Told { bad, again: Some(digest(octets)), ..Told::new(label, text, Fact::Floor(fact)) }
}

fn write(text: &mut String, attribute: &Attribute, depth: usize) {
    let kind = attribute.value.kind();
    let name = attribute_name(kind).map_or_else(|| format!("attribute {kind}"), str::to_owned);
    let indent = "  ".repeat(depth + 1);
    match attribute.value.group() {
        Some(group) => {
            text.push_str(&format!("{indent}{name} {}\n", group.id));
            group.attributes.iter().for_each(|inner| write(text, inner, depth + 1));
        }
        None => text.push_str(&format!("{indent}{name}: {:?}\n", attribute.value)),
    }
}
