//! The members: one loop that has them all, in a process of its own.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carnet_tls::{PskContext, PskSettings};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::Outcome;
use crate::member::{Member, Said};

/// Messages of the sender that are not answered yet.
const WINDOW: u64 = 16;

struct Members {
    epoll: OwnedFd,
    all: Vec<Member>,
    start: Instant,
}

/// Takes orders until there are no more.
pub fn run() -> Outcome<()> {
    let context = PskContext::new(PskSettings::default())?;
    let mut room = None;
    let mut next = 1;
    for order in std::io::stdin().lock().lines() {
        let order = order?;
        let words: Vec<_> = order.split_whitespace().collect();
        let numbers: Vec<String> = match words.as_slice() {
            ["join", doors @ ..] => {
                let doors = doors.iter().map(|door| door.parse()).collect::<Result<Vec<_>, _>>()?;
                let mut members = Members::nobody()?;
                // One after the other: what a thousand handshakes need at once is not what members need.
                for door in doors {
                    members.add(&context, door, true)?;
                    members.greet()?;
                }
                room = Some(members);
                Vec::new()
            }
            ["flood", octets, seconds] => {
                let members = room.as_mut().ok_or("nobody joined")?;
                members.flood(&mut next, octets.parse()?, seconds.parse()?)?
            }
            ["pace", octets, rate, seconds] => {
                let members = room.as_mut().ok_or("nobody joined")?;
                members.pace(&mut next, octets.parse()?, rate.parse()?, seconds.parse()?)?
            }
            ["sink", count, door] => {
                let doors = vec![door.parse()?; count.parse()?];
                let mut members = Members::connect(&context, &doors, false)?;
                vec![members.sink()?.to_string()]
            }
            _ => return Err(format!("what is {order:?}?").into()),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "done {}", numbers.join(" "))?;
        out.flush()?;
    }
    Ok(())
}

impl Members {
    fn connect(context: &PskContext, doors: &[SocketAddr], msrp: bool) -> Outcome<Self> {
        let mut members = Self::nobody()?;
        doors.iter().try_for_each(|door| members.add(context, *door, msrp))?;
        Ok(members)
    }

    fn nobody() -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, all: Vec::new(), start: Instant::now() })
    }

    fn add(&mut self, context: &PskContext, door: SocketAddr, msrp: bool) -> Outcome<()> {
        let user = u16::try_from(self.all.len() + 1)?;
        let member = Member::connect(context, user, door, msrp)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(self.all.len() as u64);
        epoll::add(&self.epoll, member.socket(), data, flags)?;
        self.all.push(member);
        Ok(())
    }

    /// Waits for something, and lets those it is for have their turn.
    fn turn(&mut self, wait: Duration, said: &mut impl FnMut(usize, Said)) -> Outcome<()> {
        let mut ready = Vec::with_capacity(256);
        let timeout =
            Timespec { tv_sec: i64::try_from(wait.as_secs())?, tv_nsec: i64::from(wait.subsec_nanos()) };
        epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout))?;
        for event in &ready {
            let epoll::Event { data, .. } = *event;
            let index = usize::try_from(data.u64())?;
            if let Some(member) = self.all.get_mut(index) {
                member.turn(self.start, &mut |what| said(index, what))?;
            }
        }
        Ok(())
    }

    fn greet(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.all.iter().any(|member| !member.greeted) {
            self.turn(Duration::from_millis(100), &mut |_, _| {})?;
            if Instant::now() > deadline {
                return Err("not everybody was let in".into());
            }
        }
        Ok(())
    }

    /// Sends as much as the room takes.
    fn flood(&mut self, next: &mut u64, octets: usize, seconds: f64) -> Outcome<Vec<String>> {
        let listeners = (self.all.len() - 1) as u64;
        let (first, began) = (*next, Instant::now());
        let (mut answered, mut deliveries, mut frames) = (0, 0u64, 0usize);
        let mut took = 0.0;
        loop {
            let going = began.elapsed().as_secs_f64() < seconds;
            while going && *next - first - answered < WINDOW {
                self.speak(*next, octets)?;
                *next += 1;
            }
            if !going && took == 0.0 {
                took = began.elapsed().as_secs_f64();
            }
            if !going && deliveries == (*next - first) * listeners {
                // All that was sent has come, and was checked; what came after the bell counts, as its time does.
                took = began.elapsed().as_secs_f64();
                break;
            }
            if began.elapsed().as_secs_f64() > seconds + 120.0 {
                return Err(format!("{deliveries} deliveries of {} messages", *next - first).into());
            }
            self.turn(Duration::from_millis(100), &mut |_, said| match said {
                Said::Answered => answered += 1,
                Said::Heard { frame, .. } => {
                    deliveries += 1;
                    frames += frame;
                }
            })?;
        }
        let frame = (frames as f64 / deliveries as f64).round();
        Ok(vec![deliveries.to_string(), took.to_string(), frame.to_string()])
    }

    /// Sends so many a second, and watches how long each takes to each member.
    fn pace(&mut self, next: &mut u64, octets: usize, rate: f64, seconds: f64) -> Outcome<Vec<String>> {
        let listeners = (self.all.len() - 1) as u64;
        let (first, began) = (*next, Instant::now());
        let mut delays = Vec::new();
        loop {
            let elapsed = began.elapsed().as_secs_f64();
            let due = (elapsed.min(seconds) * rate) as u64 + 1;
            if *next - first < due {
                self.speak(*next, octets)?;
                *next += 1;
            }
            if elapsed > seconds && delays.len() as u64 == (*next - first) * listeners {
                break;
            }
            if elapsed > seconds + 120.0 {
                return Err("messages are missing".into());
            }
            self.turn(Duration::from_millis(1), &mut |_, said| {
                if let Said::Heard { delay, .. } = said {
                    delays.push(delay.as_secs_f64());
                }
            })?;
        }
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).copied().unwrap_or_default();
        Ok(vec![at(0.5).to_string(), at(0.99).to_string()])
    }

    fn speak(&mut self, number: u64, octets: usize) -> Outcome<()> {
        let stamp = self.start.elapsed();
        let start = self.start;
        let sender = self.all.first_mut().ok_or("nobody")?;
        sender.speak(number, stamp, octets);
        sender.turn(start, &mut |_| {})
    }

    /// Reads until all connections have ended in order; the octets.
    fn sink(&mut self) -> Outcome<u64> {
        let mut ended = HashMap::new();
        while ended.len() < self.all.len() {
            self.turn(Duration::from_millis(100), &mut |_, _| {})?;
            for (index, member) in self.all.iter().enumerate().filter(|(_, member)| member.ended) {
                ended.insert(index, member.octets);
            }
        }
        Ok(ended.values().sum())
    }
}
