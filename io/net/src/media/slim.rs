//! Giving back what was needed only for a while, and asking for no more than is needed.
//!
//! Queues and maps keep the room that they had when there was most in them. After a burst that would be more than all idle sessions
//! take.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// Room for so many is kept in any case.
const FEW: usize = 16;

/// How much of the room is kept; `None`: it is used, or would soon be.
fn less(length: usize, room: usize) -> Option<usize> {
    (room > 4 * FEW && length < room / 8).then_some(FEW.max(2 * length))
}

pub(crate) fn queue<T>(queue: &mut VecDeque<T>) {
    if let Some(room) = less(queue.len(), queue.capacity()) {
        queue.shrink_to(room);
    }
}

pub(crate) fn list<T>(list: &mut Vec<T>) {
    if let Some(room) = less(list.len(), list.capacity()) {
        list.shrink_to(room);
    }
}

pub(crate) fn map<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if let Some(room) = less(map.len(), map.capacity()) {
        map.shrink_to(room);
    }
}

pub(crate) fn set<T: Eq + Hash>(set: &mut HashSet<T>) {
    if let Some(room) = less(set.len(), set.capacity()) {
        set.shrink_to(room);
    }
}

/// What a list is to have room for that is full: a sixteenth more. Doubled, it would have twice what is needed of the largest things that
/// there are.
pub(crate) fn growth(length: usize) -> usize {
    length / 16 + FEW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_is_used_stays_and_the_rest_goes() {
        let mut many: VecDeque<u32> = (0..10_000).collect();
        let room = many.capacity();
        many.truncate(room / 8);
        queue(&mut many);
        assert_eq!(many.capacity(), room, "there may soon be more");
        many.truncate(100);
        queue(&mut many);
        assert!((200..1_000).contains(&many.capacity()), "{}", many.capacity());
        assert!(many.iter().copied().eq(0..100));
        let mut all: HashSet<u32> = (0..10_000).collect();
        all.retain(|number| *number < 5);
        set(&mut all);
        assert!(all.capacity() < 64 && all.len() == 5, "{}", all.capacity());
    }
}
