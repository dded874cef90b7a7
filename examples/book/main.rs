//! The figures of the book: every one of them is computed, by this project's own layers, losses and optimizers.
//!
//! `cargo run --release --example book` writes them to `docs/book/src/figures`.

mod basics;
mod descent;
mod families;
mod generalisation;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use glassbox::Result;
use glassbox::lens::Figure;

/// Makes the figures of the book.
#[derive(Parser)]
struct Args {
    /// Folder of the figures
    #[arg(long, default_value = "docs/book/src/figures")]
    out: PathBuf,
    /// Only figures whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// A figure's file, and what makes it.
type Maker = (&'static str, fn() -> Result<Figure>);

const FIGURES: &[Maker] = &[
    ("neuron", basics::neuron),
    ("activations", basics::activations),
    ("bumps", basics::bumps),
    ("losses", basics::losses),
    ("valley", descent::valley),
    ("rates", descent::rates),
    ("filters", families::filters),
    ("explanation", families::explanation),
    ("memory", families::memory),
    ("generator", families::generator),
    ("discriminator", families::discriminator),
    ("attention", families::attention),
    ("overfitting", generalisation::overfitting),
    ("curves", generalisation::curves),
    ("data", generalisation::data),
    ("size", generalisation::size),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.out)?;
    for (name, make) in FIGURES.iter().filter(|(name, _)| name.contains(&args.only)) {
        let path = args.out.join(format!("{name}.svg"));
        let svg = make()?.svg().ok_or_else(|| anyhow::anyhow!("{name} is no drawing"))?;
        glassbox::write_atomic(&path, svg.as_bytes())?;
        println!("{}", path.display());
    }
    Ok(())
}
