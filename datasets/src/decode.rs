//! Bytes of an image file to RGB8.
//!
//! The result is that of PIL's `ImageOps.exif_transpose(Image.open(f)).convert("RGB")`: greyscale
//! and palette expanded, alpha dropped, CMYK converted, EXIF orientation applied. One difference:
//! 16-bit greyscale is scaled to 8 bits, where PIL clips it to white.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::{Error, Image, Mask, Result};

/// Sides above this are refused: a broken header must not ask for all memory.
const LARGEST_SIDE: usize = 1 << 16;

/// Images of more pixels are refused for the same reason; the number is that of PIL's
/// `DecompressionBombError`.
const MOST_PIXELS: usize = 178_956_970;

/// File name endings that are taken for images, in lower case.
pub const IMAGE_EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// True if `name` ends like an image file.
pub fn is_image_name(name: &str) -> bool {
    let Some((_, extension)) = name.rsplit_once('.') else { return false };
    IMAGE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Decodes the image file `bytes`; `name` is for the error.
///
/// # Errors
/// [`Error::Decode`] for a format that is not known, for a broken or truncated file, and for one
/// whose header tells of more than 178,956,970 pixels.
pub fn decode(bytes: &[u8], name: &str) -> Result<Image> {
    let decoded = if bytes.starts_with(&[0xff, 0xd8]) { jpeg(bytes) } else { other(bytes) };
    decoded.map_err(|reason| broken(bytes, name, reason))
}

/// Decodes a mask: an 8-bit greyscale or palette image whose values, not colours, are classes.
///
/// # Errors
/// [`Error::Decode`], also for an image with more than one channel.
pub fn decode_mask(bytes: &[u8], name: &str) -> Result<Mask> {
    mask(bytes).map_err(|reason| broken(bytes, name, reason))
}

fn broken(bytes: &[u8], name: &str, reason: String) -> Error {
    let reason = if bytes.is_empty() { "the file is empty".into() } else { reason };
    Error::Decode { name: name.into(), size: bytes.len(), reason }
}

/// Refuses a header's size before anything of that size is allocated.
fn check_size(width: usize, height: usize) -> Result<(), String> {
    if width.saturating_mul(height) > MOST_PIXELS {
        return Err(format!(
            "its header says {width} x {height} pixels; expected at most {MOST_PIXELS} pixels"
        ));
    }
    Ok(())
}

fn jpeg(bytes: &[u8]) -> Result<Image, String> {
    // Strict: a truncated file is an error, not a half grey image.
    let options = DecoderOptions::new_fast()
        .set_strict_mode(true)
        .set_max_width(LARGEST_SIDE)
        .set_max_height(LARGEST_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("no size in its header")?;
    check_size(width, height)?;
    let data = decoder.decode().map_err(|error| error.to_string())?;
    if data.len() != width * height * 3 {
        return Err(format!("{} bytes for {width} x {height} RGB pixels", data.len()));
    }
    let image = Image { width, height, data };
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    Ok(upright(image, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn other(bytes: &[u8]) -> Result<Image, String> {
    let (decoded, orientation) = open(bytes)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let data = match decoded {
        DynamicImage::ImageRgb8(rgb) => rgb.into_raw(),
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|v| [(v >> 8) as u8; 3]).collect(),
        DynamicImage::ImageLumaA16(grey) => {
            grey.chunks_exact(2).flat_map(|v| [(v[0] >> 8) as u8; 3]).collect()
        }
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|v| (v >> 8) as u8).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.chunks_exact(4).flat_map(|v| [v[0], v[1], v[2]]).map(|v| (v >> 8) as u8).collect()
        }
        decoded => decoded.to_rgb8().into_raw(),
    };
    Ok(upright(Image { width, height, data }, orientation))
}

fn mask(bytes: &[u8]) -> Result<Mask, String> {
    if let Some(mask) = png_indices(bytes)? {
        return Ok(mask);
    }
    let (decoded, _) = open(bytes)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    match decoded {
        DynamicImage::ImageLuma8(grey) => Ok(Mask { width, height, data: grey.into_raw() }),
        decoded => Err(format!(
            "a mask has one 8-bit channel (greyscale or palette), this one is {:?}",
            decoded.color()
        )),
    }
}

fn open(bytes: &[u8]) -> Result<(DynamicImage, Orientation), String> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE as u32);
    limits.max_image_height = Some(LARGEST_SIDE as u32);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    check_size(width as usize, height as usize)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    Ok((decoded, orientation))
}

/// The indices of a palette PNG or the values of an 8-bit greyscale one; nothing for other files.
fn png_indices(bytes: &[u8]) -> Result<Option<Mask>, String> {
    use png::{BitDepth, ColorType, Decoder, Transformations};
    if !bytes.starts_with(b"\x89PNG") {
        return Ok(None);
    }
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::IDENTITY);
    let header = decoder.read_header_info().map_err(|error| error.to_string())?;
    check_size(header.width as usize, header.height as usize)?;
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (colour, depth) = reader.output_color_type();
    if !matches!(colour, ColorType::Indexed | ColorType::Grayscale) || depth == BitDepth::Sixteen {
        return Ok(None);
    }
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let size = reader.output_buffer_size().ok_or("too large")?;
    let mut packed = vec![0; size];
    reader.next_frame(&mut packed).map_err(|error| error.to_string())?;
    // Indices of fewer than 8 bits are packed, most significant first, each row from a new byte.
    let bits = depth as usize;
    let row = (width * bits).div_ceil(8);
    let index = |y: usize, x: usize| {
        let bit = x * bits;
        let shift = 8 - bits - bit % 8;
        (u16::from(packed[y * row + bit / 8]) >> shift) as u8 & (0xffu16 >> (8 - bits)) as u8
    };
    let data = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    Ok(Some(Mask { width, height, data: data.map(|(y, x)| index(y, x)).collect() }))
}

/// The image as its EXIF orientation wants it shown.
fn upright(image: Image, orientation: Orientation) -> Image {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let (width, height) = (image.width as u32, image.height as u32);
    let buffer = image::RgbImage::from_raw(width, height, image.data).expect("an RGB image");
    let mut turned = DynamicImage::ImageRgb8(buffer);
    turned.apply_orientation(orientation);
    let turned = turned.into_rgb8();
    let (width, height) = (turned.width() as usize, turned.height() as usize);
    Image { width, height, data: turned.into_raw() }
}
