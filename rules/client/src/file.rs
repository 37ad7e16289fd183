//! The file of a file transfer in offer and answer.
//!
//! RFC 5547 §6 and §8: `file-selector`, `file-transfer-id`, `file-disposition`, `file-range`; how they
//! are written is [`carnet_msrp::file`]'s. Left out: `file-date`, `file-icon`, pulling a file by its
//! description, and more than one file a call.

use carnet_msrp::file::{Description, Hash, Range, Selector};
use carnet_sdp::{Media, MediaBuilder};

use crate::refusal::Refusal;

/// A file as its sender describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileOffer {
    /// Name, UTF-8, as the sender wrote it; empty if it gave none. **Not** safe as a path.
    pub name: String,
    /// Media type, as `image/jpeg`; empty if the sender gave none.
    pub content_type: String,
    /// Size of the whole file in octets.
    pub size: Option<u64>,
    /// SHA-1 of the whole file, the only hash RFC 5547 has. It finds accidents; against attackers
    /// the seal stands.
    pub sha1: Option<[u8; 20]>,
    /// Names this transfer, so that a repeated description is not a second file (§8.1).
    pub transfer_id: String,
    /// First octet to be sent, counted from 0. Above 0 when a broken transfer goes on.
    pub start: u64,
    /// Whether the sender itself said where to begin. Then the receiver takes it so or not at all
    /// (§8.3.1); else it may say how much it has already.
    pub ranged: bool,
}

/// Which half of the negotiation a description goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The sender's offer.
    Sender,
    /// The receiver's answer.
    Receiver,
}

