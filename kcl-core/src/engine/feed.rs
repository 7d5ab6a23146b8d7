//! Feeds one future with a shard's records, and drives it.

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::BoxError;
use crate::ack::Ack;
use crate::model::Record;

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

    /// Drives the future.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn run(&mut self) -> Result<(), BoxError> {
        let Some(work) = &mut self.work else { return Err(ended()) };
        let end = work.await;
        self.work = None;
        end.and_then(|()| Err(ended()))
    }

    /// Ends the records, and drives the future to its end.
    pub(crate) async fn finish(&mut self) -> Result<(), BoxError> {
        self.records = None;
        let Some(work) = &mut self.work else { return Ok(()) };
        let end = work.await;
        self.work = None;
        end
    }
}

fn ended() -> BoxError {
    "the future ended before its records did".into()
}
