//! The file of a file transfer in offer and answer.
//!
//! RFC 5547 §6: `file-selector`, `file-transfer-id`, `file-disposition`, `file-range`. Left out:
//! `file-date`, `file-icon`, and pulling a file by its description.

use carnet_sdp::{FileSelector, Media, MediaBuilder};

/// A file as its sender describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileOffer {
    /// Name, UTF-8, as the sender wrote it. **Not** safe as a path.
    pub name: String,
    /// Media type, as `image/jpeg`.
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
}

impl FileOffer {
    /// Adds the attributes of an offer or answer. `direction` is `sendonly` or `recvonly`.
    pub(crate) fn describe(&self, media: MediaBuilder, direction: &str) -> MediaBuilder {
        let selector = FileSelector {
            name: Some(self.name.clone()),
            mime: (!self.content_type.is_empty()).then(|| self.content_type.clone()),
            size: self.size,
            hashes: self.sha1.iter().map(|sha1| ("sha-1".to_owned(), colons(sha1))).collect(),
        };
        let first = self.start.saturating_add(1);
        // RFC 5547 §6: ranges count from 1 and hold their last octet. An empty file has none.
        let range = match self.size {
            Some(size) if size >= first => format!("{first}-{size}"),
            _ => format!("{first}-*"),
        };
        media
            .flag(direction)
            .attribute("file-selector", &selector.to_string())
            .attribute("file-transfer-id", &self.transfer_id)
            .attribute("file-disposition", "attachment")
            .attribute("file-range", &range)
    }

    /// Reads the file of a media line; `None` if it has no selector with a name.
    pub(crate) fn read(media: &Media<'_>) -> Option<Self> {
        let selector = media.file_selector()?;
        let text = |name| media.attribute(name).and_then(|attribute| attribute.text());
        let start = match text("file-range").and_then(|range| range.split_once('-')) {
            Some((first, _)) => first.trim().parse::<u64>().ok()?.checked_sub(1)?,
            None => 0,
        };
        let sha1 = selector.hashes.iter().find(|(name, _)| name.eq_ignore_ascii_case("sha-1"));
        Some(Self {
            name: selector.name?,
            content_type: selector.mime.unwrap_or_default(),
            size: selector.size,
            sha1: sha1.and_then(|(_, hash)| octets(hash)),
            transfer_id: text("file-transfer-id").unwrap_or_default().to_owned(),
            start,
        })
    }
}

/// RFC 5547 §6: pairs of hexadecimal digits, capital, separated by colons.
fn colons(hash: &[u8]) -> String {
    let pairs: Vec<String> = hash.iter().map(|octet| format!("{octet:02X}")).collect();
    pairs.join(":")
}

fn octets(hash: &str) -> Option<[u8; 20]> {
    let digits: Vec<u8> = hash.bytes().filter(|octet| *octet != b':').collect();
    carnet_wire::hex::decode(&digits).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_sdp::{Document, Limits, SessionBuilder};

    fn read(attributes: &str) -> Option<FileOffer> {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=message 7654 TCP/MSRP *\r\n{attributes}"
        );
        let document = Document::parse(text.into_bytes().into(), &Limits::default()).unwrap();
        FileOffer::read(&document.media_at(0).unwrap())
    }

    #[test]
    fn the_file_of_rfc_5547_figure_2() {
        let file = read(
            "a=sendonly\r\na=file-selector:name:\"My cool picture.jpg\" type:image/jpeg size:32349 \
             hash:sha-1:72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E\r\n\
             a=file-transfer-id:vBnG916bdberum2fFEABR1FR3ExZMUrd\r\na=file-range:1-32349\r\n",
        )
        .unwrap();
        assert_eq!(file.name, "My cool picture.jpg");
        assert_eq!((file.content_type.as_str(), file.size, file.start), ("image/jpeg", Some(32349), 0));
        assert_eq!(file.sha1.unwrap()[..3], [0x72, 0x24, 0x5f]);
        let media = file.describe(MediaBuilder::new("message", 7654, "TCP/MSRP", "*"), "sendonly");
        let document = SessionBuilder::new(1, 1, [192, 0, 2, 1].into()).media(media).build().unwrap();
        assert_eq!(FileOffer::read(&document.media_at(0).unwrap()), Some(file));
    }

    #[test]
    fn a_name_cannot_end_the_quoted_string_or_the_line() {
        let file = FileOffer { name: "a\"b%\r\nm=x".into(), ..FileOffer::default() };
        let media = file.describe(MediaBuilder::new("message", 7654, "TCP/MSRP", "*"), "sendonly");
        let document = SessionBuilder::new(1, 1, [192, 0, 2, 1].into()).media(media).build().unwrap();
        assert_eq!(document.media().len(), 1);
        assert_eq!(FileOffer::read(&document.media_at(0).unwrap()).unwrap().name, file.name);
    }

    #[test]
    fn nonsense_is_no_file() {
        for attributes in [
            "",
            "a=file-selector:size:12\r\n",
            "a=file-selector:name:\"a\r\n",
            "a=file-selector:name:\"a\" size:x\r\n",
        ] {
            assert_eq!(read(attributes), None, "{attributes}");
        }
        assert_eq!(read("a=file-selector:name:\"a\"\r\na=file-range:0-5\r\n"), None);
    }
}
