//! Which parameters decay, and the optimizer of a run (spec 1.7).

use std::sync::Arc;

use hssl_tensor::Parameter;
use hssl_tensor::optim::{AdamW, Group, Lars, Optimizer, Sgd};

use crate::config::{OptimizerKind, TrainConfig};
use crate::error::Result;
use crate::parameters::Store;

/// Epsilon of AdamW.
const ADAMW_EPS: f64 = 1e-8;
/// Trust coefficient of LARS.
const LARS_TRUST: f64 = 1e-3;

/// Weight decay is for tensors of two dimensions or more that are no bias.
pub fn decays(parameter: &Parameter) -> bool {
    parameter.value().rank() >= 2 && !parameter.name().ends_with(".bias")
}

/// Whether `train.freeze_last_layer` holds this parameter still.
pub fn is_last_layer(name: &str) -> bool {
    name.contains("last_layer")
}

/// The part of the student that a parameter belongs to: `backbone`, `heads.NAME`, or `objective` for what
/// the method adds.
pub fn part(name: &str) -> &str {
    let mut dots = name.match_indices('.').map(|(at, _)| at);
    let (first, second) = (dots.next(), dots.next());
    match &name[..first.unwrap_or(name.len())] {
        "backbone" => "backbone",
        "heads" => &name[..second.unwrap_or(name.len())],
        _ => "objective",
    }
}

/// Position of the group that decays; the other one does not.
pub const DECAYING: usize = 0;

/// The optimizer of the student's trainable parameters: a decaying group and one that does not.
pub fn optimizer(config: &TrainConfig, student: &Store) -> Result<Box<dyn Optimizer>> {
    let trainable = student.iter().filter(|p| p.is_trainable()).cloned();
    let (decaying, plain): (Vec<Arc<Parameter>>, Vec<_>) = trainable.partition(|p| decays(p));
    let groups = vec![Group::new(decaying, 0.0, 0.0), Group::new(plain, 0.0, 0.0)];
    Ok(match config.optimizer {
        OptimizerKind::Adamw => {
            Box::new(AdamW::with(groups, (config.momentum, config.beta2), ADAMW_EPS)?)
        }
        OptimizerKind::Sgd => Box::new(Sgd::new(groups, config.momentum, false)?),
        OptimizerKind::Lars => Box::new(Lars::with(groups, config.momentum, LARS_TRUST)?),
    })
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn parameters_have_a_part() {
        assert_eq!(part("backbone.blocks.0.mlp.fc1.weight"), "backbone");
        assert_eq!(part("heads.aux.blocks.0.gamma"), "heads.aux");
        assert_eq!(part("heads.norm.weight"), "heads.norm");
        assert_eq!(part("mlp.base.0.weight"), "objective");
        assert_eq!(part("center"), "objective");
    }
}
