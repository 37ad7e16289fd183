//! Looks for secrets in whatever form they may have got out: as octets, in hexadecimal, base64, or as a program prints
//! a list of octets.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Octets of a secret that are looked for: the beginning of a key is one too.
const ENOUGH: usize = 16;

/// Everything that is to be found nowhere, by name.
#[derive(Default)]
pub struct Secrets(BTreeMap<String, Vec<u8>>);

impl Secrets {
    /// One more.
    pub fn add(&mut self, name: &str, octets: impl AsRef<[u8]>) {
        let octets = octets.as_ref();
        assert!(octets.len() >= 12, "{name} is too short to be told from others");
        self.0.insert(name.into(), octets[..octets.len().min(ENOUGH)].to_vec());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, octets)| (name.as_str(), octets.as_slice()))
    }

    /// Which of them are there, in which form, and what is around them.
    pub fn found_in(&self, place: &str, octets: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in &self.0 {
            for (form, written) in forms(secret) {
                if let Some(at) = memchr::memmem::find(octets, &written) {
                    let around = &octets[at.saturating_sub(160)..octets.len().min(at + written.len() + 40)];
                    found.push(format!("{name} as {form} in {place}: …{}…", around.escape_ascii()));
                }
            }
        }
        found
    }
}

/// How octets may be written.
pub fn forms(octets: &[u8]) -> Vec<(String, Vec<u8>)> {
    let joined = |between: &str, one: &dyn Fn(u8) -> String| -> Vec<u8> {
        octets.iter().map(|octet| one(*octet)).collect::<Vec<_>>().join(between).into_bytes()
    };
    let lower = |octet: u8| format!("{octet:02x}");
    let upper = |octet: u8| format!("{octet:02X}");
    let mut forms: Vec<(String, Vec<u8>)> = vec![("octets".into(), octets.to_vec())];
    for (name, between) in [("hex", ""), ("hex with colons", ":"), ("hex with spaces", " ")] {
        forms.push((name.into(), joined(between, &lower)));
        forms.push((format!("{name}, upper case"), joined(between, &upper)));
    }
    forms.push(("a list".into(), joined(", ", &|octet| octet.to_string())));
    forms.push(("a dense list".into(), joined(",", &|octet| octet.to_string())));
    forms.push(("a list in lines".into(), joined(",\n        ", &|octet| octet.to_string())));
    forms.push(("a list in hex".into(), joined(", ", &|octet| format!("0x{octet:02x}"))));
    forms.push(("a list in bare hex".into(), joined(", ", &lower)));
    forms.push(("escapes of hex".into(), joined("", &|octet| format!("\\x{octet:02x}"))));
    let mut percent = String::new();
    for octet in octets {
        let _ = write!(percent, "%{octet:02X}");
    }
    forms.push(("percent".into(), percent.into_bytes()));
    forms.push(("a byte string".into(), octets.escape_ascii().to_string().into_bytes()));
    forms
        .push(("a string".into(), format!("{:?}", String::from_utf8_lossy(octets)).trim_matches('"').into()));
    for (name, engine) in [("base64", STANDARD_NO_PAD), ("base64url", URL_SAFE_NO_PAD)] {
        // Whatever stands before it: three ways to cut octets into threes.
        for before in 0..3 {
            let padded = [&[0; 2][..before], octets].concat();
            let text = engine.encode(&padded).into_bytes();
            // Characters that have nothing but bits of the secret.
            let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
            forms.push((format!("{name} at {before}"), text[from..to].to_vec()));
        }
    }
    // What is as short as a word may be there by chance.
    forms.retain(|(_, written)| written.len() >= 12);
    forms
}

/// The search finds every secret in every form: a test that cannot fail proves nothing.
pub fn assert_finds(secrets: &Secrets) {
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, octets) in secrets.iter() {
        assert!(secrets.found_in("noise", &noise).is_empty());
        for (form, written) in forms(octets) {
            let planted = [&noise[..1000], &written, &noise[1000..]].concat();
            let found = secrets.found_in("a place", &planted);
            assert!(found.iter().any(|hit| hit.starts_with(name)), "{name} as {form} was not found");
        }
    }
}

#[test]
fn a_key_is_found_in_the_middle_of_base64() {
    let mut secrets = Secrets::default();
    let key: Vec<u8> = (100..132).collect();
    secrets.add("key", &key);
    for before in 0..8 {
        let message = [&b"whatever"[..before], &key, b"behind"].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            assert!(!secrets.found_in("here", engine.encode(&message).as_bytes()).is_empty(), "{before}");
        }
    }
    assert!(!secrets.found_in("here", format!("{:?}", &key[..]).as_bytes()).is_empty());
    assert!(
        !secrets
            .found_in("here", format!("{:#?}", &key[..]).replace("    ", "        ").as_bytes())
            .is_empty()
    );
    assert!(secrets.found_in("here", b"nothing of it").is_empty());
}
