//! Defaults for the rest of a run, which both methods share (ViT-S/16 with ten local crops).

use hssl_plugin_api::serde_json::{Value, json};

/// Views and optimisation.
pub fn recipe() -> Value {
    json!({
        "views": {
            "global_crops_number": 2,
            "global_crops_size": 224,
            "global_crops_scale": [0.25, 1.0],
            "local_crops_number": 10,
            "local_crops_size": 96,
            "local_crops_scale": [0.05, 0.25],
        },
        "train": {
            "epochs": 100,
            "optimizer": "adamw",
            "lr": 5e-4,
            "min_lr": 1e-6,
            "warmup_epochs": 10,
            "weight_decay": 0.04,
            "weight_decay_end": 0.4,
            "clip_grad": 3.0,
            "freeze_last_layer": 1,
            "momentum_teacher": 0.996,
            "momentum_teacher_end": 1.0,
            "drop_path": 0.1,
        },
    })
}
