//! Auxiliary heads: blocks on the base's map, or a network beside the base.

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{
    BackboneSetup, BackboneSpec, Capability, Edge, Features, HeadInput, HeadSpec, Kind, Request,
};
use hssl_plugin_api::wire::Envelope;
use hssl_tensor::Tensor;

use super::builder::{Builder, ForwardServices};
use super::norm::Norm;
use crate::config::{Connection, HeadConfig};
use crate::error::{Error, Result};
use crate::plugin::{Instance, export, import, instantiate};
use crate::supervision;

/// An auxiliary head.
pub(super) struct Head {
    pub name: String,
    /// Channels of its output.
    pub width: usize,
    /// Blocks that stochastic depth counts.
    pub blocks: usize,
    /// Pixels per cell of its map, if that is not the base's.
    pub stride: Option<usize>,
    instance: Instance,
    attachment: Attachment,
}

/// What a head runs on.
enum Attachment {
    /// The base's last map.
    Map {
        /// Rows and columns, if it takes no others.
        grid: Option<[usize; 2]>,
        /// Made if the supervision graph names this head as a branch of its own.
        norm: Option<Norm>,
    },
    /// The image. Its pooling and norms are its own.
    Image {
        /// The side of images, if it takes no others.
        side: Option<usize>,
        /// The side of crops in training, if it sits out others.
        trained_side: Option<usize>,
    },
}

impl Head {
    /// Builds a head of either connection. `input` is the base's map, `crop` the side of global crops.
    pub(super) fn build(
        builder: &mut Builder<'_>,
        (name, config): (&str, &HeadConfig),
        edges: &[Edge],
        input: HeadInput,
        crop: usize,
    ) -> Result<Self> {
        builder.trained = supervision::trains_head(edges, name);
        match config.connection {
            Connection::Serial => Self::on_map(builder, (name, config), edges, input),
            Connection::Parallel => Self::on_image(builder, (name, config), crop, None),
            Connection::ParallelGlobal => Self::on_image(builder, (name, config), crop, Some(crop)),
        }
    }

    fn on_map(
        builder: &mut Builder<'_>,
        (name, config): (&str, &HeadConfig),
        edges: &[Edge],
        input: HeadInput,
    ) -> Result<Self> {
        let scope = format!("heads.{name}");
        let request = Envelope::new(&serde_json::json!({
            "config": config.options,
            "store": builder.store(),
            "scope": scope,
            "input": input,
        }))?;
        let registry = builder.registry;
        let mut instance = instantiate(registry, Kind::Head, &config.plugin, &request, builder)?;
        let HeadSpec { width, blocks, fixed_grid } = spec(&mut instance)?;
        builder.trained = supervision::trains(edges, name);
        let norm = || Norm::new(builder, &format!("{scope}.norm"), width);
        let norm = supervision::names(edges, name).then(norm).transpose()?;
        let attachment = Attachment::Map { grid: fixed_grid.then_some(input.grid), norm };
        Ok(Self { name: name.to_owned(), width, blocks, stride: None, instance, attachment })
    }

    fn on_image(
        builder: &mut Builder<'_>,
        (name, config): (&str, &HeadConfig),
        crop: usize,
        trained_side: Option<usize>,
    ) -> Result<Self> {
        let request = Envelope::new(&serde_json::json!({
            "config": config.options,
            "store": builder.store(),
            "scope": format!("heads.{name}"),
            "backbone": BackboneSetup::default(),
        }))?;
        let registry = builder.registry;
        let plugin = &config.plugin;
        let capabilities = &registry.component(Kind::Backbone, plugin)?.manifest.capabilities;
        let any_size = capabilities.contains(&Capability::AnySize);
        let mut instance = instantiate(registry, Kind::Backbone, plugin, &request, builder)?;
        let spec: BackboneSpec = spec(&mut instance)?;
        let (image_size, stride) = (spec.image_size, Some(stride(&spec)));
        if !any_size && image_size != crop {
            return Err(Error::Composition(format!(
                "the parallel head {name:?} is a {plugin} for images of {image_size}, and takes no \
                 others; views.global_crops_size is {crop}: give [heads.{name}] that size"
            )));
        }
        let side = (!any_size).then_some(image_size);
        let attachment = Attachment::Image { side, trained_side };
        let BackboneSpec { width, blocks, .. } = spec;
        Ok(Self { name: name.to_owned(), width, blocks, stride, instance, attachment })
    }

    /// Scope of its parameters.
    pub(super) fn scope(&self) -> String {
        format!("heads.{}.", self.name)
    }

    /// Whether it runs on the base's map.
    pub(super) fn is_serial(&self) -> bool {
        matches!(self.attachment, Attachment::Map { .. })
    }

    pub(super) fn set_drop_path(&mut self, rates: &[f64]) -> Result<()> {
        let request = Envelope::new(&serde_json::json!({ "rates": rates }))?;
        let call = (method::component::DROP_PATH, "set_drop_path");
        self.instance.call(call, &request, &mut ForwardServices)?;
        Ok(())
    }

    /// A head on the base's map (B, H, W, C): its own map, or none if it does not take this grid.
    pub(super) fn forward_map(&mut self, map: &Tensor, training: bool) -> Result<Option<Tensor>> {
        if let Attachment::Map { grid: Some(grid), .. } = &self.attachment
            && map.dims().get(1..3) != Some(&grid[..])
        {
            return Ok(None);
        }
        let request =
            Envelope::new(&serde_json::json!({ "training": training }))?.with("map", &export(map));
        let call = (method::component::FORWARD, "forward");
        let reply = self.instance.call(call, &request, &mut ForwardServices)?;
        Ok(Some(import(&reply.tensor("map")?)))
    }

    /// What its own branch makes of its map.
    pub(super) fn tail(&self, map: &Tensor) -> Result<Features> {
        match &self.attachment {
            Attachment::Map { norm: Some(norm), .. } => norm.tail(map),
            _ => Err(not_a_branch(&self.name)),
        }
    }

    /// A head beside the base on images (B, 3, H, W), or nothing if it does not take this size.
    pub(super) fn forward_image(
        &mut self,
        images: &Tensor,
        training: bool,
    ) -> Result<Option<Features>> {
        let Attachment::Image { side, trained_side } = self.attachment else { return Ok(None) };
        let only = side.or(trained_side.filter(|_| training));
        if only.is_some_and(|side| images.dims().get(2..) != Some(&[side, side][..])) {
            return Ok(None);
        }
        let request = Request { training, ..Request::default() };
        let request = Envelope::new(&request)?.with("images", &export(images));
        let call = (method::component::FORWARD, "forward");
        let reply = self.instance.call(call, &request, &mut ForwardServices)?;
        Ok(Some(Features::from_envelope(&reply, "")?))
    }
}

/// A component's account of itself.
pub(super) fn spec<T: serde::de::DeserializeOwned>(instance: &mut Instance) -> Result<T> {
    let call = (method::component::SPEC, "spec");
    Ok(instance.call(call, &Envelope::default(), &mut ForwardServices)?.read()?)
}

/// Pixels per cell of a backbone's last map.
pub(super) fn stride(spec: &BackboneSpec) -> usize {
    spec.stages.last().map_or(1, |stage| stage.stride.max(1))
}

pub(super) fn not_a_branch(name: &str) -> Error {
    Error::Composition(format!("no edge of the supervision graph names the branch {name:?}"))
}
