//! Generates the C header from `src/ffi/` and names the shared library.
//!
//! The header goes to `OUT_DIR`; `make header` copies it to `include/kvwal.h`, and a test compares the two, so a
//! build never changes the source tree.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

const SONAME: &str = "libkvwal.so.0";

fn main() {
    println!("cargo:rerun-if-changed=src/ffi");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");

    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    generate_header(&root, &out.join("kvwal.h"));
    if let Err(error) = link_soname(&out) {
        println!("cargo:warning=no {SONAME} beside libkvwal.so: {error}");
    }
}

fn generate_header(root: &Path, to: &Path) {
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is readable");
    config.after_includes = Some(version_macros());
    let mut builder = cbindgen::Builder::new().with_config(config);
    let sources = [
        "constants.rs",
        "types.rs",
        "error.rs",
        "store.rs",
        "batch.rs",
        "transaction.rs",
        "backup.rs",
        "restore.rs",
        "wal.rs",
        "tail.rs",
    ];
    for source in sources {
        builder = builder.with_src(root.join("src/ffi").join(source));
    }
    let mut header = Vec::new();
    builder.generate().expect("cbindgen understands src/ffi").write(&mut header);
    let header = String::from_utf8(header).expect("cbindgen writes UTF-8");
    fs::write(to, tidy(&header)).expect("OUT_DIR is writable");
}

/// What cbindgen cannot be told: safety sections are for Rust callers, a comment of one line needs one line, and a
/// negative macro wants parentheses.
fn tidy(header: &str) -> String {
    let mut tidied = String::new();
    let mut lines = header.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "/*" && !tidied.is_empty() {
            let comment: Vec<&str> = lines.by_ref().map(str::trim).take_while(|line| *line != "*/").collect();
            let indent = &line[..line.len() - line.trim_start().len()];
            tidied.push_str(&tidy_comment(&comment, indent));
            continue;
        }
        match line.strip_prefix("#define ").and_then(|define| define.split_once(" -")) {
            Some((name, digits)) => tidied.push_str(&format!("#define {name} (-{digits})")),
            None => tidied.push_str(line),
        }
        tidied.push('\n');
    }
    tidied
}

fn tidy_comment(lines: &[&str], indent: &str) -> String {
    let end = lines.iter().position(|line| *line == "# Safety").unwrap_or(lines.len());
    let lines = lines[..end].join("\n");
    let lines: Vec<&str> = lines.trim_end().lines().collect();
    let body: Vec<String> = lines.iter().map(|line| format!("{indent} * {line}").trim_end().to_owned()).collect();
    match lines.as_slice() {
        [line] if indent.len() + line.len() + 6 <= 120 => format!("{indent}/* {line} */\n"),
        _ => format!("{indent}/*\n{}\n{indent} */\n", body.join("\n")),
    }
}

fn version_macros() -> String {
    let part = |name: &str| env::var(format!("CARGO_PKG_VERSION{name}")).expect("cargo sets the version");
    format!(
        "\n#define KVWAL_VERSION_STRING \"{}\"\n#define KVWAL_VERSION_MAJOR {}\n#define KVWAL_VERSION_MINOR {}\n\
         #define KVWAL_VERSION_PATCH {}",
        part(""),
        part("_MAJOR"),
        part("_MINOR"),
        part("_PATCH")
    )
}

/// A program linked with `-lkvwal` looks for the soname at run time; a link beside cargo's `libkvwal.so` lets it run
/// from the build tree, without an install step.
fn link_soname(out: &Path) -> io::Result<()> {
    let Some(profile_dir) = out.ancestors().nth(3) else {
        return Ok(());
    };
    let link = profile_dir.join(SONAME);
    match fs::symlink_metadata(&link) {
        Ok(_) => Ok(()),
        Err(_) => std::os::unix::fs::symlink("libkvwal.so", link),
    }
}
