//! MoCo v3's defaults for the rest of a run (Chen, Xie and He, 2021: ViT-S and ViT-B, batches of 4096, 300
//! epochs).

use hssl_plugin_api::serde_json::{Value, json};

/// Views and optimisation. The momentum goes from 0.99 to 1 by half a cosine.
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
            "interpolation": "bilinear",
        },
        "train": {
            "epochs": 300,
            "optimizer": "adamw",
            "lr": 1.5e-4,
            "min_lr": 0.0,
            "warmup_epochs": 40,
            "weight_decay": 0.1,
            "weight_decay_end": 0.1,
            "clip_grad": 0.0,
            "freeze_last_layer": 0,
            "momentum_teacher": 0.99,
            "momentum_teacher_end": 1.0,
            "drop_path": 0.0,
        },
    })
}
