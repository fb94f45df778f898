//! The contrastive loss.

use super::PairLoss;
use crate::{Context, DType, Result, Tensor};

/// Stands for a similarity of minus infinity.
const NEVER: f64 = -1e9;

/// Cross-entropy of finding each image's target by cosine over `temperature` (InfoNCE).
///
/// The candidates of a prediction are the targets (B, D) of all images of the batch and, with `others`,
/// those of another view but for its own image's. With one process, the batch is all there is to gather.
pub fn info_nce(
    cx: &Context<'_>,
    (predictions, targets, others): (&Tensor, &Tensor, Option<&Tensor>),
    temperature: f64,
    log: bool,
) -> Result<PairLoss> {
    let anchors = predictions.l2_normalize(-1, 1e-12)?;
    let similarity = |targets: &Tensor| {
        anchors.matmul(&targets.l2_normalize(-1, 1e-12)?.t()?)?.scale(1.0 / temperature)
    };
    let mut logits = similarity(targets)?;
    let images = cx.arange(0.0, 1.0, logits.dim(0)?, DType::I64)?;
    if let Some(others) = others {
        let same = images.unsqueeze(1)?.eq(&images.unsqueeze(0)?)?;
        let others = similarity(others)?;
        let others = same.where_cond(&others.full_like((1, 1), NEVER)?, &others)?;
        logits = Tensor::cat(&[&logits, &others], -1)?;
    }
    let mut metrics = Vec::new();
    if log {
        let found = logits.detach()?.argmax(-1, false)?.eq(&images)?;
        metrics.push(("accuracy", found.cast(DType::F32)?.mean_all()?));
    }
    Ok(PairLoss { loss: logits.cross_entropy(&images, 0.0, -100)?.mean_all()?, metrics })
}
