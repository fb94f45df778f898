//! One image of the generated set: background, distractors, shapes, tint, noise.
//!
//! Everything is drawn in grey and lit by one coloured light at the end. The light is most of what
//! pixels differ by and says nothing of the class; colour jitter takes it away.

use super::shape::Shape;
use crate::random::Stream;
use crate::{Image, Mask, ObjectBox, Sample};

pub(super) fn draw(kind: Shape, size: usize, random: &mut Stream) -> Sample {
    let mut canvas = Canvas::background(size, random);
    for _ in 0..1 + random.below(3) {
        canvas.distractor(random);
    }
    let class = Shape::ALL.iter().position(|shape| *shape == kind).unwrap_or(0);
    let mut boxes = Vec::new();
    for (number, radius) in radii(random).into_iter().enumerate() {
        let placement = Placement::random(radius * size as f32, size as f32, number, random);
        boxes.extend(canvas.shape(kind, class, &placement, random));
    }
    let image = canvas.finish(random);
    let mask = Mask { width: size, height: size, data: canvas.mask };
    Sample { image, label: Some(class as i64), mask: Some(mask), boxes }
}

/// Radii of the shapes, as shares of the image's side: one large, perhaps some smaller.
fn radii(random: &mut Stream) -> Vec<f32> {
    let mut radii = vec![random.uniform(0.36, 0.5)];
    for _ in 0..random.below(3) {
        radii.push(random.uniform(0.15, 0.24));
    }
    radii
}

/// How far shapes are turned at most, in radians.
const TILT: f32 = 0.35;

/// Where a shape is, in pixels, and how it is turned and stretched.
struct Placement {
    x: f32,
    y: f32,
    radius: f32,
    cos: f32,
    sin: f32,
    stretch: f32,
}

impl Placement {
    fn random(radius: f32, size: f32, number: usize, random: &mut Stream) -> Self {
        // The large shape stays inside; smaller ones may be cut at the edge.
        let margin = if number == 0 { radius * 0.9 } else { radius * 0.4 };
        let angle = random.uniform(-TILT, TILT);
        Self {
            x: random.uniform(margin, size - margin),
            y: random.uniform(margin, size - margin),
            radius,
            cos: angle.cos(),
            sin: angle.sin(),
            stretch: random.uniform(0.8, 1.25),
        }
    }
}

struct Canvas {
    size: usize,
    /// Lightness, 0..=255.
    pixels: Vec<f32>,
    /// 0 is background, 1 the first class.
    mask: Vec<u8>,
}

impl Canvas {
    /// A gradient between two greys with a coarse texture.
    fn background(size: usize, random: &mut Stream) -> Self {
        let (from, to) = (grey(random), grey(random));
        let angle = random.uniform(0.0, std::f32::consts::TAU);
        let (cos, sin) = (angle.cos(), angle.sin());
        const GRID: usize = 6;
        let strength = random.uniform(5.0, 15.0);
        let mut texture = [[0.0f32; GRID + 1]; GRID + 1];
        texture.iter_mut().flatten().for_each(|value| *value = strength * random.normal());
        let mut pixels = Vec::with_capacity(size * size);
        for y in 0..size {
            for x in 0..size {
                let (u, v) = (x as f32 / size as f32, y as f32 / size as f32);
                let share = (0.5 + (u - 0.5) * cos + (v - 0.5) * sin).clamp(0.0, 1.0);
                let (gu, gv) = (u * GRID as f32, v * GRID as f32);
                let (iu, iv) = (gu as usize, gv as usize);
                let (fu, fv) = (gu - iu as f32, gv - iv as f32);
                let row = |i: usize| texture[i][iu] * (1.0 - fu) + texture[i][iu + 1] * fu;
                let grain = row(iv) * (1.0 - fv) + row(iv + 1) * fv;
                pixels.push(mix(from, to, share) + grain);
            }
        }
        Self { size, pixels, mask: vec![0; size * size] }
    }

