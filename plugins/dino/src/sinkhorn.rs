//! The Sinkhorn-Knopp iteration, as SwAV and DINOv2 balance assignments.

use hssl_plugin_api::{Result, Tensor};

/// SwAV's and DINOv2's number of rounds.
const ROUNDS: usize = 3;

/// Spreads the scores of a batch (n, K) evenly over the K prototypes: rows that sum to 1, columns
/// with the same sum as nearly as the rounds bring it about.
///
/// It begins with the rows, by a softmax, which keeps the exponentials of a low temperature in range;
/// SwAV begins with the columns, half a round later.
///
/// `all_reduce` turns the sums over this process's images into those over all of them, up to a factor,
/// which the next division removes.
pub fn sinkhorn_knopp(
    scores: &Tensor,
    temperature: f64,
    all_reduce: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut plan = scores.scale(1.0 / temperature)?.softmax(-1)?;
    for _ in 0..ROUNDS {
        let prototypes = all_reduce(&plan.sum(&[0], true)?)?;
        // A prototype that no image is near stays unused rather than become 0 / 0.
        plan = plan.div(&prototypes.clamp(1e-30, f64::MAX)?)?;
        plan = plan.div(&plan.sum(&[-1], true)?)?;
    }
    Ok(plan)
}
