//! A tensor of the host.

mod methods;

use hssl_ops::{DType, Op, PadMode, ResizeMode};

use crate::abi::{self, Bytes, Handle, Host};
use crate::{Error, Result};

/// A value in the host's memory, on the host's device, with the host's history. Cheap to clone.
///
/// Methods name what the host is asked to compute; [`Op`] documents each. Shapes that do not fit
/// come back as errors, never as panics.
#[derive(Debug)]
pub struct Tensor {
    handle: Handle,
    host: &'static Host,
}

// SAFETY: handles are reference-counted atomically by the host and may move between threads.
unsafe impl Send for Tensor {}
// SAFETY: a tensor is immutable; the host's table may be called from any thread.
unsafe impl Sync for Tensor {}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        // SAFETY: `handle` is live while `self` is.
        let handle = unsafe { (self.host.clone)(self.handle) };
        Self { handle, host: self.host }
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: this value owns one count of `handle`.
        unsafe { (self.host.drop)(self.handle) }
    }
}

/// Rust types that are tensor elements.
pub trait Element: Copy {
    /// Their element type.
    const DTYPE: DType;
}
impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for f64 {
    const DTYPE: DType = DType::F64;
}
impl Element for i64 {
    const DTYPE: DType = DType::I64;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
impl Element for u8 {
    const DTYPE: DType = DType::U8;
}

/// Shapes in the ways they are written: tuples, arrays, slices.
pub trait IntoShape {
    /// The sizes; -1 is inferred where that is allowed.
    fn into_shape(self) -> Vec<i64>;
}
impl IntoShape for Vec<usize> {
    fn into_shape(self) -> Vec<i64> {
        self.into_iter().map(|size| size as i64).collect()
    }
}
impl IntoShape for &[usize] {
    fn into_shape(self) -> Vec<i64> {
        self.iter().map(|size| *size as i64).collect()
    }
}
impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Vec<i64> {
        self.iter().map(|size| *size as i64).collect()
    }
}
impl IntoShape for usize {
    fn into_shape(self) -> Vec<i64> {
        vec![self as i64]
    }
}
impl IntoShape for () {
    fn into_shape(self) -> Vec<i64> {
        Vec::new()
    }
}
macro_rules! tuple_shape {
    ($($name:ident),*) => {
        impl IntoShape for ($(tuple_shape!(@size $name),)*) {
            fn into_shape(self) -> Vec<i64> {
                #[allow(non_snake_case, reason = "one variable per position")]
                let ($($name,)*) = self;
                vec![$($name as i64),*]
            }
        }
    };
    (@size $name:ident) => { usize };
}
tuple_shape!(A);
tuple_shape!(A, B);
tuple_shape!(A, B, C);
tuple_shape!(A, B, C, D);
tuple_shape!(A, B, C, D, E);
tuple_shape!(A, B, C, D, E, F);

impl Tensor {
    /// Takes over one count of a handle.
    ///
    /// # Safety
    /// `handle` is a live handle of `host`, and its count is not given to anyone else.
    pub unsafe fn from_handle(handle: Handle, host: &'static Host) -> Self {
        Self { handle, host }
    }

    /// The handle, still owned by this value.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Gives the count of the handle away.
    pub fn into_handle(self) -> Handle {
        std::mem::ManuallyDrop::new(self).handle
    }

