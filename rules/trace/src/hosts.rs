//! Columns: which addresses are one host, and what it seems to be.

use crate::model::{Entry, Fact, Host, Tls, Way};
use crate::telling::Node;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Addresses of one node that are told.
const MOST_ADDRESSES: usize = 64;

/// Addresses that several hosts share: somebody there spoke to himself.
#[derive(Debug, Default)]
pub(crate) struct Splits {
    ips: HashSet<IpAddr>,
    /// A port that a client has for a moment, and the one by which it is known.
    known_as: HashMap<SocketAddr, SocketAddr>,
}

impl Splits {
    pub(crate) fn of<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Self {
        let ips: HashSet<IpAddr> = entries
            .clone()
            .filter(|e| e.way != Way::Inside && e.from.ip() == e.to.ip())
            .map(|e| e.from.ip())
            .collect();
        let mut known_as = HashMap::new();
        if !ips.is_empty() {
            for entry in entries {
                let Fact::Sip(sip) = &entry.fact else { continue };
                // On a connection the port that a client sends from says nothing of who it is; its Via does.
                let told = sip.status.is_none() && entry.way == Way::Tcp && ips.contains(&entry.from.ip());
                if let Some(at) = via(&entry.text).filter(|at| told && at.ip() == entry.from.ip()) {
                    known_as.insert(entry.from, at);
                }
            }
        }
        Self { ips, known_as }
    }

    /// The name of the node at an address.
    fn node(&self, address: SocketAddr) -> String {
        if !self.ips.contains(&address.ip()) {
            return address.ip().to_string();
        }
        self.known_as.get(&address).unwrap_or(&address).to_string()
    }
}

/// The address in the topmost Via.
fn via(text: &str) -> Option<SocketAddr> {
    let line = text.lines().find(|line| {
        line.split(':')
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("via") || name.eq_ignore_ascii_case("v"))
    })?;
    let value = line.split_once(':')?.1.split(',').next()?;
    let via = carnet_sip::Via::parse(value.trim()).ok()?;
    Some(SocketAddr::new(carnet_sip::host_ip(via.host())?, via.port().unwrap_or(5060)))
}

/// Subscribers, by the addresses that registered.
pub(crate) type Users = HashMap<IpAddr, String>;

/// Who registers from where, as long as nobody registers there.
pub(crate) fn users<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Users {
    let requests = entries.filter_map(|entry| match &entry.fact {
        Fact::Sip(sip) if sip.is_request("REGISTER") => Some((entry, sip)),
        _ => None,
    });
    let servers: HashSet<IpAddr> = requests.clone().map(|(entry, _)| entry.to.ip()).collect();
    requests
        .filter(|(entry, _)| !servers.contains(&entry.from.ip()))
        .map(|(entry, sip)| (entry.from.ip(), local(&sip.to_user).to_owned()))
        .collect()
}

fn local(user: &str) -> &str {
    user.split('@').next().unwrap_or(user)
}

/// What is known of a node.
#[derive(Debug, Default, Clone)]
struct Known {
    told: Option<Arc<Node>>,
    addresses: Vec<String>,
    user: Option<String>,
    invites: bool,
    invited: bool,
    forwards: bool,
    registrar: bool,
    controls: bool,
    controlled_by: Option<usize>,
    keys: bool,
    proxied: bool,
    media: bool,
    called: Option<String>,
    calls: Option<String>,
    /// The user that calls to it were for.
    asked_for: String,
    /// Who it exchanges INVITEs with.
    beside: Vec<usize>,
}

