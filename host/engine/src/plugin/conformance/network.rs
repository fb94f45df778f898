//! What backbones and heads promise.

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{
    BackboneSetup, BackboneSpec, Capability, Features, HeadInput, HeadSpec, KeptRequest, Request,
    Tokens,
};
use hssl_plugin_api::wire::Envelope;
use hssl_tensor::{Array, DType, Device, Tensor, backward, mode, ops};
use serde_json::{Map, Value, json};

use super::bench::{Bench, WIDTH, expect, expect_gradients, noise, values};
use super::{Trial, Verdict};
use crate::plugin::{Instance, export, import};

/// Images in a batch: more than one, so that a mix-up between them shows.
const BATCH: usize = 2;
/// Side of the map that heads are tried with.
const GRID: usize = 4;
/// How far an image's features may move with what else is in its batch.
const TOLERANCE: f64 = 1e-4;

/// What a backbone is made from.
pub(super) fn backbone_request(options: Map<String, Value>, mask_token: bool) -> Value {
    json!({
        "config": options,
        "store": "student",
        "scope": "backbone",
        "backbone": BackboneSetup { mask_token },
    })
}

/// What a head is made from.
pub(super) fn head_request(options: Map<String, Value>) -> Value {
    let input = HeadInput { width: WIDTH, grid: [GRID, GRID] };
    json!({ "config": options, "store": "student", "scope": "heads.aux", "input": input })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Runs `body` as the host evaluates: nothing is recorded, layers do not act as in training.
fn evaluating<T>(body: impl FnOnce() -> T) -> T {
    mode::scope(mode::Mode { recording: false, training: false, ..mode::current() }, body)
}

/// Runs `body` as the host trains.
pub(super) fn training<T>(body: impl FnOnce() -> T) -> T {
    mode::scope(mode::Mode { recording: true, training: true, ..mode::current() }, body)
}

/// Largest absolute difference, as a share of the largest absolute value.
fn difference(a: &Tensor, b: &Tensor) -> Result<f64, String> {
    let (a, b) = (values(a).map_err(text)?, values(b).map_err(text)?);
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let scale = largest(&mut a.iter().map(|x| x.abs())).max(1e-6);
    Ok(largest(&mut a.iter().zip(&b).map(|(x, y)| (x - y).abs())) / scale)
}

/// A scalar that every element of the tensors moves.
fn weighted_sum(tensors: &[Tensor]) -> Result<Tensor, String> {
    let mut total: Option<Tensor> = None;
    for tensor in tensors {
        let weights = noise(&tensor.dims()).map_err(text)?;
        let term =
            ops::mean(&ops::mul(tensor, &weights).map_err(text)?, &[], false).map_err(text)?;
        total = Some(match total {
            None => term,
            Some(sum) => ops::add(&sum, &term).map_err(text)?,
        });
    }
    total.ok_or_else(|| "there is no output".into())
}

/// Names and shapes of the student's parameters, in order.
fn parameters(bench: &Bench) -> Vec<(String, Vec<usize>)> {
    let named = bench.stores.student.iter();
    named
        .map(|parameter| (parameter.name().to_owned(), parameter.value().dims().to_vec()))
        .collect()
}

/// A backbone and what it said of itself.
struct Backbone {
    instance: Instance,
    spec: BackboneSpec,
    bench: Bench,
}

impl Backbone {
    fn forward(
        &mut self,
        images: &Tensor,
        request: &Request,
        mask: Option<&Tensor>,
    ) -> Result<Features, String> {
        let envelope = Envelope::new(request)
            .map_err(text)?
            .with("images", &export(images))
            .with_some("mask", mask.map(export).as_ref());
        let call = (method::component::FORWARD, "forward");
        let reply = self.instance.call(call, &envelope, &mut self.bench).map_err(text)?;
        Features::from_envelope(&reply, "").map_err(text)
    }

    /// Tokens of these patches of every image, with the output of block `layer`.
    fn forward_kept(
        &mut self,
        images: &Tensor,
        kept: &[usize],
        layer: usize,
    ) -> Result<Tokens, String> {
        let ids: Vec<i64> = (0..BATCH).flat_map(|_| kept.iter().map(|id| *id as i64)).collect();
        let ids = Array::from_vec(ids, (BATCH, kept.len()), &Device::Cpu).map_err(text)?;
        let request = KeptRequest { training: false, layers: vec![layer] };
        let envelope = Envelope::new(&request)
            .map_err(text)?
            .with("images", &export(images))
            .with("kept", &export(&Tensor::constant(ids)));
        let call = (method::component::FORWARD_KEPT, "forward_kept");
        let reply = self.instance.call(call, &envelope, &mut self.bench).map_err(text)?;
        Tokens::from_envelope(&reply).map_err(text)
    }

    fn norm(&mut self, tokens: &hssl_plugin_api::Tensor) -> Result<Tensor, String> {
        let envelope = Envelope::default().with("tokens", tokens);
        let call = (method::component::NORM, "norm");
        let reply = self.instance.call(call, &envelope, &mut self.bench).map_err(text)?;
        Ok(import(&reply.tensor("tokens").map_err(text)?))
    }

    fn stride(&self) -> usize {
        self.spec.stages.last().map_or(1, |stage| stage.stride.max(1))
    }

    fn images(&self, side: usize) -> Result<Tensor, String> {
        noise(&[BATCH, 3, side, side]).map_err(text)
    }

    /// Sizes of the map for square images.
    fn map(&self, side: usize) -> [usize; 4] {
        let cells = side.div_ceil(self.stride());
        [BATCH, cells, cells, self.spec.width]
    }

    /// Image-level vector and maps have the promised sizes.
    fn expect_features(&self, features: &Features, side: usize) -> Verdict {
        let map = self.map(side);
        expect("the image-level vector", &import(&features.image), &[BATCH, self.spec.width])?;
        expect("the map", &import(&features.map), &map)?;
        match &features.pre_norm {
            Some(pre_norm) => expect("the map before the norm", &import(pre_norm), &map),
            None => Ok(()),
        }
    }
}

impl Trial {
    /// Tries a backbone; false if it cannot even be made.
    pub(super) fn backbone(&mut self) -> bool {
        let capabilities = self.component.manifest.capabilities.clone();
        let mask_token = capabilities.contains(&Capability::MaskReplace);
        let mut bench = Bench::default();
        let request = self.request(self.options.clone());
        let Some(mut instance) = self.made(&request, &mut bench) else { return false };
        let asked =
            instance.call((method::component::SPEC, "spec"), &Envelope::default(), &mut bench);
        let spec = asked.map_err(text).and_then(|reply| reply.read::<BackboneSpec>().map_err(text));
        let plausible = spec.as_ref().map_err(Clone::clone).and_then(plausible);
        if !self.record("its spec holds together", plausible) {
            return true;
        }
        let Ok(spec) = spec else { return true };
        let mut backbone = Backbone { instance, spec, bench };
        let side = backbone.spec.image_size;

        let shapes = evaluating(|| {
            let features = backbone.forward(&backbone.images(side)?, &Request::default(), None)?;
            backbone.expect_features(&features, side)
        });
        if !self.record("its features have the sizes of its spec", shapes) {
            return true;
        }
        self.record("evaluation is repeatable", evaluating(|| repeatable(&mut backbone)));
        self.record(
            "an image's features do not depend on the rest of its batch",
            evaluating(|| independent(&mut backbone)),
        );
        self.record(
            "every trainable parameter gets a finite gradient",
            gradients(&mut backbone, mask_token),
        );
        let again = self.made_again(&request, &backbone.bench);
        self.record("its parameters are the same each time, in order", again);
        for capability in capabilities {
            self.capability(&mut backbone, capability);
        }
        true
    }

    fn made_again(&self, request: &Value, first: &Bench) -> Verdict {
        let mut bench = Bench::default();
        self.instance(request, &mut bench)?;
        let (before, after) = (parameters(first), parameters(&bench));
        match before.iter().zip(&after).find(|(a, b)| a != b) {
            None if before.len() == after.len() => Ok(()),
            None => Err(format!("{} parameters, then {}", before.len(), after.len())),
            Some((a, b)) => Err(format!("{a:?}, then {b:?} in its place")),
        }
    }

    fn capability(&mut self, backbone: &mut Backbone, capability: Capability) {
        let promise = format!("it can {}", capability.phrase());
        let verdict = evaluating(|| match capability {
            Capability::MaskReplace => Some(replaces_masked(backbone)),
            Capability::AnySize => Some(other_sizes(backbone)),
            Capability::Attention => Some(attention(backbone)),
            Capability::Layers => Some(layers(backbone)),
            Capability::Stages => Some(stages(backbone)),
            Capability::DropTokens => Some(drops_tokens(backbone)),
            Capability::ClassToken => None,
        });
        match verdict {
            Some(verdict) => {
                self.record(promise, verdict);
            }
            None => self.not_checked(promise, "no request of this interface version shows it"),
        }
    }

    /// Tries a head; false if it cannot even be made.
    pub(super) fn head(&mut self) -> bool {
        let mut bench = Bench::default();
        let request = self.request(self.options.clone());
        let Some(mut instance) = self.made(&request, &mut bench) else { return false };
        let asked =
            instance.call((method::component::SPEC, "spec"), &Envelope::default(), &mut bench);
        let spec: HeadSpec = match asked.map_err(text).and_then(|reply| reply.read().map_err(text))
        {
            Ok(spec) => spec,
            Err(error) => {
                self.record("its spec holds together", Err(error));
                return true;
            }
        };
        let map = |grid: usize| noise(&[BATCH, grid, grid, WIDTH]).map_err(text);
        let shape = |grid: usize| [BATCH, grid, grid, spec.width];

        let sizes = evaluating(|| {
            let output = forward(&mut instance, &mut bench, &map(GRID)?, false)?;
            expect("its output", &output, &shape(GRID))
        });
        if !self.record("its output has its input's grid and its spec's width", sizes) {
            return true;
        }
        let repeated = evaluating(|| {
            let input = map(GRID)?;
            let mut run = || forward(&mut instance, &mut bench, &input, false);
            same(&run()?, &run()?)
        });
        self.record("evaluation is repeatable", repeated);
        let other_grid = evaluating(|| {
            let output = forward(&mut instance, &mut bench, &map(GRID / 2)?, false)?;
            expect("its output", &output, &shape(GRID / 2))
        });
        let promise = "it takes maps of another grid";
        if spec.fixed_grid {
            self.not_checked(promise, "its spec says that its grid is fixed");
        } else {
            self.record(promise, other_grid);
        }
        let gradients = training(|| {
            let output = forward(&mut instance, &mut bench, &map(GRID)?, true)?;
            if bench.stores.student.trainable_elements() == 0 {
                return Ok(());
            }
            let gradients = backward(&weighted_sum(&[output])?).map_err(text)?;
            expect_gradients(&bench.stores.student, &gradients)
        });
        self.record("every trainable parameter gets a finite gradient", gradients);
        let again = self.made_again(&request, &bench);
        self.record("its parameters are the same each time, in order", again);
        true
    }
}

/// A head's map of a map.
fn forward(
    head: &mut Instance,
    bench: &mut Bench,
    map: &Tensor,
    training: bool,
) -> Result<Tensor, String> {
    let body = json!({ "training": training });
    let request = Envelope::new(&body).map_err(text)?.with("map", &export(map));
    let reply =
        head.call((method::component::FORWARD, "forward"), &request, bench).map_err(text)?;
    Ok(import(&reply.tensor("map").map_err(text)?))
}

fn plausible(spec: &BackboneSpec) -> Verdict {
    let Some(last) = spec.stages.last() else {
        return Err("it has no stage; the last stage is the output map's".into());
    };
    if last.width != spec.width {
        return Err(format!("its width is {}, its last stage's {}", spec.width, last.width));
    }
    if spec.width == 0 || spec.stages.iter().any(|stage| stage.stride == 0 || stage.width == 0) {
        return Err(format!("a width or stride is 0: {spec:?}"));
    }
    if spec.stages.windows(2).any(|pair| pair[0].stride > pair[1].stride) {
        return Err(format!("its stages are not ordered from fine to coarse: {:?}", spec.stages));
    }
    if spec.image_size == 0 || !spec.image_size.is_multiple_of(last.stride) {
        return Err(format!(
            "its image size {} is not a multiple of its stride {}",
            spec.image_size, last.stride
        ));
    }
    Ok(())
}

fn same(a: &Tensor, b: &Tensor) -> Verdict {
    let (a, b) = (values(a).map_err(text)?, values(b).map_err(text)?);
    match a.iter().zip(&b).position(|(x, y)| x.to_bits() != y.to_bits()) {
        None => Ok(()),
        Some(at) => Err(format!("element {at} is {} once and {} the other time", a[at], b[at])),
    }
}

fn repeatable(backbone: &mut Backbone) -> Verdict {
    let images = backbone.images(backbone.spec.image_size)?;
    let first = backbone.forward(&images, &Request::default(), None)?;
    let second = backbone.forward(&images, &Request::default(), None)?;
    same(&import(&first.map), &import(&second.map))
}

fn independent(backbone: &mut Backbone) -> Verdict {
    let images = backbone.images(backbone.spec.image_size)?;
    let together = backbone.forward(&images, &Request::default(), None)?;
    let first = ops::narrow(&images, 0, 0, 1).map_err(text)?;
    let alone = backbone.forward(&first, &Request::default(), None)?;
    let expected = ops::narrow(&import(&together.map), 0, 0, 1).map_err(text)?;
    let moved = difference(&expected, &import(&alone.map))?;
    if moved > TOLERANCE {
        return Err(format!("alone, the first image's map is another by {moved:.1e}"));
    }
    Ok(())
}

fn gradients(backbone: &mut Backbone, mask_token: bool) -> Verdict {
    training(|| {
        let side = backbone.spec.image_size;
        let images = backbone.images(side)?;
        let mask = if mask_token { Some(half_masked(backbone)?) } else { None };
        let request = Request { training: true, ..Request::default() };
        let features = backbone.forward(&images, &request, mask.as_ref())?;
        let loss = weighted_sum(&[import(&features.image), import(&features.map)])?;
        let gradients = backward(&loss).map_err(text)?;
        expect_gradients(&backbone.bench.stores.student, &gradients)
    })
}

/// A mask (B, N) of every other position.
fn half_masked(backbone: &Backbone) -> Result<Tensor, String> {
    let [batch, rows, columns, _] = backbone.map(backbone.spec.image_size);
    let len = batch * rows * columns;
    let bits: Vec<u8> = (0..len).map(|i| (i % 2) as u8).collect();
    let array = Array::from_vec(bits, (batch, rows * columns), &Device::Cpu).map_err(text)?;
    debug_assert_eq!(array.dtype(), DType::U8);
    Ok(Tensor::constant(array))
}

fn other_sizes(backbone: &mut Backbone) -> Verdict {
    for more in [1, 2] {
        let side = backbone.spec.image_size + more * backbone.stride();
        let images = backbone.images(side)?;
        let features = backbone.forward(&images, &Request::default(), None)?;
        backbone.expect_features(&features, side)?;
    }
    Ok(())
}

fn replaces_masked(backbone: &mut Backbone) -> Verdict {
    let side = backbone.spec.image_size;
    let mask = half_masked(backbone)?;
    let images = backbone.images(side)?;
    let plain = backbone.forward(&images, &Request::default(), None)?;
    let masked = backbone.forward(&images, &Request::default(), Some(&mask))?;
    backbone.expect_features(&masked, side)?;
    if difference(&import(&plain.map), &import(&masked.map))? == 0.0 {
        return Err("a mask changes nothing".into());
    }
    Ok(())
}

/// All patches are what the whole map is; some of them come in the order in which they were asked for.
fn drops_tokens(backbone: &mut Backbone) -> Verdict {
    let side = backbone.spec.image_size;
    let [batch, rows, columns, width] = backbone.map(side);
    let (patches, last) = (rows * columns, backbone.spec.blocks.saturating_sub(1));
    let images = backbone.images(side)?;
    let whole = backbone.forward(&images, &Request::default(), None)?;
    let flat =
        |tensor: &Tensor| ops::reshape(tensor, &[batch as i64, -1, width as i64]).map_err(text);
    let of_patches = |tokens: &Tensor, count: usize| {
        let prefix = tokens.dims().get(1).map_or(0, |n| n.saturating_sub(count));
        ops::narrow(tokens, 1, prefix, count).map_err(text)
    };
    let all: Vec<usize> = (0..patches).collect();
    let found = backbone.forward_kept(&images, &all, last)?;
    let moved =
        difference(&flat(&import(&whole.map))?, &of_patches(&import(&found.normed), patches)?)?;
    if moved > TOLERANCE {
        return Err(format!("of all patches, the tokens differ from the map by {moved:.1e}"));
    }
    let [layer] = &found.layers[..] else {
        return Err(format!("one block's output was asked for, {} came", found.layers.len()));
    };
    let moved = difference(&import(&found.pre_norm), &import(layer))?;
    let renormed = backbone.norm(layer)?;
    if moved > TOLERANCE || difference(&import(&found.normed), &renormed)? > TOLERANCE {
        return Err("the last block's output, normed, is not what is returned as normed".into());
    }
    let some: Vec<usize> = (0..patches.div_ceil(2)).collect();
    let reversed: Vec<usize> = some.iter().rev().copied().collect();
    let there = import(&backbone.forward_kept(&images, &some, last)?.normed);
    let back = import(&backbone.forward_kept(&images, &reversed, last)?.normed);
    let (there, back) = (of_patches(&there, some.len())?, of_patches(&back, some.len())?);
    let moved = difference(&there, &ops::flip(&back, &[1]).map_err(text)?)?;
    if moved > TOLERANCE {
        return Err(format!("asked for in reverse order, tokens differ by {moved:.1e}"));
    }
    Ok(())
}

fn attention(backbone: &mut Backbone) -> Verdict {
    let side = backbone.spec.image_size;
    let request = Request { attention: true, ..Request::default() };
    let features = backbone.forward(&backbone.images(side)?, &request, None)?;
    let attention = features.attention.ok_or("it returned none when it was asked for")?;
    let attention = import(&attention);
    let [_, rows, columns, _] = backbone.map(side);
    match attention.dims()[..] {
        [BATCH, _, n, m] if n == m && n >= rows * columns => {}
        _ => {
            return Err(format!(
                "it has the shape {:?}; expected ({BATCH}, heads, N, N) with N at least {}",
                attention.dims(),
                rows * columns
            ));
        }
    }
    let sums = values(&ops::sum(&attention, &[-1], false).map_err(text)?).map_err(text)?;
    match sums.iter().find(|sum| (*sum - 1.0).abs() > 1e-3) {
        Some(sum) => Err(format!("a row of it adds up to {sum}, not to 1")),
        None => Ok(()),
    }
}

fn layers(backbone: &mut Backbone) -> Verdict {
    let side = backbone.spec.image_size;
    let asked = 2.min(backbone.spec.blocks.max(1));
    let request = Request { layers: asked, ..Request::default() };
    let features = backbone.forward(&backbone.images(side)?, &request, None)?;
    if features.layers.len() != asked {
        return Err(format!("{} layers were asked for, {} came", asked, features.layers.len()));
    }
    // Of a pyramid, the last blocks may lie in several stages.
    let widths = backbone.spec.stages.iter().map(|stage| stage.width);
    let widths: Vec<usize> = widths.chain([backbone.spec.width]).collect();
    features.layers.iter().try_for_each(|layer| {
        let layer = import(layer);
        let dims = layer.dims();
        let width = dims.last().copied().filter(|width| widths.contains(width));
        expect("an intermediate layer", &layer, &[BATCH, width.unwrap_or(backbone.spec.width)])
    })
}

fn stages(backbone: &mut Backbone) -> Verdict {
    let side = backbone.spec.image_size;
    let request = Request { stages: true, ..Request::default() };
    let features = backbone.forward(&backbone.images(side)?, &request, None)?;
    let promised = &backbone.spec.stages;
    if features.stages.len() != promised.len() {
        return Err(format!(
            "its spec has {} stages, {} came",
            promised.len(),
            features.stages.len()
        ));
    }
    for (stage, spec) in features.stages.iter().zip(promised) {
        let cells = side.div_ceil(spec.stride);
        let what = format!("the stage of stride {}", spec.stride);
        expect(&what, &import(stage), &[BATCH, cells, cells, spec.width])?;
    }
    Ok(())
}
