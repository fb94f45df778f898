//! The supervision graph: which teacher branch supervises which student branch.
//!
//! Branches are `base`, each head by its name, and `heads`, all of them joined (equation 10). With a
//! single head, `heads` is that head. `base.layers.N` is the base after its block N, from 0.

use std::collections::BTreeMap;

use hssl_plugin_api::component::{Edge, Kind};

use crate::config::{HeadConfig, HsslConfig, Supervision};
use crate::error::{Error, Result};

/// The base model's branch.
pub const BASE: &str = "base";
/// All heads, their outputs concatenated over the channels.
pub const HEADS: &str = "heads";
/// What precedes the number of an intermediate layer.
const LAYERS: &str = "base.layers.";

/// The edges of a configuration, with `heads` replaced by the head where there is only one.
///
/// # Errors
/// A preset needs a head and there is none; an edge names an unknown branch; no edge is left, or none
/// that trains the base; a head is named by none, or cannot be joined with others.
pub fn resolve(config: &HsslConfig, heads: &BTreeMap<String, HeadConfig>) -> Result<Vec<Edge>> {
    let names_of_heads: Vec<String> = heads.keys().cloned().collect();
    let edges = edges_of(config, &names_of_heads)?;
    let is_parallel =
        |head: &str| heads.get(head).is_some_and(|head| head.connection.kind() == Kind::Backbone);
    if let Some(head) = names_of_heads.iter().find(|head| is_parallel(head))
        && names(&edges, HEADS)
    {
        return Err(Error::Composition(format!(
            "the branch \"heads\" joins the maps of all heads, and the parallel head {head:?} has a map \
             of its own grid; name each head in hssl.edges (hssl.supervision = \"edges\"), or set \
             heads.{head}.connection = \"serial\""
        )));
    }
    if edges.iter().all(|edge| is_parallel(&edge.student)) {
        return Err(Error::Composition(
            "no edge of the supervision graph trains the base: a parallel head runs beside it, and no \
             gradient leads from there to the base; add an edge with student = \"base\" to hssl.edges"
                .into(),
        ));
    }
    Ok(edges)
}

fn edges_of(config: &HsslConfig, heads: &[String]) -> Result<Vec<Edge>> {
    let edges = match config.supervision {
        Supervision::None => vec![Edge::new(BASE, BASE)],
        Supervision::Hssl => vec![Edge::new(HEADS, BASE), Edge::new(HEADS, HEADS)],
        Supervision::A2a => vec![Edge::new(HEADS, HEADS)],
        Supervision::A2aB2b => vec![Edge::new(HEADS, HEADS), Edge::new(BASE, BASE)],
        Supervision::Search => heads.iter().flat_map(|head| search(head)).collect(),
        Supervision::Edges => config.edges.clone(),
    };
    if edges.is_empty() && config.supervision == Supervision::Edges {
        return Err(Error::Composition(
            "hssl.supervision is \"edges\", but hssl.edges is empty; add for example \
             [[hssl.edges]] teacher = \"heads\", student = \"base\""
                .into(),
        ));
    }
    let of_base = |branch: &str| branch == BASE || layer_index(branch).is_some();
    let needs_head = edges.iter().any(|edge| !of_base(&edge.teacher) || !of_base(&edge.student));
    if (needs_head || edges.is_empty()) && heads.is_empty() {
        return Err(Error::Composition(
            "the supervision graph needs an auxiliary head, and there is none; add one, for example \
             [heads.aux] plugin = \"convnext\", or set hssl.supervision = \"none\""
                .into(),
        ));
    }
    let edges: Vec<Edge> =
        edges.into_iter().map(|edge| canonical(edge, heads)).collect::<Result<_>>()?;
    let idle = |head: &&String| !names(&edges, head) && !names(&edges, HEADS);
    match heads.iter().find(idle) {
        // The plain method names none; none is built.
        Some(head) if config.supervision != Supervision::None => Err(Error::Composition(format!(
            "no edge of the supervision graph names the head {head:?}, so nothing would use it; \
             add an edge with it to hssl.edges, or remove [heads.{head}]"
        ))),
        _ => Ok(edges),
    }
}

/// The edges of a head that is one of several candidates. They have the weight 1, as those of equation
/// (1); equation (7) as it stands is `branch_reduction = "sum"` over the number of heads.
fn search(head: &str) -> [Edge; 2] {
    let pair = Some(head.to_owned());
    [Edge { pair: pair.clone(), ..Edge::new(head, BASE) }, Edge { pair, ..Edge::new(BASE, head) }]
}

