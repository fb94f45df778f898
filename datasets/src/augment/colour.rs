//! Colour changes with the arithmetic of PIL's `ImageEnhance`, `ImageOps` and colour conversions.

use super::vectorise::vectorised;
use crate::Image;

/// PIL's luma, (299 R + 587 G + 114 B) / 1000 in 16-bit fixed point.
#[inline(always)]
fn luma(pixel: &[u8]) -> u8 {
    let [r, g, b] = [u32::from(pixel[0]), u32::from(pixel[1]), u32::from(pixel[2])];
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// PIL's `Image.blend`: `from` at factor 0, `to` at factor 1, and beyond; rounded down.
#[inline(always)]
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let blended = f32::from(from) + factor * (f32::from(to) - f32::from(from));
    // Beside 2^23 a float's low bits are the integer: a conversion that vector units do fast.
    const INTEGERS: f32 = 8_388_608.0;
    (blended.clamp(0.0, 255.0).floor() + INTEGERS).to_bits() as u8
}

/// Blends with black: 0 is black, 1 the image.
pub fn adjust_brightness(image: &mut Image, factor: f32) {
    let data = &mut image.data;
    vectorised(
        #[inline(always)]
        || data.iter_mut().for_each(|value| *value = blend(0, *value, factor)),
    );
}

/// Blends with the image's mean luma: 0 is plain grey, 1 the image.
pub fn adjust_contrast(image: &mut Image, factor: f32) {
    if image.data.is_empty() {
        return;
    }
    let data = &mut image.data;
    let mut sum = 0u64;
    vectorised(
        #[inline(always)]
        || sum = data.chunks_exact(3).map(|pixel| u64::from(luma(pixel))).sum::<u64>(),
    );
    let mean = (sum as f64 / (data.len() / 3) as f64 + 0.5) as u8;
    vectorised(
        #[inline(always)]
        || data.iter_mut().for_each(|value| *value = blend(mean, *value, factor)),
    );
}

/// Blends with the greyscale image: 0 is greyscale, 1 the image.
pub fn adjust_saturation(image: &mut Image, factor: f32) {
    let data = &mut image.data;
    vectorised(
        #[inline(always)]
        || {
            for pixel in data.chunks_exact_mut(3) {
                let grey = luma(pixel);
                for value in pixel {
                    *value = blend(grey, *value, factor);
                }
            }
        },
    );
}

/// Turns the hue by `shift` in -0.5..=0.5 of a whole turn, through PIL's 8-bit HSV.
pub fn adjust_hue(image: &mut Image, shift: f32) {
    let shift = hue_steps(shift);
    let data = &mut image.data;
    vectorised(
        #[inline(always)]
        || {
            // Blocks with a plane for each channel, so that vector units get whole registers.
            for block in data.chunks_mut(BLOCK * 3) {
                let mut planes = [[0u8; BLOCK]; 3];
                for (at, pixel) in block.chunks_exact(3).enumerate() {
                    (planes[0][at], planes[1][at], planes[2][at]) = (pixel[0], pixel[1], pixel[2]);
                }
                let [red, green, blue] = &mut planes;
                for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                    let (h, s, v) = rgb_to_hsv(*r, *g, *b);
                    let turned = f64::from((h as i32 + shift) & 0xff);
                    (*r, *g, *b) = hsv_to_rgb(turned, s, v);
                }
                for (at, pixel) in block.chunks_exact_mut(3).enumerate() {
                    pixel.copy_from_slice(&[planes[0][at], planes[1][at], planes[2][at]]);
                }
            }
        },
    );
}

/// What is added to an 8-bit hue, which wraps, for a shift by this share of a turn: torchvision's.
pub(super) fn hue_steps(shift: f32) -> i32 {
    (f64::from(shift) * 255.0) as i32
}

/// Pixels that [`adjust_hue`] takes at a time.
const BLOCK: usize = 64;

/// The whole part of a float in 0..2^20: beside 2^52 the low bits are the integer, a conversion
/// that vector units do fast.
#[inline(always)]
fn whole(value: f64) -> u32 {
    const INTEGERS: f64 = 4_503_599_627_370_496.0;
    (value.floor() + INTEGERS).to_bits() as u32
}

/// PIL's `RGB` to `HSV`, whole numbers in 0..=255. Without branches; single and double precision
/// where PIL has them, as truncation shows the difference.
#[inline(always)]
fn rgb_to_hsv(r: u8, g: u8, b: u8) -> (u32, f64, f64) {
    let [r, g, b] = [r, g, b].map(|value| i32::from(value) as f32);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    // 1 instead of 0: grey pixels come out with hue and saturation 0.
    let range = (max - min).max(1.0);
    let saturation = (max - min) / max.max(1.0);
    let part = |value: f32| (max - value) / range;
    let from_red = part(b) - part(g);
    let from_green = (2.0 + f64::from(part(r)) - f64::from(part(b))) as f32;
    let from_blue = (4.0 + f64::from(part(g)) - f64::from(part(r))) as f32;
    let sixths = if r == max {
        from_red
    } else if g == max {
        from_green
    } else {
        from_blue
    };
    let turn = f64::from(sixths) / 6.0 + 1.0;
    let hue = f64::from((turn - turn.floor()) as f32);
    let saturation = (f64::from(saturation) * 255.0).floor();
    (whole(hue * 255.0), saturation, f64::from(max))
}

/// PIL's `HSV` to `RGB`.
#[inline(always)]
fn hsv_to_rgb(h: f64, s: f64, v: f64) -> (u8, u8, u8) {
    let sixths = h * 6.0 / 255.0;
    let sector = sixths.floor();
    let share = f64::from((sixths - sector) as f32);
    let saturation = f64::from((s / 255.0) as f32);
    let level = |cut: f64| whole(v * (1.0 - cut) + 0.5);
    let p = level(saturation);
    let q = level(saturation * share);
    let t = level(saturation * (1.0 - share));
    let v = whole(v);
    let pick = |levels: [u32; 6]| {
        let mut picked = levels[0];
        // Hue 255 is a whole turn: sector 6 is sector 0. Indexed, since written out or over an
        // iterator it compiles to jumps, which keep the block scalar: 1,800 instead of 220 us for
        // 224x224.
        #[allow(clippy::needless_range_loop)]
        for number in 1..6 {
            picked = if sector == number as f64 { levels[number] } else { picked };
        }
        picked as u8
    };
    (pick([v, q, p, p, t, v]), pick([t, v, v, q, p, p]), pick([p, p, t, v, v, q]))
}

/// Replaces colours by their luma.
pub fn greyscale(image: &mut Image) {
    let data = &mut image.data;
    vectorised(
        #[inline(always)]
        || data.chunks_exact_mut(3).for_each(|pixel| pixel.fill(luma(pixel))),
    );
}

/// Inverts all values from `threshold` on.
pub fn solarise(image: &mut Image, threshold: u8) {
    let data = &mut image.data;
    vectorised(
        #[inline(always)]
        || {
            data.iter_mut()
                .for_each(|value| *value = if *value < threshold { *value } else { 255 - *value })
        },
    );
}
