//! From component traits to the entry points of the root module.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::abi::{self, Host, Message, method, root};
use crate::component::{
    Backbone, BackboneSetup, BackboneSpec, BranchSpec, Capability, ComponentManifest, Edge, End,
    Evaluation, Evaluator, Head, HeadInput, Kind, Manifest, Objective, ObjectiveSetup, Reduction,
    Request, Role, StepContext, StepInfo, Views,
};
use crate::context::text;
use crate::wire::Envelope;
use crate::{Context, Error, Params, Result};

/// A component instance of any kind.
trait Instance: Send {
    fn call(&mut self, cx: &Context<'_>, method: u32, request: Envelope) -> Result<Envelope>;
}

type Create = fn(&Context<'_>, Envelope) -> Result<Box<dyn Instance>>;

/// One entry of a plugin's table, made by [`export!`](crate::export!).
pub struct Component {
    name: &'static str,
    kind: Kind,
    description: &'static str,
    config: fn() -> serde_json::Value,
    capabilities: fn() -> Vec<Capability>,
    recipe: fn() -> serde_json::Value,
    create: Create,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

fn schema<T: JsonSchema>() -> serde_json::Value {
    schemars::schema_for!(T).to_value()
}

fn nothing() -> serde_json::Value {
    serde_json::Value::Null
}

impl Component {
    /// An entry for a backbone.
    pub const fn backbone<T: Backbone>(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Backbone,
            description,
            config: schema::<T::Config>,
            capabilities: T::capabilities,
            recipe: nothing,
            create: create_backbone::<T>,
        }
    }

    /// An entry for a head.
    pub const fn head<T: Head>(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Head,
            description,
            config: schema::<T::Config>,
            capabilities: Vec::new,
            recipe: nothing,
            create: create_head::<T>,
        }
    }

    /// An entry for an objective.
    pub const fn objective<T: Objective>(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Objective,
            description,
            config: schema::<T::Config>,
            capabilities: T::needs,
            recipe: T::recipe,
            create: create_objective::<T>,
        }
    }

    /// An entry for an evaluator.
    pub const fn evaluator<T: Evaluator>(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Evaluator,
            description,
            config: schema::<T::Config>,
            capabilities: Vec::new,
            recipe: nothing,
            create: create_evaluator::<T>,
        }
    }
}

/// The store a network's parameters go to, sent when a backbone or head is made.
#[derive(serde::Deserialize)]
struct NetworkSetup {
    config: serde_json::Value,
    store: String,
    scope: String,
    #[serde(default)]
    backbone: BackboneSetup,
    #[serde(default)]
    input: Option<HeadInput>,
}

#[derive(serde::Deserialize)]
struct MethodSetup {
    config: serde_json::Value,
    base: BackboneSpec,
    branches: Vec<BranchSpec>,
    edges: Vec<Edge>,
    reduction: Reduction,
    share_mlp: bool,
    share_last_layer: bool,
}

fn config<T: DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::refused(format!("configuration: {error}")))
}

struct BackboneInstance<T>(T);
struct HeadInstance<T>(T);
struct ObjectiveInstance<T>(T);
struct EvaluatorInstance<T>(T);

fn create_backbone<T: Backbone>(cx: &Context<'_>, request: Envelope) -> Result<Box<dyn Instance>> {
    let setup: NetworkSetup = request.read()?;
    let params = Params::root(*cx, setup.store).pp(setup.scope);
    Ok(Box::new(BackboneInstance(T::new(config(setup.config)?, &setup.backbone, &params)?)))
}

fn create_head<T: Head>(cx: &Context<'_>, request: Envelope) -> Result<Box<dyn Instance>> {
    let setup: NetworkSetup = request.read()?;
    let input = setup.input.ok_or_else(|| Error::Host("a head needs its input's size".into()))?;
    let params = Params::root(*cx, setup.store).pp(setup.scope);
    Ok(Box::new(HeadInstance(T::new(config(setup.config)?, &input, &params)?)))
}

