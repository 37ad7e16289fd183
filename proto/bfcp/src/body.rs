//! What a message means: each primitive with the attributes it has (RFC 8855 §5.3).
//!
//! Attributes may come in any order; extensions are left out, and refused if they must be understood.

use crate::attribute::{Attribute, Group, Text, Value};
use crate::error::Error;
use crate::message::Message;
use crate::number::{ErrorCode, Primitive, Priority, RequestStatus};
use bytes::Bytes;

/// What is left in an attribute behind the header of a group, in whole units.
const ROOM: usize = 248;

/// A user, as servers describe one (§5.2.14, §5.2.16).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserInformation {
    /// The user's number.
    pub id: u16,
    /// A name for people.
    pub display_name: Option<Text>,
    /// The URI the user joined with.
    pub uri: Option<Text>,
}

/// A status and words about it (§5.2.17, §5.2.18).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FloorState {
    /// The floor, or the request in an overall status.
    pub id: u16,
    /// The status.
    pub status: Option<RequestStatus>,
    /// For people.
    pub information: Option<Text>,
}

/// A floor request, as servers describe one and chairs decide about one (§5.2.15).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestInformation {
    /// The server's number for the request.
    pub id: u16,
    /// Of the request as a whole.
    pub overall: Option<FloorState>,
    /// Of each floor that is asked for; not empty.
    pub floors: Vec<FloorState>,
    /// For whom.
    pub beneficiary: Option<UserInformation>,
    /// By whom, if by a third party.
    pub requested_by: Option<UserInformation>,
    /// How urgent.
    pub priority: Option<Priority>,
    /// What the participant said.
    pub provided: Option<Text>,
}

/// A message by its primitive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Asks for floors.
    FloorRequest {
        /// Which; not empty.
        floors: Vec<u16>,
        /// For whom, if for somebody else.
        beneficiary: Option<u16>,
        /// Why, for the chair.
        information: Option<Text>,
        /// How urgent.
        priority: Option<Priority>,
    },
    /// Gives back, or withdraws.
    FloorRelease {
        /// Which request.
        request: u16,
    },
    /// Asks what became of a request, now and in future.
    FloorRequestQuery {
        /// Which.
        request: u16,
    },
    /// What became of a request.
    FloorRequestStatus(RequestInformation),
    /// Asks about a user's requests.
    UserQuery {
        /// Whose, if not one's own.
        beneficiary: Option<u16>,
    },
    /// A user's requests.
    UserStatus {
        /// Who.
        beneficiary: Option<UserInformation>,
        /// All that are not over.
        requests: Vec<RequestInformation>,
    },
    /// Asks about floors, now and in future; none ends that.
    FloorQuery {
        /// Which.
        floors: Vec<u16>,
    },
    /// Who has a floor and who wants it.
    FloorStatus {
        /// One; none in the answer to a query that names none.
        floors: Vec<u16>,
        /// The holders and the queue.
        requests: Vec<RequestInformation>,
    },
    /// A chair's decision.
    ChairAction(RequestInformation),
    /// It was heard.
    ChairActionAck,
    /// Is the server there?
    Hello,
    /// It is, and knows these.
    HelloAck {
        /// Primitives.
        primitives: Vec<u8>,
        /// Attribute types.
        attributes: Vec<u8>,
    },
    /// A request was wrong.
    Error {
        /// How.
        code: ErrorCode,
        /// For [`ErrorCode::UnknownMandatoryAttribute`]: see [`Value::unknown_types`].
        details: Bytes,
        /// For people.
        information: Option<Text>,
    },
    /// Over datagrams.
    FloorRequestStatusAck,
    /// Over datagrams.
    FloorStatusAck,
    /// Over datagrams: the end.
    Goodbye,
    /// Over datagrams: the end was heard.
    GoodbyeAck,
}

