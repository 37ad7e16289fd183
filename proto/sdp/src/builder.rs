//! Offers and answers made from parts, for an endpoint.
//!
//! The result is an ordinary [`Document`]; every text goes through the same checks as an edit.

use crate::attribute::{MIKEY, TLS_ROLE};
use crate::edit::{attribute_text, token};
use crate::line::net_address;
use crate::{Document, Error, Limits, Media, Setup};
use std::net::IpAddr;

/// A session section and the media sections to come.
#[derive(Debug, Clone)]
pub struct SessionBuilder {
    username: String,
    session_id: u64,
    version: u64,
    address: IpAddr,
    attributes: Vec<(String, Option<String>)>,
    media: Vec<MediaBuilder>,
}

impl SessionBuilder {
    /// A session at `address`, which stands in `o=` and `c=`. RFC 8866 §5.2: the pair of
    /// session id and version names one description for ever; the version grows with changes.
    pub fn new(session_id: u64, version: u64, address: IpAddr) -> Self {
        Self { username: "-".into(), session_id, version, address, attributes: Vec::new(), media: Vec::new() }
    }

    /// The user name in `o=` (default `-`).
    #[must_use]
    pub fn username(mut self, name: &str) -> Self {
        name.clone_into(&mut self.username);
        self
    }

    /// A session attribute with a value.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.into(), Some(value.into())));
        self
    }

    /// A media section.
    #[must_use]
    pub fn media(mut self, media: MediaBuilder) -> Self {
        self.media.push(media);
        self
    }

    /// The document. Fails if a text cannot be written.
    pub fn build(self) -> Result<Document, Error> {
        if self.username.is_empty() || !self.username.bytes().all(|b| b > b' ') {
            return Err(Error::Unwritable("a user name"));
        }
        let net = net_address(self.address);
        let mut text = format!(
            "v=0\r\no={} {} {} {net}\r\ns=-\r\nc={net}\r\nt=0 0\r\n",
            self.username, self.session_id, self.version
        )
        .into_bytes();
        put_attributes(&mut text, &self.attributes)?;
        for media in &self.media {
            media.put(&mut text)?;
        }
        let limits = Limits { octets: usize::MAX, lines: usize::MAX, media: usize::MAX };
        Document::parse(text.into(), &limits)
    }
}

/// One media section.
#[derive(Debug, Clone)]
pub struct MediaBuilder {
    media: String,
    port: u16,
    proto: String,
    formats: Vec<String>,
    connection: Option<IpAddr>,
    attributes: Vec<(String, Option<String>)>,
}

impl MediaBuilder {
    /// A media line, for example `new("message", 2855, "TCP/TLS/MSRP", "*")`.
    pub fn new(media: &str, port: u16, proto: &str, format: &str) -> Self {
        Self {
            media: media.into(),
            port,
            proto: proto.into(),
            formats: vec![format.into()],
            connection: None,
            attributes: Vec::new(),
        }
    }

    /// The refusal of an offered line: the same line with port 0 (RFC 3264 §6), and of a file its
    /// description, so that the offerer sees which one (RFC 5547 §8.3).
    pub fn rejecting(offered: &Media<'_>) -> Self {
        let mirrored = ["file-selector", "file-transfer-id"];
        let attributes = mirrored.into_iter().filter_map(|name| {
            let value = offered.attribute(name)?.text()?;
            Some((name.to_owned(), Some(value.to_owned())))
        });
        Self {
            media: offered.media().into(),
            port: 0,
            proto: offered.proto().into(),
            formats: offered.formats().to_vec(),
            connection: None,
            attributes: attributes.collect(),
        }
    }

    /// A `c=` of its own.
    #[must_use]
    pub fn connection(mut self, ip: IpAddr) -> Self {
        self.connection = Some(ip);
        self
    }

    /// An attribute with a value.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.into(), Some(value.into())));
        self
    }

    /// An attribute without a value.
    #[must_use]
    pub fn flag(mut self, name: &str) -> Self {
        self.attributes.push((name.into(), None));
        self
    }

    /// `a=setup`
    #[must_use]
    pub fn setup(self, setup: Setup) -> Self {
        self.attribute("setup", setup.as_str())
    }

    /// `a=x-carnet-tlsrole:mikey`: this end can take its TLS role from the MIKEY exchange.
    #[must_use]
    pub fn tls_role_by_mikey(self) -> Self {
        self.attribute(TLS_ROLE, MIKEY)
    }

    fn put(&self, text: &mut Vec<u8>) -> Result<(), Error> {
        for part in [&self.media, &self.proto].into_iter().chain(&self.formats) {
            // A transport is tokens joined by `/` (RFC 8866 §9 `proto`).
            for word in part.split('/') {
                token(word, "a field of a media line")?;
            }
        }
        let (media, port, proto) = (&self.media, self.port, &self.proto);
        text.extend_from_slice(format!("m={media} {port} {proto} {}\r\n", self.formats.join(" ")).as_bytes());
        if let Some(ip) = self.connection {
            text.extend_from_slice(format!("c={}\r\n", net_address(ip)).as_bytes());
        }
        put_attributes(text, &self.attributes)
    }
}

fn put_attributes(text: &mut Vec<u8>, attributes: &[(String, Option<String>)]) -> Result<(), Error> {
    for (name, value) in attributes {
        text.extend_from_slice(&attribute_text(name, value.as_deref().map(str::as_bytes))?);
        text.extend_from_slice(b"\r\n");
    }
    Ok(())
}