fn create_objective<T: Objective>(
    cx: &Context<'_>,
    request: Envelope,
) -> Result<Box<dyn Instance>> {
    let setup: MethodSetup = request.read()?;
    let built = ObjectiveSetup {
        student: Params::root(*cx, "student").pp("objective"),
        teacher: Params::root(*cx, "teacher").pp("objective"),
        state: Params::root(*cx, "state"),
        base: setup.base,
        branches: setup.branches,
        edges: setup.edges,
        reduction: setup.reduction,
        share_mlp: setup.share_mlp,
        share_last_layer: setup.share_last_layer,
    };
    Ok(Box::new(ObjectiveInstance(T::new(config(setup.config)?, &built)?)))
}

fn create_evaluator<T: Evaluator>(_: &Context<'_>, request: Envelope) -> Result<Box<dyn Instance>> {
    Ok(Box::new(EvaluatorInstance(T::new(config(request.body)?)?)))
}

fn unknown(kind: Kind, method: u32) -> Error {
    Error::Host(format!("this {kind} was built with an SDK that does not know method {method}"))
}

#[derive(serde::Deserialize)]
struct Rates {
    rates: Vec<f64>,
}

#[derive(serde::Deserialize)]
struct Adapt {
    name: String,
    shape: Vec<usize>,
}

#[derive(serde::Deserialize)]
struct HeadForward {
    training: bool,
}

impl<T: Backbone> Instance for BackboneInstance<T> {
    fn call(&mut self, cx: &Context<'_>, method: u32, request: Envelope) -> Result<Envelope> {
        match method {
            method::component::SPEC => Envelope::new(&self.0.spec()),
            method::component::DROP_PATH => {
                self.0.set_drop_path(&request.read::<Rates>()?.rates);
                Ok(Envelope::default())
            }
            method::component::FORWARD => {
                let mut asked: Request = request.read()?;
                asked.mask = request.find("mask").map(crate::component::mask);
                let features = self.0.forward(cx, &request.tensor("images")?, &asked)?;
                Ok(features.to_envelope())
            }
            method::component::ADAPT_WEIGHT => {
                let asked: Adapt = request.read()?;
                let weight = request.tensor("weight")?;
                let adapted = self.0.adapt_weight(&asked.name, &weight, &asked.shape)?;
                Ok(Envelope::default().with_some("weight", adapted.as_ref()))
            }
            method::component::FORWARD_KEPT => {
                let (images, kept) = (request.tensor("images")?, request.tensor("kept")?);
                Ok(self.0.forward_kept(cx, &images, &kept, &request.read()?)?.to_envelope())
            }
            method::component::NORM => {
                let normed = self.0.norm(&request.tensor("tokens")?)?;
                Ok(Envelope::default().with("tokens", &normed))
            }
            other => Err(unknown(Kind::Backbone, other)),
        }
    }
}

impl<T: Head> Instance for HeadInstance<T> {
    fn call(&mut self, cx: &Context<'_>, method: u32, request: Envelope) -> Result<Envelope> {
        match method {
            method::component::SPEC => Envelope::new(&self.0.spec()),
            method::component::DROP_PATH => {
                self.0.set_drop_path(&request.read::<Rates>()?.rates);
                Ok(Envelope::default())
            }
            method::component::FORWARD => {
                let training = request.read::<HeadForward>()?.training;
                let map = self.0.forward(cx, &request.tensor("map")?, training)?;
                Ok(Envelope::default().with("map", &map))
            }
            other => Err(unknown(Kind::Head, other)),
        }
    }
}

#[derive(serde::Deserialize)]
struct LogitsRequest {
    role: Role,
    info: StepInfo,
}

