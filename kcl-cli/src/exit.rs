//! Exit codes, and errors on the standard error.

use std::process::ExitCode;

use kcl_operate::{ErrorKind, OperateError, Verdict};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All is well.
    Good,
    /// It looked, and found the fleet unhealthy.
    Unhealthy,
}

impl From<Verdict> for End {
    fn from(verdict: Verdict) -> Self {
        if verdict == Verdict::Healthy { Self::Good } else { Self::Unhealthy }
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Good => Self::SUCCESS,
            End::Unhealthy => Self::from(3),
        }
    }
}

/// Returns what to print about an error, and the exit code.
pub(crate) fn report(error: &anyhow::Error) -> (String, ExitCode) {
    let mut text = format!("error: {error}\n");
    let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
    for cause in causes {
        text.push_str("  because: ");
        text.push_str(&cause);
        text.push('\n');
    }
    let operate = error.chain().find_map(|it| it.downcast_ref::<OperateError>());
    if let Some(line) = operate.and_then(OperateError::policy_line) {
        text.push_str("  the statement that grants it: ");
        text.push_str(&line.to_string());
        text.push('\n');
    }
    let code = match operate.map(OperateError::kind) {
        Some(ErrorKind::Access) => ExitCode::from(5),
        Some(ErrorKind::Failed) | None => ExitCode::FAILURE,
    };
    (text, code)
}
