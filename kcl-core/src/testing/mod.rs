//! How to check your own backend, behind the feature `test-util`.
//!
//! A suite is one function that makes fresh stores and asserts the whole contract, and the parts it
//! calls, so that a failing one can be run alone:
//!
//! ```
//! # async fn example<F, Fut>(my_store: F)
//! # where
//! #     F: Fn() -> Fut + Sync,
//! #     Fut: Future<Output = std::sync::Arc<dyn kcl_core::backend::LeaseStore>> + Send,
//! # {
//! // In a test of yours; `my_store` makes an empty store each time it is called.
//! kcl_core::testing::lease_store::check(my_store).await;
//! # }
//! ```

pub mod bulletins;
mod lease_states;
pub mod lease_store;
mod pages;
pub mod record_source;
pub mod sessions;
