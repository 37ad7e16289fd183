//! Durable state on disks that work and on disks that do not.

mod full_disk;
mod records;

use crate::RootKey;
use carnet_keys::{AuditRecord, Deed, Pattern, User};
use carnet_mikey::{Identity, Psk};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn root() -> RootKey {
    RootKey::new([3; 32])
}

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

fn user(name: &str) -> User {
    User {
        name: name.into(),
        identities: vec![Pattern::parse(&format!("sip:{name}@x.example")).unwrap()],
        psk: Psk::new(&[name.len() as u8; 32]).unwrap(),
        revoked: false,
        tickets_not_before: None,
    }
}

fn audit(n: u8) -> AuditRecord {
    AuditRecord {
        wall: wall() + Duration::from_secs(u64::from(n)),
        deed: if n.is_multiple_of(2) { Deed::Issued } else { Deed::Resolved },
        source: if n.is_multiple_of(2) {
            "192.0.2.1".parse().unwrap()
        } else {
            "2001:db8::1".parse().unwrap()
        },
        user: format!("user-{n}"),
        initiator: Identity::from_uri("sip:a@x.example").unwrap(),
        responders: vec![Identity::from_uri("sip:b@x.example").unwrap(), Identity::byte_string(&[n])],
        ticket: [n; 32],
        key: "tpk-1".into(),
        expires: n.is_multiple_of(2).then(|| wall() + Duration::from_secs(86_400)),
    }
}
