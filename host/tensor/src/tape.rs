//! Reverse-mode differentiation.
//!
//! Each recorded operation leaves a [`Node`] with edges to the nodes of its inputs and a closure
//! that maps output gradients to input gradients. [`backward`] walks the graph once, frees each
//! closure (and so the values that it saved) as soon as it ran, and never makes a buffer of zeros.

use std::cell::Cell;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::accumulate::{self, Contribution, Place, Sum};
use crate::profile::{self, Pass};
use crate::{Array, Device, Error, Parameter, Result, Tensor, mode, random};

/// What each input receives.
type Contributions = Vec<Option<Contribution>>;
type Backward = Box<dyn FnOnce(&[Option<Array>], &mut Gradients) -> Result<Contributions> + Send>;

/// One recorded operation, or a leaf.
pub struct Node {
    /// Ascending in order of creation, so a node's inputs have smaller ids.
    id: u64,
    name: &'static str,
    inputs: Vec<Option<Edge>>,
    outputs: usize,
    kind: Kind,
}

enum Kind {
    Operation(Mutex<Option<Backward>>),
    Parameter(Weak<Parameter>),
    /// An input whose gradient is handed back by [`backward_from`].
    Input,
}

/// A particular output of a node.
#[derive(Clone)]
pub(crate) struct Edge {
    node: Arc<Node>,
    output: usize,
}

impl Edge {
    pub(crate) fn leaf(node: &Arc<Node>) -> Self {
        Self { node: node.clone(), output: 0 }
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}.{}", self.node.name, self.node.id, self.output)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.id)
    }
}

static NEXT_NODE: AtomicU64 = AtomicU64::new(0);

impl Node {
    fn new(name: &'static str, inputs: Vec<Option<Edge>>, outputs: usize, kind: Kind) -> Arc<Self> {
        let id = NEXT_NODE.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, name, inputs, outputs, kind })
    }

    pub(crate) fn leaf(parameter: Weak<Parameter>) -> Arc<Self> {
        Self::new("parameter", Vec::new(), 1, Kind::Parameter(parameter))
    }
}

impl Drop for Node {
    /// Frees a long chain in a loop: by recursion it would take a stack frame per operation.
    fn drop(&mut self) {
        let mut doomed: Vec<Edge> = self.inputs.drain(..).flatten().collect();
        while let Some(edge) = doomed.pop() {
            if let Some(mut node) = Arc::into_inner(edge.node) {
                doomed.extend(node.inputs.drain(..).flatten());
            }
        }
    }
}

/// Whether an operation on these inputs has to remember how to go back.
pub fn is_recorded(inputs: &[&Tensor]) -> bool {
    let tracked = inputs.iter().any(|input| input.is_tracked());
    let recording = mode::current().recording;
    if tracked && !recording {
        UNRECORDED.set(true);
    }
    tracked && recording
}

/// Wraps the result of an operation with one output. `backward` maps its gradient to one gradient
/// per input (in order; `None` where there is none to give).
pub fn record(
    name: &'static str,
    inputs: &[&Tensor],
    output: Array,
    backward: impl FnOnce(&Array) -> Result<Vec<Option<Array>>> + Send + 'static,
) -> Tensor {
    if !is_recorded(inputs) {
        return Tensor::constant(output);
    }
    let backward = move |grads: &[Option<Array>], _: &mut Gradients| match &grads[0] {
        Some(grad) => backward(grad).map(whole),
        None => Ok(Vec::new()),
    };
    attach(name, inputs, vec![output], Box::new(backward)).remove(0)
}

/// As [`record`] for `output`, the entries of `dim` of `input` from `start` on. Its gradient needs
/// no closure: it waits as a slice until the other slices of `input` have come.
pub(crate) fn record_slice(
    name: &'static str,
    input: &Tensor,
    output: Array,
    dim: usize,
    start: usize,
) -> Tensor {
    if !is_recorded(&[input]) {
        return Tensor::constant(output);
    }
    let place = Place::of(&input.array(), dim, start);
    let backward = move |grads: &[Option<Array>], _: &mut Gradients| {
        let slice = |grad: &Array| Contribution::Slice(place, grad.clone());
        Ok(vec![grads[0].as_ref().map(slice)])
    };
    attach(name, &[input], vec![output], Box::new(backward)).remove(0)
}

