//! Attributes cross the plugin boundary as a flat list of 64-bit words.
//!
//! A word list has no layout to break: an operation is added by adding a line to the list, never
//! by changing a struct that an older plugin was compiled against.

use crate::{DType, PadMode, ResizeMode};

/// A value that an operation carries beside its input tensors.
pub trait Attribute: Sized {
    /// The spelling of this type in the version file.
    const KIND: &'static str;
    /// Appends the value's words.
    fn put(&self, words: &mut Vec<i64>);
    /// Takes the value's words off the front; `None` if they are missing or mean nothing.
    fn take(words: &mut Words<'_>) -> Option<Self>;
}

/// The words of a call that are still to be read.
#[derive(Debug)]
pub struct Words<'a>(&'a [i64]);

impl<'a> Words<'a> {
    /// Starts reading at the first word.
    pub fn new(words: &'a [i64]) -> Self {
        Self(words)
    }

    fn next(&mut self) -> Option<i64> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Whether every word has been read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Attribute for i64 {
    const KIND: &'static str = "int";
    fn put(&self, words: &mut Vec<i64>) {
        words.push(*self);
    }
    fn take(words: &mut Words<'_>) -> Option<Self> {
        words.next()
    }
}

impl Attribute for usize {
    const KIND: &'static str = "size";
    fn put(&self, words: &mut Vec<i64>) {
        words.push(*self as i64);
    }
    fn take(words: &mut Words<'_>) -> Option<Self> {
        usize::try_from(words.next()?).ok()
    }
}

impl Attribute for bool {
    const KIND: &'static str = "bool";
    fn put(&self, words: &mut Vec<i64>) {
        words.push(i64::from(*self));
    }
    fn take(words: &mut Words<'_>) -> Option<Self> {
        match words.next()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Attribute for f64 {
    const KIND: &'static str = "float";
    fn put(&self, words: &mut Vec<i64>) {
        words.push(self.to_bits() as i64);
    }
    fn take(words: &mut Words<'_>) -> Option<Self> {
        Some(f64::from_bits(words.next()? as u64))
    }
}

macro_rules! list_attribute {
    ($element:ty, $kind:literal) => {
        impl Attribute for Vec<$element> {
            const KIND: &'static str = $kind;
            fn put(&self, words: &mut Vec<i64>) {
                self.len().put(words);
                self.iter().for_each(|element| element.put(words));
            }
            fn take(words: &mut Words<'_>) -> Option<Self> {
                let len = usize::take(words)?;
                // A corrupt length must not reserve memory: there are only so many words left.
                if len > words.0.len() {
                    return None;
                }
                (0..len).map(|_| <$element>::take(words)).collect()
            }
        }
    };
}
list_attribute!(i64, "ints");
list_attribute!(usize, "sizes");

impl Attribute for [usize; 2] {
    const KIND: &'static str = "size2";
    fn put(&self, words: &mut Vec<i64>) {
        self.iter().for_each(|element| element.put(words));
    }
    fn take(words: &mut Words<'_>) -> Option<Self> {
        Some([usize::take(words)?, usize::take(words)?])
    }
}

macro_rules! enum_attribute {
    ($name:ident, $kind:literal, { $($variant:ident = $word:literal),* $(,)? }) => {
        impl Attribute for $name {
            const KIND: &'static str = $kind;
            fn put(&self, words: &mut Vec<i64>) {
                words.push(match self { $(Self::$variant => $word),* });
            }
            fn take(words: &mut Words<'_>) -> Option<Self> {
                match words.next()? { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
enum_attribute!(DType, "dtype", { F32 = 0, F64 = 1, BF16 = 2, F16 = 3, I64 = 4, U32 = 5, U8 = 6 });
enum_attribute!(ResizeMode, "resize", { Nearest = 0, Bilinear = 1, Bicubic = 2 });
enum_attribute!(PadMode, "pad", { Constant = 0, Reflect = 1, Replicate = 2 });
