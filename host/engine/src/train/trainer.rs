//! The loop over epochs: batches, steps, logs, checkpoints, evaluations, stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hssl_datasets::{Dataset, Loader, LoaderOptions, Roots, Transform, cached, open};
use hssl_plugin_api::component::{Kind, Split, StepInfo};
use hssl_tensor::{Device, Gradients};

use super::feed::{Fed, Feed};
use super::log::MetricLog;
use super::{Learner, Outcome, Rates, Schedules, batches, groups, watch};
use crate::analysis::{self, Images};
use crate::checkpoint::{self, Progress};
use crate::config::{ComponentConfig, Precision, RunConfig};
use crate::device;
use crate::error::{Error, Result};
use crate::evaluate::{EvaluationData, Evaluator};
use crate::events::{Event, Observer};
use crate::plugin::Registry;
use crate::run::{RunFolder, RunRecord, seconds_since_1970};

/// What evaluates while training.
const ONLINE: &str = "knn";
/// Its neighbours; all training images where there are fewer.
const ONLINE_NEIGHBOURS: usize = 20;

/// The discrepancy of a head's branch among the metrics, before the branch's name.
pub const DISCREPANCY: &str = "online/discrepancy.";

/// What a run is made of.
pub struct Job<'a> {
    /// The resolved configuration.
    pub config: &'a RunConfig,
    /// The same as text, for the run's folder.
    pub text: &'a str,
    /// Where data is looked for.
    pub roots: &'a Roots,
    /// Plugins.
    pub registry: &'a Registry,
    /// Where the run is written.
    pub folder: RunFolder,
    /// Continue what is there.
    pub resume: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// The user stopped it; the checkpoint holds where it stands.
    Interrupted,
}

/// Trains to the end or until the observer cancels.
///
/// # Errors
/// Parts do not fit, data or disk fail, or the loss is not finite. What was saved stays.
pub fn pretrain(job: &Job<'_>, observer: &dyn Observer) -> Result<Ending> {
    Trainer::prepare(job, observer)?.run()
}

/// Time since the last log line, and how it was spent.
struct Pace {
    since: Instant,
    waited: Duration,
    images: usize,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), waited: Duration::ZERO, images: 0 }
    }

    fn images_per_s(&self) -> f64 {
        self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9)
    }

    fn wait(&self) -> f64 {
        self.waited.as_secs_f64() / self.since.elapsed().as_secs_f64().max(1e-9)
    }
}

struct Trainer<'a> {
    job: &'a Job<'a>,
    observer: &'a dyn Observer,
    learner: Learner,
    dataset: Arc<dyn Dataset>,
    evaluation: Option<EvaluationData>,
    schedules: Schedules,
    steps_per_epoch: usize,
    progress: Progress,
    log: MetricLog,
    checked: bool,
    saved: Instant,
    warned: std::collections::BTreeSet<String>,
}

impl<'a> Trainer<'a> {
    fn prepare(job: &'a Job<'a>, observer: &'a dyn Observer) -> Result<Self> {
        let config = job.config;
        let device = device::select(&config.train.device)?;
        let dataset = cached(open(&config.data.train, job.roots)?, config.data.cache_mb << 20);
        let batches = config.train.batch_size * config.train.accum_iter.max(1);
        let steps_per_epoch = dataset.len() / batches.max(1);
        if steps_per_epoch == 0 {
            return Err(Error::Composition(format!(
                "train.batch_size {} x accum_iter {} is more than the {} images of {}; lower \
                 train.batch_size",
                config.train.batch_size,
                config.train.accum_iter,
                dataset.len(),
                config.data.train,
            )));
        }
        let evaluation = online_evaluation(job)?;
        let mut learner = Learner::build(config, job.registry, &device)?;
        let mut progress = Progress { epoch: 0, batch: 0, step: 0, data: dataset.fingerprint() };
        let folder = &job.folder;
        if job.resume && checkpoint::exists(&folder.last()) {
            progress = resume(&mut learner, folder, &progress.data, &device)?;
        } else if job.resume && folder.config().exists() {
            tracing::warn!("{}: no checkpoint yet; the run starts anew", folder.path().display());
        } else {
            folder.create()?;
        }
        if job.resume && progress.epoch < config.train.epochs {
            // Evaluations prefer the export, which is of fewer epochs than will be trained now; the
            // checkpoint has its weights.
            folder.remove_backbone()?;
        }
        folder.write_config(job.text)?;
        folder.write_record(&record(job, &learner, dataset.as_ref(), &device))?;
        let log = MetricLog::open(folder, progress.step)?;
        Ok(Self {
            job,
            observer,
            learner,
            evaluation,
            schedules: Schedules::new(config, steps_per_epoch),
            steps_per_epoch,
            checked: progress.step > 0,
            progress,
            log,
            dataset,
            saved: Instant::now(),
            warned: std::collections::BTreeSet::new(),
        })
    }

