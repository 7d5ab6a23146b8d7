//! Colour for what needs a look. Words say the same, for those without colour.

use clap::builder::styling::{AnsiColor, Style};
use kcl_operate::{Severity, Verdict};

/// Paints, or leaves text as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn with(self, color: AnsiColor, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let style = Style::new().bold().fg_color(Some(color.into()));
        format!("{style}{text}{style:#}")
    }

    pub(crate) fn verdict(self, verdict: Verdict) -> String {
        let text = verdict.to_string().to_uppercase();
        match verdict {
            Verdict::Healthy => self.with(AnsiColor::Green, &text),
            Verdict::Degraded => self.with(AnsiColor::Yellow, &text),
            Verdict::Down => self.with(AnsiColor::Red, &text),
        }
    }

    pub(crate) fn severity(self, severity: Severity) -> String {
        let text = format!("{severity:<7}");
        match severity {
            Severity::Info => text,
            Severity::Warning => self.with(AnsiColor::Yellow, &text),
            Severity::Error => self.with(AnsiColor::Red, &text),
        }
    }

    pub(crate) fn cause(self, text: &str) -> String {
        self.with(AnsiColor::Red, text)
    }
}
