//! What a file would start, in words.

use carnet_ops::config::{
    BorderRole, BorderSection, Config, GatewayRole, GatewaySection, Memory, Other, RealmSection,
};

/// One line a role, in the order in which they start.
pub fn roles(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(kms) = &config.kms {
        let kms = kms.as_ref();
        let scheme = if kms.tls.is_some() { "https" } else { "http" };
        lines.push(format!(
            "KMS {} at {scheme}://{}, data in {}",
            kms.name,
            kms.listen.0,
            kms.data.display()
        ));
    }
    for (name, border) in &config.border {
        let border = border.as_ref();
        let role = match border.role {
            BorderRole::ImsAlg => "IMS-ALG",
            BorderRole::Ibcf => "IBCF",
        };
        let networks = border.network.values().flat_map(|network| network.as_ref().listen.as_ref());
        let sockets: Vec<_> = networks.map(ToString::to_string).collect();
        let gateways = border.control.as_ref().gateways.join(", ");
        let edge = edge_of(border).map(|words| format!("; {words}")).unwrap_or_default();
        lines.push(format!(
            "{role} {name} for {} at {}, owns {gateways}{edge}",
            border.domain,
            sockets.join(", ")
        ));
    }
    for (name, server) in &config.conference {
        let server = server.as_ref();
        let sockets: Vec<_> = server.listen.as_ref().iter().map(ToString::to_string).collect();
        let (rooms, factory) =
            (server.room.len(), if server.factory.is_empty() { "" } else { " and a factory" });
        lines.push(format!(
            "MRFC {name} for {} at {}, {rooms} room{}{factory}, owns {}",
            server.domain.as_ref(),
            sockets.join(", "),
            if rooms == 1 { "" } else { "s" },
            server.control.as_ref().gateways.join(", ")
        ));
    }
    for (name, gateway) in &config.gateway {
        let gateway = gateway.as_ref();
        let role = match gateway.role {
            GatewayRole::ImsAgw => "IMS-AGW",
            GatewayRole::Trgw => "TrGW",
            GatewayRole::Mrfp => "MRFP",
        };
        let realms: Vec<_> =
            gateway.realm.iter().map(|(name, realm)| realm_of(name, realm.as_ref())).collect();
        lines.push(format!(
            "{role} {name}, {}, realms {}{}",
            owner_of(gateway),
            realms.join(", "),
            relay_of(gateway)
        ));
    }
    if let Some(admin) = config.admin.as_ref().map(|admin| admin.as_ref()) {
        let scheme = if admin.tls.is_some() { "https" } else { "http" };
        let listen = admin.listen.as_ref().map(|listen| format!("{scheme}://{}", listen.as_ref()));
        let socket = admin.socket.as_ref().map(|socket| format!("unix:{}", socket.display()));
        let places: Vec<_> = listen.into_iter().chain(socket).collect();
        lines.push(format!("administration at {}", places.join(", ")));
        lines.push(match config.trace.ring.as_ref() {
            Memory(0) => "nothing kept of what goes by: no ladders".to_owned(),
            ring => {
                let (entries, age) = (config.trace.entries.as_ref(), config.trace.age.as_ref());
                format!("what goes by is kept for ladders: {ring}, {entries} messages and events, {age} s")
            }
        });
    }
    if let Some(hep) = &config.hep {
        let password = if hep.password_file.is_some() { " with a password" } else { "" };
        lines.push(format!("messages told by HEP to {} as {}{password}", hep.server.as_ref(), hep.id));
    }
    if let Some(records) = &config.records {
        lines.push(format!("session records in {}", records.file.display()));
    }
    lines
}

/// Who says what a gateway does.
fn owner_of(gateway: &GatewaySection) -> String {
    let Some(ng) = gateway.ng.as_ref().map(|ng| ng.as_ref()) else {
        let controllers: Vec<_> = gateway.controllers.as_ref().iter().map(ToString::to_string).collect();
        return format!("controlled by {}", controllers.join(", "));
    };
    let sockets: Vec<_> = ng.listen.as_ref().iter().map(|bind| bind.as_ref().to_string()).collect();
    let peers: Vec<_> =
        ng.peers.as_ref().iter().map(|prefix| format!("{}/{}", prefix.ip, prefix.bits)).collect();
    let token = if ng.token_file.is_some() { " with a token" } else { "" };
    let interfaces = ng.interfaces(gateway);
    let interfaces: Vec<_> = interfaces
        .iter()
        .map(|(name, settings)| match settings.realm(name) {
            realm if realm == name => name.clone(),
            realm => format!("{name} ({realm})"),
        })
        .collect();
    format!(
        "steered over ng at {} by {}{token}, interfaces {}",
        sockets.join(", "),
        peers.join(", "),
        interfaces.join(", ")
    )
}

/// What a border does for accesses besides passing on; nothing where it does nothing.
fn edge_of(border: &BorderSection) -> Option<String> {
    let secured = border.network.iter().filter(|(_, network)| {
        let network = network.as_ref();
        border.policy.e2ae && network.e2ae.as_ref().map_or(network.subscribers, |e2ae| *e2ae.as_ref())
    });
    let secured: Vec<_> = secured.map(|(name, _)| name.as_str()).collect();
    let mut words = Vec::new();
    if !secured.is_empty() {
        words.push(format!("secures the access for terminals of {} that ask for it", secured.join(", ")));
    }
    if let (Some(rtpengine), Other::Rtpengine) = (&border.rtpengine, border.policy.other) {
        words.push(format!("other media by rtpengine at {}", rtpengine.as_ref().address.0));
    }
    (!words.is_empty()).then(|| words.join("; "))
}

/// A realm, with what is special about it.
fn realm_of(name: &str, realm: &RealmSection) -> String {
    let mut special = Vec::new();
    if let Some(certificate) = &realm.certificate {
        special.push(format!("certificate {}", certificate.as_ref().display()));
    }
    if realm.tls_only {
        special.push("TLS only".to_owned());
    }
    if let Some(most) = &realm.per_source {
        special.push(format!("{} connections from one address", most.as_ref()));
    }
    if special.is_empty() { name.to_owned() } else { format!("{name} ({})", special.join(", ")) }
}

fn relay_of(gateway: &GatewaySection) -> String {
    let Some(relay) = gateway.relay.as_ref().map(|relay| relay.as_ref()) else { return String::new() };
    let sockets: Vec<_> = relay.listen.as_ref().iter().map(ToString::to_string).collect();
    format!("; MSRP relay for {} at {}", relay.domain, sockets.join(", "))
}
