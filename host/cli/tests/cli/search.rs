//! Heads against their base, and against each other.

use serde_json::Value;

use crate::harness::{Desk, TINY};

/// Two candidates.
fn two_heads() -> String {
    TINY.replace("[objective]", "[heads.wide]\nplugin = \"convnext\"\ndepth = 2\n\n[objective]")
}

#[test]
fn a_search_ranks_heads_and_writes_the_winner() {
    let desk = Desk::new();
    desk.write("one.toml", TINY);
    desk.hssl("search one.toml").refused(&["one.toml", "there is one", "[heads.NAME]"]);
    desk.write("c.toml", two_heads());
    let said = desk
        .hssl("search c.toml --fraction 0.5 --out found --set train.epochs=2")
        .good()
        .says(&["HEAD", "PLUGIN", "PROCRUSTES", "hssl pretrain found/winner.toml"]);
    assert!(said.err.contains("order of the heads"), "{said:#?}");
    let rows: Vec<Vec<&str>> =
        said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |name: &str| rows.iter().find(|row| row.first() == Some(&name)).unwrap().clone();
    let d = |name: &str| row(name)[2].parse::<f64>().unwrap();
    assert!(d("aux") >= 0.0 && d("wide") >= 0.0, "{said:#?}");
    let winner = if d("aux") > d("wide") { "aux" } else { "wide" };
    assert_eq!(
        said.out.lines().find(|line| line.starts_with("winner")).unwrap(),
        format!("winner    {winner}")
    );

    // Half of the 32 images were searched on; the winner trains on all of them, alone.
    let searched = std::fs::read_to_string(desk.path("found/config.toml")).unwrap();
    assert!(
        searched.contains("@0.5:0") && searched.contains("supervision = \"search\""),
        "{searched}"
    );
    let config = std::fs::read_to_string(desk.path("found/winner.toml")).unwrap();
    assert!(config.contains(&format!("[heads.{winner}]")) && !config.contains("@0.5"), "{config}");
    assert_eq!(config.matches("[heads.").count(), 1, "{config}");
    desk.hssl("pretrain found/winner.toml --out run").good();

    // Pair by pair, base and head have projections of their own.
    let again =
        desk.hssl("search c.toml --fraction 0.5 --out found --resume --set train.epochs=2").good();
    let table = |out: &str| {
        let rows = out.lines().filter(|line| line.starts_with("aux") || line.starts_with("wide"));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(table(&again.out), table(&said.out));
}

#[test]
fn heads_are_compared_with_their_base() {
    let desk = Desk::new();
    desk.write("c.toml", TINY.replace("online_every = 0", "online_every = 1"));
    desk.hssl("pretrain c.toml --out run").good();
    let found = desk.hssl("analyse run --images 0 --json").good().json();
    let head = &found[0]["heads"][0];
    assert_eq!(head["head"], "aux");
    // Depthwise 7 x 7, norm, MLP of 16 to 64 and back, the branch's norm.
    let expected = 16 * 49 + 16 + 32 + (16 * 64 + 64) + (64 * 16 + 16) + 32;
    assert_eq!(head["parameters"], expected);
    let measured = |key: &str| head["comparison"][key].as_f64().unwrap();
    assert!(measured("discrepancy") >= 0.0);
    for key in ["cka", "procrustes"] {
        assert!((0.0..=1.0 + 1e-9).contains(&measured(key)), "{key} {}", measured(key));
    }
    // The online evaluation after the last epoch saw the same network and images.
    let metrics = std::fs::read_to_string(desk.path("run/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(
        metrics.lines().rfind(|line| line.contains("online/discrepancy.aux")).unwrap(),
    )
    .unwrap();
    for (logged, key) in [
        ("online/discrepancy.aux", "discrepancy"),
        ("online/cka.aux", "cka"),
        ("online/procrustes.aux", "procrustes"),
    ] {
        let logged = last[logged].as_f64().unwrap();
        assert!((logged - measured(key)).abs() < 1e-6, "{key}: {logged} and {}", measured(key));
    }

    let costly = desk.hssl("analyse run --images 16 --cost --plots plots --json").good();
    let costs = &costly.json()[0]["costs"];
    let of = |cost: &Value, key: &str| cost[key].as_f64().unwrap();
    let (base, with_head) = (&costs["base"], &costs["with_head"]["aux"]);
    // At each of four positions: the depthwise 7 x 7, and the MLP's 16 x 64 there and back.
    let positions = 4.0;
    let expected = positions * (16.0 * 49.0 + 2.0 * 16.0 * 64.0) / 1e6;
    let found = of(with_head, "mega_multiply_adds") - of(base, "mega_multiply_adds");
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    for cost in [base, with_head] {
        assert!(of(cost, "forward_ms") > 0.0, "{costs}");
        assert!(of(cost, "forward_backward_ms") > of(cost, "forward_ms"), "{costs}");
    }
    for name in ["discrepancy", "cka", "procrustes"] {
        let svg = std::fs::read_to_string(desk.path(&format!("plots/{name}.svg"))).unwrap();
        assert!(svg.contains("epochs of training") && svg.contains("polygon"), "{svg}");
        let png = std::fs::read(desk.path(&format!("plots/{name}.png"))).unwrap();
        assert!(png.len() > 5_000, "{name}: {}", png.len());
    }
    desk.hssl("analyse run --images 16 --cost").good().says(&["no head", "FORWARD MS", "(x"]);

    desk.hssl("pretrain c.toml --out plain --set hssl.supervision=none").good();
    let held = desk.hssl("analyse run --baseline plain --images 0").good().says(&["N_S", "sIoU %"]);
    assert_eq!(held.out.lines().last().unwrap().split_whitespace().count(), 9, "{held:#?}");
    desk.hssl("analyse run --baseline c.toml").refused(&["--baseline c.toml"]);
    desk.hssl("analyse run --baseline plain --set data.eval_test=generated:shapes?n=9&size=8#val")
        .good();
    desk.hssl("analyse plain").refused(&["analysing plain", "no auxiliary head"]);
    desk.hssl("analyse c.toml").refused(&["no run's folder"]);
}
