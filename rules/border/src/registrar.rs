//! REGISTER: bindings of terminals to the flows they came by.
//!
//! RFC 3261 §10.3, RFC 3327 (Path), RFC 3608 (Service-Route), RFC 7616 and 2617 (digest).
//!
//! A user may have several bindings, one a contact; requests go to all of them, see `fork`.
//!
//! Left out: RFC 5627 (GRUU), RFC 3680 (registration state); of RFC 5626 only that a terminal
//! with `+sip.instance` and `reg-id` replaces its own binding when its contact changes.

use crate::config::Registration;
use crate::core::{Alarm, Core, Forwarded, Purpose, named};
use crate::event::Event;
use crate::forward::{self, Remote};
use crate::mediasec;
use crate::route::{network_named, own_uri};
use crate::session::Fault;
use carnet_plan::Registered;
use carnet_sip::{DigestServer, DigestSettings, FlowId, Hop, Message, NameAddr, ServerKey, Uri, Verdict};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A terminal that can be reached.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) aor: Uri,
    pub(crate) contact: Uri,
    /// The flow it registered on.
    pub(crate) hop: Hop,
    pub(crate) network: usize,
    pub(crate) behind_nat: bool,
    /// What it wants protected up to the gateway.
    pub(crate) registered: Registered,
    /// Preference among the bindings of a user, in thousandths (RFC 3261 §20.10).
    pub(crate) q: u16,
    /// `+sip.instance` and `reg-id`, where the terminal gives both (RFC 5626 §4.2).
    instance: Option<String>,
    /// Proxies between here and the terminal (RFC 3327).
    pub(crate) path: Vec<String>,
    /// The way calls of this user take (RFC 3608).
    pub(crate) service_route: Vec<String>,
    /// The user part of our own Path.
    token: Option<String>,
    expires: Instant,
    /// For the order of updates (RFC 3261 §10.3 step 7).
    call_id: String,
    cseq: u32,
}

/// What of a binding is the registrar's alone.
#[derive(Debug)]
pub(crate) struct Lasting<'a> {
    pub(crate) instance: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    pub(crate) expires: Instant,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
}

impl Binding {
    pub(crate) fn lasting(&self) -> Lasting<'_> {
        Lasting {
            instance: self.instance.as_deref(),
            token: self.token.as_deref(),
            expires: self.expires,
            call_id: &self.call_id,
            cseq: self.cseq,
        }
    }

    /// A binding that another process has kept.
    pub(crate) fn restored(
        (aor, contact, hop, network): (Uri, Uri, Hop, usize),
        (behind_nat, registered, q): (bool, Registered, u16),
        (path, service_route): (Vec<String>, Vec<String>),
        lasting: Lasting<'_>,
    ) -> Self {
        Self {
            aor,
            contact,
            hop,
            network,
            behind_nat,
            registered,
            q,
            instance: lasting.instance.map(str::to_owned),
            path,
            service_route,
            token: lasting.token.map(str::to_owned),
            expires: lasting.expires,
            call_id: lasting.call_id.to_owned(),
            cseq: lasting.cseq,
        }
    }
}

/// All bindings, and the nonces.
#[derive(Default)]
pub(crate) struct Registrar {
    /// By address of record; the one registered last is last.
    bindings: HashMap<String, Vec<Binding>>,
    by_path: HashMap<String, String>,
    /// Who has registered from an address, once for each binding.
    by_address: HashMap<SocketAddr, Vec<String>>,
    count: usize,
    /// Users whose bindings are not as they were; for who keeps them.
    pub(crate) changed: Vec<String>,
    /// Somebody does.
    pub(crate) kept: bool,
    digest: Option<DigestServer>,
}

/// Whether two URIs name the same user (RFC 3261 §10.3 step 5: parameters do not count).
pub(crate) fn same_aor(a: &Uri, b: &Uri) -> bool {
    aor_key(a) == aor_key(b)
}

pub(crate) fn aor_key(uri: &Uri) -> String {
    format!("{}@{}", uri.user().unwrap_or_default(), uri.host().to_ascii_lowercase())
}

