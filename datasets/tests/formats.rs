//! SPECs, the formats behind them, and what a user reads when something is wrong.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hssl_datasets::{Dataset, Roots, absolute, cached, open, write_to};
use tempfile::TempDir;

fn roots(folder: &Path) -> Roots {
    Roots { data_root: Some(folder.into()), relative_to: folder.into() }
}

fn open_in(folder: &TempDir, spec: &str) -> Arc<dyn Dataset> {
    open(spec, &roots(folder.path())).unwrap_or_else(|error| panic!("{spec}: {error}"))
}

/// The error of `spec` says all of `parts`.
fn check_error(folder: &TempDir, spec: &str, parts: &[&str]) {
    let Err(error) = open(spec, &roots(folder.path())) else { panic!("{spec} opened") };
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{spec}: `{message}` does not say `{part}`");
    }
}

fn png(red: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = [red, 100, 50].repeat(8 * 6);
    let image = image::RgbImage::from_raw(8, 6, pixels).unwrap();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    bytes
}

fn put(folder: &TempDir, path: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Two splits, three classes with one to three images each.
const FILES: [&str; 7] = [
    "set/train/a/2.png",
    "set/train/a/10.png",
    "set/train/a-b/1.png",
    "set/train/b/1.png",
    "set/train/b/2.PNG",
    "set/val/a/1.png",
    "set/val/b/1.png",
];

fn image_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (number, file) in FILES.iter().enumerate() {
        put(&folder, file, &png(number as u8));
    }
    put(&folder, "set/train/a/notes.txt", b"not an image");
    put(&folder, "set/train/.hidden/1.png", &png(9));
    folder
}

fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Class, first byte of the first pixel.
fn contents(dataset: &dyn Dataset) -> Vec<(Option<i64>, u8)> {
    let one = |index| {
        let sample = dataset.load(index).unwrap();
        assert_eq!(sample.label, dataset.label(index));
        assert_eq!((sample.image.width, sample.image.height), (8, 6));
        (sample.label, sample.image.data[0])
    };
    (0..dataset.len()).map(one).collect()
}

const TRAIN: [(Option<i64>, u8); 5] =
    [(Some(0), 1), (Some(0), 0), (Some(1), 2), (Some(2), 3), (Some(2), 4)];

#[test]
fn an_image_folder_is_sorted_by_class_and_name() {
    let folder = image_folder();
    let set = open_in(&folder, "imagefolder:set#train");
    assert_eq!(set.classes(), ["a", "a-b", "b"]);
    assert_eq!(contents(&*set), TRAIN);
    assert!(set.name(0).ends_with("a/10.png"), "{}", set.name(0));
    assert_eq!(contents(&*open_in(&folder, "imagefolder:set/train")), TRAIN);
    assert_eq!(open_in(&folder, "images:set").len(), 7);
    assert_eq!(open_in(&folder, "images:set#train").label(0), None);
}

#[test]
fn fingerprints_see_names_sizes_and_labels() {
    let folder = image_folder();
    let fingerprint = || open_in(&folder, "imagefolder:set#train").fingerprint();
    let before = fingerprint();
    assert_eq!(before.len(), 64);
    assert_eq!(before, fingerprint());
    let path = put(&folder, "set/train/b/3.png", &png(1));
    assert_ne!(before, fingerprint());
    fs::remove_file(path).unwrap();
    assert_eq!(before, fingerprint());
    let all = open_in(&folder, "imagefolder:set#train");
    let part = open_in(&folder, "imagefolder:set#train@3");
    assert_ne!(all.fingerprint(), part.fingerprint());
}

#[test]
fn archives_hold_image_folders() {
    let folder = TempDir::new().unwrap();
    let files: Vec<_> =
        FILES.iter().enumerate().map(|(number, name)| (*name, png(number as u8))).collect();
    let plain = tar_of(&files);
    put(&folder, "x.tar", &plain);
    put(&folder, "x.tar.gz", &gzip(&plain));
    put(&folder, "x.tar.zst", &zstd::encode_all(plain.as_slice(), 1).unwrap());
    for name in ["x.tar", "x.tar.gz", "x.tar.zst"] {
        for prefix in ["train", "set/train"] {
            let set = open_in(&folder, &format!("tar:{name}#{prefix}"));
            assert_eq!(contents(&*set), TRAIN, "{name}");
        }
        check_error(&folder, &format!("tar:{name}"), &["splits (train, val)", "#train"]);
        check_error(&folder, &format!("tar:{name}#trian"), &["did you mean `train`", "val"]);
    }
    put(&folder, "cut.tar", &plain[..3 * 1024 + 600]);
    check_error(&folder, "tar:cut.tar#train", &["cut.tar", "whole tar archive"]);
    check_error(&folder, "tar:none.tar", &["none.tar", "does not exist"]);
}

