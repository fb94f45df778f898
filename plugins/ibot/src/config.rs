//! Options.

use hssl_plugin_api::component::Role;
use hssl_plugin_api::self_distillation::{ProjectionConfig, TeacherTemperature};
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::edges::PatchEdges;
use crate::masks::Masking;

/// Options of the `ibot` and `attmask` objectives. Defaults are those of the published runs with
/// ViT-S/16.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "M: DeserializeOwned")]
pub struct Config<M> {
    /// Prototypes K.
    #[serde(default = "out_dim")]
    pub out_dim: usize,
    /// Hidden width of the projection MLP.
    #[serde(default = "hidden_dim")]
    pub hidden_dim: usize,
    /// Output width of the projection MLP.
    #[serde(default = "bottleneck_dim")]
    pub bottleneck_dim: usize,
    /// Keep the norms of the prototypes at 1.
    #[serde(default)]
    pub norm_last_layer: bool,
    /// In the student, compare patches with the prototypes of images. Their projection MLP is one in
    /// any case.
    #[serde(default = "yes")]
    pub shared_head: bool,
    /// The same in the teacher, whose targets for patches are then made with the average of the
    /// student's prototypes of images.
    #[serde(default = "yes")]
    pub shared_head_teacher: bool,
    /// Prototypes of patches, if neither head is shared (as many as `out_dim` otherwise).
    pub patch_out_dim: Option<usize>,
    /// Temperature of the student.
    #[serde(default = "student_temp")]
    pub student_temp: f64,
    /// Temperature of the teacher for images after its warm-up.
    #[serde(default = "teacher_temp")]
    pub teacher_temp: f64,
    /// Temperature of the teacher for images at the start.
    #[serde(default = "warmup_teacher_temp")]
    pub warmup_teacher_temp: f64,
    /// Temperature of the teacher for patches after its warm-up.
    #[serde(default = "teacher_temp")]
    pub teacher_patch_temp: f64,
    /// Temperature of the teacher for patches at the start.
    #[serde(default = "warmup_teacher_temp")]
    pub warmup_teacher_patch_temp: f64,
    /// Epochs over which both rise linearly.
    #[serde(default = "warmup_teacher_temp_epochs")]
    pub warmup_teacher_temp_epochs: usize,
    /// Share of the old centres, of images and of patches, that is kept in a step.
    #[serde(default = "center_momentum")]
    pub center_momentum: f64,
    /// Weight of the image-level loss.
    #[serde(default = "one")]
    pub lambda1: f64,
    /// Weight of the patch-level loss.
    #[serde(default = "one")]
    pub lambda2: f64,
    /// Which patches supervise which, if no edge of the supervision graph is of level "patch":
    /// `base` or `image`; `base` if not given.
    pub patch_edges: Option<PatchEdges>,
    /// First epoch in which patches are hidden. The warm-up of the patches' temperature waits for it.
    #[serde(default)]
    pub pred_start_epoch: usize,
    /// How it masks.
    #[serde(flatten)]
    pub masking: M,
}

fn out_dim() -> usize {
    8192
}
fn hidden_dim() -> usize {
    2048
}
fn bottleneck_dim() -> usize {
    256
}
fn yes() -> bool {
    true
}
fn student_temp() -> f64 {
    0.1
}
fn teacher_temp() -> f64 {
    0.07
}
fn warmup_teacher_temp() -> f64 {
    0.04
}
fn warmup_teacher_temp_epochs() -> usize {
    30
}
fn center_momentum() -> f64 {
    0.9
}
fn one() -> f64 {
    1.0
}

impl<M: Masking> Config<M> {
    /// Refuses values that mean nothing.
    pub fn check(&self) -> Result<()> {
        let name = M::OBJECTIVE;
        for (key, value) in [
            ("student_temp", self.student_temp),
            ("teacher_temp", self.teacher_temp),
            ("warmup_teacher_temp", self.warmup_teacher_temp),
            ("teacher_patch_temp", self.teacher_patch_temp),
            ("warmup_teacher_patch_temp", self.warmup_teacher_patch_temp),
        ] {
            if !(value.is_finite() && value > 0.0) {
                refuse!("{name}: {key} is {value}; expected a number above 0");
            }
        }
        for (key, value) in [("lambda1", self.lambda1), ("lambda2", self.lambda2)] {
            if !(value.is_finite() && value >= 0.0) {
                refuse!("{name}: {key} is {value}; expected 0 or more");
            }
        }
        if self.lambda1 + self.lambda2 == 0.0 {
            refuse!("{name}: lambda1 and lambda2 are 0, which leaves no loss");
        }
        if !(0.0..=1.0).contains(&self.center_momentum) {
            refuse!("{name}: center_momentum is {}; expected 0 to 1", self.center_momentum);
        }
        let fewest = self.out_dim.min(self.patch_out_dim.unwrap_or(self.out_dim));
        if fewest < 2 || self.hidden_dim == 0 || self.bottleneck_dim == 0 {
            refuse!(
                "{name}: out_dim and patch_out_dim must be at least 2, hidden_dim and \
                 bottleneck_dim at least 1"
            );
        }
        self.check_sharing()?;
        self.masking.check()
    }

    fn check_sharing(&self) -> Result<()> {
        let name = M::OBJECTIVE;
        if self.shared_head && !self.shared_head_teacher {
            refuse!(
                "{name}: shared_head_teacher is false, but the student shares its head, so the \
                 teacher's prototypes of patches would have nothing to follow; set \
                 shared_head = false as well"
            );
        }
        match self.patch_out_dim.filter(|patches| *patches != self.out_dim) {
            Some(patches) if self.shared_head_teacher => refuse!(
                "{name}: patch_out_dim is {patches} and out_dim is {}; they can differ only with \
                 shared_head = false and shared_head_teacher = false",
                self.out_dim
            ),
            _ => Ok(()),
        }
    }

    /// Sizes of a network's projections.
    pub fn projections(&self, role: Role) -> ProjectionConfig {
        let shared = match role {
            Role::Student => self.shared_head,
            Role::Teacher => self.shared_head_teacher,
        };
        ProjectionConfig {
            hidden_dim: self.hidden_dim,
            bottleneck_dim: self.bottleneck_dim,
            out_dim: self.out_dim,
            patch_out_dim: (!shared).then_some(self.patch_outputs()),
            norm_last_layer: self.norm_last_layer,
        }
    }

    /// Prototypes that patches are compared with.
    pub fn patch_outputs(&self) -> usize {
        self.patch_out_dim.unwrap_or(self.out_dim)
    }

    /// Temperature of the targets for images.
    pub fn image_temperature(&self) -> TeacherTemperature {
        TeacherTemperature {
            first: self.warmup_teacher_temp,
            last: self.teacher_temp,
            delay: 0,
            warmup: self.warmup_teacher_temp_epochs,
        }
    }

    /// Temperature of the targets for patches.
    pub fn patch_temperature(&self) -> TeacherTemperature {
        TeacherTemperature {
            first: self.warmup_teacher_patch_temp,
            last: self.teacher_patch_temp,
            delay: self.pred_start_epoch,
            warmup: self.warmup_teacher_temp_epochs,
        }
    }
}
