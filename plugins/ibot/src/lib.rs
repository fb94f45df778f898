//! Masked self-distillation, written against the supervision graph: iBOT (Zhou et al., 2022) hides
//! random patches of the student's images, AttMask (Kakogeorgiou et al., 2022) those that the teacher
//! attends to. All else they have in common.

mod config;
mod edges;
mod masks;
mod objective;
mod patches;
mod recipe;

use masks::{AttentionMasks, RandomMasks};
use objective::MaskedDistillation;

type Ibot = MaskedDistillation<RandomMasks>;
type AttMask = MaskedDistillation<AttentionMasks>;

hssl_plugin_api::export! {
    name: "ibot",
    objective "ibot": Ibot, "iBOT: self-distillation of images and of hidden patches";
    objective "attmask": AttMask, "AttMask: iBOT that hides patches by the teacher's attention";
}
