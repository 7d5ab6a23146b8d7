//! The signals that stop a worker.

/// Waits for SIGINT or SIGTERM; never ready if the system does not report them.
#[cfg(unix)]
pub(super) async fn interrupted_or_terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    let signals =
        signal(SignalKind::interrupt()).and_then(|it| Ok((it, signal(SignalKind::terminate())?)));
    match signals {
        Ok((mut interrupt, mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => unavailable(&error).await,
    }
}

/// Waits for Ctrl-C; never ready if the system does not report it.
#[cfg(not(unix))]
pub(super) async fn interrupted_or_terminated() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        unavailable(&error).await;
    }
}

/// Never ready: without a handler the signals keep their default, which ends the process.
async fn unavailable(error: &std::io::Error) {
    tracing::warn!(error = %error, "signals are not reported: they end the process without a drain");
    std::future::pending::<()>().await;
}
