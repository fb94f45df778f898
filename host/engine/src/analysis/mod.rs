//! What sets a head apart from its base: discrepancy and similarity of their outputs, and the images
//! that one answers and the other does not.

mod compare;
mod cost;
mod heads;
mod images;
mod measures;
mod samples;

pub use compare::{Comparison, compare};
pub use cost::{Cost, Costs, costs};
pub use heads::{HeadReport, heads_of};
pub use images::Images;
pub use measures::{centred, divergence, linear_cka, printed_divergence, procrustes};
pub use samples::{SampleSets, sample_sets, sets_of};