fn whole(gradients: Vec<Option<Array>>) -> Contributions {
    gradients.into_iter().map(|gradient| gradient.map(Contribution::Whole)).collect()
}

/// As [`record`] for several outputs; an output that nothing used has no gradient.
pub fn record_many(
    name: &'static str,
    inputs: &[&Tensor],
    outputs: Vec<Array>,
    backward: impl FnOnce(&[Option<Array>]) -> Result<Vec<Option<Array>>> + Send + 'static,
) -> Vec<Tensor> {
    if !is_recorded(inputs) {
        return outputs.into_iter().map(Tensor::constant).collect();
    }
    attach(name, inputs, outputs, Box::new(move |grads, _| backward(grads).map(whole)))
}

fn attach(
    name: &'static str,
    inputs: &[&Tensor],
    outputs: Vec<Array>,
    backward: Backward,
) -> Vec<Tensor> {
    let edges = inputs.iter().map(|input| input.edge()).collect();
    let node = Node::new(name, edges, outputs.len(), Kind::Operation(Mutex::new(Some(backward))));
    outputs
        .into_iter()
        .enumerate()
        .map(|(output, array)| Tensor::recorded(array, Some(Edge { node: node.clone(), output })))
        .collect()
}

/// Gradients by parameter.
#[derive(Debug, Default)]
pub struct Gradients {
    done: HashMap<u64, Array>,
    /// Sums of the walk under way. Checkpointed blocks add to them where the operations of the block
    /// would have, so that a parameter of both sides gets the same bits as without checkpoints.
    open: HashMap<u64, Sum>,
}

impl Gradients {
    /// The gradient of a parameter, if one reached it.
    pub fn get(&self, parameter: &Parameter) -> Option<&Array> {
        self.done.get(&parameter.id())
    }

    /// Takes a gradient out.
    pub fn remove(&mut self, parameter: &Parameter) -> Option<Array> {
        self.done.remove(&parameter.id())
    }

    /// Replaces a gradient.
    pub fn insert(&mut self, parameter: &Parameter, gradient: Array) {
        self.done.insert(parameter.id(), gradient);
    }

    /// Adds to a gradient.
    pub fn accumulate(&mut self, parameter: &Parameter, gradient: Array) -> Result<()> {
        self.add(parameter.id(), gradient)
    }

    fn add(&mut self, id: u64, gradient: Array) -> Result<()> {
        match self.done.entry(id) {
            Entry::Occupied(mut sum) => {
                let added = accumulate::add(sum.get(), &gradient)?;
                sum.insert(added);
            }
            Entry::Vacant(slot) => {
                slot.insert(gradient);
            }
        }
        Ok(())
    }

    /// Adds all gradients of `other`, as gradient accumulation does.
    pub fn merge(&mut self, other: Gradients) -> Result<()> {
        for (id, gradient) in other.done {
            self.add(id, gradient)?;
        }
        Ok(())
    }

    /// Whether no parameter received a gradient.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }
}

/// Gradients of a scalar with respect to every parameter that it depends on.
///
/// # Errors
/// `loss` is no scalar, has no history, or its graph was walked before.
pub fn backward(loss: &Tensor) -> Result<Gradients> {
    let array = loss.array();
    if array.elem_count() != 1 {
        return Err(Error::Backward(format!("a scalar is needed; found {:?}", array.dims())));
    }
    if !loss.is_tracked() {
        return Err(Error::Backward("the loss depends on no trainable parameter".into()));
    }
    let mut gradients = Gradients::default();
    backward_from(&[(loss.clone(), array.ones_like()?)], &[], &mut gradients)?;
    Ok(gradients)
}

