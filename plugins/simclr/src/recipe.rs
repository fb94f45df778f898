//! SimCLR's defaults for the rest of a run (Chen et al., 2020: ResNet-50, batches of 4096).

use hssl_plugin_api::serde_json::{Value, json};

/// Views and optimisation. The teacher follows the student at once: the method has none, and what is
/// evaluated and exported is the network that was trained.
pub fn recipe() -> Value {
    json!({
        "views": {
            "global_crops_number": 2,
            "global_crops_size": 224,
            "global_crops_scale": [0.08, 1.0],
            "local_crops_number": 0,
            "color_jitter": { "p": 0.8, "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2 },
            "grayscale": 0.2,
            "blur": { "global": [0.5, 0.5], "sigma": [0.1, 2.0] },
            "solarize": { "global": [0.0, 0.0] },
        },
        "train": {
            "epochs": 100,
            "optimizer": "lars",
            "momentum": 0.9,
            "lr": 0.3,
            "min_lr": 0.0,
            "warmup_epochs": 10,
            "weight_decay": 1e-6,
            "weight_decay_end": 1e-6,
            "clip_grad": 0.0,
            "freeze_last_layer": 0,
            "momentum_teacher": 0.0,
            "momentum_teacher_end": 0.0,
            "drop_path": 0.0,
        },
    })
}
