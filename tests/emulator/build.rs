//! Compiles every `.cu` file of the tensor runtime as C++, with `emulator.h` in CUDA's place.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    if env::var_os("CARGO_FEATURE_KERNELS").is_none() {
        return;
    }
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("Cargo sets it"));
    let source = here.join("../../host/tensor/src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    files.sort();
    // One text, so that the linker keeps what makes kernels known; a namespace for each file, for on a GPU
    // they are compiled apart.
    let mut text = String::from("#include \"emulator.cpp\"\n");
    text += &format!("#include \"{}\"\n", source.join("cuda/common.cuh").display());
    text += "#include \"instructions.h\"\n";
    for (index, file) in files.iter().enumerate() {
        text += &format!("namespace file{index} {{\n#include \"{}\"\n}}\n", file.display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets it")).join("kernels.cpp");
    fs::write(&out, text).expect("OUT_DIR can be written");
    let folder = here.join("src");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .include(&folder)
        .file(out)
        // A product and a sum are two roundings where kernels say so.
        .flag_if_supported("-ffp-contract=off")
        // Kernels read several elements as one, which nvcc allows.
        .flag_if_supported("-fno-strict-aliasing")
        .flag_if_supported("-Wno-unknown-pragmas")
        .flag_if_supported("-Wno-unused-function")
        .compile("emulated_kernels");
    for watched in [&folder, &source] {
        println!("cargo:rerun-if-changed={}", watched.display());
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is part of the workspace") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "cu") {
            files.push(path);
        }
    }
}
