//! Whether the addresses of a gateway's IP realms are there: an interface that goes down takes them along.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How often the addresses are looked for.
const EVERY: Duration = Duration::from_secs(5);

/// The first time: soon, as a file with the address of another host is found out by it.
const FIRST: Duration = Duration::from_secs(1);

/// The realms and what was last seen of them.
pub struct Realms {
    all: Vec<(String, Vec<IpAddr>, bool)>,
    pub due: Instant,
}

impl Realms {
    /// Realms with their addresses.
    pub fn new(all: impl Iterator<Item = (String, Vec<IpAddr>)>, now: Instant) -> Self {
        Self { all: all.map(|(name, addresses)| (name, addresses, true)).collect(), due: now + FIRST }
    }

    /// These from now on; what was seen of those that stay stays known.
    pub fn renew(&mut self, all: impl Iterator<Item = (String, Vec<IpAddr>)>) {
        let up =
            |name: &String| self.all.iter().find(|(known, ..)| known == name).is_none_or(|(_, _, up)| *up);
        self.all =
            all.map(|(name, addresses)| (up(&name), name, addresses)).map(|(up, n, a)| (n, a, up)).collect();
        // A file with the address of another host is found out soon.
        self.due = self.due.min(Instant::now() + FIRST);
    }

    /// Looks, if it is time; the realms that have changed, and whether they are there now.
    pub fn look(&mut self, now: Instant) -> Vec<(String, bool)> {
        if now < self.due {
            return Vec::new();
        }
        self.due = now + EVERY;
        let mut changed = Vec::new();
        for (name, addresses, up) in &mut self.all {
            // One address is enough: the other IP version is refused when it is asked for.
            let there = addresses.is_empty() || addresses.iter().any(|address| is_here(*address));
            if there != *up {
                *up = there;
                changed.push((name.clone(), there));
            }
        }
        changed
    }
}

/// Whether this host has the address. Other failures say nothing about that.
fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).map_or_else(|e| e.kind() != ErrorKind::AddrNotAvailable, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_gone_is_seen() {
        let now = Instant::now();
        let (here, gone) = ([127, 0, 0, 1].into(), [192, 0, 2, 77].into());
        let realm = |name: &str, addresses, up| (name.to_owned(), addresses, up);
        let all = vec![
            realm("here", vec![here], true),
            realm("gone", vec![gone], true),
            realm("half", vec![gone, here], true),
            realm("back", vec![here], false),
        ];
        let mut realms = Realms { all, due: now + EVERY };
        assert!(realms.look(now).is_empty());
        assert_eq!(realms.look(now + EVERY), [("gone".to_owned(), false), ("back".to_owned(), true)]);
        assert!(realms.look(now + EVERY * 2).is_empty());

        let mut realms = Realms::new([("gone".to_owned(), vec![gone])].into_iter(), now);
        assert_eq!(realms.due, now + FIRST);
        assert_eq!(realms.look(now + FIRST), [("gone".to_owned(), false)]);
        assert_eq!(realms.due, now + FIRST + EVERY);
    }
}
