//! The plan of a large fleet under load, drawn from its seed before it begins.

use std::time::Duration;

use kcl_core::config::LeaseConfig;

use crate::chance::Chance;
use crate::world::{CapacityPlan, CredentialsPlan, ServicePlan, Units, Weather};

/// The plan of a large fleet under load.
#[derive(Clone, Debug)]
pub(crate) struct CoursePlan {
    pub(crate) workers: usize,
    pub(crate) shards: usize,
    pub(crate) expiry: Duration,
    /// The mean pause between two records.
    pub(crate) traffic: Duration,
    pub(crate) poll_every: Duration,
    /// How long the starts of two workers are apart at most, in milliseconds.
    pub(crate) start_apart: u64,
    pub(crate) scan_units: usize,
    pub(crate) leases_max: Option<usize>,
    pub(crate) service: ServicePlan,
    /// How long it takes to open a connection.
    pub(crate) connect: Duration,
    pub(crate) credentials: Option<CredentialsPlan>,
    pub(crate) weather: Weather,
    /// What part of its capacity the table has for a while, and for how long.
    pub(crate) lack: Option<(f64, Duration)>,
    /// Whether no call fails, or waits for long.
    pub(crate) is_prompt: bool,
    /// Whether lookouts read the table: an owner learns of a request by its next heartbeat then.
    pub(crate) is_led: bool,
}

/// How many calls a table on demand lets through each second when it is new.
///
/// Source: DynamoDB Developer Guide, "On-demand capacity mode".
const ON_DEMAND: Units = Units { writes: 4_000.0, reads: 12_000.0 };

/// The most rows that all workers together know. Each of them plans over all leases, and a world
/// should take some seconds at most.
const ROWS_MAX: usize = 6_000;

/// How many hand-overs to one worker take place at once at least.
const HANDOVERS: usize = 16;

/// A number of leases or workers as a floating-point number.
fn real(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0))
}

impl CoursePlan {
    /// The size of a row.
    pub(crate) const ROW_BYTES: usize = 800;

    /// A fleet of thousands of leases on a table on demand.
    pub(crate) fn large(chance: &mut Chance) -> Self {
        let shards = *chance.pick(&[100, 200, 400, 800, 1_500, 3_000]).unwrap_or(&100);
        let workers = *chance.pick(&[1, 2, 3, 5, 10, 20, 40, 60]).unwrap_or(&1);
        let workers = workers.min(ROWS_MAX / shards).max(1);
        let expiry = Duration::from_secs(*chance.pick(&[10, 10, 30]).unwrap_or(&10));
        let mut plan = Self::of(workers, shards, expiry, chance);
        let maximum = *chance.pick(&[3, 10, 100, shards / workers + 1]).unwrap_or(&3);
        plan.leases_max = chance.hits(0.3).then_some(maximum);
        if chance.hits(0.2) {
            // Scans are rarer than an expiry.
            let period = plan.expiry.as_secs_f64() * chance.part().mul_add(1.3, 1.2);
            plan.set_scan_units(real(plan.workers) * plan.scan_cost() / period);
        }
        plan
    }

    /// A fleet on a table that has little more capacity than renewals take, and at times less.
    pub(crate) fn throttled(chance: &mut Chance) -> Self {
        let shards = *chance.pick(&[50, 100, 200, 400, 800]).unwrap_or(&100);
        let workers = *chance.pick(&[1, 2, 3, 5, 10]).unwrap_or(&1);
        let expiry = Duration::from_secs(*chance.pick(&[10, 10, 30]).unwrap_or(&10));
        let mut plan = Self::of(workers, shards, expiry, chance);
        let writes = (plan.renewals() * chance.part().mul_add(1.7, 1.3)).max(10.0);
        let reads = (plan.scan_rate() * 2.0).max(2.0 * plan.scan_cost());
        let burst = Duration::from_secs(chance.between(1, 5));
        let partitions = 1 + chance.between(0, 2);
        plan.service.capacity = CapacityPlan { units: Units { writes, reads }, burst, partitions };
        if chance.hits(0.5) {
            let time = Duration::from_secs(chance.between(5, 30));
            plan.lack = Some((chance.part().mul_add(0.5, 0.1), time));
        }
        plan.is_prompt = false;
        plan.weather.not_found = if chance.hits(0.3) { 0.001 } else { 0.0 };
        plan
    }

