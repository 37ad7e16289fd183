//! A list of many small things that are found by either of two names.
//!
//! One list that grows by what is needed and two indices of four octets an entry into it, instead of maps that have names and
//! things once more: a map's room is a power of two, of which as little as half may be in use.

use std::hash::{BuildHasher as _, Hash, RandomState};

use hashbrown::HashTable;
use slab::Slab;

use super::slim;

/// What such a list has.
pub(super) trait Enrolled {
    type Name: Hash + Eq + Copy;

    /// No two have the same.
    fn first(&self) -> Self::Name;

    /// Several may have the same: the last that came is meant.
    fn second(&self) -> Self::Name;
}

#[derive(Debug)]
pub(super) struct Roll<T> {
    all: Slab<T>,
    by_first: HashTable<u32>,
    by_second: HashTable<u32>,
    hasher: RandomState,
}

impl<T> Default for Roll<T> {
    fn default() -> Self {
        let (by_first, by_second) = (HashTable::new(), HashTable::new());
        Self { all: Slab::new(), by_first, by_second, hasher: RandomState::new() }
    }
}

impl<T: Enrolled> Roll<T> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.all.iter().map(|(_, one)| one)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.all.iter_mut().map(|(_, one)| one)
    }

    fn index(&self, first: &T::Name) -> Option<usize> {
        let is_it = |index: &u32| self.all.get(*index as usize).is_some_and(|one| one.first() == *first);
        self.by_first.find(self.hasher.hash_one(first), is_it).map(|index| *index as usize)
    }

    pub(super) fn get(&self, first: &T::Name) -> Option<&T> {
        self.all.get(self.index(first)?)
    }

    pub(super) fn get_mut(&mut self, first: &T::Name) -> Option<&mut T> {
        let index = self.index(first)?;
        self.all.get_mut(index)
    }

    pub(super) fn by_second(&self, second: &T::Name) -> Option<&T> {
        let is_it = |index: &u32| self.all.get(*index as usize).is_some_and(|one| one.second() == *second);
        let index = self.by_second.find(self.hasher.hash_one(second), is_it)?;
        self.all.get(*index as usize)
    }

    /// Nothing there has its first name.
    pub(super) fn insert(&mut self, one: T) {
        let (first, second) = (one.first(), one.second());
        if self.all.len() == self.all.capacity() {
            self.all.reserve_exact(slim::growth(self.all.len()));
        }
        let index = self.all.insert(one);
        let Ok(index) = u32::try_from(index) else {
            // What it is a list of is bounded far below that.
            self.all.remove(index);
            return;
        };
        let Self { all, by_first, by_second, hasher } = self;
        let of = |index: &u32| all.get(*index as usize);
        by_first.insert_unique(hasher.hash_one(first), index, |index| {
            hasher.hash_one(of(index).map_or(first, T::first))
        });
        let same = |index: &u32| of(index).is_some_and(|one| one.second() == second);
        let hash = |index: &u32| hasher.hash_one(of(index).map_or(second, T::second));
        let entry = by_second.entry(hasher.hash_one(second), same, hash);
        entry.and_modify(|last| *last = index).or_insert(index);
    }

    pub(super) fn remove(&mut self, first: &T::Name) -> Option<T> {
        let index = self.index(first)?;
        let second = self.all.get(index)?.second();
        let is_it = |other: &u32| *other as usize == index;
        if let Ok(entry) = self.by_first.find_entry(self.hasher.hash_one(first), is_it) {
            entry.remove();
        }
        // Unless it means another one by now.
        if let Ok(entry) = self.by_second.find_entry(self.hasher.hash_one(second), is_it) {
            entry.remove();
        }
        Some(self.all.remove(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Pair(u32, u32);

    impl Enrolled for Pair {
        type Name = u32;

        fn first(&self) -> u32 {
            self.0
        }

        fn second(&self) -> u32 {
            self.1
        }
    }

    #[test]
    fn all_are_found_by_both_names_until_they_go() {
        let mut roll = Roll::default();
        let all: Vec<_> = (0..1000).map(|number| Pair(number, number + 5000)).collect();
        for pair in &all {
            assert!(roll.get(&pair.0).is_none());
            roll.insert(*pair);
        }
        for pair in &all {
            let of = |roll: &Roll<Pair>| (roll.get(&pair.0).copied(), roll.by_second(&pair.1).copied());
            assert_eq!(of(&roll), (Some(*pair), Some(*pair)));
            if pair.0.is_multiple_of(2) {
                assert_eq!(roll.remove(&pair.0), Some(*pair));
                assert_eq!(of(&roll), (None, None));
                assert_eq!(roll.remove(&pair.0), None);
            }
        }
        assert_eq!((roll.len(), roll.iter().count()), (500, 500));
        roll.iter_mut().for_each(|pair| pair.0 += 0);
        roll.insert(Pair(0, 1));
        assert_eq!(roll.get(&0), Some(&Pair(0, 1)), "in the place of another");
        assert_eq!(roll.by_second(&5000), None);
    }

    #[test]
    fn of_several_with_one_second_name_the_last_is_meant() {
        let mut roll = Roll::default();
        roll.insert(Pair(1, 9));
        roll.insert(Pair(2, 9));
        assert_eq!(roll.by_second(&9), Some(&Pair(2, 9)));
        roll.remove(&1);
        assert_eq!(roll.by_second(&9), Some(&Pair(2, 9)), "that is another one's");
        roll.remove(&2);
        assert_eq!(roll.by_second(&9), None);
    }
}