impl Body {
    /// Reads what a message means.
    ///
    /// # Errors
    /// [`Error::Primitive`], [`Error::Mandatory`], [`Error::Content`].
    pub fn of(message: &Message) -> Result<Self, Error> {
        let unknown = message.unknown_mandatory();
        if !unknown.is_empty() {
            return Err(Error::Mandatory(unknown));
        }
        let primitive = message.primitive;
        let found = Found { primitive, attributes: &message.attributes };
        Ok(match primitive {
            Primitive::FloorRequest => Self::FloorRequest {
                floors: found.floors(true)?,
                beneficiary: found.beneficiary_id()?,
                information: found.provided()?,
                priority: found.priority()?,
            },
            Primitive::FloorRelease => Self::FloorRelease { request: found.request_id()? },
            Primitive::FloorRequestQuery => Self::FloorRequestQuery { request: found.request_id()? },
            Primitive::FloorRequestStatus => Self::FloorRequestStatus(found.one_request()?),
            Primitive::UserQuery => Self::UserQuery { beneficiary: found.beneficiary_id()? },
            Primitive::UserStatus => {
                Self::UserStatus { beneficiary: found.beneficiary()?, requests: found.requests()? }
            }
            Primitive::FloorQuery => Self::FloorQuery { floors: found.floors(false)? },
            Primitive::FloorStatus => {
                Self::FloorStatus { floors: found.floors(false)?, requests: found.requests()? }
            }
            Primitive::ChairAction => Self::ChairAction(found.one_request()?),
            Primitive::ChairActionAck => Self::ChairActionAck,
            Primitive::Hello => Self::Hello,
            Primitive::HelloAck => {
                let primitives = found.at_most_one("has two SUPPORTED-PRIMITIVES", |v| match v {
                    Value::SupportedPrimitives(list) => Some(list.clone()),
                    _ => None,
                })?;
                let attributes = found.at_most_one("has two SUPPORTED-ATTRIBUTES", |v| match v {
                    Value::SupportedAttributes(list) => Some(list.clone()),
                    _ => None,
                })?;
                Self::HelloAck {
                    primitives: found.need("lacks SUPPORTED-PRIMITIVES", primitives)?,
                    attributes: found.need("lacks SUPPORTED-ATTRIBUTES", attributes)?,
                }
            }
            Primitive::Error => {
                let code = found.at_most_one("has two ERROR-CODE", |v| match v {
                    Value::ErrorCode { code, details } => Some((*code, details.clone())),
                    _ => None,
                })?;
                let (code, details) = found.need("lacks ERROR-CODE", code)?;
                let information = found.at_most_one("has two ERROR-INFO", |v| match v {
                    Value::ErrorInfo(text) => Some(text.clone()),
                    _ => None,
                })?;
                Self::Error { code, details, information }
            }
            Primitive::FloorRequestStatusAck => Self::FloorRequestStatusAck,
            Primitive::FloorStatusAck => Self::FloorStatusAck,
            Primitive::Goodbye => Self::Goodbye,
            Primitive::GoodbyeAck => Self::GoodbyeAck,
            other => return Err(Error::Primitive(other)),
        })
    }

    /// The primitive of such a message.
    pub fn primitive(&self) -> Primitive {
        match self {
            Self::FloorRequest { .. } => Primitive::FloorRequest,
            Self::FloorRelease { .. } => Primitive::FloorRelease,
            Self::FloorRequestQuery { .. } => Primitive::FloorRequestQuery,
            Self::FloorRequestStatus(_) => Primitive::FloorRequestStatus,
            Self::UserQuery { .. } => Primitive::UserQuery,
            Self::UserStatus { .. } => Primitive::UserStatus,
            Self::FloorQuery { .. } => Primitive::FloorQuery,
            Self::FloorStatus { .. } => Primitive::FloorStatus,
            Self::ChairAction(_) => Primitive::ChairAction,
            Self::ChairActionAck => Primitive::ChairActionAck,
            Self::Hello => Primitive::Hello,
            Self::HelloAck { .. } => Primitive::HelloAck,
            Self::Error { .. } => Primitive::Error,
            Self::FloorRequestStatusAck => Primitive::FloorRequestStatusAck,
            Self::FloorStatusAck => Primitive::FloorStatusAck,
            Self::Goodbye => Primitive::Goodbye,
            Self::GoodbyeAck => Primitive::GoodbyeAck,
        }
    }

