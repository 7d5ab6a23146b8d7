//! Feeds a shard's records to a future, and drives it.

use futures::future::BoxFuture;
use kcl_proto::model::Record;
use tokio::sync::mpsc;

use crate::BoxError;
use crate::processor::ack::Ack;

/// The most records that are queued for the future.
const RECORDS_MAX: usize = 256;

/// A future of the application, and the channel to it.
pub(crate) struct Feed {
    /// `None` once the stream has ended.
    records: Option<mpsc::Sender<(Record, Ack)>>,
    /// `None` once it has returned.
    work: Option<BoxFuture<'static, Result<(), BoxError>>>,
}

impl Feed {
    /// A feed of the future that `begin` returns for the receiver of the records.
    pub(crate) fn new(
        begin: impl FnOnce(mpsc::Receiver<(Record, Ack)>) -> BoxFuture<'static, Result<(), BoxError>>,
    ) -> Self {
        let (records, receiver) = mpsc::channel(RECORDS_MAX);
        Self { records: Some(records), work: Some(begin(receiver)) }
    }

    /// Queues records while it drives the future.
    pub(crate) async fn push(&mut self, acks: Vec<(Record, Ack)>) -> Result<(), BoxError> {
        let (Some(records), Some(work)) = (&self.records, &mut self.work) else {
            return Err(ended());
        };
        let push = async {
            for item in acks {
                if records.send(item).await.is_err() {
                    return; // The future dropped its stream, and is about to return.
                }
            }
        };
        tokio::select! {
            biased;
            () = push => Ok(()),
            end = work => {
                self.work = None;
                end.and_then(|()| Err(ended()))
            }
        }
    }

    /// Drives the future. Returning before the end of its stream is an error.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn run(&mut self) -> Result<(), BoxError> {
        self.drive().await?;
        if self.records.is_none() { Ok(()) } else { Err(ended()) }
    }

    /// Ends the stream, and drives the future until it returns.
    pub(crate) async fn finish(&mut self) -> Result<(), BoxError> {
        self.records = None;
        self.drive().await
    }

    async fn drive(&mut self) -> Result<(), BoxError> {
        let Some(work) = &mut self.work else { return Ok(()) };
        let end = work.await;
        self.work = None;
        end
    }
}

fn ended() -> BoxError {
    "the future returned before the end of its stream".into()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// A feed of a future that drains its stream and returns `end`.
    fn feed(end: Result<(), &'static str>) -> Feed {
        Feed::new(move |mut records| {
            Box::pin(async move {
                while records.recv().await.is_some() {}
                end.map_err(BoxError::from)
            })
        })
    }

    #[tokio::test]
    async fn future_may_return_after_its_stream_ended() {
        let mut feed = feed(Ok(()));
        assert!(feed.run().now_or_never().is_none(), "more may come");
        feed.finish().await.unwrap();
        feed.run().await.unwrap();
    }

    #[tokio::test]
    async fn future_that_returns_early_is_a_failure() {
        let mut early = Feed::new(|_| Box::pin(async { Ok(()) }));
        assert!(early.run().await.is_err());
        assert!(early.run().await.is_err(), "and stays one");
    }

    #[tokio::test]
    async fn error_counts_after_the_stream_ended() {
        let error = feed(Err("no")).finish().await.unwrap_err();
        assert_eq!(error.to_string(), "no");
    }
}