/// The block of a branch `base.layers.N`.
pub fn layer_index(branch: &str) -> Option<usize> {
    let index = branch.strip_prefix(LAYERS)?.parse().ok()?;
    // One name for each: no `base.layers.08`.
    (branch == format!("{LAYERS}{index}")).then_some(index)
}

/// The intermediate layers that edges name: branches by block.
pub fn layers(edges: &[Edge]) -> BTreeMap<usize, String> {
    let ends = edges.iter().flat_map(|edge| [&edge.teacher, &edge.student]);
    ends.filter_map(|end| Some((layer_index(end)?, end.clone()))).collect()
}

/// Whether an edge has this branch at either end.
pub fn names(edges: &[Edge], branch: &str) -> bool {
    edges.iter().any(|edge| edge.teacher == branch || edge.student == branch)
}

/// Whether an edge trains this branch: the student's end of one.
pub fn trains(edges: &[Edge], branch: &str) -> bool {
    edges.iter().any(|edge| edge.student == branch)
}

/// Whether an edge trains a head's blocks, through its own branch or through all heads joined.
pub fn trains_head(edges: &[Edge], head: &str) -> bool {
    trains(edges, head) || trains(edges, HEADS)
}

fn canonical(edge: Edge, heads: &[String]) -> Result<Edge> {
    let branch = |name: String| -> Result<String> {
        match (name.as_str(), heads) {
            (HEADS, [only]) => Ok(only.clone()),
            (BASE | HEADS, _) => Ok(name),
            _ if layer_index(&name).is_some() => Ok(name),
            _ if heads.contains(&name) => Ok(name),
            _ => {
                let known: Vec<&str> =
                    [BASE, HEADS].into_iter().chain(heads.iter().map(String::as_str)).collect();
                Err(Error::Composition(format!(
                    "hssl.edges names the branch {name:?}; there are {}, and base.layers.N",
                    known.join(", ")
                )))
            }
        }
    };
    if !edge.weight.is_finite() || edge.weight <= 0.0 {
        return Err(Error::Composition(format!(
            "the edge {} -> {} has the weight {}; expected a number above 0",
            edge.teacher, edge.student, edge.weight
        )));
    }
    Ok(Edge { teacher: branch(edge.teacher)?, student: branch(edge.student)?, ..edge })
}

