//! The registered numbers (RFC 8855 §15) and their names.

use std::fmt;

/// Declares a number of one octet with names for some values; the rest stays a number.
macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u8);

        #[allow(non_upper_case_globals, reason = "the names of the specification")]
        impl $name {
            $($(#[$vdoc])* pub const $variant: Self = Self($value);)*

            /// All that are registered, in order.
            pub const ALL: &'static [Self] = &[$(Self($value)),*];

            /// The registered name.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }
    };
}

numbers! {
    /// The purpose of a message (§5.1, table 1). 14 to 17 came with version 2.
    Primitive {
        /// A participant asks for floors.
        FloorRequest = 1, "FloorRequest";
        /// A participant gives back, or asks no more.
        FloorRelease = 2, "FloorRelease";
        /// What became of a request?
        FloorRequestQuery = 3, "FloorRequestQuery";
        /// What became of a request.
        FloorRequestStatus = 4, "FloorRequestStatus";
        /// What does a user ask for?
        UserQuery = 5, "UserQuery";
        /// What a user asks for.
        UserStatus = 6, "UserStatus";
        /// Who has, and who wants, these floors? Also from now on.
        FloorQuery = 7, "FloorQuery";
        /// Who has, and who wants, a floor.
        FloorStatus = 8, "FloorStatus";
        /// A chair decides.
        ChairAction = 9, "ChairAction";
        /// The decision was heard.
        ChairActionAck = 10, "ChairActionAck";
        /// Is the server there, and what can it do?
        Hello = 11, "Hello";
        /// It is.
        HelloAck = 12, "HelloAck";
        /// A request was wrong.
        Error = 13, "Error";
        /// Over datagrams: FloorRequestStatus arrived.
        FloorRequestStatusAck = 14, "FloorRequestStatusAck";
        /// Over datagrams: FloorStatus arrived.
        FloorStatusAck = 15, "FloorStatusAck";
        /// Over datagrams: the end.
        Goodbye = 16, "Goodbye";
        /// Over datagrams: the end was heard.
        GoodbyeAck = 17, "GoodbyeAck";
    }
}

numbers! {
    /// What became of a floor request (§5.2.5, table 4).
    Status {
        /// A chair has to decide.
        Pending = 1, "Pending";
        /// It waits in the queue.
        Accepted = 2, "Accepted";
        /// The user has the floor.
        Granted = 3, "Granted";
        /// The chair said no.
        Denied = 4, "Denied";
        /// The user withdrew it.
        Cancelled = 5, "Cancelled";
        /// The user gave the floor back.
        Released = 6, "Released";
        /// The floor was taken away.
        Revoked = 7, "Revoked";
    }
}

impl Status {
    /// Whether nothing more comes of the request (§4.1, figure 3).
    pub fn is_final(self) -> bool {
        matches!(self, Self::Denied | Self::Cancelled | Self::Released | Self::Revoked)
    }
}

numbers! {
    /// What is wrong with a request (§5.2.6, table 5). 10 to 14 came with RFC 8855.
    ErrorCode {
        /// 1
        ConferenceDoesNotExist = 1, "Conference Does Not Exist";
        /// 2
        UserDoesNotExist = 2, "User Does Not Exist";
        /// 3
        UnknownPrimitive = 3, "Unknown Primitive";
        /// 4, with the types of the attributes
        UnknownMandatoryAttribute = 4, "Unknown Mandatory Attribute";
        /// 5
        UnauthorizedOperation = 5, "Unauthorized Operation";
        /// 6
        InvalidFloorId = 6, "Invalid Floor ID";
        /// 7
        FloorRequestIdDoesNotExist = 7, "Floor Request ID Does Not Exist";
        /// 8
        TooManyRequests = 8, "You have Already Reached the Maximum Number of Ongoing Floor Requests for This Floor";
        /// 9
        UseTls = 9, "Use TLS";
        /// 10
        UnableToParse = 10, "Unable to Parse Message";
        /// 11
        UseDtls = 11, "Use DTLS";
        /// 12
        UnsupportedVersion = 12, "Unsupported Version";
        /// 13
        IncorrectLength = 13, "Incorrect Message Length";
        /// 14
        Generic = 14, "Generic Error";
    }
}

/// The name of an attribute type (§5.2, table 2).
pub fn attribute_name(kind: u8) -> Option<&'static str> {
    const NAMES: [&str; 18] = [
        "BENEFICIARY-ID",
        "FLOOR-ID",
        "FLOOR-REQUEST-ID",
        "PRIORITY",
        "REQUEST-STATUS",
        "ERROR-CODE",
        "ERROR-INFO",
        "PARTICIPANT-PROVIDED-INFO",
        "STATUS-INFO",
        "SUPPORTED-ATTRIBUTES",
        "SUPPORTED-PRIMITIVES",
        "USER-DISPLAY-NAME",
        "USER-URI",
        "BENEFICIARY-INFORMATION",
        "FLOOR-REQUEST-INFORMATION",
        "REQUESTED-BY-INFORMATION",
        "FLOOR-REQUEST-STATUS",
        "OVERALL-REQUEST-STATUS",
    ];
    NAMES.get(usize::from(kind).checked_sub(1)?).copied()
}

/// How urgent a request is (§5.2.4, table 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// 0
    Lowest,
    /// 1
    Low,
    /// 2, also when nothing is said.
    #[default]
    Normal,
    /// 3
    High,
    /// 4
    Highest,
}

impl Priority {
    /// From the three bits; what is above 4 is 4.
    pub fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Lowest,
            1 => Self::Low,
            2 => Self::Normal,
            3 => Self::High,
            _ => Self::Highest,
        }
    }

    /// The three bits.
    pub fn bits(self) -> u8 {
        self as u8
    }
}

/// REQUEST-STATUS (§5.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestStatus {
    /// What became of the request.
    pub status: Status,
    /// Place in the queue from 1; 0 when it is not in one, or nobody is to know.
    pub queue_position: u8,
}

impl RequestStatus {
    /// A status without a place in a queue.
    pub fn new(status: Status) -> Self {
        Self { status, queue_position: 0 }
    }
}
