//! Barlow Twins' defaults for the rest of a run (Zbontar et al., 2021: ResNet-50, batches of 2048).

use hssl_plugin_api::serde_json::{Value, json};

/// Views and optimisation. The teacher follows the student at once: the method has none, and what is
/// evaluated and exported is the network that was trained. The paper's lower rate of biases and norms,
/// 0.0048, is not kept: a run has one learning rate.
pub fn recipe() -> Value {
    json!({
        "views": {
            "global_crops_number": 2,
            "global_crops_size": 224,
            "global_crops_scale": [0.08, 1.0],
            "local_crops_number": 0,
            "color_jitter": { "p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1 },
            "grayscale": 0.2,
            "blur": { "global": [1.0, 0.1], "sigma": [0.1, 2.0] },
            "solarize": { "global": [0.0, 0.2] },
        },
        "train": {
            "epochs": 1000,
            "optimizer": "lars",
            "momentum": 0.9,
            "lr": 0.2,
            "min_lr": 2e-4,
            "warmup_epochs": 10,
            "weight_decay": 1.5e-6,
            "weight_decay_end": 1.5e-6,
            "clip_grad": 0.0,
            "freeze_last_layer": 0,
            "momentum_teacher": 0.0,
            "momentum_teacher_end": 0.0,
            "drop_path": 0.0,
        },
    })
}
