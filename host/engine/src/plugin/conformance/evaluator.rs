//! What evaluators promise.

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{FeatureRequest, Report, Split};
use hssl_plugin_api::wire::Envelope;
use hssl_tensor::{Array, Device, Tensor};
use serde_json::json;

use super::bench::{WIDTH, noise, values};
use super::{Trial, Verdict};
use crate::error::Result;
use crate::evaluate::{Encoded, EvaluationServices, FeatureSource};
use crate::events::{Observer, Unobserved};

const CLASSES: usize = 3;
const IMAGES: usize = 60;
const SEED: u64 = 0;

/// Features of classes that lie far apart.
struct Clusters;

impl FeatureSource for Clusters {
    fn features(&mut self, asked: &FeatureRequest, _: &dyn Observer) -> Result<Encoded> {
        // Train and test draw their own noise around the same centres.
        let spread = if asked.split == Split::Train { 0.1 } else { 0.2 };
        let noise = values(&noise(&[IMAGES, WIDTH])?)?;
        let labels: Vec<i64> = (0..IMAGES).map(|image| (image % CLASSES) as i64).collect();
        let at = |index: usize| {
            let (image, channel) = (index / WIDTH, index % WIDTH);
            let centre = if channel % CLASSES == image % CLASSES { 1.0 } else { 0.0 };
            (centre + spread * noise[index]) as f32
        };
        let features: Vec<f32> = (0..IMAGES * WIDTH).map(at).collect();
        let features = Array::from_vec(features, (IMAGES, WIDTH), &Device::Cpu);
        let labels = Array::from_vec(labels, IMAGES, &Device::Cpu);
        Ok(Encoded {
            features: Tensor::constant(features.map_err(hssl_tensor::Error::from)?),
            labels: Tensor::constant(labels.map_err(hssl_tensor::Error::from)?),
        })
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }
}

impl Trial {
    /// Tries an evaluator; false if it cannot even be made.
    pub(super) fn evaluator(&mut self) -> bool {
        let mut source = Clusters;
        let mut services = EvaluationServices::new(&mut source, &Unobserved, SEED);
        let request = self.request(self.options.clone());
        let Some(mut evaluator) = self.made(&request, &mut services) else { return false };
        let verdict = Envelope::new(&json!({ "classes": CLASSES, "seed": SEED }))
            .map_err(|error| error.to_string())
            .and_then(|setup| {
                let call = (method::component::RUN, "run");
                evaluator.call(call, &setup, &mut services).map_err(|error| error.to_string())
            })
            .and_then(|reply| reply.read::<Report>().map_err(|error| error.to_string()));
        let report = verdict.as_ref().map(drop).map_err(Clone::clone);
        if self.record("it runs to its end", report)
            && let Ok(report) = verdict
        {
            self.record("its report holds together", holds_together(&report));
        }
        true
    }
}

fn holds_together(report: &Report) -> Verdict {
    let names = || report.metrics.keys().cloned().collect::<Vec<_>>().join(", ");
    if !report.metrics.contains_key(&report.headline) {
        return Err(format!(
            "its headline {:?} is none of its numbers: {}",
            report.headline,
            names()
        ));
    }
    match report.metrics.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Err(format!("{name} is {value}")),
        None => Ok(()),
    }
}
