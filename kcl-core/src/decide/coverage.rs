//! x
use crate::model::*;
pub fn covers(_: HashKeyRange, _: impl IntoIterator<Item = HashKeyRange>) -> bool {
    todo!()
}
