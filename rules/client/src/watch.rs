//! The subscription to a conference's roster.
//!
//! RFC 4575 (conference event package), RFC 6665 (SUBSCRIBE and NOTIFY), in a dialog of its own as RFC 6665
//! §4.5.2 wants it. A gap in the versions is closed by a refresh, which brings all of it (RFC 4575 §4.6).
//! A subscription that ends without the conference is made again, a few times.

use std::time::{Duration, Instant};

use carnet_roster::{Applied, CONTENT_TYPE, EVENT, View};
use carnet_sip::{ClientKey, Dialog, Message, Method, ServerKey, Uri};

use crate::caller::words;
use crate::core::{Core, Ids, Owner, set};
use crate::event::{CallId, Event};
use crate::refusal::Refusal;

/// Lifetime asked for, in seconds.
const EXPIRES: u32 = 3600;
/// How often a subscription that was refused or ended is asked for again, one after another.
const ATTEMPTS: u8 = 5;
/// How often one that was refused as that of a stranger is asked for again.
const EARLY: u8 = 2;
/// Pause before that.
const MOMENT: Duration = Duration::from_secs(1);
/// Pause before another attempt for any other reason.
const PAUSE: Duration = Duration::from_secs(5);

/// A subscription.
pub(crate) struct Watch {
    call: CallId,
    uri: Uri,
    /// See [`Call::target_dialog`](crate::call::Call::target_dialog).
    proof: Option<String>,
    ids: Ids,
    dialog: Option<Dialog>,
    /// Our SUBSCRIBE that has no answer.
    asking: Option<(ClientKey, Message)>,
    /// When to ask again: a refresh, or another try.
    again: Option<Instant>,
    expires: u32,
    attempts: u8,
    view: View,
}

impl Watch {
    /// Subscribes.
    pub(crate) fn begin(
        core: &mut Core,
        now: Instant,
        call: CallId,
        uri: Uri,
        proof: Option<String>,
    ) -> Result<Self, Refusal> {
        let ids = Ids { call_id: core.token(16), tag: core.token(8), cseq: 0 };
        let view = View::new(core.config.limits.roster);
        let mut watch = Self {
            call,
            uri,
            proof,
            ids,
            dialog: None,
            asking: None,
            again: None,
            expires: EXPIRES,
            attempts: 0,
            view,
        };
        watch.ask(core, now, EXPIRES)?;
        Ok(watch)
    }

    /// Gives the subscription back; whoever answers that is no matter.
    pub(crate) fn end(mut self, core: &mut Core, now: Instant) {
        if let Some(dialog) = &mut self.dialog
            && let Ok(mut request) = dialog.request(Method::Subscribe)
            && describe(core, &mut request, 0).is_ok()
        {
            let _ = core.send_in(now, dialog, request, Owner::Nobody);
        }
    }

    fn ask(&mut self, core: &mut Core, now: Instant, expires: u32) -> Result<(), Refusal> {
        self.again = None;
        let owner = Owner::Watch(self.call);
        let mut request = match &mut self.dialog {
            Some(dialog) => dialog.request(Method::Subscribe)?,
            None => {
                self.ids.cseq += 1;
                core.request(Method::Subscribe, self.uri.clone(), &self.uri, &self.ids)?
            }
        };
        describe(core, &mut request, expires)?;
        if let Some(proof) = self.proof.as_ref().filter(|_| self.dialog.is_none()) {
            set(&mut request, "Target-Dialog", proof, false)?;
        }
        let key = match &self.dialog {
            Some(dialog) => core.send_in(now, dialog, request.clone(), owner)?,
            None => core.send(now, request.clone(), owner)?,
        };
        self.asking = Some((key, request));
        Ok(())
    }

    /// A new subscription in place of one that is gone.
    fn afresh(&mut self, core: &mut Core, after: Instant) {
        self.ids = Ids { call_id: core.token(16), tag: core.token(8), cseq: 0 };
        self.dialog = None;
        self.view.resubscribed();
        self.attempts += 1;
        self.again = Some(after);
    }

