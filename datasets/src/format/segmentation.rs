//! Images with a class for each pixel. Two layouts, by what lies in the folder:
//!
//! - SegNet's, as CamVid has it: `train/x.jpg` with `trainannot/x.png`, names in `classes.txt`;
//! - ADE20K's: `images/training/x.jpg` with `annotations/training/x.png`.

use crate::dataset::{Fingerprint, counts};
use crate::decode::{decode, decode_mask, is_image_name};
use crate::tree::{FileTree, join};
use crate::{Dataset, Error, Mask, Result, Sample};

/// Names of the class that losses and scores leave out.
const VOID: [&str; 4] = ["void", "ignore", "unlabelled", "unlabeled"];

pub(crate) struct Segmentation {
    tree: FileTree,
    classes: Vec<String>,
    ignore: Option<u8>,
    /// Image, mask.
    images: Vec<(String, String)>,
}

impl Segmentation {
    pub(crate) fn open(tree: FileTree, split: Option<&str>) -> Result<Self> {
        let top = tree.wrapper().unwrap_or_default();
        let split = split.unwrap_or("train");
        let long = match split {
            "train" => "training",
            "val" => "validation",
            other => other,
        };
        let layouts = [
            (join(&top, split), join(&top, &format!("{split}annot"))),
            (join(&top, &format!("images/{long}")), join(&top, &format!("annotations/{long}"))),
            (join(&top, &format!("images/{split}")), join(&top, &format!("annotations/{split}"))),
        ];
        let found = layouts
            .iter()
            .find(|(images, masks)| tree.has_folder(images) && tree.has_folder(masks));
        let Some((image_folder, mask_folder)) = found else {
            return Err(Error::Layout {
                place: tree.place().into(),
                found: format!(
                    "no images with masks for `{split}` (there is {})",
                    super::image_folder::listed(&tree.children(&top), "nothing")
                ),
                expected: format!(
                    "{split}/ with {split}annot/, or images/{long}/ with annotations/{long}/"
                ),
            });
        };
        let mut images = Vec::new();
        for path in tree.paths().filter(|path| is_image_name(path)) {
            let Some(name) = crate::tree::below(path, image_folder) else { continue };
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            let mask = format!("{mask_folder}/{stem}.png");
            if !tree.contains(&mask) {
                return Err(Error::Layout {
                    place: tree.name(path),
                    found: "no mask".into(),
                    expected: tree.name(&mask),
                });
            }
            images.push((path.to_owned(), mask));
        }
        if images.is_empty() {
            return Err(Error::Layout {
                place: format!("{image_folder} in {}", tree.place()),
                found: "no images".into(),
                expected: "images, each with a mask of its name".into(),
            });
        }
        let classes = class_names(&tree, &top)?;
        let ignore = match classes.is_empty() {
            true => Some(255),
            false => classes
                .iter()
                .position(|class| VOID.contains(&class.to_lowercase().as_str()))
                .map(|class| class as u8),
        };
        Ok(Self { tree, classes, ignore, images })
    }
}

/// The lines of `classes.txt`: a name, or a number and a name.
fn class_names(tree: &FileTree, top: &str) -> Result<Vec<String>> {
    let path = join(top, "classes.txt");
    if !tree.contains(&path) {
        return Ok(Vec::new());
    }
    let text = tree.read_text(&path)?;
    let name = |line: &str| match line.split_once(char::is_whitespace) {
        Some((number, name)) if number.parse::<u32>().is_ok() => name.trim().to_owned(),
        _ => line.to_owned(),
    };
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(name).collect())
}

impl Dataset for Segmentation {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn ignore_index(&self) -> Option<u8> {
        self.ignore
    }

    fn label(&self, _index: usize) -> Option<i64> {
        None
    }

    fn name(&self, index: usize) -> String {
        self.tree.name(&self.images[index].0)
    }

    fn load(&self, index: usize) -> Result<Sample> {
        let (image, mask) = &self.images[index];
        let image = decode(&self.tree.read(image)?, &self.name(index))?;
        let mask_name = self.tree.name(mask);
        let mask: Mask = decode_mask(&self.tree.read(mask)?, &mask_name)?;
        if (mask.width, mask.height) != (image.width, image.height) {
            return Err(Error::Format {
                file: mask_name,
                found: format!("a mask of {}x{}", mask.width, mask.height),
                expected: format!("its image's size, {}x{}", image.width, image.height),
            });
        }
        Ok(Sample { image, label: None, mask: Some(mask), boxes: Vec::new() })
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new("segmentation");
        for path in self.images.iter().flat_map(|(image, mask)| [image, mask]) {
            fingerprint.add(path, self.tree.size(path), None);
        }
        fingerprint.finish()
    }

    fn describe(&self) -> String {
        let counts = counts(self.len(), self.classes.len());
        format!("{}: {counts}, with masks", self.tree.place())
    }
}
