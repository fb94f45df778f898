//! Batches of an epoch, made by several threads, handed out in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::augment::{Scratch, Transform, ViewGroup, Views};
use crate::order::{Shard, epoch_order};
use crate::random::Key;
use crate::{Dataset, Error, Result, Sample};

/// How to load an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Images of a batch.
    pub batch_size: usize,
    /// Whether to shuffle, by seed and epoch.
    pub shuffle: bool,
    /// Whether an incomplete last batch is left out (and ranks get equal shares).
    pub drop_last: bool,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Number of the epoch.
    pub epoch: u64,
    /// First batch to hand out: where an interrupted epoch goes on.
    pub start_batch: usize,
    /// Loading threads; 0 loads in the thread that asks.
    pub threads: usize,
    /// Batches that may be ready or in the making, from the one asked for on; at least one for each
    /// thread, which would have nothing to do otherwise.
    pub prefetch: usize,
    /// Unreadable images an epoch may have; by default 1 % of the set, at least 10.
    pub bad_image_limit: Option<usize>,
    /// The share of the images to load.
    pub shard: Shard,
    /// What of the views is made here.
    pub delivery: Delivery,
}

/// What of a batch's views is made by the loader, and what is left to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Normalised pixels.
    Floats,
    /// Pixels as bytes, which the device normalises.
    Bytes,
    /// The images, and what is to be done to them: of transforms that draw recipes
    /// ([`crate::MultiCrop`]).
    Recipes,
}

impl LoaderOptions {
    /// Shuffled whole batches of epoch `epoch`.
    pub fn training(batch_size: usize, seed: u64, epoch: u64) -> Self {
        Self { shuffle: true, drop_last: true, seed, epoch, ..Self::evaluation(batch_size) }
    }

    /// Every image once, in the set's order.
    pub fn evaluation(batch_size: usize) -> Self {
        Self {
            batch_size,
            shuffle: false,
            drop_last: false,
            seed: 0,
            epoch: 0,
            start_batch: 0,
            threads: 2,
            prefetch: 4,
            bad_image_limit: None,
            shard: Shard::WHOLE,
            delivery: Delivery::Floats,
        }
    }

    /// Batches that are in memory at most: what bounds it where the consumer is slow.
    fn look_ahead(&self) -> usize {
        self.prefetch.max(self.threads)
    }

    /// Batches of an epoch over `len` images, from its first on.
    pub fn batches(&self, len: usize) -> usize {
        let Shard { rank, world } = self.shard;
        let share = match (world > 1, self.drop_last) {
            (false, _) => len,
            (true, true) => len / world,
            (true, false) => len.saturating_sub(rank).div_ceil(world),
        };
        match (self.batch_size, self.drop_last) {
            (0, _) => 0,
            (size, true) => share / size,
            (size, false) => share.div_ceil(size),
        }
    }
}

/// A batch of augmented images.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The views, by size: of [`crate::MultiCrop`] the global ones, then the local ones if any.
    pub groups: Vec<ViewGroup>,
    /// Class of each image, -1 where it has none.
    pub labels: Vec<i64>,
    /// Position of each image in its set: of the replacement where one was unreadable.
    pub indices: Vec<usize>,
    /// Images that were unreadable and replaced.
    pub broken: usize,
    /// The images' pixels, one image behind another, where their views are not made yet.
    pub images: Vec<u8>,
}

/// The batches of one epoch, in order. Dropping it stops its threads.
///
/// Batches depend on the set, the transform, and seed and epoch alone: neither the number of
/// threads nor the batch to start from changes a bit of them. An unreadable image is replaced by
/// the next readable one of the set, so batches keep their size.
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Next batch to hand out.
    next: usize,
    /// Unreadable images so far.
    broken: usize,
    scratch: Scratch,
    failed: bool,
}

/// What all threads of a loader see.
struct Shared {
    dataset: Arc<dyn Dataset>,
    transform: Arc<dyn Transform>,
    options: LoaderOptions,
    order: Vec<usize>,
    batches: usize,
    bad_image_limit: usize,
    state: Mutex<State>,
    changed: Condvar,
    /// Set on drop: threads stop between two images.
    stop: AtomicBool,
}

