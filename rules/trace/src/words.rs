//! Numbers in words.

use std::time::Duration;

/// Octets, for people: `512 B`, `1.5 KiB`.
pub fn octets(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let (mut tenths, mut unit) = (n.saturating_mul(10) / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A span of time: `+12.345 s` without the sign.
pub fn seconds(span: Duration) -> String {
    let thousandths = span.as_millis();
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// `1 time`, `2 times`.
pub fn times(n: u32) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

/// A moment since 1970 as RFC 3339 has it, UTC, with milliseconds.
pub fn moment(at: Duration) -> String {
    let seconds = at.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        at.subsec_millis()
    )
}

/// The date so many days after 1970-01-01 (the proleptic Gregorian calendar, in years that begin with March).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_read_them() {
        assert_eq!(
            [0, 1023, 1024, 1536, 1 << 20, 5 << 30].map(octets),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB"]
        );
        assert_eq!(moment(Duration::from_millis(951_782_400_123)), "2000-02-29T00:00:00.123Z");
        assert_eq!(moment(Duration::from_secs(1_795_770_943)), "2026-11-27T09:15:43.000Z");
        assert_eq!(moment(Duration::ZERO), "1970-01-01T00:00:00.000Z");
        assert_eq!(seconds(Duration::from_micros(12_345_678)), "12.345");
    }
}