/// Rates of stochastic depth (spec of the released program): one linear ramp r i / (L + d - 1) over
/// the base's L blocks and the d blocks of the deepest head; parallel heads share their range.
pub fn drop_path_rates(
    rate: f64,
    blocks: usize,
    head_blocks: usize,
    counts_head: bool,
) -> (Vec<f64>, Vec<f64>) {
    let total = if counts_head { blocks + head_blocks } else { blocks };
    let at = |i: usize| if total > 1 { rate * i as f64 / (total - 1) as f64 } else { 0.0 };
    let head = |i: usize| if counts_head { at(blocks + i) } else { rate };
    ((0..blocks).map(at).collect(), (0..head_blocks).map(head).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Connection;
    use hssl_plugin_api::component::Reduction;

    fn config(supervision: Supervision, edges: Vec<Edge>) -> HsslConfig {
        HsslConfig {
            supervision,
            edges,
            branch_reduction: Reduction::Mean,
            share_mlp: false,
            share_last_layer: true,
        }
    }

    fn heads(names: &[&str]) -> BTreeMap<String, HeadConfig> {
        let head = |name: &&str| {
            // Parallel heads are told by their names.
            let parallel = name.starts_with("beside");
            let connection = if parallel { Connection::Parallel } else { Connection::Serial };
            let (plugin, options) = ("convnext".to_owned(), serde_json::Map::new());
            ((*name).to_owned(), HeadConfig { plugin, connection, options })
        };
        names.iter().map(head).collect()
    }

    fn refusal(names: &[&str], edges: Vec<Edge>) -> String {
        resolve(&config(Supervision::Edges, edges), &heads(names)).unwrap_err().to_string()
    }

    fn check(supervision: Supervision, names: &[&str], expected: &[(&str, &str)]) {
        let edges = resolve(&config(supervision, Vec::new()), &heads(names)).unwrap();
        let found: Vec<_> =
            edges.iter().map(|e| (e.teacher.as_str(), e.student.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn presets_are_edge_lists() {
        check(Supervision::None, &["aux"], &[("base", "base")]);
        check(Supervision::Hssl, &["aux"], &[("aux", "base"), ("aux", "aux")]);
        check(Supervision::Hssl, &["a", "b"], &[("heads", "base"), ("heads", "heads")]);
        check(Supervision::A2a, &["aux"], &[("aux", "aux")]);
        check(Supervision::A2aB2b, &["aux"], &[("aux", "aux"), ("base", "base")]);
    }

    fn edge(teacher: &str, student: &str) -> Edge {
        Edge::new(teacher, student)
    }

    #[test]
    fn a_search_pairs_every_head_with_the_base() {
        check(
            Supervision::Search,
            &["a", "b"],
            &[("a", BASE), (BASE, "a"), ("b", BASE), (BASE, "b")],
        );
        let edges = resolve(&config(Supervision::Search, Vec::new()), &heads(&["a", "b"])).unwrap();
        let ends = edges.iter().map(|edge| edge.teacher_end().to_string());
        assert_eq!(ends.collect::<Vec<_>>(), ["a/a", "a/base", "b/b", "b/base"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let hssl = config(Supervision::Hssl, Vec::new());
        let error = resolve(&hssl, &heads(&[])).unwrap_err().to_string();
        assert!(error.contains("[heads.aux]"), "{error}");
        assert!(refusal(&["aux"], vec![edge("auxx", BASE)]).contains("\"auxx\""));
        assert!(refusal(&["aux"], vec![edge(BASE, "base.layers.01")]).contains("base.layers.N"));
    }

    #[test]
    fn intermediate_layers_are_branches_without_a_head() {
        let graph = vec![edge(BASE, BASE), edge(BASE, "base.layers.8")];
        let edges = resolve(&config(Supervision::Edges, graph.clone()), &heads(&[])).unwrap();
        assert_eq!(edges, graph);
        assert_eq!(layers(&edges), BTreeMap::from([(8, "base.layers.8".to_owned())]));
    }

    #[test]
    fn a_parallel_head_is_not_joined_and_trains_no_base() {
        check(Supervision::Hssl, &["beside"], &[("beside", BASE), ("beside", "beside")]);
        let error = refusal(&["a", "beside"], vec![edge(HEADS, BASE)]);
        assert!(error.contains("\"beside\"") && error.contains("joins"), "{error}");
        let error = refusal(&["beside"], vec![edge("beside", "beside")]);
        assert!(error.contains("student = \"base\""), "{error}");
        let graph = vec![edge("beside", "base.layers.0"), edge("beside", "beside")];
        resolve(&config(Supervision::Edges, graph), &heads(&["beside"])).unwrap();
    }

    #[test]
    fn a_head_that_no_edge_names_is_refused() {
        let resolve = |edges| resolve(&config(Supervision::Edges, edges), &heads(&["a", "b"]));
        let error = refusal(&["a", "b"], vec![edge("a", BASE)]);
        assert!(error.contains("\"b\"") && error.contains("[heads.b]"), "{error}");
        for named in [edge("b", BASE), edge(BASE, "b"), edge(HEADS, BASE)] {
            resolve(vec![edge("a", BASE), named]).unwrap();
        }
    }

    #[test]
    fn what_is_only_a_teacher_is_not_trained() {
        let edges = [edge(HEADS, BASE), edge(HEADS, "a")];
        assert!(names(&edges, HEADS) && !trains(&edges, HEADS));
        assert!(trains_head(&edges, "a") && !trains_head(&edges, "b"));
        assert!(trains_head(&[edge(BASE, HEADS)], "b"), "a joined branch trains every head");
    }

    #[test]
    fn the_ramp_counts_the_head() {
        let (base, head) = drop_path_rates(0.1, 12, 3, true);
        let expected = [
            0., 0.007143, 0.014286, 0.021429, 0.028571, 0.035714, 0.042857, 0.05, 0.057143,
            0.064286, 0.071429, 0.078571, 0.085714, 0.092857, 0.1,
        ];
        for (found, expected) in base.iter().chain(&head).zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let (base, _) = drop_path_rates(0.1, 12, 0, true);
        assert_eq!(base[11], 0.1);
    }
}
