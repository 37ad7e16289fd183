//! A type for every key, so that none is taken for another (RFC 6043 §2.2, §4.1).
//!
//! The octets are erased on drop. There is no `Debug`, `Display` or `Clone`; comparison takes the
//! same time whatever the octets; copies are made with [`duplicate`](Tek::duplicate), in plain sight.

use crate::Error;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Shortest key in octets (RFC 6043 §12.1).
pub const SHORTEST: usize = 16;
/// Longest key in octets.
pub const LONGEST: usize = 64;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Zeroizing<Vec<u8>>);

        impl $name {
            /// Takes a copy of `octets`, 16 to 64 of them.
            pub fn new(octets: &[u8]) -> Result<Self, Error> {
                if (SHORTEST..=LONGEST).contains(&octets.len()) {
                    Ok(Self(Zeroizing::new(octets.to_vec())))
                } else {
                    Err(Error::Key(concat!(stringify!($name), " must have 16 to 64 octets")))
                }
            }

            #[allow(dead_code, reason = "not every kind of key is derived")]
            pub(crate) fn from_zeroizing(octets: Zeroizing<Vec<u8>>) -> Self {
                Self(octets)
            }

            /// The octets. Whoever asks is responsible for what happens to them.
            pub fn expose(&self) -> &[u8] {
                &self.0
            }

            /// A second key with the same octets.
            #[must_use]
            pub fn duplicate(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.as_slice().ct_eq(other.0.as_slice()).into()
            }
        }

        impl Eq for $name {}
    };
}

key!(
    /// Key shared by a user and the KMS. It protects ticket requests and resolves.
    Psk
);
key!(
    /// Ticket protection key: what a ticket is sealed with.
    Tpk
);
key!(
    /// MIKEY protection key: protects the messages of a ticket transfer.
    Mpk
);
key!(
    /// Traffic generating key: where the traffic key of a call comes from.
    Tgk
);
key!(
    /// Traffic encrypting key of one crypto session. For TLS it is the pre-shared key.
    Tek
);

key!(
    /// Envelope key: a fresh key that takes the place of the pre-shared key in one signed request.
    EnvelopeKey
);

impl EnvelopeKey {
    pub(crate) fn generate(rng: &mut dyn carnet_wire::Random, len: usize) -> Self {
        Self(random(rng, len))
    }
}

impl Psk {
    /// A fresh key of 32 octets.
    pub fn generate(rng: &mut dyn carnet_wire::Random) -> Self {
        Self(random(rng, 32))
    }
}

impl Tpk {
    /// A fresh key of 32 octets.
    pub fn generate(rng: &mut dyn carnet_wire::Random) -> Self {
        Self(random(rng, 32))
    }
}

/// `len` random octets that are erased on drop.
pub(crate) fn random(rng: &mut dyn carnet_wire::Random, len: usize) -> Zeroizing<Vec<u8>> {
    let mut octets = Zeroizing::new(vec![0; len]);
    rng.fill(&mut octets);
    octets
}
