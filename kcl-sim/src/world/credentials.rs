//! The credentials of each worker: they expire, and new ones take long.
//!
//! The client loads them ahead, in a task of its own, and uses the old ones until they expire. A
//! call without credentials waits for new ones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chance::Chance;
use crate::time::{Time, millis};

/// How long credentials last, and how long new ones take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CredentialsPlan {
    pub(crate) lasts: Duration,
    /// The longest time that it takes to load the first ones of a worker.
    pub(crate) first_max: Duration,
    /// The longest time that it takes to load further ones.
    pub(crate) load_max: Duration,
    /// How long before the old ones expire new ones are loaded.
    pub(crate) ahead: Duration,
}

/// When credentials can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: Time,
    until: Time,
}

/// The credentials of all workers.
#[derive(Debug)]
pub(crate) struct Credentials {
    plan: CredentialsPlan,
    /// Those in use, and the next ones once they are being loaded.
    of: BTreeMap<String, (Validity, Option<Validity>)>,
}

impl Credentials {
    pub(crate) const fn new(plan: CredentialsPlan) -> Self {
        Self { plan, of: BTreeMap::new() }
    }

    /// A worker starts, without credentials.
    pub(crate) fn starts(&mut self, worker: &str) {
        self.of.remove(worker);
    }

    /// Returns from when on a call of a worker has credentials: `now`, or later.
    pub(crate) fn usable_from(&mut self, worker: &str, now: Time, chance: &mut Chance) -> Time {
        let plan = self.plan;
        let mut load = |began: Time, most: Duration| {
            let from = began + Duration::from_millis(chance.between(1, millis(most)));
            Validity { from, until: from + plan.lasts }
        };
        let (current, next) =
            self.of.entry(worker.to_owned()).or_insert_with(|| (load(now, plan.first_max), None));
        loop {
            let refresh =
                Time::from_millis(current.until.millis().saturating_sub(millis(plan.ahead)));
            if next.is_none() && now >= refresh {
                *next = Some(load(refresh, plan.load_max));
            }
            match next {
                Some(loaded) if now >= loaded.from => (*current, *next) = (*loaded, None),
                _ => break,
            }
        }
        match next {
            Some(next) if now >= current.until => next.from,
            _ => now.max(current.from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_waits_for_credentials_that_are_late() {
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis(1);
        let plan = CredentialsPlan {
            lasts: seconds(10),
            first_max: millis,
            load_max: millis,
            ahead: seconds(2),
        };
        let mut chance = Chance::of(1, 1);
        let mut credentials = Credentials::new(plan);
        let mut usable = |credentials: &mut Credentials, at| {
            let now = Time::from_millis(at);
            credentials.usable_from("w", now, &mut chance).millis() - at
        };
        assert_eq!(usable(&mut credentials, 100), 1, "the first ones");
        assert_eq!(usable(&mut credentials, 9_000), 0, "ahead of the end at 10.101 s");
        assert_eq!(usable(&mut credentials, 60_000), 0);
        credentials.starts("w");
        assert_eq!(usable(&mut credentials, 60_000), 1, "a new worker");
        // Without time ahead, each end leaves a gap.
        credentials.plan.ahead = Duration::ZERO;
        assert_eq!(usable(&mut credentials, 70_001), 1);
        assert_eq!(usable(&mut credentials, 70_002), 0);
    }
}