    /// The table of the host that owns this tensor.
    pub fn host(&self) -> &'static Host {
        self.host
    }

    /// Computes one operation.
    ///
    /// # Errors
    /// The host's message.
    pub fn dispatch(host: &'static Host, op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        const MOST: usize = 4;
        let words = op.encode();
        let handles: Vec<Handle> = inputs.iter().map(|input| input.handle).collect();
        let mut outputs = [std::ptr::null(); MOST];
        let mut error = Bytes::EMPTY;
        // SAFETY: every pointer is to a live local of the length given beside it.
        let count = unsafe {
            (host.dispatch)(
                op.id(),
                words.as_ptr(),
                words.len(),
                handles.as_ptr(),
                handles.len(),
                outputs.as_mut_ptr(),
                MOST,
                &mut error,
            )
        };
        match usize::try_from(count) {
            Ok(count) => Ok(outputs[..count.min(MOST)]
                .iter()
                // SAFETY: the host wrote `count` handles that now belong to us.
                .map(|handle| unsafe { Self::from_handle(*handle, host) })
                .collect()),
            Err(_) => Err(Error::Host(error.to_text())),
        }
    }

    fn one(&self, op: &Op, others: &[&Tensor]) -> Result<Tensor> {
        let inputs: Vec<&Tensor> = std::iter::once(self).chain(others.iter().copied()).collect();
        first(Self::dispatch(self.host, op, &inputs)?)
    }

    fn two(&self, op: &Op) -> Result<(Tensor, Tensor)> {
        let mut outputs = Self::dispatch(self.host, op, &[self])?.into_iter();
        match (outputs.next(), outputs.next()) {
            (Some(a), Some(b)) => Ok((a, b)),
            _ => Err(Error::Host(format!("{} returned fewer than two tensors", op.name()))),
        }
    }

    /// Size of each dimension.
    pub fn dims(&self) -> Vec<usize> {
        const USUAL: usize = 8;
        let mut dims = vec![0; USUAL];
        // SAFETY: `dims` has the capacity given.
        let rank = unsafe { (self.host.shape)(self.handle, dims.as_mut_ptr(), USUAL) };
        if rank > USUAL {
            dims.resize(rank, 0);
            // SAFETY: `dims` has the capacity given.
            unsafe { (self.host.shape)(self.handle, dims.as_mut_ptr(), rank) };
        }
        dims.truncate(rank);
        dims
    }

    fn dims_of<const N: usize>(&self) -> Result<[usize; N]> {
        let dims = self.dims();
        dims.as_slice().try_into().map_err(|_| {
            Error::refused(format!("a tensor of rank {N} is needed; found the shape {dims:?}"))
        })
    }

    /// The sizes of a matrix.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        self.dims_of().map(|[a, b]| (a, b))
    }

    /// The sizes of a tensor of rank 3.
    pub fn dims3(&self) -> Result<(usize, usize, usize)> {
        self.dims_of().map(|[a, b, c]| (a, b, c))
    }

    /// The sizes of a tensor of rank 4.
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        self.dims_of().map(|[a, b, c, d]| (a, b, c, d))
    }

    /// The size of one dimension, which may be counted from the end.
    pub fn dim(&self, dim: i64) -> Result<usize> {
        let dims = self.dims();
        let at = if dim < 0 { dim + dims.len() as i64 } else { dim };
        usize::try_from(at)
            .ok()
            .and_then(|at| dims.get(at).copied())
            .ok_or_else(|| Error::refused(format!("dimension {dim} of the shape {dims:?}")))
    }

    /// Number of elements.
    pub fn elem_count(&self) -> usize {
        self.dims().iter().product()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        use hssl_ops::{Attribute, Words};
        // SAFETY: `handle` is live.
        let code = i64::from(unsafe { (self.host.dtype)(self.handle) });
        DType::take(&mut Words::new(&[code])).unwrap_or(DType::F32)
    }

    /// A tensor on the host's device from elements in row-major order.
    pub fn from_slice<T: Element>(
        host: &'static Host,
        data: &[T],
        shape: impl IntoShape,
    ) -> Result<Tensor> {
        use hssl_ops::Attribute;
        let dims: Vec<usize> = shape.into_shape().iter().map(|size| *size as usize).collect();
        let mut code = Vec::new();
        T::DTYPE.put(&mut code);
        let (mut handle, mut error) = (std::ptr::null(), Bytes::EMPTY);
        // SAFETY: `data` is a live slice of plain elements; the host copies it.
        let status = unsafe {
            (host.from_data)(
                code[0] as u32,
                dims.as_ptr(),
                dims.len(),
                data.as_ptr().cast(),
                std::mem::size_of_val(data),
                &mut handle,
                &mut error,
            )
        };
        if status != abi::OK {
            return Err(Error::Host(error.to_text()));
        }
        // SAFETY: the host wrote a handle that now belongs to us.
        Ok(unsafe { Self::from_handle(handle, host) })
    }

    /// The elements in row-major order; waits for the device.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if self.dtype() != T::DTYPE {
            return Err(Error::refused(format!(
                "elements of type {:?} were asked of a tensor of {:?}",
                T::DTYPE,
                self.dtype()
            )));
        }
        let (mut bytes, mut error) = (Bytes::EMPTY, Bytes::EMPTY);
        // SAFETY: both out-pointers are to live locals.
        if unsafe { (self.host.read)(self.handle, &mut bytes, &mut error) } != abi::OK {
            return Err(Error::Host(error.to_text()));
        }
        let bytes = bytes.as_slice();
        let len = bytes.len() / std::mem::size_of::<T>();
        let mut values: Vec<T> = Vec::with_capacity(len);
        // SAFETY: `values` has room for `len` elements, and any bytes are valid elements.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                values.as_mut_ptr().cast(),
                len * std::mem::size_of::<T>(),
            );
            values.set_len(len);
        }
        Ok(values)
    }

    /// The one element as f64; waits for the device.
    pub fn scalar(&self) -> Result<f64> {
        let values = self.cast(DType::F64)?.to_vec::<f64>()?;
        match values.as_slice() {
            [value] => Ok(*value),
            _ => Err(Error::refused(format!("a scalar is needed; found {:?}", self.dims()))),
        }
    }

    /// Joins tensors along a dimension.
    pub fn cat(tensors: &[&Tensor], dim: i64) -> Result<Tensor> {
        let Some(any) = tensors.first() else {
            refuse!("cat needs at least one tensor");
        };
        first(Self::dispatch(any.host, &Op::Cat { dim }, tensors)?)
    }

    /// Joins tensors along a new dimension.
    pub fn stack(tensors: &[&Tensor], dim: i64) -> Result<Tensor> {
        let lifted = tensors.iter().map(|t| t.unsqueeze(dim)).collect::<Result<Vec<_>>>()?;
        Self::cat(&lifted.iter().collect::<Vec<_>>(), dim)
    }

    /// A constant of one value, on the device and of the element type of `self`.
    pub fn full_like(&self, shape: impl IntoShape, value: f64) -> Result<Tensor> {
        let shape = shape.into_shape().iter().map(|size| *size as usize).collect();
        first(Self::dispatch(self.host, &Op::Full { shape, value, dtype: self.dtype() }, &[])?)
    }

    /// The same elements in another shape; one size may be -1 (given as `usize::MAX`).
    pub fn reshape(&self, shape: impl IntoShape) -> Result<Tensor> {
        self.one(&Op::Reshape { shape: shape.into_shape() }, &[])
    }

    /// Dimensions `from..=to` as one.
    pub fn flatten(&self, from: usize, to: usize) -> Result<Tensor> {
        let dims = self.dims();
        if from > to || to >= dims.len() {
            refuse!("flatten of dimensions {from} to {to} of the shape {dims:?}");
        }
        let joined = dims[from..=to].iter().product();
        self.reshape([&dims[..from], &[joined], &dims[to + 1..]].concat())
    }

    /// A new dimension of size 1.
    pub fn unsqueeze(&self, dim: i64) -> Result<Tensor> {
        let mut dims = self.dims();
        let at = if dim < 0 { dim + dims.len() as i64 + 1 } else { dim };
        if at < 0 || at as usize > dims.len() {
            refuse!("a new dimension {dim} in the shape {dims:?}");
        }
        dims.insert(at as usize, 1);
        self.reshape(dims)
    }

    /// Drops a dimension of size 1.
    pub fn squeeze(&self, dim: i64) -> Result<Tensor> {
        let mut dims = self.dims();
        if self.dim(dim)? != 1 {
            refuse!("dimension {dim} of the shape {dims:?} is not 1");
        }
        let at = if dim < 0 { dim + dims.len() as i64 } else { dim };
        dims.remove(at as usize);
        self.reshape(dims)
    }

    /// Dimensions in another order.
    pub fn permute(&self, dims: &[i64]) -> Result<Tensor> {
        self.one(&Op::Permute { dims: dims.to_vec() }, &[])
    }

    /// Swaps two dimensions.
    pub fn transpose(&self, a: i64, b: i64) -> Result<Tensor> {
        let rank = self.dims().len() as i64;
        let at = |dim: i64| if dim < 0 { dim + rank } else { dim };
        let (a, b) = (at(a), at(b));
        if a < 0 || b < 0 || a >= rank || b >= rank {
            refuse!("a swap of dimensions {a} and {b} of the shape {:?}", self.dims());
        }
        let mut dims: Vec<i64> = (0..rank).collect();
        dims.swap(a as usize, b as usize);
        self.permute(&dims)
    }

    /// Swaps the last two dimensions.
    pub fn t(&self) -> Result<Tensor> {
        self.transpose(-2, -1)
    }

    /// One entry of a dimension, which disappears.
    pub fn index(&self, dim: i64, at: usize) -> Result<Tensor> {
        self.narrow(dim, at, 1)?.squeeze(dim)
    }

    /// Splits a dimension into equal parts.
    pub fn chunk(&self, parts: usize, dim: i64) -> Result<Vec<Tensor>> {
        let size = self.dim(dim)?;
        if parts == 0 || !size.is_multiple_of(parts) {
            refuse!("{parts} equal parts of dimension {dim} of the shape {:?}", self.dims());
        }
        (0..parts).map(|i| self.narrow(dim, i * (size / parts), size / parts)).collect()
    }

    /// Mean over all elements.
    pub fn mean_all(&self) -> Result<Tensor> {
        self.mean(&[], false)
    }

    /// Sum over all elements.
    pub fn sum_all(&self) -> Result<Tensor> {
        self.sum(&[], false)
    }

    /// mul * x.
    pub fn scale(&self, mul: f64) -> Result<Tensor> {
        self.affine(mul, 0.0)
    }

    /// x with `dims` repeated where they are 1.
    pub fn broadcast_to(&self, shape: impl IntoShape) -> Result<Tensor> {
        let shape = shape.into_shape().iter().map(|size| *size as usize).collect();
        self.one(&Op::BroadcastTo { shape }, &[])
    }

    /// x w^T + b.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.with_optional(&Op::Linear {}, &[weight], &[bias])
    }

    /// Layer norm over the last dimension.
    pub fn layer_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        self.with_optional(&Op::LayerNorm { eps }, &[], &[weight, bias])
    }

    /// Group norm over positions and channel groups.
    pub fn group_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        groups: usize,
        eps: f64,
    ) -> Result<Tensor> {
        self.with_optional(&Op::GroupNorm { groups, eps }, &[], &[weight, bias])
    }

    /// Any operation with required and trailing optional inputs after `self`.
    pub fn with_optional(
        &self,
        op: &Op,
        required: &[&Tensor],
        optional: &[Option<&Tensor>],
    ) -> Result<Tensor> {
        let given = optional.iter().map_while(|tensor| *tensor);
        let others: Vec<&Tensor> = required.iter().copied().chain(given).collect();
        self.one(op, &others)
    }

    /// softmax(scale q k^T + bias) v, with the weights if asked for; `self` is q (B, heads, N, D).
    pub fn attention(
        &self,
        k: &Tensor,
        v: &Tensor,
        bias: Option<&Tensor>,
        scale: f64,
        return_weights: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let inputs: Vec<&Tensor> = [self, k, v].into_iter().chain(bias).collect();
        let op = Op::Attention { scale, return_weights };
        let mut outputs = Self::dispatch(self.host, &op, &inputs)?.into_iter();
        let out = outputs.next().ok_or_else(|| Error::Host("attention returned nothing".into()))?;
        Ok((out, outputs.next()))
    }

    /// Spatial resize of (B, H, W, C); see [`Op::Resize`].
    pub fn resize(&self, output: [usize; 2], mode: ResizeMode, antialias: bool) -> Result<Tensor> {
        let (align_corners, scale_h, scale_w) = (false, 0.0, 0.0);
        self.one(&Op::Resize { output, mode, align_corners, antialias, scale_h, scale_w }, &[])
    }

    /// Pads each dimension by (before, after) with a value.
    pub fn pad(&self, pads: &[usize], value: f64) -> Result<Tensor> {
        self.one(&Op::Pad { pads: pads.to_vec(), mode: PadMode::Constant, value }, &[])
    }

    /// The `k` largest of the last dimension with their indices.
    pub fn top_k(&self, k: usize) -> Result<(Tensor, Tensor)> {
        self.two(&Op::TopK { k, largest: true })
    }

    /// The last dimension in order with the indices.
    pub fn sort(&self, descending: bool) -> Result<(Tensor, Tensor)> {
        self.two(&Op::Sort { descending })
    }
}

fn first(outputs: Vec<Tensor>) -> Result<Tensor> {
    outputs.into_iter().next().ok_or_else(|| Error::Host("the host returned no tensor".into()))
}
