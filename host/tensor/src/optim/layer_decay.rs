//! Layer-wise learning rates for fine-tuning (Clark et al., 2020; Bao et al., 2022).

/// decay^(layers + 1 - id): 1 for the head (id `layers` + 1), least for the embedding (id 0).
pub fn layer_scale(decay: f64, layers: usize, id: usize) -> f64 {
    decay.powi((layers + 1).saturating_sub(id) as i32)
}

/// The layer id of a vision transformer's parameter by its timm name: 0 for patch embedding, class
/// token, mask token and position embedding, k + 1 for `blocks.k`, `layers` + 1 for everything else.
pub fn vit_layer(name: &str, layers: usize) -> usize {
    const FIRST: [&str; 6] =
        ["patch_embed", "cls_token", "pos_embed", "mask_token", "masked_embed", "reg_token"];
    let mut scopes = name.split('.');
    while let Some(scope) = scopes.next() {
        if FIRST.contains(&scope) {
            return 0;
        }
        if scope == "blocks"
            && let Some(Ok(block)) = scopes.next().map(str::parse::<usize>)
        {
            return block + 1;
        }
    }
    layers + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a 12-layer transformer at 0.65 (Bao et al.'s recipe, as MAE uses it).
    #[test]
    fn rates_fall_from_the_head_to_the_embedding() {
        let scale = |name| layer_scale(0.65, 12, vit_layer(name, 12));
        for (name, expected) in [
            ("patch_embed.proj.weight", 0.0036972),
            ("cls_token", 0.0036972),
            ("pos_embed", 0.0036972),
            ("blocks.0.attn.qkv.weight", 0.0056880),
            ("blocks.11.mlp.fc2.bias", 0.65),
            ("norm.weight", 1.0),
            ("head.weight", 1.0),
        ] {
            assert!((scale(name) - expected).abs() < 1e-7, "{name}: {}", scale(name));
        }
        assert_eq!(vit_layer("backbone.blocks.3.norm1.weight", 12), 4);
    }
}
