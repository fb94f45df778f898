//! `hssl embed`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hssl_datasets::EvalTransform;
use hssl_engine::base::{BaseModel, weights_of};
use hssl_engine::embed::{Embedding, embed};
use hssl_engine::evaluate::loader_threads;
use hssl_engine::events::Observer;
use hssl_engine::{Error, device};

use crate::options::Sets;
use crate::progress::{INTERRUPTED, Progress};
use crate::session::{Session, run_folder, use_threads};
use crate::table::grouped;

/// Write the features of images to a safetensors file
///
/// `features` (n, C) f32, `labels` (n) i64 and, with --tokens, `tokens` (n, N, C) f32; rows are in
/// the data set's order: class folders sorted by name, files sorted by name.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl embed runs/a --data cifar10#test --out test.safetensors
  hssl embed configs/imagenet/dino_vit_small_convnext.toml --weights timm.safetensors \\
    --data imagefolder:photos --out f.safetensors
  hssl embed runs/a --data generated:shapes#val --resize 0 --crop 0 --tokens --out f.safetensors")]
pub struct Embed {
    /// Configuration file, or the folder of a run
    config: PathBuf,
    #[command(flatten)]
    sets: Sets,
    /// Weights of the backbone with timm's (ResNet: torchvision's) names; without them, the run's
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The images: a data SPEC, relative to this folder
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// Short side after the resize; 0 keeps each image's size [default: eval.resize]
    #[arg(long, value_name = "N")]
    resize: Option<usize>,
    /// Side of the central crop; 0 keeps the whole image [default: eval.crop]
    #[arg(long, value_name = "N")]
    crop: Option<usize>,
    /// Write the patch tokens too
    #[arg(long)]
    tokens: bool,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Embed {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let plugins = session.plugins(Some(&self.config))?;
        let resolved = session.resolve(&self.config, &self.sets.sets, &plugins)?;
        use_threads(resolved.config.train.threads);
        let config = &resolved.config;
        let weights = self.weights.or_else(|| weights_of(&run_folder(&self.config)?));
        let Some(weights) = weights else {
            anyhow::bail!(
                "{} has no trained weights; name some with --weights FILE, or name a run's folder",
                self.config.display()
            )
        };
        let device = device::select(&config.train.device)?;
        let embedding = Embedding {
            dataset: hssl_datasets::open(&self.data, &session.roots(Some(&resolved)))?,
            transform: EvalTransform {
                resize: self.resize.unwrap_or(config.eval.resize),
                // The image's own size is asked for: nothing is cut off it unless that is too.
                crop: self.crop.unwrap_or(if self.resize == Some(0) {
                    0
                } else {
                    config.eval.crop
                }),
                mean: config.views.mean,
                std: config.views.std,
                interpolation: config.views.interpolation,
            },
            batch_size: config.eval.batch_size,
            threads: loader_threads(config.data.threads),
            tokens: self.tokens,
        };
        let mut base = BaseModel::build(config, &plugins, &device, Some(&weights))?;
        let progress = Progress::new(session).listen()?;
        let images = match embed(&mut base, &embedding, &self.out, &progress) {
            Err(Error::Training(_)) if progress.cancelled() => {
                progress.finish();
                session.say("stopped; nothing was written");
                return Ok(ExitCode::from(INTERRUPTED));
            }
            images => images?,
        };
        progress.finish();
        anstream::println!("{}  {} images", self.out.display(), grouped(images));
        Ok(ExitCode::SUCCESS)
    }
}
