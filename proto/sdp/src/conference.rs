//! The attributes of a conference's lines: floor control and chat rooms, as values.
//!
//! RFC 8856 §5 (`floorctrl`, `confid`, `userid`, `floorid`, `bfcpver`; `m-stream` of RFC 4583's example is
//! read as `mstrm`), RFC 4145 §5 (`connection`), RFC 4574 (`label`), RFC 7701 §8 (`chatroom`). A value that
//! its grammar does not allow reads as if it were not there; the document keeps it as it came.

use std::fmt;
use std::str::FromStr;

use crate::attribute::Attribute;
use crate::{Media, MediaBuilder};

/// `a=floorctrl` (RFC 8856 §5.1): the parts that an endpoint would play, or, in an answer, plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FloorControl {
    /// `c-only`: floor control client.
    pub client: bool,
    /// `s-only`: floor control server.
    pub server: bool,
}

impl FloorControl {
    /// Client only.
    pub const CLIENT: Self = Self { client: true, server: false };
    /// Server only.
    pub const SERVER: Self = Self { client: false, server: true };

    /// The part of whoever answers an offer that says this; `server` is preferred where the offer leaves
    /// the choice (RFC 8856 §5.1, Table 1).
    #[must_use]
    pub fn answer(self) -> Self {
        if self.client { Self::SERVER } else { Self::CLIENT }
    }
}

impl FromStr for FloorControl {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let mut both = Self { client: false, server: false };
        for word in s.split_ascii_whitespace() {
            match word {
                _ if word.eq_ignore_ascii_case("c-only") => both.client = true,
                _ if word.eq_ignore_ascii_case("s-only") => both.server = true,
                // RFC 8856 §5.1: the same as both of the others.
                _ if word.eq_ignore_ascii_case("c-s") => both = Self { client: true, server: true },
                _ => {}
            }
        }
        if both.client || both.server { Ok(both) } else { Err(()) }
    }
}

impl fmt::Display for FloorControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.client, self.server) {
            (true, true) => "c-only s-only",
            (false, true) => "s-only",
            _ => "c-only",
        })
    }
}

/// `a=floorid` (RFC 8856 §5.4): a floor and the streams it is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FloorId<'a> {
    /// The floor.
    pub floor: u16,
    /// `a=label` of each stream; may be empty, as RFC 4583 allowed.
    pub streams: Vec<&'a str>,
}

impl<'a> FloorId<'a> {
    /// Reads a value; `None` if it is none.
    pub fn parse(value: &'a str) -> Option<Self> {
        let (floor, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        let mut words = rest.split_ascii_whitespace();
        let mut streams = Vec::new();
        if let Some(first) = words.next() {
            let (name, label) = first.split_once(':')?;
            if !["mstrm", "m-stream"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
                return None;
            }
            streams.extend(Some(label).filter(|label| !label.is_empty()).into_iter().chain(words));
        }
        Some(Self { floor: number(floor)?, streams })
    }
}

impl fmt::Display for FloorId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.floor)?;
        if self.streams.is_empty() { Ok(()) } else { write!(f, " mstrm:{}", self.streams.join(" ")) }
    }
}

/// `a=connection` (RFC 4145 §5): whether a TCP connection that is up is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reuse {
    /// `new`: another connection is to be made.
    #[default]
    New,
    /// `existing`: the one that is up stays.
    Existing,
}

impl Reuse {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Existing => "existing",
        }
    }
}

/// `a=chatroom` (RFC 7701 §8): what an end of a chat room's session can and may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Chatroom<'a> {
    value: &'a str,
}

impl<'a> Chatroom<'a> {
    fn lists(&self, token: &str) -> bool {
        self.tokens().any(|word| word.eq_ignore_ascii_case(token))
    }

    /// Whether nicknames can be had.
    pub fn nickname(&self) -> bool {
        self.lists("nickname")
    }

    /// Whether messages to one member can be sent.
    pub fn private_messages(&self) -> bool {
        self.lists("private-messages")
    }

    /// Every token, also those that are not defined.
    pub fn tokens(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.value.split_ascii_whitespace()
    }

    fn parse(attribute: Attribute<'a>) -> Self {
        Self { value: attribute.text().unwrap_or_default() }
    }
}