    fn run(mut self) -> Result<Ending> {
        let epochs = self.job.config.train.epochs;
        self.observer.event(&Event::Started {
            folder: self.job.folder.path().to_owned(),
            summary: self.summary(),
            steps: epochs * self.steps_per_epoch,
            done: self.progress.step,
        });
        while self.progress.epoch < epochs {
            if self.epoch()? == Ending::Interrupted {
                self.save()?;
                return Ok(Ending::Interrupted);
            }
            let done = self.progress.epoch + 1;
            if let Err(error) = self.evaluate(done == epochs) {
                // The epoch is kept; a resumed run has no step left of it and evaluates again.
                self.save()?;
                if self.observer.cancelled() {
                    return Ok(Ending::Interrupted);
                }
                return Err(error);
            }
            self.progress = Progress { epoch: done, batch: 0, ..self.progress };
            self.save()?;
            let every = self.job.config.train.save_every;
            if every > 0 && done.is_multiple_of(every) {
                checkpoint::write(
                    &self.job.folder.epoch(done),
                    &self.learner.state()?,
                    &self.progress,
                )?;
            }
        }
        checkpoint::write_weights(
            &self.job.folder.backbone(),
            &self.learner.backbone_weights(),
            None,
        )?;
        Ok(Ending::Finished)
    }

    /// What is left of the current epoch.
    fn epoch(&mut self) -> Result<Ending> {
        let config = self.job.config;
        let device = self.learner.device().clone();
        let options = LoaderOptions {
            start_batch: self.progress.batch,
            ..batches::options(config, self.progress.epoch as u64, &device)
        };
        let transform: Arc<dyn Transform> = Arc::new(config.views.clone());
        let loader = Loader::start(self.dataset.clone(), transform, options)?;
        let mut feed = Feed::new(loader, device);
        let last_batch = self.steps_per_epoch * config.train.accum_iter;
        let mut pace = Pace::new();
        while self.progress.batch < last_batch {
            let info = self.info();
            let rates = self.schedules.at(self.progress.step);
            let (outcome, gradients) = self.accumulate(&mut feed, &info, &mut pace)?;
            let norms = self.learner.update(gradients, rates, &info)?;
            self.progress.step += 1;
            self.report(&info, &outcome, rates, &norms, &mut pace)?;
            if self.observer.cancelled() {
                return Ok(Ending::Interrupted);
            }
            let patience = Duration::from_secs(config.train.save_seconds);
            if !patience.is_zero() && self.saved.elapsed() > patience {
                self.save()?;
            }
        }
        Ok(Ending::Finished)
    }

    /// Forward and backward over one accumulation window.
    fn accumulate(
        &mut self,
        feed: &mut Feed,
        info: &StepInfo,
        pace: &mut Pace,
    ) -> Result<(Outcome, Gradients)> {
        let slices = self.job.config.train.accum_iter;
        let mut sum = Gradients::default();
        let mut last = None;
        for slice in 0..slices {
            let Fed { views, images } = feed.next()?;
            pace.images += images;
            let outcome = self.learner.forward(&views, info, slice)?;
            self.demand_finite(&outcome, info)?;
            let gradients = self.learner.backward(&outcome, slices)?;
            feed.send_ahead();
            pace.waited += feed.waited();
            if !self.checked {
                let excused = self.learner.check_gradients(&gradients)?;
                if !excused.is_empty() {
                    tracing::info!(
                        "outside the supervision graph, not trained: {}",
                        excused.join(", ")
                    );
                }
                self.checked = true;
            }
            sum.merge(gradients)?;
            last = Some(outcome);
            self.progress.batch += 1;
        }
        let outcome = last.ok_or_else(|| {
            Error::Composition("train.accum_iter is 0; expected at least 1".into())
        })?;
        Ok((outcome, sum))
    }

