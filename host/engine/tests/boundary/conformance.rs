//! `hssl plugin check`.

use hssl_engine::plugin::{Check, Outcome, conformance};
use hssl_plugin_api::component::Kind;
use serde_json::Map;

use crate::fixtures::Folder;

fn checks(plugin: &str, kind: Kind, name: &str) -> Vec<Check> {
    let folder = Folder::new().with(&[plugin]);
    let registry = folder.registry();
    conformance(&registry, kind, name, &Map::new()).unwrap()
}

#[track_caller]
fn conforms(plugin: &str, kind: Kind, name: &str, at_least: usize) {
    let checks = checks(plugin, kind, name);
    let broken: Vec<_> =
        checks.iter().filter(|c| matches!(c.outcome, Outcome::Broken(_))).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let kept = checks.iter().filter(|check| check.outcome == Outcome::Kept).count();
    assert!(kept >= at_least, "only {kept} promises were tried: {checks:#?}");
}

#[test]
fn what_plugin_new_makes_conforms() {
    conforms("template_backbone", Kind::Backbone, "my_plugin", 9);
    conforms("template_head", Kind::Head, "my_plugin", 8);
    conforms("template_objective", Kind::Objective, "my_plugin", 6);
    conforms("template_evaluator", Kind::Evaluator, "my_plugin", 5);
}

#[test]
fn the_smallest_plugin_conforms() {
    conforms("minimal", Kind::Backbone, "minimal", 9);
    conforms("minimal", Kind::Head, "minimal", 8);
}

/// The promises that are broken, each with the words that say how.
#[track_caller]
fn breaks(plugin: &str, kind: Kind, name: &str, expected: &[(&str, &str)]) {
    let checks = checks(plugin, kind, name);
    let broken: Vec<(&str, &str)> = checks
        .iter()
        .filter_map(|check| match &check.outcome {
            Outcome::Broken(how) => Some((check.promise.as_str(), how.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(broken.len(), expected.len(), "{broken:#?}");
    for ((promise, how), (part, words)) in broken.iter().zip(expected) {
        assert!(promise.contains(part) && how.contains(words), "{broken:#?}");
    }
}

#[test]
fn broken_promises_are_named() {
    breaks(
        "careless",
        Kind::Backbone,
        "careless",
        &[
            ("rest of its batch", "another by"),
            ("finite gradient", "backbone.unused.weight has none"),
            ("return its attention", "returned none"),
            ("unknown option", "deny_unknown_fields"),
        ],
    );
    breaks(
        "careless",
        Kind::Head,
        "careless",
        &[
            ("its spec's width", "[2, 4, 4, 8]; expected [2, 4, 4, 16]"),
            ("unknown option", "accepted"),
        ],
    );
    breaks(
        "careless",
        Kind::Evaluator,
        "careless",
        &[("its report", "\"top1\" is none of its numbers"), ("unknown option", "accepted")],
    );
}

#[test]
fn a_component_that_panics_is_reported_and_not_fatal() {
    breaks(
        "panics",
        Kind::Backbone,
        "panics_in_forward",
        &[("sizes of its spec", "panicked in forward")],
    );
    breaks("panics", Kind::Head, "panics_in_new", &[("it is made", "panicked in new")]);
}
