//! Times as people write and read them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::parse_age;

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A time as `90s`, `10m`, `2h`, `3d`, `1w` ago, `2026-11-24`, `2026-11-24T10:00:00Z`, in Unix milliseconds.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    if text.ends_with(|c: char| c.is_ascii_alphabetic())
        && let Some(age) = parse_age(text)
    {
        return Ok(now_ms().saturating_sub(age.saturating_mul(1000)));
    }
    timestamp(text).ok_or_else(|| {
        format!("{text} is no time; write 2h, 3d, 2026-11-24 or 2026-11-24T10:00:00Z")
    })
}

fn timestamp(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let numbers = |text: &str, by: char| -> Option<Vec<i64>> {
        text.split(by).map(|part| part.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hour, minute, second]) =
        (date[..].try_into().ok()?, time[..].try_into().ok()?);
    let within = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..61).contains(&second)
        && (1970..10000).contains(&year);
    if !within {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds * 1000).ok()
}

/// Unix milliseconds as `2026-11-24T10:00:00Z`.
pub(crate) fn print_ms(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since the Unix epoch of a Gregorian date.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed() {
        for text in ["1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z", "2026-11-24T10:44:45Z"] {
            assert_eq!(print_ms(parse(text).unwrap()), text);
        }
        assert_eq!(parse("2026-11-24").unwrap(), 1_795_478_400_000);
        assert!(parse("2h").unwrap() < now_ms());
        for bad in ["", "yesterday", "2026-13-01", "2026-11-24T10:00", "12"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
