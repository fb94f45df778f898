//! A learner's state, into and out of checkpoints.

use std::collections::HashMap;
use std::path::Path;

use hssl_tensor::{Array, Device};

use super::Learner;
use crate::checkpoint;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::parameters::Store;
use crate::plugin::Registry;
use crate::run::RunFolder;

const OPTIMIZER: &str = "optimizer.";

impl Learner {
    /// The learner of a run, as its latest checkpoint has it.
    ///
    /// # Errors
    /// There is no checkpoint, or it is another configuration's.
    pub fn of_run(
        config: &RunConfig,
        registry: &Registry,
        device: &Device,
        run: &RunFolder,
    ) -> Result<Self> {
        let last = run.last();
        let (state, _) = checkpoint::read(&last, device)?;
        let mut learner = Self::build(config, registry, device)?;
        learner.load_state(&state, &last)?;
        Ok(learner)
    }

    /// Everything that a resumed run needs, by name: `student.*`, `teacher.*`, `state.*`, `optimizer.*`.
    pub fn state(&self) -> Result<Vec<(String, Array)>> {
        let mut state = Vec::new();
        for (prefix, store) in self.stores() {
            state.extend(store.iter().map(|p| (format!("{prefix}{}", p.name()), p.value())));
        }
        for (name, array) in self.optimizer.state()? {
            state.push((format!("{OPTIMIZER}{name}"), array));
        }
        Ok(state)
    }

    /// Takes up what [`Learner::state`] gave.
    ///
    /// # Errors
    /// A parameter is missing, or has another shape: the configuration is not the checkpoint's.
    pub fn load_state(&mut self, state: &HashMap<String, Array>, origin: &Path) -> Result<()> {
        for (prefix, store) in self.stores() {
            for parameter in store.iter() {
                let name = format!("{prefix}{}", parameter.name());
                let value = state.get(&name).ok_or_else(|| {
                    Error::content(
                        origin,
                        format!(
                            "the checkpoint lacks {name}; it was written by a run of another \
                             configuration"
                        ),
                    )
                })?;
                parameter
                    .set(value)
                    .map_err(|error| Error::content(origin, format!("{name}: {error}")))?;
            }
        }
        let mut moments: Vec<(String, Array)> = state
            .iter()
            .filter_map(|(name, array)| {
                Some((name.strip_prefix(OPTIMIZER)?.to_owned(), array.clone()))
            })
            .collect();
        moments.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(self.optimizer.load_state(&moments)?)
    }

    pub(super) fn stores(&self) -> [(&'static str, &Store); 3] {
        let stores = &self.stores;
        [("student.", &stores.student), ("teacher.", &stores.teacher), ("state.", &stores.state)]
    }

    /// The teacher's base model under its field's names: what an export holds.
    pub fn backbone_weights(&self) -> Vec<(String, Array)> {
        let strip = |name: &str| name.strip_prefix("backbone.").map(str::to_owned);
        let named = self.stores.teacher.iter();
        named.filter_map(|p| Some((strip(p.name())?, p.value()))).collect()
    }
}