/// Chooses columns, and writes into each entry which they are.
pub(crate) fn columns(entries: &mut [Entry], splits: &Splits, users: &Users) -> Vec<Host> {
    let mut names: Vec<String> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut told: Vec<Option<Arc<Node>>> = Vec::new();
    let mut used: Vec<Vec<String>> = Vec::new();
    let mut place = |address: SocketAddr, node: Option<&Arc<Node>>| {
        let name = node.map_or_else(|| splits.node(address), |node| format!("={} {}", node.role, node.name));
        let at = *index.entry(name.clone()).or_insert_with(|| {
            told.push(node.cloned());
            used.push(Vec::new());
            names.push(name);
            names.len() - 1
        });
        let address = address.to_string();
        if let Some(used) =
            used.get_mut(at).filter(|used| used.len() < MOST_ADDRESSES && !used.contains(&address))
        {
            used.push(address);
        }
        at
    };
    for entry in entries.iter_mut() {
        let (from, to) = (entry.from_node.as_ref(), entry.to_node.as_ref());
        entry.from_host = place(entry.from, from);
        entry.to_host = place(entry.to, to);
    }
    let signalling = hops(entries, |fact| match fact {
        Fact::Sip(sip) if sip.status.is_none() && matches!(sip.method.as_str(), "INVITE" | "REGISTER") => {
            Some(format!("{} {}", sip.method, sip.in_dialog))
        }
        _ => None,
    });
    let media = hops(entries, |fact| match fact {
        Fact::Tls(tls) => match &**tls {
            Tls::ClientHello(hello) => Some(hello.random.clone()),
            _ => None,
        },
        _ => None,
    });
    let mut same: Vec<usize> = (0..names.len()).collect();
    for chain in signalling.values().chain(media.values()) {
        for (left, right) in faces(chain) {
            let (left, right) = (find(&same, left), find(&same, right));
            if let Some(slot) = same.get_mut(left.max(right)) {
                *slot = left.min(right);
            }
        }
    }
    let way = |chains: &BTreeMap<(usize, String), Chain>| {
        let mut out: Vec<usize> = Vec::new();
        for (from, to) in chains.values().flatten() {
            for root in [find(&same, *from), find(&same, *to)] {
                if !out.contains(&root) {
                    out.push(root);
                }
            }
        }
        out
    };
    let mut order = ordered(&way(&signalling), &way(&media), &steered(entries, &same));
    for node in 0..names.len() {
        let root = find(&same, node);
        if !order.contains(&root) {
            order.push(root);
        }
    }
    let column: HashMap<usize, usize> =
        order.iter().enumerate().map(|(column, root)| (*root, column)).collect();
    let of = |node: usize| column.get(&find(&same, node)).copied().unwrap_or_default();
    for entry in entries.iter_mut() {
        entry.from_host = of(entry.from_host);
        entry.to_host = of(entry.to_host);
    }
    let mut nodes = vec![Known::default(); order.len()];
    for (node, ((name, told), used)) in names.into_iter().zip(told).zip(used).enumerate() {
        let Some(slot) = nodes.get_mut(of(node)) else { continue };
        match told {
            None => slot.addresses.push(name),
            Some(told) => {
                let used = used.into_iter().filter(|address| !address.starts_with("0."));
                slot.addresses.extend(used);
                slot.told = Some(told);
            }
        }
    }
    learn(&mut nodes, entries, users);
    let roles: Vec<String> = (0..nodes.len()).map(|at| role(&nodes, at)).collect();
    let host = |(node, role): (Known, String)| match node.told {
        Some(told) => Host { name: told.name.clone(), role: told.role.clone(), addresses: node.addresses },
        None => Host { name: String::new(), role, addresses: node.addresses },
    };
    nodes.into_iter().zip(roles).map(host).collect()
}

fn find(same: &[usize], node: usize) -> usize {
    let mut at = node;
    while let Some(next) = same.get(at).copied()
        && next != at
    {
        at = next;
    }
    at
}

type Chain = Vec<(usize, usize)>;

/// Who steers whom.
fn steered(entries: &[Entry], same: &[usize]) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for entry in entries {
        let adds = match &entry.fact {
            Fact::Control(control) => control.adds,
            Fact::Ng(ng) => ng.command.is_some(),
            _ => false,
        };
        let pair = (find(same, entry.from_host), find(same, entry.to_host));
        if adds && !out.contains(&pair) {
            out.push(pair);
        }
    }
    out
}

/// The order of columns: the way of the call, with each gateway behind the one that steers it. Where that cannot
/// be seen and there are as many gateways as there are hosts between the ends, the first belongs to the first.
fn ordered(signalling: &[usize], media: &[usize], steered: &[(usize, usize)]) -> Vec<usize> {
    let mut left: Vec<usize> = media.iter().copied().filter(|node| !signalling.contains(node)).collect();
    left.retain(|node| !steered.iter().any(|(_, gateway)| gateway == node));
    let pairs = signalling.len() == left.len() + 2;
    let mut left = left.into_iter();
    let mut order: Vec<usize> = Vec::new();
    for (place, node) in signalling.iter().enumerate() {
        let gateways = steered.iter().filter(|(by, _)| by == node).map(|(_, gateway)| *gateway);
        let beside = if pairs && place > 0 { left.next() } else { None };
        for node in [*node].into_iter().chain(gateways).chain(beside) {
            if !order.contains(&node) {
                order.push(node);
            }
        }
    }
    order.extend(left.filter(|node| !order.contains(node)).collect::<Vec<_>>());
    order
}

/// The ways that things took that are the same at every hop, in the order of time.
fn hops(entries: &[Entry], what: impl Fn(&Fact) -> Option<String>) -> BTreeMap<(usize, String), Chain> {
    let mut out: BTreeMap<(usize, String), Chain> = BTreeMap::new();
    let mut first: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let Some(name) = what(&entry.fact) else { continue };
        let count = first.len();
        let at = *first.entry(name.clone()).or_insert(count);
        let chain = out.entry((at, name)).or_default();
        let hop = (entry.from_host, entry.to_host);
        if !chain.contains(&hop) {
            chain.push(hop);
        }
    }
    out
}

/// Two addresses of one host: it gets something at one and sends it on from the other.
fn faces(chain: &Chain) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut sent: HashSet<usize> = HashSet::new();
    let receivers: HashSet<usize> = chain.iter().map(|(_, to)| *to).collect();
    let senders: HashSet<usize> = chain.iter().map(|(from, _)| *from).collect();
    for pair in chain.windows(2) {
        let [(from, to), (next, _)] = pair else { continue };
        sent.insert(*from);
        if to != next && !senders.contains(to) && !receivers.contains(next) && !sent.contains(next) {
            out.push((*to, *next));
        }
    }
    out
}

