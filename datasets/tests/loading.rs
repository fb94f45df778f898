//! Loaders and augmentation: the same batches whoever makes them, and what is in them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hssl_datasets::{
    Batch, Dataset, Delivery, Error, EvalTransform, Image, Interpolation, Key, Loader,
    LoaderOptions, MultiCrop, Pixels, RandomCropFlip, Result, Roots, Sample, Scratch, Shard,
    Stream, Transform, ViewGroup, Views, open, random_resized_crop,
};

/// A set whose images are all of the value of their index, some of them broken.
struct Plain {
    len: usize,
    broken: Vec<usize>,
    panics: Option<usize>,
    meeting: Option<Meeting>,
    loads: AtomicUsize,
}

impl Plain {
    fn new(len: usize) -> Self {
        let loads = AtomicUsize::new(0);
        Self { len, broken: Vec::new(), panics: None, meeting: None, loads }
    }
}

/// Holds threads up until so many have come.
struct Meeting {
    expected: usize,
    come: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    fn of(expected: usize) -> Self {
        Self { expected, come: Mutex::new(0), changed: Condvar::new() }
    }

    fn attend(&self) {
        let mut come = self.come.lock().unwrap();
        *come += 1;
        self.changed.notify_all();
        let patience = Duration::from_secs(20);
        let missing = |come: &mut usize| *come < self.expected;
        let (come, waited) = self.changed.wait_timeout_while(come, patience, missing).unwrap();
        let found = *come;
        drop(come);
        assert!(!waited.timed_out(), "only {found} of {} threads came", self.expected);
    }
}

impl Dataset for Plain {
    fn len(&self) -> usize {
        self.len
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn label(&self, index: usize) -> Option<i64> {
        Some(index as i64)
    }
    fn name(&self, index: usize) -> String {
        format!("plain/{index}.png")
    }
    fn load(&self, index: usize) -> Result<Sample> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        assert_ne!(Some(index), self.panics, "image {index} is cursed");
        if let Some(meeting) = &self.meeting {
            meeting.attend();
        }
        if self.broken.contains(&index) {
            let reason = "a hole".into();
            return Err(Error::Decode { name: self.name(index), size: 3, reason });
        }
        let image = Image::from_data(8, 8, vec![index as u8; 192]);
        Ok(Sample::labelled(image, self.label(index)))
    }
    fn fingerprint(&self) -> String {
        String::new()
    }
    fn describe(&self) -> String {
        "plain".into()
    }
}

fn small_multi_crop() -> Arc<MultiCrop> {
    Arc::new(MultiCrop {
        global_crops_size: 16,
        local_crops_number: 3,
        local_crops_size: 8,
        ..MultiCrop::default()
    })
}

fn whole() -> Arc<EvalTransform> {
    Arc::new(EvalTransform { resize: 0, crop: 0, ..EvalTransform::default() })
}

fn batches(dataset: Arc<dyn Dataset>, options: LoaderOptions) -> Vec<Batch> {
    Loader::start(dataset, small_multi_crop(), options).unwrap().map(Result::unwrap).collect()
}

fn shapes() -> Arc<dyn Dataset> {
    open("generated:shapes?n=70", &Roots::default()).unwrap()
}

#[test]
fn batches_depend_on_seed_and_epoch_alone() {
    let options = |threads| LoaderOptions { threads, ..LoaderOptions::training(8, 5, 2) };
    let inline = batches(shapes(), options(0));
    assert_eq!(inline.len(), 8, "70 images, batches of 8, the rest dropped");
    for threads in [1, 2, 5] {
        let prefetch = threads;
        let found = batches(shapes(), LoaderOptions { prefetch, ..options(threads) });
        assert!(found == inline, "{threads} threads");
    }
    let resumed = batches(shapes(), LoaderOptions { start_batch: 5, ..options(2) });
    assert!(resumed == inline[5..], "the tail of the epoch");
    for other in [LoaderOptions::training(8, 5, 3), LoaderOptions::training(8, 6, 2)] {
        assert_ne!(batches(shapes(), other)[0].indices, inline[0].indices);
    }
    let group = &inline[0].groups;
    assert_eq!((group.len(), group[0].views, group[1].views), (2, 2, 3));
    assert_eq!((group[0].height, group[1].width, group[0].batch), (16, 8, 8));
    assert_eq!(group[1].floats().len(), 3 * 8 * 3 * 8 * 8);
    let mut seen: Vec<_> = inline.iter().flat_map(|batch| batch.indices.clone()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 64, "no image twice");
}