impl<T: Objective> Instance for ObjectiveInstance<T> {
    fn call(&mut self, cx: &Context<'_>, method: u32, request: Envelope) -> Result<Envelope> {
        match method {
            method::component::STEP => {
                let info: StepInfo = request.read()?;
                let views =
                    Views { global: request.tensor("global")?, local: request.find("local") };
                let loss = self.0.step(&StepContext::new(*cx, info), &views)?;
                let mut reply = Envelope::default().with("total", &loss.total);
                for (prefix, tensors) in [("part", loss.parts), ("metric", loss.metrics)] {
                    for (name, tensor) in tensors {
                        reply.push(format!("{prefix}.{name}"), tensor);
                    }
                }
                Ok(reply)
            }
            method::component::AFTER_STEP => {
                self.0.after_step(&StepContext::new(*cx, request.read()?))?;
                Ok(Envelope::default())
            }
            method::component::LOGITS => {
                let asked: LogitsRequest = request.read()?;
                let step = StepContext::new(*cx, asked.info);
                let logits = self.0.logits(&step, asked.role, &request.tensor("images")?)?;
                let ends: Vec<&End> = logits.iter().map(|projected| &projected.end).collect();
                let mut reply = Envelope::new(&ends)?;
                for (index, projected) in logits.iter().enumerate() {
                    reply.push(format!("plain.{index}"), projected.plain.clone());
                    reply.push(format!("centred.{index}"), projected.centred.clone());
                }
                Ok(reply)
            }
            other => Err(unknown(Kind::Objective, other)),
        }
    }
}

#[derive(serde::Deserialize)]
struct EvaluationSetup {
    classes: usize,
    seed: u64,
}

impl<T: Evaluator> Instance for EvaluatorInstance<T> {
    fn call(&mut self, cx: &Context<'_>, method: u32, request: Envelope) -> Result<Envelope> {
        match method {
            method::component::RUN => {
                let setup: EvaluationSetup = request.read()?;
                let report = self.0.run(&Evaluation::new(*cx, setup.classes, setup.seed))?;
                Envelope::new(&report)
            }
            other => Err(unknown(Kind::Evaluator, other)),
        }
    }
}

/// What lies behind the instance pointer.
struct Slot {
    host: &'static Host,
    instance: Box<dyn Instance>,
    component: &'static Component,
    poisoned: bool,
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

/// Writes the outcome of an entry point.
///
/// # Safety
/// `reply` points to an empty message of the host.
unsafe fn finish(outcome: std::thread::Result<Result<Envelope>>, reply: *mut Message) -> i32 {
    let (status, message) = match outcome {
        Ok(Ok(envelope)) => match envelope.give() {
            Ok(message) => (abi::OK, message),
            Err(error) => (abi::FAILED, text(error.to_string())),
        },
        Ok(Err(error)) => (abi::FAILED, text(error.to_string())),
        Err(panic) => (abi::PANICKED, text(panic_text(&*panic))),
    };
    // SAFETY: by this function's contract; an empty message needs no drop.
    unsafe { reply.write(message) };
    status
}

/// Entry point; see [`root::Plugin::manifest`].
///
/// # Safety
/// `reply` points to an empty message.
pub unsafe fn manifest(table: &'static [Component], reply: *mut c_void) -> i32 {
    let outcome = catch_unwind(|| {
        let components = table
            .iter()
            .map(|component| ComponentManifest {
                kind: component.kind,
                name: component.name.into(),
                description: component.description.into(),
                config: (component.config)(),
                capabilities: (component.capabilities)(),
                recipe: (component.recipe)(),
            })
            .collect();
        Envelope::new(&Manifest { components })
    });
    // SAFETY: by this function's contract.
    unsafe { finish(outcome, root::as_message(reply)) }
}

/// Entry point; see [`root::Plugin::create`].
///
/// # Safety
/// The pointers are those that the host passes by the interface's rules.
pub unsafe fn create(
    table: &'static [Component],
    host: *const c_void,
    context: *const c_void,
    component: usize,
    request: *const c_void,
    instance: *mut *mut c_void,
    reply: *mut c_void,
) -> i32 {
    let outcome = catch_unwind(|| {
        // SAFETY: the host's table lives as long as the process.
        let host: &'static Host = unsafe { &*host.cast::<Host>() };
        if host.size < std::mem::size_of::<Host>() {
            return Err(Error::refused(
                "this host offers fewer functions than the plugin was built for; update hssl",
            ));
        }
        let component = table
            .get(component)
            .ok_or_else(|| Error::Host(format!("the plugin has no component {component}")))?;
        // SAFETY: `context` and `request` are valid during this call.
        let cx = unsafe { Context::new(host, context) };
        // SAFETY: as above.
        let request = unsafe { Envelope::borrow(&*request.cast::<Message>(), host)? };
        let slot =
            Slot { host, instance: (component.create)(&cx, request)?, component, poisoned: false };
        // SAFETY: `instance` is the host's out-pointer.
        unsafe { instance.write(Box::into_raw(Box::new(slot)).cast()) };
        Ok(Envelope::default())
    });
    // SAFETY: by this function's contract.
    unsafe { finish(outcome, root::as_message(reply)) }
}

/// Entry point; see [`root::Plugin::call`].
///
/// # Safety
/// The pointers are those that the host passes by the interface's rules.
pub unsafe fn call(
    instance: *mut c_void,
    context: *const c_void,
    method: u32,
    request: *const c_void,
    reply: *mut c_void,
) -> i32 {
    // SAFETY: an instance made by `create`, called by one thread at a time.
    let slot = unsafe { &mut *instance.cast::<Slot>() };
    if slot.poisoned {
        let message = format!("{:?} panicked before and is not used again", slot.component);
        // SAFETY: by this function's contract.
        return unsafe { finish(Ok(Err(Error::Refused(message))), root::as_message(reply)) };
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `context` and `request` are valid during this call.
        let cx = unsafe { Context::new(slot.host, context) };
        // SAFETY: as above.
        let request = unsafe { Envelope::borrow(&*request.cast::<Message>(), slot.host)? };
        slot.instance.call(&cx, method, request)
    }));
    slot.poisoned = outcome.is_err();
    // SAFETY: by this function's contract.
    unsafe { finish(outcome, root::as_message(reply)) }
}

