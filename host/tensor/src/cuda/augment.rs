//! Views that a GPU makes of a batch's images, where its loader has drawn them only.

use super::Argument::{self, Read, Write};
use super::{Grid, empty, files, launch, upload};
use crate::{Array, DType, Error, Result};

/// What is to be done for the views of a batch, as the loader says it.
#[derive(Clone, Debug)]
pub struct Recipes {
    /// [`Recipes::WORDS`] of each view.
    pub words: Vec<u32>,
    /// The weights of all resizes.
    pub weights: Vec<u32>,
    /// Bytes of all crops once their rows are resized.
    pub between: u64,
    /// Rows of the tallest crop.
    pub tallest: usize,
}

impl Recipes {
    /// Words of a view.
    pub const WORDS: usize = 26;
}

/// Threads of a block that makes a view.
const THREADS: usize = 512;

/// Views (.., 3, size, size) of images whose bytes lie on the GPU, each channel's bytes as its table says.
///
/// # Errors
/// There are not as many recipes as views, these are no squares, or the device failed.
pub fn make_views(
    images: &Array,
    recipes: Recipes,
    shape: &[usize],
    tables: &[[f32; 256]; 3],
) -> Result<Array> {
    let Recipes { words, weights, between, tallest } = recipes;
    let &[ref outer @ .., 3, size, width] = shape else {
        return Err(Error::shape("views", format!("{shape:?}"), "(.., 3, size, size)"));
    };
    let count: usize = outer.iter().product();
    if width != size || words.len() != count * Recipes::WORDS {
        let found = format!("{shape:?} and {} words", words.len());
        return Err(Error::shape("views", found, "(.., 3, size, size) and 26 words for each view"));
    }
    let device = images.device();
    let bytes = |len: usize| empty(len.max(1), DType::U8, device);
    let between = bytes(usize::try_from(between).unwrap_or(usize::MAX))?;
    let (made, work) = (bytes(count * size * size * 3)?, bytes(count * size * size * 3)?);
    let words = upload(&words, (count, Recipes::WORDS), device)?;
    // Where nothing is resized there are none.
    let weights = if weights.is_empty() { vec![0] } else { weights };
    let weights = upload(&weights, weights.len(), device)?;
    let tables = upload(tables.as_flattened(), (3, 256), device)?;
    let y = empty(shape, DType::F32, device)?;
    let pixels = |rows: usize| Grid {
        blocks: [count, (rows * size).div_ceil(THREADS), 1],
        threads: THREADS,
    };
    let whole = Grid { blocks: [count, 1, 1], threads: THREADS };
    let kernels = &files::AUGMENT;
    let rows = [Write(&between), Read(images), Read(&words), Read(&weights), Argument::size(size)];
    launch(kernels, "resize_rows", pixels(tallest), &rows)?;
    let columns =
        [Write(&made), Read(&between), Read(&words), Read(&weights), Argument::size(size)];
    launch(kernels, "resize_columns", pixels(size), &columns)?;
    launch(kernels, "change_colours", whole, &[Write(&made), Read(&words), Argument::size(size)])?;
    let blur = [Write(&made), Write(&work), Read(&words), Argument::size(size)];
    launch(kernels, "blur", whole, &blur)?;
    let all = count * size * size;
    let deliver = [
        Write(&y),
        Read(&made),
        Read(&words),
        Read(&tables),
        Argument::size(size * size),
        Argument::Long(all as i64),
    ];
    launch(kernels, "deliver", Grid::pieces(all), &deliver)?;
    Ok(y)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hssl_datasets::{
        Batch, ColorJitter, Delivery, Interpolation, Loader, LoaderOptions, MultiCrop, Pixels,
        Shapes, ShapesOptions, Solarize,
    };

    use super::*;
    use crate::Device;

    fn batch(views: &MultiCrop, options: LoaderOptions) -> Batch {
        let images = Arc::new(Shapes::new(ShapesOptions {
            n: 24,
            size: 29,
            seed: 1,
            split: "train".into(),
        }));
        Loader::start(images, Arc::new(views.clone()), options).unwrap().next().unwrap().unwrap()
    }

    /// Crops larger and smaller than views and of a view's size, each change of colours, blurs narrow and
    /// wide: to the last bit.
    #[test]
    fn views_are_the_processors() {
        for (interpolation, sigma) in [
            (Interpolation::Bicubic, [0.1, 2.0]),
            (Interpolation::Bilinear, [2.0, 9.0]),
            (Interpolation::Lanczos, [0.0, 0.2]),
        ] {
            let views = MultiCrop {
                global_crops_size: 18,
                local_crops_number: 2,
                local_crops_size: 11,
                interpolation,
                color_jitter: ColorJitter { hue: 0.4, contrast: 0.8, ..ColorJitter::default() },
                blur: hssl_datasets::Blur { global: vec![0.7], local: 0.7, sigma },
                solarize: Solarize { global: vec![0.5] },
                ..MultiCrop::default()
            };
            let options = LoaderOptions::training(24, 3, 1);
            let made = batch(&views, options.clone());
            let drawn = batch(&views, LoaderOptions { delivery: Delivery::Recipes, ..options });
            let images =
                Array::from_slice(&drawn.images, drawn.images.len(), &Device::Cpu).unwrap();
            for (made, drawn) in made.groups.iter().zip(drawn.groups) {
                let Pixels::Drawn(recipes) = drawn.pixels else { panic!("views are drawn only") };
                assert_eq!(hssl_datasets::Drawn::WORDS, Recipes::WORDS);
                let shape = [drawn.views, drawn.batch, 3, drawn.height, drawn.width];
                let tables = recipes.normalisation.tables();
                let recipes = Recipes {
                    words: recipes.words,
                    weights: recipes.weights,
                    between: recipes.between,
                    tallest: recipes.tallest,
                };
                let found = super::make_views(&images, recipes, &shape, &tables).unwrap();
                let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let differ = found.iter().zip(made.floats()).filter(|(a, b)| a != b).count();
                assert_eq!(differ, 0, "of {} numbers, {interpolation:?}", found.len());
            }
        }
    }

    #[test]
    fn views_that_do_not_fit_are_named() {
        let images = Array::zeros(12, DType::U8, &Device::Cpu).unwrap();
        let recipes = Recipes { words: vec![0; 26], weights: vec![], between: 12, tallest: 2 };
        for shape in [&[1, 3, 2, 4][..], &[2, 3, 2, 2], &[3]] {
            let message =
                make_views(&images, recipes.clone(), shape, &[[0.0; 256]; 3]).unwrap_err();
            assert!(message.to_string().contains(&format!("{shape:?}")), "{message}");
        }
    }
}
