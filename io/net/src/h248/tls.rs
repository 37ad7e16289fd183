//! TLS below TPKT, and whose messages may come over one connection: an extension, RFC 3525 §10.1 names
//! IPsec alone.
//!
//! A peer proves names by its certificate, or one name by a pre-shared key. A message is taken if its mId
//! is one of them, or the one that the operator pinned to them.

use carnet_h248::MId;
use carnet_tls::{CertificateContext, Error, Keyring, Peer, PskContext, PskKey, SubjectName, TlsStream};
use std::net::IpAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What protects connections. One of the two, never both.
pub enum Protection {
    /// Both ends show a certificate that the other's authorities vouch for.
    Certificates(CertificateContext),
    /// Both ends hold a key.
    Keys {
        /// The library's side.
        context: PskContext,
        /// The keys of those who connect here, by their identities; made [`standing`](Keyring::standing).
        held: Keyring,
        /// What we show to those whom we connect to.
        offered: Option<PskKey>,
    },
}

/// How connections are protected, and who is who.
pub struct ControlTls {
    /// By what.
    pub protection: Protection,
    /// Those who may be at the other end, with the names or key identities that prove it; without any,
    /// their own name does.
    pub peers: Vec<(MId, Vec<String>)>,
}

/// What a peer has proven.
#[derive(Debug)]
pub(super) enum Identity {
    /// Its certificate is good for these names.
    Names(Vec<SubjectName>),
    /// It holds the key of this identity.
    Key(String),
    /// It holds the key that we showed to this peer and to nobody else.
    Ours(MId),
}

impl ControlTls {
    /// The other end of a connection that was accepted.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Identity), String> {
        let (stream, identity) = match &self.protection {
            Protection::Certificates(context) => {
                let (stream, report) = context.accept(stream, &Peer::Vouched).await.map_err(say)?;
                tracing::debug!(%report, "control connection by TLS");
                let names = Identity::Names(stream.peer_names());
                (stream, names)
            }
            Protection::Keys { context, held, .. } => {
                let (stream, report) = context.accept_from(stream, held).await.map_err(say)?;
                tracing::debug!(%report, "control connection by TLS");
                (stream, Identity::Key(report.bound_identity.unwrap_or_default()))
            }
        };
        Ok((stream, identity))
    }

    /// Has `peer` prove over a connection that it is that one, and ends the connection.
    ///
    /// # Errors
    /// Why it has not, in words.
    pub async fn prove(&self, stream: TcpStream, peer: &MId) -> Result<(), String> {
        let (mut stream, _) = self.connect(stream, Some(peer)).await?;
        // It has proven itself: how the connection ends does not matter any more.
        let _ = stream.shutdown().await;
        Ok(())
    }

    /// Connects to `peer`, who has to prove that it is that one.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        peer: Option<&MId>,
    ) -> Result<(TlsStream<TcpStream>, Identity), String> {
        let peer = peer.ok_or("nobody said who is there")?;
        match &self.protection {
            Protection::Certificates(context) => {
                let (stream, report) = context.connect(stream, &Peer::Vouched).await.map_err(say)?;
                tracing::debug!(%report, "control connection by TLS");
                let names = Identity::Names(stream.peer_names());
                if self.speaks_for(&names, peer) {
                    Ok((stream, names))
                } else {
                    Err(self.wrong(&names, peer))
                }
            }
            Protection::Keys { context, offered, .. } => {
                let key = offered.as_ref().ok_or("there is no key of our own")?.for_reconnect();
                let (stream, report) = context.connect(stream, key).await.map_err(say)?;
                tracing::debug!(%report, "control connection by TLS");
                Ok((stream, Identity::Ours(peer.clone())))
            }
        }
    }

    /// Whether one who has proven `identity` may send messages as `mid`.
    pub(super) fn speaks_for(&self, identity: &Identity, mid: &MId) -> bool {
        let pinned = self.peers.iter().find(|(peer, names)| same(peer, mid) && !names.is_empty());
        let proves = |wanted: &str| match identity {
            Identity::Names(names) => names.iter().any(|name| match name {
                SubjectName::Dns(name) => bare(name).eq_ignore_ascii_case(bare(wanted)),
                SubjectName::Ip(ip) => wanted.parse::<IpAddr>() == Ok(*ip),
                SubjectName::Uri(uri) => uri == wanted,
            }),
            Identity::Key(key) => key == wanted,
            Identity::Ours(_) => false,
        };
        match (identity, pinned) {
            (Identity::Ours(peer), _) => same(peer, mid),
            (_, Some((_, names))) => names.iter().any(|name| proves(name)),
            (_, None) => match mid {
                MId::Domain { name, .. } => proves(name.as_str()),
                MId::Address { ip, .. } => proves(&ip.to_string()),
                MId::Device(name) => proves(name.as_str()),
                MId::Mtp(_) => false,
            },
        }
    }

    /// Whether one who has proven `identity` is anybody we know.
    pub(super) fn knows(&self, identity: &Identity) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|(peer, _)| self.speaks_for(identity, peer))
    }

    /// Why `peer` is not at the other end.
    fn wrong(&self, identity: &Identity, peer: &MId) -> String {
        let pinned = self.peers.iter().find(|(known, names)| same(known, peer) && !names.is_empty());
        let wanted = pinned.map_or_else(|| plain(peer), |(_, names)| names.join(" or "));
        format!("{} not {wanted}", describe(identity))
    }
}

