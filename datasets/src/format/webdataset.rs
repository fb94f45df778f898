//! WebDataset shards: tar archives in which files that share a key are one sample, `key.jpg` with
//! `key.cls` (the label as a decimal number).

use crate::dataset::{Fingerprint, counts};
use crate::decode::{decode, is_image_name};
use crate::tree::FileTree;
use crate::{Dataset, Error, Result, Sample};

pub(crate) struct WebDataset {
    tree: FileTree,
    classes: Vec<String>,
    /// Member, label; in the order of shards and members.
    images: Vec<(String, Option<u32>)>,
}

impl WebDataset {
    /// True if the archive looks like a shard rather than an image folder.
    pub(crate) fn recognises(tree: &FileTree) -> bool {
        tree.paths().any(|path| path.ends_with(".cls"))
    }

    pub(crate) fn open(tree: FileTree) -> Result<Self> {
        let mut images = Vec::new();
        let mut highest = None;
        for path in tree.paths_as_stored() {
            if !is_image_name(path) {
                continue;
            }
            let label_file = format!("{}.cls", key(path));
            let label = if tree.contains(&label_file) {
                let text = tree.read_text(&label_file)?;
                let label = text.trim().parse::<u32>().map_err(|_| Error::Format {
                    file: tree.name(&label_file),
                    found: format!("`{}`", text.trim()),
                    expected: "a label: a decimal number from 0".into(),
                })?;
                highest = highest.max(Some(label));
                Some(label)
            } else {
                None
            };
            images.push((path.to_owned(), label));
        }
        if images.is_empty() {
            return Err(Error::Layout {
                place: tree.place().into(),
                found: "no images".into(),
                expected: "samples of KEY.jpg (or another image) and KEY.cls".into(),
            });
        }
        let classes = highest.map_or(Vec::new(), |h| (0..=h).map(|c| c.to_string()).collect());
        Ok(Self { tree, classes, images })
    }
}

/// WebDataset's key: the path up to the first dot of the file's name.
fn key(path: &str) -> &str {
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[name_at..].find('.') {
        Some(dot) => &path[..name_at + dot],
        None => path,
    }
}

impl Dataset for WebDataset {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<i64> {
        self.images[index].1.map(i64::from)
    }

    fn name(&self, index: usize) -> String {
        self.tree.name(&self.images[index].0)
    }

    fn load(&self, index: usize) -> Result<Sample> {
        let (path, label) = &self.images[index];
        let image = decode(&self.tree.read(path)?, &self.tree.name(path))?;
        Ok(Sample::labelled(image, label.map(i64::from)))
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new("webdataset");
        for (path, label) in &self.images {
            fingerprint.add(path, self.tree.size(path), label.map(i64::from));
        }
        fingerprint.finish()
    }

    fn describe(&self) -> String {
        format!("{}: {}", self.tree.place(), counts(self.len(), self.classes.len()))
    }
}
