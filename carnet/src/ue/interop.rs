//! What key servers and clients of other makes may do differently: the `[ue.interop]` table.
//!
//! TS 33.328 decides most of it and is not public here, so nothing of it is fixed.

use carnet_client::TcpRole;
use carnet_mikey::registry::ticket_type;
use carnet_mikey::{Profile, SdpIds};
use carnet_tls::{PskSettings, Versions};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings in force.
#[derive(Debug, Clone)]
pub struct Interop {
    /// Of MIKEY messages.
    pub profile: Profile,
    /// Of TLS with pre-shared keys.
    pub psk: PskSettings,
    /// Whether the key exchange may decide who is the TLS client.
    pub tls_role_by_mikey: bool,
    /// Whether a connection that broke is made again in the same call.
    pub recover: bool,
    /// Who opens the connection where the caller leaves that to us.
    pub tcp_role: TcpRole,
    /// Path and query of ticket requests.
    pub request_path: String,
    /// Path and query of ticket resolution.
    pub resolve_path: String,
}

impl Default for Interop {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            psk: PskSettings::default(),
            tls_role_by_mikey: true,
            recover: true,
            tcp_role: TcpRole::Active,
            request_path: "/keymanagement?requesttype=ticketrequest".into(),
            resolve_path: "/keymanagement?requesttype=ticketresolve".into(),
        }
    }
}

/// Settings as written; what is absent is as [`Interop`] has it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct InteropSettings {
    kms_request_path: Option<String>,
    kms_resolve_path: Option<String>,
    ticket_type: Option<TicketType>,
    accept_3gpp_tickets: Option<bool>,
    mikey_protocol: Option<u8>,
    accept_other_protocols: Option<bool>,
    sdp_ids: Option<SdpIdsSetting>,
    psk_identity_prefix: Option<String>,
    any_psk_identity: Option<bool>,
    tls_versions: Option<TlsVersions>,
    rfc4279_suites: Option<bool>,
    tls_role: Option<TlsRoleSetting>,
    recover: Option<bool>,
    tcp_role: Option<TcpRoleSetting>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
enum TicketType {
    #[serde(rename = "base")]
    Base,
    #[serde(rename = "3gpp")]
    Of3gpp,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum SdpIdsSetting {
    Optional,
    Required,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
enum TlsVersions {
    #[serde(rename = "both")]
    Both,
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum TlsRoleSetting {
    /// By `a=x-carnet-tlsrole`, if the peer has it too.
    Mikey,
    /// By `a=setup` only (RFC 6135).
    Setup,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum TcpRoleSetting {
    Active,
    Passive,
}

impl InteropSettings {
    /// The settings in force, or which one cannot be used and why.
    pub(super) fn resolve(self) -> Result<Interop, (&'static str, &'static str)> {
        let mut out = Interop::default();
        let set = |to: &mut String, from: Option<String>| *to = from.unwrap_or_else(|| std::mem::take(to));
        set(&mut out.request_path, self.kms_request_path);
        set(&mut out.resolve_path, self.kms_resolve_path);
        for (name, path) in [("kms-request-path", &out.request_path), ("kms-resolve-path", &out.resolve_path)]
        {
            if !path.starts_with('/') {
                return Err((name, "a path begins with /"));
            }
        }
        out.tls_role_by_mikey = !matches!(self.tls_role, Some(TlsRoleSetting::Setup));
        out.recover = self.recover.unwrap_or(out.recover);
        if let Some(TcpRoleSetting::Passive) = self.tcp_role {
            out.tcp_role = TcpRole::Passive;
        }
        let profile = &mut out.profile;
        profile.accept_3gpp_ticket = self.accept_3gpp_tickets.unwrap_or(profile.accept_3gpp_ticket);
        if let Some(TicketType::Of3gpp) = self.ticket_type {
            profile.ticket_type = ticket_type::BASE_3GPP;
        }
        match self.mikey_protocol {
            Some(0 | 1) => return Err(("mikey-protocol", "0 and 1 are SRTP and TESLA")),
            Some(number) => profile.protocol = number,
            None => {}
        }
        profile.accept_other_protocol = self.accept_other_protocols.unwrap_or(profile.accept_other_protocol);
        if let Some(SdpIdsSetting::Required) = self.sdp_ids {
            profile.check_sdp_ids = SdpIds::Required;
        }
        set(&mut profile.psk_identity_prefix, self.psk_identity_prefix);
        // RFC 4279 §5.3: 128 octets must be supported; CSB ID and CS ID take eleven of them.
        if profile.psk_identity_prefix.len() > 117 || profile.psk_identity_prefix.contains(char::is_control) {
            return Err(("psk-identity-prefix", "at most 117 printable octets"));
        }
        out.psk.any_identity = self.any_psk_identity.unwrap_or(out.psk.any_identity);
        out.psk.versions = match self.tls_versions {
            None | Some(TlsVersions::Both) => Versions::Both,
            Some(TlsVersions::Tls12) => Versions::Tls12,
            Some(TlsVersions::Tls13) => Versions::Tls13,
        };
        out.psk.rfc4279_suites = self.rfc4279_suites.unwrap_or(out.psk.rfc4279_suites);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Interop, String> {
        let settings: InteropSettings = toml::from_str(text).map_err(|e| e.to_string())?;
        settings.resolve().map_err(|(name, why)| format!("{name}: {why}"))
    }

    #[test]
    fn each_key_sets_what_it_says() {
        let all = read(
            "kms-request-path = \"/a\"\nkms-resolve-path = \"/b\"\nticket-type = \"3gpp\"\n\
             accept-3gpp-tickets = true\nmikey-protocol = 250\naccept-other-protocols = false\n\
             sdp-ids = \"required\"\npsk-identity-prefix = \"x:\"\nany-psk-identity = false\n\
             tls-versions = \"1.2\"\nrfc4279-suites = true\ntls-role = \"setup\"\n\
             tcp-role = \"passive\"\nrecover = false\n",
        )
        .unwrap();
        assert_eq!((all.request_path.as_str(), all.resolve_path.as_str()), ("/a", "/b"));
        let p = &all.profile;
        assert_eq!((p.ticket_type, p.accept_3gpp_ticket, p.protocol), (2, true, 250));
        assert_eq!((p.accept_other_protocol, p.check_sdp_ids), (false, SdpIds::Required));
        assert_eq!(p.psk_identity_prefix, "x:");
        assert_eq!((all.psk.any_identity, all.psk.rfc4279_suites), (false, true));
        assert_eq!(all.psk.versions, Versions::Tls12);
        assert_eq!((all.tcp_role, read("").unwrap().tcp_role), (TcpRole::Passive, TcpRole::Active));
        assert!(!all.recover && read("").unwrap().recover);
        assert!(!all.tls_role_by_mikey && read("").unwrap().tls_role_by_mikey);
        assert!(read("tls-role = \"mikey\"\n").unwrap().tls_role_by_mikey);
        assert_eq!(read("").unwrap().profile, Profile::default());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, says) in [
            ("mikey-protocol = 1", "mikey-protocol"),
            ("kms-request-path = \"a\"", "kms-request-path"),
            ("psk-identity-prefix = \"\\u0001\"", "psk-identity-prefix"),
            ("tls-versions = \"1.1\"", "1.1"),
            ("sdp-id = \"optional\"", "sdp-id"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }
}