fn learn(nodes: &mut [Known], entries: &[Entry], users: &Users) {
    // Several may register from the same address; in this session it is the one that does so here.
    for entry in entries {
        let Fact::Sip(sip) = &entry.fact else { continue };
        if sip.is_request("REGISTER")
            && users.contains_key(&entry.from.ip())
            && let Some(node) = nodes.get_mut(entry.from_host)
        {
            node.user = Some(local(&sip.to_user).to_owned());
        }
    }
    for entry in entries {
        let (from, to) = (entry.from_host, entry.to_host);
        let mut update = |at: usize, change: &mut dyn FnMut(&mut Known)| {
            if let Some(node) = nodes.get_mut(at) {
                change(node);
            }
        };
        match &entry.fact {
            Fact::Sip(sip) => {
                for (at, ip) in [(from, entry.from.ip()), (to, entry.to.ip())] {
                    if let Some(user) = users.get(&ip) {
                        update(at, &mut |node| {
                            node.user.get_or_insert_with(|| user.clone());
                        });
                    }
                }
                if sip.is_request("INVITE") && !sip.in_dialog {
                    update(from, &mut |node| node.beside.push(to));
                    update(to, &mut |node| node.beside.push(from));
                    update(from, &mut |node| {
                        node.forwards |= node.invited;
                        node.invites = true;
                        node.calls = Some(local(&sip.from_user).to_owned());
                    });
                    // A request whose URI is where it goes has arrived.
                    let here =
                        carnet_sip::Uri::parse(&sip.uri).ok().and_then(|uri| uri.ip()) == Some(entry.to.ip());
                    update(to, &mut |node| {
                        node.invited = true;
                        local(&sip.to_user).clone_into(&mut node.asked_for);
                        if here {
                            node.called = Some(local(&sip.to_user).to_owned());
                        }
                    });
                }
                if sip.is_request("REGISTER") {
                    update(to, &mut |node| node.registrar = true);
                    update(from, &mut |node| node.forwards |= node.registrar);
                }
            }
            Fact::Control(control) => {
                if control.adds {
                    update(from, &mut |node| node.controls = true);
                    update(to, &mut |node| node.controlled_by = Some(from));
                }
                if control.service.is_some() {
                    update(from, &mut |node| node.controlled_by = Some(to));
                    update(to, &mut |node| node.controls = true);
                }
            }
            Fact::Tls(tls) => {
                if let Tls::ClientHello(hello) = &**tls {
                    let keys =
                        hello.sni.as_deref().is_some_and(|name| name.to_ascii_lowercase().contains("kms"));
                    update(to, &mut |node| {
                        node.keys |= keys;
                        node.media |= !keys;
                    });
                }
            }
            Fact::Http(http) if http.method.is_some() && !http.keys.is_empty() => {
                update(to, &mut |node| node.keys = true);
            }
            Fact::Ng(ng) if ng.command.is_some() => {
                update(to, &mut |node| node.proxied = true);
            }
            Fact::Msrp(_) | Fact::Tcp(_) | Fact::Floor(_) => update(to, &mut |node| node.media = true),
            _ => {}
        }
    }
}

/// The role that a node seems to have.
fn role(nodes: &[Known], at: usize) -> String {
    let Some(node) = nodes.get(at) else { return String::new() };
    if let Some(user) = &node.user {
        return format!("UE {user}");
    }
    if node.keys {
        return "KMS".to_owned();
    }
    // The border of an access network has subscribers beside it (TS 23.228 annex G).
    let border = |at: usize| {
        let beside = nodes.get(at).map(|node| node.beside.as_slice()).unwrap_or_default();
        let mut beside = beside.iter().filter_map(|at| nodes.get(*at));
        let access = beside.any(|n| n.user.is_some() || n.called.is_some());
        if access { "IMS-ALG" } else { "IBCF" }
    };
    if let Some(controller) = node.controlled_by {
        let known = nodes.get(controller).is_some_and(|n| n.invites || n.invited);
        return match (known, border(controller)) {
            (false, _) => "gateway",
            (true, "IMS-ALG") => "IMS-AGW",
            (true, _) => "TrGW",
        }
        .to_owned();
    }
    if node.controls {
        return if node.invites || node.invited { border(at) } else { "controller" }.to_owned();
    }
    if node.proxied {
        return "media proxy".to_owned();
    }
    if let (Some(user), false) = (&node.called, node.invites) {
        return format!("UE {user}");
    }
    match (node.invited, node.invites) {
        (true, true) => "border".to_owned(),
        (false, true) => node.calls.as_ref().map_or_else(String::new, |user| format!("caller {user}")),
        (true, false) => format!("called {}", node.asked_for),
        (false, false) if node.registrar => "registrar".to_owned(),
        (false, false) if node.media => "gateway".to_owned(),
        _ => String::new(),
    }
}
