//! TUF's expiry form `YYYY-MM-DDTHH:MM:SSZ` to seconds since 1970 and back; no time zones, no leap seconds.

/// Seconds in a day.
const DAY_SECONDS: u64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH_DAYS: u64 = 719_468;

/// Days in 400 years.
const ERA_DAYS: u64 = 146_097;

/// The last second of the year 9999, the last one that has this form.
pub(crate) const LATEST_SECOND: u64 = 253_402_300_799;

/// Seconds since 1970; `None` for any other spelling and for days that do not exist.
pub(crate) fn parse_utc(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let template = b"0000-00-00T00:00:00Z";
    let fits = bytes.len() == template.len()
        && bytes.iter().zip(template).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    // A day that does not exist comes back as another.
    if day == 0 || date_of(days) != (year, month, day) {
        return None;
    }
    Some(days * DAY_SECONDS + hour * 3600 + minute * 60 + second)
}

/// The form of `seconds` since 1970, at most the end of the year 9999.
pub(crate) fn format_utc(seconds: u64) -> String {
    let seconds = seconds.min(LATEST_SECOND);
    let (year, month, day) = date_of(seconds / DAY_SECONDS);
    let rest = seconds % DAY_SECONDS;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Years begin in March here, so that the leap day is the last one.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 1 - EPOCH_DAYS
}

fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2001-09-09T01:46:40Z", 1_000_000_000),
            ("2038-01-19T03:14:08Z", 2_147_483_648),
            ("9999-12-31T23:59:59Z", LATEST_SECOND),
        ] {
            assert_eq!(parse_utc(text), Some(seconds), "{text}");
            assert_eq!(format_utc(seconds), text);
        }
        assert_eq!(format_utc(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in 0..ERA_DAYS {
            let seconds = day * DAY_SECONDS + 86_399;
            assert_eq!(parse_utc(&format_utc(seconds)), Some(seconds));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "2001-02-29T00:00:00Z",
            "2001-00-10T00:00:00Z",
            "2001-13-10T00:00:00Z",
            "2001-01-00T00:00:00Z",
            "2001-01-32T00:00:00Z",
            "2001-01-01T24:00:00Z",
            "2001-01-01T00:60:00Z",
            "2001-01-01T00:00:60Z",
            "2001-01-01 00:00:00Z",
            "2001-01-01T00:00:00+00:00",
            "2001-01-01T00:00:00.0Z",
            "1969-12-31T23:59:59Z",
            "+001-01-01T00:00:00Z",
            "２001-01-01T00:00:0",
        ] {
            assert_eq!(parse_utc(text), None, "{text}");
        }
    }
}
