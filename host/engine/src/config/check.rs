//! Values that are well typed but cannot work together.

use hssl_plugin_api::component::Edge;

use super::validate::nearest;
use super::{HsslConfig, Problem, RunConfig, Supervision, TrainConfig};
use crate::supervision::layer_index;

/// Branches that every supervision graph has beside the heads.
const BASE: &str = "base";
const ALL_HEADS: &str = "heads";

/// What cannot work, or is probably not as meant, in `config`.
pub fn check(config: &RunConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    head_names(config, &mut problems);
    supervision(config, &mut problems);
    if config.hssl.supervision == Supervision::Edges {
        for (index, edge) in config.hssl.edges.iter().enumerate() {
            branches(config, index, edge, &mut problems);
        }
    }
    views(config, &mut problems);
    optimisation(&config.train, &mut problems);
    device(&config.train.device, &mut problems);
    if config.data.prefetch == 0 {
        problems.push(Problem::error("data.prefetch", "is 0; expected at least 1"));
    }
    evaluation(config, &mut problems);
    problems
}

fn head_names(config: &RunConfig, problems: &mut Vec<Problem>) {
    for name in config.heads.keys() {
        let key = format!("heads.{name}");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name == BASE || name == ALL_HEADS {
            let message = format!("a head cannot be called `{name}`, which names another branch");
            problems.push(Problem::error(key, message));
        } else if name.is_empty() || !name.chars().all(plain) {
            let message = "a head's name is made of letters, digits, `_` and `-`";
            problems.push(Problem::error(key, message));
        }
    }
}

fn supervision(config: &RunConfig, problems: &mut Vec<Problem>) {
    let HsslConfig { supervision, edges, .. } = &config.hssl;
    let key = "hssl.supervision";
    let word = match supervision {
        Supervision::None => "none",
        Supervision::Hssl => "hssl",
        Supervision::A2a => "a2a",
        Supervision::A2aB2b => "a2a_b2b",
        Supervision::Search => "search",
        Supervision::Edges => "edges",
    };
    match supervision {
        Supervision::Edges if edges.is_empty() => problems.push(Problem::error(
            "hssl.edges",
            "is empty, but hssl.supervision is \"edges\"; list them, as in \
             edges = [{ teacher = \"base\", student = \"base\" }], or choose a preset",
        )),
        Supervision::Edges => {}
        _ if !edges.is_empty() => problems.push(Problem::error(
            "hssl.edges",
            format!(
                "is given, but hssl.supervision = \"{word}\" has edges of its own; set \
                 hssl.supervision = \"edges\", or remove hssl.edges"
            ),
        )),
        Supervision::None if !config.heads.is_empty() => {
            let names: Vec<&str> = config.heads.keys().map(String::as_str).collect();
            let names = names.join(", ");
            problems.push(Problem::warning(
                key,
                format!(
                    "is \"none\", so the heads ({names}) are not built; set it to \"hssl\" to \
                     train with them"
                ),
            ));
        }
        Supervision::None => {}
        _ if config.heads.is_empty() => problems.push(Problem::error(
            key,
            format!(
                "is \"{word}\", which needs an auxiliary head, and there is none; add one, as in \
                 [heads.aux] plugin = \"convnext\", or train the plain method with \
                 hssl.supervision = \"none\""
            ),
        )),
        _ => {}
    }
}

fn branches(config: &RunConfig, index: usize, edge: &Edge, problems: &mut Vec<Problem>) {
    let mut known = vec![BASE];
    if !config.heads.is_empty() {
        known.push(ALL_HEADS);
        known.extend(config.heads.keys().map(String::as_str));
    }
    for (end, branch) in [("teacher", &edge.teacher), ("student", &edge.student)] {
        if known.contains(&branch.as_str()) || layer_index(branch).is_some() {
            continue;
        }
        let advice = match nearest(branch, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there are: {}, and base.layers.N", known.join(", ")),
        };
        let message = format!("there is no branch \"{branch}\"; {advice}");
        problems.push(Problem::error(format!("hssl.edges[{index}].{end}"), message));
    }
    if !(edge.weight > 0.0 && edge.weight.is_finite()) {
        let message = format!("is {}; expected a number above 0", edge.weight);
        problems.push(Problem::error(format!("hssl.edges[{index}].weight"), message));
    }
}