    /// On a GPU, looking at the loss waits for the device: there only steps that are logged look.
    fn demand_finite(&self, outcome: &Outcome, info: &StepInfo) -> Result<()> {
        if self.learner.device().is_cuda() && !info.log {
            return Ok(());
        }
        let loss = outcome.total.scalar()?;
        if loss.is_finite() {
            return Ok(());
        }
        let last = self.job.folder.last();
        let fix = if checkpoint::exists(&last) {
            format!(
                "the last good checkpoint is {}; resume from it with a lower train.lr",
                last.display()
            )
        } else {
            "no checkpoint was written yet; start again with a lower train.lr or a longer \
             train.warmup_epochs"
                .to_owned()
        };
        Err(Error::Training(format!("the loss is {loss} at step {}: {fix}", info.step)))
    }

    fn info(&self) -> StepInfo {
        let config = &self.job.config.train;
        let step = self.progress.step;
        let last = step + 1 == config.epochs * self.steps_per_epoch;
        StepInfo {
            epoch: self.progress.epoch,
            epochs: config.epochs,
            step,
            steps_per_epoch: self.steps_per_epoch,
            log: step.is_multiple_of(config.log_every.max(1)) || last,
        }
    }

    fn report(
        &mut self,
        info: &StepInfo,
        outcome: &Outcome,
        rates: Rates,
        norms: &[(String, f64)],
        pace: &mut Pace,
    ) -> Result<()> {
        let metrics = if info.log { Some(self.metrics(outcome, rates, norms)?) } else { None };
        let (images_per_s, wait) = (pace.images_per_s(), pace.wait());
        if let Some(metrics) = &metrics {
            let mut line = metrics.clone();
            line.insert("time/images_per_s".into(), images_per_s);
            line.insert("time/wait".into(), wait);
            self.log.write(self.progress.step, info.epoch, &line)?;
            self.warn(watch::diagnostics(metrics));
            *pace = Pace::new();
        }
        self.observer.event(&Event::Step {
            epoch: info.epoch,
            epochs: info.epochs,
            step: self.progress.step,
            images_per_s,
            wait,
            metrics,
        });
        Ok(())
    }

    fn metrics(
        &self,
        outcome: &Outcome,
        rates: Rates,
        norms: &[(String, f64)],
    ) -> Result<BTreeMap<String, f64>> {
        let mut metrics = BTreeMap::from([
            ("loss".to_owned(), outcome.total.scalar()?),
            ("lr".to_owned(), rates.lr),
            ("weight_decay".to_owned(), rates.weight_decay),
            ("momentum_teacher".to_owned(), rates.momentum_teacher),
        ]);
        let squares: f64 = norms.iter().map(|(_, norm)| norm * norm).sum();
        metrics.insert("grad_norm".into(), squares.sqrt());
        let mut parts: BTreeMap<&str, f64> = BTreeMap::new();
        for (name, norm) in norms {
            *parts.entry(groups::part(name)).or_default() += norm * norm;
        }
        metrics.extend(parts.iter().map(|(part, norm)| (format!("grad_norm/{part}"), norm.sqrt())));
        for (name, value) in &outcome.parts {
            metrics.insert(format!("loss/{name}"), value.scalar()?);
        }
        for (name, value) in &outcome.metrics {
            metrics.insert(format!("{}{name}", watch::PANEL), value.scalar()?);
        }
        Ok(metrics)
    }

    /// Says each kind of warning once.
    fn warn(&mut self, warnings: impl IntoIterator<Item = (String, String)>) {
        for (kind, warning) in warnings {
            if self.progress.step > self.steps_per_epoch / 2 && self.warned.insert(kind) {
                self.observer.event(&Event::Warning(warning));
            }
        }
    }

