//! H.248 profiles as values: what the two sides of an association may count on (RFC 3525 §7.2.8,
//! ServiceChangeProfile; TS 29.334 §5 for Iq, TS 29.238 for Ix, TS 29.333 for Mp).
//!
//! A controller looks at a gateway twice: at the name it registers with, and at what an audit of its
//! packages shows afterwards ([`objections`]). A gateway offers [`Definition::profile`].
//!
//! The registered names of the 3GPP profiles are not public, so the names here are this project's own;
//! what a gateway of another make calls its profile is a matter of configuration.

mod table;

pub use table::{IQ, IX, MP};

use crate::model::{ErrorDescriptor, PackageVersion, Profile, Verb};
use std::fmt;
use std::ops::RangeInclusive;

/// How messages may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writing {
    /// RFC 3525 Annex B; receivers take long and short keywords.
    Text,
    /// BER, RFC 3525 Annex A.
    Binary,
}

/// What may carry messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// With application layer framing (RFC 3525 §D.1).
    Udp,
    /// With TPKT (RFC 3525 §D.2).
    Tcp,
    /// H.248.4.
    Sctp,
}

/// How each side notices that the other is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Monitoring {
    /// The controller sends an empty AuditValue on ROOT.
    EmptyAudit,
    /// The gateway sends `it/ito` (H.248.14).
    InactivityTimer,
}

/// Whether a profile's gateways must have a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// A gateway without it is not used.
    Mandatory,
    /// Used where it is there.
    Optional,
}

/// A package of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Its name in the text encoding.
    pub name: &'static str,
    /// The lowest version that does.
    pub version: u16,
    /// Whether it must be there.
    pub presence: Presence,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Definition {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its version on the wire, 1 to 99.
    pub version: u8,
    /// Protocol versions that do, the highest first offered.
    pub protocol: RangeInclusive<u8>,
    /// How messages may be written; a sender keeps to one per association.
    pub writings: &'static [Writing],
    /// What may carry them.
    pub carriers: &'static [Carrier],
    /// Whether replies over datagrams may come in segments (version 3).
    pub segmentation: bool,
    /// Most transactions in one message.
    pub transactions: usize,
    /// Commands in use.
    pub commands: &'static [Verb],
    /// Commands that may ask for one response to a wildcard (`W-`).
    pub wildcard_responses: &'static [Verb],
    /// Terminations a context must be able to hold.
    pub terminations: u64,
    /// Most streams of a termination; none is no limit.
    pub streams: Option<u16>,
    /// Packages in use.
    pub packages: &'static [Package],
    /// How an association over datagrams is watched.
    pub monitoring: &'static [Monitoring],
}

impl Definition {
    /// As a ServiceChange names it.
    pub fn profile(&self) -> Profile {
        Profile::new(self.name, self.version)
    }

    /// The packages that must be there, with their lowest versions.
    pub fn mandatory(&self) -> impl Iterator<Item = PackageVersion> {
        let must = self.packages.iter().filter(|p| p.presence == Presence::Mandatory);
        must.map(|p| PackageVersion::new(p.name, p.version))
    }
}

/// The definition that a ServiceChange names, if it is one of ours.
pub fn definition(profile: &Profile) -> Option<&'static Definition> {
    [&IQ, &IX, &MP].into_iter().find(|d| profile.name == d.name && profile.version == d.version)
}

/// What a gateway said of itself in an audit.
#[derive(Debug, Clone, Copy)]
pub struct Audited<'a> {
    /// Its Packages descriptor; empty if it gave none, and then nothing is said of packages.
    pub packages: &'a [PackageVersion],
    /// `root/maxTerminationsPerContext`; 0 and none are no limit (RFC 3525 §E.2.1).
    pub terminations: Option<u64>,
}

/// Why a gateway cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Objection {
    /// A package is not there.
    Missing {
        /// Which.
        needed: PackageVersion,
    },
    /// A package is there in too low a version.
    Old {
        /// Which.
        needed: PackageVersion,
        /// What there is.
        version: u16,
    },
    /// Contexts hold too few terminations.
    Terminations {
        /// What is needed.
        needed: u64,
        /// What there is.
        most: u64,
    },
}

