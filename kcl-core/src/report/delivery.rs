//! Delivers one event to the log and to each observer, and contains their panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Span;

use crate::report::event::{Event, EventContext, Observer};
use crate::report::log::Log;
use crate::tasks::supervisor::panic_message;

/// The log and the observers of one worker.
#[derive(Debug)]
pub(crate) struct Delivery {
    listeners: Vec<Listener>,
}

#[derive(Debug)]
struct Listener {
    observer: Arc<dyn Observer>,
    has_panicked: AtomicBool,
}

impl Delivery {
    /// Lines of the log are written within `span`.
    pub(crate) fn new(span: Span, observers: Vec<Arc<dyn Observer>>) -> Self {
        let log: Arc<dyn Observer> = Arc::new(Log::new(span));
        let listeners = std::iter::once(log).chain(observers);
        let listeners =
            listeners.map(|observer| Listener { observer, has_panicked: AtomicBool::new(false) });
        Self { listeners: listeners.collect() }
    }

    /// Writes the line, then calls each observer. A panic is an event itself, emitted for the first
    /// one of each observer; the observer receives later events all the same.
    pub(super) fn deliver(&self, event: &Event, context: &EventContext) {
        for Listener { observer, has_panicked } in &self.listeners {
            let call = AssertUnwindSafe(|| observer.on_event(event, context));
            let Err(panic) = catch_unwind(call) else { continue };
            if !has_panicked.swap(true, Ordering::Relaxed) {
                let error = panic_message(&*panic);
                self.deliver(&Event::ObserverPanicked { error }, context);
            }
        }
    }
}
