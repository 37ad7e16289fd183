//! Request methods, known and unknown.

use std::fmt;

macro_rules! methods {
    ($($name:ident = $text:literal, $doc:literal;)*) => {
        /// A request method. Methods are case-sensitive (RFC 3261 §7.1); one that is not in the
        /// list is `Other` and passes through.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Method {
            $(#[doc = $doc] $name,)*
            /// A method this crate has no name for.
            Other(Box<str>),
        }

        impl Method {
            /// The method written as `text`, which the caller knows to be a token.
            pub(crate) fn of_token(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)*
                    other => Self::Other(other.into()),
                }
            }

            /// The method as it is written.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(text) => text,
                }
            }
        }
    };
}

methods! {
    Invite = "INVITE", "RFC 3261 §13.";
    Ack = "ACK", "RFC 3261 §13, §17.";
    Bye = "BYE", "RFC 3261 §15.";
    Cancel = "CANCEL", "RFC 3261 §9.";
    Register = "REGISTER", "RFC 3261 §10.";
    Options = "OPTIONS", "RFC 3261 §11.";
    Prack = "PRACK", "RFC 3262.";
    Update = "UPDATE", "RFC 3311.";
    Info = "INFO", "RFC 6086.";
    Message = "MESSAGE", "RFC 3428.";
    Subscribe = "SUBSCRIBE", "RFC 6665.";
    Notify = "NOTIFY", "RFC 6665.";
    Publish = "PUBLISH", "RFC 3903.";
    Refer = "REFER", "RFC 3515.";
}

impl Method {
    /// The method written as `text`; `None` if `text` is not a token.
    pub fn parse(text: &str) -> Option<Self> {
        crate::grammar::is_token(text).then(|| Self::of_token(text))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for Method {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Method {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}
