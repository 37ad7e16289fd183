//! Attributes: type, length, value, in groups (RFC 8855 §5.2).
//!
//! Padding is ignored and written as zeros; reserved bits of PRIORITY and of the lists likewise. The
//! mandatory bit stays as it came.

use crate::error::{Error, Unsayable};
use crate::number::{ErrorCode, Priority, RequestStatus, Status};
use bytes::Bytes;
use carnet_wire::{Cursor, ParseError};
use std::fmt;

/// Octets of the longest attribute, its header included.
const LONGEST: usize = 255;
/// Octets of type and length.
const HEADER: usize = 2;
/// Octets of the header of a group: type, length and the identifier.
const GROUP_HEADER: usize = 4;
/// Groups in groups: a request, a floor in it, its status.
const DEPTH: usize = 4;

/// UTF-8 text of at most 253 octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(Bytes);

impl Text {
    /// Octets of the longest text.
    pub const LONGEST: usize = LONGEST - HEADER;

    /// As much of `text` as fits, cut between characters.
    pub fn fitting(text: &str) -> Self {
        Self::cut(text, Self::LONGEST)
    }

    /// As much of `text` as goes into `octets`, and no more than fits, cut between characters.
    pub fn cut(text: &str, octets: usize) -> Self {
        let most = octets.min(Self::LONGEST).min(text.len());
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Self(Bytes::copy_from_slice(text.as_bytes().get(..end).unwrap_or_default()))
    }

    /// Octets of an attribute with this text, padding included.
    fn octets(&self) -> usize {
        (HEADER + self.0.len()).next_multiple_of(4)
    }

    /// Keeps of a text what goes into `room` octets of attributes, and takes them from it. A text is left
    /// out if not even a character does, or if it says nothing when it is cut.
    pub(crate) fn fit(text: &mut Option<Self>, room: &mut usize, whole: bool) {
        let Some(long) = text.take() else { return };
        let fits = match long.octets() <= *room {
            true => long,
            false if whole => return,
            false => Self::cut(long.as_str(), (*room / 4 * 4).saturating_sub(HEADER)),
        };
        if !fits.0.is_empty() {
            *room -= fits.octets();
            *text = Some(fits);
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Checked when it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::fitting(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A grouped attribute: an identifier and attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Of the user, request or floor that the group is about.
    pub id: u16,
    /// In order.
    pub attributes: Vec<Attribute>,
}

impl Group {
    /// A group of these.
    pub fn new(id: u16, attributes: Vec<Attribute>) -> Self {
        Self { id, attributes }
    }
}

/// The contents of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// BENEFICIARY-ID
    BeneficiaryId(u16),
    /// FLOOR-ID
    FloorId(u16),
    /// FLOOR-REQUEST-ID
    FloorRequestId(u16),
    /// PRIORITY
    Priority(Priority),
    /// REQUEST-STATUS
    RequestStatus(RequestStatus),
    /// ERROR-CODE
    ErrorCode {
        /// What is wrong.
        code: ErrorCode,
        /// Error specific details: for code 4 the types of the attributes, as in
        /// [`Value::unknown_types`].
        details: Bytes,
    },
    /// ERROR-INFO
    ErrorInfo(Text),
    /// PARTICIPANT-PROVIDED-INFO
    ParticipantProvidedInfo(Text),
    /// STATUS-INFO
    StatusInfo(Text),
    /// SUPPORTED-ATTRIBUTES: types.
    SupportedAttributes(Vec<u8>),
    /// SUPPORTED-PRIMITIVES
    SupportedPrimitives(Vec<u8>),
    /// USER-DISPLAY-NAME
    UserDisplayName(Text),
    /// USER-URI
    UserUri(Text),
    /// BENEFICIARY-INFORMATION, about a user
    BeneficiaryInformation(Group),
    /// FLOOR-REQUEST-INFORMATION, about a request
    FloorRequestInformation(Group),
    /// REQUESTED-BY-INFORMATION, about a user
    RequestedByInformation(Group),
    /// FLOOR-REQUEST-STATUS, about a floor
    FloorRequestStatus(Group),
    /// OVERALL-REQUEST-STATUS, about a request
    OverallRequestStatus(Group),
    /// An attribute of an extension.
    Extension {
        /// Its type, 0 and 19 to 127.
        kind: u8,
        /// Without padding.
        contents: Bytes,
    },
}

impl Value {
    /// The attribute type (table 2).
    pub fn kind(&self) -> u8 {
        match self {
            Self::BeneficiaryId(_) => 1,
            Self::FloorId(_) => 2,
            Self::FloorRequestId(_) => 3,
            Self::Priority(_) => 4,
            Self::RequestStatus(_) => 5,
            Self::ErrorCode { .. } => 6,
            Self::ErrorInfo(_) => 7,
            Self::ParticipantProvidedInfo(_) => 8,
            Self::StatusInfo(_) => 9,
            Self::SupportedAttributes(_) => 10,
            Self::SupportedPrimitives(_) => 11,
            Self::UserDisplayName(_) => 12,
            Self::UserUri(_) => 13,
            Self::BeneficiaryInformation(_) => 14,
            Self::FloorRequestInformation(_) => 15,
            Self::RequestedByInformation(_) => 16,
            Self::FloorRequestStatus(_) => 17,
            Self::OverallRequestStatus(_) => 18,
            Self::Extension { kind, .. } => *kind,
        }
    }

    /// The group, if it is one.
    pub fn group(&self) -> Option<&Group> {
        match self {
            Self::BeneficiaryInformation(group)
            | Self::FloorRequestInformation(group)
            | Self::RequestedByInformation(group)
            | Self::FloorRequestStatus(group)
            | Self::OverallRequestStatus(group) => Some(group),
            _ => None,
        }
    }

    /// The types in the details of error code 4 (§5.2.6.1).
    pub fn unknown_types(details: &[u8]) -> impl Iterator<Item = u8> {
        details.iter().map(|octet| octet >> 1)
    }
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The M bit: a receiver that does not know an extension must refuse the message. For the types
    /// of RFC 8855 it says nothing.
    pub mandatory: bool,
    /// What it says.
    pub value: Value,
}

impl Attribute {
    /// An attribute of RFC 8855, marked mandatory as other implementations do.
    pub fn new(value: Value) -> Self {
        Self { mandatory: true, value }
    }
}

impl From<Value> for Attribute {
    fn from(value: Value) -> Self {
        Self::new(value)
    }
}

/// Reads attributes until the input ends. `base` is where the input begins in the message, `left` how
/// many attributes there may be yet.
pub(crate) fn read(input: &Bytes, base: usize, left: &mut usize) -> Result<Vec<Attribute>, Error> {
    Reader { input, base }.read(0, input.len(), DEPTH, left)
}

/// What follows the header of a message. Only contents that are kept as octets share them.
struct Reader<'a> {
    input: &'a Bytes,
    base: usize,
}

impl Reader<'_> {
    fn syntax(&self, at: usize, what: &'static str) -> Error {
        Error::Syntax(ParseError::new(self.base + at, what))
    }