impl FileOffer {
    /// Adds the attributes to a line.
    pub(crate) fn describe(&self, media: MediaBuilder, side: Side) -> Result<MediaBuilder, Refusal> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (name, content_type) = (text(&self.name), text(&self.content_type));
        let selector =
            Selector::new(name.as_deref(), content_type.as_deref(), self.size, self.sha1.map(Hash))
                .map_err(|error| Refusal::Malformed(format!("a file that cannot be described: {error}")))?;
        let description = Description {
            selector: Some(selector),
            transfer_id: text(&self.transfer_id),
            // RFC 5547 §8.3.1: not in the answer.
            disposition: (side == Side::Sender).then(|| "attachment".to_owned()),
            // Without a range it is the whole file.
            range: (self.ranged || self.start > 0).then(|| Range::rest(self.start, self.size)),
            ..Description::default()
        };
        let media = media.flag(match side {
            Side::Sender => "sendonly",
            Side::Receiver => "recvonly",
        });
        let attributes = description.attributes().into_iter();
        Ok(attributes.fold(media, |media, (name, value)| media.attribute(name, &value)))
    }

    /// Reads the file of a media line; `None` if it is about none.
    ///
    /// # Errors
    /// A description that cannot be read is no invitation to chat, so it is refused; so is a part of a
    /// file that does not go to its end.
    pub(crate) fn read(media: &Media<'_>) -> Result<Option<Self>, Refusal> {
        let mut values = Vec::new();
        for attribute in media.attributes() {
            let Ok(name) = std::str::from_utf8(attribute.name) else { continue };
            if !name.starts_with("file-") {
                continue;
            }
            let value = match attribute.value {
                None => "",
                Some(_) => attribute.text().ok_or_else(|| Refusal::Malformed(format!("a={name}")))?,
            };
            values.push((name, value));
        }
        let description = Description::read(values)
            .map_err(|(name, error)| Refusal::Malformed(format!("a={name}: {error}")))?;
        let Some(selector) = description.selector else { return Ok(None) };
        let range = description.range;
        if let (Some(end), Some(size)) = (range.and_then(|range| range.end), selector.size())
            && end != size
        {
            return Err(Refusal::NoMedia);
        }
        Ok(Some(Self {
            name: selector.name().unwrap_or_default().to_owned(),
            content_type: selector.media_type().unwrap_or_default().to_owned(),
            size: selector.size(),
            sha1: selector.hash().map(|hash| hash.0),
            transfer_id: description.transfer_id.unwrap_or_default(),
            start: range.map_or(0, |range| range.start - 1),
            ranged: range.is_some(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_sdp::{Document, Limits, SessionBuilder};

    fn read(attributes: &str) -> Result<Option<FileOffer>, Refusal> {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=message 7654 TCP/MSRP *\r\n{attributes}"
        );
        let document = Document::parse(text.into_bytes().into(), &Limits::default()).unwrap();
        FileOffer::read(&document.media_at(0).unwrap())
    }

    fn line(file: &FileOffer, side: Side) -> Document {
        let media = file.describe(MediaBuilder::new("message", 7654, "TCP/MSRP", "*"), side).unwrap();
        SessionBuilder::new(1, 1, [192, 0, 2, 1].into()).media(media).build().unwrap()
    }

    const FIGURE: &str = "a=sendonly\r\na=file-selector:name:\"My cool picture.jpg\" type:image/jpeg size:32349 \
         hash:sha-1:72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E\r\n\
         a=file-transfer-id:vBnG916bdberum2fFEABR1FR3ExZMUrd\r\na=file-disposition:attachment\r\n\
         a=file-range:1-32349\r\n";

    #[test]
    fn the_file_of_rfc_5547_figure_2() {
        let file = read(FIGURE).unwrap().unwrap();
        assert_eq!(file.name, "My cool picture.jpg");
        assert_eq!((file.content_type.as_str(), file.size, file.start), ("image/jpeg", Some(32349), 0));
        assert_eq!(file.sha1.unwrap()[..3], [0x72, 0x24, 0x5f]);
        assert!(file.ranged);
        let document = line(&file, Side::Sender);
        assert_eq!(FileOffer::read(&document.media_at(0).unwrap()), Ok(Some(file)));
    }

    // RFC 5547 §8.3.1: the answer repeats selector, identifier and range, and has no disposition.
    #[test]
    fn the_answer_of_the_receiver() {
        let answer = line(&read(FIGURE).unwrap().unwrap(), Side::Receiver).to_bytes();
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        let expected =
            FIGURE.replace("sendonly", "recvonly").replace("a=file-disposition:attachment\r\n", "");
        assert!(answer.ends_with(&expected), "{answer}");
    }

    #[test]
    fn a_range_is_only_said_where_it_says_something() {
        let whole = FileOffer { name: "a".into(), size: Some(7), ..FileOffer::default() };
        let has_range = |file: &FileOffer, side| {
            line(file, side)
                .media_at(0)
                .unwrap()
                .attribute("file-range")
                .map(|range| range.text().unwrap().to_owned())
        };
        assert_eq!(has_range(&whole, Side::Sender), None);
        let rest = FileOffer { start: 3, ..whole.clone() };
        assert_eq!(has_range(&rest, Side::Receiver).as_deref(), Some("4-7"));
        let unknown = FileOffer { start: 3, size: None, ..whole };
        assert_eq!(has_range(&unknown, Side::Receiver).as_deref(), Some("4-*"));
    }

    #[test]
    fn a_name_cannot_end_the_quoted_string_or_the_line() {
        let file = FileOffer { name: "a\"b%\r\nm=x".into(), ..FileOffer::default() };
        let document = line(&file, Side::Sender);
        assert_eq!(document.media().len(), 1);
        assert_eq!(FileOffer::read(&document.media_at(0).unwrap()).unwrap().unwrap().name, file.name);
    }

    #[test]
    fn a_file_needs_no_name_and_a_chat_no_file() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("a=file-selector\r\n"), Ok(None), "a question whether files are understood");
        let file = read("a=file-selector:size:12\r\n").unwrap().unwrap();
        assert_eq!((file.name.as_str(), file.size), ("", Some(12)));
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_a_chat() {
        for attributes in [
            "a=file-selector:name:\"a\r\n",
            "a=file-selector:name:\"a\" size:x\r\n",
            "a=file-selector:name:\"a\"\r\na=file-range:0-5\r\n",
        ] {
            assert!(matches!(read(attributes), Err(Refusal::Malformed(_))), "{attributes}");
        }
        // A part that does not go to the end.
        assert_eq!(read("a=file-selector:size:12\r\na=file-range:1-5\r\n"), Err(Refusal::NoMedia));
    }
}
