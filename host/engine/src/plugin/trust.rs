//! Whether others than the user could have written a plugin.
//!
//! On Unix the file, the folder that it lies in and, where it is a symbolic link, the folder of the
//! link must belong to the user or to root, and must not be writable by others, nor by a group other
//! than the user's own primary group. No folder above them may be writable by everyone, unless it is
//! sticky as `/tmp` is, where only an owner renames. Root gets no exemption: a plugin runs with the
//! rights of whoever runs hssl. On other systems access lists decide, and nothing is checked here.

#[cfg(not(unix))]
use std::path::{Path, PathBuf};

use super::PluginError;

/// The file under an absolute name.
#[cfg(not(unix))]
pub(super) fn check(path: &Path) -> Result<PathBuf, PluginError> {
    std::path::absolute(path).map_err(|source| PluginError::io("read", path, source))
}

#[cfg(unix)]
pub(super) use unix::check;

#[cfg(unix)]
mod unix {
    use std::fs::Metadata;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use super::PluginError;

    /// Who runs hssl.
    #[derive(Clone, Copy, Debug)]
    struct User {
        uid: u32,
        gid: u32,
    }

    /// Who may write a file or folder.
    #[derive(Clone, Copy, Debug)]
    struct Access {
        mode: u32,
        uid: u32,
        gid: u32,
    }

    impl From<&Metadata> for Access {
        fn from(metadata: &Metadata) -> Self {
            Self { mode: metadata.mode(), uid: metadata.uid(), gid: metadata.gid() }
        }
    }

    const STICKY: u32 = 0o1000;
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;

    /// What is wrong with who may write, and the command that mends it; `{}` stands for the path.
    fn fault(access: Access, user: User) -> Option<(String, String)> {
        let mode = access.mode & 0o7777;
        if access.uid != 0 && access.uid != user.uid {
            let found =
                format!("belongs to user {}, not to you ({}) or root", access.uid, user.uid);
            return Some((found, format!("chown {} {{}}", user.uid)));
        }
        if mode & OTHERS_WRITE != 0 {
            return Some((
                format!("is writable by everyone (mode {mode:04o}, bit o+w)"),
                "chmod o-w {}".into(),
            ));
        }
        if mode & GROUP_WRITES != 0 && access.gid != user.gid {
            return Some((
                format!("is writable by group {} (mode {mode:04o}, bit g+w)", access.gid),
                "chmod g-w {}".into(),
            ));
        }
        None
    }

    fn metadata(path: &Path) -> Result<Metadata, PluginError> {
        std::fs::metadata(path).map_err(|source| PluginError::io("read", path, source))
    }

    /// Refuses a plugin that others may write. Returns the file that was judged, without links in
    /// its name: a link could lead elsewhere by the time the file is opened.
    pub(in crate::plugin) fn check(path: &Path) -> Result<PathBuf, PluginError> {
        let user = User {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let untrusted = |what: &str, place: &Path, (found, fix): (String, String)| {
            let place = place.display().to_string();
            PluginError::Untrusted {
                path: path.to_owned(),
                fix: fix.replace("{}", &place),
                place: format!("{what} {place}"),
                found,
            }
        };
        let read = |source| PluginError::io("read", path, source);
        let absolute = std::path::absolute(path).map_err(read)?;
        let real = std::fs::canonicalize(path).map_err(read)?;
        if let Some(fault) = fault(Access::from(&metadata(&real)?), user) {
            return Err(untrusted("the file", &real, fault));
        }
        let mut folders: Vec<PathBuf> = Vec::new();
        for file in [&real, &absolute] {
            let folder = file.parent().unwrap_or(Path::new("/"));
            let folder = std::fs::canonicalize(folder).map_err(read)?;
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        for folder in &folders {
            if let Some(fault) = fault(Access::from(&metadata(folder)?), user) {
                return Err(untrusted("its folder", folder, fault));
            }
            for above in folder.ancestors().skip(1) {
                let mode = metadata(above)?.mode() & 0o7777;
                if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
                    let found = format!("is writable by everyone (mode {mode:04o}, bit o+w)");
                    return Err(untrusted("the folder", above, (found, "chmod o-w {}".into())));
                }
            }
        }
        Ok(real)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const ME: User = User { uid: 1000, gid: 1000 };

        fn found(mode: u32, uid: u32, gid: u32, user: User) -> Option<String> {
            fault(Access { mode, uid, gid }, user).map(|(found, _)| found)
        }

        #[test]
        fn ones_own_files_and_those_of_root_are_trusted() {
            for (mode, uid, gid) in [
                (0o100755, 1000, 1000),
                (0o100644, 0, 0),
                (0o100775, 1000, 1000),
                (0o100755, 0, 50),
            ] {
                assert_eq!(found(mode, uid, gid, ME), None, "{mode:o} {uid} {gid}");
            }
        }

        #[test]
        fn the_bit_at_fault_is_named() {
            assert!(found(0o100757, 1000, 1000, ME).unwrap().contains("mode 0757, bit o+w"));
            assert!(found(0o041777, 0, 0, ME).unwrap().contains("o+w"), "sticky does not excuse");
            assert!(found(0o100775, 1000, 50, ME).unwrap().contains("group 50"));
            assert!(found(0o100775, 0, 0, ME).unwrap().contains("g+w"), "root's group is not ours");
        }

        #[test]
        fn the_file_behind_a_link_is_judged_and_returned() {
            let folder = tempfile::tempdir().unwrap();
            let (real, link) = (folder.path().join("real"), folder.path().join("link"));
            std::fs::write(&real, "").unwrap();
            std::os::unix::fs::symlink(&real, &link).unwrap();
            assert_eq!(check(&link).unwrap(), real.canonicalize().unwrap());
        }

        #[test]
        fn another_users_file_is_not_trusted_not_even_by_root() {
            assert!(found(0o100755, 1001, 1000, ME).unwrap().contains("user 1001"));
            let root = User { uid: 0, gid: 0 };
            assert!(found(0o100755, 1000, 0, root).unwrap().contains("user 1000"));
        }
    }
}
