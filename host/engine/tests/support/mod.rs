//! Small runs in temporary folders.

mod composition;

use std::path::{Path, PathBuf};

use hssl_datasets::Roots;
use hssl_engine::component::Edge;
use hssl_engine::config::{RunConfig, Supervision};
use hssl_engine::events::Observer;
use hssl_engine::plugin::Registry;
use hssl_engine::run::RunFolder;
use hssl_engine::train::{Ending, Job, Learner, pretrain};
use hssl_tensor::Device;

pub use composition::{configuration, registry};

/// 32 images of 16 x 16, a ViT of two blocks, a ConvNeXt head, DINO; two epochs of four steps.
const SMALL: &str = r#"
[backbone]
plugin = "vit"
patch_size = 4
img_size = 16
embed_dim = 24
depth = 2
num_heads = 2

[heads.aux]
plugin = "convnext"
depth = 2
kernel_size = 3

[objective]
plugin = "dino"
out_dim = 32
hidden_dim = 24
bottleneck_dim = 16

[views]
global_crops_size = 16
local_crops_number = 2
local_crops_size = 8

[eval]
online_every = 1
online_train = 0
online_test = 0
resize = 0
crop = 0
batch_size = 16
"#;

const TRAIN: &str =
    "epochs = 2\nbatch_size = 8\nlr = 1e-3\nwarmup_epochs = 1\nlog_every = 1\nsave_every = 0";
const IMAGES: &str = "generated:shapes?n=32&size=16#train";

/// A small run.
pub struct Run {
    pub config: RunConfig,
    pub registry: Registry,
    folder: tempfile::TempDir,
}

impl Run {
    /// With lines of the `train` section, which replace the usual ones of the same keys.
    pub fn new(train: &str) -> Self {
        Self::with(train, "threads = 2")
    }

    /// With lines of the `train` and the `data` section.
    pub fn with(train: &str, data: &str) -> Self {
        let key = |line: &str| line.split(" =").next().unwrap_or_default().to_owned();
        let given: Vec<String> = train.lines().map(key).collect();
        let usual: Vec<&str> = TRAIN.lines().filter(|line| !given.contains(&key(line))).collect();
        let text = format!(
            "{SMALL}\n[data]\ntrain = \"{IMAGES}\"\neval_test = \"generated:shapes?n=24&size=16#val\"\n\
             {data}\n[train]\n{}\n{train}\n",
            usual.join("\n")
        );
        let registry = registry(&["vit", "convnext", "dino", "knn", "linear"]);
        let config = configuration(&text, &[], &registry);
        Self { config, registry, folder: tempfile::tempdir().unwrap() }
    }

    /// The same run on other images.
    pub fn on(mut self, images: &str) -> Self {
        self.config.data.train = images.to_owned();
        self
    }

    /// The same run with another head like the first.
    pub fn with_head(mut self, name: &str) -> Self {
        let head = self.config.heads["aux"].clone();
        self.config.heads.insert(name.to_owned(), head);
        self
    }

    /// The same run with these edges, teacher to student.
    pub fn with_edges(mut self, edges: &[(&str, &str)]) -> Self {
        let edge = |(teacher, student): &(&str, &str)| Edge::new(*teacher, *student);
        self.config.hssl.supervision = Supervision::Edges;
        self.config.hssl.edges = edges.iter().map(edge).collect();
        self
    }

    /// The same run without heads.
    pub fn without_heads(mut self) -> Self {
        self.config.heads.clear();
        self
    }

    /// What it trains, as it is before the first step.
    pub fn learner(&self) -> Learner {
        Learner::build(&self.config, &self.registry, &Device::Cpu).unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn last(&self) -> PathBuf {
        self.folder().join("checkpoints").join("last")
    }

    pub fn train(&self, resume: bool, observer: &dyn Observer) -> hssl_engine::Result<Ending> {
        let job = Job {
            config: &self.config,
            text: "",
            roots: &Roots::default(),
            registry: &self.registry,
            folder: RunFolder::at(self.folder()),
            resume,
        };
        pretrain(&job, observer)
    }
}

/// A folder of 24 generated images in classes, of which the first few cannot be read; its SPEC, and
/// the names of those few.
pub fn damaged_images(broken: usize) -> (tempfile::TempDir, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let open = |spec: &str| hssl_datasets::open(spec, &Roots::default()).unwrap();
    let drawn = open("generated:shapes?n=24&size=16#val");
    hssl_datasets::write_to(drawn.as_ref(), folder.path()).unwrap();
    let spec = format!("imagefolder:{}", folder.path().display());
    let written = open(&spec);
    let names: Vec<String> = (0..broken).map(|index| written.name(index)).collect();
    for name in &names {
        std::fs::write(name, "no image").unwrap();
    }
    (folder, spec, names)
}

/// Two checkpoints hold the same bits.
#[track_caller]
pub fn weights_equal(a: &Path, b: &Path) {
    let read =
        |folder: &Path| hssl_engine::checkpoint::read(folder, &hssl_tensor::Device::Cpu).unwrap().0;
    let (a, b) = (read(a), read(b));
    assert_eq!(a.len(), b.len());
    for (name, left) in &a {
        let bits = |array: &hssl_tensor::Array| -> Vec<u64> {
            let wide = array.to_dtype(hssl_tensor::DType::F64).unwrap().flatten_all().unwrap();
            wide.to_vec1::<f64>().unwrap().iter().map(|value| value.to_bits()).collect()
        };
        assert_eq!(bits(left), bits(&b[name]), "{name} differs");
    }
}