fn views(config: &RunConfig, problems: &mut Vec<Problem>) {
    let views = &config.views;
    if views.global_crops_number < 1 {
        problems.push(Problem::error("views.global_crops_number", "is 0; expected at least 1"));
    } else if let Err(error) = views.validate() {
        problems.push(match error {
            hssl_datasets::Error::Setting { key, found, expected } => {
                Problem::error(key, format!("is {found}; expected {expected}"))
            }
            other => Problem::error("views", other.to_string()),
        });
    }
    let patch = config.backbone.options.get("patch_size").and_then(serde_json::Value::as_u64);
    let Some(patch) = patch.map(|patch| patch as usize).filter(|patch| *patch > 0) else { return };
    for (number, key, size) in [
        (views.global_crops_number, "global_crops_size", views.global_crops_size),
        (views.local_crops_number, "local_crops_size", views.local_crops_size),
    ] {
        if number > 0 && size % patch != 0 {
            let lower = size / patch * patch;
            let fit = if lower == 0 {
                format!("{patch}")
            } else {
                format!("{lower} or {}", lower + patch)
            };
            let message =
                format!("is {size}; expected a multiple of backbone.patch_size = {patch}: {fit}");
            problems.push(Problem::error(format!("views.{key}"), message));
        }
    }
}

fn optimisation(train: &TrainConfig, problems: &mut Vec<Problem>) {
    for (key, count) in [
        ("epochs", train.epochs),
        ("batch_size", train.batch_size),
        ("accum_iter", train.accum_iter),
        ("log_every", train.log_every),
    ] {
        if count < 1 {
            problems.push(Problem::error(format!("train.{key}"), "is 0; expected at least 1"));
        }
    }
    if train.epochs > 0 && train.warmup_epochs > train.epochs {
        let message = format!(
            "is {}, more than train.epochs = {}; set it to {} or less",
            train.warmup_epochs, train.epochs, train.epochs
        );
        problems.push(Problem::error("train.warmup_epochs", message));
    }
    let mut number = |key: &str, value: f64, good: bool, expected: &str| {
        if !good || !value.is_finite() {
            let message = format!("is {value}; expected {expected}");
            problems.push(Problem::error(format!("train.{key}"), message));
        }
    };
    for (key, value) in [
        ("momentum_teacher", train.momentum_teacher),
        ("momentum_teacher_end", train.momentum_teacher_end),
    ] {
        number(key, value, (0.0..=1.0).contains(&value), "a number from 0 to 1");
    }
    for (key, value) in
        [("momentum", train.momentum), ("beta2", train.beta2), ("drop_path", train.drop_path)]
    {
        number(key, value, (0.0..1.0).contains(&value), "a number from 0 to below 1");
    }
    number("lr", train.lr, train.lr > 0.0, "a number above 0");
    for (key, value) in [
        ("min_lr", train.min_lr),
        ("weight_decay", train.weight_decay),
        ("weight_decay_end", train.weight_decay_end),
        ("clip_grad", train.clip_grad),
    ] {
        number(key, value, value >= 0.0, "0 or more");
    }
}

fn device(device: &str, problems: &mut Vec<Problem>) {
    let numbered = device.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok());
    if !matches!(device, "auto" | "cpu" | "cuda") && !numbered {
        let message =
            format!("is \"{device}\"; expected \"auto\", \"cpu\", \"cuda\" or \"cuda:N\"");
        problems.push(Problem::error("train.device", message));
    }
}

fn evaluation(config: &RunConfig, problems: &mut Vec<Problem>) {
    let eval = &config.eval;
    if eval.batch_size < 1 {
        problems.push(Problem::error("eval.batch_size", "is 0; expected at least 1"));
    }
    if eval.resize > 0 && eval.crop > eval.resize {
        let message = format!(
            "is {}, larger than eval.resize = {}, so images get black margins; lower it to {}",
            eval.crop, eval.resize, eval.resize
        );
        problems.push(Problem::warning("eval.crop", message));
    }
    if config.data.eval_train.is_some() && config.data.eval_test.is_none() {
        let message = "is missing beside data.eval_train, so nothing can be scored; add it, as in \
                       eval_test = \"cifar10#test\"";
        problems.push(Problem::warning("data.eval_test", message));
    }
}
