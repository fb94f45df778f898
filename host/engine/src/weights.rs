//! Published or trained weights into a base model.

use std::collections::HashMap;
use std::path::Path;

use hssl_tensor::{Array, Tensor, mode};

use crate::checkpoint::read_tensors;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::parameters::Store;

/// Loads a safetensors file of timm- or torchvision-named weights into `network`'s base, whose
/// parameters lie in `store` under `backbone.`. What the model does not have (a classifier) is left
/// out; what the file does not have is an error.
///
/// # Errors
/// The file cannot be read, lacks a parameter, or has one of a shape that cannot be adapted.
pub fn load_backbone(path: &Path, network: &mut Network, store: &Store) -> Result<()> {
    let device = store
        .iter()
        .next()
        .map_or(hssl_tensor::Device::Cpu, |parameter| parameter.value().device().clone());
    let weights = read_tensors(path, &device)?;
    let wanted = |name: &str| name.strip_prefix("backbone.").map(str::to_owned);
    let mut missing = Vec::new();
    let mut used = 0;
    for parameter in store.iter() {
        let Some(name) = wanted(parameter.name()) else { continue };
        let Some(value) = find(&weights, &name) else {
            missing.push(name);
            continue;
        };
        used += 1;
        let shape = parameter.value().dims().to_vec();
        let value = if value.dims() == shape {
            value.clone()
        } else {
            let loaded = Tensor::constant(value.clone());
            let adapted = mode::no_grad(|| network.adapt(&name, &loaded, &shape))?;
            adapted.map(|tensor| tensor.array()).ok_or_else(|| {
                Error::content(
                    path,
                    format!(
                        "{name} has the shape {:?}; the configured model has {shape:?}: check \
                         backbone.arch, embed_dim, patch_size and img_size",
                        value.dims()
                    ),
                )
            })?
        };
        parameter.set(&value)?;
    }
    if !missing.is_empty() {
        let shown: Vec<&str> = missing.iter().take(8).map(String::as_str).collect();
        let more = if missing.len() > 8 { ", ..." } else { "" };
        return Err(Error::content(
            path,
            format!(
                "{} parameters of the configured model are missing: {}{more}; the file holds {} tensors, \
                 for example {:?}",
                missing.len(),
                shown.join(", "),
                weights.len(),
                weights.keys().min().map_or("none", String::as_str),
            ),
        ));
    }
    let left = weights.len() - used;
    if left > 0 {
        tracing::info!("{}: {left} tensors are not part of the base model", path.display());
    }
    Ok(())
}

/// A weight under its own name, or inside a checkpoint of a run.
fn find<'a>(weights: &'a HashMap<String, Array>, name: &str) -> Option<&'a Array> {
    weights.get(name).or_else(|| weights.get(&format!("teacher.backbone.{name}")))
}
