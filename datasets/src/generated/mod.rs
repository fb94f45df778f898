//! `generated:shapes`: images made on the fly, so that everything runs before any data is fetched.
//!
//! An image shows one to three shapes of one kind, its class, on a cluttered background under a
//! coloured light. Light, places, sizes and tilts are random and say nothing about the class, and the
//! light is most of what pixels differ by: an untrained network sees little else. The kind of shape
//! survives crops, mirroring and colour changes, which is what self-supervision looks for. Pixel
//! masks and boxes come with it.

mod scene;
mod shape;

use std::borrow::Cow;

use crate::dataset::{Fingerprint, counts};
use crate::random::{Key, Stream};
use crate::{Dataset, Error, Result, Sample};
use shape::Shape;

/// Settings of the generated set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapesOptions {
    /// Images.
    pub n: usize,
    /// Side of an image, in pixels.
    pub size: usize,
    /// Seed; another one gives another set.
    pub seed: u64,
    /// Which of the disjoint streams of images: `train`, `val` or `test`.
    pub split: String,
}

impl ShapesOptions {
    /// The options of a SPEC: `query` is `n=..&size=..&seed=..`, any of them or none.
    ///
    /// # Errors
    /// [`Error::BadSpec`] and [`Error::UnknownSplit`].
    pub(crate) fn parse(spec: &str, query: &str, split: Option<&str>) -> Result<Self> {
        let split = split.unwrap_or("train");
        let n = match split {
            "train" => 4096,
            "val" | "test" => 1024,
            _ => {
                return Err(Error::UnknownSplit {
                    set: "generated:shapes".into(),
                    split: split.into(),
                    suggestion: crate::error::suggestion(split, SPLITS.into_iter()),
                    available: SPLITS.join(", "),
                });
            }
        };
        let mut options = Self { n, size: 32, seed: 0, split: split.into() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let bad = |found: String, expected: &str| Error::BadSpec {
                spec: spec.into(),
                found,
                expected: expected.into(),
            };
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = value.parse::<u64>().map_err(|_| {
                bad(format!("`{key}` is `{value}`"), "a whole number, as in n=4096&size=32&seed=0")
            });
            match key {
                "n" => options.n = number? as usize,
                "size" => options.size = number? as usize,
                "seed" => options.seed = number?,
                _ => {
                    return Err(bad(format!("unknown parameter `{key}`"), "n, size or seed"));
                }
            }
            if options.n == 0 || !(8..=1024).contains(&options.size) {
                let found = format!("n is {}, size is {}", options.n, options.size);
                return Err(bad(found, "n of 1 or more, size from 8 to 1024"));
            }
        }
        Ok(options)
    }
}

const SPLITS: [&str; 3] = ["train", "val", "test"];

/// The generated set.
pub struct Shapes {
    options: ShapesOptions,
    classes: Vec<String>,
    mask_classes: Vec<String>,
}

impl Shapes {
    /// The set with these options; nothing is drawn yet.
    pub fn new(options: ShapesOptions) -> Self {
        let classes: Vec<String> = Shape::ALL.iter().map(|kind| kind.name().to_owned()).collect();
        let background = std::iter::once("background".to_owned());
        let mask_classes = background.chain(classes.iter().cloned()).collect();
        Self { options, classes, mask_classes }
    }

    fn stream(&self, index: usize) -> Stream {
        let split = SPLITS.iter().position(|split| *split == self.options.split).unwrap_or(0);
        let key = Key { seed: self.options.seed, epoch: split as u64, index: index as u64 };
        // A view number that no augmentation uses: the images don't correlate with their crops.
        Stream::new(key, u64::MAX - 1)
    }

    fn shape(index: usize) -> Shape {
        Shape::ALL[index % Shape::ALL.len()]
    }
}

impl Dataset for Shapes {
    fn len(&self) -> usize {
        self.options.n
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn mask_classes(&self) -> &[String] {
        &self.mask_classes
    }

    fn label(&self, index: usize) -> Option<i64> {
        Some((index % Shape::ALL.len()) as i64)
    }

    fn name(&self, index: usize) -> String {
        format!("{}/{}/{index:06}.png", self.options.split, Self::shape(index).name())
    }

    fn load(&self, index: usize) -> Result<Sample> {
        Ok(scene::draw(Self::shape(index), self.options.size, &mut self.stream(index)))
    }

    fn fingerprint(&self) -> String {
        let ShapesOptions { n, size, seed, split } = &self.options;
        let mut fingerprint = Fingerprint::new("generated:shapes 1");
        let name: Cow<'_, str> = format!("{split} {size} {seed}").into();
        fingerprint.add(&name, *n as u64, None);
        fingerprint.finish()
    }

    fn describe(&self) -> String {
        let ShapesOptions { n, size, seed, split } = &self.options;
        let counts = counts(*n, self.classes.len());
        format!("generated:shapes, {split}: {counts}, {size}x{size}, seed {seed}")
    }
}