    /// A line or a soft blob, which no class has.
    fn distractor(&mut self, random: &mut Stream) {
        let size = self.size as f32;
        let grey = grey(random);
        let (x0, y0) = (random.uniform(0.0, size), random.uniform(0.0, size));
        let angle = random.uniform(0.0, std::f32::consts::TAU);
        let (cos, sin) = (angle.cos(), angle.sin());
        let line = random.chance(0.6);
        let length = random.uniform(0.2, 0.9) * size * if line { 1.0 } else { 0.3 };
        let width = if line { random.uniform(0.01, 0.035) * size } else { length };
        let opacity = random.uniform(0.4, 0.9);
        for y in 0..self.size {
            for x in 0..self.size {
                let (dx, dy) = (x as f32 + 0.5 - x0, y as f32 + 0.5 - y0);
                let (along, across) = (dx * cos + dy * sin, dy * cos - dx * sin);
                let share = if line {
                    let distance = across.abs().max(along.abs() - length / 2.0);
                    coverage(distance - width)
                } else {
                    let square = (along * along + 2.0 * across * across) / (length * length);
                    (1.0 - square).max(0.0)
                };
                let pixel = &mut self.pixels[y * self.size + x];
                *pixel = mix(*pixel, grey, share * opacity);
            }
        }
    }

    /// Draws a shape, light with a dark pattern, and returns the box of its visible pixels, if any.
    fn shape(
        &mut self,
        kind: Shape,
        class: usize,
        placement: &Placement,
        random: &mut Stream,
    ) -> Option<ObjectBox> {
        let Placement { x, y, radius, cos, sin, stretch } = *placement;
        let reach = radius * stretch.max(1.0 / stretch) + 1.0;
        let range = |centre: f32| {
            let last = (centre + reach).ceil().clamp(0.0, self.size as f32) as usize;
            ((centre - reach).floor().max(0.0) as usize)..last
        };
        let (columns, rows) = (range(x), range(y));
        let (light, dark) = (random.uniform(170.0, 230.0), random.uniform(10.0, 50.0));
        let (mut left, mut top, mut right, mut bottom) = (self.size, self.size, 0, 0);
        let mut area = 0;
        for row in rows {
            for column in columns.clone() {
                let (dx, dy) = (column as f32 + 0.5 - x, row as f32 + 0.5 - y);
                let u = (dx * cos + dy * sin) / (radius * stretch);
                let v = (dy * cos - dx * sin) * stretch / radius;
                let share = coverage(kind.distance(u, v) * radius);
                if share == 0.0 {
                    continue;
                }
                let at = row * self.size + column;
                let paint = mix(light, dark, kind.surface(u, v));
                self.pixels[at] = mix(self.pixels[at], paint, share);
                if share >= 0.5 {
                    self.mask[at] = class as u8 + 1;
                    (left, top) = (left.min(column), top.min(row));
                    (right, bottom) = (right.max(column + 1), bottom.max(row + 1));
                    area += 1;
                }
            }
        }
        (area > 0).then(|| ObjectBox {
            x: left as f32,
            y: top as f32,
            width: (right - left) as f32,
            height: (bottom - top) as f32,
            class,
            area: area as f32,
            crowd: false,
            outline: None,
        })
    }

    /// Lights the scene, adds noise and rounds.
    fn finish(&mut self, random: &mut Stream) -> Image {
        let light = light(random);
        let strength = random.uniform(2.0, 10.0);
        let mut image = Image::new(self.size, self.size);
        for (out, pixel) in image.data.chunks_exact_mut(3).zip(&self.pixels) {
            for (out, gain) in out.iter_mut().zip(light) {
                // The sum of two uniform draws: near enough to a bell, and cheap.
                let bits = random.bits();
                let noise = (bits >> 16) as f32 + (bits & 0xffff) as f32;
                let noise = (noise / 65535.0 - 1.0) * 2.45;
                *out = (pixel * gain + strength * noise).round() as u8;
            }
        }
        image
    }
}

/// Share of a pixel inside an edge at this distance from its centre, in pixels.
fn coverage(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

fn grey(random: &mut Stream) -> f32 {
    random.uniform(70.0, 150.0)
}

/// Gains of red, green and blue: any hue, and brightness.
fn light(random: &mut Stream) -> [f32; 3] {
    let hue = random.uniform(0.0, std::f32::consts::TAU);
    let (brightness, saturation) = (random.uniform(0.7, 1.1), random.uniform(0.2, 0.6));
    [0.0, 1.0, 2.0].map(|third| {
        brightness * (1.0 + saturation * (hue - third * std::f32::consts::TAU / 3.0).cos())
    })
}
