//! Man pages, completions, and figures.

use std::fs;

use crate::support::{Place, names};

const COMMANDS: [&str; 18] = [
    "backup",
    "bench",
    "checkpoint",
    "completions",
    "count",
    "del",
    "dump",
    "get",
    "inspect",
    "load",
    "man",
    "repair",
    "restore",
    "scan",
    "set",
    "stat",
    "tail",
    "verify",
];

#[test]
fn every_command_has_a_page() {
    let place = Place::new();
    place.run(&["man", "a/b"]).done();
    let mut expected: Vec<_> = COMMANDS.iter().map(|command| format!("kvwal-{command}.1")).collect();
    expected.push("kvwal.1".to_owned());
    assert_eq!(names(&place.path("a/b")), expected);
    let page = fs::read_to_string(place.path("a/b/kvwal.1")).unwrap();
    assert!(page.contains(".TH kvwal 1") && page.contains("Exit codes"), "{page}");
    for command in COMMANDS {
        assert!(page.contains(&format!("kvwal\\-{command}(1)")), "{command}");
        let page = fs::read_to_string(place.path(&format!("a/b/kvwal-{command}.1"))).unwrap();
        assert!(page.contains(&format!("kvwal\\-{command} \\-")) && page.contains("\\-\\-json"), "{command}: {page}");
    }
}

#[test]
fn shells_get_completions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).done();
        assert!(COMMANDS.iter().all(|command| script.text().contains(command)), "{shell}");
    }
    let completed = "source <($KVWAL completions bash); COMP_WORDS=(kvwal ins) COMP_CWORD=1; _kvwal kvwal ins kvwal; echo $COMPREPLY";
    assert_eq!(place.sh(completed).done().text(), "inspect\n");
    place.run(&["completions", "tcsh"]).failed(64, "tcsh");
}

#[test]
fn a_machine_is_measured_and_left_as_it_was() {
    let place = Place::new();
    let figures = place.run(&["bench", "--time", "700ms", "--json"]).done().json();
    assert!(figures["raw_fdatasync_per_second"].as_f64().unwrap() > 0.0);
    let sets = figures["sets"].as_array().unwrap();
    assert_eq!(sets.iter().map(|set| set["threads"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 8, 64]);
    assert!(sets.iter().all(|set| set["ratio_to_raw"].as_f64().unwrap() > 0.0));
    assert!(figures["gets"][0]["per_second"].as_f64().unwrap() > 0.0);
    let table = place.run(&["bench", ".", "--time", "70ms"]).done();
    assert_eq!(table.text().lines().filter(|line| line.starts_with("durable set ")).count(), 4, "{table:?}");
    assert!(place.names().is_empty());
    place.run(&["bench", "no such directory"]).failed(66, "make a directory in no such directory");
}