    /// A fleet whose credentials expire, and take long.
    pub(crate) fn credentials(chance: &mut Chance) -> Self {
        let shards = usize::try_from(chance.between(1, 60)).unwrap_or(1);
        let workers = usize::try_from(chance.between(1, 6)).unwrap_or(1);
        let mut plan = Self::of(workers, shards, Duration::from_secs(10), chance);
        let seconds = |chance: &mut Chance, of: &[u64]| {
            Duration::from_millis(*chance.pick(of).unwrap_or(&1_000))
        };
        plan.credentials = Some(CredentialsPlan {
            lasts: seconds(chance, &[15_000, 20_000, 60_000]),
            first_max: seconds(chance, &[100, 5_000, 50_000]),
            load_max: seconds(chance, &[300, 2_000, 4_000]),
            ahead: seconds(chance, &[1, 1_000, 10_000]),
        });
        plan.is_prompt = false;
        plan.weather.not_found = 0.003;
        plan
    }

    fn of(workers: usize, shards: usize, expiry: Duration, chance: &mut Chance) -> Self {
        let row = Duration::from_millis(chance.between(2, 10));
        let page = Duration::from_millis(chance.between(50, 150));
        let capacity =
            CapacityPlan { units: ON_DEMAND, burst: Duration::from_secs(1), partitions: 4 };
        let mut plan = Self {
            workers,
            shards,
            expiry,
            traffic: Duration::from_millis(chance.between(100, 1_000)),
            poll_every: Duration::from_secs(chance.between(8, 15)),
            start_apart: *chance.pick(&[0, 100, 1_000]).unwrap_or(&0),
            scan_units: LeaseConfig::default().scan_units,
            leases_max: None,
            // Enough for the renewals, and some more.
            service: ServicePlan { capacity, servers: 0, row, page },
            connect: Duration::from_millis(chance.between(5, 100)),
            credentials: None,
            weather: Weather::default(),
            lack: None,
            is_prompt: true,
            is_led: false,
        };
        let busy = plan.renewals() * row.as_secs_f64();
        plan.service.servers =
            (1..1_000).find(|servers| real(*servers) >= 4.0 * busy).unwrap_or(1_000).max(16);
        // A budget with which scans are at most a third of an expiry apart.
        let period = plan.expiry.as_secs_f64() / 3.0;
        let units = real(workers) * plan.scan_cost() / period;
        plan.set_scan_units(units.max(real(plan.scan_units)));
        plan
    }

    fn set_scan_units(&mut self, units: f64) {
        let found = (1..100_000).find(|whole| real(*whole) >= units);
        self.scan_units = found.unwrap_or(100_000);
    }

    /// How many writes a second it takes to renew all leases, and the workers' rows.
    fn renewals(&self) -> f64 {
        real(self.shards + self.workers) * 3.0 / self.expiry.as_secs_f64()
    }

    /// The read units of one scan.
    pub(crate) fn scan_cost(&self) -> f64 {
        let rows = real(self.shards + 2 * self.workers + 2);
        rows * real(Self::ROW_BYTES) / 8_192.0 + 1.0
    }

    /// How often each worker scans, by the budget.
    fn scan_period(&self) -> Duration {
        let period = real(self.workers) * self.scan_cost() / real(self.scan_units);
        secs(period.max(1.0))
    }

    /// Whether scans are frequent enough for workers to act in time.
    pub(crate) fn scans_often(&self) -> bool {
        self.scan_period() * 2 <= self.expiry
    }

