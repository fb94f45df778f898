//! Decoding and image operations against PIL and torchvision (`fixtures/make.py`).

use std::path::{Path, PathBuf};

use hssl_datasets::{
    BlurWork, CropBox, EvalTransform, GroupShape, Image, Interpolation, Key, Normalisation,
    Resizer, Scratch, Transform, ViewGroup, Views, adjust_brightness, adjust_contrast, adjust_hue,
    adjust_saturation, decode, decode_mask, flip_horizontal, gaussian_blur, greyscale, normalise,
    solarise,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(path: &Path) -> Image {
    let name = path.display().to_string();
    decode(&std::fs::read(path).unwrap_or_else(|e| panic!("{name}: {e}")), &name).unwrap()
}

fn source() -> Image {
    read(&fixture("operations/source.png"))
}

/// Largest and mean difference of two images' values.
fn difference(found: &Image, expected: &Image) -> (u8, f64) {
    let size = |image: &Image| (image.width, image.height);
    assert_eq!(size(found), size(expected));
    let differences: Vec<u8> =
        found.data.iter().zip(&expected.data).map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: u64 = differences.iter().map(|d| u64::from(*d)).sum();
    let largest = differences.iter().copied().max().unwrap_or(0);
    (largest, sum as f64 / differences.len() as f64)
}

/// Applies `operation` to the source image and compares with PIL's result.
fn check(name: &str, tolerance: u8, operation: impl FnOnce(&mut Image)) {
    let mut image = source();
    operation(&mut image);
    let expected = read(&fixture(&format!("operations/{name}.png")));
    let (largest, mean) = difference(&image, &expected);
    assert!(largest <= tolerance, "{name}: off by up to {largest}, mean {mean:.4}");
}

#[test]
fn colour_operations_are_pils() {
    check("brightness_0.6", 0, |image| adjust_brightness(image, 0.6));
    check("brightness_1.4", 0, |image| adjust_brightness(image, 1.4));
    check("contrast_0.6", 0, |image| adjust_contrast(image, 0.6));
    check("contrast_1.4", 0, |image| adjust_contrast(image, 1.4));
    check("saturation_0.8", 0, |image| adjust_saturation(image, 0.8));
    check("saturation_1.2", 0, |image| adjust_saturation(image, 1.2));
    check("hue_0.1", 0, |image| adjust_hue(image, 0.1));
    check("hue_-0.07", 0, |image| adjust_hue(image, -0.07));
    check("hue_0.5", 0, |image| adjust_hue(image, 0.5));
    check("greyscale", 0, greyscale);
    check("solarise_128", 0, |image| solarise(image, 128));
    check("flip", 0, flip_horizontal);
}

#[test]
fn blur_is_pils() {
    for sigma in [0.1, 0.4, 0.8, 1.3, 2.0] {
        check(&format!("blur_{sigma:?}"), 0, |image| {
            gaussian_blur(image, sigma, &mut BlurWork::default());
        });
    }
}

#[test]
fn crops_and_resizes_are_pils() {
    for (filter, top, left, height, width, out) in [
        ("bicubic", 5, 7, 20, 30, 32),
        ("bicubic", 0, 0, 36, 48, 16),
        ("bicubic", 3, 9, 33, 33, 33),
        ("bicubic", 30, 40, 5, 6, 32),
        ("bilinear", 5, 7, 20, 30, 32),
        ("bilinear", 2, 1, 31, 40, 14),
    ] {
        let interpolation = match filter {
            "bicubic" => Interpolation::Bicubic,
            _ => Interpolation::Bilinear,
        };
        let name = format!("crop_{filter}_{top}_{left}_{height}_{width}_{out}_{out}");
        check(&name, 0, |image| {
            let mut resized = Image::new(out, out);
            let crop = CropBox { left, top, width, height };
            Resizer::new().resize(image, crop, interpolation, &mut resized);
            *image = resized;
        });
    }
}

#[test]
fn evaluation_crops_as_torchvision() {
    for (resize, crop) in [(24, 20), (31, 31), (33, 26), (40, 0), (16, 24), (0, 27)] {
        check(&format!("eval_{resize}_{crop}"), 0, |image| {
            // Mean 0 and deviation 1/255 give the pixels back.
            let std = [1.0 / 255.0; 3];
            let transform =
                EvalTransform { resize, crop, mean: [0.0; 3], std, ..EvalTransform::default() };
            *image = pixels(&transform, image);
        });
    }
}

/// The only view of a transform whose output is in 0..=255.
fn pixels(transform: &dyn Transform, image: &Image) -> Image {
    let shapes = transform.groups(image.width, image.height);
    let GroupShape { height, width, .. } = shapes[0];
    let mut groups = vec![ViewGroup::zeros(shapes[0], 1)];
    let key = Key { seed: 0, epoch: 0, index: 0 };
    transform.apply(image, key, &mut Scratch::new(), &mut Views::new(&mut groups, 0)).unwrap();
    let mut out = Image::new(width, height);
    let plane = width * height;
    for (at, value) in groups[0].floats().iter().enumerate() {
        out.data[at % plane * 3 + at / plane] = value.round() as u8;
    }
    out
}

#[test]
fn normalisation_is_torchvisions() {
    let image = source();
    let mut found = vec![0.0; image.data.len()];
    normalise(&image, Normalisation::default(), &mut found);
    let bytes = std::fs::read(fixture("operations/normalised.f32")).unwrap();
    let mut expected = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    for channel in found.chunks_exact(image.width * image.height) {
        for value in &channel[..4 * image.width] {
            assert_eq!(*value, expected.next().unwrap());
        }
    }
}

#[test]
fn odd_images_decode_as_in_pil() {
    let mut checked = 0;
    for entry in std::fs::read_dir(fixture("odd")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.contains(".expected.") {
            continue;
        }
        let expected = read(&fixture(&format!("odd/{name}.expected.png")));
        let (largest, mean) = difference(&read(&path), &expected);
        // JPEG decoders round differently, and differ at the right and lower edge where chroma is
        // subsampled and the size is no multiple of 16.
        let (most, mean_most) = match name.as_str() {
            "subsampled.jpg" => (20, 0.5),
            name if name.ends_with(".jpg") => (4, 0.5),
            _ => (0, 0.0),
        };
        assert!(largest <= most && mean <= mean_most, "{name}: off by {largest}, mean {mean:.3}");
        checked += 1;
    }
    assert!(checked >= 25, "{checked} images");
}

#[test]
fn broken_images_are_errors_that_name_the_file() {
    for name in ["rgb.jpg", "rgb16.png", "lossless.webp"] {
        let bytes = std::fs::read(fixture("odd").join(name)).unwrap();
        for broken in [&bytes[..bytes.len() / 2], &bytes[..10], &[]] {
            let error = decode(broken, "photos/17.jpg").unwrap_err();
            assert!(error.is_broken_image());
            assert!(error.to_string().contains("photos/17.jpg"), "{error}");
        }
    }
    assert!(decode(b"<html>not found</html>", "x.jpg").is_err());
}

#[test]
fn a_header_that_asks_for_all_memory_is_refused() {
    let mut jpeg = std::fs::read(fixture("odd/grey.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    // Height and width, behind the marker, the length and the precision.
    jpeg[frame + 5..frame + 9].fill(0xff);
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 60_000, 60_000);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, &[]).unwrap();
    drop(writer);
    for (error, size) in [
        (decode(&jpeg, "photos/17.jpg").unwrap_err(), "65535 x 65535"),
        (decode(&png, "photos/17.jpg").unwrap_err(), "60000 x 60000"),
        (decode_mask(&png, "photos/17.jpg").unwrap_err(), "60000 x 60000"),
    ] {
        assert!(error.is_broken_image());
        let message = error.to_string();
        for part in ["photos/17.jpg", size, "at most 178956970 pixels"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
