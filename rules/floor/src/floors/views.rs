//! How requests and floors stand.

use super::Floors;
use crate::event::{Claim, FloorReport};
use crate::request::Request;
use carnet_bfcp::{RequestStatus, Status};

impl Floors {
    /// The status of a request, with its place in the queue: the last of those it has.
    pub(crate) fn standing(&self, request: &Request) -> RequestStatus {
        let status = request.status();
        if status != Status::Accepted {
            return RequestStatus::new(status);
        }
        let places = request.parts.iter().filter_map(|part| self.place(part.floor, request.id));
        RequestStatus { status, queue_position: places.max().unwrap_or(0) }
    }

    /// From 1; 255 for whatever is behind that.
    pub(crate) fn place(&self, floor: u16, request: u16) -> Option<u8> {
        let at = self.entries.get(&floor)?.queue.iter().position(|place| place.request == request)?;
        Some(u8::try_from(at + 1).unwrap_or(u8::MAX))
    }

    /// The requests about a floor: holders, the queue, what is pending.
    pub(crate) fn about(&self, floor: u16) -> impl Iterator<Item = &Request> {
        let entry = self.entries.get(&floor);
        let ids = entry.into_iter().flat_map(|entry| {
            let queue = entry.queue.iter().map(|place| &place.request);
            entry.holders.iter().chain(queue).chain(&entry.pending)
        });
        ids.filter_map(|id| self.requests.get(id))
    }

    pub(crate) fn report(&self, floor: u16) -> Option<FloorReport> {
        let entry = self.entries.get(&floor)?;
        let claims = |ids: &mut dyn Iterator<Item = u16>| {
            let requests = ids.filter_map(|id| self.requests.get(&id));
            requests.map(Self::claim).collect()
        };
        Some(FloorReport {
            floor,
            chair: entry.chair,
            holders: claims(&mut entry.holders.iter().copied()),
            queue: claims(&mut entry.queue.iter().map(|place| place.request)),
            pending: claims(&mut entry.pending.iter().copied()),
        })
    }

    pub(super) fn claim(request: &Request) -> Claim {
        Claim {
            request: request.id,
            user: request.user,
            requested_by: (request.by != request.user).then_some(request.by),
            priority: request.priority,
            status: request.status(),
        }
    }
}
