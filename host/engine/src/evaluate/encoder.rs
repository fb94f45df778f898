//! From images to features, once per request.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hssl_datasets::{Batch, Loader, LoaderOptions, Transform};
use hssl_plugin_api::component::{FeatureKind, FeatureRequest, Features, Request, Split};
use hssl_tensor::{Array, Device, Tensor, mode, ops};

use super::EvaluationData;
use crate::error::{Error, Result};
use crate::events::{Event, Observer};
use crate::images;
use crate::network::Network;
use crate::plugin::{import, on_device};

/// Features of a split.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// (n, C) f32.
    pub features: Tensor,
    /// (n) i64.
    pub labels: Tensor,
}

/// Encodes splits with a network's base and keeps what was encoded without augmentation.
pub struct Encoder<'a> {
    network: &'a mut Network,
    data: EvaluationData,
    device: Device,
    autocast: bool,
    kept: HashMap<FeatureRequest, Encoded>,
    /// Splits whose unreadable images were told of.
    warned: HashSet<Split>,
}

/// The single view of a batch on a device, (B, 3, H, W).
pub fn images_tensor(batch: &mut Batch, device: &Device) -> Result<Tensor> {
    let array = images::arrays(batch, device)?.into_iter().next();
    let array = array.ok_or_else(|| Error::Composition("a batch without images".into()))?;
    let array = array.flatten(0, 1).map_err(hssl_tensor::Error::from)?;
    Ok(Tensor::constant(array))
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        network: &'a mut Network,
        data: EvaluationData,
        device: Device,
        autocast: bool,
    ) -> Self {
        let (kept, warned) = (HashMap::new(), HashSet::new());
        Self { network, data, device, autocast, kept, warned }
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The features that were asked for.
    pub fn features(
        &mut self,
        request: &FeatureRequest,
        observer: &dyn Observer,
    ) -> Result<Encoded> {
        if let Some(kept) = self.kept.get(request) {
            return Ok(kept.clone());
        }
        let dataset = match request.split {
            Split::Train => self.data.train.clone(),
            Split::Test => self.data.test.clone(),
        };
        let mut options = LoaderOptions::evaluation(self.data.batch_size);
        options.threads = self.data.threads;
        options = images::options_for(options, &self.device);
        let transform: Arc<dyn Transform> = match request.augment {
            None => Arc::new(self.data.plain.clone()),
            Some(epoch) => {
                options.epoch = epoch as u64;
                Arc::new(self.data.augment.clone())
            }
        };
        let total = dataset.len();
        let name = dataset.describe();
        let (mut rows, mut labels, mut done, mut broken) = (Vec::new(), Vec::new(), 0, 0);
        for batch in Loader::start(dataset, transform, options)? {
            let mut batch = batch?;
            done += batch.labels.len();
            broken += batch.broken;
            labels.extend_from_slice(&batch.labels);
            rows.push(self.encode(&mut batch, request.kind)?);
            let text = format!("encoding {name}");
            observer.event(&Event::Progress { text, done, total });
            if observer.cancelled() {
                return Err(Error::Training("stopped by the user".into()));
            }
        }
        if broken > 0 && self.warned.insert(request.split) {
            observer.event(&Event::Warning(format!(
                "unreadable images of {name}: {broken}; the next readable ones stand in for them \
                 and count twice; repair or remove the files that the log names"
            )));
        }
        if let Some(missing) = labels.iter().position(|label| *label < 0) {
            return Err(Error::Composition(format!(
                "image {missing} of {name} has no label, which this evaluation needs"
            )));
        }
        let count = labels.len();
        let labels =
            Array::from_vec(labels, count, &self.device).map_err(hssl_tensor::Error::from)?;
        let encoded = Encoded {
            features: ops::cat(&rows.iter().collect::<Vec<_>>(), 0)?,
            labels: Tensor::constant(labels),
        };
        if request.augment.is_none() {
            self.kept.insert(request.clone(), encoded.clone());
        }
        Ok(encoded)
    }

    /// One batch to (B, C) f32, without history.
    fn encode(&mut self, batch: &mut Batch, kind: FeatureKind) -> Result<Tensor> {
        let images = images_tensor(batch, &self.device)?;
        if kind == FeatureKind::Pixels {
            return Ok(ops::reshape(&images, &[images.dims()[0] as i64, -1])?);
        }
        let layers = if kind == FeatureKind::LastFour { 4 } else { 0 };
        let request = Request { layers, ..Request::default() };
        let features = self.forward(&images, &request)?;
        let vector = match kind {
            FeatureKind::LastFour if features.layers.is_empty() => {
                return Err(Error::Composition(
                    "this backbone does not return the outputs of its last blocks; set the \
                     evaluator's features = \"image\""
                        .into(),
                ));
            }
            FeatureKind::LastFour => {
                let layers: Vec<Tensor> = features.layers.iter().map(import).collect();
                ops::cat(&layers.iter().collect::<Vec<_>>(), -1)?
            }
            FeatureKind::ImageAndMean => {
                let mean = ops::mean(&import(&features.map), &[1, 2], false)?;
                ops::cat(&[&import(&features.image), &mean], -1)?
            }
            _ => import(&features.image),
        };
        Ok(ops::cast(&vector, hssl_tensor::DType::F32)?)
    }

    /// The base model in inference mode.
    pub fn forward(&mut self, images: &Tensor, request: &Request) -> Result<Features> {
        let mode = mode::Mode {
            recording: false,
            training: false,
            autocast: self.autocast,
            ..mode::current()
        };
        let network = &mut *self.network;
        on_device(&self.device, || {
            mode::scope(mode, || network.forward_base(images, request, None))
        })
    }
}
