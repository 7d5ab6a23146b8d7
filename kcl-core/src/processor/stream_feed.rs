//! Feeds one future with a shard's records, and drives it.

use futures::future::BoxFuture;
use kcl_proto::model::Record;
use tokio::sync::mpsc;

use crate::BoxError;
use crate::processor::ack::Ack;

/// How many records wait for the future at most.
const RECORDS_MAX: usize = 256;

/// A future of the application, and the way to it.
pub(crate) struct Feed {
    /// None once nothing more comes.
    records: Option<mpsc::Sender<(Record, Ack)>>,
    /// None once it has ended.
    work: Option<BoxFuture<'static, Result<(), BoxError>>>,
}

impl Feed {
    /// A feed of the future that `begin` makes of the records' other end.
    pub(crate) fn new(
        begin: impl FnOnce(mpsc::Receiver<(Record, Ack)>) -> BoxFuture<'static, Result<(), BoxError>>,
    ) -> Self {
        let (records, receiver) = mpsc::channel(RECORDS_MAX);
        Self { records: Some(records), work: Some(begin(receiver)) }
    }

    /// Hands records over, while the future goes on.
    pub(crate) async fn push(&mut self, acks: Vec<(Record, Ack)>) -> Result<(), BoxError> {
        let (Some(records), Some(work)) = (&self.records, &mut self.work) else {
            return Err(ended());
        };
        let push = async {
            for item in acks {
                if records.send(item).await.is_err() {
                    return; // Whoever drops the records does not go on.
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

    /// Drives the future. It may end once its records did.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn run(&mut self) -> Result<(), BoxError> {
        self.drive().await?;
        if self.records.is_none() { Ok(()) } else { Err(ended()) }
    }

    /// Ends the records, and drives the future to its end.
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
    "the future ended before its records did".into()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// A feed of a future that takes what comes, and returns this.
    fn feed(end: Result<(), &'static str>) -> Feed {
        Feed::new(move |mut records| {
            Box::pin(async move {
                while records.recv().await.is_some() {}
                end.map_err(BoxError::from)
            })
        })
    }

    #[tokio::test]
    async fn a_future_that_ended_with_its_records_is_no_failure_afterwards() {
        let mut feed = feed(Ok(()));
        assert!(feed.run().now_or_never().is_none(), "more may come");
        feed.finish().await.unwrap();
        feed.run().await.unwrap();
    }

    #[tokio::test]
    async fn a_future_that_ends_before_its_records_is_a_failure() {
        let mut early = Feed::new(|_| Box::pin(async { Ok(()) }));
        assert!(early.run().await.is_err());
        assert!(early.run().await.is_err(), "and stays one");
    }

    #[tokio::test]
    async fn the_error_of_a_future_is_told_though_its_records_ended() {
        let error = feed(Err("no")).finish().await.unwrap_err();
        assert_eq!(error.to_string(), "no");
    }
}
