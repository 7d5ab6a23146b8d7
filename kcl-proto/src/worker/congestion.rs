//! When a worker stops moving leases, because its renewals suffer.
//!
//! What is held stays held: under overload, renewals come first and moves slow down. A worker
//! whose renewals are throttled or late takes no lease and asks for none for a while, and for
//! longer if that did not help.

use std::time::Duration;

use crate::consumer::backoff::Backoff;
use crate::model::Moment;

/// Whether a worker may move leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Congestion {
    /// Until when no lease moves, or `None` if renewals never suffered.
    until: Option<Moment>,
    /// How many rests there were, each within an expiry of the one before.
    rests: u32,
}

impl Congestion {
    /// Whether leases may move.
    #[must_use]
    pub fn may_move(self, now: Moment) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// When leases may move again, or `None` if they may now.
    #[must_use]
    pub fn ends_at(self, now: Moment) -> Option<Moment> {
        self.until.filter(|until| now < *until)
    }

    /// Notes that a call on a lease was throttled, or that a renewal was [late](is_late). Moves
    /// rest for about a tenth of an `expiry`, and for twice as long each time that this happens
    /// again within an expiry, up to a whole one. `chance` is from 0 to 1.
    pub fn suffered(&mut self, expiry: Duration, chance: f64, now: Moment) {
        self.rests = match self.until {
            Some(until) if now < until => return,
            Some(until) if now.since(until) < expiry => self.rests.saturating_add(1),
            Some(_) | None => 1,
        };
        let rest = Backoff::new(expiry / 10, expiry).jittered(self.rests, chance);
        self.until = Some(now + rest);
    }
}

/// Whether two renewals of a lease are so far apart that the worker is overloaded. They are a third
/// of an `expiry` apart where nothing is slow.
#[must_use]
pub fn is_late(between: Duration, expiry: Duration) -> bool {
    between > expiry / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRY: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn moves_rest_after_a_throttled_call() {
        let mut congestion = Congestion::default();
        assert!(congestion.may_move(at(0)));
        congestion.suffered(EXPIRY, 1.0, at(0));
        assert!(!congestion.may_move(at(999)));
        assert_eq!(congestion.ends_at(at(999)), Some(at(1_000)));
        assert!(congestion.may_move(at(1_000)));
        assert_eq!(congestion.ends_at(at(1_000)), None);
    }

    #[test]
    fn rest_doubles_while_it_does_not_help() {
        let mut congestion = Congestion::default();
        let mut now = at(0);
        let mut rests = Vec::new();
        for _ in 0..6 {
            congestion.suffered(EXPIRY, 1.0, now);
            congestion.suffered(EXPIRY, 1.0, now + Duration::from_millis(1)); // It rests already.
            let end = congestion.ends_at(now).unwrap();
            rests.push((end - now).as_secs());
            now = end;
        }
        assert_eq!(rests, [1, 2, 4, 8, 10, 10]);
        congestion.suffered(EXPIRY, 1.0, now + EXPIRY);
        assert_eq!(congestion.ends_at(now + EXPIRY), Some(now + EXPIRY + EXPIRY / 10));
    }

    #[test]
    fn jitter_shortens_the_rest_by_half_at_most() {
        for (chance, millis) in [(0.0, 500), (0.5, 750), (f64::NAN, 1_000), (7.0, 1_000)] {
            let mut congestion = Congestion::default();
            congestion.suffered(EXPIRY, chance, at(0));
            assert_eq!(congestion.ends_at(at(0)), Some(at(millis)));
        }
    }

    #[test]
    fn renewals_half_an_expiry_apart_are_not_late() {
        assert!(!is_late(EXPIRY / 2, EXPIRY));
        assert!(is_late(EXPIRY / 2 + Duration::from_millis(1), EXPIRY));
    }
}
