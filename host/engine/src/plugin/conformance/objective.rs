//! What objectives promise.

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{Capability, Edge, Level, Reduction, StepInfo};
use hssl_plugin_api::wire::Envelope;
use hssl_tensor::{Tensor, backward, mode};
use serde_json::{Map, Value, json};

use super::bench::{Bench, STRIDE, WIDTH, base_spec, expect, expect_gradients, noise};
use super::network::training;
use super::{Trial, Verdict};
use crate::plugin::{Instance, export, import};

const BATCH: usize = 4;
const CROPS: usize = 2;
const GLOBAL: usize = 4 * STRIDE;
const LOCAL: usize = 2 * STRIDE;
const HEAD: &str = "aux";
const BASE: &str = "base";

/// What an objective is made from: HSSL's graph of one head, with patch edges for those that mask.
pub(super) fn request(options: Map<String, Value>, needs: &[Capability]) -> Value {
    let patches =
        needs.iter().any(|need| matches!(need, Capability::MaskReplace | Capability::DropTokens));
    let levels = if patches { &[Level::Image, Level::Patch][..] } else { &[Level::Image] };
    let edge = |student: &str, level: Level| Edge { level, ..Edge::new(HEAD, student) };
    let edges: Vec<Edge> =
        levels.iter().flat_map(|level| [edge(BASE, *level), edge(HEAD, *level)]).collect();
    let branches =
        [BASE, HEAD].map(|name| json!({ "name": name, "width": WIDTH, "patches": true }));
    json!({
        "config": options,
        "base": base_spec(),
        "branches": branches,
        "edges": edges,
        "reduction": Reduction::Mean,
        "share_mlp": false,
        "share_last_layer": true,
    })
}

impl Trial {
    /// Tries an objective; false if it cannot even be made.
    pub(super) fn objective(&mut self) -> bool {
        let mut bench = Bench::default();
        let request = self.request(self.options.clone());
        let Some(mut objective) = self.made(&request, &mut bench) else { return false };
        let mut loss = None;
        let stepped = training(|| {
            loss = Some(step(&mut objective, &mut bench, 0)?);
            Ok(())
        });
        if !self.record("its loss and the parts of it are finite numbers", stepped) {
            return true;
        }
        let gradients = loss.ok_or_else(|| "there is no loss".to_owned()).and_then(|loss| {
            let gradients = backward(&loss).map_err(|error| error.to_string())?;
            expect_gradients(&bench.stores.student, &gradients)
        });
        self.record("every trainable parameter gets a finite gradient", gradients);
        let goes_on = training(|| {
            mode::no_grad(|| after_step(&mut objective, &mut bench))?;
            step(&mut objective, &mut bench, 1).map(drop)
        });
        self.record("it goes on after the optimizer's step", goes_on);
        true
    }
}

fn info(step: usize) -> StepInfo {
    StepInfo { epoch: 0, epochs: 2, step, steps_per_epoch: 2, log: true }
}

/// One step on noise; its loss.
fn step(objective: &mut Instance, bench: &mut Bench, step: usize) -> Result<Tensor, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let global = noise(&[CROPS, BATCH, 3, GLOBAL, GLOBAL]).map_err(|e| text(&e))?;
    let local = noise(&[CROPS, BATCH, 3, LOCAL, LOCAL]).map_err(|e| text(&e))?;
    let request = Envelope::new(&info(step))
        .map_err(|e| text(&e))?
        .with("global", &export(&global))
        .with("local", &export(&local));
    let call = (method::component::STEP, "step");
    let reply = objective.call(call, &request, bench).map_err(|e| text(&e))?;
    let total = import(&reply.tensor("total").map_err(|e| text(&e))?);
    for (name, tensor) in reply.into_tensors() {
        expect(&format!("{name:?}"), &import(&tensor), &[])?;
    }
    Ok(total)
}

fn after_step(objective: &mut Instance, bench: &mut Bench) -> Verdict {
    let request = Envelope::new(&info(0)).map_err(|error| error.to_string())?;
    let call = (method::component::AFTER_STEP, "after_step");
    objective.call(call, &request, bench).map(drop).map_err(|error| error.to_string())
}