#[test]
fn webdataset_shards_are_read_in_order() {
    let folder = TempDir::new().unwrap();
    for shard in 0..3u8 {
        let files: Vec<_> = (0..2u8)
            .flat_map(|n| {
                let names = [["b.png", "b.cls"], ["a.png", "a.cls"]][usize::from(n)];
                [(names[0], png(shard * 2 + n)), (names[1], format!("{shard}\n").into_bytes())]
            })
            .collect();
        put(&folder, &format!("s-{shard:04}.tar"), &tar_of(&files));
    }
    let set = open_in(&folder, "tar:s-{0000..0002}.tar");
    let expected: Vec<_> = (0..6).map(|n| (Some(i64::from(n / 2)), n)).collect();
    assert_eq!(contents(&*set), expected);
    assert_eq!(set.classes(), ["0", "1", "2"]);
    assert_eq!(open_in(&folder, "tar:s-0001.tar").len(), 2);
    check_error(&folder, "tar:s-{0000..0003}.tar", &["s-0003.tar"]);
    check_error(&folder, "tar:s-{a..b}.tar", &["shards", "{0000..0009}"]);
}

/// `records` records of `labels` label bytes, whose pixels are (record, 1, 2) everywhere.
fn cifar(records: u8, labels: &[u8]) -> Vec<u8> {
    let record = |number: u8| {
        let planes = [number, 1, 2].into_iter().flat_map(|value| [value; 1024]);
        labels.iter().copied().chain(planes).collect::<Vec<u8>>()
    };
    (0..records).flat_map(record).collect()
}

#[test]
fn cifar_counts_records_by_file_size() {
    let folder = TempDir::new().unwrap();
    for number in 1..=5u8 {
        let bytes = cifar(number, &[number]);
        put(&folder, &format!("c/cifar-10-batches-bin/data_batch_{number}.bin"), &bytes);
    }
    put(&folder, "c/cifar-10-batches-bin/test_batch.bin", &cifar(2, &[9]));
    for spec in ["cifar10:c", "cifar10:c/cifar-10-batches-bin#train"] {
        let set = open_in(&folder, spec);
        assert_eq!((set.len(), set.classes().len()), (15, 10));
        let sample = set.load(14).unwrap();
        assert_eq!((sample.label, sample.image.pixel(31, 31)), (Some(5), [4, 1, 2]));
    }
    assert_eq!(open_in(&folder, "cifar10:c#test").label(1), Some(9));
    check_error(&folder, "cifar10:c#valid", &["valid", "train, test"]);

    put(&folder, "h/train.bin", &cifar(3, &[7, 42]));
    put(&folder, "h/test.bin", &cifar(3, &[7, 42])[..9000]);
    assert_eq!(open_in(&folder, "cifar100:h").label(2), Some(42));
    check_error(&folder, "cifar100:h#test", &["test.bin", "2 whole records", "truncated"]);
    check_error(&folder, "cifar10:h", &["data_batch_1.bin", "train.bin"]);
}

#[test]
fn known_sets_are_found_packed_and_unpacked() {
    let folder = TempDir::new().unwrap();
    check_error(
        &folder,
        "cifar10-mini",
        &["cifar10-mini and ", "cifar10-mini-bin.tar.gz", "Looked for", "--data-root"],
    );
    check_error(&folder, "cifar10", &["hssl data fetch cifar10"]);
    let files = [
        ("imagenette-160/train/n1/1.JPEG", png(1)),
        ("imagenette-160/train/n2/1.JPEG", png(2)),
        ("imagenette-160/val/n1/1.JPEG", png(3)),
    ];
    put(&folder, "imagenette-160.tar", &tar_of(&files));
    assert_eq!(contents(&*open_in(&folder, "imagenette-160#val")), [(Some(0), 3)]);
    assert_eq!(open_in(&folder, "imagenette-160#test").len(), 1);
    for (name, bytes) in &files[..2] {
        put(&folder, name, bytes);
    }
    assert_eq!(open_in(&folder, "imagenette-160").len(), 2);
    check_error(&folder, "imagenette-160#tran", &["did you mean `train`", "train, val"]);
    let nowhere = Roots::default();
    let message = open("cifar10", &nowhere).err().unwrap().to_string();
    assert!(message.contains("HSSL_DATA"), "{message}");
}

