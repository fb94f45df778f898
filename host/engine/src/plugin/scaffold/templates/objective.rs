//! An objective: from one view, the student predicts what the teacher says of another, by the cosine
//! of their angle (Grill et al., 2020). Replace [`MyPlugin::term`] by your loss.

use std::collections::BTreeMap;

use hssl_plugin_api::component::{
    Edge, EncodedBranches, Level, Loss, Objective, ObjectiveSetup, Reduction, StepContext, Views,
    reduce_edges,
};
use hssl_plugin_api::nn::Linear;
use hssl_plugin_api::{Error, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "my_plugin",
    objective "my_plugin": MyPlugin, "Predicts the teacher's vector of another view";
}

/// Options: the keys of `[objective]` in a configuration. Their descriptions are shown to users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Channels in which student and teacher are compared.
    out_dim: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { out_dim: 64 }
    }
}

/// The objective. It is written against the edges of the supervision graph, so it works with and
/// without auxiliary heads.
#[derive(Debug)]
pub struct MyPlugin {
    edges: Vec<Edge>,
    reduction: Reduction,
    student: BTreeMap<String, Linear>,
    teacher: BTreeMap<String, Linear>,
    predictors: BTreeMap<String, Linear>,
}

impl Objective for MyPlugin {
    type Config = Config;

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        if let Some(edge) = setup.edges.iter().find(|edge| edge.level != Level::Image) {
            refuse!(
                "the edge {} -> {} compares patches; expected images",
                edge.teacher,
                edge.student
            );
        }
        let supervised = |name: &str| setup.edges.iter().any(|edge| edge.student == name);
        let supervises = |name: &str| setup.edges.iter().any(|edge| edge.teacher == name);
        // The teacher's parameters follow the student's of the same names. What only the teacher
        // uses is not trained.
        let projections = |params: &Params<'_>| -> Result<BTreeMap<String, Linear>> {
            let used = setup.branches.iter().filter(|b| supervised(&b.name) || supervises(&b.name));
            used.map(|branch| {
                let name = branch.name.as_str();
                let params = params.pp("projection").pp(name);
                let params = if supervised(name) { params } else { params.frozen() };
                Ok((branch.name.clone(), Linear::new(branch.width, config.out_dim, &params)?))
            })
            .collect()
        };
        let mut predictors = BTreeMap::new();
        for branch in setup.branches.iter().filter(|branch| supervised(&branch.name)) {
            let params = setup.student.pp("predictor").pp(&branch.name);
            let predictor = Linear::new(config.out_dim, config.out_dim, &params)?;
            predictors.insert(branch.name.clone(), predictor);
        }
        Ok(Self {
            student: projections(&setup.student)?,
            teacher: projections(&setup.teacher)?,
            predictors,
            edges: setup.edges.clone(),
            reduction: setup.reduction,
        })
    }

    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        let [crops, batch, channels, height, width] = views.global.dims()[..] else {
            refuse!("global crops of shape {:?}; expected (G, B, 3, H, W)", views.global.dims());
        };
        if crops < 2 {
            refuse!("views.global_crops_number is {crops}; expected at least 2 views to compare");
        }
        let images = views.global.reshape((crops * batch, channels, height, width))?;
        let teachers: Vec<&str> = self.edges.iter().map(|edge| edge.teacher.as_str()).collect();
        let students: Vec<&str> = self.edges.iter().map(|edge| edge.student.as_str()).collect();
        let targets = cx.teacher().encode(&images, &teachers, None)?;
        let encoded = cx.student().encode(&images, &students, None)?;

        let mut parts = BTreeMap::new();
        let mut terms = Vec::new();
        for edge in &self.edges {
            let term = self.term(edge, &targets, &encoded, batch)?;
            parts.insert(format!("{}->{}", edge.teacher, edge.student), term.clone());
            terms.push((edge, term));
        }
        let total = reduce_edges(&terms, self.reduction)?;
        Ok(Loss { total, parts, metrics: BTreeMap::new() })
    }

    fn after_step(&mut self, _cx: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}

impl MyPlugin {
    /// 1 - the mean cosine of the student's prediction from a view and the teacher's vector of the
    /// next view.
    fn term(
        &self,
        edge: &Edge,
        targets: &EncodedBranches,
        encoded: &EncodedBranches,
        batch: usize,
    ) -> Result<Tensor> {
        let layer = |layers: &BTreeMap<String, Linear>, branch: &str, x: &Tensor| {
            let missing = || Error::refused(format!("there is no layer for branch {branch:?}"));
            layers.get(branch).ok_or_else(missing)?.forward(x)
        };
        let (teacher, student) = (edge.teacher.as_str(), edge.student.as_str());
        let target = layer(&self.teacher, teacher, &targets.get(teacher)?.image)?;
        // Crops are the slow dimension of (G * B, C): one batch further is the next view.
        let target = target.l2_normalize(-1, 1e-12)?.roll(&[batch as i64], &[0])?;
        let projected = layer(&self.student, student, &encoded.get(student)?.image)?;
        let predicted = layer(&self.predictors, student, &projected)?.l2_normalize(-1, 1e-12)?;
        let cosine = predicted.mul(&target)?.sum(&[-1], false)?.mean_all()?;
        cosine.affine(-1.0, 1.0)
    }
}
