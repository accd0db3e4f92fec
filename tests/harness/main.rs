//! The real program, as the stories run it.

fn main() -> std::process::ExitCode {
    cli::main()
}
