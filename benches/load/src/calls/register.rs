//! Registers the caller before it calls, where a border serves subscribers only (RFC 3261 §10, §22).

use std::time::{Duration, Instant};

use carnet_sip::registration::Registration;
use carnet_sip::{Destination, DigestClient, Event, NameAddr, Password, Uri, fresh_call_id, fresh_tag};
use carnet_wire::SeededRandom;

use super::end::End;
use crate::Result;

/// Seconds asked for: nobody loads for longer.
const EXPIRES: u32 = 86_400;

/// Registers `aor` from here, at `hop`.
///
/// # Errors
///
/// If the registrar refuses it, or does not answer.
pub fn register(end: &mut End, hop: std::net::SocketAddr, aor: &str, password: &str) -> Result<()> {
    let aor: Uri = aor.parse().map_err(carnet_sip::Error::NotSip)?;
    let (user, domain) = aor.to_string().split_once('@').map_or_else(
        || Err("an address of record is sip:USER@DOMAIN"),
        |(user, domain)| Ok((user.trim_start_matches("sip:").to_owned(), domain.to_owned())),
    )?;
    let registrar: Uri = format!("sip:{domain}").parse().map_err(carnet_sip::Error::NotSip)?;
    let contact: Uri = format!("sip:caller@{}", end.plan.sip).parse().map_err(carnet_sip::Error::NotSip)?;
    let contact = NameAddr::new(contact);
    let mut random = SeededRandom::new(end.number());
    let (tag, call_id) = (fresh_tag(&mut random), fresh_call_id(&mut random));
    let mut digest = DigestClient::new(&user, Password::new(password.as_bytes().to_vec()))?;
    let until = Instant::now() + end.plan.patience;
    for cseq in 1..4 {
        let says = Registration {
            registrar: &registrar,
            aor: &aor,
            contact: &contact,
            tag: &tag,
            call_id: &call_id,
            cseq,
            expires: EXPIRES,
        };
        let mut request = says.request()?;
        digest.authorize(&mut request, &mut random)?;
        let asked = end.endpoint.request(Instant::now(), request, Destination::from(end.hop(hop)))?;
        let answer = loop {
            end.flush();
            end.turn((Instant::now() + Duration::from_millis(50)).min(until), &mut Vec::new())?;
            match end.endpoint.poll_event() {
                Some(Event::Response { key, message, .. })
                    if key == asked && message.status().is_some_and(|status| status >= 200) =>
                {
                    break message;
                }
                Some(Event::Unanswered { key, reason }) if key == asked => {
                    return Err(format!("the registration: {reason}").into());
                }
                _ if Instant::now() > until => return Err("the registration was not answered in time".into()),
                _ => {}
            }
        };
        match answer.status() {
            Some(200..300) => return Ok(()),
            Some(401 | 407) => digest.challenged(&answer)?,
            status => return Err(format!("the registration: {}", status.unwrap_or_default()).into()),
        }
    }
    Err("the registrar does not take the password".into())
}