struct State {
    /// Next batch that a thread takes up.
    to_make: usize,
    /// Batches handed out: threads stay less than [`LoaderOptions::look_ahead`] ahead of it.
    handed_out: usize,
    ready: BTreeMap<usize, Result<Made>>,
}

/// A batch and the reason of its last unreadable image.
struct Made {
    batch: Batch,
    last_broken: Option<String>,
}

impl Loader {
    /// Starts loading.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] if `drop_last` leaves no batch, [`Error::Setting`] for a batch size
    /// of 0 or a rank outside its world.
    pub fn start(
        dataset: Arc<dyn Dataset>,
        transform: Arc<dyn Transform>,
        options: LoaderOptions,
    ) -> Result<Self> {
        let setting = |key: &str, found: usize, expected: &str| Error::Setting {
            key: key.into(),
            found: found.to_string(),
            expected: expected.into(),
        };
        if options.batch_size == 0 {
            return Err(setting("batch_size", 0, "1 or more images"));
        }
        let shard = options.shard;
        if shard.rank >= shard.world {
            let expected = format!("a rank below the {} there are", shard.world);
            return Err(setting("rank", shard.rank, &expected));
        }
        let Shard { rank: _, world } = shard;
        let len = dataset.len();
        let order = epoch_order(
            len,
            options.shuffle,
            options.seed,
            options.epoch,
            shard,
            options.drop_last,
        );
        let batches = options.batches(len);
        if batches == 0 && options.drop_last {
            return Err(Error::BatchTooLarge {
                set: dataset.describe(),
                batch_size: options.batch_size,
                images: order.len(),
                share: match world {
                    1 => String::new(),
                    _ => format!(" that each of {world} ranks gets"),
                },
            });
        }
        let bad_image_limit = options.bad_image_limit.unwrap_or((len / 100).max(10));
        let start = options.start_batch.min(batches);
        let threads = options.threads.min(batches - start);
        let state = State { to_make: start, handed_out: start, ready: BTreeMap::new() };
        let shared = Arc::new(Shared {
            dataset,
            transform,
            options,
            order,
            batches,
            bad_image_limit,
            state: Mutex::new(state),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let threads = (0..threads)
            .map(|number| {
                let shared = shared.clone();
                std::thread::Builder::new()
                    .name(format!("loader-{number}"))
                    .spawn(move || shared.work())
                    .map_err(|e| Error::io("start a thread for", "the loader".as_ref(), e))
            })
            .collect::<Result<Vec<_>>>()?;
        let scratch = Scratch::new();
        Ok(Self { shared, threads, next: start, broken: 0, scratch, failed: false })
    }

    /// Batches of the whole epoch, from its first on.
    pub fn batches_per_epoch(&self) -> usize {
        self.shared.batches
    }

    /// Unreadable images replaced so far.
    pub fn broken(&self) -> usize {
        self.broken
    }

    fn wait_for(&mut self, number: usize) -> Result<Made> {
        if self.threads.is_empty() {
            return self.shared.make_caught(number, &mut self.scratch);
        }
        let mut state = self.shared.lock();
        state.handed_out = number;
        self.shared.changed.notify_all();
        loop {
            if let Some(made) = state.ready.remove(&number) {
                return made;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.failed || self.next >= self.shared.batches {
            return None;
        }
        let made = self.wait_for(self.next);
        self.next += 1;
        let result = made.and_then(|Made { batch, last_broken }| {
            self.broken += batch.broken;
            match last_broken {
                Some(last) if self.broken > self.shared.bad_image_limit => {
                    Err(self.shared.too_many_broken(self.broken, last))
                }
                _ => Ok(batch),
            }
        });
        self.failed = result.is_err();
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.failed { 0 } else { self.shared.batches - self.next };
        (0, Some(left))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        {
            // Under the lock, so that no thread misses it between looking and waiting.
            let _state = self.shared.lock();
            self.shared.changed.notify_all();
        }
        for thread in self.threads.drain(..) {
            // Panics were caught and handed out as errors.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: takes up the next batch as long as it is not too far ahead.
    fn work(&self) {
        let mut scratch = Scratch::new();
        let ahead = self.options.look_ahead();
        loop {
            let number = {
                let mut state = self.lock();
                loop {
                    if self.stop.load(Ordering::Relaxed) || state.to_make >= self.batches {
                        return;
                    }
                    if state.to_make < state.handed_out + ahead {
                        break;
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.to_make += 1;
                state.to_make - 1
            };
            let made = self.make_caught(number, &mut scratch);
            self.lock().ready.insert(number, made);
            self.changed.notify_all();
        }
    }

    fn make_caught(&self, number: usize, scratch: &mut Scratch) -> Result<Made> {
        // The working memory is only ever overwritten: a panic cannot leave it in a bad state.
        catch_unwind(AssertUnwindSafe(|| self.make(number, scratch))).unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "no message".into());
            Err(Error::WorkerPanic { set: self.dataset.describe(), batch: number, message })
        })
    }

    /// Makes batch `number` of the epoch.
    fn make(&self, number: usize, scratch: &mut Scratch) -> Result<Made> {
        let size = self.options.batch_size;
        let end = ((number + 1) * size).min(self.order.len());
        let wanted = &self.order[number * size..end];
        let mut shapes = Vec::new();
        let mut batch = Batch {
            groups: Vec::new(),
            labels: Vec::with_capacity(wanted.len()),
            indices: Vec::with_capacity(wanted.len()),
            broken: 0,
            images: Vec::new(),
        };
        let mut last_broken = None;
        for (position, &index) in wanted.iter().enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let (found, sample) = self.load_or_next(index, &mut last_broken)?;
            batch.broken += usize::from(found != index);
            let image = &sample.image;
            let own = self.transform.groups(image.width, image.height);
            if position == 0 {
                let make = match self.options.delivery {
                    Delivery::Floats => ViewGroup::zeros,
                    Delivery::Bytes => ViewGroup::black,
                    Delivery::Recipes => ViewGroup::undrawn,
                };
                batch.groups = own.iter().map(|shape| make(*shape, wanted.len())).collect();
                shapes = own;
            } else if own != shapes {
                let size = |shapes: &[crate::augment::GroupShape]| {
                    shapes.first().map_or("none".into(), |s| format!("{}x{}", s.width, s.height))
                };
                return Err(Error::SizesDiffer {
                    first: self.dataset.name(batch.indices[0]),
                    first_size: size(&shapes),
                    other: self.dataset.name(found),
                    other_size: size(&own),
                });
            }
            // Keyed by the place in the epoch: a replacement gets views of its own, also where the
            // image itself is in the batch.
            let key =
                Key { seed: self.options.seed, epoch: self.options.epoch, index: index as u64 };
            let start = batch.images.len();
            if self.options.delivery == Delivery::Recipes {
                batch.images.extend_from_slice(&image.data);
            }
            let mut views = Views::new(&mut batch.groups, position).starting(start);
            self.transform.apply(image, key, scratch, &mut views)?;
            batch.labels.push(sample.label.unwrap_or(-1));
            batch.indices.push(found);
        }
        Ok(Made { batch, last_broken })
    }

    /// Image `index`, or the next readable one after it.
    fn load_or_next(
        &self,
        index: usize,
        last_broken: &mut Option<String>,
    ) -> Result<(usize, Sample)> {
        let len = self.dataset.len();
        // Past the limit the epoch fails anyway; a set of broken images must not be read through
        // for each of its images.
        let tries = (self.bad_image_limit + 1).min(len);
        for step in 0..tries {
            let candidate = (index + step) % len;
            match self.dataset.load(candidate) {
                Ok(sample) => return Ok((candidate, sample)),
                Err(error) if error.is_broken_image() => {
                    if step == 0 {
                        let replacement = "the next readable image";
                        tracing::warn!(%error, replacement, "unreadable image skipped");
                    }
                    *last_broken = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Err(self.too_many_broken(tries, last_broken.take().unwrap_or_default()))
    }

    fn too_many_broken(&self, broken: usize, last: String) -> Error {
        let set = self.dataset.describe();
        Error::TooManyBroken { set, broken, limit: self.bad_image_limit, last }
    }
}