    /// The error that answers a message which is wrong.
    pub fn refusal(error: &Error) -> Self {
        let details = match error {
            Error::Mandatory(kinds) => kinds.iter().map(|kind| kind << 1).collect(),
            _ => Bytes::new(),
        };
        Self::Error { code: error.code(), details, information: Some(Text::fitting(&error.to_string())) }
    }

    /// The attributes that say it, in the order of §5.3.
    pub fn attributes(&self) -> Vec<Attribute> {
        let floors = |ids: &[u16], more: usize| {
            let mut out = Vec::with_capacity(ids.len() + more);
            out.extend(ids.iter().map(|id| Attribute::new(Value::FloorId(*id))));
            out
        };
        match self {
            Self::FloorRequest { floors: ids, beneficiary, information, priority } => {
                let mut out = floors(ids, 3);
                out.extend(beneficiary.map(|id| Value::BeneficiaryId(id).into()));
                out.extend(information.clone().map(|text| Value::ParticipantProvidedInfo(text).into()));
                out.extend(priority.map(|priority| Value::Priority(priority).into()));
                out
            }
            Self::FloorRelease { request } | Self::FloorRequestQuery { request } => {
                vec![Value::FloorRequestId(*request).into()]
            }
            Self::FloorRequestStatus(request) | Self::ChairAction(request) => vec![request.attribute()],
            Self::UserQuery { beneficiary } => {
                beneficiary.iter().map(|id| Value::BeneficiaryId(*id).into()).collect()
            }
            Self::UserStatus { beneficiary, requests } => {
                let mut out = Vec::with_capacity(requests.len() + 1);
                out.extend(beneficiary.as_ref().map(|b| Value::BeneficiaryInformation(b.group()).into()));
                out.extend(requests.iter().map(RequestInformation::attribute));
                out
            }
            Self::FloorQuery { floors: ids } => floors(ids, 0),
            Self::FloorStatus { floors: ids, requests } => {
                let mut out = floors(ids, requests.len());
                out.extend(requests.iter().map(RequestInformation::attribute));
                out
            }
            Self::HelloAck { primitives, attributes } => {
                let primitives = Value::SupportedPrimitives(primitives.clone());
                vec![primitives.into(), Value::SupportedAttributes(attributes.clone()).into()]
            }
            Self::Error { code, details, information } => {
                let mut out = vec![Value::ErrorCode { code: *code, details: details.clone() }.into()];
                out.extend(information.clone().map(|text| Value::ErrorInfo(text).into()));
                out
            }
            Self::ChairActionAck
            | Self::Hello
            | Self::FloorRequestStatusAck
            | Self::FloorStatusAck
            | Self::Goodbye
            | Self::GoodbyeAck => Vec::new(),
        }
    }
}

impl UserInformation {
    fn of(primitive: Primitive, group: &Group) -> Result<Self, Error> {
        let found = Found { primitive, attributes: &group.attributes };
        let display_name = found.at_most_one("has two USER-DISPLAY-NAME for one user", |v| match v {
            Value::UserDisplayName(text) => Some(text.clone()),
            _ => None,
        })?;
        let uri = found.at_most_one("has two USER-URI for one user", |v| match v {
            Value::UserUri(text) => Some(text.clone()),
            _ => None,
        })?;
        Ok(Self { id: group.id, display_name, uri })
    }

    /// Shortens the name, and drops the URI, until the group is one that can be said.
    pub fn fit(&mut self) {
        let mut room = ROOM;
        Text::fit(&mut self.display_name, &mut room, false);
        Text::fit(&mut self.uri, &mut room, true);
    }