impl<'a> Media<'a> {
    fn own_text(&self, name: &str) -> Option<&'a str> {
        self.attribute(name)?.text()
    }

    /// `a=floorctrl`; `None` if it is not there or names no part (RFC 8856 §5.1: then the offerer is the
    /// client).
    pub fn floor_control(&self) -> Option<FloorControl> {
        self.own_text("floorctrl")?.parse().ok()
    }

    /// `a=confid` (RFC 8856 §5.2).
    pub fn conference_id(&self) -> Option<u32> {
        number(self.own_text("confid")?)
    }

    /// `a=userid` (RFC 8856 §5.3).
    pub fn user_id(&self) -> Option<u16> {
        number(self.own_text("userid")?)
    }

    /// Every `a=floorid` that can be read (RFC 8856 §5.4).
    pub fn floor_ids(&self) -> impl Iterator<Item = FloorId<'a>> + use<'a> {
        let named = self.attributes().filter(|attribute| attribute.name == b"floorid");
        named.filter_map(|attribute| FloorId::parse(attribute.text()?))
    }

    /// `a=bfcpver` (RFC 8856 §5.5), or what its absence means for the transport of the line.
    pub fn bfcp_versions(&self) -> Vec<u8> {
        let said = self.own_text("bfcpver").unwrap_or_default();
        let said: Vec<u8> = said.split_ascii_whitespace().filter_map(number).collect();
        let reliable = self.proto().get(..3).is_some_and(|transport| transport.eq_ignore_ascii_case("TCP"));
        match (said.is_empty(), reliable) {
            (false, _) => said,
            (true, true) => vec![1],
            (true, false) => vec![2],
        }
    }

    /// `a=connection` (RFC 4145 §5); without it, or with another word, `new`.
    pub fn reuse(&self) -> Reuse {
        self.reuse_said().unwrap_or_default()
    }

    /// `a=connection` if it is there. One with another word is not.
    pub fn reuse_said(&self) -> Option<Reuse> {
        let word = self.own_text("connection")?;
        [Reuse::New, Reuse::Existing].into_iter().find(|reuse| word.eq_ignore_ascii_case(reuse.as_str()))
    }

    /// `a=label` (RFC 4574): the name by which others speak of this line.
    pub fn label(&self) -> Option<&'a str> {
        self.own_text("label")
    }

    /// `a=chatroom` (RFC 7701 §8).
    pub fn chatroom(&self) -> Option<Chatroom<'a>> {
        self.attribute("chatroom").map(Chatroom::parse)
    }
}

impl MediaBuilder {
    /// `a=floorctrl`
    #[must_use]
    pub fn floor_control(self, control: FloorControl) -> Self {
        self.attribute("floorctrl", &control.to_string())
    }

    /// `a=confid`
    #[must_use]
    pub fn conference_id(self, conference: u32) -> Self {
        self.attribute("confid", &conference.to_string())
    }

    /// `a=userid`
    #[must_use]
    pub fn user_id(self, user: u16) -> Self {
        self.attribute("userid", &user.to_string())
    }

    /// `a=floorid`
    #[must_use]
    pub fn floor_id(self, floor: &FloorId<'_>) -> Self {
        self.attribute("floorid", &floor.to_string())
    }

    /// `a=connection`. MSRP has none (RFC 6135 §4.4).
    #[must_use]
    pub fn reuse(self, reuse: Reuse) -> Self {
        self.attribute("connection", reuse.as_str())
    }

    /// `a=label`
    #[must_use]
    pub fn label(self, label: &str) -> Self {
        self.attribute("label", label)
    }

    /// `a=chatroom` with the tokens that are defined.
    #[must_use]
    pub fn chatroom(self, nickname: bool, private_messages: bool) -> Self {
        match (nickname, private_messages) {
            (true, true) => self.attribute("chatroom", "nickname private-messages"),
            (true, false) => self.attribute("chatroom", "nickname"),
            (false, true) => self.attribute("chatroom", "private-messages"),
            (false, false) => self.flag("chatroom"),
        }
    }
}

