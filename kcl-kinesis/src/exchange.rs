//! What a call's output and error do not say: the host that it asked, and the service's time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_kinesis::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use kcl_core::BoxError;

/// The request and the reply of one call.
///
/// An interceptor cannot return a value, so the call shares the lock with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    host: Option<String>,
    time: Option<DateTime>,
}

impl Exchange {
    /// Returns the host that was asked last, with its port if the endpoint has one.
    pub(crate) fn host(&self) -> Option<String> {
        self.noted().host.clone()
    }

    /// Returns the `Date` header of the last reply: the service's clock, in whole seconds. This
    /// machine's clock is no replacement: it may be wrong.
    pub(crate) fn time(&self) -> Option<DateTime> {
        self.noted().time
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Exchange {
    fn name(&self) -> &'static str {
        "exchange"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.noted().host = host(context.request().uri()).map(str::to_owned);
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let time = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        self.noted().time = time;
        Ok(())
    }
}

fn host(uri: &str) -> Option<&str> {
    uri.split_once("://")?.1.split('/').next()
}
