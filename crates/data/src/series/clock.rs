//! Time stamps at regular intervals.

use std::time::Duration;

use glassbox_core::Error;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use jiff::{Span, Timestamp};

/// The time from one step of a series to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Always as long: an hour, a day, a week.
    Fixed(Duration),
    /// So many calendar months: 1, 3, 12. From a month's last day they lead to a month's last day.
    Months(u32),
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, unit) = match *self {
            Self::Months(months) => (f64::from(months), "month"),
            Self::Fixed(time) => match time.as_secs_f64() {
                s if s >= 86400.0 => (s / 86400.0, "day"),
                s if s >= 3600.0 => (s / 3600.0, "hour"),
                s if s >= 60.0 => (s / 60.0, "minute"),
                s => (s, "second"),
            },
        };
        write!(f, "{count} {unit}{}", if count == 1.0 { "" } else { "s" })
    }
}

/// A point in time, as a file gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stamp {
    civil: DateTime,
    /// None where the file leaves it open: then stamps are compared as if they were of one zone without summer time.
    offset: Option<Offset>,
    nanoseconds: i128,
}

impl Stamp {
    /// Reads RFC 3339, `YYYY-MM-DD HH:MM:SS`, `YYYY-MM-DD` or `YYYY-MM`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let is_month = bytes.len() == 7 && bytes[4] == b'-' && text.bytes().filter(u8::is_ascii_digit).count() == 6;
        let whole = if is_month { format!("{text}-01") } else { text.to_string() };
        let read = Pieces::parse(&whole).ok().filter(|pieces| pieces.time_zone_annotation().is_none());
        let stamp = read.and_then(|pieces| {
            let civil = pieces.date().to_datetime(pieces.time().unwrap_or_default());
            Self::new(civil, pieces.to_numeric_offset()).ok()
        });
        stamp.ok_or_else(|| {
            let short: String = text.chars().take(40).collect();
            format!("expected a time such as 2024-01-31 15:00:00, 2024-01-31T15:00:00Z, 2024-01-31 or 2024-01, got `{short}`")
        })
    }

    fn new(civil: DateTime, offset: Option<Offset>) -> Result<Self, jiff::Error> {
        let nanoseconds = offset.unwrap_or(Offset::UTC).to_timestamp(civil)?.as_nanosecond();
        Ok(Self { civil, offset, nanoseconds })
    }

    fn is_end_of_month(&self) -> bool {
        self.civil.day() == self.civil.days_in_month()
    }

    /// The calendar months from this stamp to a later one; none where they are not whole.
    fn months_to(&self, later: &Self) -> Option<u32> {
        let same_day = self.civil.day() == later.civil.day() || (self.is_end_of_month() && later.is_end_of_month());
        if !same_day || self.civil.time() != later.civil.time() {
            return None;
        }
        let month = |stamp: &Self| 12 * i64::from(stamp.civil.year()) + i64::from(stamp.civil.month());
        u32::try_from(month(later) - month(self)).ok().filter(|&months| months > 0)
    }
}

/// The time of every step: the first and how far apart they are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Clock {
    start: Stamp,
    pub(super) interval: Interval,
    /// All at the end of a month.
    month_ends: bool,
}

impl Clock {
    pub(super) fn new(start: &str, interval: Interval) -> Result<Self, Error> {
        let start = Stamp::parse(start).map_err(|problem| Error::format("start of the series", problem))?;
        if matches!(interval, Interval::Months(0) | Interval::Fixed(Duration::ZERO)) {
            return Err(Error::invalid("interval of the series", "more than no time", interval));
        }
        Ok(Self { start, interval, month_ends: start.is_end_of_month() })
    }

    fn at(&self, step: usize) -> Option<Stamp> {
        let steps = i64::try_from(step).ok()?;
        match self.interval {
            Interval::Fixed(interval) => {
                let passed = i128::try_from(interval.as_nanos()).ok()?.checked_mul(i128::from(steps))?;
                let time = Timestamp::from_nanosecond(self.start.nanoseconds.checked_add(passed)?).ok()?;
                let civil = self.start.offset.unwrap_or(Offset::UTC).to_datetime(time);
                Stamp::new(civil, self.start.offset).ok()
            }
            Interval::Months(months) => {
                let span = Span::new().try_months(steps.checked_mul(i64::from(months))?).ok()?;
                let civil = self.start.civil.checked_add(span).ok()?;
                Stamp::new(if self.month_ends { civil.last_of_month() } else { civil }, self.start.offset).ok()
            }
        }
    }

