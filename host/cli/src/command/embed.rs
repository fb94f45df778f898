//! `hssl embed`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use hssl_datasets::{EvalTransform, open};
use hssl_engine::base::{BaseModel, weights_of};
use hssl_engine::device;
use hssl_engine::embed::{Embedding, embed};
use hssl_engine::evaluate::loader_threads;

use crate::Global;
use crate::session::{Session, limit_threads};
use crate::watch::Watcher;

/// Write the features of images to a safetensors file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hssl embed runs/a --data cifar10#test --out features.safetensors
  hssl embed vit.toml --weights vit_small.safetensors --data imagefolder:photos --resize 0 --tokens --out f.safetensors

The file holds features f32 [n, C] and labels i64 [n], with --tokens also tokens f32 [n, N, C]; rows are
in the data set's order. Weights carry timm's names (torchvision's for ResNet), with or without a
classifier.")]
pub struct Args {
    /// Configuration file, or the folder of a run.
    #[arg(value_name = "CONFIG-or-RUN")]
    config: PathBuf,
    /// Weights of the base model; without them a run's own, or untrained ones.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// The images, as a data SPEC.
    #[arg(long)]
    data: String,
    /// Short side after resizing; 0 feeds images at their own size.
    #[arg(long)]
    resize: Option<usize>,
    /// Side of the centre crop; 0: none.
    #[arg(long)]
    crop: Option<usize>,
    /// Write the patch tokens too.
    #[arg(long)]
    tokens: bool,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// Change a value of the configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Embeds.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let session = Session::open(global, args.config.parent())?;
    let chosen = session.choose(&args.config, &args.sets)?;
    let config = &chosen.resolved.config;
    limit_threads(config.train.threads)?;
    let device = device::select(&config.train.device)?;
    let weights = args.weights.clone().or_else(|| chosen.run.as_ref().and_then(weights_of));
    if weights.is_none() {
        tracing::warn!("no weights: the features are those of an untrained model");
    }
    let mut base = BaseModel::build(config, &session.registry, &device, weights.as_deref())?;
    let mut roots = session.roots(&chosen.resolved);
    // What is typed in a shell starts at the shell's folder.
    roots.relative_to = std::env::current_dir()?;
    let resize = args.resize.unwrap_or(config.eval.resize);
    let crop = match (args.crop, args.resize) {
        (Some(crop), _) => crop,
        (None, Some(0)) => 0,
        (None, _) => config.eval.crop,
    };
    let embedding = Embedding {
        dataset: open(&args.data, &roots)?,
        transform: EvalTransform {
            resize,
            crop,
            mean: config.views.mean,
            std: config.views.std,
            interpolation: config.views.interpolation,
        },
        batch_size: config.eval.batch_size,
        threads: loader_threads(config.data.threads),
        tokens: args.tokens,
    };
    let watcher = Watcher::new(global.quiet)?;
    let count = embed(&mut base, &embedding, &args.out, &watcher)?;
    watcher.finish();
    anstream::println!("{count} images: {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}
