//! What the probes answer, as pure functions of what is known about the workers.

use std::time::Duration;

use axum::http::StatusCode;
use kcl_core::metrics::{Health, Verdict};
use serde_json::{Value, json};

/// A worker's name, and what is known about it.
pub(crate) type Known = (String, Health);

/// Whether a restart of the process would help nothing.
pub(crate) fn live(workers: &[Known], stuck_is_dead: Option<Duration>) -> (StatusCode, Value) {
    let reasons = reasons(workers, |health| health.alive(stuck_is_dead));
    let silence = workers.iter().filter_map(|(_, health)| health.silence).max();
    let silence = silence.map(|silence| silence.as_secs_f64());
    let (status, is_alive) = status(reasons.is_empty());
    (status, json!({ "alive": is_alive, "silence_seconds": silence, "because": reasons }))
}

/// Whether every worker takes part in its fleet.
pub(crate) fn ready(workers: &[Known]) -> (StatusCode, Value) {
    let reasons = reasons(workers, Health::ready);
    let (status, is_ready) = status(reasons.is_empty());
    (status, json!({ "ready": is_ready, "because": reasons }))
}

/// How well the workers are.
pub(crate) fn healthy(workers: &[Known]) -> (StatusCode, Value) {
    let mut worst = "healthy";
    let mut findings = Vec::new();
    for (worker, health) in workers {
        let (verdict, found) = health.verdict();
        worst = match (verdict, worst) {
            (Verdict::Down, _) | (_, "down") => "down",
            (Verdict::Degraded, _) | (_, "degraded") => "degraded",
            (Verdict::Healthy, _) => "healthy",
        };
        let found = found.into_iter();
        findings.extend(found.map(|text| json!({ "worker": worker, "text": text })));
    }
    let (status, _) = status(worst != "down");
    (status, json!({ "verdict": worst, "findings": findings }))
}

/// The reasons of all workers, each with its worker if there are several.
fn reasons(workers: &[Known], ask: impl Fn(&Health) -> Result<(), String>) -> Vec<String> {
    let has_several = workers.len() > 1;
    let failed = workers.iter().filter_map(|(worker, health)| Some((worker, ask(health).err()?)));
    failed.map(|(worker, why)| if has_several { format!("{worker}: {why}") } else { why }).collect()
}

const fn status(is_well: bool) -> (StatusCode, bool) {
    (if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, is_well)
}

#[cfg(test)]
mod tests {
    use kcl_core::metrics::Phase;

    use super::*;

    fn known(phase: Phase, silence: u64, slow: usize) -> Known {
        let health = Health {
            phase,
            is_dropped: false,
            silence: Some(Duration::from_secs(silence)),
            knows_fleet: true,
            waits_for: None,
            held: 2,
            slow,
            slowest: (slow > 0).then_some(Duration::from_mins(2)),
        };
        ("ann".to_owned(), health)
    }

    #[test]
    fn silent_lease_thread_is_dead() {
        let (status, body) = live(&[known(Phase::Running, 31, 0)], None);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let because = "the lease thread has been silent for 31 s";
        let body_expected =
            json!({ "alive": false, "silence_seconds": 31.0, "because": [because] });
        assert_eq!(body, body_expected);
        assert_eq!(live(&[known(Phase::Running, 30, 0)], None).0, StatusCode::OK);
    }

    #[test]
    fn each_worker_must_be_ready() {
        let workers = [known(Phase::Running, 0, 0), known(Phase::Starting, 0, 0)];
        let (status, body) = ready(&workers);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let because = ["ann: the worker is starting"];
        assert_eq!(body, json!({ "ready": false, "because": because }));
        assert_eq!(ready(&workers[..1]).0, StatusCode::OK);
    }

    #[test]
    fn worst_worker_decides() {
        let well = || known(Phase::Running, 0, 0);
        let verdict = |workers: &[Known]| healthy(workers).1["verdict"].clone();
        assert_eq!(verdict(&[well(), well()]), "healthy");
        assert_eq!(verdict(&[known(Phase::Running, 0, 1), well()]), "degraded");
        assert_eq!(verdict(&[known(Phase::Running, 0, 2), well()]), "down");
        assert_eq!(healthy(&[known(Phase::Running, 0, 2)]).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(healthy(&[known(Phase::Running, 0, 1)]).0, StatusCode::OK);
    }
}