/// Entry point; see [`root::Plugin::drop`].
///
/// # Safety
/// `instance` was made by [`create`] and is not used again.
pub unsafe fn drop_instance(instance: *mut c_void) {
    // A destructor that panics leaks the rest of the instance; the host goes on.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: by this function's contract.
        drop(unsafe { Box::from_raw(instance.cast::<Slot>()) });
    }));
}

/// Exports a plugin: its name and its components.
///
/// ```ignore
/// hssl_plugin_api::export! {
///     name: "vit",
///     backbone "vit": VisionTransformer, "Vision Transformer (Dosovitskiy et al., 2021)";
/// }
/// ```
#[macro_export]
macro_rules! export {
    (name: $name:literal, $( $kind:ident $component:literal : $type:ty, $description:literal );+ $(;)?) => {
        static COMPONENTS: &[$crate::export::Component] =
            &[ $( $crate::export::Component::$kind::<$type>($component, $description) ),+ ];

        const DESCRIPTOR_PARTS: &[&str] = &[
            $crate::abi::descriptor::MAGIC,
            "\ninterface ", $crate::abi::INTERFACE_TEXT,
            "\nsdk ", $crate::abi::descriptor::SDK,
            "\nrustc ", $crate::abi::descriptor::RUSTC,
            "\ntarget ", $crate::abi::descriptor::TARGET,
            "\npanic ", $crate::abi::descriptor::PANIC,
            "\nname ", $name,
            "\nversion ", env!("CARGO_PKG_VERSION"),
            $( "\ncomponent ", stringify!($kind), " ", $component, )+
            "\n",
        ];

        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,.hssl_plugin"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".hssl_plugin"))]
        static DESCRIPTOR: [u8; $crate::abi::descriptor::len(DESCRIPTOR_PARTS)] =
            $crate::abi::descriptor::join(DESCRIPTOR_PARTS);

        $crate::__root_module!(COMPONENTS);
    };
}
