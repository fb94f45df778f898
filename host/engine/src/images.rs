//! Loaded images on a device. Floats are made where they are used: a GPU is sent bytes.

use hssl_datasets::{LoaderOptions, Pixels, ViewGroup};
use hssl_tensor::{Array, Device, cuda};

use crate::error::Result;

/// What a loader is to deliver for a device.
pub(crate) fn options_for(options: LoaderOptions, device: &Device) -> LoaderOptions {
    LoaderOptions { bytes: device.is_cuda(), ..options }
}

/// A group's views on a device, normalised: (views, images, 3, height, width).
pub(crate) fn array(group: ViewGroup, device: &Device) -> Result<Array> {
    let shape = [group.views, group.batch, 3, group.height, group.width];
    match group.pixels {
        Pixels::Floats(values) => {
            let array = Array::from_vec(values, &shape, &Device::Cpu)
                .and_then(|array| array.to_device(device))
                .map_err(hssl_tensor::Error::from)?;
            Ok(array)
        }
        Pixels::Bytes { values, normalisation } => {
            Ok(cuda::normalised(values, &shape, &normalisation.tables(), device)?)
        }
    }
}
