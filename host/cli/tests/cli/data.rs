//! `hssl data`

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::harness::{Desk, Outcome};

#[test]
fn what_is_made_reads_back_and_is_described() {
    let desk = Desk::new();
    desk.hssl("data make shapes --n 20 --size 16").good().says(&["imagefolder:shapes/train"]);
    let found = desk.hssl("data info imagefolder:shapes#train --json").good().json();
    assert_eq!(found["images"], 20);
    assert_eq!(found["sampled"], 20);
    assert_eq!(found["width"], serde_json::json!([16, 16, 16]));
    let classes = found["classes"].as_object().unwrap();
    assert_eq!(classes.len(), 10);
    assert_eq!(classes.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 20);
    let mean = found["mean"][0].as_f64().unwrap();
    assert!(mean > 0.05 && mean < 0.95, "{mean}");
    desk.hssl("data make shapes").refused(&["shapes/train is not empty"]);
}

#[test]
fn broken_images_are_named() {
    let desk = Desk::new();
    desk.hssl("data make shapes --n 10 --split train").good();
    desk.write("shapes/train/broken.png", "not a PNG");
    desk.write("shapes/train/disc/broken.png", "not a PNG");
    let said = desk.hssl("data info imagefolder:shapes/train").good();
    said.says(&["broken       1", "disc/broken.png: "]);
}

#[test]
fn sets_that_cannot_be_opened_are_refused_with_the_fix() {
    let desk = Desk::new();
    desk.write("empty/.keep", "");
    desk.hssl("data info imagefolder:nowhere").refused(&["nowhere", "does not exist"]);
    desk.hssl("data info imagefolder:empty").refused(&["empty"]);
    desk.hssl("data info cifar10").refused(&["cifar10", "--data-root", "HSSL_DATA"]);
    desk.hssl("data info imagefoldr:x").refused(&["did you mean `imagefolder`?"]);
    desk.hssl("data info generated:shapes#tain").refused(&["tain", "train"]);
}

#[test]
fn one_image_is_a_set() {
    let desk = Desk::new();
    desk.hssl("data make one --n 10 --split train").good();
    let disc = desk.path("one/train/disc");
    for file in std::fs::read_dir(desk.path("one/train")).unwrap() {
        let folder = file.unwrap().path();
        if folder != disc {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
    let found = desk.hssl("data info imagefolder:one/train --json").good().json();
    assert_eq!(found["images"], 1, "{found}");
}

#[test]
fn the_list_tells_what_is_here() {
    let desk = Desk::new();
    desk.write("sets/cifar-10-binary.tar.gz", "");
    let sets = desk.hssl("data list --json --data-root sets").good().json();
    let path = |name: &str| {
        let set = sets.as_array().unwrap().iter().find(|set| set["name"] == name);
        set.unwrap_or_else(|| panic!("no {name}"))["path"].clone()
    };
    assert_eq!(path("cifar10"), "sets/cifar-10-binary.tar.gz");
    assert!(path("cifar100").is_null());
    desk.hssl("data list").good().says(&["generated:shapes", "imagenet"]);
}

#[test]
fn a_wrong_archive_is_not_taken() {
    let desk = Desk::new();
    desk.write("wrong.tar", "something else");
    let root = "--data-root sets";
    desk.hssl(&format!("data fetch cifar10 --from wrong.tar {root}")).refused(&[
        "wrong.tar is not cifar-10-binary.tar.gz",
        "SHA-256",
        "expected c4a38c50",
    ]);
    assert!(!desk.path("sets/cifar-10-binary.tar.gz").exists());
    desk.hssl(&format!("data fetch imagenette-160 {root}")).refused(&["--from FILE"]);
    desk.hssl(&format!("data fetch cifar11 {root}")).refused(&["`cifar11`", "cifar10"]);
    desk.hssl("data fetch cifar10").refused(&["--data-root"]);
}

/// A set without a known checksum, from a server of our own: half at first, the rest on resuming.
#[test]
fn an_interrupted_download_goes_on() {
    let content: Vec<u8> = (0..5000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/set.tgz", listener.local_addr().unwrap());
    let served = content.clone();
    let server = std::thread::spawn(move || {
        let mut first = 0;
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let request = String::from_utf8(request).unwrap();
        if let Some(range) = request.lines().find_map(|line| line.strip_prefix("Range: bytes=")) {
            first = range.trim_end_matches('-').parse().unwrap();
        }
        let (rest, all) = (&served[first..], served.len());
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n\
             Content-Range: bytes {first}-{}/{all}\r\nConnection: close\r\n\r\n",
            rest.len(),
            all - 1
        )
        .unwrap();
        stream.write_all(rest).unwrap();
        first
    });
    let desk = Desk::new();
    desk.write("sets/imagenette2-160.tgz.part", &content[..7000]);
    let arguments = ["data", "fetch", "imagenette2-160", "--data-root", "sets", "--url", &url];
    Outcome::of(desk.command(&arguments)).good().says(&["sets/imagenette2-160.tgz"]);
    assert_eq!(server.join().unwrap(), 7000, "what was there is not loaded again");
    assert_eq!(std::fs::read(desk.path("sets/imagenette2-160.tgz")).unwrap(), content);
}
