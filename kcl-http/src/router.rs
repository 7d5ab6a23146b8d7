//! The paths, as an `axum` router.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use kcl_core::WorkerHandle;
use kcl_core::metrics::Level;
use kcl_metrics::{Prometheus, prometheus};
use serde_json::Value;

use crate::answers::{self, Known};
use crate::status;

/// Probes, metrics and status of one worker or several of a process.
///
/// ```no_run
/// # fn f(handle: kcl_core::WorkerHandle, service: axum::Router) -> axum::Router {
/// use kcl_http::Probes;
///
/// service.merge(Probes::new([handle]).router())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Probes {
    workers: Vec<WorkerHandle>,
    level: Level,
    stuck_is_dead: Option<Duration>,
}

impl Probes {
    /// Of these workers.
    #[must_use]
    pub fn new(workers: impl IntoIterator<Item = WorkerHandle>) -> Self {
        let workers = workers.into_iter().collect();
        Self { workers, level: Level::Detailed, stuck_is_dead: None }
    }

    /// Sets how many series `/metrics` has. Default: [`Level::Detailed`], with some thirty for each
    /// held shard.
    #[must_use]
    pub const fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Fails `/livez` once a call of a processor has run for `limit`. By default no slow call does:
    /// a restart helps only where the call hangs for good. `limit` must be at least
    /// `delivery.slow_after`: shorter calls are not seen.
    #[must_use]
    pub const fn with_stuck_is_dead(mut self, limit: Duration) -> Self {
        self.stuck_is_dead = Some(limit);
        self
    }

    /// Returns the router, to be merged with or nested in another one.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/healthz", get(healthy))
            .route("/metrics", get(metrics))
            .route("/status", get(status))
            .with_state(Arc::new(self))
    }

    fn known(&self) -> Vec<Known> {
        let known =
            |handle: &WorkerHandle| (handle.status().worker.to_string(), handle.meter().health());
        self.workers.iter().map(known).collect()
    }
}

async fn live(State(probes): State<Arc<Probes>>) -> Response {
    json(answers::live(&probes.known(), probes.stuck_is_dead))
}

async fn ready(State(probes): State<Arc<Probes>>) -> Response {
    json(answers::ready(&probes.known()))
}

async fn healthy(State(probes): State<Arc<Probes>>) -> Response {
    json(answers::healthy(&probes.known()))
}

async fn metrics(State(probes): State<Arc<Probes>>) -> Response {
    let meters = probes.workers.iter().map(WorkerHandle::meter);
    let text = Prometheus::new(meters).with_level(probes.level).text();
    answer(StatusCode::OK, prometheus::CONTENT_TYPE, text)
}

async fn status(State(probes): State<Arc<Probes>>) -> Response {
    json((StatusCode::OK, status::document(&probes.workers)))
}

fn json((status, body): (StatusCode, Value)) -> Response {
    answer(status, "application/json", format!("{body}\n"))
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'self'"),
    ];
    (status, headers, body).into_response()
}