    fn group(&self) -> Group {
        let mut attributes =
            Vec::with_capacity(usize::from(self.display_name.is_some()) + usize::from(self.uri.is_some()));
        attributes.extend(self.display_name.clone().map(|name| Value::UserDisplayName(name).into()));
        attributes.extend(self.uri.clone().map(|uri| Value::UserUri(uri).into()));
        Group::new(self.id, attributes)
    }
}

impl FloorState {
    fn of(primitive: Primitive, group: &Group) -> Result<Self, Error> {
        let found = Found { primitive, attributes: &group.attributes };
        let status = found.at_most_one("has two REQUEST-STATUS in one group", |v| match v {
            Value::RequestStatus(status) => Some(*status),
            _ => None,
        })?;
        let information = found.at_most_one("has two STATUS-INFO in one group", |v| match v {
            Value::StatusInfo(text) => Some(text.clone()),
            _ => None,
        })?;
        Ok(Self { id: group.id, status, information })
    }

    fn group(&self) -> Group {
        let mut attributes =
            Vec::with_capacity(usize::from(self.status.is_some()) + usize::from(self.information.is_some()));
        attributes.extend(self.status.map(|status| Value::RequestStatus(status).into()));
        attributes.extend(self.information.clone().map(|text| Value::StatusInfo(text).into()));
        Group::new(self.id, attributes)
    }
}

impl RequestInformation {
    fn of(primitive: Primitive, group: &Group) -> Result<Self, Error> {
        let found = Found { primitive, attributes: &group.attributes };
        let floors = found.all(|v| match v {
            Value::FloorRequestStatus(group) => Some(FloorState::of(primitive, group)),
            _ => None,
        });
        let floors: Vec<_> = floors.collect::<Result<_, _>>()?;
        if floors.is_empty() {
            return Err(Error::Content { primitive, what: "lacks FLOOR-REQUEST-STATUS in a request" });
        }
        let overall = found.at_most_one("has two OVERALL-REQUEST-STATUS in a request", |v| match v {
            Value::OverallRequestStatus(group) => Some(FloorState::of(primitive, group)),
            _ => None,
        })?;
        let requested_by =
            found.at_most_one("has two REQUESTED-BY-INFORMATION in a request", |v| match v {
                Value::RequestedByInformation(group) => Some(UserInformation::of(primitive, group)),
                _ => None,
            })?;
        Ok(Self {
            id: group.id,
            overall: overall.transpose()?,
            floors,
            beneficiary: found.beneficiary()?,
            requested_by: requested_by.transpose()?,
            priority: found.priority()?,
            provided: found.provided()?,
        })
    }

    /// Shortens and drops texts until the group is one that can be said: 255 octets with everything in it.
    /// Words about the status go first into the room, then names, what the participant said, and URIs, which
    /// are not cut. Numbers stay; with more than some thirty floors they alone are too many.
    pub fn fit(&mut self) {
        let user = |user: &Option<UserInformation>| usize::from(user.is_some()) * 4;
        let state = |state: &FloorState| 4 + usize::from(state.status.is_some()) * 4;
        let numbers = self.overall.as_ref().map_or(0, state)
            + self.floors.iter().map(state).sum::<usize>()
            + user(&self.beneficiary)
            + user(&self.requested_by)
            + usize::from(self.priority.is_some()) * 4;
        let mut room = ROOM.saturating_sub(numbers);
        for state in self.overall.iter_mut().chain(&mut self.floors) {
            Text::fit(&mut state.information, &mut room, false);
        }
        for user in self.beneficiary.iter_mut().chain(&mut self.requested_by) {
            Text::fit(&mut user.display_name, &mut room, false);
        }
        Text::fit(&mut self.provided, &mut room, false);
        for user in self.beneficiary.iter_mut().chain(&mut self.requested_by) {
            Text::fit(&mut user.uri, &mut room, true);
        }
    }

