//! What of a gateway outlives its process: contexts that the kernel carries, how far names were given, and who
//! controlled it, in a journal in the directory `state`.
//!
//! It is of no use on a host that was started anew, where the kernel has nothing of it: that is a cold start.

use carnet_gateway::{Gateway, Numbers};
use carnet_store::{Error, Journal, Syncs};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Contexts and terminations that may be named before it is noted how far names were given.
const AHEAD: u32 = 4096;

/// What the process before left.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// By context.
    pub(super) contexts: BTreeMap<u32, Vec<u8>>,
    /// No name up to here may be given again.
    pub(super) numbers: Option<Numbers>,
    /// Who controlled it, as printed.
    pub(super) controller: Option<String>,
}

/// Writes down what is to outlive the process.
#[derive(Debug)]
pub(super) struct Survival {
    gateway: String,
    /// `None` once it could not be written.
    journal: Option<Journal>,
    boot: String,
    /// How far names may be given without a word.
    noted: Option<Numbers>,
    controller: Option<String>,
}

impl Survival {
    /// Opens the journal of a gateway.
    pub(super) fn open(gateway: &str, directory: &Path) -> Result<(Self, Before), Error> {
        let (mut journal, found) = Journal::open(directory, gateway, Syncs::Never)?;
        if let Some(damage) = found.damage {
            tracing::warn!(gateway, damage, "contexts of the process before are lost: a cold start");
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        let mut before = Before { contexts: found.records, ..Before::default() };
        let note = found.note.and_then(|note| String::from_utf8(note).ok()).unwrap_or_default();
        let mut here = false;
        for line in note.lines() {
            match line.split_once(' ') {
                Some(("boot", id)) => here = id == boot,
                Some(("numbers", numbers)) => before.numbers = read_numbers(numbers),
                Some(("controller", mid)) => before.controller = Some(mid.to_owned()),
                _ => {}
            }
        }
        if !here && !before.contexts.is_empty() {
            tracing::info!(gateway, "the host was started anew: a cold start");
            journal.clear()?;
            before = Before { numbers: before.numbers, ..Before::default() };
        }
        let (noted, controller) = (before.numbers, before.controller.clone());
        let this = Self { gateway: gateway.to_owned(), journal: Some(journal), boot, noted, controller };
        Ok((this, before))
    }

    /// Gives a gateway that has not begun what the process before left. Whether anything was.
    pub(super) fn restore(&mut self, gateway: &mut Gateway, before: &Before, now: Instant) -> bool {
        if let Some(numbers) = before.numbers {
            gateway.number_from(numbers);
        }
        let mut any = false;
        let mut refused = Vec::new();
        for (context, text) in &before.contexts {
            let restored = std::str::from_utf8(text).map_err(|error| error.to_string());
            let restored =
                restored.and_then(|text| gateway.restore(now, text).map_err(|error| error.to_string()));
            match restored {
                Ok(_) => any = true,
                Err(why) => {
                    tracing::warn!(gateway = self.gateway, context, why, "a context is not taken up");
                    refused.push(*context);
                }
            }
        }
        if let Some(journal) = &mut self.journal {
            put_by(journal, &self.gateway, &before.contexts, refused.iter().copied());
            refused.into_iter().for_each(|context| journal.remove(context));
        }
        any
    }

    /// Writes what has changed. Before the controller hears of it: what it knows is then never more than what is
    /// written.
    pub(super) fn write(&mut self, gateway: &mut Gateway, now: Instant) {
        let Some(journal) = &mut self.journal else { return };
        let mut kept = Ok(());
        while let Some((context, text)) = gateway.poll_changed(now) {
            match text {
                Some(text) => kept = kept.and(journal.put(context, text.as_bytes())),
                None => journal.remove(context),
            }
        }
        let numbers = gateway.numbers();
        let controller = gateway.registration().controller().map(ToString::to_string);
        let changed = controller.is_some() && controller != self.controller;
        if changed || self.noted.is_none_or(|noted| !is_within(numbers, noted)) {
            let noted = Numbers {
                context: numbers.context.wrapping_add(AHEAD),
                termination: numbers.termination.saturating_add(AHEAD.into()),
            };
            self.noted = Some(noted);
            if changed {
                self.controller = controller;
            }
            let mut note = format!("boot {}\nnumbers {} {}\n", self.boot, noted.context, noted.termination);
            if let Some(controller) = &self.controller {
                note.push_str(&format!("controller {controller}\n"));
            }
            journal.note(note.into_bytes());
        }
        if let Err(error) = kept.and_then(|()| journal.commit()) {
            tracing::error!(gateway = self.gateway, %error, "contexts will not outlive this process");
            self.journal = None;
        }
    }
}

/// Records that cannot be read are kept aside before they are forgotten: another version of this program may have written
/// them. `role` is whose they are.
pub(super) fn put_by(
    journal: &Journal,
    role: &str,
    records: &BTreeMap<u32, Vec<u8>>,
    numbers: impl IntoIterator<Item = u32>,
) {
    let record = |number: u32| Some((number, records.get(&number)?.as_slice()));
    let unread: Vec<_> = numbers.into_iter().filter_map(record).collect();
    if unread.is_empty() {
        return;
    }
    match journal.put_by(unread) {
        Ok(path) => tracing::warn!(role, path = %path.display(), "what was not taken up is kept there"),
        Err(error) => tracing::error!(role, %error, "what was not taken up cannot be kept"),
    }
}

/// Whether names up to there may be given.
fn is_within(numbers: Numbers, noted: Numbers) -> bool {
    noted.context.wrapping_sub(numbers.context) <= AHEAD && numbers.termination <= noted.termination
}

fn read_numbers(text: &str) -> Option<Numbers> {
    let (context, termination) = text.split_once(' ')?;
    Some(Numbers { context: context.parse().ok()?, termination: termination.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_gateway::Config;
    use carnet_h248::association::{self, Transport};
    use carnet_h248::{MId, registration};
    use carnet_wire::SeededRandom;
    use std::time::SystemTime;

    fn gateway(seed: u64) -> Gateway {
        let association = association::Config::new(Transport::Reliable);
        let controllers = vec![MId::domain("alg1")];
        let mut config = Config::new(registration::Config::new(MId::domain("agw"), controllers, association));
        config.survives = true;
        Gateway::new(config, &mut SeededRandom::new(seed), Instant::now(), SystemTime::now())
    }

    #[test]
    fn names_go_on_behind_those_of_the_process_before() {
        let place = tempfile::tempdir().unwrap();
        let mut last = None;
        for round in 0..4 {
            let mut gateway = gateway(round);
            let (mut survival, before) = Survival::open("agw", place.path()).unwrap();
            assert_eq!(before.numbers.is_some(), round > 0);
            assert!(!survival.restore(&mut gateway, &before, Instant::now()));
            let Numbers { context, termination } = gateway.numbers();
            if let Some(last) = last {
                assert!(is_within(last, gateway.numbers()), "{last:?} {:?}", gateway.numbers());
            }
            survival.write(&mut gateway, Instant::now());
            // One context is made; in the last round nothing is, and then the same names may be given.
            if round < 3 {
                gateway.number_from(Numbers { context: context + 1, termination: termination + 2 });
            }
            survival.write(&mut gateway, Instant::now());
            last = Some(gateway.numbers());
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_and_forgotten() {
        let place = tempfile::tempdir().unwrap();
        let (mut survival, _) = Survival::open("agw", place.path()).unwrap();
        survival.write(&mut gateway(1), Instant::now());
        let mut journal = survival.journal.take().unwrap();
        journal.put(5, b"carnet context 99\n").unwrap();
        journal.commit().unwrap();
        drop(journal);
        let (mut survival, before) = Survival::open("agw", place.path()).unwrap();
        assert_eq!(before.contexts.len(), 1);
        let mut gateway = gateway(2);
        assert!(!survival.restore(&mut gateway, &before, Instant::now()));
        survival.write(&mut gateway, Instant::now());
        drop(survival);
        assert!(Survival::open("agw", place.path()).unwrap().1.contexts.is_empty());
        // It may be of a later version: it is not destroyed.
        let files = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside = files.filter(|path| path.extension().is_some_and(|end| end == "unread"));
        let aside: Vec<_> = aside.map(|path| std::fs::read(path).unwrap()).collect();
        let kept = |octets: &Vec<u8>| octets.ends_with(b"carnet context 99\n");
        assert!(aside.len() == 1 && aside.iter().all(kept), "{aside:?}");
    }

    #[test]
    fn another_boot_of_the_host_is_a_cold_start() {
        let place = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(place.path(), "agw", Syncs::Never).unwrap();
        journal.put(5, b"carnet context 1\n").unwrap();
        journal.note(b"boot 0\nnumbers 7 8\ncontroller <alg1>\n".to_vec());
        journal.commit().unwrap();
        drop(journal);
        let (_, before) = Survival::open("agw", place.path()).unwrap();
        assert!(before.contexts.is_empty());
        assert_eq!(before.numbers, Some(Numbers { context: 7, termination: 8 }));
        assert_eq!(before.controller, None);
    }
}
