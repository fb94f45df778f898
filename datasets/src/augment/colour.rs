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
    // torchvision adds the shift's low 8 bits to the 8-bit hue, which wraps.
    let shift = (f64::from(shift) * 255.0) as i32;
    let data = &mut image.data;
    vectorised(
        #[inline(always)]
        || {
            for pixel in data.chunks_exact_mut(3) {
                let (h, s, v) = rgb_to_hsv(pixel[0], pixel[1], pixel[2]);
                let h = (i32::from(h) + shift) as u8;
                let (r, g, b) = hsv_to_rgb(h, s, v);
                pixel.copy_from_slice(&[r, g, b]);
            }
        },
    );
}

/// PIL's `RGB` to `HSV`, all in 0..=255.
#[inline(always)]
fn rgb_to_hsv(r: u8, g: u8, b: u8) -> (u8, u8, u8) {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return (0, 0, max);
    }
    let range = f32::from(max) - f32::from(min);
    let saturation = range / f32::from(max);
    let part = |value: u8| (f32::from(max) - f32::from(value)) / range;
    // Single and double precision where PIL has them: truncation shows the difference.
    let sixths = if r == max {
        part(b) - part(g)
    } else if g == max {
        (2.0 + f64::from(part(r)) - f64::from(part(b))) as f32
    } else {
        (4.0 + f64::from(part(g)) - f64::from(part(r))) as f32
    };
    let turn = f64::from(sixths) / 6.0 + 1.0;
    let hue = (turn - turn.floor()) as f32;
    ((f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max)
}

/// PIL's `HSV` to `RGB`.
#[inline(always)]
fn hsv_to_rgb(h: u8, s: u8, v: u8) -> (u8, u8, u8) {
    if s == 0 {
        return (v, v, v);
    }
    let sixths = f64::from(h) * 6.0 / 255.0;
    let sector = sixths.floor();
    let share = f64::from((sixths - sector) as f32);
    let (value, saturation) = (f64::from(v), f64::from((f64::from(s) / 255.0) as f32));
    let level = |cut: f64| (value * (1.0 - cut) + 0.5) as u8;
    let p = level(saturation);
    let q = level(saturation * share);
    let t = level(saturation * (1.0 - share));
    match sector as u32 % 6 {
        0 => (v, t, p),
        1 => (q, v, p),
        2 => (p, v, t),
        3 => (p, q, v),
        4 => (t, p, v),
        _ => (v, p, q),
    }
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