/// What a device makes of bytes is what the loader makes of them, to the last bit.
#[test]
fn bytes_become_the_same_floats() {
    let options = LoaderOptions::training(8, 5, 2);
    let floats = batches(shapes(), options.clone());
    let bytes = batches(shapes(), LoaderOptions { delivery: Delivery::Bytes, ..options });
    assert_eq!(floats.len(), bytes.len());
    for (floats, bytes) in floats.iter().zip(&bytes) {
        for (floats, bytes) in floats.groups.iter().zip(&bytes.groups) {
            let Pixels::Bytes { values, normalisation } = &bytes.pixels else {
                panic!("no bytes");
            };
            let (tables, plane) = (normalisation.tables(), bytes.height * bytes.width);
            let looked_up = values
                .iter()
                .enumerate()
                .map(|(at, value)| tables[at / plane % 3][usize::from(*value)]);
            assert!(looked_up.eq(floats.floats().iter().copied()));
        }
    }
}

#[test]
fn evaluation_reads_every_image_in_order() {
    let loader =
        Loader::start(Arc::new(Plain::new(21)), whole(), LoaderOptions::evaluation(8)).unwrap();
    assert_eq!(loader.batches_per_epoch(), 3);
    let found: Vec<_> = loader.map(Result::unwrap).collect();
    let indices: Vec<_> = found.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, (0..21).collect::<Vec<_>>());
    assert_eq!(found[2].labels, [16, 17, 18, 19, 20]);
    let value = (17.0 / 255.0 - 0.485) / 0.229;
    assert_eq!(found[2].groups[0].view(0, 1)[0], value);
}