/// `1*DIGIT` that fits: no sign, which `FromStr` would take.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, Limits, SessionBuilder};

    fn document(attributes: &str) -> Document {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=application 50000 TCP/TLS/BFCP *\r\n{attributes}"
        );
        Document::parse(text.into_bytes().into(), &Limits::default()).unwrap()
    }

    // RFC 8856 §11, the answer of the first example.
    const ANSWER: &str = "a=setup:active\r\na=connection:new\r\na=floorctrl:s-only\r\na=confid:4321\r\n\
         a=userid:1234\r\na=floorid:1 mstrm:10\r\na=floorid:2 mstrm:11\r\na=bfcpver:1\r\n";

    #[test]
    fn the_answer_of_rfc_8856() {
        let document = document(ANSWER);
        let line = document.media_at(0).unwrap();
        assert_eq!(line.floor_control(), Some(FloorControl::SERVER));
        assert_eq!((line.conference_id(), line.user_id()), (Some(4321), Some(1234)));
        let floors: Vec<_> = line.floor_ids().collect();
        assert_eq!(
            floors,
            [FloorId { floor: 1, streams: vec!["10"] }, FloorId { floor: 2, streams: vec!["11"] }]
        );
        assert_eq!((line.reuse(), line.bfcp_versions()), (Reuse::New, vec![1]));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let line = MediaBuilder::new("application", 50000, "TCP/TLS/BFCP", "*")
            .setup(crate::Setup::Active)
            .reuse(Reuse::New)
            .floor_control(FloorControl::SERVER)
            .conference_id(4321)
            .user_id(1234)
            .floor_id(&FloorId { floor: 1, streams: vec!["10"] })
            .floor_id(&FloorId { floor: 2, streams: vec!["11"] })
            .attribute("bfcpver", "1");
        let built = SessionBuilder::new(1, 1, [192, 0, 2, 1].into()).media(line).build().unwrap().to_bytes();
        assert!(String::from_utf8(built.to_vec()).unwrap().ends_with(ANSWER));
    }

    #[test]
    fn parts_of_floor_control() {
        let part =
            |value: &str| document(&format!("a=floorctrl:{value}\r\n")).media_at(0).unwrap().floor_control();
        let both = FloorControl { client: true, server: true };
        for (value, expected) in [
            ("c-only", Some(FloorControl::CLIENT)),
            ("S-ONLY", Some(FloorControl::SERVER)),
            ("c-only s-only", Some(both)),
            ("s-only c-only", Some(both)),
            ("c-s", Some(both)),
            ("c-only new-role", Some(FloorControl::CLIENT)),
            ("chair", None),
            ("", None),
        ] {
            assert_eq!(part(value), expected, "{value}");
        }
        assert_eq!(document("").media_at(0).unwrap().floor_control(), None);
        assert_eq!(
            (FloorControl::CLIENT.answer(), FloorControl::SERVER.answer()),
            (FloorControl::SERVER, FloorControl::CLIENT)
        );
    }

    #[test]
    fn floors_that_can_be_read_are_read_and_the_others_kept() {
        let text = "a=floorid:1 mstrm:10 11\r\na=floorid:2 m-stream:12\r\na=floorid:3\r\na=floorid:4 stream:1\r\n\
             a=floorid:65536 mstrm:1\r\na=floorid:+5 mstrm:1\r\na=floorid:-1 mstrm:1\r\na=floorid\r\n";
        let document = document(text);
        let floors: Vec<_> = document.media_at(0).unwrap().floor_ids().collect();
        let read: Vec<_> = floors.iter().map(|floor| (floor.floor, floor.streams.join(","))).collect();
        assert_eq!(read, [(1, "10,11".to_owned()), (2, "12".to_owned()), (3, String::new())]);
        assert!(document.to_bytes().ends_with(text.as_bytes()));
    }

    #[test]
    fn numbers_that_do_not_fit_are_none() {
        let document =
            document("a=confid:4294967296\r\na=userid:65536\r\na=bfcpver:x\r\na=connection:old\r\n");
        let line = document.media_at(0).unwrap();
        assert_eq!((line.conference_id(), line.user_id()), (None, None));
        assert_eq!((line.bfcp_versions(), line.reuse()), (vec![1], Reuse::New));
    }

    // RFC 7701 §8 with its own examples.
    #[test]
    fn what_a_chat_room_can() {
        let read = |text: &str| {
            let document = document(text);
            document
                .media_at(0)
                .unwrap()
                .chatroom()
                .map(|room| (room.nickname(), room.private_messages(), room.tokens().count()))
        };
        assert_eq!(read("a=chatroom:nickname private-messages\r\n"), Some((true, true, 2)));
        assert_eq!(read("a=chatroom\r\n"), Some((false, false, 0)));
        assert_eq!(
            read("a=chatroom:nickname private-messages com.example.chat.foo\r\n"),
            Some((true, true, 3))
        );
        assert_eq!(read(""), None);
        let line = |nickname, private| {
            let line = MediaBuilder::new("message", 1, "TCP/MSRP", "*").chatroom(nickname, private);
            let built = SessionBuilder::new(1, 1, [192, 0, 2, 1].into()).media(line).build().unwrap();
            let room = built.media_at(0).unwrap();
            let room = room.chatroom().unwrap();
            (room.nickname(), room.private_messages())
        };
        for both in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(line(both.0, both.1), both);
        }
    }
}