    /// Online kNN and spread of the teacher's base.
    fn evaluate(&mut self, last: bool) -> Result<()> {
        let config = self.job.config;
        let done = self.progress.epoch + 1;
        let Some(data) = &self.evaluation else { return Ok(()) };
        if !last && !done.is_multiple_of(config.eval.online_every) {
            return Ok(());
        }
        let device = self.learner.device().clone();
        let autocast = config.train.precision == Precision::Bf16;
        let mut evaluator = Evaluator::new(
            &mut self.learner.teacher,
            data.clone(),
            self.job.registry,
            (&device, autocast),
            self.observer,
            config.train.seed,
        )?;
        let neighbours = data.train.len().min(ONLINE_NEIGHBOURS);
        let options = serde_json::json!({ "k": [neighbours], "headline_k": neighbours });
        let knn = ComponentConfig {
            plugin: ONLINE.into(),
            options: options.as_object().cloned().unwrap_or_default(),
        };
        let report = evaluator.run(&knn)?;
        let spread = evaluator.spread()?;
        let mut metrics = BTreeMap::from([
            ("online/feature_std".to_owned(), spread.std),
            ("online/feature_rank".to_owned(), spread.rank),
        ]);
        for (name, value) in report.metrics {
            metrics.insert(format!("online/knn_{name}"), value);
        }
        let (images, info) = (Images::of(data, Split::Test), self.info());
        let compared = analysis::compare(&mut self.learner, &images, &info, self.observer)?;
        for (head, found) in compared {
            metrics.extend(found.discrepancy.map(|value| (format!("{DISCREPANCY}{head}"), value)));
            metrics.insert(format!("online/cka.{head}"), found.cka);
            metrics.insert(format!("online/procrustes.{head}"), found.procrustes);
        }
        self.log.write(self.progress.step, self.progress.epoch, &metrics)?;
        self.observer.event(&Event::Evaluated { epoch: self.progress.epoch, metrics });
        let features = watch::features(&spread);
        self.warn(features.map(|warning| ("online/feature_std".to_owned(), warning)));
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        let folder = self.job.folder.last();
        checkpoint::write(&folder, &self.learner.state()?, &self.progress)?;
        self.saved = Instant::now();
        self.observer.event(&Event::Saved { folder });
        Ok(())
    }

    fn summary(&self) -> String {
        let config = self.job.config;
        let heads: Vec<String> =
            config.heads.iter().map(|(name, head)| format!("{name}={}", head.plugin)).collect();
        let heads = if heads.is_empty() { "no head".to_owned() } else { heads.join(", ") };
        format!(
            "{} on {} with {heads}; {}; {} trainable parameters; {}, {}",
            config.objective.plugin,
            config.backbone.plugin,
            self.dataset.describe(),
            self.learner.stores.student.trainable_elements(),
            device::name(self.learner.device()),
            match config.train.precision {
                Precision::F32 => "f32",
                Precision::Bf16 => "bf16",
            },
        )
    }
}

/// The data of the online evaluation, if there is to be one. What would make it impossible is an
/// error before the first step rather than after the first epoch.
fn online_evaluation(job: &Job<'_>) -> Result<Option<EvaluationData>> {
    let config = job.config;
    if config.eval.online_every == 0 || config.data.eval_test.is_none() {
        return Ok(None);
    }
    let limits = (config.eval.online_train, config.eval.online_test);
    let data = EvaluationData::open(config, job.roots, limits)?;
    data.classes()?;
    job.registry.component(Kind::Evaluator, ONLINE)?;
    Ok(Some(data))
}

fn resume(
    learner: &mut Learner,
    folder: &RunFolder,
    data: &str,
    device: &Device,
) -> Result<Progress> {
    let (state, progress) = checkpoint::read(&folder.last(), device)?;
    if progress.data != data {
        return Err(Error::content(
            folder.last(),
            "the training images are not those that the run began with (their names, sizes or labels \
             changed); restore them, or start a new run with --out",
        ));
    }
    learner.load_state(&state, &folder.last())?;
    Ok(progress)
}

fn record(job: &Job<'_>, learner: &Learner, data: &dyn Dataset, device: &Device) -> RunRecord {
    RunRecord {
        hssl: env!("CARGO_PKG_VERSION").into(),
        plugins: job.registry.used(),
        device: device::name(device).into(),
        threads: rayon::current_num_threads(),
        data: (data.describe(), data.fingerprint()),
        trainable_parameters: learner.stores.student.trainable_elements(),
        started: seconds_since_1970(),
    }
}
