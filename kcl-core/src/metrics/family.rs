//! All series of one metric with fixed labels.

use kcl_proto::model::ShardId;

use crate::metrics::cells::Cell;
use crate::metrics::definition::Metric;
use crate::metrics::snapshot::{Origin, Sample, VALUES_MAX};

/// The series of one metric, one cell for each combination of its fixed labels' values.
#[derive(Debug)]
pub(super) struct Family<C> {
    metric: &'static Metric,
    cells: Vec<C>,
}

impl<C: Cell> Family<C> {
    /// All series, at zero: a counter that appears with its first count hides it from `rate`.
    pub(super) fn new(metric: &'static Metric) -> Self {
        let count = metric.fixed_labels().map(|label| label.values.len()).product();
        Self { metric, cells: std::iter::repeat_with(C::default).take(count).collect() }
    }

    /// The cell of the series with these values of the fixed labels, or `None` if the catalogue
    /// does not have them.
    pub(super) fn get(&self, values: &[&str]) -> Option<&C> {
        let mut index = 0;
        for (label, value) in self.metric.fixed_labels().zip(values) {
            let place = label.values.iter().position(|it| it == value);
            debug_assert!(place.is_some(), "{} has no {} {value}", self.metric.name, label.name);
            index = index * label.values.len() + place?;
        }
        self.cells.get(index)
    }

    /// Appends all series, of the shard that they are about, if any.
    pub(super) fn read(&self, origin: &Origin, reader: Option<usize>, into: &mut Vec<Sample>) {
        for (index, cell) in self.cells.iter().enumerate() {
            let (value, seen) = cell.read(reader);
            let values = self.values(index);
            into.push(Sample { metric: self.metric, origin: origin.clone(), values, value, seen });
        }
    }

    /// The values of the fixed labels of a series.
    fn values(&self, mut index: usize) -> [&'static str; VALUES_MAX] {
        let mut values = [""; VALUES_MAX];
        let mut labels: Vec<_> = self.metric.fixed_labels().collect();
        while let Some(label) = labels.pop() {
            if let Some(value) = values.get_mut(labels.len()) {
                *value = label.values.get(index % label.values.len()).copied().unwrap_or_default();
            }
            index /= label.values.len();
        }
        values
    }
}

impl Origin {
    /// The series of a whole worker.
    pub(super) const WORKER: Self = Self { shard: None, ownership: 0 };

    /// The series of one ownership of a shard.
    pub(super) const fn shard(shard: ShardId, ownership: u64) -> Self {
        Self { shard: Some(shard), ownership }
    }
}