    /// The time of a step, in as many words as the interval needs.
    pub(super) fn text(&self, step: usize) -> Option<String> {
        let stamp = self.at(step)?;
        let midnight = self.start.civil.time() == jiff::civil::Time::midnight();
        let whole_days = match self.interval {
            Interval::Months(_) => true,
            Interval::Fixed(time) => time.as_nanos() % Duration::from_secs(86400).as_nanos() == 0,
        };
        Some(match (stamp.offset, self.interval) {
            (Some(offset), _) => {
                let time = Timestamp::from_nanosecond(stamp.nanoseconds).ok()?;
                time.display_with_offset(offset).to_string()
            }
            (None, Interval::Months(_)) if midnight && self.start.civil.day() == 1 => {
                format!("{:04}-{:02}", stamp.civil.year(), stamp.civil.month())
            }
            _ if midnight && whole_days => stamp.civil.date().to_string(),
            _ => stamp.civil.to_string().replace('T', " "),
        })
    }
}

/// Takes the stamps of a file one after another and finds their interval.
pub(super) struct ClockReader {
    /// Stamp, text and line of the first row and of the last that was taken.
    first: Option<Stamp>,
    last: Option<(Stamp, String, usize)>,
    /// What can still be the interval.
    fixed: Option<i128>,
    months: Option<u32>,
    count: usize,
    month_ends: bool,
}

impl ClockReader {
    pub(super) fn new() -> Self {
        Self { first: None, last: None, fixed: None, months: None, count: 0, month_ends: true }
    }

    pub(super) fn take(&mut self, text: &str, line: usize) -> Result<(), String> {
        let stamp = Stamp::parse(text)?;
        if let Some((last, last_text, last_line)) = &self.last {
            let passed = stamp.nanoseconds - last.nanoseconds;
            let months = last.months_to(&stamp);
            if stamp.offset.is_some() != last.offset.is_some() {
                return Err(format!("`{text}` and `{last_text}` of line {last_line}: one has an offset from UTC"));
            }
            if passed == 0 {
                return Err(format!("`{text}` is the same time as `{last_text}` of line {last_line}"));
            }
            if passed < 0 {
                return Err(format!("out of order: `{text}` comes after `{last_text}` of line {last_line}"));
            }
            let (fixed, months) = match self.count {
                1 => (Some(passed), months),
                _ => (self.fixed.filter(|&f| f == passed), self.months.filter(|&m| Some(m) == months)),
            };
            if fixed.is_none() && months.is_none() {
                let interval = self.interval().map(|i| format!(", expected {i} later")).unwrap_or_default();
                return Err(format!("irregular: `{text}` comes after `{last_text}` of line {last_line}{interval}"));
            }
            (self.fixed, self.months) = (fixed, months);
        }
        self.first.get_or_insert(stamp);
        self.last = Some((stamp, text.to_string(), line));
        self.month_ends &= stamp.is_end_of_month();
        self.count += 1;
        Ok(())
    }

    fn interval(&self) -> Option<Interval> {
        let fixed = || {
            let nanoseconds = self.fixed?;
            let seconds = u64::try_from(nanoseconds / 1_000_000_000).ok()?;
            Some(Interval::Fixed(Duration::new(seconds, u32::try_from(nanoseconds % 1_000_000_000).ok()?)))
        };
        self.months.map(Interval::Months).or_else(fixed)
    }

    pub(super) fn finish(self, place: &str) -> Result<Clock, Error> {
        match (self.first, self.interval()) {
            (Some(start), Some(interval)) => Ok(Clock { start, interval, month_ends: self.month_ends }),
            _ => Err(Error::format(
                place,
                format!("expected at least two rows, which tell the interval, got {}", self.count),
            )),
        }
    }
}
