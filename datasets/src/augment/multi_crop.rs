//! The augmentation of DINO, iBOT and what follows them: a few global and many local crops, each
//! with its own colours (Caron et al. 2021, appendix; spec 1.10).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crop::random_resized_crop;
use super::normalise::{IMAGENET_MEAN, IMAGENET_STD, Normalisation};
use super::recipe::{COLOURS, Colour, Recipe};
use super::resize::Interpolation;
use super::transform::{GroupShape, Scratch, Transform, Views};
use crate::random::{Key, Stream};
use crate::{Error, Image, Result};

/// Settings of the multi-crop augmentation, the `views` section of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MultiCrop {
    /// Large crops of each image; teacher and student see them.
    pub global_crops_number: usize,
    /// Side of a global crop, in pixels.
    pub global_crops_size: usize,
    /// Share of the image's area that a global crop covers: smallest and largest.
    pub global_crops_scale: [f32; 2],
    /// Small crops of each image; only the student sees them. 0 turns multi-crop off.
    pub local_crops_number: usize,
    /// Side of a local crop, in pixels.
    pub local_crops_size: usize,
    /// Share of the image's area that a local crop covers: smallest and largest.
    pub local_crops_scale: [f32; 2],
    /// Probability of mirroring.
    pub flip: f32,
    /// Random brightness, contrast, saturation and hue, in random order.
    pub color_jitter: ColorJitter,
    /// Probability of dropping the colours.
    pub grayscale: f32,
    /// Gaussian blur.
    pub blur: Blur,
    /// Inverting bright pixels.
    pub solarize: Solarize,
    /// Mean of red, green, blue in 0..=1, subtracted.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue, divided by.
    pub std: [f32; 3],
    /// Filter of the crops' resize.
    pub interpolation: Interpolation,
}

/// Random colour changes, as torchvision's `ColorJitter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitter {
    /// Probability.
    pub p: f32,
    /// Brightness is multiplied by 1 +- this.
    pub brightness: f32,
    /// Contrast is multiplied by 1 +- this.
    pub contrast: f32,
    /// Saturation is multiplied by 1 +- this.
    pub saturation: f32,
    /// Hue is turned by +- this share of a turn, at most 0.5.
    pub hue: f32,
}

/// Gaussian blur of a view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Blur {
    /// Probability for global crop 0, 1, ...; the last holds for all further ones.
    pub global: Vec<f32>,
    /// Probability for each local crop.
    pub local: f32,
    /// Smallest and largest standard deviation, in pixels of the crop.
    pub sigma: [f32; 2],
}

/// Solarisation of a view: values from 128 on are inverted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Solarize {
    /// Probability for global crop 0, 1, ...; the last holds for all further ones.
    pub global: Vec<f32>,
}

impl Default for MultiCrop {
    /// The released programs' settings: two global crops of 224, no local ones.
    fn default() -> Self {
        Self {
            global_crops_number: 2,
            global_crops_size: 224,
            global_crops_scale: [0.14, 1.0],
            local_crops_number: 0,
            local_crops_size: 96,
            local_crops_scale: [0.05, 0.4],
            flip: 0.5,
            color_jitter: ColorJitter::default(),
            grayscale: 0.2,
            blur: Blur::default(),
            solarize: Solarize::default(),
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            interpolation: Interpolation::Bicubic,
        }
    }
}

impl Default for ColorJitter {
    fn default() -> Self {
        Self { p: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 }
    }
}

impl Default for Blur {
    fn default() -> Self {
        Self { global: vec![1.0, 0.1], local: 0.5, sigma: [0.1, 2.0] }
    }
}

impl Default for Solarize {
    fn default() -> Self {
        Self { global: vec![0.0, 0.2] }
    }
}

impl MultiCrop {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first key that cannot work.
    pub fn validate(&self) -> Result<()> {
        let scale = |key: &'static str, range: [f32; 2]| {
            let good = 0.0 < range[0] && range[0] <= range[1] && range[1] <= 1.0;
            check(good, key, &range, "[smallest, largest], above 0 and at most 1")
        };
        let probability = |key: &'static str, p: f32| {
            check((0.0..=1.0).contains(&p), key, &p, "a probability, 0 to 1")
        };
        let size = |key: &'static str, count: usize, size: usize| {
            check(count == 0 || size > 0, key, &size, "a side in pixels, above 0")
        };
        check(
            self.global_crops_number + self.local_crops_number > 0,
            "global_crops_number",
            &self.global_crops_number,
            "at least one crop",
        )?;
        size("global_crops_size", self.global_crops_number, self.global_crops_size)?;
        size("local_crops_size", self.local_crops_number, self.local_crops_size)?;
        scale("global_crops_scale", self.global_crops_scale)?;
        scale("local_crops_scale", self.local_crops_scale)?;
        probability("flip", self.flip)?;
        probability("grayscale", self.grayscale)?;
        probability("color_jitter.p", self.color_jitter.p)?;
        for (key, strength) in [
            ("color_jitter.brightness", self.color_jitter.brightness),
            ("color_jitter.contrast", self.color_jitter.contrast),
            ("color_jitter.saturation", self.color_jitter.saturation),
        ] {
            check(strength >= 0.0, key, &strength, "0 or more")?;
        }
        let hue = self.color_jitter.hue;
        check((0.0..=0.5).contains(&hue), "color_jitter.hue", &hue, "0 to 0.5")?;
        for p in &self.blur.global {
            probability("blur.global", *p)?;
        }
        probability("blur.local", self.blur.local)?;
        let [low, high] = self.blur.sigma;
        let good = 0.0 <= low && low <= high;
        check(good, "blur.sigma", &self.blur.sigma, "[smallest, largest] in pixels")?;
        for p in &self.solarize.global {
            probability("solarize.global", *p)?;
        }
        check(self.std.iter().all(|s| *s > 0.0), "std", &self.std, "values above 0")
    }
}

