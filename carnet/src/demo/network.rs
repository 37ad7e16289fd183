//! The network of the demonstration: two operators on addresses of this machine's loopback.
//!
//! The roles are started from configuration text, the same that `carnet run` reads, so that what
//! is shown is what would run.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Addresses `127.BASE.NETWORK.HOST`, so that nothing else on the machine is in the way.
#[derive(Debug, Clone, Copy)]
pub struct Addresses(u8);

/// SIP port of the borders.
pub const SIP: u16 = 5060;
/// Port of the key management service.
const KMS: u16 = 8443;
/// Port of the console.
const CONSOLE: u16 = 9460;
/// Port that says whose a block is.
const CLAIM: u16 = 8442;

/// A gateway on the path.
pub struct Site {
    /// Its name.
    pub gateway: &'static str,
    /// `IMS-AGW` or `TrGW`.
    pub role: &'static str,
    /// The border that controls it.
    pub border: &'static str,
    /// Realm and network towards alice.
    pub towards_alice: (&'static str, u8),
    /// Realm and network towards bob.
    pub towards_bob: (&'static str, u8),
    /// Its host number in both networks.
    pub host: u8,
}

/// The gateways from alice to bob.
pub const GATEWAYS: [Site; 4] = [
    Site {
        gateway: "agw-a",
        role: "IMS-AGW",
        border: "border-a",
        towards_alice: ("access", 1),
        towards_bob: ("core", 2),
        host: 2,
    },
    Site {
        gateway: "trgw-a",
        role: "TrGW",
        border: "interconnect-a",
        towards_alice: ("core", 2),
        towards_bob: ("peers", 3),
        host: 4,
    },
    Site {
        gateway: "trgw-b",
        role: "TrGW",
        border: "interconnect-b",
        towards_alice: ("peers", 3),
        towards_bob: ("core", 4),
        host: 5,
    },
    Site {
        gateway: "agw-b",
        role: "IMS-AGW",
        border: "border-b",
        towards_alice: ("core", 4),
        towards_bob: ("access", 5),
        host: 6,
    },
];

impl Addresses {
    /// A block in which nobody listens, and the claim to it: while the claim lives no other
    /// demonstration takes the block.
    pub fn free() -> Result<(Self, TcpListener), String> {
        let free = |base: u8| {
            let this = Self(base);
            let claim = TcpListener::bind((this.at(9, 1), CLAIM)).ok()?;
            [
                (this.at(1, 1), SIP),
                (this.at(3, 1), SIP),
                (this.kms().ip(), KMS),
                (this.console().ip(), CONSOLE),
            ]
            .into_iter()
            .all(|address| TcpListener::bind(address).is_ok())
            .then_some((this, claim))
        };
        (77..200).find_map(free).ok_or_else(|| "no loopback addresses are free".into())
    }

    /// A host in a network.
    pub fn at(self, network: u8, host: u8) -> std::net::IpAddr {
        Ipv4Addr::new(127, self.0, network, host).into()
    }

    /// The key management service.
    pub fn kms(self) -> SocketAddr {
        SocketAddr::new(self.at(9, 1), KMS)
    }

    /// The console.
    pub fn console(self) -> SocketAddr {
        SocketAddr::new(self.at(9, 1), CONSOLE)
    }

    /// The border that alice (`false`) or bob (`true`) registers at.
    pub fn proxy(self, bob: bool) -> String {
        format!("sip:{}:{SIP};transport=tcp", self.at(if bob { 5 } else { 1 }, 1))
    }

    /// The configuration of all roles.
    pub fn configuration(self) -> String {
        let mut out = String::from("# The whole network in one process.\n");
        let borders = [
            ("border-a", "ims-alg", "a.example", ("access", 1, 1), ("core", 2, 1), "agw-a"),
            ("interconnect-a", "ibcf", "a.example", ("core", 2, 3), ("peers", 3, 1), "trgw-a"),
            ("interconnect-b", "ibcf", "b.example", ("peers", 3, 3), ("core", 4, 3), "trgw-b"),
            ("border-b", "ims-alg", "b.example", ("core", 4, 1), ("access", 5, 1), "agw-b"),
        ];
        for (name, role, domain, first, second, gateway) in borders {
            let _ = writeln!(out, "\n[border.{name}]\nrole = \"{role}\"\ndomain = \"{domain}\"");
            let _ = writeln!(out, "control = {{ gateways = [\"{gateway}\"] }}");
            if role == "ims-alg" {
                let _ =
                    writeln!(out, "registrar = {{ mode = \"built-in\", users = \"users-{domain}.toml\" }}");
            }
            for (network, number, host) in [first, second] {
                let ip = self.at(number, host);
                let _ = writeln!(out, "[border.{name}.network.{network}]");
                let _ = writeln!(out, "listen = [\"udp:{ip}:{SIP}\", \"tcp:{ip}:{SIP}\"]");
                if network == "access" {
                    out.push_str("subscribers = true\n");
                }
            }
        }
        let routes = [
            ("border-a", "*", "core", (2, 3), "udp"),
            ("interconnect-a", "a.example", "core", (2, 1), "udp"),
            ("interconnect-a", "*", "peers", (3, 3), "tcp"),
            ("interconnect-b", "b.example", "core", (4, 1), "udp"),
            ("interconnect-b", "*", "peers", (3, 1), "tcp"),
            ("border-b", "*", "core", (4, 3), "udp"),
        ];
        for (border, domain, network, (number, host), transport) in routes {
            let ip = self.at(number, host);
            let _ =
                writeln!(out, "\n[[border.{border}.route]]\ndomain = \"{domain}\"\nnetwork = \"{network}\"");
            let _ = writeln!(out, "next-hop = \"sip:{ip}:{SIP};transport={transport}\"");
        }
        for site in GATEWAYS {
            let role = if site.role == "TrGW" { "trgw" } else { "ims-agw" };
            let _ = writeln!(out, "\n[gateway.{}]\nrole = \"{role}\"", site.gateway);
            let _ = writeln!(out, "controllers = [\"local:{}\"]\nwitness = \"full\"", site.border);
            for (realm, network) in [site.towards_alice, site.towards_bob] {
                let _ = writeln!(out, "[gateway.{}.realm.{realm}]", site.gateway);
                let _ = writeln!(out, "v4 = \"{}\"\nports = \"30000-30999\"", self.at(network, site.host));
            }
        }
        let _ = writeln!(out, "\n[kms]\nname = \"kms.example\"\nlisten = \"{}\"\ndata = \"kms\"", self.kms());
        out.push_str("tls = { certificate = \"kms.pem\", key = \"kms.key\" }\nrate = 1000\n");
        let _ = writeln!(out, "\n[admin]\nlisten = \"{}\"", self.console());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_taken_once() {
        let (first, claim) = Addresses::free().unwrap();
        let (second, _claim) = Addresses::free().unwrap();
        assert_ne!(first.kms(), second.kms());
        drop(claim);
    }

    #[test]
    fn the_configuration_is_one_that_would_run() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["users-a.example.toml", "users-b.example.toml", "kms.pem", "kms.key"] {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let text = Addresses(99).configuration();
        let config = carnet_ops::config::parse("demo", text, directory.path()).unwrap();
        assert_eq!((config.border.len(), config.gateway.len(), config.kms.is_some()), (4, 4, true));
    }
}
