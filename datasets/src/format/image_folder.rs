//! One folder for each class, named after it: `train/tench/0001.jpg`.

use crate::dataset::{Fingerprint, counts};
use crate::decode::{decode, is_image_name};
use crate::error::suggestion;
use crate::tree::{FileTree, below, join};
use crate::{Dataset, Error, Result, Sample};

/// Folder names that are splits, never classes, where all subfolders have such names.
const SPLITS: [&str; 6] = ["train", "training", "val", "valid", "validation", "test"];

pub(crate) struct ImageFolder {
    tree: FileTree,
    classes: Vec<String>,
    /// Path in the tree, label.
    images: Vec<(String, Option<u32>)>,
}

impl ImageFolder {
    /// The classes below `split` of `tree` (or of the one folder that the tree holds).
    pub(crate) fn open(tree: FileTree, split: Option<&str>) -> Result<Self> {
        let root = root_of(&tree, split)?;
        let mut classes: Vec<String> = Vec::new();
        let mut images = Vec::new();
        let mut loose = 0;
        for path in tree.paths().filter(|path| is_image_name(path)) {
            let Some(rest) = below(path, &root) else { continue };
            let Some((class, _)) = rest.split_once('/') else {
                loose += 1;
                continue;
            };
            // The tree is sorted by whole paths, where `a-b/` comes before `a/`; classes are
            // sorted by their own names below.
            if classes.last().is_none_or(|last| last != class) {
                classes.push(class.to_owned());
            }
            images.push((path.to_owned(), None));
        }
        let place = if root.is_empty() {
            tree.place().to_owned()
        } else {
            format!("{} in {}", root, tree.place())
        };
        if images.is_empty() {
            return Err(no_images(&tree, &root, place, loose));
        }
        classes.sort_unstable();
        classes.dedup();
        if classes.iter().all(|class| SPLITS.contains(&class.as_str())) {
            return Err(Error::Layout {
                place,
                found: format!("splits ({}) instead of classes", classes.join(", ")),
                expected: format!("a split: add `#{}` to the data set's name", classes[0]),
            });
        }
        for (path, label) in &mut images {
            let class = below(path, &root).and_then(|rest| rest.split('/').next());
            let position =
                classes.binary_search_by(|known| known.as_str().cmp(class.unwrap_or("")));
            *label = position.ok().map(|position| position as u32);
        }
        images.sort_by_cached_key(|(path, label)| (*label, walk_order(path)));
        Ok(Self { tree, classes, images })
    }

    /// Every image below `split`, in no class.
    pub(crate) fn open_unlabelled(tree: FileTree, split: Option<&str>) -> Result<Self> {
        let root = root_of(&tree, split)?;
        let images: Vec<_> = tree
            .paths()
            .filter(|path| is_image_name(path) && below(path, &root).is_some())
            .map(|path| (path.to_owned(), None))
            .collect();
        if images.is_empty() {
            return Err(no_images(&tree, &root, tree.place().to_owned(), 0));
        }
        Ok(Self { tree, classes: Vec::new(), images })
    }
}

/// Order of a recursive walk: a folder's files by name, then its subfolders' by name.
fn walk_order(path: &str) -> (String, String) {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    (folder.to_owned(), file.to_owned())
}

/// The folder of the tree in which the classes lie.
fn root_of(tree: &FileTree, split: Option<&str>) -> Result<String> {
    let top = tree.wrapper();
    let Some(split) = split.map(|split| split.trim_matches('/')) else {
        // An archive's only folder is its wrapper, unless that is itself the only class.
        return Ok(top
            .filter(|top| tree.children(top).iter().any(|c| tree.has_folder(&join(top, c))))
            .unwrap_or_default());
    };
    let inside = top.as_deref().map(|top| join(top, split));
    for candidate in [Some(split.to_owned()), inside].into_iter().flatten() {
        if tree.has_folder(&candidate) {
            return Ok(candidate);
        }
    }
    let holder = top.unwrap_or_default();
    let folders: Vec<_> = tree
        .children(&holder)
        .into_iter()
        .filter(|child| tree.has_folder(&join(&holder, child)))
        .collect();
    let nearest = suggestion(split, folders.iter().map(String::as_str));
    Err(Error::UnknownSplit {
        set: tree.place().to_owned(),
        split: split.into(),
        suggestion: nearest,
        available: listed(&folders, "no folders"),
    })
}

fn no_images(tree: &FileTree, root: &str, place: String, loose: usize) -> Error {
    let (found, expected) = if loose > 0 {
        (
            format!("{loose} images, but none in a class folder"),
            "one subfolder for each class (CLASS/IMAGE.jpg); for images without classes write \
             `images:DIR`"
                .to_owned(),
        )
    } else {
        let children = tree.children(root);
        (
            format!("no images; it holds {}", listed(&children, "nothing")),
            format!(
                "class folders with files that end in {}",
                crate::decode::IMAGE_EXTENSIONS.map(|ending| format!(".{ending}")).join(" ")
            ),
        )
    };
    Error::Layout { place, found, expected }
}

/// The first few names, for a message.
pub(crate) fn listed(names: &[String], none: &str) -> String {
    const SHOWN: usize = 8;
    match names.len() {
        0 => none.to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

impl Dataset for ImageFolder {
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
        let bytes = self.tree.read(path)?;
        let image = decode(&bytes, &self.tree.name(path))?;
        Ok(Sample::labelled(image, label.map(i64::from)))
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new("image folder");
        for (path, label) in &self.images {
            // Names below the set's folder: the same images elsewhere are the same set.
            fingerprint.add(path, self.tree.size(path), label.map(i64::from));
        }
        fingerprint.finish()
    }

    fn describe(&self) -> String {
        format!("{}: {}", self.tree.place(), counts(self.len(), self.classes.len()))
    }
}
