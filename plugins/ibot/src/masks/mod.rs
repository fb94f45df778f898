//! Which patches are hidden from the student.

mod attention;
mod block;
mod draws;
mod random;

pub use attention::AttentionMasks;
pub use draws::Draws;
pub use random::RandomMasks;

use hssl_plugin_api::component::Capability;
use hssl_plugin_api::{Context, DType, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// A way to choose what is hidden; its fields are options of the objective.
pub trait Masking: DeserializeOwned + JsonSchema + Send + 'static {
    /// The objective that masks so.
    const OBJECTIVE: &'static str;

    /// What it needs of the backbone.
    const NEEDS: &'static [Capability];

    /// Refuses values that mean nothing.
    fn check(&self) -> Result<()>;

    /// Masks for a batch.
    fn draw(&self, draws: &mut Draws<'_>, batch: &Batch) -> Result<Masks>;
}

/// What a way to mask gets to know of a batch.
#[derive(Debug)]
pub struct Batch {
    /// All global crops of all images.
    pub images: usize,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// How much the teacher's class token attends to each patch (images * patches), if
    /// [`Capability::Attention`] is among the needs.
    pub attention: Vec<f32>,
}

impl Batch {
    /// Patches of an image.
    pub fn patches(&self) -> usize {
        self.grid[0] * self.grid[1]
    }
}

/// The masks of a batch, image by image in the order of the global crops; 1 is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masks {
    hidden: Vec<u8>,
    patches: usize,
}

/// Hidden patches of a batch, and what each counts.
#[derive(Debug)]
pub struct HiddenPatches {
    /// Indices (n) into all patches (images * patches), i64.
    pub indices: Tensor,
    /// Weights (n): the mean over an image's hidden patches, then over all images, of which those
    /// with nothing hidden count as 0.
    pub weights: Tensor,
}

impl Masks {
    /// From the masks of single images.
    pub fn new(patches: usize, images: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { hidden: images.into_iter().flatten().collect(), patches }
    }

    /// Nothing is hidden.
    pub fn none(images: usize, patches: usize) -> Self {
        Self { hidden: vec![0; images * patches], patches }
    }

    /// Masks that someone else made: (G, B, N), not 0 where hidden.
    pub fn given(mask: &Tensor, expected: [usize; 3]) -> Result<Self> {
        if mask.dims() != expected {
            refuse!(
                "masks of the shape {:?} were given; expected (global crops, images, patches) = \
                 {expected:?}",
                mask.dims()
            );
        }
        let hidden = mask.cast(DType::U8)?.to_vec::<u8>()?;
        Ok(Self {
            hidden: hidden.into_iter().map(|m| u8::from(m != 0)).collect(),
            patches: expected[2],
        })
    }

    /// Share of all patches that is hidden.
    pub fn ratio(&self) -> f64 {
        let hidden = self.hidden.iter().filter(|m| **m == 1).count();
        hidden as f64 / self.hidden.len().max(1) as f64
    }

    /// Share of the images of which nothing is hidden.
    pub fn empty(&self) -> f64 {
        let images = self.hidden.chunks(self.patches.max(1));
        let count = images.len().max(1);
        let empty = images.filter(|image| image.iter().all(|hidden| *hidden == 0)).count();
        empty as f64 / count as f64
    }

    /// (images, patches), u8.
    pub fn tensor(&self, cx: &Context<'_>) -> Result<Tensor> {
        cx.tensor(&self.hidden, (self.hidden.len() / self.patches.max(1), self.patches))
    }

    /// Where it hides. If nothing is hidden, one patch with the weight 0, so that there is a loss, and a
    /// gradient, in any case.
    pub fn hidden_patches(&self, cx: &Context<'_>) -> Result<HiddenPatches> {
        let (mut indices, mut weights) = self.weighted();
        if indices.is_empty() {
            (indices, weights) = (vec![0], vec![0.0]);
        }
        let n = indices.len();
        Ok(HiddenPatches { indices: cx.tensor(&indices, n)?, weights: cx.tensor(&weights, n)? })
    }

    fn weighted(&self) -> (Vec<i64>, Vec<f32>) {
        let images = self.hidden.chunks(self.patches.max(1));
        let share = 1.0 / images.len().max(1) as f64;
        let (mut indices, mut weights) = (Vec::new(), Vec::new());
        for (image, mask) in images.enumerate() {
            let hidden: Vec<usize> = (0..mask.len()).filter(|patch| mask[*patch] == 1).collect();
            let weight = (share / hidden.len().max(1) as f64) as f32;
            weights.extend(hidden.iter().map(|_| weight));
            indices.extend(hidden.iter().map(|patch| (image * self.patches + patch) as i64));
        }
        (indices, weights)
    }
}

#[cfg(test)]
mod tests {
    use super::Masks;

    #[test]
    fn images_count_alike_however_much_is_hidden() {
        let masks = Masks::new(4, [vec![0, 1, 0, 0], vec![0; 4], vec![1, 1, 1, 1], vec![0; 4]]);
        let (indices, weights) = masks.weighted();
        assert_eq!(indices, [1, 8, 9, 10, 11]);
        assert_eq!(weights, [0.25, 0.0625, 0.0625, 0.0625, 0.0625]);
        assert_eq!(masks.ratio(), 5.0 / 16.0);
        assert_eq!(Masks::none(2, 3).weighted(), (vec![], vec![]));
    }
}
