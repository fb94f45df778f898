//! A base model alone: for evaluation, embedding and inspection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hssl_plugin_api::component::Role;
use hssl_tensor::Device;

use crate::config::{Precision, RunConfig};
use crate::error::Result;
use crate::network::{Builder, Network};
use crate::parameters::Stores;
use crate::plugin::{Registry, on_device};
use crate::run::RunFolder;
use crate::weights::load_backbone;

/// A base model with its parameters, none of which is trained.
pub struct BaseModel {
    /// The model.
    pub network: Network,
    /// Its parameters.
    pub stores: Stores,
    /// Where it computes.
    pub device: Device,
    /// Whether matrix products are taken in bf16.
    pub autocast: bool,
}

impl BaseModel {
    /// Builds the backbone of a configuration; untrained, if no weights are given.
    ///
    /// # Errors
    /// The backbone cannot be built, or the weights do not fit it.
    pub fn build(
        config: &RunConfig,
        registry: &Registry,
        device: &Device,
        weights: Option<&Path>,
    ) -> Result<Self> {
        let mut stores = Stores::default();
        let network = on_device(device, || {
            // The teacher's parameters are not trained.
            let (role, seed) = (Role::Teacher, config.train.seed);
            let mut builder = Builder::new(registry, &mut stores, role, seed, device);
            let crop = config.views.global_crops_size;
            Network::build(&mut builder, &config.backbone, &BTreeMap::new(), &[], false, crop)
        })?;
        let mut base = Self {
            network,
            stores,
            device: device.clone(),
            autocast: config.train.precision == Precision::Bf16,
        };
        if let Some(weights) = weights {
            on_device(device, || load_backbone(weights, &mut base.network, &base.stores.teacher))?;
        }
        Ok(base)
    }

    /// Number of elements of its parameters.
    pub fn parameters(&self) -> usize {
        self.stores.teacher.iter().map(|parameter| parameter.value().elem_count()).sum()
    }
}

/// The weights of a run: its export, or its latest checkpoint while it is not finished.
pub fn weights_of(run: &RunFolder) -> Option<PathBuf> {
    let last = run.last().join(crate::checkpoint::TENSORS);
    [run.backbone(), last].into_iter().find(|path| path.exists())
}