impl Objection {
    /// As an error of H.248.8: 440 for packages, 434 for terminations.
    pub fn descriptor(&self) -> ErrorDescriptor {
        let code = match self {
            Self::Missing { .. } | Self::Old { .. } => 440,
            Self::Terminations { .. } => 434,
        };
        ErrorDescriptor::new(code, self.to_string())
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { needed } => {
                write!(f, "package {} version {} is needed and not there", needed.name, needed.version)
            }
            Self::Old { needed, version } => {
                let PackageVersion { name, version: wanted } = needed;
                write!(f, "package {name} is there in version {version}, and version {wanted} is needed")
            }
            Self::Terminations { needed, most } => {
                write!(f, "a context holds {most} terminations at most, and {needed} are needed")
            }
        }
    }
}

/// What stands against a gateway: packages it lacks and contexts that are too small.
pub fn objections<'a>(
    packages: impl Iterator<Item = PackageVersion> + 'a,
    terminations: u64,
    audited: Audited<'a>,
) -> impl Iterator<Item = Objection> + 'a {
    let packages = packages.filter(move |_| !audited.packages.is_empty());
    let lacking = packages.filter_map(move |needed| {
        let versions = audited.packages.iter().filter(|p| p.name == needed.name).map(|p| p.version);
        match versions.max() {
            None => Some(Objection::Missing { needed }),
            Some(version) if version < needed.version => Some(Objection::Old { needed, version }),
            Some(_) => None,
        }
    });
    let most = audited.terminations.filter(|most| *most > 0 && *most < terminations);
    lacking.chain(most.map(|most| Objection::Terminations { needed: terminations, most }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(packages: &[PackageVersion], terminations: Option<u64>) -> Vec<String> {
        let audited = Audited { packages, terminations };
        objections(IQ.mandatory(), IQ.terminations, audited).map(|o| o.to_string()).collect()
    }

    /// TS 29.334 table 5.14.1.1, as far as it could be read.
    #[test]
    fn a_gateway_is_measured_against_its_profile() {
        let whole: Vec<_> = IQ.mandatory().collect();
        assert_eq!(whole.len(), 9);
        assert_eq!(judged(&whole, Some(2)), [""; 0]);
        // More of everything does as well; names are compared without case (RFC 3525 Annex B.2).
        let more: Vec<_> = whole
            .iter()
            .map(|p| PackageVersion::new(p.name.as_str().to_uppercase(), p.version + 1))
            .collect();
        assert_eq!(judged(&more, Some(0)), [""; 0]);

        let less: Vec<_> = whole.iter().filter(|p| p.name != "ipdc").cloned().collect();
        assert_eq!(judged(&less, None), ["package ipdc version 1 is needed and not there"]);
        let older: Vec<_> = whole
            .iter()
            .map(|p| PackageVersion::new(p.name.clone(), if p.name == "gm" { 1 } else { p.version }))
            .collect();
        let old = "package gm is there in version 1, and version 2 is needed";
        assert_eq!(
            judged(&older, Some(1)),
            [old, "a context holds 1 terminations at most, and 2 are needed"]
        );
        // One that tells no packages is not judged by them.
        assert_eq!(judged(&[], None), [""; 0]);
        let codes: Vec<_> =
            objections(IQ.mandatory(), 2, Audited { packages: &older, terminations: Some(1) })
                .map(|o| o.descriptor().code)
                .collect();
        assert_eq!(codes, [440, 434]);
    }

    #[test]
    fn names_on_the_wire_lead_to_definitions() {
        for known in [&IQ, &IX, &MP] {
            assert_eq!(definition(&known.profile()), Some(known));
            // RFC 3525 Annex B.2: NAME and version.
            assert!(known.name.len() <= 64 && (1..=99).contains(&known.version));
            assert!(known.name.starts_with(|c: char| c.is_ascii_alphabetic()));
            let other = Profile::new(known.name, known.version + 1);
            assert_eq!(definition(&other), None);
        }
        assert_eq!(definition(&Profile::new("resgw", 1)), None);
    }

    /// Each package is one that the table of packages knows, in a version that exists.
    #[test]
    fn packages_are_registered_ones() {
        for profile in [&IQ, &IX, &MP] {
            let mut names: Vec<_> = profile.packages.iter().map(|p| p.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), profile.packages.len(), "{}", profile.name);
            for named in profile.packages {
                let there = crate::package::package(named.name).map(|p| p.version);
                assert!(there >= Some(named.version), "{} {there:?}", named.name);
            }
        }
        // Mp sees conferences, where a context property is set: version 3 (TS 23.333 §8).
        assert!(!MP.protocol.contains(&2) && IQ.protocol.contains(&2));
    }
}
