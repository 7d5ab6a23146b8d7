//! The service's clock: the `Date` header of a reply.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use kcl_core::BoxError;
use kcl_core::model::Timestamp;

/// Remembers the service's time of the last reply. An interceptor cannot return a value, so the call
/// shares the lock with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceTime(Arc<Mutex<Option<Timestamp>>>);

impl ServiceTime {
    /// Returns the time, in whole seconds; `None` if no reply had one.
    pub(crate) fn get(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for ServiceTime {
    fn name(&self) -> &'static str {
        "service time"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let time = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        let time = time.and_then(|time| time.to_millis().ok()).map(Timestamp::from_epoch_millis);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
        Ok(())
    }
}
