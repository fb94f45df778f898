//! Parameters that share their settings.

use std::collections::HashSet;
use std::sync::Arc;

use crate::{Array, Error, Gradients, Parameter, Result};

/// Parameters that share learning rate and weight decay.
#[derive(Clone, Debug)]
pub struct Group {
    /// The parameters.
    pub parameters: Vec<Arc<Parameter>>,
    /// Learning rate before [`Group::lr_scale`].
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Factor on the learning rate that schedules leave alone (layer-wise decay).
    pub lr_scale: f64,
}

impl Group {
    /// A group with `lr_scale` 1.
    pub fn new(parameters: Vec<Arc<Parameter>>, lr: f64, weight_decay: f64) -> Self {
        Self { parameters, lr, weight_decay, lr_scale: 1.0 }
    }

    /// The learning rate that applies.
    pub(super) fn rate(&self) -> f64 {
        self.lr * self.lr_scale
    }

    /// Parameters with their gradients, where there is one.
    pub(super) fn with_gradients<'a>(
        &'a self,
        gradients: &'a Gradients,
    ) -> impl Iterator<Item = Result<(&'a Arc<Parameter>, &'a Array)>> {
        self.parameters.iter().filter_map(|parameter| {
            let gradient = gradients.get(parameter)?;
            let (found, expected) = (gradient.dims(), parameter.value());
            Some(if found == expected.dims() {
                Ok((parameter, gradient))
            } else {
                let found = format!("gradient {found:?} for {}", parameter.name());
                Err(Error::shape("optimizer", found, format!("{:?}", expected.dims())))
            })
        })
    }
}

/// Refuses parameters that occur twice and names that two parameters share: the state goes by name.
pub(super) fn validate(groups: &[Group]) -> Result<()> {
    let mut names = HashSet::new();
    for parameter in groups.iter().flat_map(|group| &group.parameters) {
        if !names.insert(parameter.name()) {
            return Err(Error::attribute(
                "optimizer",
                format!("the parameter `{}` occurs twice in the groups", parameter.name()),
            ));
        }
    }
    Ok(())
}
