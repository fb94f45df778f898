//! What a head costs beside its base.

use std::collections::BTreeMap;
use std::time::Instant;

use hssl_plugin_api::component::Request;
use hssl_tensor::{Tensor, backward, ops};
use serde::Serialize;

use super::compare::head_branches;
use crate::bench::median;
use crate::config::RunConfig;
use crate::device;
use crate::error::{Error, Result};
use crate::events::{Event, Observer};
use crate::plugin::{Registry, count_multiply_adds, import};
use crate::supervision::BASE;
use crate::train::{Learner, batches};

/// Rounds that are timed, after one that is not.
const ROUNDS: usize = 9;

/// What the student takes for a batch of global crops.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Median time of a forward pass as in training, milliseconds.
    pub forward_ms: f64,
    /// The same with the backward pass.
    pub forward_backward_ms: f64,
    /// Multiply-adds of a forward pass, in millions for each image.
    pub mega_multiply_adds: f64,
}

/// The base alone, and with each of its heads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Crops in a batch.
    pub images: usize,
    /// Their sides.
    pub side: usize,
    /// The base alone.
    pub base: Cost,
    /// By branch: the base together with that head.
    pub with_head: BTreeMap<String, Cost>,
}

/// Times of one composition.
#[derive(Default)]
struct Times {
    forward: Vec<f64>,
    both: Vec<f64>,
    multiply_adds: u64,
}

/// Measures the student of a configuration, untrained, on noise: networks alone, without projections and
/// losses. Compositions take turns, so that what else the machine does falls on all of them.
///
/// # Errors
/// The composition cannot be built, a pass fails, or the user stops.
pub fn costs(config: &RunConfig, registry: &Registry, observer: &dyn Observer) -> Result<Costs> {
    let device = device::select(&config.train.device)?;
    let mut learner = Learner::build(config, registry, &device)?;
    let crops = batches::synthetic(config, &device)?.global;
    let crops = Tensor::constant(crops.flatten(0, 1).map_err(hssl_tensor::Error::from)?);
    let compositions: Vec<Vec<String>> = std::iter::once(vec![BASE.to_owned()])
        .chain(head_branches(&learner).into_iter().map(|head| vec![BASE.to_owned(), head]))
        .collect();
    let mut times: Vec<Times> = compositions.iter().map(|_| Times::default()).collect();
    for round in 0..=ROUNDS {
        for (branches, times) in compositions.iter().zip(&mut times) {
            let start = Instant::now();
            let (scalar, counted) = count_multiply_adds(|| forward(&mut learner, &crops, branches));
            let scalar = scalar?;
            device.synchronize().map_err(hssl_tensor::Error::from)?;
            let forward = start.elapsed();
            backward(&scalar)?;
            device.synchronize().map_err(hssl_tensor::Error::from)?;
            times.multiply_adds = counted;
            if round > 0 {
                times.forward.push(forward.as_secs_f64() * 1e3);
                times.both.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let text = "measuring the cost of heads".to_owned();
        observer.event(&Event::Progress { text, done: round, total: ROUNDS });
        if observer.cancelled() {
            return Err(Error::Training("stopped by the user".into()));
        }
    }
    let images = crops.dims()[0];
    let cost = |mut times: Times| Cost {
        forward_ms: median(&mut times.forward),
        forward_backward_ms: median(&mut times.both),
        mega_multiply_adds: times.multiply_adds as f64 / images as f64 / 1e6,
    };
    let mut found = times.into_iter().map(cost);
    let base = found.next().ok_or_else(|| Error::Composition("a run without a base".into()))?;
    let heads = compositions.into_iter().skip(1).filter_map(|mut branches| branches.pop());
    let with_head = heads.zip(found).collect();
    Ok(Costs { images, side: config.views.global_crops_size, base, with_head })
}

/// A scalar that every branch moves.
fn forward(learner: &mut Learner, crops: &Tensor, branches: &[String]) -> Result<Tensor> {
    learner.with_student(|student| {
        let request = Request { training: true, ..Request::default() };
        let encoded = student.encode(crops, branches, &request, None)?;
        let mut total: Option<Tensor> = None;
        for features in encoded.values() {
            let term = ops::mean(&import(&features.image), &[], false)?;
            total = Some(match total {
                Some(sum) => ops::add(&sum, &term)?,
                None => term,
            });
        }
        total.ok_or_else(|| Error::Composition("no branch takes global crops".into()))
    })
}
