//! COCO's layout: `train2017/*.jpg` with `annotations/instances_train2017.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::dataset::{Fingerprint, counts};
use crate::decode::decode;
use crate::tree::{FileTree, join};
use crate::{Dataset, Error, ObjectBox, Outline, Result, Sample};

/// The parts of COCO's instances file that are used.
#[derive(Deserialize)]
struct Instances {
    images: Vec<ImageEntry>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct ImageEntry {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    category_id: u64,
    /// x, y, width, height.
    bbox: [f32; 4],
    #[serde(default)]
    area: f32,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Option<Segmentation>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f32>>),
    RunLengths {
        counts: Vec<u32>,
    },
    /// COCO's compressed run lengths, which are left out.
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

pub(crate) struct Coco {
    tree: FileTree,
    classes: Vec<String>,
    images: Vec<(String, Vec<ObjectBox>)>,
}

impl Coco {
    pub(crate) fn open(tree: FileTree, split: Option<&str>) -> Result<Self> {
        let top = tree.wrapper().unwrap_or_default();
        let split = split.unwrap_or("train");
        let folders = [split.to_owned(), format!("{split}2017"), format!("{split}2014")];
        let file = |folder: &str| join(&top, &format!("annotations/instances_{folder}.json"));
        let Some(folder) = folders.iter().find(|folder| tree.contains(&file(folder))) else {
            let annotations = tree.children(&join(&top, "annotations"));
            return Err(Error::UnknownSplit {
                set: tree.place().into(),
                split: split.into(),
                suggestion: String::new(),
                available: format!(
                    "in annotations/: {} (looked for instances_{split}2017.json)",
                    super::image_folder::listed(&annotations, "nothing")
                ),
            });
        };
        let json = file(folder);
        let broken = |found: String| Error::Format {
            file: tree.name(&json),
            found,
            expected: "COCO's instances format: images, annotations, categories".into(),
        };
        let mut instances: Instances =
            serde_json::from_slice(&tree.read(&json)?).map_err(|e| broken(e.to_string()))?;
        // COCO's category ids have gaps; classes are numbered in their order without them.
        instances.categories.sort_by_key(|category| category.id);
        let numbers: BTreeMap<u64, usize> =
            instances.categories.iter().enumerate().map(|(n, c)| (c.id, n)).collect();
        let classes = instances.categories.into_iter().map(|category| category.name).collect();
        let mut boxes: BTreeMap<u64, Vec<ObjectBox>> = BTreeMap::new();
        for annotation in instances.annotations {
            let Some(&class) = numbers.get(&annotation.category_id) else {
                let Annotation { id, category_id, .. } = annotation;
                return Err(broken(format!("annotation {id} of unknown category {category_id}")));
            };
            let [x, y, width, height] = annotation.bbox;
            boxes.entry(annotation.image_id).or_default().push(ObjectBox {
                x,
                y,
                width,
                height,
                class,
                area: annotation.area,
                crowd: annotation.iscrowd != 0,
                outline: match annotation.segmentation {
                    Some(Segmentation::Polygons(polygons)) => Some(Outline::Polygons(polygons)),
                    Some(Segmentation::RunLengths { counts }) => Some(Outline::RunLengths(counts)),
                    Some(Segmentation::Other(_)) | None => None,
                },
            });
        }
        let mut images: Vec<_> = instances
            .images
            .into_iter()
            .map(|image| {
                let path = join(&top, &format!("{folder}/{}", image.file_name));
                (path, boxes.remove(&image.id).unwrap_or_default())
            })
            .collect();
        images.sort_by(|a, b| a.0.cmp(&b.0));
        if images.is_empty() {
            return Err(broken("no images".into()));
        }
        Ok(Self { tree, classes, images })
    }
}

impl Dataset for Coco {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, _index: usize) -> Option<i64> {
        None
    }

    fn name(&self, index: usize) -> String {
        self.tree.name(&self.images[index].0)
    }

    fn load(&self, index: usize) -> Result<Sample> {
        let (path, boxes) = &self.images[index];
        let image = decode(&self.tree.read(path)?, &self.tree.name(path))?;
        Ok(Sample { image, label: None, mask: None, boxes: boxes.clone() })
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new("coco");
        for (path, boxes) in &self.images {
            fingerprint.add(path, self.tree.size(path), Some(boxes.len() as i64));
        }
        fingerprint.finish()
    }

    fn describe(&self) -> String {
        let objects: usize = self.images.iter().map(|(_, boxes)| boxes.len()).sum();
        let counts = counts(self.len(), self.classes.len());
        format!("{}: {counts}, {objects} objects", self.tree.place())
    }
}
