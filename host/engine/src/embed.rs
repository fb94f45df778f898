//! Features of images into a file.

use std::path::Path;
use std::sync::Arc;

use hssl_datasets::{Dataset, EvalTransform, Loader, LoaderOptions};
use hssl_plugin_api::component::Request;
use hssl_tensor::{Array, DType, Device, Tensor, mode, ops};

use crate::base::BaseModel;
use crate::checkpoint::{prepare_file, write_weights};
use crate::error::{Error, Result};
use crate::evaluate::images_tensor;
use crate::events::{Event, Observer};
use crate::images;
use crate::plugin::{import, on_device};

/// What is embedded and how.
pub struct Embedding {
    /// The images.
    pub dataset: Arc<dyn Dataset>,
    /// How they become inputs.
    pub transform: EvalTransform,
    /// Images at a time.
    pub batch_size: usize,
    /// Loader threads.
    pub threads: usize,
    /// Write the patch tokens too.
    pub tokens: bool,
}

/// Writes `features` (n, C) f32, `labels` (n) i64 and, if asked for, `tokens` (n, N, C) f32, in the
/// order of the images.
///
/// # Errors
/// An image cannot be read, the model cannot take it, or the file cannot be written.
pub fn embed(
    base: &mut BaseModel,
    embedding: &Embedding,
    out: &Path,
    observer: &dyn Observer,
) -> Result<usize> {
    prepare_file(out)?;
    let inference = mode::Mode {
        recording: false,
        training: false,
        autocast: base.autocast,
        ..mode::current()
    };
    let mut options = LoaderOptions::evaluation(embedding.batch_size);
    options.threads = embedding.threads;
    options = images::options_for(options, &base.device);
    // A row of a neighbour's features would pass for the image's own.
    options.bad_image_limit = Some(0);
    let total = embedding.dataset.len();
    let transform = Arc::new(embedding.transform.clone());
    let (mut features, mut tokens, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for batch in Loader::start(embedding.dataset.clone(), transform, options)? {
        let mut batch = batch?;
        let images = images_tensor(&mut batch, &base.device)?;
        let found = on_device(&base.device, || {
            mode::scope(inference, || base.network.forward_base(&images, &Request::default(), None))
        })?;
        features.push(to_host(&import(&found.image))?);
        if embedding.tokens {
            let map = import(&found.map);
            let dims = map.dims();
            let shape = [dims[0] as i64, (dims[1] * dims[2]) as i64, dims[3] as i64];
            tokens.push(to_host(&ops::reshape(&map, &shape)?)?);
        }
        labels.extend(batch.labels);
        let text = "embedding".to_owned();
        observer.event(&Event::Progress { text, done: labels.len(), total });
        if observer.cancelled() {
            return Err(Error::Training("stopped by the user".into()));
        }
    }
    let count = labels.len();
    let labels = Array::from_vec(labels, count, &Device::Cpu).map_err(hssl_tensor::Error::from)?;
    let mut tensors =
        vec![("features".to_owned(), join(&features)?), ("labels".to_owned(), labels)];
    if embedding.tokens {
        tensors.push(("tokens".to_owned(), join(&tokens)?));
    }
    write_weights(out, &tensors, None)?;
    Ok(count)
}

fn to_host(tensor: &Tensor) -> Result<Tensor> {
    let array = ops::cast(tensor, DType::F32)?.array().to_device(&Device::Cpu);
    Ok(Tensor::constant(array.map_err(hssl_tensor::Error::from)?))
}

fn join(parts: &[Tensor]) -> Result<Array> {
    Ok(ops::cat(&parts.iter().collect::<Vec<_>>(), 0)?.array())
}
