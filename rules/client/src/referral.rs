//! What the focus is asked to do about others: call somebody in, or put somebody out.
//!
//! RFC 4579 §5.5 and §5.11 (REFER to the focus; `method=BYE`), RFC 3515 (progress as message/sipfrag in
//! NOTIFY), RFC 4488 (a focus that sends none).

use std::time::{Duration, Instant};

use carnet_sip::{ClientKey, Dialog, Message, Method, ServerKey, Uri};

use crate::caller::words;
use crate::core::{Core, Ids, Owner, set};
use crate::event::{CallId, Event, ReferralId};
use crate::refusal::Refusal;

/// How often a REFER is tried again because of a challenge.
const ATTEMPTS: u8 = 2;
/// How long progress is waited for: as long as anybody rings, and a little.
const PATIENCE: Duration = Duration::from_secs(240);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Call them into the conference.
    Invite,
    /// Put them out of it.
    Expel,
}

/// A REFER and what comes of it.
pub(crate) struct Referral {
    id: ReferralId,
    ids: Ids,
    request: Message,
    key: Option<ClientKey>,
    dialog: Option<Dialog>,
    until: Instant,
    attempts: u8,
}

/// Whether a referral is over.
#[derive(PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done,
}

impl Referral {
    /// Asks `focus` about `who`.
    pub(crate) fn begin(
        core: &mut Core,
        now: Instant,
        id: ReferralId,
        focus: &Uri,
        (who, ask): (&Uri, Ask),
        proof: Option<String>,
    ) -> Result<Self, Refusal> {
        let ids = Ids { call_id: core.token(16), tag: core.token(8), cseq: 1 };
        let mut request = core.request(Method::Refer, focus.clone(), focus, &ids)?;
        core.introduce(&mut request)?;
        let who = match ask {
            Ask::Invite => who.clone(),
            // RFC 4579 §5.11
            Ask::Expel => who.with_param("method", Some("BYE"))?,
        };
        set(&mut request, "Refer-To", &format!("<{who}>"), false)?;
        set(&mut request, "Referred-By", &format!("<{}>", core.config.identity), false)?;
        if let Some(proof) = proof {
            set(&mut request, "Target-Dialog", &proof, false)?;
        }
        let key = core.send(now, request.clone(), Owner::Referral(id))?;
        let until = now + PATIENCE;
        Ok(Self { id, ids, request, key: Some(key), dialog: None, until, attempts: 0 })
    }

    pub(crate) fn id(&self) -> ReferralId {
        self.id
    }

    pub(crate) fn timeout(&self) -> Instant {
        self.until
    }

    /// The REFER was answered.
    pub(crate) fn answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        call: CallId,
        key: ClientKey,
        response: &Message,
    ) -> Progress {
        let status = response.status().unwrap_or(500);
        if self.key != Some(key) || status < 200 {
            return Progress::More;
        }
        self.key = None;
        match status {
            200..=299 => {
                self.dialog = Dialog::caller(&self.request, response).ok();
                // RFC 4488 §3: no progress will be told.
                let silent =
                    response.header("Refer-Sub").is_some_and(|v| v.trim().eq_ignore_ascii_case("false"));
                self.tell(core, call, 100, "Trying", silent);
                if silent { Progress::Done } else { Progress::More }
            }
            401 | 407 if self.attempts < ATTEMPTS && core.challenged(response) => {
                self.attempts += 1;
                self.ids.cseq += 1;
                let cseq = format!("{} REFER", self.ids.cseq);
                let sent = set(&mut self.request, "CSeq", &cseq, false)
                    .and_then(|()| core.send(now, self.request.clone(), Owner::Referral(self.id)));
                match sent {
                    Ok(key) => {
                        self.key = Some(key);
                        Progress::More
                    }
                    Err(refusal) => {
                        self.tell(core, call, 500, &refusal.to_string(), true);
                        Progress::Done
                    }
                }
            }
            _ => {
                self.tell(core, call, status, &words(response), true);
                Progress::Done
            }
        }
    }

    /// Nothing came, of the REFER or of what it was about.
    pub(crate) fn unanswered(&self, core: &mut Core, call: CallId) {
        self.tell(core, call, 408, "no answer", true);
    }

    /// Whether a NOTIFY is about this REFER; it may be faster than the answer.
    pub(crate) fn owns(&self, notify: &Message) -> bool {
        notify.call_id().is_ok_and(|id| id == self.ids.call_id)
            && notify.to_tag().as_deref() == Some(self.ids.tag.as_str())
    }

    /// Progress.
    pub(crate) fn notified(
        &mut self,
        core: &mut Core,
        now: Instant,
        call: CallId,
        key: ServerKey,
        notify: &Message,
    ) -> Progress {
        if let Some(dialog) = &mut self.dialog
            && let Err(error) = dialog.receive(notify)
        {
            core.refuse(now, key, notify, &error.into(), None);
            return Progress::More;
        }
        let package = notify.header("Event").unwrap_or_default();
        if !package.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("refer")) {
            core.reply(now, key, notify, 489, None);
            return Progress::More;
        }
        core.reply(now, key, notify, 200, None);
        let over = notify
            .header("Subscription-State")
            .is_some_and(|state| state.trim().to_ascii_lowercase().starts_with("terminated"));
        match status_of(notify.body()) {
            Some((status, text)) => {
                let done = over || status >= 200;
                self.tell(core, call, status, &text, done);
                if done { Progress::Done } else { Progress::More }
            }
            None if over => {
                self.tell(core, call, 500, "the conference did not say what came of it", true);
                Progress::Done
            }
            None => Progress::More,
        }
    }

    fn tell(&self, core: &mut Core, call: CallId, status: u16, text: &str, done: bool) {
        let text = text.chars().filter(|c| !c.is_control()).take(200).collect();
        core.events.push_back(Event::Referral { call, referral: self.id, status, text, done });
    }
}

/// Status and reason of a sipfrag (RFC 3420), which here is a status line at least (RFC 3515 §2.4.5).
fn status_of(body: &[u8]) -> Option<(u16, String)> {
    let line = body.split(|octet| *octet == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let rest = line.trim().strip_prefix("SIP/2.0 ")?;
    let (status, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = status.parse().ok().filter(|status| (100..700).contains(status))?;
    Some((status, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_is_read_as_far_as_it_must_be() {
        assert_eq!(status_of(b"SIP/2.0 180 Ringing\r\n"), Some((180, "Ringing".into())));
        assert_eq!(status_of(b"SIP/2.0 603 Declined\r\nFoo: bar\r\n"), Some((603, "Declined".into())));
        assert_eq!(status_of(b"SIP/2.0 200"), Some((200, String::new())));
        for none in [&b""[..], b"SIP/2.0 99 x", b"SIP/2.0 x y", b"INVITE sip:a@b SIP/2.0", b"\xff\xff"] {
            assert_eq!(status_of(none), None);
        }
    }
}
