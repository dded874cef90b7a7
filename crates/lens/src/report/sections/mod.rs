//! The figures that a record gives.

mod before;
mod data;
mod failures;
mod layers;
mod run;

use super::Figure;
use crate::record::Record;

/// Every figure that the record has something for, in the order of the report.
pub(super) fn all(record: &Record) -> Vec<Figure> {
    let makers: [fn(&Record) -> Vec<Figure>; 5] =
        [data::figures, before::figures, run::figures, layers::figures, failures::figures];
    makers.iter().flat_map(|make| make(record)).collect()
}