fn check(good: bool, key: &str, found: &dyn std::fmt::Debug, expected: &str) -> Result<()> {
    if good {
        return Ok(());
    }
    let key = format!("views.{key}");
    Err(Error::Setting { key, found: format!("{found:?}"), expected: expected.into() })
}

/// What is drawn for one kind of view.
struct ViewPlan {
    size: usize,
    scale: [f32; 2],
    blur: f32,
    solarize: f32,
}

impl Transform for MultiCrop {
    fn groups(&self, _width: usize, _height: usize) -> Vec<GroupShape> {
        let group = |views, side| GroupShape { views, height: side, width: side };
        [
            group(self.global_crops_number, self.global_crops_size),
            group(self.local_crops_number, self.local_crops_size),
        ]
        .into_iter()
        .filter(|group| group.views > 0)
        .collect()
    }

    fn apply(
        &self,
        image: &Image,
        key: Key,
        scratch: &mut Scratch,
        views: &mut Views<'_>,
    ) -> Result<()> {
        let how = Normalisation { mean: self.mean, std: self.std };
        for view in 0..self.global_crops_number {
            let plan = ViewPlan {
                size: self.global_crops_size,
                scale: self.global_crops_scale,
                blur: at(&self.blur.global, view),
                solarize: at(&self.solarize.global, view),
            };
            let mut random = Stream::new(key, view as u64);
            let recipe = self.draw(image, &plan, &mut random);
            views.make(0, view, image, &recipe, scratch, how);
        }
        let group = usize::from(self.global_crops_number > 0);
        for view in 0..self.local_crops_number {
            let plan = ViewPlan {
                size: self.local_crops_size,
                scale: self.local_crops_scale,
                blur: self.blur.local,
                solarize: 0.0,
            };
            let mut random = Stream::new(key, (self.global_crops_number + view) as u64);
            let recipe = self.draw(image, &plan, &mut random);
            views.make(group, view, image, &recipe, scratch, how);
        }
        Ok(())
    }
}

/// The entry of view `view`; the last one goes on.
fn at(probabilities: &[f32], view: usize) -> f32 {
    probabilities.get(view).or(probabilities.last()).copied().unwrap_or(0.0)
}

impl MultiCrop {
    fn draw(&self, image: &Image, plan: &ViewPlan, random: &mut Stream) -> Recipe {
        let crop = random_resized_crop(image.width, image.height, plan.scale, random);
        let flip = random.chance(self.flip);
        let mut colours = [None; COLOURS];
        if random.chance(self.color_jitter.p) {
            colours[..COLOURS - 1].copy_from_slice(&self.color_jitter.draw(random));
        }
        if random.chance(self.grayscale) {
            colours[COLOURS - 1] = Some(Colour::Grey);
        }
        let [low, high] = self.blur.sigma;
        let blur = random.chance(plan.blur).then(|| random.uniform(low, high));
        let solarise = random.chance(plan.solarize);
        let (size, interpolation) = (plan.size, self.interpolation);
        Recipe { crop, size, interpolation, flip, colours, blur, solarise }
    }
}

impl ColorJitter {
    fn draw(&self, random: &mut Stream) -> [Option<Colour>; 4] {
        let mut order = [0, 1, 2, 3];
        random.shuffle(&mut order);
        let mut factor = |strength: f32| random.uniform((1.0 - strength).max(0.0), 1.0 + strength);
        let brightness = factor(self.brightness);
        let contrast = factor(self.contrast);
        let saturation = factor(self.saturation);
        let hue = random.uniform(-self.hue, self.hue);
        let changes = [
            (self.brightness > 0.0).then_some(Colour::Brightness(brightness)),
            (self.contrast > 0.0).then_some(Colour::Contrast(contrast)),
            (self.saturation > 0.0).then_some(Colour::Saturation(saturation)),
            (self.hue > 0.0).then_some(Colour::Hue(hue)),
        ];
        order.map(|change| changes[change])
    }
}
