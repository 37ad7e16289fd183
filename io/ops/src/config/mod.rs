//! The configuration file: TOML, one section a role, errors that point at the octet.
//!
//! [`load`] reads and checks a file completely before anything starts. A section that is present
//! starts its role, so the same format serves one process that is a whole network and a host that
//! does one job. Unknown keys are errors: a misspelt setting must not be ignored in silence.

mod address;
mod admin;
mod check;
mod conference;
mod control;
mod credential;
mod edge;
mod gateway;
mod kms;
mod model;
mod ng;
mod otel;
mod relay;
mod shown;
mod spanned;
mod state;
mod text;
mod trace;
pub mod tree;

pub use address::{Bind, Endpoint, PortRange, Prefix, Proto};
pub use admin::{AdminSection, NodeSection, RecordsSection, THIS_PROCESS};
pub use conference::{
    ConferenceKms, ConferenceLimits, ConferenceSection, Devices, FloorAlgorithm, FloorSection,
    HistorySection, RoomPolicy, RoomSection, Unsealed, Who,
};
pub use control::{
    AuthenticationAlgorithm, AuthenticationKey, AuthenticationSection, ControlAddress, ControlBind,
    ControlProto, ControlSection, ControlTlsSection, Host, ProfileName, Sources,
};
pub use credential::{directory as credentials_directory, located};
pub use edge::{Addressing, Other, RtpengineSection};
pub use gateway::{EngineMode, GatewayRole, GatewaySection, RealmSection, WitnessMode};
pub use kms::{IdentityForm, KmsSection, SignedSection};
pub use model::{
    BorderRole, BorderSection, Config, Digest, Encoding248, IpVersion, LogSection, NetworkSection,
    PolicySection, Redirects, RegistrarMode, RegistrarSection, RouteSection, TlsSection, Transport248,
};
pub use ng::{InterfaceSection, NgBind, NgProto, NgSection};
pub use otel::OtelSection;
pub use relay::RelaySection;
pub use shown::{NO_CONFIGURATION, is_configuration, say_of, shown};
pub use spanned::Spanned;
pub use state::{StateSection, SyncSetting, SyncWord};
pub use trace::{HepSection, HepServer, HepTls, HepWay, Memory, TraceSection};

use miette::{Diagnostic, NamedSource, SourceSpan};
use std::ops::Range;
use std::path::Path;

/// What is wrong with a configuration file, and where.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The path as given.
        path: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The text is not what the format allows.
    #[error("{message}")]
    Wrong {
        /// What is wrong.
        message: String,
        /// What to do about it.
        #[help]
        help: Option<String>,
        /// The whole file, as it is [`shown`].
        #[source_code]
        source_code: NamedSource<String>,
        /// The place.
        #[label("here")]
        at: SourceSpan,
    },
}

/// A complaint about a range of the text, before it has been given the text.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) at: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Complaint {
    pub(crate) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Result<Config, Box<ConfigError>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: name.clone(), source })?;
    let base = path.parent().unwrap_or(Path::new("."));
    parse(&name, text, base)
}

/// Checks configuration text. Relative paths in it are taken from `base`.
pub fn parse(name: &str, text: String, base: &Path) -> Result<Config, Box<ConfigError>> {
    let wrong = |c: Complaint| {
        Box::new(ConfigError::Wrong {
            message: c.message,
            help: c.help,
            source_code: NamedSource::new(name, shown(&text)),
            at: c.at.into(),
        })
    };
    let mut config: Config = toml::from_str(&text).map_err(|e| {
        wrong(match is_configuration(&text) {
            true => Complaint::new(e.span().unwrap_or(0..0), e.message()),
            false => Complaint::new(0..0, NO_CONFIGURATION),
        })
    })?;
    config.resolve_paths(base);
    check::check(&config).map_err(wrong)?;
    Ok(config)
}

#[cfg(test)]
mod tests;
