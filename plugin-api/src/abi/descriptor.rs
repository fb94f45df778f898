//! What a plugin file says of itself without being loaded.
//!
//! Constructors of a library run while it is being opened, so the host reads this text from a link
//! section of the file first. Lines of `key value`; unknown keys are skipped, so it can grow.

/// The link section (ELF and PE name).
pub const SECTION: &str = ".hssl_plugin";
/// The first line.
pub const MAGIC: &str = "hssl-plugin 1";

/// Joins texts at compile time. `N` is [`len`] of them.
pub const fn join<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut bytes = [0; N];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let text = parts[part].as_bytes();
        let mut i = 0;
        while i < text.len() {
            bytes[at] = text[i];
            at += 1;
            i += 1;
        }
        part += 1;
    }
    bytes
}

/// Total length of texts.
pub const fn len(parts: &[&str]) -> usize {
    let (mut part, mut total) = (0, 0);
    while part < parts.len() {
        total += parts[part].len();
        part += 1;
    }
    total
}

/// The compiler that built this SDK.
pub const RUSTC: &str = env!("HSSL_RUSTC");
/// The platform that this SDK was built for.
pub const TARGET: &str = env!("HSSL_TARGET");
/// Version of this SDK.
pub const SDK: &str = env!("CARGO_PKG_VERSION");
/// What a panic does in this build.
pub const PANIC: &str = if cfg!(panic = "unwind") { "unwind" } else { "abort" };

/// A descriptor, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Interface version that the plugin was built against.
    pub interface: (u32, u32),
    /// SDK version.
    pub sdk: String,
    /// Compiler.
    pub rustc: String,
    /// Platform triple.
    pub target: String,
    /// `unwind` or `abort`.
    pub panic: String,
    /// Plugin name.
    pub name: String,
    /// Plugin version.
    pub version: String,
    /// `(kind, name)` of each component, in order.
    pub components: Vec<(String, String)>,
}

impl Descriptor {
    /// Reads a section's bytes; the error says what is wrong with them.
    pub fn parse(section: &[u8]) -> Result<Self, String> {
        let end = section.iter().position(|byte| *byte == 0).unwrap_or(section.len());
        let text = std::str::from_utf8(&section[..end]).map_err(|_| "it is no text".to_owned())?;
        let mut lines = text.lines();
        match lines.next() {
            Some(MAGIC) => {}
            found => return Err(format!("it starts with {found:?} instead of {MAGIC:?}")),
        }
        let mut read = Self::default();
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "interface" => {
                    read.interface = value
                        .split_once('.')
                        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
                        .ok_or_else(|| format!("interface version {value:?} is not MAJOR.MINOR"))?;
                }
                "sdk" => read.sdk = value.into(),
                "rustc" => read.rustc = value.into(),
                "target" => read.target = value.into(),
                "panic" => read.panic = value.into(),
                "name" => read.name = value.into(),
                "version" => read.version = value.into(),
                "component" => {
                    let (kind, name) = value.split_once(' ').unwrap_or((value, ""));
                    read.components.push((kind.into(), name.into()));
                }
                _ => {}
            }
        }
        if read.name.is_empty() || read.interface == (0, 0) {
            return Err("it lacks a name or an interface version".into());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_read_back() {
        const PARTS: &[&str] =
            &[MAGIC, "\ninterface ", "1.7", "\nname vit\ncomponent head vit\nfuture thing\n"];
        const TEXT: [u8; len(PARTS)] = join(PARTS);
        let read = Descriptor::parse(&TEXT).unwrap();
        assert_eq!((read.interface, read.name.as_str()), ((1, 7), "vit"));
        assert_eq!(read.components, [("head".to_owned(), "vit".to_owned())]);
    }

    #[test]
    fn rubbish_is_refused_with_a_reason() {
        assert!(Descriptor::parse(b"ELF").unwrap_err().contains("ELF"));
        assert!(Descriptor::parse(&[0xff, 0xfe]).is_err());
        assert!(Descriptor::parse(b"hssl-plugin 1\ninterface x\n").unwrap_err().contains("x"));
    }
}
