//! The patch-level loss: what the teacher makes of a patch, the student has to tell from the patches
//! around it.

use hssl_plugin_api::component::{EncodedBranches, End, Features, Level};
use hssl_plugin_api::self_distillation::{Centre, Projections, Prototypes};
use hssl_plugin_api::{DType, Result, Tensor, refuse};

use crate::masks::HiddenPatches;

/// Rows and columns of a branch's patches.
pub fn grid(features: &Features) -> Result<[usize; 2]> {
    let (_, rows, columns, _) = features.map.dims4()?;
    Ok([rows, columns])
}

/// How much the class token attends to each patch, (images * patches), as the mean over the heads of
/// the last block.
pub fn class_attention(features: &Features, patches: usize) -> Result<Vec<f32>> {
    let Some(attention) = &features.attention else {
        refuse!("the backbone returned no attention");
    };
    let tokens = attention.dim(-1)?;
    if tokens != patches + 1 {
        refuse!(
            "the backbone's attention is over {tokens} tokens; expected a class token and {patches} \
             patches"
        );
    }
    let of_class = attention.narrow(2, 0, 1)?.narrow(3, 1, patches)?;
    of_class.mean(&[1], false)?.cast(DType::F32)?.to_vec()
}

/// A network's patches, of the branches that some edges compare.
pub struct Patches<'a> {
    /// Its projections, and their prototypes in this step.
    pub projections: &'a Projections,
    /// See [`Projections::prototypes`].
    pub prototypes: &'a Prototypes,
    /// What it made of the global crops.
    pub encoded: &'a EncodedBranches,
    /// Rows and columns that the masks are for.
    pub grid: [usize; 2],
    /// What is compared.
    pub hidden: &'a HiddenPatches,
}

impl Patches<'_> {
    /// The teacher's assignments (n, K) of the hidden patches. The centre follows all patches.
    pub fn targets(&self, end: &End, centre: &mut Centre, temperature: f64) -> Result<Tensor> {
        let embedded = self.projections.embed(end, &self.all(end)?)?.detach()?;
        let hidden = embedded.index_select(&self.hidden.indices, 0)?;
        let targets = centre.centred(&self.score(end, &hidden)?, temperature)?.softmax(-1)?;
        // The last layer is linear: the mean of its outputs is its output for the mean.
        centre.observe_mean(self.score(end, &embedded.mean(&[0], true)?)?);
        targets.detach()
    }

    /// The student's logits (n, K) of the hidden patches.
    pub fn predictions(&self, end: &End) -> Result<Tensor> {
        let hidden = self.all(end)?.index_select(&self.hidden.indices, 0)?;
        self.score(end, &self.projections.embed(end, &hidden)?)
    }

    /// All patches of all images of a branch, (images * patches, C).
    fn all(&self, end: &End) -> Result<Tensor> {
        let features = self.encoded.get(&end.branch)?;
        let found = grid(features)?;
        if found != self.grid {
            refuse!(
                "branch {:?} has {} x {} patches and the masks {} x {}; patches can be compared \
                 only between branches of one grid: leave this one to edges of level \"image\"",
                end.branch,
                found[0],
                found[1],
                self.grid[0],
                self.grid[1]
            );
        }
        features.map.flatten(0, 2)
    }

    fn score(&self, end: &End, embedded: &Tensor) -> Result<Tensor> {
        self.projections.score(Level::Patch, end, embedded, self.prototypes)
    }
}

/// Cross-entropy at the hidden patches: its mean over those of an image, then over all images.
pub fn hidden_patch_loss(
    targets: &Tensor,
    logits: &Tensor,
    hidden: &HiddenPatches,
    temperature: f64,
) -> Result<Tensor> {
    logits.soft_cross_entropy(targets, temperature)?.mul(&hidden.weights)?.sum_all()
}