    fn attribute(&self) -> Attribute {
        let mut out = Vec::with_capacity(self.floors.len() + 5);
        out.extend(self.overall.as_ref().map(|o| Value::OverallRequestStatus(o.group()).into()));
        out.extend(self.floors.iter().map(|f| Attribute::new(Value::FloorRequestStatus(f.group()))));
        out.extend(self.beneficiary.as_ref().map(|b| Value::BeneficiaryInformation(b.group()).into()));
        out.extend(self.requested_by.as_ref().map(|b| Value::RequestedByInformation(b.group()).into()));
        out.extend(self.priority.map(|priority| Value::Priority(priority).into()));
        out.extend(self.provided.clone().map(|text| Value::ParticipantProvidedInfo(text).into()));
        Value::FloorRequestInformation(Group::new(self.id, out)).into()
    }
}

/// The attributes of a message or group, asked by what they are.
struct Found<'a> {
    primitive: Primitive,
    attributes: &'a [Attribute],
}

impl Found<'_> {
    fn all<T>(&self, pick: impl Fn(&Value) -> Option<T>) -> impl Iterator<Item = T> {
        self.attributes.iter().filter_map(move |attribute| pick(&attribute.value))
    }

    fn at_most_one<T>(
        &self,
        two: &'static str,
        pick: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut all = self.all(pick);
        let first = all.next();
        match all.next() {
            Some(_) => Err(Error::Content { primitive: self.primitive, what: two }),
            None => Ok(first),
        }
    }

    fn need<T>(&self, what: &'static str, value: Option<T>) -> Result<T, Error> {
        value.ok_or(Error::Content { primitive: self.primitive, what })
    }

    fn floors(&self, needed: bool) -> Result<Vec<u16>, Error> {
        let floors: Vec<u16> =
            self.all(|v| if let Value::FloorId(id) = v { Some(*id) } else { None }).collect();
        match floors.is_empty() && needed {
            true => Err(Error::Content { primitive: self.primitive, what: "lacks FLOOR-ID" }),
            false => Ok(floors),
        }
    }

    fn beneficiary_id(&self) -> Result<Option<u16>, Error> {
        self.at_most_one("has two BENEFICIARY-ID", |v| match v {
            Value::BeneficiaryId(id) => Some(*id),
            _ => None,
        })
    }

    fn request_id(&self) -> Result<u16, Error> {
        let id = self.at_most_one("has two FLOOR-REQUEST-ID", |v| match v {
            Value::FloorRequestId(id) => Some(*id),
            _ => None,
        })?;
        self.need("lacks FLOOR-REQUEST-ID", id)
    }

    fn priority(&self) -> Result<Option<Priority>, Error> {
        self.at_most_one("has two PRIORITY", |v| match v {
            Value::Priority(priority) => Some(*priority),
            _ => None,
        })
    }

    fn provided(&self) -> Result<Option<Text>, Error> {
        self.at_most_one("has two PARTICIPANT-PROVIDED-INFO", |v| match v {
            Value::ParticipantProvidedInfo(text) => Some(text.clone()),
            _ => None,
        })
    }

    fn beneficiary(&self) -> Result<Option<UserInformation>, Error> {
        let user = self.at_most_one("has two BENEFICIARY-INFORMATION", |v| match v {
            Value::BeneficiaryInformation(group) => Some(UserInformation::of(self.primitive, group)),
            _ => None,
        })?;
        user.transpose()
    }

    fn requests(&self) -> Result<Vec<RequestInformation>, Error> {
        let requests = self.all(|v| match v {
            Value::FloorRequestInformation(group) => Some(RequestInformation::of(self.primitive, group)),
            _ => None,
        });
        requests.collect()
    }

    fn one_request(&self) -> Result<RequestInformation, Error> {
        let group = self.at_most_one("has two FLOOR-REQUEST-INFORMATION", |v| match v {
            Value::FloorRequestInformation(group) => Some(RequestInformation::of(self.primitive, group)),
            _ => None,
        })?;
        self.need("lacks FLOOR-REQUEST-INFORMATION", group)?
    }
}
