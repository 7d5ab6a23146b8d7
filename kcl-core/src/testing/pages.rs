//! A whole scan, for the suite of [`LeaseStore`].

use crate::backend::{LeaseStore, Page, Reading};

/// All pages of one scan, which sees all that was answered before.
///
/// # Panics
/// If the scan fails or does not proceed.
pub async fn pages(store: &dyn LeaseStore) -> Vec<Page> {
    let mut pages = vec![store.scan(None, Reading::Consistent).await.expect("scan")];
    while let Some(from) = pages.last().and_then(|page| page.next.clone()) {
        let seen = pages.iter().filter(|page| page.next.as_ref() == Some(&from)).count();
        assert_eq!(seen, 1, "a scan must proceed: {from:?} was returned twice");
        pages.push(store.scan(Some(from), Reading::Consistent).await.expect("scan on"));
    }
    for page in &pages {
        assert!(page.read_units.is_finite() && page.read_units >= 0.0, "{}", page.read_units);
    }
    pages
}