/// Runs back from several outputs with given gradients; returns the gradients of `inputs`
/// (made by [`input`]) and adds those of parameters to `gradients`.
pub fn backward_from(
    outputs: &[(Tensor, Array)],
    inputs: &[Tensor],
    gradients: &mut Gradients,
) -> Result<Vec<Option<Array>>> {
    let result = walk(outputs, inputs, gradients, 0);
    let sums = std::mem::take(&mut gradients.open);
    let input_gradients = result?;
    for (id, sum) in sums {
        if let Some(gradient) = sum.finish()? {
            gradients.add(id, gradient)?;
        }
    }
    Ok(input_gradients)
}

/// [`backward_from`] over nodes from id `first` on, and parameters.
fn walk(
    outputs: &[(Tensor, Array)],
    inputs: &[Tensor],
    gradients: &mut Gradients,
    first: u64,
) -> Result<Vec<Option<Array>>> {
    let roots: Vec<(Edge, Array)> = outputs
        .iter()
        .filter_map(|(tensor, grad)| tensor.edge().map(|edge| (edge, grad.clone())))
        .collect();
    let mut pending = count_consumers(roots.iter().map(|(edge, _)| &edge.node), first)?;
    let mut collected: HashMap<u64, Vec<Sum>> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for (edge, grad) in roots {
        let new = !collected.contains_key(&edge.node.id);
        deliver(&mut collected, gradients, &edge, Contribution::Whole(grad))?;
        if new && pending[&edge.node.id] == 0 {
            ready.push(Ready(edge.node));
        }
    }
    let mut input_gradients = HashMap::new();
    while let Some(Ready(node)) = ready.pop() {
        let grads = match collected.remove(&node.id) {
            Some(sums) => Some(sums.into_iter().map(Sum::finish).collect::<Result<Vec<_>>>()?),
            None => None,
        };
        let input_grads = match (&node.kind, grads) {
            (Kind::Input, Some(mut grads)) => {
                input_gradients.insert(node.id, grads[0].take());
                continue;
            }
            (Kind::Operation(closure), grads) => {
                let closure = closure.lock().unwrap_or_else(|p| p.into_inner()).take();
                match grads {
                    Some(grads) => {
                        let closure = closure.ok_or_else(|| {
                            Error::Backward(format!(
                                "`{}` was differentiated before, and what it had saved is freed; \
                                 run the forward pass again",
                                node.name
                            ))
                        })?;
                        let some = grads.iter().flatten().next();
                        let device = some.map_or(Device::Cpu, |grad| grad.device().clone());
                        profile::time(node.name, Pass::Backward, &device, || {
                            closure(&grads, gradients)
                        })?
                    }
                    None => Vec::new(),
                }
            }
            // Gradients of parameters went where they belong when they came.
            (Kind::Parameter(_), _) | (Kind::Input, None) => continue,
        };
        let mut input_grads = input_grads.into_iter();
        for edge in &node.inputs {
            let grad = input_grads.next().flatten();
            let Some(edge) = edge else { continue };
            if let Some(grad) = grad {
                deliver(&mut collected, gradients, edge, grad)?;
            }
            let count = pending.get_mut(&edge.node.id).expect("every reachable node was counted");
            *count -= 1;
            if *count == 0 {
                ready.push(Ready(edge.node.clone()));
            }
        }
    }
    Ok(inputs
        .iter()
        .map(|input| input.edge().and_then(|edge| input_gradients.remove(&edge.node.id).flatten()))
        .collect())
}

/// For each reachable node, how many recorded edges lead to it.
///
/// # Errors
/// A node other than a parameter is older than `first`.
fn count_consumers<'a>(
    roots: impl Iterator<Item = &'a Arc<Node>>,
    first: u64,
) -> Result<HashMap<u64, usize>> {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    let mut open = Vec::new();
    for root in roots {
        if counts.insert(root.id, 0).is_none() {
            open.push(root.clone());
        }
    }
    while let Some(node) = open.pop() {
        if node.id < first && !matches!(node.kind, Kind::Parameter(_)) {
            return Err(Error::Backward(format!(
                "a checkpointed block used the result of `{}` from outside; hand it in as an input",
                node.name
            )));
        }
        for edge in node.inputs.iter().flatten() {
            let count = counts.entry(edge.node.id).or_insert_with(|| {
                open.push(edge.node.clone());
                0
            });
            *count += 1;
        }
    }
    Ok(counts)
}

