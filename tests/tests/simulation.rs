//! Whole fleets in virtual time, through storms of faults: no promise is broken.
//!
//! `ci/simulate.sh` runs more of them, with fresh seeds.

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::thread::available_parallelism;
    use std::time::Duration;

    use kcl_sim::{Campaign, Fault, FleetMode, Scenario};

    /// Seeds that once broke a promise: a scenario, a seed, the mode unless it is `counters`, and
    /// after `#` the cause.
    const REGRESSIONS: &str = include_str!("../REGRESSIONS");

    /// The faults that no scenario in turn has.
    const OF_OTHERS: [Fault; 10] = [
        Fault::Saturated,
        Fault::NewConnection,
        Fault::LateCredentials,
        Fault::NotFound,
        Fault::FrozenHolder,
        Fault::EndedPush,
        Fault::LostPush,
        Fault::TornPush,
        Fault::LatePush,
        Fault::RefusedPush,
    ];

    fn threads() -> NonZero<usize> {
        available_parallelism().unwrap_or(NonZero::<usize>::MIN)
    }

    #[test]
    fn no_storm_breaks_a_promise() {
        let campaign = Campaign::run(0..500, None, None, threads());
        assert_eq!(campaign.broken, [], "\n{campaign}");
        assert!(campaign.simulated >= Duration::from_mins(5) * 500, "{:?}", campaign.simulated);
        for fault in Fault::ALL.into_iter().filter(|fault| !OF_OTHERS.contains(fault)) {
            assert!(campaign.tally.of(fault) > 0, "{fault} never happened");
        }
    }

    /// Runs `worlds` worlds of a scenario that has no turn, and checks that each of `faults` happened.
    #[track_caller]
    fn check_other(scenario: Scenario, worlds: u64, faults: &[Fault]) {
        let campaign = Campaign::run(0..worlds, Some(scenario), None, threads());
        assert_eq!(campaign.broken, [], "\n{campaign}");
        for fault in faults {
            assert!(campaign.tally.of(*fault) > 0, "{fault} never happened");
        }
    }

    #[test]
    fn large_fleets_keep_their_promises() {
        check_other(Scenario::Large, 8, &[Fault::NewConnection]);
    }

    #[test]
    fn fleets_on_a_throttled_table_keep_their_promises() {
        check_other(Scenario::Throttled, 8, &[Fault::Saturated, Fault::NotFound]);
    }

    #[test]
    fn fleets_with_late_credentials_keep_their_promises() {
        check_other(Scenario::Credentials, 8, &[Fault::LateCredentials, Fault::NotFound]);
    }

    #[test]
    fn leases_of_frozen_holders_go_on_elsewhere() {
        check_other(Scenario::FrozenHolders, 72, &[Fault::FrozenHolder]);
    }

    #[test]
    fn broken_subscriptions_lose_and_repeat_nothing() {
        let faults = [
            Fault::EndedPush,
            Fault::LostPush,
            Fault::TornPush,
            Fault::LatePush,
            Fault::RefusedPush,
        ];
        check_other(Scenario::Pushed, 72, &faults);
    }

    #[test]
    fn workers_hold_no_more_leases_than_they_may() {
        check_other(Scenario::Capped, 18, &[Fault::Crash, Fault::LostReply]);
    }

    /// Runs `scenario`, and checks that each of `faults` happened.
    #[track_caller]
    fn check(scenario: Scenario, faults: &[Fault]) {
        let campaign = Campaign::run(10_000..10_040, Some(scenario), None, threads());
        assert_eq!(campaign.broken, [], "\n{campaign}");
        for fault in faults {
            assert!(campaign.tally.of(*fault) > 0, "{fault} never happened");
        }
    }

    #[test]
    fn only_poison_is_dead_lettered_amid_faults() {
        check(Scenario::Poison, &[Fault::Poison, Fault::FailedDeadLetter, Fault::Crash]);
    }

    #[test]
    fn records_of_a_key_stay_in_order_amid_faults() {
        let all = [Fault::Poison, Fault::FailedBatch, Fault::Panic, Fault::Hang, Fault::Crash];
        check(Scenario::PerKey, &all);
    }

    #[test]
    fn lost_acknowledgements_skip_nothing() {
        check(Scenario::Acks, &[Fault::LostAck, Fault::Panic, Fault::Crash]);
    }

    #[test]
    fn regressions_stay_fixed() {
        let mut campaign = Campaign::default();
        for line in REGRESSIONS.lines() {
            let case = line.split('#').next().unwrap_or_default().trim();
            let mut words = case.split_whitespace();
            let (Some(scenario), Some(seed)) = (words.next(), words.next()) else { continue };
            let scenario: Scenario = scenario.parse().expect("a scenario");
            let mode = words.next().map(|mode| mode.parse().expect("a mode")).unwrap_or_default();
            campaign.count(&scenario.run(mode, seed.parse().expect("a seed")));
        }
        assert!(campaign.worlds > 0);
        assert_eq!(campaign.broken, [], "\n{campaign}");
    }

    #[test]
    fn seed_reproduces_its_world() {
        for (scenario, mode) in Scenario::ALL.into_iter().zip(FleetMode::ALL.iter().cycle()) {
            let (one, other) = (scenario.run_traced(*mode, 7), scenario.run_traced(*mode, 7));
            assert!(!one.trace.is_empty());
            let differing = one.trace.iter().zip(&other.trace).find(|(one, other)| one != other);
            assert_eq!(differing, None, "{scenario}");
            assert_eq!(one.trace.len(), other.trace.len(), "{scenario}");
            assert_ne!(one.trace, scenario.run_traced(*mode, 8).trace, "{scenario}");
        }
    }
}
