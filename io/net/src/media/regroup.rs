//! Pinholes that part, and pinholes that go from one loop to another with all they have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carnet_gateway::media::{Cause, Event, Pinhole};
use rustix::event::epoll;

use super::carried::Then;
use super::doors::{Steering, Visitor};
use super::hole::{Begun, Hole, Link};
use super::kernel::Report;
use super::links::register;
use super::post::Bell;
use super::worker::Worker;

/// Where the pinholes that come to a loop wait for it.
#[derive(Debug)]
pub(super) struct Dock {
    arrivals: Mutex<Vec<Hole>>,
    /// Callers that another loop has accepted.
    visitors: Mutex<Vec<Visitor>>,
    /// What the kernel engine has to say. Each answers an order or tells of a session, so there are not more than
    /// the loop has asked for.
    reports: Mutex<Vec<Report>>,
    pub(super) bell: Arc<Bell>,
}

impl Dock {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self { arrivals: Mutex::default(), visitors: Mutex::default(), reports: Mutex::default(), bell }
    }

    fn arrivals(&self) -> MutexGuard<'_, Vec<Hole>> {
        // Nothing can panic while the lock is held.
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn visitors(&self) -> MutexGuard<'_, Vec<Visitor>> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has another loop's caller come here. There are no more than that loop may accept.
    pub(super) fn send(&self, visitor: Visitor) {
        self.visitors().push(visitor);
        self.bell.ring();
    }

    /// The kernel engine says something.
    pub(super) fn report(&self, mut reports: Vec<Report>) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).append(&mut reports);
        self.bell.ring();
    }

    pub(super) fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Worker {
    /// Both sides go on alone. Who is connected has the whole time again to meet another.
    pub(super) fn part(&mut self, slot: u32) {
        let far = self.far(slot);
        let now = self.now;
        for slot in [Some(slot), far].into_iter().flatten() {
            let Some(hole) = self.hole(slot) else { continue };
            hole.join(None);
            hole.flow.turn_away();
            if let Link::Up(connection) = &mut hole.link {
                connection.since = now;
            }
            self.queue(slot);
        }
    }

    /// Sends a pinhole to the loop of another group.
    pub(super) fn regroup(&mut self, pinhole: Pinhole, group: u32) {
        let name = Pinhole { group, ..pinhole };
        let index = (group as usize).checked_rem(self.docks.len());
        let dock = index.and_then(|index| self.docks.get(index)).map(Arc::clone);
        let Some((slot, dock)) = self.slot(pinhole).zip(dock) else {
            return self.report(Event::Regrouped { pinhole: name });
        };
        if self.leaves_the_kernel(slot, Then::Regroup(group), (Cause::FarSide, Cause::FarSide)) {
            return self.part(slot);
        }
        // What has been read is given a last chance to leave.
        self.relay(slot);
        self.part(slot);
        if Arc::ptr_eq(&dock.bell, &self.bell) {
            if let Some(hole) = self.hole(slot) {
                hole.name = name;
            }
            return self.report(Event::Regrouped { pinhole: name });
        }
        let Some(mut hole) = self.depart(slot, pinhole, index) else {
            return self.report(Event::Regrouped { pinhole: name });
        };
        hole.name = name;
        dock.arrivals().push(hole);
        dock.bell.ring();
    }

    fn depart(&mut self, slot: u32, pinhole: Pinhole, index: Option<usize>) -> Option<Hole> {
        self.let_callers_go(slot);
        let mut hole = self.vacate(slot, pinhole)?;
        if let Some(index) = index.filter(|_| hole.steering.is_used()) {
            self.doors.follow(self.ports.local(&hole.lease), index);
        }
        if let Some(anchor) = hole.anchor.as_mut().filter(|anchor| anchor.serial != 0) {
            let _ = epoll::delete(&self.epoll, &anchor.socket);
            anchor.serial = 0;
        }
        match &hole.link {
            Link::Up(connection) => {
                let _ = epoll::delete(&self.epoll, &connection.socket);
            }
            // The other loop begins it anew.
            Link::Connecting(_) => hole.link = Link::Down,
            Link::Down | Link::Carried => {}
        }
        hole.send_standbys_away();
        hole.flow.depart(&mut self.tools.pipes);
        (hole.queued, hole.scheduled) = (false, None);
        Some(hole)
    }

    /// Takes what has come from other loops.
    pub(super) fn take_arrivals(&mut self) {
        let arrivals = std::mem::take(&mut *self.dock.arrivals());
        for mut hole in arrivals {
            let pinhole = hole.name;
            let anchor_serial = self.next_serial();
            let link_serial = self.next_serial();
            hole.flow.arrive(&mut self.tools.pipes);
            let Some(slot) = self.occupy(hole) else { continue };
            let Self { epoll, holes, .. } = self;
            let Some(Some(hole)) = holes.get_mut(slot as usize) else { continue };
            if let Some(anchor) = hole.anchor.as_mut().filter(|anchor| anchor.listening)
                && register(epoll, &anchor.socket, slot, anchor_serial).is_ok()
            {
                anchor.serial = anchor_serial;
                anchor.ready = true;
            }
            let mut lost = false;
            if let Link::Up(connection) = &mut hole.link {
                // Both are found out by trying; how it begins, by the event that registering it brings.
                (connection.readable, connection.writable) = (connection.begun == Begun::Yes, true);
                connection.serial = link_serial;
                lost = register(epoll, &connection.socket, slot, link_serial).is_err();
            }
            hole.moved(link_serial);
            self.steer_anew(slot);
            if lost {
                tracing::warn!("a connection was lost on its way to another loop");
                self.end(slot, Cause::FarSide, Cause::FarSide, true);
            }
            self.queue(slot);
            self.report(Event::Regrouped { pinhole });
        }
        // Whom they call may just have come.
        let visitors = std::mem::take(&mut *self.dock.visitors());
        for visitor in visitors {
            self.visit(visitor, false);
        }
    }

    /// Callers of a pinhole that has come from another loop come to this one.
    fn steer_anew(&mut self, slot: u32) {
        let Self { holes, ports, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else { return };
        let (pinhole, local) = (hole.name, ports.local(&hole.lease));
        match hole.steering {
            Steering::No | Steering::Off => return,
            Steering::On => hole.steering = Steering::Asked,
            Steering::Asked | Steering::Reserving => {}
        }
        if self.steer(slot, local).is_err() {
            self.steered(pinhole, false);
        }
    }
}
