//! What a relay does with a stream besides passing it: end TLS for the peer (end-to-access-edge security,
//! TS 23.334 §6.2.10.3), rewrite the paths of MSRP (application-aware interworking, §5.19.5), or neither.
//!
//! Local says which. With a fingerprint TLS ends at the gateway; without one `TCP/TLS` passes as it is
//! (§6.2.10A), whatever is inside. `TCP/MSRP`, and `TCP/TLS/MSRP` where TLS ends, is MSRP that the gateway
//! reads; `TCP/BFCP` and `TCP/TLS/BFCP` are not read. The two exclude each other: what is sealed end to end
//! has no paths that could be rewritten (§5.19.5, RFC 6714 §5).
//!
//! Leaves out: pre-shared keys, which end in a conference only.

use carnet_h248::LocalControl;

use crate::context::Stream;
use crate::description::{Description, Transport};
use crate::error::Fault;
use crate::media::{Edge, Leg, TlsRole};
use crate::plan::Plan;
use crate::signals::Bearer;

/// Whether TLS with the peer ends at the gateway.
pub(crate) fn ends_tls(local: &Description) -> bool {
    !local.fingerprints.is_empty()
}

/// Whether the gateway reads the MSRP that passes.
pub(crate) fn is_aware(local: &Description) -> bool {
    match local.transport {
        Transport::Msrp => true,
        Transport::TlsMsrp => ends_tls(local),
        Transport::Transparent | Transport::Tls | Transport::Bfcp | Transport::TlsBfcp => false,
    }
}

/// Refuses what does not go together.
pub(crate) fn check(
    control: &LocalControl,
    local: Option<&Description>,
    remote: Option<&Description>,
) -> Result<(), Fault> {
    if control.properties.iter().any(|p| p.name.package().eq_ignore_ascii_case("crntls")) {
        return Err(Fault::unsupported(
            501,
            "Not implemented: TLS with pre-shared keys that ends in a relay",
        ));
    }
    let Some(local) = local else { return Ok(()) };
    let conflict = |what: &str| Err(Fault::request(473, format!("Conflicting values: {what}")));
    let ends_tls = ends_tls(local);
    if ends_tls && !local.transport.is_sealed() {
        return conflict("a=fingerprint in Local, whose transport has no TLS");
    }
    if local.fingerprints.asked.as_deref().is_some_and(|hash| !hash.eq_ignore_ascii_case("SHA-256")) {
        return Err(Fault::unsupported(501, "Not implemented: fingerprints of its own other than SHA-256"));
    }
    let path = |d: &Description| d.path.is_some();
    if local.transport == Transport::TlsMsrp && !ends_tls && (path(local) || remote.is_some_and(path)) {
        return Err(Fault::unsupported(
            501,
            "Not implemented: a=path of MSRP whose TLS does not end here. What is sealed end to end is not rewritten",
        ));
    }
    let Some(remote) = remote else { return Ok(()) };
    if !remote.fingerprints.is_empty() && !ends_tls {
        return Err(Fault::request(472, "Required information missing: a=fingerprint of Local"));
    }
    if remote.fingerprints.is_useless() {
        return Err(Fault::unsupported(
            449,
            "Unsupported value of a=fingerprint: no SHA-256, SHA-384 or SHA-512",
        ));
    }
    if ends_tls && !remote.transport.is_sealed() {
        return conflict("TLS is to end here, and the transport of Remote has none");
    }
    if is_aware(local) && !ends_tls && remote.transport.is_sealed() {
        return conflict("TLS in the transport of Remote, and none in that of Local");
    }
    if let Some(path) = remote.path.as_deref().filter(|_| is_aware(local)) {
        let syntax = |what: String| Fault::request(474, format!("Invalid SDP: a=path of Remote: {what}"));
        let uris = carnet_msrp::parse_path(path.as_bytes()).map_err(|error| syntax(error.to_string()))?;
        // The gateway's URI towards the other peer names it.
        if uris.last().is_none_or(|uri| uri.session_id().is_none()) {
            return Err(syntax("its last URI names no session".to_owned()));
        }
    }
    Ok(())
}

/// Refuses signals for TLS where none ends, or where it stands and the peer has begun it.
pub(crate) fn check_signals(plan: &Plan, old: &[Stream]) -> Result<(), Fault> {
    let mut released: Vec<Option<u16>> = Vec::new();
    for call in &plan.signalled.calls {
        let name = match call.bearer {
            Bearer::Connect | Bearer::KeepTls => continue,
            Bearer::Disconnect | Bearer::EndTls => {
                released.push(call.stream);
                if call.bearer == Bearer::Disconnect {
                    continue;
                }
                "tlsbsc/RelBNC"
            }
            Bearer::BeginTls => "tlsbsc/EstBNC",
        };
        let meant = |id: u16| call.stream.is_none_or(|stream| stream == id);
        let planned = plan.streams.iter().filter(|stream| !stream.deleted);
        let planned = planned.map(|stream| (stream.id, stream.local.as_ref()));
        let left = old.iter().filter(|stream| plan.streams.iter().all(|new| new.id != stream.id));
        let left = left.map(|stream| (stream.id, stream.local.as_ref()));
        let ends_tls = |local: Option<&Description>| local.is_some_and(ends_tls);
        if !planned.chain(left).any(|(id, local)| meant(id) && ends_tls(local)) {
            return Err(Fault::request(513, format!("{name} where no TLS ends: a=fingerprint of Local")));
        }
        // A new address has a new connection.
        let anew = |id: u16| {
            let replaced = plan.streams.iter().any(|stream| stream.id == id && stream.reserve.is_some());
            replaced || released.iter().any(|stream| stream.is_none_or(|stream| stream == id))
        };
        let by_peer = |stream: &Stream| stream.sealed == Some(TlsRole::Server) && !anew(stream.id);
        let begun = old.iter().find(|stream| meant(stream.id) && by_peer(stream));
        if let Some(stream) = begun.filter(|_| call.bearer == Bearer::BeginTls) {
            let text = format!("{name}: TLS stands on stream {}, and the peer has begun it", stream.id);
            return Err(Fault::request(513, text));
        }
    }
    Ok(())
}

/// TLS that ends here. `begins`: the controller has said so (`tlsbsc/EstBNC`); else the peer does.
pub(crate) fn edge(local: &Description, remote: Option<&Description>, begins: bool) -> Option<Edge> {
    let role = if begins { TlsRole::Client } else { TlsRole::Server };
    let fingerprints = remote.map(|remote| remote.fingerprints.usable()).unwrap_or_default();
    ends_tls(local).then_some(Edge { role, fingerprints })
}

/// The peer's side of MSRP that is rewritten.
pub(crate) fn leg(local: &Description, remote: Option<&Description>) -> Option<Leg> {
    let path = remote.and_then(|remote| remote.path.clone()).unwrap_or_default();
    is_aware(local).then_some(Leg { path })
}

/// Refuses a stream that joins another one which it does not fit: the paths of both are rewritten, or of
/// neither.
pub(crate) fn fits(local: &Description, far: &Stream) -> Result<(), Fault> {
    match &far.local {
        Some(other) if is_aware(other) != is_aware(local) => Err(Fault::request(
            473,
            "Conflicting values: MSRP is rewritten towards both terminations (TCP/MSRP, or TCP/TLS/MSRP with \
             a=fingerprint), or towards neither",
        )),
        _ => Ok(()),
    }
}