/// Their archives have the same folder inside; unpacked, each has one of its own.
#[test]
fn a_whole_set_and_its_mini_one_are_not_taken_for_each_other() {
    let folder = TempDir::new().unwrap();
    let official = "cifar-10-batches-bin";
    for number in 1..=5u8 {
        let file = format!("{official}/data_batch_{number}.bin");
        put(&folder, &file, &cifar(2, &[number]));
        put(&folder, &format!("cifar10-mini/{file}"), &cifar(1, &[number]));
    }
    assert_eq!(open_in(&folder, "cifar10").len(), 10);
    assert_eq!(open_in(&folder, "cifar10-mini").len(), 5);

    put(&folder, "cifar-100-binary/train.bin", &cifar(2, &[7, 42]));
    let packed = tar_of(&[("cifar-100-binary/train.bin", cifar(3, &[7, 42]))]);
    put(&folder, "cifar100-mini-bin.tar.gz", &gzip(&packed));
    assert_eq!(open_in(&folder, "cifar100").len(), 2);
    assert_eq!(open_in(&folder, "cifar100-mini").len(), 3);
}

#[test]
fn only_the_path_of_a_spec_is_made_absolute() {
    let folder = Path::new("/runs");
    for without in ["cifar10#train@0.1:7", "cifar10@5000:1", "generated:shapes?n=9#train@5:1"] {
        assert_eq!(absolute(without, folder), without);
    }
    let path = folder.join("a#train@0.1:7");
    let expected = format!("imagefolder:{}", path.display());
    assert_eq!(absolute("imagefolder:a#train@0.1:7", folder), expected);
}

#[test]
fn a_number_after_an_at_sign_inside_a_path_is_no_portion() {
    let folder = TempDir::new().unwrap();
    for number in 0..3 {
        put(&folder, &format!("v@2/photos/a/{number}.png"), &png(number));
    }
    assert_eq!(open_in(&folder, "imagefolder:v@2/photos").len(), 3);
    assert_eq!(open_in(&folder, "imagefolder:v@2/photos@1").len(), 1);
}

#[test]
fn mistakes_are_told_with_the_fix() {
    let folder = image_folder();
    put(&folder, "loose/1.png", &png(0));
    put(&folder, "texts/a/readme.md", b"x");
    fs::create_dir(folder.path().join("empty")).unwrap();
    check_error(&folder, "cifar10-jpg", &["unknown", "did you mean `cifar10-jpeg`?"]);
    check_error(&folder, "imgefolder:set", &["did you mean `imagefolder`?"]);
    check_error(&folder, "generated:shape", &["unknown"]);
    check_error(&folder, "imagefolder:sett", &["sett` does not exist"]);
    check_error(&folder, "imagefolder:set#tain", &["did you mean `train`?", "train, val"]);
    check_error(&folder, "imagefolder:set", &["#train", "splits"]);
    check_error(&folder, "imagefolder:loose", &["1 images", "class folder", "images:DIR"]);
    check_error(&folder, "imagefolder:empty", &["empty", "no images", "nothing"]);
    check_error(&folder, "imagefolder:texts", &["no images", ".jpg"]);
    check_error(&folder, "imagefolder:", &["imagefolder:DIR"]);
    check_error(&folder, "imagefolder:set#train@6", &["Count(6)", "1 to 5"]);
    check_error(&folder, "imagefolder:set#train@0.x", &["@0.x", "@0.1"]);
    check_error(&folder, "generated:shapes?sze=3", &["sze", "size"]);
}

#[test]
fn portions_keep_the_classes_balanced() {
    let roots = Roots::default();
    let set = open("generated:shapes?n=1000#train@10%", &roots).unwrap();
    assert_eq!(set.len(), 100);
    for class in 0..10 {
        let count = (0..100).filter(|index| set.label(*index) == Some(class)).count();
        assert_eq!(count, 10);
    }
    let names = |spec: &str| -> Vec<String> {
        let set = open(spec, &roots).unwrap();
        (0..set.len()).map(|index| set.name(index)).collect()
    };
    let tenth = names("generated:shapes?n=1000@0.1");
    assert_eq!(tenth, names("generated:shapes?n=1000@10%:0"));
    assert_ne!(tenth, names("generated:shapes?n=1000@0.1:1"));
    let fifth = names("generated:shapes?n=1000@0.2");
    assert!(tenth.iter().all(|name| fifth.contains(name)), "1 % lies within 10 %");
    assert_eq!(names("generated:shapes?n=1000@37").len(), 37);
}

