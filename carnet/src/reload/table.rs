//! What can change while a process runs. `docs/configuration.md` has the same table for people, and a test compares them.

/// Settings that are applied at once: names from the top, `*` for any one, a last `**` for everything below.
pub const LIVE: &[&str] = &[
    "log.level",
    "log.format",
    "records.file",
    "records.rotate",
    "records.keep",
    "admin.token-file",
    "admin.read-token-file",
    "admin.tls.certificate",
    "admin.tls.key",
    "admin.tls.ca",
    "border.*.tls.certificate",
    "border.*.tls.key",
    "border.*.tls.ca",
    "border.*.registrar.users",
    "border.*.registrar.next-hop",
    "border.*.registrar.expires",
    "border.*.registrar.digest",
    "border.*.registrar.contacts",
    "border.*.registrar.hunt",
    "border.*.route.**",
    "border.*.policy.**",
    "border.*.network.*.peers",
    "border.*.network.*.source-filter",
    "border.*.network.*.hide-origin",
    "border.*.network.*.rate",
    "border.*.network.*.dscp",
    "border.*.network.*.rtp-interface",
    "border.*.network.*.e2ae",
    "border.*.network.*.msrp",
    "border.*.network.*.tls-failure-ends",
    "border.*.network.*.max-sessions",
    "border.*.network.*.max-per-user",
    "border.*.network.*.max-per-source",
    "border.*.network.*.bandwidth",
    "border.*.control.gateways",
    "border.*.control.peers.**",
    "border.*.control.profiles.**",
    "border.*.control.weights.**",
    "border.*.control.pass-through-transport.**",
    "border.*.control.alternate",
    "border.*.control.tls.certificate",
    "border.*.control.tls.key",
    "border.*.control.tls.ca",
    "border.*.control.tls.psk",
    "border.*.control.tls.names.**",
    "conference.*.room.**",
    "conference.*.factory",
    "conference.*.ad-hoc.**",
    "conference.*.next-hop",
    "conference.*.trust-asserted",
    "conference.*.kms.**",
    "conference.*.realm",
    "conference.*.limits.**",
    "conference.*.control.gateways",
    "conference.*.control.peers.**",
    "conference.*.control.profiles.**",
    "conference.*.control.weights.**",
    "conference.*.tls.certificate",
    "conference.*.tls.key",
    "conference.*.tls.ca",
    "conference.*.control.tls.certificate",
    "conference.*.control.tls.key",
    "conference.*.control.tls.ca",
    "conference.*.control.tls.psk",
    "conference.*.control.tls.names.**",
    "gateway.*.max-contexts",
    "gateway.*.control-tls.certificate",
    "gateway.*.control-tls.key",
    "gateway.*.control-tls.ca",
    "gateway.*.control-tls.psk",
    "gateway.*.control-tls.names.**",
    "gateway.*.relay.users",
    "gateway.*.relay.tls.certificate",
    "gateway.*.relay.tls.key",
    "gateway.*.relay.tls.ca",
    "gateway.*.ng.tls.certificate",
    "gateway.*.ng.tls.key",
    "gateway.*.ng.tls.ca",
    "kms.rate",
    "kms.logged-refusals",
    "kms.issue-to-strangers",
    "kms.accept-self-issued",
    "kms.accept-3gpp-tickets",
    "kms.accept-128-bit",
    "kms.ticket-lifetime",
    "kms.key-rotation",
    "kms.tls.certificate",
    "kms.tls.key",
    "kms.tls.ca",
];

/// Files whose content may be another under the same name, besides those of [`LIVE`]: the gateway looks at them itself.
const RENEWED: &[&str] = &["gateway.*.realm.*.certificate", "gateway.*.realm.*.key"];

/// What names a file that is read at the start.
const FILES: &[&str] = &[
    "certificate",
    "key",
    "ca",
    "psk",
    "users",
    "token-file",
    "read-token-file",
    "headers-file",
    "password-file",
    "root-key",
    "key-file",
    "ca-file",
    "file",
];

/// Whether the setting is applied without a restart, when it was `there` before and is there now.
pub fn is_live(path: &[String], there: bool) -> bool {
    // A socket was opened with TLS or without, and with somebody to ask for a certificate or not; session records are
    // put together from the start of a session.
    let made = path.iter().any(|name| matches!(name.as_str(), "tls" | "control-tls" | "records"));
    let names = path.iter().any(|name| name == "names");
    let asked = path.first().is_some_and(|name| name == "admin");
    LIVE.iter().any(|pattern| matches(pattern, path)) && (there || names || !made) && (there || !asked)
}

/// Whether what is in the file of that setting can change.
pub fn is_renewed(path: &[String]) -> bool {
    LIVE.iter().chain(RENEWED).any(|pattern| matches(pattern, path))
}

/// Whether the setting names a file whose content counts.
pub fn is_file(path: &[String]) -> bool {
    // What session records are written to is no file that is read.
    path.last().is_some_and(|name| FILES.contains(&name.as_str()))
        && path.first().is_some_and(|n| n != "records")
}

fn matches(pattern: &str, path: &[String]) -> bool {
    let mut names = path.iter();
    for part in pattern.split('.') {
        if part == "**" {
            return true;
        }
        match names.next() {
            Some(name) if part == "*" || part == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn what_a_socket_was_made_with_stays() {
        assert!(is_live(&path("border.a.tls.certificate"), true));
        assert!(!is_live(&path("border.a.tls.certificate"), false));
        assert!(is_live(&path("border.a.network.core.rate"), false));
        assert!(is_live(&path("border.a.route.3.domain"), false));
        assert!(!is_live(&path("border.a.network.core.listen"), true));
        assert!(!is_live(&path("admin.token-file"), false));
        assert!(is_live(&path("border.a.route"), true) && !is_live(&path("kms"), true));
        assert!(is_file(&path("kms.tls.key")) && !is_file(&path("records.file")));
        assert!(is_renewed(&path("gateway.g.realm.r.key")) && !is_renewed(&path("kms.root-key")));
    }

    /// Every pattern stands in the table for people.
    #[test]
    fn the_documentation_says_what_is_applied() {
        let docs = include_str!("../../../docs/configuration.md");
        let missing: Vec<_> = LIVE.iter().filter(|pattern| !docs.contains(&last(pattern))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    fn last(pattern: &str) -> String {
        let mut names = pattern.rsplit('.').filter(|name| !name.contains('*'));
        names.next().map(|name| format!("`{name}`")).unwrap_or_default()
    }
}
