//! Which patches supervise which.

use hssl_plugin_api::component::{Edge, Level};
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

/// The base model's branch.
pub const BASE: &str = "base";

/// Patch-level edges of a supervision graph that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PatchEdges {
    /// The base supervises itself, whatever supervises it at the image level (HSSL as released; with
    /// no head, plain iBOT).
    Base,
    /// The same branches as at the image level: with a head, its patches supervise the base's and its
    /// own (last row of Table 20).
    Image,
}

/// The edges of an objective: those of the graph, and where it has none for patches, those of
/// `chosen`.
pub fn with_patch_edges(
    objective: &str,
    graph: &[Edge],
    chosen: Option<PatchEdges>,
) -> Result<Vec<Edge>> {
    let mut edges = graph.to_vec();
    if let Some(edge) = graph.iter().find(|edge| edge.level == Level::Patch) {
        if chosen.is_some() {
            refuse!(
                "{objective}: patch_edges is given, but the supervision graph has patch edges of \
                 its own ({} -> {}); remove one of them",
                edge.teacher,
                edge.student
            );
        }
        return Ok(edges);
    }
    match chosen.unwrap_or(PatchEdges::Base) {
        PatchEdges::Base => {
            edges.push(Edge { level: Level::Patch, ..Edge::new(BASE, BASE) });
        }
        PatchEdges::Image => {
            edges.extend(graph.iter().map(|edge| Edge { level: Level::Patch, ..edge.clone() }));
        }
    }
    Ok(edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(teacher: &str, student: &str) -> Edge {
        Edge { level: Level::Patch, ..Edge::new(teacher, student) }
    }

    fn check(graph: &[Edge], chosen: Option<PatchEdges>, added: &[Edge]) {
        let found = with_patch_edges("ibot", graph, chosen).unwrap();
        assert_eq!(found, [graph, added].concat());
    }

    #[test]
    fn a_graph_without_patch_edges_gets_some() {
        let hssl = [Edge::new("aux", BASE), Edge::new("aux", "aux")];
        check(&hssl, None, &[patch(BASE, BASE)]);
        check(&hssl, Some(PatchEdges::Image), &[patch("aux", BASE), patch("aux", "aux")]);
        check(&[Edge::new(BASE, BASE)], Some(PatchEdges::Image), &[patch(BASE, BASE)]);
    }

    #[test]
    fn a_graph_with_patch_edges_keeps_them() {
        let graph = [Edge::new("aux", BASE), patch("aux", BASE)];
        check(&graph, None, &[]);
        let error = with_patch_edges("ibot", &graph, Some(PatchEdges::Base)).unwrap_err();
        assert!(error.to_string().contains("aux -> base"), "{error}");
    }
}