/// What somebody has proven, for people.
pub(super) fn describe(identity: &Identity) -> String {
    match identity {
        Identity::Names(names) if names.is_empty() => "its certificate is for nobody,".to_owned(),
        Identity::Names(names) => {
            let names: Vec<_> = names
                .iter()
                .map(|name| match name {
                    SubjectName::Dns(name) | SubjectName::Uri(name) => name.clone(),
                    SubjectName::Ip(ip) => ip.to_string(),
                })
                .collect();
            format!("its certificate is for {},", names.join(", "))
        }
        Identity::Key(key) => format!("its key is {key:?},"),
        Identity::Ours(peer) => format!("it is {peer},"),
    }
}

/// The name in an mId, as it would stand in a certificate.
fn plain(mid: &MId) -> String {
    match mid {
        MId::Domain { name, .. } | MId::Device(name) | MId::Mtp(name) => name.as_str().to_owned(),
        MId::Address { ip, .. } => ip.to_string(),
    }
}

/// The same entity: ports do not matter.
pub(super) fn same(a: &MId, b: &MId) -> bool {
    match (a, b) {
        (MId::Domain { name: a, .. }, MId::Domain { name: b, .. }) => a == b,
        (MId::Address { ip: a, .. }, MId::Address { ip: b, .. }) => a == b,
        _ => a == b,
    }
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn say(error: Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_tls::{CertificateSettings, Credential};

    #[test]
    fn who_may_speak_as_whom() {
        let settings = CertificateSettings {
            credential: Some(Credential::self_signed(&[SubjectName::Dns("a".into())], 1).unwrap()),
            ..CertificateSettings::default()
        };
        let mid = |name: &str| MId::domain(name.to_owned());
        let tls = ControlTls {
            protection: Protection::Certificates(CertificateContext::new(&settings).unwrap()),
            peers: vec![(mid("agw-a"), Vec::new()), (mid("agw-b"), vec!["gw2.example.net".into()])],
        };
        let names = |dns: &[&str]| {
            let ip = SubjectName::Ip([192, 0, 2, 2].into());
            let dns = dns.iter().map(|name| SubjectName::Dns((*name).to_owned()));
            Identity::Names(dns.chain([ip]).collect())
        };
        let address = MId::Address { ip: [192, 0, 2, 2].into(), port: Some(2944) };
        assert!(tls.speaks_for(&names(&["AGW-A."]), &mid("agw-a")));
        assert!(!tls.speaks_for(&names(&["agw-a"]), &mid("agw-b")), "another name is pinned");
        assert!(tls.speaks_for(&names(&["gw2.example.net"]), &mid("agw-b")));
        assert!(!tls.speaks_for(&names(&["gw2.example.net"]), &mid("agw-a")));
        assert!(!tls.speaks_for(&names(&["*"]), &mid("agw-a")) && tls.speaks_for(&names(&[]), &address));
        assert!(tls.knows(&names(&["agw-a"])) && !tls.knows(&names(&["agw-z"])));
        let key = |name: &str| Identity::Key(name.to_owned());
        assert!(tls.speaks_for(&key("agw-a"), &mid("agw-a")) && !tls.speaks_for(&key("agw-a"), &mid("x")));
        let ours = Identity::Ours(mid("border"));
        assert!(tls.speaks_for(&ours, &mid("BORDER")) && !tls.speaks_for(&ours, &mid("agw-a")));
        assert_eq!(
            tls.wrong(&names(&["x.example"]), &mid("agw-b")),
            "its certificate is for x.example, 192.0.2.2, not gw2.example.net"
        );
    }
}