#[test]
fn segmentation_folders_have_masks() {
    let folder = TempDir::new().unwrap();
    let grey = |width: u32, value: u8| {
        let mut bytes = Vec::new();
        let image = image::GrayImage::from_pixel(width, 6, image::Luma([value]));
        image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        bytes
    };
    put(&folder, "s/train/1.png", &png(0));
    put(&folder, "s/trainannot/1.png", &grey(8, 2));
    put(&folder, "s/classes.txt", b"0 Sky\n1 Road\n2 Void\n");
    let set = open_in(&folder, "segmentation:s#train");
    assert_eq!(set.classes(), ["Sky", "Road", "Void"]);
    assert_eq!(set.ignore_index(), Some(2));
    assert_eq!(set.load(0).unwrap().mask.unwrap().data, [2; 48]);
    put(&folder, "ade/images/validation/1.png", &png(0));
    put(&folder, "ade/annotations/validation/1.png", &grey(7, 2));
    let set = open_in(&folder, "segmentation:ade#val");
    let message = set.load(0).unwrap_err().to_string();
    assert!(message.contains("7x6") && message.contains("8x6"), "{message}");
    check_error(&folder, "segmentation:s#val", &["`val`", "valannot"]);
}

#[test]
fn coco_has_boxes_with_classes_in_order() {
    let folder = TempDir::new().unwrap();
    put(&folder, "c/val2017/7.png", &png(0));
    put(&folder, "c/val2017/5.png", &png(1));
    let json = r#"{
        "images": [{"id": 7, "file_name": "7.png"}, {"id": 5, "file_name": "5.png"}],
        "categories": [{"id": 90, "name": "brush"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 9.5,
             "iscrowd": 0, "segmentation": [[1, 2, 4, 2, 4, 6]]},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 8, 6], "area": 48,
             "iscrowd": 1, "segmentation": {"counts": [0, 48], "size": [6, 8]}}
        ]}"#;
    put(&folder, "c/annotations/instances_val2017.json", json.as_bytes());
    let set = open_in(&folder, "coco:c#val");
    assert_eq!(set.classes(), ["car", "brush"]);
    assert!(set.load(0).unwrap().boxes.is_empty());
    let boxes = set.load(1).unwrap().boxes;
    assert_eq!((boxes[0].class, boxes[0].crowd, boxes[0].width), (1, false, 3.0));
    assert_eq!((boxes[1].class, boxes[1].crowd), (0, true));
    check_error(&folder, "coco:c#train", &["train", "instances_val2017.json"]);
    let broken = json.replace("\"category_id\": 3", "\"category_id\": 4");
    put(&folder, "c/annotations/instances_val2017.json", broken.as_bytes());
    check_error(&folder, "coco:c#val", &["annotation 2", "category 4"]);
}

#[test]
fn a_generated_set_is_reproducible_and_can_be_written_out() {
    let folder = TempDir::new().unwrap();
    let spec = "generated:shapes?n=40&size=24";
    let set = open_in(&folder, spec);
    let again = cached(open_in(&folder, spec), 1 << 20);
    let val = open_in(&folder, "generated:shapes?n=40&size=24#val");
    for index in 0..40 {
        let sample = set.load(index).unwrap();
        // Twice from the cache: when it is made, and when it is found.
        assert_eq!(sample, again.load(index).unwrap());
        assert_eq!(sample, again.load(index).unwrap());
        assert_ne!(sample.image, val.load(index).unwrap().image);
        let mask = sample.mask.unwrap();
        let class = sample.label.unwrap() as u8;
        assert!(mask.data.iter().all(|value| *value == 0 || *value == class + 1));
        assert!(mask.data.contains(&(class + 1)));
        assert!(!sample.boxes.is_empty());
        for found in &sample.boxes {
            assert_eq!(found.class, usize::from(class));
            assert!(found.x + found.width <= 24.0 && found.y + found.height <= 24.0);
        }
    }
    assert_eq!(open_in(&folder, "generated:shapes").len(), 4096);
    assert_eq!(open_in(&folder, "generated:shapes#val").len(), 1024);
    let out = folder.path().join("out");
    assert_eq!(write_to(&*set, &out).unwrap(), 40);
    let read = open_in(&folder, "imagefolder:out");
    assert_eq!(read.len(), 40);
    let same = read.load(0).unwrap().image == set.load(8).unwrap().image;
    assert!(same, "checker is first by name");
    assert!(write_to(&*set, &out).unwrap_err().to_string().contains("empty"));
}
