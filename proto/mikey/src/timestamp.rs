//! Timestamps (RFC 3830 §6.6, RFC 6043 §6.3) and what they mean on the wall clock.
//!
//! NTP seconds wrap in 2036. They are read as 1968 to 2104 (RFC 4330 §3): top bit set means the
//! era that began in 1900, top bit clear the one that begins in 2036.

use crate::Error;
use crate::error::Feature;
use crate::registry::ts_type;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900-01-01 to 1970-01-01.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// The value of a T or TR payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamp {
    /// 64-bit NTP timestamp, UTC: seconds in the upper half, their fraction in the lower.
    NtpUtc(u64),
    /// 64-bit NTP timestamp whose relation to UTC the parties agreed on.
    Ntp(u64),
    /// A counter.
    Counter(u32),
    /// Seconds alone, UTC.
    NtpUtc32(u32),
}

impl Timestamp {
    /// The instant `wall` as a 64-bit NTP-UTC timestamp.
    pub fn from_wall(wall: SystemTime) -> Self {
        let (seconds, nanos) = match wall.duration_since(UNIX_EPOCH) {
            Ok(d) => (NTP_TO_UNIX.wrapping_add(d.as_secs()), d.subsec_nanos()),
            Err(e) => (NTP_TO_UNIX.wrapping_sub(e.duration().as_secs()), 0),
        };
        let fraction = (u64::from(nanos) << 32) / 1_000_000_000;
        Self::NtpUtc((seconds << 32) | fraction)
    }

    /// The instant `wall` in whole seconds.
    pub fn seconds_from_wall(wall: SystemTime) -> Self {
        match Self::from_wall(wall) {
            Self::NtpUtc(v) => Self::NtpUtc32((v >> 32) as u32),
            other => other,
        }
    }

    /// Its number in the registry.
    pub fn type_number(self) -> u8 {
        match self {
            Self::NtpUtc(_) => ts_type::NTP_UTC,
            Self::Ntp(_) => ts_type::NTP,
            Self::Counter(_) => ts_type::COUNTER,
            Self::NtpUtc32(_) => ts_type::NTP_UTC_32,
        }
    }

    /// As 64 bits for the initialisation vector of KEMAC: a counter gets leading zeros
    /// (RFC 3830 §6.6), whole seconds a zero fraction (RFC 6043 §6.3).
    pub fn padded(self) -> [u8; 8] {
        match self {
            Self::NtpUtc(v) | Self::Ntp(v) => v.to_be_bytes(),
            Self::Counter(v) => u64::from(v).to_be_bytes(),
            Self::NtpUtc32(v) => (u64::from(v) << 32).to_be_bytes(),
        }
    }

    /// The instant it names; `None` for a counter.
    pub fn to_wall(self) -> Option<SystemTime> {
        let (seconds, fraction) = match self {
            Self::NtpUtc(v) | Self::Ntp(v) => ((v >> 32) as u32, v as u32),
            Self::NtpUtc32(v) => (v, 0),
            Self::Counter(_) => return None,
        };
        let era = if seconds & 0x8000_0000 == 0 { 1u64 << 32 } else { 0 };
        let since_1900 = era + u64::from(seconds);
        let nanos = (u64::from(fraction) * 1_000_000_000) >> 32;
        let within = Duration::from_nanos(nanos);
        match since_1900.checked_sub(NTP_TO_UNIX) {
            Some(s) => UNIX_EPOCH.checked_add(Duration::from_secs(s))?.checked_add(within),
            None => {
                UNIX_EPOCH.checked_sub(Duration::from_secs(NTP_TO_UNIX - since_1900))?.checked_add(within)
            }
        }
    }

    /// Checks that it lies within `skew` of `wall` (RFC 3830 §5.4) and gives the instant.
    pub fn check_skew(self, wall: SystemTime, skew: Duration) -> Result<SystemTime, Error> {
        let Some(at) = self.to_wall() else {
            return Err(Error::unsupported(Feature::Timestamp(self.type_number())));
        };
        let apart = at.duration_since(wall).unwrap_or_else(|e| e.duration());
        if apart <= skew { Ok(at) } else { Err(Error::Skew(apart.as_secs())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_eras() {
        let unix = |s| UNIX_EPOCH + Duration::from_secs(s);
        assert_eq!(
            Timestamp::NtpUtc32(0x8000_0000).to_wall().unwrap(),
            UNIX_EPOCH - Duration::from_secs(61_505_152)
        );
        // RFC 4330: 2036-02-07 06:28:16 UTC is second 0 of era 1.
        assert_eq!(Timestamp::NtpUtc32(0).to_wall().unwrap(), unix(2_085_978_496));
        for s in [0, 1_700_000_000, 2_085_978_495, 2_085_978_496, 4_000_000_000] {
            assert_eq!(Timestamp::from_wall(unix(s)).to_wall(), Some(unix(s)));
            assert_eq!(Timestamp::seconds_from_wall(unix(s)).to_wall(), Some(unix(s)));
        }
    }

    #[test]
    fn skew_is_checked_both_ways() {
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let skew = Duration::from_secs(300);
        let at = |d: i64| Timestamp::NtpUtc32((1_700_000_000i64 + 2_208_988_800 + d) as u32);
        assert!(at(300).check_skew(wall, skew).is_ok());
        assert!(at(-300).check_skew(wall, skew).is_ok());
        assert_eq!(at(301).check_skew(wall, skew), Err(Error::Skew(301)));
        assert_eq!(at(-301).check_skew(wall, skew), Err(Error::Skew(301)));
        assert!(Timestamp::Counter(1).check_skew(wall, skew).is_err());
    }

    #[test]
    fn padding() {
        assert_eq!(Timestamp::Counter(7).padded(), [0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(Timestamp::NtpUtc32(0xe900_0000).padded(), [0xe9, 0, 0, 0, 0, 0, 0, 0]);
    }
}
