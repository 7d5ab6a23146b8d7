//! Probes, metrics and status of workers over HTTP, for Kubernetes, Prometheus and people.
//!
//! [`Probes::router`] is an `axum` router to nest in a service's own; [`serve`] is a server for
//! programs without one. Every path is read-only and answers from memory: no request causes a call
//! to AWS.
//!
//! | Path | 200 if | otherwise |
//! |---|---|---|
//! | `/livez` | a restart of the process would help nothing | 503 |
//! | `/readyz` | every worker takes part in its fleet, with or without leases | 503 |
//! | `/healthz` | the worst verdict is healthy or degraded | 503 |
//! | `/metrics` | always: Prometheus' text | |
//! | `/status` | always: what each worker holds and does | |

mod answers;
mod router;
mod server;
mod status;

pub use crate::router::Probes;
pub use crate::server::{ServeError, Server, serve};
