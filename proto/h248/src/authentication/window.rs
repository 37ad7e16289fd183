//! Which sequence numbers of a sender were there (RFC 2402 §3.4.3). Numbers wrap (RFC 1982): our own begin
//! at a clock.

/// Numbers below the highest that are told apart.
const WIDTH: u32 = 64;

#[derive(Debug)]
pub(super) struct Window {
    highest: u32,
    /// Bit n: the number n below the highest was there.
    seen: u64,
}

impl Window {
    pub(super) fn at(first: u32) -> Self {
        Self { highest: first, seen: 1 }
    }

    /// Takes a number; whether it is new.
    pub(super) fn take(&mut self, number: u32) -> bool {
        let ahead = number.wrapping_sub(self.highest);
        if ahead == 0 {
            return false;
        }
        if ahead < 1 << 31 {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = number;
            return true;
        }
        let behind = self.highest.wrapping_sub(number);
        let bit = 1u64.checked_shl(behind).unwrap_or(0);
        if behind >= WIDTH || self.seen & bit != 0 {
            return false;
        }
        self.seen |= bit;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_passes_once_in_any_order_nearby() {
        let mut window = Window::at(100);
        assert!(!window.take(100));
        assert!(window.take(103) && window.take(101) && !window.take(101) && !window.take(103));
        assert!(window.take(102) && window.take(40) && !window.take(40));
        assert!(!window.take(39), "too old to tell");
        assert!(window.take(1000) && !window.take(103) && window.take(999));
        assert!(window.take(1000 + 64) && !window.take(1000), "64 below the highest is outside");
        let mut window = Window::at(u32::MAX);
        assert!(window.take(0) && window.take(u32::MAX - 1) && !window.take(u32::MAX));
    }
}
