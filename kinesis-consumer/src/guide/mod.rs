//! The guides: what is promised, how to use it, how to operate it.
//!
//! | Guide | For |
//! |---|---|
//! | [`semantics`] | what the library promises, and what it does not |
//! | [`configuration`] | every setting, with its default and range |
//! | [`testing_your_processor`] | your processor on a simulated fleet, in a `#[test]` |
//! | [`coming_from_java`] | terms, callbacks and settings of the Java KCL; moving a fleet and going back |
//! | [`operations`] | permissions, alarms, events, errors, runbooks |
//! | [`metrics`] | every metric, for Prometheus and CloudWatch |
//! | [`kubernetes`] | probes, and a deployment that drains |
//! | [`consumer_lifecycle`] | when the processor's methods are called, and what is redelivered |
//! | [`lease_protocol`] | the rows of the lease table, and the rules of writing them |
//! | [`glossary`] | the words |

/// Includes a page of `docs/`. Its links are references, whose labels `links.md` defines for
/// rustdoc: the first definition of a label wins, so the page's own ones lead to files on a code
/// host.
macro_rules! guide {
    ($name:ident, $path:literal) => {
        #[doc = include_str!("links.md")]
        #[doc = ""]
        #[doc = include_str!(concat!("../../docs/", $path))]
        pub mod $name {}
    };
}

guide!(semantics, "concepts/semantics.md");
guide!(consumer_lifecycle, "concepts/consumer-lifecycle.md");
guide!(glossary, "concepts/glossary.md");
guide!(configuration, "using/configuration.md");
guide!(testing_your_processor, "using/testing-your-processor.md");
guide!(coming_from_java, "using/coming-from-java.md");
guide!(operations, "operating/operations.md");
guide!(metrics, "operating/metrics.md");
guide!(kubernetes, "operating/kubernetes.md");
guide!(lease_protocol, "internals/lease-protocol.md");