#[test]
fn ranks_share_the_images() {
    let mut all = Vec::new();
    for rank in 0..3 {
        let shard = Shard { rank, world: 3 };
        let options = LoaderOptions { shard, drop_last: false, ..LoaderOptions::training(4, 1, 0) };
        let expected = options.batches(20);
        let found = batches(Arc::new(Plain::new(20)), options);
        assert_eq!(found.len(), expected);
        all.extend(found.into_iter().flat_map(|batch| batch.indices));
    }
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_slow_consumer_bounds_the_memory() {
    for (threads, prefetch, ahead) in [(2, 3, 3), (3, 2, 3)] {
        let set = Arc::new(Plain::new(400));
        let options = LoaderOptions { threads, prefetch, ..LoaderOptions::evaluation(4) };
        let mut loader = Loader::start(set.clone(), whole(), options).unwrap();
        for number in 0..20 {
            loader.next().unwrap().unwrap();
            let loads = set.loads.load(Ordering::SeqCst);
            assert!(loads <= (number + ahead) * 4, "{loads} images read after batch {number}");
        }
        // Dropped in the middle: returns without waiting for the rest.
        drop(loader);
        assert!(set.loads.load(Ordering::SeqCst) < 100);
    }
}

#[test]
fn every_thread_has_a_batch_to_make() {
    let set = Arc::new(Plain { meeting: Some(Meeting::of(6)), ..Plain::new(6) });
    let options = LoaderOptions { threads: 6, prefetch: 2, ..LoaderOptions::evaluation(1) };
    for batch in Loader::start(set, whole(), options).unwrap() {
        batch.unwrap();
    }
}

#[test]
fn broken_images_are_replaced_and_counted() {
    let set = || Arc::new(Plain { broken: vec![2, 3, 9], ..Plain::new(10) });
    for threads in [0, 2] {
        let options = LoaderOptions { threads, ..LoaderOptions::evaluation(5) };
        let mut loader = Loader::start(set(), whole(), options).unwrap();
        let first = loader.next().unwrap().unwrap();
        assert_eq!((first.indices, first.broken), (vec![0, 1, 4, 4, 4], 2));
        let second = loader.next().unwrap().unwrap();
        assert_eq!((second.indices, second.labels), (vec![5, 6, 7, 8, 0], vec![5, 6, 7, 8, 0]));
        assert_eq!(loader.broken(), 3);
        let options =
            LoaderOptions { threads, bad_image_limit: Some(2), ..LoaderOptions::evaluation(5) };
        let mut loader = Loader::start(set(), whole(), options).unwrap();
        assert!(loader.next().unwrap().is_ok());
        let message = loader.next().unwrap().unwrap_err().to_string();
        for part in ["3 images", "2 allowed", "plain/9.png", "a hole"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(loader.next().is_none());
    }
}

#[test]
fn a_set_of_broken_images_is_an_error_soon() {
    let set = Arc::new(Plain { broken: (0..5000).collect(), ..Plain::new(5000) });
    let mut loader = Loader::start(set.clone(), whole(), LoaderOptions::evaluation(50)).unwrap();
    let message = loader.next().unwrap().unwrap_err().to_string();
    assert!(message.contains("plain"), "{message}");
    drop(loader);
    assert!(set.loads.load(Ordering::SeqCst) < 1000);
}

#[test]
fn a_panic_is_an_error() {
    for threads in [0, 2] {
        let set = Arc::new(Plain { panics: Some(6), ..Plain::new(10) });
        let options = LoaderOptions { threads, ..LoaderOptions::evaluation(5) };
        let mut loader = Loader::start(set, whole(), options).unwrap();
        assert!(loader.next().unwrap().is_ok());
        let message = loader.next().unwrap().unwrap_err().to_string();
        assert!(message.contains("batch 1") && message.contains("image 6 is cursed"), "{message}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn impossible_batches_are_refused() {
    let start = |options| Loader::start(Arc::new(Plain::new(10)), whole(), options).err().unwrap();
    let message = start(LoaderOptions::training(16, 0, 0)).to_string();
    assert!(message.contains("16") && message.contains("10 images"), "{message}");
    let shard = Shard { rank: 1, world: 4 };
    let message = start(LoaderOptions { shard, ..LoaderOptions::training(4, 0, 0) }).to_string();
    assert!(message.contains("2 images") && message.contains("4 ranks"), "{message}");
    assert!(start(LoaderOptions::evaluation(0)).to_string().contains("batch_size"));
}

#[test]
fn images_of_two_sizes_need_a_crop() {
    struct TwoSizes(Plain);
    impl Dataset for TwoSizes {
        fn len(&self) -> usize {
            2
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn label(&self, _: usize) -> Option<i64> {
            None
        }
        fn name(&self, index: usize) -> String {
            self.0.name(index)
        }
        fn load(&self, index: usize) -> Result<Sample> {
            Ok(Sample::labelled(Image::new(8 + index, 8), None))
        }
        fn fingerprint(&self) -> String {
            String::new()
        }
        fn describe(&self) -> String {
            "two sizes".into()
        }
    }
    let set = Arc::new(TwoSizes(Plain::new(2)));
    let mut loader = Loader::start(set.clone(), whole(), LoaderOptions::evaluation(2)).unwrap();
    let message = loader.next().unwrap().unwrap_err().to_string();
    for part in ["plain/1.png", "9x8", "8x8", "crop"] {
        assert!(message.contains(part), "{message}");
    }
    let loader = Loader::start(set, whole(), LoaderOptions::evaluation(1)).unwrap();
    let batches: Vec<_> = loader.map(Result::unwrap).collect();
    assert_eq!((batches[1].groups[0].width, batches[1].labels[0]), (9, -1));
}

/// Views of one image under many keys.
fn views_of(transform: &dyn Transform, image: &Image, count: u64) -> Vec<Vec<ViewGroup>> {
    let mut scratch = Scratch::new();
    let shapes = transform.groups(image.width, image.height);
    (0..count)
        .map(|index| {
            let mut groups: Vec<_> = shapes.iter().map(|s| ViewGroup::zeros(*s, 1)).collect();
            let key = Key { seed: 1, epoch: 0, index };
            let mut views = Views::new(&mut groups, 0);
            transform.apply(image, key, &mut scratch, &mut views).unwrap();
            groups
        })
        .collect()
}

/// How often `true` came, as a share.
fn share(hits: impl Iterator<Item = bool>) -> f64 {
    let all: Vec<bool> = hits.collect();
    all.iter().filter(|hit| **hit).count() as f64 / all.len() as f64
}

fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() < tolerance, "{what}: {found}, expected {expected}");
}

/// A colourful image that is brighter to the right.
fn ramp() -> Image {
    let mut image = Image::new(64, 48);
    for (at, pixel) in image.data.chunks_exact_mut(3).enumerate() {
        let x = (at % 64) as u8;
        pixel.copy_from_slice(&[x * 3, x, 20 + x * 2]);
    }
    image
}

/// Nothing but crops.
fn bare() -> MultiCrop {
    let mut plain = MultiCrop {
        global_crops_size: 24,
        local_crops_number: 0,
        flip: 0.0,
        grayscale: 0.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        ..MultiCrop::default()
    };
    plain.color_jitter.p = 0.0;
    plain.blur.global = vec![0.0];
    plain.blur.local = 0.0;
    plain.solarize.global = vec![0.0];
    plain
}

#[test]
fn random_choices_have_their_probabilities() {
    const N: u64 = 2000;
    let image = ramp();
    let flipped = |group: &ViewGroup| group.view(0, 0)[0] > group.view(0, 0)[23];
    let views = views_of(&MultiCrop { flip: 0.3, ..bare() }, &image, N);
    near(share(views.iter().map(|g| flipped(&g[0]))), 0.3, 0.04, "flip");
    let views = views_of(&MultiCrop { grayscale: 0.2, ..bare() }, &image, N);
    let is_grey = |g: &ViewGroup| {
        let plane = 24 * 24;
        let view = g.view(0, 0);
        (0..plane).all(|at| view[at] == view[at + plane] && view[at] == view[at + 2 * plane])
    };
    near(share(views.iter().map(|g| is_grey(&g[0]))), 0.2, 0.03, "grayscale");
    // Solarised views of a dark image are the same; of a white one they are black.
    let white = Image::from_data(32, 32, vec![255; 32 * 32 * 3]);
    let mut solarize = bare();
    solarize.solarize.global = vec![0.0, 0.2];
    let views = views_of(&solarize, &white, N);
    assert!(views.iter().all(|g| g[0].view(0, 0)[0] == 1.0), "global crop 0 is never solarised");
    near(share(views.iter().map(|g| g[0].view(1, 0)[0] == 0.0)), 0.2, 0.03, "solarize");
    let mut jitter = bare();
    jitter.color_jitter.p = 0.8;
    let views = views_of(&jitter, &white, N);
    // White can only get darker, which brightness does in half of the cases.
    near(share(views.iter().map(|g| g[0].view(0, 0)[0] < 1.0)), 0.4, 0.04, "color_jitter");
    let checker: Vec<u8> = (0..32 * 32).flat_map(|at| [(at % 2 * 255) as u8; 3]).collect();
    let mut blur = MultiCrop { global_crops_scale: [1.0, 1.0], global_crops_size: 32, ..bare() };
    blur.blur.global = vec![1.0, 0.1];
    blur.blur.sigma = [1.0, 2.0];
    let views = views_of(&blur, &Image::from_data(32, 32, checker), N);
    let blurred = |g: &ViewGroup, view| (g.view(view, 0)[40] - 0.5).abs() < 0.4;
    assert!(views.iter().all(|g| blurred(&g[0], 0)), "global crop 0 is always blurred");
    near(share(views.iter().map(|g| blurred(&g[0], 1))), 0.1, 0.03, "blur");
}

#[test]
fn crops_cover_the_areas_asked_for() {
    let key = Key { seed: 3, epoch: 0, index: 0 };
    let mut random = Stream::new(key, 0);
    let (mut areas, mut aspects) = (Vec::new(), Vec::new());
    for _ in 0..4000 {
        let crop = random_resized_crop(400, 400, [0.14, 0.5], &mut random);
        assert!(crop.left + crop.width <= 400 && crop.top + crop.height <= 400);
        areas.push((crop.width * crop.height) as f64 / 160_000.0);
        aspects.push((crop.width as f64 / crop.height as f64).ln());
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    near(mean(&areas), 0.32, 0.01, "mean area");
    near(mean(&aspects), 0.0, 0.02, "mean log aspect");
    let largest = aspects.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    assert!(largest > 0.25 && largest < 0.30, "log aspect up to {largest}");
    // Far too wide for any try: the largest central crop of an allowed aspect.
    let crop = random_resized_crop(1000, 10, [1.0, 1.0], &mut random);
    assert_eq!((crop.width, crop.height, crop.left), (13, 10, 493));
}

#[test]
fn views_of_an_image_are_independent() {
    let transform = MultiCrop { global_crops_number: 3, ..bare() };
    let views = views_of(&transform, &ramp(), 2);
    assert_ne!(views[0][0].view(0, 0), views[0][0].view(1, 0));
    assert_ne!(views[0][0].view(1, 0), views[0][0].view(2, 0));
    assert_ne!(views[0][0].view(0, 0), views[1][0].view(0, 0));
    // More local crops change no global one.
    let more = MultiCrop { local_crops_number: 4, local_crops_size: 8, ..transform };
    assert_eq!(views_of(&more, &ramp(), 1)[0][0], views[0][0]);
}

#[test]
fn the_probe_transform_crops_and_flips() {
    let transform = RandomCropFlip { size: 12, ..RandomCropFlip::default() };
    assert_eq!(transform.interpolation, Interpolation::Bilinear);
    let views = views_of(&transform, &ramp(), 500);
    let flipped = |group: &ViewGroup| group.view(0, 0)[0] > group.view(0, 0)[11];
    near(share(views.iter().map(|g| flipped(&g[0]))), 0.5, 0.08, "flip");
}

#[test]
fn settings_read_as_written_and_refuse_typos() {
    let views: MultiCrop = serde_json::from_str(
        r#"{"global_crops_size": 32, "color_jitter": {"p": 0.5}, "interpolation": "bilinear"}"#,
    )
    .unwrap();
    assert_eq!((views.global_crops_size, views.color_jitter.p), (32, 0.5));
    assert_eq!((views.color_jitter.hue, views.global_crops_number), (0.1, 2));
    assert!(views.validate().is_ok());
    let error = serde_json::from_str::<MultiCrop>(r#"{"global_crop_size": 32}"#).unwrap_err();
    assert!(error.to_string().contains("global_crops_size"), "{error}");
    let wrong = MultiCrop { local_crops_scale: [0.4, 0.05], ..views };
    let message = wrong.validate().unwrap_err().to_string();
    assert!(message.contains("views.local_crops_scale") && message.contains("0.4"), "{message}");
}
