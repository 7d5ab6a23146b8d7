//! Numbers, times and checkpoints for people.

use std::time::Duration;

use kcl_core::model::Checkpoint;
use kcl_operate::{ShardReport, spoken};

/// How many digits of a sequence number are shown.
const DIGITS: usize = 9;

/// Returns a lag: tenths of seconds below a minute, then as people say it.
pub(crate) fn lag(shard: &ShardReport) -> String {
    match shard.lag {
        None => "?".to_owned(),
        Some(lag) if shard.lag_is_bound => format!("≤ {}", time(lag)),
        Some(lag) => time(lag),
    }
}

/// Returns a time: tenths of seconds below a minute, then as people say it.
pub(crate) fn time(time: Duration) -> String {
    if time < Duration::from_mins(1) {
        let tenths = time.as_millis() / 100;
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        spoken(time.as_secs())
    }
}

/// Returns the end of a checkpoint, or all of it.
pub(crate) fn checkpoint(checkpoint: Checkpoint, is_whole: bool) -> String {
    let text = checkpoint.to_text();
    let skipped = text.chars().count().saturating_sub(DIGITS);
    if is_whole || checkpoint.position().is_none() || skipped == 0 {
        return text;
    }
    format!("…{}", text.chars().skip(skipped).collect::<String>())
}

/// Returns how a lag changes.
pub(crate) fn trend(trend: Option<f64>) -> String {
    match trend {
        None => "?".to_owned(),
        Some(trend) if trend.abs() < 0.1 => "steady".to_owned(),
        Some(trend) => format!("{trend:+.1} s/s").replace('-', "−"),
    }
}

/// Returns `1 worker`, `2 workers`.
pub(crate) fn count(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short() {
        assert_eq!(time(Duration::from_millis(41_260)), "41.2 s");
        assert_eq!(time(Duration::from_secs(61)), "1 m 1 s");
        let sequence = Checkpoint::parse("49590338271490256608559692", 0).unwrap();
        assert_eq!(checkpoint(sequence, false), "…608559692");
        assert_eq!(checkpoint(sequence, true), "49590338271490256608559692");
        assert_eq!(checkpoint(Checkpoint::TrimHorizon, false), "TRIM_HORIZON");
        assert_eq!(trend(Some(-1.44)), "−1.4 s/s");
        assert_eq!(trend(Some(1.0)), "+1.0 s/s");
        assert_eq!(trend(Some(0.01)), "steady");
        assert_eq!(count(1, "shard"), "1 shard");
    }
}
