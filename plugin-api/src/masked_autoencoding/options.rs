//! Options that all masked autoencoders have.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Result;

/// Options of the family; an objective has them beside its own (`#[serde(flatten)]`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Options {
    /// Share of the patches that is dropped.
    #[serde(default = "mask_ratio")]
    pub mask_ratio: f64,
    /// Norm the pixels of each patch, by their mean and deviation, before they are a target.
    #[serde(default = "yes")]
    pub norm_pix_loss: bool,
    /// Width of the decoder; a multiple of 4.
    #[serde(default = "decoder_embed_dim")]
    pub decoder_embed_dim: usize,
    /// Blocks of the decoder.
    #[serde(default = "decoder_depth")]
    pub decoder_depth: usize,
    /// Attention heads of the decoder; must divide its width.
    #[serde(default = "decoder_num_heads")]
    pub decoder_num_heads: usize,
    /// Weight of the features of the teacher's branches beside pixels, where an edge of the supervision
    /// graph leads from or to an auxiliary head. With 0 there is no teacher, and all that heads do is to
    /// reconstruct pixels, too.
    #[serde(default = "one")]
    pub feature_weight: f64,
    /// Reconstruct pixels from auxiliary heads as well.
    #[serde(default = "yes")]
    pub head_pixels: bool,
}

fn mask_ratio() -> f64 {
    0.75
}
fn decoder_embed_dim() -> usize {
    512
}
fn decoder_depth() -> usize {
    8
}
fn decoder_num_heads() -> usize {
    16
}
fn one() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}

impl Options {
    /// Refuses values that mean nothing.
    pub(super) fn check(&self, method: &str) -> Result<()> {
        if !(self.mask_ratio > 0.0 && self.mask_ratio < 1.0) {
            refuse!(
                "{method}: mask_ratio is {}; expected more than 0 and less than 1",
                self.mask_ratio
            );
        }
        if !(self.feature_weight.is_finite() && self.feature_weight >= 0.0) {
            refuse!("{method}: feature_weight is {}; expected 0 or more", self.feature_weight);
        }
        let (width, heads) = (self.decoder_embed_dim, self.decoder_num_heads);
        if width == 0 || !width.is_multiple_of(4) {
            refuse!("{method}: decoder_embed_dim is {width}; expected a multiple of 4");
        }
        if heads == 0 || !width.is_multiple_of(heads) {
            refuse!(
                "{method}: decoder_num_heads {heads} does not divide decoder_embed_dim {width}"
            );
        }
        if self.decoder_depth == 0 {
            refuse!("{method}: decoder_depth is 0; expected at least 1");
        }
        Ok(())
    }

    /// How many of an image's patches are kept.
    pub(super) fn keep(&self, method: &str, patches: usize) -> Result<usize> {
        let keep = (patches as f64 * (1.0 - self.mask_ratio)) as usize;
        if keep == 0 || keep == patches {
            refuse!(
                "{method}: of {patches} patches, mask_ratio {} keeps {keep}; expected some to be kept and \
                 some dropped: take larger crops, smaller patches or another mask_ratio",
                self.mask_ratio
            );
        }
        Ok(keep)
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn options(text: &str) -> Options {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_quarter_of_the_patches_is_kept() {
        let keep = |text: &str, patches: usize| options(text).keep("mae", patches);
        assert_eq!(keep("{}", 196).unwrap(), 49);
        assert_eq!(keep("{}", 4).unwrap(), 1);
        assert_eq!(keep(r#"{ "mask_ratio": 0.5 }"#, 9).unwrap(), 4);
        let error = keep("{}", 3).unwrap_err().to_string();
        assert!(error.contains("mae: of 3 patches, mask_ratio 0.75 keeps 0"), "{error}");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        options("{}").check("mae").unwrap();
        for (text, key) in [
            (r#"{ "mask_ratio": 1.0 }"#, "mask_ratio"),
            (r#"{ "feature_weight": -1 }"#, "feature_weight"),
            (r#"{ "decoder_embed_dim": 510 }"#, "decoder_embed_dim"),
            (r#"{ "decoder_num_heads": 7 }"#, "decoder_num_heads"),
            (r#"{ "decoder_depth": 0 }"#, "decoder_depth"),
        ] {
            let error = options(text).check("mff").unwrap_err().to_string();
            assert!(error.contains("mff: ") && error.contains(key), "{error}");
        }
    }
}