    fn read(&self, from: usize, to: usize, depth: usize, left: &mut usize) -> Result<Vec<Attribute>, Error> {
        let octets = self.input.get(from..to).unwrap_or_default();
        let mut attributes = Vec::with_capacity(count(octets).min(*left));
        let mut cursor = Cursor::new(octets);
        while !cursor.is_empty() {
            let start = from + cursor.position();
            let short = |e: ParseError| Error::Syntax(e.shifted(self.base + from));
            *left = left.checked_sub(1).ok_or_else(|| self.syntax(start, "fewer attributes"))?;
            let header = cursor.take(HEADER, "type and length of an attribute").map_err(short)?;
            let &[kind, length] = header else {
                return Err(self.syntax(start, "type and length of an attribute"));
            };
            let length = usize::from(length);
            if length < HEADER {
                return Err(self.syntax(start + 1, "a length that counts type and length"));
            }
            let contents = cursor.take(length - HEADER, "the whole attribute").map_err(short)?;
            let padding = length.next_multiple_of(4) - length;
            cursor.take(padding, "padding").map_err(short)?;
            let value = self.value(kind >> 1, contents, start + HEADER, depth, left)?;
            attributes.push(Attribute { mandatory: kind & 1 == 1, value });
        }
        Ok(attributes)
    }

