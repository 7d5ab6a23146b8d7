//! Renders the metrics of workers: Prometheus' text, and CloudWatch with the names of the Java KCL.
//!
//! [`kcl_core::metrics`] lists them and keeps them. Applications use the crate `kinesis-consumer`
//! with the features `metrics`, `cloudwatch` and `emf`.

#[cfg(feature = "cloudwatch")]
pub mod cloudwatch;
#[cfg(feature = "emf")]
pub mod emf;
pub mod java;
pub mod prometheus;

pub use crate::prometheus::Prometheus;