    /// How many read units a second scans may cost: if the budget is too small, what it takes to
    /// scan twice within an expiry.
    pub(crate) fn scan_rate(&self) -> f64 {
        let enough = real(self.workers) * self.scan_cost() * 2.0 / self.expiry.as_secs_f64();
        if self.scans_often() { real(self.scan_units) } else { enough }
    }

    /// How long it takes at least to write this many rows while all leases are renewed.
    fn write_time(&self, rows: usize) -> Duration {
        let Units { writes, .. } = self.service.capacity.units;
        let partitions = real(usize::try_from(self.service.capacity.partitions).unwrap_or(1));
        let spare = writes.min(partitions * 1_000.0) - self.renewals();
        secs(real(rows) / spare.max(1.0))
    }

    /// How long hand-overs may take that bring a worker this many leases.
    fn handover_time(&self, leases: usize) -> Duration {
        let rounds = u32::try_from(leases.div_ceil(HANDOVERS));
        // Who is led reads the bulletin once a second, and then the rows that it names.
        let learn = if self.is_led {
            self.expiry / 3 + Duration::from_secs(2)
        } else {
            self.scan_period().min(self.expiry / 3)
        };
        self.write_time(3 * leases)
            + self.look_time(2 * leases)
            + (learn + Duration::from_millis(500)) * rounds.unwrap_or(1)
    }

    /// How long it takes at least to read this many rows one by one beside what scans may cost:
    /// workers that are led look at each row before they act on it.
    fn look_time(&self, rows: usize) -> Duration {
        if !self.is_led {
            return Duration::ZERO;
        }
        let spare = self.service.capacity.units.reads - self.scan_rate();
        secs(real(rows) / spare.max(1.0))
    }

    fn share(&self) -> usize {
        self.shards.div_ceil(self.workers.max(1))
    }

    /// How long a fleet may take to start.
    pub(crate) fn start_max(&self) -> Duration {
        let credentials = self
            .credentials
            .map_or(Duration::ZERO, |plan| plan.first_max + Duration::from_secs(10));
        let tables =
            real(self.workers) * self.scan_cost() * 4.0 / self.service.capacity.units.reads;
        Duration::from_secs(10)
            + credentials
            + secs(tables)
            + self.write_time(2 * self.shards) * 2
            + self.handover_time(self.share())
            + self.scan_period() * 2
            + self.moves_rest()
    }

    /// How long it may take until the leases of a worker that crashed are shared.
    pub(crate) fn crash_max(&self) -> Duration {
        self.expiry + self.stop_max()
    }

    /// How long it may take until the leases of a worker that stops are shared.
    pub(crate) fn stop_max(&self) -> Duration {
        let moved = self.share();
        let each = moved.div_ceil(self.workers.max(2) - 1);
        let credentials = self.credentials.map_or(Duration::ZERO, |plan| plan.load_max * 2);
        Duration::from_secs(5)
            + self.scan_period() * 2
            + self.write_time(2 * moved)
            + self.handover_time(each)
            + credentials
            + self.moves_rest()
    }

    /// How long a worker that joins may take to get its share.
    pub(crate) fn join_max(&self) -> Duration {
        let credentials =
            self.credentials.map_or(Duration::ZERO, |plan| plan.first_max + plan.load_max);
        Duration::from_secs(5)
            + self.scan_period() * 2
            + self.handover_time(self.share())
            + credentials
            + self.moves_rest()
    }

    /// How long moves may rest because calls are throttled: those of the worker that moves, and
    /// those of the lookouts that tell it to.
    fn moves_rest(&self) -> Duration {
        match (self.is_prompt, self.is_led) {
            (true, _) => Duration::ZERO,
            (false, false) => self.expiry,
            (false, true) => self.expiry * 2,
        }
    }

    /// How long the fleet rests.
    pub(crate) fn rest(&self) -> Duration {
        self.expiry.max(self.scan_period()) + Duration::from_secs(35)
    }
}
