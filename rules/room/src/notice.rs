//! What the room says in words: messages from its own URI.

use crate::message::Beginning;
use crate::room::Room;
use crate::seen::identity;
use crate::types::MemberId;
use carnet_msrp::cpim::{self, Address};
use carnet_wire::Random;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Members that a welcome names.
const NAMED: usize = 20;

impl Room {
    /// Says something to all but one, if the room speaks at all.
    pub(crate) fn notice(&mut self, now: Instant, text: &str, but: Option<MemberId>) {
        if self.settings.notices {
            let to = self.legs.keys().filter(|id| Some(**id) != but).copied().collect();
            self.say(now, text, to);
        }
    }

    /// Says something to these members. Those who do not keep up are left out, since it is no message of
    /// anybody.
    pub(crate) fn say(&mut self, now: Instant, text: &str, mut to: Vec<MemberId>) {
        const TYPE: &str = "text/plain; charset=utf-8";
        to.retain(|id| {
            self.legs.get(id).is_some_and(|leg| {
                !leg.stalled && leg.session.is_some() && leg.objection(TYPE, None).is_none()
            })
        });
        if to.is_empty() {
            return;
        }
        let room = Address::of(self.settings.uri.as_str());
        let Ok(mut head) = cpim::Head::new(&room, &room, TYPE) else { return };
        if let Some(date) = self.date_at(now) {
            // A date of digits fits into a line.
            let _ = head.push("DateTime", &date);
        }
        let mut body = Vec::with_capacity(256 + text.len());
        head.write(&mut body);
        body.extend_from_slice(text.as_bytes());
        let mut unique = [0; 16];
        self.random.fill(&mut unique);
        let number = self.store.begin(Beginning {
            id: identity(&[&unique]),
            sender: None,
            content_type: cpim::MEDIA_TYPE.to_owned(),
            headers: Vec::new(),
            wrapped: TYPE.to_owned(),
            private: false,
            total: Some(body.len() as u64),
            recipients: to.clone(),
            in_history: false,
        });
        self.store.append(number, &body.into());
        self.store.complete(number);
        for id in to {
            self.give(now, id, number);
        }
        self.store.release(number);
    }

    /// Tells a newcomer where it is (RFC 7701 §11), and the others who came.
    pub(crate) fn welcome(&mut self, now: Instant, id: MemberId) {
        if !self.settings.notices {
            return self.state_seal(now, Some(id));
        }
        let Some(leg) = self.legs.get(&id) else { return };
        let seal = if leg.member.sealed { "sealed" } else { "not sealed" };
        let came = format!("{} joined ({seal}).", leg.name());
        let names: Vec<&str> =
            self.legs.iter().filter(|(other, _)| **other != id).map(|(_, leg)| leg.name()).collect();
        let mut text = format!("You are in the conference {}", self.settings.uri);
        if let Some(subject) = &self.settings.subject {
            text += &format!(" ({subject})");
        }
        text += &match names.len() {
            0 => ", alone so far.".to_owned(),
            n if n <= NAMED => format!(", with {}.", names.join(", ")),
            n => format!(
                ", with {} and {} others.",
                names.get(..NAMED).unwrap_or_default().join(", "),
                n - NAMED
            ),
        };
        text += &format!(" Your leg is {seal}. ");
        text += &self.seal_in_words();
        self.say(now, &text, vec![id]);
        self.notice(now, &came, Some(id));
        self.state_seal(now, Some(id));
    }

    /// Says whether every leg is sealed, when that has changed.
    pub(crate) fn state_seal(&mut self, now: Instant, but: Option<MemberId>) {
        let sealed = self.legs.values().all(|leg| leg.member.sealed);
        if self.legs.is_empty() || self.sealed == Some(sealed) {
            return;
        }
        let first = self.sealed.replace(sealed).is_none();
        if !first {
            let text = self.seal_in_words();
            self.notice(now, &text, but);
        }
    }

    fn seal_in_words(&self) -> String {
        let open: Vec<&str> =
            self.legs.values().filter(|leg| !leg.member.sealed).map(|leg| leg.name()).collect();
        match open.len() {
            0 => "Every leg of this conference is sealed.".to_owned(),
            1 => format!("This conference is not sealed: {} is not.", open.join("")),
            n if n <= NAMED => format!("This conference is not sealed: {} are not.", open.join(", ")),
            n => format!("This conference is not sealed: {n} members are not."),
        }
    }

    fn date_at(&self, now: Instant) -> Option<String> {
        let (at, date) = self.date?;
        let since = date.duration_since(UNIX_EPOCH).ok()? + now.saturating_duration_since(at);
        Some(rfc3339(since))
    }
}

/// `2026-11-26T17:00:00Z` of the time since 1970.
fn rfc3339(since: Duration) -> String {
    let seconds = since.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years: the leap day is the last of a year then.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year_of_era + carry;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A date as the room was told it.
pub(crate) type Date = (Instant, SystemTime);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_716_061, "2026-11-26T18:01:01Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
    }
}