    /// When something is to be done.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.again
    }

    /// Time has passed; `Err` says why there is no roster.
    pub(crate) fn tick(&mut self, core: &mut Core, now: Instant) -> Result<(), Refusal> {
        match self.again {
            Some(at) if now >= at && self.asking.is_none() => self.ask(core, now, self.expires),
            _ => Ok(()),
        }
    }

    /// Whether a response with this key is to our SUBSCRIBE.
    pub(crate) fn is_asking(&self, key: ClientKey) -> bool {
        self.asking.as_ref().is_some_and(|(asking, _)| *asking == key)
    }

    /// Our SUBSCRIBE was answered; `Err` says why there is no roster.
    pub(crate) fn answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        response: &Message,
    ) -> Result<(), Refusal> {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return Ok(());
        }
        let Some((_, request)) = self.asking.take() else { return Ok(()) };
        let tries = self.attempts < ATTEMPTS;
        match status {
            200..=299 => {
                match &mut self.dialog {
                    Some(dialog) => dialog.response(response)?,
                    None => self.dialog = Some(Dialog::caller(&request, response)?),
                }
                let granted = response.expires().unwrap_or(self.expires);
                self.refresh_in(now, granted);
                Ok(())
            }
            // RFC 3261 §22.2, §22.3
            401 | 407 if tries && core.challenged(response) => {
                self.attempts += 1;
                self.ask(core, now, self.expires)
            }
            // RFC 6665 §4.1.2.1: too brief for the notifier.
            423 if tries => {
                let least = response.header("Min-Expires").and_then(|value| value.trim().parse().ok());
                self.attempts += 1;
                self.expires = least.filter(|least| *least > self.expires).unwrap_or(EXPIRES);
                self.ask(core, now, self.expires)
            }
            // RFC 6665 §4.1.2.2: the subscription that was to be refreshed is gone.
            481 if tries && self.dialog.is_some() => {
                self.afresh(core, now);
                self.tick(core, now)
            }
            // We may be faster than the focus has noted that we are in.
            403 | 481 if self.attempts < EARLY => {
                self.afresh(core, now + MOMENT);
                Ok(())
            }
            500 | 503 | 504 if tries => {
                let pause = response.retry_after().map_or(PAUSE, |s| Duration::from_secs(s.min(600).into()));
                self.afresh(core, now + pause);
                Ok(())
            }
            _ => Err(Refusal::Rejected { status, text: words(response) }),
        }
    }

    /// Our SUBSCRIBE was not answered.
    pub(crate) fn unanswered(
        &mut self,
        core: &mut Core,
        now: Instant,
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        self.asking = None;
        if self.attempts >= ATTEMPTS {
            return Err(refusal);
        }
        self.afresh(core, now + PAUSE);
        Ok(())
    }

    fn refresh_in(&mut self, now: Instant, seconds: u32) {
        // Early enough for a lost packet or two.
        self.again = Some(now + Duration::from_secs(u64::from(seconds.max(10)) * 4 / 5));
    }

    /// Whether a NOTIFY is for this subscription. It may be faster than the answer to the SUBSCRIBE
    /// (RFC 6665 §4.1.2.4), so only our half of the dialog counts.
    pub(crate) fn owns(&self, notify: &Message) -> bool {
        notify.call_id().is_ok_and(|id| id == self.ids.call_id)
            && notify.to_tag().as_deref() == Some(self.ids.tag.as_str())
    }

    /// A NOTIFY; `Err` says why there is no roster any more.
    pub(crate) fn notified(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: ServerKey,
        notify: &Message,
    ) -> Result<(), Refusal> {
        if let Some(dialog) = &mut self.dialog
            && let Err(error) = dialog.receive(notify)
        {
            core.refuse(now, key, notify, &error.into(), None);
            return Ok(());
        }
        let package = notify.header("Event").unwrap_or_default();
        if !package.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(EVENT)) {
            core.reply(now, key, notify, 489, None);
            return Ok(());
        }
        let kind = notify.content_type().unwrap_or_default();
        let is_roster =
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(CONTENT_TYPE));
        let mut ended = false;
        if !notify.body().is_empty() {
            if !is_roster {
                core.reply(now, key, notify, 415, None);
                return Ok(());
            }
            match self.view.read(notify.body()) {
                Err(_) => {
                    core.reply(now, key, notify, 400, None);
                    return Ok(());
                }
                Ok(Applied::Old) => {}
                Ok(Applied::Changed(changes)) => {
                    let roster = Box::new(self.view.roster().clone());
                    core.events.push_back(Event::Roster { call: self.call, roster, changes });
                }
                // The one before may still be on its way; all of it closes the gap for certain.
                Ok(Applied::Gap) if self.asking.is_none() && self.dialog.is_some() => self.again = Some(now),
                Ok(Applied::Gap) => {}
                Ok(Applied::Ended) => ended = true,
            }
        }
        core.reply(now, key, notify, 200, None);
        self.attempts = 0;
        let state = notify.header("Subscription-State").unwrap_or_default();
        let mut parts = state.split(';').map(str::trim);
        let is_over = parts.next().is_some_and(|word| word.eq_ignore_ascii_case("terminated"));
        let parameter = |name: &str| {
            state.split(';').skip(1).find_map(|part| {
                let (key, value) = part.trim().split_once('=')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        if !is_over {
            if let Some(seconds) = parameter("expires").and_then(|value| value.parse().ok())
                && self.again.is_none_or(|again| again > now)
                && self.asking.is_none()
            {
                self.refresh_in(now, seconds);
            }
            return Ok(());
        }
        let reason = parameter("reason").unwrap_or_default();
        // RFC 6665 §4.1.3
        match reason.to_ascii_lowercase().as_str() {
            "rejected" | "noresource" | "invariant" => Err(Refusal::RosterEnded(reason)),
            _ if ended => Err(Refusal::RosterEnded("noresource".into())),
            "deactivated" | "timeout" => {
                self.afresh(core, now);
                Ok(())
            }
            _ => {
                let pause = parameter("retry-after").and_then(|value| value.parse().ok());
                self.afresh(core, now + pause.map_or(PAUSE, |s: u32| Duration::from_secs(s.min(600).into())));
                Ok(())
            }
        }
    }
}

fn describe(core: &Core, request: &mut Message, expires: u32) -> Result<(), Refusal> {
    core.introduce(request)?;
    set(request, "Event", EVENT, false)?;
    set(request, "Accept", CONTENT_TYPE, false)?;
    set(request, "Expires", &expires.to_string(), false)
}