/// Adds to the gradient of what an edge leads to.
fn deliver(
    collected: &mut HashMap<u64, Vec<Sum>>,
    gradients: &mut Gradients,
    edge: &Edge,
    contribution: Contribution,
) -> Result<()> {
    if let Kind::Parameter(parameter) = &edge.node.kind {
        return match parameter.upgrade() {
            Some(parameter) => gradients.open.entry(parameter.id()).or_default().add(contribution),
            None => Ok(()),
        };
    }
    let sums = collected
        .entry(edge.node.id)
        .or_insert_with(|| (0..edge.node.outputs).map(|_| Sum::default()).collect());
    sums[edge.output].add(contribution)
}

/// Latest first; the order is the same in every run, and so are sums.
struct Ready(Arc<Node>);

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.id.cmp(&other.0.id)
    }
}
impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}
impl Eq for Ready {}

/// A leaf whose gradient [`backward_from`] returns.
pub fn input(array: Array) -> Tensor {
    let node = Node::new("input", Vec::new(), 1, Kind::Input);
    Tensor::recorded(array, Some(Edge { node, output: 0 }))
}

/// Runs `body` without keeping its intermediates and runs it again when its gradient is asked for:
/// memory for time. Random numbers and modes are the same both times, and gradients are the same to
/// the last bit, but for an input that is used elsewhere, too: its sum has another order. Where
/// nothing in `body` can receive a gradient, it runs once.
///
/// # Errors
/// Those of `body`; in the backward pass also that `body` used a tensor with a history that is
/// neither in `inputs` nor a parameter.
pub fn checkpoint(
    inputs: &[&Tensor],
    body: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + 'static,
) -> Result<Vec<Tensor>> {
    let mode = mode::current();
    let generator = random::snapshot();
    let arrays: Vec<Array> = inputs.iter().map(|input| input.array()).collect();
    let constants: Vec<Tensor> = arrays.iter().cloned().map(Tensor::constant).collect();
    let (outputs, inner) = Unrecorded::watch(|| mode::no_grad(|| body(&constants)));
    let outputs = outputs?;
    let tracked: Vec<bool> = inputs.iter().map(|input| input.is_tracked()).collect();
    let inner = inner || outputs.iter().any(Tensor::is_tracked);
    let outputs: Vec<Array> = outputs.iter().map(Tensor::array).collect();
    if !mode.recording || !(inner || tracked.contains(&true)) {
        return Ok(outputs.into_iter().map(Tensor::constant).collect());
    }
    let again = move |grads: &[Option<Array>], gradients: &mut Gradients| {
        let first = NEXT_NODE.load(Ordering::Relaxed);
        let leaf = |(array, tracked)| if tracked { input(array) } else { Tensor::constant(array) };
        let leaves: Vec<Tensor> = arrays.into_iter().zip(tracked).map(leaf).collect();
        let outputs = mode::scope(mode, || random::resume(generator, || body(&leaves)))?;
        let roots: Vec<(Tensor, Array)> = outputs
            .into_iter()
            .zip(grads)
            .filter_map(|(output, grad)| grad.clone().map(|grad| (output, grad)))
            .collect();
        walk(&roots, &leaves, gradients, first).map(whole)
    };
    Ok(attach("checkpoint", inputs, outputs, Box::new(again)))
}

/// Watches for operations on tracked tensors that are not recorded.
struct Unrecorded {
    before: bool,
}

thread_local! {
    static UNRECORDED: Cell<bool> = const { Cell::new(false) };
}

impl Unrecorded {
    /// Whether `body` had any. One that watches from outside sees them, too.
    fn watch<T>(body: impl FnOnce() -> T) -> (T, bool) {
        let watch = Self { before: UNRECORDED.replace(false) };
        let value = body();
        let seen = UNRECORDED.get();
        drop(watch);
        (value, seen)
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        UNRECORDED.set(self.before || UNRECORDED.get());
    }
}
