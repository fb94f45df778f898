//! Any set written to disk as an image folder of PNGs.

use std::fs;
use std::path::Path;

use crate::{Dataset, Error, Result};

/// Writes all images of `dataset` below `folder`, as `CLASS/000123.png` (unlabelled ones directly
/// into it), so that `imagefolder:FOLDER` reads them back. Returns how many were written.
///
/// # Errors
/// [`Error::Layout`] if the folder holds anything already, [`Error::Io`], and what
/// [`Dataset::load`] says.
pub fn write_to(dataset: &dyn Dataset, folder: &Path) -> Result<usize> {
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let mut present = fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?;
    if present.next().is_some() {
        return Err(Error::Layout {
            place: format!("folder {}", folder.display()),
            found: "files".into(),
            expected: "an empty or a new folder to write the images to".into(),
        });
    }
    for class in dataset.classes() {
        let class = folder.join(class);
        fs::create_dir_all(&class).map_err(|e| Error::io("create", &class, e))?;
    }
    for index in 0..dataset.len() {
        let sample = dataset.load(index)?;
        let class = sample.label.and_then(|label| dataset.classes().get(label as usize));
        let file = class.map_or(folder.to_owned(), |class| folder.join(class));
        let file = file.join(format!("{index:06}.png"));
        let (width, height) = (sample.image.width as u32, sample.image.height as u32);
        image::save_buffer(&file, &sample.image.data, width, height, image::ColorType::Rgb8)
            .map_err(|e| Error::io("write", &file, std::io::Error::other(e)))?;
    }
    Ok(dataset.len())
}
