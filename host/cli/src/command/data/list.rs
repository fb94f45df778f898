//! `hssl data list`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hssl_datasets::{KnownSet, known};

use crate::session::Session;
use crate::table;

/// List the sets that are known by name, and whether they are there
///
/// Any other set is named by what it is: imagefolder:DIR, images:DIR, cifar10:DIR, cifar100:DIR,
/// tar:FILE, coco:DIR, segmentation:DIR; with #SPLIT and @PORTION (@0.1, @5000) behind it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl data list
  hssl --data-root ~/data data list --json")]
pub struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let root = session.roots(None).data_root;
        let place = |set: &KnownSet| {
            let root = root.as_ref().filter(|_| !set.archive.is_empty())?;
            [set.folder, set.archive].iter().map(|name| root.join(name)).find(|path| path.exists())
        };
        if self.json {
            let sets: Vec<_> = known()
                .iter()
                .map(|set| {
                    serde_json::json!({
                        "name": set.name, "description": set.description, "splits": set.splits,
                        "classes": set.classes, "image_size": set.image_size, "url": set.url,
                        "sha256": set.sha256, "path": place(set),
                    })
                })
                .collect();
            anstream::println!("{:#}", serde_json::Value::from(sets));
            return Ok(ExitCode::SUCCESS);
        }
        let mut rows = table::plain(["NAME", "SPLITS", "HERE", "WHAT"]);
        for set in known() {
            let here = if set.archive.is_empty() || place(set).is_some() { "yes" } else { "no" };
            rows.add_row([set.name, &set.splits.join(","), here, set.description]);
        }
        table::print(&rows);
        if root.is_none() {
            session.warning("no data folder is set; name one with --data-root or HSSL_DATA");
        }
        Ok(ExitCode::SUCCESS)
    }
}