    /// The value of contents that begin at `at`.
    fn value(
        &self,
        kind: u8,
        contents: &[u8],
        at: usize,
        depth: usize,
        left: &mut usize,
    ) -> Result<Value, Error> {
        let number = || match contents {
            [high, low] => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(self.syntax(at, "two octets")),
        };
        let shared = |skipped: usize| self.input.slice(at + skipped..at + contents.len());
        let text = || match std::str::from_utf8(contents) {
            Ok(_) => Ok(Text(shared(0))),
            Err(e) => Err(self.syntax(at + e.valid_up_to(), "UTF-8")),
        };
        let mut group = || {
            let id = contents.first_chunk().copied();
            let id = u16::from_be_bytes(id.ok_or_else(|| self.syntax(at, "the identifier of a group"))?);
            let depth = depth.checked_sub(1).ok_or_else(|| self.syntax(at, "fewer groups in groups"))?;
            Ok::<_, Error>(Group::new(id, self.read(at + 2, at + contents.len(), depth, left)?))
        };
        Ok(match kind {
            1 => Value::BeneficiaryId(number()?),
            2 => Value::FloorId(number()?),
            3 => Value::FloorRequestId(number()?),
            4 => Value::Priority(Priority::from_bits((number()? >> 13) as u8)),
            5 => {
                let [status, queue_position] = number()?.to_be_bytes();
                Value::RequestStatus(RequestStatus { status: Status(status), queue_position })
            }
            6 => {
                let code = *contents.first().ok_or_else(|| self.syntax(at, "an error code"))?;
                Value::ErrorCode { code: ErrorCode(code), details: shared(1) }
            }
            7 => Value::ErrorInfo(text()?),
            8 => Value::ParticipantProvidedInfo(text()?),
            9 => Value::StatusInfo(text()?),
            10 => Value::SupportedAttributes(contents.iter().map(|octet| octet >> 1).collect()),
            11 => Value::SupportedPrimitives(contents.to_vec()),
            12 => Value::UserDisplayName(text()?),
            13 => Value::UserUri(text()?),
            14 => Value::BeneficiaryInformation(group()?),
            15 => Value::FloorRequestInformation(group()?),
            16 => Value::RequestedByInformation(group()?),
            17 => Value::FloorRequestStatus(group()?),
            18 => Value::OverallRequestStatus(group()?),
            kind => Value::Extension { kind, contents: shared(0) },
        })
    }
}

/// How many attributes there seem to be.
fn count(mut octets: &[u8]) -> usize {
    let mut count = 0;
    while let &[_, length, ..] = octets {
        count += 1;
        let length = usize::from(length).max(HEADER).next_multiple_of(4);
        octets = octets.get(length..).unwrap_or_default();
    }
    count
}

/// Writes attributes.
pub(crate) fn write(attributes: &[Attribute], out: &mut Vec<u8>) -> Result<(), Unsayable> {
    for attribute in attributes {
        let start = out.len();
        out.push(attribute.value.kind() << 1 | u8::from(attribute.mandatory));
        out.push(0);
        match &attribute.value {
            Value::BeneficiaryId(id) | Value::FloorId(id) | Value::FloorRequestId(id) => {
                out.extend_from_slice(&id.to_be_bytes());
            }
            Value::Priority(priority) => out.extend_from_slice(&[priority.bits() << 5, 0]),
            Value::RequestStatus(s) => out.extend_from_slice(&[s.status.0, s.queue_position]),
            Value::ErrorCode { code, details } => {
                out.push(code.0);
                out.extend_from_slice(details);
            }
            Value::ErrorInfo(text)
            | Value::ParticipantProvidedInfo(text)
            | Value::StatusInfo(text)
            | Value::UserDisplayName(text)
            | Value::UserUri(text) => out.extend_from_slice(&text.0),
            Value::SupportedAttributes(kinds) => out.extend(kinds.iter().map(|kind| kind << 1)),
            Value::SupportedPrimitives(primitives) => out.extend_from_slice(primitives),
            Value::Extension { contents, .. } => out.extend_from_slice(contents),
            Value::BeneficiaryInformation(group)
            | Value::FloorRequestInformation(group)
            | Value::RequestedByInformation(group)
            | Value::FloorRequestStatus(group)
            | Value::OverallRequestStatus(group) => {
                out.extend_from_slice(&group.id.to_be_bytes());
                debug_assert_eq!(out.len() - start, GROUP_HEADER);
                write(&group.attributes, out)?;
            }
        }
        let length = out.len() - start;
        let fits = u8::try_from(length).map_err(|_| Unsayable { what: "an attribute" })?;
        if let Some(octet) = out.get_mut(start + 1) {
            *octet = fits;
        }
        out.resize(start + length.next_multiple_of(4), 0);
    }
    Ok(())
}
