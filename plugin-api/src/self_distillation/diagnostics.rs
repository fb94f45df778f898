//! What tells how a self-distillation goes, and of collapse.

use std::collections::BTreeMap;

use super::{Centre, CropLogits};
use crate::component::{Edge, End, StepContext};
use crate::{DType, Result, Tensor};

/// Numbers of one step by name, for [`crate::component::Loss::metrics`]. Names of patch level begin with
/// `patch_`.
#[derive(Default)]
pub struct Diagnostics {
    metrics: BTreeMap<String, Tensor>,
}

impl Diagnostics {
    /// `teacher_entropy` and `mean_entropy` of a projection's targets (.., K), as shares of log K, the
    /// most that there can be: the entropy of a single one on average (0: one prototype each) and that of
    /// their mean (0: the same prototype for all; 1: all are used alike).
    pub fn targets(&mut self, level: &str, end: &End, targets: &Tensor) -> Result<()> {
        let most = (targets.dim(-1)?.max(2) as f64).ln();
        let entropy = |p: &Tensor| -> Result<Tensor> {
            p.mul(&p.clamp(1e-12, 1.0)?.log()?)?.sum(&[-1], false)?.mean_all()?.scale(-1.0 / most)
        };
        let all: Vec<i64> = (0..targets.dims().len() as i64 - 1).collect();
        let mean = entropy(&targets.mean(&all, false)?)?;
        self.metrics.insert(format!("{level}teacher_entropy.{end}"), entropy(targets)?);
        self.metrics.insert(format!("{level}mean_entropy.{end}"), mean);
        Ok(())
    }

    /// `agreement`: how often the student's first prototype for the second global crop of an image is the
    /// first of the teacher's target for the first crop. Nothing where there is one crop.
    pub fn agreement(&mut self, edge: &Edge, targets: &Tensor, logits: &CropLogits) -> Result<()> {
        if targets.dim(0)? < 2 {
            return Ok(());
        }
        let first = targets.index(0, 0)?.argmax(-1, false)?;
        let same = first.eq(&logits.global.index(0, 1)?.argmax(-1, false)?)?;
        let name = format!("agreement.{}->{}", edge.teacher_end(), edge.student_end());
        self.metrics.insert(name, same.cast(DType::F32)?.mean_all()?);
        Ok(())
    }

    /// `centre_norm`: the Euclidean norm of a projection's centre.
    pub fn centre(&mut self, level: &str, end: &End, centre: &Centre) -> Result<()> {
        self.metrics.insert(format!("{level}centre_norm.{end}"), centre.norm()?);
        Ok(())
    }

    /// Any other number.
    pub fn number(&mut self, cx: &StepContext<'_>, name: &str, value: f64) -> Result<()> {
        self.metrics.insert(name.into(), cx.context().full((), value, DType::F32)?);
        Ok(())
    }

    /// All of them.
    pub fn finish(self) -> BTreeMap<String, Tensor> {
        self.metrics
    }
}
