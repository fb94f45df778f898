//! `hssl data info`

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hssl_datasets::{Dataset, Image, open};
use rayon::prelude::*;
use serde::Serialize;

use crate::session::Session;
use crate::table::{self, grouped};

/// Count a set's images and classes, and look into a sample of them
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl data info generated:shapes#val
  hssl data info imagefolder:photos --sample 0
  hssl data info cifar10 --data-root ~/data --json")]
pub struct Info {
    /// A data SPEC: a known name, imagefolder:DIR, tar:FILE, ...
    spec: String,
    /// Images that are decoded for sizes and colours, evenly spread over the set; 0: all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sample: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    what: String,
    images: usize,
    classes: BTreeMap<String, usize>,
    unlabelled: usize,
    fingerprint: String,
    sampled: usize,
    /// Smallest, median, largest.
    width: [usize; 3],
    height: [usize; 3],
    /// Red, green, blue in 0..=1, over the pixels of the sample.
    mean: [f64; 3],
    std: [f64; 3],
    /// Name and reason.
    broken: Vec<(String, String)>,
}

impl Info {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let dataset = open(&self.spec, &session.roots(None))?;
        let findings = look(dataset.as_ref(), self.sample);
        if self.json {
            anstream::println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            print(&findings);
        }
        // A set of which nothing can be read is of no use.
        let useless = findings.broken.len() == findings.sampled;
        Ok(if useless { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Sums over the pixels of images.
#[derive(Clone, Copy, Default)]
struct Pixels {
    count: f64,
    sum: [f64; 3],
    squares: [f64; 3],
}

impl Pixels {
    fn of(image: &Image) -> Self {
        let mut histogram = [[0_u64; 256]; 3];
        for pixel in image.data.chunks_exact(3) {
            for (channel, value) in pixel.iter().enumerate() {
                histogram[channel][usize::from(*value)] += 1;
            }
        }
        let mut pixels = Self { count: (image.data.len() / 3) as f64, ..Self::default() };
        for (channel, counts) in histogram.iter().enumerate() {
            for (value, count) in counts.iter().enumerate() {
                let value = value as f64 / 255.0;
                pixels.sum[channel] += value * *count as f64;
                pixels.squares[channel] += value * value * *count as f64;
            }
        }
        pixels
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        for channel in 0..3 {
            self.sum[channel] += other.sum[channel];
            self.squares[channel] += other.squares[channel];
        }
    }

    fn mean(&self) -> [f64; 3] {
        self.sum.map(|sum| sum / self.count.max(1.0))
    }

    fn std(&self) -> [f64; 3] {
        let mean = self.mean();
        std::array::from_fn(|channel| {
            let square = self.squares[channel] / self.count.max(1.0);
            (square - mean[channel] * mean[channel]).max(0.0).sqrt()
        })
    }
}

fn look(dataset: &dyn Dataset, sample: usize) -> Findings {
    let mut classes: BTreeMap<String, usize> =
        dataset.classes().iter().map(|name| (name.clone(), 0)).collect();
    let mut unlabelled = 0;
    for index in 0..dataset.len() {
        let class = dataset.label(index).and_then(|label| dataset.classes().get(label as usize));
        match class {
            Some(class) => *classes.entry(class.clone()).or_default() += 1,
            None => unlabelled += 1,
        }
    }
    let sampled = if sample == 0 { dataset.len() } else { sample.min(dataset.len()) };
    let looks: Vec<_> = (0..sampled)
        .into_par_iter()
        .map(|number| {
            let index = number * dataset.len() / sampled;
            dataset
                .load(index)
                .map(|loaded| (loaded.image.width, loaded.image.height, Pixels::of(&loaded.image)))
                .map_err(|error| (dataset.name(index), error.to_string()))
        })
        .collect();
    let mut pixels = Pixels::default();
    let (mut widths, mut heights, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for look in looks {
        match look {
            Ok((width, height, image)) => {
                widths.push(width);
                heights.push(height);
                pixels.add(&image);
            }
            Err(reason) => broken.push(reason),
        }
    }
    Findings {
        what: dataset.describe(),
        images: dataset.len(),
        classes,
        unlabelled,
        fingerprint: dataset.fingerprint(),
        sampled,
        width: spread(widths),
        height: spread(heights),
        mean: pixels.mean(),
        std: pixels.std(),
        broken,
    }
}

/// Smallest, median, largest.
fn spread(mut sizes: Vec<usize>) -> [usize; 3] {
    sizes.sort_unstable();
    match sizes.as_slice() {
        [] => [0; 3],
        [first, ..] => [*first, sizes[sizes.len() / 2], sizes[sizes.len() - 1]],
    }
}

/// Broken images that are named; the rest are counted.
const NAMED: usize = 10;

fn print(found: &Findings) {
    let line = |name: &str, value: &str| anstream::println!("{name:<12} {value}");
    line("set", &found.what);
    line("images", &grouped(found.images));
    if found.unlabelled > 0 {
        line("unlabelled", &grouped(found.unlabelled));
    }
    line("fingerprint", &found.fingerprint);
    line("sample", &format!("{} images", grouped(found.sampled)));
    let size = |[least, median, most]: [usize; 3]| {
        if least == most {
            format!("{least}")
        } else {
            format!("{least} to {most}, median {median}")
        }
    };
    line("width", &size(found.width));
    line("height", &size(found.height));
    let colour = |values: [f64; 3]| values.map(|value| format!("{value:.4}")).join(" ");
    line("mean", &colour(found.mean));
    line("std", &colour(found.std));
    line("broken", &grouped(found.broken.len()));
    for (name, reason) in found.broken.iter().take(NAMED) {
        anstream::println!("  {name}: {reason}");
    }
    if found.broken.len() > NAMED {
        anstream::println!("  and {} more", grouped(found.broken.len() - NAMED));
    }
    if !found.classes.is_empty() {
        let mut rows = table::numbers(["CLASS", "IMAGES"]);
        for (class, count) in &found.classes {
            rows.add_row([class.clone(), grouped(*count)]);
        }
        anstream::println!();
        table::print(&rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_all_pixels() {
        let mut all = Pixels::default();
        all.add(&Pixels::of(&Image::from_data(2, 1, vec![0, 255, 51, 0, 255, 51])));
        all.add(&Pixels::of(&Image::from_data(2, 1, vec![255, 255, 51, 255, 255, 51])));
        let close = |found: [f64; 3], expected: [f64; 3]| {
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7)
        };
        assert!(close(all.mean(), [0.5, 1.0, 0.2]), "{:?}", all.mean());
        assert!(close(all.std(), [0.5, 0.0, 0.0]), "{:?}", all.std());
    }

    #[test]
    fn spread_is_smallest_median_largest() {
        assert_eq!(spread(vec![5, 1, 3]), [1, 3, 5]);
        assert_eq!(spread(vec![]), [0, 0, 0]);
    }
}
