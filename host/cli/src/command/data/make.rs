//! `hssl data make`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use hssl_datasets::{open, write_to};

use crate::session::Session;
use crate::table::grouped;

/// Write the generated set, or any other, to disk as class folders of PNGs
///
/// The splits of the generated set become folders of DIR, so that `imagefolder:DIR#train` reads
/// them back.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl data make shapes
  hssl data make shapes --n 1000 --size 64 --split train --split val
  hssl data make cifar --data cifar10#test@1000")]
pub struct Make {
    /// A new or an empty folder
    dir: PathBuf,
    /// The set to write instead of the generated one: a data SPEC, written to DIR itself
    #[arg(long, value_name = "SPEC", conflicts_with_all = ["n", "size", "seed", "split"])]
    data: Option<String>,
    /// Images in each split [default: 4096 in train, 1024 in the others]
    #[arg(long, value_name = "N")]
    n: Option<usize>,
    /// Side of an image in pixels
    #[arg(long, value_name = "N", default_value_t = 32)]
    size: usize,
    /// Seed of the set
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The splits to write
    #[arg(long, value_name = "NAME", default_values = ["train", "val"])]
    split: Vec<String>,
}

impl Make {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let parts: Vec<(PathBuf, String)> = match &self.data {
            Some(spec) => vec![(self.dir.clone(), spec.clone())],
            None => {
                let n = self.n.map(|n| format!("&n={n}")).unwrap_or_default();
                let (size, seed) = (self.size, self.seed);
                let spec =
                    |split: &String| format!("generated:shapes?size={size}&seed={seed}{n}#{split}");
                self.split.iter().map(|split| (self.dir.join(split), spec(split))).collect()
            }
        };
        // What cannot be made is told before anything is written.
        let roots = session.roots(None);
        let mut sets = Vec::new();
        for (folder, spec) in parts {
            if folder.read_dir().is_ok_and(|mut files| files.next().is_some()) {
                bail!("{} is not empty; name a new or an empty folder", folder.display());
            }
            sets.push((folder, open(&spec, &roots)?));
        }
        for (folder, dataset) in sets {
            let written = write_to(dataset.as_ref(), &folder)?;
            anstream::println!("imagefolder:{}  {} images", folder.display(), grouped(written));
        }
        Ok(ExitCode::SUCCESS)
    }
}
