//! Publishes to CloudWatch what the Java KCL does: see [`java`].

use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::Builder;
use aws_sdk_cloudwatch::config::timeout::TimeoutConfig;
use aws_sdk_cloudwatch::error::DisplayErrorContext;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet};
use aws_types::SdkConfig;
use kcl_core::WorkerHandle;
use kcl_core::event::WorkerState;
use kcl_core::metrics::{Level, PeriodReader, TooManyReaders};
use tokio::time::{Instant, sleep_until};

use crate::java::{self, JavaDatum};

/// How many metrics a request has at most. CloudWatch takes 1,000, and 1 MB; one with long names
/// takes some 600 bytes.
///
/// Source: CloudWatch API reference, `PutMetricData`.
const REQUEST_MAX: usize = 1_000;

/// How long a request may take, with all its attempts.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Publishes the metrics of a worker to CloudWatch.
///
/// It needs the permission `cloudwatch:PutMetricData`. A request that fails is logged, and its
/// values are lost; nothing else happens.
///
/// ```no_run
/// # async fn f(aws: &aws_types::SdkConfig, worker: kcl_core::Worker) -> Result<(), kcl_core::BoxError> {
/// use kcl_metrics::cloudwatch::CloudWatch;
///
/// let metrics = CloudWatch::new(aws).publish(worker.handle());
/// let (end, published) = tokio::join!(worker.run(), metrics);
/// # published?;
/// # end?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CloudWatch {
    client: Client,
    namespace: Option<String>,
    every: Duration,
    level: Level,
}

impl CloudWatch {
    /// Publishes once a minute, on the level [`Level::Summary`], in a namespace with the
    /// application's name.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(REQUEST_TIME).build();
        let config = Builder::from(config).timeout_config(timeouts).build();
        let client = Client::from_conf(config);
        Self { client, namespace: None, every: Duration::from_mins(1), level: Level::Summary }
    }

    /// Sets the namespace. Default: the application's name, as in Java.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets the time between two publications, at least a second. Default: a minute. Java
    /// publishes every 10 s by default; CloudWatch keeps minutes.
    #[must_use]
    pub fn with_every(mut self, every: Duration) -> Self {
        self.every = every.max(Duration::from_secs(1));
        self
    }

    /// Sets which metrics are published. Default: [`Level::Summary`]. Java's default is
    /// [`Level::Detailed`]; CloudWatch bills each metric of each shard.
    #[must_use]
    pub const fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Publishes until the worker has stopped, and then what is left.
    ///
    /// # Errors
    /// [`TooManyReaders`] if two others read the metrics of this worker in periods.
    ///
    /// # Cancel safety
    /// Dropping the future loses the values of the period.
    pub async fn publish(self, mut handle: WorkerHandle) -> Result<(), TooManyReaders> {
        let mut reader = handle.meter().periods()?;
        let mut next = Instant::now() + self.every;
        let mut is_over = false;
        while !is_over {
            is_over = tokio::select! {
                biased;
                () = stopped(&mut handle) => true,
                () = sleep_until(next) => false,
            };
            self.publish_period(&mut reader).await;
            next = Instant::now() + self.every;
        }
        Ok(())
    }

    async fn publish_period(&self, reader: &mut PeriodReader) {
        let data = java::of_period(&reader.take(), reader.worker_name(), self.level);
        let data: Vec<_> = data.iter().map(datum).collect();
        let namespace = self.namespace.clone().unwrap_or_else(|| reader.application().to_owned());
        for part in data.chunks(REQUEST_MAX) {
            let request = self.client.put_metric_data().namespace(&namespace);
            if let Err(error) = request.set_metric_data(Some(part.to_vec())).send().await {
                let (count, error) = (part.len(), DisplayErrorContext(&error));
                tracing::warn!(namespace, count, %error, "metrics not published to CloudWatch");
            }
        }
    }
}

/// Waits until the worker has stopped.
async fn stopped(handle: &mut WorkerHandle) {
    while handle.status().state != WorkerState::Stopped {
        if handle.changed().await.is_none() {
            return;
        }
    }
}

/// Java's datum as CloudWatch takes it.
fn datum(java: &JavaDatum) -> MetricDatum {
    let JavaDatum { name, dimensions, unit, statistics, .. } = java;
    let dimension = |(name, value): &(&str, String)| {
        Dimension::builder().name(*name).value(value.clone()).build()
    };
    let values = StatisticSet::builder()
        .sample_count(statistics.count)
        .sum(statistics.sum)
        .minimum(statistics.min)
        .maximum(statistics.max)
        .build();
    MetricDatum::builder()
        .metric_name(*name)
        .set_dimensions(Some(dimensions.iter().map(dimension).collect()))
        .unit(StandardUnit::from(*unit))
        .statistic_values(values)
        .build()
}
