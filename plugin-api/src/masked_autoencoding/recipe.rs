//! Defaults of masked autoencoders for the rest of a run (He et al., 2022; batches of 4096).

use serde_json::{Value, json};

/// One view, cropped and flipped. The teacher follows the student at once, as the method has none, and what
/// is evaluated and exported is the network that was trained; where its features are targets, it is a
/// moving average.
pub fn recipe(epochs: usize) -> Value {
    json!({
        "views": {
            "global_crops_number": 1,
            "global_crops_size": 224,
            "global_crops_scale": [0.2, 1.0],
            "local_crops_number": 0,
            "color_jitter": { "p": 0.0 },
            "grayscale": 0.0,
            "blur": { "global": [0.0] },
            "solarize": { "global": [0.0] },
        },
        "train": {
            "epochs": epochs,
            "optimizer": "adamw",
            "momentum": 0.9,
            "beta2": 0.95,
            "lr": 1.5e-4,
            "min_lr": 0.0,
            "warmup_epochs": 40,
            "weight_decay": 0.05,
            "weight_decay_end": 0.05,
            "clip_grad": 0.0,
            "freeze_last_layer": 0,
            "momentum_teacher": 0.0,
            "momentum_teacher_end": 0.0,
            "drop_path": 0.0,
        },
        "with_heads": {
            "train": {
                "momentum_teacher": 0.996,
                "momentum_teacher_end": 1.0,
            },
        },
    })
}