impl Registrar {
    /// Where a user can be reached.
    pub(crate) fn lookup(&self, target: &Uri) -> &[Binding] {
        self.bindings.get(&aor_key(target)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The bindings of a user.
    pub(crate) fn of(&self, key: &str) -> &[Binding] {
        self.bindings.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The way to a terminal of a user by its Contact: where it registered from last, if that has not gone. An
    /// address translator may have given it another address during a call, or it has connected anew.
    pub(crate) fn way(&self, key: &str, contact: &Uri) -> Option<&Hop> {
        self.of(key).iter().rev().find(|b| b.contact.equivalent(contact)).map(|b| &b.hop)
    }

    /// The binding of a user whose flow that is.
    pub(crate) fn by_flow(&self, key: &str, hop: &Hop) -> Option<&Binding> {
        let same = |b: &&Binding| match hop.flow {
            Some(_) => b.hop.flow == hop.flow,
            None => b.hop.remote == hop.remote,
        };
        self.of(key).iter().rev().find(same)
    }

    /// The binding whose Path holds this token.
    pub(crate) fn by_path(&self, token: &str) -> Option<&Binding> {
        let list = self.bindings.get(self.by_path.get(token)?)?;
        list.iter().find(|b| b.token.as_deref() == Some(token))
    }

    /// The binding a request comes from: the user it names, at the address it came from.
    pub(crate) fn sender(&self, from: &Uri, hop: &Hop) -> Option<&Binding> {
        let list = self.bindings.get(&aor_key(from))?;
        let same_flow = |b: &&Binding| hop.flow.is_some() && b.hop.flow == hop.flow;
        let same_address = |b: &&Binding| b.hop.remote == hop.remote;
        let same_host = |b: &&Binding| b.hop.remote.ip() == hop.remote.ip();
        let rev = || list.iter().rev();
        rev().find(same_flow).or_else(|| rev().find(same_address)).or_else(|| rev().find(same_host))
    }

    /// The binding a request outside dialogs comes from. Who hides (RFC 3323 §4.1.1.3), or gives a telephone number, is
    /// who it says it prefers to be (RFC 3325 §9.2), else who has registered from there, if that is one user.
    pub(crate) fn speaker(&self, request: &Message, hop: &Hop) -> Option<&Binding> {
        let from = request.from().ok()?;
        let uri = from.uri();
        let sender = self.sender(uri, hop);
        let hidden = || uri.host().is_empty() || uri.host().to_ascii_lowercase().ends_with(".invalid");
        if sender.is_some() || !hidden() {
            return sender;
        }
        let preferred = request.addresses("P-Preferred-Identity").unwrap_or_default();
        let named = preferred.iter().find_map(|identity| self.sender(identity.uri(), hop));
        named.or_else(|| {
            let here = self.by_address.get(&hop.remote)?;
            let user = here.first().filter(|user| here.iter().all(|other| other == *user))?;
            self.by_flow(user, hop)
        })
    }

    /// How many stand that were made from a network.
    pub(crate) fn of_network(&self, network: usize) -> usize {
        self.bindings.values().flatten().filter(|binding| binding.network == network).count()
    }

    /// Puts a binding in, in place of an older one for the same contact.
    pub(crate) fn bind(&mut self, binding: Binding) {
        let key = aor_key(&binding.aor);
        self.unbind(&key, &binding.contact);
        if let Some(token) = &binding.token {
            self.by_path.insert(token.clone(), key.clone());
        }
        self.by_address.entry(binding.hop.remote).or_default().push(key.clone());
        self.count += 1;
        if self.kept {
            self.changed.push(key.clone());
        }
        self.bindings.entry(key).or_default().push(binding);
    }

    fn unbind(&mut self, key: &str, contact: &Uri) -> Option<Binding> {
        let list = self.bindings.get_mut(key)?;
        let at = list.iter().position(|b| b.contact.equivalent(contact))?;
        let gone = list.remove(at);
        if list.is_empty() {
            self.bindings.remove(key);
        }
        self.count -= 1;
        if self.kept {
            self.changed.push(key.to_owned());
        }
        if let Some(token) = &gone.token {
            self.by_path.remove(token);
        }
        if let Some(here) = self.by_address.get_mut(&gone.hop.remote) {
            if let Some(at) = here.iter().position(|user| user == key) {
                here.swap_remove(at);
            }
            if here.is_empty() {
                self.by_address.remove(&gone.hop.remote);
            }
        }
        Some(gone)
    }

    /// Forgets all bindings but these, by the keys of their users; returns them.
    pub(crate) fn keep(&mut self, named: impl Fn(&str, &Binding) -> bool) -> Vec<Binding> {
        let mut users: Vec<String> = self.bindings.keys().cloned().collect();
        users.sort_unstable();
        users.iter().flat_map(|key| self.remove(key, |binding| !named(key, binding))).collect()
    }

    /// Whether somebody's datagrams of that network come and go by that address of ours.
    pub(crate) fn is_reached_by(&self, network: usize, local: SocketAddr) -> bool {
        let mut all = self.bindings.values().flatten();
        all.any(|binding| binding.network == network && binding.hop.local == Some(local))
    }

    /// Takes out what `drop` holds for; returns it.
    fn remove(&mut self, key: &str, drop: impl Fn(&Binding) -> bool) -> Vec<Binding> {
        let doomed: Vec<Uri> = self
            .bindings
            .get(key)
            .map(|l| l.iter().filter(|b| drop(b)).map(|b| b.contact.clone()).collect())
            .unwrap_or_default();
        doomed.iter().filter_map(|contact| self.unbind(key, contact)).collect()
    }
}

impl Core {
    /// A REGISTER came.
    pub(crate) fn register(
        &mut self,
        now: Instant,
        network: usize,
        key: ServerKey,
        message: Message,
        hop: Hop,
    ) {
        let outcome = match &self.config.registration {
            Registration::None => Err(Fault::new(403, "nobody registers here")),
            _ if !self.config.networks.get(network).is_some_and(|n| n.access) => {
                Err(Fault::new(403, "nobody registers from this network"))
            }
            Registration::Local { .. } => self.register_here(now, network, key, &message, &hop),
            Registration::Forward { .. } => self.register_onward(now, network, key, &message, hop),
        };
        if let Err(fault) = outcome {
            let aor = message.to().map(|t| t.uri().to_string()).unwrap_or_default();
            self.events.push_back(Event::RegistrationRefused { aor, status: fault.status });
            self.refuse(now, key, &message, &fault);
        }
    }

    fn register_here(
        &mut self,
        now: Instant,
        network: usize,
        key: ServerKey,
        message: &Message,
        hop: &Hop,
    ) -> Result<(), Fault> {
        let Registration::Local { realm, users, algorithms, max_expires, min_expires } =
            &self.config.registration
        else {
            return Err(Fault::new(500, "not the registrar"));
        };
        let (max, min) = (*max_expires, *min_expires);
        let malformed = |e: carnet_sip::Error| Fault::new(400, e.to_string());
        let mut random = self.random.clone();
        let digest = self.registrar.digest.get_or_insert_with(|| {
            let settings = DigestSettings { algorithms: algorithms.clone(), ..DigestSettings::new(realm) };
            DigestServer::new(settings, now, &mut random)
        });
        let password = |name: &str| users.iter().find(|u| u.username == name).map(|u| &u.password);
        let user = match digest.verify(now, message, password) {
            Verdict::Accepted { user } => user,
            Verdict::Challenge { stale } => {
                let mut challenge = digest.refusal(now, message, stale, &mut random).map_err(malformed)?;
                self.tell_mediasec(network, &mut challenge, message);
                let _ = self.endpoint.respond(now, key, challenge);
                return Ok(());
            }
            Verdict::Denied => return Err(Fault::new(403, "the credentials are wrong")),
        };
        // RFC 3261 §10.3 step 4: who may change the bindings of whom.
        let aor = message.to().map_err(malformed)?.uri().without_headers();
        if !users.iter().any(|u| u.username == user && same_aor(&u.aor, &aor)) {
            return Err(Fault::new(403, "this user may not register that address"));
        }
        let updates = self.updates(now, network, message, hop, &aor, (min, max))?;
        self.apply(&aor, updates);
        let mut response = Message::response(message, 200, "").map_err(malformed)?;
        for binding in self.registrar.bindings.get(&aor_key(&aor)).into_iter().flatten() {
            let left = binding.expires.saturating_duration_since(now).as_secs();
            let q = if binding.q < 1000 { format!(";q=0.{:03}", binding.q) } else { String::new() };
            let value = format!("<{}>{q};expires={left}", binding.contact);
            response.push_back("Contact", &value).map_err(malformed)?;
        }
        response.copy_lines("Path", message);
        self.tell_mediasec(network, &mut response, message);
        let _ = self.endpoint.respond(now, key, response);
        Ok(())
    }

    /// Reads what a REGISTER (or the response to one) wants bound.
    fn updates(
        &self,
        now: Instant,
        network: usize,
        message: &Message,
        hop: &Hop,
        aor: &Uri,
        (min, max): (u32, u32),
    ) -> Result<Vec<(Binding, u32)>, Fault> {
        let malformed = |e: carnet_sip::Error| Fault::new(400, e.to_string());
        let cseq = message.cseq().map_err(malformed)?.number;
        let call_id = message.call_id().map_err(malformed)?.to_owned();
        let known = self.registrar.bindings.get(&aor_key(aor)).map(Vec::as_slice).unwrap_or_default();
        // RFC 3261 §10.3 step 6: an older request of the same sender must not win.
        if known.iter().any(|b| b.call_id == call_id && b.cseq >= cseq) {
            return Err(Fault::new(500, "a later REGISTER was here first"));
        }
        if message.is_contact_star() {
            if message.expires() != Some(0) {
                return Err(Fault::new(400, "Contact * needs Expires 0"));
            }
            return Ok(known.iter().map(|b| (b.clone(), 0)).collect());
        }
        let path: Vec<String> =
            message.addresses("Path").map_err(malformed)?.iter().map(NameAddr::to_string).collect();
        let mut updates = Vec::new();
        for contact in message.contacts().map_err(malformed)? {
            let asked = contact.param("expires").map(|e| e.parse().unwrap_or(max));
            let seconds = asked.or(message.expires()).unwrap_or(max).min(max);
            if seconds != 0 && seconds < min {
                let header = Some(("Min-Expires", min.to_string()));
                return Err(Fault { header, ..Fault::new(423, "the interval is too brief") });
            }
            let uri = contact.uri().clone();
            let old = known.iter().find(|b| b.contact.equivalent(&uri));
            let instance = instance(&contact);
            // RFC 5626 §6: the same terminal on the same flow, whatever address it has now.
            let moved = |b: &&Binding| b.instance.is_some() && b.instance == instance;
            let before = known.iter().filter(|b| moved(b) && !b.contact.equivalent(&uri));
            updates.extend(before.map(|b| (b.clone(), 0)));
            let binding = Binding {
                aor: aor.clone(),
                behind_nat: behind_nat(message, &uri, hop),
                registered: self.wants(network, message, old),
                q: preference(&contact),
                instance,
                contact: uri,
                hop: hop.clone(),
                network,
                path: path.clone(),
                service_route: Vec::new(),
                token: old.and_then(|b| b.token.clone()),
                expires: now + Duration::from_secs(u64::from(seconds)),
                call_id: call_id.clone(),
                cseq,
            };
            updates.push((binding, seconds));
        }
        let limits = &self.config.limits;
        let more =
            updates.iter().filter(|(b, s)| *s > 0 && !known.iter().any(|k| k.contact.equivalent(&b.contact)));
        let more = more.count();
        let gone =
            updates.iter().filter(|(b, s)| *s == 0 && known.iter().any(|k| k.contact.equivalent(&b.contact)));
        if known.len() + more > limits.contacts + gone.count()
            || self.registrar.count + more > limits.bindings
        {
            return Err(Fault::new(503, "no room for more bindings"));
        }
        Ok(updates)
    }

    /// What a terminal wants protected up to the gateway, where that is done. A refresh that does not
    /// speak of it changes nothing.
    fn wants(&self, network: usize, register: &Message, old: Option<&Binding>) -> Registered {
        let call_id = register.call_id().unwrap_or_default();
        let kept = || old.filter(|b| b.call_id == call_id).map(|b| b.registered);
        let wanted = mediasec::wanted(register).or_else(kept).unwrap_or_default();
        if self.ends_tls(network) { wanted } else { Registered::default() }
    }

    /// Whether TLS of terminals can end at a gateway of that network. What is promised is kept: a call that
    /// could not have it would be refused.
    fn ends_tls(&self, network: usize) -> bool {
        let network = self.config.networks.get(network).filter(|n| n.access && n.e2ae);
        network.is_some_and(|n| self.gateways.end_tls([&n.realm, &n.realm]))
    }

    /// Tells a terminal that asked what is done here.
    pub(crate) fn tell_mediasec(&self, network: usize, response: &mut Message, register: &Message) {
        if self.ends_tls(network) {
            // A header of our own is printable, so adding it cannot fail.
            let _ = mediasec::tell(response, register);
        }
    }

    fn apply(&mut self, aor: &Uri, updates: Vec<(Binding, u32)>) {
        for (binding, seconds) in updates {
            let (aor, contact) = (aor.to_string(), binding.contact.to_string());
            if seconds == 0 {
                if self.registrar.unbind(&aor_key(&binding.aor), &binding.contact).is_some() {
                    self.events.push_back(Event::Unregistered { aor, contact });
                }
                continue;
            }
            self.alarm(binding.expires, Alarm::Binding(aor_key(&binding.aor)));
            self.registrar.bind(binding);
            self.events.push_back(Event::Registered { aor, contact, expires: seconds });
        }
    }

    /// Takes out the bindings of a user that have run out.
    pub(crate) fn expire(&mut self, now: Instant, key: &str) {
        for gone in self.registrar.remove(key, |b| b.expires <= now) {
            let (aor, contact) = (gone.aor.to_string(), gone.contact.to_string());
            self.events.push_back(Event::Unregistered { aor, contact });
        }
    }

    /// The connection a terminal registered on is gone (RFC 5626 §5.3).
    pub(crate) fn flow_failed(&mut self, flow: FlowId) {
        let keys: Vec<_> = self
            .registrar
            .bindings
            .iter()
            .filter(|(_, list)| list.iter().any(|b| b.hop.flow == Some(flow)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            for gone in self.registrar.remove(&key, |b| b.hop.flow == Some(flow)) {
                let (aor, contact) = (gone.aor.to_string(), gone.contact.to_string());
                self.events.push_back(Event::Unregistered { aor, contact });
            }
        }
    }

    // -- a registrar elsewhere ---------------------------------------------------------------

    fn register_onward(
        &mut self,
        now: Instant,
        network: usize,
        key: ServerKey,
        message: &Message,
        hop: Hop,
    ) -> Result<(), Fault> {
        let Registration::Forward { hop: next, network: towards } = &self.config.registration else {
            return Err(Fault::new(500, "no registrar"));
        };
        let (next, towards) = (next.clone(), network_named(&self.config, towards)?);
        let malformed = |e: carnet_sip::Error| Fault::new(400, e.to_string());
        let aor = message.to().map_err(malformed)?.uri().clone();
        let contact = message.contacts().map_err(malformed)?.first().map(|c| c.uri().clone());
        let known = self.registrar.bindings.get(&aor_key(&aor)).into_iter().flatten();
        let known = known.filter(|b| contact.as_ref().is_some_and(|c| b.contact.equivalent(c)));
        let token = known.filter_map(|b| b.token.clone()).next().unwrap_or_else(|| self.token());
        let ours = self.config.networks.get(towards).ok_or_else(|| Fault::new(500, "no such network"))?;
        let path = own_uri(ours, &token)?;
        let remote = Remote { target: message.request_uri().cloned(), routes: Vec::new(), cseq: 0 };
        let mut onward = forward::request(message, &remote, &path)?;
        onward.push_front("Path", &format!("<{path};lr>")).map_err(malformed)?;
        if !onward.lists("Require", "path") {
            // TS 24.229 §5.2.2: the registrar must understand Path.
            onward.push_back("Require", "path").map_err(malformed)?;
        }
        let destination = carnet_sip::Destination::from(next).leaving(&ours.listen);
        let to = named(&destination);
        let client = self
            .endpoint
            .request(now, onward, destination)
            .map_err(|e| Fault::new(e.status().unwrap_or(503), e.to_string()))?;
        let purpose = Purpose::Register { hop, network, token };
        self.clients.insert(client, Forwarded { purpose, server: key, request: message.clone(), to });
        Ok(())
    }

    /// The registrar answered.
    pub(crate) fn registered_onward(
        &mut self,
        now: Instant,
        (hop, network, token): (&Hop, usize, &str),
        request: &Message,
        response: &Message,
    ) {
        let Ok(to) = request.to() else { return };
        let aor = to.uri().clone();
        let status = response.status().unwrap_or(0);
        if !(200..300).contains(&status) {
            // A challenge is no refusal.
            if status != 401 && status != 407 {
                self.events.push_back(Event::RegistrationRefused { aor: aor.to_string(), status });
            }
            return;
        }
        let key = aor_key(&aor);
        let asked: Vec<Uri> = match request.is_contact_star() {
            true => {
                self.registrar.bindings.get(&key).into_iter().flatten().map(|b| b.contact.clone()).collect()
            }
            false => request.contacts().unwrap_or_default().iter().map(|c| c.uri().clone()).collect(),
        };
        let granted = response.contacts().unwrap_or_default();
        let routes = response.addresses("Service-Route").unwrap_or_default();
        let service_route: Vec<String> = routes.iter().map(NameAddr::to_string).collect();
        let mut updates = Vec::new();
        for contact in asked {
            let mine = granted.iter().find(|c| c.uri().equivalent(&contact));
            let known = self.registrar.bindings.get(&key).into_iter().flatten();
            let old = known.into_iter().find(|b| b.contact.equivalent(&contact));
            let seconds = mine.map_or(0, |c| {
                c.param("expires").and_then(|e| e.parse().ok()).or(response.expires()).unwrap_or(3600)
            });
            let binding = Binding {
                aor: aor.clone(),
                behind_nat: behind_nat(request, &contact, hop),
                registered: self.wants(network, request, old),
                q: mine.map_or(1000, preference),
                instance: None,
                contact,
                hop: hop.clone(),
                network,
                path: Vec::new(),
                service_route: service_route.clone(),
                token: Some(token.to_owned()),
                expires: now + Duration::from_secs(u64::from(seconds)),
                call_id: request.call_id().unwrap_or_default().to_owned(),
                cseq: request.cseq().map(|c| c.number).unwrap_or(0),
            };
            updates.push((binding, seconds));
        }
        self.apply(&aor, updates);
    }
}

/// Whether a terminal stands behind a NAT: the address it knows as its own is not the one it comes from.
///
/// It says its own in Via and, where it is no name, in Contact. Behind a proxy (several Via) the address
/// it came from is what that proxy noted (`received`, RFC 3261 §18.2.1).
fn behind_nat(register: &Message, contact: &Uri, hop: &Hop) -> bool {
    let vias = register.vias().unwrap_or_default();
    let [.., first] = vias.as_slice() else { return false };
    let source: Option<IpAddr> = match vias.len() {
        1 => Some(hop.remote.ip()),
        _ => first.received(),
    };
    let own: Option<IpAddr> = first.host().trim_matches(['[', ']']).parse().ok();
    let differs = |own: Option<IpAddr>| own.zip(source).is_some_and(|(own, source)| own != source);
    differs(own) || differs(contact.ip())
}

/// The `q` of a contact in thousandths; the highest if there is none or it is no q value.
fn preference(contact: &NameAddr) -> u16 {
    let Some(text) = contact.param("q") else { return 1000 };
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let digits = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    match (whole, digits) {
        ("0", true) => format!("{part:0<3}").parse().unwrap_or(1000),
        _ => 1000,
    }
}

fn instance(contact: &NameAddr) -> Option<String> {
    Some(format!("{};{}", contact.param("+sip.instance")?, contact.param("reg-id")?))
}
