//! `hssl plugin check`: whether a component keeps what the interface promises of it.
//!
//! Components are made with small inputs on the CPU and asked for everything the host will ask for.
//! Each promise is one [`Check`]; where one does not apply, the check says why.

mod bench;
mod evaluator;
mod network;
mod objective;

use hssl_plugin_api::component::{Capability, Kind};
use hssl_plugin_api::wire::Envelope;
use hssl_tensor::{Device, random};
use serde_json::{Map, Value, json};

use self::bench::Bench;
use super::{Component, Instance, PluginError, Registry, Services, on_device};

/// What became of one promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept.
    Kept,
    /// It is not: what was found and what was expected.
    Broken(String),
    /// It could not be tried, and why.
    NotChecked(String),
}

/// One promise of the interface, tried on one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Kind and name of the component.
    pub component: String,
    /// The promise.
    pub promise: String,
    /// Whether it is kept.
    pub outcome: Outcome,
}

/// Tries every promise of a component that is made with `options`.
///
/// # Errors
/// Nobody offers the component, or its plugin cannot be loaded.
pub fn conformance(
    registry: &Registry,
    kind: Kind,
    name: &str,
    options: &Map<String, Value>,
) -> Result<Vec<Check>, PluginError> {
    let component = registry.component(kind, name)?;
    let mut trial = Trial { component, options: options.clone(), checks: Vec::new() };
    on_device(&Device::Cpu, || random::scope(0, 0, || trial.run(kind)));
    Ok(trial.checks)
}

/// One component under trial.
struct Trial {
    component: Component,
    options: Map<String, Value>,
    checks: Vec<Check>,
}

/// A promise that is not kept, in words.
type Verdict = Result<(), String>;

impl Trial {
    fn run(&mut self, kind: Kind) {
        let schema = self.schema();
        self.record("its options have a JSON schema", schema);
        // Whatever else is promised needs an instance.
        let made = match kind {
            Kind::Backbone => self.backbone(),
            Kind::Head => self.head(),
            Kind::Objective => self.objective(),
            Kind::Evaluator => self.evaluator(),
        };
        if made {
            let refused = self.refuses_unknown_options();
            self.record("an unknown option is refused by name", refused);
        }
    }

    fn record(&mut self, promise: impl Into<String>, verdict: Verdict) -> bool {
        let kept = verdict.is_ok();
        let outcome = verdict.map_or_else(Outcome::Broken, |()| Outcome::Kept);
        self.push(promise, outcome);
        kept
    }

    fn not_checked(&mut self, promise: impl Into<String>, reason: impl Into<String>) {
        self.push(promise, Outcome::NotChecked(reason.into()));
    }

    fn push(&mut self, promise: impl Into<String>, outcome: Outcome) {
        let manifest = &self.component.manifest;
        let component = format!("{} {}", manifest.kind, manifest.name);
        self.checks.push(Check { component, promise: promise.into(), outcome });
    }

    /// What an instance with these options is made from.
    fn request(&self, options: Map<String, Value>) -> Value {
        let capabilities = &self.component.manifest.capabilities;
        match self.component.manifest.kind {
            Kind::Backbone => {
                let mask_token = capabilities.contains(&Capability::MaskReplace);
                network::backbone_request(options, mask_token)
            }
            Kind::Head => network::head_request(options),
            Kind::Objective => objective::request(options, capabilities),
            Kind::Evaluator => Value::Object(options),
        }
    }

    fn instance(&self, request: &Value, services: &mut dyn Services) -> Result<Instance, String> {
        let Component { plugin, index, manifest } = &self.component;
        let label = format!("{} {:?}", manifest.kind, manifest.name);
        let origin = format!("{:?} ({})", plugin.descriptor.name, plugin.path.display());
        let request = Envelope::new(request).map_err(|error| error.to_string())?;
        Instance::create(plugin.module, *index, (label, origin), &request, services)
            .map_err(|error| error.to_string())
    }

    /// Records whether the component can be made, and hands the instance out.
    fn made(&mut self, request: &Value, services: &mut dyn Services) -> Option<Instance> {
        let (verdict, instance) = match self.instance(request, services) {
            Ok(instance) => (Ok(()), Some(instance)),
            Err(error) => (Err(self.with_required_options(error)), None),
        };
        let promise = if self.options.is_empty() {
            "it is made with its default options"
        } else {
            "it is made with the given options"
        };
        self.record(promise, verdict);
        instance
    }

    /// Adds which options have no default.
    fn with_required_options(&self, error: String) -> String {
        let required = self.component.manifest.config["required"].as_array();
        let missing: Vec<&str> = required
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|name| !self.options.contains_key(*name))
            .collect();
        if missing.is_empty() {
            return error;
        }
        format!("{error}; these options have no default, give them: {}", missing.join(", "))
    }

    fn schema(&self) -> Verdict {
        let schema = &self.component.manifest.config;
        let validator = jsonschema::validator_for(schema)
            .map_err(|error| format!("its schema is malformed: {error}"))?;
        let options = Value::Object(self.options.clone());
        let wrong: Vec<String> = validator
            .iter_errors(&options)
            .map(|error| match error.instance_path().as_str().trim_start_matches('/') {
                "" => error.to_string(),
                option => format!("{}: {error}", option.replace('/', ".")),
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    fn refuses_unknown_options(&self) -> Verdict {
        const UNKNOWN: &str = "an_option_that_does_not_exist";
        let mut options = self.options.clone();
        options.insert(UNKNOWN.into(), json!(1));
        let request = self.request(options);
        match self.instance(&request, &mut Bench::default()) {
            Err(error) if error.contains(UNKNOWN) => Ok(()),
            Err(error) => Err(format!("the error does not name it: {error}")),
            Ok(_) => Err(format!(
                "the option {UNKNOWN:?} was accepted; put #[serde(deny_unknown_fields)] on the \
                 configuration, so that a misspelt option is not ignored"
            )),
        }
    }
}
